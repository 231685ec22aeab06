/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Content that several sub-images have a part in, and what each of them has by itself.
 *
 * A merged file is folded by rank: what is there so far, and the next overlay's file, are two changes of
 * one base, the content that this overlay was made on top of; merge/compose.h puts them together. That base is
 * itself what the sub-images below it show, so it is folded in the same way from those of the candidates that
 * the overlay stands on, and no view is opened for it. Only what the ground has there depends on a selection (records and
 * names with conditions), so where that is another one, a view of its ground alone is asked; a few are kept.
 *
 * Often there is nothing to put together: an overlay that stands on all that is there so far is simply
 * next, and so is one whose base nobody else has changed.
 *
 * Bounded, whatever the image says: texts by MERGE_FILE_MAX each and BYTES_MAX together, depth and
 * number of compositions as below.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/map.h"
#include "base/util.h"
#include "codec/codec.h"
#include "merge/compose.h"
#include "tree/view_impl.h"

#define GROUNDS_MAX  16u
#define GROUND_CACHE ((size_t)2 << 20)
#define BYTES_MAX    (4 * MERGE_PARTS_MAX)
#define COMPOSES_MAX 8192u
#define COMPOSE_COST (1ULL << 25)          /* of one, at most: as many steps as diff3.c takes */
#define COSTS_MAX    (256 * COMPOSE_COST)
#define TESTS_MAX    (1ULL << 28)
#define NESTED_MAX   128u

/* --- views of the ground alone -------------------------------------------------------- */

struct ground {
	uint64_t *set;             /* positions in the view that it belongs to */
	struct ply_view *view;
	uint64_t used;
};

/* Guarded by view_shared.lock, as are the folds that use it. */
struct view_grounds {
	struct ground v[GROUNDS_MAX];
	uint32_t n;
	uint64_t clock;
};

static void ground_done(struct ground *g)
{
	ply_view_close(g->view);
	free(g->set);
}

void view_grounds_free(struct view_grounds *g)
{
	if (!g)
		return;
	for (uint32_t i = 0; i < g->n; i++)
		ground_done(&g->v[i]);
	free(g);
}

static int open_ground(struct ply_view *v, const uint64_t *set, struct ply_view **ret, struct ply_err *err)
{
	_cleanup_free_ const char **names = calloc(v->nsubs, sizeof(*names));
	size_t n = 0;

	if (!names)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < v->nsubs; i++)
		if (set[i / 64] >> i % 64 & 1)
			names[n++] = ply_image_sub_info(v->image, v->subs[i].pos)->name;
	if (!n)
		names[n++] = ply_image_sub_info(v->image, 0)->name;
	return ply_view_open(v->image, names, n, GROUND_CACHE, ret, err);
}

/* The view of the sub-images in @set, of which none is an overlay. Valid until the next call. */
static int ground_view_locked(struct ply_view *v, const uint64_t *set, struct ply_view **ret, struct ply_err *err)
{
	size_t bytes = (v->nsubs + 63) / 64 * sizeof(*set);
	struct view_grounds *all = v->grounds;
	struct ground *g, made = { 0 };
	int r;

	if (!all)
		all = v->grounds = calloc(1, sizeof(*all));
	if (!all)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < all->n; i++) {
		if (memcmp(all->v[i].set, set, bytes) != 0)
			continue;
		all->v[i].used = ++all->clock;
		*ret = all->v[i].view;
		return 0;
	}
	r = open_ground(v, set, &made.view, err);
	if (r < 0)
		return r;
	if (made.view->noverlays) {        /* it might ask for a ground of its own, and so on */
		ground_done(&made);
		return ply_fail(err, -EUCLEAN, PLY_R_PARENT, "what is no overlay requires one");
	}
	made.set = malloc(bytes);
	if (!made.set) {
		ground_done(&made);
		return ply_fail_nomem(err);
	}
	memcpy(made.set, set, bytes);
	made.used = ++all->clock;
	g = &all->v[0];
	if (all->n < GROUNDS_MAX) {
		g = &all->v[all->n++];
	} else {
		for (uint32_t i = 1; i < GROUNDS_MAX; i++)
			if (all->v[i].used < g->used)
				g = &all->v[i];
		ground_done(g);
	}
	*g = made;
	*ret = made.view;
	return 0;
}

