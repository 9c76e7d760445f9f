//! The second, slower reading: over a [`Value`], against the [schema](super::schema).
//!
//! It is needed when the direct reading failed, to name all mistakes of form at once, and where
//! oci-spec 0.10 reads less than the specification allows or Go's decoder accepts:
//! - Go writes `null` for an empty slice or map and reads it as "not given", everywhere;
//! - an unknown capability must be a warning (config.md), in oci-spec it is an error, or, written `chown`, known;
//! - two scheduler flags have other names there; lists of CPUs may be empty or have spaces;
//! - `pids: {}` and devices without numbers are told from explicit zeros; `user` may be left out;
//! - a repeated key is an error there, for Go the last one counts;
//! - a key in other case is another key there, for Go the same, and half a surrogate pair is a character;
//! - keys for other platforms (`windows`, `vm` …) must not stop a container for this one.

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxSchedulerFlag, Process, Spec};
use serde_json::{Map, Value};

use super::capability;
use super::problems::{Problems, member, quote};
use super::schema::{Field, Need, SCHED_FLAGS, Type};

/// Has the direct reading perhaps lost something that only the second one can see? Asks only for
/// values that are rare, so that ordinary configs are parsed once.
pub(super) fn spec_needs_second_look(spec: &Spec, raw: &str) -> bool {
    let no_numbers = |d: &LinuxDevice| d.typ() != LinuxDeviceType::P && (d.major() == 0 || d.minor() == 0);
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|l| l.resources().as_ref());
    let huge = resources.and_then(|r| r.hugepage_limits().as_ref());
    // What must be there is perhaps there in other case.
    spec.version().is_empty()
        || spec.root().as_ref().is_none_or(|root| root.path().as_os_str().is_empty())
        || huge.is_some_and(|list| list.iter().any(|huge| huge.page_size().is_empty()))
        || spec.process().as_ref().is_some_and(|process| process_needs_second_look(process, raw))
        || resources.and_then(|r| r.pids().as_ref()).is_some_and(|p| p.limit() == 0)
        || linux.and_then(|l| l.devices().as_ref()).is_some_and(|list| list.iter().any(no_numbers))
}

/// The same for a process: limits that may be missing instead of 0, and a flag under a name that
/// is not the kernel's.
pub(super) fn process_needs_second_look(process: &Process, raw: &str) -> bool {
    process.args().as_ref().is_none_or(Vec::is_empty)
        || process.cwd().as_os_str().is_empty()
        || process.io_priority().is_some()
        || (process.capabilities().is_some() && has_odd_capabilities(raw))
        || process.rlimits().as_ref().is_some_and(|list| list.iter().any(|r| r.hard() == 0 || r.soft() == 0))
        || process
            .scheduler()
            .as_ref()
            .and_then(|s| s.flags().as_ref())
            .is_some_and(|flags| flags.contains(&LinuxSchedulerFlag::SchedResetOnFork))
}

/// May a capability be written in another way than [`capability::parse`] takes? A scan of the text behind each such key: oci-spec
/// has forgotten how it was written. What else may stand there costs a second look, and no more.
fn has_odd_capabilities(text: &str) -> bool {
    let mut objects = text.split("\"capabilities\"").skip(1).peekable();
    let odd_in = |object: &str| {
        let strings = object.split('}').next().unwrap_or_default().split('"').skip(1).step_by(2);
        let mut names = strings.filter(|string| !CAPABILITY_SETS.contains(string));
        names.any(|name| capability::parse(name).is_none())
    };
    objects.peek().is_none() || objects.any(odd_in)
}

const CAPABILITY_SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];

/// The walk over a document.
pub(super) struct Mender<'a> {
    pub(super) problems: &'a mut Problems,
    pub(super) warnings: &'a mut Vec<String>,
}

