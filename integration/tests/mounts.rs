//! Mounts: every option of the specification's tables, propagation, kinds of file systems, targets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use tare_integration::*;

/// The mount of the container at this path, out of what the verb `mounts` has printed.
fn at<'a>(mounts: &'a Value, path: &str) -> &'a Value {
    let all = mounts.as_array().unwrap();
    all.iter().rfind(|m| m["dest"] == path).unwrap_or_else(|| panic!("no mount {path}: {mounts}"))
}

fn has(list: &Value, word: &str) -> bool {
    list.as_array().unwrap().iter().any(|o| o == word)
}

/// A tmpfs of the test's, with a file and a folder and another tmpfs below.
fn source_tree(b: &Bundle) -> std::path::PathBuf {
    let dir = b.outside().join("tree");
    fs::create_dir_all(&dir).unwrap();
    let tmpfs =
        |dir: &Path| mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    tmpfs(&dir);
    fs::create_dir(dir.join("sub")).unwrap();
    tmpfs(&dir.join("sub"));
    fs::write(dir.join("file"), "text").unwrap();
    dir
}

/// Option, what mountinfo must have (`!` in front: must not have) among the mount's own options and those of
/// its superblock. Each on a tmpfs of its own, all in one container.
const OPTIONS: &[(&str, &str)] = &[
    ("ro", "ro"),
    ("rw", "rw"),
    ("ro,rw", "rw"),
    ("nosuid", "nosuid"),
    ("nosuid,suid", "!nosuid"),
    ("nodev", "nodev"),
    ("nodev,dev", "!nodev"),
    ("noexec", "noexec"),
    ("noexec,exec", "!noexec"),
    ("noatime", "noatime"),
    ("noatime,atime", "!noatime"),
    ("nodiratime", "nodiratime"),
    ("nodiratime,diratime", "!nodiratime"),
    ("relatime", "relatime"),
    ("strictatime", "!relatime"),
    ("strictatime", "!noatime"),
    ("sync", "sync"),
    ("sync,async", "!sync"),
    ("dirsync", "dirsync"),
    ("defaults", "rw"),
    ("silent", "rw"),
    ("loud", "rw"),
    ("norelatime", "rw"),
    ("nostrictatime", "rw"),
    ("iversion", "rw"),
    ("noiversion", "rw"),
    ("lazytime", "lazytime"),
    ("lazytime,nolazytime", "!lazytime"),
    ("nosymfollow", "nosymfollow"),
    ("nosymfollow,symfollow", "!nosymfollow"),
    ("mode=700,size=64k", "size=64k"),
    ("mode=700,size=64k", "mode=700"),
];

#[test]
fn options_of_a_new_mount() {
    // Newer than crun 1.8.1, or taken for data there.
    let hard = ["silent", "loud", "nostrictatime", "iversion", "noiversion", "lazytime", "nosymfollow"];
    let known = |options: &str| {
        let first = options.split(',').next().unwrap();
        match peer() {
            // Of two that contradict each other the last does not count there either.
            Peer::Crun => !hard.contains(&first) && !options.contains(','),
            // 1.1.5 is older than these.
            Peer::Runc => !["nosymfollow", "lazytime", "defaults", "norelatime"].contains(&first),
            _ => true,
        }
    };
    let mut b = Bundle::new().does("mounts");
    for (n, (options, _)) in OPTIONS.iter().enumerate().filter(|(_, (o, _))| known(o)) {
        b = b.mount("tmpfs", "tmpfs", &format!("/m{n}"), options);
    }
    let seen = b.run().json();
    for (n, (options, wanted)) in OPTIONS.iter().enumerate().filter(|(_, (o, _))| known(o)) {
        let mount = at(&seen, &format!("/m{n}"));
        let word = wanted.trim_start_matches('!');
        let found = has(&mount["options"], word) || (word != "rw" && has(&mount["super"], word));
        assert_eq!(found, !wanted.starts_with('!'), "{options}: {mount}");
    }
}

#[test]
fn options_of_a_bind() {
    let b = Bundle::new();
    let tree = source_tree(&b);
    let all = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "ro,nosuid,nodev,noexec"];
    let b = all.iter().enumerate().fold(b, |b, (n, o)| b.bind(&tree, &format!("/m{n}"), o)).does("mounts");
    let seen = b.run().json();
    for (n, options) in all.iter().enumerate() {
        let mount = at(&seen, &format!("/m{n}"));
        for word in options.split(',') {
            assert!(has(&mount["options"], word), "{options}: {mount}");
        }
        if !options.contains("ro") {
            assert!(has(&mount["options"], "rw"), "{options}: {mount}");
        }
    }
}

