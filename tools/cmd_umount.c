/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs umount: takes a mount away, and returns when it is really gone: the daemon
 * has ended, and with it every use of the image.
 *
 * The mount is found by its id (base/mnt.h), never by asking the file system, so a
 * dead or hanging daemon does not matter. Which process the daemon is tells its control
 * socket: anybody could listen there, so its owner must be the one who mounted; the
 * process is then waited for by a pidfd.
 *
 * Of a mount that takes changes, all is synced before, while what fails can still be mended; and when the daemon has ended,
 * the log says whether it was closed.
 *
 * A mount that is in use is left alone, and who uses it is told. Only where the daemon is
 * dead is it detached all the same: those who use it get errors anyway.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mnt.h"
#include "base/util.h"
#include "cli.h"
#include "holders.h"
#include "logs.h"
#include "mounted.h"
#include "verbs.h"

#define NS_PER_MS 1000000
#define ANSWER_MS 2000             /* for the control socket */
#define LOOK_MS   500              /* then look whether another namespace keeps it */
#define GONE_MS   30000            /* the daemon ends after the last use of the mount */
#define BUSY_TRIES 25              /* where nobody is seen to use it: who did has just left */
#define BUSY_MS   20

struct target {
	struct mounted at;
	bool keeps;                /* what was written to it is to be there afterwards: it is not volatile */
	char *elsewhere;           /* another mount of the same file system, here */
	char *above;               /* a mount that lies on it */
};

static void target_done(struct target *t)
{
	mounted_done(&t->at);
	free(t->elsewhere);
	free(t->above);
}

/* --- what is mounted there -------------------------------------------- */

static void remember(char **to, const char *text)
{
	if (!*to)
		*to = strdup(text);
}

static int see_line(void *ctx, const struct mnt_line *line)
{
	struct target *t = ctx;
	const struct mnt_place *at = &t->at.place;

	if (line->id != at->id && line->major == at->major && line->minor == at->minor)
		remember(&t->elsewhere, line->mountpoint);
	if (line->parent == at->id)
		remember(&t->above, line->mountpoint);
	return 0;
}

static int find_mount(const char *dir, const struct mnt_place *place, struct target *t, struct ply_err *err)
{
	int r = mounted_at(place, dir, &t->at, err);

	if (r == 0 || err->reason != PLY_R_NOT_MOUNTED)
		return r;
	if (!t->at.type)
		return ply_fail(err, r, PLY_R_NOT_MOUNTED, "%s: its mount does not show in /proc/self/mountinfo", dir);
	return ply_fail(err, r, PLY_R_NOT_MOUNTED, "%s: the mount here is no plyfs image (type %s); use umount(8)", dir,
			t->at.type);
}

/* A volatile mount has its image as its source. A log or an image that was moved meanwhile is not known: a log, then. */
static bool is_volatile(const char *source)
{
	_cleanup_free_ char *path = strdup(source);
	char *generation = path ? strrchr(path, '@') : NULL;

	if (generation && access(path, F_OK) < 0)
		*generation = '\0';
	return path && access(path, F_OK) == 0 && !redo_is_log(path);
}

/* Also before it became read-only: the daemon knows. */
static bool is_written(const struct mounted *m)
{
	_cleanup_free_ char *told = m->read_only ? mounted_ask(m) : NULL;

	return !m->read_only || (told && strstr(told, "\nlog_writable 1\n"));
}

