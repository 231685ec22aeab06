/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/util.h"
#include "layout/survey_impl.h"

/* --- paths ----------------------------------------------------------------------------- */

/* "usr/bin/env" */
static char *path_of(const struct walk *w, const char *name, size_t len)
{
	size_t n = w->path.len;
	char *out = malloc(n + len + 2);

	if (!out)
		return NULL;
	if (n)
		memcpy(out, w->path.data, n);
	if (n)
		out[n++] = '/';
	memcpy(out + n, name, len);
	out[n + len] = '\0';
	return out;
}

static int set_dir_path(struct walk *w, const struct plan *p, uint32_t d)
{
	return plan_name_path(p, d, "", 0, &w->path) < 0 ? ply_fail_nomem(w->err) : 0;
}

int survey_told(struct walk *w, int r, const char *path)
{
	char shown[512];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	if (w->err->code)
		ply_err_prefix(w->err, "/%s", shown);
	else
		ply_fail_sys(w->err, r, "/%s: cannot look at what is there", shown);
	return r;
}

/* What a view has, with owners as the target is to have them. */
static int of_view(struct walk *w, struct ply_view *view, uint64_t ino, struct version *ret)
{
	int r = version_of_view(view, ino, w->s->ids, ret, w->err);

	if (r == 0 && w->s->map_owner) {
		ret->c.uid = w->s->uid;
		ret->c.gid = w->s->gid;
	}
	return r;
}

/* --- rows --------------------------------------------------------------------------------- */

/* Names come or go there. */
static int note_dir(struct walk *w)
{
	struct stat st;

	if (w->fd < 0)
		return 0;
	if (fstat(w->fd, &st) < 0)
		return ply_fail_sys(w->err, -errno, "/%s: stat", (char *)w->path.data);
	if (version_mount(w->fd, "") != w->s->mount)
		return ply_fail(w->err, -EXDEV, PLY_R_TARGET_CANNOT_HOLD,
				"/%s: is in another mount than /var/lib/plyfs, from where names are moved to their places",
				(char *)w->path.data);
	return changes_add_dir(&w->s->changes, (char *)w->path.data, st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec) < 0 ?
		ply_fail_nomem(w->err) : 0;
}

/* What is compared is what the row tells of, and it can be moved. */
static int check_live(struct walk *w, enum change_kind kind, const char *path, const char *name)
{
	char shown[512];

	escape_name_to(path, strlen(path), shown, sizeof(shown));
	if (w->live && !version_is_still(w->live))
		return ply_fail(w->err, -EBUSY, PLY_R_TARGET_BUSY,
				"/%s: is being changed by another process; try again when that is done", shown);
	if (kind == CHANGE_KEEP || version_mount(w->fd, name) == version_mount(w->fd, ""))
		return 0;
	return ply_fail(w->err, -EBUSY, PLY_R_TARGET_CANNOT_HOLD, "/%s: something is mounted there, so it cannot be changed", shown);
}

int survey_add_row(struct walk *w, enum change_kind kind, const char *path, const char *name)
{
	struct change row = { .kind = kind, .path = (char *)path };
	int r = 0;

	if (kind == CHANGE_MAKE && w->fd < 0)
		row.flags = CHANGE_INSIDE;
	if (kind != CHANGE_MAKE) {
		r = change_look(w->fd, name, &row.before);
		if (r < 0)
			return survey_told(w, r, path);
		r = check_live(w, kind, path, name);
		if (r < 0)
			return r;
		row.after = row.before;
	}
	if (changes_add(&w->s->changes, &row) < 0)
		return ply_fail_nomem(w->err);
	return kind == CHANGE_KEEP || kind == CHANGE_META ? 0 : note_dir(w);
}

struct survey_put *survey_add_put(struct walk *w, const char *path, const struct version *v)
{
	struct survey *s = w->s;
	struct survey_put *p;

	if (array_grow(&s->puts, &s->puts_cap, s->nputs + 1, sizeof(*s->puts)) < 0)
		return NULL;
	p = &s->puts[s->nputs];
	*p = (struct survey_put){ .path = strdup(path), .ino = v->ino, .mode = v->c.mode, .uid = v->c.uid, .gid = v->c.gid,
				  .mtime_sec = v->c.mtime_sec, .mtime_nsec = v->c.mtime_nsec };
	if (!p->path)
		return NULL;
	s->nputs++;
	return p;
}

