//! Signals through a pidfd.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// pidfd_send_signal(2), Linux 5.1. `signal` is a number, as rustix and nix have no type for 0 (is it there?) and the
/// real-time signals.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: the descriptor is open for the time of the call, a null siginfo is allowed, no memory is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(result).map(drop)
}
