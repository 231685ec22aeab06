/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs mount: starts the daemon and waits until the mount is usable.
 *
 * The daemon is found relative to this executable, so that an installed tree runs from
 * wherever it lies. It opens the image itself and tells by a pipe (base/mnt.h) what was
 * selected, or why there is no mount; so nothing is opened twice, and what is printed is
 * what is served. Mount options are judged by the daemon too.
 *
 * Only where a policy, or --on-collision, decides what happens where sub-images collide, the
 * image is opened here as well: the daemon, which faces the kernel, gets no YAML but pairs of
 * nodes, and the image and generation that they are of.
 *
 * A log is given to the daemon in place of an image: it knows image, selection and decisions.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mnt.h"
#include "base/util.h"
#include "cli.h"
#include "logs.h"
#include "open.h"
#include "verbs.h"

#define DAEMON "libexec/plyfs/plyfs-fuse"

extern char **environ;

static int find_daemon(char ret[PATH_MAX], struct ply_err *err)
{
	char exe[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n < 0)
		return ply_fail_sys(err, -errno, "/proc/self/exe");
	exe[n] = '\0';
	for (int up = 0; up < 2; up++) {   /* PREFIX/bin/plyfs */
		slash = strrchr(exe, '/');
		if (slash)
			*slash = '\0';
	}
	if (snprintf(ret, PATH_MAX, "%s/%s", exe, DAEMON) >= PATH_MAX || access(ret, X_OK) < 0)
		return ply_fail(err, -ENOENT, PLY_R_DAEMON_MISSING,
				"%s cannot be run; install plyfs again", ret);
	return 0;
}

/* @path from the root, without resolving anything: it is what `ps` will show. */
static char *absolute(const char *path)
{
	_cleanup_free_ char *cwd = *path == '/' ? NULL : get_current_dir_name();
	char *out;

	return asprintf(&out, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "", path) < 0 ? NULL : out;
}

/* What is decided, for the daemon. */
struct decided {
	int fd;                    /* lines; -1: nothing is */
	char generation[24], uuid[33];
};

/* What was asked for. */
struct request {
	const char *file, *dir;    /* an image, or a log */
	bool is_log, is_volatile, no_sandbox;
	struct cli_list names, options;
	struct choice choice;
};

static int command_line(const char *daemon, const struct request *q, const struct decided *decided,
			struct cli_list *ret)
{
	int r = cli_list_add(ret, daemon) | cli_list_add(ret, "--status") | cli_list_add(ret, "3");

	if (decided->fd >= 0)
		r |= cli_list_add(ret, "--decisions") | cli_list_add(ret, "4") | cli_list_add(ret, "--generation") |
		     cli_list_add(ret, decided->generation) | cli_list_add(ret, "--uuid") |
		     cli_list_add(ret, decided->uuid);
	if (q->is_volatile)
		r |= cli_list_add(ret, "--volatile");
	if (q->no_sandbox)
		r |= cli_list_add(ret, "--no-sandbox");
	for (size_t i = 0; i < q->names.n; i++)
		r |= cli_list_add(ret, "-s") | cli_list_add(ret, q->names.v[i]);
	for (size_t i = 0; i < q->options.n; i++)
		r |= cli_list_add(ret, "-o") | cli_list_add(ret, q->options.v[i]);
	return r | cli_list_add(ret, "--") | cli_list_add(ret, q->file) | cli_list_add(ret, q->dir) |
	       cli_list_add(ret, NULL);
}

