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

/* The node that gives metadata and content of inode @ino, and the sub-image that it lies in. */
struct view_file {
	struct sub *sub;
	uint32_t i;                /* of the sub-image, as in view_sub_at() */
	bool joined;               /* other sub-images may hold further names of it */
	struct ply_node node;
};
int view_file(struct ply_view *view, uint64_t ino, struct view_file *ret, struct ply_err *err);

#endif
