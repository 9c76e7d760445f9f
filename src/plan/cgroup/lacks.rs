//! What cgroup v2 cannot express, as a table.
//!
//! config-linux.md ("Unified"): "If a controller is enabled on the cgroup v2 hierarchy but the configuration is provided
//! for the cgroup v1 equivalent controller, the runtime MAY attempt a conversion. If the conversion is not possible the
//! runtime MUST generate an error." crun does, runc leaves all of them out in silence.
//!
//! Engines write these fields by habit only with values that ask for nothing: `disableOOMKiller: false` and a swappiness
//! of -1 (Docker, nerdctl), zeros for all that was not given (runc's own `update`). Anything else a user has asked for:
//! where the host has cgroup v2, Docker itself drops `--memory-swappiness`, `--oom-kill-disable` and `--kernel-memory`,
//! and Podman `--cpu-rt-period` and `--cpu-rt-runtime`, with a warning; the CRI has no words for any of them.

use super::Lack;
use crate::error::{Error, Kind};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

/// One thing that v2 has no word for.
struct Row {
    /// The field in config.json.
    field: &'static str,
    /// The controller in v2, or the one of v1 where v2 has none.
    controller: &'static str,
    verdict: Verdict,
    /// What v2 has instead, or that it has nothing.
    why: &'static str,
    /// Whether the field asks for something.
    given: fn(&LinuxResources) -> bool,
}

enum Verdict {
    Error,
    Warning,
}
use Verdict::{Error as Refused, Warning};

const NOTHING: &str = "cgroup v2 has no such setting";
const NO_REALTIME: &str = "cgroup v2 divides no real-time scheduling";
const NO_LEAVES: &str = "cgroup v2 has no weight of a leaf";

const ROWS: [Row; 10] = [
    // "May be ignored by runtimes", says the specification's own Go type; kernels since 5.16 ignore it on v1, too.
    Row {
        field: "memory.kernel",
        controller: "memory",
        verdict: Warning,
        why: "cgroup v2 counts kernel memory against memory.limit, and has no limit for it alone",
        given: |r| memory(r, |m| m.kernel().is_some_and(|n| n > 0)),
    },
    Row {
        field: "memory.kernelTCP",
        controller: "memory",
        verdict: Refused,
        why: "cgroup v2 counts TCP buffers against memory.limit, and has no limit for them alone",
        given: |r| memory(r, |m| m.kernel_tcp().is_some_and(|n| n > 0)),
    },
    Row {
        field: "memory.swappiness",
        controller: "memory",
        verdict: Refused,
        why: NOTHING,
        // -1 in Go's unsigned type: not set.
        given: |r| memory(r, |m| m.swappiness().is_some_and(|n| n != u64::MAX)),
    },
    Row {
        field: "memory.disableOOMKiller",
        controller: "memory",
        verdict: Refused,
        why: NOTHING,
        given: |r| memory(r, |m| m.disable_oom_killer() == Some(true)),
    },
    Row {
        field: "memory.useHierarchy",
        controller: "memory",
        verdict: Refused,
        why: "in cgroup v2 a limit always holds for the cgroups below, too",
        given: |r| memory(r, |m| m.use_hierarchy() == Some(false)),
    },
    Row {
        field: "cpu.realtimePeriod",
        controller: "cpu",
        verdict: Refused,
        why: NO_REALTIME,
        given: |r| cpu(r, |c| c.realtime_period().is_some_and(|n| n != 0)),
    },
    Row {
        field: "cpu.realtimeRuntime",
        controller: "cpu",
        verdict: Refused,
        why: NO_REALTIME,
        // -1 is no limit, which is what v2 has.
        given: |r| cpu(r, |c| c.realtime_runtime().is_some_and(|n| n > 0)),
    },
    Row {
        field: "blockIO.leafWeight",
        controller: "io",
        verdict: Refused,
        why: NO_LEAVES,
        given: |r| io(r, |io| io.leaf_weight().is_some_and(|n| n != 0)),
    },
    Row {
        field: "blockIO.weightDevice.leafWeight",
        controller: "io",
        verdict: Refused,
        why: NO_LEAVES,
        given: |r| {
            let leaf = |io: &LinuxBlockIo| {
                io.weight_device().iter().flatten().any(|d| d.leaf_weight().is_some_and(|n| n != 0))
            };
            io(r, leaf)
        },
    },
    Row {
        field: "network",
        controller: "network",
        verdict: Refused,
        why: "cgroup v2 has neither classID nor priorities",
        given: |r| {
            r.network().as_ref().is_some_and(|network| {
                network.class_id().is_some_and(|n| n != 0)
                    || network.priorities().as_ref().is_some_and(|list| !list.is_empty())
            })
        },
    },
];

fn memory(resources: &LinuxResources, given: impl Fn(&LinuxMemory) -> bool) -> bool {
    resources.memory().as_ref().is_some_and(given)
}

fn cpu(resources: &LinuxResources, given: impl Fn(&LinuxCpu) -> bool) -> bool {
    resources.cpu().as_ref().is_some_and(given)
}

fn io(resources: &LinuxResources, given: impl Fn(&LinuxBlockIo) -> bool) -> bool {
    resources.block_io().as_ref().is_some_and(given)
}

/// What v2 cannot express of these resources.
pub(super) fn of_v2(resources: &LinuxResources) -> Vec<Lack> {
    let lack = |row: &Row| Lack {
        controller: row.controller,
        why: Error::new(Kind::Unsupported, row.why).context(format!("linux.resources.{}", row.field)),
        optional: matches!(row.verdict, Warning),
    };
    ROWS.iter().filter(|row| (row.given)(resources)).map(lack).collect()
}
