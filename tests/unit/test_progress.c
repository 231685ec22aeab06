/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Progress on a terminal: whatever is drawn after what else, the screen shows the last picture and nothing of those
 * before it, what stood there before stays, and no line wraps. The terminal is a small one made here, and once a real
 * pseudo-terminal with the drawing thread.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/util.h"
#include "progress_paint.h"
#include "tap.h"

/* --- a terminal -------------------------------------------------------------------------------- */

#define ROWS_MAX 40
#define COLS_MAX 200

static struct {
	unsigned rows, cols, y, x;
	char cells[ROWS_MAX][COLS_MAX + 1];
	unsigned scrolled, wrapped;
} term;

static void term_reset(unsigned rows, unsigned cols)
{
	memset(&term, 0, sizeof(term));
	term.rows = rows;
	term.cols = cols;
	memset(term.cells, ' ', sizeof(term.cells));
}

static void term_line_feed(void)
{
	if (term.y + 1 < term.rows) {
		term.y++;
		return;
	}
	memmove(term.cells[0], term.cells[1], sizeof(term.cells[0]) * (term.rows - 1));
	memset(term.cells[term.rows - 1], ' ', sizeof(term.cells[0]));
	term.scrolled++;
}

/* Of escape sequences those that progress may use; all else is a failure. */
static size_t term_escape(const char *p)
{
	unsigned n = 0;
	int used = 0;

	if (!strncmp(p, "\033[K", 3)) {
		memset(term.cells[term.y] + term.x, ' ', COLS_MAX - term.x);
		return 3;
	}
	if (!strncmp(p, "\033[J", 3)) {
		memset(term.cells[term.y] + term.x, ' ', COLS_MAX - term.x);
		for (unsigned y = term.y + 1; y < term.rows; y++)
			memset(term.cells[y], ' ', COLS_MAX);
		return 3;
	}
	ck_assert_msg(sscanf(p, "\033[%uA%n", &n, &used) == 1 && used > 0, "an escape sequence that is unknown");
	ck_assert_uint_gt(n, 0);
	term.y -= MIN(n, term.y);
	return (size_t)used;
}

static void term_write(const char *p, size_t len)
{
	for (const char *end = p + len; p < end;) {
		if (*p == '\033') {
			p += term_escape(p);
			continue;
		}
		if (*p == '\r') {
			term.x = 0;
		} else if (*p == '\n') {
			term_line_feed();
		} else {
			ck_assert(*p >= 0x20 && *p < 0x7f);
			if (term.x >= term.cols) {
				term.wrapped++;
				term.x = 0;
				term_line_feed();
			}
			term.cells[term.y][term.x++] = *p;
		}
		p++;
	}
}

/* Row @y without the blanks behind it. */
static const char *row(unsigned y)
{
	static char text[COLS_MAX + 1];
	size_t len = COLS_MAX;

	memcpy(text, term.cells[y], COLS_MAX);
	while (len && text[len - 1] == ' ')
		len--;
	text[len] = '\0';
	return text;
}

static unsigned rows_with(const char *what)
{
	unsigned n = 0;

	for (unsigned y = 0; y < term.rows; y++)
		n += strstr(row(y), what) != NULL;
	return n;
}

/* --- counters -------------------------------------------------------------------------------------- */

#define MANY 60

static struct progress_counters counters;
static struct progress_stream *streams;
static char names[MANY][40];
static struct progress_frame frame;

static void begin(size_t n)
{
	streams = calloc(n + 1, sizeof(*streams));
	for (size_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "component-%zu", i);
		streams[i] = (struct progress_stream){ .name = i ? names[i] : "os", .total_bytes = 100u << 20,
						       .total_files = 1000 };
	}
	atomic_store(&counters.phase, "others");
	progress_streams(&counters, streams, n);
}

static void done(size_t i, unsigned percent, unsigned threads)
{
	atomic_store(&streams[i].bytes, percent * (1u << 20));
	atomic_store(&streams[i].files, percent * 10);
	atomic_store(&streams[i].threads, threads);
}

/* @s seconds after all began. */
static struct progress_now at(double s)
{
	counters.work_ns = 0;
	return progress_look(&counters, "layout", 0, (int64_t)(s * 1e9));
}

static void paint(unsigned cols, unsigned rows, double s)
{
	struct progress_now now = at(s);
	struct buf out = { 0 };

	progress_paint(&out, &frame, cols, rows, &now);
	term_write((char *)out.data, out.len);
	buf_done(&out);
	ck_assert_uint_eq(term.wrapped, 0);
}

static void wipe(unsigned cols)
{
	struct buf out = { 0 };

	progress_wipe(&out, &frame, cols);
	term_write((char *)out.data, out.len);
	buf_done(&out);
}

static void prompt(void)
{
	term_write("# plyfs layout\r\n", 16);
}

