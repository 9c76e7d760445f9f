//! What is asked of criu, as the bytes that `criu swrk` reads.
//!
//! criu's command line can neither hand over the controlling side of a terminal nor stop for the hooks of a namespace that
//! is just made; its socket can, and every runtime uses that. What goes over it is protocol buffers
//! (criu's `images/rpc.proto`): some twenty numbered fields, for which this writer and reader are enough.

use std::path::{Path, PathBuf};

use super::Plan;
use super::libc_flag::{NEWCGROUP, NEWNET, NEWNS, NEWPID};
use super::namespaces::{KINDS, Namespaces};
use super::rootfs::{Action, Mount, Rootfs};
use crate::config::mount_options::MountOptions;
use crate::error::{Error, Kind, Result};

/// The flags of `checkpoint` and `restore`, as far as they go to criu.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--tcp-established`.
    pub tcp_established: bool,
    /// `--ext-unix-sk`.
    pub ext_unix_sk: bool,
    /// `--shell-job`.
    pub shell_job: bool,
    /// `--lazy-pages`.
    pub lazy_pages: bool,
    /// `--file-locks`.
    pub file_locks: bool,
    /// `--auto-dedup`.
    pub auto_dedup: bool,
    /// `--manage-cgroups-mode`, by criu's number.
    pub cgroups_mode: u64,
    /// `--network-lock`, by criu's number; 0 is criu's default.
    pub network_lock: u64,
    /// `--leave-running`.
    pub leave_running: bool,
    /// `--pre-dump`.
    pub pre_dump: bool,
    /// `--tcp-skip-in-flight`.
    pub tcp_skip_in_flight: bool,
    /// `--link-remap`.
    pub link_remap: bool,
    /// `--parent-path`, relative to the images.
    pub parent_path: String,
    /// `--page-server`.
    pub page_server: Option<(String, u16)>,
    /// `--tcp-close`.
    pub tcp_close: bool,
    /// `--lsm-profile`.
    pub lsm_profile: String,
    /// `--lsm-mount-context`.
    pub lsm_mount_context: String,
}

/// The number of a `--manage-cgroups-mode`; empty is soft.
pub fn cgroups_mode(name: &str) -> Result<u64> {
    match name {
        "ignore" => Ok(0),
        "" | "soft" => Ok(3),
        "full" => Ok(4),
        "strict" => Ok(5),
        other => Err(Error::new(
            Kind::Usage,
            format!("invalid --manage-cgroups-mode {other:?}: must be soft, full, strict or ignore"),
        )),
    }
}

/// The number of a `--network-lock`; empty is criu's default.
pub fn network_lock(name: &str) -> Result<u64> {
    match name {
        "" => Ok(0),
        "iptables" => Ok(1),
        "nftables" => Ok(2),
        "skip" => Ok(3),
        other => Err(Error::new(
            Kind::Usage,
            format!("invalid --network-lock {other:?}: must be iptables, nftables or skip"),
        )),
    }
}

/// What a checkpoint cannot hold, or a restore not give back: refused before anything is done.
pub fn judge(plan: &Plan) -> Result<()> {
    let refuse = |what: String| Err(Error::new(Kind::Unsupported, what));
    let namespaces = &plan.namespaces;
    if !namespaces.has(NEWPID) {
        return refuse("a container without a pid namespace cannot be checkpointed or restored".into());
    }
    if namespaces.new & NEWNS == 0 {
        return refuse("a container without a new mount namespace cannot be checkpointed or restored".into());
    }
    if namespaces.joins(NEWCGROUP) {
        return refuse("a container that joins a cgroup namespace cannot be checkpointed or restored".into());
    }
    for mount in plan.rootfs.iter().flat_map(|rootfs| &rootfs.mounts) {
        if mount.idmap.is_some() {
            // criu would bring it back without the mapping, and with it root's own files.
            return refuse(format!(
                "{}: a container with id-mapped mounts cannot be checkpointed or restored",
                mount.describe()
            ));
        }
    }
    Ok(())
}

/// A mount whose content is not the container's: criu leaves it out, and is told what to bind in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Where config.json has it; also its name in the images.
    pub destination: PathBuf,
    /// What it shows, a path of the host.
    pub source: PathBuf,
    /// How.
    pub options: MountOptions,
}

/// The bind mounts of a container, and those of its cgroups, where `cgroups` are their names below a mount of type
/// `cgroup` (empty: the mount itself) and their directories on the host.
pub fn externals(rootfs: &Rootfs, cgroups: &[(String, PathBuf)]) -> Vec<External> {
    let mut all = Vec::new();
    for Mount { destination, action, options, .. } in &rootfs.mounts {
        let mut add = |destination: PathBuf, source: &PathBuf| {
            all.push(External { destination, source: source.clone(), options: options.clone() });
        };
        match action {
            Action::Bind { source } => add(destination.clone(), source),
            Action::Cgroup => {
                for (name, dir) in cgroups {
                    add(if name.is_empty() { destination.clone() } else { destination.join(name) }, dir);
                }
            }
            Action::Fs { .. } | Action::Remount => {}
        }
    }
    if rootfs.bind_devices {
        all.extend(rootfs.devices.iter().map(|device| External {
            destination: device.path.clone(),
            source: device.path.clone(),
            options: MountOptions::default(),
        }));
    }
    all
}

