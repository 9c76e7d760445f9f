//! `linux`, but for namespaces, resources and seccomp.

use std::collections::HashMap;

use oci_spec::runtime::{
    Linux, LinuxDeviceType, LinuxNamespaceType as Ns, MemoryPolicyFlagType as MpolFlag,
    MemoryPolicyModeType as Mpol, Spec,
};

use super::{Judge, has, joined, resources};
use crate::config::access::{DeviceExt, SpecExt};
use crate::config::mount_options;
use crate::config::problems::{member, quote};
use crate::config::sysctl::{self, Scope};

impl Judge<'_> {
    pub(super) fn linux(&mut self, spec: &Spec) {
        self.namespaces(spec);
        let Some(linux) = spec.linux_opt() else { return };
        if !self.problems.spoiled("linux.namespaces") {
            self.user_namespace(spec);
            self.time_offsets(spec, linux);
            self.net_devices(spec, linux);
        }
        self.sysctls(spec);
        self.restricted_paths(spec);
        self.devices(spec);
        self.cgroups_path(spec);
        self.propagation(linux);
        if linux
            .personality()
            .as_ref()
            .and_then(|p| p.flags().as_ref())
            .is_some_and(|flags| !flags.is_empty())
        {
            self.warn("linux.personality.flags: ignored, no flag is supported".to_owned());
        }
        self.memory_policy(linux);
        self.intel_rdt(linux);
        if let Some(resources) = linux.resources() {
            self.resources("linux.resources.", resources, resources::For::Create);
        }
    }

    fn propagation(&mut self, linux: &Linux) {
        let Some(name) = linux.rootfs_propagation().as_deref().filter(|name| !name.is_empty()) else {
            return;
        };
        let at = "linux.rootfsPropagation";
        match mount_options::propagation(name) {
            None => self.bad(at, format!("rootfsPropagation={} is not supported", quote(name))),
            Some(flags) if self.options.no_pivot && flags & mount_options::ms::PRIVATE != 0 => {
                self.bad(at, "rootfsPropagation of [r]private is not safe without pivot_root");
            }
            Some(_) => {}
        }
    }

    fn sysctls(&mut self, spec: &Spec) {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for (key, value) in spec.sysctls() {
            let at = member("linux.sysctl", key);
            let dotted = sysctl::dotted(key);
            let name = quote(&dotted);
            let Some(path) = sysctl::path(key) else {
                self.bad(at, "not the name of a sysctl");
                continue;
            };
            self.no_nul(|| at.clone(), value);
            if seen.insert(path, value).is_some_and(|other| other != value) {
                self.bad(at.clone(), "given twice, with dots and with slashes, and with different values");
            }
            let scope = sysctl::scope(&dotted);
            if scope != Scope::Host && self.problems.spoiled("linux.namespaces") {
                // Which namespaces the container has is not known.
                continue;
            }
            let wrong = match scope {
                Scope::Ipc if has(spec, Ns::Ipc) => continue,
                Scope::Ipc => format!("sysctl {name} is not allowed in the hosts ipc namespace"),
                Scope::Network if self.own_network(spec) => continue,
                Scope::Network => format!("sysctl {name} not allowed in host network namespace"),
                Scope::User if has(spec, Ns::User) => continue,
                Scope::Uts if has(spec, Ns::Uts) => {
                    if dotted == "kernel.hostname" {
                        format!(
                            "sysctl {name} is not allowed as it conflicts with the OCI \"hostname\" field"
                        )
                    } else if spec.domain_name().is_some_and(|domain| domain != value) {
                        format!(
                            "sysctl {name} is not allowed as it conflicts with the OCI \"domainname\" field"
                        )
                    } else {
                        continue;
                    }
                }
                Scope::User | Scope::Uts | Scope::Host => {
                    format!("sysctl {name} is not in a separate kernel namespace")
                }
            };
            self.bad(at, wrong);
        }
    }

    fn own_network(&self, spec: &Spec) -> bool {
        has(spec, Ns::Network)
            && joined(spec, Ns::Network).is_none_or(|path| !self.host.is_own_network_namespace(path))
    }

    fn net_devices(&mut self, spec: &Spec, linux: &Linux) {
        let Some(devices) = linux.net_devices().as_ref().filter(|map| !map.is_empty()) else { return };
        if !has(spec, Ns::Network) {
            self.bad("linux.netDevices", "unable to move network devices without a private NET namespace");
        }
        if self.host.euid() != 0 {
            self.unsupported("linux.netDevices", "network devices are not supported for rootless containers");
        }
        let mut all: Vec<_> = devices.iter().collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        let mut seen: HashMap<&str, &str> = HashMap::new();
        for (name, device) in all {
            let at = member("linux.netDevices", name);
            if !valid_device_name(name) {
                self.bad(at.clone(), format!("invalid network device name {}", quote(name)));
            }
            let new = device.name().as_deref().unwrap_or_default();
            if !new.is_empty() && !valid_device_name(&new.replacen("%d", "0", 1)) {
                self.bad(format!("{at}.name"), format!("invalid network device name {}", quote(new)));
            }
            let inside = if new.is_empty() { name } else { new };
            // Each device gets another number.
            if inside.contains('%') {
                continue;
            }
            if let Some(other) = seen.insert(inside, name) {
                let text = format!("{} is the name of {} in the container", quote(inside), quote(other));
                self.bad(at, text);
            }
        }
    }

    fn restricted_paths(&mut self, spec: &Spec) {
        let private = has(spec, Ns::Mount) || self.problems.spoiled("linux.namespaces");
        for (key, list) in [("maskedPaths", spec.masked_paths()), ("readonlyPaths", spec.readonly_paths())] {
            if !list.is_empty() && !private {
                let text = "unable to restrict sys entries without a private MNT namespace";
                self.bad(format!("linux.{key}"), text);
            }
            for (i, path) in list.iter().enumerate() {
                self.absolute(|| format!("linux.{key}[{i}]"), path);
            }
        }
    }

    fn devices(&mut self, spec: &Spec) {
        use LinuxDeviceType::{A, C, U};
        // Character devices have two letters.
        let kind = |typ| if typ == U { C } else { typ };
        let list = spec.device_list();
        for (i, device) in list.iter().enumerate() {
            let at = format!("linux.devices[{i}]");
            self.absolute(|| format!("{at}.path"), &device.path().to_string_lossy());
            if device.typ() == A {
                self.bad(format!("{at}.type"), "unknown value \"a\", expected one of c, b, u, p");
            }
            // 12 and 20 bits are what the kernel's dev_t has.
            let (major, minor) = device.numbers();
            for (key, number, bits) in [("major", major, 12), ("minor", minor, 20)] {
                if !(0..1 << bits).contains(&number) {
                    self.bad(format!("{at}.{key}"), format!("{number} is not a device number"));
                }
            }
            for (key, id) in [("uid", device.uid()), ("gid", device.gid())] {
                self.id(|| format!("{at}.{key}"), id.unwrap_or_default());
            }
            let clash = list[..i].iter().position(|other| {
                let same = kind(other.typ()) == kind(device.typ()) && other.numbers() == device.numbers();
                other.path() == device.path() && !same
            });
            if let Some(j) = clash {
                self.bad(at, format!("has the path of entry {j}, but is another device"));
            }
        }
    }

    fn cgroups_path(&mut self, spec: &Spec) {
        let Some(path) = spec.cgroups_path() else { return };
        let at = "linux.cgroupsPath";
        if path.split(['/', ':']).any(|part| part == "..") {
            self.bad(at, format!("{} must not contain \"..\"", quote(path)));
        }
        if path.contains(['\0', '\n']) {
            self.bad(at, format!("{} has a character that no cgroup has", quote(path)));
        }
        if self.options.systemd_cgroup && path.split(':').count() != 3 {
            self.bad(
                at,
                format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {} instead",
                    quote(path)
                ),
            );
        }
    }

    fn memory_policy(&mut self, linux: &Linux) {
        let Some(policy) = linux.memory_policy() else { return };
        let at = "linux.memoryPolicy";
        let nodes = policy.nodes().as_deref().unwrap_or_default();
        let flags = policy.flags().as_deref().unwrap_or_default();
        let empty = match crate::config::cpu_list(nodes) {
            Ok(ranges) => ranges.is_empty(),
            Err(why) => {
                self.bad(format!("{at}.nodes"), why);
                false
            }
        };
        // set_mempolicy(2): some modes refuse nodes, most need them, MPOL_PREFERRED takes both.
        let mode = policy.mode();
        match mode {
            Mpol::MpolDefault | Mpol::MpolLocal if !empty => {
                self.bad(format!("{at}.nodes"), format!("must be empty for {mode}"));
            }
            Mpol::MpolBind
            | Mpol::MpolInterleave
            | Mpol::MpolWeightedInterleave
            | Mpol::MpolPreferredMany
                if empty =>
            {
                self.bad(format!("{at}.nodes"), format!("must be specified for {mode}"));
            }
            _ => {}
        }
        if flags.contains(&MpolFlag::MpolFRelativeNodes) && flags.contains(&MpolFlag::MpolFStaticNodes) {
            self.bad(
                format!("{at}.flags"),
                "MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other",
            );
        }
    }

    fn intel_rdt(&mut self, linux: &Linux) {
        let Some(rdt) = linux.intel_rdt() else { return };
        let at = "linux.intelRdt";
        // It becomes the name of a directory in resctrl.
        let id = rdt.clos_id().as_deref().unwrap_or_default();
        if id == "." || id == ".." || id.contains(['/', '\n', '\0']) {
            self.bad(format!("{at}.closID"), format!("invalid intelRdt.ClosID {}", quote(id)));
        }
        if !self.host.resctrl() {
            self.unsupported(
                at,
                "intelRdt is specified in config, but Intel RDT is not supported or enabled",
            );
        }
    }
}

/// As the kernel's `dev_valid_name`; and no device can have a `%` in its name, which stands for a number to be found.
fn valid_device_name(name: &str) -> bool {
    let odd = |b: u8| matches!(b, b'/' | b':' | b'%') || b == 0 || b == 0x0b || b.is_ascii_whitespace();
    !name.is_empty() && name.len() < 16 && name != "." && name != ".." && !name.bytes().any(odd)
}
