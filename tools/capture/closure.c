/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packages are a graph: an edge for each provider of each need (Depends and Recommends: a
 * recommended package that came automatically is there because of its recommender).
 *
 *   system    = what is reached from the wanted packages without entering a named one; of several
 *               providers one is enough, so one is added only if none is reached yet
 *   anchors   = named packages, and those of the same source package that they reach: apache2-bin is
 *               apache's, not something that apache and php share
 *   users(p)  = components whose anchors reach p; the anchors of the others are cut points
 *
 * Where every path to a package goes through a named one, that one dominates it; with the
 * others as cut points a plain search finds it, in O(components * edges). A package with one user
 * is its own. With several: those that require another of them are dropped; if one is left, it is
 * that one's, else an internal component's, named by its users.
 *
 * Rejected: dominator trees (one root; components are several), and asking apt (its own
 * autoremove answers another question, and needs to run in the machine).
 *
 * Packages that nothing reaches go to the operating system, unless they need a component
 * themselves: then there.
 */
#include "closure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "plyfs/disk.h"

#define SYSTEM  CLOSURE_OS
#define NOWHERE UINT32_MAX

struct queue {
	uint32_t *v;
	size_t head, n;
};

/* Components are numbered as in the input + 1 until the end; internal ones behind. */
struct work {
	const struct pkgdb *db;
	struct closure *out;
	struct closure_input *in;  /* of component i: in[i - 1]; without those called os */
	size_t ncomps;             /* with the operating system, without internal ones */
	uint32_t npkgs;
	uint32_t *named;           /* per package: the component that names it, or NOWHERE */
	uint32_t *anchor;          /* per package: the component that it anchors, or NOWHERE */
	bool *system;
	bool *dependant;           /* per package: `named` is take_dependants()'s */
	uint32_t *seen, mark;      /* per package: the search that saw it last */
	uint64_t *shared;          /* of each internal component the set of its users */
	struct queue queue;
	const struct pkg_need **pending[2];        /* choices, Depends and Recommends */
	size_t npending[2], pending_cap[2];
};

static int in_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t *users(const struct work *w, uint32_t pkg)
{
	return w->out->users + (size_t)pkg * w->out->words;
}

static bool has(const uint64_t *set, uint32_t i)
{
	return set[i / 64] >> i % 64 & 1;
}

static void add(uint64_t *set, uint32_t i)
{
	set[i / 64] |= (uint64_t)1 << i % 64;
}

static bool is_installed(const struct work *w, uint32_t pkg)
{
	return pkgdb_get(w->db, pkg)->installed;
}

static void push(struct work *w, uint32_t pkg, uint32_t via, const struct pkg_need *need)
{
	struct closure_pkg *p = &w->out->pkgs[pkg];

	w->seen[pkg] = w->mark;
	w->queue.v[w->queue.n++] = pkg;
	if (p->via == PKG_NONE) {
		p->via = via;
		p->need = need;
	}
}

static void begin_search(struct work *w)
{
	w->mark++;
	w->queue.head = w->queue.n = 0;
}

/* --- the operating system ---------------------------------------------------------- */

static int defer(struct work *w, const struct pkg_need *need)
{
	int which = need->kind != PKG_DEPENDS;

	if (array_grow(&w->pending[which], &w->pending_cap[which], w->npending[which] + 1,
		       sizeof(*w->pending[which])) < 0)
		return -ENOMEM;
	w->pending[which][w->npending[which]++] = need;
	return 0;
}

/* A need with one provider that counts is followed at once; a choice waits until no more of those
 * are left. */
static int follow_system(struct work *w, uint32_t pkg)
{
	size_t n;
	const struct pkg_need *need = pkgdb_needs(w->db, pkg, &n);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		uint32_t only = NOWHERE, count = 0;

		for (uint32_t b = 0; b < need[i].nby; b++) {
			uint32_t q = need[i].by[b];

			if (w->named[q] != NOWHERE)
				continue;
			only = q;
			count++;
		}
		if (count == 1 && w->seen[only] != w->mark)
			push(w, only, pkg, &need[i]);
		else if (count > 1)
			r = defer(w, &need[i]);
	}
	return r;
}

static uint32_t owner_of_need(const struct work *w, const struct pkg_need *need)
{
	for (uint32_t p = 0; p < w->npkgs; p++) {
		size_t n;
		const struct pkg_need *first = pkgdb_needs(w->db, p, &n);

		if (n && need >= first && need < first + n)
			return p;
	}
	return PKG_NONE;
}

