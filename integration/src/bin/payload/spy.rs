//! Verbs of a hostile container that has more capabilities than Docker gives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};
use serde_json::json;

use crate::{Answer, arg, errno, say};

pub fn answer(verb: &str, args: &[&str]) -> Option<Answer> {
    Some(match verb {
        "spy" => {
            // Backwards in the arguments: config.json, which has those, is no secret.
            let text = |n| arg(args, n).chars().rev().collect::<String>();
            spy(&Wanted { marker: arg(args, 1), env: &text(2), secret: &text(3) }, arg(args, 0))
        }
        "stopper" => stopper(arg(args, 0)),
        "reveal" => reveal(arg(args, 0)),
        "under-root" => under_root(),
        _ => return None,
    })
}

/// The processes that /proc shows, but for this one.
fn others() -> Vec<i32> {
    let own = std::process::id() as i32;
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(|pid| *pid != own).collect()
}

/// What must not be found.
struct Wanted<'a> {
    /// The path of a file of the host's.
    marker: &'a str,
    /// In the environment of the runtime's caller.
    env: &'a str,
    /// In the arguments of the runtime.
    secret: &'a str,
}

/// `spy STOPFILE MARKER VNE TERCES`, the last two read backwards: until the file appears, looks at every other process through /proc, and reports what
/// there was of the host's, and how often.
fn spy(wanted: &Wanted<'_>, stop: &str) -> Answer {
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut strange = BTreeSet::new();
    say(&json!("ready"));
    while fs::symlink_metadata(stop).is_err() {
        for pid in others() {
            seen.insert(pid);
            if fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.to_string_lossy() != "/payload")
            {
                strange.insert(pid);
            }
            for what in look(pid, wanted) {
                *found.entry(what).or_default() += 1;
            }
        }
    }
    Ok(json!({"seen": seen.len(), "before_exec": strange.len(), "found": found}))
}

fn look(pid: i32, wanted: &Wanted<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let up = "../".repeat(24);
    let marker = wanted.marker.trim_start_matches('/');
    let reach = |path: String| fs::symlink_metadata(path).is_ok();
    for n in 3..24 {
        if reach(format!("/proc/{pid}/fd/{n}/{up}{marker}")) {
            found.push("a descriptor leads to the host's files".into());
        } else if let Some(link) = foreign(pid, n) {
            found.push(format!("a descriptor is of the host's {link}"));
        }
    }
    if reach(format!("/proc/{pid}/cwd/{up}{marker}")) {
        found.push("cwd leads to the host's files".into());
    }
    if reach(format!("/proc/{pid}/root/{marker}")) {
        found.push("root is the host's".into());
    }
    let own =
        |link: std::io::Result<std::path::PathBuf>| link.is_ok_and(|l| l.to_string_lossy() == "/payload");
    let exe = format!("/proc/{pid}/exe");
    if !own(fs::read_link(&exe))
        && OpenOptions::new().write(true).open(&exe).is_ok()
        && !own(fs::read_link(&exe))
        && reach(exe)
    {
        found.push("the executable could be opened for writing".into());
    }
    for (file, text) in [("cmdline", wanted.secret), ("cmdline", wanted.env), ("environ", wanted.env)] {
        if fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|bytes| contains(&bytes, text)) {
            found.push(format!("{file} has {text}"));
        }
    }
    if let Some(place) = in_memory(pid, wanted.env) {
        found.push(format!("memory ({place}) has {}", wanted.env));
    }
    found
}

