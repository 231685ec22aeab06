/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/merge: conditions; and every driver on made-up files. The invariant: what a selection renders is what
 * stands in the file and is the selection's, by merge_gen.c, which shares no code with the drivers; and
 * everything selected gives the file back, whatever its bytes.
 *
 * MERGE_FILES=10000 files of each driver (300); MERGE_SEED=N begins with that seed, which is printed.
 * With arguments it is no test but merge_project().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "merge/alternatives.h"
#include "merge/diversions.h"
#include "merge/drivers.h"
#include "tap.h"
#include "unit/failing_memory.h"
#include "unit/merge_gen.h"
#include "unit/merge_project.h"

/* --- what tests share ------------------------------------------------------------------- */

#define DRIVERS 15

static const struct merge_driver *driver_of(int i)
{
	const struct merge_driver *d = merge_driver_at((size_t)i);

	ck_assert_ptr_nonnull(d);
	return d;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 10) : otherwise;
}

static size_t select_pieces(const struct records *r, const struct conds *c, unsigned selection, struct piece *v)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		if (conds_hold(c, r->v[i].cond, gen_selected, &selection))
			v[n++] = (struct piece){ r->bytes.data + r->v[i].off, r->v[i].len, r->v[i].flags };
	return n;
}

/* What a selection sees; its size is known before. */
static void render(const struct merge_driver *d, const struct records *r, const struct conds *c, unsigned selection,
		   struct buf *out)
{
	struct piece *v = calloc(r->n + 1, sizeof(*v));
	struct ply_err err = { 0 };
	uint64_t size;
	size_t n;

	ck_assert_ptr_nonnull(v);
	n = select_pieces(r, c, selection, v);
	ck_assert_msg(merge_size(d, v, n, &size, &err) == 0, "%s: %s", d->name, err.msg);
	ck_assert_msg(merge_render(d, v, n, out, &err) == 0, "%s: %s", d->name, err.msg);
	ck_assert_uint_eq(size, out->len);
	free(v);
}

static void same(const char *what, uint64_t seed, unsigned selection, const struct buf *a, const struct buf *b)
{
	if (a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len)))
		return;
	ck_abort_msg("%s, MERGE_SEED=%llu, selection %x:\n--- wanted\n%.*s\n--- got\n%.*s", what, (unsigned long long)seed,
		     selection, (int)a->len, (const char *)a->data, (int)b->len, (const char *)b->data);
}

static struct records split(const struct merge_driver *d, const struct gen *g, const struct buf *text, bool *ret_whole,
			    struct ply_err *err)
{
	struct records r = { 0 };
	/* a copy of its size, so that a sanitizer sees who reads behind it */
	uint8_t *copy = malloc(text->len + !text->len);

	ck_assert_ptr_nonnull(copy);
	if (text->len)
		memcpy(copy, text->data, text->len);
	ck_assert_msg(merge_split(d, g->path, copy, text->len, &g->facts, &r, ret_whole, err) == 0, "%s: %s", d->name,
		      err->msg);
	free(copy);
	return r;
}

/* --- conditions ------------------------------------------------------------------- */

START_TEST(conditions_are_interned)
{
	const uint16_t both[] = { 3, 1, 3 }, sorted[] = { 1, 3 }, one[] = { 1 }, os[] = { 2, 0 }, three[] = { 3 };
	struct conds *c = conds_new();
	uint32_t a, b, x, y, z;
	unsigned selection;
	size_t n;

	ck_assert_int_eq(conds_any(c, both, 3, &a), 0);
	ck_assert_int_eq(conds_any(c, sorted, 2, &b), 0);
	ck_assert_uint_eq(a, b);
	ck_assert_int_eq(conds_none(c, sorted, 2, &x), 0);
	ck_assert_uint_ne(a, x);
	ck_assert_int_eq(conds_any(c, os, 2, &b), 0);
	ck_assert_uint_eq(b, COND_ALWAYS);
	ck_assert_int_eq(conds_none(c, os, 2, &b), 0);
	ck_assert_uint_eq(b, COND_NEVER);
	ck_assert_int_eq(conds_any(c, os, 0, &b), -EINVAL);

	ck_assert_int_eq(conds_any(c, one, 1, &b), 0);
	ck_assert_int_eq(conds_any(c, three, 1, &z), 0);
	ck_assert_int_eq(conds_or(c, b, z, &y), 0);
	ck_assert_uint_eq(y, a);
	ck_assert_int_eq(conds_not(c, a, &y), 0);
	ck_assert_uint_eq(y, x);
	ck_assert_int_eq(conds_not(c, y, &y), 0);
	ck_assert_uint_eq(y, a);
	ck_assert(conds_implies(c, b, a) && !conds_implies(c, a, b) && conds_implies(c, a, COND_ALWAYS));
	ck_assert(!conds_implies(c, COND_ALWAYS, a) && !conds_implies(c, b, x));

	/* the order of clauses says where a record lies */
	ck_assert_int_eq(conds_and(c, b, z, &x), 0);
	ck_assert_int_eq(conds_and(c, z, b, &y), 0);
	ck_assert_uint_ne(x, y);
	ck_assert_uint_eq(*conds_home(c, x, &n), 1);
	ck_assert_uint_eq(*conds_home(c, y, &n), 3);
	ck_assert_int_eq(conds_and(c, x, b, &y), 0);
	ck_assert_uint_eq(x, y);
	selection = 1 << 0;
	ck_assert(conds_hold(c, b, gen_selected, &selection) && !conds_hold(c, x, gen_selected, &selection));
	selection = 1 << 0 | 1 << 2;
	ck_assert(conds_hold(c, x, gen_selected, &selection));
	ck_assert_int_eq(conds_or(c, x, b, &y), -EINVAL);
	conds_free(c);
}
END_TEST