/* Add a provider for the next choice that has none yet: true where there was one. */
static bool choose(struct work *w, int which, size_t *at)
{
	for (; *at < w->npending[which]; (*at)++) {
		const struct pkg_need *need = w->pending[which][*at];
		uint32_t first = NOWHERE;
		bool reached = false;

		for (uint32_t b = 0; b < need->nby; b++) {
			uint32_t q = need->by[b];

			if (w->named[q] != NOWHERE)
				continue;
			reached |= w->seen[q] == w->mark;
			first = first == NOWHERE ? q : first;
		}
		if (!reached && first != NOWHERE) {
			push(w, first, owner_of_need(w, need), need);
			return true;
		}
	}
	return false;
}

/* Without any mark of apt's nothing tells what was installed by hand: take what nothing needs. */
static void find_leaves(const struct work *w, bool *needed)
{
	for (uint32_t p = 0; p < w->npkgs; p++) {
		size_t n;
		const struct pkg_need *need = pkgdb_needs(w->db, p, &n);

		for (size_t i = 0; i < n; i++)
			for (uint32_t b = 0; b < need[i].nby; b++)
				needed[need[i].by[b]] = true;
	}
}

static int push_roots(struct work *w)
{
	_cleanup_free_ bool *needed = calloc(w->npkgs + 1, 1);
	bool marks = false;

	if (!needed)
		return -ENOMEM;
	for (uint32_t p = 0; p < w->npkgs; p++)
		marks |= pkgdb_get(w->db, p)->automatic;
	w->out->no_marks = !marks && w->npkgs;
	if (!marks)
		find_leaves(w, needed);
	for (uint32_t p = 0; p < w->npkgs; p++) {
		const struct pkg *pkg = pkgdb_get(w->db, p);
		bool root = w->named[p] == SYSTEM || pkg->important || (marks ? !pkg->automatic : !needed[p]);

		if (!pkg->installed || (w->named[p] != NOWHERE && w->named[p] != SYSTEM) || !root)
			continue;
		push(w, p, PKG_NONE, NULL);
		w->out->pkgs[p].why = w->named[p] == SYSTEM ? WHY_NAMED : WHY_WANTED;
	}
	return 0;
}

static int find_system(struct work *w)
{
	size_t at[2] = { 0, 0 };
	int r;

	begin_search(w);
	r = push_roots(w);
	while (r == 0) {
		while (r == 0 && w->queue.head < w->queue.n)
			r = follow_system(w, w->queue.v[w->queue.head++]);
		if (r < 0 || (!choose(w, 0, &at[0]) && !choose(w, 1, &at[1])))
			break;
	}
	for (size_t i = 0; r == 0 && i < w->queue.n; i++) {
		struct closure_pkg *p = &w->out->pkgs[w->queue.v[i]];

		w->system[w->queue.v[i]] = true;
		p->comp = SYSTEM;
		if (p->why == WHY_LEFT)
			p->why = WHY_NEEDED;
	}
	return r;
}

/* --- components --------------------------------------------------------------------- */

/* Everything that component @c reaches; @cut: per package, the component that it is closed to all
 * others for. */
static void search(struct work *w, uint32_t c, const uint32_t *cut)
{
	begin_search(w);
	for (uint32_t p = 0; p < w->npkgs; p++)
		if (cut[p] == c && is_installed(w, p))
			push(w, p, PKG_NONE, NULL);
	while (w->queue.head < w->queue.n) {
		uint32_t pkg = w->queue.v[w->queue.head++];
		size_t n;
		const struct pkg_need *need = pkgdb_needs(w->db, pkg, &n);

		for (size_t i = 0; i < n; i++)
			for (uint32_t b = 0; b < need[i].nby; b++) {
				uint32_t q = need[i].by[b];

				if (w->seen[q] != w->mark && !w->system[q] &&
				    (cut[q] == NOWHERE || cut[q] == c))
					push(w, q, pkg, &need[i]);
			}
	}
}

static bool shares_source(const struct work *w, uint32_t c, uint32_t pkg)
{
	const struct closure_input *in = &w->in[c - 1];
	const char *source = pkgdb_get(w->db, pkg)->source;

	for (size_t i = 0; i < in->n; i++)
		if (!strcmp(pkgdb_get(w->db, in->pkgs[i])->source, source))
			return true;
	return false;
}

