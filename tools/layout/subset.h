/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Views of a part of what is laid out. */
#ifndef PLYFS_LAYOUT_SUBSET_H
#define PLYFS_LAYOUT_SUBSET_H

#include "layout/engine.h"

const struct ply_sub_info *subset_info(const struct layout *l, uint32_t sub);
/* Of @stays, by sub-image of the plan: those that require one that does not stay go too. */
void subset_close(const struct layout *l, bool *stays);
/* The view of those that stay, with what was decided between them. */
int subset_open(const struct layout *l, const bool *stays, struct ply_view **ret, struct ply_err *err);

/* The inode of directory @d of the plan in @view; 0: it is not there. @known: by directory, for this view; begun by
 * subset_dirs(), the caller's to free. */
uint64_t *subset_dirs(const struct layout *l);     /* NULL: no memory */
int subset_dir(const struct layout *l, struct ply_view *view, uint64_t *known, uint32_t d, uint64_t *ret,
	       struct ply_err *err);

#endif
