//! execve(2) and the flags of descriptors that survive it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::check;

/// A NULL-terminated array of C strings, ready for execve: built before the point where failing is awkward.
pub struct Strings {
    pointers: Vec<*const libc::c_char>,
    /// Keeps the pointers valid.
    _strings: Vec<CString>,
}

impl Strings {
    /// Takes the strings and points at them.
    pub fn new(strings: Vec<CString>) -> Strings {
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Strings { pointers, _strings: strings }
    }
}

/// execve(2). Returns only to say why it failed.
pub fn execve(path: &CStr, args: &Strings, env: &Strings) -> Errno {
    // SAFETY: `path` is a C string; both arrays are NULL-terminated and their strings live in `Strings`.
    unsafe { libc::execve(path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    Errno::last()
}

/// execveat(2) of an open file.
pub fn fexecve(file: BorrowedFd<'_>, args: &Strings, env: &Strings) -> Errno {
    // SAFETY: as for `execve`; the path is an empty C string and AT_EMPTY_PATH makes the kernel use the file.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.pointers.as_ptr(),
            env.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_range_on_exec(first: u32) -> Result<(), Errno> {
    // SAFETY: changes a flag of descriptors and closes none, so no owner in this process is surprised.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_uint)
    })
    .map(drop)
}

/// Closes every descriptor from `first` on but those in `keep`, bypassing their `OwnedFd`s.
///
/// For a child that never returns to the frames which own them: it executes, or ends by [`exit_now`]
/// (super::clone::exit_now), and runs no destructor of theirs.
pub fn close_all_but(first: u32, keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    keep.sort_unstable();
    let mut from = first;
    for fd in keep {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = from.max(fd + 1);
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: see above: no owner of such a descriptor is ever used or dropped again in this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Clears (or sets) close-on-exec of a descriptor that was inherited by number. `Err(EBADF)` if it is not open.
pub fn set_cloexec(fd: i32, on: bool) -> Result<(), Errno> {
    // SAFETY: F_SETFD only changes a flag; a number that is not open is an EBADF.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 }) } as libc::c_long)
        .map(drop)
}

/// Makes `source` descriptor number `target` (0, 1 or 2), without close-on-exec.
pub fn dup_onto(source: BorrowedFd<'_>, target: i32) -> Result<(), Errno> {
    // SAFETY: only used for the three standard descriptors, which no OwnedFd of ours has as its number.
    check(unsafe { libc::dup3(source.as_raw_fd(), target, 0) } as libc::c_long).map(drop)
}

/// Takes over a descriptor that this process inherited by number.
///
/// # Safety
/// The number must be open and owned by nobody else in this process.
pub unsafe fn adopt(fd: i32) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
