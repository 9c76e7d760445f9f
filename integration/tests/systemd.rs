//! Cgroups that systemd makes. These need the views `systemd…` of `integration/run`, where process 1 is a systemd.

use std::path::Path;
use std::time::Duration;

use tare_integration::*;

const FLAG: &str = "--systemd-cgroup";
/// By this folder programs know that the host runs systemd.
const LOOKS_BOOTED: &str = "mkdir -p /run/systemd/system";

/// False, and noted, where there is no systemd to make a cgroup.
fn possible() -> bool {
    if !has_systemd() {
        skip("no systemd is process 1 here");
    }
    has_systemd()
}

/// False, and noted, where there is no such controller (or no systemd).
fn limited(controller: &str) -> bool {
    if !possible() {
        return false;
    }
    if !has_controller(controller) {
        skip(&format!("no controller {controller}"));
    }
    has_controller(controller)
}

/// A bundle whose unit is `it-ID.scope` in `system.slice`.
fn bundle() -> Bundle {
    let b = Bundle::new();
    let path = format!("system.slice:it:{}", b.id);
    b.does("sleep 1000000").set("/linux/cgroupsPath", json!(path))
}

fn unit(b: &Bundle) -> String {
    format!("it-{}.scope", b.id)
}

fn launch(b: &Bundle, verb: &str) -> Cmd {
    b.write();
    let (path, pid_file) = (b.path(), b.pid_file());
    let words = [verb, "--bundle", path.to_str().unwrap(), "--pid-file", pid_file.to_str().unwrap(), &b.id];
    b.cmd_with(&[FLAG], words)
}

#[track_caller]
fn create(b: Bundle) -> Container {
    let output = launch(&b, "create").run().ok();
    Container::created(b, output)
}

#[track_caller]
fn start(b: Bundle) -> Container {
    let c = create(b);
    c.call("start").ok();
    c
}

/// What a command of systemd's prints.
#[track_caller]
fn systemd(program: &str, words: &[&str]) -> String {
    Cmd::new(program, words).run().ok().stdout.trim().to_owned()
}

/// A property of a unit.
#[track_caller]
fn show(unit: &str, property: &str) -> String {
    systemd("systemctl", &["show", "--value", "-p", property, unit])
}

/// The units whose name has this part, whatever became of them.
fn units(part: &str) -> String {
    systemd("systemctl", &["list-units", "--all", "--plain", "--no-legend", &format!("*{part}*")])
}

/// Neither unit nor cgroup of this id is left.
#[track_caller]
fn gone(id: &str) {
    assert_eq!(units(id), "", "units are left");
    assert!(cgroups_with(id).is_empty(), "{:?}", cgroups_with(id));
}

/// The directory of the container in the hierarchy that has the controller.
fn dir(c: &Container, controller: &str) -> std::path::PathBuf {
    cgroup_of(c.pid(), controller)
}

fn in_file(c: &Container, controller: &str, file: &str) -> String {
    std::fs::read_to_string(dir(c, controller).join(file)).unwrap().trim().to_owned()
}

/// The runtime where nobody listens, neither systemd nor a bus; `setup` is a command that is run first.
fn alone(c: &Bundle, setup: &str, words: &[&str]) -> Cmd {
    let script = &format!("mount -t tmpfs none /run && {setup} && exec \"$@\"");
    let root = c.root.to_str().unwrap();
    let runtime = runtime_path();
    let fixed = ["--mount", "sh", "-c", script, "sh", runtime.to_str().unwrap(), "--root", root];
    Cmd::new("unshare", fixed.iter().chain(words))
}

#[test]
fn the_container_is_a_scope() {
    if !possible() {
        return;
    }
    let c = create(bundle());
    let unit = unit(&c);
    for (property, want) in [
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("ControlGroup", &format!("/system.slice/{unit}")),
        ("Transient", "yes"),
    ] {
        assert_eq!(show(&unit, property), want, "{property}");
    }
    for cgroup in cgroups_of(c.pid()) {
        assert!(cgroup.to_string_lossy().contains(&format!("/system.slice/{unit}")), "{cgroup:?}");
    }
    c.call("start").ok();
    let id = c.id.clone();
    c.call("delete --force").ok();
    gone(&id);
}

