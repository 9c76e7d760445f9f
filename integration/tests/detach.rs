//! Detached: console socket, pid file, fds that are passed on, readiness.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::net::{UnixDatagram, UnixListener};

use tare_integration::*;

#[test]
fn the_console_socket_gets_the_master() {
    let b = Bundle::new().set("/process/terminal", json!(true)).does("tty -- line -- print bye");
    let socket = b.outside().join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let out = b.launch(&format!("create --console-socket {}", socket.display())).run().ok();
    let (master, name) = receive_fd(&listener);
    assert!(!name.is_empty(), "containerd and conmon read at least one byte");
    let c = Container::created(b, out);
    let mut pty = Pty::of_master(master);
    pty.resize(17, 71);
    c.call("start").ok();
    let seen = pty.expect("controlling");
    assert!(seen.contains("\"rows\":17") && seen.contains("\"cols\":71"), "{seen}");
    pty.write("typed\n");
    pty.expect("\"typed\\n\"");
    pty.expect("bye");
    assert_eq!(c.wait(), 0);
}

#[test]
fn console_size_is_set_on_the_master() {
    let b = Bundle::new()
        .set("/process/terminal", json!(true))
        .set("/process/consoleSize", json!({"height": 33, "width": 77}))
        .does("tty");
    let socket = b.outside().join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let out = b.launch(&format!("create --console-socket {}", socket.display())).run().ok();
    let (master, _) = receive_fd(&listener);
    let c = Container::created(b, out);
    c.call("start").ok();
    let seen = Pty::of_master(master).expect("controlling");
    assert!(seen.contains("\"rows\":33") && seen.contains("\"cols\":77"), "{seen}");
}

#[test]
fn a_console_socket_without_a_terminal_is_refused_and_so_is_the_reverse() {
    let b = Bundle::new().set("/process/terminal", json!(true));
    b.refused();
    let b = Bundle::new();
    let socket = b.outside().join("console");
    let _listener = UnixListener::bind(&socket).unwrap();
    peer_differs("crun", "ignores it", || {
        b.launch(&format!("create --console-socket {}", socket.display())).run().fails();
    });
}

#[test]
fn a_console_socket_that_nobody_listens_on_is_an_error() {
    let b = Bundle::new().set("/process/terminal", json!(true));
    let socket = b.outside().join("nobody");
    b.launch(&format!("create --console-socket {}", socket.display())).run().fails();
    assert!(!b.root.join(&b.id).exists());
}

#[test]
fn exec_sends_its_master_too() {
    let c = Bundle::new().does("sleep").start();
    let socket = c.outside().join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    c.exec_cmd(&format!("--tty --detach --console-socket {}", socket.display()), "print over-here")
        .run()
        .ok();
    let (master, _) = receive_fd(&listener);
    Pty::of_master(master).expect("over-here");
}

#[test]
fn the_pid_file_is_there_when_create_returns() {
    let b = Bundle::new().does("sleep");
    let file = b.outside().join("pid");
    let out = b.launch(&format!("create --pid-file {}", file.display())).run().ok();
    let c = Container::created(b, out);
    // The number alone: conmon and others parse the whole file.
    assert_eq!(fs::read_to_string(&file).unwrap(), c.state()["pid"].to_string());
}

#[test]
fn a_start_that_fails_leaves_no_pid_file() {
    let b = Bundle::new().args(["/payload"]).set("/hooks", json!({"poststart": [{"path": "/bin/false"}]}));
    let file = b.outside().join("pid");
    peer_may_differ("runc crun", "the file stays", || {
        b.launch(&format!("run --pid-file {}", file.display())).run().fails();
        assert!(!file.exists());
    });
}

#[test]
fn the_pid_file_is_written_atomically() {
    peer_differs("crun", "truncates and writes", || {
        let b = Bundle::new().does("sleep");
        let file = b.outside().join("pid");
        // Whoever has the old file open must never see a half-written new one.
        fs::write(&file, "old").unwrap();
        let mut old = File::open(&file).unwrap();
        let out = b.launch(&format!("create --pid-file {}", file.display())).run().ok();
        let _c = Container::created(b, out);
        let mut text = String::new();
        old.rewind().unwrap();
        old.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old", "it was replaced, not rewritten");
        let beside: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(beside.len(), 1, "{beside:?}");
    });
}

