//! Hooks: when, where, with what, and what comes of their failure (runtime.md, "Lifecycle"; config.md, "POSIX-platform Hooks").

use std::fs;
use std::path::PathBuf;

use tare_integration::*;

const ALL: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The file that hooks write to, as they name it: the one of a startContainer hook is in the container.
fn log_of(b: &Bundle, kind: &str) -> PathBuf {
    if kind == "startContainer" { "/hooks.log".into() } else { b.inside("/hooks.log") }
}

/// One more hook that records what it sees.
fn recording(b: Bundle, kind: &str, tag: &str) -> Bundle {
    let log = log_of(&b, kind);
    b.hook(kind, &format!("hook {} {tag}", log.display()))
}

/// One more hook that records, then does what the verbs say.
fn recording_and(b: Bundle, kind: &str, tag: &str, verbs: &str) -> Bundle {
    let log = log_of(&b, kind);
    b.hook(kind, &format!("hook {} {tag} -- {verbs}", log.display()))
}

/// What was recorded so far.
fn records(b: &Bundle) -> Vec<Value> {
    let text = fs::read_to_string(b.inside("/hooks.log")).unwrap_or_default();
    text.lines().map(parse).collect()
}

fn parse(line: &str) -> Value {
    line.parse().unwrap_or_else(|e| panic!("{e}: {line}"))
}

fn tags(b: &Bundle) -> Vec<String> {
    records(b).iter().map(|r| r["tag"].as_str().unwrap().to_owned()).collect()
}

fn all() -> Bundle {
    ALL.iter()
        .fold(Bundle::new().set("/annotations", json!({"a.b/c": "d"})), |b, kind| recording(b, kind, kind))
}

#[test]
fn all_six_in_order() {
    peer_may_differ("runc crun", "poststart is not after the start", || {
        let b = all().does("touch /started");
        b.run().ok();
        assert_eq!(tags(&b), ALL);
    });
}

#[test]
fn several_of_a_kind_in_the_order_given() {
    peer_may_differ("runc crun", "poststart is not after the start", || {
        let b = ALL.iter().fold(Bundle::new(), |b, kind| {
            let b = recording(b, kind, &format!("{kind}-1"));
            recording(b, kind, &format!("{kind}-2"))
        });
        let b = b.does("umask");
        b.run().ok();
        let want: Vec<String> = ALL.iter().flat_map(|k| [format!("{k}-1"), format!("{k}-2")]).collect();
        assert_eq!(tags(&b), want);
    });
}

#[test]
fn each_at_its_step() {
    peer_may_differ("runc crun", "poststart is not after the start", || {
        let c = all().does("sleep").create();
        assert_eq!(tags(&c), ALL[..3], "create");
        c.call("start").ok();
        assert!(until(TIMEOUT, || tags(&c).len() == 5), "start: {:?}", tags(&c));
        assert_eq!(tags(&c), ALL[..5], "start");
        c.kill("KILL").ok();
        c.wait();
        c.until_status("stopped");
        assert_eq!(tags(&c).len(), 5, "kill");
        c.call("delete").ok();
        assert_eq!(tags(&c), ALL, "delete");
    });
}

#[test]
fn the_state_on_stdin() {
    peer_may_differ("runc crun", "poststart is not after the start", || {
        let b = all().does("sleep");
        let (id, path) = (b.id.clone(), b.path());
        let c = b.start();
        c.kill("KILL").ok();
        c.wait();
        c.call("delete --force").ok();
        for record in records(&c) {
            let (state, tag) = (&record["state"], record["tag"].as_str().unwrap());
            assert_eq!(state["id"], json!(id), "{tag}");
            assert_eq!(state["bundle"], json!(path), "{tag}");
            assert_eq!(state["annotations"]["a.b/c"], "d", "{tag}");
            assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{tag}");
            let pid = state["pid"].as_i64().unwrap_or(0);
            let want: &[&str] = match tag {
                // The prose says creating, the validation suite created.
                "prestart" | "createRuntime" if peer() == Peer::Tare => &["created"],
                "prestart" | "createRuntime" | "createContainer" => &["created", "creating"],
                "startContainer" => &["created", "starting"],
                "poststart" => &["running"],
                _ => &["stopped"],
            };
            assert!(want.contains(&state["status"].as_str().unwrap()), "{tag}: {state}");
            match tag {
                "prestart" | "createRuntime" | "poststart" => assert_eq!(pid, i64::from(c.pid()), "{tag}"),
                "poststop" => assert_eq!(pid, 0, "{tag}"),
                _ => {}
            }
            if peer() == Peer::Tare && tag == "startContainer" {
                assert_eq!(pid, 1, "as it sees itself");
            }
        }
        assert_eq!(records(&c).len(), 6);
    });
}

