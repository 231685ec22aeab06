/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A log on a disk in memory (redo_disk.h), as the tests of what it says and of its space open, kill, write and compare it.
 * Whatever fails fails the test, but for read_block().
 */
#ifndef PLYFS_TESTS_REDO_FIXTURE_H
#define PLYFS_TESTS_REDO_FIXTURE_H

#include <check.h>
#include <string.h>

#include "redo_disk.h"
#include "redo_model.h"

static struct ply_err err;

/* An empty log, as model_format() makes it. */
static inline void format(struct redo_disk *d)
{
	redo_disk_init(d);
	ck_assert_int_eq(model_format(d), 0);
}

static inline struct redo *open_log(struct redo_disk *d, unsigned flags)
{
	struct redo *log = NULL;
	int r = redo_open(redo_disk_store(d), flags, &log, &err);

	ck_assert_msg(r == 0, "%s", err.msg);
	return log;
}

static inline void close_log(struct redo *log)
{
	ck_assert_msg(redo_close(log, &err) == 0, "%s", err.msg);
}

/* The log says what @m does; @seed and @step, for who looks for the difference. */
static inline void compare(const struct model *m, struct redo *log, uint64_t seed, int step)
{
	struct buf want = { 0 }, is = { 0 };

	model_text(m, &want);
	model_log_text(log, &is);
	buf_add(&want, "", 1);
	buf_add(&is, "", 1);
	ck_assert_msg(strcmp((char *)want.data, (char *)is.data) == 0, "seed %llu, step %d\n--- want\n%s--- is\n%s",
		      (unsigned long long)seed, step, (char *)want.data, (char *)is.data);
	buf_done(&want);
	buf_done(&is);
}

/* Closed or @killed, and opened again: nothing is missing. */
static inline struct redo *again(struct redo_disk *d, struct redo *log, bool killed)
{
	struct redo_info info;

	if (killed)
		redo_abandon(log);
	else
		close_log(log);
	log = open_log(d, REDO_WRITE);
	redo_info(log, &info);
	ck_assert_msg(info.writable && !info.damaged && !info.cut && !*info.warning, "%s", info.warning);
	ck_assert_int_eq(info.state, killed ? PLY_REDO_OPEN : PLY_REDO_CLEAN);
	return log;
}

/* Blocks of 4096 bytes of @fill; what cannot be read is returned. */
static inline void write_block(struct redo *log, uint64_t ino, uint64_t block, int fill)
{
	struct redo_op op _cleanup_redo_op_;
	uint8_t data[4096];

	memset(data, fill, sizeof(data));
	redo_op_init(&op, 0);
	ck_assert_int_eq(redo_op_write(log, &op, ino, block * sizeof(data), data, sizeof(data), 1 << 20, &err), 0);
	ck_assert_msg(redo_append(log, &op, NULL, &err) == 0, "%s", err.msg);
}

static inline int read_block(struct redo *log, uint64_t ino, uint64_t block, int fill)
{
	uint8_t data[4096];
	int r = redo_read(log, ino, block * sizeof(data), data, sizeof(data), model_below, NULL, &err);

	for (size_t k = 0; r == 0 && k < sizeof(data); k++)
		ck_assert_uint_eq(data[k], (uint8_t)fill);
	return r;
}

#endif
