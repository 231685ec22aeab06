/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three-way merge of texts by lines: see diff3.h.
 *
 * Lines become numbers, equal lines one number over all three texts; the changes from the base to each
 * side are a shortest edit script (Myers, in linear space), and the two scripts are walked side by side.
 * Where several shortest scripts exist the later place is taken (a change slides down as far as it can), so that
 * the same edit is found at the same place on both sides.
 *
 * A script that takes more than WORK_MAX steps is given up: two texts that have nothing in common would take the
 * square of their length, and they overlap anyway.
 *
 * Two changes with no untouched line between them clash: which comes first, and whether the second was made
 * knowing the first, cannot be told.
 *
 * Reference: E. Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), 4b; the bounds of the
 * diagonals are GNU diff's.
 */
#include "merge/diff3.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/util.h"
#include "merge/parse.h"

#define LINES_MAX ((size_t)1 << 19)        /* of one text: what its numbers take is bounded by this */
#define WORK_MAX  ((uint64_t)1 << 25)      /* steps of one script: a tenth of a second */

struct text {
	struct span all;
	size_t *starts;            /* n + 1 */
	uint32_t *ids;
	size_t n;
};

struct hunk {
	size_t base, nbase;        /* lines of the base that are replaced */
	size_t at, n;              /* by these */
};

struct script {
	struct hunk *v;
	size_t n, cap;
};

/* --- lines to numbers ----------------------------------------------------------------- */

struct ids {
	struct map map;            /* hash -> number */
	struct span *v;
	size_t n, cap;
};

static int id_of(struct ids *t, struct span line, uint32_t *ret)
{
	uint64_t h = span_hash(line);

	for (size_t i = map_first(&t->map, h); i != MAP_END; i = map_next(&t->map, h, i))
		if (span_is(t->v[t->map.slots[i].value], line)) {
			*ret = (uint32_t)t->map.slots[i].value;
			return 0;
		}
	if (array_grow(&t->v, &t->cap, t->n + 1, sizeof(*t->v)) < 0 || map_add(&t->map, h, t->n) < 0)
		return -ENOMEM;
	*ret = (uint32_t)t->n;
	t->v[t->n++] = line;
	return 0;
}

static size_t count_lines(struct span a)
{
	size_t n = 0;

	for (const uint8_t *p = a.s; a.len && p; n++) {
		p = memchr(p, '\n', (size_t)(a.s + a.len - p));
		if (p && ++p == a.s + a.len)
			p = NULL;
	}
	return n;
}

/* -E2BIG: too many lines. */
static int text_init(struct text *t, struct span all, struct ids *ids)
{
	size_t at = 0;
	int r = 0;

	*t = (struct text){ .all = all.len ? all : SPAN(""), .n = count_lines(all) };
	if (t->n > LINES_MAX)
		return -E2BIG;
	t->starts = calloc(t->n + 1, sizeof(*t->starts));
	t->ids = calloc(t->n + 1, sizeof(*t->ids));
	if (!t->starts || !t->ids)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < t->n; i++) {
		const uint8_t *nl = memchr(all.s + at, '\n', all.len - at);
		size_t len = nl ? (size_t)(nl - all.s) + 1 - at : all.len - at;

		t->starts[i] = at;
		r = id_of(ids, (struct span){ all.s + at, len }, &t->ids[i]);
		at += len;
	}
	t->starts[t->n] = all.len;
	return r;
}

static void text_done(struct text *t)
{
	free(t->starts);
	free(t->ids);
}

/* --- the shortest edit script ------------------------------------------------------------ */

struct diff {
	const uint32_t *a, *b;
	uint8_t *changed_a, *changed_b;
	long *forward, *backward;  /* by diagonal, x - y */
	uint64_t work;
};

struct box {
	long a0, a1, b0, b1;
};

