/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a log says about inodes, names and bytes: redo.h. All under the lock for reading, so that what is found is
 * there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_internal.h"

bool redo_inode(struct redo *log, uint64_t ino, struct redo_inode *ret)
{
	const struct rinode *i;

	*ret = (struct redo_inode){ .made_here = PLY_INO_NUMBER(ino) == log->index.number };
	pthread_rwlock_rdlock(&log->lock);
	i = index_inode(&log->index, ino);
	if (i) {
		ret->mask = i->mask;
		ret->attr = i->attr;
		ret->dead = i->dead;
		ret->has_content = i->extents || i->below_end != UINT64_MAX;
		ret->has_xattrs = i->xattrs;
		ret->nentries = i->nentries;
		ret->blocks = (i->bytes + 511) / 512;
	} else {
		ret->dead = ret->made_here;
	}
	pthread_rwlock_unlock(&log->lock);
	return i || ret->made_here;
}

enum redo_found redo_lookup(struct redo *log, uint64_t dir, const char *name, size_t len, struct redo_entry *ret)
{
	enum redo_found found = REDO_BELOW;
	const struct rentry *e;

	pthread_rwlock_rdlock(&log->lock);
	e = index_entry(&log->index, dir, name, len);
	if (e && e->ino) {
		*ret = (struct redo_entry){ e->ino, e->cookie, e->type };
		found = REDO_ADDED;
	} else if (e) {
		found = REDO_HIDDEN;
	}
	pthread_rwlock_unlock(&log->lock);
	return found;
}

int redo_readdir(struct redo *log, uint64_t dir, uint64_t cookie, redo_dirent_fn fn, void *ctx)
{
	const struct rinode *i;
	int r = 0;

	pthread_rwlock_rdlock(&log->lock);
	i = index_inode(&log->index, dir);
	for (size_t k = i ? index_slot(i, cookie) : 0; i && r == 0 && k < i->nslots; k++) {
		const struct rentry *e = i->slots[k].entry;

		if (e)
			r = fn(ctx, &(struct redo_dirent){ e->ino, e->cookie, e->name, e->name_len, e->type });
	}
	pthread_rwlock_unlock(&log->lock);
	return r;
}

ssize_t redo_readlink(struct redo *log, uint64_t ino, char *buf, size_t cap)
{
	const struct rinode *i;
	ssize_t r = -ENOENT;

	pthread_rwlock_rdlock(&log->lock);
	i = index_inode(&log->index, ino);
	if (i && i->target) {
		r = (ssize_t)MIN((size_t)i->target_len, cap);
		memcpy(buf, i->target, (size_t)r);
	}
	pthread_rwlock_unlock(&log->lock);
	return r;
}

enum redo_found redo_getxattr(struct redo *log, uint64_t ino, const char *name, size_t len, void *buf, size_t cap,
			      size_t *ret_len)
{
	enum redo_found found = REDO_BELOW;
	const struct rinode *i;

	pthread_rwlock_rdlock(&log->lock);
	i = index_inode(&log->index, ino);
	for (const struct rxattr *x = i ? i->xattrs : NULL; x; x = x->next) {
		if (x->name_len != len || memcmp(x->bytes, name, len) != 0)
			continue;
		found = x->removed ? REDO_HIDDEN : REDO_ADDED;
		*ret_len = x->value_len;
		if (cap && x->value_len)
			memcpy(buf, x->bytes + x->name_len, MIN((size_t)x->value_len, cap));
		break;
	}
	pthread_rwlock_unlock(&log->lock);
	return found;
}

int redo_listxattr(struct redo *log, uint64_t ino, redo_xattr_fn fn, void *ctx)
{
	const struct rinode *i;
	int r = 0;

	pthread_rwlock_rdlock(&log->lock);
	i = index_inode(&log->index, ino);
	for (const struct rxattr *x = i ? i->xattrs : NULL; r == 0 && x; x = x->next)
		r = fn(ctx, x->bytes, x->name_len, x->removed);
	pthread_rwlock_unlock(&log->lock);
	return r;
}

static void range_locked(const struct redo *log, uint64_t ino, uint64_t off, struct redo_range *ret)
{
	const struct rinode *i = index_inode(&log->index, ino);

	if (i)
		extent_at(i, off, ret);
	else if (PLY_INO_NUMBER(ino) == log->index.number)
		*ret = (struct redo_range){ PLY_REDO_C_HOLE, UINT64_MAX - off, 0, 0 };
	else
		*ret = (struct redo_range){ PLY_REDO_C_BELOW, UINT64_MAX - off, off, ino };
}

