/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The digest of a plan: see plan.h. FORMAT.md, "State of a layout", says what goes into it. */
#include <errno.h>

#include "base/util.h"
#include "codec/codec.h"
#include "layout/plan.h"

static void add(struct sha256 *h, uint64_t v)
{
	le64 x = le64_put(v);

	sha256_add(h, &x, sizeof(x));
}

static void add_batches(struct sha256 *h, const struct plan_batch *v, size_t n)
{
	add(h, n);
	for (size_t i = 0; i < n; i++) {
		add(h, v[i].at);
		add(h, v[i].end);
		add(h, (uint64_t)v[i].part << 32 | v[i].n);
		add(h, v[i].big);
	}
}

static void add_sub(struct sha256 *h, const struct plan_sub *s)
{
	add(h, s->nparts);
	for (size_t i = 0; i < s->nparts; i++) {
		add(h, s->parts[i].first);
		add(h, s->parts[i].end);
		add(h, s->parts[i].dir);
	}
	add_batches(h, s->batches, s->nbatches);
}

int plan_digest(const struct plan *p, uint8_t ret[32])
{
	struct sha256 *h = sha256_new();

	if (!h)
		return -ENOMEM;
	add(h, p->ndirs);
	for (size_t i = 0; i < p->ndirs; i++) {
		add(h, p->dirs[i].ino);
		add(h, (uint64_t)p->dirs[i].parent << 32 | p->dirs[i].name_len);
		sha256_add(h, p->dirs[i].name, p->dirs[i].name_len);
	}
	add(h, p->nsubs);
	for (uint32_t i = 0; i < p->nsubs; i++)
		add_sub(h, &p->subs[i]);
	add(h, p->nbigs);
	for (size_t i = 0; i < p->nbigs; i++) {
		add(h, p->bigs[i].at);
		add(h, (uint64_t)p->bigs[i].sub << 32 | p->bigs[i].dir);
	}
	add(h, p->nlinks);
	for (size_t i = 0; i < p->nlinks; i++) {
		add(h, p->links[i].ino);
		add(h, p->links[i].at);
		add(h, (uint64_t)p->links[i].sub << 32 | p->links[i].dir);
	}
	add_batches(h, p->link_batches, p->nlink_batches);
	sha256_end(h, ret);
	sha256_free(h);
	return 0;
}
