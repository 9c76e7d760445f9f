//! `events`: statistics in runc's shape, and being told of out-of-memory kills.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tare_integration::*;

const IDLE: &str = "sleep 300000";

/// False for crun, and noted.
fn can_tell() -> bool {
    if peer() == Peer::Crun {
        skip("crun has no events");
    }
    peer() != Peer::Crun
}

/// `events --stats`, checked for its envelope: its data.
#[track_caller]
fn stats(c: &Container) -> Value {
    let out = c.call("events --stats").ok();
    assert_eq!(out.stdout.lines().count(), 1, "{out:?}");
    let event = out.document();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)), "{event}");
    assert_eq!(event.as_object().unwrap().len(), 3, "{event}");
    event["data"].clone()
}

/// Every path to a value, with the type of the value: the shape. Elements of arrays are taken together.
fn shape(value: &Value) -> BTreeMap<String, &'static str> {
    fn walk(at: &str, value: &Value, shape: &mut BTreeMap<String, &'static str>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        shape.insert(at.to_owned(), kind);
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| walk(&format!("{at}/{key}"), value, shape))
            }
            Value::Array(list) => list.iter().for_each(|value| walk(&format!("{at}/[]"), value, shape)),
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    walk("", value, &mut found);
    found
}

/// A container that has used some of everything there is to count.
fn busy(disk: Option<&Disk>) -> Container {
    let mut b = Bundle::new();
    if has_controller("cpu") {
        b = b.set("/linux/resources/cpu", json!({"quota": 10_000, "period": 100_000}));
    }
    if has_controller("memory") {
        b = b.set("/linux/resources/memory", json!({"limit": 256 << 20}));
    }
    if has_controller("pids") {
        b = b.set("/linux/resources/pids", json!({"limit": 100}));
    }
    let mut verbs = "spend 100 -- hold 20 -- spawn 2 -- touch /dev/shm/f -- write /dev/shm/f x".to_owned();
    if let Some(disk) = disk {
        if has_controller(if is_v2() { "io" } else { "blkio" }) {
            // Linux 5.18 to 6.4 count on v1 only what has limits.
            let much = json!([disk.limit("rate", 1u64 << 40)]);
            let limits = json!({"throttleReadBpsDevice": much, "throttleWriteBpsDevice": much});
            b = b.set("/linux/resources/blockIO", limits);
        }
        b = disk.give_to(b);
        verbs += " -- disk read /dev/disk 1048576 65536 -- disk write /dev/disk 524288 65536";
    }
    let c = b.does(&format!("{verbs} -- print done -- {IDLE}")).start();
    let done = until(TIMEOUT, || c.stdout().contains("done"));
    assert!(done, "{} {}", c.stdout(), c.stderr());
    c
}

#[test]
fn statistics_are_true() {
    if !can_tell() {
        return;
    }
    let disk = Disk::new(4);
    let c = busy(disk.as_ref());
    let data = stats(&c);
    let number = |pointer: &str| data.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let cpu = has_controller("cpuacct") || is_v2();
    assert!(!cpu || number("/cpu/usage/total") > 100_000_000, "{data}");
    assert!(!cpu || number("/cpu/usage/total") < 60_000_000_000, "not in nanoseconds: {data}");
    if has_controller("cpu") {
        assert!(number("/cpu/throttling/throttledPeriods") > 0, "{data}");
        assert!(number("/cpu/throttling/throttledTime") > 10_000_000, "{data}");
        assert!(number("/cpu/throttling/periods") >= number("/cpu/throttling/throttledPeriods"), "{data}");
    }
    assert_eq!(number("/pids/current"), 3, "{data}");
    assert_eq!(number("/pids/limit"), if has_controller("pids") { 100 } else { 0 });
    if has_controller("memory") {
        assert!((20 << 20..60 << 20).contains(&number("/memory/usage/usage")), "{data}");
        assert_eq!(number("/memory/usage/limit"), 256 << 20);
        // Swap is the sum here as in config.json, so it is no less than memory.
        assert!(number("/memory/swap/usage") >= number("/memory/usage/usage"), "{data}");
        let anonymous = if is_v2() { "/memory/raw/anon" } else { "/memory/raw/rss" };
        assert!((20 << 20..60 << 20).contains(&number(anonymous)), "{data}");
        c.exec("alloc 30").ok();
        let peak = stats(&c).pointer("/memory/usage/max").and_then(Value::as_u64).unwrap_or(0);
        assert!(peak == 0 || peak > 50 << 20, "{peak}");
    }
    if let Some(disk) = &disk
        && has_controller(if is_v2() { "io" } else { "blkio" })
    {
        let (major, minor) = disk.numbers();
        let find = |list: &str, op: &str| {
            let list = data
                .pointer(&format!("/blkio/{list}"))
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let wanted = |entry: &&Value| {
                let number = |key: &str| entry[key].as_u64().unwrap_or(0);
                (number("major"), number("minor")) == (major, minor) && entry["op"] == op
            };
            list.iter().find(wanted).map_or(0, |entry| entry["value"].as_u64().unwrap_or(0))
        };
        assert_eq!(find("ioServiceBytesRecursive", "Read"), 1 << 20, "{data}");
        assert_eq!(find("ioServiceBytesRecursive", "Write"), 512 << 10, "{data}");
        assert_eq!(find("ioServicedRecursive", "Read"), 16, "{data}");
        assert_eq!(find("ioServicedRecursive", "Write"), 8, "{data}");
    }
}

