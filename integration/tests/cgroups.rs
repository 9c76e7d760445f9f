//! Cgroups, by what they do to a process. Where this host's view lacks a controller the test is that the
//! error says so.

use std::fs;
use std::path::{Path, PathBuf};

use tare_integration::*;

/// The container's directory in the hierarchy that has the controller.
fn dir(c: &Container, controller: &str) -> PathBuf {
    cgroup_of(c.pid(), controller)
}

fn device(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> Value {
    json!({"allow": allow, "type": kind, "major": major, "minor": minor, "access": access})
}

/// What Docker begins with: all denied.
fn locked() -> Bundle {
    Bundle::new().push("/linux/resources/devices", json!({"allow": false, "access": "rwm"}))
}

fn with_cgroup_mount(b: Bundle, options: &str) -> Bundle {
    b.mount("cgroup", "cgroup", "/sys/fs/cgroup", &format!("nosuid,noexec,nodev,relatime,{options}"))
}

/// Where a container sees a hierarchy that can be frozen.
fn inside() -> &'static str {
    if is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/freezer" }
}

#[test]
fn what_only_v1_has_of_memory_is_written() {
    if is_v2() || !has_controller("memory") {
        return skip("no memory controller of cgroup v1");
    }
    // A kernel since 5.16 takes no kernel limit, and whoever sets one is not to know.
    let memory = json!({"limit": 64 << 20, "reservation": 32 << 20, "kernel": 48 << 20, "kernelTCP": 16 << 20, "swappiness": 7, "disableOOMKiller": true});
    let c = Bundle::new().set("/linux/resources/memory", memory).does("sleep").start();
    let read = |name: &str| fs::read_to_string(dir(&c, "memory").join(name)).unwrap();
    assert_eq!(read("memory.limit_in_bytes").trim(), (64 << 20).to_string());
    assert_eq!(read("memory.soft_limit_in_bytes").trim(), (32 << 20).to_string());
    peer_differs("runc", "does not set it", || {
        assert_eq!(read("memory.kmem.tcp.limit_in_bytes").trim(), (16 << 20).to_string());
    });
    assert_eq!(read("memory.swappiness").trim(), "7");
    assert!(read("memory.oom_control").contains("oom_kill_disable 1"));
}

// Devices.

#[test]
fn devices_are_denied_and_allowed() {
    let try_all = "mknod /tmp/a c 1 3 -- open rw /tmp/a -- mknod /tmp/b c 10 229 -- open r /tmp/b -- mknod /tmp/k c 1 2 -- open r /tmp/k";
    let out = locked().does(try_all).run().ok().answers();
    assert_eq!(out[..2], [json!("ok"), json!(["ok"])], "/dev/null is a default device");
    // Any may be made, by the default rules, but not opened.
    assert_eq!(out[3], json!(["EPERM"]), "fuse");
    assert_eq!(out[5], json!(["EPERM"]), "kmem");
    let b = locked().push("/linux/resources/devices", device(true, "c", 10, 229, "rw"));
    let out = b.does(try_all).run().ok().answers();
    assert_ne!(out[3], json!(["EPERM"]), "allowed, whether it is there or not");
}

#[test]
fn default_devices_are_usable_when_all_is_denied() {
    let b =
        locked().does("open rw /dev/null /dev/zero /dev/full /dev/ptmx -- open r /dev/random /dev/urandom");
    let out = b.run().ok().answers();
    assert_eq!(out, [json!(["ok", "ok", "ok", "ok"]), json!(["ok", "ok"])]);
}

#[test]
fn the_later_device_rule_counts() {
    let b = locked()
        .push("/linux/resources/devices", device(true, "c", 10, 229, "rwm"))
        .push("/linux/resources/devices", device(false, "c", 10, 229, "w"));
    let out = b.does("mknod /tmp/k c 10 229 -- open r /tmp/k -- open w /tmp/k").run().ok().answers();
    assert_eq!(out[0], "ok");
    assert_ne!(out[1], json!(["EPERM"]));
    assert_eq!(out[2], json!(["EPERM"]));
    let b = locked()
        .push("/linux/resources/devices", device(false, "c", 10, 229, "w"))
        .push("/linux/resources/devices", device(true, "c", 10, 229, "rwm"));
    let out = b.does("mknod /tmp/k c 10 229 -- open w /tmp/k").run().ok().answers();
    assert_ne!(out[1], json!(["EPERM"]));
}

