/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tables of a segment that is being written: nodes, entries, names, owners,
 * xattrs. They are kept in memory (about 110 bytes a file) until
 * subw_finish() writes them behind the data. Owners and xattr sets are interned.
 */
#include "sub/sub_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "sub/seg_write.h"
#include "sub/sub_write_internal.h"

uint32_t subw_sections(const struct subw *w)
{
	return SUBW_SECTIONS + w->opt.overlay;
}

int subw_new(struct out *out, const struct subw_options *o, struct subw **ret, struct ply_err *err)
{
	struct subw *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return ply_fail_nomem(err);
	w->out = out;
	w->opt = *o;
	w->opt.max_inflight = MAX(w->opt.max_inflight, 1u);
	w->off = out->end;
	r = subw_blocks_init(w, err);
	if (r < 0)
		goto fail;
	w->name = strdup(o->name);
	/* row 0 of NODES is nobody, row 0 of XATTR_SETS the empty set */
	if (!w->name || array_grow(&w->nodes, &w->nodes_cap, 1, sizeof(*w->nodes)) < 0 ||
	    buf_add_zero(&w->xattr_sets, sizeof(struct ply_disk_xattr_set)) < 0) {
		r = ply_fail_nomem(err);
		goto fail;
	}
	w->nodes[0] = (struct ply_node){ 0 };
	w->nnodes = 1;
	r = segw_reserve(out, subw_sections(w), err);
	if (r < 0)
		goto fail;
	*ret = w;
	return 0;
fail:
	subw_free(w);
	return r;
}

struct subw *subw_free(struct subw *w)
{
	if (!w)
		return NULL;
	subw_blocks_done(w);
	free(w->name);
	free(w->nodes);
	free(w->extents);
	buf_done(&w->entries);
	buf_done(&w->names);
	buf_done(&w->heap);
	buf_done(&w->xattr_sets);
	buf_done(&w->xattrs);
	buf_done(&w->owners);
	buf_done(&w->owner_pairs);
	buf_done(&w->blocks);
	buf_done(&w->digests);
	buf_done(&w->marks);
	buf_done(&w->known);
	buf_done(&w->conditions);
	buf_done(&w->shared);
	buf_done(&w->records);
	buf_done(&w->components);
	buf_done(&w->overrides);
	free(w->cond_rows);
	free(w->slots);
	map_done(&w->owner_map);
	map_done(&w->pair_map);
	map_done(&w->xattr_map);
	map_done(&w->content_map);
	free(w);
	return NULL;
}

static uint64_t heap_name(uint64_t off, size_t len)
{
	return (uint64_t)len << 56 | off;
}

static int owner(struct subw *w, uint8_t kind, uint32_t id, const char *name, uint32_t *ret)
{
	struct { uint32_t kind, id; } key = { kind, id };
	size_t len = name ? strlen(name) : 0;
	struct ply_disk_owner row = { .id = le32_put(id), .kind = kind };
	const struct subw_owner_facts *facts = w->opt.owners;
	uint32_t cond = 0;
	uint16_t slot = 0;
	uint64_t h;
	int r = 0;

	if (len > 255)
		len = 0;   /* no system has such a name; the number stands */
	h = xxh3(name ? name : "", len, xxh3(&key, sizeof(key), 0));
	for (size_t i = map_first(&w->owner_map, h); i != MAP_END; i = map_next(&w->owner_map, h, i)) {
		const struct ply_disk_owner *o =
			(const struct ply_disk_owner *)w->owners.data + w->owner_map.slots[i].value;
		uint64_t at = le64_get(o->name);

		if (o->kind == kind && le32_get(o->id) == id && at >> 56 == len &&
		    (!len || memcmp(w->heap.data + (at & ((1ULL << 56) - 1)), name, len) == 0)) {
			*ret = (uint32_t)w->owner_map.slots[i].value;
			return 0;
		}
	}
	if (facts)
		r = subw_of_component(w, kind == PLY_OWNER_USER ? facts->user(facts->ctx, id) :
							       facts->group(facts->ctx, id), &slot, &cond);
	if (r < 0)
		return r;
	row.component = le16_put(slot);
	row.condition = le32_put(cond);
	row.name = le64_put(heap_name(len ? w->heap.len : 0, len));
	*ret = (uint32_t)(w->owners.len / sizeof(row));
	if (buf_add(&w->heap, name ? name : "", len) < 0 || buf_add(&w->owners, &row, sizeof(row)) < 0)
		return -ENOMEM;
	return map_add(&w->owner_map, h, *ret);
}

