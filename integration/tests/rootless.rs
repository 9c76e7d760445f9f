//! By an ordinary user, from outside of any user namespace.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use tare_integration::*;

/// `tare-test` of `integration/run`, and the first of the ids that it may give away.
const USER: u32 = 4711;
const GRANTED: u32 = 400_000;

fn become_user() -> std::io::Result<()> {
    let (uid, gid) = (nix::unistd::Uid::from_raw(USER), nix::unistd::Gid::from_raw(USER));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setgid(gid)?;
    Ok(nix::unistd::setuid(uid)?)
}

fn give(path: &Path) {
    let kind = fs::symlink_metadata(path).unwrap().file_type();
    // The payload is a link to a file that is everybody's.
    if !path.ends_with("payload") {
        std::os::unix::fs::lchown(path, Some(USER), Some(USER)).unwrap();
    }
    if kind.is_dir() {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| give(&entry.path()));
    }
}

/// A bundle of the user's, as `spec --rootless` makes them.
fn bundle() -> Bundle {
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1}]);
    let pts = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
    Bundle::new()
        .no_ns("network")
        .no_ns("cgroup")
        .ns("user")
        .set("/linux/uidMappings", map(USER))
        .set("/linux/gidMappings", map(USER))
        .set("/mounts/2/options", pts)
        .no_mount("/sys")
        .bind("/sys", "/sys", "rbind,nosuid,noexec,nodev,ro")
        .mount("cgroup", "cgroup", "/sys/fs/cgroup", "nosuid,noexec,nodev,relatime,ro")
}

