//! One directory of the store: its file `state.json`, and its end.

use super::{ContainerId, State};
use crate::bail;
use crate::error::{Context, Error, Kind, Result, errno_text};
use crate::gate;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::Pid;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

const STATE: &str = "state.json";
/// How directories of the store are opened. Not O_PATH: they are locked and listed.
pub(super) const DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Directories within a container's directory are made by tare alone, and never deeper than this.
const DEPTH: u32 = 8;

#[derive(Debug)]
pub(super) struct Entry {
    pub root: Rc<OwnedFd>,
    pub id: ContainerId,
    pub dir: OwnedFd,
}

impl Entry {
    /// Replaces state.json in one step. The temporary name is the writer's own, as two may write at once.
    pub fn write_state(&self, state: &State, writer: Pid) -> Result<()> {
        let what = || format!("write state of container {:?}", self.id.as_str());
        let json = serde_json::to_vec(state)
            .map_err(|error| Error::new(Kind::System, error.to_string()))
            .with_context(what)?;
        let temporary = format!(".{STATE}.{writer}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, &temporary, flags, Mode::RUSR | Mode::WUSR).with_context(what)?;
        let mut rest = &json[..];
        while !rest.is_empty() {
            match rustix::io::write(&file, rest) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).with_context(what),
            }
        }
        renameat(&self.dir, &temporary, &self.dir, STATE).with_context(what)
    }

    /// Reads state.json. The errors are [`super::Container::state`]'s.
    pub fn read_state(&self) -> Result<State> {
        let id = self.id.as_str();
        let unreadable = |why: String| {
            let what = format!("container {id:?} has no readable state ({why}); delete --force removes it");
            Error::new(Kind::State, what)
        };
        let broken = |errno: Errno| {
            unreadable(errno_text(crate::error::Errno::from_raw(errno.raw_os_error())).into_owned())
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, STATE, flags, Mode::empty()) {
            Ok(file) => file,
            // Engines look for "does not exist", and for them it is so.
            Err(Errno::NOENT) => bail!(
                NotFound,
                "container {id:?} does not exist: its creation was cut short; delete --force removes what is left"
            ),
            Err(error) => return Err(broken(error)),
        };
        let bytes = read_all(file.as_fd()).map_err(broken)?;
        let state: State = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if state.id != id {
            return Err(unreadable(format!("it is of {:?}", state.id)));
        }
        Ok(state)
    }

    /// Removes the directory. Who does so for a finished container holds its lock: between two that remove it, a third
    /// could have made it anew.
    pub fn remove(&self) -> Result<()> {
        let what = || format!("remove state of container {:?}", self.id.as_str());
        if rustix::fs::fstat(&self.dir).with_context(what)?.st_nlink == 0 {
            return Ok(());
        }
        for name in [gate::NAME, gate::REPLY, STATE] {
            match unlinkat(&self.dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error).with_context(what),
            }
        }
        let remove = || unlinkat(&*self.root, self.id.as_str(), AtFlags::REMOVEDIR);
        let mut removed = remove();
        if removed == Err(Errno::NOTEMPTY) {
            empty(self.dir.as_fd(), DEPTH).with_context(what)?;
            removed = remove();
        }
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).with_context(what),
        }
    }
}

fn read_all(file: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    // Room for Docker's configuration, so that one read does it.
    let mut bytes = Vec::with_capacity(32 * 1024);
    loop {
        if bytes.capacity() - bytes.len() < 4096 {
            bytes.reserve(bytes.capacity());
        }
        let room = bytes.capacity() - bytes.len();
        match rustix::io::read(file, rustix::buffer::spare_capacity(&mut bytes)) {
            // A regular file gives less than was asked for only at its end.
            Ok(n) if n < room => return Ok(bytes),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes everything in `dir`, at most `depth` directories deep, and follows nothing.
fn empty(dir: BorrowedFd<'_>, depth: u32) -> rustix::io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR) if depth > 0 => {}
            Err(error) => return Err(error),
        }
        let below = openat(dir, name, DIR, Mode::empty())?;
        empty(below.as_fd(), depth - 1)?;
        unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}
