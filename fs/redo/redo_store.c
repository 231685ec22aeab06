/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A log as a regular file. Records and data go by pwrite: they are in the page cache when it returns, so that a killed
 * process loses nothing. Rejected: a map of the tail. It would save a third of a microsecond for each record, of the
 * tens that a request takes, and a full disk would be a SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_internal.h"

struct file_store {
	struct redo_store s;
	int fd;
};

static int fd_of(struct redo_store *s)
{
	return ((struct file_store *)s)->fd;
}

static int file_pread(struct redo_store *s, void *buf, size_t len, uint64_t off)
{
	return pread_full(fd_of(s), buf, len, off);
}

static int file_pwrite(struct redo_store *s, const void *buf, size_t len, uint64_t off)
{
	int r = pwrite_full(fd_of(s), buf, len, off);

	return r == -EFBIG ? -ENOSPC : r;      /* of the file system, or of RLIMIT_FSIZE */
}

static int file_sync(struct redo_store *s)
{
	return fdatasync(fd_of(s)) < 0 ? -errno : 0;
}

static int file_punch(struct redo_store *s, uint64_t off, uint64_t len)
{
	return fallocate(fd_of(s), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

static int file_reserve(struct redo_store *s, uint64_t off, uint64_t len)
{
	return fallocate(fd_of(s), FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

static int file_size(struct redo_store *s, uint64_t *ret)
{
	struct stat st;

	if (fstat(fd_of(s), &st) < 0)
		return -errno;
	*ret = (uint64_t)st.st_size;
	return 0;
}

static void file_close(struct redo_store *s)
{
	close(fd_of(s));
	free(s->path);
	free(s);
}

/* One that cannot be looked at, as on NFS (ESTALE), may still be there. */
static bool file_is_removed(struct redo_store *s)
{
	struct stat st;

	return fstat(fd_of(s), &st) == 0 && st.st_nlink == 0;
}

static int make_store(int fd, const char *path, bool read_only, struct redo_store **ret, struct ply_err *err)
{
	struct file_store *f = calloc(1, sizeof(*f));
	char *copy = strdup(path);

	if (!f || !copy) {
		free(f);
		free(copy);
		return ply_fail_nomem(err);
	}
	f->s = (struct redo_store){ file_pread, file_pwrite, file_sync,       file_punch, file_reserve,
				    file_size,  file_close,  file_is_removed, read_only,  copy };
	f->fd = fd;
	*ret = &f->s;
	return 0;
}

struct redo_store *redo_store_close(struct redo_store *s)
{
	if (s)
		s->close(s);
	return NULL;
}

static int lock_file(int fd, const char *path, unsigned flags, struct ply_err *err)
{
	if (flags & REDO_LOOK || flock(fd, (flags & REDO_WRITE ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return ply_fail(err, -EAGAIN, PLY_R_REDO_BUSY,
				"%s: another process has this log open (lslocks says which)", path);
	return ply_fail_sys(err, -errno, "%s: cannot lock the log", path);
}

int redo_store_open(const char *path, unsigned flags, struct redo_store **ret, struct ply_err *err)
{
	const int how = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	_cleanup_close_ int fd = open(path, how | (flags & REDO_WRITE ? O_RDWR : O_RDONLY));
	bool read_only = !(flags & REDO_WRITE);
	struct stat st;
	int r;

	if (fd < 0 && flags & REDO_WRITE && (errno == EROFS || errno == EACCES || errno == EPERM)) {
		read_only = true;
		fd = open(path, how | O_RDONLY);
	}
	if (fd < 0 && errno == ENOENT)
		return ply_fail(err, -ENOENT, PLY_R_REDO_NOT_FOUND, "%s: no such log", path);
	if (fd < 0)
		return ply_fail_sys(err, -errno, "%s: cannot open the log", path);
	if (fstat(fd, &st) < 0)
		return ply_fail_sys(err, -errno, "%s: stat", path);
	if (!S_ISREG(st.st_mode))
		return ply_fail(err, -EINVAL, PLY_R_REDO_NOT_REDO, "%s: is no regular file, so no log", path);
	r = lock_file(fd, path, read_only ? flags & ~(unsigned)REDO_WRITE : flags, err);
	if (r == 0)
		r = make_store(fd, path, read_only, ret, err);
	if (r == 0)
		(void)TAKE_FD(fd);
	return r;
}

/* --- a new one --------------------------------------------------------------------------------------- */

static int sync_dir(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (!copy)
		return -ENOMEM;
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Nameless, where the file system can do that; else with its name. What is secret in an image may come to be in it: it is
 * its owner's alone, as an image is. */
static int make_file(const char *path, bool *ret_named)
{
	_cleanup_free_ char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;

	*ret_named = false;
	if (fd < 0 && copy && (errno == EOPNOTSUPP || errno == EISDIR)) {
		*ret_named = true;
		fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	}
	return fd < 0 ? copy ? -errno : -ENOMEM : fd;
}

static int exists(const char *path, int code, struct ply_err *err)
{
	if (code == -EEXIST)
		return ply_fail(err, code, PLY_R_REDO_EXISTS, "%s: exists; a log is a new file", path);
	return ply_fail_sys(err, code, "%s: cannot make the log", path);
}

static int give_name(struct redo_store *s, const char *path, struct ply_err *err)
{
	char proc[40];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd_of(s));
	if (linkat(AT_FDCWD, proc, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
		return exists(path, -errno, err);
	return 0;
}

int redo_create(const char *path, const struct redo_binding *b, struct ply_err *err)
{
	uint8_t uuid[16];
	struct redo_store *s;
	struct timespec now;
	bool named;
	int r, fd;

	if (access(path, F_OK) == 0)
		return exists(path, -EEXIST, err);
	fd = make_file(path, &named);
	if (fd < 0)
		return exists(path, fd, err);
	r = make_store(fd, path, false, &s, err);
	if (r < 0) {
		close(fd);
		return r;
	}
	random_bytes(uuid, sizeof(uuid));
	clock_gettime(CLOCK_REALTIME, &now);
	r = redo_format(s, b, uuid, now.tv_sec, err);
	if (r == 0 && !named)
		r = give_name(s, path, err);
	if (r == 0) {
		r = sync_dir(path);
		if (r < 0)
			ply_fail_sys(err, r, "%s: cannot sync the folder of the log", path);
		named = true;
	}
	if (r < 0 && named)
		unlink(path);
	redo_store_close(s);
	return r;
}

/* --- one that nobody keeps ---------------------------------------------------------------------------- */

/* What is gone with the process need not be on the disk. */
static int no_sync(struct redo_store *s)
{
	(void)s;
	return 0;
}

int redo_open_volatile(int fd, const struct redo_binding *b, struct redo **ret, struct ply_err *err)
{
	struct redo_store *s;
	uint8_t uuid[16];
	int r = make_store(fd, "volatile log", false, &s, err);

	if (r < 0) {
		close(fd);
		return r;
	}
	s->sync = no_sync;
	s->is_removed = NULL;
	random_bytes(uuid, sizeof(uuid));
	r = redo_format(s, b, uuid, time(NULL), err);
	if (r < 0) {
		redo_store_close(s);
		return r;
	}
	return redo_open(s, REDO_WRITE, ret, err);
}