/// A call of the runtime by the user, whose own copy of it is used. Everything of the bundle is the user's.
fn call(b: &Bundle, words: &str) -> Cmd {
    b.write();
    let own = b.outside().join("runtime");
    if !own.exists() {
        fs::copy(runtime_path(), &own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    }
    give(b.path().parent().unwrap());
    b.caller.set(USER);
    let root = b.root.to_str().unwrap().to_owned();
    let words = words.replace("BUNDLE", b.path().to_str().unwrap()).replace("ID", &b.id);
    let all = ["--root", &root].into_iter().map(str::to_owned);
    let cmd = Cmd::new(own, all.chain(words.split_whitespace().map(str::to_owned)));
    let cmd = cmd.cwd(b.path()).env("XDG_RUNTIME_DIR", b.outside());
    // SAFETY: three system calls.
    unsafe { cmd.before_exec(become_user) }
}

fn run(b: &Bundle) -> Output {
    call(b, "run --bundle BUNDLE ID").run()
}

/// Created and started.
fn start(b: Bundle) -> Container {
    let out = call(&b, "create --bundle BUNDLE ID").run().ok();
    let c = Container::created(b, out);
    call(&c, "start ID").run().ok();
    c
}

#[test]
fn it_runs_as_root_of_its_own_ids() {
    let b = bundle().does(
        "ids -- read /proc/self/uid_map -- read /proc/self/gid_map -- read /proc/self/setgroups -- write /dev/null x \
         -- lstat /dev/zero -- touch /made -- mount /sys",
    );
    let out = run(&b).ok().answers();
    assert_eq!((&out[0]["uid"], &out[0]["gid"]), (&json!([0, 0, 0]), &json!([0, 0, 0])));
    for map in [&out[1], &out[2]] {
        let numbers: Vec<&str> = map.as_str().unwrap().split_whitespace().collect();
        assert_eq!(numbers, ["0", "4711", "1"]);
    }
    assert_eq!(out[3], "deny\n");
    assert_eq!(out[4], "ok");
    assert_eq!(out[5][0]["rdev"], "1:5");
    assert_eq!(out[6], json!(["ok"]));
    assert_eq!(fs::metadata(b.inside("/made")).unwrap().uid(), USER);
    assert!(out[7]["options"].to_string().contains("\"ro\""), "{}", out[7]);
    assert!(!b.root.join(&b.id).exists());
}

#[test]
fn the_bundle_of_spec_rootless_runs_as_it_is() {
    let b = Bundle::new();
    let own = call(&b, "features");
    drop(own);
    fs::remove_file(b.path().join("config.json")).unwrap();
    let spec = || {
        let cmd = Cmd::new(b.outside().join("runtime"), ["spec", "--rootless"]).cwd(b.path());
        // SAFETY: three system calls.
        unsafe { cmd.before_exec(become_user) }
    };
    spec().run().ok();
    fs::create_dir_all(b.inside("/bin")).unwrap();
    fs::hard_link(payload_path(), b.inside("/bin/sh")).unwrap();
    let cmd = Cmd::new(b.outside().join("runtime"), ["--root", b.root.to_str().unwrap(), "run", &b.id]);
    let cmd = cmd.cwd(b.path()).env("XDG_RUNTIME_DIR", b.outside());
    // SAFETY: as above.
    let cmd = unsafe { cmd.before_exec(become_user) };
    let pty = Pty::new();
    // `sh` without a verb does nothing, on a terminal.
    pty.spawn(cmd).wait().code(0);
}

#[test]
fn from_create_to_delete() {
    let b = bundle().does("print up -- sleep");
    let out = call(&b, "create --bundle BUNDLE ID").run().ok();
    let c = Container::created(b, out);
    assert_eq!(call(&c, "state ID").run().document()["status"], "created");
    if peer() == Peer::Tare {
        // Before the start too, when its init is not yet the user's program.
        assert_eq!(call(&c, "exec ID /payload ids").run().ok().json()["uid"], json!([0, 0, 0]));
    }
    call(&c, "start ID").run().ok();
    assert_eq!(c.answer(), "up");
    let state = call(&c, "state ID").run().document();
    assert_eq!(state["status"], "running");
    if peer() != Peer::Runc {
        assert_eq!(state["owner"], "tare-test");
    }
    let out = call(&c, "exec ID /payload ids -- ns -- read /proc/1/comm").run().ok();
    assert_eq!(out.json()["uid"], json!([0, 0, 0]));
    let user = fs::read_link(format!("/proc/{}/ns/user", c.pid())).unwrap();
    assert_eq!(out.json_line(1)["user"], json!(user));
    if peer() == Peer::Tare {
        let pids = call(&c, "ps --format json ID").run().ok().document();
        assert_eq!(pids, json!([c.pid()]));
    }
    let table = call(&c, "list").run().ok();
    assert!(table.stdout.contains(&c.id) && table.stdout.contains("running"), "{table:?}");
    call(&c, "kill ID KILL").run().ok();
    assert_eq!(c.wait(), 137);
    call(&c, "delete ID").run().ok();
    assert!(!c.root.join(&c.id).exists());
}

#[test]
fn terminals_in_run_and_exec_and_over_a_socket() {
    let b = bundle().set("/process/terminal", json!(true)).does("tty -- exit 5");
    let mut pty = Pty::new();
    let run = pty.spawn(call(&b, "run --bundle BUNDLE ID"));
    pty.expect("\"controlling\":true");
    run.wait().code(5);
    let c = start(bundle().does("sleep"));
    let mut pty = Pty::new();
    let exec = pty.spawn(call(&c, "exec -t ID /payload tty -- exit 6"));
    pty.expect("\"controlling\":true");
    exec.wait().code(6);
    let b = bundle().set("/process/terminal", json!(true)).does("print hello -- sleep");
    let socket = b.outside().join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let out = call(&b, &format!("run --detach --console-socket {} --bundle BUNDLE ID", socket.display()));
    let out = out.run().ok();
    let (master, _) = receive_fd(&listener);
    let c = Container::created(b, out);
    Pty::of_master(master).expect("hello");
    call(&c, "delete --force ID").run().ok();
}

#[test]
fn more_ids_by_newuidmap() {
    if !Path::new("/usr/bin/newuidmap").exists() {
        return skip("no newuidmap");
    }
    let more = |b: Bundle, host: u32, size: u32| {
        let map = json!([{"containerID": 0, "hostID": USER, "size": 1},
            {"containerID": 1, "hostID": host, "size": size}]);
        b.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    };
    peer_differs("runc", "allows such a user no additional groups", || {
        let b = more(bundle(), GRANTED, 1000).user(7, 8).set("/process/user/additionalGids", json!([9]));
        let out = run(&b.does("ids -- read /proc/self/uid_map -- read /proc/self/setgroups")).ok().answers();
        assert_eq!((&out[0]["uid"], &out[0]["gid"]), (&json!([7, 7, 7]), &json!([8, 8, 8])));
        assert_eq!(out[0]["groups"], json!([9]));
        let numbers: Vec<&str> = out[1].as_str().unwrap().split_whitespace().collect();
        assert_eq!(numbers, ["0", "4711", "1", "1", "400000", "1000"]);
        assert_eq!(out[2], "allow\n");
    });
    // One id, but not the user's own.
    let one = json!([{"containerID": 0, "hostID": GRANTED, "size": 1}]);
    let b = bundle().set("/linux/uidMappings", one.clone()).set("/linux/gidMappings", one);
    fs::set_permissions(b.rootfs(), fs::Permissions::from_mode(0o755)).unwrap();
    let b = b.does("read /proc/self/uid_map");
    let out = run(&b);
    if peer() == Peer::Tare {
        // It is mapped; that root of such a container may not write to the rootfs is another thing.
        assert!(!out.stderr.contains("Mappings"), "{out:?}");
    }
    // The clocks are set before root of the namespace, who is not the user, owns its files in /proc.
    if peer() == Peer::Tare {
        let b = b.ns("time").set("/linux/timeOffsets", json!({"boottime": {"secs": 5_000_000}}));
        let out = run(&b);
        assert!(!out.stderr.contains("timens_offsets"), "{out:?}");
    }
    // Not those of others.
    for (host, size) in [(GRANTED - 1, 10), (GRANTED, 65537), (0, 1)] {
        let b = more(bundle(), host, size);
        let out = run(&b).fails();
        if peer() == Peer::Tare {
            out.says("linux.uidMappings: newuidmap: ");
        }
        assert!(!b.root.join(&b.id).exists());
    }
}

#[test]
fn what_the_user_may_not_have_is_refused() {
    let refused = |b: Bundle, words: &str| {
        peer_may_differ("runc crun", "takes no notice", || {
            let out = run(&b).fails();
            if peer() == Peer::Tare {
                assert!(out.line().contains(words), "{words}: {}", out.line());
            }
            assert!(!b.root.join(&b.id).exists());
        });
    };
    refused(
        bundle().set("/process/user/additionalGids", json!([0])),
        "process.user.additionalGids: setgroups",
    );
    refused(
        bundle().no_ns("user").without("/linux/uidMappings").without("/linux/gidMappings"),
        "user namespace",
    );
    refused(bundle().set("/process/oomScoreAdj", json!(-999)), "process.oomScoreAdj: write -999");
    refused(bundle().rlimit("NOFILE", 1 << 29, 1 << 29), "process.rlimits: error setting rlimit 7");
    let device = json!({"path": "/dev/no-such", "type": "c", "major": 1, "minor": 3});
    refused(bundle().push("/linux/devices", device), "make device /dev/no-such");
}

#[test]
fn what_needs_no_privilege_works() {
    let b = bundle()
        .ns("network")
        .ns("time")
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 5_000_000}}))
        .set("/process/oomScoreAdj", json!(321))
        .set("/process/user/umask", json!(0o27))
        .rlimit("CORE", 3, 4)
        .caps("bounding=KILL effective=KILL permitted=KILL inheritable= ambient=")
        .set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]}),
        );
    let getppid = if cfg!(target_arch = "x86_64") { 110 } else { 173 };
    let b = b.does(&format!(
        "read /proc/uptime -- read /proc/self/oom_score_adj -- umask -- rlimits -- caps -- syscall {getppid} -- lo-up \
         -- status NoNewPrivs"
    ));
    peer_differs("runc<1.2 crun<1.21", "have no time namespaces, or want to read the old offsets", || {
        let out = run(&b).ok().answers();
        let up: f64 = out[0].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(up > 5_000_000.0, "{up}");
        assert_eq!((&out[1], &out[2]), (&json!("321\n"), &json!(0o27)));
        assert_eq!(out[3]["RLIMIT_CORE"], json!([3, 4]));
        assert_eq!(out[4]["bounding"], json!([5]));
        assert_eq!(out[5], json!({"errno": 77}));
        assert_eq!(out[6], json!(true));
        assert_eq!(out[7]["NoNewPrivs"], "1");
    });
}

