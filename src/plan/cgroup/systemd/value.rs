//! Values of D-Bus, which the properties of a unit are made of.

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "they are D-Bus's types")]
pub enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F64(f64),
    Str(String),
    Path(String),
    Signature(String),
    Variant(Box<Value>),
    /// The signature of an element, which an empty array has too, and the elements.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    /// One of a dictionary, which is an array of these.
    Entry(Box<(Value, Value)>),
}

impl Value {
    /// A string.
    pub fn str(text: impl Into<String>) -> Value {
        Value::Str(text.into())
    }

    /// An array of strings.
    pub fn strings<S: Into<String>>(list: impl IntoIterator<Item = S>) -> Value {
        Value::Array("s".into(), list.into_iter().map(Value::str).collect())
    }

    /// An array of bytes.
    pub fn bytes(bytes: impl IntoIterator<Item = u8>) -> Value {
        Value::Array("y".into(), bytes.into_iter().map(Value::Byte).collect())
    }

    /// Its type, as D-Bus writes it.
    pub fn signature(&self) -> String {
        let mut signature = String::new();
        self.sign(&mut signature);
        signature
    }

    fn sign(&self, out: &mut String) {
        match self {
            Value::Bool(_) => out.push('b'),
            Value::Byte(_) => out.push('y'),
            Value::I16(_) => out.push('n'),
            Value::U16(_) => out.push('q'),
            Value::I32(_) => out.push('i'),
            Value::U32(_) => out.push('u'),
            Value::I64(_) => out.push('x'),
            Value::U64(_) => out.push('t'),
            Value::F64(_) => out.push('d'),
            Value::Str(_) => out.push('s'),
            Value::Path(_) => out.push('o'),
            Value::Signature(_) => out.push('g'),
            Value::Variant(_) => out.push('v'),
            Value::Array(element, _) => {
                out.push('a');
                out.push_str(element);
            }
            Value::Struct(fields) => {
                out.push('(');
                fields.iter().for_each(|field| field.sign(out));
                out.push(')');
            }
            Value::Entry(entry) => {
                out.push('{');
                entry.0.sign(out);
                entry.1.sign(out);
                out.push('}');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        let allow = Value::Array("(ss)".into(), vec![Value::Struct(vec![Value::str("a"), Value::str("b")])]);
        let entry = Value::Entry(Box::new((Value::str("k"), Value::Variant(Box::new(Value::U64(1))))));
        for (value, signature) in [
            (Value::strings(["a"]), "as"),
            (Value::bytes([1]), "ay"),
            (allow, "a(ss)"),
            (Value::Array("{sv}".into(), vec![entry.clone()]), "a{sv}"),
            (entry, "{sv}"),
            (
                Value::Struct(vec![Value::Bool(true), Value::I16(0), Value::U16(0), Value::Path("/".into())]),
                "(bnqo)",
            ),
        ] {
            assert_eq!(value.signature(), signature);
        }
    }
}
