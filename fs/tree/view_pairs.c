/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What collides in a selection, and what was decided about it.
 *
 * The image has a row for each two sub-images that have one path and differ there, if neither stands on the
 * other (FORMAT.md, COLLISIONS). Those with both selected are kept, in one scan at opening; nothing else is read for
 * them. Where nothing has to be decided, nor was, nothing is kept, and a name looks up its pairs in the table: a mount
 * does not pay for what settles itself, which stands behind all else there.
 *
 * All pairs of one path are one group: pairs that share a contender. A decision about one of them decides all, for what
 * is shown is one path. A contender of several names is at several paths: where the other one has other links, it does
 * not tell which, and joins no groups.
 *
 * Immutable once open.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"
#include "image/join.h"
#include "merge/merge.h"
#include "tree/view_impl.h"

struct view_pairs {
	struct view_pair *v;       /* by key_b(), key_a() */
	size_t n, cap;
	bool rules[PLY_RULE_DRIVER + 1];
	bool types;
	bool open_types;           /* a conflict of types is open */
	uint64_t behind;           /* rows of the table from this one on are not kept */
};

static uint64_t key_a(const struct view_pair *p)
{
	return p->a | (p->flags & PLY_PAIR_A_WHITEOUT ? PAIR_WHITEOUT : 0);
}

static uint64_t key_b(const struct view_pair *p)
{
	return p->b | (p->flags & PLY_PAIR_B_WHITEOUT ? PAIR_WHITEOUT : 0);
}

static int by_keys(const void *x, const void *y)
{
	const struct view_pair *p = x, *q = y;

	if (key_b(p) != key_b(q))
		return key_b(p) < key_b(q) ? -1 : 1;
	return key_a(p) < key_a(q) ? -1 : key_a(p) > key_a(q);
}

struct view_pairs *view_pairs_free(struct view_pairs *p)
{
	if (p) {
		free(p->v);
		free(p);
	}
	return NULL;
}

