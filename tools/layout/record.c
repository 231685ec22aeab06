/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A component of a new layout is recorded as if it had been added to what the selection is without it, and without what
 * requires it: rows of what it has alone, and of files that are others without it, with both versions of these.
 *
 * Cost follows the components: their own rows are in the plan, and of all others only those can differ that the plan has as
 * special, shared files and names under a condition. What a regular file holds is not read for this; it is known by size
 * and time.
 *
 * It reads the plan and the image, and writes where no stream does. So it goes on beside them, by a thread of its own: what
 * it waits for, and the processor that it takes while they wait for the image, would be added to a layout's time.
 */
#include "layout/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/codec.h"
#include "layout/attrs.h"
#include "layout/changes.h"
#include "layout/parts.h"
#include "layout/statedir.h"
#include "layout/subset.h"
#include "layout/update_impl.h"
#include "layout/version.h"

#define RECORD_SUBS 64u            /* each is compared with a selection without it: time grows with the square */

struct recording {
	struct layout *l;
	uint32_t sub;              /* of the component, as in plan.subs */
	const char *name;
	struct ply_view *without;
	struct ply_view *alone;    /* of the component and what it requires */
	uint64_t *alone_dirs;
	bool is_required;          /* by another one */
	struct ply_view *os;       /* of the operating system alone: what directories are not of it are components' */
	uint64_t *dirs;            /* by directory of the plan, its inode without the component; 0: none; not yet known */
	uint64_t *os_dirs;
	bool *told;                /* by directory: it has a row */
	struct changes c;
	int at, fresh, old, with, was;     /* merge/NAME, and in it new/, old/, with/, was/ */
	struct buf path;
	struct ply_err *err;
};

static int fail(struct recording *rec, int code, const char *what)
{
	return ply_fail(rec->err, code, code == -ENOSPC || code == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE,
			"%s/var/lib/plyfs/merge/%s: cannot %s: %s", rec->l->target->path, rec->name, what, strerror(-code));
}

static int make_dir(struct recording *rec, int at, const char *name, int *ret)
{
	*ret = statedir_make(at, name, 0700);
	return *ret < 0 ? fail(rec, *ret, "create") : 0;
}

/* --- sides -------------------------------------------------------------------------------- */

/* What the layout has made of inode @ino of @view; of the plan's view as the plan has it. */
static int side_of(struct recording *rec, struct ply_view *view, uint64_t ino, struct change_side *ret)
{
	const struct layout *l = rec->l;
	struct ply_attr a;
	struct view_file f;
	const char *target;
	size_t len;
	int r = view_file(view, ino, &f, rec->err);

	if (r == 0)
		r = ply_view_attr(view, ino, &a, rec->err);
	if (r < 0)
		return r;
	*ret = (struct change_side){ .mode = a.mode, .uid = l->o->map_owner ? l->o->map_uid : a.uid,
				     .gid = l->o->map_owner ? l->o->map_gid : a.gid, .mtime_sec = a.mtime_sec,
				     .mtime_nsec = a.mtime_nsec };
	if (view == l->plan->view && l->plan->subs[f.owner_i].owners) {
		const struct plan_owner *o = &l->plan->subs[f.owner_i].owners[f.node.owner];

		ret->uid = o->put_uid;
		ret->gid = o->put_gid;
		if (S_ISREG(a.mode))
			ret->mode &= ~((o->put_uid != o->uid ? S_ISUID : 0u) | (o->put_gid != o->gid ? S_ISGID : 0u));
	} else if (view != l->plan->view && l->o->allow_partial && geteuid() != 0) {
		/* it would have been ours, too */
		if (S_ISREG(a.mode))
			ret->mode &= ~((a.uid != geteuid() ? S_ISUID : 0u) | (a.gid != getegid() ? S_ISGID : 0u));
		ret->uid = geteuid();
		ret->gid = getegid();
	}
	if (f.node.xattrs)
		memset(ret->xattrs, CHANGE_UNKNOWN, sizeof(ret->xattrs));
	switch (a.mode & S_IFMT) {
	case S_IFREG:
		ret->size = a.size;
		memset(ret->digest, CHANGE_UNKNOWN, sizeof(ret->digest));
		break;
	case S_IFLNK:
		ret->mode = S_IFLNK | 0777;
		r = ply_view_readlink(view, ino, &target, &len, rec->err);
		if (r == 0)
			xxh128_once(target, len, ret->digest);
		break;
	case S_IFCHR:
	case S_IFBLK:
		ret->size = makedev(a.rdev_major, a.rdev_minor);
		break;
	}
	return r;
}

/* --- rows ------------------------------------------------------------------------------------ */

/* rec->path: that of directory @d, or of a name in it, with a NUL behind. */
static int set_path(struct recording *rec, uint32_t d, const char *name, size_t len)
{
	return plan_name_path(rec->l->plan, d, name, len, &rec->path) < 0 ? ply_fail_nomem(rec->err) : 0;
}

static int add_row(struct recording *rec, enum change_kind kind, bool inside, const struct change_side *before,
		   const struct change_side *after)
{
	struct change row = { .kind = (uint8_t)kind, .flags = inside ? CHANGE_INSIDE : 0,
			      .path = (char *)rec->path.data, .before = *before, .after = *after };

	return changes_add(&rec->c, &row) < 0 ? ply_fail_nomem(rec->err) : 0;
}

/* Has directory @d, whose row was added last, taken the place of a file of the operating system? */
static int mark_taken(struct recording *rec, uint32_t d)
{
	const struct plan_dir *dir = &rec->l->plan->dirs[d];
	uint64_t up, ino = 0;
	int r = subset_dir(rec->l, rec->os, rec->os_dirs, dir->parent, &up, rec->err);

	if (r == 0)
		r = version_find(rec->os, up, dir->name, dir->name_len, &ino, rec->err);
	if (r == 0 && ino)
		rec->c.v[rec->c.n - 1].flags |= CHANGE_LOST;
	return r;
}

/* Directories that the operating system has not are of each component that has something in them: the last to go takes
 * them along. */
