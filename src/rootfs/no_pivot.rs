//! `--no-pivot`: the root is moved over `/` and entered by chroot(2), for file systems that pivot_root(2) refuses, such as an
//! initramfs.
//!
//! The host's tree stays below it, out of reach of paths, but not of the kernel's rule for new mounts of procfs and sysfs
//! in a user namespace: one that is visible in full anywhere in the mount namespace allows them. The container's own are
//! masked for that reason; so the host's have to go (runc and crun do the same).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::{attach, fs, propagate};
use crate::error::{Context, Result};
use crate::path::Root;
use crate::weaken::weakened;

/// Moves `root` over the old one and makes it this process's root.
pub fn enter(root: &Root) -> Result<()> {
    let top = open("/").context("open /")?;
    let table = std::fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let table = String::from_utf8_lossy(&table);
    // As the table has it: root.path may lead through symlinks, and through directories that this process may not search.
    let own = std::fs::read_link(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd()))
        .context("find the rootfs")?;
    // A root.path of `/` is over the old one already. Paths begin below it, with the old one.
    let over = own == Path::new("/");
    let mounts: Vec<_> =
        table.lines().filter_map(Mounted::parse).filter(|mount| over || !mount.is_below(&own)).collect();
    // Neither unmounting nor the root's new place may be propagated to the host.
    for mount in mounts.iter().filter(|mount| mount.shared) {
        if let Ok(fd) = open(&mount.point) {
            let _ = propagate(fd.as_fd(), libc::MS_SLAVE);
        }
    }
    let full = |mount: &&Mounted<'_>| matches!(mount.kind, "proc" | "sysfs") && !weakened("no-pivot");
    for mount in mounts.iter().filter(full) {
        hide(&mount.point).with_context(|| format!("hide {} of the host", mount.point))?;
    }
    if !over {
        attach(root.as_fd(), top.as_fd()).context("move the root over /")?;
    }
    rustix::process::fchdir(root).context("chdir to the rootfs")?;
    rustix::process::chroot(".").context("chroot to the rootfs")
}

fn open(path: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Unmounts it. One that a user namespace has locked, or that is below another mount, is covered.
fn hide(point: &str) -> Result<()> {
    if rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {
        return Ok(());
    }
    match open(point) {
        // Unmounted with the one that it was in.
        Err(rustix::io::Errno::NOENT) => Ok(()),
        opened => attach(fs::empty_tmpfs()?.as_fd(), opened.context("open")?.as_fd()).context("cover"),
    }
}

/// A line of mountinfo (proc_pid_mountinfo(5)).
struct Mounted<'a> {
    point: String,
    shared: bool,
    kind: &'a str,
}

impl<'a> Mounted<'a> {
    fn parse(line: &'a str) -> Option<Mounted<'a>> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let point = crate::path::unescape(fields.nth(4)?);
        let shared = fields.any(|field| field.starts_with("shared:"));
        Some(Mounted { point, shared, kind: file_system.split(' ').next()? })
    }

    fn is_below(&self, path: &Path) -> bool {
        Path::new(&self.point).starts_with(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo() {
        let line = "36 35 98:0 /mnt1 /a\\040b rw,noatime master:1 shared:7 - proc proc rw,errors=continue";
        let mount = Mounted::parse(line).unwrap();
        assert_eq!((mount.point.as_str(), mount.shared, mount.kind), ("/a b", true, "proc"));
        assert!(mount.is_below(Path::new("/a b")) && !mount.is_below(Path::new("/a")));
        assert!(!Mounted::parse("36 35 98:0 / / rw master:1 - ext4 /dev/x rw").unwrap().shared);
    }
}
