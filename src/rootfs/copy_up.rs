//! `tmpcopyup`: a tmpfs that begins with what it covers.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno as Rerrno;

use crate::error::{Context, Error, Kind, Result};

/// Deeper trees than this are refused rather than followed until the stack ends.
const DEPTH: u32 = 256;

/// Copies `from`, the directory that the tmpfs `to` covers, into it.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = rustix::fs::openat(from, c".", flags, Mode::empty()).context("open")?;
    copy_dir(from.as_fd(), to, DEPTH)?;
    // Its mode it has already, from there or from an option of the mount.
    let stat = rustix::fs::fstat(&from).context("stat")?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, c".", Some(uid), Some(gid), AtFlags::empty()).context("chown")
}

fn copy_dir(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> Result<()> {
    if depth == 0 {
        return Err(Error::new(Kind::System, "too many levels of directories"));
    }
    let mut entries = Dir::read_from(from).context("read directory")?;
    while let Some(entry) = entries.read() {
        let entry = entry.context("read directory")?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, depth).with_context(|| name.to_string_lossy().into_owned())?;
        }
    }
    Ok(())
}

/// What is there is opened once, as a path: whoever exchanges it for a FIFO or a device, which would block, or act, when it
/// is opened to be read, gets a copy of that.
fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: u32) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = rustix::fs::openat(from, name, flags, Mode::empty()).context("open")?;
    let stat = rustix::fs::fstat(&entry).context("stat")?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match kind {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode).context("make directory")?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = rustix::fs::openat(&entry, c".", flags, Mode::empty()).context("open")?;
            let target = rustix::fs::openat(to, name, flags, Mode::empty()).context("open the copy")?;
            // Each level holds some.
            drop(entry);
            copy_dir(source.as_fd(), target.as_fd(), depth - 1)?;
        }
        FileType::RegularFile => {
            // A read of the kernel's own files may block (trace_pipe), and so may the open of a file that is leased.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let path = format!("/proc/self/fd/{}", entry.as_raw_fd());
            let source = rustix::fs::open(path, flags, Mode::empty()).context("open to read")?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, name, flags, mode).context("make file")?;
            copy_bytes(source.as_fd(), target.as_fd())?;
        }
        FileType::Symlink => {
            let link: CString = rustix::fs::readlinkat(&entry, c"", Vec::new()).context("read link")?;
            rustix::fs::symlinkat(link.as_c_str(), to, name).context("make link")?;
        }
        _ => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev).context("make node")?,
    }
    own(to, name, &stat)
}

fn copy_bytes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    loop {
        match rustix::fs::sendfile(to, from, None, 1 << 20) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Rerrno::INTR) => {}
            Err(e) => return Err(e).context("copy"),
        }
    }
}

/// Owner, then mode, since a change of owner clears the set-id bits.
fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).context("chown")?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        rustix::fs::chmodat(dir, name, mode, AtFlags::empty()).context("chmod")?;
    }
    Ok(())
}
