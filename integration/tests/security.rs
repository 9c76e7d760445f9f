//! Attacks: each is one that has worked against some runtime (the CVE's number is with the test).

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tare_integration::*;

/// Names in a folder of the host, sorted.
fn names(dir: impl AsRef<Path>) -> Vec<String> {
    let all = fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> = all.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A dozen fds of the caller: files and folders, from 3 on.
fn with_leaks(mut cmd: Cmd, b: &Bundle) -> Cmd {
    let dir = b.outside().join("leak");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("file"), "secret").unwrap();
    for n in 3..15 {
        let path = if n % 2 == 0 { dir.clone() } else { dir.join("file") };
        cmd = cmd.fd(File::open(path).unwrap(), n);
    }
    cmd
}

// The rootfs is the attacker's.

#[test]
fn a_dev_that_is_a_symlink_does_not_lead_outside() {
    // CVE-2026-41579 (runc), CVE-2026-47766 (crun).
    peer_differs("runc<1.3.6 crun<1.28", "older than the fix", || {
        for mounted in [true, false] {
            let mut b = Bundle::new();
            let target = b.outside().join("dev");
            fs::create_dir(&target).unwrap();
            b = b.symlink(&target, "/dev").without("/linux/maskedPaths").does("umask");
            b = match mounted {
                true => b.no_mount("/dev/pts").no_mount("/dev/shm").no_mount("/dev/mqueue"),
                false => ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"].iter().fold(b, |b, m| b.no_mount(m)),
            };
            b.run();
            assert_eq!(names(&target), [""; 0], "a mount at /dev: {mounted}");
        }
    });
}

#[test]
fn mount_targets_do_not_lead_outside() {
    for link in ["absolute", "relative"] {
        let mut b = Bundle::new();
        let target = b.outside().join("target");
        fs::create_dir(&target).unwrap();
        b = match link {
            "absolute" => b.symlink(&target, "/data"),
            _ => b.symlink("../../outside/target", "/data"),
        };
        let b = b.mount("tmpfs", "tmpfs", "/data/made/here", "").does("umask");
        b.run();
        assert_eq!(names(&target), [""; 0], "{link}");
    }
}

#[test]
fn proc_and_sys_as_symlinks_are_refused() {
    // CVE-2019-19921, CVE-2023-27561, CVE-2025-54867.
    for path in ["/proc", "/sys"] {
        let b = Bundle::new().folder("/other").symlink("/other", path).does("umask");
        b.refused().says_any(&["must be mounted on ordinary directory", "not a directory", "symbolic link"]);
        assert_eq!(names(b.inside("/other")), [""; 0]);
    }
}

#[test]
fn nothing_but_procfs_is_mounted_on_proc() {
    peer_differs("crun", "allows it", || {
        // CVE-2019-16884: the runtime would write labels into files of the attacker's.
        let b = || {
            let b = Bundle::new().without("/linux/maskedPaths").without("/linux/readonlyPaths");
            fs::create_dir_all(b.outside().join("fake/self/attr")).unwrap();
            b
        };
        let c = b();
        let fake = c.outside().join("fake");
        c.bind(&fake, "/proc", "rw").refused().says_any(&["/proc"]);
        for target in ["/proc/self", "/proc/sys", "/proc/sys/net", "/proc/1/attr", "/proc/thread-self"] {
            let c = b();
            let fake = c.outside().join("fake");
            c.bind(&fake, target, "rw").refused().says_any(&["/proc"]);
        }
        peer_differs("runc<1.1.15", "looks at bind mounts only", || {
            b().mount("tmpfs", "tmpfs", "/proc/sys", "").refused().says_any(&["/proc"]);
            b().mount("tmpfs", "tmpfs", "/proc", "").refused().says_any(&["/proc"]);
        });
    });
}

#[test]
fn what_a_symlink_leads_into_proc_is_refused() {
    // CVE-2019-16884, CVE-2025-52881: a volume over a file that the runtime writes to.
    for (link, target) in [("/proc/self/attr", "/l"), ("/proc", "/l/sys/net"), ("/proc/sys", "/l/kernel")] {
        let b = Bundle::new().symlink(link, "/l").set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        let fake = b.outside().join("fake");
        fs::create_dir(&fake).unwrap();
        let b = b.bind(&fake, target, "rw");
        match peer() {
            Peer::Tare => drop(b.refused().says("procfs")),
            _ => drop(b.try_create()),
        }
        assert_eq!(names(&fake), [""; 0]);
    }
}

