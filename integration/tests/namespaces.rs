//! The eight namespaces, new or joined by path; id maps; time offsets.

use std::fs;

use tare_integration::*;

/// The type in config.json and the name in /proc/PID/ns.
const ALL: [(&str, &str); 8] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
];

fn own(name: &str) -> Value {
    json!(fs::read_link(format!("/proc/self/ns/{name}")).unwrap())
}

fn ns_of(pid: i32, name: &str) -> Value {
    json!(fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap())
}

/// With a time namespace, if the runtime can make one: runc 1.1.5 cannot, crun 1.8.1 only below a new user
/// namespace.
fn with_time(b: Bundle) -> Bundle {
    if has_time() { b.ns("time") } else { b }
}

fn has_time() -> bool {
    !matches!(peer(), Peer::Runc | Peer::Crun)
}

#[test]
fn the_ones_listed_are_new_and_the_others_the_hosts() {
    let seen = with_time(Bundle::new().userns()).does("ns").run().json();
    for (kind, name) in ALL {
        if kind == "time" && !has_time() {
            note("known difference", "runc, crun: no time namespace");
            continue;
        }
        assert_ne!(seen[name], own(name), "{kind}");
    }
    let few = Bundle::new().no_ns("network").no_ns("ipc").no_mount("/dev/mqueue").no_ns("cgroup");
    let seen = few.no_ns("pid").no_ns("uts").without("/hostname").does("ns").run().json();
    for (kind, name) in ALL {
        match kind {
            "mount" => assert_ne!(seen[name], own(name), "{kind}"),
            _ => assert_eq!(seen[name], own(name), "{kind}"),
        }
    }
}

#[test]
fn each_can_be_joined_by_path() {
    let holder = with_time(Bundle::new()).does("sleep").start();
    let pid = holder.pid();
    for (kind, name) in ALL {
        if kind == "user" || kind == "mount" || (kind == "time" && !has_time()) {
            continue;
        }
        let b = Bundle::new().join(kind, &format!("/proc/{pid}/ns/{name}")).does("ns");
        // A hostname of its own would change the holder's.
        let b = if kind == "uts" { b.without("/hostname") } else { b };
        assert_eq!(b.run().json()[name], ns_of(pid, name), "{kind}");
    }
}

#[test]
fn a_joined_pid_namespace_is_shared() {
    let holder = Bundle::new().does("sleep").start();
    let b = Bundle::new()
        .join("pid", &format!("/proc/{}/ns/pid", holder.pid()))
        .does("proc -- read /proc/1/cmdline");
    let out = b.run().ok();
    assert!(out.json()["pid"].as_i64().unwrap() > 1);
    assert!(out.json_line(1).as_str().unwrap().contains("sleep"), "{}", out.stdout);
    assert_eq!(holder.status(), "running");
}

#[test]
fn a_joined_one_can_be_exec_ed_into_and_deleted() {
    let holder = Bundle::new().does("sleep").start();
    let c = Bundle::new().join("pid", &format!("/proc/{}/ns/pid", holder.pid())).does("sleep").start();
    assert_eq!(c.exec("ns").json()["pid"], ns_of(holder.pid(), "pid"));
    c.call("delete --force").ok();
    assert_eq!(holder.status(), "running");
}

#[test]
fn a_joined_network_shares_its_state() {
    let holder = Bundle::new().does("sleep").start();
    let path = format!("/proc/{}/ns/net", holder.pid());
    let b = Bundle::new().join("network", &path).set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    b.run().ok();
    assert_eq!(holder.exec("read /proc/sys/net/ipv4/ip_forward").json(), "1\n");
}