/* A point in the middle of a shortest path through @box, in which neither side is empty. -E2BIG. */
static int find_middle(struct diff *d, const struct box *x, long *ret_a, long *ret_b)
{
	long *f = d->forward, *w = d->backward;
	long dmin = x->a0 - x->b1, dmax = x->a1 - x->b0, fmid = x->a0 - x->b0, wmid = x->a1 - x->b1;
	long fmin = fmid, fmax = fmid, wmin = wmid, wmax = wmid;
	bool odd = (fmid - wmid) & 1;

	f[fmid] = x->a0;
	w[wmid] = x->a1;
	for (;;) {
		fmin > dmin ? (void)(f[--fmin - 1] = -1) : (void)fmin++;
		fmax < dmax ? (void)(f[++fmax + 1] = -1) : (void)fmax--;
		for (long k = fmax; k >= fmin; k -= 2) {
			long a = f[k - 1] < f[k + 1] ? f[k + 1] : f[k - 1] + 1, b = a - k, from = a;

			while (a < x->a1 && b < x->b1 && d->a[a] == d->b[b])
				a++, b++;
			f[k] = a;
			if ((d->work += (uint64_t)(a - from) + 1) > WORK_MAX)
				return -E2BIG;
			if (odd && wmin <= k && k <= wmax && w[k] <= a)
				return *ret_a = a, *ret_b = b, 0;
		}
		wmin > dmin ? (void)(w[--wmin - 1] = LONG_MAX) : (void)wmin++;
		wmax < dmax ? (void)(w[++wmax + 1] = LONG_MAX) : (void)wmax--;
		for (long k = wmax; k >= wmin; k -= 2) {
			long a = w[k - 1] < w[k + 1] ? w[k - 1] : w[k + 1] - 1, b = a - k, from = a;

			while (a > x->a0 && b > x->b0 && d->a[a - 1] == d->b[b - 1])
				a--, b--;
			w[k] = a;
			if ((d->work += (uint64_t)(from - a) + 1) > WORK_MAX)
				return -E2BIG;
			if (!odd && fmin <= k && k <= fmax && a <= f[k])
				return *ret_a = a, *ret_b = b, 0;
		}
	}
}

/* A middle halves the script, so the depth is the logarithm of its length. */
static int mark_changes(struct diff *d, struct box x)
{
	long a, b;
	int r;

	while (x.a0 < x.a1 && x.b0 < x.b1 && d->a[x.a0] == d->b[x.b0])
		x.a0++, x.b0++;
	while (x.a0 < x.a1 && x.b0 < x.b1 && d->a[x.a1 - 1] == d->b[x.b1 - 1])
		x.a1--, x.b1--;
	if (x.a0 == x.a1 || x.b0 == x.b1) {
		memset(d->changed_a + x.a0, 1, (size_t)(x.a1 - x.a0));
		memset(d->changed_b + x.b0, 1, (size_t)(x.b1 - x.b0));
		return 0;
	}
	r = find_middle(d, &x, &a, &b);
	if (r == 0)
		r = mark_changes(d, (struct box){ x.a0, a, x.b0, b });
	return r == 0 ? mark_changes(d, (struct box){ a, x.a1, b, x.b1 }) : r;
}

static int add_hunks(struct script *s, const struct diff *d, size_t n, size_t m)
{
	size_t i = 0, k = 0;

	while (i < n || k < m) {
		struct hunk h = { i, 0, k, 0 };

		for (; i < n && d->changed_a[i]; i++)
			h.nbase++;
		for (; k < m && d->changed_b[k]; k++)
			h.n++;
		if (!h.nbase && !h.n) {
			i++, k++;
			continue;
		}
		if (array_grow(&s->v, &s->cap, s->n + 1, sizeof(*s->v)) < 0)
			return -ENOMEM;
		s->v[s->n++] = h;
	}
	return 0;
}

/* Could what is only inserted, or only left out, as well stand one line further down? */
static bool can_slide(const struct hunk *h, const struct text *base, const struct text *to)
{
	if (h->base + h->nbase >= base->n || (h->n && h->nbase))
		return false;
	if (h->n)
		return to->ids[h->at] == base->ids[h->base];
	return base->ids[h->base] == base->ids[h->base + h->nbase];
}

