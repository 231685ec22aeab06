/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a base segment: its tables, encoded, behind its data. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "sub/seg_write.h"
#include "sub/sub_write_internal.h"

/* Rows are encoded a page-full at a time: the tables exist in memory once. */
#define ROWS 64

static int write_nodes(struct subw *w, struct segw *s, struct ply_err *err)
{
	struct ply_disk_node rows[ROWS];
	int r = segw_section(s, PLY_S_NODES, w->nnodes, NULL, 0, err);

	for (size_t i = 0; r == 0 && i < w->nnodes; i += ROWS) {
		size_t n = MIN(w->nnodes - i, (size_t)ROWS);

		for (size_t k = 0; k < n; k++)
			node_encode(&w->nodes[i + k], &rows[k]);
		r = segw_more(s, rows, n * sizeof(rows[0]), err);
	}
	return r;
}

static int write_extents(struct subw *w, struct segw *s, struct ply_err *err)
{
	struct ply_disk_extent rows[ROWS];
	int r = segw_section(s, PLY_S_EXTENTS, w->nextents, NULL, 0, err);

	for (size_t i = 0; r == 0 && i < w->nextents; i += ROWS) {
		size_t n = MIN(w->nextents - i, (size_t)ROWS);

		for (size_t k = 0; k < n; k++)
			extent_encode(&w->extents[i + k], &rows[k]);
		r = segw_more(s, rows, n * sizeof(rows[0]), err);
	}
	return r;
}

static int write_table(struct segw *s, uint32_t type, const struct buf *b, struct ply_err *err)
{
	size_t element = section_element_size(type);

	return segw_section(s, type, element ? b->len / element : 0, b->data, b->len, err);
}

/* The local component table: itself, then whom conditions and owners name, by name: what else of an image
 * has that name is them (UUIDs of one capture would depend on each other). */
static int write_components(struct subw *w, struct segw *s, struct ply_err *err)
{
	const char *name = w->name;

	for (size_t slot = 0; slot <= w->nslots; slot++) {
		struct ply_disk_component row = { 0 };

		for (size_t c = 0; slot && c < w->slots_cap; c++)
			if (w->slots[c] == slot)
				name = w->opt.names[c];
		row.name = le64_put((uint64_t)strlen(name) << 56 | w->heap.len);
		if (buf_add(&w->heap, name, strlen(name)) < 0 ||
		    buf_add(&w->components, &row, sizeof(row)) < 0)
			return ply_fail_nomem(err);
	}
	return segw_section(s, PLY_S_COMPONENTS, w->nslots + 1, w->components.data, w->components.len, err);
}

static int by_node(const void *a, const void *b)
{
	uint64_t x = le64_get(((const struct ply_disk_mark *)a)->node);
	uint64_t y = le64_get(((const struct ply_disk_mark *)b)->node);

	return x < y ? -1 : x > y;
}

/* A row for each node: a file of several names may have been marked by each. */
static void settle_marks(struct buf *b)
{
	struct ply_disk_mark *v = (struct ply_disk_mark *)b->data;
	size_t n = b->len / sizeof(*v), kept = 0;

	if (n)
		qsort(v, n, sizeof(*v), by_node);
	for (size_t i = 0; i < n; i++) {
		if (kept && by_node(&v[kept - 1], &v[i]) == 0) {
			uint32_t old = le32_get(v[kept - 1].mark), new = le32_get(v[i].mark);

			/* of two subset or identity marks the first */
			old |= old & PLY_MARK_SUBSET ? 0 : new & PLY_MARK_SUBSET;
			old |= old & PLY_MARK_IDENTITY ? 0 : new & PLY_MARK_IDENTITY;
			v[kept - 1].mark = le32_put(old);
		} else {
			v[kept++] = v[i];
		}
	}
	b->len = kept * sizeof(*v);
}

static int by_shared_node(const void *a, const void *b)
{
	uint64_t x = le64_get(((const struct ply_disk_shared *)a)->node);
	uint64_t y = le64_get(((const struct ply_disk_shared *)b)->node);

	return x < y ? -1 : x > y;
}

static void settle_shared(struct buf *b)
{
	if (b->len)
		qsort(b->data, b->len / sizeof(struct ply_disk_shared), sizeof(struct ply_disk_shared),
		      by_shared_node);
}

static int by_override_node(const void *a, const void *b)
{
	uint64_t x = le64_get(((const struct ply_disk_override *)a)->node);
	uint64_t y = le64_get(((const struct ply_disk_override *)b)->node);

	return x < y ? -1 : x > y;
}

static int write_overrides(struct subw *w, struct segw *s, struct ply_err *err)
{
	struct buf *b = &w->overrides;

	if (!w->opt.overlay)
		return 0;
	if (b->len)
		qsort(b->data, b->len / sizeof(struct ply_disk_override), sizeof(struct ply_disk_override),
		      by_override_node);
	return write_table(s, PLY_S_OVERRIDES, b, err);
}

int subw_finish(struct subw *w, struct subw_result *ret, struct ply_err *err)
{
	const struct { uint32_t type; struct buf *buf; } tables[] = {
		{ PLY_S_ENTRIES, &w->entries },        { PLY_S_NAMES, &w->names },
		{ PLY_S_XATTR_SETS, &w->xattr_sets },  { PLY_S_XATTRS, &w->xattrs },
		{ PLY_S_OWNERS, &w->owners },          { PLY_S_OWNER_PAIRS, &w->owner_pairs },
		{ PLY_S_BLOCKS, &w->blocks },          { PLY_S_BLOCK_DIGESTS, &w->digests },
		{ PLY_S_HEAP, &w->heap },              { PLY_S_MARKS, &w->marks },
		{ PLY_S_CONDITIONS, &w->conditions },  { PLY_S_SHARED_FILES, &w->shared },
		{ PLY_S_RECORDS, &w->records },
	};
	uint64_t size = w->nnodes * sizeof(struct ply_disk_node) +
			w->nextents * sizeof(struct ply_disk_extent) + w->overrides.len;
	uint8_t uuid[16];
	struct segw *s;
	int r;

	settle_marks(&w->marks);
	settle_shared(&w->shared);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		size += tables[i].buf->len;

	r = subw_blocks_end(w, err);
	if (r < 0)
		return r;
	r = segw_new(w->out, w->off, PLY_SEG_BASE, subw_sections(w), &s, err);
	if (r < 0)
		return r;
	segw_data(s, w->off + segment_header_len(subw_sections(w)), w->data_len);
	r = segw_begin_meta(s, size, err);
	if (r == 0)
		r = write_nodes(w, s, err);
	if (r == 0)
		r = write_extents(w, s, err);
	if (r == 0)
		r = write_components(w, s, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(tables); i++)
		r = write_table(s, tables[i].type, tables[i].buf, err);
	if (r == 0)
		r = write_overrides(w, s, err);
	if (r == 0) {
		if (!w->opt.content_uuid) {
			random_bytes(uuid, sizeof(uuid));
			uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);   /* RFC 9562: version 4 */
			uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
		}
		r = segw_finish(s, w->opt.content_uuid ? NULL : uuid, w->name, ret->digest, ret->uuid,
				&ret->len, err);
	}
	segw_free(s);
	if (r < 0)
		return r;
	ret->off = w->off;
	ret->nodes = w->nnodes;
	ret->bytes = w->bytes;
	ret->nblocks = w->nblocks;
	ret->data_stored = w->data_len;
	return 0;
}
