#!/usr/bin/python3 -B
"""Tests of verdict.py: what must not count as a pass."""

import sys

from verdict import read

TAP = "TAP version 13\n"
# test, standard output, standard error, exit code, verdict, part of the summary
CASES = [
    ("create", TAP + "ok 1 - a\nok 2 - b\n1..2\n", "", 0, "passed", "2 checks"),
    ("create", "", "", 0, "failed", "not one result"),
    ("create", TAP + "1..0\n", "", 0, "failed", "without a result"),
    ("create", TAP + "ok 1 - a\n", "", 0, "failed", "without an end"),
    ("create", TAP + "ok 1 - a\n1..2\n", "", 0, "failed", "1 results where the plan is 1..2"),
    ("create", TAP + "ok 1 - a\n1..1\n" + TAP + "1..0\n", "", 0, "failed", "without a result"),
    ("create", TAP + "ok 1 - a\n1..1\n", "it broke\n", 1, "failed", "exit code 1: it broke"),
    ("create", TAP + "ok 1 - a\n1..1\n", "", 124, "failed", "killed"),
    ("create", TAP + "ok 1 - a\nnot ok 2 - b\n  ---\n  {\n    \"error\": \"c\"\n  }\n  ...\n1..2\n", "", 0, "failed", "b: c"),
    ("create", TAP + "not ok 1 - exit status 1\n1..1\n", "why\n", 0, "failed", "exit status 1: why"),
    ("create", TAP + "ok 1 # SKIP a\nok 2 # SKIP b\n1..2\n", "", 0, "skipped", ""),
    ("create", TAP + "ok 1 # SKIP a\nok 2 - b\n1..2\n", "", 0, "passed", "1 checks, 1 of no concern"),
    ("create", TAP + "not ok 1 # TODO a\nok 2 - b\n1..2\n", "", 0, "passed", "1 checks"),
    # An error is of no concern where it was wanted, and is one where it stands alone.
    ("create", TAP + "ok 1 - a\n  ---\n  {\n    \"error\": \"c\"\n  }\n  ...\n1..1\n", "", 0, "passed", ""),
    ("state", TAP + "ok 1 - a\n  ---\n  {\n    \"x\": \"y\"\n  }\n  ...\n  ---\n  {\n    \"error\": \"c\"\n  }\n  ...\n1..1\n",
     "", 0, "failed", "c"),
    ("poststop", TAP + "  ---\n  {\n    \"error\": \"c\\nRefer to: d\"\n  }\n  ...\n1..0\n", "", 0, "failed", "c"),
    ("poststop", TAP + "1..0\n", "", 0, "passed", "no error"),
    ("poststop", TAP + "1..0\n", "WARNING: The poststop hook invoke fails\n", 0, "failed", "WARNING"),
    ("poststop", TAP, "", 0, "failed", "without an end"),
    ("poststop", "", "", 0, "failed", "not come to its end"),
    ("prestart_fail", TAP + "1..0\n", "no such command\n", 0, "failed", "hook"),
    ("process_rlimits_fail", "", "failed to create the container\n", 0, "failed", "rlimit"),
    ("process_rlimits_fail", "", "failed to create the container\nno rlimit X\n", 0, "passed", ""),
    ("linux_cgroups_blkio", TAP + "ok 1 - a\n# unable to get weight\n1..1\n", "", 0, "failed", "unable to get weight"),
    # What the container has printed is a string of the JSON.
    ("hostname", TAP + "  ---\n  {\n    \"stderr\": \"\",\n    \"stdout\": \"\"\n  }\n  ...\nok 1 - a\n1..1\n", "", 0,
     "failed", "inside"),
    ("hostname", TAP + "  ---\n  {\n    \"stdout\": \"TAP version 13\\nok 1 - a\\n1..1\\n\"\n  }\n  ...\nok 1 - a\n1..1\n", "", 0,
     "passed", ""),
    ("linux_seccomp", TAP + "ok 1 - a\n1..1\n", "", 0, "failed", "getwd"),
]

failed = 0
for number, (test, out, err, code, verdict, summary) in enumerate(CASES, 1):
    reading = read(test, out, err, code)
    if (reading.verdict(), summary in reading.summary()) != (verdict, True):
        print(f"case {number}, {test}: {reading.verdict()}, {reading.summary()!r}; wanted {verdict}, {summary!r}")
        failed += 1
print(f"test result: {'FAILED' if failed else 'ok'}. {len(CASES) - failed} passed; {failed} failed; 0 skipped")
sys.exit(failed != 0)