#[test]
fn the_program_sees_the_scope() {
    if !possible() {
        return;
    }
    // Without a cgroup namespace the whole path is there; hooks, the first foreign programs, are no earlier.
    let b = bundle().no_ns("cgroup").does("read /proc/self/cgroup");
    let unit = unit(&b);
    let seen = launch(&b, "run").run().json();
    for line in seen.as_str().unwrap().lines().filter(|line| is_v2() || !line.starts_with("0:")) {
        if is_v2() == line.starts_with("0::") {
            assert!(line.contains(&unit), "{line}");
        }
    }
    gone(&b.id);
}

#[test]
fn names_and_slices() {
    if !possible() {
        return;
    }
    let b = Bundle::new();
    let id = b.id.clone();
    drop(b);
    for (path, slice, cgroup) in [
        ("itx-sub.slice:it:@", "itx-sub.slice", "/itx.slice/itx-sub.slice/it-@.scope"),
        (":it:@", "system.slice", "/system.slice/it-@.scope"),
    ] {
        let b = Bundle::new().does("sleep 1000000");
        let path = path.replace('@', &b.id);
        let c = create(b.set("/linux/cgroupsPath", json!(path)));
        assert_eq!(show(&unit(&c), "Slice"), slice);
        assert_eq!(show(&unit(&c), "ControlGroup"), cgroup.replace('@', &c.id));
    }
    gone(&id);
    // Without a path the runtime's name is in it.
    let c = create(Bundle::new().does("sleep 1000000"));
    let name = match peer() {
        Peer::Tare => "tare",
        Peer::Runc => "runc",
        _ => "crun",
    };
    assert_eq!(show(&format!("{name}-{}.scope", c.id), "ActiveState"), "active");
}

#[test]
fn a_slice_of_its_own() {
    if !possible()
        || !tare_only(
            "a container in a slice unit: runc and crun ask systemd to put a process into it, which it refuses",
        )
    {
        return;
    }
    let b = Bundle::new().does("sleep 1000000");
    let name = format!("{}.slice", b.id.replace('-', ""));
    let c = start(b.set("/linux/cgroupsPath", json!(format!("system.slice:it:{name}"))));
    assert_eq!(show(&name, "ControlGroup"), format!("/{name}"));
    assert!(cgroups_of(c.pid()).iter().all(|d| d.ends_with(&name)), "{:?}", cgroups_of(c.pid()));
    c.exec("print x").ok();
    c.call("delete --force").ok();
    gone(&name);
}

#[test]
fn paths_that_are_no_unit_are_refused() {
    if !possible() {
        return;
    }
    for path in ["/a/b", "system.slice:it", "it:it:x", "system.slice:it:a/b", "a--b.slice:it:x"] {
        let b = bundle().set("/linux/cgroupsPath", json!(path));
        let out = launch(&b, "create").run().fails();
        if peer() == Peer::Tare {
            out.says("linux.cgroupsPath: ");
        }
    }
}

#[test]
fn memory_and_pids_are_properties_and_in_the_files() {
    if !limited("memory") || !limited("pids") {
        return;
    }
    let limit = 64 << 20;
    let c = start(bundle().set(
        "/linux/resources",
        json!({"memory": {"limit": limit, "reservation": limit / 2}, "pids": {"limit": 50}}),
    ));
    let unit = unit(&c);
    let look = || {
        let (property, file) =
            if is_v2() { ("MemoryMax", "memory.max") } else { ("MemoryLimit", "memory.limit_in_bytes") };
        if peer() != Peer::Crun || is_v2() {
            assert_eq!(show(&unit, property), limit.to_string());
        }
        assert_eq!(in_file(&c, "memory", file), limit.to_string());
        assert_eq!(show(&unit, "TasksMax"), "50");
        assert_eq!(in_file(&c, "pids", "pids.max"), "50");
        if is_v2() {
            assert_eq!(show(&unit, "MemoryLow"), (limit / 2).to_string());
            assert_eq!(in_file(&c, "memory", "memory.low"), (limit / 2).to_string());
        }
    };
    look();
    systemd("systemctl", &["daemon-reload"]);
    look();
    let forks = c.exec("forks 100").json();
    assert_eq!((&forks["made"], &forks["refusal"]), (&json!(48), &json!("EAGAIN")));
}

