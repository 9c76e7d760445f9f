//! AppArmor and SELinux: the label which the process has after its exec.

use std::os::fd::AsFd;

use rustix::fs::OFlags;

use crate::error::{Context, Errno, Result};
use crate::path::{Proc, write_once};
use crate::plan::process::Process;

/// Writes the labels through a procfs that is known to be one: a label written to a file which only looks like
/// `attr/exec` is no label (CVE-2019-16884, CVE-2025-52881).
pub fn set_exec_labels(process: &Process, proc: &Proc) -> Result<()> {
    if let Some(profile) = &process.apparmor {
        let value = format!("exec {profile}");
        // The first is the LSM's own file, of kernels with several; the second the one they share.
        write(proc, &["attr/apparmor/exec", "attr/exec"], value.as_bytes())
            .with_context(|| format!("process.apparmorProfile: apply {profile:?}"))?;
    }
    if let Some(label) = &process.selinux {
        write(proc, &["attr/exec"], label.as_bytes())
            .with_context(|| format!("process.selinuxLabel: apply {label:?}"))?;
        // Keys made by the container belong to it.
        let _ = write(proc, &["attr/keycreate"], label.as_bytes());
    }
    Ok(())
}

fn write(proc: &Proc, files: &[&str], value: &[u8]) -> Result<()> {
    // By number: `self` is a symlink, and none is followed.
    let pid = rustix::process::getpid().as_raw_nonzero();
    let mut last = Errno::ENOENT;
    for name in files {
        match proc.file(&format!("{pid}/{name}"), OFlags::WRONLY) {
            Ok(file) => {
                return write_once(file.as_fd(), value).with_context(|| format!("write `/proc/self/{name}`"));
            }
            Err(e) => last = e,
        }
    }
    Err(last).with_context(|| format!("open `/proc/self/{}`", files[0]))
}
