/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checkpoints (FORMAT.md, "REDO log"): the index as sorted tables, so that replay begins behind it; and what can be
 * given back then.
 *
 * First of all room on the disk is set aside for it: a checkpoint is what gives room back, so it must not be what a
 * full disk prevents, nor may one that fails take any. Then, behind cleaning (redo_clean.c), in three steps. While nobody
 * can change anything, but all can read: the index becomes bytes, what nothing refers to is listed, and records go on
 * in a new segment. Then, while others append: the bytes are written and synced, and the superblock says where they are.
 * At last what was listed is free. Nothing is given back before both superblocks are on the disk, and what was listed
 * cannot be referred to again, since extents come from new blocks or from what is referred to.
 *
 * Wherever the machine stops, the superblock leads to a whole checkpoint, and to the records behind it.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_internal.h"

#define DUE_RECORDS    (64ULL << 20)
#define DUE_DEAD       (256ULL << 20)
#define DUE_AGAIN      (16ULL << 20)
#define CHECKPOINT_MAX (4ULL << 30)    /* bytes: it is loaded into memory */

static const size_t row_size[PLY_REDO_TABLES] = {
	[PLY_REDO_T_INODES] = sizeof(struct ply_disk_redo_inode),
	[PLY_REDO_T_ENTRIES] = sizeof(struct ply_disk_redo_entry),
	[PLY_REDO_T_XATTRS] = sizeof(struct ply_disk_redo_xattr_row),
	[PLY_REDO_T_EXTENTS] = sizeof(struct ply_disk_redo_piece),
	[PLY_REDO_T_SUMS] = sizeof(struct ply_disk_redo_sum),
	[PLY_REDO_T_HEAP] = 1,
};

/* --- index to bytes ------------------------------------------------------------------------------- */

/* Straight to where they will be: the index knows how many rows there are, at most. */
struct encoder {
	uint8_t *bytes;
	uint64_t off[PLY_REDO_TABLES], room[PLY_REDO_TABLES], len[PLY_REDO_TABLES];
	uint64_t ino;              /* whose extents are written */
};

static void put(struct encoder *e, enum ply_redo_table t, const void *row, size_t len)
{
	assert(len <= e->room[t] - e->len[t]);
	if (len)
		memcpy(e->bytes + e->off[t] + e->len[t], row, len);
	e->len[t] += len;
}

static le64 heap(struct encoder *e, const void *bytes, size_t len)
{
	le64 at = le64_put(e->len[PLY_REDO_T_HEAP]);

	put(e, PLY_REDO_T_HEAP, bytes, len);
	return at;
}

static int put_extent(void *ctx, const struct rextent *x)
{
	struct encoder *e = ctx;
	const struct ply_disk_redo_piece row = {
		.ino = le64_put(e->ino), .off = le64_put(x->off), .len = le64_put(x->len), .addr = le64_put(x->addr),
		.src = le64_put(x->src), .kind = le32_put(x->kind),
	};

	put(e, PLY_REDO_T_EXTENTS, &row, sizeof(row));
	return 0;
}

static void put_inode(struct encoder *e, const struct rinode *i)
{
	struct ply_disk_redo_inode row = {
		.ino = le64_put(i->ino), .mask = le32_put(i->mask), .flags = le32_put(i->dead ? PLY_REDO_I_DEAD : 0),
		.size = le64_put(i->mask & PLY_REDO_A_SIZE ? i->attr.size : 0), .below_end = le64_put(i->below_end),
		.target_len = le32_put(i->target_len),
	};

	if (i->target_len)
		row.target = heap(e, i->target, i->target_len);
	redo_attr_encode(&i->attr, i->mask, &row.attr);
	put(e, PLY_REDO_T_INODES, &row, sizeof(row));
	for (const struct rxattr *x = i->xattrs; x; x = x->next) {
		const struct ply_disk_redo_xattr_row xr = {
			.ino = le64_put(i->ino), .name = heap(e, x->bytes, (size_t)x->name_len + x->value_len),
			.value_len = le32_put(x->value_len), .name_len = x->name_len, .removed = x->removed,
		};

		put(e, PLY_REDO_T_XATTRS, &xr, sizeof(xr));
	}
	e->ino = i->ino;
	extent_each(i->extents, put_extent, e);
}

static int name_order(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int r = memcmp(a, b, MIN(a_len, b_len));

	return r ? r : (a_len > b_len) - (a_len < b_len);
}

/* With what decides nearly always, since what it leads to is in no cache. */
struct sorted {
	uint64_t key;              /* inode, or directory */
	uint64_t prefix[2];        /* of the name, as it sorts */
	const void *item;
};

static int by_key(const struct sorted *x, const struct sorted *y)
{
	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	if (x->prefix[0] != y->prefix[0])
		return x->prefix[0] < y->prefix[0] ? -1 : 1;
	return x->prefix[1] < y->prefix[1] ? -1 : x->prefix[1] > y->prefix[1];
}

