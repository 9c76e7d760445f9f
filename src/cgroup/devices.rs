//! Putting the device policy in force: lines for the v1 controller, an eBPF program for v2.

use super::Manager;
use super::create::{Unguarded, denied};
use super::dir::{Dir, write_all};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::plan::cgroup::{Devices, compile};
use crate::sys::bpf;
use rustix::fs::OFlags;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Tells our programs from systemd's and others'.
const NAME: &CStr = c"tare_devices";

impl Manager {
    /// Puts the device policy in force. `open` is the directory in the v2 hierarchy, for whom has it open already.
    ///
    /// # Errors
    /// The kernel refuses it, or has nothing to control devices with.
    pub fn guard(&self, devices: &Devices, unguarded: Unguarded, open: Option<BorrowedFd<'_>>) -> Result<()> {
        let fresh = unguarded.fresh;
        if fresh && devices.allows_all() {
            return Ok(());
        }
        let result = match (self.v1("devices"), self.unified()) {
            (Some(dir), _) => write_lines(dir, devices),
            (None, Some(dir)) => match open {
                Some(group) => install(dir, group, devices, fresh),
                None => {
                    let opened = dir.open_self().with_context(|| format!("open cgroup {}", dir.path));
                    opened.and_then(|group| install(dir, group.as_fd(), devices, fresh))
                }
            },
            (None, None) if matches!(self, Manager::None) => Ok(()),
            (None, None) => Err(Error::new(Kind::Unsupported, "there is no hierarchy to control devices in")),
        };
        match result.map_err(|error| error.context("linux.resources.devices")) {
            // There neither can be set, and neither is needed: mknod and the host's devices are out of reach.
            Err(error) if error.errno() == Some(Errno::EPERM) && in_user_namespace() => Ok(()),
            result => result,
        }
    }
}

impl Manager {
    /// Gives a v1 cgroup back the devices that it had by `list`, a former content of devices.list. That does not show
    /// what is excepted from a policy that allows all; then it is the `policy` itself.
    pub(super) fn restore_devices(&self, list: &str, policy: &Devices) -> Result<()> {
        let Some(dir) = self.v1("devices") else { return Ok(()) };
        let (mut files, failed): ([Option<OwnedFd>; 2], _) =
            ([None, None], |errno| denied(errno, format!("restore the devices of {}", dir.path)));
        if list.starts_with("a ") {
            return write_lines(dir, policy).map_err(|error| error.context("restore the devices"));
        }
        write_line(dir, &mut files, false, "a").map_err(failed)?;
        list.lines().try_for_each(|line| write_line(dir, &mut files, true, line)).map_err(failed)
    }
}

fn write_lines(dir: &Dir, devices: &Devices) -> Result<()> {
    let mut files: [Option<OwnedFd>; 2] = [None, None];
    for (allow, line) in devices.v1_lines()? {
        write_line(dir, &mut files, allow, &line).map_err(|errno| {
            denied(errno, format!("write {line:?} to {}/{}", dir.path, V1_FILES[usize::from(allow)]))
        })?;
    }
    Ok(())
}

const V1_FILES: [&str; 2] = ["devices.deny", "devices.allow"];

/// Each file is opened once.
fn write_line(dir: &Dir, files: &mut [Option<OwnedFd>; 2], allow: bool, line: &str) -> Result<(), Errno> {
    let slot = &mut files[usize::from(allow)];
    match slot {
        Some(fd) => write_all(fd, line),
        None => {
            let fd = dir.open(V1_FILES[usize::from(allow)], OFlags::WRONLY)?;
            write_all(slot.insert(fd), line)
        }
    }
}

/// Attaches the program. In a cgroup that was there before, a program of ours that a former container has
/// left is replaced, in one step; programs of others stay, and all have to agree.
fn install(dir: &Dir, group: BorrowedFd<'_>, devices: &Devices, fresh: bool) -> Result<()> {
    let failed = |what: &str| {
        let what = format!("{what} {}", dir.path);
        move |errno| Error::os(errno, what)
    };
    let program = match compile(devices)? {
        Some(words) => Some(
            bpf::load_device_program(&words, NAME)
                .map_err(|errno| Error::os(errno, "load the device program"))?,
        ),
        None => None,
    };
    let mut ours = Vec::new();
    if !fresh {
        for id in bpf::device_programs(group).map_err(failed("list the device programs of"))? {
            let Ok(old) = bpf::program_by_id(id) else { continue };
            if bpf::program_name(old.as_fd()).is_ok_and(|name| name == NAME.to_bytes()) {
                ours.push(old);
            }
        }
    }
    if let Some(program) = program {
        let old = ours.pop();
        bpf::attach_device_program(group, program.as_fd(), old.as_ref().map(AsFd::as_fd))
            .map_err(failed("attach the device program to"))?;
    }
    for old in ours {
        bpf::detach_device_program(group, old.as_fd())
            .map_err(failed("detach an old device program from"))?;
    }
    Ok(())
}

/// Asked only after an `EPERM`.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && !map.split_whitespace().eq(["0", "0", "4294967295"])
}
