"""Where it is measured: namespaces of our own with one view of the cgroups, and what machine this is."""
import os
import platform
import time

# What makes the view, in a mount namespace of our own. A cgroup2 beside v1 controllers is hidden by a tmpfs, since
# crun makes folders there even so.
VIEWS = {
    "host": ":",
    "v1": "umount /sys/fs/cgroup/unified 2>/dev/null && mount -t tmpfs none /sys/fs/cgroup/unified || :",
    "v2": "[ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 none /sys/fs/cgroup",
}
# In this one containers are systemd's scopes: it has a systemd of its own, on v2 with the controllers that the host can give.
SYSTEMD = "systemd"
UNDER_SYSTEMD = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../integration/systemd")
CGROUPS = "/sys/fs/cgroup"
INSIDE = "TARE_BENCH_INSIDE"


def enter(view, argv):
    """Goes on as process 1 of a pid namespace, so that nothing outlives us, with a tmpfs at /run for state, as anywhere."""
    if INSIDE in os.environ:
        return
    os.environ[INSIDE] = view
    if view == SYSTEMD:
        os.execv(UNDER_SYSTEMD, [UNDER_SYSTEMD, SYSTEMD, *argv])
    script = f'mount -t tmpfs -o mode=0755 tmpfs /run; {VIEWS[view]}; exec "$@"'
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                          "--mount-proc", "sh", "-euc", script, "sh", *argv])


def has_controller(name):
    """Whether a controller can limit anything in this view."""
    if os.path.exists(f"{CGROUPS}/cgroup.controllers"):
        with open(f"{CGROUPS}/cgroup.controllers", encoding="ascii") as file:
            return name in file.read().split()
    return os.path.exists(f"{CGROUPS}/{name}/tasks")


def reap():
    """Process 1 waits for whatever was left to it."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def facts(view):
    """For the head of a report."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {"date": time.strftime("%Y-%m-%d"), "kernel": platform.release(), "view": view,
            "cpu": models[0] if models else platform.machine(), "cpus": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1)}
