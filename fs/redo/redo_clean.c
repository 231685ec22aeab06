/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cleaning: what is left in segments of data that are mostly dead is copied to where data goes on, so that they become
 * free as a whole. Holes alone give the disk its blocks back, but no address: each segment would be kept by the one
 * block in it that is never written again, and the file would grow for ever. Copies go to segments of their own, apart
 * from what is written anew: what has lasted will last, and lies together, so it is not copied again. (Rosenblum and
 * Ousterhout, "The design and implementation of a log-structured file system".)
 *
 * It is a part of a checkpoint, and so needs no record. Records say where data was written, and what is there stays
 * until a checkpoint is on the disk that does not refer to it any more; the checkpoint says where data is now. So
 * whichever of the two a crash leaves to be read, all that it refers to is there: the copies are synced with the
 * checkpoint, before the superblock.
 *
 * In three steps, as a checkpoint. Under the lock: segments are chosen, blocks for the copies are taken, and pinned as
 * those of an operation are. Without it: the blocks are compared with their checksums, and copied; nobody overwrites
 * them, and nobody but a checkpoint gives them back. Under the lock again: all extents that refer to one of them refer
 * to its copy. What fails on the way is not cleaned this time, nothing else: a block that is damaged, or cannot be
 * read, keeps its segment.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_internal.h"

/* --- what is worth it ------------------------------------------------------------------------------ */

static uint32_t count_live(const struct rseg *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->used; i++)
		n += s->refs[i] > 0;
	return n;
}

/* At least half of what was written there is dead, and not all. */
static uint32_t worth(const struct redo *log, uint32_t seg)
{
	const struct rseg *s = &log->space.segs[seg];
	uint32_t live;

	if (s->kind != SEG_DATA || s->inflight || seg == log->data.seg || seg == log->cold.seg || !s->refs || s->stays)
		return 0;
	live = count_live(s);
	return live * 2 <= s->used ? live : 0;
}

static int take_blocks_locked(struct redo *log, struct clean *c, struct cleaned *v, struct ply_err *err)
{
	const struct rseg *s = &log->space.segs[v->seg];

	for (uint32_t i = 0, n; i < s->used; i += n) {
		uint64_t to = 0;
		size_t len;

		for (n = 0; i + n < s->used && s->refs[i + n]; n++)
			v->sums[i + n] = s->sums[i + n];
		if (!n) {
			n = 1;
			continue;
		}
		if (redo_reserve_locked(log, &log->cold, &c->pins, 0, (size_t)n * PLY_REDO_BLOCK, &to, &len, err) < 0)
			return -1;
		n = (uint32_t)(len / PLY_REDO_BLOCK);
		for (uint32_t k = 0; k < n; k++)
			v->to[i + k] = to + (uint64_t)k * PLY_REDO_BLOCK;
	}
	return 0;
}

static bool add_locked(struct redo *log, struct clean *c, uint32_t seg, struct ply_err *err)
{
	uint32_t used = log->space.segs[seg].used;
	struct cleaned *v;

	if (array_grow(&c->v, &c->cap, c->n + 1, sizeof(*c->v)) < 0)
		return false;
	v = &c->v[c->n++];
	*v = (struct cleaned){ .seg = seg, .used = used, .to = calloc(used, sizeof(*v->to)),
			       .sums = calloc(used, sizeof(*v->sums)) };
	if (v->to && v->sums && take_blocks_locked(log, c, v, err) == 0)
		return true;
	v->failed = true;
	return false;
}

/* --- copies ---------------------------------------------------------------------------------------------- */

