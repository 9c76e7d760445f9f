/* A stop watch for commands: what is timed is a process from vfork to wait, and nothing of an interpreter's.
 *
 *     lap [-r ROUNDS] [-w WARM_UP] [-g GAP_US] [-p COPIES] -- NAME COMMAND ARG… [: COMMAND ARG…]… [:: NAME COMMAND…]…
 *
 * A case (`::` lies between two) has a name and one step or more (`:` lies between two, or `:wait`). Each round does every case once, in
 * an order drawn anew, so that a slow moment of the machine, and what one case leaves for the next, meet all of them alike.
 * Before each case it sleeps for GAP_US, since the kernel takes the namespaces and cgroups of a container down when its
 * processes have long been waited for. With -p, COPIES of each step run at once, `{}` in their arguments being the copy's number.
 *
 * Writes a line of JSON for each case in each round but the first WARM_UP ones, when all is done:
 *     {"case": NAME, "wall_ns": [of each step], "cpu_us": [of each step, user and system], "maxrss_kb": the most of any process}
 *
 * It is the reaper of what the steps leave behind, as an engine's shim is. At `:wait` it waits, and does not count the time, until
 * all of that has ended (a container cannot be deleted before); after 5 s that is an error.
 * A step that fails ends it all with exit code 1; its words are on stderr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CASES = 64, MAX_STEPS = 8, MAX_COPIES = 256 };

struct step {
    char **copies[MAX_COPIES]; /* the arguments of each copy */
    int after_orphans;         /* whether it waits for those of the steps before */
};

struct lap_case {
    const char *name;
    struct step steps[MAX_STEPS];
    int step_count;
};

struct sample {
    int64_t wall_ns[MAX_STEPS];
    int64_t cpu_us[MAX_STEPS];
    long maxrss_kb;
};

static struct lap_case cases[MAX_CASES];
static int case_count, rounds = 100, warm_up = 10, gap_us = 8000, copies = 1;

static void fail(const char *what)
{
    fprintf(stderr, "lap: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void misuse(const char *what)
{
    fprintf(stderr, "lap: %s\n", what);
    exit(2);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* `text` with every `{}` replaced by `number`. */
static char *numbered(const char *text, int number)
{
    char *result = NULL;
    size_t size;
    FILE *out = open_memstream(&result, &size);
    if (!out)
        fail("memory");
    for (const char *hole; (hole = strstr(text, "{}")); text = hole + 2)
        fprintf(out, "%.*s%d", (int)(hole - text), text, number);
    fputs(text, out);
    fclose(out);
    return result;
}

static void add_step(struct lap_case *to, int after_orphans, char **args, int count)
{
    if (count == 0)
        misuse("a step without a command");
    if (to->step_count == MAX_STEPS)
        misuse("too many steps");
    struct step *step = &to->steps[to->step_count++];
    step->after_orphans = after_orphans;
    for (int copy = 0; copy < copies; copy++) {
        step->copies[copy] = calloc(count + 1, sizeof(char *));
        for (int i = 0; i < count; i++)
            step->copies[copy][i] = numbered(args[i], copy);
    }
}

static void read_cases(char **args, int count)
{
    for (int i = 0; i < count;) {
        if (case_count == MAX_CASES)
            misuse("too many cases");
        struct lap_case *to = &cases[case_count++];
        to->name = args[i++];
        for (int start = i, after_orphans = 0;; i++) {
            if (i < count && strcmp(args[i], ":") && strcmp(args[i], ":wait") && strcmp(args[i], "::"))
                continue;
            add_step(to, after_orphans, args + start, i - start);
            if (i == count)
                return;
            start = i + 1;
            after_orphans = !strcmp(args[i], ":wait");
            if (!strcmp(args[i], "::"))
                break;
        }
        i++;
    }
}

static pid_t start(char **args)
{
    pid_t pid = vfork();
    if (pid < 0)
        fail("vfork");
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, 0);
        dup2(null, 1);
        execv(args[0], args);
        _exit(127);
    }
    return pid;
}

/* Waits until no child is left. */
static void wait_for_orphans(const struct lap_case *of)
{
    for (int64_t end = now_ns() + 5000000000LL;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0)
            return;
        if (pid > 0)
            continue;
        if (now_ns() > end) {
            fprintf(stderr, "lap: %s: a process that was left behind does not end\n", of->name);
            exit(1);
        }
        usleep(100);
    }
}

/* Runs every copy of a step at once, and waits for them; orphans that end meanwhile are reaped like by any init. */
static void run_step(const struct lap_case *of, int index, struct sample *sample)
{
    const struct step *step = &of->steps[index];
    pid_t pids[MAX_COPIES];
    int left = copies, failed = 0;
    if (step->after_orphans)
        wait_for_orphans(of);
    int64_t begin = now_ns();
    for (int i = 0; i < copies; i++)
        pids[i] = start(step->copies[i]);
    while (left > 0) {
        int status;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, 0, &usage);
        if (pid < 0)
            fail("wait4");
        for (int i = 0; i < copies; i++) {
            if (pids[i] != pid)
                continue;
            left--;
            failed = status ? status : failed;
            sample->cpu_us[index] += (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000LL +
                                     usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
            if (usage.ru_maxrss > sample->maxrss_kb)
                sample->maxrss_kb = usage.ru_maxrss;
        }
    }
    sample->wall_ns[index] = now_ns() - begin;
    if (failed) {
        fprintf(stderr, "lap: %s: step %d: status 0x%x\n", of->name, index, failed);
        exit(1);
    }
}

static void print(const struct lap_case *of, const struct sample *sample)
{
    printf("{\"case\": \"%s\", \"wall_ns\": [", of->name);
    for (int i = 0; i < of->step_count; i++)
        printf("%s%lld", i ? ", " : "", (long long)sample->wall_ns[i]);
    printf("], \"cpu_us\": [");
    for (int i = 0; i < of->step_count; i++)
        printf("%s%lld", i ? ", " : "", (long long)sample->cpu_us[i]);
    printf("], \"maxrss_kb\": %ld}\n", sample->maxrss_kb);
}

int main(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "r:w:g:p:")) != -1;) {
        int value = option == '?' ? 0 : atoi(optarg);
        switch (option) {
        case 'r': rounds = value; break;
        case 'w': warm_up = value; break;
        case 'g': gap_us = value; break;
        case 'p': copies = value; break;
        default: return 2;
        }
    }
    if (rounds < 1 || warm_up < 0 || copies < 1 || copies > MAX_COPIES)
        misuse("a number is out of range");
    read_cases(argv + optind, argc - optind);
    if (case_count == 0)
        misuse("no case");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1))
        fail("become a subreaper");
    struct sample *samples = calloc((size_t)rounds * case_count, sizeof(*samples));
    int order[MAX_CASES];
    for (int i = 0; i < case_count; i++)
        order[i] = i;
    srandom(1); /* drawn, and yet the same each time */
    for (int round = -warm_up; round < rounds; round++) {
        for (int i = case_count - 1; i > 0; i--) {
            int other = random() % (i + 1), kept = order[i];
            order[i] = order[other];
            order[other] = kept;
        }
        for (int i = 0; i < case_count; i++) {
            struct sample spare = {0};
            struct sample *sample = round < 0 ? &spare : &samples[(size_t)round * case_count + order[i]];
            struct lap_case *now = &cases[order[i]];
            usleep(gap_us);
            for (int step = 0; step < now->step_count; step++)
                run_step(now, step, sample);
        }
    }
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < case_count; i++)
            print(&cases[i], &samples[(size_t)round * case_count + i]);
    return 0;
}
