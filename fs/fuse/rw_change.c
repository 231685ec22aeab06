/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests that change inodes and names. Each is one call of the living tree: nothing to take back where it fails. The
 * kernel takes one answer for each, so a call that succeeded and cannot be told (no memory for its count) is an error
 * of a change that was made.
 */
#include "rw_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/mnt.h"
#include "base/util.h"

/* --- attributes ---------------------------------------------------------------------------- */

static struct live_time live_time(const struct timespec *t)
{
	return (struct live_time){ .sec = t->tv_sec, .nsec = (uint32_t)t->tv_nsec };
}

static uint32_t time_bits(int what, int set, int now, uint32_t live_set, uint32_t live_now)
{
	return !(what & set) ? 0 : what & now ? live_now : live_set;
}

/*
 * Does it take setuid, setgid and capabilities away? The kernel says so of a truncation. It does not of chown(2), which
 * always does, also where owner and group stay: then all that is set is ctime, or of what is no regular file nothing,
 * and whether the file is his has not been asked. And it asks for nothing where a regular file is about to be changed
 * by other means: by somebody who is not allowed to keep these; or by who is, and only capabilities go, for which the
 * kernel asks by itself.
 */
static bool kills(struct rw *rw, const struct live_who *who, uint64_t ino, int what)
{
	struct live_attr a;

	if (raw_current()->kill || what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		return true;
	if (what & ~FUSE_SET_ATTR_CTIME || live_attr(rw->live, ino, &a, NULL) < 0)
		return false;
	return S_ISREG(a.mode) && !what ? who->uid : !who->uid || who->uid == a.uid;
}

void rw_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int what, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	struct live_set set = {
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = (uint64_t)st->st_size,
		.atime = live_time(&st->st_atim),
		.mtime = live_time(&st->st_mtim),
		.ctime = live_time(&st->st_ctim),
	};
	struct live_attr a;
	struct ply_err err;
	struct stat now;

	(void)fi;
	set.mask = (what & FUSE_SET_ATTR_MODE ? LIVE_MODE : 0) | (what & FUSE_SET_ATTR_UID ? LIVE_UID : 0) |
		   (what & FUSE_SET_ATTR_GID ? LIVE_GID : 0) | (what & FUSE_SET_ATTR_SIZE ? LIVE_SIZE : 0) |
		   (what & FUSE_SET_ATTR_CTIME ? LIVE_CTIME : 0) |
		   time_bits(what, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, LIVE_ATIME, LIVE_ATIME_NOW) |
		   time_bits(what, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, LIVE_MTIME, LIVE_MTIME_NOW);
	if (kills(rw, &who, ino, what))
		set.mask |= LIVE_KILL;
	if (rw_settle(rw, ino, live_setattr(rw->live, &who, ino, &set, &a, &err), &err) < 0) {
		rw_fail(req, ino, &err);
		return;
	}
	rw_stat(&a, &now);
	fuse_reply_attr(req, &now, OPS_FOREVER);
}

/* --- new names --------------------------------------------------------------------------------- */

static int make(struct rw *rw, const struct live_who *who, uint64_t dir, const char *name, const struct live_new *new,
		struct live_attr *ret, struct ply_err *err)
{
	return rw_settle(rw, dir, live_make(rw->live, who, dir, name, strlen(name), new, ret, err), err);
}

static void make_and_reply(fuse_req_t req, uint64_t dir, const char *name, const struct live_new *new)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	struct live_attr a;
	struct ply_err err;

	if (rw_refused(req, rw, 0))
		return;
	if (make(rw, &who, dir, name, new, &a, &err) < 0)
		rw_fail(req, dir, &err);
	else
		rw_reply_entry(req, rw, &a);
}

void rw_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev)
{
	make_and_reply(req, dir, name, &(struct live_new){ .mode = mode, .rdev_major = major(rdev),
							   .rdev_minor = minor(rdev) });
}

void rw_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	make_and_reply(req, dir, name, &(struct live_new){ .mode = S_IFDIR | (mode & 07777) });
}

void rw_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name)
{
	make_and_reply(req, dir, name, &(struct live_new){ .mode = S_IFLNK | 0777, .target = target,
							   .target_len = strlen(target) });
}

