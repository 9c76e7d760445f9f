//! Shorter ways to what oci-spec keeps behind two options and a getter; absent and empty are the same.

use std::path::Path;

use oci_spec::runtime::{
    Hook, Linux, LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType,
    LinuxResources, Mount, Process, Spec,
};

use super::mount_options::MountOptions;

/// The six points at which hooks run, in the order of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Deprecated; with `createRuntime`, before it.
    Prestart,
    /// In the runtime's namespaces, once the container's are there.
    CreateRuntime,
    /// In the container's namespaces, before pivot_root.
    CreateContainer,
    /// In the container, before the user's program.
    StartContainer,
    /// In the runtime's namespaces, after the program was started.
    Poststart,
    /// In the runtime's namespaces, after the container was deleted.
    Poststop,
}

impl HookKind {
    /// All of them, in order.
    pub const ALL: [HookKind; 6] = [
        HookKind::Prestart,
        HookKind::CreateRuntime,
        HookKind::CreateContainer,
        HookKind::StartContainer,
        HookKind::Poststart,
        HookKind::Poststop,
    ];

    /// Its key in config.json.
    pub fn name(self) -> &'static str {
        match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::CreateContainer => "createContainer",
            HookKind::StartContainer => "startContainer",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        }
    }
}

/// Getters of a whole config.
pub trait SpecExt {
    /// `linux`.
    fn linux_opt(&self) -> Option<&Linux>;
    /// `linux.resources`.
    fn resources(&self) -> Option<&LinuxResources>;
    /// `mounts`.
    fn mount_list(&self) -> &[Mount];
    /// `hooks.KIND`.
    fn hook_list(&self, kind: HookKind) -> &[Hook];
    /// `linux.namespaces`.
    fn namespaces(&self) -> &[LinuxNamespace];
    /// The namespace of this type, if the container does not stay in ours.
    fn namespace(&self, typ: LinuxNamespaceType) -> Option<&LinuxNamespace>;
    /// Is a *new* namespace of this type made?
    fn new_namespace(&self, typ: LinuxNamespaceType) -> bool;
    /// `linux.uidMappings`.
    fn uid_maps(&self) -> &[LinuxIdMapping];
    /// `linux.gidMappings`.
    fn gid_maps(&self) -> &[LinuxIdMapping];
    /// `linux.devices`.
    fn device_list(&self) -> &[LinuxDevice];
    /// `linux.maskedPaths`.
    fn masked_paths(&self) -> &[String];
    /// `linux.readonlyPaths`.
    fn readonly_paths(&self) -> &[String];
    /// `linux.cgroupsPath`, if not empty.
    fn cgroups_path(&self) -> Option<&str>;
    /// `linux.mountLabel`, if not empty.
    fn mount_label(&self) -> Option<&str>;
    /// `hostname`, if not empty.
    fn host_name(&self) -> Option<&str>;
    /// `domainname`, if not empty.
    fn domain_name(&self) -> Option<&str>;
    /// An annotation's value.
    fn annotation(&self, key: &str) -> Option<&str>;
    /// `linux.sysctl`, sorted by key, so that writes and errors come in a fixed order.
    fn sysctls(&self) -> Vec<(&str, &str)>;
}

fn list<T>(option: &Option<Vec<T>>) -> &[T] {
    option.as_deref().unwrap_or_default()
}

fn text(option: &Option<String>) -> Option<&str> {
    option.as_deref().filter(|text| !text.is_empty())
}

