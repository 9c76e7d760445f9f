//! Pseudo-terminals of containers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Winsize};

use crate::error::{Context, Error, Kind, Result};

/// Both sides of a pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// The controlling side, for whoever shows the terminal.
    pub master: OwnedFd,
    /// The container's side.
    pub slave: OwnedFd,
}

impl Pty {
    /// A new one from the devpts whose root is `devpts`. The slave is asked of the master (TIOCGPTPEER), not
    /// looked for by its name: names below /dev can be anything by then (CVE-2025-52565).
    pub fn open(devpts: BorrowedFd<'_>) -> Result<Pty> {
        let fs = rustix::fs::fstatfs(devpts).context("statfs of /dev/pts")?;
        const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
        if fs.f_type as i64 != DEVPTS_SUPER_MAGIC {
            return Err(Error::new(Kind::System, "/dev/pts is not a devpts: a terminal needs one"));
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let master =
            rustix::fs::openat(devpts, "ptmx", flags, Mode::empty()).context("open /dev/pts/ptmx")?;
        let stat = rustix::fs::fstat(&master).context("stat /dev/pts/ptmx")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
            || stat.st_rdev != rustix::fs::makedev(5, 2)
        {
            return Err(Error::new(Kind::System, "/dev/pts/ptmx is not the pty multiplexer"));
        }
        rustix::pty::unlockpt(&master).context("unlock the terminal")?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).context("open the terminal")?;
        Ok(Pty { master, slave })
    }

    /// The devpts at /dev/pts of this process's root.
    pub fn open_here() -> Result<Pty> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let devpts = rustix::fs::open("/dev/pts", flags, Mode::empty()).context("open /dev/pts")?;
        Pty::open(devpts.as_fd())
    }

    /// Sets its size: rows, columns.
    pub fn resize(&self, (rows, columns): (u16, u16)) -> Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.slave, size).context("set the size of the terminal")
    }

    /// Has it pass on what is written as it is, without a CR before each LF: for a reader that is no terminal.
    pub fn keep_newlines(&self) -> Result<()> {
        let mut settings = rustix::termios::tcgetattr(&self.slave).context("settings of the terminal")?;
        settings.output_modes.remove(OutputModes::ONLCR);
        rustix::termios::tcsetattr(&self.slave, OptionalActions::Now, &settings)
            .context("change the settings of the terminal")
    }

    /// Makes the slave the controlling terminal of this session, and its standard streams.
    pub fn take(self) -> Result<()> {
        rustix::process::ioctl_tiocsctty(&self.slave).context("take the terminal as controlling terminal")?;
        for stream in 0..=2 {
            crate::sys::exec::dup_onto(self.slave.as_fd(), stream)
                .context("make the terminal a standard stream")?;
        }
        Ok(())
    }
}
