/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interned conditions: see cond.h.
 *
 * A condition is kept in its shortest form, so that equal ones are found equal: clauses that say
 * nothing ("any of os, ...") are dropped, and a clause that stands there already is not added
 * again. Clauses that imply one another are not looked for: drivers do not make them.
 *
 * All clauses are in one array, their sets in another; a condition is a run of clauses. Sets are
 * rows of numbers and not bitmaps: nearly all have one member. A machine has few conditions, but a
 * made-up file can have as many as records, so equal ones are found by hash.
 */
#include "merge/cond.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/util.h"
#include "codec/codec.h"

#define CLAUSES_MAX UINT16_MAX

struct cond {
	uint32_t first, n;         /* in clauses */
};

struct stored {
	uint32_t first;            /* in comps */
	uint16_t n;
	bool none;
};

struct conds {
	struct cond *v;
	size_t n, cap;
	struct stored *clauses;
	size_t nclauses, clauses_cap;
	uint16_t *comps;
	size_t ncomps, comps_cap;
	struct map by_hash;        /* all of v but ALWAYS */
};

struct conds *conds_new(void)
{
	struct conds *c = calloc(1, sizeof(*c));

	if (c && array_grow(&c->v, &c->cap, 1, sizeof(*c->v)) < 0)
		return conds_free(c);
	if (c)
		c->v[c->n++] = (struct cond){ 0 };
	return c;
}

struct conds *conds_free(struct conds *c)
{
	if (c) {
		free(c->v);
		free(c->clauses);
		free(c->comps);
		map_done(&c->by_hash);
		free(c);
	}
	return NULL;
}

static bool same_clause(const struct conds *c, const struct stored *a, const struct stored *b)
{
	return a->none == b->none && a->n == b->n &&
	       !memcmp(c->comps + a->first, c->comps + b->first, a->n * sizeof(*c->comps));
}

static uint64_t hash_of(const struct conds *c, size_t first, size_t n)
{
	uint64_t h = n;

	for (size_t i = first; i < first + n; i++) {
		const struct stored *s = &c->clauses[i];

		h = xxh3(c->comps + s->first, s->n * sizeof(*c->comps), h * 2 + s->none);
	}
	return h;
}

/* The clauses behind the last condition become one, or turn out to be an old one. */
static int intern(struct conds *c, size_t first, uint32_t *ret)
{
	size_t n = c->nclauses - first;
	uint64_t hash;

	if (!n) {
		*ret = COND_ALWAYS;
		return 0;
	}
	if (n > CLAUSES_MAX) {
		c->nclauses = first;
		return -E2BIG;
	}
	hash = hash_of(c, first, n);
	for (size_t at = map_first(&c->by_hash, hash); at != MAP_END; at = map_next(&c->by_hash, hash, at)) {
		const struct cond *old = &c->v[c->by_hash.slots[at].value];
		bool same = old->n == n;

		for (size_t k = 0; same && k < n; k++)
			same = same_clause(c, &c->clauses[old->first + k], &c->clauses[first + k]);
		if (same) {
			c->nclauses = first;
			*ret = (uint32_t)c->by_hash.slots[at].value;
			return 0;
		}
	}
	if (array_grow(&c->v, &c->cap, c->n + 1, sizeof(*c->v)) < 0 ||
	    map_add(&c->by_hash, hash, c->n) < 0) {
		c->nclauses = first;
		return -ENOMEM;
	}
	*ret = (uint32_t)c->n;
	c->v[c->n++] = (struct cond){ (uint32_t)first, (uint32_t)n };
	return 0;
}

