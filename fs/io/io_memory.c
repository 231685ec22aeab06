/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image in memory: for unit tests and fuzzing. The bytes are borrowed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"

struct io_memory {
	struct io io;
	const uint8_t *data;
};

static int memory_pread(struct io *io, void *buf, size_t len, uint64_t off)
{
	struct io_memory *m = (struct io_memory *)io;

	if (off > io->size || len > io->size - off)
		return -EIO;
	memcpy(buf, m->data + off, len);
	return 0;
}

static int memory_map(struct io *io, uint64_t off, size_t len, const void **ret, void **ret_handle)
{
	struct io_memory *m = (struct io_memory *)io;

	if (off > io->size || len > io->size - off || !len)
		return -EINVAL;
	*ret = m->data + off;
	*ret_handle = NULL;
	return 0;
}

static void memory_unmap(struct io *io, void *handle)
{
	(void)io;
	(void)handle;
}

static void memory_close(struct io *io)
{
	free(io);
}

static const struct io_ops memory_ops = {
	.pread = memory_pread,
	.map = memory_map,
	.unmap = memory_unmap,
	.close = memory_close,
};

int io_open_memory(const void *data, size_t len, struct io **ret, struct ply_err *err)
{
	struct io_memory *m = calloc(1, sizeof(*m));

	if (!m)
		return ply_fail_nomem(err);
	m->io.ops = &memory_ops;
	m->io.size = len;
	m->io.fd = -1;
	m->data = data;
	*ret = &m->io;
	return 0;
}
