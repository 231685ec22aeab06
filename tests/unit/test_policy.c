/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Policies: what is wrong with a file is told by its place; what is right decides collisions; values come back as they
 * were written. And the differences that plan shows. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"
#include "collisions.h"
#include "merge/compose.h"
#include "policy.h"
#include "tap.h"
#include "textdiff.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEAD "version: 1\nconflicts:\n"
#define OF "    of: {apache: 'sha256:" HEX_A "', php: 'sha256:" HEX_B "'}\n"

static int parse(const char *text, struct policy *ret, struct ply_err *err)
{
	*ret = (struct policy){ 0 };
	return policy_parse("p.yaml", text, strlen(text), ret, err);
}

/* --- what is wrong --------------------------------------------------------------------------- */

static const struct {
	const char *text;
	enum ply_reason reason;
	const char *where, *says;
} wrong[] = {
	{ "", PLY_R_POLICY_VALUE, "p.yaml:1:1: ", "empty" },
	{ "version: [", PLY_R_POLICY_SYNTAX, "p.yaml:", "" },
	{ "- a\n", PLY_R_POLICY_VALUE, "p.yaml:1:1: ", "must be a mapping, found a list" },
	{ "conflicts: []\n", PLY_R_POLICY_KEY, "p.yaml:1:1: ", "no key version" },
	{ "version: 2\n", PLY_R_POLICY_VALUE, "p.yaml:1:10: ", "found '2', allowed is 1" },
	{ "version: 1\nrules: []\n", PLY_R_POLICY_KEY, "p.yaml:2:1: ", "unknown key 'rules' in the policy" },
	{ "version: 1\nconflicts: {}\n", PLY_R_POLICY_VALUE, "p.yaml:2:12: ", "conflicts must be a list" },
	{ HEAD "  - a\n", PLY_R_POLICY_VALUE, "p.yaml:3:5: ", "an entry must be a mapping, found a word" },
	{ HEAD "  - file: /a\n", PLY_R_POLICY_KEY, "p.yaml:3:5: ",
	  "unknown key 'file' in an entry; allowed are: path paths glob of resolve package" },
	{ HEAD "  - resolve: first\n", PLY_R_POLICY_KEY, "p.yaml:3:5: ", "none of the keys path, paths and glob" },
	{ HEAD "  - path: /a\n    glob: /b\n    resolve: first\n", PLY_R_POLICY_KEY, "p.yaml:3:5: ", "more than one" },
	{ HEAD "  - path: a\n    resolve: first\n" OF, PLY_R_POLICY_VALUE, "p.yaml:3:11: ", "begins with a slash" },
	{ HEAD "  - path: /a/\n    resolve: first\n" OF, PLY_R_POLICY_VALUE, "p.yaml:3:11: ", "does not end with one" },
	{ HEAD "  - path: /a\\q\n    resolve: first\n" OF, PLY_R_POLICY_VALUE, "p.yaml:3:11: ", "as plyfs prints it" },
	{ HEAD "  - path: /a\\x00b\n    resolve: first\n" OF, PLY_R_POLICY_VALUE, "p.yaml:3:11: ", "" },
	{ HEAD "  - path: [/a]\n    resolve: first\n" OF, PLY_R_POLICY_VALUE, "p.yaml:3:11: ", "must be a word, found a list" },
	{ HEAD "  - paths: /a\n    resolve: first\n", PLY_R_POLICY_VALUE, "p.yaml:3:12: ", "must be a list, found a word" },
	{ HEAD "  - paths: []\n    resolve: first\n", PLY_R_POLICY_VALUE, "p.yaml:3:12: ", "names no path" },
	{ HEAD "  - path: /a\n" OF, PLY_R_POLICY_KEY, "p.yaml:3:5: ", "no key resolve" },
	{ HEAD "  - path: /a\n    resolve: both\n" OF, PLY_R_POLICY_VALUE, "p.yaml:4:14: ", "found 'both', allowed are first, last" },
	{ HEAD "  - path: /a\n    resolve: {}\n" OF, PLY_R_POLICY_KEY, "p.yaml:4:14: ", "empty mapping" },
	{ HEAD "  - path: /a\n    resolve: {merge: x}\n" OF, PLY_R_POLICY_KEY, "p.yaml:4:15: ", "unknown key 'merge'" },
	{ HEAD "  - path: /a\n    resolve: {driver: x}\n" OF, PLY_R_POLICY_VALUE, "p.yaml:4:23: ",
	  "there is no merge driver 'x'; there are: " },
	{ HEAD "  - path: /a\n    resolve: first\n", PLY_R_POLICY_KEY, "p.yaml:3:5: ", "no key of" },
	{ HEAD "  - path: /a\n    resolve: first\n    of: x\n", PLY_R_POLICY_VALUE, "p.yaml:5:9: ", "of must be a mapping" },
	{ HEAD "  - path: /a\n    resolve: first\n    of: {}\n", PLY_R_POLICY_VALUE, "p.yaml:5:9: ", "names no component" },
	{ HEAD "  - path: /a\n    resolve: first\n    of: {a: sha256:abc}\n", PLY_R_POLICY_VALUE, "p.yaml:5:13: ",
	  "found 'sha256:abc', allowed are sha256: and 64 hex digits" },
	{ HEAD "  - glob: /a/*\n    resolve: first\n" OF, PLY_R_POLICY_KEY, "p.yaml:5:9: ", "not bound to contents" },
	{ HEAD "  - paths: [/a, /b]\n    resolve: first\n    of: {/a: {x: deleted}}\n", PLY_R_POLICY_KEY,
	  "p.yaml:5:9: ", "the contents of /b are missing" },
	{ HEAD "  - paths: [/a]\n    resolve: first\n    of: {/a: {x: deleted}, /c: {x: deleted}}\n", PLY_R_POLICY_KEY,
	  "p.yaml:5:28: ", "'/c' is none of the entry's paths" },
	{ HEAD "  - path: /a\n    resolve: first\n" OF "  - path: /a\n    resolve: last\n" OF, PLY_R_POLICY_VALUE,
	  "p.yaml:6:5: ", "/a has an entry at line 3 already" },
	{ HEAD "  - glob: /a/*\n    resolve: first\n  - glob: /a/*\n    resolve: last\n", PLY_R_POLICY_VALUE,
	  "p.yaml:5:5: ", "has an entry at line 3 already" },
	{ HEAD "  - package: a\n", PLY_R_POLICY_KEY, "p.yaml:3:5: ", "no key resolve" },
	{ HEAD "  - package: a\n    resolve: last\n", PLY_R_POLICY_VALUE, "p.yaml:4:14: ", "allowed are target, fail or undecided" },
	{ HEAD "  - package: a\n    resolve: {driver: lines}\n", PLY_R_POLICY_VALUE, "p.yaml:4:", "" },
	{ HEAD "  - package: /a\n    resolve: target\n", PLY_R_POLICY_VALUE, "p.yaml:3:14: ", "allowed is a name" },
	{ HEAD "  - package: a\n    resolve: target\n    of: {target: 'a\\q'}\n", PLY_R_POLICY_VALUE, "p.yaml:5:18: ",
	  "allowed is a version" },
	{ HEAD "  - package: a\n    resolve: target\n  - package: a\n    resolve: fail\n", PLY_R_POLICY_VALUE, "p.yaml:5:5: ",
	  "a has an entry at line 3 already" },
	{ HEAD "  - path: /a\n    resolve: target\n" OF, PLY_R_POLICY_VALUE, "p.yaml:4:14: ", "for an entry of a package alone" },
	{ HEAD "  - path: /a\n    path: /b\n", PLY_R_POLICY_SYNTAX, "p.yaml:4:5: ", "stands twice" },
	{ HEAD "  - &x a\n", PLY_R_POLICY_SYNTAX, "p.yaml:3:5: ", "anchors" },
};

