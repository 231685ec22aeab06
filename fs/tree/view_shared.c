/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rendered files of a view. Shared ones: the records of all selected parts whose condition holds, in the order
 * of the captured file, rendered by their driver (merge/merge.h). And merged ones: view_merged.c makes their bytes.
 *
 * A shared file's size is worked out from its records, its bytes when they are first read; a merged one has no
 * size before it has its bytes. Both are kept:
 * sizes because every readdir asks for them, bytes because the kernel reads a file piece by piece; they
 * are few files of some hundred KiB, so one lock and a short list do.
 *
 * What a hostile image can make this hold is bounded: MERGE_FILE_MAX for a part and for a
 * rendered file, MERGE_PARTS_MAX and MERGE_RECORDS_MAX for all parts of one, KEPT_MAX files, BYTES_MAX of them (and
 * the last one). And what it can make this do: no two files share records, and all parts together have MERGE_IMAGE_MAX,
 * both of which is looked at once; so all files together cost no more than the records that are there and
 * those bytes. That a file cannot be is kept like a size; not what only a disk has said.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sigbus.h"
#include "base/util.h"
#include "merge/merge.h"
#include "tree/view_impl.h"

#define KEPT_MAX  1024u
#define BYTES_MAX ((size_t)8 << 20)

struct kept {
	uint64_t ino, size;
	bool sized;
	struct buf bytes;
	bool rendered;
	struct ply_err *failed;    /* why it is not what of these two is next; NULL: not tried, or it may yet be */
	uint64_t used;             /* of view_shared.clock */
};

struct view_shared {
	pthread_mutex_t lock;      /* all below */
	struct kept *v;
	size_t n, cap, bytes;
	uint64_t clock;
	bool looked;               /* vsub.bad_shared are there */
};

struct view_shared *view_shared_new(void)
{
	struct view_shared *s = calloc(1, sizeof(*s));

	if (s)
		pthread_mutex_init(&s->lock, NULL);
	return s;
}

pthread_mutex_t *view_shared_lock(struct view_shared *s)
{
	return &s->lock;
}

void view_shared_free(struct view_shared *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++) {
		buf_done(&s->v[i].bytes);
		free(s->v[i].failed);
	}
	free(s->v);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- gathering ------------------------------------------------------------------- */

struct gathered {
	const struct merge_driver *driver;
	uint8_t digest[32];        /* of the captured file */
	struct view_record *v;
	size_t n, cap;
	struct buf *parts;         /* bytes of each member's part */
	size_t nparts, bytes;
};

static void gathered_done(struct gathered *g)
{
	for (size_t i = 0; i < g->nparts; i++)
		buf_done(&g->parts[i]);
	free(g->parts);
	free(g->v);
}

struct rows {
	uint64_t first, row;
	uint32_t count;
};

static int by_first(const void *a, const void *b)
{
	const struct rows *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

enum { ROW_GOOD = 0, ROW_RECORDS, ROW_BYTES };   /* of bad_shared */

/*
 * Which rows of @vs have records of another row, and which are beyond MERGE_IMAGE_MAX? @bytes: of all before
 * them. What cannot be read is nobody's: nor can it be used.
 */
static int look_at_sub(struct vsub *vs, uint64_t *bytes, struct ply_err *err)
{
	uint64_t n = sub_limits(vs->sub)->shared, end = 0;
	_cleanup_free_ struct rows *spans = NULL;
	_cleanup_free_ uint8_t *bad = NULL;
	size_t k = 0;

	if (!n)
		return 0;
	spans = calloc(n, sizeof(*spans));
	bad = calloc(n, 1);
	if (!spans || !bad)
		return ply_fail_nomem(err);
	for (uint64_t i = 0; i < n; i++) {
		struct ply_shared s;
		struct ply_node node;

		if (sub_shared(vs->sub, i, &s, NULL) < 0)
			continue;
		if (s.count)
			spans[k++] = (struct rows){ s.first, i, s.count };
		if (sub_node(vs->sub, s.node, &node, NULL) < 0)
			continue;
		if (node.size > MERGE_IMAGE_MAX - *bytes)
			bad[i] = ROW_BYTES;
		else
			*bytes += node.size;
	}
	if (k)
		qsort(spans, k, sizeof(*spans), by_first);
	for (size_t i = 0; i < k; i++) {
		if (spans[i].first < end)
			bad[spans[i].row] = ROW_RECORDS;
		end = MAX(end, spans[i].first + spans[i].count);
	}
	free(vs->bad_shared);
	vs->bad_shared = TAKE_PTR(bad);
	return 0;
}

static int look_locked(struct ply_view *v, struct ply_err *err)
{
	uint64_t bytes = 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && !v->shared->looked && i < v->nsubs; i++)
		r = look_at_sub(&v->subs[i], &bytes, err);
	v->shared->looked |= r == 0;
	return r;
}

