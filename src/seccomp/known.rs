//! The names this compiler knows, sorted, for `features`.

/// `linux.seccomp.actions`.
pub const ACTIONS: [&str; 9] = [
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

/// `linux.seccomp.operators`.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// `linux.seccomp.archs`.
pub const ARCHS: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// `linux.seccomp.knownFlags`, each with its bit of [`super::flag`]; `supportedFlags` are those the kernel has.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", super::flag::LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", super::flag::SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", super::flag::TSYNC),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", super::flag::WAIT_KILLABLE_RECV),
];

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator};
    use serde_json::from_value;

    use super::*;

    #[test]
    fn every_name_is_one_that_a_profile_can_have() {
        for name in ACTIONS {
            from_value::<LinuxSeccompAction>(name.into()).unwrap();
        }
        for name in OPERATORS {
            from_value::<LinuxSeccompOperator>(name.into()).unwrap();
        }
        for name in ARCHS {
            from_value::<Arch>(name.into()).unwrap();
        }
        for (name, bit) in FLAGS {
            let flag = from_value::<LinuxSeccompFilterFlag>(name.into()).unwrap();
            assert_eq!(super::super::flag_bit(flag), bit);
        }
        assert!(ACTIONS.is_sorted() && OPERATORS.is_sorted() && ARCHS.is_sorted() && FLAGS.is_sorted());
    }
}
