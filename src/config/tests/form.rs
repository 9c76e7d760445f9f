//! Reading: files, form, and the gaps of oci-spec.

use oci_spec::runtime::{Capability, LinuxDeviceType, LinuxSchedulerFlag as Flag};

use super::*;
use crate::error::Errno;

/// A folder of its own, removed at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tare-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_can_be_wrong_with_the_file() {
    let folder = Folder::new("file");
    let bundle = folder.0.display().to_string();
    let file = folder.0.join("config.json");
    let error = |bundle: &Path, file: Option<&Path>| load(bundle, file).unwrap_err();

    let e = error(Path::new("/nonexistent/b"), None);
    assert_eq!(e.to_string(), "bundle /nonexistent/b: no such file or directory");
    assert_eq!(e.errno(), Some(Errno::ENOENT));

    let e = error(&folder.0, None);
    assert_eq!(e.to_string(), format!("bundle {bundle}: JSON specification file config.json not found"));
    let e = error(Path::new("/nonexistent/b"), Some(Path::new("/nonexistent/f.json")));
    assert_eq!(e.to_string(), "JSON specification file /nonexistent/f.json not found");

    for (content, want) in [
        ("", "the file is empty"),
        (" \n\t", "the file is empty"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("\"x\"", "not a JSON object"),
        ("\u{feff}{}", "not a JSON object"),
        ("{", "unexpected end of JSON input (line 1, column 1)"),
        ("{\n\"root\": {", "unexpected end of JSON input (line 2, column 9)"),
        ("{\"ociVersion\": 1, ", "unexpected end of JSON input (line 1, column 18)"),
        ("{\"ociVersion\": 1, \"x\" }", "invalid JSON: expected `:` (line 1, column 23)"),
        ("{'a': 1}", "invalid JSON: key must be a string (line 1, column 2)"),
        ("{} {}", "invalid JSON: trailing characters (line 1, column 4)"),
        ("{\"root\": 07}", "invalid JSON: invalid number (line 1, column 11)"),
    ] {
        std::fs::write(&file, content).unwrap();
        let e = error(&folder.0, None);
        assert_eq!(e.to_string(), format!("parse {bundle}/config.json: {want}"), "{content:?}");
        assert_eq!(e.kind(), Kind::Config);
    }

    std::fs::write(&file, minimal().to_string()).unwrap();
    assert!(load(&folder.0, None).is_ok());
    assert!(load(Path::new("/nonexistent"), Some(&file)).is_ok());
    // A bundle that is a file.
    let want = format!("bundle {bundle}/config.json: open {bundle}/config.json/config.json: not a directory");
    assert_eq!(error(&file, None).to_string(), want);

    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(error(&folder.0, None).to_string(), format!("read {bundle}/config.json: is a directory"));
}

#[test]
fn a_huge_file_is_refused_without_reading_it() {
    let folder = Folder::new("huge");
    let file = folder.0.join("config.json");
    std::fs::File::create(&file).unwrap().set_len(MAX_SIZE + 1).unwrap();
    let e = load(&folder.0, None).unwrap_err();
    assert_eq!(e.to_string(), format!("read {}: larger than 16 MiB", file.display()));
    // A file that does not say how long it is.
    let e = load(&folder.0, Some(Path::new("/dev/zero"))).unwrap_err();
    assert_eq!(e.to_string(), "read /dev/zero: larger than 16 MiB");
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let deep = |key: &str| {
        let nest = "[".repeat(100_000) + &"]".repeat(100_000);
        format!("{{\"ociVersion\": \"1.0.0\", \"root\": {{\"path\": \"r\"}}, \"{key}\": {nest}}}")
    };
    let line = from_slice(deep("mounts").into_bytes()).unwrap_err().to_string();
    assert!(line.starts_with("invalid JSON: recursion limit exceeded"), "{line}");
    // What is not ours is skipped, whatever it is.
    assert!(from_slice(deep("future").into_bytes()).is_ok());
}

