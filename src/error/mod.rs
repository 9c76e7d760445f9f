//! One error type: what was being done, to which object, and the errno, as one line.
//!
//! An error is a chain of words, outermost first, with an optional errno at its end. It is printed once,
//! by `main`, and can cross the init socket as bytes, so that the line which a user sees is the one the
//! process that failed has written.

use std::borrow::Cow;
use std::fmt;

mod errno;

pub use nix::errno::Errno;

/// `Result` with tare's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure this is; decides exit codes and who is asked to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A system call or the environment failed.
    System = 0,
    /// The command line is wrong.
    Usage = 1,
    /// config.json (or another document of the user's) is wrong.
    Config = 2,
    /// No such container.
    NotFound = 3,
    /// The container is there already.
    Exists = 4,
    /// The container is in the wrong state for this operation.
    State = 5,
    /// The kernel or this build lacks what is asked for.
    Unsupported = 6,
    /// A hook has failed (runtime.md, "Lifecycle": the container is stopped and destroyed).
    Hook = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Kind {
        match byte {
            1 => Kind::Usage,
            2 => Kind::Config,
            3 => Kind::NotFound,
            4 => Kind::Exists,
            5 => Kind::State,
            6 => Kind::Unsupported,
            7 => Kind::Hook,
            _ => Kind::System,
        }
    }
}

/// A failure, with the whole chain of what was being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    /// Innermost first: `context` appends, which is cheap; `Display` walks backwards.
    chain: Vec<Cow<'static, str>>,
    /// The number: the kernel gives some that no table has (524, of NFS and of bpf). 0 if no system call failed.
    errno: i32,
}

impl Error {
    /// An error that no system call reported.
    pub fn new(kind: Kind, what: impl Into<Cow<'static, str>>) -> Error {
        Error { kind, chain: vec![what.into()], errno: 0 }
    }

    /// A failed system call: `what` names the act and its object.
    pub fn os(errno: Errno, what: impl Into<Cow<'static, str>>) -> Error {
        Error::raw(errno as i32, what.into())
    }

    fn raw(errno: i32, what: Cow<'static, str>) -> Error {
        Error { kind: Kind::System, chain: vec![what], errno }
    }

    /// Puts `what` in front of the chain: what was being done when this happened.
    #[must_use]
    pub fn context(mut self, what: impl Into<Cow<'static, str>>) -> Error {
        self.chain.push(what.into());
        self
    }

    /// The same error as another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Error {
        self.kind = kind;
        self
    }

    /// The outermost words, and all that follows them: of a mistake in a document its place, and what is wrong there.
    pub fn split(mut self) -> (String, String) {
        let outermost = if self.chain.len() > 1 { self.chain.pop() } else { None };
        (outermost.unwrap_or_default().into_owned(), self.to_string())
    }

    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The errno at the end of the chain, if a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        (self.errno != 0).then(|| Errno::from_raw(self.errno))
    }

    /// The bytes that carry this error over the init socket: kind, errno, then the chain, NUL between.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind as u8];
        bytes.extend_from_slice(&self.errno.to_le_bytes());
        bytes.extend_from_slice(self.chain.join("\0").as_bytes());
        bytes
    }

    /// The reverse of [`Error::encode`]. Never fails: a message cut short is still the best there is.
    pub fn decode(bytes: &[u8]) -> Error {
        let kind = Kind::from_byte(bytes.first().copied().unwrap_or(0));
        let errno = match bytes.get(1..5) {
            Some(&[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]),
            _ => 0,
        };
        let words = String::from_utf8_lossy(bytes.get(5..).unwrap_or_default()).into_owned();
        let chain = words.split('\0').map(|word| Cow::Owned(word.to_owned())).collect();
        Error { kind, chain, errno }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.chain.iter().rev().enumerate() {
            if i > 0 {
                f.write_str(": ")?;
            }
            f.write_str(word)?;
        }
        match self.errno {
            0 => Ok(()),
            errno => write!(f, ": {}", errno_text(errno)),
        }
    }
}

impl std::error::Error for Error {}

