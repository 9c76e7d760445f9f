//! Taking a container away.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxNamespaceType;

use crate::cgroup::Manager;
use crate::config::SpecExt;
use crate::error::Result;
use crate::hooks::Identity;
use crate::log;
use crate::plan::{HookSet, Plan};
use crate::state::{Container, State};

/// How long killed processes may take to be gone: one in uninterruptible sleep on a dead disk may take for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long those of a pid namespace whose init has ended may take.
const MOMENT: Duration = Duration::from_secs(2);

/// Kills what is left in a cgroup, waits until it is empty, and removes it.
pub fn remove_cgroup(manager: &Manager) -> Result<()> {
    if manager.delete_if_empty()? {
        return Ok(());
    }
    kill_all(manager)?;
    manager.delete()
}

/// Kills every process of a cgroup and waits until they are gone.
pub fn kill_all(manager: &Manager) -> Result<()> {
    if matches!(manager, Manager::None) {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    let mut patience = Duration::from_millis(100);
    loop {
        manager.kill(libc::SIGKILL)?;
        // Where the kernel has no cgroup.kill, an `exec` may have put another one in after the list was read: again.
        if manager.wait_empty(patience)? || Instant::now() >= deadline {
            return Ok(());
        }
        patience = (patience * 4).min(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Takes down what was mounted on the host for a container that has no mount namespace of its own.
pub fn unmount_rootfs(plan: &Plan) {
    if let Some(rootfs) = plan.rootfs.as_ref().filter(|rootfs| !rootfs.own_namespace) {
        unmount(&rootfs.path);
    }
}

fn unmount(rootfs: &std::path::Path) {
    let _ = rustix::mount::unmount(rootfs, rustix::mount::UnmountFlags::DETACH);
}

/// Removes everything of a container whose process has ended: its cgroup with whatever is left in it, what it has mounted
/// on the host, its directory; then its poststop hooks run (runtime.md, "Lifecycle", steps 12 and 13). The directory goes
/// last of all that can fail, so that a deletion cut short can be repeated.
pub fn destroy(container: Container) -> Result<()> {
    let mut last_words = None;
    if let Ok(state) = container.state() {
        let manager = super::manager(state)?;
        if state.init_process_pid == 0 {
            // Cut short before its process was recorded: what has been forked ends by itself, as its parent is gone.
            // The cgroup may have been found in use by others, who must not be killed.
            manager.wait_empty(PATIENCE)?;
            manager.delete()?;
        } else if state.may_share_cgroup() {
            match manager.wait_empty(MOMENT)? {
                true => manager.delete()?,
                false => log::warn("the cgroup stays: processes of others are in it"),
            }
        } else {
            remove_cgroup(&manager)?;
        }
        last_words = unmount_and_recall(state);
    }
    container.remove()?;
    if let Some((hooks, identity)) = last_words {
        super::poststop(&hooks, &identity);
    }
    Ok(())
}

/// Takes down what a container without a mount namespace of its own has mounted, and gives its poststop hooks. Most have
/// neither, which is recorded: a parse of the config takes as long as all the rest.
fn unmount_and_recall(state: &State) -> Option<(HookSet, Identity)> {
    let plain = state.has_own_mounts == Some(true) && state.has_poststop == Some(false);
    if plain || state.spec.is_none() {
        return None;
    }
    let spec = match super::recorded_config(state) {
        Ok(config) => config.spec,
        Err(e) => {
            log::warn(&e.to_string());
            return None;
        }
    };
    if !state.has_own_mounts.unwrap_or_else(|| spec.namespace(LinuxNamespaceType::Mount).is_some()) {
        unmount(&state.rootfs);
    }
    // A creation that was cut short before there was a process has run no hook.
    (state.init_process_pid != 0).then(|| (HookSet::new(spec.hooks().as_ref()), super::identity(state)))
}

/// Kills one process and waits until it is gone, by its pidfd.
pub fn kill_and_wait(pidfd: impl AsFd) -> Result<()> {
    use crate::error::{Context, Errno};
    use rustix::event::{PollFd, PollFlags, Timespec};
    match crate::sys::pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(e) => return Err(e).context("kill the container's process"),
    }
    let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => crate::bail!(
                System,
                "the container's process still runs {} s after SIGKILL",
                PATIENCE.as_secs()
            ),
            ended => return ended.context("wait for the container's process").map(drop),
        }
    }
}
