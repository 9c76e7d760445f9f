#!/usr/bin/env python3
"""Runs a command at a terminal and plays a person's part.

    terminal.py ROWSxCOLUMNS [wait:TEXT | type:TEXT | size:ROWSxCOLUMNS | sleep:SECONDS]... -- COMMAND...

Prints what the terminal shows, and exits as the command does. `wait` wants TEXT in what was shown since the last wait; `type`
takes \\n, \\x03 and the like; `size` changes the terminal's size, of which the kernel tells the command; it is told
again every second, since a client may not have been listening yet.
"""
import fcntl, os, pty, select, signal, struct, sys, termios, time

DEADLINE = time.monotonic() + 30


def size(fd, text):
    rows, columns = map(int, text.split("x"))
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main():
    end = sys.argv.index("--")
    steps, command = [step.split(":", 1) for step in sys.argv[2:end]], sys.argv[end + 1:]
    pid, fd = pty.fork()
    if pid == 0:
        # The size is set before the command can look.
        size(0, sys.argv[1])
        os.execvp(command[0], command)
    shown = b""
    told = None

    def read(wait):
        nonlocal shown, told
        if told and time.monotonic() > told + 1:
            told = time.monotonic()
            os.kill(pid, signal.SIGWINCH)
        if select.select([fd], [], [], wait)[0]:
            try:
                chunk = os.read(fd, 65536)
            except OSError:
                chunk = b""
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            shown += chunk
            return bool(chunk)
        return True

    alive = True
    for act, text in steps:
        if act == "wait":
            while alive and text.encode() not in shown:
                alive = read(0.1)
                if time.monotonic() > DEADLINE:
                    sys.exit(f"terminal.py: {text!r} has not come")
            if alive:
                shown = shown[shown.index(text.encode()) + len(text.encode()):]
        elif act == "type":
            os.write(fd, text.encode().decode("unicode_escape").encode())
        elif act == "size":
            size(fd, text)
            told = time.monotonic()
        elif act == "sleep":
            until = time.monotonic() + float(text)
            while alive and time.monotonic() < until:
                alive = read(0.05)
        else:
            sys.exit(__doc__)
    while alive:
        alive = read(1)
        if time.monotonic() > DEADLINE:
            sys.exit("terminal.py: the command has not ended")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xff)


if __name__ == "__main__":
    main()
