//! How this host mounts its cgroups: v2, v1, or v1 with a v2 hierarchy beside it (hybrid).

use super::dir::Dir;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::cgroup::Place;
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

const CGROUP2_MAGIC: u64 = 0x6367_7270;
const CGROUP1_MAGIC: u64 = 0x0027_e0eb;

/// What is mounted where.
#[derive(Debug)]
pub struct Layout {
    root: Rc<OwnedFd>,
    path: String,
    /// Empty on pure v2.
    pub(super) v1: Vec<Hierarchy>,
    /// The v2 hierarchy: `at` is empty when it is the root itself.
    pub(super) unified: Option<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// As /proc/self/cgroup has it: `cpu,cpuacct`, `name=systemd`, empty for v2.
    pub names: String,
    /// The mount point below the root, or an absolute path when it is elsewhere.
    at: String,
    /// Where the runtime itself is. `None`: not asked yet.
    own: Option<String>,
}

impl Hierarchy {
    /// Whether it is the one of this controller.
    pub fn has(&self, controller: &str) -> bool {
        has(&self.names, controller)
    }
}

/// Whether the names of a v1 hierarchy include this controller.
pub(super) fn has(names: &str, controller: &str) -> bool {
    names.split(',').any(|name| name == controller)
}

impl Layout {
    /// Looks at the file systems mounted at `root` (usually `/sys/fs/cgroup`). On v2 this is one open and
    /// one fstatfs, on v1 a statfs for each hierarchy; /proc/self/mountinfo is read only when a hierarchy
    /// is not where every distribution has it.
    ///
    /// # Errors
    /// No cgroup file system there ([`Kind::Unsupported`]), or /proc is not readable.
    pub fn detect(root: &Path) -> Result<Layout> {
        let path = root.to_string_lossy().trim_end_matches('/').to_owned();
        let fd = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("open cgroup root {path}"))?;
        let kind = rustix::fs::fstatfs(&fd).with_context(|| format!("statfs {path}"))?.f_type as u64;
        let mut layout = Layout { root: Rc::new(fd), path, v1: Vec::new(), unified: None };
        if kind == CGROUP2_MAGIC {
            layout.unified = Some(Hierarchy { names: String::new(), at: String::new(), own: None });
            return Ok(layout);
        }
        let mut mounts = None;
        for (names, own) in parse_own(&own_cgroups()?) {
            let Some(at) = layout.find(&names, &mut mounts) else { continue };
            let hierarchy = Hierarchy { names, at, own: Some(own) };
            if hierarchy.names.is_empty() {
                layout.unified = Some(hierarchy);
            } else {
                layout.v1.push(hierarchy);
            }
        }
        if layout.v1.is_empty() {
            // Only a v2 hierarchy beside nothing would be neither layout.
            let what = format!("no cgroup file system is mounted at {}", layout.path);
            return Err(Error::new(Kind::Unsupported, what));
        }
        Ok(layout)
    }

    /// Whether the host has only the v2 hierarchy.
    pub fn is_v2(&self) -> bool {
        self.v1.is_empty()
    }

    /// Where a v1 hierarchy (or, for an empty name, the unified one beside them) is mounted.
    fn find(&self, names: &str, mounts: &mut Option<String>) -> Option<String> {
        let magic = if names.is_empty() { CGROUP2_MAGIC } else { CGROUP1_MAGIC };
        let usual = match names {
            "" => "unified",
            names => names.strip_prefix("name=").unwrap_or(names),
        };
        let there = |at: &str| {
            rustix::fs::statfs(format!("{}/{at}", self.path)).is_ok_and(|s| s.f_type as u64 == magic)
        };
        if there(usual) {
            return Some(usual.to_owned());
        }
        if names.is_empty() {
            // Nice to have beside v1, and often visible without being mounted: not worth a long search.
            return None;
        }
        // `cpu,cpuacct` may be mounted as `cpu`, or as `cpuacct,cpu`.
        if let Some(part) = names.split(',').filter(|_| names.contains(',')).find(|part| there(part)) {
            return Some(part.to_owned());
        }
        let mounts =
            mounts.get_or_insert_with(|| std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        find_mount(mounts, names)
    }

    /// The directory of a container's cgroup in this hierarchy.
    pub(super) fn dir(&self, hierarchy: &Hierarchy, place: &Place) -> Result<Dir> {
        let unified = hierarchy.names.is_empty() && self.is_v2();
        let below = match (&hierarchy.own, place) {
            (_, Place::Absolute(path)) => path.clone(),
            (Some(own), _) => place.below(own, unified),
            (None, _) => {
                let own = parse_own(&own_cgroups()?).into_iter().find(|(names, _)| names.is_empty());
                place.below(own.as_ref().map_or("/", |(_, path)| path), unified)
            }
        };
        // Above the root of our cgroup namespace there is nothing we could name.
        let below = if below.split('/').any(|part| part == "..") { place.below("/", unified) } else { below };
        Ok(self.at(hierarchy, &below))
    }

    /// A directory below the mount point of a hierarchy; the empty path is the mount point itself.
    pub(super) fn at(&self, hierarchy: &Hierarchy, below: &str) -> Dir {
        match (hierarchy.at.as_str(), below) {
            ("", below) => Dir::new(&self.root, &self.path, below),
            (at, "") => Dir::new(&self.root, &self.path, at),
            (at, below) => Dir::new(&self.root, &self.path, &format!("{at}/{below}")),
        }
    }

    /// The absolute path of a hierarchy's mount point.
    pub(super) fn mount_point(&self, hierarchy: &Hierarchy) -> String {
        match hierarchy.at.as_str() {
            "" => self.path.clone(),
            at if at.starts_with('/') => at.to_owned(),
            at => format!("{}/{at}", self.path),
        }
    }
}

