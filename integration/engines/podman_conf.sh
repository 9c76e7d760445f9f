# shellcheck shell=bash
# podman_conf FOLDER MANAGER ULIMITS RUNROOT [MORE]: writes Podman's containers.conf, with MORE after what is of [engine], and
# storage.conf, with the runtime under test.
podman_conf() {
    cat >"$1/containers.conf" <<-TOML
		[containers]
		default_ulimits = [$3]
		[engine]
		cgroup_manager = "$2"
		events_logger = "file"
		infra_image = "localhost/pause"
		runtime = "$under"
		runtime_supports_json = ["$under"]
		${5-}
		[engine.runtimes]
		$under = ["$runtime"]
	TOML
    cat >"$1/storage.conf" <<-TOML
		[storage]
		driver = "overlay"
		graphroot = "$1/graph"
		runroot = "$4"
	TOML
}
