# shellcheck shell=bash
# Docker: its daemon with our runtime as the default one, containers by overlay2 and a bridge of their own.
. "$here/dockerd.sh"
cat >daemon.json <<JSON
{"runtimes": {"$under": {"path": "$runtime"}, "here": {"path": "$here/runc-here"}}, "default-runtime": "$under", "live-restore": true,
 "data-root": "$work/data", "exec-root": "$work/exec", "pidfile": "$work/pid", "hosts": ["unix://$work/sock"],
 "bip": "172.31.0.1/24", "storage-driver": "overlay2", "cgroup-parent": "/it-engines"}
JSON
# The daemon keeps these for the next one.
export kept_mounts="^$work/(data|exec/netns/default) "
start_dockerd daemon.json
run="$docker run --rm"
runs() { [ "$($docker inspect -f '{{.State.Running}}' "$1")" = true ]; }
export docker run
export -f runs

t 'the runtime is the default one' 0 "Default Runtime: $under" $docker info
t load 0 'Loaded image: box:latest.*Loaded image: debian:node' bash -c "$docker load -i $images/box.tar; $docker load -i $images/debian.tar"
t run 0 '^hello' $run box echo hello
t 'exit code' 7 '' $run box sh -c 'exit 7'
t 'exit code of a signal' 137 '' $run box sh -c 'kill -9 $$; sleep 1000 & kill -9 $!; wait $!'
t 'a command that is missing' 127 'executable file not found' $run box nosuch
t 'a path that is missing' 127 'no such file or directory' $run box /no/such
t 'a command that is no program' 126 'permission denied' $run box /etc/passwd
t 'a command that is a directory' 126 'is a directory|permission denied' $run box /etc
t 'a mount that cannot be' 125 'not a directory' $run -v /etc:/etc/passwd box true
t 'an option that cannot be' 125 'Minimum memory limit' $run --memory 1k box true
t stdin 0 '^through' bash -c "echo through | $run -i box cat"
t 'much output' 0 '^3000000' bash -c "$run box sh -c 'head -c 3000000 /dev/zero' | wc -c"
t 'a terminal of the right size' 0 '33 77' tty $run -it box sh -c 'sleep 0.5; stty size'
wait_for_size='trap "echo told" WINCH; echo it is up; until [ "$(stty size 2>/dev/null)" = "44 99" ]; do sleep 0.1; done; stty size; exit 4'
t 'a terminal that changes its size' 4 '44 99' terminal 33x77 'wait:it is up' size:44x99 -- $run -it box sh -c "$wait_for_size"
t 'what is typed' 3 'got a line' terminal 33x77 'wait:/ #' 'type:read x; echo got $x\n' 'type:a line\n' 'wait:got a line' 'type:exit 3\n' -- \
    $run -it box
t 'a signal from the terminal' 9 '' terminal 33x77 'wait:it is up' 'type:\x03' -- $run -it box sh -c 'trap "exit 9" INT; echo it is up; while :; do sleep 0.1; done'

same 'the inside' $run --runtime RUNTIME box inside
same 'the inside, at a terminal' "$here/terminal.py" 33x77 -- $run --runtime RUNTIME -it box inside
only=$no_caps same_peer=here same 'the inside, privileged' $run --runtime RUNTIME --privileged box inside
same 'the inside, limited' $run --runtime RUNTIME -m 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 --ulimit nofile=100:200 \
    --oom-score-adj 77 --shm-size 1m --device /dev/loop-control --device-cgroup-rule 'c 42:* rmw' --sysctl net.ipv4.ip_forward=0 box inside
same 'the inside, of a user' $run --runtime RUNTIME --user user --cap-add NET_ADMIN --cap-drop CHOWN --group-add 77 -w /tmp -e A=b \
    --security-opt no-new-privileges box inside
