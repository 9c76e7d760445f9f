# shellcheck shell=bash
# Podman, rootful, with the cgroup file system; conmon calls the runtime.
. "$here/podman_conf.sh"
podman_conf "$work" cgroupfs '"nofile=20000:20000", "nproc=4096:4096"' "$work/runroot" 'runtime_supports_nocgroup = ["tare-under-test"]
[network]
network_backend = "netavark"'
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
# Podman keeps this for the next one.
export kept_mounts='^/run/netns '
run='podman run --rm --net none'
terminal() { "$here/terminal.py" "$@"; }
# is PATTERN FORMAT CONTAINER: what inspect shows; for `soon`.
is() { podman inspect -f "$2" "$3" | grep -xE -- "$1"; }
export here run runtime
export -f terminal is
wait_for_size='trap "echo told" WINCH; echo it is up; until [ "$(stty size 2>/dev/null)" = "44 99" ]; do sleep 0.1; done; stty size; exit 4'

t 'the runtime is the default one' 0 "$runtime" podman info
t load 0 'box:latest' bash -c "podman load -qi $images/box.tar && podman load -qi $images/debian.tar && podman tag box:latest localhost/box && podman tag debian:node localhost/debian"
t run 0 '^hello' $run box echo hello
t 'exit code' 7 '' $run box sh -c 'exit 7'
t 'a command that is missing' 127 'executable file not found' $run box nosuch
t 'a command that is no program' 126 'permission denied' $run box /etc/passwd
t 'a path that is missing' 127 'no such file or directory' $run box /no/such
t 'a command that is a directory' 126 'is a directory|permission denied' $run box /etc
t 'exit code of a signal' 137 '' $run box sh -c 'kill -9 $$; sleep 1000 & kill -9 $!; wait $!'
t 'an option that cannot be' 125 'Error' $run --memory nonsense box true
t stdin 0 '^through' bash -c "echo through | $run -i box cat"
t 'a terminal of the right size' 0 '33 77' tty $run -it box sh -c 'sleep 0.5; stty size'
t 'a terminal that changes its size' 4 '44 99' terminal 33x77 'wait:it is up' size:44x99 -- $run -it box sh -c "$wait_for_size"
t 'a signal from the terminal' 9 '' terminal 33x77 'wait:it is up' 'type:\x03' -- $run -it box sh -c 'trap "exit 9" INT; echo it is up; while :; do sleep 0.1; done'
same_ours=$runtime same_peer=$(command -v runc)
export same_ours same_peer
same 'the inside' podman --runtime RUNTIME run --rm --net none box inside
same 'the inside, at a terminal' "$here/terminal.py" 33x77 -- podman --runtime RUNTIME run --rm --net none -it box inside
only=$no_caps same_peer=$here/runc-here same 'the inside, privileged' podman --runtime RUNTIME run --rm --net none --privileged box inside
same 'the inside, limited' podman --runtime RUNTIME run --rm --net none -m 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 --ulimit nofile=100:200 --ulimit nproc=4096:4096 \
    --shm-size 1m --device /dev/loop-control --sysctl net.ipv4.ip_forward=0 box inside
same 'the inside, of a user' podman --runtime RUNTIME run --rm --net none --user user --cap-add NET_ADMIN --cap-drop CHOWN --group-add 77 -w /tmp -e A=b \
    --security-opt no-new-privileges --read-only --tmpfs /t:size=1m -v vol:/v -v "$work/files:/b:ro" --init box inside
same 'the inside, of a user namespace' podman --runtime RUNTIME run --rm --net none --uidmap 0:100000:65536 box inside
same "the inside, with the host's namespaces" podman --runtime RUNTIME run --rm --net host --pid host --ipc host --uts host box inside
t user 0 'uid=1000\(user\)' $run --user user box id
t hostname 0 '^other' $run -h other box hostname
t 'read-only root' 1 'Read-only file system' $run --read-only box touch /x
t 'a tmpfs' 0 'size=1024k' $run --tmpfs /t:size=1m box mount
t 'a bind mount' 0 'file' $run -v "$work/files:/b:ro" box ls /b
. "$here/host.sh"
shared_root
t "the host's root" 0 "$host_seen" $run -v /:/host box sh -c "$see_host"
t "the host's root, read-only" 0 "$host_seen.*Read-only" $run -v /:/host:ro box sh -c "$see_host; touch /host/it 2>&1 || :"
t "the host's root, and what is mounted there later" 0 "$host_seen.*late" bash -c "podman run -d --net none --name host -v /:/host:rslave box sleep 1000 >/dev/null; podman exec host sh -c '$see_host'
    $mount_late; podman exec host ls /host$shared/in; $unmount_late; podman rm -f -t 0 host >/dev/null"
