/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The extents of one inode: a treap by offset (Seidel and Aragon, "Randomized search trees"), disjoint, by bytes. All
 * that changes it is one operation: cut at both ends of a range, take out what is between, put one extent in.
 *
 * By bytes, not blocks, so that a truncation, a hole or a copy of any bounds is exact, and a write need not read what
 * is around it from below. Neighbours in file and log are one extent. Rejected: a sorted array (random writes into a
 * large file move half of it each time), a B-tree (four times the code; there is nothing to be won in memory).
 */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "redo/index.h"

static uint32_t next_priority(struct index *ix)
{
	ix->rng ^= ix->rng << 13;
	ix->rng ^= ix->rng >> 7;
	ix->rng ^= ix->rng << 17;
	return (uint32_t)(ix->rng >> 16);
}

/* *l: what begins below @at; *r: the others. */
static void split(struct rextent *t, uint64_t at, struct rextent **l, struct rextent **r)
{
	while (t) {
		if (t->off < at) {
			*l = t;
			l = &t->r;
			t = t->r;
		} else {
			*r = t;
			r = &t->l;
			t = t->l;
		}
	}
	*l = *r = NULL;
}

/* All of @l lies before all of @r. */
static struct rextent *join(struct rextent *l, struct rextent *r)
{
	struct rextent *root = NULL, **to = &root;

	while (l && r) {
		if (l->priority > r->priority) {
			*to = l;
			to = &l->r;
			l = l->r;
		} else {
			*to = r;
			to = &r->l;
			r = r->l;
		}
	}
	*to = l ? l : r;
	return root;
}

/* The last that begins at or before @off. */
static struct rextent *find(struct rextent *t, uint64_t off)
{
	struct rextent *best = NULL;

	while (t) {
		if (t->off <= off) {
			best = t;
			t = t->r;
		} else {
			t = t->l;
		}
	}
	return best;
}

static const struct rextent *find_next(const struct rextent *t, uint64_t off)
{
	const struct rextent *best = NULL;

	while (t) {
		if (t->off > off) {
			best = t;
			t = t->l;
		} else {
			t = t->r;
		}
	}
	return best;
}

void extent_at(const struct rinode *i, uint64_t off, struct redo_range *ret)
{
	const struct rextent *e = find(i->extents, off), *next;
	uint64_t end;

	if (e && off - e->off < e->len) {
		uint64_t in = off - e->off;

		*ret = (struct redo_range){ e->kind, e->len - in, e->kind == PLY_REDO_C_HOLE ? 0 : e->addr + in, e->src };
		return;
	}
	next = find_next(i->extents, off);
	end = next ? next->off : UINT64_MAX;
	if (off < i->below_end)
		*ret = (struct redo_range){ PLY_REDO_C_BELOW, MIN(end, i->below_end) - off, off, i->ino };
	else
		*ret = (struct redo_range){ PLY_REDO_C_HOLE, end - off, 0, 0 };
}

/* No extent goes across @at any more. */
static int cut(struct index *ix, struct rinode *i, uint64_t at)
{
	struct rextent *e = find(i->extents, at), *n, *l, *r;
	uint64_t in;

	if (!e || e->off == at || at - e->off >= e->len)
		return 0;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	in = at - e->off;
	*n = (struct rextent){ .priority = next_priority(ix), .kind = e->kind, .off = at, .len = e->len - in,
			       .addr = e->kind == PLY_REDO_C_HOLE ? 0 : e->addr + in, .src = e->src };
	e->len = in;
	/* both refer to the block in which the cut is */
	if (n->kind == PLY_REDO_C_LOG && n->addr % PLY_REDO_BLOCK)
		space_ref(ix->space, n->addr, 1);
	ix->nextents++;
	split(i->extents, at, &l, &r);
	i->extents = join(join(l, n), r);
	return 0;
}

