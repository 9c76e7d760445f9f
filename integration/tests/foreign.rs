//! Containers of other runtimes below the same `--root`: the program was exchanged while they ran.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tare_integration::*;

/// Another runtime, installed on this machine; tests about it are for tare alone.
fn other(name: &str) -> Option<PathBuf> {
    if !tare_only("containers of other runtimes") {
        return None;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("no {name}"));
    }
    found
}

/// The other runtime with the same `--root`.
fn call(program: &PathBuf, b: &Bundle, words: &str) -> Cmd {
    let root = ["--root", b.root.to_str().unwrap()].map(str::to_owned);
    Cmd::new(program, root.into_iter().chain(words.split_whitespace().map(str::to_owned)))
}

#[track_caller]
fn create(program: &PathBuf, b: Bundle) -> Container {
    b.write();
    let words =
        format!("create --bundle {} --pid-file {} {}", b.path().display(), b.pid_file().display(), b.id);
    let output = call(program, &b, &words).run().ok();
    Container::created(b, output)
}

#[track_caller]
fn start(program: &PathBuf, b: Bundle) -> Container {
    let c = create(program, b);
    call(program, &c, &format!("start {}", c.id)).run().ok();
    c
}

fn is_gone(c: &Container) -> bool {
    !c.root.join(&c.id).exists() && c.cgroups().is_empty()
}

#[test]
fn a_container_of_runc_is_shown_signalled_and_deleted() {
    let Some(runc) = other("runc") else { return };
    let c = create(&runc, Bundle::new().set("/annotations/a.b", json!("c")).does("sleep 1000000"));
    let state = c.state();
    assert_eq!((&state["status"], &state["pid"]), (&json!("created"), &json!(c.pid())));
    assert_eq!((&state["bundle"], &state["annotations"]), (&json!(c.path()), &json!({"a.b": "c"})));
    call(&runc, &c, &format!("start {}", c.id)).run().ok();
    assert_eq!(c.status(), "running");
    let list = c.call_plain("list --format json").document();
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!(c.id), &json!("running")));
    assert_eq!(c.call("ps --format json").document(), json!([c.pid()]));
    c.call("delete").fails().says("not stopped: running");
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
    assert_eq!(c.status(), "stopped");
    c.call("delete").ok();
    assert!(is_gone(&c), "{:?}", c.cgroups());
}

#[test]
fn a_container_of_runc_is_deleted_by_force_with_all_its_processes() {
    let Some(runc) = other("runc") else { return };
    for paused in [false, true] {
        let c = start(&runc, Bundle::new().no_ns("pid").does("spawn 2 -- sleep 1000000"));
        let pids = three_pids(&c);
        if paused {
            c.call("pause").ok();
            assert_eq!(c.status(), "paused");
        }
        c.call("delete --force").ok();
        assert!(is_gone(&c), "{:?}", c.cgroups());
        let ended = |pid: &i64| until(TIMEOUT, || is_dead(*pid as i32));
        assert!(pids.iter().all(ended), "{pids:?}");
    }
}

/// The processes of a container, once there are three.
#[track_caller]
fn three_pids(c: &Container) -> Vec<i64> {
    let list = || c.call("ps --format json").document().as_array().cloned().unwrap_or_default();
    assert!(until(TIMEOUT, || list().len() == 3), "{:?}", list());
    list().iter().filter_map(Value::as_i64).collect()
}

fn is_dead(pid: i32) -> bool {
    let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), Some(nix::sys::wait::WaitPidFlag::WNOHANG));
    kill(Pid::from_raw(pid), None::<Signal>).is_err()
}

#[test]
fn what_shares_the_cgroup_of_a_container_of_runc_lives_on_when_that_is_deleted() {
    let Some(runc) = other("runc") else { return };
    let path = format!("/{}", Bundle::new().id);
    let [gone, other] = [(); 2]
        .map(|()| start(&runc, Bundle::new().set("/linux/cgroupsPath", json!(path)).does("sleep 1000000")));
    gone.call("delete --force").ok();
    assert!(!gone.root.join(&gone.id).exists());
    assert_eq!(other.status(), "running");
}

#[test]
fn the_poststop_hook_of_a_container_of_runc_runs() {
    let Some(runc) = other("runc") else { return };
    let b = Bundle::new().does("sleep 1000000");
    let file = b.outside().join("ran");
    let c = start(&runc, b.hook("poststop", &format!("touch {}", file.display())));
    c.call("delete --force").ok();
    assert!(file.exists());
}

#[test]
fn a_program_of_threads_is_deleted_at_once_while_it_executes_another() {
    let Some(runc) = other("runc") else { return };
    // runc's init has threads, and the v1 freezer cannot freeze one that waits at execve for the frozen others to end.
    for _ in 0..5 {
        let c = start(&runc, Bundle::new().does("sleep 1000000"));
        let out = c.call("delete --force").ok();
        assert!(out.elapsed < TIMEOUT / 4 * slow(), "{:?}", out.elapsed);
    }
}

#[test]
fn exec_in_a_container_of_runc_is_confined_as_its_process() {
    let Some(runc) = other("runc") else { return };
    let rule = json!({"names": ["mknod", "mknodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99});
    let b = Bundle::new().does("status CapBnd Seccomp NoNewPrivs -- read /proc/self/cgroup -- sleep 1000000");
    let b = b.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    let c = start(&runc, b.caps("bounding=KILL,CHOWN effective=KILL permitted=KILL"));
    let init = c.lines(2);
    assert_eq!(c.exec("status CapBnd Seccomp NoNewPrivs -- read /proc/self/cgroup").ok().answers(), init);
    assert_eq!(init[0]["Seccomp"], "2");
    assert_eq!(c.exec("read /proc/1/comm").json(), "payload\n");
}

#[test]
fn what_needs_the_state_of_a_container_of_runc_is_refused_by_name() {
    let Some(runc) = other("runc") else { return };
    let c = create(&runc, Bundle::new().does("sleep 1000000"));
    let words = format!("container \"{}\": it was made by runc: use runc with it", c.id);
    c.call("start").fails().says(&words);
    call(&runc, &c, &format!("start {}", c.id)).run().ok();
    c.call("update --pids-limit 9").fails().says(&words);
    c.call("checkpoint").fails().says(&words);
    assert_eq!(c.status(), "running");
}

#[test]
fn a_container_of_crun_is_refused_by_name_and_hides_no_other() {
    let Some(crun) = other("crun") else { return };
    if !is_v2() && std::path::Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists() {
        return skip("crun knows no cgroup v1 beside v2");
    }
    let b = Bundle::new().does("sleep 1000000");
    b.write();
    let words =
        format!("create --bundle {} --pid-file {} {}", b.path().display(), b.pid_file().display(), b.id);
    call(&crun, &b, &words).run().ok();
    let words = format!("container \"{}\": it was made by crun: use crun with it", b.id);
    for verb in ["state", "start", "kill", "delete", "delete --force"] {
        b.call(verb).fails().says(&words);
    }
    let list = b.call_plain("list -q").ok();
    assert_eq!(list.stdout, "");
    assert!(list.stderr.contains("it was made by crun"), "{list:?}");
    call(&crun, &b, &format!("delete --force {}", b.id)).run().ok();
}