START_TEST(conditions_are_many)
{
	struct conds *c = conds_new();
	uint32_t first, again;

	/* linear: with a search this would be minutes */
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 60000; i++) {
			uint16_t comps[] = { (uint16_t)(1 + i % 600), (uint16_t)(1000 + i / 600) };

			if (conds_any(c, comps, 2, &again) < 0 || again != 1 + i)
				ck_abort_msg("condition %u", i);
		}
	ck_assert_int_eq(conds_any(c, (uint16_t[]){ 1, 1000 }, 2, &first), 0);
	ck_assert_uint_eq(first, 1);
	ck_assert_uint_eq(conds_count(c), 60001);
	conds_free(c);
}
END_TEST

/* --- the table ------------------------------------------------------------------- */

START_TEST(drivers_have_their_files)
{
	static const struct {
		const char *path, *driver;
	} files[] = {
		{ "/etc/passwd", "passwd" }, { "/etc/passwd-", "passwd" }, { "/etc/passwd.orig", NULL },
		{ "/etc/shadow-", "shadow" }, { "/etc/subgid", "shadow" }, { "/etc/gshadow-", "group" },
		{ "/var/lib/dpkg/status-old", "status" }, { "/var/lib/dpkg/available", "status" },
		{ "/var/lib/apt/extended_states", "extended" }, { "/var/cache/debconf/passwords.dat", "debconf" },
		{ "/var/cache/debconf/templates.dat-old", "templates" }, { "/var/lib/dpkg/diversions-old", "diversions" },
		{ "/var/lib/dpkg/statoverride", "statoverride" }, { "/var/lib/dpkg/triggers/File", "trigger-file" },
		{ "/var/lib/dpkg/triggers/ldconfig", "trigger-name" }, { "/var/lib/dpkg/triggers/Lock", NULL },
		{ "/var/lib/dpkg/triggers/Unincorp", NULL }, { "/var/lib/dpkg/alternatives/awk", "alternatives" },
		{ "/var/lib/dpkg/alternatives/a/b", NULL }, { "/var/lib/ucf/hashfile.7", "ucf" },
		{ "/var/lib/ucf/registry", "ucf" }, { "/etc/shells", "pathlines" }, { "/etc/ca-certificates.conf", "pathlines" },
		{ "/var/backups/shadow.bak", "shadow" }, { "/var/backups/dpkg.status.0", "status" },
		{ "/var/backups/dpkg.status.1.gz", NULL }, { "/etc/ld.so.cache", "ldcache" }, { "/etc/hosts", NULL }, { "etc/passwd", NULL },
	};
	uint16_t before = 0;
	size_t n = 0;

	for (const struct merge_driver *d; (d = merge_driver_at(n)); n++) {
		ck_assert_uint_gt(d->number, before);
		before = d->number;
		ck_assert_ptr_eq(merge_driver_get(d->number), d);
	}
	ck_assert_uint_eq(n, DRIVERS);
	ck_assert_ptr_null(merge_driver_get(0));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		const struct merge_driver *d = merge_driver_for(files[i].path);

		ck_assert_msg(files[i].driver ? d && !strcmp(d->name, files[i].driver) : !d, "%s: %s", files[i].path,
			      d ? d->name : "none");
	}
}
END_TEST

/* --- made-up files ------------------------------------------------------------------- */

