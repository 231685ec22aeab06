/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments of a log: what each is used for, and of each block of data its checksum and how many extents refer to it.
 * Guarded by the log's lock.
 */
#ifndef PLYFS_REDO_SPACE_H
#define PLYFS_REDO_SPACE_H

#include "redo/redo_format.h"

enum segment_kind { SEG_FREE, SEG_META, SEG_DATA, SEG_CKPT, SEG_BUSY /* zeros are being written */ };

/* seen[] of a block. NEVER: nothing ever referred to it, so it is not counted among the dead. */
enum { BLOCK_NEVER, BLOCK_UNREAD, BLOCK_GOOD, BLOCK_PUNCHED };

struct rseg {
	enum segment_kind kind;
	bool zeroed;               /* free, and full of zeros that are on the disk */
	bool stays;                /* has data that cannot be copied */
	uint32_t used; /* DATA: blocks up to the last one that was ever referred to since the last checkpoint, or is */
	uint32_t inflight;         /* operations that have data here, and are not appended */
	uint64_t *sums;            /* DATA; NULL: none was referred to */
	uint32_t *refs;
	uint8_t *seen;
};

struct space {
	uint64_t base;             /* of segment 0 in the file */
	struct rseg *segs;
	size_t nsegs, cap;         /* all others are behind the end of the file */
	uint64_t live, dead;       /* blocks that have references; that had, and are not punched */
};

void space_done(struct space *sp);
int space_grow(struct space *sp, uint32_t nsegs);      /* -ENOMEM */
/* Whole segments that begin below @size, so that what is there has a row. */
int space_cover(struct space *sp, uint64_t size);

uint64_t space_off(const struct space *sp, uint32_t seg);      /* in the file */
/* The segment that has all of [addr, addr + len); PLY_REDO_SEGMENTS_MAX: there is none that has a row. */
uint32_t space_segment(const struct space *sp, uint64_t addr, uint64_t len);

/* May data lie there? */
bool space_may_hold(const struct space *sp, uint64_t addr, uint64_t len);
/* It does from now on, with these checksums. @good: they are known to be right. -ENOMEM. */
int space_fill(struct space *sp, uint64_t addr, uint64_t len, const le64 *sums, bool good);
void space_ref(struct space *sp, uint64_t addr, uint64_t len);
void space_unref(struct space *sp, uint64_t addr, uint64_t len);
/* Blocks that nothing refers to any more are punched. */
void space_punched(struct space *sp, uint32_t seg, uint32_t first, uint32_t n);

/*
 * A free segment of at least @min bytes becomes one of @kind; behind the end of the file where there is none, what is
 * too short on the way stays free. -ENOMEM, -EFBIG.
 */
int space_take(struct space *sp, enum segment_kind kind, uint32_t min, uint32_t *ret);
/* As many in a row as @len bytes need. */
int space_take_run(struct space *sp, enum segment_kind kind, uint64_t len, uint32_t *ret_first, uint32_t *ret_n);
void space_free(struct space *sp, uint32_t seg);

#endif
