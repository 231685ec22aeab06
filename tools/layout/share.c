/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A change by itself knows what was there just before. With several components at one path that is not enough: they may go
 * in another order than they came. So the row of each that comes later is told what was there before the first of them,
 * which text of the file is its own, and whether its own file is the one that is there. The file from before the first lies
 * with that one's row, and is linked: it costs nothing.
 *
 * What a driver merges is known by its records, and needs none of this.
 */
#include "layout/share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/inroot.h"
#include "base/util.h"
#include "layout/attrs.h"
#include "layout/kept.h"
#include "layout/parts.h"
#include "layout/statedir.h"
#include "layout/version.h"

struct sharing {
	struct update *u;
	struct survey *s;
	struct kept kept;
	struct ply_view *alone, *ground;   /* of the component and what it requires; of that alone. Opened when needed */
	int was;                   /* update.new/was; -1: not needed yet */
	struct ply_err *err;
};

static int fail(struct sharing *sh, int code, const char *path, const char *what)
{
	char shown[512];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	return ply_fail(sh->err, code, code == -ENOSPC || code == -EDQUOT ? PLY_R_TARGET_FULL : PLY_R_TARGET_WRITE,
			"%s/%s: cannot %s: %s", sh->u->target.path, shown, what, strerror(-code));
}

/* --- what the component brings ------------------------------------------------------------ */

static const struct ply_sub_info *info_of(const struct ply_view *view, uint32_t i)
{
	return ply_image_sub_info(ply_view_image(view), ply_view_sub(view, i));
}

static bool is_needed(const struct ply_sub_info *by, const char *name)
{
	bool needed = false;

	for (uint32_t k = 0; k < by->nrequires; k++)
		needed |= !strcmp(by->requires[k], name);
	for (uint32_t k = 0; k < by->nstands_on; k++)
		needed |= !strcmp(by->stands_on[k], name);
	return needed;
}

static int open_views(struct sharing *sh)
{
	struct ply_view *view = sh->s->view;
	uint32_t n = ply_view_nsubs(view);
	_cleanup_free_ const char **names = calloc(n + 1, sizeof(*names));
	struct ply_view_options v = { .names = names, .undecided_first = true };
	int r;

	if (!names)
		return ply_fail_nomem(sh->err);
	for (uint32_t i = n; i-- > 0;) {   /* what is required has a lower rank */
		const struct ply_sub_info *info = info_of(view, i);
		bool in = !strcmp(info->name, sh->s->component) || !strcmp(info->name, "os");

		for (uint32_t j = i + 1; j < n && !in; j++)
			in = names[j] && is_needed(info_of(view, j), info->name);
		names[i] = in ? info->name : NULL;
	}
	for (uint32_t i = 0; i < n; i++)
		if (names[i])
			names[v.n++] = names[i];
	r = ply_view_open_with(ply_view_image(view), &v, &sh->alone, sh->err);
	for (size_t i = 0; i < v.n; i++)
		if (!strcmp(names[i], sh->s->component)) {
			memmove(names + i, names + i + 1, (v.n - i - 1) * sizeof(*names));
			v.n--;
		}
	return r == 0 && v.n ? ply_view_open_with(ply_view_image(view), &v, &sh->ground, sh->err) : r;
}

static int load(struct sharing *sh, struct ply_view *view, const char *path, struct version *ret)
{
	uint64_t ino;
	int r = view ? ply_view_resolve(view, path, false, &ino, sh->err) : -ENOENT;

	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP) {
		sh->err->code = 0;
		return 0;
	}
	if (r == 0)
		r = version_of_view(view, ino, sh->s->ids, ret, sh->err);
	return r == 0 ? version_load(ret, path, sh->s->ids, sh->err) : r;
}

/* What will be at the row's path. */
static int read_in_place(struct sharing *sh, const struct change *row, struct buf *out)
{
	const char *base = strrchr(row->path, '/');
	_cleanup_close_ int dir = -1;
	char name[16];
	int r;

	if (row->kind == CHANGE_KEEP) {
		dir = beneath_open(sh->s->target, row->path, base ? (size_t)(base - row->path) : 0, O_PATH);
		base = base ? base + 1 : row->path;
	} else {
		snprintf(name, sizeof(name), "%u", row->n);
		dir = statedir_open(sh->u->up, "new");
		base = name;
	}
	r = dir < 0 ? dir : inroot_read_at(dir, base, MERGE_FILE_MAX, out);
	return r < 0 ? fail(sh, r, row->path, "read it") : 0;
}

