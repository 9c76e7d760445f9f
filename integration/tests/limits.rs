//! Limits, each by what it does to a process: when the container is made, and after `update`.

use std::fs;
use std::time::Duration;

use tare_integration::*;

/// Longer than any test takes, on whatever machine.
const IDLE: &str = "sleep 300000";

/// True if there is the controller; else the test is noted as skipped.
fn with(controller: &str) -> bool {
    if !has_controller(controller) {
        skip(&format!("no {controller} controller"));
    }
    has_controller(controller)
}

fn resources(value: Value) -> Bundle {
    let mut bundle = Bundle::new();
    for (name, value) in value.as_object().unwrap() {
        bundle = bundle.set(&format!("/linux/resources/{name}"), value.clone());
    }
    bundle
}

/// `update FLAGS ID`.
#[track_caller]
fn update(c: &Container, flags: &str) -> Output {
    c.cmd(["update"].into_iter().chain(flags.split(' ')).chain([c.id.as_str()])).run()
}

/// `update --resources - ID`.
#[track_caller]
fn update_by(c: &Container, resources: Value) -> Output {
    c.cmd(["update", "--resources", "-", &c.id]).input(&resources.to_string()).run()
}

/// What an exec'd payload answers, or its exit code.
#[track_caller]
fn exec(c: &Container, verbs: &str) -> Value {
    let out = c.exec(verbs);
    if out.code == Some(0) {
        return out.json();
    }
    if out.code == Some(137) {
        // The memory of who was killed is freed a moment after its end; a limit set or tried meanwhile kills another.
        let file = if is_v2() { "memory.current" } else { "memory.usage_in_bytes" };
        let used = || -> Option<u64> {
            fs::read_to_string(cgroup_of(c.pid(), "memory").join(file)).ok()?.trim().parse().ok()
        };
        until(TIMEOUT, || used().is_none_or(|bytes| bytes < 8 << 20));
    }
    json!(out.code)
}

// Memory.

#[test]
fn memory_past_its_limit_is_killed() {
    if !with("memory") {
        return;
    }
    let c = resources(json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}})).does(IDLE).start();
    assert_eq!(exec(&c, "alloc 4"), "ok");
    assert_eq!(exec(&c, "alloc 24"), 137);
    // Both at once, upwards and downwards: v1 wants the sum never below the part.
    let (low, high) = (16 << 20, 40 << 20);
    update(&c, &format!("--memory {high} --memory-swap {high}")).ok();
    assert_eq!(exec(&c, "alloc 24"), "ok");
    assert_eq!(exec(&c, "alloc 56"), 137);
    update(&c, &format!("--memory {low} --memory-swap {low}")).ok();
    assert_eq!(exec(&c, "alloc 24"), 137);
    // No limit: of swap neither, or v1 would keep to the old sum.
    peer_may_differ("crun", "cannot write -1", || {
        update(&c, "--memory -1").ok();
        assert_eq!(exec(&c, "alloc 56"), "ok");
    });
}

#[test]
fn the_kill_ends_a_container_with_137() {
    if with("memory") {
        let b = resources(json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}}));
        let out = b.does("alloc 24").run();
        assert_eq!((out.code, out.stdout.as_str()), (Some(137), ""), "{out:?}");
    }
}

#[test]
fn a_memory_limit_too_low_to_start_is_told() {
    if !with("memory") {
        return;
    }
    peer_may_differ("runc crun", "other words", || {
        let b = resources(json!({"memory": {"limit": 4096, "swap": 4096}}));
        let out = b.refused();
        assert!(out.stderr.contains("memory"), "{out:?}");
    });
}

#[test]
fn swap_is_the_sum_without_its_part() {
    if !with("memory") {
        return;
    }
    if fs::read_to_string("/proc/swaps").unwrap_or_default().lines().count() < 2 {
        let own = std::env::var("TARE_VIEW").is_ok_and(|view| view.starts_with("vm"));
        if !own || !make_swap(256) {
            return skip("no swap");
        }
    }
    let c = resources(json!({"memory": {"limit": 16 << 20, "swap": 40 << 20}})).does(IDLE).start();
    assert_eq!(exec(&c, "hold 32"), "ok", "16 MiB in memory, and up to 24 MiB in swap");
    assert_eq!(exec(&c, "hold 64"), 137);
    // The sum stays where it is when its part is changed alone.
    peer_may_differ("runc crun", "on v2 one of the pair is forgotten", || {
        update(&c, "--memory 25165824").ok();
        assert_eq!(exec(&c, "hold 32"), "ok");
        assert_eq!(exec(&c, "hold 64"), 137);
        update(&c, "--memory-swap 25165824").ok();
        assert_eq!(exec(&c, "hold 32"), 137, "no swap any more");
        update(&c, "--memory-swap -1").ok();
        assert_eq!(exec(&c, "hold 48"), "ok");
    });
}

