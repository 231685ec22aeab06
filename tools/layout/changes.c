/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a table of changes: see changes.h.
 *
 * A table that is believed decides what is taken out of a running system, so nothing in it is taken on trust: what a
 * version of plyfs would not write is damage, even where its checksum is right. What is encoded is checked by the same
 * code; what was decoded and is encoded again gives the same bytes.
 *
 * Rejected: paths without what they share with the row before (a third less, but a row cannot be read alone).
 */
#include "layout/changes.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "plyfs/disk.h"

struct ply_disk_changes {
	uint8_t magic[8];          /* +0x00 */
	le32 version;              /* +0x08 1 */
	le32 kind;                 /* +0x0c enum changes_kind */
	le64 length;               /* +0x10 of the whole file */
	uint8_t uuid[16];          /* +0x18 of the image */
	uint8_t catalog[32];       /* +0x28 */
	le64 generation;           /* +0x48 */
	le32 nnames;               /* +0x50 */
	le32 nrows;                /* +0x54 */
	le32 ndirs;                /* +0x58 */
	le32 image_len, names_len; /* +0x5c */
	le32 nrequires;            /* +0x64 */
	le32 nids;                 /* +0x68 */
};
_Static_assert(sizeof(struct ply_disk_changes) == 0x6c, "changes");

/* Its path follows, then the sides that its kind has. */
struct ply_disk_change {
	uint8_t kind, flags;
	le16 comp;
	le32 n;
	le16 path_len;
	le16 zero;
};
_Static_assert(sizeof(struct ply_disk_change) == 12, "change");

struct ply_disk_change_side {
	le32 mode, uid, gid;
	le32 mtime_nsec;
	le64 mtime_sec;            /* signed */
	le64 size;
	uint8_t digest[16], xattrs[16];
};
_Static_assert(sizeof(struct ply_disk_change_side) == 64, "side of a change");

struct ply_disk_change_part {
	le64 len;
	uint8_t digest[16];
};
_Static_assert(sizeof(struct ply_disk_change_part) == 24, "part of a change");

/* Its path follows. */
struct ply_disk_change_dir {
	le64 mtime_sec;            /* signed */
	le32 mtime_nsec;
	le16 path_len;
	le16 zero;
};
_Static_assert(sizeof(struct ply_disk_change_dir) == 16, "directory of changes");

/* Its name follows. */
struct ply_disk_change_id {
	uint8_t kind, flags;
	le16 name_len;
	le32 from, to;
};
_Static_assert(sizeof(struct ply_disk_change_id) == 12, "user or group of changes");
#define ID_LOST 1u

#define FLAGS (CHANGE_INSIDE | CHANGE_SHARED | CHANGE_PART | CHANGE_WINS | CHANGE_LOST)
#define STATE_PATH "var/lib/plyfs"
#define VERSION    2u
#define NSEC_MAX   999999999u
/* far more than are ever selected; what a row can name */
#define NAMES_MAX  CHANGE_COMP_NONE

void change_done(struct change *row)
{
	free(row->path);
	free(row->more);
}

int change_set_more(struct change *row, unsigned flags, const struct change_more *more)
{
	if (flags & (CHANGE_SHARED | CHANGE_PART) && !row->more && !(row->more = calloc(1, sizeof(*row->more))))
		return -ENOMEM;
	if (flags & CHANGE_SHARED)
		row->more->was = more->was;
	if (flags & CHANGE_PART) {
		row->more->own = more->own;
		row->more->first = more->first;
	}
	row->flags |= (uint8_t)flags;
	return 0;
}

void changes_done(struct changes *c)
{
	for (size_t i = 0; i < c->n; i++)
		change_done(&c->v[i]);
	for (size_t i = 0; i < c->nnames; i++)
		free(c->names[i]);
	for (size_t i = 0; i < c->nrequires; i++)
		free(c->requires[i]);
	for (size_t i = 0; i < c->ndirs; i++)
		free(c->dirs[i].path);
	for (size_t i = 0; i < c->nids; i++)
		free(c->ids[i].name);
	free(c->ids);
	free(c->v);
	free(c->names);
	free(c->requires);
	free(c->dirs);
	free(c->image);
	*c = (struct changes){ 0 };
}

/* --- adding and finding ------------------------------------------------------------------ */

