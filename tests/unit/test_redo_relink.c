/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A log is told where its parent is now. Wherever that is interrupted, and wherever the last write is torn, the log opens,
 * names the old place or the new one, and has lost nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/util.h"
#include "redo/redo_format.h"
#include "redo_disk.h"
#include "redo_model.h"
#include "tap.h"

#define WAS "/srv/shop.plyfs"
#define IS  "/var/lib/images/of another name.plyfs"

static struct ply_err err;

/* A log with some changes in it, closed. */
static uint64_t make(struct redo_disk *d)
{
	struct model *m = malloc(sizeof(*m));
	uint64_t lsn, digest;
	struct redo *log;

	redo_disk_init(d);
	ck_assert_int_eq(model_format(d), 0);
	model_init(m, 3);
	ck_assert_int_eq(redo_open(redo_disk_store(d), REDO_WRITE, &log, &err), 0);
	for (int i = 0; i < 30; i++)
		ck_assert_int_ge(model_step(m, log, &lsn, &err), 0);
	digest = model_digest(m);
	ck_assert_int_eq(redo_close(log, &err), 0);
	free(m);
	return digest;
}

static int relink(struct redo_disk *d, const char *path)
{
	struct redo *log;
	int r = redo_open(redo_disk_store(d), 0, &log, &err);

	ck_assert_msg(r == 0, "%s", err.msg);
	r = redo_relink(log, path, &err);
	redo_abandon(log);
	return r;
}

/* Opens it, to be written and closed again too, and compares. True: the place is the new one. */
static bool is_moved(struct redo_disk *d, uint64_t digest, const char *to)
{
	struct redo_binding was = model_binding();
	const struct redo_binding *b;
	struct redo_info info;
	struct redo *log;
	bool moved;
	int r = redo_open(redo_disk_store(d), REDO_WRITE, &log, &err);

	ck_assert_msg(r == 0, "%s", err.msg);
	b = redo_binding(log);
	moved = strcmp(b->path, to) == 0;
	ck_assert_msg(moved || strcmp(b->path, WAS) == 0, "the place is %s", b->path);
	ck_assert_mem_eq(b->parent_uuid, was.parent_uuid, 16);
	ck_assert_mem_eq(b->parent_digest, was.parent_digest, 32);
	ck_assert_uint_eq(b->parent_generation, was.parent_generation);
	ck_assert_uint_eq(b->number, was.number);
	ck_assert_uint_eq(b->names_len, was.names_len);
	ck_assert_mem_eq(b->names, was.names, was.names_len);
	ck_assert_uint_eq(b->ndecisions, 2);
	ck_assert_uint_eq(b->decisions[1].driver, 7);
	redo_info(log, &info);
	ck_assert(info.writable && !info.damaged);
	ck_assert_uint_eq(model_log_digest(log), digest);
	ck_assert_int_eq(redo_close(log, &err), 0);
	return moved;
}

START_TEST(the_place_is_another_one)
{
	struct redo_disk d;
	uint64_t digest = make(&d);
	char longest[PATH_MAX];

	ck_assert_int_eq(relink(&d, IS), 0);
	ck_assert(is_moved(&d, digest, IS));
	/* again and again, to and fro, as long as a path can be */
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(relink(&d, i % 2 ? "/a" : longest), 0);
		ck_assert(is_moved(&d, digest, i % 2 ? "/a" : longest));
	}
	redo_disk_done(&d);
}
END_TEST

START_TEST(stopped_anywhere)
{
	unsigned long old = 0, new = 0;
	struct redo_disk d, before, now;
	uint64_t digest = make(&d);

	redo_disk_init(&before);
	redo_disk_copy(&before, &d);
	d.recording = true;
	ck_assert_int_eq(relink(&d, IS), 0);
	d.recording = false;
	ck_assert_uint_eq(d.nops, 6);          /* binding, and two superblocks: each is synced before the next */
	for (size_t i = 0; i < d.nops; i++)
		ck_assert_int_eq(d.ops[i].what, i % 2 ? DISK_SYNC : DISK_WRITE);
	for (size_t i = 0; i < d.nops; i += 2) {
		for (uint64_t len = 0; len <= d.ops[i].len; len += len < 512 ? 1 : 61) {
			redo_disk_init(&now);
			redo_disk_copy(&now, &before);
			redo_disk_play(&now, &d.ops[i], 0, len);
			if (is_moved(&now, digest, IS))
				new++;
			else
				old++;
			redo_disk_done(&now);
		}
		redo_disk_play(&before, &d.ops[i], 0, d.ops[i].len);
	}
	ck_assert_uint_gt(old, 500);
	ck_assert_uint_gt(new, 500);
	ck_assert(is_moved(&before, digest, IS));
	redo_disk_done(&before);
	redo_disk_done(&d);
}
END_TEST

