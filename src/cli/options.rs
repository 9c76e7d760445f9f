//! What each verb was told, checked and typed: the high level. `build` fills these in.

use super::values::UserArg;
use crate::cgroup::SubCgroups;
use crate::log::{Format, Level};
use crate::plan::criu::Flags;
use crate::state::ContainerId;
use std::ffi::OsString;
use std::path::PathBuf;

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// tare itself, in the cgroup file system.
    #[default]
    Cgroupfs,
    /// systemd, over D-Bus.
    Systemd,
    /// Nobody: the container stays in the caller's cgroup.
    Disabled,
}

/// What holds for every verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// The name this was called by: `tare`, or `runc` when installed under that name.
    pub program: &'static str,
    /// `--root`; `None` for the default.
    pub root: Option<PathBuf>,
    /// `--log`; `None` for stderr.
    pub log: Option<PathBuf>,
    /// `--log-format`.
    pub log_format: Format,
    /// `--log-level`, `--debug`.
    pub log_level: Level,
    /// `--cgroup-manager`, `--systemd-cgroup`.
    pub cgroup_manager: CgroupManager,
    /// `--rootless`; `None` is auto.
    pub rootless: Option<bool>,
}

/// A verb with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Command {
    Create(CreateOptions),
    Start(StartOptions),
    Run(RunOptions),
    Exec(Box<ExecOptions>),
    Kill(KillOptions),
    Delete(DeleteOptions),
    State(StateOptions),
    List(ListOptions),
    Ps(PsOptions),
    Pause(PauseOptions),
    Resume(ResumeOptions),
    Update(Box<UpdateOptions>),
    Events(EventsOptions),
    Checkpoint(Box<CheckpointOptions>),
    Restore(Box<RestoreOptions>),
    Spec(SpecOptions),
    Features(FeaturesOptions),
}

/// `create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOptions {
    /// The container to make.
    pub id: ContainerId,
    /// `--bundle`; `None` is the current directory.
    pub bundle: Option<PathBuf>,
    /// `--config`; `None` is config.json of the bundle.
    pub config: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`: how many, after stdio and LISTEN_FDS.
    pub preserve_fds: u32,
}

/// `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// What it shares with `create`.
    pub create: CreateOptions,
    /// `--detach`.
    pub detach: bool,
    /// `--keep`.
    pub keep: bool,
    /// `--no-subreaper`.
    pub no_subreaper: bool,
}

/// `exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOptions {
    /// The container to run it in.
    pub id: ContainerId,
    /// The command line; empty exactly if `process` is given.
    pub args: Vec<String>,
    /// `--process`: a file with a process as in config.json.
    pub process: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--cwd`.
    pub cwd: Option<String>,
    /// `--env`, each `K=V`.
    pub env: Vec<String>,
    /// `--tty`.
    pub tty: bool,
    /// `--user`; `None` keeps the container's.
    pub user: Option<UserArg>,
    /// `--additional-gids`.
    pub additional_gids: Vec<u32>,
    /// `--detach`.
    pub detach: bool,
    /// `--process-label`.
    pub process_label: Option<String>,
    /// `--apparmor`.
    pub apparmor: Option<String>,
    /// `--no-new-privs`.
    pub no_new_privs: bool,
    /// `--cap`, as written.
    pub caps: Vec<String>,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--cgroup`.
    pub cgroups: SubCgroups,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
}

/// `kill`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillOptions {
    /// The container.
    pub id: ContainerId,
    /// The signal's number, 0 to 64.
    pub signal: i32,
    /// `--all`.
    pub all: bool,
}

/// `delete`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOptions {
    /// The container.
    pub id: ContainerId,
    /// `--force`.
    pub force: bool,
}

/// How `list` and `ps` print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// Aligned columns.
    #[default]
    Table,
    /// One line of JSON.
    Json,
}

/// `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOptions {
    /// `--format`.
    pub format: ListFormat,
    /// `--quiet`.
    pub quiet: bool,
}

/// `ps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PsOptions {
    /// The container.
    pub id: ContainerId,
    /// `--format`.
    pub format: ListFormat,
    /// Options for ps(1).
    pub args: Vec<OsString>,
}

/// `update`. Flags that were not given are `None`: nothing changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateOptions {
    /// The container.
    pub id: ContainerId,
    /// `--resources`: a file, or `-` for stdin. The flags below are ignored then.
    pub resources: Option<PathBuf>,
    /// `--memory`, bytes; -1 is no limit, here and below.
    pub memory: Option<i64>,
    /// `--memory-reservation`, bytes.
    pub memory_reservation: Option<i64>,
    /// `--memory-swap`, bytes of memory and swap together.
    pub memory_swap: Option<i64>,
    /// `--cpu-period`, µs.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`, µs; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// `--cpu-burst`, µs.
    pub cpu_burst: Option<u64>,
    /// `--cpu-share`.
    pub cpu_shares: Option<u64>,
    /// `--cpu-idle`: 0 or 1.
    pub cpu_idle: Option<i64>,
    /// `--cpu-rt-period`, µs.
    pub cpu_rt_period: Option<u64>,
    /// `--cpu-rt-runtime`, µs.
    pub cpu_rt_runtime: Option<i64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--blkio-weight`.
    pub blkio_weight: Option<u16>,
    /// `--pids-limit`; -1 is no limit.
    pub pids_limit: Option<i64>,
    /// `--l3-cache-schema`.
    pub l3_cache_schema: Option<String>,
    /// `--mem-bw-schema`.
    pub mem_bw_schema: Option<String>,
}

/// `events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsOptions {
    /// The container.
    pub id: ContainerId,
    /// `--interval`, milliseconds.
    pub interval_ms: u64,
    /// `--stats`: print once.
    pub stats: bool,
}

/// What `checkpoint` and `restore` share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriuOptions {
    /// `--criu`; `None` is the `criu` in `$PATH`.
    pub program: Option<PathBuf>,
    /// `--image-path`; `None` is `checkpoint` in the current directory.
    pub images: Option<PathBuf>,
    /// `--work-path`; `None` is with the images.
    pub work: Option<PathBuf>,
    /// What goes to criu.
    pub flags: Flags,
}

/// `checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// The container.
    pub id: ContainerId,
    /// What it shares with `restore`.
    pub criu: CriuOptions,
    /// `--status-fd`.
    pub status_fd: Option<i32>,
}

/// `restore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// What it shares with `create`.
    pub create: CreateOptions,
    /// What it shares with `checkpoint`.
    pub criu: CriuOptions,
    /// `--detach`.
    pub detach: bool,
    /// `--no-subreaper`.
    pub no_subreaper: bool,
}

/// `spec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecOptions {
    /// `--bundle`; `None` is the current directory.
    pub bundle: Option<PathBuf>,
    /// `--rootless`.
    pub rootless: bool,
}

/// `features` has no options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeaturesOptions;

macro_rules! only_an_id {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            /// The container.
            pub id: ContainerId,
        }
    )*};
}
only_an_id!(
    /// `start`.
    StartOptions,
    /// `state`.
    StateOptions,
    /// `pause`.
    PauseOptions,
    /// `resume`.
    ResumeOptions
);