/* A record that is there is there too where more is selected: so are the conditions that records have. */
static void check_monotone(const struct conds *c, uint64_t seed)
{
	for (uint32_t i = 0; i < conds_count(c); i++) {
		unsigned holds = 0;

		for (unsigned s = 0; s < GEN_SELECTIONS; s++)
			holds |= conds_hold(c, i, gen_selected, &s) ? 1u << s : 0;
		for (unsigned s = 0; s < GEN_SELECTIONS; s++)
			for (unsigned bit = 0; bit < GEN_COMPS; bit++)
				if (holds >> s & 1 && !(holds >> (s | 1u << bit) & 1))
					ck_abort_msg("MERGE_SEED=%llu: condition %u", (unsigned long long)seed, i);
	}
}

static void check_links(const struct gen *g, uint64_t seed)
{
	struct alternatives_links l = { 0 };
	struct ply_err err = { 0 };

	ck_assert_int_eq(alternatives_links(g->path, g->want[GEN_ALL].data, g->want[GEN_ALL].len, &g->facts, &l, &err), 0);
	for (unsigned s = 0; s < GEN_SELECTIONS; s++) {
		_cleanup_buf_ struct buf got = { 0 };
		const char *lines[64];
		size_t n = 0;

		for (size_t i = 0; i < l.n; i++) {
			_cleanup_buf_ struct buf line = { 0 };

			if (!conds_hold(g->facts.conds, l.v[i].cond, gen_selected, &s))
				continue;
			/* in order of their path: an insertion, to be free of the generator's sort */
			ck_assert_int_eq(buf_printf(&line, "%s %s\n", l.v[i].path, l.v[i].target), 0);
			ck_assert_uint_lt(n, ARRAY_SIZE(lines));
			lines[n] = strndup((const char *)line.data, line.len);
			for (size_t k = n++; k && strcmp(lines[k], lines[k - 1]) < 0; k--) {
				const char *swap = lines[k];

				lines[k] = lines[k - 1];
				lines[k - 1] = swap;
			}
		}
		for (size_t i = 0; i < n; i++) {
			buf_printf(&got, "%s", lines[i]);
			free((char *)lines[i]);
		}
		same("links", seed, s, &g->links[s], &got);
	}
	alternatives_links_done(&l);
}

START_TEST(made_up_files)
{
	const struct merge_driver *d = driver_of(_i);
	uint64_t seed = env_number("MERGE_SEED", 1), files = env_number("MERGE_FILES", 300), records = 0;

	for (uint64_t i = 0; i < files; i++, seed++) {
		struct ply_err err = { 0 };
		struct records r;
		struct gen g;
		bool whole;

		gen_file(&g, d, seed);
		ck_assert_ptr_eq(merge_driver_for(g.path), d);
		r = split(d, &g, &g.want[GEN_ALL], &whole, &err);
		ck_assert_msg(!whole, "%s, MERGE_SEED=%llu: %s\n%.*s", d->name, (unsigned long long)seed, err.msg,
			      (int)g.want[GEN_ALL].len, (const char *)g.want[GEN_ALL].data);
		for (unsigned s = 0; s < GEN_SELECTIONS; s++) {
			_cleanup_buf_ struct buf got = { 0 }, cache = { 0 };

			render(d, &r, g.facts.conds, s, &got);
			if (d == &merge_ldcache && s != GEN_ALL) {
				ck_assert_msg(gen_read_cache(&got, &cache), "MERGE_SEED=%llu", (unsigned long long)seed);
				same(d->name, seed, s, &g.want[s], &cache);
			} else {
				same(d->name, seed, s, &g.want[s], &got);
			}
		}
		if (d->monotone)
			check_monotone(g.facts.conds, seed);
		if (d == &merge_alternatives)
			check_links(&g, seed);
		records += r.n;
		records_done(&r);
		gen_done(&g);
	}
	printf("# %s: seeds %llu to %llu, %llu records\n", d->name, (unsigned long long)(seed - files),
	       (unsigned long long)seed - 1, (unsigned long long)records);
	fflush(stdout);
}
END_TEST