/* What two components would both anchor is no one's anchor. */
static int find_anchors(struct work *w)
{
	_cleanup_free_ uint32_t *claims = calloc(w->npkgs + 1, sizeof(*claims));

	if (!claims)
		return -ENOMEM;
	for (uint32_t c = 1; c < w->ncomps; c++) {
		search(w, c, w->named);
		for (size_t i = 0; i < w->queue.n; i++) {
			uint32_t p = w->queue.v[i];

			if (w->named[p] == NOWHERE && shares_source(w, c, p)) {
				claims[p]++;
				w->anchor[p] = c;
			}
		}
	}
	for (uint32_t p = 0; p < w->npkgs; p++) {
		if (claims[p] > 1)
			w->anchor[p] = NOWHERE;
		if (w->named[p] != NOWHERE && w->named[p] != SYSTEM)
			w->anchor[p] = w->named[p];
		if (w->anchor[p] == NOWHERE)
			continue;
		w->out->pkgs[p].comp = w->anchor[p];
		w->out->pkgs[p].why = w->dependant[p] ? WHY_DEPENDANT :
				      w->named[p] != NOWHERE ? WHY_NAMED : WHY_SOURCE;
	}
	return 0;
}

static void find_users(struct work *w)
{
	for (uint32_t c = 1; c < w->ncomps; c++) {
		search(w, c, w->anchor);
		for (size_t i = 0; i < w->queue.n; i++)
			add(users(w, w->queue.v[i]), c);
	}
	for (uint32_t p = 0; p < w->npkgs; p++) {
		struct closure_pkg *pkg = &w->out->pkgs[p];
		uint32_t only = NOWHERE, count = 0;

		if (pkg->comp != NOWHERE)
			continue;
		for (uint32_t c = 1; c < w->ncomps; c++)
			if (has(users(w, p), c)) {
				only = c;
				count++;
			}
		if (count == 1) {
			pkg->comp = only;
			pkg->why = WHY_NEEDED;
		}
	}
}

/* --- requires ---------------------------------------------------------------------- */

int closure_add_require(struct closure *c, uint32_t from, uint32_t *alts, size_t n)
{
	size_t kept = 0;

	qsort(alts, n, sizeof(*alts), in_order);
	for (size_t i = 0; i < n; i++)
		if (!kept || alts[kept - 1] != alts[i])
			alts[kept++] = alts[i];
	for (size_t i = 0; i < c->nrequires; i++)
		if (c->requires[i].from == from && c->requires[i].n == kept &&
		    !memcmp(c->alts + c->requires[i].first, alts, kept * sizeof(*alts)))
			return 0;
	if (array_grow(&c->requires, &c->requires_cap, c->nrequires + 1, sizeof(*c->requires)) < 0 ||
	    array_grow(&c->alts, &c->alts_cap, c->nalts + kept, sizeof(*c->alts)) < 0)
		return -ENOMEM;
	c->requires[c->nrequires++] = (struct closure_require){ from, (uint32_t)c->nalts, (uint32_t)kept };
	memcpy(c->alts + c->nalts, alts, kept * sizeof(*alts));
	c->nalts += kept;
	return 0;
}

/* The components that can give what @need asks for; none where @from has it, or the system. */
static size_t givers(const struct work *w, uint32_t from, const struct pkg_need *need, uint32_t *out)
{
	size_t n = 0;

	for (uint32_t b = 0; b < need->nby; b++) {
		uint32_t comp = w->out->pkgs[need->by[b]].comp;

		if (comp == from || comp == SYSTEM)
			return 0;
		if (comp != NOWHERE)
			out[n++] = comp;
	}
	return n;
}

static int find_requires(struct work *w)
{
	int r = 0;

	w->out->nrequires = w->out->nalts = 0;
	for (uint32_t p = 0; r == 0 && p < w->npkgs; p++) {
		uint32_t from = w->out->pkgs[p].comp;
		size_t n;
		const struct pkg_need *need = pkgdb_needs(w->db, p, &n);

		if (from == NOWHERE || from == SYSTEM)
			continue;
		for (size_t i = 0; r == 0 && i < n; i++) {
			_cleanup_free_ uint32_t *alts = NULL;
			size_t nalts;

			if (need[i].kind != PKG_DEPENDS)
				continue;
			alts = calloc(need[i].nby, sizeof(*alts));
			if (!alts)
				return -ENOMEM;
			nalts = givers(w, from, &need[i], alts);
			r = nalts ? closure_add_require(w->out, from, alts, nalts) : 0;
		}
	}
	return r;
}

