/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /var/lib/dpkg/status from memory: packages and the texts of their dependencies. Pure; any bytes will do. */
#ifndef PLYFS_DPKG_STATUS_H
#define PLYFS_DPKG_STATUS_H

#include "base/buf.h"
#include "dpkg_relation.h"

#define DPKG_TEXT_MAX ((size_t)64 << 20)   /* a status file of 60,000 packages */

struct dpkg_status {
	struct pkgdb db;           /* packages, by_name, arch; its ops are the caller's */
	struct dpkg_fields *fields;        /* db.n */
	size_t fields_cap;
	struct buf text, arch_text;        /* what all strings lie in; a NUL byte is behind their ends */
};

/* Take in @s->text, named @file in messages, and @s->arch_text (/var/lib/dpkg/arch; its data may be NULL). All else of
 * @s is zero. -EBADMSG PKGDB_DAMAGED, -ENOMEM; dpkg_status_done() is due whatever is returned. */
int dpkg_status_read(struct dpkg_status *s, const char *file, struct ply_err *err);
void dpkg_status_done(struct dpkg_status *s);

const struct pkg *dpkg_find_exact(const struct pkgdb *db, const char *name, const char *arch);

/* *@ret: why dpkg is in the middle of something below @root; NULL: it is not. */
int dpkg_look_for_updates(int root, const char **ret, struct ply_err *err);

#endif
