//! Device nodes, the links beside them, and the console.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno as Rerrno;
use rustix::mount::OpenTreeFlags;

use super::{Open, Wanted, aside, attach, clone_mount, fs, not_in_procfs, open_root_directory, propagate};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::path::{Root, Target};
use crate::plan::rootfs::{Device, DeviceKind, Rootfs};

/// The links of config-linux.md, "Dev symbolic links", and /dev/ptmx.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Fills /dev, and makes devices elsewhere. `open` has the host's rights, if anybody has.
pub fn populate(root: &Root, plan: &Rootfs, open: &mut Open<'_>) -> Result<()> {
    // One resolution for everything that lies directly in /dev, and inside the rootfs whatever /dev is
    // (CVE-2026-41579).
    let dev = root.make_dirs(Path::new("/dev"))?;
    let mut sample = None;
    for (index, device) in plan.devices.iter().enumerate() {
        let what = || format!("make device {}", device.path.display());
        let mut bind = || bind(root, device, &mut || open(Wanted::Device(index)));
        if plan.bind_devices {
            bind().with_context(what)?;
            continue;
        }
        let made = match device.path.strip_prefix("/dev") {
            Ok(name) if name.components().count() == 1 => {
                make(dev.as_fd(), name.as_os_str(), device, &mut sample)
            }
            _ => {
                let (dir, name) = root.make_parent(&device.path)?;
                make(dir.as_fd(), name, device, &mut None)
            }
        };
        match made {
            // In somebody else's user namespace mknod is refused, though we did not make one.
            Err(e) if e.errno() == Some(Errno::EPERM) => bind().with_context(what)?,
            made => made.with_context(what)?,
        }
    }
    for (name, to) in LINKS {
        link(dev.as_fd(), name, to).with_context(|| format!("link /dev/{name} to {to}"))?;
    }
    Ok(())
}

/// Owner, group and mode that a node has come out with in this directory: the next one that is made the same way does, too.
type Sample = Option<(u32, u32, u32)>;

fn make(dir: BorrowedFd<'_>, name: &OsStr, device: &Device, sample: &mut Sample) -> Result<()> {
    let kind = file_type(device.kind);
    let number = match device.kind {
        DeviceKind::Fifo => 0,
        _ => rustix::fs::makedev(device.major, device.minor),
    };
    let mode = Mode::from_raw_mode(device.mode);
    let wanted = (device.uid, device.gid, device.mode);
    let new = match rustix::fs::mknodat(dir, name, kind, mode, number) {
        Ok(()) if *sample == Some(wanted) => return Ok(()),
        Ok(()) => true,
        // The image's, or a mount's: it may stay if it is this very device.
        Err(Rerrno::EXIST) => false,
        Err(e) => return Err(e).context("mknod"),
    };
    let is_it = |stat: &Stat| {
        FileType::from_raw_mode(stat.st_mode) == kind && (number == 0 || stat.st_rdev == number)
    };
    let owned = |stat: &Stat| (stat.st_uid, stat.st_gid) == (device.uid, device.gid);
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).context("stat it")?;
    if !is_it(&stat) {
        return Err(Error::new(Kind::System, "another file is there already"));
    }
    if owned(&stat) && stat.st_mode & 0o7777 == device.mode {
        if new {
            *sample = Some(wanted);
        }
        return Ok(());
    }
    // By a descriptor that is known to be the node: chmod and chown by name could be led elsewhere.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(dir, name, flags, Mode::empty()).context("open it")?;
    if !is_it(&rustix::fs::fstat(&node).context("stat it")?) {
        return Err(Error::new(Kind::System, "it was exchanged for another file"));
    }
    if !owned(&stat) {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(&node, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).context("chown")?;
    }
    // No umask (stage 2 has set it to 0); but the node may have been there already, and chown takes bits away. fchmod
    // refuses O_PATH descriptors, and fchmodat2 is of Linux 6.6: by the host's procfs, which is still at /proc.
    rustix::fs::chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), mode).context("chmod")?;
    Ok(())
}

fn file_type(kind: DeviceKind) -> FileType {
    match kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    }
}

/// Shows a device of the host's, for lack of the right to make one. The one at the same path, if it is this very device; else
/// one that `make_it` makes.
fn bind(root: &Root, device: &Device, make_it: &mut dyn FnMut() -> Result<OwnedFd>) -> Result<()> {
    if device.kind == DeviceKind::Fifo {
        let (dir, name) = root.make_parent(&device.path)?;
        return make(dir.as_fd(), name, device, &mut None);
    }
    let target = root.make_target(&device.path, Target::File)?;
    not_in_procfs(target.as_fd(), &device.path)?;
    let tree = match of_the_host(device) {
        Ok(tree) => tree,
        Err(missing) => match make_it() {
            Err(e) if e.errno() == Some(Errno::EPERM) => return Err(missing),
            made => made?,
        },
    };
    attach(tree.as_fd(), target.as_fd()).context("bind the device")
}

fn of_the_host(device: &Device) -> Result<OwnedFd> {
    let tree = fs::copy_of(&device.path)?;
    let stat = rustix::fs::fstat(&tree).context("stat the device of the host")?;
    let number = rustix::fs::makedev(device.major, device.minor);
    match FileType::from_raw_mode(stat.st_mode) == file_type(device.kind) && stat.st_rdev == number {
        true => Ok(tree),
        false => {
            let text = format!("{} of the host is not this device", device.path.display());
            Err(Error::new(Kind::System, text))
        }
    }
}

/// A node that is in no directory anybody sees, detached, and this process's own. In a file system that was mounted in a user
/// namespace no device can be opened; this one is mounted with the rights of whoever calls.
pub fn make_detached(device: &Device, label: Option<&str>) -> Result<OwnedFd> {
    const NAME: &str = "node";
    let dir = fs::device_tmpfs(label)?;
    let own = Device { uid: 0, gid: 0, ..device.clone() };
    make(dir.as_fd(), OsStr::new(NAME), &own, &mut None)?;
    // Kernels before 6.15 copy only from mounts that are attached.
    aside(|| {
        let root = open_root_directory()?;
        propagate(root.as_fd(), libc::MS_PRIVATE | libc::MS_REC).context("make the mounts private")?;
        attach(dir.as_fd(), root.as_fd()).context("attach a tmpfs")?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        rustix::mount::open_tree(&dir, NAME, flags).context("copy the mount of the device")
    })
}

fn link(dev: BorrowedFd<'_>, name: &str, to: &str) -> Result<(), Rerrno> {
    match rustix::fs::symlinkat(to, dev, name) {
        Err(Rerrno::EXIST) if name == "ptmx" => {
            // An image's own /dev/ptmx node would open the host's devpts.
            rustix::fs::unlinkat(dev, name, AtFlags::empty())?;
            rustix::fs::symlinkat(to, dev, name)
        }
        Err(Rerrno::EXIST) => Ok(()),
        other => other,
    }
}

/// Binds the terminal that `terminal` is (the very one, by its descriptor: CVE-2025-52565) to /dev/console.
pub fn console(root: &Root, terminal: BorrowedFd<'_>) -> Result<()> {
    let path = Path::new("/dev/console");
    let target = root.make_target(path, Target::File)?;
    not_in_procfs(target.as_fd(), path)?;
    let tree = clone_mount(terminal, false).context("copy the mount of the terminal")?;
    attach(tree.as_fd(), target.as_fd()).context("bind the terminal to /dev/console")
}