#[test]
fn cpu_is_a_property_and_in_the_files() {
    if !limited("cpu") {
        return;
    }
    let c = start(
        bundle().set("/linux/resources/cpu", json!({"shares": 512, "quota": 42_000, "period": 100_000})),
    );
    let unit = unit(&c);
    assert_eq!(show(&unit, "CPUQuotaPerSecUSec"), "420ms");
    if is_v2() {
        let weight = in_file(&c, "cpu", "cpu.weight");
        assert_eq!(show(&unit, "CPUWeight"), weight);
        assert_eq!(in_file(&c, "cpu", "cpu.max"), "42000 100000");
        systemd("systemctl", &["daemon-reload"]);
        assert_eq!(in_file(&c, "cpu", "cpu.weight"), weight);
        assert_eq!(in_file(&c, "cpu", "cpu.max"), "42000 100000");
    } else {
        assert_eq!(show(&unit, "CPUShares"), "512");
        assert_eq!(in_file(&c, "cpu", "cpu.shares"), "512");
        assert_eq!(in_file(&c, "cpu", "cpu.cfs_quota_us"), "42000");
    }
}

#[test]
fn a_quota_finer_than_systemds_is_rounded_in_the_file_too() {
    if !limited("cpu") {
        return;
    }
    let c = start(bundle().set("/linux/resources/cpu", json!({"quota": 12_345, "period": 100_000})));
    let file = if is_v2() { "cpu.max" } else { "cpu.cfs_quota_us" };
    let want =
        |quota: i64, period: i64| if is_v2() { format!("{quota} {period}") } else { quota.to_string() };
    peer_may_differ("runc crun", "rounds since 1.2, or does not", || {
        assert_eq!(in_file(&c, "cpu", file), want(13_000, 100_000));
        c.call("update --cpu-period 900000 --cpu-quota 50000").ok();
        assert_eq!(in_file(&c, "cpu", file), want(54_000, 900_000));
        assert_eq!(show(&unit(&c), "CPUQuotaPerSecUSec"), "60ms");
        // What was given counts for the next one, not what was made of it.
        c.call("update --cpu-period 100000").ok();
        assert_eq!(in_file(&c, "cpu", file), want(50_000, 100_000));
    });
    let before = in_file(&c, "cpu", file);
    systemd("systemctl", &["daemon-reload"]);
    peer_may_differ("runc crun", "does not round", || assert_eq!(in_file(&c, "cpu", file), before));
}

#[test]
fn cpus_are_a_property_and_in_the_files() {
    if !limited("cpuset") {
        return;
    }
    let c = start(bundle().set("/linux/resources/cpu", json!({"cpus": "0", "mems": "0"})));
    assert_eq!(in_file(&c, "cpuset", "cpuset.cpus"), "0");
    if peer() != Peer::Crun || is_v2() {
        assert_eq!(show(&unit(&c), "AllowedCPUs"), "0");
        assert_eq!(show(&unit(&c), "AllowedMemoryNodes"), "0");
    }
    assert_eq!(c.exec("status Cpus_allowed_list").json()["Cpus_allowed_list"], "0");
    systemd("systemctl", &["daemon-reload"]);
    assert_eq!(c.exec("status Cpus_allowed_list").json()["Cpus_allowed_list"], "0");
}

