/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes <-> structs of a log: superblock, binding, heads of segments, records and their changes. Pure: no I/O, so all
 * of it can be run over any byte array. Fields are copied out, then checked, then used.
 */
#ifndef PLYFS_REDO_FORMAT_H
#define PLYFS_REDO_FORMAT_H

#include "format/text.h"
#include "redo/redo.h"

#define REDO_COMPAT_KNOWN    0ULL
#define REDO_RO_COMPAT_KNOWN 0ULL
#define REDO_INCOMPAT_KNOWN  0ULL

struct redo_super {
	uint64_t compat, ro_compat, incompat;
	uint8_t uuid[16];
	uint64_t generation;
	uint8_t parent_uuid[16], parent_digest[32];
	uint64_t parent_generation;
	uint32_t number;
	uint32_t state;
	int64_t created_sec;
	uint64_t binding_off, binding_len;
	uint8_t binding_digest[32];
	uint64_t segments_off;
	uint32_t epoch, replay_segment;
	uint64_t epoch_lsn, durable_lsn, replay_lsn, replay_seq;
	uint64_t ckpt_off, ckpt_len, ckpt_xxh3;
	uint64_t requests_lsn;
};

void redo_super_encode(const struct redo_super *s, uint32_t slot, uint8_t out[PLY_SUPER_SIZE]);
/* REDO_NOT_REDO, REDO_SUPER, REDO_FEATURE. */
int redo_super_decode(const uint8_t in[PLY_SUPER_SIZE], uint32_t slot, struct redo_super *ret, struct ply_err *err);
void redo_super_to_text(struct text *t, uint32_t slot, const struct redo_super *s);

int redo_binding_encode(const struct redo_binding *b, struct buf *out);    /* -ENOMEM; -EINVAL: it is none */
/* Names, decisions and path of @ret point into memory that *ret_memory owns (free). */
int redo_binding_decode(const uint8_t *in, size_t len, const struct redo_super *s, struct redo_binding *ret,
			void **ret_memory, struct ply_err *err);

/* Where segment @i begins, from the first on, and how long it is: two of each size from 64 KiB to 2 MiB, then 4 MiB. */
uint64_t redo_segment_off(uint32_t i);
uint32_t redo_segment_size(uint32_t i);
/* Which one has byte @off (from the first on); PLY_REDO_SEGMENTS_MAX: none. */
uint32_t redo_segment_at(uint64_t off);

/* Of checksums of records and heads of segments: those of another log or epoch are not taken for one's own. */
uint64_t redo_seed(const uint8_t uuid[16], uint32_t epoch);

struct redo_head {
	uint32_t segment, epoch;
	uint64_t seq, lsn;
};
void redo_head_encode(const struct redo_head *h, const uint8_t uuid[16], struct ply_disk_redo_segment *out);
bool redo_head_decode(const struct ply_disk_redo_segment *in, const uint8_t uuid[16], struct redo_head *ret);

/* One change of a record. Which fields count depends on its type. Pointers go into the record. */
struct redo_change {
	const struct redo_change_type *type;
	uint64_t ino;              /* ADD, REMOVE: the directory */
	uint64_t child;            /* ADD */
	uint64_t cookie;
	uint8_t dtype;
	bool hides;
	uint32_t mask;
	struct redo_attr attr;
	const char *name;          /* also the target of a symlink */
	size_t name_len;
	const void *value;
	size_t value_len;          /* REQUESTS: how many */
	uint64_t off, len, addr, size;     /* COMMIT: addr is what is durable; NEXT: the segment */
	uint64_t src, src_off;
	const le64 *sums;          /* EXTENT: of each block */
	uint32_t nsums;
};

struct index;