static bool copy_run(struct redo *log, struct cleaned *v, uint32_t first, uint32_t n, uint8_t *buf)
{
	uint64_t from = space_off(&log->space, v->seg) + (uint64_t)first * PLY_REDO_BLOCK;

	v->damaged = log->store->pread(log->store, buf, (size_t)n * PLY_REDO_BLOCK, from) < 0;
	for (uint32_t i = 0; !v->damaged && i < n; i++)
		v->damaged = xxh3(buf + (size_t)i * PLY_REDO_BLOCK, PLY_REDO_BLOCK, 0) != v->sums[first + i];
	if (v->damaged)
		return false;
	v->full = log->store->pwrite(log->store, buf, (size_t)n * PLY_REDO_BLOCK, v->to[first]) < 0;
	return !v->full;
}

#define RUN_MAX 256u       /* blocks that are copied at once */

static bool copy(struct redo *log, struct cleaned *v, uint8_t *buf)
{
	bool ok = true;

	for (uint32_t i = 0, n; ok && i < v->used; i += n) {
		for (n = 1; v->to[i] && i + n < v->used && n < RUN_MAX &&
		     v->to[i + n] == v->to[i] + (uint64_t)n * PLY_REDO_BLOCK; n++)
			;
		if (v->to[i])
			ok = copy_run(log, v, i, n, buf);
	}
	return ok;
}

static void drop_copies(struct redo *log, struct cleaned *v)
{
	for (uint32_t i = 0, n; v->to && i < v->used; i += n) {
		for (n = 1; v->to[i] && i + n < v->used && v->to[i + n] == v->to[i] + (uint64_t)n * PLY_REDO_BLOCK; n++)
			;
		if (v->to[i])
			(void)log->store->punch(log->store, v->to[i], (uint64_t)n * PLY_REDO_BLOCK);
		memset(v->to + i, 0, n * sizeof(*v->to));
	}
}

void redo_clean_drop(struct redo *log, struct clean *c)
{
	for (size_t k = 0; k < c->n; k++)
		drop_copies(log, &c->v[k]);
}

/* On a disk that is full no copy is kept: the checkpoint, which gives back what is dead, needs room, too. */
static void copy_all(struct redo *log, struct clean *c, uint8_t *buf)
{
	bool full = false;

	for (size_t k = 0; k < c->n && !full; k++) {
		c->v[k].failed = c->v[k].failed || !copy(log, &c->v[k], buf);
		full = c->v[k].full;
	}
	for (size_t k = 0; k < c->n; k++) {
		c->v[k].failed |= full;
		if (c->v[k].failed)
			drop_copies(log, &c->v[k]);
	}
}

void redo_clean_begin(struct redo *log, struct clean *c)
{
	_cleanup_free_ uint8_t *buf = malloc((size_t)RUN_MAX * PLY_REDO_BLOCK);
	uint32_t nblocks = 0;

	if (!buf || !atomic_load(&log->may_clean))
		return;
	redo_lock(log);
	for (uint32_t i = 0, nsegs = (uint32_t)log->space.nsegs; i < nsegs; i++) {
		uint32_t live = worth(log, i);

		if (!live || nblocks + live > REDO_CLEAN_MAX)
			continue;
		nblocks += live;
		if (!add_locked(log, c, i, NULL))
			break;
	}
	redo_unlock(log);
	copy_all(log, c, buf);
}

/* --- extents ---------------------------------------------------------------------------------------------- */

struct move {
	struct rinode *i;
	uint64_t off, len, addr;
};

struct moves {
	const struct clean *c;
	const struct space *space;
	struct rinode *i;
	struct move *v;
	size_t n, cap;
};

static const struct cleaned *find(const struct clean *c, uint32_t seg)
{
	size_t lo = 0, hi = c->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (c->v[mid].seg < seg)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->n && c->v[lo].seg == seg && !c->v[lo].failed ? &c->v[lo] : NULL;
}

