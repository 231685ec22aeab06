/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which component each scanned name belongs to.
 *
 * scan_node.comp is a component's place in split.comps (0: os), or, for a directory that
 * several components bring and os does not, SPLIT_SET | a place in split.sets.
 */
#ifndef PLYFS_SPLIT_H
#define PLYFS_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "capture/pkgdb/pkgdb.h"
#include "capture/scan.h"
#include "cli.h"

#define SPLIT_SET 0x8000u
#define SPLIT_MAX 512u             /* components of one capture */

struct component {
	char *name;
	char *summary;             /* what it was made from: package names */
	uint32_t flags;            /* PLY_SUB_OS, PLY_SUB_INTERNAL */
	const char **requires;     /* names of others, borrowed from them */
	size_t nrequires, requires_cap;
};

struct split {
	struct component *comps;   /* in order of rank, os first */
	size_t ncomps, comps_cap;
	uint64_t (*sets)[SPLIT_MAX / 64];
	size_t nsets, sets_cap;
};

/*
 * @wanted: NAME=PACKAGE|/GLOB[,...] each. @db may be NULL (no package database). Sets comp of every
 * node of @scan. USAGE, SUB_NAME, COMPONENT_TWICE, PACKAGE_UNKNOWN, PACKAGE_TWICE, PKGDB_MISSING.
 */
int split_tree(struct scan *scan, struct pkgdb *db, const struct cli_list *wanted,
	       struct split *ret, struct ply_err *err);
void split_done(struct split *s);

/* Does component @c bring a name whose comp is @comp? */
static inline bool split_holds(const struct split *s, uint16_t comp, size_t c)
{
	if (comp & SPLIT_SET)
		return s->sets[comp & ~SPLIT_SET][c / 64] >> c % 64 & 1;
	return comp == c;
}

#endif