/// The errno as Go prints it. Engines compare these texts, case-sensitively (peers: docker/cli, CRI-O).
pub fn errno_text(errno: i32) -> Cow<'static, str> {
    match usize::try_from(errno).ok().and_then(|number| errno::TEXTS.lines().nth(number)) {
        Some(text) if !text.is_empty() => text.into(),
        _ => format!("errno {errno}").into(),
    }
}

/// Adds what was being done to an error that has a chain already, or to a bare errno.
pub trait Context<T> {
    /// Puts `what` in front of the chain.
    fn context(self, what: impl Into<Cow<'static, str>>) -> Result<T>;
    /// The same, built only when there is an error.
    fn with_context<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for Result<T, Error> {
    fn context(self, what: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|e| e.context(what))
    }
    fn with_context<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.context(what()))
    }
}

impl<T> Context<T> for Result<T, Errno> {
    fn context(self, what: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|e| Error::os(e, what))
    }
    fn with_context<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::os(e, what()))
    }
}

impl<T> Context<T> for Result<T, rustix::io::Errno> {
    fn context(self, what: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|e| Error::raw(e.raw_os_error(), what.into()))
    }
    fn with_context<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::raw(e.raw_os_error(), what().into()))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|e| from_io(&e, what.into()))
    }
    fn with_context<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| from_io(&e, what().into()))
    }
}

fn from_io(error: &std::io::Error, what: Cow<'static, str>) -> Error {
    match error.raw_os_error() {
        Some(code) => Error::raw(code, what),
        None => Error::new(Kind::System, error.to_string()).context(what),
    }
}

/// `Err(Error)` of kind [`Kind::System`] with a formatted message.
#[macro_export]
macro_rules! bail {
    ($kind:ident, $($arg:tt)*) => {
        return Err($crate::error::Error::new($crate::error::Kind::$kind, format!($($arg)*)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_outermost_first_errno_last_in_lower_case() {
        let e = Error::os(Errno::ENOENT, "open source /srv/x").context("mounts[3] (/data)").context("create");
        assert_eq!(e.to_string(), "create: mounts[3] (/data): open source /srv/x: no such file or directory");
    }

    #[test]
    fn error_numbers_have_the_texts_of_go() {
        for (errno, text) in [
            (Errno::EIO, "input/output error"),
            (Errno::EAGAIN, "resource temporarily unavailable"),
            (Errno::ENOMEM, "cannot allocate memory"),
            (Errno::EBADF, "bad file descriptor"),
            (Errno::EXDEV, "invalid cross-device link"),
            (Errno::ERANGE, "numerical result out of range"),
            (Errno::ELOOP, "too many levels of symbolic links"),
            (Errno::EOPNOTSUPP, "operation not supported"),
            (Errno::EHWPOISON, "errno 133"),
        ] {
            assert_eq!(Error::os(errno, "act").to_string(), format!("act: {text}"));
        }
    }

    #[test]
    fn a_number_that_is_in_no_table_is_kept() {
        let e = Err::<(), _>(std::io::Error::from_raw_os_error(524)).context("bpf").unwrap_err();
        assert_eq!(Error::decode(&e.encode()).to_string(), "bpf: errno 524");
        for number in [41, 58, 0, -1, i32::MAX] {
            assert_eq!(errno_text(number), format!("errno {number}"));
        }
    }

    #[test]
    fn crosses_the_socket_unchanged() {
        for e in [
            Error::os(Errno::EPERM, "mount").context("a").context("b"),
            Error::new(Kind::Config, "process.cwd: missing"),
            Error::new(Kind::State, ""),
        ] {
            assert_eq!(Error::decode(&e.encode()), e);
        }
    }

    #[test]
    fn a_message_cut_short_is_still_an_error() {
        let bytes = Error::os(Errno::EPERM, "mount").encode();
        for n in 0..bytes.len() {
            let _ = Error::decode(&bytes[..n]).to_string();
        }
        assert_eq!(Error::decode(&bytes[..7]).errno(), Some(Errno::EPERM));
    }
}
