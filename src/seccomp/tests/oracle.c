/* The test oracle: builds a filter with libseccomp from a list of rules on stdin, as runc does, and writes it to stdout.
 *
 *   default ACTION            first line, the SECCOMP_RET_* value in hex
 *   only                      take the native architecture out
 *   arch TOKEN                add an architecture, libseccomp's token in hex
 *   rule ACTION NAME [ARG OP A B]...
 *
 * Exit status 3: libseccomp refused a rule. With "numbers TOKEN...", reads names and prints the numbers of each.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int numbers(int argc, char **argv)
{
	char name[128];

	while (scanf("%127s", name) == 1) {
		printf("%s", name);
		for (int i = 2; i < argc; i++)
			printf(" %d", seccomp_syscall_resolve_name_arch(strtoul(argv[i], NULL, 16), name));
		puts("");
	}
	return 0;
}

int main(int argc, char **argv)
{
	static char line[4096];
	scmp_filter_ctx ctx = NULL;
	uint32_t base = 0;

	if (argc > 1 && !strcmp(argv[1], "numbers"))
		return numbers(argc, argv);
	while (fgets(line, sizeof(line), stdin)) {
		char *word = strtok(line, " \n");
		if (!word)
			continue;
		if (!strcmp(word, "default")) {
			base = strtoul(strtok(NULL, " \n"), NULL, 16);
			ctx = seccomp_init(base);
			if (!ctx)
				return 2;
		} else if (!strcmp(word, "only")) {
			if (seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE))
				return 2;
		} else if (!strcmp(word, "arch")) {
			int rc = seccomp_arch_add(ctx, strtoul(strtok(NULL, " \n"), NULL, 16));
			if (rc && rc != -EEXIST)
				return 2;
		} else if (!strcmp(word, "rule")) {
			uint32_t action = strtoul(strtok(NULL, " \n"), NULL, 16);
			int nr = seccomp_syscall_resolve_name(strtok(NULL, " \n"));
			struct scmp_arg_cmp args[6];
			unsigned int n = 0;
			char *arg;

			while ((arg = strtok(NULL, " \n"))) {
				args[n].arg = atoi(arg);
				args[n].op = atoi(strtok(NULL, " \n"));
				args[n].datum_a = strtoull(strtok(NULL, " \n"), NULL, 0);
				args[n].datum_b = strtoull(strtok(NULL, " \n"), NULL, 0);
				n++;
			}
			if (action == base || nr == __NR_SCMP_ERROR)
				continue;
			if (seccomp_rule_add_array(ctx, action, nr, n, args))
				return 3;
		} else {
			return 2;
		}
	}
	return ctx && !seccomp_export_bpf(ctx, 1) ? 0 : 2;
}
