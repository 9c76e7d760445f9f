//! The integration tests. See the library of this crate for how they work, `integration/run` to run them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod cgroups;
mod checkpoint;
mod cli;
mod cycles;
mod detach;
mod devices;
mod errors;
mod escape;
mod events;
mod exec;
mod foreground;
mod foreign;
mod hooks;
mod leaks;
mod lifecycle;
mod limits;
mod mount_order;
mod mounts;
mod namespaces;
mod network;
mod process;
mod rootfs;
mod rootless;
mod rootplace;
mod seccomp;
mod security;
mod signals;
mod store;
mod systemd;
mod values;
mod words;
