//! A connection to systemd: blocking, without a thread, with a time limit for everything.
//!
//! Own code, after a look at what there is: zbus brings an async executor, dbus a C library, and rustbus, the one blocking
//! crate without either, a second nix and syn, 140 KB, and no way to authenticate from within a user namespace or to
//! talk to systemd without a bus. What is needed is one call and one signal.

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

use super::wire::{self, Message, Method, Sort};
use crate::error::{Context, Errno, Error, Kind, Result};
use crate::plan::cgroup::systemd::Value;

/// How long systemd may take for anything, as in runc. It is slow when it reloads, and never this slow.
const PATIENCE: Duration = Duration::from_secs(30);

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";
const JOB_REMOVED: &str = "org.freedesktop.systemd1.Manager.JobRemoved";

/// A call that did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// systemd has refused: the name of the error, and its words.
    Refused(String, String),
    /// There was no answer.
    Broken(Error),
}

impl Failure {
    /// Whether the name of the error ends with this.
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Failure::Refused(full, _) if full.rsplit('.').next() == Some(name))
    }

    /// As an error: what systemd says is told as it says it.
    pub fn into_error(self) -> Error {
        match self {
            Failure::Refused(name, text) if text.is_empty() => Error::new(Kind::System, name),
            Failure::Refused(_, text) => Error::new(Kind::System, text.trim_end_matches('.').to_owned()),
            Failure::Broken(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Broken(error)
    }
}

/// A connection to a systemd.
#[derive(Debug)]
pub struct Bus {
    socket: OwnedFd,
    /// Straight to systemd, with no bus between.
    direct: bool,
    serial: u32,
    input: Vec<u8>,
    /// Jobs that have ended: object path and result.
    ended: Vec<(String, String)>,
    /// Where systemd's own root cgroup is, below the mount point, without a slash at either end.
    pub root: String,
}

impl Bus {
    /// Connects to the host's systemd, or to that of the user.
    ///
    /// # Errors
    /// None of the places where it listens can be reached, or it does not answer.
    pub fn connect(user: bool) -> Result<Bus> {
        let mut tried = String::new();
        for Place { path, direct } in places(user) {
            match Bus::at(&path, direct) {
                Ok(bus) => return Ok(bus),
                Err(error) => {
                    tried.push_str(if tried.is_empty() { "" } else { "; " });
                    tried.push_str(&error.to_string());
                }
            }
        }
        let whose = if user { "the user's systemd" } else { "systemd" };
        let tried = match (tried.is_empty(), user) {
            (true, _) => "neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS says where it is".to_owned(),
            (false, false) if !std::path::Path::new("/run/systemd/system").exists() => {
                format!("this host does not run systemd ({tried})")
            }
            (false, _) => tried,
        };
        Err(Error::new(Kind::System, tried).context(format!("connect to {whose}")))
    }

    fn at(path: &Address, direct: bool) -> Result<Bus> {
        let (address, name) = path;
        let what = || name.clone();
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .with_context(what)?;
        // Holds for connect as well: one whose queue is full would block it for ever.
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).with_context(what)?;
        connect(&socket, address).with_context(what)?;
        let mut bus =
            Bus { socket, direct, serial: 0, input: Vec::new(), ended: Vec::new(), root: String::new() };
        bus.greet().with_context(what)?;
        Ok(bus)
    }

    /// Authenticates, and asks what has to be known first.
    fn greet(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // Without a name: the other side takes the user from the socket. A number would have to be the one outside of
        // our user namespace. All of it at once and nothing behind it, as systemd's own programs do: what systemd reads
        // together with BEGIN it forgets until more arrives.
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            match self.line(deadline)? {
                line if line.starts_with("OK ") => break,
                line if line == "DATA" => {}
                line => return Err(refused(&line)),
            }
        }
        let mut first = Vec::new();
        if !self.direct {
            let bus = Method {
                destination: Some("org.freedesktop.DBus"),
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "Hello",
            };
            self.serial += 1;
            wire::call(&mut first, self.serial, bus, &[]);
            self.serial += 1;
            let rule = format!(
                "type='signal',sender='{DESTINATION}',path='{OBJECT}',interface='{MANAGER}',member='JobRemoved'"
            );
            wire::call(&mut first, self.serial, Method { member: "AddMatch", ..bus }, &[Value::Str(rule)]);
        }
        let root = Method {
            destination: (!self.direct).then_some(DESTINATION),
            path: OBJECT,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        self.serial += 1;
        wire::call(&mut first, self.serial, root, &[Value::str(MANAGER), Value::str("ControlGroup")]);
        // In one go: nobody has to wait for an answer before the next question.
        self.write(&first)?;
        for serial in 1..self.serial {
            self.answer(serial, deadline).map_err(Failure::into_error)?;
        }
        let root = self.answer(self.serial, deadline).map_err(Failure::into_error)?;
        self.root = root.texts().first().map(|path| path.trim_matches('/').to_owned()).unwrap_or_default();
        Ok(())
    }

    /// Calls a method of systemd's manager and waits for its answer.
    ///
    /// # Errors
    /// It is refused, or there is no answer in time.
    pub fn call(&mut self, member: &str, arguments: &[Value]) -> Result<Message, Failure> {
        let mut bytes = Vec::new();
        let serial = self.put(&mut bytes, member, arguments);
        self.write(&bytes)?;
        self.answer(serial, Instant::now() + PATIENCE)
    }

    /// The same, and waits until systemd has done what it does after its answer: it works on what has changed before it
    /// looks at its next message, so one more is asked.
    ///
    /// # Errors
    /// As [`Bus::call`].
    pub fn call_and_settle(&mut self, member: &str, arguments: &[Value]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        let serial = self.put(&mut bytes, member, arguments);
        self.serial += 1;
        let ping = Method {
            destination: (!self.direct).then_some(DESTINATION),
            path: OBJECT,
            interface: "org.freedesktop.DBus.Peer",
            member: "Ping",
        };
        wire::call(&mut bytes, self.serial, ping, &[]);
        self.write(&bytes)?;
        let deadline = Instant::now() + PATIENCE;
        let answer = self.answer(serial, deadline);
        self.answer(self.serial, deadline)?;
        answer.map(drop)
    }

    /// Waits for the end of the job that a call was answered with.
    ///
    /// # Errors
    /// It has failed, or not ended in time.
    pub fn finish(&mut self, answer: &Message) -> Result<()> {
        let job = answer.texts().into_iter().next().unwrap_or_default();
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The end may have been told before the answer was.
            if let Some(at) = self.ended.iter().position(|(path, _)| *path == job) {
                return match self.ended.swap_remove(at).1.as_str() {
                    "done" => Ok(()),
                    result => Err(Error::new(Kind::System, format!("the job ended with {result:?}"))),
                };
            }
            self.receive(deadline)?;
        }
    }

    fn put(&mut self, bytes: &mut Vec<u8>, member: &str, arguments: &[Value]) -> u32 {
        self.serial += 1;
        let destination = (!self.direct).then_some(DESTINATION);
        let method = Method { destination, path: OBJECT, interface: MANAGER, member };
        wire::call(bytes, self.serial, method, arguments);
        self.serial
    }

    fn answer(&mut self, serial: u32, deadline: Instant) -> Result<Message, Failure> {
        loop {
            let message = self.receive(deadline)?;
            match message.sort {
                Some(Sort::Return) if message.reply_to == serial => return Ok(message),
                Some(Sort::Failure) if message.reply_to == serial => {
                    let text = message.texts().into_iter().next().unwrap_or_default();
                    return Err(Failure::Refused(message.name, text));
                }
                // Signals about others come along, and the bus tells us our name.
                _ => {}
            }
        }
    }

    /// The next message. The ends of jobs are kept.
    fn receive(&mut self, deadline: Instant) -> Result<Message> {
        loop {
            if let Some(message) = Message::take(&mut self.input)? {
                if message.sort == Some(Sort::Signal) && message.name == JOB_REMOVED {
                    // Number, object, unit, result.
                    if let [_, path, _, result] = &message.texts()[..] {
                        self.ended.push((path.clone(), result.clone()));
                    }
                }
                return Ok(message);
            }
            self.read(deadline)?;
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.input.len() > 4096 {
                return Err(refused("a line without end"));
            }
            self.read(deadline)?;
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&limit)) {
                Ok(0) => return Err(Error::os(Errno::ETIMEDOUT, "wait for systemd's answer")),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error).context("poll"),
            }
            let mut buffer = [0u8; 4096];
            match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(Error::new(Kind::System, "systemd has closed the connection")),
                Ok((_, n)) => {
                    self.input.extend_from_slice(&buffer[..n]);
                    return Ok(());
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error).context("receive systemd's answer"),
            }
        }
    }

    fn write(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match send(self.socket.as_fd(), bytes, SendFlags::NOSIGNAL) {
                Ok(n) => bytes = &bytes[n..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    return Err(Error::os(Errno::ETIMEDOUT, "send a message to systemd"));
                }
                Err(error) => return Err(error).context("send a message to systemd"),
            }
        }
        Ok(())
    }
}

