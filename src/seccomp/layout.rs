//! From ranges of numbers to a program: one dispatch by architecture, a binary tree of comparisons, shared leaves.
//!
//! The program is written from its end to its start, so that the place of every jump target is known when the jump
//! is written. Nothing but a load falls through: a jump names both of its targets.
//!
//! Only `ld`, `and`, `jmp` and `ret` with constants are used before a verdict that needs no argument: from Linux
//! 5.11 on the kernel emulates just these, and calls that are always allowed then never run the filter.

use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use oci_spec::runtime::LinuxSeccompOperator as Op;

use super::Insn;
use super::arch::{ArchInfo, X32_BIT};
use super::rules::{Block, Cond, Leaf, Leaves, Range};

const LD_W_ABS: u16 = 0x20;
const JA: u16 = 0x05;
const JEQ_K: u16 = 0x15;
const JGE_K: u16 = 0x35;
const RET_K: u16 = 0x06;
/// The instruction class `jmp`.
const JMP: u16 = 0x05;
const CLASS: u16 = 0x07;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;

/// The most values that are taken out of a range one by one rather than by splitting it.
const MAX_EXCEPTIONS: usize = 2;

/// SECCOMP_RET_KILL_THREAD: the verdict of libseccomp for architectures that the profile does not name.
pub(super) const BAD_ARCH: u32 = 0;

/// An instruction already written, counted from the end of the program: the last one is 1.
type Label = usize;

/// Where a jump goes.
#[derive(Clone, Copy)]
enum Target {
    At(Label),
    Leaf(Leaf),
}

/// The program, last instruction first.
struct Assembler<'a> {
    code: Vec<Insn>,
    leaves: &'a Leaves,
    /// The copy or trampoline of each verdict and block that was written last, and so is nearest.
    verdicts: Vec<Option<Label>>,
    blocks: Vec<Option<Label>>,
}

