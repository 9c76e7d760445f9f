//! tare: an OCI low-level container runtime for Linux.
//!
//! The library is the runtime; the binary only parses arguments and prints errors. Read
//! [`launch`] first: it tells which process runs what, and in which order.

#![cfg_attr(not(test), deny(unsafe_code))]

pub mod cgroup;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod console;
pub mod error;
pub mod exeseal;
pub mod foreground;
pub mod gate;
pub mod hooks;
pub mod host;
pub mod launch;
pub mod lifecycle;
pub mod log;
pub mod network;
pub mod notify;
pub mod path;
pub mod plan;
pub mod rootfs;
pub mod seccomp;
pub mod security;
pub mod state;
#[allow(unsafe_code)]
pub mod sys;
pub mod weaken;
