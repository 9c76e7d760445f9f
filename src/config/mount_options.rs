//! The mount options of config.json, sorted out into what the kernel wants.
//!
//! One table for the specification's options (config.md, "Linux mount options"), runc's and a few of
//! crun's; everything else is data for the file system. Of two options that contradict each other the
//! last one wins, as with mount(8).

/// `MS_*` of mount(2) (linux/mount.h).
pub mod ms {
    #![allow(missing_docs)]
    pub const RDONLY: u64 = 1;
    pub const NOSUID: u64 = 1 << 1;
    pub const NODEV: u64 = 1 << 2;
    pub const NOEXEC: u64 = 1 << 3;
    pub const SYNCHRONOUS: u64 = 1 << 4;
    pub const REMOUNT: u64 = 1 << 5;
    pub const MANDLOCK: u64 = 1 << 6;
    pub const DIRSYNC: u64 = 1 << 7;
    pub const NOSYMFOLLOW: u64 = 1 << 8;
    pub const NOATIME: u64 = 1 << 10;
    pub const NODIRATIME: u64 = 1 << 11;
    pub const BIND: u64 = 1 << 12;
    pub const REC: u64 = 1 << 14;
    pub const SILENT: u64 = 1 << 15;
    pub const UNBINDABLE: u64 = 1 << 17;
    pub const PRIVATE: u64 = 1 << 18;
    pub const SLAVE: u64 = 1 << 19;
    pub const SHARED: u64 = 1 << 20;
    pub const RELATIME: u64 = 1 << 21;
    pub const I_VERSION: u64 = 1 << 23;
    pub const STRICTATIME: u64 = 1 << 24;
    pub const LAZYTIME: u64 = 1 << 25;
}

/// `MOUNT_ATTR_*` of mount_setattr(2) and fsmount(2) (linux/mount.h).
pub mod attr {
    #![allow(missing_docs)]
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    /// Not a flag but a field of three values: to change it, all of it has to be in `attr_clr`.
    pub const ATIME: u64 = 0x70;
    pub const RELATIME: u64 = 0x0;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const IDMAP: u64 = 0x10_0000;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// `idmap` or `ridmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idmap {
    /// For the mounts below as well.
    pub recursive: bool,
}

/// All options of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `bind` or `rbind`.
    pub bind: bool,
    /// `rbind`.
    pub recursive_bind: bool,
    /// `remount`: change what is mounted there.
    pub remount: bool,
    /// Propagation changes, in the order given: one of `MS_PRIVATE` … with `MS_REC` for the `r…` forms.
    pub propagation: Vec<u64>,
    /// `MOUNT_ATTR_*` to set on this mount.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` to clear on this mount. Together with `attr_set` it is what mount_setattr(2)
    /// takes: whenever the atime mode changes, all of `MOUNT_ATTR__ATIME` is in here.
    pub attr_clr: u64,
    /// `MOUNT_ATTR_*` to set on this mount and all below (`AT_RECURSIVE`).
    pub rec_attr_set: u64,
    /// `MOUNT_ATTR_*` to clear on this mount and all below.
    pub rec_attr_clr: u64,
    /// `MS_*` of the superblock, (set, cleared): read-only, sync, dirsync, mand, iversion, lazytime, silent.
    /// Meaningless for a bind mount, which has its source's superblock.
    pub ms_flags: (u64, u64),
    /// Options of the file system, in the order given.
    pub data: Vec<String>,
    /// `tmpcopyup`: fill a new tmpfs with what it covers.
    pub copy_up: bool,
    /// The mount's own id mapping.
    pub idmap: Option<Idmap>,
    /// `copy-symlink` (crun): a source that is a symlink is copied, not followed.
    pub copy_symlink: bool,
    /// `src-nofollow` (crun): a source that is a symlink is bound itself.
    pub src_nofollow: bool,
    /// `dest-nofollow` (crun): a target that is a symlink is mounted upon itself.
    pub dest_nofollow: bool,
}

#[derive(Clone, Copy)]
enum Effect {
    Nothing,
    /// A `MOUNT_ATTR_*` flag on or off; recursive or not.
    Attr {
        rec: bool,
        flag: u64,
        on: bool,
    },
    /// Read-only is both a mount's and a superblock's.
    ReadOnly(bool),
    /// This atime mode.
    Atime {
        rec: bool,
        mode: u64,
    },
    /// Not this atime mode: back to the kernel's default, relatime.
    NotAtime {
        rec: bool,
        mode: u64,
    },
    /// A superblock flag on or off.
    Super(u64, bool),
    Propagation(u64),
    Bind {
        rec: bool,
    },
    Remount,
    CopyUp,
    Idmap {
        rec: bool,
    },
    CopySymlink,
    SrcNofollow,
    DestNofollow,
}

