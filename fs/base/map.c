/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open addressing with linear probing, at most 3/4 full, grown by doubling.
 * Hash 0 means an empty slot and is stored as 1. Nothing is ever removed.
 */
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>

void map_done(struct map *m)
{
	free(m->slots);
	*m = (struct map){ 0 };
}

static void put(struct map *m, uint64_t hash, uint64_t value)
{
	size_t i = hash & m->mask;

	while (m->slots[i].hash)
		i = (i + 1) & m->mask;
	m->slots[i] = (struct map_slot){ hash, value };
}

int map_add(struct map *m, uint64_t hash, uint64_t value)
{
	if (!m->slots || m->used + 1 > (m->mask + 1) / 4 * 3) {
		struct map grown = { 0 };
		size_t n = m->slots ? (m->mask + 1) * 2 : 64;

		grown.slots = calloc(n, sizeof(*grown.slots));
		if (!grown.slots)
			return -ENOMEM;
		grown.mask = n - 1;
		grown.used = m->used;
		for (size_t i = 0; m->slots && i <= m->mask; i++)
			if (m->slots[i].hash)
				put(&grown, m->slots[i].hash, m->slots[i].value);
		free(m->slots);
		*m = grown;
	}
	put(m, hash ? hash : 1, value);
	m->used++;
	return 0;
}

static size_t probe(const struct map *m, uint64_t hash, size_t i)
{
	for (; m->slots[i].hash; i = (i + 1) & m->mask)
		if (m->slots[i].hash == hash)
			return i;
	return MAP_END;
}

size_t map_first(const struct map *m, uint64_t hash)
{
	if (!m->slots)
		return MAP_END;
	hash = hash ? hash : 1;
	return probe(m, hash, hash & m->mask);
}

size_t map_next(const struct map *m, uint64_t hash, size_t i)
{
	return probe(m, hash ? hash : 1, (i + 1) & m->mask);
}
