//! criu at work: a child of ours that is asked one thing over a socket, and tells on its way how far it is.

use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::SigSet;
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{WaitId, WaitIdOptions};

use crate::cli::CriuOptions;
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::launch::protocol::{Channel, ToChild, ToParent};
use crate::log;
use crate::plan::criu::{self as plan, Answer};
use crate::rootfs::CgroupView;
use crate::sys::clone::{self, Forked};
use crate::sys::{exec, pidfd, signal};

/// Where pipes and the like of a container's first three descriptors are recorded, among the images. The name and the form
/// are runc's.
pub const DESCRIPTORS: &str = "descriptors.json";

/// There, before criu's name of a file that is the null device of the host.
pub const NULL: &str = "/dev/null ";

/// Where programs are looked for when the caller has no `$PATH`, as Podman sometimes.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The directories of a checkpoint.
pub struct Directories {
    images: Directory,
    /// Beside the images, if asked for.
    work: Option<Directory>,
    /// Where the log is.
    log: PathBuf,
}

struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    fn open(path: &Path, make: bool) -> Result<Directory> {
        if make {
            use std::os::unix::fs::DirBuilderExt;
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.with_context(|| format!("make directory {}", path.display()))?;
        }
        let path = std::fs::canonicalize(path).with_context(|| format!("directory {}", path.display()))?;
        Ok(Directory { fd: Directory::open_path(&path)?, path })
    }

    fn open_path(path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("open directory {}", path.display()))
    }

    /// Opens it in the mount namespace that this process is in by now, under the same number: criu mounts things there.
    fn reopen(&mut self) -> Result<()> {
        rustix::io::dup2(Directory::open_path(&self.path)?, &mut self.fd).context("dup2")
    }
}

impl Directories {
    /// Opens them; `make` makes those of the images as well.
    pub fn open(options: &CriuOptions, make: bool, log: &str) -> Result<Directories> {
        let images = options.images.as_deref().unwrap_or(Path::new("checkpoint"));
        let images = Directory::open(images, make)?;
        let work = options.work.as_deref().map(|path| Directory::open(path, true)).transpose()?;
        let log = work.as_ref().unwrap_or(&images).path.join(log);
        Ok(Directories { images, work, log })
    }

    /// Lets the group `gid`, that of root in a user namespace, look files up among the images: from within that namespace
    /// criu has no other rights there.
    pub fn share(&self, gid: u32) -> Result<()> {
        use rustix::fs::{Gid, fchmod, fchown, fstat};
        let what = || format!("share directory {}", self.images.path.display());
        let mode = Mode::from_raw_mode(fstat(&self.images.fd).with_context(what)?.st_mode);
        if mode.contains(Mode::XOTH) {
            return Ok(());
        }
        fchown(&self.images.fd, None, Some(Gid::from_raw(gid))).with_context(what)?;
        fchmod(&self.images.fd, mode | Mode::XGRP).with_context(what)
    }

    fn reopen(&mut self) -> Result<()> {
        self.images.reopen()?;
        self.work.as_mut().map_or(Ok(()), Directory::reopen)
    }

    /// As criu takes them. `config` is the value of the annotation `org.criu.config`.
    pub fn place(&self, log: &'static str, config: Option<&String>) -> plan::Place {
        plan::Place {
            images: self.images.fd.as_raw_fd(),
            work: self.work.as_ref().map(|work| work.fd.as_raw_fd()),
            log,
            // runc's default, whose place tare takes. A file that is not there is no error to criu.
            config: config.cloned().unwrap_or_else(|| "/etc/criu/runc.conf".into()),
        }
    }

    /// The images.
    pub fn images(&self) -> BorrowedFd<'_> {
        self.images.fd.as_fd()
    }

    /// What criu has to say of its failure: the first errors in its log, for the others follow from them.
    fn first_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut words = String::new();
        // `(00.012345)      1: Error (criu/files.c:123): what` is about process 1, 12 ms after the start. That it may not raise
        // its limits is an error to criu, and none to us.
        let errors = text.lines().filter_map(|line| line.find("Error (").map(|at| line[at..].trim()));
        for error in errors.filter(|error| !error.contains("rlimit: ")).take(2) {
            words.push_str(error);
            words.push_str("; ");
        }
        format!("{words}see {}", self.log.display())
    }
}

