//! `start`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::cli::{Global, StartOptions};
use crate::error::{Context, Error, Kind, Result};
use crate::gate::{self, Knock};
use crate::hooks::{self, Setting};
use crate::log;
use crate::notify::Relay;
use crate::plan::HookSet;
use crate::state::{Container, Status};

/// A process that ends closes its sockets a moment before it is dead.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// As long as it takes to undo an address space on a busy machine, and longer.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Lets the process of a created container execute its program.
pub fn start(global: &Global, options: &StartOptions) -> Result<()> {
    let store = super::open_store(global)?;
    let container = store.load(&options.id)?;
    let state = container.state()?;
    let running = || Error::new(Kind::State, "cannot start an already running container");
    match container.status(|| super::is_frozen(&container))? {
        Status::Created => {}
        Status::Stopped => return Err(stopped()),
        Status::Creating => {
            return Err(Error::new(Kind::State, "cannot start a container that is being created"));
        }
        Status::Paused if gate::is_waiting(container.dir()) => {
            return Err(Error::new(Kind::State, "cannot start a paused container: resume it first"));
        }
        Status::Running | Status::Paused => return Err(running()),
    }
    let Some(pidfd) = container.pidfd()? else { return Err(stopped()) };
    let notify = match std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) {
        Some(to) if Relay::has_dir(container.dir()) => Some(Relay::bind(container.dir(), &to)?),
        _ => None,
    };
    let config = super::stored_config(state)?;
    if config.spec.process().is_none() {
        return Err(gate::nothing_to_start());
    }
    match gate::start(container.dir()) {
        Ok(Knock::Started) => {}
        // Between the look and the knock init has ended, or another `start` was faster.
        Ok(Knock::NobodyThere) if ends_within(&pidfd, MOMENT)? => return Err(stopped()),
        Ok(Knock::NobodyThere) => return Err(running()),
        // A filter that forbids write(2) keeps init from saying what it does.
        Ok(Knock::Died) if !ends_within(&pidfd, MOMENT)? => {}
        Ok(Knock::Died) => {
            return Err(Error::new(Kind::State, "the container's process has ended before its exec"));
        }
        Err(e) => return Err(failed(container, &pidfd, e)),
    }
    // The gate is for good: nobody listens there any more.
    let _ = rustix::fs::unlinkat(container.dir(), gate::NAME, rustix::fs::AtFlags::empty());
    let pid = state.init_process_pid;
    let hooks = HookSet::new(config.spec.hooks().as_ref());
    if !hooks.poststart.is_empty() {
        let identity = super::identity(state);
        let told = identity.state("running", pid);
        if let Err(e) = hooks::run("poststart", &hooks.poststart, &told, Setting::at(&identity.bundle)) {
            return Err(give_up(container, &pidfd, e));
        }
    }
    match notify {
        Some(relay) => relay.wait_ready(pid, pidfd.as_fd()),
        None => Ok(()),
    }
}

fn stopped() -> Error {
    Error::new(Kind::State, "cannot start a container that has stopped")
}

/// Init has told what it could not do, and ends. When this returns it has: engines ask for the status, or delete, at once.
fn failed(container: Container, pidfd: &OwnedFd, error: Error) -> Error {
    // In an uninterruptible sleep it may outlast this.
    let _ = ends_within(pidfd, PATIENCE);
    let hook = error.kind() == Kind::Hook;
    let error = error.context("unable to start container process");
    if hook { give_up(container, pidfd, error) } else { error }
}

/// A startContainer or poststart hook has failed: the container is stopped and destroyed (runtime.md, "Lifecycle", steps 7 and
/// 9: "continue the lifecycle at step 12").
fn give_up(container: Container, pidfd: &OwnedFd, error: Error) -> Error {
    let gone = super::destroy::kill_and_wait(pidfd).and_then(|()| super::destroy(container));
    if let Err(e) = gone {
        log::warn(&e.to_string());
    }
    error
}

/// Whether the process ends in this time.
fn ends_within(pidfd: &OwnedFd, limit: Timespec) -> Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let ended = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&limit)));
    ended.context("look at the container's process").map(|n| n > 0)
}
