/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs-fuse: the daemon behind one mount. `plyfs mount` executes it, with the image that
 * it serves on its command line; nothing else links libfuse.
 *
 *   plyfs-fuse [-f] [-s NAMES] [-o OPTIONS] [--no-sandbox] [--status FD] [--volatile]
 *              [--uuid HEX --generation N --decisions FD] IMAGE|REDO DIR
 *
 * An image is mounted read-only. A log is mounted on the image, selection and decisions that it names, and takes all
 * changes; so does one without a name, with --volatile, which is gone at the end.
 *
 * What is decided where sub-images collide comes as pairs of nodes, which mean something in one generation of one
 * image only.
 *
 * It stays one process with one pid: instead of forking into the background it
 * leaves the session and terminal of its parent, and the parent goes when it hears on the
 * status pipe (base/mnt.h) that the mount is usable, or why it is not. If nobody is
 * there to hear it, the mount is taken back.
 *
 * The main thread opens, mounts, confines itself (base/sandbox.h), starts the others, and
 * then waits: for a signal to end, for the control socket, for the end of the mount, and
 * for the time to give cached blocks back. It holds no descriptor and no directory of the
 * file system below the mount point.
 *
 * Confined, it has no capability, opens no file, and is left with the system calls of
 * answering: what it needs later is open before (image, log, /dev/fuse, control socket, syslog),
 * and a child keeps the right to unmount (unmounter.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/mnt.h"
#include "base/sandbox.h"
#include "base/util.h"
#include "changes.h"
#include "control.h"
#include "decisions.h"
#include "log.h"
#include "mount.h"
#include "ops.h"
#include "options.h"
#include "plyfs/version.h"
#include "redo/redo.h"
#include "rw_internal.h"
#include "serve.h"
#include "stats.h"
#include "unmounter.h"

#define READAHEAD_KIB 2048         /* measured: two requests of 1 MiB at once; more costs who maps files and jumps */
#define IDLE_MS       10000        /* a block not used for so long is given back */

struct daemon {
	const char *image_arg, *dir;
	const char **names;        /* the selection: pieces of argv */
	size_t nnames, names_cap;
	struct options options;
	bool foreground, no_sandbox, is_volatile;
	int status_fd;             /* -1: nobody waits */
	int decisions_fd;          /* -1: there are none */
	struct decisions decisions;
	uint64_t generation;       /* 0: that of image_arg */
	bool has_uuid;
	uint8_t uuid[16];          /* that the image is to have */

	struct ply_image *image;
	struct ply_view *view;
	struct changes changes;
	struct tree tree;
	struct mnt_place place;
	bool is_mounted;
	struct unmounter unmounter;
	struct serve *serve;
	int control_fd, signal_fd;
};

/* --- what the parent hears -------------------------------------------- */

static int tell(struct daemon *d, const char *key, const char *value)
{
	char text[sizeof(((struct ply_err *)0)->msg) + 64];
	int len;

	if (d->status_fd < 0)
		return 0;
	len = snprintf(text, sizeof(text), "%s %s", key, value) + 1;   /* the NUL ends it */
	len = MIN(len, (int)sizeof(text));
	return write(d->status_fd, text, (size_t)len) == len ? 0 : -EPIPE;
}

static int give_up(struct daemon *d, const struct ply_err *err)
{
	char value[sizeof(err->msg) + 32];

	if (d->status_fd < 0) {
		fprintf(stderr, "plyfs-fuse: %s\n", err->msg);
		return 1;
	}
	snprintf(value, sizeof(value), "%d %d %s", err->code, (int)err->reason, err->msg);
	tell(d, MNT_STATUS_ERROR, value);
	return 1;
}

static void tell_selection(struct daemon *d)
{
	for (uint32_t i = 0; i < ply_view_nsubs(d->view); i++)
		tell(d, MNT_STATUS_SELECTED,
		     ply_image_sub_info(d->image, ply_view_sub(d->view, i))->name);
	if (ply_image_warning(d->image))
		tell(d, MNT_STATUS_WARNING, ply_image_warning(d->image));
	for (size_t i = 0; i < ARRAY_SIZE(d->changes.warning); i++)
		if (*d->changes.warning[i])
			tell(d, MNT_STATUS_WARNING, d->changes.warning[i]);
}

/* --- start ------------------------------------------------------------ */

static int usage(struct daemon *d, struct ply_err *err)
{
	ply_fail(err, -EINVAL, PLY_R_USAGE,
		 "usage: plyfs-fuse [-f] [-s NAMES] [-o OPTIONS] [--no-sandbox] [--status FD] [--volatile] "
		 "[--uuid HEX --generation N --decisions FD] IMAGE|REDO DIR");
	return give_up(d, err);
}

static int add_names(struct daemon *d, char *text, struct ply_err *err)
{
	for (char *name; (name = strsep(&text, ","));) {
		if (array_grow(&d->names, &d->names_cap, d->nnames + 1, sizeof(*d->names)) < 0)
			return ply_fail_nomem(err);
		d->names[d->nnames++] = name;
	}
	return 0;
}

static int parse(struct daemon *d, int argc, char **argv, struct ply_err *err)
{
	static const struct option longs[] = { { "status", required_argument, NULL, 'S' },
					       { "no-sandbox", no_argument, NULL, 'N' },
					       { "decisions", required_argument, NULL, 'D' },
					       { "generation", required_argument, NULL, 'G' },
					       { "uuid", required_argument, NULL, 'U' },
					       { "volatile", no_argument, NULL, 'V' }, { 0 } };
	int c, r = 0;

	opterr = 0;
	while (r == 0 && (c = getopt_long(argc, argv, "fs:o:", longs, NULL)) != -1) {
		if (c == 'f')
			d->foreground = true;
		else if (c == 's')
			r = add_names(d, optarg, err);
		else if (c == 'o')
			r = options_parse(optarg, &d->options, err);
		else if (c == 'S')
			d->status_fd = atoi(optarg);
		else if (c == 'N')
			d->no_sandbox = true;
		else if (c == 'V')
			d->is_volatile = true;
		else if (c == 'D')
			d->decisions_fd = atoi(optarg);
		else if (c == 'G')
			d->generation = strtoull(optarg, NULL, 10);
		else if (c == 'U' && hex_decode(optarg, d->uuid, sizeof(d->uuid)))
			d->has_uuid = true;
		else
			return usage(d, err);
	}
	if (r == 0)
		r = options_complete(&d->options, geteuid() == 0, err);
	if (r == 0 && d->decisions_fd >= 0)
		r = decisions_read(d->decisions_fd, &d->decisions, err);
	if (r < 0)
		return give_up(d, err);
	if (argc - optind != 2)
		return usage(d, err);
	d->image_arg = argv[optind];
	d->dir = argv[optind + 1];
	return 0;
}

static int open_image(struct daemon *d, struct ply_err *err)
{
	uint64_t generation;
	uint8_t uuid[16];
	struct io *io;
	int r = image_io_open(d->image_arg, &io, &generation, err);

	if (r < 0)
		return r;
	r = ply_image_open_io(io, d->generation ? d->generation : generation, &d->image, err);
	if (r < 0) {
		ply_err_prefix(err, "%s", d->image_arg);
		return r;
	}
	ply_image_uuid(d->image, uuid);
	if (d->has_uuid && memcmp(uuid, d->uuid, sizeof(uuid)) != 0)
		return ply_fail(err, -EAGAIN, PLY_R_IMAGE_BUSY, "%s: the image was replaced meanwhile; try again",
				d->image_arg);
	return 0;
}

static int open_image_view(struct daemon *d, struct ply_err *err)
{
	const struct ply_view_options o = { .names = d->names, .n = d->nnames, .cache_bytes = d->options.cache,
					    .decisions = d->decisions.v, .ndecisions = d->decisions.n };
	int r;

	if (d->options.rw && !d->is_volatile)
		return ply_fail(err, -EROFS, PLY_R_USAGE,
				"%s: an image is never written to; make a log on it (plyfs redo create) and mount that, "
				"or mount with --volatile", d->image_arg);
	r = open_image(d, err);
	if (r == 0)
		r = ply_view_open_with(d->image, &o, &d->view, err);
	if (r == 0 && d->is_volatile)
		r = changes_volatile(&d->changes, d->view, d->decisions.v, d->decisions.n, err);
	else
		d->options.ro = true;
	return r;
}

static int open_log_view(struct daemon *d, struct ply_err *err)
{
	int r;

	if (d->nnames || d->decisions_fd >= 0 || d->is_volatile)
		return ply_fail(err, -EINVAL, PLY_R_USAGE,
				"%s: a log has its selection and decisions, and is no image: no -s, --policy, "
				"--on-collision or --volatile", d->image_arg);
	r = changes_open(&d->changes, d->image_arg, d->options.ro, err);
	if (r == 0)
		r = changes_parent(&d->changes, d->image_arg, d->options.cache, &d->image, &d->view, err);
	d->options.ro |= d->changes.is_read_only;
	return r;
}

/* Of the mount's root: what the control socket tells, too. */
static int tell_stats(void *ctx, struct buf *out)
{
	const struct daemon *d = ctx;

	return stats_text(d->serve, d->view, d->changes.log, out);
}

/* A root that cannot be read makes no mount: it could only be ended by force. */
static int open_view(struct daemon *d, struct ply_err *err)
{
	const struct rw_options o = { .default_permissions = d->options.default_permissions, .sync = d->options.sync,
				      .stats = tell_stats, .stats_ctx = d };
	struct ply_attr root;
	int r = redo_is_log(d->image_arg) ? open_log_view(d, err) : open_image_view(d, err);

	decisions_done(&d->decisions);
	if (r == 0)
		r = ply_view_attr(d->view, PLY_ROOT_INDEX, &root, err);
	if (r < 0)
		return r;
	tree_init(&d->tree, d->view, d->options.default_permissions);
	if (d->changes.log)
		r = changes_begin(&d->changes, &d->tree, &o, err);
	return r;
}

/* The absolute path of log or image, and the image's generation where one was asked for. */
static int source(const struct daemon *d, char **ret)
{
	const char *path = ply_image_path(d->image), *at = strrchr(d->image_arg, '@');

	if (d->changes.log && !d->is_volatile) {
		*ret = realpath(d->image_arg, NULL);
		return *ret ? 0 : -errno;
	}
	if (access(d->image_arg, F_OK) == 0 || !at)
		at = "";
	return asprintf(ret, "%s%s", path, at) < 0 ? -ENOMEM : 0;
}

static int block_signals(struct daemon *d, struct ply_err *err)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);          /* a log that may not grow (ulimit -f) is a full disk */
	if (!d->foreground)
		signal(SIGHUP, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return ply_fail_sys(err, -errno, "sigprocmask");
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return d->signal_fd < 0 ? ply_fail_sys(err, -errno, "signalfd") : 0;
}

