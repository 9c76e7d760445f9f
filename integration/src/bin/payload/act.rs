//! Verbs that do something: signals, forks, memory, sleep, syscalls, hooks.

use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, raise};
use nix::unistd::{ForkResult, Pid, fork, pause};
use serde_json::{Value, json};

use crate::show::{namespaces, winsize};
use crate::{Answer, arg, errno, number, say, usage};

pub fn answer(verb: &str, args: &[&str]) -> Option<Answer> {
    Some(match verb {
        "print" => Ok(json!(args.join(" "))),
        "raw" => stream(std::io::stdout(), args),
        "eprint" => stream(std::io::stderr(), args),
        "exit" => std::process::exit(number(args, 0) as i32),
        "kill-self" => raise(signal(arg(args, 0))).map(|()| Value::Null),
        "sleep" => {
            // Longer than any test, also where all is slow; its end is the sandbox's at the latest.
            std::thread::sleep(Duration::from_millis(
                args.first().map_or(600_000, |_| number(args, 0) as u64),
            ));
            Ok(Value::Null)
        }
        "trap" => trap(args),
        "winch" => winch(number(args, 0) as usize),
        "kill" => nix::sys::signal::kill(Pid::from_raw(number(args, 0) as i32), signal(arg(args, 1)))
            .map(|()| json!("ok")),
        "cat" => std::io::copy(&mut std::io::stdin().lock(), &mut std::io::stdout().lock())
            .map_err(errno)
            .map(|_| Value::Null),
        "line" => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map_err(errno).map(|_| json!(line))
        }
        "forks" => Ok(forks(number(args, 0))),
        "spawn" => spawn(number(args, 0)),
        "orphan" => orphan(),
        "alloc" => alloc(number(args, 0) as usize),
        "burn" => {
            let end = Instant::now() + Duration::from_millis(number(args, 0) as u64);
            while Instant::now() < end {}
            Ok(Value::Null)
        }
        "syscall" => Ok(syscall(args)),
        "syscall32" => Ok(syscall32(number(args, 0) as u32)),
        "notify" => notify(&args.join(" ")),
        "write-fd" => Ok(write_fd(number(args, 0) as i32)),
        "exec" => {
            let to_c = |s: &&str| std::ffi::CString::new(*s).unwrap_or_default();
            let argv: Vec<_> = args.iter().map(to_c).collect();
            nix::unistd::execv(&argv[0], &argv).map(|_| Value::Null)
        }
        "count" => count(arg(args, 0), || Ok(())),
        "wait-file" => {
            while std::fs::symlink_metadata(arg(args, 0)).is_err() {
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(Value::Null)
        }
        "hook" => hook(args),
        _ => return None,
    })
}

/// The signal of a name without `SIG`.
fn signal(name: &str) -> Signal {
    format!("SIG{name}").parse().unwrap_or_else(|_| usage(&format!("no signal {name}")))
}

/// The words and a newline, not as JSON.
fn stream(mut to: impl Write, args: &[&str]) -> Answer {
    writeln!(to, "{}", args.join(" ")).and_then(|()| to.flush()).map_err(errno).map(|()| Value::Null)
}

/// `trap N SIG…`: says "ready", then the names of the next N of these signals as they come.
fn trap(args: &[&str]) -> Answer {
    let mut set = SigSet::empty();
    for name in &args[1..] {
        set.add(signal(name));
    }
    set.thread_block()?;
    say(&json!("ready"));
    for _ in 0..number(args, 0) {
        say(&json!(set.wait()?.as_str().trim_start_matches("SIG")));
    }
    Ok(Value::Null)
}

/// Says the window's size now and at each of the next `n` SIGWINCH.
fn winch(n: usize) -> Answer {
    use std::os::fd::AsFd;
    let mut set = SigSet::empty();
    set.add(Signal::SIGWINCH);
    set.thread_block()?;
    say(&json!(winsize(std::io::stdout().as_fd())));
    for _ in 0..n {
        set.wait()?;
        say(&json!(winsize(std::io::stdout().as_fd())));
    }
    Ok(Value::Null)
}

/// Counts in a file, twenty times a second, as long as a step works.
pub fn count(file: &str, mut step: impl FnMut() -> Result<(), Errno>) -> Answer {
    let new = format!("{file}.new");
    for n in 1_u64.. {
        step()?;
        std::fs::write(&new, n.to_string()).and_then(|()| std::fs::rename(&new, file)).map_err(errno)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Value::Null)
}

