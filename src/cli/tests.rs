use super::*;
use crate::log::{Format, Level};
use std::path::PathBuf;

fn words(line: &[&str]) -> Vec<OsString> {
    ["/usr/bin/tare"].iter().chain(line).map(OsString::from).collect()
}

fn run(line: &[&str]) -> (Global, Command) {
    match parse(words(line)) {
        Ok(Parsed::Run(global, command)) => (global, command),
        other => panic!("{line:?}: {other:?}"),
    }
}

fn fails(line: &[&str]) -> Failure {
    match parse(words(line)) {
        Err(failure) => *failure,
        Ok(parsed) => panic!("{line:?} was accepted: {parsed:?}"),
    }
}

fn prints(line: &[&str]) -> String {
    match parse(words(line)) {
        Ok(Parsed::Print(text)) => text,
        other => panic!("{line:?}: {other:?}"),
    }
}

fn id(text: &str) -> ContainerId {
    ContainerId::parse(text).unwrap()
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

fn plain_create() -> CreateOptions {
    CreateOptions {
        id: id("c1"),
        bundle: None,
        config: None,
        console_socket: None,
        pidfd_socket: None,
        pid_file: None,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
    }
}

#[test]
fn the_tables_build_valid_clap_commands() {
    for verb in table::VERBS {
        let text = prints(&[verb.name, "--help"]);
        assert!(text.starts_with(verb.about), "{text}");
        assert!(text.contains(&format!("Usage: tare {}", verb.name)), "{text}");
        let mut shorts: Vec<_> = verb.all_flags().filter_map(|flag| flag.short).collect();
        let mut longs: Vec<_> = verb.all_flags().map(|flag| flag.long).collect();
        shorts.sort_unstable();
        longs.sort_unstable();
        assert!(!shorts.contains(&'h') && shorts.windows(2).all(|w| w[0] != w[1]), "{}", verb.name);
        assert!(longs.windows(2).all(|w| w[0] != w[1]), "{}", verb.name);
    }
}

#[test]
fn every_flag_of_every_verb_is_read_without_a_missing_name() {
    // In a debug build a flag that build.rs asks for and the table lacks trips an assertion.
    for verb in table::VERBS {
        for flag in verb.all_flags() {
            let mut line = vec![verb.name.to_owned(), format!("--{}", flag.long)];
            line.extend(flag.value.map(|_| "1".to_owned()));
            line.extend((0..verb.count.0.max(usize::from(verb.name == "exec") * 2)).map(|_| "c1".to_owned()));
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            if let Err(failure) = parse(words(&line)) {
                let text = failure.error.to_string();
                assert!(text.starts_with("invalid"), "{line:?}: {text}");
            }
        }
    }
}

#[test]
fn containerd_shim() {
    let (global, command) = run(&[
        "--root",
        "/run/x",
        "--log",
        "/b/log.json",
        "--log-format",
        "json",
        "--systemd-cgroup",
        "create",
        "--bundle",
        "/b",
        "--pid-file",
        "/b/init.pid",
        "--no-pivot",
        "--console-socket",
        "/s",
        "--no-new-keyring",
        "--preserve-fds",
        "3",
        "c1",
    ]);
    assert_eq!(
        global,
        Global {
            program: "tare",
            root: path("/run/x"),
            log: path("/b/log.json"),
            log_format: Format::Json,
            log_level: Level::Warning,
            cgroup_manager: CgroupManager::Systemd,
            rootless: None,
        }
    );
    let wanted = CreateOptions {
        bundle: path("/b"),
        pid_file: path("/b/init.pid"),
        console_socket: path("/s"),
        no_pivot: true,
        no_new_keyring: true,
        preserve_fds: 3,
        ..plain_create()
    };
    assert_eq!(command, Command::Create(wanted));
}

#[test]
fn flags_in_any_order_and_every_spelling() {
    let wanted = Command::Run(RunOptions {
        create: CreateOptions { bundle: path("/b"), pid_file: path("p"), ..plain_create() },
        detach: true,
        keep: false,
        no_subreaper: true,
    });
    for line in [
        &["run", "--bundle", "/b", "--pid-file", "p", "-d", "--no-subreaper", "c1"][..],
        &["run", "c1", "--bundle", "/b", "--pid-file", "p", "-d", "--no-subreaper"],
        &["run", "-b", "/b", "c1", "--pid-file=p", "--detach", "-no-subreaper"],
        &["run", "-bundle=/b", "-pid-file", "p", "-detach", "-no-subreaper", "c1"],
        &["run", "-b/b", "-pid-file=p", "-d=true", "--no-subreaper=1", "--keep=false", "c1"],
        &["run", "-db", "/b", "--pid-file", "p", "--no-subreaper", "--", "c1"],
        &["run", "-b", "/x", "-b=/b", "--pid-file", "p", "-d", "-d", "--no-subreaper", "c1"],
    ] {
        assert_eq!(run(line).1, wanted, "{line:?}");
    }
}

#[test]
fn a_value_may_look_like_a_flag() {
    let Command::Create(options) = run(&["create", "--bundle", "--pid-file", "c1"]).1 else { panic!() };
    assert_eq!(options.bundle, path("--pid-file"));
    let Command::Exec(options) = run(&["exec", "-e", "A=-tty", "--cwd", "-d", "c1", "sh"]).1 else {
        panic!()
    };
    assert_eq!((options.cwd.as_deref(), options.tty, options.detach), (Some("-d"), false, false));
}

#[test]
fn an_id_may_look_like_a_flag_after_two_dashes() {
    assert_eq!(run(&["state", "--", "-x"]).1, Command::State(StateOptions { id: id("-x") }));
}

#[test]
fn globals_may_follow_the_verb() {
    let (global, command) = run(&["--root", "/a", "state", "c1", "--root", "/b", "--debug"]);
    assert_eq!((global.root, global.log_level), (path("/b"), Level::Debug));
    assert_eq!(command, Command::State(StateOptions { id: id("c1") }));
    // The verb's own flag of the same name goes first.
    let (global, command) = run(&["spec", "--rootless"]);
    assert_eq!(global.rootless, None);
    assert_eq!(command, Command::Spec(SpecOptions { bundle: None, rootless: true }));
}

#[test]
fn exec_stops_at_the_first_positional() {
    let args = |line: &[&str]| match run(line).1 {
        Command::Exec(options) => (options.id.to_string(), options.args, options.tty),
        other => panic!("{other:?}"),
    };
    let sh = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        args(&["exec", "c1", "ls", "-t", "--help"]),
        ("c1".into(), sh(&["ls", "-t", "--help"]), false)
    );
    assert_eq!(args(&["exec", "-t", "c1", "-t"]), ("c1".into(), sh(&["-t"]), true));
    assert_eq!(args(&["exec", "c1", "--", "ls", "--"]), ("c1".into(), sh(&["ls", "--"]), false));
    assert_eq!(args(&["exec", "-t", "--", "c1", "ls"]), ("c1".into(), sh(&["ls"]), true));
    assert_eq!(args(&["exec", "c1", "", "-"]), ("c1".into(), sh(&["", "-"]), false));
}

