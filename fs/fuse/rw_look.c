/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests that change nothing, in a writable mount: as in ops.c, with a count for each entry that the kernel is given.
 */
#include "rw_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "base/mnt.h"
#include "base/util.h"

void rw_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct rw *rw = rw_of(req);
	struct live_attr a;
	struct ply_err err;
	int r;

	do {
		uint64_t ino = dir;

		/* "." comes from file handles, and then @dir may be of any type */
		r = strcmp(name, ".") ? live_lookup(rw->live, dir, name, strlen(name), &ino, &err) : 0;
		if (r == 0)
			r = live_attr(rw->live, ino, &a, &err);
	} while (ops_disturbed(dir));
	if (r < 0 && r != -ENOENT)
		rw_fail_looking(req, dir, &err);
	else if (!ops_is_sound(req))
		return;
	else if (r == 0)
		rw_reply_entry(req, rw, &a);
	else                       /* "does not exist", and may be remembered */
		fuse_reply_entry(req, &(struct fuse_entry_param){ .entry_timeout = OPS_FOREVER });
}

void rw_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct rw *rw = rw_of(req);
	struct live_attr a;
	struct ply_err err;
	struct stat st;
	int r;

	(void)fi;
	do
		r = live_attr(rw->live, ino, &a, &err);
	while (ops_disturbed(ino));
	if (r < 0) {
		rw_fail_looking(req, ino, &err);
		return;
	}
	rw_stat(&a, &st);
	if (ops_is_sound(req))
		fuse_reply_attr(req, &st, OPS_FOREVER);
}

static struct statx_timestamp timestamp(const struct live_time *t)
{
	return (struct statx_timestamp){ .tv_sec = t->sec, .tv_nsec = t->nsec };
}

int rw_statx(void *ctx, uint64_t ino, struct statx *ret, double *ret_timeout)
{
	struct rw *rw = ((struct tree *)ctx)->rw;
	struct live_attr a;
	struct ply_err err;
	int r;

	ops_begin();
	do
		r = live_attr(rw->live, ino, &a, &err);
	while (ops_disturbed(ino));
	if (ops_is_lost())
		return EIO;
	if (r < 0)
		return rw_answer(ino, &err);
	*ret = (struct statx){
		.stx_mask = STATX_BASIC_STATS | (a.has_btime ? STATX_BTIME : 0),
		.stx_blksize = PLY_PAGE,
		.stx_nlink = (uint32_t)a.nlink,
		.stx_uid = a.uid,
		.stx_gid = a.gid,
		.stx_mode = (uint16_t)a.mode,
		.stx_ino = a.ino,
		.stx_size = a.size,
		.stx_blocks = a.blocks,
		.stx_atime = timestamp(&a.atime),
		.stx_btime = timestamp(&a.btime),
		.stx_ctime = timestamp(&a.ctime),
		.stx_mtime = timestamp(&a.mtime),
		.stx_rdev_major = a.rdev_major,
		.stx_rdev_minor = a.rdev_minor,
	};
	*ret_timeout = OPS_FOREVER;
	return 0;
}

void rw_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct rw *rw = rw_of(req);
	char target[PLY_SYMLINK_MAX + 1];
	struct ply_err err;
	ssize_t n;

	do
		n = live_readlink(rw->live, ino, target, &err);
	while (ops_disturbed(ino));
	if (n < 0) {
		rw_fail_looking(req, ino, &err);
		return;
	}
	target[n] = '\0';
	if (ops_is_sound(req))
		fuse_reply_readlink(req, target);
}

/* Where the host's space is not known, as much as the image has. */
void rw_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct tree *t = ops_tree(req);
	struct rw_space space = { .all = t->stat.bytes };
	struct statvfs s = { .f_bsize = PLY_PAGE, .f_frsize = PLY_PAGE, .f_namemax = PLY_NAME_MAX };
	struct redo_info log;

	(void)ino;
	rw_space(t->rw, &space);
	redo_info(live_log(t->rw->live), &log);
	s.f_blocks = space.all / PLY_PAGE;
	s.f_bfree = (space.free - MIN(space.free, RW_RESERVE)) / PLY_PAGE;
	s.f_bavail = (space.avail - MIN(space.avail, RW_RESERVE)) / PLY_PAGE;
	/* numbers do not end: as many as there can be files in what is free */
	s.f_ffree = s.f_favail = s.f_bavail;
	s.f_files = t->stat.inodes + log.inodes + s.f_ffree;
	fuse_reply_statfs(req, &s);
}

/* --- directories ----------------------------------------------------------------------------- */

static int add_entry(void *ctx, const struct ply_dirent *de)
{
	struct listing *l = ctx;
	struct fuse_entry_param e = { 0 };
	char name[PLY_NAME_MAX + 1];
	struct live_attr a;
	struct ply_err err;

	if (de->cookie >= l->end)
		return 1;
	memcpy(name, de->name, de->len);
	name[de->len] = '\0';
	if (l->plus && live_attr(l->tree->rw->live, de->ino, &a, &err) == 0) {
		rw_entry(&a, &e);
	} else {
		/* without attributes the kernel looks the name up, and is told what is wrong */
		e.attr.st_ino = de->ino;
		e.attr.st_mode = (mode_t)de->type << 12;
	}
	return ops_add_name(l, name, &e, de->cookie);
}

