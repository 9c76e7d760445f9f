//! `start`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::cli::{Global, StartOptions};
use crate::error::{Context, Error, Kind, Result};
use crate::gate::{self, Knock};
use crate::notify::Relay;
use crate::plan::HookSet;
use crate::state::Status;

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
    match gate::start(container.dir()).map_err(|e| e.context("unable to start container process"))? {
        Knock::Started => {}
        // Between the look and the knock init has ended, or another `start` was faster.
        Knock::NobodyThere if ends_soon(&pidfd)? => return Err(stopped()),
        Knock::NobodyThere => return Err(running()),
    }
    // The gate is for good: nobody listens there any more.
    let _ = rustix::fs::unlinkat(container.dir(), gate::NAME, rustix::fs::AtFlags::empty());
    let pid = state.init_process_pid;
    let hooks = HookSet::new(config.spec.hooks().as_ref());
    if !hooks.poststart.is_empty() {
        let told = super::identity(state).state("running", pid);
        if let Err(e) = crate::hooks::run("poststart", &hooks.poststart, &told, None) {
            // runtime.md, "Lifecycle", step 9: stop the container, and go on with deleting it.
            super::destroy::kill_and_wait(&pidfd)?;
            super::destroy(container)?;
            return Err(e);
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

/// Whether the process has ended. One that is ending closes its sockets a moment before it is dead.
fn ends_soon(pidfd: &OwnedFd) -> Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let limit = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    rustix::event::poll(&mut fds, Some(&limit)).context("look at the container's process").map(|n| n > 0)
}