impl Mender<'_> {
    /// Makes `value` fit `ty`: afterwards oci-spec can read it. What does not fit is reported and
    /// replaced by something harmless, so that the judgement can go on to everything else.
    pub(super) fn walk(&mut self, path: &str, value: &mut Value, ty: &Type) {
        match (ty, &mut *value) {
            (Type::Str, Value::String(_)) | (Type::Bool, Value::Bool(_)) => {}
            (Type::Int(low, high), Value::Number(number)) => {
                if !number.as_i128().is_some_and(|n| (*low..=*high).contains(&n)) {
                    self.wrong(path, value, ty);
                }
            }
            (Type::Limit, Value::Number(number)) => match number.as_u64() {
                Some(n) if i64::try_from(n).is_err() => *value = Value::from(i64::MAX),
                Some(_) => {}
                None => self.wrong(path, value, ty),
            },
            (Type::Enum(names) | Type::EnumOrEmpty(names), Value::String(text)) => {
                if text.is_empty() && matches!(ty, Type::EnumOrEmpty(_)) {
                    *value = Value::Null;
                } else if !names.contains(&text.as_str()) {
                    self.problems.add(path, unknown(text, names));
                    *value = placeholder(ty);
                }
            }
            (Type::SchedFlag, Value::String(text)) => {
                match SCHED_FLAGS.iter().find(|(kernel, _)| kernel == text) {
                    Some((_, oci)) => *value = Value::from(*oci),
                    None => {
                        let names: Vec<&str> = SCHED_FLAGS.iter().map(|(kernel, _)| *kernel).collect();
                        self.problems.add(path, unknown(text, &names));
                        *value = placeholder(ty);
                    }
                }
            }
            (Type::Capability, Value::String(text)) => {
                if capability::parse(text).is_none() {
                    self.warnings.push(format!("{path}: unknown capability {} ignored", quote(text)));
                    *value = Value::Null;
                }
            }
            (Type::CpuList, Value::String(text)) => match super::cpu_list(text) {
                Ok(ranges) if ranges.is_empty() => *value = Value::Null,
                Ok(ranges) => *value = Value::from(super::cpu_list_text(&ranges)),
                Err(why) => {
                    self.problems.add(path, why);
                    *value = Value::Null;
                }
            },
            (Type::Object(fields), Value::Object(object)) => self.object(path, object, fields),
            (Type::Array(inner), Value::Array(list)) => {
                for (i, item) in list.iter_mut().enumerate() {
                    if item.is_null() {
                        *item = empty(inner);
                    }
                    self.walk(&format!("{path}[{i}]"), item, inner);
                }
                if matches!(inner, Type::Capability) {
                    list.retain(|item| !item.is_null());
                }
            }
            (Type::Map(inner), Value::Object(object)) => {
                for (key, item) in object.iter_mut() {
                    if item.is_null() {
                        *item = empty(inner);
                    }
                    self.walk(&member(path, key), item, inner);
                }
            }
            _ => self.wrong(path, value, ty),
        }
    }

    fn object(&mut self, path: &str, object: &mut Map<String, Value>, fields: &[Field]) {
        // Only what we know is left: what others say about their platforms is none of our business.
        let mut known = Map::new();
        for field in fields {
            match take(object, field.name) {
                None | Some(Value::Null) => match field.need {
                    Need::Optional => {}
                    Need::Filled => {
                        known.insert(field.name.to_owned(), placeholder(&field.ty));
                    }
                    Need::Required => {
                        self.problems.add(member(path, field.name), "must be specified");
                        known.insert(field.name.to_owned(), placeholder(&field.ty));
                    }
                },
                Some(mut value) => {
                    self.walk(&member(path, field.name), &mut value, &field.ty);
                    known.insert(field.name.to_owned(), value);
                }
            }
        }
        *object = known;
    }

    fn wrong(&mut self, path: &str, value: &mut Value, ty: &Type) {
        self.problems.add(path, format!("expected {}, found {}", expected(ty), found(value)));
        *value = placeholder(ty);
    }

    /// What the table cannot say about config.json: a device needs its numbers unless it is a FIFO.
    pub(super) fn device_numbers(&mut self, spec: &Value) {
        let devices = spec.pointer("/linux/devices").and_then(Value::as_array);
        for (i, device) in devices.into_iter().flatten().enumerate() {
            if matches!(device.get("type").and_then(Value::as_str), Some("b" | "c" | "u")) {
                for key in ["major", "minor"] {
                    if device.get(key).is_none_or(Value::is_null) {
                        let path = format!("linux.devices[{i}].{key}");
                        self.problems.add(path, "must be specified for a device that is not a FIFO");
                    }
                }
            }
        }
    }
}

