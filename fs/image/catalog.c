/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The catalog: a segment of its own kind. It is read whole at open (tens of
 * kilobytes), every section against its SHA-256, so that the 32 bytes in the
 * superblock vouch for all of it.
 */
#include "image/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define BAD(...) ply_fail(err, -EUCLEAN, PLY_R_CATALOG_FIELD, __VA_ARGS__)

struct reader {
	struct meta *meta;
	const struct section *head, *subs, *segments, *relations, *strings, *mounts, *blobs;
	uint16_t *by_number;       /* sub-image number -> place in c->subs + 1 */
	uint64_t copied;           /* bytes of STRINGS that were copied so far */
	struct catalog *c;
};

/* @len bytes more are copied. Rows may share bytes of STRINGS: a few of them named by many rows must not
 * become more memory than a catalog has. */
static int account(struct reader *rd, uint32_t len, struct ply_err *err)
{
	rd->copied += len;
	if (rd->copied > PLY_CATALOG_MAX)
		return BAD("catalog: the strings of its rows have more than %u MiB", PLY_CATALOG_MAX >> 20);
	return 0;
}

/* A string of the catalog as C string; text for people, so no NUL inside. */
static int string(struct reader *rd, struct ply_disk_string s, const char **ret, struct ply_err *err)
{
	uint32_t off = le32_get(s.off), len = le32_get(s.len);
	struct catalog *c = rd->c;
	const void *p;
	char *copy;
	int r;

	r = meta_get(rd->meta, rd->strings, off, len, &p, err);
	if (r == 0)
		r = account(rd, len, err);
	if (r < 0)
		return r;
	if (memchr(p, '\0', len))
		return BAD("catalog: a string with a NUL");
	if (array_grow(&c->strings, &c->strings_cap, c->nstrings + 1, sizeof(*c->strings)) < 0)
		return ply_fail_nomem(err);
	copy = strndup(p, len);
	if (!copy)
		return ply_fail_nomem(err);
	c->strings[c->nstrings++] = copy;
	*ret = copy;
	return 0;
}

static int read_head(struct reader *rd, struct ply_err *err)
{
	struct ply_disk_catalog_head d;
	struct catalog *c = rd->c;
	const void *p;
	int r;

	if (rd->head->count != 1)
		return BAD("catalog: it has %llu heads", (unsigned long long)rd->head->count);
	r = meta_get(rd->meta, rd->head, 0, sizeof(d), &p, err);
	if (r < 0)
		return r;
	memcpy(&d, p, sizeof(d));
	memcpy(c->uuid, d.uuid, sizeof(c->uuid));
	c->generation.generation = le64_get(d.generation);
	c->generation.parent = le64_get(d.parent_generation);
	c->generation.time_sec = (int64_t)le64_get(d.time_sec);
	c->generation.time_nsec = le32_get(d.time_nsec);
	c->parent_off = le64_get(d.parent_off);
	c->parent_len = le64_get(d.parent_len);
	memcpy(c->parent_digest, d.parent_digest, sizeof(c->parent_digest));
	c->next_number = le32_get(d.next_number);
	c->join_first = le32_get(d.join_first);
	c->join_count = le32_get(d.join_count);
	if (!c->generation.generation || c->generation.parent >= c->generation.generation ||
	    c->generation.time_nsec >= 1000000000 || c->next_number > PLY_NUMBER_MAX + 1)
		return BAD("catalog: generation, time or numbers are impossible");
	for (size_t i = 0; i < sizeof(d.zero); i++)
		if (d.zero[i])
			return BAD("catalog: reserved bytes are not zero");
	r = string(rd, d.message, &c->generation.message, err);
	return r < 0 ? r : string(rd, d.tool, &c->generation.tool, err);
}

