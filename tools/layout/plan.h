/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a layout will do, as data: directories, batches of files with disjoint paths, names
 * of hard-link groups, and what the target must be able to hold. Made once, by one thread,
 * before the first byte is written; immutable from then on.
 *
 * Memory: 24 bytes and its name a directory, 32 a name of a link group, 24 a directory part, 40
 * for each 2 MiB or 256 files. Names of directories are copies: with them alone what was made can
 * be taken out again, whatever has become of the image.
 */
#ifndef PLYFS_LAYOUT_PLAN_H
#define PLYFS_LAYOUT_PLAN_H

#include <pthread.h>

#include "layout/layout.h"
#include "sub/sub.h"
#include "tree/view_internal.h"

/* A name in the tree, for messages; at == WHERE_DIR: the directory itself. */
struct where {
	uint64_t at;
	uint32_t dir, sub;
};
#define WHERE_DIR UINT64_MAX

/* Children follow their parents in plan.dirs; 0 is the root, its own parent. */
struct plan_dir {
	const char *name;          /* the plan's own, checked; not NUL-terminated */
	uint64_t ino;
	uint32_t parent;
	uint8_t name_len;
	bool left_out;             /* lossy: its name, or one above it, is too long; or foreign */
	bool foreign;              /* resume: its place, or that of one above it, is taken by somebody else */
	bool wanted;               /* a filter's plan: it is new, or on the way to what is */
	bool way;                  /* it is there already: made as a way only, with nothing of its own */
};

/* Rows [first, end) of a sub-image's ENTRIES that the view shows in one directory, except
 * for directories, which stand in plan.dirs. */
struct plan_part {
	uint64_t first, end;
	uint32_t dir;
};

/* @n rows from row @at of parts[@part] on; or, where @big is not 0, the content of
 * bigs[@big - 1] from byte @at up to @end. */
struct plan_batch {
	uint64_t at, end;
	uint64_t block;            /* no data block below it is wanted by later batches */
	uint32_t part, n;
	uint32_t big;
};

/* An owner of the image as it will be in the target. */
struct plan_owner {
	uint32_t uid, gid;         /* wanted, by the image */
	uint32_t put_uid, put_gid; /* what is set: by the probe */
	bool lost;                 /* root's, in the place of one without a name whose number is another's: without privileges */
	uint64_t count;            /* inodes that have it; 0: not seen */
	struct where first;
};

struct plan_sub {
	struct sub *sub;
	struct plan_part *parts;   /* in the order of their rows */
	size_t nparts, parts_cap;
	struct plan_batch *batches;
	size_t nbatches, batches_cap;
	struct plan_owner *owners; /* by row of OWNER_PAIRS */
	uint64_t files, bytes;     /* of plan.files and plan.bytes, those that its batches make */
};

/* A file that several batches fill. The first to come creates it, the last finishes it. */
struct plan_big {
	uint64_t at;               /* its name: row of ENTRIES */
	uint32_t sub, dir;
	pthread_mutex_t lock;      /* fd, made, taken */
	int fd;                    /* -1 before and after */
	bool made;
	bool taken;                /* resume: it is there, or somebody else's is: nothing to fill */
	atomic_uint left;          /* batches that are not done */
};

/* A name of a file that has, or may have, several. Those of an inode stand together, and the
 * first of them carries the content: the one that its node names, where the view shows it. */
struct plan_link {
	uint64_t ino;
	uint64_t at;
	uint32_t dir;
	uint16_t sub;
	bool follows;              /* not the one that its node names */
};

/* A name whose file may be another one, or not there, in another selection. */
struct plan_special {
	uint32_t dir;
	uint8_t name_len;
	bool hidden;               /* just because one hides another's file, or takes it away */
	const char *name;          /* as that of a directory */
};

/* What the selection asks of the target. */
struct plan_needs {
	uint64_t count[FIELD_COUNT];         /* how often a field is used at all */
	struct where first[FIELD_COUNT];     /* for sizes and ranges: the most demanding one */
	struct sub_xattr xattr[FIELD_COUNT]; /* an example of each class */
	struct sub *xattr_sub;               /* the node with the most bytes of xattrs */
	uint32_t xattr_set;
	uint64_t xattr_bytes;
	int64_t time_min, time_max;
	uint32_t time_max_nsec;              /* of the newest: a target may hold its second only */
	struct where time_min_at, time_max_at;
	uint32_t time_nsec;                  /* of the finest time */
	uint64_t file_size;
	uint32_t name_len, symlink_len;
	uint64_t links;                      /* of one file */
	uint64_t blocks;                     /* bytes of data, in blocks of the target */
};

