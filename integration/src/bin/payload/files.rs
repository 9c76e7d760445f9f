//! Verbs on files: what can be seen, opened, made.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};

use crate::{Answer, arg, errno, number};

pub fn answer(verb: &str, args: &[&str]) -> Option<Answer> {
    let path = || arg(args, 0);
    let ok = |result: std::io::Result<()>| result.map(|()| json!("ok")).map_err(errno);
    Some(match verb {
        "stat" => Ok(args.iter().map(|p| stat(p, true)).collect()),
        "lstat" => Ok(args.iter().map(|p| stat(p, false)).collect()),
        "statfs" => nix::sys::statfs::statfs(path())
            .map(|s| json!({"type": s.filesystem_type().0, "size": s.blocks() as i64 * s.block_size()})),
        "readlink" => fs::read_link(path()).map(|p| json!(p)).map_err(errno),
        "ls" => ls(path()),
        "read" => read(path()),
        "open" => Ok(args[1..].iter().map(|p| open(path(), p)).collect()),
        "write" => ok(OpenOptions::new()
            .write(true)
            .open(path())
            .and_then(|mut f| f.write_all(args[1..].join(" ").as_bytes()))),
        "touch" => {
            Ok(args.iter().map(|p| outcome(OpenOptions::new().create(true).append(true).open(p))).collect())
        }
        "mkdir" => ok(fs::create_dir(path())),
        // The working directory stays where it is, which is how one climbs out of a chroot.
        "chroot" => ok(nix::unistd::chroot(path()).map_err(std::io::Error::from)),
        "up" => {
            let mut all = (0..64).map(|_| nix::unistd::chdir(".."));
            ok(all.find(Result::is_err).unwrap_or(Ok(())).map_err(std::io::Error::from))
        }
        "unlink" => ok(fs::remove_file(path())),
        "symlink" => ok(std::os::unix::fs::symlink(path(), arg(args, 1))),
        "chown" => {
            let (uid, gid) = (number(args, 1) as u32, number(args, 2) as u32);
            ok(std::os::unix::fs::chown(path(), Some(uid), Some(gid)))
        }
        "chmod" => {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(number(args, 1) as u32);
            ok(fs::set_permissions(path(), mode))
        }
        "mknod" => {
            let kind = match arg(args, 1) {
                "b" => SFlag::S_IFBLK,
                _ => SFlag::S_IFCHR,
            };
            let device = makedev(number(args, 2) as u64, number(args, 3) as u64);
            mknod(path(), kind, Mode::from_bits_truncate(0o666), device).map(|()| json!("ok"))
        }
        "exists" => Ok(args.iter().map(|p| json!(fs::symlink_metadata(p).is_ok())).collect()),
        _ => return None,
    })
}

fn outcome<T>(result: std::io::Result<T>) -> Value {
    match result {
        Ok(_) => json!("ok"),
        Err(error) => crate::errno_name(errno(error)),
    }
}

/// `open r|w|rw PATH…`, without creating, not blocking on a FIFO or a tty.
fn open(mode: &str, path: &str) -> Value {
    outcome(
        OpenOptions::new()
            .read(mode.contains('r'))
            .write(mode.contains('w'))
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path),
    )
}

fn stat(path: &str, follow: bool) -> Value {
    let meta = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let meta = match meta {
        Ok(meta) => meta,
        Err(error) => return crate::errno_name(errno(error)),
    };
    let kind = meta.file_type();
    let kind = if kind.is_dir() {
        "dir"
    } else if kind.is_symlink() {
        "link"
    } else if kind.is_char_device() {
        "char"
    } else if kind.is_block_device() {
        "block"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else {
        "file"
    };
    json!({
        "type": kind, "mode": format!("{:o}", meta.mode() & 0o7777), "uid": meta.uid(), "gid": meta.gid(),
        "rdev": format!("{}:{}", nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev())),
        "size": meta.len(), "dev": meta.dev(), "ino": meta.ino(),
    })
}

fn ls(path: &str) -> Answer {
    let mut names: Vec<String> = fs::read_dir(path)
        .map_err(errno)?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(json!(names))
}

fn read(path: &str) -> Answer {
    let mut text = Vec::new();
    fs::File::open(path).and_then(|f| f.take(1 << 20).read_to_end(&mut text)).map_err(errno)?;
    Ok(json!(String::from_utf8_lossy(&text)))
}
