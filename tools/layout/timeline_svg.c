/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The picture of a layout: figures, phases, a row for each thread with what it worked at, the rate over time, a legend.
 *
 * One file that stands alone: no style sheet, script, font or link, and only what every program that shows SVG knows,
 * those that make slides too. Text never overlaps: it is cut, or left out, by widths that are estimated on the safe
 * side (timeline_width()); what is left out stands in the legend, and in the <title> of what was drawn, which browsers
 * show under the pointer and screen readers read.
 *
 * The size does not grow with the image: a row has at most as many bars as fit, and all of them together BARS.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "layout/timeline.h"

#define WIDTH       1280.0
#define LEFT        112.0          /* of the plot */
#define RIGHT       1240.0
#define PLOT        (RIGHT - LEFT)
#define BARS        8000u          /* of all threads */
#define BUCKETS     188            /* of the rate, 6 pixels each */
#define COLOURS     24             /* streams that have one, and a place in the legend */
#define LEGEND_COLS 3

#define INK   "#1f2933"
#define FAINT "#7b8794"
#define GRID  "#e4e7eb"
#define OTHER "#c3cad3"

struct pic {
	const struct timeline *t;
	const struct timeline_words *w;
	struct buf *out;
	bool failed;
	int64_t len_ns;
	double y;                  /* where the next thing begins */
	double plot_top;
	uint8_t *colour;           /* of each stream; COLOURS: that of all others */
	uint32_t shown[COLOURS];   /* streams that have one */
	size_t nshown, nused;      /* of them, and of streams that did anything */
};

/* --- primitives ------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3)))
static void put(struct pic *p, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p->failed |= n < 0 || (size_t)n >= sizeof(text) || buf_add(p->out, text, (size_t)n) < 0;
}

/* Whatever bytes are in it. */
static void put_escaped(struct pic *p, const char *text)
{
	_cleanup_free_ char *clean = escape_name(text, strlen(text));

	p->failed |= !clean || timeline_xml(p->out, clean) < 0;
}

/* @anchor: start, middle or end. Cut to @room. */
static void put_text(struct pic *p, double x, double y, double px, double room, const char *anchor, const char *style,
		     const char *text)
{
	_cleanup_free_ char *clean = escape_name(text, strlen(text));
	char cut[1024];

	timeline_fit(clean ? clean : "", px, room, cut, sizeof(cut));
	put(p, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%g\" text-anchor=\"%s\"%s%s>", x, y, px, anchor,
	    *style ? " " : "", style);
	p->failed |= !clean || timeline_xml(p->out, cut) < 0;
	put(p, "</text>\n");
}

static double x_of(const struct pic *p, int64_t ns)
{
	double x = (double)ns / (double)p->len_ns;

	return LEFT + PLOT * MIN(MAX(x, 0.0), 1.0);
}

/* Where it would be too narrow to be seen, it is half a pixel wide. */
static void open_bar(struct pic *p, int64_t from, int64_t to, double y, double height, const char *colour)
{
	double x = x_of(p, from);

	put(p, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\">", x, y,
	    MAX(x_of(p, to) - x, 0.5), height, colour);
}

static double per_second(uint64_t n, int64_t ns)
{
	return (double)n / (double)MAX(ns, (int64_t)1) * 1e9;
}

static char *rate_text(double bytes_s, char out[24])
{
	char size[16];

	snprintf(out, 24, "%s/s", format_size((uint64_t)MIN(bytes_s, 1e19), size));
	return out;
}

/* --- colours --------------------------------------------------------------------------------- */

/* Twelve that can be told apart on white, by most people who see colours otherwise too; then what lies between. */
static const char *colour(unsigned i)
{
	static const char *const colours[COLOURS] = {
		"#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c755f",
		"#ff9da7", "#2f4b7c", "#86bc25", "#a05195", "#1b9e77", "#d95f02", "#7570b3", "#e7298a",
		"#a0cbe8", "#ffbe7d", "#8cd17d", "#b6992d", "#499894", "#d37295", "#d7b5a6", "#79706e",
	};

	return i < COLOURS ? colours[i] : OTHER;
}

