//! What a file system is made of: the root, the place where it is mounted, and the sources of bind mounts. Paths of the host,
//! opened as detached copies.
//!
//! Run by stage 2 itself, or, when that lacks the host's rights, by a helper which has them and is in the same mount
//! namespace: the copies must be of the container's mounts, which are already decoupled from the host's and
//! whose flags a user namespace has locked, not of the host's own.
//!
//! Each is opened when its turn comes: a source may lie in the rootfs, where an earlier mount of the list has filled it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::OpenTreeFlags;

use super::{devices, propagate, set_recursive_attributes};
use crate::config::mount_options::MountOptions;
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::plan::rootfs::{Action, Mount, Rootfs};
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::weaken::weakened;

/// What is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A copy of the root, with all that is mounted in it.
    Root,
    /// The directory that the root is mounted on: root.path.
    Place,
    /// The source of this mount of the plan.
    Source(usize),
    /// This device of the plan: a node made with the rights of whoever is asked.
    Device(usize),
}

/// Opens what a plan wants, in the mount namespace of the container.
pub struct Host<'a> {
    plan: &'a Rootfs,
    /// The mount that holds the place, when it was shared.
    holder: Option<Holder>,
}

struct Holder {
    id: u64,
    /// Sources that lie on it, by the index of their mounts, copied while it was a peer of the host's mount.
    copies: Vec<(usize, OwnedFd)>,
}

impl<'a> Host<'a> {
    /// Nothing is opened yet.
    pub fn new(plan: &'a Rootfs) -> Host<'a> {
        Host { plan, holder: None }
    }

    /// Opens it.
    pub fn open(&mut self, wanted: Wanted) -> Result<OwnedFd> {
        match wanted {
            Wanted::Root => open_root(self.plan),
            Wanted::Place => self.open_place(),
            Wanted::Device(index) => match self.plan.devices.get(index) {
                Some(device) => devices::make_detached(device, self.plan.label.as_deref()),
                None => Err(Error::new(Kind::System, format!("no device {index}"))),
            },
            Wanted::Source(index) => match self.plan.mounts.get(index).map(|mount| (&mount.action, mount)) {
                Some((Action::Bind { source }, mount)) => self.open_source(index, &mount.options, source),
                _ => Err(Error::new(Kind::System, format!("mounts[{index}] has no source"))),
            },
        }
    }

    /// A root that is mounted on a shared mount would be propagated to the host, and pivot_root(2) refuses it: the mount that
    /// holds the place, and no other, is made private.
    fn open_place(&mut self) -> Result<OwnedFd> {
        let path = if weakened("place") { Path::new("/") } else { &self.plan.path };
        let place = open_directory(CWD, path).with_context(|| format!("open {}", path.display()))?;
        if self.plan.own_namespace && self.plan.is_shared() {
            let (holder, id) =
                mount_of(&place).with_context(|| format!("find the mount of {}", path.display()))?;
            self.holder = Some(Holder { id, copies: copies_on(self.plan, id) });
            propagate(holder.as_fd(), libc::MS_PRIVATE)
                .context("make the mount of the root's parent private")?;
        }
        Ok(place)
    }

    fn open_source(&mut self, index: usize, options: &MountOptions, path: &Path) -> Result<OwnedFd> {
        if let Some(holder) = &mut self.holder
            && let Some(n) = holder.copies.iter().position(|(of, _)| *of == index)
            // An earlier mount may have covered it.
            && is_on(path, holder.id)
        {
            return Ok(holder.copies.swap_remove(n).1);
        }
        open_tree(options, path)
    }
}

/// Copies of those sources on this mount that are to get the host's mounts, or to have the host get theirs. What cannot be
/// copied yet is opened, or fails, at its turn.
fn copies_on(plan: &Rootfs, mount_id: u64) -> Vec<(usize, OwnedFd)> {
    let copy = |(index, mount): (usize, &Mount)| {
        let Action::Bind { source } = &mount.action else { return None };
        let linked = |flags: &u64| flags & (libc::MS_SHARED | libc::MS_SLAVE) != 0;
        let wanted = mount.options.propagation.iter().any(linked) && is_on(source, mount_id);
        wanted.then(|| open_tree(&mount.options, source).ok().map(|tree| (index, tree)))?
    };
    plan.mounts.iter().enumerate().filter_map(copy).collect()
}

fn is_on(path: &Path, mount_id: u64) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)
        .is_ok_and(|stat| stat.stx_mnt_id == mount_id)
}

fn open_directory(at: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The root of the mount that a directory is in, and that mount's id.
fn mount_of(directory: &OwnedFd) -> Result<(OwnedFd, u64)> {
    let mut at = directory.try_clone().context("dup")?;
    loop {
        let stat = rustix::fs::statx(&at, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).context("stat")?;
        if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok((at, stat.stx_mnt_id));
        }
        at = open_directory(&at, Path::new("..")).context("open ..")?;
    }
}

/// A root that is missing, or is no directory, is told before anything is made.
pub fn judge_root(plan: &Rootfs) -> Result<()> {
    let error = match rustix::fs::stat(&plan.path) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => return Ok(()),
        // Root of a user namespace may go where its owner may not.
        Err(rustix::io::Errno::ACCESS) => return Ok(()),
        Ok(_) => Errno::ENOTDIR,
        Err(e) => crate::sys::errno(e),
    };
    Err(Error::os(error, format!("root.path: {}", plan.path.display())))
}

/// The root, with all that is mounted in it.
pub fn open_root(plan: &Rootfs) -> Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, &plan.path, flags)
        .with_context(|| format!("open root {}", plan.path.display()))?;
    Ok(tree)
}

/// The source of one bind mount.
fn open_tree(options: &MountOptions, path: &Path) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if options.recursive_bind {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if options.src_nofollow || options.copy_symlink {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    }
    rustix::mount::open_tree(CWD, path, flags).with_context(|| format!("open source {}", path.display()))
}

/// Sets the attributes of a bind mount on its detached copy.
///
/// Only what config.json names is changed: flags that the source has (and that a user namespace may have locked) stay.
pub fn configure(tree: BorrowedFd<'_>, options: &MountOptions) -> Result<()> {
    let attr = MountAttr { set: options.attr_set, clear: options.attr_clr, propagation: 0 };
    if !attr.is_empty() {
        match mount_setattr(tree, false, attr) {
            Err(Errno::EPERM) if attr.clear & !libc::MOUNT_ATTR__ATIME != 0 => {
                return Err(Errno::EPERM).context(
                    "clear a mount flag which is locked by the source (ro, nosuid, nodev or noexec)",
                );
            }
            other => other.context("set the mount attributes")?,
        }
    }
    set_recursive_attributes(tree, options)
}
