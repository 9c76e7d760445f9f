//! Many containers made and deleted at once, whose processes fork and make cgroups of their own: nothing is left.
//!
//! `TARE_CYCLES=500` for the full count.

use std::sync::atomic::{AtomicUsize, Ordering};

use tare_integration::*;

/// Where a payload may make cgroups.
fn folder() -> &'static str {
    if is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/freezer" }
}

fn churning(then: &str) -> Bundle {
    let b = Bundle::new().mount("cgroup", "cgroup", "/sys/fs/cgroup", "rw,nosuid,noexec,nodev");
    b.does(&format!("churn {} 3 -- print up -- {then}", folder()))
}

/// One life, of one of six kinds. What is left of it its end (`drop`) finds.
fn cycle(kind: usize) {
    const IDLE: &str = "sleep 300000";
    let started = |b: Bundle| {
        let c = b.start();
        c.lines(2);
        c
    };
    match kind {
        0 => drop(churning(IDLE).create()),
        1 => drop(started(churning(IDLE)).call("delete --force").ok()),
        2 => {
            let c = started(churning(IDLE));
            c.kill("KILL").ok();
            c.wait();
            c.call("delete").ok();
        }
        3 => assert_eq!(churning("exit 7").run().code, Some(7)),
        4 => {
            let c = started(churning(IDLE));
            c.call("pause").ok();
            c.call("delete --force").ok();
        }
        // Its processes outlive the first one, and go on forking.
        _ => {
            let c = started(churning("exit 0").no_ns("pid"));
            c.wait();
            c.until_status("stopped");
            c.call("delete").ok();
        }
    }
}

#[test]
fn no_cgroup_is_left() {
    const THREADS: usize = 6;
    let count = std::env::var("TARE_CYCLES").ok().and_then(|n| n.parse().ok());
    let count = count.unwrap_or(if slow() > 1 { 12 } else { 60 });
    let next = AtomicUsize::new(0);
    let work = || {
        while next.load(Ordering::Relaxed) < count {
            cycle(next.fetch_add(1, Ordering::Relaxed) % 6);
        }
    };
    let start = std::time::Instant::now();
    peer_may_differ("runc crun", "leave some", || {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            // The first panic is the one to show.
            all.into_iter().for_each(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        });
    });
    println!("{} cycles in {:?}", next.load(Ordering::Relaxed), start.elapsed());
}
