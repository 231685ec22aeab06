/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A buffered output that grows at its end: see sub_write.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "sub/sub_write.h"

#define OUT_BUFFER (1u << 20)

int out_init(struct out *o, int fd, uint64_t end, const char *path, struct ply_err *err)
{
	*o = (struct out){ .fd = fd, .end = end, .started = end, .cap = OUT_BUFFER, .path = path };
	o->buf = malloc(o->cap);
	return o->buf ? 0 : ply_fail_nomem(err);
}

void out_done(struct out *o)
{
	free(o->buf);
	o->buf = NULL;
}

/* Bytes after which the kernel is told to begin writing: the disk works while we
 * compress, and the sync at the end finds little left to do. */
#define WRITEBACK (8u << 20)

static int put(struct out *o, const void *data, size_t len, uint64_t off, struct ply_err *err)
{
	int r = pwrite_full(o->fd, data, len, off);

	if (r < 0)
		return ply_fail(err, r, PLY_R_OUTPUT_WRITE, "%s: cannot write the image: %s", o->path,
				strerror(-r));
	if (off + len >= o->started + WRITEBACK) {
		sync_file_range(o->fd, (off_t)o->started, (off_t)(off + len - o->started),
				SYNC_FILE_RANGE_WRITE);
		o->started = off + len;
	}
	return 0;
}

int out_flush(struct out *o, struct ply_err *err)
{
	int r = o->len ? put(o, o->buf, o->len, o->end - o->len, err) : 0;

	if (r == 0)
		o->len = 0;
	return r;
}

int out_write(struct out *o, const void *data, size_t len, struct ply_err *err)
{
	int r;

	if (len > o->cap - o->len) {
		r = out_flush(o, err);
		if (r < 0)
			return r;
	}
	if (len >= o->cap) {
		r = put(o, data, len, o->end, err);
		if (r < 0)
			return r;
	} else if (len) {
		memcpy(o->buf + o->len, data, len);
		o->len += len;
	}
	o->end += len;
	return 0;
}

int out_align(struct out *o, uint64_t to, struct ply_err *err)
{
	static const uint8_t zero[PLY_PAGE];
	uint64_t pad = align_up(o->end, to) - o->end;

	while (pad) {
		size_t n = (size_t)MIN(pad, (uint64_t)sizeof(zero));
		int r = out_write(o, zero, n, err);

		if (r < 0)
			return r;
		pad -= n;
	}
	return 0;
}

int out_rewrite(struct out *o, uint64_t off, const void *data, size_t len, struct ply_err *err)
{
	int r = 0;

	if (off + len > o->end - o->len)
		r = out_flush(o, err);
	return r < 0 ? r : put(o, data, len, off, err);
}
