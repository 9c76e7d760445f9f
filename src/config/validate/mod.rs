//! The judgement over a config that was read: every problem with its meaning, before anything is made.
//!
//! The rules are those of the specification; where it says nothing, runc's, because engines were
//! written against it. Texts that people know from runc are kept inside ours.

mod linux;
mod mounts;
mod namespaces;
mod process;
mod resources;

use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Process, Spec};

use super::access::{HookKind, NamespaceExt, SpecExt};
use super::problems::{Problems, quote};
use super::{Config, OCI_VERSION};
use crate::error::{Error, Kind, Result};
use crate::host::{Facts, Host};

/// What the command line says that decides about a config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The container is started as well (`run`): `process` must be there.
    pub start: bool,
    /// `--systemd-cgroup`: `linux.cgroupsPath` has three parts.
    pub systemd_cgroup: bool,
    /// `--no-pivot`.
    pub no_pivot: bool,
}

/// Judges a config. Returns everything to be logged as a warning, what [`super::load`] found included.
///
/// `found` are the mistakes that those have found who plan what it asks for, each with its JSON path as the outermost
/// words: a user is told all at once.
///
/// The error names all problems in one line. Its kind is `Config`, or `Unsupported` when the document
/// is right but this machine cannot do what it asks for.
pub fn validate(config: &Config, host: &Host, options: &Options, found: Vec<Error>) -> Result<Vec<String>> {
    let mut judge = Judge {
        host,
        options: *options,
        problems: config.problems.clone(),
        warnings: config.warnings.clone(),
    };
    judge.spec(&config.spec);
    found.into_iter().for_each(|error| judge.problems.found(error));
    judge.problems.into_result("config.json")?;
    Ok(judge.warnings)
}

/// The same mistakes as one error, where nothing else is judged.
pub fn refusal(found: Vec<Error>) -> Error {
    let mut problems = Problems::default();
    found.into_iter().for_each(|error| problems.found(error));
    problems.into_result("config.json").err().unwrap_or_else(|| Error::new(Kind::Config, "config.json"))
}

/// Judges a process that was put together from the stored one and the flags of `exec`.
pub fn validate_process(process: &Process, host: &Host) -> Result<Vec<String>> {
    process_document(process, host, Problems::default())
}

pub(super) fn process_document(process: &Process, host: &Host, problems: Problems) -> Result<Vec<String>> {
    let mut judge = Judge { host, options: Options::default(), problems, warnings: Vec::new() };
    judge.process("", process);
    judge.problems.into_result("process")?;
    Ok(judge.warnings)
}

pub(super) fn resources_document(resources: &LinuxResources, problems: Problems) -> Result<Vec<String>> {
    let host = Host::fixed(Facts::default());
    let mut judge = Judge { host: &host, options: Options::default(), problems, warnings: Vec::new() };
    judge.resources("", resources, resources::For::Update);
    judge.problems.into_result("resources")?;
    Ok(judge.warnings)
}

/// One pass over a document.
struct Judge<'a> {
    host: &'a Host,
    options: Options,
    problems: Problems,
    warnings: Vec<String>,
}

