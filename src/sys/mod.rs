//! The system call layer: everything `unsafe`, one thin function per call, safe flags set inside.
//!
//! Functions return the bare [`Errno`](nix::errno::Errno); the caller knows the act and its object and says
//! so. What `rustix` and `nix` offer safely is called from where it is needed and not wrapped again here.

pub mod bpf;
pub mod clone;
pub mod exec;
pub mod keyctl;
pub mod kill;
#[cfg(own_libc_start)]
mod libc_start;
pub mod mount;
pub mod netdev;
pub mod pidfd;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod spawn;
pub mod start;

use nix::errno::Errno;

/// The result of a raw system call as `Result`.
fn check(ret: libc::c_long) -> Result<libc::c_long, Errno> {
    if ret < 0 { Err(Errno::last()) } else { Ok(ret) }
}

/// rustix's errno as nix's: two names of one number.
pub fn errno(e: rustix::io::Errno) -> Errno {
    Errno::from_raw(e.raw_os_error())
}