/* --- tests --------------------------------------------------------------------------------------------- */

START_TEST(a_line_for_each_stream_and_one_for_all)
{
	term_reset(24, 80);
	prompt();
	begin(3);
	done(0, 100, 0);
	done(1, 40, 2);
	paint(80, 24, 1);
	ck_assert_str_eq(row(0), "# plyfs layout");
	ck_assert_str_eq(row(1), "os          100%  1000/1000 files, 100.0 MiB of 100.0 MiB");
	ck_assert_str_eq(row(2), "component-1  40%   400/1000 files, 40.0 MiB of 100.0 MiB, 2 threads");
	ck_assert_str_eq(row(3), "component-2   0%     0/1000 files, 0 B of 100.0 MiB");
	ck_assert_str_eq(row(4), "layout: others  46% 1400/3000 files, 140.0 MiB, 140.0 MiB/s, 0:01 left");
	ck_assert_str_eq(row(5), "");
	done(1, 100, 0);
	done(2, 1, 1);
	paint(80, 24, 2);
	ck_assert_str_eq(row(2), "component-1 100%  1000/1000 files, 100.0 MiB of 100.0 MiB");
	ck_assert_str_eq(row(3), "component-2   1%    10/1000 files, 1.0 MiB of 100.0 MiB, 1 thread");
	ck_assert_uint_eq(rows_with("layout: others"), 1);
	wipe(80);
	ck_assert_str_eq(row(0), "# plyfs layout");
	for (unsigned y = 1; y < 24; y++)
		ck_assert_str_eq(row(y), "");
	ck_assert_uint_eq(term.y, 1);
	ck_assert_uint_eq(term.x, 0);
}
END_TEST

START_TEST(numbers_stand_below_each_other)
{
	term_reset(24, 80);
	begin(2);
	streams[0].total_files = 123456;
	streams[1].total_files = 7;
	atomic_store(&streams[1].files, 3);
	paint(80, 24, 1);
	ck_assert_str_eq(row(0), "os            0%       0/123456 files, 0 B of 100.0 MiB");
	ck_assert_str_eq(row(1), "component-1   0%       3/7      files, 0 B of 100.0 MiB");
}
END_TEST

START_TEST(a_wide_terminal_has_bars)
{
	term_reset(24, 160);
	begin(2);
	done(0, 50, 1);
	paint(160, 24, 10);
	ck_assert_str_eq(row(0), "os          [##########----------]  50%   500/1000 files, 50.0 MiB of 100.0 MiB, "
				 "1 thread");
	ck_assert_str_eq(row(2), "layout: others  25% 500/2000 files, 50.0 MiB of 200.0 MiB, 5.0 MiB/s, 0:30 left");
}
END_TEST

/* At the end of the screen lines scroll once, and stay in their places from then on. */
START_TEST(at_the_end_of_the_screen)
{
	term_reset(10, 80);
	begin(4);
	for (int i = 0; i < 9; i++)
		term_write("before\r\n", 8);
	for (unsigned i = 1; i < 20; i++) {
		done(1, i, 1);
		paint(80, 10, i);
	}
	ck_assert_uint_eq(term.scrolled, 4);
	ck_assert_uint_eq(rows_with("before"), 5);
	ck_assert_uint_eq(rows_with("component-1 "), 1);
	ck_assert_str_eq(row(6), "component-1  19%   190/1000 files, 19.0 MiB of 100.0 MiB, 1 thread");
	wipe(80);
	ck_assert_uint_eq(rows_with("before"), 5);
	ck_assert_uint_eq(term.y, 5);
}
END_TEST

START_TEST(more_streams_than_lines)
{
	term_reset(12, 80);
	begin(MANY);
	for (size_t i = 0; i < 30; i++)
		done(i, 100, 0);
	done(40, 5, 2);
	done(50, 7, 1);
	done(55, 7, 0);
	paint(80, 12, 3);
	ck_assert_uint_eq(term.scrolled, 0);
	ck_assert_uint_eq(rows_with("component-40 "), 1);
	ck_assert_uint_eq(rows_with("component-50 "), 1);
	ck_assert_uint_eq(rows_with("component-55 "), 1);
	/* then those that wait, and none that is done */
	ck_assert_uint_eq(rows_with("component-30 "), 1);
	ck_assert_uint_eq(rows_with("100%"), 0);
	ck_assert_str_eq(row(9), "...          and 51 more");
	ck_assert_uint_eq(rows_with("layout: others"), 1);
	ck_assert_str_eq(row(11), "");
	/* fewer lines than before leave nothing behind */
	paint(80, 5, 4);
	ck_assert_uint_eq(rows_with("component-"), 2);
	ck_assert_str_eq(row(2), "...          and 58 more");
	for (unsigned y = 4; y < 12; y++)
		ck_assert_str_eq(row(y), "");
	paint(80, 2, 5);
	ck_assert_uint_eq(rows_with("component-"), 0);
	ck_assert_uint_eq(rows_with("layout: others"), 1);
}
END_TEST

