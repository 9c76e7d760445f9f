//! One call of the runtime: arguments, fds, a time limit, and what came of it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bundle::target_dir;
use crate::host::slow;
use crate::reap;

/// A runtime that takes longer hangs; where all is slow, [`slow`] times this.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// The program under test, absolute.
pub fn runtime_path() -> PathBuf {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
        let Some(name) = std::env::var_os("RUNTIME").filter(|n| !n.is_empty()) else {
            return target_dir().join("release/tare");
        };
        let name = PathBuf::from(name);
        if name.components().count() > 1 {
            return std::fs::canonicalize(&name).unwrap_or(name);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(&name)).find(|p| p.is_file()).unwrap_or(name)
    });
    PATH.clone()
}

/// A call of the runtime that has not been made yet. Its stdout and stderr go to files, never pipes: a
/// container that stays holds them open.
pub struct Cmd {
    command: Command,
    timeout: Duration,
    terminal: Option<OwnedFd>,
    fds: Vec<(OwnedFd, i32)>,
}

impl Cmd {
    /// `program args…`, stdin from /dev/null.
    pub fn new<S: AsRef<std::ffi::OsStr>>(
        program: impl AsRef<std::ffi::OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Cmd {
        crate::host::prepare_process();
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        // What a user's shell has set must not decide tests.
        for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "XDG_RUNTIME_DIR"] {
            command.env_remove(name);
        }
        Cmd { command, timeout: TIMEOUT, terminal: None, fds: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Cmd {
        self.command.arg(arg);
        self
    }

    /// Sets a variable of the runtime's own environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Cmd {
        self.command.env(name, value);
        self
    }

    /// Runs the runtime with an empty environment.
    #[must_use]
    pub fn env_clear(mut self) -> Cmd {
        self.command.env_clear();
        self
    }

    /// As this user, in the group of the same number and in no other.
    #[must_use]
    pub fn user(mut self, id: u32) -> Cmd {
        self.command.uid(id).gid(id);
        self
    }

    /// The runtime's working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<std::path::Path>) -> Cmd {
        self.command.current_dir(dir);
        self
    }

    /// The runtime's stdin.
    #[must_use]
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Cmd {
        self.command.stdin(from);
        self
    }

    /// These bytes as stdin, then its end.
    #[must_use]
    pub fn input(self, text: &str) -> Cmd {
        let mut file = unnamed();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        self.stdin(file)
    }

    /// Stdin and both outputs are this fd, and nothing is captured.
    #[must_use]
    pub fn stdio(mut self, fd: &OwnedFd) -> Cmd {
        self.command.stdin(fd.try_clone().unwrap());
        self.terminal = Some(fd.try_clone().unwrap());
        self
    }

    /// The runtime and what it starts get `fd` under the number given.
    #[must_use]
    pub fn fd(mut self, fd: impl Into<OwnedFd>, number: i32) -> Cmd {
        // Out of the way of all numbers that tests use, so that no dup2 closes another's source.
        let high = nix::fcntl::fcntl(fd.into(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(200)).unwrap();
        // SAFETY: the fd was just made and nobody else owns it.
        let high = unsafe { OwnedFd::from_raw_fd(high) };
        self.fds.push((high, number));
        self
    }

    /// Other than 20 s.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Cmd {
        self.timeout = limit;
        self
    }

    /// Runs `setup` in the child before the runtime is executed.
    ///
    /// # Safety
    /// Only async-signal-safe calls are allowed in `setup`.
    #[must_use]
    pub unsafe fn before_exec(mut self, setup: fn() -> std::io::Result<()>) -> Cmd {
        // SAFETY: as promised by our own caller.
        unsafe { self.command.pre_exec(setup) };
        self
    }

