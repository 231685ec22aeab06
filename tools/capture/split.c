/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The split of a scanned tree: packages to components (closure.c), paths to components
 * (owners.c), what programs by path need, ranks. See split.h.
 */
#include "capture/split.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "capture/facts.h"
#include "capture/owners.h"
#include "plyfs/disk.h"

int split_note(struct split *s, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	for (size_t i = 0; i < s->nnotes; i++)
		if (!strcmp(s->notes[i], text)) {
			free(text);
			return 0;
		}
	if (array_grow(&s->notes, &s->notes_cap, s->nnotes + 1, sizeof(*s->notes)) < 0) {
		free(text);
		return -ENOMEM;
	}
	s->notes[s->nnotes++] = text;
	return 0;
}

int split_join(struct split *s, uint16_t a, uint16_t b, uint16_t *ret)
{
	uint64_t want[SPLIT_MAX / 64] = { 0 };

	for (size_t c = 0; c < s->closure.ncomps; c++)
		if (split_holds(s, a, c) || split_holds(s, b, c))
			want[c / 64] |= 1ULL << c % 64;
	for (size_t i = 0; i < s->nsets; i++) {   /* they are few */
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

/* --- what is wanted ------------------------------------------------------------- */

static int find_package(const struct pkgdb *db, const struct manifest_component *c,
			const struct manifest_item *item, uint32_t *ret, struct ply_err *err)
{
	if (!db)
		return ply_fail(err, -ENOENT, PLY_R_PKGDB_MISSING,
				"%s: component %s names package %s, and this machine has no package database (/var/lib/dpkg/status); name paths instead",
				item->where, c->name, item->text);
	*ret = pkgdb_find(db, item->text);
	if (*ret == PKG_NONE)
		return ply_fail(err, -ENOENT, PLY_R_PACKAGE_UNKNOWN,
				"%s: component %s: package %s is not installed on this machine", item->where,
				c->name, item->text);
	return 0;
}

static int tell_dependants(struct split *s, const struct pkgdb *db)
{
	int r = 0;

	for (uint32_t c = 1; r == 0 && c < s->closure.ncomps; c++) {
		_cleanup_buf_ struct buf names = { 0 };

		for (uint32_t p = 0; r == 0 && p < s->closure.npkgs; p++)
			if (s->closure.pkgs[p].comp == c && s->closure.pkgs[p].why == WHY_DEPENDANT)
				r = buf_printf(&names, "%s%s", names.len ? ", " : "", pkgdb_get(db, p)->name);
		if (r == 0 && names.len)
			r = split_note(s, "component %s: %.*s cannot be without what it names, and come along",
				       s->closure.comps[c].name, (int)names.len, (const char *)names.data);
	}
	return r;
}

static int compute_closure(struct split *s, const struct pkgdb *db, const struct manifest *m,
			   struct ply_err *err)
{
	struct closure_input *in = calloc(m->ncomps + 1, sizeof(*in));
	_cleanup_free_ uint32_t *pkgs = NULL;
	size_t total = 0, n = 0;
	int r = 0;

	for (size_t c = 0; c < m->ncomps; c++)
		total += m->comps[c].npackages;
	pkgs = calloc(total + 1, sizeof(*pkgs));
	if (!in || !pkgs)
		r = ply_fail_nomem(err);
	for (size_t c = 0; r == 0 && c < m->ncomps; c++) {
		const struct manifest_component *mc = &m->comps[c];

		in[c] = (struct closure_input){ .name = mc->name, .pkgs = pkgs + n, .n = mc->npackages };
		for (size_t i = 0; r == 0 && i < mc->npackages; i++)
			r = find_package(db, mc, &mc->packages[i], &pkgs[n++], err);
	}
	if (r == 0 && total)
		r = pkgdb_check_finished(db, err);
	if (r == 0)
		r = closure_compute(db, in, m->ncomps, &s->closure, err);
	free(in);
	if (r == 0 && tell_dependants(s, db) < 0)
		return ply_fail_nomem(err);
	if (r == 0 && s->closure.ncomps > SPLIT_MAX)
		return ply_fail(err, -E2BIG, PLY_R_LIMIT, "more than %u components", SPLIT_MAX);
	if (r == 0 && total && s->closure.no_marks &&
	    split_note(s, "no package is marked as installed automatically (/var/lib/apt/extended_states): what no "
			  "other package needs counts as installed by hand; apt-mark auto PACKAGE... on the machine "
			  "makes it exact") < 0)
		return ply_fail_nomem(err);
	return r;
}

/* --- ranks ---------------------------------------------------------------------------- */

static int require_program(void *ctx, uint16_t from, uint16_t to)
{
	struct split *s = ctx;
	uint32_t alt = to;

	return closure_add_require(&s->closure, from, &alt, 1);
}

static int rank_components(struct split *s, struct scan *scan)
{
	_cleanup_free_ uint32_t *place = NULL;
	int r = closure_sort(&s->closure, &place);

	if (r < 0)
		return r;
	for (size_t i = 0; i < s->nsets; i++) {
		uint64_t moved[SPLIT_MAX / 64] = { 0 };

		for (size_t c = 0; c < s->closure.ncomps; c++)
			if (s->sets[i][c / 64] >> c % 64 & 1)
				moved[place[c] / 64] |= 1ULL << place[c] % 64;
		memcpy(s->sets[i], moved, sizeof(moved));
	}
	for (uint32_t i = 0; i < scan->n; i++)
		if (!(scan->nodes[i].comp & SPLIT_SET))
			scan->nodes[i].comp = (uint16_t)place[scan->nodes[i].comp];
	facts_renumber(s->facts, place);
	return 0;
}

/* --- components -------------------------------------------------------------------------- */

static int add_word(char **text, const char *word)
{
	char *longer;

	if (asprintf(&longer, "%s%s%s", *text, **text ? " " : "", word) < 0)
		return -ENOMEM;
	free(*text);
	*text = longer;
	return 0;
}

/* What it was made from: as the administrator says, else the names; of an internal one its packages. */
static int make_summary(const struct split *s, const struct pkgdb *db, const struct manifest *m, uint32_t c,
			char **ret)
{
	const struct manifest_component *wanted = NULL;
	char *text;
	int r = 0;

	for (size_t i = 0; i < m->ncomps; i++)
		if (!strcmp(m->comps[i].name, s->closure.comps[c].name))
			wanted = &m->comps[i];
	text = strdup(wanted && wanted->summary ? wanted->summary : "");
	if (!text)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && wanted && !wanted->summary && i < wanted->npackages; i++)
		r = add_word(&text, wanted->packages[i].text);
	for (size_t i = 0; r == 0 && wanted && !wanted->summary && i < wanted->npaths; i++)
		r = add_word(&text, wanted->paths[i].text);
	for (uint32_t p = 0; r == 0 && s->closure.comps[c].internal && p < s->closure.npkgs; p++)
		if (s->closure.pkgs[p].comp == c)
			r = add_word(&text, pkgdb_get(db, p)->name);
	*ret = text;
	return r;
}

static int list_requires(struct split *s, uint32_t c)
{
	struct component *comp = &s->comps[c];
	const struct closure *k = &s->closure;
	size_t n = 0;

	for (size_t i = 0; i < k->nrequires; i++)
		n += k->requires[i].from == c ? k->requires[i].n : 0;
	comp->requires = calloc(n + 1, sizeof(*comp->requires));
	comp->groups = calloc(n + 1, sizeof(*comp->groups));
	if (!comp->requires || !comp->groups)
		return -ENOMEM;
	for (uint32_t i = 0, group = 0; i < k->nrequires; i++) {
		if (k->requires[i].from != c)
			continue;
		for (uint32_t a = 0; a < k->requires[i].n; a++) {
			comp->groups[comp->nrequires] = group;
			comp->requires[comp->nrequires++] = s->comps[k->alts[k->requires[i].first + a]].name;
		}
		group++;
	}
	return 0;
}

static int make_components(struct split *s, const struct pkgdb *db, const struct manifest *m)
{
	int r = 0;

	s->comps = calloc(s->closure.ncomps, sizeof(*s->comps));
	if (!s->comps)
		return -ENOMEM;
	for (uint32_t c = 0; r == 0 && c < s->closure.ncomps; c++) {
		struct component *comp = &s->comps[s->ncomps++];

		comp->flags = (c == 0 ? PLY_SUB_OS : 0) | (s->closure.comps[c].internal ? PLY_SUB_INTERNAL : 0);
		comp->name = strdup(s->closure.comps[c].name);
		r = comp->name ? make_summary(s, db, m, c, &comp->summary) : -ENOMEM;
	}
	for (uint32_t c = 0; r == 0 && c < s->ncomps; c++)
		r = list_requires(s, c);
	return r;
}

static int by_package(const void *a, const void *b, void *db)
{
	const struct pkg *x = pkgdb_get(db, *(const uint32_t *)a), *y = pkgdb_get(db, *(const uint32_t *)b);
	int c = strcmp(x->name, y->name);

	return c ? c : strcmp(x->arch, y->arch);
}

/* Texts of the database may hold tabs; why is the last field, and one line. */
int split_list_packages(const struct split *s, const struct pkgdb *db, uint32_t c, struct buf *out,
			size_t *ret_n)
{
	_cleanup_free_ uint32_t *pkgs = calloc(s->closure.npkgs + 1, sizeof(*pkgs));
	size_t n = 0;
	int r = pkgs ? 0 : -ENOMEM;

	for (uint32_t p = 0; r == 0 && p < s->closure.npkgs; p++)
		if (s->closure.pkgs[p].comp == c)
			pkgs[n++] = p;
	if (n)
		qsort_r(pkgs, n, sizeof(*pkgs), by_package, (void *)db);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct pkg *pkg = pkgdb_get(db, pkgs[i]);
		int version = (int)strcspn(pkg->version, " \t\n");

		r = buf_printf(out, "%s\t%s\t%.*s\t", pkg->name, pkg->arch, version, pkg->version);
		if (r == 0)
			r = closure_explain(&s->closure, db, pkgs[i], out);
		if (r == 0)
			r = buf_printf(out, "\n");
	}
	*ret_n = n;
	return r;
}

