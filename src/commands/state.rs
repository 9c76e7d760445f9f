//! `state`: one container as indented JSON.

use super::{json, load, passwd, print, seams, user_name};
use crate::cli::{Global, StateOptions};
use crate::error::Result;

/// Runs `state`.
pub fn run(global: &Global, options: &StateOptions) -> Result<i32> {
    let container = load(global, &options.id)?;
    let state = container.state()?;
    let status = container.status(|| seams::is_frozen(&container))?;
    print(&json(&state.shown(status, user_name(&passwd(), state.owner)), true)?)?;
    Ok(0)
}
