/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: an image of any bytes is opened, walked and read whole through a view,
 * within limits. The first byte decides whether checksums are made right first.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"
#include "plyfs/view.h"
#include "repair.h"

#define ENTRIES_MAX 5000
#define READ_MAX    (256u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct visit {
	struct ply_view *view;
	uint8_t *buf;
	unsigned entries;
};

static int see_xattr(void *ctx, const struct ply_xattr *x)
{
	volatile uint8_t *sink = ctx;

	for (size_t i = 0; i < x->name_len; i++)
		*sink ^= (uint8_t)x->name[i];
	for (size_t i = 0; i < x->value_len; i++)
		*sink ^= ((const uint8_t *)x->value)[i];
	return 0;
}

static int see(void *ctx, const struct ply_walk_entry *e)
{
	struct visit *v = ctx;
	uint64_t ino = e->attr.ino, off, parent;
	uint32_t origin[4];
	const char *target;
	size_t len;

	if (++v->entries > ENTRIES_MAX)
		return 1;
	ply_view_xattrs(v->view, ino, see_xattr, v->buf, NULL);
	ply_view_parent(v->view, ino, &parent, NULL);
	ply_view_origin(v->view, ino, origin, 4, NULL);
	if (S_ISLNK(e->attr.mode) && ply_view_readlink(v->view, ino, &target, &len, NULL) == 0)
		memcpy(v->buf, target, len);
	if (S_ISREG(e->attr.mode)) {
		ply_view_read(v->view, ino, 0, READ_MAX, v->buf, NULL);
		ply_view_read(v->view, ino, e->attr.size / 2 + 1, 4096, v->buf, NULL);
		if (ply_view_seek(v->view, ino, 0, SEEK_HOLE, &off, NULL) == 0)
			ply_view_seek(v->view, ino, off, SEEK_DATA, &off, NULL);
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ply_image *image = NULL;
	struct visit v = { 0 };
	struct ply_err err;
	uint8_t *copy;
	struct io *io;

	if (size < 2)
		return 0;
	copy = malloc(size - 1);
	v.buf = malloc(READ_MAX);
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1)
		repair_image(copy, size - 1);
	if (io_open_memory(copy, size - 1, &io, &err) == 0 &&
	    ply_image_open_io(io, 0, &image, &err) == 0 &&
	    ply_view_open(image, NULL, 0, 1 << 20, &v.view, &err) == 0)
		ply_view_walk(v.view, 1, see, &v, &err);
	ply_view_close(v.view);
	ply_image_close(image);
	free(v.buf);
	free(copy);
	return 0;
}
