/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One sub-image's side of a collision, alone: what it, with what it stands on or requires, shows at the path.
 *
 * An overlay holds whole files, so that is its own node. A part of a shared file is another matter: a view
 * of that sub-image is asked, from the few that view_merged.c keeps.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/codec.h"
#include "tree/view_impl.h"

#define CHUNK (128u << 10)

/* Where a contender can be asked. */
struct source {
	struct ply_view *v;
	struct vnode vn;
	struct view_file f;
};

/* With view_shared.lock, until source_done(). */
static int source_get(struct ply_view *v, uint64_t ref, struct source *ret, struct ply_err *err)
{
	static const struct place nowhere;
	uint32_t i = v->by_number[PLY_INO_NUMBER(ref)] - 1u;
	uint64_t index = PLY_INO_INDEX(ref), ino;
	int r;

	ret->v = v;
	if (v->subs[i].overlay) {
		ret->vn = (struct vnode){ .ino = ref, .n = 1, .few = { { i, index } } };
		ret->vn.m = ret->vn.few;
		r = view_file_of(v, &ret->vn, &nowhere, &ret->f, err);
		if (r == 0 && ret->f.rendered)
			r = ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "an overlay with records");
		return r;
	}
	r = view_ground_of(v, i, &ret->v, err);
	if (r == 0)
		r = view_node_ino(ret->v, ret->v->by_number[v->subs[i].number] - 1u, index, &ino, err);
	if (r == 0)
		r = vnode_get(ret->v, ino, &ret->vn, err);
	if (r < 0)
		return r;
	r = view_file_of(ret->v, &ret->vn, &nowhere, &ret->f, err);
	if (r == 0 && ret->f.rendered)
		r = view_shared_size(ret->v, &ret->vn, &nowhere, &ret->f.size, err);
	if (r < 0)
		vnode_done(&ret->vn);
	return r;
}

static void source_done(struct source *s)
{
	vnode_done(&s->vn);
}

static ssize_t source_read(const struct source *s, uint64_t off, void *buf, size_t len, struct ply_err *err)
{
	static const struct place nowhere;

	return s->f.rendered ? view_shared_read(s->v, &s->vn, &nowhere, off, len, buf, err) :
			       sub_read(s->f.sub, s->v->cache, &s->f.node, off, len, buf, err);
}

/* --- what it is -------------------------------------------------------------------------- */

static int digest_file(const struct source *s, uint8_t ret[32], struct ply_err *err)
{
	_cleanup_free_ uint8_t *chunk = malloc(CHUNK);
	struct sha256 *h = sha256_new();
	ssize_t n = 0;

	if (!chunk || !h) {
		sha256_free(h);
		return ply_fail_nomem(err);
	}
	for (uint64_t off = 0; off < s->f.size; off += (uint64_t)n) {
		n = source_read(s, off, chunk, CHUNK, err);
		if (n <= 0)
			break;
		sha256_add(h, chunk, (size_t)n);
	}
	sha256_end(h, ret);
	sha256_free(h);
	return n < 0 ? (int)n : 0;
}

static int digest_of(const struct source *s, uint8_t ret[32], struct ply_err *err)
{
	const void *target;
	int r;

	memset(ret, 0, 32);
	if (S_ISREG(s->f.node.mode))
		return digest_file(s, ret, err);
	if (!S_ISLNK(s->f.node.mode))
		return 0;
	r = sub_heap(s->f.sub, s->f.node.data, s->f.node.size, &target, err);
	return r < 0 ? r : sha256_once(target, s->f.node.size, ret) < 0 ? ply_fail_nomem(err) : 0;
}

static int add_xattr(void *ctx, const struct sub_xattr *x, struct ply_err *err)
{
	const uint32_t lens[] = { x->name_len, x->value_len };

	(void)err;
	sha256_add(ctx, lens, sizeof(lens));
	sha256_add(ctx, x->name, x->name_len);
	sha256_add(ctx, x->value, x->value_len);
	return 0;
}

static int digest_xattrs(const struct source *s, uint8_t ret[32], struct ply_err *err)
{
	struct sha256 *h;
	int r;

	memset(ret, 0, 32);
	if (!s->f.node.xattrs)
		return 0;
	h = sha256_new();
	if (!h)
		return ply_fail_nomem(err);
	r = view_file_xattrs(s->v, &s->f, add_xattr, h, err);
	sha256_end(h, ret);
	sha256_free(h);
	return r;
}

