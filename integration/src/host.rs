//! Who is tested, on which host, and what is left behind.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Once, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::cmd::runtime_path;

/// The runtime under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Ours: the contract is asserted word by word.
    Tare,
    /// runc, the reference.
    Runc,
    /// crun.
    Crun,
    /// Some other runtime.
    Other,
}

/// What `--version` says: the runtime under test (a wrapper's file name says nothing), and the numbers of its version.
fn under_test() -> &'static (Peer, Vec<u32>) {
    static UNDER_TEST: LazyLock<(Peer, Vec<u32>)> = LazyLock::new(|| {
        if std::env::var_os("RUNTIME").is_none_or(|r| r.is_empty()) {
            return (Peer::Tare, Vec::new());
        }
        let text = crate::Cmd::new(runtime_path(), ["--version"]).run().stdout;
        let mut words = text.split_whitespace();
        let peer = match words.next() {
            Some("tare") => Peer::Tare,
            Some("runc") => Peer::Runc,
            Some("crun") => Peer::Crun,
            _ => Peer::Other,
        };
        (peer, numbers(words.find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default()))
    });
    &UNDER_TEST
}

/// The runtime under test.
pub fn peer() -> Peer {
    under_test().0
}

/// `1.1.5+ds1` is 1, 1, 5.
fn numbers(version: &str) -> Vec<u32> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    version[..end].split('.').filter_map(|n| n.parse().ok()).collect()
}

fn peer_name() -> &'static str {
    match peer() {
        Peer::Tare => "tare",
        Peer::Runc => "runc",
        Peer::Crun => "crun",
        Peer::Other => "other",
    }
}

/// Whether the runtime under test is among these: `"runc crun"`, of any version; or `"runc<1.2 crun>=1.21"`.
pub fn is_among(peers: &str) -> bool {
    peers.split(' ').any(|word| {
        let (name, rest) = word.split_at(word.find(['<', '>']).unwrap_or(word.len()));
        let version = &under_test().1;
        let fits = match (rest.strip_prefix('<'), rest.strip_prefix(">=")) {
            (Some(limit), _) => *version < numbers(limit),
            (_, Some(limit)) => *version >= numbers(limit),
            _ => true,
        };
        name == peer_name() && fits
    })
}

/// Once: the sandbox of `integration/run` is there, orphans of the runtime become our children (as an
/// engine's shim arranges it), the umask is known, and no signal is ignored, as a shell's `&` and nohup do: runc hands that on.
///
/// A runtime under test deletes and kills as root, and tests make it fail on purpose; a wrong one has
/// emptied a developer's /tmp. So nothing runs where it could do harm.
pub(crate) fn prepare_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let read_only = |path: &Path| statvfs(path).is_ok_and(|s| s.flags().contains(FsFlags::ST_RDONLY));
        let sheltered = read_only(Path::new("/")) && !read_only(&std::env::temp_dir());
        // Our parent is the sandbox's shell, PID 1 of a namespace of its own, or the child of a systemd that is; or this is
        // the machine of hack/vm.
        let shell = nix::unistd::getppid().as_raw();
        let in_systemd = has_systemd() && parent_of(shell) == Some(1);
        let alone = shell == 1 || in_systemd || Path::new("/vm/command").exists();
        assert!(sheltered && alone, "not in the sandbox of integration/run: nothing is run");
        // SAFETY: system calls that touch no memory of ours, and no handler is set.
        unsafe {
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            libc::umask(0o022);
            for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    });
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// Whether process 1 is a systemd that can be asked for a cgroup: those of the views `systemd…`. In any other view the pid
/// namespace is not systemd's, so that it could not be told of a process.
pub fn has_systemd() -> bool {
    fs::read_to_string("/proc/1/comm").is_ok_and(|name| name.trim() == "systemd")
}

/// Adds a line to the notes that `integration/run` prints at the end.
pub fn note(kind: &str, text: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("{kind}: {test}: {text}\n");
    if let Ok(path) = std::env::var("TARE_NOTES")
        && let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(path)
    {
        let _ = file.write_all(line.as_bytes());
    }
}

