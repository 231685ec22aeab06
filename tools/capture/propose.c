/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Candidates are the packages installed by hand, grouped by source package ("php",
 * "libapache2-mod-php", "php-mysql" are one piece of software). The closure says what each
 * group would bring; one that the system needs is dropped, and so is one that brings neither a
 * service nor LARGE bytes; then again, since what the others bring depends on it.
 */
#include "capture/propose.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "capture/closure.h"
#include "plyfs/disk.h"

#define LARGE ((uint64_t)20 << 20)

struct group {
	const char *source;
	char name[PLY_SUB_NAME_MAX + 1];
	uint32_t *pkgs;
	size_t n, cap;
	bool needed, dropped;
};

struct work {
	const struct scan *scan;
	const struct pkgdb *db;
	const struct rules *rules;
	struct proposal *out;
	bool *is_needed;           /* per package: by another one */
	struct group *groups;
	size_t ngroups, groups_cap;
	struct ply_err *err;
};

/* --- names ------------------------------------------------------------------- */

static bool name_taken(const struct work *w, const char *name)
{
	if (!strcmp(name, "os"))
		return true;
	for (size_t i = 0; i < w->ngroups; i++)
		if (!w->groups[i].dropped && !strcmp(w->groups[i].name, name))
			return true;
	for (size_t i = 0; i < w->out->manifest.ncomps; i++)
		if (!strcmp(w->out->manifest.comps[i].name, name))
			return true;
	return false;
}

/* "MariaDB-Server" -> "mariadb"; a number is added where it is taken. @out is not one of the names
 * that are compared. */
static void make_name(const struct work *w, const char *from, char *out)
{
	static const char *const endings[] = { "-server", "-defaults", "-common" };
	size_t n = 0;
	char base[PLY_SUB_NAME_MAX - 8];

	for (; *from && n < sizeof(base) - 1; from++) {
		char c = *from >= 'A' && *from <= 'Z' ? (char)(*from + 32) : *from;
		bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (alnum || (n && strchr("._-", c)))
			base[n++] = c;
	}
	base[n] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		size_t len = strlen(endings[i]);

		if (n > len && !strcmp(base + n - len, endings[i]))
			base[n -= len] = '\0';
	}
	snprintf(out, PLY_SUB_NAME_MAX + 1, "%s", n ? base : "software");
	for (unsigned i = 2; name_taken(w, out); i++)
		snprintf(out, PLY_SUB_NAME_MAX + 1, "%s-%u", n ? base : "software", i);
}

/* --- groups --------------------------------------------------------------------- */

static bool is_system(const struct work *w, const struct pkg *p)
{
	for (size_t i = 0; i < w->rules->nsystem; i++)
		if (!strcmp(w->rules->system[i], p->source))
			return true;
	/* linux-image-6.1.0-18-amd64 comes from linux-signed-amd64, linux-signed ... */
	return !strncmp(p->source, "linux-", 6);
}

static int add_to_group(struct work *w, uint32_t pkg)
{
	const struct pkg *p = pkgdb_get(w->db, pkg);
	struct group *g = NULL;

	for (size_t i = 0; i < w->ngroups && !g; i++)
		if (!strcmp(w->groups[i].source, p->source))
			g = &w->groups[i];
	if (!g) {
		if (array_grow(&w->groups, &w->groups_cap, w->ngroups + 1, sizeof(*g)) < 0)
			return -ENOMEM;
		g = &w->groups[w->ngroups];
		*g = (struct group){ .source = p->source };
		w->ngroups++;
	}
	if (array_grow(&g->pkgs, &g->cap, g->n + 1, sizeof(*g->pkgs)) < 0)
		return -ENOMEM;
	g->pkgs[g->n++] = pkg;
	return 0;
}

static int leave(struct work *w, uint32_t pkg)
{
	struct proposal *p = w->out;

	if (array_grow(&p->left, &p->left_cap, p->nleft + 1, sizeof(*p->left)) < 0)
		return -ENOMEM;
	p->left[p->nleft++] = pkg;
	return 0;
}

/* Per package: does another one need it? Without marks, one that none needs is wanted. */
static bool *find_needed(const struct pkgdb *db)
{
	bool *needed = calloc(pkgdb_count(db) + 1, sizeof(*needed));

	for (uint32_t p = 0; needed && p < pkgdb_count(db); p++) {
		size_t n;
		const struct pkg_need *need = pkgdb_needs(db, p, &n);

		for (size_t i = 0; i < n; i++)
			for (uint32_t b = 0; b < need[i].nby; b++)
				needed[need[i].by[b]] = true;
	}
	return needed;
}

static int by_source(const void *a, const void *b)
{
	return strcmp(((const struct group *)a)->source, ((const struct group *)b)->source);
}

