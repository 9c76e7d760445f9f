//! `restore`: a container whose processes criu makes, from the files of a checkpoint. Everything around them, from the id to
//! the cgroup and its limits, is made as `create` makes it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, unlinkat};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use rustix::thread::ThreadNameSpaceType;

use super::create::{self, Scaffold};
use super::criu::{self, Criu, Directories, Start};
use super::files::{PidFile, terminal};
use super::group::Group;
use crate::cgroup::{self, Entry};
use crate::cli::{Global, RestoreOptions};
use crate::config;
use crate::error::{Context, Error, Kind, Result};
use crate::hooks::{Identity, Setting};
use crate::launch::protocol::{Channel, ToParent};
use crate::launch::{self, Running, Terminal};
use crate::notify::Relay;
use crate::plan::criu::{self as request, External};
use crate::plan::libc_flag::NEWNS;
use crate::plan::{self, Plan};
use crate::rootfs::{self, CgroupView};
use crate::state::{Container, Stat, State};
use crate::sys::clone::{self, Forked};
use crate::{log, path};

const LOG: &str = "restore.log";
/// Below the container's directory: where its root is mounted for criu, in a mount namespace of criu's alone.
const PLACE: &str = "criu-root";
/// No list of three descriptors is longer.
const DESCRIPTORS_MAX: usize = 64 * 1024;

/// Restores a container, and, in the foreground, stands in for it. The exit code.
pub fn restore(global: &Global, options: &RestoreOptions) -> Result<i32> {
    if !options.detach && !options.no_subreaper {
        nix::sys::prctl::set_child_subreaper(true).context("become a subreaper")?;
    }
    // A SIGCHLD that comes before anybody waits for it must not be lost.
    nix::sys::signal::SigSet::all().thread_block().context("block signals")?;
    let (container, mut running, mut scaffold, pid_file, notify) =
        make(global, options).map_err(|e| match e.kind() {
            Kind::Exists | Kind::Usage | Kind::NotFound | Kind::Unsupported => e,
            _ => e.context("restore failed"),
        })?;
    if let Some(file) = pid_file {
        file.keep();
    }
    if options.detach {
        scaffold.finish();
        running.disarm();
        return Ok(0);
    }
    log::succeeded();
    scaffold.keep_parents();
    let code = crate::foreground::stand_in(running, notify);
    scaffold.take_down();
    container.remove()?;
    code
}

type Made = (Container, Running, Scaffold, Option<PidFile>, Option<Relay>);