#[test]
fn device_rules_are_listed_in_their_order() {
    // The only place where the order of rules that do not meet can be seen. It is the kernel's own list.
    if is_v2() || !has_controller("devices") {
        return skip("no devices controller of cgroup v1");
    }
    let rules = [("c", 10, 229, "rwm"), ("b", 8, 20, "rw"), ("b", 10, 200, "r"), ("c", 4, 9, "w")];
    let mut b = locked();
    for (kind, major, minor, access) in rules {
        b = b.push("/linux/resources/devices", device(true, kind, major, minor, access));
    }
    let c = b.does("sleep").start();
    let list = fs::read_to_string(dir(&c, "devices").join("devices.list")).unwrap();
    let wanted: Vec<_> =
        rules.iter().map(|(k, major, minor, a)| format!("{k} {major}:{minor} {a}")).collect();
    let found: Vec<_> = list.lines().filter(|line| wanted.iter().any(|w| w == line)).collect();
    peer_differs("runc", "sorts them", || assert_eq!(found, wanted, "{list}"));
}

#[test]
fn without_rules_only_the_defaults() {
    // No resources.devices at all: what runc does is the default list behind a deny.
    peer_may_differ("crun", "allows all", || {
        let out = Bundle::new()
            .does("open r /dev/null -- mknod /tmp/k c 10 229 -- open r /tmp/k")
            .run()
            .ok()
            .answers();
        assert_eq!(out[0], json!(["ok"]));
    });
}

#[test]
fn device_rules_are_for_exec_too() {
    let c = locked().does("mknod /tmp/k c 10 229 -- sleep").start();
    c.lines(1);
    assert_eq!(
        c.exec("open r /tmp/k -- open rw /dev/null").ok().answers(),
        [json!(["EPERM"]), json!(["ok"])]
    );
}

// Places.

#[test]
fn absolute_and_relative_paths() {
    let b = Bundle::new();
    let name = format!("{}-place", b.id);
    let c = b.set("/linux/cgroupsPath", json!(format!("/{name}/deep/er"))).does("sleep").start();
    let found = cgroups_of(c.pid());
    assert!(found.iter().filter(|d| d.ends_with(format!("{name}/deep/er"))).count() >= 1, "{found:?}");
    c.call("delete --force").ok();
    assert!(found.iter().all(|d| !d.ends_with("er") || !d.exists()));
    drop(c);
    for dir in cgroups_with(&name).iter().rev() {
        let _ = fs::remove_dir(dir);
    }
    let b = Bundle::new();
    let name = format!("{}-rel/x", b.id);
    let c = b.set("/linux/cgroupsPath", json!(name)).does("sleep").start();
    assert!(cgroups_of(c.pid()).iter().any(|d| d.ends_with(&name)));
    drop(c);
    for dir in cgroups_with(name.trim_end_matches("/x")).iter().rev() {
        let _ = fs::remove_dir(dir);
    }
}

#[test]
fn a_failure_leaves_no_parents() {
    for broken in [Bundle::new().hook("createRuntime", "exit 3"), Bundle::new().args(["/missing"])] {
        let name = broken.id.clone();
        let b = broken.set("/linux/cgroupsPath", json!(format!("/{name}/deep/er")));
        b.refused();
    }
}

#[test]
fn without_a_path_it_is_named_by_the_id() {
    let c = Bundle::new().does("sleep").start();
    let all = cgroups_of(c.pid());
    assert!(!all.is_empty() && all.iter().any(|d| d.ends_with(&c.id)), "{all:?}");
    if peer() == Peer::Tare {
        assert!(all.iter().all(|d| d.ends_with(&c.id)), "{all:?}");
    }
}

