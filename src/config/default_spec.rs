//! The config.json that `spec` writes: what `runc spec` writes, in the same order, with tabs.

use std::fmt::Write as _;

use super::OCI_VERSION;

/// What `spec` is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// `--rootless`: the effective user and group that become root of a new user namespace.
    pub rootless: Option<(u32, u32)>,
    /// A new cgroup namespace, as runc asks for where cgroup v2 is all there is.
    pub cgroup_namespace: bool,
}

/// A mount: destination, type, source, options.
type Row<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

/// The text of a default config.json, ending in a newline.
pub fn default_spec(choices: Choices) -> String {
    let mut out = format!("{{\n\t\"ociVersion\": \"{OCI_VERSION}\",\n");
    let _ = write!(
        out,
        r#"	"process": {{
		"terminal": true,
		"user": {{
			"uid": 0,
			"gid": 0
		}},
		"args": {args},
		"env": {env},
		"cwd": "/",
		"capabilities": {{
			"bounding": {caps},
			"effective": {caps},
			"permitted": {caps}
		}},
		"rlimits": [
			{{
				"type": "RLIMIT_NOFILE",
				"hard": 1024,
				"soft": 1024
			}}
		],
		"noNewPrivileges": true
	}},
	"root": {{
		"path": "rootfs",
		"readonly": true
	}},
	"hostname": "tare",
"#,
        args = list(2, &["sh"]),
        env = list(2, &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
        caps = list(3, &["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]),
    );
    mounts(&mut out, choices.rootless.is_some());
    linux(&mut out, choices);
    out.push_str("}\n");
    out
}

fn mounts(out: &mut String, rootless: bool) {
    let pts: &[&str] = &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    // The group tty has no id in a user namespace of one id.
    let pts = if rootless { &pts[..5] } else { pts };
    let sysfs: Row = if rootless {
        // sysfs belongs to the network namespace, which a rootless container keeps from the host.
        ("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"])
    } else {
        ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
    };
    let all: &[Row] = &[
        ("/proc", "proc", "proc", &[]),
        ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", pts),
        ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sysfs,
        ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ];
    let entries: Vec<String> = all
        .iter()
        .map(|(destination, typ, source, options)| {
            let mut members = vec![
                format!("\t\t\t\"destination\": \"{destination}\""),
                format!("\t\t\t\"type\": \"{typ}\""),
                format!("\t\t\t\"source\": \"{source}\""),
            ];
            if !options.is_empty() {
                members.push(format!("\t\t\t\"options\": {}", list(3, options)));
            }
            format!("\t\t{{\n{}\n\t\t}}", members.join(",\n"))
        })
        .collect();
    let _ = writeln!(out, "\t\"mounts\": [\n{}\n\t],", entries.join(",\n"));
}

fn linux(out: &mut String, choices: Choices) {
    out.push_str("\t\"linux\": {\n");
    let mut namespaces = vec!["pid"];
    if let Some((uid, gid)) = choices.rootless {
        for (key, id) in [("uidMappings", uid), ("gidMappings", gid)] {
            let _ = write!(
                out,
                r#"		"{key}": [
			{{
				"containerID": 0,
				"hostID": {id},
				"size": 1
			}}
		],
"#
            );
        }
    } else {
        out.push_str(
            r#"		"resources": {
			"devices": [
				{
					"allow": false,
					"access": "rwm"
				}
			]
		},
"#,
        );
        namespaces.push("network");
    }
    namespaces.extend(["ipc", "uts", "mount"]);
    namespaces.extend(choices.cgroup_namespace.then_some("cgroup"));
    namespaces.extend(choices.rootless.map(|_| "user"));
    let entries: Vec<String> =
        namespaces.iter().map(|typ| format!("\t\t\t{{\n\t\t\t\t\"type\": \"{typ}\"\n\t\t\t}}")).collect();
    let masked = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi",
    ];
    let readonly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    let _ = write!(
        out,
        "\t\t\"namespaces\": [\n{}\n\t\t],\n\t\t\"maskedPaths\": {},\n\t\t\"readonlyPaths\": {}\n\t}}\n",
        entries.join(",\n"),
        list(2, &masked),
        list(2, &readonly),
    );
}

