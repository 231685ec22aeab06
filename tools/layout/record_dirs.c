/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories: that a component brings, takes away, or changes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "layout/attrs.h"
#include "layout/record_impl.h"

/* --- that are made ----------------------------------------------------------------------------- */

/* Directories with nothing in them stand in no part. */
int record_directories(struct recording *rec)
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
		r = n < 0 ? n : made ? record_tell_directory(rec, d, &made) : 0;
	}
	return r;
}

/* --- that go with what is in them -------------------------------------------------------------- */

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
	return r < 0 && !rec->err->code ? record_fail(rec, r, "keep the extended attributes of a directory") : r;
}

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
		r = record_side(rec, rec->without, ino, &side);
	if (r == 0 && S_ISDIR(side.mode)) {
		r = ply_view_readdir(rec->without, ino, 0, look_going, &g, rec->err);
		r = r < 0 ? r : g.result;
		if (r == 0)
			r = keep_attrs(rec, &v, rec->old, &side);
	} else if (r == 0 && !record_can_keep(&v)) {
		return 0;
	} else if (r == 0) {
		r = record_keep_both(rec, &gone, &v, path, &nothing, &side);
	}
	rec->path.len = 0;
	if (r == 0 && buf_add(&rec->path, path, strlen(path) + 1) < 0)
		r = ply_fail_nomem(rec->err);
	return r == 0 ? record_add_row(rec, CHANGE_OUT, false, &side, &nothing) : r;
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
		r = record_set_path(rec, s->dir, s->name, s->name_len);
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

	if (de->type != S_IFDIR >> 12 && record_is_special(p, x->dir, de->name, de->len))
		return 0;
	x->result = version_find(p->view, p->dirs[x->dir].ino, s.name, s.name_len, &ino, rec->err);
	if (x->result == 0 && !ino)
		x->result = de->type == S_IFDIR >> 12 ? record_gone_directory(rec, &s, de->ino) : record_special(rec, &s);
	return x->result;
}

/* --- that have other attributes ---------------------------------------------------------------- */

/* A directory of one selection; version.there: it has it. */
struct dir_of {
	struct version version;
	struct change_side side;
};

static int look_dir(struct recording *rec, struct ply_view *view, uint64_t ino, struct dir_of *ret)
{
	int r = ino ? record_side(rec, view, ino, &ret->side) : 0;

	return r == 0 && ino ? version_of_view(view, ino, NULL, &ret->version, rec->err) : r;
}

static bool same_attr(const struct recording *rec, const struct dir_of *a, const struct dir_of *b, enum change_attr attr)
{
	const struct version *x = &a->version, *y = &b->version;

	if (attr == CHANGE_MODE)
		return x->c.mode == y->c.mode;
	if (attr == CHANGE_OWNER)
		return x->c.uid == y->c.uid && x->c.gid == y->c.gid;
	return version_same_xattrs(x, y) || !record_holds_attrs(rec->l);
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
		r = record_set_path(rec, d, "", 0);
	return r < 0 || change_same(&before, &after) ? r : record_add_row(rec, CHANGE_META, false, &before, &after);
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

/* --- all --------------------------------------------------------------------------------------- */

/* Only what stands on others can delete what they have, and change their directories. */
int record_on_others(struct recording *rec)
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
