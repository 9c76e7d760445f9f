//! Paths inside a root file system, by descriptors.
//!
//! The container's owner chose every name below the rootfs and may be changing them while we look, so no path
//! of theirs is ever resolved by string: `openat2` with `RESOLVE_IN_ROOT` keeps `..` and absolute symlinks
//! inside, `RESOLVE_NO_MAGICLINKS` keeps /proc links from leading out, and what was opened is what is used
//! (CVE-2021-30465, CVE-2024-45310, CVE-2026-41579).
//!
//! pathrs would serve too, but its procfs handle and its per-component checks cost about as many system calls as
//! the whole rest of a mount, and nothing here needs more than one `openat2`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno as Rerrno;

use crate::error::{Context, Errno, Error, Kind, Result};

/// A directory that is `/` for every path looked up through it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

/// What a mount target has to be when it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A directory.
    Dir,
    /// An empty regular file.
    File,
}

/// A rename or mount while openat2 walks `..` makes it give up with EAGAIN; an attacker can do that at will, so
/// the number of tries is bounded.
const TRIES: u32 = 128;

/// As the kernel's limit of symlinks in one path (MAXSYMLINKS).
const MAX_LINKS: u32 = 40;

impl Root {
    /// Takes the directory `fd` as the root.
    pub fn new(fd: OwnedFd) -> Root {
        Root { fd }
    }

    /// Opens `path` inside the root, following symlinks inside it.
    pub fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::empty())
    }

    /// Opens `path`, no component of which may be a symlink.
    pub fn open_no_symlinks(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::NO_SYMLINKS)
    }

    /// Opens `path` without leaving the file system that the root is on, so that nothing mounted over a part of
    /// it is mistaken for it (CVE-2025-52881).
    pub fn open_same_mount(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV)
    }

    fn resolve(&self, path: &Path, flags: OFlags, extra: ResolveFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | extra;
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        for _ in 0..TRIES {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Rerrno::AGAIN) => continue,
                other => return other.map_err(crate::sys::errno),
            }
        }
        Err(Errno::EAGAIN)
    }

    /// The directory `path`, made with its parents (mode 0755) as far as it is missing.
    pub fn make_dirs(&self, path: &Path) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::ENOENT) => self.make_missing_dirs(path),
            found => found.with_context(|| format!("open {} in the rootfs", path.display())),
        }
    }

    /// The same for a path that is known to be missing.
    fn make_missing_dirs(&self, path: &Path) -> Result<OwnedFd> {
        let mut missing = 1;
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.make_last_dirs(&path, missing)? {
                Walk::Done(dir) => return Ok(dir),
                Walk::Elsewhere(other) => (path, missing) = (other, 0),
            }
        }
        Err(Error::os(Errno::ELOOP, format!("make directory {} in the rootfs", path.display())))
    }

    /// Makes what is missing at the end of `path`: at least the last `missing` names.
    fn make_last_dirs(&self, path: &Path, missing: usize) -> Result<Walk> {
        let names = names(path)?;
        let upto =
            |count: usize| -> PathBuf { Path::new("/").join(names[..count].iter().collect::<PathBuf>()) };
        // The deepest part that is there, in which the kernel resolves symlinks, inside the root.
        let mut there = names.len().saturating_sub(missing);
        let mut dir = loop {
            match self.open(&upto(there), OFlags::PATH | OFlags::DIRECTORY) {
                Err(Errno::ENOENT) if there > 0 => there -= 1,
                found => {
                    break found.with_context(|| format!("open {} in the rootfs", upto(there).display()))?;
                }
            }
        };
        for (i, name) in names.iter().enumerate().skip(there) {
            let what = || format!("make directory {} in the rootfs", upto(i + 1).display());
            dir = match make_dir(dir.as_fd(), name) {
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    // A symlink to nowhere, such as /var/run in an image without /run: its end is made, inside.
                    let link = read_link(dir.as_fd(), name).with_context(what)?;
                    let rest: PathBuf = names[i + 1..].iter().collect();
                    return Ok(Walk::Elsewhere(clean(&upto(i).join(link).join(rest))));
                }
                made => made.with_context(what)?,
            };
        }
        Ok(Walk::Done(dir))
    }

    /// An `O_PATH` descriptor of the mount target `path`, made if it is missing.
    pub fn make_target(&self, path: &Path, target: Target) -> Result<OwnedFd> {
        self.find_or_make(path, target).map(|(fd, _)| fd)
    }

    /// The same, and whether it had to be made.
    pub fn find_or_make(&self, path: &Path, target: Target) -> Result<(OwnedFd, bool)> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::ENOENT) => {}
            found => {
                let found = found.with_context(|| format!("open {} in the rootfs", path.display()))?;
                return Ok((found, false));
            }
        }
        if target == Target::Dir {
            return self.make_missing_dirs(path).map(|dir| (dir, true));
        }
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let what = || format!("make file {} in the rootfs", path.display());
            let (dir, name) = self.make_parent(&path)?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            match rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o644)) {
                Err(Rerrno::EXIST) => {
                    let link = read_link(dir.as_fd(), name).with_context(what)?;
                    path = clean(&path.parent().unwrap_or(Path::new("/")).join(link));
                }
                file => return file.map(|file| (file, true)).with_context(what),
            }
        }
        Err(Error::os(Errno::ELOOP, format!("make file {} in the rootfs", path.display())))
    }

    /// The directory that holds `path`, made if need be, and the last name of `path`.
    pub fn make_parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr)> {
        let name = names(path)?.pop();
        let (Some(name), Some(parent)) = (name, path.parent()) else {
            return Err(Error::new(
                Kind::Config,
                format!("{} cannot be made: it is the root", path.display()),
            ));
        };
        Ok((self.make_dirs(parent)?, name))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The names of a path in order. `..` cannot be made, and config validation has cleaned it away.
fn names(path: &Path) -> Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::new(Kind::Config, format!("{} contains ..", path.display())));
            }
        }
    }
    Ok(names)
}

