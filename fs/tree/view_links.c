/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many names files of several names have, where sub-images collide at some of them.
 *
 * A node says how many names it has in its sub-image, not which; where another sub-image has one of them, it
 * has fewer here. So, if a contender is such a file, or one is asked for that is not shown where its node says, the
 * view's names are counted, once: 8 bytes for each name of a file of several.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/sigbus.h"
#include "base/util.h"
#include "tree/view_impl.h"

struct view_links {
	pthread_mutex_t lock;      /* all below */
	enum { NOT_LOOKED = 0, NOT_NEEDED, NOT_READABLE, COUNTED } state;
	uint64_t *inos;            /* one for each name, sorted */
	size_t n, cap;
};

struct view_links *view_links_new(void)
{
	struct view_links *l = calloc(1, sizeof(*l));

	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void view_links_free(struct view_links *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l->inos);
	free(l);
}

/* A walk over all directories. */
struct counter {
	struct ply_view *v;
	struct view_links *l;
	uint64_t *dirs;            /* still to be listed */
	size_t n, cap;
	uint64_t rows;
	int result;
};

static int count_row(void *ctx, const struct ply_entry *e, enum view_row state, struct ply_err *err)
{
	struct counter *c = ctx;

	(void)e;
	(void)state;
	return ++c->rows <= view_entries(c->v) ? 0 : view_too_many(err);
}

static bool is_of_several(struct ply_view *v, uint64_t ino)
{
	uint32_t i = v->by_number[PLY_INO_NUMBER(ino)] - 1u;
	struct join_row row;
	struct ply_node n;

	return sub_node(v->subs[i].sub, PLY_INO_INDEX(ino), &n, NULL) == 0 &&
	       (n.nlink > 1 || (v->join && join_find(v->join, ino, &row, NULL) > 0 && row.kind == PLY_J_LINKS));
}

static int count_name(void *ctx, const struct ply_dirent *de)
{
	struct counter *c = ctx;

	if (de->type == S_IFDIR >> 12) {
		c->result = array_grow(&c->dirs, &c->cap, c->n + 1, sizeof(*c->dirs));
		if (c->result == 0)
			c->dirs[c->n++] = de->ino;
	} else if (is_of_several(c->v, de->ino)) {
		c->result = array_grow(&c->l->inos, &c->l->cap, c->l->n + 1, sizeof(*c->l->inos));
		if (c->result == 0)
			c->l->inos[c->l->n++] = de->ino;
	}
	return c->result;
}

static int by_value(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return a < b ? -1 : a > b;
}

/* Of a tree that cannot be read nothing is counted: then what nodes say will have to do. So it is once more, another
 * time, where pages of zeros may have said something. */
static void count_locked(struct ply_view *v, struct view_links *l)
{
	struct counter c = { .v = v, .l = l };
	unsigned faults = sigbus_faults();
	int r;

	l->n = 0;
	r = count_name(&c, &(struct ply_dirent){ .ino = PLY_ROOT_INDEX, .type = S_IFDIR >> 12 });
	while (r == 0 && c.n) {
		r = view_readdir(v, c.dirs[--c.n], 0, count_name, count_row, &c, NULL);
		if (r == 0)
			r = c.result;
	}
	free(c.dirs);
	if (r == 0 && l->n)
		qsort(l->inos, l->n, sizeof(*l->inos), by_value);
	l->state = sigbus_faults() != faults ? NOT_LOOKED : r < 0 ? NOT_READABLE : COUNTED;
}

static size_t first_at(const struct view_links *l, uint64_t ino)
{
	size_t lo = 0, hi = l->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->inos[mid] < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool view_links_count(struct ply_view *v, uint64_t ino, bool elsewhere, uint64_t *ret)
{
	struct view_links *l = v->links;
	bool counted;

	if (!l)
		return false;
	pthread_mutex_lock(&l->lock);
	if (l->state == NOT_LOOKED && !elsewhere && !view_pairs_of_links(v))
		l->state = NOT_NEEDED;
	if (l->state == NOT_LOOKED || (l->state == NOT_NEEDED && elsewhere))
		count_locked(v, l);
	counted = l->state == COUNTED;
	pthread_mutex_unlock(&l->lock);
	if (counted)
		*ret = first_at(l, ino + 1) - first_at(l, ino);
	return counted;
}
