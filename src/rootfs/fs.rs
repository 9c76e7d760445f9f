//! Mounts of file systems, by fsopen(2), which says in words what is wrong with an option.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
};

use super::{copy_up, finish};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::path::Root;
use crate::plan::rootfs::Mount;
use crate::sys::mount::{MountAttr, mount_setattr};

/// fsconfig(2) takes strings up to this length, its NUL included; overlay's lowerdir may be longer.
const FSCONFIG_STRING_MAX: usize = 256;

/// File systems whose instances are shared with, or are views of, the kernel's own: read-only belongs to the mount
/// and not to the superblock. For a tmpfs the difference cannot be seen, and copy-up has to write first.
const READONLY_BY_MOUNT: [&str; 6] = ["proc", "sysfs", "tmpfs", "mqueue", "devpts", "cgroup2"];

/// Where a file system goes.
pub struct Place<'a> {
    /// The root file system.
    pub root: &'a Root,
    /// The directory it will cover.
    pub target: BorrowedFd<'a>,
    /// That directory was made for it.
    pub fresh: bool,
}

/// A new detached mount of file system `kind`, with everything set but what [`finish`] sets.
///
/// `None` when an old-style mount(2) has put it in place already.
pub fn make(
    mount: &Mount,
    kind: &str,
    source: &str,
    label: Option<&str>,
    place: &Place<'_>,
) -> Result<Option<OwnedFd>> {
    let options = &mount.options;
    if options.data.iter().any(|option| option.len() >= FSCONFIG_STRING_MAX) {
        return classic(mount, kind, source, place).map(|()| None);
    }
    let context = match fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) {
        // A user namespace that does not own its network namespace may not mount sysfs; the host's, bound, is what it may
        // see (runc#3672; crun does the same). The kernel refuses here; or below, by an LSM or a sysfs that is covered.
        Err(rustix::io::Errno::PERM) if kind == "sysfs" => return bind_sys(mount).map(Some),
        Err(rustix::io::Errno::NODEV) => {
            return Err(Error::os(Errno::ENODEV, format!("file system {kind:?}: not known to this kernel")));
        }
        context => context.with_context(|| format!("open file system {kind:?}"))?,
    };
    if kind == "tmpfs" && !place.fresh && !options.data.iter().any(|option| option.starts_with("mode=")) {
        // The mode of what it covers, unless an option says otherwise: `--tmpfs /run` relies on it, as runc does it.
        let stat = rustix::fs::fstat(place.target).context("stat the mount target")?;
        fsconfig_set_string(&context, "mode", format!("{:o}", stat.st_mode & 0o7777))
            .context("set the mode")?;
    }
    let result = configure(context.as_fd(), mount, kind, source, label);
    if let Err(e) = result {
        if kind == "sysfs" && e.errno() == Some(Errno::EPERM) {
            return bind_sys(mount).map(Some);
        }
        return Err(e);
    }
    let mut attr = options.attr_set;
    // A directory that was just made for it has nothing to copy, and not the mode that a tmpfs is to have.
    let copy_up = kind == "tmpfs" && options.copy_up && !place.fresh;
    if copy_up {
        attr &= !libc::MOUNT_ATTR_RDONLY;
    }
    let flags = MountAttrFlags::from_bits_retain(attr as u32);
    let tree = match fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags) {
        Err(e) if kind == "sysfs" && e == rustix::io::Errno::PERM => return bind_sys(mount).map(Some),
        tree => tree.with_context(|| format!("mount {kind}"))?,
    };
    if copy_up {
        copy_up::copy(place.root, &mount.destination, tree.as_fd())
            .with_context(|| format!("tmpcopyup of {}", mount.destination.display()))?;
        let attr = MountAttr { set: options.attr_set & libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        if !attr.is_empty() {
            mount_setattr(tree.as_fd(), false, attr).context("make it read-only")?;
        }
    }
    Ok(Some(tree))
}

fn configure(fs: BorrowedFd<'_>, mount: &Mount, kind: &str, source: &str, label: Option<&str>) -> Result<()> {
    let told = |result: Result<(), rustix::io::Errno>, what: &str| {
        result.map_err(|e| {
            let error = Error::os(crate::sys::errno(e), what.to_owned());
            match message(fs) {
                Some(text) => error.context(text),
                None => error,
            }
        })
    };
    told(fsconfig_set_string(fs, "source", source), "set the source")?;
    let options = &mount.options;
    for (bit, name) in [
        (libc::MS_SYNCHRONOUS, "sync"),
        (libc::MS_DIRSYNC, "dirsync"),
        (libc::MS_MANDLOCK, "mand"),
        (libc::MS_LAZYTIME, "lazytime"),
    ] {
        if options.ms_flags.0 & bit != 0 {
            told(fsconfig_set_flag(fs, name), name)?;
        }
    }
    if options.attr_set & libc::MOUNT_ATTR_RDONLY != 0 && !READONLY_BY_MOUNT.contains(&kind) {
        told(fsconfig_set_flag(fs, "ro"), "set read-only")?;
    }
    for option in &options.data {
        match option.split_once('=') {
            Some((key, value)) => told(fsconfig_set_string(fs, key, value), option)?,
            None => told(fsconfig_set_flag(fs, option), option)?,
        }
    }
    // Only where SELinux is enabled: elsewhere the option is unknown (the plan has no label then).
    if let Some(label) = label.filter(|_| matches!(kind, "tmpfs" | "mqueue" | "devpts" | "overlay")) {
        told(fsconfig_set_string(fs, "context", label), "set the SELinux context")?;
    }
    told(fsconfig_create(fs), &format!("create {kind}"))
}

