//! From flag values to typed options: what the texts mean, and every complaint about one.

use super::lowargs::Values;
use super::options::*;
use super::values;
use crate::bail;
use crate::error::{Error, Kind, Result};
use crate::log::{Format, Level};
use crate::plan::criu::{Flags, cgroups_mode, network_lock};
use crate::state::ContainerId;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Builds the options of `verb` from what the low level found.
pub(super) fn command(verb: &str, globals: &Values, v: &Values) -> Result<Command> {
    let args = v.args();
    let id = || -> Result<ContainerId> { ContainerId::parse(args.first().map_or(Ok(""), |id| utf8(id))?) };
    Ok(match verb {
        "create" => Command::Create(create(v, id()?)?),
        "start" => Command::Start(StartOptions { id: id()? }),
        "run" => Command::Run(RunOptions {
            create: create(v, id()?)?,
            detach: v.on("detach"),
            keep: v.on("keep"),
            no_subreaper: v.on("no-subreaper"),
        }),
        "exec" => Command::Exec(Box::new(exec(v, id()?, args.get(1..).unwrap_or_default())?)),
        "kill" => Command::Kill(KillOptions {
            id: id()?,
            signal: args.get(1).map_or(Ok("TERM"), |signal| utf8(signal)).and_then(values::signal)?,
            all: v.on("all"),
        }),
        "delete" => Command::Delete(DeleteOptions { id: id()?, force: v.on("force") }),
        "state" => Command::State(StateOptions { id: id()? }),
        "list" => Command::List(ListOptions { format: list_format(v)?, quiet: v.on("quiet") }),
        "ps" => Command::Ps(PsOptions {
            id: id()?,
            format: list_format(v)?,
            args: args.iter().skip(1).cloned().collect(),
        }),
        "pause" => Command::Pause(PauseOptions { id: id()? }),
        "resume" => Command::Resume(ResumeOptions { id: id()? }),
        "update" => Command::Update(Box::new(update(v, id()?)?)),
        "events" => Command::Events(EventsOptions {
            id: id()?,
            interval_ms: text(v, "interval")?.map_or(Ok(5000), values::interval)?,
            stats: v.on("stats"),
        }),
        "checkpoint" => Command::Checkpoint(Box::new(checkpoint(globals, v, id()?)?)),
        "restore" => Command::Restore(Box::new(restore(globals, v, id()?)?)),
        "spec" => Command::Spec(SpecOptions { bundle: path(v, "bundle"), rootless: v.on("rootless") }),
        "features" => Command::Features(FeaturesOptions),
        other => bail!(Usage, "unknown command {other:?}"),
    })
}

/// Builds the global options; `program` is the name this was called by.
pub(super) fn global(program: &'static str, v: &Values) -> Result<Global> {
    let one_of = |flag: &'static str, allowed: &str, got: &str| {
        Error::new(Kind::Usage, format!("invalid --{flag} {got:?}: must be {allowed}"))
    };
    let log_format = match text(v, "log-format")? {
        None | Some("text") => Format::Text,
        Some("json") => Format::Json,
        Some(other) => return Err(one_of("log-format", "text or json", other)),
    };
    let log_level = match text(v, "log-level")? {
        _ if v.on("debug") => Level::Debug,
        None => Level::default(),
        Some(name) => {
            Level::parse(name).ok_or_else(|| one_of("log-level", "error, warning, info or debug", name))?
        }
    };
    let cgroup_manager = match text(v, "cgroup-manager")? {
        _ if v.on("systemd-cgroup") => CgroupManager::Systemd,
        None | Some("cgroupfs") => CgroupManager::Cgroupfs,
        Some("systemd") => CgroupManager::Systemd,
        Some("disabled") => CgroupManager::Disabled,
        Some(other) => return Err(one_of("cgroup-manager", "cgroupfs, systemd or disabled", other)),
    };
    let rootless = match text(v, "rootless")?.map(str::to_ascii_lowercase).as_deref() {
        None | Some("auto" | "") => None,
        Some("true" | "1" | "t") => Some(true),
        Some("false" | "0" | "f") => Some(false),
        Some(other) => return Err(one_of("rootless", "true, false or auto", other)),
    };
    Ok(Global {
        program,
        root: path(v, "root"),
        log: path(v, "log"),
        log_format,
        log_level,
        cgroup_manager,
        rootless,
    })
}

