/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tools/capture: patterns of rules, YAML with positions, libraries of ELF files. */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"
#include "capture/elf.h"
#include "capture/manifest.h"
#include "capture/rules.h"
#include "tap.h"

static const struct {
	const char *pattern, *path, *captures;   /* NULL: no match; else "name=text " of each */
} patterns[] = {
	{ "/a/b", "a/b", "" },
	{ "/a/b", "a/bc", NULL },
	{ "/a/*", "a/b", "" },
	{ "/a/*", "a/b/c", NULL },
	{ "/a/*", "a/", "" },
	{ "/a/**", "a/b/c", "" },
	{ "/a/**", "a", NULL },
	{ "/a/**", "a/", NULL },
	{ "/**/x", "x", "" },
	{ "/**/x", "a/b/x", "" },
	{ "/**/x", "a/bx", NULL },
	{ "/a/**/b/**", "a/b/c", "" },
	{ "/a/**/b/**", "a/x/y/b/c/d", "" },
	{ "/?/b", "a/b", "" },
	{ "/?/b", "/b", NULL },
	{ "/[a-c]x", "bx", "" },
	{ "/[!a-c]x", "bx", NULL },
	{ "/[!a-c]x", "dx", "" },
	{ "/[a", "a", NULL },
	{ "/{x}", "abc", "x=abc " },
	{ "/{x}", "a/c", NULL },
	{ "/{x}.d/{y}", "a.b.d/c", "x=a.b y=c " },
	{ "/**/__pycache__/{m}.cpython-*.pyc", "usr/lib/__pycache__/mod.cpython-311.pyc", "m=mod " },
	{ "/**/{f}.{dpkg,ucf}-{old,dist}", "etc/x.conf.ucf-dist", "f=x.conf " },
	{ "/**/{f}.{dpkg,ucf}-{old,dist}", "etc/x.conf.ucf-new", NULL },
	{ "/{a,b/c}/d", "b/c/d", "" },
	{ "/{a,b/c}/d", "b/d", NULL },
	{ "/**/{f}~", "etc/file~", "f=file " },
};

static struct manifest manifest;

static const struct rule *rule(const char *pattern)
{
	char text[256];
	struct ply_err err;

	manifest_done(&manifest);
	snprintf(text, sizeof(text), "rules:\n  - {path: \"%s\", to: os}\n", pattern);
	ck_assert_msg(manifest_parse(&manifest, "m", text, strlen(text), &err) == 0, "%s", err.msg);
	return &manifest.rules.v[0];
}

START_TEST(patterns_match)
{
	const struct rule *r = rule(patterns[_i].pattern);
	struct glob_captures c;
	char got[256] = "";

	if (!patterns[_i].captures) {
		ck_assert(!rule_match(r, patterns[_i].path, &c));
		return;
	}
	ck_assert(rule_match(r, patterns[_i].path, &c));
	for (unsigned i = 0; i < c.n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%.*s=%.*s ", (int)c.v[i].name_len,
			 c.v[i].name, (int)c.v[i].len, c.v[i].text);
	ck_assert_str_eq(got, patterns[_i].captures);
}
END_TEST

/* No pattern is exponential. */
START_TEST(many_stars_end)
{
	char pattern[2 * 120 + 2] = "", path[400];

	for (int i = 0; i < 60; i++)
		strcat(pattern, i % 2 ? "**a" : "*a");
	strcat(pattern, "b");
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	for (int i = 5; i < 390; i += 7)
		path[i] = '/';
	ck_assert(!glob_match(pattern, path, NULL));
	path[398] = 'b';
	glob_match(pattern, path, NULL);
	ck_assert(glob_match("\\*{x}", "*{x}", NULL));
}
END_TEST

