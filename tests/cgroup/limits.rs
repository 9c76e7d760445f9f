//! Limits, each by what it does to a process.

use super::*;

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
