/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open-addressing hash map from a 64-bit hash to a 64-bit value; equal hashes
 * may stand several times, the caller compares what the values mean:
 *
 *   for (size_t i = map_first(&m, h); i != MAP_END; i = map_next(&m, h, i))
 *           if (same(m.slots[i].value)) ...
 */
#ifndef PLYFS_BASE_MAP_H
#define PLYFS_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_slot {
	uint64_t hash;             /* 0: empty */
	uint64_t value;
};

struct map {
	struct map_slot *slots;
	size_t mask, used;
};

#define MAP_END ((size_t)-1)

void map_done(struct map *m);
int map_add(struct map *m, uint64_t hash, uint64_t value);  /* -ENOMEM */
size_t map_first(const struct map *m, uint64_t hash);
size_t map_next(const struct map *m, uint64_t hash, size_t i);

#endif
