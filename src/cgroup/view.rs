//! What the root file system needs to know for a mount of type `cgroup`.

use super::Manager;
use super::layout::Layout;

/// The cgroup as it can be mounted into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountView {
    /// Pure v2: one file system.
    V2 {
        /// The mount point on the host.
        mount: String,
        /// The container's directory in it.
        dir: String,
    },
    /// v1: a tmpfs with one directory for each hierarchy.
    V1 {
        /// In the order of /proc/self/cgroup.
        mounts: Vec<V1Mount>,
    },
    /// The container has no cgroup.
    None,
}

/// One v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Mount {
    /// The directory it has in the tmpfs: `memory`, `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// The mount options of a new instance: `memory`, `cpu,cpuacct`, `none,name=systemd`.
    pub options: String,
    /// The mount point on the host.
    pub mount: String,
    /// The container's directory in it.
    pub dir: String,
    /// Symbolic links to `name` that programs expect, such as `cpu` for `cpu,cpuacct`.
    pub links: Vec<String>,
}

impl Manager {
    /// What to mount into the container, or to bind there when it has no cgroup namespace of its own. The
    /// v2 hierarchy of a hybrid is not part of it, as in runc.
    pub fn mount_view(&self, layout: &Layout) -> MountView {
        match self {
            Manager::None => MountView::None,
            Manager::Systemd(systemd) => systemd.files.mount_view(layout),
            Manager::V2(v2) => {
                let mount = layout.unified.as_ref().map(|hierarchy| layout.mount_point(hierarchy));
                MountView::V2 { mount: mount.unwrap_or_default(), dir: v2.dir.path.clone() }
            }
            Manager::V1(v1) => {
                let mounts = layout.v1.iter().zip(&v1.groups).map(|(hierarchy, group)| {
                    let names = &hierarchy.names;
                    let (name, options) = match names.strip_prefix("name=") {
                        Some(name) => (name, format!("none,{names}")),
                        None => (names.as_str(), names.clone()),
                    };
                    let links = names.split(',').filter(|_| names.contains(',')).map(str::to_owned).collect();
                    V1Mount {
                        name: name.to_owned(),
                        options,
                        mount: layout.mount_point(hierarchy),
                        dir: group.dir.path.clone(),
                        links,
                    }
                });
                MountView::V1 { mounts: mounts.collect() }
            }
        }
    }
}
