/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An operating system that is laid out is not taken out under a machine that may run on it; what has come of the other
 * components is, and the target becomes that of a selection without them:
 *
 *   1  the plan of that selection is written beside the other one, and the journal says so: from here on only this goes on
 *   2  names of the components go (abort.c)
 *   3  what both selections have, and is another file in the second one, is changed to that (update_between())
 *   4  the new plan takes the place of the old one, and the journal says so
 *   5  with nothing but `os` left the layout is completed; else --resume does that
 *
 * Each step can be done again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "layout/subset.h"
#include "layout/update.h"

struct reduction {
	struct layout *l;
	bool *stays;               /* by sub-image of the old plan */
	uint64_t *dirs;            /* by directory of it: see struct abort_keep */
	const char *gone;          /* the name of one that goes */
	struct ply_view *view;     /* of those that stay */
	struct plan *plan;
	struct ply_err *err;
};

/* --- who stays --------------------------------------------------------------------------- */

static int find_name(const struct layout *l, const char *name, uint32_t *ret, struct ply_err *err)
{
	for (*ret = 0; *ret < l->plan->nsubs; ++*ret)
		if (!strcmp(subset_info(l, *ret)->name, name))
			return 0;
	return ply_fail(err, -ENOENT, PLY_R_SUB_UNKNOWN, "%s: component %s is not laid out there", l->target->path, name);
}

static int choose(struct reduction *d)
{
	const struct layout_options *o = d->l->o;
	uint32_t sub;

	for (uint32_t i = 0; i < d->l->plan->nsubs; i++)
		d->stays[i] = !i || o->nabort;
	for (size_t i = 0; i < o->nabort; i++) {
		int r = find_name(d->l, o->abort[i], &sub, d->err);

		if (r < 0)
			return r;
		if (!sub)
			return ply_fail(d->err, -EBUSY, PLY_R_TARGET_UNFINISHED,
					"%s: the operating system is laid out there for good; --abort --all takes out everything",
					d->l->target->path);
		d->stays[sub] = false;
	}
	return 0;
}

/* As an earlier call has chosen them. */
static int choose_again(struct reduction *d)
{
	struct saved saved = { 0 };
	uint32_t sub;
	int r = state_read_new(&d->l->state, &saved, d->err);

	for (const char *name = NULL; r == 0 && (name = saved_name(&saved, name));) {
		r = find_name(d->l, name, &sub, d->err);
		if (r == 0)
			d->stays[sub] = true;
	}
	saved_done(&saved);
	return r;
}

/* Owners are what they were found to be able to be. */
static void take_owners(struct reduction *d)
{
	const struct plan *old = d->l->plan;
	uint32_t to = 0;

	for (uint32_t i = 0; i < old->nsubs; i++) {
		struct plan_sub *ps;

		if (!d->stays[i])
			continue;
		ps = &d->plan->subs[to++];
		for (uint64_t k = 0; ps->owners && old->subs[i].owners && k < sub_limits(ps->sub)->owner_pairs; k++) {
			if (!old->subs[i].owners[k].count)
				continue;
			ps->owners[k].put_uid = old->subs[i].owners[k].put_uid;
			ps->owners[k].put_gid = old->subs[i].owners[k].put_gid;
		}
	}
}

static int open_stay(struct reduction *d)
{
	struct layout *l = d->l;
	int r;

	subset_close(l, d->stays);
	for (uint32_t i = 0; i < l->plan->nsubs && !d->gone; i++)
		if (!d->stays[i])
			d->gone = subset_info(l, i)->name;
	d->dirs = subset_dirs(l);
	if (!d->dirs)
		return ply_fail_nomem(d->err);
	r = subset_open(l, d->stays, &d->view, d->err);
	for (uint32_t i = 0; r == 0 && i < l->plan->ndirs; i++) {
		uint64_t ino;

		r = subset_dir(l, d->view, d->dirs, i, &ino, d->err);
	}
	if (r == 0)
		r = plan_new(d->view, l->target->block, l->o->cancel, &d->plan, d->err);
	if (r == 0)
		take_owners(d);
	return r;
}

