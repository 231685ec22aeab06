/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a .plyfs file. fs/format/FORMAT.md is normative; this header
 * says the same in C. Integers are little-endian byte arrays, so that a raw
 * read does not compile: use le16_get() and friends.
 */
#ifndef PLYFS_DISK_H
#define PLYFS_DISK_H

#include <stdint.h>

typedef struct { uint8_t b[2]; } le16;
typedef struct { uint8_t b[4]; } le32;
typedef struct { uint8_t b[8]; } le64;

static inline uint16_t le16_get(le16 v)
{
	return (uint16_t)(v.b[0] | v.b[1] << 8);
}

static inline uint32_t le32_get(le32 v)
{
	return (uint32_t)v.b[0] | (uint32_t)v.b[1] << 8 | (uint32_t)v.b[2] << 16 |
	       (uint32_t)v.b[3] << 24;
}

static inline uint64_t le64_get(le64 v)
{
	return (uint64_t)v.b[0] | (uint64_t)v.b[1] << 8 | (uint64_t)v.b[2] << 16 |
	       (uint64_t)v.b[3] << 24 | (uint64_t)v.b[4] << 32 | (uint64_t)v.b[5] << 40 |
	       (uint64_t)v.b[6] << 48 | (uint64_t)v.b[7] << 56;
}

static inline le16 le16_put(uint16_t v)
{
	return (le16){ { (uint8_t)v, (uint8_t)(v >> 8) } };
}

static inline le32 le32_put(uint32_t v)
{
	return (le32){ { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) } };
}

static inline le64 le64_put(uint64_t v)
{
	return (le64){ { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24),
			 (uint8_t)(v >> 32), (uint8_t)(v >> 40), (uint8_t)(v >> 48),
			 (uint8_t)(v >> 56) } };
}

/* --- limits and constants -------------------------------------------- */

#define PLY_PAGE            4096u      /* unit of metadata checksums */
#define PLY_ALIGN           8u         /* segments, sections and data blocks */
#define PLY_BLOCK_BITS      17u
#define PLY_BLOCK_SIZE      (1u << PLY_BLOCK_BITS)   /* 128 KiB of file data */
#define PLY_NAME_MAX        255u       /* NAME_MAX */
#define PLY_SYMLINK_MAX     4095u      /* PATH_MAX - 1 */
#define PLY_XATTR_VALUE_MAX 65536u     /* XATTR_SIZE_MAX */
#define PLY_XATTR_NAME_MAX  255u       /* XATTR_NAME_MAX */
#define PLY_XATTR_SET_MAX   65536u     /* XATTR_LIST_MAX: bytes of names of one node */
#define PLY_INLINE_MAX      64u        /* content of a node kept in the HEAP section */
#define PLY_SIZE_MAX        INT64_MAX  /* of a file: off_t */
#define PLY_SUB_NAME_MAX    128u
#define PLY_DIGEST_HOLES_MAX (1ULL << 30) /* content with more bytes of holes has no digest (zeros) */
#define PLY_CATALOG_MAX     (64u << 20) /* read whole at open */

/*
 * An inode number is [0 | number 15 bits | index 48 bits]. In a segment the
 * number is a local slot (slot 0: the segment's own sub-image).
 */
#define PLY_INDEX_BITS      48
#define PLY_INDEX_MAX       ((1ULL << PLY_INDEX_BITS) - 1)
#define PLY_NUMBER_MAX      16383u     /* of a sub-image; logs start at 16384 */
#define PLY_ROOT_INDEX      1ULL
#define PLY_INO(number, index) ((uint64_t)(number) << PLY_INDEX_BITS | (uint64_t)(index))
#define PLY_INO_NUMBER(ino) ((uint32_t)((ino) >> PLY_INDEX_BITS))
#define PLY_INO_INDEX(ino)  ((ino) & PLY_INDEX_MAX)
#define PLY_COOKIE_FIRST    3ULL       /* entry i has cookie [number | i + 3] */

/* --- superblock: two slots, at 0 and 4096 ------------------------------ */

