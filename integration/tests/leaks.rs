//! Nothing hangs, nothing is left: not by success, by failure, or by a runtime that is killed half-way.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tare_integration::*;

/// What there is on the host, files where a runtime could write them included.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    traces: Traces,
    files: BTreeSet<PathBuf>,
}

/// Our children that have ended and that nobody waits for: a runtime that is killed leaves them to us.
fn reap() {
    let me = std::process::id().to_string();
    let zombies = || -> BTreeSet<i32> {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let mut rest = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            rest.next() == Some("Z") && rest.next() == Some(&me)
        })
        .collect()
    };
    // Those that the harness waits for itself are gone within a millisecond.
    let first = zombies();
    if first.is_empty() {
        return;
    }
    std::thread::sleep(Duration::from_millis(5));
    for pid in zombies().intersection(&first) {
        let _ = waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
    }
}

fn files(b: &Bundle) -> BTreeSet<PathBuf> {
    fn walk(dir: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            found.insert(entry.path());
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                walk(&entry.path(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(b.path().parent().unwrap(), &mut found);
    // Of the state folder only what is in it counts, and of what a test has written, nothing.
    found.retain(|path| *path != b.root && !path.ends_with("config.json"));
    let top = fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|e| e.path());
    found.extend(top.filter(|p| !p.ends_with("log") && !p.ends_with("notes")));
    found
}

fn whole(b: &Bundle) -> Whole {
    Whole { traces: Traces::now(), files: files(b) }
}

/// What is in the first and not in the second. Of a process only the pid and whether it is a zombie.
fn more(now: &BTreeSet<String>, then: &BTreeSet<String>) -> Vec<String> {
    let key = |text: &str| (text.split(' ').next().map(str::to_owned), text.ends_with(") Z"));
    let then: BTreeSet<_> = then.iter().map(|t| key(t)).collect();
    now.iter().filter(|t| !then.contains(&key(t))).cloned().collect()
}

/// Until everything is as before; then says what is not.
#[track_caller]
fn same(b: &Bundle, before: &Whole, what: &str) {
    let back = until(Duration::from_secs(5), || {
        reap();
        let now = whole(b);
        now.files == before.files
            && now.traces.mounts == before.traces.mounts
            && now.traces.cgroups == before.traces.cgroups
            && more(&now.traces.processes, &before.traces.processes).is_empty()
    });
    if back {
        return;
    }
    let now = whole(b);
    let paths = |now: &BTreeSet<PathBuf>, then: &BTreeSet<PathBuf>| {
        now.symmetric_difference(then).cloned().collect::<Vec<_>>()
    };
    panic!(
        "{what}: left: mounts {:?} processes {:?} cgroups {:?} files {:?}",
        now.traces.mounts.symmetric_difference(&before.traces.mounts).collect::<Vec<_>>(),
        more(&now.traces.processes, &before.traces.processes),
        paths(&now.traces.cgroups, &before.traces.cgroups),
        paths(&now.files, &before.files),
    );
}

/// A few only for peers: each leak that is found costs a waiting time.
fn tries(count: u64) -> impl Iterator<Item = u64> {
    (0..count).step_by(if peer() == Peer::Tare { 1 } else { 10 })
}

/// With the payload's copy and the runtime's state folder made already.
fn warm() -> Bundle {
    let b = Bundle::new().does("umask");
    b.run().ok();
    b
}

#[test]
fn a_hundred_runs() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    for _ in 0..100 {
        b.run().ok();
    }
    same(&b, &before, "100 × run");
}

#[test]
fn a_hundred_runs_four_at_a_time() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    b.write();
    let path = b.path().display().to_string();
    for round in 0..25 {
        let four: Vec<Running> = (0..4)
            .map(|n| b.cmd(["run", "--bundle", &path]).arg(format!("{}-{round}-{n}", b.id)).spawn())
            .collect();
        for run in four {
            assert_eq!(run.wait().ok().json(), 0o22);
        }
    }
    same(&b, &before, "4 × 25 run");
}

