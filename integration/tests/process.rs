//! The container's process: what it is given.

use tare_integration::*;

/// The bits of capabilities by name, without `CAP_`.
fn bits(names: &str) -> Value {
    const ALL: [(&str, u32); 16] = [
        ("CHOWN", 0),
        ("DAC_OVERRIDE", 1),
        ("FOWNER", 3),
        ("FSETID", 4),
        ("KILL", 5),
        ("SETGID", 6),
        ("SETUID", 7),
        ("SETPCAP", 8),
        ("NET_BIND_SERVICE", 10),
        ("NET_ADMIN", 12),
        ("NET_RAW", 13),
        ("SYS_CHROOT", 18),
        ("SYS_ADMIN", 21),
        ("MKNOD", 27),
        ("AUDIT_WRITE", 29),
        ("SETFCAP", 31),
    ];
    let mut list: Vec<u32> = names
        .split([',', ' '])
        .filter(|n| !n.is_empty())
        .map(|n| ALL.iter().find(|(name, _)| *name == n).unwrap().1)
        .collect();
    list.sort_unstable();
    json!(list)
}

#[test]
fn arguments_arrive_as_given() {
    let out = Bundle::new().args(["/payload", "args", "a b", "", "-x", "$HOME"]).run();
    assert_eq!(out.json(), json!(["/payload", "args", "a b", "", "-x", "$HOME"]));
}

#[test]
fn environment_is_the_configs_and_nothing_of_the_runtimes() {
    let b = Bundle::new().does("env").set("/process/env", json!(["A=1", "B=x=y", "EMPTY=", "HOME=/h"]));
    let out = b.launch("run").env("LEAK", "1").run();
    assert_eq!(out.json(), json!(["A=1", "B=x=y", "EMPTY=", "HOME=/h"]));
}

#[test]
fn of_a_variable_given_twice_the_last_counts() {
    let out = Bundle::new().does("env").set("/process/env", json!(["A=1", "HOME=/h", "A=2"])).run().json();
    let all = out.as_array().unwrap().iter().filter(|v| v.as_str().unwrap().starts_with("A="));
    assert_eq!(all.collect::<Vec<_>>(), ["A=2"]);
}

#[test]
fn home_comes_from_the_containers_passwd() {
    let home = |b: Bundle| -> Vec<Value> {
        let env = b.does("env").run().json();
        let list = env.as_array().unwrap().iter();
        list.filter(|v| v.as_str().unwrap().starts_with("HOME=")).cloned().collect()
    };
    assert_eq!(home(Bundle::new()), ["HOME=/root"]);
    assert_eq!(home(Bundle::new().user(1000, 1000)), ["HOME=/home/user"]);
    assert_eq!(home(Bundle::new().env("HOME=/own")), ["HOME=/own"]);
    peer_differs("crun<1.21", "sets none for an unknown user", || {
        assert_eq!(home(Bundle::new().user(1234, 1000)), ["HOME=/"], "no such user");
        let without = Bundle::new();
        std::fs::remove_file(without.inside("/etc/passwd")).unwrap();
        assert_eq!(home(without), ["HOME=/"], "no passwd");
    });
}

#[test]
fn home_is_not_read_through_a_symlink_to_the_host() {
    let b = Bundle::new().does("env");
    let fake = b.outside().join("passwd");
    std::fs::write(&fake, "root:x:0:0:root:/host-home:/bin/sh\n").unwrap();
    std::fs::remove_file(b.inside("/etc/passwd")).unwrap();
    let out = b.symlink(&fake, "/etc/passwd").run().json();
    assert!(!out.to_string().contains("host-home"), "{out}");
}

#[test]
fn an_empty_home_is_filled() {
    peer_differs("crun", "keeps the empty one", || {
        let out = Bundle::new().env("HOME=").does("env").run().json();
        assert!(out.as_array().unwrap().contains(&json!("HOME=/root")), "{out}");
    });
}

