/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Components that are added in one call are one change each, and belong together: their names are in the file `adding` of
 * the state until the last of them is there. So a call that fails, or an abort, takes out those that were complete.
 */
#ifndef PLYFS_LAYOUT_TOGETHER_H
#define PLYFS_LAYOUT_TOGETHER_H

#include "layout/update_impl.h"

struct together {
	char **names;              /* in the order in which they are added */
	size_t n;
};

/* -errno, not told. */
int together_begin(const struct update *u, const char *const *names, size_t n);
/* Nothing where there is no such file. STATE_DAMAGED. */
int together_read(const struct update *u, struct together *ret, struct ply_err *err);
void together_done(struct together *t);
int together_end(const struct update *u);
/* Is the component said to be there? */
bool together_has(const struct update *u, const char *name);

#endif
