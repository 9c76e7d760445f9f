//! Seccomp: actions, operators, architectures, flags, the listener, Docker's profile.

use std::os::unix::net::UnixListener;

use tare_integration::*;

/// getpgid(2): takes a number, touches nothing, and answers ESRCH for one that is no process.
const GETPGID: i64 = 121;

/// A filter that allows all but the syscalls of `rules`.
fn filter(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules})
}

fn with(profile: Value) -> Bundle {
    Bundle::new().set("/linux/seccomp", profile)
}

/// One rule: `getpgid` with this action.
fn rule(action: &str) -> Value {
    json!([{"names": ["getpgid"], "action": action}])
}

#[test]
fn a_filter_is_loaded() {
    let out = with(filter(rule("SCMP_ACT_ERRNO"))).does("status Seccomp Seccomp_filters").run().json();
    assert_eq!((&out["Seccomp"], &out["Seccomp_filters"]), (&json!("2"), &json!("1")));
    assert_eq!(Bundle::new().does("status Seccomp").run().json()["Seccomp"], "0");
}

#[test]
fn without_no_new_privileges_too() {
    // The runtime must load it while it still may (CAP_SYS_ADMIN), and not set the bit by itself.
    let b = with(filter(rule("SCMP_ACT_ERRNO"))).set("/process/noNewPrivileges", json!(false));
    let out = b.does("status Seccomp NoNewPrivs CapBnd").run().json();
    assert_eq!((&out["Seccomp"], &out["NoNewPrivs"]), (&json!("2"), &json!("0")));
    let b =
        with(filter(rule("SCMP_ACT_ERRNO"))).set("/process/noNewPrivileges", json!(false)).user(1000, 1000);
    assert_eq!(b.does("status Seccomp").run().json()["Seccomp"], "2");
}

#[test]
fn with_no_new_privileges_the_filter_need_not_allow_what_sets_up() {
    // It is loaded last then, so that a tight profile need not list capset and prctl. A process needs execve alone.
    let names = [
        "capset",
        "capget",
        "prctl",
        "setuid",
        "setgid",
        "setgroups",
        "umask",
        "chdir",
        "getcwd",
        "setrlimit",
    ];
    let rules = json!([{"names": names, "action": "SCMP_ACT_ERRNO"}]);
    let b =
        with(filter(rules)).set("/process/noNewPrivileges", json!(true)).user(5, 6).does("status Seccomp");
    assert_eq!(b.run().ok().json()["Seccomp"], "2");
    let c = b.does("sleep").start();
    peer_differs("crun", "loads it early in exec", || {
        assert_eq!(c.exec("status Seccomp").ok().json()["Seccomp"], "2");
    });
}

#[test]
fn the_working_directory_is_looked_at_before_the_filter_is_loaded() {
    // Getcwd tells whether it is inside (CVE-2024-21626), and a profile may well deny it.
    peer_differs("runc", "1.1.5 goes there after the filter unless there is no_new_privs", || {
        for no_new_privileges in [false, true] {
            for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
                let rules = json!([{"names": ["getcwd", "chdir"], "action": action}]);
                let b = with(filter(rules))
                    .set("/process/noNewPrivileges", json!(no_new_privileges))
                    .set("/process/cwd", json!("/tmp"));
                assert_eq!(b.does("status Seccomp").run().ok().json()["Seccomp"], "2", "{action}");
            }
        }
    });
    let rules = json!([{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]);
    assert_eq!(with(filter(rules)).does("syscall 79 0").run().json(), json!({"errno": 1}));
}

#[test]
fn errno() {
    let b = with(filter(rule("SCMP_ACT_ERRNO"))).does("syscall 121 0");
    assert_eq!(b.run().json(), json!({"errno": 1}), "EPERM by default");
    let rules = json!([{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42}]);
    assert_eq!(with(filter(rules)).does("syscall 121 0").run().json(), json!({"errno": 42}));
    // 0 is a number as well: the call seems to succeed.
    let rules = json!([{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}]);
    assert_eq!(with(filter(rules)).does("syscall 121 99999").run().json(), json!({"ret": 0}));
}

#[test]
fn the_killing_actions() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"] {
        let out = with(filter(rule(action))).does("print before -- syscall 121 0 -- print after").run();
        assert_eq!(out.code, Some(128 + 31), "{action}: {out:?}");
        assert_eq!(out.stdout, "\"before\"\n", "{action}");
    }
}

