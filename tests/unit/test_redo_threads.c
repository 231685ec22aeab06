/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many at once: threads that make files, write, overwrite and commit, while others read, make checkpoints, which clean
 * segments, and write zeros ahead.
 * What was acknowledged to any of them is on the disk, and a sync serves all who wait. To be run with the thread
 * sanitizer, too.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "redo_disk.h"
#include "redo_model.h"
#include "tap.h"

enum { THREADS = 8, FILES = 25 };

struct worker {
	pthread_t thread;
	struct redo *log;
	unsigned number;
	uint64_t ino[FILES];
	int acked;                 /* files */
	const char *failed;
};

static struct ply_err err;
static atomic_bool over;

static int name_of(char name[32], unsigned worker, int file)
{
	return snprintf(name, 32, "w%u-%d", worker, file);
}

static int write_file(struct worker *w, struct redo_op *op, int k)
{
	uint8_t data[5000];

	memset(data, (int)(w->number * 16 + (unsigned)k), sizeof(data));
	return redo_op_write(w->log, op, w->ino[k], 100, data, sizeof(data), 5100, NULL);
}

/* The same bytes elsewhere. */
static const char *overwrite(struct worker *w, int k)
{
	struct redo_op op _cleanup_redo_op_;

	redo_op_init(&op, 0);
	if (write_file(w, &op, k) < 0)
		return "overwrite";
	return redo_append(w->log, &op, NULL, NULL) < 0 ? "append of an overwrite" : NULL;
}

static const char *make_file(struct worker *w, int k)
{
	struct redo_op op _cleanup_redo_op_;
	char name[32];
	uint64_t lsn;
	int len = name_of(name, w->number, k);

	redo_op_init(&op, 0);
	if (redo_new_ino(w->log, &w->ino[k], NULL) < 0)
		return "number";
	redo_op_new(&op, w->ino[k], &(struct redo_attr){ .mode = S_IFREG | 0644, .nlink = 1 }, NULL, 0);
	redo_op_add(&op, 1, name, (size_t)len, w->ino[k], 8);
	if (write_file(w, &op, k) < 0)
		return "write";
	if (redo_append(w->log, &op, &lsn, NULL) < 0)
		return "append";
	return redo_commit(w->log, lsn, NULL) < 0 ? "commit" : NULL;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (int k = 0; k < FILES && !w->failed; k++) {
		w->failed = make_file(w, k);
		if (!w->failed)
			w->acked = k + 1;
		for (int j = k / 2; !w->failed && j < k; j += 1 + k / 4)
			w->failed = overwrite(w, j);
	}
	return NULL;
}

static int count_one(void *ctx, const struct redo_dirent *de)
{
	(void)de;
	++*(int *)ctx;
	return 0;
}

static void *look(void *arg)
{
	struct redo *log = arg;
	uint8_t buf[6000];

	while (!atomic_load(&over)) {
		struct redo_inode i;
		struct redo_info info;
		int n = 0;

		usleep(500);
		redo_readdir(log, 1, 0, count_one, &n);
		redo_info(log, &info);
		for (uint64_t k = 1; k < (uint64_t)n; k++) {
			uint64_t ino = PLY_INO(MODEL_NUMBER, k);

			if (redo_inode(log, ino, &i) && !i.dead &&
			    redo_read(log, ino, 0, buf, sizeof(buf), model_below, NULL, NULL) < 0)
				return "a reader cannot read";
		}
	}
	return NULL;
}

static void *tidy(void *arg)
{
	struct redo *log = arg;

	while (!atomic_load(&over)) {
		if (redo_checkpoint(log, NULL) < 0 || redo_prepare(log, NULL) < 0)
			return "a checkpoint failed";
		usleep(2000);
	}
	return NULL;
}

