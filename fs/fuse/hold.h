/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two processors: while requests come one after the other, the one that asks and the one that answers share a
 * processor, and the other one is kept from being idle.
 *
 * To wake a thread on an idle processor takes much longer than most answers: on a virtual machine some 20 us, of 24
 * that a request takes, against 4 where both run on one processor. But the scheduler wakes whoever it can on an idle
 * one, each time. So a thread occupies it, for as long as enough requests come (measured on two virtual processors: a
 * cold find in 0.10 s instead of 0.20 s, an untar of 4,000 small files in 0.4 s instead of 1.1 s; where both
 * processors have work to do nothing is lost, since the thread sees that it is in the way, and rests).
 *
 * With more processors there is always an idle one: there serve.c looks for the next request instead. Rejected: real
 * time priority, and the idle class, which the scheduler takes for idle; a low priority, for which what is woken is
 * put beside this thread, and away from who answers.
 */
#ifndef PLYFS_FUSE_HOLD_H
#define PLYFS_FUSE_HOLD_H

#include <pthread.h>

#include "plyfs/error.h"

struct hold;

/* For the @n threads that answer (borrowed). *ret is NULL where there are not two processors. */
int hold_new(const pthread_t *threads, unsigned n, struct hold **ret, struct ply_err *err);
/* While those are still running; NULL is fine. */
void hold_stop(struct hold *h);
/* Stopped, and none of them is running any more. NULL in, NULL out. */
struct hold *hold_free(struct hold *h);

/* By a thread that has just taken a request. Does not block. @h may be NULL. */
void hold_request(struct hold *h);

#endif