/// How many of `n` children could be forked; all are killed again.
fn forks(n: i64) -> Value {
    let mut children = Vec::new();
    let mut refusal = Value::Null;
    for _ in 0..n {
        // SAFETY: this program is single-threaded.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => loop {
                pause();
            },
            Ok(ForkResult::Parent { child }) => children.push(child),
            Err(errno) => {
                refusal = crate::errno_name(errno);
                break;
            }
        }
    }
    let made = children.len();
    for child in children {
        let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(child, None);
    }
    json!({"made": made, "refusal": refusal})
}

/// `n` children that stay, deaf to all but SIGKILL.
fn spawn(n: i64) -> Answer {
    for _ in 0..n {
        // SAFETY: this program is single-threaded.
        if unsafe { fork()? }.is_child() {
            let _ = SigSet::all().thread_block();
            loop {
                pause();
            }
        }
    }
    Ok(json!("ok"))
}

/// A grandchild in a session of its own that holds the stdio and stays.
fn orphan() -> Answer {
    // SAFETY: this program is single-threaded.
    match unsafe { fork()? } {
        ForkResult::Child => {
            let _ = nix::unistd::setsid();
            // SAFETY: as above.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                let _ = SigSet::all().thread_block();
                loop {
                    pause();
                }
            }
            std::process::exit(0);
        }
        ForkResult::Parent { child } => {
            let _ = nix::sys::wait::waitpid(child, None);
            Ok(json!("ok"))
        }
    }
}

/// Touches every page of so many MiB.
fn alloc(mib: usize) -> Answer {
    crate::load::fill(mib).map(|memory| {
        std::hint::black_box(&memory);
        json!("ok")
    })
}

/// `syscall NR ARG…`: the result, or the errno as a number (filters may return any).
fn syscall(args: &[&str]) -> Value {
    let a = |i| if i < args.len() { number(args, i) } else { 0 };
    // SAFETY: the test names a syscall that touches no memory of this program.
    let result = unsafe { libc::syscall(a(0), a(1), a(2), a(3), a(4), a(5), a(6)) };
    if result == -1 { json!({"errno": Errno::last_raw()}) } else { json!({"ret": result}) }
}

/// A syscall of the 32-bit table through `int 0x80`, with arguments of zero.
#[cfg(target_arch = "x86_64")]
fn syscall32(number: u32) -> Value {
    let result: i32;
    // SAFETY: `int 0x80` changes rax and r8..r11 only; rbx, which the compiler keeps, is put back.
    unsafe {
        std::arch::asm!(
            "push rbx", "xor ebx, ebx", "int 0x80", "pop rbx",
            inlateout("eax") number as i32 => result,
            in("ecx") 0, in("edx") 0, in("esi") 0, in("edi") 0,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    if (-4095..0).contains(&result) { json!({"errno": -result}) } else { json!({"ret": result}) }
}

#[cfg(not(target_arch = "x86_64"))]
fn syscall32(_: u32) -> Value {
    json!("unsupported")
}

/// Sends one datagram to $NOTIFY_SOCKET.
fn notify(message: &str) -> Answer {
    let path = std::env::var("NOTIFY_SOCKET").map_err(|_| Errno::ENOENT)?;
    let socket = std::os::unix::net::UnixDatagram::unbound().map_err(errno)?;
    socket.send_to(message.as_bytes(), path).map_err(errno).map(|_| json!("ok"))
}

/// Writes a word to an inherited fd.
fn write_fd(fd: i32) -> Value {
    use std::os::fd::BorrowedFd;
    // SAFETY: only borrowed for one write; a closed fd is reported as EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    match nix::unistd::write(fd, b"hello") {
        Ok(_) => json!("ok"),
        Err(errno) => crate::errno_name(errno),
    }
}

/// `hook FILE TAG`: appends what a hook can see to FILE: its stdin, namespaces, environment, arguments.
fn hook(args: &[&str]) -> Answer {
    let mut stdin = String::new();
    std::io::stdin().lock().read_to_string(&mut stdin).map_err(errno)?;
    let state: Value = serde_json::from_str(&stdin).unwrap_or(json!({"unparsable": stdin}));
    let init = state["pid"].as_i64().filter(|p| *p > 0).map(|p| p.to_string());
    let record = json!({
        "tag": arg(args, 1), "state": state, "ns": namespaces("self")?,
        // Of the pid that the state gives, as seen from here.
        "init_ns": init.map(|pid| namespaces(&pid)).transpose()?,
        "env": std::env::vars().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        "args": std::env::args().collect::<Vec<_>>(),
        "cwd": nix::unistd::getcwd().map(|p| json!(p)).unwrap_or_else(crate::errno_name),
        "root_has_payload": std::fs::metadata("/payload").is_ok(),
        "pid": std::process::id(),
    });
    let mut file = OpenOptions::new().create(true).append(true).open(arg(args, 0)).map_err(errno)?;
    file.write_all(format!("{record}\n").as_bytes()).map_err(errno).map(|()| Value::Null)
}
