//! Values that other runtimes and the kernel read in a way of their own: none means silently something else.

use std::fs;

use tare_integration::*;

/// The umask of a daemon such as buildkitd.
fn no_umask() -> std::io::Result<()> {
    // SAFETY: umask changes this process alone and cannot fail.
    unsafe { libc::umask(0) };
    Ok(())
}

/// `VERB` of the bundle whose config.json is changed as text.
fn with_text(b: &Bundle, verb: &str, change: impl Fn(String) -> String) -> Output {
    b.write();
    let file = b.path().join("config.json");
    fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
    b.cmd([verb, "--bundle", b.path().to_str().unwrap(), &b.id]).run()
}

/// `exec FLAGS --process FILE` of this document.
fn exec_process(c: &Container, flags: &str, process: &Value) -> Cmd {
    let file = c.outside().join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    let words = std::iter::once("exec").chain(flags.split_whitespace());
    c.cmd(words.chain(["--process", file.to_str().unwrap(), &c.id]))
}

fn document(verbs: &str) -> Value {
    let args: Vec<&str> = std::iter::once("/payload").chain(verbs.split_whitespace()).collect();
    json!({"cwd": "/", "args": args, "env": ["PATH=/"], "user": {"uid": 5, "gid": 6}})
}

#[test]
fn without_a_umask_it_is_0022_whatever_the_callers_is() {
    let b = Bundle::new().does("umask");
    // SAFETY: umask is async-signal-safe.
    let out = unsafe { b.launch("run").before_exec(no_umask) }.run();
    assert_eq!(out.json(), 0o22);
    let c = Bundle::new().does("sleep").start();
    peer_differs("runc crun<1.21", "exec takes the caller's", || {
        // SAFETY: umask is async-signal-safe.
        let out = unsafe { c.exec_cmd("", "umask").before_exec(no_umask) }.run();
        assert_eq!(out.json(), 0o22, "exec");
    });
    peer_differs("runc", "exec takes the caller's", || {
        // SAFETY: umask is async-signal-safe.
        let out = unsafe { exec_process(&c, "", &document("umask")).before_exec(no_umask) }.run();
        assert_eq!(out.json(), 0o22, "exec --process");
    });
}

#[test]
fn an_exec_has_the_containers_umask_unless_its_document_has_one() {
    let c = Bundle::new().set("/process/user/umask", json!(0o077)).does("sleep").start();
    peer_differs("runc<1.2 crun<1.21", "exec has its own", || {
        assert_eq!(c.exec("umask").json(), 0o077);
    });
    if tare_only("what a document leaves open") {
        assert_eq!(exec_process(&c, "", &document("umask")).run().json(), 0o077);
        let mut other = document("umask");
        other["user"]["umask"] = json!(0o027);
        assert_eq!(exec_process(&c, "", &other).run().json(), 0o027);
    }
}

#[test]
fn the_id_that_means_unchanged_is_refused() {
    let all = ["uid", "gid", "additionalGids/0"];
    for key in all {
        let b = Bundle::new().set("/process/user/additionalGids", json!([1]));
        let b = b.set(&format!("/process/user/{key}"), json!(u32::MAX)).does("ids");
        peer_may_differ("crun", "1.8.1 runs as root", || {
            let out = b.refused();
            if peer() == Peer::Tare {
                let path = format!("process.user.{}", key.replace("/0", "[0]"));
                out.says(&format!("config.json: {path}: 4294967295 is not an id"));
            }
        });
    }
    let device = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": u32::MAX}]);
    if tare_only("owners of devices") {
        Bundle::new().set("/linux/devices", device).refused().says("linux.devices[0].uid: 4294967295 is not");
    }
}

#[test]
fn the_id_that_means_unchanged_is_refused_by_exec() {
    let c = Bundle::new().does("sleep").start();
    for flags in ["--user 4294967295", "--user 1:4294967295", "--additional-gids 4294967295"] {
        peer_may_differ("crun", "1.8.1 runs as root", || drop(c.exec_with(flags, "ids").fails()));
    }
    for (key, path) in [("uid", "user.uid"), ("gid", "user.gid")] {
        let mut process = document("ids");
        process["user"][key] = json!(u32::MAX);
        peer_may_differ("crun", "1.8.1 runs as root", || {
            let out = exec_process(&c, "", &process).run().fails();
            if peer() == Peer::Tare {
                out.says(&format!("process: {path}: 4294967295 is not an id"));
            }
        });
    }
}

