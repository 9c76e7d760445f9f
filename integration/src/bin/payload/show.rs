//! Verbs that show what the process is given.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd;
use serde_json::{Map, Value, json};

use crate::{Answer, arg, errno};

pub fn answer(verb: &str, args: &[&str]) -> Option<Answer> {
    Some(match verb {
        "env" => Ok(std::env::vars_os()
            .map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy()))
            .collect()),
        "args" => Ok(std::env::args().collect()),
        "cwd" => unistd::getcwd().map(|p| json!(p)),
        "ids" => ids(),
        "proc" => Ok(json!({
            "pid": unistd::getpid().as_raw(), "ppid": unistd::getppid().as_raw(),
            "pgid": unistd::getpgrp().as_raw(), "sid": unistd::getsid(None).map_or(-1, |p| p.as_raw()),
        })),
        "caps" => caps(),
        "status" => status(args),
        "rlimits" => rlimits(),
        "signals" => Ok(signals()),
        "umask" => {
            let mask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
            Ok(json!(mask.bits()))
        }
        "ns" => namespaces("self"),
        "mounts" => mounts().map(Value::from),
        "mount" => mounts().map(|all| {
            let wanted = arg(args, 0);
            all.into_iter().rfind(|m| m["dest"] == wanted).unwrap_or(json!("none"))
        }),
        "uname" => nix::sys::utsname::uname().map(|u| {
            json!({"hostname": u.nodename().to_string_lossy(), "domainname": u.domainname().to_string_lossy(),
                   "machine": u.machine().to_string_lossy()})
        }),
        "fds" => fds(),
        "tty" => Ok(tty()),
        "keyring" => keyring(),
        "clock" => clock(),
        "interfaces" => fs::read_to_string("/proc/net/dev")
            .map(|text| {
                text.lines()
                    .skip(2)
                    .filter_map(|l| l.split_once(':'))
                    .map(|(name, _)| name.trim().to_owned())
                    .collect()
            })
            .map_err(errno),
        "lo-up" => lo_up(),
        _ => return None,
    })
}

fn ids() -> Answer {
    let uid = unistd::getresuid()?;
    let gid = unistd::getresgid()?;
    let mut groups: Vec<u32> = unistd::getgroups()?.iter().map(|g| g.as_raw()).collect();
    groups.sort_unstable();
    Ok(json!({
        "uid": [uid.real.as_raw(), uid.effective.as_raw(), uid.saved.as_raw()],
        "gid": [gid.real.as_raw(), gid.effective.as_raw(), gid.saved.as_raw()],
        "groups": groups,
    }))
}

/// The five sets as numbers of their bits.
fn caps() -> Answer {
    let text = fs::read_to_string("/proc/self/status").map_err(errno)?;
    let mut sets = Map::new();
    for (field, name) in [
        ("CapInh:", "inheritable"),
        ("CapPrm:", "permitted"),
        ("CapEff:", "effective"),
        ("CapBnd:", "bounding"),
        ("CapAmb:", "ambient"),
    ] {
        let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap_or("0");
        let bits = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        let numbers: Vec<u32> = (0..64).filter(|n| bits >> n & 1 == 1).collect();
        sets.insert(name.to_owned(), json!(numbers));
    }
    Ok(Value::Object(sets))
}

fn status(fields: &[&str]) -> Answer {
    let text = fs::read_to_string("/proc/self/status").map_err(errno)?;
    let value = |field: &str| {
        text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).map(|v| v.trim().to_owned())
    };
    Ok(fields.iter().map(|f| ((*f).to_owned(), json!(value(f)))).collect::<Map<_, _>>().into())
}

/// Ignored and blocked signals as they were inherited: std ignores SIGPIPE before `main`, so they are
/// read before that.
static INHERITED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

extern "C" fn read_inherited() {
    for signal in 1..=64 {
        // SAFETY: both calls only read dispositions and the mask into zeroed structs of the right types.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action);
            libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask);
            let bit = 1 << (signal - 1);
            if action.sa_sigaction == libc::SIG_IGN {
                INHERITED[0].fetch_or(bit, Ordering::Relaxed);
            }
            if libc::sigismember(&mask, signal) == 1 {
                INHERITED[1].fetch_or(bit, Ordering::Relaxed);
            }
        }
    }
}

// SAFETY: the C start code calls every function pointer of this section once, before `main`.
#[unsafe(link_section = ".init_array")]
#[used]
static READ_INHERITED: extern "C" fn() = read_inherited;

fn signals() -> Value {
    let list = |set: &AtomicU64| {
        let set = set.load(Ordering::Relaxed);
        (1..=64).filter(|s| set >> (s - 1) & 1 == 1).collect::<Vec<u32>>()
    };
    json!({"ignored": list(&INHERITED[0]), "blocked": list(&INHERITED[1])})
}

