/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "living.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/inroot.h"
#include "base/util.h"
#include "layout/journal.h"
#include "living_decide.h"
#include "planning.h"
#include "policy.h"

void living_done(struct living *l)
{
	for (size_t i = 0; i < l->added.n; i++)
		free((char *)l->added.v[i]);
	cli_list_done(&l->added);
	json_decref(l->packages);
}

/* The image, whose name it is, is closed before the end. */
static int add_name(struct cli_list *l, const char *name)
{
	char *copy = strdup(name);
	int r = copy ? cli_list_add(l, copy) : -ENOMEM;

	if (r < 0)
		free(copy);
	return r;
}

/* --- what is there, what is not ----------------------------------------------------------- */

static bool has(const struct cli_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i], name))
			return true;
	return false;
}

/* An operating system, of whatever kind: no other one is laid out around it. */
static bool has_system(const char *target)
{
	static const char *const signs[] = { "var/lib/dpkg/status", "etc/os-release", "usr/lib/os-release", "sbin/init" };
	int fd = open(target, O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool has = false;

	for (size_t i = 0; fd >= 0 && !has && i < ARRAY_SIZE(signs); i++) {
		int sign = inroot_open(fd, signs[i], O_PATH | O_NOFOLLOW);

		has = sign >= 0;
		cleanup_close(&sign);
	}
	cleanup_close(&fd);
	return has;
}

/* Of this image the target has what its journal says; of another one the operating system, in whatever version. */
static int find_there(const struct living *l, struct ply_image *image, struct cli_list *ret, struct ply_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->look->ndone; i++)
		if (layout_look_is_of(l->look, i, image))
			r = cli_list_add(ret, l->look->done[i].name);
	if (r == 0 && !has(ret, "os") && (l->look->saved || has_system(l->target)))
		r = cli_list_add(ret, "os");
	return r < 0 ? ply_fail_nomem(err) : 0;
}

/* Components of the selection, by rank. */
static int list_selection(struct ply_image *image, const struct cli_list *names, struct cli_list *ret, struct ply_err *err)
{
	const struct ply_view_options v = { .names = names->v, .n = names->n, .undecided_first = true };
	struct ply_view *view = NULL;
	int r = ply_view_open_with(image, &v, &view, err);

	for (uint32_t i = 0; r == 0 && i < ply_view_nsubs(view); i++)
		if (cli_list_add(ret, ply_image_sub_info(image, ply_view_sub(view, i))->name) < 0)
			r = ply_fail_nomem(err);
	ply_view_close(view);
	return r;
}

static int open_selection(const struct living *l, struct ply_image *image, const struct cli_list *names,
			  struct ply_view **ret, struct ply_err *err)
{
	_cleanup_free_ struct ply_decision *decisions = NULL;
	struct ply_view_options v = { .names = names->v, .n = names->n };
	int r = 0;

	*ret = NULL;
	if (!names->n)
		return 0;
	if (choice_decides(l->choice))
		r = open_decisions(image, names, l->choice, &decisions, &v.ndecisions, err);
	v.decisions = decisions;
	if (r == 0)
		r = ply_view_open_with(image, &v, ret, err);
	if (r < 0 && err->reason == PLY_R_CONFLICT && !choice_decides(l->choice))
		tell_undecided(image, names);
	return r;
}

/* --- the whole --------------------------------------------------------------------------------- */

/* A view for each step from what is there to all of it. */
static int open_steps(struct living *l, struct ply_image *image, struct cli_list *there, struct ply_view **views,
		      struct update_component *v, struct ply_err *err)
{
	int r = open_selection(l, image, there, &views[0], err);

	for (size_t i = 0; r == 0 && i < l->added.n; i++) {
		if (cli_list_add(there, l->added.v[i]) < 0)
			return ply_fail_nomem(err);
		r = open_selection(l, image, there, &views[i + 1], err);
		v[i] = (struct update_component){ .name = l->added.v[i], .base = views[i], .with = views[i + 1] };
	}
	return r;
}

struct looking {
	living_look_fn *fn;        /* NULL: it is done, with a report */
	void *ctx;
	struct layout_report *report;
};

static int look_at_all(struct living *l, const struct update_component *v, const struct looking *how, struct ply_err *err)
{
	struct living_deciding d = { .l = l, .look = true };
	struct idmap ids = { 0 };
	struct survey s;
	int r = update_look(l->target, v, l->added.n, l->o, living_decide, &d, &s, &ids, err);

	if (r == 0)
		r = how->fn(how->ctx, l, &s, err);
	living_deciding_done(&d);
	survey_done(&s);
	idmap_done(&ids);
	return r;
}

static int add_missing(struct living *l, struct ply_image *image, struct cli_list *there, const struct looking *how,
		       struct ply_err *err)
{
	struct ply_view **views = calloc(l->added.n + 1, sizeof(struct ply_view *));
	struct update_component *v = calloc(l->added.n, sizeof(*v));
	struct living_deciding d = { .l = l };
	int r = views && v ? open_steps(l, image, there, views, v, err) : ply_fail_nomem(err);

	if (r == 0 && how->fn)
		r = look_at_all(l, v, how, err);
	else if (r == 0)
		r = update_add(l->target, v, l->added.n, l->o, living_decide, &d, how->report, err);
	living_deciding_done(&d);
	for (size_t i = 0; views && i <= l->added.n; i++)
		ply_view_close(views[i]);
	free(views);
	free(v);
	return r;
}

static int ask_image(const struct living *l, const struct cli_list *there, struct ply_err *err)
{
	_cleanup_list_ struct cli_list names = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < there->n; i++)
		r = cli_list_add(&names, there->v[i]);
	for (size_t i = 0; r == 0 && i < l->added.n; i++)
		r = cli_list_add(&names, l->added.v[i]);
	return r < 0 ? ply_fail_nomem(err) : plan_ask_selection(l->path, &names, l->choice, err);
}

static int run(struct living *l, const struct looking *how, struct ply_err *err)
{
	_cleanup_list_ struct cli_list all = { 0 }, there = { 0 };
	struct ply_view *nothing = NULL;
	struct ply_image *image = NULL;
	int r = choice_read(l->choice, err);

	l->choice->more = true;
	if (r == 0)
		r = open_image(l->path, &image, err);
	if (r == 0)
		r = list_selection(image, l->names, &all, err);
	if (r == 0)
		r = find_there(l, image, &there, err);
	for (size_t i = 0; r == 0 && i < all.n; i++)
		if (!has(&there, all.v[i]) && add_name(&l->added, all.v[i]) < 0)
			r = ply_fail_nomem(err);
	/* a policy that is wrong is told also where it decides nothing */
	if (r == 0 && !l->added.n && l->choice->policy) {
		r = open_selection(l, image, &all, &nothing, err);
		ply_view_close(nothing);
	}
	if (r == 0 && l->added.n && !l->told)
		tell_selection(&l->added, l->names);
	if (r == 0 && l->added.n && l->ask)
		r = ask_image(l, &there, err);
	if (r == 0 && l->added.n)
		r = add_missing(l, image, &there, how, err);
	ply_image_close(image);
	return r;
}

int living_add(struct living *l, struct layout_report *ret, struct ply_err *err)
{
	const struct looking how = { .report = ret };
	int r;

	*ret = (struct layout_report){ 0 };
	r = run(l, &how, err);
	ret->nothing = r == 0 && !l->added.n;
	return r;
}

int living_look(struct living *l, living_look_fn *fn, void *ctx, struct ply_err *err)
{
	const struct looking how = { .fn = fn, .ctx = ctx };

	return run(l, &how, err);
}