#[test]
fn flags_beside_a_process_document_change_nothing() {
    let c = Bundle::new().does("sleep").start();
    let flags = "--user 0 --cwd /tmp --env X=1 --cap CAP_SYS_ADMIN --additional-gids 9";
    peer_may_differ("crun", "takes some of them", || {
        let out = exec_process(&c, flags, &document("ids -- cwd -- env -- caps")).run().ok();
        if peer() == Peer::Tare {
            for flag in ["user", "cwd", "env", "cap", "additional-gids"] {
                assert!(out.stderr.contains(&format!("--{flag}: ignored")), "{out:?}");
            }
        }
        let out = out.answers();
        assert_eq!(out[0], json!({"uid": [5, 5, 5], "gid": [6, 6, 6], "groups": []}));
        assert_eq!(out[1], "/");
        assert!(!out[2].to_string().contains("X=1") && !out[3].to_string().contains("21"), "{out:?}");
    });
}

#[test]
fn an_empty_flag_is_one_that_was_not_given() {
    let c = Bundle::new().user(7, 8).does("sleep").start();
    let user = c.cmd(["exec", "--user", "", "--cwd", "", &c.id, "/payload", "ids"]).run();
    peer_differs("crun", "root, whatever the container's user is", || {
        assert_eq!(user.ok().json()["uid"], json!([7, 7, 7]));
    });
    if peer() != Peer::Crun {
        c.cmd(["update", "--memory", "", "--cpu-share", "", &c.id]).run().ok();
    }
}

#[test]
fn a_capability_has_one_name() {
    let caps = json!(["CAP_KILL", "chown", "CHOWN", "cap_net_raw", "CAP_CAP_CHOWN"]);
    let b = Bundle::new().set("/process/capabilities", json!({"bounding": caps, "permitted": caps}));
    peer_may_differ("crun", "takes them in lower case", || {
        let out = b.does("caps").run().ok();
        assert_eq!(out.json()["bounding"], json!([5]));
        assert!(out.stderr.contains("chown") && out.stderr.contains("level=warning"), "{out:?}");
    });
    let c = Bundle::new().caps("bounding=KILL effective=KILL permitted=KILL").does("sleep").start();
    peer_may_differ("crun", "--cap takes the others away", || {
        let out = c.exec_with("--cap CAP_BOGUS --cap chown", "caps").ok();
        assert_eq!(out.json()["bounding"], json!([5]));
        assert!(out.stderr.contains("CAP_BOGUS"), "{out:?}");
    });
}

#[test]
fn an_added_capability_is_ambient_where_the_container_has_it_inheritable() {
    let b = Bundle::new().user(1000, 1000);
    let b = b.caps("bounding=KILL,CHOWN effective= permitted= inheritable=KILL ambient=");
    let c = b.does("sleep").start();
    peer_may_differ("crun", "--cap takes the others away", || {
        let out = c.exec_with("--cap CAP_KILL", "caps").ok().json();
        assert_eq!((&out["ambient"], &out["effective"]), (&json!([5]), &json!([5])));
    });
    if tare_only("one that is not inheritable is warned about by peers, or fails") {
        let out = c.exec_with("--cap CAP_CHOWN", "caps").ok().json();
        assert_eq!((&out["ambient"], &out["inheritable"]), (&json!([]), &json!([5])));
    }
}

#[test]
fn a_negative_signal_is_none() {
    let c = Bundle::new().does("sleep").start();
    c.cmd(["kill", &c.id, "--", "-9"]).run().fails();
    assert_eq!(c.status(), "running");
}

#[test]
fn what_is_to_be_ignored_is_ignored() {
    let b = Bundle::new().set("/process/consoleSize", json!({"height": 100_000, "width": 1}));
    let b = b.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "relative"}));
    peer_differs("crun", "refuses the path", || drop(b.does("umask").run().ok()));
    if tare_only("with a terminal") {
        let b = Bundle::new().set("/process/consoleSize", json!({"height": 100_000, "width": 1}));
        b.set("/process/terminal", json!(true)).refused().says("process.consoleSize");
    }
}

