/* The floor: what the kernel itself costs for one `run` of a bundle that `tare spec` wrote, and nothing else.
 *
 *     floor CGROUP_ROOT ROOTFS COMMAND ARG…
 *
 * No config.json is read and no state is kept; nothing is checked, no path is resolved safely, no descriptor is
 * protected, and no error is explained. What is left is what the configuration asks of the kernel, in the fewest
 * calls that do it: clone3 with the namespaces, the default mounts and devices, the device rules, pivot_root, masked and
 * read-only paths, capabilities, rlimits, a cgroup, exec, wait, and rmdir. On v1, CGROUP_ROOT is the folder with one
 * mount point for each hierarchy, all of which are joined by `tasks`, and each of which is mounted inside; on v2 it is the
 * mount point.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        _exit(99);
    }
}

#define MUST(call) must((long)(call), #call)

static char groups[16][512];
static int group_count;
static int is_v2;

static void put(const char *group, const char *file, const char *value)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/%s", group, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    MUST(fd);
    MUST(write(fd, value, strlen(value)));
    close(fd);
}

static void join(const char *group)
{
    char path[600];
    snprintf(path, sizeof(path), "%.511s/tasks", group);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* a v2 hierarchy beside v1 has no such file */
    MUST(write(fd, "0", 1));
    close(fd);
}

/* A v1 cpuset begins empty, and lets nobody in. */
static void inherit(const char *group, const char *file)
{
    char path[600], value[4096];
    snprintf(path, sizeof(path), "%.*s/%s", (int)(strrchr(group, '/') - group), group, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    MUST(fd);
    ssize_t length = read(fd, value, sizeof(value) - 1);
    MUST(length);
    close(fd);
    value[length] = 0;
    put(group, file, value);
}

/* The default rules in the words of v1. */
static void device_lines(const char *group)
{
    static const char *const allowed[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:8 rwm", "c 1:7 rwm", "c 5:0 rwm",
        "c 1:5 rwm", "c 1:9 rwm", "c 136:* rwm", "c 5:2 rwm", "c 10:200 rwm"};
    char path[600];
    put(group, "devices.deny", "a");
    snprintf(path, sizeof(path), "%s/devices.allow", group);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    MUST(fd);
    for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++)
        MUST(write(fd, allowed[i], strlen(allowed[i])));
    close(fd);
}

/* The container's own cgroups, read-only. */
static void cgroup_mount(void)
{
    const int ro = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
    if (is_v2) {
        MUST(mount(groups[0], "sys/fs/cgroup", NULL, MS_BIND, NULL));
        MUST(mount(NULL, "sys/fs/cgroup", NULL, MS_BIND | MS_REMOUNT | ro, NULL));
        return;
    }
    MUST(mount("cgroup", "sys/fs/cgroup", "tmpfs", ro & ~MS_RDONLY, "mode=755"));
    for (int i = 0; i < group_count; i++) {
        char path[600];
        const char *end = strrchr(groups[i], '/');
        const char *name = memrchr(groups[i], '/', end - groups[i]);
        snprintf(path, sizeof(path), "sys/fs/cgroup%.*s", (int)(end - name), name);
        MUST(mkdir(path, 0755));
        MUST(mount(groups[i], path, NULL, MS_BIND, NULL));
        MUST(mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | ro, NULL));
    }
    MUST(mount(NULL, "sys/fs/cgroup", NULL, MS_BIND | MS_REMOUNT | ro, NULL));
}

/* A filter that allows what the default rules allow: mknod of all, and the six devices, ptmx and pts. */
static int device_filter(void)
{
#define LOAD(dst, off) {BPF_LDX | BPF_MEM | BPF_W, dst, 1, off, 0}
#define JEQ(reg, imm, jump) {BPF_JMP | BPF_JEQ | BPF_K, reg, 0, jump, imm}
#define RETURN(value) {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, value}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}
    struct bpf_insn program[] = {
        LOAD(2, 0),                                      /* access << 16 | type */
        {BPF_ALU | BPF_MOV | BPF_X, 3, 2, 0, 0},
        {BPF_ALU | BPF_AND | BPF_K, 2, 0, 0, 0xffff},
        {BPF_ALU | BPF_RSH | BPF_K, 3, 0, 0, 16},
        LOAD(4, 4),                                      /* major */
        LOAD(5, 8),                                      /* minor */
        JEQ(3, BPF_DEVCG_ACC_MKNOD, 14),
        JEQ(2, BPF_DEVCG_DEV_CHAR, 1),
        {BPF_JMP | BPF_JA, 0, 0, 10, 0},
        JEQ(4, 136, 11),
        JEQ(4, 5, 5),
        {BPF_JMP | BPF_JNE | BPF_K, 4, 0, 7, 1},
        JEQ(5, 3, 8), JEQ(5, 5, 7), JEQ(5, 7, 6), JEQ(5, 8, 5),
        JEQ(5, 9, 4),
        JEQ(5, 0, 3), JEQ(5, 2, 2),
        RETURN(0),
        RETURN(1),
    };
    union bpf_attr load = {
        .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
        .insns = (uintptr_t)program,
        .insn_cnt = sizeof(program) / sizeof(*program),
        .license = (uintptr_t)"GPL",
    };
    return syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
}

