//! What particular profiles lead to, and what is refused.

use oci_spec::runtime::{Arch, LinuxSeccompFilterFlag as Flag};

use super::bpf::{self, Call};
use super::oracle::check_program;
use super::*;
use crate::seccomp::arch;
use crate::seccomp::{Program, Support, compile, compile_on, flag, table};

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0;
const fn errno(errno: i32) -> u32 {
    0x5_0000 | errno as u32
}
const EPERM: u32 = errno(libc::EPERM);
const ENOSYS: u32 = errno(libc::ENOSYS);

/// A program for an architecture, and questions to it.
struct Judge {
    program: Program,
    arch: Arch,
}

impl Judge {
    fn of(profile: &LinuxSeccomp, native: Arch) -> Judge {
        let program = compile_on(arch::info(native), profile, &Support::ALL).unwrap();
        check_program(&program.filter);
        Judge { program, arch: native }
    }

    /// The same program asked as another architecture.
    fn on(&self, arch: Arch) -> Judge {
        Judge { program: self.program.clone(), arch }
    }

    fn nr(&self, nr: u32, args: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let arch = arch::info(self.arch);
        let call = Call { nr, arch: arch.token, args: all, big_endian: arch.big_endian };
        bpf::run(&self.program.filter, &call).0
    }

    fn call(&self, name: &str, args: &[u64]) -> u32 {
        let arch = arch::info(self.arch);
        self.nr(table::number(arch.column, table::find(name).unwrap()).unwrap() + arch.base, args)
    }
}

fn x86_64(profile: &LinuxSeccomp) -> Judge {
    Judge::of(profile, Arch::ScmpArchX86_64)
}

