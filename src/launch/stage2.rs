//! Stage 2: the container's init, which builds the inside and becomes the user's program.

use std::os::fd::AsFd;

use rustix::fs::Mode;

use super::protocol::{Channel, ToChild, ToParent};
use super::stage1::{self, ask, fail};
use super::tail::{self, Settled, Surroundings};
use super::{Job, Terminal, descriptors, sources};
use crate::console::Pty;
use crate::error::{Context, Error, Kind, Result};
use crate::gate;
use crate::hooks::Setting;
use crate::network::Netlink;
use crate::path::Proc;
use crate::plan::libc_flag::NEWCGROUP;
use crate::rootfs::{self, Prepared};
use crate::sys::exec::Strings;
use crate::sys::{clone, signal};
use crate::weaken::weakened;

/// Runs stage 2. Does not return: it executes, or ends.
pub fn run(job: &Job<'_>, channel: &Channel) -> ! {
    let surroundings = Surroundings { job, channel };
    let settled = stage1::end_with_the_parent(channel)
        .and_then(|()| build(job, channel))
        .and_then(|settled| get_ready(settled, surroundings));
    let settled = match settled {
        Ok(settled) => settled,
        Err(e) => fail(channel, e),
    };
    match (wait(channel), &job.gate) {
        (Ok(ToChild::Start { ignored }), None) => {
            let ready = tail::restore_signals(ignored);
            let error = ready.map_or_else(|e| e, |()| execute(settled, surroundings));
            fail(channel, error)
        }
        (Ok(ToChild::Done), Some(gate)) => {
            let error = gate.wait().map_or_else(|e| e, |()| execute(settled, surroundings));
            gate.fail(&error);
            clone::exit_now(1)
        }
        (Ok(_), _) => fail(channel, Error::new(Kind::System, "unexpected message on the init socket")),
        (Err(e), _) => fail(channel, e),
    }
}

/// Everything that can be done, and can fail, before `start`.
fn build<'a>(job: &Job<'a>, channel: &Channel) -> Result<Option<Settled<'a>>> {
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
        Some(process) => tail::settle(process, Surroundings { job, channel }, console, proc).map(Some),
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
    let prepared = match !job.unprivileged && rootfs.wants_helper(&plan.namespaces) {
        true => {
            let helper = helper(channel)?;
            Prepared::new(rootfs, &mut |wanted| sources::ask(&helper, wanted), job.cgroup_view)?
        }
        false => {
            let mut host = rootfs::source::Host::new(rootfs);
            Prepared::new(rootfs, &mut |wanted| host.open(wanted), job.cgroup_view)?
        }
    };
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
        // The caller's environment is overwritten by now. runc's init has the process's own.
        let env = Strings::new(plan.process.iter().flat_map(|process| process.env.clone()).collect());
        let setting = Setting { dir: Some(&job.identity.rootfs), env: Some(&env) };
        crate::hooks::run("createContainer", &plan.hooks.create_container, &state, setting)?;
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

/// The socket of the helper that opens sources; its end, on the way out, ends the helper.
fn helper(channel: &Channel) -> Result<Channel> {
    channel.tell_parent(&ToParent::NeedHelper)?;
    match channel.hear_parent()? {
        Some(ToChild::Helper(socket)) => Ok(Channel::new(socket)),
        _ => Err(Error::new(Kind::System, "the runtime has gone")),
    }
}

/// The last that can fail before the parent is told that all is ready.
///
/// Init may wait at the gate for days. What it has inherited from the engine, pipes that are read to their end among it, is
/// closed before `create` returns, and it waits with the rights that its program will have: whoever can reach it by then
/// gains nothing. After the filter is loaded nothing but read, write and execve may be needed.
fn get_ready<'a>(
    mut settled: Option<Settled<'a>>,
    surroundings: Surroundings<'_, '_>,
) -> Result<Option<Settled<'a>>> {
    let job = surroundings.job;
    descriptors::keep_lasting(job, surroundings.channel)?;
    rustix::process::set_parent_process_death_signal(None).context("clear the parent death signal")?;
    if let Some(settled) = &settled {
        settled.pass_descriptors_on()?;
    }
    let Some(ready) = &mut settled else { return Ok(settled) };
    if job.seccomp.is_some_and(|program| program.notify.is_some()) {
        // Its listener is handed over while the container is being created. Any other filter is loaded as late as can be,
        // so that it need not allow what is left.
        ready.give_up_rights(surroundings)?;
    } else if job.gate.is_some() && !weakened("rights") {
        ready.give_up_capabilities(surroundings)?;
    }
    Ok(settled)
}

/// Reports to the parent and waits for its last word.
fn wait(channel: &Channel) -> Result<ToChild> {
    channel.tell_parent(&ToParent::Ready)?;
    channel.hear_last_word()?.ok_or_else(|| Error::new(Kind::System, "the runtime has gone"))
}

fn execute(settled: Option<Settled<'_>>, surroundings: Surroundings<'_, '_>) -> Error {
    match settled {
        Some(settled) => settled.execute(surroundings),
        None => gate::nothing_to_start(),
    }
}