/* --- what was there before the first ------------------------------------------------------------ */

static int link_was(struct sharing *sh, const struct change *row, const char *component, const char *dir, uint32_t n)
{
	char from[PLY_SUB_NAME_MAX + 64], to[16];

	if (sh->was < 0)
		sh->was = statedir_make(sh->u->up, "was", 0700);
	if (sh->was < 0)
		return fail(sh, sh->was, row->path, "keep what was there before");
	snprintf(from, sizeof(from), "merge/%s/%s/%u", component, dir, n);
	snprintf(to, sizeof(to), "%u", row->n);
	if (linkat(sh->u->dir, from, sh->was, to, 0) < 0)
		return fail(sh, -errno, row->path, "find what was there before");
	return 0;
}

/* By the row @to of an earlier component: 1: *ret is that. */
static int find_was(struct sharing *sh, const struct change *row, const struct change *to, const char *component,
		    struct change_side *ret)
{
	bool shared = to->flags & CHANGE_SHARED;

	*ret = shared ? to->more->was : to->before;
	if (S_ISDIR(ret->mode) || (!shared && to->kind == CHANGE_KEEP) || (!shared && to->kind == CHANGE_META &&
									  row->kind != CHANGE_KEEP))
		return 0;
	if (!ret->mode || to->kind == CHANGE_META)
		return 1;
	if (link_was(sh, row, component, shared ? "was" : to->kind == CHANGE_OUT ? "old" : "new", to->n) < 0)
		return sh->err->code;
	return 1;
}

/* --- one row ------------------------------------------------------------------------------------------ */

static bool is_text(const struct change *row)
{
	return S_ISREG(row->after.mode) && row->after.size <= MERGE_FILE_MAX;
}

/* Its own text in what will be there; @others: another component has the path. */
static int look_at_text(struct sharing *sh, const struct change *row, const char *path, bool others, unsigned *ret,
			struct change_more *more)
{
	_cleanup_version_ struct version own = { 0 }, ground = { 0 };
	_cleanup_buf_ struct buf text = { 0 };
	struct span own_text;
	bool same;
	int r = sh->alone ? 0 : open_views(sh);

	if (r == 0)
		r = load(sh, sh->alone, path, &own);
	if (r == 0)
		r = load(sh, sh->ground, path, &ground);
	if (r == 0)
		r = read_in_place(sh, row, &text);
	if (r < 0 || !own.there)
		return r;
	own_text = (struct span){ own.c.text, own.c.len };
	same = S_ISREG(own.c.mode) && own.c.loaded && span_is(own_text, (struct span){ text.data, text.len });
	if (same && row->kind == CHANGE_SWAP && others)
		*ret |= CHANGE_WINS;
	if (same)
		return 0;
	if (S_ISREG(own.c.mode) && own.c.loaded && own.c.len && !ground.there) {
		part_of(own_text, &more->own);
		if (part_find((struct span){ text.data, text.len }, &more->own) != SIZE_MAX)
			*ret |= CHANGE_PART;
	}
	if (row->kind == CHANGE_KEEP && others && !(*ret & CHANGE_PART))
		*ret |= CHANGE_LOST;
	return 0;
}

/* Is @own what is there? Of what is too large to be read, as far as size tells. */
static bool is_there(const struct version *own, const struct change_side *side)
{
	struct change_part part;

	if ((own->c.mode & S_IFMT) != (side->mode & S_IFMT))
		return false;
	switch (side->mode & S_IFMT) {
	case S_IFREG:
		return own->c.size == side->size;
	case S_IFLNK:
		part_of((struct span){ own->c.text, own->c.len }, &part);
		return !memcmp(part.digest, side->digest, sizeof(part.digest));
	case S_IFCHR:
	case S_IFBLK:
		return makedev((unsigned)(own->c.rdev >> 32), (unsigned)own->c.rdev) == side->size;
	}
	return true;
}

/* What is no text is never put together. */
static int look_at_file(struct sharing *sh, const struct change *row, const char *path, unsigned *ret)
{
	_cleanup_version_ struct version own = { 0 };
	int r = sh->alone ? 0 : open_views(sh);

	if (r == 0)
		r = load(sh, sh->alone, path, &own);
	if (r == 0 && own.there && is_there(&own, &row->after) == (row->kind == CHANGE_SWAP))
		*ret |= row->kind == CHANGE_SWAP ? CHANGE_WINS : CHANGE_LOST;
	return r;
}

