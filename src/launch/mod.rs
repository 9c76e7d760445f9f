//! Which process runs what, in which order.
//!
//! ```text
//! parent (tare create, run or exec)              stage 1                       stage 2 (the container's init, PID 1)
//! ─────────────────────────────────              ───────                       ─────────────────────────────────────
//! opens the namespaces to join, compiles
//!   the filter, makes the cgroup and the gate
//! clone3(new namespaces, INTO_CGROUP) ─────────▶ dies with the parent from here,
//!                                                closes what it does not need,
//!                                                overwrites its arguments,
//!                                                enters its v1 cgroups
//! has systemd make the cgroup  ◀── NeedCgroup ── (where it is systemd's)
//!                                                joins namespaces, or has
//! writes the id maps          ◀── NeedIdMap ──── the maps and offsets of
//! writes the time offsets     ◀ NeedTimeOffsets  new ones written
//!                                                becomes stage 2, or, where the
//!                                                kernel wants children only in a
//! reaps stage 1               ◀── InitPid ────── namespace, forks it ────────▶ session, cgroup namespace
//! moves network devices in    ◀── NeedNetDevices ───────────────────────────── loopback, hostname
//! device program, oom_score_adj,                                               mounts decoupled from the host's
//!   state with the pid
//! run: Start ───────────────────────────────────────────────────────────────▶ (looks for it at the end)
//! starts a helper that opens
//!   sources in its mounts     ◀── NeedHelper ───────────────────────────────── root, mounts, devices
//! passes the terminal on      ◀── Console ──────────────────────────────────── terminal
//! prestart, createRuntime     ◀── NeedRuntimeHooks ─────────────────────────── createContainer hooks
//!                                                                              pivot_root, sysctl, read-only, masked
//!                                                                              labels; closes all but the channel and the gate
//!                                                                              cwd, ids, capabilities, $PATH
//! raises limits               ◀── NeedRlimits ─────────────────────────────── rlimits
//!                                                                              create: filter, last capabilities
//!                             ◀── Ready ──────────────────────────────────────
//! create: commits, Done ─────────────────────────────────────────────────────▶ create: waits at the gate for `start`
//!                                                                              run, exec: filter, last capabilities
//!                                                                              startContainer hooks, execve
//! run: the end of the stream tells that the exec has happened
//! ```
//!
//! A scope of systemd is made around a process, so there the process comes first, and does nothing until it is in its
//! cgroup ([`Way::Admitted`]); the rest is the same.
//!
//! `exec` is the same with every namespace joined and no file system to build. No process of a launch reads
//! config.json or decides anything: all of them carry out the [`Plan`], which they share by fork.
//!
//! There is one thread, and none may be started before the clone: that makes ordinary Rust legal in the children.
//! They write to no standard stream, do not return, and tell every error to the parent.

mod descriptors;
mod idmap;
mod parent;
pub mod protocol;
mod sources;
mod stage1;
mod stage2;
mod tail;

use std::os::fd::OwnedFd;

pub use parent::{Running, connect, launch, send_fds};
pub use stage1::ask;

use crate::error::{Context, Error, Kind, Result};
use crate::gate::Gate;
use crate::hooks::Identity;
use crate::plan::Plan;
use crate::plan::namespaces::{self, Join};
use crate::rootfs::CgroupView;
use crate::seccomp::Program;

/// What a launch works with beside the plan: descriptors, mostly, opened by the parent.
pub struct Job<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// The compiled filter of the process.
    pub seccomp: Option<&'a Program>,
    /// The way into the cgroup.
    pub cgroup: Way<'a>,
    /// What the container sees of the cgroups.
    pub cgroup_view: &'a CgroupView,
    /// The namespaces to join.
    pub joins: Joins,
    /// Where init waits for `start`; without one, the launch goes through to the exec.
    pub gate: Option<Gate>,
    /// Who this is, for hooks.
    pub identity: &'a Identity,
    /// What becomes of the controlling side of a terminal.
    pub terminal: Terminal,
    /// What the parent has to do that takes the process's pid and nothing else of it; it is done while the process builds
    /// the inside. In [`Running`] there is no console yet.
    pub meanwhile: &'a mut dyn FnMut(&mut Running) -> Result<()>,
    /// Whether the process may go on to its exec when it is ready, without being told again: everything else is done by
    /// `meanwhile`, or can be done later.
    pub early: bool,
    /// The runtime is an ordinary user's, outside of any user namespace that is its own: the container's root may open what
    /// the runtime may, and more is not to be had; nor may the runtime reach into a process that is not dumpable.
    pub unprivileged: bool,
    /// Whether the memory limit has killed a process of the cgroup, to explain a child that died without a word.
    pub oom_killed: &'a dyn Fn() -> bool,
}

/// How the first process of a launch gets into its cgroup.
#[derive(Clone, Copy)]
pub enum Way<'a> {
    /// The cgroup is there: it is born in it, or enters by itself.
    Open(&'a crate::cgroup::Entry),
    /// systemd puts it in. Until then it does nothing.
    Admitted {
        /// What the parent does for the process of this pid.
        admit: &'a dyn Fn(i32) -> Result<()>,
        /// What is left to the process.
        rest: &'a dyn Fn() -> Result<()>,
        /// The cgroup, whose descriptors `rest` works through.
        cgroup: &'a crate::cgroup::Manager,
    },
}

/// The namespaces to join.
pub enum Joins {
    /// Each by its file.
    Files(Vec<(Join, OwnedFd)>),
    /// Those of a process, at once.
    Process {
        /// A pidfd of it.
        pidfd: OwnedFd,
        /// `CLONE_NEW*` of those that differ from the runtime's.
        kinds: u64,
        /// Its root, if its mount namespace is the runtime's own: joining one would have brought its root along.
        root: Option<OwnedFd>,
    },
}

/// What becomes of the controlling side of a terminal.
#[derive(Debug)]
pub enum Terminal {
    /// No terminal is wanted.
    None,
    /// It goes over this connected socket, as `--console-socket` has it.
    Send(OwnedFd),
    /// The parent keeps it.
    Keep,
}

/// Opens the namespaces of a plan, and makes sure that each is of the type that config.json says
/// (config-linux.md: "the runtime MUST generate an error").
pub fn open_joins(joins: &[Join]) -> Result<Vec<(Join, OwnedFd)>> {
    use rustix::fs::{Mode, OFlags};
    let mut files = Vec::new();
    for join in joins {
        let what = || format!("linux.namespaces[{}].path: {}", join.index, join.path.display());
        // A FIFO would block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&join.path, flags, Mode::empty()).with_context(|| {
            format!("linux.namespaces[{}].path: open {}", join.index, join.path.display())
        })?;
        let kind =
            crate::sys::clone::namespace_type(&fd).with_context(|| format!("{} is no namespace", what()))?;
        if kind != join.kind {
            let (is, wanted) = (namespaces::name(kind), namespaces::name(join.kind));
            return Err(Error::new(
                Kind::Config,
                format!("{} is a {is} namespace, not a {wanted} namespace", what()),
            ));
        }
        files.push((join.clone(), fd));
    }
    Ok(files)
}
