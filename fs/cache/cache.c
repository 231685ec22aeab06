/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decoded blocks under one budget. Slots of PLY_BLOCK_SIZE are allocated as they
 * are needed, up to the budget, and reused least recently used first.
 *
 * A slot is EMPTY, FILLING (one thread decodes, others wait for `changed`) or
 * READY. A slot with pins is never reused; bytes of a READY, pinned slot are read
 * without the lock. When every slot is pinned the next reader waits: the budget
 * is hard.
 *
 * Locking: `lock` guards everything but the bytes of pinned slots.
 */
#include "cache/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "plyfs/disk.h"

enum state { EMPTY, FILLING, READY };

struct slot {
	uint64_t key;
	uint8_t *data;             /* PLY_BLOCK_SIZE bytes or NULL */
	size_t size;
	enum state state;
	unsigned pins;
	bool used;                 /* since the last cache_shrink() */
	int32_t hash_next;         /* in its bucket; -1: last */
	int32_t lru_prev, lru_next;/* -1: end */
};

struct cache {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct slot *slots;
	int32_t nslots;
	int32_t *buckets;
	uint32_t nbuckets;         /* power of two */
	int32_t lru_head, lru_tail;/* head: most recently used */
	struct cache_stats stats;
};

int cache_new(size_t budget, struct cache **ret)
{
	struct cache *c = calloc(1, sizeof(*c));
	size_t n = budget / PLY_BLOCK_SIZE;

	if (!c)
		return -ENOMEM;
	n = MAX(n, (size_t)4);
	n = MIN(n, (size_t)1 << 24);
	c->nslots = (int32_t)n;
	for (c->nbuckets = 16; c->nbuckets < n * 2; c->nbuckets *= 2)
		;
	c->slots = calloc(n, sizeof(*c->slots));
	c->buckets = malloc(c->nbuckets * sizeof(*c->buckets));
	if (!c->slots || !c->buckets) {
		free(c->slots);
		free(c->buckets);
		free(c);
		return -ENOMEM;
	}
	memset(c->buckets, 0xff, c->nbuckets * sizeof(*c->buckets));
	for (int32_t i = 0; i < c->nslots; i++) {
		c->slots[i].hash_next = -1;
		c->slots[i].lru_prev = i - 1;
		c->slots[i].lru_next = i + 1 < c->nslots ? i + 1 : -1;
	}
	c->lru_tail = c->nslots - 1;
	c->stats.bytes_max = n * PLY_BLOCK_SIZE;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	*ret = c;
	return 0;
}

struct cache *cache_free(struct cache *c)
{
	if (c) {
		for (int32_t i = 0; i < c->nslots; i++)
			free(c->slots[i].data);
		pthread_cond_destroy(&c->changed);
		pthread_mutex_destroy(&c->lock);
		free(c->buckets);
		free(c->slots);
		free(c);
	}
	return NULL;
}

static int32_t *bucket(struct cache *c, uint64_t key)
{
	return &c->buckets[(key * 0x9e3779b97f4a7c15ULL >> 32) & (c->nbuckets - 1)];
}

static struct slot *find_locked(struct cache *c, uint64_t key)
{
	for (int32_t i = *bucket(c, key); i >= 0; i = c->slots[i].hash_next)
		if (c->slots[i].key == key)
			return &c->slots[i];
	return NULL;
}

static void lru_remove_locked(struct cache *c, struct slot *s)
{
	if (s->lru_prev >= 0)
		c->slots[s->lru_prev].lru_next = s->lru_next;
	else
		c->lru_head = s->lru_next;
	if (s->lru_next >= 0)
		c->slots[s->lru_next].lru_prev = s->lru_prev;
	else
		c->lru_tail = s->lru_prev;
}

static void lru_front_locked(struct cache *c, struct slot *s)
{
	int32_t i = (int32_t)(s - c->slots);

	if (c->lru_head == i)
		return;
	lru_remove_locked(c, s);
	s->lru_prev = -1;
	s->lru_next = c->lru_head;
	if (c->lru_head >= 0)
		c->slots[c->lru_head].lru_prev = i;
	else
		c->lru_tail = i;
	c->lru_head = i;
}

