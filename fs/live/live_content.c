/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Content: ranges of a file are in the log, a hole, or what the view has. A write puts its blocks into the log and
 * nothing else, whatever the size of the file; only what is rendered is copied whole before the first one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "live/live_impl.h"
#include "tree/view_internal.h"

#define PIECE PLY_REDO_WRITE_MAX

static int get_file(struct live *l, uint64_t ino, struct live_attr *ret, struct ply_err *err)
{
	int r = live_attr(l, ino, ret, err);

	if (r < 0 || S_ISREG(ret->mode))
		return r;
	return S_ISDIR(ret->mode) ?
		ply_fail(err, -EISDIR, PLY_R_IS_A_DIRECTORY, "inode %#llx is a directory", (unsigned long long)ino) :
		ply_fail(err, -EINVAL, PLY_R_NOT_A_FILE, "inode %#llx is not a regular file", (unsigned long long)ino);
}

/* --- reading --------------------------------------------------------------------------------------- */

static int read_below(void *ctx, uint64_t ino, uint64_t off, void *buf, size_t len, struct ply_err *err)
{
	struct live *l = ctx;
	ssize_t n = ply_view_read(l->view, ino, off, len, buf, err);

	if (n < 0)
		return (int)n;
	memset((char *)buf + n, 0, len - (size_t)n);
	return 0;
}

/* What is below is read without the log's lock: decoding takes its time. */
static int read_range(struct live *l, uint64_t ino, uint64_t off, char *to, size_t len, struct ply_err *err)
{
	int r = 0;

	while (r == 0 && len) {
		struct redo_range g;
		size_t n;

		redo_range(l->log, ino, off, &g);
		n = (size_t)MIN((uint64_t)len, g.len);
		if (g.kind == PLY_REDO_C_HOLE)
			memset(to, 0, n);
		else if (g.kind == PLY_REDO_C_BELOW)
			r = read_below(l, g.src, g.addr, to, n, err);
		else
			r = redo_read(l->log, ino, off, to, n, read_below, l, err);
		off += n;
		to += n;
		len -= n;
	}
	return r;
}

ssize_t live_read(struct live *l, uint64_t ino, uint64_t off, size_t len, void *buf, struct ply_err *err)
{
	struct live_attr a;
	int r = get_file(l, ino, &a, err);

	if (r < 0)
		return r;
	if (off >= a.size)
		return 0;
	len = (size_t)MIN((uint64_t)len, a.size - off);
	r = read_range(l, ino, off, buf, len, err);
	return r < 0 ? r : (ssize_t)len;
}

ssize_t live_readlink(struct live *l, uint64_t ino, char buf[PLY_SYMLINK_MAX], struct ply_err *err)
{
	struct live_attr a;
	const char *p;
	size_t len;
	ssize_t n;
	int r;

	if (live_made_here(l, ino)) {
		r = live_attr(l, ino, &a, err);
		if (r < 0)
			return r;
		n = redo_readlink(l->log, ino, buf, PLY_SYMLINK_MAX);
		return n >= 0 ? n : ply_fail(err, -EINVAL, PLY_R_USAGE, "inode %#llx is no symlink", (unsigned long long)ino);
	}
	r = ply_view_readlink(l->view, ino, &p, &len, err);
	if (r < 0)
		return r;
	len = MIN(len, (size_t)PLY_SYMLINK_MAX);
	memcpy(buf, p, len);
	return (ssize_t)len;
}

/* Where in range @g, which begins at @off of the file, does data (or a hole) begin? UINT64_MAX: not in it. */
static int seek_in(struct live *l, const struct redo_range *g, uint64_t off, uint64_t end, int whence, uint64_t *ret,
		   struct ply_err *err)
{
	bool data = whence == SEEK_DATA;
	struct ply_attr below;
	uint64_t at;
	int r;

	*ret = UINT64_MAX;
	if (g->kind != PLY_REDO_C_BELOW) {
		if (data == (g->kind == PLY_REDO_C_LOG))
			*ret = off;
		return 0;
	}
	r = ply_view_attr(l->view, g->src, &below, err);
	if (r < 0)
		return r;
	if (g->addr >= below.size) {
		if (!data)
			*ret = off;
		return 0;
	}
	r = ply_view_seek(l->view, g->src, g->addr, whence, &at, err);
	if (r == -ENXIO)
		return 0;
	if (r == 0 && at - g->addr < end - off)
		*ret = off + (at - g->addr);
	return r;
}

int live_seek(struct live *l, uint64_t ino, uint64_t off, int whence, uint64_t *ret, struct ply_err *err)
{
	struct live_attr a;
	int r = get_file(l, ino, &a, err);

	if (r == 0 && whence != SEEK_DATA && whence != SEEK_HOLE)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "it is sought for data or holes only");
	if (r == 0 && off >= a.size)
		return ply_fail(err, -ENXIO, PLY_R_USAGE, "behind the end of the file");
	while (r == 0 && off < a.size) {
		struct redo_range g;
		uint64_t end;

		redo_range(l->log, ino, off, &g);
		end = g.len < a.size - off ? off + g.len : a.size;
		r = seek_in(l, &g, off, end, whence, ret, err);
		if (r == 0 && *ret != UINT64_MAX)
			return 0;
		off = end;
	}
	if (r < 0)
		return r;
	*ret = a.size;
	return whence == SEEK_HOLE ? 0 : ply_fail(err, -ENXIO, PLY_R_USAGE, "there is no data behind this");
}

