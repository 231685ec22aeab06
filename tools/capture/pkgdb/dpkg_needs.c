/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * "a (>= 2) | b:any, c" -> for each need the installed packages that satisfy it, real ones and
 * those that provide the name. Versions and architectures are compared as dpkg does (Debian
 * Policy 5.6.12 and 7.1, Multi-Arch specification), since an alternative that is installed
 * in a version that does not count is not why its neighbour is there. Where nothing counts (a machine
 * that was forced), every package of the name does.
 */
#include "dpkg_needs.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define PROVIDES_MAX (1u << 17)    /* what all packages provide */
#define BY_MAX       (1u << 24)    /* what satisfies all needs: bounds a hostile file */

/* --- versions ----------------------------------------------------------------- */

static int weight(char c)
{
	if (isdigit((unsigned char)c) || !c)
		return 0;
	if (isalpha((unsigned char)c))
		return c;
	return c == '~' ? -1 : (unsigned char)c + 256;
}

/* A part without epoch, of @alen and @blen bytes: runs of non-digits and numbers in turn. */
static int compare_part(const char *a, size_t alen, const char *b, size_t blen)
{
	const char *aend = a + alen, *bend = b + blen;

	while (a < aend || b < bend) {
		int first = 0;

		while ((a < aend && !isdigit((unsigned char)*a)) || (b < bend && !isdigit((unsigned char)*b))) {
			int x = weight(a < aend ? *a : '\0'), y = weight(b < bend ? *b : '\0');

			if (x != y)
				return x - y;
			a += a < aend;
			b += b < bend;
		}
		while (a < aend && *a == '0')
			a++;
		while (b < bend && *b == '0')
			b++;
		while (a < aend && b < bend && isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
			if (!first)
				first = *a - *b;
			a++;
			b++;
		}
		if (a < aend && isdigit((unsigned char)*a))
			return 1;
		if (b < bend && isdigit((unsigned char)*b))
			return -1;
		if (first)
			return first;
	}
	return 0;
}

int dpkg_version_compare(const char *a, const char *b)
{
	const char *x = strchr(a, ':'), *y = strchr(b, ':'), *xr, *yr;
	long ex = x ? strtol(a, NULL, 10) : 0, ey = y ? strtol(b, NULL, 10) : 0;
	int r;

	if (ex != ey)
		return ex < ey ? -1 : 1;
	a = x ? x + 1 : a;
	b = y ? y + 1 : b;
	xr = strrchr(a, '-');
	yr = strrchr(b, '-');
	r = compare_part(a, xr ? (size_t)(xr - a) : strlen(a), b, yr ? (size_t)(yr - b) : strlen(b));
	if (r)
		return r;
	return compare_part(xr ? xr + 1 : "", xr ? strlen(xr + 1) : 0, yr ? yr + 1 : "",
			    yr ? strlen(yr + 1) : 0);
}

/* --- one alternative ------------------------------------------------------------- */

struct relation {
	const char *name;
	const char *qualifier;     /* "any", an architecture, or "" */
	const char *op, *version;  /* "" where any version will do */
};

static char *skip_blank(char *p)
{
	return p + strspn(p, " \t\n");
}

/* "name:any (>= 1.2)" in place. */
static struct relation parse_relation(char *text)
{
	struct relation r = { skip_blank(text), "", "", "" };
	char *p = (char *)r.name, *open;

	p += strcspn(p, " \t\n([<:");
	if (*p == ':') {
		*p++ = '\0';
		r.qualifier = p;
		p += strcspn(p, " \t\n([<");
	}
	open = strchr(p, '(');
	*p = '\0';
	if (open) {
		char *op = skip_blank(open + 1);
		size_t n = strspn(op, "<>=");
		char *version = skip_blank(op + n);

		version[strcspn(version, " \t\n)")] = '\0';
		r.version = version;
		r.op = n == 0 ? "=" : op[0] == '=' ? "=" :
		       op[0] == '<' ? (n > 1 && op[1] == '<' ? "<<" : "<=") :
		       n > 1 && op[1] == '>' ? ">>" : ">=";
	}
	return r;
}

