//! Which devices a container may use: the rules of config.json in their order, then runc's defaults.
//!
//! The meaning, the same for both dialects: for every access asked for, the *last* rule that matches the
//! device and has that access decides; if none does, [`Devices::allow`] does.

use super::wrong;
use crate::error::{Error, Kind, Result};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};
use std::fmt::{self, Write as _};

/// The type of device a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// Both.
    Any,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// A set of accesses: the bits of the kernel's `BPF_DEVCG_ACC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub u8);

impl Access {
    /// mknod.
    pub const MKNOD: Access = Access(1);
    /// Open for reading.
    pub const READ: Access = Access(2);
    /// Open for writing.
    pub const WRITE: Access = Access(4);
    /// All three.
    pub const ALL: Access = Access(7);

    fn parse(text: &str) -> Option<Access> {
        let mut bits = 0;
        for c in text.bytes() {
            bits |= match c {
                b'r' => Access::READ.0,
                b'w' => Access::WRITE.0,
                b'm' => Access::MKNOD.0,
                _ => return None,
            };
        }
        (bits != 0).then_some(Access(bits))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Access::READ, 'r'), (Access::WRITE, 'w'), (Access::MKNOD, 'm')] {
            if self.0 & bit.0 != 0 {
                f.write_char(letter)?;
            }
        }
        Ok(())
    }
}

/// One rule. `None` as a number stands for every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allowed or denied.
    pub allow: bool,
    /// Character, block or both.
    pub kind: DeviceKind,
    /// The major number.
    pub major: Option<u32>,
    /// The minor number.
    pub minor: Option<u32>,
    /// Which accesses.
    pub access: Access,
}

/// The whole policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// What holds where no rule matches. False unless config.json allows everything.
    pub allow: bool,
    /// In order; a later rule wins.
    pub rules: Vec<DeviceRule>,
}

/// runc 1.5's `AllowedDevices`, with the node each rule belongs to. They come after the rules of the
/// configuration, so they cannot be taken away: images and engines have come to rely on it.
const DEFAULTS: [(&str, DeviceRule); 11] = [
    ("", rule(DeviceKind::Char, None, None, Access::MKNOD)),
    ("", rule(DeviceKind::Block, None, None, Access::MKNOD)),
    ("/dev/null", rule(DeviceKind::Char, Some(1), Some(3), Access::ALL)),
    ("/dev/random", rule(DeviceKind::Char, Some(1), Some(8), Access::ALL)),
    ("/dev/full", rule(DeviceKind::Char, Some(1), Some(7), Access::ALL)),
    ("/dev/tty", rule(DeviceKind::Char, Some(5), Some(0), Access::ALL)),
    ("/dev/zero", rule(DeviceKind::Char, Some(1), Some(5), Access::ALL)),
    ("/dev/urandom", rule(DeviceKind::Char, Some(1), Some(9), Access::ALL)),
    // The slaves of every devpts; /dev/console of a container is one of them.
    ("", rule(DeviceKind::Char, Some(136), None, Access::ALL)),
    ("", rule(DeviceKind::Char, Some(5), Some(2), Access::ALL)),
    // /dev/net/tun: runc 1.2.0 took it out and 1.2.4 had to put it back (VPN containers that mknod it).
    ("", rule(DeviceKind::Char, Some(10), Some(200), Access::ALL)),
];

const fn rule(kind: DeviceKind, major: Option<u32>, minor: Option<u32>, access: Access) -> DeviceRule {
    DeviceRule { allow: true, kind, major, minor, access }
}

impl Devices {
    pub(super) fn new(
        given: Option<&[LinuxDeviceCgroup]>,
        nodes: &[LinuxDevice],
        problems: &mut Vec<Error>,
    ) -> Devices {
        let mut devices = Devices { allow: false, rules: Vec::with_capacity(16) };
        for (i, rule) in given.unwrap_or_default().iter().enumerate() {
            match parse(rule) {
                Ok(rule) => devices.push(rule),
                Err((field, why)) => {
                    problems.push(wrong(format!("linux.resources.devices[{i}].{field}"), why))
                }
            }
        }
        if devices.allows_all() {
            return devices;
        }
        for (path, rule) in &DEFAULTS {
            let redefined = nodes.iter().any(|node| {
                !path.is_empty()
                    && node.path().as_os_str() == *path
                    && (node.major(), node.minor())
                        != (i64::from(rule.major.unwrap_or(0)), i64::from(rule.minor.unwrap_or(0)))
            });
            // Where everything is allowed already, a wildcard could only undo what the user denied.
            let pointless = devices.allow && (rule.major.is_none() || rule.minor.is_none());
            if !redefined && !pointless {
                devices.push(*rule);
            }
        }
        devices
    }

