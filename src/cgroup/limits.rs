//! Writing limits: which hierarchy has the controller, what a refusal means, what must be switched on.

use super::Manager;
use super::create::denied;
use super::dir::Dir;
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::cgroup::{CgroupPlan, Tolerate, Write};

type Job<'a> = (&'a Dir, &'a Write);

impl Manager {
    /// Writes every limit of the plan, in its order.
    pub(super) fn write_limits(&self, plan: &CgroupPlan) -> Result<()> {
        let jobs = self.jobs(plan)?;
        if let Some(dir) = self.unified() {
            enable(dir, &jobs)?;
        }
        let mut again: Vec<Job<'_>> = Vec::new();
        for (dir, write) in jobs {
            match perform(dir, write) {
                Err(Errno::EINVAL) if write.again => again.push((dir, write)),
                result => result.map_err(|errno| refused(dir, write, errno))?,
            }
        }
        for (dir, write) in again {
            perform(dir, write).map_err(|errno| refused(dir, write, errno))?;
        }
        Ok(())
    }

    /// Which write goes to which directory. In a hybrid a controller is in v1 or in v2, never in both.
    fn jobs<'a>(&'a self, plan: &'a CgroupPlan) -> Result<Vec<Job<'a>>> {
        match self {
            Manager::None => match plan.v1.as_ref().map_err(Error::clone)?.first() {
                Some(write) => Err(missing(write, "the container has no cgroup")),
                None => Ok(Vec::new()),
            },
            Manager::V2(v2) => {
                let writes = plan.v2.as_ref().map_err(Error::clone)?;
                Ok(writes.iter().map(|write| (&v2.dir, write)).collect())
            }
            Manager::V1(v1) => {
                let mut jobs = Vec::new();
                // Controllers v1 does not have, under their v2 names.
                let mut elsewhere: Vec<&str> = Vec::new();
                for write in plan.v1.as_ref().map_err(Error::clone)? {
                    if let Some(dir) = self.v1(&write.controller) {
                        jobs.push((dir, write));
                        continue;
                    }
                    let v2_name = if write.controller == "blkio" { "io" } else { &write.controller };
                    let in_v2 = || plan.v2.iter().flatten().any(|write| write.controller == v2_name);
                    match &v1.unified {
                        Some(_) if elsewhere.contains(&v2_name) => {}
                        Some(_) if in_v2() => elsewhere.push(v2_name),
                        _ if write.tolerate == Tolerate::Anything => {}
                        _ => return Err(missing(write, "it is not mounted")),
                    }
                }
                if let Some(dir) = v1.unified.as_ref().filter(|_| !elsewhere.is_empty()) {
                    let writes = plan.v2.as_ref().map_err(Error::clone)?;
                    let wanted = writes.iter().filter(|write| elsewhere.contains(&&*write.controller));
                    jobs.extend(wanted.map(|write| (dir, write)));
                }
                Ok(jobs)
            }
        }
    }

    /// `checkBeforeUpdate`: refuse a memory limit the container is above already, instead of killing it.
    pub(super) fn check_floor(&self, plan: &CgroupPlan) -> Result<()> {
        let Some(floor) = plan.memory_floor else { return Ok(()) };
        let usage = match (self.v1("memory"), self.unified()) {
            (Some(dir), _) => dir.read("memory.usage_in_bytes"),
            (None, Some(dir)) => dir.read("memory.current"),
            (None, None) => return Ok(()),
        };
        // Best effort, as in runc: no usage, nothing to compare with.
        let Some(usage) = usage.ok().and_then(|text| text.trim().parse::<u64>().ok()) else { return Ok(()) };
        for (limit, name, field) in
            [(floor.swap, "memory+swap", "memory.swap"), (floor.limit, "memory", "memory.limit")]
        {
            if let Some(limit) = limit.filter(|limit| *limit <= usage) {
                let what = format!("rejecting {name} limit {limit} <= usage {usage}");
                return Err(Error::new(Kind::State, what).context(format!("linux.resources.{field}")));
            }
        }
        Ok(())
    }
}

