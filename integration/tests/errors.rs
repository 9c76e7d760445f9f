//! Bad input: one clear line each, nothing left behind, words that engines match.

use std::fs;

use tare_integration::*;

/// What tare puts in front of why a process cannot be started.
const PREFIX: &str = "tare create failed: unable to start container process: ";

/// The message for a process that cannot be executed: tare's exact words, peers' as they have them.
#[track_caller]
fn exec_error(b: &Bundle, ours: &str, peers: &[&str]) {
    let out = b.refused();
    if peer() == Peer::Tare {
        assert!(out.line().contains(&format!("{PREFIX}{ours}")), "{}", out.line());
    } else {
        out.says_any(peers);
    }
}

#[test]
fn program_not_in_path() {
    let ours = "exec: \"nope\": executable file not found in $PATH: no such file or directory";
    let peers = ["executable file not found in $PATH", "not found in $PATH"];
    exec_error(&Bundle::new().args(["nope"]), ours, &peers);
}

#[test]
fn program_given_by_a_missing_path() {
    let ours = "exec: \"/nope\": stat /nope: no such file or directory";
    exec_error(&Bundle::new().args(["/nope"]), ours, &["no such file or directory"]);
    let ours = "exec: \"./nope\": stat ./nope: no such file or directory";
    exec_error(&Bundle::new().args(["./nope"]), ours, &["no such file or directory"]);
}

#[test]
fn program_is_a_directory() {
    let ours = "exec: \"/etc\": is a directory: permission denied";
    let peers = ["is a directory", "permission denied", "operation not permitted"];
    exec_error(&Bundle::new().args(["/etc"]), ours, &peers);
}

#[test]
fn program_is_not_executable() {
    let ours = "exec: \"/f\": permission denied";
    exec_error(
        &Bundle::new().file("/f", "text").args(["/f"]),
        ours,
        &["permission denied", "not executable"],
    );
}

#[test]
fn program_without_a_name() {
    let ours = "exec: \"\": executable file not found in $PATH: no such file or directory";
    exec_error(&Bundle::new().args([""]), ours, &["not found in $PATH", "cannot find `` in $PATH"]);
}

#[test]
fn program_of_an_unknown_format() {
    // Only the kernel can tell, when it is started.
    let b = Bundle::new().program("/f").args(["/f"]);
    fs::write(b.inside("/f"), [0u8; 64]).unwrap();
    b.run().fails().says_any(&["exec format error"]);
}

#[test]
fn script_with_a_missing_interpreter() {
    let b = Bundle::new().program("/f").args(["/f"]);
    fs::write(b.inside("/f"), "#!/no/such/interpreter\n").unwrap();
    b.run().fails().says_any(&["no such file or directory"]);
}

#[test]
fn unknown_id() {
    let b = Bundle::new();
    for verb in ["state", "start", "kill", "delete", "ps"] {
        let out = b.call(verb).fails();
        match peer() {
            Peer::Tare => out.says(&format!("container \"{}\" does not exist", b.id)),
            _ => out.says_any(&["does not exist", "no such file"]),
        };
    }
    let out = b.cmd(["exec", &b.id, "/payload"]).run().fails();
    match peer() {
        Peer::Tare => out.says(&format!("container \"{}\" does not exist", b.id)).code(255),
        _ => out.says_any(&["does not exist", "no such file"]),
    };
}

/// crun 1.8.1 makes and removes what the id's path leads to: it is not asked, not even in the sandbox.
fn crun_follows_ids() -> bool {
    if peer() == Peer::Crun {
        note("known difference", "crun: 1.8.1 follows `..` in an id and deletes what it finds; not run");
    }
    peer() == Peer::Crun
}

#[test]
fn bad_ids_never_become_paths() {
    if crun_follows_ids() {
        return;
    }
    let b = Bundle::new();
    b.write();
    let path = b.path();
    let bundle = path.to_str().unwrap();
    let long = "a".repeat(2000);
    for id in ["..", ".", "a/b", "/abs", "../x", "", "a b", "a\nb", "é", &long] {
        b.cmd(["create", "--bundle", bundle, id]).run().fails();
        b.cmd(["run", "--bundle", bundle, id]).run().fails();
        if peer() == Peer::Tare {
            for verb in ["state", "start", "kill", "delete"] {
                b.cmd([verb, id]).run().fails();
            }
            // The one that must not fail for what is missing must fail for what is wrong.
            b.cmd(["delete", "--force", id]).run().fails();
        }
    }
    let left = fs::read_dir(&b.root).map(|d| d.count()).unwrap_or(0);
    assert_eq!(left, 0, "something was made in the state root");
}