#define PLY_SUPER_MAGIC   "PLYFS\r\n\x1a"
#define PLY_SUPER_SLOTS   2u
#define PLY_SUPER_SIZE    4096u
#define PLY_FORMAT_VERSION 1u

struct ply_disk_super {
	uint8_t magic[8];          /* +0x000 */
	le32 version;              /* +0x008 */
	le32 slot;                 /* +0x00c 0 or 1: its own place */
	le64 compat;               /* +0x010 unknown bits are ignored */
	le64 ro_compat;            /* +0x018 unknown bits: readable, not writable */
	le64 incompat;             /* +0x020 unknown bits: refused */
	uint8_t uuid[16];          /* +0x028 of the image */
	le64 generation;           /* +0x038 counted from 1 */
	le64 catalog_off;          /* +0x040 */
	le64 catalog_len;          /* +0x048 */
	uint8_t catalog_digest[32];/* +0x050 segment digest of the catalog */
	le64 committed_end;        /* +0x070 nothing below is ever written again */
	uint8_t zero[3968];        /* +0x078 */
	le64 xxh3;                 /* +0xff8 of the 4088 bytes before */
};
_Static_assert(sizeof(struct ply_disk_super) == PLY_SUPER_SIZE, "super");

/* --- segments ----------------------------------------------------------- */

#define PLY_SEGMENT_MAGIC "PLYSEG\r\n"
#define PLY_SECTIONS_MAX  62u
#define PLY_SEGMENT_HEAD_MAX 4096u
#define PLY_META_ALIGNED  65536u   /* a metadata region of this size begins at a page of the file, and so do its sums */

enum ply_segment_kind {
	PLY_SEG_BASE = 1,          /* a sub-image */
	PLY_SEG_DELTA = 2,         /* reserved */
	PLY_SEG_JOIN = 3,          /* which nodes of several sub-images are one inode */
	PLY_SEG_CATALOG = 4,
};

struct ply_disk_section {          /* 64 bytes */
	le32 type;                 /* +0x00 enum ply_section */
	le32 flags;                /* +0x04 PLY_SECTION_* */
	le64 off;                  /* +0x08 from the start of the segment, multiple of 8 */
	le64 len;                  /* +0x10 bytes */
	le64 count;                /* +0x18 elements; 0 for heaps */
	uint8_t digest[32];        /* +0x20 SHA-256 of the bytes; DATA: zero (BLOCK_DIGESTS hold it) */
};
_Static_assert(sizeof(struct ply_disk_section) == 64, "section");
#define PLY_SECTION_REQUIRED 1u    /* a reader that does not know the type refuses */
#define PLY_SECTION_PAGED    2u    /* lies in the metadata region that PAGE_SUMS covers */

struct ply_disk_segment {          /* 128 bytes, then the section directory */
	uint8_t magic[8];          /* +0x000 */
	le32 version;              /* +0x008 */
	le32 kind;                 /* +0x00c */
	le64 incompat;             /* +0x010 */
	le64 length;               /* +0x018 whole segment, multiple of 8 */
	uint8_t uuid[16];          /* +0x020 of the sub-image; zero for join and catalog */
	le64 meta_off;             /* +0x030 metadata region, multiple of 8 */
	le64 meta_len;             /* +0x038 multiple of 8 */
	le32 nsections;            /* +0x040 */
	le32 block_bits;           /* +0x044 17, or 0 where there is no data */
	le32 header_len;           /* +0x048 with the section directory: 128 + 64 * nsections */
	uint8_t zero[44];          /* +0x04c */
	le64 xxh3;                 /* +0x078 of header_len bytes, this field taken as zero */
};
_Static_assert(sizeof(struct ply_disk_segment) == 128, "segment");

