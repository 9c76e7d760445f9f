//! `linux.netDevices`: devices of the host that move into the container. The host's part is played by a network
//! namespace of the test's own thread, and what that starts.

use nix::sched::{CloneFlags, unshare};
use tare_integration::*;

/// Runs `test` in a network namespace in which `ip` has done `setup`, lines of its arguments.
fn on_a_host(setup: &str, test: impl FnOnce() + Send + 'static) {
    let setup = setup.to_owned();
    let thread = std::thread::current().name().unwrap_or("network").to_owned();
    let host = std::thread::Builder::new().name(thread).spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for line in setup.lines().map(str::trim).filter(|line| !line.is_empty()) {
            ip(line);
        }
        test();
    });
    if let Err(panic) = host.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

/// What `ip ARGS` prints; it must succeed.
fn ip(args: &str) -> String {
    Cmd::new("ip", args.split_whitespace()).run().ok().stdout
}

/// A pair of which one end has everything that is to be kept.
const PAIR: &str = "link add v0 type veth peer name v1
    link set v0 mtu 1400 address 02:00:00:00:00:07
    link set v0 up
    link set v1 up
    addr add 192.0.2.7/24 brd 192.0.2.99 dev v0
    addr add 10.9.0.1 peer 10.9.0.2/32 dev v0
    addr add 2001:db8::7/64 dev v0 nodad
    addr add 198.51.100.1/32 scope link dev v0
    addr add 203.0.113.5/24 valid_lft 300 preferred_lft 300 dev v0";

/// A bundle that shows its devices: names, MTU and MAC of `name`, its flags, its addresses.
fn shows(name: &str) -> Bundle {
    let sys = format!("/sys/class/net/{name}");
    Bundle::new().does(&format!(
        "interfaces -- read {sys}/mtu -- read {sys}/address -- read {sys}/flags -- read /proc/net/fib_trie \
         -- read /proc/net/if_inet6 -- read /proc/net/route"
    ))
}

fn not_here() -> bool {
    if matches!(peer(), Peer::Runc | Peer::Crun) {
        note("known difference", "runc, crun: older than linux.netDevices");
        return true;
    }
    false
}

#[test]
fn a_device_moves_with_its_name_and_what_belongs_to_it() {
    if not_here() {
        return;
    }
    on_a_host(PAIR, || {
        let out = shows("v0").set("/linux/netDevices", json!({"v0": {}})).run().ok().answers();
        assert_eq!(out[0], json!(["lo", "v0"]));
        assert_eq!((&out[1], &out[2]), (&json!("1400\n"), &json!("02:00:00:00:00:07\n")));
        let flags = out[3].as_str().unwrap().trim().trim_start_matches("0x").to_owned();
        assert_eq!(u32::from_str_radix(&flags, 16).unwrap() & 1, 1, "up");
        let (v4, v6) = (out[4].to_string(), out[5].to_string());
        for address in ["192.0.2.7", "192.0.2.99", "10.9.0.1"] {
            assert!(v4.contains(address), "{address}: {v4}");
        }
        assert!(v6.contains("20010db8000000000000000000000007"), "{v6}");
        // Of the link, and with an end: those belong to the place where they were given.
        for address in ["198.51.100.1", "203.0.113.5"] {
            assert!(!v4.contains(address), "{address}: {v4}");
        }
        // The route to the peer.
        assert!(out[6].to_string().contains("0200090A"), "{}", out[6]);
    });
}

#[test]
fn it_can_get_another_name() {
    if not_here() {
        return;
    }
    on_a_host(PAIR, || {
        let out =
            shows("eth0").set("/linux/netDevices", json!({"v0": {"name": "eth0"}})).run().ok().answers();
        assert_eq!(out[0], json!(["lo", "eth0"]));
        assert!(out[4].to_string().contains("192.0.2.7"), "{}", out[4]);
    });
}

