#!/usr/bin/env python3
"""The kubelet's part towards containerd: pods, containers, exec, attach, statistics, updates, security contexts.

    cri.py ADDRESS WORK        prints a line for each step, as the other engines' steps do
"""
import difflib, json, os, re, subprocess, sys, time, traceback

import grpc
import websocket
import api_pb2 as api
from api_pb2_grpc import ImageServiceStub, RuntimeServiceStub

ADDRESS, WORK = sys.argv[1:]
channel = grpc.insecure_channel(ADDRESS)
runtime, images = RuntimeServiceStub(channel), ImageServiceStub(channel)
BOX = api.ImageSpec(image="docker.io/library/box:latest")
POD, CONTAINER, NODE = api.POD, api.CONTAINER, api.NODE


def step(name):
    """Runs the function below it as a step: it fails by an exception."""
    def made(function):
        try:
            function()
            print("ok cri:", name, flush=True)
        except Exception:
            print("not ok cri:", name)
            print("".join("    | " + line + "\n" for line in traceback.format_exc().splitlines()[-12:]), flush=True)
    return made


def check(got, pattern):
    """That a text matches."""
    assert re.search(pattern, got, re.S), f"{got!r} does not match {pattern!r}"


def soon(function, *args):
    """Calls until the answer is true."""
    end = time.monotonic() + 15
    while True:
        got = function(*args)
        if got or time.monotonic() > end:
            assert got, f"{function.__name__} has not come true"
            return got
        time.sleep(0.05)


class Pod:
    def __init__(self, name, handler="", network=POD, pid=CONTAINER, **more):
        security = more.pop("security", {})
        self.config = api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=name, uid=name, namespace="default", attempt=0),
            hostname="" if network == NODE else name,  # as the kubelet does it: there is no UTS namespace of the pod's then
            log_directory=f"{WORK}/logs/{name}", labels={"app": name},
            linux=api.LinuxPodSandboxConfig(
                cgroup_parent=f"/it-engines/{name}", sysctls=more.pop("sysctls", {}),
                security_context=api.LinuxSandboxSecurityContext(
                    namespace_options=api.NamespaceOption(network=network, pid=pid, ipc=POD), **security)), **more)
        self.id = runtime.RunPodSandbox(api.RunPodSandboxRequest(config=self.config, runtime_handler=handler)).pod_sandbox_id
        self.network, self.pid = network, pid

    def status(self):
        return runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=self.id)).status

    def create(self, name, *command, start=True, security=None, resources=None, namespaces=None, **more):
        namespaces = namespaces or api.NamespaceOption(network=self.network, pid=self.pid, ipc=POD)
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name, attempt=0), image=BOX, command=command, log_path=f"{name}.log",
            linux=api.LinuxContainerConfig(
                resources=api.LinuxContainerResources(**resources or {}),
                security_context=api.LinuxContainerSecurityContext(namespace_options=namespaces, **security or {})), **more)
        container = Container(runtime.CreateContainer(api.CreateContainerRequest(
            pod_sandbox_id=self.id, config=config, sandbox_config=self.config)).container_id, f"{WORK}/logs/{self.config.metadata.name}/{name}.log")
        if start:
            container.start()
        return container

    def said(self, name, *command, **more):
        """What a container prints until its end, and removes it."""
        container = self.create(name, *command, **more)
        container.end()
        # containerd tells the end before it has written all of the log.
        said = ""
        for _ in range(50):
            before, said = said, container.log()
            if said and said == before:
                break
            time.sleep(0.1)
        container.remove()
        os.remove(container.log_path)
        return said

    def remove(self):
        runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=self.id))
        runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=self.id))