fn create(v: &Values, id: ContainerId) -> Result<CreateOptions> {
    Ok(CreateOptions {
        id,
        bundle: path(v, "bundle"),
        config: path(v, "config"),
        console_socket: path(v, "console-socket"),
        pidfd_socket: path(v, "pidfd-socket"),
        pid_file: path(v, "pid-file"),
        no_pivot: v.on("no-pivot"),
        no_new_keyring: v.on("no-new-keyring"),
        preserve_fds: text(v, "preserve-fds")?.map_or(Ok(0), values::preserve_fds)?,
    })
}

fn checkpoint(globals: &Values, v: &Values, id: ContainerId) -> Result<CheckpointOptions> {
    let mut criu = criu(globals, v)?;
    let parent_path = owned(v, "parent-path")?.unwrap_or_default();
    if parent_path.starts_with('/') {
        bail!(Usage, "--parent-path must be relative to --image-path");
    }
    criu.flags = Flags {
        leave_running: v.on("leave-running"),
        pre_dump: v.on("pre-dump"),
        tcp_skip_in_flight: v.on("tcp-skip-in-flight"),
        link_remap: v.on("link-remap"),
        parent_path,
        page_server: owned(v, "page-server")?.map(|server| page_server(&server)).transpose()?,
        ..criu.flags
    };
    Ok(CheckpointOptions { id, criu, status_fd: number(v, "status-fd")?.filter(|fd| *fd >= 0) })
}

fn restore(globals: &Values, v: &Values, id: ContainerId) -> Result<RestoreOptions> {
    let mut criu = criu(globals, v)?;
    criu.flags = Flags {
        tcp_close: v.on("tcp-close"),
        lsm_profile: owned(v, "lsm-profile")?.unwrap_or_default(),
        lsm_mount_context: owned(v, "lsm-mount-context")?.unwrap_or_default(),
        ..criu.flags
    };
    let create = CreateOptions {
        id,
        bundle: path(v, "bundle"),
        config: None,
        console_socket: path(v, "console-socket"),
        pidfd_socket: None,
        pid_file: path(v, "pid-file"),
        no_pivot: v.on("no-pivot"),
        no_new_keyring: false,
        preserve_fds: 0,
    };
    Ok(RestoreOptions { create, criu, detach: v.on("detach"), no_subreaper: v.on("no-subreaper") })
}

fn criu(globals: &Values, v: &Values) -> Result<CriuOptions> {
    for namespace in v.all("empty-ns") {
        // It always is, as with runc.
        if namespace != "network" {
            bail!(Usage, "invalid --empty-ns {namespace:?}: must be network");
        }
    }
    let given = |v, flag| path(v, flag).filter(|path| !path.as_os_str().is_empty());
    Ok(CriuOptions {
        program: given(globals, "criu"),
        images: given(v, "image-path"),
        work: given(v, "work-path"),
        flags: Flags {
            tcp_established: v.on("tcp-established"),
            ext_unix_sk: v.on("ext-unix-sk"),
            shell_job: v.on("shell-job"),
            lazy_pages: v.on("lazy-pages"),
            file_locks: v.on("file-locks"),
            auto_dedup: v.on("auto-dedup"),
            cgroups_mode: cgroups_mode(text(v, "manage-cgroups-mode")?.unwrap_or_default())?,
            network_lock: network_lock(text(v, "network-lock")?.unwrap_or_default())?,
            ..Flags::default()
        },
    })
}

/// `ADDRESS:PORT`; an IPv6 address in brackets.
fn page_server(text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse().ok()?)));
    match parts {
        Some((address, port)) if !address.is_empty() => {
            let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            Ok((bare.unwrap_or(address).to_owned(), port))
        }
        _ => bail!(Usage, "invalid --page-server {text:?}: must be ADDRESS:PORT"),
    }
}

