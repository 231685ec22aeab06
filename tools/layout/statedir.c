/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "layout/target.h"

int statedir_open(int at, const char *name)
{
	return beneath_open(at, name, strlen(name), O_RDONLY);
}

static int strip(int fd, mode_t mode)
{
	struct stat st;

	for (int i = 0; i < 2; i++)
		if (fremovexattr(fd, target_acl_names[i]) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
			return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	return (st.st_mode & 07777) != mode && fchmod(fd, mode) < 0 ? -errno : 0;
}

int statedir_make(int at, const char *name, mode_t mode)
{
	int fd, r;

	if (mkdirat(at, name, mode) < 0)
		return -errno;
	fd = statedir_open(at, name);
	r = fd < 0 ? fd : strip(fd, mode);
	if (r < 0 && fd >= 0)
		close(fd);
	return r < 0 ? r : fd;
}

int statedir_no_way(int fd, const char *target, int code, struct ply_err *err)
{
	static const char *const way[] = { "var", "var/lib", "var/lib/plyfs" };
	struct stat st;

	for (size_t i = 0; (code == -ELOOP || code == -ENOTDIR) && i < ARRAY_SIZE(way); i++)
		if (fstatat(fd, way[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
			return ply_fail(err, code, PLY_R_STATE_DAMAGED,
					"%s/%s: is %s; what a layout keeps lies in a directory there, and is not looked for elsewhere",
					target, way[i], S_ISLNK(st.st_mode) ? "a symbolic link" : "no directory");
	return 0;
}

/* Who else can write there could tell us to take out what is not ours. */
int statedir_check(int dir, const char *target, struct ply_err *err)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return ply_fail(err, -errno, PLY_R_TARGET_WRITE, "%s/var/lib/plyfs: cannot stat: %s", target, strerror(errno));
	if ((st.st_uid == geteuid() || st.st_uid == 0) && !(st.st_mode & 022))
		return 0;
	return ply_fail(err, -EPERM, PLY_R_STATE_DAMAGED,
			"%s/var/lib/plyfs: another user can write there, so what it tells is not believed", target);
}