/* The kernel will know @a, and has it open. */
static int opened(struct rw *rw, const struct live_attr *a, struct fuse_file_info *fi, struct fuse_entry_param *e)
{
	if (!refs_look(rw->refs, a->ino))
		return ENOMEM;
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		if (!refs_open(rw->refs, a->ino)) {
			rw_forget(rw, a->ino, 1);
			return ENOMEM;
		}
		fi->fh = 1;
	}
	rw_open_flags(rw, a->ino, fi);
	rw_entry(a, e);
	return 0;
}

static void not_opened(struct rw *rw, uint64_t ino, bool writes)
{
	if (writes)
		rw_closed(rw, ino);
	rw_forget(rw, ino, 1);
}

void rw_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	const struct live_new new = { .mode = S_IFREG | (mode & 07777) };
	struct fuse_entry_param e;
	struct live_attr a;
	struct ply_err err;
	int error;

	if (rw_refused(req, rw, 0))
		return;
	if (make(rw, &who, dir, name, &new, &a, &err) < 0) {
		rw_fail(req, dir, &err);
		return;
	}
	error = opened(rw, &a, fi, &e);
	if (error)
		fuse_reply_err(req, error);
	else if (fuse_reply_create(req, &e, fi) < 0)
		not_opened(rw, a.ino, fi->fh);
}

int rw_tmpfile(void *ctx, const struct fuse_ctx *c, uint64_t dir, mode_t mode, struct fuse_file_info *fi,
	       struct fuse_entry_param *ret)
{
	struct rw *rw = ((struct tree *)ctx)->rw;
	const struct live_who who = rw_who(c);
	struct live_attr a;
	struct ply_err err;
	int error, r;

	if (!rw_has_room(rw, 0))
		return ENOSPC;
	r = live_tmpfile(rw->live, &who, dir, S_IFREG | (mode & 07777), &a, &err);
	if (rw_settle(rw, dir, r, &err) < 0)
		return rw_answer(dir, &err);
	error = opened(rw, &a, fi, ret);
	if (error)
		rw_nameless(rw, a.ino);
	return error;
}

/* O_TMPFILE is for writing, always. */
void rw_tmpfile_undo(void *ctx, uint64_t ino)
{
	not_opened(((struct tree *)ctx)->rw, ino, true);
}

void rw_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	struct live_attr a;
	struct ply_err err;

	if (rw_refused(req, rw, 0))
		return;
	if (rw_settle(rw, dir, live_link(rw->live, &who, ino, dir, name, strlen(name), &a, &err), &err) < 0)
		rw_fail(req, ino, &err);
	else
		rw_reply_entry(req, rw, &a);
}

/* --- names that go ------------------------------------------------------------------------------- */

typedef int (*remove_fn)(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len,
			 uint64_t *ret_ino, struct ply_err *err);

static void remove_name(fuse_req_t req, uint64_t dir, const char *name, remove_fn remove)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	uint64_t gone = 0;
	struct ply_err err;
	int r = remove(rw->live, &who, dir, name, strlen(name), &gone, &err);

	if (r == 0)
		rw_nameless(rw, gone);
	rw_reply(req, rw, dir, r, &err);
}

void rw_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	remove_name(req, dir, name, live_unlink);
}

void rw_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	remove_name(req, dir, name, live_rmdir);
}

void rw_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t to_dir, const char *to_name,
	       unsigned flags)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	uint64_t gone = 0;
	struct ply_err err;
	int r = live_rename(rw->live, &who, dir, name, strlen(name), to_dir, to_name, strlen(to_name), flags, &gone,
			    &err);

	if (r == 0)
		rw_nameless(rw, gone);
	rw_reply(req, rw, to_dir, rw_settle(rw, dir, r, &err), &err);
}

/* --- xattrs and flags -------------------------------------------------------------------------------- */

#define ACL_XATTRS "system.posix_acl_"

static bool is_stats(uint64_t ino, const char *name)
{
	return ino == PLY_ROOT_INDEX && !strcmp(name, MNT_STATS_XATTR);
}

void rw_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	struct ply_err err;

	if (is_stats(ino, name))
		fuse_reply_err(req, EPERM);
	else if (!rw_refused(req, rw, size))
		rw_reply(req, rw, ino, live_setxattr(rw->live, &who, ino, name, value, size, flags,
						     raw_current()->kill_sgid, &err), &err);
}

