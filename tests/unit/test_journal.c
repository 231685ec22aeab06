/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a layout's state. A journal that is cut at any byte tells what its whole records tell; one in which any
 * byte is another is refused; so is a plan.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "layout/journal.h"
#include "tap.h"

static struct ply_err err;
static const uint8_t digest[32] = { 1, 2, 3, 4 };

struct bytes {
	uint8_t b[32 * JOURNAL_RECORD];
	size_t len;
};

static void add(struct bytes *j, enum journal_type type, uint32_t phase)
{
	journal_encode(type, j->len / JOURNAL_RECORD, phase, type == JOURNAL_BEGIN ? digest : NULL, j->b + j->len);
	j->len += JOURNAL_RECORD;
}

/* Begun, resumed in the third phase, complete, taken out. */
static struct bytes whole(void)
{
	struct bytes j = { .len = 0 };

	add(&j, JOURNAL_BEGIN, 0);
	for (uint32_t p = PHASE_DIRECTORIES; p <= PHASE_METADATA; p++) {
		add(&j, JOURNAL_PHASE_BEGUN, p);
		if (p == PHASE_OTHERS)
			add(&j, JOURNAL_PHASE_BEGUN, p);
		add(&j, JOURNAL_PHASE_COMMITTED, p);
	}
	add(&j, JOURNAL_COMPLETE, 0);
	add(&j, JOURNAL_ABORTING, 0);
	return j;
}

START_TEST(what_is_written_is_read)
{
	struct bytes j = whole();
	struct journal is;

	ck_assert_int_eq(journal_parse(j.b, j.len, &is, &err), 0);
	ck_assert_uint_eq(is.nrecords, 14);
	ck_assert_uint_eq(is.len, j.len);
	ck_assert_uint_eq(is.begun, 0x3e);
	ck_assert_uint_eq(is.committed, 0x3e);
	ck_assert(is.started && is.complete && is.aborting);
	ck_assert_int_eq(memcmp(is.digest, digest, 32), 0);
	ck_assert_int_eq(journal_parse(j.b, 0, &is, &err), 0);
	ck_assert(!is.started && !is.len);
}
END_TEST

START_TEST(torn_at_every_byte)
{
	struct bytes j = whole(), torn;
	struct journal is;

	for (size_t cut = 0; cut <= j.len; cut++) {
		size_t records = cut / JOURNAL_RECORD;

		ck_assert_int_eq(journal_parse(j.b, cut, &is, &err), 0);
		ck_assert_uint_eq(is.nrecords, records);
		ck_assert_uint_eq(is.len, records * JOURNAL_RECORD);
		/* the file has its length, the bytes are not there */
		memset(&torn, 0, sizeof(torn));
		memcpy(torn.b, j.b, cut);
		for (size_t len = cut; len <= j.len; len++) {
			ck_assert_int_eq(journal_parse(torn.b, len, &is, &err), 0);
			ck_assert_uint_eq(is.nrecords, records);
		}
	}
}
END_TEST

START_TEST(flipped_at_every_byte)
{
	struct bytes j = whole();
	struct journal is;

	for (size_t at = 0; at < j.len; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			int r;

			j.b[at] ^= (uint8_t)(1u << bit);
			r = journal_parse(j.b, j.len, &is, &err);
			ck_assert_msg(r == -EBADMSG || r == -EUCLEAN, "byte %zu, bit %u: %d", at, bit, r);
			ck_assert_int_eq(err.reason, PLY_R_STATE_DAMAGED);
			j.b[at] ^= (uint8_t)(1u << bit);
		}
}
END_TEST

