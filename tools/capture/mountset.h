/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is mounted at and below the root of a captured machine, and what of it belongs to it. */
#ifndef PLYFS_MOUNTSET_H
#define PLYFS_MOUNTSET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "capture/scan.h"

struct mountpoint {
	uint64_t id;               /* of the mount */
	char *path;                /* below the root; "" is the root itself */
	char *type, *subtree;
	unsigned major, minor;
	bool is_crossed;
	enum scan_why why;         /* where it is not */
	int below;                 /* crossed: clone without what is mounted in it; -1: not opened yet */
};

struct mountset {
	struct mountpoint *v;      /* sorted by path: a mount comes after those that it lies in */
	size_t n, cap;
};

/* @root: a descriptor of the root directory. */
int mountset_find(struct mountset *s, int root, bool one_file_system, struct ply_err *err);
void mountset_done(struct mountset *s);

/* What is mounted at @path (below the root, "" for the root itself), or NULL. */
struct mountpoint *mountset_at(const struct mountset *s, const char *path);

/* The file that lies below the mount point @path. -EPERM without the right to clone a
 * mount. Changes `below` of a row. */
int mountset_stat_below(struct mountset *s, int root, const char *path, struct statx *st);

#endif
