/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packages that components bring, against those of a living target.
 *
 * What would be installed afterwards is put together as one pool: the target's packages, in its own versions, those
 * that are updated in the new one, and the new ones. Every dependency of a package that is brought has to hold in it,
 * and no conflict may come into being; of those of the target's own packages, only what held before and does not
 * hold any more is told. The pool's rules are dpkg's (capture/pkgdb/dpkg_relation.h), which the tests compare with
 * dpkg itself.
 *
 * A target without packages is no special case: nothing of what is needed from outside is there.
 */
#include "layout/needs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/inroot.h"
#include "base/util.h"
#include "capture/pkgdb/dpkg_status.h"

#define MISSING_MAX 65536u         /* more is no machine */
#define THERE_MAX   4u             /* packages that a missing dependency names */

enum { TARGET, BASE, WITH, TEXTS };

struct needs_dbs {
	struct dpkg_status texts[TEXTS];
};

struct check {
	struct target_needs *needs;
	struct dpkg_status *texts;
	struct dpkg_pool pool;             /* as it would be afterwards */
	uint32_t first_added;              /* members from here on are brought */
	struct dpkg_pool before;           /* the target as it is; only where something is updated */
	bool updates;
};

/* --- which packages --------------------------------------------------------------- */

static int read_text(struct dpkg_status *s, const struct needs_text *text, const struct needs_text *arch,
		     const char *name, struct ply_err *err)
{
	if (text->len > DPKG_TEXT_MAX || arch->len > DPKG_TEXT_MAX)
		return ply_fail(err, -EBADMSG, PLY_R_PKGDB_DAMAGED, "%s is larger than 64 MiB", name);
	if (buf_reserve(&s->text, text->len + 1) < 0 || buf_reserve(&s->arch_text, arch->len + 1) < 0)
		return ply_fail_nomem(err);
	if (text->len)
		buf_add(&s->text, text->text, text->len);
	if (arch->len)
		buf_add(&s->arch_text, arch->text, arch->len);
	s->text.data[s->text.len] = '\0';
	s->arch_text.data[s->arch_text.len] = '\0';
	return dpkg_status_read(s, name, err);
}

static int read_texts(struct dpkg_status *s, const struct needs_input *in, struct ply_err *err)
{
	int r = read_text(&s[TARGET], &in->target, &in->target_arch, "the target's /var/lib/dpkg/status", err);

	if (r == 0)
		r = pkgdb_check_finished(&s[TARGET].db, err);
	if (r == 0)
		r = read_text(&s[BASE], &in->base, &in->image_arch, "the image's /var/lib/dpkg/status", err);
	if (r == 0)
		r = read_text(&s[WITH], &in->with, &in->image_arch, "the selection's /var/lib/dpkg/status", err);
	return r;
}

/* Those of architecture "all" are of the machine's own. */
static const char *place_of(const struct pkgdb *db, const struct pkg *p)
{
	return *p->arch && strcmp(p->arch, "all") ? p->arch : db->arch;
}

/* The package in whose place dpkg would put @p of the selection. */
static const struct pkg *find_there(const struct dpkg_status *s, const struct pkg *p)
{
	const struct pkgdb *db = &s[TARGET].db;
	uint64_t h = pkgdb_hash(p->name, strlen(p->name));

	for (size_t i = map_first(&db->by_name, h); i != MAP_END; i = map_next(&db->by_name, h, i)) {
		const struct pkg *q = &db->pkgs[db->by_name.slots[i].value];

		if (q->installed && !strcmp(q->name, p->name) &&
		    (!strcmp(q->arch, p->arch) || !strcmp(place_of(db, q), place_of(&s[WITH].db, p))))
			return q;
	}
	return NULL;
}

static bool is_same(const struct pkg *a, const struct pkg *b)
{
	return !strcmp(a->arch, b->arch) && !strcmp(a->version, b->version);
}