static void check_file(struct redo *log, const struct worker *w, int k)
{
	uint8_t buf[5100];
	struct redo_entry e;
	char name[32];
	int len = name_of(name, w->number, k);

	ck_assert_int_eq(redo_lookup(log, 1, name, (size_t)len, &e), REDO_ADDED);
	ck_assert_uint_eq(e.ino, w->ino[k]);
	ck_assert_msg(redo_read(log, e.ino, 0, buf, sizeof(buf), model_below, NULL, &err) == 0, "%s", err.msg);
	for (size_t b = 0; b < sizeof(buf); b++)
		ck_assert_uint_eq(buf[b], b < 100 ? 0 : (uint8_t)(w->number * 16 + (unsigned)k));
}

START_TEST(many_at_once)
{
	struct worker w[THREADS] = { 0 };
	pthread_t other[2];
	struct redo_info info;
	struct redo_disk d;
	struct redo *log;
	void *said;
	int nother = 0;

	redo_disk_init(&d);
	ck_assert_int_eq(model_format(&d), 0);
	ck_assert_int_eq(redo_open(redo_disk_store(&d), REDO_WRITE, &log, &err), 0);
	d.sync_us = 500;
	if (_i) {
		ck_assert_int_eq(pthread_create(&other[nother++], NULL, look, log), 0);
		ck_assert_int_eq(pthread_create(&other[nother++], NULL, tidy, log), 0);
	}
	for (unsigned k = 0; k < THREADS; k++) {
		w[k].log = log;
		w[k].number = k;
		ck_assert_int_eq(pthread_create(&w[k].thread, NULL, work, &w[k]), 0);
	}
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(w[k].thread, NULL);
	atomic_store(&over, true);
	for (int k = 0; k < nother; k++) {
		pthread_join(other[k], &said);
		ck_assert_msg(!said, "%s", (const char *)said);
	}
	redo_info(log, &info);
	for (unsigned k = 0; k < THREADS; k++)
		ck_assert_msg(!w[k].failed && w[k].acked == FILES, "%s", w[k].failed);
	/* one sync for several who wait */
	if (!_i)
		ck_assert_msg(info.flushes * 2 <= THREADS * FILES, "%llu syncs for %d commits",
			      (unsigned long long)info.flushes, THREADS * FILES);
	if (_i) {
		ck_assert_int_eq(redo_checkpoint(log, &err), 0);
		redo_info(log, &info);
		ck_assert_uint_gt(info.data_moved, 0);
	}
	redo_abandon(log);
	ck_assert_int_eq(redo_open(redo_disk_store(&d), REDO_WRITE, &log, &err), 0);
	redo_info(log, &info);
	ck_assert_uint_eq(info.entries, THREADS * FILES);
	for (unsigned k = 0; k < THREADS; k++)
		for (int f = 0; f < FILES; f++)
			check_file(log, &w[k], f);
	ck_assert_int_eq(redo_close(log, &err), 0);
	redo_disk_done(&d);
}
END_TEST

/* The sync fails: all who wait are told, and none is told that it is durable. */
START_TEST(all_are_told)
{
	struct worker w[THREADS] = { 0 };
	struct redo_disk d;
	struct redo *log;

	redo_disk_init(&d);
	ck_assert_int_eq(model_format(&d), 0);
	ck_assert_int_eq(redo_open(redo_disk_store(&d), REDO_WRITE, &log, &err), 0);
	d.sync_us = 500;
	d.fail_at = 150;
	for (unsigned k = 0; k < THREADS; k++) {
		w[k].log = log;
		w[k].number = k;
		ck_assert_int_eq(pthread_create(&w[k].thread, NULL, work, &w[k]), 0);
	}
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(w[k].thread, NULL);
	for (unsigned k = 0; k < THREADS; k++)
		ck_assert_ptr_nonnull(w[k].failed);
	redo_abandon(log);
	d.fail_at = 0;
	ck_assert_int_eq(redo_open(redo_disk_store(&d), REDO_WRITE, &log, &err), 0);
	for (unsigned k = 0; k < THREADS; k++)
		for (int f = 0; f < w[k].acked; f++)
			check_file(log, &w[k], f);
	redo_abandon(log);
	redo_disk_done(&d);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("redo-threads");

	tap_loop(s, many_at_once, 0, 2);
	tap_test(s, all_are_told);
	return s;
}
TAP_MAIN(suite)