#[test]
fn delete_force_of_a_traversing_id_deletes_nothing() {
    if crun_follows_ids() {
        return;
    }
    let b = Bundle::new();
    fs::create_dir_all(&b.root).unwrap();
    let victim = b.outside().join("victim");
    fs::write(&victim, "precious").unwrap();
    let _ = b.cmd(["delete", "--force", "../outside"]).run();
    let _ = b.cmd(["delete", "--force", ".."]).run();
    assert!(victim.exists() && b.rootfs().exists() && b.root.exists());
}

#[test]
fn ids_of_all_good_characters() {
    let b = Bundle::new();
    b.write();
    let id = format!("A-z_0.9+{}", b.id);
    b.cmd(["run", "--bundle", b.path().to_str().unwrap(), &id]).run().ok();
}

#[test]
fn missing_bundle() {
    let b = Bundle::new();
    let out = b.cmd(["create", "--bundle", "/no/such/bundle", &b.id]).run().fails();
    out.says_any(&["no such file or directory"]);
    assert!(!b.root.join(&b.id).exists());
}

#[test]
fn missing_config_json() {
    let b = Bundle::new();
    let out = b.cmd(["create", "--bundle", b.path().to_str().unwrap(), &b.id]).run().fails();
    out.says_any(&["config.json", "specification file"]);
    assert!(!b.root.join(&b.id).exists());
}

#[test]
fn truncated_json() {
    let b = Bundle::new();
    b.write();
    let file = b.path().join("config.json");
    let text = fs::read(&file).unwrap();
    for length in [0, 1, text.len() / 2, text.len() - 2] {
        fs::write(&file, &text[..length]).unwrap();
        let out = b.cmd(["create", "--bundle", b.path().to_str().unwrap(), &b.id]).run().fails();
        out.line();
        assert!(!b.root.join(&b.id).exists());
    }
    fs::write(&file, b"{\"process\": \xff\xfe}").unwrap();
    b.cmd(["create", "--bundle", b.path().to_str().unwrap(), &b.id]).run().fails();
}

#[test]
fn a_wrong_type_is_named_by_its_path() {
    peer_differs("crun", "takes a word for 0", || {
        let out = Bundle::new().set("/process/user/uid", json!("root")).refused();
        if peer() == Peer::Tare {
            assert!(out.line().contains("process.user.uid"), "{}", out.line());
        }
    });
}

#[test]
fn missing_rootfs() {
    Bundle::new().set("/root/path", json!("nowhere")).refused().says_any(&["no such file or directory"]);
}

#[test]
fn missing_source_of_a_bind_mount() {
    let b = Bundle::new().bind("/no/such/source", "/mnt", "rbind");
    let out = b.refused().says_any(&["no such file or directory"]);
    assert!(out.stderr.contains("/no/such/source"), "the object is named: {}", out.stderr);
    if peer() == Peer::Tare {
        assert!(out.stderr.contains("mounts[6]") && out.stderr.contains("/mnt"), "{}", out.stderr);
    }
}

#[test]
fn an_unknown_file_system_is_named() {
    let out = Bundle::new().mount("nosuchfs", "x", "/mnt", "").refused().says_any(&["no such device"]);
    if peer() == Peer::Tare {
        assert!(out.stderr.contains("mounts[6]") && out.stderr.contains("nosuchfs"), "{}", out.stderr);
    }
}

#[test]
fn a_file_over_a_directory_is_refused_as_engines_expect() {
    let b = Bundle::new().folder("/dir");
    let source = b.outside().join("file");
    fs::write(&source, "").unwrap();
    b.bind(&source, "/dir", "rbind").refused().says_any(&["not a directory"]);
}

/// Every mistake at once, each named by where it is.
#[test]
fn all_mistakes_of_a_config_in_one_go() {
    if !tare_only("all mistakes at once by JSON path") {
        return;
    }
    let b = Bundle::new()
        .set("/process/cwd", json!("relative"))
        .set("/process/args", json!([]))
        .rlimit("NOPE", 1, 1)
        .rlimit("CORE", 2, 1)
        .set("/mounts/0/destination", json!(""))
        .push("/linux/namespaces", json!({"type": "pid"}))
        .push("/linux/namespaces", json!({"type": "nonsense"}))
        .set("/linux/rootfsPropagation", json!("sideways"))
        .set("/linux/sysctl", json!({"kernel.nonsense": "1"}))
        .set("/linux/maskedPaths", json!(["relative/path"]))
        .push("/linux/devices", json!({"path": "/dev/x", "type": "q", "major": 1, "minor": 1}))
        .push("/hooks/prestart", json!({"path": "relative"}))
        .push("/hooks/poststop", json!({"path": "/bin/true", "timeout": 0}))
        .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOPE"}));
    let out = b.refused();
    let line = out.line();
    for path in [
        "process.cwd",
        "process.args",
        "process.rlimits[0]",
        "process.rlimits[1]",
        "mounts[0].destination",
        "linux.namespaces[6]",
        "linux.namespaces[7]",
        "linux.rootfsPropagation",
        "linux.sysctl",
        "linux.maskedPaths[0]",
        "linux.devices[0]",
        "hooks.prestart[0].path",
        "hooks.poststop[0].timeout",
        "linux.seccomp.defaultAction",
    ] {
        assert!(line.contains(path), "{path} is not named in {line}");
    }
}

