"""Timing with lap.c, what its samples say, and whether the machine was quiet enough for them to say anything."""
import json
import subprocess
import sys
import tempfile
import time

# Lies between two steps of a case, in place of the plain one: what the steps before have left must have ended.
WAIT = ":wait"
# The floor always does the same. A machine on which it does not take the same cannot tell anything of the rest.
MOST_SPREAD = 1.6   # its p90 / p10
MOST_DRIFT = 1.10   # the median of the slower half of its rounds (first, second) / that of the other half
TRIES = 3


class Noisy(Exception):
    """The machine is too noisy to tell."""


class Failed(Exception):
    """A command that was to be timed has failed."""


def quantile(values, share):
    """Linear between the two nearest values."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def median(values):
    return quantile(values, 0.5)


class Samples:
    """What lap.c has told of one case, in its order."""

    def __init__(self, lines):
        self.steps_ms = [[ns / 1e6 for ns in line["wall_ns"]] for line in lines]
        self.ms = [sum(steps) for steps in self.steps_ms]
        self.cpu_ms = [sum(line["cpu_us"]) / 1e3 for line in lines]
        self.maxrss_kb = [line["maxrss_kb"] for line in lines]

    def row(self):
        """The figures of a report's row, in milliseconds."""
        return {"median": median(self.ms), "p10": quantile(self.ms, 0.1), "p90": quantile(self.ms, 0.9),
                "cpu": median(self.cpu_ms)}


def noise(ms):
    """Why these times of the floor cannot be relied on, or None."""
    spread = quantile(ms, 0.9) / quantile(ms, 0.1)
    if spread > MOST_SPREAD:
        return f"the floor's p90 is {spread:.2f} times its p10 (at most {MOST_SPREAD})"
    half = len(ms) // 2
    if half:
        first, second = median(ms[:half]), median(ms[half:])
        drift = max(first, second) / min(first, second)
        if drift > MOST_DRIFT:
            return f"the floor's median of one half of the rounds is {drift:.2f} times that of the other (at most {MOST_DRIFT})"
    return None


def words(steps):
    """The steps of a case as lap.c wants them."""
    args, between = [], ":"
    for step in steps:
        if step == WAIT:
            between = WAIT
            continue
        args += [*([between] if args else []), *step]
        between = ":"
    return args


class Stopwatch:
    """lap.c, compiled, and how it is to be used."""

    def __init__(self, lap, rounds, warm_up, gap_us, force):
        self.lap, self.rounds, self.warm_up, self.gap_us, self.force = lap, rounds, warm_up, gap_us, force

    def once(self, cases, rounds=None, warm_up=None, copies=1):
        """{name: [step, …]} → {name: Samples}; a step is a command, and WAIT may stand before one."""
        args = []
        for name, steps in cases.items():
            args += [*(["::"] if args else []), name, *words(steps)]
        command = [self.lap, "-r", str(rounds or self.rounds), "-g", str(self.gap_us), "-p", str(copies),
                   "-w", str(self.warm_up if warm_up is None else warm_up), "--", *args]
        # Files: a pipe would end with the last process that a failed step has left behind.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False).returncode
            out.seek(0)
            err.seek(0)
            if code:
                raise Failed(" / ".join(err.read().strip().splitlines()[-2:]))
            lines = [json.loads(line) for line in out]
        return {name: Samples([line for line in lines if line["case"] == name]) for name in cases}

    def settle(self, command, usual_ms):
        """Waits until a command takes about what it usually does: the kernel takes many network namespaces down for seconds."""
        end = time.monotonic() + 60
        while time.monotonic() < end and max(self.once({"settle": [command]}, rounds=5, warm_up=0)["settle"].ms) > 3 * usual_ms:
            pass

    def time(self, cases, floor, copies=1):
        """As `once`, with the case called `floor` as the witness: noisy rounds are done again, and then refused."""
        for attempt in range(TRIES):
            samples = self.once(cases, copies=copies)
            reason = noise(samples[floor].ms)
            if not reason or self.force:
                break
            print(f"noisy ({reason}), try {attempt + 1} of {TRIES}", file=sys.stderr)
        if reason and not self.force:
            raise Noisy(reason)
        return samples, reason
