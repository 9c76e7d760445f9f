//! `create` and `run`.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::files::{Inherited, PidFile, send_pidfd, terminal};
use super::group::Group;
use super::{destroy, namespace_paths, poststop};
use crate::cgroup::{Made, Manager};
use crate::cli::{CreateOptions, Global, RunOptions};
use crate::config::{self, Config};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks::{Identity, Setting};
use crate::host::Host;
use crate::launch::{self, Job, Running, Way};
use crate::notify::Relay;
use crate::plan::{self, Plan};
use crate::seccomp::{self, Program};
use crate::state::{Container, Reservation, Stat, State};
use crate::{gate, log};

/// Which verb this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `create`: init waits at the gate.
    Create,
    /// `run --detach`.
    Detached,
    /// `run`.
    Foreground,
}

/// A container that is ready: everything but its exec has happened.
struct Ready {
    container: Container,
    running: Running,
    scaffold: Scaffold,
    pid_file: Option<PidFile>,
    notify: Option<Relay>,
}

/// What has been made, to be taken down again if anything fails after it: the process first, then its cgroup, then the
/// hooks are told, and last the id is free.
pub(super) struct Scaffold {
    pub(super) group: Group,
    pub(super) manager: Manager,
    /// Its directories, and those above it that were not there.
    made: Made,
    pub(super) identity: Identity,
    pub(super) plan: Plan,
    /// A process was started, so hooks may have run: poststop has something to clean up.
    pub(super) launched: bool,
    complete: bool,
}

impl Scaffold {
    /// Nothing has been started in it yet.
    pub(super) fn new(
        group: Group,
        manager: Manager,
        made: Made,
        identity: Identity,
        plan: Plan,
    ) -> Scaffold {
        Scaffold { group, manager, made, identity, plan, launched: false, complete: false }
    }

    /// All of it stays.
    pub(super) fn finish(&mut self) {
        self.complete = true;
        self.keep_parents();
    }

    /// The cgroups above the container's are not an attempt's any more.
    pub(super) fn keep_parents(&mut self) {
        std::mem::take(&mut self.made).keep();
    }

    pub(super) fn take_down(&mut self) {
        if self.complete {
            return;
        }
        self.complete = true;
        if self.group.is_ours()
            && let Err(e) = destroy::remove_cgroup(&self.manager)
        {
            log::warn(&e.to_string());
        }
        drop(std::mem::take(&mut self.made));
        destroy::unmount_rootfs(&self.plan);
        if self.launched {
            poststop(&self.plan.hooks, &self.identity);
        }
    }
}

impl Drop for Scaffold {
    fn drop(&mut self) {
        self.take_down();
    }
}

/// `create`: makes a container whose process waits for `start`.
pub fn create(global: &Global, options: &CreateOptions) -> Result<()> {
    let ready = make(global, options, Mode::Create).map_err(|e| failed(global, "create", e))?;
    let Ready { container, running, mut scaffold, pid_file, .. } = ready;
    if let Err(e) = running.leave_at_gate() {
        scaffold.take_down();
        let _ = container.remove();
        return Err(failed(global, "create", e));
    }
    scaffold.finish();
    if let Some(file) = pid_file {
        file.keep();
    }
    Ok(())
}

/// `run`: makes a container, starts it, and, in the foreground, stands in for it. The exit code.
pub fn run(global: &Global, options: &RunOptions) -> Result<i32> {
    let mode = if options.detach { Mode::Detached } else { Mode::Foreground };
    if mode == Mode::Foreground && !options.no_subreaper {
        // Orphans of a container without a pid namespace come to us, and not to the host's init.
        nix::sys::prctl::set_child_subreaper(true).context("become a subreaper")?;
    }
    let ready = make(global, &options.create, mode).map_err(|e| failed(global, "run", e))?;
    let Ready { container, mut running, mut scaffold, pid_file, notify } = ready;
    let started = running.start().and_then(|()| {
        let state = scaffold.identity.state("running", running.pid);
        let at = Setting::at(&scaffold.identity.bundle);
        crate::hooks::run("poststart", &scaffold.plan.hooks.poststart, &state, at)
    });
    if let Err(e) = started {
        let _ = super::kill_and_wait(&running.pidfd);
        scaffold.take_down();
        let _ = container.remove();
        return Err(failed(global, "run", e));
    }
    if let Some(file) = pid_file {
        file.keep();
    }
    if mode == Mode::Detached {
        scaffold.finish();
        if let Some(relay) = notify {
            use std::os::fd::AsFd;
            // The launch is over; this may take for ever, and may be given up.
            nix::sys::signal::SigSet::empty().thread_set_mask().context("unblock signals")?;
            relay.wait_ready(running.pid, running.pidfd.as_fd())?;
        }
        running.disarm();
        return Ok(0);
    }
    log::succeeded();
    scaffold.keep_parents();
    let code = crate::foreground::stand_in(running, notify);
    if options.keep {
        scaffold.finish();
    } else {
        scaffold.take_down();
        container.remove()?;
    }
    code
}

