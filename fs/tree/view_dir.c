/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names in a view: lookup, readdir, paths, walks.
 *
 * A directory's entries are those of its selected members, part after part by
 * rank; a name of an earlier part hides it in the later ones. So a cookie is
 * [sub-image's number | place in its table + 3], needs no memory, and stays good
 * across remounts; and no merged listing is ever built.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"
#include "tree/view_impl.h"

#define WALK_LISTINGS 3u
#define WALK_BYTES    ((uint64_t)8 << 20)   /* of the tables of one sub-image */

static int dir_part(struct ply_view *v, const struct vnode *vn, uint32_t k, struct ply_node *ret,
		    struct ply_err *err)
{
	int r = sub_node(v->subs[vn->m[k].i].sub, vn->m[k].index, ret, err);

	if (r == 0 && !S_ISDIR(ret->mode))
		r = vn->joined && vn->row.kind == PLY_J_DIRECTORY ?
			ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "join row %llu joins a directory and a file",
				 (unsigned long long)vn->row.row) :
			ply_fail(err, -ENOTDIR, PLY_R_NOT_A_DIRECTORY, "not a directory");
	return r;
}

int view_too_many(struct ply_err *err)
{
	return ply_fail(err, -EUCLEAN, PLY_R_TREE_SHAPE, "directories that share their entries");
}

int view_own(int r, struct ply_err *err)
{
	if (r != -ESTALE && r != -ENOTDIR && r != -EISDIR && r != -EINVAL && r != -ENOENT)
		return r;
	if (err) {
		err->code = -EUCLEAN;
		err->reason = PLY_R_TREE_SHAPE;
	}
	return -EUCLEAN;
}

int ply_view_parent(struct ply_view *v, uint64_t ino, uint64_t *ret_ino, struct ply_err *err)
{
	struct ply_node n;
	struct vnode vn;
	int r = vnode_get(v, ino, &vn, err);

	if (r < 0)
		return r;
	r = sub_node(v->subs[vn.m[0].i].sub, vn.m[0].index, &n, err);
	if (r == 0)
		r = view_node_ino(v, vn.m[0].i, PLY_INO_INDEX(n.parent), ret_ino, err);
	vnode_done(&vn);
	return r;
}

int ply_view_lookup(struct ply_view *v, uint64_t dir, const char *name, size_t len,
		    uint64_t *ret_ino, struct ply_err *err)
{
	struct vnode vn;
	int r;

	if (len > PLY_NAME_MAX)
		return ply_fail(err, -ENAMETOOLONG, PLY_R_NAME_TOO_LONG, "a name of more than 255 bytes");
	r = vnode_get(v, dir, &vn, err);
	if (r < 0)
		return r;
	for (uint32_t k = 0; k < vn.n; k++) {
		struct ply_entry e;
		struct ply_node n;
		uint64_t at;

		r = dir_part(v, &vn, k, &n, err);
		if (r < 0)
			goto out;
		if (len == 1 && name[0] == '.') {
			*ret_ino = dir;
			goto out;
		}
		if (len == 2 && name[0] == '.' && name[1] == '.') {
			r = view_node_ino(v, vn.m[k].i, PLY_INO_INDEX(n.parent), ret_ino, err);
			goto out;
		}
		r = sub_find(v->subs[vn.m[k].i].sub, &n, name, len, &at, &e, NULL);
		if (r == 0 && e.condition) {
			r = view_holds(v, vn.m[k].i, e.condition, err);
			if (r < 0)
				goto out;
			r = r ? 0 : -ENOENT;
		}
		if (r == 0) {
			r = view_child(v, &vn, vn.m[k].i, vn.m[k].index, at, &e, ret_ino, err);
			goto out;
		}
		if (r != -ENOENT) {   /* once more, for the message */
			r = sub_find(v->subs[vn.m[k].i].sub, &n, name, len, &at, &e, err);
			goto out;
		}
	}
	r = ply_fail(err, -ENOENT, PLY_R_NO_ENTRY, "no such file or directory");
out:
	vnode_done(&vn);
	return r;
}

/* enum view_row: of @e, which is of part @k. */
static int row_state(struct ply_view *v, const struct vnode *vn, uint32_t k, const struct ply_entry *e,
		     struct ply_err *err)
{
	int holds = view_holds(v, vn->m[k].i, e->condition, err);