START_TEST(any_size_of_terminal)
{
	begin(MANY);
	for (size_t i = 0; i < MANY; i++)
		done(i, (unsigned)i, (unsigned)i % 3);
	for (unsigned cols = 1; cols < 130; cols += cols < 10 ? 1 : 7)
		for (unsigned rows = 1; rows < 40; rows++) {
			term_reset(rows, cols);
			frame = (struct progress_frame){ 0 };
			for (unsigned i = 0; i < 4; i++)
				paint(cols, rows, i);
			ck_assert_uint_eq(term.scrolled, 0);
			wipe(cols);
			for (unsigned y = 0; y < rows; y++)
				ck_assert_str_eq(row(y), "");
		}
}
END_TEST

/* What a narrower terminal has made of the old lines is not known: they stay, and the new ones come below. */
START_TEST(a_terminal_that_becomes_narrower)
{
	term_reset(24, 80);
	prompt();
	begin(2);
	paint(80, 24, 1);
	term.cols = 40;
	paint(40, 24, 2);
	ck_assert_str_eq(row(0), "# plyfs layout");
	ck_assert_uint_eq(rows_with("layout: others"), 2);
	paint(40, 24, 3);
	wipe(40);
	ck_assert_uint_eq(rows_with("layout: others"), 1);
	paint(40, 24, 3);
	ck_assert_uint_eq(rows_with("layout: others   0%, 0 B/s"), 1);
	wipe(40);
	/* a wider one changes nothing */
	paint(40, 24, 4);
	term.cols = 100;
	paint(100, 24, 5);
	ck_assert_uint_eq(rows_with("layout: others"), 2);
}
END_TEST

START_TEST(names_that_are_long_or_strange)
{
	term_reset(24, 80);
	begin(2);
	streams[0].name = "a-name-that-is-much-longer-than-there-is-room-for";
	streams[1].name = "\xc3\xa4\x1b[2J\n";
	paint(80, 24, 1);
	ck_assert_str_eq(row(0), "a-name-that-is-much-long   0%     0/1000 files, 0 B of 100.0 MiB");
	ck_assert(!strncmp(row(1), "???[2J? ", 8));
}
END_TEST

/* Verbs without streams have one line, as ever. */
START_TEST(without_streams)
{
	term_reset(24, 80);
	prompt();
	atomic_store(&counters.phase, "write");
	atomic_store(&counters.bytes, 30u << 20);
	atomic_store(&counters.files, 12);
	paint(80, 24, 3);
	ck_assert_str_eq(row(1), "layout: write 12 files, 30.0 MiB, 10.0 MiB/s");
	atomic_store(&counters.total_bytes, 60u << 20);
	atomic_store(&counters.total_files, 24);
	paint(80, 24, 3);
	ck_assert_str_eq(row(1), "layout: write  50% 12/24 files, 30.0 MiB of 60.0 MiB, 10.0 MiB/s, 0:03 left");
	wipe(80);
	ck_assert_str_eq(row(1), "");
}
END_TEST

/* What an earlier run has done is done, and says nothing of how fast this one is. */
START_TEST(what_was_found)
{
	struct progress_now now;

	begin(2);
	atomic_store(&streams[0].bytes, 100u << 20);
	atomic_store(&streams[0].found_bytes, 100u << 20);
	atomic_store(&streams[0].files, 1000);
	atomic_store(&streams[0].found_files, 1000);
	now = at(10);
	ck_assert_uint_eq(now.bytes, 100u << 20);
	ck_assert_double_eq(now.rate, 0);
	ck_assert_double_eq(now.left_s, 0);
	done(1, 50, 1);
	now = at(10);
	ck_assert_double_eq_tol(now.rate, 5 * 1048576.0, 1);
	ck_assert_double_eq_tol(now.left_s, 10, 0.01);
	/* a file weighs something even if it is empty */
	atomic_store(&streams[1].bytes, 100u << 20);
	ck_assert_double_gt(at(10).left_s, 0);
	atomic_store(&streams[1].files, 1000);
	ck_assert_double_eq(at(10).left_s, 0);
	/* more than was planned */
	atomic_store(&streams[1].bytes, 200u << 20);
	ck_assert_double_eq(at(10).left_s, 0);
}
END_TEST

START_TEST(long_times)
{
	term_reset(24, 100);
	begin(1);
	done(0, 1, 1);
	paint(100, 24, 60);
	ck_assert(strstr(row(1), ", 1:39:00 left"));
}
END_TEST

/* --- the drawing thread ------------------------------------------------------------------------------------- */

