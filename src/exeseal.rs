//! Keeps our own executable from being written by a container (CVE-2019-5736).
//!
//! `/proc/PID/exe` of a runtime that is in the container, or whose exec is led back to itself by `#!/proc/self/exe`, is
//! a way to the host's file for whoever may open it for writing once it is no longer being executed. So the runtime
//! executes itself once more through a read-only mount of that file, which exists nowhere but in the descriptor it
//! is executed by: the link then leads to that mount, and opening it for writing is EROFS for everybody. No byte is
//! copied, and where the runtime lies on a read-only mount already there is nothing to do.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::error::{Context, Errno, Error, Result};
use crate::sys::exec::{Strings, fexecve};
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::sys::start;

/// Makes sure that this process's executable cannot be written through `/proc/PID/exe`; may execute it anew, with the same
/// arguments and environment. To be called before anything else.
///
/// Without the right to make mounts (an ordinary user outside of a user namespace) it is left as it is: such a runtime's
/// file does not belong to the container's root.
pub fn seal() -> Result<()> {
    // The first instructions of the program have done it, where there are any of ours.
    if start::is_sealed() {
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
        Err(rustix::io::Errno::PERM) => return Ok(()),
        sealed => sealed.context("copy the mount of our own executable")?,
    };
    let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(sealed.as_fd(), false, attr).context("make our own executable read-only")?;
    let args = std::env::args_os().filter_map(|arg| CString::new(arg.into_vec()).ok());
    let env = std::env::vars_os().filter_map(|(name, value)| {
        let mut var = name.into_vec();
        var.push(b'=');
        var.append(&mut value.into_vec());
        CString::new(var).ok()
    });
    let errno: Errno = fexecve(sealed.as_fd(), &Strings::new(args.collect()), &Strings::new(env.collect()));
    Err(Error::os(errno, "execute our own executable through a read-only mount"))
}