/* Permanent numbers; rows without a struct below are reserved. */
#define PLY_SECTIONS(X) \
	X(NODES, 1) X(ENTRIES, 2) X(NAMES, 3) X(HEAP, 4) X(EXTENTS, 5) \
	X(XATTR_SETS, 6) X(XATTRS, 7) X(OWNERS, 8) X(OWNER_PAIRS, 9) \
	X(BLOCKS, 10) X(BLOCK_DIGESTS, 11) X(DATA, 12) X(PAGE_SUMS, 13) X(COMPONENTS, 14) \
	X(CONDITIONS, 32) X(SHARED_FILES, 33) X(RECORDS, 34) X(DELTA_NODES, 35) \
	X(DELTA_REMOVED, 36) X(OVERRIDES, 37) X(LOG_MAP, 38) X(MARKS, 39) X(COLLISIONS, 40) \
	X(JOIN_ROWS, 64) X(JOIN_MEMBERS, 65) X(JOIN_INDEX, 66) \
	X(CATALOG_HEAD, 96) X(SUBS, 97) X(SEGMENTS, 98) X(RELATIONS, 99) X(STRINGS, 100) \
	X(TAGS, 101) X(ALIASES, 102) X(MOUNTS, 103) X(BLOBS, 104)

enum ply_section {
#define X(name, number) PLY_S_##name = number,
	PLY_SECTIONS(X)
#undef X
};

/* --- sub-image: nodes, entries, content --------------------------------- */

enum ply_content {                 /* node.kind */
	PLY_C_NONE = 0,            /* directory, device, FIFO, socket; a file of holes only */
	PLY_C_INLINE = 1,          /* data = HEAP offset; symlink targets too */
	PLY_C_RUN = 2,             /* data = address of [0, size): one extent, no hole */
	PLY_C_EXTENTS = 3,         /* data = first EXTENTS index, ndata = how many */
	PLY_C_OVERLAY = 5,         /* reserved: content of the node that it overrides */
};

/* flags */
#define PLY_NODE_IMPLIED 1u        /* a directory that stands here for its children only */
#define PLY_NODE_SHARED  2u        /* a regular file whose content is records: a row of SHARED_FILES */
#define PLY_NODE_COVERS  4u        /* a directory of an overlay: it changes which of its names are directories */

struct ply_disk_node {             /* 64 bytes; index 1 is the root, index 0 is nobody */
	le16 mode;                 /* +0x00 st_mode */
	uint8_t kind;              /* +0x02 enum ply_content */
	uint8_t flags;             /* +0x03 PLY_NODE_* */
	le32 owner;                /* +0x04 OWNER_PAIRS index */
	le64 size;                 /* +0x08 file, symlink: bytes; directory: entries; device: major << 32 | minor */
	le64 mtime_sec;            /* +0x10 two's complement, since the epoch */
	le32 mtime_nsec;           /* +0x18 below 1e9 */
	le32 nlink;                /* +0x1c names in this sub-image; directory: child directories */
	le64 parent;               /* +0x20 reference: directory of the entry below; the root: itself */
	le64 entry;                /* +0x28 ENTRIES index of its first name; the root: 0 */
	le64 data;                 /* +0x30 by kind; directory: ENTRIES index of its first child */
	le32 ndata;                /* +0x38 EXTENTS: how many; else 0 */
	le32 xattrs;               /* +0x3c XATTR_SETS index; 0 is the empty set */
};
_Static_assert(sizeof(struct ply_disk_node) == 64, "node");

struct ply_disk_entry {            /* 24 bytes; of one directory: contiguous, sorted bytewise */
	le64 ref;                  /* +0x00 [local slot 15 | index 48]; a whiteout: 0, or of what is gone in it */
	le64 name;                 /* +0x08 [length 8 | NAMES offset 56] */
	le32 condition;            /* +0x10 of CONDITIONS; 0: always */
	uint8_t type;              /* +0x14 DT_* = mode >> 12, or PLY_T_WHITEOUT */
	uint8_t zero[3];
};
_Static_assert(sizeof(struct ply_disk_entry) == 24, "entry");
#define PLY_T_WHITEOUT 0u          /* this name of what the overlay stands on is gone */

