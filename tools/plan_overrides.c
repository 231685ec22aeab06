/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an overlay changes of what it stands on: its rows of OVERRIDES, and its whiteouts. Counting reads
 * these tables alone; whose a file was is asked of a view of what the overlay stands on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "format/format.h"
#include "planning.h"
#include "tree/view_internal.h"

#define PARENTS_MAX (1u << 24)

struct teller {
	struct planning *p;
	uint32_t sub;
	struct sub *s;
	struct ply_view *parent;   /* what it stands on; NULL: nobody asks */
	struct plan_changes *count;
	plan_change_fn *fn;
	void *ctx;
	struct ply_err *err;
};

/* Names of the sub-images that hold @path in the parent view. */
static int whose(const struct teller *t, const char *path, struct buf *out)
{
	uint32_t max = ply_view_nsubs(t->parent);
	_cleanup_free_ uint32_t *subs = calloc(max, sizeof(*subs));
	uint64_t ino;
	int n, r = 0;

	if (!subs)
		return ply_fail_nomem(t->err);
	n = ply_view_resolve(t->parent, path, false, &ino, t->err);
	if (n == 0)
		n = ply_view_origin(t->parent, ino, subs, max, t->err);
	if (n == -ENOENT || n == -ENOTDIR)         /* an image that contradicts itself */
		n = 0;
	if (n < 0)
		return n;
	for (int i = 0; r == 0 && i < n; i++)
		r = buf_printf(out, "%s%s", i ? ", " : "", t->p->c->names[subs[i]]);
	if (r == 0 && !n)
		r = buf_printf(out, "nobody");
	return r == 0 && buf_add(out, "", 1) == 0 ? 0 : ply_fail_nomem(t->err);
}

static int tell(const struct teller *t, uint32_t mask, const char *path)
{
	_cleanup_buf_ struct buf of = { 0 };
	struct plan_change c = { .sub = t->sub, .mask = mask, .path = path };
	int r = whose(t, path, &of);

	c.of = (const char *)of.data;
	return r < 0 ? r : t->fn(t->ctx, &c, t->err);
}

static int tell_overrides(const struct teller *t)
{
	uint64_t n = sub_override_count(t->s);

	for (uint64_t i = 0; i < n; i++) {
		_cleanup_buf_ struct buf path = { 0 };
		_cleanup_free_ char *absolute = NULL;
		struct ply_override o;
		int r = sub_override(t->s, i, &o, t->err);

		if (r < 0)
			return r;
		t->count->n++;
		for (int bit = 0; bit < 6; bit++)
			t->count->by[bit] += o.mask >> bit & 1;
		if (!t->fn)
			continue;
		r = sub_node_path(t->s, o.node, &path, t->err);
		if (r == 0 && asprintf(&absolute, "/%s", (const char *)path.data) < 0)
			r = ply_fail_nomem(t->err);
		if (r == 0)
			r = tell(t, o.mask, absolute);
		if (r < 0)
			return r;
	}
	return 0;
}

static int tell_deleted(const struct teller *t, const struct buf *dir, const struct ply_entry *e)
{
	_cleanup_free_ char *absolute = NULL;

	if (asprintf(&absolute, "%s%s/%.*s", dir->len ? "/" : "", (const char *)dir->data, (int)e->name_len, e->name) < 0)
		return ply_fail_nomem(t->err);
	return tell(t, 0, absolute);
}

/* The whiteouts of directory @index; of a deleted directory, those of what it held too. */
static int tell_directory(const struct teller *t, uint64_t index, const struct ply_node *dir)
{
	_cleanup_buf_ struct buf path = { 0 };

	for (uint64_t i = 0; i < dir->size; i++) {
		struct ply_entry e;
		int r = sub_entry(t->s, dir->data + i, &e, t->err);

		if (r < 0)
			return r;
		if (e.type != PLY_T_WHITEOUT)
			continue;
		t->count->deleted++;
		if (!t->fn)
			continue;
		r = path.data ? 0 : sub_node_path(t->s, index, &path, t->err);
		if (r == 0)
			r = tell_deleted(t, &path, &e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int tell_whiteouts(const struct teller *t)
{
	uint64_t n = sub_limits(t->s)->nodes, rows = 0;

	for (uint64_t i = PLY_ROOT_INDEX; i < n; i++) {
		struct ply_node node;
		int r = sub_node(t->s, i, &node, t->err);

		if (r < 0)
			return r;
		if ((node.mode & 0170000) != 0040000)
			continue;
		/* directories that share entries are hostile */
		rows += node.size;
		if (rows > sub_limits(t->s)->entries)
			return view_too_many(t->err);
		r = tell_directory(t, i, &node);
		if (r < 0)
			return r;
	}
	return 0;
}

static int tell_all(struct teller *t)
{
	int r;

	*t->count = (struct plan_changes){ 0 };
	r = tell_overrides(t);
	return r < 0 ? r : tell_whiteouts(t);
}

/* A view costs the square of how many overlays stand on one another in it. */
static int open_parent(struct teller *t)
{
	struct planning *p = t->p;
	const struct ply_sub_info *info = ply_image_sub_info(p->look.image, t->sub);
	const struct ply_view_options o = { .names = info->stands_on, .n = info->nstands_on,
					    .undecided_first = true };
	int r = ply_view_open_with(p->look.image, &o, &t->parent, t->err);
	uint64_t n = r == 0 ? ply_view_nsubs(t->parent) : 0;

	p->parents += n * n;
	return r == 0 && p->parents > PARENTS_MAX ?
		ply_fail(t->err, -EFBIG, PLY_R_LIMIT, "too many overlays that stand on one another to list what each "
			 "of them overrides; select fewer") : r;
}

int plan_changes(struct planning *p, uint32_t sub, struct plan_changes *ret, plan_change_fn *fn, void *ctx,
		 struct ply_err *err)
{
	struct teller t = { .p = p, .sub = sub, .count = ret, .ctx = ctx, .err = err };
	int r = image_sub(p->look.image, sub, &t.s, err);

	if (r == 0)
		r = tell_all(&t);
	if (r == 0 && fn && (ret->n || ret->deleted)) {
		r = open_parent(&t);
		t.fn = fn;
		if (r == 0)
			r = tell_all(&t);
	}
	ply_view_close(t.parent);
	return r;
}
