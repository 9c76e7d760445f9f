//! Scheduling, I/O priority, memory policy, personality, supplementary ids: what the process tail sets.

use nix::errno::Errno;

use super::check;

/// The kernel's `struct sched_attr` (linux/sched/types.h), first version; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SchedAttr {
    /// The size of this struct, 48.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH, -20 to 19.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR, 1 to 99.
    pub priority: u32,
    /// For SCHED_DEADLINE, ns.
    pub runtime: u64,
    /// For SCHED_DEADLINE, ns.
    pub deadline: u64,
    /// For SCHED_DEADLINE, ns.
    pub period: u64,
}

/// sched_setattr(2) on the caller.
pub fn sched_setattr(attr: &SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: `attr` is the kernel's struct, its size stands in its first field.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// ioprio_set(2) on the caller: `class` 1 real-time, 2 best-effort, 3 idle; `priority` 0 to 7.
pub fn ioprio_set(class: u32, priority: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, (class << 13) | priority) })
        .map(drop)
}

/// set_mempolicy(2): `mode` with its flags, `nodes` a bit mask.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    let bits = nodes.len() * 64;
    let (mask, bits) = if nodes.is_empty() { (std::ptr::null(), 0) } else { (nodes.as_ptr(), bits + 1) };
    // SAFETY: the kernel reads `bits - 1` bits, which is what `nodes` holds.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }).map(drop)
}

/// personality(2).
pub fn personality(domain: u64) -> Result<(), Errno> {
    // SAFETY: an integer only.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) }).map(drop)
}

/// Whether the caller may execute `path` by its effective ids and capabilities.
pub fn may_execute(path: &std::ffi::CStr) -> Result<(), Errno> {
    // SAFETY: `path` is a C string. The raw call: glibc emulates AT_EACCESS from the real ids on old kernels.
    check(unsafe {
        libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS)
    })
    .map(drop)
}

/// prlimit(2): sets the soft and hard limit `RLIMIT_*` of a process.
pub fn prlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let old: *mut libc::rlimit64 = std::ptr::null_mut();
    // SAFETY: the kernel reads `limit` and, for the null pointer, writes nothing.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, old) }).map(drop)
}

/// sched_setaffinity(2) of the caller to every CPU, which the kernel reduces to what the cpuset allows.
pub fn reset_affinity() -> Result<(), Errno> {
    // As many as any kernel can be built for; surplus bits are ignored.
    let mask = [u64::MAX; 8192 / 64];
    // SAFETY: the kernel reads the length it is given.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr()) })
        .map(drop)
}

/// sched_setaffinity(2) of a process (0: the caller) to these CPUs.
pub fn set_affinity(pid: i32, cpus: &[u32]) -> Result<(), Errno> {
    let mut mask = vec![0u64; cpus.iter().max().map_or(0, |&max| max as usize / 64 + 1)];
    for &cpu in cpus {
        mask[cpu as usize / 64] |= 1 << (cpu % 64);
    }
    // SAFETY: the kernel reads the length it is given.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(&mask[..]), mask.as_ptr()) })
        .map(drop)
}
