//! The integration tests of tare: real bundles, a real kernel, no mocks.
//!
//! A test builds a [`Bundle`], runs it and looks at what `payload`, the container's process, saw.
//! `RUNTIME` names the runtime under test, so the very same tests run against runc and crun: that is how
//! we know that the tests are right. Where a peer is known to deviate the test says so with
//! [`peer_differs`].
//!
//! Run them by `integration/run`, which makes the sandbox that [`Bundle::new`] insists on.
//!
//! Environment: `RUNTIME` (a path or a name in PATH; default: the release build of tare in this
//! workspace), `TARE_PAYLOAD` (default: the payload built beside the test), `TARE_NOTES` (a file that
//! collects what was skipped or differs), `TARE_SLOW` (a factor for all time limits).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test harness fails by panicking")]

mod bundle;
mod cmd;
mod container;
mod disk;
mod elf;
mod host;
mod pty;
mod reap;

pub use bundle::{Bundle, payload_path};
pub use cmd::{Cmd, Output, Running, TIMEOUT, runtime_path};
pub use container::Container;
pub use disk::{Disk, make_swap};
pub use elf::{TINY_CODE, tiny_program};
pub use host::{
    Exclusive, Peer, Traces, cgroup_of, cgroups_of, cgroups_with, exclusive, has_controller, has_systemd,
    is_among, is_v2, note, peer, peer_differs, peer_may_differ, skip, slow, tare_only, until,
};
pub use pty::{Pty, receive_fd};
pub use serde_json::{Value, json};