/// criu, from its start to its end. Dropping it kills it.
pub struct Criu {
    /// Its pid.
    pub pid: i32,
    child: Child,
    socket: OwnedFd,
}

struct Child {
    pidfd: OwnedFd,
    ended: bool,
}

/// What is called at each point on criu's way where it waits: with the name of the point, a pid (0: none), and a descriptor that
/// came with it.
pub type Notified<'a> = dyn FnMut(&str, i32, Option<OwnedFd>) -> Result<()> + 'a;

/// How criu is started.
pub struct Start<'a> {
    /// The program, or none for the one in `$PATH`.
    pub program: Option<&'a Path>,
    /// `CLONE_NEW*` of its own.
    pub namespaces: u64,
    /// A v2 cgroup that it is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What it inherits beside its standard streams, under the same numbers.
    pub fds: &'a [BorrowedFd<'a>],
}

impl Criu {
    /// Starts it. `prepare` runs in its process, before criu does; `admit` in this one, if that asks for a cgroup.
    pub fn start(
        start: &Start<'_>,
        directories: &mut Directories,
        prepare: &dyn Fn(&Channel) -> Result<()>,
        admit: &dyn Fn(i32) -> Result<()>,
    ) -> Result<Criu> {
        let program = find(start.program)?;
        let (ours, theirs) = Channel::pair()?;
        let forked = clone::clone3(start.namespaces, start.cgroup).context("start a process for criu")?;
        let (pid, pidfd) = match forked {
            Forked::Child => {
                drop(ours);
                let ready = prepare(&theirs).and_then(|()| directories.reopen());
                let error = match ready.and_then(|()| make_socket(&theirs)) {
                    Ok(socket) => become_criu(&program, &socket, directories, start.fds, &theirs),
                    Err(e) => e,
                };
                let _ = theirs.tell_parent(&ToParent::Failed(error));
                clone::exit_now(1)
            }
            Forked::Parent(pid, pidfd) => (pid, pidfd),
        };
        drop(theirs);
        let child = Child { pidfd, ended: false };
        let mut socket = None;
        loop {
            match (ours.hear_child()?, socket.take()) {
                (Some(ToParent::NeedCgroup), _) => {
                    admit(pid)?;
                    ours.tell_child(&ToChild::Done)?;
                }
                (Some(ToParent::Socket(fd)), _) => socket = Some(fd),
                (Some(ToParent::Failed(e)), _) => return Err(e),
                // Its end was close-on-exec.
                (None, Some(socket)) => return Ok(Criu { pid, child, socket }),
                _ => return Err(Error::new(Kind::System, "the process for criu has died")),
            }
        }
    }

    /// Has criu do what `request` says, and waits until it has.
    pub fn ask(
        mut self,
        request: &[u8],
        directories: &Directories,
        notified: &mut Notified<'_>,
    ) -> Result<()> {
        self.send(request)?;
        let mut refused = None;
        loop {
            let (bytes, fd) = self.receive()?;
            match plan::answer(&bytes).filter(|_| !bytes.is_empty()) {
                Some(Answer::Notify { script, pid }) => {
                    log::debug(|| format!("criu: {script} {pid}"));
                    // Once refused, nothing more is to be done but to let it clean up.
                    let done = match &refused {
                        None => notified(&script, pid, fd),
                        Some(_) => Ok(()),
                    };
                    self.send(&plan::noticed(done.is_ok()))?;
                    refused = refused.or(done.err());
                }
                Some(Answer::Done) if refused.is_none() => break,
                answer => {
                    self.child.wait();
                    if let Some(e) = refused {
                        return Err(e);
                    }
                    let mut what = String::from("criu failed");
                    if let Some(Answer::Failed { errno }) = answer
                        && errno != 0
                    {
                        let errno = crate::error::errno_text(errno);
                        what = format!("{what} ({errno})");
                    }
                    let what = format!("{what}: {}", directories.first_words());
                    return Err(Error::new(Kind::System, what));
                }
            }
        }
        // After a pre-dump it waits for the next one; this is the end.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
        self.child.wait();
        Ok(())
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, message, SendFlags::NOSIGNAL))
            .map(drop)
            .context("send to criu")
    }

    fn receive(&self) -> Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut bytes = vec![0; 64 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let parts = &mut [std::io::IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => continue,
                // It has died with something of ours unread.
                Err(rustix::io::Errno::CONNRESET) => return Ok((Vec::new(), None)),
                got => break got.context("hear criu")?,
            }
        };
        bytes.truncate(got.bytes);
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok((bytes, fd))
    }
}

