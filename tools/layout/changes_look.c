/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judging what is at a path of a target: see changes.h.
 *
 * A name is opened once, as O_PATH; type, owner, content and xattrs are then all of that one inode, whatever becomes of
 * the name meanwhile. What is written to while it is read gives a digest that nothing has: it is taken for changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"
#include "layout/changes.h"

#define PIECE     (64u << 10)
#define XATTR_MAX (64u << 10)      /* of a list and of a value: the kernel's limit */
#define FD_PATH   32

static void fd_path(int fd, char out[FD_PATH])
{
	snprintf(out, FD_PATH, "/proc/self/fd/%d", fd);
}

/* Of a call with such a path. Only without /proc is it not there: that says nothing of the target. */
static int proc_error(void)
{
	return errno == ENOENT ? -ENOSYS : -errno;
}

static int look_stat(int fd, struct change_side *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (struct change_side){
		.mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid,
		.mtime_sec = st.st_mtim.tv_sec, .mtime_nsec = (uint32_t)st.st_mtim.tv_nsec,
	};
	if (S_ISREG(st.st_mode))
		ret->size = (uint64_t)st.st_size;
	else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		ret->size = st.st_rdev;
	else if (S_ISLNK(st.st_mode))
		ret->mode = S_IFLNK | 0777;        /* some file systems have others, which say nothing */
	return 0;
}

/* --- xattrs -------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Name with its NUL, length of the value as u32, value. */
static int add_xattr(struct xxh128 *h, const char *path, const char *name, uint8_t *value)
{
	ssize_t n = getxattr(path, name, value, XATTR_MAX);
	le32 len;

	if (n < 0)
		return errno == ENODATA ? 0 : proc_error();
	len = le32_put((uint32_t)n);
	xxh128_add(h, name, strlen(name) + 1);
	xxh128_add(h, &len, sizeof(len));
	xxh128_add(h, value, (size_t)n);
	return 0;
}

static int digest_xattrs(const char *path, char *list, size_t len, uint8_t ret[16])
{
	_cleanup_free_ uint8_t *value = malloc(XATTR_MAX);
	_cleanup_free_ char **names = calloc(len + 1, sizeof(*names));
	struct xxh128 *h = xxh128_new();
	size_t n = 0;
	int r = 0;

	if (!value || !names || !h) {
		xxh128_free(h);
		return -ENOMEM;
	}
	for (size_t at = 0; at < len; at += strlen(list + at) + 1)
		names[n++] = list + at;
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_xattr(h, path, names[i], value);
	if (r == 0)
		xxh128_end(h, ret);
	xxh128_free(h);
	return r;
}

static int look_xattrs(int fd, struct change_side *ret)
{
	_cleanup_free_ char *list = NULL;
	char path[FD_PATH];
	ssize_t n;

	fd_path(fd, path);
	n = listxattr(path, NULL, 0);      /* of what it is open on, be it a symlink */
	if (n > 0) {
		list = malloc(XATTR_MAX + 1);
		if (!list)
			return -ENOMEM;
		n = listxattr(path, list, XATTR_MAX);
	}
	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : proc_error();
	if (!n)
		return 0;
	list[n] = '\0';
	return digest_xattrs(path, list, (size_t)n, ret->xattrs);
}

/* --- content ------------------------------------------------------------------------- */

static int look_target(int fd, struct change_side *ret)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(fd, "", target, sizeof(target));

	if (n < 0)
		return -errno;
	xxh128_once(target, (size_t)n, ret->digest);
	return 0;
}

/* The regular file that @fd is O_PATH of. */
static int open_to_read(int fd)
{
	char path[FD_PATH];
	int in;

	fd_path(fd, path);
	in = open(path, O_RDONLY | O_NOATIME | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (in < 0 && errno == EPERM)      /* of somebody else's, and we are not root */
		in = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return in < 0 ? proc_error() : in;
}

static int look_bytes(int fd, struct change_side *ret)
{
	_cleanup_free_ uint8_t *piece = malloc(PIECE);
	_cleanup_close_ int in = open_to_read(fd);
	struct xxh128 *h;
	uint64_t size = 0;
	ssize_t n;

	if (in < 0)
		return in;
	h = xxh128_new();
	if (!piece || !h) {
		xxh128_free(h);
		return -ENOMEM;
	}
	while ((n = read(in, piece, PIECE)) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		xxh128_add(h, piece, (size_t)n);
		size += (uint64_t)n;
	}
	if (n < 0)
		n = -errno;
	xxh128_end(h, ret->digest);
	xxh128_free(h);
	ret->size = size;
	return (int)n;
}

static int look_content(int fd, struct change_side *ret)
{
	if (S_ISREG(ret->mode))
		return look_bytes(fd, ret);
	return S_ISLNK(ret->mode) ? look_target(fd, ret) : 0;
}

/* --- both ---------------------------------------------------------------------------- */

int change_look_fd(int fd, struct change_side *ret)
{
	struct change_side side;
	int r = look_stat(fd, &side);

	if (r == 0)
		r = look_xattrs(fd, &side);
	if (r == 0)
		r = look_content(fd, &side);
	if (r == 0)
		*ret = side;
	return r;
}

int change_look(int dirfd, const char *name, struct change_side *ret)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		return change_look_fd(fd, ret);
	if (errno != ENOENT)
		return -errno;
	*ret = (struct change_side){ 0 };
	return 0;
}

int change_is(int dirfd, const char *name, const struct change_side *side)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct change_side is;
	int r;

	if (fd < 0)
		return errno == ENOENT ? !side->mode : -errno;
	r = look_stat(fd, &is);
	if (r < 0)
		return r;
	memcpy(is.digest, side->digest, sizeof(is.digest));
	memcpy(is.xattrs, side->xattrs, sizeof(is.xattrs));
	if (!change_same(&is, side))
		return 0;
	memset(is.xattrs, 0, sizeof(is.xattrs));
	r = look_xattrs(fd, &is);
	if (r == 0 && change_same(&is, side) && !change_is_unknown(side->digest))
		r = look_content(fd, &is);
	return r < 0 ? r : change_same(&is, side);
}
