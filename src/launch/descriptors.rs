//! Which descriptors a process of a launch holds: the one place that decides it.
//!
//! Close-on-exec is not enough. execve(2) resolves the program's path, the `#!` line and the ELF interpreter while everything
//! is still open, and names like /proc/self/fd/7/../../x in an image lead through whatever is (CVE-2024-21626 is one
//! case of it). A process of the container that may trace others opens /proc/PID/fd/7 itself. So a process of a launch
//! closes what it does not need for its next steps, before it can be seen from inside:
//!
//! | from | it holds, beside standard streams and what `--preserve-fds` and `LISTEN_FDS` name |
//! |---|---|
//! | the clone | the channel, the gate, the namespaces to join, the `tasks` files of cgroup v1 (or the cgroup file system, where systemd makes the cgroup) |
//! | the joining of namespaces | the channel, the gate, and what it opens to build the inside |
//! | the end of building | the channel, the gate |
//!
//! The last two are close-on-exec sockets without a name that leads anywhere, and a FIFO: none can be a directory of a path,
//! a program or a working directory. They stay open until the exec since it is their end that tells of its success.

use std::os::fd::{AsFd, BorrowedFd};

use super::protocol::Channel;
use super::{Job, Joins, Way};
use crate::error::{Context, Result};
use crate::sys::exec;
use crate::weaken::weakened;

/// After the clone.
pub fn keep_for_entering(job: &Job<'_>, channel: &Channel) -> Result<()> {
    let mut keep = lasting(job, channel);
    match job.cgroup {
        Way::Open(entry) => keep.extend(entry.tasks.iter().map(AsFd::as_fd)),
        Way::Admitted { cgroup, .. } => keep.extend(cgroup.handles()),
    }
    match &job.joins {
        Joins::Files(files) => keep.extend(files.iter().map(|(_, fd)| fd.as_fd())),
        Joins::Process { pidfd, root, .. } => {
            keep.push(pidfd.as_fd());
            keep.extend(root.iter().map(AsFd::as_fd));
        }
    }
    close_others(job, &keep)
}

/// After the namespaces are joined, and again when the inside is built.
pub fn keep_lasting(job: &Job<'_>, channel: &Channel) -> Result<()> {
    close_others(job, &lasting(job, channel))
}

fn lasting<'a>(job: &'a Job<'_>, channel: &'a Channel) -> Vec<BorrowedFd<'a>> {
    let gate = job.gate.iter().flat_map(|gate| gate.fds());
    gate.chain([channel.as_fd()]).collect()
}

fn close_others(job: &Job<'_>, keep: &[BorrowedFd<'_>]) -> Result<()> {
    if weakened("descriptors") {
        return Ok(());
    }
    let inherited = job.plan.process.as_ref().map_or(0, |process| process.preserve_fds);
    exec::close_all_but(3 + inherited, keep).context("close descriptors")
}