t "the host's root, in a user namespace" 0 "$host_seen" $run --uidmap 0:100000:65536 -v /:/host box sh -c "$see_host"
t "a mount of the host's comes in" 0 '^late.$' bash -c "podman run -d --net none --name host -v $shared:/s:rshared box sleep 1000 >/dev/null
    $mount_late; podman exec host ls /s/in; $unmount_late; podman rm -f -t 0 host >/dev/null"
t "a mount of the container's goes out" 0 '^early.$' bash -c "podman run -d --net none --name host -v $shared:/s:rshared --cap-add SYS_ADMIN --security-opt seccomp=unconfined box sleep 1000 >/dev/null
    podman exec host sh -c '$mount_inside'; ls $shared/in; podman exec host umount /s/in; podman rm -f -t 0 host >/dev/null"
private_root
t 'a tmpfs that is read-only, and a volume in it' 0 '^kept.*Read-only' bash -c "$run -v vol:/v box sh -c 'echo kept >/v/f'; $run --mount type=tmpfs,dst=/t,ro -v vol:/t/sub box sh -c 'cat /t/sub/f; touch /t/x 2>&1 || :'"
t 'read-only without a tmpfs' 0 '^not /x, not /tmp/x, but 1' $run --read-only --read-only-tmpfs=false box sh -c 'for f in /x /tmp/x; do touch $f 2>/dev/null || printf "not $f, "; done; echo but $(echo 2>&1 >/dev/full | grep -c "No space")'
t 'capabilities dropped' 0 'CapEff:.0000000000000000' $run --cap-drop ALL box grep CapEff /proc/self/status
t 'one more group' 0 'groups=.*77' $run --user 5:6 --group-add 77 box id
t 'working directory, environment' 0 '^b /tmp' $run -e A=b -w /tmp box sh -c 'echo $A $PWD'
t 'a tmpfs that is full' 1 'No space left' $run --tmpfs /t:size=1m box dd if=/dev/zero of=/t/x bs=1M count=2
t 'a bind mount that is read-only' 1 'Read-only file system' $run -v "$work/files:/b:ro" box touch /b/x
only='runc 1.1 ignores idmap' t 'a mount with ids mapped' 0 '^0 content' $run --uidmap 0:100000:65536 -v "$work/files:/b:idmap" box sh -c 'echo $(stat -c %u /b/file) $(cat /b/file)'
t 'a volume' 0 'kept' bash -c "$run -v vol:/v box sh -c 'echo kept >/v/f' && $run -v vol:/v:ro box sh -c 'cat /v/f; ! touch /v/g'"
t 'a capability added' 0 'CapEff:.0000000000001000' $run --cap-drop ALL --cap-add NET_ADMIN box grep CapEff /proc/self/status
t 'a capability that is missing' 1 'not permitted' $run --cap-drop CHOWN box chown user /tmp
t 'a seccomp profile' 1 'permission denied' $run --cap-add SYS_ADMIN --security-opt seccomp="$here/no-mount.json" box mount -t tmpfs none /tmp
t 'no seccomp' 0 'Seccomp:.0' $run --security-opt seccomp=unconfined box grep Seccomp: /proc/self/status
t 'masked paths' 0 '^0 0' $run box sh -c 'echo $(wc -c </proc/keys) $(ls /sys/firmware | wc -l)'
t 'paths not masked' 0 '^[1-9]' $run --security-opt unmask=ALL box sh -c 'wc -c </proc/keys'
t 'a device that is denied' 1 'not permitted' $run box sh -c 'mknod /n b 8 0; head -c 1 /n'
t 'a device to read only' 1 'not permitted' $run --device /dev/loop-control:/dev/other:r box sh -c ': </dev/other && : >/dev/other'
t 'a rule for devices' 1 'No such device' $run --device-cgroup-rule 'c 231:* rwm' box sh -c 'mknod /n c 231 0; cat /n'
t sysctl 0 '^0' $run --sysctl net.ipv4.ip_forward=0 box cat /proc/sys/net/ipv4/ip_forward
t 'a limit of processes' 2 "can't fork" $run --pids-limit 5 box sh -c 'for i in 1 2 3 4 5 6 7; do sleep 5 & done; wait'
t 'a parent of the cgroup' 0 'pids:/it-engines/inner/' $run --cgroupns host --cgroup-parent /it-engines/inner box cat /proc/self/cgroup
only=$no_caps t privileged 0 'CapEff:.00000[0-9a-f]+ffff' $run --privileged box grep CapEff /proc/self/status
t 'no new privileges' 0 'NoNewPrivs:.1' $run --security-opt no-new-privileges box grep NoNewPrivs /proc/self/status
t 'the default seccomp profile' 0 'Seccomp:.2' $run box grep Seccomp: /proc/self/status
t 'a device' 0 '1, +8' $run --device /dev/random:/dev/other box ls -l /dev/other
t 'cgroup namespaces' 0 'pids:/\s.*pids:/it-engines/[0-9a-z-]+[0-9a-f]{64}' bash -c "$run --cgroupns private --cgroup-parent /it-engines box cat /proc/self/cgroup; $run --cgroupns host --cgroup-parent /it-engines box cat /proc/self/cgroup"
t 'a limit of cpu holds' 0 '1\s*$' $run --cpus 0.05 box sh -c 'timeout 2 sh -c "while :; do :; done" 2>/dev/null; awk "/nr_throttled/ { print (\$2 > 3) ? 1 : 0 }" /sys/fs/cgroup/cpu/cpu.stat'
t 'shares, a set of cpus' 0 '^512 1 ' $run --cpu-shares 512 --cpuset-cpus 1 box sh -c 'echo $(cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpuset/cpuset.cpus) .'
t ulimit 0 '^100' $run --ulimit nofile=100:100 --ulimit nproc=4096:4096 box sh -c 'ulimit -n'
t 'an init' 0 'podman-init' $run --init box ps
t 'out of memory' 137 '' $run -m 20m box tail /dev/zero
t 'layers are shared' 0 'A /made.*shared' bash -c "podman run -d --net none --name d1 debian:node sleep 1000 >/dev/null; podman run -d --net none --name d2 debian:node sleep 1000 >/dev/null
    lower() { podman inspect -f '{{.GraphDriver.Data.LowerDir}}' \$1; }; upper() { podman inspect -f '{{.GraphDriver.Data.UpperDir}}' \$1; }
    [ \$(lower d1) = \$(lower d2) ] && [ \$(lower d1 | tr : '\\n' | wc -l) = 2 ] && [ \$(upper d1) != \$(upper d2) ] || exit
    podman exec d1 sh -c 'echo one >/made; rm /usr/bin/node'
    [ -e \$(upper d1)/made ] && [ ! -e \$(upper d2)/made ] && [ -c \$(upper d1)/usr/bin/node ] && podman exec d2 node --version && podman diff d1 && echo shared"