#[test]
fn the_namespaces_each_runs_in() {
    let c = all().does("sleep").start();
    until(TIMEOUT, || tags(&c).len() == 5);
    let of = |pid: &str, kind: &str| json!(fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap());
    let pid = c.pid().to_string();
    for record in records(&c) {
        let tag = record["tag"].as_str().unwrap();
        let inside = matches!(tag, "createContainer" | "startContainer");
        for kind in ["mnt", "net", "uts", "ipc"] {
            let want = of(if inside { &pid } else { "self" }, kind);
            assert_eq!(record["ns"][kind], want, "{tag} {kind}");
        }
        // After pivot_root for startContainer only; a payload at / is the container's.
        assert_eq!(record["root_has_payload"], json!(tag == "startContainer"), "{tag}");
        if matches!(tag, "prestart" | "createRuntime") {
            assert_eq!(record["init_ns"]["net"], of(&pid, "net"), "the namespaces are there");
        }
    }
}

#[test]
fn the_mounts_are_there_but_not_entered_for_create_container() {
    let b = Bundle::new();
    let out = b.outside().join("mounts");
    let b = b.push(
        "/hooks/createContainer",
        json!({"path": "/bin/sh", "args": ["sh", "-c", format!("cat /proc/self/mountinfo > {}", out.display())]}),
    );
    let b = b.does("umask");
    b.run().ok();
    let mounts = fs::read_to_string(out).unwrap();
    assert!(mounts.lines().any(|l| l.contains(" - mqueue ")), "{mounts}");
}

#[test]
fn arguments_and_environment() {
    let env = |hook: Value| {
        let b = Bundle::new();
        let log = b.inside("/hooks.log");
        let mut hook = hook;
        hook["path"] = json!(payload_path());
        hook["args"] = json!(["name zero", "hook", log, "tag", "a b", ""]);
        let b = b.push("/hooks/createRuntime", hook).does("umask");
        b.launch("run").env("FROM_RUNTIME", "1").run().ok();
        records(&b).remove(0)
    };
    let record = env(json!({"env": ["A=1", "B=x=y"]}));
    let args = record["args"].as_array().unwrap();
    assert_eq!((&args[0], &args[4], &args[5]), (&json!("name zero"), &json!("a b"), &json!("")));
    assert_eq!(record["env"], json!(["A=1", "B=x=y"]));
    assert_eq!(env(json!({"env": []}))["env"], json!([]));
    let all = env(json!({}))["env"].clone();
    assert!(all.as_array().unwrap().contains(&json!("FROM_RUNTIME=1")), "{all}");
}

#[test]
fn a_hook_in_the_container_without_env_has_the_process_environment() {
    peer_may_differ("runc crun", "the spec says nothing", || {
        let b = recording(Bundle::new().env("OF=process"), "startContainer", "x").does("umask");
        b.run().ok();
        assert!(records(&b)[0]["env"].as_array().unwrap().contains(&json!("OF=process")));
    });
}

#[test]
fn a_hook_without_args_gets_none() {
    let b = Bundle::new();
    let script = b.outside().join("hook");
    let out = b.outside().join("out");
    fs::write(&script, format!("#!/bin/sh\ncat > {}; echo \"$#\" >> {}\n", out.display(), out.display()))
        .unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let b = b.push("/hooks/createRuntime", json!({"path": script})).does("umask");
    b.run().ok();
    let text = fs::read_to_string(out).unwrap();
    assert!(text.contains(&b.id) && text.ends_with("0\n"), "{text}");
}

