"""Memory: the peak of a run, what is left while a container lives, the least limit it starts in; and size on disk."""
import os
import subprocess

from machine import has_controller, reap
from result import result
from stopwatch import median

KB = 1024
STEP = 16 * KB       # of the search for the least limit
MOST = 256 * KB * KB
SURE = 3             # so many runs in a row have to succeed


def rows_of(values):
    return [{"who": who, "n": None, "median": value} for who, value in values.items()]


def peak(bench, case):
    """ru_maxrss of the command and all that it has waited for, the payload included."""
    notes = []
    steps = {"floor": [bench.floor()]}
    steps |= {r.name: [r.run(bench.bundles.plain, f"b-{r.name}")] for r in bench.able(bench.bundles.plain, notes)}
    samples = bench.watch.once(steps, rounds=10, warm_up=1)
    rows = rows_of({who: median(sample.maxrss_kb) for who, sample in samples.items()})
    return result(case, "peak resident memory of the largest process of a run (floor: the payload's)", "kB", rows, notes)


def processes():
    """{pid: executable} of this pid namespace."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found[int(pid)] = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue  # it has ended, or is the kernel's
    return found


def pss_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def left(bench, case):
    """Proportional memory of the processes that are there while a container is created, and while it runs."""
    notes, rows = [], []
    bundle = bench.bundles.kind("plain", "/bin/sleep", "100000")
    for r in bench.able(bench.bundles.plain, notes):
        container = f"left-{r.name}"
        before = processes()
        try:
            for state, command in {"created": r("create", "--bundle", bundle, container),
                                   "running": r("start", container)}.items():
                reason = r.attempt(command)
                if reason:
                    notes.append(f"{r.name} left out: {reason}")
                    break
                reap()
                ours = [pid for pid, exe in processes().items() if pid not in before and not exe.endswith("/busybox")]
                rows.append({"who": f"{r.name}, {state}", "n": None, "median": sum(map(pss_kb, ours)), "processes": len(ours)})
        finally:
            r.delete(container)
            reap()
    return result(case, "memory of the runtime's own processes for a container (PSS)", "kB", rows, notes)


def least(bench, case):
    """The smallest memory limit in which `true` runs, by halving."""
    title = f"the least memory limit in which true runs (to {STEP // KB} kB)"
    if not has_controller("memory"):
        return result(case, title, "kB", [], ["left out: no memory controller in this view of the cgroups"])
    notes, values = [], {}
    for r in bench.able(bench.bundles.plain, notes):
        def runs(limit):
            command = r.run(bench.bundles.memory(limit), f"least-{r.name}")
            for _ in range(SURE):
                if r.attempt(command):
                    r.delete(f"least-{r.name}")
                    reap()
                    return False
            return True
        low, high = 0, MOST // STEP
        if not runs(MOST):
            notes.append(f"{r.name} left out: does not run in {MOST // KB} kB")
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if runs(middle * STEP) else (middle, high)
        values[r.name] = high * STEP // KB
    return result(case, title, "kB", rows_of(values), notes)


def size(bench, case):
    """The file, and the shared libraries that it needs."""
    rows = []
    for r in bench.runtimes.values():
        needs = subprocess.run(["ldd", r.path], capture_output=True, text=True, check=False).stdout
        libraries = {word for word in needs.split() if word.startswith("/") and os.path.exists(word)}
        file = os.stat(r.path).st_size
        rows.append({"who": r.name, "n": None, "median": (file + sum(os.stat(lib).st_size for lib in libraries)) / KB,
                     "file": file / KB, "libraries": len(libraries)})
    return result(case, "size of the program with its shared libraries", "kB", rows, [])


CASES = {"peak": peak, "left": left, "least": least, "size": size}
