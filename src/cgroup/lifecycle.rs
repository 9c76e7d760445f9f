//! A cgroup with processes in it: list, freeze, kill, wait, and remove it at last.

use super::Manager;
use super::dir::{Dir, errno, read_all, value_of, write_all};
use super::walk;
use crate::error::{Context, Errno, Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long the freezer may take: a process in a system call that cannot be interrupted is not frozen.
const FREEZE: Duration = Duration::from_secs(10);
/// How many ms the v1 freezer gets until it begins anew.
const FREEZE_ANEW: u32 = 50;
/// How long a crowd that forks faster than it is killed is hunted in one go.
const KILL: Duration = Duration::from_secs(5);
/// How long a systemd that cannot be told may take to see that a cgroup of its own is empty.
const UNTOLD: Duration = Duration::from_secs(5);
/// How long removal waits for the last process to go.
const DELETE: Duration = Duration::from_secs(10);

impl Manager {
    /// The processes in the cgroup and below it, in no order.
    ///
    /// # Errors
    /// Reading fails for another reason than that the cgroup is gone.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        for dir in self.unified().into_iter().chain(self.v1_witness()) {
            dir.pids(&mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// One v1 hierarchy for all of them: the processes are the same. But a payload that can reach the root of one kind
    /// can leave there, so v2 does not answer for v1. It may also make cgroups of its own in some hierarchies only.
    fn v1_witness(&self) -> Option<&Dir> {
        let usual = ["devices", "freezer", "pids"].iter().find_map(|name| self.v1(name));
        usual.or_else(|| self.groups().first().map(|group| &group.dir))
    }

    /// Sends a signal to every process in the cgroup, frozen ones too. SIGKILL leaves none behind, even
    /// while they fork.
    ///
    /// # Errors
    /// The cgroup cannot be read or written.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL
            && let Some(dir) = self.unified()
            && (self.groups().is_empty() || dir.value("cgroup.events", "populated") == Ok(Some(1)))
        {
            match dir.write("cgroup.kill", "1") {
                // A process frozen by v1 dies only when thawed.
                Ok(()) => return self.thaw_below(),
                Err(Errno::ENODEV) => return Ok(()),
                // Before Linux 5.14, or gone.
                Err(Errno::ENOENT) => {}
                Err(e) => return Err(Error::os(e, format!("write \"1\" to {}/cgroup.kill", dir.path))),
            }
        }
        let was_frozen = self.is_frozen()?;
        // Frozen they can neither fork away nor be replaced by another process of the same number.
        let frozen = was_frozen || self.freeze().is_ok();
        let deadline = Instant::now() + KILL;
        let mut hit = BTreeSet::new();
        loop {
            let pids = self.pids()?;
            let strangers = pids.iter().filter(|pid| hit.insert(**pid)).count();
            for pid in &pids {
                send(*pid, signal)?;
            }
            // Without a freezer, until nobody new is found: who is has been forked by one that was still to be hit.
            if frozen || signal != libc::SIGKILL || strangers == 0 || Instant::now() >= deadline {
                break;
            }
        }
        if frozen && (!was_frozen || signal == libc::SIGKILL) {
            self.thaw()?;
        }
        if signal == libc::SIGKILL { self.thaw_below() } else { Ok(()) }
    }

    /// Thaws the v1 cgroup and those below it, which the payload may have frozen itself: thawing an outer one leaves
    /// them, and the v1 freezer holds back even SIGKILL. v2's does not.
    fn thaw_below(&self) -> Result<()> {
        let Some(dir) = self.v1("freezer") else { return Ok(()) };
        self.thaw_v1()?;
        if !dir.has_children() {
            return Ok(());
        }
        walk::each(dir, |dir| {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let thawed = rustix::fs::openat(dir, "freezer.state", flags, Mode::empty())
                .map_err(errno)
                .and_then(|state| write_all(&state, "THAWED"));
            match thawed {
                Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
                other => other,
            }
        })
        .with_context(|| format!("thaw cgroup {}", dir.path))
    }

    /// Stops every process in the cgroup, and returns when all have stopped.
    ///
    /// # Errors
    /// There is no freezer ([`Kind::Unsupported`]), or not all stopped in ten seconds; then they go on.
    pub fn freeze(&self) -> Result<()> {
        if let Some(dir) = self.unified() {
            let result = self.freeze_v2(dir);
            // A v2 hierarchy before Linux 5.2 has no freezer, but v1 may.
            if !matches!(&result, Err(e) if e.errno() == Some(Errno::ENOENT)) || self.v1("freezer").is_none()
            {
                return result;
            }
        }
        match self.v1("freezer") {
            Some(dir) => freeze_v1(dir),
            None => Err(Error::new(Kind::Unsupported, "cannot freeze: the container has no freezer cgroup")),
        }
    }

    /// Hands a frozen cgroup from the freezer of v2 over to that of v1, where there are both: criu knows one of them, and of
    /// v1 it takes that. Nothing runs in between.
    ///
    /// # Errors
    /// As [`Manager::freeze`].
    pub fn freeze_by_v1(&self) -> Result<()> {
        let (Some(unified), Some(dir)) = (self.unified(), self.v1("freezer")) else { return Ok(()) };
        freeze_v1(dir)?;
        unified
            .write("cgroup.freeze", "0")
            .map_err(|errno| Error::os(errno, format!("thaw cgroup {}", unified.path)))
    }

    fn freeze_v2(&self, dir: &Dir) -> Result<()> {
        let failed = |errno| Error::os(errno, format!("freeze cgroup {}", dir.path));
        dir.write("cgroup.freeze", "1").map_err(failed)?;
        if wait_for(dir, "frozen", 1, Instant::now() + FREEZE).map_err(failed)? {
            return Ok(());
        }
        dir.write("cgroup.freeze", "0").map_err(failed)?;
        Err(failed(Errno::ETIMEDOUT))
    }

    /// Lets the processes go on. Nothing happens when they are not frozen.
    ///
    /// # Errors
    /// The freezer cannot be written.
    pub fn thaw(&self) -> Result<()> {
        if let Some(dir) = self.unified() {
            match dir.write("cgroup.freeze", "0") {
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(errno) => return Err(Error::os(errno, format!("thaw cgroup {}", dir.path))),
            }
        }
        self.thaw_v1()
    }

    fn thaw_v1(&self) -> Result<()> {
        let Some(dir) = self.v1("freezer") else { return Ok(()) };
        match dir.write("freezer.state", "THAWED") {
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
            Err(errno) => Err(Error::os(errno, format!("thaw cgroup {}", dir.path))),
        }
    }

    /// Whether the processes are stopped, by whichever freezer. A cgroup that is gone is not frozen.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        let gone = |result: Result<bool, Errno>, dir: &Dir| match result {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
            other => other.with_context(|| format!("read the freezer of {}", dir.path)),
        };
        if let Some(dir) = self.unified()
            && gone(dir.value("cgroup.events", "frozen").map(|value| value == Some(1)), dir)?
        {
            return Ok(true);
        }
        match self.v1("freezer") {
            Some(dir) => gone(dir.read("freezer.state").map(|state| state.trim() == "FROZEN"), dir),
            None => Ok(false),
        }
    }

    /// Waits until no process is left in the cgroup or below it. False when the time is up.
    ///
    /// # Errors
    /// The cgroup cannot be read or polled.
    pub fn wait_empty(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        let two = self.unified().map_or(Ok(true), |dir| dir_empty(dir, deadline, true))?;
        let one = self.v1_witness().map_or(Ok(true), |dir| dir_empty(dir, deadline, false))?;
        Ok(two && one)
    }

    /// Whether the kernel has killed a process in this cgroup because of its memory limit.
    ///
    /// # Errors
    /// The counter cannot be read. Without a memory controller nothing was killed.
    pub fn oom_killed(&self) -> Result<bool> {
        let (dir, file) = match (self.v1("memory"), self.unified()) {
            (Some(dir), _) => (dir, "memory.oom_control"),
            (None, Some(dir)) => (dir, "memory.events"),
            (None, None) => return Ok(false),
        };
        match dir.value(file, "oom_kill") {
            Ok(count) => Ok(count.is_some_and(|n| n > 0)),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
            Err(errno) => Err(Error::os(errno, format!("read {}/{file}", dir.path))),
        }
    }

    /// Removes the cgroup if no process is in it and no other cgroup, as is usual when the init of a pid namespace has
    /// ended; false, and nothing is removed, if that is not so. It spares killing and asking: on v1 alone a tenth of a run,
    /// as the freezer patches the kernel.
    ///
    /// # Errors
    /// A directory cannot be removed for another reason.
    pub fn delete_if_empty(&self) -> Result<bool> {
        // Of a cgroup of systemd's there is a unit to be stopped.
        if matches!(self, Manager::Systemd(_)) {
            return Ok(false);
        }
        // v1 hierarchies cannot be asked all at once, and a payload that reaches the root of one may have left a process in
        // another. The one by which processes are found goes last, so that they still are.
        let witness = self.v1_witness();
        let is_witness = |dir: &Dir| witness.is_some_and(|witness| witness.path == dir.path);
        for dir in self.dirs().filter(|dir| !is_witness(dir)).chain(witness) {
            match dir.rmdir() {
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
                // Processes, or cgroups of the payload's.
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => return Ok(false),
                Err(errno) => return Err(Error::os(errno, format!("remove cgroup {}", dir.path))),
            }
        }
        Ok(true)
    }

    /// Removes the cgroup from every hierarchy, and cgroups the payload has left in it. What is gone
    /// already is fine. Processes are waited for, not killed.
    ///
    /// # Errors
    /// Processes are still in it after ten seconds; they are named. All other hierarchies are done.
    pub fn delete(&self) -> Result<()> {
        self.delete_within(DELETE)
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// As [`Manager::delete`].
    pub fn delete_within(&self, patience: Duration) -> Result<()> {
        if let Manager::Systemd(systemd) = self
            // Whoever is in it would be killed.
            && self.wait_empty(Duration::ZERO)?
            && let Err(error) = systemd.stop()
        {
            crate::log::warn(&error.to_string());
            // systemd removes an empty cgroup, and forgets the unit. That it is empty it reads when the kernel tells it of a
            // change: from one that is gone by then it learns nothing, and the unit stays.
            if let Some(dir) = self.unified() {
                wait_gone(dir, UNTOLD).with_context(|| format!("wait for the end of cgroup {}", dir.path))?;
            }
        }
        let deadline = Instant::now() + patience;
        let mut first = Ok(());
        for (dir, pollable) in self
            .unified()
            .map(|dir| (dir, true))
            .into_iter()
            .chain(self.groups().iter().map(|g| (&g.dir, false)))
        {
            let result = delete_dir(dir, pollable, deadline);
            first = first.and(result);
        }
        first
    }
}