#[test]
fn hooks_run_as_the_user() {
    let b = bundle().does("sleep");
    let dir = b.outside();
    let script = |name: &str| {
        let script = format!("id -u >{}/{name}; cat /proc/self/uid_map >>{0}/{name}", dir.display());
        json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
    };
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let b = kinds.iter().fold(b, |b, kind| b.push(&format!("/hooks/{kind}"), script(kind)));
    let c = start(b);
    call(&c, "delete --force ID").run().ok();
    for kind in kinds {
        let text = fs::read_to_string(dir.join(kind)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let inside = kind == "createContainer";
        assert_eq!(text.starts_with("0\n"), inside, "{kind}: {text}");
        assert_eq!(text.contains("4294967295"), !inside, "{kind}: {text}");
    }
}

#[test]
fn without_a_cgroup_there_are_no_limits() {
    if peer() != Peer::Tare && !is_v2() {
        return note("known difference", "runc, crun: on v1 they show the hierarchies, or take no notice");
    }
    // What nobody has asked for can be missing; and nothing of the host's is to be written to (CVE-2023-25809).
    let c =
        start(bundle().does("ls /sys/fs/cgroup -- mkdir /sys/fs/cgroup/x -- mount /sys/fs/cgroup -- sleep"));
    let seen = c.lines(3);
    assert_eq!(seen[1], "EROFS", "{seen:?}");
    if peer() == Peer::Tare {
        assert_eq!(seen[0], json!([]));
        assert!(c.cgroups().is_empty());
        call(&c, "pause ID").run().fails().says("no freezer cgroup");
    }
    for (pointer, value) in [
        ("/linux/resources/pids/limit", json!(10)),
        ("/linux/resources/memory/limit", json!(1 << 24)),
        ("/linux/cgroupsPath", json!("/somewhere/else")),
    ] {
        let b = bundle().set(pointer, value);
        let out = run(&b).fails().says_any(&["permission", "denied"]);
        if peer() == Peer::Tare {
            assert!(out.line().contains("the cgroup is not delegated to this user"), "{}", out.line());
        }
        assert!(!b.root.join(&b.id).exists());
    }
}

#[test]
fn a_delegated_cgroup_is_used() {
    if !is_v2() {
        return skip("v2 only");
    }
    let b = bundle();
    let base = Path::new("/sys/fs/cgroup").join(format!("{}-delegated", b.id));
    let own = base.join("own");
    fs::create_dir_all(&own).unwrap();
    for dir in [&base, &own] {
        for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            chown(dir.join(file), Some(USER), Some(USER)).unwrap();
        }
    }
    // The runtime starts in it, as a session of systemd's would.
    let inside = |words: &str, b: &Bundle| {
        drop(call(b, words));
        let root = b.root.to_str().unwrap().to_owned();
        let words = words.replace("BUNDLE", b.path().to_str().unwrap()).replace("ID", &b.id);
        let script = format!(
            "echo 0 >{}/cgroup.procs; exec setpriv --reuid {USER} --regid {USER} --clear-groups {} --root {root} {words}",
            own.display(),
            b.outside().join("runtime").display()
        );
        Cmd::new("/bin/sh", ["-c".to_owned(), script]).cwd(b.path()).env("XDG_RUNTIME_DIR", b.outside())
    };
    let b =
        b.no_mount("/sys/fs/cgroup").mount("cgroup", "cgroup", "/sys/fs/cgroup", "rw,nosuid,noexec,nodev");
    let b = b.does("mkdir /sys/fs/cgroup/mine -- exists /sys/fs/cgroup/own -- sleep");
    peer_may_differ("runc crun", "show it all, or find no place", || {
        let out = inside("run --detach --bundle BUNDLE ID", &b).run().ok();
        let found = b.cgroups();
        assert!(found.iter().any(|dir| dir.starts_with(&base)), "{found:?}");
        // Of what is the user's it sees its own cgroup and no other.
        assert!(until(TIMEOUT, || fs::metadata(base.join(&b.id).join("mine")).is_ok()), "{out:?}");
        assert!(!base.join("mine").exists());
        inside("pause ID", &b).run().ok();
        assert_eq!(call(&b, "state ID").run().document()["status"], "paused");
        inside("delete --force ID", &b).run().ok();
        assert_eq!(b.cgroups(), Vec::<std::path::PathBuf>::new());
    });
    call(&b, "delete --force ID").run();
    for dir in [base.join(&b.id).join("mine"), base.join(&b.id), own, base] {
        let _ = fs::remove_dir(dir);
    }
}

