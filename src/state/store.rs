//! The directory of containers. Everything below it goes by directory fd, without following symbolic links.

use super::entry::{DIR, Entry};
use super::{ContainerId, State, Status, foreign, process, trust};
use crate::bail;
use crate::error::{Context, Error, Kind, Result};
use crate::gate;
use crate::host::Host;
use crate::log;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How the root directory was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// By the caller.
    Given,
    Default,
    /// By default, below XDG_RUNTIME_DIR, whose aged files may be cleaned away.
    RuntimeDir,
}

/// All containers below one root directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    choice: Choice,
    /// `None` while there is no such directory.
    root: Option<Rc<OwnedFd>>,
}

impl Store {
    /// Opens the store at `root`, or at the default place: `/run/tare`, or `$XDG_RUNTIME_DIR/tare` for who is not
    /// root. It need not exist.
    pub fn open(root: Option<&Path>) -> Result<Store> {
        let (path, choice) = match root {
            Some(path) => (path.to_owned(), Choice::Given),
            None => default_root(),
        };
        let mut store = Store { path, choice, root: None };
        store.root = store.open_root()?;
        Ok(store)
    }

    fn open_root(&self) -> Result<Option<Rc<OwnedFd>>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let what = || format!("open root {}", self.path.display());
        // A slash at its end would be as good as following a link.
        let path = self.path.components().as_path();
        let opened = match rustix::fs::open(path, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) if self.is_link_of_ours()? => {
                rustix::fs::open(path, flags, Mode::empty())
            }
            opened => opened,
        };
        match opened {
            Ok(fd) => {
                trust::root(fd.as_fd(), self.path.display())?;
                Ok(Some(Rc::new(fd)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).with_context(what),
        }
    }

    /// Whether the root's name is a symbolic link, and one that nobody has planted.
    fn is_link_of_ours(&self) -> Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let path = self.path.components().as_path();
        let found =
            std::fs::symlink_metadata(path).with_context(|| format!("open root {}", path.display()))?;
        if found.is_symlink() && !trust::is_owner(found.uid()) {
            bail!(
                State,
                "root {} is not trusted: it is a symbolic link of user {}",
                path.display(),
                found.uid()
            );
        }
        Ok(found.is_symlink())
    }

    /// The root directory, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Claims `id`: of all who try at once, one gets it. Dropping the reservation without
    /// [`commit`](Reservation::commit) removes the directory again.
    pub fn reserve(&mut self, id: &ContainerId) -> Result<Reservation> {
        let root = match &self.root {
            Some(root) => Rc::clone(root),
            None => self.make_root()?,
        };
        let what = || format!("make {}/{id}", self.path.display());
        match mkdirat(&*root, id.as_str(), Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => bail!(Exists, "container with given ID already exists"),
            Err(error) => return Err(error).with_context(what),
        }
        // The lock is held until commit; the kernel drops it if this process dies. Another may ask for it for a moment.
        let entry = Entry::open(&root, id, &self.path)
            .and_then(|(entry, _)| entry.lock().map(|()| entry))
            .inspect_err(|_| {
                let _ = unlinkat(&*root, id.as_str(), AtFlags::REMOVEDIR);
            })?;
        let creator = rustix::process::getpid();
        Ok(Reservation { entry: Some(entry), locked: true, creator })
    }

    fn make_root(&mut self) -> Result<Rc<OwnedFd>> {
        let what = || format!("make root {}", self.path.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path).with_context(what)?;
        let Some(root) = self.open_root()? else {
            return Err(Error::os(crate::error::Errno::ENOENT, what()));
        };
        if self.choice == Choice::RuntimeDir {
            // The basedir specification: the sticky bit keeps the periodic clean-up away.
            rustix::fs::chmodat(&*root, ".", Mode::RWXU | Mode::SVTX, AtFlags::empty()).with_context(what)?;
        }
        Ok(self.root.insert(root).clone())
    }

    /// Opens a container. One whose creation was cut short is opened too, for `delete`: see [`Container::state`].
    pub fn load(&self, id: &ContainerId) -> Result<Container> {
        let Some(root) = &self.root else { bail!(NotFound, "container {:?} does not exist", id.as_str()) };
        let (entry, made) = Entry::open(root, id, &self.path)?;
        let mut state = entry.read_state();
        if state.as_ref().is_err_and(|error| error.kind() == Kind::NotFound) {
            state = entry.unrecorded(&made);
        }
        log::debug(|| match &state {
            Ok(state) => state.summary(),
            Err(error) => error.to_string(),
        });
        Ok(Container { entry, state })
    }

    /// All containers, by id. Entries that cannot be read are left out with a warning: one broken container must not
    /// hide the others.
    pub fn list(&self) -> Result<Vec<Container>> {
        let what = || format!("list {}", self.path.display());
        let Some(root) = &self.root else {
            // A root that was not used yet is one thing, a root that is not there another (as with runc since 1.2).
            return match self.choice {
                Choice::Given => Err(Error::os(crate::error::Errno::ENOENT, what())),
                Choice::Default | Choice::RuntimeDir => Ok(Vec::new()),
            };
        };
        let mut all = Vec::new();
        let dir = openat(&**root, ".", DIR, Mode::empty()).with_context(what)?;
        for entry in Dir::new(dir).with_context(what)? {
            let entry = entry.with_context(what)?;
            if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                continue;
            }
            let Some(id) = entry.file_name().to_str().ok().and_then(|name| ContainerId::parse(name).ok())
            else {
                continue;
            };
            match self.load(&id).and_then(|container| container.state().map(drop).map(|()| container)) {
                Ok(container) => all.push(container),
                // Deleted since, or being created and not yet recorded.
                Err(error) if error.kind() == Kind::NotFound => log::debug(|| format!("list: {error}")),
                Err(error) => log::warn(&format!("list: {error}")),
            }
        }
        all.sort_by(|a, b| a.id().cmp(b.id()));
        Ok(all)
    }
}

