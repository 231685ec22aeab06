/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plan for people: a line for each decision, with its paths below it, conflicts first; then what is
 * overridden. A path is never cut, so that it can be copied; all else fits 80 columns.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "format/format.h"
#include "merge/compose.h"
#include "merge/merge.h"
#include "planning.h"

#define CLASS_WIDTH   10
#define HOLDERS_WIDTH 22
#define WIDTH         80

const char *plan_class_name(uint8_t cls)
{
	static const char *const names[] = {
		[MERGE_TIMES] = "times", [MERGE_DIRECTORY] = "directory", [MERGE_DRIVER] = "driver",
		[MERGE_THREE_WAY] = "three-way", [MERGE_APPEND] = "append", [MERGE_CONFLICT] = "conflict",
	};

	return cls < ARRAY_SIZE(names) && names[cls] ? names[cls] : "same";
}

uint8_t plan_rule(const struct planning *p, const struct collision *k)
{
	if (!k->rule && p->append && k->appendable && k->cls == MERGE_CONFLICT)
		return PLY_RULE_APPEND;
	return k->rule;
}

int plan_holders(const struct planning *p, const struct collision *k, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < k->n; i++)
		r = buf_printf(out, "%s%s", i ? ", " : "", p->c->names[k->v[i].sub]);
	return r;
}

static const char *by_class(const struct planning *p, const struct collision *k, char *out, size_t len)
{
	const struct merge_driver *d;

	switch (k->cls) {
	case MERGE_TIMES:
		snprintf(out, len, "the same but for times: %s's", p->c->names[k->v[0].sub]);
		return out;
	case MERGE_DIRECTORY:
		snprintf(out, len, "owner and mode are %s's", p->c->names[k->v[0].sub]);
		return out;
	case MERGE_DRIVER:
		d = merge_driver_for(k->path);
		snprintf(out, len, "merged by records (%s)", d ? d->name : "?");
		return out;
	case MERGE_THREE_WAY:
		return "both changes are merged";
	case MERGE_APPEND:
		return "one behind the other";
	default:
		if (p->groups[k->group].package)
			return "undecided: another version";
		snprintf(out, len, "undecided: %s", merge_why_text(k->why));
		return out;
	}
}

const char *plan_outcome(const struct planning *p, const struct collision *k, char *out, size_t len)
{
	const struct merge_driver *d;

	switch (k->cls >= MERGE_DRIVER ? plan_rule(p, k) : POLICY_UNDECIDED) {
	case PLY_RULE_FIRST:
		snprintf(out, len, "decided: first, %s's", p->c->names[k->v[0].sub]);
		return out;
	case PLY_RULE_LAST:
		snprintf(out, len, "decided: last, %s's", p->c->names[k->v[k->n - 1].sub]);
		return out;
	case PLY_RULE_APPEND:
		snprintf(out, len, "decided: append%s", k->rule ? "" : " (--on-collision)");
		return out;
	case PLY_RULE_KEEP_BOTH:
		return "decided: keep both";
	case PLY_RULE_DRIVER:
		d = merge_driver_get(k->driver);
		snprintf(out, len, "decided: driver %s", d ? d->name : "?");
		return out;
	case POLICY_FAIL:
		return "undecided: the policy says fail";
	default:
		return by_class(p, k, out, len);
	}
}

/* --- overrides ------------------------------------------------------------------------------ */

static const char *const mask_words[6] = { "content", "type", "mode", "owner", "xattrs", "links" };

int plan_mask_words(uint32_t mask, struct buf *out)
{
	size_t n = 0, at = 0;
	int r = 0;

	for (int i = 0; i < 6; i++)
		n += mask >> i & 1;
	for (int i = 0; r == 0 && i < 6; i++) {
		if (!(mask >> i & 1))
			continue;
		r = buf_printf(out, "%s%s", !at ? "" : at + 1 == n ? " and " : ", ", mask_words[i]);
		at++;
	}
	return r;
}

static int print_change(void *ctx, const struct plan_change *c, struct ply_err *err)
{
	const struct planning *p = ctx;
	_cleanup_free_ char *shown = escape_name(c->path, strlen(c->path));
	_cleanup_buf_ struct buf what = { 0 };

	if (!shown || plan_mask_words(c->mask, &what) < 0)
		return ply_fail_nomem(err);
	if (c->mask)
		printf("%s changes %.*s of %s's\n  %s\n", p->c->names[c->sub], (int)what.len, (const char *)what.data,
		       c->of, shown);
	else
		printf("%s deletes %s's\n  %s\n", p->c->names[c->sub], c->of, shown);
	return 0;
}