#[test]
fn programs_are_found_by_the_path_of_the_containers_environment() {
    let b = || Bundle::new().program("/one/prog").program("/two/prog").program("/two/other");
    let path = |b: Bundle, path: &str, prog: &str| {
        b.set("/process/env", json!([format!("PATH={path}")]))
            .args([prog, "readlink", "/proc/self/exe"])
            .run()
    };
    assert_eq!(path(b(), "/one:/two", "prog").json(), "/one/prog");
    assert_eq!(path(b(), "/two:/one", "prog").json(), "/two/prog");
    assert_eq!(path(b(), "/none:/one:/two", "other").json(), "/two/other");
    // What is there but cannot be executed is passed over.
    let skipped = b().file("/zero/prog", "no program").folder("/dir/prog");
    assert_eq!(path(skipped, "/zero:/dir:/one", "prog").json(), "/one/prog");
    path(b(), "/none", "prog").fails();
    // The runtime's own PATH counts for nothing.
    let out = b().set("/process/env", json!(["PATH=/none"])).args(["prog"]);
    out.launch("run").env("PATH", "/one:/two:/bin").run().fails();
}

#[test]
fn a_relative_program_starts_at_the_cwd() {
    let b = Bundle::new().program("/work/bin/prog").set("/process/cwd", json!("/work"));
    assert_eq!(b.args(["bin/prog", "readlink", "/proc/self/exe"]).run().json(), "/work/bin/prog");
    let b = Bundle::new().program("/work/prog").set("/process/cwd", json!("/work"));
    assert_eq!(b.args(["./prog", "cwd"]).run().json(), "/work");
}

#[test]
fn a_program_that_the_user_may_not_execute_is_refused() {
    let b = Bundle::new().program("/p").user(1000, 1000).caps("bounding= effective= permitted=");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(b.inside("/p"), std::fs::Permissions::from_mode(0o700)).unwrap();
    b.args(["/p", "ids"]).run().fails().says_any(&["permission denied", "not executable"]);
}

#[test]
fn cwd_is_where_it_starts() {
    let b = Bundle::new().folder("/some/where").set("/process/cwd", json!("/some/where")).does("cwd");
    assert_eq!(b.run().json(), "/some/where");
}

#[test]
fn a_missing_cwd_is_made() {
    let out = Bundle::new().set("/process/cwd", json!("/new/cwd")).does("cwd -- stat /new/cwd").run();
    assert_eq!(out.json(), "/new/cwd");
    assert_eq!(out.json_line(1)[0]["mode"], "755");
}

#[test]
fn a_cwd_that_the_user_may_enter_only_after_setuid() {
    // Common: a home of mode 0700 whose owner is the container's user, root without DAC_OVERRIDE.
    let b = Bundle::new().folder("/home/user").set("/process/cwd", json!("/home/user")).user(1000, 1000);
    use std::os::unix::fs::{PermissionsExt, chown};
    std::fs::set_permissions(b.inside("/home/user"), std::fs::Permissions::from_mode(0o700)).unwrap();
    chown(b.inside("/home/user"), Some(1000), Some(1000)).unwrap();
    assert_eq!(b.caps("bounding= effective= permitted=").does("cwd").run().json(), "/home/user");
}

#[test]
fn a_cwd_that_only_the_user_may_enter() {
    // Its owner has no id in the user namespace, which takes root's rights over it away; the group has.
    let b = Bundle::new().userns().user(1000, 1000).set("/process/user/additionalGids", json!([50]));
    let b = b.folder("/private").set("/process/cwd", json!("/private")).does("cwd");
    std::os::unix::fs::chown(b.inside("/private"), Some(5), Some(100_050)).unwrap();
    std::fs::set_permissions(b.inside("/private"), std::os::unix::fs::PermissionsExt::from_mode(0o750))
        .unwrap();
    assert_eq!(b.run().ok().json(), "/private");
}

#[test]
fn a_cwd_that_is_no_directory_is_refused() {
    let b = Bundle::new().file("/f", "").set("/process/cwd", json!("/f"));
    b.refused().says_any(&["not a directory", "mkdir"]);
}

#[test]
fn user_and_groups() {
    let b =
        Bundle::new().user(1000, 1001).set("/process/user/additionalGids", json!([5, 2000, 6])).does("ids");
    assert_eq!(
        b.run().json(),
        json!({"uid": [1000, 1000, 1000], "gid": [1001, 1001, 1001], "groups": [5, 6, 2000]})
    );
    let out = Bundle::new().user(0, 0).does("ids").run().json();
    assert_eq!(out["groups"], json!([]), "none of the runtime's own groups");
}

#[test]
fn the_standard_streams_belong_to_the_user() {
    // Or it could not open /dev/stdout, which leads to a file of the caller's.
    let out = Bundle::new().user(1000, 1001).does("stat /proc/self/fd/1 /proc/self/fd/2").run().ok().json();
    assert_eq!((&out[0]["uid"], &out[1]["uid"]), (&json!(1000), &json!(1000)), "{out}");
}

