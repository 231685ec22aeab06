/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See timeline.h. One lock for all threads: a batch takes a millisecond or more, and noting it a fraction of a
 * microsecond. A thread's spans are in the order of time, and do not overlap.
 */
#include "layout/timeline.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define GRAIN_NS 1000000           /* the first grain: 1 ms */

int timeline_new(struct timeline **ret)
{
	struct timeline *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	t->start_ns = clock_ns();
	*ret = t;
	return 0;
}

static void free_streams(struct timeline *t)
{
	for (size_t i = 0; i < t->nstreams; i++)
		free(t->streams[i].name);
	free(t->streams);
	t->streams = NULL;
	t->nstreams = 0;
}

struct timeline *timeline_free(struct timeline *t)
{
	if (!t)
		return NULL;
	free_streams(t);
	for (size_t i = 0; i < t->nphases; i++)
		free(t->phases[i].of);
	for (unsigned i = 0; i < TIMELINE_THREADS; i++)
		free(t->threads[i].spans);
	pthread_mutex_destroy(&t->lock);
	free(t);
	return NULL;
}

int64_t timeline_now(const struct timeline *t)
{
	return t ? clock_ns() - t->start_ns : 0;
}

void timeline_end(struct timeline *t)
{
	if (t)
		t->end_ns = timeline_now(t);
}

int timeline_streams(struct timeline *t, size_t n)
{
	if (!t)
		return 0;
	free_streams(t);
	t->streams = calloc(MAX(n, (size_t)1), sizeof(*t->streams));
	if (!t->streams)
		return -ENOMEM;
	t->nstreams = n;
	return 0;
}

int timeline_name(struct timeline *t, size_t stream, const char *name, const char *phase, uint64_t bytes,
		  uint64_t files)
{
	struct timeline_stream *s;

	if (!t)
		return 0;
	s = &t->streams[stream];
	s->name = strdup(name);
	s->phase = phase;
	s->total_bytes = bytes;
	s->total_files = files;
	return s->name ? 0 : -ENOMEM;
}

void timeline_plan(struct timeline *t, size_t stream, uint64_t bytes, uint64_t files)
{
	if (!t || stream >= t->nstreams)
		return;
	t->streams[stream].total_bytes = bytes;
	t->streams[stream].total_files = files;
}

void timeline_phase_of(struct timeline *t, const char *name, const char *of, int64_t begin_ns)
{
	if (t && t->nphases < TIMELINE_PHASES)
		t->phases[t->nphases++] = (struct timeline_phase){ name, of ? strdup(of) : NULL, begin_ns, timeline_now(t) };
}

void timeline_phase(struct timeline *t, const char *name, int64_t begin_ns)
{
	timeline_phase_of(t, name, NULL, begin_ns);
}

/* --- spans ---------------------------------------------------------------------------- */

static void take_in(struct timeline_span *to, const struct timeline_span *from)
{
	if (to->stream != from->stream)
		to->stream = TIMELINE_SEVERAL;
	to->end_ns = MAX(to->end_ns, from->end_ns);
	to->bytes += from->bytes;
	to->names += from->names;
	to->batches += from->batches;
}

/* Spans of one stream become one, as long as that is no longer than @grain. */
static void coarsen(struct timeline_thread *th, int64_t grain)
{
	size_t n = 0;

	for (size_t i = 1; i < th->n; i++) {
		struct timeline_span *last = &th->spans[n], *s = &th->spans[i];

		if (s->stream == last->stream && s->end_ns - last->begin_ns <= grain)
			take_in(last, s);
		else
			th->spans[++n] = *s;
	}
	th->n = n + 1;
}

/* Each second one goes into the one before it, where no more than @close is between them. */
static void pair(struct timeline_thread *th, int64_t close)
{
	size_t n = 0;

	for (size_t i = 0; i < th->n; i++) {
		struct timeline_span *to = &th->spans[n++];

		*to = th->spans[i];
		if (i + 1 < th->n && th->spans[i + 1].begin_ns - to->end_ns <= close)
			take_in(to, &th->spans[++i]);
	}
	th->n = n;
}

/* At most @max are left. Where a thread has been at very many streams, the borders between them go last. */
static void reduce(struct timeline_thread *th, size_t max)
{
	int64_t length = th->n ? th->spans[th->n - 1].end_ns - th->spans[0].begin_ns : 0;

	while (th->n > max && th->grain_ns <= length) {
		th->grain_ns *= 2;
		coarsen(th, th->grain_ns);
	}
	for (int64_t close = GRAIN_NS; th->n > max; close *= 2)
		pair(th, close);
}

int timeline_merge(const struct timeline_thread *th, int64_t close_ns, size_t max, struct timeline_span **ret,
		   size_t *ret_n)
{
	struct timeline_thread copy = *th;
	size_t n = 0;

	copy.spans = malloc(MAX(th->n, (size_t)1) * sizeof(*copy.spans));
	if (!copy.spans)
		return -ENOMEM;
	for (size_t i = 0; i < th->n; i++) {
		struct timeline_span *last = n ? &copy.spans[n - 1] : NULL;

		if (last && th->spans[i].stream == last->stream && th->spans[i].begin_ns - last->end_ns <= close_ns)
			take_in(last, &th->spans[i]);
		else
			copy.spans[n++] = th->spans[i];
	}
	copy.n = n;
	reduce(&copy, MAX(max, (size_t)1));
	*ret = copy.spans;
	*ret_n = copy.n;
	return 0;
}

static bool add_span(struct timeline_thread *th, const struct timeline_span *batch)
{
	struct timeline_span *last;

	if (!th->spans) {
		th->spans = malloc(TIMELINE_SPANS * sizeof(*th->spans));
		th->grain_ns = GRAIN_NS;
	}
	if (!th->spans)
		return false;
	last = th->n ? &th->spans[th->n - 1] : NULL;
	if (last && last->stream == batch->stream && batch->end_ns - last->begin_ns <= th->grain_ns) {
		take_in(last, batch);
		return true;
	}
	if (th->n == TIMELINE_SPANS)
		reduce(th, TIMELINE_SPANS / 4 * 3);
	th->spans[th->n++] = *batch;
	return true;
}

static void add_to_stream(struct timeline_stream *s, unsigned thread, const struct timeline_span *batch)
{
	uint64_t bit = (uint64_t)1 << thread % 64, *word = &s->threads[thread / 64];

	s->begin_ns = s->batches ? MIN(s->begin_ns, batch->begin_ns) : batch->begin_ns;
	s->end_ns = MAX(s->end_ns, batch->end_ns);
	s->busy_ns += batch->end_ns - batch->begin_ns;
	s->bytes += batch->bytes;
	s->names += batch->names;
	s->batches += batch->batches;
	s->nthreads += !(*word & bit);
	*word |= bit;
}

void timeline_add(struct timeline *t, unsigned thread, const struct timeline_span *batch)
{
	if (thread >= TIMELINE_THREADS || batch->stream >= t->nstreams)
		return;
	pthread_mutex_lock(&t->lock);
	add_to_stream(&t->streams[batch->stream], thread, batch);
	if (!add_span(&t->threads[thread], batch))
		t->lacks_memory = true;
	t->nthreads = MAX(t->nthreads, thread + 1);
	pthread_mutex_unlock(&t->lock);
}

void timeline_batch(struct timeline *t, unsigned thread, uint32_t stream, int64_t begin_ns, uint64_t bytes,
		    uint64_t names)
{
	const struct timeline_span batch = { begin_ns, timeline_now(t), bytes, names, 1, stream };

	if (t)
		timeline_add(t, thread, &batch);
}
