# Docker: its daemon with our runtime as the default one, containers by overlay2 and a bridge of their own.
cat >"$work/daemon.json" <<JSON
{"runtimes": {"$name-under-test": {"path": "$runtime"}}, "default-runtime": "$name-under-test",
 "data-root": "$work/data", "exec-root": "$work/exec", "pidfile": "$work/pid", "hosts": ["unix://$work/sock"],
 "bip": "172.31.0.1/24", "storage-driver": "overlay2", "cgroup-parent": "/it-engines"}
JSON
dockerd --config-file "$work/daemon.json" >"$work/log" 2>&1 &
export DOCKER_HOST=unix://$work/sock DOCKER_BUILDKIT=0
# A machine may have another client in front of the package's.
docker=/usr/bin/docker
until_ok $docker version
run="$docker run --rm"

t 'the runtime is the default one' 0 "Default Runtime: $name-under-test" $docker info
t import 0 sha256 bash -c "tar -C $work/image -c . | $docker import - box"
t run 0 '^hello' $run box echo hello
t 'exit code' 7 '' $run box sh -c 'exit 7'
t 'exit code of a signal' 137 '' $run box sh -c 'sleep 1000 & kill -9 $!; wait $!'
t 'a command that is missing' 127 'executable file not found' $run box nosuch
t 'a command that is no program' 126 'permission denied' $run box /etc/passwd
t 'a mount that cannot be' 125 'invalid mount|not a directory|mount' $run -v /etc:/etc/passwd box true
t stdin 0 '^through' bash -c "echo through | $run -i box cat"
t 'a terminal of the right size' 0 '33 77' tty $run -it box sh -c 'sleep 0.5; stty size'
t 'the network of a bridge' 0 'inet 172.31.0' $run box ip addr
t 'two containers talk' 0 '0% packet loss' bash -c "$docker run -d --name peer box sleep 1000 && $run --link peer box ping -c 1 peer"
t 'the network of another' 0 "inet 172.31.0" $run --net container:peer box ip addr
t 'the pid namespace of another' 0 'sleep 1000' $run --pid container:peer box ps
t 'the ipc namespace of another' 125 'non-shareable' $run --ipc container:peer box true
t 'remove by force' 0 peer $docker rm -f peer
t 'namespaces of the host' 0 'docker0' $run --net host --pid host --ipc host --uts host box ip addr
t 'no network' 0 '^1: lo([^\n]|\n[^2])*$' $run --net none box ip addr
t user 0 'uid=1000\(user\) gid=1000\(user\) groups=1000\(user\),50\(staff\)|groups=50\(staff\)' $run --user user box id
t 'one more group' 0 'groups=.*77' $run --user 5:6 --group-add 77 box id
t hostname 0 '^other' $run -h other box hostname
t 'working directory' 0 '^/made/here' $run -w /made/here box pwd
t environment 0 'A=b' $run -e A=b box env
t 'read-only root' 1 'Read-only file system' $run --read-only box touch /x
t 'a tmpfs' 0 'size=1024k' $run --read-only --tmpfs /t:size=1m box sh -c 'touch /t/x && mount | grep /t'
t 'a volume' 0 '^kept' bash -c "$run -v vol:/v box sh -c 'echo kept >/v/f' && $run -v vol:/v:ro box sh -c 'cat /v/f; ! touch /v/g'"
t 'a bind mount' 0 'busybox' $run -v "$work/image/bin:/b:ro" box ls /b
t 'capabilities dropped' 0 'CapEff:.0000000000000000' $run --cap-drop ALL box grep CapEff /proc/self/status
t 'a capability added' 0 'CapEff:.0000000000001000' $run --cap-drop ALL --cap-add NET_ADMIN box grep CapEff /proc/self/status
t 'a capability that is missing' 1 'not permitted' $run --cap-drop CHOWN box chown user /tmp
t 'no new privileges' 0 'NoNewPrivs:.1' $run --security-opt no-new-privileges box grep NoNewPrivs /proc/self/status
t 'the default seccomp profile' 0 'Seccomp:.2' $run box grep Seccomp: /proc/self/status
echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}' >"$work/seccomp"
t 'a seccomp profile' 1 'not permitted' $run --security-opt seccomp="$work/seccomp" box mkdir /tmp/x
t 'no seccomp' 0 'Seccomp:.0' $run --security-opt seccomp=unconfined box grep Seccomp: /proc/self/status
t 'masked paths' 0 '^0 0' $run box sh -c 'echo $(wc -c </proc/keys) $(ls /sys/firmware | wc -l)'
t 'a device' 0 '1, +8' $run --device /dev/random:/dev/other box ls -l /dev/other
t 'a device that is denied' 1 'not permitted' $run box sh -c 'mknod /n b 8 0; head -c 1 /n'
t ulimit 0 '^100' $run --ulimit nofile=100 box sh -c 'ulimit -n'
t sysctl 0 '^0' $run --sysctl net.ipv4.ip_forward=0 box cat /proc/sys/net/ipv4/ip_forward
t 'an init' 0 'docker-init' $run --init box ps
t 'a limit of memory' 0 '^67108864' $run -m 64m box cat /sys/fs/cgroup/memory/memory.limit_in_bytes
t 'out of memory' 137 '' $docker run --name oom1 -m 20m box tail /dev/zero
t 'it is told' 0 '^true' $docker inspect -f '{{.State.OOMKilled}}' oom1
t 'a limit of processes' 2 "can't fork" $run --pids-limit 5 box sh -c 'for i in 1 2 3 4 5 6 7; do sleep 5 & done; wait'
t 'a limit of cpu' 0 '^20000' $run --cpus 0.2 box cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
t 'a parent of the cgroup' 0 'pids:/it-engines/inner/' $run --cgroup-parent /it-engines/inner box cat /proc/self/cgroup
t 'run detached' 0 '[0-9a-f]{64}' $docker run -d --name box1 --health-cmd 'test -e /tmp' --health-interval 1s box sh -c 'trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.1; done'
t logs 0 '^up' $docker logs box1
t exec 0 'sh -c trap.*ps' $docker exec box1 ps
t 'exec as a user' 0 'uid=1000' $docker exec -u user box1 id
t 'exec: environment and directory' 0 '^b /tmp' $docker exec -e A=b -w /tmp box1 sh -c 'echo $A $PWD'
t 'exec: exit code' 9 '' $docker exec box1 sh -c 'exit 9'
t 'exec: a command that is missing' 126 'executable file not found' $docker exec box1 nosuch
t 'exec with a terminal' 0 '33 77' tty $docker exec -it box1 sh -c 'sleep 0.5; stty size'
t 'exec, privileged' 0 'CapEff:.00000[0-9a-f]+ffff' $docker exec --privileged box1 grep CapEff /proc/self/status
t top 0 'sh -c' $docker top box1
t stats 0 'box1 +[0-9.]+%' $docker stats --no-stream box1
t pause 0 box1 $docker pause box1
t 'no exec while paused' 1 paused $docker exec box1 true
t unpause 0 box1 $docker unpause box1
t update 0 box1 $docker update --memory 100m --memory-swap 200m --cpus 0.7 --pids-limit 33 box1
t 'it is felt' 0 '^104857600 70000 33' $docker exec box1 sh -c 'cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max)'
t 'copy to and from' 0 '^root' bash -c "$docker cp /etc/passwd box1:/tmp/p && $docker cp box1:/tmp/p - | tar -xO"
t commit 0 '^root' bash -c "$docker commit box1 copy >/dev/null && $docker run --rm copy head -n 1 /tmp/p"
t 'the health check' 0 '^healthy' bash -c "for n in \$(seq 60); do $docker inspect -f '{{.State.Health.Status}}' box1 | grep -x healthy && break; sleep 0.1; done"
t stop 0 box1 $docker stop -t 10 box1
t 'it ended by its own' 0 '^exited 3' $docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' box1
t restart 0 box1 $docker restart -t 1 box1
t kill 0 box1 $docker kill box1
t 'it is dead' 0 '^exited 137' bash -c "$docker wait box1 >/dev/null; $docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' box1"
t 'a policy restarts it' 0 '^[1-9]' bash -c "$docker run -d --name again --restart on-failure:3 box false >/dev/null; for n in \$(seq 60); do $docker inspect -f '{{.RestartCount}}' again | grep -x '[1-9]' && break; sleep 0.1; done"
t attach 0 'answer y' bash -c "$docker run -d -i --name talk box sh -c 'read x; echo answer \$x' >/dev/null; echo y | $docker attach talk; $docker wait talk >/dev/null; $docker logs talk"
t 'build of a Dockerfile' 0 'Successfully built' bash -c "printf 'FROM box\nRUN echo made >/made\nCMD cat /made\n' | $docker build -t built -"
t 'what was built' 0 '^made' $run built
t privileged 0 'CapEff:.00000[0-9a-f]+ffff' $run --privileged box grep CapEff /proc/self/status
t 'twenty at once' 0 '^20' bash -c "for n in \$(seq 20); do $run box true & pids=\"\$pids \$!\"; done; ok=0; for p in \$pids; do wait \$p && ok=\$((ok+1)); done; echo \$ok"
t 'nothing runs in the end' 0 '^0' bash -c "$docker rm -f \$($docker ps -aq) >/dev/null; $docker ps -aq | wc -l"
kill "$(cat "$work/pid")"
wait %1 || :
