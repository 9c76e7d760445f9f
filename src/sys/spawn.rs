//! A program as a child that holds nothing of ours.
//!
//! Close-on-exec is not enough for that: execve resolves the path, the `#!` line and the ELF interpreter first, and any of
//! the three may be `/proc/self/fd/N/…`. So the child closes everything before it.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use rustix::process::{Pid, WaitOptions, chdir, waitpid};

use super::exec::{self, Strings};
use super::{check, clone, signal};
use crate::weaken::weakened;

/// What to execute, and with what.
pub struct Program<'a> {
    /// Resolved by the child.
    pub path: CString,
    /// The arguments, the name first.
    pub args: Strings,
    /// The whole environment.
    pub env: &'a Strings,
    /// Where it begins; `/` if it cannot be entered. `None`: where the caller is.
    pub dir: Option<CString>,
    /// Its standard streams: descriptors above 2.
    pub stdio: [BorrowedFd<'a>; 3],
}

/// Starts it: with its three streams and no other descriptor, no signal blocked, none ignored. The pid of the child, which
/// the caller reaps.
///
/// By fork(2), since what runs under a container's seccomp filter may find clone3 forbidden.
///
/// # Errors
/// Why it could not be forked or executed. There is no child then.
pub fn spawn(program: &Program<'_>) -> Result<Pid, Errno> {
    let (told, tell) = pipe()?;
    // SAFETY: the process has one thread, so that the child may do whatever the parent might; it does not return.
    let pid = check(unsafe { libc::fork() }.into())? as i32;
    if pid == 0 {
        let errno = execute(program, tell.as_fd()) as i32;
        // SAFETY: four bytes of this frame.
        unsafe { libc::write(tell.as_raw_fd(), (&raw const errno).cast(), size_of_val(&errno)) };
        clone::exit_now(127);
    }
    drop(tell);
    let child = Pid::from_raw(pid).ok_or(Errno::ECHILD)?;
    match errno_of(&told) {
        None => Ok(child),
        Some(errno) => {
            let _ = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
            Err(errno)
        }
    }
}

/// In the child. Returns only to say why it failed.
fn execute(program: &Program<'_>, keep: BorrowedFd<'_>) -> Errno {
    let prepared = || -> Result<(), Errno> {
        for (number, stream) in (0..).zip(program.stdio) {
            // SAFETY: the standard descriptors of a process that owns nothing by these numbers.
            check(unsafe { libc::dup2(stream.as_raw_fd(), number) }.into())?;
        }
        if !weakened("descriptors") {
            close_all_but(keep);
        }
        if let Some(dir) = &program.dir {
            let _ = chdir(dir).or_else(|_| chdir(c"/"));
        }
        signal::default(u32::MAX);
        signal::unblock()
    };
    match prepared() {
        Ok(()) => exec::execve(&program.path, &program.args, program.env),
        Err(errno) => errno,
    }
}

/// Closes every descriptor above 2 but one. Their owners are frames of the parent's, to which the child never returns.
fn close_all_but(keep: BorrowedFd<'_>) {
    if exec::close_all_but(3, &[keep]).is_ok() {
        return;
    }
    // A filter of before Linux 5.9 forbids it. One by one, up to what no runtime ever opens.
    for fd in (3..=FEW).filter(|fd| *fd != keep.as_raw_fd()) {
        // SAFETY: as for exec::close_all_but.
        unsafe { libc::close(fd) };
    }
}

/// More descriptors than a runtime has, those that it passes on included.
const FEW: i32 = 1 << 16;

/// Both ends, to read and to write, close-on-exec.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors, which are nobody's when they come.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC).into())?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// What the child has written before it ended; `None` if it has executed the program, which closes the pipe.
fn errno_of(told: &OwnedFd) -> Option<Errno> {
    let mut errno = 0i32;
    loop {
        // SAFETY: reads into four bytes of this frame, for which every value is valid.
        let got = unsafe { libc::read(told.as_raw_fd(), (&raw mut errno).cast(), size_of_val(&errno)) };
        match got {
            4 => return Some(Errno::from_raw(errno)),
            -1 if Errno::last() == Errno::EINTR => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn the_child_holds_its_streams_alone() {
        let open = File::open("/").unwrap();
        // Inherited on purpose: only the closing keeps it from the child.
        exec::set_cloexec(open.as_raw_fd(), false).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let out = File::from(rustix::fs::memfd_create("out", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        let text = |text: &str| CString::new(text).unwrap();
        let program = Program {
            path: text("/bin/sh"),
            args: Strings::new(["sh", "-c", "pwd; cd /proc/self/fd; echo *"].map(text).into()),
            env: &Strings::new(Vec::new()),
            dir: Some(text("/nonexistent")),
            stdio: [null.as_fd(), out.as_fd(), null.as_fd()],
        };
        let child = spawn(&program).unwrap();
        assert!(waitpid(Some(child), WaitOptions::empty()).unwrap().is_some());
        let said = std::fs::read_to_string(format!("/proc/self/fd/{}", out.as_raw_fd())).unwrap();
        // The fourth is the shell's own, to list them with.
        assert_eq!(said, "/\n0 1 2 3\n");
    }

    #[test]
    fn what_cannot_be_executed_is_told() {
        let null = File::open("/dev/null").unwrap();
        let none = Strings::new(Vec::new());
        for (path, errno) in [("/nonexistent", Errno::ENOENT), ("/etc/passwd", Errno::EACCES)] {
            let program = Program {
                path: CString::new(path).unwrap(),
                args: Strings::new(vec![CString::new(path).unwrap()]),
                env: &none,
                dir: None,
                stdio: [null.as_fd(); 3],
            };
            assert_eq!(spawn(&program), Err(errno));
        }
    }
}