static int tell_directory(struct recording *rec, uint32_t d, bool *ret_made)
{
	const struct change_side nothing = { 0 };
	struct change_side side;
	bool up = false;
	uint64_t ino;
	int r = subset_dir(rec->l, rec->os, rec->os_dirs, d, &ino, rec->err);

	*ret_made = r == 0 && !ino;
	if (r < 0 || ino || rec->told[d])
		return r;
	r = tell_directory(rec, rec->l->plan->dirs[d].parent, &up);
	if (r == 0)
		r = side_of(rec, rec->l->plan->view, rec->l->plan->dirs[d].ino, &side);
	if (r == 0)
		r = set_path(rec, d, "", 0);
	if (r == 0)
		r = add_row(rec, CHANGE_MAKE, up, &nothing, &side);
	if (r == 0)
		r = mark_taken(rec, d);
	rec->told[d] = true;
	return r;
}

static int made(struct recording *rec, uint32_t d, const char *name, size_t len, uint64_t ino)
{
	const struct change_side nothing = { 0 };
	struct change_side side;
	bool inside;
	int r = tell_directory(rec, d, &inside);

	if (r == 0)
		r = side_of(rec, rec->l->plan->view, ino, &side);
	if (r == 0)
		r = set_path(rec, d, name, len);
	return r == 0 ? add_row(rec, CHANGE_MAKE, inside, &nothing, &side) : r;
}

/* --- what is another file without the component -------------------------------------------------- */

static int write_text(struct recording *rec, int dir, const char *name, const struct version *v, const struct change_side *side)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { side->mtime_sec, side->mtime_nsec } };
	_cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : pwrite_full(fd, v->text.data, v->text.len, 0);
	char to[64];

	snprintf(to, sizeof(to), "/proc/self/fd/%d/%s", dir, name);
	if (r == 0 && fchown(fd, side->uid, side->gid) < 0)
		r = -errno;
	if (r == 0 && v->c.xattrs_digest)
		r = attrs_of_view(v->view, v->ino, NULL, rec->l->o->lossy, to, rec->err);
	if (r == 0 && (fchmod(fd, side->mode & 07777) < 0 || futimens(fd, times) < 0))
		r = -errno;
	return r < 0 ? fail(rec, r, "keep a file that was merged") : 0;
}

static int write_version(struct recording *rec, int dir, const char *name, const struct version *v,
			 const struct change_side *side)
{
	switch (side->mode & S_IFMT) {
	case S_IFREG:
		return write_text(rec, dir, name, v, side);
	case S_IFLNK: {
		const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { side->mtime_sec, side->mtime_nsec } };

		if (symlinkat((const char *)v->text.data, dir, name) < 0 ||
		    fchownat(dir, name, side->uid, side->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		    utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
			return fail(rec, -errno, "keep a symlink");
	}
	}
	return 0;
}

/* What is too large to be merged is not kept. */
static bool can_keep(const struct version *v)
{
	return !v->there || S_ISLNK(v->c.mode) || (S_ISREG(v->c.mode) && v->c.size <= MERGE_FILE_MAX);
}

/* By size and time alone two versions can be the same: each has lines of its own, as long as the other's. */
static void set_digest(const struct version *v, struct change_side *side)
{
	if (S_ISREG(side->mode))
		xxh128_once(v->text.data, v->text.len, side->digest);
}

/* Both versions, which can be, are kept; so a later change of the one in place does not cost what the component can be taken
 * out by. */
static int keep_both(struct recording *rec, struct version *with, struct version *without, const char *path,
		     struct change_side *after, struct change_side *before)
{
	char name[16];
	int r = version_load(with, path, NULL, rec->err);

	if (r == 0)
		r = version_load(without, path, NULL, rec->err);
	if (r < 0)
		return r;
	set_digest(with, after);
	set_digest(without, before);
	snprintf(name, sizeof(name), "%zu", rec->c.n);
	r = write_version(rec, with->there ? rec->fresh : rec->old, name, without, before);
	if (r == 0 && with->there && S_ISREG(after->mode))
		r = write_text(rec, rec->with, name, with, after);
	return r;
}

/* What @view has at the path; nothing is an answer too. */
static int find_of(struct recording *rec, struct ply_view *view, uint64_t *dirs, const struct plan_special *s,
		   struct version *ret)
{
	uint64_t dir, ino = 0;
	int r = subset_dir(rec->l, view, dirs, s->dir, &dir, rec->err);

	if (r == 0)
		r = version_find(view, dir, s->name, s->name_len, &ino, rec->err);
	return r < 0 || !ino ? r : version_of_view(view, ino, NULL, ret, rec->err);
}

/* --- what several components have to do with ------------------------------------------------------ */

/* Of one path, whose row has these flags, and goes back to @os with the last of the components. */
struct sharing {
	unsigned flags;
	struct change_part own;
	struct version *os;
};

/* 1, 0. */
static int same_file(struct recording *rec, struct version *a, struct version *b, const char *path)
{
	return a->there && b->there ? version_compare(a, b, path, rec->err) : 0;
}

/* Is what the component brings but a part of what is there? 1, 0. */
static int has_part(struct recording *rec, struct version *own, struct version *with, const char *path,
		    struct change_part *ret)
{
	int r;

	if (!own->there || !S_ISREG(own->c.mode) || !S_ISREG(with->c.mode) || !can_keep(own) || !can_keep(with) ||
	    !own->c.size || own->c.size >= with->c.size)
		return 0;
	r = version_load(own, path, NULL, rec->err);
	if (r == 0)
		r = version_load(with, path, NULL, rec->err);
	if (r < 0)
		return r;
	part_of((struct span){ own->c.text, own->c.len }, ret);
	return part_find((struct span){ with->c.text, with->c.len }, ret) != SIZE_MAX;
}

/* What a driver merges is known by its records. @same: with the component and without it is the same file. */
static int look_sharing(struct recording *rec, const char *path, struct version *with, struct version *without,
			struct version *own, bool same, struct sharing *sh)
{
	struct version *os = sh->os;
	int r;

	if (merge_driver_for(path) || with->c.nlink > 1 || own->c.nlink > 1 || !can_keep(os))
		return 0;
	r = os->there ? 0 : has_part(rec, own, with, path, &sh->own);
	if (r > 0)
		sh->flags = CHANGE_SHARED | CHANGE_PART;
	/* one alone, or all of them, have it */
	if (r == 0)
		r = same ? 1 : same_file(rec, os, without, path);
	if (r != 0)
		return MIN(r, 0);
	r = same_file(rec, own, with, path);
	if (r >= 0)
		sh->flags = CHANGE_SHARED | (r ? CHANGE_WINS : 0u);
	return MIN(r, 0);
}

/* Of the row that is added next. */
static int begin_shared(struct recording *rec, const struct sharing *sh, const struct plan_special *s)
{
	bool up;
	int r;

	if (!(sh->flags & CHANGE_SHARED) || sh->os->there)
		return 0;
	r = tell_directory(rec, s->dir, &up);
	return r == 0 ? set_path(rec, s->dir, s->name, s->name_len) : r;
}

static int keep_was(struct recording *rec, struct version *os, uint32_t n, const char *path, struct change_side *ret)
{
	char name[16];
	int r = rec->was < 0 ? make_dir(rec, rec->at, "was", &rec->was) : 0;

	if (r == 0)
		r = version_load(os, path, NULL, rec->err);
	if (r == 0)
		r = side_of(rec, rec->os, os->ino, ret);
	if (r < 0)
		return r;
	set_digest(os, ret);
	snprintf(name, sizeof(name), "%u", n);
	return write_version(rec, rec->was, name, os, ret);
}

/* Of the row that was added last. */
static int end_shared(struct recording *rec, const struct sharing *sh, const char *path)
{
	struct change *row = &rec->c.v[rec->c.n - 1];
	struct change_more more = { .own = sh->own };
	int r = sh->flags & CHANGE_SHARED && sh->os->there ? keep_was(rec, sh->os, row->n, path, &more.was) : 0;

	if (r == 0 && sh->flags && change_set_more(row, sh->flags, &more) < 0)
		r = ply_fail_nomem(rec->err);
	return r;
}

/* Else those that files have are not those of the image. */
static bool holds_attrs(const struct layout *l)
{
	bool lacks = false;

	for (int f = FIELD_XATTR_USER; f <= FIELD_CAPABILITY; f++)
		lacks |= l->limits.lacks[f];
	return !lacks;
}

/* Of files, whose attributes belong to what is kept. */
static bool other_attrs(const struct recording *rec, const struct version *with, const struct version *without)
{
	return S_ISREG(with->c.mode) && S_ISREG(without->c.mode) && can_keep(with) && can_keep(without) &&
	       holds_attrs(rec->l) && !version_same_xattrs(with, without);
}

/* By attributes alone two versions can differ. 1: as they are kept they do not: they are not kept then. */
static int look_kept(struct recording *rec, struct change_side *after, struct change_side *before)
{
	struct change_side a, b;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "%zu", rec->c.n);
	r = change_look(rec->with, name, &a);
	if (r == 0)
		r = change_look(rec->fresh, name, &b);
	if (r < 0)
		return fail(rec, r, "look at a file that was merged");
	memcpy(after->xattrs, a.xattrs, sizeof(a.xattrs));
	memcpy(before->xattrs, b.xattrs, sizeof(b.xattrs));
	if (!change_same(before, after))
		return 0;
	return unlinkat(rec->with, name, 0) < 0 || unlinkat(rec->fresh, name, 0) < 0 ?
	       fail(rec, -errno, "remove a file that was merged") : 1;
}

