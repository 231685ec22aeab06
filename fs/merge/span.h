/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A piece of somebody else's bytes: nothing is copied, nothing owned. */
#ifndef PLYFS_MERGE_SPAN_H
#define PLYFS_MERGE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *s;
	size_t len;
};

#define SPAN(literal) ((struct span){ (const uint8_t *)(literal), sizeof(literal) - 1 })

static inline bool span_is(struct span a, struct span b)
{
	return a.len == b.len && (!a.len || !memcmp(a.s, b.s, a.len));
}

/* By bytes; what another one begins with comes before it. */
static inline int span_compare(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int r = n ? memcmp(a.s, b.s, n) : 0;

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

/* Without the first @n bytes, of which it has as many. */
static inline struct span span_from(struct span a, size_t n)
{
	return n ? (struct span){ a.s + n, a.len - n } : a;
}

/* What both cover, @b behind @a. */
static inline struct span span_join(struct span a, struct span b)
{
	return (struct span){ a.s, (size_t)(b.s + b.len - a.s) };
}

#endif
