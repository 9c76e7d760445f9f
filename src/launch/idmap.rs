//! The id maps of a new user namespace, written by the parent.

use std::process::Command;

use crate::error::{Context, Errno, Error, Kind, Result};
use crate::path::Proc;
use crate::plan::Namespaces;

/// Writes the id maps of the process `pid`. A user may map nothing but the own id to the own process; for what
/// /etc/subuid and /etc/subgid grant beyond that there are the set-user-ID programs newuidmap and newgidmap.
pub fn write(namespaces: &Namespaces, pid: i32, unprivileged: bool) -> Result<()> {
    let proc = Proc::open()?;
    let (uids, gids) = (&namespaces.uid_map, &namespaces.gid_map);
    let write = |file: &str, text: &str| proc.write(&format!("{pid}/{file}"), text.as_bytes());
    match write("uid_map", uids) {
        Err(Errno::EPERM) if unprivileged => run_helper("newuidmap", pid, uids),
        written => written.context("write uid_map"),
    }
    .context("linux.uidMappings")?;
    match write("gid_map", gids) {
        Err(Errno::EPERM) if unprivileged && !is_own_group(gids) => run_helper("newgidmap", pid, gids),
        // Without CAP_SETGID one's own group may be mapped, once setgroups is denied (user_namespaces(7)).
        Err(Errno::EPERM) => {
            write("setgroups", "deny").context("deny setgroups")?;
            write("gid_map", gids).context("write gid_map")
        }
        written => written.context("write gid_map"),
    }
    .context("linux.gidMappings")
}

/// Whether the map is of nothing but the user's own group.
fn is_own_group(map: &str) -> bool {
    let own = rustix::process::getegid().as_raw().to_string();
    map.split_ascii_whitespace().skip(1).eq([own.as_str(), "1"])
}

fn run_helper(program: &str, pid: i32, map: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(map.split_ascii_whitespace());
    let output = command.output().with_context(|| format!("start {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(Error::new(Kind::System, format!("{program}: {}: {said}", output.status)))
}
