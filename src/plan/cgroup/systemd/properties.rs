//! Limits and devices as properties of a unit.
//!
//! They are taken from the very writes that the limits are, so that the two never differ: systemd writes its properties
//! into the files again at every `daemon-reload`, and what it did not know of would be lost. What it has no word for is
//! in the file alone; what it rounds is rounded in the file, too ([`CgroupPlan::round_as_systemd`]).

use super::{Property, Value};
use crate::plan::cgroup::{Access, CgroupPlan, DeviceKind, DeviceRule, Devices, Write};

/// systemd's "no limit".
const INFINITY: u64 = u64::MAX;
/// The kernel's cpu.max period, µs.
const PERIOD: u64 = 100_000;

/// The properties of what is written into the files of a v2 or v1 cgroup. A value that is no value of such a file is
/// left to the kernel to refuse.
pub fn limits(writes: &[Write], v2: bool) -> Vec<Property> {
    let mut out = Vec::new();
    let idle = v2 && writes.iter().any(|write| write.file == "cpu.idle" && write.value.trim() == "1");
    let (mut quota, mut period) = (None, None);
    for Write { file, value, .. } in writes {
        let value = value.trim();
        let mut set = |name: &str, value: Option<Value>| out.extend(value.map(|v| (name.to_owned(), v)));
        match file.as_ref() {
            "memory.max" => set("MemoryMax", amount(value)),
            "memory.high" => set("MemoryHigh", amount(value)),
            "memory.low" => set("MemoryLow", amount(value)),
            "memory.min" => set("MemoryMin", amount(value)),
            "memory.swap.max" => set("MemorySwapMax", amount(value)),
            "memory.zswap.max" => set("MemoryZSwapMax", amount(value)),
            "memory.limit_in_bytes" => set("MemoryLimit", amount(value)),
            "pids.max" => set("TasksMax", amount(value)),
            // A weight of 0 is systemd's word for cpu.idle, since 252.
            "cpu.idle" if idle => set("CPUWeight", Some(Value::U64(0))),
            "cpu.weight" if !idle => set("CPUWeight", amount(value)),
            "cpu.shares" => set("CPUShares", amount(value)),
            "cpu.max" => {
                let mut words = value.split_whitespace();
                quota = words.next().and_then(number);
                period = words.next().map_or(Some(PERIOD), |word| word.parse().ok());
            }
            "cpu.cfs_quota_us" => quota = number(value),
            "cpu.cfs_period_us" => period = value.parse().ok(),
            "cpuset.cpus" => set("AllowedCPUs", mask(value)),
            "cpuset.mems" => set("AllowedMemoryNodes", mask(value)),
            "blkio.weight" => set("BlockIOWeight", amount(value)),
            "io.weight" | "io.bfq.weight" => {
                let scale = |n: u64| if file == "io.bfq.weight" { from_bfq(n) } else { n };
                match value.split_once(' ') {
                    None | Some(("default", _)) => {
                        let weight = number(value.strip_prefix("default").unwrap_or(value).trim());
                        set("IOWeight", weight.map(|n| Value::U64(scale(n))));
                    }
                    Some((device, weight)) => {
                        let weight = number(weight.trim()).map(|n| Value::U64(scale(n)));
                        set("IODeviceWeight", for_device(device, weight));
                    }
                }
            }
            "io.max" => {
                let (device, rates) = value.split_once(' ').unwrap_or((value, ""));
                for rate in rates.split_whitespace() {
                    let (key, rate) = rate.split_once('=').unwrap_or((rate, ""));
                    let name = match key {
                        "rbps" => "IOReadBandwidthMax",
                        "wbps" => "IOWriteBandwidthMax",
                        "riops" => "IOReadIOPSMax",
                        "wiops" => "IOWriteIOPSMax",
                        _ => continue,
                    };
                    set(name, for_device(device, amount(rate)));
                }
            }
            _ => {}
        }
    }
    cpu_quota(quota, period, &mut out);
    out
}

