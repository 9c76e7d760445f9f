//! Relays the readiness of a container to the service manager (sd_notify(3)).
//!
//! The socket that `NOTIFY_SOCKET` names is the runtime's, and not reachable from the container, and its messages
//! would come from a process that the manager does not know. So the container gets a socket of its own, and only READY is
//! passed on from it, with the pid which the manager shall watch.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::Mode;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

use crate::error::{Context, Error, Kind, Result};

/// The directory below the container's state directory which is shown in the container.
pub const DIR: &str = "notify";

/// How long a service manager may take to read three messages; systemd's own tools wait as long.
const BARRIER_SECONDS: i64 = 30;

/// The runtime's end of the container's notify socket.
#[derive(Debug)]
pub struct Relay {
    socket: OwnedFd,
    to: SocketAddrUnix,
}

impl Relay {
    /// Makes the directory that will be shown in the container, in the state directory `state`.
    pub fn make_dir(state: BorrowedFd<'_>) -> Result<()> {
        rustix::fs::mkdirat(state, DIR, Mode::from_raw_mode(0o755)).context("make the notify directory")
    }

    /// Whether the container was created with such a directory.
    pub fn has_dir(state: BorrowedFd<'_>) -> bool {
        rustix::fs::statat(state, DIR, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Binds the socket in that directory; messages will go on to `notify_socket`, the value of `NOTIFY_SOCKET`.
    pub fn bind(state: BorrowedFd<'_>, notify_socket: &std::ffi::OsStr) -> Result<Relay> {
        let socket = datagram()?;
        let path = format!("/proc/self/fd/{}/{DIR}/notify.sock", state.as_raw_fd());
        let address = SocketAddrUnix::new(path).context("address of the notify socket")?;
        // For whatever user the container runs as. Not by chmod: the directory is shown in the container.
        let umask = rustix::process::umask(Mode::empty());
        let bound = rustix::net::bind(&socket, &address);
        rustix::process::umask(umask);
        bound.context("bind the notify socket")?;
        Ok(Relay { socket, to: manager(notify_socket)? })
    }

    /// Passes on what has come; whether it was READY. `pid` is what the manager shall watch.
    pub fn forward(&self, pid: i32) -> Result<bool> {
        let mut message = [0u8; 4096];
        let (n, _) = rustix::net::recv(&self.socket, &mut message, RecvFlags::DONTWAIT)
            .context("receive from the notify socket")?;
        let Some(ready) = message[..n].split(|&b| b == b'\n').find(|line| line.starts_with(b"READY=")) else {
            return Ok(false);
        };
        let socket = datagram()?;
        self.send(&socket, ready)?;
        self.send(&socket, format!("MAINPID={pid}").as_bytes())?;
        Ok(true)
    }

    fn send(&self, socket: &OwnedFd, message: &[u8]) -> Result<()> {
        rustix::net::sendto(socket, message, SendFlags::NOSIGNAL, &self.to)
            .map(drop)
            .context("send to NOTIFY_SOCKET")
    }

    /// Waits until the container is ready, or ends.
    pub fn wait_ready(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut fds =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                ready => ready.context("wait for the container to be ready")?,
            };
            let (message, ended) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if message && self.forward(pid)? {
                return self.barrier();
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Waits until the manager has read what was sent (sd_notify_barrier(3)): it asks who the sender is by its pid, and
    /// would not believe one that has ended.
    fn barrier(&self) -> Result<()> {
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .context("pipe for the notify barrier")?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [theirs.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let parts = [IoSlice::new(b"BARRIER=1")];
        rustix::net::sendmsg_addr(&datagram()?, &self.to, &parts, &mut ancillary, SendFlags::NOSIGNAL)
            .context("send to NOTIFY_SOCKET")?;
        drop(theirs);
        // It closes its end once it has got there.
        let mut fds = [PollFd::new(&ours, PollFlags::IN)];
        let limit = Timespec { tv_sec: BARRIER_SECONDS, tv_nsec: 0 };
        if rustix::event::poll(&mut fds, Some(&limit)).context("wait for the notify barrier")? == 0 {
            crate::log::warn(&format!("NOTIFY_SOCKET: not read within {BARRIER_SECONDS} s"));
        }
        Ok(())
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The address in `NOTIFY_SOCKET`: a path, or an abstract name after `@`.
fn manager(value: &std::ffi::OsStr) -> Result<SocketAddrUnix> {
    match value.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name).context("NOTIFY_SOCKET"),
        [b'/', ..] => SocketAddrUnix::new(Path::new(value)).context("NOTIFY_SOCKET"),
        _ => Err(Error::new(Kind::Usage, "NOTIFY_SOCKET: neither an absolute path nor an abstract name")),
    }
}

fn datagram() -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .context("socket")
}