podman rm -f -t 0 d1 d2 >/dev/null
t 'the network of a bridge' 0 'inet 10.88' podman run --rm box ip addr
t 'two containers talk' 0 '0% packet loss' bash -c "podman run -d --name peer box sleep 1000 >/dev/null; podman run --rm box ping -c 1 \$(podman inspect -f '{{.NetworkSettings.IPAddress}}' peer)"
t 'a published port' 0 '^served' bash -c "podman run -d --name web -p 127.0.0.1:8080:80 box sh -c 'echo served >/tmp/index; httpd -f -p 80 -h /tmp' >/dev/null
    soon curl -sf http://127.0.0.1:8080/index; podman rm -f -t 0 web >/dev/null"
t 'namespaces of another' 0 'inet 10.88.*sleep 1000' podman run --rm --net container:peer --pid container:peer --ipc container:peer --uts container:peer box sh -c 'ip addr; ps'
t 'remove by force' 0 '' podman rm -f -t 0 peer
t 'namespaces of the host' 0 'lo:' podman run --rm --net host --pid host --ipc host --uts host box ip addr
t 'user namespace' 0 '0 +100000 +65536' $run --uidmap 0:100000:65536 box cat /proc/self/uid_map
t 'descriptors kept' 0 '^kept' bash -c "exec 3<<<kept; $run --preserve-fds 1 box cat /proc/self/fd/3"
# What the container says itself, through the runtime; Podman adds whose process it is.
notify='use Socket; sleep 1; socket(my $s, AF_UNIX, SOCK_DGRAM, 0); print -S $ENV{NOTIFY_SOCKET} ? "there\n" : "none\n"; send($s, "READY=1", 0, pack_sockaddr_un($ENV{NOTIFY_SOCKET})); sleep 1'
told() {
    socat -u "UNIX-RECV:$work/notify" - >told &
    until [ -S "$work/notify" ]; do sleep 0.05; done
    NOTIFY_SOCKET=$work/notify podman run -d --net none --name notifies --sdnotify="$1" "${@:2}" >/dev/null
    sleep 0.3
    echo "early: $(grep -ac READY told)"
    podman wait notifies
    podman rm notifies
    cat told
    kill %1
    rm -f "$work/notify" told
}
export notify work
export -f told
t 'descriptors kept in exec' 0 '^kept' bash -c "podman run -d --net none --name fds box sleep 1000 >/dev/null; exec 3<<<kept; podman exec --preserve-fds 1 fds cat /proc/self/fd/3; podman rm -f -t 0 fds >/dev/null"
t 'the parent is told by conmon' 0 '^early: 1.*MAINPID=[0-9]+' told conmon debian sleep 1
t 'the parent is told by the container' 0 'READY=1' told container debian perl -e "$notify"
t 'not before the container does' 0 '^early: 0.0.notifies[^Y]*$' told container debian sleep 1
t 'the parent is not told' 0 '^early: 0.0.notifies[^=]*$' told ignore debian sh -c 'sleep 0.3; [ -z "$NOTIFY_SOCKET" ]'
t 'run detached' 0 '[0-9a-f]{64}' podman run -d --net none --name c box sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'
t logs 0 '^up' podman logs c
t exec 0 'sh -c trap.*ps' podman exec c ps
t 'exec as a user' 0 'uid=1000' podman exec -u user c id
t 'exec: exit code' 9 '' podman exec c sh -c 'exit 9'
t 'exec: a command that is missing' 127 'executable file not found' podman exec c nosuch
t 'exec with a terminal' 0 '33 77' tty podman exec -it c sh -c 'sleep 0.5; stty size'
t 'exec: a terminal that changes its size' 4 '44 99' terminal 33x77 'wait:it is up' size:44x99 -- podman exec -it c sh -c "$wait_for_size"
t 'exec, detached' 0 'made' bash -c "podman exec -d c sh -c 'echo made >/tmp/d'; soon podman exec c cat /tmp/d"
t 'exec keeps the filter' 0 'Seccomp:.2' podman exec c grep Seccomp: /proc/self/status
t top 0 'sh -c' podman top c
t stats 0 'c +[0-9.]+%' podman stats --no-stream c
t pause 0 c podman pause c
t unpause 0 c podman unpause c
t 'commit' 0 'root' bash -c "podman commit -q c copy >/dev/null && $run copy head -n 1 /etc/passwd"
t update 0 '' podman update --memory 100m --cpus 0.7 c
t 'it is felt' 0 '^104857600 70000' podman exec c sh -c 'cd /sys/fs/cgroup; echo $(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us)'
t 'copy to and from' 0 '^root' bash -c "podman cp /etc/passwd c:/tmp/p && podman cp c:/tmp/p - | tar -xO"
t stop 0 c podman stop -t 10 c
t 'it ended by its own' 0 '^exited 3' podman inspect -f '{{.State.Status}} {{.State.ExitCode}}' c
t restart 0 '' podman restart -t 1 c
t 'rename, diff, export' 0 'A /tmp/p.*tmp/p' bash -c "podman rename c d && podman diff d && podman export d | tar -t && podman rename d c"
t 'a signal' 0 'got it' bash -c "podman run -d --net none --name sig box sh -c 'trap \"echo got it; exit\" USR1; echo up; while :; do sleep 0.1; done' >/dev/null; soon grep -q up <(podman logs sig); podman kill -s USR1 sig; podman wait sig; podman logs sig; podman rm sig"
# conmon sees the end of init, and has Podman clean up: it can be started anew.
t 'a signal to one that has not started' 0 '^over.running' bash -c "podman create --net none --name made box sleep 1000 >/dev/null; podman init made >/dev/null; id=\$(podman inspect -f '{{.Id}}' made)
    $runtime kill \$id TERM; over() { ! $runtime state \$id >/dev/null 2>&1 && echo over; }; soon over; podman start made >/dev/null; podman inspect -f '{{.State.Status}}' made; podman rm -f -t 0 made >/dev/null"