static int start(struct daemon *d, struct ply_err *err)
{
	_cleanup_free_ char *from = NULL;
	int fd, r = unmounter_start(&d->unmounter, err);

	if (r == 0)
		r = block_signals(d, err);
	if (r == 0)
		r = open_view(d, err);
	if (r < 0)
		return r;
	r = source(d, &from);
	if (r < 0)
		return ply_fail_sys(err, r, "%s: its path", d->image_arg);
	r = mount_begin(d->dir, from, &d->options, &fd, &d->place, err);
	if (r < 0)
		return r;
	d->is_mounted = true;
	r = unmounter_tell(&d->unmounter, &d->place, err);   /* first: whatever fails, it is taken back */
	if (r < 0)
		close(fd);
	else
		r = serve_new(fd, &d->tree, &d->serve, err);
	if (r < 0)
		return r;
	/* the name may be taken, by anybody: no reason to refuse the mount */
	if (control_open(d->place.major, d->place.minor, &d->control_fd, err) < 0)
		tell(d, MNT_STATUS_WARNING, err->msg);
	mount_tune(&d->place, READAHEAD_KIB, d->options.ro ? 0 : RW_RESERVE / 2);
	return 0;
}

/* Away from the terminal and the directory of the parent. */
static int settle(struct daemon *d, struct ply_err *err)
{
	int null;

	if (chdir("/") < 0)
		return ply_fail_sys(err, -errno, "/");
	log_init(d->foreground);
	if (d->foreground)
		return 0;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd <= 2; fd++)
		if (null < 0 || dup2(null, fd) < 0)
			return ply_fail_sys(err, -errno, "/dev/null");
	close(null);
	return 0;
}

