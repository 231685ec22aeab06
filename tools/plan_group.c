/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which conflicts are one decision. Two sub-images with different versions of a package differ in its files and in
 * its stanza of dpkg's status: whoever takes some of them from one and the rest from the other has neither version.
 * So the files that a package's list names in all that hold them go together, and the status with the packages
 * whose versions differ; which ties those to one another, since a status is one file. A certificate goes with its
 * key: files of one name but for its ending.
 *
 * A conffile that two machines changed under one version of its package stands alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "merge/compose.h"
#include "planning.h"

#define INFO   "/var/lib/dpkg/info"
#define STATUS "/var/lib/dpkg/status"
#define FILE_MAX ((uint64_t)64 << 20)      /* a list or status that is longer is not read */
#define LISTS_MAX ((uint64_t)256 << 20)    /* nor more of all lists: hostile ones have many names for one file */

/* What one sub-image's package database says of the conflicts. */
struct facts {
	char **package, **version; /* of each collision; NULL: none */
	struct buf status;
};

struct grouper {
	struct planning *p;
	struct collisions *c;
	struct facts *facts;       /* by position */
	struct ply_err *err;
};

/* --- reading ------------------------------------------------------------------------------- */

/* A whole file of @view with a NUL behind it; nothing where there is no such file. */
static int read_file(struct ply_view *view, uint64_t ino, struct buf *out, struct ply_err *err)
{
	struct ply_attr a;
	int r = ply_view_attr(view, ino, &a, err);

	out->len = 0;
	if (r == 0 && (!S_ISREG(a.mode) || a.size > FILE_MAX))
		a.size = 0;
	if (r == 0 && buf_reserve(out, a.size + 1) < 0)
		r = ply_fail_nomem(err);
	while (r == 0 && out->len < a.size) {
		ssize_t n = ply_view_read(view, ino, out->len, a.size - out->len, out->data + out->len, err);

		if (n <= 0)
			return n < 0 ? (int)n : ply_fail(err, -EUCLEAN, PLY_R_NODE_FIELD,
							 "a file is shorter than its size");
		out->len += (size_t)n;
	}
	if (r == 0)
		out->data[out->len] = '\0';
	return r;
}

/* The conflict at a path as a package's list has it; lists of old name /lib for what lies in /usr/lib. */
static struct collision *conflict_at(const struct grouper *g, const char *path)
{
	struct collision *k = collisions_find(g->c, path);
	char merged[4096];

	if (!k && snprintf(merged, sizeof(merged), "/usr%s", path) < (int)sizeof(merged))
		k = collisions_find(g->c, merged);
	return k && k->cls == MERGE_CONFLICT ? k : NULL;
}

/* The value of a field in the stanza [@at, @end); its length, 0 where there is none. */
static size_t field(const char *at, const char *end, const char *name, const char **ret)
{
	size_t len = strlen(name);

	while (at < end) {
		const char *eol = memchr(at, '\n', (size_t)(end - at));

		if (!eol)
			eol = end;
		if ((size_t)(eol - at) > len && !memcmp(at, name, len)) {
			*ret = at + len;
			return (size_t)(eol - at) - len;
		}
		at = eol + 1;
	}
	return 0;
}

/* @package, "libssl3:amd64" or "bash", in a status: its version or "". */
static void version_in(const struct buf *status, const char *package, char *out, size_t cap)
{
	const char *at = (const char *)status->data, *end = at + status->len, *colon = strchr(package, ':');
	size_t len = colon ? (size_t)(colon - package) : strlen(package);

	*out = '\0';
	while (at && at < end) {
		const char *stanza = memmem(at, (size_t)(end - at), "\n\n", 2), *v;

		if (!stanza)
			stanza = end;
		if (field(at, stanza, "Package: ", &v) == len && !memcmp(v, package, len)) {
			size_t n = colon ? field(at, stanza, "Architecture: ", &v) : 0;

			if (!colon || (n == strlen(colon + 1) && !memcmp(v, colon + 1, n))) {
				n = field(at, stanza, "Version: ", &v);
				snprintf(out, cap, "%.*s", (int)MIN(n, cap - 1), n ? v : "");
				return;
			}
		}
		at = stanza + 2;
	}
}

