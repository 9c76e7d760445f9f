//! The `tare` command: parse, dispatch, and the only place that prints a fatal error.
//!
//! libc's `main`, since Rust's own start-up reads /proc/self/maps and prepares an alternate stack for a guard page that
//! nobody here will hit: twenty system calls. What it does of use is done here.
#![no_main]

use std::ffi::{c_char, c_int};
use std::io::Write;
use tare::cli::{self, Command, Failure, Parsed};
use tare::{commands, log};

/// Called by libc. The arguments come from `std::env`.
#[unsafe(no_mangle)]
pub extern "C" fn main(_argc: c_int, argv: *mut *mut c_char) -> c_int {
    tare::sys::start::note_arguments(argv);
    tare::sys::start::fill_standard_descriptors();
    tare::sys::signal::take_over();
    std::process::exit(run())
}

fn run() -> i32 {
    let (global, command) = match cli::parse(std::env::args_os()) {
        Ok(Parsed::Run(global, command)) => (global, command),
        Ok(Parsed::Print(text)) => {
            // Nobody reads it any more, if this fails.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return 0;
        }
        Err(failure) => return misuse(&failure),
    };
    if let Command::Create(_) | Command::Run(_) | Command::Exec(_) = command
        && let Err(error) = tare::exeseal::seal()
    {
        log::fatal(&error);
        return command.error_exit_code();
    }
    // Nothing that the caller left open may reach a program of the container's by accident (CVE-2024-21626).
    if !tare::weaken::weakened("close-on-exec") {
        let _ = tare::sys::exec::close_range_on_exec(3);
    }
    let logged = log::init(global.log.as_deref(), global.log_format, global.log_level);
    match logged.and_then(|()| commands::run(&global, &command)) {
        Ok(code) => {
            log::succeeded();
            code
        }
        Err(error) => {
            log::fatal(&error);
            command.error_exit_code()
        }
    }
}

fn misuse(failure: &Failure) -> i32 {
    let global = &failure.global;
    // A log that cannot be opened is the lesser of two errors, and only one is told.
    let _ = log::init(global.log.as_deref(), global.log_format, global.log_level);
    log::fatal(&failure.error);
    if !failure.usage.is_empty() {
        let _ = writeln!(std::io::stderr(), "{}", failure.usage);
    }
    failure.exit_code
}