int subw_owner(struct subw *w, uint32_t uid, uint32_t gid, const char *user, const char *group,
	       uint32_t *ret_pair)
{
	struct ply_disk_owner_pair row;
	uint32_t u, g;
	uint64_t h;

	if (owner(w, PLY_OWNER_USER, uid, user, &u) < 0 ||
	    owner(w, PLY_OWNER_GROUP, gid, group, &g) < 0)
		return -ENOMEM;
	row = (struct ply_disk_owner_pair){ le32_put(u), le32_put(g) };
	h = xxh3(&row, sizeof(row), 0);
	for (size_t i = map_first(&w->pair_map, h); i != MAP_END; i = map_next(&w->pair_map, h, i)) {
		uint64_t at = w->pair_map.slots[i].value;

		if (memcmp(w->owner_pairs.data + at * sizeof(row), &row, sizeof(row)) == 0) {
			*ret_pair = (uint32_t)at;
			return 0;
		}
	}
	*ret_pair = (uint32_t)(w->owner_pairs.len / sizeof(row));
	if (buf_add(&w->owner_pairs, &row, sizeof(row)) < 0)
		return -ENOMEM;
	return map_add(&w->pair_map, h, *ret_pair);
}

/* By name; the order of those of one name stays (they lie in one array). */
static int by_name(const void *a, const void *b)
{
	const struct subw_xattr *const *x = a, *const *y = b;
	int c = strcmp((*x)->name, (*y)->name);

	return c ? c : (*x > *y) - (*x < *y);
}

/* Do the rows of set @set equal @x, with the conditions @conds? */
static bool same_set(const struct subw *w, uint64_t set, const struct subw_xattr *const *x,
		     const uint32_t *conds, size_t n)
{
	const struct ply_disk_xattr_set *s =
		(const struct ply_disk_xattr_set *)w->xattr_sets.data + set;
	const struct ply_disk_xattr *row =
		(const struct ply_disk_xattr *)w->xattrs.data + le64_get(s->first);

	if (le32_get(s->count) != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint64_t name = le64_get(row[i].name);

		if (name >> 56 != strlen(x[i]->name) || le32_get(row[i].value_len) != x[i]->value_len ||
		    le32_get(row[i].condition) != conds[i] ||
		    memcmp(w->heap.data + (name & ((1ULL << 56) - 1)), x[i]->name, name >> 56) != 0 ||
		    (x[i]->value_len && memcmp(w->heap.data + le64_get(row[i].value), x[i]->value,
					       x[i]->value_len) != 0))
			return false;
	}
	return true;
}

/* @sorted and @conds hold @n. */
static int add_set(struct subw *w, const struct subw_xattr *const *sorted, const uint32_t *conds, size_t n,
		   uint32_t *ret_set)
{
	struct ply_disk_xattr_set set = { .first = le64_put(w->xattrs.len / sizeof(struct ply_disk_xattr)),
					  .count = le32_put((uint32_t)n) };
	uint64_t h = n;

	for (size_t i = 0; i < n; i++) {
		h = xxh3(sorted[i]->name, strlen(sorted[i]->name) + 1, h);
		h = xxh3(sorted[i]->value, sorted[i]->value_len, h ^ conds[i]);
	}
	for (size_t i = map_first(&w->xattr_map, h); i != MAP_END; i = map_next(&w->xattr_map, h, i)) {
		if (same_set(w, w->xattr_map.slots[i].value, sorted, conds, n)) {
			*ret_set = (uint32_t)w->xattr_map.slots[i].value;
			return 0;
		}
	}
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(sorted[i]->name);
		struct ply_disk_xattr row = {
			.name = le64_put(heap_name(w->heap.len, len)),
			.value = le64_put(w->heap.len + len),
			.value_len = le32_put((uint32_t)sorted[i]->value_len),
			.condition = le32_put(conds[i]),
		};

		if (buf_add(&w->heap, sorted[i]->name, len) < 0 ||
		    buf_add(&w->heap, sorted[i]->value, sorted[i]->value_len) < 0 ||
		    buf_add(&w->xattrs, &row, sizeof(row)) < 0)
			return -ENOMEM;
	}
	*ret_set = (uint32_t)(w->xattr_sets.len / sizeof(set));
	if (buf_add(&w->xattr_sets, &set, sizeof(set)) < 0)
		return -ENOMEM;
	return map_add(&w->xattr_map, h, *ret_set);
}

