//! `exec`: one more process in a container.

use std::fs;

use tare_integration::*;

/// A running container.
fn sleeper() -> Container {
    Bundle::new().does("sleep").start()
}

/// Ends a detached process and reaps it, as an engine does: before, its pid namespace cannot end.
fn end(c: &Container, pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(c.wait_pid(pid), 137);
}

/// `exec FLAGS ID ARGS…` with arguments of the test's own.
fn exec_args(c: &Container, flags: &str, args: &[&str]) -> Output {
    c.cmd(
        std::iter::once("exec")
            .chain(flags.split_whitespace())
            .chain([c.id.as_str()])
            .chain(args.iter().copied()),
    )
    .run()
}

/// `exec --process` of this document.
fn exec_process(c: &Container, process: &Value) -> Output {
    let file = c.outside().join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    c.cmd(["exec", "--process", file.to_str().unwrap(), &c.id]).run()
}

fn payload(verbs: &str) -> Vec<&str> {
    std::iter::once("/payload").chain(verbs.split_whitespace()).collect()
}

#[test]
fn it_is_in_the_namespaces_root_and_cgroup_of_the_container() {
    let c = sleeper();
    let own = |kind: &str| fs::read_link(format!("/proc/{}/ns/{kind}", c.pid())).unwrap();
    let out = c.exec("ns -- readlink /proc/1/exe -- sleep 0").ok();
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        assert_eq!(out.json()[kind], json!(own(kind)), "{kind}");
    }
    assert_eq!(out.json_line(1), "/payload");
    let file = c.outside().join("pid");
    c.exec_with(&format!("--detach --pid-file {}", file.display()), "sleep").ok();
    let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(cgroups_of(pid), cgroups_of(c.pid()));
    assert!(!cgroups_of(pid).is_empty());
    end(&c, pid);
}

#[test]
fn it_joins_a_user_namespace_first() {
    let c = Bundle::new().userns().does("sleep").start();
    let out = c.exec("ns -- ids -- caps -- read /proc/self/uid_map").ok();
    assert_eq!(out.json()["user"], json!(fs::read_link(format!("/proc/{}/ns/user", c.pid())).unwrap()));
    assert_eq!(out.json_line(1)["uid"], json!([0, 0, 0]));
    assert!(!out.json_line(2)["effective"].as_array().unwrap().is_empty());
    assert!(out.json_line(3).as_str().unwrap().contains("100000"));
}

#[test]
fn it_joins_what_the_container_itself_has_joined() {
    let other = sleeper();
    let net = format!("/proc/{}/ns/net", other.pid());
    let c = Bundle::new().join("network", &net).no_ns("ipc").no_mount("/dev/mqueue").does("sleep").start();
    let ns = c.exec("ns").json();
    assert_eq!(ns["net"], json!(fs::read_link(net).unwrap()));
    assert_eq!(ns["ipc"], json!(fs::read_link("/proc/self/ns/ipc").unwrap()));
}

#[test]
fn exit_codes() {
    let c = sleeper();
    c.exec("exit 0").code(0);
    c.exec("exit 3").code(3);
    c.exec("exit 255").code(255);
    c.exec("kill-self TERM").code(128 + 15);
    c.exec("kill-self KILL").code(128 + 9);
    if peer() != Peer::Crun {
        exec_args(&c, "", &["/nope"]).code(255).fails();
        exec_args(&c, "--cwd /nope/no", &["/payload"]);
        c.cmd(["exec", "no-such-container", "/payload"]).run().fails();
    }
}

#[test]
fn options_end_at_the_id() {
    let c = sleeper();
    let out = exec_args(&c, "", &["/payload", "args", "--cwd", "-e", "--tty", "--", "args", "-d"]);
    assert_eq!(out.json(), json!(["/payload", "args", "--cwd", "-e", "--tty", "--", "args", "-d"]));
}

#[test]
fn environment() {
    peer_differs("crun<1.28", "does not take over what the container has", || {
        let c = Bundle::new().env("A=1").env("B=2").does("sleep").start();
        let env = c.exec_with("-e B=3 -e C=x=y", "env").json();
        let has = |var: &str| env.as_array().unwrap().contains(&json!(var));
        assert!(has("A=1") && has("B=3") && has("C=x=y") && has("HOME=/root"), "{env}");
        assert!(!has("B=2"), "the last counts: {env}");
        let out = c.exec_cmd("", "env").env("LEAK", "1").run();
        assert!(!out.stdout.contains("LEAK"));
    });
}

