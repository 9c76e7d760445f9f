# shellcheck shell=bash
# Under a systemd, on all controllers of v1: containers are its scopes and slices. Docker, Podman and containerd with the
# systemd driver, and Podman's units.
. "$here/units.sh"
mkdir -p $unit_dir
# What units of a whole system want to have.
for target in sysinit basic shutdown network-online; do printf '[Unit]\nDefaultDependencies=no\n' >$unit_dir/$target.target; done
systemctl daemon-reload
scopes() { systemctl list-units --all --no-legend '*.scope' | grep -E "${1:-[0-9a-f]{64}}" || :; }
limits='cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max)'
export limits
export -f scopes

# Under this systemd on v1, a process of runc's is in the slice's cgroup of devices, not in the scope's.
slice_devices="runc's rules for devices do not hold here"
known_more='s/^([0-9]+:devices:.*)\/(docker|libpod)-ID\.scope$/\1/'

. "$here/dockerd.sh"
start_dockerd_of_systemd
run="$docker run --rm --net none"
export run
t 'docker: the driver' 0 'Cgroup Driver: systemd' $docker info
t 'docker: load' 0 'Loaded image' $docker load -i "$images/box.tar"
t 'docker: run' 0 '^hello' $run box echo hello
t 'docker: its scope' 0 'pids:/system.slice/docker-[0-9a-f]{64}.scope' $run --cgroupns host box cat /proc/self/cgroup
t 'docker: in a slice' 0 'pids:/engines.slice/engines-tests.slice/docker-[0-9a-f]{64}.scope' $run --cgroupns host --cgroup-parent engines-tests.slice box cat /proc/self/cgroup
t 'docker: exit code' 7 '' $run box sh -c 'exit 7'
t 'docker: out of memory' 137 '' $run -m 20m box tail /dev/zero
t 'docker: a limit of processes' 2 "can't fork" $run --pids-limit 5 box sh -c 'for i in 1 2 3 4 5 6 7; do sleep 5 & done; wait'
only=$slice_devices t 'docker: a device that is denied' 1 'not permitted' $run box sh -c 'mknod /n b 8 0; head -c 1 /n'
t 'docker: a device' 0 '^8' $run --device /dev/urandom:/dev/other box sh -c 'head -c 8 /dev/other | wc -c'
t 'docker: detached' 0 '' $docker run -d --name box1 --net none -m 64m --cpus 0.5 --cpu-shares 512 --pids-limit 50 box sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
scope=docker-$($docker inspect -f '{{.Id}}' box1).scope
t 'docker: systemd knows it' 0 '^active' systemctl is-active "$scope"
t 'docker: and its limits' 0 '^67108864.500ms.512.50' bash -c "for p in MemoryLimit CPUQuotaPerSecUSec CPUShares TasksMax; do shown \$p $scope; done"
t 'docker: they are felt' 0 '^67108864 50000 512 50' $docker exec box1 sh -c "$limits"
t 'docker: update' 0 box1 $docker update --memory 100m --memory-swap 200m --cpus 0.7 --cpu-shares 300 --pids-limit 33 box1
t 'docker: it is felt' 0 '^104857600 70000 300 33' $docker exec box1 sh -c "$limits"
t 'docker: still after a reload' 0 '^104857600 70000 300 33' reloaded $docker exec box1 sh -c "$limits"
only=$slice_devices t 'docker: devices after a reload' 1 'not permitted' reloaded $docker exec box1 sh -c 'echo x >/dev/null && mknod /n b 8 0 && head -c 1 /n'
t 'docker: exec is in the scope' 0 'pids:/system.slice/docker-[0-9a-f]{64}.scope' $docker exec box1 cat /proc/self/cgroup
t 'docker: pause, resume, stats' 0 'box1 +[0-9.]+%' bash -c "$docker pause box1 && $docker unpause box1 && $docker stats --no-stream box1"
only="runc looks for processes by the cgroup of devices" t 'docker: top' 0 'trap' $docker top box1
t 'docker: restart' 0 box1 $docker restart -t 1 box1
t 'docker: stop' 0 box1 $docker stop -t 5 box1
t 'docker: the scope is gone' 0 '' soon gone "$scope"
t 'docker: start again' 0 '^box1.active' bash -c "$docker start box1; systemctl is-active $scope"
t 'docker: systemd ends it' 0 '^(3|137)' bash -c "systemctl stop $scope 2>/dev/null; $docker wait box1"
t 'docker: remove' 0 '' bash -c "$docker rm -f box1; soon nothing scopes"
same 'docker: the inside' $run --runtime RUNTIME box inside
same 'docker: the inside, limited' $run --runtime RUNTIME -m 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 --device /dev/loop-control box inside
t 'docker: ten at once' 0 '^10' bash -c "for n in \$(seq 10); do $run box true & pids=\"\$pids \$!\"; done; ok=0; for p in \$pids; do wait \$p && ok=\$((ok+1)); done; echo \$ok"
t 'docker: no scope is left' 0 '^\s*$' soon nothing scopes
stop_dockerd pid

