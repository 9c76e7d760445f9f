//! create, start, state, kill, delete, run: what each does to a container, and refuses.

use tare_integration::*;

#[test]
fn create_waits_for_start() {
    let c = Bundle::new().does("print hello").create();
    let state = c.state();
    assert_eq!(state["status"], "created");
    let pid = c.pid();
    assert!(pid > 0 && state["pid"] == pid);
    assert_eq!(c.stdout(), "", "the process has not been started");
    c.call("start").ok();
    assert_eq!(c.wait(), 0);
    assert_eq!(c.stdout(), "\"hello\"\n");
    assert_eq!(c.status(), "stopped");
    c.call("delete").ok();
    assert!(!c.root.join(&c.id).exists());
    c.call("state").fails();
}

#[test]
fn state_has_the_fields_of_the_spec_and_of_runc() {
    let c = Bundle::new().does("sleep").set("/annotations", json!({"org.example.key": "value"})).create();
    let state = c.state();
    assert_eq!(state["id"], c.id);
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    assert_eq!(state["bundle"], json!(c.path()));
    assert_eq!(state["annotations"]["org.example.key"], "value");
    peer_differs("crun", "rootfs as in config.json", || {
        assert_eq!(state["rootfs"], json!(c.rootfs()));
    });
    assert!(state["owner"].is_string());
    let created = state["created"].as_str().unwrap();
    assert!(created.len() >= 20 && created.as_bytes()[10] == b'T' && created.ends_with('Z'), "{created}");
    assert_eq!(state["status"], "created");
    c.call("start").ok();
    c.until_status("running");
    assert_eq!(c.pid() as i64, state["pid"].as_i64().unwrap());
    assert_eq!(c.state()["created"], created);
}

#[test]
fn state_of_a_stopped_one_has_pid_0() {
    let c = Bundle::new().does("exit 3").start();
    assert_eq!(c.wait(), 3);
    let state = c.state();
    assert_eq!((state["status"].as_str(), state["pid"].as_i64()), (Some("stopped"), Some(0)));
}

#[test]
fn a_zombie_is_stopped() {
    let c = Bundle::new().does("exit 0").create();
    let pid = c.pid();
    c.call("start").ok();
    // Nobody has waited for it yet.
    assert!(until(TIMEOUT, || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ")
    }));
    assert_eq!(c.status(), "stopped");
}

#[test]
fn start_twice_is_refused() {
    let c = Bundle::new().does("sleep").start();
    c.call("start").fails().says_any(&["already running", "cannot start", "exec.fifo", "not in"]);
    assert_eq!(c.status(), "running");
}

#[test]
fn start_of_a_stopped_one_is_refused() {
    let c = Bundle::new().does("exit 0").create();
    c.call("start").ok();
    c.wait();
    c.call("start").fails().says_any(&["stopped", "not running"]);
}

#[test]
fn delete_of_a_running_one_is_refused() {
    let c = Bundle::new().does("sleep").start();
    let runc = format!("cannot delete container {} that is not stopped: running", c.id);
    c.call("delete").fails().says_any(&[&runc, "not in `created`", "not stopped"]);
    assert_eq!(c.status(), "running");
    c.call("delete --force").ok();
    c.call("state").fails();
}

#[test]
fn delete_of_a_created_one_kills_it() {
    let c = Bundle::new().does("sleep").create();
    c.call("delete").ok();
    assert_eq!(c.wait(), 128 + 9);
    c.call("state").fails();
}

#[test]
fn delete_of_an_unknown_one() {
    let b = Bundle::new();
    b.call("delete").code(1).fails().says_any(&["does not exist", "no such file"]);
    b.call("delete --force").ok();
}