same 'the inside, read-only' $run --runtime RUNTIME --read-only --tmpfs /t:size=1m,noexec --tmpfs /tmp --mount type=tmpfs,dst=/m,tmpfs-mode=700 \
    -v vol:/v -v "$work/files:/b:ro" --mount "type=bind,src=$work/files,dst=/p,bind-propagation=rprivate" --init box inside
same "the inside, with the host's namespaces" $run --runtime RUNTIME --net host --pid host --ipc host --uts host --userns host box inside

t 'the network of a bridge' 0 'inet 172.31.0' $run box ip addr
t 'two containers talk' 0 '0% packet loss' bash -c "$docker run -d --name peer --ipc shareable box sleep 1000 && $run --link peer box ping -c 1 peer"
t 'a published port' 0 '^served' bash -c "$docker run -d --name web -p 127.0.0.1:8080:80 box sh -c 'echo served >/tmp/index; httpd -f -p 80 -h /tmp' >/dev/null
    soon curl -sf http://127.0.0.1:8080/index; $docker rm -f web >/dev/null"
t 'a network of its own' 0 '0% packet loss' bash -c "$docker network create --subnet 172.30.9.0/24 own >/dev/null
    $docker run -d --net own --name named box sleep 1000 >/dev/null
    $run --net own --ip 172.30.9.77 box ping -c 1 named; $docker rm -f named >/dev/null; $docker network rm own"
t 'the network of another' 0 "inet 172.31.0" $run --net container:peer box ip addr
t 'the pid namespace of another' 0 'sleep 1000' $run --pid container:peer box ps
t 'the ipc namespace of another' 0 '^same' bash -c "[ \$($docker exec peer readlink /proc/self/ns/ipc) = \$($run --ipc container:peer box readlink /proc/self/ns/ipc) ] && echo same"
t 'an ipc namespace that is not shareable' 125 'non-shareable' bash -c "$docker run -d --name closed box sleep 1000 >/dev/null; $run --ipc container:closed box true"
t 'remove by force' 0 'peer.*closed' $docker rm -f peer closed
t 'namespaces of the host' 0 'docker0' $run --net host --pid host --ipc host --uts host box ip addr
t "the host's cgroup namespace" 0 'pids:/it-engines/[0-9a-f]{64}' $run --cgroupns host box cat /proc/self/cgroup
t 'a cgroup namespace of its own' 0 'pids:/\s' $run --cgroupns private box cat /proc/self/cgroup
t 'no network' 0 '^1: lo([^\n]|\n[^2])*$' $run --net none box ip addr
t user 0 'uid=1000\(user\) gid=1000\(user\) groups=1000\(user\),50\(staff\)|groups=50\(staff\)' $run --user user box id
t 'one more group' 0 'groups=.*77' $run --user 5:6 --group-add 77 box id
t hostname 0 '^other' $run -h other box hostname
t 'working directory' 0 '^/made/here' $run -w /made/here box pwd
t environment 0 'A=b' $run -e A=b box env
t 'read-only root' 1 'Read-only file system' $run --read-only box touch /x
t 'a tmpfs' 0 'size=1024k' $run --read-only --tmpfs /t:size=1m box sh -c 'touch /t/x && mount | grep /t'
t 'a tmpfs that is full' 1 'No space left' $run --tmpfs /t:size=1m box dd if=/dev/zero of=/t/x bs=1M count=2
t 'a volume' 0 'kept' bash -c "$run -v vol:/v box sh -c 'echo kept >/v/f' && $run -v vol:/v:ro box sh -c 'cat /v/f; ! touch /v/g'"
t 'a volume gets what the image has' 0 'passwd' $run -v etc:/etc box ls /etc
t 'the volumes of another' 0 '^kept' bash -c "$docker create --name holder -v vol:/v box >/dev/null; $run --volumes-from holder box cat /v/f"
t 'a bind mount' 0 '^content' $run -v "$work/files:/b:ro" box cat /b/file
t 'a bind mount that is read-only' 1 'Read-only file system' $run -v "$work/files:/b:ro" box touch /b/x
t 'a bind mount of a file' 0 '^content' $run -v "$work/files/file:/etc/motd" box cat /etc/motd
t 'a later mount comes in' 0 'late' bash -c "mount -t tmpfs none files && mount --make-rshared files && $docker run -d --name late --mount type=bind,src=$work/files,dst=/f,bind-propagation=rslave box sleep 1000 >/dev/null
    mkdir files/in && mount -t tmpfs none files/in && touch files/in/late; $docker exec late ls /f/in; $docker rm -f late >/dev/null; umount files/in files"
