/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sealed segment of a sub-image: its tables. Rows are fetched through
 * meta_get(), which verifies their page, and decoded by fs/format, which checks
 * every field; nothing here trusts a byte further than that.
 *
 * Immutable after open.
 */
#include "sub/sub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "sub/sub_internal.h"

#define XATTRS_MAX (PLY_XATTR_SET_MAX / 2)   /* of one node: a name is a byte and a NUL at least */

/* Every base segment has these, some of them empty. */
static const uint32_t needed[] = {
	PLY_S_NODES, PLY_S_ENTRIES, PLY_S_NAMES, PLY_S_HEAP, PLY_S_EXTENTS, PLY_S_XATTR_SETS,
	PLY_S_XATTRS, PLY_S_OWNERS, PLY_S_OWNER_PAIRS, PLY_S_BLOCKS, PLY_S_BLOCK_DIGESTS,
	PLY_S_DATA, PLY_S_PAGE_SUMS, PLY_S_COMPONENTS,
};

/* Rows of a section that a segment may lack. */
static uint64_t sub_rows(const struct sub *s, uint32_t type)
{
	const struct section *sec = segment_section(meta_segment(s->meta), type);

	return sec ? sec->count : 0;
}

int sub_open(struct io *io, uint64_t off, uint64_t len, const uint8_t *digest, uint32_t id,
	     struct sub **ret, struct ply_err *err)
{
	struct sub *s = calloc(1, sizeof(*s));
	const struct segment *seg;
	int r;

	if (!s)
		return ply_fail_nomem(err);
	s->io = io;
	s->id = id;
	r = meta_open(io, off, len, digest, &s->meta, err);
	if (r < 0)
		goto fail;
	seg = meta_segment(s->meta);
	if (seg->kind != PLY_SEG_BASE) {
		r = ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER, "the segment is no sub-image");
		goto fail;
	}
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		s->sec[needed[i]] = segment_section(seg, needed[i]);
		if (!s->sec[needed[i]]) {
			r = ply_fail(err, -EUCLEAN, PLY_R_SECTION_MISSING, "section %s is missing",
				     section_name(needed[i]));
			goto fail;
		}
	}
	s->data_off = off + s->sec[PLY_S_DATA]->off;
	s->lim = (struct sub_limits){
		.nodes = s->sec[PLY_S_NODES]->count,
		.entries = s->sec[PLY_S_ENTRIES]->count,
		.names = s->sec[PLY_S_NAMES]->len,
		.heap = s->sec[PLY_S_HEAP]->len,
		.extents = s->sec[PLY_S_EXTENTS]->count,
		.xattr_sets = s->sec[PLY_S_XATTR_SETS]->count,
		.xattrs = s->sec[PLY_S_XATTRS]->count,
		.owners = s->sec[PLY_S_OWNERS]->count,
		.owner_pairs = s->sec[PLY_S_OWNER_PAIRS]->count,
		.blocks = s->sec[PLY_S_BLOCKS]->count,
		.data = s->sec[PLY_S_DATA]->len,
		.components = s->sec[PLY_S_COMPONENTS]->count,
		.conditions = sub_rows(s, PLY_S_CONDITIONS),
		.shared = sub_rows(s, PLY_S_SHARED_FILES),
		.records = sub_rows(s, PLY_S_RECORDS),
	};
	if (s->lim.conditions > PLY_COND_ROWS_MAX || s->lim.components > PLY_COND_ROWS_MAX) {
		r = ply_fail(err, -EUCLEAN, PLY_R_SECTION_GEOMETRY, "more than %u conditions or components",
			     PLY_COND_ROWS_MAX);
		goto fail;
	}
	if (s->lim.shared > PLY_SHARED_MAX) {
		r = ply_fail(err, -EUCLEAN, PLY_R_SECTION_GEOMETRY, "more than %u shared files", PLY_SHARED_MAX);
		goto fail;
	}
	if (s->lim.nodes < 2 || s->lim.nodes > PLY_INDEX_MAX || !s->lim.xattr_sets ||
	    !s->lim.components || s->sec[PLY_S_BLOCK_DIGESTS]->count != s->lim.blocks) {
		r = ply_fail(err, -EUCLEAN, PLY_R_SECTION_GEOMETRY,
			     "a sub-image without a root, or tables that do not fit each other");
		goto fail;
	}
	*ret = s;
	return 0;
fail:
	sub_close(s);
	return r;
}

struct sub *sub_close(struct sub *s)
{
	if (s) {
		meta_close(s->meta);
		free(s);
	}
	return NULL;
}

