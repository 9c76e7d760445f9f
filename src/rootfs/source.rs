//! The sources of bind mounts: paths of the host, opened as detached copies.
//!
//! Run by stage 2 itself, or, when that lacks the host's rights, by a helper which has them and is in the same mount
//! namespace: the copies must be of the container's mounts, which are already decoupled from the host's and
//! whose flags a user namespace has locked, not of the host's own.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::mount::OpenTreeFlags;

use super::set_recursive_attributes;
use crate::config::mount_options::MountOptions;
use crate::error::{Context, Errno, Error, Result};
use crate::plan::rootfs::Rootfs;
use crate::sys::mount::{MountAttr, mount_setattr};

/// A root that is missing, or is no directory, is told before anything is made.
pub fn judge_root(plan: &Rootfs) -> Result<()> {
    let what = || format!("root.path: {}", plan.path.display());
    let stat = rustix::fs::stat(&plan.path).with_context(what)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(()),
        _ => Err(Error::os(Errno::ENOTDIR, what())),
    }
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
pub fn open(options: &MountOptions, path: &Path) -> Result<OwnedFd> {
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