#[test]
fn a_sum_below_its_part_is_refused() {
    if !with("memory") {
        return;
    }
    let c = resources(json!({"memory": {"limit": 16 << 20, "swap": 32 << 20}})).does(IDLE).start();
    peer_may_differ("runc crun", "on v2 the sum is forgotten", || {
        let out = update(&c, "--memory 67108864").fails();
        if peer() == Peer::Tare {
            out.says("memory+swap limit should be >= memory limit");
        }
        assert_eq!(exec(&c, "hold 48"), 137, "nothing has changed");
    });
}

#[test]
fn a_reservation_is_reclaimed_last() {
    if !with("memory") {
        return;
    }
    if !is_v2() {
        return skip("v1 heeds a soft limit only when the whole machine is short of memory");
    }
    let Some(disk) = Disk::new(128) else { return };
    // Two in a parent that is too small for both: the page cache of one goes when the other one reads.
    let remains = |reservation: u64| {
        let one = disk.give_to(resources(json!({"memory": {"reservation": reservation}})));
        let parent = format!("/{}-pod", one.id);
        let one = one.set("/linux/cgroupsPath", json!(format!("{parent}/one")));
        let one = one.does("cache /dev/disk 0 24 -- sleep 300000").start();
        one.lines(1);
        let dir = cgroups_of(one.pid()).remove(0);
        fs::write(dir.with_file_name("memory.max"), (40 << 20).to_string()).unwrap();
        let other = disk.give_to(Bundle::new()).set("/linux/cgroupsPath", json!(format!("{parent}/other")));
        assert_eq!(other.does("cache /dev/disk 24 96").run().json(), "ok");
        let stat = fs::read_to_string(dir.join("memory.stat")).unwrap();
        let file: u64 = stat.lines().find_map(|l| l.strip_prefix("file ")).unwrap().parse().unwrap();
        drop(one);
        fs::remove_dir(dir.parent().unwrap()).unwrap();
        file >> 20
    };
    let (with, without) = (remains(32 << 20), remains(0));
    assert!(with >= 22 && without <= 16, "of 24 MiB {with} remain with a reservation, {without} without");
}

#[test]
fn without_the_oom_killer_they_wait_for_memory() {
    if !with("memory") {
        return;
    }
    if is_v2() {
        return skip("v2 has no such switch");
    }
    let memory = json!({"limit": 16 << 20, "swap": 16 << 20, "disableOOMKiller": true});
    let c = resources(json!({"memory": memory})).does("alloc 24 -- sleep 300000").start();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((c.status().as_str(), c.stdout().as_str()), ("running", ""), "it waits");
    update(&c, "--memory 67108864 --memory-swap 67108864").ok();
    assert_eq!(c.answer(), "ok");
}

#[test]
fn a_limit_below_what_is_used_can_be_refused() {
    if !with("memory") {
        return;
    }
    let c = resources(json!({"memory": {"limit": 64 << 20, "swap": 64 << 20}}))
        .does("hold 32 -- sleep 300000")
        .start();
    c.lines(1);
    peer_may_differ("runc crun", "too old to know the field", || {
        let change = json!({"memory": {"limit": 8 << 20, "swap": 8 << 20, "checkBeforeUpdate": true}});
        let out = update_by(&c, change).fails();
        assert!(peer() != Peer::Tare || out.stderr.contains("rejecting memory"), "{out:?}");
        assert_eq!(c.status(), "running");
    });
}

// Processes.