	if (holds <= 0)
		return holds < 0 ? holds : VIEW_ROW_FAILS;
	for (uint32_t q = 0; q < k; q++) {
		struct ply_entry other;
		struct ply_node n;
		int r = dir_part(v, vn, q, &n, err);

		if (r < 0)
			return r;
		r = sub_find(v->subs[vn->m[q].i].sub, &n, e->name, e->name_len, NULL, &other, NULL);
		if (r == 0)
			r = view_holds(v, vn->m[q].i, other.condition, err);
		if (r > 0)
			return VIEW_ROW_HIDDEN;
		if (r < 0 && r != -ENOENT)
			return ply_fail(err, r, PLY_R_ENTRY_RANGE, "damaged directory");
	}
	return VIEW_ROW_SHOWN;
}

/* Where to begin: part *k, entry *at. */
static int seek_cookie(struct ply_view *v, const struct vnode *vn, uint64_t cookie, uint32_t *k,
		       uint64_t *at, struct ply_err *err)
{
	*k = 0;
	*at = 0;
	if (cookie < PLY_COOKIE_FIRST)
		return 0;
	for (*k = 0; *k < vn->n; ++*k) {
		if (v->subs[vn->m[*k].i].number == PLY_INO_NUMBER(cookie)) {
			*at = PLY_INO_INDEX(cookie) - PLY_COOKIE_FIRST + 1;
			return PLY_INO_INDEX(cookie) < PLY_COOKIE_FIRST ?
				ply_fail(err, -EINVAL, PLY_R_STALE, "not a place in this directory") : 0;
		}
	}
	return ply_fail(err, -EINVAL, PLY_R_STALE, "not a place in this directory");
}

/*
 * The inode number of a child that is listed. Where its node, or what joins it, cannot be read, the
 * entry itself is good: it is listed under the number that its own node has, by which
 * every later question meets the same damage. A child that can be read and is wrong ends the listing.
 */
static int listed_child(struct ply_view *v, const struct vnode *vn, uint32_t k, uint64_t at,
			const struct ply_entry *e, uint64_t *ret_ino, struct ply_err *err)
{
	const struct vsub *s = &v->subs[vn->m[k].i];
	struct ply_node n;
	int r = view_child(v, vn, vn->m[k].i, vn->m[k].index, at, e, ret_ino, err);

	if (r < 0 && (r == -EBADMSG || r == -EIO ||
		      sub_node(s->sub, PLY_INO_INDEX(e->ref), &n, NULL) < 0)) {
		*ret_ino = PLY_INO(s->number, PLY_INO_INDEX(e->ref));
		r = 0;
	}
	return r;
}

static int check_order(const struct ply_entry *last, const struct ply_entry *e, uint64_t at, struct ply_err *err)
{
	int c = last->name ? memcmp(last->name, e->name, MIN(last->name_len, e->name_len)) : -1;

	if (c > 0 || (c == 0 && last->name_len >= e->name_len))
		return ply_fail(err, -EUCLEAN, PLY_R_ENTRY_ORDER,
				"entry %llu: a name that stands twice in its directory, or is not sorted",
				(unsigned long long)at);
	return 0;
}

struct lister {
	ply_dirent_fn fn;
	view_row_fn row;           /* may be NULL */
	void *ctx;
};

/* Part @k of @vn, from row @at on (0: its first). 1: that is enough. */
static int read_part(struct ply_view *v, const struct vnode *vn, uint32_t k, uint64_t at,
		     const struct lister *l, struct ply_err *err)
{
	struct sub *s = v->subs[vn->m[k].i].sub;
	struct ply_entry last = { 0 }, e;
	struct ply_node n;
	int r = dir_part(v, vn, k, &n, err);

	if (r < 0)
		return r;
	if (at && (at - 1 < n.data || at - 1 >= n.data + n.size))
		return ply_fail(err, -EINVAL, PLY_R_STALE, "not a place in this directory");
	if (at && (r = sub_entry(s, at - 1, &last, err)) < 0)
		return r;
	for (at = at ? at : n.data; at < n.data + n.size; at++, last = e) {
		struct ply_dirent de;
		int state = VIEW_ROW_SHOWN;

		r = sub_entry(s, at, &e, err);
		if (r == 0)
			r = check_order(&last, &e, at, err);
		if (r == 0)
			r = state = row_state(v, vn, k, &e, err);
		if (r >= 0 && l->row)
			r = l->row(l->ctx, &e, (enum view_row)state, err);
		if (r < 0)
			return r;
		if (state != VIEW_ROW_SHOWN)
			continue;
		r = listed_child(v, vn, k, at, &e, &de.ino, err);
		if (r < 0)
			return r;
		de.cookie = PLY_INO(v->subs[vn->m[k].i].number, at + PLY_COOKIE_FIRST);
		de.name = e.name;
		de.len = e.name_len;
		de.type = e.type;
		if (l->fn(l->ctx, &de))
			return 1;
	}
	return 0;
}

