/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes <-> structs for everything in plyfs/disk.h. Pure: no I/O, no memory
 * beyond the arguments, so all of it can be run over any byte array. A decode
 * function copies the fields out, then checks them; what it returns 0 for can
 * be used without further checks against the counts that it was given.
 * fs/format/FORMAT.md is normative.
 */
#ifndef PLYFS_FORMAT_H
#define PLYFS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plyfs/disk.h"
#include "plyfs/error.h"

/* --- superblock ------------------------------------------------------------ */

struct super {
	uint64_t compat, ro_compat, incompat;
	uint8_t uuid[16];
	uint64_t generation;
	uint64_t catalog_off, catalog_len;
	uint8_t catalog_digest[32];
	uint64_t committed_end;
};

#define SUPER_COMPAT_KNOWN    0ULL
#define SUPER_RO_COMPAT_KNOWN 0ULL
#define SUPER_INCOMPAT_KNOWN  0ULL

void super_encode(const struct super *s, uint32_t slot, uint8_t out[PLY_SUPER_SIZE]);
/* Reasons IMAGE_NOT_PLYFS, SUPER_CHECKSUM, SUPER_FIELD, SUPER_FEATURE. */
int super_decode(const uint8_t in[PLY_SUPER_SIZE], uint32_t slot, uint64_t file_size,
		 struct super *ret, struct ply_err *err);

/* --- segment header and section directory ---------------------------------- */

struct section {
	uint32_t type, flags;
	uint64_t off, len, count;
	uint8_t digest[32];
};

struct segment {
	uint32_t kind;
	uint64_t incompat;
	uint64_t length;
	uint8_t uuid[16];
	uint64_t meta_off, meta_len;
	uint32_t block_bits;
	uint32_t nsections;
	struct section sections[PLY_SECTIONS_MAX];
};

/* Bytes of the header of a segment with @nsections. */
size_t segment_header_len(uint32_t nsections);
/* @out holds segment_header_len(s->nsections). */
void segment_encode(const struct segment *s, uint8_t *out);
/* What the first 128 bytes say of the length of the header; -EUCLEAN. */
int segment_peek(const uint8_t in[sizeof(struct ply_disk_segment)], size_t *ret_len,
		 struct ply_err *err);
/* @in: a whole header (segment_peek). Checks geometry: sections inside the segment, aligned, disjoint, element
 * sizes and counts of known types. Unknown required sections are refused. */
int segment_decode(const uint8_t *in, size_t len, uint64_t seg_len, struct segment *ret,
		   struct ply_err *err);
/* NULL where there is none. */
const struct section *segment_section(const struct segment *s, uint32_t type);
/* Element size of a section type; 0 for heaps, data and unknown types. */
size_t section_element_size(uint32_t type);
const char *section_name(uint32_t type);       /* "NODES"; NULL: unknown */
const char *segment_kind_name(uint32_t kind);

/* --- sub-image ----------------------------------------------------------------- */

struct ply_node {
	uint16_t mode;
	uint8_t kind, flags;
	uint32_t owner;
	uint64_t size;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint32_t nlink;
	uint64_t parent;           /* reference */
	uint64_t entry;
	uint64_t data;
	uint32_t ndata;
	uint32_t xattrs;
};

struct ply_entry {
	uint64_t ref;
	const char *name;          /* borrowed from the NAMES section; set by the reader */
	uint64_t name_off;
	uint32_t name_len;
	uint32_t condition;
	uint8_t type;              /* PLY_T_WHITEOUT: ref is 0, or a directory of further whiteouts */
};

struct ply_extent {
	uint64_t off, len, addr;
};

struct ply_block {
	uint64_t off;              /* in DATA */
	uint32_t stored;
	uint32_t size;
	bool raw;
	uint64_t xxh3;
};

struct ply_owner {
	uint32_t id;
	uint8_t kind;
	uint16_t component;
	uint32_t condition;
	uint64_t name_off;
	uint32_t name_len;
};

/* Counts of the segment that references are checked against. */
struct sub_limits {
	uint64_t nodes;            /* next free index */
	uint64_t entries, names, heap, extents, xattr_sets, xattrs, owners, owner_pairs;
	uint64_t blocks, data;     /* blocks; bytes of DATA */
	uint64_t components;
	uint64_t conditions, shared, records;
};