struct listing {
	struct grouper *g;
	struct facts *f;
	struct ply_view *view;
	struct buf text;
	uint64_t bytes;            /* of lists, read */
	char named[256], version[256];     /* of the package asked for last */
	int r;
};

/* Conflict @i is of @package. Who comes first has it. */
static int claim(struct listing *l, size_t i, const char *package)
{
	struct facts *f = l->f;

	if (f->package[i])
		return 0;
	if (strcmp(l->named, package) != 0) {
		snprintf(l->named, sizeof(l->named), "%s", package);
		version_in(&f->status, package, l->version, sizeof(l->version));
	}
	f->package[i] = strdup(package);
	f->version[i] = strdup(l->version);
	return f->package[i] && f->version[i] ? 0 : ply_fail_nomem(l->g->err);
}

/* INFO/NAME.list, and what lies beside it. */
static int take_list(struct listing *l, const char *name, uint64_t ino)
{
	struct grouper *g = l->g;
	char *rest;
	int r = read_file(l->view, ino, &l->text, g->err);

	l->bytes += l->text.len;
	rest = (char *)l->text.data;
	for (char *line; r == 0 && rest && (line = strsep(&rest, "\n"));) {
		struct collision *k = *line == '/' ? conflict_at(g, line) : NULL;

		if (k)
			r = claim(l, (size_t)(k - g->c->v), name);
	}
	return r;
}

static int on_info(void *ctx, const struct ply_dirent *de)
{
	struct listing *l = ctx;
	const char *dot = memrchr(de->name, '.', de->len);
	size_t len = dot ? (size_t)(dot - de->name) : 0;
	char name[256], path[512];
	struct collision *k;

	if (!len || de->len >= sizeof(name))
		return 0;
	memcpy(name, de->name, len);
	name[len] = '\0';
	snprintf(path, sizeof(path), INFO "/%.*s", (int)de->len, de->name);
	k = collisions_find(l->g->c, path);
	if (k && k->cls == MERGE_CONFLICT)
		l->r = claim(l, (size_t)(k - l->g->c->v), name);
	if (l->r == 0 && l->bytes < LISTS_MAX && de->len - len == 5 && !memcmp(dot, ".list", 5))
		l->r = take_list(l, name, de->ino);
	return l->r;
}

static int read_facts(struct grouper *g, uint32_t sub)
{
	struct facts *f = &g->facts[sub];
	struct listing l = { .g = g, .f = f };
	uint64_t ino;
	int r = 0;

	if (f->package)
		return 0;
	f->package = calloc(g->c->n, sizeof(*f->package));
	f->version = calloc(g->c->n, sizeof(*f->version));
	if (!f->package || !f->version)
		return ply_fail_nomem(g->err);
	r = collisions_view_of(g->c, sub, &l.view, g->err);
	if (r < 0)
		return r;
	if (ply_view_resolve(l.view, STATUS, true, &ino, NULL) == 0)
		r = read_file(l.view, ino, &f->status, g->err);
	if (r < 0 || ply_view_resolve(l.view, INFO, true, &ino, NULL) < 0)
		return r;
	r = ply_view_readdir(l.view, ino, 0, on_info, &l, g->err);
	buf_done(&l.text);
	return r == -ENOTDIR ? 0 : r < 0 ? r : l.r;
}

/* --- putting together ----------------------------------------------------------------------- */

static void unite(struct collisions *c, size_t a, size_t b)
{
	size_t to = MIN(c->v[a].group, c->v[b].group), from = MAX(c->v[a].group, c->v[b].group);

	if (to == from)
		return;
	for (size_t i = 0; i < c->n; i++)
		if (c->v[i].group == from)
			c->v[i].group = to;
}

