//! The gate between `create` and `start` (runc: the exec fifo): a datagram socket in the container's state directory, and a
//! FIFO beside it.
//!
//! Init holds both until it executes the user's program. The kernel therefore keeps the status: while a connection to the
//! socket can be made the container is created, when it is refused the program runs. No process has to record that at a
//! moment at which it might be killed. A connection without a datagram changes nothing.
//!
//! `start` sends "start" and reads the FIFO. Init says there when it executes the program, and its end is close-on-exec: the
//! end of the stream after that word means that the exec has succeeded, and before it that init has died. An error arrives
//! in the words of the process that failed.
//!
//! Init has loaded its filter by then and has its final capabilities. All that the filter has to allow for the gate are
//! read(2), and write(2) for an error: no accept, no recvmsg, no close.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Context, Error, Kind, Result};

/// The name of the socket in the state directory.
pub const NAME: &str = "start.sock";

/// The name of the FIFO, on which a failure comes back.
pub const REPLY: &str = "start.reply";

const START: &[u8] = b"start";

/// Init executes the program now. No error begins so.
const EXECUTING: u8 = 0xff;

/// Init's ends.
#[derive(Debug)]
pub struct Gate {
    socket: OwnedFd,
    reply: OwnedFd,
}

fn address(dir: BorrowedFd<'_>) -> Result<SocketAddrUnix> {
    // A socket address has 108 bytes; the state directory may be deeper than that.
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))
        .context("address of the start gate")
}

fn socket() -> Result<OwnedFd> {
    // Without a connection to wait for, nothing blocks but init's read.
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .context("socket")
}

/// Makes the gate of the container whose state directory is `dir`.
pub fn make(dir: BorrowedFd<'_>) -> Result<Gate> {
    let socket = socket()?;
    rustix::net::bind(&socket, &address(dir)?).context("bind the start gate")?;
    rustix::fs::mknodat(dir, REPLY, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .context("make the FIFO of the start gate")?;
    // Both ways: opening does not wait for a reader, and a write to a `start` that is gone raises no SIGPIPE.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let reply =
        rustix::fs::openat(dir, REPLY, flags, Mode::empty()).context("open the FIFO of the start gate")?;
    Ok(Gate { socket, reply })
}

impl Gate {
    /// Waits, as init, for "start".
    pub fn wait(&self) -> Result<()> {
        let mut word = [0u8; 16];
        loop {
            match rustix::io::read(&self.socket, &mut word) {
                Ok(n) if &word[..n] == START => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e).context("wait for start"),
            }
        }
    }

    /// Tells `start` that the exec is next.
    pub fn executing(&self) {
        let _ = crate::path::write_once(self.reply.as_fd(), &[EXECUTING]);
    }

    /// Tells `start` why it has failed.
    pub fn fail(&self, error: &Error) {
        let _ = crate::path::write_once(self.reply.as_fd(), &error.encode());
    }

    /// The descriptors, for who has to keep them open.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.socket.as_fd(), self.reply.as_fd()]
    }
}

/// What `start` finds.
#[derive(Debug)]
pub enum Knock {
    /// The program runs.
    Started,
    /// Nothing waits: it was started before, or never created.
    NobodyThere,
    /// It has ended without a word, before its exec.
    Died,
}

/// Starts the container whose state directory is `dir`, and waits until its program is executed.
pub fn start(dir: BorrowedFd<'_>) -> Result<Knock> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let reply = match rustix::fs::openat(dir, REPLY, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(Knock::NobodyThere),
        opened => opened.context("open the FIFO of the start gate")?,
    };
    // One `start` at a time: a second one that sent its word while the first one's exec is under way would take the end of
    // that for its own success.
    rustix::io::retry_on_intr(|| rustix::fs::flock(&reply, FlockOperation::LockExclusive))
        .context("lock the start gate")?;
    let gate = socket()?;
    match rustix::net::connect(&gate, &address(dir)?) {
        Ok(()) => {}
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => return Ok(Knock::NobodyThere),
        Err(e) => return Err(e).context("connect to the start gate"),
    }
    match rustix::net::send(&gate, START, SendFlags::NOSIGNAL) {
        Ok(_) => {}
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::CONNRESET) => return Ok(Knock::NobodyThere),
        Err(e) => return Err(e).context("send to the start gate"),
    }
    answer(&reply)
}

/// The words of a failure, or the end of the stream. Init was there after the FIFO was opened, or the send would have
/// failed: the end cannot be missed.
fn answer(reply: &OwnedFd) -> Result<Knock> {
    let mut words = [0u8; 8192];
    let mut end = Knock::Died;
    loop {
        let mut fds = [PollFd::new(reply, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled.context("wait for the container to start")?,
        };
        let said = match rustix::io::read(reply, &mut words) {
            Ok(0) => return Ok(end),
            Ok(n) => &words[..n],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
            Err(e) => return Err(e).context("wait for the container to start"),
        };
        match said.strip_prefix(&[EXECUTING]).unwrap_or(said) {
            [] => end = Knock::Started,
            error => return Err(Error::decode(error)),
        }
    }
}

/// Whether init still waits at the gate.
pub fn is_waiting(dir: BorrowedFd<'_>) -> bool {
    let look = || -> Result<()> {
        rustix::net::connect(socket()?, &address(dir)?).context("connect to the start gate")
    };
    look().is_ok()
}

/// A process without `process` in its config.json has nothing to execute.
pub fn nothing_to_start() -> Error {
    Error::new(Kind::Config, "process: required to start the container")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Errno;
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
        let gate = make(fd.as_fd()).unwrap();
        assert!(is_waiting(fd.as_fd()));
        std::thread::scope(|scope| {
            // The end of the program's wait closes its descriptors, as an exec does.
            let init = scope.spawn(move || {
                gate.wait().unwrap();
                gate.executing();
            });
            assert!(is_waiting(fd.as_fd()));
            assert!(matches!(start(fd.as_fd()), Ok(Knock::Started)));
            init.join().unwrap();
        });
        assert!(!is_waiting(fd.as_fd()));
        assert!(matches!(start(fd.as_fd()), Ok(Knock::NobodyThere)));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn of_two_starts_one_succeeds() {
        let (dir, fd) = scratch("two");
        let gate = make(fd.as_fd()).unwrap();
        let started = std::thread::scope(|scope| {
            scope.spawn(move || {
                gate.wait().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(50));
                gate.executing();
            });
            let starts = [(); 2].map(|()| scope.spawn(|| start(fd.as_fd()).unwrap()));
            starts
                .map(|start| matches!(start.join().unwrap(), Knock::Started))
                .iter()
                .filter(|won| **won)
                .count()
        });
        assert_eq!(started, 1);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_death_before_the_exec_is_no_start() {
        let (dir, fd) = scratch("death");
        let gate = make(fd.as_fd()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || gate.wait().unwrap());
            assert!(matches!(start(fd.as_fd()), Ok(Knock::Died)));
        });
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_error_is_told() {
        let (dir, fd) = scratch("fail");
        let gate = make(fd.as_fd()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                gate.wait().unwrap();
                gate.executing();
                gate.fail(&Error::os(Errno::ENOEXEC, "exec /x"));
            });
            assert_eq!(start(fd.as_fd()).unwrap_err().to_string(), "exec /x: exec format error");
        });
        std::fs::remove_dir_all(dir).unwrap();
    }
}
