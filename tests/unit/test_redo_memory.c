/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each allocation of a log fails in its turn: whatever was asked fails cleanly, and what was acknowledged is there
 * when the log is opened again, with nothing else but operations that were under way.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failing_memory.h"
#include "redo/redo.h"
#include "redo_model.h"
#include "tap.h"

enum { FILES = 6 };

static struct ply_err err;
static char path[64];

static struct redo *open_log(unsigned flags)
{
	struct redo_store *s;
	struct redo *log = NULL;

	if (redo_store_open(path, flags, &s, &err) < 0 || redo_open(s, flags, &log, &err) < 0) {
		ck_assert_msg(err.reason == PLY_R_NO_MEMORY || err.reason == PLY_R_REDO_FAILED, "%s", err.msg);
		return NULL;
	}
	return log;
}

static int make_file(struct redo *log, int k, uint64_t *lsn)
{
	struct redo_op op _cleanup_redo_op_;
	char name[16];
	uint64_t ino;
	int len = snprintf(name, sizeof(name), "file%d", k), r;

	redo_op_init(&op, 0);
	r = redo_new_ino(log, &ino, &err);
	redo_op_new(&op, ino, &(struct redo_attr){ .mode = S_IFREG | 0644, .nlink = 1 }, NULL, 0);
	redo_op_add(&op, 1, name, (size_t)len, ino, 8);
	redo_op_xattr_set(&op, ino, "user.k", 6, name, (size_t)len);
	if (r == 0)
		r = redo_op_write(log, &op, ino, 10, name, (size_t)len, 100, &err);
	if (r == 0)
		r = redo_append(log, &op, lsn, &err);
	return r;
}

static int change_file(struct redo *log, uint64_t *lsn)
{
	struct redo_op op _cleanup_redo_op_;

	redo_op_init(&op, 0);
	redo_op_hole(&op, 3, 4097, 5);
	redo_op_copy(&op, 3, 0, 4, 4, 100, 9000);
	redo_op_size(&op, 4, 50);
	redo_op_remove(&op, 2, "b", 1, true);
	redo_op_attr(&op, 5, PLY_REDO_A_NLINK, &(struct redo_attr){ .nlink = 0 });
	redo_op_dead(&op, 5);
	return redo_append(log, &op, lsn, &err);
}

/* How many files were acknowledged. */
static int use(void)
{
	struct redo *log = open_log(REDO_WRITE);
	int acked = 0, r = 0;
	uint64_t lsn = 0;

	for (int k = 0; log && k < FILES; k++) {
		r = make_file(log, k, &lsn);
		if (r == 0 && k == 2)
			change_file(log, &lsn);
		if (r == 0 && k % 2 && redo_commit(log, lsn, &err) == 0)
			acked = k + 1;
		if (r < 0)
			break;         /* or it would not be the first files that are there */
		if (k == 3)
			redo_checkpoint(log, &err);
	}
	if (log && redo_close(log, &err) == 0 && r == 0)
		acked = FILES;
	return acked;
}

static void check(int acked, long at)
{
	struct redo_info info;
	struct redo *log = open_log(REDO_WRITE);
	int there = 0;

	ck_assert_ptr_nonnull(log);
	redo_info(log, &info);
	ck_assert_msg(!info.damaged && info.writable, "allocation %ld: %s", at, info.warning);
	for (int k = 0; k < FILES; k++) {
		struct redo_entry e;
		char name[16], is[16];
		int len = snprintf(name, sizeof(name), "file%d", k);

		if (redo_lookup(log, 1, name, (size_t)len, &e) != REDO_ADDED)
			continue;
		ck_assert_msg(k == there, "allocation %ld: a file is missing", at);
		there++;
		ck_assert_int_eq(redo_read(log, e.ino, 10, is, (size_t)len, model_below, NULL, &err), 0);
		ck_assert_mem_eq(is, name, (size_t)len);
	}
	ck_assert_msg(there >= acked, "allocation %ld: %d files of %d", at, there, acked);
	ck_assert_int_eq(redo_close(log, &err), 0);
}

START_TEST(each_allocation_fails)
{
	struct redo_binding b = model_binding();
	bool failed = true;
	long at, made = 0;

	strcpy(path, "/tmp/plyfs-redo-memory-XXXXXX");
	close(mkstemp(path));
	for (at = 1; failed; at++) {
		int acked;

		unlink(path);
		fail_at = at;
		if (redo_create(path, &b, &err) < 0) {
			fail_at = 0;
			ck_assert_msg(err.reason == PLY_R_NO_MEMORY || err.code == -ENOMEM, "%s", err.msg);
			ck_assert_int_ne(access(path, F_OK), 0);
			continue;
		}
		acked = use();
		failed = !fail_at;
		fail_at = 0;
		check(acked, at);
		made++;
	}
	ck_assert_int_gt(made, 50);
	unlink(path);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("redo-memory");

	tap_test(s, each_allocation_fails);
	return s;
}
TAP_MAIN(suite)
