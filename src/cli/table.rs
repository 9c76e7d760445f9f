//! Every verb and flag, as data. `lowargs` sorts the command line by these tables, clap parses and explains it.

/// One flag.
pub(super) struct Flag {
    /// The long name, without dashes; also the key under which its values are found.
    pub long: &'static str,
    /// The one-letter name.
    pub short: Option<char>,
    /// What its value is called in the help; `None` for a switch.
    pub value: Option<&'static str>,
    /// One line of help; empty for a flag accepted only for old callers, which the help does not show.
    pub help: &'static str,
}

/// One verb.
pub(super) struct Verb {
    pub name: &'static str,
    /// One line, for the help.
    pub about: &'static str,
    /// The positional arguments, as the usage line shows them.
    pub args: &'static str,
    /// The least and the most positional arguments.
    pub count: (usize, usize),
    /// No flags after the first positional argument: what follows belongs to somebody else (a command, ps, a `-9`).
    pub in_order: bool,
    /// Its flags, in groups that verbs share.
    pub flags: &'static [&'static [Flag]],
}

impl Verb {
    pub fn all_flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.flags.iter().copied().flatten()
    }

    const fn new(name: &'static str, about: &'static str, flags: &'static [&'static [Flag]]) -> Verb {
        Verb { name, about, args: ID, count: (1, 1), in_order: false, flags }
    }

    const fn without_args(self) -> Verb {
        Verb { args: "", count: (0, 0), ..self }
    }

    const fn in_order(self, args: &'static str, most: usize) -> Verb {
        Verb { args, count: (1, most), in_order: true, ..self }
    }
}

const fn switch(long: &'static str, help: &'static str) -> Flag {
    Flag { long, short: None, value: None, help }
}

const fn value(long: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { long, short: None, value: Some(value), help }
}

impl Flag {
    const fn short(self, short: char) -> Flag {
        Flag { short: Some(short), ..self }
    }
}

/// What may stand before the verb (and, for callers that know no order, after it).
pub(super) const GLOBALS: &[Flag] = &[
    value("root", "DIR", "Keep container state below DIR (best on a tmpfs)"),
    value("log", "FILE", "Append messages to FILE instead of writing them to stderr"),
    value("log-format", "FORMAT", "Format of messages: text or json [default: text]"),
    value(
        "log-level",
        "LEVEL",
        "Least severe level to log: error, warning, info or debug [default: warning]",
    ),
    switch("debug", "The same as --log-level debug"),
    switch("systemd-cgroup", "The same as --cgroup-manager systemd"),
    value(
        "cgroup-manager",
        "MANAGER",
        "Who makes cgroups: cgroupfs, systemd or disabled [default: cgroupfs]",
    ),
    value("rootless", "BOOL", "Tolerate missing cgroup permissions: true, false or auto [default: auto]"),
    value("criu", "PATH", ""),
    switch("version", "Print the version").short('v'),
];

const ID: &str = "<container-id>";
const BUNDLE: &[Flag] = &[value("bundle", "DIR", "The bundle [default: the current directory]").short('b')];
const CONSOLE: &[Flag] =
    &[value("console-socket", "PATH", "Send the terminal's master end over the AF_UNIX socket at PATH")];
const PIDFD: &[Flag] =
    &[value("pidfd-socket", "PATH", "Send a pidfd of the process over the AF_UNIX socket at PATH")];
const PID_FILE: &[Flag] = &[value("pid-file", "FILE", "Write the process id to FILE, atomically")];
const CONFIG: &[Flag] =
    &[value("config", "FILE", "The configuration [default: config.json of the bundle]").short('f')];
const PIVOT: &[Flag] =
    &[switch("no-pivot", "Do not use pivot_root; for a rootfs on the kernel's own ramdisk, and less safe")];
const KEYRING: &[Flag] = &[switch("no-new-keyring", "Keep the session keyring of the caller")];
const PRESERVE_FDS: &[Flag] = &[value(
    "preserve-fds",
    "N",
    "Pass N more file descriptors, after stdio and those of LISTEN_FDS [default: 0]",
)];
const DETACH: &[Flag] = &[switch("detach", "Do not wait for the process").short('d')];
const NO_SUBREAPER: &[Flag] =
    &[switch("no-subreaper", "Do not become the parent of the container's orphans")];
const FORMAT: &[Flag] =
    &[value("format", "FORMAT", "Format of the output: table or json [default: table]").short('f')];

