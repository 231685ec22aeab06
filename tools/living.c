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
#include "collisions.h"
#include "layout/journal.h"
#include "living_needs.h"
#include "merge/compose.h"
#include "policy.h"

#define TOLD_MAX 10u               /* conflicts that are named */

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
	if (l->choice->policy || l->choice->on_collision)
		r = open_decisions(image, names, l->choice, &decisions, &v.ndecisions, err);
	v.decisions = decisions;
	if (r == 0)
		r = ply_view_open_with(image, &v, ret, err);
	if (r < 0 && err->reason == PLY_R_CONFLICT && !l->choice->policy && !l->choice->on_collision)
		tell_undecided(image, names);
	return r;
}

/* --- decisions ------------------------------------------------------------------------------- */

struct deciding {
	struct living *l;
	bool checked;              /* what is needed is there */
	bool look;                 /* what is undecided is no error */
};

/* Of struct collisions: ctx is the survey, whose conflicts are in the same order. */
static int content(void *ctx, uint32_t sub, const char *path, char **ret, struct ply_err *err)
{
	const struct survey *s = ctx;

	for (size_t i = 0; i < s->nconflicts; i++) {
		if (strcmp(s->conflicts[i].path, path) != 0)
			continue;
		*ret = strdup(sub ? s->conflicts[i].content : s->conflicts[i].target_content);
		return *ret ? 0 : ply_fail_nomem(err);
	}
	return ply_fail(err, -ENOENT, PLY_R_NO_ENTRY, "%s: is no conflict", path);
}

/* Packages first: most of the paths are theirs. */
static void tell_packages(const struct survey *s)
{
	for (size_t i = 0; i < s->packages.nclashes; i++) {
		const struct package_clash *c = &s->packages.clashes[i];
		_cleanup_buf_ struct buf text = { 0 };

		if (!c->stays && packages_describe(c, &text) == 0)
			cli_note("undecided: package %.*s: another version, %zu %s; %s", (int)text.len, (const char *)text.data,
				 c->npaths, c->npaths == 1 ? "path" : "paths",
				 c->fails ? "the policy says fail" : "a policy can leave the target's, resolve: target");
	}
}

static void tell_conflicts(const struct survey *s, bool append)
{
	size_t told = 0, more = 0;

	for (size_t i = 0; i < s->nconflicts; i++) {
		const struct survey_conflict *c = &s->conflicts[i];
		char shown[512];

		if (c->rule || (append && c->k.flags & PAIR_APPENDABLE))
			continue;
		if (told == TOLD_MAX) {
			more++;
			continue;
		}
		escape_name_to(c->path, strlen(c->path), shown, sizeof(shown));
		cli_note("undecided: %s (" POLICY_TARGET_NAME ", %s): %s", shown, s->component, merge_why_text(c->k.why));
		told++;
	}
	if (more)
		cli_note("undecided: %zu more", more);
}

static int by_path(const void *a, const void *b)
{
	const struct survey_conflict *x = a, *y = b;

	return strcmp(x->path, y->path);
}

/* By position: the target, what is added, then all others of the image, which a policy may speak of. */
static const char **list_names(const struct survey *s, uint32_t *ret_n)
{
	struct ply_image *image = ply_view_image(s->view);
	const char **v = calloc(ply_image_nsubs(image) + 2, sizeof(*v));

	if (!v)
		return NULL;
	v[0] = POLICY_TARGET_NAME;
	v[1] = s->component;
	*ret_n = 2;
	for (uint32_t i = 0; i < ply_image_nsubs(image); i++)
		if (strcmp(ply_image_sub_info(image, i)->name, s->component) != 0)
			v[(*ret_n)++] = ply_image_sub_info(image, i)->name;
	return v;
}

/* *ret_undecided: how many packages are not. */
static int decide_packages(struct deciding *d, struct survey *s, size_t *ret_undecided, struct ply_err *err)
{
	struct choice *choice = d->l->choice;
	int r = choice_read(choice, err);

	*ret_undecided = 0;
	for (size_t i = 0; r == 0 && i < s->packages.nclashes; i++) {
		struct package_clash *c = &s->packages.clashes[i];
		const struct policy_package k = { .name = c->pkg->name, .label = c->label, .target = POLICY_TARGET_NAME,
						  .component = c->component, .have = c->pkg->have, .version = c->pkg->version };
		const struct policy_entry *entry;
		uint8_t rule = POLICY_UNDECIDED;

		if (choice->policy)
			r = policy_decide_package(&choice->read, &k, &rule, &entry, err);
		c->stays = rule == POLICY_TARGET;
		c->fails = rule == POLICY_FAIL;
		*ret_undecided += !c->stays;
	}
	return r;
}

