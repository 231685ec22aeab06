/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Collisions of a selection: see collisions.h.
 *
 * A pair names nodes; what it is about is a path. Both nodes have it, but a node with several names tells
 * only its first: where the two differ, the one counts that leads to the other's node too.
 */
#include "collisions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/codec.h"
#include "merge/compose.h"
#include "policy.h"
#include "tree/view_internal.h"

#define CACHE_BYTES  ((size_t)8 << 20)     /* of each contender's view */
#define READ_BYTES   ((size_t)128 << 10)
#define DIGEST_MAX   ((uint64_t)16 << 30)  /* of a file; a larger one, which may be nothing but a hole, goes by its size */
#define PATHS_MAX    ((size_t)128 << 20)   /* bytes of all paths: hostile ones are long, and many */

/* What struct collisions is the face of. */
struct loaded {
	struct collisions c;       /* the first: collisions_free() gets its address */
	struct ply_image *image;
	struct ply_view *view;
	struct ply_view **views;   /* by position; NULL: not opened yet */
	const char **names;
	bool *selected;
};

/* --- questions about one --------------------------------------------------------------- */

bool collision_is_undecided(const struct collision *c, bool append)
{
	if (c->rule == POLICY_FAIL)
		return true;
	return c->cls == MERGE_CONFLICT && !c->rule && !(append && c->appendable);
}

static const char *refuses_both(const struct collision *c)
{
	const char *name = strrchr(c->path, '/') + 1;

	for (size_t i = 0; i < c->n; i++) {
		if (c->v[i].whiteout)
			return "one of them deletes it";
		if (S_ISDIR(c->v[i].mode))
			return "a directory has one name only";
	}
	return strlen(name) + strlen(".plyfs-") + PLY_SUB_NAME_MAX > 255 ? "its name would be too long" : NULL;
}

const char *collision_refuses(const struct collision *c, uint8_t rule)
{
	bool regular = true;

	for (size_t i = 0; i < c->n; i++)
		regular &= S_ISREG(c->v[i].mode);
	switch (rule) {
	case PLY_RULE_APPEND:
		return c->appendable ? NULL : c->why ? merge_why_text(c->why) : "it is merged otherwise";
	case PLY_RULE_KEEP_BOTH:
		return refuses_both(c);
	case PLY_RULE_DRIVER:
		return regular ? NULL : "a driver merges regular files only";
	default:
		return NULL;
	}
}

struct collision *collisions_find(const struct collisions *c, const char *path)
{
	size_t lo = 0, hi = c->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int r = strcmp(c->v[mid].path, path);

		if (r == 0)
			return &c->v[mid];
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* The rule that a collision goes by; 0: none. */
static uint8_t rule_of(const struct collision *k, bool append)
{
	if (k->cls < MERGE_DRIVER || k->rule == POLICY_FAIL)
		return 0;
	return !k->rule && append && k->appendable && k->cls == MERGE_CONFLICT ? PLY_RULE_APPEND : k->rule;
}

int collisions_decisions(const struct collisions *c, bool append, struct ply_decision **ret, size_t *ret_n,
			 struct ply_err *err)
{
	struct ply_decision *v = calloc(c->npairs ? c->npairs : 1, sizeof(*v));
	size_t n = 0;

