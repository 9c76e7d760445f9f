//! tare: an OCI low-level container runtime for Linux.
//!
//! The library is the runtime; the binary only parses arguments and prints errors. Read
//! [`launch`] first: it tells which process runs what, and in which order.

#![cfg_attr(not(test), deny(unsafe_code))]

pub mod cgroup;
pub mod clock;
pub mod config;
pub mod error;
pub mod host;
pub mod log;
pub mod path;
pub mod plan;
pub mod seccomp;
#[allow(unsafe_code)]
pub mod sys;
