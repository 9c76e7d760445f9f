//! Giving the cgroup to the container (config-linux.md, "Cgroup ownership").

use super::Manager;
use crate::error::{Errno, Error, Result};

/// The kernel's list of files that whoever a cgroup is delegated to may write.
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// What the specification has in place of that list before Linux 4.15.
const FALLBACK: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Manager {
    /// Makes `uid`, of the runtime's user namespace, the owner of the cgroup, and of the files in it that are no limits.
    /// Nothing happens on cgroup v1, where that would not be safe.
    ///
    /// # Errors
    /// No permission to give it away.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        let (Some(dir), true) = (self.unified(), self.groups().is_empty()) else { return Ok(()) };
        let failed = |errno, what: &str| Error::os(errno, format!("give {}{what} to uid {uid}", dir.path));
        dir.chown("", uid).map_err(|errno| failed(errno, ""))?;
        let list = std::fs::read_to_string(LIST).unwrap_or_else(|_| FALLBACK.to_owned());
        for file in list.lines().filter(|file| !file.is_empty() && !file.contains('/')) {
            match dir.chown(file, uid) {
                // A kernel lists files of controllers that this cgroup has not got.
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(failed(errno, &format!("/{file}"))),
            }
        }
        Ok(())
    }
}
