//! The device policy as an eBPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE`.
//!
//! Every instruction is paid for twice, at load in the verifier and at each open of a device, so the
//! program is made small: rules of one verdict in a row commute, so they are sorted and share the tests of
//! type and major number.
//!
//! The rules are tried from the last to the first. `r2` holds the accesses nobody has decided about yet: an
//! allowing rule clears its own, and when none is left the answer is yes; a denying rule that finds one of
//! its own there ends with no.

use super::devices::{Access, DeviceKind, DeviceRule, Devices};
use crate::error::{Error, Kind, Result};

/// The kernel's `struct bpf_insn` operations in use.
mod op {
    /// dst = *(u32 *)(src + off)
    pub const LOAD: u8 = 0x61;
    /// dst = src, 32 bits
    pub const MOVE: u8 = 0xbc;
    /// dst = imm
    pub const SET: u8 = 0xb7;
    /// dst &= imm, 32 bits
    pub const AND: u8 = 0x54;
    /// dst >>= imm, 32 bits
    pub const SHIFT: u8 = 0x74;
    /// Always.
    pub const JUMP: u8 = 0x05;
    /// If dst == imm
    pub const JUMP_EQ: u8 = 0x15;
    /// If dst != imm
    pub const JUMP_NE: u8 = 0x55;
    /// If dst & imm
    pub const JUMP_SET: u8 = 0x45;
    pub const EXIT: u8 = 0x95;
}

const CONTEXT: u8 = 1;
const ACCESS: u8 = 2;
const TYPE: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Linux has 12 bits of major and 20 of minor; anything above can never match (and would be sign-extended).
const MAX_NUMBER: u32 = 1 << 20;

/// Compiles the policy; `None` when everything is allowed and nothing needs to be installed.
///
/// The words are `struct bpf_insn` in the byte order of this machine.
///
/// # Errors
/// Too many rules for the 16-bit jumps of eBPF (some thousands).
pub fn compile(devices: &Devices) -> Result<Option<Vec<u64>>> {
    // The first rules say nothing as long as they only repeat the default.
    let idle = devices.rules.iter().take_while(|rule| rule.allow == devices.allow).count();
    let rules: Vec<DeviceRule> =
        devices.rules[idle..].iter().rev().filter(|rule| possible(rule)).copied().collect();
    if devices.allow && rules.is_empty() {
        return Ok(None);
    }
    let mut asm = Assembler { words: Vec::with_capacity(64), verdicts: Vec::new() };
    asm.emit(op::LOAD, ACCESS, CONTEXT, 0, 0);
    asm.emit(op::LOAD, MAJOR, CONTEXT, 4, 0);
    asm.emit(op::LOAD, MINOR, CONTEXT, 8, 0);
    asm.emit(op::MOVE, TYPE, ACCESS, 0, 0);
    asm.emit(op::AND, TYPE, 0, 0, 0xffff);
    asm.emit(op::SHIFT, ACCESS, 0, 0, 16);
    let mut ended = false;
    for run in rules.chunk_by(|a, b| a.allow == b.allow) {
        ended = asm.run(&sorted(run));
        if ended {
            break;
        }
    }
    asm.finish(devices.allow, ended)
}

fn possible(rule: &DeviceRule) -> bool {
    rule.major.is_none_or(|n| n < MAX_NUMBER) && rule.minor.is_none_or(|n| n < MAX_NUMBER)
}

/// Rules of one verdict, merged where they are about the same devices, the widest of a group first.
fn sorted(run: &[DeviceRule]) -> Vec<DeviceRule> {
    let mut rules: Vec<DeviceRule> = Vec::with_capacity(run.len());
    for rule in run {
        let same = |other: &&mut DeviceRule| (other.major, other.minor) == (rule.major, rule.minor);
        let twin = rules.iter_mut().filter(same).find(|other| {
            other.kind == rule.kind
                || (other.access == rule.access
                    && other.kind != DeviceKind::Any
                    && rule.kind != DeviceKind::Any)
        });
        match twin {
            Some(twin) if twin.kind == rule.kind => twin.access.0 |= rule.access.0,
            Some(twin) => twin.kind = DeviceKind::Any,
            None => rules.push(*rule),
        }
    }
    rules.sort_by_key(|rule| (rule.kind, rule.major, rule.minor));
    rules
}

struct Assembler {
    words: Vec<u64>,
    /// Jumps to be aimed at the end: where, and at which verdict.
    verdicts: Vec<(usize, bool)>,
}

impl Assembler {
    fn emit(&mut self, code: u8, dst: u8, src: u8, offset: i16, value: i32) -> usize {
        let registers = if cfg!(target_endian = "big") { dst << 4 | src } else { src << 4 | dst };
        let (o, v) = (offset.to_ne_bytes(), value.to_ne_bytes());
        self.words.push(u64::from_ne_bytes([code, registers, o[0], o[1], v[0], v[1], v[2], v[3]]));
        self.words.len() - 1
    }

