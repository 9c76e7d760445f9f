//! GVariant's text format, in which annotations give the value of a property: `uint64 5`, `'text'`, `['a', 'b']`,
//! `[('/dev/fuse', 'rw')]`, `<true>`, `{'a': 1}`, `@as []`, `b'bytes'`.
//!
//! A value is read as it stands, then its type is found: a number is an int32 and a text a string unless something says
//! otherwise, and the elements of an array have to agree. So it is in GLib, and in runc's godbus.

use super::value::Value;

/// Deeper nesting than D-Bus allows in a message.
const DEPTH: usize = 32;

/// Reads a value.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text };
    let node = parser.value(0)?;
    match parser.peek() {
        None => build(&node, &shape(&node)?),
        Some(c) => Err(format!("unexpected {c:?} after the value")),
    }
}

/// What was read.
enum Node {
    Number(String),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Node>),
    Tuple(Vec<Node>),
    Dict(Vec<(Node, Node)>),
    Variant(Box<Node>),
    Typed(Shape, Box<Node>),
}

/// A type, or what is known of it.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Nothing is known: the element of an empty array.
    Unknown,
    /// A number, int32 unless something says otherwise.
    Number,
    /// A number with a point or an exponent.
    Real,
    /// A text: a string unless something says otherwise.
    Text,
    /// One of the basic types, or `v`.
    Basic(char),
    Array(Box<Shape>),
    Tuple(Vec<Shape>),
    Dict(Box<Shape>, Box<Shape>),
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.bump();
        }
        there
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.eat(wanted) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(c) => format!("unexpected {c:?}, expected {wanted:?}"),
            None => format!("it ends where {wanted:?} is expected"),
        })
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn value(&mut self, depth: usize) -> Result<Node, String> {
        if depth > DEPTH {
            return Err("it is nested too deeply".into());
        }
        let Some(c) = self.peek() else { return Err("it ends where a value is expected".into()) };
        match c {
            '\'' | '"' => self.text().map(Node::Text),
            '0'..='9' | '+' | '-' | '.' => {
                let number = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
                Ok(Node::Number(number.to_owned()))
            }
            '[' => {
                self.bump();
                self.list(']', depth).map(Node::Array)
            }
            '(' => {
                self.bump();
                self.list(')', depth).map(Node::Tuple)
            }
            '{' => {
                self.bump();
                self.dict(depth)
            }
            '<' => {
                self.bump();
                let inner = self.value(depth + 1)?;
                self.expect('>')?;
                Ok(Node::Variant(Box::new(inner)))
            }
            '@' => {
                self.bump();
                let signature = self.word(|c| !c.is_whitespace()).to_owned();
                let shape = declared(&signature)?;
                Ok(Node::Typed(shape, Box::new(self.value(depth + 1)?)))
            }
            'b' if self.rest.starts_with("b'") || self.rest.starts_with("b\"") => {
                self.bump();
                self.byte_string().map(Node::Bytes)
            }
            _ => self.keyword(depth),
        }
    }

    fn keyword(&mut self, depth: usize) -> Result<Node, String> {
        let word = self.word(|c| c.is_ascii_alphanumeric()).to_owned();
        let kind = match word.as_str() {
            "true" => return Ok(Node::Bool(true)),
            "false" => return Ok(Node::Bool(false)),
            "boolean" => 'b',
            "byte" => 'y',
            "int16" => 'n',
            "uint16" => 'q',
            "int32" => 'i',
            "uint32" => 'u',
            "int64" => 'x',
            "uint64" => 't',
            "double" => 'd',
            "string" => 's',
            "objectpath" => 'o',
            "signature" => 'g',
            "" => return Err(format!("unexpected {:?}", self.rest.chars().next().unwrap_or_default())),
            _ => return Err(format!("{word:?} is no value (a text needs quotes)")),
        };
        Ok(Node::Typed(Shape::Basic(kind), Box::new(self.value(depth + 1)?)))
    }

    /// The elements up to the bracket that closes them.
    fn list(&mut self, close: char, depth: usize) -> Result<Vec<Node>, String> {
        let mut elements = Vec::new();
        while !self.eat(close) {
            elements.push(self.value(depth + 1)?);
            if !self.eat(',') {
                self.expect(close)?;
                break;
            }
        }
        Ok(elements)
    }

    fn dict(&mut self, depth: usize) -> Result<Node, String> {
        let mut entries = Vec::new();
        while !self.eat('}') {
            let key = self.value(depth + 1)?;
            self.expect(':')?;
            entries.push((key, self.value(depth + 1)?));
            if !self.eat(',') {
                self.expect('}')?;
                break;
            }
        }
        Ok(Node::Dict(entries))
    }

    fn text(&mut self) -> Result<String, String> {
        let quote = self.bump();
        let mut text = String::new();
        loop {
            let c = self.bump().ok_or("a text does not end")?;
            if Some(c) == quote {
                return Ok(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match self.bump().ok_or("a text does not end")? {
                'u' => text.push(self.code_point(4)?),
                'U' => text.push(self.code_point(8)?),
                '\n' => {}
                c => text.push(escaped(c).map_or(c, char::from)),
            }
        }
    }

    fn code_point(&mut self, digits: usize) -> Result<char, String> {
        let number = self.digits(digits, 16)?;
        char::from_u32(number).ok_or_else(|| format!("there is no character {number:#x}"))
    }

    fn digits(&mut self, count: usize, radix: u32) -> Result<u32, String> {
        let digits = self.rest.get(..count).ok_or("an escape is cut short")?;
        let number = u32::from_str_radix(digits, radix).map_err(|_| format!("\\{digits} is no escape"))?;
        self.rest = &self.rest[count..];
        Ok(number)
    }

    /// Bytes, with the NUL at their end that GVariant gives them.
    fn byte_string(&mut self) -> Result<Vec<u8>, String> {
        let quote = self.bump();
        let mut bytes = Vec::new();
        loop {
            let c = self.bump().ok_or("a text does not end")?;
            if Some(c) == quote {
                bytes.push(0);
                return Ok(bytes);
            }
            if c != '\\' {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            if self.rest.starts_with(|c| matches!(c, '0'..='3')) {
                // Three octal digits, the first of which is small enough.
                bytes.push(self.digits(3, 8)? as u8);
                continue;
            }
            match self.bump().ok_or("a text does not end")? {
                'x' => bytes.push(self.digits(2, 16)? as u8),
                '\n' => {}
                c => match escaped(c) {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                },
            }
        }
    }
}

fn escaped(c: char) -> Option<u8> {
    Some(match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        _ => return None,
    })
}

/// The type that `@` declares.
fn declared(signature: &str) -> Result<Shape, String> {
    let mut rest = signature;
    match one_type(&mut rest, 0) {
        Some(shape) if rest.is_empty() => Ok(shape),
        _ => Err(format!("@{signature} is not a type of D-Bus")),
    }
}

fn one_type(rest: &mut &str, depth: usize) -> Option<Shape> {
    if depth > DEPTH {
        return None;
    }
    let first = rest.chars().next()?;
    *rest = rest.get(first.len_utf8()..)?;
    match first {
        'y' | 'b' | 'n' | 'q' | 'i' | 'u' | 'x' | 't' | 'd' | 's' | 'o' | 'g' | 'v' => {
            Some(Shape::Basic(first))
        }
        'a' if rest.starts_with('{') => {
            *rest = &rest[1..];
            let (key, value) = (one_type(rest, depth + 1)?, one_type(rest, depth + 1)?);
            *rest = rest.strip_prefix('}')?;
            let basic = matches!(key, Shape::Basic(kind) if kind != 'v');
            basic.then(|| Shape::Dict(Box::new(key), Box::new(value)))
        }
        'a' => Some(Shape::Array(Box::new(one_type(rest, depth + 1)?))),
        '(' => {
            let mut fields = Vec::new();
            while !rest.starts_with(')') {
                fields.push(one_type(rest, depth + 1)?);
            }
            *rest = &rest[1..];
            (!fields.is_empty()).then_some(Shape::Tuple(fields))
        }
        _ => None,
    }
}

/// What the text says of the type.
fn shape(node: &Node) -> Result<Shape, String> {
    Ok(match node {
        // 0x1e5 has no exponent.
        Node::Number(text) if !text.contains(['x', 'X']) && text.contains(['.', 'e', 'E']) => Shape::Real,
        Node::Number(_) => Shape::Number,
        Node::Bool(_) => Shape::Basic('b'),
        Node::Text(_) => Shape::Text,
        Node::Bytes(_) => Shape::Array(Box::new(Shape::Basic('y'))),
        Node::Array(elements) => Shape::Array(Box::new(common(elements.iter())?)),
        Node::Tuple(fields) => Shape::Tuple(fields.iter().map(shape).collect::<Result<_, _>>()?),
        Node::Dict(entries) => Shape::Dict(
            Box::new(common(entries.iter().map(|(key, _)| key))?),
            Box::new(common(entries.iter().map(|(_, value)| value))?),
        ),
        Node::Variant(_) => Shape::Basic('v'),
        Node::Typed(wanted, inner) => {
            let is = shape(inner)?;
            match join(wanted, &is) {
                Some(joined) if joined == *wanted => joined,
                _ => return Err(format!("its type is not {}", sign(wanted).unwrap_or_default())),
            }
        }
    })
}

fn common<'a>(mut nodes: impl Iterator<Item = &'a Node>) -> Result<Shape, String> {
    nodes.try_fold(Shape::Unknown, |so_far, node| {
        join(&so_far, &shape(node)?)
            .ok_or_else(|| "the elements of an array must have the same type".to_owned())
    })
}

