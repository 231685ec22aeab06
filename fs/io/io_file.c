/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image as a regular file. Metadata is mapped, data is read with pread: a
 * failing pread is an error at the place that asked, and decoding from a
 * buffer is as fast as from the map. Maps are guarded against SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sigbus.h"
#include "base/util.h"
#include "io/io.h"
#include "plyfs/disk.h"

struct mapping {
	void *addr;
	size_t len;
	int slot;
};

static int file_pread(struct io *io, void *buf, size_t len, uint64_t off)
{
	return pread_full(io->fd, buf, len, off);
}

static int file_map(struct io *io, uint64_t off, size_t len, const void **ret, void **ret_handle)
{
	uint64_t start = off / PLY_PAGE * PLY_PAGE;
	struct mapping *m;

	if (off > io->size || len > io->size - off || !len)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->len = len + (size_t)(off - start);
	m->addr = mmap(NULL, m->len, PROT_READ, MAP_SHARED, io->fd, (off_t)start);
	if (m->addr == MAP_FAILED) {
		int r = -errno;

		free(m);
		return r;
	}
	m->slot = sigbus_guard(m->addr, m->len);
	if (m->slot < 0) {
		int r = m->slot;

		munmap(m->addr, m->len);
		free(m);
		return r;
	}
	*ret = (const uint8_t *)m->addr + (off - start);
	*ret_handle = m;
	return 0;
}

static void file_unmap(struct io *io, void *handle)
{
	struct mapping *m = handle;

	(void)io;
	sigbus_release(m->slot);
	munmap(m->addr, m->len);
	free(m);
}

static void file_close(struct io *io)
{
	close(io->fd);
	free(io->path);
	free(io);
}

static const struct io_ops file_ops = {
	.pread = file_pread,
	.map = file_map,
	.unmap = file_unmap,
	.close = file_close,
};

int io_open_file(const char *path, struct io **ret, struct ply_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	struct io *io;

	if (fd < 0 && errno == ENOENT)
		return ply_fail(err, -ENOENT, PLY_R_IMAGE_NOT_FOUND, "%s: no such image", path);
	if (fd < 0)
		return ply_fail_sys(err, -errno, "%s: cannot open the image", path);
	if (fstat(fd, &st) < 0)
		return ply_fail_sys(err, -errno, "%s: stat", path);
	if (!S_ISREG(st.st_mode))
		return ply_fail(err, -EINVAL, PLY_R_IMAGE_NOT_REGULAR,
				"%s: is a %s, not an image file", path,
				S_ISDIR(st.st_mode) ? "directory" :
				S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode) ? "device" : "special file");
	sigbus_install();
	io = calloc(1, sizeof(*io));
	if (!io)
		return ply_fail_nomem(err);
	io->ops = &file_ops;
	io->size = (uint64_t)st.st_size;
	io->path = realpath(path, NULL);
	if (!io->path)
		io->path = strdup(path);
	io->fd = TAKE_FD(fd);
	if (!io->path) {
		io_close(io);
		return ply_fail_nomem(err);
	}
	*ret = io;
	return 0;
}

struct io *io_close(struct io *io)
{
	if (io)
		io->ops->close(io);
	return NULL;
}
