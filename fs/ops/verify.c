/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verifying an image: superblocks, the catalogs of a generation and its ancestors, each segment once,
 * then with `deep` the tables of the sub-images and the join tables.
 *
 * ply_image_open() stops at the first damage; here it is all that matters. So the parts are opened
 * one by one, and what cannot be opened is a finding. Tables whose bytes are damaged are not compared
 * with others: what follows from damage is no news.
 *
 * Locking: none; the pool's jobs touch only what is theirs (findings.h).
 */
#include "ops/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ops/verify_internal.h"
#include "plyfs/image.h"

/* Jobs under way. Constant, so that what is found comes in the same order for any number of threads. */
#define JOBS 64

int verify_flush(struct verify *v, struct ply_err *err)
{
	return findings_report(&v->list, v->fn, v->ctx, &v->result.findings, err);
}

static void add_error(struct verify *v, const char *sub, uint64_t off, uint64_t len,
		      const struct ply_err *e)
{
	findings_add(&v->list, e->reason, sub, off, len, "%s", e->msg);
}

/* --- superblocks and catalogs -------------------------------------------------------- */

/* The slot to use, or -1: none is valid (told). */
static int read_supers(struct verify *v, struct super s[PLY_SUPER_SLOTS])
{
	uint8_t raw[PLY_SUPER_SLOTS][PLY_SUPER_SIZE];
	bool valid[PLY_SUPER_SLOTS] = { false };
	struct ply_err e;
	int best = -1;

	for (uint32_t i = 0; i < PLY_SUPER_SLOTS; i++) {
		uint64_t off = (uint64_t)i * PLY_SUPER_SIZE;
		int r = off + PLY_SUPER_SIZE <= v->io->size ?
			io_pread(v->io, raw[i], PLY_SUPER_SIZE, off) : -EIO;

		if (r < 0 && off + PLY_SUPER_SIZE > v->io->size)
			ply_fail(&e, -EUCLEAN, i ? PLY_R_IMAGE_TRUNCATED : PLY_R_IMAGE_NOT_PLYFS,
				 "superblock %u: the file ends before it", i);
		else if (r < 0)
			ply_fail(&e, r, PLY_R_IMAGE_IO, "superblock %u: cannot be read: %s", i, strerror(-r));
		else
			r = super_decode(raw[i], i, v->io->size, &s[i], &e);
		valid[i] = r == 0;
		if (r < 0)
			add_error(v, NULL, off, PLY_SUPER_SIZE, &e);
		else if (best < 0 || s[i].generation > s[best].generation)
			best = (int)i;
		v->result.checked += PLY_SUPER_SIZE;
	}
	if (best < 0)
		return -1;
	if (!valid[!best])
		return best;
	if (s[0].generation != s[1].generation)
		findings_add(&v->list, PLY_R_SUPER_SLOT_BAD, NULL, (uint64_t)!best * PLY_SUPER_SIZE,
			     PLY_SUPER_SIZE, "superblock %d holds generation %llu, superblock %d generation "
			     "%llu: a commit was interrupted", !best, (unsigned long long)s[!best].generation,
			     best, (unsigned long long)s[best].generation);
	else if (memcmp(&s[0].uuid, &s[1].uuid, sizeof(s[0].uuid)) != 0 ||
		 s[0].catalog_off != s[1].catalog_off || s[0].catalog_len != s[1].catalog_len ||
		 s[0].committed_end != s[1].committed_end ||
		 memcmp(s[0].catalog_digest, s[1].catalog_digest, 32) != 0)
		findings_add(&v->list, PLY_R_SUPER_FIELD, NULL, 0, 2 * PLY_SUPER_SIZE,
			     "the superblocks hold one generation and differ");
	return best;
}

static int cover(struct verify *v, uint64_t off, uint64_t len)
{
	if (array_grow(&v->covered, &v->covered_cap, v->ncovered + 1, sizeof(*v->covered)) < 0)
		return -ENOMEM;
	v->covered[v->ncovered++] = (struct extent_map){ off, off + len };
	return 0;
}

static bool is_covered(const struct verify *v, uint64_t off)
{
	for (size_t i = 0; i < v->ncovered; i++)
		if (v->covered[i].off == off)
			return true;
	return false;
}

/* The catalog as a segment: its padding and page checksums, which opening it does not look at. */
static int check_catalog_segment(struct verify *v, const struct catalog *c, struct ply_err *err)
{
	struct meta *m;
	struct ply_err e;
	bool damaged;
	int r;

	if (is_covered(v, c->generation.catalog_off))
		return 0;
	if (cover(v, c->generation.catalog_off, c->generation.catalog_len) < 0)
		return ply_fail_nomem(err);
	r = meta_open(v->io, c->generation.catalog_off, c->generation.catalog_len, c->generation.digest, &m,
		      &e);
	if (r < 0) {
		add_error(v, NULL, c->generation.catalog_off, c->generation.catalog_len, &e);
		return 0;
	}
	r = verify_segment(v, NULL, c->generation.catalog_off, m, NULL, &damaged, err);
	meta_close(m);
	return r;
}