#[test]
fn a_namespace_by_bind_mount() {
    // As engines keep them: a file over which the namespace is mounted.
    let holder = Bundle::new().does("sleep").start();
    let file = holder.outside().join("netns");
    fs::write(&file, "").unwrap();
    let source = format!("/proc/{}/ns/net", holder.pid());
    let none = None::<&str>;
    nix::mount::mount(Some(source.as_str()), &file, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    let seen = Bundle::new().join("network", file.to_str().unwrap()).does("ns").run().json();
    assert_eq!(seen["net"], ns_of(holder.pid(), "net"));
    nix::mount::umount(&file).unwrap();
}

#[test]
fn a_fifo_in_place_of_a_namespace_is_refused() {
    peer_may_differ("runc crun", "wait for ever", || {
        let b = Bundle::new();
        let fifo = b.outside().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
        let out = b.join("network", fifo.to_str().unwrap()).refused();
        if peer() == Peer::Tare {
            assert!(out.line().contains("fifo is no namespace"), "{}", out.line());
        }
    });
}

#[test]
fn a_path_of_another_type_is_refused() {
    let holder = Bundle::new().does("sleep").start();
    let path = |name: &str| format!("/proc/{}/ns/{name}", holder.pid());
    for (kind, name) in [("network", "uts"), ("ipc", "net"), ("pid", "ipc"), ("mount", "net")] {
        let out = Bundle::new().join(kind, &path(name)).refused();
        if peer() == Peer::Tare {
            assert!(out.line().contains("namespaces["), "{}", out.line());
        }
    }
    Bundle::new().without("/hostname").join("uts", &path("net")).refused();
}

#[test]
fn a_path_that_is_no_namespace_is_refused() {
    Bundle::new().join("network", "/etc/passwd").refused();
    Bundle::new().join("network", "/no/such/ns").refused().says_any(&[
        "no such file",
        "does not exist",
        "stat",
    ]);
    peer_differs("runc crun", "take a relative path", || {
        let pid = std::process::id();
        drop(Bundle::new().join("network", &format!("../../../../../proc/{pid}/ns/net")).refused());
    });
}

#[test]
fn one_twice_is_refused() {
    peer_differs("crun<1.21", "makes one of two", || {
        let b = Bundle::new().push("/linux/namespaces", json!({"type": "pid"}));
        drop(b.refused());
    });
}

#[test]
fn the_new_network_has_its_loopback_up() {
    let out = Bundle::new().does("interfaces -- lo-up").run();
    assert!(out.json().as_array().unwrap().contains(&json!("lo")));
    assert_eq!(out.json_line(1), true);
}

#[test]
fn the_new_cgroup_namespace_hides_where_it_is() {
    let text = Bundle::new().does("read /proc/self/cgroup").run().json();
    for line in text.as_str().unwrap().lines() {
        assert!(line.ends_with(":/"), "{text}");
    }
    let b = Bundle::new().no_ns("cgroup").does("read /proc/self/cgroup");
    assert!(b.run().json().as_str().unwrap().contains(&b.id));
}

#[test]
fn the_hosts_name_stays() {
    let before = nix::sys::utsname::uname().unwrap().nodename().to_owned();
    Bundle::new().set("/hostname", json!("inner")).run().ok();
    assert_eq!(nix::sys::utsname::uname().unwrap().nodename(), before);
}

#[test]
fn time_offsets() {
    peer_differs("runc<1.2 crun<1.21", "no time namespace, or only with a user namespace", || {
        let offsets =
            json!({"monotonic": {"secs": 1_000_000, "nanosecs": 5}, "boottime": {"secs": 2_000_000}});
        let b = Bundle::new().ns("time").set("/linux/timeOffsets", offsets).does("clock");
        let read = |clock| nix::time::clock_gettime(clock).unwrap().tv_sec();
        let monotonic = read(nix::time::ClockId::CLOCK_MONOTONIC) + 1_000_000;
        let boottime = read(nix::time::ClockId::CLOCK_BOOTTIME) + 2_000_000;
        let seen = b.run().json();
        let near = |seen: &Value, wanted: i64| (0..100).contains(&(seen.as_i64().unwrap() - wanted));
        assert!(near(&seen["monotonic"], monotonic) && near(&seen["boottime"], boottime), "{seen}");
    });
}

#[test]
fn time_offsets_hold_in_exec() {
    peer_differs("runc<1.2 crun<1.21", "no time namespace, or only with a user namespace", || {
        let b = Bundle::new().ns("time").set("/linux/timeOffsets", json!({"monotonic": {"secs": 1_000_000}}));
        let c = b.does("ns -- sleep").start();
        let inside = c.answer();
        let out = c.exec("clock -- ns").ok();
        assert!(out.json()["monotonic"].as_i64().unwrap() > 1_000_000);
        assert_eq!(out.json_line(1)["time"], inside["time"]);
    });
}

#[test]
fn time_offsets_without_a_time_namespace_are_refused() {
    if tare_only("timeOffsets without the namespace") {
        let b = Bundle::new().set("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}));
        b.refused().says("timeOffsets");
    }
}

#[test]
fn ids_are_mapped() {
    let b = Bundle::new()
        .userns()
        .does("ids -- read /proc/self/uid_map -- read /proc/self/gid_map -- stat /payload /");
    let out = b.run().ok();
    assert_eq!(out.json()["uid"], json!([0, 0, 0]));
    for line in [1, 2] {
        let text = out.json_line(line);
        let words: Vec<&str> = text.as_str().unwrap().split_whitespace().collect();
        assert_eq!(words, ["0", "100000", "65536"]);
    }
    // The payload is the host's root's, whom nobody inside is; the rootfs was given to it.
    assert_eq!(out.json_line(3)[0]["uid"], 65534);
    assert_eq!(out.json_line(3)[1]["uid"], 0);
}

#[test]
fn on_the_host_its_root_is_nobody_special() {
    let c = Bundle::new().userns().does("touch /made -- sleep").start();
    assert_eq!(c.answer(), json!(["ok"]));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(c.inside("/made")).unwrap().uid(), 100_000);
    assert_eq!(fs::metadata(format!("/proc/{}", c.pid())).unwrap().uid(), 100_000);
}

#[test]
fn maps_of_several_ranges_and_other_users() {
    let b = Bundle::new()
        .userns()
        .set(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 100_000, "size": 10}, {"containerID": 1000, "hostID": 200_000, "size": 5}]),
        )
        .set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]))
        .user(1001, 7)
        .set("/process/user/additionalGids", json!([9]));
    let c = b.does("ids -- sleep").start();
    assert_eq!(c.answer(), json!({"uid": [1001, 1001, 1001], "gid": [7, 7, 7], "groups": [9]}));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(format!("/proc/{}", c.pid())).unwrap().uid(), 200_001);
}

