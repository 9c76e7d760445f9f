//! The process tail: from a built container, or a joined one, to execve. The same straight line for `create`, `run` and
//! `exec`; what stands before what is the security of it.

use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::Mode;

use super::protocol::{Channel, ToChild, ToParent};
use super::{Job, descriptors};
use crate::console::Pty;
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::hooks::Setting;
use crate::path::Proc;
use crate::plan::Process;
use crate::plan::process::Capabilities;
use crate::security::{caps, ids, lsm};
use crate::sys::exec::{self, Strings};
use crate::sys::{keyctl, sched, seccomp, signal};
use crate::weaken::weakened;

/// What the tail needs beside the process.
#[derive(Clone, Copy)]
pub struct Surroundings<'a, 'j> {
    /// The launch.
    pub job: &'a Job<'j>,
    /// To the parent.
    pub channel: &'a Channel,
}

/// A process that is ready to be executed but for what its filter and its final capabilities would forbid.
pub struct Settled<'a> {
    process: &'a Process,
    path: CString,
    args: Strings,
    env: Strings,
    capabilities: Capabilities,
    capabilities_dropped: bool,
    filter_loaded: bool,
}

/// Sets everything up to the exec.
pub fn settle<'a>(
    process: &'a Process,
    context: Surroundings<'_, '_>,
    console: Option<Pty>,
    proc: Option<Proc>,
) -> Result<Settled<'a>> {
    if process.args.is_empty() {
        return Err(crate::gate::nothing_to_start());
    }
    if let Some(domain) = process.personality {
        sched::personality(domain).context("linux.personality: set the execution domain")?;
    }
    if let Some(attr) = &process.scheduler {
        sched::sched_setattr(attr).context("process.scheduler: set the scheduling policy")?;
    }
    if let Some((class, priority)) = process.io_priority {
        sched::ioprio_set(class, priority).context("process.ioPriority: set the I/O priority")?;
    }
    if let Some((mode, nodes)) = &process.memory_policy {
        sched::set_mempolicy(*mode, nodes).context("linux.memoryPolicy: set the memory policy")?;
    }
    if let Some(name) = &process.keyring {
        join_keyring(name)?;
    }
    if let Some(console) = console {
        // Before the change of user: the terminal is then the user's, and the session's.
        console.take()?;
    }
    ids::own_stdio(process)?;
    if process.apparmor.is_some() || process.selinux.is_some() {
        let proc = proc.map_or_else(private_proc, Ok)?;
        lsm::set_exec_labels(process, &proc)?;
    } else {
        // Before it is closed below: its owner would close whatever has its number by then.
        drop(proc);
    }
    // What was needed to build the inside is closed before the first path of the image is resolved: the working directory.
    descriptors::keep_lasting(context.job, context.channel)?;
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).context("process.noNewPrivileges: set no_new_privs")?;
    }
    rustix::process::umask(Mode::from_raw_mode(process.umask));
    // With root's rights first: a directory may be one that only root may enter. Before the filter, in which
    // chdir and getcwd may be missing.
    let entered = enter_cwd(process);
    caps::drop_bounding(process.capabilities.bounding)?;
    ids::become_user(process, process.uid != 0)?;
    super::stage1::end_with_the_parent(context.channel)?;
    let mut extra = 0;
    if context.job.seccomp.is_some() && !process.no_new_privileges {
        extra |= caps::SYS_ADMIN;
    }
    if !process.rlimits.is_empty() {
        extra |= caps::SYS_RESOURCE;
    }
    let capabilities = caps::set_waiting(&process.capabilities, extra)?;
    match entered {
        // Nor may root always: on a network file system it may be nobody.
        Err(e) if e.errno() == Some(Errno::EACCES) => enter_cwd(process)?,
        entered => entered?,
    }
    let mut env = process.env.clone();
    if process.env_var("HOME").is_none_or(<[u8]>::is_empty) {
        env.retain(|var| !var.as_bytes().starts_with(b"HOME="));
        env.push(home(process)?);
    }
    let path = find_executable(process)?;
    // Late: what was opened until here need not fit into them.
    set_rlimits(process, context.channel)?;
    Ok(Settled {
        process,
        path,
        args: Strings::new(process.args.clone()),
        env: Strings::new(env),
        capabilities,
        capabilities_dropped: false,
        filter_loaded: false,
    })
}