/// Notes that this test cannot be made here. Use: `if !has_controller("pids") { return skip("…"); }`
pub fn skip(why: &str) {
    note("skipped", why);
}

/// A test that the named peers ([`is_among`]) are known to fail, and why. Their failure is noted as a
/// known difference; when they pass, the test fails, so that the list stays true.
pub fn peer_differs(peers: &str, reason: &str, test: impl FnOnce()) {
    if !is_among(peers) {
        return test();
    }
    match catch_unwind(AssertUnwindSafe(test)) {
        Err(_) => note("known difference", &format!("{}: {reason}", peer_name())),
        Ok(()) => panic!("{} passes this now; it was listed as differing: {reason}", peer_name()),
    }
}

/// As [`peer_differs`], for a difference that only shows now and then (a race).
pub fn peer_may_differ(peers: &str, reason: &str, test: impl FnOnce()) {
    if !is_among(peers) {
        return test();
    }
    if catch_unwind(AssertUnwindSafe(test)).is_err() {
        note("known difference", &format!("{}: {reason}", peer_name()));
    }
}

/// True for tare; notes for peers that what follows is tare's own contract.
pub fn tare_only(what: &str) -> bool {
    if peer() != Peer::Tare {
        note("tare only", what);
    }
    peer() == Peer::Tare
}

static GATE: RwLock<()> = RwLock::new(());

thread_local! {
    static SHARED: RefCell<(usize, Option<RwLockReadGuard<'static, ()>>)> = const { RefCell::new((0, None)) };
    static EXCLUSIVE: Cell<bool> = const { Cell::new(false) };
}

/// Held while a bundle exists: keeps [`exclusive`] tests out. Counts per thread, since a second read lock
/// on one thread can deadlock behind a waiting writer.
pub(crate) struct Shared(());

impl Shared {
    pub(crate) fn new() -> Shared {
        SHARED.with_borrow_mut(|(count, guard)| {
            *count += 1;
            if !EXCLUSIVE.get() && guard.is_none() {
                *guard = Some(GATE.read().unwrap_or_else(|e| e.into_inner()));
            }
        });
        Shared(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        SHARED.with_borrow_mut(|(count, guard)| {
            *count -= 1;
            if *count == 0 {
                *guard = None;
            }
        });
    }
}

/// See [`exclusive`].
pub struct Exclusive(#[allow(dead_code, reason = "held, not read")] RwLockWriteGuard<'static, ()>);

impl Drop for Exclusive {
    fn drop(&mut self) {
        EXCLUSIVE.set(false);
    }
}

/// No other test of this process has a bundle while this guard lives: for tests that compare what there
/// is on the host before and after. Take it before the first bundle.
pub fn exclusive() -> Exclusive {
    let guard = GATE.write().unwrap_or_else(|e| e.into_inner());
    EXCLUSIVE.set(true);
    Exclusive(guard)
}

/// How many times longer things may take here than on a real processor: `TARE_SLOW`.
pub fn slow() -> u32 {
    static SLOW: LazyLock<u32> =
        LazyLock::new(|| std::env::var("TARE_SLOW").map_or(1, |s| s.parse().expect("TARE_SLOW is a number")));
    *SLOW
}

/// Polls until `condition` holds; false after `limit` (times [`slow`]).
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit * slow();
    loop {
        // Before the look: a machine that stood still in between proves nothing.
        let late = Instant::now() > end;
        if condition() {
            return true;
        }
        if late {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// True where /sys/fs/cgroup is a cgroup2 file system.
pub fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Whether a container can be limited by this controller here.
pub fn has_controller(name: &str) -> bool {
    match fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        Ok(list) => list.split_whitespace().any(|c| c == name),
        Err(_) => Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs").exists(),
    }
}

/// The roots of the cgroup hierarchies that are mounted here.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    if is_v2() {
        return vec![root];
    }
    // Not the links from `cpu` to `cpu,cpuacct`.
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    folders.map(|e| e.path()).filter(|p| p.join("cgroup.procs").exists()).collect()
}

/// The directory of a process in the hierarchy that has this controller (any, on v2).
pub fn cgroup_of(pid: i32, controller: &str) -> PathBuf {
    let fits = |dir: &PathBuf| {
        let root = hierarchies().into_iter().find(|root| dir.starts_with(root)).unwrap_or_default();
        let names = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        is_v2() || names.split(',').any(|name| name == controller)
    };
    cgroups_of(pid).into_iter().find(fits).unwrap_or_else(|| panic!("{pid} has no {controller} cgroup"))
}

/// The cgroup directories of a process, one for each hierarchy that is mounted here.
pub fn cgroups_of(pid: i32) -> Vec<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let roots = hierarchies();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let base = match controllers.strip_prefix("name=").unwrap_or(controllers) {
            "" if is_v2() => PathBuf::from("/sys/fs/cgroup"),
            "" => PathBuf::from("/sys/fs/cgroup/unified"),
            name => Path::new("/sys/fs/cgroup").join(name),
        };
        if roots.contains(&base) {
            found.push(base.join(path.trim_start_matches('/')));
        }
    }
    found
}