/* --- what is rendered -------------------------------------------------------------------------------- */

/* One piece of what the view has, as the log's own. */
static int copy_piece(struct live *l, const struct live_attr *a, uint64_t off, void *buf, struct ply_err *err)
{
	size_t len = (size_t)MIN((uint64_t)PIECE, a->size - off);
	struct redo_op op;
	int r = read_below(l, a->ino, off, buf, len, err);

	redo_op_init(&op, 0);      /* not the request yet: that is done with the change that this makes ready for */
	if (r == 0)
		r = redo_op_write(l->log, &op, a->ino, off, buf, len, a->size, err);
	if (r == 0)
		r = live_append(l, &op, err);
	redo_op_done(&op);
	return r;
}

int live_own_content(struct live *l, const struct live_attr *a, struct ply_err *err)
{
	_cleanup_free_ void *buf = NULL;
	struct view_file f;
	struct redo_range g;
	int r;

	redo_range(l->log, a->ino, 0, &g);
	if (!a->size || g.kind != PLY_REDO_C_BELOW || g.src != a->ino)
		return 0;
	r = view_file(l->view, a->ino, &f, err);
	if (r < 0 || !f.rendered)
		return r;
	buf = malloc(PIECE);
	if (!buf)
		return ply_fail_nomem(err);
	/* the first piece last: as long as it is the view's, this is not done */
	for (uint64_t off = (a->size - 1) / PIECE * PIECE; r == 0; off -= PIECE) {
		r = copy_piece(l, a, off, buf, err);
		if (!off)
			break;
	}
	return r;
}

/* --- writing ------------------------------------------------------------------------------------------- */

static int write_piece(struct live *l, const struct live_who *who, const struct live_attr *a, uint64_t off,
		       const void *data, size_t len, unsigned flags, struct ply_err *err)
{
	struct live_change c = { 0 };
	struct redo_op op;
	int r;

	redo_op_init(&op, who->request);
	r = redo_op_write(l->log, &op, a->ino, off, data, len, MAX(a->size, off + len), err);
	if (r == 0 && flags & LIVE_W_KILL)
		r = live_kill(l, who, &op, a, &c, err);
	if (!(flags & LIVE_W_CACHED))
		change_times(&c, PLY_REDO_A_MTIME | PLY_REDO_A_CTIME, live_now());
	change_add(&c, &op, a->ino);
	if (r == 0)
		r = live_append(l, &op, err);
	redo_op_done(&op);
	return r;
}

static int check_end(uint64_t off, uint64_t len, struct ply_err *err)
{
	return off <= PLY_SIZE_MAX && len <= PLY_SIZE_MAX - off ? 0 :
		ply_fail(err, -EFBIG, PLY_R_LIMIT, "a file has %llu bytes at most", (unsigned long long)PLY_SIZE_MAX);
}

ssize_t live_write(struct live *l, const struct live_who *who, uint64_t ino, uint64_t off, const void *data, size_t len,
		   unsigned flags, struct ply_err *err)
{
	struct live_attr a;
	size_t done = 0;
	int r = check_end(off, len, err);

	if (r < 0)
		return r;
	live_lock(l, ino);
	r = get_file(l, ino, &a, err);
	if (r == 0)
		r = live_own_content(l, &a, err);
	while (r == 0 && done < len) {
		size_t n = MIN(len - done, (size_t)PIECE);

		r = write_piece(l, who, &a, off + done, (const char *)data + done, n, flags, err);
		if (r == 0) {
			done += n;
			a.size = MAX(a.size, off + done);
		}
	}
	live_unlock(l, ino);
	return done || r == 0 ? (ssize_t)done : r;
}

int live_open_file(struct live *l, const struct live_who *who, uint64_t ino, int flags, bool kill, struct ply_err *err)
{
	struct live_set s = { .mask = LIVE_SIZE | (kill ? LIVE_KILL : 0) };
	struct live_attr a;
	int r = live_attr(l, ino, &a, err);

	if (r < 0 || (flags & O_ACCMODE) == O_RDONLY)
		return r;
	if (!redo_is_writable(l->log))
		return ply_fail(err, -EROFS, PLY_R_REDO_READ_ONLY, "the log takes no changes");
	r = live_check_flags(&a, FS_IMMUTABLE_FL, err);
	if (r == 0 && (!(flags & O_APPEND) || flags & O_TRUNC))
		r = live_check_flags(&a, FS_APPEND_FL, err);
	if (r == 0 && flags & O_TRUNC && S_ISREG(a.mode))
		r = live_setattr(l, who, ino, &s, NULL, err);
	return r;
}

