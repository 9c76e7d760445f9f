use super::*;
use crate::gate;
use crate::state::Stat;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

/// The two steps of the end of a creation.
trait RecordAndCommit {
    fn record_and_commit(self, state: State) -> Result<Container>;
}

impl RecordAndCommit for Reservation {
    fn record_and_commit(self, state: State) -> Result<Container> {
        self.checkpoint(&state)?;
        self.commit(state)
    }
}

/// A store in a directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tare-store-{name}-{}", std::process::id()));
        // What a group may write to is not believed.
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }
    fn root(&self) -> PathBuf {
        self.0.join("root")
    }
    fn store(&self) -> Store {
        Store::open(Some(&self.root())).unwrap()
    }
    fn entries(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.root())
            .map(|dir| dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that runs until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        Sleeper(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap())
    }
    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn id(text: &str) -> ContainerId {
    ContainerId::parse(text).unwrap()
}

fn facts(name: &str, pid: i32) -> State {
    State {
        id: name.into(),
        init_process_pid: pid,
        init_process_start: if pid == 0 { 0 } else { Stat::of(pid).unwrap().start },
        gate: true,
        ..State::default()
    }
}

#[test]
fn a_missing_root_is_an_empty_store() {
    let scratch = Scratch::new("missing");
    let mut store = scratch.store();
    let error = store.list().unwrap_err();
    assert!(error.to_string().ends_with("no such file or directory"), "one that the caller names: {error}");
    store.choice = Choice::Default;
    assert!(store.list().unwrap().is_empty());
    let error = store.load(&id("c1")).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::NotFound, "container \"c1\" does not exist")
    );
    assert!(!scratch.root().exists());
}

#[test]
fn reserve_commit_load_remove() {
    let scratch = Scratch::new("cycle");
    let reservation = scratch.store().reserve(&id("c1")).unwrap();
    let mode = std::fs::metadata(scratch.root().join("c1")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    let sleeper = Sleeper::new();
    reservation.record_and_commit(facts("c1", sleeper.pid())).unwrap();
    let container = scratch.store().load(&id("c1")).unwrap();
    assert_eq!(container.state().unwrap().init_process_pid, sleeper.pid());
    assert_eq!(std::fs::read_dir(scratch.root().join("c1")).unwrap().count(), 1, "no temporary file is left");
    container.remove().unwrap();
    assert_eq!(scratch.entries(), [""; 0]);
    assert_eq!(scratch.store().load(&id("c1")).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_dropped_reservation_leaves_nothing() {
    let scratch = Scratch::new("drop");
    let reservation = scratch.store().reserve(&id("c1")).unwrap();
    reservation.checkpoint(&facts("c1", 0)).unwrap();
    let _gate = gate::make(reservation.dir()).unwrap();
    let outside = scratch.0.join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("kept"), "x").unwrap();
    std::fs::create_dir_all(scratch.root().join("c1/notify/deep")).unwrap();
    std::fs::write(scratch.root().join("c1/notify/deep/file"), "x").unwrap();
    symlink(&outside, scratch.root().join("c1/link")).unwrap();
    drop(reservation);
    assert_eq!(scratch.entries(), [""; 0]);
    assert!(outside.join("kept").exists(), "a symbolic link was followed");
}

#[test]
fn an_id_is_given_once() {
    let scratch = Scratch::new("twice");
    let first = scratch.store().reserve(&id("c1")).unwrap();
    let error = scratch.store().reserve(&id("c1")).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::Exists, "container with given ID already exists")
    );
    let kept = first.record_and_commit(facts("c1", 0)).unwrap();
    assert_eq!(scratch.store().reserve(&id("c1")).unwrap_err().kind(), Kind::Exists);
    assert_eq!(scratch.entries(), ["c1"], "a failed reservation must not remove what another owns");
    drop(kept);
}

#[test]
fn of_many_at_once_one_gets_the_id() {
    let scratch = Scratch::new("race");
    for round in 0..50 {
        let name = format!("c{round}");
        let barrier = std::sync::Barrier::new(8);
        let winners = std::thread::scope(|scope| {
            let attempt = || {
                let mut store = scratch.store();
                barrier.wait();
                let reservation = store.reserve(&id(&name));
                barrier.wait();
                match reservation {
                    Ok(reservation) => reservation.record_and_commit(facts(&name, 0)).map(|_| 1).unwrap(),
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::Exists, "{error}");
                        0
                    }
                }
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>()
        });
        assert_eq!(winners, 1);
    }
    assert_eq!(scratch.entries().len(), 50);
}

