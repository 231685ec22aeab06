/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which names does a plan have? The first of its two passes: every directory of the view is listed with
 * ply_view_readdir(), the code that a mount answers readdir with; so hidden names, implied and merged directories are
 * decided there and nowhere else. What it leaves is, for each sub-image, which rows of its ENTRIES the view shows in which
 * directory, and the names whose file depends on the selection.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "layout/plan_impl.h"

/* --- names of directories ------------------------------------------------------ */

/* A copy of @name, checked as such: what the image says later does not matter. */
static int keep_name(struct plan *p, const char *name, size_t len, const char **ret, struct ply_err *err)
{
	struct plan_text *t = p->texts;
	char *copy;

	if (!t || t->used + len > sizeof(t->bytes)) {
		t = malloc(sizeof(*t));
		if (!t)
			return ply_fail_nomem(err);
		t->next = p->texts;
		t->used = 0;
		p->texts = t;
	}
	copy = memcpy(t->bytes + t->used, name, len);
	t->used += len;
	*ret = copy;
	return len ? name_check(copy, len, err) : 0;   /* the root has none */
}

static int add_dir(struct plan *p, uint64_t ino, const char *name, size_t len, uint32_t parent,
		   struct ply_err *err)
{
	struct plan_dir dir = { .ino = ino, .name_len = (uint8_t)len, .parent = parent };
	int r;

	if (p->ndirs == UINT32_MAX - 1)
		return ply_fail(err, -EOVERFLOW, PLY_R_LIMIT, "more than 2^32 directories");
	r = keep_name(p, name, len, &dir.name, err);
	if (r < 0)
		return r;
	if (array_grow(&p->dirs, &p->dirs_cap, p->ndirs + 1, sizeof(*p->dirs)) < 0)
		return ply_fail_nomem(err);
	p->dirs[p->ndirs++] = dir;
	return 0;
}

/* --- rows ---------------------------------------------------------------------- */

/* Are all of rows [from, to) directories? Those are passed over when files are laid out. */
static int only_directories(struct scan *s, struct sub *sub, uint64_t from, uint64_t to)
{
	for (; from < to; from++) {
		struct ply_entry e;
		int r = plan_tick(s);

		if (r == 0)
			r = sub_entry(sub, from, &e, s->err);

		if (r < 0)
			return r;
		if (e.type != S_IFDIR >> 12)
			return 0;
	}
	return 1;
}

static int add_row(struct scan *s, uint32_t i, uint64_t at)
{
	struct plan_sub *ps = &s->p->subs[i];

	if (s->part && s->part_sub == i && at >= s->part->end) {
		int r = only_directories(s, ps->sub, s->part->end, at);

		if (r < 0)
			return r;
		if (r > 0) {
			s->part->end = at + 1;
			return 0;
		}
	}
	if (array_grow(&ps->parts, &ps->parts_cap, ps->nparts + 1, sizeof(*ps->parts)) < 0)
		return ply_fail_nomem(s->err);
	s->part = &ps->parts[ps->nparts++];
	*s->part = (struct plan_part){ .first = at, .end = at + 1, .dir = s->dir };
	s->part_sub = i;
	return 0;
}

static int of_filter(struct scan *s, int r)
{
	s->told |= r < 0;
	return r;
}

static int list(void *ctx, const struct ply_dirent *de)
{
	struct scan *s = ctx;
	const struct plan_filter *f = s->filter;
	int wanted = 1;

	if (de->type == S_IFDIR >> 12) {
		s->result = add_dir(s->p, de->ino, de->name, de->len, s->dir, s->err);
		if (s->result == 0 && f)
			s->result = of_filter(s, f->subdirectory(f->ctx, de, (uint32_t)s->p->ndirs - 1, s->err));
		return s->result;
	}
	if (f)
		wanted = of_filter(s, f->name(f->ctx, de, s->err));
	s->result = MIN(wanted, 0);
	if (wanted > 0)
		s->result = add_row(s, s->by_number[PLY_INO_NUMBER(de->cookie)],
				    PLY_INO_INDEX(de->cookie) - PLY_COOKIE_FIRST);
	return s->result;
}

/* --- names whose file depends on the selection ---------------------------------- */

int plan_add_special(struct scan *s, uint32_t dir, const char *name, size_t len, bool hidden)
{
	struct plan *p = s->p;
	struct plan_special *sp;

	if (array_grow(&p->specials, &p->specials_cap, p->nspecials + 1, sizeof(*p->specials)) < 0)
		return ply_fail_nomem(s->err);
	sp = &p->specials[p->nspecials++];
	*sp = (struct plan_special){ .dir = dir, .name_len = (uint8_t)len, .hidden = hidden };
	return keep_name(p, name, len, &sp->name, s->err);
}