static int read_segments(struct reader *rd, uint64_t image_size, struct ply_err *err)
{
	struct catalog *c = rd->c;
	uint64_t n = rd->segments->count;

	c->segments = calloc(n + 1, sizeof(*c->segments));
	if (!c->segments)
		return ply_fail_nomem(err);
	for (uint64_t i = 0; i < n; i++) {
		struct catalog_segment *s = &c->segments[i];
		struct ply_disk_segment_ref d;
		const void *p;
		int r = meta_get(rd->meta, rd->segments, i * sizeof(d), sizeof(d), &p, err);

		if (r < 0)
			return r;
		memcpy(&d, p, sizeof(d));
		s->kind = le32_get(d.kind);
		s->off = le64_get(d.off);
		s->len = le64_get(d.len);
		memcpy(s->digest, d.digest, sizeof(s->digest));
		if (le32_get(d.flags) || le64_get(d.zero))
			return ply_fail(err, -EOPNOTSUPP, PLY_R_CATALOG_FIELD,
					"catalog: segment %llu lies elsewhere; use a newer plyfs",
					(unsigned long long)i);
		if (s->off % PLY_ALIGN || s->len % PLY_ALIGN || s->off > image_size ||
		    s->len > image_size - s->off || s->off < PLY_SUPER_SLOTS * PLY_SUPER_SIZE)
			return BAD("catalog: segment %llu lies outside the image", (unsigned long long)i);
		c->nsegments++;
	}
	if (c->join_first > n || c->join_count > n - c->join_first || c->join_count > 1)
		return BAD("catalog: the join table's segments do not exist");
	if (c->join_count && c->segments[c->join_first].kind != PLY_SEG_JOIN)
		return BAD("catalog: the join table's segment is of another kind");
	return 0;
}

static int by_rank(const void *a, const void *b)
{
	const struct catalog_sub *x = a, *y = b;

	return x->info.rank < y->info.rank ? -1 : x->info.rank > y->info.rank;
}

static int read_sub(struct reader *rd, uint64_t i, struct ply_err *err)
{
	struct catalog *c = rd->c;
	struct catalog_sub *s = &c->subs[i];
	struct ply_disk_sub d;
	const void *p;
	int r;

	r = meta_get(rd->meta, rd->subs, i * sizeof(d), sizeof(d), &p, err);
	if (r < 0)
		return r;
	memcpy(&d, p, sizeof(d));
	s->info.number = le32_get(d.number);
	s->info.rank = le32_get(d.rank);
	s->info.flags = le32_get(d.flags);
	memcpy(s->info.uuid, d.uuid, sizeof(s->info.uuid));
	s->info.nodes = le64_get(d.nodes);
	s->info.bytes = le64_get(d.bytes);
	s->seg_first = le32_get(d.seg_first);
	s->seg_count = le32_get(d.seg_count);
	if (s->info.number >= c->next_number || s->info.number > PLY_NUMBER_MAX ||
	    (i && s->info.number <= s[-1].info.number))
		return BAD("catalog: sub-image number %u is out of order", s->info.number);
	if (s->info.flags & ~(PLY_SUB_OS | PLY_SUB_INTERNAL | PLY_SUB_OVERLAY) || le32_get(d.zero) || le64_get(d.zero2))
		return BAD("catalog: sub-image %u has unknown flags", s->info.number);
	if (s->seg_first > c->nsegments || s->seg_count > c->nsegments - s->seg_first ||
	    s->seg_count != 1)
		return BAD("catalog: sub-image %u has no segment of its own", s->info.number);
	if (c->segments[s->seg_first].kind != PLY_SEG_BASE)
		return BAD("catalog: sub-image %u refers to a segment of another kind", s->info.number);
	if (!!(s->info.flags & PLY_SUB_OS) != (s->info.number == 0) ||
	    (s->info.number == 0) != (s->info.rank == 0))
		return BAD("catalog: os is not sub-image 0 of rank 0");
	memcpy(s->info.digest, c->segments[s->seg_first].digest, sizeof(s->info.digest));
	s->info.stored = c->segments[s->seg_first].len;
	r = string(rd, d.name, &s->info.name, err);
	if (r == 0)
		r = string(rd, d.arch, &s->info.arch, err);
	if (r == 0)
		r = string(rd, d.distro, &s->info.distro, err);
	if (r == 0)
		r = string(rd, d.summary, &s->info.summary, err);
	if (r == 0 && !sub_name_ok(s->info.name, strlen(s->info.name), s->info.flags & PLY_SUB_INTERNAL))
		return BAD("catalog: sub-image %u has a name that no sub-image can have", s->info.number);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names(const struct catalog *c, struct ply_err *err)
{
	_cleanup_free_ const char **names = calloc(c->nsubs, sizeof(*names));

	if (!names)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < c->nsubs; i++)
		names[i] = c->subs[i].info.name;
	qsort(names, c->nsubs, sizeof(*names), by_name);
	for (uint32_t i = 1; i < c->nsubs; i++)
		if (!strcmp(names[i - 1], names[i]))
			return BAD("catalog: two sub-images are called %s", names[i]);
	return 0;
}

