//! `pause` and `resume`.

use super::{load, seams};
use crate::bail;
use crate::cli::{Global, PauseOptions, ResumeOptions};
use crate::error::Result;
use crate::state::Status;

/// Runs `pause`.
pub fn pause(global: &Global, options: &PauseOptions) -> Result<i32> {
    let container = load(global, &options.id)?;
    match container.status(|| seams::is_frozen(&container))? {
        Status::Created | Status::Running => seams::freeze(&container)?,
        Status::Paused => bail!(State, "container paused"),
        Status::Creating | Status::Stopped => bail!(State, "container not running"),
    }
    Ok(0)
}

/// Runs `resume`.
pub fn resume(global: &Global, options: &ResumeOptions) -> Result<i32> {
    let container = load(global, &options.id)?;
    match container.status(|| seams::is_frozen(&container))? {
        Status::Paused => seams::thaw(&container)?,
        _ => bail!(State, "container not paused"),
    }
    Ok(0)
}
