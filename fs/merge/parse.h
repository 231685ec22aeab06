/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the drivers of text files share: lines, stanzas of fields, words. Nothing is copied and
 * nothing overwritten: all are spans of the caller's text, so that whatever was parsed can
 * be stored byte for byte. Damage is -EUCLEAN with MERGE_SYNTAX and the number of the line.
 */
#ifndef PLYFS_MERGE_PARSE_H
#define PLYFS_MERGE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "merge/merge.h"
#include "merge/span.h"

struct span span_trim(struct span a);                      /* without spaces and tabs around it */
/* Cut @a at its first @sep: what is before it is returned, *@a is what is behind. False: there is no more. */
bool span_cut(struct span *a, char sep, struct span *ret);
struct span span_word(struct span a);                      /* the first word, leading spaces skipped */
bool span_starts(struct span a, char c);
uint64_t span_hash(struct span a);
/* Behind the last slash of a path. */
const char *base_name(const char *path);

int merge_bad(struct ply_err *err, uint32_t line, const char *what);
int merge_clash(struct ply_err *err, const char *what);    /* -ENOTUNIQ */

/* --- lines ------------------------------------------------------------------- */

struct lines {
	const uint8_t *at, *end;
	uint32_t no;               /* of the line before @at; 0: none */
};

struct line {
	struct span text;          /* without its end */
	struct span all;           /* with it; the last one may have none */
	uint32_t no;
};

/* -EUCLEAN where the text has a NUL byte: no text file that a program writes has one. */
int lines_init(struct lines *l, const uint8_t *text, size_t len, struct ply_err *err);
bool lines_next(struct lines *l, struct line *ret);
/* The same, for files that end with a line's end or are damaged: 1, 0, -EUCLEAN. */
int lines_next_whole(struct lines *l, struct line *ret, struct ply_err *err);

/* --- stanzas ----------------------------------------------------------------- */

struct stanza {
	struct span all;           /* with the empty lines behind it */
	struct span fields;        /* without; empty: empty lines at the beginning of the file */
	uint32_t no;               /* of its first line */
};

/* The next one; 1, 0: no more, -EUCLEAN: a line that is no field and continues none. */
int stanza_next(struct lines *l, struct stanza *ret, struct ply_err *err);
/* The first line of a field's value, trimmed; 1, 0: not there, -EUCLEAN: it is there twice. */
int stanza_field(const struct stanza *s, const char *name, struct span *ret, struct ply_err *err);

/* --- facts ------------------------------------------------------------------- */

/* A package as dpkg and its triggers write it: `name`, `name:arch`, `name/option`; without a name: ALWAYS. */
int fact_package(const struct merge_facts *f, struct span spec, uint32_t *ret);
int fact_owner(const struct merge_facts *f, struct span spec, uint32_t *ret);     /* and 1: it is not installed */
int fact_path(const struct merge_facts *f, struct span path, uint32_t *ret);
int fact_user(const struct merge_facts *f, struct span name, uint32_t *ret);
int fact_group(const struct merge_facts *f, struct span name, uint32_t *ret);

/* A record; and what describe() says: @what and a name. */
int add_span(struct records *r, struct span bytes, uint32_t cond, uint32_t flags);
int describe_as(struct buf *out, const char *what, struct span name);
/* The record's first line. */
struct span first_line(const uint8_t *data, size_t len);

#endif