/* Whatever the bytes: the file comes back, and every selection can be rendered. */
START_TEST(damaged_files)
{
	const struct merge_driver *d = driver_of(_i);
	uint64_t seed = env_number("MERGE_SEED", 1), files = env_number("MERGE_FILES", 300);

	for (uint64_t i = 0; i < files; i++, seed++) {
		_cleanup_buf_ struct buf out = { 0 };
		struct buf *text;
		struct ply_err err = { 0 };
		struct records r;
		struct gen g;
		bool whole;

		gen_file(&g, d, seed);
		text = &g.want[GEN_ALL];
		gen_damage(&g, text);
		for (size_t k = 0; k < ARRAY_SIZE(g.files); k++)
			if (g.files[k].len && gen_random(&g, 4) == 0)
				gen_damage(&g, &g.files[k]);
		r = split(d, &g, text, &whole, &err);
		render(d, &r, g.facts.conds, GEN_ALL, &out);
		same(d->name, seed, GEN_ALL, text, &out);
		for (unsigned s = 0; s < GEN_ALL; s++) {
			out.len = 0;
			render(d, &r, g.facts.conds, s, &out);
		}
		if (whole) {
			ck_assert_uint_le(r.n, 1);
			ck_assert(err.reason == PLY_R_MERGE_SYNTAX || err.reason == PLY_R_MERGE_CACHE);
		}
		for (size_t k = 0; k < r.n; k++) {
			out.len = 0;
			ck_assert_int_eq(merge_describe(d, &(struct piece){ r.bytes.data + r.v[k].off, r.v[k].len,
									    r.v[k].flags }, &out), 0);
			ck_assert_uint_gt(out.len, 0);
		}
		records_done(&r);
		gen_done(&g);
	}
}
END_TEST

/* --- malformed files ------------------------------------------------------------------- */

static const struct {
	const char *path, *text;
	const char *says;
} malformed[] = {
	{ "/etc/passwd", "root:x:0:0::/:/bin/sh\nmysql\n", "line 2" },
	{ "/etc/subuid", "deploy 100000 65536\n", "line 1" },
	{ "/etc/group", "a:x:1:\nb:x:2:c\nwhat\n", "line 3" },
	{ "/var/lib/dpkg/status", "Package: a\n\nVersion: 1\n", "line 3" },
	{ "/var/lib/dpkg/status", "Package: a\nPackage: b\n", "line 2" },
	{ "/var/lib/dpkg/status", "Package: a\nArchitecture: x\narchitecture: y\n", "line 3" },
	{ "/var/lib/dpkg/status", "Package: a\n<<<<\n", "line 2" },
	{ "/var/lib/dpkg/status", "Package:\n", "line 1" },
	{ "/var/lib/dpkg/status", " Package: a\n", "line 1" },
	{ "/var/cache/debconf/config.dat", "Template: a\n", "line 1" },
	{ "/var/cache/debconf/templates.dat", "Name: a\nOwners: a\nOwners: b\n", "line 3" },
	{ "/var/lib/dpkg/diversions", "/a\n/b\n", "line 2" },
	{ "/var/lib/dpkg/diversions", "/a\n/b\n\n", "line 3" },
	{ "/var/lib/dpkg/diversions", "/a\nb\nc\n", "line 2" },
	{ "/var/lib/dpkg/diversions", "/a\n/b\nc", "line 3" },
	{ "/var/lib/dpkg/statoverride", "root root 755\n", "line 1" },
	{ "/var/lib/dpkg/statoverride", "root root 789 /a\n", "line 1" },
	{ "/var/lib/dpkg/statoverride", "root root 755 a\n", "line 1" },
	{ "/var/lib/dpkg/statoverride", "root root 755 /a\n\n", "line 2" },
	{ "/var/lib/dpkg/triggers/File", "/a b\n/c\n", "line 2" },
	{ "/var/lib/dpkg/triggers/File", "a b\n", "line 1" },
	{ "/var/lib/dpkg/triggers/x", "a\n\n", "line 2" },
	{ "/var/lib/dpkg/triggers/x", "a b\n", "line 1" },
	{ "/var/lib/dpkg/triggers/x", "a\nb", "line 2" },
	{ "/var/lib/ucf/hashfile", "0877786daf8479dd91be0f89f223a102\n", "line 1" },
	{ "/var/lib/ucf/registry", "php /a\nphp\n", "line 2" },
	{ "/etc/shells", "/bin/sh\n/bin/\0a\n", "line 2" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n", "line 1" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\n\n/b\n", "line 4" },
	{ "/var/lib/dpkg/alternatives/x", "maybe\n/a\n\n/b\n1\n\n", "line 1" },
	{ "/var/lib/dpkg/alternatives/x", "auto\na\n\n/b\n1\n\n", "line 2" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\ns\nt\n\n/b\n1\n\n\n", "line 4" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\n\n/b\nhigh\n\n", "line 5" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\n\nb\n1\n\n", "line 4" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\n\n/b\n1\n", "line 5" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\n\n/b\n1\n\n/c\n", "line 7" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\n\n/b\n1\n/b\n2\n\n", "second" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\nx\n/s\n\n/b\n1\n/t\n\n", "second" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\ns\n/a\n\n/b\n1\n/t\n\n", "second" },
	{ "/var/lib/dpkg/alternatives/x", "auto\n/a\ns\n/s\n\n/b\n1\nt\n\n", "line 8" },
	{ "/etc/ld.so.cache", "ld.so-1.7.0\0and more, so that it is longer than any header", "1.1" },
	{ "/etc/ld.so.cache", "glibc", "header" },
};

