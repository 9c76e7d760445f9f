//! Signal dispositions, set by plain number.

/// A peer that has gone is an error to be told, not our death.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is no handler of ours, so no code runs in signal context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Gives every signal in the set, whose bit 0 is signal 1, its default action back. execve keeps what is ignored, by us
/// (SIGPIPE) or by who started the engine (SIGHUP under nohup, SIGINT behind a shell's `&`, SIGXFSZ by Python), and a shell
/// in the container could not even trap it. Nobody ignores the real-time signals, which have no name and no bit here.
pub fn default(set: u32) {
    let changeable = set & !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));
    for signal in (1..=libc::SIGSYS).filter(|signal| changeable >> (signal - 1) & 1 == 1) {
        // SAFETY: SIG_DFL is no handler of ours, so no code runs in signal context.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
