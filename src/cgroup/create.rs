//! Making the cgroup, and unmaking it when the rest of the creation fails.

use super::controllers::enable_all;
use super::dir::Dir;
use super::layout::{self, Layout};
use super::{Group, Manager, V1, V2};
use crate::error::{Errno, Error, Kind, Result};
use crate::plan::cgroup::CgroupPlan;

/// The directories that were made for a cgroup, parents first; dropping removes them, the last one first.
#[derive(Debug, Default)]
#[must_use = "dropping removes the cgroup"]
pub struct Made(Vec<Dir>);

impl Made {
    /// They stay.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            // Somebody else may have put a cgroup into a parent meanwhile: then it stays.
            let _ = dir.rmdir();
        }
    }
}

impl Manager {
    /// The cgroup `plan` describes, before it is made: what is recorded first, so that one who is killed while making
    /// it leaves nothing that cannot be found.
    ///
    /// # Errors
    /// The runtime's own cgroup, below which it is to be, cannot be read.
    pub fn planned(layout: &Layout, plan: &CgroupPlan) -> Result<Manager> {
        let unified =
            layout.unified.as_ref().map(|hierarchy| layout.dir(hierarchy, &plan.place)).transpose()?;
        let mut groups = Vec::with_capacity(layout.v1.len());
        for hierarchy in &layout.v1 {
            let dir = layout.dir(hierarchy, &plan.place)?;
            groups.push(Group { names: hierarchy.names.clone(), dir });
        }
        Ok(match unified {
            Some(dir) if layout.is_v2() => Manager::V2(V2 { dir }),
            unified => Manager::V1(V1 { groups, unified }),
        })
    }

    /// Makes the cgroup `plan` describes in every hierarchy, with its parents, and writes all limits and
    /// the device policy. On failure everything made is removed again.
    ///
    /// # Errors
    /// The cgroup is there and has processes or is frozen; a limit has no controller or is refused; no
    /// permission ([`Error::errno`] tells, for callers that may go on without a cgroup).
    pub fn create(layout: &Layout, plan: &CgroupPlan) -> Result<Manager> {
        let manager = Manager::planned(layout, plan)?;
        let (made, unguarded) = manager.make_all(layout, plan)?;
        manager.guard(&plan.devices, unguarded, None)?;
        made.keep();
        Ok(manager)
    }

    /// The same for one that was [planned](Manager::planned), but a device policy that is a program is left to
    /// [`Manager::guard`], as the kernel's verifier takes 0.2 ms for it: it has to be in force before the first process
    /// that is not the runtime's own. The lines of v1 are written here: between the one that denies all and those that
    /// allow, our own process could make no node.
    /// What was made is given back, too, parents included: a later failure must leave nothing of it.
    ///
    /// # Errors
    /// As [`Manager::create`].
    pub fn create_unguarded(&self, layout: &Layout, plan: &CgroupPlan) -> Result<(Option<Unguarded>, Made)> {
        let (made, unguarded) = self.make_all(layout, plan)?;
        let left = match self.v1("devices") {
            Some(_) => {
                self.guard(&plan.devices, unguarded, None)?;
                None
            }
            None => Some(unguarded),
        };
        Ok((left, made))
    }
}

impl Manager {
    /// Looks whether a cgroup that systemd is to make is there already and is used, or could never be: systemd would put
    /// the process in all the same.
    ///
    /// # Errors
    /// It has processes or is frozen.
    pub fn check_unused(&self) -> Result<()> {
        self.unified().map_or(Ok(()), check_unused)?;
        let freezer = |group: &Group| layout::has(&group.names, "freezer");
        self.groups().iter().try_for_each(|group| check_unused_v1(&group.dir, freezer(group)))?;
        // Not yet there itself.
        let mut above = self.unified().into_iter().chain(self.v1("freezer")).filter_map(Dir::parent);
        above.try_for_each(|dir| check_above(&dir))
    }

