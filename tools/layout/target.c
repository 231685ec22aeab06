/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The target directory itself. While it is being filled it is 0700, like all directories in
 * it, so that nobody reads a file whose owner is not set yet; a default ACL on it would be
 * inherited by all that is made, so it goes first. Both are put back if the layout fails; they are in the plan
 * (state.c) before they are changed. Its other attributes give way to those of the image's root; the directory of the
 * state keeps them.
 *
 * The lock (flock on the directory) keeps two layouts apart; it ends with the process.
 */
#include "layout/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
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

#define NOTE "user.plyfs.before"

/* Not what the kernel gives by itself, nor ACLs, which are in the plan. */
static bool is_own_xattr(const char *name)
{
	return (!strncmp(name, "user.", 5) && strcmp(name, NOTE) != 0) || !strncmp(name, "trusted.", 8);
}

/* The names that @fd has, one behind the other, each with a NUL; NULL and 0: none, or a file system without. */
static int list_xattrs(int fd, char **ret, size_t *ret_len)
{
	ssize_t n = flistxattr(fd, NULL, 0);

	*ret = NULL;
	*ret_len = 0;
	if (n <= 0)
		return 0;
	*ret = malloc((size_t)n);
	if (!*ret)
		return -ENOMEM;
	n = flistxattr(fd, *ret, (size_t)n);
	*ret_len = n < 0 ? 0 : (size_t)n;
	return n < 0 ? -errno : 0;
}

/* -ENODATA, -errno. */
static int get_xattr(int fd, const char *name, void **ret, size_t *ret_len)
{
	ssize_t n = fgetxattr(fd, name, NULL, 0);

	if (n < 0)
		return -errno;
	*ret = malloc((size_t)n + 1);
	if (!*ret)
		return -ENOMEM;
	n = fgetxattr(fd, name, *ret, (size_t)n);
	*ret_len = n < 0 ? 0 : (size_t)n;
	return n < 0 ? -errno : 0;
}

/* What it has already is not set again: on a full disk that could fail. */
static int set_xattr(int fd, const char *name, const void *value, size_t len)
{
	_cleanup_free_ void *is = NULL;
	size_t is_len = 0;

	if (get_xattr(fd, name, &is, &is_len) == 0 && is_len == len && memcmp(is, value, len) == 0)
		return 0;
	return fsetxattr(fd, name, value, len, 0) < 0 ? -errno : 0;
}

static int copy_xattrs(int from, int to)
{
	_cleanup_free_ char *list = NULL;
	size_t n;
	int r = list_xattrs(from, &list, &n);

	for (const char *p = list; r == 0 && p && p < list + n; p += strlen(p) + 1) {
		_cleanup_free_ void *value = NULL;
		size_t len = 0;

		if (!is_own_xattr(p))
			continue;
		r = get_xattr(from, p, &value, &len);
		if (r == 0)
			r = set_xattr(to, p, value, len);
	}
	return r;
}

int target_keep_xattrs(const struct target *t, int keeper)
{
	return t->mine ? copy_xattrs(t->fd, keeper) : 0;
}

/* Those of its own, and ACLs, but what @keeper has too. */
static int clear_xattrs(int fd, int keeper)
{
	_cleanup_free_ char *list = NULL;
	size_t n;
	int r = list_xattrs(fd, &list, &n);

	for (const char *p = list; r == 0 && p && p < list + n; p += strlen(p) + 1) {
		if (!is_own_xattr(p) && strncmp(p, "system.posix_acl_", 17) != 0)
			continue;
		if ((keeper < 0 || fgetxattr(keeper, p, NULL, 0) < 0) && fremovexattr(fd, p) < 0)
			r = -errno;
	}
	return r;
}

int target_clear_xattrs(int fd)
{
	return clear_xattrs(fd, -1);
}

int target_restore(struct target *t, int keeper)
{
	int r = 0;

	if (!t->changed || !t->mine)
		return 0;
	if (t->finished && keeper >= 0) {
		r = clear_xattrs(t->fd, keeper);
		if (r == 0)
			r = copy_xattrs(keeper, t->fd);
	}
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

void target_note(const struct target *t)
{
	char text[80];
	int n = snprintf(text, sizeof(text), "%o.%lld.%09ld", t->before.st_mode & 07777, (long long)t->before.st_mtim.tv_sec,
			 t->before.st_mtim.tv_nsec);

	if (t->mine && fsetxattr(t->fd, NOTE, text, (size_t)n, 0) < 0)
		errno = 0;         /* it is only for those who are killed just then */
}

bool target_was_noted(struct target *t)
{
	char text[80];
	ssize_t n = fgetxattr(t->fd, NOTE, text, sizeof(text) - 1);
	long long sec;
	unsigned mode;
	long nsec;

	text[MAX(n, 0)] = '\0';
	if (sscanf(text, "%o.%lld.%ld", &mode, &sec, &nsec) != 3 || mode > 07777 || nsec < 0 || nsec > 999999999)
		return false;
	t->before.st_mtim = (struct timespec){ sec, nsec };
	t->changed = true;
	/* others may write to the directory, and to its attributes: a mode is believed only where ours is there */
	if (geteuid() && t->before.st_uid == geteuid() && (t->before.st_mode & 07777) == 0700) {
		t->before.st_mode = (t->before.st_mode & S_IFMT) | mode;
		t->early = true;
	}
	return true;
}

int target_restore_times(struct target *t)
{
	const struct timespec times[2] = { t->before.st_atim, t->before.st_mtim };
	int r = 0;

	if (!t->changed)
		return 0;
	t->changed = false;
	if (futimens(t->fd, times) < 0 && t->mine)
		r = -errno;
	/* before the mode, which may not let us any more */
	if (r == 0 && t->mine && fremovexattr(t->fd, NOTE) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
		r = -errno;
	if (t->early && t->mine && fchmod(t->fd, t->before.st_mode & 07777) < 0)
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
