//! Copies bytes between our standard streams and a container's terminal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios};

use crate::error::{Context, Result};

/// One of the three descriptors of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Our standard input.
    Stdin,
    /// Our standard output.
    Stdout,
    /// The controlling side of the container's terminal.
    Master,
}

/// No write is longer: a pipe that is ready takes this much without blocking (PIPE_BUF).
const CHUNK: usize = 4096;

/// A relay; dropping it gives our own terminal its settings back.
pub struct Relay {
    master: OwnedFd,
    host: Option<Host>,
    to_container: Buffer,
    from_container: Buffer,
    stdin_open: bool,
    stdout_open: bool,
    master_open: bool,
}

struct Host {
    settings: Termios,
}

/// Bytes that were read and not yet written. A new read is made only when it is empty, so nothing grows and nothing
/// is lost however slow the reader is.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    written: usize,
}

impl Buffer {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn fill(&mut self, from: BorrowedFd<'_>) -> Flow {
        self.bytes.resize(CHUNK, 0);
        self.written = 0;
        let got = rustix::io::read(from, &mut self.bytes);
        self.bytes.truncate(*got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => Flow::End,
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Flow::Goes,
            Err(_) => Flow::End,
        }
    }

    fn drain(&mut self, to: BorrowedFd<'_>) -> Flow {
        match rustix::io::write(to, &self.bytes[self.written..]) {
            Ok(n) => {
                self.written += n;
                Flow::Goes
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Flow::Goes,
            Err(_) => {
                self.written = self.bytes.len();
                Flow::End
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Flow {
    Goes,
    End,
}

impl Relay {
    /// Puts our own terminal, if there is one, into raw mode, and gives the container's the same size.
    pub fn start(master: OwnedFd) -> Result<Relay> {
        let flags = rustix::fs::fcntl_getfl(&master).context("flags of the terminal")?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)
            .context("make the terminal non-blocking")?;
        let host = match rustix::termios::tcgetattr(rustix::stdio::stdin()) {
            Ok(settings) => {
                let mut raw = settings.clone();
                raw.make_raw();
                if !rustix::termios::isatty(rustix::stdio::stdout()) {
                    // What is shown on it is not ours (`run ID | cat`), and wants its LF to become CR LF.
                    raw.output_modes = settings.output_modes;
                }
                // Not flushing: what was typed ahead is for the container.
                rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)
                    .context("put the terminal into raw mode")?;
                Some(Host { settings })
            }
            // Not a terminal: bytes are copied all the same.
            Err(_) => None,
        };
        let relay = Relay {
            master,
            host,
            to_container: Buffer::default(),
            from_container: Buffer::default(),
            stdin_open: true,
            stdout_open: true,
            master_open: true,
        };
        relay.resize();
        Ok(relay)
    }

    /// Gives the container's terminal the size of ours.
    pub fn resize(&self) {
        if self.host.is_some()
            && let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin())
            && (size.ws_row, size.ws_col) != (0, 0)
        {
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// What to wait for.
    pub fn interest(&self) -> Vec<(End, PollFlags)> {
        let mut ends = Vec::with_capacity(3);
        let mut master = PollFlags::empty();
        if self.master_open {
            if self.stdin_open && self.to_container.is_empty() {
                ends.push((End::Stdin, PollFlags::IN));
            }
            if !self.to_container.is_empty() {
                master |= PollFlags::OUT;
            }
            if self.from_container.is_empty() {
                master |= PollFlags::IN;
            }
        }
        if !master.is_empty() {
            ends.push((End::Master, master));
        }
        if self.stdout_open && !self.from_container.is_empty() {
            ends.push((End::Stdout, PollFlags::OUT));
        }
        ends
    }

    /// The descriptor of an end.
    pub fn fd(&self, end: End) -> BorrowedFd<'_> {
        match end {
            End::Stdin => rustix::stdio::stdin(),
            End::Stdout => rustix::stdio::stdout(),
            End::Master => self.master.as_fd(),
        }
    }

    /// An end is ready.
    pub fn ready(&mut self, end: End, events: PollFlags) {
        let readable = events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        let writable = events.intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR);
        match end {
            End::Stdin if readable && self.to_container.fill(rustix::stdio::stdin()) == Flow::End => {
                self.stdin_open = false;
            }
            End::Stdout if writable => self.write_out(),
            End::Master => {
                if events.contains(PollFlags::OUT) && !self.to_container.is_empty() {
                    self.to_container.drain(self.master.as_fd());
                }
                if readable && self.from_container.is_empty() {
                    // EIO: the last process has closed the terminal. Another one may open it again, through
                    // /dev/console, but poll would report the hang-up without end.
                    if self.from_container.fill(self.master.as_fd()) == Flow::End {
                        self.master_open = false;
                    }
                    if !self.stdout_open {
                        // Nobody looks any more (`| head`), but the container must not wait for him.
                        self.from_container = Buffer::default();
                    }
                }
            }
            _ => {}
        }
    }

    fn write_out(&mut self) {
        if self.from_container.drain(rustix::stdio::stdout()) == Flow::End {
            self.stdout_open = false;
        }
    }

    /// The container has ended: copies what it has still written.
    pub fn finish(mut self) {
        while self.stdout_open {
            while self.stdout_open && !self.from_container.is_empty() {
                let mut fds =
                    [rustix::event::PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT)];
                let _ = rustix::event::poll(&mut fds, None);
                self.write_out();
            }
            let flow = self.from_container.fill(self.master.as_fd());
            if flow == Flow::End || self.from_container.is_empty() {
                break;
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(host) = &self.host {
            let _ =
                rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &host.settings);
        }
    }
}