/// The verbs, in the order of the help.
pub(super) const VERBS: &[Verb] = &[
    Verb::new(
        "create",
        "Create a container, ready to be started",
        &[BUNDLE, CONFIG, CONSOLE, PIDFD, PID_FILE, PIVOT, KEYRING, PRESERVE_FDS],
    ),
    Verb::new("start", "Start the process of a created container", &[]),
    Verb::new(
        "run",
        "Create a container, start it, wait for it and delete it",
        &[
            BUNDLE,
            CONFIG,
            CONSOLE,
            PIDFD,
            PID_FILE,
            PIVOT,
            KEYRING,
            PRESERVE_FDS,
            DETACH,
            &[switch("keep", "Do not delete the container after it ends")],
            NO_SUBREAPER,
        ],
    ),
    Verb::new(
        "exec",
        "Run another process inside a container",
        &[CONSOLE, PIDFD, EXEC, DETACH, PID_FILE, EXEC_SECURITY, PRESERVE_FDS, EXEC_WHERE],
    )
    .in_order("<container-id> <command> [args...]", usize::MAX),
    Verb::new(
        "kill",
        "Send a signal to the container's first process",
        &[&[switch("all", "Send it to every process of the container").short('a')]],
    )
    .in_order("<container-id> [signal]", 2),
    Verb::new(
        "delete",
        "Delete a container that is not running",
        &[&[switch("force", "Kill it first; no error if there is no such container").short('f')]],
    ),
    Verb::new("state", "Print the state of a container as JSON", &[]),
    Verb::new("list", "List the containers", &[FORMAT, &[switch("quiet", "Print only the ids").short('q')]])
        .without_args(),
    Verb::new("ps", "List the processes of a container", &[FORMAT])
        .in_order("<container-id> [ps options]", usize::MAX),
    Verb::new("pause", "Freeze all processes of a container", &[]),
    Verb::new("resume", "Let the processes of a paused container go on", &[]),
    Verb::new("update", "Change the resource limits of a container", &[UPDATE]),
    Verb::new(
        "events",
        "Print resource usage and out-of-memory events as JSON lines",
        &[&[
            value("interval", "TIME", "Time between two statistics [default: 5s]"),
            switch("stats", "Print the statistics once"),
        ]],
    ),
    Verb::new("checkpoint", "Save a running container to files", &[CRIU, CHECKPOINT]),
    Verb::new(
        "restore",
        "Create a container from the files of a checkpoint",
        &[CRIU, BUNDLE, CONSOLE, PID_FILE, PIVOT, DETACH, NO_SUBREAPER, RESTORE],
    ),
    Verb::new(
        "spec",
        "Write a starting config.json",
        &[BUNDLE, &[switch("rootless", "Write one for an unprivileged user")]],
    )
    .without_args(),
    Verb::new("features", "Print what this runtime supports as JSON", &[]).without_args(),
];

const EXEC: &[Flag] = &[
    value("cwd", "DIR", "Working directory in the container"),
    value("env", "K=V", "Set an environment variable; repeatable").short('e'),
    switch("tty", "Give the process a terminal").short('t'),
    value("user", "UID[:GID]", "Run as this user").short('u'),
    value("additional-gids", "GID", "Add a supplementary group; repeatable").short('g'),
    value("process", "FILE", "Read the process (as in config.json) from FILE").short('p'),
];
const EXEC_SECURITY: &[Flag] = &[
    value("process-label", "LABEL", "SELinux label of the process"),
    value("apparmor", "PROFILE", "AppArmor profile of the process"),
    switch("no-new-privs", "Let the process gain no privileges"),
    value("cap", "CAP", "Add a capability; repeatable").short('c'),
];
const EXEC_WHERE: &[Flag] = &[
    value("cgroup", "[CTRL:]PATH", "Run in this cgroup below the container's; repeatable"),
    switch("ignore-paused", "Allow this in a paused container"),
];

const UPDATE: &[Flag] = &[
    value(
        "resources",
        "FILE",
        "Read linux.resources from FILE or from stdin (-); other flags are ignored then",
    )
    .short('r'),
    value("memory", "BYTES", "Memory limit"),
    value("memory-reservation", "BYTES", "Memory soft limit"),
    value("memory-swap", "BYTES", "Limit of memory and swap together; -1 is no limit"),
    value("cpu-period", "USECS", "CPU quota period"),
    value("cpu-quota", "USECS", "CPU time allowed in a period; -1 is no limit"),
    value("cpu-burst", "USECS", "CPU time that may be saved up"),
    value("cpu-share", "N", "CPU weight against other containers"),
    value("cpu-idle", "0|1", "Run only when the CPU is idle"),
    value("cpu-rt-period", "USECS", "Realtime CPU period"),
    value("cpu-rt-runtime", "USECS", "Realtime CPU time allowed in a period"),
    value("cpuset-cpus", "LIST", "CPUs to use"),
    value("cpuset-mems", "LIST", "Memory nodes to use"),
    value("blkio-weight", "N", "I/O weight, 10 to 1000"),
    value("pids-limit", "N", "Most processes allowed; -1 is no limit"),
    value("l3-cache-schema", "SCHEMA", "Intel RDT L3 cache schema"),
    value("mem-bw-schema", "SCHEMA", "Intel RDT memory bandwidth schema"),
    value("kernel-memory", "BYTES", ""),
    value("kernel-memory-tcp", "BYTES", ""),
];

/// What checkpoint and restore share.
const CRIU: &[Flag] = &[
    value("image-path", "DIR", "Where the images are"),
    value("work-path", "DIR", "Where criu's work files and logs go"),
    switch("tcp-established", "Allow open TCP connections"),
    switch("ext-unix-sk", "Allow UNIX sockets to outside"),
    switch("shell-job", "Allow a terminal from outside"),
    switch("lazy-pages", "Move memory when it is touched"),
    switch("file-locks", "Allow file locks"),
    value("manage-cgroups-mode", "MODE", "How criu treats cgroups: soft, full, strict or ignore"),
    value("empty-ns", "NAMESPACE", "Make this namespace without its content; repeatable"),
    switch("auto-dedup", "Remove duplicate memory images"),
    value("network-lock", "METHOD", "How criu locks the network"),
];
const CHECKPOINT: &[Flag] = &[
    value("parent-path", "DIR", "The images of an earlier pre-dump"),
    switch("leave-running", "Do not stop the container"),
    value("status-fd", "FD", "Write a NUL byte to FD when lazy pages are ready"),
    value("page-server", "ADDR:PORT", "Send pages to this page server"),
    switch("pre-dump", "Save only memory, and let the container run"),
    switch("tcp-skip-in-flight", "Skip TCP connections that are being made"),
    switch("link-remap", "Allow open files whose names are gone"),
];
const RESTORE: &[Flag] = &[
    switch("tcp-close", "Close TCP connections"),
    value("lsm-profile", "TYPE:NAME", "LSM profile of the restored processes"),
    value("lsm-mount-context", "CONTEXT", "SELinux context of the restored mounts"),
];