. "$here/host.sh"
shared_root
t "the host's root" 0 "$host_seen" $run -v /:/host box sh -c "$see_host"
t "the host's root, read-only" 0 "$host_seen.*Read-only" $run -v /:/host:ro box sh -c "$see_host; touch /host/it 2>&1 || :"
t "the host's root, and what is mounted there later" 0 "$host_seen.*late" bash -c "$docker run -d --name host -v /:/host:rslave box sleep 1000 >/dev/null; $docker exec host sh -c '$see_host'
    $mount_late; $docker exec host ls /host$shared/in; $unmount_late; $docker rm -f host >/dev/null"
t "the host's root, shared" 0 "$host_seen.*late" bash -c "$docker run -d --name host -v /:/host:rshared box sleep 1000 >/dev/null; $docker exec host sh -c '$see_host'
    $mount_late; $docker exec host ls /host$shared/in; $unmount_late; $docker rm -f host >/dev/null"
t "a mount of the host's comes in" 0 '^late.$' bash -c "$docker run -d --name host -v $shared:/s:rshared box sleep 1000 >/dev/null
    $mount_late; $docker exec host ls /s/in; $unmount_late; $docker rm -f host >/dev/null"
t "a mount of the container's goes out" 0 '^early.$' bash -c "$docker run -d --name host -v $shared:/s:rshared --cap-add SYS_ADMIN --security-opt seccomp=unconfined box sleep 1000 >/dev/null
    $docker exec host sh -c '$mount_inside'; ls $shared/in; $docker exec host umount /s/in; $docker rm -f host >/dev/null"
