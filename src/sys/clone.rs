//! clone3(2), unshare(2), and leaving a forked child.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::check;

// libc's constants of these names overflow its 32-bit type.
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Which side of the fork this is.
pub enum Forked {
    /// The caller; the child's pid in the caller's pid namespace, and a pidfd of it.
    Parent(i32, OwnedFd),
    /// The new process.
    Child,
}

/// A child of the caller.
///
/// `namespaces` are `CLONE_NEW*` flags. `cgroup`, a directory of a cgroup2 hierarchy, is where the child
/// starts its life: no migration, so no RCU grace period is waited for. Handlers are reset to default in the
/// child, for its exec may come late and the caller's handlers mean nothing there.
pub fn clone3(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut args = empty();
    args.flags = namespaces | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(dir) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = dir.as_raw_fd() as u64;
    }
    match raw(&args)? {
        0 => Ok(Forked::Child),
        // SAFETY: the kernel stored a new descriptor, which nobody else owns, before it returned a pid.
        pid => Ok(Forked::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// A sibling of the caller: the child's parent is the caller's parent, which so becomes its reaper.
/// Returns the pid in the caller's pid namespace, 0 in the child.
pub fn clone3_sibling(namespaces: u64) -> Result<i32, Errno> {
    let mut args = empty();
    // The exit signal has to be 0 here: the kernel copies the caller's.
    args.flags = namespaces | libc::CLONE_PARENT as u64;
    raw(&args)
}

fn empty() -> libc::clone_args {
    // SAFETY: clone_args is a plain struct of integers, for which zero means "not asked for".
    unsafe { std::mem::zeroed() }
}

fn raw(args: &libc::clone_args) -> Result<i32, Errno> {
    // SAFETY: without CLONE_VM the child gets a copy of the address space, as fork's does, and runs on the
    // same stack addresses; the process has one thread (no thread is ever started before a clone), so no
    // lock can be held by a thread that the child lacks. `args` outlives the call.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, args as *const _, size_of::<libc::clone_args>()) };
    check(ret).map(|pid| pid as i32)
}

/// unshare(2) of `CLONE_NEW*` flags.
pub fn unshare(namespaces: u64) -> Result<(), Errno> {
    // SAFETY: only CLONE_NEW* flags are passed; sharing of fds or memory, which Rust relies on, is untouched.
    check(unsafe { libc::syscall(libc::SYS_unshare, namespaces as libc::c_long) }).map(drop)
}

/// Ends a forked child at once: no destructors, no atexit handlers, which belong to the parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code) }
}

/// The `CLONE_NEW*` flag of the namespace that `fd` is (ioctl NS_GET_NSTYPE). ENOTTY if it is none.
pub fn namespace_type(fd: &OwnedFd) -> Result<u64, Errno> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: this ioctl takes no argument and returns the flag.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) } as libc::c_long).map(|flag| flag as u64)
}