/*
 * Data address: [block 47 bits | offset 17 bits]. An extent that reaches the
 * end of its block goes on at offset 0 of the next; all blocks of an extent
 * but the last are filled to PLY_BLOCK_SIZE.
 */
struct ply_disk_extent {           /* 24 bytes; of one file: ascending, disjoint, not empty */
	le64 off;                  /* +0x00 in the file */
	le64 len;                  /* +0x08 */
	le64 addr;                 /* +0x10 */
};
_Static_assert(sizeof(struct ply_disk_extent) == 24, "extent");

struct ply_disk_block {            /* 24 bytes */
	le64 off;                  /* +0x00 in the DATA section, multiple of 8 */
	le32 stored;               /* +0x08 bytes stored; bit 31: raw, not zstd */
	le32 size;                 /* +0x0c bytes decoded, 1 .. PLY_BLOCK_SIZE */
	le64 xxh3;                 /* +0x10 of the stored bytes */
};
_Static_assert(sizeof(struct ply_disk_block) == 24, "block");
#define PLY_BLOCK_RAW 0x80000000u

struct ply_disk_xattr_set {        /* 16 bytes; set 0 is empty */
	le64 first;                /* +0x00 XATTRS index */
	le32 count;                /* +0x08 */
	le32 zero;
};
_Static_assert(sizeof(struct ply_disk_xattr_set) == 16, "xattr set");

struct ply_disk_xattr {            /* 24 bytes; of one set: sorted bytewise by name */
	le64 name;                 /* +0x00 [length 8 | HEAP offset 56] */
	le64 value;                /* +0x08 HEAP offset */
	le32 value_len;            /* +0x10 */
	le32 condition;            /* +0x14 0: always */
};
_Static_assert(sizeof(struct ply_disk_xattr) == 24, "xattr");

enum ply_owner_kind { PLY_OWNER_USER = 1, PLY_OWNER_GROUP = 2 };

struct ply_disk_owner {            /* 24 bytes */
	le64 name;                 /* +0x00 [length 8 | HEAP offset 56]; length 0: the id has no name */
	le32 id;                   /* +0x08 uid or gid in the captured machine */
	le16 component;            /* +0x0c local slot of the component that brings it; 0: its own */
	uint8_t kind;              /* +0x0e enum ply_owner_kind */
	uint8_t zero;
	le32 condition;            /* +0x10 0: always */
	le32 zero2;
};
_Static_assert(sizeof(struct ply_disk_owner) == 24, "owner");

struct ply_disk_owner_pair {       /* 8 bytes */
	le32 user;                 /* +0x00 OWNERS index */
	le32 group;                /* +0x04 OWNERS index */
};
_Static_assert(sizeof(struct ply_disk_owner_pair) == 8, "owner pair");

struct ply_disk_component {        /* 32 bytes: the local component table; slot 0 is itself */
	le64 name;                 /* +0x00 [length 8 | HEAP offset 56] */
	uint8_t uuid[16];          /* +0x08 zero for slot 0 (the header holds it) */
	le64 zero;
};
_Static_assert(sizeof(struct ply_disk_component) == 32, "component");

/* PAGE_SUMS: groups of up to 511 sums, each followed by the XXH3-64 of the sums in it. */
#define PLY_SUMS_PER_GROUP 511u

/* --- join table ------------------------------------------------------------ */

enum ply_join_kind {
	PLY_J_DIRECTORY = 1,
	PLY_J_LINKS = 2,           /* a hard-link group over several sub-images */
	PLY_J_FILE = 3,            /* a shared file: each member has a part of its records */
};

struct ply_disk_join_row {         /* 32 bytes; directories breadth-first, then the others */
	le64 first_member;         /* +0x00 JOIN_MEMBERS index */
	le32 nmembers;             /* +0x08 at least 2 */
	uint8_t kind;              /* +0x0c */
	uint8_t zero[3];
	le64 first_child;          /* +0x10 rows of joined child directories, contiguous */
	le64 nchildren;            /* +0x18 */
};
_Static_assert(sizeof(struct ply_disk_join_row) == 32, "join row");

