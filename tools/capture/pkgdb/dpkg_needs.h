/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Dependencies as dpkg writes them, resolved to the packages that are installed. */
#ifndef PLYFS_DPKG_NEEDS_H
#define PLYFS_DPKG_NEEDS_H

#include "pkgdb_internal.h"

/* Of one package: texts as they stand in the status file, NULL where there is none. They are
 * cut up in place. */
struct dpkg_fields {
	const char *pre_depends, *depends, *recommends, *provides;
	bool same, foreign, allowed;       /* Multi-Arch */
};

/* Fill the needs of @db; @fields has db->n elements. -ENOMEM, -E2BIG. */
int dpkg_resolve_needs(struct pkgdb *db, const struct dpkg_fields *fields);

/* Below, equal or above 0: as dpkg --compare-versions orders them. */
int dpkg_version_compare(const char *a, const char *b);

#endif