const fn on(flag: u64) -> Effect {
    Effect::Attr { rec: false, flag, on: true }
}
const fn off(flag: u64) -> Effect {
    Effect::Attr { rec: false, flag, on: false }
}
const fn ron(flag: u64) -> Effect {
    Effect::Attr { rec: true, flag, on: true }
}
const fn roff(flag: u64) -> Effect {
    Effect::Attr { rec: true, flag, on: false }
}

/// Sorted by name: it is searched by halves.
#[rustfmt::skip]
const TABLE: &[(&str, Effect)] = &[
    ("async", Effect::Super(ms::SYNCHRONOUS, false)),
    ("atime", Effect::NotAtime { rec: false, mode: attr::NOATIME }),
    ("bind", Effect::Bind { rec: false }),
    ("copy-symlink", Effect::CopySymlink),
    ("defaults", Effect::Nothing),
    ("dest-nofollow", Effect::DestNofollow),
    ("dev", off(attr::NODEV)),
    ("diratime", off(attr::NODIRATIME)),
    ("dirsync", Effect::Super(ms::DIRSYNC, true)),
    ("exec", off(attr::NOEXEC)),
    ("idmap", Effect::Idmap { rec: false }),
    ("iversion", Effect::Super(ms::I_VERSION, true)),
    ("lazytime", Effect::Super(ms::LAZYTIME, true)),
    ("loud", Effect::Super(ms::SILENT, false)),
    ("mand", Effect::Super(ms::MANDLOCK, true)),
    ("noatime", Effect::Atime { rec: false, mode: attr::NOATIME }),
    ("nodev", on(attr::NODEV)),
    ("nodiratime", on(attr::NODIRATIME)),
    ("noexec", on(attr::NOEXEC)),
    ("noiversion", Effect::Super(ms::I_VERSION, false)),
    ("nolazytime", Effect::Super(ms::LAZYTIME, false)),
    ("nomand", Effect::Super(ms::MANDLOCK, false)),
    ("norelatime", Effect::NotAtime { rec: false, mode: attr::RELATIME }),
    ("nostrictatime", Effect::NotAtime { rec: false, mode: attr::STRICTATIME }),
    ("nosuid", on(attr::NOSUID)),
    ("nosymfollow", on(attr::NOSYMFOLLOW)),
    ("private", Effect::Propagation(ms::PRIVATE)),
    ("ratime", Effect::NotAtime { rec: true, mode: attr::NOATIME }),
    ("rbind", Effect::Bind { rec: true }),
    ("rdev", roff(attr::NODEV)),
    ("rdiratime", roff(attr::NODIRATIME)),
    ("relatime", Effect::Atime { rec: false, mode: attr::RELATIME }),
    ("remount", Effect::Remount),
    ("rexec", roff(attr::NOEXEC)),
    ("ridmap", Effect::Idmap { rec: true }),
    ("rnoatime", Effect::Atime { rec: true, mode: attr::NOATIME }),
    ("rnodev", ron(attr::NODEV)),
    ("rnodiratime", ron(attr::NODIRATIME)),
    ("rnoexec", ron(attr::NOEXEC)),
    ("rnorelatime", Effect::NotAtime { rec: true, mode: attr::RELATIME }),
    ("rnostrictatime", Effect::NotAtime { rec: true, mode: attr::STRICTATIME }),
    ("rnosuid", ron(attr::NOSUID)),
    ("rnosymfollow", ron(attr::NOSYMFOLLOW)),
    ("ro", Effect::ReadOnly(true)),
    ("rprivate", Effect::Propagation(ms::PRIVATE | ms::REC)),
    ("rrelatime", Effect::Atime { rec: true, mode: attr::RELATIME }),
    ("rro", ron(attr::RDONLY)),
    ("rrw", roff(attr::RDONLY)),
    ("rshared", Effect::Propagation(ms::SHARED | ms::REC)),
    ("rslave", Effect::Propagation(ms::SLAVE | ms::REC)),
    ("rstrictatime", Effect::Atime { rec: true, mode: attr::STRICTATIME }),
    ("rsuid", roff(attr::NOSUID)),
    ("rsymfollow", roff(attr::NOSYMFOLLOW)),
    ("runbindable", Effect::Propagation(ms::UNBINDABLE | ms::REC)),
    ("rw", Effect::ReadOnly(false)),
    ("shared", Effect::Propagation(ms::SHARED)),
    ("silent", Effect::Super(ms::SILENT, true)),
    ("slave", Effect::Propagation(ms::SLAVE)),
    ("src-nofollow", Effect::SrcNofollow),
    ("strictatime", Effect::Atime { rec: false, mode: attr::STRICTATIME }),
    ("suid", off(attr::NOSUID)),
    ("symfollow", off(attr::NOSYMFOLLOW)),
    ("sync", Effect::Super(ms::SYNCHRONOUS, true)),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", Effect::Propagation(ms::UNBINDABLE)),
];

/// The names of all options that mean something to us, sorted: `features.mountOptions`.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// Whether some of what `option` joins by commas would have meant something to us on its own. mount(2) gives such a
/// string to the file system as it is, and so does every runtime.
pub fn joins_known(option: &str) -> bool {
    option.contains(',') && option.split(',').any(|part| lookup(part).is_some())
}

