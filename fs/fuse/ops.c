/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A view as a read-only FUSE file system. Writable mounts: rw.c, which uses some of this.
 *
 * Nothing is kept per inode or per open file: a node id is the inode number, a
 * directory offset is the view's cookie, there are no handles. So FORGET means
 * nothing, any number that the kernel (or an NFS client) still knows can be
 * answered at any time, and one that is dead is ESTALE.
 *
 * The content never changes, so the kernel may keep all that it learns: attributes
 * and entries, also that a name does not exist, are good for ever. What it would
 * ask without need is answered ENOSYS, which it remembers for the whole mount:
 * OPEN, OPENDIR, FLUSH, ACCESS, and xattrs where the selection has none.
 *
 * READDIRPLUS is always asked for: one request for a hundred files. The kernel's
 * heuristic (READDIRPLUS_AUTO) was measured five times slower for `find` and `ls -l`.
 * Rejected, as slower than a copy from the reply buffer: splice, in both directions.
 *
 * Damage in an image is EIO for what it touches, and nothing else. Where a page of the
 * image could not be read while a request was answered, by this thread or another, zeros
 * may have been taken for the image: the request is answered again. By then the zero page
 * is in its place and fails its checksum, so the second answer is EIO for those who need
 * that page, and right for all others.
 */
#include "ops_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "ahead.h"
#include "base/sigbus.h"
#include "base/util.h"
#include "log.h"
#include "tree/view_internal.h"

#define TRIES 16                   /* answers to one request while pages keep failing */

/* sigbus_faults() when this thread began with its answer, and how many answers it threw away. */
static __thread unsigned faults, tries;

void ops_begin(void)
{
	faults = sigbus_faults();
	tries = 0;
}

struct tree *ops_tree(fuse_req_t req)
{
	ops_begin();
	return fuse_req_userdata(req);
}

bool ops_disturbed(uint64_t ino)
{
	unsigned now = sigbus_faults();
	struct ply_err err;

	if (now == faults)
		return false;
	if (tries == 0) {
		ply_fail(&err, -EIO, PLY_R_IMAGE_IO, "the image cannot be read, or was cut off");
		log_damage(ino, &err);
	}
	if (++tries == TRIES)
		return false;
	faults = now;
	return true;
}

void tree_init(struct tree *t, struct ply_view *view, bool default_permissions)
{
	*t = (struct tree){ .view = view, .generation = view_generation(view) };
	ply_view_stat(view, &t->stat);
	t->enforce_acls = default_permissions && t->stat.has_acls;
}

/* --- reply buffers ---------------------------------------------------- */

static _Thread_local struct {
	void *mem;
	size_t cap;
} reply;

void *ops_buffer(size_t size)
{
	if (size > reply.cap) {
		void *p;

		if (size > OPS_REPLY_MAX)
			return NULL;
		size = align_up(size, PLY_PAGE);
		p = aligned_alloc(PLY_PAGE, size);
		if (!p)
			return NULL;
		free(reply.mem);
		reply.mem = p;
		reply.cap = size;
	}
	return reply.mem;
}

void tree_thread_done(void)
{
	free(reply.mem);
	reply.mem = NULL;
	reply.cap = 0;
}

/* --- errors ----------------------------------------------------------- */

/* The positive errno for the kernel. What is no ordinary answer means a damaged image, or a
 * machine in trouble: EIO or ENOMEM, and a line in the log. */
static int answer(uint64_t ino, const struct ply_err *err)
{
	switch (err->code) {
	case -ENOENT:
	case -ENOTDIR:
	case -EISDIR:
	case -EINVAL:
	case -ENAMETOOLONG:
	case -ENODATA:
	case -ENXIO:
	case -ESTALE:
		return -err->code;
	}
	log_damage(ino, err);
	return err->code == -ENOMEM ? ENOMEM : EIO;
}

bool ops_is_lost(void)
{
	return tries >= TRIES;
}

bool ops_is_sound(fuse_req_t req)
{
	if (!ops_is_lost())
		return true;
	fuse_reply_err(req, EIO);
	return false;
}