#[test]
fn a_bind_that_names_nothing_keeps_the_sources_options() {
    let b = Bundle::new();
    let tree = source_tree(&b);
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(None::<&str>, &tree, None::<&str>, flags, None::<&str>).unwrap();
    let b = b.bind(&tree, "/plain", "").does("mount /plain");
    let seen = b.run().json();
    peer_differs("crun", "clears them", || {
        assert!(has(&seen["options"], "nosuid") && has(&seen["options"], "nodev"), "{seen}");
    });
}

#[test]
fn bind_and_rbind() {
    let b = Bundle::new();
    let tree = source_tree(&b);
    fs::write(tree.join("sub/inner"), "").unwrap();
    let b = b
        .bind(&tree, "/one", "bind")
        .bind(&tree, "/all", "rbind")
        .does("exists /one/sub/inner /all/sub/inner");
    assert_eq!(b.run().json(), json!([false, true]));
}

#[test]
fn what_a_bind_cannot_take_is_ignored() {
    // They are the file system's, which is mounted already: its mode and size stay.
    let b = Bundle::new();
    let outside = b.outside();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&outside).unwrap()) & 0o7777;
    let b =
        b.bind(outside, "/mnt", "bind,nosuid,strictatime,mode=711,size=1k").does("lstat /mnt -- mount /mnt");
    peer_differs("runc>=1.2", "refuses them", || {
        let out = b.run().ok();
        assert_eq!(out.json_line(0)[0]["mode"], format!("{mode:o}"));
        assert!(has(&out.json_line(1)["options"], "nosuid"), "{out:?}");
    });
}

#[test]
fn type_none_with_bind_is_a_bind() {
    let b = Bundle::new();
    fs::write(b.outside().join("f"), "text").unwrap();
    let outside = b.outside();
    let b = b.mount("none", outside, "/mnt", "bind").does("read /mnt/f");
    assert_eq!(b.run().json(), "text");
    let mut b = Bundle::new().does("read /mnt/f");
    fs::write(b.outside().join("f"), "text").unwrap();
    let source = b.outside();
    b = b.push("/mounts", json!({"destination": "/mnt", "source": source, "options": ["rbind"]}));
    assert_eq!(b.run().json(), "text");
}

#[test]
fn recursive_options_reach_what_is_below() {
    let b = Bundle::new();
    let tree = source_tree(&b);
    let table = [
        ("rbind,rro", "ro"),
        ("rbind,rnosuid", "nosuid"),
        ("rbind,rnodev", "nodev"),
        ("rbind,rnoexec", "noexec"),
        ("rbind,rnoatime", "noatime"),
        ("rbind,rnodiratime", "nodiratime"),
        ("rbind,ro", "!ro"),
        ("rbind,nosuid", "!nosuid"),
        ("rbind,rro,rrw", "!ro"),
        ("rbind,rnosymfollow", "nosymfollow"),
    ];
    let known = |o: &str| match peer() {
        Peer::Tare => true,
        // crun cannot set an atime flag alone; none lets the last of two count.
        Peer::Crun => !o.contains("symfollow") && !o.contains("rrw") && !o.contains("atime"),
        _ => !o.contains("symfollow") && !o.contains("rrw"),
    };
    let b = table
        .iter()
        .enumerate()
        .filter(|(_, (o, _))| known(o))
        .fold(b, |b, (n, (o, _))| b.bind(&tree, &format!("/m{n}"), o));
    let seen = b.does("mounts").run().json();
    for (n, (options, wanted)) in table.iter().enumerate().filter(|(_, (o, _))| known(o)) {
        let below = at(&seen, &format!("/m{n}/sub"));
        let found = has(&below["options"], wanted.trim_start_matches('!'));
        assert_eq!(found, !wanted.starts_with('!'), "{options}: {below}");
    }
}