/* Start the daemon; what it says until it is ready or has failed goes to @said. */
static int run(const struct cli_list *argv, int decisions, pid_t *ret_pid, struct buf *said, struct ply_err *err)
{
	posix_spawn_file_actions_t actions;
	int p[2], r;
	ssize_t n;

	if (pipe2(p, O_CLOEXEC) < 0)
		return ply_fail_sys(err, -errno, "pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, p[1], 3);
	if (decisions >= 0)
		posix_spawn_file_actions_adddup2(&actions, decisions, 4);
	r = posix_spawn(ret_pid, argv->v[0], &actions, NULL, (char *const *)argv->v, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(p[1]);
	if (r)
		r = ply_fail(err, -r, PLY_R_DAEMON_MISSING, "%s cannot be run: %s", argv->v[0],
			     strerror(r));
	while (r == 0) {
		if (buf_reserve(said, 4096) < 0) {
			r = ply_fail_nomem(err);
			break;
		}
		n = read(p[0], said->data + said->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		said->len += (size_t)n;
	}
	close(p[0]);
	return r;
}

static int died(pid_t pid, struct ply_err *err)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return ply_fail_sys(err, -errno, "waitpid");
	return WIFSIGNALED(status) ?
		ply_fail(err, -EIO, PLY_R_MOUNT_FAILED,
			 "the daemon was killed by signal %d while it started", WTERMSIG(status)) :
		ply_fail(err, -EIO, PLY_R_MOUNT_FAILED,
			 "the daemon ended with exit code %d and no word", WEXITSTATUS(status));
}

/* The value where @text is "KEY VALUE". */
static const char *value_of(const char *text, const char *key)
{
	size_t n = strlen(key);

	return strncmp(text, key, n) == 0 && text[n] == ' ' ? text + n + 1 : NULL;
}

static int understand(const struct buf *said, pid_t pid, struct cli_list *selected,
		      struct cli_list *confined, struct ply_err *err)
{
	const char *text = (const char *)said->data, *end = text + said->len, *v;

	for (; text < end && memchr(text, '\0', (size_t)(end - text)); text += strlen(text) + 1) {
		if ((v = value_of(text, MNT_STATUS_SELECTED))) {
			if (cli_list_add(selected, v) < 0)
				return ply_fail_nomem(err);
		} else if ((v = value_of(text, MNT_STATUS_CONFINED))) {
			if (cli_list_add(confined, v) < 0)
				return ply_fail_nomem(err);
		} else if ((v = value_of(text, MNT_STATUS_WARNING))) {
			cli_note("warning: %s", v);
		} else if (value_of(text, MNT_STATUS_READY)) {
			return 0;
		} else if ((v = value_of(text, MNT_STATUS_ERROR))) {
			int code, reason, at;

			if (sscanf(v, "%d %d %n", &code, &reason, &at) == 2 && code < 0) {
				waitpid(pid, NULL, 0);
				return ply_fail(err, code, (enum ply_reason)reason, "%s", v + at);
			}
		}
	}
	return died(pid, err);
}

static json_t *strings(const struct cli_list *l)
{
	json_t *a = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(a, json_string(l->v[i]));
	return a;
}

static int report(const struct request *q, pid_t pid, const struct cli_list *selected, const struct cli_list *confined)
{
	_cleanup_free_ char *path = realpath(q->dir, NULL);
	struct statvfs s;

	if (!path)
		path = strdup(q->dir);
	return cli_print_json(json_pack("{s:o, s:o, s:b, s:o, s:i, s:o}", q->is_log ? "log" : "image",
					cli_json_name(q->file, strlen(q->file)), "mountpoint",
					path ? cli_json_name(path, strlen(path)) : NULL, "read_only",
					statvfs(q->dir, &s) < 0 || s.f_flag & ST_RDONLY, "selected", strings(selected),
					"pid", (int)pid, "confined", strings(confined)));
}

/* --- decisions ------------------------------------------------------------------------------- */

static int write_decisions(const struct ply_decision *v, size_t n, int *ret_fd, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_close_ int made = memfd_create("decisions", MFD_CLOEXEC), fd = -1;
	int r;

	for (size_t i = 0; i < n; i++)
		if (buf_printf(&text, "%llx %llx %x %x\n", (unsigned long long)v[i].a, (unsigned long long)v[i].b,
			       v[i].rule, v[i].driver) < 0)
			return ply_fail_nomem(err);
	/* above 3 and 4, which the daemon finds it and its pipe at */
	fd = made < 0 ? -1 : fcntl(made, F_DUPFD_CLOEXEC, 10);
	if (fd < 0)
		return ply_fail_sys(err, -errno, "memfd");
	r = text.len ? pwrite_full(fd, text.data, text.len, 0) : 0;
	if (r < 0)
		return ply_fail_sys(err, r, "memfd");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int decide(const char *path, const struct cli_list *names, struct choice *choice, struct decided *ret,
		  struct ply_err *err)
{
	_cleanup_free_ struct ply_decision *v = NULL;
	struct ply_image *image = NULL;
	uint8_t uuid[16];
	size_t n;
	int r = choice_read(choice, err);

	if (r == 0)              /* its warning is the daemon's to tell */
		r = ply_image_open(path, &image, err);
	if (r == 0)
		r = open_decisions(image, names, choice, &v, &n, err);
	if (r == 0)
		r = write_decisions(v, n, &ret->fd, err);
	if (r == 0) {
		snprintf(ret->generation, sizeof(ret->generation), "%llu",
			 (unsigned long long)ply_image_generation(image)->generation);
		ply_image_uuid(image, uuid);
		hex_encode(uuid, sizeof(uuid), ret->uuid);
	}
	ply_image_close(image);
	return r;
}

/* The daemon has refused: which conflicts are there, or who has the log? */
static void explain(const struct request *q, const struct ply_err *err)
{
	struct ply_image *image;

	if (q->is_log && err->reason == PLY_R_REDO_BUSY)
		log_tell_holder(q->file);
	if (q->is_log || err->reason != PLY_R_CONFLICT || ply_image_open(q->file, &image, NULL) < 0)
		return;
	tell_undecided(image, &q->names);
	ply_image_close(image);
}

static int start(struct request *q, pid_t *ret_pid, struct buf *said, struct ply_err *err)
{
	_cleanup_list_ struct cli_list command = { 0 };
	struct decided decided = { .fd = -1 };
	char daemon[PATH_MAX];
	int r = find_daemon(daemon, err);

	if (r == 0 && (q->choice.policy || q->choice.on_collision))
		r = decide(q->file, &q->names, &q->choice, &decided, err);
	if (r == 0 && command_line(daemon, q, &decided, &command))
		r = ply_fail_nomem(err);
	if (r == 0)
		r = run(&command, decided.fd, ret_pid, said, err);
	cleanup_close(&decided.fd);
	return r;
}

static int mount_it(struct request *q, struct ply_err *err)
{
	_cleanup_list_ struct cli_list selected = { 0 }, confined = { 0 };
	_cleanup_buf_ struct buf said = { 0 };
	pid_t pid;
	int r = start(q, &pid, &said, err);

	if (r == 0) {
		r = understand(&said, pid, &selected, &confined, err);
		if (r < 0)
			explain(q, err);
	}
	if (r < 0)
		return cli_fail(err);
	tell_selection(&selected, &q->names);
	return cli_json ? report(q, pid, &selected, &confined) : EXIT_DONE;
}

/* -1: fine. Else it was told. */
static int check(const struct request *q)
{
	const char *none = q->names.n ? "-s" :
			   q->choice.policy ? "--policy" :
			   q->choice.on_collision ? "--on-collision" :
			   q->is_volatile ? "--volatile" : NULL;

	if (q->is_log && none)
		return cli_usage("a log has its selection, and what was decided about it: %s is for images", none);
	return choice_check(&q->choice);
}

int cmd_mount(int argc, char **argv)
{
	struct request q = { 0 };
	const struct cli_opt opts[] = {
		SELECTION_OPTION(&q.names),
		CHOICE_OPTIONS(&q.choice),
		{ "volatile", 0, NULL, "writable: what is changed is gone when the mount ends", CLI_FLAG,
		  &q.is_volatile },
		{ "options", 'o', "OPTIONS", "mount options, with commas; see the man page", CLI_LIST, &q.options },
		{ "no-sandbox", 0, NULL, "do not confine the daemon: to debug it", CLI_FLAG, &q.no_sandbox },
		CLI_JSON,
		CLI_END
	};
	const struct cli_spec spec = {
		"mount", "IMAGE|REDO DIR",
		"Mount an image, or a selection of its sub-images, read-only; or a log on an image, writable: see "
		"plyfs redo.", opts, 2, 2
	};
	_cleanup_free_ char *file = NULL;
	struct cli_args args;
	struct ply_err err;
	int code = cli_parse(&spec, argc, argv, &args);

	if (code < 0) {
		q.dir = args.v[1];
		q.is_log = redo_is_log(args.v[0]);
		code = check(&q);
	}
	if (code < 0) {
		file = absolute(args.v[0]);
		q.file = file;
		code = file ? mount_it(&q, &err) : (ply_fail_nomem(&err), cli_fail(&err));
	}
	choice_done(&q.choice);
	cli_list_done(&q.names);
	cli_list_done(&q.options);
	return code;
}
