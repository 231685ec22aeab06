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

#endif