static int count_nodes(struct split *s, const struct scan *scan)
{
	_cleanup_free_ uint8_t *seen = calloc(scan->ngroups / 8 + 1, 1);

	if (!seen)
		return -ENOMEM;
	for (uint32_t i = 0; i < scan->n; i++) {
		const struct scan_node *n = &scan->nodes[i];
		struct component *c;

		if (n->comp & SPLIT_SET)
			continue;
		c = &s->comps[n->comp];
		c->nodes++;
		if (!S_ISREG(n->mode) || (n->group && seen[n->group / 8] >> n->group % 8 & 1))
			continue;
		if (n->group)
			seen[n->group / 8] |= (uint8_t)(1 << n->group % 8);
		c->bytes += n->size;
	}
	return 0;
}

int split_tree(struct scan *scan, const struct pkgdb *db, const struct manifest *wanted,
	       struct split *ret, struct ply_err *err)
{
	_cleanup_free_ uint8_t *by_path = calloc(scan->n / 8 + 1, 1);
	struct rules rules = { 0 };
	int r = by_path ? rules_read(NULL, &rules, err) : ply_fail_nomem(err);

	*ret = (struct split){ 0 };    /* in its place: its facts refer to its closure */
	if (r == 0)
		r = compute_closure(ret, db, wanted, err);
	if (r == 0)
		r = owners_assign(scan, db, wanted, &rules, ret, by_path, err);
	if (r == 0)
		r = owners_needs(scan, ret, by_path, require_program, ret, err);
	if (r == 0 && (rank_components(ret, scan) < 0 || make_components(ret, db, wanted) < 0 ||
		       count_nodes(ret, scan) < 0))
		r = ply_fail_nomem(err);
	rules_done(&rules);
	if (r < 0)
		split_done(ret);
	return r;
}

