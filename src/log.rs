//! Where messages go.
//!
//! Engines read the log file after a failed call: containerd takes the last JSON object of level `error`, Podman
//! unmarshals the whole file as one object. So a failing call writes exactly one line there, its error, and warnings are
//! held back until it is certain that the call succeeds. They are not for stderr then: that is the container's.
//! Below the level that `--debug` asks for nothing is promised to anybody.
//!
//! Used by the process that was called, never by its children: what fails there comes back over the socket.

use crate::clock;
use crate::error::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`; on a terminal `error: …`
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The call failed.
    Error,
    /// It goes on, but somebody should know.
    #[default]
    Warning,
    /// What is being done.
    Info,
    /// How it is being done.
    Debug,
}

impl Level {
    /// The level of this name, as `--log-level` takes it.
    pub fn parse(name: &str) -> Option<Level> {
        Some(match name {
            "error" => Level::Error,
            "warning" | "warn" => Level::Warning,
            "info" => Level::Info,
            "debug" | "trace" => Level::Debug,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

struct Log {
    file: Option<OwnedFd>,
    format: Format,
    level: Level,
    /// Warnings for the file.
    held: Mutex<String>,
}

static LOG: OnceLock<Log> = OnceLock::new();
static DEFAULT: Log =
    Log { file: None, format: Format::Text, level: Level::Warning, held: Mutex::new(String::new()) };

fn log() -> &'static Log {
    LOG.get().unwrap_or(&DEFAULT)
}

/// Sets the sinks up, once; until then messages go to stderr as text. If the file cannot be opened the other
/// settings hold nevertheless, so that this error itself is printed in the right shape.
pub fn init(file: Option<&Path>, format: Format, level: Level) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = file.map(|path| {
        rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))
            .with_context(|| format!("open log file {}", path.display()))
    });
    let (file, outcome) = match opened {
        None => (None, Ok(())),
        Some(Ok(fd)) => (Some(fd), Ok(())),
        Some(Err(error)) => (None, Err(error)),
    };
    // Only main calls this, and only once; a second call would have no effect.
    let _ = LOG.set(Log { file, format, level, held: Mutex::default() });
    outcome
}

/// The number of the log file's descriptor.
pub fn descriptor() -> Option<i32> {
    log().file.as_ref().map(AsRawFd::as_raw_fd)
}

/// Reports why the call failed, as runc does, against which callers were written: one line in the log; and if that is a
/// file, the plain text on stderr, with its quotes unescaped.
pub fn fatal(error: &Error) {
    let log = log();
    let text = error.to_string();
    let Some(file) = &log.file else { return to_stderr(log.format, Level::Error, &text) };
    write(file.as_fd(), &line(log.format, Level::Error, &text, &clock::now()));
    if let Ok(held) = log.held.lock() {
        write(rustix::stdio::stderr(), &held);
    }
    write(rustix::stdio::stderr(), &format!("{}\n", plain(&text)));
}

/// A warning.
pub fn warn(message: &str) {
    let log = log();
    if log.level < Level::Warning {
        return;
    }
    match (&log.file, log.held.lock()) {
        (Some(_), Ok(mut held)) => {
            held.push_str(&line(log.format, Level::Warning, message, &clock::now()));
        }
        _ => to_stderr(log.format, Level::Warning, message),
    }
}

/// The call succeeds: what was held back is for the log file.
pub fn succeeded() {
    let log = log();
    if let (Some(file), Ok(mut held)) = (&log.file, log.held.lock())
        && !held.is_empty()
    {
        write(file.as_fd(), &held);
        held.clear();
    }
}

/// What is being done, in the log; built only when somebody asked to see it.
pub fn info(message: impl FnOnce() -> String) {
    verbose(Level::Info, message);
}

/// How it is being done, in the log; built only when somebody asked to see it.
pub fn debug(message: impl FnOnce() -> String) {
    verbose(Level::Debug, message);
}

fn verbose(level: Level, message: impl FnOnce() -> String) {
    let log = log();
    if log.level < level {
        return;
    }
    match &log.file {
        Some(file) => write(file.as_fd(), &line(log.format, level, &message(), &clock::now())),
        None => to_stderr(log.format, level, &message()),
    }
}

/// A line for programs, which look for `level=error`; people at a terminal are spared the time and the quotes.
fn to_stderr(format: Format, level: Level, message: &str) {
    let stderr = rustix::stdio::stderr();
    if format == Format::Text && rustix::termios::isatty(stderr) {
        write(stderr, &format!("{}: {}\n", level.name(), plain(message)));
    } else {
        write(stderr, &line(format, level, message, &clock::now()));
    }
}

/// On one line, and with nothing that a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One write, so that lines of several processes never mix. Nobody can be told when it fails.
fn write(to: BorrowedFd<'_>, text: &str) {
    if text.is_empty() {
        return;
    }
    let _ = rustix::io::write(to, text.as_bytes());
}

fn line(format: Format, level: Level, message: &str, time: &str) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        level: &'a str,
        msg: &'a str,
        time: &'a str,
    }
    let mut text = match format {
        Format::Json => {
            serde_json::to_string(&Line { level: level.name(), msg: message, time }).unwrap_or_default()
        }
        Format::Text => format!("time=\"{time}\" level={} msg={}", level.name(), quoted(message)),
    };
    text.push('\n');
    text
}

/// In double quotes, on one line.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "2026-01-02T03:04:05Z";

    #[test]
    fn json_is_one_compact_object_on_one_line() {
        let text = line(Format::Json, Level::Error, "a \"b\"\nc", T);
        assert_eq!(
            text,
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\nc\",\"time\":\"2026-01-02T03:04:05Z\"}\n"
        );
    }

    #[test]
    fn text_is_one_line_whatever_the_message() {
        let text = line(Format::Text, Level::Warning, "exec: \"x\\y\"\n\u{1b}[31m", T);
        assert_eq!(
            text,
            "time=\"2026-01-02T03:04:05Z\" level=warning msg=\"exec: \\\"x\\\\y\\\"\\n\\u001b[31m\"\n"
        );
    }

    #[test]
    fn levels_have_an_order() {
        assert!(Level::Error < Level::Warning && Level::Warning < Level::Info && Level::Info < Level::Debug);
        for level in [Level::Error, Level::Warning, Level::Info, Level::Debug] {
            assert_eq!(Level::parse(level.name()), Some(level));
        }
        assert_eq!(Level::parse("loud"), None);
    }
}
