//! The unit of a container whose cgroup systemd makes: its name, its slice, its properties. Pure, as all of the plan.

mod properties;
mod text;
mod value;

use std::collections::HashMap;

use super::wrong;
use crate::error::Result;

pub use properties::{devices, in_file, limits, memory_oom_policy};
pub use value::Value;

/// A property of a unit.
pub type Property = (String, Value);

/// What annotations that set a property of the unit begin with.
const ANNOTATION: &str = "org.systemd.property.";
/// systemd's `UNIT_NAME_MAX`, without the NUL.
const NAME_MAX: usize = 255;

/// The unit of a container: a scope, or a slice if its name says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Its name, which has the type at its end.
    pub name: String,
    /// The slice it is in.
    pub slice: String,
    /// Which container it is of, for those who look at it.
    pub container: String,
    /// What the annotations say, sorted.
    pub properties: Vec<Property>,
}

impl Unit {
    /// Plans the unit: `path` is `linux.cgroupsPath`, `slice:prefix:name`; what is empty of it is as in runc, with
    /// `prefix` in the place of "runc". `user`: it is of the user's own systemd.
    ///
    /// # Errors
    /// A part is missing or cannot be (of) a unit's name, or an annotation is wrong. Kind
    /// [`Kind::Config`](crate::error::Kind::Config).
    pub fn new(
        path: Option<&str>,
        id: &str,
        prefix: &str,
        user: bool,
        annotations: Option<&HashMap<String, String>>,
    ) -> Result<Unit> {
        let given = path.filter(|path| !path.is_empty());
        let field = if given.is_some() { "linux.cgroupsPath" } else { "container id" };
        let parts = match given {
            None => ("", prefix, id),
            Some(path) => {
                let mut parts = path.split(':');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
                    _ => {
                        let what = format!(
                            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                        );
                        return Err(wrong(field, what));
                    }
                }
            }
        };
        let (slice, prefix, name) = parts;
        let mut slice = match slice {
            "" if user => "user.slice",
            "" => "system.slice",
            slice => slice,
        }
        .to_owned();
        let name = match name {
            "" => return Err(wrong(field, "the name of the unit is empty")),
            name if name.ends_with(".slice") => name.to_owned(),
            name => format!("{prefix}-{name}.scope"),
        };
        if let Err(why) = check_name(&name) {
            return Err(wrong(field, format!("{name:?} {why}")));
        }
        let mut properties = annotated(annotations)?;
        // It decides where the cgroup is.
        if let Some(at) = properties.iter().position(|(name, _)| name == "Slice")
            && let (_, Value::Str(other)) = properties.remove(at)
        {
            slice = other;
        }
        if let Err(why) = expand_slice(&slice) {
            return Err(wrong(field, format!("{slice:?} {why}")));
        }
        let unit = Unit { name, slice, container: id.to_owned(), properties };
        if unit.is_slice() {
            expand_slice(&unit.name).map_err(|why| wrong(field, format!("{:?} {why}", unit.name)))?;
        }
        Ok(unit)
    }

    /// Whether it is a slice: systemd puts no process into one.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// Its cgroup, below systemd's own one, without a slash at either end.
    pub fn path(&self) -> String {
        // Both were expanded when this was made.
        let expanded = |slice: &str| expand_slice(slice).unwrap_or_default();
        if self.is_slice() {
            return expanded(&self.name);
        }
        match expanded(&self.slice) {
            slice if slice.is_empty() => self.name.clone(),
            slice => format!("{slice}/{}", self.name),
        }
    }
}