/// `/run/tare` for root. Others, and root of a user namespace that is not called so, have `$XDG_RUNTIME_DIR/tare`.
fn default_root() -> (PathBuf, Choice) {
    choose_root(std::env::var_os("XDG_RUNTIME_DIR"), || {
        let named_root = || std::env::var_os("USER").is_some_and(|user| user == "root");
        Host::here().euid() != 0 || (Host::here().in_user_namespace() && !named_root())
    })
}

/// Podman, as root, sets the variable to nothing.
fn choose_root(runtime_dir: Option<OsString>, honour: impl FnOnce() -> bool) -> (PathBuf, Choice) {
    match runtime_dir.filter(|dir| !dir.is_empty()) {
        Some(dir) if honour() => (Path::new(&dir).join("tare"), Choice::RuntimeDir),
        _ => (PathBuf::from("/run/tare"), Choice::Default),
    }
}

/// A claimed id whose container is being made.
#[derive(Debug)]
#[must_use = "dropping a reservation removes the container"]
pub struct Reservation {
    /// `None` once committed.
    entry: Option<Entry>,
    /// Others take it for one that is being created.
    locked: bool,
    /// Only this process may undo it: its forks have copies.
    creator: rustix::process::Pid,
}

impl Reservation {
    fn entry(&self) -> &Entry {
        match &self.entry {
            Some(entry) => entry,
            None => unreachable!("taken only by commit, which consumes the reservation"),
        }
    }

    /// The id it claims.
    pub fn id(&self) -> &ContainerId {
        &self.entry().id
    }

