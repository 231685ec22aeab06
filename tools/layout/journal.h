/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a layout's state: its journal and its plan as data. Pure: bytes in, structs out, and back; the files are
 * state.c's. fs/format/FORMAT.md, "State of a layout", is normative.
 */
#ifndef PLYFS_LAYOUT_JOURNAL_H
#define PLYFS_LAYOUT_JOURNAL_H

#include "base/buf.h"
#include "layout/layout.h"
#include "layout/limits.h"
#include "plyfs/disk.h"

/* --- the journal ---------------------------------------------------------------------- */

#define JOURNAL_RECORD 64u         /* bytes of each: none crosses a sector */
#define JOURNAL_MAX    (1u << 20)

enum journal_type {
	JOURNAL_BEGIN = 1,         /* with the digest of the plan; the first, and only there */
	JOURNAL_PHASE_BEGUN,
	JOURNAL_PHASE_COMMITTED,
	JOURNAL_COMPLETE,
	JOURNAL_ABORTING,          /* names are being taken out: nothing but that goes on from here */
	JOURNAL_REDUCING,          /* with the digest of another plan: some components are being taken out, the rest stays */
	JOURNAL_REDUCED,           /* they are; that plan is the one from here on, with what it had of phases up to `os` */
	JOURNAL_APPLIED,           /* of a change: all of it is done. There it stands for phases and JOURNAL_COMPLETE */
};

struct ply_disk_journal_record {
	le32 length;               /* +0x00 64 */
	le32 type;                 /* +0x04 enum journal_type */
	le64 seq;                  /* +0x08 from 0 */
	union {                    /* +0x10 */
		uint8_t digest[32];    /* of JOURNAL_BEGIN, JOURNAL_REDUCING */
		le32 phase;            /* of JOURNAL_PHASE_*; the rest is zero */
	} u;
	le64 xxh3;                 /* +0x30 of the 48 bytes before */
	uint8_t zero[7];           /* +0x38 */
	uint8_t end;               /* +0x3f '\n': zero where the write was torn */
};
_Static_assert(sizeof(struct ply_disk_journal_record) == JOURNAL_RECORD, "journal record");

/* What a journal tells. */
struct journal {
	uint8_t digest[32];        /* of the plan */
	uint32_t begun, committed; /* bits 1 << enum layout_phase */
	bool started;              /* it has JOURNAL_BEGIN */
	bool complete, aborting;
	bool reducing;
	uint8_t reduced[32];       /* the plan's digest when that is done */
	uint64_t nrecords;
	size_t len;                /* bytes of whole records: what is behind them was torn */
};

/* @digest: 32 bytes of JOURNAL_BEGIN, JOURNAL_REDUCING, else NULL. */
void journal_encode(enum journal_type type, uint64_t seq, uint32_t phase, const uint8_t *digest,
		    uint8_t out[JOURNAL_RECORD]);
/* A last record that is not all there is cut off; all else that is wrong is -EBADMSG or -EUCLEAN, STATE_DAMAGED. */
int journal_parse(const uint8_t *bytes, size_t len, struct journal *ret, struct ply_err *err);

static inline bool journal_has(uint32_t phases, enum layout_phase phase)
{
	return phases >> phase & 1;
}

/* --- the plan ------------------------------------------------------------------------------ */

#define SAVED_MAX (64u << 20)
#define SAVED_MAGIC "PLYPLAN\n"

enum {
	SAVED_LOSSY = 1,
	SAVED_ALLOW_PARTIAL = 2,
	SAVED_MAP_OWNER = 4,
	SAVED_CREATES_MODE = 8,
	SAVED_FLAGS = 15,
};

struct ply_disk_layout_plan {
	uint8_t magic[8];          /* +0x00 */
	le32 version;              /* +0x08 1 */
	le32 flags;                /* +0x0c SAVED_* */
	le64 length;               /* +0x10 of the whole file */
	uint8_t digest[32];        /* +0x18 of all phases, batches and operations */
	uint8_t uuid[16];          /* +0x38 of the image */
	uint8_t catalog[32];       /* +0x48 */
	le64 generation;           /* +0x68 */
	le32 uid, gid;             /* +0x70 who lays out */
	le32 map_uid, map_gid;     /* +0x78 of SAVED_MAP_OWNER */
	le64 lacks;                /* +0x80 bits by the order of LAYOUT_FIELDS */
	le64 time_min, time_max;   /* +0x88 seconds, signed */
	le64 file_size;            /* +0x98 */
	le64 symlink_len;          /* +0xa0 */
	le64 name_len;             /* +0xa8 */
	le64 links;                /* +0xb0 */
	le32 time_step_ns;         /* +0xb8 */
	le32 new_uid, new_gid;     /* +0xbc what a new file gets */
	le32 root_mode;            /* +0xc4 */
	le32 root_uid, root_gid;   /* +0xc8 */
	le64 root_atime, root_mtime;       /* +0xd0 */
	le32 root_atime_ns, root_mtime_ns; /* +0xe0 */
	le32 nnames;               /* +0xe8 */
	le32 ndecisions;           /* +0xec */
	le32 nowners;              /* +0xf0 */
	le32 image_len, names_len; /* +0xf4 */
	le32 acl_len[2];           /* +0xfc access, default */
	le32 zero;                 /* +0x104 */
};
_Static_assert(sizeof(struct ply_disk_layout_plan) == 0x108, "layout plan");

struct ply_disk_saved_decision {
	le64 a, b;
	le32 rule;
	le32 driver;
};
_Static_assert(sizeof(struct ply_disk_saved_decision) == 24, "saved decision");

struct ply_disk_saved_owner {
	le32 sub, row;
	le32 uid, gid;
};
_Static_assert(sizeof(struct ply_disk_saved_owner) == 16, "saved owner");

/* Owner @row of sub-image @sub (as in view_sub_at()) becomes uid:gid. */
struct saved_owner {
	uint32_t sub, row, uid, gid;
};

struct saved {
	uint8_t digest[32], uuid[16], catalog[32];
	uint64_t generation;
	bool lossy, allow_partial, map_owner;
	uint32_t map_uid, map_gid;
	uint32_t uid, gid;
	struct limits limits;
	uint32_t root_mode, root_uid, root_gid;
	struct timespec root_times[2];     /* access, modification */
	char *image;               /* its path, for people */
	char *names;               /* of the selection, each with a NUL */
	size_t names_len;
	uint32_t nnames;
	struct ply_decision *decisions;
	uint32_t ndecisions;
	struct saved_owner *owners;
	uint32_t nowners;
	uint8_t *acl[2];           /* of the target, access and default; NULL: none */
	uint32_t acl_len[2];
};

int saved_encode(const struct saved *s, struct buf *out);   /* -ENOMEM */
/* STATE_DAMAGED. All arrays are the caller's, by saved_done(). */
int saved_decode(const uint8_t *bytes, size_t len, struct saved *ret, struct ply_err *err);
void saved_done(struct saved *s);
/* Call with NULL first: the names one after the other; NULL behind the last. */
const char *saved_name(const struct saved *s, const char *before);

#endif