/* 1: they are the same. */
static int compare(struct recording *rec, const struct plan_special *s, struct version *with, struct version *without,
		   struct version *own, const char *path)
{
	_cleanup_version_ struct version os = { 0 };
	struct change_side before = { 0 }, after = { 0 };
	struct sharing sh = { .os = &os };
	bool same_mode = with->c.mode == without->c.mode && with->c.uid == without->c.uid && with->c.gid == without->c.gid;
	int same = same_file(rec, with, without, path);
	int r = MIN(same, 0);

	if (r == 0 && with->there)
		r = side_of(rec, rec->l->plan->view, with->ino, &after);
	if (r == 0)
		r = side_of(rec, rec->without, without->ino, &before);
	if (r < 0)
		return r;
	if (same && !other_attrs(rec, with, without)) {
		if (same_mode || S_ISLNK(after.mode))
			return 1;
		before.mtime_sec = after.mtime_sec;
		before.mtime_nsec = after.mtime_nsec;
		if (change_same(&before, &after))  /* an owner that the target could not be given */
			return 1;
		return add_row(rec, CHANGE_META, false, &before, &after);
	}
	r = find_of(rec, rec->os, rec->os_dirs, s, &os);
	if (r == 0)
		r = look_sharing(rec, path, with, without, own, same, &sh);
	if (r < 0)
		return r;
	if (!can_keep(with) || !can_keep(without)) {
		/* a directory has a row already */
		if (os.there || S_ISDIR(with->c.mode) || !(sh.flags & CHANGE_WINS))
			return 0;
		r = made(rec, s->dir, s->name, s->name_len, with->ino);
		return r == 0 ? end_shared(rec, &sh, path) : r;
	}
	r = begin_shared(rec, &sh, s);
	if (r == 0)
		r = keep_both(rec, with, without, path, &after, &before);
	if (r == 0 && with->there && other_attrs(rec, with, without))
		r = look_kept(rec, &after, &before);
	if (r == 0)
		r = add_row(rec, with->there ? CHANGE_SWAP : CHANGE_OUT, false, &before, &after);
	return r == 0 ? end_shared(rec, &sh, path) : r;
}

