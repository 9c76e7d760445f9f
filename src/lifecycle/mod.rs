//! What the lifecycle verbs do, between the command line and the processes: the order in which a container is
//! recorded, built, started and taken away again, so that after a failure at any point nothing is left, and after a
//! kill at any point `delete --force` finds everything.

mod create;
mod destroy;
mod exec;
mod files;
mod start;
mod update;

use std::collections::BTreeMap;
use std::path::Path;

pub use create::{create, run};
pub use destroy::{destroy, kill_all, kill_and_wait, remove_cgroup};
pub use exec::exec;
pub use start::start;
pub use update::update;

use crate::cgroup::{Layout, Manager, MountView};
use crate::cli::{CgroupManager, Global};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks::Identity;
use crate::plan::HookSet;
use crate::plan::libc_flag::NEWCGROUP;
use crate::plan::namespaces::Namespaces;
use crate::rootfs::CgroupView;
use crate::state::{Container, State, Store};

/// Where cgroup file systems are mounted.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The store of the command line.
pub fn open_store(global: &Global) -> Result<Store> {
    Store::open(global.root.as_deref())
}

/// The cgroup of a stored container.
pub fn manager(state: &State) -> Result<Manager> {
    match &state.cgroup {
        None => Ok(Manager::None),
        Some(record) => {
            let record = serde_json::from_str(record.get())
                .map_err(|e| Error::new(Kind::State, format!("the recorded cgroup: {e}")))?;
            Manager::open(&record)
        }
    }
}

/// The configuration of a stored container: the one it was created with, whatever the bundle has now.
pub fn stored_config(state: &State) -> Result<crate::config::Config> {
    let spec =
        state.spec.as_ref().ok_or_else(|| Error::new(Kind::State, "the container has no recorded config"))?;
    crate::config::from_slice(spec.get().as_bytes().to_vec()).context("the recorded config")
}

/// Who a stored container is, for its hooks.
pub fn identity(state: &State) -> Identity {
    let annotations = state.annotations();
    Identity {
        id: state.id.clone(),
        bundle: state.bundle.clone(),
        rootfs: state.rootfs.clone(),
        annotations: (!annotations.is_empty()).then(|| annotations.into_iter().collect()),
    }
}

/// Runs the poststop hooks. Their failures are warned about and stop nothing (runtime.md, "Lifecycle", step 13).
pub fn poststop(hooks: &HookSet, identity: &Identity) {
    let state = identity.state("stopped", 0);
    for hook in &hooks.poststop {
        if let Err(e) = crate::hooks::run("poststop", std::slice::from_ref(hook), &state, None) {
            crate::log::warn(&e.to_string());
        }
    }
}

/// Whether the container's cgroup is frozen; a question, not a promise.
pub fn is_frozen(container: &Container) -> bool {
    let state = container.state().ok();
    state.and_then(|state| manager(state).ok()).and_then(|manager| manager.is_frozen().ok()).unwrap_or(false)
}

fn layout(global: &Global) -> Result<Option<Layout>> {
    match global.cgroup_manager {
        CgroupManager::Cgroupfs => Layout::detect(Path::new(CGROUP_ROOT)).map(Some),
        CgroupManager::Disabled => Ok(None),
        CgroupManager::Systemd => Err(Error::new(
            Kind::Unsupported,
            "--systemd-cgroup: this build has no systemd cgroup driver, only cgroupfs",
        )),
    }
}

/// What a mount of type `cgroup` shows. In a cgroup namespace of its own the container's cgroup is all there is; without
/// one, v2 shows the whole hierarchy, as runc does.
fn cgroup_view(manager: &Manager, layout: Option<&Layout>, namespaces: &Namespaces) -> CgroupView {
    let Some(layout) = layout else { return CgroupView::None };
    match manager.mount_view(layout) {
        MountView::None => CgroupView::None,
        MountView::V2 { mount, dir } => {
            CgroupView::V2(if namespaces.has(NEWCGROUP) { dir.into() } else { mount.into() })
        }
        MountView::V1 { mounts } => CgroupView::V1 {
            links: mounts
                .iter()
                .flat_map(|mount| mount.links.iter().map(|link| (link.clone(), mount.name.clone())))
                .collect(),
            hierarchies: mounts.into_iter().map(|mount| (mount.name, mount.dir.into())).collect(),
        },
    }
}

/// The namespaces of a process, under the names that runc's state.json has and cadvisor reads.
fn namespace_paths(pid: i32) -> BTreeMap<String, String> {
    crate::plan::namespaces::KINDS
        .iter()
        .map(|(_, file, _)| {
            let name = if *file == "mnt" { "NEWNS".into() } else { format!("NEW{}", file.to_uppercase()) };
            (name, format!("/proc/{pid}/ns/{file}"))
        })
        .collect()
}
