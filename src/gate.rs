//! The gate between `create` and `start`: a listening socket in the container's state directory.
//!
//! Init holds the listener until it executes the user's program. That makes the kernel the keeper of the status: while
//! a connection can be made the container is created, when it is refused the program runs, and nobody has to write that
//! down at a moment in which he might be killed. Whoever connects and says nothing has only looked.
//!
//! `start` connects, says "start", and holds on: the accepted end is close-on-exec, so the end of the stream means
//! that the exec has succeeded, and an error arrives as the very words of the process that failed.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
};

use crate::error::{Context, Errno, Error, Kind, Result};

/// The name of the socket in the state directory.
pub const NAME: &str = "start.sock";

const START: &[u8] = b"start";

fn address(dir: BorrowedFd<'_>) -> Result<SocketAddrUnix> {
    // A socket address has 108 bytes; the state directory may be deeper than that.
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))
        .context("address of the start gate")
}

fn socket(flags: SocketFlags) -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags | SocketFlags::CLOEXEC, None)
        .context("socket")
}

/// Makes the gate of the container whose state directory is `dir`.
pub fn make(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    let listener = socket(SocketFlags::empty())?;
    rustix::net::bind(&listener, &address(dir)?).context("bind the start gate")?;
    rustix::net::listen(&listener, 16).context("listen at the start gate")?;
    Ok(listener)
}

/// Waits, as init, until somebody says "start"; the connection on which an error would be told.
pub fn wait(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    loop {
        let peer = match accept_with(listener, SocketFlags::CLOEXEC) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
            peer => peer.context("wait for start")?,
        };
        let mut word = [0u8; 16];
        match rustix::net::recv(&peer, &mut word, RecvFlags::empty()) {
            Ok((n, _)) if &word[..n] == START => return Ok(peer),
            _ => continue,
        }
    }
}

/// Tells `start` why the exec has failed.
pub fn fail(peer: BorrowedFd<'_>, error: &Error) {
    let _ = rustix::net::send(peer, &error.encode(), SendFlags::NOSIGNAL);
}

/// What `start` finds.
#[derive(Debug)]
pub enum Knock {
    /// The program runs.
    Started,
    /// Nobody listens: it was started before, or never created.
    NobodyThere,
}

/// Starts the container whose state directory is `dir`, and waits until its program is executed.
pub fn start(dir: BorrowedFd<'_>) -> Result<Knock> {
    let gate = socket(SocketFlags::empty())?;
    match rustix::net::connect(&gate, &address(dir)?) {
        Ok(()) => {}
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => return Ok(Knock::NobodyThere),
        Err(e) => return Err(e).context("connect to the start gate"),
    }
    match rustix::net::send(&gate, START, SendFlags::NOSIGNAL) {
        Ok(_) => {}
        Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => return Ok(Knock::NobodyThere),
        Err(e) => return Err(e).context("send to the start gate"),
    }
    let mut answer = [0u8; 8192];
    loop {
        match rustix::net::recv(&gate, &mut answer, RecvFlags::empty()) {
            Ok((0, _)) => return Ok(Knock::Started),
            Ok((n, _)) => return Err(Error::decode(&answer[..n])),
            Err(rustix::io::Errno::INTR) => continue,
            // Another `start` was first, and ours was never accepted; or init was killed.
            Err(rustix::io::Errno::CONNRESET) => return Ok(Knock::NobodyThere),
            Err(e) => return Err(e).context("wait for the container to start"),
        }
    }
}

/// Whether init still waits at the gate.
pub fn is_waiting(dir: BorrowedFd<'_>) -> bool {
    let look = || -> Result<bool> {
        let gate = socket(SocketFlags::NONBLOCK)?;
        Ok(match rustix::net::connect(&gate, &address(dir)?) {
            Ok(()) => true,
            // The queue of knocks is full: init is frozen at the gate.
            Err(e) => crate::sys::errno(e) == Errno::EAGAIN,
        })
    };
    look().unwrap_or(false)
}

/// A process without `process` in its config.json has nothing to execute.
pub fn nothing_to_start() -> Error {
    Error::new(Kind::Config, "process: required to start the container")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsFd;

    fn scratch(name: &str) -> (std::path::PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("tare-gate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let fd = rustix::fs::open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn looking_does_not_start() {
        let (dir, fd) = scratch("look");
        let listener = make(fd.as_fd()).unwrap();
        assert!(is_waiting(fd.as_fd()));
        std::thread::scope(|scope| {
            let init = scope.spawn(|| wait(listener.as_fd()).map(drop));
            assert!(is_waiting(fd.as_fd()));
            assert!(matches!(start(fd.as_fd()), Ok(Knock::Started)));
            init.join().unwrap().unwrap();
        });
        drop(listener);
        assert!(!is_waiting(fd.as_fd()));
        assert!(matches!(start(fd.as_fd()), Ok(Knock::NobodyThere)));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_error_is_told() {
        let (dir, fd) = scratch("fail");
        let listener = make(fd.as_fd()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let peer = wait(listener.as_fd()).unwrap();
                fail(peer.as_fd(), &Error::os(Errno::ENOEXEC, "exec /x"));
            });
            assert_eq!(start(fd.as_fd()).unwrap_err().to_string(), "exec /x: exec format error");
        });
        std::fs::remove_dir_all(dir).unwrap();
    }
}