/* A row for each type: nothing can be in a log that is not checked, replayed and shown. */
struct redo_change_type {
	uint16_t number;
	bool alone;                /* in its record */
	const char *name;
	/* The bytes behind the change's header: -EUCLEAN (REDO_RECORD). */
	int (*validate)(const uint8_t *at, size_t len, uint16_t flags, struct redo_change *ret, struct ply_err *err);
	/* Can it be, after the changes @first to @c - 1 of its record? -EINVAL (REDO_CHANGE). NULL: always. */
	int (*check)(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		     struct ply_err *err);
	int (*replay)(struct index *ix, const struct redo_change *c);          /* -ENOMEM; NULL: nothing to do */
	void (*describe)(struct text *t, const struct redo_change *c);
};
const struct redo_change_type *redo_change_type(unsigned number);          /* NULL: unknown */

struct redo_record {
	uint32_t len, epoch;
	uint64_t lsn, request;
	struct redo_change *changes;       /* redo_record_done() */
	uint32_t nchanges;
	size_t cap;                /* of changes */
};

/* How many bytes the record at @in has that stands at @lsn of a log, in an epoch from @epoch_min to @epoch_max; 0:
 * there is none, or it is torn. Its changes are not looked at. */
uint32_t redo_record_peek(const uint8_t *in, size_t left, const uint8_t uuid[16], uint64_t lsn, uint32_t epoch_min,
			  uint32_t epoch_max);
/* @len: what redo_record_peek() gave. @r: zeros, or a record that was decoded before, whose memory is used again.
 * -EUCLEAN (REDO_RECORD), -ENOMEM: it is still to be done with redo_record_done(). */
int redo_record_decode(const uint8_t *in, uint32_t len, struct redo_record *r, struct ply_err *err);
void redo_record_done(struct redo_record *r);
#define _cleanup_redo_record_ __attribute__((cleanup(redo_record_done)))
/* Put the head of a record before changes that stand at @in + 40. */
void redo_record_seal(uint8_t *in, uint32_t len, uint32_t nchanges, uint64_t request, const uint8_t uuid[16],
		      uint32_t epoch, uint64_t lsn);
/* Its head, and its change @i. */
void redo_record_to_text(struct text *t, const struct redo_record *r);
void redo_change_to_text(struct text *t, uint32_t i, const struct redo_change *c);

/* Each record of a log that is open to be read, from the last checkpoint on, in order, with its place in the store.
 * Non-zero from @fn ends it, and is returned; -EIO where records change meanwhile. */
typedef int (*redo_record_fn)(void *ctx, const struct redo_record *r, uint64_t off);
int redo_records(struct redo *log, redo_record_fn fn, void *ctx, struct ply_err *err);

void redo_attr_encode(const struct redo_attr *a, uint32_t mask, struct ply_disk_redo_attr *out);
/* False: a time or mode that there is not, or something that @mask does not have. */
bool redo_attr_decode(const struct ply_disk_redo_attr *in, uint32_t mask, struct redo_attr *ret);

/* Changes that the log writes for itself. */
void redo_op_commit(struct redo_op *op, uint64_t durable, int64_t time_sec);
void redo_op_next(struct redo_op *op, uint32_t segment);
void redo_op_requests(struct redo_op *op, const le64 *requests, uint32_t n);
/* @addr: where the data lies; of its blocks @sums. */
void redo_op_extent(struct redo_op *op, uint64_t ino, uint64_t off, uint64_t len, uint64_t addr, uint64_t size,
		    const le64 *sums, uint32_t nsums);
/* Number the entries that @op adds, from *cookie on, which is what comes after; @number: of the log. */
void redo_op_cookies(struct redo_op *op, uint32_t number, uint64_t *cookie);

#define REDO_RECORD_HEAD sizeof(struct ply_disk_redo_record)
#define REDO_NEXT_LEN (REDO_RECORD_HEAD + sizeof(struct ply_disk_redo_change) + sizeof(struct ply_disk_redo_next))

static inline uint32_t redo_blocks(uint64_t off, uint64_t len)
{
	return (uint32_t)((off % PLY_REDO_BLOCK + len + PLY_REDO_BLOCK - 1) / PLY_REDO_BLOCK);
}

#endif