static int add_linked(struct walk *w, struct links *to, const char *path, const struct version *v, uint32_t n)
{
	char *copy;

	if (v->c.nlink < 2)
		return 0;
	if (array_grow(&to->v, &to->cap, to->n + 1, sizeof(*to->v)) < 0 || !(copy = strdup(path)))
		return ply_fail_nomem(w->err);
	to->v[to->n++] = (struct linked){ v->ino, copy, n, v->c.mode };
	return 0;
}

static void links_done(struct links *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].path);
	free(l->v);
}

/* --- names --------------------------------------------------------------------------------------- */

/* 1: the base has it just so, and that without reading content. */
static int is_unchanged(struct walk *w, uint64_t ino, uint64_t base_ino)
{
	struct view_file a, b;
	struct view_owner x, y;
	int r;

	if (ino != base_ino)
		return 0;
	r = view_file(w->s->view, ino, &a, w->err);
	if (r == 0)
		r = view_file(w->s->base, base_ino, &b, w->err);
	if (r == 0)
		r = view_owner(w->s->view, &a, &x, w->err);
	if (r == 0)
		r = view_owner(w->s->base, &b, &y, w->err);
	if (r < 0)
		return r;
	return !a.rendered && !b.rendered && !a.merged && !b.merged && a.sub == b.sub && a.node.data == b.node.data &&
	       a.node.mode == b.node.mode && a.size == b.size && a.owner_i == b.owner_i && x.uid == y.uid && x.gid == y.gid &&
	       a.xattrs_i == b.xattrs_i && a.node.xattrs == b.node.xattrs && !a.node.xattrs;
}

/* The path of the first name of @ino in the base, which may be no inode of it: *ret is NULL then. */
static int path_in_base(struct walk *w, uint64_t ino, char **ret)
{
	struct ply_view *base = w->s->base;
	struct buf path = { 0 };
	struct view_file f;
	int r = 0;

	*ret = NULL;
	while (r == 0 && ino != PLY_ROOT_INDEX) {
		_cleanup_buf_ struct buf longer = { 0 };
		struct ply_entry e;
		struct sub *sub;

		r = view_file(base, ino, &f, w->err);
		if (r == 0)
			r = view_sub_at(base, f.name_i, &sub, w->err);
		if (r == 0)
			r = sub_entry(sub, f.node.entry, &e, w->err);
		if (r == 0)
			r = view_node_ino(base, f.name_i, f.node.parent, &ino, w->err);
		if (r == 0 && (buf_add(&longer, e.name, e.name_len) < 0 || (path.len && buf_add(&longer, "/", 1) < 0) ||
			       buf_add(&longer, path.data, path.len) < 0 || longer.len > CHANGE_PATH_MAX))
			r = ply_fail_nomem(w->err);
		if (r == 0) {
			buf_done(&path);
			path = longer;
			longer = (struct buf){ 0 };
		}
	}
	if (r == 0 && buf_add(&path, "", 1) < 0)
		r = ply_fail_nomem(w->err);
	if (r == 0)
		*ret = (char *)TAKE_PTR(path.data);
	buf_done(&path);
	return r == -ESTALE || r == -ENOENT ? 0 : r;
}

/* Is what is at @path in the target what the base has there? */
static int is_as_in_base(struct walk *w, const char *path, uint64_t ino, bool *ret)
{
	const char *name = strrchr(path, '/');
	int dir = beneath_open(w->s->target, path, name ? (size_t)(name - path) : 0, O_PATH), r = MIN(dir, 0);
	struct three t = { 0 };

	*ret = false;
	if (r == 0)
		r = version_of_target(dir, name ? name + 1 : path, &t.live);
	if (r == 0 && t.live.there) {
		r = of_view(w, w->s->base, ino, &t.base);
		if (r == 0)
			r = three_load(w, &t, path);
		*ret = r == 0 && three_same(&t.live, &t.base);
	}
	three_done(&t);
	cleanup_close(&dir);
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
}