#[test]
fn unknown_capabilities_are_warned_about_and_dropped() {
    let config = with(json!({"process": {"cwd": "/", "args": ["x"],
        "capabilities": {"bounding": ["CAP_KILL", "CAP_FUTURE", "KILL", "cap_chown", ""]}}}));
    let config = read_value(&config);
    let want = [
        "process.capabilities.bounding[1]: unknown capability \"CAP_FUTURE\" ignored",
        "process.capabilities.bounding[2]: unknown capability \"KILL\" ignored",
        "process.capabilities.bounding[3]: unknown capability \"cap_chown\" ignored",
        "process.capabilities.bounding[4]: unknown capability \"\" ignored",
    ];
    assert_eq!(config.warnings, want);
    assert_eq!(validate(&config, &plain(), &Options::default(), vec![]).unwrap(), want);
    let caps = config.spec.process().as_ref().unwrap().capabilities().clone().unwrap();
    assert_eq!(caps.bounding(), &Some([Capability::Kill].into()));
}

#[test]
fn a_capability_by_another_name_than_the_kernels_is_unknown() {
    // oci-spec reads all of these.
    for name in ["chown", "CHOWN", "cap_chown", "Cap_CHOWN", "CAP_chown", "CAP_CAP_CHOWN"] {
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            let mut caps = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_CHOWN"]});
            caps[set] = json!([name]);
            let config = read_value(&with(
                json!({"process": {"cwd": "/", "args": ["x"], "user": {}, "capabilities": caps}}),
            ));
            let want = format!("process.capabilities.{set}[0]: unknown capability {name:?} ignored");
            assert_eq!(config.warnings, [want]);
            let caps = config.spec.process().as_ref().unwrap().capabilities().clone().unwrap();
            let granted = caps.bounding().iter().chain(caps.effective()).flatten();
            assert!(granted.into_iter().all(|cap| *cap == Capability::Kill), "{name} {set}");
        }
    }
    // However the key is written.
    let text =
        with(json!({"process": {"cwd": "/", "args": ["x"], "user": {}, "CAPS": {"bounding": ["chown"]}}}));
    let text = text.to_string().replace("CAPS", "c\\u0061pabilities");
    assert_eq!(from_slice(text.into_bytes()).unwrap().warnings.len(), 1);
}

#[test]
fn every_capability_has_its_kernel_name() {
    let names = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
        NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE \
        SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE \
        AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF \
        CHECKPOINT_RESTORE";
    for (number, name) in names.split_whitespace().enumerate() {
        let cap = capability::parse(&format!("CAP_{name}"));
        assert_eq!(cap.map(capability::number), Some(number as u32), "{name}");
    }
}

#[test]
fn scheduler_flags_have_the_kernels_names() {
    let scheduler = |flags: Value| {
        with(
            json!({"process": {"cwd": "/", "args": ["x"], "scheduler": {"policy": "SCHED_OTHER", "flags": flags}}}),
        )
    };
    let all: Vec<&str> = schema::SCHED_FLAGS.iter().map(|(name, _)| *name).collect();
    let config = read_value(&scheduler(json!(all)));
    assert!(validate(&config, &plain(), &Options::default(), vec![]).is_ok());
    let process = config.spec.process().clone().unwrap();
    let flags = process.scheduler().clone().unwrap().flags().clone().unwrap();
    assert_eq!(flags.len(), 7);
    assert_eq!(flags[0], Flag::SchedResetOnFork);
    assert_eq!(flags[2], Flag::SchedFlagDLOverrun);
    // The names that only oci-spec knows.
    for name in ["SCHED_RESET_ON_FORK", "SCHED_FLAG_D_L_OVERRUN"] {
        let line = judge(&scheduler(json!([name, "SCHED_FLAG_NEW"]))).unwrap_err();
        assert!(line.contains(&format!("process.scheduler.flags[0]: unknown value {name:?}")), "{line}");
        assert!(line.contains("process.scheduler.flags[1]: unknown value \"SCHED_FLAG_NEW\""), "{line}");
    }
}

