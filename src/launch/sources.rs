//! A helper of the parent's: opens the sources of mounts with the host's rights, in the container's mount namespace.
//!
//! Only for containers with a user namespace or id-mapped mounts. It is a process of its own because to enter a
//! mount namespace is to lose one's root and cwd, which the parent still needs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::process::WaitIdOptions;
use rustix::thread::ThreadNameSpaceType;

use super::protocol::{Channel, ToChild, ToParent};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::path::Proc;
use crate::plan::libc_flag::NEWUSER;
use crate::plan::rootfs::{Action, IdMap, Rootfs};
use crate::rootfs::source;
use crate::sys::clone::{self, Forked};
use crate::sys::mount::mount_idmap;
use crate::sys::pidfd;

/// Opens the root and the sources of `plan` in the mount namespace of `init`, and hands them to it over `channel`.
pub fn provide(plan: &Rootfs, init: i32, init_pidfd: BorrowedFd<'_>, channel: &Channel) -> Result<()> {
    let (ours, theirs) = Channel::pair()?;
    match clone::clone3(0, None).context("start the helper that opens mount sources")? {
        Forked::Child => {
            drop(ours);
            let told = match open_all(plan, init, init_pidfd, &theirs) {
                Ok(()) => theirs.tell_parent(&ToParent::SourcesDone),
                Err(e) => theirs.tell_parent(&ToParent::Failed(e)),
            };
            clone::exit_now(told.is_err() as i32)
        }
        Forked::Parent(_, helper) => {
            drop(theirs);
            let passed = pass_on(&ours, channel);
            let _ = rustix::process::waitid(pidfd_id(&helper), WaitIdOptions::EXITED);
            passed
        }
    }
}

fn pidfd_id(fd: &OwnedFd) -> rustix::process::WaitId<'_> {
    rustix::process::WaitId::PidFd(fd.as_fd())
}

fn pass_on(helper: &Channel, init: &Channel) -> Result<()> {
    loop {
        match helper.hear_child()? {
            Some(ToParent::Source(index, fd)) => init.tell_child(&ToChild::Source(index, fd))?,
            Some(ToParent::SourcesDone) => return init.tell_child(&ToChild::Done),
            Some(ToParent::Failed(e)) => return Err(e),
            _ => return Err(Error::new(Kind::System, "the helper that opens mount sources has died")),
        }
    }
}

fn open_all(plan: &Rootfs, init: i32, init_pidfd: BorrowedFd<'_>, channel: &Channel) -> Result<()> {
    rustix::thread::move_into_thread_name_spaces(init_pidfd, ThreadNameSpaceType::MOUNT)
        .context("enter the mount namespace of the container")?;
    channel.tell_parent(&ToParent::Source(0, source::open_root(plan)?))?;
    for (index, mount) in plan.mounts.iter().enumerate() {
        let Action::Bind { source: path } = &mount.action else { continue };
        let tree = source::open(&mount.options, path).with_context(|| mount.describe())?;
        if let Some(map) = &mount.idmap {
            let userns = user_namespace(map, init).with_context(|| mount.describe())?;
            mount_idmap(tree.as_fd(), map.recursive, userns.as_fd())
                .map_err(|errno| {
                    // Of a tmpfs before Linux 6.3, of an overlay before 5.19, of sysfs always.
                    let why =
                        if errno == Errno::EINVAL { " (which its file system may not support)" } else { "" };
                    Error::os(errno, format!("map the ids of the mount{why}"))
                })
                .with_context(|| mount.describe())?;
        }
        channel.tell_parent(&ToParent::Source(index as u32 + 1, tree))?;
    }
    Ok(())
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
