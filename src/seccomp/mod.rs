//! A profile of `linux.seccomp` compiled to one classic BPF program. Pure: nothing is installed or probed here.
//!
//! The meaning is that of libseccomp and runc (`rules`); the layout is ours (`layout`): one dispatch by
//! architecture, then a binary tree over ranges of call numbers, so a call takes about ten instructions where a
//! linear filter takes hundreds, and the kernel has a few hundred to check instead of thousands.

mod arch;
mod block;
pub mod known;
mod layout;
mod rules;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Op,
    LinuxSyscall,
};

use crate::bail;
use crate::error::{Error, Kind, Result};
use arch::ArchInfo;
use layout::{Section, Shape};
use rules::{Cond, Entry, Leaves};
use table::Name;

/// One instruction, as the kernel takes it.
pub type Insn = libc::sock_filter;

/// The most instructions that the kernel takes (BPF_MAXINSNS).
pub const MAX_INSNS: usize = 4096;

/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h.
pub mod flag {
    /// Every thread of the process gets the filter.
    pub const TSYNC: u32 = 1 << 0;
    /// Verdicts other than "allow" are logged.
    pub const LOG: u32 = 1 << 1;
    /// The filter does not turn on the mitigation of Speculative Store Bypass.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// The call returns a descriptor on which notifications arrive.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// A failed TSYNC is ESRCH and not a thread id; needed beside NEW_LISTENER (Linux 5.7).
    pub const TSYNC_ESRCH: u32 = 1 << 4;
    /// A notified call, once received, waits so that only a fatal signal ends the wait (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// `SECCOMP_RET_*` actions that not every kernel has.
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_LOG: u32 = 0x7ffc_0000;

/// The kernel cuts what a filter returns to this (MAX_ERRNO).
const MAX_ERRNO: u32 = 4095;
/// What fits beside an action (SECCOMP_RET_DATA).
const MAX_DATA: u32 = 0xffff;

/// What the running kernel offers, of what one profile uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// `SCMP_ACT_KILL_PROCESS`, Linux 4.14.
    pub kill_process: bool,
    /// `SCMP_ACT_LOG`, Linux 4.14.
    pub log: bool,
    /// `SCMP_ACT_NOTIFY`, Linux 5.0.
    pub notify: bool,
    /// The known ones of [`flag`].
    pub flags: u32,
}

impl Support {
    /// A kernel that has everything this compiler knows.
    pub const ALL: Support = Support { kill_process: true, log: true, notify: true, flags: 0x3f };

    /// Asks the kernel only for what this profile uses: one question for Docker's default profile.
    ///
    /// `action` is asked with a SECCOMP_RET_* value, `flag` with one of [`flag`].
    pub fn probe(
        profile: &LinuxSeccomp,
        action: impl Fn(u32) -> bool,
        flag: impl Fn(u32) -> bool,
    ) -> Support {
        let uses = |wanted: Action| {
            profile.default_action() == wanted || syscalls(profile).iter().any(|rule| rule.action() == wanted)
        };
        let wanted = match profile.flags() {
            None => flag::SPEC_ALLOW,
            Some(flags) => flags.iter().fold(0, |bits, flag| bits | flag_bit(*flag)),
        };
        let bits = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| wanted & bit != 0 && flag(*bit));
        Support {
            kill_process: uses(Action::ScmpActKillProcess) && action(RET_KILL_PROCESS),
            log: uses(Action::ScmpActLog) && action(RET_LOG),
            notify: uses(Action::ScmpActNotify) && action(RET_USER_NOTIF),
            flags: bits.fold(0, |all, bit| all | bit),
        }
    }
}

/// Where a notification descriptor goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// `linux.seccomp.listenerPath`: a listening unix socket, in the runtime's mount namespace.
    pub listener_path: PathBuf,
    /// `linux.seccomp.listenerMetadata`, sent along unread.
    pub listener_metadata: String,
}

/// What is to be installed.
#[derive(Clone, Debug)]
pub struct Program {
    /// The instructions, at most [`MAX_INSNS`].
    pub filter: Vec<Insn>,
    /// Bits of [`flag`], NEW_LISTENER among them exactly if `notify` is set.
    pub flags: u32,
    /// Set if a rule notifies.
    pub notify: Option<Notify>,
    /// What was passed over, one line each with its JSON path.
    pub warnings: Vec<String>,
}

/// Compiles a profile.
///
/// # Errors
/// `Config` for what no kernel could do (an argument index above 5, an errno that does not fit, notification as
/// the default or for `write`), `Unsupported` for what this kernel lacks or for more than [`MAX_INSNS`] instructions;
/// each names its JSON path.
pub fn compile(profile: &LinuxSeccomp, support: &Support) -> Result<Program> {
    compile_on(arch::native(), profile, support)
}

