//! Strict parsing of single values. Each accepts one documented form and nothing that merely resembles it:
//! a lenient id parser gave `exec -u 1` uid 0 in another runtime (CVE-2026-30892).

use crate::bail;
use crate::error::{Error, Kind, Result};

/// The user of `exec --user`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserArg {
    /// The uid inside the container.
    pub uid: u32,
    /// The gid inside the container, if one was given.
    pub gid: Option<u32>,
}

/// Parses `UID[:GID]`: decimal numbers only.
pub fn user(text: &str) -> Result<UserArg> {
    let parse = || match text.split_once(':') {
        None => Some(UserArg { uid: numeric_id(text)?, gid: None }),
        Some((uid, gid)) => Some(UserArg { uid: numeric_id(uid)?, gid: Some(numeric_id(gid)?) }),
    };
    parse().ok_or_else(|| Error::new(Kind::Usage, format!("invalid user {text:?}: must be UID[:GID]")))
}

/// Parses one group id, as `--additional-gids` takes it.
pub fn gid(text: &str) -> Result<u32> {
    numeric_id(text).ok_or_else(|| Error::new(Kind::Usage, format!("invalid group {text:?}: must be a GID")))
}

/// A decimal id without sign, blanks or leading zeros. 2^32-1 is refused: to the kernel it means "leave unchanged".
fn numeric_id(text: &str) -> Option<u32> {
    decimal(text).filter(|&id| id != u32::MAX)
}

fn decimal(text: &str) -> Option<u32> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

/// Parses the number of `--preserve-fds`.
pub fn preserve_fds(text: &str) -> Result<u32> {
    // As high as RLIMIT_NOFILE goes with fs.nr_open's default, low enough for fd arithmetic.
    const MAX: u32 = 1 << 20;
    decimal(text).filter(|&n| n <= MAX).ok_or_else(|| {
        Error::new(Kind::Usage, format!("invalid --preserve-fds {text:?}: must be 0 to {MAX}"))
    })
}

/// The names of signals 1 to 31 without `SIG` (the numbers are the same on every architecture this runs on).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The first real-time signal of a C library: 32 and 33 are its own.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Parses a signal: `9`, `KILL`, `sigkill`, `RTMIN+1`, `SIGRTMAX-2`. A leading `-` is
/// refused, as by runc: -9 is a number, and no signal's. 0 is allowed and means "is it there".
pub fn signal(text: &str) -> Result<i32> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = if text.bytes().any(|b| b.is_ascii_alphabetic()) {
        named_signal(name)
    } else {
        decimal(name).and_then(|n| i32::try_from(n).ok()).filter(|&n| n <= RTMAX)
    };
    number.ok_or_else(|| Error::new(Kind::Usage, format!("unknown signal {text:?}")))
}

fn named_signal(name: &str) -> Option<i32> {
    let in_range = |n: i32| (RTMIN..=RTMAX).contains(&n).then_some(n);
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        _ => decimal(text.strip_prefix(sign)?).and_then(|n| i32::try_from(n).ok()).filter(|&n| n <= RTMAX),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return in_range(RTMIN + offset(rest, '+')?);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return in_range(RTMAX - offset(rest, '-')?);
    }
    let name = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        other => other,
    };
    SIGNALS.iter().zip(1..).find(|(known, _)| **known == name).map(|(_, number)| number)
}

/// Checks one `K=V` of `--env`.
pub fn env(text: &str) -> Result<()> {
    match text.split_once('=') {
        None => bail!(Usage, "invalid environment variable {text:?}: missing '='"),
        Some(("", _)) => bail!(Usage, "invalid environment variable {text:?}: name is empty"),
        Some(_) => Ok(()),
    }
}

/// Parses an amount of bytes as `update --memory` takes it: `1048576`, `512k`, `64m`, `2G`, `2GiB`; `-1` is no limit.
pub fn bytes(flag: &str, text: &str) -> Result<i64> {
    let parse = || {
        if text == "-1" {
            return Some(-1);
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.to_ascii_lowercase();
        let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
        let shift = match unit {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            "p" => 50,
            _ => return None,
        };
        number.parse::<i64>().ok()?.checked_mul(1 << shift)
    };
    parse().ok_or_else(|| {
        Error::new(Kind::Usage, format!("invalid {flag} {text:?}: must be an amount of bytes"))
    })
}

/// Parses a Go duration such as `5s`, `100ms`, `1m30s`; a bare number is seconds. Returns milliseconds.
pub fn interval(text: &str) -> Result<u64> {
    let parse = || {
        if let Some(seconds) = decimal(text) {
            return Some(u64::from(seconds) * 1000);
        }
        let (mut total, mut rest) = (0u64, text);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let (unit, factor) = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
                .into_iter()
                .find(|(unit, _)| rest.starts_with(unit))?;
            rest = &rest[unit.len()..];
            total = total.checked_add(number.checked_mul(factor)?)?;
        }
        Some(total)
    };
    parse().filter(|&ms| ms > 0).ok_or_else(|| {
        Error::new(Kind::Usage, format!("invalid --interval {text:?}: must be a duration such as 5s"))
    })
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
