//! What the processes of a launch say to each other, over one `SOCK_SEQPACKET` pair.
//!
//! All of them are forks that share the plan, so a message is a tag with an index, a pid, a descriptor or an error. The
//! end of the stream tells that the other side is gone.

use std::cell::Cell;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno as Rerrno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::error::{Context, Error, Kind, Result};
use crate::rootfs::Wanted;

/// From the child to the parent.
#[derive(Debug)]
pub enum ToParent {
    /// Stage 1 is there, and to be put into its cgroup.
    NeedCgroup,
    /// Stage 1 is in its new user namespace: write its id maps.
    NeedIdMap,
    /// Stage 1 has unshared its time namespace: write the offsets.
    NeedTimeOffsets,
    /// Stage 2 is in its mount namespace: start the helper that opens sources there.
    NeedHelper,
    /// Said to the helper: open this.
    Need(Wanted),
    /// The socket of a process that becomes criu.
    Socket(OwnedFd),
    /// Stage 2 has this pid.
    InitPid(i32),
    /// The mounts stand: run the prestart and createRuntime hooks.
    NeedRuntimeHooks,
    /// The controlling side of the container's terminal.
    Console(OwnedFd),
    /// The filter is in force, and its listener is this descriptor *of the sender*, which the parent fetches: sending it
    /// takes sendmsg, which the filter may deny, or notify to a listener that nobody has yet. This is sent by write,
    /// the one call that a profile may not notify.
    SeccompFd(i32),
    /// The network namespace is there: move the devices in. With a netlink socket that was opened in it.
    NeedNetDevices(OwnedFd),
    /// Everything that can fail before the exec has been done.
    Ready,
    /// A limit is above what stage 2 may set.
    NeedRlimits,
    /// The launch has failed.
    Failed(Error),
}

/// From the parent to the child.
#[derive(Debug)]
pub enum ToChild {
    /// What was asked for is done.
    Done,
    /// The socket of the helper.
    Helper(OwnedFd),
    /// Said by the helper: what it was asked for.
    Opened(OwnedFd),
    /// Said by the helper: why it could not.
    Failed(Error),
    /// Go on to the exec. May come before the answer to what the child has asked for, and even before it asks.
    Start {
        /// The signals to be reset before it, signal 1 in bit 0.
        ignored: u32,
    },
}

/// No message is longer; errors are cut.
const MAX: usize = 8192;

/// One end of the pair.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// The word to start has come before the end, as it may: who has nothing left to do for the child says it early, so
    /// that nobody has to be woken for it.
    start: Cell<Option<u32>>,
}