/*
 * Who lists a few directories one after the other will want most of the tree; what is not in memory of its tables is
 * then read in one go, where page after page would be waited for. Not for large ones: of those a walk may want a part.
 */
static void walk_ahead(struct ply_view *v)
{
	if (atomic_fetch_add_explicit(&v->listings, 1, memory_order_relaxed) + 1 != WALK_LISTINGS)
		return;
	for (uint32_t i = 0; i < v->nsubs; i++)
		meta_readahead(sub_meta(v->subs[i].sub), WALK_BYTES);
	if (v->join)
		meta_readahead(join_meta(v->join), WALK_BYTES);
}

int view_readdir(struct ply_view *v, uint64_t dir, uint64_t cookie, ply_dirent_fn fn, view_row_fn row,
		 void *ctx, struct ply_err *err)
{
	const struct lister l = { fn, row, ctx };
	struct vnode vn;
	uint64_t at;
	uint32_t k;
	int r = vnode_get(v, dir, &vn, err);

	if (r < 0)
		return r;
	if (!cookie)
		walk_ahead(v);
	r = seek_cookie(v, &vn, cookie, &k, &at, err);
	for (; r == 0 && k < vn.n; k++, at = 0)
		r = read_part(v, &vn, k, at, &l, err);
	vnode_done(&vn);
	return MIN(r, 0);
}

int ply_view_readdir(struct ply_view *v, uint64_t dir, uint64_t cookie, ply_dirent_fn fn, void *ctx,
		     struct ply_err *err)
{
	return view_readdir(v, dir, cookie, fn, NULL, ctx, err);
}

/* --- paths ----------------------------------------------------------------------- */

#define SYMLINKS_MAX 40

int ply_view_resolve(struct ply_view *v, const char *path, bool follow, uint64_t *ret_ino,
		     struct ply_err *err)
{
	_cleanup_free_ char *rest = strdup(path);
	uint64_t ino = PLY_ROOT_INDEX;
	char *p = rest;
	int links = 0, r;

	if (!rest)
		return ply_fail_nomem(err);
	for (;;) {
		const char *target;
		uint64_t child;
		struct ply_attr a;
		size_t len, tlen;
		char *joined;

		while (*p == '/')
			p++;
		if (!*p)
			break;
		len = strcspn(p, "/");
		r = ply_view_lookup(v, ino, p, len, &child, err);
		if (r < 0)
			return r;
		p += len;
		r = view_own(ply_view_attr(v, child, &a, err), err);
		if (r < 0)
			return r;
		if (!S_ISLNK(a.mode) || !follow) {
			ino = child;
			continue;
		}
		if (++links > SYMLINKS_MAX)
			return ply_fail(err, -ELOOP, PLY_R_SYMLINK_LOOP, "%s: too many symbolic links", path);
		r = ply_view_readlink(v, child, &target, &tlen, err);
		if (r < 0)
			return r;
		joined = malloc(tlen + 1 + strlen(p) + 1);
		if (!joined)
			return ply_fail_nomem(err);
		memcpy(joined, target, tlen);
		joined[tlen] = '/';
		strcpy(joined + tlen + 1, p);
		if (target[0] == '/')
			ino = PLY_ROOT_INDEX;
		free(rest);
		rest = p = joined;
	}
	/* "file/" names a directory only */
	if (p > rest && p[-1] == '/') {
		struct ply_attr a;

		r = ply_view_attr(v, ino, &a, err);
		if (r < 0)
			return r;
		if (!S_ISDIR(a.mode) && path[strlen(path) - 1] == '/')
			return ply_fail(err, -ENOTDIR, PLY_R_NOT_A_DIRECTORY, "%s: not a directory", path);
	}
	*ret_ino = ino;
	return 0;
}

