/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/merge, three-way: each driver on made-up files, with a model that knows which record has which value on which
 * side, and nothing of files; diff3 on made-up edits; and whatever the bytes, that merging twice is merging once.
 *
 * MERGE_FILES=10000 triples of each driver (300); MERGE_SEED=N begins with that seed, which is printed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "merge/compose.h"
#include "merge/diff3.h"
#include "merge/drivers.h"
#include "tap.h"
#include "unit/failing_memory.h"
#include "unit/merge_gen.h"

/* --- what tests share ------------------------------------------------------------------- */

#define DRIVERS 15

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 10) : otherwise;
}

static struct span span_of(const struct buf *b)
{
	return (struct span){ b->data ? b->data : (const uint8_t *)"", b->len };
}

static struct span text_of(const char *s)
{
	return (struct span){ (const uint8_t *)s, s ? strlen(s) : 0 };
}

static void same(const char *what, uint64_t seed, struct span want, struct span got)
{
	if (want.len > 4000 || got.len > 4000)         /* more than a message may have */
		ck_assert_msg(span_is(want, got), "%s, MERGE_SEED=%llu: %zu bytes are not the %zu that are wanted", what,
			      (unsigned long long)seed, got.len, want.len);
	else if (!span_is(want, got))
		ck_abort_msg("%s, MERGE_SEED=%llu:\n--- wanted\n%.*s\n--- got\n%.*s", what, (unsigned long long)seed, (int)want.len,
			     (const char *)want.s, (int)got.len, (const char *)got.s);
}

/* A copy of its size, so that a sanitizer sees who reads behind it. */
static int compose(const char *path, struct span base, struct span ours, struct span theirs, struct buf *out,
		   enum merge_why *why)
{
	struct span v[3] = { base, ours, theirs };
	struct ply_err err = { 0 };
	uint8_t *copy[3];
	int r;

	for (unsigned i = 0; i < 3; i++) {
		copy[i] = malloc(v[i].len + !v[i].len);
		ck_assert_ptr_nonnull(copy[i]);
		if (v[i].len)
			memcpy(copy[i], v[i].s, v[i].len);
		v[i].s = v[i].s ? copy[i] : NULL;
	}
	out->len = 0;
	r = merge_compose(path, NULL, v[0], v[1], v[2], out, why, &err);
	ck_assert_msg(r == 0 || r == -ENOTUNIQ, "%s: %s", path, err.msg);
	ck_assert(r == 0 ? *why == MERGE_WHY_NONE : *why != MERGE_WHY_NONE && err.code == -ENOTUNIQ && *err.msg && !out->len);
	for (unsigned i = 0; i < 3; i++)
		free(copy[i]);
	return r;
}

/* What has to hold whatever the three are. True: they merge. */
static bool check_laws(const char *path, uint64_t seed, struct span base, struct span a, struct span b)
{
	_cleanup_buf_ struct buf out = { 0 }, again = { 0 };
	enum merge_why why;
	bool merges;

	if (base.s) {
		ck_assert_int_eq(compose(path, base, a, base, &out, &why), 0);
		same("nothing of theirs", seed, a, span_of(&out));
		ck_assert_int_eq(compose(path, base, base, b, &out, &why), 0);
		same("nothing of ours", seed, b, span_of(&out));
	}
	ck_assert_int_eq(compose(path, base, a, a, &out, &why), 0);
	same("both the same", seed, a, span_of(&out));
	merges = compose(path, base, a, b, &out, &why) == 0;
	if (!merges)
		return false;
	ck_assert_msg(compose(path, base, span_of(&out), b, &again, &why) == 0, "MERGE_SEED=%llu: twice is a clash: %s",
		      (unsigned long long)seed, merge_why_text(why));
	same("twice", seed, span_of(&out), span_of(&again));
	return true;
}

/* --- records: the model ------------------------------------------------------------------- */

/* Driver by driver: a record of key @k and value @v, 1 to 3. In files that are sets the value is always 1. */
struct format {
	const char *path, *head, *record, *tail;
	bool set, sorted;          /* nothing but the key; its tool keeps them in order */
	enum { CLASH, FIRST, MANUAL } both;    /* what becomes of what both changed */
};

static const struct format formats[DRIVERS] = {
	{ "/etc/passwd", "", "k%02u:x:%u:100::/:/bin/sh\n", "", false, false, CLASH },
	{ "/etc/shadow", "", "k%02u:$6$%u:19000:0:99999:7:::\n", "", false, false, CLASH },
	{ "/etc/group", "", "k%02u:x:%u:\n", "", false, false, CLASH },
	{ "/var/lib/dpkg/status", "", "Package: k%02u\nArchitecture: amd64\nVersion: %u\n\n", "", false, true, CLASH },
	{ "/var/lib/apt/extended_states", "", "Package: k%02u\nAuto-Installed: %u\n\n", "", false, false, MANUAL },
	{ "/var/cache/debconf/config.dat", "", "Name: k%02u\nValue: %u\nOwners: a\n\n", "", false, true, FIRST },
	{ "/var/cache/debconf/templates.dat", "", "Name: k%02u\nDefault: %u\nOwners: a, b\n\n", "", false, true, FIRST },
	{ "/var/lib/dpkg/diversions", "", "/k%02u\n/to%u\npackage\n", "", false, false, CLASH },
	{ "/var/lib/dpkg/statoverride", "", "root root 75%2$u /k%1$02u\n", "", false, false, CLASH },
	{ "/var/lib/dpkg/triggers/File", "", "/k%02u package%u/noawait\n", "", true, false, CLASH },
	{ "/var/lib/dpkg/triggers/ldconfig", "", "k%02u:amd%u/noawait\n", "", true, false, CLASH },
	{ "/var/lib/dpkg/alternatives/thing", "auto\n/usr/bin/thing\n\n", "/k%02u\n%u\n", "\n", false, true, CLASH },
	{ "/var/lib/ucf/hashfile", "", "%2$u23  /k%1$02u\n", "", false, false, FIRST },
	{ "/etc/shells", "", "/k%02u/%u\n", "", true, false, CLASH },
	{ "/etc/ld.so.cache", "", NULL, "", true, true, CLASH },
};

