//! libseccomp as the judge: the same rules compiled by it, run in the same interpreter, must give the same verdicts.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use oci_spec::runtime::{Arch, LinuxSeccomp};

use super::bpf::{self, Call};
use super::model::Model;
use super::*;
use crate::seccomp::arch::{self, ArchInfo};
use crate::seccomp::{Insn, Support, compile_on, layout, table};

const SOURCE: &str = include_str!("oracle.c");

/// Compiles the oracle once per version of its source, beside the test binary.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let sum = SOURCE.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let path = folder.join(format!("seccomp-oracle-{sum:x}"));
        if !path.exists() {
            let fresh = folder.join(format!("seccomp-oracle-{sum:x}.{}", std::process::id()));
            let mut cc = Command::new("cc")
                .args(["-x", "c", "-", "-O1", "-Wall", "-lseccomp", "-o"])
                .arg(&fresh)
                .stdin(Stdio::piped())
                .spawn()
                .expect("cc is needed");
            cc.stdin.take().unwrap().write_all(SOURCE.as_bytes()).unwrap();
            assert!(cc.wait().unwrap().success(), "libseccomp-dev is needed to compile the oracle");
            std::fs::rename(fresh, &path).unwrap();
        }
        path
    })
}

fn ask(args: &[&str], input: &str) -> (Option<i32>, Vec<u8>) {
    let mut child =
        Command::new(program()).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), output.stdout)
}

/// The number of every name on every architecture that libseccomp has, as it says: negative where there is none.
fn numbers_of_libseccomp() -> Vec<(String, Vec<i64>)> {
    let tokens: Vec<String> = ORACLE_ARCHS.iter().map(|arch| format!("{:x}", *arch as u32)).collect();
    let mut args = vec!["numbers"];
    args.extend(tokens.iter().map(String::as_str));
    let (code, out) = ask(&args, &table::names().collect::<Vec<_>>().join("\n"));
    assert_eq!(code, Some(0));
    let line = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        (name, words.map(|word| word.parse().unwrap()).collect())
    };
    String::from_utf8(out).unwrap().lines().map(line).collect()
}

/// Our number, as libseccomp counts: with the base of the architecture.
fn number(name: &str, arch: &ArchInfo) -> Option<u32> {
    table::number(arch.column, table::find(name)?).map(|number| number + arch.base)
}

/// The names of which this libseccomp knows as much as we do; newer ones cannot be compared.
fn known() -> &'static BTreeSet<String> {
    static KNOWN: OnceLock<BTreeSet<String>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let agree = |name: &str, theirs: &[i64]| {
            // libseccomp 2.5 takes this one for switch_endian on its way from the native architecture.
            let shared = name == "sys_debug_setcontext";
            !shared
                && ORACLE_ARCHS.iter().zip(theirs).all(|(arch, theirs)| {
                    let arch = arch::info(*arch);
                    let multiplexed = arch.ipc.is_some()
                        && table::multiplexed(table::find(name).unwrap()) != table::Multiplexed::No;
                    multiplexed || number(name, arch).map_or(-1, i64::from) == (*theirs).max(-1)
                })
        };
        let names = numbers_of_libseccomp().into_iter().filter(|(name, theirs)| agree(name, theirs));
        names.map(|(name, _)| name).collect()
    })
}

#[test]
fn the_tables_are_libseccomps() {
    for (name, theirs) in numbers_of_libseccomp() {
        for (arch, theirs) in ORACLE_ARCHS.iter().zip(theirs) {
            let ours = number(&name, arch::info(*arch));
            assert!(
                theirs < 0 || Some(theirs as u32) == ours,
                "{name} {arch}: {ours:?}, libseccomp {theirs}"
            );
        }
    }
    assert!(known().len() > 450, "{}", known().len());
}