/* --- walk -------------------------------------------------------------------------- */

struct child {
	uint64_t ino;
	size_t name;               /* offset in frame.names */
	uint16_t len;
	uint8_t type;
};

/* One directory that is being walked: its listing, and how far we are. */
struct frame {
	struct walk *walk;
	uint64_t ino;
	size_t path_len;
	struct child *children;
	size_t n, cap, next;
	struct buf names;
	int result;
};

struct walk {
	struct ply_view *v;
	ply_walk_fn fn;
	void *ctx;
	struct buf path;
	struct frame *frames;
	size_t n, cap;
	uint64_t rows;             /* of ENTRIES that were looked at */
};

static int count_row(void *ctx, const struct ply_entry *e, enum view_row state, struct ply_err *err)
{
	struct frame *f = ctx;

	(void)e;
	(void)state;
	return ++f->walk->rows <= view_entries(f->walk->v) ? 0 : view_too_many(err);
}

static int collect(void *ctx, const struct ply_dirent *de)
{
	struct frame *f = ctx;

	f->result = array_grow(&f->children, &f->cap, f->n + 1, sizeof(*f->children));
	if (f->result == 0) {
		f->children[f->n++] = (struct child){ .ino = de->ino, .name = f->names.len,
						      .len = (uint16_t)de->len, .type = de->type };
		f->result = buf_add(&f->names, de->name, de->len);
	}
	return f->result;
}

static void frame_done(struct frame *f)
{
	free(f->children);
	buf_done(&f->names);
}

static int push(struct walk *w, uint64_t ino, struct ply_err *err)
{
	struct frame *f;
	int r;

	if (array_grow(&w->frames, &w->cap, w->n + 1, sizeof(*w->frames)) < 0)
		return ply_fail_nomem(err);
	f = &w->frames[w->n++];
	*f = (struct frame){ .walk = w, .ino = ino, .path_len = w->path.len };
	r = view_readdir(w->v, ino, 0, collect, count_row, f, err);
	if (r == 0 && f->result < 0)
		r = ply_fail_nomem(err);
	return view_own(r, err);
}

/* The next child of the innermost directory. */
static int step(struct walk *w, struct ply_err *err)
{
	struct frame *f = &w->frames[w->n - 1];
	struct ply_walk_entry e;
	const struct child *c;
	int r;

	w->path.len = f->path_len;
	if (f->next == f->n) {
		frame_done(f);
		w->n--;
		return 0;
	}
	c = &f->children[f->next++];
	if ((f->path_len && buf_add(&w->path, "/", 1) < 0))
		return ply_fail_nomem(err);
	e.name_off = w->path.len;
	if (buf_add(&w->path, f->names.data + c->name, c->len) < 0)
		return ply_fail_nomem(err);
	r = view_own(ply_view_attr(w->v, c->ino, &e.attr, err), err);
	if (r < 0) {
		char shown[256];

		escape_name_to((const char *)w->path.data, w->path.len, shown, sizeof(shown));
		ply_err_prefix(err, "/%s", shown);
		return r;
	}
	e.path = (const char *)w->path.data;
	e.path_len = w->path.len;
	e.dir = f->ino;
	e.type = c->type;
	r = w->fn(w->ctx, &e);
	if (r == 0 && S_ISDIR(e.attr.mode))
		r = push(w, c->ino, err);
	return r;
}

int ply_view_walk(struct ply_view *v, uint64_t from, ply_walk_fn fn, void *ctx, struct ply_err *err)
{
	struct walk w = { .v = v, .fn = fn, .ctx = ctx };
	struct ply_walk_entry e = { .path = "", .dir = from };
	int r;

	r = ply_view_attr(v, from, &e.attr, err);
	if (r < 0)
		return r;
	e.type = (uint8_t)(e.attr.mode >> 12);
	r = fn(ctx, &e);
	if (r == 0 && S_ISDIR(e.attr.mode))
		r = push(&w, from, err);
	while (r == 0 && w.n)
		r = step(&w, err);
	while (w.n)
		frame_done(&w.frames[--w.n]);
	free(w.frames);
	buf_done(&w.path);
	return r;
}
