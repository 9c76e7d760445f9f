//! checkpoint and restore: what a container was doing goes on. They need a criu that works on this kernel.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tare_integration::*;

mod flags;

/// Whether there is a criu that can save a process here; else notes why the test is skipped. `criu check` does not tell:
/// that of Debian 13 is content with Linux 7.3 and cannot list its sockets.
fn has_criu() -> bool {
    static WORKS: LazyLock<bool> = LazyLock::new(|| {
        let dir = std::env::temp_dir().join("criu");
        std::fs::create_dir_all(&dir).unwrap();
        let quiet = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let mut process = Command::new(payload_path());
        let alone = || {
            // SAFETY: two system calls; the descriptors, some of them strange to criu, are a child's that executes at once.
            let _ = unsafe { (libc::setsid(), libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0)) };
            Ok(())
        };
        // SAFETY: `alone` makes system calls only.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut process, alone) };
        let mut process = quiet(process.arg("sleep")).unwrap();
        let pid = process.id().to_string();
        let program = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert!(until(TIMEOUT, || program() == "payload\n"));
        let args = ["dump", "--images-dir", dir.to_str().unwrap(), "--tree", &pid];
        let saved = quiet(Command::new("criu").args(args)).and_then(|mut criu| criu.wait());
        let _ = process.kill();
        let _ = process.wait();
        saved.is_ok_and(|status| status.success())
    });
    // In the sandbox's cgroup namespace are processes from outside of it, which criu takes for a mistake.
    let nested = std::env::var("TARE_VIEW").is_ok_and(|view| view.starts_with("systemd"));
    if !*WORKS || nested {
        skip("no criu that works here");
    }
    *WORKS && !nested
}

fn null() -> OwnedFd {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap().into()
}

/// Started with nothing of the harness's as its standard streams: runc cannot save files of the host.
#[track_caller]
fn start(b: Bundle) -> Container {
    let create = b.launch(&format!("create --pid-file {}", b.pid_file().display()));
    let output = create.stdio(&null()).run().ok();
    let c = Container::created(b, output);
    c.call("start").ok();
    c
}

/// Whether criu can do this on this kernel, in its own words.
fn criu_has(feature: &str) -> bool {
    let checked = Command::new("criu").args(["check", "--feature", feature]).output();
    checked.is_ok_and(|output| output.status.success())
}

/// A bundle with a tmpfs.
fn with_tmpfs() -> Bundle {
    Bundle::new().mount("tmpfs", "tmpfs", "/tmp", "size=1m")
}

/// A container that counts in a file of its tmpfs.
fn counter() -> Bundle {
    with_tmpfs().does("count /tmp/n")
}

/// What the counter has come to.
#[track_caller]
fn count(c: &Container) -> u64 {
    let mut n = 0;
    assert!(until(TIMEOUT, || {
        let seen = c.exec("read /tmp/n");
        n = seen.json().as_str().and_then(|n| n.parse().ok()).unwrap_or(0);
        n > 0
    }));
    n
}

/// The counter goes on, past a number.
#[track_caller]
fn counts_past(c: &Container, n: u64) {
    assert!(until(TIMEOUT, || count(c) > n), "{} does not count past {n}", c.id);
}

#[track_caller]
fn checkpoint(c: &Container, flags: &str) -> Output {
    let images = c.outside().join("images");
    c.call(&format!("checkpoint --image-path {} {flags}", images.display()))
}

fn restore_cmd(c: &Container, flags: &str) -> Cmd {
    c.launch(&format!("restore --image-path {} {flags}", c.outside().join("images").display()))
}

/// Detached; the pid of its process.
#[track_caller]
fn restore(c: &Container) -> i32 {
    let flags = format!("--detach --pid-file {}", c.pid_file().display());
    restore_cmd(c, &flags).run().ok();
    let pid = std::fs::read_to_string(c.pid_file()).unwrap().parse().unwrap();
    assert_eq!(c.state()["pid"], pid);
    assert_eq!(c.status(), "running");
    pid
}

