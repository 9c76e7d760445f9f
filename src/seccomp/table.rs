//! Syscall names to numbers, without a relocation and without a search.
//!
//! The generated rows exist only while compiling: the binary holds one blob of names, a hash table of 16-bit
//! indices and one column of 16-bit numbers an architecture, so a start touches a few pages and a static-pie
//! executable has nothing to relocate here.

#[rustfmt::skip]
#[path = "numbers.rs"]
mod numbers;

pub(super) use numbers::Column;
use numbers::{COLUMNS, ROWS};

const NAMES: usize = ROWS.len();
/// A power of two, at least three times the number of names: a lookup then compares 1.2 names on average.
const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;
/// ARM's private calls are stored as 0xf000 + n and mean 0xf0000 + n.
const ARM_PRIVATE: u16 = 0xf000;

/// The index of a name in every column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(u16);

const fn blob_len() -> usize {
    let (mut len, mut i) = (0, 0);
    while i < NAMES {
        len += ROWS[i].0.len();
        i += 1;
    }
    len
}

const BLOB: usize = blob_len();

struct Names {
    blob: [u8; BLOB],
    /// Where name `i` starts in the blob; it ends where the next starts.
    starts: [u16; NAMES + 1],
    slots: [u16; SLOTS],
}

const fn hash(name: &[u8]) -> usize {
    // FNV-1a, folded: the low bits of the product alone are weak for short names.
    let mut h: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < name.len() {
        h = (h ^ name[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (h ^ (h >> 15)) as usize % SLOTS
}

const fn build() -> Names {
    let mut names = Names { blob: [0; BLOB], starts: [0; NAMES + 1], slots: [EMPTY; SLOTS] };
    let (mut at, mut i) = (0, 0);
    while i < NAMES {
        let bytes = ROWS[i].0.as_bytes();
        let mut j = 0;
        while j < bytes.len() {
            names.blob[at] = bytes[j];
            at += 1;
            j += 1;
        }
        names.starts[i + 1] = at as u16;
        let mut slot = hash(bytes);
        while names.slots[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        names.slots[slot] = i as u16;
        i += 1;
    }
    names
}

const fn columns() -> [[u16; NAMES]; COLUMNS] {
    let mut columns = [[0; NAMES]; COLUMNS];
    let mut i = 0;
    while i < NAMES {
        let mut column = 0;
        while column < COLUMNS {
            columns[column][i] = ROWS[i].1[column];
            column += 1;
        }
        i += 1;
    }
    columns
}

/// How a call is reached through a multiplexer: the multiplexer's own number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Multiplexed {
    /// Not a socket or IPC call.
    No,
    /// `socketcall(number, ...)`, linux/net.h.
    Socket(u8),
    /// `ipc(number, ...)`, linux/ipc.h.
    Ipc(u8),
}

const MULTIPLEXED: [(&str, Multiplexed); 32] = [
    ("socket", Multiplexed::Socket(1)),
    ("bind", Multiplexed::Socket(2)),
    ("connect", Multiplexed::Socket(3)),
    ("listen", Multiplexed::Socket(4)),
    ("accept", Multiplexed::Socket(5)),
    ("getsockname", Multiplexed::Socket(6)),
    ("getpeername", Multiplexed::Socket(7)),
    ("socketpair", Multiplexed::Socket(8)),
    ("send", Multiplexed::Socket(9)),
    ("recv", Multiplexed::Socket(10)),
    ("sendto", Multiplexed::Socket(11)),
    ("recvfrom", Multiplexed::Socket(12)),
    ("shutdown", Multiplexed::Socket(13)),
    ("setsockopt", Multiplexed::Socket(14)),
    ("getsockopt", Multiplexed::Socket(15)),
    ("sendmsg", Multiplexed::Socket(16)),
    ("recvmsg", Multiplexed::Socket(17)),
    ("accept4", Multiplexed::Socket(18)),
    ("recvmmsg", Multiplexed::Socket(19)),
    ("sendmmsg", Multiplexed::Socket(20)),
    ("semop", Multiplexed::Ipc(1)),
    ("semget", Multiplexed::Ipc(2)),
    ("semctl", Multiplexed::Ipc(3)),
    ("semtimedop", Multiplexed::Ipc(4)),
    ("msgsnd", Multiplexed::Ipc(11)),
    ("msgrcv", Multiplexed::Ipc(12)),
    ("msgget", Multiplexed::Ipc(13)),
    ("msgctl", Multiplexed::Ipc(14)),
    ("shmat", Multiplexed::Ipc(21)),
    ("shmdt", Multiplexed::Ipc(22)),
    ("shmget", Multiplexed::Ipc(23)),
    ("shmctl", Multiplexed::Ipc(24)),
];

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

const fn multiplexed_column() -> [Multiplexed; NAMES] {
    let mut column = [Multiplexed::No; NAMES];
    let mut i = 0;
    while i < NAMES {
        let mut j = 0;
        while j < MULTIPLEXED.len() {
            if same(ROWS[i].0.as_bytes(), MULTIPLEXED[j].0.as_bytes()) {
                column[i] = MULTIPLEXED[j].1;
            }
            j += 1;
        }
        i += 1;
    }
    column
}

static NAME_TABLE: Names = build();
static NUMBERS: [[u16; NAMES]; COLUMNS] = columns();
static MULTIPLEX: [Multiplexed; NAMES] = multiplexed_column();

/// How a call is reached on the architectures that multiplex socket and IPC calls.
pub(super) fn multiplexed(name: Name) -> Multiplexed {
    MULTIPLEX[usize::from(name.0)]
}

/// The index of a syscall's name, or `None` when no architecture has it.
pub(super) fn find(name: &str) -> Option<Name> {
    let mut slot = hash(name.as_bytes());
    loop {
        let index = NAME_TABLE.slots[slot];
        if index == EMPTY {
            return None;
        }
        let i = usize::from(index);
        let (start, end) = (usize::from(NAME_TABLE.starts[i]), usize::from(NAME_TABLE.starts[i + 1]));
        if NAME_TABLE.blob.get(start..end) == Some(name.as_bytes()) {
            return Some(Name(index));
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The number of a call in one column (without the base of the architecture), if it exists there.
pub(super) fn number(column: Column, name: Name) -> Option<u32> {
    match NUMBERS[column as usize][usize::from(name.0)] {
        u16::MAX => None,
        n if n >= ARM_PRIVATE => Some(0xf_0000 + u32::from(n - ARM_PRIVATE)),
        n => Some(u32::from(n)),
    }
}

/// Every name, sorted.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_nothing_else() {
        for (i, (name, row)) in ROWS.iter().enumerate() {
            let found = find(name).unwrap();
            assert_eq!(usize::from(found.0), i, "{name}");
            assert_eq!(number(Column::x86_64, found).map_or(u16::MAX, |n| n as u16), row[0]);
        }
        for name in ["", "rea", "readx", "READ", "_", "no_such_call"] {
            assert_eq!(find(name), None, "{name}");
        }
        assert!(ROWS.is_sorted_by_key(|row| row.0));
        for (name, number) in MULTIPLEXED {
            assert_eq!(multiplexed(find(name).unwrap()), number);
        }
        assert_eq!(MULTIPLEX.iter().filter(|m| **m != Multiplexed::No).count(), MULTIPLEXED.len());
    }

    #[test]
    fn numbers_of_the_running_architecture_are_the_kernels() {
        let all = [
            ("read", libc::SYS_read),
            ("openat2", libc::SYS_openat2),
            ("clone3", libc::SYS_clone3),
            ("seccomp", libc::SYS_seccomp),
            ("mseal", libc::SYS_mseal),
        ];
        let native = crate::seccomp::arch::native();
        for (name, nr) in all {
            let ours = number(native.column, find(name).unwrap()).unwrap() + native.base;
            assert_eq!(i64::from(ours), nr, "{name}");
        }
        assert_eq!(number(Column::arm, find("set_tls").unwrap()), Some(0xf_0005));
        assert_eq!(number(Column::x86_64, find("set_tls").unwrap()), None);
    }
}