static int find_groups(struct work *w)
{
	bool *needed = w->is_needed = find_needed(w->db);
	bool marks = false;
	int r = needed ? 0 : -ENOMEM;

	for (uint32_t p = 0; p < pkgdb_count(w->db); p++)
		marks |= pkgdb_get(w->db, p)->automatic;
	w->out->no_marks = !marks;
	for (uint32_t p = 0; r == 0 && p < pkgdb_count(w->db); p++) {
		const struct pkg *pkg = pkgdb_get(w->db, p);
		bool wanted = marks ? !pkg->automatic : !needed[p];

		if (!pkg->installed || pkg->important || !wanted)
			continue;
		if (!is_system(w, pkg))
			r = add_to_group(w, p);
		else if (!needed[p])           /* others are there anyway */
			r = leave(w, p);
	}
	if (w->ngroups)
		qsort(w->groups, w->ngroups, sizeof(*w->groups), by_source);
	for (size_t i = 0; i < w->ngroups; i++) {
		const char *shortest = pkgdb_get(w->db, w->groups[i].pkgs[0])->name;
		char name[PLY_SUB_NAME_MAX + 1];

		for (size_t k = 1; k < w->groups[i].n; k++)
			if (strlen(pkgdb_get(w->db, w->groups[i].pkgs[k])->name) < strlen(shortest))
				shortest = pkgdb_get(w->db, w->groups[i].pkgs[k])->name;
		make_name(w, shortest, name);
		memcpy(w->groups[i].name, name, sizeof(name));
	}
	return r;
}

static int drop(struct work *w, struct group *g)
{
	int r = 0;

	g->dropped = true;
	for (size_t i = 0; r == 0 && i < g->n; i++)
		if (!w->is_needed[g->pkgs[i]])
			r = leave(w, g->pkgs[i]);
	return r;
}

/* --- what is worth it ---------------------------------------------------------------- */

struct services {
	int (*fn)(void *ctx, const char *name);
	void *ctx;
};

static int see_file(void *ctx, const char *path, size_t len)
{
	struct services *s = ctx;
	const char *name = memrchr(path, '/', len);
	char unit[256];
	size_t n;

	if (!name || !memmem(path, len, "/systemd/system/", 16))
		return 0;
	name++;
	n = len - (size_t)(name - path);
	if (n < 9 || n >= sizeof(unit) || memcmp(name + n - 8, ".service", 8) || memchr(name, '@', n) ||
	    memmem(path, len, ".wants/", 7) || memmem(path, len, ".d/", 3))
		return 0;
	memcpy(unit, name, n - 8);
	unit[n - 8] = '\0';
	return s->fn(s->ctx, unit);
}

int propose_services(const struct pkgdb *db, uint32_t pkg, int (*fn)(void *ctx, const char *name), void *ctx,
		     struct ply_err *err)
{
	struct services s = { fn, ctx };
	int r = pkgdb_get(db, pkg)->installed ? pkgdb_files(db, pkg, see_file, &s, err) : 0;

	return r == -ENOMEM ? ply_fail_nomem(err) : MIN(r, 0);
}

static int count_service(void *ctx, const char *name)
{
	(void)name;
	++*(unsigned *)ctx;
	return 0;
}

static int is_worth_it(const struct work *w, const struct closure *c, const struct group *g, bool *ret)
{
	uint32_t comp = closure_find(c, g->name);
	unsigned services = 0;
	int r = 0;

	for (uint32_t p = 0; r == 0 && p < c->npkgs; p++)
		if (c->pkgs[p].comp == comp)
			r = propose_services(w->db, p, count_service, &services, w->err);
	*ret = services || c->comps[comp].bytes >= LARGE;
	return r;
}

static int compute(struct work *w, struct closure *ret)
{
	struct closure_input *in = calloc(w->ngroups + 1, sizeof(*in));
	struct ply_err err = { 0 };
	size_t n = 0;
	int r;

	if (!in)
		return ply_fail_nomem(w->err);
	for (size_t i = 0; i < w->ngroups; i++)
		if (!w->groups[i].dropped)
			in[n++] = (struct closure_input){ w->groups[i].name, w->groups[i].pkgs, w->groups[i].n,
							  &w->groups[i].needed };
	r = closure_compute(w->db, in, n, ret, &err);
	free(in);
	if (r < 0 && err.reason != PLY_R_PACKAGE_NEEDED && w->err)
		*w->err = err;
	return err.reason == PLY_R_PACKAGE_NEEDED ? 1 : r;
}

