/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The policy as a file: what the old one had decided, as it was; and each further decision, those that are to be
 * made marked. Comments of the old file are lost, since it is written anew.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "layout/survey.h"
#include "merge/compose.h"
#include "merge/merge.h"
#include "outfile.h"
#include "planning.h"

#define KEY_MAX 1000u              /* a longer one is written in the other way that YAML has */

/* Each function adds to @out, and nothing after memory was short once. */
struct writer {
	struct planning *p;
	struct buf out;
	bool failed;
};

static void put(struct writer *w, const char *text)
{
	w->failed |= buf_add(&w->out, text, strlen(text)) < 0;
}

static void put_value(struct writer *w, const char *text)
{
	w->failed |= policy_quote(&w->out, text) < 0;
}

/* "path: ", and what it has comes behind it. YAML looks 1024 characters ahead for the colon, and no further. */
static void put_key(struct writer *w, const char *path)
{
	_cleanup_buf_ struct buf key = { 0 };

	w->failed |= policy_quote(&key, path) < 0;
	put(w, key.len > KEY_MAX ? "      ? " : "      ");
	w->failed |= buf_add(&w->out, key.data, key.len) < 0;
	put(w, key.len > KEY_MAX ? "\n      : " : ": ");
}

/* What is a value of a component: already escaped text. */
static void put_content(struct writer *w, const char *text)
{
	w->failed |= buf_printf(&w->out, "'") < 0;
	for (const char *p = text; *p; p++) {
		if (*p == '\'')
			put(w, "''");
		else
			w->failed |= buf_add(&w->out, p, 1) < 0;
	}
	put(w, "'");
}

static void put_rule(struct writer *w, uint8_t rule, uint16_t driver)
{
	const struct merge_driver *d = rule == PLY_RULE_DRIVER ? merge_driver_get(driver) : NULL;

	put(w, "    resolve: ");
	if (d) {
		put(w, "{driver: ");
		put(w, d->name);
		put(w, "}\n");
	} else {
		put(w, policy_rule_name(rule));
		put(w, "\n");
	}
}

static void put_package(struct writer *w, const char *package)
{
	if (!package)
		return;
	put(w, "    package: ");
	put_value(w, package);
	put(w, "\n");
}

/* --- entries of the old file ---------------------------------------------------------------- */

static void put_ofs(struct writer *w, const struct policy_entry *e, size_t path)
{
	const char *before = "{";

	for (size_t i = 0; i < e->nof; i++) {
		if (e->of[i].path != path)
			continue;
		put(w, before);
		put(w, e->of[i].component);
		put(w, ": ");
		put_content(w, e->of[i].content);
		before = ", ";
	}
	put(w, "}\n");
}

static void put_versions(struct writer *w, const struct policy_entry *e)
{
	for (size_t i = 0; i < e->nof; i++) {
		put(w, i ? ", " : "{");
		put(w, e->of[i].component);
		put(w, ": ");
		put_value(w, e->of[i].content);
	}
	put(w, "}\n");
}

static void put_entry(struct writer *w, const struct policy_entry *e)
{
	if (!e->npaths) {
		put(w, "  - package: ");
		put_value(w, e->package);
		put(w, "\n");
		if (e->nof) {
			put(w, "    of: ");
			put_versions(w, e);
		}
	} else if (e->is_glob || e->npaths == 1) {
		put(w, e->is_glob ? "  - glob: " : "  - path: ");
		put_value(w, e->paths[0]);
		put(w, "\n");
		if (!e->is_glob) {
			put(w, "    of: ");
			put_ofs(w, e, 0);
		}
	} else {
		put(w, "  - paths:\n");
		for (size_t i = 0; i < e->npaths; i++) {
			put(w, "      - ");
			put_value(w, e->paths[i]);
			put(w, "\n");
		}
		put(w, "    of:\n");
		for (size_t i = 0; i < e->npaths; i++) {
			put_key(w, e->paths[i]);
			put_ofs(w, e, i);
		}
	}
	if (e->npaths)
		put_package(w, e->package);
	put_rule(w, e->rule, e->driver);
}

/* Was a package decided now? */
static bool is_answered(const struct writer *w, const char *package)
{
	const struct survey *s = w->p->live;

	for (size_t i = 0; s && i < s->packages.nclashes; i++) {
		const struct package_clash *c = &s->packages.clashes[i];

		if (c->answered && (!strcmp(package, c->label) || !strcmp(package, c->pkg->name)))
			return true;
	}
	return false;
}

/* Is an old entry to be kept? Not if it marks what is written anew. */
static bool is_kept(const struct writer *w, const struct policy_entry *e)
{
	if (e->rule != POLICY_UNDECIDED)
		return true;
	if (!e->npaths)
		return !is_answered(w, e->package);
	for (size_t i = 0; i < e->npaths; i++)
		if (!e->is_glob && collisions_find(w->p->c, e->paths[i]))
			return false;
	return true;
}

/* --- entries of this selection ----------------------------------------------------------------- */

