/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The block cache: one decode per block, a hard budget, errors that do not stick. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache.h"
#include "plyfs/disk.h"
#include "tap.h"

#define BLOCKS 64

static atomic_int fills[BLOCKS];
static atomic_int fail_next;

static int fill(void *ctx, uint64_t key, void *dst, size_t size, struct ply_err *err)
{
	int *slow = ctx;

	if (slow && *slow)
		usleep(1000);
	if (atomic_load(&fail_next) && atomic_fetch_sub(&fail_next, 1) > 0)
		return ply_fail(err, -EIO, PLY_R_IMAGE_IO, "planted");
	atomic_fetch_add(&fills[key % BLOCKS], 1);
	memset(dst, (int)(key & 0xff), size);
	return 0;
}

static int get(struct cache *c, uint64_t key, int *slow)
{
	uint8_t b[3] = { 0 };
	struct ply_err err;
	int r = cache_read(c, key, PLY_BLOCK_SIZE, PLY_BLOCK_SIZE - 3, 3, b, fill, slow, &err);

	if (r == 0) {
		ck_assert_int_eq(b[0], (int)(key & 0xff));
		ck_assert_int_eq(b[2], (int)(key & 0xff));
	}
	return r;
}

START_TEST(hits_do_not_decode)
{
	struct cache_stats st;
	struct cache *c;

	ck_assert_int_eq(cache_new(1 << 20, &c), 0);
	for (int round = 0; round < 3; round++)
		for (uint64_t k = 0; k < 8; k++)
			ck_assert_int_eq(get(c, k, NULL), 0);
	for (int k = 0; k < 8; k++)
		ck_assert_int_eq(atomic_load(&fills[k]), 1);
	cache_stats(c, &st);
	ck_assert_uint_eq(st.misses, 8);
	ck_assert_uint_eq(st.hits, 16);
	ck_assert_uint_eq(st.bytes, 8 * PLY_BLOCK_SIZE);
	cache_free(c);
}
END_TEST

START_TEST(least_recently_used_goes_first)
{
	struct cache_stats st;
	struct cache *c;

	ck_assert_int_eq(cache_new(4 * PLY_BLOCK_SIZE, &c), 0);
	for (uint64_t k = 0; k < 4; k++)
		get(c, k, NULL);
	get(c, 0, NULL);
	get(c, 4, NULL);   /* pushes out 1 */
	get(c, 0, NULL);
	ck_assert_int_eq(atomic_load(&fills[0]), 1);
	get(c, 1, NULL);
	ck_assert_int_eq(atomic_load(&fills[1]), 2);
	cache_stats(c, &st);
	ck_assert_uint_eq(st.bytes, 4 * PLY_BLOCK_SIZE);
	ck_assert_uint_eq(st.bytes_max, 4 * PLY_BLOCK_SIZE);
	cache_free(c);
}
END_TEST

START_TEST(errors_do_not_stick)
{
	struct cache *c;

	ck_assert_int_eq(cache_new(1 << 20, &c), 0);
	atomic_store(&fail_next, 1);
	ck_assert_int_eq(get(c, 7, NULL), -EIO);
	ck_assert_int_eq(get(c, 7, NULL), 0);
	cache_free(c);
}
END_TEST

START_TEST(out_of_bounds_is_refused)
{
	struct cache *c;
	uint8_t b[8];

	ck_assert_int_eq(cache_new(1 << 20, &c), 0);
	ck_assert_int_eq(cache_read(c, 1, 100, 96, 8, b, fill, NULL, NULL), -EINVAL);
	ck_assert_int_eq(cache_read(c, 1, 100, SIZE_MAX, 8, b, fill, NULL, NULL), -EINVAL);
	ck_assert_int_eq(cache_read(c, 1, PLY_BLOCK_SIZE + 1, 0, 8, b, fill, NULL, NULL), -EINVAL);
	ck_assert_int_eq(get(c, 1, NULL), 0);
	ck_assert_int_eq(cache_read(c, 1, 100, 0, 8, b, fill, NULL, NULL), -EUCLEAN);
	cache_free(c);
}
END_TEST

START_TEST(shrink_gives_back_what_is_idle)
{
	struct cache_stats st;
	struct cache *c;

	ck_assert_int_eq(cache_new(1 << 20, &c), 0);
	get(c, 1, NULL);
	get(c, 2, NULL);
	cache_shrink(c);
	get(c, 2, NULL);
	cache_shrink(c);
	cache_stats(c, &st);
	ck_assert_uint_eq(st.bytes, PLY_BLOCK_SIZE);
	ck_assert_int_eq(get(c, 2, NULL), 0);
	ck_assert_int_eq(atomic_load(&fills[2]), 1);
	ck_assert_int_eq(get(c, 1, NULL), 0);
	ck_assert_int_eq(atomic_load(&fills[1]), 2);
	cache_free(c);
}
END_TEST

static struct cache *storm_cache;

static void *storm(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	int slow = 1;

	for (int i = 0; i < 300; i++) {
		seed = seed * 1103515245 + 12345;
		get(storm_cache, (seed >> 16) % 12, i % 8 ? NULL : &slow);
	}
	return NULL;
}

/* More threads than slots: nobody gets wrong bytes, nobody waits for ever. */
START_TEST(many_threads_few_slots)
{
	struct cache_stats st;
	pthread_t t[16];

	ck_assert_int_eq(cache_new(4 * PLY_BLOCK_SIZE, &storm_cache), 0);
	atomic_store(&fail_next, 50);
	for (uintptr_t i = 0; i < 16; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, storm, (void *)(i + 1)), 0);
	for (int i = 0; i < 16; i++)
		pthread_join(t[i], NULL);
	cache_stats(storm_cache, &st);
	ck_assert_uint_le(st.bytes, 4 * PLY_BLOCK_SIZE);
	ck_assert_uint_eq(st.hits + st.misses, 16 * 300);
	cache_free(storm_cache);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache");

	tap_test(s, hits_do_not_decode);
	tap_test(s, least_recently_used_goes_first);
	tap_test(s, errors_do_not_stick);
	tap_test(s, out_of_bounds_is_refused);
	tap_test(s, shrink_gives_back_what_is_idle);
	tap_test(s, many_threads_few_slots);
	return s;
}
TAP_MAIN(suite)