struct ply_disk_join_member {      /* 40 bytes; in order of joining */
	le64 ref;                  /* +0x00 [number 15 | index 48]: global, not local */
	uint8_t digest[32];        /* +0x08 SHA-256 of the content; zero for directories and specials */
};
_Static_assert(sizeof(struct ply_disk_join_member) == 40, "join member");

struct ply_disk_join_index {       /* 16 bytes; sorted by ref */
	le64 ref;                  /* +0x00 */
	le64 row;                  /* +0x08 */
};
_Static_assert(sizeof(struct ply_disk_join_index) == 16, "join index");

/* --- catalog ------------------------------------------------------------------ */

struct ply_disk_string { le32 off, len; };          /* in STRINGS */

struct ply_disk_catalog_head {     /* 152 bytes, one */
	uint8_t uuid[16];          /* +0x00 of the image */
	le64 generation;           /* +0x10 */
	le64 parent_generation;    /* +0x18 0: none */
	le64 parent_off;           /* +0x20 catalog of the parent */
	le64 parent_len;           /* +0x28 */
	uint8_t parent_digest[32]; /* +0x30 */
	le64 time_sec;             /* +0x50 of this generation */
	le32 time_nsec;            /* +0x58 */
	le32 next_number;          /* +0x5c first number that was never used */
	struct ply_disk_string message; /* +0x60 */
	struct ply_disk_string tool;    /* +0x68 what wrote it, for people */
	le32 join_first;           /* +0x70 SEGMENTS index of the join table's segments */
	le32 join_count;           /* +0x74 */
	uint8_t zero[32];          /* +0x78 */
};
_Static_assert(sizeof(struct ply_disk_catalog_head) == 152, "catalog head");

struct ply_disk_sub {              /* 96 bytes; sorted by number */
	le32 number;               /* +0x00 */
	le32 rank;                 /* +0x04 unique */
	le32 flags;                /* +0x08 PLY_SUB_* */
	le32 zero;
	uint8_t uuid[16];          /* +0x10 */
	struct ply_disk_string name;    /* +0x20 */
	struct ply_disk_string arch;    /* +0x28 as the package database says: amd64 */
	struct ply_disk_string distro;  /* +0x30 ID-VERSION_ID of os-release: debian-12 */
	struct ply_disk_string summary; /* +0x38 what it was made from: package names */
	le32 seg_first;            /* +0x40 SEGMENTS index, base first */
	le32 seg_count;            /* +0x44 */
	le64 nodes;                /* +0x48 next free node index */
	le64 bytes;                /* +0x50 sum of the sizes of its regular files, each inode once */
	le64 zero2;
};
_Static_assert(sizeof(struct ply_disk_sub) == 96, "sub");
#define PLY_SUB_OS       1u
#define PLY_SUB_INTERNAL 2u        /* made by folding; selected with those that need it */
#define PLY_SUB_OVERLAY  4u        /* the difference of a machine to a view of what it stands on */

struct ply_disk_segment_ref {      /* 64 bytes */
	le32 kind;                 /* +0x00 enum ply_segment_kind */
	le32 flags;                /* +0x04 0; reserved: in another file */
	le64 off;                  /* +0x08 multiple of 8 */
	le64 len;                  /* +0x10 multiple of 8 */
	uint8_t digest[32];        /* +0x18 SHA-256 of header and section directory */
	le64 zero;
};
_Static_assert(sizeof(struct ply_disk_segment_ref) == 64, "segment ref");

enum ply_relation_kind { PLY_REL_REQUIRES = 1, PLY_REL_PROVIDES = 2, PLY_REL_STANDS_ON = 3 };

struct ply_disk_relation {         /* 24 bytes */
	le32 kind;                 /* +0x00 */
	le32 from;                 /* +0x04 sub-image number */
	le32 group;                /* +0x08 rows of one group are alternatives: any of them */
	le32 zero;
	struct ply_disk_string to; /* +0x10 name of a sub-image, or of what is provided */
};
_Static_assert(sizeof(struct ply_disk_relation) == 24, "relation");