#[test]
fn a_cgroup_in_use_is_refused() {
    let first = Bundle::new();
    let path = format!("/{}", first.id);
    let first = first.set("/linux/cgroupsPath", json!(path)).does("sleep").start();
    peer_differs("runc<1.2 crun", "warns, or does not look", || {
        let second = Bundle::new().set("/linux/cgroupsPath", json!(path)).does("umask");
        let out = second.run().fails();
        assert!(out.stderr.contains("not empty"), "{out:?}");
        assert_eq!(first.status(), "running");
        assert!(cgroups_of(first.pid()).iter().any(|d| d.ends_with(&first.id)), "it still has its own");
    });
}

#[test]
fn a_frozen_cgroup_is_refused() {
    let b = Bundle::new();
    let path = format!("/{}-stale", b.id);
    // Somebody has left it: empty, but frozen. A container in it would never start.
    let (dir, file, frozen, thawed) = match is_v2() {
        true => (format!("/sys/fs/cgroup{path}"), "cgroup.freeze", "1", "0"),
        false => (format!("/sys/fs/cgroup/freezer{path}"), "freezer.state", "FROZEN", "THAWED"),
    };
    let dir = PathBuf::from(dir);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(file), frozen).unwrap();
    let b = b.set("/linux/cgroupsPath", json!(path));
    peer_may_differ("runc crun", "waits, or hangs", || {
        let out = b.launch("create").timeout(std::time::Duration::from_secs(5)).run().fails();
        assert!(peer() != Peer::Tare || out.stderr.contains("unexpectedly frozen"), "{out:?}");
        assert!(dir.exists(), "it is not ours to remove");
    });
    fs::write(dir.join(file), thawed).unwrap();
    b.call("delete --force");
    let _ = fs::remove_dir(&dir);
}

/// A freezer's file, and what thaws it at the end: nothing in it dies before, whatever comes of the test.
struct Frozen(PathBuf, &'static str);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, self.1);
    }
}

#[test]
fn a_cgroup_in_a_frozen_one_is_refused() {
    let b = Bundle::new();
    let path = format!("/{}-pod", b.id);
    let (dir, file, frozen, thawed) = match is_v2() {
        true => (format!("/sys/fs/cgroup{path}"), "cgroup.freeze", "1", "0"),
        false => (format!("/sys/fs/cgroup/freezer{path}"), "freezer.state", "FROZEN", "THAWED"),
    };
    let dir = PathBuf::from(dir);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(file), frozen).unwrap();
    let thaw = Frozen(dir.join(file), thawed);
    let b = b.set("/linux/cgroupsPath", json!(format!("{path}/c")));
    peer_may_differ("runc crun", "waits for ever", || {
        let out = b.launch("create").timeout(std::time::Duration::from_secs(5)).run().fails();
        assert!(peer() != Peer::Tare || out.stderr.contains("unexpectedly frozen"), "{out:?}");
        assert!(!dir.join("c").exists());
    });
    drop(thaw);
    b.call("delete --force");
    cgroups_with(&path[1..]).iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
}

#[test]
fn a_threaded_cgroup_is_refused() {
    if !is_v2() {
        return skip("v2 only");
    }
    let b = Bundle::new();
    let (parent, id) = (PathBuf::from(format!("/sys/fs/cgroup/{}-threads", b.id)), b.id.clone());
    fs::create_dir_all(parent.join("old")).unwrap();
    fs::write(parent.join("old/cgroup.type"), "threaded").unwrap();
    // One that is there, and a new one, which is of no valid type.
    for name in ["old", &id] {
        let b = Bundle::new().set("/linux/cgroupsPath", json!(format!("/{id}-threads/{name}")));
        peer_may_differ("crun runc", "makes it threaded, too", || {
            let out = b.refused();
            assert!(
                peer() != Peer::Tare || out.stderr.contains("container's cgroup can hold no process"),
                "{out:?}"
            );
        });
    }
    let _ = fs::remove_dir(parent.join("old"));
    let _ = fs::remove_dir(parent);
}

