//! `run`.

use crate::cli::{Global, RunOptions};
use crate::error::Result;
use crate::lifecycle;

/// Runs `run`.
pub fn run(global: &Global, options: &RunOptions) -> Result<i32> {
    lifecycle::run(global, options)
}
