/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * main() of a unit test: runs one Check suite, a fork per test, TAP on stdout.
 *
 *   START_TEST(adds) { ck_assert_int_eq(1 + 1, 2); } END_TEST
 *
 *   static Suite *suite(void)
 *   {
 *           Suite *s = suite_create("sums");
 *
 *           tap_test(s, adds);
 *           tap_loop(s, each_of_them, 0, 10);
 *           return s;
 *   }
 *   TAP_MAIN(suite)
 *
 * CK_RUN_CASE=NAME runs one test, CK_FORK=no keeps it in the process (for gdb).
 * To fail an allocation, define __wrap_malloc(): the Makefile sees the name and links
 * with --wrap=malloc; so for any other function.
 */
#ifndef PLYFS_TESTS_TAP_H
#define PLYFS_TESTS_TAP_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Sanitizers and busy machines are slow; a hang is still found. */
#define TAP_TIMEOUT_S "120"

static inline void tap_case(Suite *s, const char *name, const TTest *test, int first, int end)
{
	TCase *tc = tcase_create(name);

	if (first == end)
		tcase_add_test(tc, test);
	else
		tcase_add_loop_test(tc, test, first, end);
	suite_add_tcase(s, tc);
}

/* A test case with one test of the same name. */
#define tap_test(s, fn) tap_case(s, #fn, fn, 0, 0)
/* The test sees _i from @first to @end - 1. */
#define tap_loop(s, fn, first, end) tap_case(s, #fn, fn, first, end)

static inline int tap_main(Suite *(*suite)(void))
{
	SRunner *runner;
	int failed;

	setenv("CK_DEFAULT_TIMEOUT", TAP_TIMEOUT_S, 0);
	runner = srunner_create(suite());
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define TAP_MAIN(suite) \
	int main(void) \
	{ \
		return tap_main(suite); \
	}

#endif