int changes_add(struct changes *c, const struct change *row)
{
	struct change *to, copy = *row;

	copy.more = NULL;
	copy.path = NULL;
	if (array_grow(&c->v, &c->cap, c->n + 1, sizeof(*c->v)) < 0 || !(copy.path = strdup(row->path)) ||
	    (row->more && change_set_more(&copy, row->flags, row->more) < 0)) {
		change_done(&copy);
		return -ENOMEM;
	}
	to = &c->v[c->n];
	*to = copy;
	to->n = (uint32_t)c->n++;
	if (to->kind == CHANGE_KEEP)
		to->after = to->before;
	return 0;
}

int changes_add_name(struct changes *c, const char *name)
{
	char *copy;

	if (array_grow(&c->names, &c->names_cap, c->nnames + 1, sizeof(*c->names)) < 0 || !(copy = strdup(name)))
		return -ENOMEM;
	c->names[c->nnames++] = copy;
	return 0;
}

int changes_add_require(struct changes *c, const char *names)
{
	char *copy;

	if (array_grow(&c->requires, &c->requires_cap, c->nrequires + 1, sizeof(*c->requires)) < 0 || !(copy = strdup(names)))
		return -ENOMEM;
	c->requires[c->nrequires++] = copy;
	return 0;
}

int changes_add_id(struct changes *c, const struct change_id *id)
{
	char *name = NULL;

	if (array_grow(&c->ids, &c->ids_cap, c->nids + 1, sizeof(*c->ids)) < 0 || (id->name && !(name = strdup(id->name))))
		return -ENOMEM;
	c->ids[c->nids] = *id;
	c->ids[c->nids++].name = name;
	return 0;
}

int changes_add_dir(struct changes *c, const char *path, int64_t mtime_sec, uint32_t mtime_nsec)
{
	char *copy;

	/* who adds the directory of each row has most of them many times in a row */
	if (c->ndirs && !strcmp(c->dirs[c->ndirs - 1].path, path))
		return 0;
	if (array_grow(&c->dirs, &c->dirs_cap, c->ndirs + 1, sizeof(*c->dirs)) < 0 || !(copy = strdup(path)))
		return -ENOMEM;
	c->dirs[c->ndirs++] = (struct change_dir){ copy, mtime_sec, mtime_nsec };
	return 0;
}

static unsigned rank(char byte)
{
	return byte == '/' ? 1 : byte ? (unsigned char)byte + 1u : 0;
}

int changes_compare(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (rank(*a) > rank(*b)) - (rank(*a) < rank(*b));
}

bool changes_within(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return !len || (!strncmp(path, dir, len) && (!path[len] || path[len] == '/'));
}

static int by_path(const void *a, const void *b)
{
	return changes_compare(((const struct change *)a)->path, ((const struct change *)b)->path);
}

static int by_path_and_time(const void *a, const void *b)
{
	const struct change_dir *x = a, *y = b;
	int r = changes_compare(x->path, y->path);

	if (!r)
		r = (x->mtime_sec > y->mtime_sec) - (x->mtime_sec < y->mtime_sec);
	return r ? r : (x->mtime_nsec > y->mtime_nsec) - (x->mtime_nsec < y->mtime_nsec);
}

void changes_sort(struct changes *c)
{
	size_t n = 0;

	if (c->n)
		qsort(c->v, c->n, sizeof(*c->v), by_path);
	if (c->ndirs)
		qsort(c->dirs, c->ndirs, sizeof(*c->dirs), by_path_and_time);
	for (size_t i = 0; i < c->ndirs; i++) {
		if (n && !strcmp(c->dirs[n - 1].path, c->dirs[i].path))
			free(c->dirs[i].path);
		else
			c->dirs[n++] = c->dirs[i];
	}
	c->ndirs = n;
}

const struct change *changes_find(const struct changes *c, const char *path)
{
	struct change key = { .path = (char *)path };

	return c->n ? bsearch(&key, c->v, c->n, sizeof(*c->v), by_path) : NULL;
}

