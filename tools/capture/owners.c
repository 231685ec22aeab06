/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who owns what, in this order:
 *
 *   1. what packages list is the component's of the package. A path of os packages too is os. A
 *      directory of several components, none of them os, belongs to each.
 *   2. what a component names by path is its own, though a package lists it: the last word.
 *   3. all else by the rules, the manifest's first. A rule may ask for another path's owner
 *      (a symlink's target, a pyc's source), which may have none yet: so a search, with every
 *      answer kept. A circle finds nothing.
 *   4. a directory that no rule took, and all whose content is one component's, is too; what no
 *      rule took in a directory that a rule gave to a component goes with it.
 *   5. the rest is os, and is reported.
 */
#include "capture/owners.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "capture/facts.h"
#include "capture/glob.h"

#define NOBODY    FACT_NONE
#define DEPTH_MAX 50               /* of searches in searches */
#define TEXT_MAX  ((size_t)64 << 10)       /* of a file that is searched for paths */

struct work {
	struct scan *scan;
	const struct pkgdb *db;
	const struct manifest *manifest;
	const struct rules *rules;
	struct split *split;
	uint8_t *by_path;
	uint8_t *owned;            /* bits: by a package or by path */
	uint8_t *state;            /* of rules: SEARCHING, SEARCHED */
	uint8_t *told;             /* bits: by a rule that reports */
	struct facts *facts;
	uint16_t comp;             /* of the package in hand */
	struct ply_err *err;
	int failed;                /* -ENOMEM in a search */
};

enum { SEARCHING = 1, SEARCHED };

