/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sealed segment of a sub-image, read in place.
 *
 * Opening reads one page; a metadata page is verified (XXH3-64) when it is
 * first touched, a data block each time it is decoded. Immutable after open
 * but for the bitmap of verified pages (atomic); thread-safe.
 *
 * Names, symlink targets, inline content and xattrs are borrowed from the map and
 * live as long as the sub.
 */
#ifndef PLYFS_SUB_H
#define PLYFS_SUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "format/format.h"
#include "io/io.h"
#include "plyfs/error.h"

struct sub;
struct cache;

/* A paged metadata region of a segment: used by sub, join and catalog readers. */
struct meta;
/* Read and check the header page of the segment at [off, off + len) against @digest
 * (NULL: do not compare) and map its metadata. */
int meta_open(struct io *io, uint64_t off, uint64_t len, const uint8_t *digest,
	      struct meta **ret, struct ply_err *err);
struct meta *meta_close(struct meta *m);
const struct segment *meta_segment(const struct meta *m);
/* Bytes [off, off + len) of a section, verified; borrowed. */
int meta_get(struct meta *m, const struct section *s, uint64_t off, uint64_t len,
	     const void **ret, struct ply_err *err);
/* Tell the kernel that all of the region is wanted soon, if it has at most @max bytes. Best effort. */
void meta_readahead(struct meta *m, uint64_t max);
/* For verify: each page of the region, each group of its checksums, and the bytes of a section
 * in the region (or of PAGE_SUMS) as they are, whatever their checksums say. */
int meta_check_page(struct meta *m, uint64_t page, struct ply_err *err);
int meta_check_group(struct meta *m, uint64_t group, struct ply_err *err);
const void *meta_raw(const struct meta *m, const struct section *s);
/* The whole section against its SHA-256. */
int meta_check_digest(struct meta *m, const struct section *s, struct ply_err *err);

/* @io is borrowed. @id makes cache keys of different subs differ (below 2^16). */
int sub_open(struct io *io, uint64_t off, uint64_t len, const uint8_t *digest, uint32_t id,
	     struct sub **ret, struct ply_err *err);
struct sub *sub_close(struct sub *sub);

const struct sub_limits *sub_limits(const struct sub *sub);
struct meta *sub_meta(const struct sub *sub);

int sub_node(struct sub *sub, uint64_t index, struct ply_node *ret, struct ply_err *err);
/* Entry with its name, checked. */
int sub_entry(struct sub *sub, uint64_t i, struct ply_entry *ret, struct ply_err *err);
/* Binary search in the directory @dir; -ENOENT. */
int sub_find(struct sub *sub, const struct ply_node *dir, const char *name, size_t len,
	     uint64_t *ret_i, struct ply_entry *ret, struct ply_err *err);
int sub_extent(struct sub *sub, uint64_t i, struct ply_extent *ret, struct ply_err *err);
int sub_block(struct sub *sub, uint64_t b, struct ply_block *ret, struct ply_err *err);
int sub_block_digest(struct sub *sub, uint64_t b, uint8_t ret[32], struct ply_err *err);
int sub_heap(struct sub *sub, uint64_t off, uint64_t len, const void **ret, struct ply_err *err);

struct sub_owner {
	uint32_t uid, gid;
	const char *user, *group;  /* names, not NUL-terminated; may be empty */
	uint32_t user_len, group_len;
	uint32_t user_condition, group_condition;  /* under which they are there; else root */
};
int sub_owner(struct sub *sub, uint32_t pair, struct sub_owner *ret, struct ply_err *err);

struct sub_xattr {
	const char *name;
	uint32_t name_len;
	const void *value;
	uint32_t value_len;
	uint32_t condition;        /* of several with one name the first that holds is the one */
};
/* How many xattrs set @set has, and the @i-th of them. */
int sub_xattr_count(struct sub *sub, uint32_t set, uint32_t *ret, struct ply_err *err);
int sub_xattr(struct sub *sub, uint32_t set, uint32_t i, struct sub_xattr *ret,
	      struct ply_err *err);

/*
 * Extents of a regular file as (off, len, addr), in order: kind RUN is one, NONE none,
 * INLINE none (its bytes come from sub_heap). sub_extent_at() finds the first
 * extent that ends behind @off: -ENXIO where there is none.
 */
int sub_extent_at(struct sub *sub, const struct ply_node *n, uint64_t off,
		  struct ply_extent *ret, uint32_t *ret_i, struct ply_err *err);
uint32_t sub_extent_count(const struct ply_node *n);
int sub_node_extent(struct sub *sub, const struct ply_node *n, uint32_t i,
		    struct ply_extent *ret, struct ply_err *err);

/* Decode block @b into @dst (its decoded size, as sub_block() says), checksum verified.
 * Uses per-thread scratch memory. */
int sub_block_read(struct sub *sub, uint64_t b, const struct ply_block *block, void *dst,
		   struct ply_err *err);

/* Marks (PLY_MARK_*) of nodes, ascending; an older segment has none. */
struct sub_mark {
	uint64_t index;
	uint32_t mark;
};
uint64_t sub_mark_count(const struct sub *sub);
int sub_mark(struct sub *sub, uint64_t i, struct sub_mark *ret, struct ply_err *err);
/* The path of a node's first name below the root, NUL-terminated, into @out (emptied first). */
int sub_node_path(struct sub *sub, uint64_t index, struct buf *out, struct ply_err *err);

/*
 * Conditions, shared files and records; an older segment has none. sub_condition(): row @k of
 * condition @cond, from 0; -EUCLEAN behind its end or beyond PLY_COND_LEN_MAX rows.
 */
int sub_condition(struct sub *sub, uint32_t cond, uint32_t k, struct ply_condition *ret, struct ply_err *err);
/* Name of component @slot, not NUL-terminated. */
int sub_component(struct sub *sub, uint32_t slot, const char **ret, uint32_t *ret_len, struct ply_err *err);
int sub_shared(struct sub *sub, uint64_t i, struct ply_shared *ret, struct ply_err *err);
/* The row of a node with PLY_NODE_SHARED, and its number; -EUCLEAN where there is none. */
int sub_shared_find(struct sub *sub, uint64_t node, uint64_t *ret_row, struct ply_shared *ret,
		    struct ply_err *err);
int sub_record(struct sub *sub, uint64_t i, struct ply_record *ret, struct ply_err *err);

/* Tell the kernel that blocks [@from, @to) are wanted soon. Best effort. */
void sub_readahead(struct sub *sub, uint64_t from, uint64_t to);

/*
 * Read a regular file. Whole blocks go straight into @buf, parts of blocks through
 * @cache. Returns the count, short only at the end of the file.
 */
ssize_t sub_read(struct sub *sub, struct cache *cache, const struct ply_node *n, uint64_t off,
		 size_t len, void *buf, struct ply_err *err);

/* 512-byte units of data that is not a hole, 4 KiB granular; an estimate where a file has more than
 * 4,096 extents. */
int sub_blocks512(struct sub *sub, const struct ply_node *n, uint64_t *ret, struct ply_err *err);

#endif
