/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Findings that wait for their turn, and jobs that run on a pool and are taken back in order: so
 * that what is reported depends on the image alone.
 */
#ifndef PLYFS_OPS_FINDINGS_H
#define PLYFS_OPS_FINDINGS_H

#include <pthread.h>

#include "base/pool.h"
#include "ops/verify.h"

/* Rows (of heaps: bytes; of DATA: blocks) of a section that a finding is about: what the files
 * concerned are found by. */
struct concern {
	uint32_t section;          /* 0: none */
	uint64_t first, end;
};

struct held {
	enum ply_reason reason;
	const char *sub;           /* borrowed */
	uint64_t off, len;
	char *message;
	char *paths[FINDING_PATHS];
	size_t npaths;
	uint64_t all_paths;
	char *field, *expected, *found;
	struct concern concern;
};

struct findings {
	struct held *v;
	size_t n, cap;
	bool failed;               /* memory was short: the list is not complete */
};

void findings_done(struct findings *l);
/* A row to fill in further, valid until the next call; NULL: no memory (and l->failed). */
struct held *findings_add(struct findings *l, enum ply_reason reason, const char *sub,
			  uint64_t off, uint64_t len, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));
/* @path is consumed; NULL (no memory) is allowed. */
void held_path(struct held *h, char *path);
/* All of @from behind @l; @from is empty then. */
void findings_move(struct findings *l, struct findings *from);
/* Report all, which empties @l. -ENOMEM where it was not complete. */
int findings_report(struct findings *l, finding_fn fn, void *ctx, uint64_t *count,
		    struct ply_err *err);

/*
 * Jobs taken back in the order in which they were added. `run` is called on a thread of the pool,
 * `retire` on the thread that adds: it frees the job.
 */
struct ordered;
struct ordered_job {
	void (*run)(struct ordered_job *job, unsigned worker);
	void (*retire)(struct ordered_job *job);
	struct ordered *owner;     /* set by ordered_add() */
	bool done;                 /* owner->lock */
};

struct ordered {
	struct pool *pool;         /* borrowed */
	pthread_mutex_t lock;      /* done of all jobs */
	pthread_cond_t job_done;
	struct ordered_job **ring;
	size_t depth, head, n;
};

int ordered_init(struct ordered *o, struct pool *pool, size_t depth);   /* -ENOMEM */
void ordered_done(struct ordered *o);
/* Waits for the oldest where @depth are under way. */
void ordered_add(struct ordered *o, struct ordered_job *job);
/* Take all back. */
void ordered_drain(struct ordered *o);

#endif
