//! What is known of each container, and what follows from it.
//!
//! The store keeps facts: `ROOT/ID/state.json`, replaced atomically. A status is never stored, it is computed:
//! the process is gone, a zombie, or not the one that was recorded → stopped; its cgroup is frozen → paused; its
//! start gate still listens → created; else running.
//!
//! `create` may be killed at any moment. [`Store::reserve`] makes the directory (and with it claims the id),
//! [`Reservation::checkpoint`] records what is about to be made, before it is made, [`Reservation::commit`] ends it.
//! Until then the directory is locked by its creator: the kernel drops the lock when the creator dies, and what is
//! left is a container that `delete` can undo.

mod entry;
mod foreign;
mod id;
mod process;
mod store;
mod trust;

pub use id::ContainerId;
pub use process::{Stat, pidfd};
pub use store::{Container, Reservation, Store};

use crate::config::OCI_VERSION;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The status of a container, as runtime.md of the specification names them, and `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// Its process waits for `start`.
    Created,
    /// Its process runs.
    Running,
    /// Its process is frozen.
    Paused,
    /// Its process has ended, or was never made.
    Stopped,
}

impl Status {
    /// The name, as it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The facts of one container. The names of the fields that tools read (cadvisor, NVIDIA's) are runc's. Every field
/// has a default, so that a file of an older version, or of a creation cut short, is still one to delete by.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The version of tare that wrote this.
    pub version: String,
    /// The other runtime that has made the container.
    #[serde(skip)]
    pub made_by: Option<&'static str>,
    /// The container's id.
    pub id: String,
    /// The process of the container; 0 until there is one.
    pub init_process_pid: i32,
    /// When that process started, in clock ticks since boot (field 22 of /proc/PID/stat). With the pid it names the
    /// process for good: pids are used again.
    pub init_process_start: u64,
    /// When the container was made, RFC 3339 with nanoseconds ([`crate::clock::now_nano`]).
    pub created: String,
    /// The bundle, an absolute path.
    pub bundle: PathBuf,
    /// The root file system, an absolute path.
    pub rootfs: PathBuf,
    /// The uid of who made it.
    pub owner: u32,
    /// Namespace type, as `/proc/PID/ns` names it → the path of the namespace.
    pub namespace_paths: BTreeMap<String, String>,
    /// v1 controller (or "" on v2) → the directory of the cgroup; for tools.
    pub cgroup_paths: BTreeMap<String, String>,
    /// What the cgroup layer needs to find its cgroup again. Written before the cgroup is made.
    pub cgroup: Option<Box<RawValue>>,
    /// What of `linux.resources` holds since `update`; before, that of `spec` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Box<RawValue>>,
    /// The cgroup was made by systemd.
    pub systemd_cgroup: bool,
    /// Made with `--no-pivot`.
    pub no_pivot: bool,
    /// Made with `--no-new-keyring`, which holds for `exec` too.
    pub no_new_keyring: bool,
    /// Made without privileges, or with `--rootless true`.
    pub rootless: bool,
    /// The process waited at a start gate.
    pub gate: bool,
    /// It has poststop hooks. `None`: a file of an older version, or of a creation cut short before it was known.
    pub has_poststop: Option<bool>,
    /// It has a mount namespace other than the runtime's; `None` likewise.
    pub has_own_mounts: Option<bool>,
    /// config.json as it was at `create`. Nothing reads the bundle again. Not yet in the first record of a creation.
    pub spec: Option<Box<RawValue>>,
}

/// The parts of a configuration that matter here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    annotations: Option<BTreeMap<String, String>>,
    linux: Option<Linux>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    r#type: String,
    path: String,
}

impl State {
    fn spec(&self) -> Spec {
        // It was checked when the container was made.
        self.spec
            .as_ref()
            .and_then(|spec| serde_json::from_slice(spec.get().as_bytes()).ok())
            .unwrap_or_default()
    }

    /// The annotations of the stored configuration.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.spec().annotations.unwrap_or_default()
    }

    /// Whether the container has a pid namespace of its own, so that killing its process kills all others in it.
    pub fn has_own_pid_namespace(&self) -> bool {
        let namespaces = self.spec().linux.unwrap_or_default().namespaces;
        namespaces.iter().any(|namespace| namespace.r#type == "pid" && namespace.path.is_empty())
    }

    /// The facts that matter for debugging, as one line.
    pub fn summary(&self) -> String {
        format!(
            "container {:?} has process {} (start time {}), bundle {:?}, cgroup {}",
            self.id,
            self.init_process_pid,
            self.init_process_start,
            self.bundle,
            self.cgroup.as_ref().map_or("none", |cgroup| cgroup.get()),
        )
    }

    /// The state as `state` and `list` show it; `owner` is the name of who made it.
    pub fn shown(&self, status: Status, owner: String) -> ShownState<'_> {
        ShownState {
            oci_version: OCI_VERSION,
            id: &self.id,
            pid: if status == Status::Stopped { 0 } else { self.init_process_pid },
            status,
            bundle: self.bundle.to_string_lossy().into_owned(),
            rootfs: self.rootfs.to_string_lossy().into_owned(),
            created: &self.created,
            annotations: self.annotations(),
            owner,
        }
    }
}

/// One container as `state` and `list --format json` print it; the order of the keys is runc's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownState<'a> {
    /// The version of the specification this follows.
    pub oci_version: &'a str,
    /// The container's id.
    pub id: &'a str,
    /// Its process, 0 when stopped.
    pub pid: i32,
    /// Its status.
    pub status: Status,
    /// Its bundle.
    pub bundle: String,
    /// Its root file system.
    pub rootfs: String,
    /// When it was made.
    pub created: &'a str,
    /// Its annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The name of who made it.
    pub owner: String,
}

#[cfg(test)]
mod tests;
