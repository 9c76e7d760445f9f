//! `create`.

use crate::cli::{CreateOptions, Global};
use crate::error::Result;
use crate::lifecycle;

/// Runs `create`.
pub fn run(global: &Global, options: &CreateOptions) -> Result<i32> {
    lifecycle::create(global, options).map(|()| 0)
}
