//! The command line: flags, output shapes, exit codes, logs.

use std::fs;

use tare_integration::*;

fn runtime(args: &[&str]) -> Output {
    Cmd::new(runtime_path(), args).run()
}

fn parse(text: &str) -> Value {
    text.parse().unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn version() {
    let out = runtime(&["--version"]).ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    let name = match peer() {
        Peer::Tare => "tare",
        Peer::Runc => "runc",
        Peer::Crun => "crun",
        Peer::Other => return,
    };
    // nerdctl wants exactly three words; moby looks for "version" and "commit:", go-runc for "spec:".
    assert_eq!(lines[0].split(' ').count(), 3);
    assert!(lines[0].starts_with(&format!("{name} version ")), "{lines:?}");
    assert!(lines.iter().any(|l| l.starts_with("commit: ")), "{lines:?}");
    assert!(lines.iter().any(|l| l.starts_with("spec: ")), "{lines:?}");
    assert_eq!(out.stderr, "");
    runtime(&["-v"]).ok();
}

#[test]
fn version_under_the_name_runc() {
    if !tare_only("answers --version as runc when called so") {
        return;
    }
    let b = Bundle::new();
    let link = b.outside().join("runc");
    std::os::unix::fs::symlink(runtime_path(), &link).unwrap();
    let out = Cmd::new(&link, ["--version"]).run().ok();
    assert!(out.stdout.starts_with("runc version "), "{}", out.stdout);
    assert_eq!(out.stdout.lines().next().unwrap().split(' ').count(), 3);
    assert!(out.stdout.contains("\ncommit: ") && out.stdout.contains("\nspec: "));
}

#[test]
fn help_is_no_error() {
    runtime(&["--help"]).ok();
    for verb in ["create", "run", "exec", "kill", "delete", "list", "ps", "spec"] {
        let out = runtime(&[verb, "--help"]).ok();
        assert!(out.stdout.contains(verb), "{}", out.stdout);
    }
}

#[test]
fn usage_errors() {
    let code = match peer() {
        Peer::Crun => 64,
        _ => 1,
    };
    let b = Bundle::new();
    b.cmd(["create", "--no-such-flag", &b.id]).run().code(code).fails();
    b.cmd(["--no-such-flag", "state", &b.id]).run().code(code).fails();
    for args in [&["state"][..], &["kill"], &["delete"], &["start"], &["create"], &["state", "one", "two"]] {
        b.cmd(args.iter().copied()).run().fails();
    }
    b.cmd(["nonsense"]).run().fails();
}

#[test]
fn flags_in_any_order() {
    peer_differs("runc crun", "1.1.5 takes them in part, crun wants them first", || {
        let b = Bundle::new().does("print hi");
        b.write();
        let path = b.path();
        let bundle = path.to_str().unwrap();
        b.cmd(["create", &b.id, "--bundle", bundle]).run().ok();
        b.cmd(["delete", &b.id, "--force"]).run().ok();
        b.cmd(["run", &b.id, "-b", bundle]).run().ok();
        let equal = format!("--bundle={bundle}");
        b.cmd(["run", "--no-new-keyring", &b.id, &equal]).run().ok();
    });
}

#[test]
fn single_dash_long_flags() {
    peer_differs("crun", "knows only --long", || {
        let b = Bundle::new().does("print hi");
        b.write();
        let path = b.path();
        let bundle = path.to_str().unwrap();
        b.cmd(["run", "-no-subreaper", "-bundle", bundle, &b.id]).run().ok();
        b.cmd(["create", &format!("-bundle={bundle}"), &b.id]).run().ok();
        b.cmd(["delete", "-force", &b.id]).run().ok();
        let root = b.root.to_str().unwrap();
        runtime(&["-root", root, "list"]).ok();
    });
}

#[test]
fn global_flags_that_engines_pass() {
    let b = Bundle::new();
    fs::create_dir(&b.root).unwrap();
    let root = b.root.to_str().unwrap();
    runtime(&[&format!("--root={root}"), "--debug", "list"]).ok();
    let log = b.outside().join("log");
    let log = log.to_str().unwrap();
    runtime(&["--root", root, "--log", log, "--log-format", "json", "list"]).ok();
    peer_differs("crun<1.28", "--rootless takes no word", || {
        runtime(&["--root", root, "--rootless", "false", "list"]).ok();
    });
    if tare_only("flags of crun and of old runc are accepted") {
        runtime(&["--root", root, "--log-level", "debug", "list"]).ok();
        runtime(&["--root", root, "--criu", "/usr/sbin/criu", "list"]).ok();
        runtime(&["--root", root, "--cgroup-manager", "cgroupfs", "list"]).ok();
    }
}

#[test]
fn it_works_with_an_empty_environment() {
    // Podman calls it so, without PATH.
    let b = Bundle::new();
    b.cmd(["delete", "--force", &b.id]).env_clear().env("XDG_RUNTIME_DIR", "").run().ok();
    b.launch("run").env_clear().run().ok();
}

#[test]
fn list_as_json_and_table() {
    let b = Bundle::new();
    fs::create_dir(&b.root).unwrap();
    let empty = b.cmd(["list", "-f", "json"]).run().ok();
    match peer() {
        Peer::Crun => assert_eq!(empty.document(), json!([])),
        _ => assert_eq!(empty.stdout.trim(), "null"),
    }
    let c = b.does("sleep").set("/annotations", json!({"a": "b"})).start();
    let mut other = Bundle::new().does("sleep");
    other.root = c.root.clone();
    let other = other.create();
    let list = c.cmd(["list", "--format", "json"]).run().document();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 2);
    let of = |id: &str| list.iter().find(|e| e["id"] == id).unwrap();
    let entry = of(&c.id);
    assert_eq!(entry["pid"], c.pid());
    assert_eq!(entry["status"], "running");
    assert_eq!(entry["bundle"], json!(c.path()));
    assert_eq!(entry["owner"], "root");
    assert!(entry["created"].as_str().unwrap().contains('T'));
    assert_eq!(of(&other.id)["status"], "created");
    if peer() != Peer::Crun {
        assert_eq!(entry["annotations"]["a"], "b");
        assert_eq!(entry["rootfs"], json!(c.rootfs()));
        assert!(entry["ociVersion"].is_string());
    }
    let table = c.call_plain("list");
    let mut lines = table.stdout.lines();
    let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    match peer() {
        Peer::Crun => assert_eq!(head, ["NAME", "PID", "STATUS", "BUNDLE", "PATH", "CREATED", "OWNER"]),
        _ => assert_eq!(head, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]),
    }
    let row: Vec<&str> =
        lines.map(|l| l.split_whitespace().collect::<Vec<_>>()).find(|r| r[0] == c.id).unwrap();
    assert_eq!((row[1], row[2], row[5]), (c.pid().to_string().as_str(), "running", "root"));
    let quiet = c.call_plain("list -q").stdout;
    let mut names: Vec<&str> = quiet.lines().collect();
    names.sort_unstable();
    let mut wanted = [c.id.as_str(), other.id.as_str()];
    wanted.sort_unstable();
    assert_eq!(names, wanted);
}

