//! From config.json to a [`Plan`]: what every process of a launch will do, decided before any of it is done.
//!
//! Everything here is pure: no file is opened, no system call made, so a plan can be printed, compared and
//! tested without root. The processes of [`launch`](crate::launch) share the plan by fork and decide nothing.

pub mod cgroup;
pub mod criu;
pub mod namespaces;
pub mod process;
pub mod rootfs;

use std::path::PathBuf;

use oci_spec::runtime::{Hook, Hooks, Spec};

use crate::error::{Error, Kind, Result};

pub use namespaces::{Namespaces, Steps};
pub use process::Process;
pub use rootfs::Rootfs;

/// What the command line and the caller's environment add to config.json.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The container's id.
    pub id: String,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// `--no-pivot`: MS_MOVE and chroot in place of pivot_root, for a root on the initial ramfs.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on the process inherits: `--preserve-fds` and `LISTEN_FDS` together.
    pub preserve_fds: u32,
    /// `LISTEN_FDS`, when `LISTEN_PID` was us, and `LISTEN_FDNAMES`.
    pub listen_fds: Option<(u32, Option<String>)>,
    /// The directory on the host that holds `notify.sock`, when `NOTIFY_SOCKET` is to be relayed.
    pub notify_dir: Option<PathBuf>,
}

/// Where the relay's directory appears in the container.
pub const NOTIFY_DIR: &str = "/run/notify";

/// Everything that a launch will do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The container's id.
    pub id: String,
    /// Which namespaces are made and joined, by which process.
    pub namespaces: Namespaces,
    /// The file system; `None` for a process that joins a container.
    pub rootfs: Option<Rootfs>,
    /// The process; `None` when config.json has none, which `start` will refuse.
    pub process: Option<Process>,
    /// `hostname`, in a uts namespace of the container's.
    pub hostname: Option<String>,
    /// `domainname`, likewise.
    pub domainname: Option<String>,
    /// `linux.sysctl`: the file below /proc/sys, and its value.
    pub sysctl: Vec<(String, String)>,
    /// The network namespace is new, so its loopback interface is down.
    pub loopback: bool,
    /// Network devices of the host that move into the container, by name.
    pub net_devices: Vec<NetDevice>,
    /// The hooks, in their order.
    pub hooks: HookSet,
}

/// A network device that moves into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub name: String,
    /// Its name in the container.
    pub new_name: String,
}

impl NetDevice {
    /// How messages name it.
    pub fn describe(&self) -> String {
        format!("linux.netDevices[{:?}]", self.name)
    }
}

/// The hooks of config.json by the moment they run at.
#[derive(Clone, Debug, Default)]
pub struct HookSet {
    /// Before createRuntime, in the runtime's namespaces (deprecated by the spec, used by Docker).
    pub prestart: Vec<HookPlan>,
    /// After the namespaces are made and before pivot_root, in the runtime's namespaces.
    pub create_runtime: Vec<HookPlan>,
    /// The same moment, in the container's namespaces.
    pub create_container: Vec<HookPlan>,
    /// Before the process is executed, in the container.
    pub start_container: Vec<HookPlan>,
    /// After the process was executed, in the runtime's namespaces.
    pub poststart: Vec<HookPlan>,
    /// After the container was deleted, in the runtime's namespaces.
    pub poststop: Vec<HookPlan>,
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookPlan {
    /// The program, absolute.
    pub path: PathBuf,
    /// argv, the program's name first; the path itself when config.json has none.
    pub args: Vec<String>,
    /// The whole environment; `None` when config.json has none.
    pub env: Option<Vec<String>>,
    /// Seconds before it is killed.
    pub timeout: Option<u64>,
}

impl HookSet {
    /// The hooks of a config.
    #[allow(deprecated)]
    pub fn new(hooks: Option<&Hooks>) -> HookSet {
        let Some(hooks) = hooks else { return HookSet::default() };
        let list = |of: &Option<Vec<Hook>>| of.iter().flatten().map(HookPlan::new).collect();
        HookSet {
            prestart: list(hooks.prestart()),
            create_runtime: list(hooks.create_runtime()),
            create_container: list(hooks.create_container()),
            start_container: list(hooks.start_container()),
            poststart: list(hooks.poststart()),
            poststop: list(hooks.poststop()),
        }
    }
}

impl HookPlan {
    fn new(hook: &Hook) -> HookPlan {
        let path = hook.path().clone();
        let args = match hook.args() {
            Some(args) if !args.is_empty() => args.clone(),
            _ => vec![path.to_string_lossy().into_owned()],
        };
        let timeout = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok());
        HookPlan { path, args, env: hook.env().clone(), timeout }
    }
}

