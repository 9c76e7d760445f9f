//! Stage 2: the container's init, which builds the inside and becomes the user's program.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::fs::Mode;

use super::protocol::{Channel, ToChild, ToParent};
use super::stage1::{ask, fail};
use super::tail::{self, Settled, Surroundings};
use super::{Job, Terminal};
use crate::console::Pty;
use crate::error::{Context, Error, Kind, Result};
use crate::gate;
use crate::hooks::Setting;
use crate::network::Netlink;
use crate::path::Proc;
use crate::plan::libc_flag::NEWCGROUP;
use crate::rootfs::{self, Prepared, Sources};
use crate::sys::{clone, exec, signal};

/// Runs stage 2. Does not return: it executes, or ends.
pub fn run(job: &Job<'_>, channel: &Channel) -> ! {
    let surroundings = Surroundings {
        seccomp: job.seccomp,
        start_container: &job.plan.hooks.start_container,
        identity: job.identity,
        channel,
    };
    let settled = match build(job, channel, &surroundings) {
        Ok(settled) => settled,
        Err(e) => fail(channel, e),
    };
    match wait(job, channel) {
        Ok(Word::Parent { ignored }) => {
            let error = execute(settled, &surroundings, ignored);
            fail(channel, error)
        }
        Ok(Word::Gate(peer)) => {
            let error = execute(settled, &surroundings, 0);
            gate::fail(peer.as_fd(), &error);
            clone::exit_now(1)
        }
        Err(e) => fail(channel, e),
    }
}

/// Everything that can be done, and can fail, before `start`.
fn build<'a>(
    job: &Job<'a>,
    channel: &Channel,
    surroundings: &Surroundings<'_>,
) -> Result<Option<Settled<'a>>> {
    let plan = job.plan;
    rustix::process::setsid().context("start a session")?;
    if plan.namespaces.new & NEWCGROUP != 0 {
        // In the cgroup by now, which becomes the root of what the namespace shows.
        clone::unshare(NEWCGROUP).context("make a cgroup namespace")?;
    }
    if !plan.net_devices.is_empty() {
        ask(channel, &ToParent::NeedNetDevices(Netlink::open()?.into()))?;
    }
    if plan.loopback {
        crate::network::bring_up_loopback()?;
    }
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).context("hostname: sethostname")?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes()).context("domainname: setdomainname")?;
    }
    let mut console = None;
    let proc = match &plan.rootfs {
        Some(rootfs) => {
            // Modes given to mknod and mkdir are meant as they are.
            let umask = rustix::process::umask(Mode::empty());
            let proc = build_rootfs(job, rootfs, channel, &mut console)?;
            rustix::process::umask(umask);
            proc
        }
        None => {
            // setns of a mount namespace has made its root our root already.
            rustix::process::chdir("/").context("chdir to /")?;
            console = open_console(job, channel, Pty::open_here)?;
            None
        }
    };
    if job.gate.is_some() {
        // Before a filter is loaded, and with the parent there to tell what has ended it.
        signal::die_on_signals().context("unblock signals")?;
    }
    match &plan.process {
        Some(process) => tail::settle(process, surroundings, console, proc.as_ref()).map(Some),
        None => Ok(None),
    }
}

fn build_rootfs(
    job: &Job<'_>,
    rootfs: &crate::plan::Rootfs,
    channel: &Channel,
    console: &mut Option<Pty>,
) -> Result<Option<Proc>> {
    let plan = job.plan;
    rootfs::isolate(rootfs)?;
    let sources = match !job.unprivileged && rootfs.wants_helper(&plan.namespaces) {
        true => ask_for_sources(channel, rootfs.mounts.len())?,
        false => Sources::Own,
    };
    let prepared = Prepared::new(rootfs, sources, job.cgroup_view)?;
    *console = open_console(job, channel, || match prepared.devpts() {
        Some(devpts) => Pty::open(devpts),
        None => prepared.open_pty(),
    })?;
    if let Some(console) = console {
        prepared.console(console.slave.as_fd())?;
    }
    if !plan.hooks.prestart.is_empty() || !plan.hooks.create_runtime.is_empty() {
        ask(channel, &ToParent::NeedRuntimeHooks)?;
    }
    if !plan.hooks.create_container.is_empty() {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let state = job.identity.state("creating", pid);
        // The umask that a new root would have: ours is 0 meanwhile.
        let none = rustix::process::umask(Mode::from_raw_mode(0o022));
        let at = Setting::at(&job.identity.rootfs);
        crate::hooks::run("createContainer", &plan.hooks.create_container, &state, at)?;
        rustix::process::umask(none);
    }
    let mut entered = prepared.enter()?;
    let mut proc = entered.proc.take();
    if !plan.sysctl.is_empty() {
        let handle = match proc.take() {
            Some(proc) => proc,
            None => Proc::open().context("linux.sysctl")?,
        };
        for (file, value) in &plan.sysctl {
            handle
                .write(&format!("sys/{file}"), value.as_bytes())
                .with_context(|| format!("linux.sysctl: write {value:?} to /proc/sys/{file}"))?;
        }
        proc = Some(handle);
    }
    entered.finish()?;
    Ok(proc)
}