/// The path of a slice: a dash in its name is a step down, so `a-b.slice` is `a.slice/a-b.slice`; the root slice
/// `-.slice` has an empty one.
fn expand_slice(slice: &str) -> Result<String, &'static str> {
    const INVALID: &str = "is an invalid slice name";
    check_name(slice)?;
    let name = slice.strip_suffix(".slice").ok_or(INVALID)?;
    if name == "-" {
        return Ok(String::new());
    }
    let mut path = String::new();
    for (at, _) in name.match_indices('-').chain([(name.len(), "")]) {
        let parent = &name[..at];
        if parent.is_empty() || parent.ends_with('-') {
            return Err(INVALID);
        }
        path.push_str(if path.is_empty() { "" } else { "/" });
        path.push_str(parent);
        path.push_str(".slice");
    }
    Ok(path)
}

/// As systemd's `unit_name_is_valid`; a slash or "..", above all, cannot come into a path by it.
fn check_name(name: &str) -> Result<(), &'static str> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if !name.bytes().all(valid) {
        return Err("has a character that no systemd unit may have in its name");
    }
    if name.len() > NAME_MAX {
        return Err("is longer than the name of a systemd unit may be, 255 bytes");
    }
    if name.starts_with(['.', '@']) {
        return Err("is not a valid name of a systemd unit");
    }
    Ok(())
}

/// The properties that annotations ask for: `org.systemd.property.NAME` with a value in GVariant's text format.
fn annotated(annotations: Option<&HashMap<String, String>>) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    for (key, text) in annotations.into_iter().flatten() {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        let at = || format!("annotations.{key}");
        if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(wrong(at(), format!("{name:?} is not the name of a systemd property")));
        }
        let value = text::parse(text).map_err(|why| wrong(at(), format!("{text:?}: {why}")))?;
        // Units files have seconds, D-Bus has microseconds: TimeoutStopSec is TimeoutStopUSec.
        let property = match name.strip_suffix("Sec") {
            Some(stem) if stem.ends_with(|c: char| c.is_ascii_lowercase()) => {
                let value = microseconds(&value)
                    .ok_or_else(|| wrong(at(), format!("{text:?} is not a number of seconds")))?;
                (format!("{stem}USec"), Value::U64(value))
            }
            _ => (name.to_owned(), value),
        };
        properties.push(property);
    }
    // The order of a map is another one each time.
    properties.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(properties)
}