/* From the last one on; those that meet become one. */
static void slide_down(struct script *s, const struct text *base, const struct text *to)
{
	size_t top = s->n;         /* those from here on are done */

	for (size_t i = s->n; i-- > 0;) {
		struct hunk h = s->v[i];

		for (;;) {
			struct hunk *next = top < s->n ? &s->v[top] : NULL;

			if (next && h.base + h.nbase == next->base) {
				h.nbase += next->nbase;
				h.n += next->n;
				top++;
			} else if (can_slide(&h, base, to)) {
				h.base++, h.at++;
			} else {
				break;
			}
		}
		s->v[--top] = h;
	}
	if (top)
		memmove(s->v, s->v + top, (s->n - top) * sizeof(*s->v));
	s->n -= top;
}

static int script_make(struct script *s, const struct text *base, const struct text *to)
{
	size_t diagonals = base->n + to->n + 3;
	_cleanup_free_ uint8_t *changed = calloc(base->n + to->n + 2, 1);
	_cleanup_free_ long *points = calloc(2 * diagonals, sizeof(*points));
	struct diff d = { .a = base->ids, .b = to->ids, .changed_a = changed };
	int r;

	if (!changed || !points)
		return -ENOMEM;
	d.changed_b = changed + base->n + 1;
	d.forward = points + to->n + 1;
	d.backward = d.forward + diagonals;
	r = mark_changes(&d, (struct box){ 0, (long)base->n, 0, (long)to->n });
	if (r == 0)
		r = add_hunks(s, &d, base->n, to->n);
	if (r == 0)
		slide_down(s, base, to);
	return r;
}

/* --- both scripts -------------------------------------------------------------------- */

static int put_lines(struct buf *out, const struct text *t, size_t at, size_t n)
{
	return buf_add(out, t->all.s + t->starts[at], t->starts[at + n] - t->starts[at]);
}

static bool same_hunk(const struct hunk *a, const struct text *ta, const struct hunk *b, const struct text *tb)
{
	return a->base == b->base && a->nbase == b->nbase && a->n == b->n &&
	       (!a->n || !memcmp(ta->ids + a->at, tb->ids + b->at, a->n * sizeof(*ta->ids)));
}

static bool touch(const struct hunk *a, const struct hunk *b)
{
	return a->base <= b->base + b->nbase && b->base <= a->base + a->nbase;
}

static int apply(const struct text t[3], const struct script s[3], struct buf *out)
{
	size_t at = 0, i[3] = { 0 };
	int r = 0;

	while (r == 0 && (i[1] < s[1].n || i[2] < s[2].n)) {
		const struct hunk *a = i[1] < s[1].n ? &s[1].v[i[1]] : NULL, *b = i[2] < s[2].n ? &s[2].v[i[2]] : NULL;
		unsigned side = !b || (a && a->base < b->base) ? 1 : 2;
		const struct hunk *h = side == 1 ? a : b;

		if (a && b && touch(a, b)) {
			if (!same_hunk(a, &t[1], b, &t[2]))
				return -ENOTUNIQ;
			i[3 - side]++;
		}
		i[side]++;
		r = put_lines(out, &t[0], at, h->base - at);
		if (r == 0)
			r = put_lines(out, &t[side], h->at, h->n);
		at = h->base + h->nbase;
	}
	return r == 0 ? put_lines(out, &t[0], at, t[0].n - at) : r;
}

int diff3_merge(struct span base, struct span ours, struct span theirs, struct buf *out, bool *ret_large,
		struct ply_err *err)
{
	struct span v[3] = { base, ours, theirs };
	struct script s[3] = { 0 };
	struct text t[3] = { 0 };
	struct ids ids = { 0 };
	size_t begin = out->len;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < 3; i++)
		r = text_init(&t[i], v[i], &ids);
	for (unsigned i = 1; r == 0 && i < 3; i++)
		r = script_make(&s[i], &t[0], &t[i]);
	if (r == 0)
		r = apply(t, s, out);
	for (unsigned i = 0; i < 3; i++) {
		text_done(&t[i]);
		free(s[i].v);
	}
	map_done(&ids.map);
	free(ids.v);
	*ret_large = r == -E2BIG;
	if (r == 0)
		return 0;
	out->len = begin;
	if (r == -ENOMEM)
		return ply_fail_nomem(err);
	return merge_clash(err, *ret_large ? "too much to compare" : "changes that touch one another");
}
