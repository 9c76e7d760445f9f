//! Getting a process in.

use super::*;

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