static void find_first(const struct kept *k, const char *component, const struct change *row, struct change_part *ret)
{
	const struct change *to;
	const char *name;

	for (size_t at = 0; (to = kept_next(k, row->path, component, &at, &name));)
		if (to->flags & CHANGE_PART) {
			*ret = to->more->first;
			return;
		}
	if (S_ISREG(row->before.mode)) {
		ret->len = row->before.size;
		memcpy(ret->digest, row->before.digest, sizeof(ret->digest));
	}
}

static int share_row(struct sharing *sh, struct change *row, const char *path)
{
	struct change_more more = { 0 };
	const struct change *to;
	unsigned flags = 0;
	size_t at = 0, n = 0;
	const char *name;
	int r = 0;

	while (r == 0 && (to = kept_next(&sh->kept, row->path, sh->s->component, &at, &name))) {
		n++;
		r = find_was(sh, row, to, name, &more.was);
	}
	if (r > 0)
		flags |= CHANGE_SHARED;
	if (row->kind == CHANGE_OUT)
		r = MIN(r, 0);
	else if (r >= 0 && is_text(row) && (n || row->kind == CHANGE_SWAP))
		r = look_at_text(sh, row, path, n, &flags, &more);
	else if (r >= 0 && n)
		r = look_at_file(sh, row, path, &flags);
	if (r < 0)
		return r;
	if (flags & CHANGE_PART)
		find_first(&sh->kept, sh->s->component, row, &more.first);
	return flags && change_set_more(row, flags, &more) < 0 ? ply_fail_nomem(sh->err) : 0;
}

static int share_all(struct sharing *sh)
{
	struct changes *c = &sh->s->changes;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++) {
		_cleanup_free_ char *path = NULL;
		struct change *row = &c->v[i];

		if ((row->kind != CHANGE_SWAP && row->kind != CHANGE_KEEP && row->kind != CHANGE_OUT) || S_ISDIR(row->before.mode))
			continue;
		if (asprintf(&path, "/%s", row->path) < 0) {
			path = NULL;
			return ply_fail_nomem(sh->err);
		}
		if (!merge_driver_for(path))
			r = share_row(sh, row, path);
	}
	return r;
}

/* --- paths that the component changes nothing of --------------------------------------------------------- */

/* Does it bring the file, not what it requires? */
static int brings(struct sharing *sh, const struct version *own, bool *ret)
{
	uint32_t max = ply_view_nsubs(sh->alone);
	_cleanup_free_ uint32_t *of = calloc(max, sizeof(*of));
	int n = of ? ply_view_origin(sh->alone, own->ino, of, max, sh->err) : ply_fail_nomem(sh->err);

	*ret = false;
	for (int i = 0; i < n; i++)
		*ret |= !strcmp(ply_image_sub_info(ply_view_image(sh->alone), of[i])->name, sh->s->component);
	return MIN(n, 0);
}

static int look_live(struct sharing *sh, const char *path, struct change_side *ret)
{
	const char *base = strrchr(path, '/');
	_cleanup_close_ int dir = beneath_open(sh->s->target, path, base ? (size_t)(base - path) : 0, O_PATH);
	int r = dir < 0 ? dir : change_look(dir, base ? base + 1 : path, ret);

	if (r != -ENOENT && r != -ENOTDIR && r != -ELOOP)
		return r < 0 ? fail(sh, r, path, "look at it") : 0;
	*ret = (struct change_side){ 0 };
	return 0;
}

/* Another component has given the path its present state, or has it from a decision; this one would have a say there. */
static int add_hidden(struct sharing *sh, const char *absolute, const struct change *to)
{
	_cleanup_version_ struct version own = { 0 }, ground = { 0 };
	struct change row = { .path = (char *)absolute + 1, .comp = CHANGE_COMP_NONE };
	struct change_more nothing_before = { 0 };
	bool its = false;
	int r = sh->alone ? 0 : open_views(sh);

	if (r == 0)
		r = load(sh, sh->alone, absolute, &own);
	if (r == 0)
		r = own.there ? brings(sh, &own, &its) : load(sh, sh->ground, absolute, &ground);
	if (r == 0)
		r = look_live(sh, row.path, &row.before);
	if (r < 0)
		return r;
	if (its && row.before.mode && !S_ISDIR(row.before.mode)) {
		row.kind = CHANGE_KEEP;
	} else if (its && row.before.mode && !S_ISDIR(own.c.mode) && to->kind == CHANGE_MAKE) {
		row.kind = CHANGE_KEEP;
		row.flags = CHANGE_SHARED | CHANGE_LOST;
		row.more = &nothing_before;
	} else if (!own.there && ground.there && !row.before.mode && to->kind == CHANGE_OUT && !S_ISDIR(to->before.mode)) {
		row.kind = CHANGE_OUT;     /* it has gone already */
		row.before = to->before;
	} else {
		return 0;
	}
	return changes_add(&sh->s->changes, &row) < 0 ? ply_fail_nomem(sh->err) : 0;
}

