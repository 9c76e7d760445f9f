//! `keep FILE WHAT…`: counts in a file as long as something of the kernel's works, to see it come back from a checkpoint.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;

use crate::act::count;
use crate::{Answer, arg, errno, usage};

pub fn answer(verb: &str, args: &[&str]) -> Option<Answer> {
    (verb == "keep").then(|| match arg(args, 1) {
        "connection" => connection(arg(args, 0)),
        "lock" => lock(arg(args, 0), arg(args, 2)),
        "unlinked" => unlinked(arg(args, 0), arg(args, 2)),
        "socket" => socket(arg(args, 0), arg(args, 2)),
        other => usage(&format!("cannot keep {other:?}")),
    })
}

/// A TCP connection, both ends of which are its own.
fn connection(file: &str) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(errno)?;
    let mut near = TcpStream::connect(listener.local_addr().map_err(errno)?).map_err(errno)?;
    let (mut far, _) = listener.accept().map_err(errno)?;
    count(file, || {
        let mut byte = [0];
        near.write_all(b"x").and_then(|()| far.read_exact(&mut byte)).map_err(errno)
    })
}

/// A lock on a whole file, as `flock` takes it.
fn lock(file: &str, of: &str) -> Answer {
    let held = File::create(of).map_err(errno)?;
    held.lock().map_err(errno)?;
    count(file, || match File::open(of).map_err(errno)?.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(()),
        _ => Err(Errno::ENOLCK),
    })
}

/// An open file that has another name than the one it was opened by.
fn unlinked(file: &str, name: &str) -> Answer {
    let open = File::create(name).map_err(errno)?;
    let other = format!("{name}.other");
    std::fs::hard_link(name, &other).and_then(|()| std::fs::remove_file(name)).map_err(errno)?;
    count(file, || {
        open.write_all_at(b"kept", 0).map_err(errno)?;
        let same = std::fs::read(&other).map_err(errno)? == b"kept";
        std::fs::write(&other, "").map_err(errno)?;
        if same { Ok(()) } else { Err(Errno::EIO) }
    })
}

/// A connection to a socket of somebody outside.
fn socket(file: &str, to: &str) -> Answer {
    let socket = UnixDatagram::unbound().map_err(errno)?;
    socket.connect(to).map_err(errno)?;
    count(file, || socket.send(b"x").map_err(errno).map(drop))
}
