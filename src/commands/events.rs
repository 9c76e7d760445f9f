//! `events`: statistics and out-of-memory events.

use super::{load, seams, unsupported};
use crate::bail;
use crate::cli::{EventsOptions, Global};
use crate::error::Result;
use crate::state::Status;

/// Runs `events`.
pub fn run(global: &Global, options: &EventsOptions) -> Result<i32> {
    let container = load(global, &options.id)?;
    if container.status(|| seams::is_frozen(&container))? == Status::Stopped {
        bail!(State, "container with id {} is not running", container.id());
    }
    Err(unsupported("events"))
}