impl Child {
    fn wait(&mut self) {
        if !self.ended {
            let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
            self.ended = true;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended {
            let _ = pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            self.wait();
        }
    }
}

/// Mounts of type `cgroup` are bind mounts of these directories, below these names (none: the mount itself).
pub fn cgroup_mounts(view: &CgroupView) -> Vec<(String, PathBuf)> {
    match view {
        CgroupView::None => Vec::new(),
        CgroupView::V2(dir) => vec![(String::new(), dir.clone())],
        CgroupView::V1 { hierarchies, .. } => hierarchies.clone(),
    }
}

/// Who may do this at all.
pub fn judge_caller() -> Result<()> {
    match super::group::rootless(None) {
        true => Err(Error::new(
            Kind::Unsupported,
            "rootless containers cannot be checkpointed or restored: criu has to be root of the host",
        )),
        false => Ok(()),
    }
}

/// The program: as given, or the first in `$PATH`.
fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
    let path = path.as_deref().unwrap_or(OsStr::new(USUAL_PATH));
    let found = std::env::split_paths(path).map(|dir| dir.join("criu")).find(|file| file.is_file());
    found.ok_or_else(|| Error::os(Errno::ENOENT, "criu, which this needs, is not in $PATH"))
}

/// The socket that criu is asked by. Made by the process that becomes criu: it takes descriptors that are named to it for those
/// of whoever has made its socket.
fn make_socket(channel: &Channel) -> Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, its) =
        rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).context("socketpair")?;
    channel.tell_parent(&ToParent::Socket(ours))?;
    Ok(its)
}

/// Executes criu. Returns only to say why it failed.
fn become_criu(
    program: &Path,
    socket: &OwnedFd,
    directories: &Directories,
    fds: &[BorrowedFd<'_>],
    channel: &Channel,
) -> Error {
    let prepared = || -> Result<_> {
        let work = directories.work.as_ref().map(|work| work.fd.as_fd());
        let mut keep = vec![channel.as_fd()];
        keep.extend(fds.iter().copied().chain([directories.images(), socket.as_fd()]).chain(work));
        exec::close_all_but(3, &keep).context("close descriptors")?;
        // The channel is close-on-exec: its end tells of the exec.
        for fd in &keep[1..] {
            exec::set_cloexec(fd.as_raw_fd(), false).context("keep a descriptor")?;
        }
        // It waits for children of its own, and its helpers for pipes.
        signal::default(u32::MAX);
        SigSet::empty().thread_set_mask().context("unblock signals")?;
        let mut env: Vec<CString> = Vec::new();
        for (name, value) in std::env::vars_os() {
            if name != "PATH" || !value.is_empty() {
                env.push(text(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
            }
        }
        if !env.iter().any(|var| var.as_bytes().starts_with(b"PATH=")) {
            env.push(text(format!("PATH={USUAL_PATH}").as_bytes())?);
        }
        let args = [b"criu".as_slice(), b"swrk", socket.as_raw_fd().to_string().as_bytes()]
            .into_iter()
            .map(text)
            .collect::<Result<Vec<_>>>()?;
        Ok((text(program.as_os_str().as_bytes())?, exec::Strings::new(args), exec::Strings::new(env)))
    };
    match prepared() {
        Ok((path, args, env)) => {
            Error::os(exec::execve(&path, &args, &env), format!("execute {}", program.display()))
        }
        Err(e) => e,
    }
}

fn text(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::new(Kind::System, "a NUL byte in what criu is started with"))
}