fn mountinfo(pid: i32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    // The numbers of mounts and devices are new ones.
    let mut lines: Vec<String> =
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn a_counter_goes_on_where_it_was() {
    if !has_criu() {
        return;
    }
    let c = start(counter());
    let pid = c.pid();
    let before = count(&c);
    checkpoint(&c, "").ok();
    assert_eq!(c.wait(), 128 + 9, "its processes are gone");
    c.call("state").fails().says("does not exist");
    assert!(c.cgroups().is_empty(), "nor is there a cgroup: {:?}", c.cgroups());
    assert!(c.outside().join("images/inventory.img").exists());
    let now = restore(&c);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists() || pid == now);
    assert_eq!(c.exec("lo-up").json(), peer() == Peer::Tare, "the loopback interface");
    let after = count(&c);
    assert!(after >= before && after < before + 2000, "{before} {after}");
    counts_past(&c, after);
    let namespaces = c.exec("ns").json();
    for kind in ["pid", "mnt", "ipc", "uts", "net", "cgroup"] {
        let of_init = std::fs::read_link(format!("/proc/{now}/ns/{kind}")).unwrap();
        assert_eq!(namespaces[kind], of_init.to_str().unwrap(), "exec is in the same {kind} namespace");
    }
    c.call("pause").ok();
    c.until_status("paused");
    c.call("resume").ok();
    c.kill("KILL").ok();
    c.until_status("stopped");
    c.call("delete").ok();
    assert!(!c.root.join(&c.id).exists());
}

#[test]
fn a_paused_one_is_saved_too() {
    if !has_criu() {
        return;
    }
    let c = start(counter());
    let before = count(&c);
    c.call("pause").ok();
    checkpoint(&c, "").ok();
    restore(&c);
    counts_past(&c, before);
}

#[test]
fn leave_running_leaves_it() {
    if !has_criu() {
        return;
    }
    let c = start(counter());
    let before = count(&c);
    checkpoint(&c, "--leave-running").ok();
    assert_eq!((c.status().as_str(), c.state()["pid"].as_i64()), ("running", Some(c.pid().into())));
    counts_past(&c, before + 3);
    // What was saved is as good as of one that has ended.
    c.call("delete --force").ok();
    restore(&c);
    count(&c);
}

#[test]
fn memory_is_saved_in_advance() {
    if !has_criu() {
        return;
    }
    if !criu_has("mem_dirty_track") {
        return skip("the kernel does not track changes of memory");
    }
    let c = start(counter());
    count(&c);
    let pre = c.outside().join("pre");
    c.call(&format!("checkpoint --pre-dump --image-path {}", pre.display())).ok();
    assert_eq!(c.status(), "running");
    let before = count(&c);
    checkpoint(&c, "--parent-path ../pre").ok();
    assert!(c.outside().join("images/parent").canonicalize().unwrap().ends_with("pre"));
    restore(&c);
    counts_past(&c, before);
}

#[test]
fn limits_hold_again() {
    if !has_criu() {
        return;
    }
    if !has_controller("pids") {
        return skip("no pids controller");
    }
    let c = start(counter().set("/linux/resources", json!({"pids": {"limit": 12}})));
    assert_eq!(c.exec("forks 60").json(), json!({"made": 10, "refusal": "EAGAIN"}));
    checkpoint(&c, "").ok();
    let pid = restore(&c);
    assert_eq!(c.exec("forks 60").json(), json!({"made": 10, "refusal": "EAGAIN"}));
    assert!(cgroup_of(pid, "pids").ends_with(&c.id), "{:?}", cgroup_of(pid, "pids"));
    c.call("update --pids-limit 22").ok();
    assert_eq!(c.exec("forks 60").json()["made"], 20);
}