static void fail(fuse_req_t req, uint64_t ino, const struct ply_err *err)
{
	if (ops_is_sound(req))
		fuse_reply_err(req, answer(ino, err));
}

/* --- attributes and names --------------------------------------------- */

static void fill_stat(const struct ply_attr *a, struct stat *st)
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
		.st_mtim = { .tv_sec = a->mtime_sec, .tv_nsec = a->mtime_nsec },
	};
	/* not stored: the last change that is known */
	st->st_atim = st->st_ctim = st->st_mtim;
}

static int fill_entry(const struct tree *t, uint64_t ino, struct fuse_entry_param *e,
		      struct ply_err *err)
{
	struct ply_attr a;
	int r = ply_view_attr(t->view, ino, &a, err);

	if (r < 0)
		return r;
	*e = (struct fuse_entry_param){
		.ino = ino,
		.generation = ino == PLY_ROOT_INDEX ? 0 : t->generation,
		.attr_timeout = OPS_FOREVER,
		.entry_timeout = OPS_FOREVER,
	};
	fill_stat(&a, &e->attr);
	return 0;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct tree *t = userdata;

	conn->want = conn->capable &
		     (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_READDIRPLUS |
		      FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPORT_SUPPORT |
		      FUSE_CAP_EXPLICIT_INVAL_DATA | (t->enforce_acls ? FUSE_CAP_POSIX_ACL : 0));
	conn->max_write = OPS_REPLY_MAX;   /* libfuse derives from it how long a READ may be */
	t->no_open = conn->capable & FUSE_CAP_NO_OPEN_SUPPORT;
	t->no_opendir = conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
	t->is_initialised = true;
}

static void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	const struct tree *t = ops_tree(req);
	struct fuse_entry_param e;
	struct ply_err err;
	int r;

	do {
		uint64_t ino = dir;

		e = (struct fuse_entry_param){ .entry_timeout = OPS_FOREVER };
		r = 0;
		/* "." comes from file handles, and then @dir may be of any type */
		if (strcmp(name, ".") != 0)
			r = ply_view_lookup(t->view, dir, name, strlen(name), &ino, &err);
		if (r == 0)
			r = fill_entry(t, ino, &e, &err);
	} while (ops_disturbed(dir));
	if (r < 0 && r != -ENOENT)
		fail(req, dir, &err);
	else if (ops_is_sound(req))
		fuse_reply_entry(req, &e);   /* no inode: "does not exist", and may be remembered */
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct tree *t = ops_tree(req);
	struct ply_attr a;
	struct ply_err err;
	struct stat st;
	int r;

	(void)fi;
	do
		r = ply_view_attr(t->view, ino, &a, &err);
	while (ops_disturbed(ino));
	if (r < 0) {
		fail(req, ino, &err);
		return;
	}
	fill_stat(&a, &st);
	if (ops_is_sound(req))
		fuse_reply_attr(req, &st, OPS_FOREVER);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	const struct tree *t = ops_tree(req);
	char target[PLY_SYMLINK_MAX + 1];
	struct ply_err err;
	int r;

	do {
		const char *p;
		size_t len;

		r = ply_view_readlink(t->view, ino, &p, &len, &err);
		if (r == 0) {
			len = MIN(len, sizeof(target) - 1);
			memcpy(target, p, len);
			target[len] = '\0';
		}
	} while (ops_disturbed(ino));
	if (r < 0)
		fail(req, ino, &err);
	else if (ops_is_sound(req))
		fuse_reply_readlink(req, target);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct tree *t = ops_tree(req);
	struct statvfs s = {
		.f_bsize = PLY_PAGE,
		.f_frsize = PLY_PAGE,
		.f_blocks = t->stat.bytes / PLY_PAGE + !!(t->stat.bytes % PLY_PAGE),
		.f_files = t->stat.inodes,
		.f_namemax = PLY_NAME_MAX,
	};

	(void)ino;
	fuse_reply_statfs(req, &s);
}