#[test]
fn umask_is_set() {
    assert_eq!(Bundle::new().does("umask").run().json(), 0o22);
    let b = Bundle::new().set("/process/user/umask", json!(0o077)).does("umask");
    assert_eq!(b.run().json(), 0o077);
}

#[test]
fn the_five_capability_sets_as_given() {
    let b = Bundle::new()
        .caps("bounding=CHOWN,KILL,NET_RAW permitted=CHOWN,KILL effective=CHOWN inheritable=CHOWN,KILL ambient=")
        .does("caps");
    // A program without file capabilities run by root gets all of bounding, by the kernel's rule.
    let root = b.run().json();
    assert_eq!(root["bounding"], bits("CHOWN,KILL,NET_RAW"));
    assert_eq!(root["inheritable"], bits("CHOWN,KILL"));
    assert_eq!(root["ambient"], json!([]));
}

#[test]
fn ambient_capabilities_survive_the_exec_of_a_user() {
    let b = Bundle::new()
        .user(1000, 1000)
        .caps("bounding=NET_RAW,KILL permitted=NET_RAW,KILL effective=NET_RAW,KILL inheritable=NET_RAW ambient=NET_RAW")
        .does("caps");
    let caps = b.run().json();
    assert_eq!(caps["ambient"], bits("NET_RAW"));
    assert_eq!(caps["effective"], bits("NET_RAW"));
    assert_eq!(caps["permitted"], bits("NET_RAW"));
    assert_eq!(caps["bounding"], bits("KILL,NET_RAW"));
}

#[test]
fn a_user_has_no_capabilities_without_ambient_ones() {
    let caps = Bundle::new().user(1000, 1000).does("caps").run().json();
    assert_eq!((&caps["effective"], &caps["permitted"]), (&json!([]), &json!([])));
    assert!(!caps["bounding"].as_array().unwrap().is_empty());
}

#[test]
fn no_capabilities_at_all() {
    let caps =
        Bundle::new().caps("bounding= effective= permitted= inheritable= ambient=").does("caps").run().json();
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(caps[set], json!([]), "{set}");
    }
}

#[test]
fn without_a_capabilities_object_it_starts() {
    Bundle::new().without("/process/capabilities").does("caps").run().ok();
}

#[test]
fn default_capabilities_let_root_do_what_docker_allows() {
    let out = Bundle::new().does("chown /tmp 5 5").run();
    assert_eq!(out.json(), "ok");
    let out = Bundle::new().caps("bounding= effective= permitted=").does("chown /tmp 5 5").run();
    assert_eq!(out.json(), "EPERM");
}

#[test]
fn an_unknown_capability_is_only_warned_about() {
    let b = Bundle::new().push("/process/capabilities/bounding", json!("CAP_FROM_THE_FUTURE")).does("caps");
    let out = b.run().ok();
    assert!(!out.json()["bounding"].as_array().unwrap().is_empty());
}

/// What a runtime in a container of Docker's lives with: CAP_WAKE_ALARM is not to be had.
fn without_wake_alarm() -> std::io::Result<()> {
    // SAFETY: one system call.
    match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, 35) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn a_capability_that_the_runtime_has_not_is_only_warned_about() {
    let sets = "KILL,WAKE_ALARM";
    let b = Bundle::new()
        .caps(&format!("bounding={sets} permitted={sets} effective={sets} inheritable={sets} ambient={sets}"))
        .does("caps -- sleep");
    peer_differs("runc crun", "older than the rule", || {
        // SAFETY: one system call.
        let out = unsafe { b.launch("create").before_exec(without_wake_alarm) }.run().ok();
        let c = Container::created(b, out);
        c.call("start").ok();
        let caps = c.answer();
        for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
            assert_eq!(caps[set], bits("KILL"), "{set}");
        }
    });
}

#[test]
fn an_ambient_capability_that_is_not_inheritable_is_only_warned_about() {
    let b = Bundle::new()
        .caps("bounding=KILL permitted=KILL effective=KILL inheritable= ambient=KILL")
        .does("caps");
    assert_eq!(b.run().json()["ambient"], json!([]));
}

