//! Device nodes: the default ones and the listed ones.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use tare_integration::*;

#[test]
fn the_default_devices() {
    let names = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ];
    let paths: Vec<String> = names.iter().map(|(name, _)| format!("/dev/{name}")).collect();
    let out = Bundle::new().does(&format!("lstat {}", paths.join(" "))).run().json();
    for (n, (name, device)) in names.iter().enumerate() {
        assert_eq!(
            (&out[n]["type"], &out[n]["rdev"], &out[n]["mode"], &out[n]["uid"]),
            (&json!("char"), &json!(device), &json!("666"), &json!(0)),
            "{name}"
        );
    }
}

#[test]
fn they_work() {
    let out = Bundle::new()
        .does("write /dev/null x -- write /dev/full x -- open r /dev/zero /dev/urandom")
        .run()
        .ok();
    assert_eq!(out.answers(), [json!("ok"), json!("ENOSPC"), json!(["ok", "ok"])]);
}

#[test]
fn the_default_symlinks() {
    let links = "readlink /dev/fd -- readlink /dev/stdin -- readlink /dev/stdout -- readlink /dev/stderr";
    let out = Bundle::new().does(links).run().ok();
    assert_eq!(out.answers(), ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]);
}

#[test]
fn ptmx_is_the_containers_own() {
    let out = Bundle::new().does("open rw /dev/ptmx /dev/pts/ptmx -- ls /dev/pts").run().ok();
    assert_eq!(out.json(), json!(["ok", "ok"]));
    assert_eq!(out.json_line(1), json!(["ptmx"]), "none of the host's terminals");
}

#[test]
fn a_terminal_brings_a_console() {
    let b =
        Bundle::new().set("/process/terminal", json!(true)).does("lstat /dev/console -- open w /dev/console");
    let mut pty = Pty::new();
    let run = pty.spawn(b.launch("run"));
    let seen = pty.expect("[\"ok\"]");
    peer_differs("crun>=1.28", "makes a link to it", || {
        assert!(seen.contains("\"type\":\"char\"") && seen.contains("136:"), "{seen}");
    });
    run.wait().code(0);
}

#[test]
fn without_a_terminal_there_is_no_console() {
    assert_eq!(Bundle::new().does("exists /dev/console").run().json(), json!([false]));
}