/* --- checking ------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

static bool path_is_sound(const char *path)
{
	if (strlen(path) > CHANGE_PATH_MAX)
		return false;
	for (const char *at = path;; at++) {
		size_t len = strcspn(at, "/");

		if (!len || len > PLY_NAME_MAX || (len == 1 && *at == '.') || (len == 2 && !memcmp(at, "..", 2)))
			return false;
		at += len;
		if (!*at)
			return true;
	}
}

static bool side_is_sound(const struct change_side *s)
{
	mode_t type = s->mode & S_IFMT;
	bool has_digest = type == S_IFREG || type == S_IFLNK;
	bool has_size = type == S_IFREG || type == S_IFCHR || type == S_IFBLK;

	if (!s->mode)
		return !s->uid && !s->gid && !s->size && !s->mtime_sec && !s->mtime_nsec &&
		       is_zero(s->digest, sizeof(s->digest)) && is_zero(s->xattrs, sizeof(s->xattrs));
	if (s->mode & ~(uint32_t)(S_IFMT | 07777) || s->mtime_nsec > NSEC_MAX)
		return false;
	if (!has_size && type != S_IFDIR && type != S_IFLNK && type != S_IFIFO && type != S_IFSOCK)
		return false;
	if (type == S_IFLNK && s->mode != (S_IFLNK | 0777))
		return false;
	return (has_size || !s->size) && (has_digest || is_zero(s->digest, sizeof(s->digest)));
}

bool change_is_unknown(const uint8_t digest[16])
{
	for (size_t i = 0; i < 16; i++)
		if (digest[i] != CHANGE_UNKNOWN)
			return false;
	return true;
}

static bool same_digest(const uint8_t a[16], const uint8_t b[16])
{
	return !memcmp(a, b, 16) || change_is_unknown(a) || change_is_unknown(b);
}

/* All but who owns it, and who may do what. */
static bool same_thing(const struct change_side *a, const struct change_side *b)
{
	return (a->mode & S_IFMT) == (b->mode & S_IFMT) && a->size == b->size &&
	       (S_ISDIR(a->mode) || (a->mtime_sec == b->mtime_sec && a->mtime_nsec == b->mtime_nsec)) &&
	       same_digest(a->digest, b->digest) && same_digest(a->xattrs, b->xattrs);
}

static bool same_owner_and_mode(const struct change_side *a, const struct change_side *b)
{
	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;
}

bool change_same(const struct change_side *a, const struct change_side *b)
{
	return same_owner_and_mode(a, b) && same_thing(a, b);
}

bool change_same_but_time(const struct change_side *a, const struct change_side *b)
{
	struct change_side t = *a;

	t.mtime_sec = b->mtime_sec;
	t.mtime_nsec = b->mtime_nsec;
	return S_ISREG(b->mode) && !change_is_unknown(a->digest) && !change_is_unknown(b->digest) && change_same(&t, b);
}

bool change_moves_attrs(const struct change *row)
{
	return row->kind == CHANGE_META && S_ISDIR(row->before.mode) && S_ISDIR(row->after.mode) &&
	       !same_digest(row->before.xattrs, row->after.xattrs);
}

bool change_same_attr(const struct change_side *a, const struct change_side *b, enum change_attr attr)
{
	if (attr == CHANGE_MODE)
		return a->mode == b->mode;
	return attr == CHANGE_OWNER ? a->uid == b->uid && a->gid == b->gid : same_digest(a->xattrs, b->xattrs);
}

void change_take_attr(struct change_side *to, const struct change_side *from, enum change_attr attr)
{
	if (attr == CHANGE_MODE) {
		to->mode = from->mode;
	} else if (attr == CHANGE_OWNER) {
		to->uid = from->uid;
		to->gid = from->gid;
	} else {
		memcpy(to->xattrs, from->xattrs, sizeof(to->xattrs));
	}
}

bool change_has_attr(const struct change *row, enum change_attr attr)
{
	if ((row->kind != CHANGE_META && row->kind != CHANGE_KEEP) || !S_ISDIR(row->after.mode) || row->flags & CHANGE_LOST)
		return false;
	return !change_same_attr(&row->before, &row->after, attr) ||
	       (row->flags & CHANGE_SHARED && !change_same_attr(&row->more->was, &row->after, attr));
}