/* One more name of a file that is there already: 1, and it is noted. */
static int make_link(struct walk *w, const char *path, const char *name, const struct three *t, uint64_t ino)
{
	_cleanup_free_ char *first = NULL;
	struct survey_put *p;
	bool there = false;
	int r;

	if (!w->s->base || t->with.c.nlink < 2)
		return 0;
	r = path_in_base(w, ino, &first);
	if (r == 0 && first)
		r = is_as_in_base(w, first, ino, &there);
	if (r < 0 || !there)
		return r;
	p = survey_add_put(w, path, &t->with);
	if (!p)
		return ply_fail_nomem(w->err);
	p->link = TAKE_PTR(first);
	p->n = (uint32_t)w->s->changes.n;
	w->s->plan->dirs[w->dir].wanted = true;
	r = survey_add_row(w, CHANGE_MAKE, path, name);
	return r < 0 ? r : 1;
}

/* Nothing is there yet, in the base neither. 1: the plan makes it. */
static int make_new(struct walk *w, const char *path, const char *name, struct three *t, uint64_t ino)
{
	int r;

	if (idmap_has_ids(path) || packages_has_records(&w->s->packages, path)) {
		r = three_load(w, t, path);
		if (r == 0 && t->with.c.loaded)
			return survey_put_file(w, path, name, t, &t->with.text);
	} else if (packages_has_conffile(&w->s->packages, path)) {
		/* who deletes one has edited it */
		r = three_load(w, t, path);
		if (r == 0 && packages_edited(&w->s->packages, path, &t->live, &t->with) == EDIT_TARGET)
			return 0;
	} else {
		r = make_link(w, path, name, t, ino);
	}
	if (r)
		return MIN(r, 0);
	r = add_linked(w, &w->fresh, path, &t->with, (uint32_t)w->s->changes.n);
	if (r == 0)
		r = survey_add_row(w, CHANGE_MAKE, path, name);
	return r < 0 ? r : 1;
}

/* What is as it was is the component's as well, where that brings just the same: it stays when another one goes that has
 * made it. Of a file of several names only some may be the component's: nothing is known of these. */
static int keep_shared(struct walk *w, const char *path, const char *name, uint64_t ino)
{
	uint32_t max = ply_view_nsubs(w->s->view);
	_cleanup_free_ uint32_t *of = calloc(max, sizeof(*of));
	int n = of ? ply_view_origin(w->s->view, ino, of, max, w->err) : ply_fail_nomem(w->err);

	for (int i = 0; i < n; i++)
		if (!strcmp(ply_image_sub_info(ply_view_image(w->s->view), of[i])->name, w->s->component))
			return survey_keep(w, path, name);
	return MIN(n, 0);
}

/* Of a package that clashes: nothing happens there. */
static void pass_by(struct package_clash *clash, const struct three *t)
{
	bool changes = !three_same(&t->base, &t->with);

	clash->npaths += changes && !three_same(&t->live, &t->with);
}

/* @ino, @base_ino: 0 where it is not there. 1: the plan makes it. */
static int compare(struct walk *w, const char *name, size_t len, uint64_t ino, uint64_t base_ino)
{
	_cleanup_free_ char *path = path_of(w, name, len);
	char own[PLY_NAME_MAX + 1];
	struct package_clash *clash;
	struct three t = { 0 };
	struct ply_attr attr;
	int r = path ? 0 : ply_fail_nomem(w->err);

	if (r < 0)
		return r;
	memcpy(own, name, len);
	own[len] = '\0';
	w->err->code = 0;
	if (w->fd >= 0) {
		r = version_of_target(w->fd, own, &t.live);
		if (r < 0)
			return survey_told(w, r, path);
	}
	w->live = t.live.there ? &t.live : NULL;
	/* what went with its component is not missing by anybody's will */
	if (!t.live.there && ino && base_ino && ply_view_attr(w->s->view, base_ino, &attr, w->err) == -ESTALE)
		base_ino = 0;
	w->err->code = 0;
	if (ino)
		r = of_view(w, w->s->view, ino, &t.with);
	if (r == 0 && base_ino)
		r = of_view(w, w->s->base, base_ino, &t.base);
	if (r == 0 && (t.live.there || base_ino))
		r = three_load(w, &t, path);
	clash = packages_find(&w->s->packages, path);
	if (r == 0 && !clash && t.live.there && t.with.there && three_same(&t.live, &t.with))
		r = add_linked(w, &w->there, path, &t.with, 0);
	if (r < 0)
		r = survey_told(w, r, path);
	else if (clash)
		pass_by(clash, &t);
	else if (!t.live.there && !base_ino)
		r = make_new(w, path, own, &t, ino);
	else if (base_ino && three_same(&t.base, &t.with))
		r = t.live.there && ino && t.with.c.nlink < 2 ? keep_shared(w, path, own, ino) : 0;
	else
		r = survey_judge(w, path, own, &t);
	w->live = NULL;
	three_done(&t);
	return r;
}