fn device(path: &str, kind: &str, major: i64, minor: i64) -> Value {
    json!({"path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o640, "uid": 11, "gid": 12})
}

#[test]
fn listed_ones_with_mode_and_owner() {
    let b = Bundle::new()
        .push("/linux/devices", device("/dev/mychar", "c", 1, 5))
        .push("/linux/devices", device("/dev/myunbuffered", "u", 1, 3))
        .push("/linux/devices", device("/dev/myblock", "b", 7, 99))
        .push("/linux/devices", device("/dev/sub/folder/fifo", "p", 0, 0))
        .does("lstat /dev/mychar /dev/myunbuffered /dev/myblock /dev/sub/folder/fifo");
    let out = b.run().json();
    for (n, (kind, device)) in
        [("char", "1:5"), ("char", "1:3"), ("block", "7:99"), ("fifo", "0:0")].iter().enumerate()
    {
        assert_eq!(
            (&out[n]["type"], &out[n]["rdev"], &out[n]["mode"]),
            (&json!(kind), &json!(device), &json!("640")),
            "{out}"
        );
        assert_eq!((&out[n]["uid"], &out[n]["gid"]), (&json!(11), &json!(12)), "{out}");
    }
}

#[test]
fn a_fifo_has_no_numbers() {
    let b = Bundle::new().push("/linux/devices", device("/dev/fifo", "p", 8, 1)).does("lstat /dev/fifo");
    peer_differs("runc>=1.2", "wants to find the numbers at the node", || {
        let out = b.run().ok().json();
        assert_eq!((&out[0]["type"], &out[0]["rdev"]), (&json!("fifo"), &json!("0:0")));
    });
}

#[test]
fn listed_ones_outside_dev() {
    let b = Bundle::new().push("/linux/devices", device("/devices/deep/null", "c", 1, 3));
    let out = b.does("lstat /devices/deep/null").run().json();
    assert_eq!((&out[0]["type"], &out[0]["rdev"]), (&json!("char"), &json!("1:3")));
}

#[test]
fn the_mode_does_not_depend_on_the_runtimes_umask() {
    fn tight() -> std::io::Result<()> {
        // SAFETY: changes the child's own umask.
        unsafe { libc::umask(0o077) };
        Ok(())
    }
    let all = json!({"path": "/dev/open", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666});
    let b = Bundle::new().push("/linux/devices", all).mount("tmpfs", "tmpfs", "/made/for/it", "");
    let b = b.does("lstat /dev/open /dev/null /dev/shm /dev /made/for");
    // SAFETY: one system call.
    let out = unsafe { b.launch("run").before_exec(tight) }.run().json();
    let modes: Vec<&str> = out.as_array().unwrap().iter().map(|s| s["mode"].as_str().unwrap()).collect();
    assert_eq!(modes[..4], ["666", "666", "1777", "755"]);
    peer_differs("runc crun", "makes targets of mounts with it", || assert_eq!(modes[4], "755"));
}

#[test]
fn only_allowed_ones_can_be_opened_and_made() {
    // Root with CAP_MKNOD makes itself a node of any disk's; what keeps it from using that is the cgroup.
    let b = Bundle::new().cap("MKNOD").push("/linux/devices", device("/dev/kmsg", "c", 1, 11));
    let b = b.does("open w /dev/kmsg /dev/null -- mknod /new b 7 98 -- open r /new");
    let deny = json!({"allow": false, "access": "rwm"});
    let b = b.set("/linux/resources/devices", json!([deny]));
    let out = b.run().answers();
    assert_eq!(out[0], json!(["EPERM", "ok"]), "denied, and one of the defaults");
    assert_eq!(out[2], json!(["EPERM"]));
    let allow = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"});
    let b = b.set("/linux/resources/devices", json!([deny, allow]));
    assert_eq!(b.run().answers()[0], json!(["ok", "ok"]));
}

#[test]
fn a_default_device_can_be_listed() {
    let listed = json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0});
    let b = Bundle::new().push("/linux/devices", listed).does("write /dev/null x");
    peer_differs("runc", "1.1.5 takes away the access to it", || assert_eq!(b.run().json(), "ok"));
}

#[test]
fn one_that_exists_as_something_else_is_refused() {
    let b = Bundle::new().file("/devices/null", "a file");
    peer_differs("runc crun", "keep what is there", || {
        b.push("/linux/devices", device("/devices/null", "c", 1, 3)).refused();
    });
}

#[test]
fn in_a_user_namespace_they_are_bound() {
    let b = Bundle::new()
        .userns()
        .does("open rw /dev/null /dev/zero /dev/tty -- lstat /dev/null -- write /dev/full x");
    let out = b.run().ok();
    assert_eq!(out.json()[0], "ok");
    assert_eq!(out.json()[1], "ok");
    assert_eq!((&out.json_line(1)[0]["type"], &out.json_line(1)[0]["rdev"]), (&json!("char"), &json!("1:3")));
    assert_eq!(out.json_line(2), "ENOSPC");
}

