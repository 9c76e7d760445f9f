//! What is set on the container's process, by `create` and `exec` alike.

use std::collections::HashSet;
use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime as oci;
use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxCapabilities, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, PosixRlimitType,
};

use super::Options;
use crate::config::capability;
use crate::error::{Error, Kind, Result};
use crate::sys::sched::SchedAttr;

/// The umask where config.json has none, as with runc and crun. The caller's would make files that everybody may write,
/// where the caller is a daemon with an umask of 0 (buildkitd).
const DEFAULT_UMASK: u32 = 0o022;

/// A process of the container: everything between the namespaces and its exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// argv; never empty.
    pub args: Vec<CString>,
    /// The environment, without duplicates: the last of a name wins.
    pub env: Vec<CString>,
    /// The working directory, as config.json has it.
    pub cwd: PathBuf,
    /// Wants a pseudo-terminal.
    pub terminal: bool,
    /// Its size: rows, columns.
    pub console_size: Option<(u16, u16)>,
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// The five capability sets.
    pub capabilities: Capabilities,
    /// `RLIMIT_*` number, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Sets no_new_privs.
    pub no_new_privileges: bool,
    /// -1000 to 1000; `None` leaves the caller's.
    pub oom_score_adj: Option<i32>,
    /// The AppArmor profile to enter at exec.
    pub apparmor: Option<String>,
    /// The SELinux label to enter at exec.
    pub selinux: Option<String>,
    /// Scheduling policy.
    pub scheduler: Option<SchedAttr>,
    /// I/O class and priority.
    pub io_priority: Option<(u32, u32)>,
    /// Memory policy: mode with flags, node mask.
    pub memory_policy: Option<(u32, Vec<u64>)>,
    /// Execution domain.
    pub personality: Option<u64>,
    /// The name of its session keyring.
    pub keyring: Option<CString>,
    /// How many descriptors from 3 on it inherits.
    pub preserve_fds: u32,
    /// CPUs before and after it is in its cgroup; only for exec.
    pub cpu_affinity: Affinity,
}

/// `execCPUAffinity`: CPU numbers; empty means "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// While the process is set up.
    pub initial: Vec<u32>,
    /// Once it is in its cgroup.
    pub last: Vec<u32>,
}

/// Capability sets as bit masks. A config without `capabilities` means none at all, as with runc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The bounding set.
    pub bounding: u64,
    /// The effective set.
    pub effective: u64,
    /// The inheritable set.
    pub inheritable: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The ambient set; only what is permitted and inheritable too.
    pub ambient: u64,
}

impl Process {
    /// Plans a process. `linux` gives what config.json keeps outside of `process`.
    pub fn new(process: &oci::Process, linux: Option<&Linux>, options: &Options) -> Result<Process> {
        let args = process.args().iter().flatten().map(|arg| c_string(arg, "process.args"));
        let mut env = environment(process.env().as_deref().unwrap_or_default());
        if let Some((count, names)) = &options.listen_fds {
            replace(&mut env, format!("LISTEN_FDS={count}"));
            // systemd's convention: the receiver compares it with its own pid, and ours is 1.
            replace(&mut env, "LISTEN_PID=1".into());
            if let Some(names) = names {
                replace(&mut env, format!("LISTEN_FDNAMES={names}"));
            }
        }
        if options.notify_dir.is_some() {
            replace(&mut env, format!("NOTIFY_SOCKET={}/notify.sock", super::NOTIFY_DIR));
        }
        let user = process.user();
        let size = process.console_size();
        let clamp = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        Ok(Process {
            args: args.collect::<Result<_>>()?,
            env: env.iter().map(|var| c_string(var, "process.env")).collect::<Result<_>>()?,
            cwd: process.cwd().clone(),
            terminal: process.terminal().unwrap_or(false),
            console_size: size
                .map(|size| (clamp(size.height()), clamp(size.width())))
                .filter(|s| *s != (0, 0)),
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask().unwrap_or(DEFAULT_UMASK),
            capabilities: process.capabilities().as_ref().map(Capabilities::new).unwrap_or_default(),
            rlimits: process
                .rlimits()
                .iter()
                .flatten()
                .map(|limit| (rlimit_number(limit.typ()), limit.soft(), limit.hard()))
                .collect(),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            oom_score_adj: process.oom_score_adj(),
            // "" and "unconfined" ask for what a new process has anyhow.
            apparmor: process.apparmor_profile().clone().filter(|p| !p.is_empty() && p != "unconfined"),
            selinux: process.selinux_label().clone().filter(|label| !label.is_empty()),
            scheduler: process.scheduler().as_ref().map(scheduler),
            io_priority: process
                .io_priority()
                .as_ref()
                .map(|io| (io_class(io.class()), io.priority() as u32)),
            memory_policy: linux
                .and_then(|linux| linux.memory_policy().as_ref())
                .map(memory_policy)
                .transpose()?,
            personality: linux.and_then(|linux| linux.personality().as_ref()).map(|p| match p.domain() {
                LinuxPersonalityDomain::PerLinux => 0,
                LinuxPersonalityDomain::PerLinux32 => 8,
            }),
            keyring: match options.no_new_keyring {
                true => None,
                false => Some(c_string(&format!("_ses.{}", options.id), "id")?),
            },
            preserve_fds: options.preserve_fds,
            cpu_affinity: Affinity::default(),
        })
    }

