//! The running kernel takes our programs and does what they say. Each filter is put on one thread, which ends with it.

use std::time::Instant;

use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::seccomp::{Program, Support, compile, flag};
use crate::sys::seccomp::{action_available, flag_available, install};

/// Runs `act` on a thread of its own, under the filter.
fn under<T: Send>(program: &Program, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sys::prctl::set_no_new_privs().unwrap();
            install(&program.filter, program.flags).unwrap();
            act()
        });
        thread.join().unwrap()
    })
}

fn ours(profile: &LinuxSeccomp) -> Program {
    compile(profile, &Support::probe(profile, action_available, flag_available)).unwrap()
}

fn call(nr: i64, arg: u64) -> Result<i64, Errno> {
    // SAFETY: the callers pass numbers of calls that take no pointer here.
    Errno::result(unsafe { libc::syscall(nr, arg, 0, 0, 0, 0, 0) })
}

#[test]
fn docker_profile_in_force() {
    let program = ours(&docker());
    assert_eq!(program.flags, flag::SPEC_ALLOW);
    under(&program, || {
        assert!(call(libc::SYS_getpid, 0).is_ok());
        assert_eq!(call(libc::SYS_setns, u64::MAX), Err(Errno::EPERM));
        assert_eq!(call(libc::SYS_clone3, 0), Err(Errno::ENOSYS));
        assert_eq!(call(470, 0), Err(Errno::ENOSYS));
        assert_eq!(call(libc::SYS_socket, libc::AF_VSOCK as u64), Err(Errno::EPERM));
        assert!(call(libc::SYS_personality, 0xffff_ffff).is_ok());
        assert_eq!(call(libc::SYS_personality, 0x1_ffff_ffff), Err(Errno::EPERM));
    });
}

#[test]
fn every_flag_and_action_is_known_here() {
    for bit in 0..6 {
        assert!(flag_available(1 << bit), "flag {bit}");
    }
    assert!(!flag_available(1 << 30));
    for action in [0x8000_0000, 0, 0x3_0000, 0x5_0000, 0x7fc0_0000, 0x7ff0_0000, 0x7ffc_0000, 0x7fff_0000] {
        assert!(action_available(action), "action {action:#x}");
    }
    assert!(!action_available(0x1234_0000));
}

#[test]
fn a_listener_is_returned_and_hears() {
    let mut rules =
        profile(Act::ScmpActAllow, None, vec![rule(&["getsid"], Act::ScmpActNotify, None, vec![])]);
    rules.set_listener_path(Some("/run/agent".into()));
    let program = ours(&rules);
    std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel();
        let filter = &program;
        let asker = scope.spawn(move || {
            nix::sys::prctl::set_no_new_privs().unwrap();
            send.send(install(&filter.filter, filter.flags).unwrap()).unwrap();
            call(libc::SYS_getsid, 0)
        });
        let listener = receive.recv().unwrap().expect("a descriptor");
        let mut polled = [PollFd::new(&listener, PollFlags::IN)];
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(poll(&mut polled, Some(&limit)), Ok(1));
        // With its listener gone the kernel answers ENOSYS.
        drop(listener);
        assert_eq!(asker.join().unwrap(), Err(Errno::ENOSYS));
    });
}

#[test]
fn a_filter_the_kernel_refuses_is_an_error() {
    assert_eq!(install(&[], 0).err(), Some(Errno::EINVAL));
    let long = vec![libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 }; 0x1_0000];
    assert_eq!(install(&long, 0).err(), Some(Errno::E2BIG));
}

/// `cargo test --release --lib seccomp -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout)]
fn measure() {
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let time = |act: &mut dyn FnMut()| {
        let start = Instant::now();
        act();
        start.elapsed().as_secs_f64() * 1e6
    };
    let profile = docker();
    let first = time(&mut || {
        ours(&profile);
    });
    let compile = median((0..2000).map(|_| time(&mut || drop(ours(&profile)))).collect());
    let program = ours(&profile);
    let attach = |filter: &[crate::seccomp::Insn]| {
        let one = || {
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    nix::sys::prctl::set_no_new_privs().unwrap();
                    time(&mut || drop(install(filter, flag::SPEC_ALLOW).unwrap()))
                });
                thread.join().unwrap()
            })
        };
        median((0..300).map(|_| one()).collect())
    };
    let allow = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 }];
    println!(
        "{} instructions; compile: first {first:.0} us, median {compile:.0} us; attach {:.0} us, of an empty filter {:.0} us",
        program.filter.len(),
        attach(&program.filter),
        attach(&allow),
    );
}
