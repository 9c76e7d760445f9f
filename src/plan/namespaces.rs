//! Which namespaces are new, which are joined, and which process of the launch does it.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::libc_flag::{NEWCGROUP, NEWIPC, NEWNET, NEWNS, NEWPID, NEWTIME, NEWUSER, NEWUTS};
use crate::error::Result;

/// A namespace to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Its index in `linux.namespaces`, for messages.
    pub index: usize,
    /// Its `CLONE_NEW*` flag.
    pub kind: u64,
    /// The file it is joined by.
    pub path: PathBuf,
}

/// The namespaces of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// `CLONE_NEW*` of those that are made.
    pub new: u64,
    /// Those that are joined, the user namespace last.
    pub join: Vec<Join>,
    /// What goes into /proc/PID/uid_map, when the user namespace is new.
    pub uid_map: String,
    /// Likewise gid_map.
    pub gid_map: String,
    /// What goes into /proc/PID/timens_offsets.
    pub time_offsets: String,
}

/// The order in which processes make and join the namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Made by the parent's clone3, which carries as much as the kernel lets it.
    pub clone: u64,
    /// Stage 1 makes the user namespace itself, because it has to join others with the rights it has outside.
    pub unshare_user: bool,
    /// Stage 1 unshares the time namespace, whose offsets can be written only while nobody is in it.
    pub unshare_time: bool,
    /// What is left to make.
    pub rest: Rest,
}

/// How stage 1 becomes stage 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing is left: it goes on as stage 2.
    Nothing,
    /// It unshares these and goes on as stage 2.
    Unshare(u64),
    /// It makes a sibling with these: pid and time namespaces are entered by children only.
    Fork(u64),
}

/// The names of namespaces in config.json and in /proc/PID/ns, with their flags.
pub const KINDS: [(&str, &str, u64); 8] = [
    ("mount", "mnt", NEWNS),
    ("cgroup", "cgroup", NEWCGROUP),
    ("uts", "uts", NEWUTS),
    ("ipc", "ipc", NEWIPC),
    ("user", "user", NEWUSER),
    ("pid", "pid", NEWPID),
    ("network", "net", NEWNET),
    ("time", "time", NEWTIME),
];

/// The name of a namespace in config.json.
pub fn name(kind: u64) -> &'static str {
    KINDS.iter().find(|(_, _, flag)| *flag == kind).map_or("unknown", |(name, ..)| name)
}

impl Namespaces {
    /// Reads `linux.namespaces`, the id mappings and the time offsets.
    pub fn new(linux: &Linux) -> Result<Namespaces> {
        let mut namespaces = Namespaces::default();
        for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
            let kind = flag(namespace.typ());
            match namespace.path() {
                Some(path) if !path.as_os_str().is_empty() => {
                    namespaces.join.push(Join { index, kind, path: path.clone() });
                }
                _ => namespaces.new |= kind,
            }
        }
        // With the rights of the outside the others can be joined whoever owns them; mount goes late, since
        // it changes what paths mean, though everything is opened before.
        namespaces.join.sort_by_key(|join| (join.kind == NEWUSER, join.kind == NEWNS));
        namespaces.uid_map = id_map(linux.uid_mappings().as_deref());
        namespaces.gid_map = id_map(linux.gid_mappings().as_deref());
        let mut offsets: Vec<_> = linux.time_offsets().iter().flatten().collect();
        offsets.sort_by_key(|(clock, _)| clock.as_str());
        for (clock, offset) in offsets {
            let (secs, nanos) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            namespaces.time_offsets.push_str(&format!("{clock} {secs} {nanos}\n"));
        }
        Ok(namespaces)
    }

    /// The group on the host that root's in the new user namespace is.
    pub fn root_gid(&self) -> Option<u32> {
        self.gid_map.lines().find_map(|line| {
            let mut fields = line.split(' ');
            (fields.next() == Some("0")).then(|| fields.next()?.parse().ok())?
        })
    }

    /// Whether the container has a namespace of this kind of its own, made or joined.
    pub fn has(&self, kind: u64) -> bool {
        self.new & kind != 0 || self.joins(kind)
    }

    /// Whether it joins one of this kind.
    pub fn joins(&self, kind: u64) -> bool {
        self.join.iter().any(|join| join.kind == kind)
    }

    /// `CLONE_NEW*` of all that the container does not share with the runtime.
    pub fn kinds(&self) -> u64 {
        self.join.iter().fold(self.new, |kinds, join| kinds | join.kind)
    }

    /// Who makes and joins what, in which order.
    pub fn steps(&self) -> Steps {
        let offsets = self.new & NEWTIME != 0 && !self.time_offsets.is_empty();
        // The cgroup namespace is unshared by stage 2, once it is in its cgroup: that becomes its root.
        let mut rest = self.new & !NEWCGROUP;
        if offsets {
            rest &= !NEWTIME;
        }
        let fork = self.joins(NEWPID) || self.joins(NEWTIME) || offsets;
        // What is made before a user namespace is entered is not owned by it.
        let user_late = self.joins(NEWUSER) || (self.new & NEWUSER != 0 && !self.join.is_empty());
        let clone = match (user_late, fork) {
            (true, _) => 0,
            (false, true) => rest & NEWUSER,
            // Objects of the ipc and network namespaces belong to whom their maker is at that moment; before the
            // maps are written that is nobody of the container's. Pid and time have none, and carry no fork here.
            (false, false) if rest & NEWUSER != 0 => rest & (NEWUSER | NEWPID | NEWTIME),
            (false, false) => rest,
        };
        rest &= !(clone | NEWUSER);
        let rest = match rest {
            rest if fork || rest & (NEWPID | NEWTIME) != 0 => Rest::Fork(rest),
            0 => Rest::Nothing,
            rest => Rest::Unshare(rest),
        };
        let unshare_user = user_late && self.new & NEWUSER != 0;
        Steps { clone, unshare_user, unshare_time: offsets, rest }
    }
}

