/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is the same for every kind of package database: see pkgdb.h. */
#include "pkgdb_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"

uint64_t pkgdb_hash(const char *name, size_t len)
{
	return xxh3(name, len, 0);
}

int pkgdb_open(int root, struct pkgdb **ret, struct ply_err *err)
{
	return pkgdb_open_dpkg(root, ret, err);
}

void pkgdb_done(struct pkgdb *db)
{
	map_done(&db->by_name);
	free(db->pkgs);
	free(db->needs);
	free(db->first_need);
	free(db->by);
	for (size_t i = 0; i < db->nnotes; i++)
		free(db->notes[i]);
	free(db->notes);
}

struct pkgdb *pkgdb_close(struct pkgdb *db)
{
	if (!db)
		return NULL;
	db->ops->close(db);
	free(db);
	return NULL;
}

char *const *pkgdb_notes(const struct pkgdb *db, size_t *ret_n)
{
	*ret_n = db->nnotes;
	return db->notes;
}

int pkgdb_check_finished(const struct pkgdb *db, struct ply_err *err)
{
	for (size_t i = 0; i < db->n; i++)
		if (db->pkgs[i].unfinished)
			return ply_fail(err, -EBUSY, PLY_R_PKGDB_UNFINISHED,
					"package %s is not completely installed or removed: "
					"run dpkg --configure -a on the machine first",
					db->pkgs[i].name);
	if (db->busy)
		return ply_fail(err, -EBUSY, PLY_R_PKGDB_UNFINISHED,
				"%s: run dpkg --configure -a on the machine first", db->busy);
	return 0;
}

uint32_t pkgdb_count(const struct pkgdb *db)
{
	return (uint32_t)db->n;
}

const struct pkg *pkgdb_get(const struct pkgdb *db, uint32_t i)
{
	return &db->pkgs[i];
}

const char *pkgdb_arch(const struct pkgdb *db)
{
	return db->arch;
}

/* Of several architectures: installed before removed, the machine's own before others. */
static unsigned preference(const struct pkgdb *db, const struct pkg *p)
{
	return (p->installed ? 4u : 0u) + (!strcmp(p->arch, db->arch) ? 2u : 0u) +
	       (!strcmp(p->arch, "all") ? 1u : 0u);
}

uint32_t pkgdb_find(const struct pkgdb *db, const char *name)
{
	const char *colon = strchr(name, ':');
	size_t len = colon ? (size_t)(colon - name) : strlen(name);
	uint64_t h = pkgdb_hash(name, len);
	uint32_t best = PKG_NONE;

	for (size_t i = map_first(&db->by_name, h); i != MAP_END; i = map_next(&db->by_name, h, i)) {
		uint32_t at = (uint32_t)db->by_name.slots[i].value;
		const struct pkg *p = &db->pkgs[at];

		if (strncmp(p->name, name, len) || p->name[len])
			continue;
		if (colon) {
			if (!strcmp(p->arch, colon + 1))
				return at;
			continue;
		}
		if (best == PKG_NONE || preference(db, p) > preference(db, &db->pkgs[best]))
			best = at;
	}
	return best;
}

const struct pkg_need *pkgdb_needs(const struct pkgdb *db, uint32_t i, size_t *ret_n)
{
	*ret_n = db->first_need ? db->first_need[i + 1] - db->first_need[i] : 0;
	return *ret_n ? db->needs + db->first_need[i] : NULL;
}

int pkgdb_files(const struct pkgdb *db, uint32_t i, pkgdb_file_fn fn, void *ctx,
		struct ply_err *err)
{
	return db->ops->files(db, i, fn, ctx, err);
}

int pkgdb_scripts(const struct pkgdb *db, uint32_t i, pkgdb_script_fn fn, void *ctx,
		  struct ply_err *err)
{
	return db->ops->scripts(db, i, fn, ctx, err);
}