/// What the kernel has to say about the last error: the newest line of the context's log.
fn message(fs: BorrowedFd<'_>) -> Option<String> {
    let mut last = None;
    let mut line = [0u8; 512];
    while let Ok(n @ 1..) = rustix::io::read(fs, &mut line) {
        let text = String::from_utf8_lossy(&line[..n]);
        // "e text\n": a severity, then the text.
        last = text.get(2..).map(|text| text.trim().to_owned());
    }
    last
}

/// mount(2), for options that fsconfig cannot carry.
fn classic(mount: &Mount, kind: &str, source: &str, place: &Place<'_>) -> Result<()> {
    let options = &mount.options;
    let data =
        CString::new(options.data.join(",")).map_err(|_| Error::new(Kind::Config, "options: NUL byte"))?;
    // By the directory itself: its path could lead elsewhere by now.
    rustix::process::fchdir(place.target).context("chdir to the mount target")?;
    let flags = MountFlags::from_bits_retain(options.classic() as u32);
    let mounted = rustix::mount::mount(source, ".", kind, flags, Some(data.as_c_str()));
    rustix::process::chdir("/").context("chdir to /")?;
    mounted.with_context(|| format!("mount {kind}"))?;
    let top = place.root.open(&mount.destination, OFlags::PATH).context("open the new mount")?;
    finish(top.as_fd(), options)
}

fn bind_sys(mount: &Mount) -> Result<OwnedFd> {
    let sys = rustix::mount::open_tree(
        rustix::fs::CWD,
        "/sys",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE,
    )
    .context("bind /sys of the host, since sysfs may not be mounted in this user namespace")?;
    // With what is mounted in it, and read-only: among it are the host's cgroups, which may be writable for the very
    // user who is root here (CVE-2023-25809). What a container may write to is mounted on top.
    let set = mount.options.attr_set | libc::MOUNT_ATTR_RDONLY;
    let attr = MountAttr { set, ..MountAttr::default() };
    mount_setattr(sys.as_fd(), true, attr).context("make /sys of the host read-only")?;
    Ok(sys)
}

/// Changes the options of what is mounted at `target`.
pub fn remount(mount: &Mount, target: BorrowedFd<'_>) -> Result<()> {
    let options = &mount.options;
    if !options.bind && (!options.data.is_empty() || options.ms_flags.0 & libc::MS_SYNCHRONOUS != 0) {
        let fs = fspick(target, "", FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH)
            .context("remount")?;
        for option in &options.data {
            match option.split_once('=') {
                Some((key, value)) => fsconfig_set_string(&fs, key, value),
                None => fsconfig_set_flag(&fs, option.as_str()),
            }
            .with_context(|| option.clone())?;
        }
        if options.ms_flags.0 & libc::MS_SYNCHRONOUS != 0 {
            fsconfig_set_flag(&fs, "sync").context("sync")?;
        }
        fsconfig_reconfigure(&fs).context("remount")?;
    }
    let attr = MountAttr { set: options.attr_set, clear: options.attr_clr, propagation: 0 };
    if !attr.is_empty() {
        mount_setattr(target, false, attr).context("remount")?;
    }
    finish(target, options)
}

/// An empty read-only tmpfs, detached.
pub fn empty_tmpfs() -> Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("open tmpfs")?;
    fsconfig_set_string(&fs, "nr_blocks", "1").context("limit the tmpfs")?;
    fsconfig_set_string(&fs, "nr_inodes", "1").context("limit the tmpfs")?;
    fsconfig_set_string(&fs, "mode", "0555").context("set the mode of the tmpfs")?;
    fsconfig_create(&fs).context("create a tmpfs")?;
    let attr = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr).context("mount a tmpfs")
}

/// A small writable tmpfs, detached: the directory of v1 cgroup hierarchies.
pub fn cgroup_tmpfs() -> Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("open tmpfs")?;
    fsconfig_set_string(&fs, "source", "cgroup").context("name the tmpfs")?;
    fsconfig_set_string(&fs, "mode", "0755").context("set the mode of the tmpfs")?;
    fsconfig_create(&fs).context("create a tmpfs")?;
    let attr = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr).context("mount a tmpfs")
}

/// A copy of what is mounted at `path` on the host, as seen from the container's mount namespace.
pub fn copy_of(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(rustix::fs::CWD, path, flags).with_context(|| format!("bind {}", path.display()))
}
