//! Every node of a full config, deleted and replaced by wrong values: never a panic, and always the
//! right place.

use super::*;

/// A way down into a document.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

fn nodes(value: &Value, way: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
    all.push(way.clone());
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                way.push(Step::Key(key.clone()));
                nodes(inner, way, all);
                way.pop();
            }
        }
        Value::Array(list) => {
            for (i, inner) in list.iter().enumerate() {
                way.push(Step::Index(i));
                nodes(inner, way, all);
                way.pop();
            }
        }
        _ => {}
    }
}

fn at<'a>(mut value: &'a mut Value, way: &[Step]) -> &'a mut Value {
    for step in way {
        value = match step {
            Step::Key(key) => &mut value[key.as_str()],
            Step::Index(i) => &mut value[*i],
        };
    }
    value
}

fn json_path(way: &[Step]) -> String {
    way.iter().fold(String::new(), |path, step| match step {
        Step::Key(key) => problems::member(&path, key),
        Step::Index(i) => format!("{path}[{i}]"),
    })
}

fn all_nodes(config: &Value) -> Vec<Vec<Step>> {
    let mut all = vec![];
    nodes(config, &mut vec![], &mut all);
    all.retain(|way| !way.is_empty());
    all
}

/// The kind of a JSON value.
fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

#[test]
fn every_node_with_every_wrong_value() {
    let full = parsed(FULL);
    let host = able();
    // One of each kind for every node, and the extremes for what is of that kind already.
    let kinds = [
        json!(true),
        json!(7),
        json!(1.5),
        json!("x"),
        json!([]),
        json!([null]),
        json!([[[]]]),
        json!({"": null}),
        json!({"x": {"y": []}}),
        json!(null),
    ];
    let extremes = [
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("\u{0}"),
        json!("../../x"),
        json!("\n;é"),
    ];
    let mut judged = 0;
    for way in all_nodes(&full) {
        let path = json_path(&way);
        for replacement in kinds.iter().chain(&extremes) {
            let mut config = full.clone();
            let node = at(&mut config, &way);
            let other_kind = kind(node) != kind(replacement);
            if other_kind && extremes.contains(replacement) {
                continue;
            }
            *node = replacement.clone();
            let result = judge_on(&host, Options::default(), &config);
            judged += 1;
            if let Err(line) = &result {
                assert!(!line.contains('\n'), "{line}");
                assert!(line.starts_with("config.json: "), "{path} = {replacement}: {line}");
            }
            if !other_kind || replacement.is_null() {
                continue;
            }
            // serde reads an array as an object and an object with one key as an enum: config.json of
            // no one has that, and it is harmless.
            if matches!(replacement, Value::Array(_) | Value::Object(_)) && result.is_ok() {
                continue;
            }
            let line = result.expect_err(&format!("{path} = {replacement} was accepted"));
            assert!(line.contains(&path), "{path} = {replacement}: {line}");
            assert!(line.contains("expected"), "{path} = {replacement}: {line}");
        }
    }
    assert!(judged > 3000, "{judged}");
}

#[test]
fn every_key_without_its_value() {
    let full = parsed(FULL);
    let host = able();
    for way in all_nodes(&full) {
        let mut gone = full.clone();
        let (last, parent) = way.split_last().unwrap();
        let removed = match (last, at(&mut gone, parent)) {
            (Step::Key(key), Value::Object(map)) => map.remove(key).is_some(),
            (Step::Index(i), Value::Array(list)) => {
                list.remove(*i);
                true
            }
            _ => false,
        };
        assert!(removed);
        let without = judge_on(&host, Options::default(), &gone);
        // `null` for a key is the same as leaving it out, as in Go; in an array or a map it is the
        // zero value.
        let map_value = matches!(
            json_path(parent).as_str(),
            "annotations"
                | "linux.sysctl"
                | "linux.netDevices"
                | "linux.timeOffsets"
                | "linux.resources.rdma"
                | "linux.resources.unified"
        );
        if matches!(last, Step::Key(_)) && !map_value {
            let mut null = full.clone();
            *at(&mut null, &way) = Value::Null;
            assert_eq!(judge_on(&host, Options::default(), &null), without, "{}", json_path(&way));
        }
    }
}

