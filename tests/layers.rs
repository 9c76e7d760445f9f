//! Imports run one way: a module may use only those before it in this list. What is pure stays pure that way, and the
//! reader who follows `use` lines always goes down.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

const ORDER: [&str; 26] = [
    "weaken",
    "error",
    "sys",
    "path",
    "clock",
    "log",
    "host",
    "config",
    "seccomp",
    "plan",
    "cgroup",
    "console",
    "exeseal",
    "gate",
    "hooks",
    "network",
    "notify",
    "rootfs",
    "security",
    "launch",
    "foreground",
    "state",
    "cli",
    "lifecycle",
    "commands",
    "bail",
];

/// What the pure layers may use at all: nothing that opens a file or makes a system call.
const PURE: [(&str, &[&str]); 3] = [
    ("seccomp", &["error"]),
    // `host` are facts, `path::clean` is a function of text, `sys::sched` lends a struct.
    ("config", &["error", "host"]),
    ("plan", &["error", "config", "path", "sys"]),
];

#[test]
fn imports_run_one_way() {
    let mut seen = 0;
    visit(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut |file, text| {
        let src = file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
        let module = src.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&module.as_str()) || file.to_str().unwrap().contains("test") {
            return;
        }
        let own = level(&module).unwrap_or_else(|| panic!("{module} is not in the list"));
        for used in uses(text) {
            seen += 1;
            if used == module || used == "bail" {
                continue;
            }
            let its = level(&used).unwrap_or_else(|| panic!("{}: {used} is not in the list", file.display()));
            assert!(its < own, "{}: {module} must not use {used}", file.display());
            if let Some((_, allowed)) = PURE.iter().find(|(name, _)| *name == module) {
                assert!(
                    allowed.contains(&used.as_str()),
                    "{}: {module} is pure, {used} is not",
                    file.display()
                );
            }
        }
    });
    assert!(seen > 200, "only {seen} imports were found: is this test looking at the right files?");
}

/// `unsafe` is for the system call layer alone, and each block says what it relies on (clippy sees to that).
#[test]
fn unsafe_is_in_sys_alone() {
    visit(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut |file, text| {
        if !file.to_str().unwrap().contains("/src/sys/") && !file.to_str().unwrap().contains("test") {
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                assert!(
                    !line.contains("unsafe {") && !line.contains("unsafe fn"),
                    "{}: {line}",
                    file.display()
                );
            }
        }
    });
}

/// No file that nobody can hold in their head; tables are no reading matter.
#[test]
fn files_are_short() {
    visit(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut |file, text| {
        if !file.ends_with("seccomp/numbers.rs") {
            assert!(text.lines().count() <= 700, "{}: {} lines", file.display(), text.lines().count());
        }
    });
}

fn level(module: &str) -> Option<usize> {
    ORDER.iter().position(|name| *name == module)
}

/// The modules named after `crate::` in code, one at a time or in braces; the unit tests of a file may use anything.
fn uses(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let mut all = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for rest in line.split("crate::").skip(1) {
            let list = match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap().split(',').collect(),
                None => vec![rest],
            };
            for name in list {
                let name: String =
                    name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !name.is_empty() {
                    all.push(name);
                }
            }
        }
    }
    all
}

fn visit(dir: &Path, each: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, each);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            each(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}
