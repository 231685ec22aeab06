/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * many DIR N: a tree of N small files in DIR, which must exist: 200 a directory, names of 19 bytes,
 * 30 bytes each, no two equal, one owner, one time. The same N gives the same tree.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PER_DIR 200

static const struct timespec times[2] = { { .tv_sec = 1700000000 }, { .tv_sec = 1700000000 } };

static int fail(const char *what)
{
	fprintf(stderr, "many: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	char *end = NULL, name[32], body[32];
	unsigned long n = argc == 3 ? strtoul(argv[2], &end, 10) : 0;
	int top, dir = -1, fd;

	if (n == 0 || *end || n > 2000000000UL) {
		fprintf(stderr, "usage: many DIR N\n");
		return 2;
	}
	top = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return fail(argv[1]);
	for (unsigned long i = 0; i < n; i++) {
		if (i % PER_DIR == 0) {
			if (dir >= 0 && (futimens(dir, times) < 0 || close(dir) < 0))
				return fail(name);
			snprintf(name, sizeof(name), "directory-%09lu", i / PER_DIR);
			if (mkdirat(top, name, 0755) < 0)
				return fail(name);
			dir = openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (dir < 0)
				return fail(name);
		}
		snprintf(name, sizeof(name), "file-%014lu", i);
		snprintf(body, sizeof(body), "body of file number %010lu", i);
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, body, 30) != 30 || futimens(fd, times) < 0 || close(fd) < 0)
			return fail(name);
	}
	if (futimens(dir, times) < 0 || futimens(top, times) < 0)
		return fail(argv[1]);
	return 0;
}
