/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a .redo file: the changes on top of an image or of another log. fs/format/FORMAT.md, "REDO log", is
 * normative; this header says the same in C.
 */
#ifndef PLYFS_DISK_REDO_H
#define PLYFS_DISK_REDO_H

#include "plyfs/disk.h"

#define PLY_REDO_MAGIC        "PLYREDO\n"
#define PLY_REDO_META_MAGIC   "PLYREDOM"
#define PLY_REDO_CKPT_MAGIC   "PLYREDOC"
#define PLY_REDO_VERSION      1u
#define PLY_REDO_BLOCK        4096u    /* of data: each has a checksum */
#define PLY_REDO_SEGMENT_MIN  65536u
#define PLY_REDO_SEGMENT_MAX  (4u << 20)
#define PLY_REDO_SEGMENTS_MAX (1u << 20)       /* 4 TiB: a row in memory for each */
#define PLY_REDO_RECORD_MAX   (256u << 10)     /* two ACLs or xattrs of the largest size, and room */
#define PLY_REDO_CHANGES_MAX  128u           /* of a record: each is checked against those before it */
#define PLY_REDO_COPY_MAX     64u            /* extents that a copy may make of its few bytes */
#define PLY_REDO_REQUESTS_MAX 4096u            /* that a checkpoint remembers: what may be logged, and unanswered */
#define PLY_REDO_WRITE_MAX    (1u << 20)       /* bytes of one extent change: the largest request of FUSE */
#define PLY_REDO_BINDING_MAX  (64u << 20)
#define PLY_REDO_NUMBER_MIN   16384u           /* logs allocate inodes in numbers of 15 bits from here on */
#define PLY_REDO_NUMBER_MAX   32767u

enum ply_redo_state {
	PLY_REDO_OPEN = 1,         /* somebody writes to it, or was interrupted */
	PLY_REDO_CLEAN = 2,        /* closed: durable_lsn is its end */
	PLY_REDO_FROZEN = 3,       /* closed for good */
};

struct ply_disk_redo_super {
	uint8_t magic[8];          /* +0x000 */
	le32 version;              /* +0x008 */
	le32 slot;                 /* +0x00c 0 or 1: its own place */
	le64 compat;               /* +0x010 unknown bits are ignored */
	le64 ro_compat;            /* +0x018 unknown bits: readable, not writable */
	le64 incompat;             /* +0x020 unknown bits: refused */
	uint8_t uuid[16];          /* +0x028 of the log */
	le64 generation;           /* +0x038 of this superblock, from 1 */
	uint8_t parent_uuid[16];   /* +0x040 of the image or log below */
	uint8_t parent_digest[32]; /* +0x050 SHA-256 of the image's generation, or of the log */
	le64 parent_generation;    /* +0x070 of the image; 0: the parent is a log */
	le32 number;               /* +0x078 of the inodes that are made here */
	le32 state;                /* +0x07c enum ply_redo_state */
	le64 created_sec;          /* +0x080 */
	le64 binding_off;          /* +0x088 struct ply_disk_redo_binding */
	le64 binding_len;          /* +0x090 */
	uint8_t binding_digest[32];/* +0x098 SHA-256 */
	le64 segments_off;         /* +0x0b8 of segment 0, multiple of 4096 */
	le32 epoch;                /* +0x0c0 from 1; one more each time that it is opened to write */
	le32 replay_segment;       /* +0x0c4 where replay begins: at the begin of this segment */
	le64 epoch_lsn;            /* +0x0c8 from here on records are of this epoch */
	le64 durable_lsn;          /* +0x0d0 all below was on the disk */
	le64 replay_lsn;           /* +0x0d8 of the first record in replay_segment */
	le64 replay_seq;           /* +0x0e0 of that segment */
	le64 ckpt_off;             /* +0x0e8 of the checkpoint; 0: none */
	le64 ckpt_len;             /* +0x0f0 */
	le64 ckpt_xxh3;            /* +0x0f8 of all of it, seeded */
	le64 requests_lsn;         /* +0x100 records below answered requests of another connection */
	uint8_t zero[3824];        /* +0x108 */
	le64 xxh3;                 /* +0xff8 of the 4088 bytes before, seed 0 */
};
_Static_assert(sizeof(struct ply_disk_redo_super) == PLY_SUPER_SIZE, "redo super");

