//! The cgroup of a container that is being made: whose it is, where it is, and how the first process gets in.

use std::os::fd::AsFd;
use std::path::Path;

use super::CGROUP_ROOT;
use crate::cgroup::{Entry, Layout, Made, Maker, Manager, MountView, Unguarded};
use crate::cli::{CgroupManager, Global};
use crate::error::{Errno, Error, Result};
use crate::host::Host;
use crate::log;
use crate::plan::cgroup::systemd::Unit;
use crate::plan::cgroup::{self, CgroupPlan, Devices};
use crate::plan::libc_flag::{NEWCGROUP, NEWUSER};
use crate::plan::namespaces::Namespaces;
use crate::rootfs::CgroupView;
use oci_spec::runtime::Spec;

/// What is to be made.
#[derive(Debug)]
pub struct Group {
    /// `None`: there is to be none.
    layout: Option<Layout>,
    plan: CgroupPlan,
    /// Where systemd makes it.
    maker: Option<Maker>,
    /// Who is to own it, other than the runtime.
    owner: Option<u32>,
    /// `linux.cgroupsPath` is given.
    placed: bool,
    rootless: Option<bool>,
}

impl Group {
    /// Every mistake in what a config says about its cgroup, each with its JSON path.
    pub fn problems(global: &Global, id: &str, spec: &Spec) -> Vec<Error> {
        let linux = spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().as_ref()).and_then(|path| path.to_str());
        let systemd = global.cgroup_manager == CgroupManager::Systemd;
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let mut found = cgroup::problems(path.filter(|_| !systemd), resources);
        if systemd {
            let user = global.rootless.unwrap_or_default();
            found.extend(Unit::new(path, id, global.program, user, spec.annotations().as_ref()).err());
        }
        found
    }

    /// Plans the cgroup of the container `id`. With systemd this connects to it; nothing is made.
    ///
    /// # Errors
    /// The config is wrong, there is no cgroup file system, no systemd.
    pub fn plan(global: &Global, id: &str, spec: &Spec, namespaces: &Namespaces) -> Result<Group> {
        let linux = spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().as_ref()).and_then(|path| path.to_str());
        let path = path.filter(|path| !path.is_empty());
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let nodes = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
        let systemd = global.cgroup_manager == CgroupManager::Systemd;
        // To systemd the path means something else.
        let mut plan = cgroup::build(path.filter(|_| !systemd), id, resources, nodes)?;
        if Host::here().euid() != 0 {
            // What no user may set, and in a user namespace of no privileges none needs.
            plan.devices = Devices { allow: true, rules: Vec::new() };
        }
        let mut maker = None;
        if systemd {
            let user = global.rootless.unwrap_or_else(has_own_systemd);
            let unit = Unit::new(path, id, global.program, user, spec.annotations().as_ref())?;
            let connected = Maker::connect(unit, user)?;
            plan.place = connected.place();
            plan.round_as_systemd();
            maker = Some(connected);
        }
        let layout = match global.cgroup_manager {
            CgroupManager::Disabled => {
                if has_limits(&plan) {
                    // As with crun, where Podman asks for it so.
                    log::warn(
                        "linux.resources: no limit is in force without a cgroup (--cgroup-manager disabled)",
                    );
                }
                None
            }
            CgroupManager::Cgroupfs | CgroupManager::Systemd => {
                match Layout::detect(Path::new(CGROUP_ROOT)) {
                    Err(_) if !systemd && rootless(global.rootless) && !has_limits(&plan) => None,
                    layout => Some(layout?),
                }
            }
        };
        Ok(Group {
            layout,
            plan,
            maker,
            owner: cgroup::owner(spec, namespaces),
            placed: path.is_some(),
            rootless: global.rootless,
        })
    }

    /// Whether there is to be one.
    pub fn is_wanted(&self) -> bool {
        self.layout.is_some()
    }

    /// The cgroup before it is made, for the record.
    ///
    /// # Errors
    /// The runtime's own cgroup, below which it is to be, cannot be read; the user's systemd has none to give.
    pub fn planned(&self) -> Result<Manager> {
        match (&self.layout, &self.maker) {
            (None, _) => Ok(Manager::None),
            (Some(layout), None) => Manager::planned(layout, &self.plan),
            (Some(layout), Some(maker)) => maker.planned(layout, &self.plan),
        }
    }

    /// Makes of what was planned what can be made before there is a process: everything but a scope of systemd, and but the
    /// device policy, if that is left to [`Group::guard`].
    ///
    /// # Errors
    /// Those of [`Manager::create_unguarded`]; nothing is left then.
    pub fn make(&self, manager: Manager) -> Result<(Manager, Option<Unguarded>, Made)> {
        let Some(layout) = &self.layout else { return Ok((Manager::None, None, Made::default())) };
        let Some(maker) = &self.maker else {
            return match manager.create_unguarded(layout, &self.plan) {
                Ok((unguarded, made)) => Ok((self.give_away(manager)?, unguarded, made)),
                Err(error) => self.without(error).map(|manager| (manager, None, Made::default())),
            };
        };
        manager.check_unused()?;
        let unguarded = manager.unguarded();
        if !maker.is_slice() {
            return Ok((manager, unguarded, Made::default()));
        }
        match maker.start(&manager, layout, &self.plan, None) {
            Ok(()) => Ok((self.give_away(manager)?, unguarded, Made::default())),
            Err(error) => {
                if maker.is_ours() {
                    let _ = manager.delete();
                }
                Err(error)
            }
        }
    }

    /// Puts the device policy in force, if that has been left, in the cgroup whose `entry` may be open.
    ///
    /// # Errors
    /// Those of [`Manager::guard`].
    pub fn guard(&self, manager: &Manager, unguarded: Unguarded, entry: Option<&Entry>) -> Result<()> {
        let open = entry.and_then(|entry| entry.into.as_ref()).map(AsFd::as_fd);
        manager.guard(&self.plan.devices, unguarded, open)
    }

    fn give_away(&self, manager: Manager) -> Result<Manager> {
        match self.owner.map_or(Ok(()), |uid| manager.delegate(uid)) {
            Ok(()) => Ok(manager),
            Err(error) => {
                let _ = manager.delete();
                Err(error)
            }
        }
    }

    /// Who has no permission to make a cgroup goes without, unless the container needs one: it asks for limits, or for
    /// a place. (Devices it could not reach anyhow.)
    fn without(&self, error: Error) -> Result<Manager> {
        let denied = matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS));
        if !denied || self.placed || !rootless(self.rootless) {
            return Err(error);
        }
        if has_limits(&self.plan) {
            return Err(error.context("linux.resources: limits need a cgroup"));
        }
        log::debug(|| format!("the container has no cgroup: {error}"));
        Ok(Manager::None)
    }

    /// The doors of a cgroup that was made. `None`: systemd will put the process in, see [`Group::admit`].
    ///
    /// # Errors
    /// Those of [`Manager::entry`].
    pub fn entry(&self, manager: &Manager) -> Result<Option<Entry>> {
        match &self.maker {
            Some(maker) if !maker.is_slice() => Ok(None),
            _ => manager.entry().map(Some),
        }
    }

    /// Has systemd make the scope around a process, which waits meanwhile.
    ///
    /// # Errors
    /// Those of [`Maker::start`], and of giving the cgroup away.
    pub fn admit(&self, manager: &Manager, pid: i32) -> Result<()> {
        let (Some(maker), Some(layout)) = (&self.maker, &self.layout) else { return Ok(()) };
        maker.start(manager, layout, &self.plan, Some(pid))?;
        self.owner.map_or(Ok(()), |uid| manager.delegate(uid))
    }

    /// Whether there may be something to take down.
    pub fn is_ours(&self) -> bool {
        self.maker.as_ref().is_none_or(Maker::is_ours)
    }

    /// What a mount of type `cgroup` shows.
    pub fn view(&self, manager: &Manager, namespaces: &Namespaces) -> CgroupView {
        self.layout.as_ref().map_or(CgroupView::None, |layout| view(layout, manager, namespaces))
    }
}

