/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a log says, in memory: see index.h. Hash tables of inodes and of names; per directory an array of its names by
 * cookie; per inode a list of xattrs and a treap of extents. An append or a replay costs what it touches of this memory:
 * a request that makes a file looks for its name, which is not there, and for its number, which needs no look.
 *
 * An inode of this log's own number is forgotten when it dies, since nothing below has it: whoever asks for a number
 * of the log's that is not there has a dead one. One of below stays, as dead. In the same way a name that is removed is
 * remembered only where it hides something.
 */
#include "redo/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "codec/codec.h"

/* --- hash tables ------------------------------------------------------------------------------ */

static void htab_put(struct htab *t, uint64_t hash, void *item)
{
	size_t i = hash & (t->nslots - 1);

	while (t->slots[i].item)
		i = (i + 1) & (t->nslots - 1);
	t->slots[i] = (struct hslot){ hash, item };
	t->used++;
}

static int htab_grow(struct htab *t)
{
	struct htab grown = { .nslots = t->nslots ? 2 * t->nslots : 64 };

	if (t->used < t->nslots / 3 * 2)
		return 0;
	grown.slots = calloc(grown.nslots, sizeof(*grown.slots));
	if (!grown.slots)
		return -ENOMEM;
	for (size_t i = 0; i < t->nslots; i++)
		if (t->slots[i].item)
			htab_put(&grown, t->slots[i].hash, t->slots[i].item);
	free(t->slots);
	*t = grown;
	return 0;
}

static int htab_add(struct htab *t, uint64_t hash, void *item)
{
	if (htab_grow(t) < 0)
		return -ENOMEM;
	htab_put(t, hash, item);
	return 0;
}

/* What stands behind the gap moves into it, where it may stand there. */
static void htab_del(struct htab *t, uint64_t hash, const void *item)
{
	size_t mask = t->nslots - 1, gap = hash & mask, i;

	while (t->slots[gap].item != item)
		gap = (gap + 1) & mask;
	for (i = (gap + 1) & mask; t->slots[i].item; i = (i + 1) & mask)
		if (((i - t->slots[i].hash) & mask) >= ((i - gap) & mask)) {
			t->slots[gap] = t->slots[i];
			gap = i;
		}
	t->slots[gap].item = NULL;
	t->used--;
}

/* Those with @hash, one after the other; *at: where to go on. */
static void *htab_next(const struct htab *t, uint64_t hash, size_t *at)
{
	while (t->nslots) {
		const struct hslot *s = &t->slots[(hash + (*at)++) & (t->nslots - 1)];

		if (!s->item || s->hash == hash)
			return s->item;
	}
	return NULL;
}

/* --- finding -------------------------------------------------------------------------------------- */

void index_init(struct index *ix, uint32_t number, struct space *space)
{
	*ix = (struct index){ .number = number, .next_index = 1, .next_cookie = PLY_COOKIE_FIRST, .space = space };
	/* who made the log must not foresee the shape of treaps and tables: they would be lists */
	random_bytes(&ix->rng, sizeof(ix->rng));
	random_bytes(&ix->seed, sizeof(ix->seed));
	ix->rng |= 1;
}

static uint64_t hash_ino(const struct index *ix, uint64_t ino)
{
	return xxh3(&ino, sizeof(ino), ix->seed);
}

struct rinode *index_inode(const struct index *ix, uint64_t ino)
{
	struct rinode *i;
	size_t at = 0;

	/* not made yet, as is asked for each that is made */
	if (PLY_INO_NUMBER(ino) == ix->number && PLY_INO_INDEX(ino) >= ix->next_index)
		return NULL;
	do
		i = htab_next(&ix->inodes, hash_ino(ix, ino), &at);
	while (i && i->ino != ino);
	return i;
}

struct rinode *index_get(struct index *ix, uint64_t ino)
{
	struct rinode *i = index_inode(ix, ino);

	if (i)
		return i;
	i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	i->ino = ino;
	i->below_end = PLY_INO_NUMBER(ino) == ix->number ? 0 : UINT64_MAX;
	if (htab_add(&ix->inodes, hash_ino(ix, ino), i) < 0) {
		free(i);
		return NULL;
	}
	return i;
}

