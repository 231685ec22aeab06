/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What one of three has at a path, for a three-way comparison: the target, the image with, or the image without what is
 * to be added. All of it is compared, and merged, as fs/merge/compose.h does it.
 */
#ifndef PLYFS_LAYOUT_VERSION_H
#define PLYFS_LAYOUT_VERSION_H

#include <sys/stat.h>

#include "add/idmap.h"
#include "base/buf.h"
#include "merge/compose.h"
#include "tree/view_internal.h"

struct version {
	bool there;
	struct contender c;        /* loaded by version_load() */
	uint8_t xattrs[32];
	struct buf text;           /* of a small regular file, or the target of a symlink */
	struct ply_view *view;     /* where it is of: a view, */
	uint64_t ino;
	struct stat st;            /* of a target's, */
	int dir;                   /* which is in a directory, */
	const char *name;          /* borrowed */
};

/* @ids: numbers of the view's machine to those of the target; NULL: they are the same. */
int version_of_view(struct ply_view *view, uint64_t ino, const struct idmap *ids, struct version *ret,
		    struct ply_err *err);
/* What lies at @name in the open directory @dir (O_PATH will do); nothing is an answer too. -errno otherwise, not told. */
int version_of_target(int dir, const char *name, struct version *ret);
/* The inode of the name in directory @dir of @view, where it is one; 0: nothing has the name. */
int version_find(struct ply_view *view, uint64_t dir, const char *name, size_t len, uint64_t *ret, struct ply_err *err);
/* Its content: text and digest of what is small enough to be merged, the digest alone of what is not. @path: absolute.
 * -errno of a target's file is told without a path. */
int version_load(struct version *v, const char *path, const struct idmap *ids, struct ply_err *err);
/* Another text in the place of the one that was loaded; @text is consumed. -ENOMEM. */
int version_set_text(struct version *v, struct buf *text);
/* Append the whole file @path of @view, symlinks followed, and put a NUL byte behind it; nothing where there is none. */
int version_read(struct ply_view *view, const char *path, struct buf *out, struct ply_err *err);
/* Is what lies there still what version_of_target() saw? Of a directory: is it the same one? */
bool version_is_still(const struct version *v);
/* What the file system of @name in @dir is mounted as; "": of @dir itself. */
uint64_t version_mount(int dir, const char *name);
void version_done(struct version *v);
#define _cleanup_version_ __attribute__((cleanup(version_done)))

/* Both loaded: is the content the same (of files of one type)? */
bool version_same_content(const struct version *a, const struct version *b);
/* The same question, of versions of views of one image that need not be loaded: they are (@path as there) where sizes and
 * what they are made of do not tell. 1, 0. */
int version_compare(struct version *a, struct version *b, const char *path, struct ply_err *err);
bool version_same_xattrs(const struct version *a, const struct version *b);

#endif
