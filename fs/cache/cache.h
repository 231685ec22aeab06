/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decoded blocks, shared by all readers of a view, under one hard budget in
 * bytes. A block that is being decoded has a state of its own: others wait for
 * it instead of decoding it twice.
 */
#ifndef PLYFS_CACHE_H
#define PLYFS_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "plyfs/error.h"

struct cache;

/* Fill @dst (@size bytes) with the block @key; 0 or a negative errno. */
typedef int (*cache_fill_fn)(void *ctx, uint64_t key, void *dst, size_t size, struct ply_err *err);

struct cache_stats {
	uint64_t hits, misses, evictions, waits;
	uint64_t bytes, bytes_max;
};

/* @budget is rounded up to what one block per reader needs. -ENOMEM. */
int cache_new(size_t budget, struct cache **ret);
struct cache *cache_free(struct cache *cache);

/*
 * Copy [off, off + len) of block @key (of @size bytes decoded) to @dst, decoding it
 * with @fill where it is not there. Errors of @fill are returned to all who waited.
 */
int cache_read(struct cache *cache, uint64_t key, size_t size, size_t off, size_t len, void *dst,
	       cache_fill_fn fill, void *ctx, struct ply_err *err);

/* Give back what was not used since the last call; for an idle daemon. */
void cache_shrink(struct cache *cache);

void cache_stats(struct cache *cache, struct cache_stats *ret);

#endif