t 'stop of what does not end' 0 '137.deaf' bash -c "podman run -d --net none --name deaf box sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' >/dev/null; podman stop -t 1 deaf >/dev/null; podman inspect -f '{{.State.ExitCode}}' deaf; podman rm deaf"
# An image that goes for the host's files, by whatever the process of an exec has open.
. "$here/escape.sh"
program_of_the_host
escape_image localhost/box
podman build -q --format docker -t escape escape >/dev/null
within=30 t 'exec executes nothing of the host' 0 '^the program of the host is as it was.[1-9]' bash -c "podman run -d --net none --name escape --health-interval disable escape >/dev/null 2>&1
    escaped podman exec escape sh -c 'echo x >>/evil/tried'; podman exec escape wc -l /evil/tried"
cp as-it-was program-of-the-host
within=30 t 'a health check executes nothing of the host' 0 '^the program of the host is as it was' escaped podman healthcheck run escape
podman rm -f -t 0 escape >/dev/null 2>&1
t 'twenty at once' 0 '^20' bash -c "for n in \$(seq 20); do $run box true & pids=\"\$pids \$!\"; done; ok=0; for p in \$pids; do wait \$p && ok=\$((ok+1)); done; echo \$ok"
t 'kill and remove' 0 '' bash -c 'podman kill c && podman rm -f c'
t 'a health check' 0 'healthy' bash -c "podman run -d --net none --name well --health-cmd 'test -e /tmp/well' --health-interval disable box sh -c 'touch /tmp/well; sleep 1000' >/dev/null; soon podman healthcheck run well && podman inspect -f '{{.State.Health.Status}}' well; podman exec well rm /tmp/well; podman healthcheck run well; [ \$? = 1 ]; podman rm -f -t 0 well"
t 'a policy restarts it' 0 '[1-9]' bash -c "podman run -d --net none --name again --restart on-failure:3 box false >/dev/null; soon is '[1-9]' '{{.RestartCount}}' again; soon podman rm -f -t 0 again >/dev/null"
t 'a policy restarts what was killed' 0 '^1' bash -c "podman run -d --net none --name always --restart always box sleep 1000 >/dev/null; kill -9 \$(podman inspect -f '{{.State.Pid}}' always); soon is 1 '{{.RestartCount}}' always; soon is true '{{.State.Running}}' always; podman rm -f -t 0 always"
t 'build of a Dockerfile' 0 'COMMIT built' bash -c "mkdir -p build && cp files/file build/ && printf '%s\n' 'FROM localhost/debian AS first' 'RUN node -e \"console.log(6*7)\" >/made' \
    'FROM localhost/box' 'ARG word=none' 'ENV A=b' 'COPY --from=first /made /made' 'COPY file /copied' 'RUN echo \$word >/word && ! touch /proc/sys/x' 'WORKDIR /w' 'USER user' \
    'ENTRYPOINT [\"sh\", \"-c\"]' 'CMD [\"id -u; pwd; cat /made /copied /word; echo \$A\"]' >build/Dockerfile && podman build --isolation oci -t built --build-arg word=said build"
