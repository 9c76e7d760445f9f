//! From the rules of a profile to one leaf for every system call number of one architecture.
//!
//! The meaning is libseccomp's, because profiles are written and tested against it:
//! - a rule without conditions beats every rule with conditions, and the first such rule beats later ones;
//! - the rules of one call are alternatives, the conditions of one rule must all hold;
//! - a masked comparison whose mask is empty is no condition;
//! - where alternatives of different actions overlap, the more specific comparison is asked first;
//! - on architectures that multiplex, a socket or IPC call is also that call of `socketcall` or `ipc`, and the
//!   number of the call takes the place of a condition on argument 0.

use std::cmp::{Ordering, Reverse};

use oci_spec::runtime::LinuxSeccompOperator as Op;

use super::arch::ArchInfo;
use super::table::{self, Multiplexed, Name};

/// One comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cond {
    pub arg: u8,
    pub op: Op,
    pub value: u64,
    /// Only for `SCMP_CMP_MASKED_EQ`; all ones otherwise.
    pub mask: u64,
}

/// One entry of `linux.seccomp.syscalls` whose action is not the default one.
#[derive(Debug)]
pub(super) struct Entry {
    pub leaf: Leaf,
    pub names: Vec<Name>,
    /// Each a conjunction sorted by argument; one empty conjunction when the entry has no conditions.
    pub alternatives: Vec<Vec<Cond>>,
}

/// What a number leads to: a verdict, or a block of conditions. Small, so that comparing ranges is cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf(u16);

impl Leaf {
    /// The verdict of calls that no rule names.
    pub const DEFAULT: Leaf = Leaf(0);
    const BLOCK: u16 = 0x8000;
    /// While a table is built: an index into the lists of that table, not yet a shared block.
    const LIST: u16 = 0xc000;

    /// The index of the block, if it is one.
    pub fn block(self) -> Option<usize> {
        (self.0 & Leaf::BLOCK != 0).then_some(usize::from(self.0 & !Leaf::LIST))
    }

    /// The index of the verdict, if it is one.
    pub fn verdict(self) -> Option<usize> {
        (self.0 & Leaf::BLOCK == 0).then_some(usize::from(self.0))
    }

    fn list(self) -> Option<usize> {
        (self.0 & Leaf::LIST == Leaf::LIST).then_some(usize::from(self.0 & !Leaf::LIST))
    }
}

/// What must all hold, and where it then leads.
pub(super) type Rule = (Vec<Cond>, Leaf);

/// Conditional rules of one call, asked in this order; if none holds the default verdict stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub wide: bool,
    pub big_endian: bool,
    pub rules: Vec<Rule>,
}

/// Every verdict and condition block of the program; equal ones are one.
#[derive(Debug)]
pub(super) struct Leaves {
    /// SECCOMP_RET_* with its data; the first is the default.
    pub verdicts: Vec<u32>,
    pub blocks: Vec<Block>,
}

impl Leaves {
    pub fn new(default: u32) -> Leaves {
        Leaves { verdicts: vec![default], blocks: Vec::new() }
    }

    /// The leaf of a verdict.
    pub fn verdict(&mut self, verdict: u32) -> Leaf {
        let index = self.verdicts.iter().position(|v| *v == verdict).unwrap_or_else(|| {
            self.verdicts.push(verdict);
            self.verdicts.len() - 1
        });
        Leaf(index as u16)
    }

    fn block(&mut self, block: Block) -> Leaf {
        let index = self.blocks.iter().position(|b| *b == block).unwrap_or_else(|| {
            self.blocks.push(block);
            self.blocks.len() - 1
        });
        Leaf(Leaf::BLOCK | index as u16)
    }
}

/// From this number on, up to the next range's, a call leads to this leaf.
pub(super) type Range = (u32, Leaf);

/// The numbers of ARM's private calls start here.
const PRIVATE: u32 = 0xf_0000;
const PRIVATE_CELLS: usize = 16;
const CELLS: usize = 1024 - PRIVATE_CELLS;
/// The calls of x32 that differ from those of x86_64; no call was added to them since Linux 4.6.
const X32_OWN: std::ops::Range<usize> = 512..548;

/// The leaf of every number of one architecture.
struct Table<'a> {
    arch: &'a ArchInfo,
    cells: [Leaf; CELLS + PRIVATE_CELLS],
    lists: Vec<Vec<Rule>>,
}