    /// The container's directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.entry().dir.as_fd()
    }

    /// Records what is about to be made (above all the cgroup, while `init_process_pid` is 0), so that it can be found
    /// and removed if this process is killed meanwhile. Costs an openat, a write, a close and a rename.
    pub fn checkpoint(&self, state: &State) -> Result<()> {
        self.entry().write_state(state, self.creator)
    }

    /// Lets others see the container that was recorded last, while dropping this still removes it.
    pub fn publish(&mut self) -> Result<()> {
        if self.locked {
            flock(self.dir(), FlockOperation::Unlock).context("unlock container")?;
            self.locked = false;
        }
        Ok(())
    }

    /// Ends the creation of a container whose `state` was recorded: from now on it is there to stay. On an error
    /// everything recorded is removed.
    pub fn commit(mut self, state: State) -> Result<Container> {
        self.publish()?;
        match self.entry.take() {
            Some(entry) => Ok(Container { entry, state: Ok(state) }),
            None => unreachable!("taken only here"),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry
            && rustix::process::getpid() == self.creator
            && let Err(error) = entry.remove()
        {
            log::warn(&error.to_string());
        }
    }
}

/// A container of the store.
#[derive(Debug)]
pub struct Container {
    entry: Entry,
    /// The error tells why there is none.
    state: Result<State>,
}

impl Container {
    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.entry.id
    }

    /// Its directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.entry.dir.as_fd()
    }

    /// Its facts. [`Kind::NotFound`] if its creation was cut short before there were any, [`Kind::State`] if they
    /// cannot be read.
    pub fn state(&self) -> Result<&State> {
        self.state.as_ref().map_err(Clone::clone)
    }

    /// Keeps others from changing or removing it until it is dropped, and reads its facts anew.
    pub fn lock(&mut self) -> Result<()> {
        self.entry.lock()?;
        self.state = self.entry.read_state();
        self.state().map(drop)
    }

    /// Replaces its facts.
    pub fn save(&mut self, state: State) -> Result<()> {
        self.entry.write_state(&state, rustix::process::getpid())?;
        self.state = Ok(state);
        Ok(())
    }

    /// Whether it has a process on record: its creation came to its end.
    fn is_whole(&self) -> bool {
        self.state.as_ref().is_ok_and(|state| state.init_process_pid != 0)
    }

    /// Its status. `frozen` tells whether its cgroup is frozen, and is asked only while the process is there.
    pub fn status(&self, frozen: impl FnOnce() -> bool) -> Result<Status> {
        let status = self.look(frozen)?;
        log::debug(|| format!("container {:?} is {status}", self.id().as_str()));
        Ok(status)
    }

    fn look(&self, frozen: impl FnOnce() -> bool) -> Result<Status> {
        let state = match &self.state {
            Ok(state) if self.is_whole() => state,
            _ if self.entry.creator_is_alive()? => return Ok(Status::Creating),
            // The creator may have come to its end between our two looks; at the first it was being created.
            Ok(_) if self.entry.read_state().is_ok_and(|now| now.init_process_pid != 0) => {
                return Ok(Status::Creating);
            }
            _ => return Ok(Status::Stopped),
        };
        if !process::is_alive(state.init_process_pid, state.init_process_start)? {
            return Ok(Status::Stopped);
        }
        // Its process is on record before it has built the inside.
        if self.entry.creator_is_alive()? {
            return Ok(Status::Creating);
        }
        if frozen() {
            return Ok(Status::Paused);
        }
        let waits = if state.made_by.is_some() { foreign::is_waiting } else { gate::is_waiting };
        Ok(if state.gate && waits(self.dir()) { Status::Created } else { Status::Running })
    }

    /// A pidfd of its process; `None` if that has ended.
    pub fn pidfd(&self) -> Result<Option<OwnedFd>> {
        match &self.state {
            Ok(state) => process::pidfd(state.init_process_pid, state.init_process_start),
            Err(_) => Ok(None),
        }
    }

    /// Removes it from the store: the last step of a deletion. No error if another did so meanwhile.
    pub fn remove(self) -> Result<()> {
        if self.is_whole() {
            self.entry.lock()?;
        } else {
            // Its creator may be at work and hold the lock to the end; it will find the directory gone and give up.
            match flock(&self.entry.dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) | Err(Errno::WOULDBLOCK) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("lock container {:?}", self.id().as_str()));
                }
            }
        }
        self.entry.remove()
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
