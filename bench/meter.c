/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * meter OUT PATH COMMAND...: runs a command, and writes what it cost to OUT, as JSON.
 *
 * A program of its own, since a child begins with the peak memory of whoever forked it: from
 * Python each tool would seem to need Python's 13 MiB. CPU seconds and peak memory are those of
 * the command and of what it waited for; the peak is that of the largest process, not their sum.
 * PATH, unless it is "-", is looked up when the command has ended: mount commands, until the
 * first answer. The exit code is the command's, 127 where there was none.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

int main(int argc, char **argv)
{
	struct rusage used;
	struct stat st;
	double from, wall;
	int status, code;
	pid_t pid;
	FILE *out;

	if (argc < 4) {
		fprintf(stderr, "usage: meter OUT PATH COMMAND...\n");
		return 2;
	}
	from = now();
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);  /* an interrupted bench leaves nothing running */
		execvp(argv[3], argv + 3);
		fprintf(stderr, "%s: %s\n", argv[3], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &used) < 0) {
		fprintf(stderr, "meter: %s\n", strerror(errno));
		return 127;
	}
	code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (code == 0 && strcmp(argv[2], "-") != 0 && lstat(argv[2], &st) < 0) {
		fprintf(stderr, "%s: %s\n", argv[2], strerror(errno));
		code = 1;
	}
	wall = now() - from;
	out = fopen(argv[1], "w");
	if (!out || fprintf(out, "{\"wall_s\": %.9f, \"cpu_s\": %.6f, \"peak_kib\": %ld}\n", wall,
			    seconds(used.ru_utime) + seconds(used.ru_stime), used.ru_maxrss) < 0 ||
	    fclose(out) != 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 127;
	}
	return code;
}