START_TEST(malformed_files_stay_whole)
{
	const struct merge_driver *d = merge_driver_for(malformed[_i].path);
	struct buf text = { .data = (uint8_t *)malformed[_i].text, .len = strlen(malformed[_i].text) }, out = { 0 };
	struct ply_err err = { 0 };
	struct records r;
	struct gen g;
	bool whole;

	if (d == &merge_pathlines || d == &merge_ldcache)      /* with NUL bytes */
		text.len = d == &merge_pathlines ? 16 : MAX(text.len, 5u) == 5 ? 5 : 48;
	gen_facts(&g, 1);
	snprintf(g.path, sizeof(g.path), "%s", malformed[_i].path);
	r = split(d, &g, &text, &whole, &err);
	ck_assert_msg(whole, "%s: %s", malformed[_i].path, malformed[_i].text);
	ck_assert_uint_eq(r.n, 1);
	ck_assert_uint_eq(r.v[0].cond, COND_ALWAYS);
	ck_assert_msg(strstr(err.msg, malformed[_i].says) && !strncmp(err.msg, g.path, strlen(g.path)), "'%s' does not say '%s'",
		      err.msg, malformed[_i].says);
	render(d, &r, g.facts.conds, 0, &out);
	same(g.path, 0, 0, &text, &out);
	buf_done(&out);
	records_done(&r);
	gen_done(&g);
}
END_TEST

START_TEST(empty_files)
{
	const struct merge_driver *d = driver_of(_i);
	struct ply_err err = { 0 };
	struct buf none = { 0 };
	struct records r;
	struct gen g;
	bool whole;

	gen_facts(&g, 1);
	snprintf(g.path, sizeof(g.path), "%s", *d->paths + (**d->paths == '!'));
	r = split(d, &g, &none, &whole, &err);
	ck_assert_uint_eq(r.n, 0);
	ck_assert_int_eq(whole, d == &merge_alternatives || d == &merge_ldcache);
	records_done(&r);
	gen_done(&g);
}
END_TEST

/* --- by hand ------------------------------------------------------------------- */

/* Cut, and "condition flags description|" of each record; @want: the first clauses' components, +: an item. */
static void records_are(const char *path, const char *text, const char *want)
{
	const struct merge_driver *d = merge_driver_for(path);
	struct buf in = { .data = (uint8_t *)text, .len = strlen(text) }, out = { 0 };
	struct ply_err err = { 0 };
	struct records r;
	struct gen g;
	bool whole;

	gen_facts(&g, 1);
	snprintf(g.path, sizeof(g.path), "%s", path);
	buf_printf(&g.link, "/usr/bin/b~2");
	r = split(d, &g, &in, &whole, &err);
	ck_assert_msg(!whole, "%s", err.msg);
	for (size_t i = 0; i < r.n; i++) {
		struct piece p = { r.bytes.data + r.v[i].off, r.v[i].len, r.v[i].flags };

		for (uint32_t k = 0; k < conds_nclauses(g.facts.conds, r.v[i].cond); k++) {
			struct clause c = conds_clause(g.facts.conds, r.v[i].cond, k);

			buf_printf(&out, "%s", c.none ? "!" : k ? "&" : "");
			for (uint16_t m = 0; m < c.n; m++)
				buf_printf(&out, "%u", c.comps[m]);
		}
		buf_printf(&out, "%s ", r.v[i].flags & RECORD_ITEM ? "+" : "");
		merge_describe(d, &p, &out);
		buf_printf(&out, "|");
	}
	buf_add(&out, "", 1);
	ck_assert_str_eq((const char *)out.data, want);
	buf_done(&out);
	records_done(&r);
	gen_done(&g);
}

