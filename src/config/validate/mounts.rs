//! `mounts`.

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::{Judge, has};
use crate::config::access::{MountExt, SpecExt};
use crate::config::mount_options::{MountOptions, joins_known};
use crate::config::problems::quote;

/// What may be mounted over below /proc: the files that lxcfs shows per container. Anything else could
/// lead writes of labels and sysctls elsewhere, or hide them (CVE-2019-16884). The list is runc's.
const ALLOWED_IN_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What a cgroup2 can be mounted with (kernel, cgroup-v2.rst).
const CGROUP2_OPTIONS: &[&str] = &[
    "favordynmods",
    "memory_hugetlb_accounting",
    "memory_localevents",
    "memory_recursiveprot",
    "nsdelegate",
    "pids_localevents",
];

impl Judge<'_> {
    pub(super) fn mounts(&mut self, spec: &Spec) {
        for (i, mount) in spec.mount_list().iter().enumerate() {
            self.mount(spec, &format!("mounts[{i}]"), mount);
        }
    }

    fn mount(&mut self, spec: &Spec, at: &str, mount: &Mount) {
        let options = mount.parsed_options();
        let bind = mount.is_bind(&options);
        let destination = mount.destination().to_string_lossy();
        let source = mount.source().as_deref().map(|path| path.to_string_lossy()).unwrap_or_default();
        if destination.is_empty() {
            self.bad(format!("{at}.destination"), "must not be empty");
        } else if !destination.starts_with('/') {
            self.warn(format!(
                "{at}.destination: {} is not absolute; this is deprecated, it is taken as relative to /",
                quote(&destination)
            ));
        }
        let texts =
            [("destination", &*destination), ("source", &*source), ("type", mount.fs_type().unwrap_or(""))];
        for (key, text) in texts {
            self.no_nul(|| format!("{at}.{key}"), text);
        }
        for (j, option) in mount.option_list().iter().enumerate() {
            self.no_nul(|| format!("{at}.options[{j}]"), option);
            // crun's form; taken as data it would silently leave the ids unmapped.
            if option.starts_with("idmap=") || option.starts_with("ridmap=") {
                let text = format!("{} is not supported, use uidMappings and gidMappings", quote(option));
                self.bad(format!("{at}.options[{j}]"), text);
            }
        }
        if bind {
            if source.is_empty() {
                self.bad(format!("{at}.source"), "must be specified for a bind mount");
            }
            for (j, option) in mount.option_list().iter().enumerate().filter(|(_, text)| joins_known(text)) {
                // The warning below is not enough for a volume that is writable in place of `nosuid,ro`.
                let text =
                    format!("{} is several options, each has to be a string of its own", quote(option));
                self.bad(format!("{at}.options[{j}]"), text);
            }
            if !options.data.is_empty() {
                self.warn(format!(
                    "{at}.options: filesystem-specific options ignored on a bind mount: {}",
                    quote(&options.data.join(","))
                ));
            }
        } else if mount.fs_type().is_none() && !options.remount && options.propagation.is_empty() {
            self.bad(format!("{at}.type"), "must be specified unless it is a bind mount");
        }
        if !bind && !options.remount && matches!(mount.fs_type(), Some("cgroup" | "cgroup2")) {
            self.cgroup_options(at, &options);
        }
        self.proc_mount(at, &destination, mount, bind);
        self.idmapped(spec, at, mount, &options, bind);
    }

    /// A cgroup mount shows hierarchies that are there already, and changes nothing about them.
    fn cgroup_options(&mut self, at: &str, options: &MountOptions) {
        for option in &options.data {
            let at = format!("{at}.options");
            match CGROUP2_OPTIONS.contains(&option.as_str()) {
                // The kernel ignores them, too, outside of its first cgroup namespace.
                true => self.warn(format!("{at}: {} is set for the host, and ignored", quote(option))),
                false => self.bad(at, format!("{} is not an option of a cgroup mount", quote(option))),
            }
        }
    }

    /// The part of runc's `checkProcMount` that needs no file system. Whether what is bound over /proc
    /// is procfs, and where symlinks lead, is checked on the opened files when it is mounted.
    fn proc_mount(&mut self, at: &str, destination: &str, mount: &Mount, bind: bool) {
        let clean = lexically_clean(destination);
        if clean == "/proc" {
            if !bind && mount.fs_type().is_some_and(|typ| typ != "proc") {
                let text = format!("{clean:?} cannot be mounted because it is not of type proc");
                self.bad(format!("{at}.destination"), text);
            }
        } else if clean.starts_with("/proc/") && !ALLOWED_IN_PROC.contains(&clean.as_str()) {
            let text = format!("{} cannot be mounted because it is inside /proc", quote(&clean));
            self.bad(format!("{at}.destination"), text);
        }
    }

    fn idmapped(&mut self, spec: &Spec, at: &str, mount: &Mount, options: &MountOptions, bind: bool) {
        let uids = mount.uid_mappings().as_deref().unwrap_or_default();
        let gids = mount.gid_mappings().as_deref().unwrap_or_default();
        let mapped = !uids.is_empty() || !gids.is_empty();
        if !mapped && options.idmap.is_none() {
            return;
        }
        if !bind {
            self.bad(at, "id-mapped mounts are only supported for bind-mounts");
        }
        if self.host.euid() != 0 {
            self.unsupported(at, "id-mapped mounts are not supported for rootless containers");
        }
        if mapped && (uids.is_empty() || gids.is_empty()) {
            let missing = if uids.is_empty() { "uidMappings" } else { "gidMappings" };
            let text = "id-mapped mounts must have both uid and gid mappings specified";
            self.bad(format!("{at}.{missing}"), text);
        }
        if !mapped && !has(spec, LinuxNamespaceType::User) && !self.problems.spoiled("linux.namespaces") {
            self.bad(at, "idmap needs uidMappings and gidMappings, or a user namespace to take them from");
        }
        self.mappings(&format!("{at}.uidMappings"), uids);
        self.mappings(&format!("{at}.gidMappings"), gids);
    }
}

/// The path without empty parts and `.`, and `..` resolved by text alone; it starts at /.
fn lexically_clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::lexically_clean;

    #[test]
    fn cleaning() {
        for (path, want) in [
            ("/proc/", "/proc"),
            ("proc", "/proc"),
            ("//proc/./sys/../", "/proc"),
            ("/../proc", "/proc"),
            ("/a/../../proc/x", "/proc/x"),
            ("/", "/"),
            ("", "/"),
            ("/procx", "/procx"),
        ] {
            assert_eq!(lexically_clean(path), want, "{path:?}");
        }
    }
}