fn rlimits() -> Answer {
    let all = [
        (Resource::RLIMIT_AS, "RLIMIT_AS"),
        (Resource::RLIMIT_CORE, "RLIMIT_CORE"),
        (Resource::RLIMIT_CPU, "RLIMIT_CPU"),
        (Resource::RLIMIT_DATA, "RLIMIT_DATA"),
        (Resource::RLIMIT_FSIZE, "RLIMIT_FSIZE"),
        (Resource::RLIMIT_LOCKS, "RLIMIT_LOCKS"),
        (Resource::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"),
        (Resource::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"),
        (Resource::RLIMIT_NICE, "RLIMIT_NICE"),
        (Resource::RLIMIT_NOFILE, "RLIMIT_NOFILE"),
        (Resource::RLIMIT_NPROC, "RLIMIT_NPROC"),
        (Resource::RLIMIT_RSS, "RLIMIT_RSS"),
        (Resource::RLIMIT_RTPRIO, "RLIMIT_RTPRIO"),
        (Resource::RLIMIT_RTTIME, "RLIMIT_RTTIME"),
        (Resource::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"),
        (Resource::RLIMIT_STACK, "RLIMIT_STACK"),
    ];
    let mut limits = Map::new();
    for (resource, name) in all {
        let (soft, hard) = getrlimit(resource)?;
        limits.insert(name.to_owned(), json!([soft, hard]));
    }
    Ok(Value::Object(limits))
}

/// The links of /proc/PID/ns; `{}` where there is no /proc.
pub fn namespaces(process: &str) -> Answer {
    let mut links = Map::new();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        if let Ok(link) = fs::read_link(format!("/proc/{process}/ns/{name}")) {
            links.insert(name.to_owned(), json!(link));
        }
    }
    Ok(Value::Object(links))
}

/// /proc/self/mountinfo, a line an object.
fn mounts() -> Result<Vec<Value>, Errno> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(errno)?;
    let parse = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<&str> = front.split(' ').collect();
        let back: Vec<&str> = back.splitn(3, ' ').collect();
        Some(json!({
            "id": front[0], "parent": front[1], "root": front[3], "dest": front[4],
            "options": front[5].split(',').collect::<Vec<_>>(), "propagation": front[6..].join(" "),
            "type": back[0], "source": back[1], "super": back[2].split(',').collect::<Vec<_>>(),
        }))
    };
    Ok(text.lines().filter_map(parse).collect())
}

fn fds() -> Answer {
    let mut open = Map::new();
    let dir = fs::read_dir("/proc/self/fd").map_err(errno)?;
    for entry in dir.flatten() {
        // The directory's own fd is gone by the time it is read, or names this very directory.
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        if !link.to_string_lossy().ends_with("/fd") {
            open.insert(entry.file_name().to_string_lossy().into_owned(), json!(link));
        }
    }
    Ok(Value::Object(open))
}

fn tty() -> Value {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let one = |fd: BorrowedFd<'_>| {
        if !unistd::isatty(fd).unwrap_or(false) {
            return json!({"isatty": false});
        }
        let size = winsize(fd);
        let name = unistd::ttyname(fd).map(|p| json!(p)).unwrap_or_else(crate::errno_name);
        json!({"isatty": true, "rows": size.0, "cols": size.1, "name": name})
    };
    json!({
        "stdin": one(stdin.as_fd()), "stdout": one(stdout.as_fd()), "stderr": one(stderr.as_fd()),
        "controlling": fs::File::open("/dev/tty").is_ok(),
    })
}

/// Rows and columns.
pub fn winsize(fd: BorrowedFd<'_>) -> (u16, u16) {
    use std::os::fd::AsRawFd;
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize into the struct given.
    unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    (size.ws_row, size.ws_col)
}

/// The description of the session keyring: `keyring;UID;GID;PERM;NAME`.
fn keyring() -> Answer {
    const KEYCTL_DESCRIBE: libc::c_long = 6;
    const SESSION: libc::c_long = -3;
    let mut buffer = [0u8; 256];
    // SAFETY: KEYCTL_DESCRIBE writes at most the length given into the buffer.
    let n = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, SESSION, buffer.as_mut_ptr(), buffer.len())
    };
    let n = Errno::result(n)? as usize;
    Ok(json!(String::from_utf8_lossy(&buffer[..n.saturating_sub(1).min(buffer.len())])))
}

fn clock() -> Answer {
    let read = |clock| {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes one timespec.
        Errno::result(unsafe { libc::clock_gettime(clock, &mut now) }).map(|_| now.tv_sec)
    };
    Ok(json!({"monotonic": read(libc::CLOCK_MONOTONIC)?, "boottime": read(libc::CLOCK_BOOTTIME)?}))
}

fn lo_up() -> Answer {
    // Needs no ioctl: a connection to a closed port is refused only where the interface is up.
    match std::net::TcpStream::connect("127.0.0.1:1") {
        Ok(_) => Ok(json!(true)),
        Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => Ok(json!(true)),
        Err(error) => Err(self::errno(error)),
    }
}