static int find_shared_locked(struct ply_view *v, uint32_t i, uint64_t node, struct ply_shared *ret, struct ply_err *err)
{
	struct vsub *vs = &v->subs[i];
	uint64_t row;
	int r = look_locked(v, err);

	if (r == 0)
		r = sub_shared_find(vs->sub, node, &row, ret, err);
	if (r == 0 && vs->bad_shared[row] == ROW_RECORDS)
		r = ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "two shared files with the same records");
	else if (r == 0 && vs->bad_shared[row])
		r = ply_fail(err, -EUCLEAN, PLY_R_LIMIT, "shared files with parts of more than %llu MiB",
			     MERGE_IMAGE_MAX >> 20);
	return r;
}

static int read_part(struct ply_view *v, struct sub *sub, const struct ply_node *n, struct buf *out,
		     struct ply_err *err)
{
	ssize_t got;

	if (buf_reserve(out, n->size + 1) < 0)
		return ply_fail_nomem(err);
	got = sub_read(sub, v->cache, n, 0, n->size, out->data, err);
	if (got < 0)
		return (int)got;
	out->len = (size_t)got;
	return 0;
}

enum { SIZES = 0, BYTES = 1, ALL = 2, ROWS = 4 };    /* bits: with their bytes; also those that do not hold; no bytes at all */

/* The records of member @m. Called with view_shared.lock. */
static int add_part(struct ply_view *v, const struct member *m, struct gathered *g, unsigned what,
		    struct ply_err *err)
{
	struct sub *sub = v->subs[m->i].sub;
	struct buf *part = &g->parts[g->nparts++];
	const struct merge_driver *d;
	uint64_t off = 0, last = 0;
	struct ply_shared s;
	struct ply_node n;
	int r = sub_node(sub, m->index, &n, err);

	if (r == 0 && !(n.flags & PLY_NODE_SHARED))
		r = ply_fail(err, -EUCLEAN, PLY_R_JOIN_FIELD, "a shared file is joined with another file");
	if (r == 0)
		r = find_shared_locked(v, m->i, m->index, &s, err);
	if (r < 0)
		return r;
	d = merge_driver_get(s.driver);
	if (!d || s.version > d->version)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_RECORD_FIELD,
				"a shared file of driver %u, version %u; use a newer plyfs", s.driver, s.version);
	if (g->driver && (g->driver != d || memcmp(g->digest, s.digest, sizeof(s.digest)) != 0))
		return ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "the parts of a shared file are of different files");
	g->driver = d;
	memcpy(g->digest, s.digest, sizeof(s.digest));
	if (s.count > MERGE_RECORDS_MAX - g->n || n.size > MERGE_FILE_MAX || n.size > MERGE_PARTS_MAX - g->bytes)
		return ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD,
				"a shared file of more than %u records, or with parts of more than %zu MiB",
				MERGE_RECORDS_MAX, MERGE_PARTS_MAX >> 20);
	g->bytes += n.size;
	if (what & BYTES || (d->size && !(what & ROWS)))
		r = read_part(v, sub, &n, part, err);
	for (uint32_t i = 0; r == 0 && i < s.count; i++) {
		struct ply_record rec;

		r = sub_record(sub, s.first + i, &rec, err);
		if (r < 0)
			return r;
		if ((i && rec.ordinal <= last) || rec.len > n.size - off)
			return ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "records out of order, or behind their file");
		last = rec.ordinal;
		r = view_holds(v, m->i, rec.condition, err);
		if (r == 0 && what & ALL)
			r = 1;
		if (r > 0 && array_grow(&g->v, &g->cap, g->n + 1, sizeof(*g->v)) < 0)
			r = ply_fail_nomem(err);
		else if (r > 0)
			g->v[g->n++] = (struct view_record){
				.ordinal = rec.ordinal, .len = rec.len,
				.flags = rec.flags | (s.whole ? (uint32_t)RECORD_WHOLE : 0),
				.data = part->data ? part->data + off : NULL, .sub = m->i,
				.condition = rec.condition };
		off += rec.len;
		r = r < 0 ? r : 0;
	}
	if (r == 0 && off != n.size)
		r = ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "records do not fill their file");
	return r;
}

