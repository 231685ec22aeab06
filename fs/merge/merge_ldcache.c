/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driver "ldcache": /etc/ld.so.cache, which names the shared libraries of the machine. It is cut
 * and put together again, not made by ldconfig: no program of the target is run, and the result for
 * all components is the captured file.
 *
 * The file (glibc 2.2 and later, format 1.1; integers little-endian, offsets from its beginning):
 *
 *   +0   header 48     magic 20, nlibs u32, len_strings u32, flags u8 (0, or 2: little-endian), 3 zero,
 *                      extension u32 (0: none), 12 unused
 *   +48  nlibs entries flags i32, key u32, value u32, osversion u32, hwcap u64; sorted by key
 *        strings       len_strings bytes; NUL-terminated; a string that ends another one is
 *                      a place in it: the key `libz.so.1` in the value `/lib/libz.so.1`
 *        extension     at a multiple of 4: magic u32, count u32, count times (tag u32, flags u32, offset u32,
 *                      size u32), and what those point at, to the end of the file. Tag 0: who
 *                      made it, text. Tag 1: names of glibc-hwcaps folders, offsets of strings, u32
 *
 * Records, by their first byte; what is counted or is an offset in the file is left out of them:
 *
 *   'H'  flags and unused bytes of the header
 *   'E'  flags, osversion, hwcap, key u32, value u32 (pieces of strings)
 *   'S'  number u32, bytes: a piece of the strings
 *   'X'  the extension, with offsets from its own beginning, and numbers of pieces in place of offsets of
 *        strings
 *
 * Strings are cut wherever an entry points into one. A piece is needed by those that point at its beginning
 * or before it in the same string; so a path that ends in a name which another component's library has too is
 * left out alone. An entry belongs to whom the path that it leads to belongs to. Removing entries keeps
 * their order, in which ld.so searches.
 *
 * The old format, big-endian ones and unknown extensions stay whole. Pieces may be hostile: render() checks
 * every number.
 *
 * Reference: glibc, sysdeps/generic/dl-cache.h, elf/cache.c.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/util.h"
#include "merge/drivers.h"
#include "merge/items.h"
#include "merge/ldcache.h"
#include "merge/parse.h"
#include "plyfs/disk.h"

#define MAGIC     "glibc-ld.so.cache1.1"
#define EXT_MAGIC 0xEAA42174u
#define EXT_TEXT  0u
#define EXT_HWCAP 1u
#define EXT_MAX   16u              /* sections of an extension; glibc knows two */

struct disk_head {
	char magic[20];
	le32 nlibs, len_strings;
	uint8_t flags, zero[3];
	le32 extension;
	uint8_t unused[12];
};
_Static_assert(sizeof(struct disk_head) == 48, "the header");

struct disk_entry {
	le32 flags, key, value, osversion;
	le64 hwcap;
};
_Static_assert(sizeof(struct disk_entry) == 24, "an entry");

struct disk_ext {
	le32 magic, count;
};

struct disk_section {
	le32 tag, flags, offset, size;
};

struct rec_head {
	uint8_t type, flags, unused[12];
};

struct rec_entry {
	uint8_t type;
	le32 flags, osversion;
	le64 hwcap;
	le32 key, value;
};
_Static_assert(sizeof(struct rec_entry) == 25, "no padding in records");

struct rec_string {
	uint8_t type;
	le32 number;
};

static uint32_t get32(const uint8_t *p)
{
	le32 v;

	memcpy(&v, p, sizeof(v));
	return le32_get(v);
}

static void put32(uint8_t *p, uint32_t value)
{
	le32 v = le32_put(value);

	memcpy(p, &v, sizeof(v));
}

static int bad(struct ply_err *err, const char *what)
{
	return ply_fail(err, -EUCLEAN, PLY_R_MERGE_CACHE, "a cache of shared libraries: %s", what);
}

/* --- the extension ------------------------------------------------------------------- */

/* Called for each u32 that means a string; it may be changed. */
typedef int number_fn(void *ctx, uint8_t *at);

/* Go through an extension of @len bytes. It stands at @base of the file from whose beginning its
 * offsets count; they are changed to be right where it stands at @new_base. */