#[test]
fn cpu_affinity_may_be_empty_or_spaced() {
    for (initial, want) in [
        ("", None),
        (" ,, ", None),
        ("0", Some("0")),
        ("0-3, 7", Some("0-3,7")),
        ("1,,2,", Some("1,2")),
        (" 4 - 5 ", Some("4-5")),
        ("3-3", Some("3")),
    ] {
        let config =
            with(json!({"process": {"cwd": "/", "args": ["x"], "execCPUAffinity": {"initial": initial}}}));
        let config = read_value(&config);
        assert!(validate(&config, &plain(), &Options::default(), vec![]).is_ok(), "{initial}");
        let affinity = config.spec.process().clone().unwrap().exec_cpu_affinity().clone().unwrap();
        assert_eq!(affinity.initial().as_deref(), want, "{initial}");
    }
    for wrong in ["x", "1-", "-1", "3-1", "1-2-3", "+1", "0x1", "99999", "1;2"] {
        let config = json!({"process": {"cwd": "/", "args": ["x"], "execCPUAffinity": {"final": wrong}}});
        let line = judge(&with(config)).unwrap_err();
        assert!(line.starts_with("config.json: process.execCPUAffinity.final: "), "{wrong}: {line}");
    }
}

#[test]
fn a_pids_limit_is_absent_zero_or_unlimited() {
    for (pids, want) in [
        (json!({}), None),
        (json!(null), None),
        (json!({"limit": null}), None),
        (json!({"limit": 0}), Some(0)),
        (json!({"limit": -1}), Some(-1)),
        (json!({"limit": 100}), Some(100)),
    ] {
        let config = read_value(&with(json!({"linux": {"resources": {"pids": pids}}})));
        assert_eq!(config.spec.resources().unwrap().pids().map(|p| p.limit()), want, "{pids}");
        let (resources, _) = resources_from_slice(json!({"pids": pids}).to_string().as_bytes()).unwrap();
        assert_eq!(resources.pids().map(|p| p.limit()), want, "{pids}");
    }
}

#[test]
fn the_user_may_be_left_out() {
    for process in [json!({"cwd": "/", "args": ["x"]}), json!({"cwd": "/", "args": ["x"], "user": null})] {
        let config = read_value(&with(json!({"process": process})));
        assert!(validate(&config, &plain(), &Options::default(), vec![]).is_ok());
        let process = config.spec.process().clone().unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
        assert_eq!(process.user().umask(), None);
    }
}

#[test]
fn no_new_privileges_may_be_absent() {
    for (value, want) in [(json!(null), None), (json!(false), Some(false)), (json!(true), Some(true))] {
        let config = with(json!({"process": {"cwd": "/", "args": ["x"], "noNewPrivileges": value}}));
        assert_eq!(read_value(&config).spec.process().clone().unwrap().no_new_privileges(), want);
    }
}

#[test]
fn null_is_not_given() {
    // As Go writes a nil slice, map or pointer.
    let nulls = json!({
        "ociVersion": "1.0.0", "root": {"path": "rootfs", "readonly": null},
        "process": {"cwd": "/", "args": ["x"], "env": null, "terminal": null, "user": {"uid": null, "additionalGids": null},
            "capabilities": {"bounding": null, "ambient": null}, "rlimits": null, "oomScoreAdj": null},
        "hostname": null, "mounts": null, "hooks": {"prestart": null, "poststop": null}, "annotations": null,
        "linux": {"devices": null, "namespaces": null, "sysctl": null, "maskedPaths": null, "seccomp": null,
            "uidMappings": null, "resources": {"devices": null, "memory": {"limit": null}, "unified": null,
            "hugepageLimits": null, "network": {"priorities": null}}}});
    let config = read_value(&nulls);
    assert_eq!(validate(&config, &plain(), &Options::default(), vec![]).unwrap(), Vec::<String>::new());
    let process = config.spec.process().clone().unwrap();
    assert_eq!((process.user().uid(), process.environment().len()), (0, 0));
    assert!(config.spec.mount_list().is_empty() && config.spec.hook_list(HookKind::Prestart).is_empty());
    assert!(config.spec.namespaces().is_empty());
    // In an array or a map it is the zero value.
    let config = read_value(&with(json!({"annotations": {"a": null, "b": "c"},
        "process": {"cwd": "/", "args": ["x", null]}})));
    assert_eq!(config.spec.annotation("a"), Some(""));
    assert_eq!(config.spec.process().clone().unwrap().argv(), ["x", ""]);
    // Where something must be given, null is nothing.
    for (members, path) in [
        (json!({"process": {"cwd": null, "args": ["x"]}}), "process.cwd: must be specified"),
        (json!({"process": {"cwd": "/", "args": null}}), "process.args: must not be empty"),
        (json!({"root": null}), "root: must be specified"),
        (json!({"mounts": [null]}), "mounts[0].destination: must be specified"),
        (
            json!({"linux": {"seccomp": {"defaultAction": null}}}),
            "linux.seccomp.defaultAction: must be specified",
        ),
    ] {
        let line = judge(&with(members)).unwrap_err();
        assert!(line.contains(path), "{line}");
    }
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    let text =
        r#"{"ociVersion": "0.1.0", "root": {"path": "a"}, "ociVersion": "1.0.0", "root": {"path": "b"}}"#;
    let config = from_slice(text.into()).unwrap();
    assert!(validate(&config, &plain(), &Options::default(), vec![]).is_ok());
    assert_eq!(config.spec.root().clone().unwrap().path(), Path::new("b"));
}