. "$here/podman_conf.sh"
podman_conf "$work" systemd '"nofile=20000:20000", "nproc=4096:4096"' "$work/runroot"
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
systemctl set-environment CONTAINERS_CONF=$CONTAINERS_CONF CONTAINERS_STORAGE_CONF=$CONTAINERS_STORAGE_CONF TMPDIR=$TMPDIR HOME=$HOME
kept_mounts="$kept_mounts|^/run/netns "
run='podman run --rm --net none'
t 'podman: the manager' 0 '^systemd' podman info --format '{{.Host.CgroupManager}}'
t 'podman: load' 0 'pause' bash -c "for i in box pause debian; do podman load -qi $images/\$i.tar; done; podman tag box:latest localhost/box; podman tag pause:latest localhost/pause; podman tag debian:node localhost/debian"
t 'podman: run' 0 '^hello' $run box echo hello
t 'podman: its scope' 0 'pids:/machine.slice/libpod-[0-9a-f]{64}.scope' $run --cgroupns host box cat /proc/self/cgroup
t 'podman: in a slice' 0 'pids:/engines.slice/libpod-[0-9a-f]{64}.scope' $run --cgroupns host --cgroup-parent engines.slice box cat /proc/self/cgroup
t 'podman: out of memory' 137 '' $run -m 20m box tail /dev/zero
t 'podman: detached' 0 '' podman run -d --name a --net none -m 64m --cpus 0.5 --pids-limit 50 box sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
scope=libpod-$(podman inspect -f '{{.Id}}' a).scope
t 'podman: systemd knows it' 0 '^active.67108864.500ms.50' bash -c "systemctl is-active $scope; for p in MemoryLimit CPUQuotaPerSecUSec TasksMax; do shown \$p $scope; done"
t 'podman: update' 0 '' podman update --memory 100m --cpus 0.7 a
t 'podman: it is felt, after a reload too' 0 '^104857600 70000' reloaded podman exec a sh -c "$limits"
t 'podman: pause, resume, stats, top' 0 'a +[0-9.]+%.*trap' bash -c 'podman pause a && podman unpause a && podman stats --no-stream a && podman top a'
t 'podman: stop' 0 a podman stop -t 5 a
t 'podman: the scope is gone' 0 '' soon gone "$scope"
t 'podman: remove' 0 '' podman rm a
t 'podman: a pod is a slice' 0 'pids:/machine.slice/machine-libpod_pod_[0-9a-f]{64}.slice/libpod-[0-9a-f]{64}.scope' bash -c 'podman pod create --name p --network none >/dev/null; podman run --rm --pod p --cgroupns host box cat /proc/self/cgroup; podman pod rm -f -t 0 p'
same_ours=$runtime same_peer=$(command -v runc)
export same_ours same_peer
same 'podman: the inside' podman --runtime RUNTIME run --rm --net none box inside
same 'podman: the inside, limited' podman --runtime RUNTIME run --rm --net none -m 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 box inside

# unit NAME OPTIONS…: a container as a service, by the unit that Podman writes.
unit() {
    podman create --name "$1" --net none "${@:2}" >/dev/null && podman generate systemd --new --name "$1" >$unit_dir/"$1".service &&
        podman rm "$1" >/dev/null && systemctl daemon-reload
}
again() { [ "$(podman inspect -f '{{.Id}}' "$1")" != "$2" ] && [ "$(systemctl is-active "$1")" = active ]; }
# Ready when the process in it says so.
ready='use Socket; $SIG{TERM} = sub { exit 0 }; sleep 2; socket(my $s, AF_UNIX, SOCK_DGRAM, 0); send($s, "READY=1", 0, pack_sockaddr_un($ENV{NOTIFY_SOCKET})); sleep 1 while 1'
export ready
export -f unit again
t 'unit: written' 0 '' unit web --cgroups no-conmon box sh -c 'trap "exit 0" TERM; echo up; while :; do sleep 0.1; done'
t 'unit: start' 0 '^active.*/conmon ' bash -c 'systemctl start web; systemctl is-active web; tr "\0" " " </proc/$(shown MainPID web)/cmdline'
t 'unit: its log' 0 '^up' soon podman logs web
t 'unit: what is killed comes again' 0 'active\s*$' bash -c 'id=$(podman inspect -f "{{.Id}}" web); podman kill web; soon again web $id; systemctl is-active web'
t 'unit: stop' 3 '^inactive' bash -c 'systemctl stop web; systemctl is-active web'
t 'unit: nothing is left of it' 0 '^0' bash -c 'podman ps -aq | wc -l'
t 'unit: the container tells that it is ready' 0 '^activating.*active' bash -c 'unit late --sdnotify=container debian perl -e "$ready"; systemctl start --no-block late; sleep 1; systemctl is-active late; soon systemctl is-active late; systemctl stop late'
t 'podman: no scope is left' 0 '^\s*$' soon nothing scopes
podman rm -fa >/dev/null

. "$here/ctr.sh"
containerd_conf "$work/root"
start_containerd
run=(ctr run --runc-binary "$runtime" --runc-systemd-cgroup)
t 'containerd: load' 0 done ctr image import "$images/box.tar"
t 'containerd: its scope' 0 'pids:/engines.slice/ctr-a.scope' "${run[@]}" --cgroup engines.slice:ctr:a --rm $box a cat /proc/self/cgroup
t 'containerd: detached' 0 '^active.60000000' bash -c "${run[*]} -d --memory-limit 60000000 --cgroup system.slice:ctr:a $box a sleep 1000; systemctl is-active ctr-a.scope; shown MemoryLimit ctr-a.scope"
t 'containerd: exec, metrics' 0 'sleep 1000.*59998208' bash -c 'ctr task exec --exec-id e a ps; ctr task metrics a'
t 'containerd: pause, resume, kill, delete' 0 'PAUSED.*RUNNING' bash -c 'ctr task pause a; ctr task ls; ctr task resume a; ctr task ls; ctr task kill -s KILL a; soon grep STOPPED <(ctr task ls); ctr task rm a; ctr container rm a'
t 'containerd: the scope is gone' 0 '' soon gone ctr-a.scope
stop_containerd
rm -f $unit_dir/{web,late}.service
