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

/* What tells inodes of this image from those of others with the same number: st_gen, in file handles. The root's is 0. */
uint32_t view_generation(const struct ply_view *view);

/* Rows of ENTRIES in the selection. A tree has no more names than that; who meets more of them has a
 * hostile image, whose directories share entries (TREE_SHAPE). */
uint64_t view_entries(const struct ply_view *view);
int view_too_many(struct ply_err *err);   /* says so: -EUCLEAN */

/* ply_view_readdir() that calls @row for each row that it looks at, before @fn, which is called for those that
 * are shown. A negative errno ends the listing, and is returned. */
enum view_row {
	VIEW_ROW_SHOWN = 0,
	VIEW_ROW_FAILS,            /* its condition does */
	VIEW_ROW_HIDDEN,           /* another sub-image has the name, or takes it away; or it is a whiteout */
};

typedef int (*view_row_fn)(void *ctx, const struct ply_entry *e, enum view_row state, struct ply_err *err);
int view_readdir(struct ply_view *view, uint64_t dir, uint64_t cookie, ply_dirent_fn fn, view_row_fn row,
		 void *ctx, struct ply_err *err);

/* @r of a call with an inode number that this view itself has given: that there is no such inode, or
 * that it is of another type, is then not the caller's fault but damage. */
int view_own(int r, struct ply_err *err);

/*
 * What gives metadata and content of inode @ino. A file of one sub-image has all from one node; of what
 * overlays change, each attribute may be of another sub-image, and node is put together from them.
 */
struct view_file {
	struct sub *sub;           /* whose tables the node's content (data, size, kind) is of, */
	uint32_t i;                /* as in view_sub_at() */
	uint32_t name_i;           /* ... node.parent and node.entry, */
	uint32_t owner_i;          /* ... node.owner, */
	uint32_t xattrs_i;         /* ... node.xattrs */
	bool joined;               /* other sub-images may hold further names of it */
	bool rendered;             /* its content is not what the node says: see view_render() */
	bool merged;               /* of several sub-images; it has no records */
	struct ply_node node;      /* mode: as it is in this selection */
	uint64_t size;             /* of a regular file: of its content, which for a rendered one is not node.size */
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

/*
 * The name that row @at of ENTRIES of the @i-th selected sub-image is shown under in directory @dir: into
 * @out where it is not its own (*ret then is @out), which is so only with PLY_RULE_KEEP_BOTH.
 */
int view_entry_name(struct ply_view *view, uint64_t dir, uint32_t i, uint64_t at, const struct ply_entry *e,
		    char out[PLY_NAME_MAX], const char **ret, size_t *ret_len, struct ply_err *err);

/* --- what collides -------------------------------------------------------------------------- */

/* A pair with both sub-images selected. */
struct view_pair {
	uint64_t a, b;
	uint8_t cls, why;          /* enum ply_pair_class, ply_pair_why */
	uint16_t flags;            /* PLY_PAIR_* */
	uint8_t rule;              /* enum ply_rule, also by --on-collision; 0: nothing decides it */
	uint16_t driver;
	uint32_t path;             /* equal where one path is concerned */
};
/* All of them, where there is something to decide, or the view was opened with all_pairs; else 0. */
size_t view_npairs(const struct ply_view *view);
/* By b, then a. */
const struct view_pair *view_pair_at(const struct ply_view *view, size_t i);

/* That of both whose first name is the pair's path: no whiteout, and of one name if one of them is. */
uint64_t view_pair_named(const struct ply_view *view, const struct view_pair *p);

/* Is one of both no head: hidden by an overlay that stands on it, or not shown with its directory? Then the pair means
 * nothing here. Looks the name up; false where that cannot tell. */
bool view_pair_is_hidden(struct ply_view *view, const struct view_pair *p);

/* What one sub-image (with what it stands on, or requires) has at a path. */
struct view_contender {
	char *path;                /* "/etc/motd", malloc-ed; of a file of several names the first of them: see
				    * view_pair_named() */
	bool deleted;              /* a whiteout: nothing but path and sub counts */
	uint32_t sub;              /* as in view_sub_at() */
	struct ply_attr attr;      /* ino: of its own sub-image */
	uint8_t xattrs[32];        /* SHA-256 of names and values; zero: none */
	uint8_t digest[32];        /* SHA-256 of the content, or the target of a symlink; else zero */
};
/* @ref: a or b of a pair. */
int view_contender(struct ply_view *view, uint64_t ref, bool whiteout, struct view_contender *ret,
		   struct ply_err *err);
void view_contender_done(struct view_contender *c);
/* Its content, or target, appended; -EFBIG (reason LIMIT) beyond @max bytes. */
int view_contender_text(struct ply_view *view, uint64_t ref, size_t max, struct buf *out, struct ply_err *err);

/* Where the bytes of a merged file are from: runs, in order, line by line; the first sub-image that has the line. */
typedef int view_block_fn(void *ctx, uint64_t len, uint32_t i, struct ply_err *err);
int view_blocks(struct ply_view *view, uint64_t ino, view_block_fn *fn, void *ctx, struct ply_err *err);

/* A shared (PLY_NODE_SHARED), or merged file: all of its bytes, appended to @out; and its records. */
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
/* Are two shared files, in two selections of one image, of the same records, and so the same bytes? 1, 0. Their bytes are
 * not read. */
int view_same_records(struct ply_view *view, uint64_t ino, struct ply_view *other, uint64_t other_ino, struct ply_err *err);
/* In words, for @r of those: "mysql", "apache or php", "mysql and not php"; as far as the selected sub-images
 * tell. */
int view_record_words(struct ply_view *view, const struct view_record *r, struct buf *out, struct ply_err *err);

#endif
