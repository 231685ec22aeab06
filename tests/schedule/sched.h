/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A scheduler for the threads of this process, which decides where they hand over to one another: of those
 * that were started after sched_begin() and the one that called it, one runs at a time, and at each hook
 * a generator with a seed draws which goes on. So a seed is a schedule, and can be run again.
 *
 * Hooks are every call of handover() (base/handover.h), and every call that locks, unlocks, waits, signals, starts
 * or joins a thread, or makes a name: the linker leads those here (--wrap), wherever the product has them or will
 * have them. Between two hooks a thread runs undisturbed.
 */
#ifndef PLYFS_TESTS_SCHED_H
#define PLYFS_TESTS_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#define SCHED_THREADS 512u         /* of one schedule; more end the process */
#define SCHED_KINDS   32u          /* what hooks are called */
#define SCHED_PLACES  256u         /* calls in the product's code */

/* How the next thread is drawn: by the seed modulo SCHED_WAYS. */
enum sched_way {
	SCHED_EVEN,                /* all that can run are as likely */
	SCHED_SELDOM,              /* one change in sixteen hooks: what takes many steps of one thread */
	SCHED_RANKS,               /* the first by rank, which falls to the last at a few moments drawn before: each
	                            * bug that needs few changes is met with a probability that has a lower bound
	                            * (Burckhardt and others: A randomized scheduler with probabilistic guarantees of
	                            * finding bugs, ASPLOS 2010) */
	SCHED_WAYS
};

struct sched_result {
	uint64_t hash;             /* XXH3 of the schedule: for each hook the thread that came to it, and the place */
	uint64_t hooks, changes;   /* changes: after which another thread went on */
	uint32_t threads;
};

/* Counts of all schedules of this process. */
struct sched_seen {
	struct sched_kind {
		const char *what;
		uint64_t hooks;
	} kinds[SCHED_KINDS];
	uint64_t places[SCHED_PLACES];     /* offsets in the program; 0: no more */
};

/* @expect: about how many hooks there will be, for SCHED_RANKS. Ends the process where all threads wait. */
void sched_begin(uint64_t seed, uint64_t expect);
struct sched_result sched_end(void);

extern struct sched_seen sched_seen;

/* Names are made over what is there: O_EXCL is left off. Nobody can do that in the product. */
extern bool sched_without_excl;

#endif
