/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The split of a scanned tree by package ownership: see split.h.
 *
 * A path belongs to the component whose packages list it; what os packages list too, and
 * what nobody lists, is os. A directory that packages of several components list, and none
 * of os, belongs to each of them.
 */
#include "capture/split.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "plyfs/disk.h"

#define UNOWNED UINT16_MAX

struct work {
	struct scan *scan;
	struct pkgdb *db;
	struct split *split;
	uint16_t *package_comp;    /* by package; 0: os */
	uint16_t comp;             /* of the package in hand */
	struct ply_err *err;
};

static bool is_name(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > PLY_SUB_NAME_MAX || !strchr("abcdefghijklmnopqrstuvwxyz0123456789", *name))
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static int add_component(struct split *s, const char *name, struct ply_err *err)
{
	for (size_t i = 0; i < s->ncomps; i++)
		if (!strcmp(s->comps[i].name, name))
			return ply_fail(err, -EINVAL, PLY_R_COMPONENT_TWICE,
					"component %s is defined twice%s", name,
					i ? "; put all it brings into one -c" : ": os is what no other component brings");
	if (s->ncomps == SPLIT_MAX)
		return ply_fail(err, -E2BIG, PLY_R_LIMIT, "more than %u components", SPLIT_MAX);
	if (array_grow(&s->comps, &s->comps_cap, s->ncomps + 1, sizeof(*s->comps)) < 0)
		return ply_fail_nomem(err);
	s->comps[s->ncomps] = (struct component){ .name = strdup(name), .summary = strdup("") };
	s->ncomps++;
	if (!s->comps[s->ncomps - 1].name || !s->comps[s->ncomps - 1].summary)
		return ply_fail_nomem(err);
	return 0;
}

static int add_summary(struct component *c, const char *what)
{
	char *longer;

	if (asprintf(&longer, "%s%s%s", c->summary, *c->summary ? " " : "", what) < 0)
		return -ENOMEM;
	free(c->summary);
	c->summary = longer;
	return 0;
}

/* A set that holds @a and @b, components or sets. Sets are few: a search will do. */
static int join_comps(struct split *s, uint16_t a, uint16_t b, uint16_t *ret)
{
	uint64_t want[SPLIT_MAX / 64] = { 0 };

	for (size_t c = 0; c < s->ncomps; c++)
		if (split_holds(s, a, c) || split_holds(s, b, c))
			want[c / 64] |= 1ULL << c % 64;
	for (size_t i = 0; i < s->nsets; i++) {
		if (!memcmp(s->sets[i], want, sizeof(want))) {
			*ret = (uint16_t)(SPLIT_SET | i);
			return 0;
		}
	}
	if (s->nsets >= SPLIT_SET - 1)
		return -E2BIG;
	if (array_grow(&s->sets, &s->sets_cap, s->nsets + 1, sizeof(*s->sets)) < 0)
		return -ENOMEM;
	memcpy(s->sets[s->nsets], want, sizeof(want));
	*ret = (uint16_t)(SPLIT_SET | s->nsets++);
	return 0;
}

/* A path of the package in hand. */
static int own(void *ctx, const char *path, size_t len)
{
	struct work *w = ctx;
	uint32_t node = scan_lookup(w->scan, path, len);
	struct scan_node *n;

	if (node == SCAN_NONE)
		return 0;          /* listed, and deleted since */
	n = &w->scan->nodes[node];
	if (n->comp == UNOWNED || w->comp == 0 || n->comp == 0)
		n->comp = n->comp == UNOWNED ? w->comp : 0;
	else if (S_ISDIR(n->mode) && !split_holds(w->split, n->comp, w->comp))
		return join_comps(w->split, n->comp, w->comp, &n->comp);
	return 0;
}

/* A node, and all below it that is in no component yet. */
static void own_tree(struct scan *scan, uint32_t node, uint16_t comp)
{
	struct scan_node *n = &scan->nodes[node];

	n->comp = comp;
	if (S_ISDIR(n->mode))
		for (uint32_t i = 0; i < n->nchildren; i++)
			own_tree(scan, n->first_child + i, comp);
}

static int own_glob(struct work *w, const char *glob, uint16_t comp)
{
	struct buf path = { 0 };
	int matched = 0, r = 0;

	for (uint32_t i = 1; r == 0 && i < w->scan->n; i++) {
		r = scan_path(w->scan, i, &path);
		if (r == 0 && scan_glob(glob, (const char *)path.data)) {
			own_tree(w->scan, i, comp);
			matched++;
		}
	}
	buf_done(&path);
	if (r < 0)
		return ply_fail_nomem(w->err);
	return matched ? 0 : ply_fail(w->err, -ENOENT, PLY_R_USAGE,
				      "component %s: nothing matches %s", w->split->comps[comp].name, glob);
}