START_TEST(records_by_hand)
{
	records_are("/etc/passwd", "mysql~1:x:\n# a\n\n", "1 user mysql~1| line # a| line|");
	records_are("/etc/group", "a~1:x:1:b~2,,c\nd:x:2:\n",
		    "1 group a~1|2&1+ member b~2|1+ member|1+ member c|1 what is behind members| group d|");
	records_are("/etc/gshadow", "a~1:!:b~2:c~3\n",
		    "1 group a~1|2&1+ member b~2|1 what is behind members|3&1+ member c~3|1 what is behind members|");
	records_are("/var/lib/dpkg/status", "\nPackage: a~13\nArchitecture: amd64\n\n", " line|13 package a~13:amd64|");
	records_are("/var/cache/debconf/config.dat", "Name: q/x\nOwners: a~3, b~1:amd64\n", "13 question q/x|");
	records_are("/var/lib/dpkg/diversions", "/a~1\n/b~2\nc~3\n/a\n/b\n:\n", "3 diversion of /a~1| diversion of /a|");
	records_are("/var/lib/dpkg/statoverride", "a~1 b~2 755 /c d~3\n", "3&1&2 override of /c d~3|");
	records_are("/var/lib/dpkg/triggers/File", "/a b~2/noawait\n", "2 trigger /a b~2/noawait|");
	records_are("/var/lib/dpkg/alternatives/thing",
		    "manual\n/usr/bin/thing\ns\n/s\n\n/usr/bin/a~1\n5\n\n/usr/bin/b~2\n3\n/t\n\n",
		    "2 mode manual|12!2 mode auto|12 link /usr/bin/thing|2 slave s|12 empty line|"
		    "1 choice /usr/bin/a~1|1&2 empty line|2 choice /usr/bin/b~2|12 empty line|");
	records_are("/var/lib/ucf/registry", "php~2 \t /etc/a\nphp~2 \t /etc/b~3\n",
		    "2 configuration file /etc/a|3 configuration file /etc/b~3|");
	records_are("/etc/ca-certificates.conf", "# a\n!mozilla/a~1.crt\n", " line # a|1 path !mozilla/a~1.crt|");
}
END_TEST

/* What facts cannot answer is an error, never a file that stays whole. */
START_TEST(facts_that_fail)
{
	const struct merge_driver *d = driver_of(_i);
	uint64_t seed = 1;
	unsigned seen = 0;

	for (unsigned i = 0; i < 20; i++, seed++) {
		struct records r = { 0 };
		struct ply_err err = { 0 };
		struct gen g;
		bool whole;
		int e;

		gen_file(&g, d, seed);
		g.fail_after = 1 + (unsigned)gen_random(&g, 3);
		e = merge_split(d, g.path, g.want[GEN_ALL].data, g.want[GEN_ALL].len, &g.facts, &r, &whole, &err);
		if (!g.fail_after) {
			ck_assert_int_eq(e, -EIO);
			ck_assert(err.reason == PLY_R_SYSTEM && strstr(err.msg, g.path));
			seen++;
		}
		ck_assert(e == 0 || !r.v);
		records_done(&r);
		gen_done(&g);
	}
	ck_assert_uint_gt(seen, 5);
}
END_TEST

START_TEST(no_memory)
{
	const struct merge_driver *d = driver_of(_i);

	for (uint64_t seed = 1; seed < 4; seed++) {
		long n = 0;

		for (bool done = false; !done; n++) {
			struct alternatives_links links = { 0 };
			struct records r = { 0 };
			struct ply_err err = { 0 };
			struct buf out = { 0 };
			struct gen g;
			bool whole;
			int e;

			gen_file(&g, d, seed);
			fail_at = n + 1;
			e = merge_split(d, g.path, g.want[GEN_ALL].data, g.want[GEN_ALL].len, &g.facts, &r, &whole, &err);
			if (e == 0 && d == &merge_alternatives)
				e = alternatives_links(g.path, g.want[GEN_ALL].data, g.want[GEN_ALL].len, &g.facts, &links, &err);
			if (e == 0) {
				struct piece *v = calloc(r.n + 1, sizeof(*v));

				if (v) {
					size_t np = select_pieces(&r, g.facts.conds, GEN_ALL, v);

					e = merge_render(d, v, np, &out, &err);
					free(v);
				} else {
					e = ply_fail_nomem(&err);
				}
			}
			done = fail_at > 0;
			fail_at = 0;
			if (e < 0) {
				ck_assert_int_eq(e, -ENOMEM);
				ck_assert_int_eq(err.reason, PLY_R_NO_MEMORY);
			} else {
				ck_assert(done && !whole);
				same(d->name, seed, GEN_ALL, &g.want[GEN_ALL], &out);
			}
			alternatives_links_done(&links);
			records_done(&r);
			buf_done(&out);
			gen_done(&g);
		}
		ck_assert_int_gt(n, 3);
	}
}
END_TEST

