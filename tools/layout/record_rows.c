/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rows of a component's table, and what lies beside it: the versions of a file that it changes, by which it can be taken out
 * again when somebody has changed the file since.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/util.h"
#include "codec/codec.h"
#include "layout/attrs.h"
#include "layout/record_impl.h"
#include "layout/statedir.h"

int record_fail(struct recording *rec, int code, const char *what)
{
	return ply_fail(rec->err, code, code == -ENOSPC || code == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE,
			"%s/var/lib/plyfs/merge/%s: cannot %s: %s", rec->l->target->path, rec->name, what, strerror(-code));
}

int record_make_dir(struct recording *rec, int at, const char *name, int *ret)
{
	*ret = statedir_make(at, name, 0700);
	return *ret < 0 ? record_fail(rec, *ret, "create") : 0;
}

/* --- sides ------------------------------------------------------------------------------------- */

/* What the layout has made of inode @ino of @view; of the plan's view as the plan has it. */
int record_side(struct recording *rec, struct ply_view *view, uint64_t ino, struct change_side *ret)
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

/* --- rows -------------------------------------------------------------------------------------- */

/* rec->path: that of directory @d, or of a name in it, with a NUL behind. */
int record_set_path(struct recording *rec, uint32_t d, const char *name, size_t len)
{
	return plan_name_path(rec->l->plan, d, name, len, &rec->path) < 0 ? ply_fail_nomem(rec->err) : 0;
}

int record_add_row(struct recording *rec, enum change_kind kind, bool inside, const struct change_side *before,
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
int record_tell_directory(struct recording *rec, uint32_t d, bool *ret_made)
{
	const struct change_side nothing = { 0 };
	struct change_side side;
	bool up = false;
	uint64_t ino;
	int r = subset_dir(rec->l, rec->os, rec->os_dirs, d, &ino, rec->err);

	*ret_made = r == 0 && !ino;
	if (r < 0 || ino || rec->told[d])
		return r;
	r = record_tell_directory(rec, rec->l->plan->dirs[d].parent, &up);
	if (r == 0)
		r = record_side(rec, rec->l->plan->view, rec->l->plan->dirs[d].ino, &side);
	if (r == 0)
		r = record_set_path(rec, d, "", 0);
	if (r == 0)
		r = record_add_row(rec, CHANGE_MAKE, up, &nothing, &side);
	if (r == 0)
		r = mark_taken(rec, d);
	rec->told[d] = true;
	return r;
}

int record_made(struct recording *rec, uint32_t d, const char *name, size_t len, uint64_t ino)
{
	const struct change_side nothing = { 0 };
	struct change_side side;
	bool inside;
	int r = record_tell_directory(rec, d, &inside);

	if (r == 0)
		r = record_side(rec, rec->l->plan->view, ino, &side);
	if (r == 0)
		r = record_set_path(rec, d, name, len);
	return r == 0 ? record_add_row(rec, CHANGE_MAKE, inside, &nothing, &side) : r;
}

/* --- what is kept with them -------------------------------------------------------------------- */

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
	return r < 0 ? record_fail(rec, r, "keep a file that was merged") : 0;
}

int record_write_version(struct recording *rec, int dir, const char *name, const struct version *v,
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
			return record_fail(rec, -errno, "keep a symlink");
	}
	}
	return 0;
}

/* What is too large to be merged is not kept. */
bool record_can_keep(const struct version *v)
{
	return !v->there || S_ISLNK(v->c.mode) || (S_ISREG(v->c.mode) && v->c.size <= MERGE_FILE_MAX);
}

/* By size and time alone two versions can be the same: each has lines of its own, as long as the other's. */
void record_set_digest(const struct version *v, struct change_side *side)
{
	if (S_ISREG(side->mode))
		xxh128_once(v->text.data, v->text.len, side->digest);
}

/* Both versions, which can be, are kept; so a later change of the one in place does not cost what the component can be taken
 * out by. */
int record_keep_both(struct recording *rec, struct version *with, struct version *without, const char *path,
		     struct change_side *after, struct change_side *before)
{
	char name[16];
	int r = version_load(with, path, NULL, rec->err);

	if (r == 0)
		r = version_load(without, path, NULL, rec->err);
	if (r < 0)
		return r;
	record_set_digest(with, after);
	record_set_digest(without, before);
	snprintf(name, sizeof(name), "%zu", rec->c.n);
	r = record_write_version(rec, with->there ? rec->fresh : rec->old, name, without, before);
	if (r == 0 && with->there && S_ISREG(after->mode))
		r = write_text(rec, rec->with, name, with, after);
	return r;
}

/* Else those that files have are not those of the image. */
bool record_holds_attrs(const struct layout *l)
{
	bool lacks = false;

	for (int f = FIELD_XATTR_USER; f <= FIELD_CAPABILITY; f++)
		lacks |= l->limits.lacks[f];
	return !lacks;
}

/* --- what a selection has ---------------------------------------------------------------------- */

/* What @view has at the path; nothing is an answer too. */
int record_find(struct recording *rec, struct ply_view *view, uint64_t *dirs, const struct plan_special *s,
		struct version *ret)
{
	uint64_t dir, ino = 0;
	int r = subset_dir(rec->l, view, dirs, s->dir, &dir, rec->err);

	if (r == 0)
		r = version_find(view, dir, s->name, s->name_len, &ino, rec->err);
	return r < 0 || !ino ? r : version_of_view(view, ino, NULL, ret, rec->err);
}
