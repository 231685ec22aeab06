/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An operation in the making: changes as they will be in the record, behind the room of its head. What cannot be
 * encoded makes the operation fail as a whole, when it is appended.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "redo/redo_format.h"
#include "redo/redo_internal.h"

void redo_op_init(struct redo_op *op, uint64_t request)
{
	*op = (struct redo_op){ .request = request };
	op->failed = buf_reserve(&op->bytes, 512);     /* what most requests need: new, add, attr */
	if (op->failed == 0)
		op->failed = buf_add_zero(&op->bytes, REDO_RECORD_HEAD);
}

void redo_op_done(struct redo_op *op)
{
	redo_unpin(op);
	buf_done(&op->bytes);
	free(op->pins);
	*op = (struct redo_op){ 0 };
}

/* A change of the fixed part @fixed and up to two pieces of any length. */
static void add(struct redo_op *op, enum ply_redo_change_type type, uint16_t flags, const void *fixed, size_t fixed_len,
		const void *a, size_t a_len, const void *b, size_t b_len)
{
	size_t len = sizeof(struct ply_disk_redo_change) + fixed_len, start = op->bytes.len;
	struct ply_disk_redo_change h;

	if (!op->failed && (a_len > PLY_REDO_RECORD_MAX || b_len > PLY_REDO_RECORD_MAX))
		op->failed = -EINVAL;
	if (op->failed)
		return;
	len = align_up(len + a_len + b_len, 8);
	h = (struct ply_disk_redo_change){ le16_put(type), le16_put(flags), le32_put((uint32_t)len) };
	if (start + len > PLY_REDO_RECORD_MAX)
		op->failed = -EINVAL;
	else if (buf_add(&op->bytes, &h, sizeof(h)) < 0 || buf_add(&op->bytes, fixed, fixed_len) < 0 ||
		 buf_add(&op->bytes, a, a_len) < 0 || buf_add(&op->bytes, b, b_len) < 0 ||
		 buf_add_zero(&op->bytes, start + len - op->bytes.len) < 0)
		op->failed = -ENOMEM;
	op->nchanges++;
}

static void refuse(struct redo_op *op, bool refused)
{
	if (refused && !op->failed)
		op->failed = -EINVAL;
}

void redo_op_commit(struct redo_op *op, uint64_t durable, int64_t time_sec)
{
	const struct ply_disk_redo_commit d = { le64_put(durable), le64_put((uint64_t)time_sec) };

	add(op, PLY_REDO_COMMIT, 0, &d, sizeof(d), NULL, 0, NULL, 0);
}

void redo_op_next(struct redo_op *op, uint32_t segment)
{
	const struct ply_disk_redo_next d = { .segment = le32_put(segment) };

	add(op, PLY_REDO_NEXT, 0, &d, sizeof(d), NULL, 0, NULL, 0);
}

void redo_op_requests(struct redo_op *op, const le64 *requests, uint32_t n)
{
	const struct ply_disk_redo_requests d = { .n = le32_put(n) };

	add(op, PLY_REDO_REQUESTS, 0, &d, sizeof(d), requests, n * sizeof(*requests), NULL, 0);
}

void redo_op_new(struct redo_op *op, uint64_t ino, const struct redo_attr *a, const char *target, size_t target_len)
{
	struct ply_disk_redo_new d = { .ino = le64_put(ino), .target_len = le32_put((uint32_t)target_len) };

	redo_attr_encode(a, PLY_REDO_A_ALL, &d.attr);
	add(op, PLY_REDO_NEW, 0, &d, sizeof(d), target, target_len, NULL, 0);
}

void redo_op_attr(struct redo_op *op, uint64_t ino, uint32_t mask, const struct redo_attr *a)
{
	struct ply_disk_redo_set d = { .ino = le64_put(ino), .mask = le32_put(mask) };

	redo_attr_encode(a, mask, &d.attr);
	add(op, PLY_REDO_ATTR, 0, &d, sizeof(d), NULL, 0, NULL, 0);
}