#[test]
fn the_shape_is_runcs_key_by_key() {
    if !tare_only("runc's shape is compared with runc's") {
        return;
    }
    let runc = ["/usr/bin/runc", "/usr/sbin/runc"].into_iter().find(|path| fs::metadata(path).is_ok());
    let Some(runc) = runc else { return skip("no runc to compare with") };
    let disk = Disk::new(4);
    let c = busy(disk.as_ref());
    let ours = stats(&c);
    // The very same bundle, and of it the very same numbers, by runc.
    let id = format!("{}-runc", c.id);
    let root = c.outside().join("runc");
    let call =
        |words: &[&str]| Cmd::new(runc, ["--root", root.to_str().unwrap()].iter().chain(words).copied());
    c.call("delete --force").ok();
    let running = call(&["run", "--bundle", c.path().to_str().unwrap(), &id]).spawn();
    running.lines(c.stdout().lines().count());
    let theirs = call(&["events", "--stats", &id]).run().document()["data"].clone();
    call(&["delete", "--force", &id]).run().ok();
    running.wait();

    let (ours, theirs) = (shape(&ours), shape(&theirs));
    for (path, kind) in &theirs {
        // What a newer runc has beyond those this was made after.
        let newer = path.starts_with("/memory/event_count");
        assert!(
            newer || ours.get(path) == Some(kind),
            "runc has {path} as {kind}, we have {:?}",
            ours.get(path)
        );
    }
    for (path, kind) in &ours {
        // runc has had it since 1.2, on v2.
        let psi = path.contains("/psi");
        // Of peaks that an older runc does not read.
        let peak = path == "/memory/usage/max";
        // runc knows no controllers of v2 beside v1, and on v2 1.1 reads a file `rsvd.events`, which no kernel has.
        let beside =
            path.starts_with("/hugetlb/") && !theirs.keys().any(|path| path.starts_with("/hugetlb/"));
        assert!(psi || peak || beside || theirs.contains_key(path), "runc has no {path} ({kind})");
    }
    assert!(theirs.len() > 30, "{theirs:?}");
}

#[test]
fn statistics_come_at_the_interval_until_the_end() {
    if !can_tell() {
        return;
    }
    if peer() == Peer::Runc && !has_controller("memory") {
        return skip("runc's events need the memory controller");
    }
    let c = Bundle::new().does(IDLE).start();
    let begin = Instant::now();
    let events = c.cmd(["events", "--interval", "200ms", &c.id]).spawn();
    events.lines(3);
    assert!(begin.elapsed() >= Duration::from_millis(600), "{:?}", begin.elapsed());
    c.kill("KILL").ok();
    c.wait();
    let end = Instant::now();
    peer_may_differ("runc", "waits for the cgroup to go", || {
        let out = events.wait().ok();
        assert!(end.elapsed() < Duration::from_secs(2) * slow(), "{:?}", end.elapsed());
        for line in out.stdout.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
            assert!(event["data"]["cpu"]["usage"].is_object());
        }
    });
}