static bool is_new(const struct collision *k)
{
	return k->cls == MERGE_CONFLICT && (!k->entry || k->entry->rule == POLICY_UNDECIDED);
}

static int put_contents(struct writer *w, const struct collision *k, struct ply_err *err)
{
	const char *before = "{";

	for (size_t i = 0; i < k->n; i++) {
		_cleanup_free_ char *content = NULL;
		int r = w->p->c->content(w->p->c->ctx, k->v[i].sub, k->path, &content, err);

		if (r < 0)
			return r;
		put(w, before);
		put(w, w->p->c->names[k->v[i].sub]);
		put(w, ": ");
		put_content(w, content);
		before = ", ";
	}
	put(w, "}\n");
	return 0;
}

/* "# a private key; possible: first, last" */
static void put_comment(struct writer *w, const struct collision *k)
{
	const struct plan_group *g = &w->p->groups[k->group];

	put(w, "  # ");
	put(w, g->what ? g->what : merge_why_text(k->why));
	put(w, "; possible: ");
	w->failed |= plan_possible(w->p, k->group, &w->out) < 0;
	put(w, "\n");
}

/* Those of group @first that are new and go by @rule, as one entry. */
static int put_set(struct writer *w, size_t first, uint8_t rule, struct ply_err *err)
{
	const struct collisions *c = w->p->c;
	const struct collision *one = NULL;
	size_t n = 0;
	int r = 0;

	for (size_t i = first; i < c->n; i++) {
		const struct collision *k = &c->v[i];

		if (k->group != first || !is_new(k) || plan_rule(w->p, k) != rule)
			continue;
		one = one ? one : k;
		n++;
	}
	if (!n)
		return 0;
	put_comment(w, one);
	put(w, n == 1 ? "  - path: " : "  - paths:\n");
	for (size_t i = first; i < c->n; i++) {
		const struct collision *k = &c->v[i];

		if (k->group != first || !is_new(k) || plan_rule(w->p, k) != rule)
			continue;
		if (n > 1)
			put(w, "      - ");
		put_value(w, k->path);
		put(w, "\n");
	}
	put(w, n == 1 ? "    of: " : "    of:\n");
	for (size_t i = first; r == 0 && i < c->n; i++) {
		const struct collision *k = &c->v[i];

		if (k->group != first || !is_new(k) || plan_rule(w->p, k) != rule)
			continue;
		if (n > 1)
			put_key(w, k->path);
		r = put_contents(w, k, err);
	}
	put_package(w, w->p->groups[first].package);
	put_rule(w, rule, one->driver);
	return r;
}

static void put_answer(struct writer *w, const struct package_clash *c)
{
	put(w, "  - package: ");
	put_value(w, c->label);
	put(w, "\n    of: {" POLICY_TARGET_NAME ": ");
	put_value(w, c->pkg->have);
	put(w, ", ");
	put(w, c->component);
	put(w, ": ");
	put_value(w, c->pkg->version);
	put(w, "}\n");
	put_rule(w, POLICY_TARGET, 0);
}

static int put_all(struct writer *w, struct ply_err *err)
{
	static const uint8_t rules[] = { POLICY_UNDECIDED, PLY_RULE_FIRST, PLY_RULE_LAST, PLY_RULE_APPEND,
					 PLY_RULE_KEEP_BOTH };
	const struct policy *old = &w->p->choice->read;
	size_t before;
	int r = 0;

	put(w, "# What happens where sub-images collide; see plyfs-policy(5).\nversion: 1\nconflicts:");
	before = w->out.len;
	put(w, "\n");
	for (size_t i = 0; i < old->n; i++)
		if (is_kept(w, &old->v[i]))
			put_entry(w, &old->v[i]);
	for (size_t i = 0; w->p->live && i < w->p->live->packages.nclashes; i++)
		if (w->p->live->packages.clashes[i].answered)
			put_answer(w, &w->p->live->packages.clashes[i]);
	for (size_t i = 0; r == 0 && i < w->p->c->n; i++)
		for (size_t k = 0; r == 0 && w->p->groups[i].n && k < ARRAY_SIZE(rules); k++)
			r = put_set(w, i, rules[k], err);
	if (r == 0 && w->out.len == before + 1) {
		w->out.len = before;
		put(w, " []\n");
	}
	return r == 0 && w->failed ? ply_fail_nomem(err) : r;
}

int plan_render(struct planning *p, struct buf *out, struct ply_err *err)
{
	struct writer w = { .p = p };
	int r = put_all(&w, err);

	if (r < 0)
		buf_done(&w.out);
	else
		*out = w.out;
	return r;
}

int plan_write(struct planning *p, const char *file, struct ply_err *err)
{
	_cleanup_buf_ struct buf out = { 0 };
	int r = plan_render(p, &out, err);

	if (r < 0 || strcmp(file, "-") != 0)
		return r < 0 ? r : outfile_write(file, out.data, out.len, err);
	if (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0)
		return ply_fail_sys(err, -errno, "cannot write to the standard output");
	return 0;
}
