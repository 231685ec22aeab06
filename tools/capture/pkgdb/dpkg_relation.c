/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * "a (>= 2) | b:any" -> the packages that satisfy it, real ones and those that provide the name. Versions and
 * architectures are compared as dpkg does (Debian Policy 5.6.12 and 7.1, Multi-Arch specification, and dpkg's
 * own src/main/depcon.c where these leave something open).
 *
 * All packages and provisions of a name hang on one entry of the map, so that a search costs what it looks
 * at, which is counted: a status file is outside bytes, and one that pairs 100,000 packages which provide a name with
 * as many that need it shall fail, not take hours.
 */
#include "dpkg_relation.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define PROVIDES_MAX (1u << 17)    /* what all packages provide */
#define STEPS_MAX    (1ull << 28)  /* packages looked at in all searches of a pool, and bytes of their versions */

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

char *dpkg_next_group(char **rest)
{
	for (char *one; *rest && (one = strsep(rest, ","));) {
		one = skip_blank(one);
		for (size_t n = strlen(one); n && isspace((unsigned char)one[n - 1]);)
			one[--n] = '\0';
		for (char *nl = one; (nl = strchr(nl, '\n'));)
			*nl = ' ';
		if (*one)
			return one;
	}
	return NULL;
}

/* --- the pool ---------------------------------------------------------------------- */

struct dpkg_name {
	const char *name;
	uint32_t member, last_member;      /* PKG_NONE: none */
	uint32_t provided, last_provided;
};

struct dpkg_provided {
	const char *version;               /* "": none given */
	uint32_t member;
	uint32_t next;                     /* of the same name */
};

static struct dpkg_name *find_name(const struct dpkg_pool *pool, const char *name)
{
	uint64_t h = pkgdb_hash(name, strlen(name));

	for (size_t i = map_first(&pool->by_name, h); i != MAP_END; i = map_next(&pool->by_name, h, i)) {
		struct dpkg_name *n = &pool->names[pool->by_name.slots[i].value];

		if (!strcmp(n->name, name))
			return n;
	}
	return NULL;
}

/* @name must live as long as the pool. NULL: no memory. */
static struct dpkg_name *get_name(struct dpkg_pool *pool, const char *name)
{
	struct dpkg_name *n = find_name(pool, name);

	if (n)
		return n;
	if (array_grow(&pool->names, &pool->names_cap, pool->nnames + 1, sizeof(*pool->names)) < 0 ||
	    map_add(&pool->by_name, pkgdb_hash(name, strlen(name)), pool->nnames) < 0)
		return NULL;
	n = &pool->names[pool->nnames++];
	*n = (struct dpkg_name){ name, PKG_NONE, PKG_NONE, PKG_NONE, PKG_NONE };
	return n;
}

static int add_provided(struct dpkg_pool *pool, uint32_t member, const char *name, const char *version)
{
	struct dpkg_name *n = get_name(pool, name);
	uint32_t at = (uint32_t)pool->nprovided;

	if (at >= PROVIDES_MAX)
		return -E2BIG;
	if (!n || array_grow(&pool->provided, &pool->provided_cap, at + 1, sizeof(*pool->provided)) < 0)
		return -ENOMEM;
	pool->provided[pool->nprovided++] = (struct dpkg_provided){ version, member, PKG_NONE };
	if (n->provided == PKG_NONE)
		n->provided = at;
	else
		pool->provided[n->last_provided].next = at;
	n->last_provided = at;
	return 0;
}

static int add_provides(struct dpkg_pool *pool, uint32_t member, const char *value)
{
	char *rest;
	int r = 0;

	if (!value)
		return 0;
	if (array_grow(&pool->texts, &pool->texts_cap, pool->ntexts + 1, sizeof(*pool->texts)) < 0)
		return -ENOMEM;
	rest = pool->texts[pool->ntexts] = strdup(value);
	if (!rest)
		return -ENOMEM;
	pool->ntexts++;
	for (char *one; r == 0 && (one = dpkg_next_group(&rest));) {
		struct relation rel = parse_relation(one);

		r = *rel.name ? add_provided(pool, member, rel.name, rel.version) : 0;
	}
	return r;
}

