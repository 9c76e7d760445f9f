# shellcheck shell=bash
# containerd as Kubernetes uses it: by its container runtime interface, with our runtime as the default handler. cri.py is
# the kubelet's part.
mkdir -p cni shared
mount -t tmpfs -o mode=0777 tmpfs shared
mount --make-shared shared
own_mounts=$(mounts)
cat >cni/10-bridge.conflist <<'JSON'
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/24"}]]}},
    {"type": "loopback"}]}
JSON
. "$here/ctr.sh"
cat >config.toml <<TOML
version = 2
root = "$work/root"
state = "$work/state"
oom_score = 0
[grpc]
address = "$CONTAINERD_ADDRESS"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/library/pause:latest"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$work/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "$under"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.$under]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.$under.options]
BinaryName = "$runtime"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.peer]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.peer.options]
BinaryName = "$(command -v runc)"
TOML
PATH=$work:$PATH start_containerd
for image in box pause; do ctr -n k8s.io image import "$images/$image.tar" >/dev/null; done
export RUNTIME=$runtime NO_CAPS=$no_caps DIFFERENCES=$here/differences.sed
PYTHONPATH=$images/cri "$images/cri/python/bin/python" "$here/cri.py" "unix://$CONTAINERD_ADDRESS" "$work"
export kept_mounts="^$work/(root|state)"
stop_containerd