static void lru_back_locked(struct cache *c, struct slot *s)
{
	int32_t i = (int32_t)(s - c->slots);

	if (c->lru_tail == i)
		return;
	lru_remove_locked(c, s);
	s->lru_next = -1;
	s->lru_prev = c->lru_tail;
	if (c->lru_tail >= 0)
		c->slots[c->lru_tail].lru_next = i;
	else
		c->lru_head = i;
	c->lru_tail = i;
}

static void forget_locked(struct cache *c, struct slot *s)
{
	int32_t *p = bucket(c, s->key);

	if (s->state == EMPTY)
		return;
	while (*p != (int32_t)(s - c->slots))
		p = &c->slots[*p].hash_next;
	*p = s->hash_next;
	s->hash_next = -1;
	s->state = EMPTY;
}

/* The least recently used slot that nobody reads; NULL: all are pinned. */
static struct slot *victim_locked(struct cache *c)
{
	for (int32_t i = c->lru_tail; i >= 0; i = c->slots[i].lru_prev)
		if (!c->slots[i].pins)
			return &c->slots[i];
	return NULL;
}

/* A slot for @key in state FILLING with one pin, or READY with one more pin. */
static int claim(struct cache *c, uint64_t key, size_t size, struct slot **ret, bool *ret_fill)
{
	struct slot *s;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		s = find_locked(c, key);
		if (s && s->state == READY) {
			c->stats.hits++;
			*ret_fill = false;
			break;
		}
		if (!s && (s = victim_locked(c))) {
			if (s->state == READY)
				c->stats.evictions++;
			forget_locked(c, s);
			if (!s->data) {
				s->data = malloc(PLY_BLOCK_SIZE);
				if (!s->data) {
					pthread_mutex_unlock(&c->lock);
					return -ENOMEM;
				}
				c->stats.bytes += PLY_BLOCK_SIZE;
			}
			s->key = key;
			s->size = size;
			s->state = FILLING;
			s->hash_next = *bucket(c, key);
			*bucket(c, key) = (int32_t)(s - c->slots);
			c->stats.misses++;
			*ret_fill = true;
			break;
		}
		c->stats.waits++;
		pthread_cond_wait(&c->changed, &c->lock);
	}
	s->pins++;
	s->used = true;
	lru_front_locked(c, s);
	pthread_mutex_unlock(&c->lock);
	*ret = s;
	return 0;
}

int cache_read(struct cache *c, uint64_t key, size_t size, size_t off, size_t len, void *dst,
	       cache_fill_fn fill, void *ctx, struct ply_err *err)
{
	bool must_fill, wake;
	struct slot *s;
	int r;

	if (size > PLY_BLOCK_SIZE || off > size || len > size - off)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "read beyond the end of a block");
	r = claim(c, key, size, &s, &must_fill);
	if (r < 0)
		return ply_fail_nomem(err);
	wake = must_fill;
	if (must_fill)
		r = fill(ctx, key, s->data, size, err);
	else if (s->size != size)
		r = ply_fail(err, -EUCLEAN, PLY_R_BLOCK_FIELD, "a block with two sizes");
	if (r == 0)
		memcpy(dst, s->data + off, len);

	pthread_mutex_lock(&c->lock);
	if (must_fill) {
		if (r == 0) {
			s->state = READY;
		} else {   /* those who waited decode it themselves and get their own error */
			forget_locked(c, s);
			lru_back_locked(c, s);
		}
	}
	if (--s->pins == 0)
		wake = true;
	if (wake)
		pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return r;
}

void cache_shrink(struct cache *c)
{
	pthread_mutex_lock(&c->lock);
	for (int32_t i = 0; i < c->nslots; i++) {
		struct slot *s = &c->slots[i];

		if (!s->pins && !s->used && s->data) {
			forget_locked(c, s);
			lru_back_locked(c, s);
			free(TAKE_PTR(s->data));
			c->stats.bytes -= PLY_BLOCK_SIZE;
		}
		s->used = false;
	}
	pthread_mutex_unlock(&c->lock);
}

void cache_stats(struct cache *c, struct cache_stats *ret)
{
	pthread_mutex_lock(&c->lock);
	*ret = c->stats;
	pthread_mutex_unlock(&c->lock);
}
