//! What the caller is given beside the exit code: pid file, pidfd, console; and what it gives: descriptors.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::bail;
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::launch::{Terminal, connect, send_fds};
use crate::sys::exec::set_cloexec;

/// A pid file that is removed again unless [`PidFile::keep`] is called.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    kept: bool,
}

impl PidFile {
    /// Writes `pid` to `path`, which appears with its content or not at all: engines poll for it.
    pub fn write(path: &Path, pid: i32) -> Result<PidFile> {
        let mut temporary = OsString::from(".");
        temporary.push(path.file_name().ok_or_else(|| Error::new(Kind::Usage, "--pid-file: names no file"))?);
        temporary.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let what = || format!("write pid file {}", path.display());
        // A new file: in a directory that others may write to, one of that name could be a link of theirs. Or it is what
        // a call with our pid has left, which was killed just here.
        let _ = std::fs::remove_file(&temporary);
        let mut file = std::fs::File::create_new(&temporary).with_context(what)?;
        let written =
            file.write_all(pid.to_string().as_bytes()).and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written.with_context(what)?;
        Ok(PidFile { path: path.to_owned(), kept: false })
    }

    /// It stays.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Sends the pidfd of the container's process over `--pidfd-socket`.
pub fn send_pidfd(path: &Path, pidfd: &OwnedFd) -> Result<()> {
    let socket = connect(path).context("--pidfd-socket")?;
    // The name that runc gives its file.
    send_fds(socket.as_fd(), b"pidfd", &[pidfd.as_fd()]).context("--pidfd-socket: send the pidfd")
}

/// What becomes of the terminal; the caller's choices must fit config.json's, as with runc. `program` is what the caller
/// knows this program by.
pub fn terminal(
    program: &str,
    wanted: bool,
    detach: bool,
    console_socket: Option<&Path>,
) -> Result<Terminal> {
    match (wanted, detach, console_socket) {
        (true, true, None) => {
            bail!(Usage, "cannot allocate tty if {program} will detach without setting console socket")
        }
        (false, _, Some(_)) | (true, false, Some(_)) => {
            bail!(Usage, "cannot use console socket if {program} will not detach or allocate tty")
        }
        (true, true, Some(path)) => Ok(Terminal::Send(connect(path).context("--console-socket")?)),
        (true, false, None) => Ok(Terminal::Keep),
        (false, _, None) => Ok(Terminal::None),
    }
}

/// What the process inherits beside its standard streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// How many descriptors from 3 on.
    pub count: u32,
    /// `LISTEN_FDS` and `LISTEN_FDNAMES`, if they were meant for us.
    pub listen: Option<(u32, Option<String>)>,
}

impl Inherited {
    /// Reads `LISTEN_FDS` and looks whether all descriptors are there.
    ///
    /// To be called before this process opens any descriptor that it keeps but the log file's: one of its own under an
    /// inherited number would go to the container.
    pub fn take(preserve_fds: u32) -> Result<Inherited> {
        let listen = listen_fds(
            std::env::var("LISTEN_FDS").ok(),
            std::env::var("LISTEN_PID").ok(),
            std::env::var("LISTEN_FDNAMES").ok(),
        );
        let count = preserve_fds.saturating_add(listen.as_ref().map_or(0, |(n, _)| *n));
        for fd in 3..3u32.saturating_add(count) {
            let number = i32::try_from(fd).unwrap_or(i32::MAX);
            // The caller left this number closed, and the log file, opened since, has taken it.
            let ours = crate::log::descriptor() == Some(number);
            let open = if ours { Err(Errno::EBADF) } else { set_cloexec(number, true) };
            open.map_err(|e| {
                Error::os(e, format!("preserve file descriptor {fd}: please check that it is open"))
                    .with_kind(Kind::Usage)
            })?;
        }
        Ok(Inherited { count, listen })
    }
}

/// sd_listen_fds(3): descriptors are ours when `LISTEN_PID` is us.
fn listen_fds(
    count: Option<String>,
    pid: Option<String>,
    names: Option<String>,
) -> Option<(u32, Option<String>)> {
    let count: u32 = count?.parse().ok().filter(|n| *n > 0)?;
    let ours = pid.is_some_and(|pid| pid.parse() == Ok(std::process::id()));
    ours.then_some((count, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_fds_need_our_pid() {
        let us = std::process::id().to_string();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(listen_fds(some("2"), Some(us.clone()), None), Some((2, None)));
        assert_eq!(listen_fds(some("2"), some("1"), None), None);
        assert_eq!(listen_fds(some("2"), None, None), None);
        assert_eq!(listen_fds(some("x"), Some(us), None), None);
    }

    #[test]
    fn a_pid_file_that_is_not_kept_goes() {
        let path = std::env::temp_dir().join(format!("tare-pid-{}", std::process::id()));
        drop(PidFile::write(&path, 1).unwrap());
        assert!(!path.exists());
        PidFile::write(&path, 42).unwrap().keep();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "42");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn terminals_and_sockets_must_fit() {
        let error = terminal("runc", true, true, None).unwrap_err().to_string();
        assert_eq!(error, "cannot allocate tty if runc will detach without setting console socket");
        assert!(terminal("runc", false, true, Some(Path::new("/x"))).is_err());
        assert!(terminal("runc", true, false, Some(Path::new("/x"))).is_err());
        assert!(matches!(terminal("runc", true, false, None), Ok(Terminal::Keep)));
        assert!(matches!(terminal("runc", false, true, None), Ok(Terminal::None)));
    }
}
