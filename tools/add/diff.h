/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a machine has otherwise than the view of what it is to stand on: for each name whether it is new,
 * changed, gone, or not to be stored.
 */
#ifndef PLYFS_DIFF_H
#define PLYFS_DIFF_H

#include <stdbool.h>
#include <stdint.h>

#include "add/idmap.h"
#include "capture/scan.h"
#include "plyfs/view.h"

enum diff_how {
	DIFF_SAME,                 /* nothing, times alone, or left alone */
	DIFF_NEW,
	DIFF_CHANGED,
	DIFF_GONE,
};

/* By node of scan. */
struct diff_node {
	uint64_t ino;              /* of that name in the parent; 0: none */
	uint8_t how, mask;         /* PLY_OVER_* */
	bool covers;               /* a directory: it changes which of its names are directories */
	bool alone;                /* left alone: identity, caches and logs, what was not looked at */
};

struct diff_content {              /* other bytes than the machine's: with ids of the image */
	uint32_t node;
	struct buf text;
};

struct diff {
	struct scan *scan;         /* the machine's, with what is gone (SCAN_GONE) */
	uint8_t *marks;            /* by node, PLY_MARK_* */
	struct diff_node *nodes;
	struct diff_content *contents;     /* ascending by node */
	size_t ncontents, contents_cap;
	uint64_t nnew, nchanged, ngone;
};

struct diff_options {
	struct ply_view *parent;
	const struct idmap *ids;
	const char *const *exclude;
	size_t nexclude;
	unsigned jobs;
	bool allow_partial;
	struct progress_counters *counters;
	const atomic_bool *cancelled;
};

/*
 * @scan gets another order of nodes, and nodes for what is gone; @marks (by node, malloc-ed, consumed) follow it.
 * Release by diff_done().
 */
int diff_tree(struct scan *scan, uint8_t *marks, const struct diff_options *o, struct diff *ret, struct ply_err *err);
void diff_done(struct diff *d);

/* Is the node to be in the overlay by itself, not as a parent of something? */
static inline bool diff_is_stored(const struct diff_node *n)
{
	return n->how != DIFF_SAME;
}

/* The bytes that are to stand for those of the machine's file @node; NULL: it is as it is. */
const struct buf *diff_content_of(const struct diff *d, uint32_t node);

/* PLY_MARK_* of a node of a sub-image. */
int diff_mark_of(struct sub *sub, uint64_t index, uint8_t *ret, struct ply_err *err);
/* SHA-256 of what the parent has at @ino: a regular file's bytes, a symlink's target; else zeros. */
int diff_digest(struct ply_view *parent, uint64_t ino, uint8_t ret[32], struct ply_err *err);
/* All bytes of a regular file. -EFBIG beyond @max. */
int diff_read(struct ply_view *view, uint64_t ino, uint64_t max, struct buf *out, struct ply_err *err);

#endif
