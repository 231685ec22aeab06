/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of users and groups of a captured machine: its own files, not this host's. */
#ifndef PLYFS_IDNAMES_H
#define PLYFS_IDNAMES_H

#include <stddef.h>
#include <stdint.h>

struct idnames {
	struct idname {
		uint32_t id, line;
		char *name;
	} *v;                      /* sorted by id; of several names the first in the file */
	size_t n, cap;
	struct idname *also;       /* the further names of those, sorted by id */
	size_t nalso, also_cap;
};

/* @text: lines "NAME:x:ID:..." of passwd or group; others are passed over. -ENOMEM. */
int idnames_parse(struct idnames *t, const char *text, size_t len);
/* @file ("etc/passwd") of the machine at @root; where it does not exist the table is empty. -errno. */
int idnames_read(struct idnames *t, int root, const char *file);
void idnames_done(struct idnames *t);
const char *idnames_find(const struct idnames *t, uint32_t id);   /* NULL: it has no name */

#endif
