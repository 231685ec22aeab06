/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "living_decide.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "living_needs.h"
#include "merge/compose.h"

#define TOLD_MAX 10u               /* conflicts that are named */

/* --- as policies see them ----------------------------------------------------------------------- */

static int by_path(const void *a, const void *b)
{
	const struct survey_conflict *x = a, *y = b;

	return strcmp(x->path, y->path);
}

/* Of struct collisions: ctx is the survey. */
static int content(void *ctx, uint32_t sub, const char *path, char **ret, struct ply_err *err)
{
	const struct survey_conflict key = { .path = (char *)path };
	const struct survey *s = ctx;
	const struct survey_conflict *k =
		s->nconflicts ? bsearch(&key, s->conflicts, s->nconflicts, sizeof(*k), by_path) : NULL;

	if (!k) {
		*ret = NULL;
		return 0;
	}
	*ret = strdup(sub ? k->content : k->target_content);
	return *ret ? 0 : ply_fail_nomem(err);
}

/* By position: the target, what is added, then all others of the image, which a policy may speak of. */
static int list_names(struct living_collisions *k, const struct survey *s, const struct living *l)
{
	struct ply_image *image = ply_view_image(s->view);
	uint32_t n = ply_image_nsubs(image);

	k->names = calloc(n + 1u, sizeof(*k->names));
	k->selected = calloc(n + 1u, sizeof(*k->selected));
	if (!k->names || !k->selected)
		return -ENOMEM;
	k->names[0] = POLICY_TARGET_NAME;
	k->selected[0] = true;
	for (uint32_t i = 0; i < n; i++) {
		k->names[i + 1] = ply_image_sub_info(image, i)->name;
		for (size_t a = 0; a < l->added.n; a++)
			k->selected[i + 1] |= !strcmp(l->added.v[a], k->names[i + 1]);
	}
	k->c.names = k->names;
	k->c.selected = k->selected;
	k->c.nnames = n + 1;
	return 0;
}

static uint32_t position_of(const struct collisions *c, const char *name)
{
	uint32_t i = c->nnames - 1;

	while (i > 1 && strcmp(c->names[i], name) != 0)
		i--;
	return i;
}

static void add_collision(struct living_collisions *all, const struct survey_conflict *k)
{
	size_t i = all->c.n++;
	struct holder *h = &all->holders[2 * i];

	h[0] = (struct holder){ .ref = 2 * i + 1, .sub = 0, .mode = (uint16_t)k->target_mode, .whiteout = !k->target_mode };
	h[1] = (struct holder){ .ref = 2 * i + 2, .sub = position_of(&all->c, k->component), .mode = (uint16_t)k->mode,
				.whiteout = !k->mode };
	all->c.pairs[i] = (struct collision_pair){ h[0].ref, h[1].ref, k->k.cls, k->k.why, k->k.flags };
	all->c.v[i] = (struct collision){ .path = k->path, .v = h, .n = 2, .pair = i, .npairs = 1, .cls = k->k.cls,
					  .why = k->k.why, .flags = k->k.flags, .appendable = k->k.flags & PAIR_APPENDABLE,
					  .group = i };
	all->c.npairs = all->c.n;
}

int living_collisions(struct survey *s, const struct living *l, struct living_collisions *ret, struct ply_err *err)
{
	struct living_collisions k = { .c = { .content = content, .ctx = s } };
	size_t n = s->nconflicts + 1;

	k.holders = calloc(2 * n, sizeof(*k.holders));
	k.c.v = calloc(n, sizeof(*k.c.v));
	k.c.pairs = calloc(n, sizeof(*k.c.pairs));
	k.at = calloc(n, sizeof(*k.at));
	if (!k.holders || !k.c.v || !k.c.pairs || !k.at || list_names(&k, s, l) < 0) {
		living_collisions_done(&k);
		return ply_fail_nomem(err);
	}
	if (s->nconflicts)
		qsort(s->conflicts, s->nconflicts, sizeof(*s->conflicts), by_path);
	for (size_t i = 0; i < s->nconflicts; i++) {
		if (s->conflicts[i].rule)
			continue;
		k.at[k.c.n] = i;
		add_collision(&k, &s->conflicts[i]);
	}
	*ret = k;
	return 0;
}

size_t living_collisions_decide(const struct living_collisions *k, struct survey *s, bool append)
{
	size_t undecided = 0;

	for (size_t i = 0; i < k->c.n; i++) {
		const struct collision *v = &k->c.v[i];
		struct survey_conflict *to = &s->conflicts[k->at[i]];

		undecided += collision_is_undecided(v, append);
		to->rule = v->rule == POLICY_FAIL ? 0 : v->rule;
		to->driver = v->driver;
		if (!to->rule && v->rule != POLICY_FAIL && append && v->appendable)
			to->rule = PLY_RULE_APPEND;
	}
	return undecided;
}

