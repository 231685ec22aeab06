/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unified differences: see textdiff.h. The greedy algorithm of E. W. Myers, "An O(ND) Difference Algorithm and Its
 * Variations" (1986), behind equal beginnings and ends. What it has reached in each of its rounds is kept, so that the
 * way is found again from the end; the number of rounds is bounded, and with it time and memory. A process that runs
 * diff(1) was rejected: it needs files with the bytes of an image, and a machine that has it.
 */
#include "textdiff.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define ROUNDS_MAX 1500            /* memory is the square of it, times 4 bytes */
#define CONTEXT    3
#define TEXT_MAX   ((size_t)2 << 20)

struct line {
	const char *s;
	size_t len;                /* without the line end */
};

struct lines {
	struct line *v;
	size_t n, cap;
	bool unended;              /* the last has no line end */
};

/* A step from the one to the other: keep, delete, insert. */
struct steps {
	char *v;
	size_t n, cap;
};

bool textdiff_is_binary(const void *text, size_t len)
{
	return len > TEXT_MAX || (len && memchr(text, '\0', len));
}

static int cut(const char *s, size_t len, struct lines *ret)
{
	ret->unended = len && s[len - 1] != '\n';
	while (len) {
		const char *end = memchr(s, '\n', len);
		size_t n = end ? (size_t)(end - s) : len;

		if (array_grow(&ret->v, &ret->cap, ret->n + 1, sizeof(*ret->v)) < 0)
			return -ENOMEM;
		ret->v[ret->n++] = (struct line){ s, n };
		n += end != NULL;
		s += n;
		len -= n;
	}
	return 0;
}

struct pair {
	const struct lines *a, *b;
};

static bool same(const struct pair *p, size_t i, size_t k)
{
	const struct line *x = &p->a->v[i], *y = &p->b->v[k];

	if (x->len != y->len || memcmp(x->s, y->s, x->len) != 0)
		return false;
	return (p->a->unended && i == p->a->n - 1) == (p->b->unended && k == p->b->n - 1);
}

static int add(struct steps *s, char step, size_t n)
{
	if (!n)
		return 0;
	if (array_grow(&s->v, &s->cap, s->n + n, 1) < 0)
		return -ENOMEM;
	memset(s->v + s->n, step, n);
	s->n += n;
	return 0;
}

/* The way back through the rounds; steps come out from the end. */
static int walk_back(int32_t *const *rounds, int d, int32_t x, int32_t y, struct steps *out)
{
	int r = 0;

	for (; r == 0 && d > 0; d--) {
		const int32_t *v = rounds[d - 1] + d;      /* of round d - 1: diagonals -d .. d */
		int32_t k = x - y, from, px, py;

		from = k == -d || (k != d && v[k - 1] < v[k + 1]) ? k + 1 : k - 1;
		px = v[from];
		py = px - from;
		while (r == 0 && x > px && y > py) {
			r = add(out, '=', 1);
			x--;
			y--;
		}
		if (r == 0)
			r = add(out, from == k + 1 ? '+' : '-', 1);
		x = px;
		y = py;
	}
	return r == 0 ? add(out, '=', (size_t)x) : r;
}