/* Records of an image may say anything. */
START_TEST(hostile_cache)
{
	const struct merge_driver *d = &merge_ldcache;
	uint64_t seed = env_number("MERGE_SEED", 1), files = env_number("MERGE_FILES", 300);
	unsigned refused = 0;

	for (uint64_t i = 0; i < files; i++, seed++) {
		struct piece *v;
		struct records r;
		struct ply_err err = { 0 };
		struct gen g;
		bool whole;
		size_t n;

		gen_file(&g, d, seed);
		r = split(d, &g, &g.want[GEN_ALL], &whole, &err);
		v = calloc(r.n + 1, sizeof(*v));
		n = select_pieces(&r, g.facts.conds, GEN_ALL, v);
		for (unsigned round = 0; round < 8; round++) {
			_cleanup_buf_ struct buf out = { 0 }, bytes = { 0 };
			size_t at = gen_random(&g, n);
			struct piece old = v[at];
			uint64_t size = 0;
			int e, f;

			buf_add(&bytes, old.data, old.len);
			gen_damage(&g, &bytes);
			v[at].data = bytes.len ? bytes.data : NULL;
			v[at].len = (uint32_t)bytes.len;
			if (gen_random(&g, 3) == 0)
				v[at] = v[gen_random(&g, n)];
			e = merge_size(d, v, n, &size, &err);
			f = merge_render(d, v, n, &out, &err);
			ck_assert(e == 0 || e == -EUCLEAN || e == -EFBIG);
			ck_assert(f == 0 || f == -EUCLEAN || f == -EFBIG);
			ck_assert(f < 0 || (e == 0 && size == out.len));
			ck_assert(f == 0 || !out.len);
			refused += f < 0;
			v[at] = old;
		}
		free(v);
		records_done(&r);
		gen_done(&g);
	}
	ck_assert_uint_gt(refused, files);
}
END_TEST

