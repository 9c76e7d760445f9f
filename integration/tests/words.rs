//! What is told: under which name, in which form, and how much.

use std::fs;

use tare_integration::*;

/// The runtime under the name that engines know.
fn as_runc(b: &Bundle, words: &str) -> Output {
    let link = b.outside().join("runc");
    let _ = std::os::unix::fs::symlink(runtime_path(), &link);
    b.write();
    let words = words.replace("BUNDLE", b.path().to_str().unwrap()).replace("ID", &b.id);
    let all = ["--root", b.root.to_str().unwrap()].into_iter().chain(words.split_whitespace());
    Cmd::new(&link, all).run()
}

#[test]
fn called_runc_it_says_runc() {
    if peer() == Peer::Crun {
        return skip("crun is not called runc");
    }
    let b = Bundle::new().args(["/nope"]);
    for verb in ["create", "run"] {
        let out = as_runc(&b, &format!("{verb} --bundle BUNDLE ID")).fails();
        let words = format!("runc {verb} failed: unable to start container process: ");
        out.says(&words).says("exec: \"/nope\": stat /nope");
    }
    let b = b.set("/process/terminal", json!(true));
    let out = as_runc(&b, "create --bundle BUNDLE ID").fails();
    out.says("cannot allocate tty if runc will detach without setting console socket");
    let out = as_runc(&b, "run --console-socket /s --bundle BUNDLE ID").fails();
    out.says("cannot use console socket if runc will not detach or allocate tty");
    let c = Bundle::new().does("sleep").start();
    let out = as_runc(&c, "exec -d -t ID /payload").fails();
    out.says("cannot allocate tty if runc will detach without setting console socket");
    if peer() == Peer::Tare {
        as_runc(&c, "nonsense").fails().says("Usage: runc [OPTIONS]").says("Try runc --help");
    }
}

#[test]
fn without_a_log_the_error_is_runcs_line() {
    peer_differs("crun", "has a form of its own", || {
        let b = Bundle::new();
        for (globals, verb) in [("", "state"), ("", "delete"), ("--log-format=text", "start")] {
            let globals: Vec<&str> = globals.split_whitespace().collect();
            let out = b.cmd_with(&globals, [verb, &b.id]).run().fails();
            let form = out.stderr.starts_with("time=\"") && out.stderr.contains("Z\" level=error msg=\"");
            assert!(form && out.stderr.lines().count() == 1, "{out:?}");
        }
        // With one it is the plain text, for people and for callers that look for words.
        let log = b.outside().join("log");
        let out = b.cmd_with(&["--log", log.to_str().unwrap()], ["state", &b.id]).run().fails();
        assert!(!out.stderr.contains("level=") && out.stderr.contains("does not exist"), "{out:?}");
        assert!(fs::read_to_string(&log).unwrap().contains(" level=error msg="));
    });
}

#[test]
fn at_a_terminal_an_error_is_the_word_and_the_reason() {
    if !tare_only("has a form for people") {
        return;
    }
    let b = Bundle::new();
    let pty = Pty::new();
    pty.spawn(b.cmd(["state", &b.id])).wait().code(1);
    assert_eq!(pty.rest(), format!("error: container \"{}\" does not exist\r\n", b.id));
}

#[test]
fn every_verb_has_something_to_say_at_debug_level() {
    if !tare_only("says what it has found and decided") {
        return;
    }
    let c = Bundle::new().does("sleep").start();
    let debug = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        let out = c.cmd_with(&["--debug"], words).run().ok();
        assert!(out.stderr.lines().all(|line| line.contains(" level=")), "{out:?}");
        out
    };
    let id = c.id.as_str();
    let found = format!("container \"{id}\" has process {} (start time ", c.pid());
    let exec = debug(&format!("exec {id} /payload print x"));
    exec.says(&found).says(&format!("container \"{id}\" is running")).says("plan: Plan").says("\"/payload\"");
    for verb in ["state ID", "ps ID", "pause ID", "resume ID", "kill ID 0", "list"] {
        debug(&verb.replace("ID", id)).says(&found).says(" level=debug ");
    }
    debug("features").says(" level=debug ");
    debug(&format!("delete --force {id}")).says(&found).says("deleted");
}

