/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * redo_bench FILE [N [KIND]]: what a log alone costs, without a mount. FILE is made, and removed at the end; put it on
 * the file system that is to be measured. N records (1000000) of each kind, or of one. JSON on stdout: rates a second.
 *
 *   attr       one change of attributes, 152 bytes, of 1000 inodes
 *   create     a new inode, its name, the times and nlink of its directory: 432 bytes, 1000 a directory
 *   write4k    a block of data and mtime, at random places of 1000 files of a MiB
 *   commit_T   T threads that append one change of attributes and wait until it is on the disk
 *   replay     what recovery reads again: all that was appended, from the page cache
 *   read       128 KiB of a file at a time, of what write4k wrote: all of it, after a load, so checksums are compared
 *   checkpoint, load  of the log that replay has opened, and opening it again: "count" is inodes, names and extents
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "redo/redo.h"

enum { FILES = 1000, NUMBER = PLY_REDO_NUMBER_MIN, THREADS_MAX = 16 };
#define COMMIT_SECONDS 2.0

static struct ply_err err;
static const char *path;
static unsigned long n = 1000000;
static bool first = true;

static void check(int r)
{
	if (r < 0) {
		fprintf(stderr, "redo_bench: %s\n", err.msg);
		unlink(path);
		exit(1);
	}
}

