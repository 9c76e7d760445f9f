//! A bundle in a temporary folder, with a config.json that a test edits.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::Container;
use crate::cmd::{Cmd, Output, runtime_path};
use crate::host::{Peer, Shared, cgroups_with, note, peer, prepare_process};

/// The folder of the build: `target/<triple>`.
pub(crate) fn target_dir() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf()
}

/// What all ids of this run begin with. The temporary folder's name is in it: every run of the tests is
/// process 2 of its own pid namespace, but cgroups are seen from all of them.
pub(crate) static PREFIX: LazyLock<String> = LazyLock::new(|| {
    let run = std::env::temp_dir();
    let run = run.file_name().unwrap_or_default().to_string_lossy().replace(['.', '_'], "");
    format!("it-{run}-")
});

/// The payload program on the host: in the sandbox's tmpfs, so that a rootfs gets it as a hard link.
pub fn payload_path() -> PathBuf {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
        let built = match std::env::var_os("TARE_PAYLOAD") {
            Some(path) => path.into(),
            None => std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("payload"),
        };
        let copy = std::env::temp_dir().join("payload");
        fs::copy(&built, &copy).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
        copy
    });
    PATH.clone()
}

/// A bundle, and the runtime's state folder beside it. Dropping it deletes its container by force and
/// checks that no cgroup and no mount of it is left.
pub struct Bundle {
    /// config.json; written when a command is made.
    pub spec: Value,
    /// The id of its container, unlike all others'.
    pub id: String,
    /// The runtime's `--root`.
    pub root: PathBuf,
    /// Who calls the runtime, which believes only what is its caller's. A user's own copy of it is `runtime` in
    /// [`Bundle::outside`].
    pub caller: Cell<u32>,
    dir: PathBuf,
    pub(crate) deleted: Cell<bool>,
    _shared: Shared,
}