	if (!v)
		return ply_fail_nomem(err);
	for (size_t i = 0; i < c->n; i++) {
		const struct collision *k = &c->v[i];
		uint8_t rule = rule_of(k, append);

		for (size_t p = k->pair; rule && p < k->pair + k->npairs; p++)
			v[n++] = (struct ply_decision){ .a = c->pairs[p].a, .b = c->pairs[p].b, .rule = rule,
							.driver = k->driver };
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

/* --- contents --------------------------------------------------------------------------- */

int collisions_view_of(struct collisions *c, uint32_t sub, struct ply_view **ret, struct ply_err *err)
{
	struct loaded *l = (struct loaded *)c;
	const struct ply_view_options o = { .names = &l->names[sub], .n = 1, .cache_bytes = CACHE_BYTES,
					    .undecided_first = true };
	int r = 0;

	if (!l->views[sub])
		r = ply_view_open_with(l->image, &o, &l->views[sub], err);
	if (r == 0)
		*ret = l->views[sub];
	return r;
}

static int digest_of(struct ply_view *view, uint64_t ino, uint64_t size, uint8_t ret[32], struct ply_err *err)
{
	_cleanup_free_ uint8_t *buf = malloc(READ_BYTES);
	struct sha256 *h = sha256_new();
	int r = buf && h ? 0 : ply_fail_nomem(err);

	for (uint64_t off = 0; r == 0 && off < size;) {
		ssize_t n = ply_view_read(view, ino, off, READ_BYTES, buf, err);

		if (n <= 0)
			r = n < 0 ? (int)n : ply_fail(err, -EUCLEAN, PLY_R_NODE_FIELD, "a file is shorter than its size");
		else
			sha256_add(h, buf, (size_t)n);
		off += n > 0 ? (uint64_t)n : 0;
	}
	if (r == 0)
		sha256_end(h, ret);
	sha256_free(h);
	return r;
}

/* As it stands in a policy, so that both are equal text. */
static int name_target(const char *to, size_t len, char **ret)
{
	_cleanup_free_ char *target = strndup(to, len);
	_cleanup_buf_ struct buf text = { 0 };
	int r = target ? buf_printf(&text, "symlink:") : -ENOMEM;

	if (r == 0)
		r = policy_escape(&text, target);
	if (r == 0)
		r = buf_add(&text, "", 1);
	if (r == 0)
		*ret = (char *)TAKE_PTR(text.data);
	return r;
}

static int name_content(struct ply_view *view, uint64_t ino, const struct ply_attr *a, char **ret, struct ply_err *err)
{
	char hex[65];
	uint8_t digest[32];
	const char *to;
	size_t len;
	int r;

	switch (a->mode & S_IFMT) {
	case S_IFREG:
		if (a->size > DIGEST_MAX)
			return asprintf(ret, "large:%" PRIu64, a->size) < 0 ? ply_fail_nomem(err) : 0;
		r = digest_of(view, ino, a->size, digest, err);
		if (r < 0)
			return r;
		hex_encode(digest, sizeof(digest), hex);
		return asprintf(ret, "sha256:%s", hex) < 0 ? ply_fail_nomem(err) : 0;
	case S_IFLNK:
		r = ply_view_readlink(view, ino, &to, &len, err);
		if (r < 0)
			return r;
		return name_target(to, len, ret) < 0 ? ply_fail_nomem(err) : 0;
	case S_IFCHR:
	case S_IFBLK:
		return asprintf(ret, "%s:%u:%u", S_ISCHR(a->mode) ? "char" : "block", a->rdev_major, a->rdev_minor) < 0 ?
			       ply_fail_nomem(err) : 0;
	default:
		*ret = strdup(S_ISDIR(a->mode) ? "directory" : S_ISFIFO(a->mode) ? "fifo" : "socket");
		return *ret ? 0 : ply_fail_nomem(err);
	}
}

static int content_of(void *ctx, uint32_t sub, const char *path, char **ret, struct ply_err *err)
{
	struct ply_view *view;
	struct ply_attr a;
	uint64_t ino;
	int r = collisions_view_of(ctx, sub, &view, err);

	if (r < 0)
		return r;
	r = ply_view_resolve(view, path, false, &ino, err);
	if (r == -ENOENT || r == -ENOTDIR) {
		*ret = strdup("deleted");
		return *ret ? 0 : ply_fail_nomem(err);
	}
	if (r == 0)
		r = ply_view_attr(view, ino, &a, err);
	return r < 0 ? r : name_content(view, ino, &a, ret, err);
}

/* --- from pairs to paths ------------------------------------------------------------------ */

/* A pair with its path, until they are in order. */
struct found {
	char *path;
	struct collision_pair pair;
};

struct loader {
	struct loaded *l;
	struct found *v;
	size_t n;
	struct ply_err *err;
};

static int position_of(const struct loaded *l, uint64_t ref, uint32_t *ret, struct ply_err *err)
{
	for (uint32_t i = 0; i < l->c.nnames; i++) {
		if (ply_image_sub_info(l->image, i)->number == PLY_INO_NUMBER(ref)) {
			*ret = i;
			return 0;
		}
	}
	return ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "a collision is of sub-image %u, which is not there",
			PLY_INO_NUMBER(ref));
}

static int path_of_node(const struct loaded *l, uint64_t ref, char **ret, struct ply_err *err)
{
	_cleanup_buf_ struct buf path = { 0 };
	struct sub *sub;
	uint32_t i;
	int r = position_of(l, ref, &i, err);

	if (r == 0)
		r = image_sub(l->image, i, &sub, err);
	if (r == 0)
		r = sub_node_path(sub, PLY_INO_INDEX(ref), &path, err);
	if (r < 0)
		return r;
	return asprintf(ret, "/%s", (const char *)path.data) < 0 ? ply_fail_nomem(err) : 0;
}

static int path_of_whiteout(const struct loaded *l, uint64_t ref, char **ret, struct ply_err *err)
{
	struct view_contender k;
	int r = view_contender(l->view, ref, true, &k, err);

	if (r < 0)
		return r;
	*ret = TAKE_PTR(k.path);
	view_contender_done(&k);
	return 0;
}

/* Does @path lead to node @ref of its sub-image? */
static bool leads_to(struct loaded *l, const char *path, uint64_t ref)
{
	struct ply_view *view;
	uint64_t ino;
	uint32_t i;

	return position_of(l, ref, &i, NULL) == 0 && collisions_view_of(&l->c, i, &view, NULL) == 0 &&
	       ply_view_resolve(view, path, false, &ino, NULL) == 0 && ino == ref;
}

static int path_of_pair(struct loaded *l, const struct view_pair *p, char **ret, struct ply_err *err)
{
	uint64_t first = view_pair_named(l->view, p), second = first == p->a ? p->b : p->a;
	_cleanup_free_ char *one = NULL, *other = NULL;
	int r;

	if (p->flags & PLY_PAIR_A_WHITEOUT)
		return path_of_whiteout(l, p->a, ret, err);
	if (p->flags & PLY_PAIR_B_WHITEOUT)
		return path_of_whiteout(l, p->b, ret, err);
	r = path_of_node(l, first, &one, err);
	if (r == 0)
		r = path_of_node(l, second, &other, err);
	if (r < 0)
		return r;
	if (strcmp(one, other) != 0 && !leads_to(l, one, second) && leads_to(l, other, first))
		*ret = TAKE_PTR(other);
	else
		*ret = TAKE_PTR(one);
	return 0;
}

static int by_path(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int r = strcmp(x->path, y->path);

	if (r)
		return r;
	if (x->pair.b != y->pair.b)
		return x->pair.b < y->pair.b ? -1 : 1;
	return x->pair.a < y->pair.a ? -1 : x->pair.a > y->pair.a;
}

static int find_paths(struct loader *w)
{
	size_t n = view_npairs(w->l->view), bytes = 0;

	w->v = calloc(n ? n : 1, sizeof(*w->v));
	if (!w->v)
		return ply_fail_nomem(w->err);
	for (; w->n < n; w->n++) {
		const struct view_pair *p = view_pair_at(w->l->view, w->n);
		struct found *f = &w->v[w->n];
		int r;

		f->pair = (struct collision_pair){ p->a, p->b, p->cls, p->why, p->flags };
		r = path_of_pair(w->l, p, &f->path, w->err);
		if (r < 0)
			return r;
		bytes += strlen(f->path) + 1;
		if (bytes > PATHS_MAX) {
			w->n++;
			return ply_fail(w->err, -EFBIG, PLY_R_LIMIT, "the paths of the collisions have more than %zu bytes",
					PATHS_MAX);
		}
	}
	qsort(w->v, n, sizeof(*w->v), by_path);
	return 0;
}

/* @ref among the holders of @k, which has room for it. */
static int add_holder(struct loaded *l, struct collision *k, uint64_t ref, bool whiteout, struct ply_err *err)
{
	struct holder h = { .ref = ref, .whiteout = whiteout };
	struct ply_node node;
	struct sub *sub;
	size_t at = 0;
	int r = position_of(l, ref, &h.sub, err);

	if (r < 0)
		return r;
	while (at < k->n && k->v[at].sub < h.sub)
		at++;
	if (at < k->n && k->v[at].sub == h.sub)
		return 0;
	if (!whiteout) {
		r = image_sub(l->image, h.sub, &sub, err);
		if (r == 0)
			r = sub_node(sub, PLY_INO_INDEX(ref), &node, err);
		if (r < 0)
			return r;
		h.mode = (uint16_t)node.mode;
	}
	memmove(k->v + at + 1, k->v + at, (k->n - at) * sizeof(*k->v));
	k->v[at] = h;
	k->n++;
	return 0;
}

static int add_pair(struct loaded *l, struct collision *k, const struct collision_pair *p, struct ply_err *err)
{
	int r = add_holder(l, k, p->a, p->flags & PLY_PAIR_A_WHITEOUT, err);

	if (r == 0)
		r = add_holder(l, k, p->b, p->flags & PLY_PAIR_B_WHITEOUT, err);
	if (p->cls > k->cls) {
		k->cls = p->cls;
		k->why = p->why;
	}
	k->flags |= p->flags;
	k->appendable &= (p->flags & PLY_PAIR_APPENDABLE) != 0;
	k->npairs++;
	return r;
}

/* Pairs in the order of their paths, as collisions. */
static int gather(struct loader *w)
{
	struct collisions *c = &w->l->c;

	c->v = calloc(w->n ? w->n : 1, sizeof(*c->v));
	c->pairs = calloc(w->n ? w->n : 1, sizeof(*c->pairs));
	if (!c->v || !c->pairs)
		return ply_fail_nomem(w->err);
	for (size_t i = 0; i < w->n; i++) {
		struct collision *k = c->n ? &c->v[c->n - 1] : NULL;
		int r;

		if (!k || strcmp(k->path, w->v[i].path) != 0) {
			size_t most = i + 1;

			while (most < w->n && !strcmp(w->v[most].path, w->v[i].path))
				most++;
			k = &c->v[c->n];
			*k = (struct collision){ .path = TAKE_PTR(w->v[i].path), .pair = i, .appendable = true,
						 .group = c->n };
			c->n++;
			k->v = calloc(MIN(2 * (most - i), (size_t)c->nnames) + 1, sizeof(*k->v));
			if (!k->v)
				return ply_fail_nomem(w->err);
		}
		c->pairs[c->npairs++] = w->v[i].pair;
		r = add_pair(w->l, k, &w->v[i].pair, w->err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int know_names(struct loaded *l, struct ply_err *err)
{
	uint32_t n = ply_image_nsubs(l->image);

	l->names = calloc(n, sizeof(*l->names));
	l->selected = calloc(n, sizeof(*l->selected));
	l->views = calloc(n, sizeof(*l->views));
	if (!l->names || !l->selected || !l->views)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < n; i++)
		l->names[i] = ply_image_sub_info(l->image, i)->name;
	for (uint32_t i = 0; i < ply_view_nsubs(l->view); i++)
		l->selected[ply_view_sub(l->view, i)] = true;
	l->c.names = l->names;
	l->c.selected = l->selected;
	l->c.nnames = n;
	return 0;
}

int collisions_load(struct ply_view *view, struct collisions **ret, struct ply_err *err)
{
	struct loaded *l = calloc(1, sizeof(*l));
	struct loader w = { .l = l, .err = err };
	int r;

	if (!l)
		return ply_fail_nomem(err);
	l->view = view;
	l->image = ply_view_image(view);
	l->c.content = content_of;
	l->c.ctx = &l->c;
	r = know_names(l, err);
	if (r == 0)
		r = find_paths(&w);
	if (r == 0)
		r = gather(&w);
	for (size_t i = 0; w.v && i < view_npairs(view); i++)
		free(w.v[i].path);
	free(w.v);
	if (r < 0)
		collisions_free(&l->c);
	else
		*ret = &l->c;
	return r;
}

struct collisions *collisions_free(struct collisions *c)
{
	struct loaded *l = (struct loaded *)c;

	if (!c)
		return NULL;
	for (size_t i = 0; i < c->n; i++) {
		free(c->v[i].path);
		free(c->v[i].v);
	}
	for (uint32_t i = 0; l->views && i < c->nnames; i++)
		ply_view_close(l->views[i]);
	free(c->v);
	free(c->pairs);
	free(l->views);
	free(l->names);
	free(l->selected);
	free(l);
	return NULL;
}