static int add_all_hidden(struct sharing *sh)
{
	const struct plan *p = sh->s->plan;
	struct changes *c = &sh->s->changes;
	_cleanup_buf_ struct buf path = { 0 };
	size_t n = c->n;           /* those are sorted */
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->nspecials; i++) {
		const struct plan_special *s = &p->specials[i];
		struct changes before = { .v = c->v, .n = n };
		_cleanup_free_ char *absolute = NULL;
		const struct change *to;
		const char *name;
		size_t at = 0;

		if (plan_name_path(p, s->dir, s->name, s->name_len, &path) < 0 ||
		    asprintf(&absolute, "/%s", (char *)path.data) < 0) {
			absolute = NULL;
			return ply_fail_nomem(sh->err);
		}
		to = kept_next(&sh->kept, absolute + 1, sh->s->component, &at, &name);
		if (to && !changes_find(&before, absolute + 1) && !merge_driver_for(absolute))
			r = add_hidden(sh, absolute, to);
	}
	changes_sort(c);
	return r;
}

/* --- directories ------------------------------------------------------------------------------------------- */

/* What the component makes of one, and what that is without it; and what is there. */
struct dir_versions {
	struct version own, ground, live;
};

static void dir_versions_done(struct dir_versions *v)
{
	version_done(&v->own);
	version_done(&v->ground);
	version_done(&v->live);
}

static bool same_attr(const struct version *a, const struct version *b, enum change_attr attr)
{
	if (attr == CHANGE_MODE)
		return a->c.mode == b->c.mode;
	return attr == CHANGE_OWNER ? a->c.uid == b->c.uid && a->c.gid == b->c.gid : version_same_xattrs(a, b);
}

static int load_dir(struct sharing *sh, const char *absolute, struct dir_versions *ret)
{
	const char *base = strrchr(absolute + 1, '/');
	_cleanup_close_ int dir = beneath_open(sh->s->target, absolute + 1, base ? (size_t)(base - absolute - 1) : 0, O_PATH);
	int r = sh->alone ? 0 : open_views(sh);

	if (r == 0)
		r = load(sh, sh->alone, absolute, &ret->own);
	if (r == 0)
		r = load(sh, sh->ground, absolute, &ret->ground);
	if (r < 0)
		return r;
	if (sh->s->map_owner) {    /* all have that one */
		ret->own.c.uid = ret->ground.c.uid;
		ret->own.c.gid = ret->ground.c.gid;
	}
	r = dir < 0 ? dir : version_of_target(dir, base ? base + 1 : absolute + 1, &ret->live);
	return r < 0 ? fail(sh, r, absolute + 1, "look at it") : 0;
}

/* Of the others' row @to: what was there before, and in which directory its extended attributes are. */
static const struct change_side *attr_was(const struct change *to, enum change_attr attr, const char **ret)
{
	bool was = to->flags & CHANGE_SHARED && !change_same_attr(&to->more->was, &to->before, attr);

	*ret = was ? "was" : "old";
	return was ? &to->more->was : &to->before;
}

static int carry_was(struct sharing *sh, const struct change *row, const char *component, const char *dir, uint32_t n)
{
	char from[PLY_SUB_NAME_MAX + 128], to[16];
	int r;

	if (sh->was < 0)
		sh->was = statedir_make(sh->u->up, "was", 0700);
	if (sh->was < 0)
		return fail(sh, sh->was, row->path, "keep what was there before");
	snprintf(from, sizeof(from), "/proc/self/fd/%d/merge/%s/%s/%u", sh->u->dir, component, dir, n);
	snprintf(to, sizeof(to), "%u", row->n);
	r = attrs_carrier(sh->was, to, from, row->before.mode, NULL, 0, NULL, false, sh->err);
	return r < 0 && !sh->err->code ? fail(sh, r, row->path, "find the extended attributes that it had before") : r;
}

