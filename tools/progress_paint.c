/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines that are drawn over and over: up by so many lines as stand there, then each line anew, with the rest of it
 * erased, and in the end what is below.
 *
 * No line is as long as the terminal is wide, so none wraps, and going up by lines is right. A terminal that was made
 * narrower meanwhile has wrapped what stood there, or cut it: each does as it likes, and going up by a guess would
 * erase what is not ours. Then the old picture stays, and the next begins below it.
 */
#include "progress_paint.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define NAME_MAX_COLUMNS 24u
#define BAR_COLUMNS      20u
#define BAR_FROM         100u      /* columns of a terminal that has room for bars */
#define FILE_COST        (32u << 10)   /* time left: making a file takes as long as writing so many bytes */

struct progress_now progress_look(struct progress_counters *c, const char *verb, int64_t start_ns, int64_t now_ns)
{
	struct progress_now n = {
		.verb = verb,
		.phase = atomic_load(&c->phase),
		.bytes = atomic_load(&c->bytes), .total_bytes = atomic_load(&c->total_bytes),
		.files = atomic_load(&c->files), .total_files = atomic_load(&c->total_files),
		.elapsed_s = (double)(now_ns - start_ns) / 1e9,
		.streams = atomic_load(&c->streams),
	};
	double s = n.elapsed_s, done, all;
	uint64_t found_bytes = 0, found_files = 0;

	n.phase = n.phase ? n.phase : "";
	if (n.streams) {
		n.nstreams = c->nstreams;
		n.bytes = n.files = n.total_bytes = n.total_files = 0;
		s = (double)(now_ns - c->work_ns) / 1e9;
	}
	for (size_t i = 0; i < n.nstreams; i++) {
		found_bytes += atomic_load(&n.streams[i].found_bytes);
		found_files += atomic_load(&n.streams[i].found_files);
		n.bytes += atomic_load(&n.streams[i].bytes);
		n.files += atomic_load(&n.streams[i].files);
		n.total_bytes += n.streams[i].total_bytes;
		n.total_files += n.streams[i].total_files;
	}
	/* counters are read one by one, while others count on */
	found_bytes = MIN(found_bytes, n.bytes);
	found_files = MIN(found_files, n.files);
	n.rate = s > 0 ? (double)(n.bytes - found_bytes) / s : 0;
	if (!n.streams) {
		if (n.rate > 0 && n.bytes < n.total_bytes)
			n.left_s = (double)(n.total_bytes - n.bytes) / n.rate;
		return n;
	}
	done = (double)(n.bytes - found_bytes) + (double)(n.files - found_files) * FILE_COST;
	all = n.bytes < n.total_bytes ? (double)(n.total_bytes - n.bytes) : 0;
	all += n.files < n.total_files ? (double)(n.total_files - n.files) * FILE_COST : 0;
	n.left_s = done > 0 ? s * all / done : 0;
	return n;
}

/* --- lines -------------------------------------------------------------------------------- */

/* A line that ends before the last column. */
struct line {
	char text[512];
	unsigned len;
};

__attribute__((format(printf, 2, 3)))
static void put(struct line *l, const char *fmt, ...)
{
	size_t room = sizeof(l->text) - l->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->text + l->len, room, fmt, ap);
	va_end(ap);
	l->len += n < 0 ? 0 : (unsigned)MIN((size_t)n, room - 1);
}

/* A column is a byte: all else would break the count. */
static void clean(struct line *l, unsigned columns)
{
	l->len = MIN(l->len, columns ? columns - 1 : 0);
	for (unsigned i = 0; i < l->len; i++)
		if (l->text[i] < 0x20 || l->text[i] > 0x7e)
			l->text[i] = '?';
}

static unsigned percent(uint64_t is, uint64_t of)
{
	return of ? (unsigned)MIN((uint64_t)100, (uint64_t)((double)is / (double)of * 100)) : 100;
}

static void put_left(struct line *l, double left_s)
{
	unsigned left = (unsigned)MIN(left_s, 359999.0);

	if (left >= 3600)
		put(l, ", %u:%02u:%02u left", left / 3600, left / 60 % 60, left % 60);
	else if (left)
		put(l, ", %u:%02u left", left / 60, left % 60);
}

static void put_total(struct line *l, const struct progress_now *n, bool all_bytes, bool counts)
{
	char done[16], all[16], per[16];

	put(l, "%s: %s", n->verb, n->phase);
	if (n->total_bytes)
		put(l, " %3u%%", percent(n->bytes, n->total_bytes));
	if (counts) {
		put(l, " %llu", (unsigned long long)n->files);
		if (n->total_files)
			put(l, "/%llu", (unsigned long long)n->total_files);
		put(l, " files, %s", format_size(n->bytes, done));
	}
	if (counts && all_bytes && n->total_bytes)
		put(l, " of %s", format_size(n->total_bytes, all));
	put(l, ", %s/s", format_size((uint64_t)n->rate, per));
	put_left(l, n->left_s);
}

/* Rate and time left are what it is looked at for: where they have no room, what the percentage tells too is left
 * out. */
static void fit_total(struct line *l, const struct progress_now *n, unsigned columns)
{
	for (int i = 0; i < 3 && (!i || l->len >= columns); i++) {
		l->len = 0;
		put_total(l, n, i < 1, i < 2);
	}
}

