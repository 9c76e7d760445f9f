//! One directory of the store: its file `state.json`, and its end.

use super::{ContainerId, State, foreign, trust};
use crate::bail;
use crate::clock;
use crate::error::{Context, Error, Kind, Result, errno_text};
use crate::gate;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::Pid;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

const STATE: &str = "state.json";
/// How directories of the store are opened. Not O_PATH: they are locked and listed.
pub(super) const DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Directories within a container's directory are made by tare alone, and never deeper than this.
const DEPTH: u32 = 8;
/// The largest state.json that is read: a config.json may have 16 MiB, and as much again if all of it is escaped.
const MAX_SIZE: i64 = 64 << 20;
/// How long another may hold a container's directory locked: who changes one needs less.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a creator may need from its directory to its lock.
const BIRTH: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Entry {
    pub root: Rc<OwnedFd>,
    pub id: ContainerId,
    pub dir: OwnedFd,
}

impl Entry {
    /// Opens the directory of `id`, and does not believe it unless it is ours. `path` is the root's, for words.
    pub fn open(root: &Rc<OwnedFd>, id: &ContainerId, path: &Path) -> Result<(Entry, Stat)> {
        let what = || format!("open {}/{id}", path.display());
        let dir = match openat(&**root, id.as_str(), DIR, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                bail!(NotFound, "container {:?} does not exist", id.as_str())
            }
            // It may be that it is another's because it cannot be opened.
            Err(Errno::ACCESS) => {
                let stat = statat(&**root, id.as_str(), AtFlags::SYMLINK_NOFOLLOW).with_context(what)?;
                trust::own(&stat, name(id, path))?;
                return Err(Errno::ACCESS).with_context(what);
            }
            Err(error) => return Err(error).with_context(what),
        };
        let stat = fstat(&dir).with_context(what)?;
        trust::own(&stat, name(id, path))?;
        Ok((Entry { root: Rc::clone(root), id: id.clone(), dir }, stat))
    }

    /// Locks the directory, and waits for it no longer than is good.
    pub fn lock(&self) -> Result<()> {
        let what = || format!("lock container {:?}", self.id.as_str());
        let end = Instant::now() + PATIENCE;
        loop {
            match flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::WOULDBLOCK) => {
                    let seconds = PATIENCE.as_secs();
                    bail!(State, "{}: another process has held it for {seconds} s", what())
                }
                Err(error) => return Err(error).with_context(what),
            }
        }
    }

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
        let broken = |errno: Errno| unreadable(errno_text(errno.raw_os_error()).into_owned());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, STATE, flags, Mode::empty()) {
            Ok(file) => file,
            // Engines look for "does not exist", and for them it is so.
            Err(Errno::NOENT) => {
                foreign::check(self.dir.as_fd()).map_err(|e| e.context(format!("container {id:?}")))?;
                bail!(
                    NotFound,
                    "container {id:?} does not exist: its creation was cut short; delete --force removes what is left"
                )
            }
            Err(error) => return Err(broken(error)),
        };
        let stat = fstat(&file).map_err(broken)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(unreadable("state.json is no regular file".into()));
        }
        if stat.st_size > MAX_SIZE {
            return Err(unreadable(format!("state.json is larger than {} MiB", MAX_SIZE >> 20)));
        }
        trust::own(&stat, format_args!("container {id:?}: state.json"))?;
        let bytes = read_all(file.as_fd()).map_err(broken)?;
        let mut state: State =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if state.version.is_empty()
            && let Some(other) =
                foreign::read(&bytes, self.dir.as_fd()).map_err(|e| e.context(format!("container {id:?}")))?
        {
            state = other;
        }
        if state.id != id {
            return Err(unreadable(format!("it is of {:?}", state.id)));
        }
        Ok(state)
    }

    /// What is known of a container whose creator is at work and has recorded nothing yet: its id, and whose directory
    /// was `made` when.
    pub fn unrecorded(&self, made: &Stat) -> Result<State> {
        // Between the directory and its lock the creator may be interrupted: what is that young gets a second look.
        let since = Duration::new(made.st_mtime.try_into().unwrap_or(0), made.st_mtime_nsec as u32);
        let end = Instant::now() + BIRTH;
        loop {
            if self.creator_is_alive()? {
                return Ok(State {
                    id: self.id.as_str().to_owned(),
                    created: clock::nanos(since),
                    owner: made.st_uid,
                    ..State::default()
                });
            }
            let read = self.read_state();
            let is_young = clock::since_epoch().saturating_sub(since) < BIRTH && Instant::now() < end;
            if !is_young || read.as_ref().err().is_none_or(|error| error.kind() != Kind::NotFound) {
                return read;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Who makes a container holds its directory locked.
    pub fn creator_is_alive(&self) -> Result<bool> {
        match flock(&self.dir, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error).context("lock container"),
            Ok(()) => {
                flock(&self.dir, FlockOperation::Unlock).context("unlock container")?;
                Ok(false)
            }
        }
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

fn name(id: &ContainerId, root: &Path) -> String {
    format!("container {:?}: {}/{id}", id.as_str(), root.display())
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