/* --- steps -------------------------------------------------------------------------------- */

static int begin(struct reduction *d)
{
	struct layout *l = d->l;
	struct plan *old = l->plan;
	struct saved saved = { 0 };
	struct state_note note = { .type = JOURNAL_REDUCING, .digest = saved.digest };
	int r;

	l->plan = d->plan;
	r = layout_save(l, &saved, d->err);
	l->plan = old;
	if (r == 0)
		r = state_put_plan(&l->state, &saved, d->err);
	if (r == 0)
		r = state_write(&l->state, &note, 1, d->err);
	saved_done(&saved);
	return r;
}

static int take_new_plan(struct reduction *d)
{
	const struct state_note note = { .type = JOURNAL_REDUCED };
	struct layout *l = d->l;
	int r = memcmp(l->state.saved.digest, l->state.j.reduced, 32) ? state_take_plan(&l->state, d->err) : 0;

	return r == 0 ? state_write(&l->state, &note, 1, d->err) : r;
}

static int make_less(struct reduction *d)
{
	struct layout *l = d->l;
	const struct abort_keep keep = { d->stays, d->view, d->dirs };
	int r;

	layout_reopen(l);
	r = away_recover(l, d->err);
	if (r < 0)
		return r;
	abort_names(l, &keep);
	if (l->err.code)
		return layout_stopped(l, "; --abort goes on", d->err);
	r = layout_hand_left(l, d->err);   /* they do not keep the rest from being complete */
	if (r == 0)
		r = update_between(l->target, l->plan->view, d->view, d->gone, l->o, l->report, d->err);
	for (uint32_t i = 0; r == 0 && i < l->plan->nsubs; i++)
		if (!d->stays[i])
			r = state_unmark_done(&l->state, subset_info(l, i)->name, d->err);
	if (r == 0)
		r = take_new_plan(d);
	if (r < 0)
		return r;
	plan_free(l->plan);
	l->plan = TAKE_PTR(d->plan);
	return layout_find_way(l, d->err);
}

static int complete(struct reduction *d, unsigned faults)
{
	struct layout *l = d->l;

	if (l->plan->nsubs > 1)
		return 0;
	l->again = true;
	engine_execute(l, faults);
	return l->err.code ? layout_stopped(l, "; --resume goes on", d->err) : 0;
}

static int run(struct reduction *d, struct ply_view *view, unsigned faults)
{
	struct layout *l = d->l;
	bool again = l->state.kind == STATE_REDUCING;
	int r = layout_start_again(l, view, d->err);

	if (r < 0)
		return r;
	if (again && !memcmp(l->state.saved.digest, l->state.j.reduced, 32)) {
		r = take_new_plan(d);
		return r == 0 ? complete(d, faults) : r;
	}
	d->stays = calloc(l->plan->nsubs, sizeof(*d->stays));
	if (!d->stays)
		return ply_fail_nomem(d->err);
	r = again ? choose_again(d) : choose(d);
	if (r == 0)
		r = open_stay(d);
	if (r == 0 && !d->gone) {
		l->report->nothing = true;
		return 0;
	}
	if (r == 0 && !again)
		r = begin(d);
	if (r == 0)
		r = make_less(d);
	return r == 0 ? complete(d, faults) : r;
}

int reduce(struct layout *l, struct ply_view *view, unsigned faults, struct ply_err *err)
{
	struct reduction d = { .l = l, .err = err };
	int r = run(&d, view, faults);

	if (r == 0)
		r = layout_tell_left(l, "all else of the components was taken out", err);
	plan_free(d.plan);
	l->plan = plan_free(l->plan);      /* before the view that it may be of */
	ply_view_close(d.view);
	free(d.stays);
	free(d.dirs);
	return r;
}