/* The policy sees conflicts with the target as it sees those of sub-images. *ret_undecided: how many are not. */
static int decide_conflicts(struct deciding *d, struct survey *s, size_t *ret_undecided, struct ply_err *err)
{
	uint32_t nnames = 0;
	_cleanup_free_ const char **names = list_names(s, &nnames);
	_cleanup_free_ bool *selected = calloc((size_t)nnames + 2, sizeof(*selected));
	struct choice *choice = d->l->choice;
	struct collision *v = calloc(s->nconflicts, sizeof(*v));
	struct collision_pair *pairs = calloc(s->nconflicts, sizeof(*pairs));
	struct holder *holders = calloc(2 * s->nconflicts, sizeof(*holders));
	struct collisions c = { .v = v, .n = s->nconflicts, .pairs = pairs, .npairs = s->nconflicts, .names = names,
				.selected = selected, .nnames = nnames, .content = content, .ctx = s };
	const struct policy_entry *first;
	size_t unused;
	int r = v && pairs && holders && names && selected ? choice_read(choice, err) : ply_fail_nomem(err);

	if (selected)
		selected[0] = selected[1] = true;
	qsort(s->conflicts, s->nconflicts, sizeof(*s->conflicts), by_path);
	for (size_t i = 0; r == 0 && i < s->nconflicts; i++) {
		const struct survey_conflict *k = &s->conflicts[i];

		holders[2 * i] = (struct holder){ .ref = 2 * i + 1, .sub = 0, .mode = (uint16_t)k->target_mode,
						  .whiteout = !k->target_mode };
		holders[2 * i + 1] = (struct holder){ .ref = 2 * i + 2, .sub = 1, .mode = (uint16_t)k->mode,
						      .whiteout = !k->mode };
		pairs[i] = (struct collision_pair){ 2 * i + 1, 2 * i + 2, k->k.cls, k->k.why, k->k.flags };
		v[i] = (struct collision){ .path = k->path, .v = &holders[2 * i], .n = 2, .pair = i, .npairs = 1,
					   .cls = k->k.cls, .why = k->k.why, .flags = k->k.flags,
					   .appendable = k->k.flags & PAIR_APPENDABLE, .group = i };
	}
	if (r == 0 && choice->policy)
		r = policy_decide(&choice->read, &c, &unused, &first, err);
	for (size_t i = 0; r == 0 && i < s->nconflicts; i++) {
		struct survey_conflict *k = &s->conflicts[i];

		*ret_undecided += collision_is_undecided(&v[i], choice->on_collision);
		k->rule = v[i].rule == POLICY_FAIL ? 0 : v[i].rule;
		k->driver = v[i].driver;
		if (!k->rule && choice->on_collision && v[i].appendable)
			k->rule = PLY_RULE_APPEND;
	}
	free(v);
	free(pairs);
	free(holders);
	return r;
}

static int fail_undecided(const struct deciding *d, const struct survey *s, size_t n, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	size_t named = 0;

	for (size_t i = 0; i < s->packages.nclashes; i++) {
		if (s->packages.clashes[i].stays || named++)
			continue;
		if (buf_printf(&text, ", the first is package ") < 0 || packages_describe(&s->packages.clashes[i], &text) < 0)
			return ply_fail_nomem(err);
	}
	return ply_fail(err, -ENOTUNIQ, PLY_R_CONFLICT, "%zu %s with what is in %s %s not decided%.*s; nothing was written", n,
			n == 1 ? "conflict" : "conflicts", d->l->target, n == 1 ? "is" : "are", (int)text.len,
			text.len ? (const char *)text.data : "");
}

/* The first survey is of all that is added. */
static int decide(void *ctx, struct survey *s, struct ply_err *err)
{
	struct deciding *d = ctx;
	size_t npackages = 0, npaths = 0;
	int r = decide_packages(d, s, &npackages, err);

	if (r == 0 && npackages && !d->l->packages)
		d->l->packages = living_packages(s);
	if (r == 0 && !d->checked && s->base)
		r = living_check_needs(s, d->l->target, d->l->force, err);
	d->checked = true;
	if (r == 0 && s->nconflicts)
		r = decide_conflicts(d, s, &npaths, err);
	if (r < 0 ? r == -ENOPKG : !d->look)
		tell_packages(s);
	if (r < 0 || d->look || !(npackages + npaths))
		return r;
	tell_conflicts(s, d->l->choice->on_collision);
	return fail_undecided(d, s, npackages + npaths, err);
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
	struct deciding d = { .l = l, .look = true };
	struct idmap ids = { 0 };
	struct survey s;
	int r = update_look(l->target, v, l->added.n, l->o, decide, &d, &s, &ids, err);

	if (r == 0)
		r = how->fn(how->ctx, l, &s, err);
	survey_done(&s);
	idmap_done(&ids);
	return r;
}

static int add_missing(struct living *l, struct ply_image *image, struct cli_list *there, const struct looking *how,
		       struct ply_err *err)
{
	struct ply_view **views = calloc(l->added.n + 1, sizeof(struct ply_view *));
	struct update_component *v = calloc(l->added.n, sizeof(*v));
	struct deciding d = { .l = l };
	int r = views && v ? open_steps(l, image, there, views, v, err) : ply_fail_nomem(err);

	if (r == 0 && how->fn)
		r = look_at_all(l, v, how, err);
	else if (r == 0)
		r = update_add(l->target, v, l->added.n, l->o, decide, &d, how->report, err);
	for (size_t i = 0; views && i <= l->added.n; i++)
		ply_view_close(views[i]);
	free(views);
	free(v);
	return r;
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
	if (r == 0 && l->added.n) {
		tell_selection(&l->added, l->names);
		r = add_missing(l, image, &there, how, err);
	}
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