#[test]
fn the_state_is_kept_below_xdg_runtime_dir() {
    if peer() == Peer::Other {
        return;
    }
    let b = bundle().does("sleep");
    drop(call(&b, ""));
    let plain = |words: &[&str]| {
        let cmd = Cmd::new(b.outside().join("runtime"), words).cwd(b.path());
        let cmd = cmd.env("XDG_RUNTIME_DIR", b.outside());
        // SAFETY: three system calls.
        unsafe { cmd.before_exec(become_user) }.run()
    };
    plain(&["run", "--detach", &b.id]).ok();
    let list = plain(&["list", "-q"]).ok();
    assert_eq!(list.stdout, format!("{}\n", b.id));
    if peer() == Peer::Tare {
        let root = b.outside().join("tare");
        assert!(root.join(&b.id).is_dir());
        // Sticky, or a periodic clean-up would take it for old.
        assert_eq!(fs::metadata(root).unwrap().permissions().mode() & 0o7777, 0o1700);
    }
    plain(&["delete", "--force", &b.id]).ok();
}

#[test]
fn a_runtime_that_is_the_users_own_cannot_be_written_from_inside() {
    if !tare_only("peers protect it in their own ways") {
        return;
    }
    // CVE-2019-5736. The container's root is the user, to whom the file belongs.
    let b = bundle();
    let out = call(&b, "create --bundle BUNDLE ID").run().ok();
    let c = Container::created(b, out);
    let exe = format!("/proc/{}/exe", c.pid());
    let link = fs::read_link(&exe).unwrap();
    assert!(link.to_string_lossy().starts_with("/memfd:"), "{link:?}");
    let file = File::open(&exe).unwrap();
    // SAFETY: an integer query of an open file.
    let seals = unsafe { libc_seals(file.as_raw_fd()) };
    assert_eq!(seals & 0xf, 0xf, "no longer, no shorter, no write, no change of that");
    // One that is root's needs no copy.
    let own = c.outside().join("runtime");
    chown(&own, Some(0), Some(0)).unwrap();
    let b = bundle();
    drop(call(&b, ""));
    let roots = b.outside().join("runtime");
    chown(&roots, Some(0), Some(0)).unwrap();
    b.write();
    let root = b.root.to_str().unwrap().to_owned();
    let bundle = b.path();
    let words = ["--root", &root, "create", "--bundle", bundle.to_str().unwrap(), &b.id];
    // SAFETY: three system calls.
    let out = unsafe { Cmd::new(&roots, words).before_exec(become_user) }.run().ok();
    let c = Container::created(b, out);
    assert_eq!(fs::read_link(format!("/proc/{}/exe", c.pid())).unwrap(), roots);
}