#[test]
fn exec_takes_every_option() {
    let line = [
        "exec",
        "-tdu",
        "1:2",
        "-e",
        "A=1",
        "--env=B=",
        "-g",
        "3",
        "-g=4",
        "--cwd",
        "/w",
        "--process-label",
        "l",
        "--apparmor",
        "p",
        "--no-new-privs",
        "-c",
        "CAP_A",
        "--cap",
        "CAP_B",
        "--preserve-fds=2",
        "--cgroup",
        "cpu:x",
        "--ignore-paused",
        "--pid-file",
        "f",
        "--pidfd-socket",
        "s",
        "--console-socket",
        "t",
        "c1",
        "sh",
        "-c",
        "x",
    ];
    let wanted = ExecOptions {
        id: id("c1"),
        args: vec!["sh".into(), "-c".into(), "x".into()],
        process: None,
        console_socket: path("t"),
        pidfd_socket: path("s"),
        pid_file: path("f"),
        cwd: Some("/w".into()),
        env: vec!["A=1".into(), "B=".into()],
        tty: true,
        user: Some(UserArg { uid: 1, gid: Some(2) }),
        additional_gids: vec![3, 4],
        detach: true,
        process_label: Some("l".into()),
        apparmor: Some("p".into()),
        no_new_privs: true,
        caps: vec!["CAP_A".into(), "CAP_B".into()],
        preserve_fds: 2,
        cgroups: crate::cgroup::SubCgroups::parse(&["cpu:x"]).unwrap(),
        ignore_paused: true,
    };
    assert_eq!(run(&line).1, Command::Exec(Box::new(wanted)));
    let Command::Exec(options) = run(&["exec", "-p", "f", "c1", "ignored"]).1 else { panic!() };
    assert_eq!((options.process, options.args), (path("f"), vec![]));
}