/* --- the plan's questions -------------------------------------------------------------------------- */

static int directory(void *ctx, struct plan *p, uint32_t d, struct ply_err *err)
{
	struct walk *w = ctx;
	int r;

	w->err = err;
	w->s->plan = p;
	w->dir = d;
	w->dir_ino = p->dirs[d].ino;
	cleanup_close(&w->fd);
	w->fd = -1;
	r = set_dir_path(w, p, d);
	if (r < 0)
		return r;
	if (!d) {
		if (array_grow(&w->places, &w->places_cap, 1, sizeof(*w->places)) < 0)
			return ply_fail_nomem(err);
		w->places[0] = (struct place){ .base = w->s->base ? PLY_ROOT_INDEX : 0, .there = true };
		p->dirs[0].way = true;
	}
	if (!w->places[d].there)
		return 1;
	r = beneath_open(w->s->target, (char *)w->path.data, w->path.len, O_RDONLY);
	if (r < 0)
		return survey_told(w, (err->code = 0, r), (char *)w->path.data);
	w->fd = r;
	return 1;
}

static int name(void *ctx, const struct ply_dirent *de, struct ply_err *err)
{
	struct walk *w = ctx;
	uint64_t base_ino;
	int r;

	w->err = err;
	r = version_find(w->s->base, w->places[w->dir].base, de->name, de->len, &base_ino, err);
	if (r == 0 && base_ino)
		r = is_unchanged(w, de->ino, base_ino);
	if (r < 0)
		return survey_told(w, r, (char *)w->path.data);
	return r ? MIN(r, 0) : compare(w, de->name, de->len, de->ino, base_ino);
}

static int subdirectory(void *ctx, const struct ply_dirent *de, uint32_t d, struct ply_err *err)
{
	_cleanup_free_ char *path = path_of(ctx, de->name, de->len);
	char own[PLY_NAME_MAX + 1];
	struct walk *w = ctx;
	struct three t = { 0 };
	struct place place;
	bool clashes;
	int r;

	w->err = err;
	if (!path || array_grow(&w->places, &w->places_cap, d + 1, sizeof(*w->places)) < 0)
		return ply_fail_nomem(err);
	memcpy(own, de->name, de->len);
	own[de->len] = '\0';
	err->code = 0;
	r = version_find(w->s->base, w->places[w->dir].base, de->name, de->len, &place.base, err);
	if (r == 0 && w->fd >= 0) {
		r = version_of_target(w->fd, own, &t.live);
		if (r < 0)
			return survey_told(w, r, path);
	}
	/* of a package that stays out a directory is not needed, where the target's has a symlink, as many have */
	clashes = packages_find(&w->s->packages, path);
	if (clashes && !S_ISDIR(t.live.c.mode))
		t.live.there = false;
	place.there = t.live.there;
	w->places[d] = place;
	w->s->plan->dirs[d].way = place.there;
	if (r < 0)
		return survey_told(w, r, path);
	if (t.live.there && !S_ISDIR(t.live.c.mode))
		return survey_refuse_type(w, path, "the image has a directory there, and the target has something else");
	if (!t.live.there) {
		/* of one of the base only what is new below it is made, and then it is needed: see add_made_directory() */
		w->s->plan->dirs[d].wanted = !place.base && !clashes;
		return 0;
	}
	if (clashes)
		return 0;
	r = of_view(w, w->s->view, de->ino, &t.with);
	if (r == 0 && place.base)
		r = of_view(w, w->s->base, place.base, &t.base);
	if (r < 0)
		return survey_told(w, r, path);
	if (!place.base)
		return survey_add_row(w, CHANGE_KEEP, path, own);
	/* an overlay's mode or owner: where the target has the base's */
	return !three_same(&t.base, &t.with) && three_same(&t.live, &t.base) ? survey_put_meta(w, path, own, &t) : 0;
}

struct gone {
	struct walk *w;
	int result;
};

static int look_gone_within(void *ctx, const struct ply_dirent *de);

