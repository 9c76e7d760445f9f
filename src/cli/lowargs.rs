//! From the raw command line to flag values: the low level, which knows names and order but no meaning.
//!
//! Callers of OCI runtimes write flags in every order, with one dash or two (`-no-subreaper` is go-runc's), as
//! `--flag value` or `--flag=value`. [`sort`] finds them in the tables. clap, made from the same tables, writes the help and
//! says what is wrong with a flag that is in none: building it takes 0.1 ms, which a call that is right does not pay.

use super::table::{Flag, GLOBALS, VERBS, Verb};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, value_parser};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Values of flags, by long name, and what is no flag.
pub(super) struct Values {
    /// The flags that may be asked for.
    tables: &'static [&'static [Flag]],
    /// A switch that is on has an empty value.
    given: Vec<(&'static str, OsString)>,
    args: Vec<OsString>,
}

impl Values {
    /// The last value given, as on every other runtime's command line.
    pub fn last(&self, flag: &str) -> Option<&OsString> {
        self.all(flag).last()
    }

    /// All values given, in order.
    pub fn all(&self, flag: &str) -> impl Iterator<Item = &OsString> {
        debug_assert!(self.knows(flag, true), "no flag --{flag} in the table");
        self.given.iter().filter(move |(name, _)| *name == flag).map(|(_, value)| value)
    }

    /// Whether a switch is on.
    pub fn on(&self, flag: &str) -> bool {
        debug_assert!(self.knows(flag, false), "no switch --{flag} in the table");
        self.given.iter().any(|(name, _)| *name == flag)
    }

    /// The positional arguments.
    pub fn args(&self) -> &[OsString] {
        &self.args
    }

    fn knows(&self, flag: &str, has_value: bool) -> bool {
        self.tables
            .iter()
            .copied()
            .flatten()
            .any(|known| known.long == flag && known.value.is_some() == has_value)
    }
}

/// The outcome of the low level.
pub(super) enum Low {
    /// A text that was asked for: help.
    Print(String),
    /// `--version`.
    Version,
    /// A verb with its flags.
    Verb { globals: Values, verb: &'static Verb, values: Values },
}

/// A command line that cannot be understood.
#[derive(Debug)]
pub(super) struct Misuse {
    /// What is wrong, as one line.
    pub message: String,
    /// The usage of the verb, or of the whole program; two lines.
    pub usage: String,
}

/// Parses the command line without the program's name; `program` is what the help calls it.
pub(super) fn parse(program: &str, args: Vec<OsString>) -> Result<Low, Misuse> {
    let whole = |message: String| Misuse {
        message,
        usage: format!("Usage: {program} [OPTIONS] <COMMAND>\nTry {program} --help"),
    };
    let mut args = args.into_iter();
    let before = sort(&mut args, &[GLOBALS], None, Stop::BeforePositional).map_err(whole)?;
    if before.help {
        return Ok(Low::Print(overview(program)));
    }
    if let Some(flag) = &before.unknown {
        return Err(whole(explain(global_command(program), flag)));
    }
    let mut globals = Values { tables: &[GLOBALS], given: before.flags, args: Vec::new() };
    if globals.on("version") {
        return Ok(Low::Version);
    }
    let name = match before.positional.first() {
        None => return Ok(Low::Print(overview(program))),
        Some(name) if name == "help" => {
            let wanted = args.next().and_then(|name| find(&name));
            let text = wanted.map(|verb| command(program, verb).render_help().to_string());
            return Ok(Low::Print(text.unwrap_or_else(|| overview(program))));
        }
        Some(name) => name,
    };
    let Some(verb) = find(name) else { return Err(whole(format!("unknown command {name:?}"))) };

    let misuse = |message: String| {
        let usage = command(program, verb).render_usage();
        Misuse { message, usage: format!("{usage}\nTry {program} {} --help", verb.name) }
    };
    let stop = if verb.in_order { Stop::AfterPositional } else { Stop::Never };
    let after = sort(&mut args, verb.flags, Some(GLOBALS), stop).map_err(misuse)?;
    if after.help {
        return Ok(Low::Print(command(program, verb).render_help().to_string()));
    }
    if let Some(flag) = &after.unknown {
        return Err(misuse(explain(command(program, verb), flag)));
    }
    globals.given.extend(after.globals);
    let values = Values { tables: verb.flags, given: after.flags, args: after.positional };
    check_count(verb, values.args.len()).map_err(misuse)?;
    Ok(Low::Verb { globals, verb, values })
}

fn find(name: &OsStr) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| name == verb.name)
}

