/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Extended attributes of files that are not made by a plan. Paths are /proc/self/fd/DIRECTORY/NAME; no symlink is followed. */
#ifndef PLYFS_LAYOUT_ATTRS_H
#define PLYFS_LAYOUT_ATTRS_H

#include "add/idmap.h"
#include "tree/view_internal.h"

/* All of @from's. -errno, not told. */
int attrs_copy(const char *from, const char *to);
/* Those of inode @ino of @view, with numbers of the target (@ids NULL: they are the same). @lossy: what cannot be set is
 * left out. -errno; @err tells what reading the image said, else its code is 0. */
int attrs_of_view(struct ply_view *view, uint64_t ino, const struct idmap *ids, bool lossy, const char *to,
		  struct ply_err *err);

/* @to gets what @as has, and loses what that has not. Labels that the kernel gives by itself stay. -errno. */
int attrs_make(const char *to, const char *as);
/* 1: each one of @is, and each that it lacks, is so in @a or in @b, too; 0, or -errno. */
int attrs_between(const char *is, const char *a, const char *b);

/*
 * An empty directory @name in @dir that has the attributes and mode which another one is to get: those of @from, and of
 * these, where @view is not NULL, what does not belong to inode @ino of that exchanged for its own. -errno; @err as above.
 */
int attrs_carrier(int dir, const char *name, const char *from, uint32_t mode, struct ply_view *view, uint64_t ino,
		  const struct idmap *ids, bool lossy, struct ply_err *err);

#endif
