// steps OUT COMMAND…: runs the command one instruction at a time, and what it clones, until that executes another program.
// OUT gets a line for each place in the program's file that was executed: "0 OFFSET" for the command, "1 OFFSET" for the clones.
#define _GNU_SOURCE
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST (16UL << 20)
static unsigned char seen[2][MOST];

// Where the program begins in memory: the first mapping of a file. (Its name says nothing: tare executes itself through a
// mount that is nowhere.)
static unsigned long base(pid_t pid) {
    char path[64], line[4096];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "r");
    unsigned long start = 0, inode = 0;
    while (maps && !inode && fgets(line, sizeof line, maps))
        sscanf(line, "%lx-%*x %*s %*x %*s %lu", &start, &inode);
    if (maps) fclose(maps);
    return start;
}

int main(int argc, char **argv) {
    if (argc < 3) errx(2, "steps OUT COMMAND…");
    pid_t first = fork();
    if (first == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(argv[2], argv + 2);
        err(127, "%s", argv[2]);
    }
    int status, code = 1;
    waitpid(first, &status, 0);
    long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    ptrace(PTRACE_SETOPTIONS, first, 0, options);
    unsigned long start = base(first);
    ptrace(PTRACE_SINGLESTEP, first, 0, 0);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid != first) continue;
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
            break;
        }
        int event = status >> 16, signal = WSTOPSIG(status);
        if (event == PTRACE_EVENT_EXEC && pid != first) {
            ptrace(PTRACE_DETACH, pid, 0, 0);
            continue;
        }
        if (event == PTRACE_EVENT_EXEC) start = base(pid);
        struct user_regs_struct regs;
        if (ptrace(PTRACE_GETREGS, pid, 0, &regs) == 0 && regs.rip - start < MOST) seen[pid != first][regs.rip - start] = 1;
        ptrace(PTRACE_SINGLESTEP, pid, 0, signal == SIGTRAP || signal == SIGSTOP || event ? 0 : signal);
    }
    FILE *out = fopen(argv[1], "w");
    if (!out) err(1, "%s", argv[1]);
    for (int clone = 0; clone < 2; clone++)
        for (unsigned long at = 0; at < MOST; at++)
            if (seen[clone][at]) fprintf(out, "%d %lx\n", clone, at);
    return fclose(out) ? 1 : code;
}