fn failed(global: &Global, verb: &str, e: Error) -> Error {
    match e.kind() {
        // These are about the request, not about the attempt.
        Kind::Exists | Kind::Usage | Kind::NotFound => e,
        _ => e
            .context("unable to start container process")
            .context(format!("{} {verb} failed", global.program)),
    }
}

/// Everything up to a process that is ready to be executed.
fn make(global: &Global, options: &CreateOptions, mode: Mode) -> Result<Ready> {
    let inherited = Inherited::take(options.preserve_fds)?;
    let bundle = bundle(options.bundle.as_deref())?;
    let config = config::load(&bundle, options.config.as_deref())?;
    let program = judge(&config, global, options, mode)?;
    let mut store = super::open_store(global)?;
    let notify_socket = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
    let notify_dir = match &notify_socket {
        Some(_) => Some(absolute(store.path())?.join(options.id.as_str()).join(crate::notify::DIR)),
        None => None,
    };
    let plan_options = plan::Options {
        id: options.id.as_str().to_owned(),
        bundle: bundle.clone(),
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        preserve_fds: inherited.count,
        listen_fds: inherited.listen,
        notify_dir,
    };
    let mut plan = plan::build(&config.spec, &plan_options)?;
    if let Some(rootfs) = plan.rootfs.as_mut().filter(|rootfs| rootfs.label.is_some()) {
        // `linux.mountLabel` means nothing without SELinux, where mount options for it are unknown.
        rootfs.label = rootfs.label.take().filter(|_| Host::here().selinux());
    }
    plan.rootfs.as_ref().map_or(Ok(()), crate::rootfs::source::judge_root)?;
    log::debug(|| format!("plan: {plan:?}"));
    let wants_terminal = plan.process.as_ref().is_some_and(|process| process.terminal);
    let detach = mode != Mode::Foreground;
    let terminal = terminal(global.program, wants_terminal, detach, options.console_socket.as_deref())?;
    let joins = launch::Joins::Files(launch::open_joins(&plan.namespaces.join)?);
    let group = Group::plan(global, options.id.as_str(), &config.spec, &plan.namespaces)?;

    // From here on something is made.
    let mut reservation = store.reserve(&options.id)?;
    let mut state = first_state(global, options, &plan, &bundle);
    let mut text = config.raw;
    // For later calls: recorded while init builds. Only what init mounts on the host has to be found, if this process dies,
    // from the first record on.
    if plan.rootfs.as_ref().is_some_and(|rootfs| !rootfs.own_namespace) {
        state.spec = Some(recorded(std::mem::take(&mut text))?);
    }
    let planned = group.planned()?;
    if group.is_wanted() {
        record_cgroup(&mut state, &planned)?;
        reservation.checkpoint(&state)?;
    }
    let (manager, mut unguarded, made) = group.make(planned)?;
    if matches!(manager, Manager::None) {
        // What was planned may not be made.
        (state.cgroup, state.cgroup_paths) = Default::default();
    }
    let view = group.view(&manager, &plan.namespaces);
    let identity = Identity {
        id: state.id.clone(),
        bundle: state.bundle.clone(),
        rootfs: state.rootfs.clone(),
        annotations: config.spec.annotations().clone().filter(|annotations| !annotations.is_empty()),
    };
    // Dropped in reverse on the way out of a failure: the process (in `running`), the scaffold, the reservation.
    let mut scaffold = Scaffold::new(group, manager, made, identity, plan);
    let (notify, gate) = at_the_door(&reservation, notify_socket.as_deref(), mode)?;
    let entry = scaffold.group.entry(&scaffold.manager)?;
    scaffold.launched = true;
    let admit = |pid| scaffold.group.admit(&scaffold.manager, pid);
    let rest = || scaffold.manager.join_rest();
    // Whoever waits for the pid file or the pidfd may expect that init is ready by then.
    let early = mode != Mode::Create && options.pid_file.is_none() && options.pidfd_socket.is_none();
    let launched = launch::launch(Job {
        plan: &scaffold.plan,
        seccomp: program.as_ref(),
        cgroup: match &entry {
            Some(entry) => Way::Open(entry),
            None => Way::Admitted { admit: &admit, rest: &rest, cgroup: &scaffold.manager },
        },
        cgroup_view: &view,
        joins,
        gate,
        identity: &scaffold.identity,
        terminal,
        meanwhile: &mut |running| {
            if let Some(unguarded) = unguarded.take() {
                scaffold.group.guard(&scaffold.manager, unguarded, entry.as_ref())?;
            }
            state.init_process_pid = running.pid;
            if state.spec.is_none() {
                state.spec = Some(recorded(std::mem::take(&mut text))?);
            }
            let stat = Stat::of(running.pid)?;
            running.ignored = stat.ignored;
            state.init_process_start = stat.start;
            state.namespace_paths = namespace_paths(running.pid);
            reservation.checkpoint(&state)?;
            // The program may run any moment now, and look itself up.
            if early { reservation.publish() } else { Ok(()) }
        },
        early,
        unprivileged: Host::here().euid() != 0,
        oom_killed: &|| scaffold.manager.oom_killed().unwrap_or(false),
    });
    let running = launched?;
    if let Some(path) = &options.pidfd_socket {
        send_pidfd(path, &running.pidfd)?;
    }
    let pid_file = options.pid_file.as_deref().map(|path| PidFile::write(path, running.pid)).transpose()?;
    let container = reservation.commit(state)?;
    Ok(Ready { container, running, scaffold, pid_file, notify })
}