#[test]
fn home_is_that_of_the_user_it_runs_as() {
    let c = sleeper();
    let home = |flags: &str| c.exec_with(flags, "env").ok().stdout;
    peer_may_differ("crun>=1.21", "1.21 leaves that of the container's user", || {
        assert!(home("--user 1000").contains("HOME=/home/user"));
    });
    assert!(home("").contains("HOME=/root"));
    assert!(home("--user 1000 --env HOME=/mine").contains("HOME=/mine"));
}

#[test]
fn the_user_is_the_containers_unless_given() {
    peer_differs("crun", "does not take over what the container has", || {
        let b = Bundle::new().user(1000, 1001).set("/process/user/additionalGids", json!([5, 6]));
        let c = b.does("sleep").start();
        let ids = |flags: &str| c.exec_with(flags, "ids").ok().json();
        assert_eq!(
            ids(""),
            json!({"uid": [1000, 1000, 1000], "gid": [1001, 1001, 1001], "groups": [5, 6]}),
            "youki made it root"
        );
        assert_eq!(ids("--user 7:8")["uid"], json!([7, 7, 7]));
        assert_eq!(ids("--user 7:8")["gid"], json!([8, 8, 8]));
        assert_eq!(ids("-g 9 -g 2000")["groups"], json!([5, 6, 9, 2000]));
    });
}

#[test]
fn cwd() {
    peer_differs("crun", "does not take over what the container has", || {
        let b = Bundle::new().folder("/work").folder("/other").set("/process/cwd", json!("/work"));
        let c = b.does("sleep").start();
        assert_eq!(c.exec("cwd").json(), "/work");
        assert_eq!(c.exec_with("--cwd /other", "cwd").json(), "/other");
        c.exec_with("--cwd /file/none", "cwd").fails().says_any(&["no such file", "chdir"]);
    });
}

#[test]
fn capabilities() {
    peer_differs("crun", "--cap takes the others away", || {
        let c = Bundle::new().caps("bounding=CHOWN effective=CHOWN permitted=CHOWN").does("sleep").start();
        let sets = |flags: &str| c.exec_with(flags, "caps").ok().json();
        let same = sets("");
        assert_eq!((&same["bounding"], &same["effective"]), (&json!([0]), &json!([0])));
        let more = sets("--cap CAP_NET_RAW --cap CAP_KILL");
        assert_eq!(more["bounding"], json!([0, 5, 13]));
        assert_eq!((&more["effective"], &more["permitted"]), (&json!([0, 5, 13]), &json!([0, 5, 13])));
    });
}

#[test]
fn no_new_privileges() {
    peer_differs("crun", "does not take over what the container has", || {
        let c = Bundle::new().set("/process/noNewPrivileges", json!(false)).does("sleep").start();
        let nnp = |flags: &str| c.exec_with(flags, "status NoNewPrivs").ok().json()["NoNewPrivs"].clone();
        assert_eq!(nnp(""), "0");
        assert_eq!(nnp("--no-new-privs"), "1");
        let c = sleeper();
        let out = c.exec("status NoNewPrivs").ok().json();
        assert_eq!(out["NoNewPrivs"], "1", "the container's stays");
    });
}

#[test]
fn program_lookup() {
    let c = Bundle::new().program("/bin/prog").file("/etc/plain", "x").does("sleep").start();
    assert_eq!(exec_args(&c, "", &["prog", "readlink", "/proc/self/exe"]).json(), "/bin/prog");
    assert_eq!(exec_args(&c, "--env PATH=/none:/", &["payload", "umask"]).json(), 0o22);
    let words = |name: &str, ours: &str, theirs: &str| {
        let out = exec_args(&c, "", &[name]).fails();
        if peer() == Peer::Tare {
            assert_eq!(out.line(), format!("exec failed: unable to start container process: {ours}"));
            assert_eq!(out.code, Some(255));
        } else {
            out.says_any(&[theirs, "open executable"]);
        }
    };
    let path = "executable file not found in $PATH: no such file or directory";
    words("nope", &format!("exec: \"nope\": {path}"), "not found in $PATH");
    words("/nope", "exec: \"/nope\": stat /nope: no such file or directory", "no such file or directory");
    words("/etc", "exec: \"/etc\": is a directory: permission denied", "/etc");
    words("/etc/plain", "exec: \"/etc/plain\": permission denied", "/etc/plain");
    words("", &format!("exec: \"\": {path}"), "$PATH");
}