#[test]
fn a_failing_hook_before_start_undoes_everything() {
    for (i, kind) in ALL[..3].iter().enumerate() {
        let b = recording(all(), kind, "second");
        let b = recording_and(b, kind, "third", "raw to-stdout -- eprint to-stderr -- exit 3");
        let b = recording(b, kind, "never").does("touch /started");
        let out = b.refused();
        let ran = tags(&b);
        assert!(!ran.contains(&"never".to_owned()), "{kind}: {ran:?}");
        assert!(!ran.iter().any(|t| ALL[i + 1..5].contains(&t.as_str())), "{kind}: {ran:?}");
        assert_eq!(ran[i..i + 3], [kind.to_owned(), "second", "third"], "{kind}");
        peer_differs("crun", "poststop does not run", || {
            assert_eq!(ran.last().unwrap(), "poststop", "{kind}")
        });
        if peer() == Peer::Tare {
            out.says(&format!(
                "error running {kind} hook #2: exit status 3, stdout: to-stdout, stderr: to-stderr"
            ));
        }
        assert!(!b.inside("/started").exists());
    }
}

#[test]
fn a_failing_start_container_hook_fails_start() {
    peer_differs("runc crun", "start does not wait for it", || {
        let b = all();
        let b = recording_and(b, "startContainer", "bad", "raw to-stdout -- eprint to-stderr -- exit 4");
        let b = b.does("touch /started");
        let c = b.create();
        let out = c.call("start").fails();
        if peer() == Peer::Tare {
            out.says(
                "error running startContainer hook #1: exit status 4, stdout: to-stdout, stderr: to-stderr",
            );
        }
        assert_eq!(c.wait(), 1);
        // Destroyed: step 12 of the lifecycle, as after a poststart hook.
        c.call("state").fails().says("does not exist");
        assert_eq!(c.cgroups(), Vec::<PathBuf>::new());
        assert!(!c.inside("/started").exists());
        let ran = tags(&c);
        assert_eq!(ran.last().unwrap(), "poststop", "{ran:?}");
        assert!(!ran.contains(&"poststart".to_owned()), "{ran:?}");
        let b = recording_and(all(), "startContainer", "bad", "exit 4").does("touch /started");
        b.run().fails();
        assert!(!b.inside("/started").exists());
        assert_eq!(b.cgroups(), Vec::<PathBuf>::new());
    });
}

#[test]
fn poststart_runs_after_the_process_was_started() {
    // The hook ends only when the process has made a file: it would time out before.
    let b = Bundle::new();
    let file = b.inside("/running");
    let b = b.push(
        "/hooks/poststart",
        json!({"path": payload_path(), "args": ["payload", "wait-file", file], "timeout": 5}),
    );
    peer_differs("runc", "1.1.5 runs it before", || {
        let c = b.does("touch /running -- sleep").create();
        c.call("start").ok();
        assert_eq!(c.status(), "running");
    });
}

#[test]
fn a_failing_poststart_hook_stops_the_container() {
    peer_differs("runc crun", "they go on, or fail in create", || {
        let b = recording_and(all(), "poststart", "bad", "eprint oh-no -- exit 5").does("sleep");
        let c = b.create();
        let out = c.call("start").fails();
        out.says("error running poststart hook #1: exit status 5");
        assert!(tags(&c).contains(&"poststop".to_owned()), "{:?}", tags(&c));
        c.call("state").fails().says("does not exist");
        assert_eq!(c.wait(), 137);
        let b = recording_and(all(), "poststart", "bad", "exit 5").does("sleep");
        if peer() == Peer::Tare {
            b.run().fails().says("error running poststart hook #1: exit status 5");
            assert!(tags(&b).contains(&"poststop".to_owned()));
            assert_eq!(b.cgroups(), Vec::<PathBuf>::new());
        }
    });
}

#[test]
fn a_failing_poststop_hook_is_a_warning() {
    peer_differs("runc", "stops at the first", || {
        let b = Bundle::new();
        let b = recording_and(b, "poststop", "bad", "eprint oh-no -- exit 6");
        let b = recording(b, "poststop", "later").does("exit 2");
        let out = b.run();
        assert_eq!(out.code, Some(2), "{out:?}");
        assert_eq!(tags(&b), ["bad", "later"]);
        if peer() == Peer::Tare {
            out.says("poststop").says("exit status 6").says("oh-no");
        }
        let c = recording_and(Bundle::new(), "poststop", "bad", "exit 6").does("umask").start();
        c.wait();
        c.until_status("stopped");
        c.call("delete").ok();
        assert!(!c.root.join(&c.id).exists());
    });
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    for kind in ["createRuntime", "createContainer"] {
        let b = Bundle::new();
        let b = b.push(
            &format!("/hooks/{kind}"),
            json!({"path": payload_path(), "args": ["payload", "eprint", "waiting", "--", "sleep", "30000"], "timeout": 1}),
        );
        let out = b.does("umask").refused();
        assert!(out.elapsed.as_millis() >= 900 && out.elapsed.as_secs() < 10, "{out:?}");
        if peer() == Peer::Tare {
            out.says(&format!("error running {kind} hook #0")).says("timeout of 1s exceeded").says("waiting");
        }
    }
}