impl Channel {
    /// Both ends.
    pub fn pair() -> Result<(Channel, Channel)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .context("socketpair")?;
        Ok((Channel::new(a), Channel::new(b)))
    }

    /// An end that is there already.
    pub fn new(socket: OwnedFd) -> Channel {
        Channel { socket, start: Cell::new(None) }
    }

    /// Says something to the parent.
    pub fn tell_parent(&self, message: &ToParent) -> Result<()> {
        match message {
            ToParent::NeedIdMap => self.send(1, 0, None, &[]),
            ToParent::NeedTimeOffsets => self.send(2, 0, None, &[]),
            ToParent::NeedHelper => self.send(3, 0, None, &[]),
            ToParent::Need(wanted) => self.send(4, number_of(*wanted), None, &[]),
            ToParent::Socket(fd) => self.send(5, 0, Some(fd.as_fd()), &[]),
            ToParent::InitPid(pid) => self.send(6, *pid as u32, None, &[]),
            ToParent::NeedRuntimeHooks => self.send(7, 0, None, &[]),
            ToParent::Console(fd) => self.send(8, 0, Some(fd.as_fd()), &[]),
            ToParent::SeccompFd(fd) => self.send(9, *fd as u32, None, &[]),
            ToParent::Ready => self.send(10, 0, None, &[]),
            ToParent::NeedRlimits => self.send(12, 0, None, &[]),
            ToParent::NeedCgroup => self.send(13, 0, None, &[]),
            ToParent::NeedNetDevices(fd) => self.send(14, 0, Some(fd.as_fd()), &[]),
            ToParent::Failed(error) => self.send(11, 0, None, &error.encode()),
        }
    }

    /// Has [`Channel::hear_child_or`] look up after this time.
    pub fn look_up_after(&self, time: Duration) -> Result<()> {
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&self.socket, timeout, Some(time))
            .context("set the time limit of the init socket")
    }

    /// Hears the child; `None` when every process that could speak is gone.
    pub fn hear_child(&self) -> Result<Option<ToParent>> {
        self.hear_child_or(&mut || Ok(()))
    }

    /// The same. `idle` is called whenever nothing has come for some time.
    pub fn hear_child_or(&self, idle: &mut dyn FnMut() -> Result<()>) -> Result<Option<ToParent>> {
        let Some(packet) = self.receive_or(idle)? else { return Ok(None) };
        let (tag, number) = (packet.tag, packet.number);
        Ok(Some(match tag {
            1 => ToParent::NeedIdMap,
            2 => ToParent::NeedTimeOffsets,
            3 => ToParent::NeedHelper,
            4 => ToParent::Need(wanted_of(number)),
            5 => ToParent::Socket(packet.fd()?),
            6 => ToParent::InitPid(number as i32),
            7 => ToParent::NeedRuntimeHooks,
            8 => ToParent::Console(packet.fd()?),
            9 => ToParent::SeccompFd(number as i32),
            10 => ToParent::Ready,
            12 => ToParent::NeedRlimits,
            13 => ToParent::NeedCgroup,
            14 => ToParent::NeedNetDevices(packet.fd()?),
            11 => ToParent::Failed(Error::decode(&packet.rest)),
            _ => return Err(garbled()),
        }))
    }

    /// Says something to the child.
    pub fn tell_child(&self, message: &ToChild) -> Result<()> {
        match message {
            ToChild::Done => self.send(32, 0, None, &[]),
            ToChild::Helper(fd) => self.send(33, 0, Some(fd.as_fd()), &[]),
            ToChild::Start { ignored } => self.send(34, *ignored, None, &[]),
            ToChild::Opened(fd) => self.send(35, 0, Some(fd.as_fd()), &[]),
            ToChild::Failed(error) => self.send(36, 0, None, &error.encode()),
        }
    }

    /// Hears the parent's answer; `None` when it is gone.
    pub fn hear_parent(&self) -> Result<Option<ToChild>> {
        loop {
            match self.hear_any()? {
                Some(ToChild::Start { ignored }) => self.start.set(Some(ignored)),
                heard => return Ok(heard),
            }
        }
    }

    /// Hears the parent's last word, with which the child goes on to the exec or to the gate. By read(2), which a filter that
    /// is loaded by now allows sooner than recvmsg(2).
    pub fn hear_last_word(&self) -> Result<Option<ToChild>> {
        if let Some(ignored) = self.start.take() {
            return Ok(Some(ToChild::Start { ignored }));
        }
        let mut head = [0u8; 16];
        loop {
            return match rustix::io::read(&self.socket, &mut head) {
                // As in `receive`.
                Err(Rerrno::INTR | Rerrno::CONNRESET) => continue,
                Err(e) => Err(e).context("read from the init socket"),
                Ok(0) => Ok(None),
                Ok(5) => match (head[0], u32::from_le_bytes([head[1], head[2], head[3], head[4]])) {
                    (32, _) => Ok(Some(ToChild::Done)),
                    (34, ignored) => Ok(Some(ToChild::Start { ignored })),
                    _ => Err(garbled()),
                },
                Ok(_) => Err(garbled()),
            };
        }
    }

    /// Whether the other side is gone.
    pub fn is_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec};
        let mut fds = [PollFd::new(&self.socket, PollFlags::empty())];
        let polled = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }

    fn hear_any(&self) -> Result<Option<ToChild>> {
        let Some(packet) = self.receive()? else { return Ok(None) };
        Ok(Some(match packet.tag {
            32 => ToChild::Done,
            33 => ToChild::Helper(packet.fd()?),
            34 => ToChild::Start { ignored: packet.number },
            35 => ToChild::Opened(packet.fd()?),
            36 => ToChild::Failed(Error::decode(&packet.rest)),
            _ => return Err(garbled()),
        }))
    }

    fn send(&self, tag: u8, number: u32, fd: Option<BorrowedFd<'_>>, rest: &[u8]) -> Result<()> {
        let mut head = [tag, 0, 0, 0, 0];
        head[1..].copy_from_slice(&number.to_le_bytes());
        let rest = &rest[..rest.len().min(MAX - head.len())];
        let Some(fd) = fd else {
            let message = [&head, rest].concat();
            return crate::path::write_once(self.socket.as_fd(), &message)
                .context("write to the init socket");
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let parts = [IoSlice::new(&head), IoSlice::new(rest)];
        loop {
            match rustix::net::sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Rerrno::INTR) => continue,
                sent => return sent.map(drop).context("send over the init socket"),
            }
        }
    }

    fn receive(&self) -> Result<Option<Packet>> {
        self.receive_or(&mut || Ok(()))
    }

    fn receive_or(&self, idle: &mut dyn FnMut() -> Result<()>) -> Result<Option<Packet>> {
        let mut bytes = [0u8; MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let parts = &mut [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                // ECONNRESET tells once that the other end was closed with something unread in it, such as an early
                // Start. What it had said before is still to be heard, and then its end.
                Err(Rerrno::INTR | Rerrno::CONNRESET) => continue,
                Err(Rerrno::AGAIN) => idle()?,
                got => break got.context("receive from the init socket")?,
            }
        };
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match &bytes[..got.bytes] {
            [] => Ok(None),
            [tag, a, b, c, d, rest @ ..] => {
                let number = u32::from_le_bytes([*a, *b, *c, *d]);
                Ok(Some(Packet { tag: *tag, number, fd, rest: rest.to_vec() }))
            }
            _ => Err(garbled()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> OwnedFd {
        channel.socket
    }
}

struct Packet {
    tag: u8,
    number: u32,
    fd: Option<OwnedFd>,
    rest: Vec<u8>,
}

impl Packet {
    fn fd(self) -> Result<OwnedFd> {
        self.fd.ok_or_else(garbled)
    }
}

/// The root, the place, and then sources and devices in turn.
fn number_of(wanted: Wanted) -> u32 {
    match wanted {
        Wanted::Root => 0,
        Wanted::Place => 1,
        Wanted::Source(index) => 2 * index as u32 + 2,
        Wanted::Device(index) => 2 * index as u32 + 3,
    }
}

fn wanted_of(number: u32) -> Wanted {
    match number {
        0 => Wanted::Root,
        1 => Wanted::Place,
        even if even % 2 == 0 => Wanted::Source(even as usize / 2 - 1),
        odd => Wanted::Device(odd as usize / 2 - 1),
    }
}

fn garbled() -> Error {
    Error::new(Kind::System, "garbled message on the init socket")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Errno;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let (parent, child) = Channel::pair().unwrap();
        let error = Error::os(Errno::EPERM, "mount").context("mounts[0] (/x)");
        child.tell_parent(&ToParent::Failed(error.clone())).unwrap();
        child.tell_parent(&ToParent::InitPid(4711)).unwrap();
        let Some(ToParent::Failed(heard)) = parent.hear_child().unwrap() else { panic!() };
        assert_eq!(heard, error);
        let Some(ToParent::InitPid(4711)) = parent.hear_child().unwrap() else { panic!() };
        drop(child);
        assert!(parent.hear_child().unwrap().is_none());
    }

    #[test]
    fn an_early_start_is_kept_for_the_end() {
        let (parent, child) = Channel::pair().unwrap();
        parent.tell_child(&ToChild::Start { ignored: 4096 }).unwrap();
        parent.tell_child(&ToChild::Done).unwrap();
        let Some(ToChild::Done) = child.hear_parent().unwrap() else { panic!() };
        let Some(ToChild::Start { ignored: 4096 }) = child.hear_last_word().unwrap() else { panic!() };
        drop(parent);
        assert!(child.hear_last_word().unwrap().is_none());
    }

    #[test]
    fn last_words_are_heard_though_ours_were_not() {
        let (parent, child) = Channel::pair().unwrap();
        parent.tell_child(&ToChild::Start { ignored: 4096 }).unwrap();
        let error = Error::os(Errno::ENOENT, "exec");
        child.tell_parent(&ToParent::Failed(error.clone())).unwrap();
        drop(child);
        let Some(ToParent::Failed(heard)) = parent.hear_child().unwrap() else { panic!() };
        assert_eq!(heard, error);
        assert!(parent.hear_child().unwrap().is_none());
    }

    #[test]
    fn descriptors_travel() {
        let (parent, child) = Channel::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        parent.tell_child(&ToChild::Opened(null.into())).unwrap();
        let Some(ToChild::Opened(fd)) = child.hear_parent().unwrap() else { panic!() };
        assert_eq!(rustix::fs::fstat(fd).unwrap().st_rdev, rustix::fs::makedev(1, 3));
    }

    #[test]
    fn what_is_wanted_arrives() {
        let (helper, init) = Channel::pair().unwrap();
        for wanted in [
            Wanted::Root,
            Wanted::Place,
            Wanted::Source(0),
            Wanted::Source(300),
            Wanted::Device(0),
            Wanted::Device(7),
        ] {
            init.tell_parent(&ToParent::Need(wanted)).unwrap();
            assert!(matches!(helper.hear_child().unwrap(), Some(ToParent::Need(heard)) if heard == wanted));
        }
    }

    #[test]
    fn an_error_too_long_is_cut() {
        let (parent, child) = Channel::pair().unwrap();
        let error = Error::new(Kind::System, "x".repeat(3 * MAX));
        child.tell_parent(&ToParent::Failed(error)).unwrap();
        let Some(ToParent::Failed(heard)) = parent.hear_child().unwrap() else { panic!() };
        assert!(heard.to_string().len() > MAX / 2);
    }
}