static const char *bad_sides(const struct change *row)
{
	const struct change_side *b = &row->before, *a = &row->after;
	bool ok = false;

	if (!side_is_sound(b) || !side_is_sound(a))
		return "tells of what there cannot be";
	switch (row->kind) {
	case CHANGE_MAKE:
		ok = !b->mode && a->mode;
		break;
	case CHANGE_SWAP:
		ok = b->mode && a->mode && !S_ISDIR(b->mode) && !S_ISDIR(a->mode) && !change_same(b, a);
		break;
	case CHANGE_OUT:
		ok = b->mode && !a->mode;
		break;
	case CHANGE_META:
		ok = b->mode && (same_thing(b, a) || change_moves_attrs(row)) && !change_same(b, a);
		break;
	case CHANGE_KEEP:
		ok = b->mode && change_same(b, a);
		break;
	default:
		return "has a kind that this version does not know";
	}
	return ok ? NULL : "has a before and after that are not of its kind";
}

/* @above: the nearest row that its path is below, NULL: none. */
static const char *bad_place(const struct change *row, const struct change *above)
{
	bool inside = row->flags & CHANGE_INSIDE, shared = row->flags & CHANGE_SHARED;

	if (!above)
		return inside ? "comes along with a directory that is not there" : NULL;
	switch (above->kind) {
	case CHANGE_MAKE:
		/* others make the directory too, and what is shared is there with them */
		if (!S_ISDIR(above->after.mode) || (row->kind == CHANGE_MAKE ? !inside : inside || !shared) ||
		    strchr(row->path + strlen(above->path) + 1, '/'))
			return "is below what is made, and does not come along with it";
		return NULL;
	case CHANGE_OUT:
		if (row->kind != CHANGE_OUT)
			return "is below what goes, and stays";
		break;
	}
	if (!S_ISDIR(above->before.mode))
		return "is below what is no directory";
	return inside ? "comes along with a directory that is there already" : NULL;
}

/* That stays, and is the component's, too. */
static bool is_directory(const struct change *row)
{
	return (row->kind == CHANGE_META || row->kind == CHANGE_KEEP) && S_ISDIR(row->before.mode) && !(row->flags & CHANGE_LOST);
}

static bool more_is_sound(const struct change *row)
{
	const struct change_more *m = row->more;
	const struct change_side *in_place = row->kind == CHANGE_KEEP ? &row->before : &row->after;

	if (row->flags & CHANGE_SHARED && (!side_is_sound(&m->was) || S_ISDIR(m->was.mode) != is_directory(row)))
		return false;
	return !(row->flags & CHANGE_PART) || (S_ISREG(in_place->mode) && m->own.len && m->own.len <= in_place->size);
}

static const char *bad_row(const struct changes *c, const struct change *row, uint8_t *seen)
{
	const char *what = bad_sides(row);

	if (what)
		return what;
	if (!path_is_sound(row->path))
		return "has a path that is none";
	if (changes_within(row->path, STATE_PATH))
		return "is about the state of the layout itself";
	if (row->flags & ~FLAGS)
		return "has flags that this version does not know";
	if (!!row->more != !!(row->flags & (CHANGE_SHARED | CHANGE_PART)) || (row->more && !more_is_sound(row)))
		return "has parts, or something before all others, that there cannot be";
	if (row->comp != CHANGE_COMP_NONE && row->comp >= c->nnames)
		return "is of a component that is not named";
	if (row->n >= c->n || seen[row->n / 8] >> row->n % 8 & 1)
		return "has a number that another has";
	seen[row->n / 8] |= (uint8_t)(1u << row->n % 8);
	return NULL;
}

static int bad(struct ply_err *err, const char *what)
{
	return ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "%s", what);
}

static int bad_path(struct ply_err *err, const char *path, const char *what)
{
	char text[512];

	escape_name_to(path, strlen(path), text, sizeof(text));
	return ply_fail(err, -EUCLEAN, PLY_R_STATE_DAMAGED, "/%s: %s", text, what);
}

/* Rows that the next ones may be below, by their index; each is below the one before it. */
struct above {
	size_t *v, n, cap;
};

static int check_rows(const struct changes *c, uint8_t *seen, struct above *above, struct ply_err *err)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct change *row = &c->v[i];
		const char *what = bad_row(c, row, seen);

		if (!what && i && changes_compare(c->v[i - 1].path, row->path) >= 0)
			what = "is out of its order";
		while (above->n && !changes_within(row->path, c->v[above->v[above->n - 1]].path))
			above->n--;
		if (!what)
			what = bad_place(row, above->n ? &c->v[above->v[above->n - 1]] : NULL);
		if (what)
			return bad_path(err, row->path, what);
		if (array_grow(&above->v, &above->cap, above->n + 1, sizeof(*above->v)) < 0)
			return ply_fail_nomem(err);
		above->v[above->n++] = i;
	}
	return 0;
}

