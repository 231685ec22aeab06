/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A view with a log on top as a FUSE file system.
 *
 * The kernel caches all that it can: attributes, entries and what does not exist for ever, since nobody else changes
 * anything, and written data until it feels like writing (WRITEBACK_CACHE). So it owns size and times of files that are
 * written to, and tells them with SETATTR; a WRITE from its cache changes no time. What follows from that:
 *
 * - OPEN and RELEASE are kept, other than in read-only mounts: an immutable file can only be refused there, O_TRUNC
 *   comes with OPEN, and SEEK_DATA has to know of writers (rw_data.c).
 * - A full disk is heard of too late, by who calls fsync. So some of the host's space is kept, and where no more is
 *   left files are opened without the cache; and a little of it is for removing files, which takes records.
 * - sync(2) does not reach a FUSE file system: a thread commits each second.
 *
 * An inode that has lost its last name lives until the kernel forgets its number (refs.h), then live_forget() gives its
 * space back; a daemon that was killed leaves that to the next one. Nothing else is kept per inode or open file: the
 * handle of an open file says whether it may be written, and nothing more.
 *
 * A request that changes something is one call of the living tree (fs/live), and is in the log before it is answered.
 * When a sync has failed, reading goes on, and all that changes something is EIO.
 *
 * Not answered here, and so done by the kernel for all of us: locks, ACCESS, permissions.
 */
#include "rw_internal.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "log.h"

#define TICK_MS      1000u
#define STEP_MS      50u           /* while somebody waits for syncs */
#define RECORD_ABOUT 512           /* bytes; more than most */
#define OVER_SOME    ((uint64_t)1 << 20)       /* bytes of what was removed, and records: a checkpoint is worth it */

/* --- answers ------------------------------------------------------------------------------------ */

struct live_who rw_who(const struct fuse_ctx *c)
{
	return (struct live_who){ .uid = c->uid, .gid = c->gid, .umask = c->umask,
				  .request = raw_current()->request };
}

static struct timespec timespec(const struct live_time *t)
{
	return (struct timespec){ .tv_sec = t->sec, .tv_nsec = t->nsec };
}

void rw_stat(const struct live_attr *a, struct stat *st)
{
	*st = (struct stat){
		.st_ino = a->ino,
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_rdev = makedev(a->rdev_major, a->rdev_minor),
		.st_size = (off_t)a->size,
		.st_blksize = PLY_PAGE,
		.st_blocks = (blkcnt_t)a->blocks,
		.st_atim = timespec(&a->atime),
		.st_mtim = timespec(&a->mtime),
		.st_ctim = timespec(&a->ctime),
	};
}

void rw_entry(const struct live_attr *a, struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){
		.ino = a->ino,
		.generation = a->generation,
		.attr_timeout = OPS_FOREVER,
		.entry_timeout = OPS_FOREVER,
	};
	rw_stat(a, &e->attr);
}

int rw_answer(uint64_t ino, const struct ply_err *err)
{
	switch (err->code) {
	case -EIO:
	case -EBADMSG:
	case -EUCLEAN:
		log_damage(ino, err);
		return EIO;
	}
	return -err->code;
}

void rw_fail(fuse_req_t req, uint64_t ino, const struct ply_err *err)
{
	fuse_reply_err(req, rw_answer(ino, err));
}

void rw_fail_looking(fuse_req_t req, uint64_t ino, const struct ply_err *err)
{
	if (ops_is_sound(req))
		rw_fail(req, ino, err);
}

bool rw_is_synchronous(const struct rw *rw, uint64_t ino)
{
	struct live_attr a;

	return live_attr(rw->live, ino, &a, NULL) == 0 &&
	       a.flags & (S_ISDIR(a.mode) ? FS_SYNC_FL | FS_DIRSYNC_FL : FS_SYNC_FL);
}

int rw_settle(struct rw *rw, uint64_t ino, int r, struct ply_err *err)
{
	return r >= 0 && (rw->o.sync || rw_is_synchronous(rw, ino)) ? live_sync(rw->live, err) : r;
}

