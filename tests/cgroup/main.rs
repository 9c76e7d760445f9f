//! Cgroups on the real kernel, as root: every limit is shown by what it does to a process.
//!
//! On a hybrid host each test runs twice: on the v1 hierarchies with their v2 companion, and on the v2
//! hierarchy alone, as if nothing else were mounted. What a layout lacks is left out and said on stderr.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod devices;
mod ending;
mod entering;
mod limits;
mod making;

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
