"""What `run true` costs with more of one thing, and with more containers."""
from machine import reap
from result import result
from runtimes import floor_command
from stopwatch import Failed, median

SIZES = {
    "mounts": ([1, 10, 100, 1000], "bind mounts"),
    "env": ([10, 100, 1000, 10000], "environment variables"),
    "masked": ([1, 10, 100, 500], "masked paths"),
    "devices": ([1, 10, 100, 1000], "device rules"),
    "alive": ([1, 10, 100, 1000], "containers alive"),
    "parallel": ([1, 2, 4, 8, 16, 32], "creates in parallel"),
}


def larger_bundle(bench, case):
    """One group of all sizes and runtimes, so that they can be compared with one another."""
    notes, steps, sizes = [], {"floor": [bench.floor()]}, bench.sizes(case)
    for size in sizes:
        bundle = getattr(bench.bundles, case)(size)
        for r in bench.able(bundle, notes, f" at {size}"):
            steps[f"{r.name}@{size}"] = [r.run(bundle, f"b-{r.name}")]
    samples, reason = bench.watch.time(steps, "floor")
    rows = []
    for name, sample in samples.items():
        who, _, size = name.partition("@")
        rows += [{"who": who, "n": int(size), **sample.row()}] if size else \
            [{"who": who, "n": n, **sample.row()} for n in sizes]
    return result(case, f"run true by number of {SIZES[case][1]} (floor: with none of them)", "ms", rows,
                  notes + ([f"noisy: {reason}"] if reason else []), SIZES[case][1])


def alive(bench, case):
    """`run true`, and `list`, beside so many containers of the same runtime's."""
    notes, rows = [], []
    sleeper = bench.bundles.kind("plain", "/bin/sleep", "100000")
    for r in bench.able(bench.bundles.plain, notes):
        names = []
        try:
            for size in bench.sizes(case):
                while len(names) < size:
                    names.append(f"alive-{r.name}-{len(names)}")
                    reason = r.attempt(r.run(sleeper, names[-1], "--detach"))
                    if reason:
                        raise Failed(f"container {len(names)}: {reason}")
                steps = {"floor": [bench.floor()], r.name: [r.run(bench.bundles.plain, "b-one-more")],
                         f"{r.name} list": [r("list", "--quiet")]}
                samples, reason = bench.watch.time(steps, "floor")
                notes += [f"noisy at {size} of {r.name}: {reason}"] if reason else []
                rows += [{"who": "floor beside " + r.name if who == "floor" else who, "n": size, **sample.row()}
                         for who, sample in samples.items()]
        except Failed as failed:
            notes.append(f"{r.name} left out: {failed}")
        finally:
            r.delete(*names)
            reap()
            bench.watch.settle(bench.floor(), bench.floor_ms)
    return result(case, "run true, and list, by number of containers alive", "ms", rows, notes, SIZES[case][1])


def parallel(bench, case):
    """So many creates at once; what they make is deleted outside of the time."""
    notes, rows = [], []
    able = bench.able(bench.bundles.plain, notes)
    for size in bench.sizes(case):
        steps = {"floor": [floor_command(bench.programs["floor"], bench.bundles.plain)]}
        for r in able:
            container = f"b-{r.name}-{{}}"
            steps[r.name] = [r("create", "--bundle", bench.bundles.plain, container), r("delete", "--force", container)]
        samples, reason = bench.watch.time(steps, "floor", copies=size)
        notes += [f"noisy at {size}: {reason}"] if reason else []
        for who, sample in samples.items():
            rate = [size / steps[0] * 1000 for steps in sample.steps_ms]
            rows.append({"who": who, "n": size, "median": median(rate)})
    title = "containers created in a second by number of creates at once (floor: run true)"
    return result(case, title, "1/s", rows, notes, SIZES[case][1])


CASES = {"mounts": larger_bundle, "env": larger_bundle, "masked": larger_bundle, "devices": larger_bundle,
         "alive": alive, "parallel": parallel}
