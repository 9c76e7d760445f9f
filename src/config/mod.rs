//! Reading config.json, and judging it before anything is made.
//!
//! [`load`] reads a bundle's config.json into oci-spec's types; [`validate`] names everything that is
//! wrong with it, at once, each by its JSON path. The ordinary config is parsed once, directly; only
//! one that oci-spec cannot read, or where it is known to lose something, is read a second time over
//! a `Value` (see [`mend`]), which finds all mistakes of form.
//!
//! Nothing here touches namespaces or files other than the document itself; facts about the machine
//! come from [`crate::host::Host`].

mod access;
pub mod capability;
pub mod default_spec;
mod mend;
pub mod mount_options;
mod problems;
mod schema;
pub mod sysctl;
mod validate;

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::RangeInclusive;
use std::path::Path;

use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use access::{DeviceExt, HookKind, MountExt, NamespaceExt, ProcessExt, SpecExt};
pub use validate::{Options, refusal, validate, validate_process};

use crate::bail;
use crate::error::{Context, Error, Kind, Result};
use crate::host::Host;
use mend::Mender;
use problems::{Problems, quote};
use schema::Type;

/// The newest version of the runtime specification that we follow.
pub const OCI_VERSION: &str = "1.3.0";

/// Longest document that is read, in bytes. A config of a real engine has a few ten thousand.
pub const MAX_SIZE: u64 = 16 << 20;

/// A config.json that was read, but not judged yet: see [`validate`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Its content.
    pub spec: Spec,
    /// The text it was read from; what was no text in it is replaced as Go's decoder does.
    pub raw: String,
    /// What had to be ignored; [`validate`] returns these again, with its own.
    pub warnings: Vec<String>,
    /// Mistakes of form. The places are filled with harmless values in `spec`, so a config that
    /// has some must never be used; [`validate`] sees to that.
    problems: Problems,
}

/// Reads `file`, or config.json in `bundle`.
///
/// Mistakes of form are kept for [`validate`], which every user of a new config has to call.
/// Errors: [`Kind::System`] when it cannot be read, [`Kind::Config`] when it is not a JSON object.
pub fn load(bundle: &Path, file: Option<&Path>) -> Result<Config> {
    let path = match file {
        Some(file) => Cow::Borrowed(file),
        None => Cow::Owned(bundle.join("config.json")),
    };
    let raw = match File::open(&path) {
        Ok(open) => read_bounded(open, &path)?,
        Err(error) => return Err(explain_open(bundle, file, &path, error)),
    };
    from_slice(raw).with_context(|| format!("parse {}", path.display()))
}

/// Reads a config from bytes, such as the copy that the store keeps.
pub fn from_slice(raw: Vec<u8>) -> Result<Config> {
    let (mut problems, mut warnings) = (Problems::default(), Vec::new());
    let mut raw = text(raw);
    let again = mend::spec_needs_second_look;
    let spec = read(&mut raw, &schema::SPEC, &mut problems, &mut warnings, again)?;
    Ok(Config { spec, raw, warnings, problems })
}

/// Reads and judges the document of `exec --process`. Returns what has to be logged beside it.
pub fn process_from_slice(raw: &[u8], host: &Host) -> Result<(Process, Vec<String>)> {
    let (mut problems, mut warnings) = (Problems::default(), Vec::new());
    let (mut raw, again) = (text(raw.to_vec()), mend::process_needs_second_look);
    let process =
        read(&mut raw, &schema::PROCESS, &mut problems, &mut warnings, again).context("parse process")?;
    warnings.extend(validate::process_document(&process, host, problems)?);
    Ok((process, warnings))
}

/// Reads and judges the document of `update --resources`. Returns what has to be logged beside it.
pub fn resources_from_slice(raw: &[u8]) -> Result<(LinuxResources, Vec<String>)> {
    let (mut problems, mut warnings) = (Problems::default(), Vec::new());
    let no_limit = |r: &LinuxResources, _: &str| r.pids().as_ref().is_some_and(|p| p.limit() == 0);
    let mut raw = text(raw.to_vec());
    let resources = read(&mut raw, &schema::RESOURCES, &mut problems, &mut warnings, no_limit)
        .context("parse resources")?;
    warnings.extend(validate::resources_document(&resources, problems)?);
    Ok((resources, warnings))
}

