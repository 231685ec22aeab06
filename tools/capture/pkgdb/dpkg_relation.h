/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A dependency as dpkg writes it, and which of a set of packages satisfy it. Pure. */
#ifndef PLYFS_DPKG_RELATION_H
#define PLYFS_DPKG_RELATION_H

#include "pkgdb_internal.h"

/* Of one package: texts as they stand in the status file, NULL where there is none. */
struct dpkg_fields {
	const char *pre_depends, *depends, *recommends, *provides, *conflicts, *breaks;
	bool same, foreign, allowed;       /* Multi-Arch */
};

/* Below, equal or above 0: as dpkg --compare-versions orders them. */
int dpkg_version_compare(const char *a, const char *b);

/* The next dependency of a field, cut off in place: trimmed, on one line, maybe with alternatives ("a (>= 1) | b").
 * NULL: there is no more. */
char *dpkg_next_group(char **rest);

/* --- packages side by side ---------------------------------------------------------- */

struct dpkg_member {
	const struct pkg *pkg;             /* borrowed */
	const struct dpkg_fields *fields;
	uint32_t next;                     /* of the same name; PKG_NONE */
	uint32_t seen;                     /* the last search that found it */
};

struct dpkg_pool {
	const char *arch;                  /* the machine's own; borrowed */
	struct dpkg_member *v;             /* by number, in the order in which they were added */
	size_t n, cap;
	struct dpkg_name *names;
	size_t nnames, names_cap;
	struct map by_name;                /* hash -> index in names */
	struct dpkg_provided *provided;
	size_t nprovided, provided_cap;
	char **texts;                      /* what names and versions of provided lie in */
	size_t ntexts, texts_cap;
	uint32_t *found;                   /* of the last search: numbers, without doubles */
	size_t nfound, found_cap;
	uint32_t serial;
	uint64_t steps;                    /* taken in all searches: bounds a hostile file */
};

/* One that is not installed gets a number, and is never found. -ENOMEM, -E2BIG: more than any machine has. */
int dpkg_pool_add(struct dpkg_pool *pool, const struct pkg *pkg, const struct dpkg_fields *fields);
void dpkg_pool_done(struct dpkg_pool *pool);

enum dpkg_search {
	DPKG_SATISFIES,            /* a dependency: names, versions, architectures */
	DPKG_NAMED,                /* names alone */
	DPKG_CONFLICTS,            /* a conflict: of any architecture, but never the package's own name */
};

/*
 * Fill found: which members @group (of dpkg_next_group()) of the package @from concerns, those of the first
 * alternative first. @from need not be a member. -ENOMEM, -E2BIG.
 */
int dpkg_pool_find(struct dpkg_pool *pool, const struct pkg *from, const char *group, enum dpkg_search how);
/* Members of a name, by dpkg_member.next; PKG_NONE: none. */
uint32_t dpkg_pool_first(const struct dpkg_pool *pool, const char *name);

#endif
