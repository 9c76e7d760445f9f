//! The verbs, one a file: options → library calls → output. Each returns the exit code.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod outcome;
mod pause;
mod ps;
mod run;
pub mod seams;
mod spec;
mod start;
mod state;
mod update;

use crate::cli::{Command, ContainerId, Global};
use crate::error::{Context, Error, Kind, Result};
use crate::log;
use crate::state::{Container, Store};
use std::io::Write;

/// Runs a verb; the result is the exit code of the program.
pub fn run(global: &Global, command: &Command) -> Result<i32> {
    // Not the options: the code that shows all of them would be as much again as that which builds them.
    log::debug(|| {
        let words: Vec<_> = std::env::args_os().collect();
        format!("{} {}: {words:?}", global.program, crate::cli::VERSION)
    });
    let code = dispatch(global, command)?;
    if let Some(words) = outcome::outcome(command, code) {
        log::info(|| words);
    }
    Ok(code)
}

fn dispatch(global: &Global, command: &Command) -> Result<i32> {
    match command {
        Command::Create(options) => create::run(global, options),
        Command::Start(options) => start::run(global, options),
        Command::Run(options) => run::run(global, options),
        Command::Exec(options) => exec::run(global, options),
        Command::Kill(options) => kill::run(global, options),
        Command::Delete(options) => delete::run(global, options),
        Command::State(options) => state::run(global, options),
        Command::List(options) => list::run(global, options),
        Command::Ps(options) => ps::run(global, options),
        Command::Pause(options) => pause::pause(global, options),
        Command::Resume(options) => pause::resume(global, options),
        Command::Update(options) => update::run(global, options),
        Command::Events(options) => events::run(global, options),
        Command::Checkpoint(options) => checkpoint::checkpoint(global, options),
        Command::Restore(options) => checkpoint::restore(global, options),
        Command::Spec(options) => spec::run(options),
        Command::Features(_) => features::run(),
    }
}

/// Opens a container that was made to its end or is being made.
fn load(global: &Global, id: &ContainerId) -> Result<Container> {
    let container = Store::open(global.root.as_deref())?.load(id)?;
    container.state()?;
    Ok(container)
}

/// Writes to stdout, all of it.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("write to stdout")
}

fn json<T: serde::Serialize>(value: &T, pretty: bool) -> Result<String> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map(|text| text + "\n")
        .map_err(|error| Error::new(Kind::System, error.to_string()).context("write JSON"))
}

/// Something that the command line knows and this build cannot do yet.
fn unsupported(what: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{what} is not supported by this build"))
}

/// The name of a user, or `#UID`: by /etc/passwd alone, as asking the name services would load code.
fn user_name(passwd: &str, uid: u32) -> String {
    let name = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    passwd.lines().find_map(name).unwrap_or_else(|| format!("#{uid}"))
}

/// The text for [`user_name`].
fn passwd() -> String {
    std::fs::read_to_string("/etc/passwd").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n:\nu:x:1000:0::/:\nv:x:1000:0::/:\nbig:x:x:0";
        assert_eq!(user_name(passwd, 0), "root");
        assert_eq!(user_name(passwd, 1000), "u");
        assert_eq!(user_name(passwd, 7), "#7");
        assert_eq!(user_name("", 0), "#0");
    }
}
