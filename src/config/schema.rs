//! What each key of config.json has to be, as one table.
//!
//! It is only walked when the direct reading failed or is known to have lost something
//! (see [`super::mend`]), to name every mistake at once. It follows runtime-spec 1.3
//! (config.md and config-linux.md); keys that it does not list are ignored, as the spec demands.

/// What a value has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    /// Any string.
    Str,
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the second.
    Int(i128, i128),
    /// An unsigned 64-bit number that oci-spec keeps in a signed one: larger ones are "no limit" and cut.
    Limit,
    /// One of these strings.
    Enum(&'static [&'static str]),
    /// One of these strings; the empty one means "not given".
    EnumOrEmpty(&'static [&'static str]),
    /// A capability. Unknown ones are dropped with a warning (config.md, "Linux Process").
    Capability,
    /// A scheduler flag, by the kernel's name; oci-spec wants two of them spelled differently.
    SchedFlag,
    /// A list of CPUs; spaces and empty elements are allowed as runc does.
    CpuList,
    /// An object with these keys.
    Object(&'static [Field]),
    /// An array of these.
    Array(&'static Type),
    /// An object with any keys and these values.
    Map(&'static Type),
}

/// May a key be left out?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Yes.
    Optional,
    /// No.
    Required,
    /// oci-spec wants it, the others do not: an empty one is put in.
    Filled,
}

/// A key of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) need: Need,
    pub(crate) ty: Type,
}

const fn opt(name: &'static str, ty: Type) -> Field {
    Field { name, need: Need::Optional, ty }
}

const fn req(name: &'static str, ty: Type) -> Field {
    Field { name, need: Need::Required, ty }
}

use Type::{Array, Bool, Capability, CpuList, Enum, EnumOrEmpty, Int, Limit, Map, Object, SchedFlag, Str};

const U16: Type = Int(0, u16::MAX as i128);
const U32: Type = Int(0, u32::MAX as i128);
const U64: Type = Int(0, u64::MAX as i128);
const I32: Type = Int(i32::MIN as i128, i32::MAX as i128);
const I64: Type = Int(i64::MIN as i128, i64::MAX as i128);
const STRINGS: Type = Array(&Str);
const STRING_MAP: Type = Map(&Str);

/// config.json.
pub(crate) const SPEC: Type = Object(&[
    req("ociVersion", Str),
    opt("root", ROOT),
    opt("process", PROCESS),
    opt("hostname", Str),
    opt("domainname", Str),
    opt("mounts", Array(&MOUNT)),
    opt("hooks", HOOKS),
    opt("annotations", STRING_MAP),
    opt("linux", LINUX),
]);

const ROOT: Type = Object(&[req("path", Str), opt("readonly", Bool)]);

const MOUNT: Type = Object(&[
    req("destination", Str),
    opt("type", Str),
    opt("source", Str),
    opt("options", STRINGS),
    opt("uidMappings", ID_MAPPINGS),
    opt("gidMappings", ID_MAPPINGS),
]);

const ID_MAPPINGS: Type = Array(&Object(&[opt("containerID", U32), opt("hostID", U32), opt("size", U32)]));

const HOOKS: Type = Object(&[
    opt("prestart", HOOK),
    opt("createRuntime", HOOK),
    opt("createContainer", HOOK),
    opt("startContainer", HOOK),
    opt("poststart", HOOK),
    opt("poststop", HOOK),
]);

const HOOK: Type =
    Array(&Object(&[req("path", Str), opt("args", STRINGS), opt("env", STRINGS), opt("timeout", I64)]));

/// `process`, and the document of `exec --process`.
pub(crate) const PROCESS: Type = Object(&[
    opt("terminal", Bool),
    opt("consoleSize", Object(&[opt("height", U64), opt("width", U64)])),
    Field { name: "user", need: Need::Filled, ty: USER },
    opt("args", STRINGS),
    opt("env", STRINGS),
    req("cwd", Str),
    opt("capabilities", CAPABILITIES),
    opt("rlimits", Array(&Object(&[req("type", Enum(RLIMITS)), req("hard", U64), req("soft", U64)]))),
    opt("noNewPrivileges", Bool),
    opt("apparmorProfile", Str),
    opt("selinuxLabel", Str),
    opt("oomScoreAdj", I32),
    opt("ioPriority", Object(&[req("class", Enum(IO_CLASSES)), opt("priority", I64)])),
    opt("scheduler", SCHEDULER),
    opt("execCPUAffinity", Object(&[opt("initial", CpuList), opt("final", CpuList)])),
]);

const USER: Type = Object(&[
    opt("uid", U32),
    opt("gid", U32),
    opt("umask", U32),
    opt("additionalGids", Array(&U32)),
    opt("username", Str),
]);

const CAPABILITIES: Type = Object(&[
    opt("bounding", Array(&Capability)),
    opt("effective", Array(&Capability)),
    opt("inheritable", Array(&Capability)),
    opt("permitted", Array(&Capability)),
    opt("ambient", Array(&Capability)),
]);

#[rustfmt::skip]
const RLIMITS: &[&str] = &[
    "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC",
    "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
];

const IO_CLASSES: &[&str] = &["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];

const SCHEDULER: Type = Object(&[
    req("policy", Enum(POLICIES)),
    opt("nice", I32),
    opt("priority", I32),
    opt("flags", Array(&SchedFlag)),
    opt("runtime", U64),
    opt("deadline", U64),
    opt("period", U64),
]);

#[rustfmt::skip]
const POLICIES: &[&str] = &[
    "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE",
];

/// The kernel's names beside those that oci-spec 0.10 reads.
pub(crate) const SCHED_FLAGS: &[(&str, &str)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_RECLAIM", "SCHED_FLAG_RECLAIM"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
    ("SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_POLICY"),
    ("SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_KEEP_PARAMS"),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MIN"),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", "SCHED_FLAG_UTIL_CLAMP_MAX"),
];