#[test]
fn kill_sends_the_signal() {
    let c = Bundle::new().does("trap 4 TERM USR1 HUP INT").start();
    assert_eq!(c.answer(), "ready");
    for (n, (given, seen)) in [("USR1", "USR1"), ("SIGHUP", "HUP"), ("2", "INT")].iter().enumerate() {
        c.kill(given).ok();
        assert_eq!(c.lines(n + 2)[n + 1], *seen);
    }
    // None named: TERM.
    c.call("kill").ok();
    assert_eq!(c.lines(5)[4], "TERM");
    assert_eq!(c.wait(), 0);
}

#[test]
fn kill_takes_real_time_signals() {
    peer_differs("runc", "1.1.5 knows no RTMIN+n", || {
        // PID 1 of a pid namespace would be deaf to it.
        let c = Bundle::new().no_ns("pid").does("sleep").start();
        c.kill("RTMIN+3").ok();
        // nix cannot name real-time signals, so the code is not known; it did end.
        let code = c.wait();
        assert!(code != 0, "{code}");
    });
}

#[test]
fn kill_with_an_unknown_signal_is_refused() {
    let c = Bundle::new().does("sleep").start();
    peer_differs("crun<1.21", "sends nothing and succeeds", || {
        for signal in ["NOPE", "SIG", "99999"] {
            c.cmd(["kill", &c.id, signal]).run().fails();
        }
    });
    assert_eq!(c.status(), "running");
}

#[test]
fn kill_9_ends_a_created_one() {
    let c = Bundle::new().does("print never").create();
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
    assert_eq!(c.status(), "stopped");
    assert_eq!(c.stdout(), "");
}

#[test]
fn kill_of_a_stopped_one_is_refused() {
    let c = Bundle::new().does("exit 0").create();
    c.call("start").ok();
    c.wait();
    let out = c.kill("KILL").fails();
    match peer() {
        Peer::Tare => out.says("container not running: no such process"),
        _ => out.says_any(&["container not running", "No such process"]),
    };
}

#[test]
fn kill_all_reaches_every_process() {
    // Without a pid namespace nothing dies with init: --all is what engines call.
    let c = Bundle::new().no_ns("pid").does("spawn 3 -- sleep").start();
    c.answer();
    let pid = c.pid();
    let mine = cgroups_of(pid);
    assert!(!mine.is_empty());
    let listed = || std::fs::read_to_string(mine[0].join("cgroup.procs")).unwrap_or_default();
    let children: Vec<i32> = listed().lines().map(|l| l.parse().unwrap()).filter(|p| *p != pid).collect();
    assert_eq!(children.len(), 3);
    c.call("kill --all").ok();
    c.cmd(["kill", "--all", &c.id, "KILL"]).run().ok();
    assert_eq!(c.wait(), 128 + 15);
    for child in children {
        c.wait_pid(child);
    }
    assert_eq!(listed(), "");
}

#[test]
fn delete_ends_what_init_has_left_without_a_pid_namespace() {
    let c = Bundle::new().no_ns("pid").does("spawn 2").create();
    let mine = cgroups_of(c.pid());
    c.call("start").ok();
    c.wait();
    let listed = std::fs::read_to_string(mine[0].join("cgroup.procs")).unwrap();
    let left: Vec<i32> = listed.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(left.len(), 2);
    assert_eq!(c.status(), "stopped");
    c.call("delete --force").ok();
    for pid in left {
        assert_eq!(c.wait_pid(pid), 137);
    }
}

#[test]
fn the_end_of_init_ends_the_pid_namespace() {
    let c = Bundle::new().does("spawn 2 -- wait-file /tmp/stop").start();
    c.answer();
    let all = cgroups_of(c.pid());
    let listed = std::fs::read_to_string(all[0].join("cgroup.procs")).unwrap();
    assert_eq!(listed.lines().count(), 3);
    std::fs::write(c.inside("/tmp/stop"), "").unwrap();
    assert_eq!(c.wait(), 0);
    assert_eq!(std::fs::read_to_string(all[0].join("cgroup.procs")).unwrap(), "");
    c.call("delete").ok();
}

