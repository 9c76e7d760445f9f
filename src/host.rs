//! Facts about the machine, each probed at most once and only when somebody asks.
//!
//! A default `run` asks for none but the effective user id; a test builds the facts it wants by hand
//! with [`Host::fixed`].

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

/// `f_type` of selinuxfs and resctrl (linux/magic.h).
const SELINUX_MAGIC: i128 = 0xf97c_ff8c;
const RDTGROUP_MAGIC: i128 = 0x0765_5821;

/// The facts as plain data, for tests and for [`Host::fixed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Effective user id of this process.
    pub euid: u32,
    /// Are we inside a user namespace that is not the initial one?
    pub user_namespace: bool,
    /// Does the kernel enforce AppArmor profiles?
    pub apparmor: bool,
    /// Is selinuxfs there?
    pub selinux: bool,
    /// Is resctrl (Intel RDT, AMD QoS) mounted?
    pub resctrl: bool,
    /// Kernel release, major and minor.
    pub kernel: (u32, u32),
    /// Capabilities that this process has not, as a bit mask.
    pub missing_capabilities: u64,
}

/// What this machine can do. Lazy: every getter costs its system calls once.
#[derive(Debug)]
pub struct Host {
    euid: OnceLock<u32>,
    user_namespace: OnceLock<bool>,
    apparmor: OnceLock<bool>,
    selinux: OnceLock<bool>,
    resctrl: OnceLock<bool>,
    kernel: OnceLock<(u32, u32)>,
    missing_capabilities: OnceLock<u64>,
}

impl Host {
    /// The machine we run on; whatever was asked before is known.
    pub fn here() -> &'static Host {
        static HERE: Host = Host {
            euid: OnceLock::new(),
            user_namespace: OnceLock::new(),
            apparmor: OnceLock::new(),
            selinux: OnceLock::new(),
            resctrl: OnceLock::new(),
            kernel: OnceLock::new(),
            missing_capabilities: OnceLock::new(),
        };
        &HERE
    }

    /// A machine made of the given facts; nothing is ever probed.
    pub fn fixed(facts: Facts) -> Host {
        Host {
            euid: facts.euid.into(),
            user_namespace: facts.user_namespace.into(),
            apparmor: facts.apparmor.into(),
            selinux: facts.selinux.into(),
            resctrl: facts.resctrl.into(),
            kernel: facts.kernel.into(),
            missing_capabilities: facts.missing_capabilities.into(),
        }
    }

    /// Effective user id of this process.
    pub fn euid(&self) -> u32 {
        *self.euid.get_or_init(|| rustix::process::geteuid().as_raw())
    }

    /// Are we inside a user namespace that is not the initial one? Told by its number, which is fixed: one system call,
    /// and true in a namespace that maps all ids one to one, too, whose root is none of the host's either.
    pub fn in_user_namespace(&self) -> bool {
        /// `PROC_USER_INIT_INO` of the kernel.
        const INITIAL: u64 = 0xEFFF_FFFD;
        *self.user_namespace.get_or_init(|| {
            rustix::fs::stat("/proc/self/ns/user").is_ok_and(|namespace| namespace.st_ino != INITIAL)
        })
    }

    /// Does the kernel enforce AppArmor profiles?
    pub fn apparmor(&self) -> bool {
        *self.apparmor.get_or_init(|| {
            std::fs::read("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.first() == Some(&b'Y'))
        })
    }

    /// Is SELinux there? Asked of the file system type, because an empty /sys/fs/selinux proves nothing.
    pub fn selinux(&self) -> bool {
        *self.selinux.get_or_init(|| filesystem_is("/sys/fs/selinux", SELINUX_MAGIC))
    }

    /// Is resctrl mounted, so that `linux.intelRdt` can be honoured?
    pub fn resctrl(&self) -> bool {
        *self.resctrl.get_or_init(|| filesystem_is("/sys/fs/resctrl", RDTGROUP_MAGIC))
    }

    /// Kernel release, major and minor; (0, 0) when it cannot be read.
    pub fn kernel(&self) -> (u32, u32) {
        *self.kernel.get_or_init(|| {
            let name = rustix::system::uname();
            parse_release(name.release().to_str().unwrap_or_default())
        })
    }

    /// Capabilities that are not in this process's permitted set, and that no process of its user namespace can get from
    /// it, as a bit mask. Those that the kernel does not know are among them.
    pub fn missing_capabilities(&self) -> u64 {
        *self
            .missing_capabilities
            .get_or_init(|| rustix::thread::capabilities(None).map_or(0, |sets| !sets.permitted.bits()))
    }

    /// Is `path` the network namespace we are in ourselves? "Host" means ours, not the initial one.
    /// An unreadable path is not: joining it fails later, with its own words.
    pub fn is_own_network_namespace(&self, path: &Path) -> bool {
        let id = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        match (id(Path::new("/proc/self/ns/net")), id(path)) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            _ => false,
        }
    }
}

fn filesystem_is(path: &str, magic: i128) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| i128::from(stat.f_type) & 0xffff_ffff == magic)
}

fn parse_release(release: &str) -> (u32, u32) {
    let mut parts = release.split('.').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part[..digits].parse().unwrap_or(0)
    });
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (text, want) in [
            ("6.18.44-fc", (6, 18)),
            ("5.4.0-42-generic", (5, 4)),
            ("6.9-rc1", (6, 9)),
            ("4.18", (4, 18)),
            ("", (0, 0)),
            ("x.y", (0, 0)),
            ("99999999999.1", (0, 1)),
        ] {
            assert_eq!(parse_release(text), want, "{text}");
        }
    }

    #[test]
    fn fixed_facts_come_back() {
        let facts = Facts {
            euid: 7,
            user_namespace: true,
            apparmor: true,
            selinux: true,
            resctrl: true,
            kernel: (1, 2),
            missing_capabilities: 5,
        };
        let host = Host::fixed(facts);
        assert_eq!((host.euid(), host.in_user_namespace(), host.apparmor()), (7, true, true));
        assert_eq!((host.selinux(), host.resctrl(), host.kernel()), (true, true, (1, 2)));
        assert_eq!(host.missing_capabilities(), 5);
    }

    #[test]
    fn this_machine() {
        let host = Host::here();
        assert!(host.kernel().0 >= 4);
        assert!(host.is_own_network_namespace(Path::new("/proc/self/ns/net")));
        assert!(!host.is_own_network_namespace(Path::new("/proc/self/ns/uts")));
        assert!(!host.is_own_network_namespace(Path::new("/nonexistent")));
        assert!(filesystem_is("/proc", 0x9fa0));
        // Of 64 the kernel knows some forty.
        assert!(host.missing_capabilities() >> 63 == 1);
        assert!(!filesystem_is("/proc", SELINUX_MAGIC));
    }
}
