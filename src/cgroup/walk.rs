//! All cgroups below one.
//!
//! A payload that may make cgroups decides how many there are and how deep they lie: deeper than a path can name, than
//! the stack can recurse or than there are file descriptors. So the walk holds one descriptor, goes down by name and up
//! by `..`, which cannot lead elsewhere: cgroups do not move between directories.

use super::dir::{Dir, errno};
use crate::error::Errno;
use rustix::fs::{AtFlags, Dir as Entries, FileType, Mode, OFlags, openat, unlinkat};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Calls `enter` in a cgroup and in all below it, outer ones first. One that is gone is none.
pub(super) fn each(
    dir: &Dir,
    mut enter: impl FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    walk(dir, &mut enter, &mut |_, _| Ok(()))
}

/// Removes all cgroups below one, inner ones first.
pub(super) fn remove_below(dir: &Dir) -> Result<(), Errno> {
    walk(dir, &mut |_| Ok(()), &mut |parent, name| match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(()),
        Err(e) => gone(errno(e)),
    })
}

type Enter<'a> = &'a mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>;
type Leave<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &CString) -> Result<(), Errno>;

fn walk(dir: &Dir, enter: Enter<'_>, leave: Leave<'_>) -> Result<(), Errno> {
    let mut at: OwnedFd = match dir.open_list() {
        Ok(fd) => fd,
        Err(e) => return gone(e),
    };
    enter(at.as_fd())?;
    // For each level that the walk is in: its name in the one above, and what of it is still to be visited.
    let mut levels = vec![(CString::default(), children(&at)?)];
    while let Some((_, left)) = levels.last_mut() {
        if let Some(name) = left.pop() {
            match openat(&at, &name, DIRECTORY, Mode::empty()) {
                Ok(child) => at = child,
                Err(e) => {
                    gone(errno(e))?;
                    continue;
                }
            }
            enter(at.as_fd())?;
            let below = children(&at)?;
            levels.push((name, below));
            continue;
        }
        let name = levels.pop().map(|(name, _)| name).unwrap_or_default();
        if !levels.is_empty() {
            at = openat(&at, "..", DIRECTORY, Mode::empty()).map_err(errno)?;
            leave(at.as_fd(), &name)?;
        }
    }
    Ok(())
}

fn gone(e: Errno) -> Result<(), Errno> {
    match e {
        Errno::ENOENT | Errno::ENODEV => Ok(()),
        e => Err(e),
    }
}

fn children(dir: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    let entries = match Entries::read_from(dir) {
        Ok(entries) => entries,
        Err(e) => return gone(errno(e)).map(|()| names),
    };
    for entry in entries {
        match entry {
            Ok(entry) if entry.file_type() == FileType::Directory => {
                let name = entry.file_name();
                if !matches!(name.to_bytes(), b"." | b"..") {
                    names.push(name.to_owned());
                }
            }
            Ok(_) => {}
            Err(e) => return gone(errno(e)).map(|()| names),
        }
    }
    Ok(names)
}
