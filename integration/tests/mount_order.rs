//! Mounts: the order in which they become read-only, options and sources of unusual form, files that could block.

use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tare_integration::*;

/// A mount whose options are these strings, as they are.
fn mount_with(
    b: Bundle,
    kind: &str,
    source: impl AsRef<Path>,
    destination: &str,
    options: &[&str],
) -> Bundle {
    let source = source.as_ref();
    b.push("/mounts", json!({"destination": destination, "type": kind, "source": source, "options": options}))
}

fn has(mount: &Value, list: &str, word: &str) -> bool {
    mount[list].as_array().unwrap().iter().any(|option| option == word)
}

#[test]
fn a_read_only_tmpfs_holds_later_mounts() {
    // `podman run --read-only --read-only-tmpfs=false`, `docker run --tmpfs /t:ro -v x:/t/sub`.
    let b = Bundle::new();
    let outside = b.outside();
    let b = b
        .mount("tmpfs", "tmpfs", "/t", "ro,nosuid")
        .mount("tmpfs", "tmpfs", "/t/inner", "ro")
        .bind(&outside, "/t/inner/volume", "rw")
        .mount("tmpfs", "tmpfs", "/t/free", "");
    let b = b.does("touch /t/x /t/inner/x /t/inner/volume/x /t/free/x -- mount /t");
    for flags in ["", "--no-pivot"] {
        let out = b.launch(&format!("run {flags}")).run().ok();
        assert_eq!(out.json(), json!(["EROFS", "EROFS", "ok", "ok"]), "{flags}");
        assert!(has(&out.json_line(1), "options", "nosuid"), "{out:?}");
    }
}

#[test]
fn recursively_read_only_tmpfs_holds_later_mounts() {
    peer_may_differ("runc crun", "ignore it on a tmpfs, or apply it at once", || {
        let b = Bundle::new().mount("tmpfs", "tmpfs", "/t", "rro").mount("tmpfs", "tmpfs", "/t/free", "");
        assert_eq!(b.does("touch /t/x /t/free/x").run().ok().json(), json!(["EROFS", "ok"]));
    });
}

#[test]
fn a_read_only_dev_is_filled_before() {
    let mut b = Bundle::new();
    let dev = b.clone_mounts().iter().position(|mount| mount["destination"] == "/dev").unwrap();
    b = b.push(&format!("/mounts/{dev}/options"), json!("ro"));
    let device = json!({"path": "/dev/deep/zero", "type": "c", "major": 1, "minor": 5});
    let b = b
        .push("/linux/devices", device)
        .does("touch /dev/x /dev/shm/x -- write /dev/null x -- exists /dev/fd /dev/deep/zero");
    let out = b.run().ok();
    assert_eq!(out.json(), json!(["EROFS", "ok"]));
    assert_eq!((out.json_line(1), out.json_line(2)), (json!("ok"), json!([true, true])));
    let b = b.set("/process/terminal", json!(true)).does("touch /dev/x -- open w /dev/console");
    let mut pty = Pty::new();
    let run = pty.spawn(b.launch("run"));
    let seen = pty.expect("[\"ok\"]");
    assert!(seen.contains("EROFS"), "{seen}");
    run.wait().code(0);
}