static void drop(struct index *ix, struct rinode *i, struct rextent *t)
{
	if (!t)
		return;
	drop(ix, i, t->l);
	drop(ix, i, t->r);
	if (t->kind == PLY_REDO_C_LOG) {
		space_unref(ix->space, t->addr, t->len);
		i->bytes -= t->len;
	}
	ix->nextents--;
	free(t);
}

void extent_drop(struct index *ix, struct rinode *i)
{
	drop(ix, i, i->extents);
	i->extents = NULL;
}

/* Can @e go on with what comes behind it? In the log only where a block and an extent's last one end together, so that
 * each block has as many references as extents; and in one segment. */
static bool goes_on(const struct index *ix, const struct rextent *e, const struct rextent *n)
{
	if (!e || e->off + e->len != n->off || e->kind != n->kind || e->src != n->src)
		return false;
	if (n->kind == PLY_REDO_C_HOLE)
		return true;
	if (e->addr + e->len != n->addr)
		return false;
	return n->kind == PLY_REDO_C_BELOW ||
		(n->addr % PLY_REDO_BLOCK == 0 &&
		 space_segment(ix->space, e->addr, e->len + n->len) < PLY_REDO_SEGMENTS_MAX);
}

static struct rextent *last_of(struct rextent *t)
{
	while (t && t->r)
		t = t->r;
	return t;
}

/* In the place of one of the same bounds, as when a database overwrites its pages: the tree stays as it is. */
static bool put_over(struct index *ix, struct rinode *i, const struct rextent *n)
{
	struct rextent *before = NULL, *e = NULL;

	for (struct rextent *t = i->extents; t;) {
		if (t->off <= n->off) {
			before = e;
			e = t;
			t = t->r;
		} else {
			t = t->l;
		}
	}
	if (!e || e->off != n->off || e->len != n->len)
		return false;
	if (e->l)
		before = last_of(e->l);
	if (goes_on(ix, before, n))
		return false;
	if (n->kind == PLY_REDO_C_LOG) {
		space_ref(ix->space, n->addr, n->len);
		i->bytes += n->len;
	}
	if (e->kind == PLY_REDO_C_LOG) {
		space_unref(ix->space, e->addr, e->len);
		i->bytes -= e->len;
	}
	e->kind = n->kind;
	e->addr = n->addr;
	e->src = n->src;
	return true;
}

int extent_put(struct index *ix, struct rinode *i, uint64_t off, uint64_t len, enum ply_redo_content kind,
	       uint64_t addr, uint64_t src)
{
	struct rextent *l, *m, *r, *n = NULL, *before;

	if (!len)
		return 0;
	if (kind && put_over(ix, i, &(struct rextent){ .kind = kind, .off = off, .len = len, .addr = addr, .src = src }))
		return 0;
	if (cut(ix, i, off) < 0 || cut(ix, i, off + len) < 0)
		return -ENOMEM;
	if (kind) {
		n = calloc(1, sizeof(*n));
		if (!n)
			return -ENOMEM;
		*n = (struct rextent){ .priority = next_priority(ix), .kind = kind, .off = off, .len = len, .addr = addr, .src = src };
		/* before others let go of the same blocks */
		if (kind == PLY_REDO_C_LOG) {
			space_ref(ix->space, addr, len);
			i->bytes += len;
		}
	}
	split(i->extents, off, &l, &m);
	split(m, off + len, &m, &r);
	drop(ix, i, m);
	before = last_of(l);
	if (n && goes_on(ix, before, n)) {
		before->len += len;
		free(n);
		n = NULL;
	} else if (n) {
		ix->nextents++;
	}
	i->extents = join(join(l, n), r);
	return 0;
}

int extent_each(const struct rextent *e, extent_fn fn, void *ctx)
{
	int r;

	if (!e)
		return 0;
	r = extent_each(e->l, fn, ctx);
	if (r == 0)
		r = fn(ctx, e);
	return r ? r : extent_each(e->r, fn, ctx);
}