/* The operating system has another version than the component, be that in place or not. */
static int shared_change(struct recording *rec, struct ply_view *view, struct version *own, const struct sharing *sh,
			 const char *path)
{
	struct change_side before, after;
	int r = side_of(rec, view, own->ino, &after);

	if (r == 0)
		r = side_of(rec, rec->os, sh->os->ino, &before);
	if (r < 0 || !can_keep(own) || !can_keep(sh->os))
		return r;
	r = version_compare(own, sh->os, path, rec->err);
	if (r > 0) {
		before.mtime_sec = after.mtime_sec;
		before.mtime_nsec = after.mtime_nsec;
		memcpy(before.xattrs, after.xattrs, sizeof(before.xattrs));
		return change_same(&before, &after) ? 0 : add_row(rec, CHANGE_META, false, &before, &after);
	}
	if (r == 0)
		r = keep_both(rec, own, sh->os, path, &after, &before);
	if (r == 0)
		r = add_row(rec, CHANGE_SWAP, false, &before, &after);
	return r == 0 ? end_shared(rec, sh, path) : r;
}

/* 1, 0. */
static int same_version(struct recording *rec, struct version *a, struct version *b, const char *path)
{
	if (!a->there || !b->there)
		return a->there == b->there;
	if (a->c.mode != b->c.mode || a->c.uid != b->c.uid || a->c.gid != b->c.gid)
		return 0;
	return version_compare(a, b, path, rec->err);
}

/* Is it what requires the component that changes the file? 1, 0. */
static int is_of_another(struct recording *rec, struct version *with, struct version *without, struct version *own,
			 const char *path)
{
	int r = rec->is_required ? same_version(rec, own, without, path) : 0;

	if (r > 0)
		r = same_version(rec, with, without, path);
	else if (r == 0)
		return 0;
	return r < 0 ? r : !r;
}

/* It has a part in what is there with or without it, or none at all: its own file then is not there. */
static int record_in_place(struct recording *rec, const struct plan_special *s, struct version *with,
			   const struct sharing *sh, const char *path)
{
	struct change_side side;
	int r = side_of(rec, rec->l->plan->view, with->ino, &side);

	if (r == 0)
		r = begin_shared(rec, sh, s);
	if (r == 0 && can_keep(with))
		r = version_load(with, path, NULL, rec->err);
	if (r < 0)
		return r;
	if (can_keep(with))
		set_digest(with, &side);
	r = add_row(rec, CHANGE_KEEP, false, &side, &side);
	return r == 0 ? end_shared(rec, sh, path) : r;
}

/* A decision has given the path to others. */
static int record_lost(struct recording *rec, const struct plan_special *s, struct version *with, struct version *own,
		       struct sharing *sh, const char *path)
{
	const struct change_side nothing = { 0 };
	struct change_side side;
	bool inside;
	int r;

	sh->flags = CHANGE_SHARED | CHANGE_LOST;
	if (!can_keep(sh->os))
		return 0;
	if (!can_keep(own) || !can_keep(with))
		return record_in_place(rec, s, with, sh, path);
	if (sh->os->there)
		return shared_change(rec, rec->alone, own, sh, path);
	r = tell_directory(rec, s->dir, &inside);
	if (r == 0)
		r = side_of(rec, rec->alone, own->ino, &side);
	if (r == 0)
		r = version_load(own, path, NULL, rec->err);
	if (r == 0)
		r = set_path(rec, s->dir, s->name, s->name_len);
	if (r < 0)
		return r;
	set_digest(own, &side);
	r = add_row(rec, CHANGE_MAKE, inside, &nothing, &side);
	return r == 0 ? end_shared(rec, sh, path) : r;
}

/* A decision has put a directory in the place of the component's file. */
static int record_lost_to_directory(struct recording *rec, const struct plan_special *s, struct version *with,
				    const char *path)
{
	_cleanup_version_ struct version os = { 0 };
	struct sharing sh = { .os = &os, .flags = CHANGE_SHARED | CHANGE_LOST };
	int r = find_of(rec, rec->os, rec->os_dirs, s, &os);

	/* where the operating system has it, what takes that away tells */
	return r < 0 || os.there ? r : record_in_place(rec, s, with, &sh, path);
}

/* What others bring just so is of each of them: the last to go takes it along. Of several names of a file only some may be
 * the component's. */
static int record_shared(struct recording *rec, const struct plan_special *s, struct version *with, struct version *own,
			 const char *path)
{
	_cleanup_version_ struct version os = { 0 };
	struct sharing sh = { .os = &os };
	bool same;
	int r;

	if (S_ISDIR(with->c.mode))
		return own->there && !S_ISDIR(own->c.mode) ? record_lost_to_directory(rec, s, with, path) : 0;
	if (with->c.nlink > 1 || own->c.nlink > 1 || !own->there)
		return 0;
	r = same_file(rec, own, with, path);
	same = r > 0;
	if (r == 0 && (merge_driver_for(path) || S_ISDIR(own->c.mode)))
		return 0;
	if (r >= 0)
		r = find_of(rec, rec->os, rec->os_dirs, s, &os);
	if (r < 0)
		return r;
	if (same)
		return os.there ? shared_change(rec, rec->l->plan->view, with, &sh, path) :
				  made(rec, s->dir, s->name, s->name_len, with->ino);
	r = same_file(rec, own, &os, path);
	if (r != 0)
		return MIN(r, 0);
	r = os.there ? 0 : has_part(rec, own, with, path, &sh.own);
	if (r > 0)
		sh.flags = CHANGE_SHARED | CHANGE_PART;
	if (r < 0)
		return r;
	return sh.flags ? record_in_place(rec, s, with, &sh, path) : record_lost(rec, s, with, own, &sh, path);
}

/* The operating system has it, and this one takes it away, as others do. */
static int record_deleted(struct recording *rec, const struct plan_special *s, const char *path)
{
	_cleanup_version_ struct version os = { 0 };
	struct version gone = { 0 };
	struct change_side before, nothing = { 0 };
	int r = find_of(rec, rec->os, rec->os_dirs, s, &os);

	if (r < 0 || !os.there || S_ISDIR(os.c.mode) || !can_keep(&os))
		return r;
	r = side_of(rec, rec->os, os.ino, &before);
	if (r == 0)
		r = set_path(rec, s->dir, s->name, s->name_len);
	if (r == 0)
		r = keep_both(rec, &gone, &os, path, &nothing, &before);
	return r == 0 ? add_row(rec, CHANGE_OUT, false, &before, &nothing) : r;
}