struct ply_disk_mount {            /* 32 bytes: a file system of the captured machine below its root */
	struct ply_disk_string path;    /* +0x00 where it was mounted: "/boot" */
	struct ply_disk_string type;    /* +0x08 "ext4" */
	struct ply_disk_string subtree; /* +0x10 what of it was mounted: "/", or "/@home" */
	le64 zero;
};
_Static_assert(sizeof(struct ply_disk_mount) == 32, "mount");

struct ply_disk_blob {             /* 32 bytes: bytes with a name, for whoever knows the name */
	struct ply_disk_string name;    /* +0x00 */
	struct ply_disk_string bytes;   /* +0x08 may have NUL bytes */
	le32 sub;                  /* +0x10 sub-image number, or PLY_BLOB_OF_IMAGE */
	le32 zero;
	le64 zero2;
};
_Static_assert(sizeof(struct ply_disk_blob) == 32, "blob");
#define PLY_BLOB_OF_IMAGE UINT32_MAX
#define PLY_BLOB_PACKAGES "packages"    /* of a sub-image: see FORMAT.md */

struct ply_disk_mark {             /* 16 bytes; of a sub-image, ascending by node */
	le64 node;                 /* +0x00 reference, slot 0 */
	le32 mark;                 /* +0x08 PLY_MARK_* */
	le32 zero;
};
_Static_assert(sizeof(struct ply_disk_mark) == 16, "mark");
#define PLY_MARK_DROP     1u       /* a cache: not needed where something is not selected */
#define PLY_MARK_FIRST    2u       /* a log: never a difference between two machines */
#define PLY_MARK_SUBSET   0x0fu    /* mask of these */
#define PLY_MARK_REMOVE   0x10u    /* identity: the machine makes it anew */
#define PLY_MARK_EMPTY    0x20u    /* identity: its content goes, it stays */
#define PLY_MARK_SET      0x30u    /* identity: written from the plan of the new machine */
#define PLY_MARK_SECRET   0x40u    /* identity: taken away only when asked for */
#define PLY_MARK_IDENTITY 0xf0u    /* mask of these */

/*
 * A condition is a list of clauses that must all hold, a clause a set of components of which any,
 * or none, must be selected: a run of rows, and its number is that of its first row plus 1.
 */
struct ply_disk_condition {        /* 8 bytes */
	le16 component;            /* +0x00 local slot, not 0 */
	le16 flags;                /* +0x02 PLY_COND_* */
	le32 zero;
};
_Static_assert(sizeof(struct ply_disk_condition) == 8, "condition");
#define PLY_COND_NONE        1u    /* of all rows of a clause: none of them may be selected */
#define PLY_COND_CLAUSE_END  2u    /* the last row of a clause, */
#define PLY_COND_END         4u    /* and of the condition */
#define PLY_COND_ROWS_MAX    65536u        /* of a segment */
#define PLY_COND_LEN_MAX     1024u         /* of a condition */

#define PLY_SHARED_MAX 65536u      /* rows of SHARED_FILES of a segment */
struct ply_disk_shared {           /* 64 bytes; ascending by node */
	le64 node;                 /* +0x00 reference, slot 0: its content are the records' bytes, one behind the other */
	le16 driver;               /* +0x08 number of the merge driver, */
	le16 version;              /* +0x0a and its version */
	le32 flags;                /* +0x0c PLY_SHARED_* */
	le64 first;                /* +0x10 RECORDS index */
	le32 count;                /* +0x18 */
	le32 zero;
	uint8_t digest[32];        /* +0x20 SHA-256 of the captured file */
};
_Static_assert(sizeof(struct ply_disk_shared) == 64, "shared file");
#define PLY_SHARED_WHOLE 1u        /* its driver could not read it: one record */