/* Steps for lines [off, off + n) of a and [off, off + m) of b, from the end. -E2BIG: too many rounds. */
static int search(const struct pair *p, size_t off, int32_t n, int32_t m, struct steps *out)
{
	int32_t *rounds[ROUNDS_MAX] = { 0 }, most = MIN(n + m, ROUNDS_MAX - 1), *v;
	int r = -E2BIG, d;

	v = calloc(2 * (size_t)ROUNDS_MAX + 3, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v += ROUNDS_MAX + 1;
	for (d = 0; r == -E2BIG && d <= most; d++) {
		for (int32_t k = -d; k <= d; k += 2) {
			int32_t x = k == -d || (k != d && v[k - 1] < v[k + 1]) ? v[k + 1] : v[k - 1] + 1, y = x - k;

			while (x < n && y < m && same(p, off + (size_t)x, off + (size_t)y)) {
				x++;
				y++;
			}
			v[k] = x;
			if (x >= n && y >= m) {
				r = walk_back(rounds, d, n, m, out);
				goto found;
			}
		}
		/* the next round looks at diagonals -d-1 .. d+1 of this one */
		rounds[d] = malloc((2 * (size_t)d + 3) * sizeof(*v));
		if (!rounds[d]) {
			r = -ENOMEM;
			break;
		}
		memcpy(rounds[d], v - d - 1, (2 * (size_t)d + 3) * sizeof(*v));
	}
found:
	for (int i = 0; i < ROUNDS_MAX; i++)
		free(rounds[i]);
	free(v - ROUNDS_MAX - 1);
	return r;
}

static int find_steps(const struct pair *p, struct steps *out)
{
	size_t n = p->a->n, m = p->b->n, head = 0, tail = 0;
	struct steps middle = { 0 };
	int r;

	while (head < n && head < m && same(p, head, head))
		head++;
	while (tail < n - head && tail < m - head && same(p, n - 1 - tail, m - 1 - tail))
		tail++;
	n -= head + tail;
	m -= head + tail;
	r = n < INT32_MAX / 2 && m < INT32_MAX / 2 ? search(p, head, (int32_t)n, (int32_t)m, &middle) : -E2BIG;
	if (r == -E2BIG) {         /* from the end: the new lines, the old ones */
		middle.n = 0;
		r = add(&middle, '+', m);
		if (r == 0)
			r = add(&middle, '-', n);
	}
	if (r == 0)
		r = add(out, '=', head);
	for (size_t i = middle.n; r == 0 && i; i--)
		r = add(out, middle.v[i - 1], 1);
	if (r == 0)
		r = add(out, '=', tail);
	free(middle.v);
	return r;
}

static int put_line(struct buf *out, char mark, const struct lines *l, size_t i)
{
	const char *s = l->v[i].s, *end = s + l->v[i].len;
	int r = buf_add(out, &mark, 1);

	/* tabs stay: they are text */
	while (r == 0 && s < end) {
		const char *tab = memchr(s, '\t', (size_t)(end - s)), *stop = tab ? tab : end;
		_cleanup_free_ char *shown = escape_name(s, (size_t)(stop - s));

		r = shown ? buf_printf(out, "%s%s", shown, tab ? "\t" : "") : -ENOMEM;
		s = stop + (tab != NULL);
	}
	if (r == 0)
		r = buf_add(out, "\n", 1);
	if (r == 0 && l->unended && i == l->n - 1)
		r = buf_printf(out, "\\ No newline at end of file\n");
	return r;
}

/* Steps [@from, @to), where lines @x and @y are the next. */
static int put_hunk(const struct pair *p, const struct steps *s, size_t from, size_t to, size_t x, size_t y,
		    struct buf *out)
{
	size_t n = 0, m = 0;
	int r;

	for (size_t i = from; i < to; i++) {
		n += s->v[i] != '+';
		m += s->v[i] != '-';
	}
	r = buf_printf(out, "@@ -%zu,%zu +%zu,%zu @@\n", x + (n > 0), n, y + (m > 0), m);
	for (size_t i = from; r == 0 && i < to; i++) {
		char step = s->v[i];

		r = step == '+' ? put_line(out, '+', p->b, y) : put_line(out, step == '=' ? ' ' : '-', p->a, x);
		x += step != '+';
		y += step != '-';
	}
	return r;
}

static int put_hunks(const struct pair *p, const struct steps *s, struct buf *out)
{
	size_t x = 0, y = 0, i = 0;
	int r = 0;

	while (r == 0 && i < s->n) {
		size_t first = i, end, quiet = 0, from;

		while (first < s->n && s->v[first] == '=')
			first++;
		if (first == s->n)
			break;
		from = first - i > CONTEXT ? first - CONTEXT : i;
		x += from - i;
		y += from - i;
		for (end = first; end < s->n && quiet <= 2 * CONTEXT; end++)
			quiet = s->v[end] == '=' ? quiet + 1 : 0;
		if (quiet > CONTEXT)
			end -= quiet - CONTEXT;
		r = put_hunk(p, s, from, end, x, y, out);
		for (i = from; i < end; i++) {
			x += s->v[i] != '+';
			y += s->v[i] != '-';
		}
	}
	return r;
}

int textdiff(const char *a_name, const void *a, size_t a_len, const char *b_name, const void *b, size_t b_len,
	     struct buf *out)
{
	struct lines x = { 0 }, y = { 0 };
	const struct pair p = { &x, &y };
	struct steps steps = { 0 };
	int r = cut(a, a_len, &x);

	if (r == 0)
		r = cut(b, b_len, &y);
	if (r == 0)
		r = find_steps(&p, &steps);
	if (r == 0 && (memchr(steps.v ? steps.v : "", '+', steps.n) || memchr(steps.v ? steps.v : "", '-', steps.n))) {
		r = buf_printf(out, "--- %s\n+++ %s\n", a_name, b_name);
		if (r == 0)
			r = put_hunks(&p, &steps, out);
	}
	free(x.v);
	free(y.v);
	free(steps.v);
	return r;
}
