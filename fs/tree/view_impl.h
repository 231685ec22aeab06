/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of fs/tree only. */
#ifndef PLYFS_VIEW_IMPL_H
#define PLYFS_VIEW_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "cache/cache.h"
#include "image/join.h"
#include "sub/sub.h"
#include "tree/view_internal.h"

struct vsub {
	struct sub *sub;           /* borrowed from the image */
	uint32_t pos;              /* in the image, by rank */
	uint32_t number;
	/* Where it has conditions: by local slot, is that component selected; by row, enum truth. */
	bool *slots;
	_Atomic uint8_t *truth;
	uint8_t *bad_shared;       /* by row of SHARED_FILES: what is wrong with it (view_shared.c); NULL: not looked
				    * at yet; view_shared.lock */
};

struct ply_view {
	struct ply_image *image;   /* borrowed */
	const struct join *join;   /* NULL: nothing is joined in this selection */
	struct vsub *subs;         /* by rank */
	uint32_t nsubs;
	uint16_t *by_number;       /* number -> position in subs + 1; 0: not selected */
	uint32_t *by_name;         /* positions in subs */
	uint64_t entries;          /* rows of ENTRIES of all subs */
	struct cache *cache;
	struct view_shared *shared;
	_Atomic unsigned listings; /* of directories, from their beginning, since nothing happened */
	struct ply_view_stat stat;
};

struct member {
	uint32_t i;                /* in view.subs */
	uint64_t index;
};

/* One inode of the view: the selected nodes that it is made of, by rank. */
struct vnode {
	uint64_t ino;
	bool joined;
	struct join_row row;       /* where joined */
	uint32_t n;
	struct member *m;
	struct member few[8];
};

/* -ESTALE where @ino does not name an inode of this view. Release with vnode_done(). */
int vnode_get(struct ply_view *v, uint64_t ino, struct vnode *ret, struct ply_err *err);
void vnode_done(struct vnode *vn);

/* Node of the member that gives metadata and content: the lowest rank that is not implied. */
int vnode_node(struct ply_view *v, const struct vnode *vn, struct ply_node *ret,
	       struct member *ret_m, struct ply_err *err);

/* Inode number of what @e, entry @at of directory @dir in subs[@i], names; checks that the tree is
 * one there: type, and for directories and files of one name that it is this name. */
int view_child(struct ply_view *v, const struct vnode *dir, uint32_t i, uint64_t dir_index,
	       uint64_t at, const struct ply_entry *e, uint64_t *ret_ino, struct ply_err *err);

/* view_cond.c */
int view_names_init(struct ply_view *v, struct ply_err *err);   /* before the next, and once */
int view_cond_init(struct ply_view *v, struct vsub *vs, struct ply_err *err);
void view_cond_done(struct vsub *vs);
#define VIEW_WORDS_MAX 1024u       /* bytes, about: a hostile condition is cut there */
/* Where what subs[@i] holds with condition @cond is: "mysql and (apache or php)". -ENOMEM without @err. */
int view_condition_words(struct ply_view *v, uint32_t i, uint32_t cond, struct buf *out, struct ply_err *err);

/* view_shared.c: @vn's node is a shared file. */
struct view_shared *view_shared_new(void);
void view_shared_free(struct view_shared *s);
void view_shared_idle(struct view_shared *s);
int view_shared_size(struct ply_view *v, const struct vnode *vn, uint64_t *ret, struct ply_err *err);
ssize_t view_shared_read(struct ply_view *v, const struct vnode *vn, uint64_t off, size_t len, void *buf,
			 struct ply_err *err);

#endif
