/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Three-way merge of texts by lines. */
#ifndef PLYFS_MERGE_DIFF3_H
#define PLYFS_MERGE_DIFF3_H

#include "base/buf.h"
#include "merge/span.h"
#include "plyfs/error.h"

/*
 * The changes from @base to each of the two, both applied, appended to @out. The same change of both counts
 * once. -ENOTUNIQ where changes overlap or touch one another (no line between them is left as it was), with
 * *ret_large where it took too long to find out; -ENOMEM. @out is as it was on errors.
 */
int diff3_merge(struct span base, struct span ours, struct span theirs, struct buf *out, bool *ret_large,
		struct ply_err *err);

#endif
