//! The list of everything that is wrong with a document, kept by JSON path and told in one line.

use crate::error::{Error, Kind, Result};

/// How many problems a message spells out; the rest is only counted.
const SHOWN: usize = 40;

/// One mistake: where, what, and whether the document or the machine is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    path: String,
    text: String,
    unsupported: bool,
}

/// Everything found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    /// The first so many are mistakes of form (types, missing keys). What the judgement then says
    /// about the same place would only repeat them.
    formal: usize,
}

impl Problems {
    /// A mistake in the document.
    pub(crate) fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.push(path.into(), text.into(), false);
    }

    /// Something this machine cannot do.
    pub(crate) fn unsupported(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.push(path.into(), text.into(), true);
    }

    /// What others have found, by the JSON path in front of it; unless something is known about that place already.
    pub(crate) fn found(&mut self, error: Error) {
        let unsupported = error.kind() == Kind::Unsupported;
        let (path, text) = error.split();
        if !self.list.iter().any(|problem| related(&problem.path, &path)) {
            self.list.push(Problem { path, text, unsupported });
        }
    }

    fn push(&mut self, path: String, text: String, unsupported: bool) {
        if !self.list[..self.formal].iter().any(|p| related(&p.path, &path)) {
            self.list.push(Problem { path, text, unsupported });
        }
    }

    /// From here on the form has been read; only its meaning is judged.
    pub(crate) fn end_of_form(&mut self) {
        self.formal = self.list.len();
    }

    /// Is there a mistake of form at, below or above `path`? Then conclusions from it are worthless.
    pub(crate) fn spoiled(&self, path: &str) -> bool {
        self.list[..self.formal].iter().any(|p| related(&p.path, path))
    }

    /// `Ok` when nothing is wrong, else all of it as one line that starts with `document`.
    pub(crate) fn into_result(self, document: &str) -> Result<()> {
        if self.list.is_empty() {
            return Ok(());
        }
        let kind = if self.list.iter().all(|p| p.unsupported) { Kind::Unsupported } else { Kind::Config };
        let count = self.list.len();
        let mut line =
            if count == 1 { format!("{document}: ") } else { format!("{document}: {count} problems: ") };
        for (i, problem) in self.list.iter().take(SHOWN).enumerate() {
            if i > 0 {
                line.push_str("; ");
            }
            if !problem.path.is_empty() {
                line.push_str(&problem.path);
                line.push_str(": ");
            }
            line.push_str(&problem.text);
        }
        if count > SHOWN {
            line.push_str(&format!("; and {} more", count - SHOWN));
        }
        Err(Error::new(kind, line))
    }

    #[cfg(test)]
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.list.iter().map(|p| p.path.as_str()).collect()
    }
}

/// Is one of the two paths the other, or inside it?
fn related(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short)
        .is_some_and(|rest| short.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

/// `path` with the member `key` of an object behind it: `.key`, or `["key"]` for a key with other
/// characters than names have (sysctls, annotations).
pub(crate) fn member(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{}]", quote(key)),
    }
}

/// Text in quotes on one line, cut when it is long, as messages show what they found.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        format!("{text:?}")
    } else {
        let start: String = text.chars().take(LONGEST).collect();
        format!("{start:?}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_plainly_several_are_counted() {
        let mut p = Problems::default();
        assert!(p.clone().into_result("config.json").is_ok());
        p.add("process.cwd", "must be absolute");
        assert_eq!(
            p.clone().into_result("config.json").unwrap_err().to_string(),
            "config.json: process.cwd: must be absolute"
        );
        p.add("root", "must be specified");
        assert_eq!(
            p.into_result("config.json").unwrap_err().to_string(),
            "config.json: 2 problems: process.cwd: must be absolute; root: must be specified"
        );
    }

    #[test]
    fn the_machine_is_to_blame_only_when_nothing_else_is() {
        let mut p = Problems::default();
        p.unsupported("a", "x");
        assert_eq!(p.clone().into_result("d").unwrap_err().kind(), Kind::Unsupported);
        p.add("b", "y");
        assert_eq!(p.into_result("d").unwrap_err().kind(), Kind::Config);
    }

    #[test]
    fn judgement_does_not_repeat_form() {
        let mut p = Problems::default();
        p.add("mounts[1].options", "expected an array");
        p.add("mounts[1].options", "twice in the form is kept");
        p.end_of_form();
        p.add("mounts[1]", "no");
        p.add("mounts[1].options[2]", "no");
        p.add("mounts[10].options", "yes");
        p.add("mounts[10].options", "yes, twice");
        assert_eq!(
            p.paths(),
            ["mounts[1].options", "mounts[1].options", "mounts[10].options", "mounts[10].options"]
        );
        assert!(p.spoiled("mounts") && p.spoiled("mounts[1].options[0]"));
        assert!(!p.spoiled("mounts[10]") && !p.spoiled("mount"));
    }

    #[test]
    fn what_others_find_is_told_once_and_in_the_same_words() {
        let found = |path: &'static str| Error::new(Kind::Unsupported, "theirs").context(path);
        let mut p = Problems::default();
        p.add("linux.cgroupsPath", "ours");
        p.found(found("linux.cgroupsPath"));
        p.found(found("linux.seccomp.flags[0]"));
        p.found(found("linux.seccomp.flags[0]"));
        let error = p.into_result("config.json").unwrap_err();
        let want = "config.json: 2 problems: linux.cgroupsPath: ours; linux.seccomp.flags[0]: theirs";
        assert_eq!((error.to_string().as_str(), error.kind()), (want, Kind::Config));
    }

    #[test]
    fn many_are_cut() {
        let mut p = Problems::default();
        for i in 0..100 {
            p.add(format!("x[{i}]"), "bad");
        }
        let line = p.into_result("d").unwrap_err().to_string();
        assert!(line.starts_with("d: 100 problems: ") && line.ends_with("; and 60 more"), "{line}");
    }

    #[test]
    fn paths_and_quotes_stay_on_one_line() {
        assert_eq!(member("", "process"), "process");
        assert_eq!(member("linux", "sysctl"), "linux.sysctl");
        assert_eq!(member("linux.sysctl", "net.ipv4.x"), "linux.sysctl[\"net.ipv4.x\"]");
        assert_eq!(member("annotations", "a\nb"), "annotations[\"a\\nb\"]");
        assert_eq!(quote("a\nb"), "\"a\\nb\"");
        assert_eq!(quote(&"é".repeat(100)).chars().count(), 63);
    }
}