#[test]
fn sysctls_are_not_written_where_a_volume_lies_over_them() {
    // CVE-2025-52881. A volume over the file would take the value, and through a link in it anything could be written.
    let b = Bundle::new();
    let volume = b.outside().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("shmmni"), "untouched").unwrap();
    let b = b.set("/linux/sysctl", json!({"kernel.shmmni": "77"})).without("/linux/readonlyPaths");
    let b = b.bind(&volume, "/proc/sys/kernel", "rw").does("read /proc/sys/kernel/shmmni");
    let out = b.launch("run").run();
    let now = fs::read_to_string(volume.join("shmmni")).unwrap();
    assert_eq!(now, "untouched", "{out:?}");
}

#[test]
fn a_dev_null_of_the_attackers_is_not_used_to_mask() {
    // CVE-2025-31133, CVE-2025-62161: a volume as /dev whose null is a link to what one wants to write to.
    peer_differs("runc<1.2.8 crun", "older than the fix", || {
        let b = Bundle::new().file("/secret", "the secret").file("/wanted", "the wanted");
        let dev = b.outside().join("dev");
        fs::create_dir(&dev).unwrap();
        symlink("/wanted", dev.join("null")).unwrap();
        let b = ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"].iter().fold(b, |b, m| b.no_mount(m));
        let b = b.bind(&dev, "/dev", "rw").set("/linux/maskedPaths", json!(["/secret"]));
        let out = b.does("read /secret -- stat /secret").run();
        if out.code != Some(0) {
            return drop(out.fails());
        }
        assert_eq!(out.json(), "");
        assert_eq!(out.json_line(1)[0]["rdev"], "1:3");
    });
}

#[test]
fn a_dev_null_in_the_image_that_is_a_symlink_is_refused() {
    peer_differs("runc<1.2.8 crun", "older than the fix", || {
        let b = Bundle::new().symlink("/wanted", "/dev/null").file("/wanted", "the wanted");
        let b = ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"].iter().fold(b, |b, m| b.no_mount(m));
        let b = b.set("/linux/maskedPaths", json!(["/secret"])).file("/secret", "the secret");
        let b = b.does("read /secret -- read /wanted");
        let out = b.run();
        match out.code {
            Some(0) => assert_eq!((out.json(), out.json_line(1)), (json!(""), json!("the wanted"))),
            _ => drop(out.fails()),
        }
        assert_eq!(fs::read_to_string(b.inside("/wanted")).unwrap(), "the wanted");
    });
}

/// What a container with a terminal says of its /dev/console, or how it was refused.
fn console_of(b: Bundle) -> Result<String, String> {
    let b = b.set("/process/terminal", json!(true)).does("lstat /dev/console -- print the-end");
    let mut pty = Pty::new();
    let run = pty.spawn(b.launch("run"));
    let out = run.wait();
    match out.code {
        Some(0) => Ok(pty.expect("the-end")),
        _ => Err(pty.rest()),
    }
}

#[test]
fn the_console_is_the_terminal_that_was_opened() {
    // CVE-2025-52565: what has the terminal's name may be something else by then.
    let b = Bundle::new().file("/wanted", "the wanted");
    let volume = b.outside().join("volume");
    fs::create_dir(&volume).unwrap();
    for name in ["0", "ptmx"] {
        symlink("/wanted", volume.join(name)).unwrap();
    }
    match console_of(b.bind(&volume, "/dev/pts", "rw")) {
        Ok(seen) => assert!(seen.contains("\"type\":\"char\"") && seen.contains("136:"), "{seen}"),
        // Peers tell the errno, or the magic number.
        Err(refusal) => assert!(refusal.contains("/dev/pt") || peer() != Peer::Tare, "{refusal}"),
    }
    // And it is bound where it was meant to be.
    peer_may_differ("runc crun", "binds it over what the link names", || {
        let b = Bundle::new().symlink("/proc/sys/kernel/core_pattern", "/dev/console");
        let b = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"].iter().fold(b, |b, mount| b.no_mount(mount));
        let b = b.mount("devpts", "devpts", "/dev/pts", "newinstance,ptmxmode=0666");
        assert!(console_of(b).unwrap_err().contains("/dev/console leads into a procfs"));
    });
}

