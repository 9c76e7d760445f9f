# shellcheck shell=bash
# A cluster: Docker's swarm across two hosts, each of them namespaces of its own for network, processes, mounts and name, joined
# by a bridge. Killing a host is one signal.
. "$here/dockerd.sh"
ip link add hosts type bridge
ip link set hosts up
# host N: starts host N, with a daemon in it.
host() {
    local n=$1 dir=$work/host$1 pid
    mkdir -p "$dir"
    cat >"$dir/daemon.json" <<JSON
{"runtimes": {"$under": {"path": "$runtime"}}, "default-runtime": "$under", "data-root": "$dir/data", "exec-root": "$dir/exec",
 "pidfile": "$dir/pid", "hosts": ["unix://$dir/sock"], "bip": "172.31.$n.1/24", "storage-driver": "overlay2",
 "cgroup-parent": "/it-engines/host$n", "dns": ["127.0.0.1"]}
JSON
    # What a real host has on a tmpfs.
    rm -rf "$dir"/{pid,sock,exec}
    unshare --net --uts --mount --propagation private --pid --fork --kill-child --mount-proc bash -c '
        hostname "host$1"
        mount -t tmpfs tmpfs /run
        until [ -e "$2/linked" ]; do sleep 0.05; done
        rm "$2/linked"
        ip link set lo up
        ip addr add "10.99.0.$1/24" dev eth0
        ip link set eth0 up
        exec dockerd --config-file "$2/daemon.json"' - "$n" "$dir" >>"$work/host$n.log" 2>&1 &
    pid=$!
    # The first process inside; the one before it stays outside.
    until pid_of[n]=$(pgrep -P $pid); do sleep 0.05; done
    ip link add "host$n" type veth peer name eth0 netns "${pid_of[n]}"
    ip link set "host$n" master hosts up
    echo "${pid_of[n]}" >"$dir/first"
    touch "$dir/linked"
    until_ok on "$n" version
}
declare -a pid_of
# on N ARGUMENT…: the client of host N.
on() { DOCKER_HOST=unix://$work/host$1/sock $docker "${@:2}"; }
# replicas SERVICE: those that run, by their hosts: `host1 5 host2 5`.
replicas() { on 1 service ps --filter desired-state=running --format '{{.Node}} {{.CurrentState}}' "$1" | awk '$2 == "Running" { n[$1]++ } END { for (host in n) print host, n[host] }' | sort | tr '\n' ' '; }
# come SERVICE PATTERN: whether the replicas are so; for `long`.
come() { replicas "$1" | tee /dev/stderr | grep -qE -- "$2"; }
# long COMMAND…: like soon, but for what a cluster takes its time for.
long() {
    local end=$((SECONDS + 100)) out
    until out=$("$@" 2>&1); do
        [ $SECONDS -lt $end ] || { echo "$out"; return 1; }
        sleep 0.3
    done
    echo "$out"
}
# ours N: how many containers the runtime knows on host N, in the folder that Docker gives it; and how many run there.
ours() { echo "$(nsenter -m -p -t "$(cat "$work/host$1/first")" "$runtime" --root "$work/host$1/exec/runtime-runc/moby" list | grep -c running) $(on "$1" ps -q | wc -l)"; }
all_ours() {
    local state running
    read -r state running < <(ours "$1")
    echo "$state $running"
    [ "$state" = "$running" ] && [ "$running" -gt 0 ]
}
total() { replicas "$1" | awk '{ for (n = 2; n <= NF; n += 2) sum += $n; print sum }' | grep -qx "$2"; }
two_hosts() { [ "$(on 1 node ls --format '{{.Status}}' | grep -c Ready)" = 2 ] && on 1 node ls --format '{{.Hostname}} {{.Status}}' | sort; }
back() { on 1 node ls --format '{{.Hostname}} {{.Status}}' | grep 'host2 Ready'; }
none() { [ "$(ours "$1")" = '0 0' ] && ours "$1"; }
export work runtime
export -f on replicas come long ours all_ours total two_hosts back none

host 1
host 2
for n in 1 2; do
    t "host $n: the runtime is the default one" 0 "Default Runtime: $under" on $n info
    t "host $n: load" 0 'box:latest' on $n load -i "$images/box.tar"
done
t 'a swarm' 0 'initialized' on 1 swarm init --advertise-addr 10.99.0.1
t 'the other host joins' 0 'joined' on 2 swarm join --token "$(on 1 swarm join-token -q worker)" --advertise-addr 10.99.0.2 10.99.0.1:2377
t 'two hosts' 0 'host1 +Ready.*host2 +Ready' soon two_hosts
t 'a secret, a configuration' 0 '' bash -c "echo sesame | on 1 secret create word - && echo x=1 | on 1 config create setting -"
t 'ten replicas' 0 'converged' on 1 service create --name web --replicas 10 --no-resolve-image --limit-memory 32M --limit-cpu 0.5 --limit-pids 20 --stop-grace-period 1s \
    --secret word --config setting --env V=1 --update-parallelism 10 --health-cmd true --health-interval 5s --mount type=tmpfs,dst=/t,tmpfs-size=1000000 box sh -c 'while :; do sleep 1; done'
t 'on both hosts' 0 'host1 5 host2 5' long come web 'host1 5 host2 5'
for n in 1 2; do
    t "host $n: all of them ours" 0 '^5 5' soon all_ours $n
    t "host $n: limits, secret, configuration" 0 '^33554432 50000 20.sesame.x=1.1' bash -c "on $n exec \$(on $n ps -q | head -n 1) sh -c 'cd /sys/fs/cgroup; echo \$(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max); cat /run/secrets/word /setting; echo \$V'"
done
within=150 t 'thirty' 0 'converged' on 1 service scale web=30
t 'on both hosts, thirty' 0 'host1 15 host2 15' long come web 'host1 15 host2 15'
within=200 t 'a rolling update' 0 'converged' on 1 service update --env-rm V --env-add V=2 --limit-memory 48M web
within=120 t 'all are new' 0 '' long total web 30
for n in 1 2; do
    t "host $n: the new ones" 0 '^15 V=2 50331648' bash -c "for c in \$(on $n ps -q); do echo \$(on $n inspect -f '{{range .Config.Env}}{{println .}}{{end}} {{.HostConfig.Memory}}' \$c | grep -v PATH); done | sort | uniq -c | sed 's/^ *//'"
done
t 'a replica dies' 0 '' bash -c "on 1 kill \$(on 1 ps -q | head -n 1) >/dev/null; sleep 1; long total web 30"
t 'a host is killed' 0 '' kill -9 "${pid_of[2]}"
within=120 t 'its replicas come to the other' 0 'host1 30' long come web '^host1 30 $'
t 'all of them ours' 0 '^30 30' soon all_ours 1
ip link del host2 2>/dev/null
# They would not survive a real host.
find /sys/fs/cgroup/*/it-engines/host2 -depth -mindepth 1 -type d -exec rmdir {} +
host 2
within=60 t 'the host comes back' 0 'Ready' long back
within=200 t 'replicas are spread again' 0 'converged' on 1 service update --force web
t 'on both hosts, again' 0 'host2 [1-9]' long come web 'host2 [1-9]'
t 'what was there before is gone' 0 '^([0-9]+) ' soon all_ours 2
within=100 t 'the service ends' 0 'web' on 1 service rm web
for n in 1 2; do
    within=60 t "host $n: no container is left" 0 '^0' long none $n
done
# The daemons, by their first processes.
for n in 1 2; do kill "${pid_of[$n]}"; done
wait
