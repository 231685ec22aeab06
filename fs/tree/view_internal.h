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

/* ply_view_readdir() that calls @row for each row that it looks at, before @fn, which is called for those that
 * are shown. A negative errno ends the listing, and is returned. */
enum view_row {
	VIEW_ROW_SHOWN = 0,
	VIEW_ROW_FAILS,            /* its condition does */
	VIEW_ROW_HIDDEN,           /* an earlier sub-image has the name */
};

typedef int (*view_row_fn)(void *ctx, const struct ply_entry *e, enum view_row state, struct ply_err *err);
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
	struct ply_node node;      /* mode: as it is in this selection */
	uint64_t size;             /* of a regular file: of its content, which for a shared one is not node.size */
};
int view_file(struct ply_view *view, uint64_t ino, struct view_file *ret, struct ply_err *err);

/* Does condition @cond of the @i-th selected sub-image hold? 1, 0, -EUCLEAN. */
int view_holds(struct ply_view *view, uint32_t i, uint32_t cond, struct ply_err *err);

/* Who owns the file in this selection: root where the selection lacks its user or group, and
 * then without setuid, setgid and capabilities. */
struct view_owner {
	uint32_t uid, gid;
	bool lacks;
};
int view_owner(struct ply_view *view, const struct view_file *file, struct view_owner *ret,
	       struct ply_err *err);

/* Its xattrs in this selection, sorted by name. What @fn returns, if not 0, ends it and is returned. */
typedef int view_xattr_fn(void *ctx, const struct sub_xattr *x, struct ply_err *err);
int view_file_xattrs(struct ply_view *view, const struct view_file *file, view_xattr_fn *fn, void *ctx,
		     struct ply_err *err);

/* A shared file (PLY_NODE_SHARED): all of its bytes, appended to @out; and its records. */
struct merge_driver;
struct view_record {
	uint32_t ordinal, len, flags;      /* PLY_RECORD_* */
	const uint8_t *data;       /* valid during the call */
	uint32_t sub;              /* of the selected sub-images that hold it the first */
	uint32_t condition;        /* as that one has it */
	uint32_t copies;           /* with it; the others are the array elements behind */
};
int view_render(struct ply_view *view, uint64_t ino, struct buf *out, struct ply_err *err);
typedef int view_record_fn(void *ctx, const struct merge_driver *driver, const struct view_record *r,
			   struct ply_err *err);
int view_records(struct ply_view *view, uint64_t ino, view_record_fn *fn, void *ctx, struct ply_err *err);
/* Those too whose condition does not hold. */
int view_all_records(struct ply_view *view, uint64_t ino, view_record_fn *fn, void *ctx, struct ply_err *err);
/* In words, for @r of those: "mysql", "apache or php", "mysql and not php"; as far as the selected sub-images
 * tell. */
int view_record_words(struct ply_view *view, const struct view_record *r, struct buf *out, struct ply_err *err);

#endif
