/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Conditions: is the table of a segment well-formed; and what conditions say of each other over all
 * selections of an image.
 *
 * Two names exclude each other when no selection has both. That is decided without trying
 * selections: the clauses of both, and that both sub-images are selected, must all hold. "None of these"
 * takes components away, and nothing else does; with all that are left selected, every "any of these" that
 * can hold does. So one look at each row answers. That selections are closed over what they require is
 * not used: a name that only this keeps apart from another is a collision, and no writer relies on it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ops/verify_internal.h"

int verify_conditions(struct verify *v, const char *name, struct sub *s, uint8_t **ret_starts,
		      struct ply_err *err)
{
	uint64_t n = sub_limits(s)->conditions, first = 0;
	bool in_condition = false, in_clause = false, none = false;
	int r = 0;
	uint8_t *starts = calloc(n / 8 + 1, 1);

	if (!starts)
		return ply_fail_nomem(err);
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		struct ply_condition c;
		struct ply_err e;

		if (v->list.n > 1024)
			r = verify_flush(v, err);
		if (!in_condition) {
			starts[i / 8] |= (uint8_t)(1u << i % 8);
			first = i;
		}
		if (sub_condition(s, (uint32_t)i + 1, 0, &c, &e) < 0) {
			findings_add(&v->list, e.reason, name, 0, 0, "row %llu of CONDITIONS: %s",
				     (unsigned long long)i, e.msg);
			in_condition = true;
			in_clause = false;
			continue;
		}
		if (in_clause && c.none != none)
			findings_add(&v->list, PLY_R_CONDITION_FIELD, name, 0, 0,
				     "row %llu of CONDITIONS: a clause of \"any\" and \"none\"",
				     (unsigned long long)i);
		if (i - first == PLY_COND_LEN_MAX)
			findings_add(&v->list, PLY_R_CONDITION_FIELD, name, 0, 0,
				     "condition %llu has more than %u rows", (unsigned long long)first + 1,
				     PLY_COND_LEN_MAX);
		none = c.none;
		in_clause = !c.ends_clause;
		in_condition = !c.ends;
	}
	if (in_condition)
		findings_add(&v->list, PLY_R_CONDITION_FIELD, name, 0, 0, "condition %llu does not end",
			     (unsigned long long)first + 1);
	*ret_starts = starts;
	return r;
}

bool condition_begins(const struct sub *s, const uint8_t *starts, uint32_t cond)
{
	uint32_t row = cond - 1;

	return !cond || (cond <= sub_limits(s)->conditions && starts[row / 8] >> row % 8 & 1);
}

/* --- over all selections ------------------------------------------------------------------ */

/* Of questions about two names: rows of conditions that are looked at, in an image. Seconds; conditions of a real
 * image have a few rows, and names that exclude each other are few. */
#define ROWS_MAX (1ULL << 28)
#define ASKED    4096u             /* answers that are kept */

struct asked {
	uint32_t a, a_cond, b, b_cond;
	bool is, both;
};

enum known { UNKNOWN = 0, HOLDS, FAILS };

struct selections {
	const struct catalog *c;
	struct sub *const *subs;
	uint32_t *by_name;         /* positions */
	int32_t **slots;           /* by position: local slot -> position, -1: not in the image; NULL: not asked yet */
	uint8_t **all;             /* by position, then by row: enum known of "holds with all"; NULL: not asked yet */
	uint32_t *taken;           /* by position: the question that took it away */
	uint32_t question;
	uint64_t rows;             /* that may still be looked at */
	struct asked asked[ASKED]; /* by hash */
};

static int by_sub_name(const void *a, const void *b, void *ctx)
{
	const struct catalog *c = ctx;

	return strcmp(c->subs[*(const uint32_t *)a].info.name, c->subs[*(const uint32_t *)b].info.name);
}

struct selections *selections_new(const struct catalog *c, struct sub *const *subs)
{
	struct selections *sel = calloc(1, sizeof(*sel));

	if (!sel)
		return NULL;
	sel->c = c;
	sel->subs = subs;
	sel->rows = ROWS_MAX;
	sel->by_name = calloc(c->nsubs, sizeof(*sel->by_name));
	sel->slots = calloc(c->nsubs, sizeof(*sel->slots));
	sel->taken = calloc(c->nsubs, sizeof(*sel->taken));
	sel->all = calloc(c->nsubs, sizeof(*sel->all));
	if (!sel->by_name || !sel->slots || !sel->taken || !sel->all)
		return selections_free(sel);
	for (uint32_t i = 0; i < c->nsubs; i++)
		sel->by_name[i] = i;
	qsort_r(sel->by_name, c->nsubs, sizeof(*sel->by_name), by_sub_name, (void *)c);
	return sel;
}

struct selections *selections_free(struct selections *sel)
{
	if (sel) {
		for (uint32_t i = 0; sel->slots && i < sel->c->nsubs; i++)
			free(sel->slots[i]);
		for (uint32_t i = 0; sel->all && i < sel->c->nsubs; i++)
			free(sel->all[i]);
		free(sel->all);
		free(sel->by_name);
		free(sel->slots);
		free(sel->taken);
		free(sel);
	}
	return NULL;
}

