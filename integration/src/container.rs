//! A container that `create` has made.

use std::ops::Deref;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::cmd::{Cmd, Output, TIMEOUT, text_of};
use crate::{Bundle, Peer, note, peer, reap, until};

/// A created or running container; its bundle can still be used (`deref`).
pub struct Container {
    bundle: Bundle,
    output: Output,
    pid: i32,
}

impl Deref for Container {
    type Target = Bundle;
    fn deref(&self) -> &Bundle {
        &self.bundle
    }
}

impl Container {
    /// After a `create` (or `run --detach`) that gave `output`.
    #[track_caller]
    pub fn created(bundle: Bundle, output: Output) -> Container {
        let mut container = Container { bundle, output, pid: 0 };
        // The pid file of `Bundle::create` saves a call of the runtime.
        let file = std::fs::read_to_string(container.pid_file()).unwrap_or_default();
        container.pid =
            file.trim().parse().unwrap_or_else(|_| container.state()["pid"].as_i64().unwrap() as i32);
        reap::want(container.pid);
        container
    }

    /// `state`, parsed.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.call("state").document()
    }

    /// The status field.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// The pid of the container's init, as it was when created.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// `kill ID SIGNAL`.
    #[track_caller]
    pub fn kill(&self, signal: &str) -> Output {
        self.cmd(["kill", &self.id, signal]).run()
    }

    /// `exec` of the payload with these verbs.
    #[track_caller]
    pub fn exec(&self, verbs: &str) -> Output {
        self.exec_with("", verbs)
    }

    /// `exec FLAGS ID /payload VERBS…`.
    #[track_caller]
    pub fn exec_with(&self, flags: &str, verbs: &str) -> Output {
        self.exec_cmd(flags, verbs).run()
    }

    /// The same, not yet run.
    pub fn exec_cmd(&self, flags: &str, verbs: &str) -> Cmd {
        let words = std::iter::once("exec")
            .chain(flags.split_whitespace())
            .chain([self.id.as_str(), "/payload"])
            .chain(verbs.split_whitespace());
        self.cmd(words)
    }

    /// What its process has written to stdout up to now.
    pub fn stdout(&self) -> String {
        text_of(&self.output.stdout_file)
    }

    /// What it has written to stderr, after what `create` has.
    pub fn stderr(&self) -> String {
        text_of(&self.output.stderr_file)
    }

    /// Waits for `count` lines of its stdout and returns them parsed.
    #[track_caller]
    pub fn lines(&self, count: usize) -> Vec<Value> {
        let enough = until(TIMEOUT, || self.stdout().matches('\n').count() >= count);
        assert!(enough, "{count} lines: {:?} {:?}", self.stdout(), self.stderr());
        self.stdout().lines().take(count).map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// The first line, parsed.
    #[track_caller]
    pub fn answer(&self) -> Value {
        self.lines(1).remove(0)
    }

    /// Waits for the end of a process whose parent we are, and returns its exit code or 128 + signal.
    #[track_caller]
    pub fn wait_pid(&self, pid: i32) -> i32 {
        let mut code = None;
        let ended = until(TIMEOUT, || {
            reap::orphans();
            match reap::status(pid) {
                Ok(status) => {
                    code = status;
                    code.is_some()
                }
                // Not our child: someone else is the reaper. Its end is all we can see.
                Err(_) => nix::sys::signal::kill(Pid::from_raw(pid), None::<Signal>).is_err(),
            }
        });
        assert!(ended, "pid {pid} does not end");
        code.unwrap_or(-1)
    }

    /// The same for the container's init.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        self.wait_pid(self.pid)
    }

    /// Waits until `state` has this status.
    #[track_caller]
    pub fn until_status(&self, status: &str) {
        assert!(
            until(Duration::from_secs(10), || self.status() == status),
            "{} is {}",
            self.id,
            self.status()
        );
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let deleted = self.call("delete --force");
        self.bundle.deleted.set(true);
        let pid = Pid::from_raw(self.pid);
        let alive = || {
            reap::orphans();
            reap::status(self.pid) == Ok(None)
        };
        let limit = Duration::from_secs(if peer() == Peer::Tare { 5 } else { 1 });
        if until(limit, || !alive()) {
            reap::forget(self.pid);
            return;
        }
        let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        if peer() != Peer::Tare {
            note("peer leaks", "a process, after delete --force");
        } else if !std::thread::panicking() {
            panic!("pid {pid} of {} lives after delete --force: {deleted:?}", self.id);
        }
    }
}