#[test]
fn unified_keys_are_properties_and_in_the_files() {
    if !limited("memory") {
        return;
    }
    if !is_v2() {
        return skip("v2 only");
    }
    let keys = json!({"memory.high": "50000000", "memory.min": "4096", "memory.oom.group": "1"});
    let c = start(bundle().set("/linux/resources/unified", keys));
    systemd("systemctl", &["daemon-reload"]);
    let unit = unit(&c);
    assert_eq!(
        (show(&unit, "MemoryHigh"), in_file(&c, "memory", "memory.high")),
        ("50000000".into(), "49999872".into())
    );
    assert_eq!(
        (show(&unit, "MemoryMin"), in_file(&c, "memory", "memory.min")),
        ("4096".into(), "4096".into())
    );
    assert_eq!(
        (show(&unit, "OOMPolicy"), in_file(&c, "memory", "memory.oom.group")),
        ("kill".into(), "1".into())
    );
}

#[test]
fn a_memory_limit_kills_and_the_failed_unit_is_removed() {
    if !limited("memory") {
        return;
    }
    let limit = 16 << 20;
    let b = bundle().does("alloc 64").set("/linux/resources/memory", json!({"limit": limit, "swap": limit}));
    let c = start(b);
    assert_eq!(c.wait(), 128 + 9);
    let id = c.id.clone();
    c.call("delete").ok();
    gone(&id);
}

/// 99:1 may be opened, 99:2 not: no driver has either, so what may be opened is ENXIO.
fn with_devices(b: Bundle) -> Bundle {
    let node = |n: i64| json!({"path": format!("/dev/t{n}"), "type": "c", "major": 99, "minor": n, "fileMode": 0o666});
    b.push("/linux/devices", node(1))
        .push("/linux/devices", node(2))
        .push("/linux/resources/devices", json!({"allow": false, "access": "rwm"}))
        .push(
            "/linux/resources/devices",
            json!({"allow": true, "type": "c", "major": 99, "minor": 1, "access": "rwm"}),
        )
}

#[track_caller]
fn devices_hold(c: &Container) {
    let seen = c.exec("open r /dev/t1 /dev/t2 /dev/null").json();
    assert_eq!(seen, json!(["ENXIO", "EPERM", "ok"]));
}

#[test]
fn a_reload_loses_no_device_and_opens_none() {
    if !possible() {
        return;
    }
    let c = start(with_devices(bundle()));
    devices_hold(&c);
    systemd("systemctl", &["daemon-reload"]);
    devices_hold(&c);
    // Another property makes systemd apply all of them again.
    systemd("systemctl", &["set-property", "--runtime", &unit(&c), "IPAccounting=no", "CPUWeight=50"]);
    systemd("systemctl", &["daemon-reload"]);
    devices_hold(&c);
}

#[test]
fn what_systemd_cannot_deny_is_denied() {
    if !possible() {
        return;
    }
    if !is_v2() {
        return skip("v2 only: v1 has one list of exceptions, and systemd writes it anew");
    }
    peer_differs("runc crun", "a rule that denies what another allows is lost, or refused", || {
        let deny = json!({"allow": false, "type": "c", "major": 99, "minor": 2, "access": "r"});
        let allow = json!({"allow": true, "type": "c", "major": 99, "access": "rwm"});
        let b = with_devices(bundle())
            .push("/linux/resources/devices", allow)
            .push("/linux/resources/devices", deny);
        let c = start(b);
        devices_hold(&c);
        systemd("systemctl", &["daemon-reload"]);
        devices_hold(&c);
    });
}