#[test]
fn mappings_longer_than_a_message_are_refused() {
    // CVE-2021-43784: 64 KiB of them overran the length of a netlink attribute, and the rest was read as others.
    let many = |n: u32| -> Value {
        (0..n).map(|i| json!({"containerID": i, "hostID": 100_000 + i, "size": 1})).collect()
    };
    let b = Bundle::new().ns("user").set("/linux/uidMappings", many(5000)).set("/linux/gidMappings", many(1));
    let out = b.refused();
    if peer() == Peer::Tare {
        out.says("linux.uidMappings: has 5000 entries, the kernel takes at most 340");
    }
    // As many as go into one write of the kernel's.
    let b = Bundle::new().userns().does("read /proc/self/uid_map");
    let map = b.set("/linux/uidMappings", many(240)).run().ok().json();
    assert_eq!(map.as_str().unwrap().lines().count(), 240);
    let out = Bundle::new().userns().set("/linux/uidMappings", many(340)).refused();
    if peer() == Peer::Tare {
        out.says("linux.uidMappings: has 340 entries, whose text is longer");
    }
}

#[test]
fn a_masked_path_that_is_a_symlink_masks_its_target_inside() {
    let b = Bundle::new().file("/real", "the secret").symlink("/real", "/link");
    let b = b.set("/linux/maskedPaths", json!(["/link", "/folder"])).folder("/folder/x");
    let out = b.does("read /real -- ls /folder -- touch /folder/y").run();
    assert_eq!(out.answers(), [json!(""), json!([]), json!(["EROFS"])]);
    let host = Bundle::new();
    let secret = host.outside().join("secret");
    fs::write(&secret, "of the host").unwrap();
    let b = host.symlink(&secret, "/link").set("/linux/maskedPaths", json!(["/link"])).does("umask");
    b.run().ok();
    assert_eq!(fs::read_to_string(&secret).unwrap(), "of the host");
}

// Descriptors.

#[test]
fn a_cwd_through_a_descriptor_is_refused() {
    peer_differs("crun<1.21", "older than the fix", || {
        // CVE-2024-21626.
        let c = Bundle::new().does("sleep").start();
        for n in 3..21 {
            let cwd = format!("/proc/self/fd/{n}");
            let b = Bundle::new().set("/process/cwd", json!(cwd)).does("ls . -- readlink /proc/self/cwd");
            with_leaks(b.launch("run"), &b).run().fails();
            with_leaks(c.exec_cmd(&format!("--cwd {cwd}"), "ls ."), &c).run().fails();
        }
        for cwd in ["/proc/self/fd/7/..", "/proc/self/fd/8/../../.."] {
            let b = Bundle::new().set("/process/cwd", json!(cwd)).does("ls .");
            let out = with_leaks(b.launch("run"), &b).run();
            assert!(!out.stdout.contains("bundle") && !out.stdout.contains("leak"), "{out:?}");
            let out = with_leaks(c.exec_cmd(&format!("--cwd {cwd}"), "ls ."), &c).run();
            assert!(!out.stdout.contains("bundle") && !out.stdout.contains("leak"), "{out:?}");
        }
    });
}

#[test]
fn a_cwd_that_is_a_link_to_a_descriptor_is_refused() {
    peer_differs("crun<1.21", "older than the fix", || {
        for n in 3..12 {
            let b =
                Bundle::new().symlink(format!("/proc/self/fd/{n}"), "/w").set("/process/cwd", json!("/w"));
            let b = b.does("ls .");
            with_leaks(b.launch("run"), &b).run().fails();
        }
    });
}

#[test]
fn no_descriptor_gets_into_the_container() {
    let three = |fds: &Value| {
        let fds: Vec<_> = fds.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fds, ["0", "1", "2"]);
    };
    let b = Bundle::new().does("fds");
    three(&with_leaks(b.launch("run"), &b).run().json());
    let b = Bundle::new().does("fds -- sleep");
    let out = with_leaks(b.launch("create"), &b).run().ok();
    let c = Container::created(b, out);
    with_leaks(c.cmd(["start", &c.id]), &c).run().ok();
    three(&c.answer());
    three(&with_leaks(c.exec_cmd("", "fds"), &c).run().json());
}

