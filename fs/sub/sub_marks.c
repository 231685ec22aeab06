/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Marks of nodes, and the way from a node to its path. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "sub/sub.h"

#define DEPTH_MAX 65536u           /* directories */

static const struct section *marks(const struct sub *s)
{
	return segment_section(meta_segment(sub_meta(s)), PLY_S_MARKS);
}

uint64_t sub_mark_count(const struct sub *s)
{
	const struct section *sec = marks(s);

	return sec ? sec->count : 0;
}

int sub_mark(struct sub *s, uint64_t i, struct sub_mark *ret, struct ply_err *err)
{
	struct ply_disk_mark d;
	const void *p;
	int r;

	if (i >= sub_mark_count(s))
		return ply_fail(err, -EUCLEAN, PLY_R_NODE_RANGE, "mark %llu does not exist",
				(unsigned long long)i);
	r = meta_get(sub_meta(s), marks(s), i * sizeof(d), sizeof(d), &p, err);
	if (r < 0)
		return r;
	memcpy(&d, p, sizeof(d));
	ret->index = le64_get(d.node);
	ret->mark = le32_get(d.mark);
	if (!ret->index || ret->index >= sub_limits(s)->nodes || le32_get(d.zero) || !ret->mark ||
	    ret->mark & ~(PLY_MARK_SUBSET | PLY_MARK_IDENTITY))
		return ply_fail(err, -EUCLEAN, PLY_R_NODE_FIELD, "mark %llu is impossible", (unsigned long long)i);
	return 0;
}

/* From the end, so names are added backwards and all is turned round once: as much work as the path
 * has bytes, even where parents lead in a circle. */
int sub_node_path(struct sub *s, uint64_t index, struct buf *out, struct ply_err *err)
{
	uint64_t depth_max = MIN(sub_limits(s)->nodes, (uint64_t)DEPTH_MAX);

	out->len = 0;
	if (buf_add(out, "", 1) < 0)
		return ply_fail_nomem(err);
	for (uint64_t depth = 0; index != PLY_ROOT_INDEX; depth++) {
		struct ply_entry e;
		struct ply_node n;
		int r = sub_node(s, index, &n, err);

		if (r == 0)
			r = sub_entry(s, n.entry, &e, err);
		if (r < 0)
			return r;
		if (depth > depth_max)
			return ply_fail(err, -EUCLEAN, PLY_R_TREE_SHAPE, "directories lead in a circle");
		if (buf_reserve(out, e.name_len + 1) < 0)
			return ply_fail_nomem(err);
		if (out->len > 1)
			out->data[out->len++] = '/';
		for (uint32_t i = e.name_len; i; i--)
			out->data[out->len++] = (uint8_t)e.name[i - 1];
		index = PLY_INO_INDEX(n.parent);
	}
	for (size_t i = 0, k = out->len - 1; i < k; i++, k--) {
		uint8_t byte = out->data[i];

		out->data[i] = out->data[k];
		out->data[k] = byte;
	}
	return 0;
}
