/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mounts as the kernel knows them: see mnt.h.
 *
 * Rejected: stat(2) of a mountpoint (it asks the daemon, which may be dead or
 * waiting for us), comparing st_dev with that of ".." (wrong for bind mounts),
 * and looking for a path in mountinfo (wrong after chroot and where mounts are
 * stacked; the mount id is exact).
 *
 * fusermount3 hands the descriptor of /dev/fuse over the socket that
 * _FUSE_COMMFD names; the protocol is one byte with SCM_RIGHTS.
 */
#include "base/mnt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"

static int place(int dirfd, const char *path, int flags, struct mnt_place *ret)
{
	struct statx sx;

	if (statx(dirfd, path, flags | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &sx) < 0)
		return -errno;
	ret->id = sx.stx_mnt_id;
	ret->major = sx.stx_dev_major;
	ret->minor = sx.stx_dev_minor;
	ret->is_root = sx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	return 0;
}

int mnt_place_fd(int fd, struct mnt_place *ret)
{
	return place(fd, "", AT_EMPTY_PATH, ret);
}

int mnt_place_at(int dirfd, const char *path, struct mnt_place *ret)
{
	return place(dirfd, path, 0, ret);
}

int mnt_path_fd(int fd, char **ret)
{
	char link[32], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	if (n < 0)
		return -errno;
	if (n == (ssize_t)sizeof(path))
		return -ENAMETOOLONG;
	*ret = strndup(path, (size_t)n);
	return *ret ? 0 : -ENOMEM;
}

/* \040 and its like, in place. */
static char *unescape(char *s)
{
	char *to = s;

	for (const char *p = s; *p; p++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
		    p[3] >= '0' && p[3] <= '7') {
			*to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
	return s;
}

/* id parent major:minor root mountpoint options [optional]... - type source super */
static bool parse_line(char *text, struct mnt_line *ret)
{
	unsigned long long id, parent;
	char *field[6], *p = text, *sep;

	for (size_t i = 0; i < ARRAY_SIZE(field); i++) {
		field[i] = strsep(&p, " ");
		if (!p)
			return false;
	}
	if (!strncmp(p, "- ", 2))
		sep = p + 2;
	else if ((sep = strstr(p, " - ")))
		sep += 3;
	else
		return false;
	if (sscanf(field[0], "%llu", &id) != 1 || sscanf(field[1], "%llu", &parent) != 1 ||
	    sscanf(field[2], "%u:%u", &ret->major, &ret->minor) != 2)
		return false;
	ret->id = id;
	ret->parent = parent;
	ret->root = unescape(field[3]);
	ret->mountpoint = unescape(field[4]);
	ret->type = unescape(strsep(&sep, " "));
	if (!sep)
		return false;
	ret->source = unescape(strsep(&sep, " "));
	if (!sep)
		return false;
	sep[strcspn(sep, "\n")] = '\0';
	ret->super_options = unescape(sep);
	return true;
}

int mnt_list(const char *table, mnt_line_fn fn, void *ctx)
{
	FILE *f = fopen(table ? table : "/proc/self/mountinfo", "re");
	char *text = NULL;
	size_t cap = 0;
	int r = 0;

	if (!f)
		return -errno;
	while (r == 0 && getline(&text, &cap, f) >= 0) {
		struct mnt_line line;

		if (parse_line(text, &line))
			r = fn(ctx, &line);
	}
	free(text);
	fclose(f);
	return r;
}

socklen_t mnt_control_address(unsigned major, unsigned minor, struct sockaddr_un *ret)
{
	int n;

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	n = snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "plyfs/%u:%u", major, minor);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

/* One byte with one descriptor; -1: none came. */
static int receive_fd(int socket)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	ssize_t n;
	int fd;

	do
		n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* All that comes until the other end closes; what does not fit is dropped. */
static void read_text(int fd, char *out, size_t cap)
{
	size_t len = 0;

	for (;;) {
		char drop[256];
		bool full = len + 1 == cap;
		ssize_t n = full ? read(fd, drop, sizeof(drop)) : read(fd, out + len, cap - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (!full)
			len += (size_t)n;
	}
	out[len] = '\0';
}

int mnt_fusermount(const char *const *argv, int *ret_fd, struct ply_err *err)
{
	static char commfd[] = "_FUSE_COMMFD=3", locale[] = "LC_ALL=C";
	char *env[] = { locale, ret_fd ? commfd : NULL, NULL };
	posix_spawn_file_actions_t actions;
	int socket[2] = { -1, -1 }, said[2] = { -1, -1 }, fd = -1, status, r;
	char text[512];
	pid_t pid;

	if (pipe2(said, O_CLOEXEC) < 0 ||
	    (ret_fd && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket) < 0)) {
		r = ply_fail_sys(err, -errno, "fusermount3");
		goto out;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, said[1], 2);
	if (ret_fd)
		posix_spawn_file_actions_adddup2(&actions, socket[1], 3);
	r = posix_spawnp(&pid, "fusermount3", &actions, NULL, (char *const *)argv, env);
	posix_spawn_file_actions_destroy(&actions);
	if (r) {
		r = ply_fail(err, -r, PLY_R_MOUNT_FAILED,
			     "fusermount3 cannot be run (%s): it mounts for ordinary users; install the fuse3 package, or be root",
			     strerror(r));
		goto out;
	}
	close(TAKE_FD(said[1]));
	if (ret_fd) {
		close(TAKE_FD(socket[1]));
		fd = receive_fd(socket[0]);
	}
	read_text(said[0], text, sizeof(text));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) || (ret_fd && fd < 0)) {
		const char *prefix = "fusermount3: ";
		bool known = !strncmp(text, prefix, strlen(prefix));

		text[strcspn(text, "\n")] = '\0';
		r = ply_fail(err, strstr(text, "busy") ? -EBUSY : -EPERM, PLY_R_MOUNT_FAILED,
			     "fusermount3: %s",
			     *text ? text + (known ? strlen(prefix) : 0) : "it failed without a word");
		goto out;
	}
	if (ret_fd)
		*ret_fd = TAKE_FD(fd);
	r = 0;
out:
	for (int i = 0; i < 2; i++) {
		cleanup_close(&socket[i]);
		cleanup_close(&said[i]);
	}
	cleanup_close(&fd);
	return r;
}
