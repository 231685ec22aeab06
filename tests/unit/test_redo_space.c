/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The space of a log: what is dead comes back, and nothing else does, by checkpoints and cleaning; and a full disk refuses
 * what does not fit, and nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "redo/redo_internal.h"
#include "redo_fixture.h"
#include "tap.h"

static int count_entry(void *ctx, const struct redo_dirent *de)
{
	(void)de;
	++*(int *)ctx;
	return 0;
}

/* Overwriting for ever does not fill the disk: checkpoints give dead segments back. */
START_TEST(space_comes_back)
{
	static uint8_t data[1 << 20];
	struct redo_disk d;
	struct redo *log;
	struct redo_info info;
	int n = 0;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	for (unsigned k = 0; k < 120; k++) {
		struct redo_op op _cleanup_redo_op_;

		memset(data, (int)k, sizeof(data));
		redo_op_init(&op, 0);
		ck_assert_int_eq(redo_op_write(log, &op, 3, 0, data, sizeof(data), sizeof(data), &err), 0);
		ck_assert_int_eq(redo_append(log, &op, NULL, &err), 0);
		redo_op_done(&op);
		if (k % 8 == 7)
			ck_assert_int_eq(redo_checkpoint(log, &err), 0);
	}
	ck_assert_uint_lt(d.size, 32u << 20);
	redo_info(log, &info);
	ck_assert_uint_eq(info.data_live, sizeof(data));
	log = again(&d, log, true);
	ck_assert_int_eq(redo_read(log, 3, 0, data, sizeof(data), model_below, NULL, &err), 0);
	for (size_t k = 0; k < sizeof(data); k++)
		ck_assert_uint_eq(data[k], 119);
	ck_assert_int_eq(redo_readdir(log, 3, 0, count_entry, &n), 0);
	ck_assert_int_eq(n, 0);
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

START_TEST(when_a_checkpoint_is_due)
{
	struct redo_disk d;
	struct redo *log;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	ck_assert(!redo_checkpoint_is_due(log));
	log->space.dead = (256u << 20) / 4096;
	ck_assert(redo_checkpoint_is_due(log));
	log->space.live = log->space.dead + 1;
	ck_assert(!redo_checkpoint_is_due(log));
	log->space.live = log->space.dead = 0;
	log->replay_lsn -= 64u << 20;
	ck_assert(redo_checkpoint_is_due(log));
	log->ckpt_len = (64u << 20) + 1;
	ck_assert(!redo_checkpoint_is_due(log));
	log->replay_lsn--;
	ck_assert(redo_checkpoint_is_due(log));
	log->ckpt_len = 0;
	log->replay_lsn += 2;
	ck_assert(!redo_checkpoint_is_due(log));
	/* one that failed is tried again when there is more to gain */
	log->replay_lsn -= 64u << 20;
	d.room = 1;
	ck_assert(redo_checkpoint_is_due(log));
	ck_assert_int_eq(redo_checkpoint(log, &err), -ENOSPC);
	ck_assert(!redo_checkpoint_is_due(log));
	log->space.dead = (16u << 20) / 4096;
	ck_assert(redo_checkpoint_is_due(log));
	log->space.dead--;
	ck_assert(!redo_checkpoint_is_due(log));
	log->gave_up_tail -= 16u << 20;
	ck_assert(redo_checkpoint_is_due(log));
	log->gave_up_tail++;
	ck_assert(!redo_checkpoint_is_due(log));
	log->space.dead = 0;
	d.room = 0;
	ck_assert_int_eq(redo_checkpoint(log, &err), 0);
	log->replay_lsn -= 64u << 20;
	ck_assert(redo_checkpoint_is_due(log));
	redo_abandon(log);
	redo_disk_done(&d);
}
END_TEST

/* Only what was referred to is dead when it is not any more: not what an operation wrote that was never appended. */
START_TEST(what_is_dead)
{
	struct redo_op open, refused _cleanup_redo_op_;
	uint8_t data[4096] = { 1 };
	struct redo_info info;
	struct redo_disk d;
	struct redo *log;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	/* these stay, since something is in their segment that is not appended yet: 16 blocks have a segment */
	for (unsigned b = 0; b < 15; b++)
		write_block(log, 3, b % 5, (int)b);
	redo_op_init(&open, 0);
	ck_assert_int_eq(redo_op_write(log, &open, 4, 0, data, sizeof(data), sizeof(data), &err), 0);
	for (unsigned b = 0; b < 7; b++) {
		redo_op_init(&refused, 0);
		ck_assert_int_eq(redo_op_write(log, &refused, 4, 0, data, sizeof(data), sizeof(data), &err), 0);
		redo_op_done(&refused);
	}
	write_block(log, 3, 20, 1);
	write_block(log, 3, 20, 2);
	redo_info(log, &info);
	ck_assert_uint_eq(info.data_dead, 11 * 4096);
	for (int k = 0; k < 2; k++) {
		ck_assert_msg(redo_checkpoint(log, &err) == 0, "%s", err.msg);
		redo_info(log, &info);
		ck_assert_uint_eq(info.data_dead, 10 * 4096);
	}
	redo_op_done(&open);
	ck_assert_msg(redo_checkpoint(log, &err) == 0, "%s", err.msg);
	redo_info(log, &info);
	ck_assert_uint_eq(info.data_dead, 0);
	ck_assert_uint_eq(info.data_live, 6 * 4096);
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

/* In each segment of 16 blocks one that is never written again, which is not what keeps the segment. */
START_TEST(segments_are_cleaned)
{
	enum { ROUNDS = 200 };
	struct redo_info info;
	struct redo_disk d;
	struct redo *log;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	for (int k = 0; k < ROUNDS; k++) {
		for (unsigned b = 0; b < 15; b++)
			write_block(log, 3, b, k);
		write_block(log, 4, (unsigned)k, k);
		if (k % 8 == 7)
			ck_assert_msg(redo_checkpoint(log, &err) == 0, "%s", err.msg);
	}
	redo_info(log, &info);
	ck_assert_uint_eq(info.data_live, (ROUNDS + 15) * 4096);
	ck_assert_uint_gt(info.data_moved, 0);
	/* what was moved lies together, and is not moved again */
	ck_assert_uint_le(info.data_moved, ROUNDS * 4096);
	ck_assert_uint_lt(d.size, 6u << 20);   /* of 13 MiB that were written */
	for (int round = 0; round < 3; round++) {
		for (unsigned b = 0; b < 15; b++)
			ck_assert_int_eq(read_block(log, 3, b, ROUNDS - 1), 0);
		for (int k = 0; k < ROUNDS; k++)
			ck_assert_int_eq(read_block(log, 4, (unsigned)k, k), 0);
		log = again(&d, log, round);
	}
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

static int copy_file(struct redo *log, uint64_t ino, uint64_t src, uint64_t len)
{
	struct redo_op op _cleanup_redo_op_;

	redo_op_init(&op, 0);
	redo_op_copy(&op, ino, 0, len, src, 0, len);
	return redo_append(log, &op, NULL, &err);
}

/* Cleaning makes one piece of many. A copy must not depend on it before it is on the disk: whichever call of the
 * checkpoint fails, what was acknowledged behind it is there when the log is replayed from the one before. */
START_TEST(copies_do_not_depend_on_cleaning)
{
	enum { BLOCKS = 250 };
	int refused = 0, taken = 0;

	for (long at = 1; !taken; at++) {
		struct redo_info info;
		struct redo_disk d;
		struct redo *log;
		bool none;
		int r;

		format(&d);
		log = open_log(&d, REDO_WRITE);
		for (unsigned b = 0; b < BLOCKS; b++) {
			write_block(log, 3, b, (int)b);
			for (unsigned k = 0; k < 3; k++)
				write_block(log, 4, k, (int)b);
		}
		ck_assert_uint_eq(redo_copy_len(log, 3, 0, BLOCKS * 4096), PLY_REDO_COPY_MAX * 4096);
		d.fail_at = at;
		d.fail_once = true;
		taken = redo_checkpoint(log, &err) == 0 && d.fail_at;
		d.fail_at = 0;
		redo_info(log, &info);
		none = !redo_copy_len(log, 3, 0, BLOCKS * 4096);
		r = copy_file(log, 5, 3, none ? 4096 : redo_copy_len(log, 3, 0, BLOCKS * 4096));
		refused += none && r == -EINVAL;
		if (r == 0)
			ck_assert_msg(redo_commit(log, REDO_ALL, &err) == 0, "%s", err.msg);
		redo_abandon(log);
		log = open_log(&d, REDO_WRITE);
		redo_info(log, &info);
		ck_assert_msg(!info.damaged && info.writable, "call %ld: %s", at, info.warning);
		ck_assert_int_eq(read_block(log, 3, BLOCKS - 1, BLOCKS - 1), 0);
		if (r == 0)
			ck_assert_int_eq(read_block(log, 5, 1, 1), 0);
		if (taken)         /* of few pieces */
			ck_assert_uint_gt(redo_copy_len(log, 3, 0, BLOCKS * 4096), PLY_REDO_COPY_MAX * 4096);
		close_log(log);
		redo_disk_done(&d);
	}
	ck_assert_int_gt(refused, 0);
}
END_TEST

/* --- full disks -------------------------------------------------------------------------------------------------- */

/* At any length of the disk: what does not fit fails, all else is there, and goes on when there is room again. */
START_TEST(full)
{
	struct model *m = malloc(sizeof(*m));
	int nfull = 0, nfine = 0;

	for (uint64_t size = 16384; size < 700000; size += 13331) {
		struct redo_disk d;
		struct redo *log;
		uint64_t lsn = 0;

		format(&d);
		model_init(m, size);
		log = open_log(&d, REDO_WRITE);
		d.full_at = size;
		for (int s = 0; s < 150; s++) {
			int r = model_step(m, log, &lsn, &err);

			ck_assert_msg(r >= 0 || (r == -ENOSPC && err.reason == PLY_R_REDO_FULL) ||
				      (r == -EINVAL && d.full_at), "%d %s", r, err.msg);
			nfull += r < 0;
			nfine += r == 0;
			if (s % 10 == 0)
				ck_assert_int_eq(redo_commit(log, lsn, &err), 0);
			if (s % 25 == 24) {
				r = redo_checkpoint(log, &err);
				ck_assert_msg(r == 0 || (r == -ENOSPC && err.reason == PLY_R_REDO_FULL), "%s", err.msg);
			}
			if (s == 100)
				d.full_at = 0;
		}
		compare(m, log, size, 0);
		log = again(&d, log, true);
		compare(m, log, size, 1);
		close_log(log);
		redo_disk_done(&d);
	}
	ck_assert_int_gt(nfull, 100);
	ck_assert_int_gt(nfine, 100);
	free(m);
}
END_TEST

static int try_write(struct redo *log, uint64_t ino, uint64_t block)
{
	struct redo_op op _cleanup_redo_op_;
	static uint8_t data[16 * 4096];
	int r;

	memset(data, (int)block, sizeof(data));
	redo_op_init(&op, 0);
	r = redo_op_write(log, &op, ino, block * sizeof(data), data, sizeof(data), (block + 1) * sizeof(data), &err);
	if (r == 0)
		r = redo_append(log, &op, NULL, &err);
	ck_assert_msg(r == 0 || (r == -ENOSPC && err.reason == PLY_R_REDO_FULL), "%s", err.msg);
	return r;
}

static int try_size(struct redo *log, uint64_t ino, uint64_t size)
{
	struct redo_op op _cleanup_redo_op_;

	redo_op_init(&op, 0);
	redo_op_size(&op, ino, size);
	return redo_append(log, &op, NULL, &err);
}

static int failing_checkpoint(struct redo *log)
{
	int r = redo_checkpoint(log, &err);

	ck_assert_msg(r == 0 || (r == -ENOSPC && err.reason == PLY_R_REDO_FULL), "%s", err.msg);
	return r;
}

/* A disk with room for so many blocks, nearly all of which a file gets. Then it is truncated: a checkpoint gives all of
 * it back, with and without cleaning, as often as that is done; those that failed before, for want of any room, have
 * taken none, neither of the disk nor of addresses. */
START_TEST(a_full_disk_gets_room_again)
{
	enum { ROOM = 2000, ROUNDS = 12, FAILING = 20, SPARE = 40 };
	const bool cleans = _i & 1, cannot_reserve = _i & 2;
	uint64_t size = 0, nfailed = 0;
	struct redo_disk d;
	struct redo *log;

	format(&d);
	d.cannot_reserve = cannot_reserve;
	log = open_log(&d, REDO_WRITE);
	redo_may_clean(log, cleans);
	for (int k = 0; k < ROUNDS; k++) {
		uint64_t held, at, b = 0;

		d.room = ROOM - SPARE;
		while (try_write(log, 3, b) == 0)
			/* a block here and there stays, so that segments are worth to be cleaned */
			if (++b == 30 && cleans)
				write_block(log, 4, (unsigned)k, k);
		ck_assert_uint_gt(b, 60);
		d.room = d.nheld;
		held = d.nheld;
		at = d.size;
		for (int q = 0; q < FAILING; q++)
			nfailed += failing_checkpoint(log) < 0;
		ck_assert_uint_le(d.nheld, held);
		ck_assert_uint_le(d.size, at + (cannot_reserve ? 4u << 20 : 0));
		/* records, and a checkpoint, go into what the disk keeps for them */
		d.room = ROOM;
		ck_assert_msg(try_size(log, 3, 0) == 0, "round %d: %s", k, err.msg);
		ck_assert_msg(redo_checkpoint(log, &err) == 0, "round %d: %s", k, err.msg);
		ck_assert_uint_lt(d.nheld, ROOM / 2);
		if (k == ROUNDS / 2)
			size = d.size;
		if (k % 3 == 2) {
			log = again(&d, log, k % 2);
			redo_may_clean(log, cleans);
		}
	}
	ck_assert_uint_gt(nfailed, ROUNDS * FAILING / 2);
	ck_assert_uint_le(d.size, size + (8u << 20));
	for (int k = 0; cleans && k < ROUNDS; k++)
		ck_assert_int_eq(read_block(log, 4, (unsigned)k, k), 0);
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

/* Cleaning may take all that the disk has, and be refused at any block; the checkpoint is through all the same. */
START_TEST(cleaning_leaves_room_for_the_checkpoint)
{
	uint64_t through = 0, moved = 0;

	for (uint64_t spare = 0; spare < 150; spare += 10) {
		struct redo_info info;
		struct redo_disk d;
		struct redo *log;
		uint64_t held;
		int r;

		format(&d);
		log = open_log(&d, REDO_WRITE);
		for (unsigned k = 0; k < 60; k++)
			for (unsigned b = 0; b < 16; b++)
				write_block(log, b ? 3 : 4, b ? b : k, (int)k);
		held = d.nheld;
		d.room = held + spare;
		r = failing_checkpoint(log);
		redo_info(log, &info);
		ck_assert_msg(r == 0 || !info.data_moved, "%d", (int)spare);
		/* once there is room for it, there is for it whatever is copied */
		ck_assert_msg(r == 0 || !through, "%d", (int)spare);
		ck_assert_uint_le(d.nheld, held);
		through += r == 0;
		moved += info.data_moved;
		for (unsigned k = 0; k < 60; k++)
			ck_assert_int_eq(read_block(log, 4, k, (int)k), 0);
		log = again(&d, log, true);
		for (unsigned k = 0; k < 60; k++)
			ck_assert_int_eq(read_block(log, 4, k, (int)k), 0);
		redo_abandon(log);
		redo_disk_done(&d);
	}
	ck_assert_uint_gt(through, 8);
	ck_assert_uint_gt(moved, 0);
}
END_TEST

START_TEST(room_for_a_checkpoint)
{
	struct redo_disk d;
	struct redo *log;
	uint64_t room;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	for (unsigned b = 0; b < 120; b++)
		write_block(log, 3, b * 2, (int)b);
	room = redo_checkpoint_room(log, false);
	ck_assert_uint_eq(redo_checkpoint_room(log, true), room + (64u << 20));
	d.room = d.nheld + room / 4096;
	ck_assert_msg(redo_checkpoint(log, &err) == 0, "%s", err.msg);
	ck_assert_uint_le(log->ckpt_len, room);
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

/* Zeros are written ahead, once, when the log has a MiB; what was zeroed is used. */
START_TEST(zeros_ahead)
{
	static uint8_t data[1 << 20];
	struct redo_disk d;
	struct redo *log;
	uint64_t writes;
	size_t size;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	writes = d.writes;
	ck_assert_int_eq(redo_prepare(log, &err), 0);
	ck_assert_uint_eq(d.writes, writes);
	for (int k = 0; k < 2; k++) {
		struct redo_op op _cleanup_redo_op_;

		redo_op_init(&op, 0);
		ck_assert_int_eq(redo_op_write(log, &op, 3, 0, data, sizeof(data), sizeof(data), &err), 0);
		ck_assert_int_eq(redo_append(log, &op, NULL, &err), 0);
	}
	for (int k = 0; k < 4; k++) {
		writes = d.writes;
		ck_assert_int_eq(redo_prepare(log, &err), 0);
		ck_assert_int_eq(d.writes > writes, k < 2);
	}
	size = d.size;
	ck_assert_int_eq(redo_checkpoint(log, &err), 0); /* the segment of records and the checkpoint lie in them */
	ck_assert_uint_eq(d.size, size);
	log = again(&d, log, true);
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("redo_space");

	tap_test(s, space_comes_back);
	tap_test(s, when_a_checkpoint_is_due);
	tap_test(s, what_is_dead);
	tap_test(s, segments_are_cleaned);
	tap_test(s, copies_do_not_depend_on_cleaning);
	tap_test(s, full);
	tap_loop(s, a_full_disk_gets_room_again, 0, 4);
	tap_test(s, cleaning_leaves_room_for_the_checkpoint);
	tap_test(s, room_for_a_checkpoint);
	tap_test(s, zeros_ahead);
	return s;
}
TAP_MAIN(suite)
