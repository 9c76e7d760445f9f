//! The state root: nothing that another user has put there is believed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use tare_integration::*;

/// A user who is not root.
const USER: u32 = 4711;

/// A bundle whose state root is a folder of root's in which anybody can make files, as /tmp.
fn shared() -> Bundle {
    let mut b = Bundle::new();
    b.root = b.outside().join("shared");
    fs::create_dir(&b.root).unwrap();
    fs::set_permissions(&b.root, Permissions::from_mode(0o1777)).unwrap();
    b
}

/// What a user puts there: a stopped container `id` with a poststop hook that makes the file `trace`.
fn forge(root: &Path, id: &str, trace: &Path) -> PathBuf {
    let touch = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo >{}", trace.display())]});
    let spec = json!({"ociVersion": "1.0.2", "root": {"path": "x"}, "process": {"args": ["x"], "cwd": "/",
        "user": {"uid": 0, "gid": 0}}, "hooks": {"poststop": [touch]}, "linux": {"namespaces": [{"type": "mount"}]}});
    let state =
        json!({"id": id, "init_process_pid": i32::MAX, "init_process_start": 1, "bundle": "/", "spec": spec});
    let dir = root.join(id);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("state.json"), state.to_string()).unwrap();
    for path in [dir.join("state.json"), dir.clone()] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    dir
}