private_root
t 'a tmpfs that is read-only, and a volume in it' 0 '^kept.*Read-only' $run --tmpfs /t:ro -v vol:/t/sub box sh -c 'cat /t/sub/f; touch /t/x 2>&1 || :'
t 'capabilities dropped' 0 'CapEff:.0000000000000000' $run --cap-drop ALL box grep CapEff /proc/self/status
t 'a capability added' 0 'CapEff:.0000000000001000' $run --cap-drop ALL --cap-add NET_ADMIN box grep CapEff /proc/self/status
t 'a capability that is missing' 1 'not permitted' $run --cap-drop CHOWN box chown user /tmp
t 'no new privileges' 0 'NoNewPrivs:.1' $run --security-opt no-new-privileges box grep NoNewPrivs /proc/self/status
t 'the default seccomp profile' 0 'Seccomp:.2' $run box grep Seccomp: /proc/self/status
t 'it forbids' 1 'permission denied' $run --cap-add SYS_ADMIN --security-opt seccomp="$here/no-mount.json" box mount -t tmpfs none /tmp
t 'it allows to a capability' 0 'mounted' $run --cap-add SYS_ADMIN --security-opt apparmor=unconfined box sh -c 'mount -t tmpfs none /tmp && echo mounted'
echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}' >seccomp
t 'a seccomp profile' 1 'not permitted' $run --security-opt seccomp=seccomp box mkdir /tmp/x
t 'no seccomp' 0 'Seccomp:.0' $run --security-opt seccomp=unconfined box grep Seccomp: /proc/self/status
t 'masked paths' 0 '^0 0' $run box sh -c 'echo $(wc -c </proc/keys) $(ls /sys/firmware | wc -l)'
t 'paths not masked' 0 '^[1-9]' $run --security-opt systempaths=unconfined box sh -c 'wc -c </proc/keys'
t 'a device' 0 '1, +8' $run --device /dev/random:/dev/other box ls -l /dev/other
t 'a device to read only' 1 'not permitted' $run --device /dev/loop-control:/dev/other:r box sh -c ': </dev/other && : >/dev/other'
t 'a device that is denied' 1 'not permitted' $run box sh -c 'mknod /n b 8 0; head -c 1 /n'
t 'a rule for devices' 1 'No such device|not permitted: x|No such' $run --device-cgroup-rule 'c 231:* rwm' box sh -c 'mknod /n c 231 0; cat /n'
t 'ulimits' 0 '^100 7' $run --ulimit nofile=100 --ulimit rttime=7:7 box sh -c 'echo $(ulimit -n) $(awk "/realtime timeout/ { print \$4 }" /proc/self/limits)'
t sysctl 0 '^0' $run --sysctl net.ipv4.ip_forward=0 box cat /proc/sys/net/ipv4/ip_forward
t 'an init' 0 '1 .*docker-init.*sleep 1' bash -c "$run --init box sh -c 'sleep 1 & ps'"
t 'an init reaps' 0 '^0' $run --init box sh -c 'sh -c "sleep 0.1 & exit" ; sleep 0.5; ps | grep -c "\[sleep\]" || :'
t 'a limit of memory' 0 '^67108864' $run -m 64m box cat /sys/fs/cgroup/memory/memory.limit_in_bytes
t 'out of memory' 137 '' $docker run --name oom1 -m 20m box tail /dev/zero
t 'it is told' 0 '^true' $docker inspect -f '{{.State.OOMKilled}}' oom1
t 'a limit of processes' 2 "can't fork" $run --pids-limit 5 box sh -c 'for i in 1 2 3 4 5 6 7; do sleep 5 & done; wait'
t 'a limit of cpu' 0 '^20000' $run --cpus 0.2 box cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
t 'a limit of cpu holds' 0 '1\s*$' $run --cpus 0.05 box sh -c 'timeout 2 sh -c "while :; do :; done" 2>/dev/null; awk "/nr_throttled/ { print (\$2 > 3) ? 1 : 0 }" /sys/fs/cgroup/cpu/cpu.stat'
t 'shares, a set of cpus' 0 '^512 1 ' $run --cpu-shares 512 --cpuset-cpus 1 box sh -c 'echo $(cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpuset/cpuset.cpus) .'
t 'a parent of the cgroup' 0 'pids:/it-engines/inner/' $run --cgroupns host --cgroup-parent /it-engines/inner box cat /proc/self/cgroup
only=$no_caps t privileged 0 'CapEff:.00000[0-9a-f]+ffff' $run --privileged box grep CapEff /proc/self/status
only=$no_caps t 'privileged: a mount' 0 'mounted' $run --privileged box sh -c 'mount -t tmpfs none /tmp && mkdir /tmp/x && echo mounted'
only=$no_caps t "privileged: the host's devices" 0 '^[1-9][0-9]' $run --privileged box sh -c 'ls /dev | wc -l'

t 'layers are shared' 0 '/made.*shared' bash -c "$docker run -d --name d1 debian:node sleep 1000 >/dev/null; $docker run -d --name d2 debian:node sleep 1000 >/dev/null
    lower() { $docker inspect -f '{{.GraphDriver.Data.LowerDir}}' \$1 | cut -d: -f2-; }; upper() { $docker inspect -f '{{.GraphDriver.Data.UpperDir}}' \$1; }
    [ \$(lower d1) = \$(lower d2) ] && [ \$(lower d1 | tr : '\\n' | wc -l) = 2 ] && [ \$(upper d1) != \$(upper d2) ] || exit
    $docker exec d1 sh -c 'echo one >/made; rm /usr/bin/node; echo more >>/etc/debian_version'
    cat \$(upper d1)/made; [ ! -e \$(upper d2)/made ] && [ -c \$(upper d1)/usr/bin/node ] && [ ! -e \$(upper d2)/usr ] &&
    $docker exec d2 sh -c 'test ! -e /made && node --version' && $docker diff d1 && echo shared" 