/* --- one generation ------------------------------------------------------------------- */

/* Sub-image @i; *ret_sub is set where its tables can be trusted. */
static int check_sub(struct verify *v, const struct catalog *c, uint32_t i, struct sub **ret_sub,
		     struct ply_err *err)
{
	const struct ply_sub_info *info = &c->subs[i].info;
	const struct catalog_segment *seg = &c->segments[c->subs[i].seg_first];
	bool known = is_covered(v, seg->off), damaged = false;
	struct ply_err e;
	struct sub *s;
	int r;

	r = sub_open(v->io, seg->off, seg->len, seg->digest, info->number, &s, &e);
	if (r < 0) {
		if (!known)
			add_error(v, info->name, seg->off, seg->len, &e);
		return known || cover(v, seg->off, seg->len) == 0 ? 0 : ply_fail_nomem(err);
	}
	if (!known) {
		if (cover(v, seg->off, seg->len) < 0)
			r = ply_fail_nomem(err);
		else
			r = verify_segment(v, info->name, seg->off, sub_meta(s), s, &damaged, err);
	}
	if (r == 0 && (sub_limits(s)->nodes != info->nodes ||
		       memcmp(meta_segment(sub_meta(s))->uuid, info->uuid, 16) != 0))
		findings_add(&v->list, PLY_R_CATALOG_FIELD, info->name, seg->off, 0,
			     "its nodes or its UUID are not those that the catalog has");
	if (r == 0 && !known && !damaged && v->o->deep)
		r = verify_tables(v, info, s, err);
	if (r == 0 && !damaged)
		*ret_sub = s;
	else
		sub_close(s);
	return r;
}

static int check_join(struct verify *v, const struct catalog *c, struct sub *const *subs,
		      struct selections *sel, struct ply_err *err)
{
	const struct catalog_segment *seg;
	bool known, damaged = false;
	struct ply_err e;
	struct join *j;
	int r;

	if (!c->join_count) {
		if (c->nsubs > 1)
			findings_add(&v->list, PLY_R_JOIN_FIELD, NULL, 0, 0,
				     "generation %llu has several sub-images and no join table",
				     (unsigned long long)c->generation.generation);
		return v->o->deep ? verify_shared_files(v, c, subs, NULL, sel, NULL, err) : 0;
	}
	seg = &c->segments[c->join_first];
	known = is_covered(v, seg->off);
	if (!known && cover(v, seg->off, seg->len) < 0)
		return ply_fail_nomem(err);
	r = join_open(v->io, seg->off, seg->len, seg->digest, &j, &e);
	if (r < 0) {   /* also where it is covered: as something else */
		add_error(v, NULL, seg->off, seg->len, &e);
		return 0;
	}
	if (!known)
		r = verify_segment(v, NULL, seg->off, join_meta(j), NULL, &damaged, err);
	if (r == 0 && !damaged && v->o->deep)
		r = verify_join(v, c, subs, j, sel, err);
	join_close(j);
	return r;
}

/* Each sub-image has a segment of its own. */
static void check_shared(struct verify *v, const struct catalog *c)
{
	for (uint32_t i = 0; i < c->nsubs; i++)
		for (uint32_t k = 0; k < i; k++)
			if (c->segments[c->subs[i].seg_first].off == c->segments[c->subs[k].seg_first].off)
				findings_add(&v->list, PLY_R_CATALOG_FIELD, c->subs[i].info.name, 0, 0,
					     "its segment is that of sub-image %s, too",
					     c->subs[k].info.name);
}

static int check_generation(struct verify *v, const struct catalog *c, struct ply_err *err)
{
	struct sub **subs = calloc(c->nsubs, sizeof(struct sub *));
	struct selections *sel = NULL;
	int r = subs ? check_catalog_segment(v, c, err) : ply_fail_nomem(err);

	if (r == 0)
		check_shared(v, c);
	for (uint32_t i = 0; r == 0 && i < c->nsubs; i++)
		r = check_sub(v, c, i, &subs[i], err);
	if (r == 0)
		sel = selections_new(c, subs);
	if (r == 0)
		r = sel ? check_join(v, c, subs, sel, err) : ply_fail_nomem(err);
	selections_free(sel);
	for (uint32_t i = 0; subs && i < c->nsubs; i++)
		sub_close(subs[i]);
	free(subs);
	return r < 0 ? r : verify_flush(v, err);
}

/* --- the chain of generations ----------------------------------------------------------- */

/* The catalog of @c's parent, consumed; NULL: none, or damaged (told). */
static struct catalog *go_up(struct verify *v, struct catalog *c)
{
	struct catalog *up = NULL;
	struct ply_err e;

	if (c->generation.parent) {
		if (catalog_open(v->io, c->parent_off, c->parent_len, c->parent_digest, &up, &e) < 0)
			add_error(v, NULL, c->parent_off, c->parent_len, &e);
		else if (up->generation.generation != c->generation.parent) {
			findings_add(&v->list, PLY_R_CATALOG_FIELD, NULL, c->parent_off, c->parent_len,
				     "generation %llu names another parent than it has",
				     (unsigned long long)c->generation.generation);
			up = catalog_close(up);
		}
	}
	catalog_close(c);
	return up;
}

