"""Runs the suite against a runtime and keeps the score. Called by run, which has built it.

Only what Debian's python3-minimal has is used.
"""

import argparse
import configparser
import datetime
import fcntl
import os
import re
import subprocess
import sys

from verdict import read

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(HERE)
CACHE = os.path.join(REPOSITORY, ".cache/runtime-tools")
NATIVE = ["host", "v1"]
VIEWS = NATIVE + ["v1-vm", "v2-vm"]
# AppArmor's, for the one test that wants it. It allows all.
PROFILE = "profile acme_secure_profile flags=(attach_disconnected, mediate_deleted) " \
    "{ file, capability, network, mount, umount, pivot_root, ptrace, signal, unix, }"


def fail(message):
    print("runtime-tools-tests:", message, file=sys.stderr)
    sys.exit(2)


def content(*path):
    with open(os.path.join(*path), errors="replace") as file:
        return file.read()


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY).stdout.strip()


def facts(view):
    """What an entry of expected-failures can depend on. The virtual machines have all that their cgroups can have."""
    native = view in NATIVE
    v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers") if native else view == "v2-vm"

    def missing(controller):
        names = os.listdir("/sys/fs/cgroup") if native else []
        return native and not v2 and not any(controller in name.split(",") for name in names)

    bounding = int(re.search(r"CapBnd:\s+(\w+)", content("/proc/self/status")).group(1), 16)
    every = (2 << int(content("/proc/sys/kernel/cap_last_cap"))) - 1
    return {
        "cgroup v1": not v2,
        "cgroup v2": v2,
        "cgroup v1 without hugetlb": missing("hugetlb"),
        "cgroup v1 without net_cls or net_prio": missing("net_cls") or missing("net_prio"),
        "not all capabilities": native and bounding != every,
    }


