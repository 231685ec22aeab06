/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of the join table: a binary search in the index, then rows. Immutable. */
#include "image/join.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sub/sub.h"

struct join {
	struct meta *meta;
	const struct section *rows, *members, *index;
	const struct section *collisions;          /* NULL: there are none */
};

int join_open(struct io *io, uint64_t off, uint64_t len, const uint8_t digest[32],
	      struct join **ret, struct ply_err *err)
{
	struct join *j = calloc(1, sizeof(*j));
	const struct segment *seg;
	int r;

	if (!j)
		return ply_fail_nomem(err);
	r = meta_open(io, off, len, digest, &j->meta, err);
	if (r < 0)
		goto fail;
	seg = meta_segment(j->meta);
	j->rows = segment_section(seg, PLY_S_JOIN_ROWS);
	j->members = segment_section(seg, PLY_S_JOIN_MEMBERS);
	j->index = segment_section(seg, PLY_S_JOIN_INDEX);
	j->collisions = segment_section(seg, PLY_S_COLLISIONS);
	if (seg->kind != PLY_SEG_JOIN || !j->rows || !j->members || !j->index) {
		r = ply_fail(err, -EUCLEAN, PLY_R_SECTION_MISSING, "the join table is not one");
		goto fail;
	}
	*ret = j;
	return 0;
fail:
	join_close(j);
	return r;
}

struct join *join_close(struct join *j)
{
	if (j) {
		meta_close(j->meta);
		free(j);
	}
	return NULL;
}

struct meta *join_meta(const struct join *j)
{
	return j->meta;
}

uint64_t join_nrows(const struct join *j)
{
	return j->rows->count;
}

uint64_t join_nmembers(const struct join *j)
{
	return j->members->count;
}

int join_row(const struct join *j, uint64_t row, struct join_row *ret, struct ply_err *err)
{
	struct ply_disk_join_row d;
	struct join_row o;
	const void *p;
	int r;

	if (row >= j->rows->count)
		return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu does not exist",
				(unsigned long long)row);
	r = meta_get(j->meta, j->rows, row * sizeof(d), sizeof(d), &p, err);
	if (r < 0)
		return r;
	memcpy(&d, p, sizeof(d));
	o = (struct join_row){
		.row = row,
		.first_member = le64_get(d.first_member),
		.nmembers = le32_get(d.nmembers),
		.kind = d.kind,
		.first_child = le64_get(d.first_child),
		.nchildren = le64_get(d.nchildren),
	};
	if (o.nmembers < 2 || o.nmembers > PLY_NUMBER_MAX + 1 || o.first_member > j->members->count ||
	    o.nmembers > j->members->count - o.first_member || o.first_child > j->rows->count ||
	    o.nchildren > j->rows->count - o.first_child ||
	    !o.kind || o.kind > PLY_J_FILE ||
	    (o.kind != PLY_J_DIRECTORY && o.nchildren) || d.zero[0] || d.zero[1] || d.zero[2])
		return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu is impossible",
				(unsigned long long)row);
	*ret = o;
	return 0;
}

int join_find(const struct join *j, uint64_t ref, struct join_row *ret, struct ply_err *err)
{
	uint64_t lo = 0, hi = j->index->count;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2, at;
		struct ply_disk_join_index d;
		const void *p;
		int r = meta_get(j->meta, j->index, mid * sizeof(d), sizeof(d), &p, err);

		if (r < 0)
			return r;
		memcpy(&d, p, sizeof(d));
		at = le64_get(d.ref);
		if (at == ref) {
			r = join_row(j, le64_get(d.row), ret, err);
			return r < 0 ? r : 1;
		}
		if (at < ref)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

int join_member(const struct join *j, const struct join_row *row, uint32_t i,
		struct join_member *ret, struct ply_err *err)
{
	struct ply_disk_join_member d;
	const void *p;
	int r;

	if (i >= row->nmembers)
		return ply_fail(err, -EINVAL, PLY_R_JOIN_FIELD, "join member %u does not exist", i);
	r = meta_get(j->meta, j->members, (row->first_member + i) * sizeof(d), sizeof(d), &p, err);
	if (r < 0)
		return r;
	memcpy(&d, p, sizeof(d));
	ret->ref = le64_get(d.ref);
	memcpy(ret->digest, d.digest, sizeof(ret->digest));
	if (ret->ref >> 63 || !PLY_INO_INDEX(ret->ref) || PLY_INO_NUMBER(ret->ref) > PLY_NUMBER_MAX)
		return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu names an impossible node",
				(unsigned long long)row->row);
	return 0;
}

uint64_t join_ncollisions(const struct join *j)
{
	return j->collisions ? j->collisions->count : 0;
}

int join_collision(const struct join *j, uint64_t i, struct ply_collision *ret, struct ply_err *err)
{
	const void *p;
	int r;

	if (i >= join_ncollisions(j))
		return ply_fail(err, -EUCLEAN, PLY_R_COLLISION_FIELD, "collision %llu does not exist",
				(unsigned long long)i);
	r = meta_get(j->meta, j->collisions, i * sizeof(struct ply_disk_collision),
		     sizeof(struct ply_disk_collision), &p, err);
	return r < 0 ? r : collision_decode(p, ret, err);
}

int join_collision_from(const struct join *j, const struct ply_collision *key, uint64_t *ret, struct ply_err *err)
{
	uint64_t lo = 0, hi = join_ncollisions(j);

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct ply_collision c;
		int r = join_collision(j, mid, &c, err);

		if (r < 0)
			return r;
		if (collision_compare(&c, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret = lo;
	return 0;
}