fn make(global: &Global, options: &RestoreOptions) -> Result<Made> {
    criu::judge_caller()?;
    let wanted = &options.create;
    let bundle = create::bundle(wanted.bundle.as_deref())?;
    let config = config::load(&bundle, None)?;
    create::judge(&config, global, wanted, create::Mode::Detached)?;
    let mut store = super::open_store(global)?;
    let home = create::absolute(store.path())?.join(wanted.id.as_str());
    let notify_socket = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
    let plan_options = plan::Options {
        id: wanted.id.as_str().to_owned(),
        bundle: bundle.clone(),
        no_pivot: wanted.no_pivot,
        notify_dir: notify_socket.is_some().then(|| home.join(crate::notify::DIR)),
        ..plan::Options::default()
    };
    let plan = plan::build(&config.spec, &plan_options)?;
    request::judge(&plan)?;
    plan.rootfs.as_ref().map_or(Ok(()), crate::rootfs::source::judge_root)?;
    let mut directories = Directories::open(&options.criu, false, LOG)?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    let inherit = descriptors(&directories, null.as_raw_fd())?;
    let wants_terminal = plan.process.as_ref().is_some_and(|process| process.terminal);
    let terminal =
        terminal(global.program, wants_terminal, options.detach, wanted.console_socket.as_deref())?;
    let (left, join) = request::joined(&plan.namespaces);
    let opened = launch::open_joins(&plan.namespaces.join)?;
    let opened = opened.into_iter().filter(|(join, _)| request::is_left_alone(join.kind));
    let left: Vec<_> = left.into_iter().zip(opened).map(|((kind, _), (_, fd))| (kind, fd)).collect();
    let group = Group::plan(global, wanted.id.as_str(), &config.spec, &plan.namespaces)?;

    // From here on something is made.
    let reservation = store.reserve(&wanted.id)?;
    let mut state = create::first_state(global, wanted, &plan, &bundle);
    state.gate = false;
    state.spec = Some(create::recorded(config.raw)?);
    let planned = group.planned()?;
    if group.is_wanted() {
        create::record_cgroup(&mut state, &planned)?;
    }
    reservation.checkpoint(&state)?;
    let (manager, unguarded, made) = group.make(planned)?;
    let view = group.view(&manager, &plan.namespaces);
    let identity = super::identity(&state);
    let mut scaffold = Scaffold::new(group, manager, made, identity, plan);
    let mode = create::Mode::Detached;
    let (notify, _) = create::at_the_door(&reservation, notify_socket.as_deref(), mode)?;
    let entry = scaffold.group.entry(&scaffold.manager)?;
    mkdirat(reservation.dir(), PLACE, Mode::RWXU).with_context(|| format!("make directory {PLACE}"))?;
    let place = std::fs::canonicalize(home.join(PLACE)).with_context(|| format!("directory {PLACE}"))?;
    let externals = scaffold
        .plan
        .rootfs
        .as_ref()
        .map_or_else(Vec::new, |rootfs| request::externals(rootfs, &criu::cgroup_mounts(&view)));

    let fds: Vec<_> = left.iter().map(|(_, fd)| fd.as_fd()).chain([null.as_fd()]).collect();
    let start = Start {
        program: options.criu.program.as_deref(),
        namespaces: NEWNS,
        cgroup: entry.as_ref().and_then(|entry| entry.into.as_ref()).map(AsFd::as_fd),
        fds: &fds,
    };
    let criu = Criu::start(
        &start,
        &mut directories,
        &|channel| {
            enter_cgroup(&scaffold, entry.as_ref(), channel)?;
            make_file_system(&scaffold.plan, &view, &place)
        },
        &|pid| scaffold.group.admit(&scaffold.manager, pid),
    )?;
    // It does nothing before it is asked.
    if let Some(unguarded) = unguarded {
        scaffold.group.guard(&scaffold.manager, unguarded, entry.as_ref())?;
    }
    let what = request::Restore {
        root: place,
        mounts: externals
            .iter()
            .map(|external| (external.destination.clone(), external.source.clone()))
            .chain([(request::MASK.into(), request::MASK.into())])
            .collect(),
        inherit: left
            .iter()
            .map(|(kind, fd)| (fd.as_raw_fd(), request::namespace_key(kind)))
            .chain(inherit)
            .collect(),
        join,
        cgroups: cgroups_of(criu.pid)?,
    };
    let files = directories.place(LOG, state.annotations().get("org.criu.config"));
    let mut console = None;
    let mut init = None;
    let request = request::restore(&options.criu.flags, &files, &what);
    let Scaffold { plan, identity, launched, .. } = &mut scaffold;
    criu.ask(&request, &directories, &mut |script, pid, fd| {
        match script {
            "setup-namespaces" => {
                *launched = true;
                namespaces_are_made(plan, identity, pid)?;
            }
            "orphan-pts-master" => match (&terminal, fd) {
                (Terminal::Send(socket), Some(master)) => {
                    launch::send_fds(socket.as_fd(), b"/dev/ptmx", &[master.as_fd()])
                        .context("send the terminal over the console socket")?;
                }
                (Terminal::Keep, Some(master)) => console = Some(master),
                _ => {}
            },
            // All processes are there, and none runs yet.
            "post-restore" => {
                let pidfd = record(&mut state, pid)?;
                reservation.checkpoint(&state)?;
                set_attributes(plan, &externals, &pidfd)?;
                init = Some(pidfd);
            }
            _ => {}
        }
        Ok(())
    })?;
    let Some(pidfd) = init else {
        return Err(Error::new(Kind::System, "criu has not told the pid of what it has restored"));
    };
    // Whatever fails from here on, it is killed.
    let running = Running::restored(state.init_process_pid, pidfd, console)?;
    let _ = unlinkat(reservation.dir(), PLACE, AtFlags::REMOVEDIR);
    let pid_file =
        wanted.pid_file.as_deref().map(|path| PidFile::write(path, state.init_process_pid)).transpose()?;
    let container = reservation.commit(state)?;
    Ok((container, running, scaffold, pid_file, notify))
}

/// The first three descriptors, as far as they led out of the container: ours of the same number takes the place of each.
fn descriptors(directories: &Directories, null: i32) -> Result<Vec<(i32, String)>> {
    let what = || format!("read {}: is this a checkpoint?", criu::DESCRIPTORS);
    // An image may come from anywhere, and have a FIFO of that name.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directories.images(), criu::DESCRIPTORS, flags, Mode::empty())
        .with_context(what)?;
    let bytes = path::read_all(file.as_fd(), DESCRIPTORS_MAX).with_context(what)?;
    let list: Vec<String> = serde_json::from_slice(&bytes)
        .map_err(|e| Error::new(Kind::System, e.to_string()))
        .with_context(what)?;
    let mut inherit: Vec<(i32, String)> = Vec::new();
    for (fd, name) in (0..).zip(list) {
        let (fd, key) = match name.strip_prefix(criu::NULL) {
            Some(key) => (null, key.to_owned()),
            None => (fd, name),
        };
        let outside = key.starts_with("pipe:") || key.starts_with("file[");
        if outside && inherit.iter().all(|(_, other)| *other != key) {
            inherit.push((fd, key));
        }
    }
    Ok(inherit)
}

