//! Attacks on the processes of a launch: by the descriptors that they hold, through /proc, before and at their exec.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tare_integration::*;

/// What a program of the host's says.
const WORD: &str = "ESCAPED";

/// A program of the host's outside of the rootfs, which says [`WORD`].
fn host_program(b: &Bundle) -> PathBuf {
    let path = b.outside().join("program");
    tiny_program(&path, WORD, None);
    path
}

/// The way to a file of the host's from the directory that descriptor `n` is.
fn through(n: u32, path: &std::path::Path) -> String {
    format!("/proc/self/fd/{n}/{}{}", "../".repeat(12), path.display().to_string().trim_start_matches('/'))
}

/// The descriptors that are tried. What number one has does not depend on the user: for others than root fewer are enough.
fn numbers(user: &str) -> impl Iterator<Item = u32> {
    // A peer takes twenty times as long.
    let last = if peer() == Peer::Tare { 64 } else { 16 };
    3..=if user == "root" { last } else { last / 3 }
}

/// All routes, each through all descriptors.
fn tries<'a>(routes: &'a [&'static str], user: &'a str) -> impl Iterator<Item = (&'static str, u32)> + 'a {
    routes.iter().flat_map(move |route| numbers(user).map(move |n| (*route, n)))
}

/// As whom: root, an ordinary user, root of a user namespace; and root in a mere chroot, out of which any folder leads.
fn users() -> &'static [&'static str] {
    let all = &["root", "uid 1000", "user namespace", "no mount namespace"];
    // Peers do not enter the root then.
    if peer() == Peer::Tare { all } else { &all[..3] }
}

fn bundle_of(user: &str) -> Bundle {
    match user {
        "uid 1000" => Bundle::new().user(1000, 1000),
        "user namespace" => Bundle::new().userns(),
        "no mount namespace" => {
            Bundle::new().no_ns("mount").without("/linux/maskedPaths").without("/linux/readonlyPaths")
        }
        _ => Bundle::new(),
    }
}

/// By what the kernel, or the search in $PATH, is led to a descriptor.
const ROUTES: [&str; 6] = ["program", "script", "interpreter", "PATH", "cwd", "relative to cwd"];

/// How to be launched by a route.
struct Way {
    program: String,
    path: String,
    cwd: String,
}

/// Puts what the route needs into the image. `n` is `None` for those that are the same for all descriptors.
fn way(b: &Bundle, route: &str, n: u32) -> Way {
    let target = host_program(b);
    let link = through(n, &target);
    let mut way = Way { program: format!("/e{n}"), path: "/bin".into(), cwd: "/".into() };
    let place = b.inside(&way.program);
    let _ = fs::remove_file(&place);
    match route {
        "program" => way.program = link,
        "script" => {
            fs::write(&place, format!("#!{link}\n")).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        }
        "interpreter" => tiny_program(&place, "not this one", Some(&link)),
        "PATH" => {
            way.path = format!("/path{n}");
            fs::create_dir_all(b.inside(&way.path)).unwrap();
            let name = b.inside(&format!("/path{n}/sh"));
            let _ = fs::remove_file(&name);
            std::os::unix::fs::symlink(link, name).unwrap();
            way.program = "sh".into();
        }
        "cwd" => {
            way.cwd = through(n, target.parent().unwrap());
            way.program = "./program".into();
        }
        _ => {
            way.cwd = format!("/proc/self/fd/{n}");
            let up = link.split_once("../").unwrap().1;
            way.program = format!("../{up}");
        }
    }
    way
}

/// The escape has worked, if the program of the host's has run.
fn escaped(output: &Output) -> bool {
    output.stdout.contains(WORD) || output.stderr.contains(WORD)
}

#[test]
fn a_tiny_program_runs_as_program_script_and_interpreter() {
    // Else what follows would prove nothing.
    let b = Bundle::new();
    tiny_program(&b.inside("/tiny"), WORD, None);
    tiny_program(&b.inside("/with"), "not this one", Some("/tiny"));
    let b = b.file("/script", "#!/tiny\n");
    fs::set_permissions(b.inside("/script"), fs::Permissions::from_mode(0o755)).unwrap();
    let c = b.does("sleep").start();
    for program in ["/tiny", "/with", "/script"] {
        let out = c.cmd(["exec", &c.id, program]).run().code(TINY_CODE);
        assert!(escaped(&out), "{out:?}");
    }
}

#[test]
fn exec_reaches_no_program_through_a_descriptor() {
    for user in users() {
        let c = bundle_of(user).does("sleep").start();
        let mut found = Vec::new();
        for (route, n) in tries(&ROUTES, user) {
            let way = way(&c, route, n);
            let path = format!("PATH={}", way.path);
            let out = c.cmd(["exec", "--cwd", &way.cwd, "--env", &path, &c.id, &way.program]).run();
            if escaped(&out) {
                found.push((route, n));
            }
        }
        assert_eq!(found, [], "{user}");
    }
}