/* The first pair whose second is @key or more. */
static size_t first_with(const struct view_pairs *p, uint64_t key)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (key_b(&p->v[mid]) < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static uint64_t nrows(const struct ply_view *v)
{
	return v->join ? join_ncollisions(v->join) : 0;
}

/* Are they not kept, but looked up? */
static bool in_table(const struct ply_view *v)
{
	return v->pairs && v->pairs->behind < nrows(v);
}

/* A row of those that are not kept. */
static int read_row(const struct ply_view *v, uint64_t i, struct view_pair *ret, struct ply_err *err)
{
	struct ply_collision c;
	int r = join_collision(v->join, i, &c, err);

	if (r < 0)
		return r;
	if (collision_comes_first(&c))
		return ply_fail(err, -EUCLEAN, PLY_R_COLLISION_FIELD, "collision %llu is out of order", (unsigned long long)i);
	*ret = (struct view_pair){ .a = c.a, .b = c.b, .cls = c.cls, .flags = c.flags };
	return 0;
}

int view_pairs_with(const struct ply_view *v, uint64_t key, struct view_pair_range *ret, struct ply_err *err)
{
	struct ply_collision from = { .b = key, .cls = PLY_PAIR_TIMES }, to = { .b = key + 1, .cls = PLY_PAIR_TIMES };
	int r;

	*ret = (struct view_pair_range){ 0 };
	if (view_npairs(v)) {
		ret->at = first_with(v->pairs, key);
		ret->n = first_with(v->pairs, key + 1) - ret->at;
	} else if (in_table(v) && !(key & PAIR_WHITEOUT)) {   /* those are kept */
		uint64_t end;

		r = join_collision_from(v->join, &from, &ret->at, err);
		if (r == 0)
			r = join_collision_from(v->join, &to, &end, err);
		if (r < 0)
			return r;
		ret->n = end - ret->at;
	}
	return 0;
}

int view_pairs_get(const struct ply_view *v, uint64_t at, struct view_pair *ret, struct ply_err *err)
{
	if (in_table(v))
		return read_row(v, at, ret, err);
	*ret = v->pairs->v[at];
	return 0;
}

int view_pairs_find(const struct ply_view *v, const struct view_pair_range *range, uint64_t key, struct view_pair *ret,
		    struct ply_err *err)
{
	uint64_t lo = range->at, hi = range->at + range->n;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		int r = view_pairs_get(v, mid, ret, err);

		if (r < 0)
			return r;
		if (key_a(ret) == key)
			return 1;
		if (key_a(ret) < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

bool view_pairs_any(const struct ply_view *v, uint8_t rule)
{
	return v->pairs && v->pairs->rules[rule];
}

bool view_pairs_of_types(const struct ply_view *v)
{
	return v->pairs && v->pairs->types;
}

size_t view_npairs(const struct ply_view *v)
{
	return v->pairs ? v->pairs->n : 0;
}

const struct view_pair *view_pair_at(const struct ply_view *v, size_t i)
{
	return &v->pairs->v[i];
}

bool view_pairs_open_types(const struct ply_view *v)
{
	return v->pairs && v->pairs->open_types;
}

/* --- reading ------------------------------------------------------------------------ */

static bool is_selected(const struct ply_view *v, uint64_t ref)
{
	return PLY_INO_NUMBER(ref) <= PLY_NUMBER_MAX && v->by_number[PLY_INO_NUMBER(ref)];
}

static bool names_something(const struct ply_view *v, uint64_t ref, bool whiteout)
{
	const struct sub_limits *lim = sub_limits(v->subs[v->by_number[PLY_INO_NUMBER(ref)] - 1u].sub);
	uint64_t index = PLY_INO_INDEX(ref);

	return index && (whiteout ? index <= lim->entries : index < lim->nodes);
}

/* @all: also where there is nothing that has to be decided. */
static int read_pairs(struct ply_view *v, bool all, struct ply_err *err)
{
	struct view_pairs *p = v->pairs;
	uint64_t n = nrows(v);

	for (; p->behind < n; p->behind++) {
		uint64_t i = p->behind;
		struct ply_collision c;
		int r = join_collision(v->join, i, &c, err);

		if (r < 0)
			return r;
		if (!all && !p->n && !collision_comes_first(&c))
			break;
		if (!is_selected(v, c.a) || !is_selected(v, c.b))
			continue;
		if (!names_something(v, c.a, c.flags & PLY_PAIR_A_WHITEOUT) ||
		    !names_something(v, c.b, c.flags & PLY_PAIR_B_WHITEOUT))
			return ply_fail(err, -EUCLEAN, PLY_R_COLLISION_FIELD, "collision %llu is of what there is not",
					(unsigned long long)i);
		if (array_grow(&p->v, &p->cap, p->n + 1, sizeof(*p->v)) < 0)
			return ply_fail_nomem(err);
		p->v[p->n++] = (struct view_pair){ .a = c.a, .b = c.b, .cls = c.cls, .why = c.why, .flags = c.flags };
		p->types |= (c.flags & PLY_PAIR_F_TYPE) || c.why == PLY_PAIR_WHY_TYPE;
	}
	if (p->n > UINT32_MAX / 2)
		return ply_fail(err, -EUCLEAN, PLY_R_LIMIT, "more than 2^31 collisions");
	if (p->n)
		qsort(p->v, p->n, sizeof(*p->v), by_keys);
	return 0;
}

/* --- groups --------------------------------------------------------------------------- */

struct groups {
	uint64_t *keys;            /* contenders, ascending */
	uint32_t *up;              /* of each: another of its group; its own number: it stands for the group */
	size_t n;
};

static int by_value(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return a < b ? -1 : a > b;
}

/* Names of a file that are not those of the other one, so that it is no path of its own. */
static bool is_several(const struct ply_view *v, uint64_t ref, bool whiteout)
{
	struct ply_node n;

	return !whiteout && sub_node(v->subs[v->by_number[PLY_INO_NUMBER(ref)] - 1u].sub, PLY_INO_INDEX(ref), &n, NULL) == 0 &&
	       !S_ISDIR(n.mode) && n.nlink > 1;
}

#define KEY_ALONE (3ULL << 62)     /* of nobody else: with the pair's number */

static uint64_t group_a(const struct ply_view *v, size_t i)
{
	const struct view_pair *p = &v->pairs->v[i];

	return p->flags & PLY_PAIR_F_LINKS && is_several(v, p->a, p->flags & PLY_PAIR_A_WHITEOUT) ? KEY_ALONE | 2 * i :
												     key_a(p);
}

static uint64_t group_b(const struct ply_view *v, size_t i)
{
	const struct view_pair *p = &v->pairs->v[i];

	return p->flags & PLY_PAIR_F_LINKS && is_several(v, p->b, p->flags & PLY_PAIR_B_WHITEOUT) ? KEY_ALONE | (2 * i + 1) :
												     key_b(p);
}

static uint32_t find_group(struct groups *g, uint64_t key)
{
	const uint64_t *at = bsearch(&key, g->keys, g->n, sizeof(*g->keys), by_value);
	uint32_t i = (uint32_t)(at - g->keys);

	while (g->up[i] != i) {
		g->up[i] = g->up[g->up[i]];
		i = g->up[i];
	}
	return i;
}

static int group(struct ply_view *v, struct ply_err *err)
{
	struct view_pairs *p = v->pairs;
	_cleanup_free_ uint64_t *of = calloc(2 * p->n + 1, sizeof(*of));   /* both keys of each pair */
	struct groups g = { 0 };

	g.keys = calloc(2 * p->n + 1, sizeof(*g.keys));
	g.up = calloc(2 * p->n + 1, sizeof(*g.up));
	if (!of || !g.keys || !g.up) {
		free(g.keys);
		free(g.up);
		return ply_fail_nomem(err);
	}
	for (size_t i = 0; i < p->n; i++) {
		g.keys[2 * i] = of[2 * i] = group_a(v, i);
		g.keys[2 * i + 1] = of[2 * i + 1] = group_b(v, i);
	}
	qsort(g.keys, 2 * p->n, sizeof(*g.keys), by_value);
	for (size_t i = 0; i < 2 * p->n; i++)
		if (!g.n || g.keys[i] != g.keys[g.n - 1])
			g.keys[g.n++] = g.keys[i];
	for (size_t i = 0; i < g.n; i++)
		g.up[i] = (uint32_t)i;
	for (size_t i = 0; i < p->n; i++)
		g.up[find_group(&g, of[2 * i + 1])] = find_group(&g, of[2 * i]);
	for (size_t i = 0; i < p->n; i++)
		p->v[i].path = find_group(&g, of[2 * i]);
	free(g.keys);
	free(g.up);
	return 0;
}

static bool is_of_links(const struct ply_view *v, const struct view_pair *p)
{
	return is_several(v, p->a, p->flags & PLY_PAIR_A_WHITEOUT) || is_several(v, p->b, p->flags & PLY_PAIR_B_WHITEOUT);
}

bool view_pairs_of_links(const struct ply_view *v)
{
	struct view_pair p;

	for (size_t i = 0; i < view_npairs(v); i++)
		if (is_of_links(v, &v->pairs->v[i]))
			return true;
	for (uint64_t i = v->pairs->behind; i < nrows(v); i++)
		if (read_row(v, i, &p, NULL) < 0 || (is_selected(v, p.a) && is_selected(v, p.b) && is_of_links(v, &p)))
			return true;
	return false;
}

/* --- decisions ------------------------------------------------------------------------- */

#define LOOKS_MAX (1u << 22)       /* at candidates: a hostile image may have many conflicts; those behind it count */

static bool is_open(const struct view_pair *p)
{
	return p->cls == PLY_PAIR_CONFLICT && !p->rule;
}

/* By group: what decides it. */
struct verdict {
	uint8_t rule;
	uint16_t driver;
	bool vetoed;               /* one of its conflicts cannot be appended */
	bool counted;
};

static int by_pair(const void *x, const void *y)
{
	const struct ply_decision *p = x, *q = y;

	if (p->b != q->b)
		return p->b < q->b ? -1 : 1;
	return p->a < q->a ? -1 : p->a > q->a;
}

static int decide(struct verdict *d, uint8_t rule, uint16_t driver, struct ply_err *err)
{
	if (d->rule && (d->rule != rule || d->driver != driver))
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "two decisions about one path");
	d->rule = rule;
	d->driver = driver;
	return 0;
}

/* Sorted, each pair once. */
static int sort_decisions(const struct ply_decision *v, size_t n, struct ply_decision *out, size_t *ret_n,
			  struct ply_err *err)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		out[i] = v[i];
		if (!v[i].rule || v[i].rule > PLY_RULE_DRIVER)
			return ply_fail(err, -EINVAL, PLY_R_USAGE, "there is no rule %u", v[i].rule);
		if (v[i].rule == PLY_RULE_DRIVER && !merge_driver_get(v[i].driver))
			return ply_fail(err, -EINVAL, PLY_R_USAGE, "there is no merge driver %u", v[i].driver);
	}
	if (n)
		qsort(out, n, sizeof(*out), by_pair);
	for (size_t i = 0; i < n; i++) {
		if (k && !by_pair(&out[i], &out[k - 1]) &&
		    (out[i].rule != out[k - 1].rule || out[i].driver != out[k - 1].driver))
			return ply_fail(err, -EINVAL, PLY_R_USAGE, "two decisions about one path");
		if (!k || by_pair(&out[i], &out[k - 1]))
			out[k++] = out[i];
	}
	*ret_n = k;
	return 0;
}