static int by_ino(const void *a, const void *b)
{
	return by_key(a, b);
}

static int by_name(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;
	const struct rentry *p = x->item, *q = y->item;
	int r = by_key(x, y);

	return r ? r : name_order(p->name, p->name_len, q->name, q->name_len);
}

static int put_inodes(struct encoder *e, const struct index *ix)
{
	_cleanup_free_ struct sorted *v = calloc(ix->inodes.used + 1, sizeof(*v));
	size_t n = 0;

	if (!v)
		return -ENOMEM;
	for (size_t s = 0; s < ix->inodes.nslots; s++) {
		const struct rinode *i = ix->inodes.slots[s].item;

		if (i)
			v[n++] = (struct sorted){ .key = i->ino, .item = i };
	}
	qsort(v, n, sizeof(*v), by_ino);
	for (size_t k = 0; k < n; k++)
		put_inode(e, v[k].item);
	return 0;
}

static struct sorted key_of(const struct rentry *x)
{
	struct sorted s = { .key = x->dir, .item = x };

	memcpy(s.prefix, x->name, MIN(sizeof(s.prefix), (size_t)x->name_len));
	for (int i = 0; i < 2; i++)
		s.prefix[i] = be64toh(s.prefix[i]);
	return s;
}

static void put_entry(struct encoder *e, const struct index *ix, const struct rentry *x)
{
	const struct rinode *dir = index_inode(ix, x->dir);
	struct ply_disk_redo_entry row = {
		.dir = le64_put(x->dir), .ino = le64_put(x->ino), .cookie = le64_put(x->cookie),
		.name_len = x->name_len, .type = x->type, .hides = x->hides,
	};

	/* what a dead directory hid is of no use */
	if (!dir || dir->dead)
		return;
	row.name = heap(e, x->name, x->name_len);
	put(e, PLY_REDO_T_ENTRIES, &row, sizeof(row));
}

static int put_entries(struct encoder *e, const struct index *ix)
{
	_cleanup_free_ struct sorted *v = calloc(ix->entries.used + 1, sizeof(*v));
	size_t n = 0;

	if (!v)
		return -ENOMEM;
	for (size_t s = 0; s < ix->entries.nslots; s++) {
		const struct rentry *x = ix->entries.slots[s].item;

		if (x)
			v[n++] = key_of(x);
	}
	qsort(v, n, sizeof(*v), by_name);
	for (size_t k = 0; k < n; k++)
		put_entry(e, ix, v[k].item);
	return 0;
}

static void put_sums(struct encoder *e, const struct space *sp)
{
	for (uint32_t s = 0; s < sp->nsegs; s++)
		for (uint32_t i = 0; sp->segs[s].refs && i < sp->segs[s].used; i++) {
			const struct ply_disk_redo_sum row = { le64_put(space_off(sp, s) / PLY_REDO_BLOCK + i),
							       le64_put(sp->segs[s].sums[i]) };

			if (sp->segs[s].refs[i])
				put(e, PLY_REDO_T_SUMS, &row, sizeof(row));
		}
}

/* Where tables begin if all rows that can be are. Returns the end. */
static uint64_t place_tables(struct encoder *e, const struct redo *log)
{
	const struct index *ix = &log->index;
	const uint64_t rows[PLY_REDO_TABLES] = {
		[PLY_REDO_T_INODES] = ix->inodes.used, [PLY_REDO_T_ENTRIES] = ix->entries.used,
		[PLY_REDO_T_XATTRS] = ix->nxattrs, [PLY_REDO_T_EXTENTS] = ix->nextents,
		[PLY_REDO_T_SUMS] = log->space.live, [PLY_REDO_T_HEAP] = ix->heap,
	};
	uint64_t at = sizeof(struct ply_disk_redo_ckpt);

	for (int t = 0; t < PLY_REDO_TABLES; t++) {
		e->off[t] = at;
		e->room[t] = rows[t] * row_size[t];
		at = align_up(at + e->room[t], 8);
	}
	return at;
}

/* Head and tables without gaps. Returns the end. */
static uint64_t close_up(struct encoder *e, const struct redo *log)
{
	struct ply_disk_redo_ckpt head = {
		/* of the segment that follows: a link comes between */
		.lsn = le64_put(log->tail + REDO_NEXT_LEN), .next_index = le64_put(log->index.next_index),
		.next_cookie = le64_put(log->index.next_cookie),
	};
	uint64_t at = sizeof(head), end;

	for (int t = 0; t < PLY_REDO_TABLES; t++) {
		if (at != e->off[t] && e->len[t])
			memmove(e->bytes + at, e->bytes + e->off[t], e->len[t]);
		head.tables[t].off = le64_put(at);
		head.tables[t].count = le64_put(e->len[t] / row_size[t]);
		end = at + e->len[t];
		at = align_up(end, 8);
		memset(e->bytes + end, 0, at - end);
	}
	memcpy(head.magic, PLY_REDO_CKPT_MAGIC, sizeof(head.magic));
	memcpy(head.uuid, log->uuid, sizeof(head.uuid));
	memcpy(e->bytes, &head, sizeof(head));
	return at;
}

