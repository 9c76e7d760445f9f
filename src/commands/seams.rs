//! Where the verbs touch the layers below: one thin function for each thing they want of a container's cgroup and of the
//! configuration.

use crate::cgroup::Manager;
use crate::error::{Context, Result};
use crate::lifecycle;
use crate::state::Container;

/// The container's cgroup.
pub fn manager(container: &Container) -> Result<Manager> {
    lifecycle::manager(container.state()?)
}

/// Whether the container's cgroup is frozen. False too where there is none.
pub fn is_frozen(container: &Container) -> bool {
    lifecycle::is_frozen(container)
}

/// Freezes the container's cgroup and waits until all in it are.
pub fn freeze(container: &Container) -> Result<()> {
    manager(container)?.freeze()
}

/// Thaws the container's cgroup. No error where there is none.
pub fn thaw(container: &Container) -> Result<()> {
    manager(container)?.thaw()
}

/// The processes in the container's cgroup and those below it; without a cgroup, only the first is known.
pub fn pids(container: &Container) -> Result<Vec<i32>> {
    match manager(container)? {
        Manager::None => Ok(container
            .pidfd()?
            .map(|_| container.state().map(|s| s.init_process_pid))
            .transpose()?
            .into_iter()
            .collect()),
        manager => manager.pids(),
    }
}

/// Sends a signal to every process in the container's cgroup and those below it; SIGKILL by cgroup.kill where the
/// kernel has it. No error where there is none, or nobody in it.
pub fn signal_all(container: &Container, signal: i32) -> Result<()> {
    match container.state() {
        Ok(state) => lifecycle::manager(state)?.kill(signal),
        Err(_) => Ok(()),
    }
}

/// Sets the limits in `resources`, a `linux.resources` as JSON, and nothing else: devices stay as they are.
pub fn update(container: &mut Container, resources: &[u8]) -> Result<()> {
    let (change, warnings) = crate::config::resources_from_slice(resources)?;
    warnings.iter().for_each(|warning| crate::log::warn(warning));
    lifecycle::update(container, &change).context("update")
}

/// The configuration that `spec` writes.
pub fn default_spec(rootless: bool) -> String {
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let v2 = crate::cgroup::Layout::detect(std::path::Path::new(lifecycle::CGROUP_ROOT));
    crate::config::default_spec::default_spec(crate::config::default_spec::Choices {
        rootless: rootless.then_some(ids),
        cgroup_namespace: v2.is_ok_and(|layout| layout.is_v2()),
    })
}

/// The mount options that this runtime knows, sorted.
pub fn mount_options() -> Vec<&'static str> {
    let mut names: Vec<_> = crate::config::mount_options::names().collect();
    names.sort_unstable();
    names
}

/// The architectures that the seccomp compiler knows, as the specification names them, sorted.
pub fn seccomp_architectures() -> Vec<&'static str> {
    let mut names = crate::seccomp::known::ARCHS.to_vec();
    names.sort_unstable();
    names
}
