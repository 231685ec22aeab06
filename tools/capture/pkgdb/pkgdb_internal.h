/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a package database is made of. A backend fills packages and needs when it is opened;
 * files and scripts it reads when asked.
 */
#ifndef PLYFS_PKGDB_INTERNAL_H
#define PLYFS_PKGDB_INTERNAL_H

#include "base/map.h"
#include "pkgdb.h"

struct pkgdb_ops {
	int (*files)(const struct pkgdb *db, uint32_t i, pkgdb_file_fn fn, void *ctx,
		     struct ply_err *err);
	int (*scripts)(const struct pkgdb *db, uint32_t i, pkgdb_script_fn fn, void *ctx,
		       struct ply_err *err);
	void (*close)(struct pkgdb *db);   /* what the backend added; @db itself is freed after */
};

struct pkgdb {
	const struct pkgdb_ops *ops;
	struct pkg *pkgs;
	size_t n, cap;
	const char *arch;
	struct map by_name;        /* hash of the name without architecture -> index */
	struct pkg_need *needs;    /* package by package */
	size_t nneeds, needs_cap;
	size_t *first_need;        /* n + 1 of them, or NULL: nothing is known */
	uint32_t *by;              /* what the needs' arrays are pieces of */
	size_t nby, by_cap;
	char **notes;              /* see pkgdb_notes() */
	size_t nnotes, notes_cap;
	const char *busy;          /* why it is unfinished beside a package's state; NULL: is not */
};

/* What every backend has; also of one that was never opened. */
void pkgdb_done(struct pkgdb *db);

uint64_t pkgdb_hash(const char *name, size_t len);

/* -ENOENT PKGDB_MISSING: this machine has none of the kind. @ret is set on success. */
int pkgdb_open_dpkg(int root, struct pkgdb **ret, struct ply_err *err);

#endif
