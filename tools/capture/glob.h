/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Globs over whole paths below the root, no leading slash.
 *
 *   ?  *       one byte, any number of bytes, within a component
 *   **         any bytes, slashes too; at the end at least one: the content of a directory
 *   ** and /   any number of directories, none too
 *   [a-z] [!a] a byte within a component, \x the byte x
 *   {name}     with captures: one or more bytes within a component
 */
#ifndef PLYFS_GLOB_H
#define PLYFS_GLOB_H

#include <stdbool.h>
#include <stddef.h>

#define GLOB_CAPTURES 4
#define GLOB_MAX 4096u             /* bytes of a pattern; a longer one matches nothing */

struct glob_captures {
	struct {
		const char *name;  /* in the pattern; not terminated */
		size_t name_len;
		const char *text;  /* in the path */
		size_t len;
	} v[GLOB_CAPTURES];
	unsigned n;
};

/* Is one of them longer than that? */
bool glob_any_too_long(const char *const *patterns, size_t n);
/* @c NULL: braces are bytes like others. Costs at most the product of pattern, path and path. */
bool glob_match(const char *pattern, const char *path, struct glob_captures *c);
/* Can a path that begins with @c match? '\0': the empty path. */
bool glob_may_begin(const char *pattern, char c);

#endif