fn by_config(b: Bundle, way: Way) -> Bundle {
    b.args([way.program])
        .set("/process/env", json!([format!("PATH={}", way.path)]))
        .set("/process/cwd", json!(way.cwd))
}

#[test]
fn run_reaches_no_program_through_a_descriptor() {
    for user in users() {
        let mut b = bundle_of(user);
        let mut found = Vec::new();
        for (route, n) in tries(&ROUTES, user) {
            let way = way(&b, route, n);
            b = by_config(b, way);
            if escaped(&b.run()) {
                found.push((route, n));
            }
        }
        assert_eq!(found, [], "{user}");
    }
}

#[test]
fn start_reaches_no_program_through_a_descriptor() {
    for user in users() {
        let mut b = bundle_of(user);
        let mut found = Vec::new();
        for (route, n) in tries(&ROUTES, user) {
            let way = way(&b, route, n);
            b = by_config(b, way);
            // What it says comes to the output of `create`.
            let create = b.launch("create").run();
            if create.code == Some(0) {
                let start = b.call("start");
                let said = || create_said(&create) || escaped(&start);
                // A start that has succeeded has executed something.
                if start.code == Some(0) && until(Duration::from_secs(2), said) || said() {
                    found.push((route, n));
                }
                b.call("delete --force").ok();
            }
        }
        assert_eq!(found, [], "{user}");
    }
}

fn create_said(create: &Output) -> bool {
    create.stdout_now().contains(WORD)
}

#[test]
fn a_start_container_hook_reaches_no_program_through_a_descriptor() {
    for user in users() {
        let mut b = bundle_of(user).does("umask");
        let mut found = Vec::new();
        for (route, n) in tries(&ROUTES[..3], user) {
            let hook = json!([{"path": way(&b, route, n).program}]);
            b = b.set("/hooks/startContainer", hook);
            // Its exit code and output are in the error.
            let mut hit = escaped(&b.run());
            if n < 16 {
                b.launch("create").run().ok();
                hit |= escaped(&b.call("start"));
                b.call("delete --force").ok();
            }
            if hit {
                found.push((route, n));
            }
        }
        assert_eq!(found, [], "{user}");
    }
}