static int choose(struct work *w)
{
	for (bool changed = true; changed;) {
		struct closure c = { 0 };
		int r = compute(w, &c);

		changed = r == 1;
		for (size_t i = 0; r >= 0 && i < w->ngroups; i++) {
			struct group *g = &w->groups[i];
			bool good = !g->needed;
			int e = 0;

			if (g->dropped)
				continue;
			if (r == 0)
				e = is_worth_it(w, &c, g, &good);
			if (e == 0 && !good) {
				e = drop(w, g) < 0 ? ply_fail_nomem(w->err) : 0;
				changed = true;
			}
			r = e < 0 ? e : r;
		}
		closure_done(&c);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- the manifest ----------------------------------------------------------------------- */

static int write_groups(struct work *w)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->ngroups; i++) {
		_cleanup_buf_ struct buf option = { 0 };
		const struct group *g = &w->groups[i];

		if (g->dropped)
			continue;
		r = buf_printf(&option, "%s=", g->name);
		for (size_t k = 0; r == 0 && k < g->n; k++)
			r = buf_printf(&option, "%s%s", k ? "," : "", pkgdb_get(w->db, g->pkgs[k])->name);
		if (r == 0)
			r = buf_add(&option, "", 1);
		r = r < 0 ? ply_fail_nomem(w->err) :
			    manifest_add(&w->out->manifest, (const char *)option.data, w->err);
	}
	return r;
}

static int own(void *ctx, const char *path, size_t len)
{
	const struct work *w = ((void **)ctx)[0];
	uint8_t *owned = ((void **)ctx)[1];

	for (uint32_t n = scan_lookup(w->scan, path, len); n != SCAN_NONE && n != SCAN_ROOT;
	     n = w->scan->nodes[n].parent)
		owned[n / 8] |= (uint8_t)(1 << n % 8);
	return 0;
}

static bool is_usual(const char *dir, const char *name)
{
	static const char *const usual[] = { "bin", "etc", "games", "include", "lib", "man", "sbin", "share",
					     "src", "lost+found" };

	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		if (!strcmp(name, usual[i]))
			return !strcmp(dir, "usr/local") || !strcmp(name, "lost+found");
	return false;
}

/* A glob means itself only: its magic bytes are escaped. A comma or newline in a name has no place
 * in an option. */
static int write_tree(struct work *w, const char *dir, uint32_t node)
{
	_cleanup_buf_ struct buf option = { 0 };
	const char *name = scan_name(w->scan, node);
	char comp[PLY_SUB_NAME_MAX + 1];
	int r;

	if (strpbrk(name, ",\n"))
		return 0;
	make_name(w, name, comp);
	r = buf_printf(&option, "%s=/%s/", comp, dir);
	for (; r == 0 && *name; name++)
		r = buf_printf(&option, "%s%c", strchr("*?[\\", *name) ? "\\" : "", *name);
	if (r == 0)
		r = buf_add(&option, "", 1);
	return r < 0 ? ply_fail_nomem(w->err) :
		       manifest_add(&w->out->manifest, (const char *)option.data, w->err);
}

static int write_trees(struct work *w)
{
	static const char *const dirs[] = { "opt", "srv", "usr/local" };
	_cleanup_free_ uint8_t *owned = calloc(w->scan->n / 8 + 1, 1);
	void *ctx[2] = { w, owned };
	int r = 0;

	if (!owned)
		return ply_fail_nomem(w->err);
	for (uint32_t p = 0; w->db && r >= 0 && p < pkgdb_count(w->db); p++)
		r = pkgdb_files(w->db, p, own, ctx, w->err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(dirs); i++) {
		uint32_t dir = scan_lookup(w->scan, dirs[i], strlen(dirs[i]));
		const struct scan_node *d = dir == SCAN_NONE ? NULL : &w->scan->nodes[dir];

		for (uint32_t c = d && S_ISDIR(d->mode) ? d->first_child : 0;
		     r >= 0 && d && S_ISDIR(d->mode) && c < d->first_child + d->nchildren; c++)
			if (S_ISDIR(w->scan->nodes[c].mode) && w->scan->nodes[c].nchildren &&
			    !(owned[c / 8] >> c % 8 & 1) && !is_usual(dirs[i], scan_name(w->scan, c)))
				r = write_tree(w, dirs[i], c);
	}
	return r < 0 ? r : 0;
}

static int in_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

int propose(const struct scan *scan, const struct pkgdb *db, const struct rules *rules,
	    struct proposal *ret, struct ply_err *err)
{
	struct proposal out = { 0 };
	struct work w = { .scan = scan, .db = db, .rules = rules, .out = &out, .err = err };
	int r = 0;

	if (db && find_groups(&w) < 0)
		r = ply_fail_nomem(err);
	if (r == 0 && db)
		r = choose(&w);
	if (r == 0)
		r = write_groups(&w);
	if (r == 0)
		r = write_trees(&w);
	if (out.nleft)
		qsort(out.left, out.nleft, sizeof(*out.left), in_order);
	for (size_t i = 0; i < w.ngroups; i++)
		free(w.groups[i].pkgs);
	free(w.groups);
	free(w.is_needed);
	if (r < 0)
		proposal_done(&out);
	else
		*ret = out;
	return r;
}

void proposal_done(struct proposal *p)
{
	manifest_done(&p->manifest);
	free(p->left);
	*p = (struct proposal){ 0 };
}
