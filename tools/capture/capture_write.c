/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One component into one sub-image.
 *
 * First the order: the names that belong to it, and their directories, numbered
 * directory by directory (FORMAT.md, NODES). Loaders read the files in that order; this thread takes them one
 * by one, makes node and entry, and hands content on. So a file that has gone since the
 * scan leaves no trace, and all that a node says is as of the moment when its content was read.
 *
 * Blocks of large files are read by the threads that compress them. Whether such a file
 * changed meanwhile is known when its last block has been read; those that did are
 * read once more at the end of the sub-image.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/util.h"
#include "capture/acls.h"
#include "capture/capture.h"
#include "capture/idnames.h"
#include "capture/load.h"
#include "codec/codec.h"
#include "image/image_write.h"

#define MARKED     UINT32_MAX      /* in cap.index: belongs here, has no number yet */
#define READINGS   3
#define AGAIN_MAX  (1ULL << 30)    /* a larger file that changes is not stored once more for each reading */

/* A large file while its blocks are being read. */
struct big {
	struct writer *w;
	struct load_stamp stamp;
	uint32_t node, index;
	int fd;
	atomic_uint refs;          /* blocks under way, and the one who gives them out */
	atomic_bool stale;
	struct big *next;          /* in writer.stale */
};

struct writer {
	struct capture *cap;
	size_t c;
	struct subw *subw;
	struct loader *loader;
	uint32_t *order, *dirs;    /* what the loader reads; directories in order of numbering */
	size_t norder, ndirs;
	uint32_t *group_index;     /* by group; MARKED: its first name is in `order` */
	uint8_t *tail;             /* PLY_BLOCK_SIZE */
	struct sha256 *sha;        /* of files whose names lie in several components */
	struct acl_variants acls;  /* of the file in hand */
	struct buf xattr_text;     /* of an overlay: its values that are other ones */
	pthread_mutex_t lock;      /* stale */
	struct big *stale;         /* changed while their blocks were read */
};

static bool is_crossing(const struct writer *w, uint32_t group)
{
	return group && w->cap->crossing[group / 8] >> group % 8 & 1;
}

static const struct scan_node *at(const struct writer *w, uint32_t node)
{
	return &w->cap->scan->nodes[node];
}

/* --- the order ------------------------------------------------------------------- */

static void mark(struct writer *w)
{
	const struct scan *s = w->cap->scan;
	uint32_t *index = w->cap->index;

	memset(index, 0, s->n * sizeof(*index));
	index[SCAN_ROOT] = MARKED;
	for (uint32_t i = 1; i < s->n; i++) {
		if (!split_holds(w->cap->split, s->nodes[i].comp, w->c) ||
		    (s->nodes[i].flags & SCAN_UNREADABLE && !S_ISDIR(s->nodes[i].mode)))
			continue;
		for (uint32_t k = i; index[k] != MARKED; k = s->nodes[k].parent)
			index[k] = MARKED;
	}
	for (size_t i = 0; i < w->cap->projection.nextras; i++) {
		const struct extra_name *e = &w->cap->projection.extras[i];

		for (uint32_t k = e->dir; e->comp == w->c && index[k] != MARKED; k = s->nodes[k].parent)
			index[k] = MARKED;
	}
}

/* The names of a directory in their order: scanned ones, and those that only subsets show. */
struct names {
	uint32_t i, end;           /* nodes */
	size_t x, xend;            /* in projection.extras */
};

static struct names names_of(const struct writer *w, uint32_t dir)
{
	const struct scan_node *d = at(w, dir);
	struct names n = { .i = d->first_child, .end = d->first_child + d->nchildren };
	size_t count;

	n.x = project_extras(&w->cap->projection, dir, (uint16_t)w->c, &count);
	n.xend = n.x + count;
	return n;
}

/* The next of them: a node, or an extra; false: no more. */
static bool next_name(const struct writer *w, struct names *n, uint32_t *ret_node,
		      const struct extra_name **ret_extra)
{
	const struct projection *p = &w->cap->projection;

	while (n->i < n->end && w->cap->index[n->i] != MARKED)
		n->i++;
	*ret_node = n->i;
	*ret_extra = NULL;
	if (n->x < n->xend) {
		const struct extra_name *e = &p->extras[n->x];
		const char *name = (const char *)p->text.data + e->name;
		int c = 1;

		if (n->i < n->end) {
			size_t len = at(w, n->i)->name_len;

			c = memcmp(scan_name(w->cap->scan, n->i), name, MIN(len, (size_t)e->name_len));
			c = c ? c : (len > e->name_len) - (len < e->name_len);
		}
		if (c >= 0) {
			n->x++;
			if (c == 0)        /* the machine's own name stands */
				return next_name(w, n, ret_node, ret_extra);
			*ret_extra = e;
			return true;
		}
	}
	return n->i < n->end && (n->i++, true);
}

