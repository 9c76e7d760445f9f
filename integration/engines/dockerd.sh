# shellcheck shell=bash
# Docker's daemon, as the steps of several files use it.
export DOCKER_HOST=unix://$work/sock DOCKER_BUILDKIT=0
# A machine may have another client in front of the package's.
docker=/usr/bin/docker

# start_dockerd CONFIG
start_dockerd() {
    dockerd --config-file "$work/$1" >>"$work/dockerd.log" 2>&1 &
    until_ok $docker version
}
# Without networks, and with the driver of systemd.
start_dockerd_of_systemd() {
    cat >daemon.json <<JSON
{"runtimes": {"$under": {"path": "$runtime"}}, "default-runtime": "$under", "exec-opts": ["native.cgroupdriver=systemd"],
 "data-root": "$work/data", "exec-root": "$work/exec", "pidfile": "$work/pid", "hosts": ["unix://$work/sock"],
 "bridge": "none", "iptables": false, "storage-driver": "overlay2"}
JSON
    export kept_mounts="^$work/(data|exec/netns/default) "
    start_dockerd daemon.json
}
# stop_dockerd PIDFILE
stop_dockerd() {
    kill "$(cat "$work/$1")"
    while [ -e "$work/$1" ]; do sleep 0.1; done
    wait
}
terminal() { "$here/terminal.py" "$@"; }
# is PATTERN FORMAT CONTAINER: what inspect shows; for `soon`.
is() { $docker inspect -f "$2" "$3" | grep -xE -- "$1"; }
export here docker
export -f terminal is
