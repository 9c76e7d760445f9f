# What the inside of a container is known to have differently under runc 1.1: both forms become one. See README.md.
# Files are masked by a bind of the host's /dev/null, which is then read-only: its inode is the host's. runc binds the container's.
s/^\/null (\/proc\/[a-z_]+) .*/\1 masked/
# Folders are masked by one empty folder for all of them; runc has a tmpfs for each.
s/^\/ (\/proc\/[a-z]+|\/sys\/[a-z]+(\/block)?) ro,.* - tmpfs .*/\1 masked/
# runc makes the file system itself read-only, which for sysfs means nothing that the mount does not.
s/ - sysfs sysfs r[ow]/ - sysfs sysfs/
# The folder of the v1 hierarchies is read-only when the mount is; and has the source that config.json says.
s/ \/sys\/fs\/cgroup r[ow],(.*) - tmpfs (cgroup|tmpfs)/ \/sys\/fs\/cgroup \1 - tmpfs cgroup/
s/^(\/proc\/acpi|\/proc\/scsi|\/sys\/firmware) 0 d[rwxt-]+ 0$/\1 masked/
# runc leaves it writable.
/^\/sys\/fs\/cgroup\/x can be written$/d
# In a user namespace the queue folder belongs to its root; runc makes it before there is one.
s/( 2 0 )65534( 40 mqueue)/\10\2/
# A link to a file that is masked, and none of those that the specification names.
/ core -> \/proc\/kcore$/d
/\/dev\/core'/d
