//! Signals of the foreground process, by descriptor.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Context, Errno, Result};
use crate::sys::pidfd;

/// All signals that can be caught.
pub struct Signals {
    fd: SignalFd,
    /// The pid of the container's process, which is reaped by its pidfd.
    main: i32,
}

impl Signals {
    /// The signals are blocked already, by the launch.
    pub fn open(main: i32) -> Result<Signals> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&SigSet::all(), flags).context("signalfd")?;
        Ok(Signals { fd, main })
    }

    /// Passes on what has come: SIGWINCH to `resize`, everything else to the container's process.
    pub fn forward(&self, init: BorrowedFd<'_>, mut resize: impl FnMut()) -> Result<()> {
        while let Some(info) = self.fd.read_signal().context("read a signal")? {
            let number = info.ssi_signo as i32;
            match Signal::try_from(number) {
                Ok(Signal::SIGWINCH) => resize(),
                // Orphans of the container, which we adopt as subreaper.
                Ok(Signal::SIGCHLD) => reap_orphans(self.main),
                // SIGPIPE and SIGURG are about descriptors of ours.
                Ok(Signal::SIGURG | Signal::SIGPIPE) => {}
                _ => match pidfd::send_signal(init, number) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(e) => return Err(e).with_context(|| format!("pass signal {number} on")),
                },
            }
        }
        Ok(())
    }
}

/// Reaps children that are not the one whose status we return.
///
/// A wait for *any* child could take that status away; waiting without reaping first tells whose turn it is. When it
/// is the container's process, its pidfd is readable too, and the rest is left to whoever reaps us.
fn reap_orphans(main: i32) {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, look) {
        let Some(pid) = status.pid() else { return };
        if matches!(status, WaitStatus::StillAlive) || main == pid.as_raw() {
            return;
        }
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