int view_ground_of(struct ply_view *v, uint32_t i, struct ply_view **ret, struct ply_err *err)
{
	_cleanup_free_ uint64_t *set = calloc((v->nsubs + 63) / 64, sizeof(*set));

	if (!set)
		return ply_fail_nomem(err);
	set[i / 64] |= 1ULL << i % 64;
	return ground_view_locked(v, set, ret, err);
}

/* --- texts -------------------------------------------------------------------------------- */

/* The bytes of a regular file; there is none: it is gone, or something else. */
struct text {
	bool is_there;
	struct span s;
};

enum { NOT_ASKED = 0, ASKED, KNOWN };

struct fold {
	struct ply_view *v;
	const struct vnode *dir;
	const struct view_name *n;
	const char *name;
	size_t len;
	char *path;
	struct text *own, *base;   /* by candidate */
	uint8_t *has_own, *has_base;
	bool *is_author;           /* it has changed the content, or brought it */
	struct buf *bufs;          /* what texts lie in */
	size_t nbufs, bufs_cap, bytes;
	uint64_t tests, costs;
	uint32_t composes, nested;
};

static void fold_done(struct fold *f)
{
	for (size_t i = 0; i < f->nbufs; i++)
		buf_done(&f->bufs[i]);
	free(f->bufs);
	free(f->own);
	free(f->base);
	free(f->has_own);
	free(f->has_base);
	free(f->is_author);
	free(f->path);
}

static int too_much(struct ply_err *err)
{
	return ply_fail(err, -EUCLEAN, PLY_R_LIMIT, "a file that too much has to be merged for");
}

/* Takes @b over. */
static int keep_text(struct fold *f, struct buf *b, struct text *ret, struct ply_err *err)
{
	if (array_grow(&f->bufs, &f->bufs_cap, f->nbufs + 1, sizeof(*f->bufs)) < 0 || buf_reserve(b, 1) < 0) {
		buf_done(b);
		return ply_fail_nomem(err);
	}
	f->bufs[f->nbufs++] = *b;
	*ret = (struct text){ true, { b->data, b->len } };
	f->bytes += b->len;
	*b = (struct buf){ 0 };
	return f->bytes > BYTES_MAX ? too_much(err) : 0;
}

static int read_node(struct ply_view *v, const struct view_file *file, struct buf *out, struct ply_err *err)
{
	ssize_t got;

	if (file->node.size > MERGE_FILE_MAX)
		return ply_fail(err, -EUCLEAN, PLY_R_LIMIT, "a merged file of more than %zu MiB", MERGE_FILE_MAX >> 20);
	if (buf_reserve(out, file->node.size + 1) < 0)
		return ply_fail_nomem(err);
	got = sub_read(file->sub, v->cache, &file->node, 0, file->node.size, out->data, err);
	if (got < 0)
		return (int)got;
	out->len = (size_t)got;
	return 0;
}

/* What candidate @k, an overlay, has itself. */
static int own_text(struct fold *f, uint32_t k, struct text *ret, struct ply_err *err)
{
	const struct cand *c = &f->n->c[k];
	struct view_file file = { .sub = f->v->subs[c->i].sub };
	_cleanup_buf_ struct buf b = { 0 };
	int r = 0;

	if (f->has_own[k] != KNOWN && c->type == S_IFREG >> 12) {
		r = sub_node(file.sub, c->index, &file.node, err);
		if (r == 0)
			r = read_node(f->v, &file, &b, err);
		if (r == 0)
			r = keep_text(f, &b, &f->own[k], err);
		if (r < 0)
			return r;
	}
	f->has_own[k] = KNOWN;
	*ret = f->own[k];
	return 0;
}

