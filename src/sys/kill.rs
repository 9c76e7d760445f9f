//! kill(2) by plain number.

use nix::errno::Errno;

/// Sends a signal. nix and rustix know the named signals only; an engine may send a real-time one.
///
/// # Errors
/// `EINVAL` for a number that is no signal, `ESRCH` when the process is gone, `EPERM`.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    if pid <= 0 {
        // 0 and below name groups of processes, the caller's own among them.
        return Err(Errno::ESRCH);
    }
    // SAFETY: kill takes two integers and touches no memory of ours.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}
