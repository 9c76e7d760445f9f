//! Bringing an interface up by ioctl: one socket and two calls, where netlink needs a dump to find it.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::check;

/// Sets `IFF_UP` on the interface `name` (at most 15 bytes) of the network namespace of `socket`.
pub fn set_up(socket: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    // SAFETY: ifreq is plain data, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: SIOCGIFFLAGS reads the name and writes the flags of an ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } as libc::c_long)?;
    // SAFETY: SIOCGIFFLAGS has just made `ifru_flags` the live member.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    // SAFETY: SIOCSIFFLAGS reads the name and the flags of an ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } as libc::c_long)
        .map(drop)
}