fn check_count(verb: &Verb, count: usize) -> Result<(), String> {
    let name = verb.name;
    match verb.count {
        (min, max) if min == max && count != min => {
            Err(format!("{name:?} requires exactly {min} argument(s)"))
        }
        (min, _) if count < min => Err(format!("{name:?} requires a minimum of {min} argument(s)")),
        (_, max) if count > max => Err(format!("{name:?} requires a maximum of {max} argument(s)")),
        _ => Ok(()),
    }
}

/// Where flags end.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    /// At the first positional argument, which is taken and nothing after it.
    BeforePositional,
    /// At the first positional argument; all that follows is positional.
    AfterPositional,
    /// Nowhere but at `--`.
    Never,
}

#[derive(Default)]
struct Sorted {
    /// The table's flags by their long names.
    flags: Vec<(&'static str, OsString)>,
    /// The same for flags of the other table.
    globals: Vec<(&'static str, OsString)>,
    positional: Vec<OsString>,
    /// The first flag that no table knows, for clap.
    unknown: Option<OsString>,
    help: bool,
}

/// Sorts arguments into flags and positionals. A name in `tables` goes before one in `globals`.
fn sort(
    args: &mut dyn Iterator<Item = OsString>,
    tables: &[&'static [Flag]],
    globals: Option<&'static [Flag]>,
    stop: Stop,
) -> Result<Sorted, String> {
    let mut out = Sorted::default();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" {
            out.positional.extend(args);
            break;
        }
        if bytes.len() < 2 || bytes[0] != b'-' {
            out.positional.push(arg);
            match stop {
                Stop::BeforePositional => break,
                Stop::AfterPositional => {
                    out.positional.extend(args);
                    // `exec ID -- CMD` is written by habit; no command is called `--`.
                    if out.positional.get(1).is_some_and(|second| second == "--") {
                        out.positional.remove(1);
                    }
                    break;
                }
                Stop::Never => continue,
            }
        }
        let dashes = if bytes[1] == b'-' { 2 } else { 1 };
        let body = &bytes[dashes..];
        let (name, attached) = match body.iter().position(|&b| b == b'=') {
            Some(at) => (&body[..at], Some(&body[at + 1..])),
            None => (body, None),
        };
        if matches!((dashes, name), (_, b"help") | (1, b"h")) {
            out.help = true;
            return Ok(out);
        }
        // A name of one letter is a long name only after two dashes.
        if dashes == 2 || name.len() > 1 {
            let is_it = |flag: &&Flag| flag.long.as_bytes() == name;
            if let Some(flag) = tables.iter().copied().flatten().find(is_it) {
                out.flags.extend(given(flag, attached, args)?);
                continue;
            }
            if let Some(flag) = globals.and_then(|table| table.iter().find(is_it)) {
                out.globals.extend(given(flag, attached, args)?);
                continue;
            }
        }
        if dashes == 2 || !short_cluster(body, tables, args, &mut out.flags)? {
            // One dash more keeps clap from reading a word as a cluster of letters.
            let double = [if dashes == 1 && name.len() > 1 { &b"-"[..] } else { b"" }, bytes].concat();
            out.unknown.get_or_insert(OsString::from_vec(double));
        }
    }
    Ok(out)
}

/// `-d`, `-dt`, `-uVALUE`, `-u=VALUE`, `-u VALUE`. False if a letter is in no table; then nothing was taken.
fn short_cluster(
    body: &[u8],
    tables: &[&'static [Flag]],
    args: &mut dyn Iterator<Item = OsString>,
    out: &mut Vec<(&'static str, OsString)>,
) -> Result<bool, String> {
    let mut found = Vec::new();
    let mut rest = body;
    while let [letter, tail @ ..] = rest {
        let short = Some(char::from(*letter));
        let flag = tables.iter().copied().flatten().find(|flag| flag.short == short);
        let Some(flag) = flag else { return Ok(false) };
        let attached = match tail {
            [b'=', value @ ..] => Some(value),
            [_, ..] if flag.value.is_some() => Some(tail),
            _ => None,
        };
        rest = if attached.is_some() { &[] } else { tail };
        found.push((flag, attached));
    }
    for (flag, attached) in found {
        out.extend(given(flag, attached, args)?);
    }
    Ok(true)
}

/// One flag with its value; `None` for a switch that was set to false.
fn given(
    flag: &'static Flag,
    attached: Option<&[u8]>,
    args: &mut dyn Iterator<Item = OsString>,
) -> Result<Option<(&'static str, OsString)>, String> {
    let name = flag.long;
    if flag.value.is_none() {
        return match attached {
            None | Some(b"true" | b"1" | b"t") => Ok(Some((name, OsString::new()))),
            Some(b"false" | b"0" | b"f") => Ok(None),
            Some(_) => Err(format!("invalid boolean value for --{name}: must be true or false")),
        };
    }
    let value = match attached {
        Some(value) => OsStr::from_bytes(value).to_owned(),
        // These words are Go's; Podman runs `restore --lsm-mount-context` to look for them.
        None => args.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
    };
    Ok(Some((name, value)))
}

fn arg(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.long).long(flag.long).help(flag.help).hide(flag.help.is_empty());
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match flag.value {
        Some(name) => arg.value_name(name).action(ArgAction::Append).value_parser(value_parser!(OsString)),
        // Said twice it means no more; a counter would, and its help has dots after the name.
        None => arg.action(ArgAction::SetTrue).overrides_with(flag.long),
    }
}

fn global_command(program: &str) -> Command {
    Command::new("tare").bin_name(program).args(GLOBALS.iter().map(arg))
}

fn command(program: &str, verb: &'static Verb) -> Command {
    let options = if verb.flags.is_empty() { "" } else { " [OPTIONS]" };
    let space = if verb.args.is_empty() { "" } else { " " };
    Command::new(verb.name)
        .about(verb.about)
        .override_usage(format!("{program} {}{options}{space}{}", verb.name, verb.args))
        .args(verb.all_flags().map(arg))
}

fn overview(program: &str) -> String {
    Command::new("tare")
        .about("A light, fast and safe OCI container runtime for Linux")
        .override_usage(format!("{program} [OPTIONS] <COMMAND> [ARGS]"))
        .args(GLOBALS.iter().map(arg))
        .subcommands(VERBS.iter().map(|verb| Command::new(verb.name).about(verb.about)))
        .disable_help_subcommand(true)
        .render_help()
        .to_string()
}

/// What is wrong with a flag that no table knows, and what was perhaps meant: one line, in the words that callers know from
/// Go.
fn explain(cmd: Command, flag: &OsStr) -> String {
    let Err(error) = cmd.try_get_matches_from([OsStr::new("tare"), flag]) else {
        return format!("flag provided but not defined: {}", flag.display());
    };
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(all)) => all.first().cloned(),
        _ => None,
    };
    match (error.kind(), text(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(flag)) => {
            let hint = text(ContextKind::SuggestedArg)
                .map(|it| format!(" (did you mean {it}?)"))
                .unwrap_or_default();
            format!("flag provided but not defined: {flag}{hint}")
        }
        _ => {
            let whole = error.to_string();
            whole.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}