static void print_counts(const struct planning *p, uint32_t sub, const struct plan_changes *n)
{
	const char *before = ": ";

	printf("%s overrides %" PRIu64 " file%s of what it stands on", p->c->names[sub], n->n,
	       n->n == 1 ? "" : "s");
	for (int i = 0; i < 6; i++) {
		if (!n->by[i])
			continue;
		printf("%s%s %" PRIu64, before, mask_words[i], n->by[i]);
		before = ", ";
	}
	if (n->deleted)
		printf("; deletes %" PRIu64, n->deleted);
	putchar('\n');
}

static int print_changes(struct planning *p, struct ply_err *err)
{
	for (uint32_t i = 0; i < ply_view_nsubs(p->look.view); i++) {
		uint32_t sub = ply_view_sub(p->look.view, i);
		struct plan_changes n;
		int r;

		if (!(ply_image_sub_info(p->look.image, sub)->flags & PLY_SUB_OVERLAY))
			continue;
		r = plan_changes(p, sub, &n, p->all ? print_change : NULL, p, err);
		if (r < 0)
			return r;
		if (n.n || n.deleted)
			print_counts(p, sub, &n);
	}
	return 0;
}

/* --- collisions ------------------------------------------------------------------------------ */

static int print_head(const struct planning *p, const struct collision *k, const struct plan_group *g,
		      struct ply_err *err)
{
	_cleanup_buf_ struct buf holders = { 0 };
	char text[256];
	const char *out = plan_outcome(p, k, text, sizeof(text));
	int at;

	if (plan_holders(p, k, &holders) < 0)
		return ply_fail_nomem(err);
	at = printf("%-*s %.*s", CLASS_WIDTH, plan_class_name(k->cls), (int)holders.len, (const char *)holders.data);
	if (MAX(at, CLASS_WIDTH + HOLDERS_WIDTH + 1) + 1 + (int)strlen(out) > WIDTH)
		printf("\n%*s%s\n", CLASS_WIDTH + 1, "", out);
	else
		printf("%*s %s\n", MAX(CLASS_WIDTH + HOLDERS_WIDTH + 1 - at, 0), "", out);
	if (g->what)
		printf("%*s%s\n", CLASS_WIDTH + 1, "", g->what);
	return 0;
}

/* Each decision begins with its head; its paths follow, those that go another way with a head of their own. */
static int print_group(const struct planning *p, size_t first, struct ply_err *err)
{
	const struct collision *head = NULL;
	size_t left = p->groups[first].n;

	for (size_t i = first; left && i < p->c->n; i++) {
		const struct collision *k = &p->c->v[i];
		_cleanup_free_ char *shown = NULL;

		if (k->group != first)
			continue;
		left--;
		shown = escape_name(k->path, strlen(k->path));
		if (!shown)
			return ply_fail_nomem(err);
		if (!head || plan_rule(p, head) != plan_rule(p, k) ||
		    (head->why != k->why && !p->groups[first].package)) {
			int r = print_head(p, k, &p->groups[first], err);

			if (r < 0)
				return r;
			head = k;
		}
		printf("  %s\n", shown);
	}
	return 0;
}

/* What is to be decided, what is decided, what goes by itself. */
static int order_of(const struct planning *p, const struct collision *k)
{
	if (collision_is_undecided(k, p->append))
		return 0;
	return k->cls == MERGE_CONFLICT ? 1 : 2 + MERGE_CONFLICT - k->cls;
}

static void print_summary(const struct planning *p)
{
	size_t by[MERGE_CONFLICT + 1] = { 0 }, undecided = 0;
	const char *before = "";

	for (size_t i = 0; i < p->c->n; i++) {
		by[MIN(p->c->v[i].cls, (uint8_t)MERGE_CONFLICT)]++;
		undecided += collision_is_undecided(&p->c->v[i], p->append);
	}
	if (!p->c->n) {
		printf("no collisions\n");
		return;
	}
	for (int i = MERGE_CONFLICT; i > 0; i--) {
		if (!by[i])
			continue;
		printf("%s%s %zu", before, plan_class_name((uint8_t)i), by[i]);
		before = ", ";
	}
	if (undecided)
		printf("; undecided: %zu\n%s", undecided, p->choice->policy ? "" :
		       "decide: --ask --policy=FILE; or --write=FILE, an editor, and --policy=FILE\n");
	else
		printf("; nothing is undecided\n");
}

int plan_print(struct planning *p, struct ply_err *err)
{
	int last = 2 + MERGE_CONFLICT, r = 0;

	if (p->c->n)
		printf("%-*s %-*s %s\n", CLASS_WIDTH, "CLASS", HOLDERS_WIDTH, "SUB-IMAGES", "WHAT HAPPENS, WHERE");
	for (int order = 0; order <= last; order++)
		for (size_t i = 0; r == 0 && i < p->c->n; i++)
			if (p->groups[i].n && order_of(p, &p->c->v[i]) == order)
				r = print_group(p, i, err);
	if (r == 0)
		r = print_changes(p, err);
	if (r == 0)
		print_summary(p);
	return r;
}