t 'the other layer is unchanged' 0 'v[0-9]+.*bookworm|12\.' $docker exec d2 sh -c 'node --version; cat /etc/debian_version'
t 'a program of the second layer' 0 '^42' $run debian:node node -p '6 * 7'
t 'an apt of the first' 0 '^apt ' $run debian:node apt-get --version
$docker rm -f d1 d2 >/dev/null

t 'run detached' 0 '[0-9a-f]{64}' $docker run -d --name box1 --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 1 box sh -c 'touch /tmp/well; trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.1; done'
t logs 0 '^up' soon bash -c "$docker logs box1 | grep up"
t exec 0 'sh -c touch.*ps' $docker exec box1 ps
t 'exec as a user' 0 'uid=1000' $docker exec -u user box1 id
t 'exec: environment and directory' 0 '^b /tmp' $docker exec -e A=b -w /tmp box1 sh -c 'echo $A $PWD'
t 'exec: exit code' 9 '' $docker exec box1 sh -c 'exit 9'
t 'exec: a command that is missing' 126 'executable file not found' $docker exec box1 nosuch
t 'exec with a terminal' 0 '33 77' tty $docker exec -it box1 sh -c 'sleep 0.5; stty size'
t 'exec: a terminal that changes its size' 4 '44 99' terminal 33x77 'wait:it is up' size:44x99 -- $docker exec -it box1 sh -c "$wait_for_size"
t 'exec: stdin' 0 '^through' bash -c "echo through | $docker exec -i box1 cat"
t 'exec, detached' 0 '^made' bash -c "$docker exec -d box1 sh -c 'echo made >/tmp/d'; soon $docker exec box1 cat /tmp/d"
only=$no_caps t 'exec, privileged' 0 'CapEff:.00000[0-9a-f]+ffff' $docker exec --privileged box1 grep CapEff /proc/self/status
t 'exec keeps the filter' 0 'Seccomp:.2' $docker exec box1 grep Seccomp: /proc/self/status
t top 0 'sh -c' $docker top box1
t 'top, with columns' 0 'PID +COMMAND' $docker top box1 -o pid,comm
t stats 0 'box1 +[0-9.]+%.*[0-9.]+[kKM]i?B / ' $docker stats --no-stream box1
t 'rename, port, inspect' 0 '^running box2' bash -c "$docker rename box1 box2 && $docker inspect -f '{{.State.Status}} box2' box2; $docker rename box2 box1"
t pause 0 box1 $docker pause box1
t 'no exec while paused' 1 paused $docker exec box1 true
t 'nothing runs while paused' 0 '^same' bash -c 'cpu() { awk "{ print \$14 + \$15 + \$16 + \$17 }" /proc/$($docker inspect -f "{{.State.Pid}}" box1)/stat; }; a=$(cpu); sleep 0.5; [ $a = $(cpu) ] && echo same'
t unpause 0 box1 $docker unpause box1
t update 0 box1 $docker update --memory 100m --memory-swap 200m --memory-reservation 50m --cpus 0.7 --cpu-shares 300 --cpuset-cpus 0 --pids-limit 33 box1
t 'it is felt' 0 '^104857600 52428800 70000 300 0 33' $docker exec box1 sh -c 'cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus pids/pids.max)'
t 'devices are as before' 0 '^1.x' $docker exec box1 sh -c 'echo x >/dev/null && head -c 1 /dev/zero | wc -c && echo x'
t 'copy to and from' 0 '^root' bash -c "$docker cp /etc/passwd box1:/tmp/p && $docker cp box1:/tmp/p - | tar -xO"
t 'diff' 0 'A /tmp/p' $docker diff box1
t commit 0 '^root' bash -c "$docker commit box1 copy >/dev/null && $docker run --rm copy head -n 1 /tmp/p"
t 'export' 0 'tmp/p' bash -c "$docker export box1 | tar -t"
t 'the health check' 0 '^healthy' soon is healthy '{{.State.Health.Status}}' box1
t 'an unhealthy one' 0 '^unhealthy' bash -c "$docker exec box1 rm /tmp/well; soon is unhealthy '{{.State.Health.Status}}' box1"
t 'a signal' 0 'got it' bash -c "$docker run -d --name sig box sh -c 'trap \"echo got it; exit\" USR1; echo up; while :; do sleep 0.1; done' >/dev/null; soon grep -q up <($docker logs sig); $docker kill -s USR1 sig; $docker wait sig; $docker logs sig; $docker rm sig"
t stop 0 box1 $docker stop -t 10 box1
t 'it ended by its own' 0 '^exited 3' $docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' box1
t 'stop of what does not end' 0 '^137' bash -c "$docker run -d --name deaf box sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' >/dev/null; $docker stop -t 1 deaf >/dev/null; $docker inspect -f '{{.State.ExitCode}}' deaf"
t 'start again' 0 '^true' bash -c "$docker start box1 >/dev/null; $docker inspect -f '{{.State.Running}}' box1"
t restart 0 '^true' bash -c "$docker restart -t 1 box1 >/dev/null; $docker inspect -f '{{.State.Running}}' box1"
t kill 0 box1 $docker kill box1
t 'it is dead' 0 '^exited 137' bash -c "$docker wait box1 >/dev/null; $docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' box1"
t 'a policy restarts it' 0 '^[1-9]' bash -c "$docker run -d --name again --restart on-failure:3 box false >/dev/null; soon is '[1-9]' '{{.RestartCount}}' again"
t 'a policy restarts what was killed' 0 '1.*runs' bash -c "$docker run -d --name always --restart always box sleep 1000 >/dev/null; kill -9 \$($docker inspect -f '{{.State.Pid}}' always); soon is 1 '{{.RestartCount}}' always; soon runs always; echo runs"
t attach 0 'answer y' bash -c "$docker run -d -i --name talk box sh -c 'read x; echo answer \$x' >/dev/null; echo y | $docker attach talk; $docker wait talk >/dev/null; $docker logs talk"
t 'attach to a terminal, and leave it' 0 '/ #' terminal 33x77 'wait:/ #' 'type:\x10\x11' -- $docker run -it --name shell box
t 'attach again' 6 'here 33 77' terminal 33x77 sleep:0.5 'type:echo here $(stty size)\n' 'wait:here 33' 'type:exit 6\n' -- $docker attach shell
t 'build of a Dockerfile' 0 'Successfully built' bash -c "mkdir -p build && cp files/file build/ && printf '%s\n' 'FROM debian:node AS first' 'RUN node -e \"console.log(6*7)\" >/made' \
    'FROM box' 'ARG word=none' 'ENV A=b' 'COPY --from=first /made /made' 'COPY file /copied' 'RUN echo \$word >/word && ! touch /proc/sys/x' 'WORKDIR /w' 'USER user' 'HEALTHCHECK CMD true' \
    'ENTRYPOINT [\"sh\", \"-c\"]' 'CMD [\"id -u; pwd; cat /made /copied /word; echo \$A\"]' >build/Dockerfile && $docker build -t built --build-arg word=said build"
