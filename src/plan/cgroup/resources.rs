//! `linux.resources` as the list of files to write, once for cgroup v2 and once for v1.
//!
//! Follows runc 1.5: 0 means "not set" for limits that cannot be 0, and memory and swap, one sum in the specification,
//! are two limits in v2. What v2 has no word for is in [`super::lacks`].

use super::{Dialect, Lack, MemoryFloor, Tolerate, Write, lacks, wrong};
use crate::error::{Error, Kind, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};
use std::borrow::Cow;

/// All limits but the devices'.
#[derive(Default)]
pub(super) struct Limits {
    pub v2: Dialect,
    pub v1: Dialect,
    pub memory_floor: Option<MemoryFloor>,
}

/// Both dialects being written.
struct Out<'a> {
    v2: Vec<Write>,
    v1: Vec<Write>,
    v2_lacks: Vec<Lack>,
    v1_lacks: Vec<Lack>,
    problems: &'a mut Vec<Error>,
}

type Text = Cow<'static, str>;

fn write(
    controller: &'static str,
    file: impl Into<Text>,
    value: impl ToString,
    field: impl Into<Text>,
) -> Write {
    Write {
        controller: controller.into(),
        file: file.into(),
        value: value.to_string(),
        field: field.into(),
        tolerate: Tolerate::Nothing,
        again: false,
        instead: None,
    }
}

impl Write {
    fn again(mut self) -> Write {
        self.again = true;
        self
    }
    fn tolerate(mut self, what: Tolerate) -> Write {
        self.tolerate = what;
        self
    }
    fn or(mut self, file: &'static str, value: impl ToString) -> Write {
        self.instead = Some((file, value.to_string()));
        self
    }
}

impl Limits {
    pub(super) fn new(resources: &LinuxResources, problems: &mut Vec<Error>) -> Limits {
        let v2_lacks = lacks::of_v2(resources);
        let mut out = Out { v2: Vec::new(), v1: Vec::new(), v2_lacks, v1_lacks: Vec::new(), problems };
        if let Some(pids) = resources.pids() {
            out.pids(pids.limit());
        }
        let memory_floor = resources.memory().as_ref().and_then(|memory| out.memory(memory));
        if let Some(io) = resources.block_io() {
            out.block_io(io);
        }
        if let Some(cpu) = resources.cpu() {
            out.cpu(cpu);
        }
        out.hugepages(resources);
        out.rdma(resources);
        out.network(resources);
        out.unified(resources);
        Limits {
            v2: Dialect { writes: out.v2, lacks: out.v2_lacks },
            v1: Dialect { writes: out.v1, lacks: out.v1_lacks },
            memory_floor,
        }
    }
}