#[test]
fn many_execs() {
    let _alone = exclusive();
    let c = Bundle::new().does("sleep").start();
    c.exec("umask").ok();
    let before = whole(&c);
    for _ in 0..40 {
        c.exec("umask").ok();
    }
    for _ in 0..10 {
        let four: Vec<Running> = (0..4).map(|n| c.exec_cmd("", &format!("exit {n}")).spawn()).collect();
        for (n, exec) in four.into_iter().enumerate() {
            exec.wait().code(n as i32);
        }
    }
    for flags in ["--cwd /none/such", "--user nobody-there"] {
        c.exec_with(flags, "umask").fails();
    }
    c.cmd(["exec", &c.id, "/none"]).run().fails();
    same(&c, &before, "exec");
}

#[test]
fn creates_that_fail() {
    let _alone = exclusive();
    let base = warm();
    let before = whole(&base);
    drop(base);
    let socket = "/no/such/socket";
    type Change = fn(Bundle) -> Bundle;
    let ways: [(&str, Change); 15] = [
        ("no program", |b| b.args(["/nope"])),
        ("not in PATH", |b| b.args(["nope"])),
        ("no source", |b| b.bind("/no/such/source", "/x", "ro")),
        ("no file system", |b| b.mount("nosuchfs", "none", "/x", "")),
        ("a file as target", |b| b.file("/f", "").mount("tmpfs", "tmpfs", "/f", "")),
        ("no cwd", |b| b.file("/f", "").set("/process/cwd", json!("/f/g"))),
        ("no namespace file", |b| b.join("network", "/no/such/ns")),
        ("another namespace", |b| b.join("network", "/proc/self/ns/uts")),
        ("no sysctl", |b| b.set("/linux/sysctl", json!({"net.ipv4.no_such": "1"}))),
        ("hook", |b| b.hook("createRuntime", "exit 1")),
        ("hook inside", |b| b.hook("createContainer", "exit 1")),
        ("no rootfs", |b| b.set("/root/path", json!("nowhere"))),
        ("a bad rlimit", |b| b.rlimit("NOPE", 1, 1)),
        ("a bad size", |b| b.mount("tmpfs", "tmpfs", "/x", "size=nonsense")),
        ("a used device name", |b| {
            b.push("/linux/devices", json!({"path": "/dev/pts/x/y", "type": "c", "major": 1, "minor": 3}))
                .file("/dev/pts", "")
                .no_mount("/dev/pts")
                .no_mount("/dev")
                .no_mount("/dev/shm")
                .no_mount("/dev/mqueue")
        }),
    ];
    for (what, change) in ways {
        let b = change(Bundle::new());
        b.refused();
        let b = change(Bundle::new()).does(if what.contains("PATH") { "umask" } else { "sleep" });
        let b = change(b);
        b.launch("run").run().fails();
        b.launch(&format!("create --console-socket {socket}")).run().fails();
        assert!(!b.root.join(&b.id).exists(), "{what}");
        drop(b);
    }
    let after = warm();
    reap();
    let now = Traces::now();
    if peer() == Peer::Tare {
        assert_eq!((now.mounts, now.cgroups), (before.traces.mounts, before.traces.cgroups));
        assert_eq!(more(&now.processes, &before.traces.processes), [""; 0]);
        let own = std::env::temp_dir().join(&after.id);
        let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|e| e.path());
        let left: Vec<_> = left.filter(|p| p.to_string_lossy().contains("/it-") && *p != own).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

#[test]
fn a_runtime_killed_anywhere_in_create_leaves_what_delete_removes() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    let b = b.does("sleep");
    let mut early = 0;
    for n in tries(50) {
        let create = b.launch("create").spawn();
        std::thread::sleep(Duration::from_micros(n * 200) * slow());
        let _ = nix::sys::signal::kill(Pid::from_raw(create.pid()), Signal::SIGKILL);
        early += usize::from(create.wait().signal.is_some());
        // Whatever there is, it can be looked at, and taken away.
        let state = b.call("state");
        assert!(
            state.code == Some(0) || state.stderr.contains("does not exist") || peer() != Peer::Tare,
            "{state:?}"
        );
        peer_may_differ("runc crun", "cannot delete what has no state file yet", || {
            b.call("delete --force").ok();
            assert!(!b.root.join(&b.id).exists());
            same(&b, &before, &format!("killed after {} µs", n * 200));
        });
        if peer() != Peer::Tare {
            let _ = fs::remove_dir_all(b.root.join(&b.id));
        }
    }
    assert!(early > 2 || peer() != Peer::Tare, "only {early} of 50 were killed before their end");
}

