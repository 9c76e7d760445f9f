# shellcheck shell=bash
# In a virtual machine: pure cgroup v2 with all controllers, its systemd, and newer engines. Short, since a command takes some
# twenty times as long there: what the other steps cannot show, that limits hold, for root and for an ordinary user.
within=200
. "$here/units.sh"
limits='cd /sys/fs/cgroup; echo $(cat memory.max cpu.max cpu.weight pids.max)'
counts='i=0; while :; do i=$((i+1)); echo $i >/m; mv /m /n; sleep 0.1; done'
# on N COMMAND…: whether what it prints is more by now.
on() { [ "$("${@:2}")" -gt "$1" ] && echo on; }
stopped() { ctr task ls | grep STOPPED; }
export limits counts
export -f on stopped

. "$here/dockerd.sh"
start_dockerd_of_systemd
run="$docker run --rm --net none"
# 512 shares; the runc here makes a weight of them in the older way.
weight=59
[ "$name" = tare ] || weight=20
t 'docker: the driver' 0 'Cgroup Driver: systemd.*Cgroup Version: 2' $docker info
t 'docker: load' 0 'Loaded image' $docker load -i "$images/box.tar"
t 'docker: run, its scope' 0 '^0::/system.slice/docker-[0-9a-f]{64}.scope' $run --cgroupns host box cat /proc/self/cgroup
t 'docker: out of memory' 137 '' $run -m 20m box tail /dev/zero
t 'docker: a limit of processes' 2 "can't fork" $run --pids-limit 5 box sh -c 'for i in 1 2 3 4 5 6 7; do sleep 9 & done; wait'
t 'docker: a device, and one that is denied' 1 '^8.*not permitted' $run --device /dev/urandom:/dev/other box sh -c 'exec 2>&1; head -c 8 /dev/other | wc -c; mknod /n b 8 0; head -c 1 /n'
# Here alone the kernel has it.
cat >profile <<'PROFILE'
profile no-tmp flags=(attach_disconnected) {
    file, capability, network, signal, ptrace, mount, umount, pivot_root, unix,
    deny /tmp/** w,
}
PROFILE
apparmor_parser -r profile
label='cat /proc/self/attr/current'
t 'docker: its AppArmor profile' 0 '^docker-default \(enforce\)' $run box $label
t 'docker: no AppArmor' 0 '^unconfined' $run --security-opt apparmor=unconfined box $label
t 'docker: an AppArmor profile' 1 '^no-tmp \(enforce\).*Permission denied' $run --security-opt apparmor=no-tmp box sh -c "exec 2>&1; $label; : >/tmp/x"
t 'docker: an AppArmor profile that is missing' 127 'apparmor' $run --security-opt apparmor=nosuch box true
t 'docker: detached' 0 '' $docker run -d --name box1 --net none -m 64m --cpus 0.5 --cpu-shares 512 --pids-limit 50 box sh -c 'trap "exit 3" TERM; while :; do sleep 1; done'
scope=docker-$($docker inspect -f '{{.Id}}' box1).scope
t 'docker: systemd knows its limits' 0 "^active.67108864.500ms.$weight.50" bash -c "systemctl is-active $scope; for p in MemoryMax CPUQuotaPerSecUSec CPUWeight TasksMax; do shown \$p $scope; done"
t 'docker: they are felt' 0 "^67108864 50000 100000 $weight 50" $docker exec box1 sh -c "$limits"
t 'docker: update' 0 box1 $docker update --memory 100m --memory-swap 200m --cpus 0.7 --pids-limit 33 box1
t 'docker: it is felt, after a reload too' 0 "^104857600 70000 100000 $weight 33" reloaded $docker exec box1 sh -c "$limits"
t 'docker: exec has the AppArmor profile' 0 '^docker-default \(enforce\)' $docker exec box1 $label
t 'docker: devices after a reload' 1 'not permitted' $docker exec box1 sh -c 'echo x >/dev/null && mknod /n b 8 0 && head -c 1 /n'
t 'docker: pause, resume, stats, top' 0 'box1 +[0-9.]+%.*100MiB.*trap' bash -c "$docker pause box1 && $docker unpause box1 && $docker stats --no-stream box1 && $docker top box1"
t 'docker: stop' 0 '^box1.3' bash -c "$docker stop -t 30 box1; $docker wait box1"
t 'docker: the scope is gone' 0 '' soon gone "$scope"
$docker rm box1 >/dev/null
# Where the host's mounts are shared, runc 1.1.15 cuts the root and the cgroup off from them; ours are slaves, as runc 1.1.5's are.
known_more='s/ master - / - /; s/ - cgroup2 cgroup2? / - cgroup2 cgroup /'
same 'docker: the inside, limited' $run --runtime RUNTIME -m 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 --device /dev/random box inside
stop_dockerd pid

. "$here/podman_conf.sh"
# quadlet NAME: a container as a service, as Podman's generator makes it of a few lines.
quadlet() {
    cat <<-UNIT
		[Container]
		ContainerName=$1
		Image=localhost/box:latest
		Network=none
		Exec=sh -c 'trap "exit 0" TERM; echo up; while :; do sleep 1; done'
		PodmanArgs=--memory 64m --pids-limit 50
		[Service]
		Restart=always
	UNIT
}
mkdir -p root
podman_conf "$work/root" systemd '"nofile=1024:1024"' "$work/root/runroot"
export CONTAINERS_CONF=$work/root/containers.conf CONTAINERS_STORAGE_CONF=$work/root/storage.conf
kept_mounts="$kept_mounts|^/run/netns "
run='podman run --rm --net none'
t 'podman: the manager' 0 '^systemd v2' podman info --format '{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}'
t 'podman: load' 0 box bash -c "podman load -qi $images/box.tar && podman tag box:latest localhost/box"
t 'podman: run, its scope' 0 '^0::/machine.slice/libpod-[0-9a-f]{64}.scope' $run --cgroupns host box cat /proc/self/cgroup
t "podman: the host's root, which is shared" 0 "^$(stat -c %d:%i /).late" bash -c "podman run -d --net none --name host -v /:/host:rslave box sleep 1000 >/dev/null; podman exec host stat -c %d:%i /host
    mkdir /late; mount -t tmpfs none /late; touch /late/late; podman exec host ls /host/late; umount /late; rmdir /late; podman rm -f -t 0 host >/dev/null"
t 'podman: the root and /dev are read-only' 0 '^/dev ro.not /x' $run --read-only --read-only-tmpfs=false box sh -c 'awk "\$5 == \"/dev\" { print \$5, substr(\$6, 1, 2) }" /proc/self/mountinfo; : >/dev/null; touch /x 2>/dev/null || echo not /x'
t 'podman: out of memory' 137 '' $run -m 20m box tail /dev/zero
t 'podman: detached' 0 '' podman run -d --name box1 --net none -m 64m --cpus 0.5 --pids-limit 50 box sh -c 'trap "exit 3" TERM; while :; do sleep 1; done'
t 'podman: update, and it is felt after a reload too' 0 '104857600 70000 100000 [0-9]+ 50' bash -c 'podman update --memory 100m --cpus 0.7 box1; reloaded podman exec box1 sh -c "$limits"'
t 'podman: pause, resume, stats' 0 'box1 +[0-9.]+%' bash -c 'podman pause box1 && podman unpause box1 && podman stats --no-stream box1'
t 'podman: stop, remove' 0 '^exited 3' bash -c 'podman stop -t 30 box1 >/dev/null; podman inspect -f "{{.State.Status}} {{.State.ExitCode}}" box1; podman rm box1'
podman run -d --name count --net none -m 64m box sh -c "$counts" >/dev/null
t 'podman: checkpoint, restore' 0 '^[0-9]+.exited.67108864.on' bash -c 'n=$(soon podman exec count cat /n); echo $n; podman container checkpoint count >/dev/null
    podman inspect -f "{{.State.Status}}" count; podman container restore count >/dev/null; podman exec count sh -c "$limits" | cut -d " " -f 1; soon on $n podman exec count cat /n'
t 'podman: a checkpoint in a file, of one that runs on; restored by another name' 0 '^on.running.on' bash -c 'n=$(podman exec count cat /n); podman container checkpoint -R -e x.tar count >/dev/null
    soon on $n podman exec count cat /n; podman inspect -f "{{.State.Status}}" count; podman container restore -i x.tar -n other >/dev/null; soon on $n podman exec other cat /n'
podman rm -f -t 0 count other >/dev/null
t 'podman: cgroupfs' 0 '^0::/.*libpod-[0-9a-f]{64}' podman --cgroup-manager cgroupfs run --rm --net none --cgroupns host -m 64m box cat /proc/self/cgroup
systemctl set-environment CONTAINERS_CONF=$CONTAINERS_CONF CONTAINERS_STORAGE_CONF=$CONTAINERS_STORAGE_CONF
mkdir -p /etc/containers/systemd
quadlet web >/etc/containers/systemd/web.container
t 'quadlet: start' 0 '^active.67108864 max 100000 [0-9]+ 50' bash -c 'systemctl daemon-reload; systemctl start web; systemctl is-active web; podman exec web sh -c "$limits"'
t 'quadlet: what is killed comes again' 0 'active\s*$' bash -c 'pid=$(shown MainPID web); podman kill web >/dev/null; again() { [ "$(shown MainPID web)" != $pid ] && systemctl is-active web; }; soon again'
t 'quadlet: stop' 3 '^inactive' bash -c 'systemctl stop web; systemctl is-active web'
rm /etc/containers/systemd/web.container

# An ordinary user with a systemd of their own, who is given controllers.
install -d -o 1000 -g 1000 user user/tmp user/systemd
podman_conf "$work/user" systemd '"nofile=1024:1024"' "$work/user/runroot"
cat >as-user <<SH
#!/bin/sh
cd $work/user || exit
exec setpriv --reuid 1000 --regid 1000 --init-groups env -i PATH="\$PATH" HOME=$work/user TMPDIR=$work/user/tmp XDG_RUNTIME_DIR=/run/user/1000 \
    DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus LC_ALL=C.UTF-8 CONTAINERS_CONF=$work/user/containers.conf \
    CONTAINERS_STORAGE_CONF=$work/user/storage.conf limits='$limits' "\$@"
SH
chmod +x as-user
as=$work/as-user
run="$as podman run --rm --net none"
export as
# There is no udev.
chmod 0666 /dev/net/tun
systemctl start user@1000
t 'rootless: load' 0 box bash -c "\$as podman load -qi $images/box.tar && \$as podman tag box:latest localhost/box"
t "rootless: its scope is the user's systemd's" 0 '^0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-[0-9a-f]{64}.scope' $run --cgroupns host box cat /proc/self/cgroup
t 'rootless: limits' 0 '^67108864 50000 100000 [0-9]+ 50' $run -m 64m --cpus 0.5 --pids-limit 50 box sh -c "$limits"
t 'rootless: out of memory' 137 '' $run -m 20m box tail /dev/zero
t 'rootless: update, pause, exec' 0 '104857600 70000 100000 [0-9]+ 50' bash -c '$as podman run -d --name box1 --net none -m 64m --pids-limit 50 box sleep 1000; $as podman update --memory 100m --cpus 0.7 box1
    $as podman pause box1 && $as podman unpause box1 && $as podman exec box1 sh -c "$limits"; $as podman rm -f -t 0 box1'
t 'rootless: with the cgroup file system' 0 '^max max 100000 100 max' $as podman --cgroup-manager cgroupfs run --rm --net none box sh -c "$limits"
t 'rootless: a network of its own' 0 '^served' bash -c '$as podman run -d --name web -p 127.0.0.1:8081:80 box sh -c "echo served >/tmp/index; httpd -f -p 80 -h /tmp" >/dev/null
    soon busybox wget -qO- http://127.0.0.1:8081/index; $as podman rm -f -t 0 web >/dev/null'
t 'rootless: nothing is left' 0 '^0' bash -c '$as podman ps -aq | wc -l; $as podman system migrate'
systemctl stop user@1000
systemctl reset-failed 2>/dev/null

. "$here/ctr.sh"
containerd_conf "$work/root/containerd"
start_containerd
run=(ctr run --runc-binary "$runtime" --runc-systemd-cgroup)
t 'containerd: load' 0 '' ctr image import "$images/box.tar"
t 'containerd: detached, its limit' 0 '^active.60000000' bash -c "${run[*]} -d --memory-limit 60000000 --cgroup system.slice:ctr:a $box a sleep 1000; systemctl is-active ctr-a.scope; shown MemoryMax ctr-a.scope"
t 'containerd: exec, metrics, pause, kill, delete' 0 'sleep 1000.*PAUSED.*' bash -c 'ctr task exec --exec-id e a ps; ctr task metrics a; ctr task pause a; ctr task ls; ctr task resume a; ctr task kill -s KILL a; soon grep STOPPED <(ctr task ls); ctr task rm a; ctr container rm a'
t 'containerd: the scope is gone' 0 '' soon gone ctr-a.scope
"${run[@]}" -d --cgroup system.slice:ctr:b --memory-limit 60000000 $box b sh -c "$counts"
t 'containerd: checkpoint, restore' 0 '^[0-9]+.RUNNING.*60000000.on' bash -c 'n=$(soon ctr task exec --exec-id e b cat /n); echo $n; ctr container checkpoint --task b local/b:1; ctr task ls | grep -o RUNNING
    ctr task kill -s KILL b; soon stopped; ctr task rm b; ctr container rm b
    ctr container restore --live b local/b:1; shown MemoryMax ctr-b.scope; soon on $n ctr task exec --exec-id e b cat /n'
ctr task kill -s KILL b && soon stopped >/dev/null
ctr task rm b 2>/dev/null
stop_containerd