/// What a mount of type `cgroup` shows. In a cgroup namespace of its own the container's cgroup is all there is; without
/// one, v2 shows the whole hierarchy, as with runc; but not to a user namespace, whose root may own more of it than the
/// container's cgroup.
pub(super) fn view(layout: &Layout, manager: &Manager, namespaces: &Namespaces) -> CgroupView {
    match manager.mount_view(layout) {
        MountView::None => CgroupView::None,
        MountView::V2 { mount, dir } => {
            let own = namespaces.has(NEWCGROUP) || namespaces.has(NEWUSER);
            CgroupView::V2(if own { dir.into() } else { mount.into() })
        }
        MountView::V1 { mounts } => CgroupView::V1 {
            links: mounts
                .iter()
                .flat_map(|mount| mount.links.iter().map(|link| (link.clone(), mount.name.clone())))
                .collect(),
            hierarchies: mounts.into_iter().map(|mount| (mount.name, mount.dir.into())).collect(),
        },
    }
}

fn has_limits(plan: &CgroupPlan) -> bool {
    !plan.v2.is_empty() || !plan.v1.is_empty()
}

/// Whether the systemd to ask is the one of the caller's user. Root of a user namespace has one of root's if there is a
/// whole system in that namespace, as LXC makes them, and else it is root in name only.
fn has_own_systemd() -> bool {
    use std::os::unix::fs::MetadataExt;
    let host = Host::here();
    let of_root = || std::fs::metadata("/run/systemd/private").is_ok_and(|socket| socket.uid() == 0);
    host.euid() != 0 || (host.in_user_namespace() && !of_root())
}

/// Whether the caller is to be taken for an unprivileged user: `--rootless`, or what it looks like.
pub(super) fn rootless(given: Option<bool>) -> bool {
    given.unwrap_or_else(|| {
        let host = Host::here();
        host.euid() != 0 || host.in_user_namespace()
    })
}
