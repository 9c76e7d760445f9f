//! The root: pivot, read-only, propagation, masked and read-only paths.

use std::fs;

use nix::mount::{MsFlags, mount};
use tare_integration::*;

#[test]
fn the_root_is_the_rootfs_and_nothing_of_the_host_is_left() {
    let b = Bundle::new().file("/marker", "here").does("read /marker -- mounts -- ls /");
    let out = b.run().ok();
    assert_eq!(out.json(), "here");
    let mounts = out.json_line(1);
    for m in mounts.as_array().unwrap() {
        let dest = m["dest"].as_str().unwrap();
        let known =
            ["/", "/proc", "/sys", "/dev"].iter().any(|p| dest == *p || dest.starts_with(&format!("{p}/")));
        assert!(known, "{dest} is a mount of the host's: {mounts}");
    }
    assert_eq!(mounts.as_array().unwrap().iter().filter(|m| m["dest"] == "/").count(), 1, "{mounts}");
    assert!(!out.json_line(2).to_string().contains("pivot"), "{}", out.stdout);
}

#[test]
fn a_running_container_holds_none_of_the_hosts_mounts() {
    // A chroot looks the same from inside; but the host's mounts would be there underneath, and could not be
    // ejected. A file system that is held by nobody any more tells its watchers so.
    let b = Bundle::new().does("sleep");
    let place = b.outside().join("disk");
    fs::create_dir(&place).unwrap();
    mount(Some("none"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let c = b.start();
    let path = std::ffi::CString::new(place.to_str().unwrap()).unwrap();
    // SAFETY: plain system calls with a C string; the descriptor is this test's alone.
    let watch = unsafe {
        let fd = libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
        assert!(fd >= 0 && libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_DELETE_SELF) >= 0);
        <fs::File as std::os::fd::FromRawFd>::from_raw_fd(fd)
    };
    nix::mount::umount(&place).unwrap();
    let gone = until(TIMEOUT / 4, || std::io::Read::read(&mut &watch, &mut [0; 64]).is_ok());
    assert!(gone, "the container holds a mount of the host's");
    assert_eq!(c.status(), "running");
}

/// Refuses pivot_root, as the kernel does on an initial ramfs.
fn no_pivot_root() -> std::io::Result<()> {
    let stmt = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let filter = [
        stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        stmt(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_pivot_root as u32, 0, 1),
        stmt(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32, 0, 0),
        stmt(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program outlives the call, which copies it.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn where_pivot_root_is_impossible_no_pivot_helps() {
    let b = Bundle::new().does("umask");
    // SAFETY: one system call.
    unsafe { b.launch("run").before_exec(no_pivot_root) }.run().fails().says("pivot");
    // SAFETY: as above.
    unsafe { b.launch("run --no-pivot").before_exec(no_pivot_root) }.run().ok();
}

#[test]
fn no_chroot_of_the_containers_leads_to_the_hosts_root() {
    let b = Bundle::new().cap("SYS_CHROOT").file("/marker", "here").folder("/jail");
    let b = b.does("chroot /jail -- up -- read marker -- ls . -- exists proc/self");
    for flags in ["", "--no-pivot"] {
        let out = b.launch(&format!("run {flags}")).run().ok();
        assert_eq!(out.json(), "ok", "{flags}");
        assert_eq!(out.json_line(2), "here", "{flags}: {}", out.stdout);
    }
}

#[test]
fn without_pivot_root() {
    let b = Bundle::new().file("/marker", "here").does("read /marker -- ls / -- cwd");
    let out = b.launch("run --no-pivot").run().ok();
    assert_eq!(out.json(), "here");
    assert_eq!(out.json_line(2), "/");
    assert!(!out.json_line(1).to_string().contains("usr"));
}

#[test]
fn the_root_is_the_hosts() {
    for flags in ["", "--no-pivot"] {
        let b = Bundle::new().set("/root/path", json!("/")).set("/mounts", json!([])).does("exists /payload");
        let b = b.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
        let b = b.mount("tmpfs", "tmpfs", "/dev", "mode=755");
        let program = b.rootfs().join("payload");
        let b = b.set("/process/args/0", json!(program));
        assert_eq!(b.launch(&format!("run {flags}")).run().ok().json(), json!([false]), "{flags}");
    }
}

#[test]
fn a_read_only_root() {
    let b = Bundle::new().set("/root/readonly", json!(true)).mount("tmpfs", "tmpfs", "/rw", "");
    let out = b.does("touch /x /etc/x /rw/x /dev/x -- mount /").run().ok();
    assert_eq!(out.json(), json!(["EROFS", "EROFS", "ok", "ok"]));
    assert!(!b_has_write(&out.json_line(1)));
    let out = Bundle::new().does("touch /x").run();
    assert_eq!(out.json(), json!(["ok"]));
}

fn b_has_write(mount: &Value) -> bool {
    mount["options"].as_array().unwrap().iter().any(|o| o == "rw")
}

#[test]
fn a_read_only_root_does_not_change_the_hosts() {
    let b = Bundle::new().set("/root/readonly", json!(true));
    b.run().ok();
    fs::write(b.inside("/still-writable"), "").unwrap();
}

#[test]
fn targets_are_made_before_the_root_is_read_only() {
    let b = Bundle::new().set("/root/readonly", json!(true)).mount("tmpfs", "tmpfs", "/not/there/yet", "");
    assert_eq!(b.does("touch /not/there/yet/x").run().json(), json!(["ok"]));
}

#[test]
fn an_absolute_root_path() {
    let b = Bundle::new();
    let rootfs = b.rootfs();
    b.set("/root/path", json!(rootfs)).file("/m", "here").does("read /m").run().ok();
}

#[test]
fn a_root_path_with_another_name_and_trailing_slash() {
    let b = Bundle::new();
    fs::rename(b.rootfs(), b.path().join("other root")).unwrap();
    let b = b.set("/root/path", json!("./other root/")).does("exists /payload");
    assert_eq!(b.run().json(), json!([true]));
}

#[test]
fn a_root_that_is_a_symlink() {
    let b = Bundle::new();
    std::os::unix::fs::symlink("rootfs", b.path().join("link")).unwrap();
    let out = b.set("/root/path", json!("link")).does("exists /payload").run();
    // runc resolves it, crun refuses it: either is safe.
    match out.code {
        Some(0) => assert_eq!(out.json(), json!([true])),
        _ => drop(out.fails()),
    }
}

#[test]
fn a_root_that_is_a_mount_itself() {
    let b = Bundle::new();
    let none = None::<&str>;
    mount(Some(&b.rootfs()), &b.rootfs(), none, MsFlags::MS_BIND, none).unwrap();
    let b = b.does("exists /payload");
    assert_eq!(b.run().json(), json!([true]));
    nix::mount::umount2(&b.rootfs(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// A root on a shared mount of its own: else there is nothing to be slave of.
fn shared_root(word: &str) -> Output {
    let b = Bundle::new();
    let none = None::<&str>;
    mount(Some(&b.rootfs()), &b.rootfs(), none, MsFlags::MS_BIND, none).unwrap();
    mount(none, &b.rootfs(), none, MsFlags::MS_SHARED, none).unwrap();
    let b = b.set("/linux/rootfsPropagation", json!(word)).does("mount /");
    let out = b.run();
    nix::mount::umount2(&b.rootfs(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    out
}

#[test]
fn propagation_of_the_root() {
    for (word, wanted) in [
        ("private", ""),
        ("rprivate", ""),
        ("slave", "master:"),
        ("rslave", "master:"),
        ("shared", "shared:"),
        ("rshared", "shared:"),
    ] {
        let out = shared_root(word);
        assert!(out.code == Some(0), "{word}: {out:?}");
        let seen = out.json()["propagation"].as_str().unwrap().to_owned();
        match peer() {
            // With its parent private, as pivot_root wants it, a slave may have nothing left to be slave of.
            _ if seen.is_empty() && !word.contains("shared") => {}
            Peer::Tare => assert!(!wanted.is_empty() && seen.starts_with(wanted), "{word}: {seen}"),
            // Peers make the root private first and have nothing left to be slave of.
            _ if word.contains("private") => assert_eq!(seen, ""),
            _ => {}
        }
    }
}

#[test]
fn an_unbindable_root() {
    peer_differs("runc crun", "mark it before they bind it", || {
        for word in ["unbindable", "runbindable"] {
            assert_eq!(shared_root(word).json()["propagation"], "unbindable", "{word}");
        }
    });
}

#[test]
fn nothing_of_the_containers_mounts_gets_out() {
    let guard = exclusive();
    let before = Traces::now().mounts;
    let c = Bundle::new().mount("tmpfs", "tmpfs", "/mnt", "").does("sleep").start();
    assert_eq!(Traces::now().mounts, before);
    drop(c);
    assert_eq!(Traces::now().mounts, before);
    drop(guard);
}

#[test]
fn masked_paths() {
    let b = Bundle::new()
        .file("/secret", "text")
        .file("/folder/inner", "text")
        .set("/linux/maskedPaths", json!(["/secret", "/folder", "/not/there", "/proc/keys", "/sys/firmware"]))
        .does("read /secret -- ls /folder -- touch /folder/x -- stat /secret /folder -- read /proc/keys -- write /secret x");
    let out = b.run().ok().answers();
    assert_eq!(out[0], "");
    assert_eq!(out[1], json!([]));
    assert_eq!(out[2], json!(["EROFS"]));
    assert_eq!((&out[3][0]["type"], &out[3][1]["type"]), (&json!("char"), &json!("dir")));
    assert_eq!(out[4], "");
    assert_eq!(fs::read_to_string(b.inside("/secret")).unwrap(), "text", "the file itself is untouched");
    assert!(!b.inside("/not").exists(), "what is missing is not made");
}

/// A /dev whose null nobody minds to lose, for the runtime alone.
fn own_dev() -> std::io::Result<()> {
    // SAFETY: system calls with constant strings.
    let made = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(c"dev".as_ptr(), c"/dev".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) == 0
            && libc::mknod(c"/dev/null".as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 3)) == 0
    };
    if made { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn the_hosts_dev_null_is_not_changed_through_a_masked_path() {
    let b = Bundle::new().file("/secret", "text").set("/linux/maskedPaths", json!(["/secret", "/proc/keys"]));
    let b = b.does("chmod /secret 0 -- chown /proc/keys 5 5 -- chmod /proc/keys 0 -- write /proc/keys x");
    peer_differs("runc", "masks with the container's own /dev/null", || {
        // SAFETY: system calls with constant strings.
        let out = unsafe { b.launch("run").before_exec(own_dev) }.run().ok().answers();
        assert_eq!(out, [json!("EROFS"), json!("EROFS"), json!("EROFS"), json!("ok")]);
    });
}

#[test]
fn masked_folders_share_one_file_system() {
    // The kubelet masks one for each CPU; a superblock each was slow to make and slower to take away.
    let b = Bundle::new().folder("/one").folder("/two").folder("/three");
    let b = b.set("/linux/maskedPaths", json!(["/one", "/two", "/three"])).does("read /proc/self/mountinfo");
    let text = b.run().json();
    let field = |line: &str, n| line.split(' ').nth(n).unwrap_or_default().to_owned();
    let lines = text.as_str().unwrap().lines();
    let masks = lines.filter(|line| ["/one", "/two", "/three"].contains(&field(line, 4).as_str()));
    let mut devices: Vec<String> = masks.map(|line| field(line, 2)).collect();
    assert_eq!(devices.len(), 3, "{text}");
    devices.dedup();
    peer_may_differ("runc crun", "older ones make a tmpfs each", || assert_eq!(devices.len(), 1, "{text}"));
}

#[test]
fn a_masked_symlink_masks_what_it_points_to_inside() {
    let b = Bundle::new().file("/real", "text").symlink("/real", "/link");
    let b = b.set("/linux/maskedPaths", json!(["/link"])).does("read /link");
    assert_eq!(b.run().json(), "");
}

#[test]
fn read_only_paths() {
    let b = Bundle::new()
        .file("/file", "text")
        .file("/folder/inner", "text")
        .mount("tmpfs", "tmpfs", "/tmpfs", "nosuid,nodev,noexec")
        .set("/linux/readonlyPaths", json!(["/file", "/folder", "/tmpfs", "/not/there", "/proc/sys"]))
        .does("write /file x -- touch /folder/x /tmpfs/x /free -- read /file -- open w /proc/sys/kernel/hostname -- mount /tmpfs");
    let out = b.run().ok().answers();
    assert_eq!(out[0], "EROFS");
    assert_eq!(out[1], json!(["EROFS", "EROFS", "ok"]));
    assert_eq!(out[2], "text");
    assert_eq!(out[3], json!(["EROFS"]));
    peer_differs("crun<1.21", "clears the other options", || {
        for word in ["nosuid", "nodev", "noexec"] {
            assert!(
                out[4]["options"].as_array().unwrap().contains(&json!(word)),
                "{word} is lost: {}",
                out[4]
            );
        }
    });
    assert!(!b.inside("/not").exists());
}

#[test]
fn the_default_spec_protects_proc() {
    let out = Bundle::new()
        .does("open w /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity")
        .run();
    for verdict in out.json().as_array().unwrap() {
        assert!(["EROFS", "ENOENT"].contains(&verdict.as_str().unwrap()), "{}", out.stdout);
    }
}

#[test]
fn what_is_mounted_below_a_read_only_path_is_read_only_too() {
    peer_differs("runc crun", "leave it writable", || {
        let b = Bundle::new().mount("tmpfs", "tmpfs", "/ro/sub", "").folder("/ro");
        let b = b.set("/linux/readonlyPaths", json!(["/ro"])).does("touch /ro/x /ro/sub/x");
        assert_eq!(b.run().ok().json(), json!(["EROFS", "EROFS"]));
    });
}

/// The mounts of a new mount namespace, all shared, before and after `flags` of a run in it.
fn mounts_around(b: &Bundle, verb: &str) -> (String, String) {
    let run = b.launch(verb);
    drop(run);
    let (before, after) = (b.outside().join("before"), b.outside().join("after"));
    let script = format!(
        "mount --bind {rootfs} {rootfs}; cut -d' ' -f3- /proc/self/mountinfo >{}; {} --root {} {verb} --bundle {} {}; \
         code=$?; cut -d' ' -f3- /proc/self/mountinfo >{}; umount -l {rootfs}; exit $code",
        before.display(),
        runtime_path().display(),
        b.root.display(),
        b.path().display(),
        b.id,
        after.display(),
        rootfs = b.rootfs().display(),
    );
    Cmd::new("unshare", ["--mount", "--propagation", "shared", "sh", "-c", &script]).run().ok();
    (fs::read_to_string(before).unwrap(), fs::read_to_string(after).unwrap())
}

#[test]
fn where_all_is_shared_the_host_loses_and_gains_no_mount() {
    // A mount of another test's goes from the copy, too, when its mount point is removed.
    let _alone = exclusive();
    for propagation in ["", "shared", "rshared", "slave", "rslave", "private"] {
        let b = Bundle::new().set("/linux/rootfsPropagation", json!(propagation)).does("umask");
        let (before, after) = mounts_around(&b, "run");
        assert_eq!(before, after, "{propagation}");
    }
    peer_differs("runc crun", "stay in the host's root", || {
        let b = Bundle::new().no_ns("mount").without("/linux/maskedPaths").without("/linux/readonlyPaths");
        let b = b.file("/marker", "inside").does("read /marker");
        let (before, after) = mounts_around(&b, "run");
        assert_eq!(before, after, "without a mount namespace");
    });
}
