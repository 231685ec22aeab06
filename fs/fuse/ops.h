/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The requests of the kernel, answered from a view. */
#ifndef PLYFS_FUSE_OPS_H
#define PLYFS_FUSE_OPS_H

#define FUSE_USE_VERSION 312

#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "plyfs/view.h"

struct ahead;
struct rw;

/* What all requests are answered from: the userdata of the session. */
struct tree {
	struct ply_view *view;     /* borrowed */
	struct ply_view_stat stat;
	struct ahead *ahead;       /* borrowed, immutable while threads run; NULL: none */
	struct rw *rw;             /* borrowed; NULL: the view is all that there is */
	uint32_t generation;       /* of all inodes but the root */
	bool enforce_acls;         /* permissions are the kernel's job (default_permissions) */
	/* set by the INIT request, which comes before any other */
	bool is_initialised;
	bool no_open, no_opendir;  /* the kernel can do without these requests */
};

void tree_init(struct tree *tree, struct ply_view *view, bool default_permissions);

extern const struct fuse_lowlevel_ops tree_ops;

/* Free what the calling thread has kept for its replies. */
void tree_thread_done(void);

#endif