/* A row of a condition. */
struct ply_condition {
	uint16_t component;        /* local slot */
	bool none, ends_clause, ends;
};

struct ply_shared {
	uint64_t node;
	uint16_t driver, version;
	bool whole;
	uint64_t first;            /* RECORDS row */
	uint32_t count;
	uint8_t digest[32];        /* of the captured file */
};

struct ply_record {
	uint32_t ordinal, condition, len, flags;
};

struct ply_override {
	uint64_t node;
	uint32_t mask;             /* PLY_OVER_* */
	uint8_t digest[32];
};

struct ply_collision {
	uint64_t a, b;             /* [number | index]; of a whiteout: row of ENTRIES plus 1 */
	uint8_t cls, why;          /* enum ply_pair_class, enum ply_pair_why */
	uint16_t flags;            /* PLY_PAIR_* */
};

void node_encode(const struct ply_node *n, struct ply_disk_node *out);
int node_decode(const struct ply_disk_node *in, uint64_t index, const struct sub_limits *lim,
		struct ply_node *ret, struct ply_err *err);
void entry_encode(const struct ply_entry *e, struct ply_disk_entry *out);
/* Does not set name: the bytes are checked by name_check(). */
int entry_decode(const struct ply_disk_entry *in, const struct sub_limits *lim,
		 struct ply_entry *ret, struct ply_err *err);
/* A name: 1..255 bytes, no NUL, no '/', not "." or "..". */
int name_check(const char *name, size_t len, struct ply_err *err);
void extent_encode(const struct ply_extent *e, struct ply_disk_extent *out);
int extent_decode(const struct ply_disk_extent *in, const struct sub_limits *lim,
		  struct ply_extent *ret, struct ply_err *err);
void block_encode(const struct ply_block *b, struct ply_disk_block *out);
int block_decode(const struct ply_disk_block *in, const struct sub_limits *lim,
		 struct ply_block *ret, struct ply_err *err);
int owner_decode(const struct ply_disk_owner *in, const struct sub_limits *lim,
		 struct ply_owner *ret, struct ply_err *err);

int condition_decode(const struct ply_disk_condition *in, const struct sub_limits *lim,
		     struct ply_condition *ret, struct ply_err *err);
void shared_encode(const struct ply_shared *s, struct ply_disk_shared *out);
int shared_decode(const struct ply_disk_shared *in, const struct sub_limits *lim, struct ply_shared *ret,
		  struct ply_err *err);
int record_decode(const struct ply_disk_record *in, const struct sub_limits *lim, struct ply_record *ret,
		  struct ply_err *err);
void override_encode(const struct ply_override *o, struct ply_disk_override *out);
int override_decode(const struct ply_disk_override *in, const struct sub_limits *lim, struct ply_override *ret,
		    struct ply_err *err);

/* Of the join table. Is it of those that who opens a view has to know? */
bool collision_comes_first(const struct ply_collision *c);
/* Orders those first, then by b, then a. */
int collision_compare(const struct ply_collision *x, const struct ply_collision *y);
void collision_encode(const struct ply_collision *c, struct ply_disk_collision *out);
int collision_decode(const struct ply_disk_collision *in, struct ply_collision *ret, struct ply_err *err);

/* A sub-image's name by DESIGN section 10; @internal allows '+'. */
bool sub_name_ok(const char *name, size_t len, bool internal);
/* <0, 0, >0 as strcmp(); @name has @len bytes, of whatever kind. */
int sub_name_compare(const char *is, const char *name, size_t len);

/* Pages of a metadata region (the last may be short), and bytes of its PAGE_SUMS. */
uint64_t meta_pages(uint64_t meta_len);
uint64_t page_sums_len(uint64_t pages);
/* XXH3-64 of metadata page @number, @len bytes; of the group of @n sums @group. */
uint64_t page_sum(const uint8_t *page, size_t len, uint64_t number);
uint64_t group_sum(const uint8_t *sums, size_t n, uint64_t group);

/*
 * The UUID of a sub-image when it must follow from its content: SHA-256 of the
 * name, a NUL, and (type, length, digest) of each section but COMPONENTS, cut to 16
 * bytes, variant and version bits set (version 8).
 */
int content_uuid(const char *name, const struct segment *s, uint8_t ret[16]);
void uuid_format(const uint8_t uuid[16], char out[37]);

#endif