#[test]
fn a_runtime_killed_anywhere_in_run_leaves_what_delete_removes() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    for n in tries(30) {
        let run = b.launch("run").spawn();
        std::thread::sleep(Duration::from_micros(n * 200) * slow());
        let _ = nix::sys::signal::kill(Pid::from_raw(run.pid()), Signal::SIGKILL);
        run.wait();
        peer_may_differ("runc crun", "cannot delete what has no state file yet", || {
            b.call("delete --force").ok();
            same(&b, &before, &format!("killed after {} µs", n * 200));
        });
        if peer() != Peer::Tare {
            let _ = fs::remove_dir_all(b.root.join(&b.id));
        }
    }
}

#[test]
fn a_delete_killed_anywhere_can_be_repeated() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    let b = b.does("sleep");
    for n in tries(15) {
        b.launch("run --detach").run().ok();
        let delete = b.cmd(["delete", "--force"]).arg(&b.id).spawn();
        std::thread::sleep(Duration::from_micros(n * 250) * slow());
        let _ = nix::sys::signal::kill(Pid::from_raw(delete.pid()), Signal::SIGKILL);
        delete.wait();
        peer_may_differ("runc crun", "half-deleted containers", || {
            b.call("delete --force").ok();
            same(&b, &before, &format!("killed after {} µs", n * 250));
        });
        if peer() != Peer::Tare {
            let _ = fs::remove_dir_all(b.root.join(&b.id));
        }
    }
}

#[test]
fn of_ten_creates_of_one_id_one_wins() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    let b = b.does("sleep");
    for _ in 0..3 {
        let ten: Vec<Running> = (0..10).map(|_| b.launch("create").spawn()).collect();
        let outs: Vec<Output> = ten.into_iter().map(Running::wait).collect();
        let won = outs.iter().filter(|o| o.code == Some(0)).count();
        assert_eq!(won, 1, "{outs:?}");
        if peer() == Peer::Tare {
            assert!(
                outs.iter().filter(|o| o.code != Some(0)).all(|o| o.stderr.contains("already exists")),
                "{outs:?}"
            );
        }
        peer_may_differ("runc<1.2", "a loser may remove what the winner has made", || {
            assert_eq!(b.call("state").document()["status"], "created");
            b.call("start").ok();
            b.call("delete --force").ok();
        });
        peer_may_differ("runc crun", "losers leave cgroups", || same(&b, &before, "10 × create"));
    }
}

#[test]
fn created_and_killed_or_deleted_at_once() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    let b = b.does("sleep");
    for how in ["delete --force", "kill", "delete"] {
        for _ in 0..5 {
            b.launch("create").run().ok();
            if how == "kill" {
                b.cmd(["kill", &b.id, "KILL"]).run().ok();
                assert!(until(TIMEOUT, || {
                    reap();
                    b.call("state").document()["status"] == "stopped"
                }));
                b.call("delete").ok();
            } else {
                b.call(how).ok();
            }
            same(&b, &before, how);
        }
    }
}

#[test]
fn deleted_twice() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    b.launch("run --detach").run().ok();
    assert!(until(TIMEOUT, || {
        reap();
        b.call("state").document()["status"] == "stopped"
    }));
    b.call("delete").ok();
    same(&b, &before, "delete");
    b.call("delete").fails().says_any(&["does not exist", "no such file"]);
    b.call("delete --force").ok();
    same(&b, &before, "delete");
}

#[test]
fn a_running_container_deleted_by_force_with_children() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    for namespace in [true, false] {
        let b = Bundle::new().does("spawn 5 -- sleep");
        let b = if namespace { b } else { b.no_ns("pid") };
        let c = b.start();
        c.lines(1);
        peer_may_differ("runc crun", "leave processes in the host's pid namespace", || {
            c.call("delete --force").ok();
            assert_eq!(c.cgroups(), Vec::<PathBuf>::new());
        });
    }
    peer_may_differ("runc crun", "leave processes in the host's pid namespace", || {
        same(&b, &before, "children")
    });
}

#[test]
fn many_containers_side_by_side() {
    let _alone = exclusive();
    let b = warm();
    let before = whole(&b);
    let all: Vec<Container> = (0..12).map(|_| Bundle::new().does("sleep").start()).collect();
    for c in &all {
        assert_eq!(c.status(), "running");
    }
    drop(all);
    same(&b, &before, "12 containers");
}