static int compare_comps(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static int one_clause(struct conds *c, const uint16_t *comps, size_t n, bool none, uint32_t *ret)
{
	size_t first = c->nclauses, at = c->ncomps;
	uint16_t *set;
	uint32_t kept = 0;
	int r;

	if (!n || n > UINT16_MAX)
		return -EINVAL;
	if (array_grow(&c->comps, &c->comps_cap, at + n, sizeof(*c->comps)) < 0 ||
	    array_grow(&c->clauses, &c->clauses_cap, first + 1, sizeof(*c->clauses)) < 0)
		return -ENOMEM;
	set = c->comps + at;
	memcpy(set, comps, n * sizeof(*set));
	qsort(set, n, sizeof(*set), compare_comps);
	for (size_t i = 0; i < n; i++)
		if (!i || set[i] != set[kept - 1])
			set[kept++] = set[i];
	if (!set[0]) {
		*ret = none ? COND_NEVER : COND_ALWAYS;
		return 0;
	}
	c->clauses[c->nclauses++] = (struct stored){ (uint32_t)at, (uint16_t)kept, none };
	c->ncomps += kept;
	r = intern(c, first, ret);
	if (c->nclauses == first)
		c->ncomps = at;
	return r;
}

int conds_any(struct conds *c, const uint16_t *comps, size_t n, uint32_t *ret)
{
	return one_clause(c, comps, n, false, ret);
}

int conds_none(struct conds *c, const uint16_t *comps, size_t n, uint32_t *ret)
{
	return one_clause(c, comps, n, true, ret);
}

int conds_and(struct conds *c, uint32_t a, uint32_t b, uint32_t *ret)
{
	size_t first = c->nclauses;

	if (a == COND_NEVER || b == COND_NEVER) {
		*ret = COND_NEVER;
		return 0;
	}
	if (a == b || b == COND_ALWAYS || a == COND_ALWAYS) {
		*ret = a == COND_ALWAYS ? b : a;
		return 0;
	}
	if (array_grow(&c->clauses, &c->clauses_cap, first + c->v[a].n + c->v[b].n, sizeof(*c->clauses)) < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->v[a].n; i++)
		c->clauses[c->nclauses++] = c->clauses[c->v[a].first + i];
	for (uint32_t i = 0; i < c->v[b].n; i++) {
		const struct stored *s = &c->clauses[c->v[b].first + i];
		bool there = false;

		for (size_t k = first; k < c->nclauses && !there; k++)
			there = same_clause(c, &c->clauses[k], s);
		if (!there)
			c->clauses[c->nclauses++] = *s;
	}
	return intern(c, first, ret);
}

int conds_or(struct conds *c, uint32_t a, uint32_t b, uint32_t *ret)
{
	_cleanup_free_ uint16_t *comps = NULL;
	const struct stored *x, *y;

	if (a == COND_ALWAYS || b == COND_ALWAYS || a == b || b == COND_NEVER) {
		*ret = b == COND_ALWAYS ? b : a;
		return 0;
	}
	if (a == COND_NEVER) {
		*ret = b;
		return 0;
	}
	x = &c->clauses[c->v[a].first];
	y = &c->clauses[c->v[b].first];
	if (c->v[a].n != 1 || c->v[b].n != 1 || x->none || y->none)
		return -EINVAL;
	comps = malloc(((size_t)x->n + y->n) * sizeof(*comps));
	if (!comps)
		return -ENOMEM;
	memcpy(comps, c->comps + x->first, x->n * sizeof(*comps));
	memcpy(comps + x->n, c->comps + y->first, y->n * sizeof(*comps));
	return conds_any(c, comps, (size_t)x->n + y->n, ret);
}

int conds_not(struct conds *c, uint32_t a, uint32_t *ret)
{
	_cleanup_free_ uint16_t *comps = NULL;
	const struct stored *x;

	if (a == COND_ALWAYS || a == COND_NEVER) {
		*ret = a == COND_ALWAYS ? COND_NEVER : COND_ALWAYS;
		return 0;
	}
	x = &c->clauses[c->v[a].first];
	if (c->v[a].n != 1)
		return -EINVAL;
	comps = malloc(x->n * sizeof(*comps));
	if (!comps)
		return -ENOMEM;
	memcpy(comps, c->comps + x->first, x->n * sizeof(*comps));
	return one_clause(c, comps, x->n, !x->none, ret);
}

bool conds_implies(const struct conds *c, uint32_t a, uint32_t b)
{
	const struct stored *x, *y;
	uint16_t k = 0;

	if (a == b || b == COND_ALWAYS || a == COND_NEVER)
		return true;
	if (a == COND_ALWAYS || b == COND_NEVER || c->v[a].n != 1 || c->v[b].n != 1)
		return false;
	x = &c->clauses[c->v[a].first];
	y = &c->clauses[c->v[b].first];
	if (x->none || y->none)
		return false;
	for (uint16_t i = 0; i < x->n; i++) {
		while (k < y->n && c->comps[y->first + k] < c->comps[x->first + i])
			k++;
		if (k == y->n || c->comps[y->first + k] != c->comps[x->first + i])
			return false;
	}
	return true;
}

uint32_t conds_count(const struct conds *c)
{
	return (uint32_t)c->n;
}

uint32_t conds_nclauses(const struct conds *c, uint32_t cond)
{
	return cond < c->n ? c->v[cond].n : 0;
}

struct clause conds_clause(const struct conds *c, uint32_t cond, uint32_t i)
{
	const struct stored *s = &c->clauses[c->v[cond].first + i];

	return (struct clause){ c->comps + s->first, s->n, s->none };
}

const uint16_t *conds_home(const struct conds *c, uint32_t cond, size_t *ret_n)
{
	*ret_n = 0;
	for (uint32_t i = 0; cond < c->n && i < c->v[cond].n; i++) {
		const struct stored *s = &c->clauses[c->v[cond].first + i];

		if (!s->none) {
			*ret_n = s->n;
			return c->comps + s->first;
		}
	}
	return NULL;
}

bool conds_hold(const struct conds *c, uint32_t cond, cond_selected_fn *selected, const void *ctx)
{
	if (cond >= c->n)
		return false;
	for (uint32_t i = 0; i < c->v[cond].n; i++) {
		const struct stored *s = &c->clauses[c->v[cond].first + i];
		bool any = false;

		for (uint16_t k = 0; k < s->n && !any; k++)
			any = selected(ctx, c->comps[s->first + k]);
		if (any == s->none)
			return false;
	}
	return true;
}