static int walk_extension(uint8_t *ext, size_t len, uint32_t base, uint32_t new_base, number_fn *number,
			  void *ctx, struct ply_err *err)
{
	struct disk_section s;
	size_t head, left;
	uint32_t count;
	int r = 0;

	if (len < sizeof(struct disk_ext) || get32(ext) != EXT_MAGIC)
		return bad(err, "an unknown extension");
	count = get32(ext + 4);
	head = sizeof(struct disk_ext) + (size_t)count * sizeof(s);
	if (count > EXT_MAX || head > len)
		return bad(err, "an extension of too many sections");
	left = len - head;
	for (uint32_t i = 0; r == 0 && i < count; i++) {
		uint8_t *at = ext + sizeof(struct disk_ext) + i * sizeof(s);
		uint32_t off, size;

		memcpy(&s, at, sizeof(s));
		off = le32_get(s.offset) - base;
		size = le32_get(s.size);
		if (le32_get(s.offset) < base || off < head || off > len || size > len - off)
			return bad(err, "a section of the extension that is not in it");
		if (size > left)           /* sixteen of them must not be the same 32 MiB */
			return bad(err, "sections of the extension that overlap");
		left -= size;
		if (le32_get(s.tag) > EXT_HWCAP || le32_get(s.flags) ||
		    (le32_get(s.tag) == EXT_HWCAP && (size % 4 || off % 4)))
			return bad(err, "an unknown section of the extension");
		put32(at + offsetof(struct disk_section, offset), off + new_base);
		for (uint32_t k = 0; r == 0 && le32_get(s.tag) == EXT_HWCAP && k < size; k += 4)
			r = number(ctx, ext + off + k);
	}
	return r;
}

/* --- cutting ------------------------------------------------------------------- */

struct cut {
	const uint8_t *text;
	size_t len;
	uint32_t nlibs, strings, strings_end;
	uint32_t extension;        /* the length of the file where there is none */
	/* The pieces: where each begins, ascending, and who needs it. */
	uint32_t *starts, *conds;
	size_t n, cap;
	struct ply_err *err;
};

static void cut_done(struct cut *c)
{
	free(c->starts);
	free(c->conds);
}

static int parse_head(struct cut *c)
{
	struct disk_head h;
	size_t at;

	if (c->len < sizeof(h))
		return bad(c->err, "shorter than its header");
	memcpy(&h, c->text, sizeof(h));
	c->nlibs = le32_get(h.nlibs);
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)))
		return bad(c->err, "not of format 1.1");
	if ((h.flags && h.flags != 2) || h.zero[0] || h.zero[1] || h.zero[2])
		return bad(c->err, "unknown flags");
	at = sizeof(h) + (size_t)c->nlibs * sizeof(struct disk_entry);
	if (at > c->len || le32_get(h.len_strings) > c->len - at)
		return bad(c->err, "longer than its file");
	c->strings = (uint32_t)at;
	c->strings_end = c->strings + le32_get(h.len_strings);
	c->extension = le32_get(h.extension);
	at = c->extension ? (size_t)align_up(c->strings_end, 4) : c->strings_end;
	if (c->extension ? c->extension != at || at > c->len : at != c->len)
		return bad(c->err, "something between its strings and its extension, or behind them");
	for (size_t i = c->strings_end; i < at; i++)
		if (c->text[i])
			return bad(c->err, "padding that is not zero");
	c->extension = (uint32_t)at;
	if (c->strings_end > c->strings && c->text[c->strings_end - 1])
		return bad(c->err, "a string that nothing ends");
	return 0;
}

static struct disk_entry entry_at(const struct cut *c, uint32_t i)
{
	struct disk_entry e;

	memcpy(&e, c->text + sizeof(struct disk_head) + (size_t)i * sizeof(e), sizeof(e));
	return e;
}

static int add_start(struct cut *c, uint32_t at)
{
	if (at < c->strings || at >= c->strings_end)
		return bad(c->err, "a string that is not in it");
	if (array_grow(&c->starts, &c->cap, c->n + 1, sizeof(*c->starts)) < 0)
		return -ENOMEM;
	c->starts[c->n++] = at;
	return 0;
}

static int add_start_at(void *ctx, uint8_t *at)
{
	return add_start(ctx, get32(at));
}

static int compare_u32(const void *pa, const void *pb)
{
	uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;

	return (a > b) - (a < b);
}

/* Where strings begin, and where somebody points. */
static int find_starts(struct cut *c, uint8_t *ext, size_t ext_len)
{
	size_t kept = 0;
	int r = 0;

	for (uint32_t at = c->strings; r == 0 && at < c->strings_end; at++)
		if (at == c->strings || !c->text[at - 1])
			r = add_start(c, at);
	for (uint32_t i = 0; r == 0 && i < c->nlibs; i++) {
		struct disk_entry e = entry_at(c, i);

		r = add_start(c, le32_get(e.key));
		if (r == 0)
			r = add_start(c, le32_get(e.value));
	}
	if (r == 0 && ext_len)
		r = walk_extension(ext, ext_len, c->extension, c->extension, add_start_at, c, c->err);
	if (r < 0)
		return r;
	if (c->n)
		qsort(c->starts, c->n, sizeof(*c->starts), compare_u32);
	for (size_t i = 0; i < c->n; i++)
		if (!i || c->starts[i] != c->starts[kept - 1])
			c->starts[kept++] = c->starts[i];
	c->n = kept;
	c->conds = calloc(c->n + 1, sizeof(*c->conds));
	if (!c->conds)
		return -ENOMEM;
	for (size_t i = 0; i < c->n; i++)
		c->conds[i] = COND_NEVER;
	return 0;
}

