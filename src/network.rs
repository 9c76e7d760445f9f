//! Network devices of the host that move into a container: `linux.netDevices` (config-linux.md, "Network Devices").
//!
//! Four messages of rtnetlink(7), for which a library would bring more code than there is here. The parent sends all of
//! them: those about the container's side over a socket that init has opened in its network namespace.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Context, Errno, Result};
use crate::plan::NetDevice;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const IFF_UP: u32 = 1;
/// Of a message, and of the ifinfomsg and ifaddrmsg that follow it.
const HEADER: usize = 16;
const IFADDRMSG: usize = 8;

/// A socket for rtnetlink, in the network namespace of who opened it.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
}

/// An address of a device, as it is asked for again in another namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    /// Those attributes that belong to the address and not to where it was.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Brings up the loopback interface of this process's network namespace. Inlined, as the start of a container has its code in
/// the order in which it runs.
#[inline(always)]
pub fn bring_up_loopback() -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .context("bring up the loopback interface: socket")?;
    crate::sys::netdev::set_up(socket.as_fd(), "lo").context("bring up the loopback interface")
}

/// Moves `devices` from this process's network namespace to `namespace`, in which `inside` was opened.
pub fn move_devices(devices: &[NetDevice], namespace: BorrowedFd<'_>, inside: &Netlink) -> Result<()> {
    let host = Netlink::open()?;
    // All of them are looked up first: one that cannot move should not cost the others their old place. And the kernel
    // moves first and finds out later that the new name is taken.
    let look = |device: &NetDevice| match inside.index(&device.new_name) {
        Ok(_) => Err(Errno::EEXIST).context(format!("move it to the container as {:?}", device.new_name)),
        Err(_) => host.index(&device.name),
    };
    let indices = devices.iter().map(|device| look(device).with_context(|| device.describe()));
    let indices = indices.collect::<Result<Vec<u32>>>()?;
    // Those with a name of their own first: a number is found for the others.
    let (any, own): (Vec<_>, Vec<_>) =
        devices.iter().zip(indices).partition(|(device, _)| device.new_name.contains("%d"));
    for (device, index) in own.into_iter().chain(any) {
        let device = NetDevice { name: device.name.clone(), new_name: inside.free_name(&device.new_name) };
        move_device(&device, index, namespace, &host, inside).with_context(|| device.describe())?;
    }
    Ok(())
}

/// The kernel takes a device down and its addresses away when it moves it; both are restored.
fn move_device(
    device: &NetDevice,
    index: u32,
    namespace: BorrowedFd<'_>,
    host: &Netlink,
    inside: &Netlink,
) -> Result<()> {
    let addresses = host.addresses(index).context("read its addresses")?;
    let mut name = device.new_name.clone().into_bytes();
    name.push(0);
    let mut body = link(index, 0, 0);
    attribute(&mut body, IFLA_IFNAME, &name);
    attribute(&mut body, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
    host.ask(RTM_NEWLINK, NLM_F_ACK, &body)
        .with_context(|| format!("move it to the container as {:?}", device.new_name))?;
    let index = inside.index(&device.new_name)?;
    for address in addresses {
        inside
            .ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &address.message(index))
            .context("give it its address again")?;
    }
    inside.ask(RTM_NEWLINK, NLM_F_ACK, &link(index, IFF_UP, IFF_UP)).context("set it up")?;
    Ok(())
}

impl Netlink {
    /// A socket in the network namespace of the caller.
    pub fn open() -> Result<Netlink> {
        // NETLINK_ROUTE is protocol 0.
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
            .context("netlink socket")?;
        // To the kernel: a connected socket hears nobody else, who might give us answers of his own.
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0)).context("connect the netlink socket")?;
        Ok(Netlink { socket })
    }

    /// One that [`Netlink::open`] has opened in another process.
    pub fn new(socket: OwnedFd) -> Netlink {
        Netlink { socket }
    }

    fn index(&self, name: &str) -> Result<u32> {
        rustix::net::netdevice::name_to_index(&self.socket, name)
            .with_context(|| format!("look for {name:?}"))
    }

    /// The name with the least number in the place of `%d` that no device has, as the kernel would find it; the kernel
    /// would not tell which it was.
    fn free_name(&self, pattern: &str) -> String {
        let numbered = |number: u32| pattern.replacen("%d", &number.to_string(), 1);
        let free = || (0..u32::MAX).map(numbered).find(|name| self.index(name).is_err());
        Some(pattern)
            .filter(|name| name.contains("%d"))
            .and_then(|_| free())
            .unwrap_or_else(|| pattern.to_owned())
    }

    /// The addresses of a device that a namespace cannot make up by itself: of global scope, and set by somebody.
    fn addresses(&self, index: u32) -> Result<Vec<Address>, Errno> {
        let all = self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; IFADDRMSG])?;
        Ok(all
            .iter()
            .filter(|(kind, _)| *kind == RTM_NEWADDR)
            .filter_map(|(_, body)| Address::parse(body, index))
            .collect())
    }

    /// Sends one request, and gives the messages that came before the answer's end.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, Errno> {
        let length = (HEADER + body.len()) as u32;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        // A sequence number and a port, which a socket of one request at a time can do without.
        message.extend([0; 8]);
        message.extend(body);
        rustix::net::send(&self.socket, &message, SendFlags::empty()).map_err(crate::sys::errno)?;
        let mut heard = Vec::new();
        loop {
            let mut buffer = vec![0; 32 << 10];
            let received = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty());
            let (length, _) = match received {
                Err(rustix::io::Errno::INTR) => continue,
                received => received.map_err(crate::sys::errno)?,
            };
            for (kind, body) in messages(&buffer[..length]) {
                match kind {
                    NLMSG_DONE => return Ok(heard),
                    NLMSG_ERROR => match number(body, 0) as i32 {
                        0 => return Ok(heard),
                        errno => return Err(Errno::from_raw(-errno)),
                    },
                    _ => heard.push((kind, body.to_vec())),
                }
            }
        }
    }
}

