//! Cgroups on the real kernel, as root: every limit is shown by what it does to a process.
//!
//! On a hybrid host each test runs twice: on the v1 hierarchies with their v2 companion, and on the v2
//! hierarchy alone, as if nothing else were mounted. What a layout lacks is left out and said on stderr.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

use oci_spec::runtime::LinuxResources;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tare::cgroup::{Entry, Layout, Manager, MountView, Record, SubCgroups};
use tare::error::{Errno, Kind};
use tare::plan::cgroup::{CgroupPlan, build};

const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup that is gone when the test is over, however it ends.
struct Guard(Manager);

impl std::ops::Deref for Guard {
    type Target = Manager;
    fn deref(&self) -> &Manager {
        &self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill(libc::SIGKILL);
        let _ = self.0.wait_empty(Duration::from_secs(5));
        if let Err(error) = self.0.delete()
            && !std::thread::panicking()
        {
            panic!("cleaning up: {error}");
        }
    }
}

/// The layouts this host can show: its own, and pure v2.
fn layouts() -> Vec<Layout> {
    assert!(rustix::process::geteuid().is_root(), "these tests need root");
    let own = Layout::detect(Path::new(ROOT)).unwrap();
    let mut layouts = Vec::new();
    if !own.is_v2() {
        match Layout::detect(&Path::new(ROOT).join("unified")) {
            Ok(two) if two.is_v2() => layouts.push(two),
            _ => eprintln!("skipped: no v2 hierarchy on this host"),
        }
    }
    layouts.push(own);
    layouts
}

/// The v1 layouts only.
fn v1_layouts() -> impl Iterator<Item = Layout> {
    let layouts = layouts();
    if layouts.iter().all(Layout::is_v2) {
        eprintln!("skipped: no v1 hierarchy on this host");
    }
    layouts.into_iter().filter(|layout| !layout.is_v2())
}

fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("tare-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn plan_at(path: &str, resources: &str) -> CgroupPlan {
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    build(Some(path), "id", Some(&resources), &[]).unwrap()
}

fn plan(resources: &str) -> CgroupPlan {
    plan_at(&format!("/{}", name()), resources)
}

/// A policy that allows everything, for the tests that are not about devices.
const OPEN: &str = r#""devices":[{"allow":true,"access":"rwm"}]"#;

fn open_plan(more: &str) -> CgroupPlan {
    plan(&format!("{{{OPEN}{more}}}"))
}

fn create(layout: &Layout, plan: &CgroupPlan) -> Guard {
    Guard(Manager::create(layout, plan).unwrap_or_else(|error| panic!("{error}")))
}

fn paths(manager: &Manager) -> Vec<PathBuf> {
    manager.record().paths.into_values().map(PathBuf::from).collect()
}

/// A command that runs in the cgroup.
fn command(entry: Entry, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Command cannot clone into a cgroup; `clone3_and_tasks` shows that.
    let procs = entry.into.as_ref().map(|dir| format!("/proc/self/fd/{}/cgroup.procs", dir.as_raw_fd()));
    // SAFETY: the closure only writes to files; the allocator is usable in the child of glibc's fork.
    unsafe {
        command.pre_exec(move || {
            if let Some(procs) = &procs {
                std::fs::write(procs, "0")?;
            }
            entry
                .join()
                .map_err(|error| std::io::Error::from_raw_os_error(error.errno().map_or(255, |e| e as i32)))
        })
    };
    command
}

fn run(manager: &Manager, script: &str) -> std::process::Output {
    command(manager.entry().unwrap(), "sh", &["-c", script]).output().unwrap()
}

fn spawn(manager: &Manager, script: &str) -> Child {
    command(manager.entry().unwrap(), "sh", &["-c", script]).spawn().unwrap()
}

fn busy(manager: &Manager) -> Child {
    spawn(manager, "while :; do :; done")
}

/// User and system time of a process, in seconds.
fn cpu_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

