//! The judgement: each rule breaks alone, and all of them together are told at once.

use super::*;

#[test]
fn top_level() {
    check(vec![
        (json!({"ociVersion": "1.0.2-dev"}), ""),
        (json!({"ociVersion": "invalid"}), "ociVersion: \"invalid\" is not a version such as 1.3.0"),
        (json!({"ociVersion": "2.0.0"}), "ociVersion: \"2.0.0\" is not supported, only version 1 is"),
        (json!({"ociVersion": ""}), "ociVersion: must be specified"),
        (json!({"ociVersion": null}), "ociVersion: must be specified"),
        (json!({"root": {"path": ""}}), "root.path: must not be empty"),
        (json!({"root": {"path": "/abs"}}), ""),
        (json!({"root": {"path": "a\u{0}b"}}), "root.path: contains a nul byte (\\x00)"),
        (json!({"annotations": {"": "x"}}), "annotations[\"\"]: a key must not be empty"),
        (json!({"annotations": {"x": ""}}), ""),
        (json!({"hostname": "h"}), "hostname: unable to set hostname without a private UTS namespace"),
        (json!({"domainname": "d"}), "domainname: unable to set domainname without a private UTS namespace"),
        (json!({"hostname": ""}), ""),
        (json!({"hostname": "h", "linux": {"namespaces": [{"type": "uts"}]}}), ""),
        (json!({"hostname": "h", "linux": {"namespaces": [{"type": "uts", "path": "/x"}]}}), ""),
        (
            json!({"hostname": "h".repeat(65), "linux": {"namespaces": [{"type": "uts"}]}}),
            "hostname: longer than 64 bytes",
        ),
        (
            json!({"hooks": {"prestart": [{"path": "x"}]}}),
            "hooks.prestart[0].path: must be an absolute path, not \"x\"",
        ),
        (json!({"hooks": {"poststop": [{"path": ""}]}}), "hooks.poststop[0].path: must not be empty"),
        (
            json!({"hooks": {"startContainer": [{"path": "/a"}, {"path": "/b", "timeout": 0}]}}),
            "hooks.startContainer[1].timeout: must be greater than zero, not 0",
        ),
        (
            json!({"hooks": {"poststart": [{"path": "/a", "env": ["a\u{0}"]}]}}),
            "hooks.poststart[0].env[0]: contains a nul byte (\\x00)",
        ),
    ]);
}

#[test]
fn a_process_is_needed_only_to_start() {
    let start = Options { start: true, ..Options::default() };
    assert_eq!(judge(&minimal()), Ok(vec![]));
    let line = judge_on(&plain(), start, &minimal()).unwrap_err();
    assert_eq!(line, "config.json: process: must be specified to start the container");
    assert!(judge_on(&plain(), start, &with(process(json!({})))).is_ok());
}