/* What the log stands on; never written over. Behind it: decisions, names of the selection (each with a NUL), path. */
struct ply_disk_redo_binding {     /* 32 bytes */
	le32 nnames;               /* +0x00 of the selection; a parent that is a log has its own: 0 */
	le32 names_len;            /* +0x04 bytes */
	le32 ndecisions;           /* +0x08 */
	le32 path_len;             /* +0x0c of the parent: where it is looked for first */
	uint8_t image_uuid[16];    /* +0x10 of the image that the chain stands on */
};
_Static_assert(sizeof(struct ply_disk_redo_binding) == 32, "redo binding");

struct ply_disk_redo_decision {    /* 24 bytes: struct ply_decision */
	le64 a, b;
	le32 rule;
	le32 driver;
};
_Static_assert(sizeof(struct ply_disk_redo_decision) == 24, "redo decision");

/* --- records -------------------------------------------------------------------------- */

struct ply_disk_redo_segment {     /* 64 bytes, at the begin of a segment of records */
	uint8_t magic[8];          /* +0x00 */
	le32 segment;              /* +0x08 its own number */
	le32 epoch;                /* +0x0c */
	le64 seq;                  /* +0x10 counted over segments of records */
	le64 lsn;                  /* +0x18 of the first record */
	uint8_t zero[24];          /* +0x20 */
	le64 xxh3;                 /* +0x38 of the 56 bytes before, seeded by epoch */
};
_Static_assert(sizeof(struct ply_disk_redo_segment) == 64, "redo segment");

struct ply_disk_redo_record {      /* 40 bytes, then changes */
	le32 len;                  /* +0x00 with the changes; multiple of 8 */
	le32 epoch;                /* +0x04 */
	le64 lsn;                  /* +0x08 its place: bytes of records before it */
	le64 request;              /* +0x10 of the kernel, for who takes over; 0: none */
	le32 nchanges;             /* +0x18 at least 1 */
	le32 zero;                 /* +0x1c */
	le64 xxh3;                 /* +0x20 of the 32 bytes before, seeded by that of the changes, seeded by epoch */
};
_Static_assert(sizeof(struct ply_disk_redo_record) == 40, "redo record");

struct ply_disk_redo_change {      /* 8 bytes, then what its type has */
	le16 type;                 /* +0x00 */
	le16 flags;                /* +0x02 */
	le32 len;                  /* +0x04 with this header; multiple of 8, filled up with zeros */
};
_Static_assert(sizeof(struct ply_disk_redo_change) == 8, "redo change");

/* Permanent numbers. COMMIT, NEXT and REQUESTS stand alone in their record. */
#define PLY_REDO_CHANGES(X) \
	X(COMMIT, 1) X(NEXT, 2) X(REQUESTS, 3) \
	X(NEW, 8) X(ATTR, 9) X(ADD, 10) X(REMOVE, 11) X(XATTR_SET, 12) X(XATTR_REMOVE, 13) \
	X(EXTENT, 14) X(HOLE, 15) X(SIZE, 16) X(COPY, 17) X(DEAD, 18)

enum ply_redo_change_type {
#define X(name, number) PLY_REDO_##name = number,
	PLY_REDO_CHANGES(X)
#undef X
};

struct ply_disk_redo_commit {      /* 16 bytes */
	le64 durable;              /* all records below this LSN, and their data, were on the disk */
	le64 time_sec;
};
_Static_assert(sizeof(struct ply_disk_redo_commit) == 16, "redo commit");

struct ply_disk_redo_next {        /* 8 bytes: the last record of a segment */
	le32 segment;              /* where the records go on */
	le32 zero;
};
_Static_assert(sizeof(struct ply_disk_redo_next) == 8, "redo next");

struct ply_disk_redo_requests {    /* 8 bytes, then a le64 for each: what records before a checkpoint answered */
	le32 n;                    /* 1 .. PLY_REDO_REQUESTS_MAX */
	le32 zero;
};
_Static_assert(sizeof(struct ply_disk_redo_requests) == 8, "redo requests");

