"""System calls: how many a run makes, how many of them stand still, and what one costs under Docker's profile."""
import re
import shutil
import subprocess
import tempfile

from result import result
from runtimes import PAYLOAD
from stopwatch import median

TRACES = 3
LONG = 0.003  # s; a normal RCU grace period takes at least that, and nothing else in a run does
# Calls that wait for another process on purpose.
WAITING = {"poll", "ppoll", "epoll_wait", "epoll_pwait", "wait4", "waitid", "futex", "recvmsg", "recvfrom", "accept4",
           "read", "nanosleep", "clock_nanosleep", "pause", "rt_sigtimedwait", "select", "pselect6", "vfork"}
BEGIN = re.compile(r"^(\d+) +(\w+)\(")
END = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+).*<([0-9.]+)>$")
BECOMES_PAYLOAD = re.compile(rf'execve(?:at)?\((?:\d+, )?"{PAYLOAD}"')


def trace(command):
    """(calls of the runtime's, calls of the payload's, long ones) of one run."""
    calls = payload = long = 0
    with tempfile.NamedTemporaryFile("r") as out:
        subprocess.run(["strace", "-f", "-T", "-qq", "-o", out.name, *command], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        payloads = set()
        for line in out:
            begin, end = BEGIN.match(line), END.match(line)
            if begin and begin[1] in payloads:
                payload += 1
            elif begin:
                calls += 1
                if BECOMES_PAYLOAD.search(line):
                    payloads.add(begin[1])
            if end and float(end[2]) >= LONG and end[1] not in WAITING:
                long += 1
    return calls, payload, long


def syscalls(bench, case):
    """Counted by strace, which cannot be noisy; the median of some runs, since Go's vary."""
    title = "system calls of a run, without the payload's own"
    if not shutil.which("strace"):
        return result(case, title, "calls", [], ["left out: no strace"])
    notes, rows = [], []
    commands = {"floor": bench.floor()}
    for kind in ["plain", "profile"]:
        bundle = bench.bundles.kind(kind)
        commands |= {r.name + ("" if kind == "plain" else "+profile"): r.run(bundle, f"b-{r.name}")
                     for r in bench.able(bundle, notes)}
    for who, command in commands.items():
        traced = [trace(command) for _ in range(TRACES)]
        own, payload = (median([run[i] for run in traced]) for i in range(2))
        # A busy machine can only add to what stands still.
        rows.append({"who": who, "n": None, "median": own, "payload": payload, "waits": min(run[2] for run in traced)})
    notes.append(f"waits: calls that stood still for {LONG * 1000:g} ms or longer without being there to wait: RCU grace periods")
    return result(case, title, "calls", rows, notes)


def filtered(bench, case):
    """The best of many batches in each of some containers in turn, and without a filter."""
    notes, best = [], {}
    bench.bundles.install(bench.programs["payload"])
    plain = bench.runtimes["tare"].run(bench.bundles.kind("plain", "/payload", "calls"), "b-calls")
    bundle = bench.bundles.kind("profile", "/payload", "calls")
    commands = {"no filter": plain}
    commands |= {r.name: r.run(bundle, f"b-{r.name}") for r in bench.able(bundle, notes)}
    for _ in range(TRACES):
        for who, command in commands.items():
            out = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
            for call, ns in map(str.split, out.splitlines()):
                calls = best.setdefault(who, {})
                calls[call] = min(float(ns), calls.get(call, 1e9))
    # `personality` is the one that goes through the filter's program (payload.c says why).
    rows = [{"who": who, "n": None, "median": calls.pop("personality"), **calls} for who, calls in best.items()]
    title = "a call of personality under Docker's profile, and of two that need no filter run, at best"
    return result(case, title, "ns", rows, notes)


CASES = {"syscalls": syscalls, "filter": filtered}
