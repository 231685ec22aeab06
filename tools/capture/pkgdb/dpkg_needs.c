/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * "a (>= 2) | b:any, c" -> for each need the installed packages that satisfy it. Versions and architectures count,
 * since an alternative that is installed in a version that does not is not why its neighbour is there. Where nothing
 * counts (a machine that was forced), every package of the name does.
 */
#include "dpkg_needs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define BY_MAX (1u << 24)          /* what satisfies all needs: bounds a hostile file */

/* What was found becomes a need, unless the package satisfies it itself. */
static int add_need(struct pkgdb *db, const struct dpkg_pool *pool, uint32_t p, enum pkg_need_kind kind,
		    const char *text)
{
	size_t n = pool->nfound;

	if (pool->v[p].seen == pool->serial)
		return 0;
	if (db->nby + n > BY_MAX)
		return -E2BIG;
	if (array_grow(&db->by, &db->by_cap, db->nby + n, sizeof(*db->by)) < 0 ||
	    array_grow(&db->needs, &db->needs_cap, db->nneeds + 1, sizeof(*db->needs)) < 0)
		return -ENOMEM;
	memcpy(db->by + db->nby, pool->found, n * sizeof(*pool->found));
	db->nby += n;
	db->needs[db->nneeds++] = (struct pkg_need){ .kind = kind, .text = text, .nby = (uint32_t)n };
	return 0;
}

static int resolve_field(struct pkgdb *db, struct dpkg_pool *pool, uint32_t p, enum pkg_need_kind kind,
			 const char *value)
{
	char *rest = (char *)value;
	int e = 0;

	for (char *one; e == 0 && (one = dpkg_next_group(&rest));) {
		e = dpkg_pool_find(pool, &db->pkgs[p], one, DPKG_SATISFIES);
		if (e == 0 && !pool->nfound)
			e = dpkg_pool_find(pool, &db->pkgs[p], one, DPKG_NAMED);
		if (e == 0 && pool->nfound)
			e = add_need(db, pool, p, kind, one);
	}
	return e;
}

int dpkg_resolve_needs(struct pkgdb *db, const struct dpkg_fields *fields)
{
	struct dpkg_pool pool = { .arch = db->arch };
	uint32_t *by;
	int e = 0;

	db->first_need = calloc(db->n + 1, sizeof(*db->first_need));
	if (!db->first_need)
		return -ENOMEM;
	for (uint32_t p = 0; e == 0 && p < db->n; p++)
		e = dpkg_pool_add(&pool, &db->pkgs[p], &fields[p]);
	for (uint32_t p = 0; e == 0 && p < db->n; p++) {
		db->first_need[p] = db->nneeds;
		if (!db->pkgs[p].installed)
			continue;
		e = resolve_field(db, &pool, p, PKG_DEPENDS, fields[p].pre_depends);
		if (e == 0)
			e = resolve_field(db, &pool, p, PKG_DEPENDS, fields[p].depends);
		if (e == 0)
			e = resolve_field(db, &pool, p, PKG_RECOMMENDS, fields[p].recommends);
	}
	db->first_need[db->n] = db->nneeds;
	/* only now does the array stay where it is */
	by = db->by;
	for (size_t i = 0; e == 0 && i < db->nneeds; i++) {
		db->needs[i].by = by;
		by += db->needs[i].nby;
	}
	dpkg_pool_done(&pool);
	return e;
}
