//! `checkpoint` and `restore`.

use crate::cli::{CheckpointOptions, Global, RestoreOptions};
use crate::error::Result;
use crate::lifecycle;

/// Runs `checkpoint`.
pub fn checkpoint(global: &Global, options: &CheckpointOptions) -> Result<i32> {
    lifecycle::checkpoint(global, options).map(|()| 0)
}

/// Runs `restore`.
pub fn restore(global: &Global, options: &RestoreOptions) -> Result<i32> {
    lifecycle::restore(global, options)
}
