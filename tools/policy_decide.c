/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A policy held against the collisions of a selection: see policy.h. Nothing is asked of the image but the
 * contents that entries name. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "capture/glob.h"
#include "collisions.h"
#include "merge/compose.h"
#include "policy.h"

struct decider {
	const struct policy *policy;
	struct collisions *c;
	struct ply_err *err;
};

static int fail_at(const struct decider *d, unsigned line, unsigned column, enum ply_reason reason, const char *fmt,
		   ...) __attribute__((format(printf, 5, 6)));
static int fail_at(const struct decider *d, unsigned line, unsigned column, enum ply_reason reason, const char *fmt,
		   ...)
{
	char text[900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return ply_fail(d->err, -EINVAL, reason, "%s:%u:%u: %s", d->policy->file, line, column, text);
}

static int find_name(const struct collisions *c, const char *name)
{
	for (uint32_t i = 0; i < c->nnames; i++)
		if (!strcmp(c->names[i], name))
			return (int)i;
	return -1;
}

static int unknown_component(const struct decider *d, const struct policy_of *of)
{
	_cleanup_buf_ struct buf names = { 0 };

	for (uint32_t i = 0; i < d->c->nnames; i++)
		if (buf_printf(&names, "%s%s", i ? ", " : "", d->c->names[i]) < 0)
			return ply_fail_nomem(d->err);
	return fail_at(d, of->line, of->column, PLY_R_POLICY_VALUE, "of: there is no sub-image '%s'; there are: %.*s",
		       of->component, (int)names.len, (const char *)names.data);
}

/* Is what @of says still so? What is not selected cannot be asked. */
static int check_content(const struct decider *d, const struct policy_entry *e, const struct policy_of *of)
{
	int sub = find_name(d->c, of->component);
	_cleanup_free_ char *now = NULL;
	char shown[256];
	int r;

	/* whoever looks at no target does not know what is there */
	if (sub < 0 && !strcmp(of->component, POLICY_TARGET_NAME))
		return 0;
	if (sub < 0)
		return unknown_component(d, of);
	if (!d->c->selected[sub])
		return 0;
	r = d->c->content(d->c->ctx, (uint32_t)sub, e->paths[of->path], &now, d->err);
	if (r < 0 || !now || !strcmp(now, of->content))
		return r;
	escape_name_to(e->paths[of->path], strlen(e->paths[of->path]), shown, sizeof(shown));
	return fail_at(d, of->line, of->column, PLY_R_POLICY_STALE,
		       "the entry is stale: it was made for %s's %s with %s, which is now %s; decide again", of->component,
		       shown, of->content, now);
}

/* Every selected sub-image that holds the path is one that the entry was made for. */
static int check_holders(const struct decider *d, const struct policy_entry *e, size_t path, const struct collision *c)
{
	char shown[256];

	for (size_t i = 0; i < c->n; i++) {
		const char *name = d->c->names[c->v[i].sub];
		size_t k = 0;

		while (k < e->nof && (e->of[k].path != path || strcmp(e->of[k].component, name) != 0))
			k++;
		if (k < e->nof)
			continue;
		escape_name_to(c->path, strlen(c->path), shown, sizeof(shown));
		return fail_at(d, e->line, e->column, PLY_R_POLICY_STALE,
			       "the entry is stale: %s holds %s too, and it was not made for that; decide again", name, shown);
	}
	return 0;
}

static int set(const struct decider *d, const struct policy_entry *e, struct collision *c)
{
	const char *why = collision_refuses(c, e->rule);
	char shown[256];

	/* a glob decides what it may, and has no say in the rest */
	if (e->is_glob && (why || e->rule == POLICY_UNDECIDED))
		return 0;
	escape_name_to(c->path, strlen(c->path), shown, sizeof(shown));
	if (c->entry)
		return fail_at(d, e->line, e->column, PLY_R_POLICY_VALUE,
			       "%s has an entry at line %u already; nothing overrides an earlier entry", shown,
			       c->entry->line);
	if (why)
		return fail_at(d, e->resolve_line, e->resolve_column, PLY_R_POLICY_VALUE, "%s cannot be %s: %s", shown,
			       policy_rule_name(e->rule), why);
	c->entry = e;
	c->rule = e->rule;
	c->driver = e->driver;
	return 0;
}

/* *ret: does one of its paths collide? */
static int apply_paths(const struct decider *d, const struct policy_entry *e, bool *ret)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < e->nof; k++)
		r = check_content(d, e, &e->of[k]);
	for (size_t k = 0; r == 0 && k < e->npaths; k++) {
		struct collision *c = collisions_find(d->c, e->paths[k]);

		if (!c)
			continue;
		*ret = true;
		r = check_holders(d, e, k, c);
		if (r == 0)
			r = set(d, e, c);
	}
	return r;
}