#[test]
fn a_hook_in_time_is_not_killed() {
    let b = Bundle::new();
    let hook = json!({"path": payload_path(), "args": ["payload", "sleep", "20"], "timeout": 1});
    let b = b.push("/hooks/createRuntime", hook.clone()).push("/hooks/poststop", hook);
    b.does("umask").run().ok();
}

#[test]
fn a_hook_that_cannot_be_started_or_is_killed_is_told() {
    let b = Bundle::new().push("/hooks/createRuntime", json!({"path": "/no/such/hook"}));
    b.refused().says_any(&["/no/such/hook", "no such file"]);
    let b = Bundle::new().hook("createRuntime", "kill-self KILL");
    let out = b.refused();
    if peer() == Peer::Tare {
        out.says("error running createRuntime hook #0: signal: killed, stdout: , stderr: ");
    }
    for (signal, words) in
        [("TERM", "terminated"), ("SYS", "bad system call"), ("USR1", "user defined signal 1")]
    {
        let b = Bundle::new().hook("createRuntime", &format!("kill-self {signal}"));
        peer_differs("crun", "tells the number", || drop(b.refused().says(&format!("signal: {words}"))));
    }
}

#[test]
fn the_working_directory_of_each() {
    let b = all().set("/process/cwd", json!("/tmp")).does("sleep");
    let c = b.launch("create").cwd("/").run().ok();
    let c = Container::created(b, c);
    c.cmd(["start", &c.id]).cwd("/").run().ok();
    assert!(until(TIMEOUT, || tags(&c).len() == 5), "{:?}", tags(&c));
    c.kill("KILL").ok();
    c.wait();
    c.until_status("stopped");
    c.cmd(["delete", &c.id]).cwd("/").run().ok();
    for record in records(&c) {
        let tag = record["tag"].as_str().unwrap();
        let want = match tag {
            "createContainer" => json!(c.rootfs()),
            "startContainer" => json!("/tmp"),
            _ => json!(c.path()),
        };
        let peers = match tag {
            "createContainer" | "startContainer" => "crun",
            "poststop" => "runc",
            _ => "",
        };
        peer_may_differ(peers, "another directory", || assert_eq!(record["cwd"], want, "{tag}"));
    }
}

#[test]
fn a_poststop_hook_runs_though_the_bundle_is_gone() {
    let b = Bundle::new().hook("poststop", "touch /tmp/no-such-folder/x").does("umask");
    let done = b.outside().join("done");
    let b = b.push("/hooks/poststop", json!({"path": payload_path(), "args": ["payload", "touch", done]}));
    let c = b.start();
    c.wait();
    c.until_status("stopped");
    fs::rename(c.path(), c.outside().join("away")).unwrap();
    let out = c.call("delete");
    peer_may_differ("crun", "a hook that has ended before it reads ends it by SIGPIPE", || drop(out.ok()));
    peer_differs("crun", "it does not", || assert!(done.exists()));
}

#[test]
fn a_start_container_hook_has_the_computed_home() {
    peer_may_differ("crun", "the environment of config.json", || {
        let b = recording(Bundle::new().user(1000, 1000), "startContainer", "x").does("umask");
        std::os::unix::fs::chown(b.rootfs(), Some(1000), Some(1000)).unwrap();
        b.run().ok();
        assert!(
            records(&b)[0]["env"].as_array().unwrap().contains(&json!("HOME=/home/user")),
            "{:?}",
            records(&b)
        );
    });
}

