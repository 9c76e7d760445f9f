# shellcheck shell=bash
# containerd by ctr: the runc shim, pointed at our runtime.
. "$here/ctr.sh"
containerd_conf "$work/root"
# A service may be started with any.
umask=0 start_containerd
run=(ctr run --runc-binary "$runtime" --cgroup /it-engines/c)

t 'import of an image' 0 done ctr image import "$images/box.tar"
t run 0 '^hello' "${run[@]}" --rm $box a echo hello
t 'exit code' 5 '' "${run[@]}" --rm $box a sh -c 'exit 5'
t 'a command that is missing' 1 'executable file not found in \$PATH' "${run[@]}" --rm $box a nosuch
t 'with a terminal' 0 '33 77' tty ctr run -t --runc-binary "$runtime" --rm $box a sh -c "sleep 0.5; stty size"
t seccomp 0 'Seccomp:.2' "${run[@]}" --rm --seccomp $box a grep Seccomp: /proc/self/status
t umask 0 '^0022' "${run[@]}" --rm $box a sh -c umask
t 'a namespace joined' 0 '' "${run[@]}" --rm --with-ns network:/proc/self/ns/net $box a true
t 'run detached' 0 '' "${run[@]}" -d --memory-limit 60000000 $box a sleep 1000
t 'it is listed' 0 'a +[0-9]+ +RUNNING' ctr task ls
t exec 0 'sleep 1000.*ps' ctr task exec --exec-id e a ps
t 'exec as a user' 0 'uid=1000' ctr task exec --exec-id e --user 1000 a id
t 'exec: exit code' 6 '' ctr task exec --exec-id e a sh -c 'exit 6'
t 'exec: a command that is missing' 1 'executable file not found' ctr task exec --exec-id e a nosuch
t metrics 0 'memory.limit_in_bytes +59998208' ctr task metrics a
t pause 0 '' ctr task pause a
t 'it is paused' 0 'a +[0-9]+ +PAUSED' ctr task ls
t resume 0 '' ctr task resume a
t ps 0 '[0-9]+ +-' ctr task ps a
t kill 0 '' ctr task kill -s KILL a
t 'it has stopped' 0 'a +[0-9]+ +STOPPED' bash -c 'for n in $(seq 50); do ctr task ls | grep STOPPED && break; sleep 0.1; done'
t 'delete the task' 0 137 bash -c 'ctr task rm a || :'
t 'delete the container' 0 '' ctr container rm a
t 'nothing is left' 0 '^[^a]*$' bash -c 'ctr task ls -q; ctr container ls -q'
t 'out of memory' 137 '' "${run[@]}" --rm --memory-limit 20000000 $box a tail /dev/zero
same_ours=$runtime same_peer=$(command -v runc)
export same_ours same_peer
same 'the inside' ctr run --runc-binary RUNTIME --cgroup /it-engines/c --rm $box a inside
same 'the inside, of more' ctr run --runc-binary RUNTIME --cgroup /it-engines/c --rm --seccomp --cap-drop CAP_CHOWN --cap-add CAP_NET_ADMIN --cwd /tmp --env A=b \
    --memory-limit 60000000 --read-only --allow-new-privs --mount "type=bind,src=$work/files,dst=/b,options=rbind:ro" $box a inside
only=$no_caps same_peer=$here/runc-here same 'the inside, privileged' ctr run --runc-binary RUNTIME --cgroup /it-engines/c --rm --privileged $box a inside
stop_containerd