/// The type that both can have.
fn join(a: &Shape, b: &Shape) -> Option<Shape> {
    let numbers = |kind: char| "ynqiuxtd".contains(kind);
    match (a, b) {
        (Shape::Unknown, other) | (other, Shape::Unknown) => Some(other.clone()),
        (a, b) if a == b => Some(a.clone()),
        (Shape::Number, Shape::Real) | (Shape::Real, Shape::Number) => Some(Shape::Real),
        (Shape::Number, Shape::Basic(kind)) | (Shape::Basic(kind), Shape::Number) if numbers(*kind) => {
            Some(Shape::Basic(*kind))
        }
        (Shape::Real, Shape::Basic('d')) | (Shape::Basic('d'), Shape::Real) => Some(Shape::Basic('d')),
        (Shape::Text, Shape::Basic(kind @ ('s' | 'o' | 'g')))
        | (Shape::Basic(kind @ ('s' | 'o' | 'g')), Shape::Text) => Some(Shape::Basic(*kind)),
        (Shape::Array(a), Shape::Array(b)) => Some(Shape::Array(Box::new(join(a, b)?))),
        (Shape::Tuple(a), Shape::Tuple(b)) if a.len() == b.len() => {
            Some(Shape::Tuple(a.iter().zip(b).map(|(a, b)| join(a, b)).collect::<Option<_>>()?))
        }
        (Shape::Dict(a, x), Shape::Dict(b, y)) => {
            Some(Shape::Dict(Box::new(join(a, b)?), Box::new(join(x, y)?)))
        }
        _ => None,
    }
}

