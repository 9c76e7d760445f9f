//! The system call layer: everything `unsafe`, one thin function per call, safe flags set inside.
//!
//! Functions return the bare [`Errno`](nix::errno::Errno); the caller knows the act and its object and says so.
