/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A log that is cut at any byte, or in which any byte is another: never a crash, and never anything but what was
 * appended, or a prefix of it with an error. In silence nothing is lost but what was never acknowledged.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_format.h"
#include "redo_disk.h"
#include "redo_model.h"
#include "tap.h"

enum { STEPS = 17 };

static struct ply_err err;
static uint64_t digests[STEPS + 1];
static int nsteps, nacked;
static struct redo_disk sound;
static unsigned long nfine, nreported, nrefused, nunread, nsilent;

enum { CLOSED, KILLED, CHECKPOINTED };

/* The last request is not committed. Returns how many blocks of data it has. */
static uint64_t make_from(int how, uint64_t seed)
{
	struct model *m = malloc(sizeof(*m));
	struct redo_info info;
	struct redo *log;
	uint64_t lsn = 0;

	nsteps = nacked = 0;
	redo_disk_init(&sound);
	ck_assert_int_eq(model_format(&sound), 0);
	model_init(m, seed);
	digests[0] = model_digest(m);
	ck_assert_int_eq(redo_open(redo_disk_store(&sound), REDO_WRITE, &log, &err), 0);
	while (nsteps < STEPS) {
		int r = model_step(m, log, &lsn, &err);

		ck_assert_msg(r >= 0, "%s", err.msg);
		if (r)
			continue;
		digests[++nsteps] = model_digest(m);
		if (nsteps % 5 == 0) {
			ck_assert_int_eq(redo_commit(log, lsn, &err), 0);
			nacked = nsteps;
		}
		if (how == CHECKPOINTED && nsteps == STEPS / 2)
			ck_assert_int_eq(redo_checkpoint(log, &err), 0);
	}
	ck_assert_int_lt(nacked, nsteps);
	redo_info(log, &info);
	if (how == KILLED) {
		redo_abandon(log);
	} else {
		ck_assert_int_eq(redo_close(log, &err), 0);
		nacked = nsteps;
	}
	free(m);
	return (info.data_live + info.data_dead) / PLY_REDO_BLOCK;
}

/* A small one, but with data that is referred to. */
static void make(int how)
{
	for (uint64_t seed = 1;; seed++) {
		uint64_t blocks = make_from(how, seed);

		if (blocks >= 2 && blocks <= 3)
			return;
		redo_disk_done(&sound);
	}
}

static bool is_prefix(uint64_t digest, int from)
{
	for (int k = from; k <= nsteps; k++)
		if (digests[k] == digest)
			return true;
	return false;
}

/* @acked: so many requests may not be lost in silence. */
static void judge(struct redo_disk *d, unsigned flags, int acked, const char *what, size_t at)
{
	struct buf text = { 0 };
	struct redo_info info;
	struct redo *log;
	uint64_t digest;
	int r = redo_open(redo_disk_store(d), flags, &log, &err);

	if (r < 0) {
		ck_assert_msg(r == -EUCLEAN || r == -EBADMSG || r == -EOPNOTSUPP, "%s %zu: %d %s", what, at, r,
			      err.msg);
		nrefused++;
		return;
	}
	redo_info(log, &info);
	model_log_text(log, &text);
	buf_add(&text, "", 1);
	digest = xxh3(text.data, text.len - 1, 1);
	if (strstr((char *)text.data, "cannot be read: REDO_DATA")) {
		nunread++;
	} else if (info.damaged) {
		ck_assert_msg(!info.writable && *info.warning && is_prefix(digest, 0), "%s %zu: %s", what, at,
			      info.warning);
		nreported++;
	} else {
		ck_assert_msg(is_prefix(digest, acked), "%s %zu: ends at %llu, nothing is reported", what, at,
			      (unsigned long long)info.tail_lsn);
		nfine += digest == digests[nsteps];
		nsilent += digest != digests[nsteps];
	}
	buf_done(&text);
	redo_abandon(log);
}

/* Of the parts that are all zeros, a byte now and then. */
static bool is_worth(size_t at)
{
	size_t from = at > 16 ? at - 16 : 0, n = MIN(32u, sound.size - from);

	for (size_t k = 0; k < n; k++)
		if (sound.bytes[from + k])
			return true;
	return at % 251 == 0;
}

