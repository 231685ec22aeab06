/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A view: a selection of an image's sub-images as one tree. Mount, layout,
 * ls, cat and verify all read through it, so they cannot differ.
 *
 * Inodes are named by st_ino = [number 15 | index 48]; the root is 1. All
 * functions are thread-safe; a view holds no state that depends on what was
 * asked before, except caches. An inode number that the selection does not
 * hold, or that is not the one that names its file here, is -ESTALE.
 */
#ifndef PLYFS_VIEW_H
#define PLYFS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "plyfs/error.h"
#include "plyfs/image.h"

struct ply_view;

struct ply_attr {
	uint64_t ino;
	uint32_t mode;             /* type and permissions */
	uint32_t uid, gid;
	uint64_t nlink;
	uint64_t size;             /* bytes; a directory: 4096 */
	uint64_t blocks;           /* 512-byte units, of the data that is not a hole */
	uint32_t rdev_major, rdev_minor;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	bool has_xattrs;
};

struct ply_view_stat {
	uint64_t inodes;           /* upper bound: joined inodes count in each sub-image */
	uint64_t bytes;            /* of regular files, decoded */
	uint64_t stored;           /* bytes of the selected segments */
	uint32_t nsubs;
	bool has_xattrs;           /* any selected node has one */
	bool has_acls, has_labels; /* one may have ACLs, a label of SELinux */
};

/*
 * Open the selection @names (sub-image names; n == 0: all), with no decisions: see ply_view_open_with(). `os` and what the
 * names require are added. PLY_R_SUB_UNKNOWN names the unknown one and lists
 * what there is. @image is borrowed and must outlive the view. @cache_bytes is
 * the budget of the cache of decoded blocks; 0: 64 MiB.
 */
int ply_view_open(struct ply_image *image, const char *const *names, size_t n,
		  size_t cache_bytes, struct ply_view **ret, struct ply_err *err);

/* How sub-images that have one path, and differ there, come together. Numbers are what --decisions and tools hand on. */
enum ply_rule {
	PLY_RULE_FIRST = 1,        /* that of the lowest rank */
	PLY_RULE_LAST,
	PLY_RULE_APPEND,           /* one behind the other, by rank */
	PLY_RULE_KEEP_BOTH,        /* the others beside it, as NAME.plyfs-SUBIMAGE */
	PLY_RULE_DRIVER,           /* a merge driver */
};

/* Of one pair of the image's COLLISIONS. It decides the path: all sub-images that have it. */
struct ply_decision {
	uint64_t a, b;             /* as there; a whiteout and a node never have the same partner */
	uint8_t rule;              /* enum ply_rule */
	uint16_t driver;           /* of PLY_RULE_DRIVER: its number */
};

struct ply_view_options {
	const char *const *names;  /* as for ply_view_open() */
	size_t n;
	size_t cache_bytes;
	const struct ply_decision *decisions;      /* in any order; not kept */
	size_t ndecisions;
	bool append;               /* undecided conflicts that allow it are PLY_RULE_APPEND */
	bool undecided_first;      /* what is still undecided is shown as PLY_RULE_FIRST: for who looks at it */
	bool all_pairs;            /* what needs no decision is kept, too, as it is with undecided_first or decisions */
};

/*
 * A conflict that nothing decides is -ENOTUNIQ (reason CONFLICT). -EINVAL: a decision about what is no
 * pair of this selection, or two different ones for one path. -EUCLEAN: a sub-image stands on itself, or on
 * one of a higher rank; a collision of nodes that there are not.
 */
int ply_view_open_with(struct ply_image *image, const struct ply_view_options *o, struct ply_view **ret,
		       struct ply_err *err);

struct ply_view *ply_view_close(struct ply_view *view);

/* Call now and then when nothing happens: gives back cached blocks that were not used
 * since the last call. */
void ply_view_idle(struct ply_view *view);

struct ply_image *ply_view_image(const struct ply_view *view);
void ply_view_stat(const struct ply_view *view, struct ply_view_stat *ret);

/* Selected sub-images in order of rank: positions for ply_image_sub_info(). */
uint32_t ply_view_nsubs(const struct ply_view *view);
uint32_t ply_view_sub(const struct ply_view *view, uint32_t i);

