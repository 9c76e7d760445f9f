//! Signal dispositions, set by plain number.

use nix::errno::Errno;

/// A peer that has gone is an error to be told, not our death.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is no handler of ours, so no code runs in signal context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Gives SIGPIPE its default action back: we ignore it, and execve keeps what is ignored.
pub fn default_sigpipe() -> Result<(), Errno> {
    // SAFETY: SIG_DFL is no handler of ours, so no code runs in signal context.
    let old = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if old == libc::SIG_ERR { Err(Errno::last()) } else { Ok(()) }
}
