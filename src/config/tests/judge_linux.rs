//! The judgement over `linux`, each rule alone.

use super::*;

#[test]
fn namespaces_and_mappings() {
    let map = |start: u32, host: u32, size: u32| json!({"containerID": start, "hostID": host, "size": size});
    let user = |uids: Value, gids: Value| json!({"linux": {"namespaces": [{"type": "user"}], "uidMappings": uids, "gidMappings": gids}});
    let good = json!([map(0, 1000, 10)]);
    check(vec![
        (
            json!({"linux": {"namespaces": namespaces(&[("pid", ""), ("pid", "/x")])}}),
            "linux.namespaces[1]: duplicated ns \"pid\"",
        ),
        (
            json!({"linux": {"namespaces": namespaces(&[("ipc", "x")])}}),
            "linux.namespaces[0].path: must be an absolute path, not \"x\"",
        ),
        (json!({"linux": {"namespaces": [{"type": "ipc", "path": ""}]}}), ""),
        (user(good.clone(), good.clone()), ""),
        (
            json!({"linux": {"namespaces": namespaces(&[("user", "")])}}),
            "linux.uidMappings: user namespaces enabled, but no namespace path to join nor mappings to apply specified",
        ),
        (json!({"linux": {"namespaces": namespaces(&[("user", "/proc/1/ns/user")])}}), ""),
        // containerd and CRI-O write both.
        (
            json!({"linux": {"namespaces": namespaces(&[("user", "/x")]), "uidMappings": good, "gidMappings": good}}),
            "",
        ),
        (
            json!({"linux": {"uidMappings": good}}),
            "linux.uidMappings: user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            json!({"linux": {"gidMappings": good}}),
            "linux.gidMappings: user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (user(good.clone(), json!([])), "linux.gidMappings: must be specified for a new user namespace"),
        (
            user(json!([map(1, 1000, 10)]), good.clone()),
            "linux.uidMappings: no mapping for id 0 of the container",
        ),
        (
            user(json!([map(0, 1, 5), map(4, 10, 5)]), good.clone()),
            "linux.uidMappings[1]: overlaps with entry 0",
        ),
        (
            user(json!([map(0, 1, 5), map(5, 5, 5)]), good.clone()),
            "linux.uidMappings[1]: overlaps with entry 0",
        ),
        (user(json!([map(0, 1, 5), map(5, 6, 5)]), good.clone()), ""),
        (
            user(json!([map(0, 1, 1), map(1, 5, 0)]), good.clone()),
            "linux.uidMappings[1].size: must be greater than zero",
        ),
        (user(json!([map(0, 0, u32::MAX)]), good.clone()), ""),
        (
            user(json!([map(0, 1, u32::MAX)]), good.clone()),
            "linux.uidMappings[0]: hostID 1 and size 4294967295 exceed 32 bits",
        ),
        (
            user((0..341).map(|i| map(i, i, 1)).collect(), good.clone()),
            "linux.uidMappings: has 341 entries, the kernel takes at most 340",
        ),
    ]);
    let mut config = with(process(json!({"user": {"uid": 9, "gid": 10, "additionalGids": [0, 11]}})));
    merge(&mut config, user(good.clone(), good));
    assert_eq!(
        judge(&config).unwrap_err(),
        "config.json: 2 problems: process.user.gid: 10 is not mapped in the user namespace; \
         process.user.additionalGids[1]: 11 is not mapped in the user namespace"
    );
    let rootless = Host::fixed(Facts { euid: 1000, ..Facts::default() });
    assert_eq!(
        judge_on(&rootless, Options::default(), &minimal()).unwrap_err(),
        "config.json: linux.namespaces: rootless container requires user namespaces"
    );
}

#[test]
fn clocks() {
    let with = |path: &str, offsets: Value| json!({"linux": {"namespaces": namespaces(&[("time", path)]), "timeOffsets": offsets}});
    check(vec![
        (with("", json!({"monotonic": {"secs": -5, "nanosecs": 999_999_999}, "boottime": {}})), ""),
        (with("/x", json!({})), ""),
        (
            with("/x", json!({"boottime": {"secs": 1}})),
            "linux.timeOffsets: time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
        ),
        (
            json!({"linux": {"timeOffsets": {"boottime": {"secs": 1}}}}),
            "linux.timeOffsets: time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        (
            with("", json!({"realtime": {}})),
            "linux.timeOffsets.realtime: unknown clock, expected monotonic or boottime",
        ),
        (
            with("", json!({"monotonic": {"nanosecs": 1_000_000_000}})),
            "linux.timeOffsets.monotonic.nanosecs: must be less than 1000000000",
        ),
    ]);
}

#[test]
fn sysctls() {
    let all = |key: &str| linux(json!({"sysctl": {key: "1"}}));
    let none = |key: &str| json!({"linux": {"sysctl": {key: "1"}}});
    let host_net = json!({"linux": {"namespaces": namespaces(&[("network", "/proc/self/ns/net")]), "sysctl": {"net.a": "1"}}});
    let other_net = json!({"linux": {"namespaces": namespaces(&[("network", "/proc/self/ns/uts")]), "sysctl": {"net.a": "1"}}});
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let user = json!({"linux": {"namespaces": namespaces(&[("user", "")]), "uidMappings": map, "gidMappings": map,
        "sysctl": {"user.max_user_namespaces": "0"}}});
    check(vec![
        (all("kernel.shmmax"), ""),
        (all("kernel/shmmax"), ""),
        (all("fs.mqueue.msg_max"), ""),
        (all("net.ipv4.ip_forward"), ""),
        (all("net/ipv4/conf/eth0.100/forwarding"), ""),
        (all("kernel.domainname"), ""),
        (user, ""),
        (other_net, ""),
        (
            none("kernel.sem"),
            "linux.sysctl[\"kernel.sem\"]: sysctl \"kernel.sem\" is not allowed in the hosts ipc namespace",
        ),
        (
            none("net/core/somaxconn"),
            "linux.sysctl[\"net/core/somaxconn\"]: sysctl \"net.core.somaxconn\" not allowed in host network namespace",
        ),
        (host_net, "linux.sysctl[\"net.a\"]: sysctl \"net.a\" not allowed in host network namespace"),
        (
            all("user.max_user_namespaces"),
            "linux.sysctl[\"user.max_user_namespaces\"]: sysctl \"user.max_user_namespaces\" is not in a separate kernel namespace",
        ),
        (
            none("kernel.domainname"),
            "linux.sysctl[\"kernel.domainname\"]: sysctl \"kernel.domainname\" is not in a separate kernel namespace",
        ),
        (
            all("kernel.hostname"),
            "linux.sysctl[\"kernel.hostname\"]: sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
        ),
        (
            all("vm.swappiness"),
            "linux.sysctl[\"vm.swappiness\"]: sysctl \"vm.swappiness\" is not in a separate kernel namespace",
        ),
        (
            all("net.//.kernel.core_pattern"),
            "linux.sysctl[\"net.//.kernel.core_pattern\"]: not the name of a sysctl",
        ),
        (
            all("net/../kernel/core_pattern"),
            "linux.sysctl[\"net/../kernel/core_pattern\"]: not the name of a sysctl",
        ),
        (all(""), "linux.sysctl[\"\"]: not the name of a sysctl"),
        (
            linux(json!({"sysctl": {"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"}})),
            "linux.sysctl[\"net/ipv4/ip_forward\"]: given twice, with dots and with slashes, and with different values",
        ),
        (linux(json!({"sysctl": {"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "1"}})), ""),
        (
            linux(json!({"sysctl": {"net.a": "1\u{0}"}})),
            "linux.sysctl[\"net.a\"]: contains a nul byte (\\x00)",
        ),
    ]);
    let mut domain = linux(json!({"sysctl": {"kernel.domainname": "b"}}));
    merge(&mut domain, json!({"domainname": "a"}));
    assert!(
        judge(&with(domain.clone())).unwrap_err().contains("conflicts with the OCI \"domainname\" field")
    );
    domain["domainname"] = json!("b");
    assert!(judge(&with(domain)).is_ok());
}

#[test]
fn the_rest_of_linux() {
    let device = |members: Value| {
        let mut device = json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3});
        merge(&mut device, members);
        json!({"linux": {"devices": [device]}})
    };
    let two = |second: Value| json!({"linux": {"devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}, second]}});
    let policy = |members: Value| json!({"linux": {"memoryPolicy": members}});
    let net = |name: &str, new: &str| linux(json!({"netDevices": {name: {"name": new}}}));
    check(vec![
        (
            json!({"linux": {"maskedPaths": ["/x"]}}),
            "linux.maskedPaths: unable to restrict sys entries without a private MNT namespace",
        ),
        (
            json!({"linux": {"readonlyPaths": ["/x"]}}),
            "linux.readonlyPaths: unable to restrict sys entries without a private MNT namespace",
        ),
        (
            linux(json!({"maskedPaths": ["/x", "y"]})),
            "linux.maskedPaths[1]: must be an absolute path, not \"y\"",
        ),
        (linux(json!({"readonlyPaths": [""]})), "linux.readonlyPaths[0]: must not be empty"),
        (device(json!({})), ""),
        (device(json!({"path": "/anywhere/x"})), ""),
        (device(json!({"path": "x"})), "linux.devices[0].path: must be an absolute path, not \"x\""),
        (device(json!({"major": -1})), "linux.devices[0].major: -1 is not a device number"),
        (device(json!({"minor": 1 << 20})), "linux.devices[0].minor: 1048576 is not a device number"),
        (
            device(json!({"type": "a"})),
            "linux.devices[0].type: unknown value \"a\", expected one of c, b, u, p",
        ),
        (device(json!({"type": "p", "major": -1})), ""),
        (device(json!({"uid": u32::MAX})), "linux.devices[0].uid: 4294967295 is not an id"),
        (device(json!({"gid": u32::MAX})), "linux.devices[0].gid: 4294967295 is not an id"),
        (two(json!({"path": "/dev/x", "type": "u", "major": 1, "minor": 3})), ""),
        (two(json!({"path": "/dev/y", "type": "c", "major": 1, "minor": 3})), ""),
        (
            two(json!({"path": "/dev/x", "type": "b", "major": 1, "minor": 3})),
            "linux.devices[1]: has the path of entry 0, but is another device",
        ),
        (json!({"linux": {"rootfsPropagation": "rslave"}}), ""),
        (json!({"linux": {"rootfsPropagation": ""}}), ""),
        (
            json!({"linux": {"rootfsPropagation": "ro"}}),
            "linux.rootfsPropagation: rootfsPropagation=\"ro\" is not supported",
        ),
        (json!({"linux": {"cgroupsPath": "/a/b..c"}}), ""),
        (
            json!({"linux": {"cgroupsPath": "a/../../b"}}),
            "linux.cgroupsPath: \"a/../../b\" must not contain \"..\"",
        ),
        (
            json!({"linux": {"cgroupsPath": "x:..:y"}}),
            "linux.cgroupsPath: \"x:..:y\" must not contain \"..\"",
        ),
        (
            json!({"linux": {"cgroupsPath": "a\nb"}}),
            "linux.cgroupsPath: \"a\\nb\" has a character that no cgroup has",
        ),
        (policy(json!({"mode": "MPOL_BIND", "nodes": "0-1"})), ""),
        (policy(json!({"mode": "MPOL_PREFERRED"})), ""),
        (
            policy(json!({"mode": "MPOL_BIND", "nodes": " "})),
            "linux.memoryPolicy.nodes: must be specified for MPOL_BIND",
        ),
        (
            policy(json!({"mode": "MPOL_LOCAL", "nodes": "0"})),
            "linux.memoryPolicy.nodes: must be empty for MPOL_LOCAL",
        ),
        (
            policy(json!({"mode": "MPOL_BIND", "nodes": "x"})),
            "linux.memoryPolicy.nodes: \"x\" is not a list of numbers such as 0-3,7",
        ),
        (
            policy(
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
            ),
            "linux.memoryPolicy.flags: MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other",
        ),
        (net("eth0", "eth1"), ""),
        (net("eth0", ""), ""),
        (net("eth:0", ""), "linux.netDevices[\"eth:0\"]: invalid network device name \"eth:0\""),
        (net("eth0", "e%d"), ""),
        (net("eth0", "e%d%d"), "linux.netDevices.eth0.name: invalid network device name \"e%d%d\""),
        (net("eth0", "e%s"), "linux.netDevices.eth0.name: invalid network device name \"e%s\""),
        (net("e%d", ""), "linux.netDevices[\"e%d\"]: invalid network device name \"e%d\""),
        (linux(json!({"netDevices": {"a": {"name": "e%d"}, "b": {"name": "e%d"}}})), ""),
        (net("eth0", ".."), "linux.netDevices.eth0.name: invalid network device name \"..\""),
        (
            net("e123456789012345", ""),
            "linux.netDevices.e123456789012345: invalid network device name \"e123456789012345\"",
        ),
        (
            json!({"linux": {"netDevices": {"eth0": {}}}}),
            "linux.netDevices: unable to move network devices without a private NET namespace",
        ),
        (
            json!({"linux": {"intelRdt": {"closID": "x"}}}),
            "linux.intelRdt: intelRdt is specified in config, but Intel RDT is not supported or enabled",
        ),
    ]);
    let rdt = with(json!({"linux": {"intelRdt": {"closID": "a/b"}}}));
    let line = judge_on(&able(), Options::default(), &rdt).unwrap_err();
    assert_eq!(line, "config.json: linux.intelRdt.closID: invalid intelRdt.ClosID \"a/b\"");
}

#[test]
fn resources() {
    let with = |members: Value| json!({"linux": {"resources": members}});
    let at = |text: &str| format!("linux.resources.{text}");
    let cases: Vec<(Value, &str)> = vec![
        (json!({"devices": [{"allow": false}]}), ""),
        (
            json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "access": "mr", "type": "b", "major": -1}]}),
            "",
        ),
        (
            json!({"devices": [{"allow": true, "access": "r", "type": "c", "major": u32::MAX}]}),
            "devices[0].major: 4294967295 is not a device number",
        ),
        (
            json!({"devices": [{"allow": true, "type": "c"}]}),
            "devices[0].access: device access cannot be empty",
        ),
        (
            json!({"devices": [{"allow": true, "access": "rx"}]}),
            "devices[0].access: \"rx\" has other letters than r, w, m",
        ),
        (
            json!({"devices": [{"allow": true, "access": "r", "type": "p"}]}),
            "devices[0].type: invalid cgroup device type, expected one of a, b, c",
        ),
        (
            json!({"devices": [{"allow": true, "access": "r", "minor": -2}]}),
            "devices[0].minor: -2 is not a device number",
        ),
        (json!({"memory": {"limit": -1, "swap": -1, "reservation": 0}}), ""),
        (json!({"memory": {"limit": 10, "swap": 10}}), ""),
        (
            json!({"memory": {"limit": -2}}),
            "memory.limit: -2 is neither a number of bytes nor -1 (unlimited)",
        ),
        (
            json!({"memory": {"limit": 10, "swap": 9}}),
            "memory.swap: memory+swap limit should be >= memory limit",
        ),
        (json!({"memory": {"swap": 9}}), "memory.swap: unable to set swap limit without memory limit"),
        (json!({"memory": {"swappiness": u64::MAX}}), ""),
        (
            json!({"memory": {"swappiness": 101}}),
            "memory.swappiness: invalid memory swappiness value: 101 (valid range is 0-100)",
        ),
        (
            json!({"cpu": {"shares": 0, "quota": -1, "period": 0, "idle": 1, "cpus": "0-9:2/4, 11", "mems": ""}}),
            "",
        ),
        (json!({"cpu": {"period": 999}}), "cpu.period: 999 is not between 1000 and 1000000 microseconds"),
        (json!({"cpu": {"quota": 999}}), "cpu.quota: 999 is less than 1000 microseconds"),
        (json!({"cpu": {"quota": 1000, "burst": 1001}}), "cpu.burst: 1001 is larger than the quota 1000"),
        (json!({"cpu": {"idle": 2}}), "cpu.idle: 2 is neither 0 nor 1"),
        (json!({"cpu": {"cpus": "x"}}), "cpu.cpus: \"x\" is not a list of numbers such as 0-3,7"),
        (json!({"cpu": {"mems": "0\n"}}), "cpu.mems: \"0\\n\" is not a list of numbers such as 0-3,7"),
        (json!({"blockIO": {"weight": 0, "leafWeight": 1000}}), ""),
        (json!({"blockIO": {"weight": 9}}), "blockIO.weight: 9 is not between 10 and 1000"),
        (
            json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 1001}]}}),
            "blockIO.weightDevice[0].leafWeight: 1001 is not between 10 and 1000",
        ),
        (json!({"hugepageLimits": [{"pageSize": "64KB", "limit": 0}, {"pageSize": "1GB", "limit": 0}]}), ""),
        (
            json!({"hugepageLimits": [{"pageSize": "../x", "limit": 0}]}),
            "hugepageLimits[0].pageSize: \"../x\" is not a size such as 64KB, 2MB or 1GB",
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "2MiB", "limit": 0}]}),
            "hugepageLimits[0].pageSize: \"2MiB\" is not a size such as 64KB, 2MB or 1GB",
        ),
        (
            json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}}),
            "network.priorities[0].name: invalid network device name \"a b\"",
        ),
        (json!({"rdma": {"a/b": {}}}), "rdma[\"a/b\"]: not the name of a device"),
        (json!({"unified": {"memory.high": "max"}}), ""),
        (
            json!({"unified": {"../x.y": "1"}}),
            "unified[\"../x.y\"]: unified resource \"../x.y\" must be a file name (no slashes)",
        ),
        (
            json!({"unified": {"..": "1"}}),
            "unified[\"..\"]: unified resource \"..\" must be in the form CONTROLLER.PARAMETER",
        ),
        (
            json!({"unified": {"memory": "1"}}),
            "unified.memory: unified resource \"memory\" must be in the form CONTROLLER.PARAMETER",
        ),
        (
            json!({"unified": {"memory.high": "\u{0}"}}),
            "unified[\"memory.high\"]: contains a nul byte (\\x00)",
        ),
    ];
    for (members, want) in cases {
        let want = if want.is_empty() { String::new() } else { at(want) };
        check(vec![(with(members), &want)]);
    }
}