#[test]
fn exec_writes_its_own_pid_file() {
    let c = Bundle::new().does("sleep").start();
    let file = c.outside().join("exec-pid");
    c.exec_cmd(&format!("--detach --pid-file {}", file.display()), "sleep").run().ok();
    let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert!(pid > 0 && pid != c.pid());
    assert_eq!(cgroups_of(pid), cgroups_of(c.pid()), "it is the process in the container");
    // Never on failure: that is how conmon tells.
    fs::remove_file(&file).unwrap();
    c.cmd(["exec", "--detach", "--pid-file", file.to_str().unwrap(), &c.id, "/nope"]).run().fails();
    assert!(!file.exists());
}

/// A dozen open files under numbers from 3 on, each named by what is in it.
fn with_fds(mut cmd: Cmd, dir: &std::path::Path, count: i32) -> Cmd {
    for n in 3..3 + count {
        let path = dir.join(format!("fd{n}"));
        fs::write(&path, format!("content {n}")).unwrap();
        cmd = cmd.fd(File::open(&path).unwrap(), n);
    }
    cmd
}

/// The fds beyond stdio that the payload has, with what they point to.
fn extra_fds(fds: &Value) -> Vec<(i32, String)> {
    let all = fds.as_object().unwrap().iter();
    let mut list: Vec<(i32, String)> = all
        .map(|(fd, to)| (fd.parse().unwrap(), to.as_str().unwrap().rsplit('/').next().unwrap().to_owned()))
        .filter(|(fd, _)| *fd > 2)
        .collect();
    list.sort();
    list
}

#[test]
fn no_fd_of_the_caller_gets_in() {
    let b = Bundle::new().does("fds");
    let out = with_fds(b.launch("run"), &b.outside(), 12).run().ok();
    assert_eq!(extra_fds(&out.json()), []);
    let c = Bundle::new().does("fds -- sleep");
    let out = with_fds(c.launch("create"), &c.outside(), 12).run().ok();
    let c = Container::created(c, out);
    c.call("start").ok();
    assert_eq!(extra_fds(&c.answer()), []);
    let out = with_fds(c.exec_cmd("", "fds"), &c.outside(), 12).run().ok();
    assert_eq!(extra_fds(&out.json()), []);
}

#[test]
fn preserve_fds_passes_so_many() {
    let b = Bundle::new().does("fds -- read /proc/self/fd/4");
    let out = with_fds(b.launch("run --preserve-fds 2"), &b.outside(), 6).run().ok();
    assert_eq!(extra_fds(&out.json()), [(3, "fd3".to_owned()), (4, "fd4".to_owned())]);
    // In create they must last until start.
    let out = with_fds(b.launch("create --preserve-fds 2"), &b.outside(), 6).run().ok();
    let c = Container::created(b, out);
    c.call("start").ok();
    assert_eq!(extra_fds(&c.answer()).len(), 2);
}

#[test]
fn preserve_fds_in_exec() {
    let c = Bundle::new().does("sleep").start();
    let out = with_fds(c.exec_cmd("--preserve-fds 1", "fds"), &c.outside(), 3).run().ok();
    assert_eq!(extra_fds(&out.json()), [(3, "fd3".to_owned())]);
}

#[test]
fn preserve_fds_that_are_not_open_are_an_error() {
    peer_differs("runc>=1.2 crun", "runc leaves the container, crun counts without looking", || {
        let b = Bundle::new();
        with_fds(b.launch("run --preserve-fds 60"), &b.outside(), 2).run().fails();
        // Not only the exec at the end of it may say so: `create` would have left a container that cannot start.
        with_fds(b.launch("create --preserve-fds 60"), &b.outside(), 2).run().fails();
        assert!(!b.root.join(&b.id).exists());
    });
}

/// Runs the runtime with LISTEN_PID set to its own pid, as systemd does.
fn activated(b: &Bundle, verb: &str, env: &str) -> Cmd {
    b.write();
    let script = format!("{env} LISTEN_PID=$$ exec \"$@\"");
    let rest = [runtime_path().display().to_string(), "--root".into(), b.root.display().to_string()];
    let mut words: Vec<String> = vec!["-c".into(), script, "sh".into()];
    words.extend(rest);
    words.extend(verb.split_whitespace().map(str::to_owned));
    words.extend(["--bundle".into(), b.path().display().to_string(), b.id.clone()]);
    Cmd::new("/bin/sh", words)
}