/// What a descriptor is named, if it has a path, and that path is something else here.
fn foreign(pid: i32, n: i32) -> Option<String> {
    let path = format!("/proc/{pid}/fd/{n}");
    let link = fs::read_link(&path).ok()?;
    let there = fs::metadata(&path).ok()?;
    let named =
        link.to_str().filter(|l| l.starts_with('/') && !l.starts_with("/memfd:") && *l != "/dev/null")?;
    let same = fs::metadata(named).is_ok_and(|here| (here.dev(), here.ino()) == (there.dev(), there.ino()));
    // What is known by a path of the container's, and was exchanged in between, is not of the host's. procfs gives inodes
    // anew, and what the process builds it has mounted itself.
    let in_proc = nix::sys::statfs::statfs(path.as_str())
        .is_ok_and(|s| s.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC);
    (!same && !in_proc).then(|| named.to_owned())
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// In which writable memory of a process the text is.
fn in_memory(pid: i32, text: &str) -> Option<String> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut part = vec![0; 1 << 18];
    maps.lines().filter(|l| l.contains(" rw")).find_map(|line| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let parse = |t| u64::from_str_radix(t, 16).ok();
        // The end: there a stack has its arguments and environment.
        let at = parse(from)?.max(parse(to)?.saturating_sub(part.len() as u64));
        let n = memory.read_at(&mut part, at).ok()?;
        contains(&part[..n], text).then(|| line.rsplit(' ').next().unwrap_or_default().to_owned())
    })
}

/// `stopper STOPFILE`: stops every other process, again and again.
fn stopper(stop: &str) -> Answer {
    say(&json!("ready"));
    let mut stopped = 0_u64;
    while fs::symlink_metadata(stop).is_err() {
        for pid in others() {
            // What has become the payload is the container's, and may end.
            let own =
                fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|l| l.to_string_lossy() == "/payload");
            let signal = if own { Signal::SIGCONT } else { Signal::SIGSTOP };
            stopped += u64::from(kill(Pid::from_raw(pid), signal).is_ok() && !own);
        }
    }
    for pid in others() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
    }
    Ok(json!({"stopped": stopped}))
}

/// `reveal proc|sysfs`: mounts a new one from new namespaces, which the kernel allows to those who see one in full already.
fn reveal(kind: &str) -> Answer {
    let new = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC;
    // In a child: later verbs are to stay where they were.
    forked(|| {
        unshare(new)?;
        for (file, map) in [("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")] {
            let _ = fs::write(format!("/proc/self/{file}"), map);
        }
        forked(|| {
            mount(Some("x"), "/tmp", Some(kind), MsFlags::empty(), None::<&str>)?;
            Ok(OpenOptions::new().write(true).open("/tmp/sys/kernel/core_pattern").is_ok())
        })
    })
    .map(|writable| json!({"mounted": true, "core_pattern_writable": writable}))
}

/// What a child finds, which tells it by its exit code.
fn forked(work: impl FnOnce() -> Result<bool, Errno>) -> Result<bool, Errno> {
    // SAFETY: this program is single-threaded.
    match unsafe { fork()? } {
        ForkResult::Child => std::process::exit(match work() {
            Ok(found) => i32::from(found),
            Err(errno) => 2 + errno as i32,
        }),
        ForkResult::Parent { child } => match nix::sys::wait::waitpid(child, None)? {
            nix::sys::wait::WaitStatus::Exited(_, code @ 0..=1) => Ok(code == 1),
            nix::sys::wait::WaitStatus::Exited(_, code) => Err(Errno::from_raw(code - 2)),
            _ => Err(Errno::ECHILD),
        },
    }
}

/// Takes its own root away and enters its mount namespace anew: what is there underneath?
fn under_root() -> Answer {
    let own = File::open("/proc/self/ns/mnt").map_err(errno)?;
    let text = |result: Result<(), Errno>| result.map_or_else(crate::errno_name, |()| json!("ok"));
    let entered = text(setns(&own, CloneFlags::CLONE_NEWNS));
    let still_inside = fs::metadata("/payload").is_ok();
    let unmounted = text(umount2("/", MntFlags::MNT_DETACH));
    let again = text(setns(&own, CloneFlags::CLONE_NEWNS));
    let is = |path: &str, kind| nix::sys::statfs::statfs(path).is_ok_and(|s| s.filesystem_type() == kind);
    Ok(json!({
        "entered": entered, "still_inside": still_inside, "unmounted": unmounted, "again": again,
        "outside": fs::metadata("/payload").is_err(),
        "proc": is("/proc", nix::sys::statfs::PROC_SUPER_MAGIC),
        "sys": is("/sys", nix::sys::statfs::SYSFS_MAGIC),
    }))
}