fn refused(profile: &LinuxSeccomp) -> String {
    let errors = compile(profile, &Support::ALL).unwrap_err();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn docker_profile() {
    let judge = x86_64(&docker());
    assert_eq!(judge.program.warnings, Vec::<String>::new());
    assert_eq!(judge.program.flags, flag::SPEC_ALLOW);
    assert_eq!(judge.program.notify, None);
    for arch in [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32] {
        let judge = judge.on(arch);
        for allowed in ["read", "openat2", "chroot", "ptrace", "mseal", "removexattrat"] {
            assert_eq!(judge.call(allowed, &[]), ALLOW, "{allowed}");
        }
        for denied in ["setns", "mount", "unshare", "io_uring_setup", "bpf", "userfaultfd", "fsopen"] {
            assert_eq!(judge.call(denied, &[]), EPERM, "{denied}");
        }
        assert_eq!(judge.call("clone3", &[]), ENOSYS);
        // Newer than the newest that the profile names.
        for newer in ["open_tree_attr", "listns"] {
            assert_eq!(judge.call(newer, &[]), ENOSYS, "{newer}");
        }
        let new_user = libc::CLONE_NEWUSER as u64;
        assert_eq!(judge.call("clone", &[17]), ALLOW);
        assert_eq!(judge.call("clone", &[new_user | 17]), EPERM);
        assert_eq!(judge.call("personality", &[8]), ALLOW);
        assert_eq!(judge.call("personality", &[9]), EPERM);
        assert_eq!(judge.call("socket", &[libc::AF_INET as u64]), ALLOW);
        assert_eq!(judge.call("socket", &[libc::AF_VSOCK as u64]), EPERM);
    }
    assert_eq!(judge.on(Arch::ScmpArchX86).call("socketcall", &[1]), ALLOW);
    // The high half counts where arguments have 64 bits, and only there.
    assert_eq!(judge.call("personality", &[8 | 1 << 32]), EPERM);
    assert_eq!(judge.on(Arch::ScmpArchX32).call("personality", &[8 | 1 << 32]), ALLOW);
    assert_eq!(judge.nr(u32::MAX, &[]), ENOSYS);
    assert_eq!(judge.on(Arch::ScmpArchAarch64).nr(0, &[]), KILL);
}

#[test]
fn the_tree_is_small_and_flat() {
    let judge = x86_64(&docker());
    let arch = arch::info(Arch::ScmpArchX86_64);
    let steps = |nr| {
        let call = Call { nr, arch: arch.token, args: [0; 6], big_endian: false };
        bpf::run(&judge.program.filter, &call).1
    };
    let worst = (0..600).map(steps).max().unwrap();
    assert!(worst <= 24, "{worst} instructions for a call");
    assert!(judge.program.filter.len() <= 300, "{} instructions", judge.program.filter.len());
}

#[test]
fn every_action() {
    let actions = [
        (Act::ScmpActKill, None, KILL),
        (Act::ScmpActKillThread, None, KILL),
        (Act::ScmpActKillProcess, None, 0x8000_0000),
        (Act::ScmpActTrap, None, 0x3_0000),
        (Act::ScmpActErrno, None, EPERM),
        (Act::ScmpActErrno, Some(0), errno(0)),
        (Act::ScmpActErrno, Some(4095), errno(4095)),
        (Act::ScmpActTrace, None, 0x7ff0_0001),
        (Act::ScmpActTrace, Some(0xffff), 0x7ff0_ffff),
        (Act::ScmpActLog, None, 0x7ffc_0000),
        (Act::ScmpActAllow, None, ALLOW),
        (Act::ScmpActNotify, None, 0x7fc0_0000),
    ];
    for (action, errno_ret, verdict) in actions {
        let mut rules =
            profile(Act::ScmpActErrno, Some(99), vec![rule(&["read"], action, errno_ret, vec![])]);
        rules.set_listener_path(Some("/run/agent".into()));
        assert_eq!(x86_64(&rules).call("read", &[]), verdict, "{action}");
        if action != Act::ScmpActNotify {
            let rules = profile(action, errno_ret, vec![]);
            assert_eq!(x86_64(&rules).call("read", &[]), verdict, "default {action}");
        }
    }
}

#[test]
fn newer_calls_are_unknown_unless_the_default_is_permissive() {
    let newest = vec![rule(&["openat2", "set_tls"], Act::ScmpActAllow, None, vec![])];
    for (default, own, newer) in [
        (Act::ScmpActErrno, EPERM, ENOSYS),
        (Act::ScmpActKill, KILL, ENOSYS),
        (Act::ScmpActKillProcess, 0x8000_0000, ENOSYS),
        (Act::ScmpActTrap, 0x3_0000, ENOSYS),
        (Act::ScmpActLog, 0x7ffc_0000, 0x7ffc_0000),
        (Act::ScmpActTrace, 0x7ff0_0001, 0x7ff0_0001),
    ] {
        let judge = x86_64(&profile(default, None, newest.clone()));
        assert_eq!(judge.call("read", &[]), own, "{default}");
        assert_eq!(judge.call("openat2", &[]), ALLOW);
        assert_eq!(judge.call("pidfd_getfd", &[]), newer, "{default}");
        assert_eq!(judge.nr(0x3fff_ffff, &[]), newer, "{default}");
    }
    // The names of rules that say no more than the default count too.
    let same = profile(Act::ScmpActErrno, None, vec![rule(&["openat2"], Act::ScmpActErrno, None, vec![])]);
    assert_eq!(x86_64(&same).call("read", &[]), EPERM);
    assert_eq!(x86_64(&same).call("pidfd_getfd", &[]), ENOSYS);
    // No rule, no opinion on what is new.
    assert_eq!(x86_64(&profile(Act::ScmpActErrno, None, vec![])).nr(4000, &[]), EPERM);

    // ARM's private calls are not newer calls; and a call s390 could not number arrives as 0.
    let arm = Judge::of(&profile(Act::ScmpActErrno, None, newest.clone()), Arch::ScmpArchArm);
    assert_eq!(arm.call("pidfd_getfd", &[]), ENOSYS);
    assert_eq!(arm.call("set_tls", &[]), ALLOW);
    assert_eq!(arm.call("get_tls", &[]), EPERM);
    // Nor are those that only x32 has.
    let rules = vec![rule(&["pwritev2", "statx"], Act::ScmpActAllow, None, vec![])];
    let x32 = Judge::of(&profile(Act::ScmpActErrno, None, rules), Arch::ScmpArchX32);
    assert_eq!((x32.call("pwritev2", &[]), x32.call("ioctl", &[])), (ALLOW, EPERM));
    assert_eq!((x32.call("openat2", &[]), x32.call("read", &[])), (ENOSYS, EPERM));
    for s390 in [Arch::ScmpArchS390, Arch::ScmpArchS390x] {
        let s390 = Judge::of(&profile(Act::ScmpActErrno, None, newest.clone()), s390);
        assert_eq!((s390.nr(0, &[]), s390.call("read", &[])), (ENOSYS, EPERM));
    }
}

#[test]
fn x32_without_leave_is_another_architecture() {
    let read = profile(Act::ScmpActErrno, None, vec![rule(&["read"], Act::ScmpActAllow, None, vec![])]);
    let judge = x86_64(&read);
    assert_eq!(judge.call("read", &[]), ALLOW);
    for nr in [0x4000_0000, 0x4000_0001, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1] {
        assert_eq!(judge.nr(nr, &[]), KILL, "{nr:#x}");
    }
    // What a tracer writes to skip a call.
    assert_eq!(judge.nr(u32::MAX, &[]), EPERM);
    // x32 alone is the other way round; the native architecture is always there.
    let judge = Judge::of(&read, Arch::ScmpArchX32);
    assert_eq!((judge.nr(0x4000_0000, &[]), judge.nr(0, &[])), (ALLOW, KILL));
    let mut arm = read.clone();
    arm.set_architectures(Some(vec![Arch::ScmpArchArm, Arch::ScmpArchNative]));
    let judge = Judge::of(&arm, Arch::ScmpArchAarch64);
    assert_eq!((judge.call("read", &[]), judge.on(Arch::ScmpArchArm).call("read", &[])), (ALLOW, ALLOW));
}

#[test]
fn precedence_of_rules_for_one_call() {
    let one = vec![arg(0, Cmp::ScmpCmpEq, 1, 0)];
    let rules = |rules| x86_64(&profile(Act::ScmpActErrno, None, rules));
    // Unconditional rules beat conditional ones wherever they stand, and the first of them holds.
    let judge = rules(vec![
        rule(&["read"], Act::ScmpActTrap, None, one.clone()),
        rule(&["read"], Act::ScmpActAllow, None, vec![]),
        rule(&["read"], Act::ScmpActKill, None, vec![]),
        rule(&["read"], Act::ScmpActLog, None, one.clone()),
    ]);
    assert_eq!((judge.call("read", &[1]), judge.call("read", &[2])), (ALLOW, ALLOW));
    // A rule with the default action is no rule.
    let judge = rules(vec![
        rule(&["read"], Act::ScmpActErrno, Some(1), vec![]),
        rule(&["read"], Act::ScmpActLog, None, one.clone()),
    ]);
    assert_eq!((judge.call("read", &[1]), judge.call("read", &[2])), (0x7ffc_0000, EPERM));
    let judge = rules(vec![
        rule(&["read"], Act::ScmpActErrno, Some(1), one.clone()),
        rule(&["read"], Act::ScmpActAllow, None, vec![arg(0, Cmp::ScmpCmpGe, 1, 0)]),
    ]);
    assert_eq!((judge.call("read", &[1]), judge.call("read", &[0])), (ALLOW, EPERM));
    // The same rule again adds nothing, and with another action it is too late.
    let again = vec![rule(&["read"], Act::ScmpActAllow, None, one.clone()); 3];
    assert_eq!(rules(again.clone()).program.filter.len(), rules(again[..1].to_vec()).program.filter.len());
    let late = rule(&["read"], Act::ScmpActLog, None, one.clone());
    assert_eq!(rules(vec![again[0].clone(), late]).call("read", &[1]), ALLOW);
    // All conditions of a rule, any rule of a call.
    let judge = rules(vec![
        rule(
            &["read"],
            Act::ScmpActAllow,
            None,
            vec![arg(2, Cmp::ScmpCmpGt, 7, 0), arg(0, Cmp::ScmpCmpEq, 1, 0)],
        ),
        rule(&["read"], Act::ScmpActAllow, None, vec![arg(1, Cmp::ScmpCmpEq, 5, 0)]),
    ]);
    assert_eq!((judge.call("read", &[1, 0, 8]), judge.call("read", &[1, 0, 7])), (ALLOW, EPERM));
    assert_eq!((judge.call("read", &[2, 0, 8]), judge.call("read", &[2, 5, 0])), (EPERM, ALLOW));
    // The same argument twice: each condition for itself, as runc has it.
    let twice =
        vec![arg(0, Cmp::ScmpCmpEq, 1, 0), arg(0, Cmp::ScmpCmpEq, 2, 0), arg(1, Cmp::ScmpCmpEq, 3, 0)];
    let judge = rules(vec![rule(&["read"], Act::ScmpActAllow, None, twice)]);
    assert_eq!((judge.call("read", &[1, 9]), judge.call("read", &[2, 9])), (ALLOW, ALLOW));
    assert_eq!((judge.call("read", &[9, 3]), judge.call("read", &[9, 9])), (ALLOW, EPERM));
    // A mask of nothing is no condition, on 32 bits also one of the high half alone.
    let high = vec![arg(0, Cmp::ScmpCmpMaskedEq, 1 << 40, 0)];
    let low = rule(&["read"], Act::ScmpActTrap, None, vec![arg(0, Cmp::ScmpCmpEq, 1, 0)]);
    let mut both =
        profile(Act::ScmpActErrno, None, vec![low, rule(&["read"], Act::ScmpActAllow, None, high)]);
    both.set_architectures(Some(vec![Arch::ScmpArchX86]));
    let judge = x86_64(&both);
    assert_eq!((judge.call("read", &[1 << 40]), judge.call("read", &[0])), (EPERM, ALLOW));
    assert_eq!((judge.call("read", &[1]), judge.on(Arch::ScmpArchX86).call("read", &[1])), (0x3_0000, ALLOW));
}

#[test]
fn overlapping_rules_of_different_actions_ask_the_closer_comparison_first() {
    let two = |a: LinuxSeccompArg, b: LinuxSeccompArg| {
        let (first, second) = (vec![a], vec![b]);
        let forth = vec![
            rule(&["read"], Act::ScmpActTrap, None, first),
            rule(&["read"], Act::ScmpActAllow, None, second),
        ];
        let back = forth.iter().rev().cloned().collect();
        [forth, back].map(|rules| x86_64(&profile(Act::ScmpActErrno, None, rules)))
    };
    let cases = [
        (
            arg(0, Cmp::ScmpCmpGe, 5, 0),
            arg(0, Cmp::ScmpCmpGe, 10, 0),
            [(4, EPERM), (7, 0x3_0000), (10, ALLOW)],
        ),
        (
            arg(0, Cmp::ScmpCmpLe, 10, 0),
            arg(0, Cmp::ScmpCmpLe, 5, 0),
            [(11, EPERM), (7, 0x3_0000), (5, ALLOW)],
        ),
        (arg(0, Cmp::ScmpCmpGe, 5, 0), arg(0, Cmp::ScmpCmpEq, 7, 0), [(4, EPERM), (8, 0x3_0000), (7, ALLOW)]),
    ];
    for (wide, close, expected) in cases {
        for judge in two(wide, close) {
            for (value, verdict) in expected {
                assert_eq!(judge.call("read", &[value]), verdict, "{close:?} {value}");
            }
        }
    }
}

#[test]
fn multiplexed_calls() {
    let socket = vec![rule(&["socket"], Act::ScmpActErrno, Some(97), vec![arg(0, Cmp::ScmpCmpEq, 38, 0)])];
    let mut rules = profile(Act::ScmpActAllow, None, socket);
    rules.set_architectures(Some(vec![Arch::ScmpArchX86]));
    let judge = x86_64(&rules).on(Arch::ScmpArchX86);
    assert_eq!((judge.call("socket", &[38]), judge.call("socket", &[2])), (errno(97), ALLOW));
    // socketcall hides the real arguments behind a pointer: all calls of its kind, as libseccomp has it.
    assert_eq!((judge.call("socketcall", &[1, 0xdead]), judge.call("socketcall", &[2])), (errno(97), ALLOW));
    let semop = profile(Act::ScmpActErrno, None, vec![rule(&["semop"], Act::ScmpActAllow, None, vec![])]);
    for arch in [Arch::ScmpArchX86, Arch::ScmpArchS390x, Arch::ScmpArchPpc64le, Arch::ScmpArchMips] {
        let judge = Judge::of(&semop, arch);
        assert_eq!((judge.call("ipc", &[1]), judge.call("ipc", &[2])), (ALLOW, EPERM), "{arch}");
    }
}

#[test]
fn long_programs_jump_over_255() {
    // Distinct conditions for many calls, so that the tree lies far from its blocks.
    let names: Vec<&str> = table::names().collect();
    let conds = |i: usize| {
        vec![arg(i % 6, Cmp::ScmpCmpEq, (i as u64) << 30, 0), arg((i + 1) % 6, Cmp::ScmpCmpLt, 9, 0)]
    };
    let rules = |count: usize| {
        let rules = names.iter().enumerate().take(count);
        let rules = rules.map(|(i, name)| rule(&[name], Act::ScmpActErrno, Some(i as u32), conds(i)));
        profile(Act::ScmpActAllow, None, rules.collect())
    };
    let judge = x86_64(&rules(300));
    assert!(judge.program.filter.len() > 1000);
    for (i, name) in names.iter().enumerate().take(300) {
        let arch = arch::info(Arch::ScmpArchX86_64);
        let Some(nr) = table::number(arch.column, table::find(name).unwrap()) else { continue };
        let mut args = [0; 6];
        args[i % 6] = (i as u64) << 30;
        let expected = if i == 0 { ALLOW } else { errno(i as i32) };
        if i > 0 {
            assert_eq!(judge.nr(nr, &args), expected, "{name}");
        }
        args[(i + 1) % 6] = 9;
        assert_eq!(judge.nr(nr, &args), ALLOW, "{name}");
    }
    let mut all = rules(names.len());
    all.set_architectures(Some(vec![Arch::ScmpArchX86, Arch::ScmpArchX32, Arch::ScmpArchArm]));
    let message = refused(&all);
    assert!(message.starts_with("linux.seccomp.syscalls: the filter needs "), "{message}");
    assert!(message.ends_with(" instructions, the kernel takes at most 4096"), "{message}");
}

#[test]
fn what_is_refused() {
    let allow = |rules| profile(Act::ScmpActAllow, None, rules);
    let notify = |names: &[&str]| allow(vec![rule(names, Act::ScmpActNotify, None, vec![])]);
    let cases = [
        (
            profile(Act::ScmpActNotify, None, vec![]),
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            notify(&["read", "write"]),
            "linux.seccomp.syscalls[0].names[1]: SCMP_ACT_NOTIFY cannot be used for the write syscall; \
             linux.seccomp.listenerPath: must be specified: syscalls[0] has the action SCMP_ACT_NOTIFY",
        ),
        (
            notify(&["read"]),
            "linux.seccomp.listenerPath: must be specified: syscalls[0] has the action SCMP_ACT_NOTIFY",
        ),
        (
            allow(vec![rule(&["read", ""], Act::ScmpActLog, None, vec![])]),
            "linux.seccomp.syscalls[0].names[1]: must not be empty",
        ),
        (
            allow(vec![rule(
                &["read"],
                Act::ScmpActLog,
                None,
                vec![arg(0, Cmp::ScmpCmpEq, 1, 0), arg(6, Cmp::ScmpCmpEq, 1, 0)],
            )]),
            "linux.seccomp.syscalls[0].args[1].index: 6 is not between 0 and 5",
        ),
        (
            allow(vec![rule(&["read"], Act::ScmpActErrno, Some(4096), vec![])]),
            "linux.seccomp.syscalls[0].errnoRet: 4096 is larger than 4095",
        ),
        (
            profile(Act::ScmpActTrace, Some(65536), vec![]),
            "linux.seccomp.defaultErrnoRet: 65536 is larger than 65535",
        ),
    ];
    for (profile, message) in cases {
        assert_eq!(refused(&profile), message);
    }
    let none = allow(vec![rule(&[], Act::ScmpActErrno, None, vec![])]);
    assert_eq!(refused(&none), "linux.seccomp.syscalls[0].names: must contain at least one entry");
    let all = profile(
        Act::ScmpActErrno,
        Some(5000),
        vec![
            rule(&[""], Act::ScmpActErrno, Some(4096), vec![arg(9, Cmp::ScmpCmpEq, 1, 0)]),
            rule(&["write"], Act::ScmpActNotify, None, vec![]),
        ],
    );
    assert_eq!(
        refused(&all),
        "linux.seccomp.defaultErrnoRet: 5000 is larger than 4095; \
         linux.seccomp.syscalls[0].names[0]: must not be empty; \
         linux.seccomp.syscalls[0].errnoRet: 4096 is larger than 4095; \
         linux.seccomp.syscalls[0].args[0].index: 9 is not between 0 and 5; \
         linux.seccomp.syscalls[1].names[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall; \
         linux.seccomp.listenerPath: must be specified: syscalls[1] has the action SCMP_ACT_NOTIFY"
    );
    let mut listener = allow(vec![]);
    listener.set_listener_path(Some("relative".into()));
    assert!(compile(&listener, &Support::ALL).is_ok(), "nothing is sent there");
    listener.set_syscalls(Some(vec![rule(&["read"], Act::ScmpActNotify, None, vec![])]));
    let want = "linux.seccomp.listenerPath: must be an absolute path, not \"relative\"";
    assert_eq!(refused(&listener), want);
    let mut metadata = allow(vec![]);
    metadata.set_listener_metadata(Some("x".to_owned()));
    assert_eq!(refused(&metadata), "linux.seccomp.listenerMetadata: must not be set without listenerPath");
}

#[test]
fn what_the_kernel_lacks_is_refused() {
    let none = Support { kill_process: false, log: false, notify: false, flags: 0 };
    let lacks = |profile: &LinuxSeccomp| compile(profile, &none).unwrap_err()[0].to_string();
    for action in [Act::ScmpActKillProcess, Act::ScmpActLog, Act::ScmpActNotify] {
        let rules = profile(Act::ScmpActAllow, None, vec![rule(&["read"], action, None, vec![])]);
        assert_eq!(
            lacks(&rules),
            format!("linux.seccomp.syscalls[0].action: {action} is not supported by this kernel")
        );
    }
    let mut flags = profile(Act::ScmpActAllow, None, vec![]);
    assert_eq!(compile(&flags, &none).unwrap().flags, 0);
    flags.set_flags(Some(vec![Flag::SeccompFilterFlagLog]));
    assert_eq!(
        lacks(&flags),
        "linux.seccomp.flags[0]: SECCOMP_FILTER_FLAG_LOG is not supported by this kernel"
    );
}

#[test]
fn flags_and_listener() {
    let mut rules =
        profile(Act::ScmpActAllow, None, vec![rule(&["mount"], Act::ScmpActNotify, None, vec![])]);
    rules.set_listener_path(Some("/run/agent".into())).set_listener_metadata(Some("m".to_owned()));
    let flags = |profile: &LinuxSeccomp| compile(profile, &Support::ALL).unwrap().flags;
    assert_eq!(flags(&rules), flag::SPEC_ALLOW | flag::NEW_LISTENER);
    rules.set_flags(Some(vec![]));
    assert_eq!(flags(&rules), flag::NEW_LISTENER);
    rules.set_flags(Some(vec![Flag::SeccompFilterFlagTsync, Flag::SeccompFilterFlagWaitKillableRecv]));
    let program = compile(&rules, &Support::ALL).unwrap();
    assert_eq!(program.flags, 0b11_1001);
    let notify = program.notify.unwrap();
    assert_eq!(
        (notify.listener_path.to_str().unwrap(), notify.listener_metadata.as_str()),
        ("/run/agent", "m")
    );
    // Without a rule that notifies there is no listener, and a flag for it would be refused.
    rules.set_syscalls(None);
    let program = compile(&rules, &Support::ALL).unwrap();
    assert_eq!((program.flags, program.notify), (flag::TSYNC, None));
    assert_eq!(
        program.warnings,
        [
            "linux.seccomp.flags[1]: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV has no effect without a rule that notifies"
        ]
    );
}

#[test]
fn what_is_passed_over_is_told() {
    let rules = profile(
        Act::ScmpActLog,
        Some(1),
        vec![rule(&["read", "frobnicate"], Act::ScmpActAllow, Some(3), vec![])],
    );
    let program = compile(&rules, &Support::ALL).unwrap();
    assert_eq!(
        program.warnings,
        [
            "linux.seccomp.defaultErrnoRet: SCMP_ACT_LOG takes no errno, ignored",
            "linux.seccomp.syscalls[0].names[1]: unknown system call frobnicate, ignored",
            "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_ALLOW takes no errno, ignored",
        ]
    );
}

#[test]
fn the_kernel_is_asked_only_for_what_a_profile_uses() {
    use std::cell::RefCell;
    let asked = RefCell::new(Vec::new());
    let ask = |profile: &LinuxSeccomp| {
        asked.borrow_mut().clear();
        let note = |kind: &'static str| {
            let asked = &asked;
            move |value: u32| {
                asked.borrow_mut().push((kind, value));
                true
            }
        };
        let support = Support::probe(profile, note("action"), note("flag"));
        compile(profile, &support).unwrap();
        asked.borrow().clone()
    };
    assert_eq!(ask(&docker()), [("flag", flag::SPEC_ALLOW)]);
    let mut rules =
        profile(Act::ScmpActKillProcess, None, vec![rule(&["read"], Act::ScmpActLog, None, vec![])]);
    rules.set_flags(Some(vec![]));
    assert_eq!(ask(&rules), [("action", 0x8000_0000), ("action", 0x7ffc_0000)]);
}