t 'what was built' 0 '^1000./w.42.content.said.b' $run built
t 'a build that fails' 5 'exit status 5|code: 5' bash -c "printf 'FROM localhost/box\nRUN exit 5\n' | podman build --isolation oci -"
t attach 0 'answer y' bash -c "podman run -d -i --net none --name talk box sh -c 'read x; echo answer \$x' >/dev/null; echo y | podman attach talk; podman wait talk; podman logs talk; podman rm talk"
t 'attach to a terminal, and leave it' 0 '/ #' terminal 33x77 'wait:/ #' sleep:0.5 'type:\x10' sleep:0.3 'type:\x11' -- podman run -it --net none --name shell box
t 'attach again' 0 'here 33 77' terminal 33x77 sleep:0.5 'type:echo here $(stty size)\n' 'wait:here 33' 'type:exit 6\n' -- podman attach shell
t 'its exit code' 0 '^6' podman wait shell
podman rm shell >/dev/null
t 'a unit for systemd' 0 'ExecStart=/usr/bin/podman start c2' bash -c "podman create --net none --name c2 box sleep 1000 >/dev/null; podman generate systemd --name c2; podman rm c2"
t 'the service' 0 '"Id".*"StatusCode": ?7' bash -c "podman system service --time 0 unix://$work/api.sock & until [ -S $work/api.sock ]; do sleep 0.1; done
    api() { curl -sf --unix-socket $work/api.sock -X \$1 -H 'content-type: application/json' http://d/v4.0.0/libpod/\$2 \${3:+-d \"\$3\"}; }
    api POST containers/create '{\"image\": \"localhost/box\", \"name\": \"remote\", \"command\": [\"sh\", \"-c\", \"sleep 1; exit 7\"], \"netns\": {\"nsmode\": \"none\"}}'
    api POST containers/remote/start; curl -sf --unix-socket $work/api.sock -X POST http://d/v4.0.0/containers/remote/wait; kill %1"
podman rm -f -t 0 remote >/dev/null
cat >kube.yaml <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: kube}
spec:
  hostNetwork: true
  containers:
    - name: first
      image: localhost/box
      command: [sh, -c, "echo first >/shared/f; sleep 1000"]
      resources: {limits: {memory: 64Mi}}
      securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true}
      volumeMounts: [{name: shared, mountPath: /shared}]
    - name: second
      image: localhost/box
      command: [sleep, "1000"]
      volumeMounts: [{name: shared, mountPath: /shared}]
  volumes: [{name: shared, hostPath: {path: SHARED, type: Directory}}]