static int by_ordinal(const void *a, const void *b)
{
	const struct view_record *x = a, *y = b;

	if (x->ordinal != y->ordinal)
		return x->ordinal < y->ordinal ? -1 : 1;
	return x->sub < y->sub ? -1 : x->sub > y->sub;
}

static int gather(struct ply_view *v, const struct vnode *vn, unsigned what, struct gathered *g, struct ply_err *err)
{
	int r = 0;

	g->parts = calloc(vn->n, sizeof(*g->parts));
	if (!g->parts)
		return ply_fail_nomem(err);
	for (uint32_t k = 0; r == 0 && k < vn->n; k++)
		r = add_part(v, &vn->m[k], g, what, err);
	if (r == 0 && g->n)
		qsort(g->v, g->n, sizeof(*g->v), by_ordinal);
	/* a record that several components hold lies in each of them */
	for (size_t i = 0, end; r == 0 && i < g->n; i = end) {
		for (end = i + 1; end < g->n && g->v[end].ordinal == g->v[i].ordinal; end++)
			;
		g->v[i].copies = (uint32_t)(end - i);
	}
	return r;
}

static int make_pieces(const struct gathered *g, struct piece **ret, size_t *ret_n, struct ply_err *err)
{
	struct piece *v = calloc(g->n + 1, sizeof(*v));
	size_t n = 0;

	if (!v)
		return ply_fail_nomem(err);
	for (size_t i = 0; i < g->n; i += g->v[i].copies)
		v[n++] = (struct piece){ g->v[i].data, g->v[i].len, g->v[i].flags };
	*ret = v;
	*ret_n = n;
	return 0;
}

/* To a driver a file that is too large is no fault; here it is an image that cannot be. */
static int too_large(int r, struct ply_err *err)
{
	return r == -EFBIG ? ply_fail(err, -EUCLEAN, PLY_R_RECORD_FIELD, "a shared file of more than %zu MiB",
				      MERGE_FILE_MAX >> 20) : r;
}

static int work_out_size(struct ply_view *v, const struct vnode *vn, uint64_t *ret, struct ply_err *err)
{
	_cleanup_free_ struct piece *pieces = NULL;
	struct gathered g = { 0 };
	size_t n;
	int r = gather(v, vn, SIZES, &g, err);

	if (r == 0)
		r = make_pieces(&g, &pieces, &n, err);
	if (r == 0)
		r = merge_size(g.driver, pieces, n, ret, err);
	gathered_done(&g);
	return too_large(r, err);
}

int view_render_locked(struct ply_view *v, const struct vnode *vn, struct buf *out, struct ply_err *err)
{
	_cleanup_free_ struct piece *pieces = NULL;
	struct gathered g = { 0 };
	size_t n;
	int r = gather(v, vn, BYTES, &g, err);

	if (r == 0)
		r = make_pieces(&g, &pieces, &n, err);
	if (r == 0)
		r = merge_render(g.driver, pieces, n, out, err);
	gathered_done(&g);
	return too_large(r, err);
}

/* --- what is kept -------------------------------------------------------------------- */

static struct kept *find_locked(struct view_shared *s, uint64_t ino)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].ino == ino) {
			s->v[i].used = ++s->clock;
			return &s->v[i];
		}
	return NULL;
}

static void drop_bytes(struct view_shared *s, struct kept *k)
{
	s->bytes -= k->bytes.len;
	buf_done(&k->bytes);
	k->rendered = false;
}

static void make_room_locked(struct view_shared *s, const struct kept *stays)
{
	while (s->bytes > BYTES_MAX) {
		struct kept *oldest = NULL;

		for (size_t i = 0; i < s->n; i++)
			if (s->v[i].rendered && &s->v[i] != stays && (!oldest || s->v[i].used < oldest->used))
				oldest = &s->v[i];
		if (!oldest)
			return;
		drop_bytes(s, oldest);
	}
}

/* Is that so whenever it is asked? */
static bool is_for_ever(int r)
{
	return r == -EUCLEAN || r == -EOPNOTSUPP;
}

static struct ply_err *copy_error(const struct ply_err *e)
{
	struct ply_err *copy = e->code ? malloc(sizeof(*copy)) : NULL;

	if (copy)
		*copy = *e;
	return copy;
}

static int tell(int r, const struct ply_err *e, struct ply_err *err)
{
	if (err)
		*err = *e;
	return r;
}

/* A row for a file that has none; in the place of the oldest where there are KEPT_MAX. */
static struct kept *new_locked(struct view_shared *s, uint64_t ino)
{
	struct kept *k;