#define KEYS 16u

/* Values by key, 0: not there; and the order of the keys. */
struct side {
	unsigned value[KEYS], order[KEYS], n;
};

static void add32(struct buf *b, uint32_t v)
{
	uint8_t p[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };

	ck_assert_int_eq(buf_add(b, p, 4), 0);
}

/* Libraries in descending order; some are in a folder for better processors, whose numbers are not those of
 * other files. */
static void write_cache(const struct side *s, struct buf *out)
{
	_cleanup_buf_ struct buf strings = { 0 };
	uint32_t base = 48 + 24 * s->n, folder[2];
	bool swapped = s->n % 2;

	for (unsigned i = 0; i < s->n; i++)
		buf_printf(&strings, "/l/libk%u.so.1%c", s->order[i], 0);
	for (unsigned i = 0; i < 2; i++) {
		folder[swapped ? 1 - i : i] = base + (uint32_t)strings.len;
		buf_printf(&strings, "x86-64-v%u%c", 2 + i, 0);
	}
	buf_add(out, "glibc-ld.so.cache1.1", 20);
	add32(out, s->n);
	add32(out, (uint32_t)strings.len);
	add32(out, 2);
	add32(out, (uint32_t)align_up(base + strings.len, 4));
	buf_add_zero(out, 12);
	for (unsigned i = 0, at = base; i < s->n; i++) {
		uint32_t k = s->order[i];

		add32(out, 3);
		add32(out, at + 3);
		add32(out, at);
		add32(out, 0);
		add32(out, k % 3 ? k % 2 ^ swapped : 0);
		add32(out, k % 3 ? 1u << 30 : 0);
		at += (uint32_t)strlen((const char *)strings.data + (at - base)) + 1;
	}
	buf_add(out, strings.data, strings.len);
	buf_align(out, 4);
	base = (uint32_t)out->len;
	add32(out, 0xEAA42174u);
	add32(out, 2);
	for (unsigned i = 0; i < 2; i++) {
		add32(out, i);
		add32(out, 0);
		add32(out, i ? base + 40 : base + 48);
		add32(out, i ? 8 : 9);
	}
	add32(out, folder[0]);
	add32(out, folder[1]);
	buf_add(out, "generator", 9);
}

/* "soname path folder" of each library, without the product's code. */
static void list_cache(const struct buf *f, struct buf *out)
{
	uint32_t n, ext, at, v[6];

	ck_assert_uint_gt(f->len, 48);
	memcpy(&n, f->data + 20, 4);
	memcpy(&ext, f->data + 32, 4);
	for (uint32_t i = 0; i < n; i++) {
		const char *folder = "";

		memcpy(v, f->data + 48 + 24 * i, 24);
		if (v[5] >> 30 == 1) {
			for (uint32_t k = 0; k < 2; k++) {
				uint32_t tag;

				memcpy(&tag, f->data + ext + 8 + 16 * k, 4);
				memcpy(&at, f->data + ext + 16 + 16 * k, 4);
				if (tag == 1)
					break;
			}
			memcpy(&at, f->data + at + 4 * v[4], 4);
			folder = (const char *)f->data + at;
		}
		buf_printf(out, "%s %s %s\n", (const char *)f->data + v[1], (const char *)f->data + v[2], folder);
	}
}

static void write_side(const struct format *f, const struct side *s, struct buf *out)
{
	if (!f->record) {
		write_cache(s, out);
		return;
	}
	buf_printf(out, "%s", f->head);
	for (unsigned i = 0; i < s->n; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		buf_printf(out, f->record, s->order[i], s->value[s->order[i]]);
#pragma GCC diagnostic pop
	}
	buf_printf(out, "%s", f->tail);
}

/* Sorted, or in the order in which they were added. */
static void add_key(const struct format *f, struct side *s, unsigned key, unsigned value)
{
	unsigned to = s->n;

	s->value[key] = value;
	while (f->sorted && to && (f->record ? s->order[to - 1] > key : s->order[to - 1] < key))
		to--;
	memmove(s->order + to + 1, s->order + to, (s->n++ - to) * sizeof(*s->order));
	s->order[to] = key;
}

static void remove_key(struct side *s, unsigned key)
{
	unsigned kept = 0;

	s->value[key] = 0;
	for (unsigned i = 0; i < s->n; i++)
		if (s->order[i] != key)
			s->order[kept++] = s->order[i];
	s->n = kept;
}

static void edit(const struct format *f, struct gen *g, struct side *s)
{
	for (unsigned n = (unsigned)gen_random(g, 5); n; n--) {
		unsigned key = (unsigned)gen_random(g, KEYS), value = f->set ? 1 : 1 + (unsigned)gen_random(g, 3);

		if (!s->value[key])
			add_key(f, s, key, value);
		else if (gen_random(g, 2))
			remove_key(s, key);
		else
			s->value[key] = value;
	}
}

/* -1: a clash. */
static int model(const struct format *f, unsigned base, unsigned ours, unsigned theirs)
{
	if (ours == theirs || theirs == base)
		return (int)ours;
	if (ours == base)
		return (int)theirs;
	if (f->both == CLASH || !ours || !theirs)
		return -1;
	return (int)(f->both == MANUAL && ours == 1 ? theirs : ours);
}