static int too_large(struct ply_err *err)
{
	return ply_fail(err, -EFBIG, PLY_R_LIMIT,
			"a checkpoint would be longer than one can be; the log goes on without");
}

/* The whole checkpoint, as of the tail. */
static int encode_locked(const struct redo *log, struct buf *out, struct ply_err *err)
{
	struct encoder e = { .ino = 0 };
	uint64_t room = place_tables(&e, log);

	if (room > CHECKPOINT_MAX)
		return too_large(err);
	if (buf_reserve(out, room) < 0)
		return ply_fail_nomem(err);
	e.bytes = out->data;
	if (put_inodes(&e, &log->index) < 0 || put_entries(&e, &log->index) < 0)
		return ply_fail_nomem(err);
	put_sums(&e, &log->space);
	out->len = close_up(&e, log);
	return 0;
}

/* --- bytes to index ---------------------------------------------------------------------------------- */

struct decoder {
	struct redo *log;
	const uint8_t *bytes;
	uint64_t len;
	uint64_t off[PLY_REDO_TABLES], count[PLY_REDO_TABLES];
	const char *why;           /* what cannot be */
};

static bool refuse(struct decoder *d, const char *why)
{
	d->why = why;
	return false;
}

/* False: it cannot be; or no memory, and then why is NULL. */
static bool decode_head(struct decoder *d)
{
	struct ply_disk_redo_ckpt h;
	uint64_t at = sizeof(h);

	memcpy(&h, d->bytes, sizeof(h));
	if (memcmp(h.magic, PLY_REDO_CKPT_MAGIC, sizeof(h.magic)) != 0 ||
	    memcmp(h.uuid, d->log->uuid, sizeof(h.uuid)) != 0 || le64_get(h.lsn) != d->log->super.replay_lsn)
		return refuse(d, "it is of another log, or of another place in it");
	for (int i = 0; i < PLY_REDO_TABLES; i++) {
		d->off[i] = le64_get(h.tables[i].off);
		d->count[i] = le64_get(h.tables[i].count);
		if (d->off[i] != at || d->count[i] > (d->len - at) / row_size[i])
			return refuse(d, "a table lies where it cannot");
		at = MIN(align_up(at + d->count[i] * row_size[i], 8), d->len);
	}
	d->log->index.next_index = le64_get(h.next_index);
	d->log->index.next_cookie = le64_get(h.next_cookie);
	if (at != d->len || d->log->index.next_index > PLY_INDEX_MAX + 1 || !d->log->index.next_index ||
	    d->log->index.next_cookie > PLY_INDEX_MAX + 1 || d->log->index.next_cookie < PLY_COOKIE_FIRST)
		return refuse(d, "its head is impossible");
	return true;
}

static const void *row(const struct decoder *d, enum ply_redo_table t, uint64_t i)
{
	return d->bytes + d->off[t] + i * row_size[t];
}

/* Bytes of the heap; NULL: they are not in it. */
static const char *text(const struct decoder *d, le64 off, uint64_t len)
{
	uint64_t at = le64_get(off), n = d->count[PLY_REDO_T_HEAP];

	return at <= n && len <= n - at ? (const char *)d->bytes + d->off[PLY_REDO_T_HEAP] + at : NULL;
}

static bool decode_inode(struct decoder *d, uint64_t k, uint64_t *last)
{
	struct ply_disk_redo_inode r;
	struct redo_attr a;
	struct rinode *i;
	uint64_t ino;
	uint32_t mask, flags;
	const char *target;

	memcpy(&r, row(d, PLY_REDO_T_INODES, k), sizeof(r));
	ino = le64_get(r.ino);
	mask = le32_get(r.mask);
	flags = le32_get(r.flags);
	target = text(d, r.target, le32_get(r.target_len));
	if (ino <= *last || !PLY_INO_INDEX(ino) || PLY_INO_NUMBER(ino) > PLY_REDO_NUMBER_MAX ||
	    mask & ~PLY_REDO_A_ALL || flags & ~PLY_REDO_I_DEAD || le32_get(r.zero) ||
	    !redo_attr_decode(&r.attr, mask, &a) || !target || le32_get(r.target_len) > PLY_SYMLINK_MAX ||
	    (!(mask & PLY_REDO_A_SIZE) && le64_get(r.size)) || le64_get(r.size) > PLY_SIZE_MAX)
		return refuse(d, "an inode has fields that cannot be");
	if (PLY_INO_NUMBER(ino) == d->log->index.number &&
	    (PLY_INO_INDEX(ino) >= d->log->index.next_index || mask != PLY_REDO_A_ALL || flags ||
	     le64_get(r.below_end)))
		return refuse(d, "an inode of the log has fields that cannot be");
	*last = ino;
	i = index_get(&d->log->index, ino);
	if (!i)
		return false;
	a.size = le64_get(r.size);
	i->attr = a;
	i->mask = mask;
	i->dead = flags & PLY_REDO_I_DEAD;
	i->below_end = le64_get(r.below_end);
	return !le32_get(r.target_len) || index_put_target(&d->log->index, i, target, le32_get(r.target_len)) == 0;
}

