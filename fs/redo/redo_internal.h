/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of fs/redo/ share of an open log. */
#ifndef PLYFS_REDO_INTERNAL_H
#define PLYFS_REDO_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "redo/index.h"
#include "redo/redo_format.h"
#include "redo/space.h"

#define NO_SEGMENT PLY_REDO_SEGMENTS_MAX

struct data_tail {                 /* where data goes next */
	uint32_t seg;              /* NO_SEGMENT: none yet */
	uint32_t next;             /* block */
};

struct redo {
	struct redo_store *store;
	struct redo_binding binding;       /* immutable after open */
	void *binding_memory;
	bool writable;             /* immutable after open, as the next two */
	uint8_t uuid[16];
	uint32_t epoch;            /* of what is written */

	/* Lock order: super_lock, change_lock, lock. flush_lock is taken with none of them held. */
	pthread_mutex_t change_lock;       /* who will change what lock guards: redo_lock() */
	pthread_rwlock_t lock;     /* index, space, tail */
	struct index index;
	struct space space;
	uint32_t meta_seg;         /* the last segment of records, */
	uint32_t meta_pos;         /* where the next one goes in it, */
	uint64_t meta_seq;
	uint64_t tail;             /* and its LSN */
	uint64_t last;             /* behind the last operation */
	uint64_t moved;            /* bytes that were copied by cleaning */
	struct redo_record rec;    /* which is appended: its memory is used again */
	struct data_tail data;     /* what is written; */
	struct data_tail cold;     /* what cleaning copies: apart, since it will stay for longer */
	uint64_t said_durable;     /* in a commit record */
	uint64_t replay_lsn, ckpt_len;     /* of the last checkpoint */
	bool gave_up;              /* one failed behind it: when there were */
	uint64_t gave_up_tail, gave_up_dead;

	pthread_mutex_t flush_lock;
	pthread_cond_t flushed;
	bool flushing;
	uint64_t durable;          /* all records below are on the disk */
	uint64_t commits, flushes;
	uint64_t flush_ns, flush_max_ns;

	pthread_mutex_t super_lock;        /* one checkpoint or superblock at a time */
	struct redo_super super;
	uint32_t super_slot;       /* which one holds it for sure */
	uint32_t ckpt_first, ckpt_n;       /* its segments */

	pthread_mutex_t sync_lock; /* of redo_sync() alone, with no other one taken in it */
	atomic_int failed;         /* -errno of what failed; 0: nothing */
	atomic_bool may_clean;
	atomic_uint_fast64_t next_index;
	atomic_uint_fast64_t generation;   /* of the superblock, for who must not wait for super_lock */
	struct redo_info info;     /* what was found at opening; immutable then */
};

/* Nothing more is taken. Returns -EIO. */
int redo_fail(struct redo *log, int code, const char *what, struct ply_err *err);
/*
 * Sync the store; -errno, and then nothing more is taken. One at a time: the kernel tells an error of writing once for
 * a descriptor, so who hears of it has to stop the others before they believe that all is on the disk.
 */
int redo_sync(struct redo *log);
/* 0, or why nothing can be written: REDO_READ_ONLY, REDO_FAILED. */
int redo_check_writable(struct redo *log, struct ply_err *err);
/* Of a failing store: REDO_FULL, else SYSTEM. */
int redo_store_fail(struct redo *log, int code, const char *what, struct ply_err *err);

/* To change index, space or tail. Who only keeps others from changing them holds change_lock, and readers go on. */
static inline void redo_lock(struct redo *log)
{
	pthread_mutex_lock(&log->change_lock);
	pthread_rwlock_wrlock(&log->lock);
}
static inline void redo_unlock(struct redo *log)
{
	pthread_rwlock_unlock(&log->lock);
	pthread_mutex_unlock(&log->change_lock);
}

void redo_unpin(struct redo_op *op);
void redo_unpin_locked(struct redo_op *op);
/* Blocks of @tail for as much of [off, off + len) as fits in one segment, at *ret_addr; @op pins them. */
int redo_reserve_locked(struct redo *log, struct data_tail *tail, struct redo_op *op, uint64_t off, size_t len,
			uint64_t *ret_addr, size_t *ret_len, struct ply_err *err);

/* With the lock held for writing: go on in a new segment that has room for a record of @len bytes. */
int redo_next_segment_locked(struct redo *log, uint32_t len, struct ply_err *err);
/* One that the log writes for itself, and for which there is room. */
int redo_write_record_locked(struct redo *log, struct redo_op *op, struct ply_err *err);
/* Write the head of @seg, which has the records from the tail on. */
int redo_begin_segment_locked(struct redo *log, uint32_t seg, uint64_t seq, struct ply_err *err);

/* With super_lock held: write @s as the next generation to both slots, the one that is not sure first. An error is
 * the log's end. */
int redo_write_super(struct redo *log, struct redo_super *s, struct ply_err *err);
/* Sync, and note what is durable. */
int redo_flush(struct redo *log, struct ply_err *err);

/* Find out what is there: index, space, tail, info. */
int redo_recover(struct redo *log, struct ply_err *err);
/* What the superblock's checkpoint says, into an index that is empty. */
int redo_load_checkpoint(struct redo *log, uint64_t file_size, struct ply_err *err);

/* Cleaning, within a checkpoint, with super_lock held: copies are made, then they take the place of what was copied. */
struct cleaned {                   /* a segment */
	uint32_t seg, used;
	bool failed;               /* it stays: this time; */
	bool damaged;              /* for good; */
	bool full;                 /* as all others, since there is no room */
	uint64_t *to, *sums;       /* of each block; to 0: it is dead, or its copy is in use */
};
#define REDO_CLEAN_MAX 16384u      /* blocks that one checkpoint copies: 64 MiB */
struct clean {
	struct redo_op pins;
	struct cleaned *v;         /* ascending */
	size_t n, cap;
};
void redo_clean_begin(struct redo *log, struct clean *c);      /* @c: zeros */
void redo_clean_apply_locked(struct redo *log, struct clean *c);
/* Copies that nobody refers to. Before anything else is given back. */
void redo_clean_drop(struct redo *log, struct clean *c);
void redo_clean_done(struct clean *c);

/* Is what lies at @addr as its checksums say? -EBADMSG (REDO_DATA). */
int redo_check_data(struct redo *log, uint64_t addr, uint64_t len, const le64 *sums, struct ply_err *err);

#endif
