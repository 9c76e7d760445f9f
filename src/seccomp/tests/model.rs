//! A second judge: the meaning of a profile computed plainly, call by call, from the profile itself.
//!
//! libseccomp 2.5 is wrong about several rules with inequalities for one call (it joins their 64-bit comparisons
//! into one tree that does not fall through), so only this can judge those.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg};

use super::bpf::Call;
use super::*;
use crate::seccomp::arch::ArchInfo;
use crate::seccomp::table::{self, Multiplexed};

fn holds(arg: &LinuxSeccompArg, arch: &ArchInfo, call: &Call) -> bool {
    let word = if arch.wide { u64::MAX } else { u64::from(u32::MAX) };
    let (given, value, two) =
        (call.args[arg.index()] & word, arg.value() & word, arg.value_two().unwrap_or(0) & word);
    match arg.op() {
        Cmp::ScmpCmpNe => given != value,
        Cmp::ScmpCmpLt => given < value,
        Cmp::ScmpCmpLe => given <= value,
        Cmp::ScmpCmpEq => given == value,
        Cmp::ScmpCmpGe => given >= value,
        Cmp::ScmpCmpGt => given > value,
        Cmp::ScmpCmpMaskedEq => given & value == two & value,
    }
}

/// Whether a condition is none at all.
fn empty(arg: &LinuxSeccompArg, arch: &ArchInfo) -> bool {
    let word = if arch.wide { u64::MAX } else { u64::from(u32::MAX) };
    arg.op() == Cmp::ScmpCmpMaskedEq && arg.value() & word == 0
}

/// How one rule reaches a number.
struct Reach<'a> {
    args: &'a [LinuxSeccompArg],
    action: u32,
    /// The call of `socketcall` or `ipc`, which takes the place of argument 0.
    through: Option<u8>,
}

/// A profile as one architecture sees it.
pub struct Model<'a> {
    arch: &'a ArchInfo,
    default: u32,
    reach: HashMap<u32, Vec<Reach<'a>>>,
}

impl<'a> Model<'a> {
    pub fn new(profile: &'a LinuxSeccomp, arch: &'a ArchInfo) -> Model<'a> {
        let default = profile.default_action().as_u32(Some(profile.default_errno_ret().unwrap_or(1)));
        let mut reach: HashMap<u32, Vec<Reach<'a>>> = HashMap::new();
        for rule in profile.syscalls().iter().flatten() {
            let action = rule.action().as_u32(Some(rule.errno_ret().unwrap_or(1)));
            for name in rule.names() {
                let name = table::find(name).unwrap();
                let mut add = |nr: Option<u32>, through| {
                    let args = rule.args().as_deref().unwrap_or_default();
                    reach.entry(nr.unwrap_or(u32::MAX)).or_default().push(Reach { args, action, through });
                };
                add(table::number(arch.column, name).map(|number| number + arch.base), None);
                match table::multiplexed(name) {
                    Multiplexed::Socket(number) => add(arch.socketcall, Some(number)),
                    Multiplexed::Ipc(number) => add(arch.ipc, Some(number)),
                    Multiplexed::No => {}
                }
            }
        }
        reach.remove(&u32::MAX);
        Model { arch, default, reach }
    }

    /// The verdict, if the conditional rules of one call all have one action, without the ENOSYS stub.
    pub fn verdict(&self, call: &Call) -> u32 {
        let arch = self.arch;
        let mut conditional = None;
        for Reach { args, action, through } in self.reach.get(&call.nr).into_iter().flatten() {
            if *action == self.default {
                continue;
            }
            let repeated = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
            if let Some(number) = through {
                let word = if arch.wide { u64::MAX } else { u64::from(u32::MAX) };
                if call.args[0] & word != u64::from(*number) {
                    continue;
                }
            } else if conjunctions_empty(args, repeated, arch) {
                return *action;
            }
            let ok = |arg: &LinuxSeccompArg| {
                empty(arg, arch) || through.is_some() && arg.index() == 0 || holds(arg, arch, call)
            };
            if if repeated { args.iter().any(ok) } else { args.iter().all(ok) } {
                conditional = Some(*action);
            }
        }
        conditional.unwrap_or(self.default)
    }
}

fn conjunctions_empty(args: &[LinuxSeccompArg], repeated: bool, arch: &ArchInfo) -> bool {
    if repeated { args.iter().any(|arg| empty(arg, arch)) } else { args.iter().all(|arg| empty(arg, arch)) }
}