/// Plans the creation of a container. The spec has been validated.
pub fn build(spec: &Spec, options: &Options) -> Result<Plan> {
    let linux = spec.linux().clone().unwrap_or_default_linux();
    refuse_what_is_missing(Some(&linux))?;
    let namespaces = Namespaces::new(&linux)?;
    let process = match spec.process() {
        Some(process) => Some(Process::new(process, Some(&linux), options)?),
        None => None,
    };
    let rootfs = Some(Rootfs::new(spec, &linux, &namespaces, options)?);
    let mut sysctl = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let file = crate::config::sysctl::path(name).ok_or_else(|| {
            Error::new(Kind::Config, format!("linux.sysctl.{name}: not the name of a sysctl"))
        })?;
        sysctl.push((file, value.clone()));
    }
    sysctl.sort();
    Ok(Plan {
        id: options.id.clone(),
        loopback: namespaces.new & libc_flag::NEWNET != 0,
        net_devices: net_devices(&linux),
        namespaces,
        rootfs,
        process,
        hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
        domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
        sysctl,
        hooks: HookSet::new(spec.hooks().as_ref()),
    })
}

/// What this build cannot do is refused: a container that goes without what it asked for is worse than none.
pub fn refuse_what_is_missing(linux: Option<&oci_spec::runtime::Linux>) -> Result<()> {
    match linux.and_then(|linux| linux.intel_rdt().as_ref()) {
        Some(_) => {
            Err(Error::new(Kind::Unsupported, "not supported by this build").context("linux.intelRdt"))
        }
        None => Ok(()),
    }
}

fn net_devices(linux: &oci_spec::runtime::Linux) -> Vec<NetDevice> {
    let mut devices: Vec<NetDevice> = linux
        .net_devices()
        .iter()
        .flatten()
        .map(|(name, device)| {
            let new = device.name().as_ref().filter(|new| !new.is_empty()).unwrap_or(name);
            NetDevice { name: name.clone(), new_name: new.clone() }
        })
        .collect();
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    devices
}

/// `CLONE_NEW*`, as the unsigned 64-bit numbers that clone3 takes.
pub mod libc_flag {
    /// Mount namespace.
    pub const NEWNS: u64 = 0x0002_0000;
    /// Cgroup namespace.
    pub const NEWCGROUP: u64 = 0x0200_0000;
    /// UTS namespace.
    pub const NEWUTS: u64 = 0x0400_0000;
    /// IPC namespace.
    pub const NEWIPC: u64 = 0x0800_0000;
    /// User namespace.
    pub const NEWUSER: u64 = 0x1000_0000;
    /// Pid namespace.
    pub const NEWPID: u64 = 0x2000_0000;
    /// Network namespace.
    pub const NEWNET: u64 = 0x4000_0000;
    /// Time namespace.
    pub const NEWTIME: u64 = 0x0000_0080;
}

trait OrDefault {
    fn unwrap_or_default_linux(self) -> oci_spec::runtime::Linux;
}

impl OrDefault for Option<oci_spec::runtime::Linux> {
    /// A config without `linux` asks for nothing; oci-spec's `Default` would ask for its own ideas.
    fn unwrap_or_default_linux(self) -> oci_spec::runtime::Linux {
        self.unwrap_or_else(|| {
            let mut linux = oci_spec::runtime::Linux::default();
            linux.set_namespaces(None).set_resources(None).set_devices(None).set_masked_paths(None);
            linux.set_readonly_paths(None);
            linux
        })
    }
}

#[cfg(test)]
mod tests;
