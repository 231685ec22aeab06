/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk for logs, in memory: it can note every write, sync and punch, be full, fail, and come back as a crash would
 * leave it.
 */
#ifndef PLYFS_TESTS_REDO_DISK_H
#define PLYFS_TESTS_REDO_DISK_H

#include <pthread.h>

#include "redo/redo.h"

struct redo_disk_op {
	enum { DISK_WRITE, DISK_SYNC, DISK_PUNCH } what;
	uint64_t off, len;
	uint8_t *data;             /* of a write */
};

struct redo_disk {
	uint8_t *bytes;
	size_t size, cap;
	pthread_mutex_t lock;
	bool recording;
	struct redo_disk_op *ops;
	size_t nops, ops_cap;
	uint64_t full_at;          /* bytes from here on cannot be written; 0: it is never full */
	uint64_t room;             /* blocks that it has for what is written or set aside, and not punched; 0: any number */
	uint8_t *held;             /* which ones; */
	uint64_t nheld, held_cap;  /* how many of them */
	bool cannot_reserve;
	long fail_at;              /* the n-th call from now fails with -EIO, as do all behind it; 0: none */
	bool fail_once;            /* only that one */
	bool read_only;
	unsigned sync_us;          /* how long a sync takes */
	void (*at_sync)(void *ctx);        /* called when one begins */
	void *at_sync_ctx;
	uint64_t syncs, writes, reads;
};

void redo_disk_init(struct redo_disk *d);
void redo_disk_done(struct redo_disk *d);
void redo_disk_copy(struct redo_disk *to, const struct redo_disk *from);   /* bytes only, into an initialised one */
/* What a log is opened with; it goes when that is closed, the disk stays. */
struct redo_store *redo_disk_store(struct redo_disk *d);
void redo_disk_forget(struct redo_disk *d);            /* what was noted */
/* Do @op, or the first @len bytes of it, to @d. */
void redo_disk_play(struct redo_disk *d, const struct redo_disk_op *op, uint64_t from, uint64_t len);

#endif