    /// Everything is allowed: there is nothing to install.
    pub fn allows_all(&self) -> bool {
        self.allow && self.rules.is_empty()
    }

    fn push(&mut self, rule: DeviceRule) {
        let everything =
            DeviceRule { allow: rule.allow, ..self::rule(DeviceKind::Any, None, None, Access::ALL) };
        if rule == everything {
            // Nothing before such a rule can still matter.
            self.rules.clear();
            self.allow = rule.allow;
        } else {
            self.rules.push(rule);
        }
    }

    /// The lines for `devices.deny` (false) and `devices.allow` (true) of cgroup v1, in order: first the
    /// one that sets the default, then the exceptions from it, in the order config.json lists them.
    ///
    /// # Errors
    /// The controller keeps a default and a flat list of exceptions. A rule that takes a part of an
    /// exception back cannot be expressed, and the kernel would silently ignore it: an error, as in runc.
    pub fn v1_lines(&self) -> Result<Vec<(bool, String)>> {
        let mut exceptions: Vec<DeviceRule> = Vec::with_capacity(self.rules.len() + 1);
        for rule in self.rules.iter().flat_map(DeviceRule::by_kind) {
            if rule.allow != self.allow {
                exceptions.push(rule);
                continue;
            }
            for exception in exceptions.iter_mut().filter(|e| rule.meets(e)) {
                if !rule.covers(exception) {
                    let what = format!("cgroup v1 cannot except {rule} from {exception}");
                    return Err(Error::new(Kind::Unsupported, what));
                }
                exception.access.0 &= !rule.access.0;
            }
        }
        let mut lines = Vec::with_capacity(exceptions.len() + 1);
        lines.push((self.allow, "a".to_owned()));
        lines.extend(exceptions.iter().filter(|e| e.access.0 != 0).map(|e| (e.allow, e.line())));
        Ok(lines)
    }
}

impl DeviceRule {
    /// A rule for both kinds as one for each.
    fn by_kind(&self) -> impl Iterator<Item = DeviceRule> + use<> {
        let rule = *self;
        let kinds: &[DeviceKind] = match rule.kind {
            DeviceKind::Any => &[DeviceKind::Char, DeviceKind::Block],
            DeviceKind::Char => &[DeviceKind::Char],
            DeviceKind::Block => &[DeviceKind::Block],
        };
        kinds.iter().map(move |kind| DeviceRule { kind: *kind, ..rule })
    }

