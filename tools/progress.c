/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress on stderr: see progress.h. The first picture comes after a second. */
#include "progress.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define FIRST_MS    1000
#define INTERVAL_MS 250

struct progress {
	enum progress_mode mode;
	const char *verb;
	struct progress_counters *c;
	pthread_t thread;
	pthread_mutex_t lock;      /* ending */
	pthread_cond_t wake;
	bool ending;
	bool drawn;                /* drawing thread, then progress_end() */
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

static double elapsed_s(const struct progress *p)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - p->start.tv_sec) +
	       (double)(now.tv_nsec - p->start.tv_nsec) / 1e9;
}

static void draw(struct progress *p)
{
	uint64_t bytes = atomic_load(&p->c->bytes), total = atomic_load(&p->c->total_bytes);
	uint64_t files = atomic_load(&p->c->files), total_files = atomic_load(&p->c->total_files);
	const char *phase = atomic_load(&p->c->phase);
	double s = elapsed_s(p), rate = s > 0 ? (double)bytes / s : 0;
	double left = total && rate > 0 && bytes < total ? (double)(total - bytes) / rate : 0;
	char done[16], all[16], per[16];

	if (p->mode == PROGRESS_JSON) {
		fprintf(stderr,
			"{\"schema\": 1, \"verb\": \"%s\", \"phase\": \"%s\", \"bytes\": %llu, "
			"\"total_bytes\": %llu, \"files\": %llu, \"total_files\": %llu, "
			"\"elapsed_s\": %.3f, \"left_s\": %.3f}\n",
			p->verb, phase ? phase : "", (unsigned long long)bytes,
			(unsigned long long)total, (unsigned long long)files,
			(unsigned long long)total_files, s, left);
	} else {
		fprintf(stderr, "\r\033[K%s: %s", p->verb, phase ? phase : "");
		if (total)
			fprintf(stderr, " %3u%%", (unsigned)MIN(100, bytes * 100 / total));
		fprintf(stderr, " %llu", (unsigned long long)files);
		if (total_files)
			fprintf(stderr, "/%llu", (unsigned long long)total_files);
		fprintf(stderr, " files, %s", format_size(bytes, done));
		if (total)
			fprintf(stderr, " of %s", format_size(total, all));
		fprintf(stderr, ", %s/s", format_size((uint64_t)rate, per));
		if (left >= 1)
			fprintf(stderr, ", %u:%02u left", (unsigned)left / 60, (unsigned)left % 60);
	}
	fflush(stderr);
	p->drawn = true;
}

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

	if (mode == PROGRESS_NEVER || (mode == PROGRESS_AUTO && !isatty(STDERR_FILENO)))
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
		draw(p);
	else if (p->drawn)
		fputs("\r\033[K", stderr);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
	return NULL;
}
