//! `spec`: a config.json to begin with.

use super::seams;
use crate::bail;
use crate::cli::SpecOptions;
use crate::error::{Context, Result};
use std::io::Write;
use std::path::Path;

/// Runs `spec`.
pub fn run(options: &SpecOptions) -> Result<i32> {
    let path = options.bundle.as_deref().unwrap_or(Path::new("")).join("config.json");
    // Created or refused in one step: two callers cannot overwrite each other's.
    let mut file = match std::fs::File::create_new(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!(Exists, "File config.json exists. Remove it first")
        }
        file => file.with_context(|| format!("create {}", path.display()))?,
    };
    file.write_all(seams::default_spec(options.rootless).as_bytes())
        .with_context(|| format!("write {}", path.display()))?;
    Ok(0)
}
