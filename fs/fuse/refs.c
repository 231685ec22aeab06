/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counts per inode: see refs.h. A hash table with open addressing, in stripes with a mutex each, so that threads
 * seldom meet. An inode has a row as long as one of its counts is not zero; rows behind one that goes move up, so there
 * are no tombstones. A stripe grows when it is three quarters full, and shrinks when an eighth of it is used.
 *
 * The kernel may forget what this process never told it: another one did, before it. Such counts are left alone.
 */
#include "refs.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/util.h"

#define STRIPES 64u
#define MIN_CAP 16u                /* power of two */

struct row {
	uint64_t ino;              /* 0: free */
	uint64_t looks;
	uint64_t writers;
	uint64_t mark;
};

struct stripe {
	pthread_mutex_t lock;      /* of all below */
	struct row *rows;
	size_t cap, used;
};

struct refs {
	struct stripe stripes[STRIPES];
};

static uint64_t hash(uint64_t ino)
{
	ino ^= ino >> 32;
	ino *= 0x9e3779b97f4a7c15ULL;
	return ino ^ ino >> 29;
}

struct refs *refs_new(void)
{
	struct refs *r = calloc(1, sizeof(*r));

	for (size_t i = 0; r && i < STRIPES; i++)
		pthread_mutex_init(&r->stripes[i].lock, NULL);
	return r;
}

struct refs *refs_free(struct refs *r)
{
	for (size_t i = 0; r && i < STRIPES; i++) {
		pthread_mutex_destroy(&r->stripes[i].lock);
		free(r->stripes[i].rows);
	}
	free(r);
	return NULL;
}

static struct stripe *lock_stripe(struct refs *r, uint64_t ino)
{
	struct stripe *s = &r->stripes[hash(ino) % STRIPES];

	pthread_mutex_lock(&s->lock);
	return s;
}

static size_t home(const struct stripe *s, uint64_t ino)
{
	return hash(ino) / STRIPES & (s->cap - 1);
}

/* Its row, or the free one where it would be. There is one: no stripe is full. */
static struct row *probe(const struct stripe *s, uint64_t ino)
{
	size_t i = home(s, ino);

	while (s->rows[i].ino && s->rows[i].ino != ino)
		i = (i + 1) & (s->cap - 1);
	return &s->rows[i];
}

static struct row *find_locked(const struct stripe *s, uint64_t ino)
{
	struct row *row = s->cap ? probe(s, ino) : NULL;

	return row && row->ino ? row : NULL;
}

static bool resize_locked(struct stripe *s, size_t cap)
{
	struct stripe to = { .rows = calloc(cap, sizeof(*to.rows)), .cap = cap };

	if (!to.rows)
		return false;
	for (size_t i = 0; i < s->cap; i++)
		if (s->rows[i].ino)
			*probe(&to, s->rows[i].ino) = s->rows[i];
	free(s->rows);
	s->rows = to.rows;
	s->cap = cap;
	return true;
}

/* Found or made; NULL: no memory. */
static struct row *get_locked(struct stripe *s, uint64_t ino)
{
	struct row *row = find_locked(s, ino);

	if (row)
		return row;
	if (s->used * 4 >= s->cap * 3 && !resize_locked(s, MAX(s->cap * 2, MIN_CAP)))
		return NULL;
	row = probe(s, ino);
	row->ino = ino;
	s->used++;
	return row;
}

/* Rows behind it that could not be nearer to their home move up. */
static void remove_locked(struct stripe *s, struct row *row)
{
	size_t mask = s->cap - 1, hole = (size_t)(row - s->rows);

	for (size_t i = (hole + 1) & mask; s->rows[i].ino; i = (i + 1) & mask)
		if (((i - home(s, s->rows[i].ino)) & mask) >= ((i - hole) & mask)) {
			s->rows[hole] = s->rows[i];
			hole = i;
		}
	s->rows[hole] = (struct row){ 0 };
	s->used--;
	if (s->cap > MIN_CAP && s->used * 8 < s->cap)
		resize_locked(s, s->cap / 2);   /* without memory it stays as it is */
}

static bool count(struct refs *r, uint64_t ino, size_t field)
{
	struct stripe *s = lock_stripe(r, ino);
	struct row *row = get_locked(s, ino);

	if (row)
		++*(uint64_t *)((char *)row + field);
	pthread_mutex_unlock(&s->lock);
	return row;
}

static bool uncount(struct refs *r, uint64_t ino, size_t field, uint64_t n)
{
	struct stripe *s = lock_stripe(r, ino);
	struct row *row = find_locked(s, ino);
	bool gone = !row;

	if (row) {
		uint64_t *v = (uint64_t *)((char *)row + field);

		*v -= MIN(*v, n);
		gone = !row->looks && !row->writers;
		if (gone)
			remove_locked(s, row);
	}
	pthread_mutex_unlock(&s->lock);
	return gone;
}

bool refs_look(struct refs *r, uint64_t ino)
{
	return count(r, ino, offsetof(struct row, looks));
}

bool refs_forget(struct refs *r, uint64_t ino, uint64_t n)
{
	return uncount(r, ino, offsetof(struct row, looks), n);
}

bool refs_open(struct refs *r, uint64_t ino)
{
	return count(r, ino, offsetof(struct row, writers));
}

bool refs_close(struct refs *r, uint64_t ino)
{
	return uncount(r, ino, offsetof(struct row, writers), 1);
}

void refs_mark(struct refs *r, uint64_t ino, uint64_t mark)
{
	struct stripe *s = lock_stripe(r, ino);
	struct row *row = find_locked(s, ino);

	if (row)
		row->mark = mark;
	pthread_mutex_unlock(&s->lock);
}

uint64_t refs_marked(struct refs *r, uint64_t ino)
{
	struct stripe *s = lock_stripe(r, ino);
	const struct row *row = find_locked(s, ino);
	uint64_t mark = row ? row->mark : 0;

	pthread_mutex_unlock(&s->lock);
	return mark;
}

bool refs_is_known(struct refs *r, uint64_t ino)
{
	struct stripe *s = lock_stripe(r, ino);
	bool known = find_locked(s, ino);

	pthread_mutex_unlock(&s->lock);
	return known;
}

bool refs_is_written(struct refs *r, uint64_t ino)
{
	struct stripe *s = lock_stripe(r, ino);
	const struct row *row = find_locked(s, ino);
	bool written = row && row->writers;

	pthread_mutex_unlock(&s->lock);
	return written;
}