#[test]
fn propagation_of_one_mount() {
    let b = Bundle::new();
    let tree = source_tree(&b);
    mount(None::<&str>, &tree, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>).unwrap();
    let table = [
        ("private", ""),
        ("shared", "shared:"),
        ("slave", "master:"),
        ("unbindable", "unbindable"),
        ("rprivate", ""),
        ("rshared", "shared:"),
        ("rslave", "master:"),
        ("runbindable", "unbindable"),
    ];
    let b = b.set("/linux/rootfsPropagation", json!("rslave"));
    let b = table
        .iter()
        .enumerate()
        .fold(b, |b, (n, (o, _))| b.bind(&tree, &format!("/m{n}"), &format!("rbind,{o}")));
    let seen = b.does("mounts").run().json();
    for (n, (option, wanted)) in table.iter().enumerate() {
        let here = at(&seen, &format!("/m{n}"))["propagation"].as_str().unwrap().to_owned();
        if is_among("runc>=1.2 crun") && option.ends_with("shared") {
            note("known difference", "the root's propagation is applied over the mounts' own");
            continue;
        }
        assert!(here.starts_with(wanted) && (!wanted.is_empty() || here.is_empty()), "{option}: {here}");
        if option.starts_with('r') {
            let below = at(&seen, &format!("/m{n}/sub"))["propagation"].as_str().unwrap().to_owned();
            assert!(below.starts_with(wanted), "{option}: below {below}");
        }
    }
}

