//! What the lifecycle verbs do, between the command line and the processes: the order in which a container is
//! recorded, built, started and taken away again, so that after a failure at any point nothing is left, and after a
//! kill at any point `delete --force` finds everything.

mod checkpoint;
mod create;
mod criu;
mod destroy;
mod exec;
mod files;
mod group;
mod restore;
mod start;
mod update;

use std::collections::BTreeMap;

pub use checkpoint::checkpoint;
pub use create::{create, run};
pub use destroy::{destroy, kill_all, kill_and_wait, remove_cgroup};
pub use exec::exec;
pub use restore::restore;
pub use start::start;
pub use update::update;

use crate::cgroup::Manager;
use crate::cli::Global;
use crate::error::{Context, Error, Kind, Result};
use crate::hooks::{Identity, Setting};
use crate::plan::HookSet;
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
            let record = serde_json::from_slice(record.get().as_bytes())
                .map_err(|e| Error::new(Kind::State, format!("the recorded cgroup: {e}")))?;
            Manager::open(&record)
        }
    }
}

/// The configuration of a stored container: the one it was created with, whatever the bundle has now.
///
/// # Errors
/// It cannot be read, or another runtime has made the container and knows more of it.
pub fn stored_config(state: &State) -> Result<crate::config::Config> {
    state.check_own()?;
    recorded_config(state)
}

/// The configuration that `exec` goes by. That of a container of runc's is read from its bundle, as runc does.
fn exec_config(state: &State) -> Result<crate::config::Config> {
    use crate::config::{Options, load, validate};
    if state.made_by.is_none() {
        return stored_config(state);
    }
    let config = load(&state.bundle, None)?;
    let options = Options { systemd_cgroup: state.systemd_cgroup, ..Options::default() };
    validate(&config, crate::host::Host::here(), &options, Vec::new())?;
    Ok(config)
}

/// What is on record of the configuration: of a container of runc's, what matters when it is taken away.
fn recorded_config(state: &State) -> Result<crate::config::Config> {
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
        let at = Setting::at(&identity.bundle);
        if let Err(e) = crate::hooks::run("poststop", std::slice::from_ref(hook), &state, at) {
            crate::log::warn(&e.to_string());
        }
    }
}

/// Whether the container's cgroup is frozen; a question, not a promise.
pub fn is_frozen(container: &Container) -> bool {
    let state = container.state().ok();
    state.and_then(|state| manager(state).ok()).and_then(|manager| manager.is_frozen().ok()).unwrap_or(false)
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
