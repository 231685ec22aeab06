/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests about open files, and their content.
 *
 * SEEK_DATA and SEEK_HOLE: what is written and still in the kernel's cache is not known here, not even that the file
 * has become longer, and the kernel does not write it before it asks. Who copies such a file (cp, tar) would lose it.
 * So as long as somebody has the file open to write to it, a thread of its own asks the kernel to write out and drop
 * what it has of it, which other threads have to answer, and gives the answer then. Rejected: "all is data up to the
 * end", since the end is not known; and ENOSYS, which the kernel takes for all files.
 */
#include "rw_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/util.h"

struct waiting {
	struct waiting *next;
	fuse_req_t req;
	uint64_t ino, off;
	int whence;
};

/* --- open and close ------------------------------------------------------------------------------ */

static bool is_short_of_space(const struct rw *rw)
{
	struct rw_space space;

	return rw_space(rw, &space) && space.avail < RW_RESERVE;
}

/* The kernel does not know of synchronous files, so it may not keep what is written to them. */
void rw_open_flags(const struct rw *rw, uint64_t ino, struct fuse_file_info *fi)
{
	fi->keep_cache = 1;
	fi->direct_io = fi->fh && (is_short_of_space(rw) || rw_is_synchronous(rw, ino));
}

void rw_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	struct ply_err err;
	int r;

	fi->fh = (fi->flags & O_ACCMODE) != O_RDONLY;
	if (fi->fh && !refs_open(rw->refs, ino)) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	r = live_open_file(rw->live, &who, ino, fi->flags, raw_current()->kill, &err);
	if (fi->flags & O_TRUNC)
		r = rw_settle(rw, ino, r, &err);
	rw_open_flags(rw, ino, fi);
	if (r < 0)
		rw_fail(req, ino, &err);
	else
		r = fuse_reply_open(req, fi);
	if (r < 0 && fi->fh)
		rw_closed(rw, ino);
}

void rw_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);

	if (fi->fh)
		rw_closed(rw, ino);
	fuse_reply_err(req, 0);
}

/* --- content --------------------------------------------------------------------------------------- */

void rw_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);
	void *buf = ops_buffer(size);
	struct ply_err err;
	ssize_t n;

	(void)fi;
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	do
		n = live_read(rw->live, ino, (uint64_t)off, size, buf, &err);
	while (ops_disturbed(ino));
	if (n < 0)
		rw_fail_looking(req, ino, &err);
	else if (ops_is_sound(req))
		fuse_reply_buf(req, buf, (size_t)n);
}

void rw_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	const unsigned flags = (raw_current()->kill ? LIVE_W_KILL : 0) | (fi->writepage ? LIVE_W_CACHED : 0);
	struct ply_err err;
	ssize_t n;

	if (rw_refused(req, rw, size))
		return;
	n = live_write(rw->live, &who, ino, (uint64_t)off, buf, size, flags, &err);
	if (n >= 0 && !fi->writepage && rw_settle(rw, ino, 0, &err) < 0)
		n = err.code;
	if (n < 0)
		rw_fail(req, ino, &err);
	else if ((size_t)n < size && fi->writepage)   /* the kernel does not look how much of its pages was taken */
		fuse_reply_err(req, ENOSPC);
	else
		fuse_reply_write(req, (size_t)n);
}

void rw_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	struct ply_err err;

	(void)fi;
	/* what is to be kept ready has to be there, though nothing is taken */
	if (!(mode & FALLOC_FL_PUNCH_HOLE) && rw_refused(req, rw, mode & FALLOC_FL_ZERO_RANGE ? 0 : (size_t)len))
		return;
	rw_reply(req, rw, ino, live_fallocate(rw->live, &who, ino, mode, (uint64_t)off, (uint64_t)len, &err), &err);
}