START_TEST(what_is_wrong_has_its_place)
{
	struct ply_err err = { 0 };
	struct policy p;
	int r = parse(wrong[_i].text, &p, &err);

	ck_assert_int_eq(r, -EINVAL);
	ck_assert_msg(err.reason == wrong[_i].reason, "%s: %s", ply_reason_name(err.reason), err.msg);
	ck_assert_msg(!strncmp(err.msg, wrong[_i].where, strlen(wrong[_i].where)), "%s: %s", wrong[_i].text, err.msg);
	ck_assert_msg(strstr(err.msg, wrong[_i].says), "%s", err.msg);
}
END_TEST

START_TEST(globs_have_a_length)
{
	static const char *const lines = "\n    resolve: first\n";
	struct ply_err err = { 0 };
	struct policy p;
	char text[8192];

	for (int n = 4096; n <= 4097; n++) {
		snprintf(text, sizeof(text), HEAD "  - glob: /%0*d%s", n - 1, 0, lines);
		ck_assert_int_eq(parse(text, &p, &err), n == 4096 ? 0 : -EINVAL);
		if (n == 4096)
			policy_done(&p);
	}
	ck_assert_str_eq(err.msg, "p.yaml:3:11: glob: found 4097 bytes, allowed are 4096");
}
END_TEST

