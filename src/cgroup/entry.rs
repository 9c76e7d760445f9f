//! Getting a process into the cgroup.

use super::dir::Dir;
use super::layout::{Layout, has, parse_own};
use super::{Group, Manager};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::cgroup::clean;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The open doors of a cgroup. Made by the parent, used by the child.
#[derive(Debug, Default)]
pub struct Entry {
    /// For clone3's `CLONE_INTO_CGROUP` (`O_PATH`). With it clone3 fails with `EBUSY` when the payload has
    /// made the cgroup an inner one (processes in children, controllers on): then take
    /// [`Manager::entry_of`]. `EOPNOTSUPP`: the cgroup is threaded or in a threaded tree.
    pub into: Option<OwnedFd>,
    /// The `tasks` file of every v1 cgroup, for writing.
    pub tasks: Vec<OwnedFd>,
    /// What to call each of them in an error.
    paths: Vec<String>,
}

impl Entry {
    /// Moves the calling process into the v1 cgroups. It must have one thread only: `0` in `tasks` moves the
    /// calling thread, which spares the grace period that moving a process costs. Before unsharing the
    /// cgroup namespace, whose root is where the process then is. Does not allocate unless it fails.
    ///
    /// # Errors
    /// The kernel refuses, e.g. `ENOSPC` for an empty cpuset, `EINVAL` for a real-time process.
    pub fn join(&self) -> Result<()> {
        for (tasks, path) in self.tasks.iter().zip(&self.paths) {
            super::dir::write_all(tasks, "0").with_context(|| format!("join cgroup {path}"))?;
        }
        Ok(())
    }
}

/// `exec --cgroup [CONTROLLERS:]PATH`: cgroups below the container's, by v1 controller; an empty name is
/// all of them, and v2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubCgroups {
    paths: BTreeMap<String, String>,
}

impl SubCgroups {
    /// Parses the values of all `--cgroup` options.
    ///
    /// # Errors
    /// A path leaves the container's cgroup, a controller is named twice, or several paths have no
    /// controller. Kind [`Kind::Usage`].
    pub fn parse<S: AsRef<str>>(arguments: &[S]) -> Result<SubCgroups> {
        let mut paths = BTreeMap::new();
        for argument in arguments.iter().map(AsRef::as_ref) {
            let bad =
                |why: &str| Error::new(Kind::Usage, format!("invalid --cgroup argument: {argument} ({why})"));
            let (controllers, path) = match argument.split_once(':') {
                Some((controllers, path)) => (controllers.split(',').collect(), path),
                None if arguments.len() == 1 => (vec![""], argument),
                None => return Err(bad("missing <controller>: prefix")),
            };
            // "/" and "." are the container's own cgroup.
            let trivial = path.split('/').all(|part| matches!(part, "" | "."));
            let path = if trivial { String::new() } else { clean(path).map_err(bad)? };
            for controller in controllers {
                if controller.is_empty() && argument.contains(':') {
                    return Err(bad("empty <controller> prefix"));
                }
                if paths.insert(controller.to_owned(), path.clone()).is_some() {
                    return Err(bad("multiple paths for one controller"));
                }
            }
        }
        Ok(SubCgroups { paths })
    }

    fn v2(&self) -> &str {
        self.paths.get("").map_or("", String::as_str)
    }

    fn v1(&self, names: &str) -> &str {
        let named = self.paths.iter().find(|(controller, _)| has(names, controller));
        named.map_or_else(|| self.v2(), |(_, path)| path)
    }
}

impl Manager {
    /// Opens the cgroup for a new process.
    ///
    /// # Errors
    /// The cgroup is gone, or there is no permission.
    pub fn entry(&self) -> Result<Entry> {
        self.entry_in(&SubCgroups::default())
    }

    /// Opens cgroups below the container's for a new process.
    ///
    /// # Errors
    /// As [`Manager::entry`]; a controller is named that this host has no v1 hierarchy for.
    pub fn entry_in(&self, sub: &SubCgroups) -> Result<Entry> {
        for controller in sub.paths.keys().filter(|controller| !controller.is_empty()) {
            if self.v1(controller).is_none() {
                let what = format!("exec --cgroup: there is no cgroup v1 controller {controller:?} here");
                return Err(Error::new(Kind::Usage, what));
            }
        }
        let mut entry = Entry::with_capacity(self.groups().len());
        if let Some(dir) = self.unified() {
            let below = if sub.v2().is_empty() { dir.clone() } else { dir.child(sub.v2()) };
            // Beside v1 a payload makes its cgroups there, not here.
            let below = if self.groups().is_empty() || below.exists() { below } else { dir.clone() };
            entry.into = Some(below.open_self().with_context(|| format!("open cgroup {}", below.path))?);
        }
        for Group { names, dir } in self.groups() {
            let below = match sub.v1(names) {
                "" => entry.add(dir.open("tasks", OFlags::WRONLY), &dir.path),
                below => entry
                    .add(dir.child(below).open("tasks", OFlags::WRONLY), &format!("{}/{below}", dir.path)),
            };
            below?;
        }
        Ok(entry)
    }

