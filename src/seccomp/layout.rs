//! From ranges of numbers to a program: one dispatch by architecture, a binary tree of comparisons, shared leaves.
//!
//! The program is written from its end to its start, so that the place of every jump target is known when the jump
//! is written. Nothing but a load falls through: a jump names both of its targets.
//!
//! Only `ld`, `and`, `jmp` and `ret` with constants are used before a verdict that needs no argument: from Linux
//! 5.11 on the kernel emulates just these, and calls that are always allowed then never run the filter.

use std::collections::HashMap;

use super::Insn;
use super::arch::{ArchInfo, X32_BIT};
use super::rules::{Leaf, Leaves, Range};

pub(super) const LD_W_ABS: u16 = 0x20;
pub(super) const JA: u16 = 0x05;
pub(super) const JEQ_K: u16 = 0x15;
const JGE_K: u16 = 0x35;
const RET_K: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;

/// The most values that are taken out of a range one by one rather than by splitting it.
const MAX_EXCEPTIONS: usize = 2;

/// SECCOMP_RET_KILL_THREAD: the verdict of libseccomp for architectures that the profile does not name.
pub(super) const BAD_ARCH: u32 = 0;

/// An instruction already written, counted from the end of the program: the last one is 1.
pub(super) type Label = usize;

/// Where a jump goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    At(Label),
    Leaf(Leaf),
}

impl From<Leaf> for Target {
    fn from(leaf: Leaf) -> Target {
        Target::Leaf(leaf)
    }
}

/// How many comparisons for equality stand in a row before the values are split once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A tree: few comparisons for each call.
    Quick,
    /// A list: the fewest instructions.
    Small,
}

/// The program, last instruction first.
pub(super) struct Assembler<'a> {
    pub(super) code: Vec<Insn>,
    pub(super) shape: Shape,
    leaves: &'a Leaves,
    /// The copy or trampoline of each verdict and block that was written last, and so is nearest.
    verdicts: Vec<Option<Label>>,
    pub(super) blocks: Vec<Option<Label>>,
    /// The same of single instructions.
    others: HashMap<Label, Label>,
}

impl<'a> Assembler<'a> {
    fn new(leaves: &'a Leaves, shape: Shape) -> Assembler<'a> {
        let (verdicts, blocks) = (vec![None; leaves.verdicts.len()], vec![None; leaves.blocks.len()]);
        let others = HashMap::new();
        Assembler { code: Vec::with_capacity(512), shape, leaves, verdicts, blocks, others }
    }

    pub(super) fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.code.push(Insn { code, jt, jf, k });
        self.code.len()
    }

    /// How far a jump written now would have to skip, if that fits a conditional jump.
    fn reach(&self, label: Label) -> Option<u8> {
        u8::try_from(self.code.len() - label).ok()
    }

    pub(super) fn known(&self, target: Target) -> Option<Label> {
        let slot = |slots: &[Option<Label>], index| slots.get(index).copied().flatten();
        match target {
            Target::At(label) => Some(self.others.get(&label).copied().unwrap_or(label)),
            Target::Leaf(leaf) => match (leaf.verdict(), leaf.block()) {
                (Some(index), _) => slot(&self.verdicts, index),
                (None, Some(index)) => slot(&self.blocks, index),
                (None, None) => None,
            },
        }
    }

    /// Writes what brings a target within reach: a copy of the `ret`, or a long jump.
    pub(super) fn approach(&mut self, target: Target) -> Target {
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
        let far = match target {
            Target::At(label) => label,
            leaf => self.known(leaf).unwrap_or_default(),
        };
        let label = self.push(JA, 0, 0, (self.code.len() - far) as u32);
        match target {
            Target::At(far) => drop(self.others.insert(far, label)),
            Target::Leaf(leaf) => {
                if let Some(slot) = leaf.block().and_then(|index| self.blocks.get_mut(index)) {
                    *slot = Some(label);
                }
            }
        }
        Target::At(label)
    }

    fn offset(&self, target: Target) -> Option<u8> {
        self.known(target).and_then(|label| self.reach(label))
    }

    /// A conditional jump; `yes` and `no` may be anywhere.
    pub(super) fn branch(&mut self, code: u16, k: u32, mut yes: Target, mut no: Target) -> Label {
        loop {
            match (self.offset(yes), self.offset(no)) {
                (Some(jt), Some(jf)) => return self.push(code, jt, jf, k),
                (None, _) => yes = self.approach(yes),
                (_, None) => no = self.approach(no),
            }
        }
    }

    /// `ld` of a field, which falls through to what was written last; that must be `next`.
    pub(super) fn load(&mut self, offset: u32) -> Label {
        self.push(LD_W_ABS, 0, 0, offset)
    }

    pub(super) fn tree<T: Copy + Into<Target>>(&mut self, units: &[Unit<'_, T>]) -> Target {
        match units {
            [] => Target::Leaf(Leaf::DEFAULT),
            [unit] => {
                let mut rest = unit.leaf.into();
                for (number, leaf) in unit.exceptions() {
                    rest = Target::At(self.branch(JEQ_K, *number, (*leaf).into(), rest));
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
    pub(super) fn place(&mut self, target: Target) -> Label {
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
pub(super) struct Unit<'r, T> {
    start: u32,
    leaf: T,
    /// By turns a single number and the rest of the run.
    except: &'r [(u32, T)],
}

impl<T> Unit<'_, T> {
    fn exceptions(&self) -> impl Iterator<Item = &(u32, T)> {
        self.except.iter().step_by(2)
    }
}

/// Joins ranges that differ by single numbers, up to `most` of them: `A x A` costs one comparison, not two.
pub(super) fn units<T: Copy + PartialEq>(ranges: &[(u32, T)], most: usize) -> Vec<Unit<'_, T>> {
    let mut units: Vec<Unit<T>> = Vec::with_capacity(ranges.len());
    let mut rest = ranges;
    while let [(start, leaf), tail @ ..] = rest {
        let mut count = 0;
        while count < most
            && let [(single, _), (next, again), ..] = tail.get(2 * count..).unwrap_or_default()
            && *next == *single + 1
            && *again == *leaf
        {
            count += 1;
        }
        let (except, after) = tail.split_at(2 * count);
        units.push(Unit { start: *start, leaf: *leaf, except });
        rest = after;
    }
    units
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
/// `None` if seccompiler's encoding is not what [`super::block`] expects.
pub(super) fn assemble(sections: &[Section], leaves: &Leaves, shape: Shape) -> Option<Vec<Insn>> {
    let mut asm = Assembler::new(leaves, shape);
    for (index, block) in leaves.blocks.iter().enumerate() {
        asm.block(index, block)?;
    }
    let mut entries = Vec::with_capacity(sections.len());
    for section in sections.iter().rev() {
        let x32 = section.x32.as_ref().map(|ranges| asm.tree(&units(ranges, MAX_EXCEPTIONS)));
        let mut top = asm.tree(&units(&section.ranges, MAX_EXCEPTIONS));
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
