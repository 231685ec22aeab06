/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each component of a new layout brought, so that it can be taken out: merge/NAME, as update.h has it. */
#ifndef PLYFS_LAYOUT_RECORD_H
#define PLYFS_LAYOUT_RECORD_H

#include "layout/engine.h"

/*
 * When all content is in its place. What an earlier, interrupted call has written is written again. Does nothing where the
 * target does not keep what files are told apart by. The first error is told in @err.
 */
int record_components(struct layout *l, struct ply_err *err);

#endif
