/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata walk: a machine's tree in memory, sorted bytewise, without contents.
 *
 * Nodes are names: a file with several names has a node for each, tied by `group`.
 * The children of a directory are contiguous and sorted, and come after those of the directories
 * before it. Immutable after scan_tree() but for `comp`, which the split sets.
 */
#ifndef PLYFS_SCAN_H
#define PLYFS_SCAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "plyfs/error.h"
#include "progress.h"

#define SCAN_ROOT 0u
#define SCAN_NONE UINT32_MAX

enum {
	SCAN_LEFT_OUT = 1,         /* a directory whose content is not captured: a mount point */
	SCAN_UNREADABLE = 2,
	SCAN_FLAGGED = 4,          /* has inode flags (chattr) */
	SCAN_GONE = 8,             /* not of the scan: a name that another machine has (tools/add) */
};

struct scan_node {
	uint64_t size;             /* bytes; a device: major << 32 | minor */
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint32_t uid, gid;
	uint32_t parent;           /* the root: itself */
	uint32_t first_child;      /* a symlink: its target, an offset in scan.names */
	uint32_t nchildren;
	uint32_t name;             /* offset in scan.names */
	uint32_t group;            /* hard-link group, from 1; 0: has one name */
	uint16_t mode;
	uint16_t comp;             /* component that it belongs to; 0: os */
	uint8_t name_len;
	uint8_t flags;
};

enum scan_why { SCAN_WHY_KERNEL, SCAN_WHY_TEMPORARY, SCAN_WHY_NETWORK, SCAN_WHY_REMOVABLE,
		SCAN_WHY_LOCAL, SCAN_WHY_READ_ONLY, SCAN_WHY_AGAIN, SCAN_WHY_UNKNOWN,
		SCAN_WHY_IMAGE, SCAN_WHY_VANISHED };

/* What is not in the capture though it is in the tree. */
struct scan_note {
	char *path;                /* below the root, malloc-ed */
	enum scan_why why;
	char type[32];             /* of the file system */
};

struct scan {
	int root;                  /* O_PATH descriptor that everything is read through */
	struct scan_node *nodes;
	size_t n, cap;
	struct buf names;
	uint32_t ngroups;          /* groups are 1 .. ngroups */
	struct scan_id {
		uint64_t dev, ino;
	} *group_ids;              /* by group: the inode that its names were */
	struct scan_mount {        /* local file systems below the root, and in the tree; sorted */
		char *path;        /* below the root */
		char *type, *subtree;
	} *mounts;
	size_t nmounts;
	struct scan_note *left_out;
	size_t nleft_out, left_out_cap;
	uint64_t unreadable;       /* files that this user cannot read */
	uint32_t first_unreadable; /* node, or SCAN_NONE */
	uint64_t bytes;            /* of regular files, each group once */
	uint64_t flagged;          /* files with inode flags (chattr), which are not captured */
	uint32_t first_flagged;
};

struct scan_options {
	const char *const *exclude;    /* globs of -x */
	size_t nexclude;
	struct scan_id skip[2];        /* left out: the image itself; ino 0: none */
	const atomic_bool *cancelled;  /* may be NULL */
	bool one_file_system;
	struct progress_counters *counters;   /* may be NULL */
};

/* ROOT_NOT_FOUND, ROOT_NOT_DIRECTORY, ROOT_UNREADABLE. Release by scan_done(). */
int scan_tree(const char *root, const struct scan_options *o, struct scan *ret,
	      struct ply_err *err);
void scan_done(struct scan *s);

/* For people: "a temporary file system". */
const char *scan_why_text(enum scan_why why);

static inline const char *scan_target(const struct scan *s, uint32_t symlink)
{
	return (const char *)s->names.data + s->nodes[symlink].first_child;
}

static inline const char *scan_name(const struct scan *s, uint32_t node)
{
	return (const char *)s->names.data + s->nodes[node].name;   /* NUL-terminated */
}

/* Path below the root, no leading slash, NUL-terminated, into @out (emptied first). -ENOMEM. */
int scan_path(const struct scan *s, uint32_t node, struct buf *out);

/* The child of @dir by that name, or SCAN_NONE. */
uint32_t scan_child(const struct scan *s, uint32_t dir, const char *name, size_t len);

/*
 * The node that an absolute @path names: symlinks in the middle are followed inside the
 * root, the last component is not. SCAN_NONE: not there (or @path leads through more than
 * 40 symlinks).
 */
uint32_t scan_lookup(const struct scan *s, const char *path, size_t len);

/* Open the directory @node for *at calls; -errno. */
int scan_open_dir(const struct scan *s, uint32_t node);

/* A glob of -x and of path components against a path below the root (no leading slash): one
 * star and "?" stay within a component, two stars cross; two at the end stand for the content of
 * the directory before them, not for itself. */
bool scan_glob(const char *glob, const char *path);

#endif
