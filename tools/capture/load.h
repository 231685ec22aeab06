/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading files ahead of the one that writes them: threads load scanned nodes in a given
 * order, the consumer takes them in that order. What is waiting is bounded in
 * bytes and in descriptors.
 */
#ifndef PLYFS_LOAD_H
#define PLYFS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "capture/scan.h"
#include "sub/sub_write.h"

struct load_extent {
	uint64_t off, len;
};

/* What tells that a file is as it was. */
struct load_stamp {
	uint64_t size;
	int64_t mtime_sec, ctime_sec;
	uint32_t mtime_nsec, ctime_nsec;
};

/* One file as it is now, which may be later than what the scan saw. */
struct loaded {
	uint32_t node;
	int result;                /* negative errno, then err is set */
	struct ply_err err;
	bool vanished;             /* or of another type now */
	bool changed;              /* still changing after several readings */
	bool replaced;             /* of a group: the name is another file's now */

	uint16_t mode;
	uint32_t uid, gid;
	struct load_stamp stamp;

	struct subw_xattr *xattrs; /* into xattr_text */
	size_t nxattrs, xattrs_cap;
	struct buf xattr_text;

	/* regular files */
	struct load_extent *extents;   /* what is not a hole, at multiples of 4096 but the end */
	size_t nextents, extents_cap;
	uint8_t *data;             /* content of a file below PLY_BLOCK_SIZE */
	int fd;                    /* larger: open for reading; the consumer takes it (TAKE_FD) */
	bool has_digest;
	uint8_t digest[32];        /* SHA-256 of the content */
};

static inline bool loaded_is_whole(const struct loaded *l)
{
	return l->nextents == 1 && l->extents[0].off == 0 && l->extents[0].len == l->stamp.size;
}

struct loader;

enum load_digest {
	LOAD_DIGEST_NO,
	LOAD_DIGEST_WHOLE,         /* where the file has no hole: only such files share their place */
	LOAD_DIGEST_ALWAYS,
};

/* @order (@n nodes), @scan and @digest (enum load_digest by node) are borrowed. */
int loader_new(const struct scan *scan, const uint32_t *order, size_t n, const uint8_t *digest,
	       unsigned nthreads, struct loader **ret, struct ply_err *err);
struct loader *loader_free(struct loader *l);

/* The next node in order; borrowed until the next call. NULL at the end. */
struct loaded *loader_next(struct loader *l);

/* Load one node in this thread, for a second reading. Release by loaded_done(). */
int load_again(const struct scan *scan, uint32_t node, enum load_digest digest, struct loaded *ret);
void loaded_done(struct loaded *l);

/* Is the open file no longer as @stamp has it? */
bool load_is_stale(const struct load_stamp *stamp, int fd);

/* An error about @node, with its path: "/PATH: WHAT: strerror". Unreadable files get a reason of their own. */
int load_fail(const struct scan *scan, uint32_t node, int code, const char *what, struct ply_err *err);

#endif