/* Pieces of an extent whose copies lie behind each other, in one segment. */
static int note_extent(void *ctx, const struct rextent *e)
{
	uint32_t seg, first, n = redo_blocks(e->addr, e->len);
	struct moves *m = ctx;
	const struct cleaned *v;
	uint64_t in = 0;

	if (e->kind != PLY_REDO_C_LOG)
		return 0;
	seg = space_segment(m->space, e->addr, e->len);
	v = find(m->c, seg);
	if (!v)
		return 0;
	first = (uint32_t)((e->addr - space_off(m->space, seg)) / PLY_REDO_BLOCK);
	for (uint32_t k = 0, run; k < n; k += run) {
		const uint64_t *to = &v->to[first + k];
		uint64_t at = e->addr + in, len;

		assert(*to);       /* what is referred to now was when blocks were taken */
		for (run = 1; k + run < n && to[run] == to[0] + (uint64_t)run * PLY_REDO_BLOCK &&
		     space_segment(m->space, to[run], 1) == space_segment(m->space, to[0], 1); run++)
			;
		len = MIN(e->len - in, (uint64_t)run * PLY_REDO_BLOCK - at % PLY_REDO_BLOCK);
		if (array_grow(&m->v, &m->cap, m->n + 1, sizeof(*m->v)) < 0)
			return -1;
		m->v[m->n++] = (struct move){ m->i, e->off + in, len, to[0] + at % PLY_REDO_BLOCK };
		in += len;
	}
	return 0;
}

/* The sums of the blocks at @addr, which are copies. */
static int fill(struct redo *log, const struct clean *c, const struct move *m)
{
	struct redo_range was;
	const struct cleaned *v;
	uint32_t first, n = redo_blocks(m->addr, m->len);
	int r = 0;

	extent_at(m->i, m->off, &was);
	v = find(c, space_segment(&log->space, was.addr, 1));
	first = (uint32_t)((was.addr - space_off(&log->space, v->seg)) / PLY_REDO_BLOCK);
	for (uint32_t k = 0; r == 0 && k < n; k++) {
		const le64 sum = le64_put(v->sums[first + k]);

		r = space_fill(&log->space, v->to[first + k], PLY_REDO_BLOCK, &sum, true);
	}
	return r;
}

/* What is left are copies that nobody refers to: what they were of was overwritten meanwhile, or could not be moved. */
static void keep_copies(const struct space *sp, struct cleaned *v)
{
	for (uint32_t i = 0; v->to && i < v->used; i++) {
		const struct rseg *s = v->to[i] ? &sp->segs[space_segment(sp, v->to[i], PLY_REDO_BLOCK)] : NULL;

		if (s && s->refs && s->refs[(v->to[i] - space_off(sp, (uint32_t)(s - sp->segs))) / PLY_REDO_BLOCK])
			v->to[i] = 0;
	}
}

void redo_clean_apply_locked(struct redo *log, struct clean *c)
{
	struct moves m = { .c = c, .space = &log->space };
	const struct htab *t = &log->index.inodes;
	int r = 0;

	for (size_t s = 0; c->n && r == 0 && s < t->nslots; s++) {
		m.i = t->slots[s].item;
		if (m.i)
			r = extent_each(m.i->extents, note_extent, &m);
	}
	log->index.moved |= m.n > 0;
	/* those that were moved before memory ends are moved; the others, and so their segments, stay */
	for (size_t k = 0; r == 0 && k < m.n; k++) {
		r = fill(log, c, &m.v[k]);
		if (r == 0)
			r = extent_put(&log->index, m.v[k].i, m.v[k].off, m.v[k].len, PLY_REDO_C_LOG, m.v[k].addr, 0);
		if (r == 0)
			log->moved += m.v[k].len;
	}
	for (size_t k = 0; k < c->n; k++) {
		log->space.segs[c->v[k].seg].stays |= c->v[k].damaged;
		keep_copies(&log->space, &c->v[k]);
	}
	free(m.v);
	redo_unpin_locked(&c->pins);
}

void redo_clean_done(struct clean *c)
{
	redo_op_done(&c->pins);
	for (size_t k = 0; k < c->n; k++) {
		free(c->v[k].to);
		free(c->v[k].sums);
	}
	free(c->v);
}