static int record_both(struct recording *rec, const struct plan_special *s, struct version *with, struct version *own,
		       uint64_t other, const char *path)
{
	_cleanup_version_ struct version without = { 0 };
	int r = version_of_view(rec->without, other, NULL, &without, rec->err);

	if (r == 0)
		r = is_of_another(rec, with, &without, own, path);
	if (r != 0)
		return MIN(r, 0);
	r = compare(rec, s, with, &without, own, path);
	return r > 0 ? record_shared(rec, s, with, own, path) : r;
}

/* Of what is hidden: has the component anything to do with it? @there: in just one of the selections with and without it. */
static int is_involved(struct recording *rec, const struct plan_special *s, bool there)
{
	const uint32_t n = rec->l->plan->nsubs;
	_cleanup_free_ uint32_t *of = NULL;
	uint64_t dir, ino = 0;
	bool in = false;
	int r, k;

	if (there)
		return 1;
	r = subset_dir(rec->l, rec->alone, rec->alone_dirs, s->dir, &dir, rec->err);
	if (r == 0)
		r = version_find(rec->alone, dir, s->name, s->name_len, &ino, rec->err);
	if (r < 0)
		return r;
	if (!ino) {                /* it may be what takes it away */
		r = subset_dir(rec->l, rec->os, rec->os_dirs, s->dir, &dir, rec->err);
		if (r == 0)
			r = version_find(rec->os, dir, s->name, s->name_len, &ino, rec->err);
		return r < 0 ? r : ino != 0;
	}
	of = calloc(n, sizeof(*of));
	k = of ? ply_view_origin(rec->alone, ino, of, n, rec->err) : ply_fail_nomem(rec->err);
	for (int i = 0; i < k; i++)
		in |= of[i] == ply_view_sub(rec->l->plan->view, rec->sub);
	return k < 0 ? k : in;
}

static int record_special(struct recording *rec, const struct plan_special *s)
{
	_cleanup_version_ struct version with = { 0 }, own = { 0 };
	_cleanup_free_ char *path = NULL;
	uint64_t dir, ino, other;
	int r = subset_dir(rec->l, rec->without, rec->dirs, s->dir, &dir, rec->err);

	if (r == 0)
		r = version_find(rec->l->plan->view, rec->l->plan->dirs[s->dir].ino, s->name, s->name_len, &ino, rec->err);
	if (r == 0)
		r = version_find(rec->without, dir, s->name, s->name_len, &other, rec->err);
	if (r == 0 && s->hidden) {
		r = is_involved(rec, s, !ino != !other);
		if (r == 0)
			return 0;
	}
	if (r >= 0)
		r = set_path(rec, s->dir, s->name, s->name_len);
	if (r < 0)
		return r;
	if (asprintf(&path, "/%s", (char *)rec->path.data) < 0) {
		path = NULL;
		return ply_fail_nomem(rec->err);
	}
	r = find_of(rec, rec->alone, rec->alone_dirs, s, &own);
	if (r < 0)
		return r;
	if (!ino && !other)
		return own.there || rec->is_required ? 0 : record_deleted(rec, s, path);
	/* what requires this one has made it */
	if (!other && !own.there && rec->is_required)
		return 0;
	if (!other)
		return made(rec, s->dir, s->name, s->name_len, ino);
	if (ino)
		r = version_of_view(rec->l->plan->view, ino, NULL, &with, rec->err);
	return r == 0 ? record_both(rec, s, &with, &own, other, path) : r;
}

/* --- what it has itself -------------------------------------------------------------------------------- */

