/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What changes of a laid-out target have put in place, as it is: `placed`, a table with rows of CHANGE_KEEP. The plan
 * knows nothing of them, and an abort of all has to take them out, too.
 */
#ifndef PLYFS_LAYOUT_PLACED_H
#define PLYFS_LAYOUT_PLACED_H

#include "layout/update_impl.h"

/* With @table, which is complete and sorted: the next `placed`, in u->up. Nothing, where the target has no plan. */
int placed_stage(struct update *u, const struct changes *table, struct ply_err *err);
/* *ret is the caller's, by changes_done(), whatever is returned; without rows where there is none. */
int placed_read(int state, const char *path, struct changes *ret, struct ply_err *err);

#endif