static double now(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double wall_from, cpu_from;

static void begin(void)
{
	wall_from = now(CLOCK_MONOTONIC);
	cpu_from = now(CLOCK_PROCESS_CPUTIME_ID);
}

static void end(const char *name, unsigned long count)
{
	double wall = now(CLOCK_MONOTONIC) - wall_from, cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu_from;

	printf("%s\"%s\": {\"per_s\": %.0f, \"cpu_us_each\": %.3f, \"count\": %lu}", first ? "" : ",\n ", name,
	       (double)count / wall, cpu * 1e6 / (double)count, count);
	first = false;
}

static void end_of(const char *what, const char *of, unsigned long count)
{
	char name[32];

	snprintf(name, sizeof(name), "%s_%s", what, of);
	end(name, count);
}

static uint64_t roll(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng >> 16;
}

static struct redo *open_log(void)
{
	struct redo_store *s;
	struct redo *log;

	check(redo_store_open(path, REDO_WRITE, &s, &err));
	check(redo_open(s, REDO_WRITE, &log, &err));
	return log;
}

static const struct redo_attr some = { .mode = S_IFREG | 0644, .nlink = 1, .mtime_sec = 1700000000 };

static void set_times(struct redo_op *op, uint64_t ino, uint64_t k)
{
	struct redo_attr a = some;

	a.mtime_sec += (int64_t)k;
	a.ctime_sec = a.mtime_sec;
	redo_op_attr(op, ino, PLY_REDO_A_MTIME | PLY_REDO_A_CTIME, &a);
}

static void append(struct redo *log, struct redo_op *op, uint64_t *lsn)
{
	check(redo_append(log, op, lsn, &err));
	redo_op_done(op);
}

static void attrs(struct redo *log)
{
	for (unsigned long k = 0; k < n; k++) {
		struct redo_op op;

		redo_op_init(&op, k);
		set_times(&op, k % FILES + 1, k);
		append(log, &op, NULL);
	}
}

static void creates(struct redo *log)
{
	for (unsigned long k = 0; k < n; k++) {
		uint64_t ino, dir = FILES + 1 + k / 1000;
		struct redo_op op;
		char name[24];
		int len = snprintf(name, sizeof(name), "file-%lu", k);

		redo_op_init(&op, k);
		check(redo_new_ino(log, &ino, &err));
		redo_op_new(&op, ino, &some, NULL, 0);
		redo_op_add(&op, dir, name, (size_t)len, ino, 8);
		set_times(&op, dir, k);
		append(log, &op, NULL);
	}
}

static void writes(struct redo *log)
{
	static uint8_t block[4096];
	uint64_t rng = 88172645463325252ull;

	for (unsigned long k = 0; k < n / 4; k++) {
		uint64_t ino = roll(&rng) % FILES + 1, off = roll(&rng) % 256 * sizeof(block);
		struct redo_op op;

		memcpy(block, &k, sizeof(k));
		redo_op_init(&op, k);
		check(redo_op_write(log, &op, ino, off, block, sizeof(block), 1 << 20, &err));
		set_times(&op, ino, k);
		append(log, &op, NULL);
	}
}

struct committer {
	pthread_t thread;
	struct redo *log;
	unsigned number;
	unsigned long count;
	double until;
};

static void *commit(void *arg)
{
	struct committer *c = arg;

	for (; now(CLOCK_MONOTONIC) < c->until; c->count++) {
		struct redo_op op;
		uint64_t lsn;

		redo_op_init(&op, 0);
		set_times(&op, c->number + 1, c->count);
		append(c->log, &op, &lsn);
		check(redo_commit(c->log, lsn, &err));
	}
	return NULL;
}

static void commits(struct redo *log, unsigned nthreads)
{
	struct committer c[THREADS_MAX] = { 0 };
	unsigned long count = 0;
	char name[24];

	for (int k = 0; k < 4; k++)
		check(redo_prepare(log, &err));
	check(redo_commit(log, REDO_ALL, &err));
	begin();
	for (unsigned k = 0; k < nthreads; k++) {
		c[k].log = log;
		c[k].number = k;
		c[k].until = wall_from + COMMIT_SECONDS;
		if (pthread_create(&c[k].thread, NULL, commit, &c[k]))
			exit(1);
	}
	for (unsigned k = 0; k < nthreads; k++) {
		pthread_join(c[k].thread, NULL);
		count += c[k].count;
	}
	snprintf(name, sizeof(name), "commit_%u", nthreads);
	end(name, count);
}

static int no_below(void *ctx, uint64_t ino, uint64_t off, void *buf, size_t len, struct ply_err *e)
{
	(void)ctx, (void)ino, (void)off, (void)e;
	memset(buf, 0, len);
	return 0;
}

static void reads(struct redo *log)
{
	static uint8_t buf[128 << 10];

	begin();
	for (uint64_t k = 0; k < FILES * 8; k++)
		check(redo_read(log, k / 8 + 1, k % 8 * sizeof(buf), buf, sizeof(buf), no_below, NULL, &err));
	end("read", FILES * 8);
}

static void replay(const char *of)
{
	struct redo_info info;
	struct redo *log;

	begin();
	log = open_log();
	redo_info(log, &info);
	end_of("replay", of, info.records);
	begin();
	check(redo_checkpoint(log, &err));
	end_of("checkpoint", of, info.inodes + info.entries + info.extents);
	redo_abandon(log);
	begin();
	log = open_log();
	redo_info(log, &info);
	end_of("load", of, info.inodes + info.entries + info.extents);
	if (info.extents)
		reads(log);
	redo_abandon(log);
}

static struct redo *new_log(void)
{
	const struct redo_binding b = { .number = NUMBER, .parent_generation = 1, .path = "" };

	unlink(path);
	check(redo_create(path, &b, &err));
	return open_log();
}

static void appends(const char *name, void (*what)(struct redo *log), unsigned long count)
{
	struct redo *log = new_log();
	begin();
	what(log);
	end(name, count);
	check(redo_commit(log, REDO_ALL, &err));
	redo_abandon(log);
	replay(name);
}

static bool wanted(const char *only, const char *name)
{
	return !only || strcmp(only, name) == 0;
}

int main(int argc, char **argv)
{
	const char *only = argc == 4 ? argv[3] : NULL;
	char *rest = NULL;

	if (argc > 2)
		n = strtoul(argv[2], &rest, 10);
	if (argc < 2 || argc > 4 || n < 4 || (rest && *rest)) {
		fprintf(stderr, "usage: redo_bench FILE [N [attr|create|write4k|commit]]\n");
		return 2;
	}
	path = argv[1];
	printf("{");
	if (wanted(only, "attr"))
		appends("attr", attrs, n);
	if (wanted(only, "create"))
		appends("create", creates, n);
	if (wanted(only, "write4k"))
		appends("write4k", writes, n / 4);
	if (wanted(only, "commit")) {
		struct redo *log = new_log();

		n = 10000;         /* from a MiB on zeros are written ahead */
		attrs(log);
		commits(log, 1);
		commits(log, THREADS_MAX);
		redo_abandon(log);
	}
	printf("}\n");
	unlink(path);
	return fflush(stdout) == 0 ? 0 : 1;
}
