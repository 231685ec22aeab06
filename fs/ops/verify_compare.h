/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One file of a tree against one of a view: what has to be opened for it. */
#ifndef PLYFS_OPS_VERIFY_COMPARE_H
#define PLYFS_OPS_VERIFY_COMPARE_H

#include <sys/types.h>

#include "ops/findings.h"

struct compare_file {
	char *name;                /* in its directory; "." the directory itself */
	char *path;                /* relative to the root */
	uint64_t ino;              /* in the view */
	mode_t mode;
	uint64_t size;
	bool content;              /* bytes, holes, xattrs; else xattrs only */
};

/* Target, xattrs, holes and bytes of @f, whose type is the same on both sides. Returns the bytes
 * that were compared. @buf: COMPARE_BUFFER bytes. */
#define COMPARE_BUFFER (2u << 20)
uint64_t compare_content(struct ply_view *view, int dirfd, const struct compare_file *f,
			 uint8_t *buf, struct findings *l);

/* Findings about the file @path (relative). NULL: absent. */
void compare_differs(struct findings *l, const char *path, const char *field, const char *expected,
		     const char *found);
void compare_failed(struct findings *l, const char *path, const char *what, int error);
void compare_damaged(struct findings *l, const char *path, const struct ply_err *e);

const char *compare_type(mode_t mode);   /* "regular file" */

#endif
