//! The cgroup part of the plan: where the container's cgroup is and what is written into it.
//!
//! A plan is built before anybody looks at the host, so it carries both dialects: the writes for
//! cgroup v2 and those for v1. Which of them is used is decided by [`crate::cgroup`]; something that only
//! one dialect can express is kept as a [`Lack`] of the other, and told only if that one is used.

use crate::error::{Error, Kind, Result};
use oci_spec::runtime::{LinuxDevice, LinuxResources};
use std::borrow::Cow;

mod devices;
mod filter;
mod lacks;
mod owner;
mod resources;
pub mod systemd;
mod update;

pub use devices::{Access, DeviceKind, DeviceRule, Devices};
pub use filter::compile;
pub use owner::owner;
pub use resources::{cpu_weight, io_weight};
pub use update::{complete, hold};

/// Everything the cgroup of one container needs. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPlan {
    /// Where the cgroup is.
    pub place: Place,
    /// The limits in cgroup v2's words.
    pub v2: Dialect,
    /// The limits in cgroup v1's words.
    pub v1: Dialect,
    /// Which devices may be used.
    pub devices: Devices,
    /// `memory.checkBeforeUpdate`: what must be above the current usage, else nothing is changed.
    pub memory_floor: Option<MemoryFloor>,
}

/// The limits in the words of one cgroup version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// In the order they are written.
    writes: Vec<Write>,
    /// What the version cannot express.
    lacks: Vec<Lack>,
}

/// Something that is asked for and that a cgroup version cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The controller that is asked for it.
    controller: &'static str,
    /// Where it stands and why it cannot be had.
    why: Error,
    /// It is left out with a warning. Else it is an error.
    optional: bool,
}

impl Dialect {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.lacks.is_empty()
    }

    /// Whether something is written for this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.writes.iter().any(|write| write.controller == controller)
    }

    /// All that is written.
    ///
    /// # Errors
    /// The first thing that the version cannot express.
    pub fn writes(&self) -> Result<&[Write]> {
        self.expressible(|_| true).map(|()| &self.writes[..])
    }

    /// What is written for some of the controllers: the others are in another hierarchy, of another version.
    ///
    /// # Errors
    /// The first thing asked of these controllers that the version cannot express.
    pub fn writes_of(&self, controllers: &[&str]) -> Result<impl Iterator<Item = &Write>> {
        self.expressible(|name| controllers.contains(&name))?;
        Ok(self.writes.iter().filter(|write| controllers.contains(&&*write.controller)))
    }

    /// What is left out though it was asked for, of some of the controllers or of all.
    pub fn warnings(&self, of: Option<&[&str]>) -> impl Iterator<Item = String> {
        let wanted = move |lack: &&Lack| lack.optional && of.is_none_or(|of| of.contains(&lack.controller));
        self.lacks.iter().filter(wanted).map(|lack| lack.why.to_string())
    }

    fn expressible(&self, of: impl Fn(&str) -> bool) -> Result<()> {
        let lack = self.lacks.iter().find(|lack| !lack.optional && of(lack.controller));
        lack.map_or(Ok(()), |lack| Err(lack.why.clone()))
    }
}

/// Where a cgroup is: normalised, without `.`, `..` or empty components, never the root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Below the mount point of every hierarchy. Kept without the leading slash.
    Absolute(String),
    /// Below the runtime's own cgroup: in v1 as its child, in v2 as its sibling, because a v2 cgroup that
    /// has processes of its own cannot give controllers to children. This is what runc does.
    Relative(String),
}

/// One value for one file of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The controller the file belongs to; `cgroup` is the core, which every cgroup has.
    pub controller: Cow<'static, str>,
    /// The file's name, which never has a slash.
    pub file: Cow<'static, str>,
    /// What is written, without a newline at its end.
    pub value: String,
    /// Where in config.json this comes from.
    pub field: Cow<'static, str>,
    /// Which failure is no failure.
    pub tolerate: Tolerate,
    /// May be refused with `EINVAL` because of what another file still holds, as a new v1 memory limit
    /// above the old memory+swap limit is; such a write is repeated after all others.
    pub again: bool,
    /// File and value to use when `file` is not there.
    pub instead: Option<(&'static str, String)>,
}

/// Which failures of a [`Write`] are expected and mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerate {
    /// None.
    Nothing,
    /// The file is not there: the kernel lacks the feature, and the value is what holds without it.
    Missing,
    /// Any: the kernel has dropped the feature, and runc ignores the field.
    Anything,
}

/// Limits that must be above the current usage, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFloor {
    /// `memory.limit`.
    pub limit: Option<u64>,
    /// `memory.swap`: memory and swap together.
    pub swap: Option<u64>,
}

/// Builds the cgroup plan.
///
/// `path` is `linux.cgroupsPath`, `id` the container's, which names the cgroup when there is no path (as
/// in runc: relative to the runtime's own cgroup). `nodes` are `linux.devices`: one that redefines a
/// default device with other numbers takes the default rule away.
///
/// # Errors
/// The first of [`problems`], of kind [`Kind::Config`].
pub fn build(
    path: Option<&str>,
    id: &str,
    resources: Option<&LinuxResources>,
    nodes: &[LinuxDevice],
) -> Result<CgroupPlan> {
    let (plan, problems) = assemble(path, id, resources, nodes);
    match problems.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(plan),
    }
}

/// Every mistake in `linux.cgroupsPath` and `linux.resources`, each with its JSON path.
pub fn problems(path: Option<&str>, resources: Option<&LinuxResources>) -> Vec<Error> {
    assemble(path, "id", resources, &[]).1
}