fn send(pid: i32, signal: i32) -> Result<()> {
    match crate::sys::kill::kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::os(errno, format!("send signal {signal} to process {pid}"))),
    }
}

fn freeze_v1(dir: &Dir) -> Result<()> {
    let failed = |errno| Error::os(errno, format!("freeze cgroup {}", dir.path));
    let deadline = Instant::now() + FREEZE;
    for turn in 1.. {
        // Written again each time: a process forked meanwhile would hold up the first attempt for ever.
        dir.write("freezer.state", "FROZEN").map_err(failed)?;
        if dir.read("freezer.state").map_err(failed)?.trim() == "FROZEN" {
            return Ok(());
        }
        let late = Instant::now() >= deadline;
        if late || turn % FREEZE_ANEW == 0 {
            // A thread at execve waits, unfrozen, for the others to end, which frozen ones do not, though killed.
            dir.write("freezer.state", "THAWED").map_err(failed)?;
        }
        if late {
            break;
        }
        // The v1 freezer tells nobody when it is done: the one place where there is nothing to poll on.
        let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }));
    }
    Err(failed(Errno::ETIMEDOUT))
}

/// Waits for something at a descriptor; false when the deadline passes. A signal may end it early.
fn poll_until(fd: &OwnedFd, flags: PollFlags, deadline: Instant) -> Result<bool, Errno> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    match poll(&mut [PollFd::new(fd, flags)], Some(&left)) {
        Ok(0) => Ok(false),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(true),
        Err(e) => Err(errno(e)),
    }
}

