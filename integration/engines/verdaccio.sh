# shellcheck shell=bash
# A real service: Verdaccio, the npm registry server, under Docker with our runtime, and then the same image straight from
# a bundle. Clients are npm in containers of the same image.
. "$here/dockerd.sh"
cat >daemon.json <<JSON
{"runtimes": {"$under": {"path": "$runtime"}}, "default-runtime": "$under",
 "data-root": "$work/data", "exec-root": "$work/exec", "pidfile": "$work/pid", "hosts": ["unix://$work/sock"],
 "bip": "172.31.0.1/24", "storage-driver": "overlay2", "cgroup-parent": "/it-engines"}
JSON
export kept_mounts="^$work/(data|exec/netns/default) "
start_dockerd daemon.json
within=120 t load 0 'Loaded image: verdaccio:latest' $docker load -i "$images/verdaccio.tar"

# A package to publish; another version of it for the second time.
mkdir -p package consumer
echo 'module.exports = n => n * 6;' >package/index.js
chown -R 1000:1000 package consumer
package() {
    cat >package/package.json <<JSON
{"name": "by-six", "version": "$1", "main": "index.js", "license": "MIT"}
JSON
}
answers() { curl -sf http://127.0.0.1:4873/-/ping; }
# register NAME: makes a user, and an .npmrc with what the server gave for it.
register() {
    curl -sf -X PUT -H 'content-type: application/json' -d "{\"name\": \"$1\", \"password\": \"open sesame\"}" \
        "http://127.0.0.1:4873/-/user/org.couchdb.user:$1" |
        sed -nE 's/.*"token": *"([^"]*)".*/registry=http:\/\/127.0.0.1:4873\/\n\/\/127.0.0.1:4873\/:_authToken=\1/p' >package/.npmrc
    cp package/.npmrc consumer/
    grep authToken package/.npmrc
}
# With the network of the sandbox, where the server's port is.
client() { $docker run --rm --net host -e HOME=/tmp -v "$work/package:/package" -v "$work/consumer:/consumer" -w "/$1" verdaccio "${@:2}"; }
publish() { package "$1"; client package npm publish; }
install_it() { rm -rf consumer/node_modules; client consumer npm install --no-package-lock "by-six@$1" && client consumer node -p 'require("by-six")(7)'; }
# How many hundredths of a second of CPU time a busy loop gets in two seconds; and memory that only grows: by a
# process that the kernel kills first, since else it takes the largest of the cgroup, which the registry may be.
busy='const end = Date.now() + 2000, start = process.cpuUsage(); while (Date.now() < end); const used = process.cpuUsage(start); console.log("cpu", Math.round((used.user + used.system) / 1e4), "of 200")'
grown='require("fs").writeFileSync("/proc/self/oom_score_adj", "1000"); const all = []; for (let n = 0; n < 40; n++) all.push(Buffer.alloc(16 << 20, 1)); console.log("grown")'
export -f package answers register client publish install_it
export work

t 'it starts' 0 '[0-9a-f]{64}' $docker run -d --name registry -p 4873:4873 -m 256m --memory-swap 256m --cpus 1 --pids-limit 100 -v storage:/verdaccio/storage verdaccio
t 'it answers on its port' 0 '\{\}' soon answers
t 'a user' 0 'authToken=.+' register ann
t 'npm publish' 0 '\+ by-six@1.0.0' publish 1.0.0
t 'the same version again' 1 'E409|EPUBLISHCONFLICT|already' publish 1.0.0
t 'npm install' 0 'added 1 package.*42' install_it 1.0.0
t 'npm publish without the right' 1 'E401|ENEEDAUTH|E403' bash -c 'mv package/.npmrc kept; echo "registry=http://127.0.0.1:4873/" >package/.npmrc; publish 9.9.9; code=$?; mv kept package/.npmrc; exit $code'
t 'less processor time' 0 registry $docker update --cpus 0.05 registry
t 'it is felt' 0 'cpu 1?[0-9] of' $docker exec registry node -e "$busy"
t 'it was held back' 0 '^[1-9]' $docker exec registry sh -c 'sed -n "s/nr_throttled //p" /sys/fs/cgroup/cpu/cpu.stat'
$docker update --cpus 1 registry >/dev/null
t 'its memory' 137 '^\s*$' $docker exec registry node -e "$grown"
t 'without the limit' 0 'grown' $docker run --rm verdaccio node -e "$grown"
t 'it still answers' 0 '\{\}' soon answers
t 'stats' 0 'registry .*/ 256MiB' $docker stats --no-stream registry
t 'a restart' 0 registry $docker restart -t 5 registry
t 'it answers again' 0 '\{\}' soon answers
t 'its storage is kept' 0 'added 1 package.*42' install_it 1.0.0
t 'and goes on' 0 '\+ by-six@1.1.0' publish 1.1.0
t 'a container is lost' 0 registry $docker rm -f registry
t 'another one with the volume' 0 '\{\}' bash -c "$docker run -d --name registry -p 4873:4873 --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -v storage:/verdaccio/storage verdaccio >/dev/null; soon answers"
t 'has both versions' 0 '1.0.0.*1.1.0' curl -sf http://127.0.0.1:4873/by-six
t 'ten clients at once' 0 '^10' bash -c 'for n in $(seq 10); do client consumer npm view by-six version >out.$n & done; wait; grep -l 1.1.0 out.* | wc -l'
$docker rm -f registry >/dev/null

# The same without an engine: the image's layers as a root file system, and a configuration.
mkdir -p bundle/rootfs storage
$docker create --name source verdaccio >/dev/null
$docker export source | tar -C bundle/rootfs -x
$docker rm source >/dev/null
chown 1000:1000 storage
(cd bundle && "$runtime" spec)
python3 - <<'PYTHON'
import json, os
spec = json.load(open("bundle/config.json"))
spec["process"].update(terminal=False, cwd="/verdaccio", user={"uid": 1000, "gid": 1000}, noNewPrivileges=True, rlimits=[],
                       capabilities={}, args=["verdaccio", "--config", "/verdaccio/config.yaml", "--listen", "127.0.0.1:4873"],
                       env=["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/verdaccio", "NODE_ENV=production"])
spec["root"]["readonly"] = True
spec["mounts"] += [
    {"destination": "/verdaccio/storage", "type": "bind", "source": os.path.abspath("storage"), "options": ["rbind", "rw", "nosuid", "nodev"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=16m"]}]
linux = spec["linux"]
# The network is the one this is started in.
linux["namespaces"] = [namespace for namespace in linux["namespaces"] if namespace["type"] != "network"]
linux["cgroupsPath"] = "/it-engines/registry"
linux["resources"].update(memory={"limit": 256 << 20, "swap": 256 << 20}, cpu={"quota": 100000, "period": 100000}, pids={"limit": 100})
json.dump(spec, open("bundle/config.json", "w"))
PYTHON
tare="$runtime --root $work/state"
export tare
stopped() { $tare state registry | grep -E "\"status\": \"stopped\""; }
ours() { $tare run --detach --pid-file registry.pid --bundle bundle registry >registry.log 2>&1 </dev/null; }
export -f ours stopped

t 'bundle: run' 0 '' ours
t 'bundle: it answers on its port' 0 '\{\}' soon answers
t 'bundle: a user' 0 'authToken=.+' register bob
t 'bundle: npm publish' 0 '\+ by-six@2.0.0' publish 2.0.0
t 'bundle: npm install' 0 'added 1 package.*42' install_it 2.0.0
t 'bundle: less processor time' 0 '^\s*$' $tare update --cpu-quota 5000 registry
t 'bundle: it is felt' 0 'cpu 1?[0-9] of' $tare exec registry node -e "$busy"
$tare update --cpu-quota 100000 registry
t 'bundle: its memory' 137 '^\s*$' $tare exec registry node -e "$grown"
t 'bundle: it still answers' 0 '\{\}' soon answers
t 'bundle: more memory' 0 'grown' bash -c "$tare update --memory 2147483648 --memory-swap 2147483648 registry && $tare exec registry node -e '$grown'"
t 'bundle: nothing but its storage can be written' 1 'Read-only|EROFS' $tare exec registry node -e 'require("fs").writeFileSync("/usr/x", "")'
t 'bundle: its end' 0 'stopped' bash -c "$tare kill registry KILL; soon stopped; $tare delete registry"
t 'bundle: started again' 0 '\{\}' bash -c 'ours; soon answers'
t 'bundle: its storage is kept' 0 'added 1 package.*42' install_it 2.0.0
t 'bundle: delete by force' 0 '' $tare delete --force registry
stop_dockerd pid