#[test]
fn signals_of_a_hook_are_neither_blocked_nor_ignored() {
    // `run` blocks all of them while it makes a container; the caller ignores one, as nohup does.
    for kind in &ALL[..5] {
        let b = recording_and(Bundle::new(), kind, "x", "signals -- exit 9").does("sleep 1");
        let script = "trap '' HUP PIPE; exec \"$@\"";
        let (runtime, root, path) = (runtime_path(), b.root.to_str().unwrap(), b.path());
        b.write();
        let words = ["-c", script, "sh", runtime.to_str().unwrap(), "--root", root, "run", "--bundle"];
        let words = words.into_iter().chain([path.to_str().unwrap(), &b.id]);
        let out = Cmd::new("sh", words).run();
        if peer() == Peer::Tare {
            out.fails().says(r#"stdout: {"blocked":[],"ignored":[]}"#);
        }
    }
}

#[test]
fn a_create_container_hook_makes_files_for_others_to_read_only() {
    let b = Bundle::new().hook("createContainer", "umask -- exit 9");
    if peer() == Peer::Tare {
        b.refused().says("stdout: 18");
    }
}

/// A path through descriptor `n` of whoever executes it, if that leads to a folder of the host's.
fn through(n: u32) -> String {
    format!("/proc/self/fd/{n}{}{}", "/..".repeat(12), payload_path().display())
}

#[test]
fn no_descriptor_of_the_runtime_leads_a_hook_anywhere() {
    for kind in &ALL[..5] {
        for n in 0..if *kind == "startContainer" { 64 } else { 24 } {
            let hook = json!({"path": through(n), "args": ["payload", "exit", "0"]});
            let b = Bundle::new().push(&format!("/hooks/{kind}"), hook).does("exit 0");
            peer_may_differ("runc crun", "it does", || drop(b.run().fails()));
        }
    }
}

#[test]
fn no_descriptor_of_the_runtime_leads_to_the_interpreter_of_a_hook() {
    use std::os::unix::fs::PermissionsExt;
    for kind in &ALL[..5] {
        for n in 0..16 {
            let b = Bundle::new();
            let script = b.inside("/hook");
            fs::write(&script, format!("#!{} print\n", through(n))).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            let path = if *kind == "startContainer" { "/hook".into() } else { script };
            let b = b.push(&format!("/hooks/{kind}"), json!({"path": path})).does("exit 0");
            peer_may_differ("runc crun", "it does", || drop(b.run().fails()));
        }
    }
}

#[test]
fn a_hook_runs_under_a_filter_that_knows_no_new_system_calls() {
    // Docker's answers ENOSYS to clone3; of before 2021 it does not list close_range.
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["close_range", "pidfd_open", "waitid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        ],
    });
    let b = recording(Bundle::new().set("/linux/seccomp", filter), "startContainer", "x").does("exit 4");
    b.run().code(4);
    assert_eq!(tags(&b), ["x"]);
}

#[test]
fn children_that_a_hook_leaves_hold_up_nothing() {
    if !tare_only("peers wait for the end of its output") {
        return;
    }
    let b = Bundle::new().hook("createRuntime", "spawn 1").hook("poststop", "spawn 1").does("umask");
    let out = b.run().ok();
    assert!(out.elapsed.as_secs() < 5, "{out:?}");
    // They are ours to end: orphans come to us.
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let cmd = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if cmd.contains("spawn\x001") {
            let pid = nix::unistd::Pid::from_raw(stat.split(' ').next().unwrap().parse().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(pid, None);
        }
    }
}

#[test]
fn a_hook_can_change_the_rootfs_before_it_is_entered() {
    // What NVIDIA's hook does: it finds the container by the state, and mounts into it.
    let b = Bundle::new();
    let script = format!("echo made > {}/made-by-hook", b.rootfs().display());
    let b = b.push("/hooks/createRuntime", json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
    assert_eq!(b.does("read /made-by-hook").run().json(), "made\n");
}

#[test]
fn hooks_of_a_config_edited_later_do_not_run() {
    let c = recording(Bundle::new(), "poststop", "first").does("umask").start();
    c.wait();
    c.until_status("stopped");
    let other = recording(Bundle::new(), "poststop", "second");
    other.write();
    fs::copy(other.path().join("config.json"), c.path().join("config.json")).unwrap();
    c.call("delete").ok();
    assert_eq!(tags(&c), ["first"]);
    assert_eq!(tags(&other), [""; 0]);
}