#[test]
fn a_health_check_by_name_does_not_overwrite_a_file_of_the_hosts() {
    // An entrypoint has replaced the program that a health check of the engine's calls by its name. The host's file is
    // executed, held by /proc/PID/exe, and written when nothing executes it any more.
    let b = Bundle::new().does("grab /stop");
    let file = b.outside().join("file");
    fs::copy(payload_path(), &file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let before = fs::read(&file).unwrap();
    let b = numbers("root")
        .fold(b, |b, n| b.folder(&format!("/path{n}")).symlink(through(n, &file), &format!("/path{n}/sh")));
    let c = b.start();
    c.lines(1);
    let mut ran = Vec::new();
    for n in numbers("root") {
        let path = format!("PATH=/path{n}:/bin");
        let out = c.cmd(["exec", "--env", &path, &c.id, "sh", "print", WORD, "--", "sleep", "20"]).run();
        if escaped(&out) {
            ran.push(n);
        }
    }
    fs::write(c.inside("/stop"), "").unwrap();
    assert!(until(TIMEOUT, || c.stdout().contains("outcomes")), "{}", c.stdout());
    assert!(fs::read(&file).unwrap() == before, "the host's file was overwritten: {}", c.stdout());
    assert_eq!(ran, [0_u32; 0], "the host's file was executed");
}

// What can be seen of the runtime.

const ENV_MARK: &str = "caller-env-5d1f";
const SECRET: &str = "exec-secret-91c2";

/// What a container's process with these capabilities finds of the host's, while `count` processes are brought in.
fn spied(caps: &[&str], count: usize) -> (Value, Value) {
    let b = caps.iter().fold(Bundle::new(), |b, cap| b.cap(cap));
    let marker = b.outside().join("marker");
    fs::write(&marker, "of the host").unwrap();
    let backwards = |text: &str| text.chars().rev().collect::<String>();
    let (env, secret) = (backwards(ENV_MARK), backwards(SECRET));
    let b = b.does(&format!("spy /stop {} {env} {secret}", marker.display()));
    let runtime = b.outside().join("runtime");
    fs::copy(runtime_path(), &runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    let c = b.start();
    c.lines(1);
    for _ in 0..count {
        let secret = format!("SECRET={SECRET}");
        let words = ["--root", c.root.to_str().unwrap(), "exec", "-e", &secret, &c.id, "/payload", "umask"];
        Cmd::new(&runtime, words).env("CALLER", ENV_MARK).cwd(c.path()).run().ok();
    }
    fs::write(c.inside("/stop"), "").unwrap();
    let report = c.lines(2).remove(1);
    (report["found"].clone(), report)
}

#[test]
fn a_container_that_may_trace_sees_nothing_of_the_hosts_through_an_exec() {
    let count = if peer() == Peer::Tare { 500 } else { 100 };
    for caps in [&["SYS_PTRACE"][..], &["SYS_PTRACE", "SYS_ADMIN", "DAC_READ_SEARCH"]] {
        let (found, report) = spied(caps, count);
        note("race", &format!("{caps:?}: {report}"));
        peer_may_differ("runc>=1.2 crun", "has its own program open, or shows its arguments", || {
            assert_eq!(found, json!({}), "{caps:?}: {report}");
        });
        assert!(
            report["before_exec"].as_u64().unwrap() > 10,
            "processes were seen before their exec: {report}"
        );
    }
}

// Before `start`.

/// The fields of /proc/PID/status.
fn rights(pid: i32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

#[test]
fn an_init_that_waits_for_start_has_the_final_rights() {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapoff"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]});
    for n in 0..8 {
        let (uid, seccomp, no_new_privileges) = (if n & 1 == 0 { 0 } else { 1000 }, n & 2 != 0, n & 4 != 0);
        let b = Bundle::new().user(uid, uid).set("/process/noNewPrivileges", json!(no_new_privileges));
        let b = if seccomp { b.set("/linux/seccomp", filter.clone()) } else { b };
        let b = b.caps(
            "bounding=CHOWN,KILL,NET_RAW effective=CHOWN permitted=CHOWN,KILL inheritable=KILL ambient=KILL",
        );
        let c = b.does("print ready -- sleep").create();
        let waiting = rights(c.pid());
        c.call("start").ok();
        c.lines(1);
        let what = format!("uid {uid}, seccomp {seccomp}, no new privileges {no_new_privileges}");
        let running = rights(c.pid());
        // These an exec changes: it gives root the permitted ones back, and takes all but the ambient ones of others.
        let caps = ["CapPrm", "CapEff", "CapAmb"].map(|name| waiting[name].trim_start_matches('0'));
        assert_eq!(caps, ["21", "1", "20"], "{what}");
        for name in ["CapBnd", "CapInh", "NoNewPrivs", "Uid", "Gid", "Groups"] {
            assert_eq!(waiting[name], running[name], "{name}: {what}");
        }
        // With no_new_privs a filter takes no right, and is loaded at last.
        if seccomp && !no_new_privileges {
            assert_eq!(waiting["Seccomp"], "2", "{what}");
        }
    }
}

#[test]
fn a_filter_of_what_the_program_itself_needs_is_enough_to_start() {
    for no_new_privileges in [true, false] {
        // The program's own are write and exit. Without no_new_privs the filter goes first: the capabilities are dropped under it.
        let mut allowed = vec!["execve", "read", "write", "exit"];
        if !no_new_privileges {
            allowed.extend(["capset", "prctl"]);
        }
        let b = Bundle::new().set("/process/noNewPrivileges", json!(no_new_privileges)).args(["/tiny"]).set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_KILL_PROCESS",
                   "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}]}),
        );
        tiny_program(&b.inside("/tiny"), WORD, None);
        let run = |b: &Bundle| b.run().code(TINY_CODE);
        peer_differs("runc crun", "need more calls between the filter and the exec", || {
            assert!(escaped(&run(&b)));
            let c = b.create();
            c.call("start").ok();
            assert_eq!(c.wait(), TINY_CODE, "no new privileges: {no_new_privileges}");
            assert!(c.stdout().contains(WORD));
        });
    }
}

#[test]
fn a_filter_that_forbids_read_and_write_is_for_no_new_privileges() {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{"names": ["read", "write"], "action": "SCMP_ACT_ERRNO"}]});
    let b = Bundle::new().set("/linux/seccomp", filter).args(["/tiny"]);
    tiny_program(&b.inside("/tiny"), WORD, None);
    if tare_only("runc writes under its filter") {
        let b = b.set("/process/noNewPrivileges", json!(false));
        b.launch("create").run().fails().says("does that allow read and write?");
        let c = b.set("/process/noNewPrivileges", json!(true)).create();
        c.call("start").ok();
        assert_eq!(c.wait(), TINY_CODE);
    }
}