impl Table<'_> {
    /// The cells that stand apart from the numbers which grow with every kernel.
    fn apart(&self) -> std::ops::Range<usize> {
        if self.arch.is_x32() { X32_OWN } else { CELLS..CELLS + PRIVATE_CELLS }
    }

    /// The number of a cell.
    fn number(&self, cell: usize) -> u32 {
        let private = cell.checked_sub(CELLS).map(|private| PRIVATE + private as u32);
        private.unwrap_or(self.arch.base + cell as u32)
    }

    fn cell(&mut self, number: u32) -> Option<&mut Leaf> {
        let index = match number.checked_sub(PRIVATE) {
            Some(private) => CELLS + private as usize,
            None => number as usize,
        };
        self.cells.get_mut(index)
    }

    fn add(&mut self, number: u32, conds: Vec<Cond>, leaf: Leaf) {
        let fresh = Leaf(Leaf::LIST | self.lists.len() as u16);
        let Some(cell) = self.cell(number) else { return };
        if let Some(list) = cell.list() {
            if conds.is_empty() {
                *cell = leaf;
            } else if let Some(list) = self.lists.get_mut(list)
                && !list.iter().any(|(other, _)| *other == conds)
            {
                list.push((conds, leaf));
            }
        } else if *cell == Leaf::DEFAULT {
            if conds.is_empty() {
                *cell = leaf;
            } else {
                *cell = fresh;
                self.lists.push(vec![(conds, leaf)]);
            }
        }
    }

    fn add_call(&mut self, name: Name, conds: &[Cond], leaf: Leaf) {
        if let Some((call, number)) = multiplexer(self.arch, name) {
            let first = Cond { arg: 0, op: Op::ScmpCmpEq, value: call.into(), mask: u64::MAX };
            let rest = conds.iter().filter(|cond| cond.arg != 0).copied();
            self.add(number, std::iter::once(first).chain(rest).collect(), leaf);
        }
        if let Some(number) = table::number(self.arch.column, name) {
            self.add(number, conds.to_vec(), leaf);
        }
    }
}

/// Which call of which multiplexer a name is; the number is without the base.
fn multiplexer(arch: &ArchInfo, name: Name) -> Option<(u8, u32)> {
    let (call, number) = match table::multiplexed(name) {
        Multiplexed::Socket(call) => (call, arch.socketcall?),
        Multiplexed::Ipc(call) => (call, arch.ipc?),
        Multiplexed::No => return None,
    };
    Some((call, number - arch.base))
}

/// Cuts the values to what the architecture compares and drops what always holds.
fn fit(arch: &ArchInfo, conds: &[Cond]) -> Vec<Cond> {
    let word = if arch.wide { u64::MAX } else { u64::from(u32::MAX) };
    let cut = |cond: &Cond| {
        let mask = cond.mask & word;
        Cond { mask, value: cond.value & mask, ..*cond }
    };
    conds.iter().map(cut).filter(|cond| cond.mask != 0).collect()
}

/// libseccomp's order of the comparisons of one call. It matters only where actions differ.
fn order(a: &[Cond], b: &[Cond]) -> Ordering {
    let key = |cond: &Cond| {
        let (class, value) = match cond.op {
            Op::ScmpCmpEq | Op::ScmpCmpNe | Op::ScmpCmpMaskedEq => (0, !cond.value),
            Op::ScmpCmpLt | Op::ScmpCmpLe => (1, cond.value),
            Op::ScmpCmpGe | Op::ScmpCmpGt => (2, !cond.value),
        };
        (Reverse(cond.arg), class, value)
    };
    a.iter().map(key).cmp(b.iter().map(key))
}

/// The ranges of one architecture, from its first number (`arch.base`, else 0) to its last possible one.
///
/// `named` are all names of the profile, also those whose action is the default: what is newer than the newest of
/// them gets `newer` (ENOSYS), because the author of the profile cannot have had an opinion on it.
pub(super) fn ranges(
    arch: &ArchInfo,
    entries: &[Entry],
    named: &[Name],
    newer: Option<Leaf>,
    leaves: &mut Leaves,
) -> Vec<Range> {
    let mut table = Table { arch, cells: [Leaf::DEFAULT; CELLS + PRIVATE_CELLS], lists: Vec::new() };
    for entry in entries {
        for conds in &entry.alternatives {
            let conds = fit(arch, conds);
            for name in &entry.names {
                table.add_call(*name, &conds, entry.leaf);
            }
        }
    }
    let lists = std::mem::take(&mut table.lists).into_iter();
    let blocks: Vec<Leaf> = lists
        .map(|mut rules| {
            // Of one action, they are alternatives in any order; the same one brings equal questions together.
            rules.sort_by(|(a, _), (b, _)| order(a, b));
            leaves.block(Block { wide: arch.wide, big_endian: arch.big_endian, rules })
        })
        .collect();

    let apart = table.apart();
    let (mut newest, mut named_apart) = (None, false);
    for name in named {
        let through = multiplexer(arch, *name).map(|(_, number)| number);
        for number in table::number(arch.column, *name).into_iter().chain(through) {
            if (number as usize) < apart.start {
                newest = newest.max(Some(number));
            } else {
                named_apart = true;
            }
        }
    }
    let newer = newest.and(newer);
    if let Some(newer) = newer.filter(|_| arch.is_s390()) {
        // The kernel could not tell the number of this call, which is how an unknown one looks here.
        table.cells[0] = newer;
    }
    let newer = newer.unwrap_or(Leaf::DEFAULT);

    let mut ranges: Vec<Range> = Vec::with_capacity(128);
    let mut push = |start: u32, leaf: Leaf| {
        let leaf = leaf.list().and_then(|list| blocks.get(list).copied()).unwrap_or(leaf);
        if ranges.last().is_none_or(|(_, last)| *last != leaf) {
            ranges.push((start, leaf));
        }
    };
    if arch.base != 0 && !arch.is_x32() {
        push(0, Leaf::DEFAULT);
    }
    let old = newest.map_or(0, |number| number as usize + 1);
    for cell in 0..old {
        push(table.number(cell), table.cells[cell]);
    }
    push(table.number(old), newer);
    if named_apart {
        for cell in apart.clone() {
            push(table.number(cell), table.cells[cell]);
        }
        push(table.number(apart.end - 1) + 1, newer);
    }
    ranges
}