START_TEST(failing_anywhere)
{
	bool failed = true;

	for (long n = 1; failed; n++) {
		struct redo_disk d;
		uint64_t digest = make(&d);
		struct redo *log;

		ck_assert_int_eq(redo_open(redo_disk_store(&d), 0, &log, &err), 0);
		d.fail_at = n;
		failed = redo_relink(log, IS, &err) < 0;
		d.fail_at = 0;
		redo_abandon(log);
		ck_assert_int_eq(failed, n <= 6);
		ck_assert(is_moved(&d, digest, IS) || failed);
		redo_disk_done(&d);
	}
}
END_TEST

START_TEST(refused)
{
	struct redo_disk d;
	uint64_t digest = make(&d);
	char *longer = malloc(70000);
	struct redo_super s;
	uint8_t raw[PLY_SUPER_SIZE];

	memset(longer, 'x', 70000);
	longer[69999] = '\0';
	ck_assert_int_eq(relink(&d, longer), -EINVAL);
	longer[60000] = '\0';
	ck_assert_int_eq(relink(&d, longer), -ENOSPC);
	ck_assert_int_eq(err.reason, PLY_R_LIMIT);
	free(longer);
	d.read_only = true;
	ck_assert_int_eq(relink(&d, IS), -EROFS);
	ck_assert_int_eq(err.reason, PLY_R_REDO_READ_ONLY);
	d.read_only = false;
	ck_assert(!is_moved(&d, digest, IS));
	/* a binding in the middle leaves no half free; nothing is written over it */
	for (uint32_t i = 0; i < PLY_SUPER_SLOTS; i++) {
		ck_assert_int_eq(redo_super_decode(d.bytes + i * PLY_SUPER_SIZE, i, &s, &err), 0);
		if (i == 0) {
			memcpy(d.bytes + s.binding_off + 8100, d.bytes + s.binding_off, s.binding_len);
			memset(d.bytes + s.binding_off, 0, 64);
		}
		s.binding_off += 8100;
		redo_super_encode(&s, i, raw);
		memcpy(d.bytes + i * PLY_SUPER_SIZE, raw, sizeof(raw));
	}
	ck_assert_int_eq(relink(&d, IS), -ENOSPC);
	ck_assert_int_eq(err.reason, PLY_R_LIMIT);
	ck_assert(!is_moved(&d, digest, IS));
	redo_disk_done(&d);
}
END_TEST

/* It has no name, is all there is, and is gone with who has it open. */
START_TEST(nobody_keeps_a_volatile_one)
{
	struct redo_binding b = model_binding();
	struct model *m = malloc(sizeof(*m));
	struct redo_info info;
	struct redo *log;
	uint64_t lsn;
	int fd = _i ? memfd_create("log", MFD_CLOEXEC) : open("/tmp", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(redo_open_volatile(fd, &b, &log, &err), 0);
	model_init(m, 5);
	for (int i = 0; i < 200; i++)
		ck_assert_int_ge(model_step(m, log, &lsn, &err), 0);
	ck_assert_int_eq(redo_commit(log, REDO_ALL, &err), 0);
	ck_assert_int_eq(redo_checkpoint(log, &err), 0);
	ck_assert_uint_eq(model_log_digest(log), model_digest(m));
	redo_info(log, &info);
	ck_assert(info.writable);
	ck_assert_str_eq(redo_binding(log)->path, WAS);
	ck_assert_int_eq(redo_close(log, &err), 0);
	free(m);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("redo_relink");

	tap_test(s, the_place_is_another_one);
	tap_test(s, stopped_anywhere);
	tap_test(s, failing_anywhere);
	tap_test(s, refused);
	tap_loop(s, nobody_keeps_a_volatile_one, 0, 2);
	return s;
}
TAP_MAIN(suite)