void redo_range(struct redo *log, uint64_t ino, uint64_t off, struct redo_range *ret)
{
	pthread_rwlock_rdlock(&log->lock);
	range_locked(log, ino, off, ret);
	pthread_rwlock_unlock(&log->lock);
}

uint64_t redo_copy_len(struct redo *log, uint64_t src, uint64_t off, uint64_t len)
{
	uint64_t n;

	pthread_rwlock_rdlock(&log->lock);
	n = index_copy_len(&log->index, src, off, len);
	pthread_rwlock_unlock(&log->lock);
	return n;
}

/* One block, or a part of it, whose checksum is compared where that was not done before. */
static int read_block(struct redo *log, uint64_t addr, uint8_t *to, size_t len, struct ply_err *err)
{
	uint32_t seg = space_segment(&log->space, addr, len);
	struct rseg *s = &log->space.segs[seg];
	uint64_t start = addr - addr % PLY_REDO_BLOCK;
	uint32_t k = (uint32_t)((start - space_off(&log->space, seg)) / PLY_REDO_BLOCK);
	uint8_t block[PLY_REDO_BLOCK];
	int r;

	/* others may find out the same meanwhile */
	if (__atomic_load_n(&s->seen[k], __ATOMIC_RELAXED) == BLOCK_GOOD) {
		r = log->store->pread(log->store, to, len, addr);
		return r < 0 ?
			ply_fail_sys(err, r, "cannot read data at byte %llu of the log", (unsigned long long)addr) :
			0;
	}
	r = log->store->pread(log->store, block, sizeof(block), start);
	if (r < 0)
		return ply_fail_sys(err, r, "cannot read data at byte %llu of the log", (unsigned long long)start);
	if (xxh3(block, sizeof(block), 0) != s->sums[k])
		return ply_fail(err, -EBADMSG, PLY_R_REDO_DATA, "data at byte %llu of the log is damaged",
				(unsigned long long)start);
	__atomic_store_n(&s->seen[k], BLOCK_GOOD, __ATOMIC_RELAXED);
	memcpy(to, block + (addr - start), len);
	return 0;
}

static int read_log(struct redo *log, uint64_t addr, uint8_t *to, size_t len, struct ply_err *err)
{
	int r = 0;

	while (r == 0 && len) {
		size_t n = MIN(len, PLY_REDO_BLOCK - addr % PLY_REDO_BLOCK);

		r = read_block(log, addr, to, n, err);
		addr += n;
		to += n;
		len -= n;
	}
	return r;
}

int redo_read(struct redo *log, uint64_t ino, uint64_t off, void *buf, size_t len, redo_below_fn below, void *ctx,
	      struct ply_err *err)
{
	uint8_t *to = buf;
	int r = 0;

	pthread_rwlock_rdlock(&log->lock);
	while (r == 0 && len) {
		struct redo_range g;
		size_t n;

		range_locked(log, ino, off, &g);
		n = (size_t)MIN((uint64_t)len, g.len);
		if (g.kind == PLY_REDO_C_LOG)
			r = read_log(log, g.addr, to, n, err);
		else if (g.kind == PLY_REDO_C_BELOW)
			r = below(ctx, g.src, g.addr, to, n, err);
		else
			memset(to, 0, n);
		off += n;
		to += n;
		len -= n;
	}
	pthread_rwlock_unlock(&log->lock);
	return r;
}

int redo_orphans(struct redo *log, redo_ino_fn fn, void *ctx)
{
	_cleanup_free_ uint64_t *v = NULL;
	size_t n = 0, cap = 0;
	int r = 0;

	pthread_rwlock_rdlock(&log->lock);
	for (size_t s = 0; s < log->index.inodes.nslots; s++)
		for (struct hnode *h = log->index.inodes.slots[s]; h; h = h->next) {
			const struct rinode *i = (const struct rinode *)h;

			if (i->dead || !(i->mask & PLY_REDO_A_NLINK) || i->attr.nlink || r < 0)
				continue;
			r = array_grow(&v, &cap, n + 1, sizeof(*v));
			if (r == 0)
				v[n++] = i->ino;
		}
	pthread_rwlock_unlock(&log->lock);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = fn(ctx, v[i]);
	return r;
}

