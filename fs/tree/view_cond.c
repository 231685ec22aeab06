/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a selection lets hold: conditions of entries, owners, xattrs and records.
 *
 * The components that a sub-image's conditions are over get their truth when the view is opened; a
 * condition is worked out when it is first asked for, and kept, so that a hostile image cannot
 * make each of a million entries walk a thousand rows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/handover.h"
#include "base/util.h"
#include "tree/view_impl.h"

enum truth { UNKNOWN = 0, HOLDS, FAILS };

static const char *sub_name(const struct ply_view *v, uint32_t i)
{
	return ply_image_sub_info(v->image, v->subs[i].pos)->name;
}

static int by_sub_name(const void *a, const void *b, void *ctx)
{
	return strcmp(sub_name(ctx, *(const uint32_t *)a), sub_name(ctx, *(const uint32_t *)b));
}

int view_names_init(struct ply_view *v, struct ply_err *err)
{
	v->by_name = calloc(v->nsubs, sizeof(*v->by_name));
	if (!v->by_name)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < v->nsubs; i++)
		v->by_name[i] = i;
	qsort_r(v->by_name, v->nsubs, sizeof(*v->by_name), by_sub_name, v);
	return 0;
}

/* Is a sub-image of that name selected? */
static bool name_is_selected(const struct ply_view *v, const char *name, uint32_t len)
{
	uint32_t lo = 0, hi = v->nsubs;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = sub_name_compare(sub_name(v, v->by_name[mid]), name, len);

		if (!c)
			return true;
		if (c > 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

int view_cond_init(struct ply_view *v, struct vsub *vs, struct ply_err *err)
{
	const struct sub_limits *lim = sub_limits(vs->sub);
	int r = 0;

	if (!lim->conditions)
		return 0;
	vs->truth = calloc(lim->conditions, sizeof(*vs->truth));
	vs->slots = calloc(lim->components, sizeof(*vs->slots));
	if (!vs->truth || !vs->slots)
		return ply_fail_nomem(err);
	vs->slots[0] = true;
	for (uint32_t slot = 1; r == 0 && slot < lim->components; slot++) {
		const char *name;
		uint32_t len;

		r = sub_component(vs->sub, slot, &name, &len, err);
		if (r == 0)
			vs->slots[slot] = name_is_selected(v, name, len);
	}
	return r;
}

void view_cond_done(struct vsub *vs)
{
	free((void *)vs->truth);
	free(vs->slots);
	free(vs->bad_shared);
}

static int work_out(const struct vsub *vs, uint32_t cond, struct ply_err *err)
{
	bool any = false;

	for (uint32_t k = 0;; k++) {
		struct ply_condition c;
		int r = sub_condition(vs->sub, cond, k, &c, err);

		if (r < 0)
			return r;
		any |= vs->slots[c.component];
		if (!c.ends_clause)
			continue;
		if (any == c.none)
			return 0;
		if (c.ends)
			return 1;
		any = false;
	}
}

int view_holds(struct ply_view *v, uint32_t i, uint32_t cond, struct ply_err *err)
{
	struct vsub *vs = &v->subs[i];
	int r;

	if (!cond)
		return 1;
	if (cond > sub_limits(vs->sub)->conditions)
		return ply_fail(err, -EUCLEAN, PLY_R_CONDITION_FIELD, "condition %u does not exist", cond);
	switch (atomic_load_explicit(&vs->truth[cond - 1], memory_order_relaxed)) {
	case HOLDS:
		return 1;
	case FAILS:
		return 0;
	}
	r = work_out(vs, cond, err);
	if (r < 0)
		return r;
	handover("condition");
	atomic_store_explicit(&vs->truth[cond - 1], r ? HOLDS : FAILS, memory_order_relaxed);
	return r;
}

static int add_text(struct buf *out, const char *text)
{
	return buf_add(out, text, strlen(text));
}

/* The clause that begins at row *@k, which becomes that of the next one. */
static int clause_words(struct sub *sub, uint32_t cond, uint32_t *k, bool *ret_ends, struct buf *out,
			struct ply_err *err)
{
	struct ply_condition c;
	bool one = false;
	int r = 0;

	for (uint32_t first = *k;; first = UINT32_MAX) {
		const char *name;
		uint32_t len;

		r = sub_condition(sub, cond, (*k)++, &c, err);
		if (r == 0)
			r = sub_component(sub, c.component, &name, &len, err);
		if (r < 0)
			return r;
		if (first != UINT32_MAX) {
			one = c.ends_clause;
			r = add_text(out, c.none ? one ? "not " : "not (" : one ? "" : "(");
		} else {
			r = add_text(out, " or ");
		}
		if (r == 0)
			r = buf_add(out, name, len);
		*ret_ends = c.ends;
		if (r < 0 || c.ends_clause)
			break;
		if (out->len > VIEW_WORDS_MAX) {
			*ret_ends = true;
			return 0;
		}
	}
	return r == 0 && !one ? add_text(out, ")") : r;
}

int view_condition_words(struct ply_view *v, uint32_t i, uint32_t cond, struct buf *out, struct ply_err *err)
{
	struct vsub *vs = &v->subs[i];
	bool ends = !cond;
	int r = 0;

	/* the operating system is always there */
	if (!cond || vs->number)
		r = add_text(out, ply_image_sub_info(v->image, vs->pos)->name);
	for (uint32_t k = 0; r == 0 && !ends && out->len <= VIEW_WORDS_MAX;) {
		if (k || vs->number)
			r = add_text(out, " and ");
		if (r == 0)
			r = clause_words(vs->sub, cond, &k, &ends, out, err);
	}
	return r;
}

int view_owner(struct ply_view *v, const struct view_file *f, struct view_owner *ret, struct ply_err *err)
{
	struct sub_owner o;
	int user, group, r = sub_owner(v->subs[f->owner_i].sub, f->node.owner, &o, err);

	if (r < 0)
		return r;
	user = view_holds(v, f->owner_i, o.user_condition, err);
	group = user < 0 ? user : view_holds(v, f->owner_i, o.group_condition, err);
	if (group < 0)
		return group;
	ret->uid = user ? o.uid : 0;
	ret->gid = group ? o.gid : 0;
	ret->lacks = !user || !group;
	return 0;
}

static bool is_capability(const struct sub_xattr *x)
{
	static const char name[] = "security.capability";

	return x->name_len == sizeof(name) - 1 && !memcmp(x->name, name, sizeof(name) - 1);
}

int view_file_xattrs(struct ply_view *v, const struct view_file *f, view_xattr_fn *fn, void *ctx,
		     struct ply_err *err)
{
	struct sub_xattr shown = { 0 };
	struct view_owner owner = { 0 };
	struct sub *sub = v->subs[f->xattrs_i].sub;
	uint32_t n;
	int r = sub_xattr_count(sub, f->node.xattrs, &n, err);

	if (r == 0 && n)
		r = view_owner(v, f, &owner, err);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct sub_xattr x;

		r = sub_xattr(sub, f->node.xattrs, i, &x, err);
		if (r < 0)
			break;
		if (x.condition)
			r = view_holds(v, f->xattrs_i, x.condition, err);
		else
			r = 1;
		if (r <= 0)
			continue;
		r = 0;
		if ((owner.lacks && is_capability(&x)) ||
		    (x.name_len == shown.name_len && !memcmp(x.name, shown.name, x.name_len)))
			continue;
		shown = x;
		r = fn(ctx, &x, err);
	}
	return r;
}
