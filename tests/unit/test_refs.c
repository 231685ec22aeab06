/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counts per inode, against a plain array, at random and from several threads. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "fuse/refs.c"
#include "unit/tap.h"

#define INODES 3000u
#define STEPS  400000u

static uint64_t state = 1;

static uint32_t rnd(uint32_t n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(state >> 33) % n;
}

/* Some near each other, as in an image, some far away. */
static uint64_t number(uint32_t i)
{
	return i % 3 == 0 ? (uint64_t)(16384 + i % 5) << 48 | (i + 1) : i % 3 == 1 ? i + 1 : (uint64_t)(i + 1) << 32;
}

static struct {
	uint64_t looks, writers;
} model[INODES];

static void check(struct refs *r, uint32_t i)
{
	ck_assert_int_eq(refs_is_known(r, number(i)), model[i].looks || model[i].writers);
	ck_assert_int_eq(refs_is_written(r, number(i)), model[i].writers != 0);
}

/* Grows, and shrinks to nothing. */
static void step(struct refs *r, bool grow)
{
	uint32_t i = rnd(INODES);
	uint64_t n = rnd(4);

	switch (rnd(grow ? 6 : 2)) {
	case 0:
		model[i].looks -= MIN(n, model[i].looks);
		ck_assert_int_eq(refs_forget(r, number(i), n), !model[i].looks && !model[i].writers);
		break;
	case 1:
		model[i].writers -= MIN(1, model[i].writers);
		ck_assert_int_eq(refs_close(r, number(i)), !model[i].looks && !model[i].writers);
		break;
	case 2:
		model[i].writers++;
		ck_assert(refs_open(r, number(i)));
		break;
	default:
		model[i].looks++;
		ck_assert(refs_look(r, number(i)));
	}
	check(r, i);
}

START_TEST(counts_as_an_array_does)
{
	struct refs *r = refs_new();
	size_t used = 0;

	ck_assert_ptr_nonnull(r);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < STEPS; i++)
			step(r, i < STEPS / 3);
		for (uint32_t i = 0; i < INODES; i++) {
			check(r, i);
			refs_forget(r, number(i), UINT64_MAX);
			while (model[i].writers && model[i].writers--)
				refs_close(r, number(i));
			model[i].looks = 0;
			check(r, i);
		}
	}
	for (size_t i = 0; i < STRIPES; i++) {
		used += r->stripes[i].used;
		ck_assert_uint_le(r->stripes[i].cap, MIN_CAP);
	}
	ck_assert_uint_eq(used, 0);
	ck_assert_ptr_null(refs_free(r));
	ck_assert_ptr_null(refs_free(NULL));
}
END_TEST

static void *look_and_forget(void *arg)
{
	struct refs *r = arg;

	for (uint32_t i = 0; i < 60000; i++) {
		refs_look(r, number(i % 500));
		refs_open(r, number(i % 500));
		refs_close(r, number(i % 500));
		if (i % 2)
			refs_forget(r, number((i * 7) % 500), 1);
	}
	return NULL;
}

START_TEST(marks_live_as_long_as_counts)
{
	struct refs *r = refs_new();

	refs_mark(r, 7, 1);                /* not known: not kept */
	ck_assert_uint_eq(refs_marked(r, 7), 0);
	refs_look(r, 7);
	ck_assert_uint_eq(refs_marked(r, 7), 0);
	refs_mark(r, 7, UINT64_MAX);
	for (uint32_t i = 0; i < 1000; i++)
		refs_look(r, number(i + 100));
	for (uint32_t i = 0; i < 1000; i++)
		refs_forget(r, number(i + 100), 1);
	ck_assert_uint_eq(refs_marked(r, 7), UINT64_MAX);
	ck_assert(refs_forget(r, 7, 1));
	refs_look(r, 7);
	ck_assert_uint_eq(refs_marked(r, 7), 0);
	refs_free(r);
}
END_TEST

/* What four threads have counted, one forgets. */
START_TEST(threads_lose_nothing)
{
	struct refs *r = refs_new();
	pthread_t t[4];

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, look_and_forget, r), 0);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	for (uint32_t i = 0; i < 500; i++)
		ck_assert(!refs_is_written(r, number(i)));
	refs_look(r, number(1));
	ck_assert(refs_forget(r, number(1), UINT64_MAX));
	ck_assert(!refs_is_known(r, number(1)));
	refs_free(r);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("refs");

	tap_test(s, counts_as_an_array_does);
	tap_test(s, marks_live_as_long_as_counts);
	tap_test(s, threads_lose_nothing);
	return s;
}
TAP_MAIN(suite)