/* --- all of it -------------------------------------------------------------------------------------------
 *
 * What a log costs is bounded by its size, and files may refer to the same data any number of times. So each block is
 * read once, in the order of the store, and files are asked only then.
 */

struct piece {                     /* of a file */
	uint64_t ino, off, addr, len;
};
struct bad {                       /* of the store */
	uint64_t addr, len;
	enum ply_reason reason;
};
struct look {
	struct piece *pieces;
	size_t npieces, pieces_cap;
	struct bad *bad;           /* ascending */
	size_t nbad, bad_cap;
	uint64_t ino, bytes;
};

static int add_piece(void *ctx, const struct rextent *e)
{
	struct look *l = ctx;

	if (e->kind != PLY_REDO_C_LOG)
		return 0;
	if (array_grow(&l->pieces, &l->pieces_cap, l->npieces + 1, sizeof(*l->pieces)) < 0)
		return -ENOMEM;
	l->pieces[l->npieces++] = (struct piece){ l->ino, e->off, e->addr, e->len };
	return 0;
}

static int by_addr(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static int by_place(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->off < y->off ? -1 : x->off > y->off;
}

static int add_bad(struct look *l, uint64_t addr, enum ply_reason reason)
{
	struct bad *last = l->nbad ? &l->bad[l->nbad - 1] : NULL;

	if (last && last->addr + last->len == addr && last->reason == reason) {
		last->len += PLY_REDO_BLOCK;
		return 0;
	}
	if (array_grow(&l->bad, &l->bad_cap, l->nbad + 1, sizeof(*l->bad)) < 0)
		return -ENOMEM;
	l->bad[l->nbad++] = (struct bad){ addr, PLY_REDO_BLOCK, reason };
	return 0;
}

static int read_pieces(struct redo *log, struct look *l)
{
	uint8_t block[PLY_REDO_BLOCK];
	struct ply_err err;
	uint64_t next = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->npieces; i++) {
		const struct piece *p = &l->pieces[i];

		next = MAX(next, p->addr - p->addr % PLY_REDO_BLOCK);
		for (; r == 0 && next < p->addr + p->len; next += PLY_REDO_BLOCK) {
			l->bytes += PLY_REDO_BLOCK;
			if (read_block(log, next, block, sizeof(block), &err) < 0)
				r = add_bad(l, next, err.reason);
		}
	}
	return r;
}

/* The first that ends behind @addr. */
static size_t find_bad(const struct look *l, uint64_t addr)
{
	size_t lo = 0, hi = l->nbad;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->bad[mid].addr + l->bad[mid].len <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int tell_bad(const struct look *l, redo_bad_fn fn, void *ctx)
{
	int r = 0;

	for (size_t i = 0; i < l->npieces; i++) {
		const struct piece *p = &l->pieces[i];

		for (size_t k = find_bad(l, p->addr); r == 0 && k < l->nbad && l->bad[k].addr < p->addr + p->len; k++) {
			uint64_t from = MAX(l->bad[k].addr, p->addr);
			uint64_t to = MIN(l->bad[k].addr + l->bad[k].len, p->addr + p->len);

			r = fn(ctx, &(struct redo_bad){ p->ino, p->off + (from - p->addr), to - from, from, l->bad[k].reason });
		}
	}
	return r;
}

int redo_verify(struct redo *log, redo_bad_fn fn, void *ctx, uint64_t *ret_bytes)
{
	struct look l = { 0 };
	int r = 0;

	pthread_rwlock_rdlock(&log->lock);
	for (size_t s = 0; s < log->index.inodes.nslots; s++)
		for (const struct hnode *h = log->index.inodes.slots[s]; r == 0 && h; h = h->next) {
			l.ino = ((const struct rinode *)h)->ino;
			r = extent_each(((const struct rinode *)h)->extents, add_piece, &l);
		}
	if (r == 0 && l.npieces) {
		qsort(l.pieces, l.npieces, sizeof(*l.pieces), by_addr);
		r = read_pieces(log, &l);
	}
	pthread_rwlock_unlock(&log->lock);
	if (r == 0 && l.nbad) {
		qsort(l.pieces, l.npieces, sizeof(*l.pieces), by_place);
		r = tell_bad(&l, fn, ctx);
	}
	*ret_bytes = l.bytes;
	free(l.pieces);
	free(l.bad);
	return r;
}
