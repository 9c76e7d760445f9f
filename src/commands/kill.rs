//! `kill`: a signal to the container's process, or to all of its processes.

use super::{load, seams};
use crate::bail;
use crate::cli::{Global, KillOptions};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::state::Container;
use crate::sys;
use libc::SIGKILL;
use std::os::fd::AsFd;

/// Runs `kill`.
pub fn run(global: &Global, options: &KillOptions) -> Result<i32> {
    let container = load(global, &options.id)?;
    // Only the death of the first process of a pid namespace ends all others; without one of its own, what is left
    // must be found by the cgroup.
    let everybody = options.all || (options.signal == SIGKILL && !container.state()?.has_own_pid_namespace());
    let hit = if everybody { signal_all(&container, options.signal)? } else { Vec::new() };
    match (signal_init(&container, options.signal, &hit), options.all) {
        // Engines call `kill --all` to be sure that nothing is left, and nothing is.
        (Err(error), true) if error.kind() == Kind::State => Ok(0),
        (result, _) => result.map(|()| 0),
    }
}

/// Signals all processes in the container's cgroup; those that were there. Without a cgroup there are none.
fn signal_all(container: &Container, signal: i32) -> Result<Vec<i32>> {
    // What cannot be listed (a payload may make its cgroups threaded) can be killed all the same.
    let hit = seams::manager(container)?.pids().unwrap_or_default();
    seams::signal_all(container, signal)?;
    Ok(hit)
}

/// Signals the container's process, unless it is among those that were `hit` already: it need not be in the recorded cgroup.
/// [`Kind::State`] if it has ended, and nobody was.
fn signal_init(container: &Container, signal: i32, hit: &[i32]) -> Result<()> {
    // Engines look for either half of this (reference: containerd, CRI-O), and compare the case of letters.
    let gone = || Error::new(Kind::State, "container not running: no such process");
    let pid = container.state()?.init_process_pid;
    if pid == 0 {
        bail!(State, "cannot signal container {:?}: it is not created yet", container.id().as_str());
    }
    let Some(pidfd) = container.pidfd()? else {
        return if hit.is_empty() { Err(gone()) } else { Ok(()) };
    };
    if !hit.contains(&pid) {
        match sys::pidfd::send_signal(pidfd.as_fd(), signal) {
            Err(Errno::ESRCH) => return Err(gone()),
            result => result.with_context(|| format!("signal container {:?}", container.id().as_str()))?,
        }
    }
    // The v1 freezer holds back even SIGKILL.
    if signal == SIGKILL && seams::is_frozen(container) {
        seams::thaw(container)?;
    }
    Ok(())
}