/* Which attributes a change sets. */
#define PLY_REDO_A_MODE   1u
#define PLY_REDO_A_UID    2u
#define PLY_REDO_A_GID    4u
#define PLY_REDO_A_FLAGS  8u       /* FS_IOC_SETFLAGS */
#define PLY_REDO_A_NLINK  16u
#define PLY_REDO_A_ATIME  32u
#define PLY_REDO_A_MTIME  64u
#define PLY_REDO_A_CTIME  128u
#define PLY_REDO_A_BTIME  256u
#define PLY_REDO_A_PARENT 512u     /* of a directory: what .. is */
#define PLY_REDO_A_RDEV   1024u    /* NEW only, as the two behind */
#define PLY_REDO_A_GENERATION 2048u
#define PLY_REDO_A_SIZE   4096u    /* in no change: NEW, SIZE, EXTENT and COPY say it */
#define PLY_REDO_A_ATTR   1023u    /* those of ATTR */
#define PLY_REDO_A_ALL    8191u

struct ply_disk_redo_attr {        /* 88 bytes */
	le32 mode;                 /* +0x00 type and permissions */
	le32 uid, gid;             /* +0x04 */
	le32 flags;                /* +0x0c */
	le32 nlink;                /* +0x10 */
	le32 generation;           /* +0x14 */
	le64 atime_sec, mtime_sec, ctime_sec, btime_sec;      /* +0x18 two's complement */
	le32 atime_nsec, mtime_nsec, ctime_nsec, btime_nsec;  /* +0x38 below 1e9 */
	le64 parent;               /* +0x48 */
	le32 rdev_major, rdev_minor; /* +0x50 */
};
_Static_assert(sizeof(struct ply_disk_redo_attr) == 88, "redo attr");

struct ply_disk_redo_new {         /* 104 bytes, then the target of a symlink */
	le64 ino;
	le32 target_len;
	le32 zero;
	struct ply_disk_redo_attr attr;    /* all of them count */
};
_Static_assert(sizeof(struct ply_disk_redo_new) == 104, "redo new");

struct ply_disk_redo_set {         /* 104 bytes: of ATTR */
	le64 ino;
	le32 mask;                 /* PLY_REDO_A_*; what is not in it is zero */
	le32 zero;
	struct ply_disk_redo_attr attr;
};
_Static_assert(sizeof(struct ply_disk_redo_set) == 104, "redo attr change");

struct ply_disk_redo_name {        /* 32 bytes, then the name: of ADD and REMOVE */
	le64 dir;
	le64 ino;                  /* REMOVE: 0 */
	le64 cookie;               /* [number | sequence]; REMOVE: 0 */
	uint8_t name_len;          /* not 0 */
	uint8_t type;              /* mode >> 12; REMOVE: 0 */
	uint8_t zero[6];
};
_Static_assert(sizeof(struct ply_disk_redo_name) == 32, "redo name");
#define PLY_REDO_F_HIDES 1u        /* flag of REMOVE: what is below has that name, too, and is hidden */

struct ply_disk_redo_xattr {       /* 16 bytes, then name and value */
	le64 ino;
	le32 value_len;            /* XATTR_REMOVE: 0 */
	uint8_t name_len;
	uint8_t zero[3];
};
_Static_assert(sizeof(struct ply_disk_redo_xattr) == 16, "redo xattr");

struct ply_disk_redo_extent {      /* 40 bytes, then a le64 for each block: its XXH3-64, seed 0 */
	le64 ino;
	le64 off;                  /* in the file */
	le64 len;                  /* 1 .. PLY_REDO_WRITE_MAX */
	le64 addr;                 /* in the log; same place in its block as off in its own */
	le64 size;                 /* of the file, from then on */
};
_Static_assert(sizeof(struct ply_disk_redo_extent) == 40, "redo extent");

struct ply_disk_redo_hole {        /* 24 bytes */
	le64 ino;
	le64 off, len;
};
_Static_assert(sizeof(struct ply_disk_redo_hole) == 24, "redo hole");