void rw_reply(fuse_req_t req, struct rw *rw, uint64_t ino, int r, struct ply_err *err)
{
	if (rw_settle(rw, ino, r, err) < 0)
		rw_fail(req, ino, err);
	else
		fuse_reply_err(req, 0);
}

void rw_reply_entry(fuse_req_t req, struct rw *rw, const struct live_attr *a)
{
	struct fuse_entry_param e;

	rw_entry(a, &e);
	if (!refs_look(rw->refs, a->ino))
		fuse_reply_err(req, ENOMEM);
	else if (fuse_reply_entry(req, &e) < 0)
		rw_forget(rw, a->ino, 1);
}

/* --- who knows what --------------------------------------------------------------------------------- */

void rw_forget(struct rw *rw, uint64_t ino, uint64_t n)
{
	if (refs_forget(rw->refs, ino, n))
		live_forget(rw->live, ino);
}

void rw_closed(struct rw *rw, uint64_t ino)
{
	if (refs_close(rw->refs, ino))
		live_forget(rw->live, ino);
}

void rw_nameless(struct rw *rw, uint64_t ino)
{
	if (ino && !refs_is_known(rw->refs, ino))
		live_forget(rw->live, ino);
}

void rw_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	rw_forget(rw_of(req), ino, n);
	fuse_reply_none(req);
}

void rw_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct rw *rw = rw_of(req);

	for (size_t i = 0; i < count; i++)
		rw_forget(rw, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* --- space ------------------------------------------------------------------------------------------- */

bool rw_space(const struct rw *rw, struct rw_space *ret)
{
	struct statfs s;
	uint64_t unit;

	/* there are file systems that know of no blocks */
	if (rw->o.space_fd < 0 || fstatfs(rw->o.space_fd, &s) < 0 || !s.f_blocks)
		return false;
	unit = s.f_frsize > 0 ? (uint64_t)s.f_frsize : (uint64_t)s.f_bsize;
	ret->all = s.f_blocks * unit;
	ret->free = s.f_bfree * unit;
	ret->avail = s.f_bavail * unit;
	return true;
}

/* The host is asked only when all could be used up that was free when it was asked last; and each second, since others
 * write there, too. */
static void look_for_room(struct rw *rw)
{
	struct rw_space space;
	int64_t room = INT64_MAX / 2;

	if (rw_space(rw, &space))
		room = (int64_t)MIN(space.avail, (uint64_t)INT64_MAX) - (int64_t)RW_LAST;
	atomic_store_explicit(&rw->room, room, memory_order_relaxed);
}

/* Cleaning takes room before it gives any. Before a checkpoint. */
static void judge_cleaning(struct rw *rw)
{
	struct redo *log = live_log(rw->live);
	struct rw_space space;

	redo_may_clean(log, !rw_space(rw, &space) || space.avail >= RW_RESERVE + redo_checkpoint_room(log, true));
}

/* Where little is free what was removed, and records of what is over, go back to the host at once. */
static void give_back_locked(struct rw *rw)
{
	struct redo *log = live_log(rw->live);
	struct rw_space space;
	struct redo_info info;
	uint64_t over;

	redo_info(log, &info);
	if (!info.writable)
		return;
	over = info.data_dead + redo_since_checkpoint(log);
	over -= MIN(over, rw->kept);
	if (over < OVER_SOME || !rw_space(rw, &space) || space.avail >= RW_RESERVE)
		return;
	judge_cleaning(rw);
	redo_checkpoint(log, NULL);        /* without room for it the log is as good as before */
	redo_info(log, &info);
	rw->kept = info.data_dead + redo_since_checkpoint(log);
}

static void give_back(struct rw *rw)
{
	pthread_mutex_lock(&rw->giving);
	give_back_locked(rw);
	pthread_mutex_unlock(&rw->giving);
}

bool rw_has_room(struct rw *rw, size_t len)
{
	const int64_t wants = (int64_t)MIN(len, (size_t)INT64_MAX / 4) + RECORD_ABOUT;

	for (unsigned i = 0; i < 3; i++) {
		if (atomic_fetch_sub_explicit(&rw->room, wants, memory_order_relaxed) >= wants)
			return true;
		if (i == 1)
			give_back(rw);
		look_for_room(rw);
	}
	return false;
}

bool rw_refused(fuse_req_t req, struct rw *rw, size_t len)
{
	if (rw_has_room(rw, len))
		return false;
	fuse_reply_err(req, ENOSPC);
	return true;
}

/* --- life ---------------------------------------------------------------------------------------------- */

/* Without ASYNC_DIO: after a direct write that ends by itself the kernel would go on showing what it had cached. */
void rw_init(void *userdata, struct fuse_conn_info *conn)
{
	struct tree *t = userdata;

	conn->want = conn->capable &
		     (FUSE_CAP_ASYNC_READ | FUSE_CAP_READDIRPLUS | FUSE_CAP_PARALLEL_DIROPS |
		      FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_EXPLICIT_INVAL_DATA |
		      FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_DONT_MASK | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_IOCTL_DIR |
		      (t->rw->o.default_permissions ? FUSE_CAP_POSIX_ACL : 0));
	conn->max_write = OPS_REPLY_MAX;
	t->no_opendir = conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
	t->is_initialised = true;
}

static void sync_all(struct rw *rw)
{
	struct ply_err err;

	if (live_sync(rw->live, &err) < 0 && err.code != -EROFS)
		log_damage(0, &err);
}

/* Nothing fails until the mount ends, so nobody would hear of it. */
static void tell_removed(struct rw *rw)
{
	struct ply_err err;

	if (redo_check_name(live_log(rw->live), &err) < 0)
		log_damage(0, &err);
}

void rw_destroy(void *userdata)
{
	struct rw *rw = ((struct tree *)userdata)->rw;

	sync_all(rw);
	tell_removed(rw);
}

int rw_syncfs(void *ctx)
{
	struct rw *rw = ((struct tree *)ctx)->rw;
	struct ply_err err;

	return live_sync(rw->live, &err) < 0 ? rw_answer(0, &err) : 0;
}

static void tick(struct rw *rw)
{
	struct ply_err err;

	judge_cleaning(rw);
	if (live_tick(rw->live, &err) < 0 && err.code != -EROFS)
		log_damage(0, &err);
	give_back(rw);
	look_for_room(rw);
	tell_removed(rw);
}

/* False: it is time to stop. */
static bool wait_ms(struct rw *rw, unsigned ms)
{
	struct timespec until;
	bool stopping;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&rw->lock);
	while (!rw->stopping && pthread_cond_timedwait(&rw->ticks, &rw->lock, &until) != ETIMEDOUT)
		;
	stopping = rw->stopping;
	pthread_mutex_unlock(&rw->lock);
	return !stopping;
}