    /// Starts it, to be waited for later.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        let text = format!("{:?}", self.command);
        let text = text.split("XDG_RUNTIME_DIR ").last().unwrap_or_default().to_owned();
        // What goes to a terminal is read at its other end, never back from it.
        let (stdout, stderr) = (unnamed(), unnamed());
        let to = |file: &File| match &self.terminal {
            Some(terminal) => Stdio::from(terminal.try_clone().unwrap()),
            None => Stdio::from(file.try_clone().unwrap()),
        };
        self.command.stdout(to(&stdout)).stderr(to(&stderr));
        let fds: Vec<(i32, i32)> = self.fds.iter().map(|(fd, n)| (fd.as_raw_fd(), *n)).collect();
        // SAFETY: dup2 only.
        unsafe {
            self.command.pre_exec(move || {
                for (from, to) in &fds {
                    if libc::dup2(*from, *to) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let started = Instant::now();
        let child = reap::spawn(&mut self.command).unwrap_or_else(|e| panic!("start {text}: {e}"));
        Running { child, text, stdout, stderr, started, timeout: self.timeout, done: false }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        self.spawn().wait()
    }
}

/// A file in memory that nobody else can name.
pub(crate) fn unnamed() -> File {
    let name = c"output";
    // SAFETY: a NUL-terminated name; the fd that comes back is ours alone.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
        File::from_raw_fd(fd)
    }
}

pub(crate) fn text_of(file: &File) -> String {
    let mut bytes = Vec::new();
    // By a file description of its own: the container writes at the offset of the shared one.
    let mut copy = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    copy.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A runtime that was started. Dropped while it runs, it is killed.
pub struct Running {
    child: Child,
    text: String,
    stdout: File,
    stderr: File,
    started: Instant,
    timeout: Duration,
    done: bool,
}

impl Running {
    /// The runtime's own pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What stdout has got so far.
    pub fn stdout(&self) -> String {
        text_of(&self.stdout)
    }

    /// Waits until stdout has `count` lines, and returns them.
    #[track_caller]
    pub fn lines(&self, count: usize) -> Vec<String> {
        let enough = || self.stdout().matches('\n').count() >= count;
        assert!(crate::until(TIMEOUT, enough), "{}: {} {}", self.text, self.stdout(), text_of(&self.stderr));
        self.stdout().lines().map(str::to_owned).collect()
    }

    /// Sends a signal to the runtime.
    #[track_caller]
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// True once it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end; a hang is a failure.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let end = self.started + self.timeout * slow();
        let mut turns = 0;
        let status = loop {
            // Before the look, so that a machine that stood still in between is not taken for a runtime that did.
            let late = Instant::now() > end;
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if late {
                let at = crate::host::tree(self.pid());
                let _ = self.child.kill();
                let _ = self.child.wait();
                self.done = true;
                panic!("hangs: {}\n{}{}\n{at}", self.text, self.stdout(), text_of(&self.stderr));
            }
            turns += 1;
            if turns % 16 == 0 {
                reap::orphans();
            }
            std::thread::sleep(Duration::from_micros(500));
        };
        self.done = true;
        reap::forget(self.pid());
        Output {
            text: self.text.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: text_of(&self.stdout),
            stderr: text_of(&self.stderr),
            elapsed: self.started.elapsed(),
            stdout_file: self.stdout.try_clone().unwrap(),
            stderr_file: self.stderr.try_clone().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.child.kill();
            let _ = self.child.wait();
            reap::forget(self.pid());
        }
    }
}

/// What came of a call.
pub struct Output {
    /// The command line.
    pub text: String,
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended the runtime itself.
    pub signal: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
    /// From start to end.
    pub elapsed: Duration,
    pub(crate) stdout_file: File,
    pub(crate) stderr_file: File,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (code, signal) = (self.code, self.signal);
        write!(f, "{}\ncode {code:?} signal {signal:?}\n{}\n{}", self.text, self.stdout, self.stderr)
    }
}

impl Output {
    /// What stdout has by now, also of processes that have outlived the call.
    pub fn stdout_now(&self) -> String {
        text_of(&self.stdout_file)
    }

    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Output {
        assert!(self.code == Some(0), "failed: {self:?}");
        self
    }

    /// It ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Output {
        assert!(self.code == Some(code), "not code {code}: {self:?}");
        self
    }

    /// It failed in an orderly way: an exit code and words on stderr, not a signal or a panic.
    #[track_caller]
    pub fn fails(self) -> Output {
        assert!(self.code.is_some_and(|c| c != 0), "no failure: {self:?}");
        assert!(!self.stderr.trim().is_empty(), "failed without a word: {self:?}");
        assert!(!self.stderr.contains("panicked at"), "panicked: {self:?}");
        self
    }

    /// stderr has this text, in this case.
    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        assert!(self.stderr.replace("\\\"", "\"").contains(text), "no {text:?}: {self:?}");
        self
    }

    /// stderr has one of these texts, in whatever case: what peers say in their own ways.
    #[track_caller]
    pub fn says_any(self, texts: &[&str]) -> Output {
        let stderr = self.stderr.replace("\\\"", "\"").to_lowercase();
        assert!(texts.iter().any(|t| stderr.contains(&t.to_lowercase())), "none of {texts:?}: {self:?}");
        self
    }

    /// The message of tare's one line on stderr, checked to be one; of peers the whole.
    #[track_caller]
    pub fn line(&self) -> String {
        if crate::peer() != crate::Peer::Tare {
            return self.stderr.trim().to_owned();
        }
        assert!(self.stderr.trim_end().lines().count() == 1, "not one line: {self:?}");
        let (head, message) = self.stderr.trim().split_once(" msg=").unwrap_or_default();
        assert!(head.starts_with("time=\"") && head.ends_with(" level=error"), "not runc's form: {self:?}");
        serde_json::from_str(message).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The line `index` of stdout as JSON, after checking that the call succeeded.
    #[track_caller]
    pub fn json_line(&self, index: usize) -> Value {
        assert!(self.code == Some(0), "failed: {self:?}");
        let line = self.stdout.lines().nth(index).unwrap_or_else(|| panic!("no line {index}: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|e| panic!("line {index}: {e}: {self:?}"))
    }

    /// The one verb's answer: the first line as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        self.json_line(0)
    }

    /// All of stdout as one JSON document.
    #[track_caller]
    pub fn document(&self) -> Value {
        assert!(self.code == Some(0), "failed: {self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// stdout, whose lines are JSON, parsed.
    #[track_caller]
    pub fn answers(&self) -> Vec<Value> {
        (0..self.stdout.lines().count()).map(|i| self.json_line(i)).collect()
    }
}
