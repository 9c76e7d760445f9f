//! Device rules, by what can be opened.

use super::*;
use std::os::fd::AsFd;
use tare::sys::bpf;

/// /dev/kmsg is not in the default list.
const DENIED: &str = "/dev/kmsg";

fn opens(group: &Manager, device: &str) -> bool {
    let output = run(group, &format!(": < {device}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || stderr.contains("Operation not permitted"), "{output:?}");
    output.status.success()
}

#[test]
fn a_denied_device_fails_to_open_and_an_allowed_one_opens() {
    for layout in layouts() {
        let closed = r#"{"allow":false,"access":"rwm"}"#;
        let group = create(&layout, &plan(&format!(r#"{{"devices":[{closed}]}}"#)));
        for device in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
            assert!(opens(&group, device), "{device}");
        }
        assert!(!opens(&group, DENIED));
        // mknod is allowed for every device, as in runc; opening what was made is not.
        let node = std::env::temp_dir().join(name());
        let script = format!("mknod {0} c 1 11 && : < {0}", node.display());
        let output = run(&group, &script);
        assert!(node.exists(), "{output:?}");
        std::fs::remove_file(&node).unwrap();
        assert!(!output.status.success());

        let read = r#"{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}"#;
        let group = create(&layout, &plan(&format!(r#"{{"devices":[{closed},{read}]}}"#)));
        assert!(opens(&group, DENIED));
        assert!(!run(&group, &format!(": > {DENIED}")).status.success());

        let open = r#"{"allow":true,"access":"rwm"}"#;
        let but = r#"{"allow":false,"type":"c","major":1,"minor":11,"access":"rwm"}"#;
        let group = create(&layout, &plan(&format!(r#"{{"devices":[{open},{but}]}}"#)));
        assert!(!opens(&group, DENIED));
        assert!(opens(&group, "/dev/null"));
        // No rules at all: the defaults.
        let group = create(&layout, &plan("{}"));
        assert!(!opens(&group, DENIED));
    }
}

#[test]
fn an_empty_cgroup_that_is_there_is_used_again_with_new_rules() {
    for layout in layouts() {
        let path = format!("/{}", name());
        let closed = create(&layout, &plan_at(&path, r#"{"devices":[{"allow":false,"access":"rwm"}]}"#));
        assert!(!opens(&closed, DENIED));
        let rule = r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"rw"}]}"#;
        let changed = create(&layout, &plan_at(&path, rule));
        assert!(opens(&changed, DENIED), "the rules of before are still there");
        let all = create(&layout, &plan_at(&path, &format!("{{{OPEN}}}")));
        assert!(opens(&all, DENIED));
    }
}

/// The ids of the programs attached to a v2 directory, with their names.
fn programs(dir: &Path) -> Vec<(u32, String)> {
    let fd = std::fs::File::open(dir).unwrap();
    let named = |id| {
        let program = bpf::program_by_id(id).unwrap();
        (id, String::from_utf8(bpf::program_name(program.as_fd()).unwrap()).unwrap())
    };
    bpf::device_programs(fd.as_fd()).unwrap().into_iter().map(named).collect()
}

#[test]
fn programs_of_others_stay_and_ours_is_replaced() {
    for layout in layouts().into_iter().filter(Layout::is_v2) {
        let path = format!("/{}", name());
        let closed = create(&layout, &plan_at(&path, r#"{"devices":[{"allow":false,"access":"rwm"}]}"#));
        let dir = paths(&closed).remove(0);
        // What systemd's DeviceAllow or a GPU's toolkit would attach: here, "all is allowed" (r0 = 1; exit).
        let words = [0x0000_0001_0000_00b7_u64, 0x95];
        let theirs = bpf::load_device_program(&words, c"somebody").unwrap();
        let fd = std::fs::File::open(&dir).unwrap();
        bpf::attach_device_program(fd.as_fd(), theirs.as_fd(), None).unwrap();
        let before = programs(&dir);
        assert_eq!(
            before.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(),
            ["tare_devices", "somebody"]
        );
        assert!(!opens(&closed, DENIED), "all programs have to agree");

        let rule = r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"rw"}]}"#;
        let changed = create(&layout, &plan_at(&path, rule));
        let after = programs(&dir);
        assert_eq!(after.len(), 2, "{after:?}");
        assert!(after.contains(&before[1]), "{after:?}");
        assert!(!after.contains(&before[0]) && after.iter().any(|(_, name)| name == "tare_devices"));
        assert!(opens(&changed, DENIED));
        // `update` leaves both.
        changed.apply(&open_plan("")).unwrap();
        assert_eq!(programs(&dir), after);
        let all = create(&layout, &plan_at(&path, &format!("{{{OPEN}}}")));
        assert_eq!(programs(&dir), [before[1].clone()]);
        assert!(opens(&all, DENIED));
    }
}
