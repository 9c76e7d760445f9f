//! A profile of `linux.seccomp` compiled to one classic BPF program. Pure: nothing is installed or probed here.
//!
//! The meaning is that of libseccomp and runc (`rules`); the layout is ours (`layout`, `block`): one dispatch by
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

use std::borrow::Cow;
use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Op,
    LinuxSyscall,
};

use crate::error::{Error, Kind};
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

/// The kernel cuts the errno that a filter returns to this (MAX_ERRNO): a larger one would silently be another.
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
/// Everything that is wrong, each with its JSON path as the outermost words: `Config` for what no kernel could do (an
/// argument index above 5, an errno that does not fit, notification as the default or for `write`), `Unsupported` for
/// what this kernel lacks or for more than [`MAX_INSNS`] instructions. Nothing else judges a profile but its form.
pub fn compile(profile: &LinuxSeccomp, support: &Support) -> Result<Program, Vec<Error>> {
    compile_on(arch::native(), profile, support)
}

/// What is wrong, and what was passed over.
#[derive(Default)]
struct Report {
    errors: Vec<Error>,
    warnings: Vec<String>,
}

impl Report {
    fn bad(&mut self, path: impl Into<Cow<'static, str>>, what: impl Into<Cow<'static, str>>) {
        self.errors.push(Error::new(Kind::Config, what).context(path));
    }

    fn unsupported(&mut self, path: impl Into<Cow<'static, str>>, what: impl Into<Cow<'static, str>>) {
        self.errors.push(Error::new(Kind::Unsupported, what).context(path));
    }
}

fn compile_on(
    native: &'static ArchInfo,
    profile: &LinuxSeccomp,
    support: &Support,
) -> Result<Program, Vec<Error>> {
    let mut report = Report::default();
    if profile.default_action() == Action::ScmpActNotify {
        // Also the calls with which the runtime hands over the descriptor would wait for its receiver.
        report.bad("linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action");
    }
    let default = verdict(None, profile.default_action(), profile.default_errno_ret(), support, &mut report);
    let mut leaves = Leaves::new(default);
    let mut named = Vec::with_capacity(512);
    let mut entries = Vec::with_capacity(syscalls(profile).len());
    for (index, rule) in syscalls(profile).iter().enumerate() {
        let start = named.len();
        resolve(index, rule, &mut named, &mut report);
        let verdict = verdict(Some(index), rule.action(), rule.errno_ret(), support, &mut report);
        let alternatives = alternatives(index, rule, &mut report);
        if verdict != default {
            let names = named.get(start..).unwrap_or_default().to_vec();
            entries.push(Entry { leaf: leaves.verdict(verdict), names, alternatives });
        }
    }
    let notify = notify(profile, &mut report);
    let flags = flags(profile, support, notify.is_some(), &mut report);

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
    let filter = assemble(&sections, &leaves, &mut report);
    match report.errors.is_empty() {
        true => Ok(Program { filter, flags, notify, warnings: report.warnings }),
        false => Err(report.errors),
    }
}

/// The instructions, at most [`MAX_INSNS`].
fn assemble(sections: &[Section], leaves: &Leaves, report: &mut Report) -> Vec<Insn> {
    let at = "linux.seccomp.syscalls";
    if leaves.verdicts.len() > MAX_INSNS || leaves.blocks.len() > MAX_INSNS {
        report.unsupported(at, format!("too many different rules for a filter of {MAX_INSNS} instructions"));
        return Vec::new();
    }
    let quick = layout::assemble(sections, leaves, Shape::Quick);
    let fits = quick.as_ref().is_none_or(|filter| filter.len() <= MAX_INSNS);
    let filter = if fits { quick } else { layout::assemble(sections, leaves, Shape::Small) };
    match &filter {
        None => report.unsupported(at, "the encoding of a condition failed"),
        Some(filter) if filter.len() > MAX_INSNS => {
            let count = filter.len();
            let what = format!("the filter needs {count} instructions, the kernel takes at most {MAX_INSNS}");
            report.unsupported(at, what);
        }
        Some(_) => {}
    }
    filter.unwrap_or_default()
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
    report: &mut Report,
) -> u32 {
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
        report.unsupported(action_path(), format!("{action} is not supported by this kernel"));
    }
    match errno {
        // The specification asks for an error here, but every peer ignores it, and turning the default of a copied
        // profile into SCMP_ACT_LOG while its defaultErrnoRet stays is how people debug profiles.
        Some(_) if limit == 0 => {
            report.warnings.push(format!("{}: {action} takes no errno, ignored", errno_path()));
        }
        Some(errno) if errno > limit => report.bad(errno_path(), format!("{errno} is larger than {limit}")),
        _ => {}
    }
    action.as_u32(Some(errno.unwrap_or(libc::EPERM as u32)))
}

