//! Stage 1: the child of the parent's clone3, until it is, or has made, the container's init.

use std::os::fd::{AsFd, OwnedFd};

use rustix::thread::ThreadNameSpaceType;

use super::protocol::{Channel, ToChild, ToParent};
use super::{Job, Joins, Way, descriptors, stage2};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::plan::Steps;
use crate::plan::libc_flag::{NEWTIME, NEWUSER};
use crate::plan::namespaces::{self, Join, Rest};
use crate::security::ids;
use crate::sys::clone;
use crate::weaken::weakened;

/// Runs stage 1 and all that follows. Does not return.
pub fn run(job: &Job<'_>, steps: Steps, channel: &Channel) -> ! {
    let error = match enter(job, steps, channel) {
        Ok(Role::Init) => stage2::run(job, channel),
        // Stage 2 goes on as the parent's child; this process was only its midwife.
        Ok(Role::Midwife) => clone::exit_now(0),
        Err(error) => error,
    };
    fail(channel, error)
}

/// Tells the parent, and ends.
pub fn fail(channel: &Channel, error: Error) -> ! {
    let _ = channel.tell_parent(&ToParent::Failed(error));
    clone::exit_now(1)
}

enum Role {
    Init,
    Midwife,
}

fn enter(job: &Job<'_>, steps: Steps, channel: &Channel) -> Result<Role> {
    end_with_the_parent(channel)?;
    descriptors::keep_for_entering(job, channel)?;
    crate::sys::start::conceal_arguments();
    if let Some(process) =
        job.plan.process.as_ref().filter(|process| !process.cpu_affinity.initial.is_empty())
    {
        crate::sys::sched::set_affinity(0, &process.cpu_affinity.initial)
            .context("process.execCPUAffinity.initial: set the CPU affinity")?;
    }
    if job.unprivileged {
        set_own_oom_score(job)?;
    }
    // What is done from here on is paid by the container.
    match job.cgroup {
        Way::Open(entry) => entry.join()?,
        Way::Admitted { rest, .. } => {
            ask(channel, &ToParent::NeedCgroup)?;
            rest()?;
        }
    }
    set_final_affinity(job)?;
    // The container's processes may look at us from now on (CVE-2016-9962): those that are there, and those that an exec
    // brings in while we wait for `start`.
    if !job.unprivileged {
        hide()?;
    }
    let rest = match &job.joins {
        Joins::Process { pidfd, kinds, root } => {
            hide()?;
            if let Some(root) = root {
                rustix::process::fchdir(root).context("enter the root of the container")?;
                rustix::process::chroot(".").context("chroot to the root of the container")?;
            }
            if *kinds != 0 {
                rustix::thread::move_into_thread_name_spaces(
                    pidfd.as_fd(),
                    ThreadNameSpaceType::from_bits_retain(*kinds as u32),
                )
                .context("join the namespaces of the container")?;
            }
            if kinds & NEWUSER != 0 {
                ids::become_root()?;
            }
            steps.rest
        }
        Joins::Files(joins) => {
            join_all(joins)?;
            if steps.unshare_user {
                clone::unshare(NEWUSER).context("make a user namespace")?;
            }
            if job.plan.namespaces.new & NEWUSER != 0 {
                show(job)?;
                ask(channel, &ToParent::NeedIdMap)?;
            }
            if steps.unshare_time {
                clone::unshare(NEWTIME).context("make a time namespace")?;
                show(job)?;
                ask(channel, &ToParent::NeedTimeOffsets)?;
            }
            if job.plan.namespaces.new & NEWUSER != 0 {
                // Not before: root of the namespace need not be the user, to whom our files in /proc would be lost.
                ids::become_root()?;
            }
            if !joins.is_empty() {
                // In nobody's pid namespace but the runtime's until here.
                hide()?;
            }
            steps.rest
        }
    };
    // From here on processes of the container may see this one, or its child.
    descriptors::keep_lasting(job, channel)?;
    match rest {
        Rest::Nothing => Ok(Role::Init),
        Rest::Unshare(kinds) => {
            clone::unshare(kinds).context("make the namespaces")?;
            Ok(Role::Init)
        }
        Rest::Fork(kinds) => match clone::clone3_sibling(kinds).context("make the container's init")? {
            0 => {
                // Not a word before the parent knows whose words they are: it would take them for stage 1's.
                match channel.hear_parent()? {
                    Some(ToChild::Done) => Ok(Role::Init),
                    _ => Err(Error::new(Kind::System, "the runtime has gone")),
                }
            }
            pid => {
                channel.tell_parent(&ToParent::InitPid(pid))?;
                Ok(Role::Midwife)
            }
        },
    }
}