static unsigned digits(uint64_t n)
{
	unsigned d = 1;

	while (n /= 10)
		d++;
	return d;
}

/* How wide the parts of a line are that stand below each other. */
struct widths {
	unsigned name, files;
};

static void put_stream(struct line *l, struct progress_stream *s, const struct widths *w, unsigned columns)
{
	uint64_t bytes = atomic_load(&s->bytes), files = atomic_load(&s->files);
	unsigned threads = atomic_load(&s->threads);
	unsigned full = s->total_bytes ? percent(bytes, s->total_bytes) : percent(files, s->total_files);
	unsigned bar = full * BAR_COLUMNS / 100;
	char done[16], all[16];

	/* 100: nothing is missing */
	if (full == 100 && (files < s->total_files || bytes < s->total_bytes))
		full = 99;
	put(l, "%-*.*s", (int)w->name, (int)w->name, s->name);
	if (columns >= BAR_FROM)
		put(l, " [%.*s%.*s]", (int)bar, "####################", (int)(BAR_COLUMNS - bar),
		    "--------------------");
	put(l, " %3u%%", full);
	put(l, "  %*llu/%-*llu files, %s of %s", (int)w->files, (unsigned long long)files, (int)w->files,
	    (unsigned long long)s->total_files, format_size(bytes, done), format_size(s->total_bytes, all));
	if (threads)
		put(l, ", %u thread%s", threads, threads == 1 ? "" : "s");
}

/* --- which streams ------------------------------------------------------------------------------ */

enum rank { RANK_RUNS, RANK_BEGUN, RANK_WAITS, RANK_DONE, RANKS };

static enum rank rank_of(struct progress_stream *s)
{
	uint64_t bytes = atomic_load(&s->bytes), files = atomic_load(&s->files);

	if (atomic_load(&s->threads))
		return RANK_RUNS;
	if (bytes >= s->total_bytes && files >= s->total_files)
		return RANK_DONE;
	return bytes || files ? RANK_BEGUN : RANK_WAITS;
}

/* Marks @room streams: by rank, then in their order. */
static void choose(const struct progress_now *n, size_t room, bool *shown)
{
	enum rank *ranks = calloc(n->nstreams, sizeof(*ranks));

	for (size_t i = 0; ranks && i < n->nstreams; i++)
		ranks[i] = rank_of(&n->streams[i]);
	for (int r = 0; r < RANKS; r++)
		for (size_t i = 0; i < n->nstreams && room; i++)
			if (!shown[i] && (!ranks || (int)ranks[i] == r)) {
				shown[i] = true;
				room--;
			}
	free(ranks);
}

/* --- the picture ---------------------------------------------------------------------------------- */

/* To the first column of the first line of what stands there. */
static void go_back(struct buf *out, const struct progress_frame *f, unsigned columns)
{
	if (f->lines && f->widest >= columns)
		buf_printf(out, "\r\n");
	else if (f->lines > 1)
		buf_printf(out, "\r\033[%uA", f->lines - 1);
	else
		buf_printf(out, "\r");
}

static void add_line(struct buf *out, struct progress_frame *f, unsigned columns, struct line *l)
{
	clean(l, columns);
	buf_printf(out, "%s\033[K%.*s", f->lines ? "\r\n" : "", (int)l->len, l->text);
	f->lines++;
	f->widest = MAX(f->widest, l->len);
}

static void add_streams(struct buf *out, struct progress_frame *f, unsigned columns, size_t room,
			const struct progress_now *n)
{
	_cleanup_free_ bool *shown = calloc(MAX(n->nstreams, (size_t)1), sizeof(*shown));
	struct widths w = { 0 };
	struct line l;

	/* one for the line that says how many are missing */
	room = n->nstreams <= room ? n->nstreams : room ? room - 1 : 0;
	if (!shown || !room)
		return;
	choose(n, room, shown);
	for (size_t i = 0; i < n->nstreams; i++) {
		const struct progress_stream *s = &n->streams[i];

		if (shown[i]) {
			w.name = MAX(w.name, (unsigned)MIN(strlen(s->name), NAME_MAX_COLUMNS));
			w.files = MAX(w.files, digits(s->total_files));
		}
	}
	for (size_t i = 0; i < n->nstreams; i++) {
		if (!shown[i])
			continue;
		l.len = 0;
		put_stream(&l, &n->streams[i], &w, columns);
		add_line(out, f, columns, &l);
	}
	if (room == n->nstreams)
		return;
	l.len = 0;
	put(&l, "%-*s and %zu more", (int)w.name, "...", n->nstreams - room);
	add_line(out, f, columns, &l);
}

void progress_paint(struct buf *out, struct progress_frame *f, unsigned columns, unsigned rows,
		    const struct progress_now *now)
{
	struct progress_frame next = { 0 };
	struct line total = { .len = 0 };

	go_back(out, f, columns);
	if (now->nstreams)
		add_streams(out, &next, columns, rows > 2 ? rows - 2 : 0, now);
	fit_total(&total, now, columns);
	add_line(out, &next, columns, &total);
	buf_printf(out, "\033[J");
	*f = next;
}

void progress_wipe(struct buf *out, struct progress_frame *f, unsigned columns)
{
	if (!f->lines)
		return;
	go_back(out, f, columns);
	buf_printf(out, "\033[J");
	*f = (struct progress_frame){ 0 };
}