const struct sub_limits *sub_limits(const struct sub *s)
{
	return &s->lim;
}

struct meta *sub_meta(const struct sub *s)
{
	return s->meta;
}

/* Row @i of a table of @size bytes a row. */
static int row(struct sub *s, uint32_t type, uint64_t i, size_t size, enum ply_reason reason,
	       const void **ret, struct ply_err *err)
{
	const struct section *sec = s->sec[type];

	if (i >= sec->count)
		return ply_fail(err, -EUCLEAN, reason, "row %llu of section %s does not exist",
				(unsigned long long)i, section_name(type));
	return meta_get(s->meta, sec, i * size, size, ret, err);
}

int sub_node(struct sub *s, uint64_t index, struct ply_node *ret, struct ply_err *err)
{
	const void *p;
	int r;

	if (index == 0)
		return ply_fail(err, -EUCLEAN, PLY_R_NODE_RANGE, "node 0 is nobody");
	r = row(s, PLY_S_NODES, index, sizeof(struct ply_disk_node), PLY_R_NODE_RANGE, &p, err);
	if (r < 0)
		return r;
	return node_decode(p, index, &s->lim, ret, err);
}

int sub_entry(struct sub *s, uint64_t i, struct ply_entry *ret, struct ply_err *err)
{
	const void *p;
	int r;

	r = row(s, PLY_S_ENTRIES, i, sizeof(struct ply_disk_entry), PLY_R_ENTRY_RANGE, &p, err);
	if (r < 0)
		return r;
	r = entry_decode(p, &s->lim, ret, err);
	if (r < 0)
		return r;
	r = meta_get(s->meta, s->sec[PLY_S_NAMES], ret->name_off, ret->name_len, &p, err);
	if (r < 0)
		return r;
	ret->name = p;
	return name_check(ret->name, ret->name_len, err);
}

int sub_find(struct sub *s, const struct ply_node *dir, const char *name, size_t len,
	     uint64_t *ret_i, struct ply_entry *ret, struct ply_err *err)
{
	uint64_t lo = dir->data, hi = dir->data + dir->size;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct ply_entry e;
		int r = sub_entry(s, mid, &e, err), c;

		if (r < 0)
			return r;
		c = memcmp(name, e.name, MIN(len, (size_t)e.name_len));
		if (c == 0 && len == e.name_len) {
			if (ret_i)
				*ret_i = mid;
			*ret = e;
			return 0;
		}
		if (c < 0 || (c == 0 && len < e.name_len))
			hi = mid;
		else
			lo = mid + 1;
	}
	return ply_fail(err, -ENOENT, PLY_R_NO_ENTRY, "no such file or directory");
}

int sub_extent(struct sub *s, uint64_t i, struct ply_extent *ret, struct ply_err *err)
{
	const void *p;
	int r;

	r = row(s, PLY_S_EXTENTS, i, sizeof(struct ply_disk_extent), PLY_R_EXTENT_FIELD, &p, err);
	if (r < 0)
		return r;
	return extent_decode(p, &s->lim, ret, err);
}

int sub_block(struct sub *s, uint64_t b, struct ply_block *ret, struct ply_err *err)
{
	const void *p;
	int r;

	r = row(s, PLY_S_BLOCKS, b, sizeof(struct ply_disk_block), PLY_R_BLOCK_FIELD, &p, err);
	if (r < 0)
		return r;
	return block_decode(p, &s->lim, ret, err);
}

int sub_block_digest(struct sub *s, uint64_t b, uint8_t ret[32], struct ply_err *err)
{
	const void *p;
	int r;

	r = row(s, PLY_S_BLOCK_DIGESTS, b, 32, PLY_R_BLOCK_FIELD, &p, err);
	if (r < 0)
		return r;
	memcpy(ret, p, 32);
	return 0;
}

int sub_heap(struct sub *s, uint64_t off, uint64_t len, const void **ret, struct ply_err *err)
{
	return meta_get(s->meta, s->sec[PLY_S_HEAP], off, len, ret, err);
}