#[test]
fn kill_takes_signals_by_name_and_number() {
    for (line, signal, all) in [
        (&["kill", "c1"][..], 15, false),
        (&["kill", "c1", "9"], 9, false),
        (&["kill", "c1", "--", "KILL"], 9, false),
        (&["kill", "-a", "c1", "HUP"], 1, true),
        (&["kill", "--all", "c1", "SIGRTMIN+1"], 35, true),
    ] {
        assert_eq!(run(line).1, Command::Kill(KillOptions { id: id("c1"), signal, all }), "{line:?}");
    }
}

#[test]
fn ps_passes_its_arguments_on() {
    let Command::Ps(options) = run(&["ps", "--format", "json", "c1"]).1 else { panic!() };
    assert_eq!((options.format, options.args), (ListFormat::Json, vec![]));
    let Command::Ps(options) = run(&["ps", "c1", "-f", "aux"]).1 else { panic!() };
    assert_eq!((options.format, options.args), (ListFormat::Table, vec!["-f".into(), "aux".into()]));
}

#[test]
fn podman_update() {
    for line in [
        &["update", "--resources=-", "c1"][..],
        &["update", "--resources", "-", "c1"],
        &["update", "c1", "-r", "-"],
    ] {
        let Command::Update(options) = run(line).1 else { panic!() };
        assert_eq!(options.resources, path("-"));
    }
    let Command::Update(options) = run(&[
        "update",
        "--memory",
        "64m",
        "--memory-swap",
        "-1",
        "--cpu-quota=-1",
        "--pids-limit",
        "-1",
        "c1",
    ])
    .1
    else {
        panic!()
    };
    assert_eq!((options.memory, options.memory_swap), (Some(64 << 20), Some(-1)));
    assert_eq!((options.cpu_quota, options.pids_limit), (Some(-1), Some(-1)));
    assert!(
        fails(&["update", "--cpu-period", "-1", "c1"]).error.to_string().starts_with("invalid --cpu-period")
    );
}

#[test]
fn probes_of_podman() {
    assert!(prints(&["checkpoint", "--help"]).contains("Usage: tare checkpoint [OPTIONS] <container-id>"));
    let failure = fails(&["restore", "--lsm-mount-context"]);
    assert_eq!(failure.error.to_string(), "flag needs an argument: --lsm-mount-context");
    assert_eq!(failure.exit_code, 1);
    // What go-runc emits for containerd.
    let line = [
        "restore",
        "--image-path",
        "i",
        "--work-path",
        "w",
        "--manage-cgroups-mode",
        "soft",
        "--bundle",
        "b",
    ];
    run(&[&line[..], &["-no-subreaper", "--detach", "--no-pivot", "c1"]].concat());
}

#[test]
fn old_callers() {
    let (global, _) =
        run(&["--criu", "/usr/sbin/criu", "--rootless=true", "--cgroup-manager", "disabled", "list"]);
    assert_eq!((global.rootless, global.cgroup_manager), (Some(true), CgroupManager::Disabled));
    assert!(!prints(&["--help"]).contains("criu"));
}

#[test]
fn misuse_is_told_with_the_usage() {
    for (line, message) in [
        (&["state"][..], "\"state\" requires exactly 1 argument(s)"),
        (&["state", "a", "b"], "\"state\" requires exactly 1 argument(s)"),
        (&["list", "x"], "\"list\" requires exactly 0 argument(s)"),
        (&["kill"], "\"kill\" requires a minimum of 1 argument(s)"),
        (&["kill", "a", "9", "b"], "\"kill\" requires a maximum of 2 argument(s)"),
        (&["nosuch"], "unknown command \"nosuch\""),
        (&["--bogus", "list"], "flag provided but not defined: --bogus"),
        (
            &["create", "--bundel", "x", "c1"],
            "flag provided but not defined: --bundel (did you mean --bundle?)",
        ),
        (&["create", "-x", "c1"], "flag provided but not defined: -x"),
        (&["delete", "-no-such", "c1"], "flag provided but not defined: --no-such"),
        (&["create", "--bundle"], "flag needs an argument: --bundle"),
        (&["create", "-b"], "flag needs an argument: --bundle"),
        (&["run", "--detach=maybe", "c1"], "invalid boolean value for --detach: must be true or false"),
    ] {
        let failure = fails(line);
        assert_eq!(failure.error.to_string(), message, "{line:?}");
        assert_eq!((failure.error.kind(), failure.exit_code), (Kind::Usage, 1), "{line:?}");
        assert!(failure.usage.starts_with("Usage: tare"), "{line:?}: {}", failure.usage);
    }
}