static bool decode_entry(struct decoder *d, uint64_t k, struct rentry **last)
{
	struct index *ix = &d->log->index;
	struct ply_disk_redo_entry r;
	uint64_t dir, ino, cookie;
	struct rentry *e;
	const char *name;

	memcpy(&r, row(d, PLY_REDO_T_ENTRIES, k), sizeof(r));
	dir = le64_get(r.dir);
	ino = le64_get(r.ino);
	cookie = le64_get(r.cookie);
	name = text(d, r.name, r.name_len);
	if (!name || name_check(name, r.name_len, NULL) < 0 || r.hides > 1 || !index_inode(ix, dir) ||
	    (ino ? !PLY_INO_INDEX(ino) || PLY_INO_NUMBER(cookie) != ix->number ||
			     PLY_INO_INDEX(cookie) >= ix->next_cookie || PLY_INO_INDEX(cookie) < PLY_COOKIE_FIRST ||
			     r.type > 15 :
		   !r.hides || cookie || r.type))
		return refuse(d, "an entry has fields that cannot be");
	if (*last && ((*last)->dir > dir || ((*last)->dir == dir &&
					     name_order((*last)->name, (*last)->name_len, name, r.name_len) >= 0)))
		return refuse(d, "entries are in another order");
	e = index_get_entry(ix, dir, name, r.name_len);
	if (!e)
		return false;
	e->ino = ino;
	e->cookie = cookie;
	e->type = r.type;
	e->hides = r.hides;
	*last = e;
	return !ino || index_list(ix, index_inode(ix, dir), e) == 0;
}

static int by_cookie(const void *a, const void *b)
{
	uint64_t x = ((const struct rslot *)a)->cookie, y = ((const struct rslot *)b)->cookie;

	return x < y ? -1 : x > y;
}

/* They came by name. */
static bool sort_listings(struct decoder *d)
{
	const struct htab *t = &d->log->index.inodes;

	for (size_t s = 0; s < t->nslots; s++) {
		struct rinode *i = t->slots[s].item;

		if (i && i->nslots)
			qsort(i->slots, i->nslots, sizeof(*i->slots), by_cookie);
		for (size_t k = 1; i && k < i->nslots; k++)
			if (i->slots[k].cookie == i->slots[k - 1].cookie)
				return refuse(d, "two entries have one cookie");
	}
	return true;
}

static bool decode_xattr(struct decoder *d, uint64_t k)
{
	struct ply_disk_redo_xattr_row r;
	struct rinode *i;
	const char *name;
	uint32_t len;

	memcpy(&r, row(d, PLY_REDO_T_XATTRS, k), sizeof(r));
	len = le32_get(r.value_len);
	name = text(d, r.name, (uint64_t)r.name_len + len);
	i = index_inode(&d->log->index, le64_get(r.ino));
	if (!name || !i || !r.name_len || memchr(name, 0, r.name_len) || r.removed > 1 || len > PLY_XATTR_VALUE_MAX ||
	    (r.removed && len))
		return refuse(d, "an xattr has fields that cannot be");
	return index_put_xattr(&d->log->index, i, name, r.name_len, name + r.name_len, len, r.removed) == 0;
}

static bool decode_sum(struct decoder *d, uint64_t k)
{
	struct ply_disk_redo_sum r;
	uint64_t block;

	memcpy(&r, row(d, PLY_REDO_T_SUMS, k), sizeof(r));
	block = le64_get(r.block);
	if (block > INT64_MAX / PLY_REDO_BLOCK ||
	    !space_may_hold(&d->log->space, block * PLY_REDO_BLOCK, PLY_REDO_BLOCK))
		return refuse(d, "data lies where none can be");
	return space_fill(&d->log->space, block * PLY_REDO_BLOCK, PLY_REDO_BLOCK, &r.xxh3, false) == 0;
}