int ply_view_attr(struct ply_view *view, uint64_t ino, struct ply_attr *ret, struct ply_err *err);

/* -ENOENT (reason NO_ENTRY), -ENAMETOOLONG, -ENOTDIR. "." and ".." work. */
int ply_view_lookup(struct ply_view *view, uint64_t dir, const char *name, size_t len,
		    uint64_t *ret_ino, struct ply_err *err);

/* The parent of a directory; of another file: the directory of its first name. */
int ply_view_parent(struct ply_view *view, uint64_t ino, uint64_t *ret_ino, struct ply_err *err);

struct ply_dirent {
	uint64_t ino;
	uint64_t cookie;           /* pass it to go on behind this entry */
	const char *name;          /* not NUL-terminated, borrowed during the call */
	size_t len;
	uint8_t type;              /* DT_* */
};

/* Called for each entry; non-zero stops the listing (not an error). */
typedef int (*ply_dirent_fn)(void *ctx, const struct ply_dirent *de);

/* List @dir behind @cookie (0: from the start, without "." and ".."). */
int ply_view_readdir(struct ply_view *view, uint64_t dir, uint64_t cookie, ply_dirent_fn fn,
		     void *ctx, struct ply_err *err);

/* Target of a symlink: not NUL-terminated, borrowed from the image's map. */
int ply_view_readlink(struct ply_view *view, uint64_t ino, const char **ret, size_t *ret_len,
		      struct ply_err *err);

/*
 * Read up to @len bytes at @off. Returns the count (short only at the end of
 * the file) or a negative errno. Whole blocks are decoded straight into @buf.
 */
ssize_t ply_view_read(struct ply_view *view, uint64_t ino, uint64_t off, size_t len, void *buf,
		      struct ply_err *err);

/* SEEK_DATA / SEEK_HOLE as lseek(2): -ENXIO behind the end. */
int ply_view_seek(struct ply_view *view, uint64_t ino, uint64_t off, int whence,
		  uint64_t *ret_off, struct ply_err *err);

struct ply_xattr {
	const char *name;          /* not NUL-terminated, borrowed */
	size_t name_len;
	const void *value;         /* borrowed */
	size_t value_len;
};
typedef int (*ply_xattr_fn)(void *ctx, const struct ply_xattr *xattr);

int ply_view_xattrs(struct ply_view *view, uint64_t ino, ply_xattr_fn fn, void *ctx,
		    struct ply_err *err);

/* One xattr; -ENODATA (reason NO_XATTR). *ret is borrowed. */
int ply_view_getxattr(struct ply_view *view, uint64_t ino, const char *name, const void **ret,
		      size_t *ret_len, struct ply_err *err);

/*
 * Resolve a path from the root of the view, byte for byte; symlinks are not
 * followed, except with @follow, where those in the middle and at the end are
 * (inside the view; at most 40).
 */
int ply_view_resolve(struct ply_view *view, const char *path, bool follow, uint64_t *ret_ino,
		     struct ply_err *err);

/* Position (for ply_image_sub_info) of the sub-images that hold @ino, in order of rank;
 * returns how many there are, fills at most @max. Implied directories count only
 * where nothing else holds it. Of a merged file: all that it is made of. */
int ply_view_origin(struct ply_view *view, uint64_t ino, uint32_t *ret, uint32_t max,
		    struct ply_err *err);

/* Walk the whole view depth-first, directories before their children, in the order of
 * readdir. @path is relative to the root ("" for the root), not NUL-terminated.
 * Non-zero from @fn ends the walk and is returned. Depth is limited by memory only. */
struct ply_walk_entry {
	const char *path;
	size_t path_len;
	size_t name_off;           /* of the last component in path */
	uint64_t dir;              /* inode of the parent; the root: 1 */
	uint8_t type;
	struct ply_attr attr;
};
typedef int (*ply_walk_fn)(void *ctx, const struct ply_walk_entry *entry);
int ply_view_walk(struct ply_view *view, uint64_t from, ply_walk_fn fn, void *ctx,
		  struct ply_err *err);

#endif
