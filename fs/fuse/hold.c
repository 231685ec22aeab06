/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locking: `lock` is for going to sleep and being woken; what the threads that answer and the one that holds tell each
 * other are atomics without order, since nothing but speed depends on them.
 */
#include "hold.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/util.h"

#define ROW        8u              /* requests, each */
#define ROW_NS     100000          /* so soon behind the one before: it begins */
#define WINDOW_NS  1000000
#define WINDOW_MIN 4u              /* requests: with fewer in a window it ends */
#define GAP_NS     4000            /* between two looks at the clock: somebody else had the processor */
#define REST_NS    20000000

struct hold {
	const pthread_t *threads;
	unsigned nthreads;
	cpu_set_t allowed;
	int cpus[2];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	atomic_bool holds, stopping;
	_Atomic unsigned taken, row;       /* requests; of those, in a row */
	_Atomic int64_t last_ns, rest_until_ns;
	_Atomic int answering;             /* the processor of who asks and answers: 0 or 1 of cpus */
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Who answers to @answering, this thread to @other. Where a processor is not ours any more, the kernel leaves a thread where
 * it was. */
static void put(const struct hold *h, const cpu_set_t *answering, const cpu_set_t *other)
{
	for (unsigned i = 0; i < h->nthreads; i++)
		pthread_setaffinity_np(h->threads[i], sizeof(*answering), answering);
	pthread_setaffinity_np(pthread_self(), sizeof(*other), other);
}

static void share(const struct hold *h, int answering)
{
	cpu_set_t sides[2];

	for (int i = 0; i < 2; i++) {
		CPU_ZERO(&sides[i]);
		CPU_SET(h->cpus[i], &sides[i]);
	}
	put(h, &sides[answering], &sides[!answering]);
}

/* One window. Returns what others had of this processor meanwhile, nanoseconds. */
static int64_t one_window(const struct hold *h)
{
	int64_t begin = clock_ns(), before = begin, now = begin, stolen = 0;

	while (now - begin < WINDOW_NS && !atomic_load_explicit(&h->stopping, memory_order_relaxed)) {
		for (unsigned i = 0; i < 16; i++)
			relax();
		now = clock_ns();
		if (now - before > GAP_NS)
			stolen += now - before;
		before = now;
	}
	return stolen;
}

/*
 * Who was woken on this side, by a disk or by the clock, stays there, and all its requests go across: then the sides
 * change. Is somebody in the way on the other side, too, then both processors have work to do.
 */
static void occupy(struct hold *h)
{
	int answering = atomic_load_explicit(&h->answering, memory_order_relaxed);
	bool changed = false;
	unsigned before;

	share(h, answering);
	do {
		before = atomic_load_explicit(&h->taken, memory_order_relaxed);
		if (one_window(h) < WINDOW_NS / 2) {
			changed = false;
			continue;
		}
		if (changed) {
			atomic_store_explicit(&h->rest_until_ns, clock_ns() + REST_NS, memory_order_relaxed);
			break;
		}
		answering = !answering;
		share(h, answering);
		changed = true;
	} while (atomic_load_explicit(&h->taken, memory_order_relaxed) - before >= WINDOW_MIN);
	put(h, &h->allowed, &h->allowed);
}

static void *hold_main(void *arg)
{
	struct hold *h = arg;

	pthread_mutex_lock(&h->lock);
	while (!atomic_load(&h->stopping)) {
		if (!atomic_load(&h->holds)) {
			pthread_cond_wait(&h->wanted, &h->lock);
			continue;
		}
		pthread_mutex_unlock(&h->lock);
		occupy(h);
		pthread_mutex_lock(&h->lock);
		atomic_store_explicit(&h->row, 0, memory_order_relaxed);
		atomic_store(&h->holds, false);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static int find_cpus(struct hold *h)
{
	int n = 0;

	if (sched_getaffinity(0, sizeof(h->allowed), &h->allowed) < 0 || CPU_COUNT(&h->allowed) != 2)
		return 0;
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &h->allowed))
			h->cpus[n++] = i;
	return n;
}

int hold_new(const pthread_t *threads, unsigned n, struct hold **ret, struct ply_err *err)
{
	struct hold *h = calloc(1, sizeof(*h));
	int r;

	*ret = NULL;
	if (!h)
		return ply_fail_nomem(err);
	if (find_cpus(h) != 2) {
		free(h);
		return 0;
	}
	h->threads = threads;
	h->nthreads = n;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->wanted, NULL);
	r = pthread_create(&h->thread, NULL, hold_main, h);
	if (r) {
		hold_free(h);
		return ply_fail_sys(err, -r, "cannot start a thread");
	}
	*ret = h;
	return 0;
}

void hold_stop(struct hold *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	atomic_store(&h->stopping, true);
	pthread_cond_signal(&h->wanted);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
}

struct hold *hold_free(struct hold *h)
{
	if (!h)
		return NULL;
	pthread_cond_destroy(&h->wanted);
	pthread_mutex_destroy(&h->lock);
	free(h);
	return NULL;
}

void hold_request(struct hold *h)
{
	int64_t now, last;

	if (!h)
		return;
	atomic_fetch_add_explicit(&h->taken, 1, memory_order_relaxed);
	if (atomic_load_explicit(&h->holds, memory_order_relaxed))
		return;
	now = clock_ns();
	last = atomic_exchange_explicit(&h->last_ns, now, memory_order_relaxed);
	if (now - last > ROW_NS || now < atomic_load_explicit(&h->rest_until_ns, memory_order_relaxed)) {
		atomic_store_explicit(&h->row, 0, memory_order_relaxed);
		return;
	}
	if (atomic_fetch_add_explicit(&h->row, 1, memory_order_relaxed) != ROW)
		return;
	atomic_store_explicit(&h->answering, sched_getcpu() == h->cpus[1], memory_order_relaxed);
	pthread_mutex_lock(&h->lock);
	atomic_store(&h->holds, true);
	pthread_cond_signal(&h->wanted);
	pthread_mutex_unlock(&h->lock);
}