#[test]
fn what_is_not_ours_is_ignored() {
    let other = json!({
        "future": {"x": [1, 2]}, "windows": "nonsense", "solaris": 7, "vm": [], "zos": true,
        "uidMappings": "nonsense", "gidMappings": {},
        "process": {"cwd": "/", "args": ["x"], "commandLine": 5, "future": null},
        "hooks": {"future": [{"path": 5}]},
        "linux": {"future": 1, "intelRdt": {"enableCMT": "x", "enableCmt": "x"}, "namespaces": [{"type": "pid", "future": {}}]}});
    let config = read_value(&with(other));
    assert!(validate(&config, &able(), &Options::default(), vec![]).is_ok());
    assert!(config.spec.windows().is_none() && config.spec.vm().is_none());
}

#[test]
fn numbers_have_their_ranges() {
    let user =
        |uid: Value| judge(&with(json!({"process": {"cwd": "/", "args": ["x"], "user": {"uid": uid}}})));
    assert!(user(json!(u32::MAX - 1)).is_ok());
    for (uid, want) in [
        (json!(-1), "number -1"),
        (json!(4294967296u64), "number 4294967296"),
        (json!(1.5), "number 1.5"),
        (json!(1.0), "number 1.0"),
        (json!("abc"), "string \"abc\""),
        (json!("x".repeat(200)), &format!("string {:?}…", "x".repeat(60))),
        (json!(true), "true"),
    ] {
        let line = user(uid).unwrap_err();
        assert_eq!(
            line,
            format!("config.json: process.user.uid: expected an unsigned 32-bit number, found {want}")
        );
    }
    for (at, ok, wrong, want) in [
        ("/linux/resources/memory/limit", json!(i64::MIN + (1 << 62)), json!(1u64 << 63), "a 64-bit number"),
        ("/linux/resources/cpu/shares", json!(u64::MAX), json!(-1), "an unsigned 64-bit number"),
        ("/linux/resources/blockIO/weight", json!(65535), json!(65536), "an unsigned 16-bit number"),
        ("/process/oomScoreAdj", json!(i32::MIN), json!(1i64 << 31), "a 32-bit number"),
    ] {
        let path = at[1..].replace('/', ".");
        let mut config = parsed(FULL);
        *config.pointer_mut(at).unwrap() = ok;
        if let Err(line) = judge_on(&able(), Options::default(), &config) {
            assert!(!line.contains("expected"), "{line}");
        }
        *config.pointer_mut(at).unwrap() = wrong.clone();
        let line = judge_on(&able(), Options::default(), &config).unwrap_err();
        assert!(line.contains(&format!("{path}: expected {want}, found number {wrong}")), "{line}");
    }
}