#[test]
fn a_container_that_is_created_paused_stopped_or_unknown() {
    let c = Bundle::new().does("sleep").create();
    assert_eq!(c.exec("umask").ok().json(), 0o22, "created");
    assert_eq!(c.status(), "created");
    c.call("start").ok();
    c.call("pause").ok();
    peer_may_differ("crun>=1.21", "1.21 waits for ever", || {
        c.exec("umask")
            .fails()
            .says_any(&["cannot exec in a paused container (use --ignore-paused to override)", "is paused"]);
    });
    c.call("resume").ok();
    c.exec("umask").ok();
    c.kill("KILL").ok();
    c.wait();
    c.until_status("stopped");
    c.exec("umask").fails().says_any(&["cannot exec in a stopped container", "is not running"]);
    let out = c.cmd(["exec", "it-nobody", "/payload"]).run().fails();
    out.says_any(&["does not exist", "no such file"]);
}

#[test]
fn ignore_paused() {
    peer_differs("crun", "has no such flag", || {
        let c = sleeper();
        c.call("pause").ok();
        // It is started, and frozen with the others.
        let exec = c.exec_cmd("--ignore-paused", "umask").spawn();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(exec.stdout(), "");
        c.call("resume").ok();
        assert_eq!(exec.wait().ok().json(), 0o22);
    });
}

#[test]
fn detached_it_goes_on_alone() {
    let c = sleeper();
    let file = c.outside().join("pid");
    let flags = format!("--detach --pid-file {}", file.display());
    let out = c.exec_cmd(&flags, "print up -- wait-file /go -- exit 7").run().ok();
    assert!(out.elapsed < TIMEOUT / 4 * slow());
    let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
    let exe = || fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    // Peers do not wait for the exec.
    assert!(exe().ends_with("payload") || peer() != Peer::Tare);
    assert!(until(TIMEOUT, || exe().ends_with("payload")));
    fs::write(c.inside("/go"), "").unwrap();
    assert_eq!(c.wait_pid(pid), 7);
    assert_eq!(c.status(), "running");
}

#[test]
fn a_failing_detached_exec_says_so_and_leaves_no_pid_file() {
    let c = sleeper();
    let file = c.outside().join("pid");
    let flags = format!("--detach --pid-file {}", file.display());
    exec_args(&c, &flags, &["/nope"]).fails();
    exec_args(&c, &format!("{flags} --cwd /nope"), &["/payload"]).fails();
    assert!(!file.exists());
}

#[test]
fn processes_in_a_row_and_beside_each_other() {
    let c = sleeper();
    let many: Vec<Running> = (0..8).map(|n| c.exec_cmd("", &format!("exit {n}")).spawn()).collect();
    for (n, exec) in many.into_iter().enumerate() {
        exec.wait().code(n as i32);
    }
}

#[test]
fn the_end_of_init_ends_it() {
    let c = Bundle::new().does("wait-file /go").start();
    let exec = c.exec_cmd("", "print up -- sleep").spawn();
    exec.lines(1);
    fs::write(c.inside("/go"), "").unwrap();
    exec.wait().code(137);
}

