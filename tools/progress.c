/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress on stderr: see progress.h. The first picture comes after a second; what it looks like is for
 * progress_paint.c. */
#include "progress.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "progress_paint.h"

#define FIRST_MS    1000
#define INTERVAL_MS 250
#define COLUMNS     80             /* of a terminal that does not say */
#define ROWS        24

/* What was told of a stream last. */
struct told {
	uint64_t bytes, files;
	unsigned threads;
	bool any;
};

struct progress {
	enum progress_mode mode;
	const char *verb;
	struct progress_counters *c;
	pthread_t thread;
	pthread_mutex_t lock;      /* ending */
	pthread_cond_t wake;
	bool ending;
	struct progress_frame frame;   /* this and told: drawing thread, then progress_end() */
	struct told *told;         /* one for each stream */
	struct timespec start;
};

int progress_mode(const char *text)
{
	if (!text || !strcmp(text, "auto"))
		return PROGRESS_AUTO;
	if (!strcmp(text, "never"))
		return PROGRESS_NEVER;
	return !strcmp(text, "json") ? PROGRESS_JSON : -1;
}

static int64_t ns_of(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

void progress_streams(struct progress_counters *c, struct progress_stream *streams, size_t n)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	c->work_ns = ns_of(&now);
	c->nstreams = n;
	atomic_store(&c->streams, streams);
}

void progress_counters_done(struct progress_counters *c)
{
	free(atomic_exchange(&c->streams, NULL));
}

static struct progress_now look(struct progress *p)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return progress_look(p->c, p->verb, ns_of(&p->start), ns_of(&now));
}

/* --- JSON --------------------------------------------------------------------------- */

/* Streams in which something has changed since they were told. */
static void tell_streams(struct progress *p, const struct progress_now *n)
{
	if (n->nstreams && !p->told)
		p->told = calloc(n->nstreams, sizeof(*p->told));
	for (size_t i = 0; i < n->nstreams && p->told; i++) {
		struct progress_stream *s = &n->streams[i];
		const struct told is = { atomic_load(&s->bytes), atomic_load(&s->files), atomic_load(&s->threads),
					 true };
		struct told *was = &p->told[i];

		if (was->any && was->bytes == is.bytes && was->files == is.files && was->threads == is.threads)
			continue;
		*was = is;
		fprintf(stderr,
			"{\"schema\": 1, \"verb\": \"%s\", \"phase\": \"%s\", \"stream\": \"%s\", \"bytes\": %llu, "
			"\"total_bytes\": %llu, \"files\": %llu, \"total_files\": %llu, \"threads\": %u, "
			"\"elapsed_s\": %.3f}\n",
			n->verb, n->phase, s->name, (unsigned long long)is.bytes,
			(unsigned long long)s->total_bytes, (unsigned long long)is.files,
			(unsigned long long)s->total_files, is.threads, n->elapsed_s);
	}
}

static void tell(struct progress *p)
{
	struct progress_now n = look(p);

	tell_streams(p, &n);
	fprintf(stderr,
		"{\"schema\": 1, \"verb\": \"%s\", \"phase\": \"%s\", \"bytes\": %llu, "
		"\"total_bytes\": %llu, \"files\": %llu, \"total_files\": %llu, "
		"\"elapsed_s\": %.3f, \"left_s\": %.3f}\n",
		n.verb, n.phase, (unsigned long long)n.bytes, (unsigned long long)n.total_bytes,
		(unsigned long long)n.files, (unsigned long long)n.total_files, n.elapsed_s, n.left_s);
	fflush(stderr);
}

/* --- a terminal ----------------------------------------------------------------------- */

static bool is_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0);
}

static unsigned columns_and_rows(unsigned *ret_rows)
{
	struct winsize size = { 0 };

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0)
		size = (struct winsize){ 0 };
	*ret_rows = size.ws_row ? size.ws_row : ROWS;
	return size.ws_col ? size.ws_col : COLUMNS;
}

/* In one write, so that nobody else's line comes between. */
static void put_out(struct buf *out)
{
	if (out->len)
		fwrite(out->data, 1, out->len, stderr);
	fflush(stderr);
	buf_done(out);
}

static void draw(struct progress *p)
{
	struct progress_now n = look(p);
	struct buf out = { 0 };
	unsigned rows, columns = columns_and_rows(&rows);

	progress_paint(&out, &p->frame, columns, rows, &n);
	put_out(&out);
}

static void wipe(struct progress *p)
{
	struct buf out = { 0 };
	unsigned rows, columns = columns_and_rows(&rows);

	progress_wipe(&out, &p->frame, columns);
	put_out(&out);
}

/* --- the drawing thread ------------------------------------------------------------------ */

static void add_ms(struct timespec *t, long ms)
{
	t->tv_nsec += ms * 1000000;
	t->tv_sec += t->tv_nsec / 1000000000;
	t->tv_nsec %= 1000000000;
}

static void *work(void *arg)
{
	struct progress *p = arg;
	struct timespec at = p->start;

	add_ms(&at, FIRST_MS);
	pthread_mutex_lock(&p->lock);
	while (!p->ending) {
		if (pthread_cond_timedwait(&p->wake, &p->lock, &at) != ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&p->lock);
		if (p->mode == PROGRESS_JSON)
			tell(p);
		else
			draw(p);
		pthread_mutex_lock(&p->lock);
		add_ms(&at, INTERVAL_MS);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct progress *progress_begin(enum progress_mode mode, const char *verb,
				struct progress_counters *counters)
{
	pthread_condattr_t attr;
	struct progress *p;

	if (mode == PROGRESS_NEVER || (mode == PROGRESS_AUTO && !is_terminal()))
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->mode = mode;
	p->verb = verb;
	p->c = counters;
	clock_gettime(CLOCK_MONOTONIC, &p->start);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&p->thread, NULL, work, p) != 0) {
		pthread_cond_destroy(&p->wake);
		pthread_mutex_destroy(&p->lock);
		free(p);
		return NULL;
	}
	return p;
}

struct progress *progress_end(struct progress *p)
{
	if (!p)
		return NULL;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	if (p->mode == PROGRESS_JSON)
		tell(p);
	else
		wipe(p);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p->told);
	free(p);
	return NULL;
}