#[test]
fn mounts_on_the_host_arrive_in_a_slave() {
    let b = Bundle::new();
    let tree = source_tree(&b);
    mount(None::<&str>, &tree, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    fs::create_dir(tree.join("later")).unwrap();
    let b = b.set("/linux/rootfsPropagation", json!("rslave"));
    let c = b
        .bind(&tree, "/slave", "rbind,rslave")
        .bind(&tree, "/private", "rbind,rprivate")
        .does("sleep")
        .start();
    mount(Some("tmpfs"), &tree.join("later"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::write(tree.join("later/file"), "").unwrap();
    assert_eq!(c.exec("exists /slave/later/file /private/later/file").json(), json!([true, false]));
    drop(c);
}

#[test]
fn missing_targets_are_made_in_the_rootfs() {
    let b = Bundle::new();
    let file = b.outside().join("file");
    fs::write(&file, "text").unwrap();
    let outside = b.outside();
    let b = b
        .bind(outside, "/new/deep/folder", "")
        .bind(&file, "/new/deep-file", "")
        .mount("tmpfs", "tmpfs", "/other/tmp", "")
        .does("read /new/deep/folder/file -- read /new/deep-file -- stat /other/tmp /new");
    let out = b.run().ok();
    assert_eq!((out.json(), out.json_line(1)), (json!("text"), json!("text")));
    assert_eq!(out.json_line(2)[0]["type"], "dir");
    assert!(out.json_line(2)[1]["mode"].as_str().unwrap().ends_with("755"));
    assert!(b.inside("/new/deep-file").is_file() && b.inside("/new/deep/folder").is_dir());
}

#[test]
fn symlinks_in_a_target_stay_in_the_rootfs() {
    let b =
        Bundle::new().folder("/real").symlink("/real", "/absolute").symlink("../../../../real", "/climbing");
    let b = b
        .mount("tmpfs", "tmpfs", "/absolute/a", "")
        .mount("tmpfs", "tmpfs", "/climbing/b", "")
        .does("mounts");
    let seen = b.run().json();
    at(&seen, "/real/a");
    at(&seen, "/real/b");
}

#[test]
fn a_symlink_to_a_folder_of_the_hosts_is_not_followed_out() {
    let b = Bundle::new();
    let host = b.outside().join("host");
    fs::create_dir(&host).unwrap();
    let b = b.symlink(&host, "/to-host").mount("tmpfs", "tmpfs", "/to-host/c", "");
    // Inside it leads nowhere: runc makes the folder there, others refuse; either is safe.
    let out = b.run();
    assert!(out.code == Some(0) || !out.stderr.is_empty(), "{out:?}");
    assert_eq!(fs::read_dir(&host).unwrap().count(), 0, "something was made on the host");
}

#[test]
fn a_relative_source_starts_at_the_bundle() {
    let b = Bundle::new();
    fs::create_dir(b.path().join("data")).unwrap();
    fs::write(b.path().join("data/f"), "text").unwrap();
    let b = b.mount("bind", "data", "/mnt", "rbind").does("read /mnt/f");
    assert_eq!(b.run().json(), "text");
}

#[test]
fn a_relative_destination_starts_at_the_root() {
    let b = Bundle::new().mount("tmpfs", "tmpfs", "mnt", "").does("mount /mnt");
    assert_eq!(b.run().json()["type"], "tmpfs");
}

#[test]
fn later_mounts_lie_over_earlier_ones() {
    let b = Bundle::new();
    fs::write(b.outside().join("f"), "text").unwrap();
    let outside = b.outside();
    let b = b.mount("tmpfs", "tmpfs", "/a", "").bind(outside, "/a/b", "").does("read /a/b/f -- ls /a");
    assert_eq!(b.run().ok().answers(), [json!("text"), json!(["b"])]);
    let b = Bundle::new();
    fs::write(b.outside().join("f"), "text").unwrap();
    let outside = b.outside();
    let b = b.bind(outside, "/a", "").mount("tmpfs", "tmpfs", "/a", "").does("ls /a");
    assert_eq!(b.run().json(), json!([]));
}

#[test]
fn tmpcopyup() {
    let b =
        Bundle::new().file("/data/one", "text").file("/data/sub/two", "more").symlink("one", "/data/link");
    std::os::unix::fs::chown(b.inside("/data/one"), Some(7), Some(8)).unwrap();
    let verbs = "statfs /data -- read /data/one -- read /data/sub/two -- readlink /data/link -- stat /data/one -- touch /data/new";
    peer_differs("runc", "1.1.5 wants to write to the host's /tmp", || {
        let b = b.mount("tmpfs", "tmpfs", "/data", "tmpcopyup").does(verbs);
        let out = b.run().ok().answers();
        assert_eq!(out[0]["type"], 0x0102_1994, "a tmpfs");
        assert_eq!(out[1..4], [json!("text"), json!("more"), json!("one")]);
        assert_eq!((&out[4][0]["uid"], &out[4][0]["gid"]), (&json!(7), &json!(8)));
        assert_eq!(out[5], json!(["ok"]));
        assert!(!b.inside("/data/new").exists(), "the original is as it was");
    });
}

#[test]
fn the_mode_of_a_tmpfs_with_tmpcopyup() {
    let mode = |mount: &str, options: &str| {
        let b = Bundle::new().file("/data/one", "text");
        fs::set_permissions(b.inside("/data"), fs::Permissions::from_mode(0o710)).unwrap();
        let b = b.mount("tmpfs", "tmpfs", mount, options).does(&format!("stat {mount}"));
        b.run().json()[0]["mode"].clone()
    };
    peer_may_differ("runc crun", "write to the host's /tmp, or take no mode over", || {
        assert_eq!(mode("/data", "tmpcopyup"), "710", "that of what it covers");
        assert_eq!(mode("/data", "tmpcopyup,mode=0702"), "702", "unless an option says otherwise");
        // `podman run --read-only --user 1000 --tmpfs /t` relies on it.
        assert_eq!(mode("/missing", "tmpcopyup"), "1777", "the kernel's, where there was nothing");
    });
}

#[test]
fn the_usual_file_systems() {
    let seen = Bundle::new().does("mounts").run().json();
    for (path, kind) in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
    ] {
        assert_eq!(at(&seen, path)["type"], kind, "{path}");
    }
    let pts = at(&seen, "/dev/pts");
    assert!(has(&pts["super"], "gid=5") && has(&pts["super"], "mode=620"), "{pts}");
    assert!(has(&at(&seen, "/sys")["options"], "ro"));
}

#[test]
fn proc_is_of_its_own_pid_namespace() {
    let out = Bundle::new().does("read /proc/self/stat -- ls /proc/self/task").run().ok();
    assert!(out.json().as_str().unwrap().starts_with("1 "));
    assert_eq!(out.json_line(1), json!(["1"]));
}

#[test]
fn cgroups_can_be_looked_at() {
    let b = Bundle::new().mount("cgroup", "cgroup", "/sys/fs/cgroup", "nosuid,noexec,nodev,relatime,ro");
    let verbs =
        "mounts -- mkdir /sys/fs/cgroup/x -- ls /sys/fs/cgroup -- read /sys/fs/cgroup/pids/cgroup.procs";
    let out = b.does(verbs).run().ok().answers();
    if is_v2() {
        assert_eq!(out[1], "EROFS");
        let mount = at(&out[0], "/sys/fs/cgroup");
        assert_eq!((&mount["type"], &mount["root"]), (&json!("cgroup2"), &json!("/")));
        assert!(has(&out[2], "cgroup.procs"), "{}", out[2]);
    } else {
        peer_differs("runc crun", "read-only does not reach the hierarchies", || assert_eq!(out[1], "EROFS"));
        for name in ["memory", "pids", "cpu"] {
            assert!(has(&out[2], name), "{}", out[2]);
        }
        // Its own group only: itself.
        assert_eq!(out[3], "1\n");
        assert_eq!(at(&out[0], "/sys/fs/cgroup/pids")["type"], "cgroup");
    }
}

#[test]
fn cgroups_can_be_writable() {
    let b = Bundle::new().mount("cgroup", "cgroup", "/sys/fs/cgroup", "rw");
    let dir = if is_v2() { "/sys/fs/cgroup/x" } else { "/sys/fs/cgroup/freezer/x" };
    assert_eq!(b.does(&format!("mkdir {dir}")).run().json(), "ok");
}

#[test]
fn cgroups_without_their_namespace() {
    let b = Bundle::new().no_ns("cgroup").mount("cgroup", "cgroup", "/sys/fs/cgroup", "ro");
    let dir = if is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    let out = b.does(&format!("read {dir}/cgroup.procs -- mkdir {dir}/x")).run().ok();
    // On v2 nothing but the namespace can hide the host's groups.
    if !is_v2() {
        assert_eq!(out.json(), "1\n", "its own group, not the host's root");
    }
    assert_eq!(out.json_line(1), "EROFS");
}

#[test]
fn id_mapped_mounts() {
    peer_differs("runc<1.2", "is older than uidMappings of a mount", || {
        let b = Bundle::new();
        // A folder of what the bundles are on: a tmpfs of the test's own has no id mappings before Linux 6.3.
        let tree = b.outside();
        fs::write(tree.join("file"), "").unwrap();
        std::os::unix::fs::chown(tree.join("file"), Some(3), Some(4)).unwrap();
        let map = |host| json!([{"containerID": 0, "hostID": host, "size": 100}]);
        let mut b = b.bind(&tree, "/mapped", "rbind,idmap").bind(&tree, "/plain", "rbind");
        let last = b.spec["mounts"].as_array().unwrap().len() - 2;
        b = b
            .set(&format!("/mounts/{last}/uidMappings"), map(5000))
            .set(&format!("/mounts/{last}/gidMappings"), map(6000));
        let out = b.does("stat /mapped/file /plain/file").run().json();
        assert_eq!((&out[0]["uid"], &out[0]["gid"]), (&json!(5003), &json!(6004)), "{out}");
        assert_eq!((&out[1]["uid"], &out[1]["gid"]), (&json!(3), &json!(4)));
    });
}

#[test]
fn an_id_mapping_that_the_file_system_does_not_know() {
    peer_differs("runc<1.2", "is older than uidMappings of a mount", || {
        let map = json!([{"containerID": 0, "hostID": 5000, "size": 100}]);
        let b = Bundle::new().bind("/sys/kernel", "/mapped", "rbind,idmap");
        let last = b.spec["mounts"].as_array().unwrap().len() - 1;
        let b = b
            .set(&format!("/mounts/{last}/uidMappings"), map.clone())
            .set(&format!("/mounts/{last}/gidMappings"), map);
        let out = b.refused();
        if peer() == Peer::Tare {
            out.says("(/mapped): map the ids of the mount (which its file system may not support): invalid argument");
        }
    });
}

#[test]
fn an_option_that_the_file_system_does_not_know() {
    let out = Bundle::new().mount("tmpfs", "tmpfs", "/mnt", "nonsense=1").refused();
    if peer() == Peer::Tare {
        assert!(out.line().contains("mounts[6]"), "{}", out.line());
    }
}

#[test]
fn many_mounts() {
    let b = (0..150).fold(Bundle::new(), |b, n| b.mount("tmpfs", "tmpfs", &format!("/many/{n}"), "size=4k"));
    let seen = b.does("mounts").run().json();
    let ours = seen.as_array().unwrap().iter().filter(|m| m["dest"].as_str().unwrap().starts_with("/many/"));
    assert_eq!(ours.count(), 150);
}

#[test]
fn an_option_longer_than_fsconfig_takes() {
    // As an engine's overlay of many layers: fsconfig(2) takes strings of 255 bytes.
    let b = Bundle::new();
    let mut lower = Vec::new();
    for n in 0..3 {
        let dir = b.outside().join(format!("{n}{}", "layer".repeat(30)));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(format!("file{n}")), "").unwrap();
        lower.push(dir.to_str().unwrap().to_owned());
    }
    let options = format!("ro,nosuid,noexec,private,lowerdir={}", lower.join(":"));
    let out = b.mount("overlay", "overlay", "/o", &options).does("ls /o -- mounts").run();
    assert_eq!(out.json(), json!(["file0", "file1", "file2"]));
    let mounts = out.json_line(1);
    let mount = at(&mounts, "/o");
    for option in ["ro", "nosuid", "noexec"] {
        assert!(has(&mount["options"], option), "{option}: {mount}");
    }
    assert!(!has(&mount["options"], "nodev"), "{mount}");
}

#[test]
fn a_mount_on_the_root_is_the_root() {
    let none = Bundle::new();
    let other = none.outside().join("other");
    fs::create_dir_all(other.join("proc")).unwrap();
    fs::write(other.join("marker"), "the other").unwrap();
    // As the first of all mounts, so that the others go into it.
    let mounts = none.clone_mounts();
    let mut all =
        vec![json!({"destination": "/", "type": "bind", "source": other, "options": ["bind", "ro"]})];
    all.extend(mounts.into_iter().filter(|m| m["destination"] == "/proc"));
    let b = none.set("/mounts", json!(all)).without("/linux/maskedPaths").without("/linux/readonlyPaths");
    fs::copy(payload_path(), other.join("payload")).unwrap();
    for name in ["dev", "sys"] {
        fs::create_dir(other.join(name)).unwrap();
    }
    peer_differs("runc crun", "cannot make devices, or goes under it", || {
        let b = b.does("read /marker -- touch /new -- ls /proc/self/fd");
        let out = b.run();
        // /dev is of the read-only root: nothing can be made in it.
        out.fails().says("make device /dev/null");
        let mut b = b.set("/mounts/0/options", json!(["bind"]));
        let out = b.run().ok();
        assert_eq!((out.json(), out.json_line(1)), (json!("the other"), json!(["ok"])));
        b = b.set("/root/readonly", json!(true));
        assert_eq!(b.run().ok().json_line(1), json!(["EROFS"]));
        assert!(!b.inside("/new").exists());
    });
}

#[test]
fn symlinks_as_sources_and_targets_where_they_are_not_to_be_followed() {
    // crun's options; Podman writes the first for a volume that is not to be dereferenced.
    let made = || {
        let b = Bundle::new().file("/real", "the real").symlink("/real", "/link");
        let source = b.outside().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("text"), "of the source").unwrap();
        std::os::unix::fs::symlink("text", source.join("link")).unwrap();
        (b, source.join("link"))
    };
    peer_differs("runc crun", "have not got them, or are older", || {
        let (b, link) = made();
        let b =
            b.bind(&link, "/made/here", "copy-symlink").bind(link.with_file_name("text"), "/made/text", "");
        let b = b.does("readlink /made/here -- read /made/here");
        let out = b.run().ok();
        assert_eq!((out.json(), out.json_line(1)), (json!("text"), json!("of the source")));
        // The same link may be there already, from an earlier start, but nothing else.
        b.run().ok();
        fs::remove_file(b.inside("/made/here")).unwrap();
        b.file("/made/here", "").refused().says("/made/here: file exists");
    });
    peer_differs("runc crun", "have not got them, or are older", || {
        let (b, link) = made();
        let out = b.bind(&link, "/new", "src-nofollow").does("readlink /new -- mount /new").run().ok();
        assert_eq!(out.json(), json!("text"));
        assert_eq!(out.json_line(1)["dest"], "/new");
    });
    peer_differs("runc crun", "have not got them, or are older", || {
        let (b, link) = made();
        let b = b.bind(&link, "/link", "dest-nofollow").does("read /link -- read /real -- mount /link");
        let out = b.run().ok();
        assert_eq!((out.json(), out.json_line(1)), (json!("of the source"), json!("the real")));
        // Not around the check of where it leads.
        let b = Bundle::new().symlink("/proc/sys", "/l").without("/linux/readonlyPaths");
        b.bind("/etc", "/l/kernel", "dest-nofollow").refused().says("procfs");
    });
}

