//! The wire format of D-Bus: messages with values in native byte order, each aligned to its own size.

use crate::error::{Error, Kind, Result};
use crate::plan::cgroup::systemd::Value;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A call of a method.
    Call = 1,
    /// What a method returns.
    Return = 2,
    /// What it returns when it fails.
    Failure = 3,
    /// Something that has happened.
    Signal = 4,
}

/// Where a call goes to.
#[derive(Clone, Copy, Debug)]
pub struct Method<'a> {
    /// The bus name; none on a connection that has no bus.
    pub destination: Option<&'a str>,
    /// The object.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
}

/// A message that was received: what matters of its header, and its body.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it is.
    pub sort: Option<Sort>,
    /// The serial of the call it answers.
    pub reply_to: u32,
    /// The interface and member of a signal, or the name of an error.
    pub name: String,
    /// The type of the body.
    pub signature: String,
    body: Vec<u8>,
}

/// The fixed part of a header, and the length of the array behind it.
const FIXED: usize = 16;
/// Longer ones are not for us: a JobRemoved has 200 bytes.
const MAX: usize = 16 << 20;
const ENDIAN: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Appends a call to `out`, which begins with a message or is empty.
pub fn call(out: &mut Vec<u8>, serial: u32, method: Method<'_>, arguments: &[Value]) {
    let mut body = Writer::default();
    arguments.iter().for_each(|argument| body.value(argument));
    let field =
        |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
    let mut fields = vec![
        field(PATH, Value::Path(method.path.into())),
        field(INTERFACE, Value::str(method.interface)),
        field(MEMBER, Value::str(method.member)),
    ];
    fields.extend(method.destination.map(|name| field(DESTINATION, Value::str(name))));
    if !arguments.is_empty() {
        let signature = arguments.iter().map(Value::signature).collect();
        fields.push(field(SIGNATURE, Value::Signature(signature)));
    }
    let mut message = Writer::default();
    // No flags: a unit may be started by systemd for us, and we want to hear the answer. Version 1.
    message.bytes.extend_from_slice(&[ENDIAN, Sort::Call as u8, 0, 1]);
    message.number(body.bytes.len() as u32);
    message.number(serial);
    message.value(&Value::Array("(yv)".into(), fields));
    message.align(8);
    out.append(&mut message.bytes);
    out.append(&mut body.bytes);
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, n: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&n.to_ne_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, signature: &str) {
        // The text parser keeps them below 256.
        self.bytes.push(signature.len() as u8);
        self.bytes.extend_from_slice(signature.as_bytes());
        self.bytes.push(0);
    }

    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.bytes.extend_from_slice(&bytes);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(b) => self.number(u32::from(*b)),
            Value::Byte(n) => self.bytes.push(*n),
            Value::I16(n) => self.fixed(n.to_ne_bytes()),
            Value::U16(n) => self.fixed(n.to_ne_bytes()),
            Value::I32(n) => self.fixed(n.to_ne_bytes()),
            Value::U32(n) => self.number(*n),
            Value::I64(n) => self.fixed(n.to_ne_bytes()),
            Value::U64(n) => self.fixed(n.to_ne_bytes()),
            Value::F64(n) => self.fixed(n.to_ne_bytes()),
            Value::Str(text) | Value::Path(text) => self.text(text),
            Value::Signature(signature) => self.signature(signature),
            Value::Variant(inner) => {
                self.signature(&inner.signature());
                self.value(inner);
            }
            Value::Array(element, values) => {
                self.number(0);
                let length = self.bytes.len() - 4;
                // Also where there is no element; what it takes does not count.
                self.align(alignment(element));
                let start = self.bytes.len();
                values.iter().for_each(|value| self.value(value));
                let bytes = (self.bytes.len() - start) as u32;
                self.bytes[length..length + 4].copy_from_slice(&bytes.to_ne_bytes());
            }
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::Entry(entry) => {
                self.align(8);
                self.value(&entry.0);
                self.value(&entry.1);
            }
        }
    }
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

fn garbled() -> Error {
    Error::new(Kind::System, "a message of D-Bus is garbled")
}