fn microseconds(seconds: &Value) -> Option<u64> {
    const MILLION: u64 = 1_000_000;
    match *seconds {
        Value::Byte(n) => u64::from(n).checked_mul(MILLION),
        Value::I16(n) => u64::try_from(n).ok()?.checked_mul(MILLION),
        Value::U16(n) => u64::from(n).checked_mul(MILLION),
        Value::I32(n) => u64::try_from(n).ok()?.checked_mul(MILLION),
        Value::U32(n) => u64::from(n).checked_mul(MILLION),
        Value::I64(n) => u64::try_from(n).ok()?.checked_mul(MILLION),
        // systemd's infinity.
        Value::U64(u64::MAX) => Some(u64::MAX),
        Value::U64(n) => n.checked_mul(MILLION),
        Value::F64(n) if (0.0..1e13).contains(&n) => Some((n * 1e6) as u64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn unit(path: &str) -> Result<Unit> {
        Unit::new(Some(path), "c1", "tare", false, None)
    }

    fn annotation(name: &str, text: &str) -> Result<Vec<Property>> {
        let map = HashMap::from([
            (format!("{ANNOTATION}{name}"), text.to_owned()),
            ("org.systemd".to_owned(), "not ours".to_owned()),
        ]);
        Unit::new(None, "c1", "tare", false, Some(&map)).map(|unit| unit.properties)
    }

    #[test]
    fn names_slices_and_paths() {
        for (path, name, slice, cgroup) in [
            ("", "tare-c1.scope", "system.slice", "system.slice/tare-c1.scope"),
            ("system.slice:docker:x", "docker-x.scope", "system.slice", "system.slice/docker-x.scope"),
            (":p:x", "p-x.scope", "system.slice", "system.slice/p-x.scope"),
            ("::x", "-x.scope", "system.slice", "system.slice/-x.scope"),
            ("-.slice:p:x", "p-x.scope", "-.slice", "p-x.scope"),
            ("a-b-c.slice:p:x", "p-x.scope", "a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice/p-x.scope"),
            ("kube.slice::kube-pod.slice", "kube-pod.slice", "kube.slice", "kube.slice/kube-pod.slice"),
            (":p:..", "p-...scope", "system.slice", "system.slice/p-...scope"),
        ] {
            let unit = unit(path).unwrap();
            assert_eq!((unit.name.as_str(), unit.slice.as_str()), (name, slice), "{path}");
            assert_eq!(unit.path(), cgroup);
        }
        let rootless = Unit::new(None, "c1", "runc", true, None).unwrap();
        assert_eq!(rootless.path(), "user.slice/runc-c1.scope");
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for path in [
            "x",
            "a:b",
            "a:b:c:d",
            "/a/b",
            "system.slice:p:",
            "system:p:x",
            ".slice:p:x",
            "a--b.slice:p:x",
            "-a.slice:p:x",
            "a-.slice:p:x",
            "../a.slice:p:x",
            "a/b.slice:p:x",
            "system.slice:../p:x",
            "system.slice:p:a/b",
            "system.slice:p:a+b",
            "system.slice:p:a\nb",
            "system.slice:p:..slice",
            "system.slice:p:a--b.slice",
            "system.slice:.p:x",
        ] {
            let error = unit(path).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{path}");
            assert!(error.to_string().starts_with("linux.cgroupsPath: "), "{error}");
        }
        assert!(unit(&format!("system.slice:p:{}", "x".repeat(247))).is_ok());
        assert!(unit(&format!("system.slice:p:{}", "x".repeat(248))).is_err());
        let error = Unit::new(None, "a+b", "tare", false, None).unwrap_err().to_string();
        assert!(error.starts_with("container id: \"tare-a+b.scope\" has a character"), "{error}");
    }

    #[test]
    fn annotations_are_properties() {
        for (name, text, property, value) in [
            ("CollectMode", "'inactive-or-failed'", "CollectMode", Value::str("inactive-or-failed")),
            ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec", Value::U64(5)),
            ("TimeoutStopSec", "uint64 5", "TimeoutStopUSec", Value::U64(5_000_000)),
            ("TimeoutStopSec", "5", "TimeoutStopUSec", Value::U64(5_000_000)),
            ("TimeoutStopSec", "1.5", "TimeoutStopUSec", Value::U64(1_500_000)),
            ("TimeoutStopSec", "uint64 18446744073709551615", "TimeoutStopUSec", Value::U64(u64::MAX)),
            ("KillSignal", "15", "KillSignal", Value::I32(15)),
            ("After", "['a.service']", "After", Value::strings(["a.service"])),
        ] {
            assert_eq!(annotation(name, text).unwrap(), [(property.to_owned(), value)], "{name}={text}");
        }
    }

    #[test]
    fn wrong_annotations_name_themselves() {
        for (name, text) in [
            ("ab", "1"),
            ("a b c", "1"),
            ("Foo1", "1"),
            ("", "1"),
            ("CollectMode", "inactive"),
            ("TimeoutStopSec", "-1"),
            ("TimeoutStopSec", "'5'"),
            ("TimeoutStopSec", "uint64 18446744073709551614"),
        ] {
            let error = annotation(name, text).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().starts_with(&format!("annotations.{ANNOTATION}{name}: ")), "{error}");
        }
    }

    #[test]
    fn an_annotated_slice_moves_the_cgroup() {
        let map = |text: &str| HashMap::from([(format!("{ANNOTATION}Slice"), text.to_owned())]);
        let unit = Unit::new(Some("system.slice:p:x"), "", "", false, Some(&map("'a-b.slice'"))).unwrap();
        assert_eq!(unit.path(), "a.slice/a-b.slice/p-x.scope");
        assert!(unit.properties.is_empty());
        assert!(Unit::new(Some("system.slice:p:x"), "", "", false, Some(&map("'../b.slice'"))).is_err());
    }
}
