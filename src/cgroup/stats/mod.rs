//! What a container uses: read from the control files of whichever hierarchy has the controller.
//!
//! A file that is not there leaves its numbers at zero: which controllers and which of their files there are depends
//! on the kernel's version and configuration.

mod shape;
mod v1;
mod v2;

pub use shape::{
    Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Pressure, PressureTimes,
    Stats, Throttling,
};

use super::Manager;
use super::dir::Dir;
use crate::error::{Context, Errno, Error, Kind, Result};

impl Manager {
    /// What the container uses now.
    ///
    /// # Errors
    /// The container has no cgroup ([`Kind::Unsupported`]), or none any more ([`Kind::State`]); a file cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let Some(first) = self.dirs().next() else {
            return Err(Error::new(Kind::Unsupported, "the container has no cgroup to count in"));
        };
        let mut stats = Stats::default();
        if let Some(dir) = self.unified() {
            v2::pressure(dir, &mut stats)?;
        }
        // In a hybrid a controller is in v1 or in v2; in v2 its files are missing then.
        match (self.v1("cpuacct").or(self.v1("cpu")), self.unified()) {
            (Some(_), _) => v1::cpu(self.v1("cpuacct"), self.v1("cpu"), &mut stats.cpu)?,
            (None, Some(dir)) => v2::cpu(dir, &mut stats.cpu)?,
            (None, None) => {}
        }
        if let Some(dir) = self.v1("cpuset") {
            stats.cpuset = v1::cpuset(dir)?;
        }
        match (self.v1("memory"), self.unified()) {
            (Some(dir), _) => v1::memory(dir, &mut stats.memory)?,
            (None, Some(dir)) => v2::memory(dir, &mut stats.memory)?,
            (None, None) => {}
        }
        stats.pids = match self.v1("pids").or(self.unified()) {
            Some(dir) => pids(dir)?,
            None => Pids::default(),
        };
        if stats.pids.current == 0 {
            // Without the controller they can still be counted.
            stats.pids.current = self.pids()?.len() as u64;
        }
        match (self.v1("blkio"), self.unified()) {
            (Some(dir), _) => v1::blkio(dir, &mut stats.blkio)?,
            (None, Some(dir)) => v2::blkio(dir, &mut stats.blkio)?,
            (None, None) => {}
        }
        for size in huge_page_sizes() {
            let hugetlb = match (self.v1("hugetlb"), self.unified()) {
                (Some(dir), _) => v1::hugetlb(dir, &size)?,
                (None, Some(dir)) => v2::hugetlb(dir, &size)?,
                (None, None) => None,
            };
            stats.hugetlb.extend(hugetlb.map(|hugetlb| (size, hugetlb)));
        }
        // Missing files were zeros; a missing cgroup must not look like an idle container.
        match first.exists() {
            true => Ok(stats),
            false => Err(Error::new(Kind::State, "the container's cgroup is gone")),
        }
    }
}

/// The content of a file; `None` if there is no such file.
fn text(dir: &Dir, file: &str) -> Result<Option<String>> {
    match dir.read(file) {
        Ok(text) => Ok(Some(text)),
        // EOPNOTSUPP: pressure files of a kernel booted with psi=0.
        Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("read {}/{file}", dir.path)),
    }
}

/// The number that is all of a file; `max` is 2^64-1.
fn number(dir: &Dir, file: &str) -> Result<Option<u64>> {
    Ok(text(dir, file)?.and_then(|text| match text.trim() {
        "max" => Some(u64::MAX),
        // v1 counters can be negative for a moment.
        text => text.parse().ok().or_else(|| text.parse::<i64>().ok().map(|_| 0)),
    }))
}

/// The lines `key value` of a file.
fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// Both dialects have the same files.
fn pids(dir: &Dir) -> Result<Pids> {
    let current = number(dir, "pids.current")?.unwrap_or(0);
    let limit = number(dir, "pids.max")?.filter(|limit| *limit != u64::MAX).unwrap_or(0);
    Ok(Pids { current, limit })
}

/// The sizes that the kernel has, in the words of its hugetlb controller: `hugepages-2048kB` → `2MB`.
fn huge_page_sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    entries.filter_map(|entry| size_name(entry.file_name().to_str()?)).collect()
}

fn size_name(directory: &str) -> Option<String> {
    let kib: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kib {
        0..1024 => format!("{kib}KB"),
        1024..1_048_576 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    })
}

#[cfg(test)]
mod tests;