static const char *stream_colour(const struct pic *p, uint32_t stream)
{
	return colour(stream < p->t->nstreams ? p->colour[stream] : COLOURS);
}

/* Those that threads were at for longest have a colour of their own, in the order of streams. */
static int choose_colours(struct pic *p)
{
	const struct timeline *t = p->t;

	p->colour = malloc(MAX(t->nstreams, (size_t)1));
	if (!p->colour)
		return -ENOMEM;
	memset(p->colour, COLOURS, t->nstreams);
	for (size_t i = 0; i < t->nstreams; i++)
		p->nused += t->streams[i].batches > 0;
	for (size_t n = 0; n < MIN(p->nused, (size_t)COLOURS); n++) {
		size_t best = SIZE_MAX;

		for (size_t i = 0; i < t->nstreams; i++)
			if (p->colour[i] == COLOURS && t->streams[i].batches &&
			    (best == SIZE_MAX || t->streams[i].busy_ns > t->streams[best].busy_ns))
				best = i;
		p->colour[best] = 0;
	}
	for (size_t i = 0; i < t->nstreams; i++)
		if (p->colour[i] != COLOURS) {
			p->colour[i] = (uint8_t)p->nshown;
			p->shown[p->nshown++] = (uint32_t)i;
		}
	return 0;
}

/* --- the head ------------------------------------------------------------------------------------ */

static void put_figure(struct pic *p, unsigned i, const char *label, const char *value)
{
	double x = 40 + i * 200.0;

	put_text(p, x, p->y, 12, 190, "start", "fill=\"" FAINT "\"", label);
	put_text(p, x, p->y + 27, 22, 190, "start", "font-weight=\"600\"", value);
}

/* Where nothing was done, there is no rate. */
static void put_figures(struct pic *p)
{
	double files_s = per_second(p->w->files, p->len_ns);
	char text[32], size[16], more[32];

	put_figure(p, 0, "time", timeline_time(p->len_ns, text));
	put_figure(p, 1, "data", format_size(p->w->bytes, size));
	put_figure(p, 2, "rate", p->w->bytes ? rate_text(per_second(p->w->bytes, p->len_ns), more) : "-");
	put_figure(p, 3, "files", timeline_number(p->w->files, text));
	if (files_s < 9.95)
		snprintf(more, sizeof(more), "%.1f", files_s);
	else
		timeline_number((uint64_t)MIN(files_s, 1e19), more);
	put_figure(p, 4, "files a second", p->w->files ? more : "-");
	put_figure(p, 5, "threads", timeline_number(p->t->nthreads, text));
	p->y += 60;
}

static void put_head(struct pic *p)
{
	const struct timeline_words *w = p->w;
	double title_room = WIDTH - 80;

	if (w->result) {
		double room = w->failed ? 600 : 300;

		put_text(p, WIDTH - 40, 48, 14, room, "end", w->failed ? "fill=\"#b42318\" font-weight=\"600\"" :
								     "fill=\"" FAINT "\"", w->result);
		title_room -= MIN(room, timeline_width(w->result, 14)) + 24;
	}
	if (w->title)
		put_text(p, 40, 48, 24, title_room, "start", "font-weight=\"600\"", w->title);
	if (w->subtitle)
		put_text(p, 40, 74, 14, WIDTH - 80, "start", "fill=\"" FAINT "\"", w->subtitle);
	p->y = 108;
	put_figures(p);
}

/* --- phases ---------------------------------------------------------------------------------------- */

struct phase_look {
	const char *name, *colour, *ink;
};

static const struct phase_look *phase_look(const char *name)
{
	static const struct phase_look looks[] = {
		{ "plan", "#dbe2ea", INK }, { "directories", "#c9d3de", INK }, { "os", "#b3c1d1", INK },
		{ "others", "#9db0c5", INK }, { "links", "#c9d3de", INK }, { "metadata", "#b3c1d1", INK },
		{ "sync", "#52606d", "#ffffff" }, { "undo", "#f3b7b1", INK }, { "abort", "#f3d9a4", INK },
		{ "survey", "#dbe2ea", INK }, { "stage", "#b3c1d1", INK }, { "apply", "#9db0c5", INK },
	};

	for (size_t i = 0; i < ARRAY_SIZE(looks); i++)
		if (!strcmp(looks[i].name, name))
			return &looks[i];
	return &looks[0];
}

