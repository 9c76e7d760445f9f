//! The parent: starts the processes of a launch, does for them what they may not, and hears of their end.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::SigSet;
use rustix::fs::OFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions};

use super::protocol::{Channel, ToChild, ToParent};
use super::sources::Helper;
use super::{Job, Terminal, Way, idmap, stage1};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks::Setting;
use crate::network::{self, Netlink};
use crate::path::Proc;
use crate::plan::Steps;
use crate::plan::libc_flag::{NEWPID, NEWTIME, NEWUSER};
use crate::plan::namespaces::Rest;
use crate::sys::clone::{self, Forked};
use crate::sys::{pidfd, sched};
use crate::weaken::weakened;

/// A container's init, or a process in it, that is ready to be executed. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// Refers to it whatever becomes of the pid.
    pub pidfd: OwnedFd,
    /// The signals to be reset before the exec: those that it ignores, as soon as its `stat` has told.
    pub ignored: u32,
    /// The controlling side of its terminal, if the parent keeps it.
    pub console: Option<OwnedFd>,
    channel: Channel,
    /// Opens sources for it while it builds.
    helper: Option<Helper>,
    armed: bool,
    /// The word to start has been said.
    told: bool,
}

/// How often the parent looks whether the child that it waits for was stopped.
const STOPPED_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs a launch up to the point where nothing but the exec is left.
///
/// All signals are blocked for this thread: the child must not be interrupted half-way, and a SIGCHLD that comes before
/// anybody waits must not be lost.
pub fn launch(mut job: Job<'_>) -> Result<Running> {
    SigSet::all().thread_block().context("block signals")?;
    let steps = match &job.joins {
        super::Joins::Files(_) => job.plan.namespaces.steps(),
        super::Joins::Process { kinds, .. } => Steps {
            clone: 0,
            unshare_user: false,
            unshare_time: false,
            // Both are entered by children only.
            rest: if kinds & (NEWPID | NEWTIME) != 0 { Rest::Fork(0) } else { Rest::Nothing },
        },
    };
    let (ours, theirs) = Channel::pair()?;
    ours.look_up_after(STOPPED_CHECK_INTERVAL)?;
    let into = match job.cgroup {
        Way::Open(entry) => entry.into.as_ref().map(|dir| dir.as_fd()),
        Way::Admitted { .. } => None,
    };
    let forked = clone::clone3(steps.clone, into).map_err(|e| Error::os(e, clone_failed(&job)))?;
    let (pid, pidfd) = match forked {
        Forked::Child => {
            drop(ours);
            stage1::run(&job, steps, &theirs)
        }
        Forked::Parent(pid, pidfd) => (pid, pidfd),
    };
    drop(theirs);
    let mut running = Running {
        pid,
        pidfd,
        ignored: u32::MAX,
        console: None,
        channel: ours,
        helper: None,
        armed: true,
        told: false,
    };
    attend(&mut running, &mut job, steps)?;
    Ok(running)
}

/// How many requests come before the process can go on for long without the parent.
fn requests_ahead(job: &Job<'_>, steps: Steps) -> usize {
    let plan = job.plan;
    let admission = matches!(job.cgroup, Way::Admitted { .. });
    let sources = plan.rootfs.as_ref().is_some_and(|rootfs| rootfs.wants_helper(&plan.namespaces));
    let user = plan.namespaces.new & NEWUSER != 0;
    [admission, user, steps.unshare_time, matches!(steps.rest, Rest::Fork(_)), sources]
        .into_iter()
        .map(usize::from)
        .sum()
}

/// What is done while the process builds the inside.
fn meanwhile(running: &mut Running, job: &mut Job<'_>) -> Result<()> {
    let score = job.plan.process.as_ref().and_then(|process| process.oom_score_adj);
    if let Some(score) = score.filter(|_| !job.unprivileged) {
        Proc::open()?
            .write(&format!("{}/oom_score_adj", running.pid), score.to_string().as_bytes())
            .with_context(|| format!("process.oomScoreAdj: write {score} to oom_score_adj"))?;
    }
    (job.meanwhile)(running)?;
    if job.early {
        // If it has died already, `attend` hears how.
        let _ = running.channel.tell_child(&ToChild::Start { ignored: running.ignored });
        running.told = true;
    }
    Ok(())
}