static uint64_t hash_name(const struct index *ix, uint64_t dir, const char *name, size_t len)
{
	return xxh3(name, len, ix->seed ^ dir);
}

struct rentry *index_entry(const struct index *ix, uint64_t dir, const char *name, size_t len)
{
	uint64_t hash = hash_name(ix, dir, name, len);
	struct rentry *e;
	size_t at = 0;

	do
		e = htab_next(&ix->entries, hash, &at);
	while (e && (e->dir != dir || e->name_len != len || memcmp(e->name, name, len) != 0));
	return e;
}

struct rentry *index_get_entry(struct index *ix, uint64_t dir, const char *name, size_t len)
{
	struct rentry *e = index_entry(ix, dir, name, len);

	if (e)
		return e;
	e = calloc(1, sizeof(*e) + len);
	if (!e)
		return NULL;
	e->dir = dir;
	e->name_len = (uint8_t)len;
	memcpy(e->name, name, len);
	if (htab_add(&ix->entries, hash_name(ix, dir, name, len), e) < 0) {
		free(e);
		return NULL;
	}
	ix->heap += len;
	return e;
}

static void drop_entry(struct index *ix, struct rentry *e)
{
	htab_del(&ix->entries, hash_name(ix, e->dir, e->name, e->name_len), e);
	ix->heap -= e->name_len;
	free(e);
}