/// The rules in the oracle's words, after runc's treatment of repeated arguments; `None` if libseccomp refuses them.
fn libseccomp(profile: &LinuxSeccomp, native: Arch) -> Option<Vec<Insn>> {
    let default = profile.default_action().as_u32(Some(profile.default_errno_ret().unwrap_or(1)));
    let mut verdicts = BTreeSet::from([default]);
    let mut text = format!("default {default:x}\n");
    let mut archs = vec![native];
    archs.extend(profile.architectures().iter().flatten().copied());
    if native != Arch::ScmpArchX86_64 {
        // The first of the other byte order can be added only when the machine's own is gone.
        text += "only\n";
    }
    for arch in &archs {
        text += &format!("arch {:x}\n", *arch as u32);
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = rule.action().as_u32(Some(rule.errno_ret().unwrap_or(1)));
        verdicts.insert(action);
        let args = rule.args().clone().unwrap_or_default();
        let indices: BTreeSet<usize> = args.iter().map(|arg| arg.index()).collect();
        let parts: Vec<_> =
            if indices.len() < args.len() { args.chunks(1).collect() } else { vec![args.as_slice()] };
        for name in rule.names() {
            for part in &parts {
                text += &format!("rule {action:x} {name}");
                for arg in *part {
                    let two = arg.value_two().unwrap_or(0);
                    text += &format!(" {} {} {} {two}", arg.index(), arg.op() as u32, arg.value());
                }
                text += "\n";
            }
        }
    }
    let (code, out) = ask(&[], &text);
    if code == Some(3) {
        return None;
    }
    assert_eq!(code, Some(0), "{text}");
    let swap = arch::info(native).big_endian != cfg!(target_endian = "big");
    let insn = |bytes: &[u8]| {
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let k = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        // libseccomp writes for the byte order of the filter, but not all of its verdicts.
        let verdict = code.swap_bytes() == 0x06 && verdicts.contains(&k);
        let k = if swap && !verdict { k.swap_bytes() } else { k };
        let code = if swap { code.swap_bytes() } else { code };
        Insn { code, jt: bytes[2], jf: bytes[3], k }
    };
    Some(out.chunks_exact(8).map(insn).collect())
}

/// Every number worth asking for.
fn numbers() -> impl Iterator<Item = u32> {
    let bases = [0, 0x4000_0000, 4000, 5000, 6000, 0xf_0000];
    let edges = [u32::MAX, u32::MAX - 1, 0x7fff_ffff, 0x8000_0000, 0x3fff_ffff, 0xe_ffff, 0xc000_0000];
    bases.into_iter().flat_map(|base| base..base + 1025).chain(edges)
}

/// Values around everything that the profile compares with.
fn edges(profile: &LinuxSeccomp) -> Vec<u64> {
    let mut values = BTreeSet::from([0, 1, u64::MAX, 1 << 32, u64::from(u32::MAX)]);
    for arg in profile.syscalls().iter().flatten().flat_map(|rule| rule.args().iter().flatten()) {
        for value in [arg.value(), arg.value_two().unwrap_or(0), arg.value() | arg.value_two().unwrap_or(0)] {
            values.extend([
                value,
                value.wrapping_sub(1),
                value.wrapping_add(1),
                value ^ (1 << 32),
                value ^ (1 << 63),
            ]);
            values.insert(value & u64::from(u32::MAX));
        }
    }
    values.into_iter().collect()
}

/// Whether a number is newer than every one that the profile names: our filter then answers ENOSYS and libseccomp's
/// does not. The calls of x32 alone and ARM's private ones stand apart from the others.
fn newer(profile: &LinuxSeccomp, arch: &ArchInfo, nr: u32) -> bool {
    let apart = |nr: u32| match arch.column {
        table::Column::x32 => (512..548).contains(&(nr - arch.base)),
        table::Column::arm => nr & !0xf == 0xf_0000,
        _ => false,
    };
    let names = profile.syscalls().iter().flatten().flat_map(|rule| rule.names());
    let mut numbers: Vec<u32> = names.clone().filter_map(|name| number(name, arch)).collect();
    for name in names {
        match table::multiplexed(table::find(name).unwrap()) {
            table::Multiplexed::Socket(_) => numbers.extend(arch.socketcall),
            table::Multiplexed::Ipc(_) => numbers.extend(arch.ipc),
            table::Multiplexed::No => {}
        }
    }
    let newest = numbers.iter().filter(|nr| !apart(**nr)).max();
    newest.is_some_and(|newest| {
        let named = apart(nr) && numbers.iter().any(|nr| apart(*nr));
        nr > *newest && !named || nr == 0 && arch.is_s390()
    })
}