struct ply_disk_redo_size {        /* 16 bytes */
	le64 ino;
	le64 size;                 /* what lies behind is gone */
};
_Static_assert(sizeof(struct ply_disk_redo_size) == 16, "redo size");

struct ply_disk_redo_copy {        /* 48 bytes */
	le64 ino;
	le64 off;
	le64 len;
	le64 src;                  /* inode */
	le64 src_off;
	le64 size;                 /* of ino, from then on */
};
_Static_assert(sizeof(struct ply_disk_redo_copy) == 48, "redo copy");

struct ply_disk_redo_dead {        /* 8 bytes */
	le64 ino;
};
_Static_assert(sizeof(struct ply_disk_redo_dead) == 8, "redo dead");

/* --- checkpoint ------------------------------------------------------------------------- */

enum ply_redo_table {
	PLY_REDO_T_INODES, PLY_REDO_T_ENTRIES, PLY_REDO_T_XATTRS, PLY_REDO_T_EXTENTS, PLY_REDO_T_SUMS, PLY_REDO_T_HEAP,
	PLY_REDO_TABLES
};

struct ply_disk_redo_ckpt {        /* 152 bytes, then the tables, one behind the other, each at a multiple of 8 */
	uint8_t magic[8];          /* +0x00 */
	uint8_t uuid[16];          /* +0x08 of the log */
	le64 lsn;                  /* +0x18 all records below are in it */
	le64 next_index;           /* +0x20 of inodes */
	le64 next_cookie;          /* +0x28 */
	struct {
		le64 off;          /* from the begin of the checkpoint */
		le64 count;        /* rows; HEAP: bytes */
	} tables[PLY_REDO_TABLES]; /* +0x30 */
	uint8_t zero[8];           /* +0x90 */
};
_Static_assert(sizeof(struct ply_disk_redo_ckpt) == 152, "redo checkpoint");

#define PLY_REDO_I_DEAD 1u
struct ply_disk_redo_inode {       /* 136 bytes; sorted by ino */
	le64 ino;
	le32 mask;                 /* attributes that are set */
	le32 flags;                /* PLY_REDO_I_* */
	le64 size;
	le64 below_end;            /* what is below shows up to here */
	le64 target;               /* of a symlink that was made here: HEAP offset */
	le32 target_len;
	le32 zero;
	struct ply_disk_redo_attr attr;
};
_Static_assert(sizeof(struct ply_disk_redo_inode) == 136, "redo inode");

struct ply_disk_redo_entry {       /* 40 bytes; sorted by dir, then name, bytewise */
	le64 dir;
	le64 ino;                  /* 0: not here, and hidden below */
	le64 cookie;
	le64 name;                 /* HEAP offset */
	uint8_t name_len;
	uint8_t type;
	uint8_t hides;             /* 1: an entry below is hidden */
	uint8_t zero[5];
};
_Static_assert(sizeof(struct ply_disk_redo_entry) == 40, "redo entry");

struct ply_disk_redo_xattr_row {   /* 32 bytes; sorted by ino, then name, bytewise */
	le64 ino;
	le64 name;                 /* HEAP offset; the value follows the name */
	le32 value_len;
	uint8_t name_len;
	uint8_t removed;           /* 1: not here, and hidden below */
	uint8_t zero[10];
};
_Static_assert(sizeof(struct ply_disk_redo_xattr_row) == 32, "redo xattr row");

enum ply_redo_content {
	PLY_REDO_C_LOG = 1,        /* at addr */
	PLY_REDO_C_HOLE = 2,
	PLY_REDO_C_BELOW = 3,      /* what lies below this log at addr of src */
};

struct ply_disk_redo_piece {       /* 48 bytes; sorted by ino, then off; disjoint */
	le64 ino;
	le64 off, len;
	le64 addr;
	le64 src;
	le32 kind;                 /* enum ply_redo_content */
	le32 zero;
};
_Static_assert(sizeof(struct ply_disk_redo_piece) == 48, "redo piece");

struct ply_disk_redo_sum {         /* 16 bytes; sorted by block */
	le64 block;                /* of the file: offset / 4096 */
	le64 xxh3;
};
_Static_assert(sizeof(struct ply_disk_redo_sum) == 16, "redo sum");

#endif
