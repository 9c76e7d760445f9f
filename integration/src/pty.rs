//! A terminal for foreground tests, and fds received over a socket.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::termios::{LocalFlags, OutputFlags, tcgetattr};

use crate::Cmd;
use crate::cmd::{Running, TIMEOUT};
use crate::host::slow;

/// Both ends of a pty; the test is its terminal emulator.
pub struct Pty {
    /// The emulator's end.
    pub master: OwnedFd,
    /// The runtime's end.
    pub slave: OwnedFd,
    seen: String,
}

impl Pty {
    /// A pty of 24 × 80.
    pub fn new() -> Pty {
        let ends = nix::pty::openpty(Some(&size(24, 80)), None).unwrap();
        let pty = Pty { master: ends.master, slave: ends.slave, seen: String::new() };
        for fd in [pty.master.as_raw_fd(), pty.slave.as_raw_fd()] {
            // SAFETY: sets CLOEXEC on fds of ours.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        pty
    }

    /// The master that a runtime has sent.
    pub fn of_master(master: OwnedFd) -> Pty {
        let slave = std::fs::File::open("/dev/null").unwrap().into();
        Pty { master, slave, seen: String::new() }
    }

    /// Starts the runtime as the leader of a session whose terminal this is.
    #[track_caller]
    pub fn spawn(&self, cmd: Cmd) -> Running {
        fn lead() -> std::io::Result<()> {
            // SAFETY: two system calls on the process' own fd 0.
            if unsafe { libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 } {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        }
        // SAFETY: `lead` makes system calls only.
        unsafe { cmd.stdio(&self.slave).before_exec(lead) }.spawn()
    }

    /// Types.
    pub fn write(&self, text: &str) {
        nix::unistd::write(&self.master, text.as_bytes()).unwrap();
    }

    /// Changes the window's size, which signals the foreground process group.
    pub fn resize(&self, rows: u16, cols: u16) {
        // SAFETY: reads one winsize.
        let rc = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size(rows, cols)) };
        assert_eq!(rc, 0);
    }

    /// True while the terminal passes bytes through unchanged.
    pub fn is_raw(&self) -> bool {
        let flags = tcgetattr(&self.slave).unwrap().local_flags;
        !flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// True while it shows LF as CR LF, for programs that write to it directly.
    pub fn shows_lines(&self) -> bool {
        tcgetattr(&self.slave).unwrap().output_flags.contains(OutputFlags::OPOST | OutputFlags::ONLCR)
    }

    /// Reads what there is, waiting for at most `limit` for more. False at the end of all.
    fn read(&mut self, limit: Duration) -> bool {
        let timeout = PollTimeout::try_from(limit.as_millis() as i32).unwrap();
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout).unwrap() == 0 {
            return true;
        }
        let mut buffer = [0; 4096];
        match nix::unistd::read(&self.master, &mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
                true
            }
        }
    }

    /// Reads until the text has come; returns all that was seen so far.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_within(text, TIMEOUT)
    }

    /// The same with a time limit.
    #[track_caller]
    pub fn expect_within(&mut self, text: &str, limit: Duration) -> String {
        let end = Instant::now() + limit * slow();
        while !self.seen.contains(text) {
            assert!(Instant::now() < end, "no {text:?} on the terminal: {:?}", self.seen);
            if !self.read(Duration::from_millis(50)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.seen.clone()
    }

    /// All that comes until the other side is closed or nothing comes for a while.
    pub fn rest(mut self) -> String {
        loop {
            let before = self.seen.len();
            if !self.read(Duration::from_millis(100) * slow()) || self.seen.len() == before {
                return self.seen;
            }
        }
    }
}

impl Default for Pty {
    fn default() -> Pty {
        Pty::new()
    }
}

fn size(rows: u16, cols: u16) -> libc::winsize {
    libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Accepts one connection and receives one fd over it, with the bytes beside it.
#[track_caller]
pub fn receive_fd(listener: &UnixListener) -> (OwnedFd, String) {
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from((TIMEOUT * slow()).as_millis() as i32).unwrap();
    assert_eq!(poll(&mut waiting, timeout).unwrap(), 1, "nobody has connected");
    let (stream, _) = listener.accept().unwrap();
    let mut bytes = [0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    let count = message.bytes;
    let mut fds = Vec::new();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(received);
        }
    }
    assert_eq!(fds.len(), 1, "one fd is sent");
    // SAFETY: the kernel has just made this fd for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    (fd, String::from_utf8_lossy(&bytes[..count]).into_owned())
}
