//! The one program that runs inside the containers of the integration tests.
//!
//! `payload VERB ARG… [-- VERB ARG…]…`: each verb prints one line of JSON on stdout. A verb that the
//! kernel refuses prints the errno's name as a string (`"EPERM"`), so that tests compare values.
//! It is static and also serves as hook program on the host.

mod act;
mod attack;
mod attack2;
mod files;
mod keep;
mod load;
mod place;
mod show;
mod spy;

use std::io::Write;

use nix::errno::Errno;
use serde_json::Value;

/// What a verb gives back: the line to print, or the kernel's refusal.
type Answer = Result<Value, Errno>;

fn main() {
    let args: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    for step in args.split(|arg| arg == "--") {
        let Some((verb, rest)) = step.split_first() else { continue };
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        match answer(verb, &rest) {
            Ok(Value::Null) => {}
            Ok(value) => say(&value),
            Err(errno) => say(&errno_name(errno)),
        }
    }
}

fn answer(verb: &str, args: &[&str]) -> Answer {
    show::answer(verb, args)
        .or_else(|| files::answer(verb, args))
        .or_else(|| act::answer(verb, args))
        .or_else(|| keep::answer(verb, args))
        .or_else(|| load::answer(verb, args))
        .or_else(|| attack::answer(verb, args))
        .or_else(|| attack2::answer(verb, args))
        .or_else(|| spy::answer(verb, args))
        .or_else(|| place::answer(verb, args))
        .unwrap_or_else(|| usage(&format!("no verb {verb:?}")))
}

/// Prints one line; a payload whose stdout is gone cannot report and ends with 99.
fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{value}").and_then(|()| out.flush()).is_err() {
        std::process::exit(99);
    }
}

fn errno_name(errno: Errno) -> Value {
    Value::from(format!("{errno:?}"))
}

/// A mistake in the test itself.
fn usage(what: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "payload: {what}");
    std::process::exit(98);
}

/// The argument `index`, or the end.
fn arg<'a>(args: &[&'a str], index: usize) -> &'a str {
    args.get(index).copied().unwrap_or_else(|| usage(&format!("argument {index} is missing")))
}

/// The argument `index` as a number.
fn number(args: &[&str], index: usize) -> i64 {
    let text = arg(args, index);
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|n| n as i64),
        None => text.parse::<i64>().ok().or_else(|| text.parse::<u64>().ok().map(|n| n as i64)),
    };
    parsed.unwrap_or_else(|| usage(&format!("{text:?} is no number")))
}

/// The errno of a failed std::io call.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