/* Stars that stand for nothing nest. */
START_TEST(globs_are_bounded)
{
	char pattern[GLOB_MAX + 2];
	const char *const v[] = { "a", pattern };

	memset(pattern, '*', sizeof(pattern));
	pattern[GLOB_MAX + 1] = '\0';
	ck_assert(!glob_match(pattern, "a/b", NULL));
	ck_assert(glob_any_too_long(v, 2));
	ck_assert(!glob_any_too_long(v, 1));
	pattern[GLOB_MAX] = '\0';
	ck_assert(glob_match(pattern, "a/b", NULL));
	ck_assert(!glob_any_too_long(v, 2));
}
END_TEST

START_TEST(templates_expand)
{
	const struct rule *r = rule("/{x}/{y}");
	struct glob_captures c;
	struct buf out = { 0 };

	ck_assert(rule_match(r, "a*/b", &c));
	ck_assert_int_eq(rule_expand("/q/{y}.{x}/{nobody}", &c, &out), 0);
	ck_assert_str_eq((char *)out.data, "/q/b.a*/");
	ck_assert_int_eq(rule_expand("{x}.*", &c, &out), 0);
	ck_assert_str_eq((char *)out.data, "a\\*.*");
	buf_done(&out);
}
END_TEST

static const char *const bad[] = {
	"a: [", "a: b: c", "- *x", "a: !!str x", "\"\\x00\": a", "a: \"\\0\"", "? [a]\n: b", "a: 1\n---\nb: 2",
	"\t", "a: 'x", "{{}: x}",
};

START_TEST(bad_yaml_is_told)
{
	struct yaml_doc d = { 0 };
	struct ply_err err = { 0 };

	ck_assert_int_eq(yaml_parse("f.yaml", bad[_i], strlen(bad[_i]), &d, &err), -EINVAL);
	ck_assert_int_eq(err.reason, PLY_R_MANIFEST_SYNTAX);
	ck_assert_msg(!strncmp(err.msg, "f.yaml:", 7), "%s", err.msg);
}
END_TEST

START_TEST(deep_yaml_is_refused)
{
	char text[2 * 100000 + 1];
	struct yaml_doc d = { 0 };

	memset(text, '[', 100000);
	memset(text + 100000, ']', 100000);
	ck_assert_int_lt(yaml_parse("f", text, 200000, &d, NULL), 0);
}
END_TEST

START_TEST(yaml_knows_places)
{
	static const char text[] = "a: x\nb:\n  - y\n  - {c: z}\n";
	struct yaml_doc d = { 0 };
	const struct yaml *b;

	ck_assert_int_eq(yaml_parse("f", text, sizeof(text) - 1, &d, NULL), 0);
	b = yaml_get(d.root, "b");
	ck_assert_int_eq(b->type, YAML_LIST);
	ck_assert_uint_eq(b->key_line, 2);
	ck_assert_uint_eq(b->first->line, 3);
	ck_assert_uint_eq(b->first->column, 5);
	ck_assert_str_eq(yaml_get(b->first->next, "c")->text, "z");
	ck_assert_uint_eq(yaml_get(b->first->next, "c")->column, 9);
	ck_assert_ptr_null(yaml_get(d.root, "c"));
	yaml_done(&d);
}
END_TEST

START_TEST(the_shipped_table_is_good)
{
	struct rules t = { 0 };
	struct ply_err err;

	ck_assert_msg(rules_read(NULL, &t, &err) == 0, "%s", err.msg);
	ck_assert_uint_gt(t.n, 20);
	ck_assert_uint_gt(t.nidentity, 20);
	ck_assert_uint_gt(t.nsystem, 20);
	rules_done(&t);
	ck_assert_int_eq(rules_read("/nonexistent/rules", &t, &err), -ENOENT);
	ck_assert_int_eq(err.reason, PLY_R_RULES_MISSING);
}
END_TEST