/* Of what find_starts() has seen. c->n: of nothing such. */
static uint32_t piece_of(const struct cut *c, uint32_t at)
{
	const uint32_t *p = bsearch(&at, c->starts, c->n, sizeof(at), compare_u32);

	return p ? (uint32_t)(p - c->starts) : (uint32_t)c->n;
}

/* The u32 becomes the number of its piece, which the operating system needs. */
static int number_piece(void *ctx, uint8_t *at)
{
	struct cut *c = ctx;
	uint32_t i = c->n ? piece_of(c, get32(at)) : 0;

	if (i == c->n)         /* numbered already */
		return bad(c->err, "sections of the extension that overlap");
	c->conds[i] = COND_ALWAYS;
	put32(at, i);
	return 0;
}

/* Does piece @i begin within a string? */
static bool continues(const struct cut *c, size_t i)
{
	return c->text[c->starts[i] - 1];
}

/* What needs a piece needs what comes behind it in its string. A beginning that nobody needs goes with
 * what is behind it, lest it be left without an end; a whole string that nobody needs goes with the
 * operating system. */
static int spread_conditions(struct cut *c, struct conds *conds)
{
	int r = 0;

	for (size_t i = 1; r == 0 && i < c->n; i++)
		if (continues(c, i))
			r = conds_or(conds, c->conds[i], c->conds[i - 1], &c->conds[i]);
	for (size_t i = c->n; i-- > 0;)
		if (c->conds[i] == COND_NEVER)
			c->conds[i] = i + 1 < c->n && continues(c, i + 1) ? c->conds[i + 1] : COND_ALWAYS;
	return r;
}

static int add_entries(struct cut *c, const struct merge_facts *f, struct records *ret)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < c->nlibs; i++) {
		struct disk_entry e = entry_at(c, i);
		uint32_t key = piece_of(c, le32_get(e.key)), value = piece_of(c, le32_get(e.value)), cond;
		const uint8_t *path = c->text + le32_get(e.value);
		struct rec_entry rec = { 'E', e.flags, e.osversion, e.hwcap, le32_put(key), le32_put(value) };
		/* parse_head() has seen that a NUL byte ends the strings */
		size_t n = strnlen((const char *)path, PATH_MAX);

		if (n == PATH_MAX)
			return bad(c->err, "a path that is too long");
		r = fact_path(f, (struct span){ path, n }, &cond);
		if (r == 0)
			r = conds_or(f->conds, c->conds[value], cond, &c->conds[value]);
		if (r == 0)
			r = conds_or(f->conds, c->conds[key], cond, &c->conds[key]);
		if (r == 0)
			r = records_add(ret, &rec, sizeof(rec), cond, 0);
	}
	return r;
}

static int add_strings(const struct cut *c, struct records *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++) {
		uint32_t end = i + 1 < c->n ? c->starts[i + 1] : c->strings_end;
		struct rec_string rec = { 'S', le32_put((uint32_t)i) };

		b.len = 0;
		r = buf_add(&b, &rec, sizeof(rec));
		if (r == 0)
			r = buf_add(&b, c->text + c->starts[i], end - c->starts[i]);
		if (r == 0)
			r = records_add(ret, b.data, b.len, c->conds[i], 0);
	}
	return r;
}

static int split(const char *path, const uint8_t *text, size_t len, const struct merge_facts *f,
		 struct records *ret, struct ply_err *err)
{
	struct cut c = { .text = text, .len = len, .err = err };
	_cleanup_buf_ struct buf ext = { 0 };
	struct rec_head head = { .type = 'H' };
	int r = parse_head(&c);