static void put_phases(struct pic *p)
{
	double height = 26;
	char text[24];

	put_text(p, LEFT - 12, p->y + 17, 12, LEFT - 20, "end", "fill=\"" FAINT "\"", "phases");
	for (size_t i = 0; i < p->t->nphases; i++) {
		const struct timeline_phase *ph = &p->t->phases[i];
		const struct phase_look *look = phase_look(ph->name);
		double from = x_of(p, ph->begin_ns), to = x_of(p, ph->end_ns);
		char style[32], label[128];

		snprintf(label, sizeof(label), "%s%s%s", ph->name, ph->of ? " " : "", ph->of ? ph->of : "");
		open_bar(p, ph->begin_ns, ph->end_ns, p->y, height, look->colour);
		put(p, "<title>");
		put_escaped(p, label);
		put(p, ": %s", timeline_time(ph->end_ns - ph->begin_ns, text));
		put(p, ", from %s", timeline_time(ph->begin_ns, text));
		put(p, " to %s</title></rect>\n", timeline_time(ph->end_ns, text));
		snprintf(style, sizeof(style), "fill=\"%s\"", look->ink);
		if (to - from <= timeline_width(label, 12) + 8)
			snprintf(label, sizeof(label), "%s", ph->name);
		if (to - from > timeline_width(label, 12) + 8)
			put_text(p, (from + to) / 2, p->y + 17, 12, to - from, "middle", style, label);
	}
	p->plot_top = p->y;
	p->y += height + 10;
}

/* --- threads ------------------------------------------------------------------------------------------ */

static void put_span(struct pic *p, unsigned thread, const struct timeline_span *s, double y, double height)
{
	const char *name = s->stream < p->t->nstreams ? p->t->streams[s->stream].name : "several";
	char text[32], size[16], rate[24];

	open_bar(p, s->begin_ns, s->end_ns, y, height, stream_colour(p, s->stream));
	put(p, "<title>");
	put_escaped(p, name);
	put(p, ", thread %u, from %s", thread + 1, timeline_time(s->begin_ns, text));
	put(p, " to %s", timeline_time(s->end_ns, text));
	put(p, ": %s files", timeline_number(s->names, text));
	put(p, ", %s", format_size(s->bytes, size));
	put(p, ", %s", rate_text(per_second(s->bytes, s->end_ns - s->begin_ns), rate));
	put(p, ", %s batches</title></rect>\n", timeline_number(s->batches, text));
}

/* Labels need 15 pixels: so each so many rows has one. */
static unsigned label_step(double row)
{
	static const unsigned steps[] = { 1, 2, 4, 8, 16, 32 };
	size_t i = 0;

	while (i < ARRAY_SIZE(steps) - 1 && steps[i] * row < 15)
		i++;
	return steps[i];
}

static void put_thread(struct pic *p, unsigned thread, double row, double height, bool label)
{
	struct timeline_span *spans = NULL;
	int64_t pixel = (int64_t)((double)p->len_ns / PLOT);
	char text[24];
	size_t n = 0;

	if (timeline_merge(&p->t->threads[thread], pixel, MAX(BARS / MAX(p->t->nthreads, 1u), 8u), &spans, &n) < 0) {
		p->failed = true;
		return;
	}
	snprintf(text, sizeof(text), "thread %u", thread + 1);
	if (label)
		put_text(p, LEFT - 12, p->y + height / 2 + 4, 12, LEFT - 20, "end", "fill=\"" FAINT "\"", text);
	if (row >= 8)
		put(p, "<rect x=\"%.1f\" y=\"%.2f\" width=\"%.1f\" height=\"%.2f\" fill=\"#f5f7fa\"/>\n", LEFT, p->y,
		    PLOT, height);
	for (size_t i = 0; i < n; i++)
		put_span(p, thread, &spans[i], p->y, height);
	free(spans);
}