fn clone_failed(job: &Job<'_>) -> &'static str {
    match job.plan.namespaces.new {
        0 => "start the container's first process",
        _ => "make the namespaces of the container: clone3",
    }
}

/// Serves the child until it is ready.
fn attend(running: &mut Running, job: &mut Job<'_>, steps: Steps) -> Result<()> {
    let stage1 = running.pid;
    let mut ahead = requests_ahead(job, steps);
    let mut done = false;
    loop {
        if ahead == 0 && !done {
            done = true;
            meanwhile(running, job)?;
        }
        match running.hear()? {
            Some(ToParent::NeedCgroup) => {
                if let Way::Admitted { admit, .. } = job.cgroup {
                    admit(stage1)?;
                }
                running.channel.tell_child(&ToChild::Done)?;
                ahead = ahead.saturating_sub(1);
            }
            Some(ToParent::NeedIdMap) => {
                idmap::write(&job.plan.namespaces, stage1, job.unprivileged)?;
                running.channel.tell_child(&ToChild::Done)?;
                ahead = ahead.saturating_sub(1);
            }
            Some(ToParent::NeedTimeOffsets) => {
                Proc::open()?
                    .write(&format!("{stage1}/timens_offsets"), job.plan.namespaces.time_offsets.as_bytes())
                    .context("linux.timeOffsets: write timens_offsets")?;
                running.channel.tell_child(&ToChild::Done)?;
                ahead = ahead.saturating_sub(1);
            }
            Some(ToParent::InitPid(pid)) => {
                adopt(running, pid)?;
                running.channel.tell_child(&ToChild::Done)?;
                ahead = ahead.saturating_sub(1);
            }
            Some(ToParent::NeedHelper) => {
                if let Some(rootfs) = &job.plan.rootfs {
                    let (pid, pidfd) = (running.pid, running.pidfd.as_fd());
                    running.helper = Some(Helper::start(rootfs, pid, pidfd, &running.channel)?);
                }
                ahead = ahead.saturating_sub(1);
            }
            Some(ToParent::NeedRuntimeHooks) => {
                let hooks = &job.plan.hooks;
                // "created" for these two, though the spec's prose would have "creating": the validation suite
                // asks for it, and runc and crun say it.
                let state = job.identity.state("created", running.pid);
                let at = Setting::at(&job.identity.bundle);
                crate::hooks::run("prestart", &hooks.prestart, &state, at)?;
                crate::hooks::run("createRuntime", &hooks.create_runtime, &state, at)?;
                running.channel.tell_child(&ToChild::Done)?;
            }
            Some(ToParent::Console(master)) => match &job.terminal {
                Terminal::Send(socket) => send_console(socket.as_fd(), master.as_fd())?,
                Terminal::Keep => running.console = Some(master),
                Terminal::None => {}
            },
            Some(ToParent::SeccompFd(number)) => {
                let flags = rustix::process::PidfdGetfdFlags::empty();
                let listener = rustix::process::pidfd_getfd(&running.pidfd, number, flags)
                    .context("fetch the listener of the seccomp filter")?;
                send_listener(job, running.pid, listener.as_fd())?;
                running.channel.tell_child(&ToChild::Done)?;
            }
            Some(ToParent::NeedNetDevices(socket)) => {
                let namespace = Proc::open()?
                    .follow(running.pid, "ns/net", OFlags::RDONLY)
                    .context("open the network namespace of the container")?;
                let inside = Netlink::new(socket);
                network::move_devices(&job.plan.net_devices, namespace.as_fd(), &inside)?;
                running.channel.tell_child(&ToChild::Done)?;
            }
            Some(ToParent::NeedRlimits) => {
                for &(resource, soft, hard) in job.plan.process.iter().flat_map(|process| &process.rlimits) {
                    sched::prlimit(running.pid, resource, soft, hard)
                        .with_context(|| super::tail::rlimit_failed(resource, soft, hard))?;
                }
                running.channel.tell_child(&ToChild::Done)?;
            }
            Some(ToParent::Ready) => {
                running.helper = None;
                return if done { Ok(()) } else { meanwhile(running, job) };
            }
            Some(ToParent::Failed(e)) => return Err(e),
            Some(ToParent::Need(_) | ToParent::Socket(_)) => {
                return Err(Error::new(Kind::System, "unexpected message on the init socket"));
            }
            None => return Err(died(running, job)),
        }
    }
}

/// Stage 2 has become our child: from here on it is the container's process, and stage 1 is reaped.
fn adopt(running: &mut Running, pid: i32) -> Result<()> {
    let init =
        Pid::from_raw(pid).ok_or_else(|| Error::new(Kind::System, "the container's init has no pid"))?;
    // It is our child and not reaped, so the pid is still its own.
    let pidfd = rustix::process::pidfd_open(init, PidfdFlags::empty())
        .context("pidfd_open of the container's init")?;
    let stage1 = std::mem::replace(&mut running.pidfd, pidfd);
    running.pid = pid;
    let _ = rustix::process::waitid(WaitId::PidFd(stage1.as_fd()), WaitIdOptions::EXITED);
    Ok(())
}

/// The child is gone without a word: say how.
fn died(running: &mut Running, job: &Job<'_>) -> Error {
    running.armed = false;
    let status = rustix::process::waitid(WaitId::PidFd(running.pidfd.as_fd()), WaitIdOptions::EXITED);
    let how = match status {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (_, Some(signal)) => format!("was killed by signal {signal}"),
            _ => "has gone".into(),
        },
        _ => "has gone".into(),
    };
    let why = if (job.oom_killed)() {
        " (out of memory: is linux.resources.memory.limit too low?)"
    } else if job.gate.is_some() && job.seccomp.is_some() {
        " (init waits for start under linux.seccomp: does that allow read and write?)"
    } else {
        ""
    };
    Error::new(Kind::System, format!("the container's init {how} while it was being created{why}"))
}

