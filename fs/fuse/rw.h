/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A view with a log on top as a FUSE file system: see rw.c. */
#ifndef PLYFS_FUSE_RW_H
#define PLYFS_FUSE_RW_H

#include "ops.h"

#include "base/buf.h"
#include "live/live.h"
#include "raw.h"

struct rw;

/* Adds the text of the xattr MNT_STATS_XATTR of the root. -errno. */
typedef int (*rw_stats_fn)(void *ctx, struct buf *out);

struct rw_options {
	bool default_permissions;  /* the kernel enforces modes and ACLs */
	bool sync;                 /* each change is on the disk before it is answered */
	int space_fd;              /* on the file system of the log; O_PATH will do; consumed; -1: none */
	rw_stats_fn stats;         /* NULL: there is none */
	void *stats_ctx;
};

/* @live is borrowed. @o->space_fd is consumed in every case. */
int rw_new(struct live *live, const struct rw_options *o, struct rw **ret, struct ply_err *err);
struct rw *rw_free(struct rw *rw);     /* NULL in, NULL out; after rw_stop() */

/* Threads that commit each second, and that wait for the kernel. @session is borrowed until rw_stop(). */
int rw_start(struct rw *rw, struct fuse_session *session, struct ply_err *err);
/* While requests are still answered: what waits for the kernel needs that. NULL: nothing. */
void rw_stop(struct rw *rw);

/* The userdata of the session, and the context of these, is a struct tree with an rw. */
extern const struct fuse_lowlevel_ops rw_ops;
extern const struct raw_answers rw_answers;

#endif