/* A depth-first walk; @seen is a set of components. */
static bool walk_requires(const struct closure *c, uint32_t from, uint32_t to, uint64_t *seen)
{
	add(seen, from);
	for (size_t i = 0; i < c->nrequires; i++) {
		uint32_t next = c->requires[i].n == 1 ? c->alts[c->requires[i].first] : NOWHERE;

		if (c->requires[i].from != from || next == NOWHERE)
			continue;
		if (next == to || (!has(seen, next) && walk_requires(c, next, to, seen)))
			return true;
	}
	return false;
}

bool closure_requires(const struct closure *c, uint32_t from, uint32_t to)
{
	uint64_t seen[2 * CLOSURE_MAX / 64] = { 0 };

	return from != to && walk_requires(c, from, to, seen);
}

/* --- what several need ---------------------------------------------------------------- */

/* Leave in @set only components that require no other one in it. Two that require each other: the
 * first stays. */
static uint32_t drop_dependants(const struct work *w, uint64_t *set)
{
	uint32_t left = 0;

	for (uint32_t c = (uint32_t)w->ncomps; c-- > 1;) {
		bool dropped = false;

		for (uint32_t other = 1; has(set, c) && other < w->ncomps && !dropped; other++)
			dropped = other != c && has(set, other) && closure_requires(w->out, c, other);
		if (dropped)
			set[c / 64] &= ~((uint64_t)1 << c % 64);
	}
	for (uint32_t c = 1; c < w->ncomps; c++)
		left += has(set, c);
	return left;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "apache+pg"; where that is longer than a name may be, the first one and how many more. */
static int name_shared(const struct work *w, const uint64_t *set, char *out, size_t cap)
{
	_cleanup_free_ const char **names = calloc(w->ncomps, sizeof(*names));
	size_t n = 0, len = 0;

	if (!names)
		return -ENOMEM;
	for (uint32_t c = 1; c < w->ncomps; c++)
		if (has(set, c))
			names[n++] = w->in[c - 1].name;
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n && len < cap; i++)
		len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? "+" : "", names[i]);
	if (len >= cap)
		len = (size_t)snprintf(out, cap, "%.*s+%zu", (int)cap / 2, names[0], n - 1);
	for (unsigned k = 2; closure_find(w->out, out) != UINT32_MAX; k++)
		snprintf(out + MIN(len, cap - 8), 8, ".%u", k);
	return 0;
}

/* The internal component of the users in @set, made where there is none yet. */
static int share(struct work *w, const uint64_t *set, uint32_t *ret)
{
	struct closure *out = w->out;
	size_t words = out->words, nshared = out->ncomps - w->ncomps;
	char name[PLY_SUB_NAME_MAX + 1];
	void *grown;

	for (size_t i = 0; i < nshared; i++)
		if (!memcmp(w->shared + i * words, set, words * sizeof(*set))) {
			*ret = (uint32_t)(w->ncomps + i);
			return 0;
		}
	if (out->ncomps >= 2 * CLOSURE_MAX)
		return -ERANGE;
	grown = reallocarray(w->shared, (nshared + 1) * words, sizeof(*set));
	if (!grown)
		return -ENOMEM;
	w->shared = grown;
	memcpy(w->shared + nshared * words, set, words * sizeof(*set));
	grown = reallocarray(out->comps, out->ncomps + 1, sizeof(*out->comps));
	if (!grown)
		return -ENOMEM;
	out->comps = grown;
	if (name_shared(w, set, name, sizeof(name)) < 0)
		return -ENOMEM;
	out->comps[out->ncomps] = (struct closure_comp){ .name = strdup(name), .internal = true };
	*ret = (uint32_t)out->ncomps++;
	return out->comps[*ret].name ? 0 : -ENOMEM;
}

static int assign_shared(struct work *w)
{
	_cleanup_free_ uint64_t *set = calloc(w->out->words, sizeof(*set));
	int r = 0;

	if (!set)
		return -ENOMEM;
	for (uint32_t p = 0; r == 0 && p < w->npkgs; p++) {
		struct closure_pkg *pkg = &w->out->pkgs[p];
		uint32_t left;

		if (pkg->comp != NOWHERE)
			continue;
		memcpy(set, users(w, p), w->out->words * sizeof(*set));
		left = drop_dependants(w, set);
		if (left == 0)
			continue;
		if (left > 1) {
			pkg->why = WHY_SHARED;
			r = share(w, set, &pkg->comp);
			continue;
		}
		pkg->why = WHY_FOLDED;
		for (uint32_t c = 1; c < w->ncomps; c++)
			if (has(set, c))
				pkg->comp = c;
	}
	return r;
}

