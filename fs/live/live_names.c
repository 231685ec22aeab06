/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names: finding, listing, making, removing, renaming. All that changes any holds `names`, so what was found stays so
 * until the record is there.
 *
 * A name that is removed is hidden where the view has it, and forgotten where the log has added it. Directories are
 * renamed by one record, whatever is in them: they know their parent, and what is in them knows only their number.
 */
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "live/live_impl.h"

#define CHANGE_NAME (PLY_REDO_A_MTIME | PLY_REDO_A_CTIME)       /* of the directory */
#define LISTED 64u                 /* names that are copied at once */

/* --- finding -------------------------------------------------------------------------------------- */

struct name {                      /* and what has it */
	uint64_t dir;
	const char *text;
	size_t len;
	bool is_there, below;      /* below: the view has it, and it shows */
	struct live_attr a;        /* where it is there */
};

static int no_entry(const char *name, size_t len, struct ply_err *err)
{
	char text[64];

	escape_name_to(name, len, text, sizeof(text));
	return ply_fail(err, -ENOENT, PLY_R_NO_ENTRY, "%s: no such file or directory", text);
}

static int not_a_directory(uint64_t ino, struct ply_err *err)
{
	return ply_fail(err, -ENOTDIR, PLY_R_NOT_A_DIRECTORY, "inode %#llx is not a directory", (unsigned long long)ino);
}

static int check_len(size_t len, struct ply_err *err)
{
	return len <= PLY_NAME_MAX ? 0 :
		ply_fail(err, -ENAMETOOLONG, PLY_R_NAME_TOO_LONG, "a name has %u bytes at most", PLY_NAME_MAX);
}

/* A directory that is not dead; the view judges its own. */
static int check_dir(struct live *l, uint64_t dir, struct ply_err *err)
{
	struct redo_inode i;

	if (!redo_inode(l->log, dir, &i))
		return 0;
	if (i.dead)
		return live_stale(dir, err);
	return i.mask & PLY_REDO_A_MODE && !S_ISDIR(i.attr.mode) ? not_a_directory(dir, err) : 0;
}

static int find(struct live *l, uint64_t dir, const char *name, size_t len, uint64_t *ret, bool *ret_below,
		struct ply_err *err)
{
	struct redo_entry e;

	*ret_below = false;
	switch (redo_lookup(l->log, dir, name, len, &e)) {
	case REDO_ADDED:
		*ret = e.ino;
		return 0;
	case REDO_HIDDEN:
		return no_entry(name, len, err);
	case REDO_BELOW:
		break;
	}
	if (live_made_here(l, dir))
		return no_entry(name, len, err);
	*ret_below = true;
	return ply_view_lookup(l->view, dir, name, len, ret, err);
}

int live_lookup(struct live *l, uint64_t dir, const char *name, size_t len, uint64_t *ret, struct ply_err *err)
{
	struct live_attr a;
	bool below;
	int r = check_len(len, err);

	if (r == 0 && len == 1 && name[0] == '.') {
		*ret = dir;
		return live_attr(l, dir, &a, err);
	}
	if (r == 0)
		r = check_dir(l, dir, err);
	if (r < 0)
		return r;
	if (len == 2 && memcmp(name, "..", 2) == 0)
		return live_parent(l, dir, ret, err);
	return find(l, dir, name, len, ret, &below, err);
}

int live_parent(struct live *l, uint64_t dir, uint64_t *ret, struct ply_err *err)
{
	struct redo_inode i;

	if (redo_inode(l->log, dir, &i)) {
		if (i.dead)
			return live_stale(dir, err);
		if (i.mask & PLY_REDO_A_PARENT && i.attr.parent) {
			*ret = i.attr.parent;
			return 0;
		}
		if (i.made_here)
			return not_a_directory(dir, err);
	}
	return ply_view_parent(l->view, dir, ret, err);
}

/* --- listing ---------------------------------------------------------------------------------------- */

struct listing {
	struct live *live;
	uint64_t dir;
	ply_dirent_fn fn;
	void *ctx;
	bool stopped;
};

static int list_below(void *ctx, const struct ply_dirent *de)
{
	struct listing *li = ctx;
	struct redo_entry e;

	if (redo_lookup(li->live->log, li->dir, de->name, de->len, &e) != REDO_BELOW)
		return 0;
	li->stopped = li->fn(li->ctx, de);
	return li->stopped;
}