fn perform(dir: &Dir, write: &Write) -> Result<(), Errno> {
    let mut result = dir.write(&write.file, &write.value);
    if let (Err(Errno::ENOENT), Some((file, value))) = (result, &write.instead) {
        result = dir.write(file, value);
    }
    match (result, write.tolerate) {
        (Err(_), Tolerate::Anything) | (Err(Errno::ENOENT), Tolerate::Missing) => Ok(()),
        (result, _) => result,
    }
}

fn refused(dir: &Dir, write: &Write, errno: Errno) -> Error {
    let Write { file, value, field, .. } = write;
    let what = format!("write {value:?} to {}/{file}", dir.path);
    let number = |file| dir.read(file).ok().map(|text| text.trim().to_owned()).unwrap_or_default();
    match errno {
        // The v1 kernel will not kill to get below a new limit.
        Errno::EBUSY if file == "memory.limit_in_bytes" => {
            let usage = number("memory.usage_in_bytes");
            let peak = number("memory.max_usage_in_bytes");
            let words =
                format!("unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})");
            Error::os(errno, what).context(words)
        }
        Errno::ENOENT => Error::os(errno, what).context("the kernel does not have this limit"),
        _ => denied(errno, what),
    }
    .context(field.clone())
}

fn missing(write: &Write, why: &str) -> Error {
    let Write { controller, field, .. } = write;
    let what = format!("cannot be set: controller {controller:?} not available: {why}");
    Error::new(Kind::Unsupported, what).context(field.clone())
}

/// Sees to it that the v2 directory has the controllers the writes need, switching on those it lacks in
/// every ancestor. Costs nothing when nothing is written to v2, and one read when all is there.
fn enable(dir: &Dir, jobs: &[Job<'_>]) -> Result<()> {
    let mut lacking: Vec<&Write> = Vec::new();
    for (at, write) in jobs {
        if at.path == dir.path
            && write.controller != "cgroup"
            && !lacking.iter().any(|w| w.controller == write.controller)
        {
            lacking.push(write);
        }
    }
    let controllers = |dir: &Dir, file: &str| match dir.read(file) {
        Err(Errno::ENOENT) => Ok(None),
        other => other.map(Some).map_err(|e| Error::os(e, format!("read {}/{file}", dir.path))),
    };
    if lacking.is_empty() {
        return Ok(());
    }
    let has = |list: &str, write: &Write| list.split_whitespace().any(|name| name == write.controller);
    let own = controllers(dir, "cgroup.controllers")?.unwrap_or_default();
    lacking.retain(|write| !has(&own, write));
    if lacking.is_empty() {
        return Ok(());
    }
    // From the mount point, which is where there is no such file above, down to the parent.
    let mut ancestors = Vec::new();
    let mut next = dir.parent();
    while let Some(parent) = next {
        let Some(list) = controllers(&parent, "cgroup.subtree_control")? else { break };
        next = parent.parent();
        ancestors.push((parent, list));
    }
    for (parent, list) in ancestors.iter().rev() {
        for write in &lacking {
            if has(list, write) {
                continue;
            }
            let change = format!("+{}", write.controller);
            parent
                .write("cgroup.subtree_control", &change)
                .map_err(|errno| cannot_enable(parent, write, errno))?;
        }
    }
    Ok(())
}

fn cannot_enable(parent: &Dir, write: &Write, errno: Errno) -> Error {
    let what = format!("write \"+{}\" to {}/cgroup.subtree_control", write.controller, parent.path);
    let error = match errno {
        // EINVAL: the kernel knows no such controller at all. ENOENT: not given to this cgroup.
        Errno::ENOENT | Errno::EINVAL => {
            let there = parent.read("cgroup.controllers").unwrap_or_default();
            return missing(write, &format!("{} has {:?}", parent.path, there.trim()));
        }
        Errno::EBUSY => Error::os(errno, what)
            .context("a cgroup that has processes of its own cannot give controllers to others"),
        Errno::EOPNOTSUPP => Error::os(errno, what).context("the cgroup is threaded"),
        _ => denied(errno, what),
    };
    error.context(write.field.clone())
}
