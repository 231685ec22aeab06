/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes and xattrs: what the log says of an inode, and the view for the rest.
 *
 * An image stores one time, of modification: it stands for the others until the log has them.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/util.h"
#include "live/live_impl.h"

#define FLAGS_KNOWN (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_DIRSYNC_FL)
#define CAPABILITY  "security.capability"

/* --- looking ------------------------------------------------------------------------------------ */

static void take_below(struct live_attr *a, const struct ply_attr *b)
{
	a->mode = b->mode;
	a->uid = b->uid;
	a->gid = b->gid;
	a->nlink = b->nlink;
	a->size = b->size;
	a->blocks = b->blocks;
	a->rdev_major = b->rdev_major;
	a->rdev_minor = b->rdev_minor;
	a->mtime = (struct live_time){ b->mtime_sec, b->mtime_nsec };
	a->atime = a->ctime = a->btime = a->mtime;
}

static void take_log(struct live_attr *a, const struct redo_inode *i)
{
#define TAKE(bit, field) \
	if (i->mask & PLY_REDO_A_##bit) \
		a->field = i->attr.field
#define TAKE_TIME(bit, field) \
	if (i->mask & PLY_REDO_A_##bit) \
		a->field = (struct live_time){ i->attr.field##_sec, i->attr.field##_nsec }
	TAKE(MODE, mode);
	TAKE(UID, uid);
	TAKE(GID, gid);
	TAKE(FLAGS, flags);
	TAKE(NLINK, nlink);
	TAKE(SIZE, size);
	TAKE(RDEV, rdev_major);
	TAKE(RDEV, rdev_minor);
	TAKE(GENERATION, generation);
	TAKE_TIME(ATIME, atime);
	TAKE_TIME(MTIME, mtime);
	TAKE_TIME(CTIME, ctime);
	TAKE_TIME(BTIME, btime);
#undef TAKE
#undef TAKE_TIME
	a->has_btime = i->mask & PLY_REDO_A_BTIME;
	a->blocks += i->blocks;
}

int live_attr(struct live *l, uint64_t ino, struct live_attr *ret, struct ply_err *err)
{
	struct redo_inode i;
	bool said = redo_inode(l->log, ino, &i);

	if (said && i.dead)
		return live_stale(ino, err);
	*ret = (struct live_attr){ .ino = ino, .generation = ino == PLY_ROOT_INDEX ? 0 : l->generation };
	if (!i.made_here) {
		struct ply_attr below;
		int r = ply_view_attr(l->view, ino, &below, err);

		if (r < 0)
			return r;
		take_below(ret, &below);
	}
	if (said)
		take_log(ret, &i);
	if (S_ISDIR(ret->mode))
		ret->size = PLY_PAGE;
	else if (S_ISREG(ret->mode))   /* what was cut off below, or written twice, is not counted exactly */
		ret->blocks = MIN(ret->blocks, align_up(ret->size, PLY_PAGE) / 512);
	return 0;
}

ssize_t live_getxattr(struct live *l, uint64_t ino, const char *name, void *buf, size_t cap, struct ply_err *err)
{
	size_t len = strlen(name), n = 0;
	const void *value;
	struct redo_inode i;
	int r;

	if (redo_inode(l->log, ino, &i) && i.dead)
		return live_stale(ino, err);
	switch (redo_getxattr(l->log, ino, name, len, buf, cap, &n)) {
	case REDO_ADDED:
		return (ssize_t)n;
	case REDO_HIDDEN:
		break;
	case REDO_BELOW:
		if (i.made_here)
			break;
		r = ply_view_getxattr(l->view, ino, name, &value, &n, err);
		if (r < 0)
			return r;
		if (cap && n)
			memcpy(buf, value, MIN(n, cap));
		return (ssize_t)n;
	}
	return ply_fail(err, -ENODATA, PLY_R_NO_XATTR, "inode %#llx has no xattr %s", (unsigned long long)ino, name);
}

struct listing {
	struct live *live;
	uint64_t ino;
	live_xattr_fn fn;
	void *ctx;
	int r;
};

static int list_set(void *ctx, const char *name, size_t len, bool hidden)
{
	struct listing *li = ctx;

	return hidden ? 0 : (li->r = li->fn(li->ctx, name, len));
}

static int list_below(void *ctx, const struct ply_xattr *x)
{
	struct listing *li = ctx;
	size_t n;

	if (redo_getxattr(li->live->log, li->ino, x->name, x->name_len, NULL, 0, &n) != REDO_BELOW)
		return 0;
	return li->r = li->fn(li->ctx, x->name, x->name_len);
}

int live_xattrs(struct live *l, uint64_t ino, live_xattr_fn fn, void *ctx, struct ply_err *err)
{
	struct listing li = { l, ino, fn, ctx, 0 };
	struct redo_inode i;
	int r = 0;

	if (redo_inode(l->log, ino, &i) && i.dead)
		return live_stale(ino, err);
	if (i.has_xattrs)
		redo_listxattr(l->log, ino, list_set, &li);
	if (li.r == 0 && !i.made_here)
		r = ply_view_xattrs(l->view, ino, list_below, &li, err);
	return li.r ? li.r : r;
}

/* --- setting ---------------------------------------------------------------------------------------- */

int live_kill(struct live *l, const struct live_who *who, struct redo_op *op, const struct live_attr *a,
	      struct live_change *c, struct ply_err *err)
{
	uint32_t mode = c->mask & PLY_REDO_A_MODE ? c->attr.mode : a->mode, kept = mode & ~(uint32_t)S_ISUID;
	ssize_t n;

	if (S_ISDIR(mode))
		return 0;
	if (mode & S_IXGRP || (who->uid && who->gid != a->gid))
		kept &= ~(uint32_t)S_ISGID;
	if (kept != mode) {
		c->mask |= PLY_REDO_A_MODE;
		c->attr.mode = kept;
	}
	n = live_getxattr(l, a->ino, CAPABILITY, NULL, 0, err);
	if (n >= 0)
		redo_op_xattr_remove(op, a->ino, CAPABILITY, strlen(CAPABILITY));
	return n < 0 && n != -ENODATA ? (int)n : 0;
}

/* chmod(2) of what has an access ACL changes that, too. */
static int chmod_acl(struct live *l, struct redo_op *op, uint64_t ino, uint32_t mode, struct ply_err *err)
{
	uint8_t value[PLY_XATTR_VALUE_MAX];
	ssize_t n = live_getxattr(l, ino, ACL_ACCESS, value, sizeof(value), err);

	if (n == -ENODATA)
		return 0;
	if (n < 0)
		return (int)n;
	acl_chmod(value, (size_t)n, mode);
	redo_op_xattr_set(op, ino, ACL_ACCESS, strlen(ACL_ACCESS), value, (size_t)n);
	return 0;
}

/*
 * The kernel tells the times of a file that was written to whenever it likes: that is no change of the file. And it says
 * "now" of the time of modification as a time of its own, so what may be touched is not told from what may be set.
 */
static int may_set(const struct live_attr *a, const struct live_set *s, struct ply_err *err)
{
	uint32_t mask = s->mask & ~(uint32_t)(LIVE_FLAGS | LIVE_CTIME);

	if (!mask || mask == LIVE_MTIME || !(a->flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)))
		return 0;
	if (!(a->flags & FS_IMMUTABLE_FL) && !(mask & ~(uint32_t)(LIVE_ATIME_NOW | LIVE_MTIME_NOW | LIVE_MTIME)))
		return 0;
	return live_check_flags(a, FS_IMMUTABLE_FL | FS_APPEND_FL, err);
}

static int set_size(struct live *l, struct redo_op *op, const struct live_attr *a, uint64_t size, struct ply_err *err)
{
	int r;

	if (S_ISDIR(a->mode))
		return ply_fail(err, -EISDIR, PLY_R_IS_A_DIRECTORY, "a directory has no size to set");
	if (!S_ISREG(a->mode))
		return ply_fail(err, -EINVAL, PLY_R_NOT_A_FILE, "only a regular file has a size to set");
	if (size > PLY_SIZE_MAX)
		return ply_fail(err, -EFBIG, PLY_R_LIMIT, "a file has %llu bytes at most", (unsigned long long)PLY_SIZE_MAX);
	r = size ? live_own_content(l, a, err) : 0;
	if (r == 0)
		redo_op_size(op, a->ino, size);
	return r;
}

static void set_times(const struct live_set *s, const struct live_attr *a, struct live_change *c)
{
	struct live_time now = live_now();

	if (s->mask & (LIVE_ATIME | LIVE_ATIME_NOW))
		change_times(c, PLY_REDO_A_ATIME, s->mask & LIVE_ATIME_NOW ? now : s->atime);
	if (s->mask & (LIVE_MTIME | LIVE_MTIME_NOW))
		change_times(c, PLY_REDO_A_MTIME, s->mask & LIVE_MTIME_NOW ? now : s->mtime);
	else if (s->mask & LIVE_SIZE && s->size != a->size)
		change_times(c, PLY_REDO_A_MTIME, now);
	change_times(c, PLY_REDO_A_CTIME, s->mask & LIVE_CTIME ? s->ctime : now);
}

static int put_together(struct live *l, const struct live_who *who, struct redo_op *op, const struct live_attr *a,
			const struct live_set *s, struct ply_err *err)
{
	struct live_change c = { 0 };
	int r = may_set(a, s, err);

	if (r == 0 && s->mask & LIVE_FLAGS && s->flags & ~(uint32_t)FLAGS_KNOWN)
		r = ply_fail(err, -EOPNOTSUPP, PLY_R_USAGE, "inode flags %#x are not known", s->flags & ~(uint32_t)FLAGS_KNOWN);
	if (r == 0 && s->mask & LIVE_SIZE)
		r = set_size(l, op, a, s->size, err);
	if (r < 0)
		return r;
	if (s->mask & LIVE_UID) {
		c.mask |= PLY_REDO_A_UID;
		c.attr.uid = s->uid;
	}
	if (s->mask & LIVE_GID) {
		c.mask |= PLY_REDO_A_GID;
		c.attr.gid = s->gid;
	}
	if (s->mask & LIVE_FLAGS) {
		c.mask |= PLY_REDO_A_FLAGS;
		c.attr.flags = s->flags;
	}
	if (s->mask & LIVE_MODE) {
		c.mask |= PLY_REDO_A_MODE;
		c.attr.mode = (a->mode & S_IFMT) | (s->mode & 07777);
		r = chmod_acl(l, op, a->ino, c.attr.mode, err);
	}
	if (r == 0 && (s->mask & LIVE_KILL || (s->mask & (LIVE_UID | LIVE_GID) && !(s->mask & LIVE_MODE))))
		r = live_kill(l, who, op, a, &c, err);
	set_times(s, a, &c);
	change_add(&c, op, a->ino);
	return r;
}

int live_setattr(struct live *l, const struct live_who *who, uint64_t ino, const struct live_set *set,
		 struct live_attr *ret, struct ply_err *err)
{
	struct live_attr a;
	struct redo_op op;
	int r;

	redo_op_init(&op, who->request);
	live_lock(l, ino);
	r = live_attr(l, ino, &a, err);
	if (r == 0)
		r = put_together(l, who, &op, &a, set, err);
	if (r == 0)
		r = live_append(l, &op, err);
	if (r == 0 && ret)
		r = live_attr(l, ino, ret, err);
	live_unlock(l, ino);
	redo_op_done(&op);
	return r;
}

/* --- xattrs ------------------------------------------------------------------------------------------------ */

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* An ACL: its mode into @c; *@keep: whether the xattr says more than that. */
static int set_acl(const struct live_attr *a, bool access, const void *value, size_t len, bool kill_sgid,
		   struct live_change *c, bool *keep, struct ply_err *err)
{
	uint32_t mode;
	bool plain;
	int r;

	if (S_ISLNK(a->mode))
		return ply_fail(err, -EOPNOTSUPP, PLY_R_USAGE, "a symlink has no ACL");
	if (!access && !S_ISDIR(a->mode))
		return ply_fail(err, -EACCES, PLY_R_USAGE, "only a directory has a default ACL");
	r = acl_check(value, len, &mode, &plain, err);
	if (r < 0 || !access)
		return r;
	*keep = !plain;
	c->mask |= PLY_REDO_A_MODE;
	c->attr.mode = (a->mode & ~0777u) | mode;
	if (kill_sgid)
		c->attr.mode &= ~(uint32_t)S_ISGID;
	return 0;
}

static int check_name(const char *name, struct ply_err *err)
{
	size_t len = strlen(name);

	if (len > PLY_XATTR_NAME_MAX)
		return ply_fail(err, -ERANGE, PLY_R_NAME_TOO_LONG, "the name of an xattr has %d bytes at most", PLY_XATTR_NAME_MAX);
	if (begins(name, "user.") || begins(name, "trusted.") || begins(name, "security.") || !strcmp(name, ACL_ACCESS) ||
	    !strcmp(name, ACL_DEFAULT))
		return 0;
	return ply_fail(err, -EOPNOTSUPP, PLY_R_USAGE, "no xattr can be called %s", name);
}

static int xattr_change(struct live *l, struct redo_op *op, const struct live_attr *a, const char *name,
			const void *value, size_t len, int flags, bool kill_sgid, struct ply_err *err)
{
	struct live_change c = { 0 };
	bool access = !strcmp(name, ACL_ACCESS), keep = true, is_there;
	ssize_t n;
	int r = live_check_flags(a, FS_IMMUTABLE_FL | FS_APPEND_FL, err);

	if (r < 0)
		return r;
	n = live_getxattr(l, a->ino, name, NULL, 0, err);
	if (n < 0 && n != -ENODATA)
		return (int)n;
	is_there = n >= 0;
	if (flags & XATTR_CREATE && is_there)
		return ply_fail(err, -EEXIST, PLY_R_USAGE, "there is an xattr %s", name);
	if (flags & XATTR_REPLACE && !is_there)
		return ply_fail(err, -ENODATA, PLY_R_NO_XATTR, "there is no xattr %s", name);
	if (access || !strcmp(name, ACL_DEFAULT))
		r = set_acl(a, access, value, len, kill_sgid, &c, &keep, err);
	if (r < 0)
		return r;
	if (keep)
		redo_op_xattr_set(op, a->ino, name, strlen(name), value, len);
	else if (is_there)
		redo_op_xattr_remove(op, a->ino, name, strlen(name));
	change_times(&c, PLY_REDO_A_CTIME, live_now());
	change_add(&c, op, a->ino);
	return 0;
}

int live_setxattr(struct live *l, const struct live_who *who, uint64_t ino, const char *name, const void *value,
		  size_t len, int flags, bool kill_sgid, struct ply_err *err)
{
	struct live_attr a;
	struct redo_op op;
	int r = check_name(name, err);

	if (r < 0)
		return r;
	if (len > PLY_XATTR_VALUE_MAX)
		return ply_fail(err, -E2BIG, PLY_R_LIMIT, "the value of an xattr has %d bytes at most", PLY_XATTR_VALUE_MAX);
	redo_op_init(&op, who->request);
	live_lock(l, ino);
	r = live_attr(l, ino, &a, err);
	if (r == 0)
		r = xattr_change(l, &op, &a, name, value, len, flags, kill_sgid, err);
	if (r == 0)
		r = live_append(l, &op, err);
	live_unlock(l, ino);
	redo_op_done(&op);
	return r;
}

int live_removexattr(struct live *l, const struct live_who *who, uint64_t ino, const char *name, struct ply_err *err)
{
	struct live_change c = { 0 };
	struct live_attr a;
	struct redo_op op;
	int r;

	redo_op_init(&op, who->request);
	live_lock(l, ino);
	r = live_attr(l, ino, &a, err);
	if (r == 0)
		r = live_check_flags(&a, FS_IMMUTABLE_FL | FS_APPEND_FL, err);
	if (r == 0)
		r = (int)MIN(live_getxattr(l, ino, name, NULL, 0, err), 0);
	if (r == 0) {
		redo_op_xattr_remove(&op, ino, name, strlen(name));
		change_times(&c, PLY_REDO_A_CTIME, live_now());
		change_add(&c, &op, ino);
		r = live_append(l, &op, err);
	}
	live_unlock(l, ino);
	redo_op_done(&op);
	return r;
}
