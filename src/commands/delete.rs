//! `delete`: undoes what `create` made, also what a killed `create` left.

use super::seams;
use crate::bail;
use crate::cli::{DeleteOptions, Global};
use crate::error::{Context, Kind, Result};
use crate::lifecycle;
use crate::state::{Container, State, Status, Store};
use libc::SIGKILL;

/// Runs `delete`.
pub fn run(global: &Global, options: &DeleteOptions) -> Result<i32> {
    let container = match Store::open(global.root.as_deref())?.load(&options.id) {
        // Engines clean up with --force and do not ask whether there is anything.
        Err(error) if error.kind() == Kind::NotFound && options.force => return Ok(0),
        container => container?,
    };
    match container.state() {
        // Another runtime's, whose processes could not be found.
        Err(error) if !options.force || error.kind() == Kind::Unsupported => return Err(error),
        _ => {}
    }
    match container.status(|| seams::is_frozen(&container))? {
        Status::Stopped => {}
        // Engines delete created containers without --force, and every other runtime allows it.
        Status::Created => kill_and_wait(&container)?,
        _ if options.force => kill_and_wait(&container)?,
        status => bail!(State, "cannot delete container {} that is not stopped: {status}", container.id()),
    }
    let id = container.id().clone();
    lifecycle::destroy(container).with_context(|| format!("delete container {:?}", id.as_str()))?;
    Ok(0)
}

/// Ends the container's processes. They are sent SIGKILL; the first one has ended when this returns.
fn kill_and_wait(container: &Container) -> Result<()> {
    let name = || format!("kill container {:?}", container.id().as_str());
    // All at once, where the kernel can: what is killed one by one may fork meanwhile.
    if !container.state().is_ok_and(State::may_share_cgroup) {
        seams::signal_all(container, SIGKILL).with_context(name)?;
    }
    // The v1 freezer holds back even SIGKILL.
    if seams::is_frozen(container) {
        seams::thaw(container).with_context(name)?;
    }
    match container.pidfd().with_context(name)? {
        Some(pidfd) => lifecycle::kill_and_wait(pidfd).with_context(name),
        None => Ok(()),
    }
}