static int apply_glob(const struct decider *d, const struct policy_entry *e, bool *ret)
{
	for (size_t i = 0; i < d->c->n; i++) {
		struct collision *c = &d->c->v[i];
		int r;

		/* who merely agrees needs no decision */
		if (c->cls < MERGE_DRIVER || !glob_match(e->paths[0] + 1, c->path + 1, NULL))
			continue;
		*ret = true;
		r = set(d, e, c);
		if (r < 0)
			return r;
	}
	return 0;
}

int policy_decide(const struct policy *p, struct collisions *c, size_t *ret_unused,
		  const struct policy_entry **ret_first_unused, struct ply_err *err)
{
	const struct decider d = { p, c, err };

	*ret_unused = 0;
	*ret_first_unused = NULL;
	for (size_t i = 0; i < p->n; i++) {
		const struct policy_entry *e = &p->v[i];
		bool used = false;
		int r;

		if (!e->npaths)            /* policy_decide_package() has it */
			continue;
		r = e->is_glob ? apply_glob(&d, e, &used) : apply_paths(&d, e, &used);

		if (r < 0)
			return r;
		if (used)
			continue;
		if (!(*ret_unused)++)
			*ret_first_unused = e;
	}
	return 0;
}

/* --- packages of a target ------------------------------------------------------------------ */

static int check_version(const struct decider *d, const struct policy_entry *e, const char *name, const char *version,
			 const char *label)
{
	for (size_t i = 0; i < e->nof; i++) {
		if (strcmp(e->of[i].component, name) != 0)
			continue;
		return !strcmp(e->of[i].content, version) ? 0 :
			fail_at(d, e->of[i].line, e->of[i].column, PLY_R_POLICY_STALE,
				"the entry is stale: it was made for %s's package %s %s, which is now %s; decide again", name,
				label, e->of[i].content, version);
	}
	return fail_at(d, e->line, e->column, PLY_R_POLICY_STALE,
		       "the entry is stale: %s has package %s too, and it was not made for that; decide again", name, label);
}

int policy_decide_package(const struct policy *p, const struct policy_package *k, uint8_t *ret_rule, struct ply_err *err)
{
	const struct decider d = { .policy = p, .err = err };
	const struct policy_entry *found = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n; i++) {
		const struct policy_entry *e = &p->v[i];

		if (e->npaths || (strcmp(e->package, k->name) != 0 && strcmp(e->package, k->label) != 0))
			continue;
		if (found)
			return fail_at(&d, e->line, e->column, PLY_R_POLICY_VALUE,
				       "package %s has an entry at line %u already; nothing overrides an earlier entry",
				       k->label, found->line);
		found = e;
		if (e->nof)
			r = check_version(&d, e, k->target, k->have, k->label);
		if (r == 0 && e->nof)
			r = check_version(&d, e, k->component, k->version, k->label);
	}
	if (r < 0)
		return r;
	*ret_rule = found ? found->rule : POLICY_UNDECIDED;
	return 0;
}