/* --- directories ------------------------------------------------------ */

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if (ops_tree(req)->no_opendir) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->cache_readdir = 1;
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

int ops_add_name(struct listing *l, const char *name, const struct fuse_entry_param *e, uint64_t cookie)
{
	size_t left = l->size - l->used, n;

	n = l->plus ?
		fuse_add_direntry_plus(l->req, l->buf + l->used, left, name, e, (off_t)cookie) :
		fuse_add_direntry(l->req, l->buf + l->used, left, name, &e->attr, (off_t)cookie);
	if (n > left)
		return 1;
	l->used += n;
	return 0;
}

static int add_entry(void *ctx, const struct ply_dirent *de)
{
	struct listing *l = ctx;
	struct fuse_entry_param e = { 0 };
	char name[PLY_NAME_MAX + 1];
	struct ply_err err;

	memcpy(name, de->name, de->len);
	name[de->len] = '\0';
	if (!l->plus || fill_entry(l->tree, de->ino, &e, &err) < 0) {
		/* without attributes the kernel looks the name up, and is told what is wrong */
		e.attr.st_ino = de->ino;
		e.attr.st_mode = (mode_t)de->type << 12;
	}
	return ops_add_name(l, name, &e, de->cookie);
}

/* Only a number and a type count. */
int ops_add_dot(struct listing *l, const char *name, uint64_t ino, uint64_t cookie)
{
	struct fuse_entry_param e = { .attr = { .st_ino = ino, .st_mode = S_IFDIR } };

	return ops_add_name(l, name, &e, cookie);
}

/* 1: full. */
static int fill_listing(struct listing *l, uint64_t dir, uint64_t off, struct ply_err *err)
{
	uint64_t parent;
	int r = 0;

	l->used = 0;
	if (off == 0)
		r = ops_add_dot(l, ".", dir, 1);
	if (r == 0 && off <= 1) {
		r = ply_view_parent(l->tree->view, dir, &parent, err);
		if (r == 0)
			r = ops_add_dot(l, "..", parent, 2);
	}
	return r ? r : ply_view_readdir(l->tree->view, dir, off, add_entry, l, err);
}

static void list(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off, bool plus)
{
	struct listing l = { .req = req, .tree = ops_tree(req), .plus = plus };
	struct ply_err err;
	int r;

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
		fail(req, dir, &err);
	else if (ops_is_sound(req))
		fuse_reply_buf(req, l.buf, l.used);
}

static void op_readdir(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)fi;
	list(req, dir, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	(void)fi;
	list(req, dir, size, off, true);
}

/* --- content ---------------------------------------------------------- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if (ops_tree(req)->no_open) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	const struct tree *t = ops_tree(req);
	void *buf = ops_buffer(size);
	struct ply_err err;
	ssize_t n;

	(void)fi;
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	do
		n = ply_view_read(t->view, ino, (uint64_t)off, size, buf, &err);
	while (ops_disturbed(ino));
	if (n < 0) {
		fail(req, ino, &err);
	} else if (ops_is_sound(req)) {
		fuse_reply_buf(req, buf, (size_t)n);
		if (off == 0)
			ahead_of(t->ahead, ino, (size_t)n, size);
		else
			ahead_around(t->ahead, ino, (uint64_t)off, (size_t)n);
	}
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	const struct tree *t = ops_tree(req);
	struct ply_err err;
	uint64_t to;
	int r;

	(void)fi;
	do
		r = ply_view_seek(t->view, ino, (uint64_t)off, whence, &to, &err);
	while (ops_disturbed(ino));
	if (r < 0)
		fail(req, ino, &err);
	else if (ops_is_sound(req))
		fuse_reply_lseek(req, (off_t)to);
}

/* --- xattrs ----------------------------------------------------------- */

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	const struct tree *t = ops_tree(req);
	struct ply_err err;
	size_t len;
	void *buf;
	int r;

	if (!t->stat.has_xattrs) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	/* ls -l asks it of each file, until it hears that there are none on this device */
	if (!t->stat.has_labels && !strcmp(name, "security.selinux")) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	buf = ops_buffer(PLY_XATTR_VALUE_MAX);
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	do {
		const void *value;

		/* never from the map: where the image was cut off, the kernel would refuse the
		 * reply, and the caller would wait for ever */
		r = ply_view_getxattr(t->view, ino, name, &value, &len, &err);
		if (r == 0 && size && len <= size)
			memcpy(buf, value, MIN(len, (size_t)PLY_XATTR_VALUE_MAX));
	} while (ops_disturbed(ino));
	if (r < 0)
		fail(req, ino, &err);
	else if (!ops_is_sound(req))
		return;
	else if (!size)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, buf, len);
}