static bool names_packages(const struct manifest *m)
{
	for (size_t i = 0; i < m->ncomps; i++)
		if (m->comps[i].npackages)
			return true;
	return false;
}

int split_machine(struct scan *scan, const struct manifest *wanted, struct pkgdb **ret_db, struct split *ret,
		  struct ply_err *err)
{
	struct ply_err e = { 0 };
	char *const *notes;
	size_t n = 0;
	int r = pkgdb_open(scan->root, ret_db, &e);
	bool damaged = r < 0 && e.reason == PLY_R_PKGDB_DAMAGED && !names_packages(wanted);

	if (r < 0 && e.reason != PLY_R_PKGDB_MISSING && !damaged) {
		if (err)
			*err = e;
		return r;
	}
	r = split_tree(scan, *ret_db, wanted, ret, err);
	if (r == 0 && damaged && split_note(ret, "%s; no package is known, and all that is not named is of os", e.msg) < 0)
		r = ply_fail_nomem(err);
	notes = *ret_db ? pkgdb_notes(*ret_db, &n) : NULL;
	for (size_t i = 0; r == 0 && i < n; i++)
		if (split_note(ret, "%s", notes[i]) < 0)
			r = ply_fail_nomem(err);
	return r;
}

void split_done(struct split *s)
{
	for (size_t i = 0; i < s->ncomps; i++) {
		free(s->comps[i].name);
		free(s->comps[i].summary);
		free(s->comps[i].requires);
		free(s->comps[i].groups);
	}
	for (size_t i = 0; i < s->nnotes; i++)
		free(s->notes[i]);
	free(s->comps);
	free(s->sets);
	free(s->marks);
	free(s->unclaimed);
	free(s->notes);
	facts_free(s->facts);
	closure_done(&s->closure);
	*s = (struct split){ 0 };
}
