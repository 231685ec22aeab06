/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A scanned tree against a view: see diff.h.
 *
 * First the names: both trees are walked together, directory by directory. Names that only the parent
 * has become nodes of the scan, so that whoever writes the overlay sees one tree; of the parent one directory is
 * in memory at a time. Then what both have is compared, attribute by attribute, files read by the loaders of
 * capture. Last the hard-link groups: names of one inode stand or fall together.
 *
 * Left alone is what two copies of a machine differ in from their first minute on: what the rules mark as
 * identity, as a cache or as a log, where both have it or only the parent does; and what was not looked at: excluded
 * names, the content of mount points, files that cannot be read. /etc/hosts and its like that an administrator
 * writes, and secrets, are differences all the same.
 */
#include "add/diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "capture/load.h"
#include "codec/codec.h"
#include "tree/view_internal.h"

#define ID_TEXT_MAX (64u << 20)    /* more is no list of users */
#define PIECE (1u << 20)

/* Names of one inode of the parent that are gone: of directories that are another type now. */
struct lost {
	uint64_t ino;
};

struct work {
	struct diff *d;
	const struct diff_options *o;
	struct ply_err *err;
	struct scan_node *nodes;   /* the new order */
	size_t n, cap, nodes_cap;
	struct buf marks;
	uint32_t *was;             /* by new node: its old one; SCAN_NONE: gone */
	size_t was_cap;
	struct lost *lost;
	size_t nlost, lost_cap;
	uint64_t nlisted;          /* names of the parent so far */
	struct buf path;
	uint8_t *piece;
};

static bool is_mark_alone(uint8_t mark, const char *path)
{
	uint8_t identity = mark & PLY_MARK_IDENTITY;

	if (mark & PLY_MARK_SUBSET)
		return true;
	/* lines of what is installed stand there too, and merge */
	if (identity == PLY_MARK_SET)
		return strcmp(path, "etc/hosts") != 0;
	return identity == PLY_MARK_REMOVE || identity == PLY_MARK_EMPTY;
}

/* --- the parent's names ------------------------------------------------------------------- */

struct name {
	uint64_t ino;
	uint32_t off;              /* in listing.text */
	uint8_t len, type;
};

struct listing {
	struct name *v;
	size_t n, cap;
	struct buf text;
	int failed;
};

static void listing_done(struct listing *l)
{
	free(l->v);
	buf_done(&l->text);
}

static int take_name(void *ctx, const struct ply_dirent *de)
{
	struct listing *l = ctx;

	if (array_grow(&l->v, &l->cap, l->n + 1, sizeof(*l->v)) < 0 || buf_add(&l->text, de->name, de->len) < 0)
		return l->failed = -ENOMEM;
	l->v[l->n++] = (struct name){ de->ino, (uint32_t)(l->text.len - de->len), (uint8_t)de->len, de->type };
	return 0;
}