#[test]
fn a_user_namespace_keeps_root_from_the_host() {
    // All capabilities, but of its own namespace only.
    let b = Bundle::new()
        .userns()
        .cap("SYS_ADMIN")
        .cap("NET_ADMIN")
        .does("mknod /tmp/null c 1 3 -- open w /dev/null");
    let out = b.run().ok();
    assert_eq!(out.json(), "EPERM");
    assert_eq!(out.json_line(1), json!(["ok"]), "the default devices are bound from the host");
}

#[test]
fn a_user_namespace_without_maps_is_refused() {
    Bundle::new().ns("user").refused();
}

#[test]
fn maps_without_a_user_namespace_are_refused() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    peer_differs("runc crun", "ignore them", || {
        drop(Bundle::new().set("/linux/uidMappings", map).refused());
    });
}

#[test]
fn a_user_that_is_not_mapped_is_refused() {
    Bundle::new().userns().user(70_000, 0).run().fails();
}

#[test]
fn exec_in_a_user_namespace() {
    let c = Bundle::new().userns().does("ns -- sleep").start();
    let inside = c.answer();
    let out = c.exec("ns -- ids").ok();
    assert_eq!(out.json()["user"], inside["user"]);
    assert_eq!(out.json_line(1)["uid"], json!([0, 0, 0]));
}

#[test]
fn a_joined_user_namespace() {
    let holder = Bundle::new().userns().does("sleep").start();
    let pid = holder.pid();
    let b = Bundle::new().userns().join("user", &format!("/proc/{pid}/ns/user")).does("ns -- ids");
    let b = b.without("/linux/uidMappings").without("/linux/gidMappings");
    peer_differs("runc<1.1.15", "wants maps all the same", || {
        let out = b.run().ok();
        assert_eq!(out.json()["user"], ns_of(pid, "user"));
        assert_eq!(out.json_line(1)["uid"], json!([0, 0, 0]));
    });
}

#[test]
fn exec_joins_all_of_them() {
    let c = with_time(Bundle::new().userns()).does("ns -- sleep").start();
    let inside = c.answer();
    assert_eq!(c.exec("ns").json(), inside);
}

#[test]
fn exec_without_a_mount_namespace_has_the_containers_root() {
    // The container's process is confined by chroot alone, which setns knows nothing of.
    peer_differs("runc crun", "leave such a container in the host's root", || {
        let host = std::env::current_exe().unwrap();
        let b = Bundle::new().no_ns("mount").without("/linux/maskedPaths").without("/linux/readonlyPaths");
        let c = b.file("/marker", "inside").does("sleep").start();
        let out = c.exec(&format!("read /marker -- exists {}", host.display())).ok();
        assert_eq!((out.json(), out.json_line(1)), (json!("inside"), json!([false])));
    });
}

#[test]
fn exec_where_everything_is_the_hosts() {
    let b = Bundle::new().without("/hostname").set("/linux/namespaces", json!([])).set("/mounts", json!([]));
    let b = b.without("/linux/maskedPaths").without("/linux/readonlyPaths").file("/marker", "inside");
    peer_differs("runc crun", "stays in the host's root", || {
        let c = b.does("sleep").start();
        assert_eq!(c.exec("read /marker").ok().json(), "inside");
    });
}

#[test]
fn the_hosts_sysfs_where_none_of_its_own_may_be_mounted_is_read_only_all_over() {
    // CVE-2023-25809: the cgroups in it may be writable for whoever is root of the user namespace.
    peer_differs("runc", "mounts none", || {
        let b = Bundle::new().userns().no_ns("network").no_ns("cgroup").without("/linux/maskedPaths");
        let b = b.does("mount /sys -- mount /sys/fs/cgroup -- statfs /sys -- mkdir /sys/fs/cgroup/x");
        let out = b.run().ok().answers();
        let ro = |mount: &Value| mount["options"].as_array().is_some_and(|all| all.contains(&json!("ro")));
        assert!(ro(&out[0]), "{}", out[0]);
        if out[1] != json!("none") {
            peer_may_differ("crun", "only the top", || assert!(ro(&out[1]), "{}", out[1]));
        }
        assert_ne!(out[3], json!("ok"), "{}", out[3]);
    });
}