/// One mistake at a time: refused by everybody, before anything is made.
#[test]
fn single_mistakes() {
    let mistakes: &[(&str, Value, &str)] = &[
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/process/args", json!([]), "process.args"),
        ("/linux/rootfsPropagation", json!("sideways"), "linux.rootfsPropagation"),
        ("/linux/namespaces/-", json!({"type": "nonsense"}), "linux.namespaces[6]"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOPE"}), "linux.seccomp.defaultAction"),
        (
            "/linux/devices/-",
            json!({"path": "/dev/x", "type": "q", "major": 1, "minor": 1}),
            "linux.devices[0]",
        ),
    ];
    for (pointer, value, path) in mistakes {
        let b = Bundle::new().set(pointer, value.clone());
        let check = || {
            let out = b.refused();
            if peer() == Peer::Tare {
                assert!(out.line().contains(path), "{path}: {}", out.line());
            }
        };
        match *pointer {
            "/process/cwd" => peer_differs("crun", "takes a relative cwd", check),
            "/linux/rootfsPropagation" => peer_differs("crun", "takes any word", check),
            "/linux/devices/-" => peer_differs("crun", "takes any type", check),
            _ => check(),
        }
    }
}

#[test]
fn wrong_oci_versions() {
    if !tare_only("ociVersion is checked") {
        return;
    }
    for version in [json!("invalid"), json!("2.0.0"), json!(""), json!(1)] {
        let out = Bundle::new().set("/ociVersion", version).refused();
        assert!(out.line().contains("ociVersion"), "{}", out.line());
    }
    Bundle::new().without("/ociVersion").refused().says("ociVersion");
    for version in ["1.0.0", "1.0.2-dev", "1.3.0"] {
        Bundle::new().set("/ociVersion", json!(version)).run().ok();
    }
}

#[test]
fn unknown_fields_are_ignored() {
    Bundle::new().set("/someday", json!({"x": 1})).set("/linux/someday", json!([])).run().ok();
    let b = Bundle::new().set("/vm", json!({"kernel": {"path": "/k"}}));
    b.set("/windows", json!({"layerFolders": ["x"]})).run().ok();
}

#[test]
fn without_process_there_is_nothing_to_run() {
    Bundle::new().without("/process").run().fails();
    // The specification wants it at start only.
    peer_differs("runc crun", "want it in create", || {
        let c = Bundle::new().without("/process").create();
        assert_eq!(c.status(), "created");
        let out = c.call("start").fails();
        if peer() == Peer::Tare {
            out.says("process: required to start");
            assert_eq!(c.status(), "created");
        }
    });
}

#[test]
fn an_error_of_run_leaves_nothing() {
    let b = Bundle::new().args(["/nope"]);
    b.run().code(1).fails();
    assert!(!b.root.join(&b.id).exists());
    if peer() == Peer::Tare {
        assert!(b.cgroups().is_empty());
    }
    // Neither is the pid file.
    let file = b.outside().join("pid");
    b.launch(&format!("create --pid-file {}", file.display())).run().fails();
    assert!(!file.exists());
}

#[test]
fn concurrent_creates_of_one_id() {
    peer_may_differ("runc", "1.1.5 lets two win now and then", || {
        let b = Bundle::new().does("sleep");
        for _ in 0..5 {
            let all: Vec<_> = (0..6).map(|_| b.launch("create").spawn()).collect();
            let outputs: Vec<Output> = all.into_iter().map(|r| r.wait()).collect();
            let winners = outputs.iter().filter(|o| o.code == Some(0)).count();
            assert_eq!(winners, 1, "{outputs:#?}");
            for out in outputs.into_iter().filter(|o| o.code != Some(0)) {
                let out = out.fails();
                if peer() == Peer::Tare {
                    out.says("already exists");
                }
            }
            assert_eq!(b.call("state").document()["status"], "created");
            b.call("delete --force").ok();
        }
    });
}

#[test]
fn an_unwritable_root_is_told() {
    let mut b = Bundle::new();
    let root = std::mem::replace(&mut b.root, "/proc/nowhere".into());
    b.try_create().fails();
    b.root = root;
}
