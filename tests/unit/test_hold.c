/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who answers is put on one processor while requests come in a row, and is free again afterwards, and at the end. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "fuse/hold.c"
#include "unit/tap.h"

#define THREADS 3u
#define TRIES   5000u              /* ms, each with many requests */

static struct {
	pthread_t threads[THREADS];
	struct hold *_Atomic hold;
	atomic_bool ask, stop;
} w;

/* Whoever would take requests: as fast as it can, or not at all. */
static void *answerer(void *arg)
{
	const struct timespec pause = { .tv_nsec = 1000 };

	(void)arg;
	while (!atomic_load(&w.stop)) {
		if (atomic_load(&w.ask))
			hold_request(atomic_load(&w.hold));
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static int processors(pthread_t thread)
{
	cpu_set_t set;

	ck_assert_int_eq(pthread_getaffinity_np(thread, sizeof(set), &set), 0);
	return CPU_COUNT(&set);
}

static bool all_have(int n)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (processors(w.threads[i]) != n)
			return false;
	return true;
}

static bool comes_to(int n)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	for (unsigned i = 0; i < TRIES; i++) {
		if (all_have(n))
			return true;
		nanosleep(&ms, NULL);
	}
	return false;
}

static void begin(void)
{
	struct hold *h;
	struct ply_err err;

	atomic_store(&w.stop, false);
	atomic_store(&w.ask, false);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&w.threads[i], NULL, answerer, NULL), 0);
	ck_assert_int_eq(hold_new(w.threads, THREADS, &h, &err), 0);
	atomic_store(&w.hold, h);
}

static void end(void)
{
	hold_stop(atomic_load(&w.hold));
	if (atomic_load(&w.hold))
		ck_assert(all_have(2));
	atomic_store(&w.stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w.threads[i], NULL);
	ck_assert_ptr_eq(hold_free(atomic_load(&w.hold)), NULL);
}

START_TEST(a_row_of_requests)
{
	begin();
	ck_assert(all_have(2));
	for (unsigned i = 0; i < 3; i++) {
		atomic_store(&w.ask, true);
		ck_assert_msg(comes_to(1), "nobody was put on one processor");
		atomic_store(&w.ask, false);
		ck_assert_msg(comes_to(2), "who answers was not let go");
	}
	end();
}
END_TEST

START_TEST(stopped_in_the_middle)
{
	for (unsigned i = 0; i < 20; i++) {
		begin();
		atomic_store(&w.ask, true);
		if (i % 2)
			ck_assert(comes_to(1));
		end();
	}
}
END_TEST

START_TEST(another_number_of_processors)
{
	struct hold *h = (struct hold *)&w;
	cpu_set_t all, one;
	struct ply_err err;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	ck_assert_int_eq(hold_new(w.threads, THREADS, &h, &err), 0);
	ck_assert_ptr_eq(h, NULL);
	hold_request(NULL);
	hold_stop(NULL);
	ck_assert_ptr_eq(hold_free(NULL), NULL);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(all), &all), 0);
}
END_TEST

/* Two of those that there are; with one there is nothing to be seen. */
static bool two_processors(void)
{
	cpu_set_t all, two;

	CPU_ZERO(&two);
	sched_getaffinity(0, sizeof(all), &all);
	for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&two) < 2; i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &two);
	return CPU_COUNT(&two) == 2 && sched_setaffinity(0, sizeof(two), &two) == 0;
}

static Suite *suite(void)
{
	Suite *s = suite_create("hold");

	if (two_processors()) {
		tap_test(s, a_row_of_requests);
		tap_test(s, stopped_in_the_middle);
	}
	tap_test(s, another_number_of_processors);
	return s;
}
TAP_MAIN(suite)
