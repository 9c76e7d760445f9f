//! What a verb has done, in a few words for the log.

use crate::cli::{Command, CreateOptions};

/// What `command` has changed, now that it has succeeded with this exit code; `None` if it has only looked.
pub(super) fn outcome(command: &Command, code: i32) -> Option<String> {
    let ended = |options: &CreateOptions, detached| {
        if detached { (options.id.clone(), "started".to_owned()) } else { (options.id.clone(), end(code)) }
    };
    let (id, what) = match command {
        Command::Create(options) => (options.id.clone(), "created".to_owned()),
        Command::Start(options) => (options.id.clone(), "started".to_owned()),
        Command::Run(options) => ended(&options.create, options.detach),
        Command::Restore(options) => ended(&options.create, options.detach),
        Command::Exec(options) if options.detach => (options.id.clone(), "has another process".to_owned()),
        Command::Exec(options) => (options.id.clone(), format!("another process {}", end(code))),
        Command::Kill(options) => (options.id.clone(), format!("sent signal {}", options.signal)),
        Command::Delete(options) => (options.id.clone(), "deleted".to_owned()),
        Command::Pause(options) => (options.id.clone(), "paused".to_owned()),
        Command::Resume(options) => (options.id.clone(), "resumed".to_owned()),
        Command::Update(options) => (options.id.clone(), "updated".to_owned()),
        Command::Checkpoint(options) => (options.id.clone(), "saved".to_owned()),
        Command::State(_)
        | Command::List(_)
        | Command::Ps(_)
        | Command::Events(_)
        | Command::Spec(_)
        | Command::Features(_) => return None,
    };
    Some(format!("container {:?}: {what}", id.as_str()))
}

fn end(code: i32) -> String {
    format!("ended with exit code {code}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Parsed, parse};

    #[test]
    fn what_was_done_is_said_and_what_was_looked_at_is_not() {
        let said = |line: &str| match parse(line.split(' ').map(Into::into)) {
            Ok(Parsed::Run(_, command)) => outcome(&command, 3).unwrap_or_default(),
            other => panic!("{other:?}"),
        };
        assert_eq!(said("tare create c"), "container \"c\": created");
        assert_eq!(said("tare run -d c"), "container \"c\": started");
        assert_eq!(said("tare run c"), "container \"c\": ended with exit code 3");
        assert_eq!(said("tare exec c x"), "container \"c\": another process ended with exit code 3");
        assert_eq!(said("tare exec -d c x"), "container \"c\": has another process");
        assert_eq!(said("tare kill c KILL"), "container \"c\": sent signal 9");
        for quiet in ["tare list", "tare state c", "tare ps c", "tare features"] {
            assert_eq!(said(quiet), "");
        }
    }
}
