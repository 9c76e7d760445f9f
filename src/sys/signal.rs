//! Signal dispositions, set by plain number.

/// A peer that has gone is an error to be told, not our death.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is no handler of ours, so no code runs in signal context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Gives every signal with a name its default action back. execve keeps what is ignored, by us (SIGPIPE) or by who started
/// the engine (SIGHUP under nohup, SIGINT behind a shell's `&`, SIGXFSZ by Python), and a shell in the container could not
/// even trap it. Nobody ignores the real-time signals, which have no name and would be as many calls again.
pub fn default_all() {
    let named = (1..=libc::SIGSYS).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal));
    for signal in named {
        // SAFETY: SIG_DFL is no handler of ours, so no code runs in signal context.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