/* Names that were added, out of the log, which must not be asked anything meanwhile. */
struct copied {
	size_t n;
	struct ply_dirent v[LISTED];
	char names[LISTED][PLY_NAME_MAX];
};

static int copy_name(void *ctx, const struct redo_dirent *de)
{
	struct copied *c = ctx;

	memcpy(c->names[c->n], de->name, de->len);
	c->v[c->n] = (struct ply_dirent){ de->ino, de->cookie, c->names[c->n], de->len, de->type };
	return ++c->n == LISTED;
}

int live_readdir(struct live *l, uint64_t dir, uint64_t cookie, ply_dirent_fn fn, void *ctx, struct ply_err *err)
{
	struct listing li = { l, dir, fn, ctx, false };
	struct copied c;
	int r = check_dir(l, dir, err);

	if (r == 0 && !live_made_here(l, dir) && PLY_INO_NUMBER(cookie) < PLY_REDO_NUMBER_MIN) {
		r = ply_view_readdir(l->view, dir, cookie, list_below, &li, err);
		cookie = 0;
	}
	if (r < 0 || li.stopped)
		return r;
	do {
		c.n = 0;
		redo_readdir(l->log, dir, cookie, copy_name, &c);
		for (size_t i = 0; i < c.n; i++) {
			cookie = c.v[i].cookie;
			if (fn(ctx, &c.v[i]))
				return 0;
		}
	} while (c.n == LISTED);
	return 0;
}

static int see_any(void *ctx, const struct ply_dirent *de)
{
	(void)de;
	*(bool *)ctx = true;
	return 1;
}

static int check_empty(struct live *l, uint64_t dir, struct ply_err *err)
{
	bool any = false;
	int r = live_readdir(l, dir, 0, see_any, &any, err);

	return r < 0 || !any ? r : ply_fail(err, -ENOTEMPTY, PLY_R_USAGE, "the directory is not empty");
}

/* --- what is asked before anything changes: with `names` held ------------------------------------------- */

/* A directory that names may be made in, or with @takes also taken from. */
static int get_dir(struct live *l, uint64_t dir, bool takes, struct live_attr *ret, struct ply_err *err)
{
	int r = live_attr(l, dir, ret, err);

	if (r < 0)
		return r;
	if (!S_ISDIR(ret->mode))
		return not_a_directory(dir, err);
	if (!ret->nlink)
		return ply_fail(err, -ENOENT, PLY_R_NO_ENTRY, "the directory was removed");
	return live_check_flags(ret, FS_IMMUTABLE_FL | (takes ? FS_APPEND_FL : 0), err);
}

/* That there is no such name is no error. */
static int get_name(struct live *l, uint64_t dir, const char *text, size_t len, struct name *n, struct ply_err *err)
{
	uint64_t ino;
	int r = check_len(len, err);

	*n = (struct name){ .dir = dir, .text = text, .len = len };
	if (r == 0 && (!len || (text[0] == '.' && (len == 1 || (len == 2 && text[1] == '.'))) || memchr(text, '/', len) ||
		       memchr(text, '\0', len)))
		r = ply_fail(err, -EINVAL, PLY_R_USAGE, "no file can be called so");
	if (r == 0)
		r = find(l, dir, text, len, &ino, &n->below, err);
	if (r == -ENOENT) {
		n->below = false;
		return 0;
	}
	if (r < 0)
		return r;
	n->is_there = true;
	return live_attr(l, ino, &n->a, err);
}

static int get_free_name(struct live *l, uint64_t dir, const char *text, size_t len, struct name *n, struct ply_err *err)
{
	int r = get_name(l, dir, text, len, n, err);

	return r == 0 && n->is_there ? ply_fail(err, -EEXIST, PLY_R_USAGE, "the name is there") : r;
}

/* A name whose file may lose it. */
static int get_taken_name(struct live *l, uint64_t dir, const char *text, size_t len, struct name *n, struct ply_err *err)
{
	int r = get_name(l, dir, text, len, n, err);

	if (r < 0)
		return r;
	return n->is_there ? live_check_flags(&n->a, FS_IMMUTABLE_FL | FS_APPEND_FL, err) : no_entry(text, len, err);
}

static int check_links(const struct live_attr *a, struct ply_err *err)
{
	return a->nlink < LIVE_LINK_MAX ? 0 :
		ply_fail(err, -EMLINK, PLY_R_LIMIT, "inode %#llx has as many names, or subdirectories, as there can be",
			 (unsigned long long)a->ino);
}

static bool is_dir(const struct name *n)
{
	return n->is_there && S_ISDIR(n->a.mode);
}

