/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What taking a component out of a target changes, by the table of the change that brought it. */
#ifndef PLYFS_LAYOUT_REMOVE_H
#define PLYFS_LAYOUT_REMOVE_H

#include "layout/kept.h"
#include "layout/update_impl.h"

typedef void remove_left_fn(void *ctx, const char *path, const char *why);

/* Was it added? SUB_UNKNOWN. */
int remove_check(const struct update *u, const struct kept *kept, const char *name, struct ply_err *err);

/* Rows, and what is to be put back, in u->up. What somebody has changed is told to @left, and stays. @dirs: rows of
 * CHANGE_KEEP, directories that stay for other components alone. Both are the caller's, and empty. */
int remove_stage(struct update *u, const struct kept *kept, const char *name, struct changes *ret, struct changes *dirs,
		 remove_left_fn *left, void *ctx, struct ply_err *err);

#endif
