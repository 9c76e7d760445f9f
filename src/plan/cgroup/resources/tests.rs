use super::*;

fn limits(json: &str) -> Limits {
    let mut problems = Vec::new();
    let limits = Limits::new(&serde_json::from_str(json).unwrap(), &mut problems);
    assert_eq!(problems, []);
    limits
}

fn show(dialect: &Dialect) -> Vec<String> {
    dialect.writes.iter().map(|w| format!("{}={}", w.file, w.value)).collect()
}

fn v2(json: &str) -> Vec<String> {
    show(&limits(json).v2)
}

fn v1(json: &str) -> Vec<String> {
    show(&limits(json).v1)
}

fn problem(json: &str) -> String {
    let mut problems = Vec::new();
    Limits::new(&serde_json::from_str(json).unwrap(), &mut problems);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn shares_become_weight_by_the_curve_of_2025() {
    // Computed apart from this code; the ends and the defaults are the anchors of the curve.
    for (shares, weight) in [
        (1, 1),
        (2, 1),
        (10, 4),
        (100, 17),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (102_400, 4429),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ] {
        assert_eq!(cpu_weight(shares), weight, "{shares}");
    }
    assert!((2..262_144).is_sorted_by_key(cpu_weight));
}

#[test]
fn block_weight_is_linear() {
    for (weight, expected) in [(10, 1), (500, 4950), (1000, 10_000)] {
        assert_eq!(io_weight(weight), expected);
    }
}

#[test]
fn pids_absent_zero_unlimited() {
    assert!(v2("{}").is_empty() && v1("{}").is_empty());
    for (limit, value) in [("0", "max"), ("-1", "max"), ("7", "7")] {
        let json = format!(r#"{{"pids":{{"limit":{limit}}}}}"#);
        assert_eq!(v2(&json), [format!("pids.max={value}")]);
        assert_eq!(v1(&json), [format!("pids.max={value}")]);
    }
}

#[test]
fn memory_and_swap() {
    let json = r#"{"memory":{"limit":100,"swap":150,"reservation":50}}"#;
    assert_eq!(v2(json), ["memory.swap.max=50", "memory.max=100", "memory.low=50"]);
    assert_eq!(
        v1(json),
        ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=150", "memory.soft_limit_in_bytes=50"]
    );
    assert_eq!(v2(r#"{"memory":{"limit":100,"swap":100}}"#), ["memory.swap.max=0", "memory.max=100"]);
    assert_eq!(v2(r#"{"memory":{"limit":-1}}"#), ["memory.swap.max=max", "memory.max=max"]);
    assert_eq!(v2(r#"{"memory":{"limit":100,"swap":-1}}"#), ["memory.swap.max=max", "memory.max=100"]);
    assert_eq!(v2(r#"{"memory":{"limit":-1,"swap":100}}"#), ["memory.swap.max=100", "memory.max=max"]);
    assert_eq!(v2(r#"{"memory":{"limit":0}}"#), [""; 0]);
    assert_eq!(
        v1(r#"{"memory":{"limit":-1}}"#),
        ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]
    );
}

#[test]
fn swap_alone_means_nothing_to_v2_and_a_sum_below_its_part_to_nobody() {
    let alone = limits(r#"{"memory":{"swap":100}}"#);
    let words = "linux.resources.memory.swap: unable to set swap limit without memory limit";
    assert_eq!(alone.v2.writes().unwrap_err().to_string(), words);
    assert!(alone.v1.writes().is_ok());
    let small = limits(r#"{"memory":{"limit":100,"swap":50}}"#);
    let words = "linux.resources.memory.swap: memory+swap limit should be >= memory limit";
    assert_eq!(small.v2.writes().unwrap_err().to_string(), words);
    assert_eq!(small.v1.writes().unwrap_err().to_string(), words);
    assert!(limits(r#"{"memory":{"limit":100,"swap":-1}}"#).v1.writes().is_ok());
}

#[test]
fn only_v1_has_kernel_memory_swappiness_hierarchy_and_the_oom_switch() {
    let json = r#"{"memory":{"kernel":1,"kernelTCP":2,"swappiness":60,"disableOOMKiller":true,"useHierarchy":true}}"#;
    assert!(v2(json).is_empty());
    assert_eq!(
        v1(json).join(" "),
        "memory.kmem.limit_in_bytes=1 memory.kmem.tcp.limit_in_bytes=2 memory.use_hierarchy=1 memory.oom_control=1 \
         memory.swappiness=60"
    );
    assert!(v1(r#"{"memory":{"disableOOMKiller":false,"swappiness":18446744073709551615}}"#).is_empty());
    assert_eq!(
        problem(r#"{"memory":{"swappiness":101}}"#),
        "linux.resources.memory.swappiness: 101 is not between 0 and 100"
    );
}

#[test]
fn memory_floor_only_when_asked_for() {
    assert_eq!(limits(r#"{"memory":{"limit":5}}"#).memory_floor, None);
    assert_eq!(
        limits(r#"{"memory":{"limit":5,"swap":-1,"checkBeforeUpdate":true}}"#).memory_floor,
        Some(MemoryFloor { limit: Some(5), swap: None })
    );
}

#[test]
fn cpu() {
    let json = r#"{"cpu":{"shares":1024,"quota":20000,"period":50000,"burst":10,"cpus":"0-1","mems":"0",
        "realtimePeriod":3,"realtimeRuntime":2}}"#;
    assert_eq!(
        v2(json),
        ["cpu.weight=100", "cpu.max=20000 50000", "cpu.max.burst=10", "cpuset.cpus=0-1", "cpuset.mems=0"]
    );
    assert_eq!(
        v1(json).join(" "),
        "cpu.shares=1024 cpu.cfs_period_us=50000 cpu.cfs_quota_us=20000 cpu.cfs_burst_us=10 cpu.rt_period_us=3 \
         cpu.rt_runtime_us=2 cpuset.cpus=0-1 cpuset.mems=0"
    );
    assert_eq!(v2(r#"{"cpu":{"quota":-1}}"#), ["cpu.max=max 100000"]);
    assert_eq!(v2(r#"{"cpu":{"period":50000}}"#), ["cpu.max=max 50000"]);
    assert!(v2(r#"{"cpu":{"quota":0,"shares":0,"cpus":""}}"#).is_empty());
}

#[test]
fn an_idle_group_has_no_weight() {
    assert_eq!(v2(r#"{"cpu":{"idle":1,"shares":1024}}"#), ["cpu.idle=1"]);
    assert_eq!(v2(r#"{"cpu":{"idle":0,"shares":1024}}"#), ["cpu.idle=0", "cpu.weight=100"]);
}

#[test]
fn v1_would_clamp_shares() {
    for (shares, words) in
        [(1, "minimum allowed cpu-shares is 2"), (300_000, "maximum allowed cpu-shares is 262144")]
    {
        let limits = limits(&format!(r#"{{"cpu":{{"shares":{shares}}}}}"#));
        assert!(limits.v1.writes().unwrap_err().to_string().contains(words));
        assert!(limits.v2.writes().is_ok());
    }
}

#[test]
fn block_io() {
    let json = r#"{"blockIO":{"weight":500,"leafWeight":20,
        "weightDevice":[{"major":8,"minor":0,"weight":10,"leafWeight":30}],
        "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],
        "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
        "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],
        "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}}"#;
    assert_eq!(
        v2(json).join(", "),
        "io.bfq.weight=500, io.bfq.weight=8:0 10, io.max=8:0 rbps=1, io.max=8:0 wbps=2, io.max=8:0 riops=3, \
         io.max=8:0 wiops=max"
    );
    let writes = limits(json).v2.writes;
    assert_eq!(writes[0].instead, Some(("io.weight", "4950".into())));
    assert_eq!(writes[1].instead, Some(("io.weight", "8:0 1".into())));
    assert_eq!(
        v1(json).join(", "),
        "blkio.weight=500, blkio.leaf_weight=20, blkio.weight_device=8:0 10, blkio.leaf_weight_device=8:0 30, \
         blkio.throttle.read_bps_device=8:0 1, blkio.throttle.write_bps_device=8:0 2, \
         blkio.throttle.read_iops_device=8:0 3, blkio.throttle.write_iops_device=8:0 0"
    );
    assert_eq!(
        problem(r#"{"blockIO":{"weight":9}}"#),
        "linux.resources.blockIO.weight: 9 is not between 10 and 1000"
    );
}

#[test]
fn hugepages_have_reservations_and_safe_names() {
    let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#;
    assert_eq!(v2(json), ["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"]);
    assert_eq!(v1(json), ["hugetlb.2MB.limit_in_bytes=4194304", "hugetlb.2MB.rsvd.limit_in_bytes=4194304"]);
    for size in ["../x", "2MB/../../x", "", "MB", "02MB", "2M", "2TB", "2 MB", "-2MB", "2MBMB"] {
        let text = problem(&format!(r#"{{"hugepageLimits":[{{"pageSize":"{size}","limit":1}}]}}"#));
        assert!(text.starts_with("linux.resources.hugepageLimits[0].pageSize: "), "{text}");
    }
}

#[test]
fn rdma_and_network() {
    let json = r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"a":{"hcaObjects":1}},
        "network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500}]}}"#;
    let rdma = ["rdma.max=a hca_object=1", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"];
    assert_eq!(v2(json), rdma);
    assert_eq!(v1(json)[..2], rdma);
    assert_eq!(v1(json)[2..], ["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 500"]);
}

#[test]
fn unified_wins_on_v2_and_is_refused_on_v1() {
    let json =
        r#"{"memory":{"limit":100},"unified":{"memory.max":"200","io.max":"8:0 rbps=1\n8:16 rbps=2"}}"#;
    assert_eq!(v2(json), ["io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.max=200"]);
    assert_eq!(
        limits(json).v1.writes().unwrap_err().to_string(),
        "linux.resources.unified: cannot be used with cgroup v1"
    );
    for key in ["a/b", "../memory.max", "memory", "memory.", ".max"] {
        assert!(
            problem(&format!(r#"{{"unified":{{"{key}":"1"}}}}"#)).starts_with("linux.resources.unified: ")
        );
    }
}

#[test]
fn what_v2_cannot_express_is_an_error_and_neutral_values_are_nothing() {
    for (given, neutral, field) in [
        (r#"{"memory":{"kernelTCP":1}}"#, r#"{"memory":{"kernelTCP":-1}}"#, "memory.kernelTCP"),
        (
            r#"{"memory":{"swappiness":0}}"#,
            r#"{"memory":{"swappiness":18446744073709551615}}"#,
            "memory.swappiness",
        ),
        (
            r#"{"memory":{"disableOOMKiller":true}}"#,
            r#"{"memory":{"disableOOMKiller":false}}"#,
            "memory.disableOOMKiller",
        ),
        (
            r#"{"memory":{"useHierarchy":false}}"#,
            r#"{"memory":{"useHierarchy":true}}"#,
            "memory.useHierarchy",
        ),
        (r#"{"cpu":{"realtimePeriod":1}}"#, r#"{"cpu":{"realtimePeriod":0}}"#, "cpu.realtimePeriod"),
        (r#"{"cpu":{"realtimeRuntime":1}}"#, r#"{"cpu":{"realtimeRuntime":-1}}"#, "cpu.realtimeRuntime"),
        (r#"{"blockIO":{"leafWeight":10}}"#, r#"{"blockIO":{"leafWeight":0}}"#, "blockIO.leafWeight"),
        (
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":10}]}}"#,
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":0}]}}"#,
            "blockIO.weightDevice.leafWeight",
        ),
        (r#"{"network":{"classID":1}}"#, r#"{"network":{"classID":0,"priorities":[]}}"#, "network"),
        (r#"{"network":{"priorities":[{"name":"a","priority":1}]}}"#, r#"{"network":{}}"#, "network"),
    ] {
        let refused = limits(given).v2.writes().unwrap_err().to_string();
        assert!(refused.starts_with(&format!("linux.resources.{field}: ")), "{refused}");
        assert!(limits(given).v1.writes().is_ok());
        assert!(limits(neutral).v2.is_empty(), "{neutral}");
    }
}

#[test]
fn a_limit_of_kernel_memory_is_left_out_of_v2_with_a_warning() {
    let v2 = limits(r#"{"memory":{"kernel":1}}"#).v2;
    assert_eq!(v2.writes(), Ok(&[][..]));
    let warnings: Vec<String> = v2.warnings(None).collect();
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("linux.resources.memory.kernel: "),
        "{warnings:?}"
    );
    assert!(limits(r#"{"memory":{"kernel":-1}}"#).v2.is_empty());
}

#[test]
fn of_v2_beside_v1_only_the_controllers_count_that_live_there() {
    let v2 = limits(r#"{"memory":{"swappiness":1},"pids":{"limit":7}}"#).v2;
    assert_eq!(v2.writes_of(&["pids"]).unwrap().count(), 1);
    assert!(v2.writes_of(&["pids", "memory"]).is_err());
}