static int add_package(struct target_needs *n, const struct pkg *p, const struct pkg *there, enum need_state state)
{
	if (array_grow(&n->packages, &n->packages_cap, n->npackages + 1, sizeof(*n->packages)) < 0)
		return -ENOMEM;
	n->packages[n->npackages++] = (struct need_package){
		.name = p->name, .arch = p->arch, .version = p->version, .state = state,
		.have = there ? there->version : NULL, .have_arch = there ? there->arch : NULL,
	};
	return 0;
}

/* What of @with is brought, and what becomes of it; @added: a byte for each, and @gone for each of the target's. */
static int sort_packages(struct check *c, uint8_t *added, uint8_t *gone)
{
	const struct pkgdb *with = &c->texts[WITH].db, *target = &c->texts[TARGET].db;
	int r = 0;

	for (size_t i = 0; r == 0 && i < with->n; i++) {
		const struct pkg *p = &with->pkgs[i], *there;
		const struct pkg *base = dpkg_find_exact(&c->texts[BASE].db, p->name, p->arch);
		enum need_state state;

		if (!p->installed || (base && base->installed && is_same(base, p)))
			continue;
		there = find_there(c->texts, p);
		state = !there ? NEED_NEW : is_same(there, p) ? NEED_TAKEN :
			base && base->installed && is_same(there, base) ? NEED_UPDATE : NEED_OTHER_VERSION;
		added[i] = state == NEED_NEW || state == NEED_UPDATE;
		if (state == NEED_UPDATE) {
			gone[there - target->pkgs] = 1;
			c->updates = true;
		}
		r = add_package(c->needs, p, there, state);
	}
	return r;
}

static int fill_pool(struct dpkg_pool *pool, const struct dpkg_status *s, const uint8_t *which, uint8_t is)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->db.n; i++)
		if (s->db.pkgs[i].installed && (!which || which[i] == is))
			r = dpkg_pool_add(pool, &s->db.pkgs[i], &s->fields[i]);
	return r;
}

static int fill_pools(struct check *c)
{
	uint8_t *added = calloc(c->texts[WITH].db.n + 1, 1), *gone = calloc(c->texts[TARGET].db.n + 1, 1);
	const char *arch = *c->needs->target_arch ? c->needs->target_arch : c->needs->image_arch;
	int r = added && gone ? sort_packages(c, added, gone) : -ENOMEM;

	c->pool.arch = c->before.arch = arch;
	if (r == 0)
		r = fill_pool(&c->pool, &c->texts[TARGET], gone, 0);
	c->first_added = (uint32_t)c->pool.n;
	if (r == 0)
		r = fill_pool(&c->pool, &c->texts[WITH], added, 1);
	if (r == 0 && c->updates)
		r = fill_pool(&c->before, &c->texts[TARGET], NULL, 0);
	free(added);
	free(gone);
	return r;
}

/* --- what does not hold ------------------------------------------------------------- */

/* "libc6 2.31-13, foo:i386 1": what was found last. NULL: no memory. */
static char *tell_found(const struct dpkg_pool *pool, const struct pkg *from)
{
	struct buf b = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < pool->nfound && i < THERE_MAX; i++) {
		const struct pkg *p = pool->v[pool->found[i]].pkg;
		bool other = strcmp(p->arch, from->arch) && strcmp(p->arch, "all") && strcmp(p->arch, pool->arch);

		r = buf_printf(&b, "%s%s%s%s %s", i ? ", " : "", p->name, other ? ":" : "", other ? p->arch : "",
			       p->version);
	}
	if (r == 0 && pool->nfound > THERE_MAX)
		r = buf_printf(&b, " and %zu more", pool->nfound - THERE_MAX);
	if (r < 0)
		buf_done(&b);
	return (char *)b.data;
}