void rw_copy(fuse_req_t req, fuse_ino_t from, off_t from_off, struct fuse_file_info *from_fi, fuse_ino_t to,
	     off_t to_off, struct fuse_file_info *to_fi, size_t len, int flags)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	struct ply_err err;
	ssize_t n;

	(void)from_fi, (void)to_fi, (void)flags;
	if (rw_refused(req, rw, 0))
		return;
	/* the answer has 32 bits */
	len = MIN(len, (size_t)1 << 31);
	n = live_copy(rw->live, &who, from, (uint64_t)from_off, to, (uint64_t)to_off, len, &err);
	if (n >= 0 && rw_settle(rw, to, 0, &err) < 0)
		n = err.code;
	if (n < 0)
		rw_fail(req, to, &err);
	else
		fuse_reply_write(req, (size_t)n);
}

static void answer_syncs(struct rw *rw, struct waiting *list)
{
	struct ply_err err;
	int r = live_sync(rw->live, &err);

	for (struct waiting *next; list; list = next) {
		next = list->next;
		if (r < 0)
			rw_fail(list->req, list->ino, &err);
		else
			fuse_reply_err(list->req, 0);
		free(list);
	}
}

/*
 * One log for all: what is answered before is on the disk. Whoever finds a sync under way leaves its request to the
 * thread that makes it, and takes the next one: so all that come meanwhile share the sync behind it, however few threads
 * there are.
 */
void rw_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);
	struct waiting *w = malloc(sizeof(*w));

	(void)datasync, (void)fi;
	if (!w) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_lock(&rw->lock);
	*w = (struct waiting){ .next = rw->syncs, .req = req, .ino = ino };
	rw->syncs = w;
	while (!rw->syncing && rw->syncs) {
		struct waiting *list = TAKE_PTR(rw->syncs);

		rw->syncing = true;
		pthread_mutex_unlock(&rw->lock);
		answer_syncs(rw, list);
		pthread_mutex_lock(&rw->lock);
		rw->syncing = false;
	}
	pthread_mutex_unlock(&rw->lock);
}

/* --- where data is ------------------------------------------------------------------------------- */

static void seek(fuse_req_t req, struct rw *rw, uint64_t ino, uint64_t off, int whence)
{
	struct ply_err err;
	uint64_t to;
	int r;

	ops_begin();
	do
		r = live_seek(rw->live, ino, off, whence, &to, &err);
	while (ops_disturbed(ino));
	if (r < 0)
		rw_fail_looking(req, ino, &err);
	else if (ops_is_sound(req))
		fuse_reply_lseek(req, (off_t)to);
}

void rw_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);
	struct waiting *w = NULL;

	(void)fi;
	if (!refs_is_written(rw->refs, ino)) {
		seek(req, rw, ino, (uint64_t)off, whence);
		return;
	}
	w = malloc(sizeof(*w));
	if (!w) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*w = (struct waiting){ .req = req, .ino = ino, .off = (uint64_t)off, .whence = whence };
	pthread_mutex_lock(&rw->lock);
	if (!rw->stopping) {
		*rw->last = TAKE_PTR(w);
		rw->last = &(*rw->last)->next;
		pthread_cond_signal(&rw->seeks);
	}
	pthread_mutex_unlock(&rw->lock);
	if (w)                     /* nobody asks the kernel any more */
		fuse_reply_err(req, EIO);
	free(w);
}

static struct waiting *take_locked(struct rw *rw)
{
	struct waiting *w = rw->first;

	if (!w)
		return NULL;
	rw->first = w->next;
	if (!rw->first)
		rw->last = &rw->first;
	return w;
}

void *rw_seeker(void *arg)
{
	struct rw *rw = arg;

	pthread_mutex_lock(&rw->lock);
	while (!rw->stopping) {
		struct waiting *w = take_locked(rw);

		if (!w) {
			pthread_cond_wait(&rw->seeks, &rw->lock);
			continue;
		}
		pthread_mutex_unlock(&rw->lock);
		/* comes back when all is written; an inode that the kernel does not know has nothing to write */
		fuse_lowlevel_notify_inval_inode(rw->session, w->ino, 0, 0);
		seek(w->req, rw, w->ino, w->off, w->whence);
		free(w);
		pthread_mutex_lock(&rw->lock);
	}
	pthread_mutex_unlock(&rw->lock);
	return NULL;
}

void rw_seeker_end(struct rw *rw)
{
	for (struct waiting *w; (w = take_locked(rw)); free(w))
		fuse_reply_err(w->req, EIO);
}
