//! v2: a cgroup has the controllers that its parent gives to its children, and the parent those of its own parent.
//!
//! A cgroup with processes of its own can give none ("no internal processes"), except the root; that is why a relative
//! path is beside the runtime's own cgroup, not in it.

use super::create::{check_domain, denied};
use super::dir::Dir;
use super::limits::missing;
use crate::error::{Errno, Error, Result};
use crate::plan::cgroup::Write;

/// Switches all controllers of the hierarchy on for a new cgroup, whether there is a limit or not, as runc and crun do:
/// statistics and the counter of out-of-memory kills come from them too. What cannot be had (an ancestor has processes,
/// there is no permission) is left out. Returns what the cgroup has then. When everything is on already, which after the
/// first container of a parent it is, this is two reads.
pub(super) fn enable_all(dir: &Dir, mount_point: &Dir) -> Result<String> {
    let own = read(dir, "cgroup.controllers")?.unwrap_or_default();
    let all = read(mount_point, "cgroup.controllers")?.unwrap_or_default();
    if own == all {
        return Ok(own);
    }
    for (parent, on) in ancestors(dir)? {
        let lacking: Vec<String> =
            all.split_whitespace().filter(|name| !has(&on, name)).map(|name| format!("+{name}")).collect();
        // All at once is one pass over the tree, but all or nothing.
        if !lacking.is_empty() && parent.write("cgroup.subtree_control", &lacking.join(" ")).is_err() {
            for name in lacking {
                let _ = parent.write("cgroup.subtree_control", &name);
            }
        }
    }
    let own = read(dir, "cgroup.controllers")?.unwrap_or_default();
    if own != all {
        // Among the reasons is one with which there can be no process either.
        check_domain(dir)?;
    }
    Ok(own)
}

/// Sees to it that a cgroup which has the controllers `own` has those that `writes` need, too.
pub(super) fn enable_for<'a>(
    dir: &Dir,
    own: Option<&str>,
    writes: impl Iterator<Item = &'a Write>,
) -> Result<()> {
    let mut lacking: Vec<&Write> = Vec::new();
    for write in writes.filter(|write| write.controller != "cgroup") {
        if !lacking.iter().any(|w| w.controller == write.controller) {
            lacking.push(write);
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let own = match own {
        Some(own) => own.to_owned(),
        None => read(dir, "cgroup.controllers")?.unwrap_or_default(),
    };
    lacking.retain(|write| !has(&own, &write.controller));
    if lacking.is_empty() {
        return Ok(());
    }
    for (parent, on) in ancestors(dir)? {
        for write in lacking.iter().filter(|write| !has(&on, &write.controller)) {
            parent
                .write("cgroup.subtree_control", &format!("+{}", write.controller))
                .map_err(|errno| cannot_enable(&parent, write, errno))?;
        }
    }
    Ok(())
}

/// The cgroups above, from the mount point down, each with what it gives to its children.
fn ancestors(dir: &Dir) -> Result<Vec<(Dir, String)>> {
    let mut ancestors = Vec::new();
    let mut next = dir.parent();
    while let Some(parent) = next {
        // Above the mount point there is no such file.
        let Some(on) = read(&parent, "cgroup.subtree_control")? else { break };
        next = parent.parent();
        ancestors.push((parent, on));
    }
    ancestors.reverse();
    Ok(ancestors)
}

fn read(dir: &Dir, file: &str) -> Result<Option<String>> {
    match dir.read_short(file) {
        Err(Errno::ENOENT) => Ok(None),
        other => other.map(Some).map_err(|e| Error::os(e, format!("read {}/{file}", dir.path))),
    }
}

fn has(list: &str, controller: &str) -> bool {
    list.split_whitespace().any(|name| name == controller)
}

fn cannot_enable(parent: &Dir, write: &Write, errno: Errno) -> Error {
    let what = format!("write \"+{}\" to {}/cgroup.subtree_control", write.controller, parent.path);
    let error = match errno {
        // EINVAL: the kernel knows no such controller at all. ENOENT: not given to this cgroup.
        Errno::ENOENT | Errno::EINVAL => {
            let there = parent.read("cgroup.controllers").unwrap_or_default();
            return missing(write, &format!("{} has {:?}", parent.path, there.trim()));
        }
        Errno::EBUSY => Error::os(errno, what)
            .context("a cgroup that has processes of its own cannot give controllers to others"),
        Errno::EOPNOTSUPP => Error::os(errno, what).context("the cgroup is threaded"),
        _ => denied(errno, what),
    };
    error.context(write.field.clone())
}