/* All of @ino, if it is a regular file. */
static int read_whole(struct ply_view *v, uint64_t ino, struct buf *out, bool *ret_regular, struct ply_err *err)
{
	struct ply_attr a;
	ssize_t got;
	int r = ply_view_attr(v, ino, &a, err);

	if (r < 0)
		return r;
	*ret_regular = S_ISREG(a.mode);
	if (!*ret_regular)
		return 0;
	if (a.size > MERGE_FILE_MAX)
		return ply_fail(err, -EUCLEAN, PLY_R_LIMIT, "a merged file of more than %zu MiB", MERGE_FILE_MAX >> 20);
	if (buf_reserve(out, a.size + 1) < 0)
		return ply_fail_nomem(err);
	got = ply_view_read(v, ino, 0, a.size, out->data, err);
	if (got < 0)
		return (int)got;
	out->len = (size_t)got;
	return 0;
}

/* What the ground in @set has at this name. */
static int ask_ground(struct fold *f, const uint64_t *set, struct buf *out, bool *ret_there, struct ply_err *err)
{
	struct ply_view *gv;
	uint64_t dir = 0, ino;
	int r = ground_view_locked(f->v, set, &gv, err);

	for (uint32_t k = 0; r == 0 && !dir && k < f->dir->n; k++) {
		uint32_t at = gv->by_number[f->v->subs[f->dir->m[k].i].number];

		if (at)
			r = view_node_ino(gv, at - 1, f->dir->m[k].index, &dir, err);
	}
	*ret_there = false;
	if (r < 0 || !dir)
		return r;
	r = ply_view_lookup(gv, dir, f->name, f->len, &ino, err);
	if (r == -ENOENT || r == -ESTALE)
		return 0;
	return r < 0 ? r : read_whole(gv, ino, out, ret_there, err);
}

/* The ground of the whole view. */
static int own_ground(struct fold *f, struct buf *out, bool *ret_there, struct ply_err *err)
{
	const struct cand *c = NULL;
	struct vnode vn;
	uint64_t ino;
	int r;

	for (uint32_t k = 0; k < f->n->n && !c; k++)
		if (!f->v->subs[f->n->c[k].i].overlay)
			c = &f->n->c[k];
	*ret_there = c && c->type == S_IFREG >> 12;
	if (!*ret_there)
		return 0;
	r = view_node_ino(f->v, c->i, c->index, &ino, err);
	if (r == 0)
		r = vnode_get(f->v, ino, &vn, err);
	if (r == 0) {
		struct view_file file = { 0 };
		struct member m;

		r = vnode_node(f->v, &vn, &file.node, &m, err);
		file.sub = f->v->subs[m.i].sub;
		if (r == 0)
			r = file.node.flags & PLY_NODE_SHARED ? view_render_locked(f->v, &vn, out, err) :
								read_node(f->v, &file, out, err);
		vnode_done(&vn);
	}
	return r;
}

/* ... of what stands below; @closure NULL: of the whole view. */
static int ground_text(struct fold *f, const uint64_t *closure, struct text *ret, struct ply_err *err)
{
	uint32_t words = (f->v->nsubs + 63) / 64;
	_cleanup_free_ uint64_t *set = calloc(words, sizeof(*set));
	_cleanup_buf_ struct buf b = { 0 };
	bool all = true, is_there;
	int r;

	if (!set)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; i < f->v->nsubs; i++) {
		bool in = !closure || closure[i / 64] >> i % 64 & 1;

		if (f->v->subs[i].overlay)
			continue;
		all &= in;
		set[i / 64] |= (uint64_t)in << i % 64;
	}
	*ret = (struct text){ 0 };
	r = all ? own_ground(f, &b, &is_there, err) : ask_ground(f, set, &b, &is_there, err);
	return r < 0 || !is_there ? r : keep_text(f, &b, ret, err);
}

/* --- folding -------------------------------------------------------------------------------- */