fn exec(v: &Values, id: ContainerId, args: &[OsString]) -> Result<ExecOptions> {
    let texts = |flag| v.all(flag).map(|arg| Ok(utf8(arg)?.to_owned())).collect::<Result<Vec<String>>>();
    let process = path(v, "process");
    let args = match process {
        // As runc does: the file says what to run, whatever follows the id.
        Some(_) => Vec::new(),
        None if args.is_empty() => bail!(Usage, "process args cannot be empty"),
        None => args.iter().map(|arg| Ok(utf8(arg)?.to_owned())).collect::<Result<_>>()?,
    };
    let env = texts("env")?;
    env.iter().try_for_each(|pair| values::env(pair))?;
    Ok(ExecOptions {
        id,
        args,
        process,
        console_socket: path(v, "console-socket"),
        pidfd_socket: path(v, "pidfd-socket"),
        pid_file: path(v, "pid-file"),
        cwd: owned(v, "cwd")?,
        env,
        tty: v.on("tty"),
        user: owned(v, "user")?.as_deref().map(values::user).transpose()?,
        additional_gids: v
            .all("additional-gids")
            .map(|gid| values::gid(utf8(gid)?))
            .collect::<Result<_>>()?,
        detach: v.on("detach"),
        process_label: owned(v, "process-label")?,
        apparmor: owned(v, "apparmor")?,
        no_new_privs: v.on("no-new-privs"),
        caps: texts("cap")?,
        preserve_fds: text(v, "preserve-fds")?.map_or(Ok(0), values::preserve_fds)?,
        cgroups: crate::cgroup::SubCgroups::parse(&texts("cgroup")?)?,
        ignore_paused: v.on("ignore-paused"),
    })
}

fn update(v: &Values, id: ContainerId) -> Result<UpdateOptions> {
    let bytes =
        |flag: &'static str| owned(v, flag)?.map(|n| values::bytes(&format!("--{flag}"), &n)).transpose();
    Ok(UpdateOptions {
        id,
        resources: path(v, "resources"),
        memory: bytes("memory")?,
        memory_reservation: bytes("memory-reservation")?,
        memory_swap: bytes("memory-swap")?,
        cpu_period: number(v, "cpu-period")?,
        cpu_quota: number(v, "cpu-quota")?,
        cpu_burst: number(v, "cpu-burst")?,
        cpu_shares: number(v, "cpu-share")?,
        cpu_idle: number(v, "cpu-idle")?,
        cpu_rt_period: number(v, "cpu-rt-period")?,
        cpu_rt_runtime: number(v, "cpu-rt-runtime")?,
        cpuset_cpus: owned(v, "cpuset-cpus")?,
        cpuset_mems: owned(v, "cpuset-mems")?,
        blkio_weight: number(v, "blkio-weight")?,
        pids_limit: number(v, "pids-limit")?,
        l3_cache_schema: owned(v, "l3-cache-schema")?,
        mem_bw_schema: owned(v, "mem-bw-schema")?,
    })
}

fn list_format(v: &Values) -> Result<ListFormat> {
    match text(v, "format")? {
        None | Some("table") => Ok(ListFormat::Table),
        Some("json") => Ok(ListFormat::Json),
        Some(other) => bail!(Usage, "invalid format option {other:?}: must be table or json"),
    }
}

fn utf8(arg: &OsStr) -> Result<&str> {
    arg.to_str().ok_or_else(|| Error::new(Kind::Usage, format!("argument is not valid UTF-8: {arg:?}")))
}

fn text<'v>(v: &'v Values, flag: &str) -> Result<Option<&'v str>> {
    v.last(flag).map(|value| utf8(value)).transpose()
}

/// A text that is not empty: callers write `--cwd ""` and mean nothing by it.
fn owned(v: &Values, flag: &str) -> Result<Option<String>> {
    Ok(text(v, flag)?.filter(|value| !value.is_empty()).map(str::to_owned))
}

fn path(v: &Values, flag: &str) -> Option<PathBuf> {
    v.last(flag).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn number<N: std::str::FromStr>(v: &Values, flag: &'static str) -> Result<Option<N>> {
    let parse = |value: String| {
        value.parse().map_err(|_| {
            Error::new(Kind::Usage, format!("invalid --{flag} {value:?}: must be a number in range"))
        })
    };
    owned(v, flag)?.map(parse).transpose()
}