static bool is_special(const struct plan *p, uint32_t dir, const char *name, size_t len)
{
	size_t lo = 0, hi = p->nspecials;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct plan_special *s = &p->specials[mid];
		int r = s->dir != dir ? (s->dir < dir ? -1 : 1) : memcmp(s->name, name, MIN(s->name_len, len));

		if (r == 0)
			r = (int)s->name_len - (int)len;
		if (r == 0)
			return true;
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static int record_own(struct recording *rec, const struct where *w)
{
	struct plan *p = rec->l->plan;
	char own[PLY_NAME_MAX];
	uint64_t dir, ino, other = 0;
	struct ply_entry e;
	const char *name;
	size_t len;
	int r = sub_entry(p->subs[w->sub].sub, w->at, &e, rec->err);

	if (r < 0 || e.type == S_IFDIR >> 12 || p->dirs[w->dir].left_out)
		return r;
	r = plan_entry_name(p, w, &e, own, &name, &len, rec->err);
	if (r == 0 && is_special(p, w->dir, name, len))
		return 0;
	if (r == 0)
		r = subset_dir(rec->l, rec->without, rec->dirs, w->dir, &dir, rec->err);
	if (r == 0 && dir)
		r = version_find(rec->without, dir, name, len, &other, rec->err);
	if (r == 0)
		r = view_node_ino(p->view, w->sub, PLY_INO_INDEX(e.ref), &ino, rec->err);
	if (r < 0)
		return r;
	if (!other)
		return made(rec, w->dir, name, len, ino);
	return record_special(rec, &(struct plan_special){ .dir = w->dir, .name = name, .name_len = (uint8_t)len });
}

/* --- one component ----------------------------------------------------------------------------------------- */

/* @path is cut where its directory ends; NULL: the row of that directory is not there. */
static struct change *find_parent(const struct changes *c, char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
	return slash ? (struct change *)changes_find(c, path) : NULL;
}

/* A directory with a file that other components have, too, is theirs as much: it stays when this one goes. */
static int give_up_directories(struct changes *c)
{
	size_t to = 0;

	for (size_t i = 0; i < c->n; i++) {
		_cleanup_free_ char *path = strdup(c->v[i].path);

		if (!path)
			return -ENOMEM;
		if (c->v[i].kind != CHANGE_MAKE && !(c->v[i].flags & CHANGE_SHARED))
			for (struct change *up; (up = find_parent(c, path));)
				up->kind = up->kind == CHANGE_MAKE ? 0 : up->kind;
	}
	for (size_t i = 0; i < c->n; i++) {
		if (c->v[i].kind)
			c->v[to++] = c->v[i];
		else
			change_done(&c->v[i]);
	}
	c->n = to;
	for (size_t i = 0; i < c->n; i++) {
		_cleanup_free_ char *path = strdup(c->v[i].path);
		const struct change *up;

		if (!path)
			return -ENOMEM;
		c->v[i].flags &= (uint8_t)~CHANGE_INSIDE;
		if (c->v[i].kind == CHANGE_MAKE && (up = find_parent(c, path)) && up->kind == CHANGE_MAKE)
			c->v[i].flags |= CHANGE_INSIDE;
	}
	return 0;
}

/* Numbers of rows are without gaps; files are called by them. */
static int renumber(struct recording *rec, struct changes *c)
{
	const int dirs[] = { rec->fresh, rec->old, rec->with, rec->was };

	for (size_t i = 0; i < c->n; i++) {
		char from[24], to[24];

		snprintf(from, sizeof(from), "%u", c->v[i].n);
		snprintf(to, sizeof(to), "n%zu", i);
		for (size_t k = 0; c->v[i].kind != CHANGE_MAKE && k < ARRAY_SIZE(dirs); k++)
			if (dirs[k] >= 0 && renameat(dirs[k], from, dirs[k], to) < 0 && errno != ENOENT)
				return fail(rec, -errno, "rename a file that was kept");
		c->v[i].n = (uint32_t)i;
	}
	for (size_t i = 0; i < c->n; i++) {
		char from[24], to[24];

		snprintf(from, sizeof(from), "n%zu", i);
		snprintf(to, sizeof(to), "%zu", i);
		for (size_t k = 0; c->v[i].kind != CHANGE_MAKE && k < ARRAY_SIZE(dirs); k++)
			if (dirs[k] >= 0 && renameat(dirs[k], from, dirs[k], to) < 0 && errno != ENOENT)
				return fail(rec, -errno, "rename a file that was kept");
	}
	return 0;
}

static int put_table(struct recording *rec)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	_cleanup_close_ int fd = -1;
	size_t n;
	int r = update_describe(&rec->c, ply_view_image(rec->l->plan->view), rec->name, rec->err);

	if (r < 0)
		return r;
	changes_sort(&rec->c);
	n = rec->c.n;
	if (give_up_directories(&rec->c) < 0)
		return ply_fail_nomem(rec->err);
	r = rec->c.n != n ? renumber(rec, &rec->c) : 0;
	if (r < 0)
		return r;
	r = changes_encode(&rec->c, &bytes, rec->err);
	if (r < 0)
		return r;
	fd = openat(rec->at, "table", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : pwrite_full(fd, bytes.data, bytes.len, 0);
	return r < 0 ? fail(rec, r, "write its table") : 0;
}

/* Directories with nothing in them stand in no part. */
static int record_directories(struct recording *rec)
{
	const struct plan *p = rec->l->plan;
	_cleanup_free_ uint32_t *of = calloc(p->nsubs, sizeof(*of));
	int r = of ? 0 : ply_fail_nomem(rec->err);

	for (uint32_t d = 1; r == 0 && d < p->ndirs; d++) {
		bool made = false;
		uint64_t ino;
		int n;

		r = p->dirs[d].left_out ? 0 : subset_dir(rec->l, rec->os, rec->os_dirs, d, &ino, rec->err);
		if (r < 0 || p->dirs[d].left_out || ino)
			continue;
		n = ply_view_origin(p->view, p->dirs[d].ino, of, p->nsubs, rec->err);
		for (int i = 0; i < n && !made; i++)
			made = of[i] == ply_view_sub(p->view, rec->sub);
		r = n < 0 ? n : made ? tell_directory(rec, d, &made) : 0;
	}
	return r;
}

/* Those of a directory: what it is to get when the component goes, and how they are known. */
static int keep_attrs(struct recording *rec, const struct version *v, int dir, struct change_side *side)
{
	struct change_side is;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "%zu", rec->c.n);
	r = attrs_carrier(dir, name, NULL, side->mode, v->view, v->ino, NULL, rec->l->o->lossy, rec->err);
	if (r == 0)
		r = change_look(dir, name, &is);
	if (r == 0)
		memcpy(side->xattrs, is.xattrs, sizeof(side->xattrs));
	return r < 0 && !rec->err->code ? fail(rec, r, "keep the extended attributes of a directory") : r;
}

/* --- directories that go with what is in them ------------------------------------------------------ */

struct going {
	struct recording *rec;
	const char *path;          /* of the directory, without a slash in front */
	int result;
};

static int record_going(struct recording *rec, const char *path, uint64_t ino);

static int look_going(void *ctx, const struct ply_dirent *de)
{
	struct going *g = ctx;
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%.*s", g->path, (int)de->len, de->name) < 0) {
		path = NULL;
		g->result = ply_fail_nomem(g->rec->err);
	} else {
		g->result = record_going(g->rec, path, de->ino);
	}
	return g->result;
}

/* What is at @path in the selection without the component, and not with it. What is too large to be kept cannot come back. */
static int record_going(struct recording *rec, const char *path, uint64_t ino)
{
	struct version gone = { 0 };
	struct change_side nothing = { 0 }, side;
	_cleanup_version_ struct version v = { 0 };
	struct going g = { .rec = rec, .path = path };
	int r = version_of_view(rec->without, ino, NULL, &v, rec->err);

	if (r == 0)
		r = side_of(rec, rec->without, ino, &side);
	if (r == 0 && S_ISDIR(side.mode)) {
		r = ply_view_readdir(rec->without, ino, 0, look_going, &g, rec->err);
		r = r < 0 ? r : g.result;
		if (r == 0)
			r = keep_attrs(rec, &v, rec->old, &side);
	} else if (r == 0 && !can_keep(&v)) {
		return 0;
	} else if (r == 0) {
		r = keep_both(rec, &gone, &v, path, &nothing, &side);
	}
	rec->path.len = 0;
	if (r == 0 && buf_add(&rec->path, path, strlen(path) + 1) < 0)
		r = ply_fail_nomem(rec->err);
	return r == 0 ? add_row(rec, CHANGE_OUT, false, &side, &nothing) : r;
}