fn refused(line: &str) -> Error {
    Error::new(Kind::System, format!("authentication refused: {line:?}"))
}

/// A socket's address, and what to call it.
type Address = (SocketAddrUnix, String);

struct Place {
    path: Address,
    direct: bool,
}

/// Where systemd listens, the best place first. It listens itself to root and to the user it runs as, which spares the
/// way through the bus, and works without one.
fn places(user: bool) -> Vec<Place> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut places = Vec::new();
    let mut file = |path: PathBuf, direct| {
        if let Ok(address) = SocketAddrUnix::new(&path) {
            places.push(Place { path: (address, path.display().to_string()), direct });
        }
    };
    let root = rustix::process::geteuid().is_root();
    let bus = match user {
        true => {
            let dir = variable("XDG_RUNTIME_DIR").map(PathBuf::from).or_else(|| {
                // In a user namespace there is no telling which user's.
                (!root).then(|| format!("/run/user/{}", rustix::process::geteuid().as_raw()).into())
            });
            if let Some(dir) = &dir {
                file(dir.join("systemd/private"), true);
            }
            match (variable("DBUS_SESSION_BUS_ADDRESS"), dir) {
                (None, Some(dir)) => {
                    file(dir.join("bus"), false);
                    None
                }
                (given, _) => given,
            }
        }
        false => {
            if root {
                file("/run/systemd/private".into(), true);
            }
            let given = variable("DBUS_SYSTEM_BUS_ADDRESS");
            if given.is_none() {
                file("/run/dbus/system_bus_socket".into(), false);
            }
            given
        }
    };
    let given = bus.as_deref().map(addresses).unwrap_or_default();
    places.extend(given.into_iter().map(|path| Place { path, direct: false }));
    places
}

