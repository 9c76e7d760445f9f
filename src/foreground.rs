//! `run` and `exec` in the foreground: this process stands in for the container's. It passes signals on, copies a
//! terminal's bytes both ways, relays readiness, and ends with the same status.

mod relay;
mod signals;

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{WaitId, WaitIdOptions};

use crate::error::{Context, Result};
use crate::launch::Running;
use crate::notify::Relay as NotifyRelay;
use relay::Relay;
use signals::Signals;

/// Stands in for `running` until it ends; its exit code, 128 + n for a signal.
///
/// Signals are blocked since before the clone, so that one which came in the meantime waits in the descriptor. The end is
/// a readable pidfd and not a SIGCHLD: a process that ends at once is not missed, and none is waited for twice.
pub fn stand_in(mut running: Running, notify: Option<NotifyRelay>) -> Result<i32> {
    running.disarm();
    let signals = Signals::open(running.pid)?;
    let mut relay = match running.console.take() {
        Some(master) => Some(Relay::start(master)?),
        None => None,
    };
    let mut notify = notify;
    loop {
        let mut fds = vec![PollFd::new(&running.pidfd, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        if let Some(notify) = &notify {
            fds.push(PollFd::new(notify, PollFlags::IN));
        }
        let own = fds.len();
        let watched = relay.as_ref().map(Relay::interest).unwrap_or_default();
        if let Some(relay) = &relay {
            fds.extend(watched.iter().map(|&(end, flags)| PollFd::from_borrowed_fd(relay.fd(end), flags)));
        }
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            ready => ready.context("wait for the container")?,
        };
        let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if !events[1].is_empty() {
            signals.forward(running.pidfd.as_fd(), || {
                if let Some(relay) = &relay {
                    relay.resize();
                }
            })?;
        }
        if let (Some(relay), true) = (&notify, events.len() > 2 && own > 2 && !events[2].is_empty()) {
            let ready = relay.forward(rustix::process::getpid().as_raw_nonzero().get());
            if ready.is_err() {
                notify = None;
            }
        }
        if let Some(relay) = &mut relay {
            for (&(end, _), &ready) in watched.iter().zip(&events[own..]) {
                relay.ready(end, ready);
            }
        }
        if !events[0].is_empty() {
            if let Some(relay) = relay {
                relay.finish();
            }
            return exit_code(&running.pidfd);
        }
    }
}

/// Reaps the process and tells its exit code.
pub fn exit_code(pidfd: &OwnedFd) -> Result<i32> {
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        .context("wait for the container's process")?;
    Ok(match status {
        Some(status) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (_, Some(signal)) => 128 + signal,
            _ => 255,
        },
        None => 255,
    })
}
