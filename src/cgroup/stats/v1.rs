//! Statistics of cgroup v1.

use super::{Blkio, BlkioEntry, Cpu, Cpuset, Hugetlb, Memory, MemoryEntry, number, pairs, text};
use crate::cgroup::dir::Dir;
use crate::config;
use crate::error::Result;

/// The kernel's USER_HZ, a part of its ABI: 100 on every architecture this runs on.
const NS_PER_TICK: u64 = 10_000_000;

pub(super) fn cpu(accounting: Option<&Dir>, quota: Option<&Dir>, cpu: &mut Cpu) -> Result<()> {
    if let Some(dir) = accounting {
        for (key, ticks) in pairs(&text(dir, "cpuacct.stat")?.unwrap_or_default()) {
            match key {
                "user" => cpu.usage.user = ticks * NS_PER_TICK,
                "system" => cpu.usage.kernel = ticks * NS_PER_TICK,
                _ => {}
            }
        }
        cpu.usage.total = number(dir, "cpuacct.usage")?.unwrap_or(0);
        let each = text(dir, "cpuacct.usage_percpu")?.unwrap_or_default();
        cpu.usage.percpu = each.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        // Since Linux 4.12: a heading, then "CPU user system".
        for line in text(dir, "cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
            let mut fields = line.split(' ').skip(1).map(|n| n.parse().unwrap_or(0));
            if let (Some(user), Some(kernel)) = (fields.next(), fields.next()) {
                cpu.usage.percpu_user.push(user);
                cpu.usage.percpu_kernel.push(kernel);
            }
        }
    }
    if let Some(dir) = quota {
        for (key, n) in pairs(&text(dir, "cpu.stat")?.unwrap_or_default()) {
            match key {
                "nr_periods" => cpu.throttling.periods = n,
                "nr_throttled" => cpu.throttling.throttled_periods = n,
                // Nanoseconds already.
                "throttled_time" => cpu.throttling.throttled_time = n,
                _ => {}
            }
        }
    }
    Ok(())
}

pub(super) fn cpuset(dir: &Dir) -> Result<Cpuset> {
    let flag = |file: &str| Ok(number(dir, &format!("cpuset.{file}"))?.unwrap_or(0));
    let list = |file: &str| -> Result<Vec<u32>> {
        let text = text(dir, &format!("cpuset.{file}"))?.unwrap_or_default();
        Ok(config::cpu_list(text.trim()).unwrap_or_default().into_iter().flatten().collect())
    };
    let level = text(dir, "cpuset.sched_relax_domain_level")?;
    Ok(Cpuset {
        cpus: list("cpus")?,
        cpu_exclusive: flag("cpu_exclusive")?,
        mems: list("mems")?,
        mem_hardwall: flag("mem_hardwall")?,
        mem_exclusive: flag("mem_exclusive")?,
        memory_migrate: flag("memory_migrate")?,
        memory_spread_page: flag("memory_spread_page")?,
        memory_spread_slab: flag("memory_spread_slab")?,
        memory_pressure: flag("memory_pressure")?,
        sched_load_balance: flag("sched_load_balance")?,
        sched_relax_domain_level: level.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    })
}

pub(super) fn memory(dir: &Dir, memory: &mut Memory) -> Result<()> {
    let Some(stat) = text(dir, "memory.stat")? else { return Ok(()) };
    memory.raw = pairs(&stat).map(|(key, n)| (key.to_owned(), n)).collect();
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = entry(dir, "memory")?;
    memory.swap = entry(dir, "memory.memsw")?;
    memory.kernel = entry(dir, "memory.kmem")?;
    memory.kernel_tcp = entry(dir, "memory.kmem.tcp")?;
    Ok(())
}

/// Swap and kernel memory are counted only if the kernel is built, and booted, to do so.
fn entry(dir: &Dir, name: &str) -> Result<MemoryEntry> {
    let get = |what: &str| Ok(number(dir, &format!("{name}.{what}"))?.unwrap_or(0));
    Ok(MemoryEntry {
        limit: get("limit_in_bytes")?,
        usage: get("usage_in_bytes")?,
        max: get("max_usage_in_bytes")?,
        failcnt: get("failcnt")?,
    })
}

type Field = fn(&mut Blkio) -> &mut Vec<BlkioEntry>;
const FIELDS: [(&str, Field); 8] = [
    ("io_service_bytes", |b| &mut b.io_service_bytes_recursive),
    ("io_serviced", |b| &mut b.io_serviced_recursive),
    ("sectors", |b| &mut b.sectors_recursive),
    ("io_service_time", |b| &mut b.io_service_time_recursive),
    ("io_wait_time", |b| &mut b.io_wait_time_recursive),
    ("io_merged", |b| &mut b.io_merged_recursive),
    ("io_queued", |b| &mut b.io_queued_recursive),
    ("time", |b| &mut b.io_time_recursive),
];

/// Bytes and operations as the throttling layer counts them, which sees all I/O. runc asks the I/O scheduler first, but
/// bfq (and before Linux 5.0 cfq) has zeros for every device that has another scheduler or none; Linux 5.18 to 6.4 have
/// them in the throttling layer for what has no limits. So the first that has counted anything. The other fields only a
/// scheduler has.
pub(super) fn blkio(dir: &Dir, blkio: &mut Blkio) -> Result<()> {
    for (name, field) in FIELDS {
        // An old kernel's throttling layer has no recursive files: it counts without the cgroups below.
        let files = [
            format!("blkio.throttle.{name}_recursive"),
            format!("blkio.bfq.{name}_recursive"),
            format!("blkio.{name}_recursive"),
            format!("blkio.throttle.{name}"),
        ];
        for file in files {
            let entries = parse_blkio(&text(dir, &file)?.unwrap_or_default());
            let counted = entries.iter().any(|entry| entry.value > 0);
            if counted || field(blkio).is_empty() {
                *field(blkio) = entries;
            }
            if counted {
                break;
            }
        }
    }
    Ok(())
}

/// Lines such as `8:0 Read 4096` or `8:0 4096`; the last one is a sum.
pub(super) fn parse_blkio(text: &str) -> Vec<BlkioEntry> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let (major, minor) = fields.next()?.split_once(':')?;
        let (second, third) = (fields.next()?, fields.next());
        let (op, value) = third.map_or(("", second), |third| (second, third));
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(parse).collect()
}

pub(super) fn hugetlb(dir: &Dir, size: &str) -> Result<Option<Hugetlb>> {
    let get = |what: &str| number(dir, &format!("hugetlb.{size}.{what}"));
    // What is reserved is what the limit of runc and tare refuses first; counted apart since Linux 5.7.
    let prefix = if get("rsvd.usage_in_bytes")?.is_some() { "rsvd." } else { "" };
    let Some(usage) = get(&format!("{prefix}usage_in_bytes"))? else { return Ok(None) };
    let max = get(&format!("{prefix}max_usage_in_bytes"))?.unwrap_or(0);
    let failcnt = get(&format!("{prefix}failcnt"))?.unwrap_or(0);
    Ok(Some(Hugetlb { usage, max, failcnt }))
}
