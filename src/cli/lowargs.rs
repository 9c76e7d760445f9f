//! From the raw command line to flag values: the low level, which knows names and order but no meaning.
//!
//! Callers of OCI runtimes write flags in every order, with one dash or two (`-no-subreaper` is go-runc's), as
//! `--flag value` or `--flag=value`. [`sort`] brings that into one canonical form by the tables, and clap gets that:
//! only the verb in use is ever built, which keeps parsing at some tens of microseconds.

use super::table::{Flag, GLOBALS, VERBS, Verb};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The key of the positional arguments.
const ARGS: &str = "args";

/// Values of flags, by long name.
pub(super) struct Values(ArgMatches);

impl Values {
    /// The last value given, as on every other runtime's command line.
    pub fn last(&self, flag: &str) -> Option<&OsString> {
        self.all(flag).last()
    }

    /// All values given, in order.
    pub fn all(&self, flag: &str) -> impl Iterator<Item = &OsString> {
        debug_assert!(self.0.try_get_many::<OsString>(flag).is_ok(), "no flag --{flag} in the table");
        self.0.try_get_many::<OsString>(flag).ok().flatten().into_iter().flatten()
    }

    /// Whether a switch is on.
    pub fn on(&self, flag: &str) -> bool {
        debug_assert!(self.0.try_get_one::<u8>(flag).is_ok(), "no switch --{flag} in the table");
        self.0.try_get_one::<u8>(flag).ok().flatten().is_some_and(|&count| count > 0)
    }

    /// The positional arguments.
    pub fn args(&self) -> Vec<&OsString> {
        self.all(ARGS).collect()
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
    let mut global_args = before.flags;
    let mut globals = get(global_command(program), &global_args, &[]).map_err(whole)?;
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
    if !after.globals.is_empty() {
        global_args.extend(after.globals);
        globals = get(global_command(program), &global_args, &[]).map_err(misuse)?;
    }
    let values = get(command(program, verb), &after.flags, &after.positional).map_err(misuse)?;
    check_count(verb, after.positional.len()).map_err(misuse)?;
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
    /// The table's flags, each as one `--long` or `--long=value`; what no table knows, as it came.
    flags: Vec<OsString>,
    /// The same for flags of the other table.
    globals: Vec<OsString>,
    positional: Vec<OsString>,
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
                out.flags.extend(canonical(flag, attached, args)?);
                continue;
            }
            if let Some(flag) = globals.and_then(|table| table.iter().find(is_it)) {
                out.globals.extend(canonical(flag, attached, args)?);
                continue;
            }
        }
        if dashes == 2 || !short_cluster(body, tables, args, &mut out.flags)? {
            // clap says what is wrong with it, and what was perhaps meant. One dash more keeps it from
            // reading a word as a cluster of letters.
            let double = [if dashes == 1 && name.len() > 1 { &b"-"[..] } else { b"" }, bytes].concat();
            out.flags.push(OsString::from_vec(double));
        }
    }
    Ok(out)
}

/// `-d`, `-dt`, `-uVALUE`, `-u=VALUE`, `-u VALUE`. False if a letter is in no table; then nothing was taken.
fn short_cluster(
    body: &[u8],
    tables: &[&'static [Flag]],
    args: &mut dyn Iterator<Item = OsString>,
    out: &mut Vec<OsString>,
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
        out.extend(canonical(flag, attached, args)?);
    }
    Ok(true)
}

/// One flag with its value as clap is to see it; `None` for a switch that was set to false.
fn canonical(
    flag: &Flag,
    attached: Option<&[u8]>,
    args: &mut dyn Iterator<Item = OsString>,
) -> Result<Option<OsString>, String> {
    let dashed = format!("--{}", flag.long);
    if flag.value.is_none() {
        return match attached {
            None | Some(b"true" | b"1" | b"t") => Ok(Some(dashed.into())),
            Some(b"false" | b"0" | b"f") => Ok(None),
            Some(_) => Err(format!("invalid boolean value for {dashed}: must be true or false")),
        };
    }
    let value = match attached {
        Some(value) => OsStr::from_bytes(value).to_owned(),
        // These words are Go's; Podman runs `restore --lsm-mount-context` to look for them.
        None => args.next().ok_or_else(|| format!("flag needs an argument: {dashed}"))?,
    };
    let mut whole = OsString::from(dashed);
    whole.push("=");
    whole.push(value);
    Ok(Some(whole))
}

fn arg(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.long).long(flag.long).help(flag.help).hide(flag.help.is_empty());
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match flag.value {
        Some(name) => arg.value_name(name).action(ArgAction::Append).value_parser(value_parser!(OsString)),
        None => arg.action(ArgAction::Count),
    }
}

fn positionals() -> Arg {
    Arg::new(ARGS).num_args(0..).value_parser(value_parser!(OsString)).hide(true)
}

fn global_command(program: &str) -> Command {
    Command::new("tare").bin_name(program).args(GLOBALS.iter().map(arg)).arg(positionals())
}

fn command(program: &str, verb: &'static Verb) -> Command {
    let options = if verb.flags.is_empty() { "" } else { " [OPTIONS]" };
    let space = if verb.args.is_empty() { "" } else { " " };
    Command::new(verb.name)
        .about(verb.about)
        .override_usage(format!("{program} {}{options}{space}{}", verb.name, verb.args))
        .args(verb.all_flags().map(arg))
        .arg(positionals())
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

/// Runs clap over canonical arguments.
fn get(cmd: Command, flags: &[OsString], positional: &[OsString]) -> Result<Values, String> {
    let program = OsStr::new("tare");
    let words = [program].into_iter().chain(flags.iter().map(OsString::as_os_str));
    let words = words.chain([OsStr::new("--")]).chain(positional.iter().map(OsString::as_os_str));
    cmd.try_get_matches_from(words).map(Values).map_err(|error| explain(&error))
}

/// clap's error as one line, in the words that callers know from Go.
fn explain(error: &clap::Error) -> String {
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