#[test]
fn in_a_user_namespace_a_device_that_the_host_has_not_got_is_made() {
    peer_differs("runc", "1.1.5 refuses it", || {
        let block =
            json!({"path": "/dev/sub/block", "type": "b", "major": 7, "minor": 250, "fileMode": 0o600});
        let zero = json!({"path": "/made/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8});
        let b =
            Bundle::new().userns().folder("/made").push("/linux/devices", block).push("/linux/devices", zero);
        std::os::unix::fs::chown(b.inside("/made"), Some(100_000), Some(100_000)).unwrap();
        let out =
            b.does("lstat /dev/sub/block /made/zero -- open r /made/zero -- mount /made/zero").run().ok();
        let nodes = out.json();
        assert_eq!((&nodes[0]["type"], &nodes[0]["rdev"]), (&json!("block"), &json!("7:250")));
        assert_eq!((&nodes[1]["type"], &nodes[1]["rdev"]), (&json!("char"), &json!("1:5")));
        assert_eq!((&nodes[1]["uid"], &nodes[1]["gid"]), (&json!(7), &json!(8)), "{nodes}");
        assert_eq!(out.json_line(1), json!(["ok"]));
        peer_may_differ("crun", "its umask counts", || {
            assert_eq!((&nodes[0]["mode"], &nodes[1]["mode"]), (&json!("600"), &json!("640")));
        });
    });
}

#[test]
fn a_device_that_is_made_belongs_to_ids_of_a_joined_user_namespace() {
    peer_may_differ("runc crun", "want maps, or refuse the device", || {
        let holder = Bundle::new().userns().does("sleep").start();
        let b = Bundle::new().userns().join("user", &format!("/proc/{}/ns/user", holder.pid()));
        let b = b.without("/linux/uidMappings").without("/linux/gidMappings");
        let b = b.push("/linux/devices", device("/dev/block", "b", 7, 250)).does("lstat /dev/block");
        let node = &b.run().ok().json()[0];
        assert_eq!((&node["uid"], &node["gid"], &node["rdev"]), (&json!(11), &json!(12), &json!("7:250")));
    });
}

#[test]
fn in_a_user_namespace_a_device_is_made_where_the_hosts_is_another_one() {
    if !tare_only("runc and crun bind whatever has the name") {
        return;
    }
    // The host's /dev/full is 1:7, and the container was promised the zero device.
    let wrong = json!({"path": "/dev/full", "type": "c", "major": 1, "minor": 5});
    let b = Bundle::new().userns().push("/linux/devices", wrong).does("lstat /dev/full");
    assert_eq!(b.run().ok().json()[0]["rdev"], "1:5");
}

#[test]
fn a_dev_of_the_rootfs_is_filled_too() {
    // Without a tmpfs on /dev the nodes go into the rootfs itself.
    let b = Bundle::new();
    let b = ["/dev/mqueue", "/dev/shm", "/dev/pts", "/dev"].iter().fold(b, |b, m| b.no_mount(m));
    let b = b.does("write /dev/null x");
    assert_eq!(b.run().json(), "ok");
    let null = std::fs::symlink_metadata(b.inside("/dev/null")).unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == nix::sys::stat::makedev(1, 3));
}

/// The device that a node is.
fn node(path: &std::path::Path, major: u64, minor: u64, mode: u32) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let _ = std::fs::create_dir_all(path.parent().unwrap());
    mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(mode), makedev(major, minor)).unwrap();
}

#[test]
fn nodes_of_the_image_are_put_right() {
    if !tare_only("peers leave what is there") {
        return;
    }
    let b = Bundle::new();
    let b = ["/dev/mqueue", "/dev/shm", "/dev/pts", "/dev"].iter().fold(b, |b, m| b.no_mount(m));
    node(&b.inside("/dev/zero"), 1, 5, 0o600);
    // It would open the host's devpts.
    node(&b.inside("/dev/ptmx"), 5, 2, 0o666);
    let device =
        json!({"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "gid": 9});
    let b = b.push("/linux/devices", device).does("lstat /dev/zero -- readlink /dev/ptmx");
    let out = b.run().ok();
    let zero = &out.json()[0];
    assert_eq!((&zero["mode"], &zero["gid"], &zero["rdev"]), (&json!("640"), &json!(9), &json!("1:5")));
    assert_eq!(out.json_line(1), "pts/ptmx");
}

#[test]
fn a_bind_of_the_hosts_dev_is_left_as_it_is() {
    let b = Bundle::new();
    let dev = b.outside().join("dev");
    std::fs::create_dir(&dev).unwrap();
    // The peers cannot do without.
    let null = nix::sys::stat::makedev(1, 3);
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::sys::stat::mknod(&dev.join("null"), nix::sys::stat::SFlag::S_IFCHR, mode, null).unwrap();
    let b = ["/dev/mqueue", "/dev/shm", "/dev/pts", "/dev"].iter().fold(b, |b, m| b.no_mount(m));
    let b = b.bind(&dev, "/dev", "rbind").does("ls /dev");
    b.run().ok();
    let made: Vec<_> = std::fs::read_dir(&dev).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(made, ["null"]);
}
