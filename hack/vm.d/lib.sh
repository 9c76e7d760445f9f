# shellcheck shell=bash
# What hack/vm and its builders share. Sourced, with the repository as the working directory.
cache=${VM_CACHE:-$PWD/.cache/vm}

die() {
    echo "hack/vm: $*" >&2
    exit 125
}

# The Debian archive that this machine's own apt uses, whatever its name.
mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
    [ -n "$uri" ] || die 'no Debian archive in the sources of apt'
    echo "$uri"
}

# key WORDS FILE…: names a thing by all that it is made of: the words, and the programs of this folder that make it.
key() {
    { echo "$1"; cd hack/vm.d && cat "${@:2}"; } | sha256sum | cut -c 1-12
}

# cached PATH BUILDER ARG…: makes PATH by `BUILDER ARG… NEW`, unless it is there. Two callers at once make it once, and
# what is half made never has the name. The builder's working folder goes with it, however it ends.
cached() {
    local path=$1 new=$1.new
    shift
    [ ! -e "$path" ] || return 0
    mkdir -p "$cache"
    (
        flock 9
        [ ! -e "$path" ] || exit 0
        trap 'rm -rf "$new"' EXIT
        trap 'exit 130' INT TERM HUP
        rm -rf "$new"
        # A private mount namespace: what a builder mounts ends with it.
        unshare --mount --propagation private "$@" "$new" >&2 9>&- || exit
        mv "$new" "$path"
    ) 9>"$path.lock" || die "could not make ${path##*/}"
    rm -f "$path.lock"
}