	(void)path;
	if (r < 0)
		return r;
	head.flags = text[offsetof(struct disk_head, flags)];
	memcpy(head.unused, text + offsetof(struct disk_head, unused), sizeof(head.unused));
	r = records_add(ret, &head, sizeof(head), COND_ALWAYS, 0);
	if (r == 0 && c.extension < len && (r = buf_add(&ext, "X", 1)) == 0)
		r = buf_add(&ext, text + c.extension, len - c.extension);
	if (r == 0)
		r = find_starts(&c, ext.len ? ext.data + 1 : NULL, ext.len ? ext.len - 1 : 0);
	if (r == 0)
		r = add_entries(&c, f, ret);
	if (r == 0 && ext.len)
		r = walk_extension(ext.data + 1, ext.len - 1, c.extension, 0, number_piece, &c, err);
	if (r == 0)
		r = spread_conditions(&c, f->conds);
	if (r == 0)
		r = add_strings(&c, ret);
	if (r == 0 && ext.len)
		r = records_add(ret, ext.data, ext.len, COND_ALWAYS, 0);
	cut_done(&c);
	return r;
}

/* --- rendering ------------------------------------------------------------------- */

struct place {
	uint32_t number, at;       /* of a piece of the strings; in the file */
};

struct join {
	size_t nlibs, nstrings, len_strings, ext_len;   /* ext_len 0: there is none */
	struct place *places;
	struct ply_err *err;
};

static int too_large(struct ply_err *err)
{
	return ply_fail(err, -EFBIG, PLY_R_LIMIT, "a cache of shared libraries of more than %zu MiB",
			MERGE_FILE_MAX >> 20);
}

/* Counts, and checks what a record's length has to be. */
static int measure(const struct piece *v, size_t n, struct join *j, uint64_t *ret)
{
	static const char order[] = "HESX";
	const char *now = order;
	uint64_t size;

	for (size_t i = 0; i < n; i++) {
		const char *type = v[i].len ? memchr(order, v[i].data[0], 4) : NULL;

		/* The first is the header, the extension is the last; all in order. */
		if (!type || type < now || (i == 0) != (*type == 'H') || (*now == 'X'))
			return bad(j->err, "records that are in no order");
		now = type;
		if (*type == 'E')
			j->nlibs++;
		else if (*type == 'S')
			j->nstrings++, j->len_strings += v[i].len - MIN(v[i].len, sizeof(struct rec_string));
		else if (*type == 'X')
			j->ext_len = v[i].len - 1;
		if ((*type == 'H' && v[i].len != sizeof(struct rec_head)) ||
		    (*type == 'E' && v[i].len != sizeof(struct rec_entry)) ||
		    (*type == 'S' && v[i].len <= sizeof(struct rec_string)) || (*type == 'X' && v[i].len == 1))
			return bad(j->err, "a record of a wrong length");
		if (j->len_strings > MERGE_FILE_MAX || j->nlibs > MERGE_FILE_MAX / sizeof(struct disk_entry))
			return too_large(j->err);
	}
	if (!n)
		return *ret = 0, 0;
	size = sizeof(struct disk_head) + j->nlibs * sizeof(struct disk_entry) + j->len_strings;
	if (j->ext_len)
		size = align_up(size, 4) + j->ext_len;
	if (size > MERGE_FILE_MAX)
		return too_large(j->err);
	*ret = size;
	return 0;
}

static int size_of(const struct piece *v, size_t n, uint64_t *ret, struct ply_err *err)
{
	struct join j = { .err = err };

	return measure(v, n, &j, ret);
}

static int compare_places(const void *a, const void *b)
{
	return compare_u32(&((const struct place *)a)->number, &((const struct place *)b)->number);
}

static int find_place(const struct join *j, uint32_t number, uint32_t *ret)
{
	struct place key = { number, 0 };
	const struct place *p = bsearch(&key, j->places, j->nstrings, sizeof(key), compare_places);

	if (!p)
		return bad(j->err, "a string that is not there");
	*ret = p->at;
	return 0;
}

static int place_piece(void *ctx, uint8_t *at)
{
	uint32_t to = 0;
	int r = find_place(ctx, get32(at), &to);

	put32(at, to);
	return r;
}

/* Strings first: entries and extension point at them. */
static int put_strings(struct join *j, const struct piece *v, size_t n, uint8_t *file)
{
	uint32_t at = (uint32_t)(sizeof(struct disk_head) + j->nlibs * sizeof(struct disk_entry));
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (v[i].data[0] != 'S')
			continue;
		j->places[k] = (struct place){ get32(v[i].data + offsetof(struct rec_string, number)), at };
		if (k && j->places[k].number <= j->places[k - 1].number)
			return bad(j->err, "strings that are in no order");
		k++;
		memcpy(file + at, v[i].data + sizeof(struct rec_string), v[i].len - sizeof(struct rec_string));
		at += v[i].len - (uint32_t)sizeof(struct rec_string);
	}
	return k && file[at - 1] ? bad(j->err, "a string that nothing ends") : 0;
}