#[test]
fn a_huge_page_limit_is_unsigned() {
    let limit = |limit: Value| {
        let config =
            with(json!({"linux": {"resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": limit}]}}}));
        let config = read_value(&config);
        let value = config.spec.resources().unwrap().hugepage_limits().clone().unwrap()[0].limit();
        validate(&config, &plain(), &Options::default(), vec![]).map(|_| value).map_err(|e| e.to_string())
    };
    assert_eq!(limit(json!(5)), Ok(5));
    assert_eq!(limit(json!(u64::MAX)), Ok(i64::MAX));
    assert!(limit(json!(-1)).unwrap_err().contains("linux.resources.hugepageLimits[0].limit: -1 is not"));
}

#[test]
fn rlimits_need_both_numbers() {
    let config = with(json!({"process": {"cwd": "/", "args": ["x"], "rlimits": [
        {"type": "RLIMIT_CORE", "hard": 0, "soft": 0}, {"type": "RLIMIT_NOFILE", "soft": 1}, {"type": "RLIMIT_CPU", "hard": 1}]}}));
    assert_eq!(
        judge(&config).unwrap_err(),
        "config.json: 2 problems: process.rlimits[1].hard: must be specified; process.rlimits[2].soft: must be specified"
    );
}

#[test]
fn devices_need_their_numbers_unless_fifos() {
    let config = with(json!({"linux": {"devices": [
        {"path": "/dev/a", "type": "c", "major": 0, "minor": 0},
        {"path": "/dev/b", "type": "b", "major": 8},
        {"path": "/dev/c", "type": "u", "minor": null, "major": 1},
        {"path": "/dev/p", "type": "p"},
        {"path": "/dev/q", "type": "p", "major": 7, "minor": 9, "fileMode": 4480}]}}));
    assert_eq!(
        judge(&config).unwrap_err(),
        "config.json: 2 problems: linux.devices[1].minor: must be specified for a device that is not a FIFO; \
         linux.devices[2].minor: must be specified for a device that is not a FIFO"
    );
    let config = read_value(&config);
    let devices = config.spec.device_list();
    assert_eq!((devices[4].numbers(), devices[4].permissions()), ((0, 0), 0o600));
    assert_eq!((devices[3].typ(), devices[3].permissions()), (LinuxDeviceType::P, 0o666));
}

#[test]
fn an_empty_rule_type_is_every_type() {
    let rule = json!({"linux": {"resources": {"devices": [{"type": "", "allow": false, "access": "rwm", "major": null}]}}});
    let config = read_value(&with(rule));
    assert!(validate(&config, &plain(), &Options::default(), vec![]).is_ok());
    let rules = config.spec.resources().unwrap().devices().clone().unwrap();
    assert_eq!((rules[0].typ(), rules[0].major()), (None, None));
}

#[test]
fn newer_fields_are_kept() {
    let spec = from_slice(FULL.into()).unwrap().spec;
    let linux = spec.linux_opt().unwrap();
    assert_eq!(linux.net_devices().clone().unwrap()["eth0"].name().as_deref(), Some("eth1"));
    assert!(linux.memory_policy().is_some());
    let rdt = linux.intel_rdt().clone().unwrap();
    assert_eq!(
        (rdt.schemata().as_deref().map(<[String]>::len), *rdt.enable_monitoring()),
        (Some(1), Some(true))
    );
    assert_eq!(linux.time_offsets().clone().unwrap()["monotonic"].secs(), Some(-1));
}