static int check_dirs(const struct changes *c, struct ply_err *err)
{
	for (size_t i = 0; i < c->ndirs; i++) {
		const struct change_dir *d = &c->dirs[i];
		const struct change *row = changes_find(c, d->path);

		if ((*d->path && !path_is_sound(d->path)) || d->mtime_nsec > NSEC_MAX)
			return bad_path(err, d->path, "is no directory with a time");
		if (i && changes_compare(c->dirs[i - 1].path, d->path) >= 0)
			return bad_path(err, d->path, "is out of its order among the directories");
		if (row && !S_ISDIR(row->before.mode))
			return bad_path(err, d->path, "is said to be a directory, and its row says other");
	}
	return 0;
}

static int check_ids(const struct changes *c, struct ply_err *err)
{
	for (size_t i = 0; i < c->nids; i++) {
		const struct change_id *id = &c->ids[i], *last = i ? id - 1 : NULL;
		bool named = id->name && *id->name && strlen(id->name) <= CHANGE_ID_NAME_MAX;

		if (id->kind > 1 || named == id->lost || (id->lost && (id->to || !id->from)))
			return bad(err, "has a user or group that is neither of a name nor root's");
		if (last && (last->kind > id->kind || (last->kind == id->kind && last->from >= id->from)))
			return bad(err, "has users and groups out of their order");
	}
	return 0;
}

int changes_check(const struct changes *c, struct ply_err *err)
{
	_cleanup_free_ uint8_t *seen = calloc(1, c->n / 8 + 1);
	struct above above = { 0 };
	int r;

	if (!seen)
		return ply_fail_nomem(err);
	if (c->kind != CHANGES_ADD && c->kind != CHANGES_REMOVE)
		return bad(err, "is of a kind that this version does not know");
	if (c->nnames > NAMES_MAX || c->nrequires > NAMES_MAX || c->n > UINT32_MAX || c->ndirs > UINT32_MAX ||
	    c->nids > UINT32_MAX)
		return bad(err, "has more names, rows or directories than a table can");
	for (size_t i = 0; i < c->nnames; i++)
		if (!*c->names[i])
			return bad(err, "has a component without a name");
	for (size_t i = 0; i < c->nrequires; i++)
		if (!*c->requires[i])
			return bad(err, "requires a component without a name");
	r = check_rows(c, seen, &above, err);
	free(above.v);
	if (r == 0)
		r = check_dirs(c, err);
	return r < 0 ? r : check_ids(c, err);
}

/* --- encoding ------------------------------------------------------------------------------ */

static int put_side(struct buf *out, const struct change_side *s)
{
	struct ply_disk_change_side d = {
		.mode = le32_put(s->mode), .uid = le32_put(s->uid), .gid = le32_put(s->gid),
		.mtime_nsec = le32_put(s->mtime_nsec), .mtime_sec = le64_put((uint64_t)s->mtime_sec),
		.size = le64_put(s->size),
	};

	memcpy(d.digest, s->digest, sizeof(d.digest));
	memcpy(d.xattrs, s->xattrs, sizeof(d.xattrs));
	return buf_add(out, &d, sizeof(d));
}

static bool has_before(unsigned kind)
{
	return kind != CHANGE_MAKE;
}

static bool has_after(unsigned kind)
{
	return kind != CHANGE_OUT && kind != CHANGE_KEEP;
}

static int put_part(struct buf *out, const struct change_part *part)
{
	struct ply_disk_change_part d = { .len = le64_put(part->len) };

	memcpy(d.digest, part->digest, sizeof(d.digest));
	return buf_add(out, &d, sizeof(d));
}

