//! Runs hooks: `hooks` of config.json, with the state on their standard input (runtime.md, "Hooks").

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use serde::Serialize;

use crate::config::OCI_VERSION;
use crate::error::{Context, Error, Kind, Result};
use crate::path::read_all;
use crate::plan::HookPlan;
use crate::sys::exec::Strings;
use crate::sys::{signal, spawn};

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
    bundle: &'a Path,
    root: &'a Path,
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

/// What the specification leaves open, as runc has it.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// Where hooks begin; `/` where that cannot be entered, as a bundle that is removed before `delete`. `None`: where this
    /// process is.
    pub dir: Option<&'a Path>,
    /// The environment of those that have no `env`. `None`: the runtime's own.
    pub env: Option<&'a Strings>,
}

impl<'a> Setting<'a> {
    /// In a directory, with the runtime's environment.
    pub fn at(dir: &'a Path) -> Setting<'a> {
        Setting { dir: Some(dir), env: None }
    }
}

/// Runs `hooks` in order, up to the first that fails. `name` is config.json's name of the list.
///
/// # Errors
/// [`Kind::Hook`]: one has failed.
pub fn run(name: &str, hooks: &[HookPlan], state: &[u8], setting: Setting<'_>) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, state, setting)
            .map_err(|e| e.with_kind(Kind::Hook))
            .with_context(|| format!("error running {name} hook #{index}"))?;
    }
    Ok(())
}

fn run_one(hook: &HookPlan, state: &[u8], setting: Setting<'_>) -> Result<()> {
    let streams = Streams::new(state)?;
    let child = start(hook, &streams, setting)?;
    let in_time = hook.timeout.map_or(Ok(true), |seconds| ends_within(child, seconds));
    if !matches!(in_time, Ok(true)) {
        let _ = rustix::process::kill_process(child, Signal::KILL);
    }
    let status = wait(child)?;
    let late = || format!("{}: timeout of {}s exceeded", hook.path.display(), hook.timeout.unwrap_or(0));
    let what = if in_time? { describe(status) } else { Some(late()) };
    match what {
        None => Ok(()),
        Some(what) => Err(Error::new(Kind::Hook, format!("{what}{}", streams.said()))),
    }
}

fn start(hook: &HookPlan, streams: &Streams, setting: Setting<'_>) -> Result<Pid> {
    let own;
    let env = match (&hook.env, setting.env) {
        (None, Some(env)) => env,
        (given, _) => {
            own = Strings::new(environment(given.as_deref())?);
            &own
        }
    };
    let program = spawn::Program {
        path: text(hook.path.as_os_str().as_bytes())?,
        args: Strings::new(texts(&hook.args)?),
        env,
        dir: setting.dir.map(|dir| text(dir.as_os_str().as_bytes())).transpose()?,
        stdio: [streams.stdin.as_fd(), streams.stdout.as_fd(), streams.stderr.as_fd()],
    };
    spawn::spawn(&program).with_context(|| format!("start {}", hook.path.display()))
}

/// The given environment, or the runtime's own.
fn environment(given: Option<&[String]>) -> Result<Vec<CString>> {
    match given {
        Some(env) => texts(env),
        None => std::env::vars_os()
            .map(|(name, value)| text(&[name.as_bytes(), b"=", &value.into_vec()].concat()))
            .collect(),
    }
}

fn texts(all: &[String]) -> Result<Vec<CString>> {
    all.iter().map(|one| text(one.as_bytes())).collect()
}

fn text(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::new(Kind::Config, "a NUL byte in its path, args or env"))
}

/// Whether a child that is not reaped yet ends in time.
fn ends_within(child: Pid, seconds: u64) -> Result<bool> {
    let pidfd = rustix::process::pidfd_open(child, PidfdFlags::empty()).context("pidfd_open of the hook")?;
    let start = Instant::now();
    loop {
        let left = Duration::from_secs(seconds).saturating_sub(start.elapsed());
        let limit = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.context("wait for the hook").map(|ready| ready > 0),
        }
    }
}

fn wait(child: Pid) -> Result<WaitStatus> {
    let ended = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty()));
    match ended.context("wait for the hook")? {
        Some((_, status)) => Ok(status),
        None => Err(Error::new(Kind::System, "wait for the hook: it has no status")),
    }
}

/// What is wrong with how it has ended, in Go's words.
fn describe(status: WaitStatus) -> Option<String> {
    let dumped = if status.as_raw() & 0x80 != 0 { " (core dumped)" } else { "" };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exit status {code}")),
        (None, signal) => Some(format!("signal: {}{dumped}", signal::name(signal.unwrap_or(0)))),
    }
}

/// Files in memory rather than pipes: nobody has to read along, and a hook's children that live on hold up nothing.
struct Streams {
    stdin: File,
    stdout: File,
    stderr: File,
}

impl Streams {
    /// With the state to be read.
    fn new(state: &[u8]) -> Result<Streams> {
        let mut stdin = memory("state")?;
        stdin.write_all(state).and_then(|()| stdin.rewind()).context("write the state")?;
        Ok(Streams { stdin, stdout: memory("stdout")?, stderr: memory("stderr")? })
    }

    /// What the hook has written, as the end of an error.
    fn said(&self) -> String {
        format!(", stdout: {}, stderr: {}", last_of(&self.stdout), last_of(&self.stderr))
    }
}

fn memory(name: &str) -> Result<File> {
    let flags = MemfdFlags::CLOEXEC;
    rustix::fs::memfd_create(name, flags).map(File::from).context("make a file in memory for a hook")
}

fn last_of(mut file: &File) -> String {
    let length = file.metadata().map(|m| m.len()).unwrap_or(0);
    let _ = file.seek(std::io::SeekFrom::Start(length.saturating_sub(OUTPUT_MAX as u64)));
    let bytes = read_all(file.as_fd(), 2 * OUTPUT_MAX).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str) -> HookPlan {
        let args = ["sh", "-c", script].map(String::from).to_vec();
        HookPlan { path: "/bin/sh".into(), args, env: Some(vec!["A=1".into()]), timeout: None }
    }

    fn failure(hook: HookPlan) -> String {
        run("prestart", &[hook_ok(), hook], b"{}", Setting::at("/".as_ref())).unwrap_err().to_string()
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
        run("poststart", &[check], br#"{"k":1}"#, Setting::at("/".as_ref())).unwrap();
    }

    #[test]
    fn a_failure_names_the_hook_and_shows_what_it_said() {
        assert_eq!(
            failure(hook("echo out; echo err >&2; exit 3")),
            "error running prestart hook #1: exit status 3, stdout: out, stderr: err"
        );
        assert!(failure(hook("kill -9 $$")).contains("hook #1: signal: killed, "));
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
