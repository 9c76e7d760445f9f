use super::*;
use crate::plan;

/// The fields of a message as text, in their order: `number:value`, nested ones as far as they are known to be such.
fn shown(bytes: &[u8], nested: &[u64]) -> Vec<String> {
    let each = |(field, value): (u64, Value<'_>)| match value {
        Value::Number(n) => vec![format!("{field}:{n}")],
        Value::Bytes(bytes) if nested.contains(&field) => {
            shown(bytes, &[]).into_iter().map(|inner| format!("{field}.{inner}")).collect()
        }
        Value::Bytes(bytes) => vec![format!("{field}:{}", String::from_utf8_lossy(bytes))],
    };
    fields(bytes).unwrap().into_iter().flat_map(each).collect()
}

/// The kind of a request, and its options.
fn opened(request: &[u8]) -> (u64, Vec<String>) {
    let mut kind = 0;
    let mut opts = Vec::new();
    for (field, value) in fields(request).unwrap() {
        match (field, value) {
            (1, Value::Number(n)) => kind = n,
            (2, Value::Bytes(bytes)) => opts = shown(bytes, &[11, 25, 27, 39]),
            _ => panic!("field {field}"),
        }
    }
    (kind, opts)
}

fn has(opts: &[String], wanted: &[&str]) {
    for wanted in wanted {
        assert!(opts.iter().any(|opt| opt == wanted), "no {wanted} in {opts:?}");
    }
}

fn place() -> Place {
    Place { images: 300, work: Some(5), log: "dump.log", config: "/etc/criu/x.conf".into() }
}

#[test]
fn a_dump_with_nothing_asked_for() {
    let what = Dump {
        pid: 4711,
        freezer: "/sys/fs/cgroup/x".into(),
        mounts: vec![("/real/vol".into(), "/vol".into()), ("/proc/keys".into(), MASK.into())],
        namespaces: vec![("net", 42)],
        files: vec!["file[a:b]".into()],
    };
    let flags = Flags { cgroups_mode: 3, ..Flags::default() };
    let (kind, opts) = opened(&dump(&flags, &place(), &what));
    assert_eq!(kind, 1);
    has(
        &opts,
        &["1:300", "17:5", "2:4711", "9:4", "10:dump.log", "51:/etc/criu/x.conf", "44:/sys/fs/cgroup/x"],
    );
    has(&opts, &["37:mnt[/real/vol]:/vol", "37:mnt[/proc/keys]:/dev/null", "37:net[42]:extRootNetNS"]);
    has(&opts, &["37:file[a:b]", "12:1", "24:1", "34:3", "38:1073741824", "50:1"]);
    for absent in ["3:", "4:", "5:", "7:", "8:", "14:", "15:", "16:", "18:", "46:", "48:", "64:"] {
        assert!(!opts.iter().any(|opt| opt.starts_with(absent)), "{absent} in {opts:?}");
    }
}

#[test]
fn each_flag_has_its_field() {
    let flags = Flags {
        tcp_established: true,
        ext_unix_sk: true,
        shell_job: true,
        lazy_pages: true,
        file_locks: true,
        auto_dedup: true,
        cgroups_mode: cgroups_mode("ignore").unwrap(),
        network_lock: network_lock("nftables").unwrap(),
        leave_running: true,
        tcp_skip_in_flight: true,
        link_remap: true,
        parent_path: "../before".into(),
        page_server: Some(("::1".into(), 8080)),
        tcp_close: true,
        lsm_profile: "apparmor:x".into(),
        lsm_mount_context: "c".into(),
        ..Flags::default()
    };
    let (_, opts) = opened(&dump(&flags, &place(), &Dump::default()));
    has(&opts, &["3:1", "4:1", "5:1", "7:1", "8:1", "14:../before", "15:1", "16:1", "18:1", "34:0"]);
    has(&opts, &["46:1", "48:1", "64:2", "11.1:::1", "11.2:8080"]);
    let (kind, opts) = opened(&restore(&flags, &place(), &Restore::default()));
    assert_eq!(kind, 2);
    has(
        &opts,
        &["4:1", "5:1", "7:1", "8:1", "16:1", "34:0", "48:1", "52:1", "53:apparmor:x", "63:c", "64:2"],
    );
}

#[test]
fn a_pre_dump_names_no_mounts() {
    let what = Dump { mounts: vec![("/vol".into(), "/vol".into())], ..Dump::default() };
    let (kind, opts) = opened(&dump(&Flags { pre_dump: true, ..Flags::default() }, &place(), &what));
    assert_eq!(kind, 4);
    assert!(!opts.iter().any(|opt| opt.contains("mnt[")), "{opts:?}");
}

