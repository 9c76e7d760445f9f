//! Keys of `linux.sysctl`: two spellings, one path, and which namespace each of them needs.

/// The key with dots between its parts. sysctl(8) accepts both `net.ipv4.conf.eth0/100.mtu` and
/// `net/ipv4/conf/eth0.100/mtu`; the first separator decides, and the other one then stands for itself.
pub fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => swap(key),
        _ => key.to_owned(),
    }
}

/// The path of the key below /proc/sys. `None` when a part is empty, `.` or `..`: no key has such
/// parts, and following them would leave the subtree that was judged.
pub fn path(key: &str) -> Option<String> {
    let path = swap(&dotted(key));
    let sane = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    path.split('/').all(sane).then_some(path)
}

fn swap(key: &str) -> String {
    let other = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    key.chars().map(other).collect()
}

/// Which namespace a sysctl belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// System V IPC and POSIX message queues.
    Ipc,
    /// `net.*`.
    Network,
    /// `user.*`, the limits of a user namespace.
    User,
    /// kernel.hostname and kernel.domainname.
    Uts,
    /// Not namespaced: writing it would change the host.
    Host,
}

/// The namespace of a key in dotted form, by the list that runc has (1.5).
pub fn scope(dotted: &str) -> Scope {
    match dotted {
        "kernel.msgmax"
        | "kernel.msgmnb"
        | "kernel.msgmni"
        | "kernel.sem"
        | "kernel.shmall"
        | "kernel.shmmax"
        | "kernel.shmmni"
        | "kernel.shm_rmid_forced" => Scope::Ipc,
        "kernel.hostname" | "kernel.domainname" => Scope::Uts,
        key if key.starts_with("fs.mqueue.") => Scope::Ipc,
        key if key.starts_with("net.") => Scope::Network,
        key if key.starts_with("user.") => Scope::User,
        _ => Scope::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn both_spellings_are_one_path() {
        for (key, want_dotted, want_path) in [
            ("net.ipv4.ip_forward", "net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
            ("net/ipv4/ip_forward", "net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
            ("net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter", Some("net/ipv4/conf/eno2.100/rp_filter")),
            ("net.ipv4.conf.eno2/100.rp_filter", "net.ipv4.conf.eno2/100.rp_filter", Some("net/ipv4/conf/eno2.100/rp_filter")),
            ("plain", "plain", Some("plain")),
            ("", "", None),
            ("net.", "net.", None),
            ("net..x", "net..x", None),
            ("/net/x", ".net.x", None),
            ("net/../kernel/core_pattern", "net.//.kernel.core_pattern", None),
            ("net.//.kernel.core_pattern", "net.//.kernel.core_pattern", None),
            ("net./.x", "net./.x", None),
        ] {
            assert_eq!(dotted(key), want_dotted, "{key}");
            assert_eq!(path(key).as_deref(), want_path, "{key}");
        }
    }

    #[test]
    fn scopes() {
        for (key, want) in [
            ("kernel.shmmax", Scope::Ipc),
            ("fs.mqueue.msg_max", Scope::Ipc),
            ("net.core.somaxconn", Scope::Network),
            ("user.max_mnt_namespaces", Scope::User),
            ("kernel.domainname", Scope::Uts),
            ("kernel.core_pattern", Scope::Host),
            ("network.x", Scope::Host),
            ("fs.mqueue", Scope::Host),
            ("vm.swappiness", Scope::Host),
        ] {
            assert_eq!(scope(key), want, "{key}");
        }
    }
}