static int read_subs(struct reader *rd, struct ply_err *err)
{
	struct catalog *c = rd->c;
	uint64_t n = rd->subs->count;
	int r;

	if (!n || n > PLY_NUMBER_MAX + 1)
		return BAD("catalog: %llu sub-images", (unsigned long long)n);
	c->subs = calloc(n, sizeof(*c->subs));
	if (!c->subs)
		return ply_fail_nomem(err);
	c->nsubs = (uint32_t)n;
	for (uint64_t i = 0; i < n; i++) {
		r = read_sub(rd, i, err);
		if (r < 0)
			return r;
	}
	if (c->subs[0].info.number != 0)
		return BAD("catalog: there is no os");
	qsort(c->subs, c->nsubs, sizeof(*c->subs), by_rank);
	for (uint32_t i = 0; i < c->nsubs; i++) {
		if (i && c->subs[i].info.rank == c->subs[i - 1].info.rank)
			return BAD("catalog: two sub-images of rank %u", c->subs[i].info.rank);
	}
	return check_names(c, err);
}

static int add_name(const char *const **names, size_t *cap, uint32_t *n, const char *name)
{
	if (array_grow(names, cap, *n + 1, sizeof(**names)) < 0)
		return -ENOMEM;
	((const char **)*names)[(*n)++] = name;
	return 0;
}

/* Kinds that are not known here are passed over. */
static int add_relation(struct catalog_sub *s, uint32_t kind, uint32_t group, const char *to)
{
	uint32_t *groups;

	switch (kind) {
	case PLY_REL_PROVIDES:
		return add_name(&s->info.provides, &s->provides_cap, &s->info.nprovides, to);
	case PLY_REL_STANDS_ON:
		return add_name(&s->info.stands_on, &s->stands_on_cap, &s->info.nstands_on, to);
	case PLY_REL_REQUIRES:
		if (array_grow(&s->info.require_groups, &s->groups_cap, s->info.nrequires + 1, sizeof(*groups)) < 0)
			return -ENOMEM;
		groups = (uint32_t *)s->info.require_groups;
		groups[s->info.nrequires] = group;
		return add_name(&s->info.requires, &s->requires_cap, &s->info.nrequires, to);
	}
	return 0;
}

static int read_relations(struct reader *rd, struct ply_err *err)
{
	struct catalog *c = rd->c;

	rd->by_number = calloc(PLY_NUMBER_MAX + 1, sizeof(*rd->by_number));
	if (!rd->by_number)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < c->nsubs; i++)
		rd->by_number[c->subs[i].info.number] = (uint16_t)(i + 1);
	for (uint64_t i = 0; i < rd->relations->count; i++) {
		struct ply_disk_relation d;
		struct catalog_sub *s;
		const char *to;
		const void *p;
		int r = meta_get(rd->meta, rd->relations, i * sizeof(d), sizeof(d), &p, err);

		if (r < 0)
			return r;
		memcpy(&d, p, sizeof(d));
		s = le32_get(d.from) <= PLY_NUMBER_MAX && rd->by_number[le32_get(d.from)] ?
			&c->subs[rd->by_number[le32_get(d.from)] - 1] : NULL;
		if (!s || le32_get(d.zero))
			return BAD("catalog: relation %llu of no sub-image", (unsigned long long)i);
		r = string(rd, d.to, &to, err);
		if (r < 0)
			return r;
		if (add_relation(s, le32_get(d.kind), le32_get(d.group), to) < 0)
			return ply_fail_nomem(err);
	}
	return 0;
}

static int by_sub_name(const void *a, const void *b)
{
	return strcmp((*(const struct catalog_sub *const *)a)->info.name,
		      (*(const struct catalog_sub *const *)b)->info.name);
}