#[test]
fn info_says_what_was_changed_and_nothing_else() {
    if !tare_only("has this level") {
        return;
    }
    let b = Bundle::new().does("sleep");
    let log = b.outside().join("log");
    let globals = ["--log", log.to_str().unwrap(), "--log-format", "json", "--log-level", "info"];
    b.write();
    let (bundle, id) = (b.path(), b.id.as_str());
    let call = |words: &[&str]| b.cmd_with(&globals, words.iter().copied().chain([id])).run();
    call(&["create", "--bundle", bundle.to_str().unwrap()]).ok();
    call(&["start"]).ok();
    call(&["state"]).ok();
    call(&["delete", "--force"]).ok();
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| line.parse().unwrap()).collect();
    let said: Vec<&str> = lines.iter().map(|line| line["msg"].as_str().unwrap()).collect();
    let wanted = ["created", "started", "deleted"].map(|what| format!("container \"{id}\": {what}"));
    assert_eq!(said, wanted);
    assert!(lines.iter().all(|line| line["level"] == "info"), "{text}");
    // A failure is one object, at this level, too.
    fs::remove_file(&log).unwrap();
    call(&["start"]).fails();
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.parse::<Value>().unwrap()["level"], "error", "{text}");
}

#[test]
fn the_default_level_is_silent() {
    let b = Bundle::new().does("sleep");
    for words in ["create", "start", "state", "ps", "kill", "delete --force"] {
        let out = if words == "create" { b.launch(words).run().ok() } else { b.call(words).ok() };
        assert_eq!(out.stderr, "", "{words}");
    }
}

#[test]
fn list_of_a_root_that_is_not_there_is_an_error() {
    peer_differs("runc<1.2 crun", "list nothing", || {
        let b = Bundle::new();
        b.call_plain("list").code(1).says("no such file or directory").says(b.root.to_str().unwrap());
        b.call_plain("list --format json").code(1).fails();
        assert!(!b.root.exists());
    });
}

#[test]
fn a_container_that_is_being_created_is_told_so() {
    if !tare_only("the lock is the creator's sign of life") {
        return;
    }
    let b = Bundle::new();
    let dir = b.root.join(&b.id);
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let file = fs::File::open(&dir).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).map_err(|e| e.1).unwrap();
    let state = b.call("state").document();
    assert_eq!(state["status"], "creating");
    assert_eq!((&state["id"], &state["pid"], &state["owner"]), (&json!(b.id), &json!(0), &json!("root")));
    assert!(state["created"].as_str().unwrap().starts_with("20"), "{state}");
    assert_eq!(b.call_plain("list --format json").document()[0]["status"], "creating");
    b.call("start").fails().says("being created");
    b.cmd(["exec", &b.id, "/payload"]).run().fails().says("being created");
    b.call("kill").fails().says("not created yet");
    b.call("delete").fails().says("that is not stopped: creating");
    drop(lock);
    b.call("state").fails().says("its creation was cut short");
}

#[test]
fn who_watches_a_creation_sees_it_in_order() {
    if !tare_only("peers have no status creating") {
        return;
    }
    let b = Bundle::new().does("sleep");
    b.write();
    let bundle = b.path();
    let create = ["create", "--bundle", bundle.to_str().unwrap(), &b.id];
    for _ in 0..20 {
        let creator = b.cmd_with(&["--cgroup-manager", "disabled"], create).spawn();
        let mut seen = vec!["none".to_owned()];
        while seen.last().unwrap() != "created" {
            let out = b.call("state");
            let now = match out.code {
                Some(0) => out.document()["status"].as_str().unwrap().to_owned(),
                _ => {
                    assert_eq!(out.line(), format!("container {:?} does not exist", b.id));
                    "none".to_owned()
                }
            };
            let order = |status: &str| ["none", "creating", "created"].iter().position(|one| *one == status);
            assert!(order(&now) >= order(seen.last().unwrap()), "{now} after {seen:?}");
            seen.push(now);
        }
        creator.wait().ok();
        b.call("delete --force").ok();
    }
}

#[test]
fn a_closed_descriptor_among_the_preserved_is_an_error() {
    // Newer ones of runc look; 1.1.5 has opened its own /sys/fs/cgroup under that number, and passes it.
    peer_differs("runc crun", "passes those that are open", || {
        let b = Bundle::new().does("fds");
        let zero = || fs::File::open("/dev/zero").unwrap();
        let cmd = b.launch("run --preserve-fds 3").fd(zero(), 3).fd(zero(), 5);
        cmd.run().code(1).says_any(&["file descriptor 4: please check", "preserved-fd 1 (of 3)"]);
    });
}

#[test]
fn texts_of_errno_are_those_of_go() {
    let b = Bundle::new();
    let link = b.outside().join("loop");
    std::os::unix::fs::symlink("loop", &link).unwrap();
    let out = b.cmd(["create", "--bundle", link.to_str().unwrap(), &b.id]).run().fails();
    out.says_any(&["too many levels of symbolic links"]);
}