impl Out<'_> {
    fn both(&mut self, write: Write) {
        self.v1.push(write.clone());
        self.v2.push(write);
    }

    fn problem(&mut self, field: impl Into<Text>, what: impl Into<Text>) {
        self.problems.push(wrong(field, what));
    }

    fn refuse_v1(&mut self, controller: &'static str, field: &'static str, what: &'static str) {
        let why = Error::new(Kind::Unsupported, what).context(field);
        self.v1_lacks.push(Lack { controller, why, optional: false });
    }

    fn refuse_v2(&mut self, controller: &'static str, field: &'static str, what: &'static str) {
        let why = Error::new(Kind::Config, what).context(field);
        self.v2_lacks.push(Lack { controller, why, optional: false });
    }

    /// 0 is no limit, as for runc up to 1.3 and for crun, whatever newer runtimes read in it: Podman 3.4 to 5.4.1 write it
    /// for `--pids-limit=-1` and CRI-O before 1.29 for no limit at all. Nobody writes it for a container that cannot fork.
    fn pids(&mut self, limit: i64) {
        let value = match limit {
            n if n <= 0 => "max".to_owned(),
            n => n.to_string(),
        };
        self.both(write("pids", "pids.max", value, "linux.resources.pids.limit"));
    }

    fn memory(&mut self, memory: &LinuxMemory) -> Option<MemoryFloor> {
        const LIMIT: &str = "linux.resources.memory.limit";
        const SWAP: &str = "linux.resources.memory.swap";
        const RESERVATION: &str = "linux.resources.memory.reservation";
        let limit = self.bytes(memory.limit(), LIMIT);
        let swap = self.bytes(memory.swap(), SWAP);
        let reservation = self.bytes(memory.reservation(), RESERVATION);

        match v2_swap(limit, swap) {
            // Without swap there is no such file, and nothing to limit.
            Ok(Some(n @ (0 | -1))) => {
                let write = write("memory", "memory.swap.max", v2_number(n), SWAP);
                self.v2.push(write.tolerate(Tolerate::Missing));
            }
            Ok(Some(n)) => self.v2.push(write("memory", "memory.swap.max", v2_number(n), SWAP)),
            Ok(None) => {}
            Err(why) => self.refuse_v2("memory", SWAP, why),
        }
        // The v1 kernel would say no more than "invalid argument".
        if let (Some(limit), Some(sum @ 1..)) = (limit, swap)
            && sum < limit
        {
            self.refuse_v1("memory", SWAP, SUM_TOO_SMALL);
        }
        if let Some(n) = limit {
            self.v2.push(write("memory", "memory.max", v2_number(n), LIMIT));
            self.v1.push(write("memory", "memory.limit_in_bytes", n, LIMIT).again());
        }
        if let Some(n) = swap {
            self.v1.push(write("memory", "memory.memsw.limit_in_bytes", n, SWAP).again());
        } else if limit == Some(-1) {
            // "Unlimited memory" must not be held back by a swap limit of before.
            let write = write("memory", "memory.memsw.limit_in_bytes", -1, SWAP).again();
            self.v1.push(write.tolerate(Tolerate::Missing));
        }
        if let Some(n) = reservation {
            self.v2.push(write("memory", "memory.low", v2_number(n), RESERVATION));
            self.v1.push(write("memory", "memory.soft_limit_in_bytes", n, RESERVATION));
        }
        self.memory_v1(memory);

        let positive = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
        let floor = MemoryFloor { limit: positive(limit), swap: positive(swap) };
        (memory.check_before_update() == Some(true) && (floor.limit.is_some() || floor.swap.is_some()))
            .then_some(floor)
    }

    /// What only the v1 controller has.
    fn memory_v1(&mut self, memory: &LinuxMemory) {
        // Kernel memory limits are gone since Linux 5.16 and were broken before.
        for (value, file, field) in [
            (memory.kernel(), "memory.kmem.limit_in_bytes", "linux.resources.memory.kernel"),
            (memory.kernel_tcp(), "memory.kmem.tcp.limit_in_bytes", "linux.resources.memory.kernelTCP"),
        ] {
            if let Some(n) = value.filter(|n| *n != 0) {
                self.v1.push(write("memory", file, n, field).tolerate(Tolerate::Anything));
            }
        }
        if let Some(hierarchy) = memory.use_hierarchy() {
            let field = "linux.resources.memory.useHierarchy";
            let write = write("memory", "memory.use_hierarchy", u8::from(hierarchy), field);
            // A kernel without the file always counts that way.
            self.v1.push(if hierarchy { write.tolerate(Tolerate::Missing) } else { write });
        }
        if memory.disable_oom_killer() == Some(true) {
            let field = "linux.resources.memory.disableOOMKiller";
            self.v1.push(write("memory", "memory.oom_control", 1, field));
        }
        let field = "linux.resources.memory.swappiness";
        match memory.swappiness() {
            // -1 in Go's unsigned type: not set.
            None | Some(u64::MAX) => {}
            Some(n @ 0..=100) => self.v1.push(write("memory", "memory.swappiness", n, field)),
            Some(n) => self.problem(field, format!("{n} is not between 0 and 100")),
        }
    }

    /// An amount of memory: `None` when absent or 0, -1 for "no limit".
    fn bytes(&mut self, value: Option<i64>, field: &'static str) -> Option<i64> {
        let n = value.filter(|n| *n != 0)?;
        if n < -1 {
            self.problem(field, format!("{n} is not an amount of bytes"));
            return None;
        }
        Some(n)
    }

    fn cpu(&mut self, cpu: &LinuxCpu) {
        const SHARES: &str = "linux.resources.cpu.shares";
        const QUOTA: &str = "linux.resources.cpu.quota";
        const PERIOD: &str = "linux.resources.cpu.period";
        const BURST: &str = "linux.resources.cpu.burst";
        let quota = cpu.quota().filter(|n| *n != 0);
        let period = cpu.period().filter(|n| *n != 0);
        if let Some(idle) = cpu.idle() {
            self.both(write("cpu", "cpu.idle", idle, "linux.resources.cpu.idle"));
        }
        // The kernel refuses a weight for an idle group, whose weight is the least there is.
        if let Some(shares) = cpu.shares().filter(|n| *n != 0 && cpu.idle() != Some(1)) {
            self.v2.push(write("cpu", "cpu.weight", cpu_weight(shares), SHARES));
            // The v1 kernel would silently take the nearest value it allows.
            if shares < 2 {
                self.refuse_v1("cpu", SHARES, "the minimum allowed cpu-shares is 2");
            } else if shares > 262_144 {
                self.refuse_v1("cpu", SHARES, "the maximum allowed cpu-shares is 262144");
            }
            self.v1.push(write("cpu", "cpu.shares", shares, SHARES));
        }
        if quota.is_some() || period.is_some() {
            let max = match quota {
                Some(n) if n > 0 => n.to_string(),
                _ => "max".to_owned(),
            };
            let field = if quota.is_some() { QUOTA } else { PERIOD };
            let value = format!("{max} {}", period.unwrap_or(100_000));
            self.v2.push(write("cpu", "cpu.max", value, field).again());
        }
        // Quota over period must fit into the parent's at every moment, and burst into the quota.
        if let Some(n) = period {
            self.v1.push(write("cpu", "cpu.cfs_period_us", n, PERIOD).again());
        }
        if let Some(n) = quota {
            self.v1.push(write("cpu", "cpu.cfs_quota_us", n.max(-1), QUOTA).again());
        }
        if let Some(n) = cpu.burst() {
            self.v2.push(write("cpu", "cpu.max.burst", n, BURST).again());
            self.v1.push(write("cpu", "cpu.cfs_burst_us", n, BURST).again());
        }
        if let Some(n) = cpu.realtime_period().filter(|n| *n != 0) {
            let field = "linux.resources.cpu.realtimePeriod";
            self.v1.push(write("cpu", "cpu.rt_period_us", n, field).again());
        }
        if let Some(n) = cpu.realtime_runtime().filter(|n| *n != 0) {
            let field = "linux.resources.cpu.realtimeRuntime";
            self.v1.push(write("cpu", "cpu.rt_runtime_us", n, field).again());
        }
        for (value, file, field) in [
            (cpu.cpus(), "cpuset.cpus", "linux.resources.cpu.cpus"),
            (cpu.mems(), "cpuset.mems", "linux.resources.cpu.mems"),
        ] {
            if let Some(list) = value.as_ref().filter(|list| !list.is_empty()) {
                self.both(write("cpuset", file, list, field));
            }
        }
    }

    fn block_io(&mut self, io: &LinuxBlockIo) {
        const WEIGHT: &str = "linux.resources.blockIO.weight";
        const LEAF: &str = "linux.resources.blockIO.leafWeight";
        if let Some(n) = self.weight(io.weight(), WEIGHT) {
            self.v2.push(write("io", "io.bfq.weight", n, WEIGHT).or("io.weight", io_weight(n)));
            self.v1.push(write("blkio", "blkio.weight", n, WEIGHT).or("blkio.bfq.weight", n));
        }
        if let Some(n) = self.weight(io.leaf_weight(), LEAF) {
            self.v1.push(write("blkio", "blkio.leaf_weight", n, LEAF));
        }
        for (i, device) in io.weight_device().iter().flatten().enumerate() {
            let id = format!("{}:{}", device.major(), device.minor());
            let field = format!("linux.resources.blockIO.weightDevice[{i}].weight");
            if let Some(n) = self.weight(device.weight(), field.clone()) {
                let value = format!("{id} {n}");
                let linear = format!("{id} {}", io_weight(n));
                self.v2.push(write("io", "io.bfq.weight", &value, field.clone()).or("io.weight", linear));
                let write = write("blkio", "blkio.weight_device", &value, field);
                self.v1.push(write.or("blkio.bfq.weight_device", value));
            }
            let field = format!("linux.resources.blockIO.weightDevice[{i}].leafWeight");
            if let Some(n) = self.weight(device.leaf_weight(), field.clone()) {
                self.v1.push(write("blkio", "blkio.leaf_weight_device", format!("{id} {n}"), field));
            }
        }
        self.throttle(io.throttle_read_bps_device(), "throttleReadBpsDevice", "rbps", "read_bps");
        self.throttle(io.throttle_write_bps_device(), "throttleWriteBpsDevice", "wbps", "write_bps");
        self.throttle(io.throttle_read_iops_device(), "throttleReadIOPSDevice", "riops", "read_iops");
        self.throttle(io.throttle_write_iops_device(), "throttleWriteIOPSDevice", "wiops", "write_iops");
    }

    fn throttle(&mut self, list: &Option<Vec<LinuxThrottleDevice>>, name: &str, v2: &str, v1: &str) {
        for (i, device) in list.iter().flatten().enumerate() {
            let id = format!("{}:{}", device.major(), device.minor());
            let field = format!("linux.resources.blockIO.{name}[{i}]");
            // v1 takes 0 for "no limit"; v2 refuses it.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            self.v2.push(write("io", "io.max", format!("{id} {v2}={rate}"), field.clone()));
            let file = format!("blkio.throttle.{v1}_device");
            self.v1.push(write("blkio", file, format!("{id} {}", device.rate()), field));
        }
    }

    /// 0 is "not set"; the specification allows 10 to 1000.
    fn weight(&mut self, weight: Option<u16>, field: impl Into<Text>) -> Option<u16> {
        match weight? {
            0 => None,
            n @ 10..=1000 => Some(n),
            n => {
                self.problem(field, format!("{n} is not between 10 and 1000"));
                None
            }
        }
    }

    fn hugepages(&mut self, resources: &LinuxResources) {
        for (i, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
            let field = format!("linux.resources.hugepageLimits[{i}]");
            let size = limit.page_size();
            // It becomes part of a file name (runc before 1.1.10 could be made to write anywhere).
            if !is_page_size(size) {
                self.problem(format!("{field}.pageSize"), format!("{size:?} is not a page size like 2MB"));
                continue;
            }
            if limit.limit() < 0 {
                self.problem(
                    format!("{field}.limit"),
                    format!("{} is not an amount of bytes", limit.limit()),
                );
                continue;
            }
            let n = limit.limit();
            self.v2.push(write("hugetlb", format!("hugetlb.{size}.max"), n, field.clone()));
            self.v1.push(write("hugetlb", format!("hugetlb.{size}.limit_in_bytes"), n, field.clone()));
            // Reservations have limits of their own since Linux 5.7; without them faults kill with SIGBUS.
            for (list, file) in [(&mut self.v2, "max"), (&mut self.v1, "limit_in_bytes")] {
                let write = write("hugetlb", format!("hugetlb.{size}.rsvd.{file}"), n, field.clone());
                list.push(write.tolerate(Tolerate::Missing));
            }
        }
    }

    fn rdma(&mut self, resources: &LinuxResources) {
        let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
        devices.sort_by_key(|(name, _)| *name);
        for (name, limit) in devices {
            let mut value = name.clone();
            for (key, n) in [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())] {
                if let Some(n) = n {
                    value.push_str(&format!(" {key}={n}"));
                }
            }
            self.both(write("rdma", "rdma.max", value, format!("linux.resources.rdma.{name}")));
        }
    }

    fn network(&mut self, resources: &LinuxResources) {
        let Some(network) = resources.network() else { return };
        if let Some(n) = network.class_id().filter(|n| *n != 0) {
            self.v1.push(write("net_cls", "net_cls.classid", n, "linux.resources.network.classID"));
        }
        for (i, priority) in network.priorities().iter().flatten().enumerate() {
            let value = format!("{} {}", priority.name(), priority.priority());
            let field = format!("linux.resources.network.priorities[{i}]");
            self.v1.push(write("net_prio", "net_prio.ifpriomap", value, field));
        }
    }

    /// `unified` is said in v2's own words and wins over the fields that mean the same.
    fn unified(&mut self, resources: &LinuxResources) {
        const FIELD: &str = "linux.resources.unified";
        let mut keys: Vec<_> = resources.unified().iter().flatten().collect();
        keys.sort_by_key(|(key, _)| *key);
        if !keys.is_empty() {
            self.refuse_v1("cgroup", FIELD, "cannot be used with cgroup v1");
        }
        for (key, value) in keys {
            if key.contains('/') {
                self.problem(FIELD, format!("{key:?} must be a file name (no slashes)"));
                continue;
            }
            let Some((controller, _)) =
                key.split_once('.').filter(|(c, rest)| !c.is_empty() && !rest.is_empty())
            else {
                self.problem(FIELD, format!("{key:?} must be in the form CONTROLLER.PARAMETER"));
                continue;
            };
            self.v2.retain(|write| write.file != key.as_str());
            for line in value.lines() {
                let mut write = write("", key.clone(), line, format!("{FIELD}.{key}"));
                write.controller = controller.to_owned().into();
                self.v2.push(write.again());
            }
        }
    }
}

const SUM_TOO_SMALL: &str = "memory+swap limit should be >= memory limit";

/// The v2 swap limit from memory and memory-plus-swap (0 and absent are `None`, -1 is "no limit").
fn v2_swap(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>, &'static str> {
    match (limit, swap) {
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (Some(-1), Some(swap)) => Ok(Some(swap)),
        (None, Some(_)) => Err("unable to set swap limit without memory limit"),
        (Some(limit), Some(swap)) if swap < limit => Err(SUM_TOO_SMALL),
        (Some(limit), Some(swap)) => Ok(Some(swap - limit)),
    }
}

fn v2_number(n: i64) -> String {
    if n < 0 { "max".to_owned() } else { n.to_string() }
}

/// `64KB`, `2MB`, `1GB`: what the kernel calls its huge pages.
fn is_page_size(text: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or("");
    !number.is_empty() && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit())
}

/// CPU shares (v1, 2 to 262144, default 1024) as a weight (v2, 1 to 10000, default 100): the curve runc
/// and crun agreed on in 2025, which maps both ends and both defaults onto each other.
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// A block I/O weight (10 to 1000) as an `io.weight` (1 to 10000), linear.
pub fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests;