size_t index_slot(const struct rinode *dir, uint64_t cookie)
{
	size_t lo = 0, hi = dir->nslots;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (dir->slots[mid].cookie <= cookie)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int index_list(struct index *ix, struct rinode *dir, struct rentry *e)
{
	if (array_grow(&dir->slots, &dir->slots_cap, dir->nslots + 1, sizeof(*dir->slots)) < 0)
		return -ENOMEM;
	dir->slots[dir->nslots++] = (struct rslot){ e->cookie, e };
	dir->nentries++;
	ix->nadded++;
	return 0;
}

static void unlist(struct index *ix, struct rinode *dir, struct rentry *e)
{
	size_t at = index_slot(dir, e->cookie - 1), to = 0;

	dir->slots[at].entry = NULL;
	dir->nentries--;
	ix->nadded--;
	if (dir->nslots < 32 || dir->nentries > dir->nslots / 2)
		return;
	for (size_t i = 0; i < dir->nslots; i++)
		if (dir->slots[i].entry)
			dir->slots[to++] = dir->slots[i];
	dir->nslots = to;
}

static void drop_xattr(struct index *ix, struct rxattr **at)
{
	struct rxattr *x = *at;

	*at = x->next;
	ix->nxattrs--;
	ix->heap -= (uint64_t)x->name_len + x->value_len;
	free(x);
}

/* All that hangs on it, but for the names in it. */
static void free_parts(struct index *ix, struct rinode *i)
{
	extent_drop(ix, i);
	while (i->xattrs)
		drop_xattr(ix, &i->xattrs);
	free(i->slots);
	free(i->target);
	ix->heap -= i->target_len;
}

static void empty_inode(struct index *ix, struct rinode *i)
{
	for (size_t k = 0; k < i->nslots; k++)
		if (i->slots[k].entry) {
			drop_entry(ix, i->slots[k].entry);
			ix->nadded--;
		}
	free_parts(ix, i);
	i->slots = NULL;
	i->target = NULL;
	i->nslots = i->slots_cap = i->nentries = 0;
	i->target_len = 0;
}

void index_done(struct index *ix)
{
	for (size_t s = 0; s < ix->inodes.nslots; s++) {
		struct rinode *i = ix->inodes.slots[s].item;

		if (i)
			free_parts(ix, i);
		free(i);
	}
	for (size_t s = 0; s < ix->entries.nslots; s++)
		free(ix->entries.slots[s].item);
	free(ix->inodes.slots);
	free(ix->entries.slots);
	*ix = (struct index){ 0 };
}

/* --- can it be? ------------------------------------------------------------------------------------- */

static int cannot(struct ply_err *err, const struct redo_change *c, const char *why)
{
	return ply_fail(err, -EINVAL, PLY_R_REDO_CHANGE, "change '%s' of inode %llu:%llu cannot be: %s", c->type->name,
			(unsigned long long)PLY_INO_NUMBER(c->ino), (unsigned long long)PLY_INO_INDEX(c->ino), why);
}

/* The last change of [first, c) that has @type and is of @ino. */
static const struct redo_change *before(const struct redo_change *first, const struct redo_change *c, unsigned type,
					uint64_t ino)
{
	while (c-- > first)
		if (c->type->number == type && c->ino == ino)
			return c;
	return NULL;
}

static bool is_alive(const struct index *ix, const struct redo_change *first, const struct redo_change *c, uint64_t ino)
{
	const struct rinode *i = index_inode(ix, ino);

	if (before(first, c, PLY_REDO_DEAD, ino))
		return false;
	if (before(first, c, PLY_REDO_NEW, ino))
		return true;
	return i ? !i->dead : PLY_INO_NUMBER(ino) != ix->number;
}

/* Where that is known. */
static bool is_type(const struct index *ix, const struct redo_change *first, const struct redo_change *c, uint64_t ino,
		    uint32_t type)
{
	const struct redo_change *made = before(first, c, PLY_REDO_NEW, ino);
	const struct rinode *i = index_inode(ix, ino);

	if (made)
		return (made->attr.mode & S_IFMT) == type;
	return !i || !(i->mask & PLY_REDO_A_MODE) || (i->attr.mode & S_IFMT) == type;
}

int index_check_ino(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		    struct ply_err *err)
{
	unsigned type = c->type->number;
	bool content = type == PLY_REDO_EXTENT || type == PLY_REDO_HOLE || type == PLY_REDO_SIZE ||
		type == PLY_REDO_COPY;

	if (!is_alive(ix, first, c, c->ino))
		return cannot(err, c, "there is no such inode");
	if (content && !is_type(ix, first, c, c->ino, S_IFREG))
		return cannot(err, c, "it is not a regular file");
	if (type == PLY_REDO_ATTR && c->mask & PLY_REDO_A_MODE && !is_type(ix, first, c, c->ino, c->attr.mode & S_IFMT))
		return cannot(err, c, "it has another type");
	return 0;
}

int index_check_new(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		    struct ply_err *err)
{
	if (PLY_INO_NUMBER(c->ino) != ix->number)
		return cannot(err, c, "it is not one of this log's");
	if (index_inode(ix, c->ino) || before(first, c, PLY_REDO_NEW, c->ino))
		return cannot(err, c, "it is there");
	return 0;
}

/* Of a name, given what the record did to it before. */
static void name_state(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		       bool *added, bool *hidden)
{
	const struct rentry *e = index_entry(ix, c->ino, c->name, c->name_len);

	*added = e && e->ino;
	*hidden = e && e->hides;
	for (; first < c; first++) {
		unsigned type = first->type->number;

		if ((type != PLY_REDO_ADD && type != PLY_REDO_REMOVE) || first->ino != c->ino ||
		    first->name_len != c->name_len || memcmp(first->name, c->name, c->name_len) != 0)
			continue;
		*added = type == PLY_REDO_ADD;
		*hidden |= first->hides;
	}
}

int index_check_add(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		    struct ply_err *err)
{
	uint64_t next = ix->next_cookie;
	bool added, hidden;

	if (!is_alive(ix, first, c, c->ino) || !is_alive(ix, first, c, c->child))
		return cannot(err, c, "directory or inode are not there");
	if (!is_type(ix, first, c, c->ino, S_IFDIR) || !is_type(ix, first, c, c->child, (uint32_t)c->dtype << 12))
		return cannot(err, c, "directory or inode have another type");
	for (const struct redo_change *b = first; b < c; b++)
		if (b->type->number == PLY_REDO_ADD)
			next = PLY_INO_INDEX(b->cookie) + 1;
	if (PLY_INO_NUMBER(c->cookie) != ix->number || PLY_INO_INDEX(c->cookie) < next)
		return cannot(err, c, "its cookie was used before");
	name_state(ix, first, c, &added, &hidden);
	return added ? cannot(err, c, "the name is there") : 0;
}

int index_check_remove(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		       struct ply_err *err)
{
	bool added, hidden;

	if (!is_alive(ix, first, c, c->ino))
		return cannot(err, c, "the directory is not there");
	if (c->hides && PLY_INO_NUMBER(c->ino) == ix->number)
		return cannot(err, c, "nothing is below it");
	name_state(ix, first, c, &added, &hidden);
	if (!added && (!c->hides || hidden))
		return cannot(err, c, "the name is not there");
	return 0;
}

int index_check_extent(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		       struct ply_err *err)
{
	if (!space_may_hold(ix->space, c->addr, c->len))
		return cannot(err, c, "its data lies where no data can be");
	return index_check_ino(ix, first, c, err);
}

uint64_t index_copy_len(const struct index *ix, uint64_t src, uint64_t off, uint64_t len)
{
	const struct rinode *i = index_inode(ix, src);
	uint64_t at = 0;

	/* replayed from the checkpoint before, it could be of more pieces */
	if (ix->moved)
		return 0;
	for (unsigned n = 0; i && n < PLY_REDO_COPY_MAX && at < len; n++) {
		struct redo_range g;

		extent_at(i, off + at, &g);
		at += MIN(g.len, len - at);
	}
	return i ? at : len;
}

int index_check_copy(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		     struct ply_err *err)
{
	for (const struct redo_change *b = first; b < c; b++)
		if (b->type->number == PLY_REDO_COPY)
			return cannot(err, c, "it is the second in its record");
	if (index_copy_len(ix, c->src, c->src_off, c->len) < c->len)
		return cannot(err, c, "it is of too many pieces");
	if (!is_alive(ix, first, c, c->src) || !is_type(ix, first, c, c->src, S_IFREG))
		return cannot(err, c, "there is nothing to copy");
	return index_check_ino(ix, first, c, err);
}

int index_check_dead(const struct index *ix, const struct redo_change *first, const struct redo_change *c,
		     struct ply_err *err)
{
	const struct rinode *i = index_inode(ix, c->ino);
	const struct redo_change *made = before(first, c, PLY_REDO_NEW, c->ino);
	bool known = made || (i && i->mask & PLY_REDO_A_NLINK);
	uint32_t nlink = made ? made->attr.nlink : i ? i->attr.nlink : 0;

	if (!is_alive(ix, first, c, c->ino))
		return cannot(err, c, "it is dead");
	for (; first < c; first++)
		if (first->type->number == PLY_REDO_ATTR && first->ino == c->ino && first->mask & PLY_REDO_A_NLINK) {
			known = true;
			nlink = first->attr.nlink;
		}
	return known && !nlink ? 0 : cannot(err, c, "it has names");
}

int index_check(const struct index *ix, const struct redo_record *r, struct ply_err *err)
{
	int e = 0;

	for (uint32_t k = 0; e == 0 && k < r->nchanges; k++)
		if (r->changes[k].type->check)
			e = r->changes[k].type->check(ix, r->changes, &r->changes[k], err);
	return e;
}

/* --- requests ----------------------------------------------------------------------------------------- */

static void note_request(struct index *ix, uint64_t request)
{
	ix->requests[ix->request_at] = request;
	ix->request_at = (ix->request_at + 1) % PLY_REDO_REQUESTS_MAX;
	ix->nrequests = MIN(ix->nrequests + 1, PLY_REDO_REQUESTS_MAX);
}

bool index_has_request(const struct index *ix, uint64_t request)
{
	for (uint32_t k = 0; request && k < ix->nrequests; k++)
		if (ix->requests[k] == request)
			return true;
	return false;
}

/* --- changes ------------------------------------------------------------------------------------------ */

int index_replay(struct index *ix, const struct redo_record *r)
{
	bool counts = r->lsn >= ix->requests_lsn;
	int e = 0;

	if (counts && r->request)
		note_request(ix, r->request);
	if (!counts && r->changes[0].type->number == PLY_REDO_REQUESTS)
		return 0;
	for (uint32_t k = 0; e == 0 && k < r->nchanges; k++)
		if (r->changes[k].type->replay)
			e = r->changes[k].type->replay(ix, &r->changes[k]);
	return e;
}

int index_requests(struct index *ix, const struct redo_change *c)
{
	const le64 *v = c->value;

	for (size_t k = 0; k < c->value_len; k++)
		note_request(ix, le64_get(v[k]));
	return 0;
}

int index_new(struct index *ix, const struct redo_change *c)
{
	struct rinode *i = index_get(ix, c->ino);

	if (!i || (c->name_len && index_put_target(ix, i, c->name, c->name_len) < 0))
		return -ENOMEM;
	i->mask = PLY_REDO_A_ALL;
	i->attr = c->attr;
	ix->next_index = MAX(ix->next_index, PLY_INO_INDEX(c->ino) + 1);
	return 0;
}

int index_attr(struct index *ix, const struct redo_change *c)
{
	struct rinode *i = index_get(ix, c->ino);
	const struct redo_attr *from = &c->attr;
	struct redo_attr *to;

	if (!i)
		return -ENOMEM;
	to = &i->attr;
	i->mask |= c->mask;
#define SET(bit, field) \
	if (c->mask & PLY_REDO_A_##bit) \
		to->field = from->field
	SET(MODE, mode);
	SET(UID, uid);
	SET(GID, gid);
	SET(FLAGS, flags);
	SET(NLINK, nlink);
	SET(ATIME, atime_sec);
	SET(ATIME, atime_nsec);
	SET(MTIME, mtime_sec);
	SET(MTIME, mtime_nsec);
	SET(CTIME, ctime_sec);
	SET(CTIME, ctime_nsec);
	SET(BTIME, btime_sec);
	SET(BTIME, btime_nsec);
	SET(PARENT, parent);
#undef SET
	return 0;
}

int index_add(struct index *ix, const struct redo_change *c)
{
	struct rinode *dir = index_get(ix, c->ino);
	struct rentry *e = dir ? index_get_entry(ix, c->ino, c->name, c->name_len) : NULL;

	if (!e)
		return -ENOMEM;
	e->ino = c->child;
	e->cookie = c->cookie;
	e->type = c->dtype;
	ix->next_cookie = PLY_INO_INDEX(c->cookie) + 1;
	return index_list(ix, dir, e);
}

int index_remove(struct index *ix, const struct redo_change *c)
{
	struct rinode *dir = index_get(ix, c->ino);
	struct rentry *e = dir ? index_get_entry(ix, c->ino, c->name, c->name_len) : NULL;

	if (!e)
		return -ENOMEM;
	if (e->ino)
		unlist(ix, dir, e);
	e->ino = e->cookie = 0;
	e->type = 0;
	e->hides |= c->hides;
	if (!e->hides)
		drop_entry(ix, e);
	return 0;
}

int index_put_target(struct index *ix, struct rinode *i, const char *target, size_t len)
{
	i->target = malloc(len);
	if (!i->target)
		return -ENOMEM;
	memcpy(i->target, target, len);
	i->target_len = (uint32_t)len;
	ix->heap += len;
	return 0;
}

int index_put_xattr(struct index *ix, struct rinode *i, const char *name, size_t len, const void *value,
		    size_t value_len, bool removed)
{
	struct rxattr **at = &i->xattrs, *x;
	int order = 1;

	while (*at) {
		order = memcmp((*at)->bytes, name, MIN((size_t)(*at)->name_len, len));
		if (!order)
			order = (int)(*at)->name_len - (int)len;
		if (order >= 0)
			break;
		at = &(*at)->next;
	}
	x = calloc(1, sizeof(*x) + len + value_len);
	if (!x)
		return -ENOMEM;
	x->removed = removed;
	x->name_len = (uint8_t)len;
	x->value_len = (uint32_t)value_len;
	memcpy(x->bytes, name, len);
	if (value_len)
		memcpy(x->bytes + len, value, value_len);
	if (*at && order == 0)
		drop_xattr(ix, at);
	x->next = *at;
	*at = x;
	ix->nxattrs++;
	ix->heap += len + value_len;
	return 0;
}

int index_xattr_set(struct index *ix, const struct redo_change *c)
{
	struct rinode *i = index_get(ix, c->ino);

	return i ? index_put_xattr(ix, i, c->name, c->name_len, c->value, c->value_len, false) : -ENOMEM;
}

int index_xattr_remove(struct index *ix, const struct redo_change *c)
{
	struct rinode *i = index_get(ix, c->ino);

	if (!i)
		return -ENOMEM;
	if (PLY_INO_NUMBER(c->ino) != ix->number)
		return index_put_xattr(ix, i, c->name, c->name_len, NULL, 0, true);
	/* nothing below to be hidden */
	for (struct rxattr **at = &i->xattrs; *at; at = &(*at)->next)
		if ((*at)->name_len == c->name_len && memcmp((*at)->bytes, c->name, c->name_len) == 0) {
			drop_xattr(ix, at);
			break;
		}
	return 0;
}

static void set_size(struct rinode *i, uint64_t size)
{
	i->attr.size = size;
	i->mask |= PLY_REDO_A_SIZE;
}

int index_extent(struct index *ix, const struct redo_change *c)
{
	struct rinode *i = index_get(ix, c->ino);
	int r = i ? space_fill(ix->space, c->addr, c->len, c->sums, ix->good) : -ENOMEM;

	if (r == 0)
		r = extent_put(ix, i, c->off, c->len, PLY_REDO_C_LOG, c->addr, 0);
	if (r == 0)
		set_size(i, c->size);
	return r;
}

static int put_hole(struct index *ix, struct rinode *i, uint64_t off, uint64_t len)
{
	/* an extent only where something would show: behind below_end there is a hole anyhow */
	uint64_t shows = off < i->below_end ? MIN(len, i->below_end - off) : 0;
	int r = extent_put(ix, i, off, len, 0, 0, 0);

	return r < 0 ? r : extent_put(ix, i, off, shows, PLY_REDO_C_HOLE, 0, 0);
}

int index_hole(struct index *ix, const struct redo_change *c)
{
	struct rinode *i = index_get(ix, c->ino);

	return i ? put_hole(ix, i, c->off, c->len) : -ENOMEM;
}

int index_size(struct index *ix, const struct redo_change *c)
{
	struct rinode *i = index_get(ix, c->ino);
	int r = i ? extent_put(ix, i, c->size, UINT64_MAX - c->size, 0, 0, 0) : -ENOMEM;

	if (r < 0)
		return r;
	i->below_end = MIN(i->below_end, c->size);
	set_size(i, c->size);
	return 0;
}

/* What the range of the source is made of, before any of it can change. */
static int collect(const struct rinode *src, const struct redo_change *c, struct redo_range **ret, size_t *ret_n)
{
	struct redo_range *v = NULL;
	size_t n = 0, cap = 0;

	for (uint64_t at = 0; at < c->len; at += v[n++].len) {
		if (array_grow(&v, &cap, n + 1, sizeof(*v)) < 0) {
			free(v);
			return -ENOMEM;
		}
		if (src)
			extent_at(src, c->src_off + at, &v[n]);
		else
			v[n] = (struct redo_range){ PLY_REDO_C_BELOW, c->len, c->src_off, c->src };
		v[n].len = MIN(v[n].len, c->len - at);
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

int index_copy(struct index *ix, const struct redo_change *c)
{
	struct rinode *i = index_get(ix, c->ino);
	_cleanup_free_ struct redo_range *v = NULL;
	uint64_t at = c->off;
	size_t n = 0;
	int r = i ? collect(index_inode(ix, c->src), c, &v, &n) : -ENOMEM;

	for (size_t k = 0; r == 0 && k < n; at += v[k++].len)
		r = v[k].kind == PLY_REDO_C_HOLE ? put_hole(ix, i, at, v[k].len) :
						   extent_put(ix, i, at, v[k].len, v[k].kind, v[k].addr, v[k].src);
	if (r == 0)
		set_size(i, c->size);
	return r;
}

int index_dead(struct index *ix, const struct redo_change *c)
{
	struct rinode *i = index_get(ix, c->ino);

	if (!i)
		return -ENOMEM;
	empty_inode(ix, i);
	if (PLY_INO_NUMBER(c->ino) == ix->number) {
		htab_del(&ix->inodes, hash_ino(ix, i->ino), i);
		free(i);
		return 0;
	}
	i->dead = true;
	i->mask = 0;
	i->attr = (struct redo_attr){ 0 };
	i->below_end = 0;
	return 0;
}