#[test]
fn an_empty_cpuset_that_was_there_is_filled() {
    if is_v2() || !has_controller("cpuset") {
        return skip("no cpuset controller of cgroup v1");
    }
    for limits in [json!({}), json!({"cpu": {"cpus": "0"}})] {
        let b = Bundle::new().set("/linux/resources", limits);
        let place = format!("{}-pod", b.id);
        let pod = PathBuf::from("/sys/fs/cgroup/cpuset").join(&place);
        fs::create_dir_all(pod.join("a")).unwrap();
        let c = b.set("/linux/cgroupsPath", json!(format!("/{place}/a/b/c"))).does("sleep").start();
        let root = fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.mems").unwrap();
        for dir in [pod.clone(), pod.join("a"), dir(&c, "cpuset")] {
            assert_eq!(fs::read_to_string(dir.join("cpuset.mems")).unwrap(), root, "{dir:?}");
        }
        drop(c);
        cgroups_with(&place).iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
    }
}

#[test]
fn exec_follows_init_whose_cgroup_is_gone() {
    if !is_v2() && !tare_only("to follow it on v1") {
        return;
    }
    let c = Bundle::new().does("sleep").start();
    let mut others = Vec::new();
    for own in cgroups_of(c.pid()) {
        let other = own.with_file_name(format!("{}-other", c.id));
        fs::create_dir(&other).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"].map(|file| own.join(file)).iter().filter(|_| !is_v2()) {
            if let Ok(text) = fs::read_to_string(file) {
                fs::write(other.join(file.file_name().unwrap()), text.trim()).unwrap();
            }
        }
        fs::write(other.join("cgroup.procs"), c.pid().to_string()).unwrap();
        fs::remove_dir(&own).unwrap();
        others.push(other);
    }
    peer_may_differ("crun", "fails", || {
        let text = c.exec("read /proc/self/cgroup").json();
        let there = text.as_str().unwrap().lines().filter(|line| line.ends_with("-other")).count();
        assert!(there >= others.len(), "{text}");
    });
    c.kill("KILL").ok();
    c.wait();
    others.iter().for_each(|dir| drop(fs::remove_dir(dir)));
}

#[test]
fn a_read_only_cgroup_file_system_is_told() {
    if !tare_only("words") {
        return;
    }
    let b = Bundle::new();
    b.write();
    let script = "awk '$3 ~ /^cgroup/ { print $2 }' /proc/self/mounts | while read -r dir; do \
        mount -o remount,bind,ro $dir; done; exec \"$@\"";
    let runtime = runtime_path();
    let words =
        ["-m", "sh", "-c", script, "sh", runtime.to_str().unwrap(), "--root", b.root.to_str().unwrap()];
    let words = words.into_iter().chain(["create", "--bundle"]);
    let out = Cmd::new("unshare", words).arg(b.path()).arg(&b.id).run().fails();
    out.says("the cgroup file system is mounted read-only: create cgroup /sys/fs/cgroup/");
}

// The view from inside.

#[test]
fn the_cgroup_mount_shows_the_containers_own() {
    let look = format!("read {0}/cgroup.procs -- mount {0} -- open w {0}/cgroup.procs", inside());
    let b = with_cgroup_mount(Bundle::new(), "ro").does(&look);
    let out = b.run().ok().answers();
    assert_eq!(out[0], "1\n");
    assert!(out[1]["options"].as_array().unwrap().contains(&json!("ro")), "{}", out[1]);
    assert_eq!(out[2], json!(["EROFS"]));
    let b = with_cgroup_mount(Bundle::new(), "rw").does(&format!("mkdir {0}/x -- ls {0}/x", inside()));
    assert_eq!(b.run().json(), "ok");
}

#[test]
fn without_a_cgroup_namespace_it_is_found_by_its_path() {
    let b = with_cgroup_mount(Bundle::new().no_ns("cgroup"), "ro").does("sleep");
    let c = b.start();
    // As in runc: of v1 its own cgroups, of v2 the host's tree, in which /proc/self/cgroup is a path.
    let own =
        if is_v2() { cgroup_of(c.pid(), "").to_string_lossy().into_owned() } else { inside().to_owned() };
    let out = c.exec(&format!("read {own}/cgroup.procs -- open w {own}/cgroup.procs")).ok().answers();
    assert!(out[0].as_str().unwrap().lines().any(|pid| pid == "1"), "{out:?}");
    assert_eq!(out[1], json!(["EROFS"]));
}

