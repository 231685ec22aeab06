/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket: see control.h. Nothing is read from the other side, so nobody
 * can make the daemon wait or parse; a message that does not fit is dropped.
 */
#include "control.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mnt.h"
#include "base/util.h"
#include "stats.h"
#include "tree/view_internal.h"

#define BIND_TRIES 100             /* 10 ms apart */
#define DECISIONS_END ((size_t)128 << 10)      /* of the message: more are left out */

int control_open(unsigned major, unsigned minor, int *ret_fd, struct ply_err *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr;
	socklen_t len = mnt_control_address(major, minor, &addr);
	int r = -1;

	if (fd < 0)
		return ply_fail_sys(err, -errno, "control socket");
	/* the kernel gives device numbers again before the last daemon is quite gone */
	for (int i = 0; i < BIND_TRIES && r < 0; i++) {
		r = bind(fd, (struct sockaddr *)&addr, len);
		if (r < 0 && errno != EADDRINUSE)
			break;
		if (r < 0)
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	if (r < 0 || listen(fd, 16) < 0)
		return ply_fail_sys(err, -errno, "control socket plyfs/%u:%u", major, minor);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* What it goes by where sub-images collide: for plyfs origin. The message has to fit into a socket. */
static int compose_decisions(struct buf *text, struct ply_view *view)
{
	size_t n = view_npairs(view);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n && text->len < DECISIONS_END; i++) {
		const struct view_pair *p = view_pair_at(view, i);

		if (p->rule)
			r = buf_printf(text, "decision %llx %llx %x %x\n", (unsigned long long)p->a, (unsigned long long)p->b,
				       p->rule, p->driver);
	}
	return r;
}

static bool is_welcome(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == 0 || cred.uid == geteuid());
}

void control_answer(int fd, const struct serve *serve, struct ply_view *view, struct redo *log)
{
	for (;;) {
		_cleanup_close_ int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		_cleanup_buf_ struct buf text = { 0 };

		if (peer < 0)
			return;
		if (is_welcome(peer) && stats_text(serve, view, log, &text) == 0 && compose_decisions(&text, view) == 0)
			(void)!send(peer, text.data, text.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}
