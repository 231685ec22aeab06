/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From packages and paths to nodes: what packages list, what components name by path, and for
 * all else the rules.
 */
#ifndef PLYFS_OWNERS_H
#define PLYFS_OWNERS_H

#include "capture/split.h"

/*
 * Set comp of every node, with the numbers of @split->closure, and @split's sets, marks,
 * unclaimed, facts. @by_path: per node a bit, zeros; set where a component names it by path.
 */
int owners_assign(struct scan *scan, const struct pkgdb *db, const struct manifest *m,
		  const struct rules *rules, struct split *split, uint8_t *by_path, struct ply_err *err);

/*
 * What programs of components by path need: for each shared library (DT_NEEDED) and interpreter
 * (#!) that lies in another component, fn(from, to). A library that is nowhere becomes a note.
 */
int owners_needs(const struct scan *scan, struct split *split, const uint8_t *by_path,
		 int (*fn)(void *ctx, uint16_t from, uint16_t to), void *ctx, struct ply_err *err);

#endif
