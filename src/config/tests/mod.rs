//! Tests of reading and judging.

mod form;
mod judge;
mod judge_linux;
mod mutate;

use super::*;
use crate::host::Facts;
use serde_json::{Value, json};

/// A config with every key that the specification has.
const FULL: &str = include_str!("full.json");
/// What Docker writes.
const DOCKER: &str = include_str!("../../../integration/data/docker-config.json");

/// A machine that can do everything.
fn able() -> Host {
    Host::fixed(Facts { apparmor: true, selinux: true, resctrl: true, kernel: (6, 18), ..Facts::default() })
}

/// Root on a machine without security modules.
fn plain() -> Host {
    Host::fixed(Facts { kernel: (6, 18), ..Facts::default() })
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The smallest config that is right.
fn minimal() -> Value {
    json!({"ociVersion": "1.0.0", "root": {"path": "rootfs"}})
}

/// [`minimal`] with these members on top.
fn with(members: Value) -> Value {
    let mut config = minimal();
    merge(&mut config, members);
    config
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn read_value(config: &Value) -> Config {
    from_slice(config.to_string().into_bytes()).unwrap()
}

/// Reads and judges: the warnings, or the error's line.
fn judge_on(host: &Host, options: Options, config: &Value) -> Result<Vec<String>, String> {
    match from_slice(config.to_string().into_bytes()) {
        Ok(config) => validate(&config, host, &options, vec![]).map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn judge(config: &Value) -> Result<Vec<String>, String> {
    judge_on(&plain(), Options::default(), config)
}

/// A process that is right, with these members on top.
fn process(members: Value) -> Value {
    let mut process = json!({"cwd": "/", "args": ["x"]});
    merge(&mut process, members);
    json!({"process": process})
}

/// `linux` with all namespaces new, and these members on top.
fn linux(members: Value) -> Value {
    let types = ["pid", "network", "mount", "ipc", "uts", "cgroup", "time"];
    let mut linux = json!({"namespaces": types.map(|typ| json!({"type": typ}))});
    merge(&mut linux, members);
    json!({"linux": linux})
}

fn namespaces(list: &[(&str, &str)]) -> Value {
    list.iter()
        .map(
            |(typ, path)| {
                if path.is_empty() { json!({"type": typ}) } else { json!({"type": typ, "path": path}) }
            },
        )
        .collect()
}

/// Every case: what is written, and the problem that is found, alone.
fn check(cases: Vec<(Value, &str)>) {
    for (members, want) in cases {
        let config = with(members);
        match (judge(&config), want) {
            (Ok(_), "") => {}
            (result, want) => assert_eq!(result, Err(format!("config.json: {want}")), "{config}"),
        }
    }
}

/// Every case: what is written, and the only warning.
fn check_warnings(cases: Vec<(Value, &str)>) {
    for (members, want) in cases {
        let config = with(members);
        assert_eq!(judge(&config), Ok(vec![want.to_owned()]), "{config}");
    }
}

#[test]
fn good_configs_are_good() {
    assert_eq!(judge(&minimal()), Ok(vec![]));
    assert_eq!(judge(&parsed(DOCKER)), Ok(vec![]));
    for choices in [
        default_spec::Choices::default(),
        default_spec::Choices { rootless: Some((0, 0)), cgroup_namespace: true },
    ] {
        assert_eq!(judge(&parsed(&default_spec::default_spec(choices))), Ok(vec![]));
    }
    let warnings = judge_on(&able(), Options::default(), &parsed(FULL)).unwrap();
    assert_eq!(warnings, ["linux.personality.flags: ignored, no flag is supported"]);
}

#[test]
fn ordinary_configs_are_read_once() {
    for text in [DOCKER.to_owned(), default_spec::default_spec(default_spec::Choices::default())] {
        let spec: Spec = serde_json::from_str(&text).unwrap();
        assert!(!mend::spec_needs_second_look(&spec, &text));
        assert_eq!(from_slice(text.into_bytes()).unwrap().spec, spec);
    }
}

#[test]
fn both_readings_agree() {
    // What oci-spec can read directly, it reads just so after the walk over the table.
    let mut config = parsed(FULL);
    config["process"]["scheduler"]["flags"] = json!([]);
    config["process"]["execCPUAffinity"] = json!({"initial": "0-1", "final": "3"});
    config["linux"]["resources"]["hugepageLimits"][0]["limit"] = json!(5);
    let direct: Spec = serde_json::from_value(config.clone()).unwrap();
    let (mut problems, mut warnings) = (Problems::default(), vec![]);
    let mut walked = config;
    Mender { problems: &mut problems, warnings: &mut warnings }.walk("", &mut walked, &schema::SPEC);
    assert!(problems.paths().is_empty() && warnings.is_empty());
    assert_eq!(serde_json::from_value::<Spec>(walked).unwrap(), direct);
}

/// Not a test of right or wrong: `cargo test --release -- --ignored --nocapture how_long`.
#[test]
#[ignore = "measures"]
fn how_long_reading_takes() {
    for (name, text) in [("docker", DOCKER), ("full", FULL)] {
        let (rounds, host) = (2000, able());
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            std::hint::black_box(from_slice(text.as_bytes().to_vec()).unwrap());
        }
        let read = start.elapsed() / rounds;
        let config = from_slice(text.as_bytes().to_vec()).unwrap();
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            std::hint::black_box(validate(&config, &host, &Options::default(), vec![]).unwrap());
        }
        println!("{name}: {} bytes, read {read:?}, judge {:?}", text.len(), start.elapsed() / rounds);
    }
}
