/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The child that unmounts: see unmounter.h. Of root's privileges it keeps what umount2(2) takes: the
 * right itself, and that of reaching the place. An ordinary user's has nothing to drop.
 *
 * It holds no descriptor but its socket, and stands in the root directory, so it keeps nothing busy.
 * Signals that end the daemon do not end it: who stops a service sends them to every process of it, and
 * then the daemon needs it.
 */
#include "unmounter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sandbox.h"
#include "base/util.h"
#include "mount.h"

#define FLUSH 1                    /* the word */

static ssize_t receive(int fd, void *buf, size_t len)
{
	ssize_t n;

	do
		n = recv(fd, buf, len, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

/* 0 to 2 to /dev/null, the socket as 3, and nothing else. */
static bool let_go(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || chdir("/") < 0)
		return false;
	for (int i = 0; i <= 2; i++)
		if (dup2(null, i) < 0)
			return false;
	if (fd != 3 && dup2(fd, 3) < 0)
		return false;
	fcntl(3, F_SETFD, FD_CLOEXEC);
	close_range(4, ~0U, 0);
	return true;
}

static void child(int fd)
{
	static const int ignored[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGPIPE };
	struct mnt_place place;
	char word = 0;

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	prctl(PR_SET_NAME, "plyfs-unmount");
	if (!let_go(fd))
		return;
	if (geteuid() == 0)
		sandbox_keep_capabilities(1ULL << CAP_SYS_ADMIN | 1ULL << CAP_DAC_READ_SEARCH);
	if (receive(3, &place, sizeof(place)) != sizeof(place) || receive(3, &word, 1) != 1)
		return;
	if (word == FLUSH)
		mount_flush(&place);
	mount_end(&place);
	(void)!send(3, &word, 1, MSG_NOSIGNAL);
}

int unmounter_start(struct unmounter *u, struct ply_err *err)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return ply_fail_sys(err, -errno, "socketpair");
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		child(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return ply_fail_sys(err, -errno, "fork");
	}
	*u = (struct unmounter){ .pid = pid, .fd = pair[0] };
	return 0;
}

int unmounter_tell(struct unmounter *u, const struct mnt_place *place, struct ply_err *err)
{
	if (send(u->fd, place, sizeof(*place), MSG_NOSIGNAL) != sizeof(*place))
		return ply_fail_sys(err, -errno, "the process that is to unmount");
	return 0;
}

int unmounter_unmount(struct unmounter *u, bool flush)
{
	char word = flush ? FLUSH : 0;

	if (send(u->fd, &word, 1, MSG_NOSIGNAL) != 1)
		return -errno;
	return read(u->fd, &word, 1) == 1 ? 0 : -EPIPE;
}

void unmounter_done(struct unmounter *u)
{
	if (!u->pid)
		return;
	close(u->fd);
	while (waitpid(u->pid, NULL, 0) < 0 && errno == EINTR)
		;
	u->pid = 0;
}