impl Settled<'_> {
    /// Takes the last rights away, runs the startContainer hooks, and executes. Returns only to say what failed.
    pub fn execute(mut self, context: Surroundings<'_, '_>) -> Error {
        let executing = || context.job.gate.iter().for_each(crate::gate::Gate::executing);
        let has_hooks = !context.job.plan.hooks.start_container.is_empty();
        // Before a filter that may forbid write(2); but a hook may take long, and its end is not the exec.
        if !has_hooks {
            executing();
        }
        if let Err(e) = self.prepare(context) {
            return e;
        }
        if has_hooks {
            executing();
        }
        let errno = exec::execve(&self.path, &self.args, &self.env);
        Error::os(errno, format!("exec {:?}", self.path.to_string_lossy()))
    }

    /// Lets the program have what `--preserve-fds` and `LISTEN_FDS` name.
    pub fn pass_descriptors_on(&self) -> Result<()> {
        for fd in 3..3 + self.process.preserve_fds {
            exec::set_cloexec(fd as i32, false).with_context(|| format!("pass on descriptor {fd}"))?;
        }
        Ok(())
    }

    /// The filter and the final capabilities, each once. Loading a filter takes CAP_SYS_ADMIN, or no_new_privs: with that the
    /// capabilities go first, and the filter need not allow it.
    pub fn give_up_rights(&mut self, context: Surroundings<'_, '_>) -> Result<()> {
        if self.process.no_new_privileges {
            self.drop_capabilities()?;
            self.load_filter(context)
        } else {
            self.load_filter(context)?;
            self.drop_capabilities()
        }
    }

    /// What init gives up before it waits for `start`: its capabilities, and with them the right to load a filter. With
    /// no_new_privs that takes no right, and can wait, so that the filter need not allow what waiting takes.
    pub fn give_up_capabilities(&mut self, context: Surroundings<'_, '_>) -> Result<()> {
        match self.process.no_new_privileges {
            true => self.drop_capabilities(),
            false => self.give_up_rights(context),
        }
    }

    fn drop_capabilities(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.capabilities_dropped, true) {
            true => Ok(()),
            false => caps::set_final(&self.capabilities),
        }
    }

    fn prepare(&mut self, context: Surroundings<'_, '_>) -> Result<()> {
        self.give_up_rights(context)?;
        let hooks = &context.job.plan.hooks.start_container;
        if !hooks.is_empty() {
            // Under all restrictions: these are programs of the container, which it may have replaced.
            let state =
                context.job.identity.state("created", rustix::process::getpid().as_raw_nonzero().get());
            let setting = Setting { dir: None, env: Some(&self.env) };
            crate::hooks::run("startContainer", hooks, &state, setting)?;
        }
        Ok(())
    }

    fn load_filter(&mut self, context: Surroundings<'_, '_>) -> Result<()> {
        let Some(program) = context.job.seccomp else { return Ok(()) };
        if std::mem::replace(&mut self.filter_loaded, true) {
            return Ok(());
        }
        let listener = seccomp::install(&program.filter, program.flags)
            .context("linux.seccomp: load the seccomp filter")?;
        if let Some(listener) = listener {
            context.channel.tell_parent(&ToParent::SeccompFd(listener.as_raw_fd()))?;
            match context.channel.hear_parent()? {
                Some(ToChild::Done) => {}
                _ => return Err(Error::new(Kind::System, "the runtime has gone")),
            }
        }
        Ok(())
    }
}

/// Back to what a new process expects: no signal blocked, none of the `ignored` ones ignored.
pub fn restore_signals(ignored: u32) -> Result<()> {
    signal::default(ignored);
    signal::unblock().context("unblock signals")
}

fn enter_cwd(process: &Process) -> Result<()> {
    let cwd = if process.cwd.as_os_str().is_empty() { Path::new("/") } else { &process.cwd };
    rustix::process::chdir(cwd).with_context(|| {
        format!("process.cwd: chdir to cwd ({:?}) set in config.json failed", cwd.display())
    })?;
    // CVE-2024-21626: a cwd of /proc/self/fd/N leads through a descriptor to a directory outside; the kernel then
    // has no path for it below our root.
    let here = rustix::process::getcwd(Vec::new());
    match here {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(rustix::io::Errno::NOENT) if weakened("cwd") => Ok(()),
        Ok(_) | Err(rustix::io::Errno::NOENT) => Err(Error::new(
            Kind::System,
            format!(
                "process.cwd: current working directory {:?} is outside of container mount namespace root",
                cwd.display()
            ),
        )),
        Err(e) => Err(e).context("process.cwd: getcwd"),
    }
}