static void inside(const char *rootfs, char **command)
{
    static const char *const masked[] = {
        "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
        "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"};
    static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    static const struct { const char *path; int major, minor; } devices[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9},
        {"dev/tty", 5, 0}};
    static const char *const links[][2] = {
        {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
        {"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"}};
    const int nsx = MS_NOSUID | MS_NOEXEC;

    setsid();
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK};
    MUST(ioctl(socket_fd, SIOCSIFFLAGS, &lo));
    MUST(sethostname("floor", 5));
    umask(0);
    MUST(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
    MUST(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL));
    MUST(chdir(rootfs));
    MUST(mount("proc", "proc", "proc", 0, NULL));
    MUST(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    MUST(mkdir("dev/pts", 0755));
    MUST(mount("devpts", "dev/pts", "devpts", nsx, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    MUST(mkdir("dev/shm", 0755));
    MUST(mount("shm", "dev/shm", "tmpfs", nsx | MS_NODEV, "mode=1777,size=65536k"));
    MUST(mkdir("dev/mqueue", 0755));
    MUST(mount("mqueue", "dev/mqueue", "mqueue", nsx | MS_NODEV, NULL));
    MUST(mount("sysfs", "sys", "sysfs", nsx | MS_NODEV | MS_RDONLY, NULL));
    cgroup_mount();
    for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++)
        MUST(mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)));
    for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
        MUST(symlink(links[i][0], links[i][1]));
    MUST(syscall(SYS_pivot_root, ".", "."));
    MUST(umount2(".", MNT_DETACH));
    MUST(chdir("/"));
    for (size_t i = 0; i < sizeof(read_only) / sizeof(*read_only); i++)
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) == 0)
            MUST(mount(NULL, read_only[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL));
    for (size_t i = 0; i < sizeof(masked) / sizeof(*masked); i++) {
        struct stat st;
        if (stat(masked[i], &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            MUST(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "size=0k"));
        else
            MUST(mount("/dev/null", masked[i], NULL, MS_BIND, NULL));
    }
    MUST(mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL));
    struct rlimit files = {1024, 1024};
    MUST(setrlimit(RLIMIT_NOFILE, &files));
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    const uint32_t keep = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (cap > 31 || !(keep >> cap & 1))
            prctl(PR_CAPBSET_DROP, cap);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{keep, keep, 0}};
    MUST(syscall(SYS_capset, &header, data));
    char *env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", NULL};
    execve(command[0], command, env);
    _exit(127);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET,
        .exit_signal = SIGCHLD,
    };
    struct statfs fs;
    MUST(statfs(argv[1], &fs));
    is_v2 = fs.f_type == CGROUP2_SUPER_MAGIC;
    if (is_v2) {
        snprintf(groups[group_count++], sizeof(*groups), "%s/floor-%d", argv[1], getpid());
        MUST(mkdir(groups[0], 0755));
        int group = open(groups[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
        int filter = device_filter();
        must(filter, "bpf");
        union bpf_attr attach = {
            .target_fd = group,
            .attach_bpf_fd = filter,
            .attach_type = BPF_CGROUP_DEVICE,
            .attach_flags = BPF_F_ALLOW_MULTI,
        };
        MUST(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)));
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group;
    } else {
        DIR *mounts = opendir(argv[1]);
        struct dirent *entry;
        while ((entry = readdir(mounts)) != NULL) {
            char *group = groups[group_count];
            if (entry->d_name[0] == '.' || entry->d_type == DT_LNK)
                continue;
            snprintf(group, sizeof(*groups), "%s/%s/floor-%d", argv[1], entry->d_name, getpid());
            if (mkdir(group, 0755) != 0)
                continue;
            group_count++;
            if (strcmp(entry->d_name, "devices") == 0)
                device_lines(group);
            if (strcmp(entry->d_name, "cpuset") == 0) {
                inherit(group, "cpuset.cpus");
                inherit(group, "cpuset.mems");
            }
        }
        closedir(mounts);
    }
    pid_t child = syscall(SYS_clone3, &args, sizeof(args));
    must(child, "clone3");
    if (child == 0) {
        for (int i = 0; i < group_count && !is_v2; i++)
            join(groups[i]);
        inside(argv[2], argv + 3);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    for (int i = 0; i < group_count; i++)
        MUST(rmdir(groups[i]));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