#[test]
fn a_waiting_init_holds_nothing_of_the_host() {
    peer_differs("runc>=1.2 crun", "closes them at start", || {
        let b = Bundle::new();
        let out = with_leaks(b.launch("create"), &b).run().ok();
        let c = Container::created(b, out);
        let dir = format!("/proc/{}/fd", c.pid());
        let links: Vec<PathBuf> =
            fs::read_dir(&dir).unwrap().flatten().filter_map(|e| fs::read_link(e.path()).ok()).collect();
        assert!(links.len() >= 3, "{links:?}");
        let wrong = |link: &&PathBuf| {
            let text = link.to_string_lossy();
            let known = ["/dev/null", "/memfd:output (deleted)"].contains(&text.as_ref());
            // init waits at a FIFO of its state folder.
            let gate = text.starts_with("socket:")
                || text.ends_with("exec.fifo")
                || text.ends_with("start.reply")
                || text.starts_with("pipe:");
            let go = text.starts_with("anon_inode:");
            !(known || gate || go && peer() != Peer::Tare)
        };
        let wrong: Vec<_> = links.iter().filter(wrong).collect();
        assert_eq!(wrong, Vec::<&PathBuf>::new());
        assert_eq!(fs::read_link(format!("/proc/{}/cwd", c.pid())).unwrap(), Path::new("/"));
    });
}

// Ids and names.

#[test]
fn exec_user_forms() {
    // CVE-2026-30892: short strings were uid 0. CVE-2016-3697: a name in passwd that is a number.
    let b = Bundle::new().user(1000, 1000).does("sleep");
    let c = b.file("/etc/passwd", "root:x:0:0::/:\n5:x:0:0::/:\nuser:x:1000:1000::/:\n").start();
    let ids = |user: &str| {
        let out = c.cmd(["exec", "--user", user, &c.id, "/payload", "ids"]).run();
        (out.code == Some(0)).then(|| (out.json()["uid"][1].clone(), out.json()["gid"][1].clone()))
    };
    let good = || {
        assert_eq!(ids("1"), Some((json!(1), json!(1000))));
        assert_eq!(ids("5"), Some((json!(5), json!(1000))), "not the name in passwd");
        assert_eq!(ids("1:2"), Some((json!(1), json!(2))));
        assert_eq!(ids("0:0"), Some((json!(0), json!(0))));
    };
    match peer() {
        Peer::Crun => peer_differs("crun", "the group becomes 0 where it is not given", good),
        _ => good(),
    }
    let bad = [
        ":1",
        "1:",
        ":",
        "-1",
        "1:-1",
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "user",
        "root",
        "1:root",
        " 1",
        "1 ",
        "0x1",
        "1:2:3",
        "+1",
        "1.0",
    ];
    peer_differs("runc crun", "lax parsers, numbers wrap around", || {
        for user in bad {
            assert_eq!(ids(user), None, "{user:?}");
        }
    });
    if peer() == Peer::Tare {
        assert_eq!(ids("4294967294"), Some((json!(4_294_967_294_u32), json!(1000))), "the greatest");
    }
    peer_may_differ("crun>=1.21", "CVE-2026-30892", || {
        for user in ["01", "007"] {
            assert_ne!(ids(user).map(|ids| ids.0), Some(json!(0)), "{user:?}");
        }
    });
}

#[test]
fn ids_do_not_become_paths() {
    if !tare_only("delete --force ../.. makes crun remove what that names") {
        return;
    }
    let b = Bundle::new();
    let keep = b.root.join("keep");
    fs::create_dir_all(&keep).unwrap();
    for id in ["..", ".", "../bundle", "a/b", "/", "", "a/../../b", "keep/", "a b", "a\nb"] {
        let bundle = b.path();
        b.write();
        for words in [
            &["create", "--bundle", bundle.to_str().unwrap()][..],
            &["run", "--bundle", bundle.to_str().unwrap()],
            &["delete", "--force"],
            &["delete"],
            &["state"],
            &["start"],
            &["kill"],
        ] {
            let out = b.cmd(words.iter().copied().chain([id])).run().fails();
            assert!(out.stderr.contains("invalid container ID"), "{out:?}");
        }
    }
    assert!(keep.is_dir() && b.rootfs().is_dir());
    assert_eq!(names(&b.root), ["keep"]);
}

