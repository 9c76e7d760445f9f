//! Signals to containers that are created, dispositions that the runtime inherits, and ends.

use std::fs;
use std::time::Duration;

use tare_integration::*;

/// The signals by which an engine ends a container, and two that a stop signal of an image may be.
const ENDING: [(&str, i32); 6] =
    [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3), ("USR1", 10), ("RTMIN+3", 37)];

fn ignore_sigchld() -> std::io::Result<()> {
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    Ok(())
}

/// The same call by a caller that has the kernel reap its children.
fn unreaped(cmd: Cmd) -> Cmd {
    // SAFETY: one system call.
    unsafe { cmd.before_exec(ignore_sigchld) }
}

#[test]
fn a_signal_ends_a_created_container() {
    peer_differs("crun", "the first process of a pid namespace is deaf to them", || {
        for (signal, number) in ENDING.iter().take(if peer() == Peer::Tare { 6 } else { 3 }) {
            let c = Bundle::new().does("print never").create();
            c.kill(signal).ok();
            let code = c.wait();
            // A runtime in Go exits with 2 where it cannot kill itself.
            assert!(code == 128 + number || peer() == Peer::Runc && code == 2, "{signal}: {code}");
            assert_eq!(c.status(), "stopped", "{signal}");
            c.call("start").fails();
            c.call("delete").ok();
            assert_eq!(c.stdout(), "");
        }
    });
}

#[test]
fn a_signal_ends_a_created_container_without_a_pid_namespace() {
    for (signal, number) in &ENDING[..3] {
        let c = Bundle::new().no_ns("pid").does("print never").create();
        c.kill(signal).ok();
        assert_eq!(c.wait(), 128 + number, "{signal}");
        c.until_status("stopped");
    }
}

#[test]
fn a_signal_ends_a_created_container_with_a_filter_and_another_user() {
    if !tare_only("peers need more system calls to wait") {
        return;
    }
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["rt_sigaction", "rt_sigreturn", "kill", "tgkill"], "action": "SCMP_ACT_KILL_PROCESS"}],
    });
    let c = Bundle::new().user(1000, 1000).set("/linux/seccomp", filter).does("print never").create();
    c.kill("TERM").ok();
    assert_eq!(c.wait(), 143);
}

#[test]
fn a_signal_that_ends_nobody_leaves_a_created_container() {
    let c = Bundle::new().does("signals").create();
    for signal in ["CHLD", "URG", "WINCH", "CONT"] {
        c.kill(signal).ok();
    }
    assert_eq!(c.status(), "created");
    c.call("start").ok();
    assert_eq!(c.wait(), 0);
    peer_may_differ(
        "runc>=1.2",
        "goes on ignoring what its caller ignores, as INT behind a shell's &",
        || {
            assert_eq!(c.answer(), json!({"ignored": [], "blocked": []}));
        },
    );
}

#[test]
fn kill_without_a_cgroup_and_a_pid_namespace() {
    if peer() == Peer::Runc {
        return skip("1.1.5 has no --cgroup-manager");
    }
    let b = Bundle::new().no_ns("pid").without("/linux/resources").does("sleep");
    b.write();
    let path = b.path();
    let words = ["create", "--bundle", path.to_str().unwrap(), &b.id];
    let out = b.cmd_with(&["--cgroup-manager", "disabled"], words).run().ok();
    let c = Container::created(b, out);
    c.call("start").ok();
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
    c.until_status("stopped");
    c.kill("KILL").fails();
}

#[test]
fn kill_of_a_stopped_container_without_a_pid_namespace_is_refused() {
    peer_may_differ("runc crun", "success, and nobody was signalled", || {
        let c = Bundle::new().no_ns("pid").does("exit 0").start();
        c.wait();
        c.kill("KILL").fails().says_any(&["container not running", "no such process"]);
        c.kill("TERM").fails();
    });
}

#[test]
fn kill_reaches_a_process_that_has_left_its_cgroup() {
    if !tare_only("peers believe the cgroup") {
        return;
    }
    let c = Bundle::new().no_ns("pid").does("sleep").start();
    for dir in cgroups_of(c.pid()) {
        let _ = fs::write(dir.parent().unwrap().join("cgroup.procs"), c.pid().to_string());
    }
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
}

#[test]
fn a_caller_that_ignores_sigchld_gets_the_exit_code() {
    let b = Bundle::new().does("signals -- exit 7");
    let run = unreaped(b.launch("run")).timeout(Duration::from_secs(5));
    let c = Bundle::new().does("sleep").start();
    peer_differs("crun", "1.8.1 hangs", || {
        let out = run.run().code(7);
        assert!(out.stdout.contains("\"ignored\":[]"), "{out:?}");
        unreaped(c.exec_cmd("", "exit 5")).run().code(5);
    });
}

#[test]
fn a_caller_that_ignores_sigchld_can_have_hooks() {
    let b = ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
        .iter()
        .fold(Bundle::new(), |b, kind| b.hook(kind, "exit 0"));
    peer_differs("crun", "no child processes", || {
        unreaped(b.does("exit 3").launch("run")).run().code(3);
    });
}

/// What `start` cannot execute, though `create` has found it.
fn unusable(bytes: &str) -> Bundle {
    use std::os::unix::fs::PermissionsExt;
    let b = Bundle::new().file("/bad", bytes).args(["/bad"]);
    fs::set_permissions(b.inside("/bad"), fs::Permissions::from_mode(0o755)).unwrap();
    b
}

#[test]
fn when_start_fails_the_process_has_ended() {
    if !tare_only("peers do not wait for the exec") {
        return;
    }
    for n in 0..12 {
        let b = match n % 3 {
            0 => unusable("garbage"),
            1 => unusable("#!/no/interpreter\n"),
            _ => Bundle::new().args(["/payload", &"x".repeat(200_000)]),
        };
        let c = b.create();
        c.call("start").fails().says("unable to start container process: exec ");
        let stat = fs::read_to_string(format!("/proc/{}/stat", c.pid())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        assert_eq!(c.status(), "stopped");
        c.call("delete").ok();
    }
}

#[test]
fn a_death_in_a_start_container_hook_is_no_start() {
    if !tare_only("runc cannot tell it from an exec") {
        return;
    }
    let b = Bundle::new().hook("startContainer", "touch /tmp/there -- sleep").does("umask");
    let there = b.inside("/tmp/there");
    let c = b.create();
    let start = c.cmd(["start", &c.id]).spawn();
    assert!(until(Duration::from_secs(5), || there.exists()), "the hook does not run");
    c.kill("KILL").ok();
    start.wait().fails().says("the container's process has ended before its exec");
}
