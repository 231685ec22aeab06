/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What grant.c has to know of blocks: see merge_append() in compose.h. */
#ifndef PLYFS_MERGE_APPEND_H
#define PLYFS_MERGE_APPEND_H

#include "merge/span.h"

/* Does @block stand in what the @n texts before it give, line for line? -ENOMEM. */
int append_has(const struct span *v, size_t n, struct span block, bool *ret);

#endif