class Container:
    def __init__(self, id, log_path):
        self.id, self.log_path = id, log_path

    def start(self):
        runtime.StartContainer(api.StartContainerRequest(container_id=self.id))

    def status(self):
        return runtime.ContainerStatus(api.ContainerStatusRequest(container_id=self.id)).status

    def ended(self):
        return self.status().state == api.CONTAINER_EXITED

    def end(self):
        soon(self.ended)
        return self.status()

    def log(self):
        """Its output, out of the form that the kubelet reads: time, stream, F or P, text."""
        out = ""
        for line in open(self.log_path, errors="replace"):
            _, _, whole, text = line.split(" ", 3)
            out += text if whole == "F" else text[:-1]
        return out

    def exec(self, *command, timeout=20):
        return runtime.ExecSync(api.ExecSyncRequest(container_id=self.id, cmd=command, timeout=timeout))

    def out(self, *command):
        answer = self.exec(*command)
        return (answer.stdout + answer.stderr).decode()

    def stop(self, timeout):
        runtime.StopContainer(api.StopContainerRequest(container_id=self.id, timeout=timeout))

    def remove(self):
        runtime.RemoveContainer(api.RemoveContainerRequest(container_id=self.id))


class Stream:
    """A stream of exec or attach, by a websocket; the first byte of a message is its channel."""
    STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)

    def __init__(self, url):
        self.socket = websocket.create_connection(url.replace("http:", "ws:"), subprotocols=["v4.channel.k8s.io"], timeout=15)
        self.got = {channel: b"" for channel in range(5)}

    def send(self, channel, data):
        self.socket.send_binary(bytes([channel]) + data)

    def read(self, until=None):
        """Until the end of the stream, or until its output holds a text."""
        while until is None or until not in self.got[self.STDOUT]:
            try:
                message = self.socket.recv()
            except websocket.WebSocketConnectionClosedException:
                break
            if not message:
                break
            self.got[message[0]] += message[1:]
        return self.got[self.STDOUT].decode()


SHARED = f"{WORK}/shared"


def refused(function, pattern):
    """That a call fails, and how."""
    try:
        function()
    except grpc.RpcError as error:
        check(error.details(), pattern)
        return error
    raise AssertionError("it was not refused")


@step("version and status")
def _():
    check(runtime.Version(api.VersionRequest()).runtime_name, "^containerd$")
    conditions = soon(lambda: (c := runtime.Status(api.StatusRequest()).status.conditions) and all(x.status for x in c) and c)
    assert {condition.type for condition in conditions} == {"RuntimeReady", "NetworkReady"}


@step("the image")
def _():
    assert images.ImageStatus(api.ImageStatusRequest(image=BOX)).image.id