#[test]
fn a_tmpfs_without_a_mode_has_that_of_what_it_covers() {
    // `docker run --tmpfs /tmp` relies on it.
    let b = Bundle::new().folder("/sticky").folder("/plain");
    fs::set_permissions(b.inside("/sticky"), fs::Permissions::from_mode(0o1770)).unwrap();
    let b = b.mount("tmpfs", "tmpfs", "/sticky", "").mount("tmpfs", "tmpfs", "/plain", "mode=0701");
    let out = b.does("stat /sticky /plain").run().ok().json();
    peer_may_differ("runc crun", "take one or the other", || {
        assert_eq!((&out[0]["mode"], &out[1]["mode"]), (&json!("1770"), &json!("701")));
    });
}

#[test]
fn read_only_file_systems_of_other_kinds() {
    // Of a tmpfs only the mount is read-only; of others the superblock, which must not be written to at all.
    let b = Bundle::new().mount("ramfs", "ramfs", "/r", "ro").does("mount /r -- touch /r/x");
    let out = b.run().ok();
    assert_eq!(out.json_line(1), json!(["EROFS"]));
    assert!(has(&out.json()["options"], "ro"), "{}", out.json());
    peer_may_differ("runc crun", "the mount alone", || {
        assert!(has(&out.json()["super"], "ro"), "{}", out.json())
    });
}