/* --- changes of one name -------------------------------------------------------------------------------------- */

static void take_name(struct redo_op *op, const struct name *n)
{
	redo_op_remove(op, n->dir, n->text, n->len, n->below);
}

static void give_name(struct redo_op *op, const struct name *n, uint64_t ino, uint32_t mode)
{
	redo_op_add(op, n->dir, n->text, n->len, ino, (uint8_t)((mode & S_IFMT) >> 12));
}

/* @dir has other names now, and @subdirs more directories. */
static void dir_changes(struct redo_op *op, const struct live_attr *dir, int subdirs, struct live_time now)
{
	struct live_change c = { 0 };

	change_times(&c, CHANGE_NAME, now);
	if (subdirs)
		change_nlink(&c, dir->nlink + (uint64_t)(int64_t)subdirs);
	change_add(&c, op, dir->ino);
}

/* What had a name has one less. */
static void loses_name(struct redo_op *op, const struct live_attr *a, struct live_time now)
{
	struct live_change c = { 0 };

	change_times(&c, PLY_REDO_A_CTIME, now);
	change_nlink(&c, S_ISDIR(a->mode) || !a->nlink ? 0 : a->nlink - 1);
	change_add(&c, op, a->ino);
}

/* --- making -------------------------------------------------------------------------------------------------------- */

static bool is_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return true;
	}
	return false;
}

static void new_attr(const struct live *l, const struct live_who *who, const struct live_attr *dir,
		     const struct live_new *new, struct redo_attr *ret)
{
	struct live_time now = live_now();

	*ret = (struct redo_attr){
		.mode = new->mode & (S_IFMT | 07777),
		.uid = who->uid,
		.gid = dir->mode & S_ISGID ? dir->gid : who->gid,
		.nlink = S_ISDIR(new->mode) ? 2 : 1,
		.generation = l->log_generation,
		.atime_sec = now.sec, .mtime_sec = now.sec, .ctime_sec = now.sec, .btime_sec = now.sec,
		.atime_nsec = now.nsec, .mtime_nsec = now.nsec, .ctime_nsec = now.nsec, .btime_nsec = now.nsec,
		.parent = S_ISDIR(new->mode) ? dir->ino : 0,
		.rdev_major = new->rdev_major, .rdev_minor = new->rdev_minor,
	};
	if (S_ISDIR(new->mode))
		ret->mode |= dir->mode & S_ISGID;
}

/* What is made inherits: its mode from the umask, or from the default ACL of the directory and the ACLs with it. */
struct inherited {
	size_t len;                /* of both; 0: no ACL */
	bool plain;                /* the mode says as much as the access ACL */
	uint8_t deflt[PLY_XATTR_VALUE_MAX], access[PLY_XATTR_VALUE_MAX];
};

static int inherit(struct live *l, const struct live_who *who, const struct live_attr *dir, struct redo_attr *attr,
		   struct inherited *ret, struct ply_err *err)
{
	uint32_t mode;
	ssize_t n;

	ret->len = 0;
	if (S_ISLNK(attr->mode))
		return 0;
	n = live_getxattr(l, dir->ino, ACL_DEFAULT, ret->deflt, sizeof(ret->deflt), err);
	if (n == -ENODATA) {
		attr->mode &= ~(who->umask & 0777);
		return 0;
	}
	if (n < 0)
		return (int)n;
	if (acl_check(ret->deflt, (size_t)n, &mode, &ret->plain, err) < 0)
		return ply_fail(err, -EIO, PLY_R_XATTR_FIELD, "the default ACL of inode %#llx is none",
				(unsigned long long)dir->ino);
	ret->len = (size_t)n;
	memcpy(ret->access, ret->deflt, ret->len);
	attr->mode = acl_inherit(ret->access, ret->len, attr->mode);
	return 0;
}