#[test]
fn the_log_file_is_not_taken_for_a_preserved_fd() {
    // The runtime's own file gets the lowest number that the caller has left free.
    peer_differs("runc crun", "hands its log to the container", || {
        let b = Bundle::new().does("fds");
        b.write();
        let (log, bundle) = (b.outside().join("log"), b.path());
        let globals = ["--log", log.to_str().unwrap()];
        let words = ["run", "--preserve-fds", "1", "--bundle", bundle.to_str().unwrap(), &b.id];
        b.cmd_with(&globals, words).run().fails().says("file descriptor 3");
        let given = b.cmd_with(&globals, words).fd(File::open("/dev/zero").unwrap(), 3).run().ok();
        assert_eq!(given.json()["3"], "/dev/zero", "{given:?}");
    });
}

#[test]
fn socket_activation() {
    let b = Bundle::new().does("env -- fds");
    let cmd = activated(&b, "run", "LISTEN_FDS=2 LISTEN_FDNAMES=one:two");
    let out = with_fds(cmd, &b.outside(), 5).run().ok();
    let env = out.json();
    let env = env.as_array().unwrap();
    peer_differs("crun", "passes the fds but not their number", || {
        assert!(env.contains(&json!("LISTEN_FDS=2")), "{env:?}");
    });
    assert!(env.contains(&json!("LISTEN_PID=1")), "the container's pid: {env:?}");
    peer_differs("runc crun", "pass no LISTEN_FDNAMES", || {
        assert!(env.contains(&json!("LISTEN_FDNAMES=one:two")), "{env:?}");
    });
    assert_eq!(extra_fds(&out.json_line(1)), [(3, "fd3".to_owned()), (4, "fd4".to_owned())]);
}

#[test]
fn socket_activation_and_preserved_fds_add_up() {
    let b = Bundle::new().does("env -- fds");
    let cmd = activated(&b, "run --preserve-fds 1", "LISTEN_FDS=1");
    let out = with_fds(cmd, &b.outside(), 5).run().ok();
    peer_differs("crun", "passes the fds but not their number", || {
        assert!(out.json().as_array().unwrap().contains(&json!("LISTEN_FDS=1")));
    });
    assert_eq!(extra_fds(&out.json_line(1)).len(), 2);
}

#[test]
fn listen_fds_for_another_process_are_not_ours() {
    peer_differs("crun", "does not look at LISTEN_PID", || {
        let b = Bundle::new().does("env -- fds");
        let cmd = b.launch("run").env("LISTEN_FDS", "2").env("LISTEN_PID", "1");
        let out = with_fds(cmd, &b.outside(), 5).run().ok();
        assert!(!out.json().to_string().contains("LISTEN_FDS"), "{}", out.stdout);
        assert_eq!(extra_fds(&out.json_line(1)), []);
    });
}

/// A datagram socket as systemd's, with a time limit.
fn notify_socket(b: &Bundle) -> (UnixDatagram, std::path::PathBuf) {
    let path = b.outside().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT * slow())).unwrap();
    (socket, path)
}

/// All lines that have come until one of them begins with `last`.
fn messages(socket: &UnixDatagram, last: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut buffer = [0; 4096];
    while !last.iter().all(|l| lines.iter().any(|line| line.starts_with(l))) {
        let n = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{e}; so far {lines:?}"));
        lines.extend(String::from_utf8_lossy(&buffer[..n]).lines().map(str::to_owned));
    }
    lines
}

#[test]
fn readiness_is_forwarded_from_a_detached_container() {
    let b = Bundle::new().does("env -- notify READY=1 -- sleep");
    let (socket, path) = notify_socket(&b);
    let out = b.launch("create").env("NOTIFY_SOCKET", &path).run().ok();
    let c = Container::created(b, out);
    let start = c.cmd(["start", &c.id]).env("NOTIFY_SOCKET", &path).spawn();
    if peer() == Peer::Crun {
        messages(&socket, &["READY=1"]);
    } else {
        let lines = messages(&socket, &["READY=1", "MAINPID="]);
        assert!(lines.contains(&format!("MAINPID={}", c.pid())), "{lines:?}");
    }
    // Who has sent it is looked up by pid, so it has to stay until the manager says that it has done so.
    let mut start = start;
    std::thread::sleep(std::time::Duration::from_millis(30));
    if peer() == Peer::Tare {
        assert!(!start.ended(), "it has not waited for the manager");
        // A manager that takes no notice of the descriptor closes it by reading on.
        messages(&socket, &["BARRIER=1"]);
    }
    drop(socket);
    start.wait().ok();
    // A path that is good inside the container.
    let env = c.answer();
    let inside = env.as_array().unwrap().iter().find_map(|v| v.as_str()?.strip_prefix("NOTIFY_SOCKET="));
    assert!(inside.is_some_and(|p| p.starts_with("/run/") || peer() == Peer::Crun), "{env}");
    assert_eq!(c.lines(2)[1], "ok");
}