/// The sockets that an address of D-Bus names: `unix:path=/run/bus,guid=…;unix:abstract=…`.
fn addresses(text: &str) -> Vec<Address> {
    let socket = |address: &str| {
        let mut keys = address.strip_prefix("unix:")?.split(',').filter_map(|pair| pair.split_once('='));
        let (key, value) = keys.find(|(key, _)| matches!(*key, "path" | "abstract"))?;
        let value = unescape(value)?;
        let name = String::from_utf8_lossy(&value).into_owned();
        let address = match key {
            "path" => SocketAddrUnix::new(&*value),
            _ => SocketAddrUnix::new_abstract_name(&value),
        };
        Some((address.ok()?, name))
    };
    text.split(';').filter_map(socket).collect()
}

/// `%2f` is a slash.
fn unescape(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(text.as_bytes().into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_buses() {
        let names = |text: &str| addresses(text).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names("unix:path=/run/user/1000/bus"), ["/run/user/1000/bus"]);
        assert_eq!(names("unix:path=/a%20b,guid=1;unix:abstract=/tmp/x,guid=2"), ["/a b", "/tmp/x"]);
        assert_eq!(names("tcp:host=a,port=1;unix:guid=1;unix:path=/b"), ["/b"]);
        assert_eq!(names("unix:path=/a%2;unix:path=/a%zz"), [""; 0]);
        assert!(matches!(&addresses("unix:abstract=x")[0].0.abstract_name(), Some(b"x")));
    }

    #[test]
    fn failures_are_known_by_their_last_name() {
        let failure = Failure::Refused("org.freedesktop.systemd1.UnitExists".into(), "Unit x exists.".into());
        assert!(failure.is("UnitExists") && !failure.is("Exists"));
        assert_eq!(failure.into_error().to_string(), "Unit x exists");
    }
}