/* The last before the first byte is served: no file is opened after it, and threads inherit it. */
static void confine(struct daemon *d)
{
	const struct sandbox allow = { .syscalls = SANDBOX_SOCKETS | (d->options.ro ? 0 : SANDBOX_LOG) };
	unsigned has = d->no_sandbox ? 0 : sandbox_enter(&allow);
	const char *name;

	for (unsigned i = 0; (name = sandbox_name(has, i)); i++)
		tell(d, MNT_STATUS_CONFINED, name);
}

/* Then the parent goes. */
static int begin(struct daemon *d, struct ply_err *err)
{
	int r = serve_start(d->serve, (unsigned)d->options.threads, err);

	if (r < 0)
		return r;
	tell_selection(d);
	if (tell(d, MNT_STATUS_READY, "") < 0)
		return ply_fail(err, -EPIPE, PLY_R_CANCELLED, "whoever wanted the mount is gone");
	if (d->status_fd >= 0)
		close(TAKE_FD(d->status_fd));
	return 0;
}

/* --- until the end ---------------------------------------------------- */

/* True: somebody wants it to end, and the file system is still there. */
static bool watch(struct daemon *d)
{
	struct pollfd p[] = {
		{ .fd = d->signal_fd, .events = POLLIN },
		{ .fd = serve_ended_fd(d->serve), .events = POLLIN },
		{ .fd = d->control_fd, .events = POLLIN },
	};

	for (;;) {
		int n = poll(p, ARRAY_SIZE(p), IDLE_MS);

		if (n < 0 && errno != EINTR) {
			log_error("poll: %s", strerror(errno));
			return true;
		}
		if (n == 0)
			ply_view_idle(d->view);
		if (n <= 0)
			continue;
		if (p[0].revents || p[1].revents)
			return !p[1].revents;
		if (p[2].revents)
			control_answer(d->control_fd, d->serve, d->view, d->changes.log);
	}
}