static bool same_holders(const struct collision *a, const struct collision *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->v[i].sub != b->v[i].sub)
			return false;
	return true;
}

/* The package of which all that hold conflict @i have it, in different versions; NULL: none. */
static const char *package_of(const struct grouper *g, size_t i)
{
	const struct collision *k = &g->c->v[i];
	const char *package = NULL, *version = NULL;
	bool differ = false;

	for (size_t h = 0; h < k->n; h++) {
		const struct facts *f = &g->facts[k->v[h].sub];

		if (k->v[h].whiteout)
			continue;
		if (!f->package[i] || (package && strcmp(package, f->package[i]) != 0))
			return NULL;
		differ |= version && strcmp(version, f->version[i]) != 0;
		package = f->package[i];
		version = f->version[i];
	}
	return differ ? package : NULL;
}

/* One of a package's files, to find the next of it. */
struct mark {
	const char *package;       /* or stem */
	size_t i;
};

static int by_name(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;
	int r = strcmp(x->package, y->package);

	return r ? r : x->i < y->i ? -1 : x->i > y->i;
}

/* Those of one name with the same holders become one. */
static void unite_marks(struct grouper *g, struct mark *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_name);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = i + 1; k < n && !strcmp(v[i].package, v[k].package); k++) {
			if (!same_holders(&g->c->v[v[i].i], &g->c->v[v[k].i]))
				continue;
			unite(g->c, v[i].i, v[k].i);
			break;
		}
	}
}

static int unite_packages(struct grouper *g)
{
	struct collision *status = conflict_at(g, STATUS);
	struct mark *v = calloc(g->c->n, sizeof(*v));
	size_t n = 0;

	if (!v)
		return ply_fail_nomem(g->err);
	for (size_t i = 0; i < g->c->n; i++) {
		const char *package = g->c->v[i].cls == MERGE_CONFLICT ? package_of(g, i) : NULL;

		if (package)
			v[n++] = (struct mark){ package, i };
	}
	unite_marks(g, v, n);
	for (size_t i = 0; status && i < n; i++)
		if (same_holders(status, &g->c->v[v[i].i]))
			unite(g->c, (size_t)(status - g->c->v), v[i].i);
	free(v);
	return 0;
}

/* The last name of a path without its ending. */
static char *stem_of(const char *path)
{
	const char *name = strrchr(path, '/') + 1, *dot = strrchr(name, '.');

	return strndup(name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
}

static int unite_sets(struct grouper *g)
{
	struct mark *v = calloc(g->c->n, sizeof(*v));
	size_t n = 0;
	int r = v ? 0 : ply_fail_nomem(g->err);

	for (size_t i = 0; r == 0 && i < g->c->n; i++) {
		const struct collision *k = &g->c->v[i];

		if (k->cls != MERGE_CONFLICT || (k->why != MERGE_WHY_SET && k->why != MERGE_WHY_SECRET))
			continue;
		v[n] = (struct mark){ stem_of(k->path), i };
		r = v[n++].package ? 0 : ply_fail_nomem(g->err);
	}
	if (r == 0)
		unite_marks(g, v, n);
	for (size_t i = 0; i < n; i++)
		free((char *)v[i].package);
	free(v);
	return r;
}

/* --- their names ------------------------------------------------------------------------------ */

static int add_word(char **to, const char *between, const char *word)
{
	char *all;

	if (asprintf(&all, "%s%s%s", *to ? *to : "", *to ? between : "", word) < 0)
		return -ENOMEM;
	free(*to);
	*to = all;
	return 0;
}

/* "libssl3 3.0.11 (apache), 3.0.13 (php)", which stands in comments of YAML too: both are as the machine has them. */
static int describe(const struct grouper *g, const struct collision *k, const char *package, struct plan_group *group)
{
	_cleanup_buf_ struct buf text = { 0 };
	char version[256];
	int r = policy_escape(&text, package);

	for (size_t h = 0; r == 0 && h < k->n; h++) {
		version_in(&g->facts[k->v[h].sub].status, package, version, sizeof(version));
		r = buf_printf(&text, "%s", h ? ", " : " ");
		if (r == 0)
			r = policy_escape(&text, *version ? version : "none");
		if (r == 0)
			r = buf_printf(&text, " (%s)", g->c->names[k->v[h].sub]);
	}
	if (r == 0)
		r = buf_add(&text, "", 1);
	if (r == 0)
		r = add_word(&group->what, "; ", (const char *)text.data);
	return r == 0 ? add_word(&group->package, ", ", package) : r;
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; p && *p; p += strcspn(p, ","), p += strspn(p, ", "))
		if (strcspn(p, ",") == len && !memcmp(p, word, len))
			return true;
	return false;
}