START_TEST(options_name_components)
{
	static const struct {
		const char *option;
		enum ply_reason reason;
	} options[] = {
		{ "a=b", PLY_R_NONE },       { "a=b,/c/**", PLY_R_NONE }, { "a", PLY_R_USAGE },
		{ "a=", PLY_R_USAGE },       { "=b", PLY_R_USAGE },       { "A=b", PLY_R_USAGE },
		{ "a+b=c", PLY_R_USAGE },    { ".a=b", PLY_R_USAGE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		struct manifest m = { 0 };
		struct ply_err err = { 0 };

		manifest_add(&m, options[i].option, &err);
		ck_assert_int_eq(err.reason, options[i].reason);
		manifest_done(&m);
	}
}
END_TEST

/* --- ELF ----------------------------------------------------------------------- */

struct file {
	uint8_t bytes[1024];
	size_t len;
	char words[256];
};

static int read_bytes(void *ctx, uint64_t off, void *buf, size_t len)
{
	const struct file *f = ctx;

	if (off > f->len || len > f->len - off)
		return -EIO;
	memcpy(buf, f->bytes + off, len);
	return 0;
}

static int see_word(void *ctx, enum elf_word what, const char *text)
{
	struct file *f = ctx;
	size_t n = strlen(f->words);

	snprintf(f->words + n, sizeof(f->words) - n, "%d:%s ", (int)what, text);
	return 0;
}

/* A header, PT_LOAD of all at 0x1000, PT_DYNAMIC at 0x100, strings at 0x200. */
static void make_elf(struct file *f)
{
	static const char strings[] = "\0libc.so.6\0$ORIGIN/lib\0libz.so";
	Elf64_Ehdr h = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB }, .e_phoff = 64,
			 .e_phentsize = 56, .e_phnum = 2 };
	Elf64_Phdr p[2] = { { .p_type = PT_LOAD, .p_vaddr = 0x1000, .p_filesz = 0x220 },
			    { .p_type = PT_DYNAMIC, .p_offset = 0x100, .p_filesz = 5 * 16 } };
	Elf64_Dyn d[5] = { { DT_NEEDED, { 1 } }, { DT_STRTAB, { 0x1200 } }, { DT_RUNPATH, { 11 } },
			   { DT_NEEDED, { 23 } }, { DT_NULL, { 0 } } };

	memset(f, 0, sizeof(*f));
	memcpy(f->bytes, &h, sizeof(h));
	memcpy(f->bytes + 64, p, sizeof(p));
	memcpy(f->bytes + 0x100, d, sizeof(d));
	memcpy(f->bytes + 0x200, strings, sizeof(strings));
	f->len = 0x200 + sizeof(strings);
}

START_TEST(elf_tells_its_libraries)
{
	struct file f;

	make_elf(&f);
	ck_assert_int_eq(elf_words(read_bytes, see_word, &f), 0);
	ck_assert_str_eq(f.words, "29:$ORIGIN/lib 1:libc.so.6 1:libz.so ");
}
END_TEST

START_TEST(damaged_elf_needs_nothing_it_cannot_say)
{
	for (size_t i = 0; i < 0x230; i++)
		for (int v = 0; v < 3; v++) {
			struct file f;

			make_elf(&f);
			f.bytes[i] = (uint8_t[]){ 0, 0xff, 0x80 }[v];
			ck_assert_int_eq(elf_words(read_bytes, see_word, &f), 0);
		}
	for (size_t len = 0; len < 0x230; len++) {
		struct file f;

		make_elf(&f);
		f.len = len;
		ck_assert_int_eq(elf_words(read_bytes, see_word, &f), 0);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("rules");

	tap_loop(s, patterns_match, 0, (int)ARRAY_SIZE(patterns));
	tap_test(s, many_stars_end);
	tap_test(s, globs_are_bounded);
	tap_test(s, templates_expand);
	tap_loop(s, bad_yaml_is_told, 0, (int)ARRAY_SIZE(bad));
	tap_test(s, deep_yaml_is_refused);
	tap_test(s, yaml_knows_places);
	tap_test(s, the_shipped_table_is_good);
	tap_test(s, options_name_components);
	tap_test(s, elf_tells_its_libraries);
	tap_test(s, damaged_elf_needs_nothing_it_cannot_say);
	return s;
}
TAP_MAIN(suite)