static int put_row(struct buf *out, const struct change *row)
{
	size_t len = strlen(row->path);
	const struct ply_disk_change d = {
		.kind = row->kind, .flags = row->flags, .comp = le16_put(row->comp), .n = le32_put(row->n),
		.path_len = le16_put((uint16_t)len),
	};
	int r = buf_add(out, &d, sizeof(d));

	if (r == 0)
		r = buf_add(out, row->path, len);
	if (r == 0 && has_before(row->kind))
		r = put_side(out, &row->before);
	if (r == 0 && has_after(row->kind))
		r = put_side(out, &row->after);
	if (r == 0 && row->flags & CHANGE_SHARED)
		r = put_side(out, &row->more->was);
	if (r == 0 && row->flags & CHANGE_PART)
		r = put_part(out, &row->more->own);
	if (r == 0 && row->flags & CHANGE_PART)
		r = put_part(out, &row->more->first);
	return r;
}

static int put_dir(struct buf *out, const struct change_dir *dir)
{
	size_t len = strlen(dir->path);
	const struct ply_disk_change_dir d = {
		.mtime_sec = le64_put((uint64_t)dir->mtime_sec), .mtime_nsec = le32_put(dir->mtime_nsec),
		.path_len = le16_put((uint16_t)len),
	};
	int r = buf_add(out, &d, sizeof(d));

	return r < 0 || !len ? r : buf_add(out, dir->path, len);
}

static int put_id(struct buf *out, const struct change_id *id)
{
	size_t len = id->name ? strlen(id->name) : 0;
	const struct ply_disk_change_id d = {
		.kind = id->kind, .flags = id->lost ? ID_LOST : 0, .name_len = le16_put((uint16_t)len),
		.from = le32_put(id->from), .to = le32_put(id->to),
	};
	int r = buf_add(out, &d, sizeof(d));

	return r < 0 || !len ? r : buf_add(out, id->name, len);
}

static int put_all(struct buf *out, const struct changes *c, const char *image)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++)
		r = put_row(out, &c->v[i]);
	for (size_t i = 0; r == 0 && i < c->ndirs; i++)
		r = put_dir(out, &c->dirs[i]);
	for (size_t i = 0; r == 0 && i < c->nids; i++)
		r = put_id(out, &c->ids[i]);
	if (r == 0 && *image)
		r = buf_add(out, image, strlen(image));
	for (size_t i = 0; r == 0 && i < c->nnames; i++)
		r = buf_add(out, c->names[i], strlen(c->names[i]) + 1);
	for (size_t i = 0; r == 0 && i < c->nrequires; i++)
		r = buf_add(out, c->requires[i], strlen(c->requires[i]) + 1);
	return r;
}

static void fill_head(const struct changes *c, const char *image, struct ply_disk_changes *d)
{
	uint64_t names_len = 0;

	for (size_t i = 0; i < c->nnames; i++)
		names_len += strlen(c->names[i]) + 1;
	for (size_t i = 0; i < c->nrequires; i++)
		names_len += strlen(c->requires[i]) + 1;
	*d = (struct ply_disk_changes){
		.version = le32_put(VERSION), .kind = le32_put(c->kind), .generation = le64_put(c->generation),
		.nnames = le32_put((uint32_t)c->nnames), .nrows = le32_put((uint32_t)c->n),
		.ndirs = le32_put((uint32_t)c->ndirs), .image_len = le32_put((uint32_t)strlen(image)),
		.names_len = le32_put((uint32_t)names_len), .nrequires = le32_put((uint32_t)c->nrequires),
		.nids = le32_put((uint32_t)c->nids),
	};
	memcpy(d->magic, CHANGES_MAGIC, sizeof(d->magic));
	memcpy(d->uuid, c->uuid, sizeof(d->uuid));
	memcpy(d->catalog, c->catalog, sizeof(d->catalog));
}

int changes_encode(struct changes *c, struct buf *out, struct ply_err *err)
{
	const char *image = c->image ? c->image : "";
	struct ply_disk_changes head;
	le64 sum;
	int r = changes_check(c, err);

	if (r < 0)
		return r;
	fill_head(c, image, &head);
	r = buf_add(out, &head, sizeof(head));
	if (r == 0)
		r = put_all(out, c, image);
	if (r < 0)
		return ply_fail_nomem(err);
	if (out->len > CHANGES_MAX - sizeof(sum))
		return ply_fail(err, -EFBIG, PLY_R_LIMIT,
				"more is to be changed than one table holds; add or remove fewer components at a time");
	head.length = le64_put(out->len + sizeof(sum));
	memcpy(out->data + offsetof(struct ply_disk_changes, length), &head.length, sizeof(head.length));
	sum = le64_put(xxh3(out->data, out->len, 0));
	if (buf_add(out, &sum, sizeof(sum)) < 0 || sha256_once(out->data, out->len, c->digest) < 0)
		return ply_fail_nomem(err);
	return 0;
}