fn open_console(job: &Job<'_>, channel: &Channel, open: impl FnOnce() -> Result<Pty>) -> Result<Option<Pty>> {
    let Some(process) = job.plan.process.as_ref().filter(|process| process.terminal) else { return Ok(None) };
    let pty = open().context("process.terminal")?;
    if let Some(size) = process.console_size {
        pty.resize(size)?;
    }
    // Here and not by the parent, which may hear of the terminal after the exec. `--console-socket` is for terminals of
    // others, who set them as they like.
    if matches!(job.terminal, Terminal::Keep) && !rustix::termios::isatty(rustix::stdio::stdout()) {
        pty.keep_newlines()?;
    }
    let master = pty.master.try_clone().context("dup")?;
    channel.tell_parent(&ToParent::Console(master))?;
    Ok(Some(pty))
}

fn ask_for_sources(channel: &Channel, mounts: usize) -> Result<Sources> {
    channel.tell_parent(&ToParent::NeedSources)?;
    let mut root = None;
    let mut given: Vec<Option<OwnedFd>> = (0..mounts).map(|_| None).collect();
    loop {
        match channel.hear_parent()? {
            Some(ToChild::Source(0, fd)) => root = Some(fd),
            Some(ToChild::Source(index, fd)) => {
                if let Some(slot) = given.get_mut(index as usize - 1) {
                    *slot = Some(fd);
                }
            }
            Some(ToChild::Done) => break,
            _ => return Err(Error::new(Kind::System, "the runtime has gone")),
        }
    }
    let root = root.ok_or_else(|| Error::new(Kind::System, "no root file system from the runtime"))?;
    Ok(Sources::Given(root, given))
}

/// Who has said that it is time to execute.
enum Word {
    /// The parent, which knows what signals are ignored.
    Parent { ignored: u32 },
    /// Who came to the gate, over this connection, on which a failure is to be told.
    Gate(OwnedFd),
}

/// Reports to the parent and waits for the word to execute.
fn wait(job: &Job<'_>, channel: &Channel) -> Result<Word> {
    if let Some(gate) = &job.gate {
        // Init may wait at the gate for days: what it has inherited from the engine, pipes that somebody reads to
        // their end among it, goes before `create` returns.
        let first = 3 + job.plan.process.as_ref().map_or(0, |process| process.preserve_fds);
        close_all_but(&[gate.as_raw_fd(), channel.as_fd().as_raw_fd()], first);
    }
    channel.tell_parent(&ToParent::Ready)?;
    match (channel.hear_last_word()?, &job.gate) {
        (Some(ToChild::Start { ignored }), _) => Ok(Word::Parent { ignored }),
        (Some(ToChild::Done), Some(gate)) => gate::wait(gate.as_fd()).map(Word::Gate),
        _ => Err(Error::new(Kind::System, "the runtime has gone")),
    }
}

fn close_all_but(keep: &[RawFd], first: u32) {
    let mut from = first;
    let mut keep: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    keep.sort_unstable();
    for fd in keep {
        if fd > from {
            // Their owners are up the stack, where this process never returns.
            let _ = exec::close_range_forgotten(from, fd - 1);
        }
        from = from.max(fd + 1);
    }
    let _ = exec::close_range_forgotten(from, u32::MAX);
}

fn execute(settled: Option<Settled<'_>>, surroundings: &Surroundings<'_>, ignored: u32) -> Error {
    let Some(settled) = settled else { return gate::nothing_to_start() };
    match tail::restore_signals(ignored) {
        Ok(()) => settled.execute(surroundings),
        Err(e) => e,
    }
}