/* @text does not hold for @from; what the pool found last is there. */
static int add_missing(struct check *c, uint32_t member, enum need_kind kind, const char *text)
{
	struct target_needs *n = c->needs;
	const struct pkg *from = c->pool.v[member].pkg;
	struct need_missing m = {
		.name = from->name, .arch = from->arch, .version = from->version, .kind = kind,
		.of_target = member < c->first_added, .text = strdup(text),
	};

	if (c->pool.nfound)
		m.there = tell_found(&c->pool, from);
	if (n->nmissing >= MISSING_MAX || !m.text || (c->pool.nfound && !m.there) ||
	    array_grow(&n->missing, &n->missing_cap, n->nmissing + 1, sizeof(m)) < 0) {
		free(m.text);
		free(m.there);
		return n->nmissing >= MISSING_MAX ? -E2BIG : -ENOMEM;
	}
	n->missing[n->nmissing++] = m;
	return 0;
}

/* Did it hold in the target as it is? 1, 0, -errno. */
static int held_before(struct check *c, const struct pkg *from, const char *group)
{
	int r = dpkg_pool_find(&c->before, from, group, DPKG_SATISFIES);

	return r < 0 ? r : c->before.nfound > 0;
}

static int check_depends(struct check *c, uint32_t member, enum need_kind kind, const char *group)
{
	const struct pkg *from = c->pool.v[member].pkg;
	int r = dpkg_pool_find(&c->pool, from, group, DPKG_SATISFIES);

	if (r < 0 || c->pool.nfound)
		return r;
	if (member < c->first_added) {
		r = held_before(c, from, group);
		if (r <= 0)
			return r;
	}
	r = dpkg_pool_find(&c->pool, from, group, DPKG_NAMED);
	return r < 0 ? r : add_missing(c, member, kind, group);
}

/* A conflict counts between what is brought and what is there. */
static int check_conflicts(struct check *c, uint32_t member, enum need_kind kind, const char *group)
{
	struct dpkg_pool *pool = &c->pool;
	bool added = member >= c->first_added;
	size_t kept = 0;
	int r = dpkg_pool_find(pool, pool->v[member].pkg, group, DPKG_CONFLICTS);

	for (size_t i = 0; r == 0 && i < pool->nfound; i++)
		if ((pool->found[i] >= c->first_added) != added)
			pool->found[kept++] = pool->found[i];
	pool->nfound = kept;
	return r < 0 || !kept ? r : add_missing(c, member, kind, group);
}

/* The same package of several architectures is there in one version, and only where it is made for that. */
static int check_beside(struct check *c, uint32_t member)
{
	struct dpkg_pool *pool = &c->pool;
	const struct dpkg_member *m = &pool->v[member];
	int r = 0;

	for (uint32_t q = dpkg_pool_first(pool, m->pkg->name); r == 0 && q != PKG_NONE; q = pool->v[q].next) {
		const struct dpkg_member *o = &pool->v[q];
		char text[512];

		if (q >= c->first_added || (m->fields->same && o->fields->same &&
					    !dpkg_version_compare(m->pkg->version, o->pkg->version)))
			continue;
		snprintf(text, sizeof(text), "%s:%s", o->pkg->name, o->pkg->arch);
		pool->found[0] = q;
		pool->nfound = 1;
		r = add_missing(c, member, NEED_BESIDE, text);
	}
	return r;
}

static int check_field(struct check *c, uint32_t member, enum need_kind kind, const char *value)
{
	_cleanup_free_ char *copy = value ? strdup(value) : NULL;
	char *rest = copy;
	int r = value && !copy ? -ENOMEM : 0;

	for (char *group; r == 0 && (group = dpkg_next_group(&rest));)
		r = kind == NEED_DEPENDS || kind == NEED_PRE_DEPENDS ? check_depends(c, member, kind, group) :
									check_conflicts(c, member, kind, group);
	return r;
}