fn compile_on(native: &'static ArchInfo, profile: &LinuxSeccomp, support: &Support) -> Result<Program> {
    let mut warnings = Vec::new();
    if profile.default_action() == Action::ScmpActNotify {
        // Also the calls with which the runtime hands over the descriptor would wait for its receiver.
        bail!(Config, "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default action");
    }
    let default =
        verdict(None, profile.default_action(), profile.default_errno_ret(), support, &mut warnings)?;
    let mut leaves = Leaves::new(default);
    let mut named = Vec::with_capacity(512);
    let mut entries = Vec::with_capacity(syscalls(profile).len());
    for (index, rule) in syscalls(profile).iter().enumerate() {
        let start = named.len();
        resolve(index, rule, &mut named, &mut warnings)?;
        let verdict = verdict(Some(index), rule.action(), rule.errno_ret(), support, &mut warnings)?;
        let alternatives = alternatives(index, rule)?;
        if verdict != default {
            let names = named.get(start..).unwrap_or_default().to_vec();
            entries.push(Entry { leaf: leaves.verdict(verdict), names, alternatives });
        }
    }
    let notify = notify(profile)?;
    let flags = flags(profile, support, notify.is_some(), &mut warnings)?;

    // A stub as runc's: who wrote a list of what is allowed could not know of calls that came later, and programs
    // fall back only on ENOSYS. A permissive default, or a tracer, has its own answer to them.
    let permissive =
        matches!(profile.default_action(), Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace);
    let newer = (!permissive).then(|| leaves.verdict(Action::ScmpActErrno.as_u32(Some(libc::ENOSYS as u32))));

    let archs = architectures(native, profile);
    let x32 = archs.iter().find(|arch| arch.is_x32());
    let joined = archs.iter().any(|arch| arch.is_x86_64()) && x32.is_some();
    let mut sections = Vec::with_capacity(archs.len());
    for arch in archs.iter().filter(|arch| !(joined && arch.is_x32())) {
        let mut ranges = |arch: &ArchInfo| rules::ranges(arch, &entries, &named, newer, &mut leaves);
        let own = ranges(arch);
        let x32 = x32.filter(|_| joined && arch.is_x86_64()).map(|x32| ranges(x32));
        sections.push(Section::new(arch, own, x32, &mut leaves));
    }
    if leaves.verdicts.len() > MAX_INSNS || leaves.blocks.len() > MAX_INSNS {
        bail!(
            Unsupported,
            "linux.seccomp.syscalls: too many different rules for a filter of {MAX_INSNS} instructions"
        );
    }
    let assemble = |shape| {
        layout::assemble(&sections, &leaves, shape)
            .ok_or_else(|| Error::new(Kind::Unsupported, "linux.seccomp: the encoding of a condition failed"))
    };
    let mut filter = assemble(Shape::Quick)?;
    if filter.len() > MAX_INSNS {
        filter = assemble(Shape::Small)?;
    }
    if filter.len() > MAX_INSNS {
        bail!(
            Unsupported,
            "linux.seccomp.syscalls: the filter needs {} instructions, the kernel takes at most {MAX_INSNS}",
            filter.len()
        );
    }
    Ok(Program { filter, flags, notify, warnings })
}

fn syscalls(profile: &LinuxSeccomp) -> &[LinuxSyscall] {
    profile.syscalls().as_deref().unwrap_or_default()
}