/// Compares ours with the model, and with libseccomp if that is asked for. Returns how many verdicts were compared,
/// `None` if libseccomp refused the rules.
fn compare(profile: &LinuxSeccomp, native: Arch, judged: bool, rng: &mut Rng) -> Option<usize> {
    let theirs = if judged { Some(libseccomp(profile, native)?) } else { None };
    let ours = compile_on(arch::info(native), profile, &Support::ALL).unwrap().filter;
    check_program(&ours);
    let permissive =
        matches!(profile.default_action(), Act::ScmpActAllow | Act::ScmpActLog | Act::ScmpActTrace);
    let mut archs: Vec<&ArchInfo> = vec![arch::info(native)];
    archs.extend(profile.architectures().iter().flatten().map(|arch| arch::info(*arch)));
    let models: HashMap<&ArchInfo, Model> =
        archs.iter().map(|arch| (*arch, Model::new(profile, arch))).collect();
    let edges = edges(profile);
    let conditional: BTreeSet<&str> = (profile.syscalls().iter().flatten())
        .filter(|rule| rule.args().is_some())
        .flat_map(|rule| rule.names().iter().map(String::as_str))
        .collect();
    let mut count = 0;
    let tokens: BTreeSet<u32> = archs.iter().map(|arch| arch.token).chain([0xdead_beef]).collect();
    for token in tokens {
        // Where the arguments matter: calls with conditions, directly or through a multiplexer.
        let mut busy = BTreeSet::new();
        for arch in archs.iter().filter(|arch| arch.token == token) {
            let direct = conditional.iter().filter_map(|n| table::number(arch.column, table::find(n)?));
            busy.extend(direct.map(|number| number + arch.base));
            busy.extend(arch.socketcall);
            busy.extend(arch.ipc);
        }
        let big_endian = archs.iter().any(|arch| arch.token == token && arch.big_endian);
        for nr in numbers() {
            let x32 = token == 0xc000_003e && nr & 0x4000_0000 != 0 && nr < 0x8000_0000;
            let arch = archs.iter().find(|arch| arch.token == token && arch.is_x32() == x32);
            let enosys = !permissive && arch.is_some_and(|arch| newer(profile, arch, nr));
            if enosys || token == 0xc000_003e && nr >= 0x8000_0000 {
                // Asserted by the tests of verdicts.
                continue;
            }
            let tries = if busy.contains(&nr) { 200 } else { 1 };
            for round in 0..tries {
                let mut args = [0; 6];
                if round > 0 {
                    for arg in &mut args {
                        *arg = if rng.below(4) == 0 {
                            rng.below(32) as u64
                        } else {
                            edges[rng.below(edges.len())]
                        };
                    }
                }
                let call = Call { nr, arch: token, args, big_endian };
                let a = bpf::run(&ours, &call).0;
                let b = theirs.as_ref().map_or(a, |theirs| bpf::run(theirs, &call).0);
                let c = match arch {
                    Some(arch) => models[arch].verdict(&call),
                    None => layout::BAD_ARCH,
                };
                if a != b || a != c {
                    panic!(
                        "{call:x?}: ours {a:#x}, libseccomp {b:#x}, model {c:#x}\n{}",
                        about(profile, nr, &archs, token)
                    );
                }
                count += 1;
            }
        }
    }
    Some(count)
}