#[test]
fn rlimits_of_all_names() {
    // Under the hard limits that the test has itself: raising one needs CAP_SYS_RESOURCE.
    let names =
        "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK";
    let soft = |name: &str| match name {
        "AS" | "DATA" | "RSS" => 1 << 32,
        "STACK" => 1 << 22,
        "NICE" | "RTPRIO" => 0,
        "MEMLOCK" => 4096,
        "FSIZE" => 1 << 20,
        _ => 100,
    };
    let mut b = Bundle::new();
    for name in names.split_whitespace() {
        b = b.rlimit(name, soft(name), soft(name));
    }
    let seen = b.does("rlimits").run().json();
    for name in names.split_whitespace() {
        assert_eq!(seen[format!("RLIMIT_{name}")], json!([soft(name), soft(name)]), "{name}");
    }
}

#[test]
fn soft_and_hard_rlimits_differ() {
    let seen = Bundle::new().rlimit("NOFILE", 100, 200).rlimit("CORE", 0, 5).does("rlimits").run().json();
    assert_eq!(seen["RLIMIT_NOFILE"], json!([100, 200]));
    assert_eq!(seen["RLIMIT_CORE"], json!([0, 5]));
}

#[test]
fn rlimits_not_named_are_the_runtimes_own() {
    let own = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let seen = Bundle::new().does("rlimits").run().json();
    assert_eq!(seen["RLIMIT_NOFILE"], json!([own.0, own.1]));
}

#[test]
fn a_tiny_nofile_limit_does_not_break_the_start() {
    peer_differs("runc>=1.2 crun", "applies it before it has opened all it needs", || {
        Bundle::new().rlimit("NOFILE", 12, 12).does("umask").run().ok();
    });
}

#[test]
fn a_limit_of_three_descriptors_leaves_room_for_start() {
    if !tare_only("runc fails in create") {
        return;
    }
    let c = Bundle::new().rlimit("NOFILE", 3, 3).does("umask").create();
    c.call("start").ok();
    assert_eq!(c.wait(), 0);
}

#[test]
fn the_callers_cpu_affinity_is_not_the_containers() {
    let all = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    if all.trim() == "0" {
        return skip("one CPU only");
    }
    fn first_cpu_only() -> std::io::Result<()> {
        let mut set = nix::sched::CpuSet::new();
        set.set(0)?;
        Ok(nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?)
    }
    peer_differs("runc<1.2 crun<1.28", "older than the fix", || {
        let b = Bundle::new().does("status Cpus_allowed_list -- sleep");
        // SAFETY: one system call.
        let out = unsafe { b.launch("create").before_exec(first_cpu_only) }.run().ok();
        let c = Container::created(b, out);
        c.call("start").ok();
        assert_eq!(c.answer()["Cpus_allowed_list"], all.trim());
        // SAFETY: as above.
        let exec = unsafe { c.exec_cmd("", "status Cpus_allowed_list").before_exec(first_cpu_only) };
        assert_eq!(exec.run().ok().json()["Cpus_allowed_list"], all.trim());
    });
}

#[test]
fn a_small_address_space_does_not_break_the_start() {
    // What is needed after the limits are set has to be there before.
    peer_may_differ("runc", "its runtime needs more", || {
        let names = ["getpgid", "getcwd"];
        let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}]});
        let b = Bundle::new().rlimit("AS", 8 << 20, 8 << 20).rlimit("DATA", 1 << 20, 1 << 20).user(5, 6);
        let b = b.set("/linux/seccomp", seccomp).does("rlimits");
        assert_eq!(b.run().ok().json()["RLIMIT_AS"], json!([8 << 20, 8 << 20]));
    });
}

#[test]
fn a_limit_above_the_runtimes_own_in_a_user_namespace() {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let caps = text.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    if u64::from_str_radix(caps, 16).unwrap() >> 24 & 1 == 0 {
        return skip("no CAP_SYS_RESOURCE");
    }
    fn lower() -> std::io::Result<()> {
        Ok(nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 512, 512)?)
    }
    // No capability of a user namespace raises a limit; the runtime outside of it may.
    let b = Bundle::new().userns().rlimit("NOFILE", 700, 800).does("rlimits");
    // SAFETY: one system call.
    let out = unsafe { b.launch("run").before_exec(lower) }.run().ok();
    assert_eq!(out.json()["RLIMIT_NOFILE"], json!([700, 800]));
}

#[test]
fn a_duplicate_rlimit_is_refused() {
    let b = Bundle::new().rlimit("CORE", 0, 0).rlimit("CORE", 1, 1);
    b.refused().says_any(&["rlimit"]);
}

#[test]
fn no_new_privileges() {
    let nnp = |value| {
        Bundle::new().set("/process/noNewPrivileges", json!(value)).does("status NoNewPrivs").run().json()
    };
    assert_eq!(nnp(true)["NoNewPrivs"], "1");
    assert_eq!(nnp(false)["NoNewPrivs"], "0");
}