/// The flags that `linux.rootfsPropagation` stands for: one of `MS_PRIVATE` … with `MS_REC` for the `r…` forms.
pub fn propagation(name: &str) -> Option<u64> {
    match lookup(name) {
        Some(Effect::Propagation(flags)) => Some(flags),
        _ => None,
    }
}

fn lookup(name: &str) -> Option<Effect> {
    TABLE.binary_search_by_key(&name, |(key, _)| key).ok().map(|at| TABLE[at].1)
}

impl MountOptions {
    /// Sorts the options out. Nothing is an error: what is not known belongs to the file system.
    pub fn parse<S: AsRef<str>>(options: &[S]) -> MountOptions {
        let mut result = MountOptions::default();
        for option in options.iter().map(AsRef::as_ref).filter(|option| !option.is_empty()) {
            match lookup(option) {
                Some(effect) => result.apply(effect),
                None => result.data.push(option.to_owned()),
            }
        }
        result
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Attr { rec, flag, on } => switch(self.attrs(rec), flag, on),
            Effect::ReadOnly(on) => {
                switch(self.attrs(false), attr::RDONLY, on);
                self.super_flag(ms::RDONLY, on);
            }
            Effect::Atime { rec, mode } => {
                let (set, clr) = self.attrs(rec);
                *set = (*set & !attr::ATIME) | mode;
                *clr |= attr::ATIME;
            }
            Effect::NotAtime { rec, mode } => {
                let (set, clr) = self.attrs(rec);
                let now = (*clr & attr::ATIME != 0).then_some(*set & attr::ATIME);
                if mode == attr::RELATIME {
                    // It is the default: not asking for it is all that "not relatime" can do.
                    if now == Some(mode) {
                        *clr &= !attr::ATIME;
                    }
                } else if now.is_none_or(|now| now == mode) {
                    *set &= !attr::ATIME;
                    *clr |= attr::ATIME;
                }
            }
            Effect::Super(flag, on) => self.super_flag(flag, on),
            Effect::Propagation(flags) => self.propagation.push(flags),
            // As with runc, `bind` does not take `rbind` back: losing the mounts below would be a surprise.
            Effect::Bind { rec } => {
                self.bind = true;
                self.recursive_bind |= rec;
            }
            Effect::Remount => self.remount = true,
            Effect::CopyUp => self.copy_up = true,
            Effect::Idmap { rec } => self.idmap = Some(Idmap { recursive: rec }),
            Effect::CopySymlink => self.copy_symlink = true,
            Effect::SrcNofollow => self.src_nofollow = true,
            Effect::DestNofollow => self.dest_nofollow = true,
        }
    }

    /// Takes read-only out, and says whether a new mount, with nothing below it yet, would have come out read-only.
    pub fn take_readonly(&mut self) -> bool {
        let own = self.attr_set & attr::RDONLY & !self.rec_attr_clr;
        let readonly = own | (self.rec_attr_set & attr::RDONLY) != 0;
        self.attr_set &= !attr::RDONLY;
        self.rec_attr_set &= !attr::RDONLY;
        self.ms_flags.0 &= !ms::RDONLY;
        readonly
    }

    fn attrs(&mut self, rec: bool) -> (&mut u64, &mut u64) {
        if rec {
            (&mut self.rec_attr_set, &mut self.rec_attr_clr)
        } else {
            (&mut self.attr_set, &mut self.attr_clr)
        }
    }

    fn super_flag(&mut self, flag: u64, on: bool) {
        let (set, clr) = &mut self.ms_flags;
        switch((set, clr), flag, on);
    }

    /// All flags as one word for mount(2), where the new mount API is not there. Propagation and the
    /// recursive attributes need calls of their own.
    pub fn classic(&self) -> u64 {
        const SAME: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
        let when = |yes: bool, flag: u64| if yes { flag } else { 0 };
        let atime = match (self.attr_clr & attr::ATIME != 0, self.attr_set & attr::ATIME) {
            (_, attr::NOATIME) => ms::NOATIME,
            (_, attr::STRICTATIME) => ms::STRICTATIME,
            (true, _) => ms::RELATIME,
            (false, _) => 0,
        };
        (self.attr_set & SAME)
            | when(self.attr_set & attr::NODIRATIME != 0, ms::NODIRATIME)
            | when(self.attr_set & attr::NOSYMFOLLOW != 0, ms::NOSYMFOLLOW)
            | when(self.bind, ms::BIND)
            | when(self.recursive_bind, ms::REC)
            | when(self.remount, ms::REMOUNT)
            | atime
            | self.ms_flags.0
    }
}

fn switch((set, clr): (&mut u64, &mut u64), flag: u64, on: bool) {
    let (into, from) = if on { (set, clr) } else { (clr, set) };
    *into |= flag;
    *from &= !flag;
}

#[cfg(test)]
#[path = "mount_options_tests.rs"]
mod tests;
