//! Keeps our own executable from being written by a container (CVE-2019-5736).
//!
//! `/proc/PID/exe` of a runtime that is in the container, or whose exec is led back to itself by `#!/proc/self/exe`, is
//! a way to the host's file for whoever may open it for writing once it is no longer being executed. So the runtime
//! executes itself once more through a read-only mount of that file, which exists nowhere but in the descriptor it
//! is executed by: the link then leads to that mount, and opening it for writing is EROFS for everybody. No byte is
//! copied, and where the runtime lies on a read-only mount already there is nothing to do.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::error::{Context, Errno, Error, Result};
use crate::sys::exec::{Strings, fexecve};
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::sys::start;
use crate::weaken::weakened;

/// Makes sure that this process's executable cannot be written through `/proc/PID/exe`; may execute it anew, with the same
/// arguments and environment. To be called before anything else.
///
/// Without the right to make mounts, that is for an ordinary user outside of a user namespace, a copy in memory has to do; and
/// nothing, where the file is root's, who is not mapped in such a user's containers.
pub fn seal() -> Result<()> {
    // The first instructions of the program have done it, where there are any of ours.
    if start::is_sealed() || weakened("seal") {
        return Ok(());
    }
    let exe = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .context("open /proc/self/exe")?;
    let mount = rustix::fs::fstatvfs(&exe).context("statfs of /proc/self/exe")?;
    if mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let sealed = match rustix::mount::open_tree(&exe, "", flags) {
        Err(rustix::io::Errno::PERM) => return seal_by_copy(&exe),
        sealed => sealed.context("copy the mount of our own executable")?,
    };
    let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(sealed.as_fd(), false, attr).context("make our own executable read-only")?;
    execute(sealed.as_fd(), "execute our own executable through a read-only mount")
}

/// A file in memory that can never change again, and that this process executes.
fn seal_by_copy(exe: &OwnedFd) -> Result<()> {
    let stat = rustix::fs::fstat(exe).context("stat of /proc/self/exe")?;
    let path = "/proc/self/exe";
    let writable = rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    if stat.st_uid == 0 && !writable {
        return Ok(());
    }
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context("read our own executable")?;
    if rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::WRITE)) {
        return Ok(());
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match rustix::fs::memfd_create("tare", flags | MemfdFlags::EXEC) {
        // Linux before 6.3, where all of them can be executed.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("tare", flags),
        copy => copy,
    };
    let copy = copy.context("make a copy of our own executable")?;
    loop {
        match rustix::fs::sendfile(&copy, &file, None, 1 << 30) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("copy our own executable"),
        }
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).context("seal the copy of our own executable")?;
    execute(copy.as_fd(), "execute a copy of our own executable")
}

/// Executes a file as this very call. Returns only to say why it failed.
fn execute(file: BorrowedFd<'_>, what: &'static str) -> Result<()> {
    let args = std::env::args_os().filter_map(|arg| CString::new(arg.into_vec()).ok());
    let env = std::env::vars_os().filter_map(|(name, value)| {
        let mut var = name.into_vec();
        var.push(b'=');
        var.append(&mut value.into_vec());
        CString::new(var).ok()
    });
    let errno: Errno = fexecve(file, &Strings::new(args.collect()), &Strings::new(env.collect()));
    Err(Error::os(errno, what))
}
