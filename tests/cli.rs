//! The binary as its callers see it: exit codes, stdout, stderr, the log. Containers are made through the library's
//! store around a plain child process, so that nothing here needs privileges.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tare::state::{Container, ContainerId, Reservation, Stat, State, Store};

/// The two steps of the end of a creation.
trait RecordAndCommit {
    fn record_and_commit(self, state: State) -> tare::error::Result<Container>;
}

impl RecordAndCommit for Reservation {
    fn record_and_commit(self, state: State) -> tare::error::Result<Container> {
        self.checkpoint(&state)?;
        self.commit(state)
    }
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tare-cli-{name}-{}", std::process::id()));
        // What a group may write to is not believed.
        rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }
    fn root(&self) -> PathBuf {
        self.0.join("root")
    }
    fn tare(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tare"));
        command
            .current_dir(&self.0)
            .arg("--root")
            .arg(self.root())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
    fn reserve(&self, id: &str) -> Reservation {
        Store::open(Some(&self.root())).unwrap().reserve(&ContainerId::parse(id).unwrap()).unwrap()
    }
    fn container(&self, id: &str, process: &Process) -> Container {
        self.reserve(id).record_and_commit(process.state(id)).unwrap()
    }
    fn exists(&self, id: &str) -> bool {
        self.root().join(id).exists()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Stands for the first process of a container.
struct Process(Child);

impl Process {
    fn new(script: &str) -> Process {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The script says when it is ready.
        use std::io::Read;
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Process(child)
    }
    fn sleeping() -> Process {
        Process::new("echo; exec sleep 1000")
    }
    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }
    fn state(&self, id: &str) -> State {
        let spec = r#"{"annotations":{"k":"v"},"linux":{"namespaces":[{"type":"pid"}]}}"#;
        State {
            id: id.into(),
            init_process_pid: self.pid(),
            init_process_start: Stat::of(self.pid()).unwrap().start,
            bundle: "/bundle".into(),
            rootfs: "/bundle/rootfs".into(),
            created: "2026-01-02T03:04:05.6Z".into(),
            gate: true,
            spec: Some(serde_json::value::RawValue::from_string(spec.into()).unwrap()),
            ..State::default()
        }
    }
    fn end(&mut self) -> std::process::ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn ok(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    assert_eq!(stderr, "", "success is silent");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn fails(output: &Output, code: i32, message: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "one line, once: {stderr}");
    let (time, text) = stderr.trim_end().split_once(" level=error msg=").unwrap_or_default();
    assert!(time.starts_with("time=\""), "not runc's form: {stderr}");
    assert_eq!(serde_json::from_str::<String>(text).unwrap(), message);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn unknown_containers() {
    let s = Scratch::new("unknown");
    for verb in ["state", "kill", "delete", "ps", "pause", "resume", "update", "events", "checkpoint"] {
        fails(&s.tare(&[verb, "nope"]), 1, "container \"nope\" does not exist");
    }
    ok(&s.tare(&["delete", "--force", "nope"]));
    fails(&s.tare(&["delete", "--force", "../x"]), 1, "invalid container ID format: \"../x\"");
    assert!(!s.root().exists(), "asking must not make anything");
}

#[test]
fn the_log_holds_one_object_for_a_failing_call() {
    let s = Scratch::new("log");
    let log = s.0.join("log.json");
    for n in 1..=2 {
        let output = s.tare(&["--log", "log.json", "--log-format", "json", "state", "nope"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "container \"nope\" does not exist\n");
        let text = std::fs::read_to_string(&log).unwrap();
        assert_eq!(text.lines().count(), n, "appended: {text}");
        let object: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["level", "msg", "time"]);
        assert_eq!(object["level"], "error");
        assert_eq!(object["msg"], "container \"nope\" does not exist");
        assert!(object["time"].as_str().unwrap().ends_with('Z'));
    }
    std::fs::remove_file(&log).unwrap();
    // A broken entry makes list warn: in the log, since the call succeeds, and not on stderr.
    std::fs::create_dir_all(s.root().join("broken")).unwrap();
    std::fs::write(s.root().join("broken/state.json"), "{").unwrap();
    let output = s.tare(&["--log", "log.json", "--log-format", "json", "list"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(std::fs::read_to_string(&log).unwrap().contains("\"level\":\"warning\""));
    let output = s.tare(&["--log", "log.json", "--log-format", "json", "kill", "a", "NOPE"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(std::fs::read_to_string(&log).unwrap().contains("unknown signal"));
    let nowhere = "open log file no/such/dir: no such file or directory";
    fails(&s.tare(&["--log", "no/such/dir", "list"]), 1, nowhere);
}

#[test]
fn misuse_prints_the_usage_after_the_message() {
    let s = Scratch::new("misuse");
    let output = s.tare(&["restore", "--lsm-mount-context"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(" level=error msg=\"flag needs an argument: --lsm-mount-context\"\n"),
        "{stderr}"
    );
    assert!(stderr.contains("Usage: tare restore [OPTIONS] <container-id>"), "{stderr}");
    assert!(ok(&s.tare(&["checkpoint", "--help"])).contains("--image-path"));
    fails(&s.tare(&["exec", "a/b", "x"]), 255, "invalid container ID format: \"a/b\"");
}

#[test]
fn the_life_of_a_container() {
    let s = Scratch::new("life");
    let mut process = Process::sleeping();
    let reservation = s.reserve("c1");
    let gate = tare::gate::make(reservation.dir()).unwrap();
    reservation.record_and_commit(process.state("c1")).unwrap();

    let state = || -> serde_json::Value { serde_json::from_str(&ok(&s.tare(&["state", "c1"]))).unwrap() };
    assert_eq!(state()["status"], "created");
    drop(gate);
    let now = state();
    assert_eq!(now["status"], "running");
    assert_eq!(now["pid"], process.pid());
    assert_eq!((now["bundle"].as_str(), now["rootfs"].as_str()), (Some("/bundle"), Some("/bundle/rootfs")));
    assert_eq!((now["annotations"]["k"].as_str(), now["owner"].as_str()), (Some("v"), Some("root")));

    assert_eq!(ok(&s.tare(&["ps", "--format", "json", "c1"])), format!("[{}]\n", process.pid()));
    let table = ok(&s.tare(&["ps", "c1"]));
    assert!(table.starts_with("UID") && table.lines().count() == 2, "{table}");

    fails(&s.tare(&["delete", "c1"]), 1, "cannot delete container c1 that is not stopped: running");
    fails(&s.tare(&["resume", "c1"]), 1, "container not paused");
    ok(&s.tare(&["kill", "c1", "0"]));
    ok(&s.tare(&["kill", "c1", "SIGUSR1"]));
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(process.end().signal(), Some(libc::SIGUSR1));
    let now = state();
    assert_eq!((now["status"].as_str(), now["pid"].as_i64()), (Some("stopped"), Some(0)));

    fails(&s.tare(&["kill", "c1", "KILL"]), 1, "container not running: no such process");
    ok(&s.tare(&["kill", "--all", "c1", "9"]));
    fails(&s.tare(&["pause", "c1"]), 1, "container not running");
    fails(&s.tare(&["update", "c1", "--pids-limit", "1"]), 1, "container not running");
    fails(&s.tare(&["events", "c1"]), 1, "container with id c1 is not running");
    ok(&s.tare(&["delete", "c1"]));
    assert!(!s.exists("c1"));
    fails(&s.tare(&["delete", "c1"]), 1, "container \"c1\" does not exist");
}

#[test]
fn deletion_kills_a_created_one_and_with_force_a_running_one() {
    let s = Scratch::new("delete");
    for gate_open in [false, true] {
        // It ignores what can be ignored.
        let mut process = Process::new("trap '' TERM INT HUP; echo; exec sleep 1000");
        let reservation = s.reserve("c1");
        let gate = tare::gate::make(reservation.dir()).unwrap();
        reservation.record_and_commit(process.state("c1")).unwrap();
        if gate_open {
            drop(gate);
            ok(&s.tare(&["delete", "--force", "c1"]));
        } else {
            ok(&s.tare(&["delete", "c1"]));
        }
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(process.end().signal(), Some(libc::SIGKILL));
        assert!(!s.exists("c1"));
    }
}

#[test]
fn what_a_killed_create_left_is_deleted() {
    let s = Scratch::new("halfmade");
    std::fs::create_dir_all(s.root().join("bare")).unwrap();
    std::fs::create_dir_all(s.root().join("corrupt")).unwrap();
    std::fs::write(s.root().join("corrupt/state.json"), "{").unwrap();
    let text =
        "container \"bare\" does not exist: its creation was cut short; delete --force removes what is left";
    fails(&s.tare(&["delete", "bare"]), 1, text);
    fails(&s.tare(&["state", "bare"]), 1, text);
    assert_eq!(s.tare(&["delete", "corrupt"]).status.code(), Some(1));
    ok(&s.tare(&["delete", "--force", "bare"]));
    ok(&s.tare(&["delete", "--force", "corrupt"]));

    let reservation = s.reserve("working");
    reservation.checkpoint(&State { id: "working".into(), ..State::default() }).unwrap();
    assert!(ok(&s.tare(&["state", "working"])).contains("\"status\": \"creating\""));
    fails(
        &s.tare(&["delete", "working"]),
        1,
        "cannot delete container working that is not stopped: creating",
    );
    ok(&s.tare(&["delete", "--force", "working"]));
    assert!(!s.exists("working"));
    drop(reservation);
}

#[test]
fn list_in_every_form() {
    let s = Scratch::new("list");
    let missing = format!("list {}: no such file or directory", s.root().display());
    fails(&s.tare(&["list"]), 1, &missing);
    std::fs::create_dir(s.root()).unwrap();
    assert_eq!(ok(&s.tare(&["list", "-f", "json"])), "null\n");
    assert_eq!(ok(&s.tare(&["list", "-q"])), "");
    assert_eq!(ok(&s.tare(&["list"])), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    let process = Process::sleeping();
    s.container("b", &process);
    s.container("a", &process);
    assert_eq!(ok(&s.tare(&["list", "--quiet"])), "a\nb\n");
    let list: serde_json::Value = serde_json::from_str(&ok(&s.tare(&["list", "--format=json"]))).unwrap();
    assert_eq!((list[0]["id"].as_str(), list[1]["status"].as_str()), (Some("a"), Some("running")));
    let table = ok(&s.tare(&["list"]));
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["a", &process.pid().to_string(), "running", "/bundle", "2026-01-02T03:04:05.6Z", "root"]
    );
}

#[test]
fn spec_refuses_to_overwrite() {
    let s = Scratch::new("spec");
    ok(&s.tare(&["spec"]));
    let text = std::fs::read_to_string(s.0.join("config.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    std::fs::write(s.0.join("config.json"), "mine").unwrap();
    fails(&s.tare(&["spec"]), 1, "File config.json exists. Remove it first");
    assert_eq!(std::fs::read_to_string(s.0.join("config.json")).unwrap(), "mine");
    std::fs::create_dir(s.0.join("sub")).unwrap();
    ok(&s.tare(&["spec", "--bundle", "sub", "--rootless"]));
    assert!(s.0.join("sub/config.json").exists());
    fails(&s.tare(&["spec", "-b", "none"]), 1, "create none/config.json: no such file or directory");
}

#[test]
fn features_and_version_need_no_root_directory() {
    let s = Scratch::new("features");
    let features: serde_json::Value = serde_json::from_str(&ok(&s.tare(&["features"]))).unwrap();
    assert_eq!(features["ociVersionMax"], "1.3.0");
    let runc = s.0.join("runc");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tare"), &runc).unwrap();
    let version = Command::new(&runc).arg("--version").output().unwrap();
    assert!(ok(&version).starts_with("runc version 1.3.0-tare"));
    assert!(!Path::new(&s.root()).exists());
}