/* Do all names in the directory @fd, at @path, go by the rows from @first on? */
static int is_emptied(struct walk *w, int fd, const char *path, size_t first, bool *ret)
{
	struct changes rows = { .v = w->s->changes.v ? w->s->changes.v + first : NULL, .n = w->s->changes.n - first };
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = own < 0 ? NULL : fdopendir(own);
	const struct dirent *de;

	if (!d) {
		r = -errno;
		cleanup_close(&own);
		return survey_told(w, r, path);
	}
	changes_sort(&rows);
	for (*ret = true; r == 0 && *ret && (de = readdir(d));) {
		_cleanup_free_ char *at = NULL;
		const struct change *row;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (asprintf(&at, "%s/%s", path, de->d_name) < 0) {
			at = NULL;
			r = ply_fail_nomem(w->err);
			break;
		}
		row = changes_find(&rows, at);
		*ret = row && row->kind == CHANGE_OUT;
	}
	closedir(d);
	return r;
}

/* What is in the directory @fd, which is @base in the base, goes; it does itself where that is all. */
static int empty_gone(struct walk *w, const char *path, int fd, uint64_t base, bool *ret)
{
	struct walk within = { .s = w->s, .decided = w->decided, .ndecided = w->ndecided, .places = w->places, .dir = w->dir,
			       .fd = fd, .err = w->err };
	struct gone g = { .w = &within };
	size_t first = w->s->changes.n;
	int r;

	if (buf_add(&within.path, path, strlen(path)) < 0 || buf_reserve(&within.path, 1) < 0) {
		r = ply_fail_nomem(w->err);
	} else {
		within.path.data[within.path.len] = '\0';
		r = ply_view_readdir(w->s->base, base, 0, look_gone_within, &g, w->err);
		r = r < 0 ? r : g.result;
	}
	if (r == 0)
		r = is_emptied(w, fd, path, first, ret);
	buf_done(&within.path);
	links_done(&within.there);
	links_done(&within.fresh);
	return r;
}

/* A directory of the base that the selection has no more. One that was changed in the target stays. */
static int compare_gone(struct walk *w, const char *name, size_t len, uint64_t base)
{
	_cleanup_free_ char *path = path_of(w, name, len);
	_cleanup_close_ int fd = -1;
	char own[PLY_NAME_MAX + 1];
	struct three t = { 0 };
	bool empty = false;
	int r = path ? 0 : ply_fail_nomem(w->err);

	if (r < 0)
		return r;
	memcpy(own, name, len);
	own[len] = '\0';
	w->err->code = 0;
	r = version_of_target(w->fd, own, &t.live);
	if (r == 0)
		r = of_view(w, w->s->base, base, &t.base);
	if (r < 0)
		return survey_told(w, r, path);
	if (!t.live.there || !S_ISDIR(t.live.c.mode))
		return 0;
	fd = openat(w->fd, own, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return survey_told(w, -errno, path);
	r = empty_gone(w, path, fd, base, &empty);
	return r == 0 && empty && three_same(&t.live, &t.base) ? survey_add_row(w, CHANGE_OUT, path, own) : r;
}

static int look_gone_within(void *ctx, const struct ply_dirent *de)
{
	struct gone *g = ctx;

	g->result = de->type == S_IFDIR >> 12 ? compare_gone(g->w, de->name, de->len, de->ino) :
						MIN(compare(g->w, de->name, de->len, 0, de->ino), 0);
	return g->result;
}

/* Names of the base that the selection has no more. */
static int look_gone(void *ctx, const struct ply_dirent *de)
{
	struct gone *g = ctx;
	struct walk *w = g->w;
	uint64_t ino;
	int r = version_find(w->s->view, w->dir_ino, de->name, de->len, &ino, w->err);

	if (r == 0 && !ino)
		return look_gone_within(ctx, de);
	g->result = r;
	return r;
}

static int listed(void *ctx, struct ply_err *err)
{
	struct walk *w = ctx;
	struct gone g = { .w = w };
	int r;

	w->err = err;
	if (!w->places[w->dir].base || w->fd < 0)
		return 0;
	r = ply_view_readdir(w->s->base, w->places[w->dir].base, 0, look_gone, &g, err);
	return r < 0 && !g.result ? survey_told(w, r, (char *)w->path.data) : MIN(r, g.result);
}

/* --- names of one file --------------------------------------------------------------------------------- */

static int by_ino(const void *a, const void *b)
{
	const struct linked *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* Of which the target had a name before, though the base knows nothing of it: what was a file of its own is now one that
 * has got more names. */
static int join_links(struct walk *w)
{
	if (w->there.n)
		qsort(w->there.v, w->there.n, sizeof(*w->there.v), by_ino);
	for (size_t i = 0; i < w->fresh.n; i++) {
		const struct linked *f = &w->fresh.v[i], *of = w->there.n ?
			bsearch(f, w->there.v, w->there.n, sizeof(*w->there.v), by_ino) : NULL;
		struct survey_put *p;

		if (!of)
			continue;
		p = survey_add_put(w, f->path, &(struct version){ .ino = f->ino, .c.mode = f->mode });
		if (!p || !(p->link = strdup(of->path)))
			return ply_fail_nomem(w->err);
		p->n = f->n;
		p->staged = true;
	}
	return 0;
}

/* --- the whole ------------------------------------------------------------------------------------------ */

/* Which directories are made is known when all has been looked at. */
static int add_made_directory(struct walk *w, const struct plan *p, uint32_t d)
{
	struct change row = { .kind = CHANGE_MAKE };
	uint32_t up = p->dirs[d].parent;
	int r = set_dir_path(w, p, d);

	if (r < 0)
		return r;
	row.path = (char *)w->path.data;
	row.flags = w->places[up].there ? 0 : CHANGE_INSIDE;
	if (changes_add(&w->s->changes, &row) < 0)
		return ply_fail_nomem(w->err);
	if (!w->places[up].there)
		return 0;
	r = set_dir_path(w, p, up);
	if (r < 0)
		return r;
	cleanup_close(&w->fd);
	w->fd = beneath_open(w->s->target, (char *)w->path.data, w->path.len, O_RDONLY);
	if (w->fd < 0)
		return survey_told(w, (w->err->code = 0, w->fd), (char *)w->path.data);
	return note_dir(w);
}

static void conflicts_done(struct survey_conflict *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].path);
		free(v[i].component);
		free(v[i].content);
		free(v[i].target_content);
	}
	free(v);
}

