//! maskedPaths and readonlyPaths.

use std::cell::OnceCell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::{attach, clone_mount};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::path::{self, Root};
use crate::plan::rootfs::Rootfs;
use crate::sys::mount::{MountAttr, mount_setattr};

/// What is laid over masked paths: taken before pivot_root from the host's /dev, so that nothing which the image
/// or a volume has at /dev/null can take its place (CVE-2025-31133), and one for all paths.
pub struct Sources {
    /// A detached copy of the host's /dev/null; once attached, later masks are copies of it.
    null: Option<OwnedFd>,
    /// An empty read-only tmpfs, made when the first directory is masked: one superblock for all of them, for the
    /// kubelet masks a directory for each CPU.
    empty: OnceCell<OwnedFd>,
    used: std::cell::Cell<(bool, bool)>,
}

impl Sources {
    /// Opens what will be needed once the host's files are out of reach.
    pub fn open(plan: &Rootfs) -> Result<Sources> {
        let sources = |null| Sources { null, empty: OnceCell::new(), used: Default::default() };
        if plan.masked.is_empty() {
            return Ok(sources(None));
        }
        let null =
            rustix::fs::open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                .context("open /dev/null of the host")?;
        let stat = rustix::fs::fstat(&null).context("stat /dev/null of the host")?;
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != (1, 3) {
            return Err(Error::new(Kind::System, "/dev/null of the host is not the null device"));
        }
        let null = clone_mount(null.as_fd(), false).context("copy the mount of /dev/null")?;
        // The inode is the host's, whose mode, owner and times the container's root could change through it.
        let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
        let attr = MountAttr { set, ..MountAttr::default() };
        mount_setattr(null.as_fd(), false, attr).context("restrict the copy of /dev/null")?;
        Ok(sources(Some(null)))
    }

    /// Lays emptiness over `path`; nothing happens where nothing is.
    pub fn mask(&self, root: &Root, path: &Path) -> Result<()> {
        let target = match root.open(path, OFlags::PATH) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            target => target.context("open")?,
        };
        let directory = path::file_type(target.as_fd()).context("stat")? == FileType::Directory;
        let (null_used, empty_used) = self.used.get();
        let (source, used) = match directory {
            true => {
                self.used.set((null_used, true));
                (self.empty()?, empty_used)
            }
            false => {
                self.used.set((true, empty_used));
                (self.null.as_ref().ok_or_else(|| Error::new(Kind::System, "no /dev/null"))?, null_used)
            }
        };
        // The first mask is the detached mount itself: kernels before 6.15 copy only from attached ones.
        match used {
            false => attach(source.as_fd(), target.as_fd()).context("attach"),
            true => {
                let copy = clone_mount(source.as_fd(), false).context("copy the mount")?;
                attach(copy.as_fd(), target.as_fd()).context("attach")
            }
        }
    }

    fn empty(&self) -> Result<&OwnedFd> {
        if let Some(empty) = self.empty.get() {
            return Ok(empty);
        }
        let empty = super::fs::empty_tmpfs()?;
        Ok(self.empty.get_or_init(|| empty))
    }
}

/// Makes `path`, and what is mounted below it, read-only by a mount over itself; nothing happens where nothing is.
pub fn make_readonly(root: &Root, path: &Path) -> Result<()> {
    let target = match root.open(path, OFlags::PATH) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        target => target.context("open")?,
    };
    let copy = clone_mount(target.as_fd(), true).context("copy the mount")?;
    let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(copy.as_fd(), true, attr).context("set read-only")?;
    attach(copy.as_fd(), target.as_fd()).context("attach")
}
