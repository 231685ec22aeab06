/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The package database of a captured machine, whoever keeps it: which packages are
 * installed, what they need, which files they brought. dpkg's is the first
 * (pkgdb_dpkg.c).
 *
 * Read through a directory descriptor, never through the machine's own tools.
 * Immutable after open; strings are borrowed and live as long as it does.
 */
#ifndef PLYFS_PKGDB_H
#define PLYFS_PKGDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plyfs/error.h"

struct pkgdb;

struct pkg {
	const char *name;          /* without architecture */
	const char *arch;
	const char *version;
	const char *source;        /* name of its source package, never NULL */
	bool installed;            /* "install ok installed"; else only its configuration is left */
};

/* @root: the machine's root directory. -ENOENT PKGDB_MISSING, -EBADMSG PKGDB_DAMAGED (says which
 * file and line). */
int pkgdb_open(int root, struct pkgdb **ret, struct ply_err *err);
struct pkgdb *pkgdb_close(struct pkgdb *db);

uint32_t pkgdb_count(const struct pkgdb *db);
const struct pkg *pkgdb_get(const struct pkgdb *db, uint32_t i);
/* "mariadb-server" or "libc6:amd64"; SCAN-like: UINT32_MAX where it is not known. */
uint32_t pkgdb_find(const struct pkgdb *db, const char *name);
/* Architecture of the machine: "amd64". */
const char *pkgdb_arch(const struct pkgdb *db);

/*
 * Every path that package @i brought: absolute, as the database lists it, but a path
 * that another package diverted as the name that it was diverted to; then the files that the
 * database keeps about it (/var/lib/dpkg/info/NAME.list ...). Parents are not canonical.
 */
typedef int (*pkgdb_file_fn)(void *ctx, const char *path, size_t len);
int pkgdb_files(struct pkgdb *db, uint32_t i, pkgdb_file_fn fn, void *ctx, struct ply_err *err);

#endif