#[test]
fn every_name_of_the_table_is_one_of_oci_spec() {
    // Each enum of the table, in the place where FULL has one of its names.
    fn each(ty: &Type, way: String, found: &mut Vec<(String, &'static [&'static str])>) {
        match ty {
            Type::Enum(names) | Type::EnumOrEmpty(names) => found.push((way, names)),
            Type::Object(fields) => {
                fields.iter().for_each(|field| each(&field.ty, format!("{way}/{}", field.name), found));
            }
            // The second device rule is the one that has a type.
            Type::Array(inner) if way.ends_with("/resources/devices") => {
                each(inner, format!("{way}/1"), found)
            }
            Type::Array(inner) => each(inner, format!("{way}/0"), found),
            _ => {}
        }
    }
    let mut enums = vec![];
    each(&schema::SPEC, String::new(), &mut enums);
    assert_eq!(enums.len(), 14);
    for (way, names) in enums {
        for name in names {
            let mut config = parsed(FULL);
            *config.pointer_mut(&way).unwrap_or_else(|| panic!("{way} is not in full.json")) = json!(name);
            // It comes back as it was written: no name is taken for another.
            let spec = serde_json::to_value(read_value(&config).spec).unwrap();
            assert_eq!(spec.pointer(&way), Some(&json!(name)), "{way}");
            if let Err(line) = judge_on(&able(), Options::default(), &config) {
                assert!(!line.contains("unknown value"), "{line}");
            }
        }
        let mut config = parsed(FULL);
        *config.pointer_mut(&way).unwrap() = json!("nonsense");
        let line = judge_on(&able(), Options::default(), &config).unwrap_err();
        assert!(line.contains("unknown value \"nonsense\""), "{way}: {line}");
    }
}

#[test]
fn the_process_of_exec() {
    let read = |text: &str| process_from_slice(text.as_bytes(), &plain()).map_err(|e| e.to_string());
    let (process, warnings) = read(
        r#"{"args": ["id"], "cwd": "/", "env": null, "capabilities": {"bounding": ["CAP_X", "CAP_KILL"]}}"#,
    )
    .unwrap();
    assert_eq!((process.argv(), process.user().uid()), (&["id".to_owned()][..], 0));
    assert_eq!(warnings, ["capabilities.bounding[0]: unknown capability \"CAP_X\" ignored"]);
    for (text, want) in [
        ("", "parse process: the file is empty"),
        ("{\"args\": [\"id\"", "parse process: unexpected end of JSON input (line 1, column 14)"),
        (
            r#"{"args": [], "cwd": "x", "user": {"uid": "0"}}"#,
            "process: 3 problems: user.uid: expected an unsigned 32-bit number, found string \"0\"; \
          args: must not be empty; cwd: must be an absolute path, not \"x\"",
        ),
        (
            r#"{"args": ["id"], "cwd": "/", "apparmorProfile": "p"}"#,
            "process: apparmorProfile: apparmor is not enabled on this host",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), want);
    }
    assert!(validate_process(&process, &plain()).is_ok());
}

#[test]
fn the_resources_of_update() {
    let read = |text: &str| resources_from_slice(text.as_bytes()).map_err(|e| e.to_string());
    // In an update the limit may be there already.
    assert!(read(r#"{"memory": {"swap": 1000}, "devices": null}"#).is_ok());
    for (text, want) in [
        ("[]", "parse resources: not a JSON object"),
        (
            r#"{"memory": {"limit": "1g"}, "cpu": {"period": 5}}"#,
            "resources: 2 problems: memory.limit: expected a 64-bit number, found string \"1g\"; \
          cpu.period: 5 is not between 1000 and 1000000 microseconds",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), want);
    }
}

#[test]
fn each_reason_to_look_twice_alone() {
    // oci-spec reads all of these without a word.
    let device = |members: Value| json!({"linux": {"devices": [members]}});
    for (members, want) in [
        (process(json!({"ioPriority": {"priority": 1}})), "process.ioPriority.class: must be specified"),
        (
            process(json!({"rlimits": [{"type": "RLIMIT_CPU", "soft": 0}]})),
            "process.rlimits[0].hard: must be specified",
        ),
        (
            process(json!({"rlimits": [{"type": "RLIMIT_CPU", "hard": 5}]})),
            "process.rlimits[0].soft: must be specified",
        ),
        (
            process(json!({"scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_RESET_ON_FORK"]}})),
            "process.scheduler.flags[0]: unknown value \"SCHED_RESET_ON_FORK\", expected one of SCHED_FLAG_RESET_ON_FORK",
        ),
        (
            device(json!({"path": "/dev/x", "type": "c", "minor": 5})),
            "linux.devices[0].major: must be specified",
        ),
        (
            device(json!({"path": "/dev/x", "type": "b", "major": 5})),
            "linux.devices[0].minor: must be specified",
        ),
    ] {
        let mut members = members;
        if let Some(process) = members.get_mut("process") {
            merge(process, json!({"user": {}}));
        }
        let config = with(members);
        assert!(serde_json::from_value::<Spec>(config.clone()).is_ok(), "{config}");
        let line = judge(&config).unwrap_err();
        assert!(line.starts_with(&format!("config.json: {want}")), "{line}");
    }
    for gone in ["cwd", "args"] {
        let mut process = json!({"user": {}, "cwd": "/", "args": ["x"], "ioPriority": {"priority": 1}});
        process.as_object_mut().unwrap().remove(gone);
        assert!(process_from_slice(process.to_string().as_bytes(), &plain()).is_err());
    }
}