static bool decode_extent(struct decoder *d, uint64_t k, struct ply_disk_redo_piece *last)
{
	const struct space *sp = &d->log->space;
	struct ply_disk_redo_piece r;
	uint64_t off, len, addr;
	struct rinode *i;
	uint32_t seg;

	memcpy(&r, row(d, PLY_REDO_T_EXTENTS, k), sizeof(r));
	off = le64_get(r.off);
	len = le64_get(r.len);
	addr = le64_get(r.addr);
	i = index_inode(&d->log->index, le64_get(r.ino));
	if (!i || !len || off > PLY_SIZE_MAX || len > PLY_SIZE_MAX - off || addr > PLY_SIZE_MAX ||
	    len > PLY_SIZE_MAX - addr || le32_get(r.zero) || le32_get(r.kind) < PLY_REDO_C_LOG ||
	    le32_get(r.kind) > PLY_REDO_C_BELOW)
		return refuse(d, "an extent has fields that cannot be");
	if (k && (le64_get(last->ino) > le64_get(r.ino) || (le64_get(last->ino) == le64_get(r.ino) &&
							    le64_get(last->off) + le64_get(last->len) > off)))
		return refuse(d, "extents are in another order");
	*last = r;
	if (le32_get(r.kind) == PLY_REDO_C_LOG) {
		seg = space_segment(sp, addr, len);
		if (seg == NO_SEGMENT || !sp->segs[seg].refs ||
		    (addr + len - 1 - space_off(sp, seg)) / PLY_REDO_BLOCK >= sp->segs[seg].used || le64_get(r.src))
			return refuse(d, "an extent has no checksum");
	}
	return extent_put(&d->log->index, i, off, len, le32_get(r.kind), addr, le64_get(r.src)) == 0;
}

static bool decode_tables(struct decoder *d)
{
	struct ply_disk_redo_piece piece = { 0 };
	struct rentry *entry = NULL;
	uint64_t ino = 0;
	bool ok = decode_head(d);

	for (uint64_t i = 0; ok && i < d->count[PLY_REDO_T_INODES]; i++)
		ok = decode_inode(d, i, &ino);
	for (uint64_t i = 0; ok && i < d->count[PLY_REDO_T_ENTRIES]; i++)
		ok = decode_entry(d, i, &entry);
	if (ok)
		ok = sort_listings(d);
	for (uint64_t i = 0; ok && i < d->count[PLY_REDO_T_XATTRS]; i++)
		ok = decode_xattr(d, i);
	for (uint64_t i = 0; ok && i < d->count[PLY_REDO_T_SUMS]; i++)
		ok = decode_sum(d, i);
	for (uint64_t i = 0; ok && i < d->count[PLY_REDO_T_EXTENTS]; i++)
		ok = decode_extent(d, i, &piece);
	return ok;
}

static int bad_checkpoint(int code, const char *why, struct ply_err *err)
{
	return ply_fail(err, code, PLY_R_REDO_CHECKPOINT, "the log's checkpoint is damaged: %s", why);
}

/* Its segments are those that it begins in and ends in, and what is between. */
static int claim(struct redo *log, struct ply_err *err)
{
	uint64_t off = log->super.ckpt_off;
	uint32_t first = space_segment(&log->space, off, 1),
		 last = space_segment(&log->space, off + log->super.ckpt_len - 1, 1);

	if (first == NO_SEGMENT || last == NO_SEGMENT || space_off(&log->space, first) != off)
		return bad_checkpoint(-EUCLEAN, "it lies where it cannot", err);
	log->ckpt_first = first;
	log->ckpt_n = last - first + 1;
	for (uint32_t i = first; i <= last; i++)
		log->space.segs[i].kind = SEG_CKPT;
	return 0;
}

int redo_load_checkpoint(struct redo *log, uint64_t file_size, struct ply_err *err)
{
	const struct redo_super *s = &log->super;
	struct decoder d = { .log = log, .len = s->ckpt_len };
	_cleanup_free_ uint8_t *bytes = NULL;
	uint8_t magic[8];
	int r;

	if (s->ckpt_off > file_size || s->ckpt_len > file_size - s->ckpt_off || s->ckpt_len > CHECKPOINT_MAX)
		return bad_checkpoint(-EUCLEAN, "the log is cut off", err);
	r = claim(log, err);
	if (r < 0)
		return r;
	/* its begin, before memory is taken for all of it */
	r = log->store->pread(log->store, magic, sizeof(magic), s->ckpt_off);
	if (r == 0 && memcmp(magic, PLY_REDO_CKPT_MAGIC, sizeof(magic)) != 0)
		return bad_checkpoint(-EUCLEAN, "there is none", err);
	bytes = malloc(s->ckpt_len);
	if (!bytes)
		return ply_fail_nomem(err);
	if (r == 0)
		r = log->store->pread(log->store, bytes, s->ckpt_len, s->ckpt_off);
	if (r < 0)
		return ply_fail_sys(err, r, "cannot read the log's checkpoint");
	if (xxh3(bytes, s->ckpt_len, redo_seed(log->uuid, 0)) != s->ckpt_xxh3)
		return bad_checkpoint(-EBADMSG, "its checksum does not match", err);
	d.bytes = bytes;
	if (decode_tables(&d))
		return 0;
	return d.why ? bad_checkpoint(-EUCLEAN, d.why, err) : ply_fail_nomem(err);
}