#[test]
fn a_fork_past_the_pids_limit_fails() {
    for layout in v1_layouts() {
        let group = create(&layout, &open_plan(r#","pids":{"limit":4}"#));
        let forks = "for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait; echo all";
        let output = run(&group, forks);
        assert!(!String::from_utf8_lossy(&output.stdout).contains("all"), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).to_lowercase().contains("fork"), "{output:?}");
        // The same without the limit, so that it is the limit that did it.
        group.apply(&open_plan(r#","pids":{"limit":-1}"#)).unwrap();
        assert_eq!(run(&group, forks).stdout, b"all\n");
    }
}

#[test]
fn memory_above_the_limit_is_killed_and_reported() {
    for layout in v1_layouts() {
        let group = create(&layout, &open_plan(r#","memory":{"limit":16777216,"swap":16777216}"#));
        assert_eq!(run(&group, "head -c 4M /dev/zero | tail -c 1 | wc -c").stdout, b"1\n");
        assert!(!group.oom_killed().unwrap());
        let output = command(group.entry().unwrap(), "tail", &["/dev/zero"]).output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{output:?}");
        assert!(group.oom_killed().unwrap());
    }
}

#[test]
fn limits_are_changed_in_an_order_the_kernel_accepts() {
    for layout in v1_layouts() {
        let memory = |n: u64| format!(r#","memory":{{"limit":{n},"swap":{n}}}"#);
        let cpu = |quota: u64, period: u64| {
            format!(r#","cpu":{{"quota":{quota},"period":{period},"burst":{quota}}}"#)
        };
        let group = create(&layout, &open_plan(&(memory(32 << 20) + &cpu(20_000, 100_000))));
        // Up, where swap goes first, and down, where memory does; burst and quota likewise.
        group.apply(&open_plan(&(memory(64 << 20) + &cpu(90_000, 200_000)))).unwrap();
        group.apply(&open_plan(&(memory(16 << 20) + &cpu(10_000, 50_000)))).unwrap();
        group.apply(&open_plan(r#","memory":{"limit":-1}"#)).unwrap();
        let output =
            command(group.entry().unwrap(), "sh", &["-c", "head -c 40M /dev/zero | tail -c 30M | wc -c"]);
        let output = { output }.output().unwrap();
        assert_eq!(output.stdout, format!("{}\n", 30 << 20).as_bytes(), "{output:?}");
    }
}

#[test]
fn a_limit_below_the_usage_is_rejected_when_asked_to_check() {
    for layout in v1_layouts() {
        let group = create(&layout, &open_plan(""));
        let mut child = spawn(&group, "x=$(head -c 8M /dev/zero | tr '\\0' x); echo; sleep 30");
        let mut first = [0u8];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        let error =
            group.apply(&open_plan(r#","memory":{"limit":1048576,"checkBeforeUpdate":true}"#)).unwrap_err();
        assert!(
            error.to_string().starts_with("linux.resources.memory.limit: rejecting memory limit 1048576 <= ")
        );
        assert!(child.try_wait().unwrap().is_none());
        group.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_cpu_quota_holds() {
    for layout in v1_layouts() {
        let group = create(&layout, &open_plan(r#","cpu":{"quota":20000,"period":100000}"#));
        let mut child = busy(&group);
        let (start, before) = (Instant::now(), cpu_time(child.id()));
        std::thread::sleep(Duration::from_millis(1500));
        let share = (cpu_time(child.id()) - before) / start.elapsed().as_secs_f64();
        group.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        assert!(share < 0.26, "{share}");
        let stat =
            std::fs::read_to_string(PathBuf::from(&group.record().paths["cpu"]).join("cpu.stat")).unwrap();
        assert!(!stat.contains("nr_throttled 0\n"), "{stat}");
    }
}

#[test]
fn a_cpuset_binds_and_is_inherited() {
    for layout in v1_layouts() {
        let allowed = |group: &Manager| {
            let output = run(group, "grep Cpus_allowed_list /proc/self/status");
            String::from_utf8(output.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned()
        };
        let path = format!("/{}/a/b", name());
        let group = create(&layout, &plan_at(&path, &format!("{{{OPEN},\"cpu\":{{\"cpus\":\"0\"}}}}")));
        assert_eq!(allowed(&group), "0");
        group.delete().unwrap();
        let group = create(&layout, &plan_at(&path, &format!("{{{OPEN}}}")));
        assert_ne!(allowed(&group), "");
        group.delete().unwrap();
        remove_parents(&group, 2);
    }
}

/// Parents a runtime makes stay, as with runc; here they are ours to remove.
fn remove_parents(group: &Manager, levels: usize) {
    for path in paths(group) {
        for parent in path.ancestors().skip(1).take(levels) {
            std::fs::remove_dir(parent).unwrap();
        }
    }
}

/// /dev/kmsg is not in the default list.
const DENIED: &str = "/dev/kmsg";

fn opens(group: &Manager, device: &str) -> bool {
    let output = run(group, &format!(": < {device}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || stderr.contains("Operation not permitted"), "{output:?}");
    output.status.success()
}

#[test]
fn a_denied_device_fails_to_open_and_an_allowed_one_opens() {
    for layout in layouts() {
        let closed = r#"{"allow":false,"access":"rwm"}"#;
        let group = create(&layout, &plan(&format!(r#"{{"devices":[{closed}]}}"#)));
        for device in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
            assert!(opens(&group, device), "{device}");
        }
        assert!(!opens(&group, DENIED));
        // mknod is allowed for every device, as in runc; opening what was made is not.
        let node = std::env::temp_dir().join(name());
        let script = format!("mknod {0} c 1 11 && : < {0}", node.display());
        let output = run(&group, &script);
        assert!(node.exists(), "{output:?}");
        std::fs::remove_file(&node).unwrap();
        assert!(!output.status.success());

        let read = r#"{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}"#;
        let group = create(&layout, &plan(&format!(r#"{{"devices":[{closed},{read}]}}"#)));
        assert!(opens(&group, DENIED));
        assert!(!run(&group, &format!(": > {DENIED}")).status.success());

        let open = r#"{"allow":true,"access":"rwm"}"#;
        let but = r#"{"allow":false,"type":"c","major":1,"minor":11,"access":"rwm"}"#;
        let group = create(&layout, &plan(&format!(r#"{{"devices":[{open},{but}]}}"#)));
        assert!(!opens(&group, DENIED));
        assert!(opens(&group, "/dev/null"));
        // No rules at all: the defaults.
        let group = create(&layout, &plan("{}"));
        assert!(!opens(&group, DENIED));
    }
}

#[test]
fn an_empty_cgroup_that_is_there_is_used_again_with_new_rules() {
    for layout in layouts() {
        let path = format!("/{}", name());
        let closed = create(&layout, &plan_at(&path, r#"{"devices":[{"allow":false,"access":"rwm"}]}"#));
        assert!(!opens(&closed, DENIED));
        let rule = r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"rw"}]}"#;
        let changed = create(&layout, &plan_at(&path, rule));
        assert!(opens(&changed, DENIED), "the rules of before are still there");
        let all = create(&layout, &plan_at(&path, &format!("{{{OPEN}}}")));
        assert!(opens(&all, DENIED));
    }
}

#[test]
fn a_cgroup_with_processes_or_frozen_is_refused() {
    for layout in layouts() {
        let plan = open_plan("");
        let group = create(&layout, &plan);
        let mut child = spawn(&group, "exec sleep 30");
        let error = Manager::create(&layout, &plan).unwrap_err();
        assert_eq!(error.kind(), Kind::State);
        assert!(
            error.to_string().starts_with("container's cgroup is not empty: 1 process(es) found"),
            "{error}"
        );
        assert!(paths(&group).iter().all(|path| path.exists()), "a refused create has removed the cgroup");
        group.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        group.freeze().unwrap();
        let error = Manager::create(&layout, &plan).unwrap_err().to_string();
        assert!(error.starts_with("container's cgroup unexpectedly frozen"), "{error}");
        group.thaw().unwrap();
    }
}

#[test]
fn a_failed_create_leaves_nothing_behind() {
    for layout in layouts() {
        let top = name();
        let bad =
            if layout.is_v2() { r#""unified":{"nonsense.max":"1"}"# } else { r#""cpu":{"cpus":"4000"}"# };
        let plan = plan_at(&format!("/{top}/a/b"), &format!("{{{OPEN},{bad}}}"));
        let error = Manager::create(&layout, &plan).unwrap_err().to_string();
        let field = if layout.is_v2() {
            "linux.resources.unified.nonsense.max: "
        } else {
            "linux.resources.cpu.cpus: "
        };
        assert!(error.starts_with(field), "{error}");
        let good = create(&layout, &plan_at(&format!("/{top}-2"), &format!("{{{OPEN}}}")));
        for path in paths(&good) {
            assert!(!path.with_file_name(&top).exists(), "{path:?}");
        }
    }
}

#[test]
fn lack_of_permission_is_named() {
    for layout in layouts() {
        let plan = open_plan("");
        // SAFETY: glibc's fork leaves the allocator usable; the child leaves by _exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: the raw call changes this process only, which has one thread.
            let dropped = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) } == 0;
            let error = Manager::create(&layout, &plan).err();
            let named = error.is_some_and(|error| {
                let words = error.to_string();
                error.errno() == Some(Errno::EACCES)
                    && words.starts_with(
                        "no permission: the cgroup is not delegated to this user: create cgroup /",
                    )
            });
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(i32::from(!(dropped && named))) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
    }
}

#[test]
fn a_limit_without_its_controller_is_named() {
    for layout in layouts() {
        let (resources, field) = match layout.is_v2() {
            true => {
                (r#""unified":{"nonsense.max":"1"}"#, "linux.resources.unified.nonsense.max: cannot be set")
            }
            false => (r#""rdma":{"x":{"hcaHandles":1}}"#, "linux.resources.rdma.x: cannot be set"),
        };
        let error = Manager::create(&layout, &open_plan(&format!(",{resources}"))).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
        assert_eq!(error.kind(), Kind::Unsupported);
    }
    for layout in v1_layouts() {
        let error = Manager::create(&layout, &open_plan(r#","unified":{"pids.max":"1"}"#)).unwrap_err();
        assert_eq!(error.to_string(), "linux.resources.unified: cannot be used with cgroup v1");
    }
}

#[test]
fn frozen_processes_stand_still_and_can_be_killed() {
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        let mut child = busy(&group);
        assert!(!group.is_frozen().unwrap());
        group.freeze().unwrap();
        assert!(group.is_frozen().unwrap());
        let before = cpu_time(child.id());
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(cpu_time(child.id()), before);
        group.thaw().unwrap();
        assert!(!group.is_frozen().unwrap());
        std::thread::sleep(Duration::from_millis(500));
        assert!(cpu_time(child.id()) > before);
        group.freeze().unwrap();
        group.kill(libc::SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(group.wait_empty(Duration::from_secs(5)).unwrap());
    }
}

#[test]
fn one_frozen_by_the_v1_freezer_can_be_killed_too() {
    for layout in v1_layouts() {
        let group = create(&layout, &open_plan(""));
        let mut child = busy(&group);
        let state = PathBuf::from(&group.record().paths["freezer"]).join("freezer.state");
        std::fs::write(&state, "FROZEN").unwrap();
        while std::fs::read_to_string(&state).unwrap().trim() != "FROZEN" {}
        assert!(group.is_frozen().unwrap());
        group.kill(libc::SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}

/// The v1 hierarchies without their companion, as on a host that has none.
fn without_v2(record: &Record) -> Manager {
    let mut record = record.clone();
    assert!(record.paths.remove("").is_some());
    Manager::open(&record).unwrap()
}

#[test]
fn v1_alone_freezes_kills_and_waits_too() {
    for layout in v1_layouts() {
        let group = create(&layout, &open_plan(""));
        let alone = without_v2(&group.record());
        let mut child = spawn(&group, "sh -c 'while :; do :; done' & while :; do :; done");
        while alone.pids().unwrap().len() < 2 {}
        alone.freeze().unwrap();
        assert!(alone.is_frozen().unwrap());
        assert!(!alone.wait_empty(Duration::from_millis(20)).unwrap());
        alone.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        assert!(alone.wait_empty(Duration::from_secs(5)).unwrap());
        assert_eq!(alone.pids().unwrap(), [0; 0]);
    }
}

#[test]
fn what_the_payload_has_frozen_itself_can_be_killed() {
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        let record = group.record();
        let (dir, file, word) = match record.paths.get("freezer") {
            Some(dir) => (PathBuf::from(dir), "freezer.state", "FROZEN"),
            None => (PathBuf::from(&record.paths[""]), "cgroup.freeze", "1"),
        };
        let inner = dir.join("own/deep");
        std::fs::create_dir_all(&inner).unwrap();
        let mut child = busy(&group);
        std::fs::write(inner.join("cgroup.procs"), child.id().to_string()).unwrap();
        std::fs::write(inner.join(file), word).unwrap();
        group.kill(libc::SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}

#[test]
fn who_holds_a_cgroup_is_named() {
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        let mut child = spawn(&group, "exec sleep 30");
        let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        while name(child.id()) != "sleep\n" {}
        let start = Instant::now();
        let error = group.delete_within(Duration::from_millis(100)).unwrap_err();
        assert!((100..3000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        assert_eq!(error.errno(), Some(Errno::EBUSY));
        let words = format!("still in use by 1 process(es): {} (sleep): ", child.id());
        assert!(
            error.to_string().starts_with("remove cgroup /") && error.to_string().contains(&words),
            "{error}"
        );
        group.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}

/// Deeper than a path can be long, and than a recursion would go.
#[test]
fn a_nest_without_end_is_removed() {
    const DEPTH: usize = 1000;
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        let record = group.record();
        let top = PathBuf::from(record.paths.get("devices").or(record.paths.get("")).unwrap());
        let mut at = rustix::fs::open(&top, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&at, "nest", rustix::fs::Mode::RWXU).unwrap();
            at =
                rustix::fs::openat(&at, "nest", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        }
        // Someone lives at the bottom.
        let procs = format!("/proc/self/fd/{}/cgroup.procs", at.as_raw_fd());
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        std::fs::write(procs, child.id().to_string()).unwrap();
        drop(at);
        let alone = match record.paths.contains_key("") {
            true if !layout.is_v2() => without_v2(&record),
            _ => Manager::open(&record).unwrap(),
        };
        assert_eq!(alone.pids().unwrap(), [child.id() as i32]);
        alone.kill(libc::SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        group.delete().unwrap();
        assert!(!top.exists());
    }
}

#[test]
fn a_signal_reaches_every_process() {
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        let mut child =
            spawn(&group, "trap 'echo got; exit 3' USR1; sleep 30 & echo; while :; do wait; done");
        let mut first = [0u8];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        // Until it is really sleep, the shell's trap is in force there too.
        while !group.pids().unwrap().iter().any(|pid| name(pid) == "sleep\n") {}
        group.kill(libc::SIGUSR1).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b"got\n"[..]));
        assert!(group.wait_empty(Duration::from_secs(5)).unwrap(), "sleep has outlived SIGUSR1");
        assert!(!group.is_frozen().unwrap());
    }
}

#[test]
fn delete_waits_for_the_last_process_and_removes_inner_cgroups() {
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        for path in paths(&group) {
            std::fs::create_dir_all(path.join("payload/deep")).unwrap();
            std::fs::create_dir(path.join("other")).unwrap();
        }
        let mut child = spawn(&group, "exec sleep 0.3");
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        let start = Instant::now();
        group.delete().unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(paths(&group).iter().all(|path| !path.exists()));
        reaper.join().unwrap();
        // Again, as `delete --force` may.
        group.delete().unwrap();
        assert_eq!(group.pids().unwrap(), [0; 0]);
        assert!(!group.is_frozen().unwrap() && !group.oom_killed().unwrap());
        group.kill(libc::SIGKILL).unwrap();
    }
}

#[test]
fn processes_are_listed_and_the_record_finds_them_again() {
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        let text = serde_json::to_string(&group.record()).unwrap();
        let again = Manager::open(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(again.record(), group.record());
        let mut child = spawn(&again, "exec sleep 30");
        assert_eq!(group.pids().unwrap(), [child.id() as i32]);
        assert!(!again.wait_empty(Duration::from_millis(1)).unwrap());
        // The process is in the cgroup of every hierarchy.
        let own = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
        let known = group.record().paths;
        for line in own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next().unwrap(), fields.next().unwrap());
            if let Some(known) = names.split(',').find_map(|name| known.get(name)) {
                assert!(known.ends_with(path), "{line} {known}");
            }
        }
        again.kill(libc::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    }
}

#[test]
fn without_a_path_the_cgroup_is_relative_to_the_runtimes_own() {
    for layout in layouts() {
        let id = name();
        let resources: LinuxResources = serde_json::from_str(&format!("{{{OPEN}}}")).unwrap();
        let group = create(&layout, &build(None, &id, Some(&resources), &[]).unwrap());
        assert!(run(&group, "true").status.success());
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        for line in own.lines().filter(|line| !line.starts_with("0:")) {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next().unwrap(), fields.next().unwrap().trim_end_matches('/'));
            if let Some(at) = names.split(',').find_map(|name| group.record().paths.get(name).cloned()) {
                assert!(at.ends_with(&format!("{path}/{id}")), "{at} {line}");
            }
        }
    }
}

#[test]
fn exec_into_inner_cgroups() {
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        for path in paths(&group) {
            std::fs::create_dir_all(path.join("in/ner")).unwrap();
            // An empty v1 cpuset would let nobody in.
            for (dir, file) in [
                ("in", "cpuset.cpus"),
                ("in", "cpuset.mems"),
                ("in/ner", "cpuset.cpus"),
                ("in/ner", "cpuset.mems"),
            ] {
                if let Ok(value) = std::fs::read(path.join(file)) {
                    std::fs::write(path.join(dir).join(file), value).unwrap();
                }
            }
        }
        let entry = group.entry_in(&SubCgroups::parse(&["in/ner"]).unwrap()).unwrap();
        let mut child = command(entry, "sleep", &["30"]).spawn().unwrap();
        let own = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
        let inside = own.lines().filter(|line| line.ends_with("/in/ner")).count();
        let distinct: std::collections::BTreeSet<PathBuf> = paths(&group).into_iter().collect();
        assert_eq!(inside, distinct.len(), "{own}");
        // A second process where the first one, which the payload has moved, is.
        let entry = group_of(&layout, &child);
        let mut second = command(entry, "sleep", &["30"]).spawn().unwrap();
        assert_eq!(std::fs::read_to_string(format!("/proc/{}/cgroup", second.id())).unwrap(), own);
        let error = group.entry_in(&SubCgroups::parse(&["not/there"]).unwrap());
        assert!(error.is_err_and(|error| error.errno() == Some(Errno::ENOENT)));
        group.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        second.wait().unwrap();
    }
}

fn group_of(layout: &Layout, child: &Child) -> Entry {
    Manager::None.entry_of(layout, child.id() as i32).unwrap()
}

#[test]
fn what_to_mount() {
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        match group.mount_view(&layout) {
            MountView::V2 { mount, dir } => {
                assert_eq!(Path::new(&dir).parent(), Some(Path::new(&mount)));
                assert!(Path::new(&dir).join("cgroup.procs").exists());
            }
            MountView::V1 { mounts } => {
                for mount in &mounts {
                    assert!(Path::new(&mount.dir).join("tasks").exists());
                    assert!(mount.dir.starts_with(&mount.mount));
                    assert!(mount.links.iter().all(|link| mount.name.contains(link.as_str())));
                }
                assert!(mounts.iter().any(|mount| mount.name == "memory" && mount.options == "memory"));
            }
            MountView::None => panic!("there is a cgroup"),
        }
    }
}

/// libc has it as an `i32`, in which it does not fit.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3 into the v2 cgroup, `0` into every `tasks` file; the child's exit status is the errno of a
/// failure.
fn clone3_and_tasks(entry: &Entry) -> i32 {
    let mut arguments = libc::clone_args {
        flags: 0,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(into) = &entry.into {
        arguments.flags = CLONE_INTO_CGROUP;
        arguments.cgroup = into.as_raw_fd() as u64;
    }
    // SAFETY: like fork, as no stack is given; the child only writes to files and leaves by _exit.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    if pid == 0 {
        let status = entry.join().err().map_or(0, |error| error.errno().map_or(255, |errno| errno as i32));
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(status) };
    }
    assert!(pid > 0, "clone3: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid as i32, &raw mut status, 0) }, pid as i32);
    libc::WEXITSTATUS(status)
}

#[test]
fn entering_by_clone3_and_tasks() {
    for layout in layouts() {
        let group = create(&layout, &open_plan(""));
        assert_eq!(clone3_and_tasks(&group.entry().unwrap()), 0);
    }
}

#[test]
fn a_hybrids_controllers_may_be_in_v2() {
    let control = Path::new(ROOT).join("unified/cgroup.subtree_control");
    let list = |file: &Path| std::fs::read_to_string(file).unwrap_or_default();
    if !list(&control.with_file_name("cgroup.controllers")).contains("hugetlb") {
        eprintln!("skipped: hugetlb is not in a v2 hierarchy beside v1");
        return;
    }
    let before = list(&control);
    for layout in layouts() {
        let resources = r#","hugepageLimits":[{"pageSize":"2MB","limit":4194304}]"#;
        let group = create(&layout, &open_plan(resources));
        let dir = PathBuf::from(&group.record().paths[""]);
        assert_eq!(list(&dir.join("hugetlb.2MB.max")), "4194304\n");
    }
    if !before.contains("hugetlb") {
        let _ = std::fs::write(&control, "-hugetlb");
    }
}

/// `cargo test --release --test cgroup -- --ignored --nocapture measure`
#[test]
#[ignore = "prints times"]
fn measure() {
    for layout in layouts() {
        for (words, more) in
            [("open", OPEN), ("default devices", r#""devices":[{"allow":false,"access":"rwm"}]"#)]
        {
            let path = format!("/{}", name());
            let plan = plan_at(&path, &format!("{{{more}}}"));
            let root =
                if layout.is_v2() && Path::new(ROOT).join("unified").exists() { "unified" } else { "" };
            let root = Path::new(ROOT).join(root);
            let mut steps: [Vec<f64>; 6] = Default::default();
            for _ in 0..300 {
                let mut last = Instant::now();
                let mut lap = |step: usize| {
                    steps[step].push(last.elapsed().as_nanos() as f64 / 1000.0);
                    last = Instant::now();
                };
                let layout = Layout::detect(&root).unwrap();
                lap(0);
                let group = Manager::create(&layout, &plan).unwrap();
                lap(1);
                let entry = group.entry().unwrap();
                lap(2);
                assert_eq!(clone3_and_tasks(&entry), 0);
                lap(3);
                drop(entry);
                lap(4);
                group.delete().unwrap();
                lap(5);
            }
            let medians: Vec<String> = ["detect", "create", "entry", "clone+join+wait", "close", "delete"]
                .iter()
                .zip(&mut steps)
                .map(|(name, times)| {
                    times.sort_by(f64::total_cmp);
                    format!("{name} {:.1}", times[times.len() / 2])
                })
                .collect();
            println!("v2={} {words}: {} µs", layout.is_v2(), medians.join(", "));
        }
    }
}