#[test]
fn the_cgroup_namespace_is_rooted_in_the_containers_cgroup() {
    let c = Bundle::new().does("read /proc/self/cgroup -- sleep").start();
    let text = c.answer();
    let all = text.as_str().unwrap();
    // A peer knows not all hierarchies.
    let bad: Vec<&str> = all.lines().filter(|l| !l.ends_with(":/")).collect();
    assert!(bad.is_empty() || peer() != Peer::Tare, "{all}");
    let ns = fs::read_link(format!("/proc/{}/ns/cgroup", c.pid())).unwrap();
    assert_ne!(ns, fs::read_link("/proc/self/ns/cgroup").unwrap());
    let out = Bundle::new().no_ns("cgroup").does("read /proc/self/cgroup -- ns").run().ok();
    assert!(!out.json().as_str().unwrap().lines().all(|l| l.ends_with(":/")), "{out:?}");
}

// The end.

#[test]
fn leftover_cgroups_and_processes_are_removed() {
    let d = inside();
    let b = with_cgroup_mount(Bundle::new(), "rw");
    let verbs = format!("mkdir {d}/a -- mkdir {d}/a/b -- write {d}/a/b/cgroup.procs 0 -- spawn 3 -- sleep");
    let c = b.does(&verbs).start();
    let answers = c.lines(4);
    assert_eq!(answers[2], "ok", "{answers:?}");
    c.call("delete --force").ok();
    peer_may_differ("runc crun", "leave them", || assert_eq!(c.cgroups(), Vec::<PathBuf>::new()));
}

#[test]
fn processes_left_in_one_hierarchy_are_killed() {
    if is_v2() {
        return skip("there is only one");
    }
    let c = Bundle::new().no_ns("pid").does("spawn 2 -- exit 0").start();
    c.wait();
    let procs = |dir: &Path| fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let devices = c.cgroups().into_iter().find(|dir| dir.starts_with("/sys/fs/cgroup/devices")).unwrap();
    let left = procs(&devices);
    assert_eq!(left.lines().count(), 2, "they live on");
    for dir in c.cgroups().iter().filter(|dir| **dir != devices) {
        left.lines().for_each(|pid| fs::write(dir.parent().unwrap().join("cgroup.procs"), pid).unwrap());
        assert_eq!(procs(dir), "");
    }
    peer_may_differ("runc crun", "leave them", || {
        c.call("delete").ok();
        assert_eq!(c.cgroups(), Vec::<PathBuf>::new());
    });
    end_of(left.lines().map(|pid| pid.parse().unwrap()));
}