/* --- the three steps --------------------------------------------------------------------------------------- */

struct hole {
	uint64_t off, len;
	uint32_t seg, first, n;    /* blocks; n 0: the whole segment, which is free then */
};

struct work {
	struct buf bytes;
	struct redo_super super;
	uint32_t first, nsegs;     /* where they go; nsegs 0: nowhere yet */
	bool unsure;               /* whether the disk has room for them */
	struct hole *holes;
	size_t nholes, cap;
};

static int list(struct work *w, const struct space *sp, uint32_t seg, uint32_t first, uint32_t n)
{
	uint64_t off = space_off(sp, seg) + (uint64_t)first * PLY_REDO_BLOCK;

	if (array_grow(&w->holes, &w->cap, w->nholes + 1, sizeof(*w->holes)) < 0)
		return -ENOMEM;
	w->holes[w->nholes++] =
		(struct hole){ off, n ? (uint64_t)n * PLY_REDO_BLOCK : redo_segment_size(seg), seg, first, n };
	return 0;
}

/* Runs of blocks that nothing refers to. */
static int list_blocks(struct work *w, const struct space *sp, uint32_t seg)
{
	const struct rseg *s = &sp->segs[seg];
	int r = 0;

	for (uint32_t i = 0, n; r == 0 && i < s->used; i += n) {
		for (n = 0; i + n < s->used && !s->refs[i + n] && s->seen[i + n] != BLOCK_PUNCHED; n++)
			;
		if (n)
			r = list(w, sp, seg, i, n);
		else
			n = 1;
	}
	return r;
}

static bool has_refs(const struct rseg *s)
{
	for (uint32_t i = 0; s->refs && i < s->used; i++)
		if (s->refs[i])
			return true;
	return false;
}

static int list_dead_locked(struct redo *log, struct work *w)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < log->space.nsegs; i++) {
		const struct rseg *s = &log->space.segs[i];

		/* what an operation writes that is not appended yet has no reference either */
		if (s->inflight)
			continue;
		if (s->kind == SEG_META ||
		    (s->kind == SEG_CKPT && i - log->ckpt_first < log->ckpt_n) ||
		    (s->kind == SEG_DATA && i != log->data.seg && i != log->cold.seg && !has_refs(s)))
			r = list(w, &log->space, i, 0, 0);
		else if (s->kind == SEG_DATA && s->refs)
			r = list_blocks(w, &log->space, i);
	}
	return r;
}

/* The first record behind a checkpoint: of those before it none will be replayed, and they answered requests. */
static void list_requests(const struct index *ix, struct redo_op *op)
{
	le64 v[PLY_REDO_REQUESTS_MAX];

	for (uint32_t k = 0; k < ix->nrequests; k++)   /* the oldest first */
		v[k] = le64_put(ix->requests[(ix->request_at + PLY_REDO_REQUESTS_MAX - ix->nrequests + k) %
					     PLY_REDO_REQUESTS_MAX]);
	redo_op_init(op, 0);
	if (ix->nrequests)
		redo_op_requests(op, v, ix->nrequests);
}

static uint64_t index_room(const struct redo *log)
{
	struct encoder e = { .ino = 0 };

	return align_up(place_tables(&e, log), PLY_REDO_BLOCK);
}

/* More than for the index as it is now: it may grow until it is written. And what of this is left then, the disk has for
 * the link to a further segment of records, its head, and requests, though cleaning took all the rest. */
static uint64_t slack(const struct redo *log)
{
	return align_up(log->index.nrequests * sizeof(le64), PLY_REDO_BLOCK) + 3ull * PLY_REDO_BLOCK;
}

static int take_run_locked(struct redo *log, struct work *w, uint64_t len, struct ply_err *err)
{
	int r = space_take_run(&log->space, SEG_CKPT, len, &w->first, &w->nsegs);

	return r < 0 ? redo_store_fail(log, r, "cannot take segments for a checkpoint", err) : 0;
}

/* Bytes that segments which were taken can have. */
static uint64_t run_len(const struct work *w)
{
	return redo_segment_off(w->first + w->nsegs) - redo_segment_off(w->first);
}

static int set_aside(struct redo *log, struct work *w, struct ply_err *err)
{
	uint64_t len, off = 0;
	int r;

	redo_lock(log);
	len = index_room(log);
	r = len > CHECKPOINT_MAX ? too_large(err) : 0;
	len += slack(log);
	if (r == 0)
		r = take_run_locked(log, w, len, err);
	if (r == 0)
		off = space_off(&log->space, w->first);
	redo_unlock(log);
	if (r < 0)
		return r;
	r = log->store->reserve(log->store, off, len);
	if (r == -ENOSPC || r == -EDQUOT || r == -EFBIG)
		return redo_store_fail(log, r, "cannot set room aside for a checkpoint", err);
	w->unsure = r < 0;
	return 0;
}