/* The catalog of @generation (0: the newest); NULL where there is none (told). */
static struct catalog *find(struct verify *v, const struct super *s, uint64_t generation)
{
	struct catalog *c;
	struct ply_err e;

	if (catalog_open(v->io, s->catalog_off, s->catalog_len, s->catalog_digest, &c, &e) < 0) {
		add_error(v, NULL, s->catalog_off, s->catalog_len, &e);
		return NULL;
	}
	if (c->generation.generation != s->generation || memcmp(c->uuid, s->uuid, 16) != 0)
		findings_add(&v->list, PLY_R_CATALOG_FIELD, NULL, s->catalog_off, s->catalog_len,
			     "the catalog belongs to another image or generation than the superblock");
	while (c && generation && c->generation.generation > generation)
		c = go_up(v, c);
	if (c && generation && c->generation.generation != generation)
		c = catalog_close(c);
	return c;
}

static int by_off(const void *a, const void *b)
{
	const struct extent_map *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Segments may not overlap; what lies between them belongs to other generations, or nobody. */
static void check_overlaps(struct verify *v, uint64_t end)
{
	uint64_t at = PLY_SUPER_SLOTS * PLY_SUPER_SIZE;

	if (v->ncovered)
		qsort(v->covered, v->ncovered, sizeof(*v->covered), by_off);
	for (size_t i = 0; i < v->ncovered; i++) {
		const struct extent_map *m = &v->covered[i];

		if (m->off < at || m->end > end)
			findings_add(&v->list, PLY_R_CATALOG_FIELD, NULL, m->off, m->end - m->off,
				     "the segment at %llu overlaps another one, or the committed end",
				     (unsigned long long)m->off);
		else
			v->result.unreferenced += m->off - at;
		at = MAX(at, m->end);
	}
	v->result.unreferenced += end > at ? end - at : 0;
	v->result.trailing = v->io->size - end;
}

static int check_digest(struct verify *v, const struct catalog *c)
{
	char is[65], wanted[65];

	if (!v->o->digest || memcmp(c->generation.digest, v->o->digest, 32) == 0)
		return 0;
	hex_encode(c->generation.digest, 32, is);
	hex_encode(v->o->digest, 32, wanted);
	findings_add(&v->list, PLY_R_DIGEST_MISMATCH, NULL, 0, 0,
		     "generation %llu has the digest sha256:%s, not sha256:%s",
		     (unsigned long long)c->generation.generation, is, wanted);
	return 0;
}

static int check_all(struct verify *v, uint64_t generation, struct ply_err *err)
{
	struct super s[PLY_SUPER_SLOTS];
	int best = read_supers(v, s), r = 0;
	struct catalog *c;

	if (best < 0)
		return 0;
	if (generation > s[best].generation)
		return ply_fail(err, -ENOENT, PLY_R_GENERATION_UNKNOWN,
				"there is no generation %llu; the newest is %llu",
				(unsigned long long)generation, (unsigned long long)s[best].generation);
	c = find(v, &s[best], generation);
	if (!c && !v->list.n)
		return ply_fail(err, -ENOENT, PLY_R_GENERATION_UNKNOWN, "there is no generation %llu",
				(unsigned long long)generation);
	if (c) {
		v->result.generation = c->generation.generation;
		memcpy(v->result.uuid, c->uuid, 16);
		memcpy(v->result.digest, c->generation.digest, 32);
		check_digest(v, c);
	}
	while (r == 0 && c) {
		r = check_generation(v, c, err);
		c = r == 0 ? go_up(v, c) : catalog_close(c);
	}
	if (r == 0 && v->result.generation)
		check_overlaps(v, s[best].committed_end);
	return r;
}

int verify_io(struct io *io, uint64_t generation, const struct verify_options *o, finding_fn fn,
	      void *ctx, struct verify_result *ret, struct ply_err *err)
{
	struct verify v = { .o = o, .io = io, .fn = fn, .ctx = ctx };
	int r;

	if (pool_new(o->threads ? o->threads : ncpus(), JOBS, &v.pool) < 0)
		return ply_fail_nomem(err);
	r = ordered_init(&v.jobs, v.pool, JOBS);
	r = r < 0 ? ply_fail_nomem(err) : check_all(&v, generation, err);
	ordered_done(&v.jobs);
	if (r == 0)
		r = verify_flush(&v, err);
	findings_done(&v.list);
	free(v.covered);
	pool_free(v.pool);
	if (r == 0)
		*ret = v.result;
	return r;
}

int verify_image(const char *path, const struct verify_options *o, finding_fn fn, void *ctx,
		 struct verify_result *ret, struct ply_err *err)
{
	uint64_t generation;
	struct io *io;
	int r;

	r = image_io_open(path, &io, &generation, err);
	if (r < 0)
		return r;
	r = verify_io(io, generation, o, fn, ctx, ret, err);
	if (r < 0)
		ply_err_prefix(err, "%s", path);
	io_close(io);
	return r;
}
