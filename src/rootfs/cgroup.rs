//! Mounts of type `cgroup`.
//!
//! Always a bind of the mounted hierarchy, never a new mount of it: inside the container's cgroup namespace both
//! look the same, and a new cgroup2 superblock waits for an RCU grace period (6 ms on Linux 6.18).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::mount::MoveMountFlags;

use super::{attach, finish, fs};
use crate::error::{Context, Result};
use crate::plan::rootfs::Mount;
use crate::sys::mount::{MountAttr, mount_setattr};

/// What a container sees of the cgroups, as paths of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// The container has no cgroup.
    #[default]
    None,
    /// cgroup v2: one directory.
    V2(PathBuf),
    /// cgroup v1: a directory of hierarchies, and links to those with several controllers.
    V1 {
        /// Name in the container, directory on the host.
        hierarchies: Vec<(String, PathBuf)>,
        /// Link name, hierarchy name.
        links: Vec<(String, String)>,
    },
}

/// Mounts `view` on `target`.
pub fn mount(view: &View, mount: &Mount, target: BorrowedFd<'_>) -> Result<()> {
    let attr = MountAttr { set: mount.options.attr_set, clear: mount.options.attr_clr, propagation: 0 };
    let copy = |dir: &Path| {
        let tree = fs::copy_of(dir)?;
        if !attr.is_empty() {
            mount_setattr(tree.as_fd(), false, attr).context("set the attributes of the cgroup mount")?;
        }
        Ok(tree)
    };
    match view {
        // Nothing to show, and nothing of the host's to be seen in its place: a /sys that is the host's, bound, has the
        // cgroups in it, and not all of them belong to others (CVE-2023-25809).
        View::None => attach(fs::empty_tmpfs()?.as_fd(), target).context("attach an empty directory"),
        View::V2(dir) => {
            let tree = copy(dir)?;
            attach(tree.as_fd(), target).context("attach the cgroup mount")?;
            finish(tree.as_fd(), &mount.options)
        }
        View::V1 { hierarchies, links } => {
            let top = fs::cgroup_tmpfs()?;
            attach(top.as_fd(), target).context("attach the directory of cgroups")?;
            for (name, dir) in hierarchies {
                rustix::fs::mkdirat(&top, name.as_str(), Mode::from_raw_mode(0o755))
                    .with_context(|| format!("make directory {name}"))?;
                let tree = copy(dir).with_context(|| name.clone())?;
                // By its name: nobody else reaches this tmpfs yet.
                rustix::mount::move_mount(
                    &tree,
                    "",
                    &top,
                    name.as_str(),
                    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
                )
                .with_context(|| format!("{name}: attach the cgroup mount"))?;
            }
            for (link, name) in links {
                rustix::fs::symlinkat(name.as_str(), &top, link.as_str())
                    .with_context(|| format!("link {link} to {name}"))?;
            }
            mount_setattr(top.as_fd(), false, MountAttr { propagation: 0, ..attr })
                .context("set the attributes of the directory of cgroups")?;
            finish(top.as_fd(), &mount.options)
        }
    }
}