static uint64_t waits(const struct rw *rw)
{
	struct redo_info info;

	redo_info(live_log(rw->live), &info);
	return info.commits;
}

/* While somebody waits for syncs, space is made ready as fast as it is used: a sync that finds it so has nothing to
 * change in the host's file system. Who only writes has nothing of it, and would pay for zeros with each byte. */
static void *ticker(void *arg)
{
	struct rw *rw = arg;
	unsigned step = TICK_MS, elapsed = 0;
	uint64_t before = 0;

	while (wait_ms(rw, step)) {
		bool busy = waits(rw) != before;

		elapsed += step;
		if (elapsed >= TICK_MS) {
			tick(rw);
			elapsed = 0;
		} else if (busy) {
			redo_prepare(live_log(rw->live), NULL);    /* a failure is the next sync's */
		}
		step = busy ? STEP_MS : TICK_MS;
		before = waits(rw);
	}
	return NULL;
}

int rw_new(struct live *live, const struct rw_options *o, struct rw **ret, struct ply_err *err)
{
	struct rw *rw = calloc(1, sizeof(*rw));
	pthread_condattr_t monotonic;

	if (rw)
		rw->refs = refs_new();
	if (!rw || !rw->refs) {
		if (o->space_fd >= 0)
			close(o->space_fd);
		free(rw);
		return ply_fail_nomem(err);
	}
	rw->live = live;
	rw->o = *o;
	rw->last = &rw->first;
	pthread_mutex_init(&rw->lock, NULL);
	pthread_mutex_init(&rw->giving, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&rw->ticks, &monotonic);
	pthread_cond_init(&rw->seeks, &monotonic);
	pthread_condattr_destroy(&monotonic);
	*ret = rw;
	return 0;
}

