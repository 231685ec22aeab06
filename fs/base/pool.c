/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Worker threads over one bounded ring. One mutex guards everything: jobs here
 * are tens of microseconds and up, so it is never the limit.
 *
 * Locking: every field of struct pool is under `lock` but threads and nthreads,
 * which are immutable after pool_new().
 */
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

struct item {
	pool_fn fn;
	void *job;
};

struct worker {
	struct pool *pool;
	pthread_t thread;
	unsigned index;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t not_empty, not_full, idle;
	struct item *ring;
	size_t cap, head, count;
	unsigned running;
	bool ending;
	struct worker *workers;
	unsigned nworkers;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct pool *p = w->pool;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct item it;

		while (!p->count && !p->ending)
			pthread_cond_wait(&p->not_empty, &p->lock);
		if (!p->count)
			break;
		it = p->ring[p->head];
		p->head = (p->head + 1) % p->cap;
		p->count--;
		p->running++;
		pthread_cond_signal(&p->not_full);
		pthread_mutex_unlock(&p->lock);

		it.fn(it.job, w->index);

		pthread_mutex_lock(&p->lock);
		p->running--;
		if (!p->running && !p->count)
			pthread_cond_broadcast(&p->idle);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int pool_new(unsigned nthreads, size_t queue, struct pool **ret)
{
	struct pool *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return -ENOMEM;
	p->cap = queue ? queue : 1;
	p->ring = calloc(p->cap, sizeof(*p->ring));
	p->workers = calloc(nthreads, sizeof(*p->workers));
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->not_empty, NULL);
	pthread_cond_init(&p->not_full, NULL);
	pthread_cond_init(&p->idle, NULL);
	if (!p->ring || !p->workers)
		r = -ENOMEM;
	for (unsigned i = 0; r == 0 && i < nthreads; i++) {
		p->workers[i] = (struct worker){ .pool = p, .index = i };
		r = -pthread_create(&p->workers[i].thread, NULL, work, &p->workers[i]);
		if (r == 0)
			p->nworkers++;
	}
	if (r < 0) {
		pool_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

struct pool *pool_free(struct pool *p)
{
	if (!p)
		return NULL;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->not_empty);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nworkers; i++)
		pthread_join(p->workers[i].thread, NULL);
	pthread_cond_destroy(&p->idle);
	pthread_cond_destroy(&p->not_full);
	pthread_cond_destroy(&p->not_empty);
	pthread_mutex_destroy(&p->lock);
	free(p->workers);
	free(p->ring);
	free(p);
	return NULL;
}

void pool_add(struct pool *p, pool_fn fn, void *job)
{
	pthread_mutex_lock(&p->lock);
	while (p->count == p->cap)
		pthread_cond_wait(&p->not_full, &p->lock);
	p->ring[(p->head + p->count) % p->cap] = (struct item){ fn, job };
	p->count++;
	pthread_cond_signal(&p->not_empty);
	pthread_mutex_unlock(&p->lock);
}

void pool_drain(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->count || p->running)
		pthread_cond_wait(&p->idle, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

unsigned ncpus(void)
{
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	return n > 0 ? (unsigned)n : 1;
}
