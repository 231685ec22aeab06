/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Merge drivers: a shared file, one that many packages write to (passwd, dpkg's status), is cut
 * into records at capture, each with a condition over components; the file of a selection is
 * rendered from the records whose condition holds. All records give the captured file back, byte
 * for byte: merge_split() checks it, and where a driver cannot promise it, the file stays whole.
 *
 * Pure: bytes in, bytes out. What a driver has to know of the machine it asks through
 * struct merge_facts. A driver is a row of the table in merge.c; its number and version stand in
 * images and are permanent.
 */
#ifndef PLYFS_MERGE_H
#define PLYFS_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "merge/cond.h"
#include "plyfs/error.h"

#define MERGE_FILE_MAX ((size_t)32 << 20)  /* bytes of a shared file; larger ones stay whole */
/* Of a shared file in an image, all parts together: a reader takes no more. */
#define MERGE_PARTS_MAX   ((size_t)64 << 20)   /* bytes */
#define MERGE_RECORDS_MAX (1u << 20)
/* Of all of them together: parts may share their data, so that a small image could have far more than that. */
#define MERGE_IMAGE_MAX   (1ULL << 30)         /* bytes */

/* --- cutting ------------------------------------------------------------------- */

/*
 * What the machine says. Each gives the condition under which the thing is there: COND_ALWAYS for
 * the operating system's, and for what nobody knows; else one "any" clause. Names are not
 * NUL-terminated, and any bytes; paths begin with a slash. A user or group `#N` is meant by its number.
 * Errors: -ENOMEM; others of file() and link() end the split with that error.
 */
struct merge_facts {
	void *ctx;
	struct conds *conds;
	/* @arch may be empty: any. 1: it is not installed, and *ret is ALWAYS. */
	int (*package)(void *ctx, const char *name, size_t len, const char *arch, size_t arch_len,
		       uint32_t *ret);
	/* Where that path of the captured tree goes; directories of several: any of them. */
	int (*path)(void *ctx, const char *path, size_t len, uint32_t *ret);
	int (*user)(void *ctx, const char *name, size_t len, uint32_t *ret);
	int (*group)(void *ctx, const char *name, size_t len, uint32_t *ret);
	/* Content of another file of the tree, -ENOENT where there is none; and of a symlink. */
	int (*file)(void *ctx, const char *path, struct buf *out);
	int (*link)(void *ctx, const char *path, struct buf *out);
};

enum record_flags {
	/* One of a list: rendered with a comma before it where the record before it, of those that
	 * are rendered, is an item too. */
	RECORD_ITEM = 1,
	/* A file that its driver cannot cut: it comes back as it is, without the driver. */
	RECORD_WHOLE = 2,
};

struct record {
	uint64_t off;              /* in records.bytes */
	uint32_t len;
	uint32_t cond;
	uint32_t flags;
};

/* In the order of the file: a record's place is its ordinal, for ever. */
struct records {
	struct buf bytes;
	struct record *v;
	size_t n, cap;
};

void records_done(struct records *r);
/* With COND_NEVER nothing is added. -ENOMEM; -E2BIG beyond 2^32 - 1 records or bytes of one. */
int records_add(struct records *r, const void *data, size_t len, uint32_t cond, uint32_t flags);

/* --- rendering ------------------------------------------------------------------- */

/* A record whose condition holds. */
struct piece {
	const uint8_t *data;
	uint32_t len;
	uint32_t flags;
};

struct span;
struct item;
struct items;

/* What becomes of a record that two have made different things of. */
enum combined {
	COMBINED_CLASH,            /* nobody but a person can say */
	COMBINED_OURS,
	COMBINED_THEIRS,
	COMBINED_NEW,              /* what combine() has written */
};

struct merge_driver {
	const char *name;
	uint16_t number, version;
	/* Absolute paths; a `*` stands for any characters but a slash, and one that begins with `!` is not
	 * meant by those behind it. Ends with NULL. */
	const char *const *paths;
	/* Where more is selected, no record goes: records(a) are among records(b) for a within b. */
	bool monotone;
	/* Where no record is there, neither is the file: its tool removes it. Else it is empty there, if it is the
	 * operating system's. */
	bool vanishes;
	/*
	 * Cut @text (@path says which of the driver's files). -ENOMEM; -EUCLEAN where it is not such
	 * a file, with MERGE_SYNTAX and a message that names the line. Pure text: any bytes may come.
	 */
	int (*split)(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
		     struct records *ret, struct ply_err *err);
	/* NULL: one after the other. Pieces may be hostile: -EUCLEAN. */
	int (*render)(const struct piece *v, size_t n, struct buf *out, struct ply_err *err);
	int (*size)(const struct piece *v, size_t n, uint64_t *ret, struct ply_err *err);
	/* Called through merge_describe(). What a record is, as far as its own bytes tell, for people and as
	 * its key: "user mysql", "package apache2:amd64". Its bytes come as they are: the caller escapes. */
	int (*describe)(const uint8_t *data, size_t len, uint32_t flags, struct buf *out);

	/* --- three-way, for merge_compose(): see items.h --- */

	/* The records with their keys; not those of split(), where a group's members stand alone. NULL: compose(). */
	int (*items)(const char *path, struct span text, struct items *ret, struct ply_err *err);
	/* Its tool keeps them sorted so; NULL: new ones stand behind the others. */
	int (*order)(const struct item *a, const struct item *b);
	/* The value of a record that both changed, each in its own way. NULL of @base: it is new; of one of the
	 * others: that one deleted it. An enum combined, or -ENOMEM. NULL: always a clash. */
	int (*combine)(const char *path, const struct item *base, const struct item *ours, const struct item *theirs,
		       struct buf *out);
	/* The file of the items that are left, @ours being the text that most of them are of. NULL: one after the other. */
	int (*write)(const struct item *v, size_t n, struct span ours, struct buf *out, struct ply_err *err);
	/* All of it at once: 0, -ENOTUNIQ a clash, -EUCLEAN not such a file, -ENOMEM. */
	int (*compose)(const char *path, struct span base, struct span ours, struct span theirs, struct buf *out,
		       struct ply_err *err);
};

/* The driver of a path (absolute), or of a number; NULL: none. */
const struct merge_driver *merge_driver_for(const char *path);
const struct merge_driver *merge_driver_get(uint16_t number);
const struct merge_driver *merge_driver_at(size_t i);      /* the table, in order; NULL: its end */
/* Is it the copy of a driver's file that its tool leaves beside it: passwd-, status-old? */
bool merge_is_backup(const char *path);

/*
 * Cut a file. Where the driver finds it malformed, or its records do not give it back, *ret is one
 * record, always, RECORD_WHOLE, and *ret_whole says so, with the reason in @err; the function has not
 * failed then. -ENOMEM, and what the facts fail with.
 */
int merge_split(const struct merge_driver *d, const char *path, const uint8_t *text, size_t len,
		const struct merge_facts *f, struct records *ret, bool *ret_whole, struct ply_err *err);

/* The size of what merge_render() gives, without rendering where that can be. -EUCLEAN, -EFBIG. */
int merge_size(const struct merge_driver *d, const struct piece *v, size_t n, uint64_t *ret,
	       struct ply_err *err);
/* Appended to @out, which is as it was on errors. -ENOMEM, -EUCLEAN, -EFBIG. */
int merge_render(const struct merge_driver *d, const struct piece *v, size_t n, struct buf *out,
		 struct ply_err *err);
int merge_describe(const struct merge_driver *d, const struct piece *p, struct buf *out);   /* -ENOMEM */

#endif
