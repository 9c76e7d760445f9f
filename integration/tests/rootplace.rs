//! The container's root stands at root.path while it is being built: what binds, hooks and propagation find there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use tare_integration::*;

/// A container, and what it is launched with.
struct Shape {
    name: &'static str,
    flags: &'static str,
    bundle: Bundle,
}

/// With and without a user namespace, below a folder that its root may not enter, with a read-only root, and without
/// pivot_root.
fn shapes() -> Vec<Shape> {
    let shape = |name, flags, bundle| Shape { name, flags, bundle };
    let read_only = || Bundle::new().set("/root/readonly", json!(true));
    let mut all = vec![
        shape("plain", "", Bundle::new()),
        shape("read-only", "", read_only()),
        shape("no pivot", "--no-pivot", Bundle::new()),
        shape("user namespace", "", Bundle::new().userns()),
        shape("user namespace, read-only", "", read_only().userns()),
    ];
    if peer() == Peer::Tare {
        // runc takes `/` of the mount namespace away before it knows that it may not move the root there.
        all.push(shape("user namespace, no pivot", "--no-pivot", Bundle::new().userns()));
    }
    all
}

/// A folder that is not the bundle's and that everybody may look into, with a file `marker`; the words are `of the host`.
struct Host(Bundle);

impl Host {
    fn new() -> Host {
        let b = Bundle::new();
        fs::write(b.outside().join("marker"), "of the host").unwrap();
        let log = b.outside().join("log");
        fs::write(&log, "").unwrap();
        fs::set_permissions(log, fs::Permissions::from_mode(0o666)).unwrap();
        Host(b)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.outside().join(name)
    }

    /// What hooks have said with `into`.
    fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("log")).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

#[track_caller]
fn run(shape: &Shape) -> Output {
    let out = shape.bundle.launch(&format!("run {}", shape.flags)).run();
    assert!(out.code == Some(0), "{}: {out:?}", shape.name);
    out
}

// Binds.

#[test]
fn a_recursive_bind_of_the_hosts_root_shows_the_host() {
    let host = Host::new();
    let marker = format!("/host{}", host.path("marker").display());
    for mut shape in shapes() {
        for options in ["rbind,rslave,ro", "rbind"] {
            let b = shape.bundle.no_mount("/host").bind("/", "/host", options);
            shape.bundle =
                b.does(&format!("read {marker} -- exists /host/payload /host/usr /host/proc/self"));
            let test = || {
                let out = run(&shape);
                assert_eq!(out.json(), "of the host", "{}, {options}", shape.name);
                assert_eq!(out.json_line(1), json!([false, true, true]), "{}, {options}", shape.name);
            };
            match shape.name.contains("user") {
                true => peer_may_differ("crun", "binds what it may not look into", test),
                false => test(),
            }
        }
    }
}

#[test]
fn a_bind_of_a_path_in_the_rootfs_shows_what_an_earlier_mount_has_put_there() {
    let host = Host::new();
    for mut shape in shapes() {
        let b = shape.bundle.folder("/data").file("/data/marker", "of the image");
        let (folder, file) = (b.inside("/data"), b.inside("/data/marker"));
        let b = b.bind(host.0.outside(), "/data", "").bind(folder, "/again", "rbind").bind(file, "/file", "");
        shape.bundle = b.does("read /again/marker -- read /file");
        let test = || assert_eq!(run(&shape).answers(), ["of the host", "of the host"], "{}", shape.name);
        match shape.name.contains("user") {
            true => peer_differs("runc<1.2 crun", "open all sources beforehand", test),
            false => test(),
        }
    }
}

#[test]
fn a_bind_of_a_path_in_the_rootfs_that_only_an_earlier_mount_has() {
    let host = Host::new();
    for mut shape in shapes() {
        let b = shape.bundle.folder("/data");
        let file = b.inside("/data/marker");
        shape.bundle = b.bind(host.0.outside(), "/data", "").bind(file, "/file", "").does("read /file");
        let test = || assert_eq!(run(&shape).json(), "of the host", "{}", shape.name);
        match shape.name.contains("user") {
            true => peer_differs("runc<1.2", "opens all sources beforehand", test),
            false => test(),
        }
    }
}