#[test]
fn who_made_a_container_does_not_keep_it_locked() {
    // `run` in the foreground holds it open while it runs, and another may delete it.
    let scratch = Scratch::new("unlocked");
    let made = scratch.store().reserve(&id("c1")).unwrap().record_and_commit(facts("c1", 0)).unwrap();
    let other = scratch.store().load(&id("c1")).unwrap();
    flock(other.dir(), FlockOperation::NonBlockingLockExclusive).unwrap();
    drop(made);
}

#[test]
fn two_that_delete_do_not_hit_a_third_that_creates() {
    let scratch = Scratch::new("aba");
    scratch.store().reserve(&id("c1")).unwrap().record_and_commit(facts("c1", 0)).unwrap();
    let (a, b) = (scratch.store().load(&id("c1")).unwrap(), scratch.store().load(&id("c1")).unwrap());
    a.remove().unwrap();
    let third = scratch.store().reserve(&id("c1")).unwrap();
    b.remove().unwrap();
    assert_eq!(scratch.entries(), ["c1"]);
    third.record_and_commit(facts("c1", 0)).unwrap();
}

#[test]
fn a_status_follows_from_the_process() {
    let scratch = Scratch::new("status");
    let status = |frozen| scratch.store().load(&id("c1")).unwrap().status(move || frozen).unwrap();
    let reservation = scratch.store().reserve(&id("c1")).unwrap();
    assert_eq!(status(false), Status::Creating, "before any record");
    reservation.checkpoint(&facts("c1", 0)).unwrap();
    assert_eq!(status(false), Status::Creating, "while only the cgroup is recorded");

    let gate = gate::make(reservation.dir()).unwrap();
    let mut sleeper = Sleeper::new();
    let container = reservation.record_and_commit(facts("c1", sleeper.pid())).unwrap();
    for _ in 0..40 {
        // More askers than the backlog holds: the later ones get EAGAIN.
        assert_eq!(status(false), Status::Created);
    }
    assert_eq!(status(true), Status::Paused);
    drop(gate);
    assert_eq!(status(false), Status::Running);
    assert!(matches!(gate::start(container.dir()), Ok(gate::Knock::NobodyThere)));
    assert_eq!(status(true), Status::Paused);

    let mut stranger = facts("c1", sleeper.pid());
    stranger.init_process_start += 1;
    let mut other = scratch.store().load(&id("c1")).unwrap();
    other.save(stranger).unwrap();
    assert_eq!(status(false), Status::Stopped, "a pid used again is not the container");
    assert!(other.pidfd().unwrap().is_none());

    other.save(facts("c1", sleeper.pid())).unwrap();
    assert_eq!(status(false), Status::Running);
    assert!(other.pidfd().unwrap().is_some());
    sleeper.0.kill().unwrap();
    sleeper.0.wait().unwrap();
    assert_eq!(status(true), Status::Stopped, "the freezer is not asked for a process that is gone");
    assert!(other.pidfd().unwrap().is_none());
    other.remove().unwrap();
}

#[test]
fn a_creation_cut_short_can_be_deleted() {
    let scratch = Scratch::new("killed");
    // As a killed creator leaves it: the lock is gone with the process, the directory is there.
    let killed = |recorded: bool| {
        let mut reservation = scratch.store().reserve(&id("c1")).unwrap();
        if recorded {
            reservation.checkpoint(&facts("c1", 0)).unwrap();
        }
        reservation.entry = None;
    };
    killed(false);
    let container = scratch.store().load(&id("c1")).unwrap();
    assert_eq!(container.status(|| false).unwrap(), Status::Stopped);
    let error = container.state().unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("does not exist"), "{error}");
    assert!(scratch.store().list().unwrap().is_empty());
    container.remove().unwrap();

    killed(true);
    let container = scratch.store().load(&id("c1")).unwrap();
    assert_eq!(container.status(|| false).unwrap(), Status::Stopped);
    assert_eq!(container.state().unwrap().id, "c1");
    container.remove().unwrap();
    assert_eq!(scratch.entries(), [""; 0]);
}

