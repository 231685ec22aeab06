/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mounting and unmounting: see mount.h.
 *
 * The mount point is opened once, judged, and mounted on through its descriptor. Like
 * mount(8), a directory that is not empty or has another file system on it is taken
 * as it is; only a second plyfs mount on a first one is refused, since nobody who does that
 * means it.
 *
 * The source is a string of its own for mount(2), so it may hold anything. For
 * fusermount3 it is part of the option string, with commas and backslashes escaped.
 */
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"

/* --- the mount point -------------------------------------------------- */

struct query {
	const struct mnt_place *place;
	bool is_plyfs;
	char *last;                /* mount point of the last one on this device, malloc-ed */
};

static int see_id(void *ctx, const struct mnt_line *line)
{
	struct query *q = ctx;

	if (line->id == q->place->id)
		q->is_plyfs = !strcmp(line->type, MNT_TYPE);
	return 0;
}

static int open_dir(const char *dir, int *ret_fd, struct ply_err *err)
{
	_cleanup_close_ int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct mnt_place place;
	struct query q = { .place = &place };
	struct stat st, root;

	if (fd < 0 && errno == ENOENT)
		return ply_fail(err, -ENOENT, PLY_R_MOUNTPOINT_BAD,
				"%s: no such directory to mount on; make it first", dir);
	if (fd < 0 && errno == ENOTDIR)
		return ply_fail(err, -ENOTDIR, PLY_R_MOUNTPOINT_BAD,
				"%s: not a directory; a mount point is one", dir);
	if (fd < 0)
		return ply_fail(err, -errno, PLY_R_MOUNTPOINT_BAD, "%s: cannot be opened: %s", dir,
				strerror(errno));
	if (mnt_place_fd(fd, &place) == 0 && place.is_root) {
		mnt_list(NULL, see_id, &q);
		if (q.is_plyfs)
			return ply_fail(err, -EBUSY, PLY_R_MOUNTPOINT_BUSY,
					"%s: an image is mounted here; plyfs umount ends that",
					dir);
	}
	/* below the root directory of every process nothing would be seen of it */
	if (fstat(fd, &st) == 0 && stat("/", &root) == 0 && st.st_dev == root.st_dev &&
	    st.st_ino == root.st_ino)
		return ply_fail(err, -EINVAL, PLY_R_MOUNTPOINT_BAD,
				"%s: is the root directory of this machine; an image cannot be mounted over it", dir);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* --- by root ---------------------------------------------------------- */

static int mount_failed(const char *dir, int code, struct ply_err *err)
{
	const char *hint = "";

	if (code == -EPERM)
		hint = "; it takes CAP_SYS_ADMIN, which containers often lack";
	else if (code == -ENODEV)
		hint = "; this kernel has no FUSE: modprobe fuse";
	return ply_fail(err, code, PLY_R_MOUNT_FAILED, "%s: cannot be mounted on: %s%s", dir,
			strerror(-code), hint);
}

static int mount_as_root(int dir_fd, const char *dir, const char *source, const struct options *o,
			 int *ret_fd, struct ply_err *err)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	unsigned long flags = o->ro ? MS_RDONLY : 0;
	char target[32], data[160];

	if (fd < 0)
		return ply_fail(err, -errno, PLY_R_MOUNT_FAILED, "/dev/fuse: %s%s", strerror(errno),
				errno == ENOENT || errno == ENODEV ? "; modprobe fuse" : "");
	flags |= o->sync ? MS_SYNCHRONOUS : 0;
	flags |= o->nodev ? MS_NODEV : 0;
	flags |= o->nosuid ? MS_NOSUID : 0;
	flags |= o->noexec ? MS_NOEXEC : 0;
	snprintf(target, sizeof(target), "/proc/self/fd/%d", dir_fd);
	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=%u,group_id=%u%s%s", fd,
		 geteuid(), getegid(), o->default_permissions ? ",default_permissions" : "",
		 o->allow_other ? ",allow_other" : "");
	if (mount(source, target, MNT_TYPE, flags, data) < 0)
		return mount_failed(dir, -errno, err);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* --- by others -------------------------------------------------------- */

static int add_escaped(struct buf *b, const char *text)
{
	int r = 0;

	for (; r == 0 && *text; text++)
		r = buf_printf(b, "%s%c", *text == ',' || *text == '\\' ? "\\" : "", *text);
	return r;
}

static int mount_as_user(const char *path, const char *source, const struct options *o, int *ret_fd,
			 struct ply_err *err)
{
	const char *argv[] = { "fusermount3", "-o", NULL, "--", path, NULL };
	_cleanup_buf_ struct buf opts = { 0 };