static int sub_has_name(const void *name, const void *sub)
{
	return strcmp(name, (*(const struct catalog_sub *const *)sub)->info.name);
}

/* What @s stands on has a lower rank, so no chain of these leads in a circle; and it is required, so no
 * selection is without it. */
static int check_stands_on(const struct catalog *c, struct catalog_sub *const *by_names,
			   const struct catalog_sub *s, struct ply_err *err)
{
	_cleanup_free_ const char **requires = NULL;

	if (!!(s->info.flags & PLY_SUB_OVERLAY) != !!s->info.nstands_on)
		return BAD("catalog: %s is an overlay and stands on nothing, or the other way", s->info.name);
	if (!s->info.nstands_on)
		return 0;
	requires = malloc((s->info.nrequires + 1) * sizeof(*requires));
	if (!requires)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < s->info.nrequires; i++)
		requires[i] = s->info.requires[i];
	qsort(requires, s->info.nrequires, sizeof(*requires), by_name);
	for (uint32_t i = 0; i < s->info.nstands_on; i++) {
		const char *name = s->info.stands_on[i];
		struct catalog_sub *const *on = bsearch(name, by_names, c->nsubs, sizeof(*by_names), sub_has_name);

		if (!on || (*on)->info.rank >= s->info.rank)
			return ply_fail(err, -EUCLEAN, PLY_R_PARENT,
					"catalog: %s stands on a sub-image that is not there, or not below it",
					s->info.name);
		if (!bsearch(&name, requires, s->info.nrequires, sizeof(*requires), by_name))
			return ply_fail(err, -EUCLEAN, PLY_R_PARENT, "catalog: %s stands on %s and does not require it",
					s->info.name, name);
	}
	return 0;
}

static int check_overlays(const struct catalog *c, struct ply_err *err)
{
	_cleanup_free_ struct catalog_sub **by_names = calloc(c->nsubs, sizeof(struct catalog_sub *));
	int r = 0;

	if (!by_names)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < c->nsubs; i++)
		by_names[i] = &c->subs[i];
	qsort(by_names, c->nsubs, sizeof(*by_names), by_sub_name);
	for (uint32_t i = 0; r == 0 && i < c->nsubs; i++)
		r = check_stands_on(c, by_names, &c->subs[i], err);
	return r;
}

static int read_mounts(struct reader *rd, struct ply_err *err)
{
	struct catalog *c = rd->c;

	if (!rd->mounts)
		return 0;
	c->mounts = calloc(rd->mounts->count + 1, sizeof(*c->mounts));
	if (!c->mounts)
		return ply_fail_nomem(err);
	for (uint64_t i = 0; i < rd->mounts->count; i++) {
		struct ply_mount_info *m = &c->mounts[i];
		struct ply_disk_mount d;
		const void *p;
		int r = meta_get(rd->meta, rd->mounts, i * sizeof(d), sizeof(d), &p, err);

		if (r < 0)
			return r;
		memcpy(&d, p, sizeof(d));
		r = string(rd, d.path, &m->path, err);
		if (r == 0)
			r = string(rd, d.type, &m->type, err);
		if (r == 0)
			r = string(rd, d.subtree, &m->subtree, err);
		if (r < 0)
			return r;
		if (le64_get(d.zero) || m->path[0] != '/' || (i && strcmp(m[-1].path, m->path) >= 0))
			return BAD("catalog: mount %llu is impossible or out of order", (unsigned long long)i);
		c->nmounts++;
	}
	return 0;
}