static int put_entry(const struct join *j, const struct piece *p, uint8_t *at)
{
	struct rec_entry rec;
	struct disk_entry e;
	uint32_t key, value;
	int r;

	memcpy(&rec, p->data, sizeof(rec));
	r = find_place(j, le32_get(rec.key), &key);
	if (r == 0)
		r = find_place(j, le32_get(rec.value), &value);
	if (r < 0)
		return r;
	e = (struct disk_entry){ rec.flags, le32_put(key), le32_put(value), rec.osversion, rec.hwcap };
	memcpy(at, &e, sizeof(e));
	return 0;
}

static int render(const struct piece *v, size_t n, struct buf *out, struct ply_err *err)
{
	_cleanup_free_ struct place *places = NULL;
	struct join j = { .err = err };
	struct disk_head h = { .magic = { 0 } };
	size_t begin = out->len, ext, nth = 0;
	uint64_t size;
	uint8_t *file;
	int r = measure(v, n, &j, &size);

	if (r < 0 || !n)
		return r;
	places = j.places = calloc(j.nstrings + 1, sizeof(*places));
	if (!places || buf_add_zero(out, size) < 0)
		return ply_fail_nomem(err);
	file = out->data + begin;
	ext = size - j.ext_len;
	memcpy(h.magic, MAGIC, sizeof(h.magic));
	h.nlibs = le32_put((uint32_t)j.nlibs);
	h.len_strings = le32_put((uint32_t)j.len_strings);
	h.flags = v[0].data[offsetof(struct rec_head, flags)];
	h.extension = le32_put(j.ext_len ? (uint32_t)ext : 0);
	memcpy(h.unused, v[0].data + offsetof(struct rec_head, unused), sizeof(h.unused));
	memcpy(file, &h, sizeof(h));
	r = put_strings(&j, v, n, file);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (v[i].data[0] == 'E')
			r = put_entry(&j, &v[i], file + sizeof(h) + nth++ * sizeof(struct disk_entry));
	if (r == 0 && j.ext_len) {
		memcpy(file + ext, v[n - 1].data + 1, j.ext_len);
		r = walk_extension(file + ext, j.ext_len, 0, (uint32_t)ext, place_piece, &j, err);
	}
	if (r < 0)
		out->len = begin;
	return r;
}

static int describe(const uint8_t *data, size_t len, uint32_t flags, struct buf *out)
{
	const struct span none = { NULL, 0 };
	size_t head = sizeof(struct rec_string);

	(void)flags;
	if (len && data[0] == 'E')
		return describe_as(out, "library", none);
	if (len > head && data[0] == 'S')
		return describe_as(out, "string",
				   (struct span){ data + head, strnlen((const char *)data + head, len - head) });
	return describe_as(out, len && data[0] == 'X' ? "extension" : "header", none);
}

/* --- three-way ------------------------------------------------------------------- */

/*
 * An entry is one record, and all of it is its key: it is there or not. As the key, in an order of our own: numbers,
 * then soname, path and the name of its glibc-hwcaps folder (empty: none), each with its NUL byte. A number of such a
 * folder means something in its file only, and is left out of hwcap.
 */
struct key_numbers {
	uint64_t hwcap;
	uint32_t flags, osversion;
};

struct library {
	struct key_numbers n;
	const char *soname, *path, *folder;
};

#define KEYS_MAX  ((size_t)64 << 20)       /* bytes of all keys: entries may share long strings */
#define HAS_FOLDER(hwcap) (((hwcap) >> 32 & ~0x3ffULL) == 1ULL << 30)

static struct library library_of(const struct item *item)
{
	struct library l;

	memcpy(&l.n, item->key.s, sizeof(l.n));
	l.soname = (const char *)item->key.s + sizeof(l.n);
	l.path = l.soname + strlen(l.soname) + 1;
	l.folder = l.path + strlen(l.path) + 1;
	return l;
}

/* The numbers of strings in the extension: in the order of their folders. */
struct folders {
	uint32_t *v;
	size_t n, cap;
};

static int add_folder(void *ctx, uint8_t *at)
{
	struct folders *f = ctx;

	if (array_grow(&f->v, &f->cap, f->n + 1, sizeof(*f->v)) < 0)
		return -ENOMEM;
	f->v[f->n++] = get32(at);
	return 0;
}

static int find_folders(const struct cut *c, struct folders *ret)
{
	_cleanup_buf_ struct buf ext = { 0 };

	if (c->extension >= c->len)
		return 0;
	if (buf_add(&ext, c->text + c->extension, c->len - c->extension) < 0)
		return -ENOMEM;
	return walk_extension(ext.data, ext.len, c->extension, c->extension, add_folder, ret, c->err);
}