/// Waits until `key` in `cgroup.events` has this value; false when the deadline passes. A cgroup that is
/// removed meanwhile counts as empty and as frozen.
fn wait_for(dir: &Dir, key: &str, value: u64, deadline: Instant) -> Result<bool, Errno> {
    let events = match dir.open("cgroup.events", OFlags::RDONLY) {
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(true),
        other => other?,
    };
    loop {
        // Read before poll: the kernel compares with what this fd has read last, so no change is lost.
        match read_all(&events) {
            Err(Errno::ENODEV) => return Ok(true),
            Err(errno) => return Err(errno),
            Ok(text) if value_of(&text, key) == Some(value) => return Ok(true),
            Ok(_) => {}
        }
        if !poll_until(&events, PollFlags::PRI, deadline)? {
            return Ok(false);
        }
    }
}

/// Waits until somebody else has removed a cgroup, no longer than this. The kernel wakes nobody who polls one of its files
/// then; the directory above it tells.
fn wait_gone(dir: &Dir, patience: Duration) -> Result<(), Errno> {
    use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
    let deadline = Instant::now() + patience;
    let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(errno)?;
    match add_watch(&watch, format!("{}/..", dir.path), WatchFlags::DELETE) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        watched => drop(watched.map_err(errno)?),
    }
    while dir.read("cgroup.events").is_ok() && poll_until(&watch, PollFlags::IN, deadline)? {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
        let mut events = Reader::new(&watch, &mut buffer);
        while events.next().is_ok() {}
    }
    Ok(())
}