static int apply(struct view_pairs *p, const struct ply_decision *v, size_t n, struct verdict *verdicts,
		 struct ply_err *err)
{
	_cleanup_free_ struct ply_decision *sorted = calloc(n + 1, sizeof(*sorted));
	_cleanup_free_ bool *used = calloc(n + 1, sizeof(*used));
	int r;

	if (!sorted || !used)
		return ply_fail_nomem(err);
	r = sort_decisions(v, n, sorted, &n, err);
	for (size_t i = 0; r == 0 && n && i < p->n; i++) {
		const struct ply_decision key = { .a = p->v[i].a, .b = p->v[i].b };
		const struct ply_decision *d = bsearch(&key, sorted, n, sizeof(*sorted), by_pair);

		if (!d)
			continue;
		used[d - sorted] = true;
		r = decide(&verdicts[p->v[i].path], d->rule, d->driver, err);
	}
	for (size_t i = 0; r == 0 && i < n; i++)
		if (!used[i])
			r = ply_fail(err, -EINVAL, PLY_R_USAGE, "a decision about %#llx and %#llx, which do not collide here",
				     (unsigned long long)sorted[i].a, (unsigned long long)sorted[i].b);
	return r;
}

static const char *name_of(const struct ply_view *v, uint64_t ref)
{
	return ply_image_sub_info(v->image, v->subs[v->by_number[PLY_INO_NUMBER(ref)] - 1u].pos)->name;
}