static int by_dir_and_name(const void *a, const void *b)
{
	const struct plan_special *x = a, *y = b;
	int r;

	if (x->dir != y->dir)
		return x->dir < y->dir ? -1 : 1;
	r = memcmp(x->name, y->name, MIN(x->name_len, y->name_len));
	return r ? r : x->name_len - y->name_len;
}

void plan_sort_specials(struct plan *p)
{
	size_t to = 0;

	if (!p->nspecials)
		return;
	qsort(p->specials, p->nspecials, sizeof(*p->specials), by_dir_and_name);
	for (size_t i = 1; i < p->nspecials; i++)
		if (by_dir_and_name(&p->specials[to], &p->specials[i]) != 0)
			p->specials[++to] = p->specials[i];
		else
			p->specials[to].hidden &= p->specials[i].hidden;
	p->nspecials = to + 1;
}

/* --- the pass ------------------------------------------------------------------- */

/* A directory that is not there: is another sub-image's file there? */
static int is_hidden_by_file(struct scan *s, const struct ply_entry *e, bool *ret)
{
	struct ply_view *view = s->p->view;
	struct ply_attr a;
	uint64_t ino;
	int r = ply_view_lookup(view, s->p->dirs[s->dir].ino, e->name, e->name_len, &ino, s->err);

	*ret = false;
	if (r == 0)
		r = ply_view_attr(view, ino, &a, s->err);
	if (r == 0)
		*ret = !S_ISDIR(a.mode);
	if (r != -ENOENT)
		return r;
	s->err->code = 0;
	return 0;
}

static int count_row(void *ctx, const struct ply_entry *e, enum view_row state, struct ply_err *err)
{
	struct scan *s = ctx;
	bool special = (e->condition || state == VIEW_ROW_HIDDEN) && e->type != S_IFDIR >> 12;

	if (state == VIEW_ROW_HIDDEN && e->type == S_IFDIR >> 12 && is_hidden_by_file(s, e, &special) < 0)
		return s->err->code;
	/* of what has hidden it, or it takes away, the plan's own rows do not tell */
	if (special && plan_add_special(s, s->dir, e->name, e->name_len, !e->condition) < 0)
		return s->err->code;
	s->hides_files |= state == VIEW_ROW_HIDDEN && e->type != S_IFDIR >> 12;
	return ++s->listed <= view_entries(s->p->view) ? plan_tick(s) : view_too_many(err);
}

static int by_first(const void *a, const void *b)
{
	const struct plan_part *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static int list_one(struct scan *s, uint32_t d)
{
	const struct plan_filter *f = s->filter;
	int r = f ? of_filter(s, f->directory(f->ctx, s->p, d, s->err)) : 1;

	if (r <= 0)
		return r;
	s->dir = d;
	s->part = NULL;
	r = view_own(view_readdir(s->p->view, s->p->dirs[d].ino, 0, list, count_row, s, s->err), s->err);
	if (r == 0)
		r = s->result;
	return r == 0 && f ? of_filter(s, f->listed(f->ctx, s->err)) : r;
}

/* Those that lead to what is wanted are, too. */
static void want_above(struct scan *s)
{
	struct plan *p = s->p;

	for (uint32_t i = 0; i < p->nsubs; i++)
		for (size_t k = 0; k < p->subs[i].nparts; k++)
			p->dirs[p->subs[i].parts[k].dir].wanted = true;
	for (size_t d = p->ndirs; d-- > 0;)
		if (p->dirs[d].wanted || !s->filter)
			p->dirs[p->dirs[d].parent].wanted = p->dirs[d].wanted = true;
}

int plan_list_all(struct scan *s)
{
	struct plan *p = s->p;
	int r = add_dir(p, PLY_ROOT_INDEX, "", 0, 0, s->err);

	if (r < 0)
		return r;
	for (size_t d = 0; d < p->ndirs; d++) {
		if (plan_is_cancelled(s))
			return plan_cancelled(s->err);
		r = list_one(s, (uint32_t)d);
		if (r < 0 && r != -ECANCELED && !s->told) {
			char path[512];

			plan_path(p, &(struct where){ .at = WHERE_DIR, .dir = (uint32_t)d }, path,
				  sizeof(path));
			ply_err_prefix(s->err, "%s", path);
		}
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < p->nsubs; i++)
		if (p->subs[i].nparts)
			qsort(p->subs[i].parts, p->subs[i].nparts, sizeof(*p->subs[i].parts), by_first);
	want_above(s);
	return 0;
}