#[test]
fn keys_in_other_case_are_the_same_keys() {
    // Go's decoder folds them. Where what is required is missing, the second look finds it, and all others.
    let text = r#"{"OCIVersion": "1.0.0", "Root": {"PATH": "rootfs", "readOnly": true},
        "linux": {"Devices": [{"path": "/dev/x", "TYPE": "c", "major": 1}],
            "resources": {"hugepageLimits": [{"pagesize": "2MB", "limit": 5}]}}}"#;
    let config = from_slice(text.as_bytes().to_vec()).unwrap();
    assert_eq!(config.spec.root().as_ref().unwrap().readonly(), Some(true));
    assert_eq!(
        config.spec.resources().unwrap().hugepage_limits().as_ref().unwrap()[0].page_size().as_str(),
        "2MB"
    );
    let line = validate(&config, &plain(), &Options::default(), vec![]).unwrap_err().to_string();
    assert!(line.contains("linux.devices[0].minor: must be specified"), "{line}");
    for (text, want) in [
        (r#"{"ociVersion": "1.0.0", "Root": {"path": "r"}}"#, Ok(vec![])),
        (
            r#"{"ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"Args": ["x"], "cwd": "/"}}"#,
            Ok(vec![]),
        ),
        (
            r#"{"ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"args": ["x"], "CWD": "/"}}"#,
            Ok(vec![]),
        ),
        (
            r#"{"ociVersion": "1.0.0", "root": {"path": "r"}, "linux":
                {"resources": {"hugepageLimits": [{"pagesize": "2MB", "Limit": 5}]}}}"#,
            Ok(vec![]),
        ),
    ] {
        assert_eq!(judge(&parsed(text)), want, "{text}");
    }
    // The exact one is preferred.
    let both =
        r#"{"ociversion": "x", "ociVersion": "1.0.0", "root": {"Path": "a", "path": "b"}, "process": 5}"#;
    let config = from_slice(both.as_bytes().to_vec()).unwrap();
    assert_eq!(config.spec.root().as_ref().unwrap().path().to_str(), Some("b"));
}

#[test]
fn what_is_no_character_is_replaced_as_by_go() {
    let read = |value: &[u8]| {
        let text =
            [br#"{"ociVersion": "1.0.0", "root": {"path": "r"}, "annotations": {"a": ""#, value, b"\"}}"]
                .concat();
        let config = from_slice(text).map_err(|e| e.to_string())?;
        serde_json::from_str::<Value>(&config.raw).map_err(|e| e.to_string())?;
        Ok::<_, String>(config.spec.annotations().as_ref().unwrap()["a"].clone())
    };
    let cases: [(&[u8], &str); 8] = [
        (br"\ud800", "\u{fffd}"),
        (br"\uDFFF!", "\u{fffd}!"),
        (br"\ud83d\ude00", "\u{1f600}"),
        (br"\ud800\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (br"\ud800\u0041", "\u{fffd}A"),
        (br"\\ud800 \ud800x", "\\ud800 \u{fffd}x"),
        (b"\xff\xc3\xa9", "\u{fffd}\u{e9}"),
        (b"\\ud800\xc3\xa9", "\u{fffd}\u{e9}"),
    ];
    for (written, want) in cases {
        assert_eq!(read(written).as_deref(), Ok(want), "{:?}", String::from_utf8_lossy(written));
    }
    for wrong in [&br"\ud8"[..], br"\u12x4", br"\"] {
        assert!(read(wrong).is_err());
    }
}
