use super::*;
use serde_json::json;

fn json_of<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn the_keys_are_runcs_and_zeros_are_left_out_where_runc_does() {
    let memory = json!({"limit": 0, "failcnt": 0});
    assert_eq!(
        json_of(&Stats::default()),
        json!({
            "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
            "cpuset": {"cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0,
                "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0,
                "sched_relax_domain_level": 0},
            "memory": {"usage": memory, "swap": memory, "kernel": memory, "kernelTCP": memory},
            "pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {}, "network_interfaces": null,
        })
    );
    let entry = |n| vec![BlkioEntry { major: n, ..BlkioEntry::default() }];
    let blkio = Blkio {
        io_service_bytes_recursive: entry(1),
        io_serviced_recursive: entry(2),
        io_queued_recursive: entry(3),
        io_service_time_recursive: entry(4),
        io_wait_time_recursive: entry(5),
        io_merged_recursive: entry(6),
        io_time_recursive: entry(7),
        sectors_recursive: entry(8),
        psi: None,
    };
    assert_eq!(
        json_of(&blkio),
        json!({
            "ioServiceBytesRecursive": [{"major": 1}], "ioServicedRecursive": [{"major": 2}],
            "ioQueueRecursive": [{"major": 3}], "ioServiceTimeRecursive": [{"major": 4}],
            "ioWaitTimeRecursive": [{"major": 5}], "ioMergedRecursive": [{"major": 6}],
            "ioTimeRecursive": [{"major": 7}], "sectorsRecursive": [{"major": 8}],
        })
    );
    let throttling = Throttling { periods: 1, throttled_periods: 2, throttled_time: 3 };
    assert_eq!(json_of(&throttling), json!({"periods": 1, "throttledPeriods": 2, "throttledTime": 3}));
}

#[test]
fn io_of_both_dialects() {
    let mut blkio = Blkio::default();
    v2::io_stat(
        "8:0 rbytes=4096 wbytes=0 rios=1 wios=2 dbytes=9 dios=9\n7:1 \n254:16 rios=7\nodd\n",
        &mut blkio,
    );
    let bytes = json!([{"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Write"}]);
    let serviced = json!([{"major": 8, "op": "Read", "value": 1}, {"major": 8, "op": "Write", "value": 2},
        {"major": 254, "minor": 16, "op": "Read", "value": 7}]);
    assert_eq!(json_of(&blkio.io_service_bytes_recursive), bytes);
    assert_eq!(json_of(&blkio.io_serviced_recursive), serviced);
    let v1 = v1::parse_blkio("8:0 Read 4096\n8:0 Total 4096\n8:16 77\nTotal 4096\n\n8:0\n");
    assert_eq!(
        json_of(&v1),
        json!([{"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Total", "value": 4096},
            {"major": 8, "minor": 16, "value": 77}])
    );
}

#[test]
fn pressure() {
    let text =
        "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.01 total=7\n";
    assert_eq!(
        json_of(&v2::parse_pressure(text)),
        json!({"some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 1234},
            "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.01, "total": 7}})
    );
    // Before Linux 5.13 there is no "full" of the CPU.
    assert_eq!(
        v2::parse_pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=1").full,
        PressureTimes::default()
    );
}

#[test]
fn sizes_of_huge_pages_as_the_controller_calls_them() {
    for (directory, name) in [
        ("hugepages-64kB", Some("64KB")),
        ("hugepages-2048kB", Some("2MB")),
        ("hugepages-1048576kB", Some("1GB")),
        ("hugepages-16777216kB", Some("16GB")),
        ("hugepages-2048MB", None),
        ("other", None),
    ] {
        assert_eq!(size_name(directory).as_deref(), name, "{directory}");
    }
}