#[test]
fn mounts_come_back_as_they_were() {
    if !has_criu() {
        return;
    }
    let b = counter();
    let volume = b.outside().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "of the host").unwrap();
    let c = start(
        b.bind(&volume, "/rw", "rprivate")
            .bind(&volume, "/ro/first", "ro,rprivate")
            .bind(&volume, "/ro/second", "ro,nosuid,rprivate")
            .bind(volume.join("file"), "/etc/file", "ro,rprivate")
            .mount("cgroup", "cgroup", "/sys/fs/cgroup", "ro,nosuid,noexec,nodev")
            .symlink("/run", "/var-run")
            .bind(volume.join("file"), "/var-run/file", "ro,rprivate"),
    );
    let before = mountinfo(c.pid());
    c.exec("touch /tmp/kept -- write /tmp/kept mine").ok();
    checkpoint(&c, "").ok();
    // The mount points in the rootfs need not be there: an engine may bring a fresh one.
    std::fs::remove_dir_all(c.inside("/ro")).unwrap();
    let pid = restore(&c);
    assert_eq!(c.exec("read /tmp/kept -- read /etc/file -- read /run/file").answers().len(), 3);
    assert!(c.exec("read /tmp/kept").stdout.contains("mine"));
    assert!(c.exec("read /run/file").stdout.contains("of the host"));
    assert_eq!(c.exec("touch /rw/new").json(), json!(["ok"]));
    peer_differs("runc", "criu makes the second read-only mount of a source writable", || {
        for file in ["/ro/first/x", "/ro/second/x"] {
            assert_eq!(c.exec(&format!("touch {file}")).json(), json!(["EROFS"]), "{file}");
        }
        assert_eq!(mountinfo(pid), before);
    });
}