/* What some of the candidates show: those in @in, which what has @closure stands on (NULL: all). */
struct layer {
	const bool *in;
	const uint64_t *closure;
	bool *heads;               /* nobody hides them; whiteouts too */
	uint8_t rule;
	uint16_t driver;
};

static bool is_ground(const struct fold *f, uint32_t k)
{
	return !f->v->subs[f->n->c[k].i].overlay;
}

static int find_heads(struct fold *f, struct layer *l, struct ply_err *err)
{
	uint32_t words = (f->v->nsubs + 63) / 64;
	_cleanup_free_ uint64_t *hidden = calloc(words, sizeof(*hidden));
	uint16_t flags;

	if (!hidden)
		return ply_fail_nomem(err);
	f->tests += (uint64_t)f->n->n * (words + 1);
	if (f->tests > TESTS_MAX)
		return too_much(err);
	for (uint32_t k = 0; k < f->n->n; k++)
		for (uint32_t w = 0; l->in[k] && !is_ground(f, k) && w < words; w++)
			hidden[w] |= f->v->subs[f->n->c[k].i].closure[w];
	for (uint32_t k = 0; k < f->n->n; k++)
		l->heads[k] = l->in[k] && !(hidden[f->n->c[k].i / 64] >> f->n->c[k].i % 64 & 1);
	return view_name_rule(f->v, f->n, l->heads, &l->rule, &l->driver, &flags, err);
}

/* Text of head @k: the ground is one, however many parts it has. */
static int head_text(struct fold *f, const struct layer *l, uint32_t k, struct text *ret, struct ply_err *err)
{
	return is_ground(f, k) ? ground_text(f, l->closure, ret, err) : own_text(f, k, ret, err);
}

/* Heads, the ground once: how many, the first and the last. @all: whiteouts too. */
static uint32_t count_heads(const struct fold *f, const struct layer *l, bool all, uint32_t *ret_first,
			    uint32_t *ret_last)
{
	bool ground = false;
	uint32_t n = 0;

	for (uint32_t k = 0; k < f->n->n; k++) {
		if (!l->heads[k] || (!all && f->n->c[k].type == PLY_T_WHITEOUT) || (is_ground(f, k) && ground))
			continue;
		ground |= is_ground(f, k);
		if (!n++)
			*ret_first = k;
		*ret_last = k;
	}
	return n;
}

/* Has head @k changed the content, or something below it that not all heads stand on (@common)? */
static bool brings_content(struct fold *f, const struct layer *l, const uint64_t *common, uint32_t k)
{
	bool brings = f->is_author[k];

	f->tests += k;
	for (uint32_t j = 0; !brings && j < k; j++)
		brings = l->in[j] && f->is_author[j] && view_comes_with(f->v, f->n, common, k, j);
	return brings;
}

static int show_layer(struct fold *f, struct layer *l, struct text *ret, struct ply_err *err);

/* What candidate @k was made on top of. */
static int base_of(struct fold *f, uint32_t k, struct text *ret, struct ply_err *err)
{
	_cleanup_free_ bool *in = calloc(f->n->n + 1, sizeof(*in));
	struct layer l = { .in = in, .closure = f->v->subs[f->n->c[k].i].closure };
	int r;

	if (f->has_base[k] == KNOWN) {
		*ret = f->base[k];
		return 0;
	}
	if (!in)
		return ply_fail_nomem(err);
	for (uint32_t j = 0; j < k; j++)
		in[j] = view_stands_on(f->v, f->n->c[k].i, f->n->c[j].i);
	f->tests += k;
	if (++f->nested > NESTED_MAX || f->has_base[k] == ASKED)
		return too_much(err);
	f->has_base[k] = ASKED;
	r = show_layer(f, &l, &f->base[k], err);
	f->nested--;
	if (r < 0)
		return r;
	f->has_base[k] = KNOWN;
	*ret = f->base[k];
	return 0;
}

static bool is_same(struct text a, struct text b)
{
	return a.is_there == b.is_there && (!a.is_there || span_is(a.s, b.s));
}

