/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The target directory itself. While it is being filled it is 0700, like all directories in
 * it, so that nobody reads a file whose owner is not set yet; a default ACL on it would be
 * inherited by all that is made, so it goes first. Both are put back if the layout fails; they are in the plan
 * (state.c) before they are changed.
 *
 * The lock (flock on the directory) keeps two layouts apart; it ends with the process.
 */
#include "layout/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/mnt.h"
#include "base/util.h"

#ifndef ZFS_SUPER_MAGIC
#define ZFS_SUPER_MAGIC 0x2fc12fc1
#endif
#ifndef BCACHEFS_SUPER_MAGIC
#define BCACHEFS_SUPER_MAGIC 0xca451a4e
#endif
#define LINK_MAX_GUESS 127         /* what glibc says where it does not know */

const char *const target_acl_names[2] = { "system.posix_acl_access", "system.posix_acl_default" };

int target_check_empty(const struct target *t, struct ply_err *err)
{
	struct mnt_place place = { 0 };
	const struct dirent *de;
	char shown[600];
	int fd, r = 0;
	DIR *d;

	fd = openat(t->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		r = ply_fail_sys(err, -errno, "%s: cannot list", t->path);
		if (fd >= 0)
			close(fd);
		return r;
	}
	mnt_place_fd(t->fd, &place);
	while (errno = 0, (de = readdir(d))) {
		struct stat st;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (place.is_root && !strcmp(de->d_name, "lost+found") &&
		    fstatat(t->fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
			continue;
		escape_name_to(de->d_name, strlen(de->d_name), shown, sizeof(shown));
		r = ply_fail(err, -ENOTEMPTY, PLY_R_TARGET_NOT_EMPTY,
			     "%s: is not empty, it holds %s; a layout goes into an empty directory", t->path, shown);
		break;
	}
	if (r == 0 && errno)
		r = ply_fail_sys(err, -errno, "%s: cannot list", t->path);
	closedir(d);
	return r;
}

static int look(struct target *t)
{
	struct statfs fs;
	long n;

	if (fstatfs(t->fd, &fs) < 0)
		return -errno;
	t->block = fs.f_frsize ? (uint64_t)fs.f_frsize : (uint64_t)fs.f_bsize;
	t->name_max = fs.f_namelen > 0 ? (long)fs.f_namelen : -1;
	t->free_bytes = (geteuid() ? fs.f_bavail : fs.f_bfree) * t->block;
	t->free_inodes = fs.f_files ? fs.f_ffree : UINT64_MAX;
	/* these compress, or keep small files with the metadata: nobody knows what fits */
	if (fs.f_type == BTRFS_SUPER_MAGIC || (unsigned long)fs.f_type == ZFS_SUPER_MAGIC ||
	    (unsigned long)fs.f_type == BCACHEFS_SUPER_MAGIC)
		t->free_bytes = UINT64_MAX;
	/* a tmpfs without limits, a network file system that does not tell */
	if (!fs.f_blocks)
		t->free_bytes = UINT64_MAX;
	n = fpathconf(t->fd, _PC_LINK_MAX);
	t->link_max = n > LINK_MAX_GUESS ? n : -1;
	return 0;
}

int target_look(struct target *t, const char *path, struct ply_err *err)
{
	*t = (struct target){ .path = path, .fd = -1 };
	t->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->fd < 0) {
		switch (errno) {
		case ENOENT:
			return ply_fail(err, -ENOENT, PLY_R_TARGET_NOT_FOUND,
					"%s: there is no such directory; make it first", path);
		case ENOTDIR:
			return ply_fail(err, -ENOTDIR, PLY_R_TARGET_NOT_DIRECTORY,
					"%s: is not a directory", path);
		}
		return ply_fail_sys(err, -errno, "%s: cannot open", path);
	}
	return 0;
}

int target_open(struct target *t, const char *path, struct ply_err *err)
{
	int r = target_look(t, path, err);

	if (r < 0)
		return r;
	if (flock(t->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
		r = ply_fail(err, -EBUSY, PLY_R_TARGET_BUSY,
			     "%s: another layout is at work there; wait until it ends", path);
		goto fail;
	}
	r = fstat(t->fd, &t->before) < 0 ? -errno : look(t);
	if (r < 0) {
		ply_fail_sys(err, r, "%s: stat", path);
		goto fail;
	}
	return 0;
fail:
	target_close(t);
	return r;
}

static int save_acl(struct target *t, int i)
{
	ssize_t n = fgetxattr(t->fd, target_acl_names[i], NULL, 0);

	if (n <= 0)
		return 0;
	t->acl[i] = malloc((size_t)n);
	if (!t->acl[i])
		return -ENOMEM;
	n = fgetxattr(t->fd, target_acl_names[i], t->acl[i], (size_t)n);
	if (n < 0)
		return -errno;
	t->acl_len[i] = (size_t)n;
	return 0;
}

int target_own(struct target *t, struct ply_err *err)
{
	/* who may set a time may set all; this one it has already */
	const struct timespec same[2] = { { .tv_nsec = UTIME_OMIT }, t->before.st_mtim };
	int r = futimens(t->fd, same) < 0 ? -errno : 0;

	t->mine = r == 0;
	if (r == -EPERM || r == -EACCES)   /* it belongs to another: the probe will tell */
		return 0;
	for (int i = 0; r == 0 && i < 2; i++) {
		r = save_acl(t, i);
		if (r < 0)
			return ply_fail_sys(err, r, "%s: cannot read its ACL", t->path);
	}
	if (r == 0 && geteuid() && (t->before.st_mode & 0300) != 0300) {
		t->early = t->changed = true;
		r = fchmod(t->fd, 0700) < 0 ? -errno : 0;
	}
	return r < 0 ? ply_fail(err, r, PLY_R_TARGET_WRITE, "%s: cannot change it: %s", t->path, strerror(-r)) : 0;
}

int target_take(struct target *t, struct ply_err *err)
{
	int r = 0;

	t->changed = true;
	if (!t->mine)
		return 0;
	for (int i = 0; i < 2; i++)
		if (t->acl[i] && fremovexattr(t->fd, target_acl_names[i]) < 0 && errno != ENODATA)
			r = -errno;
	if (r == 0 && fchmod(t->fd, 0700) < 0)
		r = -errno;
	return r < 0 ? ply_fail(err, r, PLY_R_TARGET_WRITE, "%s: cannot change it: %s", t->path, strerror(-r)) : 0;
}

int target_clear_xattrs(int fd)
{
	_cleanup_free_ char *list = NULL;
	ssize_t n = flistxattr(fd, NULL, 0);

	if (n <= 0)
		return 0;          /* none, or a file system without */
	list = malloc((size_t)n);
	if (!list)
		return -ENOMEM;
	n = flistxattr(fd, list, (size_t)n);
	for (const char *p = list; n > 0 && p < list + n; p += strlen(p) + 1) {
		if (!strncmp(p, "user.", 5) || !strncmp(p, "trusted.", 8) ||
		    !strncmp(p, "system.posix_acl_", 17))
			if (fremovexattr(fd, p) < 0)
				return -errno;
	}
	return 0;
}

int target_restore(struct target *t)
{
	int r = 0;

	if (!t->changed || !t->mine)
		return 0;
	if (t->finished)
		r = target_clear_xattrs(t->fd);
	/* the owner last changed is the first put back: chmod and ACLs come after it */
	if (fchown(t->fd, t->before.st_uid, t->before.st_gid) < 0)
		r = -errno;
	for (int i = 0; i < 2; i++)
		if (t->acl[i] && fsetxattr(t->fd, target_acl_names[i], t->acl[i], t->acl_len[i], 0) < 0)
			r = -errno;
	if (fchmod(t->fd, t->early ? 0700 : t->before.st_mode & 07777) < 0)
		r = -errno;
	return r;
}

int target_restore_times(struct target *t)
{
	const struct timespec times[2] = { t->before.st_atim, t->before.st_mtim };
	int r = 0;

	if (!t->changed)
		return 0;
	t->changed = false;
	if (t->early && t->mine && fchmod(t->fd, t->before.st_mode & 07777) < 0)
		r = -errno;
	if (futimens(t->fd, times) < 0 && t->mine)
		r = -errno;
	return r;
}

void target_close(struct target *t)
{
	for (int i = 0; i < 2; i++)
		free(TAKE_PTR(t->acl[i]));
	cleanup_close(&t->fd);
	t->fd = -1;
}
