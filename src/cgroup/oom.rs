//! Being told that the memory limit has made the kernel kill.

use super::Manager;
use super::dir::{read_all, value_of};
use crate::error::{Context, Errno, Result};
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::OFlags;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Waits for out-of-memory kills: poll [`OomWatch::fd`], then ask [`OomWatch::happened`].
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// `memory.events` of v2 wakes who polls it at every change, at most a hundred times a second. Its counters include
    /// the cgroups below.
    Events { file: OwnedFd, seen: u64 },
    /// v1 adds to an eventfd at every time the limit is hit and nothing could be reclaimed, whether it kills or, with
    /// `disableOOMKiller`, lets everybody wait. It does so too when an ancestor's limit is hit, and when the cgroup is
    /// removed; not when that of a cgroup below is.
    Eventfd { event: OwnedFd, control: OwnedFd },
}

impl Manager {
    /// Starts to watch; what has happened before is not told. `None` without a memory controller.
    ///
    /// # Errors
    /// The cgroup is gone, or there is no permission.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        let source = match (self.v1("memory"), self.unified()) {
            (Some(dir), _) => {
                let what = |file: &str| format!("{}/{file}", dir.path);
                let control = dir
                    .open("memory.oom_control", OFlags::RDONLY)
                    .with_context(|| format!("open {}", what("memory.oom_control")))?;
                let event =
                    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("make an eventfd")?;
                let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                dir.write("cgroup.event_control", &line)
                    .with_context(|| format!("write {line:?} to {}", what("cgroup.event_control")))?;
                Source::Eventfd { event, control }
            }
            (None, Some(dir)) => {
                let name = || format!("{}/memory.events", dir.path);
                let file = match dir.open("memory.events", OFlags::RDONLY) {
                    Err(Errno::ENOENT) => return Ok(None),
                    other => other.with_context(|| format!("open {}", name()))?,
                };
                // The first read is also what poll compares with.
                let text = read_all(&file).with_context(|| format!("read {}", name()))?;
                Source::Events { file, seen: value_of(&text, "oom_kill").unwrap_or(0) }
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(OomWatch { source }))
    }
}

impl OomWatch {
    /// What to poll for.
    pub fn fd(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.source {
            Source::Events { file, .. } => (file.as_fd(), PollFlags::PRI),
            Source::Eventfd { event, .. } => (event.as_fd(), PollFlags::IN),
        }
    }

    /// Whether anything has happened since the last call; `None` when the cgroup is gone. It must not be polled then: v2
    /// would wake for ever.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn happened(&mut self) -> Result<Option<bool>> {
        match &mut self.source {
            Source::Events { file, seen } => {
                let text = match read_all(file) {
                    Err(Errno::ENODEV) => return Ok(None),
                    other => other.context("read memory.events")?,
                };
                let now = value_of(&text, "oom_kill").unwrap_or(0);
                Ok(Some(std::mem::replace(seen, now) < now))
            }
            Source::Eventfd { event, control } => {
                match rustix::io::read(event, &mut [0u8; 8]) {
                    Ok(_) => {}
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Some(false)),
                    Err(e) => return Err(e).context("read the eventfd of memory.oom_control"),
                }
                match read_all(control) {
                    Ok(_) => Ok(Some(true)),
                    Err(Errno::ENODEV) => Ok(None),
                    Err(e) => Err(e).context("read memory.oom_control"),
                }
            }
        }
    }
}