static int compare_names(const void *a, size_t a_len, const void *b, size_t b_len)
{
	int c = memcmp(a, b, MIN(a_len, b_len));

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static int by_name(const void *a, const void *b, void *text)
{
	const struct name *x = a, *y = b;

	return compare_names((uint8_t *)text + x->off, x->len, (uint8_t *)text + y->off, y->len);
}

static int list(struct ply_view *v, uint64_t dir, struct listing *l, struct ply_err *err)
{
	int r;

	l->n = 0;
	l->text.len = 0;
	l->failed = 0;
	r = ply_view_readdir(v, dir, 0, take_name, l, err);
	if (r < 0 || l->failed)
		return r < 0 ? r : ply_fail_nomem(err);
	if (l->n)
		qsort_r(l->v, l->n, sizeof(*l->v), by_name, l->text.data);
	return 0;
}

int diff_mark_of(struct sub *sub, uint64_t index, uint8_t *ret, struct ply_err *err)
{
	uint64_t lo = 0, hi = sub_mark_count(sub);

	*ret = 0;
	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct sub_mark m;
		int r = sub_mark(sub, mid, &m, err);

		if (r < 0)
			return r;
		if (m.index == index) {
			*ret = (uint8_t)m.mark;
			return 0;
		}
		if (m.index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

/* Of the node that gives a name its inode number. */
static int parent_mark(struct ply_view *v, uint64_t ino, uint8_t *ret, struct ply_err *err)
{
	const struct ply_image *image = ply_view_image(v);
	struct sub *sub;
	int r;

	*ret = 0;
	for (uint32_t i = 0; i < ply_view_nsubs(v); i++)
		if (ply_image_sub_info(image, ply_view_sub(v, i))->number == PLY_INO_NUMBER(ino)) {
			r = view_sub_at(v, i, &sub, err);
			return r < 0 ? r : diff_mark_of(sub, PLY_INO_INDEX(ino), ret, err);
		}
	return 0;
}

/* --- the common tree ----------------------------------------------------------------------- */

static int add_node(struct work *w, const struct scan_node *n, uint32_t dir, uint32_t was, uint8_t mark, uint64_t ino)
{
	struct diff *d = w->d;

	if (w->n >= SCAN_NONE - 1)
		return ply_fail(w->err, -E2BIG, PLY_R_LIMIT, "more names than an image can hold");
	if (array_grow(&w->nodes, &w->cap, w->n + 1, sizeof(*w->nodes)) < 0 ||
	    array_grow(&d->nodes, &w->nodes_cap, w->n + 1, sizeof(*d->nodes)) < 0 ||
	    array_grow(&w->was, &w->was_cap, w->n + 1, sizeof(*w->was)) < 0 || buf_add(&w->marks, &mark, 1) < 0)
		return ply_fail_nomem(w->err);
	w->nodes[w->n] = *n;
	w->nodes[w->n].parent = dir;
	w->was[w->n] = was;
	d->nodes[w->n] = (struct diff_node){ .ino = ino };
	w->n++;
	return 0;
}

/* The path of new node @dir with @name behind it, into w->path, NUL-terminated. */
static int path_of(struct work *w, uint32_t dir, const char *name, size_t len)
{
	size_t room = len + 1, at;

	for (uint32_t i = dir; i != SCAN_ROOT; i = w->nodes[i].parent)
		room += w->nodes[i].name_len + 1u;
	w->path.len = 0;
	if (buf_reserve(&w->path, room) < 0)
		return -ENOMEM;
	w->path.data[room - 1] = 0;
	at = room - 1 - len;
	memcpy(w->path.data + at, name, len);
	for (uint32_t i = dir; i != SCAN_ROOT; i = w->nodes[i].parent) {
		w->path.data[--at] = '/';
		at -= w->nodes[i].name_len;
		memcpy(w->path.data + at, w->d->scan->names.data + w->nodes[i].name, w->nodes[i].name_len);
	}
	w->path.len = room;
	return 0;
}

/* Did the scan not look at that name, though it may be there? */
static bool is_unseen(const struct work *w, const char *path)
{
	for (size_t i = 0; i < w->o->nexclude; i++)
		if (scan_glob(w->o->exclude[i], path))
			return true;
	for (size_t i = 0; i < w->d->scan->nleft_out; i++)
		if (w->d->scan->left_out[i].why != SCAN_WHY_VANISHED && !strcmp(w->d->scan->left_out[i].path, path))
			return true;
	return false;
}

/* A name that only the parent has. */
static int add_gone(struct work *w, uint32_t dir, const struct name *p, const uint8_t *text)
{
	struct scan_node n = { .flags = SCAN_GONE, .name_len = p->len };
	bool within = w->nodes[dir].flags & SCAN_GONE;
	uint8_t mark = 0;
	int r;

	if (!within) {             /* of a directory that is gone everything is */
		if (path_of(w, dir, (const char *)text + p->off, p->len) < 0)
			return ply_fail_nomem(w->err);
		r = parent_mark(w->o->parent, p->ino, &mark, w->err);
		if (r < 0)
			return r;
		if (is_mark_alone(mark, (const char *)w->path.data) || is_unseen(w, (const char *)w->path.data))
			return 0;
	}
	if (p->type == S_IFDIR >> 12) {
		n.mode = S_IFDIR;
		w->d->nodes[dir].covers = true;
	}
	n.name = (uint32_t)w->d->scan->names.len;
	if (buf_add(&w->d->scan->names, text + p->off, p->len) < 0 || buf_add(&w->d->scan->names, "", 1) < 0)
		return ply_fail_nomem(w->err);
	r = add_node(w, &n, dir, SCAN_NONE, 0, p->ino);
	if (r == 0) {
		w->d->nodes[w->n - 1].how = DIFF_GONE;
		w->d->ngone++;
	}
	return r;
}

static int add_both(struct work *w, uint32_t dir, uint32_t node, const struct name *p, const uint8_t *marks)
{
	const struct scan_node *n = &w->d->scan->nodes[node];
	struct diff_node *d;
	uint8_t mark = 0;
	bool was_dir;
	int r;

	if (!p) {
		r = add_node(w, n, dir, node, marks[node], 0);
		if (r == 0)
			w->d->nodes[w->n - 1].how = DIFF_NEW;
		return r;
	}
	was_dir = p->type == S_IFDIR >> 12;
	r = add_node(w, n, dir, node, marks[node], p->ino);
	if (r < 0)
		return r;
	r = parent_mark(w->o->parent, p->ino, &mark, w->err);
	if (r == 0 && path_of(w, dir, scan_name(w->d->scan, node), n->name_len) < 0)
		r = ply_fail_nomem(w->err);
	if (r < 0)
		return r;
	d = &w->d->nodes[w->n - 1];
	d->alone = (was_dir == S_ISDIR(n->mode) && (is_mark_alone(marks[node], (const char *)w->path.data) ||
						    is_mark_alone(mark, (const char *)w->path.data))) ||
		   n->flags & (SCAN_LEFT_OUT | SCAN_UNREADABLE);
	if (!d->alone && was_dir != S_ISDIR(n->mode))
		w->d->nodes[dir].covers = true;
	return 0;
}

/* Of an image whose directories share entries there is no end. */
static int count_names(struct work *w, const struct listing *l)
{
	w->nlisted += l->n;
	return w->nlisted > view_entries(w->o->parent) ? view_too_many(w->err) : 0;
}

static int lose_file(struct work *w, uint64_t ino)
{
	struct ply_attr a;
	int r = ply_view_attr(w->o->parent, ino, &a, w->err);

	if (r < 0 || a.nlink < 2)
		return r;
	if (array_grow(&w->lost, &w->lost_cap, w->nlost + 1, sizeof(*w->lost)) < 0)
		return ply_fail_nomem(w->err);
	w->lost[w->nlost++].ino = ino;
	return 0;
}

/* What is below a directory of the parent that is no directory now: its names of hard-link groups. */
static int lose(struct work *w, uint64_t dir)
{
	uint64_t *dirs = NULL;
	size_t n = 0, cap = 0;
	struct listing l = { 0 };
	int r = array_grow(&dirs, &cap, 1, sizeof(*dirs)) < 0 ? ply_fail_nomem(w->err) : 0;

	if (r == 0)
		dirs[n++] = dir;
	while (r == 0 && n) {
		r = list(w->o->parent, dirs[--n], &l, w->err);
		if (r == 0)
			r = count_names(w, &l);
		for (size_t i = 0; r == 0 && i < l.n; i++) {
			if (l.v[i].type != S_IFDIR >> 12)
				r = lose_file(w, l.v[i].ino);
			else if (array_grow(&dirs, &cap, n + 1, sizeof(*dirs)) < 0)
				r = ply_fail_nomem(w->err);
			else
				dirs[n++] = l.v[i].ino;
		}
	}
	free(dirs);
	listing_done(&l);
	return r;
}

/* The names of new directory @dir, of the machine and of the parent. */
static int merge_names(struct work *w, uint32_t dir, struct listing *l, const uint8_t *marks)
{
	const struct scan *s = w->d->scan;
	const struct scan_node *old = w->was[dir] == SCAN_NONE ? NULL : &s->nodes[w->was[dir]];
	uint32_t i = old ? old->first_child : 0, end = old ? i + old->nchildren : 0;
	uint32_t first = (uint32_t)w->n;
	size_t k = 0;
	int r = 0;

	while (r == 0 && (i < end || k < l->n)) {
		int c = i == end ? 1 : k == l->n ? -1 :
			compare_names(scan_name(s, i), s->nodes[i].name_len, l->text.data + l->v[k].off, l->v[k].len);

		if (c > 0)
			r = add_gone(w, dir, &l->v[k], l->text.data);
		else
			r = add_both(w, dir, i, c == 0 ? &l->v[k] : NULL, marks);
		i += c <= 0;
		k += c >= 0;
	}
	w->nodes[dir].first_child = first;
	w->nodes[dir].nchildren = (uint32_t)(w->n - first);
	return r;
}

/* Does the parent have @node as a directory too, and is there something to compare in it? */
static int has_listing(struct work *w, uint32_t node, bool *ret)
{
	const struct scan_node *n = &w->nodes[node];
	struct ply_attr a;
	int r;

	*ret = false;
	if (!w->d->nodes[node].ino)
		return 0;
	r = ply_view_attr(w->o->parent, w->d->nodes[node].ino, &a, w->err);
	if (r < 0)
		return r;
	if (S_ISDIR(a.mode) && !S_ISDIR(n->mode))
		return w->d->nodes[node].alone ? 0 : lose(w, w->d->nodes[node].ino);
	*ret = S_ISDIR(a.mode) && S_ISDIR(n->mode) && !(n->flags & (SCAN_LEFT_OUT | SCAN_UNREADABLE));
	return 0;
}

static int walk(struct work *w, const uint8_t *marks)
{
	struct listing l = { 0 };
	int r = add_node(w, &w->d->scan->nodes[SCAN_ROOT], SCAN_ROOT, SCAN_ROOT, 0, PLY_ROOT_INDEX);

	for (uint32_t i = 0; r == 0 && i < w->n; i++) {
		bool both;

		if (w->o->cancelled && atomic_load(w->o->cancelled))
			r = ply_fail(w->err, -ECANCELED, PLY_R_CANCELLED, "interrupted; the image is as it was");
		if (r == 0)
			r = has_listing(w, i, &both);
		if (r < 0 || !S_ISDIR(w->nodes[i].mode))
			continue;
		l.n = 0;
		if (both)
			r = list(w->o->parent, w->d->nodes[i].ino, &l, w->err);
		if (r == 0)
			r = count_names(w, &l);
		if (r == 0)
			r = merge_names(w, i, &l, marks);
	}
	listing_done(&l);
	return r;
}

/* --- one file ------------------------------------------------------------------------------ */

int diff_digest(struct ply_view *v, uint64_t ino, uint8_t ret[32], struct ply_err *err)
{
	struct sha256 *sha;
	struct ply_attr a;
	const char *target;
	uint8_t *piece;
	size_t len;
	int r = ply_view_attr(v, ino, &a, err);

	memset(ret, 0, 32);
	if (r < 0 || (!S_ISREG(a.mode) && !S_ISLNK(a.mode)))
		return r;
	if (S_ISLNK(a.mode)) {
		r = ply_view_readlink(v, ino, &target, &len, err);
		if (r == 0 && sha256_once(target, len, ret) < 0)
			r = ply_fail_nomem(err);
		return r;
	}
	if (a.size > a.blocks * 512 + PLY_DIGEST_HOLES_MAX)
		return 0;
	sha = sha256_new();
	piece = malloc(PIECE);
	if (!sha || !piece)
		r = ply_fail_nomem(err);
	for (uint64_t off = 0; r == 0 && off < a.size;) {
		ssize_t n = ply_view_read(v, ino, off, PIECE, piece, err);

		if (n > 0)
			sha256_add(sha, piece, (size_t)n);
		if (n == 0)
			break;
		r = n < 0 ? (int)n : 0;
		off += n > 0 ? (uint64_t)n : 0;
	}
	if (r == 0)
		sha256_end(sha, ret);
	sha256_free(sha);
	free(piece);
	return r;
}

int diff_read(struct ply_view *v, uint64_t ino, uint64_t max, struct buf *out, struct ply_err *err)
{
	struct ply_attr a;
	int r = ply_view_attr(v, ino, &a, err);
	ssize_t n;

	if (r < 0)
		return r;
	if (a.size > max)
		return ply_fail(err, -EFBIG, PLY_R_LIMIT, "a file is larger than %llu bytes", (unsigned long long)max);
	if (buf_reserve(out, a.size + 1) < 0)
		return ply_fail_nomem(err);
	n = ply_view_read(v, ino, 0, a.size, out->data + out->len, err);
	if (n < 0)
		return (int)n;
	out->len += (size_t)n;
	return 0;
}

/* [off, off + len) of the loaded file: @buf. */
static int machine_bytes(struct work *w, const struct loaded *l, uint64_t off, uint8_t *buf, size_t len)
{
	int r;

	if (l->data) {
		memcpy(buf, l->data + off, len);
		return 0;
	}
	r = pread_full(l->fd, buf, len, off);
	if (r == -EIO) {           /* cut off meanwhile: it differs, and is stored as it then is */
		memset(buf, 0, len);
		return 0;
	}
	return r < 0 ? load_fail(w->d->scan, l->node, r, "cannot be read", w->err) : 0;
}

/* The first byte from @off on that may not be zero on one of both sides. */
static int next_data(struct work *w, const struct loaded *l, uint64_t ino, uint64_t off, uint64_t *ret)
{
	uint64_t mine = l->stamp.size, theirs;
	int r = ply_view_seek(w->o->parent, ino, off, SEEK_DATA, &theirs, w->err);

	if (r == -ENXIO) {
		theirs = l->stamp.size;
		r = 0;
	}
	for (size_t i = 0; i < l->nextents; i++)
		if (l->extents[i].off + l->extents[i].len > off) {
			mine = MAX(l->extents[i].off, off);
			break;
		}
	*ret = MIN(mine, theirs);
	return r;
}

static int same_bytes(struct work *w, const struct loaded *l, uint64_t ino, bool *ret)
{
	uint8_t *mine = w->piece, *theirs = w->piece + PIECE;
	uint64_t off = 0;
	int r = 0;

	*ret = true;
	while (r == 0 && *ret && off < l->stamp.size) {
		ssize_t n;
		size_t len;

		/* holes of small files are not worth a look */
		r = l->stamp.size > PIECE ? next_data(w, l, ino, off, &off) : 0;
		len = (size_t)MIN(l->stamp.size - off, (uint64_t)PIECE);
		if (r < 0 || !len)
			break;
		n = ply_view_read(w->o->parent, ino, off, len, theirs, w->err);
		if (n < 0)
			return (int)n;
		r = machine_bytes(w, l, off, mine, len);
		*ret = (size_t)n == len && !memcmp(mine, theirs, len);
		off += len;
		if (w->o->counters)
			atomic_fetch_add(&w->o->counters->bytes, len);
	}
	return r;
}

/* A list of users: it is compared, and stored, with the ids of the image. */
static int same_ids(struct work *w, const struct loaded *l, uint64_t ino, bool *ret)
{
	_cleanup_buf_ struct buf is = { 0 }, theirs = { 0 };
	struct buf text = { 0 };
	struct diff *d = w->d;
	int r;

	*ret = false;
	if (l->stamp.size > ID_TEXT_MAX)
		return 0;
	if (buf_reserve(&is, l->stamp.size + 1) < 0)
		return ply_fail_nomem(w->err);
	r = machine_bytes(w, l, 0, is.data, l->stamp.size);
	if (r == 0 && idmap_text(w->o->ids, (const char *)w->path.data, is.data, l->stamp.size, &text) < 0)
		r = ply_fail_nomem(w->err);
	if (r == 0 && ino) {
		r = diff_read(w->o->parent, ino, ID_TEXT_MAX, &theirs, w->err);
		if (r == -EFBIG)
			r = 0;
		else if (r == 0)
			*ret = theirs.len == text.len && (!text.len || !memcmp(theirs.data, text.data, text.len));
	}
	if (r < 0 || (text.len == l->stamp.size && (!text.len || !memcmp(text.data, is.data, text.len)))) {
		buf_done(&text);
		return r;
	}
	if (array_grow(&d->contents, &d->contents_cap, d->ncontents + 1, sizeof(*d->contents)) < 0) {
		buf_done(&text);
		return ply_fail_nomem(w->err);
	}
	d->contents[d->ncontents++] = (struct diff_content){ l->node, text };
	return 0;
}

static int same_content(struct work *w, const struct loaded *l, const struct ply_attr *a, uint64_t ino, bool *ret)
{
	const struct scan_node *n = &w->d->scan->nodes[l->node];
	const char *target;
	size_t len;
	int r;

	*ret = true;
	if (S_ISCHR(a->mode) || S_ISBLK(a->mode)) {
		*ret = l->stamp.size == ((uint64_t)a->rdev_major << 32 | a->rdev_minor);
		return 0;
	}
	if (S_ISLNK(a->mode)) {
		r = ply_view_readlink(w->o->parent, ino, &target, &len, w->err);
		*ret = r == 0 && len == n->size && !memcmp(target, scan_target(w->d->scan, l->node), len);
		return r;
	}
	if (!S_ISREG(a->mode))
		return 0;
	if (w->path.len && idmap_has_ids((const char *)w->path.data))
		return same_ids(w, l, ino, ret);
	if (l->stamp.size != a->size) {
		*ret = false;
		return 0;
	}
	return same_bytes(w, l, ino, ret);
}

/* --- xattrs ---------------------------------------------------------------------------------- */

struct xattrs {
	const struct work *w;
	const struct loaded *l;
	size_t n;
	bool same;
};

static int match_xattr(void *ctx, const struct sub_xattr *x, struct ply_err *err)
{
	struct xattrs *s = ctx;
	_cleanup_free_ uint8_t *value = NULL;
	size_t len;

	s->n++;
	for (size_t i = 0; i < s->l->nxattrs; i++) {
		const struct subw_xattr *is = &s->l->xattrs[i];

		if (strlen(is->name) != x->name_len || memcmp(is->name, x->name, x->name_len) != 0)
			continue;
		if (is->value_len != x->value_len)
			break;
		value = malloc(is->value_len + 1);
		if (!value)
			return ply_fail_nomem(err);
		if (idmap_xattr(s->w->o->ids, is->name, is->value, is->value_len, value, &len) == 0)
			memcpy(value, is->value, is->value_len);
		if (memcmp(value, x->value, x->value_len) != 0)
			break;
		return 0;
	}
	s->same = false;
	return 0;
}

static int same_xattrs(struct work *w, const struct loaded *l, uint64_t ino, bool *ret)
{
	struct xattrs s = { .w = w, .l = l, .same = true };
	struct view_file f;
	int r = view_file(w->o->parent, ino, &f, w->err);

	if (r == 0)
		r = view_file_xattrs(w->o->parent, &f, match_xattr, &s, w->err);
	*ret = s.same && s.n == l->nxattrs;
	return r;
}

/* --- comparing --------------------------------------------------------------------------------- */

static int compare(struct work *w, struct loaded *l)
{
	struct diff_node *d = &w->d->nodes[l->node];
	bool same = true;
	struct ply_attr a;
	int r;

	if (l->result < 0) {
		if (l->err.reason == PLY_R_FILES_UNREADABLE && w->o->allow_partial) {
			d->alone = true;
			w->d->scan->nodes[l->node].flags |= SCAN_UNREADABLE;
			w->d->scan->unreadable++;
			return 0;
		}
		*w->err = l->err;
		return l->result;
	}
	r = ply_view_attr(w->o->parent, d->ino, &a, w->err);
	if (r < 0)
		return r;
	if ((l->mode & S_IFMT) != (a.mode & S_IFMT)) {
		d->mask |= PLY_OVER_TYPE | PLY_OVER_CONTENT;
	} else {
		r = path_of(w, w->d->scan->nodes[l->node].parent, scan_name(w->d->scan, l->node),
			    w->d->scan->nodes[l->node].name_len) < 0 ? ply_fail_nomem(w->err) : 0;
		if (r == 0)
			r = same_content(w, l, &a, d->ino, &same);
		d->mask |= same ? 0 : PLY_OVER_CONTENT;
	}
	if ((l->mode & 07777) != (a.mode & 07777))
		d->mask |= PLY_OVER_MODE;
	if (idmap_id(w->o->ids, ID_USER, l->uid) != a.uid || idmap_id(w->o->ids, ID_GROUP, l->gid) != a.gid)
		d->mask |= PLY_OVER_OWNER;
	if (r == 0)
		r = same_xattrs(w, l, d->ino, &same);
	d->mask |= same ? 0 : PLY_OVER_XATTRS;
	if (l->vanished || l->changed || d->mask)
		d->how = DIFF_CHANGED;
	if (d->how == DIFF_CHANGED && !d->mask)
		d->mask = PLY_OVER_CONTENT;
	return r;
}

/* New files with ids in them. */
static int map_new(struct work *w)
{
	struct diff *d = w->d;
	int r = 0;

	for (uint32_t i = 1; r == 0 && i < d->scan->n; i++) {
		struct loaded l;
		bool same;

		if (d->nodes[i].how != DIFF_NEW || !S_ISREG(d->scan->nodes[i].mode) ||
		    d->scan->nodes[i].flags & SCAN_UNREADABLE)
			continue;
		if (path_of(w, d->scan->nodes[i].parent, scan_name(d->scan, i), d->scan->nodes[i].name_len) < 0)
			return ply_fail_nomem(w->err);
		if (!idmap_has_ids((const char *)w->path.data))
			continue;
		r = load_again(d->scan, i, LOAD_DIGEST_NO, &l);
		if (r == 0 && !l.vanished)
			r = same_ids(w, &l, 0, &same);
		else if (r < 0)
			*w->err = l.err;
		loaded_done(&l);
	}
	return r;
}

static int compare_all(struct work *w)
{
	struct diff *d = w->d;
	_cleanup_free_ uint32_t *order = malloc((d->scan->n + 1) * sizeof(*order));
	_cleanup_free_ uint8_t *digest = calloc(d->scan->n + 1, 1);
	struct loader *loader = NULL;
	size_t n = 0;
	int r = 0;

	if (!order || !digest)
		return ply_fail_nomem(w->err);
	for (uint32_t i = 0; i < d->scan->n; i++)
		if (d->nodes[i].ino && !d->nodes[i].alone && d->nodes[i].how == DIFF_SAME)
			order[n++] = i;
	r = loader_new(d->scan, order, n, digest, MIN(MAX(w->o->jobs, 4u), 16u), &loader, w->err);
	for (struct loaded *l; r == 0 && (l = loader_next(loader));) {
		if (w->o->cancelled && atomic_load(w->o->cancelled))
			r = ply_fail(w->err, -ECANCELED, PLY_R_CANCELLED, "interrupted; the image is as it was");
		else
			r = compare(w, l);
		if (w->o->counters)
			atomic_fetch_add(&w->o->counters->files, 1);
	}
	loader_free(loader);
	return r;
}

/* --- hard links ---------------------------------------------------------------------------------- */

/*
 * One set for each inode of both sides that has several names, tied where a name is of both. A set is as it
 * was where it is one inode of each side, and no name of it is new or gone; else all of its names are
 * stored.
 */
struct link {
	uint64_t ino;              /* of the parent; 0: none */
	uint32_t node;             /* SCAN_NONE: lost */
	uint32_t set;
};

static int by_ino(const void *a, const void *b)
{
	const struct link *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->node < y->node ? -1 : x->node > y->node;
}

static uint32_t root_of(uint32_t *up, uint32_t i)
{
	while (up[i] != i)
		i = up[i] = up[up[i]];
	return i;
}

static int list_links(struct work *w, struct link **ret, size_t *ret_n)
{
	struct diff *d = w->d;
	struct link *v = NULL;
	size_t n = 0, cap = 0;

	for (uint32_t i = 1; i < d->scan->n; i++) {
		const struct scan_node *s = &d->scan->nodes[i];
		uint64_t ino = d->nodes[i].ino;
		struct ply_attr a = { .nlink = 1 };

		if (ino) {
			int r = ply_view_attr(w->o->parent, ino, &a, w->err);

			if (r < 0) {
				free(v);
				return r;
			}
			if (S_ISDIR(a.mode))
				ino = 0;
		}
		if (S_ISDIR(s->mode) ? !ino || a.nlink < 2 : (!ino || a.nlink < 2) && !s->group)
			continue;
		if (array_grow(&v, &cap, n + 1, sizeof(*v)) < 0) {
			free(v);
			return ply_fail_nomem(w->err);
		}
		v[n++] = (struct link){ ino, S_ISDIR(s->mode) ? SCAN_NONE : i, 0 };
	}
	for (size_t i = 0; i < w->nlost; i++) {
		if (array_grow(&v, &cap, n + 1, sizeof(*v)) < 0) {
			free(v);
			return ply_fail_nomem(w->err);
		}
		v[n++] = (struct link){ w->lost[i].ino, SCAN_NONE, 0 };
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

/* Sets: by machine's group the numbers up to ngroups, behind them one for each link. */
static int tie(struct work *w, struct link *v, size_t n, uint32_t *up, uint8_t *broken)
{
	const struct scan *s = w->d->scan;
	uint64_t *first = calloc(s->ngroups + 1, sizeof(*first));    /* by group: the inode of its first name, plus 1 */
	size_t base = s->ngroups + 1;

	if (!first)
		return -ENOMEM;
	for (size_t i = 0; i < base + n; i++)
		up[i] = (uint32_t)i;
	for (size_t i = 0; i < n; i++) {
		uint32_t group = v[i].node == SCAN_NONE ? 0 : s->nodes[v[i].node].group;
		bool tied = i && v[i].ino && v[i - 1].ino == v[i].ino;
		uint32_t before = i && v[i - 1].node != SCAN_NONE ? s->nodes[v[i - 1].node].group : 0;

		v[i].set = (uint32_t)(base + i);
		if (tied)
			up[root_of(up, v[i].set)] = root_of(up, v[i - 1].set);
		if (group)
			up[root_of(up, v[i].set)] = root_of(up, group);
		/* one inode there, and two here, or the reverse */
		if ((tied && (group != before || !group)) || v[i].node == SCAN_NONE)
			broken[base + i] = 1;
		if (group && !first[group])
			first[group] = v[i].ino + 1;
		else if (group && first[group] != v[i].ino + 1)
			broken[base + i] = 1;
		/* what merely changed did so under all of its names */
		if (v[i].node != SCAN_NONE &&
		    (w->d->nodes[v[i].node].how == DIFF_NEW || w->d->nodes[v[i].node].how == DIFF_GONE))
			broken[base + i] = 1;
	}
	free(first);
	return 0;
}

static int settle_links(struct work *w)
{
	struct diff *d = w->d;
	struct link *v = NULL;
	uint32_t *up = NULL;
	uint8_t *broken = NULL;
	size_t n = 0, all;
	int r = list_links(w, &v, &n);

	if (r < 0 || !n)
		return r;
	all = d->scan->ngroups + 1 + n;
	up = malloc(all * sizeof(*up));
	broken = calloc(all, 1);
	qsort(v, n, sizeof(*v), by_ino);
	r = up && broken && tie(w, v, n, up, broken) == 0 ? 0 : ply_fail_nomem(w->err);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (broken[v[i].set])
			broken[root_of(up, v[i].set)] = 1;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct diff_node *dn = v[i].node == SCAN_NONE ? NULL : &d->nodes[v[i].node];

		if (!dn || dn->how == DIFF_NEW || dn->how == DIFF_GONE || !broken[root_of(up, v[i].set)])
			continue;
		/* of what cannot be stored, what the parent has stays */
		if (d->scan->nodes[v[i].node].flags & (SCAN_UNREADABLE | SCAN_LEFT_OUT))
			continue;
		dn->how = DIFF_CHANGED;
		dn->mask |= PLY_OVER_LINKS;
	}
	free(v);
	free(up);
	free(broken);
	return r;
}

/* --- */

/* The scan in its new order. */
static void adopt(struct work *w)
{
	struct scan *s = w->d->scan;

	free(s->nodes);
	s->nodes = w->nodes;
	s->n = w->n;
	s->cap = w->cap;
	w->nodes = NULL;
	for (uint32_t i = (uint32_t)s->n; i-- > 0;) {
		if (s->nodes[i].flags & SCAN_UNREADABLE)
			s->first_unreadable = i;
		if (s->nodes[i].flags & SCAN_FLAGGED)
			s->first_flagged = i;
	}
	w->nodes = s->nodes;       /* for path_of() */
}

static int by_content_node(const void *a, const void *b)
{
	const struct diff_content *x = a, *y = b;

	return x->node < y->node ? -1 : x->node > y->node;
}

int diff_tree(struct scan *scan, uint8_t *marks, const struct diff_options *o, struct diff *ret, struct ply_err *err)
{
	struct ply_err mine = { 0 };
	struct work w = { .d = ret, .o = o, .err = err ? err : &mine, .piece = malloc(2 * PIECE) };
	int r;

	*ret = (struct diff){ .scan = scan };
	r = w.piece ? walk(&w, marks) : ply_fail_nomem(w.err);
	free(marks);
	if (r == 0) {
		adopt(&w);
		ret->marks = TAKE_PTR(w.marks.data);
		if (o->counters)
			atomic_store(&o->counters->phase, "compare");
		r = compare_all(&w);
	} else {
		free(w.nodes);
	}
	if (r == 0)
		r = map_new(&w);
	if (r == 0 && ret->ncontents)
		qsort(ret->contents, ret->ncontents, sizeof(*ret->contents), by_content_node);
	if (r == 0)
		r = settle_links(&w);
	for (uint32_t i = 0; r == 0 && i < scan->n; i++) {
		ret->nnew += ret->nodes[i].how == DIFF_NEW;
		ret->nchanged += ret->nodes[i].how == DIFF_CHANGED;
	}
	buf_done(&w.marks);
	buf_done(&w.path);
	free(w.was);
	free(w.lost);
	free(w.piece);
	if (r < 0)
		diff_done(ret);
	return r;
}

void diff_done(struct diff *d)
{
	for (size_t i = 0; i < d->ncontents; i++)
		buf_done(&d->contents[i].text);
	free(d->contents);
	free(d->nodes);
	free(d->marks);
	*d = (struct diff){ 0 };
}

static int by_node(const void *key, const void *v)
{
	uint32_t node = *(const uint32_t *)key, is = ((const struct diff_content *)v)->node;

	return node < is ? -1 : node > is;
}

const struct buf *diff_content_of(const struct diff *d, uint32_t node)
{
	const struct diff_content *c = d->ncontents ?
		bsearch(&node, d->contents, d->ncontents, sizeof(*d->contents), by_node) : NULL;

	return c ? &c->text : NULL;
}