    /// Aims the jump at `from` at the next instruction to be emitted.
    fn land(&mut self, from: usize) {
        let distance = (self.words.len() - from - 1) as u16;
        let mut bytes = self.words[from].to_ne_bytes();
        bytes[2..4].copy_from_slice(&distance.to_ne_bytes());
        self.words[from] = u64::from_ne_bytes(bytes);
    }

    fn decide(&mut self, code: u8, dst: u8, value: i32, allow: bool) {
        let at = self.emit(code, dst, 0, 0, value);
        self.verdicts.push((at, allow));
    }

    /// Emits rules as [`sorted`] made them. True when nothing can come after them.
    fn run(&mut self, rules: &[DeviceRule]) -> bool {
        for group in rules.chunk_by(|a, b| a.kind == b.kind) {
            let kind = match group[0].kind {
                DeviceKind::Any => None,
                DeviceKind::Block => Some(1),
                DeviceKind::Char => Some(2),
            };
            let skip_kind = kind.map(|kind| self.emit(op::JUMP_NE, TYPE, 0, 0, kind));
            for devices in group.chunk_by(|a, b| a.major == b.major) {
                let skip_major = devices[0].major.map(|n| self.emit(op::JUMP_NE, MAJOR, 0, 0, n as i32));
                let closed = devices.iter().any(|rule| self.rule(rule));
                if closed && skip_major.is_none() {
                    // The rest of the group cannot be reached, and the verifier refuses such code.
                    match skip_kind {
                        None => return true,
                        Some(_) => break,
                    }
                }
                if let Some(at) = skip_major {
                    self.land(at);
                }
            }
            if let Some(at) = skip_kind {
                self.land(at);
            }
        }
        false
    }

    /// Emits one rule of a group whose type and major number have been tested. True when it always decides.
    fn rule(&mut self, rule: &DeviceRule) -> bool {
        let all = rule.access == Access::ALL;
        match (rule.minor, all) {
            (None, true) => {
                self.decide(op::JUMP, 0, 0, rule.allow);
                return true;
            }
            (Some(n), true) => self.decide(op::JUMP_EQ, MINOR, n as i32, rule.allow),
            (minor, false) => {
                let skip = minor.map(|n| self.emit(op::JUMP_NE, MINOR, 0, 0, n as i32));
                if rule.allow {
                    self.emit(op::AND, ACCESS, 0, 0, i32::from(!rule.access.0 & Access::ALL.0));
                    self.decide(op::JUMP_EQ, ACCESS, 0, true);
                } else {
                    self.decide(op::JUMP_SET, ACCESS, i32::from(rule.access.0), false);
                }
                if let Some(at) = skip {
                    self.land(at);
                }
            }
        }
        false
    }

