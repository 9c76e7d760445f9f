//! `update`: limits that hang together are written together, so what is not given is looked up in what holds.
//!
//! v2 has swap alone where the specification has memory and swap as one sum, and quota and period in one file; the
//! weight of an idle group is the least there is and cannot be set. What holds is not read back from the kernel:
//! there a swap limit of `unified`, which is no part of a sum, would look like any other.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

/// What to write for `change` in a container for which `holds` holds. Devices are never changed: who has given a
/// container a device since (a GPU's toolkit does) has done so behind our back, and rules cannot be merged.
pub fn complete(holds: &LinuxResources, change: &LinuxResources) -> LinuxResources {
    let mut complete = change.clone();
    complete.set_devices(None);
    // As every 0 of an update: not given. runc up to 1.3 and crun leave the limit alone, too.
    if complete.pids().as_ref().is_some_and(|pids| pids.limit() == 0) {
        complete.set_pids(None);
    }
    if let (Some(old), Some(new)) = (holds.memory(), complete.memory_mut()) {
        complete_memory(old, new);
    }
    if let (Some(old), Some(new)) = (holds.cpu(), complete.cpu_mut()) {
        complete_cpu(old, new);
    }
    complete
}

fn complete_memory(old: &LinuxMemory, new: &mut LinuxMemory) {
    match (given(new.limit()), given(new.swap())) {
        (None, Some(swap)) if swap != -1 => {
            new.set_limit(old.limit());
        }
        // "Unlimited memory" is unlimited swap as well.
        (Some(limit), None) if limit != -1 => {
            new.set_swap(old.swap());
        }
        _ => {}
    }
    if new.check_before_update().is_none() {
        new.set_check_before_update(old.check_before_update());
    }
}

fn complete_cpu(old: &LinuxCpu, new: &mut LinuxCpu) {
    match (given(new.quota()), given(new.period())) {
        (None, Some(_)) => {
            new.set_quota(old.quota());
        }
        (Some(_), None) => {
            new.set_period(old.period());
        }
        _ => {}
    }
    match (new.idle(), given(new.shares())) {
        // No longer idle: the kernel has forgotten the weight of before.
        (Some(0), None) => {
            new.set_shares(old.shares());
        }
        // Still idle: to be remembered, not written.
        (None, Some(_)) if old.idle() == Some(1) => {
            new.set_idle(Some(1));
        }
        _ => {}
    }
}

/// What holds after `change`, as far as a later [`complete`] needs it: memory and CPU.
pub fn hold(holds: &LinuxResources, change: &LinuxResources) -> LinuxResources {
    let mut memory = holds.memory().unwrap_or_default();
    if let Some(new) = change.memory() {
        if given(new.limit()) == Some(-1) && given(new.swap()).is_none() {
            memory.set_swap(Some(-1));
        }
        memory.set_limit(given(new.limit()).or(memory.limit()));
        memory.set_swap(given(new.swap()).or(memory.swap()));
        memory.set_check_before_update(new.check_before_update().or(memory.check_before_update()));
    }
    let mut cpu = holds.cpu().clone().unwrap_or_default();
    if let Some(new) = change.cpu() {
        cpu.set_shares(given(new.shares()).or(cpu.shares()));
        cpu.set_quota(given(new.quota()).or(cpu.quota()));
        cpu.set_period(given(new.period()).or(cpu.period()));
        cpu.set_idle(new.idle().or(cpu.idle()));
    }
    let mut holds = LinuxResources::default();
    holds.set_devices(None);
    holds.set_memory(Some(memory));
    holds.set_cpu(Some(cpu));
    holds
}

