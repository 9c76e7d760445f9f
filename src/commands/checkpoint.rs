//! `checkpoint` and `restore`: known, with all their flags, to engines that probe for them; not in this build.

use super::{load, unsupported};
use crate::cli::{CheckpointOptions, Global, RestoreOptions};
use crate::error::Result;

/// Runs `checkpoint`.
pub fn checkpoint(global: &Global, options: &CheckpointOptions) -> Result<i32> {
    load(global, &options.id)?;
    Err(unsupported("checkpoint"))
}

/// Runs `restore`.
pub fn restore(_global: &Global, _options: &RestoreOptions) -> Result<i32> {
    Err(unsupported("restore"))
}
