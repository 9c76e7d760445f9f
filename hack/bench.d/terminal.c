/* terminal COMMAND…: runs a command in a terminal of its own, passes on what it writes there, and ends as it does. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (argc < 2 || master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return 125;
    pid_t child = fork();
    if (child == 0) {
        setsid();
        int slave = open(ptsname(master), O_RDWR);
        if (slave < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
            _exit(125);
        for (int fd = 0; fd < 3; fd++)
            dup2(slave, fd);
        if (slave > 2)
            close(slave);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    char buffer[4096];
    ssize_t length;
    /* Its end is an error: the last process has closed the terminal. */
    while ((length = read(master, buffer, sizeof(buffer))) > 0)
        if (write(1, buffer, length) < 0)
            break;
    int status;
    if (waitpid(child, &status, 0) < 0)
        return 125;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