static bool bit(const uint8_t *bits, uint32_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static void set_bit(uint8_t *bits, uint32_t i)
{
	bits[i / 8] |= (uint8_t)(1u << i % 8);
}

static struct scan_node *at(const struct work *w, uint32_t node)
{
	return &w->scan->nodes[node];
}

static bool is_comp(const struct work *w, uint16_t comp)
{
	return comp < w->split->closure.ncomps;
}

/* --- packages ------------------------------------------------------------------ */

static int own(void *ctx, const char *path, size_t len)
{
	struct work *w = ctx;
	uint32_t node = scan_lookup(w->scan, path, len);
	struct scan_node *n;

	if (node == SCAN_NONE)
		return 0;          /* listed, and deleted since */
	n = at(w, node);
	if (n->comp == NOBODY || w->comp == 0 || n->comp == 0)
		n->comp = n->comp == NOBODY ? w->comp : 0;
	else if (S_ISDIR(n->mode) && !split_holds(w->split, n->comp, w->comp))
		return split_join(w->split, n->comp, w->comp, &n->comp);
	return 0;
}

static int own_packages(struct work *w)
{
	int r = 0;

	for (uint32_t p = 0; w->db && r >= 0 && p < pkgdb_count(w->db); p++) {
		w->comp = (uint16_t)w->split->closure.pkgs[p].comp;
		r = pkgdb_files(w->db, p, own, w, w->err);
		if (r == -ENOMEM)
			ply_fail_nomem(w->err);
		else if (r == -E2BIG)
			ply_fail(w->err, r, PLY_R_LIMIT, "directories belong to too many sets of components");
	}
	return r < 0 ? r : 0;
}

/* --- paths ------------------------------------------------------------------------ */

static int own_by_path(struct work *w, uint32_t node, uint16_t comp, const struct manifest_item *item)
{
	struct scan_node *n = at(w, node);

	if (bit(w->by_path, node) && n->comp != comp) {
		_cleanup_buf_ struct buf path = { 0 };

		if (scan_path(w->scan, node, &path) < 0)
			return ply_fail_nomem(w->err);
		return ply_fail(w->err, -EINVAL, PLY_R_COMPONENT_TWICE,
				"%s: %s matches /%s, which component %s names too; narrow one of them",
				item->where, item->text, (const char *)path.data,
				w->split->closure.comps[n->comp].name);
	}
	set_bit(w->by_path, node);
	n->comp = comp;
	return 0;
}

/* What matches, and all below it: nodes come after their directories in the array. */
static int own_glob(struct work *w, uint16_t comp, const struct manifest_item *item)
{
	_cleanup_free_ uint8_t *mine = calloc(w->scan->n / 8 + 1, 1);
	_cleanup_buf_ struct buf path = { 0 };
	bool matched = false;
	int r = 0;

	if (!mine)
		return ply_fail_nomem(w->err);
	for (uint32_t i = 1; r == 0 && i < w->scan->n; i++) {
		if (!bit(mine, at(w, i)->parent)) {
			if (scan_path(w->scan, i, &path) < 0)
				return ply_fail_nomem(w->err);
			if (!scan_glob(item->text, (const char *)path.data))
				continue;
		}
		matched = true;
		set_bit(mine, i);
		r = own_by_path(w, i, comp, item);
	}
	if (r < 0)
		return r;
	return matched ? 0 : ply_fail(w->err, -ENOENT, PLY_R_COMPONENT_PATHS, "%s: component %s: nothing matches %s",
				      item->where, w->split->closure.comps[comp].name, item->text);
}

static int own_paths(struct work *w)
{
	int r = 0;

	for (size_t c = 0; c < w->manifest->ncomps; c++) {
		const struct manifest_component *m = &w->manifest->comps[c];
		uint32_t comp = closure_find(&w->split->closure, m->name);

		for (size_t i = 0; r == 0 && i < m->npaths; i++)
			r = own_glob(w, (uint16_t)comp, &m->paths[i]);
	}
	return r;
}

/* --- methods of rules --------------------------------------------------------------- */

static uint16_t find_owner(struct work *w, uint32_t node, unsigned depth);

/* One component for a node: a directory of several is nobody's. */
static uint16_t owner_of(struct work *w, uint32_t node, unsigned depth)
{
	uint16_t comp = node == SCAN_NONE ? NOBODY : find_owner(w, node, depth + 1);

	return is_comp(w, comp) ? comp : NOBODY;
}

/* Where a symlink leads, one step; @path is scratch. */
static int target_of(const struct scan *s, uint32_t node, struct buf *path, uint32_t *ret)
{
	const char *target = scan_target(s, node);

	path->len = 0;
	if (*target != '/' && scan_path(s, s->nodes[node].parent, path) < 0)
		return -ENOMEM;
	path->len = path->len ? path->len - 1 : 0;    /* without the NUL byte */
	if (buf_add(path, "/", 1) < 0 || buf_add(path, target, s->nodes[node].size) < 0)
		return -ENOMEM;
	*ret = scan_lookup(s, (const char *)path->data, path->len);
	return 0;
}

static uint16_t by_target(struct work *w, uint32_t node, unsigned depth)
{
	_cleanup_buf_ struct buf path = { 0 };
	uint32_t to;

	if (target_of(w->scan, node, &path, &to) < 0) {
		w->failed = -ENOMEM;
		return NOBODY;
	}
	return to == node ? NOBODY : owner_of(w, to, depth);
}

static uint16_t by_parent(struct work *w, uint32_t node)
{
	for (uint32_t up = at(w, node)->parent; up != SCAN_ROOT; up = at(w, up)->parent)
		if (bit(w->owned, up))
			return is_comp(w, at(w, up)->comp) && at(w, up)->comp ? at(w, up)->comp : NOBODY;
	return NOBODY;
}

static uint16_t by_owner(struct work *w, uint32_t node)
{
	uint16_t comp = facts_user(w->facts, at(w, node)->uid);

	if (!comp)
		comp = facts_group(w->facts, at(w, node)->gid);
	return comp ? comp : NOBODY;
}

/* A text file that names paths, or the user, of exactly one component that is not os. */
static uint16_t by_content(struct work *w, uint32_t node)
{
	_cleanup_buf_ struct buf text = { 0 };
	const char *p, *end;
	uint16_t found = NOBODY;
	size_t n;
	int r;

	if (!S_ISREG(at(w, node)->mode) || at(w, node)->size > TEXT_MAX)
		return NOBODY;
	r = facts_read(w->scan, node, TEXT_MAX, &text);
	if (r < 0 || memchr(text.data, '\0', text.len)) {
		w->failed = r == -ENOMEM ? r : w->failed;
		return NOBODY;
	}
	p = (const char *)text.data;
	end = p + text.len;
	for (const char *q = p; (q = facts_next_path(q, end, &n)) < end; q += n) {
		uint32_t to = scan_lookup(w->scan, q, n);
		uint16_t comp = to == SCAN_NONE || !bit(w->owned, to) ? NOBODY : at(w, to)->comp;

		if (!is_comp(w, comp) || !comp || comp == found)
			continue;
		if (found != NOBODY) {
			uint16_t both[2] = { found, comp };

			comp = facts_common(w->facts, both, 2);
			if (comp == NOBODY)
				return NOBODY;
		}
		found = comp;
	}
	if (found == NOBODY && (p = strstr(p, "\nUser="))) {
		p += strlen("\nUser=");
		found = facts_user_named(w->facts, p, strcspn(p, " \t\r\n"));
	}
	return found ? found : NOBODY;
}

static uint16_t by_method(struct work *w, uint32_t node, const char *path, enum rule_method method,
			  unsigned depth)
{
	const char *name = scan_name(w->scan, node);

	switch (method) {
	case BY_TARGET:
		return S_ISLNK(at(w, node)->mode) ? by_target(w, node, depth) : NOBODY;
	case BY_PARENT:
		return by_parent(w, node);
	case BY_OWNER:
		return by_owner(w, node);
	case BY_SCRIPT:
		return facts_script(w->facts, path, strlen(path));
	case BY_CONTENT:
		return by_content(w, node);
	case BY_ALTERNATIVE:
		return facts_alternative(w->facts, name, strlen(name));
	case BY_UCF: {
		/* /var/lib/ucf/cache/:etc:php:php.ini is /etc/php/php.ini */
		_cleanup_free_ char *real = strdup(*name == ':' ? name + 1 : path);

		if (!real) {
			w->failed = -ENOMEM;
			return NOBODY;
		}
		for (char *p = real; *name == ':' && (p = strchr(p, ':'));)
			*p = '/';
		return facts_ucf(w->facts, real, strlen(real));
	}
	case BY_COUNT:
		break;
	}
	return NOBODY;
}

static uint16_t by_unit(struct work *w, const char *unit, unsigned depth)
{
	static const char *const dirs[] = { "usr/lib/systemd/system", "etc/systemd/system",
					    "usr/lib/systemd/user", "etc/systemd/user" };
	const char *sign = strchr(unit, '@'), *dot = strrchr(unit, '.');
	char path[512], template[300];

	if (strlen(unit) > 255 || !dot)
		return NOBODY;
	snprintf(template, sizeof(template), "%.*s%s", sign ? (int)(sign + 1 - unit) : 0, unit, dot);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		for (int k = 0; k < (sign ? 2 : 1); k++) {
			int len = snprintf(path, sizeof(path), "%s/%s", dirs[i], k ? template : unit);
			uint16_t comp = owner_of(w, scan_lookup(w->scan, path, (size_t)len), depth);

			if (comp != NOBODY)
				return comp;
		}
	snprintf(path, sizeof(path), "etc/init.d/%.*s", (int)(dot - unit), unit);
	return owner_of(w, scan_lookup(w->scan, path, strlen(path)), depth);
}

/* The last component of @path may be a glob. */
static uint16_t owner_of_path(struct work *w, const char *path, uint32_t self, unsigned depth)
{
	const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;
	uint16_t found = NOBODY;
	const struct scan_node *d;
	uint32_t dir;

	if (!strpbrk(last, "*?[")) {
		dir = scan_lookup(w->scan, path, strlen(path));
		return dir == self ? NOBODY : owner_of(w, dir, depth);
	}
	dir = scan_lookup(w->scan, path, slash ? (size_t)(slash - path) : 0);
	if (dir == SCAN_NONE || !S_ISDIR(at(w, dir)->mode))
		return NOBODY;
	d = at(w, dir);
	for (uint32_t i = d->first_child; i < d->first_child + d->nchildren && found == NOBODY; i++)
		if (i != self && glob_match(last, scan_name(w->scan, i), NULL))
			found = owner_of(w, i, depth);
	return found;
}

/* --- rules ------------------------------------------------------------------------------ */

/* The template's path; one without a slash at its begin is relative to the node's directory. */
static int make_path(struct work *w, uint32_t node, const char *template, const struct glob_captures *c,
		     struct buf *out)
{
	_cleanup_buf_ struct buf rest = { 0 };
	int r = rule_expand(template, c, &rest);

	out->len = 0;
	if (r == 0 && *template != '/') {
		r = scan_path(w->scan, at(w, node)->parent, out);
		out->len = r == 0 ? out->len - 1 : 0;
	}
	if (r == 0)
		r = buf_printf(out, "/%s", (const char *)rest.data);
	return r < 0 ? r : buf_add(out, "", 1);
}

static uint16_t apply_template(struct work *w, uint32_t node, const struct rule *rule,
			       const char *template, const struct glob_captures *c, unsigned depth)
{
	_cleanup_buf_ struct buf text = { 0 };
	uint32_t comp;

	if ((rule->action == RULE_AS ? make_path(w, node, template, c, &text) :
				       rule_expand(template, c, &text)) < 0) {
		w->failed = -ENOMEM;
		return NOBODY;
	}
	switch (rule->action) {
	case RULE_TO:
		comp = closure_find(&w->split->closure, (const char *)text.data);
		return comp == UINT32_MAX ? NOBODY : (uint16_t)comp;
	case RULE_AS:
		return owner_of_path(w, (const char *)text.data, node, depth);
	case RULE_UNIT:
		return by_unit(w, (const char *)text.data, depth);
	case RULE_PACKAGE:
		comp = facts_package(w->facts, (const char *)text.data, strlen((const char *)text.data));
		return comp ? (uint16_t)comp : NOBODY;
	case RULE_BY:
		break;
	}
	return NOBODY;
}

static uint16_t apply(struct work *w, uint32_t node, const char *path, const struct rule *rule, unsigned depth)
{
	struct glob_captures c;
	uint16_t comp = NOBODY;

	if (rule->type && (at(w, node)->mode & S_IFMT) != rule->type)
		return NOBODY;
	if (rule->target && (!S_ISLNK(at(w, node)->mode) || !glob_match(rule->target, scan_target(w->scan, node), NULL)))
		return NOBODY;
	if (!rule_match(rule, path, &c))
		return NOBODY;
	for (size_t i = 0; comp == NOBODY && i < rule->nby; i++)
		comp = by_method(w, node, path, rule->by[i], depth);
	for (size_t i = 0; comp == NOBODY && i < rule->ntemplates; i++)
		comp = apply_template(w, node, rule, rule->templates[i], &c, depth);
	if (comp != NOBODY && rule->mark)
		w->split->marks[node] |= (uint8_t)rule->mark;
	if (comp != NOBODY && rule->report)
		set_bit(w->told, node);
	return comp;
}

static uint16_t find_owner(struct work *w, uint32_t node, unsigned depth)
{
	struct scan_node *n = at(w, node);
	_cleanup_buf_ struct buf path = { 0 };
	const struct rules *tables[2] = { &w->manifest->rules, w->rules };

	if (n->comp != NOBODY || w->state[node] || depth > DEPTH_MAX || w->failed)
		return n->comp;
	if (scan_path(w->scan, node, &path) < 0) {
		w->failed = -ENOMEM;
		return NOBODY;
	}
	w->state[node] = SEARCHING;
	for (int t = 0; t < 2; t++)
		for (size_t i = 0; n->comp == NOBODY && i < tables[t]->n; i++)
			n->comp = apply(w, node, (const char *)path.data, &tables[t]->v[i], depth);
	w->state[node] = SEARCHED;
	return n->comp;
}

/* --- what no rule took --------------------------------------------------------------------- */

/* Nodes come after their directories in the array. */
static void claim_directories(struct work *w)
{
	for (uint32_t i = (uint32_t)w->scan->n; i-- > 1;) {
		struct scan_node *n = at(w, i);
		uint16_t only = NOBODY;
		bool same = true;

		if (!S_ISDIR(n->mode) || n->comp != NOBODY)
			continue;
		for (uint32_t c = n->first_child; c < n->first_child + n->nchildren; c++) {
			same &= is_comp(w, at(w, c)->comp) && (only == NOBODY || only == at(w, c)->comp);
			only = at(w, c)->comp;
		}
		if (same && only != NOBODY && only)
			n->comp = only;
	}
	for (uint32_t i = 1; i < w->scan->n; i++) {
		uint32_t up = at(w, i)->parent;

		if (at(w, i)->comp == NOBODY && up != SCAN_ROOT && !bit(w->owned, up) &&
		    is_comp(w, at(w, up)->comp) && at(w, up)->comp)
			at(w, i)->comp = at(w, up)->comp;
	}
}

/* What no rule took is told; a directory with everything in it. Where only something in a directory
 * is told, the directory is no news. */
static void find_untold(struct work *w)
{
	for (uint32_t i = (uint32_t)w->scan->n; i-- > 1;) {
		const struct scan_node *n = at(w, i);
		bool all = true;

		if (n->comp != NOBODY)
			continue;
		for (uint32_t c = n->first_child; S_ISDIR(n->mode) && all && c < n->first_child + n->nchildren; c++)
			all = bit(w->told, c);
		if (all)
			set_bit(w->told, i);
	}
}

static int leave_rest(struct work *w)
{
	struct split *s = w->split;

	find_untold(w);
	for (uint32_t i = 1; i < w->scan->n; i++) {
		at(w, i)->comp = at(w, i)->comp == NOBODY ? 0 : at(w, i)->comp;
		if (!bit(w->told, i) || bit(w->told, at(w, i)->parent))
			continue;
		if (array_grow(&s->unclaimed, &s->unclaimed_cap, s->nunclaimed + 1, sizeof(*s->unclaimed)) < 0)
			return -ENOMEM;
		s->unclaimed[s->nunclaimed++] = i;
	}
	return 0;
}

/* A link to what goes would lead nowhere: the hash of a certificate's subject. */
static int mark_links(struct work *w)
{
	_cleanup_buf_ struct buf path = { 0 };

	for (uint32_t i = 1; i < w->scan->n; i++) {
		uint32_t to;

		if (!S_ISLNK(at(w, i)->mode) || w->split->marks[i] & PLY_MARK_IDENTITY)
			continue;
		if (target_of(w->scan, i, &path, &to) < 0)
			return -ENOMEM;
		if (to != SCAN_NONE && (w->split->marks[to] & PLY_MARK_IDENTITY) == PLY_MARK_REMOVE)
			w->split->marks[i] |= PLY_MARK_REMOVE;
	}
	return 0;
}

static int mark_identity(struct work *w)
{
	_cleanup_buf_ struct buf path = { 0 };

	for (uint32_t i = 1; i < w->scan->n; i++) {
		struct glob_captures c;

		if (scan_path(w->scan, i, &path) < 0)
			return -ENOMEM;
		for (size_t k = 0; k < w->rules->nidentity; k++)
			if (rule_match(&w->rules->identity[k], (const char *)path.data, &c)) {
				if (!S_ISDIR(at(w, i)->mode) || w->rules->identity[k].mark == MARK_REMOVE)
					w->split->marks[i] |= (uint8_t)w->rules->identity[k].mark;
				break;
			}
	}
	return mark_links(w);
}

static int assign(struct work *w)
{
	int r;

	for (uint32_t i = 0; i < w->scan->n; i++)
		at(w, i)->comp = NOBODY;
	r = own_packages(w);
	if (r == 0)
		r = own_paths(w);
	if (r < 0)
		return r;
	at(w, SCAN_ROOT)->comp = 0;
	for (uint32_t i = 0; i < w->scan->n; i++)
		if (at(w, i)->comp != NOBODY)
			set_bit(w->owned, i);
	r = facts_new(w->scan, w->db, &w->split->closure, w->by_path, &w->facts, w->err);
	w->split->facts = w->facts;
	if (r < 0)
		return r;
	for (uint32_t i = 1; i < w->scan->n; i++)
		find_owner(w, i, 0);
	if (w->failed)
		return ply_fail_nomem(w->err);
	claim_directories(w);
	if (leave_rest(w) < 0 || mark_identity(w) < 0)
		return ply_fail_nomem(w->err);
	return 0;
}

int owners_assign(struct scan *scan, const struct pkgdb *db, const struct manifest *m,
		  const struct rules *rules, struct split *split, uint8_t *by_path, struct ply_err *err)
{
	struct work w = { .scan = scan, .db = db, .manifest = m, .rules = rules, .split = split,
			  .by_path = by_path, .err = err };
	int r;

	w.owned = calloc(scan->n / 8 + 1, 1);
	w.told = calloc(scan->n / 8 + 1, 1);
	w.state = calloc(scan->n + 1, 1);
	split->marks = calloc(scan->n + 1, 1);
	r = w.owned && w.told && w.state && split->marks ? assign(&w) : ply_fail_nomem(err);
	free(w.owned);
	free(w.told);
	free(w.state);
	return r;
}
