/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading /etc/ld.so.cache as the loader does: names of libraries and where they are. */
#ifndef PLYFS_MERGE_LDCACHE_H
#define PLYFS_MERGE_LDCACHE_H

#include <stddef.h>
#include <stdint.h>

/* @name "libz.so.1" of at most NAME_MAX bytes, @path absolute and shorter than PATH_MAX; both point into the text. Not
 * 0: ends it, and is returned. */
typedef int ldcache_fn(void *ctx, const char *name, const char *path);

/* Each entry in the file's order, which is that of the search; names that are longer are left out. Also of files that
 * have the old format before the new one (glibc before 2.32). -EUCLEAN: it is not of a known form. */
int ldcache_each(const uint8_t *text, size_t len, ldcache_fn *fn, void *ctx);

#endif