#[test]
fn tmpcopyup_read_only() {
    peer_may_differ("runc crun", "copy into what is read-only, or need the host's /tmp", || {
        let b = Bundle::new().file("/data/one", "text").mount("tmpfs", "tmpfs", "/data", "tmpcopyup,ro");
        let out = b.does("read /data/one -- touch /data/x").run().ok();
        assert_eq!((out.json(), out.json_line(1)), (json!("text"), json!(["EROFS"])));
    });
}

#[test]
fn remounts() {
    let b = Bundle::new()
        .mount("tmpfs", "tmpfs", "/t", "size=64k")
        .mount("tmpfs", "tmpfs", "/t", "remount,ro,nosuid,size=128k")
        .bind("/etc", "/e", "rw")
        .mount("none", "none", "/e", "remount,bind,ro,noexec");
    peer_may_differ("runc crun", "have their own ideas of it", || {
        let out = b.does("mount /t -- mount /e -- touch /t/x /e/x").run().ok().answers();
        for option in ["ro", "nosuid"] {
            assert!(has(&out[0]["options"], option), "{option}: {}", out[0]);
        }
        assert!(has(&out[0]["super"], "size=128k"), "{}", out[0]);
        for option in ["ro", "noexec"] {
            assert!(has(&out[1]["options"], option), "{option}: {}", out[1]);
        }
        assert_eq!(out[2], json!(["EROFS", "EROFS"]));
        Bundle::new()
            .folder("/no")
            .mount("none", "none", "/no", "remount,ro")
            .refused()
            .says("mounts[6] (/no)");
    });
}

#[test]
fn id_mapped_mounts_reach_as_far_as_they_say() {
    peer_differs("runc<1.2 crun<1.21", "older than these, or map nothing below", || {
        let made = |options: &str| {
            let b = Bundle::new();
            let tree = source_tree(&b);
            fs::write(tree.join("sub/below"), "").unwrap();
            for file in ["file", "sub/below"] {
                std::os::unix::fs::chown(tree.join(file), Some(3), Some(4)).unwrap();
            }
            let map = json!([{"containerID": 0, "hostID": 5000, "size": 100}]);
            let b = b.bind(&tree, "/m", options);
            let last = b.spec["mounts"].as_array().unwrap().len() - 1;
            let b = b.set(&format!("/mounts/{last}/uidMappings"), map.clone());
            let b = b.set(&format!("/mounts/{last}/gidMappings"), map);
            let out = b.does("stat /m/file /m/sub/below").run().ok().json();
            (out[0]["uid"].clone(), out[1]["uid"].clone())
        };
        assert_eq!(made("rbind,idmap"), (json!(5003), json!(3)));
        assert_eq!(made("rbind,ridmap"), (json!(5003), json!(5003)));
    });
}