START_TEST(cut_at_every_byte)
{
	struct redo_disk d;
	int acked;

	make(_i);
	/* who cuts off a log that was killed takes the witnesses with the rest */
	acked = _i == KILLED ? 0 : nacked;
	redo_disk_init(&d);
	for (size_t len = 0; len <= sound.size; len++) {
		if (!is_worth(len))
			continue;
		redo_disk_copy(&d, &sound);
		d.size = len;
		judge(&d, 0, acked, "cut at", len);
		if (len % 16 == 0)
			judge(&d, REDO_WRITE, acked, "cut, and opened to write, at", len);
	}
	ck_assert_uint_gt(nfine, 0);
	ck_assert_uint_gt(nrefused,
			  100); /* no superblock, or no binding, or no checkpoint, which lies behind the rest */
	ck_assert(_i != CLOSED || nreported > 100);
	redo_disk_done(&d);
	redo_disk_done(&sound);
}
END_TEST

START_TEST(flipped_at_every_byte)
{
	struct redo_disk d;
	uint64_t rng = 88172645463325252ull;

	make(_i);
	redo_disk_init(&d);
	redo_disk_copy(&d, &sound);
	for (size_t at = 0; at < sound.size; at++) {
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		if (!is_worth(at))
			continue;
		d.bytes[at] ^= (uint8_t)(1u << (rng >> 20) % 8);
		judge(&d, 0, nacked, "flipped at", at);
		if (at % 16 == 0) {
			struct redo_disk w;

			redo_disk_init(&w);
			redo_disk_copy(&w, &d);
			judge(&w, REDO_WRITE, nacked, "flipped, and opened to write, at", at);
			redo_disk_done(&w);
		}
		d.bytes[at] = sound.bytes[at];
	}
	ck_assert_uint_gt(nfine, 0);
	ck_assert_uint_gt(nreported, 0);
	ck_assert_uint_gt(nunread, 0);
	ck_assert_uint_gt(nrefused, 0);        /* the binding */
	/* of a log that was closed nothing is ever lost in silence, and of a killed one the last request only */
	ck_assert(_i == KILLED ? nsilent > 0 : nsilent == 0);
	redo_disk_done(&d);
	redo_disk_done(&sound);
}
END_TEST

/* One superblock damaged: the other one is used, and it is said; the next opening mends it. */
START_TEST(one_superblock)
{
	make(CLOSED);
	for (size_t slot = 0; slot < 2; slot++) {
		struct redo_info info;
		struct redo_disk d;
		struct redo *log;

		redo_disk_init(&d);
		redo_disk_copy(&d, &sound);
		d.bytes[4096 * slot + 100] ^= 1;
		ck_assert_int_eq(redo_open(redo_disk_store(&d), REDO_WRITE, &log, &err), 0);
		redo_info(log, &info);
		ck_assert(*info.warning && info.writable);
		ck_assert_uint_eq(model_log_digest(log), digests[nsteps]);
		redo_abandon(log);
		ck_assert_int_eq(redo_open(redo_disk_store(&d), 0, &log, &err), 0);
		redo_info(log, &info);
		ck_assert(!*info.warning);
		redo_abandon(log);
		redo_disk_done(&d);
	}
	redo_disk_done(&sound);
}
END_TEST

/* Segments do not overlap, and each byte of them has one. */
START_TEST(geometry)
{
	for (uint32_t i = 0; i < 100; i++) {
		uint64_t off = redo_segment_off(i), size = redo_segment_size(i);

		ck_assert(size >= PLY_REDO_SEGMENT_MIN && size <= PLY_REDO_SEGMENT_MAX);
		ck_assert_uint_eq(off + size, redo_segment_off(i + 1));
		ck_assert_uint_eq(redo_segment_at(off), i);
		ck_assert_uint_eq(redo_segment_at(off + size - 1), i);
	}
	ck_assert_uint_eq(redo_segment_off(0), 0);
	ck_assert_uint_eq(redo_segment_at(UINT64_MAX), PLY_REDO_SEGMENTS_MAX);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("redo-damage");

	tap_loop(s, cut_at_every_byte, CLOSED, CHECKPOINTED + 1);
	tap_loop(s, flipped_at_every_byte, CLOSED, CHECKPOINTED + 1);
	tap_test(s, one_superblock);
	tap_test(s, geometry);
	return s;
}
TAP_MAIN(suite)
