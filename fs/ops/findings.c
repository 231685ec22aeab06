/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See findings.h. A job writes its findings to a list of its own, which nobody else sees
 * until the job is taken back; so lists need no lock.
 */
#include "ops/findings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static void held_done(struct held *h)
{
	for (size_t i = 0; i < h->npaths; i++)
		free(h->paths[i]);
	free(h->message);
	free(h->field);
	free(h->expected);
	free(h->found);
}

void findings_done(struct findings *l)
{
	for (size_t i = 0; i < l->n; i++)
		held_done(&l->v[i]);
	free(l->v);
	*l = (struct findings){ 0 };
}

struct held *findings_add(struct findings *l, enum ply_reason reason, const char *sub, uint64_t off,
			  uint64_t len, const char *fmt, ...)
{
	struct held *h;
	va_list ap;
	int n;

	if (array_grow(&l->v, &l->cap, l->n + 1, sizeof(*l->v)) < 0) {
		l->failed = true;
		return NULL;
	}
	h = &l->v[l->n];
	*h = (struct held){ .reason = reason, .sub = sub, .off = off, .len = len };
	va_start(ap, fmt);
	n = vasprintf(&h->message, fmt, ap);
	va_end(ap);
	if (n < 0) {
		l->failed = true;
		return NULL;
	}
	l->n++;
	return h;
}

void held_path(struct held *h, char *path)
{
	h->all_paths++;
	if (path && h->npaths < FINDING_PATHS)
		h->paths[h->npaths++] = path;
	else
		free(path);
}

void findings_move(struct findings *l, struct findings *from)
{
	l->failed |= from->failed;
	if (from->n && array_grow(&l->v, &l->cap, l->n + from->n, sizeof(*l->v)) < 0) {
		l->failed = true;
		findings_done(from);
		return;
	}
	if (from->n)
		memcpy(l->v + l->n, from->v, from->n * sizeof(*l->v));
	l->n += from->n;
	free(from->v);
	*from = (struct findings){ 0 };
}

int findings_report(struct findings *l, finding_fn fn, void *ctx, uint64_t *count, struct ply_err *err)
{
	bool failed = l->failed;

	for (size_t i = 0; i < l->n; i++) {
		const struct held *h = &l->v[i];
		struct finding f = {
			.reason = h->reason, .sub = h->sub, .message = h->message, .off = h->off,
			.len = h->len, .paths = (const char *const *)h->paths, .npaths = h->npaths,
			.all_paths = h->all_paths, .field = h->field, .expected = h->expected,
			.found = h->found,
		};

		fn(ctx, &f);
	}
	*count += l->n;
	findings_done(l);
	return failed ? ply_fail_nomem(err) : 0;
}

/* --- jobs in order ------------------------------------------------------------------ */

int ordered_init(struct ordered *o, struct pool *pool, size_t depth)
{
	*o = (struct ordered){ .pool = pool, .depth = depth };
	o->ring = calloc(depth, sizeof(*o->ring));
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->job_done, NULL);
	return o->ring ? 0 : -ENOMEM;
}

void ordered_done(struct ordered *o)
{
	ordered_drain(o);
	free(o->ring);
	pthread_cond_destroy(&o->job_done);
	pthread_mutex_destroy(&o->lock);
}

static void run(void *arg, unsigned worker)
{
	struct ordered_job *job = arg;
	struct ordered *o = job->owner;

	job->run(job, worker);
	pthread_mutex_lock(&o->lock);
	job->done = true;
	pthread_cond_signal(&o->job_done);
	pthread_mutex_unlock(&o->lock);
}

static void retire_oldest(struct ordered *o)
{
	struct ordered_job *job = o->ring[o->head];

	pthread_mutex_lock(&o->lock);
	while (!job->done)
		pthread_cond_wait(&o->job_done, &o->lock);
	pthread_mutex_unlock(&o->lock);
	o->head = (o->head + 1) % o->depth;
	o->n--;
	job->retire(job);
}

void ordered_add(struct ordered *o, struct ordered_job *job)
{
	if (o->n == o->depth)
		retire_oldest(o);
	job->owner = o;
	job->done = false;
	o->ring[(o->head + o->n++) % o->depth] = job;
	pool_add(o->pool, run, job);
}

void ordered_drain(struct ordered *o)
{
	while (o->n)
		retire_oldest(o);
}