fn send_console(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<()> {
    send_fds(socket, b"/dev/ptmx", &[master]).context("send the terminal over the console socket")
}

/// Hands the filter's listener to the agent (config-linux.md, "The Container Process State").
fn send_listener(job: &Job<'_>, pid: i32, listener: BorrowedFd<'_>) -> Result<()> {
    let Some(notify) = job.seccomp.and_then(|program| program.notify.as_ref()) else { return Ok(()) };
    let socket = connect(&notify.listener_path).context("linux.seccomp.listenerPath")?;
    let state: serde_json::Value =
        serde_json::from_slice(&job.identity.state("creating", pid)).unwrap_or_default();
    let message = serde_json::json!({
        "ociVersion": crate::config::OCI_VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": notify.listener_metadata,
        "state": state,
    });
    send_fds(socket.as_fd(), message.to_string().as_bytes(), &[listener])
        .context("linux.seccomp.listenerPath: send the listener")
}

/// Connects to the stream socket at `path`.
pub fn connect(path: &std::path::Path) -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let address = SocketAddrUnix::new(path).with_context(|| format!("socket {}", path.display()))?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .context("socket")?;
    rustix::net::connect(&socket, &address).with_context(|| format!("connect to {}", path.display()))?;
    Ok(socket)
}

/// Sends descriptors with a message over a stream socket.
pub fn send_fds(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(), rustix::io::Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

impl Running {
    /// A child of this process that was not launched here, and runs. `console` is the controlling side of its terminal, if the
    /// caller keeps it.
    pub fn restored(pid: i32, pidfd: OwnedFd, console: Option<OwnedFd>) -> Result<Running> {
        let (channel, _) = Channel::pair()?;
        Ok(Running { pid, pidfd, ignored: 0, console, channel, helper: None, armed: true, told: true })
    }

    /// Hears the child. One that was stopped would be waited for without end: a process of the container may send SIGSTOP to
    /// one that an exec brings in, as soon as it sees that.
    fn hear(&self) -> Result<Option<ToParent>> {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.channel.hear_child_or(&mut || match rustix::process::waitid(
            WaitId::PidFd(self.pidfd.as_fd()),
            options,
        ) {
            Ok(Some(status)) if status.stopped() && !weakened("stopped") => {
                Err(Error::new(Kind::System, "the process was stopped by a signal before its exec"))
            }
            _ => Ok(()),
        })
    }

    /// Lets init go to the gate, where it waits for `start` on its own.
    pub fn leave_at_gate(mut self) -> Result<()> {
        self.channel.tell_child(&ToChild::Done)?;
        self.armed = false;
        Ok(())
    }

    /// Lets it execute, and waits until it has. From here on dropping does nothing.
    pub fn start(&mut self) -> Result<()> {
        if !self.told {
            self.channel.tell_child(&ToChild::Start { ignored: self.ignored })?;
        }
        match self.hear()? {
            // Its end was close-on-exec.
            None => {}
            Some(ToParent::Failed(e)) => return Err(e),
            Some(_) => return Err(Error::new(Kind::System, "unexpected message on the init socket")),
        }
        self.armed = false;
        Ok(())
    }

    /// Keeps the process from being killed when this is dropped.
    pub fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.armed {
            let _ = pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
            self.helper = None;
            // A stage 2 whose InitPid was never heard is our child too.
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        }
    }
}
