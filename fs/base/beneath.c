/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * openat2(2) with RESOLVE_BENEATH says in one call what a loop of openat and
 * O_NOFOLLOW says in one call per component. The loop is kept for kernels and
 * sandboxes without openat2. A path is cut where PATH_MAX would be exceeded: each
 * piece is resolved beneath the directory that the piece before opened, and no
 * piece can go up, so the whole cannot either.
 */
#include "base/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

#define PIECE (PATH_MAX - 1)

static atomic_bool no_openat2;     /* found out once, for the process */

/* One component with openat: @name is NUL-terminated and has no slash. */
static int open_component(int dir, const char *name, int flags)
{
	int fd;

	if (!strcmp(name, ".."))
		return -EXDEV;
	fd = openat(dir, name, flags | O_NOFOLLOW);
	/* as openat2 has it: a symlink is ELOOP, whatever O_DIRECTORY thinks of it */
	if (fd < 0 && errno == ENOTDIR && flags & O_DIRECTORY) {
		int probe = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		char target[1];
		bool link = probe >= 0 && readlinkat(probe, "", target, sizeof(target)) >= 0;

		if (probe >= 0)
			close(probe);
		return link ? -ELOOP : -ENOTDIR;
	}
	return fd < 0 ? -errno : fd;
}

static int open_by_component(int dir, char *path, int flags)
{
	_cleanup_close_ int at = -1;

	if (*path == '/')
		return -EXDEV;
	for (;;) {
		char *slash = strchr(path, '/');
		int fd;

		if (slash)
			*slash = '\0';
		fd = open_component(at >= 0 ? at : dir, path,
				    slash ? O_PATH | O_DIRECTORY | O_CLOEXEC : flags);
		if (fd < 0 || !slash)
			return fd;
		if (at >= 0)
			close(at);
		at = fd;
		path = slash + 1;
	}
}

/* @path is NUL-terminated, at most PIECE bytes, and is overwritten. */
static int open_piece(int dir, char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	if (atomic_load_explicit(&no_openat2, memory_order_relaxed))
		return open_by_component(dir, path, flags);
	do
		fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {   /* seccomp says either */
		atomic_store_explicit(&no_openat2, true, memory_order_relaxed);
		return open_by_component(dir, path, flags);
	}
	return fd < 0 ? -errno : fd;
}

int beneath_open(int root, const char *path, size_t len, int flags)
{
	_cleanup_close_ int at = -1;
	char piece[PIECE + 1];

	flags |= O_DIRECTORY | O_CLOEXEC;
	if (!len) {
		int fd = openat(root, ".", flags);

		return fd < 0 ? -errno : fd;
	}
	for (;;) {
		size_t n = len;
		int fd;

		if (n > PIECE) {
			const char *slash = memrchr(path, '/', PIECE);

			if (!slash || slash == path)
				return -ENAMETOOLONG;
			n = (size_t)(slash - path);
		}
		memcpy(piece, path, n);
		piece[n] = '\0';
		fd = open_piece(at >= 0 ? at : root, piece,
				n == len ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || n == len)
			return fd;
		if (at >= 0)
			close(at);
		at = fd;
		path += n + 1;
		len -= n + 1;
	}
}
