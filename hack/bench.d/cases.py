"""The cases, by name, and the times of single runs."""
import os

import growth
import memory
import traces
from result import result
from runtimes import Runtime, floor_command
from stopwatch import WAIT

WITNESS = "floor"


class Bench:
    """What every case works with."""

    def __init__(self, runtimes, bundles, watch, programs, most):
        self.runtimes, self.bundles, self.watch, self.programs, self.most = runtimes, bundles, watch, programs, most
        self.floor_ms = None
        # Those that cannot even run the plain bundle here, and why.
        self.unable = {}
        for runtime in runtimes.values():
            reason = self.attempt(runtime, bundles.plain)
            if reason:
                self.unable[runtime.name] = reason

    def floor(self):
        return floor_command(self.programs["floor"], self.bundles.plain)

    def look_at_the_machine(self):
        """Whether it is quiet, rather at once than after minutes; raises Noisy."""
        self.floor_ms = self.watch.time({WITNESS: [self.floor()]}, WITNESS)[0][WITNESS].row()["median"]

    @staticmethod
    def attempt(runtime, bundle):
        """Why a runtime cannot run a bundle, or None."""
        reason = runtime.attempt(runtime.run(bundle, "probe"))
        if reason:
            runtime.delete("probe")
        return reason

    def sizes(self, case):
        """Those of a case that grows."""
        return [size for size in growth.SIZES[case][0] if size <= self.most]

    def able(self, bundle, notes, what="", runtimes=None):
        """The runtimes that can run a bundle; of the others is said why. All that can run the plain one are asked, or these."""
        able = []
        for runtime in runtimes or [runtime for runtime in self.runtimes.values() if runtime.name not in self.unable]:
            reason = self.attempt(runtime, bundle)
            if reason:
                notes.append(f"{runtime.name}{what} left out: {reason}")
            else:
                able.append(runtime)
        return able

    def timed(self, case, title, steps, notes):
        """A result of one bar for each runtime, and the floor."""
        samples, reason = self.watch.time({WITNESS: [self.floor()], **steps}, WITNESS)
        rows = [{"who": who, "n": None, **sample.row()} for who, sample in samples.items()]
        return result(case, title, "ms", rows, notes + ([f"noisy: {reason}"] if reason else []))


TITLES = {"plain": "", "profile": ", Docker's seccomp profile", "docker": ", Docker's settings and profile"}


def run(bench, case, kind):
    """One command that does all."""
    notes, bundle = [], bench.bundles.kind(kind)
    steps = {r.name: [r.run(bundle, f"b-{r.name}")] for r in bench.able(bundle, notes)}
    return bench.timed(case, f"run true{TITLES[kind]}", steps, notes)


def cycle(bench, case, kind):
    """create, start and delete, without the time of the process itself between the latter."""
    notes, bundle = [], bench.bundles.kind(kind)
    steps = {}
    for r in bench.able(bundle, notes):
        container = f"b-{r.name}"
        steps[r.name] = [r("create", "--bundle", bundle, container), r("start", container), WAIT, r("delete", container)]
    return bench.timed(case, f"create + start + delete{TITLES[kind]} (floor: run true)", steps, notes)


def execute(bench, case, kind):
    """exec into a container that runs."""
    notes, bundle = [], bench.bundles.kind(kind, "/bin/sleep", "10000")
    steps, running = {}, []
    try:
        for r in bench.able(bench.bundles.kind(kind), notes):
            running.append(r)
            reason = r.attempt(r.run(bundle, "b-exec-" + r.name, "--detach"))
            if reason:
                notes.append(f"{r.name} left out: {reason}")
                continue
            steps[r.name] = [r("exec", "b-exec-" + r.name, "/bin/true")]
        return bench.timed(case, f"exec true{TITLES[kind]} (floor: run true)", steps, notes)
    finally:
        for r in running:
            r.delete("b-exec-" + r.name)


def terminal(bench, case):
    """In the foreground of a terminal, which is passed on."""
    notes, inside = [], [bench.programs["terminal"]]
    bundle = bench.bundles.terminal()
    steps = {"floor in a terminal": [inside + bench.floor()]}
    there = [Runtime(r.name, r.path, r.flags, inside) for r in bench.runtimes.values()]
    steps |= {r.name: [r.run(bundle, f"b-{r.name}")] for r in bench.able(bundle, notes, runtimes=there)}
    return bench.timed(case, "run true in the foreground of a terminal", steps, notes)


def rootless(bench, case):
    """As an ordinary user, in a user namespace with one id; setpriv, which makes him one, is in the time of all."""
    notes, uid = [], 65534
    user = ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    bundle = bench.bundles.rootless(uid)
    users = [Runtime(r.name, r.path, starter=user) for r in bench.runtimes.values()]
    for r in users:
        r.root += "-rootless"
        os.makedirs(r.root, exist_ok=True)
        os.chown(r.root, uid, uid)
    steps = {r.name: [r.run(bundle, f"b-{r.name}")] for r in bench.able(bundle, notes, runtimes=users)}
    return bench.timed(case, "run true as an ordinary user (floor: as root)", steps, notes)


def version(bench, case):
    """The least that a command costs."""
    steps = {"nothing": [[bench.programs["payload"]]]}
    steps |= {r.name: [[r.path, "--version"]] for r in bench.runtimes.values()}
    return bench.timed(case, "--version (nothing: an empty static C program; floor: run true)", steps, [])


def kinds(measure, prefix):
    """The three bundles of a measure, as cases."""
    return {prefix + ("" if kind == "plain" else f"-{kind}"): lambda bench, case, kind=kind: measure(bench, case, kind)
            for kind in TITLES}


CASES = {
    **kinds(run, "run"),
    **kinds(cycle, "cycle"),
    **kinds(execute, "exec"),
    "terminal": terminal,
    "rootless": rootless,
    "version": version,
    **growth.CASES,
    **memory.CASES,
    **traces.CASES,
}
