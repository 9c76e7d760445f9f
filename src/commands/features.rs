//! `features`: what this runtime can do, before any container is made (features.md of the specification). CRI-O reads
//! stdout and stderr together, so nothing else may be written.

use super::{json, print, seams};
use crate::cli::{COMMIT, SPEC_VERSION, VERSION};
use crate::error::Result;
use serde_json::{Value, json as value};

/// What is still to come. Each is switched on together with the code that does it.
mod has {
    pub const SYSTEMD: bool = true;
    pub const INTEL_RDT: bool = false;
    pub const MEMORY_POLICY: bool = true;
    pub const NET_DEVICES: bool = true;
    pub const CHECKPOINT: bool = true;
}

const HOOKS: &[&str] =
    &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
const NAMESPACES: &[&str] = &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];
/// All capabilities of the kernel's header, by number.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];
const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
const OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];
const SECCOMP_FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];
const MEMORY_MODES: &[&str] = &[
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];
const MEMORY_FLAGS: &[&str] = &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// Runs `features`.
pub fn run() -> Result<i32> {
    print(&json(&features(), true)?)?;
    Ok(0)
}

fn features() -> Value {
    let memory_policy = match has::MEMORY_POLICY {
        true => value!({ "modes": MEMORY_MODES, "flags": MEMORY_FLAGS }),
        false => value!({ "modes": [], "flags": [] }),
    };
    value!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": HOOKS,
        "mountOptions": seams::mount_options(),
        "linux": {
            "namespaces": NAMESPACES,
            "capabilities": CAPABILITIES,
            "cgroup": {
                "v1": true,
                "v2": true,
                "systemd": has::SYSTEMD,
                "systemdUser": has::SYSTEMD,
                "rdma": true,
            },
            "seccomp": {
                "enabled": true,
                "actions": ACTIONS,
                "operators": OPERATORS,
                "archs": seams::seccomp_architectures(),
                "knownFlags": SECCOMP_FLAGS,
                "supportedFlags": SECCOMP_FLAGS,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": has::INTEL_RDT, "schemata": has::INTEL_RDT, "monitoring": has::INTEL_RDT },
            "memoryPolicy": memory_policy,
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": has::NET_DEVICES },
        },
        "annotations": {
            "run.tare.version": VERSION,
            "run.tare.commit": COMMIT,
            // Engines look for runc's name of this, whatever the runtime is.
            "org.opencontainers.runc.checkpoint.enabled": has::CHECKPOINT.to_string(),
        },
        "potentiallyUnsafeConfigAnnotations": ["org.criu.config", "org.systemd.property."],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_document_of_the_specification() {
        let text = features().to_string();
        let typed: oci_spec::runtime::Features = serde_json::from_str(&text).unwrap();
        assert_eq!(typed.oci_version_max(), SPEC_VERSION);
        assert_eq!(typed.hooks().as_ref().unwrap().len(), 6);
        let linux = typed.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 8);
        assert_eq!(linux.capabilities().as_ref().unwrap().len(), 41);
        assert_eq!(linux.seccomp().as_ref().unwrap().actions().as_ref().unwrap().len(), 9);
    }

    #[test]
    fn lists_are_sorted_where_order_means_nothing() {
        assert!(
            NAMESPACES.is_sorted()
                && ACTIONS.is_sorted()
                && OPERATORS.is_sorted()
                && SECCOMP_FLAGS.is_sorted()
        );
        assert!(MEMORY_MODES.is_sorted() && MEMORY_FLAGS.is_sorted() && seams::mount_options().is_sorted());
    }
}
