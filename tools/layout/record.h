/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each component of a new layout brought, so that it can be taken out: merge/NAME, as update.h has it. */
#ifndef PLYFS_LAYOUT_RECORD_H
#define PLYFS_LAYOUT_RECORD_H

#include "layout/engine.h"

/*
 * Of the plan and its view alone: when it is known which directories are left out, and beside the streams, where there
 * are several. What an earlier, interrupted call has written is written again. Does nothing where the target does not keep
 * what files are told apart by.
 */
void record_begin(struct layout *l);
/* When it is done; what was not begun is done now. Its first error. */
int record_end(struct layout *l, struct ply_err *err);

#endif