/// The CPUs of an exec that asks for some; else all that the cgroup allows. The caller's own affinity (a unit's
/// CPUAffinity, say) is no business of the container's, and since Linux 6.2 it would outlive the move into a cpuset.
fn set_final_affinity(job: &Job<'_>) -> Result<()> {
    let wanted = job.plan.process.as_ref().map_or(&[][..], |process| &process.cpu_affinity.last);
    match wanted {
        [] => crate::sys::sched::reset_affinity().context("reset the CPU affinity"),
        cpus => crate::sys::sched::set_affinity(0, cpus)
            .context("process.execCPUAffinity.final: set the CPU affinity"),
    }
}

/// Joins what can be joined with the rights of the outside; what needs those of the joined user namespace, which
/// is the last, is tried again in it.
fn join_all(joins: &[(Join, OwnedFd)]) -> Result<()> {
    let user = joins.iter().any(|(join, _)| join.kind == NEWUSER);
    let mut again = Vec::new();
    for (join, fd) in joins {
        match join_one(join, fd) {
            Ok(()) if join.kind == NEWUSER => ids::become_root()?,
            Ok(()) => {}
            Err(e) if e.errno() == Some(Errno::EPERM) && user && join.kind != NEWUSER => {
                again.push((join, fd))
            }
            Err(e) => return Err(e.context(describe(join))),
        }
    }
    for (join, fd) in again {
        join_one(join, fd).with_context(|| describe(join))?;
    }
    Ok(())
}

fn join_one(join: &Join, fd: &OwnedFd) -> Result<()> {
    match rustix::thread::move_into_link_name_space(fd.as_fd(), None) {
        // The kernel refuses to join the user namespace that one is in.
        Err(rustix::io::Errno::INVAL) if join.kind == NEWUSER => {
            Err(Errno::EINVAL).context("setns (it is the runtime's own)")
        }
        other => other.context("setns"),
    }
}

fn describe(join: &Join) -> String {
    let kind = namespaces::name(join.kind);
    format!("linux.namespaces[{}]: join {kind} namespace {}", join.index, join.path.display())
}

/// Has the kernel kill this process when the parent dies: half of a container must not live on. The kernel forgets it
/// with every change of user (prctl(2)), so it is said again after those.
pub fn end_with_the_parent(channel: &Channel) -> Result<()> {
    if weakened("death") {
        return Ok(());
    }
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("set the parent death signal")?;
    // It may have died before.
    match channel.is_ended() {
        true => Err(Error::new(Kind::System, "the runtime has gone")),
        false => Ok(()),
    }
}

/// Makes this process unreachable for ptrace and /proc/PID/{exe,fd,root} from inside the container.
fn hide() -> Result<()> {
    use rustix::process::DumpableBehavior;
    if weakened("dumpable") {
        return Ok(());
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("become non-dumpable")
}

/// Lets an unprivileged parent write to our files in /proc, which change their owner with every change of rights.
fn show(job: &Job<'_>) -> Result<()> {
    use rustix::process::DumpableBehavior;
    match job.unprivileged {
        true => rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).context("become dumpable"),
        false => Ok(()),
    }
}

/// By the process itself, in the runtime's mount namespace still: afterwards the file is not its user's any more.
fn set_own_oom_score(job: &Job<'_>) -> Result<()> {
    let Some(score) = job.plan.process.as_ref().and_then(|process| process.oom_score_adj) else {
        return Ok(());
    };
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
        .with_context(|| format!("process.oomScoreAdj: write {score} to oom_score_adj"))
}

/// Asks the parent for something, and waits until it is done.
pub fn ask(channel: &Channel, request: &ToParent) -> Result<()> {
    channel.tell_parent(request)?;
    match channel.hear_parent()? {
        Some(ToChild::Done) => Ok(()),
        // The parent was killed: what it has made is half of a container, which must not live on.
        _ => Err(Error::new(Kind::System, "the runtime has gone")),
    }
}