static bool same_side(const struct side *a, const struct side *b)
{
	return a->n == b->n && !memcmp(a->value, b->value, sizeof(a->value)) && !memcmp(a->order, b->order, a->n * sizeof(*a->order));
}

static bool merge_sides(const struct format *f, const struct side *base, const struct side *ours, const struct side *theirs,
			struct side *ret)
{
	*ret = *ours;
	if (same_side(ours, base)) {   /* in their order */
		*ret = *theirs;
		return true;
	}
	for (unsigned pass = 0; pass < 2; pass++) {
		const struct side *s = pass ? theirs : ours;

		for (unsigned i = 0; i < s->n; i++) {
			unsigned key = s->order[i];
			int v = model(f, base->value[key], ours->value[key], theirs->value[key]);

			if (v < 0)
				return false;
			if (!v && ret->value[key])
				remove_key(ret, key);
			else if (v && !ret->value[key])
				add_key(f, ret, key, (unsigned)v);
			else if (v)
				ret->value[key] = (unsigned)v;
		}
	}
	return true;
}

/* Its driver can cut what has come of it. */
static void check_split(const char *path, uint64_t seed, const struct buf *text)
{
	const struct merge_driver *d = merge_driver_for(path);
	struct records r = { 0 };
	struct ply_err err = { 0 };
	struct gen g;
	bool whole;

	gen_facts(&g, seed);
	ck_assert_int_eq(merge_split(d, path, text->data, text->len, &g.facts, &r, &whole, &err), 0);
	ck_assert_msg(!whole, "%s, MERGE_SEED=%llu: %s", path, (unsigned long long)seed, err.msg);
	records_done(&r);
	gen_done(&g);
}

/* An absent base is one without records; the text of one is another thing. */
static void check_model(const struct format *f, uint64_t seed, struct span base, const struct side *s, const struct buf *ours,
			const struct buf *theirs, unsigned *clashes)
{
	_cleanup_buf_ struct buf got = { 0 }, want = { 0 }, list = { 0 }, want_list = { 0 };
	enum merge_why why;
	struct side result;
	bool merges = merge_sides(f, &s[0], &s[1], &s[2], &result);
	int r = compose(f->path, base, span_of(ours), span_of(theirs), &got, &why);

	if (!merges) {
		ck_assert_msg(r == -ENOTUNIQ && why == MERGE_WHY_RECORD, "%s, MERGE_SEED=%llu: no clash", f->path,
			      (unsigned long long)seed);
		++*clashes;
		return;
	}
	ck_assert_msg(r == 0, "%s, MERGE_SEED=%llu: %s", f->path, (unsigned long long)seed, merge_why_text(why));
	write_side(f, &result, &want);
	if (!f->record) {
		list_cache(&got, &list);
		list_cache(&want, &want_list);
	}
	same(f->path, seed, span_of(f->record ? &want : &want_list), span_of(f->record ? &got : &list));
	check_split(f->path, seed, &got);
}

START_TEST(records_three_way)
{
	const struct format *f = &formats[_i];
	uint64_t seed = env_number("MERGE_SEED", 1), files = env_number("MERGE_FILES", 300), from = seed;
	unsigned clashes = 0, merged = 0;

	ck_assert_ptr_eq(merge_driver_for(f->path), merge_driver_at((size_t)_i));
	for (; seed < from + files; seed++) {
		_cleanup_buf_ struct buf base = { 0 }, ours = { 0 }, theirs = { 0 };
		struct side s[3] = { 0 };
		struct span b = { NULL, 0 };
		struct gen g;

		gen_facts(&g, seed);
		if (gen_random(&g, 4)) {
			for (unsigned k = 0; k < 3; k++)
				edit(f, &g, &s[0]);
			write_side(f, &s[0], &base);
			b = span_of(&base);
		}
		s[1] = s[2] = s[0];
		edit(f, &g, &s[1]);
		edit(f, &g, &s[2]);
		write_side(f, &s[1], &ours);
		write_side(f, &s[2], &theirs);
		merged += check_laws(f->path, seed, b, span_of(&ours), span_of(&theirs));
		check_model(f, seed, b, s, &ours, &theirs, &clashes);
		check_model(f, seed, b, (struct side[]){ s[0], s[2], s[1] }, &theirs, &ours, &clashes);
		gen_done(&g);
	}
	printf("# %s: seeds %llu to %llu, %u merged\n", f->path, (unsigned long long)from, (unsigned long long)seed - 1, merged);
	fflush(stdout);
	ck_assert_uint_gt(merged, files / 2);
	ck_assert(f->set || f->both != CLASH || clashes > files / 20);
}
END_TEST

