/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of a path that several sub-images have: whether two contenders agree, can be put together
 * without losing anything of either, or need a person's decision; and the content that comes of it.
 *
 * Pure: bytes in, bytes out, no path is opened. Whoever shows, plans or lays out a path asks here, so that they
 * cannot differ. Texts are hostile: time and memory are bounded by their size (MERGE_FILE_MAX).
 */
#ifndef PLYFS_MERGE_COMPOSE_H
#define PLYFS_MERGE_COMPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "merge/merge.h"
#include "merge/span.h"
#include "plyfs/error.h"

/* Permanent: they stand in images. */
enum merge_class {
	MERGE_SAME = 0,
	MERGE_TIMES = 1,           /* nothing but the times differs */
	MERGE_DIRECTORY = 2,       /* two directories, new in both, of other metadata */
	MERGE_DRIVER = 3,          /* its driver merges it, and no key clashes */
	MERGE_THREE_WAY = 4,       /* both changed one file, without an overlap: by attribute, or diff3 */
	MERGE_APPEND = 5,
	MERGE_CONFLICT = 6,
};

/* name, permanent number, what it is for people */
#define MERGE_WHYS(X) \
	X(NONE, 0, "nothing") \
	X(TYPE, 1, "different types") \
	X(OWNER, 2, "different owners") \
	X(MODE, 3, "different modes") \
	X(XATTRS, 4, "different extended attributes") \
	X(LINKS, 5, "different hard links") \
	X(DEVICE, 6, "different devices") \
	X(BINARY, 7, "binary files") \
	X(UNKNOWN, 8, "a format that is not known to be safe to append") \
	X(JSON, 9, "JSON") \
	X(XML, 10, "XML") \
	X(YAML, 11, "YAML") \
	X(UNIT, 12, "a systemd unit") \
	X(SSHD, 13, "an ssh configuration, where the first value wins") \
	X(SCRIPT, 14, "a script") \
	X(SECRET, 15, "a private key") \
	X(KEYS, 16, "one key with different values") \
	X(OVERLAP, 17, "changes that touch one another") \
	X(RECORD, 18, "a record that was changed differently") \
	X(DELETED, 19, "deleted by one, changed by the other") \
	X(SET, 20, "a certificate, which belongs to a key") \
	X(TARGET, 21, "symlinks to different places") \
	X(SIZE, 22, "too large to look at") \
	X(GRAMMAR, 23, "a grammar that cannot be repeated")

enum merge_why {
#define X(name, number, text) MERGE_WHY_##name = number,
	MERGE_WHYS(X)
#undef X
};

/* "a private key"; never NULL. */
const char *merge_why_text(enum merge_why why);

enum pair_flags {
	PAIR_CONTENT = 1,
	PAIR_TYPE = 2,
	PAIR_MODE = 4,
	PAIR_OWNER = 8,
	PAIR_XATTRS = 16,
	PAIR_LINKS = 32,
	PAIR_TIMES = 64,
	PAIR_APPENDABLE = 256,     /* --on-collision=append settles it, if it is not settled already */
	PAIR_A_WHITEOUT = 512,
	PAIR_B_WHITEOUT = 1024,
};

/* What one sub-image, with what it stands on, has at a path. */
struct contender {
	uint32_t mode, uid, gid;   /* mode: with the type */
	uint64_t size;
	uint64_t rdev;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint64_t nlink;
	const uint8_t *xattrs_digest;  /* 32 bytes; NULL: no xattrs */
	bool loaded;
	const uint8_t *text;       /* of a regular file its content, if loaded; of a symlink its target */
	size_t len;
	uint8_t digest[32];        /* SHA-256 of that; all zero: not known, text is compared */
	bool deleted;              /* a whiteout; nothing else of it counts */
};

struct pair_class {
	uint8_t cls, why;          /* enum merge_class; enum merge_why of a conflict */
	uint16_t flags;            /* enum pair_flags */
};

/*
 * @base: what both started from; NULL: no common parent has the path. Contents of regular files that differ
 * have to be loaded, base's too if it differs from both; what is not is a conflict of MERGE_WHY_SIZE. -ENOMEM.
 */
int merge_classify(const char *path, const struct contender *a, const struct contender *b, const struct contender *base,
		   struct pair_class *ret, struct ply_err *err);

/*
 * Three-way of content, appended to @out, which is as it was on errors. @base.s NULL: it is absent (an empty file
 * has some other s). By @force, or else the driver of @path; where there is none by lines (diff3) if there is a
 * base, and by appending, if the path is granted it and no look vetoes, if there is none.
 * -ENOTUNIQ: a clash, and *ret_why (may be NULL) says of what kind; -ENOMEM.
 *
 * Merging twice is merging once: compose(base, compose(base, a, b), b) is compose(base, a, b).
 */
int merge_compose(const char *path, const struct merge_driver *force, struct span base, struct span ours,
		  struct span theirs, struct buf *out, enum merge_why *ret_why, struct ply_err *err);

/*
 * The same by the driver of @path, which it has, for a decision: where a record was changed differently, it is as
 * ours, or theirs, have it; all the others are merged. A file that its driver does not cut into records one by one
 * is then one side's as a whole.
 */
enum merge_prefer { MERGE_PREFER_NONE = 0, MERGE_PREFER_OURS, MERGE_PREFER_THEIRS };
int merge_compose_for(const char *path, enum merge_prefer prefer, struct span base, struct span ours, struct span theirs,
		      struct buf *out, enum merge_why *ret_why, struct ply_err *err);

/*
 * May these be appended to one another? MERGE_WHY_NONE, or what speaks against it. @forced: as
 * --on-collision=append asks, for paths too that no table grants. *ret_why is set if 0; -ENOMEM.
 */
int merge_append_look(const char *path, const struct span *v, size_t n, bool forced, enum merge_why *ret_why,
		      struct ply_err *err);

/* Where a block stands in what merge_append() has made: @own is false where another one had it already. */
struct append_run {
	size_t off, len;
	bool own;
};

/*
 * Blocks: each contributor's whole text once, in order, separated by line ends; no look is taken at
 * what they say. One that already stands in what is before it, line for line, is not added again.
 * @ret_runs: NULL, or @n of them, with offsets from what @out held before.
 */
int merge_append(const struct span *v, size_t n, struct append_run *ret_runs, struct buf *out, struct ply_err *err);

/* What kind of text it is: may only veto. */
enum sniff {
	SNIFF_TEXT,                /* lines of nothing in particular */
	SNIFF_INI,                 /* [sections] */
	SNIFF_BINARY,
	SNIFF_JSON,
	SNIFF_XML,
	SNIFF_YAML,
	SNIFF_UNIT,
	SNIFF_SSHD,
	SNIFF_SCRIPT,
	SNIFF_SECRET,
	SNIFF_CERTIFICATE,
	SNIFF_GRAMMAR,             /* nsswitch, pam.d, sites of web servers, TOML ... */
	SNIFF_LARGE,               /* more than MERGE_FILE_MAX */
};

enum sniff merge_sniff(const char *path, const uint8_t *text, size_t len);
/* MERGE_WHY_NONE: it vetoes nothing. */
enum merge_why merge_sniff_why(enum sniff sniff);

#endif