impl SpecExt for Spec {
    fn linux_opt(&self) -> Option<&Linux> {
        self.linux().as_ref()
    }
    fn resources(&self) -> Option<&LinuxResources> {
        self.linux_opt()?.resources().as_ref()
    }
    fn mount_list(&self) -> &[Mount] {
        list(self.mounts())
    }
    fn hook_list(&self, kind: HookKind) -> &[Hook] {
        let Some(hooks) = self.hooks() else { return &[] };
        #[allow(deprecated)] // Engines still use prestart (Docker's network hook).
        list(match kind {
            HookKind::Prestart => hooks.prestart(),
            HookKind::CreateRuntime => hooks.create_runtime(),
            HookKind::CreateContainer => hooks.create_container(),
            HookKind::StartContainer => hooks.start_container(),
            HookKind::Poststart => hooks.poststart(),
            HookKind::Poststop => hooks.poststop(),
        })
    }
    fn namespaces(&self) -> &[LinuxNamespace] {
        self.linux_opt().map_or(&[], |linux| list(linux.namespaces()))
    }
    fn namespace(&self, typ: LinuxNamespaceType) -> Option<&LinuxNamespace> {
        self.namespaces().iter().find(|ns| ns.typ() == typ)
    }
    fn new_namespace(&self, typ: LinuxNamespaceType) -> bool {
        self.namespace(typ).is_some_and(|ns| ns.joined_path().is_none())
    }
    fn uid_maps(&self) -> &[LinuxIdMapping] {
        self.linux_opt().map_or(&[], |linux| list(linux.uid_mappings()))
    }
    fn gid_maps(&self) -> &[LinuxIdMapping] {
        self.linux_opt().map_or(&[], |linux| list(linux.gid_mappings()))
    }
    fn device_list(&self) -> &[LinuxDevice] {
        self.linux_opt().map_or(&[], |linux| list(linux.devices()))
    }
    fn masked_paths(&self) -> &[String] {
        self.linux_opt().map_or(&[], |linux| list(linux.masked_paths()))
    }
    fn readonly_paths(&self) -> &[String] {
        self.linux_opt().map_or(&[], |linux| list(linux.readonly_paths()))
    }
    fn cgroups_path(&self) -> Option<&str> {
        let path = self.linux_opt()?.cgroups_path().as_ref()?;
        path.to_str().filter(|text| !text.is_empty())
    }
    fn mount_label(&self) -> Option<&str> {
        text(self.linux_opt()?.mount_label())
    }
    fn host_name(&self) -> Option<&str> {
        text(self.hostname())
    }
    fn domain_name(&self) -> Option<&str> {
        text(self.domainname())
    }
    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations().as_ref()?.get(key).map(String::as_str)
    }
    fn sysctls(&self) -> Vec<(&str, &str)> {
        let map = self.linux_opt().and_then(|linux| linux.sysctl().as_ref());
        let mut all: Vec<(&str, &str)> =
            map.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        all.sort_unstable();
        all
    }
}

/// Getters of a process.
pub trait ProcessExt {
    /// `args`.
    fn argv(&self) -> &[String];
    /// `env`.
    fn environment(&self) -> &[String];
    /// `apparmorProfile`, if not empty.
    fn apparmor(&self) -> Option<&str>;
    /// `selinuxLabel`, if not empty.
    fn selinux(&self) -> Option<&str>;
    /// `terminal`, absent is false.
    fn wants_terminal(&self) -> bool;
}

impl ProcessExt for Process {
    fn argv(&self) -> &[String] {
        list(self.args())
    }
    fn environment(&self) -> &[String] {
        list(self.env())
    }
    fn apparmor(&self) -> Option<&str> {
        text(self.apparmor_profile())
    }
    fn selinux(&self) -> Option<&str> {
        text(self.selinux_label())
    }
    fn wants_terminal(&self) -> bool {
        self.terminal().unwrap_or(false)
    }
}

/// Getters of a namespace.
pub trait NamespaceExt {
    /// The path of the namespace to join; none (or an empty one) asks for a new namespace.
    fn joined_path(&self) -> Option<&Path>;
}

impl NamespaceExt for LinuxNamespace {
    fn joined_path(&self) -> Option<&Path> {
        self.path().as_deref().filter(|path| !path.as_os_str().is_empty())
    }
}

/// Getters of a mount.
pub trait MountExt {
    /// `options`.
    fn option_list(&self) -> &[String];
    /// The options, sorted out.
    fn parsed_options(&self) -> MountOptions;
    /// `type`, if not empty.
    fn fs_type(&self) -> Option<&str>;
    /// Is it a bind mount? By its options, or by the type `bind` that many write.
    fn is_bind(&self, options: &MountOptions) -> bool;
}

impl MountExt for Mount {
    fn option_list(&self) -> &[String] {
        list(self.options())
    }
    fn parsed_options(&self) -> MountOptions {
        MountOptions::parse(self.option_list())
    }
    fn fs_type(&self) -> Option<&str> {
        text(self.typ())
    }
    fn is_bind(&self, options: &MountOptions) -> bool {
        options.bind || self.fs_type() == Some("bind")
    }
}

/// Getters of a device.
pub trait DeviceExt {
    /// Permission bits, 0666 if absent. Engines leave the file type bits of stat in `fileMode`.
    fn permissions(&self) -> u32;
    /// Major and minor number; a FIFO has none, whatever is written there.
    fn numbers(&self) -> (i64, i64);
}

impl DeviceExt for LinuxDevice {
    fn permissions(&self) -> u32 {
        self.file_mode().map_or(0o666, |mode| mode & 0o7777)
    }
    fn numbers(&self) -> (i64, i64) {
        if self.typ() == LinuxDeviceType::P { (0, 0) } else { (self.major(), self.minor()) }
    }
}