/// `memory.oom.group` as what systemd does when a process runs out of memory. Only a unit that starts takes it.
pub fn memory_oom_policy(writes: &[Write]) -> Option<Property> {
    let group = writes.iter().find(|write| write.file == "memory.oom.group")?;
    let policy = match group.value.trim() {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    Some(("OOMPolicy".into(), Value::str(policy)))
}

/// The `IOWeight` for a kernel that has no `io.bfq.weight`, where `io.weight` has what is written instead.
pub fn in_file(write: &Write) -> Option<Property> {
    match &write.instead {
        Some(("io.weight", value)) if write.file == "io.bfq.weight" => {
            limits(&[Write { file: "io.weight".into(), value: value.clone(), ..write.clone() }], true).pop()
        }
        _ => None,
    }
}

/// An amount; "max" and the -1 of v1 are no limit.
fn amount(text: &str) -> Option<Value> {
    number(text).map(Value::U64)
}

fn number(text: &str) -> Option<u64> {
    if matches!(text, "max" | "-1") { Some(INFINITY) } else { text.parse().ok() }
}

impl CgroupPlan {
    /// Rounds the CPU quota as systemd does, as runc has it: else the limit would change with the next `daemon-reload`.
    pub fn round_as_systemd(&mut self) {
        for write in self.v2.writes.iter_mut().filter(|write| write.file == "cpu.max") {
            let words = write.value.split_once(' ').and_then(|(quota, period)| {
                Some((quota.parse().ok()?, period.trim().parse().ok().filter(|n| *n > 0)?))
            });
            if let Some((quota, period)) = words {
                write.value = format!("{} {period}", rounded(quota, period));
            }
        }
        let period = self.v1.writes.iter().find(|write| write.file == "cpu.cfs_period_us");
        let period = period.and_then(|write| write.value.parse().ok()).filter(|n| *n > 0).unwrap_or(PERIOD);
        for write in self.v1.writes.iter_mut().filter(|write| write.file == "cpu.cfs_quota_us") {
            if let Ok(quota) = write.value.parse() {
                write.value = rounded(quota, period).to_string();
            }
        }
    }
}

/// The quota of one period that systemd makes of a quota of one period.
fn rounded(quota: u64, period: u64) -> u64 {
    let exact = u128::from(per_second(quota, period)) * u128::from(period) / 1_000_000;
    u64::try_from(exact).unwrap_or(quota).max(quota)
}

/// µs of CPU time a second. systemd rounds to whole percents; up, so that cgroups below can have what they are given.
fn per_second(quota: u64, period: u64) -> u64 {
    const PERCENT: u128 = 10_000;
    let exact = u128::from(quota) * 1_000_000 / u128::from(period);
    u64::try_from(exact.div_ceil(PERCENT) * PERCENT).unwrap_or(INFINITY)
}

fn cpu_quota(quota: Option<u64>, period: Option<u64>, out: &mut Vec<Property>) {
    if let Some(period) = period.filter(|n| *n > 0) {
        out.push(("CPUQuotaPeriodUSec".into(), Value::U64(period)));
    }
    let per_second = match (quota, period) {
        (None, None) => return,
        (None | Some(INFINITY), _) => INFINITY,
        (Some(quota), period) => per_second(quota, period.filter(|n| *n > 0).unwrap_or(PERIOD)),
    };
    out.push(("CPUQuotaPerSecUSec".into(), Value::U64(per_second)));
}

/// A list such as `0-3,7` as a bit mask, the lowest byte first.
fn mask(list: &str) -> Option<Value> {
    let ranges = crate::config::cpu_list(list).ok()?;
    let mut mask = vec![0u8; ranges.iter().map(|range| *range.end() as usize / 8 + 1).max()?];
    for n in ranges.into_iter().flatten() {
        mask[n as usize / 8] |= 1 << (n % 8);
    }
    Some(Value::bytes(mask))
}

/// The weight of which systemd makes this BFQ weight (1 to 1000 out of 1 to 10000, 100 stays 100).
fn from_bfq(weight: u64) -> u64 {
    if weight <= 100 { weight } else { 100 + weight.saturating_sub(100).saturating_mul(11) }
}

fn for_device(device: &str, value: Option<Value>) -> Option<Value> {
    let valid = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (major, minor) = device.split_once(':')?;
    let path = Value::Str(format!("/dev/block/{device}"));
    (valid(major) && valid(minor)).then_some(())?;
    Some(Value::Array("(st)".into(), vec![Value::Struct(vec![path, value?])]))
}

/// The device policy. systemd can only allow, and knows no rule for a minor number of every major one: what it is told
/// allows all that the policy does, and maybe more. On v2 our own program takes away what is too much, since all
/// programs have to agree, and systemd leaves it alone at a `daemon-reload`. On v1 our own lines do, but not after a
/// reload; there, what allows all with exceptions is told as "allow nothing", since a reload must not open what is
/// denied.
pub fn devices(devices: &Devices, v2: bool) -> Vec<Property> {
    let (policy, allowed) = match devices.allow {
        true if v2 || devices.allows_all() => ("auto", Vec::new()),
        true => ("strict", Vec::new()),
        false => ("strict", devices.rules.iter().filter(|rule| rule.allow).flat_map(allow).collect()),
    };
    let allowed = Value::Array("(ss)".into(), allowed);
    vec![("DevicePolicy".into(), Value::str(policy)), ("DeviceAllow".into(), allowed)]
}

fn allow(rule: &DeviceRule) -> impl Iterator<Item = Value> + use<> {
    let DeviceRule { major, minor, access, .. } = *rule;
    let kinds: &[&str] = match rule.kind {
        DeviceKind::Char => &["char"],
        DeviceKind::Block => &["block"],
        DeviceKind::Any => &["char", "block"],
    };
    kinds.iter().map(move |kind| {
        let device = match (major, minor) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (Some(major), None) => format!("{kind}-{major}"),
            (None, _) => format!("{kind}-*"),
        };
        Value::Struct(vec![Value::Str(device), Value::Str(Access(access.0).to_string())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::{Dialect, build};
    use oci_spec::runtime::LinuxResources;

    /// The properties of `resources` in v2's words and in v1's, as text.
    fn properties(resources: &str) -> (Vec<String>, Vec<String>) {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let plan = build(None, "id", Some(&resources), &[]).unwrap();
        let show = |dialect: &Dialect, v2| {
            let properties = dialect.writes().map(|writes| limits(writes, v2)).unwrap_or_default();
            properties.iter().map(|(name, value)| format!("{name} {}", show(value))).collect()
        };
        (show(&plan.v2, true), show(&plan.v1, false))
    }

    fn show(value: &Value) -> String {
        match value {
            Value::U64(u64::MAX) => "max".into(),
            Value::U64(n) => n.to_string(),
            Value::Byte(n) => format!("{n:08b}"),
            Value::Str(text) => text.clone(),
            Value::Array(_, list) | Value::Struct(list) => {
                list.iter().map(show).collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn memory_and_pids() {
        let (v2, v1) =
            properties(r#"{"memory":{"limit":100,"reservation":50,"swap":150},"pids":{"limit":0}}"#);
        assert_eq!(v2, ["TasksMax max", "MemorySwapMax 50", "MemoryMax 100", "MemoryLow 50"]);
        assert_eq!(v1, ["TasksMax max", "MemoryLimit 100"]);
        let (v2, v1) = properties(r#"{"memory":{"limit":-1},"pids":{"limit":-1}}"#);
        assert_eq!(v2, ["TasksMax max", "MemorySwapMax max", "MemoryMax max"]);
        assert_eq!(v1, ["TasksMax max", "MemoryLimit max"]);
    }

    #[test]
    fn cpu_is_rounded_up_to_whole_percents() {
        for (cpu, want_v2, want_v1) in [
            (
                r#"{"quota":50000,"period":100000}"#,
                &["CPUQuotaPeriodUSec 100000", "CPUQuotaPerSecUSec 500000"][..],
                None,
            ),
            (
                r#"{"quota":12345,"period":100000}"#,
                &["CPUQuotaPeriodUSec 100000", "CPUQuotaPerSecUSec 130000"],
                None,
            ),
            (
                r#"{"quota":50000}"#,
                &["CPUQuotaPeriodUSec 100000", "CPUQuotaPerSecUSec 500000"],
                Some(&["CPUQuotaPerSecUSec 500000"][..]),
            ),
            (r#"{"period":50000}"#, &["CPUQuotaPeriodUSec 50000", "CPUQuotaPerSecUSec max"], None),
            (
                r#"{"quota":-1}"#,
                &["CPUQuotaPeriodUSec 100000", "CPUQuotaPerSecUSec max"],
                Some(&["CPUQuotaPerSecUSec max"]),
            ),
            (r#"{"shares":1024}"#, &["CPUWeight 100"], Some(&["CPUShares 1024"])),
            (r#"{"shares":1024,"idle":1}"#, &["CPUWeight 0"], Some(&[])),
            (r#"{"shares":1024,"idle":0}"#, &["CPUWeight 100"], Some(&["CPUShares 1024"])),
            (
                r#"{"cpus":"0-1,9","mems":"0"}"#,
                &["AllowedCPUs 00000011 00000010", "AllowedMemoryNodes 00000001"],
                None,
            ),
        ] {
            let (v2, v1) = properties(&format!(r#"{{"cpu":{cpu}}}"#));
            assert_eq!(v2, want_v2, "{cpu}");
            assert_eq!(v1, want_v1.unwrap_or(want_v2), "{cpu}");
        }
    }

    #[test]
    fn a_quota_is_rounded_up_to_whole_percents_in_the_files_too() {
        for (cpu, v2, v1) in [
            (r#"{"quota":12345,"period":100000}"#, "13000 100000", "13000"),
            (r#"{"quota":50000,"period":900000}"#, "54000 900000", "54000"),
            (r#"{"quota":50000,"period":100000}"#, "50000 100000", "50000"),
            (r#"{"quota":12345}"#, "13000 100000", "13000"),
            (r#"{"quota":-1,"period":900000}"#, "max 900000", "-1"),
        ] {
            let resources = serde_json::from_str(&format!(r#"{{"cpu":{cpu}}}"#)).unwrap();
            let mut plan = build(None, "id", Some(&resources), &[]).unwrap();
            plan.round_as_systemd();
            let value = |dialect: &Dialect, file| {
                dialect.writes.iter().find(|w| w.file == file).map(|w| w.value.clone()).unwrap_or_default()
            };
            assert_eq!(
                (value(&plan.v2, "cpu.max").as_str(), value(&plan.v1, "cpu.cfs_quota_us").as_str()),
                (v2, v1)
            );
        }
    }

    #[test]
    fn block_devices() {
        let (v2, v1) = properties(
            r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":50}],
                "throttleReadBpsDevice":[{"major":8,"minor":16,"rate":1000}],
                "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]}}"#,
        );
        assert_eq!(
            v2,
            [
                "IOWeight 4500",
                "IODeviceWeight /dev/block/8:0 50",
                "IOReadBandwidthMax /dev/block/8:16 1000",
                "IOWriteIOPSMax /dev/block/8:16 max"
            ]
        );
        assert_eq!(v1, ["BlockIOWeight 500"]);
        for n in [1, 10, 99, 100, 101, 500, 1000] {
            // What systemd makes of it.
            let weight = from_bfq(n);
            let bfq = if weight <= 100 { weight } else { 100 + (weight - 100) * 900 / 9900 };
            assert_eq!(bfq, n);
        }
    }

    #[test]
    fn without_bfq_the_weight_is_the_one_in_the_file() {
        let resources = serde_json::from_str(r#"{"blockIO":{"weight":500}}"#).unwrap();
        let plan = build(None, "id", Some(&resources), &[]).unwrap();
        let write = &plan.v2.writes().unwrap()[0];
        let value = write.instead.as_ref().unwrap().1.parse().unwrap();
        assert_eq!(in_file(write), Some(("IOWeight".into(), Value::U64(value))));
    }

    #[test]
    fn unified_keys_win_and_unknown_ones_are_in_the_file_alone() {
        let (v2, v1) = properties(
            r#"{"memory":{"limit":100},"unified":{"memory.max":"max","memory.high":"7","cpu.max":"max 50000","cpu.idle":"1",
                "cpu.weight":"3","io.weight":"default 5\n8:0 6","io.max":"8:0 rbps=1 wbps=2 riops=max","pids.max":"x",
                "memory.oom.group":"1","hugetlb.2MB.max":"1","cpuset.cpus":"1"}}"#,
        );
        assert_eq!(
            v2,
            [
                "CPUWeight 0",
                "AllowedCPUs 00000010",
                "IOReadBandwidthMax /dev/block/8:0 1",
                "IOWriteBandwidthMax /dev/block/8:0 2",
                "IOReadIOPSMax /dev/block/8:0 max",
                "IOWeight 5",
                "IODeviceWeight /dev/block/8:0 6",
                "MemoryHigh 7",
                "MemoryMax max",
                "CPUQuotaPeriodUSec 50000",
                "CPUQuotaPerSecUSec max"
            ]
        );
        assert!(v1.is_empty());
    }

    #[test]
    fn what_systemd_allows_is_never_less_than_the_policy() {
        let policy = |json: &str, v2| {
            let given: Vec<oci_spec::runtime::LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
            let properties = devices(&Devices::new(Some(&given), &[], &mut Vec::new()), v2);
            properties.iter().map(|(name, value)| format!("{name} {}", show(value))).collect::<Vec<_>>()
        };
        let all = r#"[{"allow":false},{"allow":true,"access":"rwm"}]"#;
        assert_eq!(policy(all, true), ["DevicePolicy auto", "DeviceAllow "]);
        let except =
            r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"minor":0,"access":"w"}]"#;
        assert_eq!(policy(except, true), ["DevicePolicy auto", "DeviceAllow "]);
        assert_eq!(policy(except, false), ["DevicePolicy strict", "DeviceAllow "]);
        let some = r#"[{"allow":false},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"},
            {"allow":true,"type":"b","major":8,"access":"r"},{"allow":true,"type":"c","minor":5,"access":"r"},
            {"allow":false,"type":"b","major":8,"minor":1,"access":"r"},{"allow":true,"access":"m"}]"#;
        let [strict, list] = &policy(some, true)[..] else { panic!() };
        assert_eq!(strict, "DevicePolicy strict");
        let begin = "DeviceAllow /dev/char/10:229 rw block-8 r char-* r char-* m block-* m char-* m block-* m /dev/char/1:3 rwm";
        assert!(list.starts_with(begin), "{list}");
    }
}