/// Of processes that tare has killed, and peers may have left.
#[track_caller]
fn end_of(pids: impl IntoIterator<Item = i32>) {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, waitpid};
    for pid in pids.into_iter().map(nix::unistd::Pid::from_raw) {
        // Our own child by now, but where there is another process 1.
        let gone = until(TIMEOUT / 10, || {
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            !Path::new(&format!("/proc/{pid}")).exists()
        });
        if !gone {
            assert!(peer() != Peer::Tare, "{pid} lives");
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

#[test]
fn processes_left_in_the_hosts_pid_namespace_are_killed() {
    let b = Bundle::new().no_ns("pid").does("spawn 2 -- exit 0");
    let c = b.start();
    c.wait();
    c.until_status("stopped");
    let members = || -> Vec<i32> {
        let all = c.cgroups().into_iter().flat_map(|d| fs::read_to_string(d.join("cgroup.procs")));
        all.flat_map(|t| t.lines().filter_map(|l| l.parse().ok()).collect::<Vec<i32>>()).collect()
    };
    let left = members();
    assert!(!left.is_empty(), "they live on");
    peer_may_differ("runc crun", "leave them", || {
        c.call("delete").ok();
        assert_eq!(c.cgroups(), Vec::<PathBuf>::new());
    });
    end_of(left);
}

// Commands.

#[test]
fn pause_and_resume() {
    let c = Bundle::new().does("print up -- wait-file /go -- print went -- sleep").start();
    c.lines(1);
    c.call("pause").ok();
    assert_eq!(c.status(), "paused");
    fs::write(c.inside("/go"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(c.stdout().lines().count(), 1, "it does not run");
    c.call("resume").ok();
    c.lines(2);
    assert_eq!(c.status(), "running");
    peer_differs("crun", "does not look", || {
        c.call("resume").fails().says_any(&["container not paused"]);
    });
}

#[test]
fn a_paused_container_is_killed_and_deleted() {
    let c = Bundle::new().does("sleep").start();
    c.call("pause").ok();
    c.kill("KILL").ok();
    peer_may_differ("runc crun", "stays frozen", || assert_eq!(c.wait(), 137));
    let c = Bundle::new().does("sleep").start();
    c.call("pause").ok();
    c.call("delete --force").ok();
    assert!(c.cgroups().is_empty() || peer() != Peer::Tare);
}

#[test]
fn update_leaves_devices_alone() {
    let b = locked().push("/linux/resources/devices", device(true, "c", 10, 229, "rwm"));
    let c = b.does("mknod /tmp/k c 10 229 -- mknod /tmp/l c 10 228 -- sleep 300000").start();
    c.lines(2);
    let call = |resources: Value| {
        c.cmd(["update", "--resources", "-", &c.id]).input(&resources.to_string()).run().ok();
    };
    if !is_v2() {
        // What a GPU's toolkit does behind the runtime's back.
        fs::write(cgroup_of(c.pid(), "devices").join("devices.allow"), "c 10:228 r").unwrap();
    }
    let open = || c.exec("open r /tmp/k -- open r /tmp/l -- open rw /dev/null").ok().answers();
    let before = open();
    assert_ne!(before[0], json!(["EPERM"]));
    assert_eq!(before[1] == json!(["EPERM"]), is_v2());
    call(if is_v2() {
        json!({"unified": {"cgroup.max.depth": "9"}})
    } else {
        json!({"pids": {"limit": 33}})
    });
    assert_eq!(open(), before);
    // Rules are no part of it, whatever they say.
    peer_may_differ("crun", "applies them", || {
        call(json!({"devices": [{"allow": false, "access": "rwm"}]}));
        assert_eq!(open(), before);
    });
}

#[test]
fn update_without_sense_is_refused() {
    let c = Bundle::new().does("sleep").start();
    let call = |text: &str| c.cmd(["update", "--resources", "-", &c.id]).input(text).run();
    call("{").fails();
    if tare_only("words") {
        call("[]").fails().says("not a JSON object");
        let out = call(r#"{"memory": {"limit": -7}}"#).fails();
        out.says("memory.limit: -7 is neither a number of bytes nor -1 (unlimited)");
        call(r#"{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}"#).fails().says("pageSize");
        c.call("update --l3-cache-schema L3:0=f").fails().says("--l3-cache-schema: Intel RDT is not enabled");
    }
    c.kill("KILL").ok();
    c.wait();
    c.until_status("stopped");
    peer_may_differ("runc crun", "do not look", || {
        drop(c.call("update --pids-limit 9").fails().says("not running"))
    });
}

#[test]
fn ps() {
    let c = Bundle::new().does("spawn 2 -- sleep").start();
    c.lines(1);
    let pids = c.call("ps --format json").document();
    let pids: Vec<i64> = pids.as_array().unwrap().iter().map(|p| p.as_i64().unwrap()).collect();
    assert!(pids.len() == 3 && pids.contains(&i64::from(c.pid())), "{pids:?}");
    let out = c.call("ps").ok();
    assert_eq!(out.stdout.lines().count(), 4, "{out:?}");
    assert!(out.stdout.contains("PID"));
    if peer() == Peer::Crun {
        return note("known difference", "crun has no arguments for ps");
    }
    // What follows the id is for ps(1).
    let out = c.cmd(["ps", &c.id, "-e", "-o", "comm,pid"]).run().ok();
    let lines: Vec<Vec<&str>> = out.stdout.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!((lines.len(), &lines[0]), (4, &vec!["COMMAND", "PID"]), "{out:?}");
    assert!(lines[1..].iter().all(|l| l[0] == "payload"), "{out:?}");
    c.cmd(["ps", &c.id, "-o", "comm"]).run().fails().says_any(&["find PID field"]);
}