/* Its users require an internal component even where they only recommend what is in it. */
static int require_shared(struct work *w)
{
	int r = 0;

	for (uint32_t p = 0; p < w->npkgs && r == 0; p++) {
		const struct closure_pkg *pkg = &w->out->pkgs[p];

		for (uint32_t c = 1; pkg->why == WHY_SHARED && r == 0 && c < w->ncomps; c++) {
			uint32_t alt = pkg->comp;

			if (has(users(w, p), c))
				r = closure_add_require(w->out, c, &alt, 1);
		}
	}
	return r;
}

/* Nothing reaches these. What they need tells where they can live: a component, the last one
 * where they need several, which then requires the others. */
static void assign_orphans(struct work *w)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t p = 0; p < w->npkgs; p++) {
			struct closure_pkg *pkg = &w->out->pkgs[p];
			uint32_t at = pkg->why == WHY_ORPHAN ? pkg->comp : SYSTEM;
			size_t n;
			const struct pkg_need *need = pkgdb_needs(w->db, p, &n);

			if (pkg->comp != NOWHERE && pkg->why != WHY_ORPHAN)
				continue;
			for (size_t i = 0; i < n; i++) {
				uint32_t best = NOWHERE;

				for (uint32_t b = 0; need[i].kind == PKG_DEPENDS && b < need[i].nby; b++) {
					uint32_t comp = w->out->pkgs[need[i].by[b]].comp;

					best = comp < best ? comp : best;
				}
				if (best != NOWHERE && best > at)
					at = best;
			}
			if (pkg->comp != at) {
				pkg->comp = at;
				pkg->why = WHY_ORPHAN;
				changed = true;
			}
		}
	}
}

static int check_system(const struct work *w, struct ply_err *err)
{
	for (uint32_t p = 0; p < w->npkgs; p++) {
		size_t n;
		const struct pkg_need *need = pkgdb_needs(w->db, p, &n);

		for (size_t i = 0; w->out->pkgs[p].comp == SYSTEM && i < n; i++) {
			uint32_t comp = NOWHERE;

			for (uint32_t b = 0; need[i].kind == PKG_DEPENDS && b < need[i].nby; b++)
				comp = w->out->pkgs[need[i].by[b]].comp < comp ?
				       w->out->pkgs[need[i].by[b]].comp : comp;
			if (comp == NOWHERE || comp == SYSTEM)
				continue;
			if (comp < w->ncomps && w->in[comp - 1].ret_needed)
				*w->in[comp - 1].ret_needed = true;
			return ply_fail(err, -EINVAL, PLY_R_PACKAGE_NEEDED,
					"package %s of the operating system needs '%s', which is in component %s: "
					"name %s in a component too, or leave %s to os",
					pkgdb_get(w->db, p)->name, need[i].text, w->out->comps[comp].name,
					pkgdb_get(w->db, p)->name, w->out->comps[comp].name);
		}
	}
	return 0;
}

/* --- order and totals ----------------------------------------------------------------- */

/* What @at requires is placed before it, in order of number. */
static void rank(const struct closure *c, uint32_t at, uint32_t *place, uint32_t *next)
{
	place[at] = NOWHERE - 1;           /* being placed: a circle ends here */
	for (;;) {
		uint32_t first = NOWHERE;

		for (size_t i = 0; i < c->nrequires; i++)
			for (uint32_t a = 0; c->requires[i].from == at && a < c->requires[i].n; a++) {
				uint32_t to = c->alts[c->requires[i].first + a];

				if (place[to] == NOWHERE && to < first)
					first = to;
			}
		if (first == NOWHERE)
			break;
		rank(c, first, place, next);
	}
	place[at] = (*next)++;
}

static int by_component(const void *a, const void *b, void *alts)
{
	const struct closure_require *x = a, *y = b;
	const uint32_t *v = alts;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	for (uint32_t i = 0; i < MIN(x->n, y->n); i++)
		if (v[x->first + i] != v[y->first + i])
			return v[x->first + i] < v[y->first + i] ? -1 : 1;
	return x->n < y->n ? -1 : x->n > y->n;
}

