//! Signal dispositions, set by plain number.

use nix::errno::Errno;

/// Gives SIGPIPE its default action back: Rust's start-up ignores it, and execve keeps what is ignored.
pub fn default_sigpipe() -> Result<(), Errno> {
    // SAFETY: SIG_DFL is no handler of ours, so no code runs in signal context.
    let old = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if old == libc::SIG_ERR { Err(Errno::last()) } else { Ok(()) }
}
