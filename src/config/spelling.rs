//! Keys that differ from one of the specification's only in the case of letters.
//!
//! Go's decoder, and with it runc, takes a key in any case; for JSON and the specification such a key is an unknown one, to
//! be ignored. So this is asked only when something else is wrong, which may well be for the want of that key.

use serde_json::Value;

use super::problems::member;
use super::schema::{SPEC, Type};

/// The paths of such keys in a config.json, each with the name that was perhaps meant.
pub(super) fn in_another_case(raw: &[u8]) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_slice(raw) {
        look("", &value, &SPEC, &mut found);
    }
    found
}

fn look(path: &str, value: &Value, ty: &Type, found: &mut Vec<(String, &'static str)>) {
    match (ty, value) {
        (Type::Object(fields), Value::Object(object)) => {
            for (key, value) in object {
                let is_meant = |name: &str| name.eq_ignore_ascii_case(key) && !object.contains_key(name);
                if let Some(field) = fields.iter().find(|field| field.name == key) {
                    look(&member(path, key), value, &field.ty, found);
                } else if let Some(field) = fields.iter().find(|field| is_meant(field.name)) {
                    found.push((member(path, key), field.name));
                }
            }
        }
        (Type::Array(inner), Value::Array(list)) => {
            for (i, item) in list.iter().enumerate() {
                look(&format!("{path}[{i}]"), item, inner, found);
            }
        }
        (Type::Map(inner), Value::Object(object)) => {
            for (key, item) in object {
                look(&member(path, key), item, inner, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_another_case_are_found_and_others_are_not() {
        let raw = br#"{"ociversion": "1", "Process": {}, "process": {"Cwd": "/", "x": 1}, "annotations": {"A": "b"},
            "linux": {"resources": {"hugepageLimits": [{"limit": 1}, {"pagesize": "2MB"}]}}}"#;
        let mut found = in_another_case(raw);
        found.sort();
        let wanted = [
            ("linux.resources.hugepageLimits[1].pagesize", "pageSize"),
            ("ociversion", "ociVersion"),
            ("process.Cwd", "cwd"),
        ];
        assert_eq!(found, wanted.map(|(path, name)| (path.to_owned(), name)));
        assert!(in_another_case(b"{").is_empty());
    }
}