/// The member of this name, or else one whose name differs in case alone: Go's decoder takes either.
fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    if let Some(exact) = object.remove(name) {
        return Some(exact);
    }
    let other = object.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
    object.remove(&other?)
}

/// Half a pair of surrogates, `\ud800`, names no character; Go's decoder puts U+FFFD in its place, serde_json refuses it.
pub(super) fn replace_lone_surrogates(text: &mut String) {
    let mut at = 0;
    while let Some(next) = text[at..].find('\\').map(|found| at + found) {
        let unit = |at: usize| {
            let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
            u16::from_str_radix(digits, 16).ok()
        };
        at = match (unit(next), unit(next + 6)) {
            (None, _) => next + 2,
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => next + 12,
            (Some(0xd800..0xe000), _) => {
                text.replace_range(next..next + 6, "\\ufffd");
                next + 6
            }
            (Some(_), _) => next + 6,
        };
        // Behind a backslash at the end, or before the rest of a character: neither is JSON.
        if !text.is_char_boundary(at) {
            return;
        }
    }
}

/// `pids: {}` says nothing about pids; oci-spec would make it a limit of 0.
pub(super) fn drop_empty_pids(resources: Option<&mut Value>) {
    if let Some(Value::Object(resources)) = resources
        && resources.get("pids").is_some_and(|pids| pids.get("limit").is_none())
    {
        resources.remove("pids");
    }
}

/// What Go's decoder makes of a `null` inside an array or a map.
fn empty(ty: &Type) -> Value {
    match ty {
        Type::Object(_) => Value::Object(Map::new()),
        // An empty string is a capability as unknown as any.
        Type::Capability => Value::from(""),
        other => placeholder(other),
    }
}

/// A harmless value of this type, which oci-spec can read.
fn placeholder(ty: &Type) -> Value {
    match ty {
        Type::Str => Value::from(""),
        Type::Bool => Value::from(false),
        Type::Int(..) | Type::Limit => Value::from(0),
        Type::Enum(names) => Value::from(names.first().copied().unwrap_or_default()),
        Type::SchedFlag => Value::from(SCHED_FLAGS[0].1),
        Type::EnumOrEmpty(_) | Type::Capability | Type::CpuList => Value::Null,
        Type::Array(_) => Value::Array(Vec::new()),
        Type::Map(_) => Value::Object(Map::new()),
        Type::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|field| field.need != Need::Optional)
                .map(|field| (field.name.to_owned(), placeholder(&field.ty)))
                .collect(),
        ),
    }
}

fn unknown(text: &str, names: &[&str]) -> String {
    const FEW: usize = 9;
    let text = quote(text);
    if names.len() <= FEW {
        format!("unknown value {text}, expected one of {}", names.join(", "))
    } else {
        format!("unknown value {text}")
    }
}

fn expected(ty: &Type) -> String {
    let text = match ty {
        Type::Str
        | Type::Enum(_)
        | Type::EnumOrEmpty(_)
        | Type::SchedFlag
        | Type::Capability
        | Type::CpuList => "a string",
        Type::Bool => "true or false",
        Type::Limit => "an unsigned 64-bit number",
        Type::Object(_) | Type::Map(_) => "an object",
        Type::Array(_) => "an array",
        Type::Int(low, high) => {
            let sign = if *low == 0 { "an unsigned" } else { "a" };
            let bits = i128::BITS - (high - low).leading_zeros();
            return format!("{sign} {bits}-bit number");
        }
    };
    text.to_owned()
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => format!("{b}"),
        Value::Number(n) => format!("number {n}"),
        Value::String(text) => format!("string {}", quote(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
