//! Statistics of cgroup v2.

use super::{
    Blkio, BlkioEntry, Cpu, Hugetlb, Memory, MemoryEntry, Pressure, PressureTimes, Stats, number, pairs, text,
};
use crate::cgroup::dir::Dir;
use crate::error::Result;

/// The kernel counts in µs where runc, which began with v1, counts in ns.
const NS_PER_US: u64 = 1000;

/// `cpu.stat` is there without the controller, too, then without throttling.
pub(super) fn cpu(dir: &Dir, cpu: &mut Cpu) -> Result<()> {
    for (key, n) in pairs(&text(dir, "cpu.stat")?.unwrap_or_default()) {
        match key {
            "usage_usec" => cpu.usage.total = n * NS_PER_US,
            "user_usec" => cpu.usage.user = n * NS_PER_US,
            "system_usec" => cpu.usage.kernel = n * NS_PER_US,
            "nr_periods" => cpu.throttling.periods = n,
            "nr_throttled" => cpu.throttling.throttled_periods = n,
            "throttled_usec" => cpu.throttling.throttled_time = n * NS_PER_US,
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn memory(dir: &Dir, memory: &mut Memory) -> Result<()> {
    let Some(stat) = text(dir, "memory.stat")? else { return Ok(()) };
    memory.raw = pairs(&stat).map(|(key, n)| (key.to_owned(), n)).collect();
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.usage = entry(dir, "memory")?;
    // The specification's "swap" is memory and swap together, whose greatest sum the kernel does not keep.
    let swap = entry(dir, "memory.swap")?;
    memory.swap = MemoryEntry {
        limit: swap.limit.saturating_add(memory.usage.limit),
        usage: swap.usage + memory.usage.usage,
        ..MemoryEntry::default()
    };
    Ok(())
}

/// `peak` is there since Linux 5.19, that of swap since 6.5.
fn entry(dir: &Dir, name: &str) -> Result<MemoryEntry> {
    let get = |what: &str| Ok(number(dir, &format!("{name}.{what}"))?.unwrap_or(0));
    Ok(MemoryEntry { limit: get("max")?, usage: get("current")?, max: get("peak")?, failcnt: 0 })
}

pub(super) fn blkio(dir: &Dir, blkio: &mut Blkio) -> Result<()> {
    io_stat(&text(dir, "io.stat")?.unwrap_or_default(), blkio);
    Ok(())
}

/// Lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`; a device without I/O may have no pairs.
pub(super) fn io_stat(text: &str, blkio: &mut Blkio) {
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
}

pub(super) fn hugetlb(dir: &Dir, size: &str) -> Result<Option<Hugetlb>> {
    // What is reserved is what the limit of runc and tare refuses first.
    let usage = match number(dir, &format!("hugetlb.{size}.rsvd.current"))? {
        Some(usage) => Some(usage),
        None => number(dir, &format!("hugetlb.{size}.current"))?,
    };
    let Some(usage) = usage else { return Ok(None) };
    let events = text(dir, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
    let failcnt = pairs(&events).find(|(key, _)| *key == "max").map_or(0, |(_, n)| n);
    Ok(Some(Hugetlb { usage, max: 0, failcnt }))
}

/// Pressure stall information: in every v2 cgroup, whatever controllers it has, unless the kernel has none.
pub(super) fn pressure(dir: &Dir, stats: &mut Stats) -> Result<()> {
    for (file, to) in [
        ("cpu.pressure", &mut stats.cpu.psi),
        ("memory.pressure", &mut stats.memory.psi),
        ("io.pressure", &mut stats.blkio.psi),
    ] {
        *to = text(dir, file)?.map(|text| parse_pressure(&text));
    }
    Ok(())
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with `full`.
pub(super) fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let times: &mut PressureTimes = match fields.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            match key {
                "avg10" => times.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => times.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => times.avg300 = value.parse().unwrap_or(0.0),
                "total" => times.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    pressure
}