int closure_sort(struct closure *c, uint32_t **ret)
{
	_cleanup_free_ uint32_t *place = malloc((c->ncomps + 1) * sizeof(*place));
	struct closure_comp *sorted = calloc(c->ncomps, sizeof(*sorted));
	size_t words = (c->ncomps + 63) / 64;
	uint64_t *moved = calloc(c->npkgs * words + 1, sizeof(*moved));
	uint32_t next = 0;

	if (!place || !sorted || !moved) {
		free(sorted);
		free(moved);
		return -ENOMEM;
	}
	for (size_t i = 0; i < c->ncomps; i++)
		place[i] = NOWHERE;
	for (uint32_t i = 0; i < c->ncomps; i++)
		if (place[i] == NOWHERE)
			rank(c, i, place, &next);
	for (size_t i = 0; i < c->ncomps; i++)
		sorted[place[i]] = c->comps[i];
	for (uint32_t p = 0; p < c->npkgs; p++) {
		for (uint32_t i = 1; i < c->ncomps && i < 64 * c->words; i++)
			if (has(c->users + (size_t)p * c->words, i))
				add(moved + (size_t)p * words, place[i]);
		c->pkgs[p].comp = place[c->pkgs[p].comp];
	}
	for (size_t i = 0; i < c->nalts; i++)
		c->alts[i] = place[c->alts[i]];
	for (size_t i = 0; i < c->nrequires; i++) {
		c->requires[i].from = place[c->requires[i].from];
		qsort(c->alts + c->requires[i].first, c->requires[i].n, sizeof(*c->alts), in_order);
	}
	if (c->nrequires)
		qsort_r(c->requires, c->nrequires, sizeof(*c->requires), by_component, c->alts);
	free(c->comps);
	c->comps = sorted;
	free(c->users);
	c->users = moved;
	c->words = words;
	if (ret)
		*ret = TAKE_PTR(place);
	return 0;
}

static void count(const struct work *w)
{
	for (uint32_t p = 0; p < w->npkgs; p++) {
		struct closure_comp *comp = &w->out->comps[w->out->pkgs[p].comp];

		if (!is_installed(w, p))
			continue;
		comp->npkgs++;
		comp->bytes += pkgdb_get(w->db, p)->bytes;
	}
}

/* --- input ------------------------------------------------------------------------------- */

static int take_names(struct work *w, const struct closure_input *in, uint32_t comp, struct ply_err *err)
{
	size_t installed = 0;

	for (size_t i = 0; i < in->n; i++) {
		uint32_t p = in->pkgs[i], *named = &w->named[p];

		installed += is_installed(w, p);
		if (*named != NOWHERE && *named != comp)
			return ply_fail(err, -EINVAL, PLY_R_PACKAGE_TWICE,
					"package %s is in component %s and in component %s; name it in one of them",
					pkgdb_get(w->db, p)->name, w->out->comps[*named].name, in->name);
		*named = comp;
	}
	if (in->n && !installed && comp != SYSTEM)
		return ply_fail(err, -EINVAL, PLY_R_COMPONENT_PACKAGES,
				"component %s: no package that it names is installed (%s is removed, "
				"only its configuration is left)",
				in->name, pkgdb_get(w->db, in->pkgs[0])->name);
	return 0;
}

static bool is_system(const struct closure_input *in)
{
	return !strcmp(in->name, "os");
}

/* Components get their numbers, and packages their names. */
static int take_input(struct work *w, const struct closure_input *in, size_t nin, struct ply_err *err)
{
	int r = 0;

	for (size_t i = 0; i < nin; i++)
		if (!is_system(&in[i])) {
			w->in[w->ncomps - 1] = in[i];
			w->out->comps[w->ncomps].name = strdup(in[i].name);
			if (!w->out->comps[w->ncomps].name)
				return ply_fail_nomem(err);
			w->out->ncomps = ++w->ncomps;
		}
	for (uint32_t c = 1; r == 0 && c < w->ncomps; c++)
		r = take_names(w, &w->in[c - 1], c, err);
	for (size_t i = 0; r == 0 && i < nin; i++)
		if (is_system(&in[i]))
			r = take_names(w, &in[i], SYSTEM, err);
	return r;
}

/* The one component that @need can only be met by; NOWHERE: it can be met elsewhere, or by several. */
static uint32_t only_giver(const struct work *w, const struct pkg_need *need)
{
	uint32_t comp = NOWHERE;

	if (need->kind != PKG_DEPENDS)
		return NOWHERE;
	for (uint32_t b = 0; b < need->nby; b++) {
		uint32_t c = w->named[need->by[b]];

		if (c == NOWHERE || c == SYSTEM || (comp != NOWHERE && c != comp))
			return NOWHERE;
		comp = c;
	}
	return comp;
}

static int is_no_document(void *ctx, const char *path, size_t len)
{
	static const char *const dirs[] = { "/usr/share/doc/", "/usr/share/bug/", "/usr/share/lintian/",
					    "/var/lib/dpkg/info/" };

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		size_t n = strlen(dirs[i]);

		/* in it, or a directory on the way to it */
		if (len >= n ? !strncmp(path, dirs[i], n) :
			       !strcmp(path, "/.") || (!strncmp(path, dirs[i], len) && dirs[i][len] == '/'))
			return 0;
	}
	return 1;
}