t 'what was built' 0 '^1000./w.42.content.said.b' $run built
t 'a build that fails' 5 'returned a non-zero code: 5' bash -c "printf 'FROM box\nRUN exit 5\n' | $docker build -"
# An image that goes for the host's files, by whatever the health check's process has open.
. "$here/escape.sh"
program_of_the_host
escape_image box
$docker build -qt escape escape >/dev/null
within=30 t 'a health check executes nothing of the host' 0 '^the program of the host is as it was.[1-9]' bash -c "$docker run -d --name escape escape >/dev/null
    escaped true; $docker exec escape wc -l /evil/tried; $docker inspect -f '{{range .State.Health.Log}}{{.Output}}{{end}}' escape"
cp as-it-was program-of-the-host
within=30 t 'exec executes nothing of the host' 0 '^the program of the host is as it was' escaped $docker exec escape sh -c true
$docker rm -f escape >/dev/null
t 'twenty at once' 0 '^20' bash -c "for n in \$(seq 20); do $run box true & pids=\"\$pids \$!\"; done; ok=0; for p in \$pids; do wait \$p && ok=\$((ok+1)); done; echo \$ok"

# The daemon goes, containers stay, the next daemon takes them over.
t 'run, to survive the daemon' 0 '' $docker run -d --name survivor box sh -c 'while :; do date +%s%N; sleep 0.1; done'
kill -9 "$(cat pid)"
{ wait; } 2>/dev/null
rm -f pid sock
start_dockerd daemon.json
t 'it has survived' 0 '^true' $docker inspect -f '{{.State.Running}}' survivor
t 'exec, by another daemon' 0 'date' $docker exec survivor ps
t 'stop, by another daemon' 0 'survivor' $docker stop -t 0 survivor
t 'nothing runs in the end' 0 '^0' bash -c "$docker rm -f \$($docker ps -aq) >/dev/null; $docker ps -aq | wc -l"
stop_dockerd pid