/* --- holes ------------------------------------------------------------------------------------------------- */

static int put_fallocate(struct live *l, const struct live_who *who, const struct live_attr *a, int mode, uint64_t off,
			 uint64_t len, struct redo_op *op, struct ply_err *err)
{
	bool zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE), grows = !(mode & FALLOC_FL_KEEP_SIZE) && off + len > a->size;
	uint64_t end = MIN(off + len, grows ? off + len : a->size);
	struct live_change c = { 0 };
	int r = live_own_content(l, a, err);

	if (r < 0)
		return r;
	if (grows)
		redo_op_size(op, a->ino, off + len);
	if (zeroes && off < end)
		redo_op_hole(op, a->ino, off, end - off);
	if (who->uid)
		r = live_kill(l, who, op, a, &c, err);
	if (r < 0)
		return r;
	if (grows || (zeroes && off < end))
		change_times(&c, PLY_REDO_A_MTIME | PLY_REDO_A_CTIME, live_now());
	change_add(&c, op, a->ino);
	return 0;
}

int live_fallocate(struct live *l, const struct live_who *who, uint64_t ino, int mode, uint64_t off, uint64_t len,
		   struct ply_err *err)
{
	int what = mode & ~FALLOC_FL_KEEP_SIZE;
	struct live_attr a;
	struct redo_op op;
	int r = check_end(off, len, err);

	if (what && what != FALLOC_FL_ZERO_RANGE && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return ply_fail(err, -EOPNOTSUPP, PLY_R_USAGE, "mode %#x of fallocate is not known", (unsigned)mode);
	if (r == 0 && !len)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "fallocate of no bytes");
	if (r < 0)
		return r;
	redo_op_init(&op, who->request);
	live_lock(l, ino);
	r = get_file(l, ino, &a, err);
	if (r == 0)
		r = live_check_flags(&a, FS_IMMUTABLE_FL | (what ? FS_APPEND_FL : 0), err);
	if (r == 0)
		r = put_fallocate(l, who, &a, mode, off, len, &op, err);
	if (r == 0 && op.nchanges)
		r = live_append(l, &op, err);
	live_unlock(l, ino);
	redo_op_done(&op);
	return r;
}

/* --- copies ---------------------------------------------------------------------------------------------------- */

/* Whoever asked reads and writes instead. */
static int not_now(struct ply_err *err)
{
	return ply_fail(err, -EOPNOTSUPP, PLY_R_REDO_CHANGE, "the log shares no blocks as long as it is being cleaned");
}

static ssize_t copy_locked(struct live *l, const struct live_who *who, uint64_t src, uint64_t src_off, uint64_t dst,
			   uint64_t dst_off, uint64_t len, struct ply_err *err)
{
	struct live_change c = { 0 };
	struct live_attr from, to;
	struct ply_err why = { 0 };
	struct redo_op op;
	int r = get_file(l, src, &from, err);

	if (r == 0)
		r = get_file(l, dst, &to, err);
	if (r == 0)
		r = live_check_flags(&to, FS_IMMUTABLE_FL | FS_APPEND_FL, err);
	if (r < 0)
		return r;
	if (src_off >= from.size)
		return 0;
	len = MIN(len, from.size - src_off);
	if (src == dst && src_off < dst_off + len && dst_off < src_off + len)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "a range cannot be copied onto itself");
	r = live_own_content(l, &from, err);
	if (r == 0)
		r = live_own_content(l, &to, err);
	if (r < 0)
		return r;
	len = redo_copy_len(l->log, src, src_off, len);
	if (!len)
		return not_now(err);
	redo_op_init(&op, who->request);
	redo_op_copy(&op, dst, dst_off, len, src, src_off, MAX(to.size, dst_off + len));
	change_times(&c, PLY_REDO_A_MTIME | PLY_REDO_A_CTIME, live_now());
	r = who->uid ? live_kill(l, who, &op, &to, &c, err) : 0;
	change_add(&c, &op, dst);
	if (r == 0)
		r = live_append(l, &op, &why);
	if (r == -ESTALE && why.reason == PLY_R_REDO_CHANGE && live_attr(l, src, &from, NULL) == 0 && live_attr(l, dst, &to, NULL) == 0)
		r = not_now(err);  /* both are there: since just now it could not be */
	else if (r < 0 && err && why.code)
		*err = why;
	redo_op_done(&op);
	return r < 0 ? r : (ssize_t)len;
}

ssize_t live_copy(struct live *l, const struct live_who *who, uint64_t src, uint64_t src_off, uint64_t dst,
		  uint64_t dst_off, uint64_t len, struct ply_err *err)
{
	ssize_t n = check_end(dst_off, len, err);

	if (n == 0 && len) {
		live_lock_two(l, src, dst);
		n = copy_locked(l, who, src, src_off, dst, dst_off, MIN(len, (uint64_t)SSIZE_MAX), err);
		live_unlock_two(l, src, dst);
	}
	return n;
}