#[test]
fn readiness_is_forwarded_in_the_foreground() {
    let b = Bundle::new().does("notify READY=1 -- print sent -- line");
    let (socket, path) = notify_socket(&b);
    let (reader, writer) = std::io::pipe().unwrap();
    let run = b.launch("run").env("NOTIFY_SOCKET", &path).stdin(reader).spawn();
    let lines = messages(&socket, &["READY=1"]);
    assert!(lines.iter().any(|l| l == "READY=1"), "{lines:?}");
    drop((socket, writer));
    run.wait().code(0);
}

#[test]
fn no_notify_socket_none_inside() {
    let env = Bundle::new().does("env").run().json();
    assert!(!env.to_string().contains("NOTIFY_SOCKET"), "{env}");
}

#[test]
fn a_container_that_never_is_ready_does_not_hold_up_the_end() {
    let b = Bundle::new().does("exit 3");
    let (_socket, path) = notify_socket(&b);
    peer_differs("runc", "waits for readiness for ever", || {
        let limit = std::time::Duration::from_secs(4);
        b.launch("run").env("NOTIFY_SOCKET", &path).timeout(limit).run().code(3);
    });
}

#[test]
fn the_pidfd_socket_gets_a_pidfd_of_init() {
    peer_differs("runc<1.2 crun", "older than it; crun has an annotation", || {
        let b = Bundle::new().does("sleep");
        let socket = b.outside().join("pidfd");
        let listener = UnixListener::bind(&socket).unwrap();
        let out = b.launch(&format!("create --pidfd-socket {}", socket.display())).run().ok();
        let (fd, _) = receive_fd(&listener);
        let c = Container::created(b, out);
        use std::os::fd::AsRawFd;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        assert!(info.contains(&format!("Pid:\t{}\n", c.pid())), "{info}");
    });
}

#[test]
fn the_notify_directory_is_not_the_containers_to_write_to() {
    // It is a directory of the host's; runc shows it read-only, too.
    let all = json!(["CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL"]);
    let b = Bundle::new().set("/process/capabilities/effective", all);
    let b = b.does("touch /run/notify/new -- unlink /run/notify/notify.sock -- mount /run/notify -- sleep");
    let (_socket, path) = notify_socket(&b);
    let out = b.launch("create").env("NOTIFY_SOCKET", &path).run().ok();
    let c = Container::created(b, out);
    let start = c.cmd(["start", &c.id]).env("NOTIFY_SOCKET", &path).spawn();
    let seen = c.lines(3);
    drop(start);
    peer_differs("crun", "is writable", || {
        assert_eq!((&seen[0], &seen[1]), (&json!(["EROFS"]), &json!("EROFS")), "{seen:?}");
        let options = seen[2]["options"].to_string();
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(&format!("\"{option}\"")), "{options}");
        }
    });
}

#[test]
fn the_notify_socket_is_for_every_user_of_the_container() {
    if peer() == Peer::Crun {
        return note("known difference", "crun: its socket is root's");
    }
    let b = Bundle::new().user(1000, 1000).does("notify READY=1 -- stat /run/notify/notify.sock -- sleep");
    let (socket, path) = notify_socket(&b);
    let out = b.launch("create").env("NOTIFY_SOCKET", &path).run().ok();
    let c = Container::created(b, out);
    let start = c.cmd(["start", &c.id]).env("NOTIFY_SOCKET", &path).spawn();
    messages(&socket, &["READY=1"]);
    drop((socket, start));
    assert_eq!(c.lines(2)[1][0]["mode"], "777");
}

#[test]
fn waiting_for_readiness_can_be_given_up() {
    if !tare_only("runc goes on waiting") {
        return;
    }
    let b = Bundle::new().does("sleep");
    let (_socket, path) = notify_socket(&b);
    let run = b.launch("run --detach").env("NOTIFY_SOCKET", &path).spawn();
    let running = || b.call("state").stdout.contains("\"running\"");
    assert!(until(TIMEOUT, running));
    // It has to have come to the waiting.
    std::thread::sleep(std::time::Duration::from_millis(50));
    run.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(run.wait().signal, Some(15));
    assert!(running(), "the container is not concerned");
}