/// Where the making of a path goes on.
enum Walk {
    Done(OwnedFd),
    /// A symlink to something that does not exist: this path, inside the root, is what it means.
    Elsewhere(PathBuf),
}

fn read_link(dir: BorrowedFd<'_>, name: &OsStr) -> Result<PathBuf, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let link = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(crate::sys::errno)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(link.into_bytes())))
}

fn make_dir(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Rerrno::EXIST) => {}
        Err(e) => return Err(crate::sys::errno(e)),
    }
    // NOFOLLOW: whoever won a race for this name must not choose where we go on.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(crate::sys::errno)
}

/// `/` and normal names only: `.` and empty parts dropped, `..` taken away with its parent, relative paths from `/`.
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// A path of mountinfo, its octal escapes undone.
pub fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (escaped, plain)| path.replace(escaped, plain))
}

/// What sort of file a descriptor is of.
pub fn file_type(fd: BorrowedFd<'_>) -> Result<FileType, Errno> {
    rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode)).map_err(crate::sys::errno)
}

/// A procfs that is known to be one: nothing mounted over it or inside it can redirect what is written
/// through it (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881).
#[derive(Debug)]
pub struct Proc {
    root: Root,
}

impl Proc {
    /// Takes the root directory of a procfs mount, after asking the kernel whether it is one.
    pub fn verify(fd: OwnedFd) -> Result<Proc> {
        /// `PROC_ROOT_INO` of the kernel: the root of every procfs, and of nothing below it.
        const PROC_ROOT_INO: u64 = 1;
        let fs = rustix::fs::fstatfs(&fd).context("statfs of /proc")?;
        let stat = rustix::fs::fstat(&fd).context("stat of /proc")?;
        if fs.f_type != rustix::fs::PROC_SUPER_MAGIC || stat.st_ino != PROC_ROOT_INO {
            return Err(Error::new(Kind::System, "/proc is not a procfs"));
        }
        Ok(Proc { root: Root::new(fd) })
    }

    /// The same for one that this process has made with fsmount(2), and not looked up.
    pub fn just_made(fd: OwnedFd) -> Proc {
        Proc { root: Root::new(fd) }
    }

    /// The procfs at /proc of the caller's root.
    pub fn open() -> Result<Proc> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Proc::verify(rustix::fs::open("/proc", flags, Mode::empty()).context("open /proc")?)
    }

    /// Opens a file below it; the path must neither cross a mount nor a symlink.
    pub fn file(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.root.open_same_mount(Path::new(path), flags)
    }

    /// Opens one of the links of a process, such as `ns/net` or `root`: what it leads to, not the link. Magic links are
    /// followed nowhere else; this one is the kernel's own, in a directory that was verified.
    pub fn follow(&self, pid: i32, link: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let dir = self.file(&pid.to_string(), OFlags::PATH | OFlags::DIRECTORY)?;
        rustix::fs::openat(&dir, link, flags | OFlags::CLOEXEC, Mode::empty()).map_err(crate::sys::errno)
    }

    /// Writes `value` to a file below it in one write.
    pub fn write(&self, path: &str, value: &[u8]) -> Result<(), Errno> {
        let file = self.file(path, OFlags::WRONLY)?;
        write_once(file.as_fd(), value)
    }
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// One write(2) of everything: kernel files take a value whole or not at all.
pub fn write_once(fd: BorrowedFd<'_>, value: &[u8]) -> Result<(), Errno> {
    loop {
        match rustix::io::write(fd, value) {
            Err(Rerrno::INTR) => continue,
            Ok(n) if n == value.len() => return Ok(()),
            Ok(_) => return Err(Errno::EIO),
            Err(e) => return Err(crate::sys::errno(e)),
        }
    }
}