const LINUX: Type = Object(&[
    opt("uidMappings", ID_MAPPINGS),
    opt("gidMappings", ID_MAPPINGS),
    opt("sysctl", STRING_MAP),
    opt("resources", RESOURCES),
    opt("cgroupsPath", Str),
    opt("namespaces", Array(&NAMESPACE)),
    opt("devices", Array(&DEVICE)),
    opt("netDevices", Map(&Object(&[opt("name", Str)]))),
    opt("seccomp", SECCOMP),
    opt("rootfsPropagation", Str),
    opt("maskedPaths", STRINGS),
    opt("readonlyPaths", STRINGS),
    opt("mountLabel", Str),
    opt("intelRdt", INTEL_RDT),
    opt("memoryPolicy", MEMORY_POLICY),
    opt("personality", Object(&[req("domain", Enum(&["LINUX", "LINUX32"])), opt("flags", STRINGS)])),
    opt("timeOffsets", Map(&Object(&[opt("secs", I64), opt("nanosecs", U32)]))),
]);

const NAMESPACE: Type = Object(&[
    req("type", Enum(&["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"])),
    opt("path", Str),
]);

const DEVICE: Type = Object(&[
    req("path", Str),
    req("type", Enum(&["c", "b", "u", "p"])),
    opt("major", I64),
    opt("minor", I64),
    opt("fileMode", U32),
    opt("uid", U32),
    opt("gid", U32),
]);

const INTEL_RDT: Type = Object(&[
    opt("closID", Str),
    opt("schemata", STRINGS),
    opt("l3CacheSchema", Str),
    opt("memBwSchema", Str),
    opt("enableMonitoring", Bool),
]);

const MEMORY_POLICY: Type = Object(&[
    req("mode", Enum(MEMORY_POLICY_MODES)),
    opt("nodes", Str),
    opt("flags", Array(&Enum(&["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"]))),
]);

#[rustfmt::skip]
const MEMORY_POLICY_MODES: &[&str] = &[
    "MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY", "MPOL_LOCAL",
];

/// `linux.resources`, and the document of `update --resources`.
pub(crate) const RESOURCES: Type = Object(&[
    opt("devices", Array(&DEVICE_RULE)),
    opt("memory", MEMORY),
    opt("cpu", CPU),
    opt("pids", Object(&[opt("limit", I64)])),
    opt("blockIO", BLOCK_IO),
    opt("hugepageLimits", Array(&Object(&[req("pageSize", Str), opt("limit", Limit)]))),
    opt(
        "network",
        Object(&[
            opt("classID", U32),
            opt("priorities", Array(&Object(&[req("name", Str), opt("priority", U32)]))),
        ]),
    ),
    opt("rdma", Map(&Object(&[opt("hcaHandles", U32), opt("hcaObjects", U32)]))),
    opt("unified", STRING_MAP),
]);

const DEVICE_RULE: Type = Object(&[
    opt("allow", Bool),
    opt("type", EnumOrEmpty(&["a", "b", "c"])),
    opt("major", I64),
    opt("minor", I64),
    opt("access", Str),
]);

const MEMORY: Type = Object(&[
    opt("limit", I64),
    opt("reservation", I64),
    opt("swap", I64),
    opt("kernel", I64),
    opt("kernelTCP", I64),
    opt("swappiness", U64),
    opt("disableOOMKiller", Bool),
    opt("useHierarchy", Bool),
    opt("checkBeforeUpdate", Bool),
]);

const CPU: Type = Object(&[
    opt("shares", U64),
    opt("quota", I64),
    opt("burst", U64),
    opt("period", U64),
    opt("realtimeRuntime", I64),
    opt("realtimePeriod", U64),
    opt("cpus", Str),
    opt("mems", Str),
    opt("idle", I64),
]);

const BLOCK_IO: Type = Object(&[
    opt("weight", U16),
    opt("leafWeight", U16),
    opt(
        "weightDevice",
        Array(&Object(&[opt("major", I64), opt("minor", I64), opt("weight", U16), opt("leafWeight", U16)])),
    ),
    opt("throttleReadBpsDevice", THROTTLE),
    opt("throttleWriteBpsDevice", THROTTLE),
    opt("throttleReadIOPSDevice", THROTTLE),
    opt("throttleWriteIOPSDevice", THROTTLE),
]);

const THROTTLE: Type = Array(&Object(&[opt("major", I64), opt("minor", I64), opt("rate", U64)]));

const SECCOMP: Type = Object(&[
    req("defaultAction", Enum(ACTIONS)),
    opt("defaultErrnoRet", U32),
    opt("architectures", Array(&Enum(ARCHITECTURES))),
    opt("flags", Array(&Enum(FILTER_FLAGS))),
    opt("listenerPath", Str),
    opt("listenerMetadata", Str),
    opt("syscalls", Array(&SECCOMP_RULE)),
]);

const SECCOMP_RULE: Type = Object(&[
    req("names", STRINGS),
    req("action", Enum(ACTIONS)),
    opt("errnoRet", U32),
    opt("args", Array(&SECCOMP_ARG)),
]);

const SECCOMP_ARG: Type =
    Object(&[req("index", U64), req("value", U64), opt("valueTwo", U64), req("op", Enum(OPERATORS))]);

#[rustfmt::skip]
const ACTIONS: &[&str] = &[
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
];

#[rustfmt::skip]
const OPERATORS: &[&str] = &[
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ",
];

#[rustfmt::skip]
const FILTER_FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

#[rustfmt::skip]
const ARCHITECTURES: &[&str] = &[
    "SCMP_ARCH_NATIVE", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB",
];