    /// Whether both are about some common access to some common device.
    fn meets(&self, other: &DeviceRule) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind
            && self.access.0 & other.access.0 != 0
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
    }

    /// Whether this is about every device that `other`, of the same kind, is about.
    fn covers(&self, other: &DeviceRule) -> bool {
        (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// In the words of the v1 controller.
    fn line(&self) -> String {
        let kind = match self.kind {
            DeviceKind::Any => 'a',
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        format!("{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{} {}\"", if self.allow { "allow" } else { "deny" }, self.line())
    }
}

/// The field that is wrong, and why.
type Flaw = (&'static str, String);

fn parse(given: &LinuxDeviceCgroup) -> Result<DeviceRule, Flaw> {
    let kind = match given.typ().unwrap_or_default() {
        LinuxDeviceType::A => DeviceKind::Any,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::C => DeviceKind::Char,
        other => return Err(("type", format!("invalid cgroup device type {:?}", other.as_str()))),
    };
    let text = given.access().as_deref().unwrap_or("");
    let access = match Access::parse(text) {
        Some(access) => access,
        // Denying without saying what is denying all; allowing has to say what.
        None if text.is_empty() && !given.allow() => Access::ALL,
        None if text.is_empty() => return Err(("access", "must not be empty".to_owned())),
        None => return Err(("access", format!("{text:?} may only have the letters r, w and m"))),
    };
    Ok(DeviceRule {
        allow: given.allow(),
        kind,
        major: number(given.major(), "major")?,
        minor: number(given.minor(), "minor")?,
        access,
    })
}

/// -1 is a wildcard, as in every engine's Go code.
fn number(given: Option<i64>, field: &'static str) -> Result<Option<u32>, Flaw> {
    match given {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n).map(Some).map_err(|_| (field, format!("{n} is out of range"))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::plan::cgroup) fn devices(json: &str) -> Devices {
        let given: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
        let mut problems = Vec::new();
        let devices = Devices::new(Some(&given), &[], &mut problems);
        assert_eq!(problems, []);
        devices
    }

    fn lines(json: &str) -> Vec<String> {
        let lines = devices(json).v1_lines().unwrap();
        lines.iter().map(|(allow, line)| format!("{} {line}", if *allow { '+' } else { '-' })).collect()
    }

    #[test]
    fn defaults_follow_the_listed_order() {
        let lines = lines(
            r#"[{"allow":true,"type":"c","major":9,"minor":9,"access":"r"},
                {"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","major":10,"minor":229,"access":"rwm"},
                {"allow":true,"type":"b","major":8,"minor":-1,"access":"mr"}]"#,
        );
        assert_eq!(
            lines.join(", "),
            "- a, + c 10:229 rwm, + b 8:* rm, + c *:* m, + b *:* m, + c 1:3 rwm, + c 1:8 rwm, + c 1:7 rwm, \
             + c 5:0 rwm, + c 1:5 rwm, + c 1:9 rwm, + c 136:* rwm, + c 5:2 rwm, + c 10:200 rwm"
        );
    }

    #[test]
    fn allowing_all_is_nothing_to_install() {
        let all = r#"[{"allow":false},{"allow":true,"type":"a","access":"rwm"}]"#;
        assert!(devices(all).allows_all());
        assert!(!devices(r#"[{"allow":true,"access":"rw"}]"#).allows_all());
        assert!(!devices("[]").allows_all());
    }

    #[test]
    fn a_denied_device_stays_denied_where_all_is_allowed() {
        let lines = lines(
            r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"minor":0,"access":"rwm"},
                {"allow":false,"type":"c","major":11,"access":"m"}]"#,
        );
        assert_eq!(lines.join(", "), "+ a, - b 8:0 rwm, - c 11:* m");
    }

    #[test]
    fn v1_takes_back_whole_exceptions_and_refuses_holes() {
        let wide = lines(
            r#"[{"allow":true,"type":"c","major":7,"minor":1,"access":"rw"},
                {"allow":false,"type":"c","major":7,"access":"w"}]"#,
        );
        assert_eq!(wide[1], "+ c 7:1 r");
        let hole = devices(
            r#"[{"allow":true,"type":"c","major":7,"access":"rw"},
                {"allow":false,"type":"c","major":7,"minor":1,"access":"w"}]"#,
        );
        let error = hole.v1_lines().unwrap_err().to_string();
        assert_eq!(error, r#"cgroup v1 cannot except "deny c 7:1 w" from "allow c 7:* rw""#);
    }

    #[test]
    fn a_node_that_redefines_a_default_takes_its_rule_away() {
        let node = |minor: i64| -> LinuxDevice {
            serde_json::from_str(&format!(r#"{{"path":"/dev/null","type":"c","major":1,"minor":{minor}}}"#))
                .unwrap()
        };
        let null = rule(DeviceKind::Char, Some(1), Some(3), Access::ALL);
        let has = |nodes: &[LinuxDevice]| Devices::new(None, nodes, &mut Vec::new()).rules.contains(&null);
        assert!(has(&[]) && has(&[node(3)]) && !has(&[node(5)]));
    }

    #[test]
    fn bad_rules_name_their_field() {
        for (json, field) in [
            (r#"{"allow":true}"#, "access"),
            (r#"{"allow":true,"access":"rx"}"#, "access"),
            (r#"{"allow":true,"type":"u","access":"r"}"#, "type"),
            (r#"{"allow":true,"type":"c","major":-2,"access":"r"}"#, "major"),
            (r#"{"allow":true,"type":"c","minor":4294967296,"access":"r"}"#, "minor"),
        ] {
            let mut problems = Vec::new();
            Devices::new(Some(&[serde_json::from_str(json).unwrap()]), &[], &mut problems);
            assert!(problems[0].to_string().starts_with(&format!("linux.resources.devices[0].{field}: ")));
        }
    }
}
