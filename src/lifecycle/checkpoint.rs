//! `checkpoint`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::criu::{self, Criu, Directories, Start};
use super::group;
use crate::cgroup::{Layout, Manager};
use crate::cli::{CheckpointOptions, Global};
use crate::error::{Context, Error, Kind, Result};
use crate::notify::Relay;
use crate::path::{self, Proc, Root};
use crate::plan::criu::{self as request, External};
use crate::plan::{self, Plan};
use crate::rootfs::CgroupView;
use crate::state::{Container, State, Status};

const LOG: &str = "dump.log";

/// Saves a container to files. As with runc it is gone afterwards, unless it is told to run on.
pub fn checkpoint(global: &Global, options: &CheckpointOptions) -> Result<()> {
    let store = super::open_store(global)?;
    let container = store.load(&options.id)?;
    save(&container, options).map_err(|e| match e.kind() {
        Kind::State | Kind::Unsupported | Kind::Usage => e,
        _ => e.context("checkpoint failed"),
    })?;
    let flags = &options.criu.flags;
    match flags.leave_running || flags.pre_dump {
        true => Ok(()),
        false => super::destroy(container),
    }
}

fn save(container: &Container, options: &CheckpointOptions) -> Result<()> {
    let state = container.state()?;
    state.check_own()?;
    let manager = super::manager(state)?;
    let status = container.status(|| manager.is_frozen().unwrap_or(false))?;
    if !matches!(status, Status::Running | Status::Paused) {
        let what = format!("container cannot be checkpointed in {status} state");
        return Err(Error::new(Kind::State, what));
    }
    criu::judge_caller()?;
    let plan = stored_plan(container, state)?;
    request::judge(&plan)?;
    let mut status_fd = options.status_fd.map(adopt_status_fd).transpose()?;
    let mut directories = Directories::open(&options.criu, true, LOG)?;
    if let Some(gid) = plan.namespaces.root_gid() {
        directories.share(gid)?;
    }
    let pid = state.init_process_pid;
    let descriptors = descriptors(pid, &manager.pids()?)?;
    let files = descriptors.iter().map(|name| name.strip_prefix(criu::NULL).unwrap_or(name));
    let files = files.filter(|name| name.starts_with("file[")).map(str::to_owned).collect();
    let dump = request::Dump {
        pid,
        files,
        freezer: freezer(&manager),
        mounts: mounts(&plan, &manager, pid)?,
        namespaces: namespaces(&plan)?,
    };
    let flags = &options.criu.flags;
    let place = directories.place(LOG, state.annotations().get("org.criu.config"));
    if !flags.pre_dump {
        record_descriptors(&directories, &descriptors)?;
    }
    if status == Status::Paused {
        manager.freeze_by_v1()?;
    }
    let start = Start { program: options.criu.program.as_deref(), namespaces: 0, cgroup: None, fds: &[] };
    let criu = Criu::start(&start, &mut directories, &|_| Ok(()), &|_| Ok(()))?;
    criu.ask(&request::dump(flags, &place, &dump), &directories, &mut |script, _, _| {
        if script == "status-ready"
            && let Some(fd) = status_fd.take()
        {
            rustix::io::write(&fd, &[0]).context("--status-fd")?;
        }
        Ok(())
    })
}

/// What the container was made by.
fn stored_plan(container: &Container, state: &State) -> Result<Plan> {
    let config = super::stored_config(state)?;
    // What is shown of it in the container is the same whichever its path is here.
    let notify_dir = Relay::has_dir(container.dir()).then(|| PathBuf::from("/"));
    let options = plan::Options {
        id: state.id.clone(),
        bundle: state.bundle.clone(),
        notify_dir,
        ..plan::Options::default()
    };
    plan::build(&config.spec, &options)
}

/// The cgroup by which criu stops all processes at once. Without one it stops them one by one.
fn freezer(manager: &Manager) -> String {
    let paths = manager.record().paths;
    let v2 = paths.get("").filter(|_| paths.len() == 1);
    paths.get("freezer").or(v2).cloned().unwrap_or_default()
}

