"""What is measured: tare, its peers, and the floor."""
import os
import shutil
import subprocess
import tempfile

from machine import CGROUPS

PEERS = ["crun", "runc", "youki"]
PAYLOAD = "/bin/true"


class Runtime:
    """One runtime, with its state below /run, flags for every command, and a command that starts each."""

    def __init__(self, name, path, flags=(), starter=()):
        self.name, self.path, self.flags, self.starter = name, os.path.realpath(path), flags, starter
        self.root = f"/run/bench-{name}"

    def __call__(self, *args):
        """The command line."""
        return [*self.starter, self.path, "--root", self.root, *self.flags, *args]

    def run(self, bundle, container, *flags):
        return self("run", *flags, "--bundle", bundle, container)

    def attempt(self, command, timeout=60):
        """Why a command does not work, or None."""
        with tempfile.TemporaryFile("w+") as words:  # a pipe would end with the last process of a detached container
            try:
                code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words,
                                      timeout=timeout, check=False).returncode
            except subprocess.TimeoutExpired:
                return f"no end after {timeout} s"
            words.seek(0)
            return (words.read().strip().splitlines() or [f"exit code {code}"])[-1] if code else None

    def delete(self, *containers):
        """Whatever state they are in; those that do not exist are no error."""
        for container in containers:
            subprocess.run(self("delete", "--force", container), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)

    def delete_all(self):
        """What an interrupted case has left: every runtime keeps a container's state below its name."""
        if os.path.isdir(self.root):
            self.delete(*os.listdir(self.root))

    def version(self):
        done = subprocess.run([self.path, "--version"], capture_output=True, text=True, check=False)
        return (done.stdout.splitlines() or ["?"])[0]


def find(tare, peers, folder, installed=True, flags=()):
    """{name: Runtime}: ours first, then the (name, path) that were given, then whatever is installed.

    Ours is a copy, and so are those given, which may be other builds: made from the first byte to the last as an install
    makes it. The page cache of the linker's own output is scattered in small folios, which costs 0.15 ms more of page faults
    at every start.
    """
    os.makedirs(folder, exist_ok=True)
    found = {}
    for name, path in [("tare", tare), *peers]:
        copy = shutil.copyfile(path, f"{folder}/{name}")
        os.chmod(copy, 0o755)
        found[name] = Runtime(name, copy, flags)
    for name in PEERS if installed else []:
        if name not in found and shutil.which(name):
            found[name] = Runtime(name, shutil.which(name), flags)
    return found


def compile_c(source, folder):
    """A static program from a C file; its path."""
    os.makedirs(folder, exist_ok=True)
    program = os.path.join(folder, os.path.basename(source).removesuffix(".c"))
    subprocess.run(["gcc", "-O2", "-Wall", "-static", "-o", program, source], check=True)
    return program


def floor_command(floor, bundle):
    return [floor, CGROUPS, f"{bundle}/rootfs", PAYLOAD]