static int make_order(struct writer *w)
{
	const struct scan *s = w->cap->scan;
	const uint32_t *index = w->cap->index;
	size_t count = 0, nstack = 0;
	uint32_t *stack;

	for (size_t i = 0; i < s->n; i++)
		count += index[i] == MARKED;
	count += w->cap->projection.nextras;
	w->order = malloc(count * sizeof(*w->order));
	w->dirs = malloc(count * sizeof(*w->dirs));
	stack = malloc(count * sizeof(*stack));
	w->group_index = calloc(s->ngroups + 1, sizeof(*w->group_index));
	if (!w->order || !w->dirs || !stack || !w->group_index) {
		free(stack);
		return -ENOMEM;
	}
	w->order[w->norder++] = SCAN_ROOT;
	stack[nstack++] = SCAN_ROOT;
	while (nstack) {
		uint32_t dir = stack[--nstack];
		const struct scan_node *d = &s->nodes[dir];

		struct names names = names_of(w, dir);
		const struct extra_name *extra;

		w->dirs[w->ndirs++] = dir;
		for (uint32_t i; next_name(w, &names, &i, &extra);) {
			const struct scan_node *n = &s->nodes[i];

			if (extra && extra->target == UINT32_MAX)
				w->order[w->norder++] = extra->node;
			if (extra || n->flags & SCAN_GONE || (n->group && w->group_index[n->group]))
				continue;
			w->order[w->norder++] = i;
			if (n->group)
				w->group_index[n->group] = MARKED;
		}
		for (uint32_t i = d->first_child + d->nchildren; i-- > d->first_child;)
			if (index[i] == MARKED && S_ISDIR(s->nodes[i].mode))
				stack[nstack++] = i;
	}
	memset(w->group_index, 0, (s->ngroups + 1) * sizeof(*w->group_index));
	free(stack);
	return 0;
}

struct sized {
	uint64_t size;
	uint32_t node;
};

static int by_size(const void *a, const void *b)
{
	const struct sized *x = a, *y = b;

	return x->size < y->size ? -1 : x->size > y->size;
}

/* Files that another one may equal: only those of a size that occurs twice are hashed; of a shared file
 * it is asked whether it is what was cut. */
static int choose_digests(struct writer *w)
{
	struct sized *v = malloc((w->norder + 1) * sizeof(*v));
	uint8_t *digest = w->cap->digest;
	size_t n = 0;

	if (!v)
		return -ENOMEM;
	memset(digest, LOAD_DIGEST_NO, w->cap->scan->n);
	for (size_t i = 0; i < w->norder; i++) {
		const struct scan_node *f = at(w, w->order[i]);

		if (S_ISREG(f->mode) && f->size > PLY_INLINE_MAX)
			v[n++] = (struct sized){ f->size, w->order[i] };
		if (is_crossing(w, f->group) || project_shared(&w->cap->projection, w->order[i]))
			digest[w->order[i]] = LOAD_DIGEST_ALWAYS;
	}
	if (n)
		qsort(v, n, sizeof(*v), by_size);
	for (size_t i = 0; i < n; i++)
		if (((i && v[i - 1].size == v[i].size) || (i + 1 < n && v[i + 1].size == v[i].size)) &&
		    digest[v[i].node] == LOAD_DIGEST_NO)
			digest[v[i].node] = LOAD_DIGEST_WHOLE;
	free(v);
	return 0;
}

/* --- content --------------------------------------------------------------------- */

static void big_put(struct big *b)
{
	if (atomic_fetch_sub(&b->refs, 1) != 1)
		return;
	if (load_is_stale(&b->stamp, b->fd))
		atomic_store(&b->stale, true);
	close(b->fd);
	if (!atomic_load(&b->stale)) {
		free(b);
		return;
	}
	pthread_mutex_lock(&b->w->lock);
	b->next = b->w->stale;
	b->w->stale = b;
	pthread_mutex_unlock(&b->w->lock);
}

