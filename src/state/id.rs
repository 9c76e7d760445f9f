//! The container id: the only text from outside that becomes a file name here.

use crate::bail;
use crate::error::Result;
use std::fmt;

/// The longest container id: it becomes one file name (NAME_MAX).
pub const ID_MAX: usize = 255;

/// A container id that was checked: safe as a single path component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// Accepts one to 255 of `A-Z a-z 0-9 _ + . -`, except `.` and `..`.
    pub fn parse(text: &str) -> Result<ContainerId> {
        let ok = !text.is_empty()
            && text.len() <= ID_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'.' | b'-'))
            && text != "."
            && text != "..";
        if !ok {
            // The first words are what runc says; tools look for them.
            bail!(Usage, "invalid container ID format: {text:?}");
        }
        Ok(ContainerId(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids() {
        for good in ["a", "A_b+c.d-e", "0", ".hidden", "...", "-x", &"x".repeat(255)] {
            assert_eq!(ContainerId::parse(good).unwrap().as_str(), good);
        }
        for bad in
            ["", ".", "..", "a/b", "../x", "a b", "a\n", "é", "a\0", "a,b", "a:b", "*", &"x".repeat(256)]
        {
            let error = ContainerId::parse(bad).unwrap_err();
            assert!(error.to_string().starts_with("invalid container ID format"), "{bad:?}: {error}");
            assert!(!error.to_string().contains('\n'), "{bad:?}");
        }
    }
}
