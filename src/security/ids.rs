//! Users and groups.

use std::os::fd::AsFd;

use rustix::fs::{Gid, OFlags, Uid};

use crate::error::{Context, Result};
use crate::path::{Proc, read_all};
use crate::plan::process::Process;

/// Becomes root of the user namespace just entered, if it has one.
pub fn become_root() -> Result<()> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    match rustix::thread::set_thread_res_gid(gid, gid, gid) {
        Err(rustix::io::Errno::INVAL) => return Ok(()), // id 0 is not mapped
        other => other.context("become group 0 of the user namespace")?,
    }
    match rustix::thread::set_thread_groups(&[]) {
        // Where an unprivileged user made the namespace, setgroups is denied for good.
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(e) => return Err(e).context("clear the supplementary groups"),
    }
    match rustix::thread::set_thread_res_uid(uid, uid, uid) {
        Err(rustix::io::Errno::INVAL) => Ok(()),
        other => other.context("become user 0 of the user namespace"),
    }
}

/// Takes the groups and the user of the process. `keep_capabilities` over the change to another user than root.
pub fn become_user(process: &Process, keep_capabilities: bool) -> Result<()> {
    let groups: Vec<Gid> = process.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Ok(()) => {}
        Err(rustix::io::Errno::PERM) if groups.is_empty() && setgroups_denied() => {}
        Err(e) => return Err(e).context("process.user.additionalGids: setgroups"),
    }
    let gid = Gid::from_raw(process.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .with_context(|| format!("process.user.gid: setgid {}", process.gid))?;
    if keep_capabilities {
        rustix::thread::set_keep_capabilities(true).context("keep capabilities over setuid")?;
    }
    let uid = Uid::from_raw(process.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .with_context(|| format!("process.user.uid: setuid {}", process.uid))?;
    if keep_capabilities {
        rustix::thread::set_keep_capabilities(false).context("stop keeping capabilities")?;
    }
    Ok(())
}

fn setgroups_denied() -> bool {
    let denied = || -> Option<bool> {
        let proc = Proc::open().ok()?;
        let path = format!("{}/setgroups", rustix::process::getpid().as_raw_nonzero());
        let file = proc.file(&path, OFlags::RDONLY).ok()?;
        Some(read_all(file.as_fd(), 64).ok()?.starts_with(b"deny"))
    };
    denied().unwrap_or(false)
}

/// Gives the standard streams to the user, or it could not reopen them through /proc/self/fd.
pub fn own_stdio(process: &Process) -> Result<()> {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        // /dev/null belongs to everybody.
        if stat.st_uid == process.uid || stat.st_rdev == rustix::fs::makedev(1, 3) {
            continue;
        }
        match rustix::fs::fchown(stream, Some(Uid::from_raw(process.uid)), None) {
            // Owners the namespace has no id for, read-only file systems, and files of others: as they are.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM | rustix::io::Errno::ROFS) => {}
            Err(e) => return Err(e).context("give the standard streams to the user"),
        }
    }
    Ok(())
}

/// The home directory of `uid` by the text of a passwd file. Only numbers are compared: a user whose *name* is a
/// number means nothing here (CVE-2016-3697).
pub fn home(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    passwd.split(|&b| b == b'\n').find_map(|line| {
        let mut fields = line.split(|&b| b == b':');
        let number = fields.nth(2)?;
        let home = fields.nth(2)?;
        (std::str::from_utf8(number).ok()?.parse() == Ok(uid)).then_some(home)
    })
}

/// The text of the container's /etc/passwd, if it has one of sane size.
pub fn passwd() -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open("/etc/passwd", flags, rustix::fs::Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return None;
    }
    read_all(file.as_fd(), 1 << 20).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/evil:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\nshort:x:7\n";
        assert_eq!(home(passwd, 0), Some(&b"/root"[..]));
        assert_eq!(home(passwd, 1000), Some(&b"/home/bob"[..]));
        assert_eq!(home(passwd, 7), None);
        assert_eq!(home(passwd, 5), None);
    }
}