static int want_package(struct work *w, const char *name, uint16_t comp)
{
	uint32_t p;

	if (!w->db)
		return ply_fail(w->err, -ENOENT, PLY_R_PKGDB_MISSING,
				"component %s names package %s, and this machine has no package database (var/lib/dpkg/status); name paths instead",
				w->split->comps[comp].name, name);
	p = pkgdb_find(w->db, name);
	if (p == UINT32_MAX || !pkgdb_get(w->db, p)->installed)
		return ply_fail(w->err, -ENOENT, PLY_R_PACKAGE_UNKNOWN,
				"component %s: package %s is not installed on this machine",
				w->split->comps[comp].name, name);
	if (w->package_comp[p])
		return ply_fail(w->err, -EINVAL, PLY_R_PACKAGE_TWICE,
				"package %s is in component %s and in component %s; name it in one of them",
				name, w->split->comps[w->package_comp[p]].name, w->split->comps[comp].name);
	w->package_comp[p] = comp;
	return 0;
}

static int want(struct work *w, char *text, struct cli_list *globs)
{
	char *what = strchr(text, '='), *item;
	uint16_t comp;
	int r;

	if (!what || !what[1])
		return ply_fail(w->err, -EINVAL, PLY_R_USAGE,
				"'%s' is no component; write NAME=PACKAGE or NAME=/PATH/GLOB, more with commas", text);
	*what++ = '\0';
	if (!is_name(text))
		return ply_fail(w->err, -EINVAL, PLY_R_USAGE,
				"'%s' is no name of a component; allowed are a-z 0-9 . _ -, a letter or digit first", text);
	r = add_component(w->split, text, w->err);
	comp = (uint16_t)(w->split->ncomps - 1);
	while (r == 0 && (item = strsep(&what, ","))) {
		if (!*item)
			continue;
		if (add_summary(&w->split->comps[comp], item) < 0)
			return ply_fail_nomem(w->err);
		if (*item != '/') {
			r = want_package(w, item, comp);
			continue;
		}
		/* after the packages: globs are the last word */
		if (cli_list_add(globs, item) < 0 || cli_list_add(globs, w->split->comps[comp].name) < 0)
			return ply_fail_nomem(w->err);
	}
	return r;
}

static int own_packages(struct work *w)
{
	for (uint32_t p = 0; w->db && p < pkgdb_count(w->db); p++) {
		int r;

		w->comp = w->package_comp[p];
		r = pkgdb_files(w->db, p, own, w, w->err);
		if (r < 0)
			return r;
	}
	return 0;
}

int split_tree(struct scan *scan, struct pkgdb *db, const struct cli_list *wanted, struct split *ret,
	       struct ply_err *err)
{
	struct split s = { 0 };
	struct work w = { .scan = scan, .db = db, .split = &s, .err = err };
	_cleanup_list_ struct cli_list globs = { 0 };
	char **texts = calloc(wanted->n + 1, sizeof(*texts));
	int r;

	w.package_comp = calloc(db ? pkgdb_count(db) + 1 : 1, sizeof(*w.package_comp));
	r = texts && w.package_comp ? add_component(&s, "os", err) : ply_fail_nomem(err);
	if (r == 0)
		s.comps[0].flags = PLY_SUB_OS;
	for (size_t i = 0; r == 0 && i < wanted->n; i++) {
		texts[i] = strdup(wanted->v[i]);
		r = texts[i] ? want(&w, texts[i], &globs) : ply_fail_nomem(err);
	}
	for (uint32_t i = 0; i < scan->n; i++)
		scan->nodes[i].comp = UNOWNED;
	if (r == 0)
		r = own_packages(&w);
	for (size_t i = 0; r == 0 && i < globs.n; i += 2)
		for (uint16_t c = 1; r == 0 && c < s.ncomps; c++)
			if (!strcmp(s.comps[c].name, globs.v[i + 1]))
				r = own_glob(&w, globs.v[i], c);
	for (uint32_t i = 0; i < scan->n; i++)
		if (scan->nodes[i].comp == UNOWNED)
			scan->nodes[i].comp = 0;
	scan->nodes[SCAN_ROOT].comp = 0;
	for (size_t i = 0; texts && i < wanted->n; i++)
		free(texts[i]);
	free(texts);
	free(w.package_comp);
	if (r < 0) {
		split_done(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void split_done(struct split *s)
{
	for (size_t i = 0; i < s->ncomps; i++) {
		free(s->comps[i].name);
		free(s->comps[i].summary);
		free(s->comps[i].requires);
	}
	free(s->comps);
	free(s->sets);
	*s = (struct split){ 0 };
}