	if (buf_printf(&opts, "%s,nosuid,nodev%s%s%s%s,subtype=%s,fsname=", o->ro ? "ro" : "rw",
		       o->sync ? ",sync" : "", o->noexec ? ",noexec" : "",
		       o->default_permissions ? ",default_permissions" : "",
		       o->allow_other ? ",allow_other" : "", MNT_SUBTYPE) < 0 ||
	    add_escaped(&opts, source) < 0 || buf_add(&opts, "", 1) < 0)
		return ply_fail_nomem(err);
	argv[2] = (const char *)opts.data;
	return mnt_fusermount(argv, ret_fd, err);
}

/* --- and back --------------------------------------------------------- */

static int unmount_path(const char *path)
{
	const char *argv[] = { "fusermount3", "-u", "-z", "-q", "--", path, NULL };

	if (geteuid() == 0)
		return umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
	return mnt_fusermount(argv, NULL, NULL);
}

struct top {
	const char *path;
	bool is_plyfs;
};

static int see_top(void *ctx, const struct mnt_line *line)
{
	struct top *t = ctx;

	if (!strcmp(line->mountpoint, t->path))   /* the last one lies upon the others */
		t->is_plyfs = !strcmp(line->type, MNT_TYPE);
	return 0;
}

/* A mount that nobody will answer for. What others have put upon it meanwhile is not ours to take away. */
static void take_back(const char *path)
{
	struct top t = { .path = path };

	mnt_list(NULL, see_top, &t);
	if (t.is_plyfs)
		unmount_path(path);
}

int mount_begin(const char *dir, const char *source, const struct options *o, int *ret_fd,
		struct mnt_place *ret, struct ply_err *err)
{
	_cleanup_close_ int dir_fd = -1, fd = -1;
	_cleanup_free_ char *path = NULL;
	struct query q = { 0 };
	int r = open_dir(dir, &dir_fd, err);

	if (r < 0)
		return r;
	r = mnt_path_fd(dir_fd, &path);
	if (r < 0)
		return ply_fail(err, r, PLY_R_MOUNTPOINT_BAD, "%s: has no path: %s", dir,
				strerror(-r));
	if (geteuid() == 0)
		r = mount_as_root(dir_fd, dir, source, o, &fd, err);
	else
		r = mount_as_user(path, source, o, &fd, err);
	if (r < 0)
		return r;
	r = mnt_place_at(AT_FDCWD, path, ret);
	if (r < 0) {
		take_back(path);
		return ply_fail(err, r, PLY_R_MOUNT_FAILED, "%s: the new mount cannot be found: %s",
				dir, strerror(-r));
	}
	q.place = ret;
	mnt_list(NULL, see_id, &q);
	if (!q.is_plyfs) {
		take_back(path);
		return ply_fail(err, -EBUSY, PLY_R_MOUNT_FAILED,
				"%s: something else was mounted over it at the same moment", dir);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* --- the end ---------------------------------------------------------- */

static int see_device(void *ctx, const struct mnt_line *line)
{
	struct query *q = ctx;

	if (line->major == q->place->major && line->minor == q->place->minor &&
	    !strcmp(line->type, MNT_TYPE)) {
		free(q->last);
		q->last = strdup(line->mountpoint);
	}
	return 0;
}

void mount_flush(const struct mnt_place *place)
{
	struct query q = { .place = place };
	struct mnt_place at;
	int fd;

	mnt_list(NULL, see_device, &q);
	fd = q.last ? open(q.last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	/* something else may be mounted there */
	if (fd >= 0 && mnt_place_fd(fd, &at) == 0 && at.major == place->major && at.minor == place->minor)
		syncfs(fd);
	cleanup_close(&fd);
	free(q.last);
}

void mount_end(const struct mnt_place *place)
{
	int r = 0;

	/* the last first: it may lie upon an earlier one */
	while (r == 0) {
		struct query q = { .place = place };

		mnt_list(NULL, see_device, &q);
		if (!q.last)
			break;
		r = unmount_path(q.last);
		free(q.last);
	}
}

static FILE *open_bdi(const struct mnt_place *place, const char *what)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s", place->major, place->minor, what);
	return fopen(path, "r+e");
}

static void set_bdi(const struct mnt_place *place, const char *what, uint64_t value, bool only_less)
{
	unsigned long long now;
	FILE *f = open_bdi(place, what);

	if (!f)
		return;
	if (fscanf(f, "%llu", &now) == 1 && (!only_less || now > value)) {
		rewind(f);
		fprintf(f, "%llu\n", (unsigned long long)value);
	}
	fclose(f);
}

void mount_tune(const struct mnt_place *place, unsigned kib, uint64_t dirty)
{
	set_bdi(place, "read_ahead_kb", kib, false);
	if (dirty)
		set_bdi(place, "max_bytes", dirty, true);
}
