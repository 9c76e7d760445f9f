//! `run` and `exec` in the foreground: terminals, signals, exit codes, never a hang.

use std::time::Duration;

use nix::sys::signal::Signal;
use tare_integration::*;

/// A bundle that wants a terminal.
fn with_terminal() -> Bundle {
    Bundle::new().set("/process/terminal", json!(true))
}

/// The JSON of the last line that begins with `{` or `[`, as a terminal shows it.
fn json_of(text: &str) -> Value {
    let line =
        text.lines().rfind(|l| l.starts_with(['{', '['])).unwrap_or_else(|| panic!("no JSON: {text:?}"));
    line.trim().parse().unwrap()
}

#[test]
fn a_terminal_of_its_own() {
    let b = with_terminal().does("tty -- print end");
    let mut pty = Pty::new();
    let run = pty.spawn(b.launch("run"));
    pty.expect("end");
    run.wait().code(0);
    let tty = json_of(&pty.rest());
    for stream in ["stdin", "stdout", "stderr"] {
        assert_eq!(tty[stream]["isatty"], true, "{stream}: {tty}");
        // Not the host's name: its own devpts instance has exactly this one.
        assert!(["/dev/console", "/dev/pts/0"].contains(&tty[stream]["name"].as_str().unwrap()), "{tty}");
    }
    assert_eq!(tty["controlling"], true, "{tty}");
}

#[test]
fn what_is_typed_arrives_and_what_is_printed_is_shown() {
    let b = with_terminal().does("line -- print thanks");
    let mut pty = Pty::new();
    let run = pty.spawn(b.launch("run"));
    pty.write("hello\r");
    pty.expect("\"hello\\n\"");
    pty.expect("thanks");
    run.wait().code(0);
}

#[test]
fn the_outer_terminal_is_raw_while_it_runs_and_restored_after() {
    let b = with_terminal().does("print up -- line");
    let mut pty = Pty::new();
    assert!(!pty.is_raw());
    let run = pty.spawn(b.launch("run"));
    pty.expect("up");
    assert!(pty.is_raw(), "else control characters would not reach the container");
    pty.write("\r");
    run.wait().code(0);
    assert!(!pty.is_raw(), "left raw");
}

#[test]
fn the_outer_terminal_is_restored_after_a_failure() {
    let b = with_terminal().args(["/nope"]);
    let pty = Pty::new();
    let run = pty.spawn(b.launch("run"));
    run.wait().code(1);
    assert!(!pty.is_raw(), "left raw");
}

#[test]
fn control_c_reaches_the_container_as_a_signal() {
    let b = with_terminal().does("trap 1 INT -- exit 5");
    let mut pty = Pty::new();
    let run = pty.spawn(b.launch("run"));
    pty.expect("ready");
    pty.write("\x03");
    pty.expect("\"INT\"");
    run.wait().code(5);
}

#[test]
fn the_window_size_is_passed_on_and_followed() {
    let b = with_terminal().does("winch 9");
    let mut pty = Pty::new();
    pty.resize(30, 90);
    let run = pty.spawn(b.launch("run"));
    peer_differs("crun", "passes the signal on, but not the size", || {
        // Set before the start or by a first signal: what counts is that it is seen.
        pty.expect_within("[30,90]", Duration::from_secs(5));
        pty.resize(50, 132);
        pty.expect_within("[50,132]", Duration::from_secs(5));
    });
    drop(run);
}

#[test]
fn console_size_of_the_config() {
    let b = with_terminal().set("/process/consoleSize", json!({"height": 33, "width": 77})).does("tty");
    let pty = Pty::new();
    // The outer terminal has no size of its own to pass on.
    pty.resize(0, 0);
    let run = pty.spawn(b.launch("run"));
    run.wait().code(0);
    let tty = json_of(&pty.rest());
    peer_may_differ("runc crun", "the outer terminal's size, none, wins", || {
        assert_eq!((&tty["stdout"]["rows"], &tty["stdout"]["cols"]), (&json!(33), &json!(77)), "{tty}");
    });
}

