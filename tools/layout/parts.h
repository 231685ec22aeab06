/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Texts that stand one behind the other in a file, each known by its length and digest (struct change_part): where one
 * stands, and the file without it. Pure: bytes in, bytes out.
 */
#ifndef PLYFS_LAYOUT_PARTS_H
#define PLYFS_LAYOUT_PARTS_H

#include "base/buf.h"
#include "layout/changes.h"
#include "merge/span.h"

void part_of(struct span text, struct change_part *ret);
bool part_is(const struct change_part *a, const struct change_part *b);

/* Where the lines of @part stand in @text, the first time; SIZE_MAX: nowhere, or that would take too long to find out. */
size_t part_find(struct span text, const struct change_part *part);
/* The same, but not within one of @others. *ret_within: it stands within one. */
size_t part_find_own(struct span text, const struct change_part *part, const struct change_part *others, size_t nothers,
		     bool *ret_within);

/*
 * @text without @part, which stands at @at, appended to @out. Of @others, what stands nowhere but in it stays. A line end
 * that was put before @part goes with it where what then is last is one of @others, or @before (NULL: not known), and has none.
 * -ENOMEM.
 */
int part_cut(struct span text, size_t at, const struct change_part *part, const struct change_part *others, size_t nothers,
	     const struct change_part *before, struct buf *out);

#endif