#[test]
fn a_container_of_another_user_is_refused_by_name_and_owner() {
    if !tare_only("looks whose the state is") {
        return;
    }
    let b = shared();
    let trace = b.outside().join("hook");
    let dir = forge(&b.root, &b.id, &trace);
    let words = format!("{} is not trusted: it belongs to user 4711, and this is user 0", dir.display());
    for verb in ["state", "start", "kill", "ps", "pause", "update --pids-limit 5", "delete", "delete --force"]
    {
        b.call(verb).fails().says(&words).says(&b.id);
    }
    b.cmd(["exec", &b.id, "/payload"]).run().code(255).fails().says(&words);
    assert!(!trace.exists(), "a hook of the user's has run as root");
    assert!(dir.join("state.json").exists());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_state_file_of_another_user_is_not_read() {
    if !tare_only("looks whose the state is") {
        return;
    }
    let b = shared();
    let trace = b.outside().join("hook");
    let dir = forge(&b.root, &b.id, &trace);
    chown(&dir, Some(0), Some(0)).unwrap();
    b.call("state").fails().says("state.json is not trusted: it belongs to user 4711");
    chown(dir.join("state.json"), Some(0), Some(0)).unwrap();
    fs::set_permissions(dir.join("state.json"), Permissions::from_mode(0o666)).unwrap();
    b.call("state").fails().says("state.json is not trusted: others may write to it (mode 0666)");
    fs::set_permissions(dir.join("state.json"), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    b.call("state").fails().says("is not trusted: others may write to it (mode 0777)");
    fs::set_permissions(&dir, Permissions::from_mode(0o711)).unwrap();
    assert_eq!(b.call("state").document()["status"], "stopped");
    assert!(!trace.exists());
}

#[test]
fn list_leaves_out_what_is_not_trusted_and_warns() {
    if !tare_only("looks whose the state is") {
        return;
    }
    let c = shared().does("sleep").start();
    let dir = forge(&c.root, "forged", &c.outside().join("hook"));
    symlink(&dir, c.root.join("link")).unwrap();
    let out = c.call_plain("list --format json").ok().says("is not trusted").says("forged");
    let all = out.document();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    assert_eq!(all[0]["id"], c.id.as_str());
}

#[test]
fn a_root_that_others_may_write_to_has_to_be_sticky() {
    if !tare_only("looks whose the state is") {
        return;
    }
    let b = shared();
    b.run().ok();
    fs::set_permissions(&b.root, Permissions::from_mode(0o777)).unwrap();
    b.launch("run").run().fails().says("is not trusted: everybody may rename what is in it (mode 0777)");
    // A group is of the owner's choosing; by a usual umask every folder is its group's.
    fs::set_permissions(&b.root, Permissions::from_mode(0o775)).unwrap();
    b.run().ok();
    chown(&b.root, Some(USER), Some(USER)).unwrap();
    fs::set_permissions(&b.root, Permissions::from_mode(0o755)).unwrap();
    b.launch("run").run().fails().says("is not trusted: it belongs to user 4711, and this is user 0");
    b.call_plain("list").fails().says("is not trusted");
}

#[test]
fn a_link_that_another_user_has_planted_is_not_followed() {
    if !tare_only("looks whose the state is") {
        return;
    }
    let mut b = Bundle::new();
    let (target, link) = (b.root.clone(), b.outside().join("link"));
    fs::create_dir(&target).unwrap();
    symlink(&target, &link).unwrap();
    b.root = link.clone();
    b.run().ok();
    lchown(&link, Some(USER), Some(USER)).unwrap();
    for root in [link.clone(), link.join("")] {
        b.root = root;
        b.launch("run").run().fails().says("is not trusted: it is a symbolic link of user 4711");
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    b.root = target;
}

#[test]
fn an_id_that_another_user_has_taken_is_taken() {
    peer_differs("runc", "1.1.5 follows a link to an empty folder", || {
        let b = shared();
        let victim = b.outside().join("victim");
        fs::create_dir(&victim).unwrap();
        symlink(&victim, b.root.join(&b.id)).unwrap();
        b.try_create().fails().says_any(&["already exists"]);
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        fs::remove_file(b.root.join(&b.id)).unwrap();
    });
}

#[test]
fn a_state_file_that_is_no_regular_file_is_an_error_at_once() {
    if !tare_only("runc and crun wait for a writer of the FIFO") {
        return;
    }
    let b = Bundle::new();
    let dir = b.root.join(&b.id);
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    let state = dir.join("state.json");
    nix::unistd::mkfifo(&state, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let words = "has no readable state (state.json is no regular file)";
    b.call("state").fails().says(words);
    let writer = fs::File::options().read(true).write(true).open(&state).unwrap();
    b.call("state").fails().says(words);
    b.call_plain("list").ok().says(words);
    b.call("delete").fails().says(words);
    b.call("delete --force").ok();
    drop(writer);
    assert!(!dir.exists());
}

#[test]
fn a_state_file_of_boundless_size_is_not_read() {
    if !tare_only("reads no more than a state can have") {
        return;
    }
    let c = Bundle::new().does("sleep").start();
    let state = c.root.join(&c.id).join("state.json");
    let text = fs::read(&state).unwrap();
    fs::File::options().write(true).open(&state).unwrap().set_len(1 << 40).unwrap();
    c.call("state").fails().says("state.json is larger than 64 MiB");
    fs::write(&state, text).unwrap();
}

#[test]
fn a_container_locked_for_ever_is_told_and_not_waited_for() {
    if !tare_only("locks the directory of a container") {
        return;
    }
    let c = Bundle::new().does("sleep").start();
    let dir = fs::File::open(c.root.join(&c.id)).unwrap();
    let lock = nix::fcntl::Flock::lock(dir, nix::fcntl::FlockArg::LockShared).map_err(|e| e.1).unwrap();
    c.call("update --pids-limit 100").fails().says("another process has held it for 10 s");
    drop(lock);
}

#[test]
fn in_a_user_namespace_a_root_of_nobody_holds_only_what_is_ours() {
    if !tare_only("looks whose the state is") {
        return;
    }
    let c = shared().does("sleep").start();
    let theirs = c.root.join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("state.json"), json!({"id": "theirs"}).to_string()).unwrap();
    for path in [theirs.join("state.json"), theirs] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    let script = format!("exec {} --root {} list -q", runtime_path().display(), c.root.display());
    let cmd = Cmd::new("unshare", ["--user", "--map-root-user", "sh", "-c", &script]);
    let out = cmd.user(USER).run().ok();
    assert_eq!(out.stdout, "theirs\n");
    let out = out.says("is not trusted: it belongs to user 65534, and this is user 0");
    assert!(out.stderr.contains(&c.id), "{out:?}");
}