static void put_threads(struct pic *p)
{
	unsigned n = p->t->nthreads;
	double row = n <= 8 ? 28 : n <= 16 ? 22 : MAX(352.0 / n, 2.5), gap = row >= 12 ? 4 : row >= 6 ? 1 : 0;
	unsigned step = label_step(row);

	for (unsigned i = 0; i < n; i++) {
		put_thread(p, i, row, row - gap, i % step == 0);
		p->y += row;
	}
	if (n)
		p->y += 8;
}

/* Over all rows: nobody works while a sync lasts. */
static void put_syncs(struct pic *p, double top)
{
	for (size_t i = 0; i < p->t->nphases && p->t->nthreads; i++) {
		const struct timeline_phase *ph = &p->t->phases[i];

		if (strcmp(ph->name, "sync") != 0)
			continue;
		put(p, "<g fill-opacity=\"0.18\">");
		open_bar(p, ph->begin_ns, ph->end_ns, top, p->y - top, "#52606d");
		put(p, "<title>sync</title></rect></g>\n");
	}
}

/* --- rate ------------------------------------------------------------------------------------------------- */

/* Bytes of each bucket: those of a span lie evenly in it. */
static void spread(const struct pic *p, const struct timeline_span *s, double *buckets)
{
	double from = (double)s->begin_ns / (double)p->len_ns * BUCKETS;
	double to = (double)s->end_ns / (double)p->len_ns * BUCKETS, len = MAX(to - from, 1e-9);

	for (int b = (int)from; b < BUCKETS && b <= to; b++) {
		double part = (MIN(to, b + 1.0) - MAX(from, (double)b)) / len;

		buckets[b] += (double)s->bytes * (to - from < 1e-9 ? 1 : part);
	}
}

/* buckets[colour][bucket], by the spans of all threads. */
static void fill_buckets(const struct pic *p, double (*buckets)[BUCKETS])
{
	for (unsigned i = 0; i < p->t->nthreads; i++)
		for (size_t k = 0; k < p->t->threads[i].n; k++) {
			const struct timeline_span *s = &p->t->threads[i].spans[k];

			spread(p, s, buckets[s->stream < p->t->nstreams ? p->colour[s->stream] : COLOURS]);
		}
}

/* The upper end of an axis: round, as format_size() writes it. */
static double nice_above(double max)
{
	static const double steps[] = { 1, 1.5, 2, 3, 5 };
	double unit = 1, ten = 1;

	while (max / unit >= 1024)
		unit *= 1024;
	while (max / unit > ten * 10)
		ten *= 10;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (steps[i] * ten * unit >= max)
			return steps[i] * ten * unit;
	return ten * 10 * unit;
}

/* One step for each bucket, from @low up to @high; both in bytes of a bucket. */
static void put_area(struct pic *p, const double *low, const double *high, double full, double bottom, double height,
		     const char *fill)
{
	put(p, "<path fill=\"%s\" d=\"M%.1f %.1f", fill, LEFT, bottom - height * low[0] / full);
	for (int b = 0; b < BUCKETS; b++)
		put(p, "V%.1fH%.1f", bottom - height * high[b] / full, LEFT + PLOT * (b + 1) / BUCKETS);
	for (int b = BUCKETS; b-- > 0;)
		put(p, "V%.1fH%.1f", bottom - height * low[b] / full, LEFT + PLOT * b / BUCKETS);
	put(p, "Z\">");
}

