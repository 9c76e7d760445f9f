//! Runs hooks: `hooks` of config.json, with the state on their standard input (runtime.md, "Hooks").

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags};
use serde::Serialize;

use crate::config::OCI_VERSION;
use crate::error::{Context, Error, Kind, Result};
use crate::path::read_all;
use crate::plan::HookPlan;

/// What of the state does not change over a container's life.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The container's id.
    pub id: String,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The annotations of config.json.
    pub annotations: Option<HashMap<String, String>>,
    /// The root file system, absolute. Not of the spec; NVIDIA's hook looks for it, as crun gives it.
    pub rootfs: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a std::path::Path,
    root: &'a std::path::Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a HashMap<String, String>>,
}

impl Identity {
    /// The state as JSON (runtime.md, "State"). `pid` 0: there is no process any more.
    pub fn state(&self, status: &str, pid: i32) -> Vec<u8> {
        let state = State {
            oci_version: OCI_VERSION,
            id: &self.id,
            status,
            pid: (pid != 0).then_some(pid),
            bundle: &self.bundle,
            root: &self.rootfs,
            annotations: self.annotations.as_ref(),
        };
        // A path that is no UTF-8 was refused when the state was first recorded; nothing else in it can fail.
        serde_json::to_vec(&state).unwrap_or_default()
    }
}

/// How much of a hook's output goes into an error.
const OUTPUT_MAX: usize = 4096;

/// Runs `hooks` in order, up to the first that fails. `name` is config.json's name of the list.
///
/// A hook without `env` has `default_env`, or the runtime's environment.
pub fn run(name: &str, hooks: &[HookPlan], state: &[u8], default_env: Option<&[String]>) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, state, default_env).with_context(|| format!("error running {name} hook #{index}"))?;
    }
    Ok(())
}

fn run_one(hook: &HookPlan, state: &[u8], default_env: Option<&[String]>) -> Result<()> {
    // Files in memory rather than pipes: nobody has to read along, and a hook's children that live on hold up nothing.
    let mut stdin = memory("state")?;
    stdin.write_all(state).and_then(|()| stdin.rewind()).context("write the state")?;
    let (stdout, stderr) = (memory("stdout")?, memory("stderr")?);
    let mut command = Command::new(&hook.path);
    command.stdin(Stdio::from(stdin));
    command.stdout(Stdio::from(stdout.try_clone().context("dup")?));
    command.stderr(Stdio::from(stderr.try_clone().context("dup")?));
    if let [name, args @ ..] = hook.args.as_slice() {
        command.arg0(name).args(args);
    }
    if let Some(env) = hook.env.as_deref().or(default_env) {
        command.env_clear().envs(env.iter().map(|var| var.split_once('=').unwrap_or((var, ""))));
    }
    let mut child = command.spawn().with_context(|| format!("start {}", hook.path.display()))?;
    if let Some(seconds) = hook.timeout {
        let pid = Pid::from_child(&child);
        let pidfd =
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open of the hook")?;
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let limit = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 };
        if rustix::event::poll(&mut fds, Some(&limit)).context("wait for the hook")? == 0 {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::new(
                Kind::System,
                format!(
                    "{}: timeout of {seconds}s exceeded{}",
                    hook.path.display(),
                    output(&stdout, &stderr)
                ),
            ));
        }
    }
    let status = child.wait().context("wait for the hook")?;
    let what = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal: {}", signal.unwrap_or(0)),
    };
    Err(Error::new(Kind::System, format!("{what}{}", output(&stdout, &stderr))))
}

fn memory(name: &str) -> Result<File> {
    let flags = MemfdFlags::CLOEXEC;
    rustix::fs::memfd_create(name, flags).map(File::from).context("make a file in memory for a hook")
}

fn output(stdout: &File, stderr: &File) -> String {
    let text = |file: &File| {
        let mut file = file;
        let length = file.metadata().map(|m| m.len()).unwrap_or(0);
        let _ = file.seek(std::io::SeekFrom::Start(length.saturating_sub(OUTPUT_MAX as u64)));
        let bytes = read_all(file.as_fd(), 2 * OUTPUT_MAX).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().replace('\n', "\\n")
    };
    format!(", stdout: {}, stderr: {}", text(stdout), text(stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str) -> HookPlan {
        let args = ["sh", "-c", script].map(String::from).to_vec();
        HookPlan { path: "/bin/sh".into(), args, env: Some(vec!["A=1".into()]), timeout: None }
    }

    fn failure(hook: HookPlan) -> String {
        run("prestart", &[hook_ok(), hook], b"{}", None).unwrap_err().to_string()
    }

    fn hook_ok() -> HookPlan {
        hook("exit 0")
    }

    #[test]
    fn the_state_on_stdin() {
        let annotations = Some(HashMap::from([("a.b".to_owned(), "c".to_owned())]));
        let identity = Identity { id: "x".into(), bundle: "/b".into(), rootfs: "/b/r".into(), annotations };
        assert_eq!(
            String::from_utf8(identity.state("created", 42)).unwrap(),
            r#"{"ociVersion":"1.3.0","id":"x","status":"created","pid":42,"bundle":"/b","root":"/b/r","annotations":{"a.b":"c"}}"#
        );
        assert!(!String::from_utf8(identity.state("stopped", 0)).unwrap().contains("pid"));
        let check = hook(r#"[ "$(cat)" = '{"k":1}' ] && [ "$A" = 1 ] && [ -z "$HOME" ]"#);
        run("poststart", &[check], br#"{"k":1}"#, None).unwrap();
    }

    #[test]
    fn a_failure_names_the_hook_and_shows_what_it_said() {
        assert_eq!(
            failure(hook("echo out; echo err >&2; exit 3")),
            "error running prestart hook #1: exit status 3, stdout: out, stderr: err"
        );
        assert!(failure(hook("kill -9 $$")).contains("hook #1: signal: 9"));
        let missing = HookPlan { path: "/nonexistent".into(), ..hook_ok() };
        assert_eq!(
            failure(missing),
            "error running prestart hook #1: start /nonexistent: no such file or directory"
        );
    }

    #[test]
    fn a_timeout_kills() {
        let start = std::time::Instant::now();
        let slow = HookPlan { timeout: Some(1), ..hook("echo soon; sleep 60") };
        let error = failure(slow);
        assert!(error.contains("timeout of 1s exceeded, stdout: soon"), "{error}");
        assert!(start.elapsed().as_secs() < 20);
    }
}
