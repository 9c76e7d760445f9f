//! Signal dispositions and names, by plain number.

use nix::errno::Errno;

/// The highest number of a signal on Linux, a real-time one.
const LAST: i32 = 64;

/// What a program of ours changes of the dispositions that it inherits. A peer that has gone is an error to be told and
/// not our death. Whoever ignores SIGCHLD (a daemon that never reaps) has the kernel reap its children, and by exec ours too:
/// their exit codes would be lost.
pub fn take_over() {
    // SAFETY: neither is a handler of ours, so no code runs in signal context.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
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

/// Lets every signal whose default action ends a process end this one, with exit status 128 + its number; gives all others
/// their default action, and unblocks all. execve gives the default actions back.
///
/// For the first process of a pid namespace: the kernel discards what comes for it and has no handler, also from outside
/// (pid_namespaces(7)). The handler makes one system call, exit_group, so that a seccomp filter may be loaded after this.
pub fn die_on_signals() -> Result<(), Errno> {
    for signal in (1..=LAST).filter(|signal| ends(*signal)) {
        // Fails for those that cannot be caught, and for the two that libc keeps for itself.
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(signal, end as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
    let named = (1..=libc::SIGSYS).filter(|signal| !ends(*signal));
    default(named.fold(0, |set, signal| set | 1 << (signal - 1)));
    unblock()
}

/// Whether the default action ends a process (signal(7)).
fn ends(signal: i32) -> bool {
    let stops_or_nothing = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    !stops_or_nothing.contains(&signal)
}

extern "C" fn end(signal: libc::c_int) {
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(128 + signal) }
}

/// Blocks no signal any more.
pub fn unblock() -> Result<(), Errno> {
    nix::sys::signal::SigSet::empty().thread_set_mask()
}

/// The signal as Go names it, which engines and people know from runc: `killed`; `signal 40` where there is no name.
pub fn name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "hangup",
        "interrupt",
        "quit",
        "illegal instruction",
        "trace/breakpoint trap",
        "aborted",
        "bus error",
        "floating point exception",
        "killed",
        "user defined signal 1",
        "segmentation fault",
        "user defined signal 2",
        "broken pipe",
        "alarm clock",
        "terminated",
        "stack fault",
        "child exited",
        "continued",
        "stopped (signal)",
        "stopped",
        "stopped (tty input)",
        "stopped (tty output)",
        "urgent I/O condition",
        "CPU time limit exceeded",
        "file size limit exceeded",
        "virtual timer expired",
        "profiling timer expired",
        "window changed",
        "I/O possible",
        "power failure",
        "bad system call",
    ];
    let index = usize::try_from(signal).ok().and_then(|number| number.checked_sub(1));
    match index.and_then(|index| NAMES.get(index)) {
        Some(name) => (*name).to_owned(),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_go() {
        assert_eq!(name(libc::SIGKILL), "killed");
        assert_eq!(name(libc::SIGSYS), "bad system call");
        assert_eq!(name(libc::SIGHUP), "hangup");
        for unnamed in [0, -1, 32, 40] {
            assert_eq!(name(unnamed), format!("signal {unnamed}"));
        }
    }
}