/* By the first of the others that has to do with it. 1: *was has another one than @row changes it from. */
static int share_attr(struct sharing *sh, const struct change *row, const struct dir_versions *v, enum change_attr attr,
		      struct change_side *was)
{
	bool changes = !change_same_attr(&row->before, &row->after, attr) ||
		       (v->own.there && v->ground.there && !same_attr(&v->own, &v->ground, attr) &&
			same_attr(&v->own, &v->live, attr));
	const char *name, *dir;
	const struct change *to;
	size_t at = 0;
	int r = 0;

	while (changes && (to = kept_next(&sh->kept, row->path, sh->s->component, &at, &name))) {
		const struct change_side *side = attr_was(to, attr, &dir);

		if (!change_has_attr(to, attr))
			continue;
		if (change_same_attr(side, was, attr))
			return 0;
		change_take_attr(was, side, attr);
		if (attr == CHANGE_XATTRS)
			r = carry_was(sh, row, name, dir, to->n);
		return r < 0 ? r : 1;
	}
	return 0;
}

/* @found: the component's row; NULL: it has none, and gets one where it would have made what others have made. */
static int share_dir(struct sharing *sh, const char *path, struct change *found)
{
	struct change own = { .kind = CHANGE_KEEP, .comp = CHANGE_COMP_NONE, .path = (char *)path, .n = (uint32_t)sh->s->changes.n };
	struct change *row = found ? found : &own;
	struct dir_versions v = { 0 };
	struct change_more more;
	_cleanup_free_ char *absolute = NULL;
	bool shared = false;
	int r;

	if (asprintf(&absolute, "/%s", path) < 0) {
		absolute = NULL;
		return ply_fail_nomem(sh->err);
	}
	r = found ? 0 : look_live(sh, path, &own.before);
	own.after = own.before;
	if (r < 0 || (row->kind != CHANGE_KEEP && row->kind != CHANGE_META) || !S_ISDIR(row->before.mode))
		return r;
	more = (struct change_more){ .was = row->before };
	r = load_dir(sh, absolute, &v);
	for (int attr = 0; r == 0 && attr < CHANGE_ATTRS; attr++) {
		r = share_attr(sh, row, &v, attr, &more.was);
		shared |= r > 0;
		r = MIN(r, 0);
	}
	dir_versions_done(&v);
	if (r < 0 || !shared)
		return r;
	own.flags = CHANGE_SHARED;
	own.more = &more;
	r = found ? change_set_more(found, CHANGE_SHARED, &more) : changes_add(&sh->s->changes, &own);
	return r < 0 ? ply_fail_nomem(sh->err) : 0;
}

static bool has_attrs(const struct change *row)
{
	bool has = false;

	for (int attr = 0; attr < CHANGE_ATTRS; attr++)
		has |= change_has_attr(row, attr);
	return has;
}

/* All that others change. */
static int share_dirs(struct sharing *sh)
{
	struct changes *c = &sh->s->changes;
	const size_t n = c->n;     /* those are sorted */
	int r = 0;

	for (size_t i = 0; r == 0 && i < sh->kept.n; i++)
		for (size_t k = 0; r == 0 && k < sh->kept.v[i].n; k++) {
			const struct changes sorted = { .v = c->v, .n = n };
			const char *path = sh->kept.v[i].v[k].path;
			bool done = false;

			if (!has_attrs(&sh->kept.v[i].v[k]))
				continue;
			for (size_t j = n; j < c->n; j++)
				done |= !strcmp(c->v[j].path, path);
			if (!done)
				r = share_dir(sh, path, (struct change *)changes_find(&sorted, path));
		}
	changes_sort(c);
	return r;
}

int share_rows(struct update *u, struct survey *s, struct ply_err *err)
{
	struct sharing sh = { .u = u, .s = s, .was = -1, .err = err };
	int r = kept_read(u->dir, u->target.path, &sh.kept, err);

	if (r == 0 && sh.kept.n)
		r = add_all_hidden(&sh);
	if (r == 0)
		r = share_all(&sh);
	if (r == 0)
		r = share_dirs(&sh);
	cleanup_close(&sh.was);
	ply_view_close(sh.alone);
	ply_view_close(sh.ground);
	kept_done(&sh.kept);
	return r;
}