    /// What [`Manager::guard`] will be left to do in a cgroup of systemd.
    pub fn unguarded(&self) -> Option<Unguarded> {
        self.v1("devices").is_none().then_some(Unguarded { fresh: true })
    }

    /// Does what systemd leaves to do in the cgroup it has made, so that it is as [`Manager::create_unguarded`] makes it.
    pub(super) fn complete(&self, layout: &Layout, plan: &CgroupPlan) -> Result<()> {
        let mut made = Made::default();
        let mut controllers = None;
        if let (Some(dir), Some(hierarchy)) = (self.unified(), &layout.unified) {
            if !layout.is_v2() {
                make(dir, &layout.mount_point(hierarchy), &mut made)?;
            } else if dir.exists() {
                controllers = Some(enable_all(dir, &layout.at(hierarchy, ""))?);
            } else {
                let what = format!("systemd has made its cgroup elsewhere than at {}", dir.path);
                return Err(Error::new(Kind::System, what));
            }
        }
        for (group, hierarchy) in self.groups().iter().zip(&layout.v1) {
            make(&group.dir, &layout.mount_point(hierarchy), &mut made)?;
        }
        self.fill(plan, controllers.as_deref())?;
        if self.v1("devices").is_some() {
            self.guard(&plan.devices, Unguarded { fresh: true }, None)?;
        }
        made.keep();
        Ok(())
    }

    fn make_all(&self, layout: &Layout, plan: &CgroupPlan) -> Result<(Made, Unguarded)> {
        let mut made = Made::default();
        let mut fresh = true;
        let mut controllers = None;
        if let (Some(dir), Some(hierarchy)) = (self.unified(), &layout.unified) {
            fresh = make(dir, &layout.mount_point(hierarchy), &mut made)?;
            if fresh {
                check_above(dir)?
            } else {
                check_unused(dir)?
            }
            if layout.is_v2() {
                controllers = Some(enable_all(dir, &layout.at(hierarchy, ""))?);
            }
        }
        let mut fresh_devices = fresh;
        for (group, hierarchy) in self.groups().iter().zip(&layout.v1) {
            let new = make(&group.dir, &layout.mount_point(hierarchy), &mut made)?;
            if !new {
                check_unused_v1(&group.dir, hierarchy.has("freezer"))?;
            } else if hierarchy.has("freezer") {
                check_above(&group.dir)?;
            }
            if hierarchy.has("devices") {
                fresh_devices = new;
            }
        }
        self.fill(plan, controllers.as_deref())?;
        Ok((made, Unguarded { fresh: fresh_devices }))
    }

    fn fill(&self, plan: &CgroupPlan, controllers: Option<&str>) -> Result<()> {
        let cpuset = self.v1("cpuset");
        if let Some(parent) = cpuset.and_then(Dir::parent).filter(|_| plan.v1.has("cpuset")) {
            // What a cpuset may use must be a part of what its parent may use.
            inherit_cpuset(&parent)?;
        }
        self.write_limits(plan, controllers)?;
        cpuset.map_or(Ok(()), inherit_cpuset)
    }
}

/// A cgroup whose device policy is not in force yet.
#[derive(Debug)]
#[must_use = "the cgroup's processes may use every device"]
pub struct Unguarded {
    /// Nobody has used it before.
    pub(super) fresh: bool,
}

/// Makes a directory and what is missing above it, below the mount point. False when it was there already.
fn make(dir: &Dir, mount_point: &str, made: &mut Made) -> Result<bool> {
    let result = match dir.mkdir() {
        Err(Errno::ENOENT) => {
            match dir.parent() {
                Some(parent) if parent.path.len() > mount_point.len() => make(&parent, mount_point, made)?,
                _ => return Err(Error::os(Errno::ENOENT, format!("create cgroup {}", dir.path))),
            };
            dir.mkdir()
        }
        other => other,
    };
    match result {
        Ok(()) => {
            made.0.push(dir.clone());
            Ok(true)
        }
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(denied(errno, format!("create cgroup {}", dir.path))),
    }
}

