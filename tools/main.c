/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plyfs command: a table of verbs that also prints the help. Whatever a verb
 * returns, its output must have reached stdout: a full disk there is a failure.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sigbus.h"
#include "base/util.h"
#include "cli.h"
#include "plyfs/version.h"
#include "verbs.h"

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *operands, *about;
} verbs[] = {
#define X(name, operands, about) { #name, cmd_##name, operands, about },
	VERBS(X)
#undef X
};

static int help(void)
{
	printf("usage: plyfs VERB [OPTION]... [OPERAND]...\n\n"
	       "One image holds an operating system and its components; any selection of\n"
	       "them is mounted or laid out as one tree.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		int at = printf("  plyfs %s %s", verbs[i].name, verbs[i].operands);

		if (at > 38)
			at = printf("\n") - 1;
		printf("%*s%s\n", 40 - at, "", verbs[i].about);
	}
	printf("\nplyfs VERB --help tells a verb's options; man plyfs the rest.\n");
	return EXIT_DONE;
}

static int run(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		fprintf(stderr, "plyfs: a verb is missing; try: plyfs --help\n");
		return EXIT_USAGE;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help"))
		return help();
	if (!strcmp(name, "--version")) {
		printf("plyfs %s\n", PLYFS_VERSION);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(name, verbs[i].name))
			return verbs[i].fn(argc - 1, argv + 1);
	fprintf(stderr, "plyfs: there is no verb '%s'; try: plyfs --help\n", name);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	int code;

	signal(SIGXFSZ, SIG_IGN);          /* a file that may not grow (ulimit -f) is told as a full disk is */
	code = run(argc, argv);

	if (sigbus_faults() && code == EXIT_DONE) {
		fprintf(stderr, "plyfs: the image could not be read to its end, or was cut off meanwhile: the "
				"result is not to be trusted\n");
		code = EXIT_FAILED;
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "plyfs: cannot write to the standard output: %s\n", strerror(errno));
		code = code ? code : EXIT_FAILED;
	}
	return code;
}