/// A document as text. Go's decoder puts U+FFFD in the place of bytes that are no UTF-8.
fn text(raw: Vec<u8>) -> String {
    String::from_utf8(raw).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// One parse, or the second look when it is needed.
fn read<T: DeserializeOwned>(
    raw: &mut String,
    ty: &Type,
    problems: &mut Problems,
    warnings: &mut Vec<String>,
    needs_second_look: impl Fn(&T, &str) -> bool,
) -> Result<T> {
    // serde reads an array as a struct, too; at the top that is never meant.
    match raw.bytes().find(|b| !b.is_ascii_whitespace()) {
        None => bail!(Config, "the file is empty"),
        Some(b'{') => {}
        Some(_) => bail!(Config, "not a JSON object"),
    }
    match serde_json::from_str::<T>(raw) {
        Ok(document) if !needs_second_look(&document, raw) => return Ok(document),
        Err(error) if error.is_eof() => return Err(not_json(&error)),
        // serde_json also says "syntax" of a number where an enum's name should be.
        _ => {}
    }
    mend::replace_lone_surrogates(raw);
    let mut value: Value = serde_json::from_str(raw).map_err(|error| not_json(&error))?;
    let mut mender = Mender { problems, warnings };
    mender.walk("", &mut value, ty);
    mender.device_numbers(&value);
    mend::drop_empty_pids(value.pointer_mut("/linux/resources"));
    mend::drop_empty_pids(Some(&mut value));
    problems.end_of_form();
    // Cannot fail as long as the table fits oci-spec; a test mutates every node to see to that. As text once more, since the
    // code that reads it from a tree, or from bytes, is as much again as all that reads text: 0.2 MB.
    let mended = serde_json::to_string(&value).unwrap_or_default();
    serde_json::from_str(&mended).map_err(|error| Error::new(Kind::Config, error.to_string()))
}

fn not_json(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    if error.is_eof() {
        return Error::new(
            Kind::Config,
            format!("unexpected end of JSON input (line {line}, column {column})"),
        );
    }
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    Error::new(Kind::Config, format!("invalid JSON: {what} (line {line}, column {column})"))
}

fn read_bounded(file: File, path: &Path) -> Result<Vec<u8>> {
    let size = file.metadata().map(|meta| meta.len()).unwrap_or(0);
    // One byte more than it has, so that the end is seen without growing the buffer.
    let mut raw = Vec::with_capacity(size.min(MAX_SIZE) as usize + 1);
    if size <= MAX_SIZE {
        // A pipe tells no size. A file does, and its end need not be looked for.
        let most = if size == 0 { MAX_SIZE + 1 } else { size };
        file.take(most).read_to_end(&mut raw).with_context(|| format!("read {}", path.display()))?;
    }
    if size > MAX_SIZE || raw.len() as u64 > MAX_SIZE {
        bail!(Config, "read {}: larger than {} MiB", path.display(), MAX_SIZE >> 20);
    }
    Ok(raw)
}

/// Tells a missing bundle from a missing file, in runc's words.
fn explain_open(bundle: &Path, file: Option<&Path>, path: &Path, error: std::io::Error) -> Error {
    let name = file.map_or(Cow::Borrowed("config.json"), Path::to_string_lossy);
    let missing = error.kind() == ErrorKind::NotFound;
    let what = match bundle.metadata() {
        Err(error) if file.is_none() => return from_io(error, format!("bundle {}", bundle.display())),
        _ if missing => Error::new(Kind::Config, format!("JSON specification file {name} not found")),
        _ => from_io(error, format!("open {}", path.display())),
    };
    if file.is_none() { what.context(format!("bundle {}", bundle.display())) } else { what }
}

fn from_io(error: std::io::Error, what: String) -> Error {
    match Err::<(), _>(error).context(what) {
        Err(error) => error,
        Ok(()) => Error::new(Kind::System, ""),
    }
}

/// The ranges of a list such as `0-3,7`. Spaces and empty elements are allowed, as runc and the
/// kernel do; the empty list is "not given".
pub fn cpu_list(text: &str) -> Result<Vec<RangeInclusive<u32>>, String> {
    /// More than any kernel is built for; keeps a typing mistake from becoming a large mask.
    const HIGHEST: u32 = 65_535;
    let wrong = || format!("{} is not a list of numbers such as 0-3,7", quote(text));
    let number = |digits: &str| match digits.parse::<u32>() {
        Ok(n) if n <= HIGHEST && !digits.starts_with('+') => Ok(n),
        _ => Err(wrong()),
    };
    let mut ranges = Vec::new();
    for element in text.split(',').map(str::trim).filter(|element| !element.is_empty()) {
        let (first, last) = match element.split_once('-') {
            Some((first, last)) => (number(first.trim())?, number(last.trim())?),
            None => (number(element)?, number(element)?),
        };
        if first > last {
            return Err(format!("range {element} in {} runs backwards", quote(text)));
        }
        ranges.push(first..=last);
    }
    Ok(ranges)
}

/// The reverse of [`cpu_list`], without spaces.
fn cpu_list_text(ranges: &[RangeInclusive<u32>]) -> String {
    let element = |r: &RangeInclusive<u32>| match (r.start(), r.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    ranges.iter().map(element).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
