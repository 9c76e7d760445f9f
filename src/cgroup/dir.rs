//! One cgroup in one hierarchy: a directory, reached through the fd of a directory above it.

use super::walk;
use crate::error::{Errno, Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// A cgroup. Cheap to make: nothing is opened before it is used.
#[derive(Clone, Debug)]
pub(super) struct Dir {
    at: Rc<OwnedFd>,
    /// Below `at`, without a slash at its end.
    below: String,
    /// Absolute, for messages and for the record.
    pub path: String,
}

pub(super) fn errno(e: rustix::io::Errno) -> Errno {
    Errno::from_raw(e.raw_os_error())
}

impl Dir {
    /// The cgroup `below` the directory `at`, whose own path is `base`.
    pub fn new(at: &Rc<OwnedFd>, base: &str, below: &str) -> Dir {
        // A hierarchy mounted at an unusual place is named by an absolute path; openat then ignores `at`.
        let path = if below.starts_with('/') { below.to_owned() } else { format!("{base}/{below}") };
        Dir { at: at.clone(), below: below.to_owned(), path }
    }

    /// The directory that everything here is reached through.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.at.as_fd()
    }

    /// A cgroup inside this one. `name` has been checked by the caller.
    pub fn child(&self, name: &str) -> Dir {
        Dir { at: self.at.clone(), below: self.join(name), path: format!("{}/{name}", self.path) }
    }

    /// The cgroup this one is in, `None` above the directory everything is reached through.
    pub fn parent(&self) -> Option<Dir> {
        if self.below.is_empty() {
            return None;
        }
        let below = self.below.rsplit_once('/').map_or("", |(parent, _)| parent);
        let path = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        Some(Dir { at: self.at.clone(), below: below.to_owned(), path: path.to_owned() })
    }

    fn join(&self, name: &str) -> String {
        if self.below.is_empty() { name.to_owned() } else { format!("{}/{name}", self.below) }
    }

    fn itself(&self) -> &str {
        if self.below.is_empty() { "." } else { &self.below }
    }

    fn open_at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&*self.at, path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(errno)
    }

    /// Opens a file of this cgroup.
    pub fn open(&self, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open_at(&self.join(file), flags)
    }

    /// Opens the directory itself, as clone3 and bpf want it.
    pub fn open_self(&self) -> Result<OwnedFd, Errno> {
        self.open_at(self.itself(), OFlags::PATH | OFlags::DIRECTORY)
    }

    /// The whole content of a file.
    pub fn read(&self, file: &str) -> Result<String, Errno> {
        read_all(&self.open(file, OFlags::RDONLY)?)
    }

    /// The whole content of a file that the kernel makes in one go (not a list of processes): short, it comes with the first
    /// read.
    pub fn read_short(&self, file: &str) -> Result<String, Errno> {
        let fd = self.open(file, OFlags::RDONLY)?;
        let mut buffer = [0u8; 1024];
        loop {
            match rustix::io::read(&fd, &mut buffer) {
                Ok(n) if n == buffer.len() => return read_all(&fd),
                Ok(n) => return Ok(String::from_utf8_lossy(&buffer[..n]).into_owned()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(errno(e)),
            }
        }
    }

    /// Writes a value in one write(2), as the control files want it.
    pub fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        write_all(&self.open(file, OFlags::WRONLY)?, value)
    }

    /// The number behind `key` in a file of "key value" lines.
    pub fn value(&self, file: &str, key: &str) -> Result<Option<u64>, Errno> {
        Ok(value_of(&self.read(file)?, key))
    }

    pub fn mkdir(&self) -> Result<(), Errno> {
        rustix::fs::mkdirat(&*self.at, &self.below, Mode::from_raw_mode(0o755)).map_err(errno)
    }

    pub fn rmdir(&self) -> Result<(), Errno> {
        rustix::fs::unlinkat(&*self.at, &self.below, AtFlags::REMOVEDIR).map_err(errno)
    }

    /// Gives a file of this cgroup to a user; the empty name is the directory itself.
    pub fn chown(&self, file: &str, uid: u32) -> Result<(), Errno> {
        let path = if file.is_empty() { self.itself().to_owned() } else { self.join(file) };
        let owner = Some(rustix::process::Uid::from_raw(uid));
        rustix::fs::chownat(&*self.at, &path, owner, None, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)
    }

    pub fn exists(&self) -> bool {
        rustix::fs::statat(&*self.at, self.itself(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether there are cgroups in it: they count as links.
    pub fn has_children(&self) -> bool {
        rustix::fs::statat(&*self.at, self.itself(), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| s.st_nlink > 2)
    }

    /// Opens the directory for listing what is in it.
    pub fn open_list(&self) -> Result<OwnedFd, Errno> {
        self.open_at(self.itself(), OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The processes in this cgroup and everything below it. A cgroup that vanishes has none.
    pub fn pids(&self, into: &mut Vec<i32>) -> Result<()> {
        let mut read = |dir: BorrowedFd<'_>| {
            let list = |file: &str| {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(dir, file, flags, Mode::empty()).map_err(errno)?;
                read_all(&fd)
            };
            let own = match list("cgroup.procs") {
                // A threaded cgroup has no processes, only threads.
                Err(Errno::EOPNOTSUPP) => list("cgroup.threads"),
                other => other,
            };
            let own = match own {
                Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
                other => other?,
            };
            // 0 is a process our pid namespace cannot see.
            into.extend(own.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            Ok(())
        };
        walk::each(self, &mut read)
            .map_err(|e| Error::os(e, format!("read the processes of cgroup {}", self.path)))
    }
}

/// Reads a control file from its start.
pub(super) fn read_all(fd: &OwnedFd) -> Result<String, Errno> {
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::pread(fd, &mut buffer, bytes.len() as u64) {
            Ok(0) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(errno(e)),
        }
    }
}

/// One write(2); some control files (memory limits that have to reclaim) are interrupted by signals.
pub(super) fn write_all(fd: &OwnedFd, value: &str) -> Result<(), Errno> {
    loop {
        match rustix::io::write(fd, value.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(errno(e)),
        }
    }
}

/// The number behind `key` in "key value" lines.
pub(super) fn value_of(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
