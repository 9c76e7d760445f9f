//! Golden plans: what config.json becomes, as text. No root needed. After a change that is meant:
//! `UPDATE_GOLDEN=1 cargo test --lib plan::tests`, and read the difference.

use super::*;

fn check(name: &str, config: &str, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut config: serde_json::Value = serde_json::from_str(config).unwrap();
    edit(&mut config);
    let config = crate::config::from_slice(config.to_string().into_bytes()).unwrap();
    let options = Options { id: "c1".into(), bundle: "/bundle".into(), ..Options::default() };
    let plan = format!("{:#?}\n", build(&config.spec, &options).unwrap());
    let path = format!("{}/src/plan/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &plan).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (number, (want, is)) in golden.lines().zip(plan.lines()).enumerate() {
        assert_eq!(is, want, "{path}:{}", number + 1);
    }
    assert_eq!(plan.lines().count(), golden.lines().count());
}

const DOCKER: &str = include_str!("../../integration/data/docker-config.json");

#[test]
fn docker() {
    check("docker", DOCKER, |_| {});
}

#[test]
fn everything_a_process_can_have() {
    check("process", DOCKER, |config| {
        config["process"] = serde_json::json!({
            "args": ["/bin/x", "-y"], "cwd": "/srv/../w", "env": ["A=1", "B=2", "A=3"], "terminal": true,
            "consoleSize": {"height": 25, "width": 80},
            "user": {"uid": 1, "gid": 2, "additionalGids": [3, 4], "umask": 18},
            "capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL", "CAP_CHOWN"],
                "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}, {"type": "RLIMIT_RTTIME", "soft": 3, "hard": 4}],
            "noNewPrivileges": true, "oomScoreAdj": -5,
            "scheduler": {"policy": "SCHED_FIFO", "priority": 7, "flags": ["SCHED_FLAG_KEEP_POLICY"]},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3}
        });
        config["linux"]["personality"] = serde_json::json!({"domain": "LINUX32"});
        config["linux"]["memoryPolicy"] = serde_json::json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-1,65", "flags": ["MPOL_F_STATIC_NODES"]});
    });
}

#[test]
fn a_pod_member_with_users_and_hooks() {
    check("pod", DOCKER, |config| {
        config["linux"]["namespaces"] = serde_json::json!([
            {"type": "mount"}, {"type": "pid"}, {"type": "user", "path": "/proc/7/ns/user"},
            {"type": "network", "path": "/proc/7/ns/net"}, {"type": "time"}
        ]);
        config["linux"]["timeOffsets"] =
            serde_json::json!({"boottime": {"secs": -1, "nanosecs": 5}, "monotonic": {"secs": 2}});
        config["linux"]["sysctl"] =
            serde_json::json!({"net.ipv4.conf.eth0/1.rp_filter": "1", "kernel/shmmax": "9"});
        config["linux"]["rootfsPropagation"] = "rshared".into();
        config["linux"]["devices"] = serde_json::json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 432, "uid": 1, "gid": 2},
            {"path": "/run/fifo", "type": "p", "major": 5, "minor": 5}, {"path": "/dev/null", "type": "u", "major": 1, "minor": 3}
        ]);
        config["mounts"] = serde_json::json!([
            {"destination": "data", "source": "sub", "type": "bind", "options": ["rbind", "ro", "rslave"],
                "uidMappings": [{"containerID": 0, "hostID": 9, "size": 1}], "gidMappings": [{"containerID": 0, "hostID": 8, "size": 1}]},
            {"destination": "/dev", "source": "/dev", "options": ["bind"]},
            {"destination": "/c", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
            {"destination": "/c", "options": ["remount", "rw"]}
        ]);
        config["hooks"] = serde_json::json!({
            "createRuntime": [{"path": "/h"}], "poststop": [{"path": "/p", "args": ["p", "1"], "env": [], "timeout": 3}]
        });
    });
}

#[test]
fn what_becomes_read_only_last() {
    let mut config: serde_json::Value = serde_json::from_str(DOCKER).unwrap();
    config["mounts"] = serde_json::json!([
        {"destination": "/t", "type": "tmpfs", "options": ["ro"]},
        {"destination": "/dev/", "type": "ramfs", "options": ["rro"]},
        {"destination": "/r", "type": "ramfs", "options": ["ro"]},
        {"destination": "/b", "type": "tmpfs", "source": "/b", "options": ["bind", "ro"]},
        {"destination": "/w", "type": "tmpfs", "options": ["rw"]},
        {"destination": "/u", "type": "tmpfs", "options": ["ro"]},
        {"destination": "/u", "type": "tmpfs", "options": ["remount", "rw"]},
        {"destination": "/w", "type": "tmpfs", "options": ["remount", "ro"]}
    ]);
    let config = crate::config::from_slice(config.to_string().into_bytes()).unwrap();
    let mounts = build(&config.spec, &Options::default()).unwrap().rootfs.unwrap().mounts;
    let last: Vec<bool> = mounts.iter().map(|mount| mount.readonly_last).collect();
    assert_eq!(last, [true, true, false, false, false, false, false, true]);
    for mount in mounts.iter().filter(|mount| mount.readonly_last) {
        assert_eq!(mount.options.classic() & libc::MS_RDONLY, 0, "{}", mount.describe());
    }
}