#[test]
fn process_file_with_every_field() {
    let c = Bundle::new().folder("/w").does("sleep").start();
    let verbs = "cwd -- ids -- env -- caps -- rlimits -- status NoNewPrivs -- umask -- read /proc/self/oom_score_adj -- tty";
    let document = json!({
        "terminal": false, "cwd": "/w", "args": payload(verbs),
        "env": ["X=1", "PATH=/", "HOME=/h"],
        "user": {"uid": 5, "gid": 6, "additionalGids": [7], "umask": 0o27},
        "capabilities": {"bounding": ["CAP_CHOWN"], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
        "noNewPrivileges": false, "oomScoreAdj": 77,
    });
    let out = exec_process(&c, &document).ok().answers();
    assert_eq!(out[0], "/w");
    assert_eq!(out[1], json!({"uid": [5, 5, 5], "gid": [6, 6, 6], "groups": [7]}));
    let env = out[2].as_array().unwrap();
    assert!(
        ["X=1", "PATH=/", "HOME=/h"].iter().all(|v| env.contains(&json!(v))) && env.len() == 3,
        "{env:?}"
    );
    assert_eq!(out[3]["bounding"], json!([0]));
    if peer() != Peer::Crun {
        assert_eq!(out[4]["RLIMIT_CORE"], json!([1, 2]));
    }
    if peer() == Peer::Tare {
        assert_eq!(out[5]["NoNewPrivs"], "0");
        assert_eq!(out[7], "77\n");
    }
    if peer() != Peer::Runc {
        assert_eq!(out[6], 0o27, "runc 1.1.5 takes that of config.json");
    }
    assert_eq!(out[8]["stdin"]["isatty"], false);
}

#[test]
fn what_a_process_file_leaves_open_is_the_containers() {
    let b = Bundle::new().caps("bounding=CHOWN,KILL effective= permitted=").rlimit("CORE", 3, 4);
    let c = b.set("/process/oomScoreAdj", json!(55)).does("sleep").start();
    let verbs = "caps -- rlimits -- status NoNewPrivs Seccomp -- ids -- read /proc/self/oom_score_adj";
    let document =
        json!({"cwd": "/", "args": payload(verbs), "env": ["PATH=/"], "user": {"uid": 0, "gid": 0}});
    peer_may_differ("crun", "takes the document alone", || {
        let out = exec_process(&c, &document).ok().answers();
        assert_eq!(out[0]["bounding"], json!([0, 5]));
        if peer() == Peer::Tare {
            assert_eq!(out[1]["RLIMIT_CORE"], json!([3, 4]));
        }
        assert_eq!(out[3]["uid"], json!([0, 0, 0]));
        if peer() == Peer::Tare {
            assert_eq!(out[2]["NoNewPrivs"], "1");
            assert_eq!(out[4], "55\n");
        }
    });
}

#[test]
fn a_process_file_is_filtered_by_the_containers_seccomp() {
    let getppid = if cfg!(target_arch = "x86_64") { 110 } else { 173 };
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]});
    let c = Bundle::new().set("/linux/seccomp", seccomp).does("sleep").start();
    let verbs = format!("syscall {getppid} -- status Seccomp");
    let document =
        json!({"cwd": "/", "args": payload(&verbs), "env": ["PATH=/"], "user": {"uid": 0, "gid": 0}});
    let out = exec_process(&c, &document).ok();
    assert_eq!(out.json(), json!({"errno": 77}));
    assert_eq!(out.json_line(1)["Seccomp"], "2");
}