/* --- decoding ------------------------------------------------------------------------------ */

struct in {
	const uint8_t *at;
	size_t left;
};

static bool take(struct in *in, void *out, size_t len)
{
	if (in->left < len)
		return false;
	memcpy(out, in->at, len);
	in->at += len;
	in->left -= len;
	return true;
}

/* A copy with a NUL behind; -EUCLEAN where one is in it. */
static int take_text(struct in *in, size_t len, char **ret)
{
	char *text;

	if (in->left < len || memchr(in->at, 0, len))
		return -EUCLEAN;
	text = malloc(len + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, in->at, len);
	text[len] = '\0';
	in->at += len;
	in->left -= len;
	*ret = text;
	return 0;
}

static bool take_side(struct in *in, struct change_side *s)
{
	struct ply_disk_change_side d;

	if (!take(in, &d, sizeof(d)))
		return false;
	*s = (struct change_side){
		.mode = le32_get(d.mode), .uid = le32_get(d.uid), .gid = le32_get(d.gid), .size = le64_get(d.size),
		.mtime_sec = (int64_t)le64_get(d.mtime_sec), .mtime_nsec = le32_get(d.mtime_nsec),
	};
	memcpy(s->digest, d.digest, sizeof(s->digest));
	memcpy(s->xattrs, d.xattrs, sizeof(s->xattrs));
	return true;
}

static bool take_part(struct in *in, struct change_part *part)
{
	struct ply_disk_change_part d;

	if (!take(in, &d, sizeof(d)))
		return false;
	part->len = le64_get(d.len);
	memcpy(part->digest, d.digest, sizeof(part->digest));
	return true;
}

static int take_more(struct in *in, struct change *row)
{
	struct change_more more = { 0 };

	if (!(row->flags & (CHANGE_SHARED | CHANGE_PART)))
		return 0;
	if (row->flags & CHANGE_SHARED && !take_side(in, &more.was))
		return -EUCLEAN;
	if (row->flags & CHANGE_PART && (!take_part(in, &more.own) || !take_part(in, &more.first)))
		return -EUCLEAN;
	return change_set_more(row, row->flags, &more);
}

static int take_row(struct in *in, struct changes *c)
{
	struct change *row = &c->v[c->n];
	struct ply_disk_change d;
	int r;

	if (!take(in, &d, sizeof(d)) || le16_get(d.zero))
		return -EUCLEAN;
	*row = (struct change){ .kind = d.kind, .flags = d.flags, .comp = le16_get(d.comp), .n = le32_get(d.n) };
	r = take_text(in, le16_get(d.path_len), &row->path);
	if (r < 0)
		return r;
	c->n++;
	if ((has_before(d.kind) && !take_side(in, &row->before)) || (has_after(d.kind) && !take_side(in, &row->after)))
		return -EUCLEAN;
	if (d.kind == CHANGE_KEEP)
		row->after = row->before;
	return take_more(in, row);
}

static int take_dir(struct in *in, struct changes *c)
{
	struct change_dir *dir = &c->dirs[c->ndirs];
	struct ply_disk_change_dir d;
	int r;

	if (!take(in, &d, sizeof(d)) || le16_get(d.zero))
		return -EUCLEAN;
	*dir = (struct change_dir){ .mtime_sec = (int64_t)le64_get(d.mtime_sec), .mtime_nsec = le32_get(d.mtime_nsec) };
	r = take_text(in, le16_get(d.path_len), &dir->path);
	if (r == 0)
		c->ndirs++;
	return r;
}

static int take_id(struct in *in, struct changes *c)
{
	struct change_id *id = &c->ids[c->nids];
	struct ply_disk_change_id d;
	int r = 0;

	if (!take(in, &d, sizeof(d)) || d.flags & ~ID_LOST)
		return -EUCLEAN;
	*id = (struct change_id){ .kind = d.kind, .lost = d.flags & ID_LOST, .from = le32_get(d.from), .to = le32_get(d.to) };
	if (le16_get(d.name_len))
		r = take_text(in, le16_get(d.name_len), &id->name);
	if (r == 0)
		c->nids++;
	return r;
}

