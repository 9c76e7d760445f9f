//! seccomp(2): installing a filter and asking what the kernel knows of it.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

const SET_MODE_FILTER: libc::c_long = 1;
const GET_ACTION_AVAIL: libc::c_long = 2;
const FLAG_TSYNC: u32 = 1 << 0;
const FLAG_NEW_LISTENER: u32 = 1 << 3;
const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Whether the kernel has a SECCOMP_RET_* action (SECCOMP_GET_ACTION_AVAIL, Linux 4.14; false before).
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel only reads the four bytes of `action`, which outlive the call.
    unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// Whether the kernel has a SECCOMP_FILTER_FLAG_*.
///
/// A filter at address 0 is looked at after the flags were: EFAULT says that they were good. Nothing is installed.
pub fn flag_available(flag: u32) -> bool {
    // The kernel takes this one only beside a listener.
    let beside = if flag == FLAG_WAIT_KILLABLE_RECV { FLAG_NEW_LISTENER } else { 0 };
    // SAFETY: with a null filter the kernel can only fail; it dereferences no memory of this process.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            libc::c_ulong::from(flag | beside),
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    ret == -1 && Errno::last() == Errno::EFAULT
}

/// Puts a filter into force for the calling thread and what it will fork and execute.
///
/// With SECCOMP_FILTER_FLAG_NEW_LISTENER among `flags` returns the close-on-exec notification descriptor. Every later
/// call of this thread passes the filter, also those with which the descriptor is handed over. The caller decides on
/// no_new_privs; without it this needs CAP_SYS_ADMIN.
///
/// # Errors
/// EACCES without no_new_privs and CAP_SYS_ADMIN, EINVAL for a filter or flags the kernel does not take, EBUSY if
/// an earlier filter has a listener, ESRCH if TSYNC failed, E2BIG if the filter is longer than a `u16` counts.
pub fn install(filter: &[libc::sock_filter], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: `program` and the `len` instructions it points to outlive the call, and the kernel only reads them.
    let ret = unsafe {
        libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, libc::c_ulong::from(flags), &raw const program)
    };
    let ret = Errno::result(ret)?;
    if flags & FLAG_NEW_LISTENER != 0 {
        // SAFETY: with this flag the kernel returns a descriptor that is new and owned by nobody else.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(ret as i32) }));
    }
    if flags & FLAG_TSYNC != 0 && ret > 0 {
        // The id of a thread that could not follow; nothing was installed.
        return Err(Errno::ESRCH);
    }
    Ok(None)
}
