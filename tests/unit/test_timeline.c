/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When a layout did what. Sums are exact and memory is bounded however many batches there are; the picture is
 * well-formed XML in which no two labels overlap, for any number of threads, streams and seconds, whatever names are.
 *
 * PLYFS_PICTURES=DIR keeps the pictures, to be looked at.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "layout/layout.h"
#include "layout/timeline.h"
#include "tap.h"
#include "unit/failing_memory.h"

#define MS  1000000ll
#define SEC 1000000000ll

static struct timeline *t;

static void begin(size_t nstreams)
{
	char name[32];

	ck_assert_int_eq(timeline_new(&t), 0);
	ck_assert_int_eq(timeline_streams(t, nstreams), 0);
	for (size_t i = 0; i < nstreams; i++) {
		snprintf(name, sizeof(name), i ? "component-%zu" : "os", i);
		ck_assert_int_eq(timeline_name(t, i, name, i ? "others" : "os", 1000, 10), 0);
	}
}

static void batch(unsigned thread, uint32_t stream, int64_t from, int64_t to, uint64_t bytes)
{
	const struct timeline_span s = { from, to, bytes, 3, 1, stream };

	timeline_add(t, thread, &s);
}

static void phase(const char *name, int64_t from, int64_t to)
{
	timeline_phase(t, name, 0);
	t->phases[t->nphases - 1].begin_ns = from;
	t->phases[t->nphases - 1].end_ns = to;
	t->end_ns = to;
}

/* --- what is kept ---------------------------------------------------------------------------- */

START_TEST(sums_of_streams)
{
	begin(3);
	batch(0, 0, 5 * MS, 6 * MS, 100);
	batch(7, 1, 8 * MS, 9 * MS, 1);
	batch(0, 1, 7 * MS, 12 * MS, 10);
	batch(7, 1, 9 * MS, 10 * MS, 1);
	ck_assert_int_eq(t->streams[1].begin_ns, 7 * MS);
	ck_assert_int_eq(t->streams[1].end_ns, 12 * MS);
	ck_assert_uint_eq(t->streams[1].bytes, 12);
	ck_assert_uint_eq(t->streams[1].names, 9);
	ck_assert_uint_eq(t->streams[1].batches, 3);
	ck_assert_uint_eq(t->streams[1].nthreads, 2);
	ck_assert_uint_eq(t->streams[0].nthreads, 1);
	ck_assert_uint_eq(t->streams[2].batches, 0);
	ck_assert_uint_eq(t->nthreads, 8);
	/* a stream or a thread that there is not */
	batch(0, 3, 0, MS, 1);
	batch(TIMELINE_THREADS, 0, 0, MS, 1);
	ck_assert_uint_eq(t->nthreads, 8);
	timeline_free(t);
}
END_TEST

static void *work(void *arg)
{
	unsigned thread = *(unsigned *)arg;

	for (uint32_t i = 0; i < 20000; i++)
		timeline_batch(t, thread, i % 3, timeline_now(t), 5, 2);
	return NULL;
}

