/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * openat2(2) has RESOLVE_IN_ROOT for this, but a loop is needed anyway where there is no
 * openat2, and few files are opened this way: so there is the loop only. The directories
 * walked so far are kept as text without symlinks and opened beneath @root each time; text
 * can go up, a descriptor could be moved meanwhile.
 */
#include "base/inroot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"

static void go_up(struct buf *dir)
{
	const uint8_t *slash = dir->len ? memrchr(dir->data, '/', dir->len) : NULL;

	dir->len = slash ? (size_t)(slash - dir->data) : 0;
}

static int go_down(struct buf *dir, const char *name, size_t len)
{
	int r = dir->len ? buf_add(dir, "/", 1) : 0;

	return r < 0 ? r : buf_add(dir, name, len);
}

/* What is left to walk becomes @target, a slash, and @rest. */
static int prepend(struct buf *todo, const char *target, const char *rest)
{
	struct buf joined = { 0 };
	int r = buf_printf(&joined, "%s/%s", target, rest);

	if (r == 0)
		r = buf_add(&joined, "", 1);
	buf_done(todo);
	*todo = joined;
	return r;
}

int inroot_open(int root, const char *path, int flags)
{
	_cleanup_buf_ struct buf dir = { 0 }, todo = { 0 };
	unsigned links = 0;
	size_t at = 0;
	int r = buf_add(&todo, path, strlen(path) + 1);

	if (r < 0)
		return r;
	for (;;) {
		_cleanup_close_ int fd = -1;
		char name[NAME_MAX + 1], target[PATH_MAX];
		const char *p = (const char *)todo.data + at;
		const char *rest;
		ssize_t n;
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		rest = p + len;
		rest += strspn(rest, "/");
		at = (size_t)(rest - (const char *)todo.data);
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		if (len == 2 && !memcmp(p, "..", 2))
			go_up(&dir);
		fd = beneath_open(root, (const char *)dir.data, dir.len, O_PATH);
		if (fd < 0)
			return fd;
		if (!len || (len == 1 && *p == '.') || (len == 2 && !memcmp(p, "..", 2))) {
			if (*rest)
				continue;
			r = openat(fd, ".", flags | O_CLOEXEC);
			return r < 0 ? -errno : r;
		}
		memcpy(name, p, len);
		name[len] = '\0';
		n = *rest || !(flags & O_NOFOLLOW) ? readlinkat(fd, name, target, sizeof(target)) : -1;
		if (n >= 0) {
			if (n == sizeof(target))
				return -ENAMETOOLONG;
			if (++links > INROOT_LINKS)
				return -ELOOP;
			target[n] = '\0';
			if (target[0] == '/')
				dir.len = 0;
			r = prepend(&todo, target, rest);
			if (r < 0)
				return r;
			at = 0;
			continue;
		}
		if (!*rest) {
			r = openat(fd, name, flags | O_NOFOLLOW | O_CLOEXEC);
			return r < 0 ? -errno : r;
		}
		r = go_down(&dir, name, len);
		if (r < 0)
			return r;
	}
}

/* The file may grow while it is read: it is read to its end, or to @max. */
static int read_all(int fd, size_t max, struct buf *out)
{
	struct stat st;
	size_t start = out->len;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	for (size_t want = (size_t)st.st_size + 1;; want = 64 << 10) {
		ssize_t n;

		r = buf_reserve(out, want + 1);
		if (r < 0)
			return r;
		n = read(fd, out->data + out->len, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		out->len += (size_t)n;
		if (out->len - start > max)
			return -EFBIG;
		if (n == 0)
			break;
	}
	out->data[out->len] = '\0';
	return 0;
}

int inroot_read(int root, const char *path, size_t max, struct buf *out)
{
	_cleanup_close_ int fd = inroot_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? fd : read_all(fd, max, out);
}

int inroot_read_at(int dir, const char *name, size_t max, struct buf *out)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW |
					O_CLOEXEC);

	return fd < 0 ? -errno : read_all(fd, max, out);
}

int inroot_read_file(const char *path, size_t max, struct buf *out)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? -errno : read_all(fd, max, out);
}
