//! The container's cgroup: made before the container, written before any process is in it, removed last.
//!
//! [`Layout`] says what the host mounts, a [`CgroupPlan`] says what is wanted, [`Manager::create`] brings
//! the two together. On a hybrid host the limits go to the v1 hierarchies and a cgroup of the same path in
//! the v2 hierarchy gives what only v2 can: clone3's INTO_CGROUP, `cgroup.kill`, a pollable `populated`,
//! and whatever controllers live there.
//!
//! A process gets in by [`Entry`]: v2 by clone3, v1 by writing `0` to each `tasks` file itself, in the
//! single-threaded child. Both avoid `cgroup.procs`, whose first write waits for an RCU grace period
//! (4–15 ms measured).
//!
//! Where [`systemd`] makes the cgroup, the process is there first and systemd puts it in; all else is the same.
//!
//! Nothing here sleeps: waiting is poll(2) on `cgroup.events` or on the members' pidfds.

mod controllers;
mod create;
mod delegate;
mod devices;
mod dir;
mod entry;
mod layout;
mod lifecycle;
mod limits;
mod oom;
pub mod stats;
mod systemd;
mod view;
mod walk;

pub use create::{Made, Unguarded};
pub use entry::{Entry, SubCgroups};
pub use layout::{Layout, parse_own};
pub use oom::OomWatch;
pub use stats::Stats;
pub use systemd::{Maker, Systemd, Unit};
pub use view::{MountView, V1Mount};

use crate::error::{Context, Result};
use crate::plan::cgroup::CgroupPlan;
use dir::Dir;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The cgroup of one container, in whatever hierarchies this host has.
#[derive(Debug)]
pub enum Manager {
    /// Pure cgroup v2.
    V2(V2),
    /// cgroup v1, alone or beside a v2 hierarchy.
    V1(V1),
    /// Either, made by systemd.
    Systemd(Systemd),
    /// The container has no cgroup of its own.
    None,
}

/// A cgroup in the v2 hierarchy.
#[derive(Debug)]
pub struct V2 {
    dir: Dir,
}

/// A cgroup in every v1 hierarchy, and in the v2 hierarchy beside them if there is one.
#[derive(Debug)]
pub struct V1 {
    groups: Vec<Group>,
    unified: Option<Dir>,
}

/// A cgroup in one v1 hierarchy.
#[derive(Debug)]
struct Group {
    /// The controllers, as in /proc/PID/cgroup: `cpu,cpuacct`, `name=systemd`.
    names: String,
    dir: Dir,
}

/// What the store keeps. Without a path the container has no cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The absolute path of the cgroup by controller (or `name=…`). The v2 hierarchy has an empty name; alone it means
    /// pure v2. This is the shape of `cgroup_paths` in runc's state.json.
    pub paths: BTreeMap<String, String>,
    /// The unit, where systemd has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd: Option<Unit>,
}

impl V1 {
    /// Where devices are controlled.
    fn devices(&self) -> Option<&Dir> {
        self.groups.iter().find(|group| layout::has(&group.names, "devices")).map(|group| &group.dir)
    }
}