/* Each check of what an image's records say, by the one lie that only it finds. */
START_TEST(lies_of_a_cache)
{
	const uint8_t head[14] = { 'H', 2 }, entry[25] = { 'E', 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 4 };
	const uint8_t one[25] = { 'E', [17] = 4, [21] = 4 };
	const uint8_t path[] = "S\4\0\0\0/lib/", name[] = "S\11\0\0\0liba.so", ext[] =
		"X\x74\x21\xa4\xea\1\0\0\0\0\0\0\0\0\0\0\0\x18\0\0\0\3\0\0\0abc";
	/* two sections of text that are one place */
	const uint8_t twice[] = "X\x74\x21\xa4\xea\2\0\0\0" "\0\0\0\0\0\0\0\0\x28\0\0\0\3\0\0\0"
		"\0\0\0\0\0\0\0\0\x28\0\0\0\3\0\0\0abc";
	const uint8_t ended[] = "S\4\0\0\0/lib/", unknown[] = "X\x74\x21\xa4\xea\1\0\0\0\2\0\0\0\0\0\0\0\x18\0\0\0\3\0\0\0abc";
	const struct piece good[] = { { head, 14, 0 }, { entry, 25, 0 }, { path, sizeof(path) - 1, 0 },
				      { name, sizeof(name), 0 }, { ext, sizeof(ext) - 1, 0 } };
	const struct piece lies[][5] = {
		{ good[1], good[0], good[2], good[3], good[4] },        /* no order */
		{ good[0], good[0], good[2], good[3], good[4] },
		{ good[0], good[1], good[2], good[4], good[3] },
		{ good[0], good[1], good[3], good[2], good[4] },        /* strings in no order */
		{ good[0], { one, 25, 0 }, good[3], { ended, sizeof(ended), 0 }, good[4] },
		{ good[0], good[1], good[2], good[2], good[4] },
		{ good[0], good[1], good[2], { name, sizeof(name) - 1, 0 }, good[4] },      /* no end */
		{ good[0], good[1], good[3], good[4], good[4] },
		{ good[0], good[1], good[1], good[2], good[4] },        /* a name that is not there */
		{ good[0], good[1], good[2], good[3], { ext, 1, 0 } },
		{ good[0], good[1], good[2], good[3], { unknown, sizeof(unknown) - 1, 0 } },
		{ good[0], good[1], good[2], good[3], { twice, sizeof(twice) - 1, 0 } },
		{ good[0], good[1], good[2], good[3], { ext, 10, 0 } }, /* cut */
		{ good[0], good[1], good[2], good[3], { ext, sizeof(ext) - 2, 0 } },
		{ good[0], { entry, 24, 0 }, good[2], good[3], good[4] },
		{ { head, 13, 0 }, good[1], good[2], good[3], good[4] },
		{ good[0], good[1], { path, 5, 0 }, good[3], good[4] },
	};
	_cleanup_buf_ struct buf out = { 0 }, text = { 0 };
	struct ply_err err = { 0 };
	uint64_t size;

	ck_assert_msg(merge_render(&merge_ldcache, good, 5, &out, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(merge_size(&merge_ldcache, good, 5, &size, &err), 0);
	ck_assert_uint_eq(size, out.len);
	ck_assert_uint_eq(size, 48 + 24 + 13 + 3 + 24 + 3);
	out.data[out.len - 27 + 20] = 9;       /* gen_read_cache() wants that length */
	gen_read_cache(&out, &text);
	buf_add(&text, "", 1);
	ck_assert_str_eq((const char *)text.data, "liba.so /lib/liba.so 3 0 0\n");
	out.len = 0;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		ck_assert_msg(merge_render(&merge_ldcache, lies[i], 5, &out, &err) == -EUCLEAN, "lie %zu", i);
		ck_assert_int_eq(err.reason, PLY_R_MERGE_CACHE);
		ck_assert_uint_eq(out.len, 0);
	}
	ck_assert_int_eq(merge_render(&merge_ldcache, good, 0, &out, &err), 0);
	ck_assert_uint_eq(out.len, 0);
}
END_TEST

/* Two sections that are one place: what the first means is not what the second means. */
START_TEST(cache_with_sections_that_overlap)
{
	struct buf *b;
	struct ply_err err = { 0 };
	struct records r;
	struct gen g;
	bool whole;

	gen_facts(&g, 1);
	strcpy(g.path, "/etc/ld.so.cache");
	b = &g.want[GEN_ALL];
	buf_add(b, "glibc-ld.so.cache1.1\0\0\0\0\4\0\0\0\2\0\0\0\x34\0\0", 35);
	buf_add_zero(b, 13);
	buf_add(b, "abc", 4);
	buf_add(b, "\x74\x21\xa4\xea\2\0\0\0\1\0\0\0\0\0\0\0\x5c\0\0\0\4\0\0\0\1\0\0\0\0\0\0\0\x5c\0\0\0\4\0\0\0\x31\0\0", 44);
	r = split(&merge_ldcache, &g, b, &whole, &err);
	ck_assert(whole);
	ck_assert_msg(strstr(err.msg, "overlap"), "%s", err.msg);
	records_done(&r);
	/* the same without the second */
	b->data[b->len - 40] = 1;
	b->data[b->len - 28] = 0x4c + 16;
	err.msg[0] = '\0';
	r = split(&merge_ldcache, &g, b, &whole, &err);
	ck_assert_msg(!whole, "%s", err.msg);
	ck_assert_uint_eq(r.n, 4);
	records_done(&r);
	gen_done(&g);
}
END_TEST

/* The beginning of a string is nobody's, its end is a component's: no selection has the one without the other. */
START_TEST(cache_with_an_unused_beginning)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct ply_err err = { 0 };
	struct records r;
	struct buf *b;
	struct gen g;
	bool whole;

	gen_facts(&g, 1);
	strcpy(g.path, "/etc/ld.so.cache");
	b = &g.want[GEN_ALL];
	buf_add(b, "glibc-ld.so.cache1.1\1\0\0\0\7\0\0\0\2", 29);
	buf_add_zero(b, 19);
	buf_add(b, "\3\3\0\0\x4a\0\0\0\x4a\0\0\0", 12);
	buf_add_zero(b, 12);
	buf_add(b, "ab/l~1", 7);
	r = split(&merge_ldcache, &g, b, &whole, &err);
	ck_assert_msg(!whole && r.n == 4, "%s", err.msg);
	render(&merge_ldcache, &r, g.facts.conds, 0, &out);
	ck_assert_uint_eq(out.len, 48);
	out.len = 0;
	render(&merge_ldcache, &r, g.facts.conds, 1, &out);
	same("all of it", 0, 1, b, &out);
	records_done(&r);
	gen_done(&g);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("merge");

	tap_test(s, conditions_are_interned);
	tap_test(s, conditions_are_many);
	tap_test(s, drivers_have_their_files);
	tap_loop(s, made_up_files, 0, DRIVERS);
	tap_loop(s, damaged_files, 0, DRIVERS);
	tap_loop(s, malformed_files_stay_whole, 0, (int)ARRAY_SIZE(malformed));
	tap_loop(s, empty_files, 0, DRIVERS);
	tap_test(s, records_by_hand);
	tap_loop(s, facts_that_fail, 0, DRIVERS);
	tap_loop(s, no_memory, 0, DRIVERS);
	tap_test(s, hostile_cache);
	tap_test(s, lies_of_a_cache);
	tap_test(s, cache_with_sections_that_overlap);
	tap_test(s, cache_with_an_unused_beginning);
	return s;
}

int main(int argc, char **argv)
{
	return argc == 5 ? merge_project(argv[1], argv[2], argv[3], argv[4]) : tap_main(suite);
}