static int owner_row(struct sub *s, uint32_t i, uint8_t kind, uint32_t *ret_id, const char **ret_name,
		     uint32_t *ret_len, uint32_t *ret_condition, struct ply_err *err)
{
	struct ply_owner o;
	const void *p;
	int r;

	r = row(s, PLY_S_OWNERS, i, sizeof(struct ply_disk_owner), PLY_R_OWNER_FIELD, &p, err);
	if (r < 0)
		return r;
	r = owner_decode(p, &s->lim, &o, err);
	if (r < 0)
		return r;
	if (o.kind != kind)
		return ply_fail(err, -EUCLEAN, PLY_R_OWNER_FIELD, "owner %u: a user where a group stands, or the other way", i);
	r = sub_heap(s, o.name_off, o.name_len, &p, err);
	if (r < 0)
		return r;
	*ret_id = o.id;
	*ret_name = p;
	*ret_len = o.name_len;
	*ret_condition = o.condition;
	return 0;
}

int sub_owner(struct sub *s, uint32_t pair, struct sub_owner *ret, struct ply_err *err)
{
	struct ply_disk_owner_pair d;
	struct sub_owner o;
	const void *p;
	int r;

	r = row(s, PLY_S_OWNER_PAIRS, pair, sizeof(d), PLY_R_OWNER_FIELD, &p, err);
	if (r < 0)
		return r;
	memcpy(&d, p, sizeof(d));
	r = owner_row(s, le32_get(d.user), PLY_OWNER_USER, &o.uid, &o.user, &o.user_len,
		      &o.user_condition, err);
	if (r < 0)
		return r;
	r = owner_row(s, le32_get(d.group), PLY_OWNER_GROUP, &o.gid, &o.group, &o.group_len,
		      &o.group_condition, err);
	if (r < 0)
		return r;
	*ret = o;
	return 0;
}

static int xattr_set(struct sub *s, uint32_t set, struct ply_disk_xattr_set *ret, struct ply_err *err)
{
	uint64_t first, count;
	const void *p;
	int r;

	r = row(s, PLY_S_XATTR_SETS, set, sizeof(*ret), PLY_R_XATTR_FIELD, &p, err);
	if (r < 0)
		return r;
	memcpy(ret, p, sizeof(*ret));
	first = le64_get(ret->first);
	count = le32_get(ret->count);
	if (first > s->lim.xattrs || count > s->lim.xattrs - first || (set == 0 && count) ||
	    le32_get(ret->zero))
		return ply_fail(err, -EUCLEAN, PLY_R_XATTR_FIELD, "xattr set %u lies outside its table", set);
	if (count > XATTRS_MAX)
		return ply_fail(err, -EUCLEAN, PLY_R_XATTR_FIELD,
				"xattr set %u has more names than a file can have", set);
	return 0;
}

int sub_xattr_count(struct sub *s, uint32_t set, uint32_t *ret, struct ply_err *err)
{
	struct ply_disk_xattr_set d;
	int r = xattr_set(s, set, &d, err);

	if (r == 0)
		*ret = le32_get(d.count);
	return r;
}

int sub_xattr(struct sub *s, uint32_t set, uint32_t i, struct sub_xattr *ret, struct ply_err *err)
{
	struct ply_disk_xattr_set d;
	struct ply_disk_xattr x;
	struct sub_xattr out;
	uint64_t name;
	const void *p;
	int r;

	r = xattr_set(s, set, &d, err);
	if (r < 0)
		return r;
	if (i >= le32_get(d.count))   /* there was one when the caller counted */
		return ply_fail(err, -EUCLEAN, PLY_R_XATTR_FIELD, "xattr %u of set %u does not exist", i, set);
	r = row(s, PLY_S_XATTRS, le64_get(d.first) + i, sizeof(x), PLY_R_XATTR_FIELD, &p, err);
	if (r < 0)
		return r;
	memcpy(&x, p, sizeof(x));
	name = le64_get(x.name);
	out.name_len = (uint32_t)(name >> 56);
	out.value_len = le32_get(x.value_len);
	if (!out.name_len || out.value_len > PLY_XATTR_VALUE_MAX)
		return ply_fail(err, -EUCLEAN, PLY_R_XATTR_FIELD,
				"an xattr without a name, or with a value of %u bytes", out.value_len);
	out.condition = le32_get(x.condition);
	if (out.condition > s->lim.conditions)
		return ply_fail(err, -EUCLEAN, PLY_R_XATTR_FIELD, "an xattr with a condition that does not exist");
	r = sub_heap(s, name & ((1ULL << 56) - 1), out.name_len, &p, err);
	if (r < 0)
		return r;
	out.name = p;
	if (memchr(out.name, '\0', out.name_len))
		return ply_fail(err, -EUCLEAN, PLY_R_XATTR_FIELD, "an xattr name with a NUL");
	r = sub_heap(s, le64_get(x.value), out.value_len, &out.value, err);
	if (r < 0)
		return r;
	*ret = out;
	return 0;
}
