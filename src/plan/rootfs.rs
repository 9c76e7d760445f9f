//! The file system: the root, its mounts in order, its devices, and what is hidden in it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;
use oci_spec::runtime::{Linux, LinuxDeviceType, Spec};

use super::libc_flag::{NEWNS, NEWUSER};
use super::namespaces::id_map;
use super::{Namespaces, Options};
use crate::config::DeviceExt;
use crate::config::mount_options::{MountOptions, attr};
use crate::error::{Error, Kind, Result};
use crate::path::clean;

/// The container's file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// The root on the host, absolute.
    pub path: PathBuf,
    /// The mount namespace is the container's. If not, everything is mounted where the host sees it, `delete` has to
    /// unmount it, and the process is confined by chroot alone.
    pub own_namespace: bool,
    /// Made read-only at the end.
    pub readonly: bool,
    /// `linux.rootfsPropagation` as `MS_*` flags.
    pub propagation: Option<u64>,
    /// The mounts, in order.
    pub mounts: Vec<Mount>,
    /// /dev is the container's own: fill it with devices and links. Not when it is a bind mount of somebody's.
    pub populate_dev: bool,
    /// The devices: config.json's, then the default ones it does not name.
    pub devices: Vec<Device>,
    /// Devices are bound from the host: in a user namespace mknod is refused.
    pub bind_devices: bool,
    /// Files that read as empty, directories that look empty.
    pub masked: Vec<PathBuf>,
    /// Paths made read-only.
    pub readonly_paths: Vec<PathBuf>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// The process's working directory, made when it is missing.
    pub cwd: Option<PathBuf>,
    /// The SELinux context of file systems made for the container.
    pub label: Option<String>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its index in config.json; `None` for one of the runtime's own.
    pub index: Option<usize>,
    /// Where, clean and absolute.
    pub destination: PathBuf,
    /// What.
    pub action: Action,
    /// How.
    pub options: MountOptions,
    /// Made read-only after all that is mounted and made in it, and before the container's process runs; it is not among
    /// the options then. As runc does it: an engine's `--read-only` puts `ro` on every tmpfs, what is below comes later.
    pub readonly_last: bool,
    /// The id mapping of the mount.
    pub idmap: Option<IdMap>,
}

/// What a mount does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Shows a file or directory of the host.
    Bind {
        /// Absolute.
        source: PathBuf,
    },
    /// Mounts a file system.
    Fs {
        /// The kernel's name of it.
        kind: String,
        /// Its device, or any name.
        source: String,
    },
    /// The cgroup hierarchies, as the container may see them.
    Cgroup,
    /// Changes the options of what is mounted there.
    Remount,
}

/// How a mount maps ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// Everything below it too.
    pub recursive: bool,
    /// uid_map lines; empty for the mappings of the container's user namespace.
    pub uid_map: String,
    /// gid_map lines.
    pub gid_map: String,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where, clean and absolute; not necessarily below /dev.
    pub path: PathBuf,
    /// Of what type.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The type of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// `c` and `u`.
    Char,
    /// `b`.
    Block,
    /// `p`: a FIFO, whose numbers mean nothing.
    Fifo,
}

impl Mount {
    /// How messages name it.
    pub fn describe(&self) -> String {
        match self.index {
            Some(index) => format!("mounts[{index}] ({})", self.destination.display()),
            None => format!("mount of {}", self.destination.display()),
        }
    }

    fn new(index: usize, mount: &oci::Mount, bundle: &Path) -> Result<Mount> {
        let options = mount.options().as_deref().unwrap_or_default();
        let mut options = MountOptions::parse(options);
        let kind = mount.typ().as_deref().unwrap_or("none");
        let source = mount.source().clone().unwrap_or_default();
        let bind = options.bind || kind == "bind";
        let action = match kind {
            _ if options.remount => Action::Remount,
            _ if bind => Action::Bind { source: bundle.join(source) },
            "cgroup" | "cgroup2" => Action::Cgroup,
            kind => {
                let source = if source.as_os_str().is_empty() { kind.into() } else { source };
                Action::Fs { kind: kind.to_owned(), source: source.to_string_lossy().into_owned() }
            }
        };
        let destination = clean(mount.destination());
        let is_filled = (kind == "tmpfs" || destination == Path::new("/dev"))
            && matches!(action, Action::Fs { .. } | Action::Remount);
        let readonly_last = is_filled && options.take_readonly();
        let uid_map = id_map(mount.uid_mappings().as_deref());
        let gid_map = id_map(mount.gid_mappings().as_deref());
        let idmap = match options.idmap {
            Some(idmap) => Some(IdMap { recursive: idmap.recursive, uid_map, gid_map }),
            None if !uid_map.is_empty() => Some(IdMap { recursive: false, uid_map, gid_map }),
            None => None,
        };
        Ok(Mount { index: Some(index), destination, action, options, readonly_last, idmap })
    }
}

