# shellcheck shell=bash
# Steps of several files in which a container has the host's tree, or a part of it that is shared with the host.

# What a container that has the host's / at /host prints: which file it is, a file of another mount below it, and the name of
# the sandbox's process 1.
see_host="stat -c %d:%i /host; cat /host$work/files/file /host/proc/1/comm"
host_seen="^$(stat -c %d:%i /).content.$(cat /proc/1/comm)"
# On the file system of / itself, where there is no mount in between; `run` removes it with the folder around it.
shared=$(dirname "$work")/shared
mount_late="mount -t tmpfs none $shared/in && touch $shared/in/late"
unmount_late="umount $shared/in"
mount_inside='mount -t tmpfs none /s/in && touch /s/in/early'
export shared

# As a machine under systemd has it: what is mounted below / is seen wherever / is. For this sandbox only, which has a mount
# namespace of its own.
shared_root() {
    mkdir -p "$shared/in"
    mount --make-rshared /
}
private_root() {
    mount --make-rprivate /
    rm -r "$shared"
}
