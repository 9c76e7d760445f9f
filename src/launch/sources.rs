//! A helper of the parent's: opens the root and the sources of mounts with the host's rights, in the container's mount
//! namespace.
//!
//! Only for containers with a user namespace or id-mapped mounts. It is a process of its own because entering a mount
//! namespace resets the root and the working directory, which the parent still needs. Stage 2 asks it for each file when its
//! turn comes, over a socket of the two, whose end ends the helper.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, OFlags, Uid};
use rustix::process::WaitIdOptions;
use rustix::thread::ThreadNameSpaceType;

use super::protocol::{Channel, ToChild, ToParent};
use super::stage1;
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::path::{Proc, read_all};
use crate::plan::libc_flag::NEWUSER;
use crate::plan::rootfs::{IdMap, Mount, Rootfs};
use crate::rootfs::source::{Host, Wanted};
use crate::sys::clone::{self, Forked};
use crate::sys::mount::mount_idmap;
use crate::sys::pidfd;

/// The parent's side: a helper that runs.
#[derive(Debug)]
pub struct Helper {
    pidfd: OwnedFd,
}

impl Helper {
    /// Starts one in the mount namespace of `init`, and hands init its socket over `channel`.
    pub fn start(plan: &Rootfs, init: i32, init_pidfd: BorrowedFd<'_>, channel: &Channel) -> Result<Helper> {
        let (its, inits) = Channel::pair()?;
        match clone::clone3(0, None).context("start the helper that opens mount sources")? {
            Forked::Child => {
                drop(inits);
                let served = stage1::end_with_the_parent(channel)
                    .and_then(|()| serve(plan, init, init_pidfd, &its))
                    .or_else(|e| its.tell_child(&ToChild::Failed(e)));
                clone::exit_now(served.is_err() as i32)
            }
            Forked::Parent(_, pidfd) => {
                drop(its);
                let helper = Helper { pidfd };
                channel.tell_child(&ToChild::Helper(inits.into()))?;
                Ok(helper)
            }
        }
    }
}

impl Drop for Helper {
    /// Init has closed its end, or has ended.
    fn drop(&mut self) {
        let _ = rustix::process::waitid(pidfd_id(&self.pidfd), WaitIdOptions::EXITED);
    }
}

/// Init's side: asks for one file, and waits for it.
pub fn ask(helper: &Channel, wanted: Wanted) -> Result<OwnedFd> {
    helper.tell_parent(&ToParent::Need(wanted))?;
    match helper.hear_parent()? {
        Some(ToChild::Opened(fd)) => Ok(fd),
        Some(ToChild::Failed(e)) => Err(e),
        _ => Err(Error::new(Kind::System, "the helper that opens mount sources has died")),
    }
}

fn pidfd_id(fd: &OwnedFd) -> rustix::process::WaitId<'_> {
    rustix::process::WaitId::PidFd(fd.as_fd())
}

fn serve(plan: &Rootfs, init: i32, init_pidfd: BorrowedFd<'_>, channel: &Channel) -> Result<()> {
    rustix::thread::move_into_thread_name_spaces(init_pidfd, ThreadNameSpaceType::MOUNT)
        .context("enter the mount namespace of the container")?;
    let mut host = Host::new(plan);
    loop {
        let wanted = match channel.hear_child()? {
            Some(ToParent::Need(wanted)) => wanted,
            _ => return Ok(()),
        };
        let answer = match open(&mut host, plan, wanted, init) {
            Ok(fd) => ToChild::Opened(fd),
            Err(e) => ToChild::Failed(e),
        };
        channel.tell_child(&answer)?;
    }
}

fn open(host: &mut Host<'_>, plan: &Rootfs, wanted: Wanted, init: i32) -> Result<OwnedFd> {
    let tree = host.open(wanted)?;
    match wanted {
        Wanted::Source(index) => {
            if let Some(Mount { idmap: Some(map), .. }) = plan.mounts.get(index) {
                map_ids(&tree, map, init)?;
            }
        }
        Wanted::Device(index) => {
            if let Some(device) = plan.devices.get(index) {
                give(&tree, (device.uid, device.gid), init).context("give it to its owner")?;
            }
        }
        Wanted::Root | Wanted::Place => {}
    }
    Ok(tree)
}

/// Makes the ids of `init`'s user namespace the owner and the group of a node. Those that it has not got stay ours.
fn give(node: &OwnedFd, (uid, gid): (u32, u32), init: i32) -> Result<()> {
    let proc = Proc::open()?;
    let outside = |map: &str, id| -> Result<Option<u32>> {
        let file = proc.file(&format!("{init}/{map}"), OFlags::RDONLY).with_context(|| map.to_owned())?;
        let text = read_all(file.as_fd(), 1 << 16).with_context(|| map.to_owned())?;
        Ok(outside_id(&String::from_utf8_lossy(&text), id))
    };
    let (uid, gid) = (outside("uid_map", uid)?, outside("gid_map", gid)?);
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    rustix::fs::chownat(node, "", uid, gid, AtFlags::EMPTY_PATH).context("chown")
}

/// What the id `inside` is outside, by the text of /proc/PID/uid_map.
fn outside_id(map: &str, inside: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        let (first, outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = inside.checked_sub(first).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

fn map_ids(tree: &OwnedFd, map: &IdMap, init: i32) -> Result<()> {
    let userns = user_namespace(map, init)?;
    mount_idmap(tree.as_fd(), map.recursive, userns.as_fd()).map_err(|errno| {
        // Of a tmpfs before Linux 6.3, of an overlay before 5.19, of sysfs always.
        let why = if errno == Errno::EINVAL { " (which its file system may not support)" } else { "" };
        Error::os(errno, format!("map the ids of the mount{why}"))
    })
}

/// A user namespace with the mappings of `map`; without any, the container's.
fn user_namespace(map: &IdMap, init: i32) -> Result<OwnedFd> {
    let proc = Proc::open()?;
    let open = |pid: i32| proc.follow(pid, "ns/user", OFlags::RDONLY);
    if map.uid_map.is_empty() {
        return open(init).context("open the user namespace of the container");
    }
    match clone::clone3(NEWUSER, None).context("make a user namespace for the id mapping")? {
        Forked::Child => loop {
            rustix::event::pause();
        },
        Forked::Parent(pid, pidfd) => {
            let userns = proc
                .write(&format!("{pid}/uid_map"), map.uid_map.as_bytes())
                .context("write the uidMappings of the mount")
                .and_then(|()| {
                    proc.write(&format!("{pid}/gid_map"), map.gid_map.as_bytes())
                        .context("write the gidMappings of the mount")
                })
                .and_then(|()| open(pid).context("open the user namespace"));
            let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = rustix::process::waitid(pidfd_id(&pidfd), WaitIdOptions::EXITED);
            userns
        }
    }
}

#[cfg(test)]
mod tests {
    use super::outside_id;

    #[test]
    fn ids_outside() {
        let map = "         0     100000      65536\n     70000          5          1\n";
        assert_eq!(outside_id(map, 0), Some(100_000));
        assert_eq!(outside_id(map, 65_535), Some(165_535));
        assert_eq!(outside_id(map, 65_536), None);
        assert_eq!(outside_id(map, 70_000), Some(5));
        assert_eq!(outside_id("0 0 4294967295\n", 1000), Some(1000));
        assert_eq!(outside_id("nonsense\n", 0), None);
    }
}