/* With change_lock held: but for the first @keep bytes, what was taken is free again, on the disk, too. */
static void shorten(struct redo *log, struct work *w, uint64_t keep)
{
	uint64_t off = space_off(&log->space, w->first);

	if (!w->nsegs)
		return;
	keep = align_up(keep, PLY_REDO_BLOCK);
	if (keep < run_len(w))
		(void)log->store->punch(log->store, off + keep, run_len(w) - keep);
	pthread_rwlock_wrlock(&log->lock);
	while (w->nsegs && space_off(&log->space, w->first + w->nsegs - 1) >= off + keep)
		space_free(&log->space, w->first + --w->nsegs);
	pthread_rwlock_unlock(&log->lock);
}

/* With change_lock held: so much as the bytes need, which may be more than was set aside. */
static int fit(struct redo *log, struct work *w, struct ply_err *err)
{
	int r = 0;

	if (w->bytes.len > run_len(w)) {
		shorten(log, w, 0);
		pthread_rwlock_wrlock(&log->lock);
		r = take_run_locked(log, w, w->bytes.len, err);
		pthread_rwlock_unlock(&log->lock);
		w->unsure = true;
	}
	if (r < 0)
		return r;
	w->super.ckpt_off = space_off(&log->space, w->first);
	w->super.ckpt_len = w->bytes.len;
	shorten(log, w, w->bytes.len);
	return 0;
}

/* With change_lock held, so nothing changes, and others read meanwhile: it takes a second for two million rows. */
static int encode(struct redo *log, struct work *w, struct ply_err *err)
{
	int r;

	pthread_rwlock_rdlock(&log->lock);
	r = encode_locked(log, &w->bytes, err);
	if (r == 0 && list_dead_locked(log, w) < 0)
		r = ply_fail_nomem(err);
	pthread_rwlock_unlock(&log->lock);
	if (r == 0)
		w->super.ckpt_xxh3 = xxh3(w->bytes.data, w->bytes.len, redo_seed(log->uuid, 0));
	return r;
}

static int write_bytes(struct redo *log, const struct work *w, size_t from, size_t to, struct ply_err *err)
{
	int r = log->store->pwrite(log->store, w->bytes.data + from, to - from, w->super.ckpt_off + from);

	return r < 0 ? redo_store_fail(log, r, "cannot write a checkpoint", err) : 0;
}

/* How much of the bytes can wait until others append again. The end cannot: that is where the length of the file may be
 * limited. Of those for which nothing was set aside, none can. */
static size_t can_wait(const struct work *w)
{
	return w->unsure ? 0 : (w->bytes.len - 1) / PLY_REDO_BLOCK * PLY_REDO_BLOCK;
}

/* With change_lock held: records go on in a new segment, where replay will begin. */
static int turn(struct redo *log, struct work *w, struct ply_err *err)
{
	struct redo_op requests _cleanup_redo_op_ = { 0 };
	int r;

	pthread_rwlock_wrlock(&log->lock);
	list_requests(&log->index, &requests);
	r = requests.failed ?
		ply_fail_nomem(err) :
		redo_next_segment_locked(log, (uint32_t)requests.bytes.len + REDO_NEXT_LEN, err);
	if (r == 0) {
		w->super.replay_segment = log->meta_seg;
		w->super.replay_seq = log->meta_seq;
		w->super.replay_lsn = log->tail;
		w->super.epoch_lsn = MAX(log->super.epoch_lsn, log->tail);
		w->super.durable_lsn = MAX(log->super.durable_lsn, log->tail);
		if (requests.nchanges)
			r = redo_write_record_locked(log, &requests, err);
	}
	pthread_rwlock_unlock(&log->lock);
	return r;
}

/* With change_lock held. What needs room comes before the turn: each one takes a segment. */
static int freeze(struct redo *log, struct work *w, struct clean *c, struct ply_err *err)
{
	int r;

	pthread_rwlock_wrlock(&log->lock);
	redo_clean_apply_locked(log, c);
	pthread_rwlock_unlock(&log->lock);
	r = encode(log, w, err);
	if (r == 0)
		r = fit(log, w, err);
	if (r == 0)
		r = write_bytes(log, w, can_wait(w), w->bytes.len, err);
	return r < 0 ? r : turn(log, w, err);
}

/* What was listed is read by nobody any more: no lock. Space is lost where it fails, nothing else. */
static void punch(struct redo *log, const struct work *w)
{
	for (size_t i = 0; i < w->nholes; i++)
		(void)log->store->punch(log->store, w->holes[i].off, w->holes[i].len);
}

