/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When a layout did what: phases, and for each thread which stream it worked at. For --report and --timeline; without
 * them there is no timeline, and all calls take NULL and do nothing.
 *
 * Memory is bounded, however large the image: a thread keeps TIMELINE_SPANS spans. Batches of one stream are one span
 * as long as that is no longer than a grain, and the grain doubles whenever there is no room left; so what is kept is
 * always as fine as a picture can show. Sums are exact nevertheless.
 */
#ifndef PLYFS_LAYOUT_TIMELINE_H
#define PLYFS_LAYOUT_TIMELINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define TIMELINE_SPANS   512       /* of a thread */
#define TIMELINE_THREADS 256
#define TIMELINE_PHASES  512
#define TIMELINE_SEVERAL UINT32_MAX    /* stream of a span that had to take in those of others */

/* Times are nanoseconds since the timeline began. */
struct timeline_span {
	int64_t begin_ns, end_ns;
	uint64_t bytes, names, batches;
	uint32_t stream;
};

struct timeline_phase {
	const char *name;          /* a literal */
	char *of;                  /* the component that it is about, or NULL */
	int64_t begin_ns, end_ns;
};

struct timeline_stream {
	char *name;
	const char *phase;         /* a literal */
	uint64_t total_bytes, total_files;     /* planned */
	int64_t begin_ns, end_ns;  /* where batches is not 0 */
	int64_t busy_ns;           /* of all threads together */
	uint64_t bytes, names, batches;        /* done by this run */
	unsigned nthreads;         /* that did any of it */
	uint64_t threads[TIMELINE_THREADS / 64];   /* which */
};

struct timeline_thread {
	struct timeline_span *spans;
	size_t n;
	int64_t grain_ns;
};

struct timeline {
	pthread_mutex_t lock;      /* all that follows, while threads run */
	int64_t start_ns;          /* CLOCK_MONOTONIC */
	int64_t end_ns;            /* by timeline_end() */
	struct timeline_phase phases[TIMELINE_PHASES];
	size_t nphases;
	struct timeline_stream *streams;
	size_t nstreams;
	struct timeline_thread threads[TIMELINE_THREADS];
	unsigned nthreads;         /* above the last that did anything */
	bool lacks_memory;         /* spans are missing; sums are right */
};

/* -ENOMEM. It begins now. */
int timeline_new(struct timeline **ret);
struct timeline *timeline_free(struct timeline *t);
void timeline_end(struct timeline *t);

/* Nanoseconds since @t began; 0 without one. */
int64_t timeline_now(const struct timeline *t);

/* Once, before threads begin: @n streams, to be named by timeline_name(). -ENOMEM. */
int timeline_streams(struct timeline *t, size_t n);
/* @name is copied; @phase is a literal. -ENOMEM. */
int timeline_name(struct timeline *t, size_t stream, const char *name, const char *phase, uint64_t bytes,
		  uint64_t files);

/* What is planned, where that is known only later. */
void timeline_plan(struct timeline *t, size_t stream, uint64_t bytes, uint64_t files);

/* @name has lasted from @begin_ns until now. Where there are too many, those that are left out are the latest. */
void timeline_phase(struct timeline *t, const char *name, int64_t begin_ns);
/* The same, of component @of, which is copied. Without memory it is of none. */
void timeline_phase_of(struct timeline *t, const char *name, const char *of, int64_t begin_ns);
/* @thread has done a batch of @stream, from @begin_ns until now. Any thread. */
void timeline_batch(struct timeline *t, unsigned thread, uint32_t stream, int64_t begin_ns, uint64_t bytes,
		    uint64_t names);
/* The same, for a batch that ended at @end_ns. */
void timeline_add(struct timeline *t, unsigned thread, const struct timeline_span *batch);

/* What is left of @th where no more than @max spans are wanted, and those of one stream with no more than @close_ns
 * between them are one. *ret: malloc. -ENOMEM. */
int timeline_merge(const struct timeline_thread *th, int64_t close_ns, size_t max, struct timeline_span **ret,
		   size_t *ret_n);

/* What a picture says in words; all of it borrowed, NULL: not said. */
struct timeline_words {
	const char *title;         /* "plyfs layout shop.plyfs" */
	const char *subtitle;
	const char *result;        /* "done" */
	uint64_t files, bytes;     /* made by this run */
	bool failed;
};
/* Appends an SVG document to @out. -ENOMEM. */
int timeline_draw(const struct timeline *t, const struct timeline_words *w, struct buf *out);

/* --- words of a picture (timeline_text.c) ---------------------------------------- */

/* The distance of ticks on an axis of @len_ns that has room for @room of them, at least 1. */
int64_t timeline_tick_ns(int64_t len_ns, unsigned room);
/* The text of the tick at @at_ns: "0.2 s", "1:30". */
void timeline_tick_text(int64_t at_ns, int64_t tick_ns, char out[24]);
/* "0.35 ms", "12.3 s", "1:02:03". */
char *timeline_time(int64_t ns, char out[24]);
/* "12,345" */
char *timeline_number(uint64_t n, char out[32]);
/* How wide @text is in a sans-serif font of @px pixels: rather too much than too little. UTF-8. */
double timeline_width(const char *text, double px);
/* The beginning of @text that is no wider than @width, with an ellipsis where something is missing. */
void timeline_fit(const char *text, double px, double width, char *out, size_t cap);
/* As the content of an XML element; @text is what escape_name() gives. -ENOMEM. */
int timeline_xml(struct buf *out, const char *text);

#endif