    /// Opens the cgroups the container's init process is in, wherever the payload has moved it. For a recorded cgroup
    /// that takes no process any more (the `EBUSY` case of [`Entry::into`]) or is gone; this is what runc does.
    ///
    /// # Errors
    /// As [`Manager::entry`]; the process is gone.
    pub fn entry_of(&self, layout: &Layout, init: i32) -> Result<Entry> {
        let text = std::fs::read_to_string(format!("/proc/{init}/cgroup"))
            .with_context(|| format!("read /proc/{init}/cgroup"))?;
        let mut entry = Entry::with_capacity(layout.v1.len());
        for (names, own) in parse_own(&text) {
            let hierarchy = match &layout.unified {
                Some(unified) if names.is_empty() => Some(unified),
                _ => layout.v1.iter().find(|hierarchy| hierarchy.names == names),
            };
            let Some(hierarchy) = hierarchy else { continue };
            if own.split('/').any(|part| part == "..") {
                let what = format!("cgroup {own} of process {init} is outside of our cgroup namespace");
                return Err(Error::new(Kind::State, what));
            }
            let dir = layout.at(hierarchy, own.trim_matches('/'));
            if names.is_empty() {
                entry.into = Some(dir.open_self().with_context(|| format!("open cgroup {}", dir.path))?);
            } else {
                entry.add(dir.open("tasks", OFlags::WRONLY), &dir.path)?;
            }
        }
        Ok(entry)
    }
}

impl Manager {
    /// Moves the calling process, which has one thread only, into the hierarchies of v1 that systemd, who has put it into
    /// this cgroup, does not know. As [`Entry::join`], of which this is the part that can be done only now.
    ///
    /// # Errors
    /// As [`Manager::entry`] and [`Entry::join`].
    pub fn join_rest(&self) -> Result<()> {
        if self.groups().is_empty() {
            return Ok(());
        }
        self.entry()?.join()?;
        let Some(dir) = self.unified() else { return Ok(()) };
        // Not systemd's, if it runs in the old way beside a v2 hierarchy that somebody else has mounted.
        let own = std::fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        match parse_own(&own).into_iter().find(|(names, _)| names.is_empty()) {
            Some((_, own)) if !dir.path.ends_with(own.trim_end_matches('/')) || own == "/" => {
                dir.write("cgroup.procs", "0").with_context(|| format!("join cgroup {}", dir.path))
            }
            _ => Ok(()),
        }
    }

    /// The descriptors that [`Manager::join_rest`] works through.
    pub fn handles(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.unified().into_iter().chain(self.groups().iter().map(|group| &group.dir)).map(Dir::handle)
    }

    /// Whether the cgroup is one of a user's own systemd.
    pub fn is_of_user(&self) -> bool {
        matches!(self, Manager::Systemd(systemd) if systemd.unit.user)
    }

    /// Has a process put into the cgroup by systemd, where the caller may not.
    ///
    /// # Errors
    /// It is not systemd's, or systemd refuses.
    pub fn attach(&self, pid: i32) -> Result<()> {
        match self {
            Manager::Systemd(systemd) => systemd.attach(pid),
            _ => Err(Error::new(Kind::Unsupported, "the cgroup is not systemd's")),
        }
    }
}

impl Entry {
    fn with_capacity(n: usize) -> Entry {
        Entry { into: None, tasks: Vec::with_capacity(n), paths: Vec::with_capacity(n) }
    }

    fn add(&mut self, tasks: Result<OwnedFd, crate::error::Errno>, path: &str) -> Result<()> {
        self.tasks.push(tasks.with_context(|| format!("open cgroup {path}"))?);
        self.paths.push(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_cgroups_stay_below_the_container() {
        let sub = SubCgroups::parse(&["a/./b"]).unwrap();
        assert_eq!((sub.v2(), sub.v1("memory")), ("a/b", "a/b"));
        let sub = SubCgroups::parse(&["cpu,cpuacct:x", "memory:/y"]).unwrap();
        assert_eq!((sub.v2(), sub.v1("cpu,cpuacct"), sub.v1("memory"), sub.v1("pids")), ("", "x", "y", ""));
        for trivial in ["", "/", ".", "/./"] {
            assert_eq!(SubCgroups::parse(&[trivial]).unwrap().v2(), "");
        }
        for bad in
            [&["../.."][..], &["memory:../x"], &["a", "b"], &[":x"], &["memory:a", "memory:b"], &["cpu,:a"]]
        {
            let error = SubCgroups::parse(bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{bad:?}: {error}");
        }
    }
}