#[test]
fn a_deletion_during_a_creation_makes_the_creator_give_up() {
    let scratch = Scratch::new("overtaken");
    let reservation = scratch.store().reserve(&id("c1")).unwrap();
    reservation.checkpoint(&facts("c1", 0)).unwrap();
    scratch.store().load(&id("c1")).unwrap().remove().unwrap();
    let error = reservation.record_and_commit(facts("c1", 0)).unwrap_err();
    assert_eq!(error.errno(), Some(crate::error::Errno::ENOENT), "{error}");
    assert_eq!(scratch.entries(), [""; 0]);
}

#[test]
fn broken_entries_do_not_hide_others() {
    let scratch = Scratch::new("broken");
    for name in ["b", "a"] {
        scratch.store().reserve(&id(name)).unwrap().record_and_commit(facts(name, 0)).unwrap();
    }
    let root = scratch.root();
    std::fs::write(root.join("file"), "").unwrap();
    symlink("a", root.join("link")).unwrap();
    for (name, text) in [("cut", "{\"id\":"), ("empty", ""), ("other", "{\"id\":\"a\"}"), ("odd", "7")] {
        std::fs::create_dir(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("state.json"), text).unwrap();
    }
    std::fs::create_dir(root.join("stateless")).unwrap();
    std::fs::create_dir(root.join("linked")).unwrap();
    std::fs::write(scratch.0.join("outside.json"), "{\"id\":\"linked\"}").unwrap();
    symlink(scratch.0.join("outside.json"), root.join("linked/state.json")).unwrap();
    let names: Vec<_> = scratch.store().list().unwrap().iter().map(|c| c.id().to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    for name in ["file", "link"] {
        assert_eq!(scratch.store().load(&id(name)).unwrap_err().kind(), Kind::NotFound);
    }
    for name in ["cut", "empty", "other", "odd", "linked"] {
        let container = scratch.store().load(&id(name)).unwrap();
        let error = container.state().unwrap_err();
        assert_eq!(error.kind(), Kind::State);
        assert!(
            error.to_string().starts_with(&format!("container {name:?} has no readable state")),
            "{error}"
        );
        container.remove().unwrap();
    }
    assert_eq!(scratch.entries(), ["a", "b", "file", "link", "stateless"]);
}

#[test]
fn a_large_state_is_read_whole() {
    let scratch = Scratch::new("large");
    for length in [32 * 1024 - 300, 300_000] {
        let mut state = facts("c1", 0);
        let long = format!("{{\"annotations\":{{\"k\":\"{}\"}}}}", "x".repeat(length));
        state.spec = Some(serde_json::value::RawValue::from_string(long).unwrap());
        scratch.store().reserve(&id("c1")).unwrap().record_and_commit(state).unwrap();
        let container = scratch.store().load(&id("c1")).unwrap();
        assert_eq!(container.state().unwrap().annotations()["k"].len(), length);
        container.remove().unwrap();
    }
}

#[test]
fn a_reader_never_sees_half_a_state() {
    let scratch = Scratch::new("atomic");
    let mut container =
        scratch.store().reserve(&id("c1")).unwrap().record_and_commit(facts("c1", 0)).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..2000 {
                scratch.store().load(&id("c1")).unwrap().state().unwrap();
            }
        });
        for n in 0..2000 {
            let mut state = facts("c1", 0);
            state.version = "v".repeat(n % 500);
            container.save(state).unwrap();
        }
        reader.join().unwrap();
    });
}

#[test]
fn the_default_root() {
    let choose = |dir: Option<&str>, honour| choose_root(dir.map(Into::into), || honour);
    assert_eq!(choose(Some("/run/user/7"), true), ("/run/user/7/tare".into(), Choice::RuntimeDir));
    assert_eq!(choose(Some("/run/user/7"), false), ("/run/tare".into(), Choice::Default));
    assert_eq!(choose(Some(""), true), ("/run/tare".into(), Choice::Default));
    assert_eq!(choose(None, true), ("/run/tare".into(), Choice::Default));
}

#[test]
fn a_root_below_the_runtime_directory_is_kept_from_cleaners() {
    let scratch = Scratch::new("sticky");
    for (choice, mode) in [(Choice::Given, 0o700), (Choice::RuntimeDir, 0o1700)] {
        let path = scratch.0.join(format!("a/b{mode:o}"));
        let mut store = Store { path: path.clone(), choice, root: None };
        store.reserve(&id("c1")).unwrap().record_and_commit(facts("c1", 0)).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o7777, mode);
    }
}