/// User and system time of a process, in clock ticks.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn kills_for_lack_of_memory_are_told() {
    if !can_tell() {
        return;
    }
    if !has_controller("memory") {
        return skip("no memory controller");
    }
    let memory = json!({"limit": 32 << 20, "swap": 32 << 20});
    let c = Bundle::new().set("/linux/resources/memory", memory).does(IDLE).start();
    // So long an interval that no statistics come between.
    let mut events = c.cmd(["events", "--interval", "1h", &c.id]).spawn();
    // It must be watching: then it sleeps.
    let asleep =
        || fs::read_to_string(format!("/proc/{}/wchan", events.pid())).is_ok_and(|w| w.contains("poll"));
    if peer() == Peer::Tare {
        assert!(until(TIMEOUT, asleep));
    } else {
        std::thread::sleep(Duration::from_millis(500) * slow());
    }
    assert_eq!(c.exec("alloc 4").ok().json(), "ok");
    assert_eq!(events.stdout(), "", "nothing has happened");
    for turn in 1..=2 {
        assert_eq!(c.exec("alloc 48").code, Some(137));
        let lines = events.lines(turn);
        let line: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        assert_eq!(line, json!({"type": "oom", "id": c.id}));
    }
    // It has slept meanwhile, not asked.
    let before = ticks(events.pid());
    std::thread::sleep(Duration::from_millis(500));
    assert!(peer() != Peer::Tare || ticks(events.pid()) == before);
    assert!(!events.ended());
    c.kill("KILL").ok();
    c.wait();
    peer_may_differ("runc", "waits for the cgroup to go", || {
        let out = events.wait().ok();
        assert_eq!(out.stdout.lines().count(), 2, "{out:?}");
    });
}

#[test]
fn the_kill_of_the_first_process_is_told_before_the_end() {
    if !can_tell() {
        return;
    }
    if !has_controller("memory") {
        return skip("no memory controller");
    }
    let memory = json!({"limit": 32 << 20, "swap": 32 << 20});
    let b = Bundle::new().set("/linux/resources/memory", memory);
    let c = b.does("wait-file /go -- alloc 48").start();
    let events = c.cmd(["events", "--interval", "1h", &c.id]).spawn();
    std::thread::sleep(Duration::from_millis(300) * slow());
    fs::write(c.inside("/go"), "").unwrap();
    assert_eq!(c.wait(), 137);
    c.call("delete").ok();
    let out = events.wait().ok();
    peer_may_differ("runc", "may lose it", || {
        assert_eq!(out.answers(), [json!({"type": "oom", "id": c.id})]);
    });
}

#[test]
fn a_container_below_pressure_does_not_keep_it_busy() {
    if !can_tell() {
        return;
    }
    if !has_controller("memory") || !is_v2() {
        return skip("memory.events of v2");
    }
    let Some(disk) = Disk::new(64) else { return };
    // Reads through a page cache that is too small, all the time: memory.events changes with each turn.
    let b = Bundle::new().set("/linux/resources/memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
    let turns = vec!["cache /dev/disk 0 60"; 200].join(" -- ");
    let c = disk.give_to(b).does(&turns).start();
    c.lines(1);
    let mut events = c.cmd(["events", "--interval", "1h", &c.id]).spawn();
    std::thread::sleep(Duration::from_millis(500) * slow());
    let before = ticks(events.pid());
    std::thread::sleep(Duration::from_secs(1));
    let used = ticks(events.pid()) - before;
    assert!(peer() != Peer::Tare || used <= 20, "{used} ticks in a second");
    assert!(!events.ended(), "the container still runs");
    events.signal(Signal::SIGTERM);
    events.wait();
}

#[test]
fn who_is_not_there_has_no_events() {
    if !can_tell() {
        return;
    }
    let c = Bundle::new().does("exit 0").start();
    c.wait();
    c.until_status("stopped");
    c.call("events --stats").fails().says_any(&["is not running"]);
    c.call("events").fails().says_any(&["is not running"]);
    Bundle::new().call("events --stats").fails().says_any(&["does not exist"]);
    Bundle::new().call("events --interval 0").fails();
}

#[test]
fn created_and_paused_containers_are_counted() {
    if !can_tell() {
        return;
    }
    let c = Bundle::new().does(IDLE).create();
    // runc's init has several threads.
    let current = stats(&c)["pids"]["current"].clone();
    assert!(current == 1 || peer() != Peer::Tare, "{current}");
    c.call("start").ok();
    c.call("pause").ok();
    assert_eq!(stats(&c)["pids"]["current"], 1);
    c.call("resume").ok();
}