static int compose(struct fold *f, const struct layer *l, struct text base, struct text theirs, struct text *t,
		   struct ply_err *err)
{
	const struct merge_driver *force = l->rule == PLY_RULE_DRIVER ? merge_driver_get(l->driver) : NULL;
	const struct span from = base.is_there ? base.s : (struct span){ 0 };
	uint64_t bytes = (uint64_t)from.len + t->s.len + theirs.s.len;
	_cleanup_buf_ struct buf out = { 0 };
	enum merge_why why = MERGE_WHY_NONE;
	int r;

	f->costs += MIN(bytes * bytes, COMPOSE_COST);
	if (++f->composes > COMPOSES_MAX || f->costs > COSTS_MAX)
		return too_much(err);
	if (l->rule == VIEW_RULE_FIRST_RECORDS || l->rule == VIEW_RULE_LAST_RECORDS)
		r = merge_compose_for(f->path, l->rule == VIEW_RULE_FIRST_RECORDS ? MERGE_PREFER_OURS : MERGE_PREFER_THEIRS,
				      from, t->s, theirs.s, &out, &why, err);
	else
		r = merge_compose(f->path, force, from, t->s, theirs.s, &out, &why, err);
	if (r == -ENOTUNIQ && merge_is_backup(f->path))
		return 0;          /* nothing depends on it: what came first stays */
	if (r == -ENOTUNIQ)
		return ply_fail(err, -EUCLEAN, PLY_R_CONFLICT, "cannot be merged (%s), although no collision says so",
				merge_why_text(why));
	if (r == -EFBIG)
		return too_much(err);
	return r < 0 ? r : keep_text(f, &out, t, err);
}

/* Put what candidate @k did into @t. */
static int fold_in(struct fold *f, const struct layer *l, uint32_t k, struct text *t, struct ply_err *err)
{
	struct text theirs, base = { 0 };
	int r = own_text(f, k, &theirs, err);

	if (r < 0 || is_same(*t, theirs))
		return r;
	r = base_of(f, k, &base, err);
	if (r < 0 || is_same(theirs, base) || !theirs.is_there)
		return r;
	if (is_same(*t, base) || !t->is_there) {
		*t = theirs;
		return 0;
	}
	return compose(f, l, base, theirs, t, err);
}

/* Does @k stand on all candidates of the layer before it? */
static bool is_next(const struct fold *f, const struct layer *l, uint32_t k)
{
	for (uint32_t j = 0; j < k; j++)
		if (l->in[j] && !view_stands_on(f->v, f->n->c[k].i, f->n->c[j].i))
			return false;
	return true;
}

static int fold_layer(struct fold *f, const struct layer *l, struct text *ret, struct ply_err *err)
{
	struct text t;
	int r = ground_text(f, l->closure, &t, err);

	for (uint32_t k = 0; r == 0 && k < f->n->n; k++) {
		if (!l->in[k] || is_ground(f, k))
			continue;
		f->tests += k;
		if (f->tests > TESTS_MAX)
			r = too_much(err);
		else if (f->n->c[k].type == PLY_T_WHITEOUT)
			t.is_there = t.is_there && l->heads[k];   /* as a head it has lost */
		else if (is_next(f, l, k))
			r = own_text(f, k, &t, err);
		else if (f->is_author[k])
			r = fold_in(f, l, k, &t, err);
	}
	if (r == 0)
		*ret = t;
	return r;
}

