/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The three text formats of dpkg's database, parsed from memory, in place: stanzas of
 * fields (status, extended_states), lists of paths, diversions. Pure; any bytes will do.
 *
 * All work on a buffer with a NUL byte behind its end, and overwrite it; what they return points
 * into it. Damage is -EBADMSG PKGDB_DAMAGED, naming file and line.
 */
#ifndef PLYFS_DEB822_H
#define PLYFS_DEB822_H

#include <stddef.h>
#include <stdint.h>

#include "plyfs/error.h"

struct deb822 {
	char *at, *end;
	const char *file;          /* for messages; borrowed */
	unsigned line;             /* lines before @at */
};

/* -EBADMSG where the text has a NUL byte. */
int deb822_init(struct deb822 *d, char *text, size_t len, const char *file, struct ply_err *err);

struct deb822_field {
	const char *name;          /* wanted; compared without case */
	const char *value;         /* NULL: not there; lines that continue it are kept as they are */
};

/* 1: a stanza was read, its first line is set; 0: no more. */
int deb822_stanza(struct deb822 *d, struct deb822_field *fields, size_t nfields, unsigned *ret_line,
		  struct ply_err *err);

/* The next line, without its end; 1, or 0: no more. A line that nothing ends is damage: the file
 * was cut off. */
int deb822_line(struct deb822 *d, char **ret, size_t *ret_len, struct ply_err *err);

/* The next path of a *.list file; 1, or 0: no more. Empty and relative ones are damage. */
int dpkg_list_next(struct deb822 *d, char **ret, size_t *ret_len, struct ply_err *err);

struct dpkg_diversion {
	const char *from, *to;
	const char *package;       /* ":" is the administrator's */
};
int dpkg_diversion_next(struct deb822 *d, struct dpkg_diversion *ret, struct ply_err *err);

int deb822_damaged(const struct deb822 *d, unsigned line, struct ply_err *err, const char *what);

#endif
