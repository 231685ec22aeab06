/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See outfile.h. The new file lies beside the old one until it is whole and on the disk. */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

/* Where a file is written: the end of its links. */
struct place {
	char *path;
	bool is_special;           /* written into */
	bool is_there;
	struct stat st;            /* where it is there */
};

static void place_done(struct place *p)
{
	free(p->path);
}
#define _cleanup_place_ __attribute__((cleanup(place_done)))

static int cannot(struct ply_err *err, int r, const char *file)
{
	return ply_fail_sys(err, r, "cannot write %s", file);
}

static int find_place(const char *file, struct place *ret, struct ply_err *err)
{
	struct stat link;

	*ret = (struct place){ 0 };
	ret->is_there = stat(file, &ret->st) == 0;
	if (!ret->is_there && errno != ENOENT)
		return cannot(err, -errno, file);
	if (!ret->is_there && lstat(file, &link) == 0)
		return ply_fail(err, -ENOENT, PLY_R_SYSTEM, "cannot write %s: the symbolic link leads nowhere", file);
	if (ret->is_there && S_ISDIR(ret->st.st_mode))
		return cannot(err, -EISDIR, file);
	ret->is_special = ret->is_there && !S_ISREG(ret->st.st_mode);
	/* what a link in /proc leads to may have no path of its own */
	ret->path = ret->is_there && !ret->is_special ? realpath(file, NULL) : strdup(file);
	return ret->path ? 0 : cannot(err, -errno, file);
}

/* A file beside it; *ret_path is malloc-ed. Who may not write the old one may not replace it. */
static int open_beside(const struct place *p, char **ret_path)
{
	int fd;

	if (p->is_there && access(p->path, W_OK) < 0)
		return -errno;
	if (asprintf(ret_path, "%s.XXXXXX", p->path) < 0) {
		*ret_path = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(*ret_path, O_CLOEXEC);
	if (fd >= 0)
		return fd;
	fd = -errno;
	free(TAKE_PTR(*ret_path));
	return fd;
}

int outfile_check(const char *file, struct ply_err *err)
{
	_cleanup_free_ char *beside = NULL;
	_cleanup_place_ struct place p;
	int fd, r = find_place(file, &p, err);

	if (r < 0)
		return r;
	if (p.is_special)
		return access(file, W_OK) < 0 ? cannot(err, -errno, file) : 0;
	fd = open_beside(&p, &beside);
	if (fd < 0)
		return cannot(err, fd, file);
	close(fd);
	unlink(beside);
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Mode and owner of the old file stay as far as they can; a new one is as open(2) makes it. */
static int settle(int fd, const struct place *p)
{
	mode_t mask = umask(0);

	umask(mask);
	if (!p->is_there)
		return fchmod(fd, 0666 & ~mask) < 0 ? -errno : 0;
	if (fchown(fd, p->st.st_uid, p->st.st_gid) < 0 && p->st.st_uid == geteuid())
		return -errno;
	return fchmod(fd, p->st.st_mode & 0777) < 0 ? -errno : 0;
}

static int replace(const struct place *p, const char *data, size_t len)
{
	_cleanup_free_ char *beside = NULL;
	int fd = open_beside(p, &beside), r;

	if (fd < 0)
		return fd;
	r = write_all(fd, data, len);
	if (r == 0)
		r = settle(fd, p);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(beside, p->path) < 0)
		r = -errno;
	if (r < 0)
		unlink(beside);
	return r;
}

static int write_into(const char *file, const char *data, size_t len)
{
	int fd = open(file, O_WRONLY | O_NOCTTY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = write_all(fd, data, len);
	return close(fd) < 0 && r == 0 ? -errno : r;
}

int outfile_write(const char *file, const void *data, size_t len, struct ply_err *err)
{
	_cleanup_place_ struct place p;
	int r = find_place(file, &p, err);

	if (r < 0)
		return r;
	r = p.is_special ? write_into(file, data, len) : replace(&p, data, len);
	return r < 0 ? cannot(err, r, file) : 0;
}

static bool same_inode(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool outfile_is_below(const char *file, const char *dir)
{
	const char *slash = strrchr(file, '/');
	_cleanup_free_ char *real = realpath(file, NULL), *up = NULL;
	struct stat top, at, above;
	int fd;

	if (real) {
		slash = strrchr(real, '/');
		file = real;
	}
	up = slash ? strndup(file, (size_t)(slash - file) + 1) : strdup(".");
	fd = up ? open(up, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0 || stat(dir, &top) < 0 || fstat(fd, &at) < 0) {
		cleanup_close(&fd);
		return false;
	}
	for (;;) {
		int next = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		close(fd);
		fd = next;
		if (fd < 0 || fstat(fd, &above) < 0 || same_inode(&above, &at)) {
			cleanup_close(&fd);
			return false;
		}
		if (same_inode(&at, &top)) {
			close(fd);
			return true;
		}
		at = above;
	}
}

bool outfile_is_same(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && same_inode(&x, &y);
}