int ops_add_xattr(struct names *n, const char *name, size_t len)
{
	if (!n->trusted && len > 8 && memcmp(name, "trusted.", 8) == 0)
		return 0;
	if (n->used + len + 1 > PLY_XATTR_SET_MAX) {
		n->full = true;
		return 1;
	}
	memcpy(n->buf + n->used, name, len);
	n->used += len + 1;
	n->buf[n->used - 1] = '\0';
	return 0;
}

void ops_reply_names(fuse_req_t req, const struct names *n, size_t size)
{
	if (n->full)
		fuse_reply_err(req, E2BIG);
	else if (!size)
		fuse_reply_xattr(req, n->used);
	else if (n->used > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, n->buf, n->used);
}

static int add_xattr(void *ctx, const struct ply_xattr *x)
{
	return ops_add_xattr(ctx, x->name, x->name_len);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	const struct tree *t = ops_tree(req);
	struct names n = { .trusted = fuse_req_ctx(req)->uid == 0 };
	struct ply_err err;
	int r;

	if (!t->stat.has_xattrs) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	n.buf = ops_buffer(PLY_XATTR_SET_MAX);
	if (!n.buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	do {
		n.used = 0;
		n.full = false;
		r = ply_view_xattrs(t->view, ino, add_xattr, &n, &err);
	} while (ops_disturbed(ino));
	if (r < 0)
		fail(req, ino, &err);
	else if (ops_is_sound(req))
		ops_reply_names(req, &n, size);
}

/* --- what would change something -----------------------------------------
 * The mount is read-only, so the kernel asks only after `mount -o remount,rw`. */

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int what,
		       struct fuse_file_info *fi)
{
	(void)ino, (void)st, (void)what, (void)fi;
	fuse_reply_err(req, EROFS);
}

static void op_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev)
{
	(void)dir, (void)name, (void)mode, (void)rdev;
	fuse_reply_err(req, EROFS);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	(void)dir, (void)name, (void)mode;
	fuse_reply_err(req, EROFS);
}

static void op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	(void)dir, (void)name;
	fuse_reply_err(req, EROFS);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name)
{
	(void)target, (void)dir, (void)name;
	fuse_reply_err(req, EROFS);
}

static void op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t to_dir,
		      const char *to_name, unsigned flags)
{
	(void)dir, (void)name, (void)to_dir, (void)to_name, (void)flags;
	fuse_reply_err(req, EROFS);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	(void)ino, (void)dir, (void)name;
	fuse_reply_err(req, EROFS);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	(void)ino, (void)buf, (void)size, (void)off, (void)fi;
	fuse_reply_err(req, EROFS);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	(void)ino, (void)name, (void)value, (void)size, (void)flags;
	fuse_reply_err(req, EROFS);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	(void)ino, (void)name;
	fuse_reply_err(req, EROFS);
}

static void op_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	(void)dir, (void)name, (void)mode, (void)fi;
	fuse_reply_err(req, EROFS);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	(void)ino, (void)mode, (void)off, (void)len, (void)fi;
	fuse_reply_err(req, EROFS);
}

/* Operations that are not here are answered ENOSYS by libfuse. */
const struct fuse_lowlevel_ops tree_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.statfs = op_statfs,
	.opendir = ops_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.open = op_open,
	.read = op_read,
	.lseek = op_lseek,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.setattr = op_setattr,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_unlink,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.write = op_write,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
	.create = op_create,
	.fallocate = op_fallocate,
};
