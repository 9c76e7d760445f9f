//! Builds the container's file system from the inside: stage 2, in the container's mount namespace.
//!
//! [`Prepared`] is before pivot_root, with the host's tree still at `/` (sources are opened there, hooks run
//! there); [`Entered`] is after it. Each consumes the one before, so no step can run on the wrong side.
//!
//! Every mount is made detached, given its attributes, and only then moved onto a descriptor of its target, which
//! was resolved inside the rootfs: there is no moment in which it is visible with too few restrictions, and no
//! path that is resolved twice. What fsconfig(2) cannot carry goes to mount(2), on that descriptor. Only read-only comes last
//! for what the runtime fills itself, a tmpfs and /dev: by the descriptor again, and before any program of the container runs.

mod cgroup;
mod copy_up;
mod devices;
mod fs;
mod hide;
mod no_pivot;
pub mod source;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::config::mount_options::MountOptions;
use crate::console::Pty;
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::path::{self, Proc, Root, Target};
use crate::plan::rootfs::{Action, Mount, Rootfs};
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::weaken::weakened;

pub use cgroup::View as CgroupView;
pub use source::Wanted;

/// Before pivot_root: the root is mounted at root.path, and the host's tree is still what paths mean, for hooks and for the
/// sources of later mounts.
pub struct Prepared<'a> {
    plan: &'a Rootfs,
    root: Root,
    proc: Option<Proc>,
    devpts: Option<OwnedFd>,
    hide: hide::Sources,
    last: Vec<(&'a Mount, OwnedFd)>,
}

/// After pivot_root.
pub struct Entered<'a> {
    plan: &'a Rootfs,
    root: Root,
    /// The procfs that was mounted at /proc, by the descriptor it was made with.
    pub proc: Option<Proc>,
    /// The devpts that was mounted at /dev/pts, likewise.
    pub devpts: Option<OwnedFd>,
    hide: hide::Sources,
    /// The mounts that are made read-only when everything in them is made.
    last: Vec<(&'a Mount, OwnedFd)>,
}

/// Opens what a file system is made of: [`source::Host`] in this process, or a helper.
pub type Open<'a> = dyn FnMut(Wanted) -> Result<OwnedFd> + 'a;

/// Decouples this mount namespace from the host's, as config.json wants it.
pub fn isolate(plan: &Rootfs) -> Result<()> {
    if !plan.own_namespace {
        return Ok(());
    }
    // Whatever the root is to be in the end: what is not to be shared with the host must not be a peer of the host's
    // mounts for a moment, or the unmounting of the old root would be propagated.
    let flags = match plan.propagation {
        Some(flags) if plan.is_shared() => flags,
        _ => libc::MS_SLAVE | libc::MS_REC,
    };
    let root = open_root_directory()?;
    propagate(root.as_fd(), flags).context("set the propagation of /")
}

fn open_root_directory() -> Result<OwnedFd> {
    rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).context("open /")
}

/// Does all that makes a container's file system, up to its last mount, in a mount namespace that is left and gone with it
/// all: what stays are the mount points that were missing, and made where they would have been.
pub fn rehearse(plan: &Rootfs, cgroups: &CgroupView) -> Result<()> {
    aside(|| {
        isolate(plan)?;
        let mut host = source::Host::new(plan);
        Prepared::new(plan, &mut |wanted| host.open(wanted), cgroups).map(drop)
    })
}

/// Does `work` in a mount namespace that is left afterwards, and gone with all that was mounted in it.
fn aside<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own =
        rustix::fs::open("/proc/self/ns/mnt", flags, Mode::empty()).context("open /proc/self/ns/mnt")?;
    crate::sys::clone::unshare(crate::plan::libc_flag::NEWNS).context("unshare the mount namespace")?;
    let done = work();
    let kind = Some(rustix::thread::LinkNameSpaceType::Mount);
    rustix::thread::move_into_link_name_space(own.as_fd(), kind).context("return to the mount namespace")?;
    done
}

/// Mounts the root, and nothing in it, at `place`, a directory of the host's in a mount namespace of the caller's own.
pub fn mount_at(plan: &Rootfs, place: &Path) -> Result<()> {
    let open = |path: &Path| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("open {}", path.display()))
    };
    // What is mounted here is not seen on the host.
    propagate(open(Path::new("/"))?.as_fd(), libc::MS_SLAVE | libc::MS_REC)
        .context("set the propagation of /")?;
    let root = source::open_root(plan)?;
    attach(root.as_fd(), open(place)?.as_fd()).with_context(|| format!("mount root {}", plan.path.display()))
}