#[test]
fn below_a_folder_that_the_containers_root_may_not_enter() {
    peer_differs("runc", "reaches the root by its path", || {
        for read_only in [false, true] {
            let host = Host::new();
            let b = Bundle::new().userns().set("/root/readonly", json!(read_only));
            fs::set_permissions(b.path().parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
            let b =
                b.bind(host.0.outside(), "/data", "").does("read /data/marker -- exists /payload /proc/self");
            let out = b.run().ok();
            assert_eq!(out.answers(), [json!("of the host"), json!([true, true])]);
        }
    });
}

// Hooks.

#[test]
fn a_create_container_hook_finds_the_mounts_below_the_root_and_what_it_mounts_stays() {
    for mut shape in shapes() {
        let host = Host::new();
        let (root, log, marker) =
            (shape.bundle.rootfs().display().to_string(), host.path("log"), host.path("marker"));
        let b = shape.bundle.folder("/lib").bind(host.0.outside(), "/data", "");
        // NVIDIA's toolkit for CDI runs ldconfig with the root as its -r: a chroot into it.
        let verbs = format!(
            "into {} -- exists {root}/proc/self {root}/dev/null {root}/data/marker {root}/payload {} \
             -- mount-bind {} {root}/lib/lib.so -- chroot {root} -- exists /proc/self /dev/null /data/marker",
            log.display(),
            marker.display(),
            marker.display(),
        );
        fs::write(b.inside("/lib/lib.so"), "of the image").unwrap();
        shape.bundle = b.hook("createContainer", &verbs).does("read /lib/lib.so");
        let out = run(&shape);
        let all = json!([true, true, true, true, true]);
        assert_eq!(host.log(), [all, json!("ok"), json!("ok"), json!([true, true, true])], "{}", shape.name);
        assert_eq!(out.json(), "of the host", "{}", shape.name);
    }
}

#[test]
fn a_hook_that_enters_the_mount_namespace_finds_the_host_and_the_containers_tree_at_its_path() {
    for kind in ["prestart", "createRuntime"] {
        for mut shape in shapes() {
            let host = Host::new();
            let (root, log, marker) =
                (shape.bundle.rootfs().display().to_string(), host.path("log"), host.path("marker"));
            let b = shape.bundle.folder("/lib").bind(host.0.outside(), "/data", "");
            fs::write(b.inside("/lib/lib.so"), "of the image").unwrap();
            let verbs = format!(
                "into {} -- enter -- exists {} {root}/proc/self {root}/dev/null {root}/data/marker /payload \
                 -- mount-bind {} {root}/lib/lib.so -- chroot {root} -- exists /payload /data/marker",
                log.display(),
                marker.display(),
                marker.display(),
            );
            shape.bundle = b.hook(kind, &verbs).does("read /lib/lib.so");
            let out = run(&shape);
            let found = host.log();
            let what = format!("{kind}, {}: {found:?}", shape.name);
            assert_eq!(found[0], "ok", "{what}");
            // /proc is another pid namespace's: the hook is not in it, and has no `self` there.
            let mut there = found[1].clone();
            there[1] = json!(true);
            assert_eq!(there, json!([true, true, true, true, false]), "{what}");
            assert_eq!(found[2..], [json!("ok"), json!("ok"), json!([true, true])], "{what}");
            assert_eq!(out.json(), "of the host", "{what}");
            let text = fs::read_to_string(shape.bundle.inside("/lib/lib.so")).unwrap();
            assert_eq!(text, "of the image", "on the host nothing was mounted");
        }
    }
}

// Propagation.

/// A shared tmpfs at `disk` beside the bundle, with a folder `source` that has the folders `in` and `out`.
fn shared_disk(b: &Bundle) -> PathBuf {
    let disk = b.outside().join("disk");
    fs::create_dir_all(&disk).unwrap();
    mount(Some("disk"), &disk, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
    mount(None::<&str>, &disk, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    fs::create_dir_all(disk.join("source/in")).unwrap();
    fs::create_dir_all(disk.join("source/out")).unwrap();
    disk
}

/// Has the rootfs on this mount.
fn move_root(b: Bundle, to: &Path) -> Bundle {
    let script = format!("cp -a {}/. {}", b.rootfs().display(), to.display());
    fs::create_dir(to).unwrap();
    let meta = fs::metadata(b.rootfs()).unwrap();
    use std::os::unix::fs::MetadataExt;
    std::os::unix::fs::chown(to, Some(meta.uid()), Some(meta.gid())).unwrap();
    Cmd::new("sh", ["-c", &script]).run().ok();
    b.set("/root/path", json!(to))
}

fn is_mounted(path: &Path) -> bool {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

/// For peers the mount that the root is on is private before the sources are bound.
fn peers_differ_where(same_mount: bool, test: impl FnOnce()) {
    match same_mount {
        true => peer_may_differ("runc crun", "make the mount of the root private first", test),
        false => test(),
    }
}

#[test]
fn a_shared_bind_stays_in_the_hosts_peer_group_in_both_directions() {
    for (same_mount, flags) in [(false, ""), (false, "--no-pivot"), (true, ""), (true, "--no-pivot")] {
        peers_differ_where(same_mount, || {
            let b = Bundle::new().cap("SYS_ADMIN").set("/linux/rootfsPropagation", json!("rshared"));
            let disk = shared_disk(&b);
            let b = if same_mount { move_root(b, &disk.join("rootfs")) } else { b };
            let source = disk.join("source");
            let b = b.bind(&source, "/vol", "rbind,rshared").does("sleep");
            let pid_file = b.pid_file();
            let out = b.launch(&format!("create {flags} --pid-file {}", pid_file.display())).run().ok();
            let c = Container::created(b, out);
            c.call("start").ok();
            let what = format!("on the same mount: {same_mount}, {flags:?}");
            assert_eq!(c.exec("mount-tmpfs /vol/in").ok().json(), "ok", "{what}");
            assert!(is_mounted(&source.join("in")), "to the host; {what}");
            mount(Some("x"), &source.join("out"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            fs::write(source.join("out/file"), "").unwrap();
            assert_eq!(c.exec("exists /vol/out/file").ok().json(), json!([true]), "from the host; {what}");
        });
    }
}

#[test]
fn mounts_of_the_host_arrive_in_shared_and_slave_binds() {
    for (same_mount, user) in [(false, false), (true, false), (false, true), (true, true)] {
        for option in ["rshared", "rslave", "shared", "slave"] {
            peers_differ_where(same_mount, || {
                let b = if user { Bundle::new().userns() } else { Bundle::new() };
                let b = b.set("/linux/rootfsPropagation", json!("rshared"));
                let disk = shared_disk(&b);
                let b = if same_mount { move_root(b, &disk.join("rootfs")) } else { b };
                let source = disk.join("source");
                let c = b.bind(&source, "/vol", &format!("rbind,{option}")).does("sleep").start();
                mount(Some("x"), &source.join("out"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
                fs::write(source.join("out/file"), "").unwrap();
                let seen = c.exec("exists /vol/out/file").ok().json();
                let what = format!("{option}, on the same mount: {same_mount}, user namespace: {user}");
                assert_eq!(seen, json!([true]), "{what}");
            });
        }
    }
}

#[test]
fn a_shared_bind_of_a_path_on_a_shared_root_stays_in_its_peer_group() {
    // As systemd has `/`: in a mount namespace of the test's own, all of which is shared.
    let b = Bundle::new().cap("SYS_ADMIN").set("/linux/rootfsPropagation", json!("rshared"));
    let b = b.bind("/usr/local", "/vol", "rbind,rshared").does("sleep");
    b.write();
    let script = format!(
        "tare() {{ verb=$1; shift; {runtime} --root {root} $verb \"$@\"; }}; \
         tare create --bundle {bundle} {id} >/dev/null </dev/null; tare start {id}; \
         tare exec {id} /payload mount-tmpfs /vol/games; \
         grep -c ' /usr/local/games ' /proc/self/mountinfo; \
         mount -t tmpfs x /usr/local/src; touch /usr/local/src/file; \
         tare exec {id} /payload exists /vol/src/file; tare delete --force {id}",
        runtime = runtime_path().display(),
        root = b.root.display(),
        bundle = b.path().display(),
        id = b.id,
    );
    let out = Cmd::new("unshare", ["--mount", "--propagation", "shared", "sh", "-c", &script]).run().ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines, ["\"ok\"", "1", "[true]"], "mounted inside, seen on the host, seen inside: {out:?}");
}
