//! The test is a subreaper, as an engine's shim is: it gets the orphans, and must wait for them.
//!
//! A zombie that nobody waits for keeps the init of its pid namespace from ending, and the runtime that
//! waits for that init with it. But the runtimes that tests start, and the containers whose exit codes
//! tests ask for, are waited for where they are wanted: those are left alone here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Command};
use std::sync::Mutex;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

struct Family {
    /// Not to be waited for here.
    wanted: BTreeSet<i32>,
    /// Exit codes, or 128 + signal, of orphans that were waited for.
    ended: BTreeMap<i32, i32>,
}

static FAMILY: Mutex<Family> = Mutex::new(Family { wanted: BTreeSet::new(), ended: BTreeMap::new() });

fn family() -> std::sync::MutexGuard<'static, Family> {
    FAMILY.lock().unwrap_or_else(|e| e.into_inner())
}

/// Starts a child that its caller waits for.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    // Under the lock, or it could be taken for an orphan before its pid is known.
    let mut family = family();
    let mut tries = 0;
    let child = loop {
        match command.spawn() {
            // A test has just written the program, and a child that another has forked meanwhile still holds it open.
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy && tries < 200 => tries += 1,
            child => break child?,
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    family.wanted.insert(child.id() as i32);
    Ok(child)
}

/// A process that its caller will wait for by [`status`].
pub fn want(pid: i32) {
    family().wanted.insert(pid);
}

/// It was waited for: its number may come again.
pub fn forget(pid: i32) {
    family().wanted.remove(&pid);
}

/// The code of a process that has ended, if it has; `Err` if it is no child of ours.
pub fn status(pid: i32) -> Result<Option<i32>, nix::Error> {
    let mut family = family();
    if let Some(code) = family.ended.remove(&pid) {
        return Ok(Some(code));
    }
    let code = code_of(waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG))?);
    if code.is_some() {
        family.wanted.remove(&pid);
    }
    Ok(code)
}

fn code_of(status: WaitStatus) -> Option<i32> {
    match status {
        WaitStatus::Exited(_, code) => Some(code),
        WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
        _ => None,
    }
}

/// Waits for all orphans that have ended.
pub fn orphans() {
    let mut family = family();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|p| p.parse::<i32>().ok()) {
            if family.wanted.contains(&pid) {
                continue;
            }
            let status = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            if let Some(code) = status.ok().and_then(code_of) {
                family.ended.insert(pid, code);
            }
        }
    }
}