static int attributes_of(const struct source *s, struct ply_attr *ret, struct ply_err *err)
{
	const struct ply_node *n = &s->f.node;
	bool is_device = S_ISBLK(n->mode) || S_ISCHR(n->mode);
	struct view_owner owner;
	int r = view_owner(s->v, &s->f, &owner, err);

	if (r < 0)
		return r;
	*ret = (struct ply_attr){
		.ino = s->vn.ino, .mode = n->mode, .uid = owner.uid, .gid = owner.gid,
		.nlink = S_ISDIR(n->mode) ? 2 + (uint64_t)n->nlink : n->nlink,
		.size = is_device ? 0 : S_ISDIR(n->mode) ? PLY_PAGE : s->f.size,
		.rdev_major = is_device ? (uint32_t)(n->size >> 32) : 0, .rdev_minor = is_device ? (uint32_t)n->size : 0,
		.mtime_sec = n->mtime_sec, .mtime_nsec = n->mtime_nsec, .has_xattrs = n->xattrs != 0,
	};
	return 0;
}

/* --- where --------------------------------------------------------------------------------- */

/* A whiteout's row does not say where it is, but a pair does. */
static uint64_t find_named(const struct ply_view *v, uint64_t ref, bool whiteout)
{
	for (size_t i = 0; whiteout && i < view_npairs(v); i++) {
		const struct view_pair *p = view_pair_at(v, i);

		if ((p->a == ref && p->flags & PLY_PAIR_A_WHITEOUT) || (p->b == ref && p->flags & PLY_PAIR_B_WHITEOUT))
			return view_pair_named(v, p);
	}
	return whiteout ? 0 : ref;
}

static int path_of(struct ply_view *v, uint64_t ref, bool whiteout, char **ret, struct ply_err *err)
{
	uint64_t at = find_named(v, ref, whiteout);
	_cleanup_buf_ struct buf path = { 0 };
	int r;

	if (!at)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "%#llx collides with nothing", (unsigned long long)ref);
	r = sub_node_path(v->subs[v->by_number[PLY_INO_NUMBER(at)] - 1u].sub, PLY_INO_INDEX(at), &path, err);
	if (r == 0 && asprintf(ret, "/%s", (const char *)path.data) < 0)
		r = ply_fail_nomem(err);
	return r;
}

static int check_ref(const struct ply_view *v, uint64_t ref, struct ply_err *err)
{
	if (PLY_INO_NUMBER(ref) > PLY_NUMBER_MAX || !v->by_number[PLY_INO_NUMBER(ref)])
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "%#llx is not in this selection", (unsigned long long)ref);
	return 0;
}

int view_contender(struct ply_view *v, uint64_t ref, bool whiteout, struct view_contender *ret, struct ply_err *err)
{
	struct view_contender c = { .deleted = whiteout };
	struct source s;
	int r = check_ref(v, ref, err);

	if (r == 0)
		r = path_of(v, ref, whiteout, &c.path, err);
	if (r < 0)
		return r;
	c.sub = v->by_number[PLY_INO_NUMBER(ref)] - 1u;
	if (!whiteout) {
		pthread_mutex_lock(view_shared_lock(v->shared));
		r = source_get(v, ref, &s, err);
		if (r == 0) {
			r = attributes_of(&s, &c.attr, err);
			if (r == 0)
				r = digest_of(&s, c.digest, err);
			if (r == 0)
				r = digest_xattrs(&s, c.xattrs, err);
			source_done(&s);
		}
		pthread_mutex_unlock(view_shared_lock(v->shared));
	}
	if (r < 0) {
		free(c.path);
		return r;
	}
	*ret = c;
	return 0;
}

void view_contender_done(struct view_contender *c)
{
	free(c->path);
	c->path = NULL;
}

static int source_text(const struct source *s, size_t max, struct buf *out, struct ply_err *err)
{
	const void *target;
	ssize_t n;
	int r;

	if (!S_ISREG(s->f.node.mode) && !S_ISLNK(s->f.node.mode))
		return 0;
	if (s->f.size > max)
		return ply_fail(err, -EFBIG, PLY_R_LIMIT, "more than %zu bytes", max);
	if (S_ISLNK(s->f.node.mode)) {
		r = sub_heap(s->f.sub, s->f.node.data, s->f.node.size, &target, err);
		return r == 0 && buf_add(out, target, s->f.node.size) < 0 ? ply_fail_nomem(err) : r;
	}
	if (buf_reserve(out, s->f.size + 1) < 0)
		return ply_fail_nomem(err);
	n = source_read(s, 0, out->data + out->len, s->f.size, err);
	out->len += n > 0 ? (size_t)n : 0;
	return n < 0 ? (int)n : 0;
}

int view_contender_text(struct ply_view *v, uint64_t ref, size_t max, struct buf *out, struct ply_err *err)
{
	struct source s;
	int r = check_ref(v, ref, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(view_shared_lock(v->shared));
	r = source_get(v, ref, &s, err);
	if (r == 0) {
		r = source_text(&s, max, out, err);
		source_done(&s);
	}
	pthread_mutex_unlock(view_shared_lock(v->shared));
	return r;
}