static bool version_fits(const struct relation *r, const char *version)
{
	int c;

	if (!*r->op)
		return true;
	c = dpkg_version_compare(version, r->version);
	if (!strcmp(r->op, "="))
		return c == 0;
	if (r->op[0] == '<')
		return r->op[1] == '<' ? c < 0 : c <= 0;
	return r->op[1] == '>' ? c > 0 : c >= 0;
}

/* --- resolving --------------------------------------------------------------------- */

struct provided {
	const char *name, *version;        /* version "": none given */
	uint32_t pkg;
};

struct resolver {
	struct pkgdb *db;
	const struct dpkg_fields *fields;
	struct provided *provided;
	size_t nprovided, provided_cap;
	struct map by_name;                /* of what is provided */
	uint32_t *found;                   /* of the need at hand */
	size_t nfound, found_cap;
	uint32_t *seen, serial;            /* per package: the last need that found it */
};

static int add_found(struct resolver *r, uint32_t pkg)
{
	if (r->seen[pkg] == r->serial)
		return 0;
	r->seen[pkg] = r->serial;
	if (array_grow(&r->found, &r->found_cap, r->nfound + 1, sizeof(*r->found)) < 0)
		return -ENOMEM;
	r->found[r->nfound++] = pkg;
	return 0;
}

/* May package @q satisfy a need of @p, as far as architectures go? */
static bool arch_fits(const struct resolver *r, const struct relation *rel, uint32_t p, uint32_t q)
{
	const char *pa = r->db->pkgs[p].arch, *qa = r->db->pkgs[q].arch, *own = r->db->arch;

	if (!strcmp(rel->qualifier, "any"))
		return r->fields[q].allowed || r->fields[q].foreign || !strcmp(pa, qa);
	if (r->fields[q].foreign && !*rel->qualifier)
		return true;
	pa = *rel->qualifier ? rel->qualifier : strcmp(pa, "all") ? pa : own;
	qa = strcmp(qa, "all") ? qa : own;
	return !strcmp(pa, qa);
}

static int find_satisfying(struct resolver *r, const struct relation *rel, uint32_t p, bool any)
{
	uint64_t h = pkgdb_hash(rel->name, strlen(rel->name));
	const struct pkgdb *db = r->db;
	int e = 0;

	for (size_t i = map_first(&db->by_name, h); e == 0 && i != MAP_END; i = map_next(&db->by_name, h, i)) {
		uint32_t q = (uint32_t)db->by_name.slots[i].value;
		const struct pkg *pkg = &db->pkgs[q];

		if (pkg->installed && !strcmp(pkg->name, rel->name) &&
		    (any || (version_fits(rel, pkg->version) && arch_fits(r, rel, p, q))))
			e = add_found(r, q);
	}
	for (size_t i = map_first(&r->by_name, h); e == 0 && i != MAP_END; i = map_next(&r->by_name, h, i)) {
		const struct provided *v = &r->provided[r->by_name.slots[i].value];

		if (strcmp(v->name, rel->name))
			continue;
		if (any || ((!*rel->op || (*v->version && version_fits(rel, v->version))) &&
			    arch_fits(r, rel, p, v->pkg)))
			e = add_found(r, v->pkg);
	}
	return e;
}

/* What was found becomes a need, unless the package satisfies it itself. */
static int add_need(struct resolver *r, uint32_t p, enum pkg_need_kind kind, const char *text)
{
	struct pkgdb *db = r->db;
	size_t n = r->nfound;

	if (r->seen[p] == r->serial)
		return 0;
	if (db->nby + n > BY_MAX)
		return -E2BIG;
	if (array_grow(&db->by, &db->by_cap, db->nby + n, sizeof(*db->by)) < 0 ||
	    array_grow(&db->needs, &db->needs_cap, db->nneeds + 1, sizeof(*db->needs)) < 0)
		return -ENOMEM;
	memcpy(db->by + db->nby, r->found, n * sizeof(*r->found));
	db->nby += n;
	db->needs[db->nneeds++] = (struct pkg_need){ .kind = kind, .text = text, .nby = (uint32_t)n };
	return 0;
}