    /// Puts the verdicts at the end, each only if something leads to it.
    fn finish(mut self, default: bool, ended: bool) -> Result<Option<Vec<u64>>> {
        for allow in [default, !default] {
            let jumps: Vec<usize> =
                self.verdicts.iter().filter(|(_, a)| *a == allow).map(|(at, _)| *at).collect();
            if jumps.is_empty() && (ended || allow != default) {
                continue;
            }
            for at in jumps {
                self.land(at);
            }
            self.emit(op::SET, 0, 0, 0, i32::from(allow));
            self.emit(op::EXIT, 0, 0, 0, 0);
        }
        if self.words.len() > i16::MAX as usize {
            return Err(Error::new(Kind::Config, "too many rules"));
        }
        Ok(Some(self.words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::devices::tests::devices;

    /// Runs a program as the kernel does; panics on anything else than the operations above.
    fn interpret(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0usize;
        loop {
            let bytes = program[at].to_ne_bytes();
            let (code, dst, src) = (bytes[0], usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
            let offset = i16::from_ne_bytes([bytes[2], bytes[3]]);
            let value = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let wide = i64::from(value) as u64;
            at += 1;
            let jump = match code {
                op::JUMP => true,
                op::JUMP_EQ => registers[dst] == wide,
                op::JUMP_NE => registers[dst] != wide,
                op::JUMP_SET => registers[dst] & wide != 0,
                op::EXIT => return registers[0] != 0,
                _ => {
                    registers[dst] = match code {
                        op::LOAD => {
                            assert_eq!(src, 1);
                            u64::from(context[offset as usize / 4])
                        }
                        op::MOVE => registers[src] & 0xffff_ffff,
                        op::SET => wide,
                        op::AND => registers[dst] & u64::from(value as u32),
                        op::SHIFT => (registers[dst] & 0xffff_ffff) >> value,
                        other => panic!("operation {other:#x}"),
                    };
                    false
                }
            };
            if jump {
                assert!(offset >= 0);
                at += offset as usize;
            }
        }
    }

    /// The verifier wants every instruction to be reachable and every path to end.
    fn verify(program: &[u64]) {
        let mut seen = vec![false; program.len()];
        let mut todo = vec![0usize];
        while let Some(at) = todo.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let bytes = program[at].to_ne_bytes();
            let target = at + 1 + i16::from_ne_bytes([bytes[2], bytes[3]]) as usize;
            match bytes[0] {
                op::EXIT => {}
                op::JUMP => todo.push(target),
                op::JUMP_EQ | op::JUMP_NE | op::JUMP_SET => todo.extend([at + 1, target]),
                _ => todo.push(at + 1),
            }
        }
        assert!(seen.iter().all(|s| *s), "unreachable code");
    }

    /// The policy by its definition.
    fn expected(devices: &Devices, kind: DeviceKind, access: u8, major: u32, minor: u32) -> bool {
        [1, 2, 4].iter().filter(|bit| access & **bit != 0).all(|bit| {
            let last = devices.rules.iter().rev().find(|rule| {
                (rule.kind == DeviceKind::Any || rule.kind == kind)
                    && rule.major.is_none_or(|n| n == major)
                    && rule.minor.is_none_or(|n| n == minor)
                    && rule.access.0 & bit != 0
            });
            last.map_or(devices.allow, |rule| rule.allow)
        })
    }

    fn check(devices: &Devices) {
        let Some(program) = compile(devices).unwrap() else {
            for access in 1..8 {
                assert!(expected(devices, DeviceKind::Char, access, 1, 3));
            }
            return;
        };
        verify(&program);
        for (kind, number) in [(DeviceKind::Block, 1), (DeviceKind::Char, 2)] {
            for access in 1..8u8 {
                for major in [0, 1, 2, 3, 5, 7, 8, 10, 136] {
                    for minor in [0, 1, 2, 3, 5, 8, 9, 200] {
                        assert_eq!(
                            interpret(&program, number, u32::from(access), major, minor),
                            expected(devices, kind, access, major, minor),
                            "{kind:?} {major}:{minor} {access} {devices:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_default_policy_is_small_and_right() {
        let devices = devices(r#"[{"allow":false,"access":"rwm"}]"#);
        check(&devices);
        let program = compile(&devices).unwrap().unwrap();
        assert!(program.len() <= 28, "{} instructions", program.len());
        // By hand, so that not all depends on the model above.
        assert!(interpret(&program, 2, 6, 1, 3));
        assert!(interpret(&program, 2, 6, 136, 77));
        assert!(!interpret(&program, 1, 2, 1, 3));
        assert!(!interpret(&program, 2, 2, 1, 1));
        assert!(interpret(&program, 1, 1, 8, 0));
        assert!(!interpret(&program, 1, 3, 8, 0));
    }

    #[test]
    fn allow_all_needs_no_program() {
        assert_eq!(compile(&devices(r#"[{"allow":true,"access":"rwm"}]"#)).unwrap(), None);
    }

    #[test]
    fn order_decides() {
        let open_then_closed = devices(
            r#"[{"allow":true,"type":"c","major":7,"access":"rwm"},
                {"allow":false,"type":"c","major":7,"minor":1,"access":"w"}]"#,
        );
        let program = compile(&open_then_closed).unwrap().unwrap();
        for (access, minor, verdict) in [(2, 1, true), (4, 1, false), (6, 1, false), (6, 2, true)] {
            assert_eq!(interpret(&program, 2, access, 7, minor), verdict);
        }
        check(&open_then_closed);
    }

    /// Thousands of random policies against the definition.
    #[test]
    fn random_policies() {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        for _ in 0..1000 {
            let number =
                |pick: u64| [None, Some(1), Some(5), Some(8), Some(2), Some(u32::MAX)][pick as usize];
            let rules = (0..random(9))
                .map(|_| DeviceRule {
                    allow: random(2) == 0,
                    kind: [DeviceKind::Any, DeviceKind::Char, DeviceKind::Block][random(3) as usize],
                    major: number(random(6)),
                    minor: number(random(6)),
                    access: [Access::ALL, Access(1 + random(7) as u8)][random(2) as usize],
                })
                .collect();
            check(&Devices { allow: random(2) == 0, rules });
        }
    }

    #[test]
    fn too_many_rules_are_refused() {
        let rule = |n| DeviceRule {
            allow: true,
            kind: DeviceKind::Char,
            major: Some(n % 4000),
            minor: Some(n),
            access: Access::READ,
        };
        assert!(compile(&Devices { allow: false, rules: (0..12_000).map(rule).collect() }).is_err());
    }
}