#[test]
fn oom_score_adj() {
    let read = "read /proc/self/oom_score_adj";
    let b = Bundle::new().set("/process/oomScoreAdj", json!(321)).does(read);
    assert_eq!(b.run().json(), "321\n");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(Bundle::new().does(read).run().json(), own);
}

#[test]
fn personality_and_scheduler() {
    let b = Bundle::new()
        .set("/linux/personality", json!({"domain": "LINUX32"}))
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}))
        .does("read /proc/self/personality -- read /proc/self/stat");
    let out = b.run().ok();
    peer_may_differ("runc crun", "older than these fields", || {
        assert_eq!(out.json().as_str().unwrap().trim(), "00000008");
        let stat = out.json_line(1);
        let fields: Vec<&str> =
            stat.as_str().unwrap().rsplit(')').next().unwrap().split_whitespace().collect();
        // Fields 19 and 41 of proc(5): nice, and SCHED_BATCH.
        assert_eq!((fields[16], fields[38]), ("5", "3"), "{stat}");
    });
}

#[test]
fn io_priority() {
    let get = format!("syscall {} 1 0", libc::SYS_ioprio_get);
    let b = Bundle::new()
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}))
        .does(&get);
    peer_may_differ("runc crun", "older than this field", || {
        // Class 2 above 13 bits of priority.
        assert_eq!(b.run().json(), json!({"ret": 2 << 13 | 6}));
        let c = b.does("sleep").start();
        assert_eq!(c.exec(&get).json(), json!({"ret": 2 << 13 | 6}), "and of exec");
    });
}

#[test]
fn memory_policy() {
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        return skip("a kernel without NUMA");
    }
    let b = Bundle::new().set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"}));
    let b = b.does("read /proc/self/numa_maps -- sleep");
    peer_may_differ("runc crun", "older than this field", || {
        let c = b.start();
        assert!(c.answer().as_str().unwrap().contains(" bind:0 "), "{}", c.stdout());
        let exec = c.exec("read /proc/self/numa_maps").ok();
        assert!(exec.json().as_str().unwrap().contains(" bind:0 "), "{}", exec.stdout);
    });
}

#[test]
fn hostname_and_domainname() {
    let b = Bundle::new().set("/hostname", json!("the-host")).does("uname");
    assert_eq!(b.run().json()["hostname"], "the-host");
    peer_differs("runc<1.2", "is older than domainname", || {
        let b = Bundle::new().set("/domainname", json!("the.domain")).does("uname");
        assert_eq!(b.run().json()["domainname"], "the.domain");
    });
    let host = nix::sys::utsname::uname().unwrap();
    let b = Bundle::new().without("/hostname").no_ns("uts").does("uname");
    assert_eq!(b.run().json()["hostname"], host.nodename().to_str().unwrap());
}

#[test]
fn a_hostname_without_a_uts_namespace_is_refused() {
    let before = nix::sys::utsname::uname().unwrap().nodename().to_owned();
    let b = Bundle::new().no_ns("uts").set("/hostname", json!(before.to_str().unwrap()));
    // The host's own name: were it set after all, nothing would be harmed.
    b.refused();
}

#[test]
fn sysctls_are_written() {
    let b = Bundle::new()
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "99", "fs.mqueue.msg_max": "7"}))
        .does("read /proc/sys/net/ipv4/ip_forward -- read /proc/sys/kernel/shmmni -- read /proc/sys/fs/mqueue/msg_max");
    assert_eq!(b.run().ok().answers(), ["1\n", "99\n", "7\n"]);
}

#[test]
fn sysctls_of_the_host_are_refused() {
    // Each with the value that it has: were it written after all, nothing would be harmed.
    for name in ["kernel/core_pattern", "vm/swappiness", "fs/file-max"] {
        let value = std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap();
        let b = Bundle::new().set("/linux/sysctl", json!({name.replace('/', "."): value.trim()}));
        b.refused().says_any(&["sysctl"]);
    }
    let odd = Bundle::new().set("/linux/sysctl", json!({"kernel.shmmni/../pid_max": "no-number"}));
    odd.refused().says_any(&["sysctl"]);
    // Namespaced ones need their namespace.
    let own = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    Bundle::new().no_ns("network").set("/linux/sysctl", json!({"net.ipv4.ip_forward": own.trim()})).refused();
    let own = std::fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    Bundle::new()
        .no_ns("ipc")
        .no_mount("/dev/mqueue")
        .set("/linux/sysctl", json!({"kernel.shmmni": own.trim()}))
        .refused();
}

