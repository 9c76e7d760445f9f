//! Who may have written what lies in the store?
//!
//! The store holds hooks that run with the caller's rights, pids that are signalled, cgroups that are emptied. So only
//! what the caller or root has made is believed: `--root` may be below a folder in which anybody can make files (/tmp, a
//! XDG_RUNTIME_DIR out of somebody else's environment). What counts is the owner of what was opened, never of a name.
//!
//! In a user namespace files of users that it does not map appear as nobody's: whose they are cannot be told, so they are
//! a stranger's there. Only the root directory may be such a one (`--root /tmp`): nothing is read from itself, and what
//! lies in it has to be ours.

use crate::bail;
use crate::error::{Context, Result};
use crate::host::Host;
use rustix::fs::{Mode, Stat, fstat};
use std::fmt::Display;
use std::os::fd::BorrowedFd;

/// The owner in whose name the kernel shows files of users that the user namespace does not map (its default;
/// /proc/sys/kernel/overflowuid).
const NOBODY: u32 = 65534;

/// The root directory. Others may be allowed to make files in it, if they cannot rename ours.
pub(super) fn root(dir: BorrowedFd<'_>, name: impl Display) -> Result<()> {
    let stat = fstat(dir).with_context(|| format!("open root {name}"))?;
    let nobodys = stat.st_uid == NOBODY && Host::here().in_user_namespace();
    if !nobodys {
        owner(&stat, format_args!("root {name}"))?;
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        let mode = mode.as_raw_mode();
        bail!(State, "root {name} is not trusted: everybody may rename what is in it (mode {mode:04o})");
    }
    Ok(())
}

/// A container's directory or its state.json, of which others may write nothing.
pub(super) fn own(stat: &Stat, name: impl Display) -> Result<()> {
    owner(stat, &name)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        bail!(
            State,
            "{name} is not trusted: others may write to it (mode {mode:04o})",
            mode = mode.as_raw_mode()
        );
    }
    Ok(())
}

/// Whether its owner is one whose files are believed.
pub(super) fn is_owner(uid: u32) -> bool {
    uid == 0 || uid == Host::here().euid()
}

fn owner(stat: &Stat, name: impl Display) -> Result<()> {
    if is_owner(stat.st_uid) {
        return Ok(());
    }
    let us = Host::here().euid();
    bail!(State, "{name} is not trusted: it belongs to user {}, and this is user {us}", stat.st_uid)
}