impl Rootfs {
    /// Plans the file system of `spec`.
    pub fn new(spec: &Spec, linux: &Linux, namespaces: &Namespaces, options: &Options) -> Result<Rootfs> {
        let root = spec.root().as_ref().ok_or_else(|| Error::new(Kind::Config, "root: required"))?;
        let mut mounts: Vec<Mount> = Vec::new();
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            let mount = Mount::new(index, mount, &options.bundle)?;
            if mount.action == Action::Remount && mount.options.attr_clr & attr::RDONLY != 0 {
                // The last word about it.
                let same = |earlier: &&mut Mount| earlier.destination == mount.destination;
                mounts.iter_mut().filter(same).for_each(|earlier| earlier.readonly_last = false);
            }
            mounts.push(mount);
        }
        let populate_dev = !mounts.iter().any(|mount| {
            mount.destination == Path::new("/dev") && matches!(mount.action, Action::Bind { .. })
        });
        if let Some(dir) = &options.notify_dir {
            mounts.push(Mount {
                index: None,
                destination: super::NOTIFY_DIR.into(),
                action: Action::Bind { source: dir.clone() },
                // The directory is the runtime's. A socket can be written to on a read-only mount all the same.
                options: MountOptions::parse(&["bind", "ro", "nosuid", "nodev", "noexec"]),
                readonly_last: false,
                idmap: None,
            });
        }
        let paths = |list: &Option<Vec<String>>| list.iter().flatten().map(|p| clean(Path::new(p))).collect();
        Ok(Rootfs {
            path: options.bundle.join(root.path()),
            own_namespace: namespaces.has(NEWNS),
            readonly: root.readonly().unwrap_or(false),
            propagation: propagation(linux.rootfs_propagation().as_deref())?,
            mounts,
            populate_dev,
            devices: devices(linux.devices().as_deref().unwrap_or_default()),
            bind_devices: namespaces.has(NEWUSER),
            masked: paths(linux.masked_paths()),
            readonly_paths: paths(linux.readonly_paths()),
            no_pivot: options.no_pivot,
            cwd: spec.process().as_ref().map(|process| clean(process.cwd())),
            label: linux.mount_label().clone().filter(|label| !label.is_empty()),
        })
    }

    /// Whether `linux.rootfsPropagation` lets mounts spread to the host.
    pub fn is_shared(&self) -> bool {
        self.propagation.is_some_and(|flags| flags & libc::MS_SHARED != 0)
    }

    /// Whether a helper with the host's rights has to open the sources of the bind mounts: the container's root is
    /// not the host's, or an id mapping is needed, which only a process that sees the host's /proc can make.
    pub fn wants_helper(&self, namespaces: &Namespaces) -> bool {
        namespaces.has(NEWUSER) || self.mounts.iter().any(|mount| mount.idmap.is_some())
    }
}

/// `linux.rootfsPropagation` as `MS_*` flags.
fn propagation(name: Option<&str>) -> Result<Option<u64>> {
    let (flags, recursive) = match name {
        None | Some("") => return Ok(None),
        Some("shared") => (libc::MS_SHARED, false),
        Some("slave") => (libc::MS_SLAVE, false),
        Some("private") => (libc::MS_PRIVATE, false),
        Some("unbindable") => (libc::MS_UNBINDABLE, false),
        Some("rshared") => (libc::MS_SHARED, true),
        Some("rslave") => (libc::MS_SLAVE, true),
        Some("rprivate") => (libc::MS_PRIVATE, true),
        Some("runbindable") => (libc::MS_UNBINDABLE, true),
        Some(other) => {
            return Err(Error::new(Kind::Config, format!("linux.rootfsPropagation: {other:?} is not known")));
        }
    };
    Ok(Some(flags | if recursive { libc::MS_REC } else { 0 }))
}

/// The devices every container has (config-linux.md, "Default Devices"), 0666 and owned by root.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

fn devices(listed: &[oci::LinuxDevice]) -> Vec<Device> {
    let mut devices: Vec<Device> = listed
        .iter()
        .map(|device| Device {
            path: clean(device.path()),
            kind: match device.typ() {
                LinuxDeviceType::B => DeviceKind::Block,
                LinuxDeviceType::P => DeviceKind::Fifo,
                LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::A => DeviceKind::Char,
            },
            major: u32::try_from(device.numbers().0).unwrap_or(0),
            minor: u32::try_from(device.numbers().1).unwrap_or(0),
            mode: device.permissions(),
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        })
        .collect();
    for (path, major, minor) in DEFAULT_DEVICES {
        if devices.iter().all(|device| device.path.as_os_str().as_bytes() != path.as_bytes()) {
            let (kind, mode, uid, gid) = (DeviceKind::Char, 0o666, 0, 0);
            devices.push(Device { path: path.into(), kind, major, minor, mode, uid, gid });
        }
    }
    devices
}
