//! Mounts of file systems, by fsopen(2), which says in words what is wrong with an option.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
};

use super::{attach, copy_up, finish};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::path::Root;
use crate::plan::rootfs::Mount;
use crate::sys::mount::{MountAttr, mount_setattr};

/// fsconfig(2) takes strings up to this length, its NUL included; overlay's lowerdir may be longer.
const FSCONFIG_STRING_MAX: usize = 256;

/// File systems whose instances are shared with, or are views of, the kernel's own: read-only belongs to the mount
/// and not to the superblock. For a tmpfs the difference cannot be seen.
const READONLY_BY_MOUNT: [&str; 6] = ["proc", "sysfs", "tmpfs", "mqueue", "devpts", "cgroup2"];

/// File systems that take the SELinux context of all their files as an option.
const LABELLED: [&str; 4] = ["tmpfs", "mqueue", "devpts", "overlay"];

/// Where a file system goes.
pub struct Place<'a> {
    /// The directory it will cover.
    pub target: BorrowedFd<'a>,
    /// That directory was made for it.
    pub fresh: bool,
}

/// Mounts a new file system of this `kind` in its place, with everything set but what [`finish`](super::finish) sets.
pub fn mount(
    mount: &Mount,
    kind: &str,
    source: &str,
    label: Option<&str>,
    place: &Place<'_>,
) -> Result<OwnedFd> {
    let made = match fits(&mount.options.data, source) {
        true => modern(mount, kind, source, label, place),
        false => classic(mount, kind, source, label, place),
    };
    match made {
        // A user namespace that does not own its network namespace may not mount sysfs; the host's, bound, is what it may
        // see (runc#3672; crun does the same). The kernel refuses at once; or later, by an LSM or a sysfs that is covered.
        Err(e) if kind == "sysfs" && e.errno() == Some(Errno::EPERM) => {
            let tree = bind_sys(mount)?;
            attach(tree.as_fd(), place.target).context("attach /sys of the host")?;
            Ok(tree)
        }
        made => made,
    }
}

/// Whether fsconfig(2) takes them as they are. Strings of several options are split by mount(2), where each file system has
/// its own rules: backslashes of overlay, node lists of tmpfs, quotes of SELinux.
fn fits(options: &[String], source: &str) -> bool {
    let short = |text: &str| text.len() < FSCONFIG_STRING_MAX;
    short(source) && options.iter().all(|option| short(option) && !option.contains([',', '"']))
}

/// By fsopen(2): nobody sees it before it is complete.
fn modern(
    mount: &Mount,
    kind: &str,
    source: &str,
    label: Option<&str>,
    place: &Place<'_>,
) -> Result<OwnedFd> {
    let context = match fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(rustix::io::Errno::NODEV) => {
            return Err(Error::os(Errno::ENODEV, format!("file system {kind:?}: not known to this kernel")));
        }
        context => context.with_context(|| format!("open file system {kind:?}"))?,
    };
    if let Some(mode) = covered_mode(mount, kind, place)? {
        fsconfig_set_string(&context, "mode", mode).context("set the mode")?;
    }
    configure(context.as_fd(), mount, kind, source, label)?;
    let flags = MountAttrFlags::from_bits_retain(mount.options.attr_set as u32);
    let tree =
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).with_context(|| format!("mount {kind}"))?;
    copy_up(mount, kind, place, tree.as_fd())?;
    attach(tree.as_fd(), place.target)
        .with_context(|| format!("attach {kind} to {}", mount.destination.display()))?;
    Ok(tree)
}

/// By mount(2), for what fsconfig cannot carry.
fn classic(
    mount: &Mount,
    kind: &str,
    source: &str,
    label: Option<&str>,
    place: &Place<'_>,
) -> Result<OwnedFd> {
    let mode = covered_mode(mount, kind, place)?.map(|mode| format!("mode={mode}"));
    let label = label.filter(|_| LABELLED.contains(&kind)).map(|label| format!("context=\"{label}\""));
    let data: Vec<&str> = mode.iter().chain(&mount.options.data).chain(&label).map(String::as_str).collect();
    let data = data.join(",");
    if data.len() >= rustix::param::page_size() {
        // The kernel would cut it off.
        return Err(Error::os(Errno::E2BIG, format!("mount {kind}: {} bytes of options", data.len())));
    }
    let what = || format!("mount {kind} with options {data:?}");
    let text = CString::new(data.as_str()).map_err(|_| Error::new(Kind::Config, "options: NUL byte"))?;
    // The directory itself, by the host's procfs: its path could lead elsewhere by now, and the current directory is what
    // relative paths among the options start from.
    let target = format!("/proc/self/fd/{}", place.target.as_raw_fd());
    let flags = MountFlags::from_bits_retain(mount.options.classic() as u32);
    rustix::mount::mount(source, target, kind, flags, Some(text.as_c_str())).with_context(what)?;
    // The root's `..` is the root, or what is mounted on it: again no path.
    let below = Root::new(place.target.try_clone_to_owned().context("dup")?);
    let tree = below.open(Path::new(".."), OFlags::PATH | OFlags::DIRECTORY).context("open the new mount")?;
    copy_up(mount, kind, place, tree.as_fd())?;
    Ok(tree)
}

/// The mode of what a tmpfs covers, unless an option says otherwise: `--tmpfs /run` relies on it, as runc does it. An
/// option in a string of several says so later than this one.
fn covered_mode(mount: &Mount, kind: &str, place: &Place<'_>) -> Result<Option<String>> {
    if kind != "tmpfs" || place.fresh || mount.options.data.iter().any(|option| option.starts_with("mode=")) {
        return Ok(None);
    }
    let stat = rustix::fs::fstat(place.target).context("stat the mount target")?;
    Ok(Some(format!("{:o}", stat.st_mode & 0o7777)))
}

/// `tmpcopyup`. A directory that was just made for it has nothing to copy, and not the mode that a tmpfs is to have.
fn copy_up(mount: &Mount, kind: &str, place: &Place<'_>, tree: BorrowedFd<'_>) -> Result<()> {
    if kind != "tmpfs" || !mount.options.copy_up || place.fresh {
        return Ok(());
    }
    copy_up::copy(place.target, tree).with_context(|| format!("tmpcopyup of {}", mount.destination.display()))
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
    if let Some(label) = label.filter(|_| LABELLED.contains(&kind)) {
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
        // Not by mount(2) if they are joined: it would reset all that is not named.
        for option in options.data.iter().flat_map(|data| data.split(',')).filter(|part| !part.is_empty()) {
            match option.split_once('=') {
                Some((key, value)) => fsconfig_set_string(&fs, key, value),
                None => fsconfig_set_flag(&fs, option),
            }
            .with_context(|| option.to_owned())?;
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

/// A tmpfs for device nodes, detached.
pub fn device_tmpfs(label: Option<&str>) -> Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("open tmpfs")?;
    if let Some(label) = label {
        fsconfig_set_string(&fs, "context", label).context("set the SELinux context")?;
    }
    fsconfig_create(&fs).context("create a tmpfs")?;
    let attr = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr).context("mount a tmpfs")
}

/// A copy of what is mounted at `path` on the host, as seen from the container's mount namespace.
pub fn copy_of(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(rustix::fs::CWD, path, flags).with_context(|| format!("bind {}", path.display()))
}