/// Looks the names of a rule up; unknown ones are passed over, as a profile may be newer than this program.
fn resolve(index: usize, rule: &LinuxSyscall, named: &mut Vec<Name>, report: &mut Report) {
    let at = format!("linux.seccomp.syscalls[{index}].names");
    if rule.names().is_empty() {
        report.bad(at.clone(), "must contain at least one entry");
    }
    for (i, name) in rule.names().iter().enumerate() {
        match table::find(name) {
            // The runtime itself hands the descriptor over after the filter is in force; runc forbids the same.
            _ if name == "write" && rule.action() == Action::ScmpActNotify => {
                report.bad(format!("{at}[{i}]"), "SCMP_ACT_NOTIFY cannot be used for the write syscall");
            }
            Some(found) => named.push(found),
            None if name.is_empty() => report.bad(format!("{at}[{i}]"), "must not be empty"),
            None => report.warnings.push(format!("{at}[{i}]: unknown system call {name}, ignored")),
        }
    }
}

/// The conjunctions of a rule. If an argument occurs twice, each condition stands alone, which is what runc has
/// always made of it (the specification says nothing).
fn alternatives(index: usize, rule: &LinuxSyscall, report: &mut Report) -> Vec<Vec<Cond>> {
    let args = rule.args().as_deref().unwrap_or_default();
    let mut conds = Vec::with_capacity(args.len());
    for (i, arg) in args.iter().enumerate() {
        if arg.index() > 5 {
            let at = format!("linux.seccomp.syscalls[{index}].args[{i}].index");
            report.bad(at, format!("{} is not between 0 and 5", arg.index()));
            continue;
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
        return conds.into_iter().map(|cond| vec![cond]).collect();
    }
    vec![conds]
}

fn notify(profile: &LinuxSeccomp, report: &mut Report) -> Option<Notify> {
    let at = "linux.seccomp.listenerPath";
    let path = profile.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = profile.listener_metadata().as_deref().unwrap_or_default();
    if path.is_none() && !metadata.is_empty() {
        report.bad("linux.seccomp.listenerMetadata", "must not be set without listenerPath");
    }
    // A path that nothing is sent to may be anything, as with runc.
    let rule = syscalls(profile).iter().position(|rule| rule.action() == Action::ScmpActNotify)?;
    match path {
        None => report.bad(at, format!("must be specified: syscalls[{rule}] has the action SCMP_ACT_NOTIFY")),
        Some(path) if !path.is_absolute() => {
            report.bad(at, format!("must be an absolute path, not {path:?}"));
        }
        Some(path) if path.as_os_str().as_encoded_bytes().contains(&0) => {
            report.bad(at, "contains a nul byte (\\x00)");
        }
        Some(_) => {}
    }
    Some(Notify { listener_path: path.cloned().unwrap_or_default(), listener_metadata: metadata.to_owned() })
}

fn flag_bit(flag: Flag) -> u32 {
    match flag {
        Flag::SeccompFilterFlagTsync => flag::TSYNC,
        Flag::SeccompFilterFlagLog => flag::LOG,
        Flag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
        Flag::SeccompFilterFlagWaitKillableRecv => flag::WAIT_KILLABLE_RECV,
    }
}

fn flags(profile: &LinuxSeccomp, support: &Support, notify: bool, report: &mut Report) -> u32 {
    let mut bits = 0;
    match profile.flags() {
        // As runc and crun: without the flag every filter would turn the costly mitigation on.
        None => bits |= support.flags & flag::SPEC_ALLOW,
        Some(flags) => {
            for (i, flag) in flags.iter().enumerate() {
                let bit = flag_bit(*flag);
                if support.flags & bit == 0 {
                    let what = format!("{flag} is not supported by this kernel");
                    report.unsupported(format!("linux.seccomp.flags[{i}]"), what);
                }
                if bit == flag::WAIT_KILLABLE_RECV && !notify {
                    // The kernel refuses it without a listener.
                    report.warnings.push(format!(
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
    bits
}