static int read_blobs(struct reader *rd, struct ply_err *err)
{
	struct catalog *c = rd->c;

	if (!rd->blobs)
		return 0;
	c->blobs = calloc(rd->blobs->count + 1, sizeof(*c->blobs));
	if (!c->blobs)
		return ply_fail_nomem(err);
	for (uint64_t i = 0; i < rd->blobs->count; i++) {
		struct catalog_blob *b = &c->blobs[i];
		struct ply_disk_blob d;
		const void *p;
		int r = meta_get(rd->meta, rd->blobs, i * sizeof(d), sizeof(d), &p, err);

		if (r < 0)
			return r;
		memcpy(&d, p, sizeof(d));
		b->sub = le32_get(d.sub);
		b->len = le32_get(d.bytes.len);
		if (le32_get(d.zero) || le64_get(d.zero2) ||
		    (b->sub != PLY_BLOB_OF_IMAGE &&
		     (b->sub > PLY_NUMBER_MAX || !rd->by_number[b->sub])))
			return BAD("catalog: blob %llu is of no sub-image", (unsigned long long)i);
		r = string(rd, d.name, &b->name, err);
		if (r == 0)
			r = meta_get(rd->meta, rd->strings, le32_get(d.bytes.off), b->len, &p, err);
		if (r == 0)
			r = account(rd, b->len, err);
		if (r < 0)
			return r;
		b->bytes = malloc((size_t)b->len + 1);
		if (!b->bytes)
			return ply_fail_nomem(err);
		memcpy(b->bytes, p, b->len);
		b->bytes[b->len] = '\0';
		c->nblobs++;
	}
	return 0;
}

int catalog_open(struct io *io, uint64_t off, uint64_t len, const uint8_t digest[32],
		 struct catalog **ret, struct ply_err *err)
{
	struct catalog *c = calloc(1, sizeof(*c));
	struct reader rd = { .c = c };
	const struct segment *seg;
	int r;

	if (!c)
		return ply_fail_nomem(err);
	if (len > PLY_CATALOG_MAX) {
		r = BAD("catalog: %llu bytes", (unsigned long long)len);
		goto out;
	}
	r = meta_open(io, off, len, digest, &rd.meta, err);
	if (r < 0) {
		if (err && err->reason == PLY_R_SEGMENT_DIGEST)
			ply_fail(err, r, PLY_R_CATALOG_DIGEST,
				 "the catalog is not the one that the superblock names (SHA-256)");
		goto out;
	}
	seg = meta_segment(rd.meta);
	rd.head = segment_section(seg, PLY_S_CATALOG_HEAD);
	rd.subs = segment_section(seg, PLY_S_SUBS);
	rd.segments = segment_section(seg, PLY_S_SEGMENTS);
	rd.relations = segment_section(seg, PLY_S_RELATIONS);
	rd.strings = segment_section(seg, PLY_S_STRINGS);
	rd.mounts = segment_section(seg, PLY_S_MOUNTS);
	rd.blobs = segment_section(seg, PLY_S_BLOBS);
	if (seg->kind != PLY_SEG_CATALOG || !rd.head || !rd.subs || !rd.segments || !rd.relations ||
	    !rd.strings) {
		r = BAD("catalog: a section is missing");
		goto out;
	}
	for (uint32_t i = 0; r == 0 && i < seg->nsections; i++)
		if (seg->sections[i].flags & PLY_SECTION_PAGED)
			r = meta_check_digest(rd.meta, &seg->sections[i], err);
	if (r == 0)
		r = read_head(&rd, err);
	if (r == 0)
		r = read_segments(&rd, io->size, err);
	if (r == 0)
		r = read_subs(&rd, err);
	if (r == 0)
		r = read_relations(&rd, err);
	if (r == 0)
		r = check_overlays(c, err);
	if (r == 0)
		r = read_mounts(&rd, err);
	if (r == 0)
		r = read_blobs(&rd, err);
	if (r == 0) {
		c->generation.catalog_off = off;
		c->generation.catalog_len = len;
		memcpy(c->generation.digest, digest, sizeof(c->generation.digest));
		*ret = TAKE_PTR(c);
	}
out:
	free(rd.by_number);
	meta_close(rd.meta);
	catalog_close(c);
	return r;
}

struct catalog *catalog_close(struct catalog *c)
{
	if (!c)
		return NULL;
	for (uint32_t i = 0; i < c->nsubs; i++) {
		free((void *)c->subs[i].info.requires);
		free((void *)c->subs[i].info.require_groups);
		free((void *)c->subs[i].info.provides);
		free((void *)c->subs[i].info.stands_on);
	}
	for (size_t i = 0; i < c->nstrings; i++)
		free(c->strings[i]);
	for (uint32_t i = 0; i < c->nblobs; i++)
		free(c->blobs[i].bytes);
	free(c->blobs);
	free(c->strings);
	free(c->mounts);
	free(c->subs);
	free(c->segments);
	free(c);
	return NULL;
}