impl Message {
    /// Takes one message from the front of what was received. `None`: there is not all of it yet.
    ///
    /// # Errors
    /// It is no message; nothing after it can be understood either.
    pub fn take(input: &mut Vec<u8>) -> Result<Option<Message>> {
        let Some(fixed) = input.get(..FIXED) else { return Ok(None) };
        // Everybody on a machine has the same order of bytes.
        if fixed[0] != ENDIAN || fixed[3] != 1 {
            return Err(garbled());
        }
        let sort = match fixed[1] {
            1 => Some(Sort::Call),
            2 => Some(Sort::Return),
            3 => Some(Sort::Failure),
            4 => Some(Sort::Signal),
            _ => None,
        };
        let mut start = Reader { bytes: fixed, at: 4 };
        let body = start.number().ok_or_else(garbled)? as usize;
        start.at = 12;
        let fields = start.number().ok_or_else(garbled)? as usize;
        if body > MAX || fields > MAX {
            return Err(garbled());
        }
        let header = (FIXED + fields).next_multiple_of(8);
        if input.len() < header + body {
            return Ok(None);
        }
        let message: Vec<u8> = input.drain(..header + body).collect();
        let mut parsed = Message {
            sort,
            reply_to: 0,
            name: String::new(),
            signature: String::new(),
            body: message[header..].to_vec(),
        };
        let mut reader = Reader { bytes: &message[..FIXED + fields], at: FIXED };
        parsed.fields(&mut reader).ok_or_else(garbled)?;
        Ok(Some(parsed))
    }