/* The component, and not one that requires it, takes it away. */
static int record_gone_directory(struct recording *rec, const struct plan_special *s, uint64_t ino)
{
	_cleanup_free_ char *path = NULL;
	uint64_t dir, own = 0;
	int r = subset_dir(rec->l, rec->alone, rec->alone_dirs, s->dir, &dir, rec->err);

	if (r == 0)
		r = version_find(rec->alone, dir, s->name, s->name_len, &own, rec->err);
	if (r == 0)
		r = set_path(rec, s->dir, s->name, s->name_len);
	if (r < 0 || own)
		return r;
	path = strdup((char *)rec->path.data);
	return path ? record_going(rec, path, ino) : ply_fail_nomem(rec->err);
}

struct deleted {
	struct recording *rec;
	uint32_t dir;              /* of the plan */
	int result;
};

/* A name that is there without the component only: the plan knows nothing of it. */
static int look_deleted(void *ctx, const struct ply_dirent *de)
{
	struct deleted *x = ctx;
	struct recording *rec = x->rec;
	const struct plan *p = rec->l->plan;
	const struct plan_special s = { .dir = x->dir, .name = de->name, .name_len = (uint8_t)de->len };
	uint64_t ino;

	if (de->type != S_IFDIR >> 12 && is_special(p, x->dir, de->name, de->len))
		return 0;
	x->result = version_find(p->view, p->dirs[x->dir].ino, s.name, s.name_len, &ino, rec->err);
	if (x->result == 0 && !ino)
		x->result = de->type == S_IFDIR >> 12 ? record_gone_directory(rec, &s, de->ino) : record_special(rec, &s);
	return x->result;
}

/* A directory of one selection; version.there: it has it. */
struct dir_of {
	struct version version;
	struct change_side side;
};

static int look_dir(struct recording *rec, struct ply_view *view, uint64_t ino, struct dir_of *ret)
{
	int r = ino ? side_of(rec, view, ino, &ret->side) : 0;

	return r == 0 && ino ? version_of_view(view, ino, NULL, &ret->version, rec->err) : r;
}

static bool same_attr(const struct recording *rec, const struct dir_of *a, const struct dir_of *b, enum change_attr attr)
{
	const struct version *x = &a->version, *y = &b->version;

	if (attr == CHANGE_MODE)
		return x->c.mode == y->c.mode;
	if (attr == CHANGE_OWNER)
		return x->c.uid == y->c.uid && x->c.gid == y->c.gid;
	return version_same_xattrs(x, y) || !holds_attrs(rec->l);
}

/* An owner may be the same, but one that the target could not be given. */
static void take_attr(struct change_side *to, const struct dir_of *with, const struct dir_of *from, enum change_attr attr)
{
	const struct change_side is = *to;

	change_take_attr(to, &from->side, attr);
	if (from->version.c.uid == with->version.c.uid)
		to->uid = is.uid;
	if (from->version.c.gid == with->version.c.gid)
		to->gid = is.gid;
}

/* Each attribute goes back by itself: to what it is without the component, or, where others change it just so, to what the
 * operating system has: with the last of them. */
static int record_attrs(struct recording *rec, uint32_t d, const struct dir_of *with, const struct dir_of *without,
			const struct dir_of *own, const struct dir_of *os)
{
	struct change_side before = with->side, after = with->side;
	const struct dir_of *attrs_of = NULL;
	int r = 0;

	for (int attr = 0; attr < CHANGE_ATTRS; attr++) {
		const struct dir_of *from = without;

		if (same_attr(rec, with, without, attr))
			from = os;
		if (from == os && (!own->version.there || !os->version.there || !same_attr(rec, own, with, attr) ||
				   same_attr(rec, own, os, attr)))
			continue;
		take_attr(&before, with, from, attr);
		if (attr == CHANGE_XATTRS)
			attrs_of = from;
	}
	if (attrs_of)
		r = keep_attrs(rec, &attrs_of->version, rec->old, &before);
	if (r == 0 && attrs_of)
		r = keep_attrs(rec, &with->version, rec->fresh, &after);
	if (r == 0)
		r = set_path(rec, d, "", 0);
	return r < 0 || change_same(&before, &after) ? r : add_row(rec, CHANGE_META, false, &before, &after);
}

/* A directory that is there without the component too, as @other. */
static int record_directory(struct recording *rec, uint32_t d, uint64_t other)
{
	struct dir_of with = { 0 }, without = { 0 }, own = { 0 }, os = { 0 };
	uint64_t own_ino = 0, os_ino = 0;
	int r;

	if (rec->told[d])
		return 0;
	r = subset_dir(rec->l, rec->alone, rec->alone_dirs, d, &own_ino, rec->err);
	if (r == 0)
		r = subset_dir(rec->l, rec->os, rec->os_dirs, d, &os_ino, rec->err);
	if (r == 0)
		r = look_dir(rec, rec->l->plan->view, rec->l->plan->dirs[d].ino, &with);
	if (r == 0)
		r = look_dir(rec, rec->without, other, &without);
	if (r == 0)
		r = look_dir(rec, rec->alone, own_ino, &own);
	if (r == 0)
		r = look_dir(rec, rec->os, os_ino, &os);
	if (r == 0)
		r = record_attrs(rec, d, &with, &without, &own, &os);
	version_done(&with.version);
	version_done(&without.version);
	version_done(&own.version);
	version_done(&os.version);
	return r;
}

/* Only what stands on others can delete what they have, and change their directories. */
static int record_on_others(struct recording *rec)
{
	const struct plan *p = rec->l->plan;
	int r = 0;

	for (uint32_t d = 0; r == 0 && subset_info(rec->l, rec->sub)->nstands_on && d < p->ndirs; d++) {
		struct deleted x = { .rec = rec, .dir = d };
		uint64_t ino = 0;

		r = p->dirs[d].left_out ? 0 : subset_dir(rec->l, rec->without, rec->dirs, d, &ino, rec->err);
		if (r == 0 && ino)
			r = ply_view_readdir(rec->without, ino, 0, look_deleted, &x, rec->err);
		r = r < 0 ? r : x.result;
		if (r == 0 && ino && d)
			r = record_directory(rec, d, ino);
	}
	return r;
}

