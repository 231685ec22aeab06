/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a log should say: redo_model.h. */
#include "redo_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo_disk.h"

static const char *const names[MODEL_NAMES] = { "a", "b", "passwd", "x.dpkg-new", "ünïcödé \n" };
static const char *const xattrs[MODEL_XATTRS] = { "security.capability", "user.a", "system.posix_acl_access" };
const uint8_t model_uuid[16] = { 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

uint64_t model_random(struct model *m, uint64_t below)
{
	m->rng ^= m->rng << 13;
	m->rng ^= m->rng >> 7;
	m->rng ^= m->rng << 17;
	return (m->rng >> 11) % below;
}

static uint64_t ino_of(size_t k)
{
	return k < MODEL_LOWER ? PLY_INO(0, k + 1) : PLY_INO(MODEL_NUMBER, k - MODEL_LOWER + 1);
}

static size_t index_of(uint64_t ino)
{
	return PLY_INO_NUMBER(ino) ? PLY_INO_INDEX(ino) - 1 + MODEL_LOWER : PLY_INO_INDEX(ino) - 1;
}

static uint8_t below_byte(uint64_t ino, uint64_t off)
{
	return off < MODEL_BELOW ? (uint8_t)(off * 7 + (off >> 8) * 3 + ino * 41 + 1) : 0;
}

int model_below(void *ctx, uint64_t ino, uint64_t off, void *buf, size_t len, struct ply_err *err)
{
	(void)ctx;
	(void)err;
	for (size_t k = 0; k < len; k++)
		((uint8_t *)buf)[k] = below_byte(ino, off + k);
	return 0;
}

/* Below, each of the two directories has "a" and "b": the files, one of them twice. */
static uint64_t below_name(size_t dir, size_t name)
{
	static const uint64_t has[2][2] = { { 3, 4 }, { 5, 3 } };

	return dir < 2 && name < 2 ? has[dir][name] : 0;
}

struct redo_binding model_binding(void)
{
	static const struct ply_decision decisions[] = { { 1, 2, PLY_RULE_LAST, 0 }, { 3, 4, PLY_RULE_DRIVER, 7 } };
	struct redo_binding b = { .parent_generation = 3,
				  .number = MODEL_NUMBER,
				  .names = "os\0web",
				  .names_len = 7,
				  .nnames = 2,
				  .decisions = decisions,
				  .ndecisions = 2,
				  .path = "/srv/shop.plyfs" };

	memset(b.parent_uuid, 0xaa, sizeof(b.parent_uuid));
	memset(b.parent_digest, 0xbb, sizeof(b.parent_digest));
	memset(b.image_uuid, 0xaa, sizeof(b.image_uuid));
	return b;
}

int model_format(struct redo_disk *d)
{
	struct redo_binding b = model_binding();
	struct redo_store *s = redo_disk_store(d);
	int r = redo_format(s, &b, model_uuid, 1700000000, NULL);

	redo_store_close(s);
	return r;
}

void model_init(struct model *m, uint64_t seed)
{
	memset(m, 0, sizeof(*m));
	m->rng = seed * 2654435761u + 88172645463325252ull;
	m->next_cookie = PLY_COOKIE_FIRST;
	for (size_t k = 0; k < MODEL_INODES; k++) {
		struct model_inode *i = &m->i[k];

		i->dead = k >= MODEL_LOWER;
		memset(i->kind, i->dead ? 'H' : 'B', sizeof(i->kind));
		if (i->dead)
			continue;
		i->mode = k < 2 ? S_IFDIR | 0755 : S_IFREG | 04755;
		i->nlink = k == 2 ? 2 : 1;
		for (size_t b = 0; b < MODEL_BYTES; b++)
			i->bytes[b] = below_byte(ino_of(k), b);
	}
}

/* --- finding --------------------------------------------------------------------------------- */

static uint64_t visible(const struct model *m, size_t dir, size_t name)
{
	const struct model_name *n = &m->i[dir].names[name];

	return n->ino ? n->ino : n->hides ? 0 : below_name(dir, name);
}

enum want { WANT_DIR, WANT_FILE, WANT_OTHER /* no directory */, WANT_ANY };

static bool fits(const struct model_inode *i, enum want w)
{
	return !i->dead && (w == WANT_ANY || (w == WANT_DIR ? S_ISDIR(i->mode) : w == WANT_FILE ? S_ISREG(i->mode) :
												  !S_ISDIR(i->mode)));
}

/* MODEL_INODES: none. */
static size_t pick(struct model *m, enum want w)
{
	size_t start = model_random(m, MODEL_INODES);

	for (size_t k = 0; k < MODEL_INODES; k++) {
		size_t at = (start + k) % MODEL_INODES;

		if (fits(&m->i[at], w) && (w != WANT_DIR || m->i[at].nlink))
			return at;
	}
	return MODEL_INODES;
}

static bool pick_name(struct model *m, bool there, size_t *dir, size_t *name)
{
	for (int tries = 0; tries < 20; tries++) {
		*dir = pick(m, WANT_DIR);
		*name = model_random(m, MODEL_NAMES);
		if (!!visible(m, *dir, *name) == there)
			return true;
	}
	return false;
}

static bool is_empty(const struct model *m, size_t dir)
{
	for (size_t n = 0; n < MODEL_NAMES; n++)
		if (visible(m, dir, n))
			return false;
	return true;
}

/* --- the same to both ----------------------------------------------------------------------------- */

static struct redo_attr random_attr(struct model *m, uint32_t mode)
{
	return (struct redo_attr){
		.mode = mode, .uid = (uint32_t)model_random(m, 1 << 20), .gid = (uint32_t)model_random(m, 5),
		.flags = (uint32_t)model_random(m, 64), .nlink = 1, .generation = (uint32_t)model_random(m, 99),
		.atime_sec = (int64_t)model_random(m, 1000) - 500, .mtime_sec = (int64_t)model_random(m, 1u << 31),
		.ctime_sec = (int64_t)model_random(m, 1u << 31), .btime_sec = 5,
		.atime_nsec = (uint32_t)model_random(m, 1000000000), .mtime_nsec = 1, .ctime_nsec = 999999999,
		.rdev_major = S_ISCHR(mode) ? 5 : 0, .rdev_minor = S_ISCHR(mode) ? 1 : 0,
	};
}

static void set_attr(struct model *m, struct redo_op *op, size_t k, uint32_t mask, const struct redo_attr *a)
{
	struct model_inode *i = &m->i[k];

	redo_op_attr(op, ino_of(k), mask, a);
	i->mask |= mask;
#define SET(bit, field) \
	if (mask & PLY_REDO_A_##bit) \
		i->attr.field = a->field
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
	if (mask & PLY_REDO_A_MODE)
		i->mode = a->mode;
	if (mask & PLY_REDO_A_NLINK)
		i->nlink = a->nlink;
}

static void set_nlink(struct model *m, struct redo_op *op, size_t k, uint32_t nlink)
{
	set_attr(m, op, k, PLY_REDO_A_NLINK | PLY_REDO_A_CTIME, &(struct redo_attr){ .nlink = nlink, .ctime_sec = 77 });
}

static void add(struct model *m, struct redo_op *op, size_t dir, size_t name, uint64_t ino)
{
	struct model_name *n = &m->i[dir].names[name];

	redo_op_add(op, ino_of(dir), names[name], strlen(names[name]), ino, (uint8_t)(m->i[index_of(ino)].mode >> 12));
	n->ino = ino;
	n->cookie = PLY_INO(MODEL_NUMBER, m->next_cookie++);
}

static void take(struct model *m, struct redo_op *op, size_t dir, size_t name)
{
	struct model_name *n = &m->i[dir].names[name];
	bool hides = below_name(dir, name);

	redo_op_remove(op, ino_of(dir), names[name], strlen(names[name]), hides);
	n->ino = n->cookie = 0;
	n->hides |= hides;
}

static size_t make(struct model *m, struct redo_op *op, struct redo *log, uint32_t mode, uint32_t nlink)
{
	struct redo_attr a = random_attr(m, mode);
	struct model_inode *i;
	char target[32] = "";
	uint64_t ino;
	size_t k;

	if (redo_new_ino(log, &ino, NULL) < 0 || PLY_INO_INDEX(ino) > MODEL_NEW)
		return MODEL_INODES;
	k = index_of(ino);
	i = &m->i[k];
	if (S_ISLNK(mode))
		snprintf(target, sizeof(target), "../to/%llu", (unsigned long long)model_random(m, 1000000));
	memset(i, 0, sizeof(*i));
	a.nlink = nlink;
	a.parent = S_ISDIR(mode) ? 1 : 0;
	a.size = strlen(target);
	i->mode = mode;
	i->nlink = nlink;
	i->attr = a;
	i->mask = PLY_REDO_A_ALL;
	memset(i->kind, 'H', sizeof(i->kind));
	memcpy(i->target, target, sizeof(target));
	redo_op_new(op, ino, &a, target, strlen(target));
	return k;
}

static void set_size(struct model_inode *i, uint64_t size)
{
	i->attr.size = size;
	i->mask |= PLY_REDO_A_SIZE;
}

static uint64_t size_of(const struct model_inode *i)
{
	return i->mask & PLY_REDO_A_SIZE ? i->attr.size : MODEL_BELOW;
}

static void drop(struct model *m, struct redo_op *op, uint64_t ino)
{
	size_t k = index_of(ino);

	if (m->i[k].nlink)
		set_nlink(m, op, k, m->i[k].nlink - 1);
}

/* --- requests --------------------------------------------------------------------------------------- */

static bool do_create(struct model *m, struct redo_op *op, struct redo *log)
{
	static const uint32_t modes[] = { S_IFREG | 0644, S_IFREG | 06755, S_IFDIR | 02775,
					  S_IFLNK | 0777, S_IFCHR | 0600,  S_IFIFO | 0600 };
	size_t dir, name, k;

	if (!pick_name(m, false, &dir, &name))
		return false;
	k = make(m, op, log, modes[model_random(m, ARRAY_SIZE(modes))], 1);
	if (k == MODEL_INODES)
		return false;
	add(m, op, dir, name, ino_of(k));
	set_attr(m, op, dir, PLY_REDO_A_MTIME, &(struct redo_attr){ .mtime_sec = (int64_t)model_random(m, 99) });
	return true;
}

static bool do_tmpfile(struct model *m, struct redo_op *op, struct redo *log)
{
	return make(m, op, log, S_IFREG | 0600, 0) != MODEL_INODES;
}

static bool do_link(struct model *m, struct redo_op *op, struct redo *log)
{
	size_t dir, name, k = pick(m, WANT_OTHER);

	(void)log;
	if (k == MODEL_INODES || !pick_name(m, false, &dir, &name))
		return false;
	add(m, op, dir, name, ino_of(k));
	set_nlink(m, op, k, m->i[k].nlink + 1);
	return true;
}

static bool do_unlink(struct model *m, struct redo_op *op, struct redo *log)
{
	size_t dir, name;
	uint64_t ino;

	(void)log;
	if (!pick_name(m, true, &dir, &name))
		return false;
	ino = visible(m, dir, name);
	if (S_ISDIR(m->i[index_of(ino)].mode) && !is_empty(m, index_of(ino)))
		return false;
	take(m, op, dir, name);
	drop(m, op, ino);
	return true;
}

static bool do_rename(struct model *m, struct redo_op *op, struct redo *log)
{
	size_t dir, name, to_dir = pick(m, WANT_DIR), to_name = model_random(m, MODEL_NAMES), white = MODEL_INODES;
	unsigned how = (unsigned)model_random(m, 5);
	uint64_t ino, over;

	if (!pick_name(m, true, &dir, &name) || (dir == to_dir && name == to_name))
		return false;
	ino = visible(m, dir, name);
	over = visible(m, to_dir, to_name);
	if (ino == over || (over && S_ISDIR(m->i[index_of(over)].mode) && !is_empty(m, index_of(over))))
		return false;
	if (how == 0)              /* RENAME_WHITEOUT */
		white = make(m, op, log, S_IFCHR, 1);
	take(m, op, dir, name);
	if (over)
		take(m, op, to_dir, to_name);
	add(m, op, to_dir, to_name, ino);
	if (over && how == 1)      /* RENAME_EXCHANGE */
		add(m, op, dir, name, over);
	else if (over)
		drop(m, op, over);
	if (white != MODEL_INODES)
		add(m, op, dir, name, ino_of(white));
	if (S_ISDIR(m->i[index_of(ino)].mode))
		set_attr(m, op, index_of(ino), PLY_REDO_A_PARENT | PLY_REDO_A_CTIME,
			 &(struct redo_attr){ .parent = ino_of(to_dir), .ctime_sec = 3 });
	return true;
}

static bool do_write(struct model *m, struct redo_op *op, struct redo *log)
{
	uint8_t data[MODEL_BYTES];
	size_t k = pick(m, WANT_FILE), off = model_random(m, MODEL_BYTES), len = 1 + model_random(m, 9000);
	struct model_inode *i = &m->i[k];

	if (k == MODEL_INODES)
		return false;
	if (model_random(m, 3) == 0) {     /* as a page cache writes */
		off = off / 4096 * 4096;
		len = 4096 * (1 + model_random(m, 3));
	}
	len = MIN(len, MODEL_BYTES - off);
	for (size_t b = 0; b < len; b++)
		data[b] = (uint8_t)model_random(m, 256);
	if (redo_op_write(log, op, ino_of(k), off, data, len, MAX(size_of(i), off + len), NULL) < 0)
		return true;               /* the operation knows */
	memcpy(i->bytes + off, data, len);
	memset(i->kind + off, 'L', len);
	set_size(i, MAX(size_of(i), off + len));
	if (model_random(m, 4) == 0) {     /* killpriv */
		set_attr(m, op, k, PLY_REDO_A_MODE | PLY_REDO_A_MTIME,
			 &(struct redo_attr){ .mode = i->mode & ~06000u, .mtime_sec = 4 });
		redo_op_xattr_remove(op, ino_of(k), xattrs[0], strlen(xattrs[0]));
		i->xattr[0] = k < MODEL_LOWER;
	}
	return true;
}

static bool do_truncate(struct model *m, struct redo_op *op, struct redo *log)
{
	size_t k = pick(m, WANT_FILE), size = model_random(m, MODEL_BYTES + 1);

	(void)log;
	if (k == MODEL_INODES)
		return false;
	redo_op_size(op, ino_of(k), size);
	set_size(&m->i[k], size);
	memset(m->i[k].bytes + size, 0, MODEL_BYTES - size);
	memset(m->i[k].kind + size, 'H', MODEL_BYTES - size);
	return true;
}

static bool do_punch(struct model *m, struct redo_op *op, struct redo *log)
{
	size_t k = pick(m, WANT_FILE), off = model_random(m, MODEL_BYTES), len = 1 + model_random(m, 9000);

	(void)log;
	if (k == MODEL_INODES)
		return false;
	len = MIN(len, MODEL_BYTES - off);
	redo_op_hole(op, ino_of(k), off, len);
	memset(m->i[k].bytes + off, 0, len);
	memset(m->i[k].kind + off, 'H', len);
	return true;
}

static bool do_copy(struct model *m, struct redo_op *op, struct redo *log)
{
	size_t k = pick(m, WANT_FILE), src = pick(m, WANT_FILE), off = model_random(m, MODEL_BYTES);
	size_t src_off = model_random(m, MODEL_BYTES), len = 1 + model_random(m, 9000);
	struct model_inode *i = &m->i[k], *s = &m->i[src];

	if (k == MODEL_INODES || src == MODEL_INODES)
		return false;
	len = MIN(len, MODEL_BYTES - MAX(off, src_off));
	if (!redo_copy_len(log, ino_of(src), src_off, len))
		return false;              /* a checkpoint that cleaned has failed */
	if (k == src && off < src_off + len && src_off < off + len)
		return false;
	redo_op_copy(op, ino_of(k), off, len, ino_of(src), src_off, MAX(size_of(i), off + len));
	memcpy(i->bytes + off, s->bytes + src_off, len);
	memcpy(i->kind + off, s->kind + src_off, len);
	set_size(i, MAX(size_of(i), off + len));
	return true;
}

static bool do_setattr(struct model *m, struct redo_op *op, struct redo *log)
{
	size_t k = pick(m, WANT_ANY);
	uint32_t mask = (uint32_t)model_random(m, 512) & ~PLY_REDO_A_NLINK;
	struct redo_attr a = random_attr(m, (m->i[k].mode & S_IFMT) | (uint32_t)model_random(m, 07777));

	(void)log;
	if (!mask)
		return false;
	set_attr(m, op, k, mask, &a);
	return true;
}

static bool do_xattr(struct model *m, struct redo_op *op, struct redo *log)
{
	size_t k = pick(m, WANT_ANY), x = model_random(m, MODEL_XATTRS), len = model_random(m, 200);
	uint8_t fill = (uint8_t)model_random(m, 256), value[200];

	(void)log;
	if (model_random(m, 3) == 0) {
		redo_op_xattr_remove(op, ino_of(k), xattrs[x], strlen(xattrs[x]));
		m->i[k].xattr[x] = k < MODEL_LOWER;
		return true;
	}
	memset(value, fill, sizeof(value));
	redo_op_xattr_set(op, ino_of(k), xattrs[x], strlen(xattrs[x]), value, len);
	m->i[k].xattr[x] = (uint8_t)(len + 2);
	m->i[k].xattr_fill[x] = fill;
	return true;
}

static bool do_dead(struct model *m, struct redo_op *op, struct redo *log)
{
	(void)log;
	for (size_t k = 2; k < MODEL_INODES; k++) {
		if (m->i[k].dead || m->i[k].nlink)
			continue;
		redo_op_dead(op, ino_of(k));
		memset(&m->i[k], 0, sizeof(m->i[k]));
		m->i[k].dead = true;
		memset(m->i[k].kind, 'H', sizeof(m->i[k].kind));
		return true;
	}
	return false;
}

int model_step(struct model *m, struct redo *log, uint64_t *ret_lsn, struct ply_err *err)
{
	static bool (*const does[])(struct model * m, struct redo_op * op, struct redo * log) = {
		do_create, do_create, do_tmpfile,  do_link,  do_unlink, do_unlink, do_rename,  do_rename, do_write,
		do_write,  do_write,  do_truncate, do_punch, do_copy,   do_copy,   do_setattr, do_xattr,  do_dead,
	};
	struct model *next = malloc(sizeof(*next));
	struct redo_op op;
	int r = 1;

	if (!next)
		abort();
	*next = *m;
	redo_op_init(&op, 1 + model_random(next, 1000));
	if (does[model_random(next, ARRAY_SIZE(does))](next, &op, log))
		r = redo_append(log, &op, ret_lsn, err);
	m->rng = next->rng;
	if (r == 0)
		*m = *next;
	redo_op_done(&op);
	free(next);
	return r;
}

/* --- as text ----------------------------------------------------------------------------------------- */

static void text_attr(struct buf *out, size_t k, bool dead, uint32_t mask, const struct redo_attr *a)
{
	buf_printf(out, "inode %zu dead=%d mask=%x", k, dead, dead ? 0 : mask);
	if (dead)
		mask = 0;
#define P(bit, field) \
	if (mask & PLY_REDO_A_##bit) \
		buf_printf(out, " " #field "=%lld", (long long)a->field)
	P(MODE, mode);
	P(UID, uid);
	P(GID, gid);
	P(FLAGS, flags);
	P(NLINK, nlink);
	P(GENERATION, generation);
	P(ATIME, atime_sec);
	P(ATIME, atime_nsec);
	P(MTIME, mtime_sec);
	P(MTIME, mtime_nsec);
	P(CTIME, ctime_sec);
	P(CTIME, ctime_nsec);
	P(BTIME, btime_sec);
	P(BTIME, btime_nsec);
	P(PARENT, parent);
	P(RDEV, rdev_major);
	P(RDEV, rdev_minor);
	P(SIZE, size);
#undef P
	buf_printf(out, "\n");
}

static void text_runs(struct buf *out, const char *kind, const uint8_t *bytes)
{
	for (size_t at = 0, n; at < MODEL_BYTES; at += n) {
		for (n = 1; at + n < MODEL_BYTES && kind[at + n] == kind[at]; n++)
			;
		buf_printf(out, " %c%zu", kind[at], n);
	}
	buf_printf(out, " %016llx\n", (unsigned long long)xxh3(bytes, MODEL_BYTES, 0));
}

static void text_xattr(struct buf *out, size_t x, size_t len, uint8_t fill)
{
	buf_printf(out, " %s=%zu", xattrs[x], len);
	if (len)
		buf_printf(out, "*%02x", fill);
}

static void text_name(struct buf *out, const char *name, uint64_t ino, uint64_t cookie)
{
	buf_printf(out, " %s->%llx@%llx", name, (unsigned long long)ino, (unsigned long long)cookie);
}

void model_text(const struct model *m, struct buf *out)
{
	buf_printf(out, "next cookie %llx\n", (unsigned long long)PLY_INO(MODEL_NUMBER, m->next_cookie));
	for (size_t k = 0; k < MODEL_INODES; k++) {
		const struct model_inode *i = &m->i[k];
		uint64_t last = 0;

		text_attr(out, k, i->dead, i->mask, &i->attr);
		text_runs(out, i->kind, i->bytes);
		for (size_t x = 0; x < MODEL_XATTRS; x++) {
			if (i->xattr[x] == 1)
				buf_printf(out, " %s hidden", xattrs[x]);
			else if (i->xattr[x])
				text_xattr(out, x, i->xattr[x] - 2u, i->xattr_fill[x]);
		}
		for (size_t n = 0; n < MODEL_NAMES; n++) {
			if (i->names[n].ino)
				text_name(out, names[n], i->names[n].ino, i->names[n].cookie);
			else if (i->names[n].hides)
				buf_printf(out, " %s hidden", names[n]);
		}
		buf_printf(out, "\n%s list", i->target);
		for (size_t round = 0; round < MODEL_NAMES; round++) {
			const struct model_name *best = NULL;

			for (size_t n = 0; n < MODEL_NAMES; n++)
				if (i->names[n].ino && i->names[n].cookie > last &&
				    (!best || i->names[n].cookie < best->cookie))
					best = &i->names[n];
			if (!best)
				break;
			last = best->cookie;
			text_name(out, names[best - i->names], best->ino, best->cookie);
		}
		buf_printf(out, "\n");
	}
}

struct lister {
	struct buf *out;
	uint64_t stop_at, seen;    /* begin again behind each */
};

static int list_one(void *ctx, const struct redo_dirent *de)
{
	struct lister *l = ctx;
	char name[256];

	memcpy(name, de->name, de->len);
	name[de->len] = '\0';
	text_name(l->out, name, de->ino, de->cookie);
	l->seen = de->cookie;
	return 1;
}

static void log_content(struct redo *log, uint64_t ino, struct buf *out)
{
	static const char kinds[] = "?LHB";
	static _Thread_local uint8_t bytes[MODEL_BYTES];
	static _Thread_local char kind[MODEL_BYTES];
	struct ply_err err = { 0 };

	for (uint64_t at = 0; at < MODEL_BYTES;) {
		struct redo_range g;

		redo_range(log, ino, at, &g);
		memset(kind + at, kinds[g.kind], MIN(g.len, MODEL_BYTES - at));
		at += MIN(g.len, MODEL_BYTES - at);
	}
	if (redo_read(log, ino, 0, bytes, MODEL_BYTES, model_below, NULL, &err) < 0)
		buf_printf(out, "cannot be read: %s\n", ply_reason_name(err.reason));
	else
		text_runs(out, kind, bytes);
}

void model_log_text(struct redo *log, struct buf *out)
{
	struct redo_info info;

	redo_info(log, &info);
	buf_printf(out, "next cookie %llx\n", (unsigned long long)info.next_cookie);
	for (size_t k = 0; k < MODEL_INODES; k++) {
		uint64_t ino = ino_of(k);
		struct lister l = { .out = out };
		struct redo_inode i;
		char target[32] = "";
		ssize_t n;

		redo_inode(log, ino, &i);
		text_attr(out, k, i.dead, i.mask, &i.attr);
		log_content(log, ino, out);
		for (size_t x = 0; x < MODEL_XATTRS; x++) {
			uint8_t value[256];
			size_t len;
			enum redo_found f =
				redo_getxattr(log, ino, xattrs[x], strlen(xattrs[x]), value, sizeof(value), &len);

			if (f == REDO_HIDDEN)
				buf_printf(out, " %s hidden", xattrs[x]);
			else if (f == REDO_ADDED)
				text_xattr(out, x, len, value[0]);
		}
		for (size_t x = 0; x < MODEL_NAMES; x++) {
			struct redo_entry e;
			enum redo_found f = redo_lookup(log, ino, names[x], strlen(names[x]), &e);

			if (f == REDO_ADDED)
				text_name(out, names[x], e.ino, e.cookie);
			else if (f == REDO_HIDDEN)
				buf_printf(out, " %s hidden", names[x]);
		}
		n = redo_readlink(log, ino, target, sizeof(target) - 1);
		target[MAX(n, 0)] = '\0';
		buf_printf(out, "\n%s list", target);
		while (redo_readdir(log, ino, l.seen, list_one, &l))
			;
		buf_printf(out, "\n");
	}
}

static uint64_t digest(struct buf *text)
{
	uint64_t h = xxh3(text->data, text->len, 1);

	buf_done(text);
	return h;
}

uint64_t model_digest(const struct model *m)
{
	struct buf text = { 0 };

	model_text(m, &text);
	return digest(&text);
}

uint64_t model_log_digest(struct redo *log)
{
	struct buf text = { 0 };

	model_log_text(log, &text);
	return digest(&text);
}
