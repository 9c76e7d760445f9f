# shellcheck shell=bash
# containerd, as the steps of several files use it.
export CONTAINERD_ADDRESS=$work/containerd.sock
box=docker.io/library/box:latest

# containerd_conf ROOT: writes config.toml, without Kubernetes' plugin.
containerd_conf() {
    cat >config.toml <<-TOML
		version = 2
		root = "$1"
		state = "$work/state"
		oom_score = 0
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
		[grpc]
		address = "$CONTAINERD_ADDRESS"
	TOML
}
start_containerd() {
    (umask "${umask-0022}" && exec containerd --config config.toml >containerd.log 2>&1) &
    containerd=$!
    until_ok ctr version
}
stop_containerd() {
    kill $containerd
    wait $containerd || :
}