START_TEST(each_form_is_read)
{
	static const char text[] =
		HEAD "  - path: /etc/a\n    resolve: keep-both\n" OF
		     "  - paths: [/b, '/odd\\n\\xff']\n    package: libssl3\n    resolve: {driver: pathlines}\n"
		     "    of:\n      /b: {os: deleted, x: 'symlink:/a b'}\n      '/odd\\n\\xff': {os: 'char:1:3'}\n"
		     "  - glob: /etc/foo.d/*\n    resolve: fail\n"
		     "  - path: /c\n    of: {x: directory}\n    resolve: undecided\n";
	struct ply_err err;
	struct policy p;

	ck_assert_msg(parse(text, &p, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(p.n, 4);
	ck_assert_str_eq(p.v[0].paths[0], "/etc/a");
	ck_assert_uint_eq(p.v[0].rule, PLY_RULE_KEEP_BOTH);
	ck_assert_uint_eq(p.v[0].nof, 2);
	ck_assert_str_eq(p.v[0].of[1].component, "php");
	ck_assert_uint_eq(p.v[1].npaths, 2);
	ck_assert_str_eq(p.v[1].paths[1], "/odd\n\xff");
	ck_assert_str_eq(p.v[1].package, "libssl3");
	ck_assert_uint_eq(p.v[1].rule, PLY_RULE_DRIVER);
	ck_assert_uint_ne(p.v[1].driver, 0);
	ck_assert_uint_eq(p.v[1].nof, 3);
	ck_assert_uint_eq(p.v[1].of[2].path, 1);
	ck_assert(p.v[2].is_glob);
	ck_assert_uint_eq(p.v[2].rule, POLICY_FAIL);
	ck_assert_uint_eq(p.v[3].rule, POLICY_UNDECIDED);
	policy_done(&p);
	ck_assert_msg(parse("version: 1\nconflicts: []\n", &p, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(p.n, 0);
	policy_done(&p);
	ck_assert_msg(parse("version: 1\n", &p, &err) == 0, "%s", err.msg);
	policy_done(&p);
	ck_assert_msg(parse(HEAD "  - path: /\n    resolve: first\n" OF, &p, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(p.v[0].paths[0], "/");
	policy_done(&p);
}
END_TEST

START_TEST(what_yaml_does_not_take_is_escaped)
{
	static const char text[] = "a \\\n\r\x1b[2J \xc2\x85 \xe2\x80\xa8 \xef\xbb\xbf \xff \xc3\xa9 '#:";
	_cleanup_buf_ struct buf out = { 0 };

	ck_assert_int_eq(buf_add(&out, ">", 1), 0);
	ck_assert_int_eq(policy_escape(&out, text), 0);
	ck_assert_int_eq(buf_add(&out, "", 1), 0);
	ck_assert_str_eq((char *)out.data, ">a \\\\\\n\\r\\x1b[2J \\xc2\\x85 \\xe2\\x80\\xa8 \\xef\\xbb\\xbf \\xff \xc3\xa9 '#:");
}
END_TEST

/* Any path comes back from a file that it was quoted into. */
START_TEST(any_path_comes_back)
{
	uint32_t state = 7;

	for (int round = 0; round < 3000; round++) {
		_cleanup_buf_ struct buf text = { 0 };
		char path[24] = "/";
		struct ply_err err;
		struct policy p;
		size_t len = 2 + (size_t)round % 20;

		for (size_t i = 1; i < len; i++) {
			static const char hard[] = "'\"\\:#{}[],&*!|>%@`-? \n\t\r\x01\x7f\xc2\x85\xe2\x80\xa8\xef\xbb\xbf";

			state = state * 1664525 + 1013904223;
			path[i] = state >> 31 ? (char)(state >> 16) : hard[(state >> 8) % (sizeof(hard) - 1)];
			if (!path[i] || path[i] == '/')
				path[i] = 'x';
		}
		ck_assert(buf_printf(&text, HEAD "  - path: ") == 0);
		ck_assert(policy_quote(&text, path) == 0);
		ck_assert(buf_printf(&text, "\n    of: {a: deleted}\n    resolve: first\n") == 0);
		ck_assert_msg(policy_parse("p", text.data, text.len, &p, &err) == 0, "%.*s: %s", (int)text.len,
			      (char *)text.data, err.msg);
		ck_assert_str_eq(p.v[0].paths[0], path);
		policy_done(&p);
	}
}
END_TEST

/* --- decisions --------------------------------------------------------------------------------- */

static const char *const names[] = { "os", "apache", "php", "mysql" };
static bool selected[] = { true, true, true, false };

/* apache has A everywhere, php B, others nothing */
static int content(void *ctx, uint32_t sub, const char *path, char **ret, struct ply_err *err)
{
	(void)ctx;
	(void)path;
	(void)err;
	*ret = strdup(sub == 1 ? "sha256:" HEX_A : sub == 2 ? "sha256:" HEX_B : "deleted");
	return 0;
}

static struct holder holders[][3] = {
	{ { .ref = 1, .sub = 1, .mode = S_IFREG | 0644 }, { .ref = 2, .sub = 2, .mode = S_IFREG | 0644 } },
	{ { .ref = 3, .sub = 1, .mode = S_IFDIR | 0755 }, { .ref = 4, .sub = 2, .mode = S_IFREG | 0644 } },
	{ { .ref = 5, .sub = 1, .mode = S_IFREG | 0644 }, { .ref = 6, .sub = 2, .mode = S_IFREG | 0644 } },
	{ { .ref = 7, .sub = 1, .whiteout = true }, { .ref = 8, .sub = 2, .mode = S_IFREG | 0644 } },
};
static struct collision_pair pairs[] = {
	{ 1, 2, MERGE_CONFLICT, MERGE_WHY_JSON, 1 | PAIR_APPENDABLE },
	{ 3, 4, MERGE_CONFLICT, MERGE_WHY_TYPE, 2 },
	{ 5, 6, MERGE_TIMES, 0, 64 },
	{ 7, 8, MERGE_CONFLICT, MERGE_WHY_DELETED, PAIR_A_WHITEOUT },
};
static struct collision all[4];

static struct collisions fresh(void)
{
	static char *const paths[] = { "/etc/a.json", "/etc/d", "/etc/t", "/etc/w" };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		all[i] = (struct collision){ .path = paths[i], .v = holders[i], .n = 2, .pair = i, .npairs = 1,
					     .cls = pairs[i].cls, .why = pairs[i].why, .flags = pairs[i].flags,
					     .appendable = pairs[i].flags & PAIR_APPENDABLE, .group = i };
	return (struct collisions){ .v = all, .n = ARRAY_SIZE(all), .pairs = pairs, .npairs = ARRAY_SIZE(pairs),
				    .names = names, .selected = selected, .nnames = ARRAY_SIZE(names),
				    .content = content };
}

static int decide(const char *text, struct collisions *c, size_t *ret_unused, struct ply_err *err)
{
	static struct policy p;    /* what is decided refers to it */
	const struct policy_entry *first;

	policy_done(&p);
	ck_assert_msg(parse(text, &p, err) == 0, "%s", err->msg);
	return policy_decide(&p, c, ret_unused, &first, err);
}

static const struct {
	const char *text;
	enum ply_reason reason;    /* 0: it is right */
	const char *says;
	int rules[4];
	size_t unused;
} decisions[] = {
	{ HEAD "  - path: /etc/a.json\n    resolve: append\n" OF, 0, "", { PLY_RULE_APPEND }, 0 },
	{ HEAD "  - glob: /etc/*\n    resolve: last\n", 0, "", { PLY_RULE_LAST, PLY_RULE_LAST, 0, PLY_RULE_LAST }, 0 },
	/* a glob decides what it may */
	{ HEAD "  - glob: /etc/*\n    resolve: append\n", 0, "", { PLY_RULE_APPEND }, 0 },
	/* and leaves the rest to others */
	{ HEAD "  - glob: /etc/*\n    resolve: append\n  - path: /etc/d\n    resolve: first\n" OF, 0, "",
	  { PLY_RULE_APPEND, PLY_RULE_FIRST }, 0 },
	{ HEAD "  - glob: /etc/*\n    resolve: undecided\n  - path: /etc/a.json\n    resolve: last\n" OF, 0, "",
	  { PLY_RULE_LAST }, 0 },
	{ HEAD "  - path: /etc/d\n    resolve: append\n" OF, PLY_R_POLICY_VALUE,
	  "p.yaml:4:14: /etc/d cannot be append: different types", { 0 }, 0 },
	{ HEAD "  - path: /etc/d\n    resolve: keep-both\n" OF, PLY_R_POLICY_VALUE, "a directory has one name only", { 0 }, 0 },
	{ HEAD "  - path: /etc/d\n    resolve: {driver: pathlines}\n" OF, PLY_R_POLICY_VALUE, "regular files only", { 0 }, 0 },
	{ HEAD "  - path: /etc/a.json\n    resolve: first\n    of: {apache: 'sha256:" HEX_A "', php: 'sha256:" HEX_A "'}\n",
	  PLY_R_POLICY_STALE, "p.yaml:5:98: the entry is stale: it was made for php's /etc/a.json with sha256:" HEX_A
	  ", which is now sha256:" HEX_B, { 0 }, 0 },
	{ HEAD "  - path: /etc/a.json\n    resolve: first\n    of: {apache: 'sha256:" HEX_A "'}\n", PLY_R_POLICY_STALE,
	  "p.yaml:3:5: the entry is stale: php holds /etc/a.json too", { 0 }, 0 },
	{ HEAD "  - path: /etc/a.json\n    resolve: first\n    of: {nginx: deleted}\n", PLY_R_POLICY_VALUE,
	  "p.yaml:5:17: of: there is no sub-image 'nginx'; there are: os, apache, php, mysql", { 0 }, 0 },
	/* what is not selected is not asked; nor is a path wrong that does not collide here */
	{ HEAD "  - path: /etc/a.json\n    resolve: first\n    of: {apache: 'sha256:" HEX_A "', php: 'sha256:" HEX_B
	  "', mysql: 'sha256:" HEX_A "'}\n", 0, "", { PLY_RULE_FIRST }, 0 },
	{ HEAD "  - path: /nowhere\n    resolve: first\n    of: {mysql: 'sha256:" HEX_A "'}\n", 0, "", { 0 }, 1 },
	{ HEAD "  - path: /nowhere\n    resolve: first\n    of: {php: 'sha256:" HEX_A "'}\n", PLY_R_POLICY_STALE,
	  "p.yaml:5:15: the entry is stale", { 0 }, 0 },
	{ HEAD "  - path: /etc/w\n    resolve: keep-both\n" OF, PLY_R_POLICY_VALUE, "one of them deletes it", { 0 }, 0 },
	{ HEAD "  - glob: /etc/a*\n    resolve: first\n  - path: /etc/a.json\n    resolve: last\n" OF, PLY_R_POLICY_VALUE,
	  "p.yaml:5:5: /etc/a.json has an entry at line 3 already", { 0 }, 0 },
	{ HEAD "  - path: /etc/a.json\n    resolve: fail\n" OF, 0, "", { POLICY_FAIL }, 0 },
};

START_TEST(entries_decide)
{
	struct collisions c = fresh();
	struct ply_err err = { 0 };
	size_t unused = 0;
	int r = decide(decisions[_i].text, &c, &unused, &err);

	if (decisions[_i].reason) {
		ck_assert_int_eq(r, -EINVAL);
		ck_assert_msg(err.reason == decisions[_i].reason, "%s", err.msg);
		ck_assert_msg(strstr(err.msg, decisions[_i].says), "%s", err.msg);
		return;
	}
	ck_assert_msg(r == 0, "%s", err.msg);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].cls >= MERGE_DRIVER)
			ck_assert_int_eq(all[i].rule, decisions[_i].rules[i]);
	ck_assert_uint_eq(unused, decisions[_i].unused);
}
END_TEST

START_TEST(decisions_are_of_pairs)
{
	struct collisions c = fresh();
	struct ply_decision *v;
	struct ply_err err;
	size_t n, unused;

	ck_assert(collision_is_undecided(&all[0], false));
	ck_assert(!collision_is_undecided(&all[0], true));
	ck_assert(collision_is_undecided(&all[1], true));
	ck_assert(!collision_is_undecided(&all[2], false));
	ck_assert(collisions_decisions(&c, true, &v, &n, &err) == 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(v[0].a, 1);
	ck_assert_uint_eq(v[0].rule, PLY_RULE_APPEND);
	free(v);
	/* what fails on purpose is not settled by --on-collision */
	ck_assert(decide(HEAD "  - glob: /etc/*\n    resolve: fail\n", &c, &unused, &err) == 0);
	ck_assert(collision_is_undecided(&all[0], true));
	ck_assert(collisions_decisions(&c, true, &v, &n, &err) == 0);
	ck_assert_uint_eq(n, 0);
	free(v);
}
END_TEST

/* --- differences ---------------------------------------------------------------------------------- */

static const struct {
	const char *a, *b, *out;
} diffs[] = {
	{ "x\n", "x\n", "" },
	{ "", "", "" },
	{ "", "a\n", "@@ -0,0 +1,1 @@\n+a\n" },
	{ "a\n", "", "@@ -1,1 +0,0 @@\n-a\n" },
	{ "a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n" },
	{ "a\n", "a", "@@ -1,1 +1,1 @@\n-a\n+a\n\\ No newline at end of file\n" },
	{ "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\nx\n", "@@ -7,3 +7,4 @@\n 7\n 8\n 9\n+x\n" },
	{ "a\n1\n2\n3\n4\n5\n6\n7\nb\n", "x\n1\n2\n3\n4\n5\n6\n7\ny\n",
	  "@@ -1,4 +1,4 @@\n-a\n+x\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+y\n" },
	{ "a\n1\n2\n3\n4\n5\n6\nb\n", "x\n1\n2\n3\n4\n5\n6\ny\n",
	  "@@ -1,8 +1,8 @@\n-a\n+x\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+y\n" },
	{ "\x1b[2J\n", "\tq\n", "@@ -1,1 +1,1 @@\n-\\x1b[2J\n+\tq\n" },
};

START_TEST(differences_are_as_of_diff)
{
	static const char head[] = "--- A\n+++ B\n";
	_cleanup_buf_ struct buf out = { 0 };

	ck_assert(textdiff("A", diffs[_i].a, strlen(diffs[_i].a), "B", diffs[_i].b, strlen(diffs[_i].b), &out) == 0);
	ck_assert(buf_add(&out, "", 1) == 0);
	if (!*diffs[_i].out)
		ck_assert_str_eq((char *)out.data, "");
	else
		ck_assert_str_eq((char *)out.data + strlen(head), diffs[_i].out);
}
END_TEST

/* Lines that begin with a blank, - and + are the texts. */
START_TEST(differences_hold_both_texts)
{
	uint32_t state = 11;

	for (int round = 0; round < 400; round++) {
		struct buf text[2] = { 0 }, out = { 0 }, got[2] = { 0 };

		for (int t = 0; t < 2; t++) {
			for (int i = 0; i < round % 9; i++) {
				state = state * 1664525 + 1013904223;
				ck_assert(buf_printf(&text[t], "%u\n", (state >> 20) % 3) == 0);
			}
		}
		ck_assert(textdiff("A", text[0].data, text[0].len, "B", text[1].data, text[1].len, &out) == 0);
		/* all lines are in the hunks, for no text is longer than the context around a change in its middle */
		ck_assert(buf_add(&out, "", 1) == 0);
		for (char *rest = (char *)out.data, *line; (line = strsep(&rest, "\n"));) {
			if (!strncmp(line, "---", 3) || !strncmp(line, "+++", 3) || *line == '@' || !*line)
				continue;
			if (*line != '+')
				ck_assert(buf_printf(&got[0], "%s\n", line + 1) == 0);
			if (*line != '-')
				ck_assert(buf_printf(&got[1], "%s\n", line + 1) == 0);
		}
		for (int t = 0; t < 2; t++) {
			if (out.len > 1 && round % 9 <= 4) {
				ck_assert_uint_eq(got[t].len, text[t].len);
				ck_assert(!text[t].len || !memcmp(got[t].data, text[t].data, text[t].len));
			}
			buf_done(&text[t]);
			buf_done(&got[t]);
		}
		buf_done(&out);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("policy");

	tap_loop(s, what_is_wrong_has_its_place, 0, (int)ARRAY_SIZE(wrong));
	tap_test(s, globs_have_a_length);
	tap_test(s, each_form_is_read);
	tap_test(s, what_yaml_does_not_take_is_escaped);
	tap_test(s, any_path_comes_back);
	tap_loop(s, entries_decide, 0, (int)ARRAY_SIZE(decisions));
	tap_test(s, decisions_are_of_pairs);
	tap_loop(s, differences_are_as_of_diff, 0, (int)ARRAY_SIZE(diffs));
	tap_test(s, differences_hold_both_texts);
	return s;
}

TAP_MAIN(suite)
