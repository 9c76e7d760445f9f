//! `linux.resources`, and the document of `update`.
//!
//! Only what no kernel and no cgroup version takes is a problem here; the rest is for the cgroup code,
//! which knows where it writes. As for runc, 0 mostly means "not given".

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxDeviceType, LinuxMemory, LinuxResources};

use super::Judge;
use crate::config::problems::{member, quote};

/// Files of a cgroup that are no limits, and what writing to them does.
const NO_LIMITS: [(&str, &str); 6] = [
    ("cgroup.procs", "moves processes"),
    ("cgroup.threads", "moves threads"),
    ("cgroup.kill", "kills processes"),
    ("cgroup.freeze", "stops processes, which is for pause and resume"),
    ("cgroup.type", "changes what a cgroup can hold"),
    ("cgroup.subtree_control", "gives controllers to cgroups below, which then hold the processes"),
];

/// What the resources are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A new cgroup: what is not given has the kernel's default.
    Create,
    /// A cgroup that has limits already.
    Update,
}

impl Judge<'_> {
    /// `at` is `linux.resources.` in config.json and empty in a document of its own.
    pub(super) fn resources(&mut self, at: &str, resources: &LinuxResources, purpose: For) {
        self.device_rules(at, resources);
        if let Some(memory) = resources.memory() {
            self.memory(&format!("{at}memory"), memory, purpose);
        }
        if let Some(cpu) = resources.cpu() {
            self.cpu(&format!("{at}cpu"), cpu);
        }
        if let Some(io) = resources.block_io() {
            self.block_io(&format!("{at}blockIO"), io);
        }
        for (i, huge) in resources.hugepage_limits().iter().flatten().enumerate() {
            // It becomes part of a file name in the cgroup.
            if !page_size(huge.page_size()) {
                let text = format!("{} is not a size such as 64KB, 2MB or 1GB", quote(huge.page_size()));
                self.bad(format!("{at}hugepageLimits[{i}].pageSize"), text);
            }
            if huge.limit() < 0 {
                let text = format!("{} is not an unsigned number", huge.limit());
                self.bad(format!("{at}hugepageLimits[{i}].limit"), text);
            }
        }
        for (i, priority) in resources.network().iter().flat_map(|n| n.priorities()).flatten().enumerate() {
            if !plain_name(priority.name()) {
                let text = format!("invalid network device name {}", quote(priority.name()));
                self.bad(format!("{at}network.priorities[{i}].name"), text);
            }
        }
        let mut devices: Vec<&String> = resources.rdma().iter().flatten().map(|(name, _)| name).collect();
        devices.sort_unstable();
        for name in devices.into_iter().filter(|name| !plain_name(name)) {
            self.bad(member(&format!("{at}rdma"), name), "not the name of a device");
        }
        self.unified(at, resources);
    }

    fn device_rules(&mut self, at: &str, resources: &LinuxResources) {
        for (i, rule) in resources.devices().iter().flatten().enumerate() {
            let at = format!("{at}devices[{i}]");
            if matches!(rule.typ(), Some(LinuxDeviceType::U | LinuxDeviceType::P)) {
                self.bad(format!("{at}.type"), "invalid cgroup device type, expected one of a, b, c");
            }
            for (key, number) in [("major", rule.major()), ("minor", rule.minor())] {
                // -1 stands for all, as for runc. So does the highest number, to cgroup v1.
                if let Some(number) = number.filter(|n| !(-1..i64::from(u32::MAX)).contains(n)) {
                    self.bad(format!("{at}.{key}"), format!("{number} is not a device number"));
                }
            }
            match rule.access().as_deref().unwrap_or_default() {
                // Denying without saying what denies all; allowing has to say what.
                "" if rule.allow() => self.bad(format!("{at}.access"), "device access cannot be empty"),
                access if access.bytes().any(|b| !b"rwm".contains(&b)) => {
                    self.bad(
                        format!("{at}.access"),
                        format!("{} has other letters than r, w, m", quote(access)),
                    );
                }
                _ => {}
            }
        }
    }

    fn memory(&mut self, at: &str, memory: &LinuxMemory, purpose: For) {
        let limits =
            [("limit", memory.limit()), ("reservation", memory.reservation()), ("swap", memory.swap())];
        for (key, value) in limits {
            if let Some(value) = value.filter(|v| *v < -1) {
                let text = format!("{value} is neither a number of bytes nor -1 (unlimited)");
                self.bad(format!("{at}.{key}"), text);
            }
        }
        let (limit, swap) = (memory.limit().unwrap_or(0), memory.swap().unwrap_or(0));
        if swap > 0 && limit > swap {
            self.bad(format!("{at}.swap"), "memory+swap limit should be >= memory limit");
        } else if swap > 0 && limit <= 0 && purpose == For::Create {
            self.bad(format!("{at}.swap"), "unable to set swap limit without memory limit");
        }
        // The largest number is -1 of those who keep it signed: not given.
        if let Some(value) = memory.swappiness().filter(|v| *v > 100 && *v != u64::MAX) {
            let text = format!("invalid memory swappiness value: {value} (valid range is 0-100)");
            self.bad(format!("{at}.swappiness"), text);
        }
    }

    fn cpu(&mut self, at: &str, cpu: &LinuxCpu) {
        // Microseconds; max_cfs_quota_period and min_cfs_quota_period of the kernel.
        if let Some(period) = cpu.period().filter(|p| *p != 0 && !(1_000..=1_000_000).contains(p)) {
            self.bad(
                format!("{at}.period"),
                format!("{period} is not between 1000 and 1000000 microseconds"),
            );
        }
        let quota = cpu.quota().unwrap_or(0);
        if (1..1_000).contains(&quota) {
            self.bad(format!("{at}.quota"), format!("{quota} is less than 1000 microseconds"));
        }
        if let Some(burst) = cpu.burst().filter(|burst| quota > 0 && *burst > quota.unsigned_abs()) {
            self.bad(format!("{at}.burst"), format!("{burst} is larger than the quota {quota}"));
        }
        if let Some(idle) = cpu.idle().filter(|idle| !(0..=1).contains(idle)) {
            self.bad(format!("{at}.idle"), format!("{idle} is neither 0 nor 1"));
        }
        for (key, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
            // The kernel's list format has more than ranges (`0-9:2/4`), so only letters are judged.
            let strange = |b: u8| !(b.is_ascii_digit() || b" ,-:/".contains(&b));
            let text = list.as_deref().unwrap_or_default();
            if text.bytes().any(strange) {
                self.bad(
                    format!("{at}.{key}"),
                    format!("{} is not a list of numbers such as 0-3,7", quote(text)),
                );
            }
        }
    }

    fn block_io(&mut self, at: &str, io: &LinuxBlockIo) {
        let mut weights =
            vec![("weight".to_owned(), io.weight()), ("leafWeight".to_owned(), io.leaf_weight())];
        for (i, device) in io.weight_device().iter().flatten().enumerate() {
            weights.push((format!("weightDevice[{i}].weight"), device.weight()));
            weights.push((format!("weightDevice[{i}].leafWeight"), device.leaf_weight()));
        }
        for (key, weight) in weights {
            if let Some(weight) = weight.filter(|w| *w != 0 && !(10..=1000).contains(w)) {
                self.bad(format!("{at}.{key}"), format!("{weight} is not between 10 and 1000"));
            }
        }
    }

    fn unified(&mut self, at: &str, resources: &LinuxResources) {
        let mut all: Vec<_> = resources.unified().iter().flatten().collect();
        all.sort_unstable();
        for (key, value) in all {
            let path = member(&format!("{at}unified"), key);
            let two_parts = key.split_once('.').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
            if key.contains('/') {
                let text = format!("unified resource {} must be a file name (no slashes)", quote(key));
                self.bad(path.clone(), text);
            } else if !two_parts {
                let text =
                    format!("unified resource {} must be in the form CONTROLLER.PARAMETER", quote(key));
                self.bad(path.clone(), text);
            } else if let Some((_, does)) = NO_LIMITS.iter().find(|(name, _)| name == key) {
                self.bad(path.clone(), format!("is no limit: {key} {does}"));
            }
            if key.contains('\0') || value.contains('\0') {
                self.bad(path, "contains a nul byte (\\x00)");
            }
        }
    }
}

/// A name that fits into a line of a cgroup file.
fn plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([' ', '\t', '\n', '/', '\0'])
}

/// `64KB`, `2MB`, `1GB`: the form in the names of the hugetlb files.
fn page_size(text: &str) -> bool {
    ["KB", "MB", "GB"].iter().any(|unit| {
        text.strip_suffix(unit).is_some_and(|n| {
            (1..=10).contains(&n.len()) && !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit())
        })
    })
}