/* The record of a new inode; @name NULL: it has none. */
static int put_new(struct live *l, const struct live_who *who, const struct live_attr *dir, const struct live_new *new,
		   const struct name *name, struct redo_op *op, uint64_t *ret_ino, struct ply_err *err)
{
	struct redo_attr attr;
	struct inherited in;
	int r = redo_new_ino(l->log, ret_ino, err);

	if (r < 0)
		return r;
	new_attr(l, who, dir, new, &attr);
	if (!name)
		attr.nlink = 0;
	r = inherit(l, who, dir, &attr, &in, err);
	if (r < 0)
		return r;
	redo_op_new(op, *ret_ino, &attr, new->target, new->target_len);
	if (in.len && S_ISDIR(attr.mode))
		redo_op_xattr_set(op, *ret_ino, ACL_DEFAULT, strlen(ACL_DEFAULT), in.deflt, in.len);
	if (in.len && !in.plain)
		redo_op_xattr_set(op, *ret_ino, ACL_ACCESS, strlen(ACL_ACCESS), in.access, in.len);
	if (name) {
		give_name(op, name, *ret_ino, attr.mode);
		dir_changes(op, dir, S_ISDIR(attr.mode) ? 1 : 0, (struct live_time){ attr.ctime_sec, attr.ctime_nsec });
	}
	return 0;
}

/* @name NULL: it gets none. */
static int make(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len,
		const struct live_new *new, struct live_attr *ret, struct ply_err *err)
{
	struct live_attr d;
	struct redo_op op;
	struct name n;
	uint64_t ino;
	int r;

	redo_op_init(&op, who->request);
	pthread_mutex_lock(&l->names);
	r = get_dir(l, dir, false, &d, err);
	if (r == 0 && name)
		r = get_free_name(l, dir, name, len, &n, err);
	if (r == 0 && S_ISDIR(new->mode))
		r = check_links(&d, err);
	if (r == 0)
		r = put_new(l, who, &d, new, name ? &n : NULL, &op, &ino, err);
	if (r == 0)
		r = live_append(l, &op, err);
	if (r == 0)
		r = live_attr(l, ino, ret, err);
	pthread_mutex_unlock(&l->names);
	redo_op_done(&op);
	return r;
}

int live_make(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len,
	      const struct live_new *new, struct live_attr *ret, struct ply_err *err)
{
	if (!is_type(new->mode))
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "mode %#o is that of no file", new->mode);
	if (S_ISLNK(new->mode) && new->target_len > PLY_SYMLINK_MAX)
		return ply_fail(err, -ENAMETOOLONG, PLY_R_NAME_TOO_LONG, "a symlink has %d bytes at most", PLY_SYMLINK_MAX);
	return make(l, who, dir, name, len, new, ret, err);
}

int live_tmpfile(struct live *l, const struct live_who *who, uint64_t dir, uint32_t mode, struct live_attr *ret,
		 struct ply_err *err)
{
	return make(l, who, dir, NULL, 0, &(struct live_new){ .mode = S_IFREG | (mode & 07777) }, ret, err);
}

static int put_link(struct live *l, uint64_t ino, uint64_t dir, const char *name, size_t len, struct redo_op *op,
		    struct ply_err *err)
{
	struct live_change c = { 0 };
	struct live_time now = live_now();
	struct live_attr a, d;
	struct name n;
	int r = live_attr(l, ino, &a, err);

	if (r == 0)
		r = get_dir(l, dir, false, &d, err);
	if (r == 0)
		r = get_free_name(l, dir, name, len, &n, err);
	if (r == 0 && S_ISDIR(a.mode))
		r = ply_fail(err, -EPERM, PLY_R_IS_A_DIRECTORY, "a directory has one name");
	if (r == 0)
		r = live_check_flags(&a, FS_IMMUTABLE_FL | FS_APPEND_FL, err);
	if (r == 0)
		r = check_links(&a, err);
	if (r < 0)
		return r;
	give_name(op, &n, ino, a.mode);
	change_nlink(&c, a.nlink + 1);
	change_times(&c, PLY_REDO_A_CTIME, now);
	change_add(&c, op, ino);
	dir_changes(op, &d, 0, now);
	return 0;
}

int live_link(struct live *l, const struct live_who *who, uint64_t ino, uint64_t dir, const char *name, size_t len,
	      struct live_attr *ret, struct ply_err *err)
{
	struct redo_op op;
	int r;

	redo_op_init(&op, who->request);
	pthread_mutex_lock(&l->names);
	r = put_link(l, ino, dir, name, len, &op, err);
	if (r == 0)
		r = live_append(l, &op, err);
	if (r == 0 && ret)
		r = live_attr(l, ino, ret, err);
	pthread_mutex_unlock(&l->names);
	redo_op_done(&op);
	return r;
}

/* --- removing ------------------------------------------------------------------------------------------------------- */