/* A string with its NUL byte. */
static int string_at(const struct cut *c, uint32_t at, struct span *ret)
{
	size_t n;

	if (at < c->strings || at >= c->strings_end)
		return bad(c->err, "a string that is not in it");
	n = strnlen((const char *)c->text + at, PATH_MAX);     /* parse_head() has seen that a NUL byte ends them */
	if (n == PATH_MAX)
		return bad(c->err, "a string that is too long");
	*ret = (struct span){ c->text + at, n + 1 };
	return 0;
}

/* What an entry is made of: numbers, soname, path, folder. */
static int read_entry(const struct cut *c, const struct folders *f, uint32_t i, struct key_numbers *ret_n,
		      struct span ret[3])
{
	struct disk_entry e = entry_at(c, i);
	uint64_t hwcap = le64_get(e.hwcap);
	int r = string_at(c, le32_get(e.key), &ret[0]);

	if (r == 0)
		r = string_at(c, le32_get(e.value), &ret[1]);
	ret[2] = (struct span){ (const uint8_t *)"", 1 };
	if (r == 0 && HAS_FOLDER(hwcap)) {
		if ((hwcap & UINT32_MAX) >= f->n)
			return bad(c->err, "a glibc-hwcaps folder that is not there");
		r = string_at(c, f->v[hwcap & UINT32_MAX], &ret[2]);
		hwcap &= ~(uint64_t)UINT32_MAX;
	}
	*ret_n = (struct key_numbers){ hwcap, le32_get(e.flags), le32_get(e.osversion) };
	return r;
}

static int add_library(const struct cut *c, const struct folders *f, uint32_t i, struct items *ret)
{
	struct buf *b = &ret->store;
	struct key_numbers n;
	struct span part[3];
	size_t begin = b->len;
	int r = read_entry(c, f, i, &n, part);

	if (r == 0)
		r = buf_add(b, &n, sizeof(n));
	for (unsigned k = 0; r == 0 && k < 3; k++)
		r = buf_add(b, part[k].s, part[k].len);
	if (r == 0) {
		struct span key = { b->data + begin, b->len - begin };

		r = items_add(ret, (struct item){ .key = key, .value = key, .all = key });
	}
	return r;
}

static int items(const char *path, struct span text, struct items *ret, struct ply_err *err)
{
	struct cut c = { .text = text.s, .len = text.len, .err = err };
	struct folders f = { 0 };
	struct key_numbers n;
	struct span part[3];
	size_t bytes = 0;
	int r = parse_head(&c);

	(void)path;
	if (r == 0)
		r = find_folders(&c, &f);
	for (uint32_t i = 0; r == 0 && i < c.nlibs; i++) {
		r = read_entry(&c, &f, i, &n, part);
		if (r == 0)
			bytes += sizeof(n) + part[0].len + part[1].len + part[2].len;
		if (r == 0 && bytes > KEYS_MAX)
			r = -E2BIG;
	}
	if (r == 0)
		r = buf_reserve(&ret->store, bytes);   /* keys point into it: it may not move */
	for (uint32_t i = 0; r == 0 && i < c.nlibs; i++)
		r = add_library(&c, &f, i, ret);
	free(f.v);
	return r;
}