void living_collisions_done(struct living_collisions *k)
{
	free(k->holders);
	free(k->c.v);
	free(k->c.pairs);
	free(k->names);
	free(k->selected);
	free(k->at);
	*k = (struct living_collisions){ 0 };
}

/* --- paths ---------------------------------------------------------------------------------------- */

static int by_decided(const void *a, const void *b)
{
	const struct living_decided *x = a, *y = b;

	return strcmp(x->path, y->path);
}

/* The component alone meets its conflicts again, and maybe with other contents of what several bring. */
static void recall(const struct living_deciding *d, struct survey *s)
{
	for (size_t i = 0; d->n && i < s->nconflicts; i++) {
		struct survey_conflict *k = &s->conflicts[i];
		const struct living_decided key = { .path = k->path };
		const struct living_decided *was = bsearch(&key, d->v, d->n, sizeof(*d->v), by_decided);

		if (was && (was->rule != PLY_RULE_APPEND || k->k.flags & PAIR_APPENDABLE)) {
			k->rule = was->rule;
			k->driver = was->driver;
		}
	}
}

static int keep(struct living_deciding *d, const struct survey *s)
{
	for (size_t i = 0; i < s->nconflicts; i++) {
		const struct survey_conflict *k = &s->conflicts[i];
		char *path;

		if (!k->rule)
			continue;
		path = strdup(k->path);
		if (!path || array_grow(&d->v, &d->cap, d->n + 1, sizeof(*d->v)) < 0) {
			free(path);
			return -ENOMEM;
		}
		d->v[d->n++] = (struct living_decided){ path, k->rule, k->driver };
	}
	return 0;
}

void living_deciding_done(struct living_deciding *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->v[i].path);
	free(d->v);
	d->v = NULL;
	d->n = d->cap = 0;
}

/* *ret_undecided: how many are not. */
static int decide_paths(struct living_deciding *d, struct survey *s, size_t *ret_undecided, struct ply_err *err)
{
	const struct choice *choice = d->l->choice;
	const struct policy_entry *first;
	struct living_collisions k;
	size_t unused;
	int r;

	recall(d, s);
	r = living_collisions(s, d->l, &k, err);
	if (r < 0)
		return r;
	r = policy_decide(&choice->read, &k.c, &unused, &first, err);
	if (r == 0)
		*ret_undecided = living_collisions_decide(&k, s, choice->on_collision);
	living_collisions_done(&k);
	return r;
}

static void tell_paths(const struct survey *s)
{
	size_t told = 0, more = 0;

	for (size_t i = 0; i < s->nconflicts; i++) {
		const struct survey_conflict *c = &s->conflicts[i];
		char shown[512];

		if (c->rule)
			continue;
		if (told == TOLD_MAX) {
			more++;
			continue;
		}
		escape_name_to(c->path, strlen(c->path), shown, sizeof(shown));
		cli_note("undecided: %s (" POLICY_TARGET_NAME ", %s): %s", shown, c->component, merge_why_text(c->k.why));
		told++;
	}
	if (more)
		cli_note("undecided: %zu more", more);
}

/* --- packages ---------------------------------------------------------------------------------------- */

/* *ret_undecided: how many are not. */
static int decide_packages(const struct living_deciding *d, struct survey *s, size_t *ret_undecided, struct ply_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->packages.nclashes; i++) {
		struct package_clash *c = &s->packages.clashes[i];
		const struct policy_package k = { .name = c->pkg->name, .label = c->label, .target = POLICY_TARGET_NAME,
						  .component = c->component, .have = c->pkg->have, .version = c->pkg->version };
		uint8_t rule = POLICY_UNDECIDED;

		r = policy_decide_package(&d->l->choice->read, &k, &rule, err);
		c->stays = rule == POLICY_TARGET;
		c->fails = rule == POLICY_FAIL;
		*ret_undecided += !c->stays;
	}
	return r;
}

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

/* --- both -------------------------------------------------------------------------------------------- */

static int fail_undecided(const struct living_deciding *d, const struct survey *s, size_t n, struct ply_err *err)
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

int living_decide(void *ctx, struct survey *s, struct ply_err *err)
{
	struct living_deciding *d = ctx;
	size_t npackages = 0, npaths = 0;
	bool first = !d->checked;
	int r = choice_read(d->l->choice, err);

	if (r == 0)
		r = decide_packages(d, s, &npackages, err);
	if (r == 0 && npackages && !d->l->packages)
		d->l->packages = living_packages(s);
	if (r == 0 && first && s->base)
		r = living_check_needs(s, d->l->target, d->l->force, err);
	if (r == -ENOPKG)
		tell_packages(s);
	d->checked = true;
	if (r == 0 && s->nconflicts)
		r = decide_paths(d, s, &npaths, err);
	if (r == 0 && first && keep(d, s) < 0)
		r = ply_fail_nomem(err);
	if (r < 0 || d->look || !(npackages + npaths))
		return r;
	tell_packages(s);
	tell_paths(s);
	return fail_undecided(d, s, npackages + npaths, err);
}