#[test]
fn a_read_only_bind_holds_no_later_mount_that_lacks_a_target() {
    // It is somebody's volume, and was declared read-only.
    peer_may_differ("crun", "makes the target in the volume", || {
        let b = Bundle::new();
        let outside = b.outside();
        let b = b.bind(&outside, "/v", "ro").mount("tmpfs", "tmpfs", "/v/sub", "");
        b.refused().says_any(&["/v/sub in the rootfs: read-only file system", "read-only file system"]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        fs::create_dir(outside.join("sub")).unwrap();
        assert_eq!(b.does("touch /v/x /v/sub/x").run().ok().json(), json!(["EROFS", "ok"]));
    });
}

#[test]
fn the_last_of_two_remounts_says_whether_it_is_read_only() {
    peer_may_differ("runc crun", "have their own ideas of it", || {
        let b = Bundle::new()
            .mount("tmpfs", "tmpfs", "/t", "ro")
            .mount("tmpfs", "tmpfs", "/t", "remount,rw")
            .mount("tmpfs", "tmpfs", "/u", "rw")
            .mount("tmpfs", "tmpfs", "/u", "remount,ro")
            .mount("tmpfs", "tmpfs", "/u/sub", "");
        assert_eq!(b.does("touch /t/x /u/x /u/sub/x").run().ok().json(), json!(["ok", "EROFS", "ok"]));
    });
}

#[test]
fn a_tmpfs_below_a_read_only_one_is_not_made_read_only_in_its_place() {
    // What lies over a read-only tmpfs at the same path has its own options.
    peer_may_differ("runc crun", "remount by path, and so the upper one", || {
        let b = Bundle::new().mount("tmpfs", "tmpfs", "/t", "ro").mount("tmpfs", "tmpfs", "/t", "");
        assert_eq!(b.does("touch /t/x").run().ok().json(), json!(["ok"]));
    });
}

#[test]
fn options_joined_in_one_string() {
    let b = mount_with(Bundle::new(), "tmpfs", "tmpfs", "/t", &["ro", "size=1m,nr_inodes=50"]);
    let b = mount_with(b.folder("/m"), "tmpfs", "tmpfs", "/m", &["size=64k,mode=701", "nosuid"]);
    let b =
        b.mount("tmpfs", "tmpfs", "/t/sub", "").does("mount /t -- mount /m -- touch /t/x /m/x -- stat /m");
    let out = b.run().ok().answers();
    assert!(has(&out[0], "super", "size=1024k") && has(&out[0], "super", "nr_inodes=50"), "{}", out[0]);
    assert!(has(&out[1], "super", "size=64k") && has(&out[1], "options", "nosuid"), "{}", out[1]);
    assert_eq!(out[2], json!(["EROFS", "ok"]));
    peer_differs("runc<1.1.8", "gives the mode of what it covers", || assert_eq!(out[3][0]["mode"], "701"));
}

#[test]
fn joined_options_with_tmpcopyup() {
    peer_may_differ("runc crun", "need the host's /tmp, or take no mode over", || {
        let b = Bundle::new().file("/data/one", "text");
        let b = mount_with(b, "tmpfs", "tmpfs", "/data", &["tmpcopyup", "ro", "size=1m,nr_inodes=50"]);
        let out = b.does("read /data/one -- touch /data/x -- stat /data").run().ok().answers();
        assert_eq!(out[..2], [json!("text"), json!(["EROFS"])]);
        assert_eq!(out[2][0]["mode"], "755", "that of what it covers");
    });
}

#[test]
fn file_systems_of_joined_options_at_the_places_with_a_meaning() {
    let mut b = Bundle::new();
    for mount in b.spec["mounts"].as_array_mut().unwrap() {
        match mount["destination"].as_str().unwrap() {
            "/proc" => mount["options"] = json!(["hidepid=0,gid=5"]),
            "/dev/pts" => mount["options"] = json!(["newinstance,ptmxmode=0666,mode=0620,gid=5"]),
            _ => {}
        }
    }
    // The sysctl goes through the one, the terminal comes from the other.
    let b = b.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})).set("/process/terminal", json!(true));
    let b = b.does("read /proc/sys/net/ipv4/ip_forward -- open w /dev/console");
    let mut pty = Pty::new();
    let run = pty.spawn(b.launch("run"));
    let seen = pty.expect("[\"ok\"]");
    assert!(seen.contains("\"1\\n\""), "{seen}");
    run.wait().code(0);
}

/// Folders of a writable overlay: lower, upper, work.
fn layers(b: &Bundle) -> [String; 3] {
    ["lower,one", "upper", "work"].map(|name| {
        let dir = b.outside().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("of-the-lower"), "text").unwrap();
        dir.to_str().unwrap().to_owned()
    })
}

#[test]
fn overlay_with_all_its_options_in_one_string() {
    let b = Bundle::new();
    let [lower, upper, work] = layers(&b);
    for dir in [&upper, &work] {
        fs::remove_file(Path::new(dir).join("of-the-lower")).unwrap();
    }
    // A comma of a path's own is escaped.
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.replace(',', "\\,"));
    let b = mount_with(b, "overlay", "overlay", "/o", &[&options]);
    let b = b.does("read /o/of-the-lower -- mkdir /o/new");
    let out = b.run().ok();
    assert_eq!((out.json(), out.json_line(1)), (json!("text"), json!("ok")));
    assert!(Path::new(&upper).join("new").is_dir());
}

#[test]
fn joined_options_that_the_file_system_does_not_know() {
    let out = mount_with(Bundle::new(), "tmpfs", "tmpfs", "/t", &["nosuid,size=1m"]).refused();
    if peer() == Peer::Tare {
        let line = out.line();
        assert!(line.contains("mounts[6] (/t): mount tmpfs") && line.contains("nosuid,size=1m"), "{line}");
        assert!(line.ends_with("invalid argument"), "{line}");
    }
}