#[test]
fn run_gives_the_exit_code() {
    for code in [0, 1, 42, 255] {
        Bundle::new().does(&format!("exit {code}")).run().code(code);
    }
}

#[test]
fn run_gives_128_and_the_signal() {
    // PID 1 of a pid namespace is deaf to its own signals.
    for (signal, number) in [("KILL", 9), ("TERM", 15), ("ABRT", 6)] {
        let b = Bundle::new().no_ns("pid").does(&format!("kill-self {signal}"));
        b.run().code(128 + number);
    }
}

#[test]
fn run_deletes_and_keep_keeps() {
    let b = Bundle::new().does("exit 0");
    b.run().ok();
    b.call("state").fails();
    assert!(!b.root.join(&b.id).exists());
    peer_differs("crun<1.21", "has no --keep", || {
        b.launch("run --keep").run().ok();
        assert_eq!(b.call("state").document()["status"], "stopped");
        b.call("delete").ok();
    });
}

#[test]
fn run_passes_stdin_and_both_outputs() {
    let b = Bundle::new().does("cat -- eprint problems");
    let out = b.launch("run").input("some text\nmore").run().ok();
    assert_eq!(out.stdout, "some text\nmore");
    assert_eq!(out.stderr, "problems\n");
}

#[test]
fn run_detached_leaves_it_running() {
    let b = Bundle::new().does("print up -- sleep");
    let out = b.launch("run --detach").run().ok();
    let c = Container::created(b, out);
    assert_eq!(c.answer(), "up");
    assert_eq!(c.status(), "running");
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
    c.call("delete").ok();
}

#[test]
fn the_same_id_cannot_be_created_twice() {
    let c = Bundle::new().does("sleep").create();
    c.try_create().fails().says_any(&["already exists"]);
    c.launch("run").run().fails().says_any(&["already exists"]);
    assert_eq!(c.status(), "created", "the first one is as it was");
    assert_eq!(c.state()["pid"], c.pid());
    c.call("start").ok();
    c.until_status("running");
}

#[test]
fn an_id_can_be_used_again_after_delete() {
    let b = Bundle::new().does("exit 0");
    for _ in 0..2 {
        b.try_create().ok();
        b.call("delete").ok();
    }
    b.run().ok();
}

#[test]
fn a_later_change_of_config_json_has_no_effect() {
    let c = Bundle::new().does("env").env("FOO=before").create();
    let text = std::fs::read_to_string(c.path().join("config.json")).unwrap();
    std::fs::write(c.path().join("config.json"), text.replace("before", "after")).unwrap();
    c.call("start").ok();
    c.wait();
    assert!(c.answer().as_array().unwrap().contains(&json!("FOO=before")));
    std::fs::remove_file(c.path().join("config.json")).unwrap();
    assert_eq!(c.status(), "stopped");
    c.call("delete").ok();
}

#[test]
fn the_bundle_defaults_to_the_working_directory() {
    let b = Bundle::new().does("print here");
    b.write();
    let out = b.cmd(["run", &b.id]).cwd(b.path()).run().ok();
    assert_eq!(out.json(), "here");
    let out = b.cmd(["run", "-b", "bundle", &b.id]).cwd(b.path().parent().unwrap()).run().ok();
    assert_eq!(out.json(), "here");
}

#[test]
fn the_root_folder_is_made_and_private() {
    let mut b = Bundle::new().does("sleep");
    b.root = b.outside().join("deep/er");
    let c = b.create();
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(c.root.join(&c.id)).unwrap();
    assert_eq!(meta.mode() & 0o066, 0, "{:o}", meta.mode());
}

#[test]
fn a_dead_init_before_start_is_told() {
    let c = Bundle::new().does("exit 0").create();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(c.pid()), nix::sys::signal::Signal::SIGKILL).unwrap();
    c.wait();
    c.call("start").fails();
    assert_eq!(c.status(), "stopped");
    c.call("delete").ok();
}
