//! Freezing, killing, removing.

use super::*;

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
fn one_that_has_left_v2_alone_is_found_in_v1() {
    for layout in v1_layouts() {
        let group = create(&layout, &open_plan(""));
        let Some(two) = group.record().paths.get("").map(PathBuf::from) else {
            eprintln!("skipped: no v2 hierarchy on this host");
            return;
        };
        let gone = || {
            let child = busy(&group);
            std::fs::write(two.with_file_name("cgroup.procs"), child.id().to_string()).unwrap();
            child
        };
        let mut child = gone();
        assert_eq!(group.pids().unwrap(), [child.id() as i32]);
        assert!(!group.wait_empty(Duration::from_millis(20)).unwrap());
        group.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        // The same once its v2 cgroup is not there any more.
        let mut child = gone();
        assert!(!group.delete_if_empty().unwrap());
        assert!(!two.exists());
        group.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        group.delete().unwrap();
        let group = create(&layout, &open_plan(""));
        assert!(group.delete_if_empty().unwrap());
        assert!(paths(&group).iter().all(|path| !path.exists()));
    }
}