static int put_removed(struct live *l, uint64_t dir, const char *name, size_t len, bool dirs, struct redo_op *op,
		       uint64_t *ret_ino, struct ply_err *err)
{
	struct live_time now = live_now();
	struct live_attr d;
	struct name n;
	int r = get_dir(l, dir, true, &d, err);

	if (r == 0)
		r = get_taken_name(l, dir, name, len, &n, err);
	if (r < 0)
		return r;
	if (is_dir(&n) && !dirs)
		return ply_fail(err, -EISDIR, PLY_R_IS_A_DIRECTORY, "it is a directory");
	if (!is_dir(&n) && dirs)
		return not_a_directory(n.a.ino, err);
	r = dirs ? check_empty(l, n.a.ino, err) : 0;
	if (r < 0)
		return r;
	take_name(op, &n);
	loses_name(op, &n.a, now);
	dir_changes(op, &d, dirs ? -1 : 0, now);
	if (ret_ino)
		*ret_ino = n.a.ino;
	return 0;
}

static int remove_name(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len, bool dirs,
		       uint64_t *ret_ino, struct ply_err *err)
{
	struct redo_op op;
	int r;

	redo_op_init(&op, who->request);
	pthread_mutex_lock(&l->names);
	r = put_removed(l, dir, name, len, dirs, &op, ret_ino, err);
	if (r == 0)
		r = live_append(l, &op, err);
	pthread_mutex_unlock(&l->names);
	redo_op_done(&op);
	return r;
}

int live_unlink(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len, uint64_t *ret_ino,
		struct ply_err *err)
{
	return remove_name(l, who, dir, name, len, false, ret_ino, err);
}

int live_rmdir(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len, uint64_t *ret_ino,
	       struct ply_err *err)
{
	return remove_name(l, who, dir, name, len, true, ret_ino, err);
}

/* --- renaming ----------------------------------------------------------------------------------------------------------- */

struct renaming {
	struct live_attr from_dir, to_dir;
	struct name from, to;
	unsigned flags;
};