int subw_xattrs(struct subw *w, const struct subw_xattr *x, size_t n, uint32_t *ret_set)
{
	_cleanup_free_ const struct subw_xattr **sorted = NULL;
	_cleanup_free_ uint32_t *conds = NULL;
	size_t kept = 0;

	*ret_set = 0;
	if (!n)
		return 0;
	sorted = malloc(n * sizeof(*sorted));
	conds = malloc(n * sizeof(*conds));
	if (!sorted || !conds)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (!subw_cond_is_never(w, x[i].cond))
			sorted[kept++] = &x[i];
	qsort(sorted, kept, sizeof(*sorted), by_name);
	for (size_t i = 0; i < kept; i++) {
		int r = subw_cond(w, sorted[i]->cond, &conds[i]);

		if (r < 0)
			return r;
	}
	return kept ? add_set(w, sorted, conds, kept, ret_set) : 0;
}

int subw_node(struct subw *w, const struct ply_node *n, uint64_t *ret_index)
{
	int r = array_grow(&w->nodes, &w->nodes_cap, w->nnodes + 1, sizeof(*w->nodes));

	if (r < 0)
		return r;
	w->nodes[w->nnodes] = *n;
	w->nodes[w->nnodes].nlink = 0;
	w->nodes[w->nnodes].entry = 0;
	w->nodes[w->nnodes].parent = w->nnodes == PLY_ROOT_INDEX ? PLY_ROOT_INDEX : 0;
	*ret_index = w->nnodes++;
	return 0;
}

struct ply_node *subw_node_at(struct subw *w, uint64_t index)
{
	return &w->nodes[index];
}

int subw_dir(struct subw *w, uint64_t dir)
{
	struct ply_node *d = &w->nodes[dir];

	d->kind = PLY_C_NONE;
	d->data = w->entries.len / sizeof(struct ply_disk_entry);
	d->ndata = 0;
	d->size = 0;
	w->dir = dir;
	return 0;
}

int subw_entry(struct subw *w, const char *name, size_t len, uint64_t child)
{
	return subw_entry_if(w, name, len, child, 0);
}

int subw_entry_if(struct subw *w, const char *name, size_t len, uint64_t child, uint32_t cond)
{
	struct ply_node *d = &w->nodes[w->dir], *n = &w->nodes[child];
	struct ply_disk_entry row;
	struct ply_entry e = {
		.ref = child,
		.name_off = w->names.len,
		.name_len = (uint32_t)len,
		.type = (uint8_t)(n->mode >> 12),
	};
	int r = subw_cond(w, cond, &e.condition);

	if (r < 0)
		return r;
	if (!n->parent) {
		n->parent = w->dir;
		n->entry = w->entries.len / sizeof(row);
	}
	if (S_ISDIR(n->mode))
		d->nlink++;
	else
		n->nlink++;
	d->size++;
	entry_encode(&e, &row);
	if (buf_add(&w->names, name, len) < 0)
		return -ENOMEM;
	return buf_add(&w->entries, &row, sizeof(row));
}

int subw_whiteout(struct subw *w, const char *name, size_t len, uint64_t dir)
{
	struct ply_disk_entry row;
	struct ply_entry e = {
		.ref = dir,
		.name_off = w->names.len,
		.name_len = (uint32_t)len,
		.type = PLY_T_WHITEOUT,
	};

	if (dir) {
		w->nodes[w->dir].flags |= PLY_NODE_COVERS;
		w->nodes[dir].parent = w->dir;
		w->nodes[dir].entry = w->entries.len / sizeof(row);
	}
	w->nodes[w->dir].size++;
	entry_encode(&e, &row);
	if (buf_add(&w->names, name, len) < 0)
		return -ENOMEM;
	return buf_add(&w->entries, &row, sizeof(row));
}

int subw_override(struct subw *w, uint64_t index, uint32_t mask, const uint8_t digest[32])
{
	struct ply_disk_override row;
	struct ply_override o = { .node = index, .mask = mask };

	if (!w->opt.overlay)
		return -EINVAL;
	if (digest)
		memcpy(o.digest, digest, sizeof(o.digest));
	override_encode(&o, &row);
	return buf_add(&w->overrides, &row, sizeof(row));
}

int subw_mark(struct subw *w, uint64_t index, uint32_t mark)
{
	struct ply_disk_mark row = { .node = le64_put(index), .mark = le32_put(mark) };

	return buf_add(&w->marks, &row, sizeof(row));
}

int subw_symlink(struct subw *w, uint64_t index, const char *target, size_t len)
{
	struct ply_node *n = &w->nodes[index];

	n->kind = PLY_C_INLINE;
	n->size = len;
	n->data = w->heap.len;
	n->ndata = 0;
	return buf_add(&w->heap, target, len);
}
