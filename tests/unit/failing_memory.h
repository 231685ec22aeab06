/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocations that fail, for a test program that is linked with --wrap=malloc,calloc,realloc (Makefile): fail_at is
 * which of the next ones does. Included once, by its only source.
 */
#ifndef PLYFS_TEST_FAILING_MEMORY_H
#define PLYFS_TEST_FAILING_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

static long fail_at;               /* 0: none; else the n-th from now */

static bool fails(void)
{
	return fail_at && !--fail_at;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

#endif
