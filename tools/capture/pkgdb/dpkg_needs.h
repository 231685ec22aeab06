/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What packages need, resolved to the packages that are installed. */
#ifndef PLYFS_DPKG_NEEDS_H
#define PLYFS_DPKG_NEEDS_H

#include "dpkg_relation.h"

/* Fill the needs of @db; @fields has db->n elements, whose texts are cut up in place. -ENOMEM, -E2BIG. */
int dpkg_resolve_needs(struct pkgdb *db, const struct dpkg_fields *fields);

#endif