#[test]
fn what_is_no_terminal_gets_what_was_written() {
    // Stdout is a file here.
    peer_may_differ("crun>=1.21", "wants one that can be polled", || {
        // As with `run | cat`: no CR before the LF, and the outer terminal shows LF as CR LF for others.
        let lines = "\"a\"\n\"b\"\n";
        let b = with_terminal().does("print a -- print b -- sleep 300");
        let pty = Pty::new();
        let run = b.launch("run").stdin(pty.slave.try_clone().unwrap()).spawn();
        run.lines(2);
        peer_may_differ("crun", "makes it all raw", || assert!(pty.shows_lines()));
        let out = run.wait();
        peer_differs("crun", "CR LF", || assert_eq!(out.stdout, lines));
        let c = Bundle::new().does("sleep").start();
        let exec = c.exec_cmd("--tty", "print a -- print b").stdin(pty.slave.try_clone().unwrap());
        let out = exec.run().stdout;
        // The process is not held until the terminal is set.
        let test = || peer_may_differ("runc", "CR LF at times", || assert_eq!(out, lines));
        peer_differs("crun", "CR LF", test);
    });
}

#[test]
fn a_terminal_gets_lines_as_ever() {
    let b = with_terminal().does("print a -- print b");
    let pty = Pty::new();
    pty.spawn(b.launch("run")).wait().code(0);
    assert_eq!(pty.rest(), "\"a\"\r\n\"b\"\r\n");
}

#[test]
fn much_output_before_the_end_is_not_lost() {
    let long = "x".repeat(3000);
    let verbs: Vec<String> = (0..30).map(|n| format!("print {n} {long}")).collect();
    let b = with_terminal().does(&format!("{} -- print the-end", verbs.join(" -- ")));
    let mut pty = Pty::new();
    let run = pty.spawn(b.launch("run"));
    peer_may_differ("crun>=1.21", "loses what it has not read by the end", || {
        let seen = pty.expect("the-end");
        assert_eq!(seen.matches(&long).count(), 30);
    });
    run.wait().code(0);
}

#[test]
fn a_program_that_ends_at_once_is_shown_and_does_not_hang() {
    for n in 0..15 {
        let b = with_terminal().does(&format!("print done -- exit {n}"));
        let mut pty = Pty::new();
        let run = pty.spawn(b.launch("run"));
        run.wait().code(n);
        pty.expect("done");
    }
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_container() {
    // As with `run | head`: more output than a terminal and a pipe hold together, and then the end.
    let long = "x".repeat(3000);
    let verbs: Vec<String> = (0..100).map(|n| format!("print {n} {long}")).collect();
    let b = with_terminal().does(&format!("{} -- exit 7", verbs.join(" -- ")));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    peer_differs("runc crun", "stop reading, or want a terminal", || {
        b.launch("run").stdio(&writer.into()).timeout(Duration::from_secs(10)).run().code(7);
    });
}

#[test]
fn a_terminal_without_one_outside() {
    // stdin at its end, stdout a file: both peers give up in the end. It must not hang or die.
    let out = with_terminal().does("tty").run();
    match out.code {
        Some(0) => assert_eq!(json_of(&out.stdout)["stdout"]["isatty"], true),
        _ => drop(out.fails()),
    }
}

#[test]
fn signals_to_the_runtime_are_forwarded() {
    let b = Bundle::new().does("trap 4 TERM INT USR1 HUP -- exit 9");
    let run = b.launch("run").spawn();
    run.lines(1);
    for (n, (signal, name)) in [
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGTERM, "TERM"),
    ]
    .into_iter()
    .enumerate()
    {
        run.signal(signal);
        assert_eq!(run.lines(n + 2)[n + 1], format!("\"{name}\""));
    }
    run.wait().code(9);
}

#[test]
fn signals_to_exec_are_forwarded() {
    let c = Bundle::new().does("sleep").start();
    let exec = c.exec_cmd("", "trap 2 USR1 TERM -- exit 4").spawn();
    exec.lines(1);
    exec.signal(Signal::SIGUSR1);
    assert_eq!(exec.lines(2)[1], "\"USR1\"");
    exec.signal(Signal::SIGTERM);
    exec.wait().code(4);
    assert_eq!(c.status(), "running", "the container's own process is not concerned");
}

