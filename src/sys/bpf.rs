//! bpf(2), as far as device programs of cgroups need it.

use nix::errno::Errno;
use std::ffi::CStr;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// enum bpf_cmd
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: programs of parents and siblings (systemd's) stay and all must agree.
const ALLOW_MULTI: u32 = 2;
/// `BPF_F_REPLACE`, Linux 5.6.
const REPLACE: u32 = 4;

/// The length of a program's name in the kernel, its NUL included.
const NAME: usize = 16;

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME],
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetFd {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The start of `struct bpf_prog_info`, up to the name; the kernel fills as much as there is room for.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; NAME],
}

/// One bpf(2) call. `T` is the part of `union bpf_attr` the command reads; the kernel takes the rest as 0.
fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_int, Errno> {
    // SAFETY: `attr` is a live, exclusively borrowed C struct of the length passed, and this module's
    // callers keep every buffer it points to alive and as long as it says during the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, libc::c_long::from(command), std::ptr::from_mut(attr), size_of::<T>())
    };
    Errno::result(result).map(|n| n as libc::c_int)
}

/// Like [`bpf`], for the commands that make an fd (which bpf(2) always opens close-on-exec).
fn bpf_fd<T>(command: libc::c_int, attr: &mut T) -> Result<OwnedFd, Errno> {
    let fd = bpf(command, attr)?;
    // SAFETY: the kernel has just made this fd and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// Loads a device program under `name` (at most 15 bytes are kept; letters, digits, `_` and `.`).
///
/// # Errors
/// `EPERM` without CAP_BPF or CAP_SYS_ADMIN, `EINVAL` or `EACCES` when the verifier refuses the program.
pub fn load_device_program(program: &[u64], name: &CStr) -> Result<OwnedFd, Errno> {
    // The program calls no helper, so no licence is demanded of it.
    let license = c"Apache-2.0";
    let mut attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    for (to, from) in attr.prog_name[..NAME - 1].iter_mut().zip(name.to_bytes()) {
        *to = *from;
    }
    bpf_fd(PROG_LOAD, &mut attr)
}

/// Attaches a device program to a cgroup, beside those that are there, or atomically in place of `replace`.
///
/// # Errors
/// `EPERM` without the capability or when an ancestor forbids programs below it, `ENOENT` when `replace`
/// is not attached here.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut attr = Attach {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI | if replace.is_some() { REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, number),
    };
    bpf(PROG_ATTACH, &mut attr).map(drop)
}

/// Takes a device program off a cgroup.
///
/// # Errors
/// `ENOENT` when it is not attached here.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = Attach {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf(PROG_DETACH, &mut attr).map(drop)
}

/// The ids of the device programs attached to this very cgroup (not to its ancestors). At most 64, which
/// is the kernel's own limit.
///
/// # Errors
/// `EPERM` without the capability, `EBADF` for an fd that is no cgroup v2 directory.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    let mut ids = vec![0u32; 64];
    let mut attr = Query {
        target_fd: number(cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut attr)?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

/// An fd for the program with this id.
///
/// # Errors
/// `ENOENT` when it is gone, `EPERM` without CAP_SYS_ADMIN.
pub fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    bpf_fd(PROG_GET_FD_BY_ID, &mut GetFd { id, ..GetFd::default() })
}

/// The name a program was loaded under, up to 15 bytes.
///
/// # Errors
/// `EINVAL` for an fd of something else.
pub fn program_name(program: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let mut info = ProgInfo::default();
    let mut attr = GetInfo {
        bpf_fd: number(program),
        info_len: size_of::<ProgInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info.name.split(|b| *b == 0).next().unwrap_or_default().to_vec())
}