impl Bundle {
    /// A root user with Docker's default capabilities in six namespaces, the usual mounts, no cgroup
    /// mount, no device rules, a rootfs that has only `/payload`, passwd and group, and empty folders.
    pub fn new() -> Bundle {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        prepare_process();
        let shared = Shared::new();
        let id = format!("{}{}", *PREFIX, COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&id);
        let root = dir.join("state");
        let bundle = Bundle {
            spec: default_spec(),
            id,
            root,
            caller: Cell::new(0),
            dir,
            deleted: Cell::new(false),
            _shared: shared,
        };
        let rootfs = bundle.rootfs();
        for name in ["proc", "sys", "dev", "etc", "tmp", "run"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        for dir in [&bundle.dir, &bundle.path(), &rootfs] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::hard_link(payload_path(), rootfs.join("payload")).unwrap();
        bundle
            .file("/etc/passwd", "root:x:0:0:root:/root:/payload\nuser:x:1000:1000:u:/home/user:/payload\n")
            .file("/etc/group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    }

    /// The rootfs on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("bundle/rootfs")
    }

    /// The bundle's folder.
    pub fn path(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// Where [`Bundle::create`] has the pid written.
    pub fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// A folder of the test's own that the container does not see. Mounts below it go with the bundle.
    pub fn outside(&self) -> PathBuf {
        let dir = self.dir.join("outside");
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// A host path inside the rootfs.
    pub fn inside(&self, path: &str) -> PathBuf {
        self.rootfs().join(path.trim_start_matches('/'))
    }

    /// The payload's verbs: words separated by spaces, verbs by `--`.
    #[must_use]
    pub fn does(self, verbs: &str) -> Bundle {
        let words: Vec<&str> = std::iter::once("/payload").chain(verbs.split_whitespace()).collect();
        self.args(words)
    }

    /// process.args.
    #[must_use]
    pub fn args<S: Into<String>>(self, args: impl IntoIterator<Item = S>) -> Bundle {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        self.set("/process/args", json!(args))
    }

    /// Puts a value at a JSON pointer, making objects on the way; `-` appends to an array.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: Value) -> Bundle {
        put(&mut self.spec, pointer, value);
        self
    }

    /// Appends to an array, which is made if there is none.
    #[must_use]
    pub fn push(self, pointer: &str, value: Value) -> Bundle {
        self.set(&format!("{pointer}/-"), value)
    }

    /// Takes away what is at a JSON pointer.
    #[must_use]
    pub fn without(mut self, pointer: &str) -> Bundle {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match self.spec.pointer_mut(parent) {
            Some(Value::Object(map)) => drop(map.remove(name)),
            Some(Value::Array(list)) => drop(list.remove(name.parse().unwrap())),
            _ => {}
        }
        self
    }

    /// One more variable of the process.
    #[must_use]
    pub fn env(self, variable: &str) -> Bundle {
        self.push("/process/env", json!(variable))
    }

    /// process.user.
    #[must_use]
    pub fn user(self, uid: u32, gid: u32) -> Bundle {
        self.set("/process/user/uid", json!(uid)).set("/process/user/gid", json!(gid))
    }

    /// All capability sets, by name without `CAP_`; `sets` is like `bounding=CHOWN,KILL ambient=`.
    #[must_use]
    pub fn caps(self, sets: &str) -> Bundle {
        let mut all = json!({});
        for part in sets.split_whitespace() {
            let (set, names) = part.split_once('=').unwrap();
            let names: Vec<String> =
                names.split(',').filter(|n| !n.is_empty()).map(|n| format!("CAP_{n}")).collect();
            all[set] = json!(names);
        }
        self.set("/process/capabilities", all)
    }

    /// One more capability in the three sets of root's.
    #[must_use]
    pub fn cap(mut self, name: &str) -> Bundle {
        for set in ["bounding", "effective", "permitted"] {
            self = self.push(&format!("/process/capabilities/{set}"), json!(format!("CAP_{name}")));
        }
        self
    }

    /// One more rlimit.
    #[must_use]
    pub fn rlimit(self, name: &str, soft: u64, hard: u64) -> Bundle {
        self.push("/process/rlimits", json!({"type": format!("RLIMIT_{name}"), "soft": soft, "hard": hard}))
    }

    /// One more mount; options separated by commas.
    #[must_use]
    pub fn mount(self, kind: &str, source: impl AsRef<Path>, destination: &str, options: &str) -> Bundle {
        let options: Vec<&str> = options.split(',').filter(|o| !o.is_empty()).collect();
        let source = source.as_ref();
        self.push(
            "/mounts",
            json!({"destination": destination, "type": kind, "source": source, "options": options}),
        )
    }

    /// A bind mount; `rbind` if the options say so, else `bind`.
    #[must_use]
    pub fn bind(self, source: impl AsRef<Path>, destination: &str, options: &str) -> Bundle {
        let options = match options.split(',').any(|o| o == "rbind") {
            true => options.to_owned(),
            false => format!("bind,{options}"),
        };
        self.mount("bind", source, destination, &options)
    }

    /// Takes the mount at this destination out.
    #[must_use]
    pub fn no_mount(mut self, destination: &str) -> Bundle {
        let mounts = self.spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|m| m["destination"] != destination);
        self
    }

    /// Takes one kind of namespace out.
    #[must_use]
    pub fn no_ns(mut self, kind: &str) -> Bundle {
        let list = self.spec["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|n| n["type"] != kind);
        self
    }

    /// A new namespace of this kind.
    #[must_use]
    pub fn ns(self, kind: &str) -> Bundle {
        self.no_ns(kind).push("/linux/namespaces", json!({"type": kind}))
    }

    /// Joins a namespace by path.
    #[must_use]
    pub fn join(self, kind: &str, path: &str) -> Bundle {
        self.no_ns(kind).push("/linux/namespaces", json!({"type": kind, "path": path}))
    }

    /// A new user namespace whose ids 0… are the host's from 100000 on; the rootfs is given to its root.
    #[must_use]
    pub fn userns(self) -> Bundle {
        for path in ["", "proc", "sys", "dev", "etc", "tmp", "run"] {
            std::os::unix::fs::chown(self.inside(path), Some(100_000), Some(100_000)).unwrap();
        }
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        self.ns("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// The mounts of the config.
    pub fn clone_mounts(&self) -> Vec<Value> {
        self.spec["mounts"].as_array().cloned().unwrap_or_default()
    }

    /// One more hook that runs the payload: on the host, or in the container for `startContainer`.
    #[must_use]
    pub fn hook(self, kind: &str, verbs: &str) -> Bundle {
        let path = match kind {
            "startContainer" => PathBuf::from("/payload"),
            _ => payload_path(),
        };
        let args: Vec<&str> = std::iter::once("payload").chain(verbs.split_whitespace()).collect();
        self.push(&format!("/hooks/{kind}"), json!({"path": path, "args": args}))
    }

    /// A file in the rootfs, mode 0644.
    #[must_use]
    pub fn file(self, path: &str, text: &str) -> Bundle {
        let path = self.inside(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        self
    }

    /// An executable in the rootfs: a copy of the payload.
    #[must_use]
    pub fn program(self, path: &str) -> Bundle {
        let path = self.inside(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(payload_path(), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// A folder in the rootfs.
    #[must_use]
    pub fn folder(self, path: &str) -> Bundle {
        fs::create_dir_all(self.inside(path)).unwrap();
        self
    }

    /// A symlink in the rootfs, in place of an empty folder if there is one.
    #[must_use]
    pub fn symlink(self, target: impl AsRef<Path>, path: &str) -> Bundle {
        let path = self.inside(path);
        let _ = fs::remove_dir(&path);
        symlink(target, path).unwrap();
        self
    }

    /// Writes config.json as it is now. A runtime that a test has started in the background may be reading the one
    /// before: it is replaced whole.
    pub fn write(&self) {
        let new = self.path().join("config.json.new");
        fs::write(&new, serde_json::to_vec_pretty(&self.spec).unwrap()).unwrap();
        fs::rename(new, self.path().join("config.json")).unwrap();
    }

    /// `RUNTIME --root DIR args…`.
    pub fn cmd<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Cmd {
        self.cmd_with(&[], args)
    }

    /// `RUNTIME --root DIR globals… args…`.
    pub fn cmd_with<'a>(&self, globals: &[&'a str], args: impl IntoIterator<Item = &'a str>) -> Cmd {
        let root = self.root.to_str().unwrap().to_owned();
        let rest = globals.iter().copied().chain(args).map(str::to_owned);
        let words = ["--root".to_owned(), root].into_iter().chain(rest);
        match self.caller.get() {
            0 => Cmd::new(runtime_path(), words),
            user => Cmd::new(self.outside().join("runtime"), words).user(user),
        }
    }

    /// `RUNTIME verb flags… ID`, e.g. `call("delete --force")`.
    #[track_caller]
    pub fn call(&self, verb: &str) -> Output {
        self.cmd(verb.split_whitespace()).arg(&self.id).run()
    }

    /// The same without an id, e.g. `call_plain("list -q")`.
    #[track_caller]
    pub fn call_plain(&self, verb: &str) -> Output {
        self.cmd(verb.split_whitespace()).run()
    }

    /// `create` or `run` with `--bundle`, more flags, and the id; the config is written first.
    pub fn launch(&self, verb: &str) -> Cmd {
        self.write();
        let mut words = verb.split_whitespace();
        let verb = words.next().unwrap();
        self.cmd([verb, "--bundle", self.path().to_str().unwrap()].into_iter().chain(words)).arg(&self.id)
    }

    /// Runs it in the foreground to its end.
    #[track_caller]
    pub fn run(&self) -> Output {
        self.launch("run").run()
    }

    /// `create`, whatever comes of it.
    #[track_caller]
    pub fn try_create(&self) -> Output {
        self.launch("create").run()
    }

    /// `create`, which must succeed.
    #[track_caller]
    pub fn create(self) -> Container {
        let pid_file = self.pid_file();
        let output = self.launch(&format!("create --pid-file {}", pid_file.display())).run().ok();
        Container::created(self, output)
    }

    /// `create` and `start`.
    #[track_caller]
    pub fn start(self) -> Container {
        let container = self.create();
        container.call("start").ok();
        container
    }

    /// `create` must fail in an orderly way and leave nothing: no state, no cgroup.
    #[track_caller]
    pub fn refused(&self) -> Output {
        let output = self.try_create().fails();
        assert!(!self.root.join(&self.id).exists(), "state is left: {output:?}");
        let cgroups = self.cgroups();
        if peer() != Peer::Tare && !cgroups.is_empty() {
            note("peer leaks", "cgroups, after a create that failed");
            return output;
        }
        assert_eq!(cgroups, Vec::<PathBuf>::new(), "cgroups are left");
        output
    }

    /// The cgroup directories that carry its id.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let all = cgroups_with(&self.id).into_iter();
        all.filter(|p| p.components().any(|c| c.as_os_str() == self.id.as_str())).collect()
    }
}

impl Default for Bundle {
    fn default() -> Bundle {
        Bundle::new()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let deleted = self.deleted.get()
            || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.call("delete --force"))).is_ok();
        let cgroups = self.cgroups();
        let name = format!("{}/", self.dir.display());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts: Vec<&str> = mounts.lines().filter(|l| l.contains(&name)).collect();
        for line in mounts.iter().rev() {
            let _ = nix::mount::umount2(
                line.split(' ').nth(4).unwrap_or_default(),
                nix::mount::MntFlags::MNT_DETACH,
            );
        }
        // What a test has mounted itself, below `outside`, is its own and goes with the bundle.
        let outside = format!("{name}outside/");
        let mounts: Vec<&str> = mounts.into_iter().filter(|l| !l.contains(&outside)).collect();
        for dir in cgroups.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
        let _ = fs::remove_dir_all(&self.dir);
        if std::thread::panicking() {
            return;
        }
        if peer() != Peer::Tare && !cgroups.is_empty() {
            // The tests of module leaks are about this; elsewhere a peer's leak hides what is tested.
            note("peer leaks", "cgroups, after delete --force");
            return;
        }
        assert!(deleted, "delete --force has failed");
        assert!(cgroups.is_empty(), "cgroups are left: {cgroups:?}");
        assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
    }
}

fn put(root: &mut Value, pointer: &str, value: Value) {
    let mut at = root;
    for name in pointer.split('/').skip(1) {
        if name == "-" {
            if !at.is_array() {
                *at = json!([]);
            }
            let list = at.as_array_mut().unwrap();
            list.push(Value::Null);
            at = list.last_mut().unwrap();
        } else if let (true, Ok(index)) = (at.is_array(), name.parse::<usize>()) {
            at = &mut at[index];
        } else {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[name];
        }
    }
    *at = value;
}

fn default_spec() -> Value {
    let caps: Vec<String> = "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE \
        NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
        .split_whitespace()
        .map(|c| format!("CAP_{c}"))
        .collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/payload"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs"},
        "hostname": "tare-test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                           {"type": "mount"}, {"type": "cgroup"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
