/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mount of an image or a log, found by a path on it, and what its daemon says of itself. */
#ifndef PLYFS_MOUNTED_H
#define PLYFS_MOUNTED_H

#include <stdbool.h>

#include "base/mnt.h"

struct mounted {
	struct mnt_place place;
	char *source;              /* "IMAGE", "IMAGE@N" or "REDO", as mountinfo has it */
	char *type;
	char *mountpoint;
	uid_t owner;               /* who mounted it */
	bool read_only;
};

/* What lies at @place, which @path, for messages, is on. NOT_MOUNTED: it is no mount of plyfs. Release by
 * mounted_done(), also where it failed. */
int mounted_at(const struct mnt_place *place, const char *path, struct mounted *ret, struct ply_err *err);
/* The same for a directory; *ret_fd, opened with O_PATH, is the caller's. */
int mounted_open(const char *dir, struct mounted *ret, int *ret_fd, struct ply_err *err);
void mounted_done(struct mounted *m);
#define _cleanup_mounted_ __attribute__((cleanup(mounted_done)))

/*
 * All that was written to it is on the disk; 0 or -errno. @path_fd is of a directory on it. The kernel asks a FUSE daemon
 * for no sync in sync(2) and syncfs(2): it hands over what it holds, waits for nothing, and the log is synced by fsync(2)
 * alone. So, in this order: syncfs makes the kernel hand over all pages that were written; an fsync of each file that
 * somebody still has open to write waits until those of that file have arrived (close(2) has waited for all others); an
 * fsync of the directory then syncs the log.
 */
int mounted_sync(const struct mounted *m, int path_fd);

/* Its daemon was killed. A daemon that hangs is waited for. */
bool mounted_is_dead(const struct mounted *m);
/* The error for that. */
int mounted_died(const struct mounted *m, struct ply_err *err);

/* What the daemon answers on its control socket (fs/fuse/control.h), malloc-ed; NULL: nothing, or not to us. */
char *mounted_ask(const struct mounted *m);
/* What it says of itself (fs/fuse/stats.h), malloc-ed: whom it does not answer there finds the same in the xattr of the
 * mount's root, where the mount has xattrs at all. NULL: nothing. */
char *mounted_stats(const struct mounted *m);

#endif