	if (s->n < KEPT_MAX) {
		if (array_grow(&s->v, &s->cap, s->n + 1, sizeof(*s->v)) < 0)
			return NULL;
		k = &s->v[s->n++];
	} else {
		k = &s->v[0];
		for (size_t i = 1; i < s->n; i++)
			if (s->v[i].used < k->used)
				k = &s->v[i];
		drop_bytes(s, k);
		free(k->failed);
	}
	*k = (struct kept){ .ino = ino, .used = ++s->clock };
	return k;
}

/* What was worked out while a part of the image went may be made of zeros: nothing of it is kept. */
static int undisturbed(unsigned faults, int r, struct ply_err *err)
{
	return sigbus_faults() == faults ? r :
		ply_fail(err, -EIO, PLY_R_IMAGE_IO, "the image was cut off, or cannot be read");
}

static int render(struct ply_view *v, const struct vnode *vn, const struct place *p, struct buf *out,
		  struct ply_err *err)
{
	return view_place_is_merged(p) ? view_merge_locked(v, p, out, err) : view_render_locked(v, vn, out, err);
}

static void keep_bytes(struct view_shared *s, struct kept *k, struct buf *bytes)
{
	k->bytes = *bytes;
	k->rendered = true;
	s->bytes += bytes->len;
	*bytes = (struct buf){ 0 };
	make_room_locked(s, k);
}

/* The size of a file that has no row yet; of a merged one its bytes come with it. */
static int measure(struct ply_view *v, const struct vnode *vn, const struct place *p, uint64_t *ret, struct buf *out,
		   struct ply_err *err)
{
	unsigned faults = sigbus_faults();
	int r;

	if (!view_place_is_merged(p)) {
		r = work_out_size(v, vn, ret, err);
	} else {
		r = render(v, vn, p, out, err);
		*ret = out->len;
	}
	return undisturbed(faults, r, err);
}

/* The file's row, with its size. */
static int keep_locked(struct ply_view *v, const struct vnode *vn, const struct place *p, struct kept **ret,
		       struct ply_err *err)
{
	struct view_shared *s = v->shared;
	struct kept *k = find_locked(s, vn->ino);

	if (!k) {
		struct ply_err e = { 0 }, *failed = NULL;
		_cleanup_buf_ struct buf bytes = { 0 };
		uint64_t size = 0;
		int r = measure(v, vn, p, &size, &bytes, &e);

		if (r < 0 && is_for_ever(r))
			failed = copy_error(&e);
		if (r < 0 && !failed)
			return tell(r, &e, err);
		k = new_locked(s, vn->ino);
		if (!k) {
			free(failed);
			return ply_fail_nomem(err);
		}
		k->size = size;
		k->sized = r == 0;
		k->failed = failed;
		if (k->sized && view_place_is_merged(p))
			keep_bytes(s, k, &bytes);
	}
	if (!k->sized)
		return tell(k->failed->code, k->failed, err);
	*ret = k;
	return 0;
}

int view_shared_size(struct ply_view *v, const struct vnode *vn, const struct place *p, uint64_t *ret,
		     struct ply_err *err)
{
	struct kept *k;
	int r;

	pthread_mutex_lock(&v->shared->lock);
	r = keep_locked(v, vn, p, &k, err);
	if (r == 0)
		*ret = k->size;
	pthread_mutex_unlock(&v->shared->lock);
	return r;
}

static int render_locked(struct ply_view *v, const struct vnode *vn, const struct place *p, struct kept **ret,
			 struct ply_err *err)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct ply_err e = { 0 };
	struct kept *k = NULL;
	unsigned faults;
	int r = keep_locked(v, vn, p, &k, err);

	if (r < 0)
		return r;
	*ret = k;
	if (k->rendered)
		return 0;
	if (k->failed)
		return tell(k->failed->code, k->failed, err);
	faults = sigbus_faults();
	r = render(v, vn, p, &out, &e);
	if (r == 0 && out.len != k->size)
		r = ply_fail(&e, -EUCLEAN, PLY_R_RECORD_FIELD, "a shared file of another size than its records have");
	r = undisturbed(faults, r, &e);
	if (r < 0) {
		if (is_for_ever(r))
			k->failed = copy_error(&e);
		return tell(r, &e, err);
	}
	keep_bytes(v->shared, k, &out);
	return 0;
}

