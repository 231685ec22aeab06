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

/* What the daemon answers on its control socket (fs/fuse/control.h), malloc-ed; NULL: nothing, or not to us. */
char *mounted_ask(const struct mounted *m);

#endif