/* What a run has found. */
static void forget(struct survey *s)
{
	changes_done(&s->changes);
	s->changes = (struct changes){ 0 };
	s->plan = plan_free(s->plan);
	for (size_t i = 0; i < s->nputs; i++) {
		free(s->puts[i].path);
		free(s->puts[i].link);
		buf_done(&s->puts[i].text);
	}
	free(s->puts);
	s->puts = NULL;
	s->nputs = s->puts_cap = 0;
	free(s->lost);
	s->lost = NULL;
	s->nlost = s->lost_cap = 0;
	conflicts_done(s->conflicts, s->nconflicts);
	s->conflicts = NULL;
	s->nconflicts = s->conflicts_cap = 0;
	for (size_t i = 0; i < s->packages.nclashes; i++)
		s->packages.clashes[i].npaths = 0;
}

void survey_done(struct survey *s)
{
	forget(s);
	packages_done(&s->packages);
}

int survey_run(struct survey *s, struct ply_err *err)
{
	struct walk w = { .s = s, .fd = -1, .err = err, .decided = s->conflicts, .ndecided = s->nconflicts };
	const struct plan_filter filter = { directory, name, subdirectory, listed, &w };
	struct survey_conflict *before = s->conflicts;
	size_t nbefore = s->nconflicts;
	struct plan *plan = NULL;
	int r;

	s->conflicts = NULL;
	s->nconflicts = s->conflicts_cap = 0;
	forget(s);
	r = plan_filtered(s->view, s->block, &filter, s->cancel, &plan, err);
	s->plan = r < 0 ? NULL : plan;     /* on errors it is gone */
	for (size_t d = 1; r == 0 && d < plan->ndirs; d++)
		if (!w.places[d].there && plan->dirs[d].wanted)
			r = add_made_directory(&w, plan, (uint32_t)d);
	if (r == 0)
		r = join_links(&w);
	links_done(&w.there);
	links_done(&w.fresh);
	cleanup_close(&w.fd);
	free(w.places);
	buf_done(&w.path);
	conflicts_done(before, nbefore);
	changes_sort(&s->changes);
	return r;
}
