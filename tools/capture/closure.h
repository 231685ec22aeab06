/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which component each package belongs to, when some are named: what the named ones alone
 * need comes with them, what several need is folded into the one that the others require, or
 * becomes an internal component of its own, and the rest is the operating system.
 *
 * The result depends on the database and the input only. Names are borrowed from the input
 * but for those of internal components.
 */
#ifndef PLYFS_CLOSURE_H
#define PLYFS_CLOSURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "pkgdb/pkgdb.h"

#define CLOSURE_OS   0u
#define CLOSURE_MAX  4096u         /* components: their sets are bitmaps, one for each package */

struct closure_input {
	const char *name;          /* "os" keeps its packages in the operating system */
	const uint32_t *pkgs;
	size_t n;
	bool *ret_needed;          /* set where PACKAGE_NEEDED is about it; may be NULL */
};

enum closure_why {
	WHY_LEFT = 0,              /* only its configuration is left */
	WHY_WANTED,                /* installed by hand, essential, required or important */
	WHY_NAMED,
	WHY_DEPENDANT,             /* a metapackage, or of one source, that cannot be without a named one */
	WHY_SOURCE,                /* of the same source package as a named one that needs it */
	WHY_NEEDED,                /* by the packages of one component */
	WHY_FOLDED,                /* by several, which all require this one */
	WHY_SHARED,                /* by several: internal component */
	WHY_ORPHAN,                /* nothing needs it */
};

struct closure_pkg {
	uint32_t comp;
	enum closure_why why;
	uint32_t via;              /* a package that needs it, or PKG_NONE */
	const struct pkg_need *need;       /* which of its needs; NULL: none */
};

struct closure_comp {
	char *name;
	bool internal;
	size_t npkgs;
	uint64_t bytes;            /* installed size of its packages */
};

/* @from requires one of alts[first .. first + n - 1]. */
struct closure_require {
	uint32_t from;
	uint32_t first, n;
};

struct closure {
	struct closure_pkg *pkgs;  /* as many as the database has */
	size_t npkgs;
	struct closure_comp *comps;        /* by rank: the operating system first, what others require
					    * before those, then in the order of the input */
	size_t ncomps;
	struct closure_require *requires;  /* by component, then alternatives; no doubles */
	size_t nrequires, requires_cap;
	uint32_t *alts;
	size_t nalts, alts_cap;
	uint64_t *users;           /* per package a bitmap of the components whose packages reach it */
	size_t words;
	bool no_marks;             /* no package is marked as automatic: what nothing needs counts as
				    * installed by hand */
};

/*
 * @db may be NULL: no packages. A package may stand once in all of @in. -EINVAL COMPONENT_PACKAGES where a component names no
 * package that is installed, PACKAGE_TWICE, PACKAGE_NEEDED where the operating
 * system needs a named package; -ERANGE LIMIT.
 */
int closure_compute(const struct pkgdb *db, const struct closure_input *in, size_t nin,
		    struct closure *ret, struct ply_err *err);
void closure_done(struct closure *c);

/* A further requirement of @from, any of @alts (sorted in place), then the ranks again:
 * *ret (may be NULL) is the new number of each component, malloc-ed. -ENOMEM. */
int closure_add_require(struct closure *c, uint32_t from, uint32_t *alts, size_t n);
int closure_sort(struct closure *c, uint32_t **ret);

/* The component of that name, or UINT32_MAX. */
uint32_t closure_find(const struct closure *c, const char *name);

/* Does @from require @to, through others too? Where there are alternatives, nothing is certain. */
bool closure_requires(const struct closure *c, uint32_t from, uint32_t to);

/* In one or two sentences why package @pkg is where it is. -ENOMEM. */
int closure_explain(const struct closure *c, const struct pkgdb *db, uint32_t pkg, struct buf *out);

#endif
