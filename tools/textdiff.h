/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Differences of two texts by lines, in the unified form of diff(1). */
#ifndef PLYFS_TEXTDIFF_H
#define PLYFS_TEXTDIFF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* Has it a NUL byte, or is it too long to be shown? */
bool textdiff_is_binary(const void *text, size_t len);

/*
 * Append the differences, with the names of both on their first lines, and nothing where there are none. Bytes that
 * a terminal would take for a command are escaped. Where the texts differ too much to be compared in a
 * moment, all of the one is followed by all of the other. -ENOMEM.
 */
int textdiff(const char *a_name, const void *a, size_t a_len, const char *b_name, const void *b, size_t b_len,
	     struct buf *out);

#endif