/* 1: full. */
static int fill_listing(struct listing *l, uint64_t dir, uint64_t off, struct ply_err *err)
{
	struct live *live = l->tree->rw->live;
	uint64_t parent;
	int r = 0;

	l->used = 0;
	if (off == 0)
		r = ops_add_dot(l, ".", dir, 1);
	if (r == 0 && off <= 1) {
		r = live_parent(live, dir, &parent, err);
		if (r == 0)
			r = ops_add_dot(l, "..", parent, 2);
	}
	return r ? r : live_readdir(live, dir, off, add_entry, l, err);
}

/* The entries of a listing count as looked up: before it is sent, since it may be forgotten at once. */
static void reply_plus(struct listing *l)
{
	struct rw *rw = l->tree->rw;
	uint64_t *ino;

	for (size_t at = 0; (ino = raw_next_entry(l->buf, l->used, &at));)
		if (!refs_look(rw->refs, *ino))
			*ino = 0;
	if (fuse_reply_buf(l->req, l->buf, l->used) == 0)
		return;
	for (size_t at = 0; (ino = raw_next_entry(l->buf, l->used, &at));)
		rw_forget(rw, *ino, 1);
}

/*
 * Who renames what he finds in a directory adds entries behind all others, and would find them, and never come to an
 * end. So a directory ends for its readers where it did when one of them began, or began again, last.
 */
static uint64_t end_of(struct rw *rw, uint64_t dir, uint64_t off)
{
	struct redo_info info;
	uint64_t end;

	if (off) {
		end = dir == PLY_ROOT_INDEX ? atomic_load(&rw->root_end) : refs_marked(rw->refs, dir);
		return end ? end : UINT64_MAX;
	}
	redo_info(live_log(rw->live), &info);
	if (dir == PLY_ROOT_INDEX)
		atomic_store(&rw->root_end, info.next_cookie);
	else
		refs_mark(rw->refs, dir, info.next_cookie);
	return info.next_cookie;
}

static void list(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off, bool plus)
{
	struct listing l = { .req = req, .tree = ops_tree(req), .plus = plus };
	struct ply_err err;
	int r;

	l.end = end_of(l.tree->rw, dir, (uint64_t)off);
	l.size = MIN(size, (size_t)OPS_REPLY_MAX);
	l.buf = ops_buffer(l.size);
	if (!l.buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	do
		r = fill_listing(&l, dir, (uint64_t)off, &err);
	while (ops_disturbed(dir));
	/* what was found before the damage is listed; the next request hears of it */
	if (r < 0 && !l.used)
		rw_fail_looking(req, dir, &err);
	else if (!ops_is_sound(req))
		return;
	else if (plus)
		reply_plus(&l);
	else
		fuse_reply_buf(req, l.buf, l.used);
}

void rw_readdir(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, dir, size, off, false);
}

void rw_readdirplus(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, dir, size, off, true);
}

/* --- xattrs ---------------------------------------------------------------------------------- */

/* What the daemon counts, for who cannot reach its socket. It is not listed, so it is not copied along. */
static ssize_t get_stats(const struct rw *rw, void *ret)
{
	_cleanup_buf_ struct buf text = { 0 };
	int r = rw->o.stats ? rw->o.stats(rw->o.stats_ctx, &text) : -ENODATA;

	if (r < 0)
		return r;
	memcpy(ret, text.data, MIN(text.len, (size_t)PLY_XATTR_VALUE_MAX));
	return (ssize_t)MIN(text.len, (size_t)PLY_XATTR_VALUE_MAX);
}

void rw_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct rw *rw = rw_of(req);
	void *buf = ops_buffer(PLY_XATTR_VALUE_MAX);
	struct ply_err err;
	ssize_t len;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (ino == PLY_ROOT_INDEX && !strcmp(name, MNT_STATS_XATTR)) {
		len = get_stats(rw, buf);
		if (len < 0) {
			fuse_reply_err(req, (int)-len);
			return;
		}
	} else {
		do
			len = live_getxattr(rw->live, ino, name, buf, PLY_XATTR_VALUE_MAX, &err);
		while (ops_disturbed(ino));
		if (len < 0) {
			rw_fail_looking(req, ino, &err);
			return;
		}
	}
	if (!ops_is_sound(req))
		return;
	if (!size)
		fuse_reply_xattr(req, (size_t)len);
	else if ((size_t)len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, buf, (size_t)len);
}

static int add_xattr(void *ctx, const char *name, size_t len)
{
	return ops_add_xattr(ctx, name, len);
}

void rw_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct rw *rw = rw_of(req);
	struct names n = { .buf = ops_buffer(PLY_XATTR_SET_MAX), .trusted = fuse_req_ctx(req)->uid == 0 };
	struct ply_err err;
	int r;

	if (!n.buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	do {
		n.used = 0;
		n.full = false;
		r = live_xattrs(rw->live, ino, add_xattr, &n, &err);
	} while (ops_disturbed(ino));
	if (r < 0)
		rw_fail_looking(req, ino, &err);
	else if (ops_is_sound(req))
		ops_reply_names(req, &n, size);
}