#[test]
fn an_update_changes_properties_and_files_and_no_device() {
    if !limited("pids") {
        return;
    }
    let c = start(with_devices(bundle()).set("/linux/resources/pids", json!({"limit": 50})));
    if !is_v2() {
        // As a GPU's toolkit does behind the runtime's back; systemd starts from its own list with every property.
        std::fs::write(dir(&c, "devices").join("devices.allow"), "c 99:2 r").unwrap();
        assert_eq!(c.exec("open r /dev/t2").json(), json!(["ENXIO"]));
    }
    // Engines do not say again that it is systemd's.
    c.call("update --pids-limit 40").ok();
    let look = || {
        assert_eq!(show(&unit(&c), "TasksMax"), "40");
        assert_eq!(in_file(&c, "pids", "pids.max"), "40");
    };
    look();
    if is_v2() {
        devices_hold(&c);
    } else {
        peer_differs("runc", "an update loses the devices that others have added", || {
            assert_eq!(c.exec("open r /dev/t1 /dev/t2").json(), json!(["ENXIO", "ENXIO"]));
        });
    }
    systemd("systemctl", &["daemon-reload"]);
    look();
}

#[test]
fn annotations_are_properties() {
    if !possible() {
        return;
    }
    let annotation = |name: &str| format!("/annotations/org.systemd.property.{name}");
    let b = bundle()
        .set(&annotation("TimeoutStopSec"), json!("uint64 7"))
        .set(&annotation("CollectMode"), json!("'inactive-or-failed'"))
        .set(&annotation("KillSignal"), json!("12"))
        .set(&annotation("Documentation"), json!("['http://a', 'man:b(1)']"));
    let c = create(b);
    for (property, want) in [
        ("TimeoutStopUSec", "7s"),
        ("CollectMode", "inactive-or-failed"),
        ("KillSignal", "12"),
        ("Documentation", "http://a \"man:b(1)\""),
    ] {
        assert_eq!(show(&unit(&c), property), want);
    }
    for (name, value) in
        [("TimeoutStopSec", "'x'"), ("a b", "1"), ("CollectMode", "[1"), ("NoSuchThing", "1")]
    {
        let b = bundle().set(&annotation(name), json!(value));
        let out = launch(&b, "create").run().fails();
        if peer() == Peer::Tare {
            out.says(name);
        }
        gone(&b.id);
    }
}

#[test]
fn a_unit_that_has_failed_is_no_obstacle() {
    if !possible() {
        return;
    }
    let b = bundle();
    let unit = unit(&b);
    // Too long for systemd, so it has failed.
    let words = ["--scope", "-p", "RuntimeMaxSec=100ms", "--unit", &unit, "sleep", "60"];
    let _ = Cmd::new("systemd-run", words).run();
    assert!(until(Duration::from_secs(5), || show(&unit, "ActiveState") == "failed"));
    let c = create(b);
    assert_eq!(show(&unit, "ActiveState"), "active");
    drop(c);
    assert_eq!(units(&unit), "");
}

#[test]
fn a_unit_that_fails_is_removed_by_delete() {
    if !possible() {
        return;
    }
    // SIGTERM says nothing to process 1 of a pid namespace.
    let most = format!("uint64 {}", 300_000 * slow());
    let b = bundle()
        .set("/annotations/org.systemd.property.KillSignal", json!("9"))
        .set("/annotations/org.systemd.property.RuntimeMaxUSec", json!(most));
    let c = start(b);
    assert!(until(Duration::from_secs(10), || show(&unit(&c), "ActiveState") == "failed"));
    let id = c.id.clone();
    c.call("delete --force").ok();
    gone(&id);
}

#[test]
fn somebody_elses_unit_is_left_alone() {
    if !possible() {
        return;
    }
    let first = start(bundle());
    let other = bundle().set("/linux/cgroupsPath", json!(format!("system.slice:it:{}", first.id)));
    let out = launch(&other, "create").run().fails();
    if peer() == Peer::Tare {
        out.says(&unit(&first));
    }
    assert!(!other.root.join(&other.id).exists());
    other.call("delete --force").ok();
    assert_eq!(first.status(), "running");
    assert_eq!(show(&unit(&first), "ActiveState"), "active");
    first.exec("print x").ok();
}