/// Says what lack of permission means here.
pub(super) fn denied(errno: Errno, what: String) -> Error {
    match errno {
        Errno::EACCES | Errno::EPERM => {
            Error::os(errno, what).context("no permission: the cgroup is not delegated to this user")
        }
        Errno::EROFS => Error::os(errno, what).context("the cgroup file system is mounted read-only"),
        _ => Error::os(errno, what),
    }
}

fn in_use(dir: &Dir) -> Result<()> {
    let mut pids = Vec::new();
    dir.pids(&mut pids)?;
    if pids.is_empty() {
        return Ok(());
    }
    // The first words are runc's, which people and scripts look for.
    let what = format!("container's cgroup is not empty: {} process(es) found", pids.len());
    Err(Error::new(Kind::State, format!("{what} in {}", dir.path)))
}

fn frozen(dir: &Dir) -> Error {
    Error::new(Kind::State, format!("container's cgroup unexpectedly frozen: {}", dir.path))
}

/// A new cgroup is frozen when one above it is: the container would never start, and create wait for ever.
fn check_above(dir: &Dir) -> Result<()> {
    let v2 =
        || dir.read_short("cgroup.events").map(|events| super::dir::value_of(&events, "frozen") == Some(1));
    let v1 = || dir.read_short("freezer.state").map(|state| state.trim() != "THAWED");
    match v2().or_else(|_| v1()) {
        Ok(true) => Err(frozen(dir).context("it is in a cgroup that is frozen")),
        _ => Ok(()),
    }
}

/// A cgroup that was there before us must have no processes and not be frozen: they would be limited, and
/// killed, with the container, or it would never start. One that is not there is fine.
fn check_unused(dir: &Dir) -> Result<()> {
    let events = match dir.read_short("cgroup.events") {
        Err(Errno::ENOENT) => return Ok(()),
        events => events.map_err(|e| Error::os(e, format!("read {}/cgroup.events", dir.path)))?,
    };
    if super::dir::value_of(&events, "populated") != Some(0) {
        in_use(dir)?;
    }
    match super::dir::value_of(&events, "frozen") {
        Some(1) => Err(frozen(dir)),
        _ => check_domain(dir),
    }
}

/// A v2 cgroup in a threaded tree takes threads of processes that are there already, and no process: clone3 would say
/// "operation not supported".
pub(super) fn check_domain(dir: &Dir) -> Result<()> {
    match dir.read_short("cgroup.type").as_deref().map(str::trim) {
        Ok(kind @ ("threaded" | "domain invalid")) => {
            let what = format!("container's cgroup can hold no process: its type is {kind:?}: {}", dir.path);
            Err(Error::new(Kind::State, what))
        }
        _ => Ok(()),
    }
}

fn check_unused_v1(dir: &Dir, freezer: bool) -> Result<()> {
    in_use(dir)?;
    if freezer && dir.read_short("freezer.state").is_ok_and(|state| state.trim() != "THAWED") {
        return Err(frozen(dir));
    }
    Ok(())
}

/// A new v1 cpuset is empty and lets nobody in, unless its parent has `cgroup.clone_children`: fill it, and those above
/// it that are empty, too, whoever has made them, with what the next one above may use.
fn inherit_cpuset(dir: &Dir) -> Result<()> {
    ["cpuset.cpus", "cpuset.mems"].iter().try_for_each(|file| inherit(dir, file).map(drop))
}

/// The value of a file, which is that of the next cgroup above if there was none. The root has one.
fn inherit(dir: &Dir, file: &str) -> Result<String> {
    let failed = |errno| Error::os(errno, format!("inherit {}/{file}", dir.path));
    let own = dir.read_short(file).map_err(failed)?;
    if !own.trim().is_empty() {
        return Ok(own);
    }
    let Some(parent) = dir.parent() else { return Ok(own) };
    let value = inherit(&parent, file)?;
    dir.write(file, value.trim()).map_err(failed)?;
    Ok(value)
}