#[test]
fn list_survives_a_broken_entry() {
    let c = Bundle::new().does("sleep").create();
    fs::create_dir(c.root.join("broken")).unwrap();
    fs::write(c.root.join("stray-file"), "").unwrap();
    peer_differs("crun>=1.21", "fails at what is no folder", || {
        let list = c.cmd(["list", "-f", "json"]).run().ok();
        assert!(list.stdout.contains(&c.id) && !list.stdout.contains("stray"), "{list:?}");
        assert_eq!(list.document().as_array().unwrap().len(), 1);
    });
}

#[test]
fn ps_lists_the_processes() {
    let c = Bundle::new().does("spawn 2 -- sleep").start();
    c.answer();
    let pids = c.call("ps --format json").document();
    let pids: Vec<i64> = pids.as_array().unwrap().iter().map(|p| p.as_i64().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    assert!(pids.contains(&(c.pid() as i64)));
    let table = c.call("ps").ok().stdout;
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    for pid in &pids {
        assert!(table.split_whitespace().any(|w| w == pid.to_string()), "{pid}: {table}");
    }
    assert_eq!(table.lines().count(), 4);
    if peer() != Peer::Crun {
        assert!(table.contains("/payload"), "ps -ef by default: {table}");
        let custom = c.cmd(["ps", &c.id, "-o", "pid,comm"]).run().ok().stdout;
        assert!(custom.lines().nth(1).unwrap().contains("payload"), "{custom}");
    }
}

#[test]
fn spec_writes_a_config_that_runs() {
    let b = Bundle::new();
    let bundle = b.outside();
    Cmd::new(runtime_path(), ["spec"]).cwd(&bundle).run().ok();
    let file = bundle.join("config.json");
    let text = fs::read_to_string(&file).unwrap();
    let spec = parse(&text);
    assert_eq!(spec["process"]["args"], json!(["sh"]));
    assert_eq!(spec["process"]["terminal"], true);
    assert_eq!(spec["process"]["cwd"], "/");
    assert_eq!(spec["root"]["path"], "rootfs");
    for name in ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"] {
        assert!(spec["mounts"].as_array().unwrap().iter().any(|m| m["destination"] == name), "{name}");
    }
    // It is not overwritten.
    Cmd::new(runtime_path(), ["spec"]).cwd(&bundle).run().fails().says_any(&["exists"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    if peer() == Peer::Crun && is_v2() {
        return skip("crun 1.8.1 cannot load a device program here: it raises RLIMIT_MEMLOCK");
    }
    // As it is, but for the terminal and the program.
    let mut run = Bundle::new();
    run.spec = spec;
    let run = run.set("/process/terminal", json!(false)).does("caps -- status NoNewPrivs -- touch /x");
    let out = run.run().ok();
    assert_eq!(out.json()["bounding"], json!([5, 10, 29]));
    assert_eq!(out.json_line(1)["NoNewPrivs"], "1");
    assert_eq!(out.json_line(2), json!(["EROFS"]));
}

#[test]
fn spec_takes_a_bundle() {
    let b = Bundle::new();
    let bundle = b.outside();
    runtime(&["spec", "--bundle", bundle.to_str().unwrap()]).ok();
    assert!(bundle.join("config.json").exists());
    runtime(&["spec", "-b", bundle.to_str().unwrap()]).fails();
}

#[test]
fn rootless_spec() {
    let b = Bundle::new();
    let bundle = b.outside();
    Cmd::new(runtime_path(), ["spec", "--rootless"]).cwd(&bundle).run().ok();
    let spec = parse(&fs::read_to_string(bundle.join("config.json")).unwrap());
    let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.iter().any(|n| n["type"] == "user"));
    if peer() != Peer::Crun {
        assert!(!namespaces.iter().any(|n| n["type"] == "network"));
        assert_eq!(spec["linux"]["uidMappings"][0]["size"], 1);
    }
}

#[test]
fn features() {
    peer_differs("runc<1.2 crun", "tells little of it", || {
        let out = runtime(&["features"]).ok();
        // CRI-O reads both outputs together.
        assert_eq!(out.stderr, "");
        let f = out.document();
        assert_eq!(f["ociVersionMin"], "1.0.0");
        assert!(f["ociVersionMax"].as_str().unwrap().starts_with("1."));
        let has = |pointer: &str, wanted: &str| {
            let list = f.pointer(pointer).and_then(Value::as_array);
            let list = list.unwrap_or_else(|| panic!("no {pointer}: {f}"));
            for item in wanted.split_whitespace() {
                assert!(list.iter().any(|i| i == item), "{item} is not in {pointer}: {f}");
            }
        };
        has("/hooks", "prestart createRuntime createContainer startContainer poststart poststop");
        has("/mountOptions", "ro rw rro rbind nosuid nodev noexec rshared rprivate runbindable tmpcopyup");
        has("/linux/namespaces", "cgroup ipc mount network pid time user uts");
        has("/linux/capabilities", "CAP_CHOWN CAP_SYS_ADMIN CAP_CHECKPOINT_RESTORE");
        for version in ["v1", "v2"] {
            assert_eq!(f["linux"]["cgroup"][version], true, "{version}");
        }
        assert_eq!(f["linux"]["seccomp"]["enabled"], true);
        has(
            "/linux/seccomp/actions",
            "SCMP_ACT_ALLOW SCMP_ACT_ERRNO SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_KILL_THREAD SCMP_ACT_LOG \
             SCMP_ACT_NOTIFY SCMP_ACT_TRACE SCMP_ACT_TRAP",
        );
        has(
            "/linux/seccomp/operators",
            "SCMP_CMP_NE SCMP_CMP_LT SCMP_CMP_LE SCMP_CMP_EQ SCMP_CMP_GE SCMP_CMP_GT SCMP_CMP_MASKED_EQ",
        );
        has("/linux/seccomp/archs", "SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32 SCMP_ARCH_AARCH64");
        has("/linux/seccomp/knownFlags", "SECCOMP_FILTER_FLAG_TSYNC SECCOMP_FILTER_FLAG_LOG");
        assert!(f["linux"]["apparmor"]["enabled"].is_boolean());
        assert!(f["linux"]["selinux"]["enabled"].is_boolean());
    });
}

#[test]
fn features_is_json_and_silent() {
    if peer() == Peer::Crun {
        return skip("crun 1.8.1 has no features");
    }
    let out = runtime(&["features"]).ok();
    assert_eq!(out.stderr, "");
    assert!(out.document()["linux"].is_object());
}

#[test]
fn the_json_log_holds_one_error_object() {
    let b = Bundle::new().args(["/nope"]);
    let log = b.outside().join("log.json");
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    b.write();
    let path = b.path();
    let out = b.cmd_with(&flags, ["create", "--bundle", path.to_str().unwrap(), &b.id]).run().fails();
    let text = fs::read_to_string(&log).unwrap();
    if peer() == Peer::Runc && text.lines().count() > 1 {
        return note(
            "known difference",
            "runc: 1.1.5 warns in the same file on v2, which Podman cannot read",
        );
    }
    // Podman reads the whole file as one object.
    let entry = parse(&text);
    assert_eq!(entry["level"], "error");
    let message = entry["msg"].as_str().unwrap();
    assert!(message.to_lowercase().contains("no such file or directory"), "{message}");
    let time = entry["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "{time}");
    if peer() == Peer::Tare {
        assert_eq!(text.trim_end().lines().count(), 1, "compact: {text}");
        assert_eq!(entry.as_object().unwrap().len(), 3, "level, msg, time: {text}");
        assert!(out.stderr.contains(message), "stderr says the same: {}", out.stderr);
    }
    // The next failure is appended, not written over it.
    b.cmd_with(&flags, ["state", "nobody"]).run().fails();
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("\"error\"").count(), 2, "{text}");
    assert!(
        text.to_lowercase().contains("no such file or directory") && text.contains("nobody")
            || text.contains("exist"),
        "{text}"
    );
}

#[test]
fn a_failing_exec_logs_one_error_too() {
    let c = Bundle::new().does("sleep").start();
    let log = c.outside().join("log.json");
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    c.cmd_with(&flags, ["exec", &c.id, "/nope"]).run().fails();
    let entry = parse(&fs::read_to_string(&log).unwrap());
    assert_eq!(entry["level"], "error");
}

#[test]
fn a_success_logs_no_error() {
    let b = Bundle::new();
    let log = b.outside().join("log.json");
    for format in ["text", "json"] {
        let flags = ["--log", log.to_str().unwrap(), "--log-format", format, "--debug"];
        b.write();
        b.cmd_with(&flags, ["run", "--bundle", b.path().to_str().unwrap(), &b.id]).run().ok();
        let text = fs::read_to_string(&log).unwrap_or_default();
        assert!(!text.contains("level=error") && !text.contains("\"error\""), "{text}");
    }
}

#[test]
fn warnings_are_not_for_the_containers_stderr() {
    let b = Bundle::new().mount("tmpfs", "tmpfs", "relative", "").does("eprint mine");
    let log = b.outside().join("log.json");
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    b.write();
    let (path, id) = (b.path(), b.id.clone());
    let out = b.cmd_with(&flags, ["run", "--bundle", path.to_str().unwrap(), &id]).run().ok();
    assert_eq!(out.stderr, "mine\n");
    if peer() == Peer::Tare {
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains("\"level\":\"warning\"") && text.contains("not absolute"), "{text}");
        // A call that fails leaves one object in the log all the same.
        fs::remove_file(&log).unwrap();
        let b = b.args(["/nope"]);
        b.write();
        let out = b.cmd_with(&flags, ["run", "--bundle", path.to_str().unwrap(), &id]).run().fails();
        assert_eq!(parse(&fs::read_to_string(&log).unwrap())["level"], "error");
        assert!(out.stderr.contains("not absolute"), "{}", out.stderr);
    }
}