#[test]
fn cgroup_paths_and_keys_stay_below() {
    let bad = |pointer: &str, value: Value, field: &str| {
        let out = Bundle::new().set(pointer, value).refused();
        if peer() == Peer::Tare {
            out.says(field);
        }
    };
    peer_differs("runc", "they are cleaned and used", || {
        bad("/linux/cgroupsPath", json!("/../../x"), "linux.cgroupsPath");
        bad("/linux/cgroupsPath", json!("a/../../x"), "linux.cgroupsPath");
    });
    let page = |size: &str| json!([{"pageSize": size, "limit": 0}]);
    for size in ["../x", "2MB/../x", "/etc", ""] {
        bad("/linux/resources/hugepageLimits", page(size), "linux.resources.hugepageLimits[0].pageSize");
    }
    for key in ["../x", "a/b", "/x", "..", "pids.max/../x", ""] {
        bad("/linux/resources/unified", json!({key: "1"}), "linux.resources.unified");
    }
}

#[test]
fn exec_does_not_leave_the_containers_cgroup() {
    let c = Bundle::new().does("sleep").start();
    let own = cgroups_of(c.pid());
    for path in ["..", "../..", "/..", "a/../../..", "../x", "/../../"] {
        let run = || drop(c.exec_with(&format!("--cgroup {path}"), "umask").fails());
        match peer() {
            Peer::Tare => run(),
            // What counts: it is not outside.
            _ => drop(c.exec_with(&format!("--cgroup {path}"), "umask")),
        }
    }
    let now = cgroups_of(c.pid());
    assert!(own.iter().all(|dir| now.contains(dir)), "{now:?} {own:?}");
}

// exec is confined as the container is.

#[test]
fn exec_keeps_the_confinement_of_create_whatever_becomes_of_the_bundle() {
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]});
    let b = Bundle::new()
        .set("/linux/seccomp", seccomp)
        .rlimit("CORE", 3, 4)
        .user(1000, 1000)
        .set("/process/oomScoreAdj", json!(123))
        .set("/process/user/umask", json!(0o027))
        .caps("bounding=KILL effective= permitted= inheritable= ambient=")
        .does("sleep");
    let c = b.start();
    let verbs = format!(
        "syscall {} -- rlimits -- caps -- status NoNewPrivs Seccomp -- ids -- read /proc/self/oom_score_adj -- umask",
        libc_getppid()
    );
    let check = |flags: &str| {
        let out = c.exec_with(flags, &verbs).ok().answers();
        assert_eq!(out[0], json!({"errno": 77}), "seccomp");
        if peer() != Peer::Crun {
            assert_eq!(out[1]["RLIMIT_CORE"], json!([3, 4]), "crun 1.8.1 forgets them");
        }
        if peer() != Peer::Crun {
            assert_eq!((&out[2]["bounding"], &out[2]["effective"]), (&json!([5]), &json!([])));
        }
        assert_eq!(out[3]["Seccomp"], "2");
        if peer() == Peer::Crun {
            return note("known difference", "crun 1.8.1 keeps no more than the filter");
        }
        assert_eq!(out[3]["NoNewPrivs"], "1");
        assert_eq!(out[4]["uid"], json!([1000, 1000, 1000]));
        if peer() == Peer::Tare {
            assert_eq!(out[5], "123\n");
            assert_eq!(out[6], 0o027);
        }
    };
    check("");
    check("--env A=1 --cwd /tmp");
    let loose = Bundle::new();
    loose.write();
    peer_differs("runc", "exec reads the bundle", || {
        fs::copy(loose.path().join("config.json"), c.path().join("config.json")).unwrap();
        check("");
        fs::remove_file(c.path().join("config.json")).unwrap();
        check("");
    });
}

/// The number of a system call that no program needs.
fn libc_getppid() -> i64 {
    if cfg!(target_arch = "x86_64") { 110 } else { 173 }
}

