//! Containers of other runtimes in the same root: the program was exchanged while they ran.
//!
//! runc's state.json tells all that is needed to show them, to signal them and to take them away; `exec` reads the
//! configuration in the bundle, as runc does. What needs more, such as their start gate, is runc's to do:
//! [`State::check_own`] refuses it by name. Of crun's and youki's nothing is known here.

use super::State;
use crate::cgroup::{Record, Unit};
use crate::error::{Error, Kind, Result};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, fstat, statat, statx};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// What runc's init waits at until `start`.
const RUNC_GATE: &str = "exec.fifo";
/// The file of crun's that has the place of state.json.
const CRUN_STATE: &str = "status";

/// runc's names of namespaces, and the specification's.
const NAMESPACES: [(&str, &str); 7] = [
    ("NEWPID", "pid"),
    ("NEWNET", "network"),
    ("NEWIPC", "ipc"),
    ("NEWUTS", "uts"),
    ("NEWUSER", "user"),
    ("NEWCGROUP", "cgroup"),
    ("NEWTIME", "time"),
];

/// A state.json, as far as it shows whose it is.
#[derive(Deserialize)]
struct Trace {
    /// runc's.
    config: Option<IgnoredAny>,
    /// youki's.
    status: Option<IgnoredAny>,
}

/// runc's state.json, of 1.0 and later.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Runc {
    id: String,
    init_process_pid: i32,
    init_process_start: u64,
    created: String,
    config: Config,
    rootless: bool,
    cgroup_paths: Option<BTreeMap<String, String>>,
    namespace_paths: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    rootfs: PathBuf,
    labels: Option<Vec<String>>,
    namespaces: Option<Vec<Namespace>>,
    no_new_keyring: bool,
    cgroups: Option<Cgroups>,
    #[serde(rename = "Hooks", alias = "hooks")]
    hooks: Option<Hooks>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    r#type: String,
    path: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cgroups {
    #[serde(rename = "Systemd", alias = "systemd")]
    systemd: bool,
    #[serde(rename = "Rootless", alias = "rootless")]
    rootless: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Hooks {
    poststop: Option<Vec<Hook>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Hook {
    path: String,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    /// In ns.
    timeout: Option<u64>,
}

/// The facts of a container whose state.json names no version of tare, `dir` being its directory. `None`: it is ours.
///
/// # Errors
/// It is another runtime's whose state is not understood ([`Kind::Unsupported`]).
pub(super) fn read(bytes: &[u8], dir: BorrowedFd<'_>) -> Result<Option<State>> {
    let unreadable = |error: serde_json::Error| Error::new(Kind::State, error.to_string());
    let trace: Trace = serde_json::from_slice(bytes).map_err(unreadable)?;
    match (trace.config, trace.status) {
        (Some(_), _) => {
            let runc: Runc = serde_json::from_slice(bytes).map_err(unreadable)?;
            let owner = fstat(dir).map_or(0, |stat| stat.st_uid);
            runc.check_cgroups()?;
            runc.state(owner).map(Some)
        }
        (None, Some(_)) => Err(refused("youki")),
        (None, None) => Ok(None),
    }
}

/// Whose a directory without a state.json is, if it is another runtime's.
pub(super) fn check(dir: BorrowedFd<'_>) -> Result<()> {
    match statat(dir, CRUN_STATE, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(refused("crun")),
        Err(_) => Ok(()),
    }
}

/// Whether init of runc's container waits for `start`.
pub(super) fn is_waiting(dir: BorrowedFd<'_>) -> bool {
    statat(dir, RUNC_GATE, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn refused(runtime: &str) -> Error {
    Error::new(Kind::Unsupported, format!("it was made by {runtime}: use {runtime} with it"))
}

impl State {
    /// Whether tare has made the container.
    ///
    /// # Errors
    /// Another runtime has ([`Kind::Unsupported`]).
    pub fn check_own(&self) -> Result<()> {
        let own = self.made_by.map_or(Ok(()), |runtime| Err(refused(runtime)));
        own.map_err(|e| e.context(format!("container {:?}", self.id)))
    }

    /// Whether others may be in its cgroup, who are not to be killed with it: runc before 1.2 lets containers share one. The
    /// processes of this one end with the first of its pid namespace.
    pub fn may_share_cgroup(&self) -> bool {
        self.made_by.is_some() && self.has_own_pid_namespace()
    }
}

impl Runc {
    /// runc takes `cgroupsPath: "/"` at its word. All processes of the machine are no container's, to be signalled or killed.
    fn check_cgroups(&self) -> Result<()> {
        let whole = |path: &&String| {
            statx(CWD, path.as_str(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
                .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        };
        match self.cgroup_paths.iter().flat_map(BTreeMap::values).find(whole) {
            Some(path) => Err(refused("runc").context(format!("its cgroup is all of {path}"))),
            None => Ok(()),
        }
    }

    fn state(self, owner: u32) -> Result<State> {
        let labels = self.config.labels.as_deref().unwrap_or_default();
        let labels: BTreeMap<&str, &str> = labels.iter().filter_map(|label| label.split_once('=')).collect();
        let bundle = labels.get("bundle").map(PathBuf::from).unwrap_or_default();
        let (spec, cgroup) = (self.spec(&labels), self.record());
        Ok(State {
            made_by: Some("runc"),
            // What runc mounts on the host for a container without that namespace cannot be told from what its engine does, and
            // is left.
            has_own_mounts: Some(true),
            init_process_pid: self.init_process_pid,
            init_process_start: self.init_process_start,
            bundle,
            owner,
            systemd_cgroup: cgroup.systemd.is_some(),
            spec: Some(raw(&spec)?),
            cgroup: Some(raw(&cgroup)?),
            cgroup_paths: cgroup.paths,
            namespace_paths: self.namespace_paths.unwrap_or_default(),
            rootless: self.rootless,
            no_new_keyring: self.config.no_new_keyring,
            rootfs: self.config.rootfs,
            id: self.id,
            created: self.created,
            gate: true,
            ..State::default()
        })
    }

    /// The cgroup; a unit of systemd's has the name of the last directory.
    fn record(&self) -> Record {
        let paths = self.cgroup_paths.clone().unwrap_or_default();
        let name = || {
            let path = paths.get("").or_else(|| paths.get("name=systemd"))?;
            path.rsplit_once('/').map(|(_, name)| name.to_owned())
        };
        let made = self.config.cgroups.as_ref().filter(|cgroups| cgroups.systemd);
        let systemd = made.and_then(|made| Some(Unit { name: name()?, user: made.rootless }));
        Record { systemd, paths }
    }

    /// What of the configuration matters when a container is shown, signalled and taken away.
    fn spec(&self, labels: &BTreeMap<&str, &str>) -> Value {
        let kinds = self.config.namespaces.iter().flatten().filter_map(|namespace| {
            let (_, kind) = NAMESPACES.iter().find(|(name, _)| *name == namespace.r#type)?;
            Some(match namespace.path.as_str() {
                "" => json!({"type": kind}),
                path => json!({"type": kind, "path": path}),
            })
        });
        let kinds: Vec<Value> = kinds.collect();
        let annotations: BTreeMap<_, _> = labels.iter().filter(|(name, _)| **name != "bundle").collect();
        let mut spec =
            json!({"ociVersion": "1.0.2", "annotations": annotations, "linux": {"namespaces": kinds}});
        let poststop = self.config.hooks.as_ref().and_then(|hooks| hooks.poststop.as_ref());
        if let Some(hooks) = poststop.filter(|hooks| !hooks.is_empty()) {
            spec["hooks"] = json!({"poststop": hooks.iter().map(Hook::spec).collect::<Vec<_>>()});
        }
        spec
    }
}

impl Hook {
    fn spec(&self) -> Value {
        let mut hook = json!({"path": self.path});
        for (name, list) in [("args", &self.args), ("env", &self.env)] {
            if let Some(list) = list {
                hook[name] = json!(list);
            }
        }
        if let Some(timeout) = self.timeout {
            hook["timeout"] = json!(timeout.div_ceil(1_000_000_000).max(1));
        }
        hook
    }
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>> {
    to_raw_value(value).map_err(|error| Error::new(Kind::System, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{"id":"c1","init_process_pid":7,"init_process_start":9,"created":"2026-01-02T03:04:05Z",
        "config":{"rootfs":"/b/rootfs","labels":["bundle=/b","a.b=c=d"],"no_new_keyring":false,
            "namespaces":[{"type":"NEWPID","path":""},{"type":"NEWNET","path":"/n"},{"type":"NEWNS","path":""}],
            "cgroups":{"Systemd":true,"Rootless":false,"path":""},
            "Hooks":{"poststart":null,"poststop":[{"path":"/x","args":null,"env":["A=1"],"timeout":1500000000}]}},
        "rootless":false,"cgroup_paths":{"":"/sys/fs/cgroup/system.slice/runc-c1.scope"},"namespace_paths":{},
        "external_descriptors":[],"intel_rdt_path":""}"#;

    fn here() -> std::fs::File {
        std::fs::File::open("/").unwrap()
    }

    fn of(json: &str) -> Result<Option<State>> {
        use std::os::fd::AsFd;
        read(json.as_bytes(), here().as_fd())
    }

    #[test]
    fn the_state_of_runc_is_understood() {
        let state = of(STATE).unwrap().unwrap();
        assert_eq!((state.id.as_str(), state.init_process_pid, state.init_process_start), ("c1", 7, 9));
        assert_eq!((state.bundle.to_str(), state.rootfs.to_str()), (Some("/b"), Some("/b/rootfs")));
        assert_eq!(state.annotations(), [("a.b".to_owned(), "c=d".to_owned())].into());
        assert!(state.has_own_pid_namespace() && state.has_own_mounts == Some(true));
        let record: Record = serde_json::from_str(state.cgroup.as_ref().unwrap().get()).unwrap();
        assert_eq!(record.systemd, Some(Unit { name: "runc-c1.scope".into(), user: false }));
        let spec: Value = serde_json::from_str(state.spec.as_ref().unwrap().get()).unwrap();
        assert_eq!(spec["hooks"]["poststop"], json!([{"path": "/x", "env": ["A=1"], "timeout": 2}]));
        let refused = state.check_own().unwrap_err();
        assert_eq!(refused.to_string(), "container \"c1\": it was made by runc: use runc with it");
    }

    #[test]
    fn a_container_whose_cgroup_is_a_whole_hierarchy_is_refused() {
        let refused = of(&STATE.replace("/sys/fs/cgroup/system.slice/runc-c1.scope", "/proc")).unwrap_err();
        assert_eq!(refused.kind(), Kind::Unsupported);
        assert_eq!(refused.to_string(), "its cgroup is all of /proc: it was made by runc: use runc with it");
    }

    #[test]
    fn what_runc_leaves_out_or_has_as_null_is_nothing() {
        let state =
            of(r#"{"id":"c1","config":{"labels":null,"namespaces":null,"Hooks":null},"cgroup_paths":null}"#);
        let state = state.unwrap().unwrap();
        assert!(!state.has_own_pid_namespace() && state.cgroup_paths.is_empty() && !state.systemd_cgroup);
    }

    #[test]
    fn other_states_are_refused_or_ours() {
        let youki =
            of(r#"{"ociVersion":"1.0.2","id":"c1","status":"created","pid":1,"bundle":"/b"}"#).unwrap_err();
        assert_eq!(youki.kind(), Kind::Unsupported);
        assert!(of(r#"{"id":"c1"}"#).unwrap().is_none());
    }
}
