//! Tests of the compiler: verdicts of our programs in an interpreter, and against libseccomp's.

mod bpf;
mod kernel;
mod model;
mod oracle;
mod verdicts;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Act, LinuxSeccompArg, LinuxSeccompOperator as Cmp, LinuxSyscall,
};

/// splitmix64, so that a failure can be repeated.
#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// What Docker writes into config.json for its default capabilities on x86_64.
fn docker() -> LinuxSeccomp {
    serde_json::from_str(include_str!("../../../integration/data/docker-seccomp.json")).unwrap()
}

fn arg(index: usize, op: Cmp, value: u64, two: u64) -> LinuxSeccompArg {
    let json = serde_json::json!({"index": index, "op": op, "value": value, "valueTwo": two});
    serde_json::from_value(json).unwrap()
}

fn rule(names: &[&str], action: Act, errno: Option<u32>, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|name| (*name).to_owned()).collect());
    rule.set_action(action).set_errno_ret(errno).set_args((!args.is_empty()).then_some(args));
    rule
}

fn profile(default: Act, errno: Option<u32>, rules: Vec<LinuxSyscall>) -> LinuxSeccomp {
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(default).set_default_errno_ret(errno).set_syscalls(Some(rules));
    profile
}