/// Sets the attributes of bind mounts that are in their place already, in this mount namespace, whose root is the
/// container's. Where nothing is mounted there is nothing to restrict.
pub fn set_attributes<'a>(mounts: impl Iterator<Item = (&'a Path, &'a MountOptions)>) -> Result<()> {
    let root = Root::new(open_root_directory()?);
    for (path, options) in mounts {
        let Ok(mount) = root.open(path, OFlags::PATH) else { continue };
        match source::configure(mount.as_fd(), options) {
            Err(e) if e.errno() == Some(Errno::EINVAL) => {}
            set => set.with_context(|| format!("mount at {}", path.display()))?,
        }
    }
    Ok(())
}

fn propagate(mount: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    let attr = MountAttr { propagation: flags & !libc::MS_REC, ..MountAttr::default() };
    mount_setattr(mount, flags & libc::MS_REC != 0, attr)
}

impl<'a> Prepared<'a> {
    /// Mounts the root and everything in it.
    pub fn new(plan: &'a Rootfs, open: &mut Open<'_>, cgroups: &CgroupView) -> Result<Prepared<'a>> {
        let root = open(Wanted::Root)?;
        let place = open(Wanted::Place)?;
        if !plan.own_namespace {
            // On the host nothing of ours is to spread.
            propagate(root.as_fd(), libc::MS_PRIVATE | libc::MS_REC).context("make the root private")?;
        } else if plan.is_shared() {
            // The copy of a shared mount is its peer, which pivot_root refuses.
            propagate(root.as_fd(), libc::MS_PRIVATE).context("make the root private")?;
        }
        attach(root.as_fd(), place.as_fd()).with_context(|| format!("mount root {}", plan.path.display()))?;
        drop(place);
        let hide = hide::Sources::open(plan)?;
        let root = Root::new(root);
        let mut prepared = Prepared { plan, root, proc: None, devpts: None, hide, last: Vec::new() };
        for (index, mount) in plan.mounts.iter().enumerate() {
            let mut open = || open(Wanted::Source(index));
            prepared.mount(mount, &mut open, cgroups).with_context(|| mount.describe())?;
        }
        if plan.populate_dev {
            devices::populate(&prepared.root, plan, open)?;
        }
        if let Some(cwd) = plan.cwd.as_ref().filter(|cwd| cwd.as_path() != Path::new("/")) {
            // As runc: it is made with the rights of the container's root. A path that cannot be made is
            // reported when the process enters it.
            let _ = prepared.root.make_dirs(cwd);
        }
        Ok(prepared)
    }

    fn mount(
        &mut self,
        mount: &'a Mount,
        open: &mut dyn FnMut() -> Result<OwnedFd>,
        cgroups: &CgroupView,
    ) -> Result<()> {
        match &mount.action {
            Action::Bind { source: path } => {
                let tree = open()?;
                let kind = path::file_type(tree.as_fd())
                    .with_context(|| format!("stat source {}", path.display()))?;
                if kind == FileType::Symlink && mount.options.copy_symlink {
                    return self.copy_link(mount, tree.as_fd());
                }
                let want = if kind == FileType::Directory { Target::Dir } else { Target::File };
                let target = self.target(mount, want)?;
                if mount.destination == Path::new("/proc") {
                    // Every later write of a label or a sysctl would go into it (CVE-2019-16884).
                    Proc::verify(tree.try_clone().context("dup")?).with_context(|| {
                        format!("\"/proc\" cannot be mounted because {} is not of type proc", path.display())
                    })?;
                }
                source::configure(tree.as_fd(), &mount.options)?;
                attach(tree.as_fd(), target.as_fd())
                    .map_err(|e| not_a_directory(e, kind, target.as_fd()))
                    .with_context(|| format!("bind {} to {}", path.display(), mount.destination.display()))?;
                set_propagation(tree.as_fd(), &mount.options)?;
                self.mounted(mount, tree);
                Ok(())
            }
            Action::Fs { kind, source } => {
                let (target, fresh) = self.fs_target(mount, kind)?;
                let place = fs::Place { target: target.as_fd(), fresh };
                let tree = fs::mount(mount, kind, source, self.plan.label.as_deref(), &place)?;
                finish(tree.as_fd(), &mount.options)?;
                self.readonly_last(mount, tree.as_fd())?;
                if kind == "proc" && mount.destination == Path::new("/proc") {
                    self.proc = Some(Proc::just_made(tree));
                } else if kind == "devpts" && mount.destination == Path::new("/dev/pts") {
                    self.devpts = Some(tree);
                } else {
                    self.mounted(mount, tree);
                }
                Ok(())
            }
            Action::Cgroup if mount.destination == Path::new("/") => {
                Err(Error::new(Kind::Config, "it cannot be the root"))
            }
            Action::Cgroup => {
                let target = self.target(mount, Target::Dir)?;
                cgroup::mount(cgroups, mount, target.as_fd())
            }
            Action::Remount => {
                let target = self
                    .root
                    .open(&mount.destination, OFlags::PATH)
                    .with_context(|| format!("open {} in the rootfs", mount.destination.display()))?;
                fs::remount(mount, target.as_fd())?;
                self.readonly_last(mount, target.as_fd())
            }
        }
    }

    /// Keeps a mount that has to be made read-only when everything in it is made.
    fn readonly_last(&mut self, mount: &'a Mount, tree: BorrowedFd<'_>) -> Result<()> {
        if mount.readonly_last {
            self.last.push((mount, tree.try_clone_to_owned().context("dup")?));
        }
        Ok(())
    }

    /// What is mounted on the root is the root from now on: by the descriptor of the old one, which is below it, it could
    /// not be seen.
    fn mounted(&mut self, mount: &Mount, tree: OwnedFd) {
        if mount.destination == Path::new("/") {
            self.root = Root::new(tree);
        }
    }

    /// `copy-symlink`: in place of a mount, a link that says the same.
    fn copy_link(&self, mount: &Mount, source: BorrowedFd<'_>) -> Result<()> {
        let text = rustix::fs::readlinkat(source, "", Vec::new()).context("read the link")?;
        let (dir, name) = self.root.make_parent(&mount.destination)?;
        match rustix::fs::symlinkat(&text, &dir, name) {
            Err(rustix::io::Errno::EXIST)
                if rustix::fs::readlinkat(&dir, name, Vec::new()).is_ok_and(|old| old == text) =>
            {
                Ok(())
            }
            made => made.with_context(|| format!("make link {}", mount.destination.display())),
        }
    }

    /// The target of a mount, made when it is missing.
    fn target(&self, mount: &Mount, want: Target) -> Result<OwnedFd> {
        self.find_target(mount, want).map(|(target, _)| target)
    }

    /// The target of a mount, and whether it had to be made.
    fn find_target(&self, mount: &Mount, want: Target) -> Result<(OwnedFd, bool)> {
        let itself = match mount.options.dest_nofollow {
            true => self.root.open(&mount.destination, OFlags::PATH | OFlags::NOFOLLOW).ok(),
            false => None,
        };
        let (target, fresh) = match itself {
            Some(target) => (target, false),
            None => self.root.find_or_make(&mount.destination, want)?,
        };
        // By a symlink of the image's a volume could land on a file of procfs and feed us lies from there
        // (CVE-2019-16884). What config.json says openly was judged by its validation.
        // Nothing can be made in one.
        if !fresh && !mount.destination.starts_with("/proc") {
            not_in_procfs(target.as_fd(), &mount.destination)?;
        }
        Ok((target, fresh))
    }

    /// /proc and /sys must be what they seem: real directories (CVE-2019-19921, CVE-2023-27561, CVE-2025-54867).
    fn fs_target(&self, mount: &Mount, kind: &str) -> Result<(OwnedFd, bool)> {
        if !matches!(kind, "proc" | "sysfs") {
            return self.find_target(mount, Target::Dir);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.root.open_no_symlinks(&mount.destination, flags) {
            Ok(target) => Ok((target, false)),
            Err(Errno::ENOENT) => {
                self.root.make_dirs(&mount.destination)?;
                let target = self.root.open_no_symlinks(&mount.destination, flags);
                Ok((target.context("open the directory just made")?, true))
            }
            Err(e @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                Err(e).context(format!("filesystem {kind:?} must be mounted on ordinary directory"))
            }
            Err(e) => Err(e).with_context(|| format!("open {} in the rootfs", mount.destination.display())),
        }
    }

    /// Binds the container's terminal to /dev/console.
    pub fn console(&self, terminal: BorrowedFd<'_>) -> Result<()> {
        devices::console(&self.root, terminal)
    }

    /// The devpts that was mounted at /dev/pts.
    pub fn devpts(&self) -> Option<BorrowedFd<'_>> {
        self.devpts.as_ref().map(|fd| fd.as_fd())
    }

    /// A terminal of whatever devpts is at /dev/pts, when none was mounted: with a /dev of somebody else's.
    pub fn open_pty(&self) -> Result<Pty> {
        let devpts = self
            .root
            .open_no_symlinks(Path::new("/dev/pts"), OFlags::PATH | OFlags::DIRECTORY)
            .context("open /dev/pts in the rootfs")?;
        Pty::open(devpts.as_fd())
    }

    /// Makes the rootfs this process's root and forgets the old one.
    pub fn enter(self) -> Result<Entered<'a>> {
        let Prepared { plan, root, proc, devpts, hide, last } = self;
        match (plan.own_namespace, plan.no_pivot) {
            (false, _) => {
                rustix::process::fchdir(&root).context("chdir to the rootfs")?;
                rustix::process::chroot(".").context("chroot to the rootfs")?;
            }
            (true, true) => no_pivot::enter(&root)?,
            (true, false) => pivot(plan, &root)?,
        }
        rustix::process::chdir("/").context("chdir to /")?;
        Ok(Entered { plan, root, proc, devpts, hide, last })
    }
}