/* A directory that becomes its own ancestor would be lost: the kernel sees to that, but not an image's loops. */
static int check_above(struct live *l, uint64_t ino, uint64_t dir, struct ply_err *err)
{
	for (unsigned depth = 0; dir != PLY_ROOT_INDEX; depth++) {
		int r;

		if (dir == ino || depth > 1u << 20)
			return ply_fail(err, -EINVAL, PLY_R_USAGE, "a directory cannot be moved into itself");
		r = live_parent(l, dir, &dir, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What is at the new name, which is not exchanged, goes. */
static int check_replaced(struct live *l, const struct renaming *rn, struct ply_err *err)
{
	if (!rn->to.is_there)
		return 0;
	if (rn->flags & RENAME_NOREPLACE)
		return ply_fail(err, -EEXIST, PLY_R_USAGE, "the new name is there");
	if (is_dir(&rn->from) && !is_dir(&rn->to))
		return not_a_directory(rn->to.a.ino, err);
	if (!is_dir(&rn->from) && is_dir(&rn->to))
		return ply_fail(err, -EISDIR, PLY_R_IS_A_DIRECTORY, "the new name is that of a directory");
	return is_dir(&rn->to) ? check_empty(l, rn->to.a.ino, err) : 0;
}

static int check_renaming(struct live *l, const struct renaming *rn, struct ply_err *err)
{
	bool apart = rn->from_dir.ino != rn->to_dir.ino;
	int r = 0;

	if (rn->flags & RENAME_EXCHANGE && !rn->to.is_there)
		return no_entry(rn->to.text, rn->to.len, err);
	if (rn->to.is_there)
		r = live_check_flags(&rn->to_dir, FS_APPEND_FL, err);
	if (r == 0 && rn->to.is_there)
		r = live_check_flags(&rn->to.a, FS_IMMUTABLE_FL | FS_APPEND_FL, err);
	if (r == 0 && !(rn->flags & RENAME_EXCHANGE))
		r = check_replaced(l, rn, err);
	if (r == 0 && apart && is_dir(&rn->from))
		r = check_above(l, rn->from.a.ino, rn->to_dir.ino, err);
	if (r == 0 && apart && rn->flags & RENAME_EXCHANGE && is_dir(&rn->to))
		r = check_above(l, rn->to.a.ino, rn->from_dir.ino, err);
	if (r == 0 && apart && is_dir(&rn->from) && !is_dir(&rn->to))
		r = check_links(&rn->to_dir, err);
	if (r == 0 && apart && rn->flags & RENAME_EXCHANGE && is_dir(&rn->to) && !is_dir(&rn->from))
		r = check_links(&rn->from_dir, err);
	return r;
}

static void moves(struct redo_op *op, const struct name *n, const struct live_attr *to_dir, struct live_time now)
{
	struct live_change c = { 0 };

	change_times(&c, PLY_REDO_A_CTIME, now);
	if (is_dir(n) && n->dir != to_dir->ino) {
		c.mask |= PLY_REDO_A_PARENT;
		c.attr.parent = to_dir->ino;
	}
	change_add(&c, op, n->a.ino);
}

/* A character device 0:0 stays at the old name, as overlayfs wants it. */
static int put_whiteout(struct live *l, const struct live_who *who, const struct renaming *rn, struct redo_op *op,
			struct ply_err *err)
{
	const struct live_new new = { .mode = S_IFCHR };
	struct redo_attr attr;
	uint64_t ino;
	int r = redo_new_ino(l->log, &ino, err);

	if (r < 0)
		return r;
	new_attr(l, who, &rn->from_dir, &new, &attr);
	redo_op_new(op, ino, &attr, NULL, 0);
	give_name(op, &rn->from, ino, attr.mode);
	return 0;
}

static int put_renaming(struct live *l, const struct live_who *who, const struct renaming *rn, struct redo_op *op,
			struct ply_err *err)
{
	struct live_time now = live_now();
	bool exchange = rn->flags & RENAME_EXCHANGE, apart = rn->from_dir.ino != rn->to_dir.ino;
	int to_more = is_dir(&rn->from) - is_dir(&rn->to), from_more = exchange ? -to_more : -(int)is_dir(&rn->from), r = 0;

	take_name(op, &rn->from);
	if (rn->to.is_there)
		take_name(op, &rn->to);
	give_name(op, &rn->to, rn->from.a.ino, rn->from.a.mode);
	if (exchange)
		give_name(op, &rn->from, rn->to.a.ino, rn->to.a.mode);
	else if (rn->flags & RENAME_WHITEOUT)
		r = put_whiteout(l, who, rn, op, err);
	moves(op, &rn->from, &rn->to_dir, now);
	if (exchange)
		moves(op, &rn->to, &rn->from_dir, now);
	else if (rn->to.is_there)
		loses_name(op, &rn->to.a, now);
	if (apart) {
		dir_changes(op, &rn->from_dir, from_more, now);
		dir_changes(op, &rn->to_dir, to_more, now);
	} else {
		dir_changes(op, &rn->from_dir, exchange ? 0 : -(int)is_dir(&rn->to), now);
	}
	return r;
}

/* 1: nothing to do. */
static int prepare(struct live *l, struct renaming *rn, uint64_t dir, const char *name, size_t len, uint64_t to_dir,
		   const char *to_name, size_t to_len, struct ply_err *err)
{
	int r = get_dir(l, dir, true, &rn->from_dir, err);

	if (r == 0)
		r = get_dir(l, to_dir, false, &rn->to_dir, err);
	if (r == 0)
		r = get_taken_name(l, dir, name, len, &rn->from, err);
	if (r == 0)
		r = get_name(l, to_dir, to_name, to_len, &rn->to, err);
	if (r == 0 && rn->to.is_there && rn->flags & RENAME_NOREPLACE)
		return check_replaced(l, rn, err);
	if (r == 0 && rn->to.is_there && rn->to.a.ino == rn->from.a.ino)
		return 1;
	return r < 0 ? r : check_renaming(l, rn, err);
}

int live_rename(struct live *l, const struct live_who *who, uint64_t dir, const char *name, size_t len, uint64_t to_dir,
		const char *to_name, size_t to_len, unsigned flags, uint64_t *ret_gone, struct ply_err *err)
{
	struct renaming rn = { .flags = flags };
	struct redo_op op;
	int r;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) ||
	    (flags & RENAME_EXCHANGE && flags != RENAME_EXCHANGE))
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "flags %#x of a rename are not known, or not together", flags);
	if (ret_gone)
		*ret_gone = 0;
	redo_op_init(&op, who->request);
	pthread_mutex_lock(&l->names);
	r = prepare(l, &rn, dir, name, len, to_dir, to_name, to_len, err);
	if (r == 0)
		r = put_renaming(l, who, &rn, &op, err);
	if (r == 0)
		r = live_append(l, &op, err);
	pthread_mutex_unlock(&l->names);
	if (r == 0 && ret_gone && rn.to.is_there && !(flags & RENAME_EXCHANGE))
		*ret_gone = rn.to.a.ino;
	redo_op_done(&op);
	return MIN(r, 0);
}