static int name_groups(struct grouper *g, bool packages)
{
	for (size_t i = 0; i < g->c->n; i++) {
		const struct collision *k = &g->c->v[i];
		struct plan_group *group = &g->p->groups[k->group];
		const char *package = packages && k->cls == MERGE_CONFLICT ? package_of(g, i) : NULL;

		group->n++;
		if (package && !has_word(group->package, package) && describe(g, k, package, group) < 0)
			return ply_fail_nomem(g->err);
	}
	return 0;
}

int plan_group(struct planning *p, struct ply_err *err)
{
	struct grouper g = { .p = p, .c = p->c, .err = err };
	bool any = false;
	int r = 0;

	p->groups = calloc(p->c->n + 1, sizeof(*p->groups));
	g.facts = calloc(p->c->nnames, sizeof(*g.facts));
	if (!p->groups || !g.facts)
		r = ply_fail_nomem(err);
	for (size_t i = 0; r == 0 && i < p->c->n; i++) {
		const struct collision *k = &p->c->v[i];

		for (size_t h = 0; k->cls == MERGE_CONFLICT && r == 0 && h < k->n; h++) {
			any = true;
			r = read_facts(&g, k->v[h].sub);
		}
	}
	if (r == 0 && any)
		r = unite_packages(&g);
	if (r == 0 && any)
		r = unite_sets(&g);
	if (r == 0)
		r = name_groups(&g, any);
	for (uint32_t s = 0; g.facts && s < p->c->nnames; s++) {
		for (size_t i = 0; g.facts[s].version && i < p->c->n; i++) {
			free(g.facts[s].package[i]);
			free(g.facts[s].version[i]);
		}
		free(g.facts[s].package);
		free(g.facts[s].version);
		buf_done(&g.facts[s].status);
	}
	free(g.facts);
	return r;
}

void plan_groups_free(struct planning *p)
{
	for (size_t i = 0; p->groups && i < p->c->n; i++) {
		free(p->groups[i].what);
		free(p->groups[i].package);
	}
	free(p->groups);
	p->groups = NULL;
}

/* --- what can be asked for ---------------------------------------------------------------------- */

bool plan_may(const struct planning *p, size_t group, uint8_t rule)
{
	/* half of a package is none */
	if (p->groups[group].package && rule != PLY_RULE_FIRST && rule != PLY_RULE_LAST)
		return false;
	for (size_t i = group; i < p->c->n; i++)
		if (p->c->v[i].group == group && collision_refuses(&p->c->v[i], rule))
			return false;
	return true;
}

int plan_possible(const struct planning *p, size_t group, struct buf *out)
{
	int r = buf_printf(out, "first, last");

	if (r == 0 && plan_may(p, group, PLY_RULE_APPEND))
		r = buf_printf(out, ", append");
	if (r == 0 && plan_may(p, group, PLY_RULE_KEEP_BOTH))
		r = buf_printf(out, ", keep-both");
	return r;
}
