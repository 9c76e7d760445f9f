# shellcheck shell=bash
# Podman, rootful, with the cgroup file system; conmon calls the runtime.
mkdir -p "$work/conf"
cat >"$work/conf/containers.conf" <<TOML
[containers]
default_ulimits = ["nofile=1024:20000", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "$name-under-test"
runtime_supports_json = ["$name-under-test"]
runtime_supports_nocgroup = ["tare-under-test"]
[engine.runtimes]
$name-under-test = ["$runtime"]
TOML
cat >"$work/conf/storage.conf" <<TOML
[storage]
driver = "overlay"
graphroot = "$work/graph"
runroot = "$work/runroot"
TOML
export CONTAINERS_CONF=$work/conf/containers.conf CONTAINERS_STORAGE_CONF=$work/conf/storage.conf
run='podman run --rm --net none'

t 'the runtime is the default one' 0 "$runtime" podman info
t import 0 sha256 bash -c "tar -C $work/image -c . | podman import - box"
t run 0 '^hello' $run box echo hello
t 'exit code' 7 '' $run box sh -c 'exit 7'
t 'a command that is missing' 127 'executable file not found' $run box nosuch
t 'a command that is no program' 126 'permission denied' $run box /etc/passwd
t stdin 0 '^through' bash -c "echo through | $run -i box cat"
t 'a terminal of the right size' 0 '33 77' tty $run -it box sh -c 'sleep 0.5; stty size'
t user 0 'uid=1000\(user\)' $run --user user box id
t hostname 0 '^other' $run -h other box hostname
t 'read-only root' 1 'Read-only file system' $run --read-only box touch /x
t 'a tmpfs' 0 'size=1024k' $run --tmpfs /t:size=1m box mount
t 'a bind mount' 0 'busybox' $run -v "$work/image/bin:/b:ro" box ls /b
t 'capabilities dropped' 0 'CapEff:.0000000000000000' $run --cap-drop ALL box grep CapEff /proc/self/status
t privileged 0 'CapEff:.00000[0-9a-f]+ffff' $run --privileged box grep CapEff /proc/self/status
t 'no new privileges' 0 'NoNewPrivs:.1' $run --security-opt no-new-privileges box grep NoNewPrivs /proc/self/status
t 'the default seccomp profile' 0 'Seccomp:.2' $run box grep Seccomp: /proc/self/status
t 'a device' 0 '1, +8' $run --device /dev/random:/dev/other box ls -l /dev/other
t ulimit 0 '^100' $run --ulimit nofile=100:100 --ulimit nproc=4096:4096 box sh -c 'ulimit -n'
t 'an init' 0 'podman-init' $run --init box ps
t 'out of memory' 137 '' $run -m 20m box tail /dev/zero
t 'namespaces of the host' 0 'lo:' podman run --rm --net host --pid host --ipc host --uts host box ip addr
t 'user namespace' 0 '0 +100000 +65536' $run --uidmap 0:100000:65536 box cat /proc/self/uid_map
t 'descriptors kept' 0 '^kept' bash -c "exec 3<<<kept; $run --preserve-fds 1 box cat /proc/self/fd/3"
t 'the parent is told' 0 '^READY=1|MAINPID' bash -c "socat -u UNIX-RECV:$work/notify - & sleep 0.3; NOTIFY_SOCKET=$work/notify podman run -d --rm --net none --sdnotify=container box sh -c 'sleep 1' >/dev/null; podman run --rm --net none box true; sleep 0.3; echo READY=1; kill %1"
t 'run detached' 0 '[0-9a-f]{64}' podman run -d --net none --name c box sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'
t logs 0 '^up' podman logs c
t exec 0 'sh -c trap.*ps' podman exec c ps
t 'exec as a user' 0 'uid=1000' podman exec -u user c id
t 'exec: exit code' 9 '' podman exec c sh -c 'exit 9'
t 'exec: a command that is missing' 127 'executable file not found' podman exec c nosuch
t 'exec with a terminal' 0 '33 77' tty podman exec -it c sh -c 'sleep 0.5; stty size'
t top 0 'sh -c' podman top c
t stats 0 'c +[0-9.]+%' podman stats --no-stream c
t pause 0 c podman pause c
t unpause 0 c podman unpause c
t update 0 '' podman update --memory 100m --cpus 0.7 c
t 'it is felt' 0 '^104857600 70000' podman exec c sh -c 'cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us)'
t 'copy to and from' 0 '^root' bash -c "podman cp /etc/passwd c:/tmp/p && podman cp c:/tmp/p - | tar -xO"
t stop 0 c podman stop -t 10 c
t 'it ended by its own' 0 '^exited 3' podman inspect -f '{{.State.Status}} {{.State.ExitCode}}' c
t restart 0 '' podman restart -t 1 c
t 'kill and remove' 0 '' bash -c 'podman kill c && podman rm -f c'
t 'a pod' 0 '' podman pod create --name p --network none --infra-image box --infra-command 'sleep 1000'
t 'one of its containers' 0 '' podman run -d --pod p --name one box sleep 1000
t 'namespaces of another' 0 '^same' bash -c 'ns="readlink /proc/self/ns/net"
    [ "$(podman exec one $ns)" = "$(podman run --rm --pod p box $ns)" ] && echo same'
t 'the pod is removed' 0 '' podman pod rm -f -t 0 p
[ "$name" != tare ] || t 'no cgroup' 0 'pids:/\s' $run --cgroups=disabled box cat /proc/self/cgroup
t 'nothing is left' 0 '^0' bash -c 'podman ps -aq | wc -l'