/* A file of several names is at several paths; where only one of both is one, the other one tells. */
uint64_t view_pair_named(const struct ply_view *v, const struct view_pair *p)
{
	if (p->flags & PLY_PAIR_A_WHITEOUT)
		return p->b;
	if (p->flags & PLY_PAIR_B_WHITEOUT)
		return p->a;
	return is_several(v, p->a, false) && !is_several(v, p->b, false) ? p->b : p->a;
}

/* A whiteout has the name that its row has. */
bool view_pair_has_one_name(const struct ply_view *v, const struct view_pair *p)
{
	uint64_t ref = view_pair_named(v, p);

	return !is_several(v, ref, false);
}

static int undecided(struct ply_view *v, const struct view_pair *p, size_t n, struct ply_err *err)
{
	uint64_t ref = view_pair_named(v, p);
	_cleanup_buf_ struct buf path = { 0 };
	char shown[512] = "?";

	if (sub_node_path(v->subs[v->by_number[PLY_INO_NUMBER(ref)] - 1u].sub, PLY_INO_INDEX(ref), &path, NULL) == 0)
		escape_name_to((const char *)path.data, strlen((const char *)path.data), shown, sizeof(shown));
	return ply_fail(err, -ENOTUNIQ, PLY_R_CONFLICT, "%zu conflict%s not decided, the first is /%s (%s, %s); see plyfs plan",
			n, n == 1 ? " is" : "s are", shown, name_of(v, p->a), name_of(v, p->b));
}

