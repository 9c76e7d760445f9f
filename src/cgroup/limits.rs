//! Writing limits: which hierarchy has the controller, what a refusal means, what must be switched on.

use super::Manager;
use super::controllers::enable_for;
use super::create::denied;
use super::dir::Dir;
use crate::error::{Errno, Error, Kind, Result};
use crate::log;
use crate::plan::cgroup::{CgroupPlan, Tolerate, Write};

type Job<'a> = (&'a Dir, &'a Write);

impl Manager {
    /// Writes every limit of the plan, in its order. `controllers` are those of the v2 directory, if they are known.
    pub(super) fn write_limits(&self, plan: &CgroupPlan, controllers: Option<&str>) -> Result<()> {
        let jobs = self.jobs(plan)?;
        if let Some(dir) = self.unified() {
            let writes = jobs.iter().filter(|(at, _)| at.path == dir.path).map(|(_, write)| *write);
            enable_for(dir, controllers, writes)?;
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
            Manager::Systemd(systemd) => systemd.files.jobs(plan),
            Manager::None => match plan.v1.writes()?.first() {
                Some(write) => Err(missing(write, "the container has no cgroup")),
                None => Ok(Vec::new()),
            },
            Manager::V2(v2) => {
                let writes = plan.v2.writes()?;
                plan.v2.warnings(None).for_each(|warning| log::warn(&warning));
                Ok(writes.iter().map(|write| (&v2.dir, write)).collect())
            }
            Manager::V1(v1) => {
                let mut jobs = Vec::new();
                // Controllers v1 does not have, under their v2 names.
                let mut elsewhere: Vec<&str> = Vec::new();
                for write in plan.v1.writes()? {
                    if let Some(dir) = self.v1(&write.controller) {
                        jobs.push((dir, write));
                        continue;
                    }
                    let v2_name = if write.controller == "blkio" { "io" } else { &write.controller };
                    match &v1.unified {
                        Some(_) if elsewhere.contains(&v2_name) => {}
                        Some(_) if plan.v2.has(v2_name) => elsewhere.push(v2_name),
                        _ if write.tolerate == Tolerate::Anything => {}
                        _ => return Err(missing(write, "it is not mounted")),
                    }
                }
                if let Some(dir) = v1.unified.as_ref().filter(|_| !elsewhere.is_empty()) {
                    plan.v2.warnings(Some(&elsewhere)).for_each(|warning| log::warn(&warning));
                    jobs.extend(plan.v2.writes_of(&elsewhere)?.map(|write| (dir, write)));
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

pub(super) fn missing(write: &Write, why: &str) -> Error {
    let Write { controller, field, .. } = write;
    let what = format!("cannot be set: controller {controller:?} not available: {why}");
    Error::new(Kind::Unsupported, what).context(field.clone())
}
