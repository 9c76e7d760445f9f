"""Reads what one test of the suite has printed, and judges it.

The protocol is TAP with JSON between `---` and `...`, but no reader of TAP is good enough: half of the hook tests cannot
print `not ok`, some print nothing at all when all is well, some go silently past what they cannot find, and what has run
in the container is reported as a string inside of the JSON.
"""

import re

# These print no result when all is well, but an empty plan at the end.
SILENT = {"hooks", "poststart", "poststart_fail", "poststop", "poststop_fail", "prestart", "prestart_fail"}
# These print nothing at all then, since nothing has run.
REFUSED = {"process_capabilities_fail", "process_rlimits_fail"}
# What has to be found, where a runtime that fails for another reason, or a check that is left out, would pass as well.
EVIDENCE = {
    "linux_ns_path_type": r"setns|namespace, not",
    "linux_rootfs_propagation": r"shared root propagation exposes(?s:.*)root propagation is unbindable",
    "linux_seccomp": r"getwd: operation not permitted",
    "prestart_fail": r"hook",
    "process_capabilities_fail": r"CAP_TEST",
    "process_rlimits_fail": r"(?i)rlimit",
}
RESULT = re.compile(r"(ok|not ok) (\d+)(?: -)? ?(.*)")
DETAIL = re.compile(r'\s+"(error|stderr)": "(.*)",?$')


class Reading:
    """What a test has printed: how many checks were made and left out, and all that is wrong."""

    def __init__(self):
        self.checks = 0
        self.skipped = 0
        self.complaints = []

    def verdict(self):
        if self.complaints:
            return "failed"
        return "skipped" if self.skipped and not self.checks else "passed"

    def summary(self):
        """One line that tells why."""
        if self.complaints:
            more = f" (and {len(self.complaints) - 1} more)" if len(self.complaints) > 1 else ""
            return self.complaints[0] + more
        if not self.checks and not self.skipped:
            return "no error, as it has to be"
        return f"{self.checks} checks" + (f", {self.skipped} of no concern" if self.skipped else "")


def plain(text):
    """A string of the JSON, or some lines, as one line."""
    text = re.sub(r"Refer to: \S+", "", text.replace("\\n", "\n"))
    text = text.replace('\\"', '"').replace("\\t", " ").replace("\\u003c", "<").replace("\\u003e", ">")
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def read(test, out, err, code):
    """Reads standard output, standard error and the exit code of a test."""
    reading = Reading()
    complaints = reading.complaints
    if code in (124, 137):
        complaints.append("killed: it has not come to an end")
    elif code != 0:
        complaints.append(f"exit code {code}: {plain(err)}")
    results = None  # how many of the report that is read, until its plan
    owner = None  # what the lines that follow belong to: a good result, or the index of a complaint
    for line in out.splitlines():
        result = RESULT.match(line)
        detail = DETAIL.match(line)
        if line == "TAP version 13":
            if results is not None:
                complaints.append("a report without an end")
            results, owner = 0, None
        elif re.fullmatch(r"1\.\.\d+", line):
            if results is None or results != int(line[3:]):
                complaints.append(f"{results} results where the plan is {line}")
            elif results == 0 and code == 0 and test not in SILENT:
                complaints.append("a report without a result")
            results, owner = None, None
        elif result:
            good, number, text = result.groups()
            results = None if results is None else results + 1
            owner = "good"
            if "# SKIP" in text:
                reading.skipped += 1
            elif "# TODO" in text:
                pass
            elif good == "ok":
                reading.checks += 1
            else:
                # An exit code alone is a command's; what it has said is on standard error.
                more = f": {plain(err)}" if "exit status" in text else ""
                complaints.append(f"check {number}: {text}{more}")
                owner = len(complaints) - 1
        elif line == "  ...":
            owner = None
        elif detail and isinstance(owner, int):
            complaints[owner] += ": " + plain(detail.group(2))
        elif detail and owner is None and detail.group(1) == "error":
            # An error that belongs to no result is all that some tests print.
            complaints.append(plain(detail.group(2)))
            owner = len(complaints) - 1
        elif line.startswith("# unable to"):
            complaints.append(line[2:])
        elif line.startswith("# ") and isinstance(owner, int):
            complaints[owner] += ": " + line[2:]
        elif re.match(r'\s+"stdout": "', line) and test != "linux_seccomp" and not re.search(r"\\n1\.\.[1-9]", line):
            complaints.append("the report from inside of the container has no end")
    if results is not None and code == 0:
        complaints.append("a report without an end")
    complaints.extend(plain(line) for line in err.splitlines() if line.startswith("WARNING"))
    evidence = EVIDENCE.get(test)
    if not complaints:
        if not reading.checks and not reading.skipped and test not in SILENT | REFUSED:
            complaints.append("not one result")
        elif test in SILENT and "1..0" not in out.splitlines():
            complaints.append("it has not come to its end")
        elif evidence and not re.search(evidence, out + err):
            complaints.append(f"nothing that matches {evidence} was printed")
    return reading
