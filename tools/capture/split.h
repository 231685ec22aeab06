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

#include "capture/closure.h"
#include "capture/manifest.h"
#include "capture/pkgdb/pkgdb.h"
#include "capture/scan.h"

#define SPLIT_SET 0x8000u
#define SPLIT_MAX 512u             /* components of one capture */

struct component {
	char *name;
	char *summary;             /* what it was made from: package names */
	uint32_t flags;            /* PLY_SUB_OS, PLY_SUB_INTERNAL */
	const char **requires;     /* names of others, borrowed from them; see groups */
	uint32_t *groups;          /* with each: equal ones are alternatives to one another */
	size_t nrequires;
	uint64_t nodes, bytes;     /* names, and bytes of regular files, each group once */
};

struct split {
	struct component *comps;   /* in order of rank, os first */
	size_t ncomps;
	uint64_t (*sets)[SPLIT_MAX / 64];
	size_t nsets, sets_cap;
	struct closure closure;    /* of the packages; components have the same numbers */
	uint8_t *marks;            /* per node: enum rule_mark */
	uint32_t *unclaimed;       /* nodes that no rule took, os now: the topmost of each tree */
	size_t nunclaimed, unclaimed_cap;
	char **notes;              /* to tell: libraries that are missing, ... */
	size_t nnotes, notes_cap;
	struct facts *facts;       /* whose are users and groups */
};

/*
 * @db may be NULL (no package database). Sets comp of every node of @scan. PACKAGE_UNKNOWN,
 * PACKAGE_TWICE, PACKAGE_NEEDED, COMPONENT_PACKAGES, PKGDB_MISSING, PKGDB_UNFINISHED, RULES_MISSING,
 * COMPONENT_PATHS (a glob that matches nothing).
 */
int split_tree(struct scan *scan, const struct pkgdb *db, const struct manifest *wanted,
	       struct split *ret, struct ply_err *err);
/*
 * The same for a whole machine, with its package database, which is *ret_db (closed by the caller, also on errors; NULL: it
 * has none). Where the database is malformed and @wanted names no package it is done without, and that is noted.
 */
int split_machine(struct scan *scan, const struct manifest *wanted, struct pkgdb **ret_db, struct split *ret,
		  struct ply_err *err);
void split_done(struct split *s);

/* Does component @c bring a name whose comp is @comp? */
static inline bool split_holds(const struct split *s, uint16_t comp, size_t c)
{
	if (comp & SPLIT_SET)
		return s->sets[comp & ~SPLIT_SET][c / 64] >> c % 64 & 1;
	return comp == c;
}

/* The packages of component @c, a line each, sorted: name, architecture, version, why, with tabs
 * between. -ENOMEM. */
int split_list_packages(const struct split *s, const struct pkgdb *db, uint32_t c, struct buf *out,
			size_t *ret_n);

/* A comp that both @a and @b hold. -ENOMEM, -E2BIG. */
int split_join(struct split *s, uint16_t a, uint16_t b, uint16_t *ret);
int split_note(struct split *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