#[test]
fn it_gets_a_session_keyring_of_its_own() {
    let b = Bundle::new().does("keyring");
    let name = format!("_ses.{}", b.id);
    let seen = b.run().json();
    peer_differs("crun", "names it by the bare id", || {
        assert_eq!(seen.as_str().unwrap().rsplit(';').next(), Some(name.as_str()), "{seen}");
    });
    // The user may search it, not only who possesses it: as with runc.
    let bits = u32::from_str_radix(seen.as_str().unwrap().split(';').nth(3).unwrap(), 16).unwrap();
    peer_differs("crun", "leaves the kernel's default", || {
        assert_eq!(bits & 0x0008_0000, 0x0008_0000, "{seen}")
    });
    let b = Bundle::new().does("keyring");
    let out = b.launch("run --no-new-keyring").run().json();
    assert!(!out.as_str().unwrap().contains(&b.id), "{out}");
}

#[test]
fn an_apparmor_profile_without_apparmor_is_a_clear_error() {
    if std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        return skip("this kernel has AppArmor");
    }
    let b = Bundle::new().set("/process/apparmorProfile", json!("docker-default"));
    peer_differs("crun>=1.28", "goes without", || {
        b.refused().says_any(&["apparmor", "/proc/thread-self/attr/exec", "/proc/self/attr/exec"]);
    });
}

#[test]
fn an_selinux_label_without_selinux_is_a_clear_error() {
    if std::fs::read_dir("/sys/fs/selinux").is_ok_and(|d| d.count() > 0) {
        return skip("this kernel has SELinux");
    }
    peer_differs("crun", "ignores it", || {
        let b = Bundle::new().set("/process/selinuxLabel", json!("system_u:system_r:container_t:s0"));
        b.refused().says_any(&["selinux"]);
    });
}

#[test]
fn a_mount_label_without_selinux_is_ignored() {
    // Unlike a process label it promises nothing that is not so: there is nothing to confine.
    if std::fs::read_dir("/sys/fs/selinux").is_ok_and(|d| d.count() > 0) {
        return skip("this kernel has SELinux");
    }
    peer_differs("runc", "1.1.5 passes it to mount", || {
        let label = json!("system_u:object_r:svirt_sandbox_file_t:s0:c715,c811");
        Bundle::new().set("/linux/mountLabel", label).does("umask").run().ok();
    });
}

#[test]
fn it_leads_a_session_and_is_pid_1() {
    let seen = Bundle::new().does("proc").run().json();
    assert_eq!((&seen["pid"], &seen["sid"], &seen["pgid"]), (&json!(1), &json!(1), &json!(1)));
}

#[test]
fn signals_are_neither_blocked_nor_ignored() {
    // SIGPIPE is what a runtime in Rust ignores; others come from who starts it, as SIGHUP from nohup.
    let run = Bundle::new().does("signals");
    let created = Bundle::new().does("signals");
    let joined = Bundle::new().does("sleep").start();
    run.write();
    created.write();
    // Behind `cat`, which ends when the program has, too.
    let commands = [
        (&run, r#"run --bundle "$bundle" "$id""#),
        (&created, r#"create --bundle "$bundle" "$id" && "$@" start "$id""#),
        (&*joined, r#"exec "$id" /payload signals"#),
    ];
    for (b, command) in commands {
        let script = format!(
            "id=$1 bundle=$2; shift 2; trap '' HUP INT QUIT PIPE USR1; {{ \"$@\" {command}; }} | cat"
        );
        let (runtime, root, path) = (runtime_path(), b.root.to_str().unwrap(), b.path());
        let words =
            ["-c", &script, "bash", &b.id, path.to_str().unwrap(), runtime.to_str().unwrap(), "--root", root];
        let seen = Cmd::new("bash", words).run().json();
        assert_eq!(seen["blocked"], json!([]), "{command}");
        peer_may_differ("runc>=1.2", "starts init while it sets its own handlers", || {
            assert_eq!(seen["ignored"], json!([]), "{command}");
        });
    }
}

#[test]
fn it_is_dumpable_again() {
    // The runtime makes itself undumpable; the exec must end that (PR_GET_DUMPABLE).
    assert_eq!(Bundle::new().does("syscall 157 3").run().json(), json!({"ret": 1}));
}
