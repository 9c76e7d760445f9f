//! `update`: other limits for a container that is there.

use oci_spec::runtime::LinuxResources;

use super::create::raw;
use crate::error::{Error, Kind, Result};
use crate::plan::cgroup::{build, complete, hold};
use crate::state::Container;

/// Writes what `change` changes, and records it for the next time. Of two at once, one waits for the other.
pub fn update(container: &mut Container, change: &LinuxResources) -> Result<()> {
    container.lock()?;
    let state = container.state()?;
    let holds = match &state.resources {
        Some(recorded) => serde_json::from_slice(recorded.get().as_bytes())
            .map_err(|e| Error::new(Kind::State, format!("the recorded resources: {e}")))?,
        None => {
            let config = super::stored_config(state)?;
            config.spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default()
        }
    };
    let mut plan = build(None, &state.id, Some(&complete(&holds, change)), &[])?;
    if state.systemd_cgroup {
        plan.round_as_systemd();
        // On v1 systemd forgets what it cannot say of them with every change.
        let config = super::stored_config(state)?;
        let linux = config.spec.linux().as_ref();
        let nodes = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
        plan.devices =
            build(None, &state.id, linux.and_then(|linux| linux.resources().as_ref()), nodes)?.devices;
    }
    super::manager(state)?.apply(&plan)?;
    let now = hold(&holds, change);
    if now != hold(&holds, &LinuxResources::default()) {
        let mut state = state.clone();
        state.resources = Some(raw(&now)?);
        container.save(state)?;
    }
    Ok(())
}