/// In criu's process: into the container's cgroup, where everything that criu makes is born and paid for.
fn enter_cgroup(scaffold: &Scaffold, entry: Option<&Entry>, channel: &Channel) -> Result<()> {
    match entry {
        Some(entry) => entry.join(),
        None => {
            launch::ask(channel, &ToParent::NeedCgroup)?;
            scaffold.manager.join_rest()
        }
    }
}

/// In criu's process, in its own mount namespace: the root at a place of its own, as criu wants it. Mount points that are
/// missing are made by doing all that `create` does, in one more namespace, which is forgotten at once.
fn make_file_system(plan: &Plan, view: &CgroupView, place: &Path) -> Result<()> {
    let Some(plan) = &plan.rootfs else { return Ok(()) };
    rootfs::rehearse(plan, view).context("make the mount points")?;
    rootfs::mount_at(plan, place)
}

/// Does something in a namespace of a process that is there and does not run yet. By a process of its own: who enters a mount
/// namespace loses his root.
fn inside(pidfd: &OwnedFd, kind: ThreadNameSpaceType, act: &dyn Fn() -> Result<()>) -> Result<()> {
    let act = || {
        rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), kind)
            .context("enter a namespace of the container")?;
        act()
    };
    let (ours, theirs) = Channel::pair()?;
    let helper = match clone::clone3(0, None).context("start a helper")? {
        Forked::Child => {
            let told = theirs.tell_parent(&act().map_or_else(ToParent::Failed, |()| ToParent::Ready));
            clone::exit_now(told.is_err().into())
        }
        Forked::Parent(_, helper) => helper,
    };
    drop(theirs);
    let heard = ours.hear_child();
    let _ = rustix::process::waitid(WaitId::PidFd(helper.as_fd()), WaitIdOptions::EXITED);
    match heard? {
        Some(ToParent::Ready) => Ok(()),
        Some(ToParent::Failed(e)) => Err(e),
        _ => Err(Error::new(Kind::System, "a helper in a namespace of the container has died")),
    }
}

/// Sets the attributes of the restored mounts.
fn set_attributes(plan: &Plan, externals: &[External], pidfd: &OwnedFd) -> Result<()> {
    let Some(rootfs) = &plan.rootfs else { return Ok(()) };
    inside(pidfd, ThreadNameSpaceType::MOUNT, &|| {
        rootfs::set_attributes(request::attributes(rootfs, externals, &request::mask()))
    })
    .context("set the attributes of the restored mounts")
}

/// Where a process is in each hierarchy, by single controllers.
fn cgroups_of(pid: i32) -> Result<Vec<(String, String)>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = path::read_made_at_once(&path).with_context(|| format!("read {path}"))?;
    let mut single = Vec::new();
    for (names, path) in cgroup::parse_own(&String::from_utf8_lossy(&text)) {
        single.extend(names.split(',').map(|name| (name.to_owned(), path.clone())));
    }
    Ok(single)
}

/// The namespaces are there and empty: the loopback interface comes up, as with `create`, and hooks plumb the network.
fn namespaces_are_made(plan: &Plan, identity: &Identity, pid: i32) -> Result<()> {
    if plan.loopback {
        inside(&pidfd(pid)?, ThreadNameSpaceType::NETWORK, &crate::network::bring_up_loopback)?;
    }
    let state = identity.state("created", pid);
    let at = Setting::at(&identity.bundle);
    crate::hooks::run("prestart", &plan.hooks.prestart, &state, at)?;
    crate::hooks::run("createRuntime", &plan.hooks.create_runtime, &state, at)
}

fn pidfd(pid: i32) -> Result<OwnedFd> {
    let id = Pid::from_raw(pid).ok_or_else(|| Error::new(Kind::System, "criu tells no pid"))?;
    // It is our child, and not reaped.
    rustix::process::pidfd_open(id, PidfdFlags::empty()).context("pidfd_open of the restored process")
}

/// Notes the restored process, and takes hold of it.
fn record(state: &mut State, pid: i32) -> Result<OwnedFd> {
    let pidfd = pidfd(pid)?;
    state.init_process_pid = pid;
    state.init_process_start = Stat::of(pid)?.start;
    state.namespace_paths = super::namespace_paths(pid);
    Ok(pidfd)
}
