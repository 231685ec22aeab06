/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a component has to do with one path that others have to do with, too: its file is there, or a part of it, or
 * another's, or none. That is told by what four selections have there: the one that is laid out, that without the component,
 * the component with what it requires, and the operating system alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "layout/parts.h"
#include "layout/record_impl.h"

/* --- what several components have to do with --------------------------------------------------- */

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

	if (!own->there || !S_ISREG(own->c.mode) || !S_ISREG(with->c.mode) || !record_can_keep(own) ||
	    !record_can_keep(with) || !own->c.size || own->c.size >= with->c.size)
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

	if (merge_driver_for(path) || with->c.nlink > 1 || own->c.nlink > 1 || !record_can_keep(os))
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
	r = record_tell_directory(rec, s->dir, &up);
	return r == 0 ? record_set_path(rec, s->dir, s->name, s->name_len) : r;
}

static int keep_was(struct recording *rec, struct version *os, uint32_t n, const char *path, struct change_side *ret)
{
	char name[16];
	int r = rec->was < 0 ? record_make_dir(rec, rec->at, "was", &rec->was) : 0;

	if (r == 0)
		r = version_load(os, path, NULL, rec->err);
	if (r == 0)
		r = record_side(rec, rec->os, os->ino, ret);
	if (r < 0)
		return r;
	record_set_digest(os, ret);
	snprintf(name, sizeof(name), "%u", n);
	return record_write_version(rec, rec->was, name, os, ret);
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

/* --- what is another file without the component ------------------------------------------------ */

/* Of files, whose attributes belong to what is kept. */
static bool other_attrs(const struct recording *rec, const struct version *with, const struct version *without)
{
	return S_ISREG(with->c.mode) && S_ISREG(without->c.mode) && record_can_keep(with) && record_can_keep(without) &&
	       record_holds_attrs(rec->l) && !version_same_xattrs(with, without);
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
		return record_fail(rec, r, "look at a file that was merged");
	memcpy(after->xattrs, a.xattrs, sizeof(a.xattrs));
	memcpy(before->xattrs, b.xattrs, sizeof(b.xattrs));
	if (!change_same(before, after))
		return 0;
	return unlinkat(rec->with, name, 0) < 0 || unlinkat(rec->fresh, name, 0) < 0 ?
	       record_fail(rec, -errno, "remove a file that was merged") : 1;
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
		r = record_side(rec, rec->l->plan->view, with->ino, &after);
	if (r == 0)
		r = record_side(rec, rec->without, without->ino, &before);
	if (r < 0)
		return r;
	if (same && !other_attrs(rec, with, without)) {
		if (same_mode || S_ISLNK(after.mode))
			return 1;
		before.mtime_sec = after.mtime_sec;
		before.mtime_nsec = after.mtime_nsec;
		if (change_same(&before, &after))  /* an owner that the target could not be given */
			return 1;
		return record_add_row(rec, CHANGE_META, false, &before, &after);
	}
	r = record_find(rec, rec->os, rec->os_dirs, s, &os);
	if (r == 0)
		r = look_sharing(rec, path, with, without, own, same, &sh);
	if (r < 0)
		return r;
	if (!record_can_keep(with) || !record_can_keep(without)) {
		/* a directory has a row already */
		if (os.there || S_ISDIR(with->c.mode) || !(sh.flags & CHANGE_WINS))
			return 0;
		r = record_made(rec, s->dir, s->name, s->name_len, with->ino);
		return r == 0 ? end_shared(rec, &sh, path) : r;
	}
	r = begin_shared(rec, &sh, s);
	if (r == 0)
		r = record_keep_both(rec, with, without, path, &after, &before);
	if (r == 0 && with->there && other_attrs(rec, with, without))
		r = look_kept(rec, &after, &before);
	if (r == 0)
		r = record_add_row(rec, with->there ? CHANGE_SWAP : CHANGE_OUT, false, &before, &after);
	return r == 0 ? end_shared(rec, &sh, path) : r;
}

/* --- what is the same without it --------------------------------------------------------------- */

/* The operating system has another version than the component, be that in place or not. */
static int shared_change(struct recording *rec, struct ply_view *view, struct version *own, const struct sharing *sh,
			 const char *path)
{
	struct change_side before, after;
	int r = record_side(rec, view, own->ino, &after);

	if (r == 0)
		r = record_side(rec, rec->os, sh->os->ino, &before);
	if (r < 0 || !record_can_keep(own) || !record_can_keep(sh->os))
		return r;
	r = version_compare(own, sh->os, path, rec->err);
	if (r > 0) {
		before.mtime_sec = after.mtime_sec;
		before.mtime_nsec = after.mtime_nsec;
		memcpy(before.xattrs, after.xattrs, sizeof(before.xattrs));
		return change_same(&before, &after) ? 0 : record_add_row(rec, CHANGE_META, false, &before, &after);
	}
	if (r == 0)
		r = record_keep_both(rec, own, sh->os, path, &after, &before);
	if (r == 0)
		r = record_add_row(rec, CHANGE_SWAP, false, &before, &after);
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
	int r = record_side(rec, rec->l->plan->view, with->ino, &side);

	if (r == 0)
		r = begin_shared(rec, sh, s);
	if (r == 0 && record_can_keep(with))
		r = version_load(with, path, NULL, rec->err);
	if (r < 0)
		return r;
	if (record_can_keep(with))
		record_set_digest(with, &side);
	r = record_add_row(rec, CHANGE_KEEP, false, &side, &side);
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
	if (!record_can_keep(sh->os))
		return 0;
	if (!record_can_keep(own) || !record_can_keep(with))
		return record_in_place(rec, s, with, sh, path);
	if (sh->os->there)
		return shared_change(rec, rec->alone, own, sh, path);
	r = record_tell_directory(rec, s->dir, &inside);
	if (r == 0)
		r = record_side(rec, rec->alone, own->ino, &side);
	if (r == 0)
		r = version_load(own, path, NULL, rec->err);
	if (r == 0)
		r = record_set_path(rec, s->dir, s->name, s->name_len);
	if (r < 0)
		return r;
	record_set_digest(own, &side);
	r = record_add_row(rec, CHANGE_MAKE, inside, &nothing, &side);
	return r == 0 ? end_shared(rec, sh, path) : r;
}

/* A decision has put a directory in the place of the component's file, or a file in that of its directory. */
static int record_lost_type(struct recording *rec, const struct plan_special *s, struct version *with, const char *path)
{
	_cleanup_version_ struct version os = { 0 };
	struct sharing sh = { .os = &os, .flags = CHANGE_SHARED | CHANGE_LOST };
	int r = record_find(rec, rec->os, rec->os_dirs, s, &os);

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

	if (own->there && S_ISDIR(with->c.mode) != S_ISDIR(own->c.mode))
		return record_lost_type(rec, s, with, path);
	if (S_ISDIR(with->c.mode))
		return 0;
	if (with->c.nlink > 1 || own->c.nlink > 1 || !own->there)
		return 0;
	r = same_file(rec, own, with, path);
	same = r > 0;
	if (r == 0 && merge_driver_for(path))
		return 0;
	if (r >= 0)
		r = record_find(rec, rec->os, rec->os_dirs, s, &os);
	if (r < 0)
		return r;
	if (same)
		return os.there ? shared_change(rec, rec->l->plan->view, with, &sh, path) :
				  record_made(rec, s->dir, s->name, s->name_len, with->ino);
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
	int r = record_find(rec, rec->os, rec->os_dirs, s, &os);

	if (r < 0 || !os.there || S_ISDIR(os.c.mode) || !record_can_keep(&os))
		return r;
	r = record_side(rec, rec->os, os.ino, &before);
	if (r == 0)
		r = record_set_path(rec, s->dir, s->name, s->name_len);
	if (r == 0)
		r = record_keep_both(rec, &gone, &os, path, &nothing, &before);
	return r == 0 ? record_add_row(rec, CHANGE_OUT, false, &before, &nothing) : r;
}

/* --- one path ---------------------------------------------------------------------------------- */

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

int record_special(struct recording *rec, const struct plan_special *s)
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
		r = record_set_path(rec, s->dir, s->name, s->name_len);
	if (r < 0)
		return r;
	if (asprintf(&path, "/%s", (char *)rec->path.data) < 0) {
		path = NULL;
		return ply_fail_nomem(rec->err);
	}
	r = record_find(rec, rec->alone, rec->alone_dirs, s, &own);
	if (r < 0)
		return r;
	if (!ino && !other)
		return own.there || rec->is_required ? 0 : record_deleted(rec, s, path);
	/* what requires this one has made it */
	if (!other && !own.there && rec->is_required)
		return 0;
	if (!other)
		return record_made(rec, s->dir, s->name, s->name_len, ino);
	if (ino)
		r = version_of_view(rec->l->plan->view, ino, NULL, &with, rec->err);
	return r == 0 ? record_both(rec, s, &with, &own, other, path) : r;
}