#[test]
fn processes() {
    let max = u64::MAX;
    check(vec![
        (process(json!({})), ""),
        (process(json!({"args": []})), "process.args: must not be empty"),
        (process(json!({"args": [""]})), ""),
        (process(json!({"args": ["a", "b\u{0}"]})), "process.args[1]: contains a nul byte (\\x00)"),
        (process(json!({"cwd": ""})), "process.cwd: must not be empty"),
        (process(json!({"cwd": "x"})), "process.cwd: must be an absolute path, not \"x\""),
        (process(json!({"env": ["A=", "B=c=d"]})), ""),
        (process(json!({"env": ["A=", "B"]})), "process.env[1]: invalid environment variable: missing '='"),
        (
            process(json!({"env": ["=x"]})),
            "process.env[0]: invalid environment variable: name cannot be empty",
        ),
        (process(json!({"env": ["A=\u{0}"]})), "process.env[0]: contains a nul byte (\\x00)"),
        (process(json!({"user": {"umask": 0o777}})), ""),
        (process(json!({"user": {"umask": 0o1000}})), "process.user.umask: 512 is larger than 511 (0777)"),
        (process(json!({"consoleSize": {"height": 65535, "width": 0}})), ""),
        (process(json!({"consoleSize": {"height": 65536, "width": 1}})), ""),
        (process(json!({"user": {"uid": u32::MAX}})), "process.user.uid: 4294967295 is not an id"),
        (process(json!({"user": {"gid": u32::MAX}})), "process.user.gid: 4294967295 is not an id"),
        (
            process(json!({"user": {"additionalGids": [1, u32::MAX]}})),
            "process.user.additionalGids[1]: 4294967295 is not an id",
        ),
        (
            process(json!({"terminal": true, "consoleSize": {"height": 65536, "width": 1}})),
            "process.consoleSize: height and width must not be larger than 65535",
        ),
        (process(json!({"oomScoreAdj": -1000})), ""),
        (process(json!({"oomScoreAdj": 1001})), "process.oomScoreAdj: 1001 is not between -1000 and 1000"),
        (process(json!({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": max, "hard": max}]})), ""),
        (
            process(json!({"rlimits": [{"type": "RLIMIT_AS", "soft": 2, "hard": 1}]})),
            "process.rlimits[0]: soft limit 2 is larger than the hard limit 1",
        ),
        (
            process(
                json!({"rlimits": [{"type": "RLIMIT_AS", "soft": 1, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 1, "hard": 1},
                {"type": "RLIMIT_AS", "soft": 1, "hard": 1}]}),
            ),
            "process.rlimits[2].type: RLIMIT_AS is given twice",
        ),
        (process(json!({"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 7}})), ""),
        (
            process(json!({"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 8}})),
            "process.ioPriority.priority: 8 is not between 0 and 7",
        ),
    ]);
}

#[test]
fn schedulers() {
    let with = |members| process(json!({"scheduler": members}));
    check(vec![
        (with(json!({"policy": "SCHED_OTHER", "nice": 19})), ""),
        (
            with(json!({"policy": "SCHED_BATCH", "nice": -21})),
            "process.scheduler.nice: -21 is not between -20 and 19",
        ),
        (with(json!({"policy": "SCHED_FIFO", "priority": 99})), ""),
        (
            with(json!({"policy": "SCHED_RR"})),
            "process.scheduler.priority: 0 is not between 1 and 99, as SCHED_RR needs",
        ),
        (
            with(json!({"policy": "SCHED_IDLE", "priority": 1})),
            "process.scheduler.priority: can only be specified for SCHED_FIFO or SCHED_RR policy",
        ),
        (
            with(json!({"policy": "SCHED_OTHER", "period": 1})),
            "process.scheduler: runtime, deadline and period can only be specified for SCHED_DEADLINE policy",
        ),
        (with(json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3})), ""),
        (with(json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 1})), ""),
        (
            with(json!({"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 2})),
            "process.scheduler: SCHED_DEADLINE needs 0 < runtime <= deadline <= period",
        ),
        (
            with(json!({"policy": "SCHED_DEADLINE"})),
            "process.scheduler: SCHED_DEADLINE needs 0 < runtime <= deadline <= period",
        ),
    ]);
}

#[test]
fn security_modules_that_are_not_there() {
    let error = |host: &Host, members| {
        let config = read_value(&with(process(members)));
        validate(&config, host, &Options::default(), vec![]).map_err(|e| (e.kind(), e.to_string()))
    };
    let unsupported = |text: &str| Err((Kind::Unsupported, format!("config.json: {text}")));
    assert_eq!(
        error(&plain(), json!({"apparmorProfile": "docker-default"})),
        unsupported("process.apparmorProfile: apparmor is not enabled on this host")
    );
    assert_eq!(
        error(&plain(), json!({"selinuxLabel": "a:b:c:d"})),
        unsupported(
            "process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported"
        )
    );
    for fine in [
        json!({"apparmorProfile": ""}),
        json!({"apparmorProfile": "unconfined"}),
        json!({"selinuxLabel": ""}),
    ] {
        assert_eq!(error(&plain(), fine), Ok(vec![]));
    }
    assert_eq!(error(&able(), json!({"apparmorProfile": "p", "selinuxLabel": "l"})), Ok(vec![]));
    assert!(error(&able(), json!({"apparmorProfile": "p\nq"})).is_err());
    // A mistake of the document's counts for more than one of the machine's.
    let both = error(&plain(), json!({"apparmorProfile": "p", "cwd": "x"}));
    assert_eq!(both.unwrap_err().0, Kind::Config);
    // mountLabel is ignored where SELinux is not.
    assert_eq!(judge(&with(json!({"linux": {"mountLabel": "a:b:c:d"}}))), Ok(vec![]));
}

#[test]
fn mounts() {
    let with = |mount: Value| json!({"mounts": [{"destination": "/a", "type": "tmpfs"}, mount]});
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let proc_text =
        |path: &str| format!("mounts[1].destination: {path:?} cannot be mounted because it is inside /proc");
    check(vec![
        (with(json!({"destination": "", "type": "tmpfs"})), "mounts[1].destination: must not be empty"),
        (
            with(json!({"destination": "/a\u{0}", "type": "tmpfs"})),
            "mounts[1].destination: contains a nul byte (\\x00)",
        ),
        (with(json!({"destination": "/b"})), "mounts[1].type: must be specified unless it is a bind mount"),
        (with(json!({"destination": "/b", "options": ["remount", "ro"]})), ""),
        (with(json!({"destination": "/b", "options": ["rshared"]})), ""),
        (with(json!({"destination": "/b", "source": "/s", "options": ["rbind"]})), ""),
        (with(json!({"destination": "/b", "source": "s", "type": "bind"})), ""),
        (
            with(json!({"destination": "/b", "type": "bind"})),
            "mounts[1].source: must be specified for a bind mount",
        ),
        (
            with(json!({"destination": "/b", "source": "", "options": ["bind"]})),
            "mounts[1].source: must be specified for a bind mount",
        ),
        (with(json!({"destination": "/b", "type": "tmpfs", "options": ["ro", "rw", "sync", "async"]})), ""),
        (
            with(json!({"destination": "/b", "type": "tmpfs", "options": ["ro", "a\u{0}"]})),
            "mounts[1].options[1]: contains a nul byte (\\x00)",
        ),
        // /proc
        (with(json!({"destination": "/proc", "type": "proc", "source": "proc"})), ""),
        (with(json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]})), ""),
        (
            with(json!({"destination": "/proc/", "type": "tmpfs"})),
            "mounts[1].destination: \"/proc\" cannot be mounted because it is not of type proc",
        ),
        (
            with(json!({"destination": "/proc/sys", "source": "/x", "options": ["bind"]})),
            &proc_text("/proc/sys"),
        ),
        (with(json!({"destination": "/a/..//proc/1", "type": "tmpfs"})), &proc_text("/proc/1")),
        (with(json!({"destination": "/proc/cpuinfo", "source": "/x", "options": ["bind"]})), ""),
        (with(json!({"destination": "/proc/net/dev", "source": "/x", "options": ["bind"]})), ""),
        (
            with(json!({"destination": "/proc/net", "source": "/x", "options": ["bind"]})),
            &proc_text("/proc/net"),
        ),
        (with(json!({"destination": "/process", "source": "/x", "options": ["bind"]})), ""),
        // Mapped ids
        (
            with(
                json!({"destination": "/b", "source": "/s", "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map}),
            ),
            "",
        ),
        (
            with(
                json!({"destination": "/b", "source": "/s", "options": ["bind"], "uidMappings": map, "gidMappings": map}),
            ),
            "",
        ),
        (
            with(json!({"destination": "/b", "source": "/s", "options": ["bind"], "uidMappings": map})),
            "mounts[1].gidMappings: id-mapped mounts must have both uid and gid mappings specified",
        ),
        (
            with(
                json!({"destination": "/b", "source": "/s", "options": ["bind"], "uidMappings": [], "gidMappings": map}),
            ),
            "mounts[1].uidMappings: id-mapped mounts must have both uid and gid mappings specified",
        ),
        (
            with(json!({"destination": "/b", "type": "tmpfs", "uidMappings": map, "gidMappings": map})),
            "mounts[1]: id-mapped mounts are only supported for bind-mounts",
        ),
        (
            with(json!({"destination": "/b", "source": "/s", "options": ["bind", "ridmap"]})),
            "mounts[1]: idmap needs uidMappings and gidMappings, or a user namespace to take them from",
        ),
        (
            with(json!({"destination": "/b", "source": "/s", "options": ["bind", "nosuid,ro"]})),
            "mounts[1].options[1]: \"nosuid,ro\" is several options, each has to be a string of its own",
        ),
        (
            with(json!({"destination": "/b", "type": "cgroup", "options": ["ro", "size=1"]})),
            "mounts[1].options: \"size=1\" is not an option of a cgroup mount",
        ),
        (
            with(json!({"destination": "/b", "source": "/s", "options": ["bind", "idmap=uids=0-1-2"]})),
            "mounts[1].options[1]: \"idmap=uids=0-1-2\" is not supported, use uidMappings and gidMappings",
        ),
        (
            with(
                json!({"destination": "/b", "source": "/s", "options": ["bind"], "uidMappings": [{"size": 0}], "gidMappings": map}),
            ),
            "mounts[1].uidMappings[0].size: must be greater than zero",
        ),
    ]);
    let rootless = Host::fixed(Facts { euid: 1000, ..Facts::default() });
    let mut config = with(
        json!({"destination": "/b", "source": "/s", "options": ["bind"], "uidMappings": map, "gidMappings": map}),
    );
    merge(&mut config, minimal());
    merge(&mut config, json!({"linux": {"namespaces": [{"type": "user", "path": "/x"}]}}));
    assert_eq!(
        judge_on(&rootless, Options::default(), &config).unwrap_err(),
        "config.json: mounts[1]: id-mapped mounts are not supported for rootless containers"
    );
}

#[test]
fn what_is_only_warned_about() {
    check_warnings(vec![
        (
            json!({"mounts": [{"destination": "data", "type": "tmpfs"}]}),
            "mounts[0].destination: \"data\" is not absolute; this is deprecated, it is taken as relative to /",
        ),
        (
            json!({"mounts": [{"destination": "/c", "type": "cgroup2", "options": ["ro", "nsdelegate"]}]}),
            "mounts[0].options: \"nsdelegate\" is set for the host, and ignored",
        ),
        (
            json!({"mounts": [{"destination": "/d", "source": "/s", "options": ["bind", "size=1", "z", "ro"]}]}),
            "mounts[0].options: filesystem-specific options ignored on a bind mount: \"size=1,z\"",
        ),
        (
            json!({"linux": {"personality": {"domain": "LINUX", "flags": ["X"]}}}),
            "linux.personality.flags: ignored, no flag is supported",
        ),
        (
            process(
                json!({"capabilities": {"effective": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"]}}),
            ),
            "process.capabilities.effective: CAP_CHOWN ignored: not in permitted",
        ),
        (
            process(
                json!({"capabilities": {"ambient": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
                "inheritable": ["CAP_KILL"]}}),
            ),
            "process.capabilities.ambient: CAP_CHOWN ignored: not in permitted and inheritable",
        ),
    ]);
}

#[test]
fn what_the_runtime_has_not_it_cannot_grant() {
    let host = Host::fixed(Facts { missing_capabilities: 1 << 24 | 1 << 25, ..Facts::default() });
    let caps = ["CAP_SYS_TIME", "CAP_KILL", "CAP_SYS_RESOURCE"];
    let mut config = minimal();
    merge(&mut config, process(json!({"capabilities": {"permitted": caps, "bounding": caps}})));
    assert_eq!(
        judge_on(&host, Options::default(), &config).unwrap(),
        [
            "process.capabilities.permitted: CAP_SYS_RESOURCE, CAP_SYS_TIME ignored: not in the capabilities of this process"
        ]
    );
    assert_eq!(judge_on(&plain(), Options::default(), &config).unwrap(), [""; 0]);
    // In a user namespace there are all.
    merge(&mut config, json!({"linux": {"namespaces": [{"type": "user", "path": "/x"}]}}));
    assert_eq!(judge_on(&host, Options::default(), &config).unwrap(), [""; 0]);
}

#[test]
fn what_the_command_line_decides() {
    let systemd = Options { systemd_cgroup: true, ..Options::default() };
    let path = |path: &str| with(json!({"linux": {"cgroupsPath": path}}));
    assert!(judge_on(&plain(), systemd, &path("system.slice:docker:1")).is_ok());
    assert!(judge_on(&plain(), systemd, &path("")).is_ok());
    assert_eq!(
        judge_on(&plain(), systemd, &path("/docker/1")).unwrap_err(),
        "config.json: linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
         got \"/docker/1\" instead"
    );
    let no_pivot = Options { no_pivot: true, ..Options::default() };
    let propagation = |name: &str| with(json!({"linux": {"rootfsPropagation": name}}));
    assert!(judge_on(&plain(), no_pivot, &propagation("rslave")).is_ok());
    assert_eq!(
        judge_on(&plain(), no_pivot, &propagation("rprivate")).unwrap_err(),
        "config.json: linux.rootfsPropagation: rootfsPropagation of [r]private is not safe without pivot_root"
    );
}

#[test]
fn a_zoo_of_mistakes_is_told_at_once() {
    let zoo = json!({
        "ociVersion": "one",
        "root": {"path": 5, "readonly": "yes"},
        "hostname": ["h"],
        "annotations": {"a": 1, "": "x"},
        "process": {
            "cwd": "relative", "args": "sh", "env": ["A=b", 7, "broken"],
            "user": {"uid": "abc", "gid": -1, "umask": 4096, "additionalGids": [1, null, 2.5]},
            "capabilities": {"bounding": ["CAP_UNKNOWN", 5]},
            "rlimits": [{"type": "RLIMIT_X", "hard": 1, "soft": 1}, {"type": "RLIMIT_AS", "hard": 1, "soft": 2}],
            "oomScoreAdj": 5000, "ioPriority": {"class": "IOPRIO_CLASS_X", "priority": 9}
        },
        "mounts": [{"destination": "/a", "type": "tmpfs"}, {"type": "tmpfs"}, {"destination": "/proc/sys", "type": "tmpfs"},
            {"destination": "/b", "type": "tmpfs", "options": ["ro", 5]}],
        "hooks": {"poststop": [{"path": "x", "timeout": 0}]},
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "utss"}],
            "devices": [{"path": "dev", "type": "c", "minor": 1}],
            "sysctl": {"kernel.core_pattern": "x"},
            "rootfsPropagation": "sideways", "cgroupsPath": "../x",
            "resources": {"cpu": {"period": 1}, "hugepageLimits": [{"pageSize": "big", "limit": "x"}], "unified": {"x": 1}},
            "seccomp": {"defaultAction": "SCMP_ACT_MAYBE", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG", "errnoRet": 1}]}
        }
    });
    let config = from_slice(zoo.to_string().into_bytes()).unwrap();
    let error = validate(&config, &plain(), &Options::default(), vec![]).unwrap_err();
    let line = error.to_string();
    assert_eq!((error.kind(), line.lines().count()), (Kind::Config, 1));
    let want = [
        "root.path: expected a string, found number 5",
        "root.readonly: expected true or false, found string \"yes\"",
        "process.user.uid: expected an unsigned 32-bit number, found string \"abc\"",
        "process.user.gid: expected an unsigned 32-bit number, found number -1",
        "process.user.additionalGids[2]: expected an unsigned 32-bit number, found number 2.5",
        "process.args: expected an array, found string \"sh\"",
        "process.env[1]: expected a string, found number 7",
        "process.capabilities.bounding[1]: expected a string, found number 5",
        "process.rlimits[0].type: unknown value \"RLIMIT_X\"",
        "process.ioPriority.class: unknown value \"IOPRIO_CLASS_X\"",
        "hostname: expected a string, found an array",
        "mounts[1].destination: must be specified",
        "mounts[3].options[1]: expected a string, found number 5",
        "annotations.a: expected a string, found number 1",
        "linux.resources.hugepageLimits[0].limit: expected an unsigned 64-bit number, found string \"x\"",
        "linux.resources.unified.x: expected a string, found number 1",
        "linux.namespaces[1].type: unknown value \"utss\", expected one of pid, network, mount, ipc, uts, user, cgroup, time",
        "linux.seccomp.defaultAction: unknown value \"SCMP_ACT_MAYBE\"",
        "linux.devices[0].major: must be specified",
        "ociVersion: \"one\" is not a version",
        "process.cwd: must be an absolute path, not \"relative\"",
        "process.env[2]: invalid environment variable: missing '='",
        "process.user.umask: 4096 is larger than 511 (0777)",
        "process.rlimits[1]: soft limit 2 is larger than the hard limit 1",
        "process.oomScoreAdj: 5000 is not between -1000 and 1000",
        "process.ioPriority.priority: 9 is not between 0 and 7",
        "mounts[2].destination: \"/proc/sys\" cannot be mounted because it is inside /proc",
        "hooks.poststop[0].path: must be an absolute path, not \"x\"",
        "hooks.poststop[0].timeout: must be greater than zero, not 0",
        "annotations[\"\"]: a key must not be empty",
        "linux.sysctl[\"kernel.core_pattern\"]: sysctl \"kernel.core_pattern\" is not in a separate kernel namespace",
        "linux.devices[0].path: must be an absolute path, not \"dev\"",
        "linux.cgroupsPath: \"../x\" must not contain \"..\"",
        "linux.rootfsPropagation: rootfsPropagation=\"sideways\" is not supported",
        "linux.resources.cpu.period: 1 is not between 1000 and 1000000 microseconds",
        "linux.resources.hugepageLimits[0].pageSize: \"big\" is not a size",
    ];
    let mut last = 0;
    for text in want {
        let found = line.find(text).unwrap_or_else(|| panic!("{text} is not in {line}"));
        assert!(found > last, "{text} comes too early in {line}");
        last = found;
    }
    assert!(line.starts_with(&format!("config.json: {} problems: ", want.len())), "{line}");
    assert_eq!(
        config.warnings,
        ["process.capabilities.bounding[0]: unknown capability \"CAP_UNKNOWN\" ignored"]
    );
}