impl<'a> Assembler<'a> {
    fn new(leaves: &'a Leaves) -> Assembler<'a> {
        let (verdicts, blocks) = (vec![None; leaves.verdicts.len()], vec![None; leaves.blocks.len()]);
        Assembler { code: Vec::with_capacity(512), leaves, verdicts, blocks }
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.code.push(Insn { code, jt, jf, k });
        self.code.len()
    }

    /// How far a jump written now would have to skip, if that fits a conditional jump.
    fn reach(&self, label: Label) -> Option<u8> {
        u8::try_from(self.code.len() - label).ok()
    }

    fn known(&self, target: Target) -> Option<Label> {
        let slot = |slots: &[Option<Label>], index| slots.get(index).copied().flatten();
        match target {
            Target::At(label) => Some(label),
            Target::Leaf(leaf) => match (leaf.verdict(), leaf.block()) {
                (Some(index), _) => slot(&self.verdicts, index),
                (None, Some(index)) => slot(&self.blocks, index),
                (None, None) => None,
            },
        }
    }

    /// Writes what brings a target within reach: a copy of the `ret`, or a long jump.
    fn approach(&mut self, target: Target) -> Target {
        if let Target::Leaf(leaf) = target
            && let Some(index) = leaf.verdict()
        {
            let verdict = self.leaves.verdicts.get(index).copied().unwrap_or(BAD_ARCH);
            let label = self.push(RET_K, 0, 0, verdict);
            if let Some(slot) = self.verdicts.get_mut(index) {
                *slot = Some(label);
            }
            return target;
        }
        // A block is always written before the first jump to it.
        let far = self.known(target).unwrap_or_default();
        let label = self.push(JA, 0, 0, (self.code.len() - far) as u32);
        if let Target::Leaf(leaf) = target
            && let Some(slot) = leaf.block().and_then(|index| self.blocks.get_mut(index))
        {
            *slot = Some(label);
        }
        Target::At(label)
    }

    fn offset(&self, target: Target) -> Option<u8> {
        self.known(target).and_then(|label| self.reach(label))
    }

    /// A conditional jump; `yes` and `no` may be anywhere.
    fn branch(&mut self, code: u16, k: u32, mut yes: Target, mut no: Target) -> Label {
        loop {
            match (self.offset(yes), self.offset(no)) {
                (Some(jt), Some(jf)) => return self.push(code, jt, jf, k),
                (None, _) => yes = self.approach(yes),
                (_, None) => no = self.approach(no),
            }
        }
    }

    /// `ld` of a field, which falls through to what was written last; that must be `next`.
    fn load(&mut self, offset: u32) -> Label {
        self.push(LD_W_ABS, 0, 0, offset)
    }

    fn condition(&mut self, cond: &Cond, block: &Block, yes: Target, no: Target) -> Option<Label> {
        let encoded = encode(cond, block)?;
        let end = encoded.len();
        let mut labels = vec![0; end];
        for (at, insn) in encoded.iter().enumerate().rev() {
            let target = |skip: u8| match at + 1 + usize::from(skip) {
                to if to == end => yes,
                to if to > end => no,
                to => Target::At(labels[to]),
            };
            labels[at] = if insn.code & CLASS == JMP {
                self.branch(insn.code, insn.k, target(insn.jt), target(insn.jf))
            } else {
                self.push(insn.code, insn.jt, insn.jf, insn.k)
            };
        }
        labels.first().copied()
    }

    fn block(&mut self, index: usize, block: &Block) -> Option<()> {
        let mut next = Target::Leaf(Leaf::DEFAULT);
        for (conds, leaf) in block.rules.iter().rev() {
            let mut yes = Target::Leaf(*leaf);
            for cond in conds.iter().rev() {
                yes = Target::At(self.condition(cond, block, yes, next)?);
            }
            next = yes;
        }
        let label = match next {
            Target::At(label) => label,
            leaf => match self.approach(leaf) {
                Target::At(label) => label,
                leaf => self.known(leaf)?,
            },
        };
        *self.blocks.get_mut(index)? = Some(label);
        Some(())
    }

    fn tree(&mut self, units: &[Unit]) -> Target {
        match units {
            [] => Target::Leaf(Leaf::DEFAULT),
            [unit] => {
                let mut rest = Target::Leaf(unit.leaf);
                for (number, leaf) in unit.exceptions() {
                    rest = Target::At(self.branch(JEQ_K, *number, Target::Leaf(*leaf), rest));
                }
                rest
            }
            _ => {
                let (low, high) = units.split_at(units.len() / 2);
                let from = high.first().map_or(0, |unit| unit.start);
                let yes = self.tree(high);
                let no = self.tree(low);
                Target::At(self.branch(JGE_K, from, yes, no))
            }
        }
    }

    /// A label for a target, so that straight-line code can go there.
    fn place(&mut self, target: Target) -> Label {
        match target {
            Target::At(label) if label == self.code.len() => label,
            // What falls through must stand right behind.
            Target::At(label) => {
                let skip = (self.code.len() - label) as u32;
                self.push(JA, 0, 0, skip)
            }
            leaf => match self.approach(leaf) {
                Target::At(label) => label,
                _ => self.code.len(),
            },
        }
    }
}

/// A run of numbers of one leaf, but for a few.
struct Unit {
    start: u32,
    leaf: Leaf,
    except: [(u32, Leaf); MAX_EXCEPTIONS],
    count: usize,
}

impl Unit {
    fn exceptions(&self) -> &[(u32, Leaf)] {
        self.except.get(..self.count).unwrap_or_default()
    }
}

/// Joins ranges that differ by single numbers: `A x A` costs one comparison, not two.
fn units(ranges: &[Range]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::with_capacity(ranges.len());
    let mut rest = ranges;
    while let [(start, leaf), tail @ ..] = rest {
        let mut unit =
            Unit { start: *start, leaf: *leaf, except: [(0, Leaf::DEFAULT); MAX_EXCEPTIONS], count: 0 };
        rest = tail;
        while unit.count < MAX_EXCEPTIONS
            && let [(single, other), (next, again), tail @ ..] = rest
            && *next == *single + 1
            && *again == unit.leaf
        {
            unit.except[unit.count] = (*single, *other);
            unit.count += 1;
            rest = tail;
        }
        units.push(unit);
    }
    units
}

/// One condition as seccompiler writes it: its end is "holds", one past its end is "does not hold".
///
/// The crate encodes whole rules only. A rule of one condition is two jumps that link rules, which the tree replaces,
/// and then the condition. `None` if that is not so, which a test of this crate's version would notice.
fn encode(cond: &Cond, block: &Block) -> Option<BpfProgram> {
    let operator = match cond.op {
        Op::ScmpCmpNe => SeccompCmpOp::Ne,
        Op::ScmpCmpLt => SeccompCmpOp::Lt,
        Op::ScmpCmpLe => SeccompCmpOp::Le,
        Op::ScmpCmpEq => SeccompCmpOp::Eq,
        Op::ScmpCmpGe => SeccompCmpOp::Ge,
        Op::ScmpCmpGt => SeccompCmpOp::Gt,
        Op::ScmpCmpMaskedEq => SeccompCmpOp::MaskedEq(cond.mask),
    };
    let len = if block.wide { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    let condition = SeccompCondition::new(cond.arg, len, operator, cond.value).ok()?;
    let mut program = BpfProgram::from(SeccompRule::new(vec![condition]).ok()?);
    if program.len() < 4 || program.drain(..2).any(|insn| insn.code != JA) {
        return None;
    }
    if block.big_endian != cfg!(target_endian = "big") {
        // The words of an argument of an architecture of the other byte order stand the other way round.
        for insn in program.iter_mut().filter(|insn| insn.code == LD_W_ABS) {
            insn.k ^= 4;
        }
    }
    Some(program)
}

/// The ranges of all that share one audit token.
pub(super) struct Section {
    pub token: u32,
    pub ranges: Vec<Range>,
    /// On x86_64 with x32: the ranges of x32, split off first so that the native ones stay near.
    pub x32: Option<Vec<Range>>,
}

impl Section {
    /// The section of one architecture, and of x32 if the profile has both.
    pub fn new(
        arch: &ArchInfo,
        mut ranges: Vec<Range>,
        x32: Option<Vec<Range>>,
        leaves: &mut Leaves,
    ) -> Section {
        let bad = leaves.verdict(BAD_ARCH);
        if arch.is_x86_64() && x32.is_none() {
            ranges.push((X32_BIT, bad));
            // Since Linux 4.8 the filter runs again after a tracer, which writes -1 to skip the call.
            ranges.push((u32::MAX, Leaf::DEFAULT));
        }
        if arch.is_x32() {
            ranges.insert(0, (0, bad));
        }
        Section { token: arch.token, ranges, x32 }
    }
}

/// The whole program; the first section is the one whose calls reach their verdict soonest.
/// `None` if seccompiler's encoding is not what [`encode`] expects.
pub(super) fn assemble(sections: &[Section], leaves: &Leaves) -> Option<Vec<Insn>> {
    let mut asm = Assembler::new(leaves);
    for (index, block) in leaves.blocks.iter().enumerate() {
        asm.block(index, block)?;
    }
    let mut entries = Vec::with_capacity(sections.len());
    for section in sections.iter().rev() {
        let x32 = section.x32.as_ref().map(|ranges| asm.tree(&units(ranges)));
        let mut top = asm.tree(&units(&section.ranges));
        if let Some(x32) = x32 {
            top = Target::At(asm.branch(JGE_K, X32_BIT, x32, top));
        }
        asm.place(top);
        entries.push((section.token, asm.load(NR)));
    }
    asm.push(RET_K, 0, 0, BAD_ARCH);
    let mut next = Target::At(asm.code.len());
    for (token, entry) in entries {
        next = Target::At(asm.branch(JEQ_K, token, Target::At(entry), next));
    }
    asm.place(next);
    asm.load(ARCH);
    asm.code.reverse();
    Some(asm.code)
}