/// The mounts of a container that criu leaves out: where they are in it, and their names.
fn mounts(plan: &Plan, manager: &Manager, pid: i32) -> Result<Vec<(PathBuf, PathBuf)>> {
    let Some(rootfs) = &plan.rootfs else { return Ok(Vec::new()) };
    let root = Proc::open()?
        .follow(pid, "root", OFlags::PATH | OFlags::DIRECTORY)
        .context("open the root of the container")?;
    let root = Root::new(root);
    let mut mounts = Vec::new();
    let cgroups = criu::cgroup_mounts(&cgroup_view(plan, manager)?);
    for External { destination, .. } in request::externals(rootfs, &cgroups) {
        // By a symlink of the image's it may be elsewhere. What is gone needs no name.
        if let Ok(place) = root.open(&destination, OFlags::PATH) {
            mounts.push((name_of(&place)?, destination));
        }
    }
    for masked in &rootfs.masked {
        let Ok(place) = root.open(masked, OFlags::PATH) else { continue };
        if path::file_type(place.as_fd()).context("stat a masked path")? != FileType::Directory {
            mounts.push((name_of(&place)?, request::MASK.into()));
        }
    }
    Ok(mounts)
}

/// The path of what is open, in its own mount namespace.
fn name_of(place: &OwnedFd) -> Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd())).context("find the path of a mount")
}

/// What mounts of type `cgroup` show.
fn cgroup_view(plan: &Plan, manager: &Manager) -> Result<CgroupView> {
    if matches!(manager, Manager::None) {
        return Ok(CgroupView::None);
    }
    let layout = Layout::detect(Path::new(super::CGROUP_ROOT))?;
    Ok(group::view(&layout, manager, &plan.namespaces))
}

/// The namespaces that the container has joined and criu leaves alone.
fn namespaces(plan: &Plan) -> Result<Vec<(&'static str, u64)>> {
    let (left, _) = request::joined(&plan.namespaces);
    left.into_iter()
        .map(|(kind, path)| {
            let stat =
                std::fs::metadata(&path).with_context(|| format!("{kind} namespace {}", path.display()))?;
            Ok((kind, stat.ino()))
        })
        .collect()
}

/// What the first three descriptors are, in criu's words: those that lead out of the container are taken from the caller on
/// a restore.
fn descriptors(pid: i32, pids: &[i32]) -> Result<Vec<String>> {
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).context("read mountinfo")?;
    let of_container = |mount: u32| {
        mounts.lines().any(|line| line.split(' ').next().and_then(|id| id.parse().ok()) == Some(mount))
    };
    let describe = |fd: i32| {
        let open = Open::look(pid, &fd.to_string())?;
        if open.target.starts_with("pipe:") && pids.iter().any(|&pid| open.ends_in(pid)) {
            return Some(format!("internal {}", open.target));
        }
        if !open.target.starts_with('/') || of_container(open.mount) {
            return Some(open.target);
        }
        let stat = std::fs::metadata(format!("/proc/{pid}/fd/{fd}")).ok()?;
        let name = format!("file[{:x}:{:x}]", open.mount, stat.ino());
        // Nobody's own, so it need not be anybody's again.
        let null = stat.file_type().is_char_device() && stat.rdev() == rustix::fs::makedev(1, 3);
        Some(if null { format!("{}{name}", criu::NULL) } else { name })
    };
    Ok((0..=2).map(|fd| describe(fd).unwrap_or_default()).collect())
}

/// An open file of another process, as procfs tells of it.
struct Open {
    target: String,
    /// The id of the mount that it is on.
    mount: u32,
    /// `O_ACCMODE`.
    access: u32,
}

impl Open {
    fn look(pid: i32, fd: &str) -> Option<Open> {
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
        let field = |name| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some(Open {
            target: target.to_string_lossy().into_owned(),
            mount: field("mnt_id:")?.parse().ok()?,
            access: u32::from_str_radix(field("flags:")?, 8).ok()? & libc::O_ACCMODE as u32,
        })
    }

    /// Whether a process has the other end of this pipe.
    fn ends_in(&self, pid: i32) -> bool {
        let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten().any(|fd| {
            let open = Open::look(pid, &fd.file_name().to_string_lossy());
            open.is_some_and(|open| open.target == self.target && open.access != self.access)
        })
    }
}

/// Records them, so that a restore can put the caller's in their place.
fn record_descriptors(directories: &Directories, descriptors: &[String]) -> Result<()> {
    let text = super::create::raw(&descriptors)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directories.images(), criu::DESCRIPTORS, flags, Mode::RUSR | Mode::WUSR);
    file.map_err(crate::sys::errno)
        .and_then(|file| path::write_once(file.as_fd(), text.get().as_bytes()))
        .with_context(|| format!("write {}", criu::DESCRIPTORS))
}

/// Takes over the descriptor of `--status-fd`, which the caller has opened for writing.
fn adopt_status_fd(number: i32) -> Result<OwnedFd> {
    let bad = |what: &str| Error::new(Kind::Usage, format!("invalid --status-fd {number}: {what}"));
    let fd = std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/self/fd/{number}"))
        .map_err(|_| bad("not open for writing"))?;
    Ok(fd.into())
}
