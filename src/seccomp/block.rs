//! The conditions of one call as code: asked one after the other, and, where many ask one argument for one value each, as a
//! search for the value.

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxSeccompOperator as Op;
use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::layout::{Assembler, JA, JEQ_K, LD_W_ABS, Label, Shape, Target, units};
use super::rules::{Block, Cond, Leaf, Rule};

const AND_K: u16 = 0x54;
/// The instruction class `jmp`.
const JMP: u16 = 0x05;
const CLASS: u16 = 0x07;

/// Offset of the arguments in `struct seccomp_data`.
const ARGS: u32 = 16;

/// The most comparisons for equality in a row.
const MAX_IN_ROW: usize = 8;

/// What a comparison for equality compares: conditions of one key and different values exclude each other.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    arg: u8,
    mask: u64,
}

impl Key {
    fn of(cond: &Cond) -> Option<Key> {
        let equal = matches!(cond.op, Op::ScmpCmpEq | Op::ScmpCmpMaskedEq);
        equal.then_some(Key { arg: cond.arg, mask: cond.mask })
    }

    /// How many rules from the first on have a condition of this key.
    fn run(self, rules: &[Rule]) -> usize {
        rules.iter().take_while(|(conds, _)| conds.iter().any(|cond| Key::of(cond) == Some(self))).count()
    }

    /// The value that a rule asks for, and the rule without this question.
    fn take(self, (conds, leaf): &Rule) -> (u64, Rule) {
        let own = |cond: &&Cond| Key::of(cond) == Some(self);
        let value = conds.iter().find(own).map_or(0, |cond| cond.value);
        (value, (conds.iter().filter(|cond| !own(cond)).copied().collect(), *leaf))
    }
}

impl Assembler<'_> {
    pub(super) fn block(&mut self, index: usize, block: &Block) -> Option<()> {
        let label = match self.rules(&block.rules, block, Target::Leaf(Leaf::DEFAULT))? {
            Target::At(label) => label,
            leaf => match self.approach(leaf) {
                Target::At(label) => label,
                leaf => self.known(leaf)?,
            },
        };
        *self.blocks.get_mut(index)? = Some(label);
        Some(())
    }

    /// The first rule that holds decides, else `otherwise`. Written from the last to the first.
    fn rules(&mut self, rules: &[Rule], block: &Block, otherwise: Target) -> Option<Target> {
        let mut runs = Vec::new();
        let mut rest = rules;
        while let [(conds, _), ..] = rest {
            let keys = conds.iter().filter_map(Key::of);
            // The first of the longest.
            let longest = keys.map(|key| (key.run(rest), key)).reduce(|a, b| if b.0 > a.0 { b } else { a });
            let count = longest.map_or(1, |(count, _)| count);
            let (run, after) = rest.split_at(count);
            runs.push((longest.filter(|_| count > 1).map(|(_, key)| key), run));
            rest = after;
        }
        runs.into_iter().rev().try_fold(otherwise, |next, run| match run {
            (Some(key), run) => self.search(key, run, block, next),
            (None, run) => run.iter().try_fold(next, |next, rule| self.rule(rule, block, next)),
        })
    }

    fn rule(&mut self, (conds, leaf): &Rule, block: &Block, otherwise: Target) -> Option<Target> {
        let yes = Target::Leaf(*leaf);
        conds
            .iter()
            .rev()
            .try_fold(yes, |yes, cond| Some(Target::At(self.condition(cond, block, yes, otherwise)?)))
    }

    /// Rules that each ask for one value of one argument: by its high word, then by its low word.
    fn search(&mut self, key: Key, rules: &[Rule], block: &Block, otherwise: Target) -> Option<Target> {
        let mut by_value: BTreeMap<u64, Vec<Rule>> = BTreeMap::new();
        for (value, rest) in rules.iter().map(|rule| key.take(rule)) {
            by_value.entry(value).or_default().push(rest);
        }
        let mut seen: Vec<(Vec<Rule>, Target)> = Vec::new();
        let mut cases = Vec::with_capacity(by_value.len());
        for (value, rest) in by_value {
            let target = match seen.iter().find(|(other, _)| *other == rest) {
                Some((_, target)) => *target,
                None => self.rules(&rest, block, otherwise)?,
            };
            cases.push((value, target));
            if matches!(target, Target::At(_)) && seen.last().is_none_or(|(_, last)| *last != target) {
                seen.push((rest, target));
            }
        }
        let (high, low) = if block.big_endian { (0, 4) } else { (4, 0) };
        let at = |word: u32| ARGS + 8 * u32::from(key.arg) + word;
        let mut highs: Vec<(u32, Target)> = Vec::new();
        for same in cases.chunk_by(|(a, _), (b, _)| a >> 32 == b >> 32) {
            let lows: Vec<(u32, Target)> =
                same.iter().map(|(value, target)| (*value as u32, *target)).collect();
            let target = self.word(at(low), key.mask as u32, &lows, otherwise);
            highs.push((same.first().map_or(0, |(value, _)| (value >> 32) as u32), target));
        }
        let mask = if block.wide { (key.mask >> 32) as u32 } else { 0 };
        Some(self.word(at(high), mask, &highs, otherwise))
    }

    /// A search for the value of one word, in `cases` sorted by it.
    fn word(&mut self, offset: u32, mask: u32, cases: &[(u32, Target)], otherwise: Target) -> Target {
        if mask == 0 {
            return cases.first().map_or(otherwise, |(_, target)| *target);
        }
        let top = match self.shape {
            Shape::Quick => self.tree(&units(&ranges(cases, otherwise), MAX_IN_ROW)),
            Shape::Small => cases
                .iter()
                .fold(otherwise, |rest, (value, yes)| Target::At(self.branch(JEQ_K, *value, *yes, rest))),
        };
        self.place(top);
        if mask != u32::MAX {
            self.push(AND_K, 0, 0, mask);
        }
        Target::At(self.load(offset))
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
}

/// Single values as ranges of all values.
fn ranges(cases: &[(u32, Target)], otherwise: Target) -> Vec<(u32, Target)> {
    let mut ranges: Vec<(u32, Target)> = Vec::with_capacity(2 * cases.len() + 1);
    let mut push = |start: u32, target: Target| {
        if ranges.last().is_none_or(|(_, last)| *last != target) {
            ranges.push((start, target));
        }
    };
    let mut free = Some(0);
    for (value, target) in cases {
        if let Some(free) = free.filter(|free| free < value) {
            push(free, otherwise);
        }
        push(*value, *target);
        free = value.checked_add(1);
    }
    if let Some(free) = free {
        push(free, otherwise);
    }
    ranges
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
