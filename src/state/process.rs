//! Is that process still the one that was recorded?

use crate::bail;
use crate::error::{Context, Errno, Error, Result};
use crate::path;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;

/// What /proc/PID/stat says, as far as it matters here (proc(5)).
#[derive(Debug, PartialEq, Eq)]
pub struct Stat {
    /// Field 3.
    state: u8,
    /// Field 20. A process whose main thread has ended shows state Z while its other threads run on.
    threads: u64,
    /// Field 22: when it started, in clock ticks since boot; what [`pidfd`] compares later.
    pub start: u64,
    /// Field 33: the signals it ignores, signal 1 in bit 0, without the real-time ones.
    pub ignored: u32,
}

impl Stat {
    /// Of the process `pid`.
    ///
    /// # Errors
    /// There is none (`ESRCH`), or procfs cannot be read.
    pub fn of(pid: i32) -> Result<Stat> {
        stat(pid)?.ok_or_else(|| Error::os(Errno::ESRCH, format!("read start time of process {pid}")))
    }
}

/// Whether `pid` is the process that started at `start`, and has not ended.
pub(super) fn is_alive(pid: i32, start: u64) -> Result<bool> {
    let alive =
        |stat: Stat| stat.start == start && (!matches!(stat.state, b'Z' | b'X' | b'x') || stat.threads > 1);
    Ok(stat(pid)?.is_some_and(alive))
}

/// A pidfd of the process `pid` that started at `start`; `None` if it has ended. Signals through it cannot hit a
/// stranger: it is opened first and the start time compared afterwards.
pub fn pidfd(pid: i32, start: u64) -> Result<Option<OwnedFd>> {
    let Some(id) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() else { return Ok(None) };
    let fd = match pidfd_open(id, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("pidfd_open {pid}")),
    };
    Ok(is_alive(pid, start)?.then_some(fd))
}

fn stat(pid: i32) -> Result<Option<Stat>> {
    if pid <= 0 {
        return Ok(None);
    }
    let path = format!("/proc/{pid}/stat");
    let bytes = match path::read_made_at_once(&path) {
        Ok(bytes) => bytes,
        Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {path}")),
    };
    match parse(&bytes) {
        Some(stat) => Ok(Some(stat)),
        None => bail!(System, "read {path}: not in the form of proc(5)"),
    }
}

/// The name (field 2) is in parentheses and may itself hold blanks and parentheses: fields are counted from the
/// last closing one.
fn parse(bytes: &[u8]) -> Option<Stat> {
    let end = bytes.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&bytes[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let threads = fields.nth(16)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    let ignored = fields.nth(10)?.parse().ok()?;
    Some(Stat { state, threads, start, ignored })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_and_parentheses() {
        let tail =
            "S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 4096 34";
        for name in ["sh", "a b", "a) S 9 9", ") (", "x (y)", "\u{e9}"] {
            let line = format!("42 ({name}) {tail}\n");
            let stat = parse(line.as_bytes()).unwrap();
            assert_eq!(stat, Stat { state: b'S', threads: 20, start: 22, ignored: 4096 }, "{name}");
        }
        for bad in [
            "",
            "42 (sh",
            "42 (sh)",
            "42 (sh) S 1 2",
            "42 (sh) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 x 21 22 23 24 25 26 27 28 29 30 31 32 33",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn this_process_is_alive_and_only_with_its_own_start_time() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let start = Stat::of(pid).unwrap().start;
        assert!(start > 0);
        assert!(is_alive(pid, start).unwrap());
        assert!(!is_alive(pid, start + 1).unwrap());
        assert!(pidfd(pid, start).unwrap().is_some());
        assert!(pidfd(pid, start - 1).unwrap().is_none());
        assert!(pidfd(0, 0).unwrap().is_none() && pidfd(-1, 0).unwrap().is_none());
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start = Stat::of(pid).unwrap().start;
        let fd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        assert_eq!(Stat::of(pid).unwrap().start, start, "it must still be there, as a zombie");
        assert!(!is_alive(pid, start).unwrap());
        child.wait().unwrap();
        assert!(!is_alive(pid, start).unwrap());
        assert_eq!(Stat::of(pid).unwrap_err().errno(), Some(Errno::ESRCH));
    }
}
