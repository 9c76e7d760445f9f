//! `ps`: the processes of a container, as a list of pids or as ps(1) of the host shows them.

use super::{json, load, print, seams};
use crate::bail;
use crate::cli::{Global, ListFormat, PsOptions};
use crate::error::{Context, Error, Kind, Result};
use std::ffi::OsString;
use std::process::Command;

/// Runs `ps`.
pub fn run(global: &Global, options: &PsOptions) -> Result<i32> {
    let container = load(global, &options.id)?;
    let pids = seams::pids(&container)?;
    match options.format {
        ListFormat::Json => print(&json(&pids, false)?)?,
        ListFormat::Table => print(&only(&pids, &ask_ps(&options.args)?)?)?,
    }
    Ok(0)
}

fn ask_ps(args: &[OsString]) -> Result<String> {
    let mut command = Command::new("ps");
    if args.is_empty() {
        command.arg("-ef");
    }
    let output = command.args(args).output().context("run ps")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            System,
            "run ps: {}: {}",
            output.status,
            String::from_utf8_lossy(&said).trim().replace('\n', "; ")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The heading of ps and the lines of the processes in `pids`.
fn only(pids: &[i32], output: &str) -> Result<String> {
    let mut lines = output.lines();
    let head = lines.next().unwrap_or_default();
    let Some(column) = head.split_whitespace().position(|name| name == "PID") else {
        return Err(Error::new(Kind::System, "couldn't find PID field in ps output"));
    };
    let is_one = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok([head].into_iter().chain(lines.filter(is_one)).flat_map(|line| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_column_of_the_pid() {
        let output =
            "UID   PID  PPID CMD\nroot    1     0 init\nroot   11     1 sh -c 12\n\nroot   12    11 x\nodd\n";
        assert_eq!(only(&[11], output).unwrap(), "UID   PID  PPID CMD\nroot   11     1 sh -c 12\n");
        assert_eq!(only(&[], output).unwrap(), "UID   PID  PPID CMD\n");
        assert_eq!(only(&[3], "PID\n  3\n 33\n").unwrap(), "PID\n  3\n");
        assert!(only(&[1], "USER COMMAND\n").is_err());
        assert!(only(&[1], "").is_err());
    }

    #[test]
    fn ps_is_run_with_the_arguments_and_its_complaint_is_told() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let text = only(&[pid], &ask_ps(&[]).unwrap()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        let text = only(&[pid], &ask_ps(&["-o".into(), "comm,pid".into(), "-e".into()]).unwrap()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        let error = ask_ps(&["--no-such-option".into()]).unwrap_err().to_string();
        assert!(error.starts_with("run ps: exit status: 1: ") && !error.contains('\n'), "{error}");
    }
}