/* By head: the first of those that have a base in common with it, which then are one change of that. */
static void find_blocks(struct fold *f, const struct layer *l, uint32_t *block)
{
	for (uint32_t k = 0; k < f->n->n; k++)
		block[k] = k;
	for (uint32_t j = 0; l->rule == VIEW_RULE_APPEND && j < f->n->n; j++) {
		uint32_t first = UINT32_MAX;

		f->tests += f->n->n;
		for (uint32_t k = j + 1; l->in[j] && !l->heads[j] && f->n->c[j].type != PLY_T_WHITEOUT && k < f->n->n; k++) {
			uint32_t old = block[k];

			if (!l->heads[k] || f->n->c[k].type == PLY_T_WHITEOUT ||
			    !view_stands_on(f->v, f->n->c[k].i, f->n->c[j].i))
				continue;
			if (first == UINT32_MAX)
				first = block[k];
			for (uint32_t q = 0; first != block[k] && q < f->n->n; q++)
				if (block[q] == MAX(first, old))
					block[q] = MIN(first, old);
			first = MIN(first, old);
		}
	}
}

/* All that the heads of block @k, and what lies below them, did. */
static int block_text(struct fold *f, const struct layer *l, const uint32_t *block, uint32_t k, struct text *ret,
		      struct ply_err *err)
{
	uint32_t words = (f->v->nsubs + 63) / 64;
	_cleanup_free_ uint64_t *closure = calloc(words, sizeof(*closure));
	_cleanup_free_ bool *in = calloc(f->n->n, sizeof(*in));
	_cleanup_free_ bool *heads = calloc(f->n->n, sizeof(*heads));
	struct layer of_block = { .in = in, .closure = closure, .heads = heads };

	if (!closure || !in || !heads)
		return ply_fail_nomem(err);
	for (uint32_t q = k; q < f->n->n; q++) {
		heads[q] = block[q] == k && l->heads[q];
		for (uint32_t w = 0; heads[q] && w < words; w++)
			closure[w] |= f->v->subs[f->n->c[q].i].closure[w];
	}
	for (uint32_t q = 0; q < f->n->n; q++)
		in[q] = heads[q] || (l->in[q] && closure[f->n->c[q].i / 64] >> f->n->c[q].i % 64 & 1);
	return fold_layer(f, &of_block, ret, err);
}

static bool is_block(const struct fold *f, const struct layer *l, const uint32_t *block, uint32_t k)
{
	for (uint32_t q = k + 1; q < f->n->n; q++)
		if (l->heads[q] && block[q] == k)
			return true;
	return false;
}

static int append_heads(struct fold *f, const struct layer *l, struct text *ret, struct ply_err *err)
{
	_cleanup_free_ struct span *v = calloc(f->n->n, sizeof(*v));
	_cleanup_buf_ struct buf out = { 0 };
	_cleanup_free_ uint64_t *common = calloc(VIEW_BITS_WORDS, sizeof(*common));
	_cleanup_free_ uint32_t *block = calloc(f->n->n, sizeof(*block));
	bool ground = false;
	size_t n = 0, bytes = 0;
	int r = 0;

	if (!v || !common || !block)
		return ply_fail_nomem(err);
	view_common_ground(f->v, f->n, l->heads, common);
	find_blocks(f, l, block);
	for (uint32_t k = 0; r == 0 && k < f->n->n; k++) {
		bool several = block[k] == k && l->heads[k] && is_block(f, l, block, k);
		struct text t;

		if (!l->heads[k] || block[k] != k || (is_ground(f, k) && ground) ||
		    (!several && !brings_content(f, l, common, k)))
			continue;
		ground |= is_ground(f, k);
		r = several ? block_text(f, l, block, k, &t, err) : head_text(f, l, k, &t, err);
		if (r == 0 && t.is_there) {
			v[n++] = t.s;
			bytes += t.s.len;
			if (bytes > MERGE_FILE_MAX)
				r = too_much(err);
		}
	}
	if (r == 0 && buf_reserve(&out, 1) < 0)
		r = ply_fail_nomem(err);
	if (r == 0)
		r = merge_append(v, n, NULL, &out, err);
	return r < 0 ? r : keep_text(f, &out, ret, err);
}