/// The native architecture first, then those of the profile, each once.
fn architectures(native: &'static ArchInfo, profile: &LinuxSeccomp) -> Vec<&'static ArchInfo> {
    let mut archs = vec![native];
    for arch in profile.architectures().iter().flatten() {
        let arch = if *arch == oci_spec::runtime::Arch::ScmpArchNative { native } else { arch::info(*arch) };
        if !archs.contains(&arch) {
            archs.push(arch);
        }
    }
    archs
}

/// SECCOMP_RET_* with its data, of the rule of this index or of the default.
fn verdict(
    rule: Option<usize>,
    action: Action,
    errno: Option<u32>,
    support: &Support,
    warnings: &mut Vec<String>,
) -> Result<u32> {
    let action_path = || match rule {
        Some(index) => format!("linux.seccomp.syscalls[{index}].action"),
        None => "linux.seccomp.defaultAction".to_owned(),
    };
    let errno_path = || match rule {
        Some(index) => format!("linux.seccomp.syscalls[{index}].errnoRet"),
        None => "linux.seccomp.defaultErrnoRet".to_owned(),
    };
    let (offered, limit) = match action {
        Action::ScmpActErrno => (true, MAX_ERRNO),
        Action::ScmpActTrace => (true, MAX_DATA),
        Action::ScmpActKillProcess => (support.kill_process, 0),
        Action::ScmpActLog => (support.log, 0),
        Action::ScmpActNotify => (support.notify, 0),
        _ => (true, 0),
    };
    if !offered {
        bail!(Unsupported, "{}: {action} is not supported by this kernel", action_path());
    }
    match errno {
        // The specification asks for an error here, but every peer ignores it, and turning the default of a copied
        // profile into SCMP_ACT_LOG while its defaultErrnoRet stays is how people debug profiles.
        Some(_) if limit == 0 => warnings.push(format!("{}: {action} takes no errno, ignored", errno_path())),
        Some(errno) if errno > limit => bail!(Config, "{}: {errno} is above {limit}", errno_path()),
        _ => {}
    }
    Ok(action.as_u32(Some(errno.unwrap_or(libc::EPERM as u32))))
}

/// Looks the names of a rule up; unknown ones are passed over, as a profile may be newer than this program.
fn resolve(
    index: usize,
    rule: &LinuxSyscall,
    named: &mut Vec<Name>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    for (i, name) in rule.names().iter().enumerate() {
        if name.is_empty() {
            bail!(Config, "linux.seccomp.syscalls[{index}].names[{i}]: empty name");
        }
        // The runtime itself hands the descriptor over after the filter is in force; runc forbids the same.
        if name == "write" && rule.action() == Action::ScmpActNotify {
            bail!(
                Config,
                "linux.seccomp.syscalls[{index}].names[{i}]: SCMP_ACT_NOTIFY cannot be used for write"
            );
        }
        match table::find(name) {
            Some(found) => named.push(found),
            None => warnings.push(format!(
                "linux.seccomp.syscalls[{index}].names[{i}]: unknown system call {name}, ignored"
            )),
        }
    }
    Ok(())
}

/// The conjunctions of a rule. If an argument occurs twice, each condition stands alone, which is what runc has
/// always made of it (the specification says nothing).
fn alternatives(index: usize, rule: &LinuxSyscall) -> Result<Vec<Vec<Cond>>> {
    let args = rule.args().as_deref().unwrap_or_default();
    let mut conds = Vec::with_capacity(args.len());
    for (i, arg) in args.iter().enumerate() {
        if arg.index() > 5 {
            bail!(
                Config,
                "linux.seccomp.syscalls[{index}].args[{i}].index: {} is above 5, a system call has six arguments",
                arg.index()
            );
        }
        let masked = arg.op() == Op::ScmpCmpMaskedEq;
        conds.push(Cond {
            arg: arg.index() as u8,
            op: arg.op(),
            mask: if masked { arg.value() } else { u64::MAX },
            value: if masked { arg.value_two().unwrap_or(0) } else { arg.value() },
        });
    }
    conds.sort_by_key(|cond| cond.arg);
    if conds.windows(2).any(|pair| pair[0].arg == pair[1].arg) {
        return Ok(conds.into_iter().map(|cond| vec![cond]).collect());
    }
    Ok(vec![conds])
}

fn notify(profile: &LinuxSeccomp) -> Result<Option<Notify>> {
    let path = profile.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = profile.listener_metadata().as_deref().unwrap_or_default();
    if path.is_none() && !metadata.is_empty() {
        bail!(Config, "linux.seccomp.listenerMetadata: set without listenerPath");
    }
    if !syscalls(profile).iter().any(|rule| rule.action() == Action::ScmpActNotify) {
        return Ok(None);
    }
    match path {
        Some(path) => {
            Ok(Some(Notify { listener_path: path.clone(), listener_metadata: metadata.to_owned() }))
        }
        None => bail!(Config, "linux.seccomp.listenerPath: missing, but a rule has SCMP_ACT_NOTIFY"),
    }
}

fn flag_bit(flag: Flag) -> u32 {
    match flag {
        Flag::SeccompFilterFlagTsync => flag::TSYNC,
        Flag::SeccompFilterFlagLog => flag::LOG,
        Flag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
        Flag::SeccompFilterFlagWaitKillableRecv => flag::WAIT_KILLABLE_RECV,
    }
}

fn flags(profile: &LinuxSeccomp, support: &Support, notify: bool, warnings: &mut Vec<String>) -> Result<u32> {
    let mut bits = 0;
    match profile.flags() {
        // As runc and crun: without the flag every filter would turn the costly mitigation on.
        None => bits |= support.flags & flag::SPEC_ALLOW,
        Some(flags) => {
            for (i, flag) in flags.iter().enumerate() {
                let bit = flag_bit(*flag);
                if support.flags & bit == 0 {
                    bail!(Unsupported, "linux.seccomp.flags[{i}]: {flag} is not supported by this kernel");
                }
                if bit == flag::WAIT_KILLABLE_RECV && !notify {
                    // The kernel refuses it without a listener.
                    warnings.push(format!(
                        "linux.seccomp.flags[{i}]: {flag} has no effect without a rule that notifies"
                    ));
                    continue;
                }
                bits |= bit;
            }
        }
    }
    if notify {
        bits |= flag::NEW_LISTENER;
        if bits & flag::TSYNC != 0 {
            bits |= flag::TSYNC_ESRCH;
        }
    }
    Ok(bits)
}
