# shellcheck shell=bash
# Podman as an ordinary user, who has subordinate ids and nothing else: no cgroup is theirs, so there are no limits.
echo 'worker:x:4712:4712::/:/bin/sh' >>/etc/passwd
echo 'worker:x:4712:' >>/etc/group
echo worker:500000:65536 | tee /etc/subuid >/etc/subgid
install -d -o 4712 -g 4712 user user/tmp user/files /run/user /run/user/4712
echo content >user/files/file
chown 4712:4712 user/files/file
# Podman's network for users wants a device that this machine may keep to root.
mknod -m 0666 tun c 10 200
[ -e /dev/net/tun ] && mount --bind tun /dev/net/tun
. "$here/podman_conf.sh"
podman_conf "$work/user" cgroupfs '"nofile=1024:1024", "nproc=4096:4096"' /run/user/4712/containers
# Their processes, if any is left; their Podman keeps its namespaces, and what is mounted there, by one that only waits.
cat >as-worker <<SH
#!/bin/sh
cd $work/user || exit
exec setpriv --reuid 4712 --regid 4712 --clear-groups env -i PATH="\$PATH" HOME=$work/user TMPDIR=$work/user/tmp XDG_RUNTIME_DIR=/run/user/4712 \
    LC_ALL=C.UTF-8 CONTAINERS_CONF=$work/user/containers.conf CONTAINERS_STORAGE_CONF=$work/user/storage.conf "\$@"
SH
chmod +x as-worker
export as="$work/as-worker"
podman="$as podman"
run="$podman run --rm --net none"
is() { $podman inspect -f "$2" "$3" | grep -xE -- "$1"; }
export podman run
export -f is
own_mounts=$(mounts)

t 'it is rootless' 0 'true.*'"$runtime" $podman info --format '{{.Host.Security.Rootless}} {{.Host.OCIRuntime.Path}}'
for image in box pause debian; do t "load $image" 0 Loaded $podman load -qi "$images/$image.tar"; done
$podman tag box:latest localhost/box
$podman tag pause:latest localhost/pause
$podman tag debian:node localhost/debian
t run 0 '^hello' $run box echo hello
t 'exit code' 7 '' $run box sh -c 'exit 7'
t 'exit code of a signal' 137 '' $run box sh -c 'kill -9 $$; sleep 1000 & kill -9 $!; wait $!'
t 'a command that is missing' 127 'executable file not found' $run box nosuch
t 'a command that is no program' 126 'permission denied' $run box /etc/passwd
t stdin 0 '^through' bash -c "echo through | $run -i box cat"
t 'a terminal of the right size' 0 '33 77' tty $run -it box sh -c 'sleep 0.5; stty size'
t 'root inside is the user outside' 0 '0 +4712 +1\s+1 +500000 +65536' $run box cat /proc/self/uid_map
t 'its files are theirs' 0 '^4712 504999' bash -c "$run -v $work/user/files:/f box sh -c 'echo x >/f/new; echo x >/f/of; chown 5000 /f/of'; echo \$(stat -c %u $work/user/files/new $work/user/files/of); rm -f $work/user/files/{new,of}"
t 'the same user inside' 0 'uid=4712' $run --userns keep-id box id
t 'a file of the host' 1 'Permission denied' bash -c "install -m 0600 /dev/null user/files/secret; $run -v $work/user/files:/f box cat /f/secret"
t user 0 'uid=1000\(user\)' $run --user user box id
t hostname 0 '^other' $run -h other box hostname
t 'a volume' 0 kept bash -c "$run -v vol:/v box sh -c 'echo kept >/v/f' && $run -v vol:/v:ro box sh -c 'cat /v/f; ! touch /v/g'"
t "the host's root" 0 "^$(stat -c %d:%i /).content" $run -v /:/host box sh -c "stat -c %d:%i /host; cat /host$work/user/files/file"
t 'a bind mount that is read-only' 1 'Read-only file system' $run -v "$work/user/files:/b:ro" box touch /b/x
t 'a tmpfs' 0 'size=1024k' $run --read-only --tmpfs /t:size=1m box mount
t 'capabilities dropped' 0 'CapEff:.0000000000000000' $run --cap-drop ALL box grep CapEff /proc/self/status
t privileged 0 'mounted' $run --privileged box sh -c 'mount -t tmpfs none /tmp && mkdir /tmp/x && echo mounted'
t "the host's devices are out of reach" 1 'not permitted' $run --privileged box mknod /tmp/n b 8 0
t 'the default seccomp profile' 0 'Seccomp:.2' $run box grep Seccomp: /proc/self/status
t 'no new privileges' 0 'NoNewPrivs:.1' $run --security-opt no-new-privileges box grep NoNewPrivs /proc/self/status
t 'masked paths' 0 '^0 0' $run box sh -c 'echo $(wc -c </proc/keys) $(ls /sys/firmware | wc -l)'
t ulimit 0 '^100' $run --ulimit nofile=100:100 --ulimit nproc=4096:4096 box sh -c 'ulimit -n'
t 'an init' 0 'podman-init' $run --init box ps
t 'a second user namespace' 0 '0 +1 +1000' $run --uidmap 0:1:1000 box cat /proc/self/uid_map
same_ours=$runtime same_peer=$(command -v runc)
# Where no cgroup is theirs, runc shows all of the machine's, read-only; ours an empty folder.
known_more='/ \/sys\/fs\/cgroup[ \/]/d; /^a \*:\* rwm$/d'
export same_ours same_peer
same 'the inside' $podman --runtime RUNTIME run --rm --net none box inside
same 'the inside, of a user' $podman --runtime RUNTIME run --rm --net none --user user --read-only --tmpfs /t -v vol:/v --init --cap-drop ALL box inside
same 'the inside, privileged' $podman --runtime RUNTIME run --rm --net none --privileged box inside
# Podman binds the host's queues, which not every machine has.
queues='--ipc host'
[ -e /dev/mqueue ] || queues=
same "the inside, with the host's namespaces" $podman --runtime RUNTIME run --rm --net host --pid host $queues --uts host box inside
t 'a network of its own, a published port' 0 '^served' bash -c "$podman run -d --name web --net slirp4netns -p 127.0.0.1:8081:80 box sh -c 'echo served >/tmp/index; httpd -f -p 80 -h /tmp' >/dev/null
    soon curl -sf http://127.0.0.1:8081/index; $podman rm -f -t 0 web >/dev/null"