struct ply_disk_record {           /* 16 bytes; of a file: ascending by ordinal */
	le32 ordinal;              /* +0x00 place in the captured file; equal ones are one record */
	le32 condition;            /* +0x04 0: always */
	le32 len;                  /* +0x08 bytes */
	le32 flags;                /* +0x0c PLY_RECORD_* */
};
_Static_assert(sizeof(struct ply_disk_record) == 16, "record");
#define PLY_RECORD_ITEM 1u         /* one of a list: a comma goes before it, behind another item */

struct ply_disk_override {         /* 48 bytes; of an overlay, ascending by node */
	le64 node;                 /* +0x00 reference, slot 0: its first name is in what the overlay stands on, too */
	le32 mask;                 /* +0x08 PLY_OVER_*: what differs there; not 0 */
	le32 zero;
	uint8_t digest[32];        /* +0x10 SHA-256 of the content that is overridden; zero: no file, no symlink */
};
_Static_assert(sizeof(struct ply_disk_override) == 48, "override");
#define PLY_OVER_CONTENT 1u
#define PLY_OVER_TYPE    2u
#define PLY_OVER_MODE    4u
#define PLY_OVER_OWNER   8u
#define PLY_OVER_XATTRS  16u
#define PLY_OVER_LINKS   32u
#define PLY_OVER_ALL     63u

/*
 * One path in two sub-images of which neither stands on the other. The references have the
 * sub-image's number as their slot; the index of a whiteout is its row of ENTRIES plus 1.
 */
struct ply_disk_collision {        /* 24 bytes; sorted by b, then a */
	le64 a;                    /* +0x00 of the lower number */
	le64 b;                    /* +0x08 */
	uint8_t cls;               /* +0x10 enum ply_pair_class */
	uint8_t why;               /* +0x11 enum ply_pair_why */
	le16 flags;                /* +0x12 PLY_PAIR_* */
	le32 zero;
};
_Static_assert(sizeof(struct ply_disk_collision) == 24, "collision");

enum ply_pair_class {
	PLY_PAIR_TIMES = 1,
	PLY_PAIR_DIRECTORY = 2,    /* both are directories */
	PLY_PAIR_DRIVER = 3,       /* a merge driver joins them */
	PLY_PAIR_THREE_WAY = 4,    /* both change one file, at different places */
	PLY_PAIR_APPEND = 5,
	PLY_PAIR_CONFLICT = 6,
};

/* Why a pair is a conflict. Permanent numbers. */
#define PLY_PAIR_WHYS(X) \
	X(NONE, 0) X(TYPE, 1) X(OWNER, 2) X(MODE, 3) X(XATTRS, 4) X(LINKS, 5) X(DEVICE, 6) \
	X(BINARY, 7) X(UNKNOWN, 8) X(JSON, 9) X(XML, 10) X(YAML, 11) X(UNIT, 12) X(SSHD, 13) \
	X(SCRIPT, 14) X(SECRET, 15) X(KEYS, 16) X(OVERLAP, 17) X(RECORD, 18) X(DELETED, 19) \
	X(SET, 20) X(TARGET, 21) X(SIZE, 22) X(GRAMMAR, 23)
#define PLY_PAIR_WHY_MAX 23u

enum ply_pair_why {
#define X(name, number) PLY_PAIR_WHY_##name = number,
	PLY_PAIR_WHYS(X)
#undef X
};

/* flags: what differs, */
#define PLY_PAIR_F_CONTENT  1u
#define PLY_PAIR_F_TYPE     2u
#define PLY_PAIR_F_MODE     4u
#define PLY_PAIR_F_OWNER    8u
#define PLY_PAIR_F_XATTRS   16u
#define PLY_PAIR_F_LINKS    32u
#define PLY_PAIR_F_TIMES    64u
#define PLY_PAIR_APPENDABLE 256u   /* one text behind the other is a way out, */
#define PLY_PAIR_A_WHITEOUT 512u   /* and which of them is a whiteout */
#define PLY_PAIR_B_WHITEOUT 1024u
#define PLY_PAIR_FLAGS      (127u | PLY_PAIR_APPENDABLE | PLY_PAIR_A_WHITEOUT | PLY_PAIR_B_WHITEOUT)

#endif