/// Waits until a directory has no processes. A v1 one tells nobody: its members' pidfds do.
fn dir_empty(dir: &Dir, deadline: Instant, pollable: bool) -> Result<bool> {
    let failed = |errno| Error::os(errno, format!("wait for cgroup {}", dir.path));
    if pollable {
        return wait_for(dir, "populated", 0, deadline).map_err(failed);
    }
    loop {
        let mut pids = Vec::new();
        dir.pids(&mut pids)?;
        if pids.is_empty() {
            return Ok(true);
        }
        let open = |pid: &i32| pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok();
        let members: Vec<OwnedFd> = pids.iter().filter_map(open).collect();
        for member in &members {
            if !poll_until(member, PollFlags::IN, deadline).map_err(failed)? {
                return Ok(false);
            }
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
    }
}

fn delete_dir(dir: &Dir, pollable: bool, deadline: Instant) -> Result<()> {
    loop {
        match remove_tree(dir) {
            Ok(()) => return Ok(()),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(Error::os(errno, format!("remove cgroup {}", dir.path))),
        }
        if !dir_empty(dir, deadline, pollable)? || Instant::now() >= deadline {
            return Err(held(dir));
        }
    }
}

/// Removes a cgroup after those in it.
fn remove_tree(dir: &Dir) -> Result<(), Errno> {
    match dir.rmdir() {
        Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
        // The kernel says so of processes and of cgroups in it.
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
        Err(e) => return Err(e),
    }
    walk::remove_below(dir)?;
    match dir.rmdir() {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        other => other,
    }
}

/// Who is still in a cgroup that cannot be removed.
fn held(dir: &Dir) -> Error {
    let mut pids = Vec::new();
    let _ = dir.pids(&mut pids);
    let names: Vec<String> = pids
        .iter()
        .take(8)
        .map(|pid| match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) => format!("{pid} ({})", name.trim()),
            Err(_) => pid.to_string(),
        })
        .collect();
    let what = format!("still in use by {} process(es): {}", pids.len(), names.join(", "));
    Error::os(Errno::EBUSY, what).context(format!("remove cgroup {}", dir.path))
}
