//! What the filter must know of an architecture: its audit token, word size, byte order and numbering.

use oci_spec::runtime::Arch;

use super::table::Column;

/// One architecture of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ArchInfo {
    /// AUDIT_ARCH_*, what the kernel puts into `seccomp_data.arch`. x32 shares that of x86_64.
    pub token: u32,
    pub column: Column,
    /// Added to the numbers of the column: 0x40000000 for x32, 4000/5000/6000 for the three MIPS ABIs.
    pub base: u32,
    /// Arguments are compared as 64 bits; else only their low 32 bits are, as libseccomp does (x32 too).
    pub wide: bool,
    pub big_endian: bool,
    /// The number of `socketcall`, where the socket calls are (also) reached through it.
    pub socketcall: Option<u32>,
    /// The number of `ipc`, where the System V IPC calls are (also) reached through it.
    pub ipc: Option<u32>,
}

/// Set in the number of every x32 system call.
pub(super) const X32_BIT: u32 = 0x4000_0000;
const X86_64_TOKEN: u32 = 0xc000_003e;

impl ArchInfo {
    const fn new(token: u32, column: Column, wide: bool) -> ArchInfo {
        // __AUDIT_ARCH_LE
        let big_endian = token & 0x4000_0000 == 0;
        ArchInfo { token, column, base: 0, wide, big_endian, socketcall: None, ipc: None }
    }

    const fn base(mut self, base: u32) -> ArchInfo {
        self.base = base;
        self
    }

    const fn multiplexed(mut self) -> ArchInfo {
        self.socketcall = Some(102 + self.base);
        self.ipc = Some(117 + self.base);
        self
    }

    pub fn is_x32(&self) -> bool {
        self.base == X32_BIT
    }

    pub fn is_x86_64(&self) -> bool {
        self.token == X86_64_TOKEN && !self.is_x32()
    }

    /// The architectures whose call 0, `setup`, stands for any number too large for the instruction.
    pub fn is_s390(&self) -> bool {
        matches!(self.column, Column::s390 | Column::s390x)
    }
}

static X86_64: ArchInfo = ArchInfo::new(X86_64_TOKEN, Column::x86_64, true);
static X86: ArchInfo = ArchInfo::new(0x4000_0003, Column::x86, false).multiplexed();
static X32: ArchInfo = ArchInfo::new(X86_64_TOKEN, Column::x32, false).base(X32_BIT);
static AARCH64: ArchInfo = ArchInfo::new(0xc000_00b7, Column::aarch64, true);
static ARM: ArchInfo = ArchInfo::new(0x4000_0028, Column::arm, false);
static RISCV64: ArchInfo = ArchInfo::new(0xc000_00f3, Column::riscv64, true);
static LOONGARCH64: ArchInfo = ArchInfo::new(0xc000_0102, Column::loongarch64, true);
static PPC64LE: ArchInfo = ArchInfo::new(0xc000_0015, Column::ppc64, true).multiplexed();
static PPC64: ArchInfo = ArchInfo::new(0x8000_0015, Column::ppc64, true).multiplexed();
static PPC: ArchInfo = ArchInfo::new(0x0000_0014, Column::ppc, false).multiplexed();
static S390X: ArchInfo = ArchInfo::new(0x8000_0016, Column::s390x, true).multiplexed();
static S390: ArchInfo = ArchInfo::new(0x0000_0016, Column::s390, false).multiplexed();
static MIPS: ArchInfo = ArchInfo::new(0x0000_0008, Column::mips, false).base(4000).multiplexed();
static MIPSEL: ArchInfo = ArchInfo::new(0x4000_0008, Column::mips, false).base(4000).multiplexed();
static MIPS64: ArchInfo = ArchInfo::new(0x8000_0008, Column::mips64, true).base(5000);
static MIPSEL64: ArchInfo = ArchInfo::new(0xc000_0008, Column::mips64, true).base(5000);
static MIPS64N32: ArchInfo = ArchInfo::new(0xa000_0008, Column::mips64n32, false).base(6000);
static MIPSEL64N32: ArchInfo = ArchInfo::new(0xe000_0008, Column::mips64n32, false).base(6000);
static M68K: ArchInfo = ArchInfo::new(0x0000_0004, Column::m68k, false).multiplexed();
static SH: ArchInfo = ArchInfo::new(0x4000_002a, Column::sh, false).multiplexed();
static SHEB: ArchInfo = ArchInfo::new(0x0000_002a, Column::sh, false).multiplexed();
static PARISC: ArchInfo = ArchInfo::new(0x0000_000f, Column::parisc, false);
static PARISC64: ArchInfo = ArchInfo::new(0x8000_000f, Column::parisc64, true);