/// A list of strings that need no escaping, its closing bracket indented by `depth` tabs.
fn list(depth: usize, items: &[&str]) -> String {
    let indent = "\t".repeat(depth);
    let lines: Vec<String> = items.iter().map(|item| format!("{indent}\t\"{item}\"")).collect();
    format!("[\n{}\n{indent}]", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn value(choices: Choices) -> Value {
        serde_json::from_str(&default_spec(choices)).unwrap()
    }

    #[test]
    fn is_what_runc_writes() {
        let mut runc: Value = serde_json::from_str(RUNC).unwrap();
        runc["ociVersion"] = OCI_VERSION.into();
        runc["hostname"] = "tare".into();
        // Without inheritable capabilities the ambient ones can never be granted.
        runc["process"]["capabilities"].as_object_mut().unwrap().remove("ambient");
        assert_eq!(value(Choices::default()), runc);
    }

    #[test]
    fn rootless_is_what_runc_writes() {
        let mut want = value(Choices::default());
        let linux = want["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        for (key, id) in [("uidMappings", 1000), ("gidMappings", 1001)] {
            linux.insert(key.into(), json!([{"containerID": 0, "hostID": id, "size": 1}]));
        }
        let types = ["pid", "ipc", "uts", "mount", "user"].map(|typ| json!({"type": typ}));
        linux.insert("namespaces".into(), types.into_iter().collect());
        want["mounts"][2]["options"].as_array_mut().unwrap().pop();
        want["mounts"][5] = json!({"destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
        assert_eq!(value(Choices { rootless: Some((1000, 1001)), cgroup_namespace: false }), want);
    }

    #[test]
    fn a_cgroup_namespace_comes_before_the_user_namespace() {
        let types = |choices| -> Vec<String> {
            let namespaces = value(choices)["linux"]["namespaces"].clone();
            namespaces.as_array().unwrap().iter().map(|ns| ns["type"].as_str().unwrap().to_owned()).collect()
        };
        let all = types(Choices { rootless: None, cgroup_namespace: true });
        assert_eq!(all, ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
        let rootless = types(Choices { rootless: Some((1, 1)), cgroup_namespace: true });
        assert_eq!(rootless, ["pid", "ipc", "uts", "mount", "cgroup", "user"]);
    }

    #[test]
    fn looks_like_the_output_of_go() {
        let text = default_spec(Choices::default());
        assert!(text.starts_with("{\n\t\"ociVersion\": \""));
        assert!(text.ends_with("\n\t}\n}\n"));
        assert!(text.lines().all(|line| !line.contains("  ") && line.trim_end() == line));
        let at = |key: &str| text.find(&format!("\n\t\"{key}\":")).unwrap();
        let keys = ["ociVersion", "process", "root", "hostname", "mounts", "linux"];
        assert!(keys.windows(2).all(|pair| at(pair[0]) < at(pair[1])));
    }

    /// `runc spec` of runc 1.1.5.
    const RUNC: &str = r#"{"ociVersion":"1.0.2-dev","process":{"terminal":true,"user":{"uid":0,"gid":0},
        "args":["sh"],"env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","TERM=xterm"],
        "cwd":"/","capabilities":{"bounding":["CAP_AUDIT_WRITE","CAP_KILL","CAP_NET_BIND_SERVICE"],
        "effective":["CAP_AUDIT_WRITE","CAP_KILL","CAP_NET_BIND_SERVICE"],
        "permitted":["CAP_AUDIT_WRITE","CAP_KILL","CAP_NET_BIND_SERVICE"],
        "ambient":["CAP_AUDIT_WRITE","CAP_KILL","CAP_NET_BIND_SERVICE"]},
        "rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}],"noNewPrivileges":true},
        "root":{"path":"rootfs","readonly":true},"hostname":"runc","mounts":[
        {"destination":"/proc","type":"proc","source":"proc"},
        {"destination":"/dev","type":"tmpfs","source":"tmpfs",
         "options":["nosuid","strictatime","mode=755","size=65536k"]},
        {"destination":"/dev/pts","type":"devpts","source":"devpts",
         "options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]},
        {"destination":"/dev/shm","type":"tmpfs","source":"shm",
         "options":["nosuid","noexec","nodev","mode=1777","size=65536k"]},
        {"destination":"/dev/mqueue","type":"mqueue","source":"mqueue","options":["nosuid","noexec","nodev"]},
        {"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]},
        {"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup",
         "options":["nosuid","noexec","nodev","relatime","ro"]}],
        "linux":{"resources":{"devices":[{"allow":false,"access":"rwm"}]},
        "namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}],
        "maskedPaths":["/proc/acpi","/proc/asound","/proc/kcore","/proc/keys","/proc/latency_stats",
        "/proc/timer_list","/proc/timer_stats","/proc/sched_debug","/sys/firmware","/proc/scsi"],
        "readonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]}}"#;
}