/// The signature, with what is still open decided.
fn sign(shape: &Shape) -> Result<String, String> {
    Ok(match shape {
        Shape::Unknown => return Err("an empty array needs its type, as in @as []".into()),
        Shape::Number => "i".into(),
        Shape::Real => "d".into(),
        Shape::Text => "s".into(),
        Shape::Basic(kind) => kind.to_string(),
        Shape::Array(element) => format!("a{}", sign(element)?),
        Shape::Tuple(fields) => format!("({})", fields.iter().map(sign).collect::<Result<String, _>>()?),
        Shape::Dict(key, value) => format!("a{{{}{}}}", sign(key)?, sign(value)?),
    })
}

/// The value of a node, which has this type.
fn build(node: &Node, shape: &Shape) -> Result<Value, String> {
    Ok(match (node, shape) {
        (Node::Typed(_, inner), shape) => build(inner, shape)?,
        (Node::Number(text), Shape::Basic(kind)) => number(text, *kind)?,
        (Node::Number(text), Shape::Real) => number(text, 'd')?,
        (Node::Number(text), _) => number(text, 'i')?,
        (Node::Bool(value), _) => Value::Bool(*value),
        (Node::Text(text), Shape::Basic('o')) if !is_object_path(text) => {
            return Err(format!("{text:?} is no object path"));
        }
        (Node::Text(text), Shape::Basic('g')) if !is_signature(text) => {
            return Err(format!("{text:?} is no signature"));
        }
        (Node::Text(text), _) if text.contains('\0') => return Err("a text contains a nul byte".into()),
        (Node::Text(text), Shape::Basic('o')) => Value::Path(text.clone()),
        (Node::Text(text), Shape::Basic('g')) => Value::Signature(text.clone()),
        (Node::Text(text), _) => Value::Str(text.clone()),
        (Node::Bytes(bytes), _) => Value::bytes(bytes.iter().copied()),
        (Node::Array(elements), Shape::Array(element)) => {
            let values = elements.iter().map(|node| build(node, element)).collect::<Result<_, _>>()?;
            Value::Array(sign(element)?, values)
        }
        (Node::Tuple(nodes), Shape::Tuple(fields)) if !nodes.is_empty() => {
            let values = nodes.iter().zip(fields).map(|(node, shape)| build(node, shape));
            Value::Struct(values.collect::<Result<_, _>>()?)
        }
        (Node::Tuple(_), _) => return Err("D-Bus has no empty tuple".into()),
        (Node::Dict(entries), Shape::Dict(key, value)) => {
            if matches!(**key, Shape::Array(_) | Shape::Tuple(_) | Shape::Dict(..) | Shape::Basic('v')) {
                return Err("the key of a dictionary must be of a basic type".into());
            }
            let values = entries
                .iter()
                .map(|(k, v)| Ok(Value::Entry(Box::new((build(k, key)?, build(v, value)?)))))
                .collect::<Result<_, String>>()?;
            Value::Array(format!("{{{}{}}}", sign(key)?, sign(value)?), values)
        }
        (Node::Variant(inner), _) => Value::Variant(Box::new(build(inner, &self::shape(inner)?)?)),
        (Node::Array(_) | Node::Dict(_), _) => return Err("its type is not the declared one".into()),
    })
}