struct plan {
	struct ply_view *view;
	struct plan_dir *dirs;
	size_t ndirs, dirs_cap;
	struct plan_text *texts;             /* names of dirs, the newest piece first */
	struct plan_sub *subs;
	uint32_t nsubs;
	struct plan_link *links;
	size_t nlinks, links_cap;
	struct plan_batch *link_batches;     /* at, end: rows of links */
	size_t nlink_batches, link_batches_cap;
	struct plan_big *bigs;               /* by sub, then at */
	size_t nbigs, bigs_cap;
	struct plan_special *specials;       /* by dir, then name, without doubles */
	size_t nspecials, specials_cap;
	struct plan_needs needs;
	uint64_t files, names;               /* inodes that are no directories; all names of them */
	uint64_t bytes;                      /* of data */
};

/*
 * Which of a view's names a plan is about. Directories are told parents first, each before its names. Of those that are
 * not wanted, and have nothing below them that is, nothing is made. An error tells its path.
 */
struct plan_filter {
	/* Directory @d of @p, whose names come next: 1; 0: nothing below it is planned. May set its `wanted`. */
	int (*directory)(void *ctx, struct plan *p, uint32_t d, struct ply_err *err);
	/* A name of it that is no directory: is it planned? */
	int (*name)(void *ctx, const struct ply_dirent *de, struct ply_err *err);
	/* Names of directories are told too, and are always planned. */
	int (*subdirectory)(void *ctx, const struct ply_dirent *de, uint32_t d, struct ply_err *err);
	/* That was all of them. */
	int (*listed)(void *ctx, struct ply_err *err);
	void *ctx;
};

/* @block: bytes of a block of the target. @cancel, @filter may be NULL. */
int plan_filtered(struct ply_view *view, uint64_t block, const struct plan_filter *filter, const atomic_bool *cancel,
		  struct plan **ret, struct ply_err *err);
int plan_new(struct ply_view *view, uint64_t block, const atomic_bool *cancel, struct plan **ret, struct ply_err *err);
struct plan *plan_free(struct plan *plan);

/* SHA-256 of all that is done, in order: directories, parts, batches, pieces of big files, links. Two plans of one
 * digest, over one catalog with the same decisions, do the same. -ENOMEM. */
int plan_digest(const struct plan *plan, uint8_t ret[32]);

/* "usr/bin/env": of @name in directory @d, or with @len 0 of that itself, "" of the root. *out becomes that, with a NUL behind
 * that is not counted. -ENOMEM. */
int plan_name_path(const struct plan *plan, uint32_t d, const char *name, size_t len, struct buf *out);
/* The index of the directory @name in @parent; 0: there is none. */
uint32_t plan_find_dir(const struct plan *plan, uint32_t parent, const char *name);

/* A hard-link group's first name; NULL: the inode has only one name. */
const struct plan_link *plan_link_first(const struct plan *plan, uint64_t ino);

/* The file whose name is row @at of sub-image @sub, if batches of its own fill it. */
struct plan_big *plan_find_big(const struct plan *plan, uint32_t sub, uint64_t at);

/* Data of node @n that lies in [@from, @to): each extent, cut to it. Non-zero from @fn ends it. */
typedef int (*plan_extent_fn)(void *ctx, const struct ply_extent *e, struct ply_err *err);
int plan_extents(struct sub *sub, const struct ply_node *n, uint64_t from, uint64_t to,
		 plan_extent_fn fn, void *ctx, struct ply_err *err);

/* Which class of LAYOUT_FIELDS an xattr is. */
enum layout_field plan_xattr_field(const struct sub_xattr *x);

/* The name of @w, whose row is @e: its own, or in @buf. See view_entry_name(). */
int plan_entry_name(const struct plan *plan, const struct where *w, const struct ply_entry *e, char buf[PLY_NAME_MAX],
		    const char **ret, size_t *ret_len, struct ply_err *err);

/* The path of @w from the root of the tree, escaped, cut to @cap: "/usr/bin/env". */
void plan_path(const struct plan *plan, const struct where *w, char *out, size_t cap);

#endif
