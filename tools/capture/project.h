/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Projection: what of a machine depends on the components that are selected. Shared files are cut
 * into records (fs/merge); entries get conditions: caches, diverted files, links of
 * alternatives; and some names are added that only subsets show.
 *
 * With one component nothing depends on anything, and the projection is empty.
 */
#ifndef PLYFS_PROJECT_H
#define PLYFS_PROJECT_H

#include <stdint.h>

#include "capture/split.h"
#include "merge/merge.h"

struct shared_file {
	uint32_t node;
	const struct merge_driver *driver;
	struct records records;
	bool whole;                /* the driver could not read it */
	uint8_t digest[32];        /* SHA-256 of the file */
};

/* A name that the machine does not have, and a subset does. */
struct extra_name {
	uint32_t dir;              /* scanned directory */
	uint32_t node;             /* scanned node whose content and metadata it has */
	uint32_t name, name_len;   /* in projection.text */
	uint32_t target;           /* a symlink's own target there; UINT32_MAX: as the node */
	uint32_t cond;
	uint16_t comp;
};

struct projection {
	struct conds *conds;       /* over numbers of split.comps */
	uint32_t *entry_cond;      /* per node; NULL: none has one */
	struct shared_file *files; /* ascending by node */
	size_t nfiles, files_cap;
	struct extra_name *extras; /* by directory, component, name (bytewise) */
	size_t nextras, extras_cap;
	struct buf text;           /* NUL-terminated */
};

/*
 * Changes scan_node.comp of shared files: to all components that hold a record. Files that a driver
 * cannot read stay whole, with a note in @split.
 */
int project(struct scan *scan, const struct pkgdb *db, struct split *split, struct projection *ret,
	    struct ply_err *err);
void projection_done(struct projection *p);

const struct shared_file *project_shared(const struct projection *p, uint32_t node);  /* or NULL */

static inline uint32_t project_cond(const struct projection *p, uint32_t node)
{
	return p->entry_cond ? p->entry_cond[node] : COND_ALWAYS;
}

/* What component @comp adds to directory @dir: where it begins in extras, and how many. */
size_t project_extras(const struct projection *p, uint32_t dir, uint16_t comp, size_t *ret_n);

#endif