/// What lies over masked files, by its name in the images.
pub const MASK: &str = "/dev/null";

/// The mounts of a container whose attributes are to be set once they are in place, and how. criu sets those of the first
/// of several mounts of the same thing only, so that of two read-only ones the second would be writable, and the
/// `/dev/null` of the host over the second masked file.
pub fn attributes<'a>(
    rootfs: &'a Rootfs,
    externals: &'a [External],
    mask: &'a MountOptions,
) -> impl Iterator<Item = (&'a Path, &'a MountOptions)> {
    let own = externals.iter().map(|external| (external.destination.as_path(), &external.options));
    own.chain(rootfs.masked.iter().map(move |path| (path.as_path(), mask)))
}

/// How a file is masked.
pub fn mask() -> MountOptions {
    MountOptions::parse(&["bind", "ro", "nosuid", "noexec"])
}

/// Where criu reads and writes, by descriptors of the process that has made its socket, which is itself.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The images.
    pub images: i32,
    /// Logs and other files; `None` is with the images.
    pub work: Option<i32>,
    /// The name of the log.
    pub log: &'static str,
    /// A configuration of criu's own, whose settings come last.
    pub config: String,
}

/// What a dump is of.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// The container's process.
    pub pid: i32,
    /// The cgroup that is frozen meanwhile, a path of the host.
    pub freezer: String,
    /// Mount points in the container, and their names in the images.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Namespaces that are not the container's: type and inode.
    pub namespaces: Vec<(&'static str, u64)>,
    /// Open files that are not the container's, by criu's names of them.
    pub files: Vec<String>,
}

/// What a restore works with.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// Where the root is mounted.
    pub root: PathBuf,
    /// Names of mounts in the images, and what to bind there.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Descriptors of criu's, and what they take the place of.
    pub inherit: Vec<(i32, String)>,
    /// Namespaces to join: type and path.
    pub join: Vec<(&'static str, PathBuf)>,
    /// The cgroup by hierarchy, as in /proc/PID/cgroup.
    pub cgroups: Vec<(String, String)>,
}

/// criu's name of a namespace that is not the container's and that it can leave alone: what runc calls it too, so that each
/// can restore what the other has saved.
pub fn namespace_key(kind: &str) -> String {
    let (first, rest) = kind.split_at(1);
    format!("extRoot{}{rest}NS", first.to_ascii_uppercase())
}