/* Files as capture sees them, of two components of one machine, and some of their bytes wrong: the laws hold. */
START_TEST(any_bytes)
{
	const struct merge_driver *d = merge_driver_at((size_t)_i);
	uint64_t seed = env_number("MERGE_SEED", 1), files = env_number("MERGE_FILES", 300), from = seed;
	unsigned merged = 0;

	for (; seed < from + files; seed++) {
		struct buf v[3] = { 0 };
		struct records r = { 0 };
		struct span s[3];
		struct gen g;
		bool whole;

		gen_file(&g, d, seed);
		ck_assert_int_eq(merge_split(d, g.path, g.want[GEN_ALL].data, g.want[GEN_ALL].len, &g.facts, &r, &whole, NULL), 0);
		for (unsigned i = 0; i < 3; i++) {
			unsigned selection = i ? (unsigned)gen_random(&g, GEN_SELECTIONS) : 0;
			struct piece *p = calloc(r.n + 1, sizeof(*p));
			size_t n = 0;

			for (size_t k = 0; k < r.n; k++)
				if (conds_hold(g.facts.conds, r.v[k].cond, gen_selected, &selection))
					p[n++] = (struct piece){ r.bytes.data + r.v[k].off, r.v[k].len, r.v[k].flags };
			ck_assert_int_eq(merge_render(d, p, n, &v[i], NULL), 0);
			free(p);
			if (gen_random(&g, 3) == 0)
				gen_damage(&g, &v[i]);
			s[i] = span_of(&v[i]);
		}
		if (gen_random(&g, 5) == 0)
			s[0] = (struct span){ NULL, 0 };
		if (check_laws(g.path, seed, s[0], s[1], s[2])) {
			_cleanup_buf_ struct buf out = { 0 };
			enum merge_why why;

			/* not one of the texts as it came: then the driver has read them, and reads what it wrote */
			compose(g.path, s[0], s[1], s[2], &out, &why);
			if (!span_is(span_of(&out), s[1]) && !span_is(span_of(&out), s[2]))
				check_split(g.path, seed, &out);
			merged++;
		}
		for (unsigned i = 0; i < 3; i++)
			buf_done(&v[i]);
		records_done(&r);
		gen_done(&g);
	}
	printf("# %s: seeds %llu to %llu, %u merged\n", d->name, (unsigned long long)from, (unsigned long long)seed - 1, merged);
	fflush(stdout);
	ck_assert_uint_gt(merged, 0);
}
END_TEST

/* --- by hand ------------------------------------------------------------------- */

#define RECORD_CLASH "\1"          /* in place of a result */
#define NOT_SUCH     "\2"
#define OVERLAPS     "\3"

