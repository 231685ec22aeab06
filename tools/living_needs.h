/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Has the target what the components that are added need? */
#ifndef PLYFS_LIVING_NEEDS_H
#define PLYFS_LIVING_NEEDS_H

#include "layout/survey.h"

/* What is missing is told on stderr: TARGET_LACKS, unless @force. s->packages are read, and what programs lack is added
 * there. */
int living_check_needs(struct survey *s, const char *target, bool force, struct ply_err *err);

#endif
