/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A YAML document as a tree in which every value knows where it stands, so that what is wrong
 * with it is told as FILE:LINE:COLUMN, with what was found and what is allowed.
 *
 * One document of mappings, sequences and plain values; anchors and tags are refused, since
 * none of our files needs them and aliases make small files large.
 */
#ifndef PLYFS_YAMLDOC_H
#define PLYFS_YAMLDOC_H

#include <stdbool.h>
#include <stddef.h>

#include "plyfs/error.h"

enum yaml_type { YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml {
	enum yaml_type type;
	unsigned line, column;     /* from 1 */
	char *text;                /* a value: NUL-terminated */
	char *key;                 /* in a mapping; keys are distinct */
	unsigned key_line, key_column;
	struct yaml *first, *next; /* what is in it, in order */
};

struct yaml_doc {
	char *file;                /* for messages */
	struct yaml *root;         /* NULL: the document is empty */
};

/* -EINVAL MANIFEST_SYNTAX; release by yaml_done(). */
int yaml_parse(const char *file, const void *text, size_t len, struct yaml_doc *ret,
	       struct ply_err *err);
int yaml_read(const char *file, struct yaml_doc *ret, struct ply_err *err);
void yaml_done(struct yaml_doc *d);

/* "FILE:LINE:COLUMN: ..." at @at: returns -EINVAL. */
int yaml_fail(const struct yaml_doc *d, const struct yaml *at, enum ply_reason reason, struct ply_err *err,
	      const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Is @at of @type? MANIFEST_VALUE says what was found; @what names it: "components". */
int yaml_expect(const struct yaml_doc *d, const struct yaml *at, enum yaml_type type, const char *what,
		struct ply_err *err);
/* Is @at a mapping with no other keys than these (separated by blanks)? MANIFEST_KEY. */
int yaml_keys(const struct yaml_doc *d, const struct yaml *at, const char *allowed, const char *what,
	      struct ply_err *err);
const struct yaml *yaml_get(const struct yaml *map, const char *key);

#endif
