//! Verbs of hooks that work on the container's mounts from outside, as NVIDIA's do.

use std::fs::{self, File, OpenOptions};
use std::io::Read;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use crate::{Answer, arg, errno};

pub fn answer(verb: &str, args: &[&str]) -> Option<Answer> {
    Some(match verb {
        "into" => into(arg(args, 0)),
        "enter" => enter(),
        "mount-bind" => mount_bind(arg(args, 0), arg(args, 1)),
        "mount-tmpfs" => mount(Some("hook"), arg(args, 0), Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .map(|()| json!("ok")),
        _ => return None,
    })
}

/// `into FILE`: what later verbs say is appended to the file, which is opened here.
fn into(path: &str) -> Answer {
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(errno)?;
    nix::unistd::dup2_stdout(file)?;
    Ok(Value::Null)
}

/// Enters the mount namespace of the process that the state on stdin names.
fn enter() -> Answer {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(errno)?;
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    let file = File::open(format!("/proc/{}/ns/mnt", state["pid"])).map_err(errno)?;
    setns(file, CloneFlags::CLONE_NEWNS)?;
    Ok(json!("ok"))
}

/// `mount-bind SOURCE TARGET`: the target is made, if it is missing.
fn mount_bind(source: &str, target: &str) -> Answer {
    if fs::metadata(target).is_err() {
        File::create(target).map_err(errno)?;
    }
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).map(|()| json!("ok"))
}