#[test]
fn the_text_log() {
    let b = Bundle::new();
    let log = b.outside().join("log");
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "text"];
    b.cmd_with(&flags, ["state", "nobody"]).run().fails();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("nobody") || text.contains("does not exist"), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    b.cmd_with(&["--log-format", "nonsense"], ["list"]).run().fails();
}

#[test]
fn debug_says_more_but_not_in_place_of_output() {
    let b = Bundle::new().does("print out");
    b.write();
    let path = b.path();
    let out = b.cmd_with(&["--debug"], ["run", "--bundle", path.to_str().unwrap(), &b.id]).run().ok();
    assert_eq!(out.stdout, "\"out\"\n");
    if peer() == Peer::Tare {
        assert!(!out.stderr.is_empty(), "--debug says something");
        assert_eq!(b.run().ok().stderr, "", "without it nothing");
    }
}

#[test]
fn the_environment_does_not_change_error_texts() {
    let b = Bundle::new();
    let plain = b.call("state");
    let noisy = b.cmd(["state", &b.id]).env("RUST_BACKTRACE", "full").env("LANG", "de_DE.UTF-8").run();
    let strip = |text: &str| text.rsplit("msg=").next().unwrap().rsplit("Z: ").next().unwrap().to_owned();
    assert_eq!(strip(&plain.stderr), strip(&noisy.stderr));
}

#[test]
fn exit_code_of_a_runtime_error() {
    let b = Bundle::new();
    b.call("state").code(1);
    Bundle::new().args(["/nope"]).run().code(1);
    let c = Bundle::new().does("sleep").start();
    c.exec("exit 7").code(7);
    peer_differs("crun>=1.28", "1 as for all others", || {
        drop(c.cmd(["exec", &c.id, "/nope"]).run().code(255))
    });
}