#[test]
fn a_restore() {
    let what = Restore {
        root: "/run/tare/x/criu-root".into(),
        mounts: vec![("/vol".into(), "/srv/vol".into())],
        inherit: vec![(1, "pipe:[7]".into()), (9, namespace_key("pid"))],
        join: vec![("uts", "/proc/1/ns/uts".into())],
        cgroups: vec![("memory".into(), "/x".into()), (String::new(), "/x".into())],
    };
    let (_, opts) = opened(&restore(&Flags::default(), &Place { work: None, ..place() }, &what));
    has(&opts, &["13:/run/tare/x/criu-root", "6:1", "26:1", "37:mnt[/vol]:/srv/vol"]);
    has(
        &opts,
        &["27.1:pipe:[7]", "27.2:1", "27.1:extRootPidNS", "27.2:9", "39.1:uts", "39.2:/proc/1/ns/uts"],
    );
    // v2 has an empty name, which is one.
    has(&opts, &["25.1:memory", "25.2:/x", "25.1:"]);
    assert!(!opts.iter().any(|opt| opt.starts_with("17:")), "{opts:?}");
}

fn planned(json: serde_json::Value) -> Plan {
    let spec = serde_json::from_value(json).unwrap();
    plan::build(&spec, &plan::Options { bundle: "/b".into(), ..plan::Options::default() }).unwrap()
}

fn config(mounts: serde_json::Value, namespaces: serde_json::Value) -> Plan {
    planned(serde_json::json!({
        "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "mounts": mounts,
        "linux": {"namespaces": namespaces, "maskedPaths": ["/proc/keys"]}
    }))
}

#[test]
fn bind_mounts_and_cgroups_are_external() {
    let plan = config(
        serde_json::json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/vol", "type": "bind", "source": "data", "options": ["ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
        ]),
        serde_json::json!([{"type": "pid"}, {"type": "mount"}]),
    );
    let rootfs = plan.rootfs.as_ref().unwrap();
    let named = |cgroups: &[(String, PathBuf)]| -> Vec<String> {
        let external = externals(rootfs, cgroups);
        external.iter().map(|e| format!("{} {}", e.destination.display(), e.source.display())).collect()
    };
    assert_eq!(named(&[(String::new(), "/c".into())]), ["/vol /b/data", "/sys/fs/cgroup /c"]);
    let v1 = [("cpu".to_owned(), "/c/cpu".into()), ("pids".to_owned(), "/c/pids".into())];
    assert_eq!(named(&v1), ["/vol /b/data", "/sys/fs/cgroup/cpu /c/cpu", "/sys/fs/cgroup/pids /c/pids"]);
    let (external, mask) = (externals(rootfs, &[]), mask());
    let set: Vec<_> = attributes(rootfs, &external, &mask).collect();
    assert_eq!(set[0].0, Path::new("/vol"));
    assert_eq!(set[0].1.attr_set, libc::MOUNT_ATTR_RDONLY);
    assert_eq!(set[1].0, Path::new("/proc/keys"));
    assert_ne!(set[1].1.attr_set & libc::MOUNT_ATTR_NOSUID, 0);
}

#[test]
fn what_cannot_be_saved() {
    let none = || serde_json::json!([]);
    let all = || serde_json::json!([{"type": "pid"}, {"type": "mount"}]);
    judge(&config(none(), all())).unwrap();
    let says = |plan: &Plan, what: &str| {
        let error = judge(plan).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains(what), "{error}");
    };
    says(&config(none(), serde_json::json!([{"type": "mount"}])), "without a pid namespace");
    says(&config(none(), serde_json::json!([{"type": "pid"}])), "mount namespace");
    let joined = serde_json::json!([{"type": "pid"}, {"type": "mount"}, {"type": "cgroup", "path": "/x"}]);
    says(&config(none(), joined), "joins a cgroup namespace");
    let mapped = serde_json::json!([{
        "destination": "/v", "type": "bind", "source": "/v",
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]
    }]);
    says(&config(mapped, all()), "mounts[0] (/v): a container with id-mapped mounts");
}

#[test]
fn namespaces_are_left_alone_or_joined() {
    let plan = config(
        serde_json::json!([]),
        serde_json::json!([
            {"type": "pid", "path": "/p"}, {"type": "mount"}, {"type": "network", "path": "/n"},
            {"type": "ipc", "path": "/i"}
        ]),
    );
    let (left, joined) = joined(&plan.namespaces);
    assert_eq!(left, [("pid", "/p".into()), ("net", "/n".into())]);
    assert_eq!(joined, [("ipc", PathBuf::from("/i"))]);
}

#[test]
fn answers() {
    let mut message = Message::default();
    message.text(1, "post-restore");
    message.number(2, 12345);
    let mut response = Message::default();
    response.number(1, NOTIFY);
    response.number(2, 1);
    response.message(5, &message);
    response.text(99, "of a newer criu");
    assert_eq!(answer(&response.0), Some(Answer::Notify { script: "post-restore".into(), pid: 12345 }));
    assert_eq!(answer(b"\x08\x02\x10\x01"), Some(Answer::Done));
    assert_eq!(answer(b"\x08\x01\x10\x00\x38\x05"), Some(Answer::Failed { errno: 5 }));
    for broken in
        [&b"\x08"[..], b"\x2a\x05\x0a", b"\x0f\x00", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        assert_eq!(answer(broken), None, "{broken:?}");
    }
    assert_eq!(noticed(true), b"\x08\x06\x18\x01");
    assert_eq!(noticed(false), b"\x08\x06\x18\x00");
}