static const struct {
	const char *path, *base, *ours, *theirs, *want;
} by_hand[] = {
	/* members: those of both, new ones behind, deleted by one is deleted */
	{ "/etc/group", "a:x:1:r,s\n", "a:x:1:r,s,m\n", "a:x:1:r,p,s\n", "a:x:1:r,s,m,p\n" },
	{ "/etc/group", "a:x:1:r,s\n", "a:x:1:r\n", "a:x:1:r,s,p\n", "a:x:1:r,p\n" },
	{ "/etc/group", NULL, "a:x:1:r\n", "a:x:1:\n", "a:x:1:r\n" },
	{ "/etc/group", NULL, "a:x:1:r\n", "a:x:2:r\n", RECORD_CLASH },
	{ "/etc/group", "a:x:1:\n", "a:x:1:m\n", "a:x:2:p\n", "a:x:2:m,p\n" },
	{ "/etc/group", "a:x:1:\n", "", "a:x:1:p\n", RECORD_CLASH },
	{ "/etc/group", "a:x:1:\nb:x:2:\n", "a:x:1:m\nb:x:2:", "a:x:1:p\nb:x:2:\nc:x:3:\n", "a:x:1:m,p\nb:x:2:\nc:x:3:\n" },
	{ "/etc/gshadow", "a:!:r:\n", "a:!:r,m:m\n", "a:!:r,p:p\n", "a:!:r,m,p:m,p\n" },
	{ "/etc/group", "a:x\n", "a:x:1\n", "a:x:2\n", RECORD_CLASH },
	{ "/etc/group", "", "a:x:1:\n", "b\n", NOT_SUCH },
	/* the day of the last change alone is no change; the older one stays */
	{ "/etc/shadow", "r:!:100:0:::::\n", "r:!:102:0:::::\n", "r:!:101:0:::::\n", "r:!:101:0:::::\n" },
	{ "/etc/shadow", "r:!:100:0:::::\n", "r:!:102:0:::::\n", "r:$6$:101:0:::::\n", "r:$6$:101:0:::::\n" },
	{ "/etc/shadow", "r:!:100:0:::::\n", "r:$6$:102:0:::::\n", "r:!:101:0:::::\n", "r:$6$:102:0:::::\n" },
	{ "/etc/shadow", "r:!:100:0:::::\n", "r:a:102:0:::::\n", "r:b:101:0:::::\n", RECORD_CLASH },
	{ "/etc/shadow", "r:!:100:0:::::\ns:!:1:\n", "s:!:1:\n", "r:!:101:0:::::\ns:!:1:\nt:!:1:\n", "s:!:1:\nt:!:1:\n" },
	{ "/etc/subuid", "r:100:65536\n", "r:100:1\n", "r:100:2\n", RECORD_CLASH },
	/* one that is new in both */
	{ "/etc/passwd", "r:0\n", "r:0\nm:1\n", "r:0\np:2\nm:1\n", "r:0\nm:1\np:2\n" },
	{ "/etc/passwd", NULL, "m:1\n", "m:2\n", RECORD_CLASH },
	{ "/etc/passwd", "r:0\n", "r:0\nm:1", "r:0\np:2", "r:0\nm:1\np:2" },
	{ "/etc/passwd", "# a\nr:0\n+::\n", "# a\n# a\nr:0\n+::\n", "# a\nr:0\n+::\n# b\n", "# a\n# a\nr:0\n+::\n# b\n" },
	/* dpkg sorts by name, then by architecture; a stanza that was the last one gets its empty line */
	{ "/var/lib/dpkg/status", "Package: b\nV: 1\n", "Package: b\nV: 1\n\nPackage: d\n", "Package: a\n\nPackage: b\nV: 1\n\nPackage: e\n",
	  "Package: a\n\nPackage: b\nV: 1\n\nPackage: d\n\nPackage: e\n" },
	{ "/var/lib/dpkg/status", NULL, "Package: a\nArchitecture: i386\n\n", "Package: a\nArchitecture: amd64\n\n",
	  "Package: a\nArchitecture: amd64\n\nPackage: a\nArchitecture: i386\n\n" },
	{ "/var/lib/dpkg/status", "Package: a\nV: 1\n\n", "Package: a\nV: 2\n\n", "Package: a\nV: 3\n\n", RECORD_CLASH },
	{ "/var/lib/dpkg/status", "Package: a\nV: 1\n\n", "Package: a\nV: 2\n\n", "V: 3\n\n", NOT_SUCH },
	/* what somebody asked for */
	{ "/var/lib/apt/extended_states", NULL, "Package: a\nAuto-Installed: 1\n\n", "Package: a\nAuto-Installed: 0\n\n",
	  "Package: a\nAuto-Installed: 0\n\n" },
	/* owners of both, sorted as debconf writes them; the first's value, unless only theirs changed it */
	{ "/var/cache/debconf/config.dat", "Name: q\nValue: 1\nOwners: c\n\n", "Name: q\nValue: 2\nOwners: b, c\n\n",
	  "Name: q\nValue: 3\nOwners: a, c\n\n", "Name: q\nValue: 2\nOwners: a, b, c\n\n" },
	{ "/var/cache/debconf/config.dat", "Name: q\nOwners: c\n\n", "Name: q\nOwners: b, c\n\n",
	  "Name: q\nValue: 3\nOwners: c\nFlags: seen\nVariables:\n a = b\n\n",
	  "Name: q\nValue: 3\nOwners: b, c\nFlags: seen\nVariables:\n a = b\n\n" },
	{ "/var/cache/debconf/config.dat", "Name: q\nOwners: c\n\n", "Name: q\nOwners: c, d\n\n", "Name: q\nValue: 1\n\n",
	  "Name: q\nValue: 1\nOwners: d\n\n" },
	{ "/var/cache/debconf/templates.dat", NULL, "Name: q\nOwners: b/q\n\n", "Name: q\nOwners: a/q\n\n", "Name: q\nOwners: a/q, b/q\n\n" },
	{ "/var/lib/dpkg/diversions", "", "/a\n/b\nm\n", "/a\n/b\np\n", RECORD_CLASH },
	{ "/var/lib/dpkg/statoverride", "", "root m 755 /a\n", "root m 750 /a\n", RECORD_CLASH },
	{ "/var/lib/dpkg/triggers/File", "/a x\n", "/a x\n/b m\n", "/a x\n/b m\n/b p\n", "/a x\n/b m\n/b p\n" },
	{ "/var/lib/ucf/hashfile", NULL, "1  /a\n", "2  /a\n3  /b\n", "1  /a\n3  /b\n" },
	{ "/etc/shells", "/bin/sh\n", "/bin/sh\n/bin/zsh", "/bin/sh\n/bin/fish\n/bin/zsh\n", "/bin/sh\n/bin/zsh\n/bin/fish\n" },
	{ "/etc/ca-certificates.conf", "a.crt\n", "!a.crt\n", "a.crt\nb.crt\n", "!a.crt\nb.crt\n" },
	/* choices of both with their slaves; a slave goes with the last choice that has it */
	{ "/var/lib/dpkg/alternatives/x", NULL, "auto\n/x\nm.1\n/m.1\n\n/b\n5\n/b.1\n\n", "auto\n/x\na.1\n/a.1\n\n/a\n9\n/a.a\n\n",
	  "auto\n/x\na.1\n/a.1\nm.1\n/m.1\n\n/a\n9\n/a.a\n\n/b\n5\n\n/b.1\n\n" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/x\ns\n/s\n\n/a\n1\n\n/b\n2\n/b.s\n\n", "auto\n/x\ns\n/s\n\n/a\n3\n\n/b\n2\n/b.s\n\n",
	  "auto\n/x\n\n/a\n1\n\n", "auto\n/x\n\n/a\n3\n\n" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/x\n\n/a\n1\n\n", "manual\n/x\n\n/a\n1\n\n", "auto\n/x\n\n/a\n1\n/b\n2\n\n",
	  "manual\n/x\n\n/a\n1\n/b\n2\n\n" },
	{ "/var/lib/dpkg/alternatives/x", NULL, "auto\n/x\n\n/a\n1\n\n", "manual\n/x\n\n/b\n1\n\n", "manual\n/x\n\n/a\n1\n/b\n1\n\n" },
	{ "/var/lib/dpkg/alternatives/x", NULL, "auto\n/x\n\n/a\n1\n\n", "auto\n/y\n\n/a\n1\n\n", RECORD_CLASH },
	{ "/var/lib/dpkg/alternatives/x", NULL, "auto\n/x\ns\n/s\n\n/a\n1\n/1\n\n", "auto\n/x\ns\n/t\n\n/b\n1\n/2\n\n", RECORD_CLASH },
	{ "/var/lib/dpkg/alternatives/x", NULL, "auto\n/x\n\n/a\n1\n\n", "auto\n", NOT_SUCH },
	/* no driver: by lines */
	{ "/etc/crontab", "1\n2\n3\n4\n5\n", "1\n2a\n3\n4\n5\n", "1\n2\n3\n4\n5\n6", "1\n2a\n3\n4\n5\n6" },
	{ "/etc/crontab", "1\n2\n3", "0\n1\n2\n3", "1\n2\n3\n", "0\n1\n2\n3\n" },
	{ "/etc/crontab", "1\n2\n3\n", "1\n2\n", "1b\n2\n3\n", "1b\n2\n" },
	{ "/etc/crontab", "1\n2\n3\n", "1\n2a\n3\n", "1\n2a\n3\n4\n", "1\n2a\n3\n4\n" },
	{ "/etc/crontab", "1\n2\n3\n", "1\n2a\n3\n", "1\n2b\n3\n", OVERLAPS },
	{ "/etc/crontab", "1\n2\n3\n", "1a\n2\n3\n", "1\n2b\n3\n", OVERLAPS },
	{ "/etc/crontab", "1\n2\n3\n", "1\n2\n3\na\n", "1\n2\n3\nb\n", OVERLAPS },
	{ "/etc/crontab", "1\n2\n3\n", "1\n2\n", "1\n2\n3\n4\n", OVERLAPS },
	{ "/etc/crontab", "", "1\n", "2\n", OVERLAPS },
};

