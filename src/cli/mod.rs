//! The command line: from `argv` to a [`Global`] and a [`Command`] with typed, checked options.
//!
//! Two levels. The low one (`lowargs`) knows flags as data and every order in which callers write them, the high
//! one (`build`) knows what they mean. Verbs see only the outcome of the high one.

mod build;
mod lowargs;
mod options;
mod table;
pub mod values;

pub use crate::state::ContainerId;
pub use options::*;
pub use values::UserArg;

use crate::error::{Error, Kind};
use lowargs::Low;
use std::ffi::OsString;
use std::path::Path;

/// The newest runtime-spec this follows.
pub const SPEC_VERSION: &str = crate::config::OCI_VERSION;
/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, if the build said so in `TARE_COMMIT`.
pub const COMMIT: &str = match option_env!("TARE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What the command line asks for.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process, and it is never moved about")]
pub enum Parsed {
    /// To print a text on stdout and succeed: help, version.
    Print(String),
    /// To run a verb.
    Run(Global, Command),
}

/// A command line that asks for nothing that can be done.
#[derive(Debug)]
pub struct Failure {
    /// What is wrong.
    pub error: Error,
    /// A few lines of usage for a person; empty where the form is right and only a value is not.
    pub usage: String,
    /// The exit code: 1, or what the verb makes of its errors.
    pub exit_code: i32,
    /// Where to log it; default where the global options are not known.
    pub global: Global,
}

/// Parses `argv`, the program's own name first.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Parsed, Box<Failure>> {
    let mut argv = argv.into_iter();
    let program = program_name(argv.next());
    let low = lowargs::parse(program, argv.collect()).map_err(|misuse| {
        Box::new(Failure {
            error: Error::new(Kind::Usage, misuse.message),
            usage: misuse.usage,
            exit_code: 1,
            global: Global { program, ..Global::default() },
        })
    })?;
    let (globals, verb, values) = match low {
        Low::Print(text) => return Ok(Parsed::Print(text)),
        Low::Version => return Ok(Parsed::Print(version(program))),
        Low::Verb { globals, verb, values } => (globals, verb, values),
    };
    let fail =
        |global, exit_code| move |error| Box::new(Failure { error, usage: String::new(), exit_code, global });
    let global =
        build::global(program, &globals).map_err(fail(Global { program, ..Global::default() }, 1))?;
    match build::command(verb.name, &globals, &values) {
        Ok(command) => Ok(Parsed::Run(global, command)),
        Err(error) => Err(fail(global, error_exit_code(verb.name))(error)),
    }
}

/// The exit code of a failed verb. `exec` has its own, so that it is not taken for the command's.
fn error_exit_code(verb: &str) -> i32 {
    if verb == "exec" { 255 } else { 1 }
}

impl Command {
    /// The exit code when the verb itself fails.
    pub fn error_exit_code(&self) -> i32 {
        if matches!(self, Command::Exec(_)) { error_exit_code("exec") } else { 1 }
    }
}

/// Engines look for a runtime called runc by its `--version` and its error prefix, so the name that counts is the
/// one this was called by.
fn program_name(argv0: Option<OsString>) -> &'static str {
    let argv0 = argv0.unwrap_or_default();
    if Path::new(&argv0).file_name().is_some_and(|name| name == "runc") { "runc" } else { "tare" }
}

fn version(program: &str) -> String {
    let first = match program {
        // Exactly three words, the first two fixed: go-runc and nerdctl insist.
        "runc" => format!("runc version {SPEC_VERSION}-tare{VERSION}"),
        _ => format!("tare version {VERSION}"),
    };
    format!("{first}{}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n", crate::weaken::SUFFIX)
}

#[cfg(test)]
mod tests;