#[test]
fn without_pivot_root_the_hosts_proc_and_sys_are_not_revealed() {
    for b in [Bundle::new(), Bundle::new().cap("SYS_ADMIN")] {
        let b = b.without("/linux/seccomp").does("reveal proc -- reveal sysfs");
        for flags in ["", "--no-pivot"] {
            // The sandbox has two, one over the other.
            peer_may_differ("crun", "unmounts one procfs", || {
                let out = b.launch(&format!("run {flags}")).run().ok().answers();
                assert_eq!(out, [json!("EPERM"), json!("EPERM")], "{flags:?}");
            });
        }
    }
}

#[test]
fn without_pivot_root_nothing_of_the_hosts_proc_is_under_the_root() {
    let b = Bundle::new().cap("SYS_ADMIN").does("under-root");
    let out = b.launch("run --no-pivot").run().ok().json();
    assert_eq!(out["still_inside"], true, "its mount namespace has another root: {out}");
    peer_may_differ("crun", "unmounts one procfs", || {
        assert_eq!((&out["proc"], &out["sys"]), (&json!(false), &json!(false)), "{out}");
    });
}

// The parent is killed, or the child is stopped.

/// Processes below this one that were not there before, zombies apart.
fn more(before: &Traces) -> Vec<String> {
    let pid = |text: &String| text.split(' ').next().map(str::to_owned);
    let then: Vec<_> = before.processes.iter().map(pid).collect();
    let now = Traces::now().processes.into_iter();
    now.filter(|text| !text.ends_with(") Z") && !then.contains(&pid(text))).collect()
}

#[test]
fn a_child_that_builds_dies_with_its_parent() {
    let _alone = exclusive();
    let b = Bundle::new().does("umask");
    b.run().ok();
    let before = Traces::now();
    // Where it may be for long: in a hook that it waits for.
    let b = b.hook("createContainer", "touch /tmp/hook -- sleep");
    let started = b.outside().join("started");
    let b = b
        .set("/hooks/createContainer/0/args", json!(["payload", "touch", started, "--", "sleep"]))
        .does("sleep");
    let create = b.launch("create").spawn();
    assert!(until(TIMEOUT, || started.exists()));
    create.signal(Signal::SIGKILL);
    create.wait();
    let gone = until(Duration::from_secs(1), || more(&before).is_empty());
    assert!(gone || peer() != Peer::Tare, "left: {:?}", more(&before));
    note("left", &format!("{:?}", more(&before)));
    b.call("delete --force").ok();
}

#[test]
fn create_killed_at_two_hundred_moments_leaves_no_process() {
    let _alone = exclusive();
    let b = Bundle::new().does("umask");
    b.run().ok();
    let before = Traces::now();
    let b = b.does("sleep");
    let mut early = 0;
    let mut random = 88_172_645_463_325_252_u64;
    let mut left = Vec::new();
    for n in 0..if peer() == Peer::Tare { 200 } else { 10 } {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let create = b.launch("create").spawn();
        std::thread::sleep(Duration::from_micros(random % 8000) * slow());
        let _ = kill(Pid::from_raw(create.pid()), Signal::SIGKILL);
        early += usize::from(create.wait().signal.is_some());
        let created = || {
            let state = b.call("state");
            state.code == Some(0) && state.document()["status"] == "created"
        };
        // Killed after its last step it has made a container.
        if !until(Duration::from_secs(1), || more(&before).is_empty()) && !created() {
            left.push((n, more(&before)));
        }
        b.call("delete --force").ok();
        assert!(!b.root.join(&b.id).exists(), "kill {n}");
        assert!(until(Duration::from_secs(1), || more(&before).is_empty()), "kill {n}: {:?}", more(&before));
    }
    assert_eq!(left, [], "of 200");
    assert!(early > 20 || peer() != Peer::Tare, "only {early} were killed before their end");
}

#[test]
fn a_process_that_is_stopped_from_inside_does_not_hold_exec_for_ever() {
    let c = Bundle::new().does("stopper /stop").start();
    c.lines(1);
    let (mut slowest, mut hung, mut failed) = (Duration::ZERO, 0, 0);
    let limit = Duration::from_secs(6) * slow();
    let end = Instant::now() + Duration::from_secs(8) * slow();
    let mut count = 0;
    while count < 100 && hung < 2 && failed < 3 && Instant::now() < end {
        count += 1;
        let mut exec = c.exec_cmd("--detach", "umask").spawn();
        let began = Instant::now();
        if until(limit, || exec.ended()) {
            failed += usize::from(exec.wait().code != Some(0));
        } else {
            hung += 1;
        }
        slowest = slowest.max(began.elapsed());
    }
    fs::write(c.inside("/stop"), "").unwrap();
    note("stopped", &format!("{count} execs: {hung} hung, {failed} failed, the slowest took {slowest:?}"));
    peer_may_differ("runc crun", "waits for the stopped process", || assert_eq!(hung, 0));
}
