//! Takes single defences out, in builds with the feature `weaken` only, so that the attack tests can be seen to succeed
//! where a defence is missing (integration/attacks). Such a build says so in its `--version` and is no release.

/// Whether the environment variable `TARE_WEAKEN`, a list with commas, names this defence.
#[cfg(feature = "weaken")]
pub fn weakened(defence: &str) -> bool {
    use std::sync::OnceLock;
    // Once, by the sealing of the executable: a child overwrites its environment.
    static LIST: OnceLock<String> = OnceLock::new();
    let list = LIST.get_or_init(|| std::env::var("TARE_WEAKEN").unwrap_or_default());
    list.split(',').any(|name| name == defence)
}

/// No defence is.
#[cfg(not(feature = "weaken"))]
pub const fn weakened(_: &str) -> bool {
    false
}

/// What `--version` has after the version.
pub const SUFFIX: &str = if cfg!(feature = "weaken") { " (weakened)" } else { "" };
