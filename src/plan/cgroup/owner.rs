//! Whether the container's cgroup becomes the container's own (config-linux.md, "Cgroup ownership").

use std::path::Path;

use oci_spec::runtime::Spec;

use crate::plan::libc_flag::{NEWCGROUP, NEWUSER};
use crate::plan::namespaces::Namespaces;

/// The uid, in the runtime's user namespace, that is to own the cgroup: that of the process, if the container sees
/// nothing but its own cgroup, and may write to it.
pub fn owner(spec: &Spec, namespaces: &Namespaces) -> Option<u32> {
    if namespaces.new & NEWCGROUP == 0 || !has_writable_mount(spec) {
        return None;
    }
    let uid = spec.process().as_ref().map_or(0, |process| process.user().uid());
    if namespaces.new & NEWUSER == 0 {
        // In a joined user namespace it is another uid, which nobody tells.
        return (!namespaces.joins(NEWUSER)).then_some(uid);
    }
    let mappings = spec.linux().as_ref()?.uid_mappings().as_deref()?;
    mappings.iter().find_map(|mapping| {
        let offset = uid.checked_sub(mapping.container_id())?;
        (offset < mapping.size()).then(|| mapping.host_id().checked_add(offset))?
    })
}

fn has_writable_mount(spec: &Spec) -> bool {
    spec.mounts().iter().flatten().any(|mount| {
        let options = mount.options().as_deref().unwrap_or_default();
        mount.source().as_deref() == Some(Path::new("cgroup"))
            && mount.destination() == Path::new("/sys/fs/cgroup")
            && !options.iter().any(|option| option == "ro")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of(cgroup: &str, options: &str, user: &str, uid: u32) -> Option<u32> {
        let config = format!(
            r#"{{"ociVersion":"1.0.0","process":{{"cwd":"/","user":{{"uid":{uid},"gid":0}}}},
                "mounts":[{{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["nosuid"{options}]}}],
                "linux":{{"namespaces":[{{"type":"pid"}}{cgroup}{user}],
                    "uidMappings":[{{"containerID":0,"hostID":100000,"size":10}},{{"containerID":10,"hostID":5,"size":1}}]}}}}"#
        );
        let spec: Spec = serde_json::from_str(&config).unwrap();
        let namespaces = Namespaces::new(spec.linux().as_ref().unwrap()).unwrap();
        owner(&spec, &namespaces)
    }

    #[test]
    fn only_what_the_container_sees_alone_and_may_write() {
        let (new, user) = (r#",{"type":"cgroup"}"#, r#",{"type":"user"}"#);
        assert_eq!(owner_of(new, "", user, 0), Some(100_000));
        assert_eq!(owner_of(new, r#","rw""#, user, 9), Some(100_009));
        assert_eq!(owner_of(new, "", user, 10), Some(5));
        assert_eq!(owner_of(new, "", user, 11), None);
        assert_eq!(owner_of(new, "", "", 7), Some(7));
        assert_eq!(owner_of(new, r#","ro""#, user, 0), None);
        assert_eq!(owner_of("", "", user, 0), None);
        assert_eq!(owner_of(r#",{"type":"cgroup","path":"/x"}"#, "", user, 0), None);
        assert_eq!(owner_of(new, "", r#",{"type":"user","path":"/x"}"#, 0), None);
    }
}