static void put_rates(struct pic *p, double height)
{
	double (*buckets)[BUCKETS] = calloc(COLOURS + 1, sizeof(*buckets));
	double sum[BUCKETS] = { 0 }, max = 0, full, bucket_s = (double)p->len_ns / 1e9 / BUCKETS;
	char size[16], text[32];

	if (!buckets) {
		p->failed = true;
		return;
	}
	fill_buckets(p, buckets);
	for (int b = 0; b < BUCKETS; b++) {
		double all = 0;

		for (int c = 0; c <= COLOURS; c++)
			all += buckets[c][b];
		max = MAX(max, all);
	}
	full = nice_above(max / bucket_s) * bucket_s;
	for (unsigned c = 0; c <= COLOURS && max > 0; c++) {
		double low[BUCKETS], any = 0;

		memcpy(low, sum, sizeof(low));
		for (int b = 0; b < BUCKETS; b++) {
			sum[b] += buckets[c][b];
			any += buckets[c][b];
		}
		if (any <= 0)
			continue;
		put_area(p, low, sum, full, p->y + height, height, colour(c));
		put(p, "<title>");
		put_escaped(p, c < p->nshown ? p->t->streams[p->shown[c]].name : "others");
		put(p, ": %s</title></path>\n", format_size((uint64_t)MIN(any, 1e19), size));
	}
	free(buckets);
	put_text(p, LEFT - 12, p->y + 11, 12, LEFT - 20, "end", "fill=\"" FAINT "\"", rate_text(full / bucket_s, text));
	put_text(p, LEFT - 12, p->y + height, 12, LEFT - 20, "end", "fill=\"" FAINT "\"", "0");
	p->y += height;
}

/* --- the axis ------------------------------------------------------------------------------------------------ */

static void put_axis(struct pic *p)
{
	int64_t tick = timeline_tick_ns(p->len_ns, 12);
	char text[24];

	put(p, "<g stroke=\"" GRID "\">\n");
	for (int64_t at = 0; at <= p->len_ns; at += tick)
		put(p, "<path d=\"M%.1f %.1fV%.1f\"/>\n", x_of(p, at), p->plot_top - 6, p->y + 6);
	put(p, "</g>\n<path d=\"M%.1f %.1fH%.1f\" stroke=\"" FAINT "\"/>\n", LEFT, p->y, RIGHT);
	for (int64_t at = 0; at <= p->len_ns; at += tick) {
		timeline_tick_text(at, tick, text);
		put_text(p, x_of(p, at), p->y + 20, 12, 90, "middle", "fill=\"" FAINT "\"", text);
	}
	p->y += 50;
}

/* --- the legend ------------------------------------------------------------------------------------------------- */

/* @name_px: how wide the widest name may be; the figures stand behind that. */
static void put_legend_row(struct pic *p, size_t at, const char *fill, const char *name, double name_px,
			   const char *figures)
{
	double column = (WIDTH - 80) / LEGEND_COLS, x = 40 + column * (double)(at % LEGEND_COLS);
	double y = p->y + 24 * (double)(at / LEGEND_COLS);

	put(p, "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" rx=\"2\" fill=\"%s\"/>\n", x, y - 10, fill);
	put_text(p, x + 20, y, 13, name_px, "start", "", name);
	put_text(p, x + 32 + name_px, y, 12, column - name_px - 48, "start", "fill=\"" FAINT "\"", figures);
}

static void put_legend(struct pic *p)
{
	char number[32], size[16], time[24], text[128];
	size_t rows = p->nshown + (p->nused > p->nshown);
	double name_px = 60;

	for (size_t i = 0; i < p->nshown; i++)
		name_px = MAX(name_px, timeline_width(p->t->streams[p->shown[i]].name, 13));
	name_px = MIN(name_px, 160);
	for (size_t i = 0; i < p->nshown; i++) {
		const struct timeline_stream *s = &p->t->streams[p->shown[i]];

		timeline_number(s->names, number);
		format_size(s->bytes, size);
		timeline_time(s->end_ns - s->begin_ns, time);
		if (s->bytes)
			snprintf(text, sizeof(text), "%s files, %s, %s", number, size, time);
		else
			snprintf(text, sizeof(text), "%s files, %s", number, time);
		put_legend_row(p, i, colour((unsigned)i), s->name, name_px, text);
	}
	if (p->nused > p->nshown) {
		snprintf(text, sizeof(text), "%zu others", p->nused - p->nshown);
		put_legend_row(p, p->nshown, OTHER, text, name_px, "");
	}
	p->y += 24 * (double)((rows + LEGEND_COLS - 1) / LEGEND_COLS) + 10;
}

