/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Overlays (FORMAT.md, "Overlays") against what they stand on, and the collisions of sub-images of
 * which neither stands on the other. What the bytes of two files make together is for the merge engine; here it
 * is whether what is named exists, and at one path.
 *
 * A directory of an overlay that stands in what it stands on is joined with it, so a name is looked for in the
 * members of its directory's row. A hostile image has many of these for each name: lookups have a limit for
 * the whole image.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "ops/verify_internal.h"

#define LOOKUPS_MAX (1u << 24)
#define STEPS_MAX   (1u << 24)     /* requirements that are followed, for all overlays together */
#define BAD_PAIRS   1000u          /* after so many the others are no news */

struct overlays {
	const struct catalog *c;
	uint32_t *by_name;         /* positions */
	uint8_t **below;           /* by position: a bit for each in its closure; NULL: no overlay */
	uint64_t steps;            /* requirements that may still be followed */
};

/* --- what an overlay stands on ---------------------------------------------------------------- */

static bool bit(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static int by_sub_name(const void *a, const void *b, void *ctx)
{
	const struct catalog *c = ctx;

	return strcmp(c->subs[*(const uint32_t *)a].info.name, c->subs[*(const uint32_t *)b].info.name);
}

/* Position of @name; -1: the image has none. */
static int find_name(const struct overlays *ov, const char *name)
{
	uint32_t lo = 0, hi = ov->c->nsubs;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		int c = strcmp(ov->c->subs[ov->by_name[mid]].info.name, name);

		if (!c)
			return (int)ov->by_name[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return -1;
}

struct choice {
	struct overlays *ov;
	uint8_t *selected;
	uint32_t *todo;            /* selected, and not looked at; room for all */
	uint32_t ntodo;
	uint32_t *open;            /* looked at, but for their alternatives */
	uint32_t nopen;
};

static void select_at(struct choice *ch, uint32_t pos)
{
	if (bit(ch->selected, pos))
		return;
	ch->selected[pos / 8] |= (uint8_t)(1u << pos % 8);
	ch->todo[ch->ntodo++] = pos;
	ch->open[ch->nopen++] = pos;
}

static bool afford_step(struct overlays *ov)
{
	return ov->steps && ov->steps--;
}

/* As a view does: what is required without a choice, or, with @choose, the first of alternatives of which
 * none is selected. */
static void follow(struct choice *ch, uint32_t pos, bool choose)
{
	const struct ply_sub_info *s = &ch->ov->c->subs[pos].info;
	uint32_t end;

	for (uint32_t k = 0; k < s->nrequires; k = end) {
		int first = -1;
		bool met = false;

		for (end = k; end < s->nrequires && s->require_groups[end] == s->require_groups[k]; end++) {
			int at = afford_step(ch->ov) ? find_name(ch->ov, s->requires[end]) : -1;

			if (at < 0)
				continue;
			first = first < 0 ? at : first;
			met |= bit(ch->selected, (uint32_t)at);
		}
		if (first >= 0 && !met && (choose || end - k == 1))
			select_at(ch, (uint32_t)first);
	}
}

static void close_over(struct choice *ch, const struct ply_sub_info *s)
{
	select_at(ch, 0);
	for (uint32_t i = 0; i < s->nstands_on; i++)
		select_at(ch, (uint32_t)find_name(ch->ov, s->stands_on[i]));   /* there is one: the catalog was read */
	for (uint32_t at = 0; ch->ntodo || at < ch->nopen;)
		if (ch->ntodo)
			follow(ch, ch->todo[--ch->ntodo], false);
		else
			follow(ch, ch->open[at++], true);
}

struct overlays *overlays_new(const struct catalog *c)
{
	struct overlays *ov = calloc(1, sizeof(*ov));
	struct choice ch = { .ov = ov };

	if (!ov)
		return NULL;
	ov->c = c;
	ov->steps = STEPS_MAX;
	ov->by_name = calloc(c->nsubs, sizeof(*ov->by_name));
	ov->below = calloc(c->nsubs, sizeof(*ov->below));
	ch.todo = calloc(c->nsubs, sizeof(*ch.todo));
	ch.open = calloc(c->nsubs, sizeof(*ch.open));
	if (!ov->by_name || !ov->below || !ch.todo || !ch.open)
		goto fail;
	for (uint32_t i = 0; i < c->nsubs; i++)
		ov->by_name[i] = i;
	qsort_r(ov->by_name, c->nsubs, sizeof(*ov->by_name), by_sub_name, (void *)c);
	for (uint32_t i = 0; i < c->nsubs; i++) {
		if (!c->subs[i].info.nstands_on)
			continue;
		ov->below[i] = ch.selected = calloc(c->nsubs / 8 + 1, 1);
		if (!ch.selected)
			goto fail;
		ch.ntodo = ch.nopen = 0;
		close_over(&ch, &c->subs[i].info);
	}
	free(ch.todo);
	free(ch.open);
	return ov;
fail:
	free(ch.todo);
	free(ch.open);
	return overlays_free(ov);
}

struct overlays *overlays_free(struct overlays *ov)
{
	if (ov) {
		for (uint32_t i = 0; ov->below && i < ov->c->nsubs; i++)
			free(ov->below[i]);
		free(ov->below);
		free(ov->by_name);
		free(ov);
	}
	return NULL;
}

bool overlays_stands_on(const struct overlays *ov, uint32_t pos, uint32_t other)
{
	return ov->below[pos] && bit(ov->below[pos], other);
}

bool overlays_apart(const struct overlays *ov, uint32_t a, uint32_t b)
{
	return (ov->below[a] || ov->below[b]) && !overlays_stands_on(ov, a, b) && !overlays_stands_on(ov, b, a);
}

/* --- names below ---------------------------------------------------------------------------------- */

struct check {
	struct verify *v;
	const struct catalog *c;
	struct sub *const *subs;
	const struct join *j;
	const struct overlays *ov;
	const int *by_number;
	uint64_t lookups;          /* that may still be made */
	bool limit_told;
};

#define SUB_NAME(pos) (k->c->subs[pos].info.name)

static bool afford(struct check *k)
{
	if (k->lookups) {
		k->lookups--;
		return true;
	}
	if (!k->limit_told)
		findings_add(&k->v->list, PLY_R_LIMIT, NULL, 0, 0,
			     "more overrides, whiteouts and collisions than are looked at; the others were not checked");
	k->limit_told = true;
	return false;
}

/* Entry @name of directory @dir of sub-image @pos in sub-image @other: 1 found, 0 none, -1: not known. */
static int name_in(struct check *k, const struct join_row *row, uint32_t i, uint32_t *ret_pos, const char *name,
		   size_t len, uint64_t *ret_at, struct ply_entry *ret)
{
	struct join_member m;
	struct ply_node dir;
	int pos;

	if (join_member(k->j, row, i, &m, NULL) < 0)
		return -1;
	pos = k->by_number[PLY_INO_NUMBER(m.ref)];
	if (pos < 0 || !k->subs[pos])
		return -1;
	*ret_pos = (uint32_t)pos;
	if (sub_node(k->subs[pos], PLY_INO_INDEX(m.ref), &dir, NULL) < 0 || !S_ISDIR(dir.mode))
		return -1;
	return sub_find(k->subs[pos], &dir, name, len, ret_at, ret, NULL) == 0;
}

/* Has what overlay @pos stands on the name @e in the directory that is its node @dir? Yes, too, where that
 * cannot be told. */
static bool stands_below(struct check *k, uint32_t pos, uint64_t dir, const struct ply_entry *e)
{
	struct join_row row;
	int r = join_find(k->j, PLY_INO(k->c->subs[pos].info.number, dir), &row, NULL);

	if (r <= 0)
		return r < 0;
	for (uint32_t i = 0; i < row.nmembers; i++) {
		struct ply_entry other;
		uint32_t at;

		if (!afford(k))
			return true;
		r = name_in(k, &row, i, &at, e->name, e->name_len, NULL, &other);
		if (r < 0 || (r && other.type != PLY_T_WHITEOUT && overlays_stands_on(k->ov, pos, at)))
			return true;
	}
	return false;
}

static int check_overrides(struct check *k, uint32_t pos, struct ply_err *err)
{
	struct sub *s = k->subs[pos];
	int r = 0;

	for (uint64_t i = 0; r == 0 && !k->limit_told && i < sub_override_count(s); i++) {
		struct ply_override o;
		struct ply_entry e;
		struct ply_node n;

		if (sub_override(s, i, &o, NULL) < 0 || o.node == PLY_ROOT_INDEX ||
		    sub_node(s, o.node, &n, NULL) < 0 || sub_entry(s, n.entry, &e, NULL) < 0)
			continue;          /* told with the tables */
		if (!stands_below(k, pos, PLY_INO_INDEX(n.parent), &e))
			NODE_FINDING(k->v, PLY_R_OVERRIDE_FIELD, SUB_NAME(pos), s, o.node,
				     "row %llu of OVERRIDES: nothing is at its path to be overridden",
				     (unsigned long long)i);
		if (k->v->list.n > 1024)
			r = verify_flush(k->v, err);
	}
	return r;
}

/* Each name that is gone was there. */
static int check_whiteouts(struct check *k, uint32_t pos, struct ply_err *err)
{
	struct sub *s = k->subs[pos];
	uint64_t left = sub_limits(s)->entries;    /* directories of a hostile image share them */
	int r = 0;

	for (uint64_t i = PLY_ROOT_INDEX; r == 0 && !k->limit_told && i < sub_limits(s)->nodes; i++) {
		struct ply_node n;

		if (sub_node(s, i, &n, NULL) < 0 || !S_ISDIR(n.mode) || n.size > left)
			continue;
		left -= n.size;
		for (uint64_t at = n.data; r == 0 && at < n.data + n.size; at++) {
			struct ply_entry e;
			struct held *h;

			if (sub_entry(s, at, &e, NULL) < 0 || e.type != PLY_T_WHITEOUT || stands_below(k, pos, i, &e))
				continue;
			h = findings_add(&k->v->list, PLY_R_TREE_SHAPE, SUB_NAME(pos), 0, 0,
					 "entry %llu: nothing of this name is there to be gone", (unsigned long long)at);
			if (h)
				held_path(h, verify_entry_path(s, i, at));
			if (k->v->list.n > 1024)
				r = verify_flush(k->v, err);
		}
	}
	return r;
}

/* --- collisions ------------------------------------------------------------------------------------ */

/* One side of a pair. */
struct side {
	uint32_t pos;
	bool whiteout;
	uint64_t index;            /* of the node, or of the row of ENTRIES */
	struct ply_node n;
};

#define PAIR_FINDING(i, what, ...) \
	findings_add(&k->v->list, PLY_R_COLLISION_FIELD, NULL, 0, 0, "collision %llu: " what, \
		     (unsigned long long)(i), ##__VA_ARGS__)

/* False: it is nothing (told), or cannot be looked at. */
static bool look_at(struct check *k, uint64_t i, uint64_t ref, bool whiteout, struct side *ret)
{
	int pos = k->by_number[PLY_INO_NUMBER(ref)];
	struct ply_entry e;
	struct ply_err why;

	if (pos < 0) {
		PAIR_FINDING(i, "sub-image %u does not exist", PLY_INO_NUMBER(ref));
		return false;
	}
	if (!k->subs[pos])
		return false;
	*ret = (struct side){ .pos = (uint32_t)pos, .whiteout = whiteout, .index = PLY_INO_INDEX(ref) - whiteout };
	if (whiteout) {
		if (sub_entry(k->subs[pos], ret->index, &e, &why) < 0)
			PAIR_FINDING(i, "%s of sub-image %s", why.msg, SUB_NAME(pos));
		else if (e.type != PLY_T_WHITEOUT)
			PAIR_FINDING(i, "entry %llu of sub-image %s is no whiteout",
				     (unsigned long long)ret->index, SUB_NAME(pos));
		else
			return true;
		return false;
	}
	if (sub_node(k->subs[pos], ret->index, &ret->n, &why) == 0)
		return true;
	PAIR_FINDING(i, "%s of sub-image %s", why.msg, SUB_NAME(pos));
	return false;
}

/* Has @b's sub-image, at the first name of @a, @b? 1, 0; -1: it cannot be told. */
static int meet_at(struct check *k, const struct side *a, const struct side *b)
{
	struct sub *s = k->subs[a->pos];
	struct join_row row;
	struct ply_entry e, other;
	uint64_t at;

	if (a->whiteout)
		return -1;
	if (a->index == PLY_ROOT_INDEX)
		return !b->whiteout && b->index == PLY_ROOT_INDEX;
	if (sub_entry(s, a->n.entry, &e, NULL) < 0)
		return -1;
	if (join_find(k->j, PLY_INO(k->c->subs[a->pos].info.number, PLY_INO_INDEX(a->n.parent)), &row, NULL) <= 0)
		return 0;
	for (uint32_t i = 0; i < row.nmembers; i++) {
		uint32_t pos;
		int r = afford(k) ? name_in(k, &row, i, &pos, e.name, e.name_len, &at, &other) : -1;

		if (r < 0)
			return -1;
		if (r && pos == b->pos)
			return b->whiteout ? at == b->index : PLY_INO_INDEX(other.ref) == b->index;
	}
	return 0;
}

static bool has_one_name(const struct side *s)
{
	return !s->whiteout && (S_ISDIR(s->n.mode) || s->n.nlink <= 1);
}

/* A file of several names may meet the other one at any of them, and only its first is found from it. */
static bool may_meet(struct check *k, const struct side *a, const struct side *b)
{
	int from_a = meet_at(k, a, b), from_b = meet_at(k, b, a);

	if (from_a > 0 || from_b > 0)
		return true;
	return !(from_a == 0 && has_one_name(a)) && !(from_b == 0 && has_one_name(b));
}

static bool is_directory(const struct side *s)
{
	return !s->whiteout && S_ISDIR(s->n.mode);
}

static void check_pair(struct check *k, uint64_t i, const struct ply_collision *c)
{
	struct side a, b;
	bool one, other;

	one = look_at(k, i, c->a, c->flags & PLY_PAIR_A_WHITEOUT, &a);
	other = look_at(k, i, c->b, c->flags & PLY_PAIR_B_WHITEOUT, &b);
	if (!one || !other)
		return;
	if (!overlays_apart(k->ov, a.pos, b.pos))
		PAIR_FINDING(i, "of sub-images %s and %s one stands on the other, or none is an overlay",
			     SUB_NAME(a.pos), SUB_NAME(b.pos));
	else if (!may_meet(k, &a, &b))
		PAIR_FINDING(i, "it joins what stands at different paths of %s and %s",
			     SUB_NAME(a.pos), SUB_NAME(b.pos));
	else if (c->cls == PLY_PAIR_DIRECTORY && !(is_directory(&a) && is_directory(&b)))
		PAIR_FINDING(i, "its class is that of directories, and one is none");
	else if (c->flags & PLY_PAIR_APPENDABLE &&
		 (a.whiteout || b.whiteout || !S_ISREG(a.n.mode) || !S_ISREG(b.n.mode)))
		PAIR_FINDING(i, "what is no regular file cannot be appended to");
}

static int check_collisions(struct check *k, struct ply_err *err)
{
	struct ply_collision last = { 0 }, c;
	uint64_t bad = 0;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < join_ncollisions(k->j); i++, last = c) {
		size_t told = k->v->list.n;
		struct ply_err e;

		if (bad >= BAD_PAIRS) {
			PAIR_FINDING(i, "this one and those behind it were not checked");
			break;
		}

		if (join_collision(k->j, i, &c, &e) < 0) {
			PAIR_FINDING(i, "%s", e.msg);
			c = last;
		} else {
			if (i && collision_compare(&last, &c) >= 0)
				PAIR_FINDING(i, "it is out of order");
			if (!k->limit_told)
				check_pair(k, i, &c);
		}
		bad += k->v->list.n > told;
		if (k->v->list.n > 1024)
			r = verify_flush(k->v, err);
	}
	return r;
}

/* Is there a row for the pair, of whatever class? True, too, where that cannot be told. */
static bool is_declared(const struct join *j, struct ply_collision pair)
{
	static const uint8_t parts[] = { PLY_PAIR_CONFLICT, PLY_PAIR_TIMES };   /* of the table: see collision_comes_first() */

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct ply_collision c;
		uint64_t at;

		pair.cls = parts[i];
		if (join_collision_from(j, &pair, &at, NULL) < 0)
			return true;
		if (at < join_ncollisions(j) && (join_collision(j, at, &c, NULL) < 0 || !collision_compare(&c, &pair)))
			return true;
	}
	return false;
}

static bool has_mark(struct sub *s, uint64_t index)
{
	uint64_t lo = 0, hi = sub_mark_count(s);

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct sub_mark m;

		if (sub_mark(s, mid, &m, NULL) < 0 || m.index == index)
			return true;
		if (m.index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

/* Do two nodes differ in what needs no content to be read? What has a mark is never a difference. */
static bool nodes_differ(struct sub *s, uint64_t i, struct sub *o, uint64_t k)
{
	struct ply_node a, b;
	const void *p, *q;

	if (sub_node(s, i, &a, NULL) < 0 || sub_node(o, k, &b, NULL) < 0 || has_mark(s, i) || has_mark(o, k))
		return false;
	if (S_ISDIR(a.mode) && S_ISDIR(b.mode))
		return false;
	if (a.mode != b.mode)
		return true;
	if ((a.flags | b.flags) & PLY_NODE_SHARED)   /* a part: its file is longer than it */
		return false;
	if (a.size != b.size)
		return true;
	return S_ISLNK(a.mode) && sub_heap(s, a.data, a.size, &p, NULL) == 0 &&
	       sub_heap(o, b.data, b.size, &q, NULL) == 0 && memcmp(p, q, a.size) != 0;
}

static uint64_t reference(const struct catalog *c, uint32_t pos, uint64_t at, const struct ply_entry *e)
{
	return PLY_INO(c->subs[pos].info.number, e->type == PLY_T_WHITEOUT ? at + 1 : PLY_INO_INDEX(e->ref));
}

bool overlays_differ_untold(const struct join *j, const struct catalog *c, struct sub *const *subs, uint32_t a,
			    uint64_t a_at, const struct ply_entry *ae, uint32_t b, uint64_t b_at,
			    const struct ply_entry *be)
{
	struct ply_collision pair = { .a = reference(c, a, a_at, ae), .b = reference(c, b, b_at, be) };

	if (PLY_INO_NUMBER(pair.a) > PLY_INO_NUMBER(pair.b))
		pair = (struct ply_collision){ .a = pair.b, .b = pair.a };
	/* a whiteout and what has nothing to do with what it hides need no row */
	if (ae->type == PLY_T_WHITEOUT || be->type == PLY_T_WHITEOUT ||
	    !nodes_differ(subs[a], PLY_INO_INDEX(ae->ref), subs[b], PLY_INO_INDEX(be->ref)))
		return false;
	return !is_declared(j, pair);
}

/* All that an overlay is based on comes before it, also where that is only required by what it stands on. */
static void check_closures(struct check *k)
{
	if (!k->ov->steps)
		findings_add(&k->v->list, PLY_R_LIMIT, NULL, 0, 0,
			     "more requirements than are followed; what overlays stand on is not known");
	for (uint32_t i = 0; i < k->c->nsubs; i++) {
		for (uint32_t at = i; k->ov->below[i] && at < k->c->nsubs; at++) {
			if (!bit(k->ov->below[i], at))
				continue;
			findings_add(&k->v->list, PLY_R_PARENT, SUB_NAME(i), 0, 0,
				     "what it stands on requires %s, which comes behind it", SUB_NAME(at));
			break;
		}
	}
}

int verify_overlays(struct verify *v, const struct catalog *c, struct sub *const *subs, const struct join *j,
		    const struct overlays *ov, const int *by_number, struct ply_err *err)
{
	struct check k = { .v = v, .c = c, .subs = subs, .j = j, .ov = ov, .by_number = by_number,
			   .lookups = LOOKUPS_MAX };
	int r = 0;

	check_closures(&k);
	for (uint32_t i = 0; r == 0 && i < c->nsubs; i++) {
		if (!subs[i] || !ov->below[i])
			continue;
		r = check_overrides(&k, i, err);
		if (r == 0)
			r = check_whiteouts(&k, i, err);
	}
	if (r == 0)
		r = check_collisions(&k, err);
	return r < 0 ? r : verify_flush(v, err);
}