void rw_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct rw *rw = rw_of(req);
	const struct live_who who = rw_who(fuse_req_ctx(req));
	struct ply_err err;
	int r;

	if (is_stats(ino, name)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	r = live_removexattr(rw->live, &who, ino, name, &err);
	/* an ACL that was not there is not there, as elsewhere */
	if (r == -ENODATA && !strncmp(name, ACL_XATTRS, strlen(ACL_XATTRS)))
		r = 0;
	rw_reply(req, rw, ino, r, &err);
}

static const struct {
	uint32_t flag, xflag;
} flag_table[] = {
	{ FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE }, { FS_APPEND_FL, FS_XFLAG_APPEND }, { FS_SYNC_FL, FS_XFLAG_SYNC },
	{ FS_NOATIME_FL, FS_XFLAG_NOATIME },     { FS_NODUMP_FL, FS_XFLAG_NODUMP },
};

static uint32_t to_xflags(uint32_t flags)
{
	uint32_t x = 0;

	for (size_t i = 0; i < ARRAY_SIZE(flag_table); i++)
		x |= flags & flag_table[i].flag ? flag_table[i].xflag : 0;
	return x;
}

/* Flags that cannot be said in those stay as they are. False: one that there is not. */
static bool from_xflags(uint32_t x, uint32_t old, uint32_t *ret)
{
	uint32_t flags = old;

	for (size_t i = 0; i < ARRAY_SIZE(flag_table); i++) {
		flags &= ~flag_table[i].flag;
		flags |= x & flag_table[i].xflag ? flag_table[i].flag : 0;
		x &= ~flag_table[i].xflag;
	}
	*ret = flags;
	return !(x & ~(uint32_t)FS_XFLAG_HASATTR);
}

static void set_flags(fuse_req_t req, struct rw *rw, uint64_t ino, uint32_t flags)
{
	const struct live_who who = rw_who(fuse_req_ctx(req));
	const struct live_set set = { .mask = LIVE_FLAGS, .flags = flags };
	struct live_attr a;
	struct ply_err err;

	if (rw_settle(rw, ino, live_setattr(rw->live, &who, ino, &set, &a, &err), &err) < 0) {
		rw_fail(req, ino, &err);
		return;
	}
	/* the kernel does not know that ctime has changed; of a regular file it does not want to know */
	fuse_lowlevel_notify_inval_inode(rw->session, ino, -1, 0);
	fuse_reply_ioctl(req, 0, NULL, 0);
}

static void set_xflags(fuse_req_t req, struct rw *rw, uint64_t ino, const struct fsxattr *x, uint32_t old)
{
	uint32_t flags;

	if (!from_xflags(x->fsx_xflags, old, &flags) || x->fsx_extsize || x->fsx_projid || x->fsx_cowextsize)
		fuse_reply_err(req, EOPNOTSUPP);
	else
		set_flags(req, rw, ino, flags);
}

/* Only these: chattr and lsattr need both pairs. The kernel says by the sizes how much it sends and takes. */
void rw_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned mode,
	      const void *in, size_t in_len, size_t out_len)
{
	struct rw *rw = rw_of(req);
	struct fsxattr x = { 0 };
	struct live_attr a;
	struct ply_err err;
	uint32_t flags;

	(void)arg, (void)fi, (void)mode;
	if (live_attr(rw->live, ino, &a, &err) < 0) {
		rw_fail(req, ino, &err);
	} else if (cmd == (unsigned)FS_IOC_GETFLAGS && out_len >= sizeof(a.flags)) {
		fuse_reply_ioctl(req, 0, &a.flags, sizeof(a.flags));
	} else if (cmd == (unsigned)FS_IOC_FSGETXATTR && out_len >= sizeof(x)) {
		x.fsx_xflags = to_xflags(a.flags);
		fuse_reply_ioctl(req, 0, &x, sizeof(x));
	} else if (cmd == (unsigned)FS_IOC_SETFLAGS && in_len >= sizeof(flags)) {
		memcpy(&flags, in, sizeof(flags));
		set_flags(req, rw, ino, flags);
	} else if (cmd == (unsigned)FS_IOC_FSSETXATTR && in_len >= sizeof(x)) {
		memcpy(&x, in, sizeof(x));
		set_xflags(req, rw, ino, &x, a.flags);
	} else {
		fuse_reply_err(req, ENOTTY);
	}
}
