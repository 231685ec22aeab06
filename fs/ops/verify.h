/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judging a whole image, and a directory tree against a view of one. Nothing is printed and
 * nothing is changed: each finding goes to a callback, on the caller's thread and in an order
 * that does not depend on the number of threads.
 */
#ifndef PLYFS_OPS_VERIFY_H
#define PLYFS_OPS_VERIFY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plyfs/error.h"
#include "plyfs/view.h"

/* Files that a finding names at most; it counts all. */
#define FINDING_PATHS 8

/* Borrowed during the call. NULL and 0 where something does not apply. */
struct finding {
	enum ply_reason reason;
	const char *sub;           /* sub-image */
	const char *message;       /* one line */
	uint64_t off, len;         /* bytes of the image file concerned */
	/* damage: files concerned, as far as they can be told; a difference: the file. From the
	 * root, raw bytes. */
	const char *const *paths;
	size_t npaths;
	uint64_t all_paths;        /* with those that are not listed */
	const char *field;         /* a difference: "mode", "content", "xattr user.a", ... */
	const char *expected, *found;   /* as text; NULL: absent */
};
typedef void (*finding_fn)(void *ctx, const struct finding *f);

struct verify_options {
	unsigned threads;          /* 0: one for each processor */
	bool deep;                 /* decode every block, check every table against the others */
	const uint8_t *digest;     /* NULL, or what the generation's must be */
	atomic_ullong *bytes, *files;   /* NULL, or counters of what is done */
};

struct verify_result {
	uint64_t findings;
	uint64_t generation;       /* 0: no catalog could be read */
	uint8_t uuid[16], digest[32];
	uint64_t segments, pages, blocks, nodes;   /* checked */
	uint64_t checked;          /* bytes of the image */
	uint64_t unreferenced;     /* bytes that no generation in the chain refers to */
	uint64_t trailing;         /* behind the committed end */
};

/*
 * Check the image PATH[@GENERATION]: that generation and those it descends from. 0 however much
 * was found; a negative errno where the check itself could not be done (no such file, no memory).
 */
int verify_image(const char *path, const struct verify_options *o, finding_fn fn, void *ctx,
		 struct verify_result *ret, struct ply_err *err);

/* The same over an I/O object (borrowed); generation 0 is the newest. */
int verify_io(struct io *io, uint64_t generation, const struct verify_options *o, finding_fn fn,
	      void *ctx, struct verify_result *ret, struct ply_err *err);

struct compare_result {
	uint64_t findings;         /* differences, and damage met while reading the view */
	uint64_t damaged;          /* of these: damage */
	uint64_t files, bytes;     /* compared */
	uint64_t skipped;          /* places where something else is mounted */
};

/*
 * Compare the tree in @dirfd with @view: everything that a layout must reproduce. Nothing outside
 * of the directory is opened, no symlink in it is followed.
 */
int verify_against(struct ply_view *view, int dirfd, const struct verify_options *o, finding_fn fn,
		   void *ctx, struct compare_result *ret, struct ply_err *err);

#endif
