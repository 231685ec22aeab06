/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of a machine say about other files: who created which user, whose maintainer
 * scripts name which path, which choices an alternative has, which package ucf knows for
 * a path. Read once, then looked up.
 *
 * A component is a number as in the closure; FACT_NONE: nothing is known, or it is not unique.
 */
#ifndef PLYFS_FACTS_H
#define PLYFS_FACTS_H

#include <stdint.h>

#include "capture/closure.h"
#include "capture/scan.h"

#define FACT_NONE UINT16_MAX

struct facts;

/* All are borrowed. Nodes of packages and of components by path have their comp set, others
 * FACT_NONE. @by_path: per node a bit, is it there by path? */
int facts_new(const struct scan *scan, const struct pkgdb *db, const struct closure *closure,
	      const uint8_t *by_path, struct facts **ret, struct ply_err *err);
struct facts *facts_free(struct facts *f);
/* Components got new numbers. */
void facts_renumber(struct facts *f, const uint32_t *place);

/* Who brings the user or group: 0 below 100 and from 1000 on, and where nobody tells. */
uint16_t facts_user(const struct facts *f, uint32_t uid);
uint16_t facts_group(const struct facts *f, uint32_t gid);
/* As by its number; a name that no user has now, one of a backup: as the sources tell. */
uint16_t facts_user_named(const struct facts *f, const char *name, size_t len);

/* @path has no leading slash. */
uint16_t facts_script(const struct facts *f, const char *path, size_t len);
uint16_t facts_ucf(const struct facts *f, const char *path, size_t len);

/* The lowest component of all choices of the alternative, or slave, of that name. */
uint16_t facts_alternative(const struct facts *f, const char *name, size_t len);

/* The component of that package, source package (where all of it is in one), or component. */
uint16_t facts_package(const struct facts *f, const char *name, size_t len);

/* Of several components the one that all others require; the operating system, where it is among
 * them; else FACT_NONE. */
uint16_t facts_common(const struct facts *f, const uint16_t *comps, size_t n);

/* Content of a regular file of the tree, at most @max bytes (-EFBIG), NUL-terminated. */
int facts_read(const struct scan *scan, uint32_t node, size_t max, struct buf *out);

/* The next token of @text that looks like an absolute path; 0 bytes: no more. */
const char *facts_next_path(const char *text, const char *end, size_t *ret_len);

#endif
