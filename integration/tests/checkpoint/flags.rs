//! What is saved, or restored, only when it is asked for.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::*;

/// A container that counts as long as something works, with a tmpfs.
fn keeper(what: &str) -> Bundle {
    with_tmpfs().does(&format!("keep /tmp/n {what}"))
}

/// It is not saved without the flag, and runs on; and with it, it comes back and still works.
#[track_caller]
fn comes_back_with(flag: &str, b: Bundle) {
    let c = start(b);
    let before = count(&c);
    let failed = checkpoint(&c, "").fails();
    if peer() == Peer::Tare {
        failed.says("checkpoint failed: criu failed: ");
    }
    assert_eq!(c.status(), "running");
    counts_past(&c, before);
    std::fs::remove_dir_all(c.outside().join("images")).unwrap();
    let before = count(&c);
    checkpoint(&c, flag).ok();
    restore_cmd(&c, &format!("--detach {flag}")).run().ok();
    counts_past(&c, before + 3);
}

#[test]
fn tcp_established() {
    if peer() == Peer::Runc {
        return skip("runc does not bring the loopback interface up");
    }
    if has_criu() {
        comes_back_with("--tcp-established", keeper("connection"));
    }
}

#[test]
fn file_locks() {
    if has_criu() {
        comes_back_with("--file-locks", keeper("lock /tmp/lock"));
    }
}

#[test]
fn link_remap() {
    if !has_criu() || !tare_only("a flag of runc 1.2") {
        return;
    }
    let c = start(keeper("unlinked /tmp/file"));
    let before = count(&c);
    checkpoint(&c, "--link-remap").ok();
    restore(&c);
    counts_past(&c, before + 3);
}

#[test]
fn ext_unix_sk() {
    if !has_criu() {
        return;
    }
    // criu sees the sockets of one network namespace, and those outside by the name that they have there.
    let mut b = with_tmpfs().no_ns("network");
    let dir = b.outside().join("socket");
    std::fs::create_dir(&dir).unwrap();
    let outside = UnixDatagram::bind(dir.join("socket")).unwrap();
    b = b.bind(&dir, dir.to_str().unwrap(), "rprivate");
    let b = b.does(&format!("keep /tmp/n socket {}", dir.join("socket").display()));
    // Longer than any test; nobody waits for it.
    std::thread::spawn(move || while outside.recv(&mut [0]).is_ok() {});
    comes_back_with("--ext-unix-sk", b);
}

/// A port that nobody has.
fn port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// criu as a server, which is ready when this returns, and ends by itself.
fn serve(verb: &str, images: &Path, port: &str) {
    let images = images.to_str().unwrap();
    let mut args = vec![verb, "--images-dir", images, "--address", "127.0.0.1", "--port", port, "--daemon"];
    args.extend((verb == "lazy-pages").then_some("--page-server"));
    Cmd::new("criu", args).run().ok();
}

#[test]
fn page_server() {
    if !has_criu() {
        return;
    }
    let c = start(counter());
    let before = count(&c);
    let (images, pages, port) = (c.outside().join("images"), c.outside().join("pages"), port());
    std::fs::create_dir(&pages).unwrap();
    serve("page-server", &pages, &port);
    checkpoint(&c, &format!("--page-server 127.0.0.1:{port}")).ok();
    let is_pages = |name: &str| name.starts_with("pages-") || name.starts_with("pagemap-");
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(!names(&images).iter().any(|name| name.starts_with("pages-")), "{:?}", names(&images));
    let moved: Vec<_> = names(&pages).into_iter().filter(|name| is_pages(name)).collect();
    assert!(moved.iter().any(|name| name.starts_with("pages-")), "{moved:?}");
    for name in moved {
        std::fs::rename(pages.join(&name), images.join(&name)).unwrap();
    }
    restore(&c);
    counts_past(&c, before + 3);
}

#[test]
fn lazy_pages() {
    if !has_criu() {
        return;
    }
    if !criu_has("uffd-noncoop") {
        return skip("the kernel has no userfaultfd for it");
    }
    let (c, to) = (start(counter()), counter());
    let before = count(&c);
    let (images, port) = (c.outside().join("images"), port());
    let (mut ready, told) = std::io::pipe().unwrap();
    let flags = format!("--lazy-pages --page-server 127.0.0.1:{port} --status-fd 7");
    let words = format!("checkpoint --image-path {} {flags}", images.display());
    let saving = c.cmd(words.split(' ')).arg(&c.id).fd(told, 7).spawn();
    std::io::Read::read_exact(&mut ready, &mut [0]).unwrap();
    // The pages are still with whom is saved, and come when they are needed.
    serve("lazy-pages", &images, &port);
    let words = format!("restore --detach --lazy-pages --image-path {}", images.display());
    to.launch(&words).run().ok();
    saving.wait().ok();
    let seen = || to.cmd(["exec", &to.id, "/payload", "read", "/tmp/n"]).run();
    let now = || seen().stdout.trim().trim_matches('"').parse().unwrap_or(0);
    assert!(until(TIMEOUT, || now() > before + 3), "{:?}", seen());
    to.call("delete --force").ok();
    c.call("state").fails();
}
