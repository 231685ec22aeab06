/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mount and its daemon: see mounted.h. The mount itself is asked last, since its daemon may hang. */
#include "mounted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/util.h"
#include "holders.h"

#define ANSWER_MS  2000            /* for the control socket */
#define ANSWER_MAX (256u << 10)
#define STATS_MAX  (64u << 10)     /* of an xattr */

void mounted_done(struct mounted *m)
{
	free(m->source);
	free(m->type);
	free(m->mountpoint);
	*m = (struct mounted){ 0 };
}

static int find_line(void *ctx, const struct mnt_line *line)
{
	struct mounted *m = ctx;
	const char *owner = strstr(line->super_options, "user_id=");

	if (line->id != m->place.id)
		return 0;
	m->source = strdup(line->source);
	m->type = strdup(line->type);
	m->mountpoint = strdup(line->mountpoint);
	m->owner = owner ? (uid_t)strtoul(owner + 8, NULL, 10) : (uid_t)-1;
	m->read_only = !strncmp(line->super_options, "ro", 2) &&
		(!line->super_options[2] || line->super_options[2] == ',');
	return 1;
}

int mounted_at(const struct mnt_place *place, const char *path, struct mounted *ret, struct ply_err *err)
{
	int r;

	*ret = (struct mounted){ .place = *place };
	r = mnt_list(NULL, find_line, ret);
	if (r < 0)
		return ply_fail_sys(err, r, "/proc/self/mountinfo");
	if (r > 0 && (!ret->source || !ret->type || !ret->mountpoint))
		return ply_fail_nomem(err);
	if (r == 0 || strcmp(ret->type, MNT_TYPE) != 0)
		return ply_fail(err, -EINVAL, PLY_R_NOT_MOUNTED, "%s: is not on a plyfs mount (but on %s)", path,
				ret->type ? ret->type : "an unknown one");
	return 0;
}

int mounted_open(const char *dir, struct mounted *ret, int *ret_fd, struct ply_err *err)
{
	_cleanup_close_ int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct mnt_place place;
	int r;

	*ret = (struct mounted){ 0 };
	if (fd < 0 && errno == ENOTCONN)
		return ply_fail(err, -errno, PLY_R_NOT_MOUNTED,
				"%s: the daemon of its mount has died; plyfs umount ends the mount", dir);
	if (fd < 0)
		return ply_fail_sys(err, -errno, "%s", dir);
	r = mnt_place_fd(fd, &place);
	if (r < 0)
		return ply_fail_sys(err, r, "%s", dir);
	r = mounted_at(&place, dir, ret, err);
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

/* Of several errors the first. */
static void keep_error(int *error, int r)
{
	if (r < 0 && *error == 0)
		*error = -errno;
}

static int sync_file(void *ctx, int fd)
{
	keep_error(ctx, fsync(fd));
	return 0;
}

/*
 * An error ends nothing: what else there is gets to the disk, and errors of what was on its way are told to this caller,
 * not to the next one, who may have made room. The kernel keeps them for the file system, too, until somebody asks: hence
 * the second syncfs, which has nothing to write.
 */
int mounted_sync(const struct mounted *m, int path_fd)
{
	_cleanup_close_ int fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = 0, r;

	if (fd < 0)
		return -errno;
	keep_error(&error, syncfs(fd));
	r = holders_writers(m->place.major, m->place.minor, sync_file, &error);
	keep_error(&error, syncfs(fd));
	keep_error(&error, fsync(fd));
	return error ? error : r;
}

bool mounted_is_dead(const struct mounted *m)
{
	struct statfs s;   /* never answered from a cache */

	return statfs(m->mountpoint, &s) < 0 && errno == ENOTCONN;
}

int mounted_died(const struct mounted *m, struct ply_err *err)
{
	return ply_fail(err, -ENOTCONN, PLY_R_NOT_MOUNTED, "%s: its daemon has died; end the mount by: plyfs umount %s",
			m->mountpoint, m->mountpoint);
}

char *mounted_ask(const struct mounted *m)
{
	_cleanup_close_ int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct timeval wait = { .tv_sec = ANSWER_MS / 1000 };
	struct sockaddr_un addr;
	socklen_t len = mnt_control_address(m->place.major, m->place.minor, &addr);
	struct ucred cred;
	char *text;
	ssize_t n;

	if (s < 0 || connect(s, (struct sockaddr *)&addr, len) < 0)
		return NULL;
	len = sizeof(cred);
	if (getsockopt(s, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != m->owner)
		return NULL;
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	text = malloc(ANSWER_MAX);
	n = text ? recv(s, text, ANSWER_MAX - 1, 0) : -1;
	if (n <= 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static char *read_xattr(const struct mounted *m)
{
	char *text = malloc(STATS_MAX + 1);
	ssize_t n = text ? lgetxattr(m->mountpoint, MNT_STATS_XATTR, text, STATS_MAX) : -1;

	if (n < 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

char *mounted_stats(const struct mounted *m)
{
	char *text = mounted_ask(m);

	return text ? text : read_xattr(m);
}