static int find_target(const char *dir, struct target *t, int *ret_fd, struct ply_err *err)
{
	_cleanup_close_ int fd = open(dir, O_PATH | O_CLOEXEC);
	struct mnt_place place;
	int r;

	if (fd < 0)
		return ply_fail(err, -errno, PLY_R_NOT_MOUNTED, "%s: %s", dir, strerror(errno));
	r = mnt_place_fd(fd, &place);
	if (r < 0)
		return ply_fail_sys(err, r, "%s", dir);
	if (!place.is_root)
		return ply_fail(err, -EINVAL, PLY_R_NOT_MOUNTED, "%s: nothing is mounted here",
				dir);
	r = find_mount(dir, &place, t, err);
	if (r < 0)
		return r;
	if (geteuid() != 0 && geteuid() != t->at.owner)
		return ply_fail(err, -EPERM, PLY_R_NOT_MOUNTED,
				"%s: was mounted by user %u, who alone may unmount it, or root",
				dir, (unsigned)t->at.owner);
	r = mnt_list(NULL, see_line, t);
	if (r < 0)
		return ply_fail_sys(err, r, "/proc/self/mountinfo");
	t->keeps = is_written(&t->at) && !is_volatile(t->at.source);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* --- the daemon ------------------------------------------------------- */

/* A pidfd of the daemon, -1: it is not there, or does not show itself here. */
static int find_daemon(const struct target *t, pid_t *ret_pid)
{
	_cleanup_close_ int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), pidfd = -1;
	struct timeval wait = { .tv_sec = ANSWER_MS / 1000 };
	struct sockaddr_un addr;
	socklen_t len = mnt_control_address(t->at.place.major, t->at.place.minor, &addr);
	struct ucred cred;
	char text[64];

	if (s < 0 || connect(s, (struct sockaddr *)&addr, len) < 0)
		return -1;
	len = sizeof(cred);
	if (getsockopt(s, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != t->at.owner ||
	    cred.pid <= 0)
		return -1;
	pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
	/* an answer after the pidfd is there: the number was not given to another process */
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (pidfd < 0 || recv(s, text, sizeof(text), 0) <= 0)
		return -1;
	*ret_pid = cred.pid;
	return TAKE_FD(pidfd);
}

/* Who has the log open; 0: nobody is seen. */
static pid_t log_holder(const struct target *t)
{
	struct holder h;
	char command[64];

	return t->keeps && holders_lock(t->at.source, &h, command, sizeof(command)) ? h.pid : 0;
}

/* --- unmount ---------------------------------------------------------- */

static int unmount(const struct target *t, bool lazily, struct ply_err *err)
{
	const char *user[] = { "fusermount3", "-u", "--", t->at.mountpoint, NULL };
	const char *user_lazily[] = { "fusermount3", "-u", "-z", "--", t->at.mountpoint, NULL };

	if (geteuid() != 0)
		return mnt_fusermount(lazily ? user_lazily : user, NULL, err);
	if (umount2(t->at.mountpoint, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) < 0)
		return ply_fail_sys(err, -errno, "%s: cannot be unmounted", t->at.mountpoint);
	return 0;
}

#define HOLDERS_SHOWN 8

struct listing {
	struct buf text;
	unsigned n;
};

static void add_holder(void *ctx, const struct holder *h)
{
	struct listing *l = ctx;

	if (l->n++ < HOLDERS_SHOWN)
		buf_printf(&l->text, "%sprocess %ld (%s: %s)", l->text.len ? ", " : "",
			   (long)h->pid, h->command, h->how);
}

static void find_users(const struct target *t, struct listing *l)
{
	if (t->above)
		buf_printf(&l->text, "a mount on %s", t->above);
	holders_find(t->at.place.major, t->at.place.minor, add_holder, l);
}

/* @l is what find_users() says; released here. */
static int busy(const struct target *t, struct listing l, struct ply_err *err)
{
	int r;

	if (l.n > HOLDERS_SHOWN)
		buf_printf(&l.text, " and %u more", l.n - HOLDERS_SHOWN);
	r = ply_fail(err, -EBUSY, PLY_R_MOUNTPOINT_BUSY, "%s: in use by %.*s; it stays mounted",
		     t->at.mountpoint, l.text.len ? (int)l.text.len : 40,
		     l.text.len ? (const char *)l.text.data :
				  "a process that is not visible to this user");
	buf_done(&l.text);
	return r;
}

/* Did the process end within @ms? */
static bool has_ended(int pidfd, int ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int64_t until = clock_ns() / NS_PER_MS + ms;
	int n;

	do
		n = poll(&p, 1, (int)MAX(until - clock_ns() / NS_PER_MS, 0));
	while (n < 0 && errno == EINTR);
	return n > 0;
}

static int wait_gone(const struct target *t, int pidfd, pid_t pid, struct ply_err *err)
{
	pid_t other;

	if (t->elsewhere)
		return ply_fail(err, -EBUSY, PLY_R_MOUNTPOINT_BUSY,
				"%s: unmounted, but the same mount is also on %s: unmount that too",
				t->at.mountpoint, t->elsewhere);
	if (has_ended(pidfd, LOOK_MS))
		return 0;
	other = holders_namespace(t->at.place.major, t->at.place.minor);
	if (other)
		return ply_fail(err, -EBUSY, PLY_R_MOUNTPOINT_BUSY,
				"%s: unmounted here, but process %ld has it in a mount namespace "
				"of its own; daemon %ld goes on until that ends",
				t->at.mountpoint, (long)other, (long)pid);
	if (has_ended(pidfd, GONE_MS))
		return 0;
	return ply_fail(err, -ETIMEDOUT, PLY_R_MOUNTPOINT_BUSY,
			"%s: unmounted, but its daemon %ld has not ended after %d seconds; "
			"something that is not visible here still uses it",
			t->at.mountpoint, (long)pid, GONE_MS / 1000);
}

/* A mount that is in use, and by whom; those who leave it meanwhile are waited for. */
static int unmount_unused(const struct target *t, struct ply_err *err)
{
	for (unsigned i = 0;; i++) {
		struct listing users = { 0 };
		int r = unmount(t, false, err);

		if (r != -EBUSY)
			return r;
		find_users(t, &users);
		if (users.text.len || i == BUSY_TRIES)
			return busy(t, users, err);
		buf_done(&users.text);
		poll(NULL, 0, BUSY_MS);
	}
}

/* --- what was written -------------------------------------------------- */

/* While the mount is still there to be mended. Nothing is asked of one whose daemon does not answer. */
static int sync_first(const struct target *t, int path_fd, struct ply_err *err)
{
	int r = t->keeps ? mounted_sync(&t->at, path_fd) : 0;

	if (r == 0 || r == -ENOTCONN)
		return 0;
	return ply_fail(err, r, PLY_R_REDO_FAILED,
			"%s: cannot be synced (%s), so what was written last may not be on the disk; it stays mounted; "
			"umount(8), or fusermount3 -u, ends it all the same", t->at.mountpoint, strerror(-r));
}

/* Behind the end of daemon @pid: has it closed the log? */
static int check_closed(const struct target *t, pid_t pid, struct ply_err *err)
{
	const int64_t until = clock_ns() / NS_PER_MS + GONE_MS;
	struct redo_info info;
	struct redo *log;
	int r;

	if (!t->keeps || !redo_is_log(t->at.source))
		return 0;
	/* where it was seen by its lock alone it could not be waited for */
	while (pid && log_holder(t) == pid && clock_ns() / NS_PER_MS < until)
		poll(NULL, 0, BUSY_MS);
	r = log_look(t->at.source, &log, err);
	if (r < 0)
		return r;
	redo_info(log, &info);
	redo_abandon(log);
	/* mounted again meanwhile, it had been closed, or was recovered */
	if (info.state != PLY_REDO_OPEN || (log_holder(t) && log_holder(t) != pid))
		return 0;
	return ply_fail(err, -EIO, PLY_R_REDO_FAILED,
			"%s: unmounted, but its log was not closed: its daemon was killed, or could not write the end of %s, so "
			"what was not synced may be lost; the system log has the daemon's reason, and mounting the log again "
			"shows what is there", t->at.mountpoint, t->at.source);
}

static int end_mount(const char *dir, struct target *t, struct ply_err *err)
{
	_cleanup_close_ int pidfd = -1, path_fd = -1;
	pid_t pid = 0;
	int r = find_target(dir, t, &path_fd, err);

	if (r < 0)
		return r;
	pidfd = find_daemon(t, &pid);
	if (pidfd < 0)
		pid = log_holder(t);
	else
		r = sync_first(t, path_fd, err);
	cleanup_close(&path_fd);
	if (r < 0)
		return r;
	r = unmount_unused(t, err);
	if (r == -EBUSY && pidfd < 0 && mounted_is_dead(&t->at))
		r = unmount(t, true, err);
	if (r == 0 && pidfd >= 0)
		r = wait_gone(t, pidfd, pid, err);
	return r == 0 ? check_closed(t, pid, err) : r;
}

int cmd_umount(int argc, char **argv)
{
	const struct cli_opt opts[] = { CLI_JSON, CLI_END };
	const struct cli_spec spec = {
		"umount", "DIR",
		"End a mount, and wait until the image is no longer in use.", opts, 1, 1
	};
	struct target target = { 0 };
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args);

	if (code >= 0)
		return code;
	if (end_mount(args.v[0], &target, &err) < 0)
		code = cli_fail(&err);
	else if (cli_json)
		code = cli_print_json(
			json_pack("{s:o}", "unmounted",
				  cli_json_name(target.at.mountpoint, strlen(target.at.mountpoint))));
	else
		code = EXIT_DONE;
	target_done(&target);
	return code;
}
