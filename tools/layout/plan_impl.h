/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files that make a plan: plan.c, plan_list.c, plan_needs.c, plan_batches.c. */
#ifndef PLYFS_LAYOUT_PLAN_IMPL_H
#define PLYFS_LAYOUT_PLAN_IMPL_H

#include <errno.h>

#include "base/map.h"
#include "layout/plan.h"

#define CANCEL_ROWS  1024u         /* that are looked at before the cancel flag is */
#define TEXT_BYTES   (64u << 10)

/* A piece of memory for names; they never move. */
struct plan_text {
	struct plan_text *next;
	size_t used;
	char bytes[TEXT_BYTES];
};

/* What is known of one sub-image while it is planned. */
struct scan_sub {
	struct set_use *sets;      /* by row of XATTR_SETS; NULL: no node has any */
	uint64_t extents;          /* in ranges */
};

struct scan {
	struct plan *p;
	const atomic_bool *cancel;
	const struct plan_filter *filter;  /* NULL: everything is planned */
	bool told;                 /* the error is the filter's */
	uint64_t block;
	uint32_t *by_number;       /* sub-image's number -> position in the selection */
	uint32_t dir;              /* that is being listed, */
	struct plan_part *part;    /* the part of it that may go on, */
	uint32_t part_sub;         /* and whose it is */
	struct scan_sub *subs;
	struct range *ranges;
	size_t nranges, ranges_cap;
	struct map range_map;      /* from where it begins */
	uint64_t listed;           /* rows of ENTRIES */
	bool hides_files;          /* a name of a file is hidden by another sub-image's */
	uint64_t split_left;       /* extents and pieces that splitting big files may still cost */
	unsigned rows;             /* since the cancel flag was looked at */
	int result;
	struct ply_err *err;
};

static inline bool plan_is_cancelled(const struct scan *s)
{
	return s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed);
}

static inline int plan_cancelled(struct ply_err *err)
{
	return ply_fail(err, -ECANCELED, PLY_R_CANCELLED, "cancelled; the target is as it was");
}

/* Called for each row of whatever table. */
static inline int plan_tick(struct scan *s)
{
	if (++s->rows < CANCEL_ROWS)
		return 0;
	s->rows = 0;
	return plan_is_cancelled(s) ? plan_cancelled(s->err) : 0;
}

/* --- plan_list.c --------------------------------------------------------------------------- */

/* Directories and parts: all that is planned. */
int plan_list_all(struct scan *s);
/* @name is copied. */
int plan_add_special(struct scan *s, uint32_t dir, const char *name, size_t len, bool hidden);
/* By directory and name, without doubles. */
void plan_sort_specials(struct plan *p);

/* --- plan_needs.c -------------------------------------------------------------------------- */

/* Everything that one inode asks for; *ret_bytes: of data that it has. */
int plan_need_inode(struct scan *s, const struct view_file *f, const struct where *w, uint64_t *ret_bytes);
void plan_need_name(struct scan *s, size_t name_len, const struct where *w);
/* @names of one file, of which @w is the first. */
void plan_need_links(struct scan *s, uint64_t names, const struct where *w);
int plan_need_directories(struct scan *s);
/* Of all inodes that were asked for. */
int plan_need_xattrs(struct scan *s);

/* --- plan_batches.c ------------------------------------------------------------------------ */

/* Of the parts of sub-image @i; its names of hard-link groups and its big files are noted. */
int plan_cut_batches(struct scan *s, uint32_t i);
/* Of all sub-images, behind plan_cut_batches(). */
int plan_group_links(struct scan *s);

#endif
