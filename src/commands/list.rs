//! `list`: all containers of a root.

use super::{json, passwd, print, seams, user_name};
use crate::cli::{Global, ListFormat, ListOptions};
use crate::error::Result;
use crate::log;
use crate::state::{ShownState, Store};
use std::fmt::Write;

/// Runs `list`.
pub fn run(global: &Global, options: &ListOptions) -> Result<i32> {
    let containers = Store::open(global.root.as_deref())?.list()?;
    if options.quiet {
        print(&containers.iter().map(|container| format!("{}\n", container.id())).collect::<String>())?;
        return Ok(0);
    }
    let passwd = passwd();
    let mut shown = Vec::new();
    for container in &containers {
        let one = || -> Result<ShownState<'_>> {
            let state = container.state()?;
            let status = container.status(|| seams::is_frozen(container))?;
            Ok(state.shown(status, user_name(&passwd, state.owner)))
        };
        match one() {
            Ok(one) => shown.push(one),
            Err(error) => log::warn(&format!("list: container {:?}: {error}", container.id().as_str())),
        }
    }
    let text = match options.format {
        ListFormat::Table => table(&shown),
        // What Go makes of an empty list, and callers in Go expect.
        ListFormat::Json if shown.is_empty() => "null\n".to_owned(),
        ListFormat::Json => json(&shown, false)?,
    };
    print(&text)?;
    Ok(0)
}

/// Columns as wide as their widest cell and three blanks, and at least twelve: scripts that cut runc's columns see no
/// difference.
fn table(containers: &[ShownState<'_>]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |one: &ShownState<'_>| {
        let (pid, status) = (one.pid.to_string(), one.status.to_string());
        [one.id.to_owned(), pid, status, one.bundle.clone(), one.created.to_owned(), one.owner.clone()]
    };
    let rows: Vec<_> = [head].into_iter().chain(containers.iter().map(row)).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, &width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}");
        }
        let _ = writeln!(text, "{}", row[5]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{State, Status};

    #[test]
    fn columns_are_aligned_as_go_aligns_them() {
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
        let long = State {
            id: "a-long-container-id".into(),
            init_process_pid: 7,
            bundle: "/b".into(),
            ..State::default()
        };
        let short = State { id: "é".into(), created: "2026-01-02T03:04:05Z".into(), ..State::default() };
        let shown = [long.shown(Status::Running, "root".into()), short.shown(Status::Stopped, "#7".into())];
        let wanted = "\
ID                    PID         STATUS      BUNDLE      CREATED                OWNER
a-long-container-id   7           running     /b                                 root
é                     0           stopped                 2026-01-02T03:04:05Z   #7
";
        assert_eq!(table(&shown), wanted);
    }
}