impl From<Netlink> for OwnedFd {
    fn from(netlink: Netlink) -> OwnedFd {
        netlink.socket
    }
}

impl Address {
    /// From the ifaddrmsg and attributes of an answer; `None` unless it is one of this device to be taken along.
    fn parse(body: &[u8], index: u32) -> Option<Address> {
        const SCOPE_UNIVERSE: u8 = 0;
        let &[family, prefix, flags, scope, ..] = body else { return None };
        if body.len() < IFADDRMSG || number(body, 4) != index || scope != SCOPE_UNIVERSE {
            return None;
        }
        let all = attributes(&body[IFADDRMSG..]);
        let long = all.iter().find(|(kind, _)| *kind == IFA_FLAGS).map(|(_, value)| number(value, 0));
        let flags = long.unwrap_or(u32::from(flags));
        if flags & IFA_F_PERMANENT == 0 {
            return None;
        }
        let own = |kind| matches!(kind, IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST);
        let attributes = all.into_iter().filter(|(kind, _)| own(*kind));
        Some(Address {
            family,
            prefix,
            flags: flags & (IFA_F_NODAD | IFA_F_NOPREFIXROUTE),
            attributes: attributes.map(|(kind, value)| (kind, value.to_vec())).collect(),
        })
    }

    fn message(&self, index: u32) -> Vec<u8> {
        let mut body = vec![self.family, self.prefix, 0, 0];
        body.extend(index.to_ne_bytes());
        for (kind, value) in &self.attributes {
            attribute(&mut body, *kind, value);
        }
        attribute(&mut body, IFA_FLAGS, &self.flags.to_ne_bytes());
        body
    }
}

/// An ifinfomsg.
fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((value.len() as u16 + 4).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

/// The messages in a packet: type and body.
fn messages(mut packet: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    while packet.len() >= HEADER {
        let length = (number(packet, 0) as usize).clamp(HEADER, packet.len());
        all.push((u16::from_ne_bytes([packet[4], packet[5]]), &packet[HEADER..length]));
        packet = packet.get(aligned(length)..).unwrap_or_default();
    }
    all
}

fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    while let &[a, b, c, d, ..] = bytes {
        let length = usize::from(u16::from_ne_bytes([a, b])).clamp(4, bytes.len());
        all.push((u16::from_ne_bytes([c, d]), &bytes[4..length]));
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    all
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(scope: u8, flags: u8, index: u32) -> Vec<u8> {
        let mut body = vec![2, 24, flags, scope];
        body.extend(index.to_ne_bytes());
        attribute(&mut body, IFA_ADDRESS, &[192, 0, 2, 7]);
        attribute(&mut body, IFA_LOCAL, &[192, 0, 2, 7]);
        attribute(&mut body, 3, b"eth0\0");
        body
    }

    #[test]
    fn only_permanent_global_addresses_of_the_device_are_taken_along() {
        let wanted = answer(0, 0x80, 7);
        let address = Address::parse(&wanted, 7).unwrap();
        assert_eq!(address.attributes.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [1, 2]);
        let again = address.message(9);
        assert_eq!((&again[..8], again.len()), (&[2, 24, 0, 0, 9, 0, 0, 0][..], 8 + 3 * 8));
        assert_eq!(Address::parse(&wanted, 8), None);
        assert_eq!(Address::parse(&answer(253, 0x80, 7), 7), None, "of the link");
        assert_eq!(Address::parse(&answer(0, 0, 7), 7), None, "from a router");
        let mut long = answer(0, 0, 7);
        attribute(&mut long, IFA_FLAGS, &0x282u32.to_ne_bytes());
        assert_eq!(Address::parse(&long, 7).unwrap().flags, 0x202);
    }

    #[test]
    fn whatever_bytes_come_nothing_is_read_beyond_them() {
        for bytes in [&[][..], &[0; 3], &[255; 40], &[0; 64], &[8, 0, 0, 0, 1]] {
            messages(bytes);
            attributes(bytes);
            Address::parse(bytes, 0);
        }
    }

    #[test]
    fn the_kernel_is_asked() {
        let netlink = Netlink::open().unwrap();
        let lo = netlink.index("lo").unwrap();
        assert!(lo > 0);
        // Of scope host.
        assert_eq!(netlink.addresses(lo).unwrap(), []);
        assert_eq!(netlink.index("no-such").unwrap_err().errno(), Some(Errno::ENODEV));
        assert_eq!(netlink.ask(RTM_NEWLINK, NLM_F_ACK, &link(lo, 0, 0)[..4]).unwrap_err(), Errno::EINVAL);
    }
}
