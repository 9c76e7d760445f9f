//! mount_setattr(2), which rustix lacks; the rest of the mount API is rustix's.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::check;

/// What mount_setattr(2) changes. Masks are `MOUNT_ATTR_*`; propagation is one of `MS_SHARED`, `MS_SLAVE`,
/// `MS_PRIVATE`, `MS_UNBINDABLE`, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// The new propagation type, or 0.
    pub propagation: u64,
}

impl MountAttr {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        *self == MountAttr::default()
    }
}

/// mount_setattr(2) on the mount that `mount` is the root of; `recursive` for everything below it too.
pub fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: MountAttr) -> Result<(), Errno> {
    setattr(mount, recursive, attr, 0)
}

/// Maps the ids of a detached mount through the user namespace `userns`.
pub fn mount_idmap(mount: BorrowedFd<'_>, recursive: bool, userns: BorrowedFd<'_>) -> Result<(), Errno> {
    let attr = MountAttr { set: libc::MOUNT_ATTR_IDMAP, ..MountAttr::default() };
    setattr(mount, recursive, attr, userns.as_raw_fd() as u64)
}

fn setattr(mount: BorrowedFd<'_>, recursive: bool, attr: MountAttr, userns: u64) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: attr.set,
        attr_clr: attr.clear,
        propagation: attr.propagation,
        userns_fd: userns,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `attr` outlives the call and its true size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}