#[test]
fn wrong_values_are_told_in_one_line_and_to_the_log() {
    for (line, start, code) in [
        (&["--log", "/l", "state", "a/b"][..], "invalid container ID format", 1),
        (&["--log", "/l", "exec", "a/b", "x"], "invalid container ID format", 255),
        (&["--log", "/l", "exec", "-u", ":1", "a", "x"], "invalid user", 255),
        (&["--log", "/l", "exec", "a"], "process args cannot be empty", 255),
        (&["--log", "/l", "kill", "a", "NOPE"], "unknown signal", 1),
        (&["--log", "/l", "kill", "a", "-9"], "unknown signal", 1),
        (&["--log", "/l", "kill", "a", "--", "-9"], "unknown signal", 1),
        (&["--log", "/l", "list", "-f", "xml"], "invalid format option", 1),
        (&["--log", "/l", "events", "--interval", "x", "a"], "invalid --interval", 1),
        (&["--log", "/l", "create", "--preserve-fds", "-1", "a"], "invalid --preserve-fds", 1),
    ] {
        let failure = fails(line);
        assert!(failure.error.to_string().starts_with(start), "{line:?}: {}", failure.error);
        assert_eq!((failure.exit_code, failure.usage.as_str()), (code, ""), "{line:?}");
        assert_eq!(failure.global.log, path("/l"), "{line:?}");
    }
    for line in
        [["--log-format", "xml", "list"], ["--log-level", "loud", "list"], ["--rootless", "no", "list"]]
    {
        assert!(fails(&line).error.to_string().starts_with("invalid --"), "{line:?}");
    }
}

#[test]
fn help_and_version() {
    for line in [&[][..], &["--help"], &["-h"], &["help"], &["--debug"]] {
        let text = prints(line);
        assert!(table::VERBS.iter().all(|verb| text.contains(verb.about)), "{text}");
        assert!(text.contains("--systemd-cgroup"));
    }
    assert_eq!(prints(&["help", "kill"]), prints(&["kill", "-h"]));
    assert_eq!(prints(&["state", "c1", "-help"]), prints(&["help", "state"]));
    for line in [["--version"], ["-v"], ["-version"]] {
        assert_eq!(prints(&line).lines().next(), Some(format!("tare version {VERSION}").as_str()));
    }
}

#[test]
fn called_as_runc_it_answers_as_runc() {
    let Ok(Parsed::Print(text)) = parse(["/opt/runc", "--version"].map(OsString::from)) else { panic!() };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().count(), 3);
    assert!(lines[0].starts_with("runc version 1.3.0-tare"));
    assert!(lines[1].starts_with("commit: ") && lines[2] == "spec: 1.3.0");
    let Ok(Parsed::Run(global, _)) = parse(["runc", "list"].map(OsString::from)) else { panic!() };
    assert_eq!(global.program, "runc");
}

#[test]
fn bytes_that_are_no_utf8_are_refused_where_text_is_needed_and_kept_in_paths() {
    use std::os::unix::ffi::OsStringExt;
    let raw = OsString::from_vec(b"/b\xff".to_vec());
    let line = [words(&["create", "--bundle"]), vec![raw.clone(), "c1".into()]].concat();
    let Ok(Parsed::Run(_, Command::Create(options))) = parse(line) else { panic!() };
    assert_eq!(options.bundle, Some(PathBuf::from(raw.clone())));
    let failure = parse([words(&["state"]), vec![raw]].concat()).unwrap_err();
    assert!(failure.error.to_string().starts_with("argument is not valid UTF-8"), "{}", failure.error);
}