#[test]
fn a_fork_past_the_pids_limit_fails() {
    if !with("pids") {
        return;
    }
    let forks = |b: Bundle| b.does("forks 60").run().json();
    assert_eq!(forks(resources(json!({"pids": {"limit": 30}}))), json!({"made": 29, "refusal": "EAGAIN"}));
    assert_eq!(forks(Bundle::new())["made"], 60);
    peer_may_differ("crun", "cannot write it", || {
        assert_eq!(forks(resources(json!({"pids": {"limit": -1}})))["made"], 60);
    });
    peer_may_differ("runc", "1 from runc 1.4 on", || {
        // Podman 3.4 to 5.4.1 write it for -1.
        assert_eq!(forks(resources(json!({"pids": {"limit": 0}})))["made"], 60);
    });
    let c = resources(json!({"pids": {"limit": 10}})).does(IDLE).start();
    // The container's init and the forking process are two of them.
    assert_eq!(exec(&c, "forks 60")["made"], 8);
    update(&c, "--pids-limit 20").ok();
    assert_eq!(exec(&c, "forks 60")["made"], 18);
    // Room for the threads of runc's own.
    update_by(&c, json!({"pids": {"limit": 15}})).ok();
    assert_eq!(exec(&c, "forks 60")["made"], 13);
    update(&c, "--pids-limit 0").ok();
    update_by(&c, json!({"pids": {"limit": 0}})).ok();
    assert_eq!(exec(&c, "forks 60")["made"], 13, "0 changes nothing");
    peer_may_differ("crun", "cannot write it", || {
        update(&c, "--pids-limit -1").ok();
        assert_eq!(exec(&c, "forks 60")["made"], 60);
    });
}

// CPU.

/// How much of one CPU it gets, in percent.
#[track_caller]
fn share(c: &Container) -> i64 {
    exec(c, "burn-cpu 1500").as_i64().unwrap() / 15
}

/// Give or take five; in one of several measures, as others want the CPU too, and an emulated one loses ticks.
#[track_caller]
fn assert_share(c: &Container, expected: i64) {
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(share(c));
        if all.last().is_some_and(|got| (got - expected).abs() <= 5) {
            return;
        }
    }
    panic!("{all:?} % of a CPU, not {expected} %");
}

#[test]
fn a_cpu_quota_is_kept_to() {
    if !with("cpu") {
        return;
    }
    // With the greatest weight, so that on a machine that others use too it is the quota that holds it back.
    let cpu = json!({"quota": 10_000, "period": 50_000, "shares": 262_144});
    let c = resources(json!({"cpu": cpu})).does(IDLE).start();
    assert_share(&c, 20);
    // One half of the pair: the other one stays.
    peer_may_differ("crun", "forgets the period on v2, cannot write -1 on v1", || {
        update(&c, "--cpu-quota 15000").ok();
        assert_share(&c, 30);
        update(&c, "--cpu-period 100000").ok();
        assert_share(&c, 15);
        update(&c, "--cpu-quota 20000 --cpu-period 200000").ok();
        assert_share(&c, 10);
        update(&c, "--cpu-quota -1").ok();
        let got = share(&c);
        assert!(got > 20, "no limit: {got} %");
    });
}

#[test]
fn burst_is_saved_up() {
    if !with("cpu") {
        return;
    }
    if !tare_only("peers are too old for cpu.burst") {
        return;
    }
    let b = resources(json!({"cpu": {"quota": 20_000, "period": 100_000, "burst": 20_000}}));
    // After a rest of a few periods there is one period's worth more, once.
    let c = b.does(IDLE).start();
    let stat = || {
        let dir = cgroup_of(c.pid(), "cpu");
        let text = fs::read_to_string(dir.join("cpu.stat")).unwrap();
        text.lines().find_map(|l| l.strip_prefix("nr_bursts ")).map(|n| n.trim().parse::<u64>().unwrap())
    };
    if stat().is_none() {
        return skip("the kernel does not count bursts");
    }
    for _ in 0..5 {
        exec(&c, "sleep 300 -- burn-cpu 150");
    }
    assert!(stat().unwrap() > 0, "no burst was used");
    update(&c, "--cpu-burst 0").ok();
    let before = stat();
    for _ in 0..3 {
        exec(&c, "sleep 300 -- burn-cpu 150");
    }
    assert_eq!(stat(), before);
}

/// How the one CPU on which both run is shared out: what the first gets for each of the second, in several measures, as
/// others want the CPU, too.
fn ratios(cpu: [Value; 2]) -> impl Iterator<Item = f64> {
    let [first, second] = cpu.map(|mut cpu| {
        cpu["cpus"] = json!("0");
        resources(json!({"cpu": cpu})).does("print up -- burn 60000")
    });
    // The one that gets little first: it would not come up beside the other one.
    let second = second.start();
    let all = [first.start(), second];
    all.iter().for_each(|c| drop(c.answer()));
    (0..6).map(move |_| {
        let ticks = || {
            all.each_ref().map(|c| {
                let stat = fs::read_to_string(format!("/proc/{}/stat", c.pid())).unwrap();
                let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
                fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
            })
        };
        let before = ticks();
        std::thread::sleep(Duration::from_secs(2));
        let after = ticks();
        (after[0] - before[0]) / (after[1] - before[1]).max(1.0)
    })
}

