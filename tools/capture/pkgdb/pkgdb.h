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

#define PKG_NONE UINT32_MAX

struct pkgdb;

struct pkg {
	const char *name;          /* without architecture */
	const char *arch;
	const char *version;
	const char *source;        /* name of its source package, never NULL */
	const char *summary;       /* one line, maybe "" */
	uint64_t bytes;            /* installed, as the package says */
	bool installed;            /* else only its configuration is left */
	bool unfinished;           /* its installation or removal was begun and not completed */
	bool important;            /* essential, protected, or of priority required or important */
	bool automatic;            /* marked as installed only because another needs it */
};

/*
 * @root: the machine's root directory. -ENOENT PKGDB_MISSING, -EBADMSG PKGDB_DAMAGED (says which
 * file and line). Of files that it can do without a malformed one is not used: see pkgdb_notes().
 */
int pkgdb_open(int root, struct pkgdb **ret, struct ply_err *err);
struct pkgdb *pkgdb_close(struct pkgdb *db);

/* Which files could not be read, and what is done instead: sentences for people. */
char *const *pkgdb_notes(const struct pkgdb *db, size_t *ret_n);

/* Refuse a machine in the middle of an installation: -EBUSY PKGDB_UNFINISHED names a package. */
int pkgdb_check_finished(const struct pkgdb *db, struct ply_err *err);

uint32_t pkgdb_count(const struct pkgdb *db);
const struct pkg *pkgdb_get(const struct pkgdb *db, uint32_t i);
/* "mariadb-server" or "libc6:amd64", the machine's own architecture first; PKG_NONE where it is
 * not known. It may be one that is not installed. */
uint32_t pkgdb_find(const struct pkgdb *db, const char *name);
/* Architecture of the machine: "amd64". */
const char *pkgdb_arch(const struct pkgdb *db);

/*
 * What a package needs: for each need the installed packages that satisfy it, without doubles,
 * in the order in which the package names them. Needs that nothing installed satisfies are
 * left out, and those that the package satisfies itself.
 */
enum pkg_need_kind {
	PKG_DEPENDS = 1,           /* it does not work without */
	PKG_RECOMMENDS,            /* why an automatic package is there */
};
struct pkg_need {
	enum pkg_need_kind kind;
	const char *text;          /* as the package says it: "awk | mawk" */
	const uint32_t *by;
	uint32_t nby;
};
const struct pkg_need *pkgdb_needs(const struct pkgdb *db, uint32_t i, size_t *ret_n);

/*
 * Every path that package @i brought: absolute, as the database lists it, but a path
 * that another package diverted as the name that it was diverted to; then the files that the
 * database keeps about it (/var/lib/dpkg/info/NAME.list ...). Parents are not canonical. What @fn
 * returns, if not 0, ends it and is returned.
 */
typedef int (*pkgdb_file_fn)(void *ctx, const char *path, size_t len);
int pkgdb_files(const struct pkgdb *db, uint32_t i, pkgdb_file_fn fn, void *ctx,
		struct ply_err *err);

/* Each of its maintainer scripts, as text of @len bytes with a NUL byte behind. */
typedef int (*pkgdb_script_fn)(void *ctx, const char *name, const char *text, size_t len);
int pkgdb_scripts(const struct pkgdb *db, uint32_t i, pkgdb_script_fn fn, void *ctx,
		  struct ply_err *err);

#endif
