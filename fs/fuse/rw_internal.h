/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parts of writable mounts: rw.c (life), rw_look.c (what changes nothing), rw_change.c, rw_data.c (of open files). */
#ifndef PLYFS_FUSE_RW_INTERNAL_H
#define PLYFS_FUSE_RW_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "ops_internal.h"
#include "refs.h"
#include "rw.h"

/* Kept of the host's free space, and not told: for what the kernel has not written yet; where no more is free, files
 * are opened so that it writes at once. And of that, what nothing may grow into: removing a file takes a record,
 * too. */
#define RW_RESERVE ((uint64_t)64 << 20)
#define RW_LAST    ((uint64_t)16 << 20)

struct waiting;                    /* a request that waits for the kernel: rw_data.c */

struct rw {
	struct live *live;         /* borrowed */
	struct rw_options o;
	struct refs *refs;
	struct fuse_session *session;      /* immutable while threads run */
	pthread_t ticker, seeker;
	unsigned nthreads;
	_Atomic uint64_t root_end; /* as the marks of other directories: rw_look.c */
	_Atomic int64_t room;      /* bytes that may at least still be written; see rw_has_room() */
	pthread_mutex_t giving;    /* back what was removed; alone */
	uint64_t kept;             /* bytes that could not be given back the last time; `giving` */

	pthread_mutex_t lock;      /* of all below */
	pthread_cond_t ticks, seeks;       /* by the monotonic clock */
	bool stopping;
	struct waiting *first, **last;     /* to be sought */
	struct waiting *syncs;             /* for the next sync; with `syncing` somebody is making one */
	bool syncing;
};

static inline struct rw *rw_of(fuse_req_t req)
{
	return ops_tree(req)->rw;
}

/* Whose request it is. */
struct live_who rw_who(const struct fuse_ctx *c);

void rw_stat(const struct live_attr *a, struct stat *st);
void rw_entry(const struct live_attr *a, struct fuse_entry_param *e);

/* The positive errno for the kernel, and a line in the log where that is no ordinary answer. */
int rw_answer(uint64_t ino, const struct ply_err *err);
void rw_fail(fuse_req_t req, uint64_t ino, const struct ply_err *err);
/* The same for an answer that has changed nothing, and may have been disturbed. */
void rw_fail_looking(fuse_req_t req, uint64_t ino, const struct ply_err *err);

bool rw_is_synchronous(const struct rw *rw, uint64_t ino);     /* by its flags (chattr) */
/* @r is what changing @ino, or names in it, has returned, and is returned where it is an error. With -o sync, or where
 * @ino is synchronous, the change is on the disk now. */
int rw_settle(struct rw *rw, uint64_t ino, int r, struct ply_err *err);
/* The answer to what changes and has no other result. */
void rw_reply(fuse_req_t req, struct rw *rw, uint64_t ino, int r, struct ply_err *err);
/* An entry, which the kernel knows from then on. */
void rw_reply_entry(fuse_req_t req, struct rw *rw, const struct live_attr *a);

/* The kernel forgets @n of those that it was told. */
void rw_forget(struct rw *rw, uint64_t ino, uint64_t n);
/* What has lost a name, and the kernel may not know. 0: nothing. */
void rw_nameless(struct rw *rw, uint64_t ino);
void rw_closed(struct rw *rw, uint64_t ino);

/* Bytes of the host file system; false: not known. */
struct rw_space {
	uint64_t all, free, avail;
};
bool rw_space(const struct rw *rw, struct rw_space *ret);
/* May the log grow by @len and a record? Where that is not known it may. */
bool rw_has_room(struct rw *rw, size_t len);
/* The same for a request, which is answered where it may not. */
bool rw_refused(fuse_req_t req, struct rw *rw, size_t len);

void *rw_seeker(void *rw);
/* What still waits gets an answer without that; no thread is left. */
void rw_seeker_end(struct rw *rw);

void rw_init(void *userdata, struct fuse_conn_info *conn);
void rw_destroy(void *userdata);
void rw_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void rw_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);

/* rw_look.c */
void rw_lookup(fuse_req_t req, fuse_ino_t dir, const char *name);
void rw_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void rw_readlink(fuse_req_t req, fuse_ino_t ino);
void rw_readdir(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off, struct fuse_file_info *fi);
void rw_readdirplus(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off, struct fuse_file_info *fi);
void rw_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void rw_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void rw_statfs(fuse_req_t req, fuse_ino_t ino);
int rw_statx(void *ctx, uint64_t ino, struct statx *ret, double *ret_timeout);

/* rw_change.c */
void rw_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int what, struct fuse_file_info *fi);
void rw_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev);
void rw_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode);
void rw_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name);
void rw_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, struct fuse_file_info *fi);
int rw_tmpfile(void *ctx, const struct fuse_ctx *who, uint64_t dir, mode_t mode, struct fuse_file_info *fi,
	       struct fuse_entry_param *ret);
void rw_tmpfile_undo(void *ctx, uint64_t ino);
void rw_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name);
void rw_unlink(fuse_req_t req, fuse_ino_t dir, const char *name);
void rw_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name);
void rw_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t to_dir, const char *to_name,
	       unsigned flags);
void rw_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void rw_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void rw_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
	      const void *in, size_t in_len, size_t out_len);

/* rw_data.c */
void rw_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* How a file that is open for writing is to be treated: the kernel's part of @fi. */
void rw_open_flags(const struct rw *rw, uint64_t ino, struct fuse_file_info *fi);
void rw_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void rw_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void rw_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi);
void rw_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void rw_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void rw_copy(fuse_req_t req, fuse_ino_t from, off_t from_off, struct fuse_file_info *from_fi, fuse_ino_t to,
	     off_t to_off, struct fuse_file_info *to_fi, size_t len, int flags);
void rw_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
int rw_syncfs(void *ctx);

#endif