#[test]
fn a_fatal_forwarded_signal_gives_128_and_its_number() {
    let b = Bundle::new().no_ns("pid").does("print up -- sleep");
    let run = b.launch("run").spawn();
    run.lines(1);
    run.signal(Signal::SIGTERM);
    run.wait().code(128 + 15);
}

#[test]
fn it_does_not_wait_for_those_who_hold_the_outputs() {
    // A daemon of the container's, deaf and holding stdout; PID 1 ends and takes it along.
    let b = Bundle::new().does("orphan -- exit 3");
    let out = b.run().code(3);
    assert!(out.elapsed < Duration::from_secs(5) * slow());
    // In exec nothing takes it along: exec must end all the same.
    let c = Bundle::new().does("sleep").start();
    peer_differs("runc", "waits for the end of the outputs", || {
        c.exec_cmd("", "orphan -- exit 4").timeout(Duration::from_secs(4)).run().code(4);
    });
}

#[test]
fn orphans_that_come_to_the_runtime_are_reaped() {
    // Without a pid namespace there is no PID 1 of the container's to do it.
    let b = Bundle::new().no_ns("pid").does("orphan -- print up -- sleep");
    let run = b.launch("run").spawn();
    run.lines(2);
    let children = || {
        // Of all threads: a peer has more than one.
        let threads = std::fs::read_dir(format!("/proc/{}/task", run.pid())).unwrap().flatten();
        let text: String =
            threads.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok()).collect();
        text.split_whitespace().map(|pid| pid.parse::<i32>().unwrap()).collect::<Vec<_>>()
    };
    let init = b.call("state").document()["pid"].as_i64().unwrap() as i32;
    let others: Vec<i32> = children().into_iter().filter(|&pid| pid != init).collect();
    assert_eq!(others.len(), 1, "the orphan is the runtime's child");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(others[0]), Signal::SIGKILL).unwrap();
    assert!(until(TIMEOUT, || children() == [init]), "{:?}", children());
    b.call("kill").ok();
    run.wait();
}

#[test]
fn exec_with_a_terminal() {
    let c = Bundle::new().does("sleep").start();
    let mut pty = Pty::new();
    let exec = pty.spawn(c.exec_cmd("-t", "tty -- line -- exit 6"));
    pty.write("typed\r");
    pty.expect("\"typed\\n\"");
    exec.wait().code(6);
    assert!(!pty.is_raw());
    let tty = json_of(&pty.rest());
    assert_eq!(tty["stdin"]["isatty"], true, "{tty}");
    assert_eq!(tty["controlling"], true, "{tty}");
}

#[test]
fn exec_with_a_terminal_follows_the_window() {
    let c = Bundle::new().does("sleep").start();
    let mut pty = Pty::new();
    let _exec = pty.spawn(c.exec_cmd("--tty", "winch 9"));
    peer_differs("crun<1.21", "passes the signal on, but not the size", || {
        pty.expect("[24,80]");
        pty.resize(11, 22);
        pty.expect_within("[11,22]", Duration::from_secs(5));
    });
}

#[test]
fn stdin_reaches_exec_and_its_end_too() {
    let c = Bundle::new().does("sleep").start();
    let out = c.exec_cmd("", "cat -- print end").input("given\n").run().ok();
    assert_eq!(out.stdout, "given\n\"end\"\n");
}

#[test]
fn a_closed_stdin_is_no_problem() {
    fn close_stdin() -> std::io::Result<()> {
        // SAFETY: closes the child's own fd 0.
        unsafe { libc::close(0) };
        Ok(())
    }
    let b = Bundle::new().does("fds");
    peer_differs("crun", "wants to chown it", || {
        // SAFETY: one system call.
        let out = unsafe { b.launch("run").before_exec(close_stdin) }.run().ok();
        let fds = out.json();
        assert!(fds.as_object().unwrap().keys().all(|fd| ["0", "1", "2"].contains(&fd.as_str())), "{fds}");
    });
}