    /// Plans a process that joins a running container: `execCPUAffinity` is meant for it alone.
    pub fn for_exec(process: &oci::Process, linux: Option<&Linux>, options: &Options) -> Result<Process> {
        let list = |text: Option<&str>, what: &str| {
            number_list(text.unwrap_or("")).ok_or_else(|| {
                Error::new(Kind::Config, format!("process.execCPUAffinity.{what}: not a list like 0-3,6"))
            })
        };
        let mut planned = Process::new(process, linux, options)?;
        if let Some(affinity) = process.exec_cpu_affinity() {
            planned.cpu_affinity.initial = list(affinity.initial().as_deref(), "initial")?;
            planned.cpu_affinity.last = list(affinity.cpu_affinity_final().as_deref(), "final")?;
        }
        Ok(planned)
    }

    /// The value of an environment variable.
    pub fn env_var(&self, name: &str) -> Option<&[u8]> {
        self.env.iter().find_map(|var| var.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// Duplicates collapse, the last one wins and keeps the place of the last, as with runc; `dedup` by hand would be
/// quadratic, and 10,000 variables are a real case.
fn environment(vars: &[String]) -> Vec<String> {
    let mut seen = HashSet::with_capacity(vars.len());
    let mut env: Vec<String> = vars
        .iter()
        .rev()
        .filter(|var| seen.insert(var.split_once('=').map_or(var.as_str(), |(name, _)| name)))
        .cloned()
        .collect();
    env.reverse();
    env
}

fn replace(env: &mut Vec<String>, var: String) {
    let name = var.split_once('=').map_or(var.as_str(), |(name, _)| name).to_owned() + "=";
    env.retain(|old| !old.starts_with(&name));
    env.push(var);
}

fn c_string(text: &str, what: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(Kind::Config, format!("{what}: contains a NUL byte")))
}

impl Capabilities {
    fn new(caps: &LinuxCapabilities) -> Capabilities {
        let mask = |set: &Option<oci::Capabilities>| {
            set.iter().flatten().fold(0, |mask, cap| mask | 1u64 << (capability::number(*cap) & 63))
        };
        let (inheritable, permitted) = (mask(caps.inheritable()), mask(caps.permitted()));
        Capabilities {
            bounding: mask(caps.bounding()),
            // The kernel takes no effective capability that is not permitted.
            effective: mask(caps.effective()) & permitted,
            inheritable,
            permitted,
            // The kernel refuses an ambient capability that is not permitted and inheritable; runc warns and
            // goes on without it.
            ambient: mask(caps.ambient()) & inheritable & permitted,
        }
    }
}

fn rlimit_number(limit: PosixRlimitType) -> u32 {
    use PosixRlimitType as R;

    match limit {
        R::RlimitCpu => libc::RLIMIT_CPU,
        R::RlimitFsize => libc::RLIMIT_FSIZE,
        R::RlimitData => libc::RLIMIT_DATA,
        R::RlimitStack => libc::RLIMIT_STACK,
        R::RlimitCore => libc::RLIMIT_CORE,
        R::RlimitRss => libc::RLIMIT_RSS,
        R::RlimitNproc => libc::RLIMIT_NPROC,
        R::RlimitNofile => libc::RLIMIT_NOFILE,
        R::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        R::RlimitAs => libc::RLIMIT_AS,
        R::RlimitLocks => libc::RLIMIT_LOCKS,
        R::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        R::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        R::RlimitNice => libc::RLIMIT_NICE,
        R::RlimitRtprio => libc::RLIMIT_RTPRIO,
        R::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

fn scheduler(scheduler: &oci::Scheduler) -> SchedAttr {
    use LinuxSchedulerPolicy as P;
    let policy = match scheduler.policy() {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => 4,
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    use LinuxSchedulerFlag as F;
    let flag = |flag: &F| match flag {
        F::SchedResetOnFork => 0x01,
        F::SchedFlagReclaim => 0x02,
        F::SchedFlagDLOverrun => 0x04,
        F::SchedFlagKeepPolicy => 0x08,
        F::SchedFlagKeepParams => 0x10,
        F::SchedFlagUtilClampMin => 0x20,
        F::SchedFlagUtilClampMax => 0x40,
    };
    SchedAttr {
        size: 0,
        policy,
        flags: scheduler.flags().iter().flatten().map(flag).fold(0, |flags, f| flags | f),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    }
}

fn io_class(class: IOPriorityClass) -> u32 {
    match class {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    }
}

fn memory_policy(policy: &oci::LinuxMemoryPolicy) -> Result<(u32, Vec<u64>)> {
    use MemoryPolicyFlagType as F;
    use MemoryPolicyModeType as M;
    let mode = match policy.mode() {
        M::MpolDefault => 0,
        M::MpolPreferred => 1,
        M::MpolBind => 2,
        M::MpolInterleave => 3,
        M::MpolLocal => 4,
        M::MpolPreferredMany => 5,
        M::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &F| match flag {
        F::MpolFNumaBalancing => 1 << 13,
        F::MpolFRelativeNodes => 1 << 14,
        F::MpolFStaticNodes => 1 << 15,
    };
    let flags = policy.flags().iter().flatten().map(flag).fold(0, |flags, f: u32| flags | f);
    let nodes = number_list(policy.nodes().as_deref().unwrap_or("")).ok_or_else(|| {
        Error::new(Kind::Config, "linux.memoryPolicy.nodes: not a list of numbers like 0-3,6")
    })?;
    let mut mask = vec![0u64; nodes.iter().max().map_or(0, |&max| max as usize / 64 + 1)];
    for node in nodes {
        mask[node as usize / 64] |= 1 << (node % 64);
    }
    Ok((mode | flags, mask))
}

/// The numbers of a kernel list such as `0-3,6`; at most 65,536 of them.
pub fn number_list(text: &str) -> Option<Vec<u32>> {
    Some(crate::config::cpu_list(text).ok()?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_name_wins() {
        let vars: Vec<String> = ["A=1", "B=2", "A=3", "EMPTY=", "NOEQ"].map(String::from).into();
        assert_eq!(environment(&vars), ["B=2", "A=3", "EMPTY=", "NOEQ"]);
    }

    #[test]
    fn number_lists() {
        assert_eq!(number_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(number_list(""), Some(vec![]));
        assert_eq!(number_list(" 1 , 3 "), Some(vec![1, 3]));
        for bad in ["x", "3-1", "1-", "-1", "0-99999999"] {
            assert_eq!(number_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let caps: LinuxCapabilities = serde_json::from_str(
            r#"{"ambient":["CAP_KILL","CAP_CHOWN"],"permitted":["CAP_KILL"],"inheritable":["CAP_KILL","CAP_CHOWN"]}"#,
        )
        .unwrap();
        assert_eq!(Capabilities::new(&caps).ambient, 1 << 5);
    }
}
