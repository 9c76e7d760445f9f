# shellcheck shell=bash
# NVIDIA's two ways to bring a driver's libraries and devices into a container (gpu-hook), under Podman, whose hooks are files in
# a folder, and under Docker, where a runtime in front of the real one adds them. A program in the container is linked to two
# libraries that it only finds through the cache of its linker.
. "$here/podman_conf.sh"
. "$here/dockerd.sh"
mkdir gpu
echo 'int toy(void) { return 42; }' | gcc -shared -fPIC -Wl,-soname,libtoy.so.1 -o gpu/libtoy.so.1 -x c -
echo 'int hook(void) { return 43; }' | gcc -shared -fPIC -Wl,-soname,libhook.so.1 -o gpu/libhook.so.1 -x c -
echo '#include <stdio.h>
int toy(void), hook(void); int main(void) { return printf("found %d %d\n", toy(), hook()) < 0; }' |
    gcc -o gpu/program -x c - -x none gpu/libtoy.so.1 gpu/libhook.so.1
# One that every container may read: /dev/zero by another name.
mknod -m 0666 gpu/toy0 c 1 5
# hook_of WAY: the hook as an object of config.json.
hook_of() { echo "{\"path\": \"$here/gpu-hook\", \"args\": [\"gpu-hook\", \"$1\", \"$work/gpu\"], \"env\": [\"PATH=$PATH\"]}"; }
program="-v $work/gpu/program:/program:ro"
library="-v $work/gpu/libtoy.so.1:/usr/lib/toy/libtoy.so.1:ro"
device='echo device $(head -c 3 /dev/toy0 | wc -c)'

podman_conf "$work" cgroupfs '"nofile=20000:20000", "nproc=4096:4096"' "$work/runroot"
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
podman load -qi "$images/debian.tar" >/dev/null
for stage in createContainer createRuntime prestart; do
    way=legacy
    [ $stage != createContainer ] || way=cdi
    mkdir -p "hooks/$stage"
    echo "{\"version\": \"1.0.0\", \"hook\": $(hook_of $way), \"when\": {\"always\": true}, \"stages\": [\"$stage\"]}" >"hooks/$stage/toy.json"
done
cdi="podman --hooks-dir $work/hooks/createContainer run --rm --net none $program $library"
t 'Podman: a CDI hook' 0 '^found 42 43' $cdi debian:node /program
t 'Podman: a CDI hook, and a root that is read-only' 0 '^found 42 43' $cdi --read-only debian:node /program
t 'Podman: a CDI hook, in a user namespace' 0 '^found 42 43' $cdi --uidmap 0:100000:65536 debian:node /program
for stage in prestart createRuntime; do
    legacy="podman --hooks-dir $work/hooks/$stage run --rm --net none $program"
    t "Podman: a $stage hook that enters the namespace" 0 '^found 42 43.device 3' $legacy debian:node sh -c "/program; $device"
    t "Podman: a $stage hook that enters it, and a root that is read-only" 0 '^found 42 43.device 3' $legacy --read-only debian:node sh -c "/program; $device"
    t "Podman: a $stage hook that enters it, in a user namespace" 0 '^found 42 43.device 3' $legacy --uidmap 0:100000:65536 debian:node sh -c "/program; $device"
done
podman rmi -f debian:node >/dev/null

echo "{\"createContainer\": [$(hook_of cdi)]}" >cdi.json
echo "{\"prestart\": [$(hook_of legacy)]}" >legacy.json
for way in cdi legacy; do
    printf '#!/bin/sh\nexec %s %s %s "$@"\n' "$here/with-hooks" "$work/$way.json" "$runtime" >$way
    chmod +x $way
done
cat >daemon.json <<JSON
{"runtimes": {"cdi": {"path": "$work/cdi"}, "legacy": {"path": "$work/legacy"}}, "bridge": "none", "iptables": false,
 "data-root": "$work/data", "exec-root": "$work/exec", "pidfile": "$work/pid", "hosts": ["unix://$work/sock"],
 "storage-driver": "overlay2", "cgroup-parent": "/it-engines"}
JSON
export kept_mounts="^($work/(data|exec/netns/default)|/run/netns) "
start_dockerd daemon.json
$docker load -qi "$images/debian.tar" >/dev/null
run="$docker run --rm --net none $program"
t 'Docker: a CDI hook' 0 '^found 42 43' $run --runtime cdi $library debian:node /program
t 'Docker: a CDI hook, and a root that is read-only' 0 '^found 42 43' $run --runtime cdi $library --read-only debian:node /program
t 'Docker: a prestart hook that enters the namespace' 0 '^found 42 43.device 3' $run --runtime legacy debian:node sh -c "/program; $device"
t 'Docker: a prestart hook that enters it, and a root that is read-only' 0 '^found 42 43.device 3' $run --runtime legacy --read-only debian:node sh -c "/program; $device"
t 'Docker: exec finds what the hook brought' 0 '^found 42 43' bash -c "$docker run -d --name toy --net none $program --runtime legacy debian:node sleep 1000 >/dev/null; $docker exec toy /program; $docker rm -f toy >/dev/null"
stop_dockerd pid
