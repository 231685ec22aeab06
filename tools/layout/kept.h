/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the components of a target brought: their tables, merge/NAME/table, and the file `dirs`: directories whose component
 * has gone, and that had to stay because another one had something in them. They go with what was in them.
 */
#ifndef PLYFS_LAYOUT_KEPT_H
#define PLYFS_LAYOUT_KEPT_H

#include "layout/changes.h"

struct kept {
	struct changes *v;         /* of each the first name is its component; no order */
	size_t n, cap;
	struct changes dirs;       /* rows of CHANGE_KEEP */
};

/* @state: the directory var/lib/plyfs of the target @path. *ret is the caller's, by kept_done(), whatever is returned. */
int kept_read(int state, const char *path, struct kept *ret, struct ply_err *err);
/* Of one component; *ret is set on success. -ENOENT, not told: nothing is kept of it. */
int kept_read_one(int state, const char *path, const char *name, struct changes *ret, struct ply_err *err);
void kept_done(struct kept *k);

/* NULL: none of that name was added. */
const struct changes *kept_find(const struct kept *k, const char *name);
/* The next row at @path of another component than @but, and whose it is; @at: 0 for the first. NULL: there is no more. */
const struct change *kept_next(const struct kept *k, const char *path, const char *but, size_t *at, const char **ret_name);
/* Did another component than @but bring @path, or find it there; was it one that made it? */
bool kept_has(const struct kept *k, const char *path, const char *but);
bool kept_makes(const struct kept *k, const char *path, const char *but);

/* Can @names go together? -ENOTEMPTY, COMPONENT_NEEDED: others require one of them. */
int kept_check_required(const struct kept *k, int state, const char *path, const char *const *names, size_t n,
			struct ply_err *err);
bool kept_is_in(const char *const *names, size_t n, const char *name);
/* Adds to @names, which has room for as many as there are components, internal ones (with a + in their name) that nothing
 * requires any more when these have gone. */
void kept_add_needless(const struct kept *k, const char **names, size_t *n);
/* So that each goes before what it requires; else as they stand. */
void kept_order(const struct kept *k, const char **names, size_t n);

#endif