START_TEST(threads_at_once)
{
	pthread_t threads[8];
	unsigned numbers[8];
	uint64_t kept = 0;

	begin(3);
	for (unsigned i = 0; i < 8; i++) {
		numbers[i] = i * 30;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &numbers[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(t->streams[i].nthreads, 8);
	ck_assert_uint_eq(t->streams[0].batches + t->streams[1].batches + t->streams[2].batches, 160000);
	ck_assert_uint_eq(t->streams[0].bytes + t->streams[1].bytes + t->streams[2].bytes, 800000);
	for (unsigned i = 0; i < t->nthreads; i++)
		for (size_t k = 0; k < t->threads[i].n; k++)
			kept += t->threads[i].spans[k].names;
	ck_assert_uint_eq(kept, 320000);
	timeline_free(t);
}
END_TEST

START_TEST(without_a_timeline_nothing_happens)
{
	ck_assert_int_eq(timeline_now(NULL), 0);
	ck_assert_int_eq(timeline_streams(NULL, 3), 0);
	ck_assert_int_eq(timeline_name(NULL, 0, "os", "os", 1, 1), 0);
	timeline_phase(NULL, "os", 0);
	timeline_batch(NULL, 0, 0, 0, 1, 1);
	timeline_end(NULL);
	ck_assert_ptr_null(timeline_free(NULL));
}
END_TEST

/* Spans of a thread are in order, and hold all of its batches. */
static void check_thread(const struct timeline_thread *th, uint64_t batches, uint64_t bytes)
{
	uint64_t n = 0, sum = 0;

	ck_assert_uint_le(th->n, TIMELINE_SPANS);
	for (size_t i = 0; i < th->n; i++) {
		ck_assert_int_le(th->spans[i].begin_ns, th->spans[i].end_ns);
		if (i)
			ck_assert_int_le(th->spans[i - 1].end_ns, th->spans[i].begin_ns);
		n += th->spans[i].batches;
		sum += th->spans[i].bytes;
	}
	ck_assert_uint_eq(n, batches);
	ck_assert_uint_eq(sum, bytes);
}

/* A million batches of one stream: what is kept is fine enough for a picture. */
START_TEST(many_batches_are_few_spans)
{
	begin(1);
	for (int64_t i = 0; i < 1000000; i++)
		batch(0, 0, i * MS, i * MS + MS / 2, 7);
	check_thread(&t->threads[0], 1000000, 7000000);
	ck_assert_uint_eq(t->streams[0].batches, 1000000);
	ck_assert_uint_ge(t->threads[0].n, TIMELINE_SPANS / 4);
	for (size_t i = 0; i < t->threads[0].n; i++)
		ck_assert_int_le(t->threads[0].spans[i].end_ns - t->threads[0].spans[i].begin_ns, 1000000 * MS / 128);
	timeline_free(t);
}
END_TEST

/* No two neighbours are of one stream: even then it is bounded, and no span tells of a stream that it has not alone. */
START_TEST(many_streams_are_few_spans)
{
	bool several = false;

	begin(5000);
	for (int64_t i = 0; i < 5000; i++)
		batch(1, (uint32_t)i, i * SEC, i * SEC + SEC / (i % 3 + 1), 1);
	check_thread(&t->threads[1], 5000, 5000);
	for (size_t i = 0; i < t->threads[1].n; i++) {
		const struct timeline_span *s = &t->threads[1].spans[i];

		ck_assert((s->stream == TIMELINE_SEVERAL) == (s->batches > 1));
		several |= s->stream == TIMELINE_SEVERAL;
	}
	ck_assert(several);
	timeline_free(t);
}
END_TEST

START_TEST(spans_for_a_picture)
{
	struct timeline_span *spans;
	size_t n;

	begin(2);
	for (int64_t i = 0; i < 100; i++)
		batch(0, i >= 60, i * 10 * MS, i * 10 * MS + 9 * MS, 1);
	ck_assert_uint_eq(t->threads[0].n, 100);
	ck_assert_int_eq(timeline_merge(&t->threads[0], MS, 1000, &spans, &n), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(spans[0].end_ns, 599 * MS);
	ck_assert_uint_eq(spans[1].batches, 40);
	free(spans);
	ck_assert_int_eq(timeline_merge(&t->threads[0], MS / 2, 10, &spans, &n), 0);
	ck_assert_uint_le(n, 10);
	free(spans);
	ck_assert_uint_eq(t->threads[0].n, 100);
	timeline_free(t);
}
END_TEST

/* --- words ------------------------------------------------------------------------------------ */

START_TEST(ticks)
{
	static const struct {
		int64_t len, tick;
		const char *first, *fifth;
	} cases[] = {
		{ 1000, 1000, "0.001 ms", "0.005 ms" },
		{ 3 * MS, MS / 2, "0.5 ms", "2.5 ms" },
		{ 12 * MS, MS, "0.001 s", "0.005 s" },
		{ 1640 * MS, 200 * MS, "0.2 s", "1.0 s" },
		{ 10 * SEC, SEC, "1 s", "5 s" },
		{ 100 * SEC, 10 * SEC, "10 s", "50 s" },
		{ 170 * SEC, 15 * SEC, "15 s", "1:15" },
		{ 3600 * SEC, 300 * SEC, "5:00", "25:00" },
		{ 7 * 3600 * SEC, 3600 * SEC, "1:00:00", "5:00:00" },
		{ 40 * 86400 * SEC, 4 * 86400 * SEC, "96:00:00", "480:00:00" },
	};
	char text[24];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int64_t tick = timeline_tick_ns(cases[i].len, 12);

		ck_assert_int_eq(tick, cases[i].tick);
		timeline_tick_text(tick, tick, text);
		ck_assert_str_eq(text, cases[i].first);
		timeline_tick_text(5 * tick, tick, text);
		ck_assert_str_eq(text, cases[i].fifth);
		timeline_tick_text(0, tick, text);
		ck_assert_str_eq(text, "0");
	}
	for (int64_t len = 1; len > 0 && len < INT64_MAX / 3; len *= 3) {
		ck_assert_int_le(len / timeline_tick_ns(len, 12), 12);
		ck_assert_int_gt(timeline_tick_ns(len, 0), 0);
	}
}
END_TEST

START_TEST(times_and_numbers)
{
	char text[32];

	ck_assert_str_eq(timeline_time(0, text), "0.00 ms");
	ck_assert_str_eq(timeline_time(350000, text), "0.35 ms");
	ck_assert_str_eq(timeline_time(12 * MS, text), "12.0 ms");
	ck_assert_str_eq(timeline_time(250 * MS, text), "0.25 s");
	ck_assert_str_eq(timeline_time(9999 * MS, text), "10.0 s");
	ck_assert_str_eq(timeline_time(123456 * MS, text), "123 s");
	ck_assert_str_eq(timeline_time(600 * SEC, text), "10:00");
	ck_assert_str_eq(timeline_time(3723 * SEC, text), "1:02:03");
	ck_assert_str_eq(timeline_number(0, text), "0");
	ck_assert_str_eq(timeline_number(999, text), "999");
	ck_assert_str_eq(timeline_number(1000, text), "1,000");
	ck_assert_str_eq(timeline_number(UINT64_MAX, text), "18,446,744,073,709,551,615");
}
END_TEST

START_TEST(texts_are_cut)
{
	char out[64];

	timeline_fit("mysql", 10, 1000, out, sizeof(out));
	ck_assert_str_eq(out, "mysql");
	timeline_fit("abcdefghij", 10, 40, out, sizeof(out));
	ck_assert_str_eq(out, "abcd\u2026");
	ck_assert_double_le(timeline_width(out, 10), 40);
	timeline_fit("\u00fc\u00fc\u00fc\u00fc\u00fc\u00fc", 10, 30, out, sizeof(out));
	ck_assert_str_eq(out, "\u00fc\u00fc\u2026");
	timeline_fit("abc", 10, 5, out, sizeof(out));
	ck_assert_str_eq(out, "\u2026");
	/* the buffer is what is too narrow */
	timeline_fit("abcdefghijklmnopqrstuvwxyz", 10, 1000, out, 12);
	ck_assert_uint_lt(strlen(out), 12);
	/* the end of a text is in the middle of a character */
	timeline_fit("a\xe2\x80", 10, 1000, out, sizeof(out));
	ck_assert_str_eq(out, "a\xe2\x80");
}
END_TEST

START_TEST(markup_is_escaped)
{
	struct buf out = { 0 };

	ck_assert_int_eq(timeline_xml(&out, "<a&\"b\">\\n \xef\xbf\xbf\u00fc"), 0);
	buf_add_zero(&out, 1);
	ck_assert_str_eq((char *)out.data, "&lt;a&amp;&quot;b&quot;&gt;\\n ?\u00fc");
	buf_done(&out);
}
END_TEST

/* --- pictures --------------------------------------------------------------------------------------- */

struct label {
	double left, right, y, px;
	char text[1024];
};

static void unescape(char *text)
{
	static const struct {
		const char *from;
		char to;
	} names[] = { { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' }, { "&amp;", '&' } };
	char *out = text;

	while (*text) {
		size_t i = 0;

		while (i < ARRAY_SIZE(names) && strncmp(text, names[i].from, strlen(names[i].from)) != 0)
			i++;
		*out++ = i < ARRAY_SIZE(names) ? names[i].to : *text;
		text += i < ARRAY_SIZE(names) ? strlen(names[i].from) : 1;
	}
	*out = '\0';
}

/* The text elements, with their widths as they are estimated. */
static size_t labels(const char *svg, struct label *out, size_t max)
{
	size_t n = 0;

	for (const char *p = svg; (p = strstr(p, "<text ")); p++) {
		struct label *l = &out[n++];
		const char *from = strchr(p, '>') + 1, *to = strstr(p, "</text>");
		char anchor[16];
		double x, width;

		ck_assert_uint_le(n, max);
		ck_assert_int_eq(sscanf(p, "<text x=\"%lf\" y=\"%lf\" font-size=\"%lf\" text-anchor=\"%15[a-z]\"",
					&x, &l->y, &l->px, anchor), 4);
		ck_assert_uint_lt((size_t)(to - from), sizeof(l->text));
		memcpy(l->text, from, (size_t)(to - from));
		l->text[to - from] = '\0';
		unescape(l->text);
		width = timeline_width(l->text, l->px);
		l->left = x - (*anchor == 'm' ? width / 2 : *anchor == 'e' ? width : 0);
		l->right = l->left + width;
	}
	return n;
}

static void check_labels(const char *svg)
{
	struct label *v = calloc(2000, sizeof(*v));
	size_t n = labels(svg, v, 2000);

	ck_assert_uint_ge(n, 12);
	for (size_t i = 0; i < n; i++) {
		ck_assert_double_ge(v[i].left, 0);
		ck_assert_double_le(v[i].right, 1280);
		for (size_t k = 0; k < i; k++) {
			double high = MAX(v[i].px, v[k].px) * 0.8;
			bool apart = v[i].y - v[k].y >= high || v[k].y - v[i].y >= high || v[i].left >= v[k].right ||
				     v[k].left >= v[i].right;

			ck_assert_msg(apart, "'%s' and '%s' overlap", v[k].text, v[i].text);
		}
	}
	free(v);
}

/* Every element is closed in its order; no < or & but those of markup. */
static void check_xml(const char *svg)
{
	char open[16][16];
	size_t depth = 0;

	ck_assert(!strncmp(svg, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg ", 44));
	for (const char *p = strstr(svg, "<svg"); (p = strchr(p, '<')); p++) {
		const char *end = strchr(p, '>');
		size_t len = strcspn(p + 1, " >/\n");

		ck_assert_ptr_nonnull(end);
		ck_assert_ptr_null(memchr(p + 1, '<', (size_t)(end - p - 1)));
		if (p[1] == '/') {
			ck_assert_uint_gt(depth, 0);
			depth--;
			ck_assert(!strncmp(open[depth], p + 2, strlen(open[depth])));
		} else if (end[-1] != '/') {
			ck_assert_uint_lt(depth, 16);
			ck_assert_uint_lt(len, 16);
			memcpy(open[depth], p + 1, len);
			open[depth++][len] = '\0';
		}
	}
	ck_assert_uint_eq(depth, 0);
	for (const char *p = svg; (p = strchr(p, '&')); p++)
		ck_assert(!strncmp(p, "&amp;", 5) || !strncmp(p, "&lt;", 4) || !strncmp(p, "&gt;", 4) ||
			  !strncmp(p, "&quot;", 6));
}

static void keep(const char *name, const struct buf *svg)
{
	const char *dir = getenv("PLYFS_PICTURES");
	char path[512];
	FILE *f;

	if (!dir)
		return;
	snprintf(path, sizeof(path), "%s/%s.svg", dir, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fwrite(svg->data, 1, svg->len, f);
	fclose(f);
}

/* Draws, checks and ends the timeline; the picture is the caller's. */
static char *draw(const char *name, const struct timeline_words *w)
{
	struct buf svg = { 0 };

	ck_assert_int_eq(timeline_draw(t, w, &svg), 0);
	keep(name, &svg);
	buf_add_zero(&svg, 1);
	check_xml((char *)svg.data);
	check_labels((char *)svg.data);
	ck_assert_uint_lt(svg.len, 4u << 20);
	timeline_free(t);
	return (char *)svg.data;
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

/* A run of @len, with @nthreads and @nstreams: os first, then all others, threads helping each other. */
static void run(unsigned nthreads, uint32_t nstreams, int64_t len)
{
	int64_t at = len / 50, os_end = at + len * 2 / 5;
	unsigned seed = 1;

	begin(nstreams);
	phase("plan", 0, at);
	for (unsigned i = 0; i < nthreads; i++)
		for (int64_t x = at, step; x < os_end; x += step) {
			step = len / 300 + len / 200 * (rand_r(&seed) % 5) + 1;
			batch(i, 0, x, MIN(x + step * 9 / 10, os_end), 2u << 20);
		}
	phase("os", at, os_end);
	phase("sync", os_end, os_end + len / 30);
	at = os_end + len / 30;
	for (unsigned i = 0; i < nthreads && nstreams > 1; i++) {
		uint32_t s = 1 + i % (nstreams - 1);

		for (int64_t x = at, step; x < len * 9 / 10; x += step) {
			step = len / 400 + len / 100 * (rand_r(&seed) % 4) + 1;
			batch(i, s, x, MIN(x + step * 9 / 10, len * 9 / 10), (uint64_t)(rand_r(&seed) % 4) << 20);
			if (rand_r(&seed) % 20 == 0)
				s = 1 + (s + nthreads) % (nstreams - 1);
		}
	}
	phase("others", at, len * 9 / 10);
	phase("links", len * 9 / 10, len * 9 / 10 + len / 1000);
	phase("metadata", len * 9 / 10 + len / 1000, len * 95 / 100);
	phase("sync", len * 95 / 100, len);
}

static const struct {
	const char *name;
	unsigned threads;
	uint32_t streams;
	int64_t len;
} runs[] = {
	{ "one", 1, 1, 800 * MS },
	{ "four", 4, 5, 12 * SEC },
	{ "sixteen", 16, 12, 95 * SEC },
	{ "many", 64, 40, 3700 * SEC },
	{ "all", 256, 300, 9 * 3600 * SEC },
	{ "short", 32, 8, 3 * MS },
	{ "instant", 2, 2, 1000 },
};

START_TEST(pictures)
{
	const struct timeline_words w = { .title = "plyfs layout lamp.plyfs", .subtitle = "os, apache, mysql, php",
					  .result = "done", .files = 15643, .bytes = 680ull << 20 };
	char *svg;

	run(runs[_i].threads, runs[_i].streams, runs[_i].len);
	svg = draw(runs[_i].name, &w);
	if (_i == 0)
		ck_assert_ptr_nonnull(strstr(svg, ">850.0 MiB/s<"));
	/* what takes longest has a colour, however many there are */
	ck_assert_ptr_nonnull(strstr(svg, ">os</text>\n<text "));
	/* each thread has a bar, and some have a name */
	ck_assert_uint_ge(count(svg, "<title>os, thread "), runs[_i].threads);
	ck_assert_ptr_nonnull(strstr(svg, ">thread 1<"));
	ck_assert_ptr_nonnull(strstr(svg, ">680.0 MiB<"));
	ck_assert_ptr_nonnull(strstr(svg, ">15,643<"));
	ck_assert_ptr_null(strstr(svg, "component-\u2026"));
	ck_assert_uint_ge(count(svg, "<title>sync: "), 2);
	ck_assert((strstr(svg, " others<") != NULL) == (runs[_i].streams > 24));
	free(svg);
}
END_TEST

START_TEST(nothing_was_done)
{
	const struct timeline_words none = { .title = NULL };
	char *svg;

	begin(3);
	svg = draw("nothing", &none);
	ck_assert_ptr_null(strstr(svg, "thread 1"));
	ck_assert_ptr_null(strstr(svg, "nan"));
	ck_assert_ptr_null(strstr(svg, "inf"));
	free(svg);
}
END_TEST

START_TEST(hostile_words)
{
	char title[4000], subtitle[4000];
	const struct timeline_words w = { .title = title, .subtitle = subtitle, .failed = true, .files = UINT64_MAX,
					  .bytes = UINT64_MAX,
					  .result = "failed: /<script>alert(1)</script>\n: cannot create & so on; "
						    "and the text goes on, and on, and never seems to come to an end" };
	char *svg;

	memset(title, 'W', sizeof(title) - 1);
	title[sizeof(title) - 1] = '\0';
	for (size_t i = 0; i + 4 < sizeof(subtitle); i += 4)
		memcpy(subtitle + i, i % 8 ? "<&\"\xff" : "\xe6\x97\xa5 ", 5);
	run(3, 3, SEC);
	free(t->streams[1].name);
	t->streams[1].name = strdup("</title>&<rect \xc3\x28 \x1b[0m a component whose name is longer than any may be");
	svg = draw("hostile", &w);
	ck_assert_ptr_null(strstr(svg, "<script"));
	ck_assert_ptr_null(strstr(svg, "\x1b"));
	ck_assert_ptr_nonnull(strstr(svg, "&lt;/title&gt;&amp;&lt;rect "));
	free(svg);
}
END_TEST

/* A picture is whole, or there is none. */
START_TEST(any_allocation_fails)
{
	const struct timeline_words w = { .title = "title", .subtitle = "subtitle", .result = "done", .files = 1,
					  .bytes = 1 };
	bool failed = true;
	long n = 1;

	run(3, 30, SEC);
	for (; failed; n++) {
		struct buf svg = { 0 };
		int r;

		fail_at = n;
		r = timeline_draw(t, &w, &svg);
		failed = !fail_at;
		fail_at = 0;
		ck_assert_int_eq(r, failed ? -ENOMEM : 0);
		buf_done(&svg);
	}
	ck_assert_int_gt(n, 50);
	timeline_free(t);
}
END_TEST

START_TEST(without_memory_for_spans_sums_are_right)
{
	begin(1);
	fail_at = 1;
	batch(0, 0, 0, MS, 7);
	ck_assert(t->lacks_memory);
	batch(0, 0, 5 * MS, 6 * MS, 7);
	ck_assert_uint_eq(t->streams[0].bytes, 14);
	ck_assert_uint_eq(t->threads[0].n, 1);
	timeline_free(t);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("timeline");

	tap_test(s, sums_of_streams);
	tap_test(s, threads_at_once);
	tap_test(s, without_a_timeline_nothing_happens);
	tap_test(s, many_batches_are_few_spans);
	tap_test(s, many_streams_are_few_spans);
	tap_test(s, spans_for_a_picture);
	tap_test(s, ticks);
	tap_test(s, times_and_numbers);
	tap_test(s, texts_are_cut);
	tap_test(s, markup_is_escaped);
	tap_loop(s, pictures, 0, (int)ARRAY_SIZE(runs));
	tap_test(s, nothing_was_done);
	tap_test(s, hostile_words);
	tap_test(s, any_allocation_fails);
	tap_test(s, without_memory_for_spans_sums_are_right);
	return s;
}
TAP_MAIN(suite)