#[test]
fn a_name_can_leave_its_number_open() {
    if not_here() {
        return;
    }
    on_a_host(PAIR, || {
        let devices = json!({"v0": {"name": "e%d"}, "v1": {"name": "e0"}});
        let out = Bundle::new().set("/linux/netDevices", devices).does("interfaces").run().ok().json();
        let names: Vec<&str> = out.as_array().unwrap().iter().filter_map(|n| n.as_str()).collect();
        assert!(names.contains(&"e0") && names.contains(&"e1"), "{out}");
    });
}

#[test]
fn it_is_no_longer_the_hosts_and_hooks_see_it_inside() {
    if not_here() {
        return;
    }
    on_a_host(PAIR, || {
        let b = Bundle::new().set("/linux/netDevices", json!({"v0": {}})).does("sleep");
        let seen = b.outside().join("seen");
        let script = format!("cat /proc/self/net/dev >{}", seen.display());
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        let c = b.push("/hooks/createContainer", hook).create();
        assert!(!ip("-o link").contains("v0:") && ip("-o link").contains("v1"), "{}", ip("-o link"));
        let seen = std::fs::read_to_string(&seen).unwrap();
        assert!(seen.contains("v0"), "{seen}");
        assert_eq!(c.exec("interfaces").ok().json(), json!(["lo", "v0"]));
    });
}

#[test]
fn several_of_them_into_a_joined_namespace() {
    if not_here() {
        return;
    }
    on_a_host("link add name a type veth peer name b\nlink add name c type veth peer name d", || {
        let holder = Bundle::new().does("sleep").start();
        let path = format!("/proc/{}/ns/net", holder.pid());
        let b = Bundle::new().join("network", &path).does("interfaces");
        let b = b.set("/linux/netDevices", json!({"a": {"name": "x"}, "c": {}}));
        let names = b.run().ok().json().to_string();
        assert!(names.contains("\"x\"") && names.contains("\"c\""), "{names}");
        // The namespace is the holder's, and so are they.
        assert!(holder.exec("interfaces").ok().json().to_string().contains("\"x\""));
    });
}

#[test]
fn in_a_user_namespace_too() {
    if not_here() {
        return;
    }
    on_a_host(PAIR, || {
        let b = shows("v0").userns().set("/linux/netDevices", json!({"v0": {}}));
        let out = b.run().ok().answers();
        assert_eq!(out[0], json!(["lo", "v0"]));
        assert!(out[4].to_string().contains("192.0.2.7"), "{}", out[4]);
    });
}

#[test]
fn what_cannot_move_is_named_and_nothing_has_moved() {
    if not_here() {
        return;
    }
    on_a_host(&format!("{PAIR}\nlink add br0 type bridge"), || {
        let refused = |devices: Value, words: &[&str]| {
            let out = Bundle::new().set("/linux/netDevices", devices).refused();
            words.iter().for_each(|w| assert!(out.line().contains(w), "{w}: {}", out.line()));
            let left = ip("-o link");
            assert!(left.contains("v0@") && left.contains("v1@"), "{left}");
        };
        refused(json!({"nope": {}, "v0": {}}), &["linux.netDevices[\"nope\"]", "no such device"]);
        refused(json!({"br0": {}}), &["linux.netDevices[\"br0\"]", "invalid argument"]);
        refused(json!({"v0": {"name": "lo"}}), &["linux.netDevices[\"v0\"]", "file exists"]);
        refused(json!({"v0": {"name": "a/b"}}), &["linux.netDevices.v0.name", "invalid network device name"]);
        refused(json!({"v0": {"name": "e%s"}}), &["linux.netDevices.v0.name"]);
        refused(json!({"v0": {"name": "x"}, "v1": {"name": "x"}}), &["linux.netDevices.v1"]);
        let b = Bundle::new().no_ns("network").no_mount("/sys").set("/linux/netDevices", json!({"v0": {}}));
        b.refused().says("without a private NET namespace");
    });
}