/// The sockets in the state directory: where readiness is told, and where init waits.
pub(super) fn at_the_door(
    reservation: &Reservation,
    notify_socket: Option<&std::ffi::OsStr>,
    mode: Mode,
) -> Result<(Option<Relay>, Option<gate::Gate>)> {
    let notify = match notify_socket {
        None => None,
        Some(to) => {
            Relay::make_dir(reservation.dir())?;
            // `start` binds the socket of what `create` has made.
            (mode != Mode::Create).then(|| Relay::bind(reservation.dir(), to)).transpose()?
        }
    };
    let gate = (mode == Mode::Create).then(|| gate::make(reservation.dir())).transpose()?;
    Ok((notify, gate))
}

/// Tells all that is wrong with a config at once; the filter, which is compiled to that end.
pub(super) fn judge(
    config: &Config,
    global: &Global,
    options: &CreateOptions,
    mode: Mode,
) -> Result<Option<Program>> {
    let judgement = config::Options {
        start: mode != Mode::Create,
        systemd_cgroup: global.cgroup_manager == crate::cli::CgroupManager::Systemd,
        no_pivot: options.no_pivot,
    };
    let (program, mut found) = match compile(config.spec.linux().as_ref()) {
        Ok(program) => (program, Vec::new()),
        Err(found) => (None, found),
    };
    found.extend(plan::refuse_what_is_missing(config.spec.linux().as_ref()).err());
    found.extend(Group::problems(global, options.id.as_str(), &config.spec));
    for warning in config::validate(config, Host::here(), &judgement, found)? {
        log::warn(&warning);
    }
    Ok(program)
}

/// The filter of a config, by what this kernel has of what it uses.
///
/// # Errors
/// Those of [`seccomp::compile`].
pub fn compile(linux: Option<&oci_spec::runtime::Linux>) -> Result<Option<Program>, Vec<Error>> {
    let Some(profile) = linux.and_then(|linux| linux.seccomp().as_ref()) else { return Ok(None) };
    let support = seccomp::Support::probe(
        profile,
        crate::sys::seccomp::action_available,
        crate::sys::seccomp::flag_available,
    );
    let program = seccomp::compile(profile, &support)?;
    for warning in &program.warnings {
        log::debug(|| warning.clone());
    }
    Ok(Some(program))
}

/// config.json, which was read before, as the store keeps it.
pub(super) fn recorded(text: String) -> Result<Box<RawValue>> {
    RawValue::from_string(text).map_err(|e| Error::new(Kind::Config, format!("config.json: {e}")))
}

/// What is known before anything is made.
pub(super) fn first_state(global: &Global, options: &CreateOptions, plan: &Plan, bundle: &Path) -> State {
    State {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        id: options.id.as_str().to_owned(),
        created: crate::clock::now_nano(),
        bundle: bundle.to_owned(),
        rootfs: plan.rootfs.as_ref().map(|rootfs| rootfs.path.clone()).unwrap_or_default(),
        owner: rustix::process::getuid().as_raw(),
        rootless: super::group::rootless(global.rootless),
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        gate: true,
        has_poststop: Some(!plan.hooks.poststop.is_empty()),
        has_own_mounts: Some(plan.rootfs.as_ref().is_none_or(|rootfs| rootfs.own_namespace)),
        ..State::default()
    }
}

pub(super) fn record_cgroup(state: &mut State, manager: &Manager) -> Result<()> {
    let record = manager.record();
    state.cgroup = Some(raw(&record)?);
    state.systemd_cgroup = record.systemd.is_some();
    state.cgroup_paths = record.paths;
    Ok(())
}

pub(super) fn raw<T: serde::Serialize>(value: &T) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(value).map_err(|e| Error::new(Kind::System, format!("record: {e}")))
}

/// The bundle, absolute: it is stored, and later calls come from elsewhere.
pub(super) fn bundle(given: Option<&Path>) -> Result<PathBuf> {
    let path = given.unwrap_or(Path::new("."));
    std::fs::canonicalize(path).with_context(|| format!("bundle {}", path.display()))
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("root {}", path.display()))
}