    /// Reads the header's fields. Their order is free.
    fn fields(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let (mut interface, mut member) = (String::new(), String::new());
        while reader.at < reader.bytes.len() {
            reader.align(8)?;
            let code = reader.byte()?;
            match (code, reader.signature()?.as_str()) {
                (REPLY_SERIAL, "u") => self.reply_to = reader.number()?,
                (SIGNATURE, "g") => self.signature = reader.signature()?,
                (INTERFACE, "s") => interface = reader.text()?,
                (MEMBER, "s") => member = reader.text()?,
                (ERROR_NAME, "s") => self.name = reader.text()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "u") => drop(reader.number()?),
                (_, "g") => drop(reader.signature()?),
                // Fields to come may have other types; none of those that there are has.
                _ => return None,
            }
        }
        if self.sort == Some(Sort::Signal) {
            self.name = format!("{interface}.{member}");
        }
        Some(())
    }

    /// The texts (strings and object paths) at the start of the body, as long as there are only texts and numbers of
    /// 32 bits; a variant of those is read as what it holds.
    pub fn texts(&self) -> Vec<String> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut texts = Vec::new();
        for kind in self.signature.chars() {
            let kind = match kind {
                'v' => match reader.signature() {
                    Some(inner) if inner.len() == 1 => inner.chars().next().unwrap_or(' '),
                    _ => break,
                },
                kind => kind,
            };
            let text = match kind {
                's' | 'o' => reader.text(),
                'u' | 'i' | 'b' => reader.number().map(|n| n.to_string()),
                _ => None,
            };
            let Some(text) = text else { break };
            texts.push(text);
        }
        texts
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        Some(())
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4)?;
        self.take(4)?.try_into().ok().map(u32::from_ne_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.byte()? as usize;
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(length)?).ok()?.to_owned();
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marshal(value: &Value) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.value(value);
        writer.bytes
    }

    /// Numbers as this machine has them.
    fn bytes(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn values_are_aligned_to_their_size() {
        let n = |n: u32| n.to_ne_bytes();
        for (value, want) in [
            (Value::Bool(true), n(1).to_vec()),
            (Value::Byte(7), vec![7]),
            (Value::str("ab"), bytes(&[&n(2), b"ab\0"])),
            (Value::Signature("as".into()), b"\x02as\0".to_vec()),
            (Value::Variant(Box::new(Value::U64(9))), bytes(&[b"\x01t\0", &[0; 5], &9u64.to_ne_bytes()])),
            (Value::Variant(Box::new(Value::Byte(9))), b"\x01y\0\x09".to_vec()),
            (
                Value::Struct(vec![Value::Byte(1), Value::I16(2), Value::U32(3)]),
                bytes(&[&[1, 0], &2i16.to_ne_bytes(), &n(3)]),
            ),
            (Value::bytes([1, 2]), bytes(&[&n(2), &[1, 2]])),
            (Value::Array("u".into(), vec![Value::U32(5)]), bytes(&[&n(4), &n(5)])),
            // The padding before the first element is there without one, and is not counted.
            (Value::Array("t".into(), vec![]), bytes(&[&n(0), &[0; 4]])),
            (Value::Array("(ss)".into(), vec![]), bytes(&[&n(0), &[0; 4]])),
            (Value::Array("x".into(), vec![Value::I64(-1)]), bytes(&[&n(8), &[0; 4], &[0xff; 8]])),
            (Value::strings(["a", "b"]), bytes(&[&n(14), &n(1), b"a\0\0\0", &n(1), b"b\0"])),
            (
                Value::Array(
                    "{yy}".into(),
                    vec![Value::Entry(Box::new((Value::Byte(1), Value::Byte(2)))); 2],
                ),
                bytes(&[&n(10), &[0; 4], &[1, 2, 0, 0, 0, 0, 0, 0, 1, 2]]),
            ),
        ] {
            assert_eq!(marshal(&value), want, "{value:?}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_call_as_libdbus_writes_it() {
        let method = Method {
            destination: Some("org.freedesktop.DBus"),
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        let mut out = Vec::new();
        call(&mut out, 1, method, &[]);
        let want: &[u8] = b"l\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x6d\x00\x00\x00\
            \x01\x01o\x00\x15\x00\x00\x00/org/freedesktop/DBus\x00\x00\x00\
            \x02\x01s\x00\x14\x00\x00\x00org.freedesktop.DBus\x00\x00\x00\x00\
            \x03\x01s\x00\x05\x00\x00\x00Hello\x00\x00\x00\
            \x06\x01s\x00\x14\x00\x00\x00org.freedesktop.DBus\x00\x00\x00\x00";
        assert_eq!(out, want);
    }

    fn signal() -> Vec<u8> {
        let method = Method { destination: None, path: "/p", interface: "a.b", member: "Removed" };
        let mut out = Vec::new();
        call(
            &mut out,
            7,
            method,
            &[Value::U32(4), Value::Path("/j".into()), Value::str("u.scope"), Value::str("done")],
        );
        out[1] = Sort::Signal as u8;
        out
    }

    #[test]
    fn messages_are_taken_one_by_one_when_they_are_complete() {
        let mut input = Vec::new();
        for byte in signal() {
            assert!(Message::take(&mut input).unwrap().is_none());
            input.push(byte);
        }
        input.extend_from_slice(&signal());
        for _ in 0..2 {
            let message = Message::take(&mut input).unwrap().unwrap();
            assert_eq!((message.sort, message.name.as_str()), (Some(Sort::Signal), "a.b.Removed"));
            assert_eq!(message.signature, "uoss");
            assert_eq!(message.texts(), ["4", "/j", "u.scope", "done"]);
        }
        assert!(input.is_empty());
    }

    #[test]
    fn a_variant_is_what_it_holds() {
        let mut input = Vec::new();
        let method = Method { destination: None, path: "/p", interface: "a.b", member: "c" };
        call(&mut input, 1, method, &[Value::Variant(Box::new(Value::str("/user.slice")))]);
        assert_eq!(Message::take(&mut input).unwrap().unwrap().texts(), ["/user.slice"]);
    }

    #[test]
    fn garbage_neither_panics_nor_is_taken_for_a_message() {
        assert!(Message::take(&mut b"HTTP/1.1 400 Bad Request".to_vec()).is_err());
        let whole = signal();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut input = whole.clone();
                input[at] ^= 1 << bit;
                if let Ok(Some(message)) = Message::take(&mut input) {
                    let _ = message.texts();
                }
            }
        }
    }
}