#[test]
fn shares_divide_a_cpu() {
    if with("cpu") && with("cpuset") {
        // 8 to 1 in v1; by the curve 100 to 21 in v2.
        let expected = if is_v2() { 3.0..8.0 } else { 5.0..11.0 };
        peer_may_differ("runc crun", "the line of before 2025, on v2", || {
            let mut all = ratios([json!({"shares": 1024}), json!({"shares": 128})]);
            assert!(all.any(|got| expected.contains(&got)));
        });
    }
}

#[test]
fn an_idle_container_gets_what_is_left() {
    if with("cpu") && with("cpuset") {
        peer_may_differ("runc crun", "too old to know the field", || {
            let mut all = ratios([json!({"shares": 1024}), json!({"idle": 1, "shares": 1024})]);
            assert!(all.any(|got| got > 20.0));
        });
    }
}

#[test]
fn the_end_of_idleness_gives_the_weight_back() {
    if !with("cpu") || !tare_only("the weight after idleness") {
        return;
    }
    let c = resources(json!({"cpu": {"idle": 1, "shares": 2048}})).does(IDLE).start();
    let name = if is_v2() { "cpu.weight" } else { "cpu.shares" };
    let weight = || fs::read_to_string(cgroup_of(c.pid(), "cpu").join(name)).unwrap().trim().to_owned();
    update(&c, "--cpu-idle 0").ok();
    assert_eq!(weight(), if is_v2() { "174" } else { "2048" });
    update(&c, "--cpu-idle 1").ok();
    update(&c, "--cpu-share 512").ok();
    update(&c, "--cpu-idle 0").ok();
    assert_eq!(weight(), if is_v2() { "59" } else { "512" });
}

#[test]
fn a_cpuset_pins() {
    if !with("cpuset") {
        return;
    }
    if !std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
        return skip("one CPU");
    }
    let b = resources(json!({"cpu": {"cpus": "0", "mems": "0"}}));
    let c = b.does(IDLE).start();
    assert_eq!(exec(&c, "cpus 200"), json!([0]));
    assert_eq!(exec(&c, "status Cpus_allowed_list")["Cpus_allowed_list"], "0");
    update(&c, "--cpuset-cpus 1").ok();
    assert_eq!(exec(&c, "cpus 200"), json!([1]));
    // A process that is there already is moved, too.
    let allowed = fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
    assert!(allowed.contains("Cpus_allowed_list:\t1\n"), "{allowed}");
    update(&c, "--cpuset-cpus 0-1 --cpuset-mems 0").ok();
    assert_eq!(exec(&c, "status Cpus_allowed_list")["Cpus_allowed_list"], "0-1");
    update(&c, "--cpuset-cpus 4095").fails();
}

// Disks.

fn io() -> &'static str {
    if is_v2() { "io" } else { "blkio" }
}

/// Milliseconds for so many bytes in such blocks.
#[track_caller]
fn disk_time(c: &Container, verbs: &str) -> i64 {
    exec(c, verbs).as_i64().unwrap()
}