fn number(text: &str, kind: char) -> Result<Value, String> {
    let wrong = || format!("{text:?} is no number of type {kind}");
    if kind == 'd' {
        return text.parse().map(Value::F64).map_err(|_| wrong());
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // As C reads numbers.
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return Err(wrong());
    }
    let size = i128::from(u64::from_str_radix(digits, radix).map_err(|_| wrong())?);
    let number = if negative { -size } else { size };
    let fits = match kind {
        'y' => u8::try_from(number).ok().map(Value::Byte),
        'n' => i16::try_from(number).ok().map(Value::I16),
        'q' => u16::try_from(number).ok().map(Value::U16),
        'i' => i32::try_from(number).ok().map(Value::I32),
        'u' => u32::try_from(number).ok().map(Value::U32),
        'x' => i64::try_from(number).ok().map(Value::I64),
        't' => u64::try_from(number).ok().map(Value::U64),
        _ => None,
    };
    fits.ok_or_else(wrong)
}

fn is_object_path(text: &str) -> bool {
    let element =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(element))
}

fn is_signature(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        if one_type(&mut rest, 0).is_none() {
            return false;
        }
    }
    text.len() <= 255
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value and its signature, in one line.
    fn read(text: &str) -> String {
        match parse(text) {
            Ok(value) => format!("{} {value:?}", value.signature()),
            Err(why) => format!("error: {why}"),
        }
    }

    #[test]
    fn numbers_are_int32_unless_told_otherwise() {
        for (text, want) in [
            ("15", "i I32(15)"),
            (" -1 ", "i I32(-1)"),
            ("0x1F", "i I32(31)"),
            ("0x1e5", "i I32(485)"),
            ("010", "i I32(8)"),
            ("0", "i I32(0)"),
            ("1.5", "d F64(1.5)"),
            ("1e3", "d F64(1000.0)"),
            ("double 2", "d F64(2.0)"),
            ("uint64 18446744073709551615", "t U64(18446744073709551615)"),
            ("int64 -9223372036854775808", "x I64(-9223372036854775808)"),
            ("byte 0xff", "y Byte(255)"),
            ("int16 -3", "n I16(-3)"),
            ("uint16 3", "q U16(3)"),
            ("@u 7", "u U32(7)"),
            ("true", "b Bool(true)"),
            ("boolean false", "b Bool(false)"),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn texts_and_their_escapes() {
        assert_eq!(
            read(r#"'a "b" \'c\' \\ \n \u00e9 \U0001F600'"#),
            "s Str(\"a \\\"b\\\" 'c' \\\\ \\n é 😀\")"
        );
        assert_eq!(read("\"it's\""), "s Str(\"it's\")");
        assert_eq!(read("objectpath '/a/b_1'"), "o Path(\"/a/b_1\")");
        assert_eq!(read("@g 'a{sv}'"), "g Signature(\"a{sv}\")");
        assert_eq!(read(r"b'a\x01\002'"), "ay Array(\"y\", [Byte(97), Byte(1), Byte(2), Byte(0)])");
    }

    #[test]
    fn containers_find_their_common_type() {
        for (text, want) in [
            ("['a', 'b']", "as"),
            ("[]", "error: an empty array needs its type, as in @as []"),
            ("@as []", "as"),
            ("[1, 2.5]", "ad"),
            ("[1, uint64 2, 3]", "at"),
            ("[[], ['a']]", "aas"),
            ("[('/dev/fuse', 'rw'), ('/dev/null', 'r')]", "a(ss)"),
            ("@a(ss) [('a', 'b')]", "a(ss)"),
            ("@at [1, 2]", "at"),
            ("('a', <uint32 5>, [true])", "(svab)"),
            ("{'a': <1>, 'b': <'x'>}", "a{sv}"),
            ("@a{sv} {}", "a{sv}"),
            ("[objectpath '/a', '/b']", "ao"),
            ("<@as []>", "v"),
            ("['a', ]", "as"),
        ] {
            assert_eq!(
                read(text)
                    .split(" Array")
                    .next()
                    .unwrap()
                    .split(" Struct")
                    .next()
                    .unwrap()
                    .split(" Variant")
                    .next()
                    .unwrap(),
                want,
                "{text}"
            );
        }
        assert_eq!(parse("@at [1]").unwrap(), Value::Array("t".into(), vec![Value::U64(1)]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in [
            "",
            "  ",
            "text",
            "'open",
            "['a'",
            "['a' 'b']",
            "[1, 'a']",
            "(",
            "()",
            "{'a'}",
            "{[1]: 2}",
            "<1",
            "1 2",
            "08",
            "0x",
            "--1",
            "byte 256",
            "uint32 -1",
            "int32 'a'",
            "string 5",
            "@",
            "@as 5",
            "@a{vs} {}",
            "@h 1",
            "@(s) ()",
            "just 5",
            "nothing",
            "objectpath 'a'",
            "'\\u12'",
            "'\\0001",
            "'a\\u0000'",
            "é",
            "b'\\x1é'",
            "'\\ué'",
            "\u{1}",
        ] {
            assert!(parse(text).is_err(), "{text:?}: {:?}", parse(text));
        }
        let deep = |n: usize| "[".repeat(n) + "1" + &"]".repeat(n);
        assert!(
            parse(&deep(30)).is_ok() && parse(&deep(40)).is_err() && parse(&"[".repeat(100_000)).is_err()
        );
        assert!(parse(&format!("@{}s 1", "a".repeat(100_000))).is_err());
    }
}