START_TEST(three_ways_by_hand)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct span base = text_of(by_hand[_i].base), ours = text_of(by_hand[_i].ours), theirs = text_of(by_hand[_i].theirs);
	const char *want = by_hand[_i].want;
	enum merge_why why;
	int r;

	check_laws(by_hand[_i].path, 0, base, ours, theirs);
	r = compose(by_hand[_i].path, base, ours, theirs, &out, &why);
	if (*want >= ' ' || !*want) {
		ck_assert_msg(r == 0, "%s: %s", by_hand[_i].path, merge_why_text(why));
		same(by_hand[_i].path, 0, text_of(want), span_of(&out));
	} else {
		ck_assert_int_eq(r, -ENOTUNIQ);
		ck_assert_int_eq(why, *want == 1 ? MERGE_WHY_RECORD : *want == 2 ? MERGE_WHY_UNKNOWN : MERGE_WHY_OVERLAP);
	}
}
END_TEST

/* A driver that the administrator names, for a path that has none. */
START_TEST(driver_by_name)
{
	_cleanup_buf_ struct buf out = { 0 };
	enum merge_why why;

	ck_assert_int_eq(merge_compose("/etc/list", &merge_pathlines, text_of("a\n"), text_of("a\nb\n"), text_of("a\nc\n"), &out, &why, NULL), 0);
	same("by name", 0, text_of("a\nb\nc\n"), span_of(&out));
	out.len = 0;
	ck_assert_int_eq(merge_compose("/etc/list", &merge_passwd, text_of("a\n"), text_of("a\nb\n"), text_of("a\nc\n"), &out, &why, NULL),
			 -ENOTUNIQ);
	ck_assert_int_eq(why, MERGE_WHY_UNKNOWN);
}
END_TEST