/* [off, off + len) of @fd; what is no longer there is zeros, and *cut says so. */
static int read_piece(const struct writer *w, uint32_t node, int fd, uint64_t off, uint8_t *buf, size_t len,
		      atomic_bool *cut, struct ply_err *err)
{
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return load_fail(w->cap->scan, node, -errno, "cannot be read", err);
		if (n == 0) {
			atomic_store(cut, true);
			memset(buf, 0, len);
			return 0;
		}
		buf += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* On a thread of the pool. */
static int fill(void *ctx, uint64_t off, void *buf, size_t len, struct ply_err *err)
{
	struct big *b = ctx;
	int r = read_piece(b->w, b->node, b->fd, off, buf, len, &b->stale, err);

	big_put(b);
	return r;
}

static void count(const struct writer *w, uint64_t bytes)
{
	if (w->cap->o->counters)
		atomic_fetch_add(&w->cap->o->counters->bytes, bytes);
}

static int write_extent(struct writer *w, struct big *b, const struct load_extent *e, struct ply_err *err)
{
	uint64_t off = e->off, end = e->off + e->len;
	int r = 0;

	for (; r == 0 && end - off >= PLY_BLOCK_SIZE; off += PLY_BLOCK_SIZE) {
		atomic_fetch_add(&b->refs, 1);
		r = subw_data_fill(w->subw, off, PLY_BLOCK_SIZE, fill, b, err);
		if (r < 0)
			atomic_fetch_sub(&b->refs, 1);   /* it was not handed over */
		count(w, PLY_BLOCK_SIZE);
	}
	if (r < 0 || off == end)
		return r;
	count(w, end - off);
	r = read_piece(w, b->node, b->fd, off, w->tail, (size_t)(end - off), &b->stale, err);
	return r < 0 ? r : subw_data(w->subw, off, w->tail, (size_t)(end - off), err);
}

static int write_big(struct writer *w, struct loaded *l, uint32_t index, struct ply_err *err)
{
	bool share = l->has_digest && loaded_is_whole(l);
	struct big *b;
	int r = share ? subw_file_same(w->subw, index, l->stamp.size, l->digest) : 0;

	if (r != 0)
		return r < 0 ? ply_fail_nomem(err) : 0;
	b = calloc(1, sizeof(*b));
	if (!b)
		return ply_fail_nomem(err);
	*b = (struct big){ .w = w, .stamp = l->stamp, .node = l->node, .index = index,
			   .fd = TAKE_FD(l->fd), .refs = 1, .stale = l->changed };
	r = subw_file(w->subw, index, l->stamp.size);
	for (size_t i = 0; r == 0 && i < l->nextents; i++)
		r = write_extent(w, b, &l->extents[i], err);
	if (r == 0)
		r = subw_file_end(w->subw, err);
	if (r == 0 && share) {
		/* others may only share what was read as it was hashed */
		r = subw_sync(w->subw, err);
		if (r == 0 && !atomic_load(&b->stale) && !load_is_stale(&b->stamp, b->fd) &&
		    subw_file_known(w->subw, index, l->digest) < 0)
			r = ply_fail_nomem(err);
	}
	big_put(b);
	return r;
}

/* A large file of a group that crosses components: in this thread, so that its digest is that of the
 * bytes that were stored. *ret_cut: the file is no longer what @l says. */
static int write_serial(struct writer *w, struct loaded *l, uint32_t index, bool *ret_cut, struct ply_err *err)
{
	static const uint8_t zero[4096];
	uint64_t at_off = 0, data = 0;
	atomic_bool cut = false;
	int r;

	for (size_t i = 0; i < l->nextents; i++)
		data += l->extents[i].len;
	l->has_digest = l->stamp.size - data <= PLY_DIGEST_HOLES_MAX;
	sha256_reset(w->sha);
	r = subw_file(w->subw, index, l->stamp.size);
	for (size_t i = 0; r == 0 && at_off < l->stamp.size; i++) {
		uint64_t from = i < l->nextents ? l->extents[i].off : l->stamp.size;
		uint64_t to = i < l->nextents ? from + l->extents[i].len : from;

		for (size_t n; l->has_digest && at_off < from; at_off += n) {
			n = (size_t)MIN(from - at_off, (uint64_t)sizeof(zero));
			sha256_add(w->sha, zero, n);
		}
		at_off = from;
		for (size_t n; r == 0 && at_off < to; at_off += n) {
			n = (size_t)MIN(to - at_off, (uint64_t)PLY_BLOCK_SIZE);
			r = read_piece(w, l->node, l->fd, at_off, w->tail, n, &cut, err);
			if (r == 0 && l->has_digest)
				sha256_add(w->sha, w->tail, n);
			if (r == 0)
				r = subw_data(w->subw, at_off, w->tail, n, err);
			count(w, n);
		}
	}
	sha256_end(w->sha, l->digest);
	*ret_cut = atomic_load(&cut) || load_is_stale(&l->stamp, l->fd);
	return r < 0 ? r : subw_file_end(w->subw, err);
}

static int write_small(struct writer *w, struct loaded *l, uint32_t index, struct ply_err *err)
{
	int r;

	count(w, l->stamp.size);
	if (l->stamp.size && loaded_is_whole(l))
		return subw_file_whole(w->subw, index, l->data, l->stamp.size,
				       l->has_digest ? l->digest : NULL, err);
	r = subw_file(w->subw, index, l->stamp.size);
	for (size_t i = 0; r == 0 && i < l->nextents; i++)
		r = subw_data(w->subw, l->extents[i].off, l->data + l->extents[i].off,
			      (size_t)l->extents[i].len, err);
	return r < 0 ? r : subw_file_end(w->subw, err);
}

/* --- nodes ----------------------------------------------------------------------- */

static int note_together(struct writer *w, uint32_t node)
{
	_cleanup_buf_ struct buf path = { 0 };
	int r = scan_path(w->cap->scan, node, &path);

	return r < 0 ? r : split_note(w->cap->split, "/%s: its ACL names users or groups of more than %u components; those "
				      "behind the first %u are there only with all of them", (const char *)path.data,
				      ACLS_COMPONENTS_MAX, ACLS_COMPONENTS_MAX);
}

/* What the segment's writer failed with. */
static int fail_write(const struct writer *w, int code, struct ply_err *err)
{
	if (code == -ENOMEM)
		return ply_fail_nomem(err);
	return ply_fail(err, code, PLY_R_LIMIT, "component %s: more conditions, or shared files, than an image can hold",
			w->cap->split->comps[w->c].name);
}

/* Ids and xattrs as they are in the image. */
static int edit(struct writer *w, const struct loaded *l, uint32_t *uid, uint32_t *gid)
{
	const struct capture_overlay *o = w->cap->overlay;

	if (!o)
		return 0;
	o->ids(o->ctx, uid, gid);
	w->xattr_text.len = 0;
	return o->xattrs(o->ctx, l->xattrs, l->nxattrs, &w->xattr_text);
}

static int make_node(struct writer *w, const struct loaded *l, struct ply_node *ret)
{
	const struct capture *cap = w->cap;
	uint32_t uid = l->uid, gid = l->gid;
	int r;

	*ret = (struct ply_node){
		.mode = l->mode,
		.mtime_sec = l->stamp.mtime_sec,
		.mtime_nsec = l->stamp.mtime_nsec,
	};
	if (S_ISDIR(l->mode) && !split_holds(cap->split, at(w, l->node)->comp, w->c))
		ret->flags |= PLY_NODE_IMPLIED;
	if (cap->overlay && S_ISDIR(l->mode) && cap->overlay->covers(cap->overlay->ctx, l->node))
		ret->flags |= PLY_NODE_COVERS;
	if (S_ISCHR(l->mode) || S_ISBLK(l->mode))
		ret->size = l->stamp.size;
	r = edit(w, l, &uid, &gid);
	if (r < 0)
		return r;
	r = acls_expand(l->xattrs, l->nxattrs, &cap->owners, cap->projection.conds, &w->acls);
	if (r == 0 && w->acls.together)
		r = note_together(w, l->node);
	if (r < 0)
		return r;
	if (subw_owner(w->subw, uid, gid, idnames_find(cap->users, l->uid),
		       idnames_find(cap->groups, l->gid), &ret->owner) < 0)
		return -ENOMEM;
	return subw_xattrs(w->subw, w->acls.v, w->acls.n, &ret->xattrs);
}

/* For the join table. */
static int place(struct writer *w, const struct loaded *l, uint32_t index, const struct shared_file *shared)
{
	struct capture *cap = w->cap;
	const struct scan_node *n = at(w, l->node);
	struct placed p = { .node = SCAN_NONE, .group = n->group, .ref = PLY_INO(w->c, index),
			    .name = l->node };

	if (cap->overlay)          /* its joins follow from names (tools/add/join.c) */
		return 0;
	if (S_ISDIR(n->mode) || shared)
		p.node = l->node;
	else if (!is_crossing(w, n->group) || l->replaced)
		return 0;
	if (shared)
		memcpy(p.digest, shared->digest, sizeof(p.digest));
	else if (l->has_digest)
		memcpy(p.digest, l->digest, sizeof(p.digest));
	if (array_grow(&cap->placed, &cap->placed_cap, cap->nplaced + 1, sizeof(p)) < 0)
		return -ENOMEM;
	cap->placed[cap->nplaced++] = p;
	return 0;
}

static int note_changed(struct writer *w, uint32_t node, struct ply_err *err)
{
	struct capture_report *r = w->cap->report;

	return capture_note(&r->changed, &r->nchanged, &r->changed_cap, w->cap->scan, node) < 0 ?
		ply_fail_nomem(err) : 0;
}

/* Node @index is about to get the content of @l instead of what it has. */
static int start_again(struct writer *w, uint32_t index, const struct loaded *l, struct ply_err *err)
{
	struct ply_node *n, fresh;
	int r = subw_file_forget(w->subw, index, err);

	if (r < 0)
		return r;
	r = make_node(w, l, &fresh);
	if (r < 0)
		return fail_write(w, r, err);
	n = subw_node_at(w->subw, index);
	n->mode = fresh.mode;
	n->owner = fresh.owner;
	n->xattrs = fresh.xattrs;
	n->mtime_sec = fresh.mtime_sec;
	n->mtime_nsec = fresh.mtime_nsec;
	return 0;
}

/* Until the file stands still for a reading; then, or after READINGS, what was read last counts. */
static int write_crossing(struct writer *w, struct loaded *l, uint32_t index, struct ply_err *err)
{
	bool cut;
	int r = write_serial(w, l, index, &cut, err);

	for (int reading = 1; r == 0 && cut && reading < READINGS; reading++) {
		struct loaded fresh;

		r = load_again(w->cap->scan, l->node, LOAD_DIGEST_NO, &fresh);
		if (r < 0)
			*err = fresh.err;
		if (r < 0 || fresh.vanished || fresh.stamp.size < PLY_BLOCK_SIZE) {
			loaded_done(&fresh);
			break;
		}
		r = start_again(w, index, &fresh, err);
		if (r == 0)
			r = write_serial(w, &fresh, index, &cut, err);
		l->has_digest = fresh.has_digest;
		memcpy(l->digest, fresh.digest, sizeof(l->digest));
		loaded_done(&fresh);
	}
	return r == 0 && cut ? note_changed(w, l->node, err) : r;
}

/* Text whose ids are other ones: not what was loaded. */
static int write_text(struct writer *w, const struct buf *text, uint32_t index, struct ply_err *err)
{
	int r;

	count(w, text->len);
	if (text->len && text->len < PLY_BLOCK_SIZE)
		return subw_file_whole(w->subw, index, text->data, text->len, NULL, err);
	r = subw_file(w->subw, index, text->len);
	if (r == 0 && text->len)
		r = subw_data(w->subw, 0, text->data, text->len, err);
	return r < 0 ? r : subw_file_end(w->subw, err);
}

static int write_content(struct writer *w, struct loaded *l, uint32_t index, struct ply_err *err)
{
	const struct capture_overlay *o = w->cap->overlay;
	const struct buf *text = o ? o->content(o->ctx, l->node) : NULL;

	if (text)
		return write_text(w, text, index, err);
	if (l->stamp.size < PLY_BLOCK_SIZE)
		return write_small(w, l, index, err);
	return is_crossing(w, at(w, l->node)->group) ? write_crossing(w, l, index, err) :
						       write_big(w, l, index, err);
}

/* Does the record lie in this component? */
static bool is_home(const struct writer *w, uint32_t cond)
{
	size_t n;
	const uint16_t *comps = conds_home(w->cap->projection.conds, cond, &n);

	for (size_t i = 0; i < n; i++)
		if (comps[i] == w->c)
			return true;
	return !n && w->c == 0;
}

/* This component's part of a shared file. */
static int write_records(struct writer *w, const struct shared_file *f, uint32_t index, struct ply_err *err)
{
	_cleanup_free_ struct subw_record *rows = calloc(f->records.n + 1, sizeof(*rows));
	_cleanup_buf_ struct buf part = { 0 };
	size_t n = 0;
	int r;

	if (!rows)
		return ply_fail_nomem(err);
	for (size_t i = 0; i < f->records.n; i++) {
		const struct record *rec = &f->records.v[i];

		if (!is_home(w, rec->cond) || subw_cond_is_never(w->subw, rec->cond))
			continue;
		rows[n++] = (struct subw_record){ (uint32_t)i, rec->cond, rec->len,
						  rec->flags & RECORD_ITEM ? PLY_RECORD_ITEM : 0 };
		if (buf_add(&part, f->records.bytes.data + rec->off, rec->len) < 0)
			return ply_fail_nomem(err);
	}
	count(w, part.len);
	r = subw_file(w->subw, index, part.len);
	if (r == 0 && part.len)
		r = subw_data(w->subw, 0, part.data, part.len, err);
	if (r == 0)
		r = subw_file_end(w->subw, err);
	if (r < 0)
		return r;
	r = subw_shared(w->subw, index, f->driver->number, f->driver->version, f->whole, f->digest, rows, n);
	return r < 0 ? fail_write(w, r, err) : 0;
}

/* What could not be read: 0 where the capture goes on, without it or, a directory, with it. */
static int unreadable(struct writer *w, struct loaded *l, bool *ret_gone, struct ply_err *err)
{
	bool is_dir = S_ISDIR(l->mode);

	if (l->err.reason != PLY_R_FILES_UNREADABLE || !w->cap->o->allow_partial) {
		*err = l->err;
		return l->result;
	}
	if (!is_dir || !(at(w, l->node)->flags & SCAN_UNREADABLE))
		w->cap->report->skipped++;
	l->nxattrs = 0;
	if (!is_dir)
		w->cap->scan->nodes[l->node].flags |= SCAN_UNREADABLE;
	*ret_gone = !is_dir;
	return 0;
}

/*
 * The records are as of when they were cut, and all components' have to go together: where the file is another now, or has
 * gone, what the scan saw of it is what they belong to.
 */
static int as_projected(struct writer *w, struct loaded *l, const struct shared_file *f, struct ply_err *err)
{
	const struct scan_node *n = at(w, l->node);

	if (!l->vanished && l->has_digest && !memcmp(l->digest, f->digest, sizeof(l->digest)))
		return 0;
	l->vanished = false;
	l->mode = n->mode;
	l->uid = n->uid;
	l->gid = n->gid;
	l->stamp.mtime_sec = n->mtime_sec;
	l->stamp.mtime_nsec = n->mtime_nsec;
	return note_changed(w, l->node, err);
}

/* Node and content of @l; *ret_index 0: it has gone. */
static int write_file(struct writer *w, struct loaded *l, uint32_t *ret_index, struct ply_err *err)
{
	const struct shared_file *shared = project_shared(&w->cap->projection, l->node);
	struct capture_report *report = w->cap->report;
	const struct scan *s = w->cap->scan;
	bool gone = false;
	struct ply_node n;
	uint64_t index;
	int r = 0;

	*ret_index = 0;
	if (l->result < 0) {
		r = unreadable(w, l, &gone, err);
		if (r < 0 || gone)
			return r;
	}
	if (shared) {
		r = as_projected(w, l, shared, err);
		if (r < 0)
			return r;
	}
	if (l->vanished && !S_ISDIR(l->mode))
		return capture_note(&report->vanished, &report->nvanished, &report->vanished_cap, s,
				    l->node) < 0 ? ply_fail_nomem(err) : 0;
	r = make_node(w, l, &n);
	if (r == 0)
		r = subw_node(w->subw, &n, &index);
	if (r < 0)
		return fail_write(w, r, err);
	/* of a larger one that changes it is known when its last block has been read */
	if (l->replaced || (l->changed && !shared && l->stamp.size < PLY_BLOCK_SIZE))
		r = note_changed(w, l->node, err);
	if (r == 0 && S_ISREG(l->mode) && shared)
		r = write_records(w, shared, (uint32_t)index, err);
	else if (r == 0 && S_ISREG(l->mode))
		r = write_content(w, l, (uint32_t)index, err);
	else if (r == 0 && S_ISLNK(l->mode) &&
		 subw_symlink(w->subw, index, scan_target(s, l->node), l->stamp.size) < 0)
		r = ply_fail_nomem(err);
	if (r == 0 && place(w, l, (uint32_t)index, shared) < 0)
		r = ply_fail_nomem(err);
	if (r == 0 && w->cap->overlay)
		r = w->cap->overlay->written(w->cap->overlay->ctx, w->subw, l->node, (uint32_t)index, err);
	*ret_index = (uint32_t)index;
	return r;
}

/* A further name of a group whose first name had gone, or was another file, when it was its turn. */
static int write_late(struct writer *w, uint32_t node, uint32_t *ret_index, bool *ret_replaced,
		      struct ply_err *err)
{
	struct loaded l;
	int r;

	load_again(w->cap->scan, node, w->cap->digest[node], &l);
	r = write_file(w, &l, ret_index, err);
	*ret_replaced = l.replaced;
	loaded_done(&l);
	return r;
}

/* A name of what an overlay stands on that is gone; a directory stands here for what was in it. */
static int write_gone(struct writer *w, uint32_t node, struct ply_err *err)
{
	const struct capture_overlay *o = w->cap->overlay;
	const struct scan_node *n = at(w, node);
	struct ply_attr a;
	struct ply_node dir = { 0 };
	uint64_t index = 0;
	int r = 0;

	if (S_ISDIR(n->mode)) {
		r = o->gone(o->ctx, node, &a, err);
		if (r < 0)
			return r;
		dir = (struct ply_node){ .mode = (uint16_t)a.mode, .flags = PLY_NODE_IMPLIED,
					 .mtime_sec = a.mtime_sec, .mtime_nsec = a.mtime_nsec };
		if (o->covers(o->ctx, node))
			dir.flags |= PLY_NODE_COVERS;
		r = subw_owner(w->subw, a.uid, a.gid, NULL, NULL, &dir.owner);
		if (r == 0)
			r = subw_node(w->subw, &dir, &index);
	}
	w->cap->index[node] = (uint32_t)index;
	if (r == 0)
		r = subw_whiteout(w->subw, scan_name(w->cap->scan, node), n->name_len, index);
	return r < 0 ? fail_write(w, r, err) : 0;
}

static int write_child(struct writer *w, uint32_t node, struct ply_err *err)
{
	const struct capture_overlay *o = w->cap->overlay;
	const struct scan_node *n = at(w, node);
	uint32_t *tied = n->group ? &w->group_index[n->group] : NULL, index = 0;
	bool replaced = false;
	int r = 0;

	if (w->cap->o->cancelled && atomic_load(w->cap->o->cancelled))
		return ply_fail(err, -ECANCELED, PLY_R_CANCELLED, "interrupted; %s",
				o ? "the image is as it was" : "no image was written");

	if (n->flags & SCAN_GONE)
		return write_gone(w, node, err);
	if (tied && *tied && *tied != MARKED) {
		index = *tied;
	} else if (tied && *tied == MARKED) {
		r = write_late(w, node, &index, &replaced, err);
	} else {
		struct loaded *l = loader_next(w->loader);

		replaced = l->replaced;
		r = write_file(w, l, &index, err);
	}
	if (tied && r == 0)
		*tied = index && !replaced ? index : MARKED;
	if (w->cap->o->counters)
		atomic_fetch_add(&w->cap->o->counters->files, 1);
	if (r < 0)
		return r;
	w->cap->index[node] = index;
	if (!index && o && o->hides(o->ctx, node))   /* it has gone meanwhile */
		r = subw_whiteout(w->subw, scan_name(w->cap->scan, node), n->name_len, 0);
	else if (index)
		r = subw_entry_if(w->subw, scan_name(w->cap->scan, node), n->name_len, index,
				  project_cond(&w->cap->projection, node));
	return r < 0 ? fail_write(w, r, err) : 0;
}

/* A link of an alternative, with the metadata of the machine's own link, where it has one. */
static int write_extra_link(struct writer *w, const struct extra_name *e, uint32_t *ret_index, struct ply_err *err)
{
	const char *target = (const char *)w->cap->projection.text.data + e->target;
	const struct scan_node *as = at(w, e->node);
	struct loaded l = { .node = e->node, .fd = -1, .stamp = { .mtime_sec = as->mtime_sec,
								  .mtime_nsec = as->mtime_nsec } };
	bool gone = false;
	struct ply_node n;
	uint64_t index;
	int r = S_ISLNK(as->mode) ? load_again(w->cap->scan, e->node, LOAD_DIGEST_NO, &l) : 0;

	if (r < 0)
		r = unreadable(w, &l, &gone, err);
	l.mode = S_IFLNK | 0777;
	l.stamp.size = strlen(target);
	if (r == 0) {
		r = make_node(w, &l, &n);
		if (r == 0)
			r = subw_node(w->subw, &n, &index);
		if (r == 0)
			r = subw_symlink(w->subw, index, target, l.stamp.size);
		if (r < 0)
			fail_write(w, r, err);
	}
	loaded_done(&l);
	if (r == 0)
		*ret_index = (uint32_t)index;
	return r;
}

/* A name that only subsets show: another file's content, or a link of an alternative. */
static int write_extra(struct writer *w, const struct extra_name *e, struct ply_err *err)
{
	const struct capture *cap = w->cap;
	uint8_t mark = S_ISDIR(at(w, e->node)->mode) ? 0 : cap->split->marks[e->node];
	uint32_t index = 0;
	int r = e->target == UINT32_MAX ? write_file(w, loader_next(w->loader), &index, err) :
					  write_extra_link(w, e, &index, err);

	if (r < 0 || !index)
		return r;
	r = subw_entry_if(w->subw, (const char *)cap->projection.text.data + e->name, e->name_len, index, e->cond);
	if (r == 0 && mark)
		r = subw_mark(w->subw, index, mark);
	return r < 0 ? fail_write(w, r, err) : 0;
}

/* What the rules said of the nodes that were written. */
static int write_marks(struct writer *w)
{
	const struct capture *cap = w->cap;

	for (uint32_t i = 0; i < cap->scan->n; i++)
		if (cap->split->marks[i] && cap->index[i] && cap->index[i] != MARKED &&
		    split_holds(cap->split, at(w, i)->comp, w->c) &&
		    subw_mark(w->subw, cap->index[i], cap->split->marks[i]) < 0)
			return -ENOMEM;
	return 0;
}

static int write_tree(struct writer *w, struct ply_err *err)
{
	uint32_t index;
	int r = write_file(w, loader_next(w->loader), &index, err);

	w->cap->index[SCAN_ROOT] = index;
	for (size_t d = 0; r == 0 && d < w->ndirs; d++) {
		struct names names = names_of(w, w->dirs[d]);
		const struct extra_name *extra;

		r = subw_dir(w->subw, w->cap->index[w->dirs[d]]);
		for (uint32_t i; r == 0 && next_name(w, &names, &i, &extra);)
			r = extra ? write_extra(w, extra, err) : write_child(w, i, err);
	}
	return r;
}

/* A file that changed while its blocks were read: once more in this thread, where it is not too
 * large; told where it does not stop. */
static int write_again(struct writer *w, const struct big *b, struct ply_err *err)
{
	bool cut = true;
	int r = 0;

	for (int reading = 1; r == 0 && cut && reading < READINGS && b->stamp.size <= AGAIN_MAX; reading++) {
		struct loaded l;

		r = load_again(w->cap->scan, b->node, LOAD_DIGEST_NO, &l);
		if (r < 0)
			*err = l.err;
		if (r < 0 || l.vanished) {   /* gone: what was read of it stands */
			bool stands = l.vanished || (w->cap->o->allow_partial &&
						     l.err.reason == PLY_R_FILES_UNREADABLE);

			loaded_done(&l);
			if (stands)
				r = 0;
			break;
		}
		r = start_again(w, b->index, &l, err);
		if (r == 0 && l.stamp.size < PLY_BLOCK_SIZE) {
			cut = l.changed;
			r = write_small(w, &l, b->index, err);
		} else if (r == 0) {
			r = write_serial(w, &l, b->index, &cut, err);
		}
		loaded_done(&l);
	}
	return r == 0 && cut ? note_changed(w, b->node, err) : r;
}

static int settle_bigs(struct writer *w, struct ply_err *err)
{
	int r = subw_sync(w->subw, err);

	for (struct big *b = w->stale; r == 0 && b; b = b->next)
		r = write_again(w, b, err);
	return r;
}

int capture_write_sub(struct capture *cap, size_t c, struct subw_result *ret, struct ply_err *err)
{
	_cleanup_free_ const char **names = calloc(cap->split->ncomps, sizeof(*names));
	const struct subw_options o = {
		.name = cap->split->comps[c].name,
		.level = cap->o->level,
		.pool = cap->pool,
		.nworkers = cap->o->jobs,
		.max_inflight = MIN(4 * cap->o->jobs, 256u),
		.content_uuid = cap->fixed_time,
		.conds = cap->projection.conds,
		.names = names,
		.self = (uint16_t)c,
		.owners = &cap->owners,
		.overlay = cap->overlay != NULL,
	};
	struct writer w = { .cap = cap, .c = c, .tail = malloc(PLY_BLOCK_SIZE), .sha = sha256_new(),
			    .lock = PTHREAD_MUTEX_INITIALIZER };
	struct out *out = imagew_out(cap->image);
	int r = names && w.tail && w.sha ? out_align(out, PLY_ALIGN, err) : ply_fail_nomem(err);

	for (size_t i = 0; names && i < cap->split->ncomps; i++)
		names[i] = cap->split->comps[i].name;
	if (r == 0) {
		mark(&w);
		if (make_order(&w) < 0 || choose_digests(&w) < 0)
			r = ply_fail_nomem(err);
	}
	if (r == 0)
		r = subw_new(out, &o, &w.subw, err);
	if (r == 0)
		r = loader_new(cap->scan, w.order, w.norder, cap->digest, MIN(MAX(cap->o->jobs, 4u), 16u),
			       &w.loader, err);
	if (r == 0)
		r = write_tree(&w, err);
	loader_free(w.loader);
	if (r == 0)
		r = settle_bigs(&w, err);
	if (r == 0 && write_marks(&w) < 0)
		r = ply_fail_nomem(err);
	if (r == 0)
		r = subw_finish(w.subw, ret, err);
	subw_free(w.subw);         /* waits for blocks that are still being read */
	for (struct big *b = w.stale, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	acl_variants_done(&w.acls);
	buf_done(&w.xattr_text);
	sha256_free(w.sha);
	pthread_mutex_destroy(&w.lock);
	free(w.order);
	free(w.dirs);
	free(w.group_index);
	free(w.tail);
	return r;
}
