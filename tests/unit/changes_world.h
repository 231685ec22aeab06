/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory with something to change, a table of what, and all that is staged for it: each kind of row, for each kind
 * of file. The same each time, times too.
 */
#ifndef PLYFS_TESTS_CHANGES_WORLD_H
#define PLYFS_TESTS_CHANGES_WORLD_H

#include <sys/types.h>

#include "layout/apply.h"

#define UPDATE "var/lib/plyfs/update"
#define WORLD_ROWS 22u

struct world {
	char root[256];
	int target, update;
	struct changes c;
	char told[4096];           /* "PATH: WHY\n" */
	struct apply a;            /* of all these; left() adds to `told` */
};

extern const struct world_row {
	enum change_kind kind;
	const char *path;
} world_rows[WORLD_ROWS];

void world_new(struct world *w);
void world_done(struct world *w);
/* What is in the target but for /var/lib/plyfs, a line each; malloc-ed. */
char *world_state(const struct world *w);

void world_dir(int at, const char *path, mode_t mode);
/* @text becomes all of it. */
void world_file(int at, const char *path, const char *text);
bool world_has(const struct world *w, const char *path);
/* Is it a file of just @text? */
bool world_holds(const struct world *w, const char *path, const char *text);

#endif