#[test]
fn joined_options_of_a_bind_are_refused() {
    // It would be writable.
    if tare_only("peers bind it writable") {
        let b = Bundle::new();
        let outside = b.outside();
        let out = mount_with(b, "bind", &outside, "/v", &["bind", "nosuid,ro"]).refused();
        out.says("mounts[6].options[1]: \"nosuid,ro\" is several options");
    }
}

#[test]
fn more_options_than_the_kernel_reads() {
    // mount(2) reads one page of them, and would cut them off.
    if tare_only("peers have them cut off") {
        let b = Bundle::new();
        let mut lower = Vec::new();
        for n in 0..60 {
            let dir = b.outside().join(format!("{n}{}", "layer".repeat(30)));
            fs::create_dir(&dir).unwrap();
            lower.push(dir.to_str().unwrap().to_owned());
        }
        let options = format!("lowerdir={}", lower.join(":"));
        b.mount("overlay", "overlay", "/o", &options)
            .refused()
            .says("bytes of options: argument list too long");
    }
}

#[test]
fn a_long_source() {
    let long = "x".repeat(300);
    let b = Bundle::new().mount("tmpfs", &long, "/t", "ro,size=64k").mount("tmpfs", "tmpfs", "/t/sub", "");
    let out = b.does("touch /t/x /t/sub/x -- read /proc/self/mountinfo -- mount /t").run().ok();
    assert_eq!(out.json(), json!(["EROFS", "ok"]));
    assert!(out.json_line(1).as_str().unwrap().contains(&long));
    assert!(has(&out.json_line(2), "super", "size=64k"), "{out:?}");
}

#[test]
fn options_of_a_cgroup_mount() {
    let with = |options| Bundle::new().mount("cgroup", "cgroup", "/sys/fs/cgroup", options);
    if tare_only("peers ignore them, on one version or on both") {
        with("ro,bogus=1")
            .refused()
            .says("mounts[6].options: \"bogus=1\" is not an option of a cgroup mount");
    }
    with("ro,nsdelegate").does("umask").run().ok();
}

#[test]
fn a_root_that_is_a_file() {
    let b = Bundle::new();
    fs::write(b.path().join("file"), "").unwrap();
    let out = b.set("/root/path", json!("file")).refused();
    if peer() == Peer::Tare {
        let line = out.line();
        assert!(line.contains("root.path: ") && line.ends_with("bundle/file: not a directory"), "{line}");
    }
}

fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
}

#[test]
fn fifos_in_place_of_the_users_and_groups() {
    if !tare_only("runc 1.1.5 waits for ever") {
        return;
    }
    let b = Bundle::new().user(1000, 1000).does("env");
    fifo(&b.inside("/etc/passwd"));
    fifo(&b.inside("/etc/group"));
    let out = b.run().ok();
    assert!(out.stdout.contains("\"HOME=/\"") || out.stdout.contains("\"HOME\":\"/\""), "{out:?}");
}

#[test]
fn a_fifo_in_a_folder_that_is_copied_up() {
    peer_may_differ("runc crun", "need the host's /tmp, or cannot copy one", || {
        let b = Bundle::new().file("/data/one", "text");
        fifo(&b.inside("/data/fifo"));
        let b = b.mount("tmpfs", "tmpfs", "/data", "tmpcopyup").does("lstat /data/fifo -- read /data/one");
        let out = b.run().ok();
        assert_eq!((&out.json()[0]["type"], out.json_line(1)), (&json!("fifo"), json!("text")));
    });
}

#[test]
fn a_file_exchanged_for_a_fifo_while_it_is_copied_up() {
    if !tare_only("runc 1.1.5 and crun wait for ever") {
        return;
    }
    let b = Bundle::new().folder("/data").mount("tmpfs", "tmpfs", "/data", "tmpcopyup").does("ls /data");
    let pairs: Vec<_> =
        (0..600).map(|n| ["file", "fifo"].map(|kind| b.inside(&format!("/data/{kind}{n}")))).collect();
    for [file, pipe] in &pairs {
        fs::write(file, "text").unwrap();
        fifo(pipe);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (here, flags) = (nix::fcntl::AT_FDCWD, nix::fcntl::RenameFlags::RENAME_EXCHANGE);
            while !stop.load(Ordering::Relaxed) {
                for [one, other] in &pairs {
                    nix::fcntl::renameat2(here, one, here, other, flags).unwrap();
                }
            }
        });
        // A folder that changes may be an error, but it has an end; and so has the thread when there was none.
        let hung = (0..40).any(|_| std::panic::catch_unwind(AssertUnwindSafe(|| b.run())).is_err());
        stop.store(true, Ordering::Relaxed);
        assert!(!hung);
    });
}