struct rw *rw_free(struct rw *rw)
{
	if (!rw)
		return NULL;
	cleanup_close(&rw->o.space_fd);
	pthread_cond_destroy(&rw->ticks);
	pthread_cond_destroy(&rw->seeks);
	pthread_mutex_destroy(&rw->lock);
	pthread_mutex_destroy(&rw->giving);
	refs_free(rw->refs);
	free(rw);
	return NULL;
}

int rw_start(struct rw *rw, struct fuse_session *session, struct ply_err *err)
{
	void *(*const mains[])(void *) = { ticker, rw_seeker };
	pthread_t *threads[] = { &rw->ticker, &rw->seeker };

	rw->session = session;
	for (; rw->nthreads < ARRAY_SIZE(mains); rw->nthreads++) {
		int r = pthread_create(threads[rw->nthreads], NULL, mains[rw->nthreads], rw);

		if (r)
			return ply_fail_sys(err, -r, "cannot start the threads of a writable mount");
	}
	return 0;
}

void rw_stop(struct rw *rw)
{
	if (!rw)
		return;
	pthread_mutex_lock(&rw->lock);
	rw->stopping = true;
	pthread_cond_broadcast(&rw->ticks);
	pthread_cond_broadcast(&rw->seeks);
	pthread_mutex_unlock(&rw->lock);
	if (rw->nthreads > 0)
		pthread_join(rw->ticker, NULL);
	if (rw->nthreads > 1)
		pthread_join(rw->seeker, NULL);
	rw->nthreads = 0;
	rw_seeker_end(rw);
}

#if RAW_LIBFUSE_KNOWS

static void native_tmpfile(fuse_req_t req, fuse_ino_t dir, mode_t mode, struct fuse_file_info *fi)
{
	struct tree *t = ops_tree(req);
	struct fuse_entry_param e;
	int error = rw_tmpfile(t, fuse_req_ctx(req), dir, mode, fi, &e);

	if (error)
		fuse_reply_err(req, error);
	else if (fuse_reply_create(req, &e, fi) < 0)
		rw_tmpfile_undo(t, e.ino);
}

static void native_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi)
{
	struct statx sx;
	double timeout;
	int error = rw_statx(ops_tree(req), ino, &sx, &timeout);

	(void)flags, (void)mask, (void)fi;
	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_statx(req, 0, &sx, timeout);
}

#endif

/* Operations that are not here are answered ENOSYS by libfuse: FLUSH, ACCESS, locks. */
const struct fuse_lowlevel_ops rw_ops = {
	.init = rw_init,
	.destroy = rw_destroy,
	.lookup = rw_lookup,
	.forget = rw_op_forget,
	.forget_multi = rw_op_forget_multi,
	.getattr = rw_getattr,
	.setattr = rw_setattr,
	.readlink = rw_readlink,
	.mknod = rw_mknod,
	.mkdir = rw_mkdir,
	.unlink = rw_unlink,
	.rmdir = rw_rmdir,
	.symlink = rw_symlink,
	.rename = rw_rename,
	.link = rw_link,
	.open = rw_open,
	.read = rw_read,
	.write = rw_write,
	.release = rw_release,
	.fsync = rw_fsync,
	.opendir = ops_opendir,
	.readdir = rw_readdir,
	.readdirplus = rw_readdirplus,
	.fsyncdir = rw_fsync,
	.statfs = rw_statfs,
	.setxattr = rw_setxattr,
	.getxattr = rw_getxattr,
	.listxattr = rw_listxattr,
	.removexattr = rw_removexattr,
	.create = rw_create,
	.ioctl = rw_ioctl,
	.fallocate = rw_fallocate,
	.copy_file_range = rw_copy,
	.lseek = rw_lseek,
#if RAW_LIBFUSE_KNOWS
	.tmpfile = native_tmpfile,
	.statx = native_statx,
#endif
};

const struct raw_answers rw_answers = {
	.tmpfile = rw_tmpfile,
	.tmpfile_undo = rw_tmpfile_undo,
	.statx = rw_statx,
	.syncfs = rw_syncfs,
};
