/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* All new content of a change, made below the state, where nobody looks for it: see update.h. */
#ifndef PLYFS_LAYOUT_STAGE_H
#define PLYFS_LAYOUT_STAGE_H

#include "layout/engine.h"
#include "layout/survey.h"

/*
 * Makes tree/, new/, with/ in the open, empty directory @update, and sets what rows are to be after. @target: for room and
 * messages. Counts go to @report, and
 * what was done when to stream @stream of the timeline.
 */
int stage_run(struct survey *s, const struct target *target, int update, const struct layout_options *o, uint32_t stream,
	      struct layout_report *report, struct ply_err *err);

#endif