impl Judge<'_> {
    fn bad(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.problems.add(path, text);
    }

    fn unsupported(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.problems.unsupported(path, text);
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// Strings that end up in system calls cannot hold a NUL.
    fn no_nul(&mut self, path: impl FnOnce() -> String, text: &str) {
        if text.contains('\0') {
            self.bad(path(), "contains a nul byte (\\x00)");
        }
    }

    /// To setresuid(2), setgroups(2) and chown(2) the highest number says "leave it as it is", which is root's.
    fn id(&mut self, path: impl FnOnce() -> String, id: u32) {
        if id == u32::MAX {
            self.bad(path(), format!("{id} is not an id"));
        }
    }

    fn absolute(&mut self, path: impl Fn() -> String, text: &str) {
        if text.is_empty() {
            self.bad(path(), "must not be empty");
        } else if !text.starts_with('/') {
            self.bad(path(), format!("must be an absolute path, not {}", quote(text)));
        }
        self.no_nul(path, text);
    }

    fn spec(&mut self, spec: &Spec) {
        self.version(spec.version());
        match spec.root() {
            None => self.bad("root", "must be specified"),
            Some(root) => {
                let path = root.path().to_string_lossy();
                if path.is_empty() {
                    self.bad("root.path", "must not be empty");
                }
                self.no_nul(|| "root.path".into(), &path);
            }
        }
        match spec.process() {
            Some(process) => {
                self.process("process.", process);
                if let Some(caps) =
                    process.capabilities().as_ref().filter(|_| !has(spec, LinuxNamespaceType::User))
                {
                    self.grantable(caps);
                }
            }
            None if self.options.start => self.bad("process", "must be specified to start the container"),
            None => {}
        }
        self.hostname(spec);
        self.mounts(spec);
        self.hooks(spec);
        if spec.annotations().as_ref().is_some_and(|map| map.contains_key("")) {
            self.bad("annotations[\"\"]", "a key must not be empty");
        }
        self.linux(spec);
    }

    fn version(&mut self, text: &str) {
        match major(text) {
            _ if text.is_empty() => self.bad("ociVersion", "must be specified"),
            None => self.bad("ociVersion", format!("{} is not a version such as {OCI_VERSION}", quote(text))),
            Some(1) => {}
            Some(_) => self.bad("ociVersion", format!("{} is not supported, only version 1 is", quote(text))),
        }
    }

    fn hostname(&mut self, spec: &Spec) {
        let has_uts = has(spec, LinuxNamespaceType::Uts) || self.problems.spoiled("linux.namespaces");
        for (key, name) in [("hostname", spec.host_name()), ("domainname", spec.domain_name())] {
            let Some(name) = name else { continue };
            if !has_uts {
                self.bad(key, format!("unable to set {key} without a private UTS namespace"));
            }
            // __NEW_UTS_LEN of the kernel.
            if name.len() > 64 {
                self.bad(key, "longer than 64 bytes");
            }
            self.no_nul(|| key.into(), name);
        }
    }

    fn hooks(&mut self, spec: &Spec) {
        for kind in HookKind::ALL {
            for (i, hook) in spec.hook_list(kind).iter().enumerate() {
                let at = |key: &str| format!("hooks.{}[{i}].{key}", kind.name());
                self.absolute(|| at("path"), &hook.path().to_string_lossy());
                if let Some(timeout) = hook.timeout().filter(|seconds| *seconds <= 0) {
                    self.bad(at("timeout"), format!("must be greater than zero, not {timeout}"));
                }
                for (key, list) in [("args", hook.args()), ("env", hook.env())] {
                    for (j, text) in list.iter().flatten().enumerate() {
                        self.no_nul(|| format!("{}[{j}]", at(key)), text);
                    }
                }
            }
        }
    }
}

/// Joined by path or made new: does the container have its own namespace of this type?
fn has(spec: &Spec, typ: LinuxNamespaceType) -> bool {
    spec.namespace(typ).is_some()
}

/// The path of a namespace of this type that is joined.
fn joined(spec: &Spec, typ: LinuxNamespaceType) -> Option<&Path> {
    spec.namespace(typ)?.joined_path()
}

/// The major number of a version in SemVer 2.0 form.
fn major(text: &str) -> Option<u64> {
    let (text, build) = text.split_once('+').map_or((text, None), |(t, b)| (t, Some(b)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(t, p)| (t, Some(p)));
    let number = |part: &str| match part.as_bytes() {
        [b'0', _, ..] | [] => None,
        digits if digits.iter().all(u8::is_ascii_digit) => part.parse::<u64>().ok(),
        _ => None,
    };
    let labels = |labels: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        labels.split('.').all(|label| !label.is_empty() && label.bytes().all(plain))
    };
    let numbers: Option<Vec<u64>> = core.split('.').map(number).collect();
    match numbers?.as_slice() {
        &[major, _, _] if pre.is_none_or(labels) && build.is_none_or(labels) => Some(major),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, want) in [
            ("1.0.0", Some(1)),
            ("1.0.2-dev", Some(1)),
            ("1.3.0+dev", Some(1)),
            ("1.0.0-rc5-dev+a.b", Some(1)),
            ("2.0.0", Some(2)),
            ("0.5.0", Some(0)),
            ("invalid", None),
            ("", None),
            ("1", None),
            ("1.0", None),
            ("1.0.0.0", None),
            ("v1.0.0", None),
            ("01.0.0", None),
            ("1.0.x", None),
            ("1.0.0-", None),
            ("1.0.0-a..b", None),
            ("1.0.0+", None),
            (" 1.0.0", None),
            ("99999999999999999999.0.0", None),
        ] {
            assert_eq!(major(text), want, "{text:?}");
        }
    }
}