/// # Safety
/// None needed: fcntl of a number.
unsafe fn libc_seals(fd: i32) -> i32 {
    const F_GET_SEALS: i32 = 1034;
    // SAFETY: no pointer is passed.
    unsafe { libc::fcntl(fd, F_GET_SEALS) }
}

#[test]
fn no_program_of_the_hosts_is_reached_through_a_descriptor() {
    let c = start(bundle().does("sleep"));
    let program = c.outside().join("program");
    tiny_program(&program, "ESCAPED", None);
    let found: Vec<u32> = (3..=32)
        .filter(|n| {
            let path = format!("/proc/self/fd/{n}/{}{}", "../".repeat(12), program.display());
            let exec = call(&c, &format!("exec ID {path}")).run();
            let b = bundle().args([path]);
            exec.stdout.contains("ESCAPED") || run(&b).stdout.contains("ESCAPED")
        })
        .collect();
    assert_eq!(found, [0; 0]);
}

#[test]
fn a_pod_of_two_with_clocks_of_their_own() {
    // The second joins what the first has, and its time offsets are written when its files in /proc have long been root's.
    peer_differs("runc crun<1.21", "have no time namespaces, or join none of these", || {
        let first = start(bundle().ns("network").does("sleep"));
        let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
        let b = bundle().without("/linux/uidMappings").without("/linux/gidMappings");
        let b = b.join("user", &path("user")).join("network", &path("net")).join("ipc", &path("ipc"));
        let b = b.ns("time").set("/linux/timeOffsets", json!({"boottime": {"secs": 5_000_000}}));
        let out = run(&b.does("ns -- read /proc/uptime -- ids")).ok().answers();
        for (kind, file) in [("user", "user"), ("net", "net"), ("ipc", "ipc")] {
            assert_eq!(out[0][kind], json!(fs::read_link(path(file)).unwrap()), "{kind}");
        }
        let up: f64 = out[1].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(up > 5_000_000.0, "{up}");
        assert_eq!(out[2]["uid"], json!([0, 0, 0]));
        call(&first, "delete --force ID").run().ok();
    });
}