#[test]
fn an_action_without_a_number_ignores_it() {
    for default in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        let rule = json!({"names": ["chroot"], "action": "SCMP_ACT_LOG", "errnoRet": 5000});
        let b = Bundle::new().set(
            "/linux/seccomp",
            json!({"defaultAction": default, "defaultErrnoRet": 5, "syscalls": [rule]}),
        );
        peer_may_differ("crun", "refuses a number that it does not need", || {
            b.does("umask").run().ok();
        });
    }
}

#[test]
fn the_poststop_hook_is_found_however_its_key_is_written() {
    let b = Bundle::new().does("sleep");
    let file = b.outside().join("poststop");
    let b = b.hook("poststop", &format!("touch {}", file.display()));
    let out = with_text(&b, "create", |text| text.replace("\"poststop\"", "\"poststo\\u0070\"")).ok();
    let c = Container::created(b, out);
    c.call("start").ok();
    let out = c.call("delete --force");
    peer_may_differ("crun", "a hook that has ended before it reads ends it by SIGPIPE", || drop(out.ok()));
    assert!(file.exists());
}

#[test]
fn the_state_file_of_an_older_version_still_has_its_poststop_hook() {
    if !tare_only("its own state.json") {
        return;
    }
    let b = Bundle::new().does("sleep");
    let file = b.outside().join("poststop");
    let c = b.hook("poststop", &format!("touch {}", file.display())).start();
    let path = c.root.join(&c.id).join("state.json");
    let mut state: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for key in ["has_poststop", "has_own_mounts"] {
        assert!(state.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    fs::write(&path, state.to_string()).unwrap();
    c.call("delete --force").ok();
    assert!(file.exists());
}

#[test]
fn half_a_character_is_replaced() {
    let b = Bundle::new().set("/annotations", json!({"a": "SURROGATE"})).env("A=SURROGATE");
    let b = b.args(["/payload", "args", "SURROGATE"]);
    peer_may_differ("crun", "an error of its parser", || {
        let out = with_text(&b, "run", |text| text.replace("SURROGATE", "\\ud800")).ok();
        assert_eq!(out.json()[2], "\u{fffd}");
    });
}

#[test]
fn keys_are_the_same_in_other_case() {
    let b = Bundle::new().does("umask");
    peer_may_differ("crun", "takes the exact ones alone", || {
        let change = |text: String| text.replace("\"args\"", "\"Args\"").replace("\"root\"", "\"ROOT\"");
        with_text(&b, "run", change).ok();
    });
}

#[test]
fn all_mistakes_are_told_at_once_whoever_finds_them() {
    if !tare_only("all mistakes in one message") {
        return;
    }
    let b = Bundle::new()
        .set("/linux/cgroupsPath", json!("x".repeat(300)))
        .set("/linux/resources", json!({"blockIO": {"weight": 5}}))
        .set("/linux/intelRdt", json!({"closID": "x"}))
        .set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["", "chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000,
                 "args": [{"index": 7, "value": 1, "op": "SCMP_CMP_EQ"}]},
                {"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}),
        );
    let out = b.refused();
    let line = out.line();
    assert!(line.contains("config.json: 8 problems: "), "{line}");
    for text in [
        "linux.resources.blockIO.weight: 5 is not between 10 and 1000",
        "linux.intelRdt: ",
        "linux.cgroupsPath: ",
        "linux.seccomp.syscalls[0].names[0]: must not be empty",
        "linux.seccomp.syscalls[0].errnoRet: 5000 is larger than 4095",
        "linux.seccomp.syscalls[0].args[0].index: 7 is not between 0 and 5",
        "linux.seccomp.syscalls[1].names[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        "linux.seccomp.listenerPath: must be specified",
    ] {
        assert!(line.contains(text), "{text} is not in {line}");
    }
}

#[test]
fn three_thousand_rules_for_one_argument_are_loaded() {
    let rules: Vec<Value> = (0..3000)
        .map(|n| {
            json!({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
                "args": [{"index": 1, "value": n * 7 + 100_000, "op": "SCMP_CMP_EQ"}]})
        })
        .collect();
    let b =
        Bundle::new().set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    b.does("status Seccomp").run().ok();
}