impl Manager {
    /// Opens what [`Manager::record`] described. Nothing is checked: the cgroup may be gone.
    ///
    /// # Errors
    /// A path in the record is not an absolute one.
    pub fn open(record: &Record) -> Result<Manager> {
        if record.paths.is_empty() {
            return Ok(Manager::None);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = Rc::new(rustix::fs::open("/", flags, Mode::empty()).context("open /")?);
        let mut unified = None;
        let mut groups: Vec<Group> = Vec::with_capacity(record.paths.len());
        for (name, path) in &record.paths {
            let below = path.strip_prefix('/').unwrap_or("");
            if below.is_empty() || below.split('/').any(|part| matches!(part, "" | "." | "..")) {
                crate::bail!(State, "the stored cgroup path {path:?} is not an absolute one");
            }
            let dir = Dir::new(&root, "", below);
            if name.is_empty() {
                unified = Some(dir);
            } else if let Some(group) = groups.iter_mut().find(|group| group.dir.path == *path) {
                // Controllers mounted together share the directory.
                group.names = format!("{},{name}", group.names);
            } else {
                groups.push(Group { names: name.clone(), dir });
            }
        }
        let files = match unified {
            Some(dir) if groups.is_empty() => Manager::V2(V2 { dir }),
            unified => Manager::V1(V1 { groups, unified }),
        };
        Ok(match &record.systemd {
            Some(unit) => Manager::Systemd(Systemd { unit: unit.clone(), files: Box::new(files) }),
            None => files,
        })
    }

    /// What [`Manager::open`] needs in a later call.
    pub fn record(&self) -> Record {
        let mut paths = BTreeMap::new();
        for group in self.groups() {
            for name in group.names.split(',') {
                paths.insert(name.to_owned(), group.dir.path.clone());
            }
        }
        if let Some(dir) = self.unified() {
            paths.insert(String::new(), dir.path.clone());
        }
        let systemd = match self {
            Manager::Systemd(systemd) => Some(systemd.unit.clone()),
            _ => None,
        };
        Record { paths, systemd }
    }

    /// Writes other limits into the cgroup of a running container. Devices stay as they are; those of the plan are the
    /// container's, for a systemd that has to be told them again.
    ///
    /// # Errors
    /// A limit cannot be set, or is below what is used while `checkBeforeUpdate` was asked for. Limits
    /// written before the failing one stay.
    pub fn apply(&self, plan: &CgroupPlan) -> Result<()> {
        self.check_floor(plan)?;
        if let Manager::Systemd(systemd) = self {
            // First: the files have more words.
            systemd.set(plan)?;
        }
        self.write_limits(plan, None)
    }

    /// The directory in the v2 hierarchy.
    fn unified(&self) -> Option<&Dir> {
        match self {
            Manager::V2(v2) => Some(&v2.dir),
            Manager::V1(v1) => v1.unified.as_ref(),
            Manager::Systemd(systemd) => systemd.files.unified(),
            Manager::None => None,
        }
    }

    /// The directories in the v1 hierarchies.
    fn groups(&self) -> &[Group] {
        match self {
            Manager::V1(v1) => &v1.groups,
            Manager::Systemd(systemd) => systemd.files.groups(),
            Manager::V2(_) | Manager::None => &[],
        }
    }

    /// The directory of one v1 controller.
    fn v1(&self, controller: &str) -> Option<&Dir> {
        self.groups().iter().find(|group| layout::has(&group.names, controller)).map(|group| &group.dir)
    }

    /// Every directory, the v2 one first.
    fn dirs(&self) -> impl Iterator<Item = &Dir> {
        self.unified().into_iter().chain(self.groups().iter().map(|group| &group.dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_store() {
        let json = r#"{"paths":{"":"/cg/unified/a","cpu":"/cg/cpu,cpuacct/a","cpuacct":"/cg/cpu,cpuacct/a","name=x":"/cg/x/a"}}"#;
        let record: Record = serde_json::from_str(json).unwrap();
        let manager = Manager::open(&record).unwrap();
        assert!(matches!(&manager, Manager::V1(v1) if v1.groups.len() == 2 && v1.unified.is_some()));
        assert_eq!(manager.v1("cpuacct").unwrap().path, "/cg/cpu,cpuacct/a");
        assert_eq!(serde_json::to_string(&manager.record()).unwrap(), json);

        let two: Record = serde_json::from_str(r#"{"paths":{"":"/cg/a/b"}}"#).unwrap();
        assert!(matches!(Manager::open(&two).unwrap(), Manager::V2(_)));
        assert_eq!(Manager::open(&two).unwrap().record(), two);
        let unit = Unit { name: "a-b.scope".into(), user: false };
        let scope = Record { systemd: Some(unit), ..two };
        assert!(matches!(Manager::open(&scope).unwrap(), Manager::Systemd(_)));
        assert_eq!(Manager::open(&scope).unwrap().record(), scope);
        assert!(matches!(Manager::open(&Record::default()).unwrap(), Manager::None));
    }

    #[test]
    fn a_record_cannot_point_elsewhere() {
        for path in ["", "/", "relative", "/a/../b", "/a//b", "/a/."] {
            let record = Record { paths: [(String::new(), path.to_owned())].into(), ..Record::default() };
            assert!(Manager::open(&record).is_err(), "{path:?}");
        }
    }
}
