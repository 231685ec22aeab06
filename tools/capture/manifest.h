/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which components are wanted: from a manifest file (plyfs-manifest(5)), from -c options, or
 * both, the file first.
 */
#ifndef PLYFS_MANIFEST_H
#define PLYFS_MANIFEST_H

#include <stddef.h>

#include "capture/rules.h"

struct manifest_item {
	char *text;                /* a package, or a glob with a leading slash */
	char *where;               /* "FILE:LINE:COLUMN", or "-c" */
};

struct manifest_component {
	char *name, *where;
	char *summary;             /* NULL: is made from the packages' names */
	struct manifest_item *packages, *paths;
	size_t npackages, packages_cap, npaths, paths_cap;
};

struct manifest {
	struct manifest_component *comps;  /* in order; "os" may be among them */
	size_t ncomps, comps_cap;
	struct rules rules;        /* the administrator's: come before the table's */
};

/* Zero-initialised is empty. MANIFEST_*, SUB_NAME, COMPONENT_TWICE; what was added before an
 * error stays. */
int manifest_read(struct manifest *m, const char *file, struct ply_err *err);
int manifest_parse(struct manifest *m, const char *file, const void *text, size_t len, struct ply_err *err);
/* "NAME=PACKAGE|/GLOB[,...]". USAGE. */
int manifest_add(struct manifest *m, const char *option, struct ply_err *err);
void manifest_done(struct manifest *m);

#endif
