//! `linux.namespaces`, and the id maps and clocks that belong to two of them.

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType as Ns, Spec};

use super::{Judge, has, joined};
use crate::config::access::{NamespaceExt, SpecExt};
use crate::config::problems::member;

/// `UID_GID_MAP_MAX_EXTENTS` of the kernel.
const MOST_MAPPINGS: usize = 340;

/// So many always fit: three numbers of ten digits in each.
const FEW: usize = 4096 / 33;

impl Judge<'_> {
    pub(super) fn namespaces(&mut self, spec: &Spec) {
        let mut seen: Vec<Ns> = Vec::new();
        for (i, ns) in spec.namespaces().iter().enumerate() {
            let at = format!("linux.namespaces[{i}]");
            if seen.contains(&ns.typ()) {
                self.bad(at.clone(), format!("duplicated ns {:?}", name(ns.typ())));
            }
            seen.push(ns.typ());
            if let Some(path) = ns.joined_path() {
                self.absolute(|| format!("{at}.path"), &path.to_string_lossy());
            }
        }
        if !seen.contains(&Ns::User) && self.host.euid() != 0 {
            self.bad("linux.namespaces", "rootless container requires user namespaces");
        }
    }

    pub(super) fn user_namespace(&mut self, spec: &Spec) {
        let (uids, gids) = (spec.uid_maps(), spec.gid_maps());
        let any = !uids.is_empty() || !gids.is_empty();
        if !has(spec, Ns::User) {
            if any {
                let key = if uids.is_empty() { "gidMappings" } else { "uidMappings" };
                let text =
                    "user namespace mappings specified, but user namespace isn't enabled in the config";
                self.bad(format!("linux.{key}"), text);
            }
        } else if joined(spec, Ns::User).is_none() {
            if any {
                self.root_is_mapped("linux.uidMappings", uids);
                self.root_is_mapped("linux.gidMappings", gids);
                self.user_is_mapped(spec);
            } else {
                self.bad(
                    "linux.uidMappings",
                    "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
                );
            }
        }
        // With a path *and* mappings, as containerd and CRI-O write it, they must agree with what
        // the namespace has; that is seen when it is joined.
        self.mappings("linux.uidMappings", uids);
        self.mappings("linux.gidMappings", gids);
    }

    fn root_is_mapped(&mut self, at: &str, maps: &[LinuxIdMapping]) {
        if maps.is_empty() {
            self.bad(at, "must be specified for a new user namespace");
        } else if !maps_id(maps, 0) {
            self.bad(at, "no mapping for id 0 of the container");
        }
    }

    fn user_is_mapped(&mut self, spec: &Spec) {
        let Some(process) = spec.process() else { return };
        let user = process.user();
        let mut check = |path: String, maps: &[LinuxIdMapping], id: u32| {
            // What is no id at all has been told.
            if !maps.is_empty() && id != u32::MAX && !maps_id(maps, id) {
                self.bad(path, format!("{id} is not mapped in the user namespace"));
            }
        };
        check("process.user.uid".into(), spec.uid_maps(), user.uid());
        check("process.user.gid".into(), spec.gid_maps(), user.gid());
        for (i, gid) in user.additional_gids().iter().flatten().enumerate() {
            check(format!("process.user.additionalGids[{i}]"), spec.gid_maps(), *gid);
        }
    }

    /// A list of id mappings, of a user namespace or a mount.
    pub(super) fn mappings(&mut self, at: &str, maps: &[LinuxIdMapping]) {
        if maps.len() > MOST_MAPPINGS {
            self.bad(at, format!("has {} entries, the kernel takes at most {MOST_MAPPINGS}", maps.len()));
            return;
        }
        // The kernel wants all of them in one write, which must be shorter than a page.
        let line =
            |map: &LinuxIdMapping| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size()).len();
        if maps.len() > FEW && maps.iter().map(line).sum::<usize>() >= rustix::param::page_size() {
            let page = rustix::param::page_size();
            self.bad(
                at,
                format!(
                    "has {} entries, whose text is longer than the {page} bytes that the kernel takes",
                    maps.len()
                ),
            );
            return;
        }
        for (i, map) in maps.iter().enumerate() {
            if map.size() == 0 {
                self.bad(format!("{at}[{i}].size"), "must be greater than zero");
                continue;
            }
            for (key, start) in [("containerID", map.container_id()), ("hostID", map.host_id())] {
                // The highest id stands for "none" and cannot be mapped.
                if end(start, map.size()) > u64::from(u32::MAX) {
                    let text = format!("{key} {start} and size {} exceed 32 bits", map.size());
                    self.bad(format!("{at}[{i}]"), text);
                }
            }
            if let Some(j) = maps[..i].iter().position(|other| overlap(map, other)) {
                self.bad(format!("{at}[{i}]"), format!("overlaps with entry {j}"));
            }
        }
    }

    pub(super) fn time_offsets(&mut self, spec: &Spec, linux: &Linux) {
        let Some(offsets) = linux.time_offsets().as_ref().filter(|map| !map.is_empty()) else { return };
        if !has(spec, Ns::Time) {
            self.bad(
                "linux.timeOffsets",
                "time namespace offsets specified, but time namespace isn't enabled in the config",
            );
        } else if joined(spec, Ns::Time).is_some() {
            self.bad(
                "linux.timeOffsets",
                "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
            );
        }
        let mut clocks: Vec<_> = offsets.iter().collect();
        clocks.sort_unstable_by_key(|(clock, _)| *clock);
        for (clock, offset) in clocks {
            let at = member("linux.timeOffsets", clock);
            if offset.nanosecs().unwrap_or(0) > 999_999_999 {
                self.bad(format!("{at}.nanosecs"), "must be less than 1000000000");
            }
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                self.bad(at, "unknown clock, expected monotonic or boottime");
            }
        }
    }
}

fn end(start: u32, size: u32) -> u64 {
    u64::from(start) + u64::from(size)
}

fn overlap(a: &LinuxIdMapping, b: &LinuxIdMapping) -> bool {
    let cross = |a_start: u32, b_start: u32| {
        u64::from(a_start) < end(b_start, b.size()) && u64::from(b_start) < end(a_start, a.size())
    };
    cross(a.container_id(), b.container_id()) || cross(a.host_id(), b.host_id())
}

fn maps_id(maps: &[LinuxIdMapping], id: u32) -> bool {
    maps.iter().any(|map| id >= map.container_id() && u64::from(id) < end(map.container_id(), map.size()))
}

/// A namespace type as config.json names it.
fn name(typ: Ns) -> &'static str {
    match typ {
        Ns::Mount => "mount",
        Ns::Network => "network",
        Ns::Cgroup => "cgroup",
        Ns::Uts => "uts",
        Ns::Ipc => "ipc",
        Ns::User => "user",
        Ns::Pid => "pid",
        Ns::Time => "time",
    }
}