static void give_back_locked(struct redo *log, struct work *w)
{
	for (size_t i = 0; i < w->nholes; i++) {
		struct hole *h = &w->holes[i];

		if (h->n)
			space_punched(&log->space, h->seg, h->first, h->n);
		else
			space_free(&log->space, h->seg);
	}
	log->ckpt_first = w->first;
	log->ckpt_n = w->nsegs;
	log->ckpt_len = w->super.ckpt_len;
	log->replay_lsn = w->super.replay_lsn;
}

static int checkpoint(struct redo *log, struct work *w, struct clean *c, struct ply_err *err)
{
	int r = set_aside(log, w, err);

	if (r < 0)
		return r;
	redo_clean_begin(log, c);
	pthread_mutex_lock(&log->change_lock);
	r = freeze(log, w, c, err);
	pthread_mutex_unlock(&log->change_lock);
	if (r == 0)
		r = write_bytes(log, w, 0, can_wait(w), err);
	if (r == 0)
		r = redo_flush(log, err);
	return r < 0 ? r : redo_write_super(log, &w->super, err);
}

/* Segments that were taken for copies, or for data, and that nothing ever came to refer to. With change_lock held. */
static void free_unused(struct redo *log)
{
	struct space *sp = &log->space;

	for (uint32_t i = 0; i < sp->nsegs; i++) {
		if (sp->segs[i].kind != SEG_DATA || sp->segs[i].inflight || sp->segs[i].refs || i == log->data.seg)
			continue;
		(void)log->store->punch(log->store, space_off(sp, i), redo_segment_size(i));
		pthread_rwlock_wrlock(&log->lock);
		if (i == log->cold.seg)
			log->cold.seg = NO_SEGMENT;
		space_free(sp, i);
		pthread_rwlock_unlock(&log->lock);
	}
}

/* The disk has all back that was taken for it, and others have the addresses. */
static void give_up(struct redo *log, struct work *w, struct clean *c)
{
	/* a superblock that failed may lead to it all the same: then the log has failed, and nothing is written any more */
	if (!atomic_load(&log->failed)) {
		redo_clean_drop(log, c);
		redo_unpin(&c->pins);
		pthread_mutex_lock(&log->change_lock);
		shorten(log, w, 0);
		free_unused(log);
		pthread_mutex_unlock(&log->change_lock);
	}
	redo_lock(log);
	log->gave_up = true;
	log->gave_up_tail = log->tail;
	log->gave_up_dead = log->space.dead;
	redo_unlock(log);
}

int redo_checkpoint(struct redo *log, struct ply_err *err)
{
	struct clean c = { .n = 0 };
	struct work w = { .nsegs = 0 };
	int r = redo_check_writable(log, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&log->super_lock);
	w.super = log->super;
	r = checkpoint(log, &w, &c, err);
	if (r == 0) {
		redo_clean_drop(log, &c);
		punch(log, &w);
		redo_lock(log);
		log->index.moved = log->gave_up = false;
		give_back_locked(log, &w);
		redo_unlock(log);
	} else {
		give_up(log, &w, &c);
	}
	pthread_mutex_unlock(&log->super_lock);
	redo_clean_done(&c);
	buf_done(&w.bytes);
	free(w.holes);
	return r;
}

uint64_t redo_checkpoint_room(struct redo *log, bool cleaning)
{
	uint64_t len;

	pthread_rwlock_rdlock(&log->lock);
	len = index_room(log) + slack(log);
	pthread_rwlock_unlock(&log->lock);
	return len + PLY_REDO_SEGMENT_MAX + (cleaning ? (uint64_t)REDO_CLEAN_MAX * PLY_REDO_BLOCK : 0);
}

void redo_may_clean(struct redo *log, bool may)
{
	atomic_store(&log->may_clean, may);
}

bool redo_checkpoint_is_due(struct redo *log)
{
	bool is;

	pthread_rwlock_rdlock(&log->lock);
	/* a checkpoint of a large index is as much work as many records */
	is = (log->tail - log->replay_lsn >= MAX(DUE_RECORDS, log->ckpt_len) ||
	      log->space.dead >= MAX(DUE_DEAD / PLY_REDO_BLOCK, log->space.live)) &&
	     (!log->gave_up || log->tail - log->gave_up_tail >= DUE_AGAIN ||
	      log->space.dead >= log->gave_up_dead + DUE_AGAIN / PLY_REDO_BLOCK);
	pthread_rwlock_unlock(&log->lock);
	return is;
}

uint64_t redo_since_checkpoint(struct redo *log)
{
	uint64_t since;

	pthread_rwlock_rdlock(&log->lock);
	since = log->tail - log->replay_lsn;
	pthread_rwlock_unlock(&log->lock);
	return since;
}