fn pivot(plan: &Rootfs, root: &Root) -> Result<()> {
    let old = open_root_directory()?;
    rustix::process::fchdir(root).context("chdir to the rootfs")?;
    // The new root and the place for the old one may be the same: the old is then on top.
    rustix::process::pivot_root(".", ".")
        .with_context(|| format!("pivot_root to {}", plan.path.display()))?;
    if plan.is_shared() {
        // Or the unmount below is propagated to the host.
        propagate(old.as_fd(), libc::MS_SLAVE | libc::MS_REC).context("make the old root a slave")?;
    }
    rustix::process::fchdir(&old).context("chdir to the old root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).context("unmount the old root")
}

impl Entered<'_> {
    /// Hides, makes read-only, and closes the root.
    pub fn finish(self) -> Result<()> {
        for path in &self.plan.readonly_paths {
            hide::make_readonly(&self.root, path)
                .with_context(|| format!("linux.readonlyPaths: make {} read-only", path.display()))?;
        }
        for path in &self.plan.masked {
            self.hide
                .mask(&self.root, path)
                .with_context(|| format!("linux.maskedPaths: mask {}", path.display()))?;
        }
        let readonly = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        for (mount, tree) in &self.last {
            mount_setattr(tree.as_fd(), false, readonly)
                .context("make it read-only")
                .with_context(|| mount.describe())?;
        }
        if let Some(flags) = self.plan.propagation {
            // Not recursively: the mounts have what their own options ask for.
            propagate(self.root.as_fd(), flags & !libc::MS_REC).context("set linux.rootfsPropagation")?;
        }
        if self.plan.readonly {
            mount_setattr(self.root.as_fd(), false, readonly).context("make the root read-only")?;
        }
        Ok(())
    }
}