/*
 * A package that is there for what it needs: it brings nothing but its documentation, or comes from
 * one of Debian's "-defaults" source packages, which only say which version is the usual one (their
 * few files are links, and directories that dpkg's lists do not tell from files).
 */
static bool is_metapackage(const struct work *w, uint32_t pkg)
{
	static const char ending[] = "-defaults";
	const char *source = pkgdb_get(w->db, pkg)->source;
	size_t len = strlen(source), n = sizeof(ending) - 1;

	if (len > n && !strcmp(source + len - n, ending))
		return true;
	return pkgdb_files(w->db, pkg, is_no_document, NULL, NULL) == 0;
}

/* Is @pkg of one source with a package that component @c names, or that came along? */
static bool is_akin(const struct work *w, uint32_t c, uint32_t pkg)
{
	for (uint32_t p = 0; p < w->npkgs; p++)
		if (w->named[p] == c && !strcmp(pkgdb_get(w->db, p)->source, pkgdb_get(w->db, pkg)->source))
			return true;
	return false;
}

/*
 * Metapackages that cannot be without what a component names, though nobody named them (php, when
 * php8.2-cli is named), and packages of one source with those. Left to the operating system they
 * would make it need the component; so they come along.
 */
static void take_dependants(struct work *w)
{
	bool more = true;

	while (more) {
		more = false;
		for (uint32_t p = 0; p < w->npkgs; p++) {
			uint32_t comp = NOWHERE;
			bool several = false;
			size_t n;
			const struct pkg_need *need = pkgdb_needs(w->db, p, &n);

			if (!is_installed(w, p) || w->named[p] != NOWHERE || pkgdb_get(w->db, p)->important)
				continue;
			for (size_t i = 0; i < n; i++) {
				uint32_t c = only_giver(w, &need[i]);

				several |= c != NOWHERE && comp != NOWHERE && c != comp;
				comp = c != NOWHERE ? c : comp;
			}
			if (comp == NOWHERE || several || !(is_metapackage(w, p) || is_akin(w, comp, p)))
				continue;
			w->named[p] = comp;
			w->dependant[p] = true;
			more = true;
		}
	}
}

static int prepare(struct work *w, const struct closure_input *in, size_t nin, struct ply_err *err)
{
	struct closure *out = w->out;
	size_t n = w->npkgs + 1;

	if (nin >= CLOSURE_MAX)
		return ply_fail(err, -ERANGE, PLY_R_LIMIT, "more than %u components", CLOSURE_MAX - 1);
	out->npkgs = w->npkgs;
	out->words = (nin + 1 + 63) / 64;
	out->comps = calloc(nin + 1, sizeof(*out->comps));
	out->pkgs = calloc(n, sizeof(*out->pkgs));
	out->users = calloc(n * out->words, sizeof(*out->users));
	w->in = calloc(nin + 1, sizeof(*w->in));
	w->named = malloc(n * sizeof(*w->named));
	w->anchor = malloc(n * sizeof(*w->anchor));
	w->system = calloc(n, sizeof(*w->system));
	w->dependant = calloc(n, sizeof(*w->dependant));
	w->seen = calloc(n, sizeof(*w->seen));
	w->queue.v = calloc(n, sizeof(*w->queue.v));
	if (!out->comps || !out->pkgs || !out->users || !w->in || !w->named || !w->anchor ||
	    !w->system || !w->dependant || !w->seen || !w->queue.v)
		return ply_fail_nomem(err);
	for (uint32_t p = 0; p < n; p++) {
		w->named[p] = w->anchor[p] = NOWHERE;
		out->pkgs[p] = (struct closure_pkg){ .comp = NOWHERE, .via = PKG_NONE };
	}
	out->comps[0].name = strdup("os");
	if (!out->comps[0].name)
		return ply_fail_nomem(err);
	out->ncomps = w->ncomps = 1;
	return take_input(w, in, nin, err);
}

static int compute(struct work *w)
{
	int r;

	take_dependants(w);
	r = find_system(w);
	if (r == 0)
		r = find_anchors(w);
	if (r < 0)
		return r;
	find_users(w);
	r = find_requires(w);
	if (r == 0)
		r = assign_shared(w);
	if (r < 0)
		return r;
	for (uint32_t p = 0; p < w->npkgs; p++)
		if (w->out->pkgs[p].comp == NOWHERE && !is_installed(w, p))
			w->out->pkgs[p].comp = SYSTEM;
	assign_orphans(w);
	r = find_requires(w);
	return r < 0 ? r : require_shared(w);
}