static uint64_t number_of(const char **p)
{
	uint64_t v = 0;

	for (; **p >= '0' && **p <= '9'; ++*p)
		v = MIN(v * 10 + (uint64_t)(**p - '0'), 1ULL << 40);
	return v;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* _dl_cache_libcmp(): digits by their value, and before everything else. */
static int compare_sonames(const char *a, const char *b)
{
	while (*a) {
		if (is_digit(*a) && is_digit(*b)) {
			uint64_t x = number_of(&a), y = number_of(&b);

			if (x != y)
				return x < y ? -1 : 1;
		} else if (is_digit(*a) || is_digit(*b)) {
			return is_digit(*a) ? 1 : -1;
		} else if (*a != *b) {
			return (signed char)*a - (signed char)*b;
		} else {
			a++, b++;
		}
	}
	return -(signed char)*b;
}

/* compare() of ldconfig: descending; those of glibc-hwcaps folders before others of their name. */
static int order(const struct item *ia, const struct item *ib)
{
	struct library a = library_of(ia), b = library_of(ib);
	bool fa = HAS_FOLDER(a.n.hwcap), fb = HAS_FOLDER(b.n.hwcap);
	int r = compare_sonames(b.soname, a.soname);

	if (r)
		return r;
	if (a.n.flags != b.n.flags)
		return (int32_t)a.n.flags < (int32_t)b.n.flags ? 1 : -1;
	if (fa != fb)
		return fa ? -1 : 1;
	if (fa && (r = strcmp(a.folder, b.folder)))
		return r;
	return (a.n.hwcap < b.n.hwcap) - (a.n.hwcap > b.n.hwcap);
}

/* --- writing a cache anew --- */

struct writer {
	struct buf entries, strings, ext;
	uint32_t base;             /* where the strings will begin */
	struct map places;         /* a string's hash -> its place in strings */
	const char **folders;      /* sorted, each once */
	size_t nfolders;
};

static int put_string(struct writer *w, const char *s, uint32_t *ret)
{
	size_t n = strlen(s) + 1;
	uint64_t h = span_hash((struct span){ (const uint8_t *)s, n });

	for (size_t i = map_first(&w->places, h); i != MAP_END; i = map_next(&w->places, h, i)) {
		uint64_t at = w->places.slots[i].value;

		if (w->strings.len - at >= n && !memcmp(w->strings.data + at, s, n))
			return *ret = w->base + (uint32_t)at, 0;
	}
	*ret = w->base + (uint32_t)w->strings.len;
	if (map_add(&w->places, h, w->strings.len) < 0)
		return -ENOMEM;
	return buf_add(&w->strings, s, n);
}

static int compare_folders(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int collect_folders(struct writer *w, const struct item *v, size_t n)
{
	size_t kept = 0;

	w->folders = calloc(n + 1, sizeof(*w->folders));
	if (!w->folders)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (HAS_FOLDER(library_of(&v[i]).n.hwcap))
			w->folders[w->nfolders++] = library_of(&v[i]).folder;
	qsort(w->folders, w->nfolders, sizeof(*w->folders), compare_folders);
	for (size_t i = 0; i < w->nfolders; i++)
		if (!kept || strcmp(w->folders[kept - 1], w->folders[i]))
			w->folders[kept++] = w->folders[i];
	w->nfolders = kept;
	return 0;
}

/* A soname is the end of its path, nearly always. */
static int put_library(struct writer *w, const struct library *l)
{
	size_t soname = strlen(l->soname), path = strlen(l->path);
	const char **folder = !HAS_FOLDER(l->n.hwcap) ? NULL :
			      bsearch(&l->folder, w->folders, w->nfolders, sizeof(*w->folders), compare_folders);
	uint32_t key, value;
	struct disk_entry e;
	int r = put_string(w, l->path, &value);

	key = value + (uint32_t)(path - soname);
	if (r == 0 && (soname > path || strcmp(l->path + path - soname, l->soname) != 0))
		r = put_string(w, l->soname, &key);
	if (r < 0)
		return r;
	e = (struct disk_entry){ le32_put(l->n.flags), le32_put(key), le32_put(value), le32_put(l->n.osversion),
				 le64_put(l->n.hwcap | (folder ? (uint64_t)(folder - w->folders) : 0)) };
	return buf_add(&w->entries, &e, sizeof(e));
}

/* Who made it: of the text that most of the entries are of. */
static struct span generator_of(struct span cache)
{
	struct cut c = { .text = cache.s, .len = cache.len };
	const uint8_t *ext = cache.s;

	if (!cache.len || parse_head(&c) < 0 || c.extension >= cache.len)
		return (struct span){ NULL, 0 };
	for (uint32_t i = 0; i < get32(ext + c.extension + 4); i++) {  /* items() has walked through them */
		struct disk_section s;

		memcpy(&s, ext + c.extension + sizeof(struct disk_ext) + i * sizeof(s), sizeof(s));
		if (le32_get(s.tag) == EXT_TEXT)
			return (struct span){ ext + le32_get(s.offset), le32_get(s.size) };
	}
	return (struct span){ NULL, 0 };
}

static int put_section(struct writer *w, uint32_t tag, size_t at, size_t size)
{
	struct disk_section s = { le32_put(tag), le32_put(0), le32_put((uint32_t)at), le32_put((uint32_t)size) };

	return buf_add(&w->ext, &s, sizeof(s));
}

/* It begins at @at of the file. Strings are written by now, but for the names of the folders. */
static int put_extension(struct writer *w, struct span generator)
{
	uint32_t n = (w->nfolders > 0) + (generator.s != NULL);
	struct disk_ext head = { le32_put(EXT_MAGIC), le32_put(n) };
	size_t data = sizeof(head) + n * sizeof(struct disk_section), names = w->nfolders * sizeof(le32), at;
	_cleanup_buf_ struct buf numbers = { 0 };
	int r = 0;

	if (!n)
		return 0;
	for (size_t i = 0; r == 0 && i < w->nfolders; i++) {
		uint32_t to;
		le32 number;

		r = put_string(w, w->folders[i], &to);
		number = le32_put(to);
		if (r == 0)
			r = buf_add(&numbers, &number, sizeof(number));
	}
	at = (size_t)align_up(w->base + w->strings.len, 4) + data;
	if (r == 0)
		r = buf_add(&w->ext, &head, sizeof(head));
	if (r == 0 && generator.s)
		r = put_section(w, EXT_TEXT, at + names, generator.len);
	if (r == 0 && w->nfolders)
		r = put_section(w, EXT_HWCAP, at, names);
	if (r == 0)
		r = buf_add(&w->ext, numbers.data, numbers.len);
	return r == 0 ? buf_add(&w->ext, generator.s, generator.len) : r;
}

static int put_file(const struct writer *w, struct span ours, uint32_t nlibs, struct buf *out)
{
	size_t strings_end = w->base + w->strings.len, ext = (size_t)align_up(strings_end, 4);
	struct disk_head h = { .flags = 2, .nlibs = le32_put(nlibs), .len_strings = le32_put((uint32_t)w->strings.len) };
	int r;

	memcpy(h.magic, MAGIC, sizeof(h.magic));
	if (ours.len) {
		h.flags = ours.s[offsetof(struct disk_head, flags)];
		memcpy(h.unused, ours.s + offsetof(struct disk_head, unused), sizeof(h.unused));
	}
	h.extension = le32_put(w->ext.len ? (uint32_t)ext : 0);
	r = buf_add(out, &h, sizeof(h));
	if (r == 0)
		r = buf_add(out, w->entries.data, w->entries.len);
	if (r == 0)
		r = buf_add(out, w->strings.data, w->strings.len);
	if (r == 0 && w->ext.len)
		r = buf_add_zero(out, ext - strings_end);
	return r == 0 ? buf_add(out, w->ext.data, w->ext.len) : r;
}

/* The file is made anew: the offsets of both change, and strings are shared. */
static int write_cache(const struct item *v, size_t n, struct span ours, struct buf *out, struct ply_err *err)
{
	struct writer w = { .base = (uint32_t)(sizeof(struct disk_head) + n * sizeof(struct disk_entry)) };
	int r = collect_folders(&w, v, n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct library l = library_of(&v[i]);

		r = put_library(&w, &l);
		if (w.strings.len > MERGE_FILE_MAX)
			r = too_large(err);
	}
	if (r == 0)
		r = put_extension(&w, generator_of(ours));
	if (r == 0)
		r = put_file(&w, ours, (uint32_t)n, out);
	buf_done(&w.entries);
	buf_done(&w.strings);
	buf_done(&w.ext);
	map_done(&w.places);
	free(w.folders);
	return r;
}

/* --- reading ------------------------------------------------------------------- */

/* Before it there may be the format of old: magic, number of entries, and those, of 12 bytes each; the new one
 * begins behind them at a multiple of 8. */
static size_t skip_old(const uint8_t *text, size_t len)
{
	static const char magic[] = "ld.so-1.7.0";
	uint64_t at;

	if (len < 16 || memcmp(text, magic, sizeof(magic) - 1))
		return 0;
	at = align_up(16 + 12 * (uint64_t)get32(text + 12), 8);
	return at < len ? (size_t)at : 0;
}

int ldcache_each(const uint8_t *text, size_t len, ldcache_fn *fn, void *ctx)
{
	size_t skip = skip_old(text, len);
	struct cut c = { .text = text + skip, .len = len - skip };
	int r = parse_head(&c);

	for (uint32_t i = 0; r == 0 && i < c.nlibs; i++) {
		struct disk_entry e = entry_at(&c, i);
		struct span name, path;

		r = string_at(&c, le32_get(e.key), &name);
		if (r == 0)
			r = string_at(&c, le32_get(e.value), &path);
		if (r == 0 && name.len <= NAME_MAX + 1 && *path.s == '/')
			r = fn(ctx, (const char *)name.s, (const char *)path.s);
	}
	return r;
}

/* --- the table ------------------------------------------------------------------- */

static const char *const paths[] = { "/etc/ld.so.cache", NULL };

const struct merge_driver merge_ldcache = {
	.name = "ldcache", .number = 15, .version = 1, .paths = paths, .monotone = true,
	.split = split, .render = render, .size = size_of, .describe = describe, .items = items, .order = order,
	.write = write_cache,
};