/// Every cgroup directory whose path contains `part`.
pub fn cgroups_with(part: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, part: &str, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                let path = entry.path();
                if path.to_string_lossy().contains(part) {
                    found.push(path.clone());
                }
                walk(&path, part, found);
            }
        }
    }
    let mut found = Vec::new();
    for root in hierarchies() {
        walk(&root, part, &mut found);
    }
    found
}

/// What of us there is on the host: to be the same before and after.
#[derive(Debug, PartialEq, Eq)]
pub struct Traces {
    /// Mounts of this mount namespace, without their ids.
    pub mounts: BTreeSet<String>,
    /// Cgroup directories of this test process' containers.
    pub cgroups: BTreeSet<PathBuf>,
    /// Every process below this one, zombies too: we are the reaper of what the runtime leaves behind.
    pub processes: BTreeSet<String>,
}

impl Traces {
    /// Looks now. Meaningful under [`exclusive`] only.
    pub fn now() -> Traces {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts.lines().map(|l| l.splitn(3, ' ').last().unwrap_or("").to_owned()).collect();
        Traces {
            mounts,
            cgroups: cgroups_with(crate::bundle::PREFIX.as_str()).into_iter().collect(),
            processes: descendants(std::process::id() as i32),
        }
    }
}

/// Where a process and those below it are in the kernel, one a line: for the message about one that hangs.
pub(crate) fn tree(pid: i32) -> String {
    let of = |pid: &str, name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let line = |text: String| {
        let pid = text.split(' ').next().unwrap_or_default();
        format!("{text}: {} {}", of(pid, "syscall").trim(), of(pid, "stack").replace('\n', " "))
    };
    let all = std::iter::once(format!("{pid} runtime")).chain(descendants(pid));
    all.map(line).collect::<Vec<_>>().join("\n")
}

/// Pid, name and state of every process below this one.
fn descendants(pid: i32) -> BTreeSet<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter_map(|e| fs::read_to_string(e.path().join("stat")).ok());
    // PID (NAME) STATE PPID …; a name may hold anything.
    let all: Vec<(i32, i32, String)> = stats
        .filter_map(|stat| {
            let (head, tail) = stat.rsplit_once(") ")?;
            let mut fields = tail.split(' ');
            let state = fields.next()?.replace('R', "S");
            let pid = head.split(' ').next()?.parse().ok()?;
            Some((pid, fields.next()?.parse().ok()?, format!("{head}) {state}")))
        })
        .collect();
    let mut family = BTreeSet::from([pid]);
    let mut found = BTreeSet::new();
    loop {
        let children = all.iter().filter(|(pid, parent, _)| family.contains(parent) && !family.contains(pid));
        let children: Vec<_> = children.collect();
        if children.is_empty() {
            return found;
        }
        for (pid, _, text) in children {
            family.insert(*pid);
            found.insert(text.clone());
        }
    }
}
