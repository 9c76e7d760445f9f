//! Signal dispositions, set by plain number.

/// A peer that has gone is an error to be told, not our death.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is no handler of ours, so no code runs in signal context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Gives every signal its default action back. execve keeps what is ignored, by us (SIGPIPE) or by who started the engine
/// (SIGHUP under nohup, SIGINT behind a shell's `&`), and a shell in the container could not even trap it.
pub fn default_all() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is no handler of ours, so no code runs in signal context.
        // Refused for SIGKILL, SIGSTOP and those that the C library keeps to itself, which cannot be ignored either.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