#[test]
fn what_is_required() {
    let full = parsed(FULL);
    let host = able();
    let mut required = vec![];
    for way in all_nodes(&full) {
        let (Some(Step::Key(key)), parent) = (way.last().cloned(), &way[..way.len() - 1]) else { continue };
        let mut gone = full.clone();
        if let Value::Object(map) = at(&mut gone, parent) {
            map.remove(&key);
        }
        if let Err(line) = judge_on(&host, Options::default(), &gone)
            && line.contains(&json_path(&way))
        {
            required.push(json_path(&way));
        }
    }
    let want = [
        "linux.devices[0].major",
        "linux.devices[0].minor",
        "linux.devices[0].path",
        "linux.devices[0].type",
        "linux.devices[1].path",
        "linux.devices[1].type",
        "linux.gidMappings",
        "linux.gidMappings[0].size",
        "linux.memoryPolicy.mode",
        "linux.memoryPolicy.nodes",
        "linux.namespaces[0].type",
        "linux.namespaces[1].type",
        "linux.namespaces[2].type",
        "linux.namespaces[3].type",
        "linux.namespaces[4].type",
        "linux.namespaces[5].type",
        "linux.namespaces[6].type",
        "linux.namespaces[7].type",
        "linux.personality.domain",
        "linux.resources.devices[1].access",
        "linux.resources.hugepageLimits[0].pageSize",
        "linux.resources.network.priorities[0].name",
        "linux.seccomp.defaultAction",
        "linux.seccomp.syscalls[0].action",
        "linux.seccomp.syscalls[0].args[0].index",
        "linux.seccomp.syscalls[0].args[0].op",
        "linux.seccomp.syscalls[0].args[0].value",
        "linux.seccomp.syscalls[0].names",
        "linux.seccomp.syscalls[1].action",
        "linux.seccomp.syscalls[1].names",
        "linux.uidMappings",
        "linux.uidMappings[0].size",
        "mounts[0].destination",
        "mounts[0].type",
        "mounts[1].destination",
        "mounts[1].gidMappings",
        "mounts[1].gidMappings[0].size",
        "mounts[1].source",
        "mounts[1].uidMappings",
        "mounts[1].uidMappings[0].size",
        "ociVersion",
        "process.args",
        "process.cwd",
        "process.ioPriority.class",
        "process.rlimits[0].hard",
        "process.rlimits[0].soft",
        "process.rlimits[0].type",
        "process.rlimits[1].hard",
        "process.rlimits[1].soft",
        "process.rlimits[1].type",
        "process.scheduler.policy",
        "root",
        "root.path",
    ];
    let hooks: Vec<String> =
        HookKind::ALL.iter().map(|kind| format!("hooks.{}[0].path", kind.name())).collect();
    let mut want: Vec<String> = want.iter().map(|path| path.to_string()).chain(hooks).collect();
    want.sort_unstable();
    required.sort_unstable();
    assert_eq!(required, want);
}

#[test]
fn cut_off_anywhere() {
    for n in (0..DOCKER.len() - 2).filter(|n| DOCKER.is_char_boundary(*n)) {
        let line = from_slice(DOCKER.as_bytes()[..n].to_vec()).unwrap_err().to_string();
        let clear = line.starts_with("unexpected end of JSON input (line ") || line == "the file is empty";
        assert!(clear, "{n}: {line}");
    }
}

#[test]
fn bytes_changed_anywhere() {
    // No panic, whatever a byte becomes; each byte becomes another one of these.
    let bytes = [b'"', b'{', b'}', b'[', b',', b':', b'0', b'\\', 0xff];
    let text = FULL.as_bytes();
    for n in 0..text.len() {
        let mut changed = text.to_vec();
        changed[n] = bytes[n % bytes.len()];
        if let Ok(config) = from_slice(changed) {
            let _ = validate(&config, &able(), &Options::default(), vec![]);
        }
    }
}