static void *count(void *arg)
{
	atomic_bool *stop = arg;

	while (!atomic_load(stop))
		for (size_t i = 0; i < counters.nstreams; i++) {
			atomic_fetch_add(&streams[i].bytes, 1);
			atomic_fetch_add(&streams[i].files, 1);
			atomic_store(&streams[i].threads, (unsigned)i & 1);
		}
	return NULL;
}

/* Runs the drawing thread with @fd as the standard error output, until the first picture has come to @other, its other
 * end. */
static void draw_to(int fd, int other, enum progress_mode mode, bool *ret_any)
{
	struct pollfd pfd = { .fd = other, .events = POLLIN };
	int old = dup(STDERR_FILENO);
	atomic_bool stop = false;
	struct progress *p;
	pthread_t thread;

	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	p = progress_begin(mode, "layout", &counters);
	begin(4);
	ck_assert_int_eq(pthread_create(&thread, NULL, count, &stop), 0);
	if (p)
		ck_assert_int_eq(poll(&pfd, 1, 60000), 1);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	*ret_any = p;
	progress_end(p);
	progress_counters_done(&counters);
	dup2(old, STDERR_FILENO);
	close(old);
}

static size_t read_some(int fd, char *out, size_t cap)
{
	size_t len = 0;
	ssize_t n;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (len < cap && (n = read(fd, out + len, cap - len)) > 0)
		len += (size_t)n;
	return len;
}

START_TEST(on_a_terminal)
{
	const struct winsize size = { .ws_row = 10, .ws_col = 60 };
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	char out[16384];
	bool any;

	ck_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(slave, 0);
	ck_assert_int_eq(ioctl(slave, TIOCSWINSZ, &size), 0);
	setenv("TERM", "xterm", 1);
	draw_to(slave, master, PROGRESS_AUTO, &any);
	ck_assert(any);
	term_reset(10, 60);
	term_write(out, read_some(master, out, sizeof(out)));
	ck_assert_uint_eq(term.wrapped, 0);
	for (unsigned y = 0; y < 10; y++)
		ck_assert_str_eq(row(y), "");
	ck_assert_ptr_nonnull(memmem(out, sizeof(out), "component-3 ", 12));
	setenv("TERM", "dumb", 1);
	draw_to(slave, master, PROGRESS_AUTO, &any);
	ck_assert(!any);
	draw_to(slave, master, PROGRESS_NEVER, &any);
	ck_assert(!any);
	ck_assert_uint_eq(read_some(master, out, sizeof(out)), 0);
}
END_TEST

START_TEST(as_json)
{
	static const char head[] = "{\"schema\": 1, \"verb\": \"layout\", \"phase\": \"others\", ";
	char out[65536], *line, *rest = out;
	int pipes[2], of_all = 0;
	int of_stream[4] = { 0 };
	bool any;

	ck_assert_int_eq(pipe(pipes), 0);
	fcntl(pipes[1], F_SETPIPE_SZ, (int)sizeof(out));
	draw_to(pipes[1], pipes[0], PROGRESS_AUTO, &any);
	ck_assert(!any);
	draw_to(pipes[1], pipes[0], PROGRESS_JSON, &any);
	ck_assert(any);
	out[read_some(pipes[0], out, sizeof(out) - 1)] = '\0';
	ck_assert_ptr_null(strchr(out, '\033'));
	while ((line = strsep(&rest, "\n")) && *line) {
		ck_assert(!strncmp(line, head, strlen(head)));
		ck_assert(line[strlen(line) - 1] == '}');
		of_all += strstr(line, "\"left_s\": ") && !strstr(line, "\"stream\"");
		for (int i = 0; i < 4; i++) {
			char name[64];

			snprintf(name, sizeof(name), i ? "\"stream\": \"component-%d\", " : "\"stream\": \"os\", ", i);
			of_stream[i] += strstr(line, name) != NULL;
		}
	}
	ck_assert_int_ge(of_all, 2);
	for (int i = 0; i < 4; i++)
		ck_assert(of_stream[i] >= 1 && of_stream[i] <= of_all);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("progress");

	tap_test(s, a_line_for_each_stream_and_one_for_all);
	tap_test(s, numbers_stand_below_each_other);
	tap_test(s, a_wide_terminal_has_bars);
	tap_test(s, at_the_end_of_the_screen);
	tap_test(s, more_streams_than_lines);
	tap_test(s, any_size_of_terminal);
	tap_test(s, a_terminal_that_becomes_narrower);
	tap_test(s, names_that_are_long_or_strange);
	tap_test(s, without_streams);
	tap_test(s, what_was_found);
	tap_test(s, long_times);
	tap_test(s, on_a_terminal);
	tap_test(s, as_json);
	return s;
}
TAP_MAIN(suite)