fn flag(kind: LinuxNamespaceType) -> u64 {
    match kind {
        LinuxNamespaceType::Mount => NEWNS,
        LinuxNamespaceType::Cgroup => NEWCGROUP,
        LinuxNamespaceType::Uts => NEWUTS,
        LinuxNamespaceType::Ipc => NEWIPC,
        LinuxNamespaceType::User => NEWUSER,
        LinuxNamespaceType::Pid => NEWPID,
        LinuxNamespaceType::Network => NEWNET,
        LinuxNamespaceType::Time => NEWTIME,
    }
}

/// Mappings as the kernel's `*id_map` files take them.
pub fn id_map(mappings: Option<&[LinuxIdMapping]>) -> String {
    mappings
        .unwrap_or_default()
        .iter()
        .map(|m| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(new: u64, join: &[u64], offsets: &str) -> Steps {
        let join = join.iter().map(|&kind| Join { index: 0, kind, path: "/x".into() }).collect();
        Namespaces { new, join, time_offsets: offsets.into(), ..Namespaces::default() }.steps()
    }

    const USUAL: u64 = NEWPID | NEWNS | NEWNET | NEWIPC | NEWUTS;

    #[test]
    fn one_clone_carries_the_usual_container() {
        let all = steps(USUAL | NEWCGROUP | NEWTIME, &[], "");
        assert_eq!(all.clone, USUAL | NEWTIME);
        assert_eq!(all.rest, Rest::Nothing);
    }

    #[test]
    fn with_a_user_namespace_the_rest_waits_for_its_maps() {
        let all = steps(USUAL | NEWCGROUP | NEWUSER | NEWTIME, &[], "");
        assert_eq!(all.clone, NEWUSER | NEWPID | NEWTIME);
        assert_eq!(all.rest, Rest::Unshare(USUAL & !NEWPID));
    }

    #[test]
    fn a_pod_member_joins_without_a_fork() {
        let member = steps(NEWPID | NEWNS, &[NEWNET, NEWIPC, NEWUTS], "");
        assert_eq!((member.clone, member.rest), (NEWPID | NEWNS, Rest::Nothing));
    }

    #[test]
    fn joined_pid_and_time_need_a_fork() {
        for kind in [NEWPID, NEWTIME] {
            let s = steps(NEWNS | NEWNET, &[kind], "");
            assert_eq!((s.clone, s.rest), (0, Rest::Fork(NEWNS | NEWNET)));
        }
    }

    #[test]
    fn offsets_are_written_between_unshare_and_fork() {
        let s = steps(USUAL | NEWTIME | NEWUSER, &[], "monotonic 1 0\n");
        assert_eq!(
            s,
            Steps { clone: NEWUSER, unshare_user: false, unshare_time: true, rest: Rest::Fork(USUAL) }
        );
    }

    #[test]
    fn what_a_user_namespace_must_own_is_made_after_it() {
        let joined = steps(USUAL & !NEWPID, &[NEWUSER], "");
        assert_eq!(
            (joined.clone, joined.unshare_user, joined.rest),
            (0, false, Rest::Unshare(USUAL & !NEWPID))
        );
        let with_pid = steps(USUAL, &[NEWUSER], "");
        assert_eq!(with_pid.rest, Rest::Fork(USUAL));
        let made = steps(NEWUSER | NEWPID | NEWNS, &[NEWNET], "");
        assert_eq!((made.clone, made.unshare_user, made.rest), (0, true, Rest::Fork(NEWPID | NEWNS)));
    }

    #[test]
    fn no_namespaces_at_all() {
        assert_eq!(
            steps(0, &[], ""),
            Steps { clone: 0, unshare_user: false, unshare_time: false, rest: Rest::Nothing }
        );
    }
}