/* Tell each pair what decides it. */
static void tell(struct view_pairs *p, const struct verdict *verdicts)
{
	p->open_types = false;
	for (size_t i = 0; i < p->n; i++) {
		struct view_pair *pair = &p->v[i];

		pair->rule = verdicts[pair->path].rule;
		pair->driver = verdicts[pair->path].driver;
		p->rules[pair->rule] = true;
		p->open_types |= is_open(pair) && (pair->why == PLY_PAIR_WHY_TYPE ||
						   pair->flags & (PLY_PAIR_F_TYPE | PLY_PAIR_A_WHITEOUT |
								  PLY_PAIR_B_WHITEOUT));
	}
}

/* Conflicts that are open only by the rows: one side is hidden. */
static void find_hidden(struct ply_view *v, bool *hidden)
{
	const struct view_pairs *p = v->pairs;
	uint64_t looks = 0;

	for (size_t i = 0; i < p->n && looks < LOOKS_MAX; i++) {
		if (!is_open(&p->v[i]))
			continue;
		looks += v->nsubs;
		hidden[i] = view_pair_is_hidden(v, &p->v[i]);
	}
}

/* Paths with a conflict that is open; the first of those. */
static size_t count_open(const struct view_pairs *p, const bool *hidden, struct verdict *verdicts,
			 const struct view_pair **ret_first)
{
	size_t open = 0;

	for (size_t i = 0; i < p->n; i++) {
		struct verdict *d = &verdicts[p->v[i].path];

		if (!is_open(&p->v[i]) || hidden[i] || d->counted)
			continue;
		d->counted = true;
		if (!open++)
			*ret_first = &p->v[i];
	}
	return open;
}

/* A path is appended where all that collides there can be. */
static void append_all(struct view_pairs *p, const bool *hidden, struct verdict *verdicts)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].cls == PLY_PAIR_CONFLICT && !hidden[i] && !(p->v[i].flags & PLY_PAIR_APPENDABLE))
			verdicts[p->v[i].path].vetoed = true;
	for (size_t i = 0; i < p->n; i++) {
		struct verdict *d = &verdicts[p->v[i].path];

		if (p->v[i].cls == PLY_PAIR_CONFLICT && !hidden[i] && !d->vetoed && !d->rule)
			d->rule = PLY_RULE_APPEND;
	}
}

int view_pairs_open(struct ply_view *v, const struct ply_view_options *o, struct ply_err *err)
{
	_cleanup_free_ struct verdict *verdicts = NULL;
	_cleanup_free_ bool *hidden = NULL;
	const struct view_pair *first = NULL;
	size_t open;
	int r;

	v->pairs = calloc(1, sizeof(*v->pairs));
	if (!v->pairs)
		return ply_fail_nomem(err);
	r = read_pairs(v, o->ndecisions || o->undecided_first || o->all_pairs, err);
	if (r == 0)
		r = group(v, err);
	if (r < 0)
		return r;
	verdicts = calloc(2 * v->pairs->n + 1, sizeof(*verdicts));
	hidden = calloc(v->pairs->n + 1, sizeof(*hidden));
	if (!verdicts || !hidden)
		return ply_fail_nomem(err);
	r = apply(v->pairs, o->decisions, o->ndecisions, verdicts, err);
	if (r < 0)
		return r;
	tell(v->pairs, verdicts);
	find_hidden(v, hidden);
	if (o->append) {
		append_all(v->pairs, hidden, verdicts);
		tell(v->pairs, verdicts);
	}
	open = count_open(v->pairs, hidden, verdicts, &first);
	return open && !o->undecided_first ? undecided(v, first, open, err) : 0;
}