#[test]
fn exec_cap_does_not_make_inheritable_or_ambient() {
    // CVE-2022-24769, CVE-2022-29162, CVE-2022-27650, CVE-2025-27612.
    let c = Bundle::new().user(1000, 1000).does("sleep").start();
    for flags in
        ["--cap CAP_NET_RAW", "--cap CAP_NET_RAW --user 0", "--cap CAP_SYS_ADMIN --cap CAP_CHOWN --user 7"]
    {
        let caps = c.exec_with(flags, "caps").ok().json();
        assert_eq!((&caps["inheritable"], &caps["ambient"]), (&json!([]), &json!([])), "{flags}");
    }
}

// The runtime's own processes.

/// A container with `verbs` running and a call of the runtime copied to where it may be written.
fn copied_runtime(b: &Bundle) -> (PathBuf, Vec<u8>) {
    let copy = b.outside().join("runtime");
    fs::copy(runtime_path(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let bytes = fs::read(&copy).unwrap();
    (copy, bytes)
}

#[test]
fn the_runtimes_executable_cannot_be_written_from_inside() {
    // CVE-2019-5736. The runtime is made to execute itself in the container, where it waits at a FIFO.
    let b = Bundle::new().does("grab /stop").file("/script", "#!/proc/self/exe\n");
    fs::set_permissions(b.inside("/script"), fs::Permissions::from_mode(0o755)).unwrap();
    nix::unistd::mkfifo(&b.inside("/fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let (copy, bytes) = copied_runtime(&b);
    let c = b.start();
    c.lines(1);
    let call = |args: &[&str]| {
        let root = c.root.to_str().unwrap();
        let words = ["--root", root, "exec", c.id.as_str()].into_iter().chain(args.iter().copied());
        Cmd::new(&copy, words)
    };
    let waits = call(&["/proc/self/exe", "--log", "/fifo", "list"]).spawn();
    let held = until(TIMEOUT, || c.stdout().contains("held"));
    // Opening the other end of the FIFO lets it go on.
    let reader = nix::fcntl::open(
        &c.inside("/fifo"),
        nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK,
        nix::sys::stat::Mode::empty(),
    );
    waits.wait();
    drop(reader);
    for _ in 0..10 {
        call(&["/script"]).run();
    }
    fs::write(c.inside("/stop"), "").unwrap();
    // A peer's memfd cannot even be looked at.
    assert!(held || peer() != Peer::Tare, "the attack was made: {}", c.stdout());
    until(TIMEOUT, || c.stdout().contains("outcomes"));
    let report = c.stdout();
    assert!(report.contains("outcomes") && !report.contains("opened for writing"), "{report}");
    assert!(fs::read(&copy).unwrap() == bytes, "the runtime's executable has changed");
}

#[test]
fn an_entrypoint_that_is_the_runtime_again_does_no_harm() {
    let b = Bundle::new().file("/script", "#!/proc/self/exe\n").args(["/script"]);
    fs::set_permissions(b.inside("/script"), fs::Permissions::from_mode(0o755)).unwrap();
    let (copy, bytes) = copied_runtime(&b);
    b.write();
    let (root, bundle) = (b.root.to_str().unwrap().to_owned(), b.path().to_str().unwrap().to_owned());
    let out = Cmd::new(&copy, ["--root", &root, "run", "--bundle", &bundle, &b.id]).run();
    assert_ne!(out.code, Some(0), "{out:?}");
    assert!(fs::read(&copy).unwrap() == bytes);
}

#[test]
fn processes_that_enter_cannot_be_looked_into() {
    // CVE-2016-9962: for a moment the runtime's process is in the container with the host's descriptors.
    // Between the last change of rights and the exec a filter is loaded, the longest of which gives the most time.
    let filter: Value = serde_json::from_str(include_str!("../data/docker-seccomp.json")).unwrap();
    let b = Bundle::new().set("/linux/seccomp", filter).does("watch /stop");
    let (copy, _) = copied_runtime(&b);
    let c = b.start();
    c.lines(1);
    for _ in 0..25 {
        Cmd::new(&copy, ["--root", c.root.to_str().unwrap(), "exec", &c.id, "/payload", "umask"]).run().ok();
    }
    fs::write(c.inside("/stop"), "").unwrap();
    let report = c.lines(2).remove(1);
    assert!(report["seen"].as_u64().unwrap() > 3, "the watcher has seen some: {report}");
    assert_eq!(report["found"], json!([]));
}

#[test]
fn an_init_that_runs_hooks_inside_cannot_be_looked_into() {
    // The same before `start`: an exec may be there already, with all that the container's process will have.
    peer_may_differ("runc crun", "is dumpable by then", || {
        let c = Bundle::new().hook("startContainer", "wait-file /go").does("sleep").create();
        let start = c.cmd(["start", &c.id]).spawn();
        // Init, the exec's own process, and the hook.
        let hook_runs = || c.exec("exists /proc/2").ok().json() == json!([true]);
        assert!(until(TIMEOUT, hook_runs));
        let out = c.exec(
            "readlink /proc/1/fd/3 -- open r /proc/1/mem -- readlink /proc/1/exe -- readlink /proc/1/cwd",
        );
        let answers = out.ok().answers();
        fs::write(c.inside("/go"), "").unwrap();
        start.wait().ok();
        assert_eq!(answers, [json!("EACCES"), json!(["EACCES"]), json!("EACCES"), json!("EACCES")]);
    });
}

// Races.

/// The host's program that exchanges two names for ever.
fn racer(a: &Path, b: &Path) -> Running {
    let running = Cmd::new(payload_path(), [Path::new("swap-loop"), a, b]).timeout(TIMEOUT * 3).spawn();
    running.lines(1);
    running
}

#[test]
fn a_volume_whose_names_are_exchanged_does_not_lead_mounts_outside() {
    peer_may_differ("runc crun", "makes it outside", || {
        // CVE-2021-30465, CVE-2024-45310.
        let b = Bundle::new();
        let (volume, target) = (b.outside().join("volume"), b.outside().join("target"));
        fs::create_dir_all(volume.join("a")).unwrap();
        fs::create_dir(&target).unwrap();
        symlink(&target, volume.join("b")).unwrap();
        let _racer = racer(&volume.join("a"), &volume.join("b"));
        let here = |line: &&str| line.contains(&*target.to_string_lossy());
        let mut started = 0;
        for n in 0..50 {
            let made = format!("/vol/a/made{n}/deep");
            let b = Bundle::new().bind(&volume, "/vol", "rw").mount("tmpfs", "tmpfs", &made, "");
            let b = b.does("print in");
            started += usize::from(b.run().code == Some(0));
            assert_eq!(names(&target), [""; 0], "try {n}");
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert_eq!(mounts.lines().filter(here).count(), 0, "{mounts}");
        }
        note("race", &format!("{started} of 50 containers started"));
    });
}

#[test]
fn a_file_target_that_is_exchanged_is_not_made_outside() {
    peer_may_differ("runc crun", "makes it outside", || {
        let b = Bundle::new();
        let (volume, target) = (b.outside().join("volume"), b.outside().join("target"));
        fs::create_dir_all(volume.join("a")).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(b.outside().join("source"), "the source").unwrap();
        symlink(&target, volume.join("b")).unwrap();
        let source = b.outside().join("source");
        let _racer = racer(&volume.join("a"), &volume.join("b"));
        for n in 0..30 {
            let made = format!("/vol/a/file{n}");
            let b = Bundle::new().bind(&volume, "/vol", "rw").bind(&source, &made, "ro");
            b.does("print in").run();
            assert_eq!(names(&target), [""; 0], "try {n}");
        }
    });
}

#[test]
fn a_proc_that_is_exchanged_for_a_symlink_is_procfs_or_an_error() {
    // CVE-2019-19921.
    let b = Bundle::new().folder("/fake").symlink("/fake", "/link").does("sleep");
    let (proc, link) = (b.inside("/proc"), b.inside("/link"));
    let _racer = racer(&proc, &link);
    for _ in 0..20 {
        let out = b.try_create();
        if out.code == Some(0) {
            let pid = b.call("state").document()["pid"].clone();
            let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            // The name of what it is mounted on changes, too: /link is the real folder's at that moment.
            let wrong = mounts.lines().find(|l| l.contains(" /fake ") || l.contains(" /fake/"));
            peer_may_differ("runc>=1.2", "has looked before", || assert_eq!(wrong, None, "{mounts}"));
        }
        b.call("delete --force").ok();
    }
}