/* Into @v[*n], which is counted. */
static int take_name(struct in *in, char **v, size_t *n)
{
	const uint8_t *end = memchr(in->at, 0, in->left);
	uint8_t nul;
	int r;

	if (!end)
		return -EUCLEAN;
	r = take_text(in, (size_t)(end - in->at), &v[*n]);
	if (r == 0) {
		++*n;
		take(in, &nul, 1);
	}
	return r;
}

/* Everything between the head and the checksum. */
static int take_all(struct in *in, const struct ply_disk_changes *d, struct changes *c)
{
	size_t nrows = le32_get(d->nrows), ndirs = le32_get(d->ndirs), nnames = le32_get(d->nnames);
	size_t nrequires = le32_get(d->nrequires), nids = le32_get(d->nids);
	int r = 0;

	/* before memory is asked for: each takes some bytes */
	if (nrows > in->left / sizeof(struct ply_disk_change) ||
	    ndirs > in->left / sizeof(struct ply_disk_change_dir) ||
	    nids > in->left / sizeof(struct ply_disk_change_id) || nnames > NAMES_MAX || nrequires > NAMES_MAX)
		return -EUCLEAN;
	if (array_grow(&c->v, &c->cap, nrows + 1, sizeof(*c->v)) < 0 ||
	    array_grow(&c->dirs, &c->dirs_cap, ndirs + 1, sizeof(*c->dirs)) < 0 ||
	    array_grow(&c->ids, &c->ids_cap, nids + 1, sizeof(*c->ids)) < 0 ||
	    array_grow(&c->names, &c->names_cap, nnames + 1, sizeof(*c->names)) < 0 ||
	    array_grow(&c->requires, &c->requires_cap, nrequires + 1, sizeof(*c->requires)) < 0)
		return -ENOMEM;
	while (r == 0 && c->n < nrows)
		r = take_row(in, c);
	while (r == 0 && c->ndirs < ndirs)
		r = take_dir(in, c);
	while (r == 0 && c->nids < nids)
		r = take_id(in, c);
	if (r == 0)
		r = take_text(in, le32_get(d->image_len), &c->image);
	if (r == 0 && in->left != le32_get(d->names_len))
		r = -EUCLEAN;
	while (r == 0 && c->nnames < nnames)
		r = take_name(in, c->names, &c->nnames);
	while (r == 0 && c->nrequires < nrequires)
		r = take_name(in, c->requires, &c->nrequires);
	return r == 0 && in->left ? -EUCLEAN : r;
}

static int decode(const uint8_t *bytes, size_t len, struct changes *c, struct ply_err *err)
{
	struct in in = { bytes, len };
	struct ply_disk_changes d;
	le64 sum;
	int r;

	if (len < sizeof(d) + sizeof(sum) || len > CHANGES_MAX || memcmp(bytes, CHANGES_MAGIC, sizeof(d.magic)) != 0)
		return bad(err, "is no table of changes");
	take(&in, &d, sizeof(d));
	if (le32_get(d.version) != VERSION)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_STATE_DAMAGED, "is of another version of plyfs");
	memcpy(&sum, bytes + len - sizeof(sum), sizeof(sum));
	if (le64_get(sum) != xxh3(bytes, len - sizeof(sum), 0))
		return ply_fail(err, -EBADMSG, PLY_R_STATE_DAMAGED, "has another checksum");
	if (le64_get(d.length) != len)
		return bad(err, "has another length");
	in.left -= sizeof(sum);
	c->kind = (enum changes_kind)le32_get(d.kind);
	c->generation = le64_get(d.generation);
	memcpy(c->uuid, d.uuid, sizeof(c->uuid));
	memcpy(c->catalog, d.catalog, sizeof(c->catalog));
	r = take_all(&in, &d, c);
	if (r == -ENOMEM || sha256_once(bytes, len, c->digest) < 0)
		return ply_fail_nomem(err);
	if (r < 0)
		return bad(err, "has rows, directories or names that do not fill it");
	return changes_check(c, err);
}

int changes_decode(const uint8_t *bytes, size_t len, struct changes *ret, struct ply_err *err)
{
	struct changes c = { 0 };
	int r = decode(bytes, len, &c, err);

	if (r < 0)
		changes_done(&c);
	else
		*ret = c;
	return r;
}
