//! `update`: new limits for a container that is there.

use super::{load, seams, unsupported};
use crate::bail;
use crate::cli::{Global, UpdateOptions};
use crate::error::{Context, Result};
use crate::host::Host;
use crate::state::Status;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::Path;

/// Runs `update`.
pub fn run(global: &Global, options: &UpdateOptions) -> Result<i32> {
    let mut container = load(global, &options.id)?;
    if container.status(|| seams::is_frozen(&container))? == Status::Stopped {
        bail!(State, "container not running");
    }
    for (flag, given) in
        [("--l3-cache-schema", &options.l3_cache_schema), ("--mem-bw-schema", &options.mem_bw_schema)]
    {
        if given.as_ref().is_some_and(|schema| !schema.is_empty()) {
            match Host::here().resctrl() {
                true => return Err(unsupported(flag)),
                false => bail!(Unsupported, "{flag}: Intel RDT is not enabled: resctrl is not mounted"),
            }
        }
    }
    let resources = match options.resources.as_deref() {
        Some(path) => read(path)?,
        None => from_flags(options).to_string().into_bytes(),
    };
    seams::update(&mut container, &resources)?;
    Ok(0)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path).with_context(|| format!("read {}", path.display()));
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("read resources from stdin")?;
    Ok(bytes)
}

/// The flags as a `linux.resources`; what was not given is left out, as nothing changes it.
fn from_flags(options: &UpdateOptions) -> Value {
    fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Option<Value> {
        let given: Map<String, Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!given.is_empty()).then_some(Value::Object(given))
    }
    let all = object([
        (
            "memory",
            object([
                ("limit", options.memory.map(Value::from)),
                ("reservation", options.memory_reservation.map(Value::from)),
                ("swap", options.memory_swap.map(Value::from)),
            ]),
        ),
        (
            "cpu",
            object([
                ("shares", options.cpu_shares.map(Value::from)),
                ("quota", options.cpu_quota.map(Value::from)),
                ("burst", options.cpu_burst.map(Value::from)),
                ("period", options.cpu_period.map(Value::from)),
                ("realtimeRuntime", options.cpu_rt_runtime.map(Value::from)),
                ("realtimePeriod", options.cpu_rt_period.map(Value::from)),
                ("cpus", options.cpuset_cpus.clone().map(Value::from)),
                ("mems", options.cpuset_mems.clone().map(Value::from)),
                ("idle", options.cpu_idle.map(Value::from)),
            ]),
        ),
        ("blockIO", object([("weight", options.blkio_weight.map(Value::from))])),
        ("pids", object([("limit", options.pids_limit.map(Value::from))])),
    ]);
    all.unwrap_or_else(|| json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, Parsed, parse};

    fn resources(flags: &[&str]) -> Value {
        let line = ["tare", "update", "c1"].iter().chain(flags).map(Into::into);
        match parse(line) {
            Ok(Parsed::Run(_, Command::Update(options))) => from_flags(&options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_was_given() {
        assert_eq!(resources(&[]), json!({}));
        assert_eq!(resources(&["--pids-limit", "0"]), json!({"pids": {"limit": 0}}));
        assert_eq!(
            resources(&["--memory", "64m", "--memory-reservation", "1", "--memory-swap", "-1"]),
            json!({"memory": {"limit": 67108864, "reservation": 1, "swap": -1}})
        );
        let cpu = [
            "--cpu-share=1",
            "--cpu-quota=2",
            "--cpu-burst=3",
            "--cpu-period=4",
            "--cpu-rt-runtime=5",
            "--cpu-rt-period=6",
            "--cpuset-cpus=0-1",
            "--cpuset-mems=0",
            "--cpu-idle=1",
            "--blkio-weight=10",
            "--kernel-memory=1",
        ];
        assert_eq!(
            resources(&cpu),
            json!({
                "cpu": {"shares": 1, "quota": 2, "burst": 3, "period": 4, "realtimeRuntime": 5, "realtimePeriod": 6,
                    "cpus": "0-1", "mems": "0", "idle": 1},
                "blockIO": {"weight": 10},
            })
        );
    }
}