#[test]
fn the_actions_that_let_through() {
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        assert_eq!(
            with(filter(rule(action))).does("syscall 121 0").run().json(),
            json!({"ret": 1}),
            "{action}"
        );
    }
    // Nobody traces: ENOSYS.
    assert_eq!(with(filter(rule("SCMP_ACT_TRACE"))).does("syscall 121 0").run().json(), json!({"errno": 38}));
}

/// Operator, the two values of the rule, arguments that match and that do not.
type Operator = (&'static str, u64, u64, &'static [u64], &'static [u64]);

const OPERATORS: &[Operator] = &[
    ("SCMP_CMP_EQ", 70_000, 0, &[70_000], &[69_999, 70_001, 0, 70_000 | 1 << 32]),
    ("SCMP_CMP_NE", 70_000, 0, &[69_999, 0, 70_000 | 1 << 32], &[70_000]),
    ("SCMP_CMP_LT", 70_000, 0, &[0, 69_999], &[70_000, 70_001, 1 << 32]),
    ("SCMP_CMP_LE", 70_000, 0, &[0, 70_000], &[70_001, 1 << 32]),
    ("SCMP_CMP_GT", 70_000, 0, &[70_001, 1 << 32, u64::MAX], &[70_000, 0]),
    ("SCMP_CMP_GE", 70_000, 0, &[70_000, 1 << 32], &[69_999, 0]),
    ("SCMP_CMP_MASKED_EQ", 0xff0, 0x120, &[0x120, 0xf12f, 0x120 | 1 << 40], &[0x121 << 4, 0x130, 0]),
    // Values that need all 64 bits.
    ("SCMP_CMP_EQ", 5 << 32 | 7, 0, &[5 << 32 | 7], &[7, 5 << 32, 7 << 32 | 5]),
    ("SCMP_CMP_LT", 5 << 32 | 7, 0, &[5 << 32 | 6, 4 << 32 | 9, 9], &[5 << 32 | 7, 6 << 32]),
    ("SCMP_CMP_GE", 5 << 32 | 7, 0, &[5 << 32 | 7, 6 << 32], &[5 << 32 | 6, 4 << 32 | 9]),
    ("SCMP_CMP_GT", u64::MAX - 1, 0, &[u64::MAX], &[u64::MAX - 1, 0]),
    ("SCMP_CMP_MASKED_EQ", 0xff << 32, 0x12 << 32, &[0x12 << 32, 0x12 << 32 | 9], &[0x13 << 32, 0x12]),
];

#[test]
fn operators() {
    for (op, value, second, matching, others) in OPERATORS {
        let args = json!([{"index": 0, "value": value, "valueTwo": second, "op": op}]);
        let rules = json!([{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42, "args": args}]);
        let all: Vec<u64> = matching.iter().chain(*others).copied().collect();
        let verbs: Vec<String> = all.iter().map(|v| format!("syscall {GETPGID} {v}")).collect();
        let out = with(filter(rules)).does(&verbs.join(" -- ")).run().ok().answers();
        for (n, seen) in out.iter().enumerate() {
            let caught = seen == &json!({"errno": 42});
            assert_eq!(caught, n < matching.len(), "{op} {value:#x} {second:#x} of {:#x}: {seen}", all[n]);
        }
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives() {
    // Not what the specification says, but what runc and crun do, and profiles are written against them.
    let args = json!([
        {"index": 0, "value": 80_000, "op": "SCMP_CMP_GE"},
        {"index": 0, "value": 70_000, "op": "SCMP_CMP_LT"}
    ]);
    let rules = json!([{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42, "args": args}]);
    let out = with(filter(rules)).does("syscall 121 0 -- syscall 121 75000 -- syscall 121 85000").run();
    assert_eq!(out.ok().answers(), [json!({"errno": 42}), json!({"errno": 3}), json!({"errno": 42})]);
}

#[test]
fn conditions_on_different_arguments_must_all_hold() {
    let args = json!([
        {"index": 1, "value": 70_000, "op": "SCMP_CMP_GE"},
        {"index": 3, "value": 5, "op": "SCMP_CMP_EQ"}
    ]);
    let rules = json!([{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42, "args": args}]);
    let verbs = "syscall 121 0 70000 0 5 -- syscall 121 0 70000 0 6 -- syscall 121 0 1 0 5";
    let out = with(filter(rules)).does(verbs).run().ok().answers();
    assert_eq!(out, [json!({"errno": 42}), json!({"ret": 1}), json!({"ret": 1})]);
}

#[test]
fn several_rules_for_one_syscall_are_alternatives() {
    let one = |value: u64, errno: u32| {
        json!({"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno,
               "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]})
    };
    let b = with(filter(json!([one(70_001, 41), one(70_002, 42)])));
    let out = b.does("syscall 121 70001 -- syscall 121 70002 -- syscall 121 70003").run().ok().answers();
    assert_eq!(out, [json!({"errno": 41}), json!({"errno": 42}), json!({"errno": 3})]);
}

#[test]
fn the_32_bit_architecture() {
    // getpid is 20 there and 39 here: the names count, not the numbers.
    let rules = json!([{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42}]);
    let mut profile = filter(rules);
    profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    let out =
        with(profile).does("syscall 39 -- syscall32 20 -- syscall32 24 -- syscall 20").run().ok().answers();
    assert_eq!(out[0], json!({"errno": 42}));
    assert_eq!(out[1], json!({"errno": 42}));
    assert_eq!(out[2], json!({"ret": 0}), "getuid");
    assert_ne!(out[3], json!({"errno": 42}), "20 here is writev");
}

#[test]
fn an_architecture_that_is_not_listed_does_not_get_by() {
    let rules = json!([{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42}]);
    let out = with(filter(rules)).does("print before -- syscall32 20 -- print after").run();
    // libseccomp kills; a refusal is as good. What must not be is an answer.
    assert!(!out.stdout.contains("\"ret\""), "{out:?}");
    assert!(out.stdout.contains("before"));
}

#[test]
fn x32_numbers_do_not_get_by() {
    let rules = json!([{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42}]);
    let number = 39 | 0x4000_0000;
    let out = with(filter(rules)).does(&format!("print before -- syscall {number} -- print after")).run();
    assert!(!out.stdout.contains("\"ret\""), "{out:?}");
}

/// What a small static program needs to report, so that all else can be denied by default.
const NEEDED: &str = "read write writev close fstat newfstatat mmap munmap mprotect mremap brk rt_sigaction rt_sigprocmask \
    sigaltstack arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom readlink readlinkat poll futex exit_group \
    exit execve fcntl madvise openat sched_getaffinity gettid getpid uname access statx lseek prctl capget capset \
    setresuid setresgid setgroups chdir getcwd close_range getppid tgkill dup3 fchdir setuid setgid getuid geteuid \
    getgid getegid getdents64 fstatfs epoll_ctl epoll_pwait pread64 nanosleep clock_nanosleep clock_gettime sched_yield \
    rt_sigreturn faccessat faccessat2 stat lstat open kill pselect6 ppoll restart_syscall ioctl";

fn denying(default: Value) -> Value {
    let names: Vec<&str> = NEEDED.split_whitespace().collect();
    let mut profile = default;
    profile["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    profile["syscalls"] = json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]);
    profile
}

#[test]
fn a_default_that_denies() {
    let b = with(denying(json!({"defaultAction": "SCMP_ACT_ERRNO"}))).does("syscall 121 0");
    assert_eq!(b.run().json(), json!({"errno": 1}));
    let b = with(denying(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 33})))
        .does("syscall 121 0");
    assert_eq!(b.run().json(), json!({"errno": 33}));
    let b = with(denying(json!({"defaultAction": "SCMP_ACT_KILL_PROCESS"}))).does("print a -- syscall 121 0");
    peer_differs("runc>=1.2", "dies by what its init does after the filter", || drop(b.run().code(159)));
}

#[test]
fn a_syscall_newer_than_the_profile_is_enosys() {
    // So that a libc falls back to an older one; EPERM would be an error to it.
    peer_differs("crun", "the default's errno", || {
        let b =
            with(denying(json!({"defaultAction": "SCMP_ACT_ERRNO"}))).does("syscall 4999 -- syscall 121 0");
        assert_eq!(b.run().ok().answers(), [json!({"errno": 38}), json!({"errno": 1})]);
    });
}

#[test]
fn unknown_names_are_passed_over() {
    let rules = json!([{"names": ["no_such_syscall", "getpgid"], "action": "SCMP_ACT_ERRNO"}]);
    assert_eq!(with(filter(rules)).does("syscall 121 0").run().json(), json!({"errno": 1}));
}

#[test]
fn flags() {
    for flag in ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"] {
        let mut profile = filter(rule("SCMP_ACT_ERRNO"));
        profile["flags"] = json!([flag]);
        peer_differs("runc<1.2", "takes no flags", || {
            assert_eq!(with(profile).does("syscall 121 0").run().json(), json!({"errno": 1}), "{flag}");
        });
    }
    let mut profile = filter(rule("SCMP_ACT_ERRNO"));
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_NONSENSE"]);
    peer_differs("crun", "passes over what it does not know", || drop(with(profile).refused()));
}

#[test]
fn mistakes_are_refused() {
    let bad = [
        json!([{"names": ["getpgid"], "action": "SCMP_ACT_NONSENSE"}]),
        json!([{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_XX"}]}]),
        json!([{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]),
    ];
    for rules in bad {
        let out = with(filter(rules)).refused();
        if peer() == Peer::Tare {
            assert!(out.line().contains("linux.seccomp.syscalls[0]"), "{}", out.line());
        }
    }
    let mut profile = filter(rule("SCMP_ACT_ERRNO"));
    profile["architectures"] = json!(["SCMP_ARCH_NONSENSE"]);
    with(profile).refused();
}

#[test]
fn it_holds_in_exec() {
    let c = with(filter(rule("SCMP_ACT_ERRNO"))).does("sleep").start();
    let out = c.exec("status Seccomp -- syscall 121 0").ok();
    assert_eq!(out.json()["Seccomp"], "2");
    assert_eq!(out.json_line(1), json!({"errno": 1}));
}

#[test]
fn the_listener_gets_the_fd_and_the_state() {
    let b = with(filter(rule("SCMP_ACT_NOTIFY")));
    let socket = b.outside().join("listener");
    let listener = UnixListener::bind(&socket).unwrap();
    let b = b
        .set("/linux/seccomp/listenerPath", json!(socket))
        .set("/linux/seccomp/listenerMetadata", json!("some words"))
        .set("/annotations", json!({"key": "value"}))
        .does("status Seccomp -- syscall 121 0");
    let run = b.launch("run").spawn();
    let (fd, text) = receive_fd(&listener);
    let state: Value = text.trim_end_matches('\0').parse().unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(state["fds"], json!(["seccompFd"]), "{state}");
    assert_eq!(state["metadata"], "some words");
    assert!(state["pid"].as_i64().unwrap() > 0);
    assert_eq!(state["state"]["id"], b.id);
    assert_eq!(state["state"]["bundle"], json!(b.path()));
    // With nobody left to answer the call fails with ENOSYS.
    drop(fd);
    let out = run.wait().ok();
    assert_eq!(out.json_line(1), json!({"errno": 38}));
}

#[test]
fn notify_without_a_listener_is_refused() {
    let b = with(filter(rule("SCMP_ACT_NOTIFY")));
    peer_differs("crun", "tries until it is killed", || {
        drop(b.refused());
    });
}

fn docker_seccomp() -> Value {
    include_str!("../data/docker-seccomp.json").parse().unwrap()
}

#[test]
fn dockers_profile() {
    // getpgid, mount, personality, unshare, init_module; clone3 is ENOSYS by a rule of its own.
    let verbs = "syscall 121 0 -- syscall 165 0 0 0 0 0 -- syscall 135 0xffffffff -- syscall 272 0x10000000 \
        -- syscall 175 0 0 0 -- syscall 435 0 0 -- syscall 135 0x1234";
    let out = with(docker_seccomp()).does(verbs).run().ok().answers();
    assert_eq!(out[0], json!({"ret": 1}));
    assert_eq!(out[1], json!({"errno": 1}), "mount");
    assert!(out[2]["ret"].is_number(), "personality may be asked for");
    assert_eq!(out[3], json!({"errno": 1}), "unshare");
    assert_eq!(out[4], json!({"errno": 1}), "init_module");
    assert_eq!(out[5], json!({"errno": 38}), "clone3");
    assert_eq!(out[6], json!({"errno": 1}), "personality, another value");
}

#[test]
fn dockers_bundle() {
    peer_differs("crun<1.21", "does not know its ociVersion", || {
        let mut b = Bundle::new();
        let rootfs = b.rootfs();
        b.spec = include_str!("../data/docker-config.json").parse().unwrap();
        let mut b = b
            .set("/root/path", json!(rootfs))
            .set("/process/terminal", json!(false))
            .set("/linux/seccomp", docker_seccomp())
            .set("/process/oomScoreAdj", json!(0));
        // What the engine mounts from its own folders is not here, nor its hooks and cgroup parent.
        b.spec["mounts"].as_array_mut().unwrap().retain(|m| m["type"] != "bind");
        let b = b.without("/hooks").without("/linux/cgroupsPath").without("/process/rlimits");
        let b = b.without("/process/apparmorProfile");
        let verbs = "status Seccomp -- syscall 165 0 0 0 0 0 -- open rw /dev/null -- read /proc/keys";
        let out = b.does(verbs).run().ok();
        assert_eq!(out.json()["Seccomp"], "2");
        assert_eq!(out.json_line(1), json!({"errno": 1}));
        assert_eq!(out.json_line(2), json!(["ok"]));
        assert_eq!(out.json_line(3), "");
    });
}