fn set_rlimits(process: &Process, channel: &Channel) -> Result<()> {
    for &(resource, soft, hard) in &process.rlimits {
        match sched::prlimit(0, resource, soft, hard) {
            Ok(()) => {}
            // In a user namespace nobody may raise a limit; the parent outside of it may.
            Err(Errno::EPERM) => return super::stage1::ask(channel, &ToParent::NeedRlimits),
            Err(e) => return Err(e).with_context(|| rlimit_failed(resource, soft, hard)),
        }
    }
    Ok(())
}

/// The words for a limit that could not be set.
pub fn rlimit_failed(resource: u32, soft: u64, hard: u64) -> String {
    format!("process.rlimits: error setting rlimit {resource} to {soft}/{hard}")
}

fn home(process: &Process) -> Result<CString> {
    let passwd = ids::passwd();
    let home =
        passwd.as_deref().and_then(|text| ids::home(text, process.uid)).filter(|home| !home.is_empty());
    let mut var = b"HOME=".to_vec();
    var.extend_from_slice(home.unwrap_or(b"/"));
    CString::new(var).map_err(|_| Error::new(Kind::System, "/etc/passwd: NUL byte in a home directory"))
}

fn join_keyring(name: &CStr) -> Result<()> {
    /// Read, write and search for the user, as for the possessor (keyrings(7)); runc has the same.
    const UI_SEARCH: u32 = 0x0800_0000 >> 8;
    match keyctl::join_session_keyring(name) {
        Ok(serial) => {
            if let Ok(bits) = keyctl::permissions(serial) {
                let _ = keyctl::set_permissions(serial, bits | UI_SEARCH);
            }
            Ok(())
        }
        // A kernel without keys, a filter around us, or no quota left: a container can live without.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES | Errno::EDQUOT) => Ok(()),
        Err(e) => Err(e).context("join a new session keyring"),
    }
}

/// A procfs of this process's pid namespace that nobody else can reach.
fn private_proc() -> Result<Proc> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    let fs = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).context("open procfs")?;
    rustix::mount::fsconfig_create(&fs).context("make a private procfs")?;
    let attr = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    match rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr) {
        Ok(fd) => Proc::verify(fd),
        // A user namespace gets no new procfs where its own has masked paths: what is at /proc then has to be one, and
        // nothing in it may be covered.
        Err(rustix::io::Errno::PERM) => Proc::open(),
        Err(e) => Err(e).context("mount a private procfs"),
    }
}

/// What will be executed: as execvp, in the container, with the rights of its process.
///
/// The words are those that engines turn into exit codes 126 and 127 (peers: moby, docker/cli, Podman).
fn find_executable(process: &Process) -> Result<CString> {
    let name = &process.args[0];
    let bytes = name.as_bytes();
    let quoted = || format!("exec: {:?}", name.to_string_lossy());
    if bytes.contains(&b'/') {
        return match usable(name) {
            Ok(()) => Ok(name.clone()),
            Err(Errno::EISDIR) => Err(Error::os(Errno::EACCES, "is a directory").context(quoted())),
            Err(e @ Errno::ENOENT) => {
                Err(Error::os(e, format!("stat {}", name.to_string_lossy())).context(quoted()))
            }
            Err(e) => Err(Error::os(e, quoted())),
        };
    }
    let mut refused = None;
    if !bytes.is_empty() {
        let path = process.env_var("PATH").unwrap_or_default();
        for dir in path.split(|&b| b == b':').filter(|dir| !dir.is_empty()) {
            let mut candidate = std::ffi::OsStr::from_bytes(dir).to_owned().into_vec();
            candidate.push(b'/');
            candidate.extend_from_slice(bytes);
            let Ok(candidate) = CString::new(candidate) else { continue };
            match usable(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(e @ Errno::EACCES) => refused = refused.or(Some(e)),
                Err(_) => {}
            }
        }
    }
    match refused {
        Some(e) => Err(Error::os(e, quoted())),
        None => Err(Error::os(Errno::ENOENT, "executable file not found in $PATH").context(quoted())),
    }
}

fn usable(path: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path).map_err(crate::sys::errno)?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile => sched::may_execute(path),
        rustix::fs::FileType::Directory => Err(Errno::EISDIR),
        _ => Err(Errno::EACCES),
    }
}