static int check_member(struct check *c, uint32_t member)
{
	const struct dpkg_fields *f = c->pool.v[member].fields;
	bool added = member >= c->first_added;
	int r = 0;

	if (added || c->updates) {
		r = check_field(c, member, NEED_PRE_DEPENDS, f->pre_depends);
		if (r == 0)
			r = check_field(c, member, NEED_DEPENDS, f->depends);
	}
	if (r == 0)
		r = check_field(c, member, NEED_CONFLICTS, f->conflicts);
	if (r == 0)
		r = check_field(c, member, NEED_BREAKS, f->breaks);
	return r == 0 && added ? check_beside(c, member) : r;
}

static int check_all(struct check *c)
{
	/* room for check_beside() */
	int r = array_grow(&c->pool.found, &c->pool.found_cap, 1, sizeof(*c->pool.found));

	for (uint32_t i = c->first_added; r == 0 && i < c->pool.n; i++)
		r = check_member(c, i);
	for (uint32_t i = 0; r == 0 && i < c->first_added; i++)
		r = check_member(c, i);
	return r;
}

/* --- the whole ------------------------------------------------------------------------ */

static bool has_installed(const struct pkgdb *db)
{
	for (size_t i = 0; i < db->n; i++)
		if (db->pkgs[i].installed)
			return true;
	return false;
}

int needs_packages(const struct needs_input *in, struct target_needs *ret, struct ply_err *err)
{
	struct check c = { .needs = ret };
	int r;

	ret->image_arch = ret->target_arch = "";
	ret->dbs = calloc(1, sizeof(*ret->dbs));
	if (!ret->dbs)
		return ply_fail_nomem(err);
	c.texts = ret->dbs->texts;
	r = read_texts(c.texts, in, err);
	if (r < 0)
		return r;
	ret->image_arch = c.texts[WITH].db.arch;
	ret->target_arch = c.texts[TARGET].db.arch;
	ret->other_arch = *ret->image_arch && *ret->target_arch && strcmp(ret->image_arch, ret->target_arch);
	ret->no_database = !has_installed(&c.texts[TARGET].db);
	r = fill_pools(&c);
	if (r == 0)
		r = check_all(&c);
	dpkg_pool_done(&c.pool);
	dpkg_pool_done(&c.before);
	if (r == -E2BIG)
		return ply_fail(err, -EBADMSG, PLY_R_PKGDB_DAMAGED,
				"the target's /var/lib/dpkg/status, or the image's, has more dependencies than any "
				"machine has");
	return r == -ENOMEM ? ply_fail_nomem(err) : r;
}

void target_needs_done(struct target_needs *n)
{
	for (size_t i = 0; i < n->nmissing; i++) {
		free(n->missing[i].text);
		free(n->missing[i].there);
	}
	for (size_t i = 0; i < n->nlibraries; i++) {
		free(n->libraries[i].path);
		free(n->libraries[i].name);
	}
	free(n->packages);
	free(n->missing);
	free(n->libraries);
	for (int i = 0; n->dbs && i < TEXTS; i++)
		dpkg_status_done(&n->dbs->texts[i]);
	free(n->dbs);
	*n = (struct target_needs){ 0 };
}

bool target_needs_hold(const struct target_needs *n)
{
	return !n->nmissing && !n->nlibraries && !n->other_arch;
}

static int read_optional(int root, const char *path, struct buf *out, struct ply_err *err)
{
	int r = inroot_read(root, path, DPKG_TEXT_MAX, out);

	return r < 0 && r != -ENOENT && r != -ENOTDIR ? ply_fail_sys(err, r, "cannot read /%s of the target", path) : 0;
}

int needs_read_target(int root, struct buf *status, struct buf *arch, struct ply_err *err)
{
	const char *busy;
	int r = dpkg_look_for_updates(root, &busy, err);

	if (r == 0 && busy)
		return ply_fail(err, -EBUSY, PLY_R_PKGDB_UNFINISHED,
				"%s: run dpkg --configure -a on the target first", busy);
	if (r == 0)
		r = read_optional(root, "var/lib/dpkg/status", status, err);
	return r == 0 ? read_optional(root, "var/lib/dpkg/arch", arch, err) : r;
}
