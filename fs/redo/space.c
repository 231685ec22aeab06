/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments of a log: see space.h.
 *
 * Nothing about free space is on the disk. Segments of records form a chain, a checkpoint lies where the superblock
 * says, data is where extents refer to it; everything else is free. So no allocation has to be logged, and none can
 * be lost.
 */
#include "redo/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static void drop_blocks(struct rseg *s)
{
	free(s->sums);
	free(s->refs);
	free(s->seen);
	s->sums = NULL;
	s->refs = NULL;
	s->seen = NULL;
	s->used = 0;
}

void space_done(struct space *sp)
{
	for (size_t i = 0; i < sp->nsegs; i++)
		drop_blocks(&sp->segs[i]);
	free(sp->segs);
	*sp = (struct space){ 0 };
}

int space_grow(struct space *sp, uint32_t nsegs)
{
	if (nsegs > PLY_REDO_SEGMENTS_MAX)
		return -EFBIG;
	if (array_grow(&sp->segs, &sp->cap, nsegs, sizeof(*sp->segs)) < 0)
		return -ENOMEM;
	for (; sp->nsegs < nsegs; sp->nsegs++)
		sp->segs[sp->nsegs] = (struct rseg){ .kind = SEG_FREE };
	return 0;
}

int space_cover(struct space *sp, uint64_t size)
{
	uint32_t last;

	if (size <= sp->base)
		return 0;
	last = redo_segment_at(size - 1 - sp->base);
	return last < PLY_REDO_SEGMENTS_MAX ? space_grow(sp, last + 1) : -EFBIG;
}

uint64_t space_off(const struct space *sp, uint32_t seg)
{
	return sp->base + redo_segment_off(seg);
}

uint32_t space_segment(const struct space *sp, uint64_t addr, uint64_t len)
{
	uint32_t seg;

	if (addr < sp->base)
		return PLY_REDO_SEGMENTS_MAX;
	seg = redo_segment_at(addr - sp->base);
	if (seg >= sp->nsegs || len > redo_segment_size(seg) ||
	    addr - space_off(sp, seg) > redo_segment_size(seg) - len)
		return PLY_REDO_SEGMENTS_MAX;
	return seg;
}

bool space_may_hold(const struct space *sp, uint64_t addr, uint64_t len)
{
	uint32_t seg = space_segment(sp, addr, len);

	return seg < PLY_REDO_SEGMENTS_MAX && (sp->segs[seg].kind == SEG_FREE || sp->segs[seg].kind == SEG_DATA);
}

static int make_blocks(struct rseg *s, uint32_t n)
{
	if (s->sums)
		return 0;
	s->sums = calloc(n, sizeof(*s->sums));
	s->refs = calloc(n, sizeof(*s->refs));
	s->seen = calloc(n, sizeof(*s->seen));
	if (s->sums && s->refs && s->seen)
		return 0;
	drop_blocks(s);
	return -ENOMEM;
}

static uint32_t first_block(const struct space *sp, uint32_t seg, uint64_t addr)
{
	return (uint32_t)((addr - space_off(sp, seg)) / PLY_REDO_BLOCK);
}

int space_fill(struct space *sp, uint64_t addr, uint64_t len, const le64 *sums, bool good)
{
	uint32_t seg = space_segment(sp, addr, len), at = first_block(sp, seg, addr), n = redo_blocks(addr, len);
	struct rseg *s = &sp->segs[seg];
	int r = make_blocks(s, redo_segment_size(seg) / PLY_REDO_BLOCK);

	if (r < 0)
		return r;
	s->kind = SEG_DATA;
	s->zeroed = false;
	s->used = MAX(s->used, at + n);
	for (uint32_t i = 0; i < n; i++) {
		s->sums[at + i] = le64_get(sums[i]);
		s->seen[at + i] = good ? BLOCK_GOOD : BLOCK_UNREAD;
	}
	return 0;
}

void space_ref(struct space *sp, uint64_t addr, uint64_t len)
{
	uint32_t seg = space_segment(sp, addr, len), at = first_block(sp, seg, addr), n = redo_blocks(addr, len);

	for (uint32_t i = at; i < at + n; i++)
		if (!sp->segs[seg].refs[i]++)
			sp->live++;
}

void space_unref(struct space *sp, uint64_t addr, uint64_t len)
{
	uint32_t seg = space_segment(sp, addr, len), at = first_block(sp, seg, addr), n = redo_blocks(addr, len);

	for (uint32_t i = at; i < at + n; i++)
		if (!--sp->segs[seg].refs[i]) {
			sp->live--;
			sp->dead++;
		}
}

void space_punched(struct space *sp, uint32_t seg, uint32_t first, uint32_t n)
{
	struct rseg *s = &sp->segs[seg];

	for (uint32_t i = first; i < first + n; i++) {
		/* a checkpoint that was forged has sums of what no extent ever refers to */
		if ((s->seen[i] == BLOCK_UNREAD || s->seen[i] == BLOCK_GOOD) && sp->dead)
			sp->dead--;
		s->seen[i] = BLOCK_PUNCHED;
	}
}

int space_take(struct space *sp, enum segment_kind kind, uint32_t min, uint32_t *ret)
{
	uint32_t seg = PLY_REDO_SEGMENTS_MAX;
	int r = 0;

	/* one that is ready is best, but for who makes them ready; else the first: the end of the file stays where
	 * it is */
	for (uint32_t i = 0; i < sp->nsegs; i++)
		if (sp->segs[i].kind == SEG_FREE && redo_segment_size(i) >= min &&
		    !(kind == SEG_BUSY && sp->segs[i].zeroed) &&
		    (seg == PLY_REDO_SEGMENTS_MAX || (sp->segs[i].zeroed && !sp->segs[seg].zeroed)))
			seg = i;
	while (r == 0 && seg == PLY_REDO_SEGMENTS_MAX) {
		r = space_grow(sp, (uint32_t)sp->nsegs + 1);
		if (r == 0 && redo_segment_size((uint32_t)sp->nsegs - 1) >= min)
			seg = (uint32_t)sp->nsegs - 1;
	}
	if (r < 0)
		return r;
	sp->segs[seg].kind = kind;
	sp->segs[seg].zeroed = false;
	*ret = seg;
	return 0;
}

int space_take_run(struct space *sp, enum segment_kind kind, uint64_t len, uint32_t *ret_first, uint32_t *ret_n)
{
	uint64_t have = 0;
	uint32_t first = 0, end = 0;
	int r = 0;

	for (; have < len; end++) {
		if (end == sp->nsegs)
			r = space_grow(sp, end + 1);
		if (r < 0)
			return r;
		if (sp->segs[end].kind == SEG_FREE) {
			have += redo_segment_size(end);
		} else {
			have = 0;
			first = end + 1;
		}
	}
	for (uint32_t i = first; i < end; i++) {
		sp->segs[i].kind = kind;
		sp->segs[i].zeroed = false;
	}
	*ret_first = first;
	*ret_n = end - first;
	return 0;
}

void space_free(struct space *sp, uint32_t seg)
{
	struct rseg *s = &sp->segs[seg];

	if (s->refs)
		space_punched(sp, seg, 0, s->used);
	drop_blocks(s);
	s->kind = SEG_FREE;
	s->zeroed = s->stays = false;
}