# User namespaces are of the daemon as a whole.
printf 'remap:x:990:990::/:/bin/sh\n' >>/etc/passwd
printf 'remap:x:990:\n' >>/etc/group
echo remap:200000:65536 | tee /etc/subuid >/etc/subgid
sed 's/"live-restore": true/"userns-remap": "remap"/; s/172.31.0/172.31.1/' daemon.json >remap.json
start_dockerd remap.json
$docker load -i "$images/box.tar" >/dev/null
t 'userns-remap: the map' 0 '0 +200000 +65536' $run box cat /proc/self/uid_map
t "userns-remap: on the host" 0 '^200000' bash -c "$docker run -d --name mapped box sleep 1000 >/dev/null; stat -c %u /proc/\$($docker inspect -f '{{.State.Pid}}' mapped)"
t 'userns-remap: exec' 0 'uid=0.*200000' $docker exec mapped sh -c 'id; cat /proc/self/uid_map'
t 'userns-remap: exec as a user' 0 'uid=1000' $docker exec -u user mapped id
t 'userns-remap: stats, pause, top' 0 'sleep 1000' bash -c "$docker stats --no-stream mapped && $docker pause mapped && $docker unpause mapped && $docker top mapped"
t 'userns-remap: a volume' 0 '^kept' bash -c "$run -v vol:/v box sh -c 'echo kept >/v/f && cat /v/f'"
t "userns-remap: the host's root" 0 "^$(stat -c %d:%i /).content" $run -v /:/host box sh -c "stat -c %d:%i /host; cat /host$work/files/file"
t 'userns-remap: with a terminal' 0 '33 77' tty $run -it box sh -c 'sleep 0.5; stty size'
t "userns-remap: the host's" 0 '0 +0 +4294967295' $run --userns host box cat /proc/self/uid_map
t 'userns-remap: a file of the host' 1 'Permission denied' bash -c "install -m 0600 /dev/null files/secret; $run -v $work/files:/f box cat /f/secret"
same 'userns-remap: the inside' $run --runtime RUNTIME box inside
same 'userns-remap: the inside, of a user' $run --runtime RUNTIME --user user --read-only --tmpfs /t -v vol:/v box inside
$docker rm -f mapped >/dev/null
stop_dockerd pid