/// A file of procfs that the kernel makes in one go, as `stat` and `cgroup` of a process are: what is less than was asked
/// for is all of it, and need not be asked for again.
pub fn read_made_at_once(path: &str) -> Result<Vec<u8>, Errno> {
    let file =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(crate::sys::errno)?;
    let mut bytes = vec![0; 4096];
    let n =
        rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut bytes[..])).map_err(crate::sys::errno)?;
    if n == bytes.len() {
        bytes.extend(read_all(file.as_fd(), usize::MAX)?);
    } else {
        bytes.truncate(n);
    }
    Ok(bytes)
}

/// Everything that can be read from `fd`, up to `limit` bytes.
pub fn read_all(fd: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    loop {
        let old = bytes.len();
        if old >= limit {
            return Err(Errno::EFBIG);
        }
        bytes.resize((old + 4096).min(limit), 0);
        match rustix::io::read(fd, &mut bytes[old..]) {
            Ok(0) => {
                bytes.truncate(old);
                return Ok(bytes);
            }
            Ok(n) => bytes.truncate(old + n),
            Err(Rerrno::INTR) => bytes.truncate(old),
            Err(e) => return Err(crate::sys::errno(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch() -> (PathBuf, Root) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tare-path-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(dir.join("root")).unwrap();
        let fd = rustix::fs::open(dir.join("root"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, Root::new(fd))
    }

    #[test]
    fn an_absolute_symlink_stays_inside() {
        let (dir, root) = scratch();
        std::fs::create_dir(dir.join("outside")).unwrap();
        symlink(dir.join("outside"), dir.join("root/dev")).unwrap();
        // The link's target does not exist inside, where it is made, and nothing may be made outside.
        root.make_dirs(Path::new("/dev/pts")).unwrap();
        root.make_target(Path::new("/dev/null"), Target::File).unwrap();
        assert_eq!(std::fs::read_dir(dir.join("outside")).unwrap().count(), 0);
        let inside = dir.join("root").join(dir.join("outside").strip_prefix("/").unwrap());
        assert!(inside.join("pts").is_dir() && inside.join("null").is_file());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn links_in_a_circle_end() {
        let (dir, root) = scratch();
        symlink("b", dir.join("root/a")).unwrap();
        symlink("a", dir.join("root/b")).unwrap();
        assert!(root.make_dirs(Path::new("/a/x")).is_err());
        assert!(root.make_target(Path::new("/a"), Target::File).is_err());
        symlink("c/x", dir.join("root/c")).unwrap();
        assert!(root.make_dirs(Path::new("/c")).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_lies_over_a_part_of_procfs_is_not_taken_for_it() {
        // CVE-2025-52881. /proc is to `/` what a volume in it would be to /proc.
        let fd = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let crossed = Root::new(fd).open_same_mount(Path::new("/proc/version"), OFlags::PATH);
        assert_eq!(crossed.unwrap_err(), Errno::EXDEV);
        let linked = Proc::open().unwrap().file("self/status", OFlags::PATH);
        assert_eq!(linked.unwrap_err(), Errno::ELOOP);
    }

    #[test]
    fn dot_dot_links_stay_inside() {
        let (dir, root) = scratch();
        symlink("../../../../../..", dir.join("root/up")).unwrap();
        root.make_dirs(Path::new("/up/made")).unwrap();
        assert!(dir.join("root/made").is_dir());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn targets_are_made_and_found_again() {
        let (dir, root) = scratch();
        root.make_target(Path::new("/a/b/file"), Target::File).unwrap();
        root.make_target(Path::new("/a/c"), Target::Dir).unwrap();
        assert!(dir.join("root/a/b/file").is_file() && dir.join("root/a/c").is_dir());
        let again = root.make_target(Path::new("/a/b/file"), Target::Dir).unwrap();
        assert_eq!(file_type(again.as_fd()).unwrap(), FileType::RegularFile);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn cleaning() {
        for (from, to) in [
            ("/a/./b//c", "/a/b/c"),
            ("a/b", "/a/b"),
            ("/../../x", "/x"),
            ("/a/../../b", "/b"),
            ("", "/"),
            ("/", "/"),
        ] {
            assert_eq!(clean(Path::new(from)), Path::new(to), "{from}");
        }
    }

    #[test]
    fn only_a_procfs_root_is_a_procfs() {
        assert!(Proc::open().is_ok());
        for other in ["/", "/proc/self", "/sys"] {
            let fd = rustix::fs::open(other, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            assert!(Proc::verify(fd).is_err(), "{other}");
        }
    }
}