/// The rules that a failure is about.
fn about(profile: &LinuxSeccomp, nr: u32, archs: &[&ArchInfo], token: u32) -> String {
    let names = |rule: &LinuxSyscall| {
        let here =
            |name: &str| archs.iter().any(|arch| arch.token == token && number(name, arch) == Some(nr));
        rule.names().iter().any(|name| here(name))
    };
    let rules: Vec<_> = profile.syscalls().iter().flatten().filter(|rule| names(rule)).collect();
    serde_json::to_string_pretty(&rules).unwrap()
}

/// What the kernel's checker asks of a program.
pub fn check_program(program: &[Insn]) {
    assert!(!program.is_empty() && program.len() <= 4096);
    for (at, insn) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match insn.code {
            0x05 => assert!((insn.k as usize) < left),
            0x15 | 0x25 | 0x35 | 0x45 => assert!(usize::from(insn.jt.max(insn.jf)) < left),
            0x06 => {}
            _ => assert!(left > 0),
        }
    }
}

#[test]
fn docker_profile_is_judged_the_same() {
    let mut profile = docker();
    let rules: Vec<_> = profile.syscalls().iter().flatten().cloned().collect();
    let known_only = rules.into_iter().map(|mut rule| {
        rule.set_names(rule.names().iter().filter(|name| known().contains(*name)).cloned().collect());
        rule
    });
    profile.set_syscalls(Some(known_only.collect()));
    let count = compare(&profile, Arch::ScmpArchX86_64, true, &mut Rng(1)).unwrap();
    assert!(count > 9_000, "{count}");
    // The same rules for each other architecture as if it ran them, with its own companions.
    for arch in ORACLE_ARCHS {
        profile.set_architectures(None);
        compare(&profile, arch, true, &mut Rng(2)).unwrap();
    }
}

/// What libseccomp 2.5 has.
const ORACLE_ARCHS: [Arch; 19] = [
    Arch::ScmpArchX86_64,
    Arch::ScmpArchX86,
    Arch::ScmpArchX32,
    Arch::ScmpArchArm,
    Arch::ScmpArchAarch64,
    Arch::ScmpArchMips,
    Arch::ScmpArchMips64,
    Arch::ScmpArchMips64n32,
    Arch::ScmpArchMipsel,
    Arch::ScmpArchMipsel64,
    Arch::ScmpArchMipsel64n32,
    Arch::ScmpArchPpc,
    Arch::ScmpArchPpc64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchS390,
    Arch::ScmpArchS390x,
    Arch::ScmpArchParisc,
    Arch::ScmpArchParisc64,
    Arch::ScmpArchRiscv64,
];

const ACTIONS: [Act; 9] = [
    Act::ScmpActKill,
    Act::ScmpActKillProcess,
    Act::ScmpActKillThread,
    Act::ScmpActTrap,
    Act::ScmpActErrno,
    Act::ScmpActTrace,
    Act::ScmpActAllow,
    Act::ScmpActLog,
    Act::ScmpActNotify,
];