static int32_t position(const struct selections *sel, const char *name, uint32_t len)
{
	uint32_t lo = 0, hi = sel->c->nsubs;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = sub_name_compare(sel->c->subs[sel->by_name[mid]].info.name, name, len);

		if (!c)
			return (int32_t)sel->by_name[mid];
		if (c > 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return -1;
}

/* NULL: no memory. */
static const int32_t *slots_of(struct selections *sel, uint32_t pos)
{
	uint64_t n = sub_limits(sel->subs[pos])->components;
	int32_t *slots = sel->slots[pos];

	if (slots)
		return slots;
	slots = calloc(n + 1, sizeof(*slots));
	if (!slots)
		return NULL;
	slots[0] = (int32_t)pos;
	for (uint32_t slot = 1; slot < n; slot++) {
		const char *name;
		uint32_t len;

		slots[slot] = sub_component(sel->subs[pos], slot, &name, &len, NULL) < 0 ? -1 :
			position(sel, name, len);
	}
	sel->slots[pos] = slots;
	return slots;
}

/* Take away what @cond says must not be. */
static int take_away(struct selections *sel, uint32_t pos, uint32_t cond)
{
	const int32_t *slots = slots_of(sel, pos);
	struct ply_condition c = { 0 };

	if (!slots)
		return -ENOMEM;
	for (uint32_t k = 0; cond && !c.ends; k++) {
		int r = sel->rows ? sub_condition(sel->subs[pos], cond, k, &c, NULL) : -E2BIG;

		if (r < 0)
			return r;
		sel->rows--;
		if (c.none && slots[c.component] >= 0)
			sel->taken[slots[c.component]] = sel->question;
	}
	return 0;
}

static bool is_left(const struct selections *sel, int32_t pos)
{
	return pos >= 0 && sel->taken[pos] != sel->question;
}

/* With all that are left, does every clause of "any" hold? */
static int can_hold(struct selections *sel, uint32_t pos, uint32_t cond)
{
	const int32_t *slots = slots_of(sel, pos);
	struct ply_condition c = { 0 };
	bool any = false;

	if (!slots)
		return -ENOMEM;
	for (uint32_t k = 0; cond && !c.ends; k++) {
		int r = sel->rows ? sub_condition(sel->subs[pos], cond, k, &c, NULL) : -E2BIG;

		if (r < 0)
			return r;
		sel->rows--;
		any |= c.none || is_left(sel, slots[c.component]);
		if (c.ends_clause && !any)
			return 0;
		if (c.ends_clause)
			any = false;
	}
	return 1;
}

static int find_both(struct selections *sel, uint32_t a, uint32_t a_cond, uint32_t b, uint32_t b_cond)
{
	int r;

	if (!++sel->question) {    /* so many questions that numbers begin again */
		memset(sel->taken, 0, sel->c->nsubs * sizeof(*sel->taken));
		sel->question = 1;
	}
	r = take_away(sel, a, a_cond);
	if (r == 0)
		r = take_away(sel, b, b_cond);
	if (r < 0)
		return r;
	/* position 0 is os, which every selection has */
	if (!is_left(sel, 0) || !is_left(sel, (int32_t)a) || !is_left(sel, (int32_t)b))
		return 0;
	r = can_hold(sel, a, a_cond);
	return r > 0 ? can_hold(sel, b, b_cond) : r;
}

int selections_can_have_both(struct selections *sel, uint32_t a, uint32_t a_cond, uint32_t b, uint32_t b_cond)
{
	uint32_t hash = ((a * 31 + a_cond) * 31 + b) * 31 + b_cond;
	struct asked *k = &sel->asked[hash % ASKED];
	int r;

	if (k->is && k->a == a && k->a_cond == a_cond && k->b == b && k->b_cond == b_cond)
		return k->both;
	r = find_both(sel, a, a_cond, b, b_cond);
	if (r >= 0)
		*k = (struct asked){ a, a_cond, b, b_cond, true, r };
	return r;
}

static int work_out_all(struct selections *sel, uint32_t pos, uint32_t cond)
{
	const int32_t *slots = slots_of(sel, pos);
	struct ply_condition c = { 0 };
	bool any = false;

	if (!slots)
		return -ENOMEM;
	for (uint32_t k = 0; !c.ends; k++) {
		int r = sub_condition(sel->subs[pos], cond, k, &c, NULL);

		if (r < 0)
			return r;
		any |= slots[c.component] >= 0;
		if (c.ends_clause && any == c.none)
			return 0;
		if (c.ends_clause)
			any = false;
	}
	return 1;
}

/* A million records may have one condition of a thousand rows: each is worked out once. */
int selections_all_hold(struct selections *sel, uint32_t pos, uint32_t cond)
{
	uint64_t n = sub_limits(sel->subs[pos])->conditions;
	int r;

	if (!cond)
		return 1;
	if (cond > n)
		return -EUCLEAN;
	if (!sel->all[pos])
		sel->all[pos] = calloc(n, sizeof(*sel->all[pos]));
	if (!sel->all[pos])
		return -ENOMEM;
	if (sel->all[pos][cond - 1] != UNKNOWN)
		return sel->all[pos][cond - 1] == HOLDS;
	r = work_out_all(sel, pos, cond);
	if (r >= 0)
		sel->all[pos][cond - 1] = r ? HOLDS : FAILS;
	return r;
}