/* A decision for one side settles the records that clash, and no others. */
START_TEST(decided_records)
{
	static const struct {
		const char *path, *base, *ours, *theirs, *first, *last;
	} rows[] = {
		{ "/etc/passwd", "a:x:1\nd:x:9\n", "a:x:2\nd:x:9\nb:x:4\n", "a:x:3\nd:x:8\nc:x:5\n", "a:x:2\nd:x:8\nb:x:4\nc:x:5\n",
		  "a:x:3\nd:x:8\nb:x:4\nc:x:5\n" },
		{ "/etc/passwd", "a:x:1\n", "", "a:x:3\nc:x:5\n", "c:x:5\n", "a:x:3\nc:x:5\n" },
		{ "/etc/passwd", "a:x:1\n", "a:x:2\nb:x:4\n", "c:x:5\n", "a:x:2\nb:x:4\nc:x:5\n", "b:x:4\nc:x:5\n" },
		{ "/var/lib/dpkg/status", "Package: b\nVersion: 1\n\n", "Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n\n",
		  "Package: b\nVersion: 3\n\nPackage: c\nVersion: 1\n\n",
		  "Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n\nPackage: c\nVersion: 1\n\n",
		  "Package: a\nVersion: 1\n\nPackage: b\nVersion: 3\n\nPackage: c\nVersion: 1\n\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_buf_ struct buf out = { 0 };
		struct span base = text_of(rows[i].base), ours = text_of(rows[i].ours), theirs = text_of(rows[i].theirs);
		enum merge_why why;

		ck_assert_int_eq(merge_compose(rows[i].path, NULL, base, ours, theirs, &out, &why, NULL), -ENOTUNIQ);
		ck_assert_int_eq(why, MERGE_WHY_RECORD);
		ck_assert_int_eq(merge_compose_for(rows[i].path, MERGE_PREFER_OURS, base, ours, theirs, &out, &why, NULL), 0);
		same("first", i, text_of(rows[i].first), span_of(&out));
		out.len = 0;
		ck_assert_int_eq(merge_compose_for(rows[i].path, MERGE_PREFER_THEIRS, base, ours, theirs, &out, &why, NULL), 0);
		same("last", i, text_of(rows[i].last), span_of(&out));
	}
}
END_TEST

/* --- diff3 ------------------------------------------------------------------- */

/* Lines that are one of a kind, so that who changed what is known: each gap belongs to one side. */
START_TEST(edits_apart)
{
	uint64_t seed = env_number("MERGE_SEED", 1), files = env_number("MERGE_FILES", 300) * 5, from = seed;

	for (; seed < from + files; seed++) {
		struct buf v[4] = { 0 };       /* base, ours, theirs, both */
		struct gen g;
		unsigned n, line = 0;

		gen_facts(&g, seed);
		n = (unsigned)gen_random(&g, 30);
		for (unsigned i = 0; i < n; i++) {
			unsigned who = (unsigned)gen_random(&g, 4), cut = (unsigned)gen_random(&g, 3), put = (unsigned)gen_random(&g, 3);

			for (unsigned k = 0; k < 4; k++) {
				bool changed = who & k & 3 && k;

				for (unsigned l = 0; l < (changed ? put : cut); l++)
					buf_printf(&v[k], changed ? "new %u.%u\n" : "old %u.%u\n", i, l);
				buf_printf(&v[k], "line %u\n", line);
			}
			line++;
		}
		for (unsigned k = 0; k < 4; k++)       /* that the end is nobody's neighbour */
			buf_printf(&v[k], "end\nof it\n");
		if (gen_random(&g, 4) == 0)            /* no line end at the end, of all or of one */
			for (unsigned k = 0, which = (unsigned)gen_random(&g, 3); k < 4; k++)
				if (!which || k == which || k == 3)
					v[k].len--;
		for (unsigned swap = 0; swap < 2; swap++) {
			_cleanup_buf_ struct buf out = { 0 };
			bool large;

			ck_assert_msg(diff3_merge(span_of(&v[0]), span_of(&v[1 + swap]), span_of(&v[2 - swap]), &out, &large, NULL) == 0,
				      "MERGE_SEED=%llu", (unsigned long long)seed);
			same("diff3", seed, span_of(&v[3]), span_of(&out));
		}
		check_laws("/etc/crontab", seed, span_of(&v[0]), span_of(&v[1]), span_of(&v[2]));
		for (unsigned k = 0; k < 4; k++)
			buf_done(&v[k]);
		gen_done(&g);
	}
}
END_TEST

/* Few different lines, many of each: places are found in many ways, and the laws hold. */
START_TEST(edits_anywhere)
{
	uint64_t seed = env_number("MERGE_SEED", 1), files = env_number("MERGE_FILES", 300) * 10, from = seed;
	unsigned merged = 0;

	for (; seed < from + files; seed++) {
		struct buf v[3] = { 0 };
		struct gen g;
		unsigned n;

		gen_facts(&g, seed);
		n = (unsigned)gen_random(&g, 12);
		for (unsigned i = 0; i < n; i++)
			buf_printf(&v[0], "%c\n", (int)('a' + gen_random(&g, 3)));
		for (unsigned k = 1; k < 3; k++)
			for (unsigned i = 0; i <= n; i++) {
				if (gen_random(&g, 8) == 0)
					buf_printf(&v[k], "%c\n", (int)('a' + gen_random(&g, 4)));
				if (i < n && gen_random(&g, 8))
					buf_add(&v[k], v[0].data + 2 * i, 2);
			}
		if (v[2].len && gen_random(&g, 4) == 0)
			v[2].len--;
		merged += check_laws("/etc/crontab", seed, span_of(&v[0]), span_of(&v[1]), span_of(&v[2]));
		for (unsigned k = 0; k < 3; k++)
			buf_done(&v[k]);
		gen_done(&g);
	}
	printf("# seeds %llu to %llu, %u merged\n", (unsigned long long)from, (unsigned long long)seed - 1, merged);
	fflush(stdout);
	ck_assert_uint_gt(merged, files / 10);
}
END_TEST

/* Nothing in common, and much of it: given up, soon. */
START_TEST(hostile_texts)
{
	struct buf v[3] = { 0 }, out = { 0 };
	struct timespec before, after;
	enum merge_why why;
	struct gen g;

	gen_facts(&g, 1);
	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = 0; i < 100000; i++)
			buf_printf(&v[k], "%u\n", (unsigned)gen_random(&g, 50));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	ck_assert_int_eq(compose("/etc/crontab", span_of(&v[0]), span_of(&v[1]), span_of(&v[2]), &out, &why), -ENOTUNIQ);
	ck_assert_int_eq(why, MERGE_WHY_SIZE);
	for (unsigned k = 0; k < 3; k++) {
		v[k].len = 0;
		for (unsigned i = 0; i < 1u << 20; i++)
			buf_add(&v[k], k == 1 && !i ? "a\n\n" : "\n\n", k == 1 && !i ? 3 : 2);
	}
	v[2].len -= 2;
	ck_assert_int_eq(compose("/etc/crontab", span_of(&v[0]), span_of(&v[1]), span_of(&v[2]), &out, &why), -ENOTUNIQ);
	ck_assert_int_eq(why, MERGE_WHY_SIZE);
	/* a million equal records are found by their number, not one by one */
	ck_assert_int_eq(compose("/etc/shells", span_of(&v[0]), span_of(&v[1]), span_of(&v[2]), &out, &why), -ENOTUNIQ);
	for (unsigned k = 0; k < 3; k++)
		v[k].len /= 4;
	ck_assert_int_eq(compose("/etc/shells", span_of(&v[0]), span_of(&v[1]), span_of(&v[2]), &out, &why), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	ck_assert_int_lt(after.tv_sec - before.tv_sec, 60);
	buf_done(&out);
	for (unsigned k = 0; k < 3; k++)
		buf_done(&v[k]);
	gen_done(&g);
}
END_TEST

/* --- ld.so.cache, and the program that reads it ------------------------------------------------- */

static int path_by_hash(void *ctx, const char *path, size_t len, uint32_t *ret)
{
	struct gen *g = ctx;
	unsigned sum = 0;
	uint16_t comp;

	for (size_t i = 0; i < len; i++)
		sum += (unsigned char)path[i];
	comp = (uint16_t)(1 + sum % 2);
	return conds_any(g->facts.conds, &comp, 1, ret);
}

/* What ldconfig prints of a cache, in its order without the paths, then all of it sorted: of two libraries of one name
 * the first is the one whose directory came first, which the halves do not tell. The number of its lines. */
static unsigned print_cache(const struct buf *cache, struct buf *out)
{
	char name[] = "/tmp/plyfs-cache-XXXXXX", command[256], line[8192];
	unsigned n = 0;
	int fd = mkstemp(name);
	FILE *f;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite_full(fd, cache->data, cache->len, 0), 0);
	close(fd);
	snprintf(command, sizeof(command), "/sbin/ldconfig -p -C %s >%s.list && sed 's/=>.*//' <%s.list && sort %s.list; rm %s.list", name,
		 name, name, name, name);
	f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	for (; fgets(line, sizeof(line), f); n++)
		if (!strstr(line, name))       /* the one that says how many */
			buf_printf(out, "%s", line);
	ck_assert_int_eq(pclose(f), 0);
	unlink(name);
	return n;
}