int dpkg_pool_add(struct dpkg_pool *pool, const struct pkg *pkg, const struct dpkg_fields *fields)
{
	uint32_t at = (uint32_t)pool->n;
	struct dpkg_name *n;

	if (array_grow(&pool->v, &pool->cap, pool->n + 1, sizeof(*pool->v)) < 0)
		return -ENOMEM;
	pool->v[pool->n++] = (struct dpkg_member){ pkg, fields, PKG_NONE, 0 };
	if (!pkg->installed)
		return 0;
	n = get_name(pool, pkg->name);
	if (!n)
		return -ENOMEM;
	if (n->member == PKG_NONE)
		n->member = at;
	else
		pool->v[n->last_member].next = at;
	n->last_member = at;
	return add_provides(pool, at, fields->provides);
}

void dpkg_pool_done(struct dpkg_pool *pool)
{
	for (size_t i = 0; i < pool->ntexts; i++)
		free(pool->texts[i]);
	free(pool->texts);
	free(pool->v);
	free(pool->names);
	free(pool->provided);
	free(pool->found);
	map_done(&pool->by_name);
	*pool = (struct dpkg_pool){ 0 };
}

uint32_t dpkg_pool_first(const struct dpkg_pool *pool, const char *name)
{
	const struct dpkg_name *n = find_name(pool, name);

	return n ? n->member : PKG_NONE;
}

/* --- searching --------------------------------------------------------------------- */

static int add_found(struct dpkg_pool *pool, uint32_t member)
{
	if (pool->v[member].seen == pool->serial)
		return 0;
	pool->v[member].seen = pool->serial;
	if (array_grow(&pool->found, &pool->found_cap, pool->nfound + 1, sizeof(*pool->found)) < 0)
		return -ENOMEM;
	pool->found[pool->nfound++] = member;
	return 0;
}

/* May member @q satisfy a need of @from, as far as architectures go? */
static bool arch_fits(const struct dpkg_pool *pool, const struct relation *rel, const struct pkg *from,
		      const struct dpkg_member *q, enum dpkg_search how)
{
	const char *want = *rel->qualifier ? rel->qualifier : from->arch, *arch = q->pkg->arch;

	if (!*rel->qualifier && (q->fields->foreign || how == DPKG_CONFLICTS))
		return true;
	if (!strcmp(want, "any"))
		return q->fields->allowed || how == DPKG_CONFLICTS;
	if (!*want || !strcmp(want, "all") || !strcmp(want, "native"))
		want = pool->arch;
	return !strcmp(want, *arch && strcmp(arch, "all") ? arch : pool->arch);
}

/* @version: in which it is, or (@provides) the name is provided; "" fits where none is asked for. dpkg looks for what
 * provides a conflict's name in all architectures, also where the conflict names one. */
static int see_one(struct dpkg_pool *pool, const struct pkg *from, const struct relation *rel, enum dpkg_search how,
		   uint32_t member, const char *version, bool provides)
{
	bool any_arch = provides && how == DPKG_CONFLICTS;
	const struct dpkg_member *m = &pool->v[member];

	pool->steps += 1 + strlen(version) + strlen(rel->version);
	if (pool->steps > STEPS_MAX)
		return -E2BIG;
	if (how == DPKG_CONFLICTS && !strcmp(m->pkg->name, from->name))
		return 0;
	if (how != DPKG_NAMED && ((*rel->op && (!*version || !version_fits(rel, version))) ||
				  !(any_arch || arch_fits(pool, rel, from, m, how))))
		return 0;
	return add_found(pool, member);
}

static int find_one(struct dpkg_pool *pool, const struct pkg *from, const struct relation *rel, enum dpkg_search how)
{
	const struct dpkg_name *n = find_name(pool, rel->name);
	int r = 0;

	if (!n)
		return 0;
	for (uint32_t q = n->member; r == 0 && q != PKG_NONE; q = pool->v[q].next)
		r = see_one(pool, from, rel, how, q, pool->v[q].pkg->version, false);
	for (uint32_t i = n->provided; r == 0 && i != PKG_NONE; i = pool->provided[i].next)
		r = see_one(pool, from, rel, how, pool->provided[i].member, pool->provided[i].version, true);
	return r;
}

int dpkg_pool_find(struct dpkg_pool *pool, const struct pkg *from, const char *group, enum dpkg_search how)
{
	_cleanup_free_ char *copy = strdup(group);
	char *rest = copy;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	pool->nfound = 0;
	pool->serial++;
	for (char *one; r == 0 && (one = strsep(&rest, "|"));) {
		struct relation rel = parse_relation(one);

		r = *rel.name ? find_one(pool, from, &rel, how) : 0;
	}
	return r;
}
