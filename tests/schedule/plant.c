/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See plant.h. The linker leads the engine's call of plan_new() here (--wrap). */
#include "schedule/plant.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "layout/plan.h"

const char *const plant_names[PLANT_KINDS] = {
	[PLANT_NOTHING] = "nothing", [PLANT_QUEUE] = "queue", [PLANT_OTHER] = "other", [PLANT_LINK] = "link",
};

char planted[4096];
static enum plant kind;
static uint64_t random_state;

void plant(enum plant new_kind, uint64_t seed)
{
	kind = new_kind;
	random_state = seed;
}

/* Of @n things, each as likely as another. */
static bool is_chosen(size_t n)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return (x ^ x >> 31) % n == 0;
}

static void *grown(void *array, size_t n, size_t size)
{
	void *p = realloc(array, (n + 1) * size);

	if (!p)
		abort();
	return p;
}

static void add_batch(struct plan_batch **batches, size_t *n, size_t *cap, const struct plan_batch *b)
{
	size_t at = 0;

	*batches = grown(*batches, *n, sizeof(**batches));
	for (size_t i = 1; i <= *n; i++)
		at = is_chosen(i + 1) ? i : at;
	memmove(*batches + at + 1, *batches + at, (*n - at) * sizeof(**batches));
	(*batches)[at] = *b;
	*cap = ++*n;
}

/* --- rows ------------------------------------------------------------------------------ */

struct row {
	struct where w;
	uint32_t part;
	struct ply_entry e;
};

static bool is_linked(const struct plan *p, const struct where *w)
{
	for (size_t i = 0; i < p->nlinks; i++)
		if (p->links[i].sub == w->sub && p->links[i].at == w->at)
			return true;
	return false;
}

/* The next row that is laid out and is no directory; false: there is none. Begin with ret->w.at == WHERE_DIR. */
static bool next_row(const struct plan *p, struct row *r)
{
	bool first = r->w.at == WHERE_DIR;

	if (first)
		r->w.sub = r->part = 0;
	for (; r->w.sub < p->nsubs; r->w.sub++, r->part = 0) {
		const struct plan_sub *ps = &p->subs[r->w.sub];

		for (; r->part < ps->nparts; r->part++) {
			const struct plan_part *part = &ps->parts[r->part];
			uint64_t at = r->w.at == WHERE_DIR ? part->first : r->w.at + 1;

			for (; at < part->end; at++) {
				if (sub_entry(ps->sub, at, &r->e, NULL) < 0 || r->e.type == S_IFDIR >> 12)
					continue;
				r->w.at = at;
				r->w.dir = part->dir;
				return true;
			}
			r->w.at = WHERE_DIR;
		}
	}
	return false;
}

static bool has_name(const struct ply_entry *a, const struct ply_entry *b)
{
	return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

static void add_row(struct plan *p, const struct row *r)
{
	struct plan_sub *ps = &p->subs[r->w.sub];
	const struct plan_batch b = { .at = r->w.at, .part = r->part, .n = 1 };

	add_batch(&ps->batches, &ps->nbatches, &ps->batches_cap, &b);
	plan_path(p, &r->w, planted, sizeof(planted));
}

static void plant_queue(struct plan *p)
{
	struct row r = { .w.at = WHERE_DIR }, chosen = { 0 };
	size_t n = 0;

	while (next_row(p, &r))
		if (!is_linked(p, &r.w) && !plan_find_big(p, r.w.sub, r.w.at) && is_chosen(++n))
			chosen = r;
	if (n)
		add_row(p, &chosen);
}

/* A row of another sub-image but os, which has been there for long, with the name of @r. */
static bool find_namesake(const struct plan *p, const struct row *r, struct row *ret)
{
	struct row other = { .w.at = WHERE_DIR };

	while (next_row(p, &other))
		if (other.w.sub && other.w.sub != r->w.sub && has_name(&other.e, &r->e) &&
		    other.e.type == S_IFREG >> 12 && !is_linked(p, &other.w) &&
		    !plan_find_big(p, other.w.sub, other.w.at)) {
			*ret = other;
			return true;
		}
	return false;
}

static void plant_other(struct plan *p)
{
	struct row r = { .w.at = WHERE_DIR }, other, chosen = { 0 };
	struct plan_sub *ps;
	size_t n = 0;

	while (next_row(p, &r))
		if (r.w.sub && !is_linked(p, &r.w) && find_namesake(p, &r, &other) && is_chosen(++n)) {
			chosen = other;
			chosen.w.dir = r.w.dir;
		}
	if (!n)
		return;
	ps = &p->subs[chosen.w.sub];
	ps->parts = grown(ps->parts, ps->nparts, sizeof(*ps->parts));
	chosen.part = (uint32_t)ps->nparts++;
	ps->parts_cap = ps->nparts;
	ps->parts[chosen.part] = (struct plan_part){ .first = chosen.w.at, .end = chosen.w.at + 1,
						     .dir = chosen.w.dir };
	add_row(p, &chosen);
}

static void plant_link(struct plan *p)
{
	size_t n = 0, chosen = 0;
	struct plan_batch b;

	for (size_t i = 1; i < p->nlinks; i++)
		if (p->links[i].ino == p->links[i - 1].ino && is_chosen(++n))
			chosen = i;
	if (!n)
		return;
	b = (struct plan_batch){ .at = chosen, .end = chosen + 1 };
	add_batch(&p->link_batches, &p->nlink_batches, &p->link_batches_cap, &b);
	plan_path(p, &(struct where){ .at = p->links[chosen].at, .dir = p->links[chosen].dir,
				      .sub = p->links[chosen].sub }, planted, sizeof(planted));
}

int __real_plan_new(struct ply_view *view, uint64_t block, const atomic_bool *cancel, struct plan **ret,
		    struct ply_err *err);
int __wrap_plan_new(struct ply_view *view, uint64_t block, const atomic_bool *cancel, struct plan **ret,
		    struct ply_err *err);
int __wrap_plan_new(struct ply_view *view, uint64_t block, const atomic_bool *cancel, struct plan **ret,
		    struct ply_err *err)
{
	int r = __real_plan_new(view, block, cancel, ret, err);

	planted[0] = '\0';
	if (r == 0 && kind == PLANT_QUEUE)
		plant_queue(*ret);
	else if (r == 0 && kind == PLANT_OTHER)
		plant_other(*ret);
	else if (r == 0 && kind == PLANT_LINK)
		plant_link(*ret);
	return r;
}