static int show_layer(struct fold *f, struct layer *l, struct text *ret, struct ply_err *err)
{
	_cleanup_free_ bool *heads = calloc(f->n->n + 1, sizeof(*heads));
	uint32_t first = 0, last = 0, n;
	int r;

	if (!heads)
		return ply_fail_nomem(err);
	l->heads = heads;
	r = find_heads(f, l, err);
	if (r < 0)
		return r;
	n = count_heads(f, l, true, &first, &last);
	if (!n)                    /* names with conditions may be there, in what lies below */
		return ground_text(f, l->closure, ret, err);
	if (n > 1 && l->rule != PLY_RULE_FIRST && l->rule != PLY_RULE_LAST) {
		n = count_heads(f, l, false, &first, &last);
		if (n > 1 && (l->rule == PLY_RULE_APPEND || l->rule == VIEW_RULE_APPEND))
			return append_heads(f, l, ret, err);
		if (n > 1 && l->rule != PLY_RULE_KEEP_BOTH)
			return fold_layer(f, l, ret, err);
	}
	*ret = (struct text){ 0 };
	return n ? head_text(f, l, n > 1 && l->rule == PLY_RULE_LAST ? last : first, ret, err) : 0;
}

static int find_authors(struct fold *f, struct ply_err *err)
{
	for (uint32_t k = 0; k < f->n->n; k++) {
		const struct cand *c = &f->n->c[k];
		struct ply_override o;
		int r = 0;

		f->is_author[k] = true;
		if (is_ground(f, k) || c->type == PLY_T_WHITEOUT)
			continue;
		r = sub_override_find(f->v->subs[c->i].sub, c->index, &o, NULL);
		if (r == 0)
			f->is_author[k] = o.mask & PLY_OVER_CONTENT;
		else if (r != -ENOENT)
			return sub_override_find(f->v->subs[c->i].sub, c->index, &o, err);
	}
	return 0;
}

static int fold_init(struct ply_view *v, const struct place *p, struct fold *f, struct ply_err *err)
{
	const struct cand *c = &p->name.c[p->name.shown];
	_cleanup_buf_ struct buf path = { 0 };
	struct ply_entry e;
	size_t n = p->name.n;
	int r;

	*f = (struct fold){ .v = v, .dir = &p->dir, .n = &p->name };
	f->own = calloc(n, sizeof(*f->own));
	f->base = calloc(n, sizeof(*f->base));
	f->has_own = calloc(n, 1);
	f->has_base = calloc(n, 1);
	f->is_author = calloc(n, sizeof(*f->is_author));
	if (!f->own || !f->base || !f->has_own || !f->has_base || !f->is_author)
		return ply_fail_nomem(err);
	r = sub_entry(v->subs[c->i].sub, c->at, &e, err);
	if (r == 0)
		r = sub_node_path(v->subs[c->i].sub, c->dir, &path, err);
	if (r < 0)
		return r;
	f->name = e.name;
	f->len = e.name_len;
	if (asprintf(&f->path, "/%s%s%.*s", (const char *)path.data, path.len > 1 ? "/" : "", (int)e.name_len, e.name) < 0) {
		f->path = NULL;
		return ply_fail_nomem(err);
	}
	return find_authors(f, err);
}

static int fold_all(struct fold *f, struct text *ret, struct ply_err *err)
{
	_cleanup_free_ bool *in = malloc(f->n->n);
	struct layer l = { .in = in };

	if (!in)
		return ply_fail_nomem(err);
	memset(in, true, f->n->n);
	return show_layer(f, &l, ret, err);
}

int view_merge_locked(struct ply_view *v, const struct place *p, struct buf *out, struct ply_err *err)
{
	struct text t = { 0 };
	struct fold f;
	int r = fold_init(v, p, &f, err);

	if (r == 0)
		r = fold_all(&f, &t, err);
	if (r == 0 && t.is_there && t.s.len > MERGE_FILE_MAX)
		r = too_much(err);
	if (r == 0 && t.is_there && buf_add(out, t.s.s, t.s.len) < 0)
		r = ply_fail_nomem(err);
	fold_done(&f);
	return r;
}

/* --- whose lines ------------------------------------------------------------------------------- */

