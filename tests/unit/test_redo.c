/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A log says what was written to it, whatever was done: random requests to a log and to plain arrays, with the log
 * closed, killed and opened again in between, and checkpoints thrown in. And what it stands on, who may open it, and
 * failing disks. Its space: test_redo_space.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_internal.h"
#include "redo_fixture.h"
#include "tap.h"

static unsigned long number_of(const char *variable, unsigned long otherwise)
{
	const char *text = getenv(variable);

	return text && *text ? strtoul(text, NULL, 10) : otherwise;
}

/* --- against the model --------------------------------------------------------------------------- */

static uint64_t run(uint64_t seed, int steps)
{
	struct redo_info info;
	uint64_t moved = 0;
	struct redo_disk d;
	struct model *m = malloc(sizeof(*m));
	struct redo *log;

	format(&d);
	model_init(m, seed);
	log = open_log(&d, REDO_WRITE);
	for (int s = 0; s < steps; s++) {
		uint64_t what = model_random(m, 100);
		int r = model_step(m, log, NULL, &err);

		ck_assert_msg(r >= 0, "seed %llu, step %d: %s", (unsigned long long)seed, s, err.msg);
		redo_info(log, &info);
		if (what < 3) {
			moved += info.data_moved;
			log = again(&d, log, what);
		} else if (what < 6) {
			ck_assert_msg(redo_checkpoint(log, &err) == 0, "%s", err.msg);
		} else if (what < 10) {
			ck_assert_int_eq(redo_commit(log, REDO_ALL, &err), 0);
		} else if (what < 12) {
			ck_assert_int_eq(redo_prepare(log, &err), 0);
		}
		if (what < 12 || s % 16 == 0)
			compare(m, log, seed, s);
	}
	log = again(&d, log, false);
	compare(m, log, seed, steps);
	close_log(log);
	log = open_log(&d, 0);     /* by who may only look */
	compare(m, log, seed, steps);
	close_log(log);
	free(m);
	redo_disk_done(&d);
	return moved;
}

START_TEST(says_what_was_written)
{
	unsigned long n = number_of("PLYFS_REDO_RUNS", 6), seed = number_of("PLYFS_SEED", 1);
	uint64_t moved = 0;

	for (unsigned long k = 0; k < n; k++)
		moved += run(seed * 1000 + (unsigned)_i * 100000 + k, 400);
	ck_assert_uint_gt(moved, 0);
}
END_TEST