/*
 * @serving: requests are answered. What the kernel has not written yet is written while they are: not by this thread,
 * and not after the threads have ended.
 */
static int finish(struct daemon *d, bool serving)
{
	struct ply_err err;
	int r;

	/* not by a device number that may be another's by now */
	if (d->is_mounted && (!d->serve || serve_is_connected(d->serve))) {
		r = unmounter_unmount(&d->unmounter, serving && !d->options.ro);
		if (r < 0)
			log_error("cannot unmount: %s", strerror(-r));
		/* it writes without waiting for the end of that */
		if (serving && !d->options.ro)
			serve_drain(d->serve);
	}
	d->serve = serve_free(d->serve);
	r = changes_end(&d->changes, &err);
	if (r < 0)
		log_error("the end of the log may be lost: %s", err.msg);
	cleanup_close(&d->control_fd);
	cleanup_close(&d->signal_fd);
	d->view = ply_view_close(d->view);
	d->image = ply_image_close(d->image);
	free(d->names);
	decisions_done(&d->decisions);
	unmounter_done(&d->unmounter);
	return r;
}

/* Nothing but the status pipe is inherited: whoever waits for the end of some other pipe of
 * the parent would wait for us. */
static void close_inherited(int keep)
{
	if (keep > 3)
		close_range(3, (unsigned)keep - 1, 0);
	close_range(keep > 2 ? (unsigned)keep + 1 : 3, ~0U, 0);
}

int main(int argc, char **argv)
{
	struct daemon d = { .status_fd = -1, .decisions_fd = -1, .control_fd = -1, .signal_fd = -1 };
	bool serving = false;
	struct ply_err err;
	int code = parse(&d, argc, argv, &err);

	if (code)
		return code;
	close_inherited(d.status_fd);
	if (!d.foreground)
		setsid();
	/* cached blocks come from mmap, so that giving one back gives it back */
	mallopt(M_MMAP_THRESHOLD, PLY_BLOCK_SIZE / 2);
	if (start(&d, &err) == 0 && settle(&d, &err) == 0) {
		confine(&d);
		if (begin(&d, &err) == 0)
			serving = watch(&d);
		else
			code = give_up(&d, &err);
	} else {
		code = give_up(&d, &err);
	}
	return finish(&d, serving) < 0 ? 1 : code;
}
