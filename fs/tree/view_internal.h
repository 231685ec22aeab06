/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What layout and verify need of a view beyond plyfs/view.h; not public. */
#ifndef PLYFS_VIEW_INTERNAL_H
#define PLYFS_VIEW_INTERNAL_H

#include "plyfs/view.h"
#include "sub/sub.h"

/* The opened @i-th selected sub-image, in order of rank. */
int view_sub_at(struct ply_view *view, uint32_t i, struct sub **ret, struct ply_err *err);

/*
 * The inode number that names node @index of the @i-th selected sub-image in this
 * view: its own, or for a joined node that of the first selected member.
 */
int view_node_ino(struct ply_view *view, uint32_t i, uint64_t index, uint64_t *ret_ino,
		  struct ply_err *err);

struct cache *view_cache(struct ply_view *view);

/* Rows of ENTRIES in the selection. A tree has no more names than that; who meets more of them has a
 * hostile image, whose directories share entries (TREE_SHAPE). */
uint64_t view_entries(const struct ply_view *view);
int view_too_many(struct ply_err *err);   /* says so: -EUCLEAN */

/* ply_view_readdir() that calls @row for each row that it looks at, before @fn; @hidden: an earlier
 * sub-image has the name, so @fn is not called. A negative errno ends the listing, and is returned. */
typedef int (*view_row_fn)(void *ctx, const struct ply_entry *e, bool hidden, struct ply_err *err);
int view_readdir(struct ply_view *view, uint64_t dir, uint64_t cookie, ply_dirent_fn fn, view_row_fn row,
		 void *ctx, struct ply_err *err);

/* @r of a call with an inode number that this view itself has given: that there is no such inode, or
 * that it is of another type, is then not the caller's fault but damage. */
int view_own(int r, struct ply_err *err);

/* The node that gives metadata and content of inode @ino, and the sub-image that it lies in. */
struct view_file {
	struct sub *sub;
	uint32_t i;                /* of the sub-image, as in view_sub_at() */
	bool joined;               /* other sub-images may hold further names of it */
	struct ply_node node;
};
int view_file(struct ply_view *view, uint64_t ino, struct view_file *ret, struct ply_err *err);

#endif