int closure_compute(const struct pkgdb *db, const struct closure_input *in, size_t nin,
		    struct closure *ret, struct ply_err *err)
{
	struct closure out = { 0 };
	struct work w = { .db = db, .out = &out, .npkgs = db ? pkgdb_count(db) : 0 };
	int r = prepare(&w, in, nin, err);

	if (r == 0) {
		r = compute(&w);
		if (r == -ERANGE)
			ply_fail(err, r, PLY_R_LIMIT, "more than %u internal components", CLOSURE_MAX);
		else if (r < 0)
			ply_fail_nomem(err);
	}
	if (r == 0)
		r = check_system(&w, err);
	if (r == 0 && closure_sort(&out, NULL) < 0)
		r = ply_fail_nomem(err);
	if (r == 0)
		count(&w);
	free(w.in);
	free(w.shared);
	free(w.named);
	free(w.anchor);
	free(w.system);
	free(w.dependant);
	free(w.seen);
	free(w.queue.v);
	free(w.pending[0]);
	free(w.pending[1]);
	if (r < 0)
		closure_done(&out);
	else
		*ret = out;
	return r;
}

void closure_done(struct closure *c)
{
	for (size_t i = 0; c->comps && i < c->ncomps; i++)
		free(c->comps[i].name);
	free(c->comps);
	free(c->pkgs);
	free(c->requires);
	free(c->alts);
	free(c->users);
	*c = (struct closure){ 0 };
}

uint32_t closure_find(const struct closure *c, const char *name)
{
	for (uint32_t i = 0; i < c->ncomps; i++)
		if (!strcmp(c->comps[i].name, name))
			return i;
	return UINT32_MAX;
}

/* --- for people -------------------------------------------------------------------------- */

static int explain_users(const struct closure *c, uint32_t pkg, struct buf *out)
{
	const uint64_t *set = c->users + (size_t)pkg * c->words;
	bool any = false;
	int r = 0;

	for (uint32_t i = 1; r == 0 && i < c->ncomps; i++)
		if (has(set, i)) {
			r = buf_printf(out, "%s%s", any ? ", " : "", c->comps[i].name);
			any = true;
		}
	return r;
}

static int explain_need(const struct closure *c, const struct pkgdb *db, uint32_t pkg, struct buf *out)
{
	const struct closure_pkg *p = &c->pkgs[pkg];

	if (p->via == PKG_NONE || !p->need)
		return 0;
	return buf_printf(out, "; %s %s '%s'", pkgdb_get(db, p->via)->name,
			  p->need->kind == PKG_DEPENDS ? "depends on" : "recommends", p->need->text);
}

int closure_explain(const struct closure *c, const struct pkgdb *db, uint32_t pkg, struct buf *out)
{
	const struct closure_pkg *p = &c->pkgs[pkg];
	const struct pkg *info = pkgdb_get(db, pkg);
	const char *comp = c->comps[p->comp].name;
	int r = 0;

	switch (p->why) {
	case WHY_LEFT:
		return buf_printf(out, "removed, only its configuration is left");
	case WHY_NAMED:
		return buf_printf(out, "named by %s", comp);
	case WHY_WANTED:
		return buf_printf(out, "%s", info->important ? "essential, required or important" :
				  c->no_marks ? "no other package needs it" : "installed by hand");
	case WHY_ORPHAN:
		return buf_printf(out, "no package needs it%s", p->comp == SYSTEM ? "" : "; it needs this component");
	case WHY_DEPENDANT:
		return buf_printf(out, "cannot be without what %s names", comp);
	case WHY_SOURCE:
		r = buf_printf(out, "from the same source package (%s) as a package that %s names",
			       info->source, comp);
		break;
	case WHY_NEEDED:
		r = buf_printf(out, "needed by %s", comp);
		break;
	case WHY_FOLDED:
		r = buf_printf(out, "needed by ");
		if (r == 0)
			r = explain_users(c, pkg, out);
		if (r == 0)
			r = buf_printf(out, ", which all stand on %s", comp);
		break;
	case WHY_SHARED:
		r = buf_printf(out, "needed by ");
		if (r == 0)
			r = explain_users(c, pkg, out);
		if (r == 0)
			r = buf_printf(out, ", none of which requires the other");
		break;
	}
	return r < 0 ? r : explain_need(c, db, pkg, out);
}