#[test]
fn a_cgroup_that_was_there_and_is_frozen_or_in_use_is_refused() {
    if !possible() {
        return;
    }
    let parent = {
        let c = create(bundle());
        dir(&c, "freezer").parent().unwrap().to_owned()
    };
    for frozen in [true, false] {
        let b = bundle();
        let stale = parent.join(unit(&b));
        std::fs::create_dir(&stale).unwrap();
        let (file, on, off) =
            if is_v2() { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
        let mut sleep = None;
        if frozen {
            std::fs::write(stale.join(file), on).unwrap();
        } else {
            let running = Cmd::new("sleep", ["1000"]).spawn();
            std::fs::write(stale.join("cgroup.procs"), running.pid().to_string()).unwrap();
            sleep = Some(running);
        }
        peer_may_differ("runc crun", "hangs, or takes it", || {
            let out = launch(&b, "create").timeout(Duration::from_secs(5)).run().fails();
            let words = if frozen {
                "container's cgroup unexpectedly frozen"
            } else {
                "container's cgroup is not empty"
            };
            assert!(peer() != Peer::Tare || out.stderr.contains(words), "{out:?}");
            assert!(!b.root.join(&b.id).exists() && stale.exists());
        });
        let _ = std::fs::write(stale.join(file), off);
        drop(sleep);
        b.call("delete --force");
        assert!(until(TIMEOUT, || std::fs::remove_dir(&stale).is_ok() || !stale.exists()));
    }
}

#[test]
fn a_unit_of_a_container_of_runc_is_stopped_by_delete() {
    if !possible() || !tare_only("containers of other runtimes") {
        return;
    }
    let b = bundle();
    b.write();
    let (root, path, pid_file) = (b.root.clone(), b.path(), b.pid_file());
    let words = [
        "--systemd-cgroup",
        "create",
        "--bundle",
        path.to_str().unwrap(),
        "--pid-file",
        pid_file.to_str().unwrap(),
    ];
    let output =
        Cmd::new("runc", ["--root", root.to_str().unwrap()].iter().chain(&words)).arg(&b.id).run().ok();
    let c = Container::created(b, output);
    assert_eq!(show(&unit(&c), "ActiveState"), "active");
    let id = c.id.clone();
    c.call("delete --force").ok();
    gone(&id);
}

#[test]
fn a_create_that_was_killed_is_undone_by_delete() {
    if !possible() {
        return;
    }
    let b = bundle().hook("createRuntime", "sleep 15000");
    let create = launch(&b, "create").spawn();
    assert!(until(Duration::from_secs(10), || show(&unit(&b), "ActiveState") == "active"));
    create.signal(nix::sys::signal::Signal::SIGKILL);
    let _ = create.wait();
    peer_may_differ("runc crun", "what a killed create leaves cannot always be deleted", || {
        b.call("delete --force").ok();
        gone(&b.id);
    });
}

#[test]
fn hooks_that_fail_leave_no_unit() {
    if !possible() {
        return;
    }
    let b = bundle().hook("createRuntime", "exit 1");
    launch(&b, "create").run().fails();
    assert!(!b.root.join(&b.id).exists());
    peer_may_differ("crun", "the unit is left until systemd sees that it is empty", || gone(&b.id));
}

#[test]
fn exec_and_all_that_comes_often_need_no_bus() {
    if !possible() {
        return;
    }
    let c = start(bundle());
    let id = c.id.as_str();
    alone(&c, LOOKS_BOOTED, &["exec", id, "/payload", "print", "x"]).run().ok();
    let at = c.exec("read /proc/self/cgroup").ok();
    assert_eq!(at.json(), c.exec("read /proc/1/cgroup").json());
    for verb in ["state", "pause", "resume", "ps"] {
        alone(&c, LOOKS_BOOTED, &[verb, id]).run().ok();
    }
    alone(&c, LOOKS_BOOTED, &["kill", id, "KILL"]).run().ok();
    c.until_status("stopped");
    if tare_only("delete without systemd: what systemd does not remove it forgets itself") {
        alone(&c, LOOKS_BOOTED, &["delete", id]).run().ok();
        assert!(until(Duration::from_secs(5), || units(id).is_empty()), "{}", units(id));
    }
}

#[test]
fn without_systemd_the_error_says_so() {
    if !possible() {
        return;
    }
    let b = bundle();
    b.write();
    let out = alone(&b, ":", &[FLAG, "create", "--bundle", b.path().to_str().unwrap(), &b.id]).run().fails();
    if peer() == Peer::Tare {
        assert!(out.line().contains("connect to systemd: this host does not run systemd"), "{out:?}");
    }
    assert!(!b.root.join(&b.id).exists());
    assert!(out.elapsed < Duration::from_secs(5) * slow());
}

#[test]
fn by_the_bus_where_systemd_itself_does_not_listen() {
    if !possible() {
        return;
    }
    // An address that is no file keeps nobody from the bus either.
    let b = bundle();
    b.write();
    let script = "mount -t tmpfs none /run/systemd && exec \"$@\"";
    let (root, path, runtime) = (b.root.clone(), b.path(), runtime_path());
    let mut words = vec![
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        runtime.to_str().unwrap(),
        "--root",
        root.to_str().unwrap(),
    ];
    words.extend([FLAG, "create", "--bundle", path.to_str().unwrap(), &b.id]);
    if peer() == Peer::Runc {
        return skip("runc looks for the folder");
    }
    let output = Cmd::new("unshare", words).run().ok();
    let c = Container::created(b, output);
    assert_eq!(show(&unit(&c), "ActiveState"), "active");
}

#[test]
fn fifty_containers_leave_nothing() {
    if !possible() {
        return;
    }
    let mut ids = Vec::new();
    for _ in 0..50 {
        let c = start(bundle().does("exit 0"));
        ids.push(c.id.clone());
    }
    ids.iter().for_each(|id| gone(id));
}

#[test]
fn pause_and_kill_do_as_ever() {
    if !possible() {
        return;
    }
    let c = start(bundle());
    c.call("pause").ok();
    assert_eq!(c.status(), "paused");
    c.call("resume").ok();
    c.call("pause").ok();
    let id = c.id.clone();
    c.call("delete --force").ok();
    gone(&id);
}

#[test]
fn a_user_has_units_too() {
    if !possible() {
        return;
    }
    if !is_v2() {
        return skip("v2 only");
    }
    if !Path::new("/run/user/1/systemd/private").exists() {
        return skip("no systemd of a user");
    }
    // One id is all there is in its user namespace.
    let b = bundle().set("/linux/cgroupsPath", json!(format!(":it:{}", Bundle::new().id)));
    let b = b.no_ns("network").no_mount("/sys").no_mount("/dev/mqueue").no_mount("/dev/pts");
    b.write();
    systemd(
        "chown",
        &["-R", "daemon", b.path().to_str().unwrap(), b.root.parent().unwrap().to_str().unwrap()],
    );
    let runtime = format!("{} --root {}", runtime_path().display(), b.root.display());
    let (bundle, id) = (b.path().display().to_string(), &b.id);
    // All of it in one user namespace, as an engine does it.
    let script = format!(
        "set -e
        list() {{ systemctl --user list-units --all --plain --no-legend 'it-*'; echo; }}
        {runtime} {FLAG} create --bundle {bundle} {id} >/dev/null
        {runtime} start {id}
        list
        {runtime} exec {id} /payload read /proc/self/cgroup
        {runtime} exec {id} /payload read /proc/1/cgroup
        {runtime} delete --force {id}
        list"
    );
    let fixed =
        ["--reuid=1", "--regid=1", "--clear-groups", "--", "env", "XDG_RUNTIME_DIR=/run/user/1", "HOME=/"];
    let words = fixed.into_iter().chain(["unshare", "--user", "--map-root-user", "sh", "-c", &script]);
    let out = Cmd::new("setpriv", words).run().ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert!(lines[0].contains(".scope loaded active running"), "{out:?}");
    assert!(lines[2].contains("0::/"), "{out:?}");
    assert_eq!(lines[2], lines[3]);
    assert_eq!(*lines.last().unwrap(), "", "{out:?}");
}