#[test]
fn pipes_are_those_of_the_caller() {
    if !has_criu() {
        return;
    }
    let b = Bundle::new().does("line -- line -- line");
    let create = b.launch(&format!("create --pid-file {}", b.pid_file().display()));
    let ((input, mut to), (from, output)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let created = create.stdio(&null()).fd(input, 0).fd(output, 1).run().ok();
    let c = Container::created(b, created);
    c.call("start").ok();
    to.write_all(b"one\n").unwrap();
    let mut lines = BufReader::new(from).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "\"one\\n\"");
    checkpoint(&c, "").ok();
    assert!(lines.next().is_none(), "nobody has the other end any more");
    let ((input, mut to), (from, output)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let restored = restore_cmd(&c, "").fd(input, 0).fd(output, 1).spawn();
    to.write_all(b"two\nthree\n").unwrap();
    let mut lines = BufReader::new(from).lines();
    restored.wait().ok();
    assert_eq!(lines.next().unwrap().unwrap(), "\"two\\n\"");
    assert_eq!(lines.next().unwrap().unwrap(), "\"three\\n\"");
    assert!(lines.next().is_none());
}

#[test]
fn in_the_foreground_it_stands_in_for_the_container() {
    if !has_criu() {
        return;
    }
    let b = Bundle::new().mount("tmpfs", "tmpfs", "/tmp", "").does("wait-file /tmp/go -- exit 7");
    let c = start(b);
    checkpoint(&c, "").ok();
    let restored = restore_cmd(&c, "").stdio(&null()).spawn();
    assert!(until(TIMEOUT, || {
        let state = c.call("state");
        state.code == Some(0) && state.document()["status"] == "running"
    }));
    // It may be killed with the others before it can tell.
    c.exec("touch /tmp/go");
    restored.wait().code(7);
    assert!(!c.root.join(&c.id).exists() && c.cgroups().is_empty());
}

#[test]
fn a_terminal_comes_back_over_the_socket() {
    if !has_criu() {
        return;
    }
    let b = Bundle::new().set("/process/terminal", json!(true)).does("line -- line -- tty -- sleep");
    let socket = b.outside().join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let console = format!("--console-socket {}", socket.display());
    let output = b.launch(&format!("create --pid-file {} {console}", b.pid_file().display())).run().ok();
    let mut pty = Pty::of_master(receive_fd(&listener).0);
    let c = Container::created(b, output);
    c.call("start").ok();
    pty.write("one\n");
    pty.expect("\"one\\n\"");
    checkpoint(&c, "").ok();
    drop(pty);
    restore_cmd(&c, &format!("--detach {console}")).run().ok();
    let mut pty = Pty::of_master(receive_fd(&listener).0);
    pty.resize(17, 71);
    pty.write("two\n");
    pty.expect("\"two\\n\"");
    let seen = pty.expect("controlling");
    assert!(seen.contains("\"rows\":17") && seen.contains("\"cols\":71"), "{seen}");
    assert_eq!(c.status(), "running");
}

#[test]
fn hooks_of_the_runtime_run_in_between() {
    if !has_criu() {
        return;
    }
    let b = counter();
    let log = b.outside().join("hooks");
    let hook = |b: Bundle, kind: &str| b.hook(kind, &format!("hook {} {kind}", log.display()));
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let c = start(kinds.iter().fold(b, |b, kind| hook(b, kind)));
    checkpoint(&c, "").ok();
    std::fs::write(&log, "").unwrap();
    restore(&c);
    let seen = std::fs::read_to_string(&log).unwrap();
    let at = |kind: &str| seen.find(kind).unwrap_or_else(|| panic!("no {kind} in {seen}"));
    assert!(at("prestart") < at("createRuntime"), "{seen}");
    assert!(!seen.contains("poststart") && !seen.contains("createContainer"), "{seen}");
}

/// Nothing of the attempt is left: no state, cgroup, mount (which the bundle looks at in its end) or process.
#[track_caller]
fn nothing_is_left(c: &Container) {
    assert!(!c.root.join(&c.id).exists());
    assert!(c.cgroups().is_empty(), "{:?}", c.cgroups());
    c.call("state").fails().says("does not exist");
}

#[test]
fn a_failed_restore_leaves_nothing() {
    if !has_criu() {
        return;
    }
    let c = start(counter());
    checkpoint(&c, "").ok();
    let images = c.outside().join("images");
    let pagemap = std::fs::read_dir(&images)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("pagemap-"))
        .unwrap();
    let good = std::fs::read(&pagemap).unwrap();
    std::fs::write(&pagemap, &good[..good.len() / 2]).unwrap();
    let failed = restore_cmd(&c, "--detach").run().fails();
    if peer() == Peer::Tare {
        failed.says("restore failed: criu failed: ").says("restore.log");
        nothing_is_left(&c);
    }
    // A hook that fails ends it when all processes are there already.
    std::fs::write(&pagemap, &good).unwrap();
    if !tare_only("a hook that fails") {
        return;
    }
    let mut spec = c.spec.clone();
    spec["hooks"] = json!({"createRuntime": [{"path": payload_path(), "args": ["payload", "exit", "3"]}]});
    std::fs::write(c.path().join("config.json"), spec.to_string()).unwrap();
    let bundle = c.path();
    let words = ["restore", "--detach", "--bundle", bundle.to_str().unwrap(), "--image-path"];
    let words = words.into_iter().chain([images.to_str().unwrap(), &c.id]);
    c.cmd(words).run().fails().says("createRuntime hook #0: exit status 3");
    nothing_is_left(&c);
    // Nor has it harmed the images.
    restore(&c);
    count(&c);
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    if !has_criu() {
        return;
    }
    let b = counter();
    let empty = b.outside().join("empty");
    b.launch(&format!("restore --image-path {}", empty.display())).run().fails();
    let _ = std::fs::create_dir(&empty);
    b.launch(&format!("restore --image-path {}", empty.display())).run().fails();
    assert!(!b.root.join(&b.id).exists() && b.cgroups().is_empty());
}

#[test]
fn a_failed_checkpoint_leaves_it_running() {
    if !has_criu() {
        return;
    }
    let c = start(counter());
    let before = count(&c);
    // A file where a directory must be.
    let images = c.outside().join("images");
    std::fs::create_dir_all(images.join("inventory.img")).unwrap();
    checkpoint(&c, "").fails();
    assert_eq!(c.status(), "running");
    counts_past(&c, before);
}