#[test]
fn disk_throttles_hold() {
    if !with(io()) {
        return;
    }
    let Some(disk) = Disk::new(16) else { return };
    // An emulated machine is slow without a limit, too.
    let patience = if slow() > 1 { 5 } else { 1 };
    let bytes = "/dev/disk 1048576 65536";
    let operations = "/dev/disk 122880 4096";
    for (limit, rate, verb) in [
        ("throttleReadBpsDevice", (1 << 20) / patience, format!("disk read {bytes}")),
        ("throttleWriteBpsDevice", (1 << 20) / patience, format!("disk write {bytes}")),
        ("throttleReadIOPSDevice", 30 / patience, format!("disk read {operations}")),
        ("throttleWriteIOPSDevice", 30 / patience, format!("disk write {operations}")),
    ] {
        let c = disk.give_to(resources(json!({"blockIO": {limit: [disk.limit("rate", rate)]}})));
        let c = c.does(IDLE).start();
        let patience = patience as i64;
        let is_fast = |verb: &str| {
            let all: Vec<i64> =
                (0..4).map(|_| disk_time(&c, verb)).take_while(|ms| *ms >= 400 * patience).collect();
            assert!(all.len() < 4, "{limit}: {verb}: {all:?} ms");
        };
        // The least rate allows it in one second; a machine that is busy takes longer.
        let time = disk_time(&c, &verb);
        assert!((800 * patience..3000 * patience).contains(&time), "{limit}: {time} ms");
        // What is not limited is not held back.
        is_fast(&verb.replace("read", "WRITE").replace("write", "read").replace("WRITE", "write"));
        peer_may_differ("runc crun", "updates only the weight", || {
            update_by(&c, json!({"blockIO": {limit: [disk.limit("rate", rate * 1000)]}})).ok();
            is_fast(&verb);
            // 0 is no limit.
            update_by(&c, json!({"blockIO": {limit: [disk.limit("rate", rate)]}})).ok();
            update_by(&c, json!({"blockIO": {limit: [disk.limit("rate", 0)]}})).ok();
            is_fast(&verb);
        });
    }
}

// Huge pages.

/// Lets the kernel make huge pages when they are asked for, until dropped.
struct HugePages(String);

const OVERCOMMIT: &str = "/proc/sys/vm/nr_overcommit_hugepages";

impl HugePages {
    fn new(count: u64) -> Option<HugePages> {
        let before = fs::read_to_string(OVERCOMMIT).ok()?;
        let pages: u64 = before.trim().parse().ok()?;
        fs::write(OVERCOMMIT, pages.max(count).to_string()).ok()?;
        Some(HugePages(before))
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(OVERCOMMIT, &self.0);
    }
}

#[test]
fn a_huge_page_past_the_limit_is_refused() {
    let unified = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
    if !has_controller("hugetlb") && !unified.contains("hugetlb") {
        return skip("no hugetlb controller");
    }
    let Some(_pages) = HugePages::new(16) else { return skip("no huge pages of 2 MiB") };
    let b = resources(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}));
    let reason = "know no v2 controllers beside v1, or no limit of reservations";
    peer_may_differ("runc crun", reason, || {
        let c = b.does(IDLE).start();
        assert_eq!(exec(&c, "hugepages 2"), "ok");
        assert_eq!(exec(&c, "hugepages 3"), "ENOMEM");
        update_by(&c, json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 8 << 20}]})).ok();
        assert_eq!(exec(&c, "hugepages 3"), "ok");
        assert_eq!(exec(&c, "hugepages 5"), "ENOMEM");
    });
}

// v2 in its own words.

#[test]
fn unified_wins_over_what_means_the_same() {
    if !is_v2() {
        let b = Bundle::new().set("/linux/resources/unified", json!({"pids.max": "5"}));
        peer_may_differ("runc crun", "ignored", || drop(b.refused().says_any(&["unified", "cgroup v2"])));
        return;
    }
    if !with("pids") {
        return;
    }
    let b = resources(json!({"pids": {"limit": 30}, "unified": {"pids.max": "10"}}));
    assert_eq!(b.does("forks 60").run().json()["made"], 9);
    let c = resources(json!({"unified": {"memory.max": "16777216", "memory.swap.max": "0"}}));
    let c = c.does(IDLE).start();
    assert_eq!(exec(&c, "alloc 24"), 137);
    update_by(&c, json!({"unified": {"memory.max": "67108864"}})).ok();
    assert_eq!(exec(&c, "alloc 24"), "ok");
    // Not a part of a sum: it stays when the limit is changed the other way.
    update(&c, "--memory 16777216").ok();
    assert_eq!(exec(&c, "alloc 24"), 137);
}

#[test]
fn what_v2_cannot_express_is_refused() {
    if !is_v2() {
        return skip("v2 only");
    }
    let fields = [
        ("memory/kernelTCP", json!(1 << 20)),
        ("memory/swappiness", json!(0)),
        ("memory/disableOOMKiller", json!(true)),
        ("memory/useHierarchy", json!(false)),
        ("cpu/realtimePeriod", json!(1_000_000)),
        ("cpu/realtimeRuntime", json!(1000)),
        ("blockIO/leafWeight", json!(10)),
    ];
    for (field, value) in fields {
        peer_may_differ("runc crun", "left out", || {
            let out = Bundle::new().set(&format!("/linux/resources/{field}"), value.clone()).refused();
            let field = field.replace('/', ".");
            assert!(
                peer() != Peer::Tare || out.line().contains(&format!("linux.resources.{field}: ")),
                "{out:?}"
            );
        });
    }
    peer_may_differ("runc crun", "left out", || {
        drop(Bundle::new().set("/linux/resources/network/classID", json!(7)).refused())
    });
}