t 'layers are shared' 0 '^v[0-9]+.*shared' bash -c "$podman run -d --net none --name d1 debian sleep 1000 >/dev/null; $podman run -d --net none --name d2 debian sleep 1000 >/dev/null
    $podman exec d1 rm /usr/bin/node; $podman exec d2 node --version && ! $podman exec d1 node --version && echo shared; $podman rm -f -t 0 d1 d2"
t 'run detached' 0 '[0-9a-f]{64}' $podman run -d --net none --name c box sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'
t exec 0 'sh -c trap.*ps' $podman exec c ps
t 'exec as a user' 0 'uid=1000' $podman exec -u user c id
t 'exec with a terminal' 0 '33 77' tty $podman exec -it c sh -c 'sleep 0.5; stty size'
t 'exec keeps the filter' 0 'Seccomp:.2' $podman exec c grep Seccomp: /proc/self/status
t top 0 'sh -c' $podman top c
t 'copy to and from' 0 content bash -c "$podman cp files/file c:/tmp/p && $podman cp c:/tmp/p - | tar -xO"
t commit 0 content bash -c "$podman commit -q c copy >/dev/null && $run copy cat /tmp/p"
t logs 0 '^up' $podman logs c
t stop 0 c $podman stop -t 10 c
t 'it ended by its own' 0 '^exited 3' $podman inspect -f '{{.State.Status}} {{.State.ExitCode}}' c
t restart 0 '' $podman restart -t 1 c
t 'kill and remove' 0 '' bash -c "$podman kill c && $podman rm -f c"
t 'a build' 0 'COMMIT' bash -c "printf 'FROM localhost/box\nRUN id -u >/made\nUSER user\nCMD [\"cat\", \"/made\"]\n' | $podman build --isolation oci --network none -t built -"
t 'what was built' 0 '^0' $run built
t 'a pod' 0 '' $podman pod create --name p --network none
t 'two of its containers' 0 '' bash -c "$podman run -d --pod p --name one box sleep 1000 && $podman run -d --pod p --name two box sleep 1000"
t 'namespaces of another' 0 '^same' bash -c '[ "$($podman exec one readlink /proc/self/ns/net)" = "$($podman exec two readlink /proc/self/ns/net)" ] && echo same'
t 'the pod is removed' 0 '' $podman pod rm -f -t 0 p
t 'ten at once' 0 '^10' bash -c "for n in \$(seq 10); do $run box true & pids=\"\$pids \$!\"; done; ok=0; for p in \$pids; do wait \$p && ok=\$((ok+1)); done; echo \$ok"
t 'nothing is left' 0 '^0' bash -c "$podman ps -aq | wc -l"
# The one that waits.
t 'and its namespaces' 0 '' $podman system migrate