/* Each phase with its time, those of one name together. */
static void put_phase_times(struct pic *p)
{
	const struct timeline *t = p->t;
	double x = 40;

	for (size_t i = 0; i < t->nphases; i++) {
		const char *name = t->phases[i].name;
		int64_t sum = 0;
		unsigned n = 0;
		char time[24], text[96];
		double width;
		size_t k;

		for (k = 0; k < i && strcmp(t->phases[k].name, name) != 0; k++)
			;
		if (k < i)
			continue;
		for (k = i; k < t->nphases; k++)
			if (!strcmp(t->phases[k].name, name)) {
				sum += t->phases[k].end_ns - t->phases[k].begin_ns;
				n++;
			}
		timeline_time(sum, time);
		if (n > 1)
			snprintf(text, sizeof(text), "%s %s (%u times)", name, time, n);
		else
			snprintf(text, sizeof(text), "%s %s", name, time);
		width = timeline_width(text, 13) + 36;
		if (x + width > WIDTH - 40) {
			x = 40;
			p->y += 24;
		}
		put(p, "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" rx=\"2\" fill=\"%s\"/>\n", x, p->y - 10,
		    phase_look(name)->colour);
		put_text(p, x + 20, p->y, 13, width, "start", "", text);
		x += width;
	}
	p->y += 14;
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static int64_t length_ns(const struct timeline *t)
{
	int64_t len = t->end_ns;

	for (size_t i = 0; i < t->nphases; i++)
		len = MAX(len, t->phases[i].end_ns);
	for (size_t i = 0; i < t->nstreams; i++)
		len = MAX(len, t->streams[i].end_ns);
	return MAX(len, (int64_t)1000);
}

static void put_body(struct pic *p)
{
	struct buf *out = p->out, plot = { 0 };
	double top;

	put_head(p);
	/* the grid lies behind all that is drawn before its height is known */
	p->out = &plot;
	put_phases(p);
	top = p->y;
	put_threads(p);
	put_syncs(p, top);
	if (p->t->nthreads)
		put_rates(p, 84);
	p->out = out;
	top = p->y;
	put_axis(p);
	p->failed |= plot.len && buf_add(out, plot.data, plot.len) < 0;
	buf_done(&plot);
	put_legend(p);
	put_phase_times(p);
}

/* In words, for who cannot see it. */
static void put_description(struct pic *p)
{
	char text[32], size[16];

	put(p, "<title id=\"title\">");
	put_escaped(p, p->w->title ? p->w->title : "plyfs layout");
	put(p, "</title>\n<desc id=\"desc\">");
	if (p->w->result) {
		put_escaped(p, p->w->result);
		put(p, ": ");
	}
	put(p, "%s files, ", timeline_number(p->w->files, text));
	put(p, "%s in ", format_size(p->w->bytes, size));
	put(p, "%s by %u threads. Phases, what each thread worked at, and the rate, over time.</desc>\n",
	    timeline_time(p->len_ns, text), p->t->nthreads);
}

int timeline_draw(const struct timeline *t, const struct timeline_words *w, struct buf *out)
{
	struct buf body = { 0 };
	struct pic p = { .t = t, .w = w, .out = &body, .len_ns = length_ns(t) };

	if (choose_colours(&p) < 0)
		return -ENOMEM;
	put_body(&p);
	p.out = out;
	put(&p, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%.0f\" viewBox=\"0 0 %g %.0f\" "
		"font-family=\"Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif\" "
		"fill=\"" INK "\" role=\"img\" aria-labelledby=\"title desc\">\n", WIDTH, p.y + 16, WIDTH, p.y + 16);
	put_description(&p);
	put(&p, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
	p.failed |= body.len && buf_add(out, body.data, body.len) < 0;
	put(&p, "</svg>\n");
	buf_done(&body);
	free(p.colour);
	return p.failed ? -ENOMEM : 0;
}
