/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/subset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"

#define UNKNOWN UINT64_MAX

const struct ply_sub_info *subset_info(const struct layout *l, uint32_t sub)
{
	return ply_image_sub_info(ply_view_image(l->plan->view), ply_view_sub(l->plan->view, sub));
}

static bool name_stays(const struct layout *l, const bool *stays, const char *name)
{
	for (uint32_t i = 0; i < l->plan->nsubs; i++)
		if (stays[i] && !strcmp(subset_info(l, i)->name, name))
			return true;
	return false;
}

/* Of each group of alternatives one is enough. */
static bool has_all(const struct layout *l, const bool *stays, const struct ply_sub_info *info)
{
	for (uint32_t i = 0, end; i < info->nrequires; i = end) {
		bool one = false;

		for (end = i; end < info->nrequires && info->require_groups[end] == info->require_groups[i]; end++)
			one |= name_stays(l, stays, info->requires[end]);
		if (!one)
			return false;
	}
	for (uint32_t i = 0; i < info->nstands_on; i++)
		if (!name_stays(l, stays, info->stands_on[i]))
			return false;
	return true;
}

/* What is required has a lower rank. */
void subset_close(const struct layout *l, bool *stays)
{
	for (uint32_t i = 1; i < l->plan->nsubs; i++)
		stays[i] = stays[i] && has_all(l, stays, subset_info(l, i));
}

static bool has_number(const struct layout *l, const bool *stays, uint32_t number)
{
	for (uint32_t i = 0; i < l->plan->nsubs; i++)
		if (stays[i] && subset_info(l, i)->number == number)
			return true;
	return false;
}

int subset_open(const struct layout *l, const bool *stays, struct ply_view **ret, struct ply_err *err)
{
	const struct layout_options *o = l->o;
	_cleanup_free_ const char **names = calloc(l->plan->nsubs + 1, sizeof(*names));
	_cleanup_free_ struct ply_decision *decisions = calloc(o->ndecisions + 1, sizeof(*decisions));
	struct ply_view_options v = { .names = names, .decisions = decisions, .undecided_first = true };

	if (!names || !decisions)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < l->plan->nsubs; i++)
		if (stays[i])
			names[v.n++] = subset_info(l, i)->name;
	for (size_t i = 0; i < o->ndecisions; i++)
		if (has_number(l, stays, PLY_INO_NUMBER(o->decisions[i].a)) &&
		    has_number(l, stays, PLY_INO_NUMBER(o->decisions[i].b)))
			decisions[v.ndecisions++] = o->decisions[i];
	return ply_view_open_with(ply_view_image(l->plan->view), &v, ret, err);
}

uint64_t *subset_dirs(const struct layout *l)
{
	uint64_t *known = malloc(l->plan->ndirs * sizeof(*known));

	if (!known)
		return NULL;
	memset(known, 0xff, l->plan->ndirs * sizeof(*known));
	known[0] = PLY_ROOT_INDEX;
	return known;
}

int subset_dir(const struct layout *l, struct ply_view *view, uint64_t *known, uint32_t d, uint64_t *ret,
	       struct ply_err *err)
{
	const struct plan_dir *dir = &l->plan->dirs[d];
	struct ply_attr a;
	int r = 0;

	if (known[d] == UNKNOWN) {
		uint64_t up;

		r = subset_dir(l, view, known, dir->parent, &up, err);
		if (r == 0 && up)
			r = ply_view_lookup(view, up, dir->name, dir->name_len, &known[d], err);
		if (r == 0 && up)
			r = ply_view_attr(view, known[d], &a, err);
		if (r == 0 && up && !S_ISDIR(a.mode))
			r = -ENOTDIR;
		if (r == -ENOENT || r == -ENOTDIR || (r == 0 && !up)) {
			known[d] = 0;
			r = 0;
		}
	}
	*ret = known[d];
	return r;
}