pod = Pod("first", sysctls={"net.ipv4.ip_unprivileged_port_start": "0"}, annotations={"key": "value"})
first = pod.create("first", "sh", "-c", "echo up; echo wrong >&2; trap 'exit 3' TERM; while :; do sleep 0.1; done", envs=[api.KeyValue(key="A", value="b")],
                   working_dir="/tmp", resources={"memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000, "cpu_shares": 512})


@step("a pod with an address")
def _():
    status = pod.status()
    assert status.state == api.SANDBOX_READY
    check(status.network.ip, r"^10\.22\.0\.")
    check(first.out("ip", "addr"), re.escape(status.network.ip))
    check(first.out("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "^0$")
    check(first.out("hostname"), "^first$")


@step("a container runs")
def _():
    assert first.status().state == api.CONTAINER_RUNNING
    check(first.out("sh", "-c", "echo $A; cat /proc/1/environ | tr '\\0' '\\n' | grep A="), "A=b")
    check(first.out("pwd"), "^/tmp$")


@step("its log")
def _():
    soon(lambda: "wrong" in first.log())
    lines = [line.split(" ", 1)[1] for line in open(first.log_path)]
    assert sorted(lines) == ["stderr F wrong\n", "stdout F up\n"], lines


@step("exec: output, errors, exit code")
def _():
    answer = first.exec("sh", "-c", "echo out; echo err >&2; exit 9")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 9), answer


@step("exec: a command that is missing")
def _():
    refused(lambda: first.exec("nosuch"), "executable file not found in .PATH")


@step("exec: takes too long")
def _():
    start = time.monotonic()
    error = refused(lambda: first.exec("sleep", "30", timeout=1), "timeout|deadline")
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED or "timeout" in error.details()
    assert time.monotonic() - start < 10
    assert "sleep 30" not in first.out("ps"), "it has been killed"


@step("exec: twenty in a row, ten at once")
def _():
    for n in range(20):
        assert first.exec("echo", str(n)).stdout == b"%d\n" % n
    calls = [runtime.ExecSync.future(api.ExecSyncRequest(container_id=first.id, cmd=["echo", str(n)], timeout=20)) for n in range(10)]
    assert [call.result().stdout for call in calls] == [b"%d\n" % n for n in range(10)]


second = pod.create("second", "sleep", "1000")


@step("namespaces of the pod are shared, others are not")
def _():
    of = lambda container: dict(line.split() for line in container.out(
        "sh", "-c", "for n in net ipc uts pid mnt cgroup; do echo $n $(readlink /proc/self/ns/$n); done").splitlines())
    one, two = of(first), of(second)
    assert [kind for kind in one if one[kind] == two[kind]][:3] == ["net", "ipc", "uts"], (one, two)
    assert one["pid"] != two["pid"] and one["mnt"] != two["mnt"]


@step("a process namespace of the pod")
def _():
    shared = Pod("shared", pid=POD)
    a, b = shared.create("a", "sleep", "1234"), shared.create("b", "sleep", "1000")
    check(b.out("ps"), "sleep 1234")
    b.exec("sh", "-c", "kill -9 $(ps | awk '/[s]leep 1234/ { print $1 }')")
    assert a.end().exit_code == 137
    shared.remove()


@step("the process namespace of another container")
def _():
    options = api.NamespaceOption(pid=api.TARGET, target_id=first.id, network=POD, ipc=POD)
    third = pod.create("third", "sleep", "1000", namespaces=options)
    check(third.out("ps"), "trap 'exit 3'")
    third.stop(0)
    third.remove()


@step("the host's network")
def _():
    host = Pod("host", network=NODE)
    check(host.said("ip", "ip", "addr"), "cni0")
    host.remove()


@step("exec with a stream")
def _():
    url = runtime.Exec(api.ExecRequest(container_id=first.id, cmd=["sh", "-c", "read x; echo got $x; echo err >&2; exit 5"],
                                       stdin=True, stdout=True, stderr=True)).url
    stream = Stream(url)
    stream.send(Stream.STDIN, b"a line\n")
    assert stream.read() == "got a line\n"
    assert stream.got[Stream.STDERR] == b"err\n"
    check(stream.got[Stream.ERROR].decode(), '"ExitCode".*"5"')


@step("exec with a terminal that changes its size")
def _():
    url = runtime.Exec(api.ExecRequest(container_id=first.id, cmd=["sh"], stdin=True, stdout=True, tty=True)).url
    stream = Stream(url)
    stream.send(Stream.RESIZE, json.dumps({"Width": 77, "Height": 33}).encode())
    stream.send(Stream.STDIN, b"until [ \"$(stty size)\" = '33 77' ]; do sleep 0.1; done; stty size\n")
    stream.read(b"\n33 77\r")
    stream.send(Stream.RESIZE, json.dumps({"Width": 99, "Height": 44}).encode())
    stream.send(Stream.STDIN, b"until [ \"$(stty size)\" = '44 99' ]; do sleep 0.1; done; stty size; exit\n")
    check(stream.read(), "\n44 99\r")


@step("attach")
def _():
    talk = pod.create("talk", "sh", "-c", "while read x; do echo answer $x; done; echo end", stdin=True, stdin_once=True)
    stream = Stream(runtime.Attach(api.AttachRequest(container_id=talk.id, stdin=True, stdout=True, stderr=True)).url)
    stream.send(Stream.STDIN, b"one\n")
    stream.read(b"answer one\n")
    stream.send(Stream.STDIN, b"two\n")
    stream.read(b"answer two\n")
    stream.socket.close()
    assert talk.end().exit_code == 0
    check(talk.log(), "answer one.answer two.end")
    talk.remove()


@step("attach to a terminal")
def _():
    shell = pod.create("shell", "sh", stdin=True, tty=True)
    stream = Stream(runtime.Attach(api.AttachRequest(container_id=shell.id, stdin=True, stdout=True, tty=True)).url)
    stream.send(Stream.STDIN, b"tty; exit 4\n")
    check(stream.read(), "/dev/pts/0")
    assert shell.end().exit_code == 4
    shell.remove()


@step("statistics")
def _():
    stats = runtime.ContainerStats(api.ContainerStatsRequest(container_id=first.id)).stats
    assert stats.cpu.usage_core_nano_seconds.value > 0 and stats.memory.working_set_bytes.value > 0, stats
    listed = runtime.ListContainerStats(api.ListContainerStatsRequest(filter=api.ContainerStatsFilter(pod_sandbox_id=pod.id))).stats
    assert {first.id, second.id} <= {stats.attributes.id for stats in listed}


LIMITS = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus"


@step("limits, and an update of them")
def _():
    assert first.out("sh", "-c", LIMITS).split()[:3] == [str(64 << 20), "50000", "512"]
    runtime.UpdateContainerResources(api.UpdateContainerResourcesRequest(container_id=first.id, linux=api.LinuxContainerResources(
        memory_limit_in_bytes=96 << 20, cpu_quota=70000, cpu_period=100000, cpu_shares=256, cpuset_cpus="0")))
    assert first.out("sh", "-c", LIMITS).split() == [str(96 << 20), "70000", "256", "0"]
    check(first.out("sh", "-c", "echo x >/dev/null && head -c 1 /dev/zero | wc -c"), "^1$")


@step("out of memory")
def _():
    hungry = pod.create("hungry", "tail", "/dev/zero", resources={"memory_limit_in_bytes": 20 << 20})
    status = hungry.end()
    assert (status.exit_code, status.reason) == (137, "OOMKilled"), status
    hungry.remove()


@step("a command that is missing")
def _():
    missing = pod.create("missing", "nosuch", start=False)
    refused(missing.start, "executable file not found in .PATH")
    status = missing.status()
    assert (status.exit_code, status.reason) == (128, "StartError"), status
    missing.remove()


@step("user, groups, read-only root")
def _():
    said = pod.said("user", "sh", "-c", "id; touch /x; touch /t/x && echo written; cat /proc/self/status", security={
        "run_as_user": api.Int64Value(value=1000), "run_as_group": api.Int64Value(value=7), "supplemental_groups": [77, 88],
        "readonly_rootfs": True, "no_new_privs": True}, mounts=[api.Mount(container_path="/t", host_path=SHARED)])
    check(said, r"uid=1000\(user\) gid=7 groups=.*77,88.*written.*NoNewPrivs:.1")
    check(said, "/x: Read-only file system")
    check(pod.said("name", "id", "-u", security={"run_as_username": "user"}), "^1000$")


@step("capabilities")
def _():
    caps = api.Capability(add_capabilities=["NET_ADMIN"], drop_capabilities=["ALL"])
    check(pod.said("caps", "grep", "CapEff", "/proc/self/status", security={"capabilities": caps}), "0000000000001000")


@step("profiles of seccomp")
def _():
    default = api.SecurityProfile(profile_type=api.SecurityProfile.RuntimeDefault)
    check(pod.said("default", "grep", "Seccomp:", "/proc/self/status", security={"seccomp": default}), ":.2")
    none = api.SecurityProfile(profile_type=api.SecurityProfile.Unconfined)
    check(pod.said("none", "grep", "Seccomp:", "/proc/self/status", security={"seccomp": none}), ":.0")
    with open(f"{WORK}/profile.json", "w") as file:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}, file)
    ours = api.SecurityProfile(profile_type=api.SecurityProfile.Localhost, localhost_ref=f"{WORK}/profile.json")
    check(pod.said("ours", "sh", "-c", "mkdir /tmp/x 2>&1", security={"seccomp": ours}), "not permitted")


@step("masked and read-only paths")
def _():
    check(pod.said("masked", "sh", "-c", "ls /proc/tty | wc -l; (echo 1 >/proc/sys/kernel/panic) 2>&1", security={
        "masked_paths": ["/proc/tty"], "readonly_paths": ["/proc/sys"]}), "^0.*Read-only file system")


@step("mounts and devices")
def _():
    said = pod.said("mounts", "sh", "-c", "touch /ro/x 2>&1; grep ' /slave ' /proc/self/mountinfo; ls -l /dev/other", mounts=[
        api.Mount(container_path="/ro", host_path=SHARED, readonly=True),
        api.Mount(container_path="/slave", host_path=SHARED, propagation=api.PROPAGATION_HOST_TO_CONTAINER)],
        devices=[api.Device(container_path="/dev/other", host_path="/dev/random", permissions="rw")])
    check(said, r"Read-only file system.* /slave .*1, +8")


if os.environ["NO_CAPS"] and os.path.basename(os.environ["RUNTIME"]) != "tare":
    print("only cri: privileged:", os.environ["NO_CAPS"], flush=True)
else:
    @step("privileged")
    def _():
        big = Pod("big", security={"privileged": True})
        check(big.said("big", "sh", "-c", "mount -t tmpfs none /tmp && echo mounted", security={"privileged": True}), "mounted")
        big.remove()


@step("the inside, as with runc")
def _():
    outs = []
    for handler in ["peer", ""]:
        same = Pod("same", handler=handler)
        out = ""
        for n, security in enumerate([{}, {"run_as_user": api.Int64Value(value=1000), "readonly_rootfs": True, "no_new_privs": True,
                                           "seccomp": api.SecurityProfile(profile_type=api.SecurityProfile.RuntimeDefault)}]):
            out += same.said(f"n{n}", "inside", security=security, mounts=[api.Mount(container_path="/t", host_path=SHARED)],
                             resources={"memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000, "oom_score_adj": 500})
        same.remove()
        outs.append(subprocess.run(["sed", "-E", "-f", os.environ["DIFFERENCES"]], input=out, capture_output=True, text=True, check=True).stdout)
    peer, ours = (out.splitlines() for out in outs)
    assert len(ours) > 200
    assert peer == ours, "\n".join(list(difflib.unified_diff(peer, ours, "runc", "ours", n=0, lineterm=""))[:12])


@step("stop: by its own")
def _():
    first.stop(10)
    status = first.end()
    assert (status.exit_code, status.reason) == (3, "Error"), status


@step("stop: by force")
def _():
    deaf = pod.create("deaf", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    deaf.stop(1)
    assert deaf.end().exit_code == 137
    deaf.remove()


@step("a restart of a container, with what is on the pod's volume")
def _():
    mount = [api.Mount(container_path="/t", host_path=SHARED)]
    pod.said("write", "sh", "-c", "echo kept >/t/kept; echo written", mounts=mount)
    check(pod.said("read", "cat", "/t/kept", mounts=mount), "^kept$")


@step("thirty pods")
def _():
    calls = []
    for n in range(30):
        config = api.PodSandboxConfig(metadata=api.PodSandboxMetadata(name=f"p{n}", uid=f"p{n}", namespace="many"), log_directory=f"{WORK}/logs",
                                      linux=api.LinuxPodSandboxConfig(cgroup_parent="/it-engines/many"))
        calls.append(runtime.RunPodSandbox.future(api.RunPodSandboxRequest(config=config)))
    ids = [call.result().pod_sandbox_id for call in calls]
    ready = runtime.ListPodSandbox(api.ListPodSandboxRequest(filter=api.PodSandboxFilter(state=api.PodSandboxStateValue(state=api.SANDBOX_READY)))).items
    assert set(ids) <= {item.id for item in ready}
    for call in [runtime.StopPodSandbox.future(api.StopPodSandboxRequest(pod_sandbox_id=id)) for id in ids]:
        call.result()
    for id in ids:
        runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=id))


@step("the pod is removed, and nothing is left")
def _():
    pod.remove()
    assert not runtime.ListContainers(api.ListContainersRequest()).containers
    assert not runtime.ListPodSandbox(api.ListPodSandboxRequest()).items