#[test]
fn values_that_ask_for_nothing_are_no_error_on_v2() {
    if !is_v2() {
        return skip("v2 only");
    }
    let memory = json!({"swappiness": u64::MAX, "disableOOMKiller": false, "useHierarchy": true, "kernel": 0, "kernelTCP": -1});
    let b = resources(json!({"memory": memory, "cpu": {"realtimePeriod": 0, "realtimeRuntime": 0},
        "blockIO": {"leafWeight": 0}, "network": {"classID": 0, "priorities": []}}));
    peer_may_differ("crun", "refuses some", || {
        let out = b.does("umask").run().ok();
        assert!(out.stderr.is_empty() || peer() != Peer::Tare, "a warning: {out:?}");
    });
}

#[test]
fn a_limit_of_kernel_memory_is_a_warning_on_v2() {
    if !is_v2() || !tare_only("the warning") {
        return;
    }
    let out = resources(json!({"memory": {"kernel": 1 << 30}})).does("umask").run().ok();
    assert!(
        out.stderr.contains("level=warning") && out.stderr.contains("linux.resources.memory.kernel: "),
        "{out:?}"
    );
}

#[test]
fn an_update_of_what_v2_cannot_express_is_refused() {
    if !is_v2() {
        return skip("v2 only");
    }
    let c = Bundle::new().does(IDLE).start();
    peer_may_differ("runc crun", "left out", || {
        drop(update_by(&c, json!({"memory": {"swappiness": 10}})).fails().says_any(&["swappiness"]));
        drop(update(&c, "--cpu-rt-runtime 1000").fails().says_any(&["realtime"]));
    });
    let nothing = json!({"memory": {"swappiness": u64::MAX, "disableOOMKiller": false}});
    peer_may_differ("crun", "refuses them", || drop(update_by(&c, nothing).ok()));
}

#[test]
fn hierarchical_counting_cannot_be_switched_off_in_silence_on_v1() {
    if is_v2() || !with("memory") {
        return;
    }
    resources(json!({"memory": {"useHierarchy": true}})).does("umask").run().ok();
    peer_may_differ("runc crun", "left out", || {
        drop(resources(json!({"memory": {"useHierarchy": false}})).refused().says_any(&["use_hierarchy"]))
    });
}

#[test]
fn unified_keys_that_are_no_limits_are_refused() {
    if !tare_only("written like any other") {
        return;
    }
    for key in ["procs", "threads", "kill", "freeze", "type", "subtree_control"] {
        let b = resources(json!({"unified": {format!("cgroup.{key}"): "1"}}));
        b.refused().says(&format!("linux.resources.unified[\"cgroup.{key}\"]: is no limit: "));
    }
    let c = Bundle::new().does(IDLE).start();
    update_by(&c, json!({"unified": {"cgroup.kill": "1"}})).fails().says("is no limit");
    assert_eq!(c.status(), "running");
}

#[test]
fn unified_keys_without_a_controller_are_told() {
    if !is_v2() {
        return skip("v2 only");
    }
    let b = Bundle::new().set("/linux/resources/unified", json!({"nosuch.max": "3"}));
    let out = b.refused().says_any(&["nosuch"]);
    if peer() == Peer::Tare {
        out.says("linux.resources.unified.nosuch.max: cannot be set: controller \"nosuch\" not available");
    }
    if with("memory") {
        let b = Bundle::new().set("/linux/resources/unified", json!({"memory.nosuch": "3"}));
        b.refused().says_any(&["memory.nosuch"]);
    }
    let b = Bundle::new().set("/linux/resources/unified", json!({"cgroup.max.descendants": "3"}));
    let b = b.mount("cgroup", "cgroup", "/sys/fs/cgroup", "rw");
    let mkdirs: Vec<String> = ["a", "b", "c", "d"].map(|n| format!("mkdir /sys/fs/cgroup/{n}")).into();
    assert_eq!(b.does(&mkdirs.join(" -- ")).run().answers(), ["ok", "ok", "ok", "EAGAIN"]);
}