def expected_failures(view, tests):
    """The expected failures of a view: for each test the entry's title, and what its complaints match."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=[":"])
    parser.read(os.path.join(HERE, "expected-failures"))
    known = facts(view)
    found = {}
    for title in parser.sections():
        entry = parser[title]
        views, condition = entry["views"].split(), entry.get("if")
        if wrong := set(entry["tests"].split()) - set(tests) | set(views) - set(VIEWS) | {condition} - {None, *known}:
            fail(f"expected-failures, [{title}]: what is {wrong}?")
        if not re.match(r"(kernel|machine|suite|spec|choice)\. ", entry["why"]):
            fail(f"expected-failures, [{title}]: why is it?")
        if view in views and known.get(condition, True):
            for test in entry["tests"].split():
                if test in found:
                    fail(f"expected-failures, [{title}]: {test} is in [{found[test][0]}] already")
                found[test] = title, re.compile(entry["fails"])
    return found


def natively(view, runtime, suite, out, tests):
    """Runs each test, and gives its name as soon as it has ended."""
    # The suite has fixed names for its cgroups, so no two may run. It is one machine, so the lock is one folder of it.
    lock = os.open("/sys/fs/cgroup", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with open(os.path.join(out, "version"), "w") as version:
        subprocess.run([runtime, "--version"], stdout=version, check=False)
    with open(os.path.join(out, "kernel"), "w") as kernel:
        print(os.uname().release, file=kernel)
    for test in tests:
        sandbox = [os.path.join(HERE, "sandbox"), view, runtime, suite, out, "120", test]
        subprocess.run(sandbox, stdout=subprocess.DEVNULL, check=True)
        yield test
    os.close(lock)


def in_machine(view, runtime, suite, out, tests):
    """Runs all tests in a virtual machine."""
    machine = os.path.join(REPOSITORY, "hack/vm")
    if not os.access(machine, os.X_OK):
        fail(f"the view {view} needs hack/vm, which is not here")
    command = [machine, "--cgroup", view[:2], "--with", "apparmor", "--timeout", "5400", "--out", out]
    command += ["--append", "apparmor=1 lsm=landlock,lockdown,yama,integrity,apparmor,bpf"]
    command += ["--file", f"{suite}:/suite", "--file", f"{HERE}/sandbox:/sandbox"]
    if "/" in runtime:
        command += ["--file", f"{runtime}:/runtime"]
        runtime = "/runtime"
    # Without a file system that shows whether AppArmor is there, no runtime would find it.
    script = f"""
        mountpoint -q /sys/kernel/security || mount -t securityfs securityfs /sys/kernel/security
        echo '{PROFILE}' | apparmor_parser --add || exit
        # linux_cgroups_network wants two interfaces.
        ip link add type veth || exit
        cd /out
        {runtime} --version >version
        uname -r >kernel
        exec /sandbox {view} "$(command -v {runtime})" /suite /out 900 {" ".join(tests)}
    """
    process = subprocess.run(command + ["--", "sh", "-c", script], check=False)
    if process.returncode != 0:
        fail(f"the virtual machine has failed with exit code {process.returncode}")
    yield from tests


def score(options, suite):
    """Runs the tests that were asked for, and tells what came of each."""
    tests = sorted(set(os.listdir(suite)) - {"runtimetest", "rootfs-amd64.tar.gz"})
    if unknown := [test for test in options.tests if test not in tests]:
        fail("no such test: " + " ".join(unknown))
    expected = expected_failures(options.view, tests)
    runtime = options.runtime or output("hack/build")
    # A bare name is a program of the machine, natively this one.
    if "/" in runtime:
        runtime = os.path.realpath(runtime)
    elif options.view in NATIVE:
        runtime = output("sh", "-c", 'command -v -- "$1" || :', "-", runtime) or fail(f"there is no {runtime}")
    name = os.path.basename(runtime)
    out = os.path.join(CACHE, "out", f"{options.view}.{name}")
    os.makedirs(out, exist_ok=True)
    for old in os.listdir(out):
        os.unlink(os.path.join(out, old))

    print(f"{name}, view {options.view}; what the tests print is kept in {os.path.relpath(out)}", flush=True)
    runner = natively if options.view in NATIVE else in_machine
    counts = {"passed": 0, "failed": 0, "skipped": 0, "expected": 0}
    verdicts = []
    for test in runner(options.view, runtime, suite, out, options.tests or tests):
        code, seconds = content(out, test + ".end").split()
        reading = read(test, content(out, test + ".out"), content(out, test + ".err"), int(code))
        verdict, reason = reading.verdict(), reading.summary()
        verdicts.append((test, verdict))
        if test in expected:
            title, fails = expected[test]
            if verdict == "failed" and all(fails.search(complaint) for complaint in reading.complaints):
                verdict, reason = "expected", f"[{title}] {reason}"
            else:
                verdict, reason = "failed", f"expected to fail for [{title}], but {verdict}: {reason}"
        counts[verdict] += 1
        print(f"{verdict:8}  {test:31} {seconds:>5} s  {reason[:300]}", flush=True)

    if not options.tests:
        keep(options.view, name, out, verdicts)
    if counts["expected"]:
        print(f"\nexpected failures, in none of the counts below: {counts['expected']}"
              " (runtime-tools-tests/expected-failures tells why)")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 0 if not counts["failed"] and (counts["passed"] or options.tests) else 1


def keep(view, name, out, verdicts):
    """Keeps the result of a whole run, for the table."""
    results = os.path.join(CACHE, "results")
    os.makedirs(results, exist_ok=True)
    version = content(out, "version").splitlines()[0].replace("version ", "")
    with open(os.path.join(results, f"{view}.{name}"), "w") as file:
        print(datetime.date.today().strftime("%-d %B %Y"), version, content(out, "kernel").strip(), sep="\n", file=file)
        for test, verdict in verdicts:
            print(test, verdict, file=file)


def table(tests):
    """Writes the results that were kept into README.md, side by side."""
    results = os.path.join(CACHE, "results")
    columns = []
    for kept in os.listdir(results) if os.path.isdir(results) else []:
        view, name = kept.split(".", 1)
        date, version, kernel, *verdicts = content(results, kept).splitlines()
        verdicts = dict(line.split() for line in verdicts)
        columns.append((VIEWS.index(view), name != "tare", name, view, date, version, kernel, verdicts))
    if not columns:
        fail("there is no result yet")
    columns.sort()
    lines = ["| view | runtime | passed, of all | of those that can be | date | Linux |", "|---|---|---|---|---|---|"]
    for _, _, _, view, date, version, kernel, verdicts in columns:
        passed = {test for test in tests if verdicts[test] == "passed"}
        possible = set(tests) - set(expected_failures(view, tests))
        count = f"{len(passed)} of {len(tests)} | {len(passed & possible)} of {len(possible)}"
        lines.append(f"| {view} | {version} | {count} | {date} | {kernel} |")
    lines.append("")
    lines.append("| | " + " | ".join(f"{name}, {view}" for _, _, name, view, *_ in columns) + " |")
    lines.append("|---|" + "---|" * len(columns))
    for test in tests:
        marks = {"passed": "✓", "failed": "–", "skipped": "skipped"}
        lines.append(f"| {test} | " + " | ".join(marks[column[-1][test]] for column in columns) + " |")
    readme = os.path.join(HERE, "README.md")
    begin, end = "<!-- results -->\n", "<!-- end of results -->\n"
    before, _, rest = content(readme).partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        fail("README.md has no place for the results")
    with open(readme, "w") as file:
        file.write(before + begin + "\n".join(lines) + "\n" + end + after)


def main():
    suite = sys.argv[1]
    parser = argparse.ArgumentParser(prog="runtime-tools-tests/run", allow_abbrev=False)
    parser.add_argument("--view", choices=VIEWS, default="host")
    parser.add_argument("--runtime")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("tests", nargs="*", metavar="TEST")
    options = parser.parse_args(sys.argv[2:])
    if os.getuid() != 0:
        fail("needs root")
    if options.table:
        table(sorted(set(os.listdir(suite)) - {"runtimetest", "rootfs-amd64.tar.gz"}))
        return 0
    return score(options, suite)


sys.exit(main())
