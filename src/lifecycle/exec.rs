//! `exec`: the stored process with what the command line changes, in the namespaces of the container.
//!
//! Nothing is read from the bundle, and nothing is made up: whatever confines the container's process confines this one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Process, Spec};
use rustix::fs::OFlags;

use super::files::{Inherited, PidFile, send_pidfd, terminal};
use crate::cgroup::{Entry, Layout, Manager, SubCgroups};
use crate::cli::{ExecOptions, Global};
use crate::config::{self, capability};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::host::Host;
use crate::launch::{self, Job, Joins, Way};
use crate::log;
use crate::path::Proc;
use crate::plan::libc_flag::NEWNS;
use crate::plan::namespaces::Namespaces;
use crate::plan::{self, HookSet, Plan};
use crate::rootfs::CgroupView;
use crate::state::{Container, State, Status};

/// Runs a process in a container. The exit code.
pub fn exec(global: &Global, options: &ExecOptions) -> Result<i32> {
    let inherited = Inherited::take(options.preserve_fds)?;
    let store = super::open_store(global)?;
    let container = store.load(&options.id)?;
    let state = container.state()?;
    let manager = super::manager(state)?;
    match container.status(|| manager.is_frozen().unwrap_or(false))? {
        Status::Stopped => return Err(Error::new(Kind::State, "cannot exec in a stopped container")),
        Status::Creating => {
            return Err(Error::new(Kind::State, "cannot exec in a container that is being created"));
        }
        Status::Paused if !options.ignore_paused => {
            return Err(Error::new(
                Kind::State,
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let Some(init) = container.pidfd()? else {
        return Err(Error::new(Kind::State, "cannot exec in a stopped container"));
    };
    let config = super::exec_config(state)?;
    let process = process(options, &config.spec)?;
    let plan_options = plan::Options {
        id: state.id.clone(),
        bundle: state.bundle.clone(),
        no_new_keyring: state.no_new_keyring,
        preserve_fds: inherited.count,
        listen_fds: inherited.listen,
        ..plan::Options::default()
    };
    let linux = config.spec.linux().as_ref();
    let namespaces = match linux {
        Some(linux) => Namespaces::new(linux)?,
        None => Namespaces::default(),
    };
    let kinds = namespaces.kinds();
    let root = if kinds & NEWNS == 0 { Some(root_of(&container, state)?) } else { None };
    let planned = plan::Process::for_exec(&process, linux, &plan_options)?;
    let terminal_wanted = planned.terminal;
    let terminal = || {
        let socket = options.console_socket.as_deref();
        terminal(global.program, terminal_wanted, options.detach, socket)
    };
    let first_terminal = terminal()?;
    let plan = Plan {
        id: state.id.clone(),
        namespaces: Namespaces::default(),
        rootfs: None,
        process: Some(planned),
        hostname: None,
        domainname: None,
        sysctl: Vec::new(),
        loopback: false,
        net_devices: Vec::new(),
        hooks: HookSet::default(),
    };
    log::debug(|| format!("plan: {plan:?}"));
    let program = super::create::compile(linux).map_err(config::refusal)?;
    let identity = super::identity(state);
    if !options.detach {
        nix::sys::prctl::set_child_subreaper(true).context("become a subreaper")?;
    }
    let launch = |way: Way<'_>, terminal| {
        launch::launch(Job {
            plan: &plan,
            seccomp: program.as_ref(),
            cgroup: way,
            cgroup_view: &CgroupView::None,
            joins: Joins::Process {
                pidfd: init.try_clone().context("dup")?,
                kinds,
                root: root.as_ref().map(OwnedFd::try_clone).transpose().context("dup")?,
            },
            gate: None,
            identity: &identity,
            terminal,
            meanwhile: &mut |_| Ok(()),
            // Whoever waits for the pidfd may expect that the process is ready by then.
            early: options.pidfd_socket.is_none(),
            unprivileged: Host::here().euid() != 0,
            oom_killed: &|| manager.oom_killed().unwrap_or(false),
        })
    };
    let failed = |e: Error| e.context("unable to start container process").context("exec failed");
    let whole = options.cgroups == SubCgroups::default();
    let entry = match manager.entry_in(&options.cgroups) {
        Err(e) if whole && fails_with(&e, &GONE) => entry_of_init(&manager, state)?,
        entry => entry?,
    };
    let mut running = match launch(Way::Open(&entry), first_terminal) {
        Err(e) if whole && fails_with(&e, &CLOSED) => {
            let entry = entry_of_init(&manager, state)?;
            let again = terminal()?;
            launch(Way::Open(&entry), again).map_err(failed)?
        }
        // From a login session, which is not the user's to take processes out of.
        Err(e) if e.errno() == Some(Errno::EACCES) && whole && manager.is_of_user() => {
            let again = terminal()?;
            let admit = |pid| manager.attach(pid);
            launch(Way::Admitted { admit: &admit, rest: &|| Ok(()), cgroup: &manager }, again)
                .map_err(failed)?
        }
        launched => launched.map_err(failed)?,
    };
    if let Some(path) = &options.pidfd_socket {
        send_pidfd(path, &running.pidfd)?;
    }
    // conmon takes the pid file, and not the exit code, for the sign of success: it must not be there if the exec
    // fails, and must be there when it has succeeded.
    let pid = running.pid;
    running.start().map_err(failed)?;
    if let Some(path) = &options.pid_file {
        match PidFile::write(path, pid) {
            Ok(file) => file.keep(),
            Err(e) => {
                let _ = super::destroy::kill_and_wait(running.pidfd.as_fd());
                return Err(e);
            }
        }
    }
    if options.detach {
        running.disarm();
        return Ok(0);
    }
    crate::log::succeeded();
    crate::foreground::stand_in(running, None)
}

/// The payload has left the container's cgroup, and somebody has removed it.
const GONE: [Errno; 2] = [Errno::ENOENT, Errno::ENODEV];
/// The payload has made the container's cgroup an inner one, which may hold no process; or it was removed after it was
/// opened.
const CLOSED: [Errno; 2] = [Errno::EBUSY, Errno::ENODEV];

fn fails_with(error: &Error, errnos: &[Errno]) -> bool {
    error.errno().is_some_and(|errno| errnos.contains(&errno))
}

/// The cgroups that init is in now: where to go when the container's own takes no process though init runs.
fn entry_of_init(manager: &Manager, state: &State) -> Result<Entry> {
    let layout = Layout::detect(Path::new(super::CGROUP_ROOT))?;
    manager.entry_of(&layout, state.init_process_pid)
}

/// The root of the container's process.
fn root_of(container: &Container, state: &State) -> Result<OwnedFd> {
    let root = Proc::open()?
        .follow(state.init_process_pid, "root", OFlags::PATH | OFlags::DIRECTORY)
        .context("open the root of the container")?;
    match container.pidfd()? {
        Some(_) => Ok(root),
        // It has ended, and the pid may have been another's.
        None => Err(Error::new(Kind::State, "cannot exec in a stopped container")),
    }
}

/// The process to run: that of `--process`, or the stored one with the flags, and with the stored one's confinement
/// wherever it says nothing.
fn process(options: &ExecOptions, spec: &Spec) -> Result<Process> {
    let host = Host::here();
    let stored = spec.process().as_ref();
    let process = match &options.process {
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("--process: read {}", path.display()))?;
            let (mut process, warnings) = config::process_from_slice(&bytes, host)?;
            warnings.iter().for_each(|warning| log::warn(warning));
            if let Some(stored) = stored {
                inherit(&mut process, stored);
            }
            for flag in flags_beside(options) {
                log::warn(&format!("--{flag}: ignored, as --process says it all"));
            }
            process
        }
        None => {
            let mut process = stored
                .cloned()
                .ok_or_else(|| Error::new(Kind::Config, "process: the container has none to take over"))?;
            process.set_args(Some(options.args.clone()));
            process.set_terminal(Some(options.tty));
            // The container's own terminal may be of another size.
            process.set_console_size(None);
            override_by_flags(&mut process, options);
            process
        }
    };
    config::validate_process(&process, host)?;
    Ok(process)
}

/// What the document of `--process` leaves open is the container's, as with runc.
fn inherit(process: &mut Process, stored: &Process) {
    if process.capabilities().is_none() {
        process.set_capabilities(stored.capabilities().clone());
    }
    if process.user().umask().is_none() {
        let mut user = process.user().clone();
        user.set_umask(stored.user().umask());
        process.set_user(user);
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(stored.rlimits().clone());
    }
    if process.no_new_privileges().is_none() {
        process.set_no_new_privileges(stored.no_new_privileges());
    }
    if process.apparmor_profile().as_ref().is_none_or(String::is_empty) {
        process.set_apparmor_profile(stored.apparmor_profile().clone());
    }
    if process.selinux_label().as_ref().is_none_or(String::is_empty) {
        process.set_selinux_label(stored.selinux_label().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(stored.oom_score_adj());
    }
    if process.scheduler().is_none() {
        process.set_scheduler(stored.scheduler().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*stored.io_priority());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(stored.exec_cpu_affinity().clone());
    }
}

/// The flags that a document of `--process` overrules, as with runc: the document is the whole process, and a user or an
/// environment from elsewhere would make it another. A tty is what callers of both ask for twice.
fn flags_beside(options: &ExecOptions) -> Vec<&'static str> {
    let given = [
        ("cwd", options.cwd.is_some()),
        ("env", !options.env.is_empty()),
        ("user", options.user.is_some()),
        ("additional-gids", !options.additional_gids.is_empty()),
        ("process-label", options.process_label.is_some()),
        ("apparmor", options.apparmor.is_some()),
        ("no-new-privs", options.no_new_privs),
        ("cap", !options.caps.is_empty()),
    ];
    given.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
}

fn override_by_flags(process: &mut Process, options: &ExecOptions) {
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.into());
    }
    if !options.env.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(options.env.iter().cloned());
        process.set_env(Some(env));
    }
    let mut user = process.user().clone();
    if let Some(given) = &options.user {
        user.set_uid(given.uid);
        if let Some(gid) = given.gid {
            user.set_gid(gid);
        }
    }
    if !options.additional_gids.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&options.additional_gids);
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    if let Some(label) = &options.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(profile) = &options.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if options.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if !options.caps.is_empty() {
        let mut caps = process.capabilities().clone().unwrap_or_else(no_capabilities);
        for name in &options.caps {
            let Some(cap) = capability::parse(name) else {
                log::warn(&format!("--cap: unknown capability {name:?} ignored"));
                continue;
            };
            let add = |set: &Option<oci_spec::runtime::Capabilities>| {
                let mut set = set.clone().unwrap_or_default();
                set.insert(cap);
                Some(set)
            };
            let (bounding, effective, permitted) =
                (add(caps.bounding()), add(caps.effective()), add(caps.permitted()));
            caps.set_bounding(bounding);
            caps.set_effective(effective);
            caps.set_permitted(permitted);
            // Never inheritable: a program with inheritable file capabilities would get them beyond what --cap gives
            // (CVE-2022-24769, CVE-2022-29162). Ambient, as with runc, where the container has it inheritable anyhow.
            if caps.inheritable().as_ref().is_some_and(|set| set.contains(&cap)) {
                let ambient = add(caps.ambient());
                caps.set_ambient(ambient);
            }
        }
        process.set_capabilities(Some(caps));
    }
}

fn no_capabilities() -> oci_spec::runtime::LinuxCapabilities {
    let mut caps = oci_spec::runtime::LinuxCapabilities::default();
    caps.set_bounding(None);
    caps.set_effective(None);
    caps.set_inheritable(None);
    caps.set_permitted(None);
    caps.set_ambient(None);
    caps
}