/* This machine's own cache, in two halves, put together again. */
START_TEST(cache_of_this_machine)
{
	_cleanup_buf_ struct buf all = { 0 }, none = { 0 }, out = { 0 }, said = { 0 }, want = { 0 };
	struct buf half[2] = { 0 };
	FILE *f = fopen("/etc/ld.so.cache", "r");
	struct records r = { 0 };
	enum merge_why why;
	struct gen g;
	bool whole;
	int c;

	if (!f || access("/sbin/ldconfig", X_OK)) {
		printf("# skipped: no /etc/ld.so.cache, or no ldconfig\n");
		fflush(stdout);
		if (f)
			fclose(f);
		return;
	}
	while ((c = getc(f)) != EOF)
		buf_add(&all, &(uint8_t){ (uint8_t)c }, 1);
	fclose(f);
	gen_facts(&g, 1);
	g.facts.path = path_by_hash;
	ck_assert_int_eq(merge_split(&merge_ldcache, "/etc/ld.so.cache", all.data, all.len, &g.facts, &r, &whole, NULL), 0);
	ck_assert(!whole);
	for (unsigned selection = 0; selection < 3; selection++) {
		struct piece *p = calloc(r.n + 1, sizeof(*p));
		size_t n = 0;

		for (size_t k = 0; k < r.n; k++)
			if (conds_hold(g.facts.conds, r.v[k].cond, gen_selected, &selection))
				p[n++] = (struct piece){ r.bytes.data + r.v[k].off, r.v[k].len, r.v[k].flags };
		ck_assert_int_eq(merge_render(&merge_ldcache, p, n, selection ? &half[selection - 1] : &none, NULL), 0);
		free(p);
	}
	ck_assert_int_eq(compose("/etc/ld.so.cache", span_of(&none), span_of(&half[0]), span_of(&half[1]), &out, &why), 0);
	ck_assert_uint_gt(print_cache(&all, &want), 10);
	print_cache(&out, &said);
	same("ldconfig -p", 0, span_of(&want), span_of(&said));
	check_split("/etc/ld.so.cache", 1, &out);
	ck_assert_int_eq(compose("/etc/ld.so.cache", (struct span){ NULL, 0 }, span_of(&half[1]), span_of(&half[0]), &out, &why), 0);
	said.len = 0;
	print_cache(&out, &said);
	same("ldconfig -p", 0, span_of(&want), span_of(&said));
	buf_done(&half[0]);
	buf_done(&half[1]);
	records_done(&r);
	gen_done(&g);
}
END_TEST

/* --- memory ------------------------------------------------------------------- */

START_TEST(no_memory)
{
	struct buf v[3] = { 0 }, want = { 0 };
	const struct format *f = &formats[MIN(_i, DRIVERS - 1)];
	const char *path = _i < DRIVERS ? f->path : _i == DRIVERS ? "/etc/crontab" : "/etc/sysctl.d/a.conf";
	struct span base = { NULL, 0 };
	enum merge_why why;
	long n = 0;

	if (_i < DRIVERS) {
		struct side s[3] = { 0 };

		for (unsigned k = 0; k < 3; k++) {
			add_key(f, &s[k], 3, 1);
			if (k)
				add_key(f, &s[k], 3 + k, 1);
			write_side(f, &s[k], &v[k]);
		}
	} else {
		buf_printf(&v[0], "a = 1\nb = 2\nc = 3\n");
		buf_printf(&v[1], "a = 1\nb = 2\nc = 3\nd = 4\n");
		buf_printf(&v[2], "z = 1\na = 1\nb = 2\nc = 3\n");
	}
	if (_i <= DRIVERS)
		base = span_of(&v[0]);
	ck_assert_int_eq(compose(path, base, span_of(&v[1]), span_of(&v[2]), &want, &why), 0);
	for (bool done = false; !done; n++) {
		_cleanup_buf_ struct buf out = { 0 };
		struct ply_err err = { 0 };
		int r;

		fail_at = n + 1;
		r = merge_compose(path, NULL, base, span_of(&v[1]), span_of(&v[2]), &out, &why, &err);
		done = fail_at > 0;
		fail_at = 0;
		ck_assert_msg(done ? r == 0 : r == -ENOMEM && err.reason == PLY_R_NO_MEMORY && !out.len, "%s, allocation %ld: %d: %s",
			      path, n, r, err.msg);
		if (done)
			same(path, 0, span_of(&want), span_of(&out));
	}
	ck_assert_int_gt(n, 3);
	buf_done(&want);
	for (unsigned k = 0; k < 3; k++)
		buf_done(&v[k]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("compose");

	tap_loop(s, three_ways_by_hand, 0, (int)ARRAY_SIZE(by_hand));
	tap_test(s, driver_by_name);
	tap_loop(s, records_three_way, 0, DRIVERS);
	tap_loop(s, any_bytes, 0, DRIVERS);
	tap_test(s, decided_records);
	tap_test(s, edits_apart);
	tap_test(s, edits_anywhere);
	tap_test(s, hostile_texts);
	tap_test(s, cache_of_this_machine);
	tap_loop(s, no_memory, 0, DRIVERS + 2);
	return s;
}

TAP_MAIN(suite)