/// Type and path of namespaces.
type NamespacePaths = Vec<(&'static str, PathBuf)>;

/// Whether criu leaves a namespace of this kind alone, if the container joins one.
pub fn is_left_alone(kind: u64) -> bool {
    kind & (NEWNET | NEWPID) != 0
}

/// The namespaces which the container joins, by how they are restored: left alone, or joined by criu. In their order.
pub fn joined(namespaces: &Namespaces) -> (NamespacePaths, NamespacePaths) {
    let named = namespaces.join.iter().filter_map(|join| {
        let (_, name, _) = KINDS.iter().find(|(_, _, kind)| *kind == join.kind)?;
        Some((join.kind, (*name, join.path.clone())))
    });
    let (left, joined): (Vec<_>, Vec<_>) = named.partition(|(kind, _)| is_left_alone(*kind));
    let plain = |list: Vec<(u64, _)>| list.into_iter().map(|(_, named)| named).collect();
    (plain(left), plain(joined))
}

const DUMP: u64 = 1;
const RESTORE: u64 = 2;
const PRE_DUMP: u64 = 4;
const NOTIFY: u64 = 6;

/// The request of a dump, or, by the flags, of a pre-dump.
pub fn dump(flags: &Flags, place: &Place, what: &Dump) -> Vec<u8> {
    let mut opts = shared(flags, place);
    opts.number(2, what.pid as u64);
    opts.flag(3, flags.leave_running);
    opts.text(44, &what.freezer);
    opts.text(14, &flags.parent_path);
    opts.flag(15, !flags.parent_path.is_empty());
    opts.flag(18, flags.link_remap);
    opts.flag(46, flags.tcp_skip_in_flight);
    if let Some((address, port)) = &flags.page_server {
        let mut server = Message::default();
        server.text(1, address);
        server.number(2, (*port).into());
        opts.message(11, &server);
    }
    for (kind, inode) in &what.namespaces {
        opts.text(37, &format!("{kind}[{inode}]:{}", namespace_key(kind)));
    }
    for file in &what.files {
        opts.text(37, file);
    }
    if !flags.pre_dump {
        mounts(&mut opts, &what.mounts);
    }
    request(if flags.pre_dump { PRE_DUMP } else { DUMP }, &opts)
}

/// The request of a restore.
pub fn restore(flags: &Flags, place: &Place, what: &Restore) -> Vec<u8> {
    let mut opts = shared(flags, place);
    opts.bytes(13, bytes(&what.root));
    // Device files are found by their numbers, wherever they were opened.
    opts.flag(6, true);
    // The restored process is a child of ours, not of criu's.
    opts.flag(26, true);
    opts.flag(52, flags.tcp_close);
    opts.text(53, &flags.lsm_profile);
    opts.text(63, &flags.lsm_mount_context);
    mounts(&mut opts, &what.mounts);
    for (fd, key) in &what.inherit {
        let mut inherit = Message::default();
        inherit.text(1, key);
        inherit.number(2, *fd as u64);
        opts.message(27, &inherit);
    }
    for (kind, path) in &what.join {
        let mut join = Message::default();
        join.text(1, kind);
        join.bytes(2, bytes(path));
        opts.message(39, &join);
    }
    for (controller, path) in &what.cgroups {
        let mut root = Message::default();
        // An empty name is v2's.
        root.bytes(1, controller.as_bytes());
        root.text(2, path);
        opts.message(25, &root);
    }
    request(RESTORE, &opts)
}

fn shared(flags: &Flags, place: &Place) -> Message {
    let mut opts = Message::default();
    opts.number(1, place.images as u64);
    if let Some(work) = place.work {
        opts.number(17, work as u64);
    }
    opts.number(9, 4);
    opts.text(10, place.log);
    opts.text(51, &place.config);
    opts.flag(12, true);
    opts.flag(4, flags.ext_unix_sk);
    opts.flag(5, flags.tcp_established);
    opts.flag(7, flags.shell_job);
    opts.flag(8, flags.file_locks);
    opts.flag(16, flags.auto_dedup);
    opts.flag(24, true);
    opts.number(34, flags.cgroups_mode);
    // Whatever is in a network namespace is the engine's, which makes it anew.
    opts.number(38, NEWNET);
    opts.flag(48, flags.lazy_pages);
    opts.flag(50, true);
    if flags.network_lock != 0 {
        opts.number(64, flags.network_lock);
    }
    opts
}

fn mounts(opts: &mut Message, mounts: &[(PathBuf, PathBuf)]) {
    for (key, value) in mounts {
        opts.bytes(37, &[b"mnt[", bytes(key), b"]:", bytes(value)].concat());
    }
}

fn bytes(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

fn request(kind: u64, opts: &Message) -> Vec<u8> {
    let mut request = Message::default();
    request.number(1, kind);
    request.message(2, opts);
    request.0
}

/// The answer to a notification.
pub fn noticed(well: bool) -> Vec<u8> {
    let mut request = Message::default();
    request.number(1, NOTIFY);
    request.number(3, well.into());
    request.0
}

/// What criu says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has come to this point, and waits for [`noticed`].
    Notify {
        /// The name of the point.
        script: String,
        /// The process that it is about, or 0.
        pid: i32,
    },
    /// All is done.
    Done,
    /// It has failed.
    Failed {
        /// An errno, or 0.
        errno: i32,
    },
}

/// Reads a message of criu's. `None`: it is none.
pub fn answer(bytes: &[u8]) -> Option<Answer> {
    let (mut kind, mut success, mut errno) = (0, 0, 0);
    let (mut script, mut pid) = (String::new(), 0);
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Value::Number(n)) => kind = n,
            (2, Value::Number(n)) => success = n,
            (7, Value::Number(n)) => errno = n as i32,
            (5, Value::Bytes(notify)) => {
                for (field, value) in fields(notify)? {
                    match (field, value) {
                        (1, Value::Bytes(text)) => script = String::from_utf8_lossy(text).into_owned(),
                        (2, Value::Number(n)) => pid = n as i32,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(match kind {
        NOTIFY => Answer::Notify { script, pid },
        _ if success != 0 => Answer::Done,
        _ => Answer::Failed { errno },
    })
}

/// Numbered fields, as protocol buffers write them.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.number(field, 1);
        }
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    /// Nothing, where the text is empty.
    fn text(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.bytes(field, value.as_bytes());
        }
    }

    fn message(&mut self, field: u32, value: &Message) {
        self.bytes(field, &value.0);
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            2 => Value::Bytes(take(&mut bytes, varint)?),
            1 => Value::Bytes(take(&mut bytes, |_| Some(8))?),
            5 => Value::Bytes(take(&mut bytes, |_| Some(4))?),
            _ => return None,
        };
        all.push((key >> 3, value));
    }
    Some(all)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: impl Fn(&mut &'a [u8]) -> Option<u64>) -> Option<&'a [u8]> {
    let length = usize::try_from(length(bytes)?).ok()?;
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}

#[cfg(test)]
#[path = "criu_tests.rs"]
mod tests;
