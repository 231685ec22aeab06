/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log of a mount: see changes.h.
 *
 * A volatile one is an ordinary log that has no name, so it takes no memory, and is gone with the process however that
 * ends.
 */
#include "changes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mnt.h"
#include "base/util.h"
#include "ops/parent.h"

#define BUSY_TRIES 100             /* two seconds for another daemon to end, */
#define HELD_TRIES 15              /* and less for an umount(8) that has just been started */
#define BUSY_MS    20

/* Why it is not written to. */
static const char *read_only_because(const struct redo_info *info, bool store_is_read_only)
{
	if (info->damaged)
		return "is damaged";
	if (info->state == PLY_REDO_FROZEN)
		return "is frozen";
	return store_is_read_only ? "lies where it cannot be written" : "has features that this version does not know";
}

static int see_source(void *ctx, const struct mnt_line *line)
{
	return strcmp(line->type, MNT_TYPE) == 0 && strcmp(line->source, ctx) == 0;
}

/* umount(8) comes back while the daemon still writes the end of the log: who mounts it again at once waits for that. For
 * a log that is mounted there is no waiting, or next to none. */
static int open_store(const char *path, unsigned flags, struct redo_store **ret, struct ply_err *err)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	int r = redo_store_open(path, flags, ret, err);

	for (unsigned i = 0, held = 0; r < 0 && err->reason == PLY_R_REDO_BUSY && i < BUSY_TRIES; i++) {
		if (!real)
			break;
		held += mnt_list(NULL, see_source, real) != 0;
		if (held > HELD_TRIES)
			break;
		usleep(BUSY_MS * 1000);
		r = redo_store_open(path, flags, ret, err);
	}
	return r;
}

int changes_open(struct changes *c, const char *path, bool ro, struct ply_err *err)
{
	const unsigned flags = ro ? 0 : REDO_WRITE;
	struct redo_store *store;
	struct redo_info info;
	bool store_is_read_only;
	int r = open_store(path, flags, &store, err);

	c->space_fd = -1;
	if (r < 0)
		return r;
	store_is_read_only = store->read_only;
	r = redo_open(store, flags, &c->log, err);
	if (r < 0)
		return r;
	redo_info(c->log, &info);
	c->is_read_only = !info.writable;
	if (c->is_read_only && !ro)
		snprintf(c->warning[0], sizeof(c->warning[0]), "the log %s: it is mounted read-only",
			 read_only_because(&info, store_is_read_only));
	memcpy(c->warning[1], info.warning, sizeof(c->warning[1]));
	if (!c->is_read_only)
		c->space_fd = open(path, O_PATH | O_CLOEXEC);
	return 0;
}

int changes_parent(struct changes *c, const char *path, size_t cache_bytes, struct ply_image **ret_image,
		   struct ply_view **ret, struct ply_err *err)
{
	int r = parent_open(c->log, path, ret_image, err);

	return r < 0 ? r : parent_view_open(*ret_image, c->log, cache_bytes, ret, err);
}

/* -1: neither folder can do that. Rejected: memory then, of which nothing says how much there is. */
static int make_nameless(void)
{
	const char *const folders[] = { getenv("TMPDIR"), "/var/tmp" };
	int fd = -1;

	for (size_t i = 0; i < ARRAY_SIZE(folders) && fd < 0; i++)
		if (folders[i] && *folders[i])
			fd = open(folders[i], O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	return fd;
}

int changes_volatile(struct changes *c, struct ply_view *view, const struct ply_decision *decisions, size_t n,
		     struct ply_err *err)
{
	_cleanup_buf_ struct buf memory = { 0 };
	_cleanup_close_ int fd = make_nameless();
	struct redo_binding binding;
	int r;

	if (fd < 0)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_MOUNT_FAILED,
				"--volatile needs a place for a file without a name (O_TMPFILE), which neither TMPDIR nor /var/tmp is; "
				"set TMPDIR to a folder on ext4, xfs, btrfs or tmpfs, such as /dev/shm");
	c->space_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (c->space_fd < 0)
		return ply_fail_sys(err, -errno, "a second descriptor of the log");
	r = parent_bind(view, decisions, n, &memory, &binding, err);
	return r < 0 ? r : redo_open_volatile(TAKE_FD(fd), &binding, &c->log, err);
}

/* --- in use -------------------------------------------------------------------------------------- */

int changes_begin(struct changes *c, struct tree *tree, const struct rw_options *o, struct ply_err *err)
{
	struct rw_options options = *o;
	int r = live_open(tree->view, c->log, &c->live, err);

	if (r < 0)
		return r;
	options.space_fd = TAKE_FD(c->space_fd);
	r = rw_new(c->live, &options, &c->rw, err);
	tree->rw = c->rw;
	return r;
}

int changes_end(struct changes *c, struct ply_err *err)
{
	int r;

	if (!c->log)
		return 0;
	c->rw = rw_free(c->rw);
	c->live = live_close(c->live);
	r = redo_close(c->log, err);
	cleanup_close(&c->space_fd);
	*c = (struct changes){ 0 };
	return r;
}