void redo_op_add(struct redo_op *op, uint64_t dir, const char *name, size_t len, uint64_t ino, uint8_t type)
{
	const struct ply_disk_redo_name d = {
		.dir = le64_put(dir), .ino = le64_put(ino), .name_len = (uint8_t)len, .type = type
	};

	refuse(op, len > PLY_NAME_MAX);
	add(op, PLY_REDO_ADD, 0, &d, sizeof(d), name, len, NULL, 0);
}

void redo_op_remove(struct redo_op *op, uint64_t dir, const char *name, size_t len, bool hides)
{
	const struct ply_disk_redo_name d = { .dir = le64_put(dir), .name_len = (uint8_t)len };

	refuse(op, len > PLY_NAME_MAX);
	add(op, PLY_REDO_REMOVE, hides ? PLY_REDO_F_HIDES : 0, &d, sizeof(d), name, len, NULL, 0);
}

void redo_op_xattr_set(struct redo_op *op, uint64_t ino, const char *name, size_t len, const void *value,
		       size_t value_len)
{
	const struct ply_disk_redo_xattr d = { .ino = le64_put(ino), .value_len = le32_put((uint32_t)value_len),
					       .name_len = (uint8_t)len };

	refuse(op, len > PLY_XATTR_NAME_MAX);
	add(op, PLY_REDO_XATTR_SET, 0, &d, sizeof(d), name, len, value, value_len);
}

void redo_op_xattr_remove(struct redo_op *op, uint64_t ino, const char *name, size_t len)
{
	const struct ply_disk_redo_xattr d = { .ino = le64_put(ino), .name_len = (uint8_t)len };

	refuse(op, len > PLY_XATTR_NAME_MAX);
	add(op, PLY_REDO_XATTR_REMOVE, 0, &d, sizeof(d), name, len, NULL, 0);
}

void redo_op_extent(struct redo_op *op, uint64_t ino, uint64_t off, uint64_t len, uint64_t addr, uint64_t size,
		    const le64 *sums, uint32_t nsums)
{
	const struct ply_disk_redo_extent d = { le64_put(ino), le64_put(off), le64_put(len), le64_put(addr),
						le64_put(size) };

	add(op, PLY_REDO_EXTENT, 0, &d, sizeof(d), sums, nsums * sizeof(*sums), NULL, 0);
}

void redo_op_hole(struct redo_op *op, uint64_t ino, uint64_t off, uint64_t len)
{
	const struct ply_disk_redo_hole d = { le64_put(ino), le64_put(off), le64_put(len) };

	add(op, PLY_REDO_HOLE, 0, &d, sizeof(d), NULL, 0, NULL, 0);
}

void redo_op_size(struct redo_op *op, uint64_t ino, uint64_t size)
{
	const struct ply_disk_redo_size d = { le64_put(ino), le64_put(size) };

	add(op, PLY_REDO_SIZE, 0, &d, sizeof(d), NULL, 0, NULL, 0);
}

void redo_op_copy(struct redo_op *op, uint64_t ino, uint64_t off, uint64_t len, uint64_t src, uint64_t src_off,
		  uint64_t size)
{
	const struct ply_disk_redo_copy d = { le64_put(ino), le64_put(off), le64_put(len), le64_put(src),
					      le64_put(src_off), le64_put(size) };

	add(op, PLY_REDO_COPY, 0, &d, sizeof(d), NULL, 0, NULL, 0);
}

void redo_op_dead(struct redo_op *op, uint64_t ino)
{
	const struct ply_disk_redo_dead d = { le64_put(ino) };

	add(op, PLY_REDO_DEAD, 0, &d, sizeof(d), NULL, 0, NULL, 0);
}

void redo_op_cookies(struct redo_op *op, uint32_t number, uint64_t *cookie)
{
	struct ply_disk_redo_change h;

	for (size_t at = REDO_RECORD_HEAD; at < op->bytes.len; at += le32_get(h.len)) {
		struct ply_disk_redo_name d;

		memcpy(&h, op->bytes.data + at, sizeof(h));
		if (le16_get(h.type) != PLY_REDO_ADD)
			continue;
		memcpy(&d, op->bytes.data + at + sizeof(h), sizeof(d));
		d.cookie = le64_put(PLY_INO(number, (*cookie)++));
		memcpy(op->bytes.data + at + sizeof(h), &d, sizeof(d));
	}
}