/// 0 is "not given".
fn given<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resources(json: &Value) -> LinuxResources {
        serde_json::from_value(json.clone()).unwrap()
    }

    #[track_caller]
    fn completed(holds: Value, change: Value) -> Value {
        serde_json::to_value(complete(&resources(&holds), &resources(&change))).unwrap()
    }

    #[test]
    fn memory_and_swap_are_one_sum() {
        let holds =
            json!({"memory": {"limit": 64, "swap": 128, "reservation": 5, "checkBeforeUpdate": true}});
        let with = |limit: i64, swap: i64| json!({"memory": {"limit": limit, "swap": swap, "checkBeforeUpdate": true}});
        assert_eq!(completed(holds.clone(), json!({"memory": {"limit": 100}})), with(100, 128));
        assert_eq!(completed(holds.clone(), json!({"memory": {"swap": 100}})), with(64, 100));
        assert_eq!(completed(holds.clone(), json!({"memory": {"limit": 1, "swap": 2}})), with(1, 2));
        for alone in [json!({"limit": -1}), json!({"swap": -1}), json!({"reservation": 7}), json!({})] {
            let mut expected = json!({"memory": alone});
            expected["memory"]["checkBeforeUpdate"] = json!(true);
            assert_eq!(completed(holds.clone(), json!({"memory": alone})), expected);
        }
        assert_eq!(completed(json!({}), json!({"memory": {"limit": 1}})), json!({"memory": {"limit": 1}}));
        // Nothing is written that was not asked for.
        assert_eq!(completed(holds, json!({"pids": {"limit": 1}})), json!({"pids": {"limit": 1}}));
    }

    #[test]
    fn quota_and_period_are_one_file() {
        let holds = json!({"cpu": {"quota": 20, "period": 50, "shares": 7, "cpus": "0", "burst": 1}});
        let both = |quota: i64, period: u64| json!({"cpu": {"quota": quota, "period": period}});
        assert_eq!(completed(holds.clone(), json!({"cpu": {"quota": 30}})), both(30, 50));
        assert_eq!(completed(holds.clone(), json!({"cpu": {"quota": -1}})), both(-1, 50));
        assert_eq!(completed(holds.clone(), json!({"cpu": {"period": 90}})), both(20, 90));
        assert_eq!(completed(holds.clone(), json!({"cpu": {"shares": 9}})), json!({"cpu": {"shares": 9}}));
        assert_eq!(
            completed(json!({"cpu": {}}), json!({"cpu": {"quota": 30}})),
            json!({"cpu": {"quota": 30}})
        );
    }

    #[test]
    fn the_weight_comes_back_with_the_end_of_idleness() {
        let holds = json!({"cpu": {"shares": 7, "idle": 1}});
        assert_eq!(
            completed(holds.clone(), json!({"cpu": {"idle": 0}})),
            json!({"cpu": {"shares": 7, "idle": 0}})
        );
        assert_eq!(
            completed(holds.clone(), json!({"cpu": {"shares": 9}})),
            json!({"cpu": {"shares": 9, "idle": 1}})
        );
        let later = hold(&resources(&holds), &resources(&json!({"cpu": {"shares": 9}})));
        assert_eq!(
            serde_json::to_value(complete(&later, &resources(&json!({"cpu": {"idle": 0}})))).unwrap(),
            json!({"cpu": {"shares": 9, "idle": 0}})
        );
    }

    #[test]
    fn what_holds_is_the_last_that_was_given() {
        let mut holds = resources(&json!({"memory": {"limit": 1, "swap": 2}, "pids": {"limit": 3},
            "devices": [{"allow": false, "access": "rwm"}]}));
        let shown = |holds: &LinuxResources| serde_json::to_value(holds).unwrap();
        for (change, memory, cpu) in [
            (json!({"memory": {"limit": 9, "swap": 0}}), json!({"limit": 9, "swap": 2}), json!({})),
            (json!({"cpu": {"quota": 5, "cpus": "0"}}), json!({"limit": 9, "swap": 2}), json!({"quota": 5})),
            (json!({"memory": {"limit": -1}}), json!({"limit": -1, "swap": -1}), json!({"quota": 5})),
            (
                json!({"cpu": {"period": 6}}),
                json!({"limit": -1, "swap": -1}),
                json!({"quota": 5, "period": 6}),
            ),
        ] {
            holds = hold(&holds, &resources(&change));
            assert_eq!(shown(&holds), json!({"memory": memory, "cpu": cpu}), "{change}");
        }
    }

    #[test]
    fn a_pids_limit_of_zero_changes_nothing() {
        assert_eq!(completed(json!({}), json!({"pids": {"limit": 0}})), json!({}));
        let unlimited = json!({"pids": {"limit": -1}});
        assert_eq!(completed(json!({}), unlimited.clone()), unlimited);
    }

    #[test]
    fn devices_are_left_alone() {
        let rule = json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 1}});
        assert_eq!(completed(json!({}), rule), json!({"pids": {"limit": 1}}));
    }
}