/* Many more inodes and names than the model has: tables grow, listings are compacted, segments follow each other. */
START_TEST(many)
{
	enum { N = 20000 };
	struct redo_disk d;
	struct redo *log;
	struct redo_info info;
	struct redo_entry e;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	for (unsigned k = 0; k < N; k++) {
		struct redo_op op _cleanup_redo_op_;
		char name[200];
		uint64_t ino;
		int len = snprintf(name, sizeof(name), "%0150u", k);

		redo_op_init(&op, 0);
		ck_assert_int_eq(redo_new_ino(log, &ino, &err), 0);
		redo_op_new(&op, ino, &(struct redo_attr){ .mode = S_IFREG | 0644, .nlink = 1 }, NULL, 0);
		redo_op_add(&op, 1, name, (size_t)len, ino, 8);
		ck_assert_msg(redo_append(log, &op, NULL, &err) == 0, "%s", err.msg);
		if (k % 4 == 0) {
			struct redo_op gone _cleanup_redo_op_;

			redo_op_init(&gone, 0);
			redo_op_remove(&gone, 1, name, (size_t)len, false);
			redo_op_attr(&gone, ino, PLY_REDO_A_NLINK, &(struct redo_attr){ .nlink = 0 });
			redo_op_dead(&gone, ino);
			ck_assert_msg(redo_append(log, &gone, NULL, &err) == 0, "%s", err.msg);
		}
	}
	for (int round = 0; round < 3; round++) {
		redo_info(log, &info);
		ck_assert_uint_eq(info.entries, N / 4 * 3);
		ck_assert_uint_eq(info.inodes, N / 4 * 3 + 1);
		ck_assert_int_eq(redo_lookup(log, 1, "x", 1, &e), REDO_BELOW);
		if (round == 1) {
			ck_assert_uint_gt(info.records, N);
			ck_assert_int_eq(redo_checkpoint(log, &err), 0);
			ck_assert_uint_lt(redo_since_checkpoint(log), 100);
		}
		if (round == 2)
			ck_assert_uint_lt(info.records, 10);
		log = again(&d, log, round);
	}
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

/* A file that a power cut took, and that a client of NFS may know by number and generation, is no other file. */
START_TEST(lost_numbers_have_another_generation)
{
	uint32_t seen[8];
	struct redo_disk d, before;
	struct redo *log;
	uint64_t ino;

	format(&d);
	redo_disk_init(&before);
	for (int k = 0; k < 8; k++) {
		log = open_log(&d, REDO_WRITE);
		redo_disk_copy(&before, &d);
		ck_assert_int_eq(redo_new_ino(log, &ino, &err), 0);
		ck_assert_uint_eq(ino, PLY_INO(MODEL_NUMBER, 1));
		seen[k] = redo_generation(log);
		for (int q = 0; q < k; q++)
			ck_assert_uint_ne(seen[q], seen[k]);
		if (k % 2) {
			close_log(log);
		} else {
			ck_assert_int_eq(redo_checkpoint(log, &err), 0);
			ck_assert_uint_eq(redo_generation(log), seen[k]);
			redo_abandon(log);
			redo_disk_copy(&d, &before);
		}
	}
	redo_disk_done(&d);
	redo_disk_done(&before);
}
END_TEST

/* While a checkpoint or a superblock is written, which may take as long as the disk likes, who asks is answered. */
START_TEST(who_asks_does_not_wait)
{
	struct redo_info info, after;
	struct redo_disk d;
	struct redo *log;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	ck_assert(redo_is_writable(log));
	redo_info(log, &info);
	ck_assert_int_eq(redo_checkpoint(log, &err), 0);
	pthread_mutex_lock(&log->super_lock);          /* it would wait for ever */
	redo_info(log, &after);
	ck_assert(!redo_checkpoint_is_due(log));
	ck_assert_uint_gt(redo_checkpoint_room(log, false), 0);
	ck_assert_uint_lt(redo_since_checkpoint(log), 100);
	pthread_mutex_unlock(&log->super_lock);
	ck_assert_uint_eq(after.generation, info.generation + 1);
	ck_assert_uint_eq(after.epoch, log->epoch);
	ck_assert_int_eq(after.created_sec, info.created_sec);
	ck_assert_mem_eq(after.uuid, log->uuid, sizeof(after.uuid));
	ck_assert_uint_eq(after.size, d.size);
	close_log(log);
	log = open_log(&d, 0);
	ck_assert(!redo_is_writable(log));
	redo_info(log, &info);
	ck_assert_uint_eq(info.generation, after.generation + 1);
	ck_assert_uint_eq(info.epoch, after.epoch);
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

/* Any bit of the data of a log that was closed: that block of that file cannot be read, all else can, and is writable. */
START_TEST(damage_hurts_one_block)
{
	enum { FILES = 3, BLOCKS = 4 };
	uint64_t addr[FILES * BLOCKS];
	struct redo_disk d;
	struct redo *log;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	for (unsigned k = 0; k < FILES * BLOCKS; k++) {
		struct redo_range g;

		write_block(log, 3 + k % FILES, k / FILES, (int)k);
		redo_range(log, 3 + k % FILES, k / FILES * 4096, &g);
		addr[k] = g.addr;
	}
	if (_i)
		ck_assert_int_eq(redo_checkpoint(log, &err), 0);
	close_log(log);
	for (unsigned k = 0; k < FILES * BLOCKS; k++) {
		uint8_t *byte = d.bytes + addr[k] + 331 * k, bit = (uint8_t)(1u << k % 8);

		*byte ^= bit;
		log = open_log(&d, k % 2 ? REDO_WRITE : 0);
		for (int round = 0; round < 2; round++)
			for (unsigned b = 0; b < FILES * BLOCKS; b++) {
				int r = read_block(log, 3 + b % FILES, b / FILES, (int)b);

				ck_assert_int_eq(r, b == k ? -EBADMSG : 0);
				ck_assert(b != k || err.reason == PLY_R_REDO_DATA);
			}
		close_log(log);
		*byte ^= bit;
	}
	redo_disk_done(&d);
}
END_TEST

/* A block that is damaged is not copied: its file cannot be read there, as before, and nothing else suffers. */
START_TEST(damage_is_not_cleaned)
{
	struct redo_info before, after;
	struct redo_range g;
	struct redo_disk d;
	struct redo *log;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	for (int k = 0; k < 4; k++)
		for (unsigned b = 0; b < 12; b++)
			write_block(log, b < 10 ? 3 : b - 6, b, k * 16 + (int)b);
	redo_range(log, 4, 10 * 4096, &g);
	ck_assert_int_eq(g.kind, PLY_REDO_C_LOG);
	close_log(log);
	/* and all other segments that have something are worth it, too */
	d.bytes[g.addr + 77] ^= 1;
	log = open_log(&d, REDO_WRITE);
	for (unsigned b = 0; b < 10; b++)
		write_block(log, 3, b, 99);
	for (int k = 0; k < 3; k++) {
		write_block(log, 3, 20 + (unsigned)k, k);
		redo_info(log, &before);
		ck_assert_msg(redo_checkpoint(log, &err) == 0, "%s", err.msg);
		redo_info(log, &after);
		/* tried once */
		ck_assert_uint_eq(after.data_moved, before.data_moved);
		ck_assert_int_eq(read_block(log, 4, 10, 0), -EBADMSG);
		ck_assert_int_eq(err.reason, PLY_R_REDO_DATA);
		ck_assert_int_eq(read_block(log, 5, 11, 3 * 16 + 11), 0);
		for (unsigned b = 0; b < 10; b++)
			ck_assert_int_eq(read_block(log, 3, b, 99), 0);
		if (k == 1)
			log = again(&d, log, true);
	}
	/* written again, it is good, and what was kept by it is not */
	write_block(log, 4, 10, 5);
	ck_assert_int_eq(read_block(log, 4, 10, 5), 0);
	for (unsigned b = 0; b < 16; b++)
		write_block(log, 3, b, 9);
	ck_assert_msg(redo_checkpoint(log, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(read_block(log, 5, 11, 3 * 16 + 11), 0);
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

/* --- what cannot be ------------------------------------------------------------------------------------ */

static int try_op(struct redo *log, void (*fill)(struct redo_op *op))
{
	struct redo_op op _cleanup_redo_op_;

	redo_op_init(&op, 0);
	fill(&op);
	return redo_append(log, &op, NULL, &err);
}

#define NEW_INO PLY_INO(MODEL_NUMBER, 7)
static const struct redo_attr plain = { .mode = S_IFREG | 0644, .nlink = 1 };
static void nothing(struct redo_op *op) { (void)op; }
static void name_of_nobody(struct redo_op *op) { redo_op_add(op, 1, "n", 1, NEW_INO, 8); }
static void name_in_nobody(struct redo_op *op) { redo_op_add(op, NEW_INO, "n", 1, 3, 8); }
static void name_twice(struct redo_op *op) { redo_op_add(op, 1, "n", 1, 3, 8); redo_op_add(op, 1, "n", 1, 4, 8); }
static void name_with_slash(struct redo_op *op) { redo_op_add(op, 1, "a/b", 3, 3, 8); }
static void name_empty(struct redo_op *op) { redo_op_add(op, 1, "", 0, 3, 8); }
static void name_of_no_type(struct redo_op *op) { redo_op_add(op, 1, "n", 1, 3, 3); }
static void remove_nothing(struct redo_op *op) { redo_op_remove(op, 1, "n", 1, false); }
static void remove_twice(struct redo_op *op) { redo_op_remove(op, 1, "a", 1, true); redo_op_remove(op, 1, "a", 1, true); }
static void new_of_another(struct redo_op *op) { redo_op_new(op, PLY_INO(MODEL_NUMBER + 1, 1), &plain, NULL, 0); }
static void new_twice(struct redo_op *op) { redo_op_new(op, NEW_INO, &plain, NULL, 0); redo_op_new(op, NEW_INO, &plain, NULL, 0); }
static void new_of_no_type(struct redo_op *op) { redo_op_new(op, NEW_INO, &(struct redo_attr){ .mode = 0644 }, NULL, 0); }
static void link_to_nowhere(struct redo_op *op) { redo_op_new(op, NEW_INO, &(struct redo_attr){ .mode = S_IFLNK | 0777 }, "", 0); }
static void target_of_a_file(struct redo_op *op) { redo_op_new(op, NEW_INO, &plain, "x", 1); }
static void attr_of_nothing(struct redo_op *op) { redo_op_attr(op, 3, 0, &plain); }
static void attr_of_size(struct redo_op *op) { redo_op_attr(op, 3, PLY_REDO_A_SIZE, &plain); }
static void attr_bad_time(struct redo_op *op) { redo_op_attr(op, 3, PLY_REDO_A_MTIME, &(struct redo_attr){ .mtime_nsec = 1000000000 }); }
static void attr_of_index_0(struct redo_op *op) { redo_op_attr(op, 0, PLY_REDO_A_UID, &plain); }
static void hole_of_nothing(struct redo_op *op) { redo_op_hole(op, 3, 5, 0); }
static void hole_too_far(struct redo_op *op) { redo_op_hole(op, 3, INT64_MAX, 1); }
static void size_too_big(struct redo_op *op) { redo_op_size(op, 3, UINT64_MAX); }
static void copy_onto_itself(struct redo_op *op) { redo_op_copy(op, 3, 0, 10, 3, 9, 100); }
static void copy_twice(struct redo_op *op) { redo_op_copy(op, 3, 0, 9, 4, 0, 9); redo_op_copy(op, 3, 9, 9, 4, 0, 99); }
static void too_many(struct redo_op *op)
{
	for (unsigned k = 0; k <= PLY_REDO_CHANGES_MAX; k++)
		redo_op_hole(op, 3, k, 1);
}
static void dead_with_a_name(struct redo_op *op) { redo_op_dead(op, 3); }
static void dead_twice(struct redo_op *op)
{
	redo_op_attr(op, 3, PLY_REDO_A_NLINK, &(struct redo_attr){ .nlink = 0 });
	redo_op_dead(op, 3);
	redo_op_dead(op, 3);
}
static void content_of_a_directory(struct redo_op *op)
{
	redo_op_new(op, NEW_INO, &(struct redo_attr){ .mode = S_IFDIR | 0755 }, NULL, 0);
	redo_op_size(op, NEW_INO, 1);
}
static void too_long(struct redo_op *op)
{
	static const uint8_t value[PLY_XATTR_VALUE_MAX];

	for (int k = 0; k < 5; k++)
		redo_op_xattr_set(op, 3, "user.x", 6, value, sizeof(value));
}
static void value_too_long(struct redo_op *op)
{
	static const uint8_t value[PLY_XATTR_VALUE_MAX + 1];

	redo_op_xattr_set(op, 3, "user.x", 6, value, sizeof(value));
}
static void xattr_without_name(struct redo_op *op) { redo_op_xattr_set(op, 3, "", 0, "x", 1); }

START_TEST(what_cannot_be_is_refused)
{
	static void (*const fills[])(struct redo_op * op) = {
		nothing,      name_of_nobody,         name_in_nobody,  name_twice,       name_with_slash,
		name_empty,   name_of_no_type,        remove_nothing,  remove_twice,     new_of_another,
		new_twice,    new_of_no_type,         link_to_nowhere, target_of_a_file, attr_of_nothing,
		attr_of_size, attr_bad_time,          attr_of_index_0, hole_of_nothing,  hole_too_far,
		size_too_big, copy_onto_itself,       copy_twice,      too_many,         dead_with_a_name,
		dead_twice,   content_of_a_directory, too_long,        value_too_long,   xattr_without_name,
	};
	struct model *m = malloc(sizeof(*m));
	struct redo_disk d;
	struct redo *log;

	format(&d);
	model_init(m, 1);
	log = open_log(&d, REDO_WRITE);
	for (size_t k = 0; k < ARRAY_SIZE(fills); k++) {
		ck_assert_msg(try_op(log, fills[k]) == -EINVAL, "operation %zu", k);
		ck_assert_msg(err.reason == PLY_R_REDO_CHANGE, "operation %zu: %s", k, err.msg);
	}
	compare(m, log, 1, 0);
	log = again(&d, log, true);
	compare(m, log, 1, 1);
	close_log(log);
	free(m);
	redo_disk_done(&d);
}
END_TEST

/* A record of the largest size, when the segments of records are still small. */
START_TEST(large_values)
{
	static uint8_t value[PLY_XATTR_VALUE_MAX], is[PLY_XATTR_VALUE_MAX];
	struct redo_disk d;
	struct redo *log;
	size_t len;

	memset(value, 0x5a, sizeof(value));
	format(&d);
	log = open_log(&d, REDO_WRITE);
	for (int k = 0; k < 3; k++) {
		struct redo_op op _cleanup_redo_op_;

		redo_op_init(&op, 0);
		redo_op_xattr_set(&op, 3, "system.posix_acl_access", 23, value, sizeof(value));
		redo_op_xattr_set(&op, 3, "system.posix_acl_default", 24, value, sizeof(value));
		redo_op_xattr_set(&op, 3, "user.x", 6, value, sizeof(value));
		ck_assert_msg(redo_append(log, &op, NULL, &err) == 0, "%s", err.msg);
	}
	for (int k = 0; k < 2; k++) {
		log = again(&d, log, true);
		ck_assert_int_eq(redo_getxattr(log, 3, "user.x", 6, is, sizeof(is), &len), REDO_ADDED);
		ck_assert_uint_eq(len, sizeof(is));
		ck_assert_mem_eq(is, value, sizeof(is));
		ck_assert_int_eq(redo_checkpoint(log, &err), 0);
	}
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

/* A file of many pieces doubles with each copy: one copy takes only so many of them. */
START_TEST(copies_of_many_pieces)
{
	struct redo_disk d;
	struct redo *log;
	uint64_t end = 200 * 8192, len;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	for (unsigned k = 0; k < 100; k++) {
		struct redo_op op _cleanup_redo_op_;

		redo_op_init(&op, 0);
		redo_op_hole(&op, 3, k * 8192, 4096);
		ck_assert_int_eq(redo_append(log, &op, NULL, &err), 0);
	}
	len = redo_copy_len(log, 3, 0, 100 * 8192);
	ck_assert_uint_eq(len, PLY_REDO_COPY_MAX / 2 * 8192);
	ck_assert_uint_eq(redo_copy_len(log, 4, 5, 100 * 8192), 100 * 8192);
	for (uint64_t more = 0; more < 2; more++) {
		struct redo_op op _cleanup_redo_op_;

		redo_op_init(&op, 0);
		redo_op_copy(&op, 3, end, len + 1 - more, 3, 0, 2 * end);
		ck_assert_int_eq(redo_append(log, &op, NULL, &err), more ? 0 : -EINVAL);
	}
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

static int note_ino(void *ctx, uint64_t ino)
{
	*(uint64_t *)ctx = ino;
	return 0;
}

START_TEST(orphans)
{
	struct redo_op op _cleanup_redo_op_, dead _cleanup_redo_op_;
	struct redo_disk d;
	struct redo *log;
	uint64_t ino, is = 0;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	redo_op_init(&op, 0);
	ck_assert_int_eq(redo_new_ino(log, &ino, &err), 0);
	redo_op_new(&op, ino, &(struct redo_attr){ .mode = S_IFREG | 0600 }, NULL, 0);
	ck_assert_int_eq(redo_append(log, &op, NULL, &err), 0);
	log = again(&d, log, true);
	ck_assert_int_eq(redo_orphans(log, note_ino, &is), 0);
	ck_assert_uint_eq(is, ino);
	redo_op_init(&dead, 0);
	redo_op_dead(&dead, ino);
	ck_assert_int_eq(redo_append(log, &dead, NULL, &err), 0);
	is = 0;
	ck_assert_int_eq(redo_orphans(log, note_ino, &is), 0);
	ck_assert_uint_eq(is, 0);
	log = again(&d, log, false);
	/* a number is never used again */
	ck_assert_int_eq(redo_new_ino(log, &is, &err), 0);
	ck_assert_uint_eq(is, ino + 1);
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

/* Of one connection of the kernel: over kills and checkpoints, but not what another one numbered. */
START_TEST(requests)
{
	struct redo_disk d;
	struct redo *log;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	for (uint64_t k = 1; k <= PLY_REDO_REQUESTS_MAX + 10; k++) {
		struct redo_op op _cleanup_redo_op_;

		redo_op_init(&op, k);
		redo_op_hole(&op, 3, k, 1);
		ck_assert_int_eq(redo_append(log, &op, NULL, &err), 0);
		if (k == 100)
			ck_assert_int_eq(redo_checkpoint(log, &err), 0);
	}
	for (int round = 0; round < 4; round++) {
		ck_assert(!redo_request_logged(log, 0));
		ck_assert(!redo_request_logged(log, 10));
		ck_assert(redo_request_logged(log, 11));
		ck_assert(redo_request_logged(log, PLY_REDO_REQUESTS_MAX + 10));
		ck_assert(!redo_request_logged(log, PLY_REDO_REQUESTS_MAX + 11));
		if (round == 1)
			ck_assert_int_eq(redo_checkpoint(log, &err), 0);
		redo_abandon(log);
		log = open_log(&d, REDO_WRITE | REDO_GO_ON);
	}
	redo_abandon(log);
	log = open_log(&d, REDO_WRITE);        /* another connection, which numbers from 1 again */
	ck_assert(!redo_request_logged(log, 11));
	for (int round = 0; round < 3; round++) {
		struct redo_op op _cleanup_redo_op_;

		redo_op_init(&op, 7 + (unsigned)round);
		redo_op_hole(&op, 3, 5, 1);
		ck_assert_int_eq(redo_append(log, &op, NULL, &err), 0);
		if (round == 1)
			ck_assert_int_eq(redo_checkpoint(log, &err), 0);
		redo_abandon(log);
		log = open_log(&d, REDO_WRITE | REDO_GO_ON);
		ck_assert(redo_request_logged(log, 7) && redo_request_logged(log, 7 + (unsigned)round));
		ck_assert(!redo_request_logged(log, 8 + (unsigned)round) && !redo_request_logged(log, 11));
	}
	close_log(log);
	redo_disk_done(&d);
}
END_TEST

/* --- what it stands on, and who may open it ------------------------------------------------------------------ */

START_TEST(binding_comes_back)
{
	struct redo_binding b = model_binding();
	const struct redo_binding *is;
	struct redo_disk d;
	struct redo *log;
	struct redo_info info;
	const char *name;

	format(&d);
	log = open_log(&d, REDO_WRITE);
	is = redo_binding(log);
	ck_assert_mem_eq(is->parent_uuid, b.parent_uuid, 16);
	ck_assert_mem_eq(is->parent_digest, b.parent_digest, 32);
	ck_assert_mem_eq(is->image_uuid, b.image_uuid, 16);
	ck_assert_uint_eq(is->parent_generation, 3);
	ck_assert_uint_eq(is->number, MODEL_NUMBER);
	ck_assert_uint_eq(is->ndecisions, 2);
	ck_assert_uint_eq(is->decisions[1].driver, 7);
	ck_assert_uint_eq(is->decisions[0].rule, PLY_RULE_LAST);
	ck_assert_str_eq(is->path, "/srv/shop.plyfs");
	name = redo_binding_name(is, NULL);
	ck_assert_str_eq(name, "os");
	name = redo_binding_name(is, name);
	ck_assert_str_eq(name, "web");
	ck_assert_ptr_null(redo_binding_name(is, name));
	redo_info(log, &info);
	ck_assert_mem_eq(info.uuid, model_uuid, 16);
	ck_assert_int_eq(info.created_sec, 1700000000);
	ck_assert_uint_eq(info.epoch, 2);
	close_log(log);
	ck_assert_uint_lt(d.size, 25000);      /* kilobytes */
	redo_disk_done(&d);
}
END_TEST

START_TEST(a_binding_that_is_none)
{
	struct redo_binding b[5];
	struct redo_disk d;

	for (size_t k = 0; k < ARRAY_SIZE(b); k++)
		b[k] = model_binding();
	b[0].number = 16383;
	b[1].number = 32768;
	b[2].nnames = 3;
	b[3].names = "os\0we\0";
	b[3].names_len = 5;
	b[4].names = "\0os";
	b[4].names_len = 4;
	redo_disk_init(&d);
	for (size_t k = 0; k < ARRAY_SIZE(b); k++) {
		struct redo_store *s = redo_disk_store(&d);

		ck_assert_msg(redo_format(s, &b[k], model_uuid, 0, &err) == -EINVAL, "binding %zu", k);
		ck_assert_int_eq(err.reason, PLY_R_USAGE);
		redo_store_close(s);
	}
	ck_assert_uint_eq(d.size, 0);
	redo_disk_done(&d);
}
END_TEST

/* Both superblocks with one field changed, checksums right. */
static int open_with(void (*change)(struct redo_super *s), struct redo **ret, unsigned flags)
{
	static struct redo_disk d;

	redo_disk_done(&d);        /* of the last time; zeros are an empty one */
	if (!change)               /* it was the last time */
		return -EINVAL;
	format(&d);
	for (uint32_t k = 0; k < 2; k++) {
		struct redo_super s;

		ck_assert_int_eq(redo_super_decode(d.bytes + 4096 * k, k, &s, &err), 0);
		change(&s);
		redo_super_encode(&s, k, d.bytes + 4096 * k);
	}
	return redo_open(redo_disk_store(&d), flags, ret, &err);
}

static void set_incompat(struct redo_super *s) { s->incompat = 1ull << 40; }
static void set_ro_compat(struct redo_super *s) { s->ro_compat = 1; }
static void set_compat(struct redo_super *s) { s->compat = 1; }
static void set_frozen(struct redo_super *s) { s->state = PLY_REDO_FROZEN; }
static void set_state(struct redo_super *s) { s->state = 4; }
static void set_number(struct redo_super *s) { s->number = 5; }
static void set_binding(struct redo_super *s) { s->binding_off++; }
static void set_binding_off(struct redo_super *s) { s->binding_off = 1ull << 62; }
static void set_replay(struct redo_super *s) { s->replay_segment = PLY_REDO_SEGMENTS_MAX - 1; }
static void set_segments(struct redo_super *s) { s->segments_off += 512; }
static void set_ckpt(struct redo_super *s) { s->ckpt_off = s->segments_off; s->ckpt_len = 152; }
static void set_durable(struct redo_super *s) { s->durable_lsn = 4096; }
static void set_epoch(struct redo_super *s) { s->epoch_lsn = s->durable_lsn + 1; }
static void set_requests(struct redo_super *s) { s->requests_lsn = s->durable_lsn + 1; }

START_TEST(features_and_states)
{
	static const struct {
		void (*change)(struct redo_super *s);
		int r;
		enum ply_reason reason;
	} bad[] = {
		{ set_incompat, -EOPNOTSUPP, PLY_R_REDO_FEATURE },
		{ set_state, -EUCLEAN, PLY_R_REDO_SUPER },
		{ set_number, -EUCLEAN, PLY_R_REDO_SUPER },
		{ set_binding, -EBADMSG, PLY_R_REDO_BINDING },
		{ set_binding_off, -EUCLEAN, PLY_R_REDO_BINDING },
		{ set_replay, -EUCLEAN, PLY_R_REDO_SUPER },
		{ set_segments, -EUCLEAN, PLY_R_REDO_SUPER },
		{ set_epoch, -EUCLEAN, PLY_R_REDO_SUPER },
		{ set_requests, -EUCLEAN, PLY_R_REDO_SUPER },
		{ set_ckpt, -EUCLEAN, PLY_R_REDO_CHECKPOINT },
	}, fine[] = {
		{ set_ro_compat, 0, 0 }, { set_frozen, 0, 0 }, { set_durable, 0, 0 },
	};
	struct redo_info info;
	struct redo *log;

	for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
		int r = open_with(bad[k].change, &log, REDO_WRITE);

		ck_assert_msg(r == bad[k].r && err.reason == bad[k].reason, "%zu: %d %s", k, r, err.msg);
	}
	/* to be read only: for a new feature, since it is frozen, since something is missing */
	for (size_t k = 0; k < ARRAY_SIZE(fine); k++) {
		ck_assert_msg(open_with(fine[k].change, &log, REDO_WRITE) == 0, "%zu: %s", k, err.msg);
		redo_info(log, &info);
		ck_assert(!info.writable);
		ck_assert_int_eq(info.damaged, fine[k].change == set_durable);
		ck_assert_int_eq(try_op(log, remove_twice), -EROFS);
		ck_assert_int_eq(err.reason, PLY_R_REDO_READ_ONLY);
		ck_assert_int_eq(redo_checkpoint(log, &err), -EROFS);
		close_log(log);
	}
	ck_assert_int_eq(open_with(set_compat, &log, REDO_WRITE), 0);
	redo_info(log, &info);
	ck_assert(info.writable);
	close_log(log);
	ck_assert_int_lt(open_with(NULL, &log, 0), 0);
}
END_TEST

START_TEST(files)
{
	struct redo_binding b = model_binding();
	char dir[] = "/tmp/plyfs-redo-XXXXXX", path[64], other[64];
	struct redo_store *s, *t;
	struct redo_info info;
	struct redo *log;
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a.redo", dir);
	snprintf(other, sizeof(other), "%s/none", dir);
	ck_assert_int_eq(redo_store_open(path, REDO_WRITE, &s, &err), -ENOENT);
	ck_assert_int_eq(err.reason, PLY_R_REDO_NOT_FOUND);
	ck_assert_msg(redo_create(path, &b, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(redo_create(path, &b, &err), -EEXIST);
	ck_assert_int_eq(err.reason, PLY_R_REDO_EXISTS);
	ck_assert_int_eq(redo_store_open(path, REDO_WRITE, &s, &err), 0);
	ck_assert_int_eq(redo_store_open(path, REDO_WRITE, &t, &err), -EAGAIN);
	ck_assert_int_eq(err.reason, PLY_R_REDO_BUSY);
	ck_assert_int_eq(redo_store_open(path, 0, &t, &err), -EAGAIN);
	ck_assert_int_eq(redo_store_open(path, REDO_LOOK, &t, &err), 0);
	redo_store_close(t);
	ck_assert_msg(redo_open(s, REDO_WRITE, &log, &err) == 0, "%s", err.msg);
	for (int k = 0; k < 3; k++) {
		struct redo_op op _cleanup_redo_op_;
		uint64_t lsn;

		redo_op_init(&op, 0);
		ck_assert_int_eq(redo_op_write(log, &op, 3, 5000, "hello", 5, 9000, &err), 0);
		ck_assert_int_eq(redo_append(log, &op, &lsn, &err), 0);
		ck_assert_int_eq(redo_commit(log, lsn, &err), 0);
		ck_assert_msg(redo_checkpoint(log, &err) == 0, "%s", err.msg);
	}
	close_log(log);
	ck_assert_int_eq(chmod(path, 0444), 0);
	ck_assert_int_eq(redo_store_open(path, 0, &s, &err), 0);
	ck_assert_int_eq(redo_store_open(path, 0, &t, &err), 0);       /* readers share it */
	redo_store_close(t);
	ck_assert_int_eq(redo_open(s, REDO_WRITE, &log, &err), 0);
	redo_info(log, &info);
	ck_assert(!info.writable && !info.damaged && info.state == PLY_REDO_CLEAN);
	close_log(log);
	/* what is no log */
	fd = open(other, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_eq(ftruncate(fd, 10000), 0);
	close(fd);
	ck_assert_int_eq(redo_store_open(other, REDO_WRITE, &s, &err), 0);
	ck_assert_int_eq(redo_open(s, REDO_WRITE, &log, &err), -EUCLEAN);
	ck_assert_int_eq(err.reason, PLY_R_REDO_NOT_REDO);
	ck_assert_int_eq(redo_store_open(dir, 0, &s, &err), -EINVAL);
	ck_assert_int_eq(err.reason, PLY_R_REDO_NOT_REDO);
	snprintf(other, sizeof(other), "%s/no/such", dir);
	ck_assert_int_eq(redo_create(other, &b, &err), -ENOENT);
	snprintf(other, sizeof(other), "%s/none", dir);
	unlink(other);
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);       /* nothing else was left */
}
END_TEST

/* --- failing disks ---------------------------------------------------------------------------------------------- */

/* Each call of the disk fails in its turn, and all behind it: nothing that was acknowledged is lost, what is there
 * is a prefix. */
START_TEST(failing)
{
	enum { STEPS = 60 };
	uint64_t digests[STEPS + 1];
	struct model *m = malloc(sizeof(*m));
	bool failed = true, cleaned = false;

	for (long at = 1; failed; at += _i ? 1 : 3) {
		struct redo_disk d;
		struct redo *log = NULL;
		struct redo_info info;
		uint64_t lsn = 0, is;
		int n = 0, acked = 0, k;

		format(&d);
		model_init(m, 7);
		digests[0] = model_digest(m);
		d.fail_at = at;
		d.fail_once = _i;
		if (redo_open(redo_disk_store(&d), REDO_WRITE, &log, &err) == 0) {
			for (int s = 0; s < STEPS; s++) {
				int r = model_step(m, log, &lsn, &err);

				if (r == 0)
					digests[++n] = model_digest(m);
				if (s % 7 == 6 && redo_commit(log, lsn, &err) == 0)
					acked = n;
				if (s % 20 == 19)
					redo_checkpoint(log, &err);
			}
			redo_info(log, &info);
			cleaned |= info.data_moved > 0;
			redo_close(log, &err);
		}
		failed = _i ? !d.fail_at : d.fail_at == 1;
		d.fail_at = 0;
		log = open_log(&d, REDO_WRITE);
		is = model_log_digest(log);
		for (k = n; k > acked && digests[k] != is; k--)
			;
		/* a record whose write failed in the middle was taken back */
		ck_assert_msg(digests[k] == is, "call %ld: %d acknowledged, %d appended", at, acked, n);
		close_log(log);
		redo_disk_done(&d);
	}
	ck_assert(cleaned);
	free(m);
}
END_TEST

START_TEST(a_failed_sync_is_the_end)
{
	struct model *m = malloc(sizeof(*m));
	struct redo_disk d;
	struct redo *log;
	struct redo_info info;
	uint64_t lsn = 0, syncs;

	format(&d);
	model_init(m, 3);
	log = open_log(&d, REDO_WRITE);
	while (model_step(m, log, &lsn, &err))
		;
	d.fail_at = 1;
	d.fail_once = true;
	ck_assert_int_eq(redo_commit(log, lsn, &err), -EIO);
	ck_assert_int_eq(err.reason, PLY_R_REDO_FAILED);
	syncs = d.syncs;
	/* never again, though the next one would succeed */
	ck_assert_int_eq(redo_commit(log, lsn, &err), -EIO);
	ck_assert_int_eq(redo_checkpoint(log, &err), -EIO);
	ck_assert_int_eq(try_op(log, remove_twice), -EIO);
	ck_assert_int_eq(err.reason, PLY_R_REDO_FAILED);
	compare(m, log, 3, 0);     /* what is in memory can be read */
	redo_info(log, &info);
	ck_assert(!info.writable);
	ck_assert_int_eq(redo_close(log, &err), -EIO);
	ck_assert_uint_eq(d.syncs, syncs);
	free(m);
	redo_disk_done(&d);
}
END_TEST

/* A system that cannot write there: it is read, and nothing is written. */
START_TEST(read_only_disk)
{
	struct model *m = malloc(sizeof(*m));
	struct redo_info info;
	struct redo_disk d;
	struct redo *log;
	uint64_t lsn, writes;

	format(&d);
	model_init(m, 5);
	log = open_log(&d, REDO_WRITE);
	for (int s = 0; s < 50; s++)
		model_step(m, log, &lsn, &err);
	redo_abandon(log);
	d.read_only = true;
	writes = d.writes;
	log = open_log(&d, REDO_WRITE);
	compare(m, log, 5, 0);
	redo_info(log, &info);
	ck_assert(!info.writable && !info.damaged);
	ck_assert_int_eq(try_op(log, remove_twice), -EROFS);
	ck_assert_int_eq(redo_commit(log, REDO_ALL, &err), 0);
	close_log(log);
	ck_assert_uint_eq(d.writes, writes);
	free(m);
	redo_disk_done(&d);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("redo");

	tap_loop(s, says_what_was_written, 0, 4);
	tap_test(s, many);
	tap_test(s, lost_numbers_have_another_generation);
	tap_test(s, who_asks_does_not_wait);
	tap_loop(s, damage_hurts_one_block, 0, 2);
	tap_test(s, damage_is_not_cleaned);
	tap_test(s, what_cannot_be_is_refused);
	tap_test(s, large_values);
	tap_test(s, copies_of_many_pieces);
	tap_test(s, orphans);
	tap_test(s, requests);
	tap_test(s, binding_comes_back);
	tap_test(s, a_binding_that_is_none);
	tap_test(s, features_and_states);
	tap_test(s, files);
	tap_loop(s, failing, 0, 2);
	tap_test(s, a_failed_sync_is_the_end);
	tap_test(s, read_only_disk);
	return s;
}
TAP_MAIN(suite)