YAML
mkdir -m 0777 shared
sed -i "s|SHARED|$work/shared|" kube.yaml
podman create --net none --name source box true >/dev/null
podman export source | podman import -q --change 'CMD ["/bin/sleep", "1000000"]' - localhost/pause >/dev/null
podman rm source >/dev/null
t 'play kube' 0 'kube-first' bash -c "podman play kube kube.yaml && podman ps"
t 'play kube: a volume of both' 0 '^first' soon podman exec kube-second cat /shared/f
t 'play kube: its user, its limit' 0 'uid=1000.*67108864' podman exec kube-first sh -c 'id; cat /sys/fs/cgroup/memory/memory.limit_in_bytes'
t 'play kube, down' 0 '' podman play kube --down kube.yaml
t 'a pod' 0 '' podman pod create --name p --network none --infra-image box --infra-command 'sleep 1000'
t 'one of its containers' 0 '' podman run -d --pod p --name one box sleep 1000
t 'namespaces of another' 0 '^same' bash -c 'ns="readlink /proc/self/ns/net"
    [ "$(podman exec one $ns)" = "$(podman run --rm --pod p box $ns)" ] && echo same'
t 'the pod is removed' 0 '' podman pod rm -f -t 0 p
only='runc always makes a cgroup' t 'no cgroup' 0 'pids:/\s' $run --cgroups=disabled box cat /proc/self/cgroup
t 'nothing is left' 0 '^0' bash -c 'podman ps -aq | wc -l'