/// Rules whose meaning does not hang on an order: one action for all conditional rules of a call.
///
/// With `simple` only what libseccomp 2.5 compiles rightly: conditions for one call alone (it loads too little again
/// where calls share a block of conditions, and before some multiplexed ones), and if that has several rules, a single
/// equality in each.
fn random_profile(rng: &mut Rng, names: &[&str], simple: bool) -> LinuxSeccomp {
    let default = ACTIONS[rng.below(8)];
    let mut rules = Vec::new();
    let mut used = BTreeSet::new();
    for round in 0..rng.below(30) + 1 {
        let name = names[rng.below(names.len())];
        // One action for a call, and for all that may meet in a multiplexer.
        let meets = table::multiplexed(table::find(name).unwrap()) != table::Multiplexed::No
            || ["socketcall", "ipc"].contains(&name);
        let key = if meets { "socketcall" } else { name };
        if !used.insert(key) || simple && meets {
            continue;
        }
        let action = ACTIONS[rng.below(8)];
        let errno = [Some(2), Some(38), None][rng.below(3)]
            .filter(|_| matches!(action, Act::ScmpActErrno | Act::ScmpActTrace));
        let several = rng.below(3) > 0;
        let alone = simple && several;
        for _ in 0..if several { rng.below(4) + 1 } else { 1 } {
            let mut args = Vec::new();
            // Repeated now and then: runc's alternative meaning.
            let counts = if simple { [0, 0, 0, 0, 1, 1, 1, 1] } else { [0, 0, 0, 0, 1, 1, 1, 2] };
            for index in 0..6 {
                let ops = if alone { &OPS[..2] } else { &OPS };
                let count = if alone { usize::from(args.is_empty()) } else { counts[rng.below(8)] };
                for _ in 0..count {
                    let index = if alone { rng.below(6) } else { index };
                    args.push(random_arg(rng, index, ops));
                }
            }
            if simple && round > 0 {
                args.clear();
            }
            rules.push(rule(&[name], action, errno, args));
        }
    }
    profile(default, None, rules)
}

const OPS: [Cmp; 7] = [
    Cmp::ScmpCmpEq,
    Cmp::ScmpCmpMaskedEq,
    Cmp::ScmpCmpNe,
    Cmp::ScmpCmpLt,
    Cmp::ScmpCmpLe,
    Cmp::ScmpCmpGe,
    Cmp::ScmpCmpGt,
];

fn random_arg(rng: &mut Rng, index: usize, ops: &[Cmp]) -> LinuxSeccompArg {
    let value = |rng: &mut Rng| match rng.below(6) {
        0 => 0,
        1 => rng.below(20) as u64,
        2 => u64::from(rng.next() as u32),
        3 => (rng.below(3) as u64) << 32 | rng.below(3) as u64,
        4 => u64::MAX - rng.below(3) as u64,
        _ => rng.next(),
    };
    let op = ops[rng.below(ops.len())];
    arg(index, op, value(rng), value(rng))
}

fn random_profiles(rounds: usize, simple: bool) -> (usize, usize) {
    let names: Vec<&str> = known().iter().map(String::as_str).collect();
    let mut rng = Rng(0x7a7e);
    let (mut compared, mut refused) = (0, 0);
    for round in 0..rounds {
        let mut profile = random_profile(&mut rng, &names, simple);
        let native = match round % 3 {
            0 => Arch::ScmpArchX86_64,
            _ => ORACLE_ARCHS[rng.below(ORACLE_ARCHS.len())],
        };
        let big = arch::info(native).big_endian;
        let mut others = ORACLE_ARCHS.to_vec();
        // libseccomp 2.5 forgets to load the number again where two architectures share a block of conditions.
        others.retain(|arch| !simple && arch::info(*arch).big_endian == big && rng.below(4) == 0);
        profile.set_architectures(Some(others));
        match compare(&profile, native, simple, &mut rng) {
            Some(count) => compared += count,
            None => refused += 1,
        }
    }
    (compared, refused)
}

#[test]
fn random_profiles_are_judged_the_same() {
    let (compared, refused) = random_profiles(150, true);
    assert!(compared > 200_000 && refused < 15, "{compared} compared, {refused} refused");
}

#[test]
fn random_profiles_mean_what_they_say() {
    let (compared, _) = random_profiles(50, false);
    assert!(compared > 200_000, "{compared} compared");
}

