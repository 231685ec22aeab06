/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small things that every folder needs. */
#ifndef PLYFS_BASE_UTIL_H
#define PLYFS_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define TAKE_PTR(p) \
	({ \
		__typeof__(p) take_ = (p); \
		(p) = NULL; \
		take_; \
	})
#define TAKE_FD(fd) \
	({ \
		int take_ = (fd); \
		(fd) = -1; \
		take_; \
	})

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define _cleanup_free_  __attribute__((cleanup(cleanup_free)))
#define _cleanup_close_ __attribute__((cleanup(cleanup_close)))

static inline uint64_t align_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/* CLOCK_MONOTONIC, in nanoseconds, and in seconds. */
int64_t clock_ns(void);
static inline double clock_s(void)
{
	return (double)clock_ns() / 1e9;
}

/* Grow *@array (elements of @size bytes) so that it holds @want; -ENOMEM. */
int array_grow(void *array, size_t *cap, size_t want, size_t size);

/* "%016x"-like lower-case hex; @out holds 2 * n + 1. */
void hex_encode(const void *bytes, size_t n, char *out);
/* 2 * n hex digits to bytes; false where it is not exactly that. */
bool hex_decode(const char *text, void *out, size_t n);

/*
 * A name or path for people, on one line: bytes below 0x20, 0x7f, backslash
 * and invalid UTF-8 become \n, \t, \\ or \xHH. Returns a malloc-ed string or
 * NULL. ply_escape_to writes at most @cap bytes with the NUL and cuts.
 */
char *escape_name(const char *bytes, size_t len);
size_t escape_name_to(const char *bytes, size_t len, char *out, size_t cap);

/* Whole transfers; -EIO at an early end of file. */
int pread_full(int fd, void *buf, size_t len, uint64_t off);
int pwrite_full(int fd, const void *buf, size_t len, uint64_t off);

/* "64M", "10k", "4096" -> bytes; -EINVAL, -ERANGE. */
int parse_size(const char *text, uint64_t *ret);

/* Bytes for people: "1.4 GiB". @out holds 16. Returns @out. */
char *format_size(uint64_t bytes, char out[16]);

#endif
