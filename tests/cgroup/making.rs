//! Where a cgroup is made, when it is not, and how it is found again.

use super::*;

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