struct run {
	uint64_t len;
	uint32_t i;
};

struct runs {
	struct run *v;
	size_t n, cap;
};

static size_t line_len(struct span s, size_t at)
{
	const uint8_t *end = memchr(s.s + at, '\n', s.len - at);

	return end ? (size_t)(end - s.s) + 1 - at : s.len - at;
}

static int add_lines(struct map *m, struct span s, uint32_t i)
{
	for (size_t at = 0, len; at < s.len; at += len) {
		uint64_t h;

		len = line_len(s, at);
		h = xxh3(s.s + at, len, 0);
		if (map_first(m, h) == MAP_END && map_add(m, h, i) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int add_run(struct runs *runs, uint64_t len, uint32_t i)
{
	if (runs->n && runs->v[runs->n - 1].i == i) {
		runs->v[runs->n - 1].len += len;
		return 0;
	}
	if (array_grow(&runs->v, &runs->cap, runs->n + 1, sizeof(*runs->v)) < 0)
		return -ENOMEM;
	runs->v[runs->n++] = (struct run){ len, i };
	return 0;
}

/* Lines of all, by rank; the first that has a line keeps it. */
static int gather_lines(struct fold *f, struct map *m, struct ply_err *err)
{
	bool ground = false;
	int r = 0;

	for (uint32_t k = 0; r == 0 && k < f->n->n; k++) {
		struct text t = { 0 };

		if (is_ground(f, k) && ground)
			continue;
		r = is_ground(f, k) ? ground_text(f, NULL, &t, err) : own_text(f, k, &t, err);
		ground |= is_ground(f, k);
		if (r == 0 && t.is_there && add_lines(m, t.s, f->n->c[k].i) < 0)
			r = ply_fail_nomem(err);
	}
	return r;
}

static int attribute(struct fold *f, struct runs *runs, struct ply_err *err)
{
	struct map lines = { 0 };
	struct text t = { 0 };
	int r = fold_all(f, &t, err);

	if (r == 0)
		r = gather_lines(f, &lines, err);
	for (size_t at = 0, len; r == 0 && t.is_there && at < t.s.len; at += len) {
		size_t slot;
		uint32_t i = f->n->c[f->n->shown].i;

		len = line_len(t.s, at);
		slot = map_first(&lines, xxh3(t.s.s + at, len, 0));
		if (slot != MAP_END)
			i = (uint32_t)lines.slots[slot].value;
		else if (runs->n)  /* a line of which several have a part */
			i = runs->v[runs->n - 1].i;
		if (add_run(runs, len, i) < 0)
			r = ply_fail_nomem(err);
	}
	map_done(&lines);
	return r;
}

static int merged_runs(struct ply_view *v, const struct place *p, struct runs *runs, struct ply_err *err)
{
	struct fold f;
	int r;

	pthread_mutex_lock(view_shared_lock(v->shared));
	r = fold_init(v, p, &f, err);
	if (r == 0)
		r = attribute(&f, runs, err);
	fold_done(&f);
	pthread_mutex_unlock(view_shared_lock(v->shared));
	return r;
}

int view_blocks(struct ply_view *v, uint64_t ino, view_block_fn *fn, void *ctx, struct ply_err *err)
{
	struct place p = { 0 };
	struct runs runs = { 0 };
	struct view_file file;
	struct vnode vn;
	int r = view_file(v, ino, &file, err);

	if (r == 0 && (!file.merged || !file.rendered))
		return fn(ctx, file.size, file.i, err);
	if (r == 0)
		r = vnode_get(v, ino, &vn, err);
	if (r < 0)
		return r;
	r = view_place_get(v, &vn, &p, err);
	if (r == 0)
		r = merged_runs(v, &p, &runs, err);
	for (size_t k = 0; r == 0 && k < runs.n; k++)
		r = fn(ctx, runs.v[k].len, runs.v[k].i, err);
	free(runs.v);
	view_place_done(&p);
	vnode_done(&vn);
	return r;
}
