/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The I/O seam. Everything that reads an image goes through a `struct io`, so
 * that the same code runs over a file, over memory (tests, fuzzing) and over a
 * failing double.
 */
#ifndef PLYFS_IO_H
#define PLYFS_IO_H

#include <stddef.h>
#include <stdint.h>

#include "plyfs/error.h"

struct io;

struct io_ops {
	/* Whole transfer; -EIO at an early end. Thread-safe. */
	int (*pread)(struct io *io, void *buf, size_t len, uint64_t off);
	/* Borrow [off, off + len) as memory until io_unmap.
	 * Never faults: what cannot be read shows as zeros (see sigbus.h). */
	int (*map)(struct io *io, uint64_t off, size_t len, const void **ret, void **ret_handle);
	void (*unmap)(struct io *io, void *handle);
	void (*close)(struct io *io);
};

struct io {
	const struct io_ops *ops;
	uint64_t size;             /* bytes, as of open */
	char *path;                /* absolute; NULL where it is not a file */
	int fd;                    /* -1 where it is not a file */
};

/* Open a regular file read-only: IMAGE_NOT_FOUND, IMAGE_NOT_REGULAR, SYSTEM. */
int io_open_file(const char *path, struct io **ret, struct ply_err *err);
/* Borrow @data for the life of the object. */
int io_open_memory(const void *data, size_t len, struct io **ret, struct ply_err *err);
struct io *io_close(struct io *io);   /* NULL in, NULL out */

static inline int io_pread(struct io *io, void *buf, size_t len, uint64_t off)
{
	return io->ops->pread(io, buf, len, off);
}

static inline int io_map(struct io *io, uint64_t off, size_t len, const void **ret,
			 void **ret_handle)
{
	return io->ops->map(io, off, len, ret, ret_handle);
}

static inline void io_unmap(struct io *io, void *handle)
{
	if (handle)
		io->ops->unmap(io, handle);
}

#endif