ssize_t view_shared_read(struct ply_view *v, const struct vnode *vn, const struct place *p, uint64_t off, size_t len,
			 void *buf, struct ply_err *err)
{
	struct kept *k;
	ssize_t r;

	pthread_mutex_lock(&v->shared->lock);
	r = render_locked(v, vn, p, &k, err);
	if (r == 0 && off < k->bytes.len) {
		r = (ssize_t)MIN(len, k->bytes.len - off);
		memcpy(buf, k->bytes.data + off, (size_t)r);
	}
	pthread_mutex_unlock(&v->shared->lock);
	return r;
}

int view_render(struct ply_view *v, uint64_t ino, struct buf *out, struct ply_err *err)
{
	struct place p = { 0 };
	struct vnode vn;
	int r = vnode_get(v, ino, &vn, err);

	if (r < 0)
		return r;
	r = view_place_get(v, &vn, &p, err);
	if (r == 0) {
		pthread_mutex_lock(&v->shared->lock);
		r = render(v, &vn, &p, out, err);
		pthread_mutex_unlock(&v->shared->lock);
		view_place_done(&p);
	}
	vnode_done(&vn);
	return r;
}

static int each_record(struct ply_view *v, uint64_t ino, unsigned what, view_record_fn *fn, void *ctx,
		       struct ply_err *err)
{
	struct gathered g = { 0 };
	struct vnode vn;
	int r = vnode_get(v, ino, &vn, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&v->shared->lock);
	r = gather(v, &vn, what, &g, err);
	pthread_mutex_unlock(&v->shared->lock);
	for (size_t i = 0; r == 0 && i < g.n; i += g.v[i].copies)
		r = fn(ctx, g.driver, &g.v[i], err);
	gathered_done(&g);
	vnode_done(&vn);
	return r;
}

int view_records(struct ply_view *v, uint64_t ino, view_record_fn *fn, void *ctx, struct ply_err *err)
{
	return each_record(v, ino, BYTES, fn, ctx, err);
}

int view_all_records(struct ply_view *v, uint64_t ino, view_record_fn *fn, void *ctx, struct ply_err *err)
{
	return each_record(v, ino, BYTES | ALL, fn, ctx, err);
}

static int gather_rows(struct ply_view *v, uint64_t ino, struct gathered *g, struct ply_err *err)
{
	struct vnode vn;
	int r = vnode_get(v, ino, &vn, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&v->shared->lock);
	r = gather(v, &vn, ROWS, g, err);
	pthread_mutex_unlock(&v->shared->lock);
	vnode_done(&vn);
	return r;
}

static bool same_rows(const struct gathered *a, const struct gathered *b)
{
	size_t i = 0, k = 0;

	if (a->driver != b->driver || memcmp(a->digest, b->digest, sizeof(a->digest)) != 0)
		return false;
	for (; i < a->n && k < b->n; i += a->v[i].copies, k += b->v[k].copies)
		if (a->v[i].ordinal != b->v[k].ordinal || a->v[i].len != b->v[k].len || a->v[i].flags != b->v[k].flags)
			return false;
	return i == a->n && k == b->n;
}

int view_same_records(struct ply_view *v, uint64_t ino, struct ply_view *other, uint64_t other_ino, struct ply_err *err)
{
	struct gathered a = { 0 }, b = { 0 };
	int r = gather_rows(v, ino, &a, err);

	if (r == 0)
		r = gather_rows(other, other_ino, &b, err);
	if (r == 0)
		r = same_rows(&a, &b);
	gathered_done(&a);
	gathered_done(&b);
	return r;
}

/* A clause has left certainty out: what holds it must be selected. */
int view_record_words(struct ply_view *v, const struct view_record *r, struct buf *out, struct ply_err *err)
{
	bool same = true;
	int e = 0;

	for (uint32_t i = 1; i < r->copies; i++)
		same &= !r[i].condition;
	same &= !r->condition;
	for (uint32_t i = 0; e == 0 && i < r->copies && out->len <= VIEW_WORDS_MAX; i++) {
		if (i)
			e = buf_add(out, same ? " or " : ", or ", same ? 4 : 5);
		if (e == 0)
			e = view_condition_words(v, r[i].sub, r[i].condition, out, err);
	}
	if (e == 0 && out->len > VIEW_WORDS_MAX)
		e = buf_add(out, " ...", 4);
	return e == -ENOMEM ? ply_fail_nomem(err) : e;
}

void view_shared_idle(struct view_shared *s)
{
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->n; i++)
		drop_bytes(s, &s->v[i]);
	pthread_mutex_unlock(&s->lock);
}