/// Refuses a target that a symlink of the image's has led to procfs.
fn not_in_procfs(target: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let fs = rustix::fs::fstatfs(target).context("statfs of the mount target")?;
    match fs.f_type == rustix::fs::PROC_SUPER_MAGIC && !weakened("procfs") {
        true => Err(Error::new(Kind::Config, format!("{} leads into a procfs", path.display()))),
        false => Ok(()),
    }
}

/// move_mount calls a file on a directory, and the reverse, an invalid argument; mount(2) calls it ENOTDIR, by which Docker
/// knows what to advise.
fn not_a_directory(e: Errno, source: FileType, target: BorrowedFd<'_>) -> Errno {
    let directory = |kind| kind == FileType::Directory;
    match path::file_type(target) {
        Ok(target) if e == Errno::EINVAL && directory(target) != directory(source) => Errno::ENOTDIR,
        _ => e,
    }
}

/// Attaches a detached mount on the file or directory that `target` is.
fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags).map_err(crate::sys::errno)
}

/// A detached copy of the mount that `fd` is in, with `fd` as its root.
fn clone_mount(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, "", flags).map_err(crate::sys::errno)
}

/// The recursive attributes, and what a mount can have only in its place: propagation.
fn finish(mount: BorrowedFd<'_>, options: &MountOptions) -> Result<()> {
    set_recursive_attributes(mount, options)?;
    set_propagation(mount, options)
}

fn set_recursive_attributes(mount: BorrowedFd<'_>, options: &MountOptions) -> Result<()> {
    let recursive = MountAttr { set: options.rec_attr_set, clear: options.rec_attr_clr, propagation: 0 };
    match recursive.is_empty() {
        true => Ok(()),
        false => mount_setattr(mount, true, recursive).context("set the recursive mount attributes"),
    }
}

fn set_propagation(mount: BorrowedFd<'_>, options: &MountOptions) -> Result<()> {
    for &flags in &options.propagation {
        propagate(mount, flags).context("set the mount propagation")?;
    }
    Ok(())
}