/// The architecture this program runs on.
pub(super) fn native() -> &'static ArchInfo {
    if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
        &X32
    } else if cfg!(target_arch = "x86") {
        &X86
    } else if cfg!(target_arch = "aarch64") {
        &AARCH64
    } else if cfg!(target_arch = "arm") {
        &ARM
    } else if cfg!(target_arch = "riscv64") {
        &RISCV64
    } else if cfg!(target_arch = "loongarch64") {
        &LOONGARCH64
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        &PPC64LE
    } else if cfg!(target_arch = "powerpc64") {
        &PPC64
    } else if cfg!(target_arch = "powerpc") {
        &PPC
    } else if cfg!(target_arch = "s390x") {
        &S390X
    } else if cfg!(all(target_arch = "mips64", target_endian = "little")) {
        &MIPSEL64
    } else if cfg!(target_arch = "mips64") {
        &MIPS64
    } else if cfg!(all(target_arch = "mips", target_endian = "little")) {
        &MIPSEL
    } else if cfg!(target_arch = "mips") {
        &MIPS
    } else {
        &X86_64
    }
}

/// The facts of an architecture named in a profile.
pub(super) fn info(arch: Arch) -> &'static ArchInfo {
    match arch {
        Arch::ScmpArchNative => native(),
        Arch::ScmpArchX86 => &X86,
        Arch::ScmpArchX86_64 => &X86_64,
        Arch::ScmpArchX32 => &X32,
        Arch::ScmpArchArm => &ARM,
        Arch::ScmpArchAarch64 => &AARCH64,
        Arch::ScmpArchMips => &MIPS,
        Arch::ScmpArchMips64 => &MIPS64,
        Arch::ScmpArchMips64n32 => &MIPS64N32,
        Arch::ScmpArchMipsel => &MIPSEL,
        Arch::ScmpArchMipsel64 => &MIPSEL64,
        Arch::ScmpArchMipsel64n32 => &MIPSEL64N32,
        Arch::ScmpArchPpc => &PPC,
        Arch::ScmpArchPpc64 => &PPC64,
        Arch::ScmpArchPpc64le => &PPC64LE,
        Arch::ScmpArchS390 => &S390,
        Arch::ScmpArchS390x => &S390X,
        Arch::ScmpArchParisc => &PARISC,
        Arch::ScmpArchParisc64 => &PARISC64,
        Arch::ScmpArchRiscv64 => &RISCV64,
        Arch::ScmpArchLoongarch64 => &LOONGARCH64,
        Arch::ScmpArchM68k => &M68K,
        Arch::ScmpArchSh => &SH,
        Arch::ScmpArchSheb => &SHEB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::table;

    #[test]
    fn only_multiplexing_architectures_have_socketcall_and_ipc() {
        let (socketcall, ipc) = (table::find("socketcall").unwrap(), table::find("ipc").unwrap());
        for arch in [
            &X86_64,
            &X86,
            &X32,
            &AARCH64,
            &ARM,
            &RISCV64,
            &LOONGARCH64,
            &PPC64LE,
            &PPC64,
            &PPC,
            &S390X,
            &S390,
            &MIPS,
            &MIPSEL,
            &MIPS64,
            &MIPSEL64,
            &MIPS64N32,
            &MIPSEL64N32,
            &M68K,
            &SH,
            &SHEB,
            &PARISC,
            &PARISC64,
        ] {
            let number = |name| table::number(arch.column, name).map(|nr| nr + arch.base);
            assert_eq!(arch.socketcall, number(socketcall), "{arch:?}");
            assert_eq!(arch.ipc, number(ipc), "{arch:?}");
        }
    }

    #[test]
    fn tokens_are_the_audit_ones_of_the_specs_names() {
        // oci-spec's discriminants are libseccomp's, which differ from the kernel's for x32 alone.
        for arch in [Arch::ScmpArchX86, Arch::ScmpArchArm, Arch::ScmpArchMipsel64n32, Arch::ScmpArchPpc64le] {
            assert_eq!(info(arch).token, arch as u32);
        }
        assert_eq!(info(Arch::ScmpArchX32).token, info(Arch::ScmpArchX86_64).token);
    }
}