/* @text is one need; it is kept for people, so its copy is cut up. */
static int resolve_need(struct resolver *r, uint32_t p, enum pkg_need_kind kind, char *text)
{
	int e = 0;

	text = skip_blank(text);
	for (size_t n = strlen(text); n && isspace((unsigned char)text[n - 1]);)
		text[--n] = '\0';
	for (char *nl = text; (nl = strchr(nl, '\n'));)
		*nl = ' ';
	if (!*text)
		return 0;
	r->nfound = 0;
	r->serial++;
	for (int any = 0; e == 0 && any < 2 && !r->nfound; any++) {
		_cleanup_free_ char *copy = strdup(text);
		char *rest = copy;

		if (!copy)
			return -ENOMEM;
		for (char *one; e == 0 && (one = strsep(&rest, "|"));) {
			struct relation rel = parse_relation(one);

			e = *rel.name ? find_satisfying(r, &rel, p, any) : 0;
		}
	}
	return e < 0 || !r->nfound ? e : add_need(r, p, kind, text);
}

static int resolve_field(struct resolver *r, uint32_t p, enum pkg_need_kind kind, const char *value)
{
	char *rest = (char *)value;
	int e = 0;

	for (char *one; e == 0 && rest && (one = strsep(&rest, ","));)
		e = resolve_need(r, p, kind, one);
	return e;
}

static int collect_provided(struct resolver *r, uint32_t p, const char *value)
{
	char *rest = (char *)value;

	for (char *one; rest && (one = strsep(&rest, ","));) {
		struct relation rel = parse_relation(one);

		if (!*rel.name)
			continue;
		if (r->nprovided >= PROVIDES_MAX)
			return -E2BIG;
		if (array_grow(&r->provided, &r->provided_cap, r->nprovided + 1, sizeof(*r->provided)) < 0 ||
		    map_add(&r->by_name, pkgdb_hash(rel.name, strlen(rel.name)), r->nprovided) < 0)
			return -ENOMEM;
		r->provided[r->nprovided++] = (struct provided){ rel.name, rel.version, p };
	}
	return 0;
}

int dpkg_resolve_needs(struct pkgdb *db, const struct dpkg_fields *fields)
{
	struct resolver r = { .db = db, .fields = fields };
	uint32_t *by;
	int e = 0;

	db->first_need = calloc(db->n + 1, sizeof(*db->first_need));
	r.seen = calloc(db->n + 1, sizeof(*r.seen));
	if (!db->first_need || !r.seen) {
		free(r.seen);
		return -ENOMEM;
	}
	for (uint32_t p = 0; e == 0 && p < db->n; p++)
		if (db->pkgs[p].installed)
			e = collect_provided(&r, p, fields[p].provides);
	for (uint32_t p = 0; e == 0 && p < db->n; p++) {
		db->first_need[p] = db->nneeds;
		if (!db->pkgs[p].installed)
			continue;
		e = resolve_field(&r, p, PKG_DEPENDS, fields[p].pre_depends);
		if (e == 0)
			e = resolve_field(&r, p, PKG_DEPENDS, fields[p].depends);
		if (e == 0)
			e = resolve_field(&r, p, PKG_RECOMMENDS, fields[p].recommends);
	}
	db->first_need[db->n] = db->nneeds;
	/* only now does the array stay where it is */
	by = db->by;
	for (size_t i = 0; e == 0 && i < db->nneeds; i++) {
		db->needs[i].by = by;
		by += db->needs[i].nby;
	}
	free(r.provided);
	free(r.found);
	free(r.seen);
	map_done(&r.by_name);
	return e;
}