static int record_rows(struct recording *rec)
{
	const struct plan *p = rec->l->plan;
	const struct plan_sub *ps = &p->subs[rec->sub];
	int r = record_directories(rec);

	for (size_t k = 0; r == 0 && k < ps->nparts; k++)
		for (uint64_t at = ps->parts[k].first; r == 0 && at < ps->parts[k].end; at++)
			r = record_own(rec, &(struct where){ .at = at, .dir = ps->parts[k].dir, .sub = rec->sub });
	for (size_t i = 0; r == 0 && i < p->nspecials; i++)
		r = record_special(rec, &p->specials[i]);
	return r == 0 ? record_on_others(rec) : r;
}

/* Of @stays the component and what it requires, by whatever way. */
static void stay_alone(const struct recording *rec, bool *stays)
{
	const uint32_t n = rec->l->plan->nsubs;

	memset(stays, 0, n * sizeof(*stays));
	stays[0] = stays[rec->sub] = true;
	for (uint32_t i = n; i-- > 0;) {   /* what is required has a lower rank */
		const struct ply_sub_info *info = subset_info(rec->l, i);

		for (uint32_t j = 0; stays[i] && j < i; j++) {
			const char *name = subset_info(rec->l, j)->name;

			for (uint32_t k = 0; k < info->nrequires; k++)
				stays[j] |= !strcmp(info->requires[k], name);
			for (uint32_t k = 0; k < info->nstands_on; k++)
				stays[j] |= !strcmp(info->stands_on[k], name);
		}
	}
}

static int record_one(struct recording *rec, int merge)
{
	struct plan *p = rec->l->plan;
	_cleanup_free_ bool *stays = calloc(p->nsubs, sizeof(*stays));
	int r;

	rec->dirs = subset_dirs(rec->l);
	rec->told = calloc(p->ndirs, sizeof(*rec->told));
	rec->alone_dirs = subset_dirs(rec->l);
	if (!stays || !rec->dirs || !rec->told || !rec->alone_dirs)
		return ply_fail_nomem(rec->err);
	for (uint32_t i = 0; i < p->nsubs; i++)
		stays[i] = i != rec->sub;
	subset_close(rec->l, stays);
	for (uint32_t i = 0; i < p->nsubs; i++)
		rec->is_required |= !stays[i] && i != rec->sub;
	r = subset_open(rec->l, stays, &rec->without, rec->err);
	stay_alone(rec, stays);
	if (r == 0)
		r = subset_open(rec->l, stays, &rec->alone, rec->err);
	if (r == 0)
		r = make_dir(rec, merge, rec->name, &rec->at);
	if (r == 0)
		r = make_dir(rec, rec->at, "new", &rec->fresh);
	if (r == 0)
		r = make_dir(rec, rec->at, "old", &rec->old);
	if (r == 0)
		r = make_dir(rec, rec->at, "with", &rec->with);
	if (r == 0)
		r = record_rows(rec);
	return r == 0 ? put_table(rec) : r;
}

static void record_done(struct recording *rec)
{
	const int fds[] = { rec->at, rec->fresh, rec->old, rec->with, rec->was };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	ply_view_close(rec->without);
	ply_view_close(rec->alone);
	changes_done(&rec->c);
	buf_done(&rec->path);
	free(rec->dirs);
	free(rec->alone_dirs);
	free(rec->told);
}

static bool can_tell(const struct layout *l)
{
	static const enum layout_field needed[] = { FIELD_MODE, FIELD_TIME_RANGE, FIELD_TIME_NS, FIELD_SYMLINK };

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (l->limits.lacks[needed[i]])
			return false;
	return l->plan->nsubs > 1 && l->plan->nsubs <= RECORD_SUBS;
}

static int record_components(struct layout *l, struct ply_err *err)
{
	_cleanup_free_ uint64_t *os_dirs = subset_dirs(l);
	_cleanup_free_ bool *os_only = calloc(l->plan->nsubs, sizeof(*os_only));
	struct recording first = { .l = l, .name = "", .err = err };
	struct ply_view *os = NULL;
	int merge = -1, r;

	if (!os_dirs || !os_only)
		return ply_fail_nomem(err);
	os_only[0] = true;
	r = update_remove_tree(l->state.dir, "merge");
	if (r < 0)
		return fail(&first, r, "remove");
	if (!can_tell(l))
		return 0;
	r = make_dir(&first, l->state.dir, "merge", &merge);
	if (r == 0)
		r = subset_open(l, os_only, &os, err);
	for (uint32_t i = 1; r == 0 && i < l->plan->nsubs && !atomic_load(&l->stop); i++) {
		struct recording rec = { .l = l, .sub = i, .name = subset_info(l, i)->name, .os = os, .os_dirs = os_dirs,
				      .at = -1, .fresh = -1, .old = -1, .with = -1, .was = -1, .err = err };

		r = record_one(&rec, merge);
		record_done(&rec);
	}
	ply_view_close(os);
	cleanup_close(&merge);
	return r;
}

/* --- beside the streams ------------------------------------------------------------------------------------ */

struct recorder {
	struct layout *l;
	pthread_t thread;
	struct ply_err err;        /* of this thread, until it has ended; as is what comes next */
	int result;
};

static void *record_main(void *arg)
{
	struct recorder *rec = arg;

	handover("record");
	rec->result = record_components(rec->l, &rec->err);
	return NULL;
}

void record_begin(struct layout *l)
{
	struct recorder *rec = l->o->streams > 1 ? calloc(1, sizeof(*rec)) : NULL;

	if (!rec)
		return;
	rec->l = l;
	if (pthread_create(&rec->thread, NULL, record_main, rec) == 0)
		l->recorder = rec;
	else
		free(rec);
}

int record_end(struct layout *l, struct ply_err *err)
{
	_cleanup_free_ struct recorder *rec = TAKE_PTR(l->recorder);

	if (!rec)
		return record_components(l, err);
	pthread_join(rec->thread, NULL);
	*err = rec->err;
	return rec->result;
}
