//! `events`: statistics at an interval and out-of-memory events, a line of JSON each, until the container has ended.

use super::{json, load, print, seams};
use crate::bail;
use crate::cgroup::Manager;
use crate::cli::{EventsOptions, Global};
use crate::error::{Context, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// One line. The shape is runc's; go-runc reads it.
#[derive(Serialize)]
struct Event<'a, T> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

/// Runs `events`.
pub fn run(global: &Global, options: &EventsOptions) -> Result<i32> {
    let container = load(global, &options.id)?;
    let Some(init) = container.pidfd()? else {
        bail!(State, "container with id {} is not running", container.id());
    };
    let manager = seams::manager(&container)?;
    let id = container.id().as_str();
    if options.stats {
        print_stats(&manager, id)?;
    } else {
        follow(&manager, id, &init, Duration::from_millis(options.interval_ms))?;
    }
    Ok(0)
}

fn print_stats(manager: &Manager, id: &str) -> Result<()> {
    print(&json(&Event { r#type: "stats", id, data: Some(manager.stats()?) }, false)?)
}

/// Prints until the container's process has ended. Sleeps in poll(2) all the time between.
fn follow(manager: &Manager, id: &str, init: &OwnedFd, interval: Duration) -> Result<()> {
    let mut watch = manager.watch_oom()?;
    let mut due = Instant::now() + interval;
    loop {
        let (ended, oom) = {
            let mut fds = vec![PollFd::new(init, PollFlags::IN)];
            fds.extend(watch.as_ref().map(|watch| {
                let (fd, flags) = watch.fd();
                PollFd::from_borrowed_fd(fd, flags)
            }));
            match poll(&mut fds, Some(&left(due))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).context("wait for events"),
            }
            let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
            (ready(0), ready(1))
        };
        // The kill is counted before its victim has ended: asked once more, none is missed.
        if let Some(oom) = watch.as_mut().filter(|_| oom || ended) {
            match oom.happened()? {
                Some(true) => print(&json(&Event::<()> { r#type: "oom", id, data: None }, false)?)?,
                Some(false) => {}
                None => watch = None,
            }
        }
        if ended {
            return Ok(());
        }
        let now = Instant::now();
        if now >= due {
            match print_stats(manager, id) {
                // It is being deleted: its process ends, or has ended, and the next turn sees that.
                Err(error) if error.kind() == Kind::State => return Ok(()),
                result => result?,
            }
            // Whoever reads slowly gets fewer, not late ones.
            due = if due + interval > now { due + interval } else { now + interval };
        }
    }
}

fn left(due: Instant) -> Timespec {
    let left = due.saturating_duration_since(Instant::now());
    Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
}
