/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log that a writable mount writes to, from opening to closing. */
#ifndef PLYFS_FUSE_CHANGES_H
#define PLYFS_FUSE_CHANGES_H

#include <stdbool.h>

#include "live/live.h"
#include "ops.h"
#include "rw.h"

struct changes {                   /* zeros: there is none */
	struct redo *log;
	struct live *live;
	struct rw *rw;
	bool is_read_only;
	int space_fd;              /* with a log: of the file system where it grows; -1: it does not */
	char warning[2][256];      /* "": nothing to say */
};

/* A log, also one that another daemon is just done with; read-only where it cannot be written, which is warned of, or with @ro. */
int changes_open(struct changes *c, const char *path, bool ro, struct ply_err *err);
/* Image and view that it stands on; the caller's. */
int changes_parent(struct changes *c, const char *path, size_t cache_bytes, struct ply_image **ret_image,
		   struct ply_view **ret, struct ply_err *err);

/* One without a name, in $TMPDIR, else in /var/tmp, on @view. MOUNT_FAILED where neither takes such a file. */
int changes_volatile(struct changes *c, struct ply_view *view, const struct ply_decision *decisions, size_t n,
		     struct ply_err *err);

/* @tree is answered from the log from now on. @o->space_fd does not count. */
int changes_begin(struct changes *c, struct tree *tree, const struct rw_options *o, struct ply_err *err);

/* After the last request: all is on the disk; an error says that it may not be. Nothing where there is no log. */
int changes_end(struct changes *c, struct ply_err *err);

#endif
