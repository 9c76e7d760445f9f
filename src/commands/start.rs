//! `start`.

use crate::cli::{Global, StartOptions};
use crate::error::Result;
use crate::lifecycle;

/// Runs `start`.
pub fn run(global: &Global, options: &StartOptions) -> Result<i32> {
    lifecycle::start(global, options).map(|()| 0)
}