fn assemble(
    path: Option<&str>,
    id: &str,
    resources: Option<&LinuxResources>,
    nodes: &[LinuxDevice],
) -> (CgroupPlan, Vec<Error>) {
    let mut problems = Vec::new();
    let place = Place::parse(path, id).unwrap_or_else(|error| {
        problems.push(error);
        Place::Relative(String::new())
    });
    let devices = Devices::new(resources.and_then(|r| r.devices().as_deref()), nodes, &mut problems);
    let limits = resources.map(|r| resources::Limits::new(r, &mut problems)).unwrap_or_default();
    let plan = CgroupPlan { place, v2: limits.v2, v1: limits.v1, devices, memory_floor: limits.memory_floor };
    (plan, problems)
}

impl Place {
    /// Parses `linux.cgroupsPath` for the cgroupfs driver; absent or empty means a cgroup named `id`.
    fn parse(path: Option<&str>, id: &str) -> Result<Place> {
        let given = path.filter(|p| !p.is_empty());
        let text = given.unwrap_or(id);
        let field = if given.is_some() { "linux.cgroupsPath" } else { "container id" };
        let absolute = given.is_some() && text.starts_with('/');
        let clean = clean(text).map_err(|why| wrong(field, format!("{text:?} {why}")))?;
        Ok(if absolute { Place::Absolute(clean) } else { Place::Relative(clean) })
    }

    /// The cgroup's path below the mount point of a hierarchy, in which the runtime itself is at `own`.
    pub fn below(&self, own: &str, unified: bool) -> String {
        match self {
            Place::Absolute(path) => path.clone(),
            Place::Relative(path) => {
                let own = own.trim_matches('/');
                let parent = if unified { own.rsplit_once('/').map_or("", |(dir, _)| dir) } else { own };
                if parent.is_empty() { path.clone() } else { format!("{parent}/{path}") }
            }
        }
    }
}

/// Drops empty and `.` components and refuses what must never be part of a cgroup's name.
///
/// # Errors
/// Says what is wrong, to be put behind the path.
pub fn clean(path: &str) -> Result<String, &'static str> {
    let mut clean = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err("must not have a \"..\" component");
        }
        // cgroupfs refuses a newline itself; a NUL would cut the path short.
        if part.bytes().any(|b| b == b'\n' || b == 0) {
            return Err("must not have a newline or NUL");
        }
        if part.len() > 255 {
            return Err("has a component longer than 255 bytes");
        }
        if !clean.is_empty() {
            clean.push('/');
        }
        clean.push_str(part);
    }
    if clean.is_empty() { Err("names the root cgroup") } else { Ok(clean) }
}

fn wrong(field: impl Into<Cow<'static, str>>, what: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Kind::Config, what).context(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: Option<&str>) -> Result<Place> {
        build(path, "c1", None, &[]).map(|plan| plan.place)
    }

    #[test]
    fn absolute_relative_and_absent_paths() {
        assert_eq!(place(Some("/a//b/./c/")).unwrap(), Place::Absolute("a/b/c".into()));
        assert_eq!(place(Some("a/b")).unwrap(), Place::Relative("a/b".into()));
        let docker = "system.slice:docker:x";
        assert_eq!(place(Some(docker)).unwrap(), Place::Relative(docker.into()));
        assert_eq!(place(None).unwrap(), Place::Relative("c1".into()));
        assert_eq!(place(Some("")).unwrap(), Place::Relative("c1".into()));
    }

    #[test]
    fn nothing_climbs_and_nothing_is_the_root() {
        for bad in ["..", "/..", "/a/../b", "a/..", "../x", "/", "//", ".", "a\nb", "a\0b"] {
            let error = place(Some(bad)).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().starts_with("linux.cgroupsPath: "), "{bad:?}: {error}");
        }
        assert!(place(Some(&"x".repeat(256))).is_err());
        assert!(place(Some("..a/b..")).is_ok());
    }

    #[test]
    fn relative_to_the_runtime_in_v1_and_beside_it_in_v2() {
        let relative = Place::Relative("x/y".into());
        for (own, v1, v2) in
            [("/", "x/y", "x/y"), ("/a", "a/x/y", "x/y"), ("/a/b", "a/b/x/y", "a/x/y"), ("", "x/y", "x/y")]
        {
            assert_eq!(relative.below(own, false), v1);
            assert_eq!(relative.below(own, true), v2);
        }
        assert_eq!(Place::Absolute("x".into()).below("/a/b", true), "x");
    }

    #[test]
    fn every_problem_is_reported_with_its_path() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"devices":[{"allow":true,"access":""},{"allow":true,"type":"p","access":"r"}],
                "hugepageLimits":[{"pageSize":"../x","limit":1}],"memory":{"limit":-2},
                "unified":{"a/b":"1"}}"#,
        )
        .unwrap();
        let problems: Vec<String> =
            problems(Some("/.."), Some(&resources)).iter().map(ToString::to_string).collect();
        for (problem, start) in problems.iter().zip([
            "linux.cgroupsPath: ",
            "linux.resources.devices[0].access: ",
            "linux.resources.devices[1].type: ",
            "linux.resources.memory.limit: ",
            "linux.resources.hugepageLimits[0].pageSize: ",
            "linux.resources.unified: ",
        ]) {
            assert!(problem.starts_with(start), "{problem}");
        }
        assert_eq!(problems.len(), 6);
    }
}