// The way down.

#[test]
fn controllers_come_down_to_any_depth() {
    if !with("pids") {
        return;
    }
    let b = resources(json!({"pids": {"limit": 10}}));
    let top = format!("{}-deep", b.id);
    let b = b.set("/linux/cgroupsPath", json!(format!("/{top}/a/b/c")));
    assert_eq!(b.does("forks 60").run().json()["made"], 9);
    for dir in cgroups_with(&top).iter().rev() {
        fs::remove_dir(dir).unwrap();
    }
}

#[test]
fn without_limits_it_is_counted_too() {
    if !is_v2() {
        return skip("v1 counts always");
    }
    let all = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let b = Bundle::new();
    let top = format!("{}-fresh", b.id);
    let c = b.set("/linux/cgroupsPath", json!(format!("/{top}/a/b"))).does(IDLE).start();
    let own = fs::read_to_string(cgroup_of(c.pid(), "").join("cgroup.controllers")).unwrap();
    drop(c);
    for dir in cgroups_with(&top).iter().rev() {
        fs::remove_dir(dir).unwrap();
    }
    peer_may_differ("crun", "knows no rdma", || assert_eq!(own, all));
}

#[test]
fn a_limit_without_its_controller_is_told() {
    let all = [
        ("memory", "memory/limit", json!(16 << 20)),
        ("pids", "pids/limit", json!(10)),
        ("cpu", "cpu/quota", json!(10_000)),
        ("cpuset", "cpu/cpus", json!("0")),
        (io(), "blockIO/weight", json!(100)),
        ("rdma", "rdma/x/hcaHandles", json!(1)),
    ];
    let mut none = true;
    for (controller, field, value) in all.into_iter().filter(|(name, ..)| !has_controller(name)) {
        none = false;
        peer_may_differ("runc crun", "some limits are dropped", || {
            let out = Bundle::new().set(&format!("/linux/resources/{field}"), value).refused();
            if peer() == Peer::Tare {
                out.says(&format!("linux.resources.{}", field.split('/').next().unwrap()))
                    .says(&format!("controller {controller:?} not available"));
            }
        });
    }
    if none {
        skip("there are all controllers");
    }
}

// The weights of disks.

#[test]
fn weights_divide_a_disk() {
    if !with(io()) {
        return;
    }
    let Some(disk) = Disk::new(64) else { return };
    if !disk.set_scheduler("bfq") {
        return skip("no bfq scheduler");
    }
    // No head start for who has just come, and the disk waits for who is the next by weight.
    assert!(disk.set("iosched/low_latency", "0") && disk.set("iosched/strict_guarantees", "1"));
    let alone = disk.give_to(Bundle::new()).does("disk-for /dev/disk 500").run().json().as_i64().unwrap();
    if alone < 600 {
        return skip("so slow a machine that the disk is not what they wait for");
    }
    peer_may_differ("crun", "knows no bfq on v1", || {
        let start = |weight: u64, device: u64| {
            let io = json!({"weight": weight, "weightDevice": [disk.limit("weight", device)]});
            let b = disk.give_to(resources(json!({"blockIO": io})));
            let turn = |n| format!("wait-file /go{n} -- disk-for /dev/disk 1000");
            let turns: Vec<String> = (0..8).map(turn).collect();
            b.does(&format!("{} -- sleep 300000", turns.join(" -- "))).start()
        };
        // Once by their weights alone; of the pair, the device's own wins.
        let all = [start(1000, 1000), start(1000, 100)];
        let ratio = |turn: usize| {
            all.iter().for_each(|c| fs::write(c.inside(&format!("/go{turn}")), "").unwrap());
            let got = all.each_ref().map(|c| c.lines(turn + 1)[turn].as_f64().unwrap());
            got[0] / got[1]
        };
        // Others want the CPUs, too, and the disk is one of them: the weight does not show each time.
        let mut turns = 0..8;
        let first = turns.by_ref().take(4).map(ratio).find(|got| *got > 3.0);
        assert!(first.is_some(), "never near 10 to 1");
        for c in &all {
            update_by(c, json!({"blockIO": {"weightDevice": [disk.limit("weight", 500)]}})).ok();
        }
        peer_may_differ("runc", "updates only the weight of all disks", || {
            let then = turns.map(ratio).find(|got| (0.6..1.7).contains(got));
            assert!(then.is_some(), "never near 1 to 1");
        });
    });
}