#[test]
fn a_bad_process_file_is_named() {
    let c = sleeper();
    let bad = |text: &str, words: &[&str]| {
        let file = c.outside().join("bad.json");
        fs::write(&file, text).unwrap();
        let out = c.cmd(["exec", "--process", file.to_str().unwrap(), &c.id]).run().fails();
        if peer() == Peer::Tare {
            words.iter().for_each(|w| assert!(out.stderr.contains(w), "{w}: {out:?}"));
            out.line();
        }
    };
    bad("{", &["process"]);
    bad("", &["process"]);
    bad(r#"{"cwd": "/", "args": [], "user": {"uid": 0, "gid": 0}}"#, &["args"]);
    bad(r#"{"cwd": "relative", "args": ["/payload"], "user": {"uid": 0, "gid": 0}}"#, &["cwd"]);
    bad(
        r#"{"cwd": "/", "args": ["/payload"], "user": {"uid": 0, "gid": 0}, "rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]}"#,
        &["rlimits"],
    );
    let out = c.cmd(["exec", "--process", "/no/such/file", &c.id]).run().fails();
    out.says_any(&["/no/such/file"]);
}

#[test]
fn exec_cpu_affinity() {
    let cpus = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    if cpus.trim() == "0" {
        return skip("one CPU only");
    }
    peer_differs("runc<1.3 crun", "older than it", || {
        let b = Bundle::new().set("/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
        let c = b.does("status Cpus_allowed_list -- sleep").start();
        assert_ne!(c.answer()["Cpus_allowed_list"], "1", "of exec only");
        assert_eq!(c.exec("status Cpus_allowed_list").ok().json()["Cpus_allowed_list"], "1");
    });
}

#[test]
fn its_terminal_in_a_user_namespace_is_its_own() {
    let c = Bundle::new().userns().does("sleep").start();
    let mut pty = Pty::new();
    let exec = pty.spawn(c.exec_cmd("-t", "stat /dev/pts/0 -- print end"));
    let seen = pty.expect("end");
    exec.wait().code(0);
    assert!(seen.contains("\"uid\":0"), "{seen}");
}

#[test]
fn in_a_sub_cgroup() {
    let mount = |b: Bundle| b.mount("cgroup", "cgroup", "/sys/fs/cgroup", "rw,nosuid,noexec,nodev,relatime");
    let c = mount(Bundle::new())
        .does("mkdir /sys/fs/cgroup/freezer/sub -- mkdir /sys/fs/cgroup/sub -- sleep")
        .start();
    c.lines(2);
    let (flag, base) = if is_v2() { ("--cgroup sub", "") } else { ("--cgroup freezer:sub", "/freezer") };
    let file = c.outside().join("pid");
    peer_differs("crun", "on v1 a path of all controllers", || {
        c.exec_with(&format!("{flag} --detach --pid-file {}", file.display()), "sleep").ok();
        let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
        let found = cgroups_of(pid);
        end(&c, pid);
        assert!(found.iter().any(|dir| dir.ends_with(format!("{}/sub", c.id))), "{found:?} {base}");
        c.exec_with("--cgroup none/such", "umask").fails();
    });
}

#[test]
fn exec_goes_where_init_went_when_the_cgroup_has_become_an_inner_one() {
    if !is_v2() {
        return skip("v2 only");
    }
    let b = Bundle::new().mount("cgroup", "cgroup", "/sys/fs/cgroup", "rw");
    let c = b.does("mkdir /sys/fs/cgroup/leaf -- write /sys/fs/cgroup/leaf/cgroup.procs 0 -- write /sys/fs/cgroup/cgroup.subtree_control +hugetlb -- sleep").start();
    let answers = c.lines(3);
    assert_eq!(answers[2], "ok", "{answers:?}");
    let out = c.exec("read /proc/self/cgroup").ok().json();
    assert!(out.as_str().unwrap().contains("/leaf"), "{out}");
}

#[test]
fn a_limit_of_the_container_is_on_exec_too() {
    if !has_controller("pids") {
        return skip("no pids controller");
    }
    let c = Bundle::new().set("/linux/resources/pids/limit", json!(20)).does("sleep").start();
    let out = c.exec("forks 50").ok().json();
    assert_eq!(out["refusal"], "EAGAIN");
    assert!(out["made"].as_i64().unwrap() < 20, "{out}");
}

#[test]
fn a_console_socket_needs_a_terminal_and_a_terminal_detached_needs_a_socket() {
    let c = sleeper();
    peer_differs("crun", "is lenient", || {
        c.exec_with("--tty --detach", "umask").fails();
        let socket = c.outside().join("none");
        c.exec_with(&format!("--console-socket {}", socket.display()), "umask").fails();
    });
    let socket = c.outside().join("none");
    c.exec_with(&format!("--tty --detach --console-socket {}", socket.display()), "umask").fails();
}

#[test]
fn apparmor_and_labels_without_support_are_clear_errors() {
    let c = sleeper();
    if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        peer_differs("crun>=1.28", "goes without", || {
            c.exec_with("--apparmor some-profile", "umask").fails().says_any(&["apparmor", "attr"]);
        });
    }
    if !std::path::Path::new("/sys/fs/selinux/status").exists() && peer() == Peer::Tare {
        c.exec_with("--process-label a:b:c:s0", "umask").fails().says_any(&["selinux", "label", "attr"]);
    }
}