#[test]
fn who_cannot_be_saved_is_told_so() {
    let c = Bundle::new().does("sleep").create();
    let in_state = ["cannot be checkpointed in created state", "not running", "is not"];
    peer_may_differ("crun", "may be built without criu", || {
        drop(checkpoint(&c, "").fails().says_any(&in_state))
    });
    if !tare_only("its own refusals") {
        return;
    }
    let c = Bundle::new().no_ns("pid").does("sleep").start();
    checkpoint(&c, "").fails().says("without a pid namespace");
    assert_eq!(c.status(), "running");
    for (flag, text) in [
        ("--manage-cgroups-mode all", "must be soft, full, strict or ignore"),
        ("--network-lock none", "must be iptables, nftables or skip"),
        ("--empty-ns uts", "must be network"),
        ("--page-server nowhere", "must be ADDRESS:PORT"),
        ("--parent-path /abs", "must be relative"),
    ] {
        checkpoint(&c, flag).fails().says(text);
    }
    c.cmd_with(&["--criu", "/no/criu"], ["checkpoint", &c.id]).run().fails();
}

#[test]
fn a_scope_of_systemd_is_made_again() {
    if !has_criu() {
        return;
    }
    if !has_systemd() {
        return skip("no systemd is process 1 here");
    }
    let b = counter();
    let path = format!("system.slice:it:{}", b.id);
    let unit = format!("it-{}.scope", b.id);
    let b = b.set("/linux/cgroupsPath", json!(path)).set("/linux/resources", json!({"pids": {"limit": 12}}));
    b.write();
    let (bundle, pid_file) = (b.path(), b.pid_file());
    let (bundle, pid_file) = (bundle.to_str().unwrap(), pid_file.to_str().unwrap());
    let words = ["create", "--bundle", bundle, "--pid-file", pid_file, &b.id];
    let output = b.cmd_with(&["--systemd-cgroup"], words).stdio(&null()).run().ok();
    let c = Container::created(b, output);
    c.call("start").ok();
    let before = count(&c);
    checkpoint(&c, "").ok();
    let images = c.outside().join("images");
    let words = ["restore", "--detach", "--bundle", bundle, "--image-path", images.to_str().unwrap(), &c.id];
    c.cmd_with(&["--systemd-cgroup"], words).run().ok();
    assert!(count(&c) >= before);
    let tasks = Cmd::new("systemctl", ["show", "--value", "-p", "TasksMax", &unit]).run().ok();
    assert_eq!(tasks.stdout.trim(), "12");
    let pid = c.state()["pid"].as_i64().unwrap() as i32;
    assert!(cgroups_of(pid).iter().all(|dir| dir.ends_with(&unit)), "{:?}", cgroups_of(pid));
    c.call("delete --force").ok();
    let active = Cmd::new("systemctl", ["is-active", &unit]).run();
    assert_ne!(active.stdout.trim(), "active");
}

#[test]
fn a_user_namespace_comes_back() {
    if !has_criu() {
        return;
    }
    // Its /sys could not be mounted where that of the host is read-only, as in the sandbox.
    let c = start(counter().userns().no_mount("/sys"));
    count(&c);
    let ids = c.exec("ids").json();
    checkpoint(&c, "").ok();
    peer_differs("runc", "its root may not open the images", || {
        let pid = restore(&c);
        let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
        assert_eq!(c.exec("ids").json(), ids);
        count(&c);
    });
}

#[test]
fn a_joined_network_is_joined_again() {
    if !has_criu() {
        return;
    }
    let other = Bundle::new().does("sleep").start();
    let path = format!("/proc/{}/ns/net", other.pid());
    let c = start(counter().join("network", &path));
    checkpoint(&c, "").ok();
    let pid = restore(&c);
    let of = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(of(pid), of(other.pid()));
}