/* Records whose checksum is right, and which no layout writes. */
START_TEST(records_in_another_order_are_refused)
{
	static const struct {
		enum journal_type type;
		uint32_t phase;
	} bad[][4] = {
		{ { JOURNAL_PHASE_BEGUN, 1 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_BEGIN, 0 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_PHASE_COMMITTED, 1 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_PHASE_BEGUN, 2 }, { JOURNAL_PHASE_COMMITTED, 2 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_PHASE_BEGUN, 0 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_PHASE_BEGUN, 6 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_PHASE_BEGUN, 33 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_PHASE_BEGUN, UINT32_MAX } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_PHASE_BEGUN, 1 }, { JOURNAL_PHASE_COMMITTED, 1 },
		  { JOURNAL_PHASE_BEGUN, 1 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_COMPLETE, 0 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_COMPLETE, 1 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_ABORTING, 0 }, { JOURNAL_PHASE_BEGUN, 1 } },
		{ { JOURNAL_BEGIN, 0 }, { JOURNAL_ABORTING, 0 }, { JOURNAL_ABORTING, 0 } },
		{ { JOURNAL_BEGIN, 0 }, { (enum journal_type)9, 0 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct bytes j = { .len = 0 };
		struct journal is;

		for (size_t k = 0; k < 4 && bad[i][k].type; k++)
			add(&j, bad[i][k].type, bad[i][k].phase);
		ck_assert_int_eq(journal_parse(j.b, j.len, &is, &err), -EUCLEAN);
		ck_assert_int_eq(journal_parse(j.b, j.len - JOURNAL_RECORD, &is, &err), 0);
	}
}
END_TEST

static struct saved plan(void)
{
	static char image[] = "/srv/shop.plyfs", names[] = "os\0web";
	static struct ply_decision decisions[] = { { 1, 2, PLY_RULE_LAST, 0 }, { 3, 4, PLY_RULE_DRIVER, 7 } };
	static struct saved_owner owners[] = { { 0, 1, 33, 34 } };
	static uint8_t acl[] = { 2, 0, 0, 0 };
	struct saved s = {
		.generation = 3, .lossy = true, .map_owner = true, .map_uid = 1, .map_gid = 2, .uid = 5, .gid = 6,
		.root_mode = 0755, .root_uid = 8, .root_times = { { 5, 6 }, { -7, 999999999 } },
		.image = image, .names = names, .names_len = sizeof(names), .nnames = 2,
		.decisions = decisions, .ndecisions = 2, .owners = owners, .nowners = 1,
		.acl = { NULL, acl }, .acl_len = { 0, sizeof(acl) },
	};

	memcpy(s.digest, digest, 32);
	s.limits.lacks[FIELD_LINK_COUNT] = true;
	s.limits.time_min = INT64_MIN;
	s.limits.time_max = INT64_MAX;
	s.limits.time_step_ns = 100;
	s.limits.name_len = 255;
	s.limits.creates_mode = true;
	return s;
}

START_TEST(a_plan_comes_back)
{
	struct saved s = plan(), is;
	struct buf out = { 0 }, again = { 0 };
	const char *name;

	ck_assert_int_eq(saved_encode(&s, &out), 0);
	ck_assert_msg(saved_decode(out.data, out.len, &is, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(saved_encode(&is, &again), 0);
	ck_assert_uint_eq(out.len, again.len);
	ck_assert_int_eq(memcmp(out.data, again.data, out.len), 0);
	ck_assert_str_eq(is.image, s.image);
	name = saved_name(&is, NULL);
	ck_assert_str_eq(name, "os");
	name = saved_name(&is, name);
	ck_assert_str_eq(name, "web");
	ck_assert_ptr_null(saved_name(&is, name));
	ck_assert(is.limits.lacks[FIELD_LINK_COUNT] && !is.limits.lacks[FIELD_LINK]);
	ck_assert_int_eq(is.root_times[1].tv_sec, -7);
	ck_assert_uint_eq(is.decisions[1].driver, 7);
	saved_done(&is);
	buf_done(&out);
	buf_done(&again);
}
END_TEST

START_TEST(a_plan_that_is_cut_or_flipped_is_refused)
{
	struct saved s = plan(), is;
	struct buf out = { 0 };

	ck_assert_int_eq(saved_encode(&s, &out), 0);
	for (size_t len = 0; len < out.len; len++)
		ck_assert_int_lt(saved_decode(out.data, len, &is, &err), 0);
	for (size_t at = 0; at < out.len; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			le64 sum;

			out.data[at] ^= (uint8_t)(1u << bit);
			ck_assert_int_lt(saved_decode(out.data, out.len, &is, &err), 0);
			/* with a checksum that is right it may be another plan, but nothing worse */
			sum = le64_put(xxh3(out.data, out.len - 8, 0));
			if (at < out.len - 8) {
				uint8_t before[8];

				memcpy(before, out.data + out.len - 8, 8);
				memcpy(out.data + out.len - 8, &sum, 8);
				if (saved_decode(out.data, out.len, &is, &err) == 0)
					saved_done(&is);
				memcpy(out.data + out.len - 8, before, 8);
			}
			out.data[at] ^= (uint8_t)(1u << bit);
		}
	buf_done(&out);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("journal");

	tap_test(s, what_is_written_is_read);
	tap_test(s, torn_at_every_byte);
	tap_test(s, flipped_at_every_byte);
	tap_test(s, records_in_another_order_are_refused);
	tap_test(s, a_plan_comes_back);
	tap_test(s, a_plan_that_is_cut_or_flipped_is_refused);
	return s;
}
TAP_MAIN(suite)