fn own_cgroups() -> Result<String> {
    let bytes = crate::path::read_made_at_once("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The lines of /proc/PID/cgroup as (controllers, path). A path may contain colons.
pub fn parse_own(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
        })
        .collect()
}

/// Looks a v1 hierarchy up in /proc/self/mountinfo: its mount point, octal escapes undone.
fn find_mount(mountinfo: &str, names: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = file_system.split(' ');
        let (kind, options) = (fields.next()?, fields.nth(1)?);
        let fits = kind == "cgroup" && names.split(',').all(|name| has(options, name));
        fits.then(|| mount.split(' ').nth(4).map(crate::path::unescape))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cgroups_may_have_colons_and_commas() {
        let text = "4:memory:/a\n3:cpu,cpuacct:/x:y\n1:name=systemd:/\n0::/system.slice:docker:1\n";
        let pairs = [
            ("memory", "/a"),
            ("cpu,cpuacct", "/x:y"),
            ("name=systemd", "/"),
            ("", "/system.slice:docker:1"),
        ];
        assert_eq!(parse_own(text), pairs.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn unusual_mount_points_are_found() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 31 0:29 / /odd/c\\040pu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            33 31 0:30 / /odd/sd rw - cgroup cgroup rw,xattr,name=systemd\n\
            41 31 0:38 / /odd/two rw - cgroup2 cgroup2 rw\n";
        for (names, at) in
            [("cpu,cpuacct", Some("/odd/c pu")), ("name=systemd", Some("/odd/sd")), ("memory", None)]
        {
            assert_eq!(find_mount(text, names).as_deref(), at);
        }
    }

    #[test]
    fn the_place_of_a_cgroup_in_a_hierarchy() {
        let root = Rc::new(rustix::fs::open("/", OFlags::PATH, Mode::empty()).unwrap());
        let hierarchy = |names: &str, at: &str, own: &str| Hierarchy {
            names: names.into(),
            at: at.into(),
            own: Some(own.into()),
        };
        let cpu = hierarchy("cpu", "cpu", "/me");
        let odd = hierarchy("pids", "/odd/pids", "/../other");
        let layout = Layout { root, path: "/cg".into(), v1: vec![cpu.clone(), odd.clone()], unified: None };
        let absolute = Place::Absolute("a/b".into());
        let relative = Place::Relative("c".into());
        assert_eq!(layout.dir(&cpu, &absolute).unwrap().path, "/cg/cpu/a/b");
        assert_eq!(layout.dir(&cpu, &relative).unwrap().path, "/cg/cpu/me/c");
        assert_eq!(layout.dir(&odd, &absolute).unwrap().path, "/odd/pids/a/b");
        // The runtime is outside of its own cgroup namespace's root.
        assert_eq!(layout.dir(&odd, &relative).unwrap().path, "/odd/pids/c");
    }
}
