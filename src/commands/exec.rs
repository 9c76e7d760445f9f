//! `exec`.

use crate::cli::{ExecOptions, Global};
use crate::error::Result;
use crate::lifecycle;

/// Runs `exec`.
pub fn run(global: &Global, options: &ExecOptions) -> Result<i32> {
    lifecycle::exec(global, options)
}