/// Rules that ask the same few arguments again and again, for few and for many values, of one action.
fn crowded_profile(rng: &mut Rng, names: &[&str]) -> LinuxSeccomp {
    let mut rules = Vec::new();
    for _ in 0..4 {
        let name = names[rng.below(names.len())];
        if table::multiplexed(table::find(name).unwrap()) != table::Multiplexed::No {
            continue;
        }
        let (pool, ops) = ([3, 20, 400][rng.below(3)], [1, 2, 7][rng.below(3)]);
        for _ in 0..rng.below(120) {
            let first = rng.below(3);
            let mut args = Vec::new();
            for index in [first, first + 1 + rng.below(2)].into_iter().take(1 + rng.below(2)) {
                let mut value = rng.below(pool) as u64;
                if rng.below(4) == 0 {
                    value |= (rng.below(3) as u64) << 32;
                }
                let mask = [u64::MAX, 0xff, 0xffff_0000, 7 << 32][rng.below(4)];
                let op = OPS[rng.below(ops)];
                args.push(if op == Cmp::ScmpCmpMaskedEq {
                    arg(index, op, mask, value)
                } else {
                    arg(index, op, value, 0)
                });
            }
            rules.push(rule(&[name], Act::ScmpActErrno, Some(7), args));
        }
    }
    profile(Act::ScmpActAllow, None, rules)
}

#[test]
fn many_rules_for_the_same_arguments_mean_what_they_say() {
    let names: Vec<&str> = known().iter().map(String::as_str).collect();
    let mut rng = Rng(0xc0de);
    let mut compared = 0;
    for round in 0..40 {
        let profile = crowded_profile(&mut rng, &names);
        let native = if round % 2 == 0 { Arch::ScmpArchX86_64 } else { ORACLE_ARCHS[rng.below(19)] };
        compared += compare(&profile, native, false, &mut rng).unwrap();
    }
    assert!(compared > 200_000, "{compared} compared");
}

/// libseccomp 2.5.4 needs 3025 instructions for the first of these, and four seconds.
#[test]
fn three_thousand_values_of_one_argument_fit_as_with_libseccomp() {
    type Case = (u64, i32, Option<u64>);
    // The value, the errno, and what the next argument has to be.
    let patterns: [fn(u64) -> Case; 6] = [
        |n| (n * 7, 1, None),
        |n| (n, 1, None),
        |n| (n * 3 / 2, 1 + n as i32 % 2, None),
        |n| ((n * 7) | (5 << 32), 1 + n as i32 % 50, None),
        |n| (((n % 3) << 32) | (n * 5), 1, None),
        |n| (n * 7, 1, Some(9)),
    ];
    for (index, pattern) in patterns.iter().enumerate() {
        let cases: Vec<Case> = (0..3000).map(pattern).collect();
        let rules = cases.iter().map(|(value, errno, next)| {
            let args =
                [Some(arg(1, Cmp::ScmpCmpEq, *value, 0)), next.map(|next| arg(2, Cmp::ScmpCmpEq, next, 0))];
            rule(&["ioctl"], Act::ScmpActErrno, Some(*errno as u32), args.into_iter().flatten().collect())
        });
        let profile = profile(Act::ScmpActAllow, None, rules.collect());
        let ours = compile_on(arch::info(Arch::ScmpArchX86_64), &profile, &Support::ALL).unwrap().filter;
        check_program(&ours);
        println!("pattern {index}: {} instructions", ours.len());
        let ask = |value: u64, next: u64| {
            let args = [0, value, next, 0, 0, 0];
            bpf::run(&ours, &Call { nr: 16, arch: 0xc000_003e, args, big_endian: false })
        };
        let values: BTreeSet<u64> = cases.iter().map(|case| case.0).collect();
        let mut worst = 0;
        for (value, errno, next) in &cases {
            let (verdict, steps) = ask(*value, next.unwrap_or(0));
            assert_eq!(verdict, 0x5_0000 | *errno as u32, "pattern {index}, {value}");
            worst = worst.max(steps);
            for (value, next) in
                [(value ^ 1 << 40, next.unwrap_or(0)), (value + 1, next.unwrap_or(0)), (*value, 10)]
            {
                let held = values.contains(&value) && cases[0].2.is_none_or(|wanted| wanted == next);
                assert_eq!(ask(value, next).0 != 0x7fff_0000, held, "pattern {index}, {value}");
            }
        }
        println!("pattern {index}: at most {worst} instructions for a call");
    }
}
