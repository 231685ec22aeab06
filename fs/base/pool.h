/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pool of worker threads over one FIFO of jobs. The queue is bounded:
 * pool_add() waits while it is full, which is the only back-pressure.
 *
 * Ownership: a job is a caller's object, borrowed until its function returns.
 */
#ifndef PLYFS_BASE_POOL_H
#define PLYFS_BASE_POOL_H

#include <stddef.h>

struct pool;

/* @worker is 0 .. nthreads-1: an index for per-thread resources. */
typedef void (*pool_fn)(void *job, unsigned worker);

/* -ENOMEM, or the errno of pthread_create; @queue jobs may wait. */
int pool_new(unsigned nthreads, size_t queue, struct pool **ret);
/* Waits for all jobs. NULL in, NULL out. */
struct pool *pool_free(struct pool *pool);
void pool_add(struct pool *pool, pool_fn fn, void *job);
/* Wait until nothing is queued and nothing runs. */
void pool_drain(struct pool *pool);

/* Processors this process may use, at least 1. */
unsigned ncpus(void);

#endif
