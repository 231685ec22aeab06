/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Views with overlays: names, attributes and content, on images made for each test. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "stack_view.h"
#include "tap.h"

/* --- hiding --------------------------------------------------------------------------- */

START_TEST(overlays_hide_what_they_stand_on)
{
	static const struct item web[] = { CHANGED("etc/a", "a of web\n"), GONE("etc/b"), F("etc/c", "c"), F("new/n", "n"), END };
	static const struct sub_table subs[] = {
		{ "os", { NULL }, base_os, NULL }, { "web", { "os" }, web, NULL }, { NULL, { NULL }, NULL, NULL } };
	uint64_t b;
	struct ply_attr a;

	make(subs, NULL);
	open_names("os");
	IS("/etc/a", "a of os\n");
	b = ino_of("/etc/b");
	open_names("web");
	IS("/etc/a", "a of web\n");
	IS("/etc/b", "-");
	IS("/etc/c", "c");
	IS("/new/n", "n");
	LISTS("/etc", "a c");
	LISTS("/", "etc opt new");
	ck_assert_int_eq(ply_view_attr(view, b, &a, &err), -ESTALE);
	ck_assert_int_eq(ply_view_attr(view, PLY_INO(0, 0), &a, &err), -ESTALE);
	ck_assert_uint_eq(attr_of("/").nlink, 5);
	done();
}
END_TEST

START_TEST(whole_directories_go)
{
	static const struct item web[] = { COVERS("opt"), GONE_DIR("opt/sub"), GONE("opt/sub/x"), GONE("opt/sub/y"), END };
	static const struct item db[] = { F("opt/sub/of-db", "db"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, base_os, NULL }, { "web", { "os" }, web, NULL },
						 { "db", { "os" }, db, NULL }, { NULL, { NULL }, NULL, NULL } };
	uint64_t x, sub, ino;
	struct ply_attr a;

	make(subs, NULL);
	open_names("os");
	x = ino_of("/opt/sub/x");
	sub = ino_of("/opt/sub");
	ck_assert_uint_eq(attr_of("/opt").nlink, 3);
	open_names("web");
	LISTS("/opt", "z");
	IS("/opt/sub", "-");
	ck_assert_uint_eq(attr_of("/opt").nlink, 2);
	ck_assert_int_eq(ply_view_attr(view, x, &a, &err), -ESTALE);
	ck_assert_int_eq(ply_view_attr(view, sub, &a, &err), -ESTALE);
	ck_assert_int_eq(ply_view_lookup(view, sub, "x", 1, &ino, &err), -ESTALE);
	ck_assert_int_eq(ply_view_readdir(view, sub, 0, list_one, NULL, &err), -ESTALE);
	/* what a sibling puts there brings nothing else back */
	open_names("web db");
	LISTS("/opt", "sub z");
	LISTS("/opt/sub", "of-db");
	IS("/opt/sub/x", "-");
	ck_assert_uint_eq(attr_of("/opt").nlink, 3);
	ck_assert_uint_eq(ino_of("/opt/sub"), sub);
	open_names("db");
	LISTS("/opt/sub", "x y of-db");
	done();
}
END_TEST

START_TEST(files_and_directories_take_turns)
{
	static const struct item one[] = { COVERS("opt"), F("opt/sub", "now a file"), END };
	static const struct item two[] = { COVERS("opt"), DIR("opt/sub"), F("opt/sub/of-two", "2"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, base_os, NULL }, { "one", { "os" }, one, NULL },
						 { "two", { "one" }, two, NULL }, { NULL, { NULL }, NULL, NULL } };
	struct ply_attr a;
	uint64_t x, dir;

	make(subs, NULL);
	open_names("os");
	x = ino_of("/opt/sub/x");
	dir = ino_of("/opt/sub");
	open_names("one");
	IS("/opt/sub", "now a file");
	LISTS("/opt", "z sub");
	ck_assert_uint_eq(attr_of("/opt").nlink, 2);
	ck_assert_int_eq(ply_view_attr(view, x, &a, &err), -ESTALE);
	ck_assert_int_eq(ply_view_attr(view, dir, &a, &err), -ESTALE);
	open_names("two");
	LISTS("/opt/sub", "of-two");
	IS("/opt/sub/x", "-");
	ck_assert_uint_eq(attr_of("/opt").nlink, 3);
	ck_assert_uint_eq(attr_of("/opt/sub").nlink, 2);
	ck_assert_int_eq(ply_view_attr(view, x, &a, &err), -ESTALE);
	done();
}
END_TEST

START_TEST(overlays_stand_on_overlays)
{
	static const struct item web[] = { CHANGED("etc/a", "a of web\n"), GONE("etc/b"), END };
	static const struct item app[] = { F("etc/b", "b of app\n"), GONE("etc/a"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, base_os, NULL }, { "web", { "os" }, web, NULL },
						 { "app", { "web" }, app, NULL }, { NULL, { NULL }, NULL, NULL } };

	make(subs, NULL);
	open_names("app");
	ck_assert_uint_eq(ply_view_nsubs(view), 3);
	IS("/etc/a", "-");
	IS("/etc/b", "b of app\n");
	LISTS("/etc", "b");
	open_names("");     /* all */
	LISTS("/etc", "b");
	done();
}
END_TEST

/* --- attributes ------------------------------------------------------------------------- */

START_TEST(attributes_are_taken_one_by_one)
{
	static const struct item os[] = { { "d", 'd', NULL, 0, 0750, 0, 0, 100, "os" }, { "f", 'f', "f", 0, 0600, 0, 0, 100, "os" }, END };
	static const struct item a[] = { { "d", 'd', NULL, PLY_OVER_MODE, 0700, 7, 0, 200, "a" },
					 { "f", 'f', "f", PLY_OVER_MODE, 0640, 0, 0, 200, "os" }, END };
	static const struct item b[] = { { "d", 'd', NULL, PLY_OVER_OWNER, 0750, 9, 0, 300, "b" },
					 { "f", 'f', "of b", PLY_OVER_CONTENT | PLY_OVER_OWNER, 0600, 9, 0, 300, "os" }, END };
	static const struct item c[] = { { "d", 'd', NULL, PLY_OVER_MODE, 0711, 7, 0, 400, "a" }, END };
	static const struct sub_table subs[] = { { "os", { NULL }, os, NULL }, { "a", { "os" }, a, NULL },
						 { "b", { "os" }, b, NULL }, { "c", { "a" }, c, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = {
		{ "f", "a", "b", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_MODE | PLY_PAIR_F_OWNER | PLY_PAIR_F_CONTENT },
		{ "d", "b", "c", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_MODE | PLY_PAIR_F_OWNER },
		{ "d", "a", "b", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_MODE | PLY_PAIR_F_OWNER }, { NULL, NULL, NULL, 0, 0, 0 } };
	struct ply_attr at;
	const void *value;
	uint32_t who[4];
	size_t len;

	make(subs, pairs);
	open_names("a b c");
	at = attr_of("/d");
	ck_assert_uint_eq(at.mode, S_IFDIR | 0711);
	ck_assert_uint_eq(at.uid, 9);
	ck_assert_int_eq(at.mtime_sec, 100);
	OK(ply_view_getxattr(view, ino_of("/d"), "user.x", &value, &len, &err));
	ck_assert_mem_eq(value, "os", 2);
	open_names("a b");
	ck_assert_uint_eq(attr_of("/d").mode, S_IFDIR | 0700);
	at = attr_of("/f");
	ck_assert_uint_eq(at.mode, S_IFREG | 0640);
	ck_assert_uint_eq(at.uid, 9);
	ck_assert_int_eq(at.mtime_sec, 300);
	ck_assert_uint_eq(at.nlink, 1);
	IS("/f", "of b");
	ck_assert_int_eq(ply_view_origin(view, ino_of("/f"), who, 4, &err), 3);
	open_names("b");
	ck_assert_uint_eq(attr_of("/f").mode, S_IFREG | 0600);
	done();
}
END_TEST

/* --- content ------------------------------------------------------------------------------ */

static int print_run(void *ctx, uint64_t len, uint32_t i, struct ply_err *e)
{
	(void)e;
	buf_printf(ctx, "%s:%llu ", ply_image_sub_info(image, ply_view_sub(view, i))->name, (unsigned long long)len);
	return 0;
}

START_TEST(content_is_merged)
{
	struct buf runs = { 0 };
	char part[2];
	uint64_t ino, off;
	uint32_t who[4];

	make(ten_subs, ten_pairs);
	open_names("a b");
	IS("/etc/ten", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n");
	LISTS("/etc", "ten");
	open_names("b c");
	IS("/etc/ten", "one\n2\n3\n4\nfive\n6\n7\n8\n9\nten\n");
	ino = ino_of("/etc/ten");
	OK(view_blocks(view, ino, print_run, &runs, &err));
	buf_add(&runs, "", 1);
	ck_assert_str_eq((char *)runs.data, "a:4 os:6 c:5 os:8 b:4 ");
	buf_done(&runs);
	ck_assert_int_eq(ply_view_origin(view, ino, who, 4, &err), 3);   /* what of a is left, c has */
	OK(ply_view_seek(view, ino, 3, SEEK_HOLE, &off, &err));
	ck_assert_uint_eq(off, attr_of("/etc/ten").size);
	ck_assert_int_eq(ply_view_read(view, ino, 4, 2, part, &err), 2);
	ck_assert_mem_eq(part, "2\n", 2);
	open_names("c");
	IS("/etc/ten", "one\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n");
	done();
}
END_TEST

START_TEST(overlays_on_siblings_are_their_merge)
{
	static const struct item d[] = { CHANGED("etc/ten", "one\n2\n3\n4\n5\n6\nseven\n8\n9\nten\n"), END };
	static const struct item e[] = { CHANGED("etc/ten", "1\n2\nthree\n4\n5\n6\n7\n8\n9\n10\n"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, ten_os, NULL }, { "a", { "os" }, ten_a, NULL },
						 { "b", { "os" }, ten_b, NULL }, { "d", { "a", "b" }, d, NULL },
						 { "e", { "os" }, e, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = { { "etc/ten", "a", "b", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
					     { "etc/ten", "a", "e", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
					     { "etc/ten", "b", "e", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
					     { "etc/ten", "d", "e", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
					     { NULL, NULL, NULL, 0, 0, 0 } };

	make(subs, pairs);
	open_names("d");
	IS("/etc/ten", "one\n2\n3\n4\n5\n6\nseven\n8\n9\nten\n");
	open_names("d e");
	IS("/etc/ten", "one\n2\nthree\n4\n5\n6\nseven\n8\n9\nten\n");
	done();
}
END_TEST

/* y stands on x and changes the mode alone: what x did counts all the same. */
START_TEST(what_lies_below_one_head_counts)
{
	static const struct item x[] = { { "etc/new", 'f', "of x\n", 0, 0, 0, 0, 10, NULL },
					 { "etc/ten", 'f', "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", PLY_OVER_CONTENT, 0, 0, 0, 10, NULL }, END };
	static const struct item y[] = { { "etc/new", 'f', "of x\n", PLY_OVER_OWNER, 0, 7, 0, 10, NULL },
					 { "etc/ten", 'f', "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", PLY_OVER_MODE, 0600, 0, 0, 10, NULL }, END };
	static const struct item z[] = { { "etc/new", 'f', "of z\n", 0, 0, 7, 0, 5, NULL },
					 { "etc/ten", 'f', "1\n2\n3\n4\n5\n6\n7\n8\n9\nten\n", PLY_OVER_CONTENT, 0, 0, 0, 5, NULL }, END };
	static const struct sub_table subs[] = { { "os", { NULL }, ten_os, NULL }, { "x", { "os" }, x, NULL },
						 { "y", { "x" }, y, NULL }, { "z", { "os" }, z, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct sub_table z_first[] = { { "os", { NULL }, ten_os, NULL }, { "z", { "os" }, z, NULL },
						    { "x", { "os" }, x, NULL }, { "y", { "x" }, y, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = {
		{ "etc/ten", "x", "z", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
		{ "etc/ten", "y", "z", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_F_MODE },
		{ "etc/new", "y", "z", PLY_PAIR_APPEND, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_APPENDABLE }, { NULL, NULL, NULL, 0, 0, 0 } };
	static const struct pair z_pairs[] = {
		{ "etc/ten", "z", "x", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
		{ "etc/ten", "z", "y", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_F_MODE },
		{ "etc/new", "z", "y", PLY_PAIR_APPEND, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_APPENDABLE }, { NULL, NULL, NULL, 0, 0, 0 } };

	make(subs, pairs);
	open_names("y z");
	IS("/etc/ten", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n");
	ck_assert_uint_eq(attr_of("/etc/ten").mode, S_IFREG | 0600);
	ck_assert_int_eq(attr_of("/etc/ten").mtime_sec, 10);
	IS("/etc/new", "of x\nof z\n");
	done();
	make(z_first, z_pairs);
	open_names("y z");
	IS("/etc/ten", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n");
	ck_assert_uint_eq(attr_of("/etc/ten").mode, S_IFREG | 0600);
	IS("/etc/new", "of z\nof x\n");
	ck_assert_uint_eq(attr_of("/etc/new").uid, 7);
	done();
}
END_TEST

/* x makes it secret, y, which stands on x, and z change lines: it stays so, whoever is the first. */
START_TEST(modes_come_along)
{
	static const struct item x[] = { { "etc/ten", 'f', TEN, PLY_OVER_MODE | PLY_OVER_OWNER | PLY_OVER_XATTRS, 0600, 5, 0, 10, "x" }, END };
	static const struct item y[] = { { "etc/ten", 'f', "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", PLY_OVER_CONTENT, 0600, 5, 0, 20, "x" }, END };
	static const struct sub_table subs[] = { { "os", { NULL }, ten_os, NULL }, { "z", { "os" }, ten_b, NULL },
						 { "x", { "os" }, x, NULL }, { "y", { "x" }, y, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = {
		{ "etc/ten", "z", "x", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_F_MODE | PLY_PAIR_F_OWNER | PLY_PAIR_F_XATTRS },
		{ "etc/ten", "z", "y", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_F_MODE | PLY_PAIR_F_OWNER | PLY_PAIR_F_XATTRS },
		{ NULL, NULL, NULL, 0, 0, 0 } };
	const void *value;
	size_t len;

	make(subs, pairs);
	open_names("z y");
	IS("/etc/ten", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n");
	ck_assert_uint_eq(attr_of("/etc/ten").mode, S_IFREG | 0600);
	ck_assert_uint_eq(attr_of("/etc/ten").uid, 5);
	OK(ply_view_getxattr(view, ino_of("/etc/ten"), "user.x", &value, &len, &err));
	ck_assert_mem_eq(value, "x", 1);
	done();
}
END_TEST

/* Two change one file of a component, which a third brings by itself: what they started from is there once. */
START_TEST(a_common_base_is_there_once)
{
	static const struct item db[] = { F("etc/new", TEN), END };
	static const struct item x[] = { CHANGED("etc/new", "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"), END };
	static const struct item y[] = { CHANGED("etc/new", "1\n2\n3\n4\n5\n6\n7\n8\n9\nten\n"), END };
	static const struct item z[] = { F("etc/new", "of z\n"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, base_os, NULL }, { "db", { NULL }, db, NULL },
						 { "x", { "os", "db" }, x, NULL }, { "z", { "os" }, z, NULL },
						 { "y", { "os", "db" }, y, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = {
		{ "etc/new", "x", "y", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
		{ "etc/new", "x", "z", PLY_PAIR_APPEND, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_APPENDABLE },
		{ "etc/new", "z", "y", PLY_PAIR_APPEND, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_APPENDABLE }, { NULL, NULL, NULL, 0, 0, 0 } };

	make(subs, pairs);
	open_names("x y");
	IS("/etc/new", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n");
	open_names("x y z");
	IS("/etc/new", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\nof z\n");
	open_decided("x y z", "etc/new", "x", "z", PLY_RULE_APPEND);
	IS("/etc/new", "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\nof z\n1\n2\n3\n4\n5\n6\n7\n8\n9\nten\n");
	done();
}
END_TEST

/* What a component of the first capture brings comes with what stands on it, too. */
START_TEST(components_below_one_head_count)
{
	static const struct item db[] = { F("etc/new", "of db\n"), END };
	static const struct item y[] = { { "etc/new", 'f', "of db\n", PLY_OVER_XATTRS, 0, 0, 0, 0, "y" }, END };
	static const struct item z[] = { { "etc/new", 'f', "of z\n", 0, 0, 0, 0, 0, "y" }, END };
	static const struct sub_table subs[] = { { "os", { NULL }, ten_os, NULL }, { "db", { NULL }, db, NULL },
						 { "y", { "os", "db" }, y, NULL }, { "z", { "os" }, z, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = {
		{ "etc/new", "y", "z", PLY_PAIR_APPEND, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_APPENDABLE }, { NULL, NULL, NULL, 0, 0, 0 } };

	make(subs, pairs);
	open_names("y z");
	IS("/etc/new", "of db\nof z\n");
	done();
}
END_TEST

START_TEST(shared_files_are_merged_with_overlays)
{
	struct view_contender c;
	uint64_t a, b;

	make(passwd_subs, passwd_pairs);
	open_names("mysql");
	IS("/etc/passwd", ROOT MYSQL);
	open_names("web");
	IS("/etc/passwd", ROOT WEB);
	open_names("web app");
	IS("/etc/passwd", ROOT WEB APP);
	open_names("mysql web");
	IS("/etc/passwd", ROOT MYSQL WEB);
	LISTS("/etc", "passwd");
	open_names("mysql web app");
	IS("/etc/passwd", ROOT MYSQL WEB APP);
	stack_pair("etc/passwd", "mysql", "web", &a, &b);
	OK(view_contender(view, a, false, &c, &err));
	ck_assert_str_eq(c.path, "/etc/passwd");
	ck_assert_uint_eq(c.attr.size, strlen(ROOT MYSQL));
	view_contender_done(&c);
	OK(view_contender(view, b, false, &c, &err));
	ck_assert_uint_eq(c.attr.size, strlen(ROOT WEB));
	view_contender_done(&c);
	done();
}
END_TEST

/* Where only records clash, what is not decided is as if decided for the first. */
START_TEST(what_is_undecided_is_first_of_records)
{
	static const struct item a[] = { CHANGED("etc/passwd", ROOT WEB), END };
	static const struct item b[] = { CHANGED("etc/passwd", ROOT "web:x:34:34::/var/www:/bin/false\n" APP), END };
	static const struct sub_table subs[] = { { "os", { NULL }, passwd_os, NULL }, { "a", { "os" }, a, NULL },
						 { "b", { "os" }, b, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = {
		{ "etc/passwd", "a", "b", PLY_PAIR_CONFLICT, PLY_PAIR_WHY_RECORD, PLY_PAIR_F_CONTENT }, { NULL, NULL, NULL, 0, 0, 0 } };

	make(subs, pairs);
	open_decided("a b", "etc/passwd", "a", "b", PLY_RULE_FIRST);
	IS("/etc/passwd", ROOT WEB APP);
	view = ply_view_close(view);
	OK(ply_view_open_with(image, &(struct ply_view_options){ .undecided_first = true }, &view, &err));
	IS("/etc/passwd", ROOT WEB APP);
	done();
}
END_TEST

/* Threads that ask for a merged file, and what it needs, at once. */
static void *reader(void *ctx)
{
	struct ply_err e;
	char buf[256];

	(void)ctx;
	for (int i = 0; i < 200; i++) {
		uint64_t ino;
		ssize_t n;

		ck_assert_int_eq(ply_view_resolve(view, "/etc/passwd", false, &ino, &e), 0);
		n = ply_view_read(view, ino, 0, sizeof(buf), buf, &e);
		ck_assert_int_eq(n, (ssize_t)strlen(ROOT MYSQL WEB APP));
		ck_assert_mem_eq(buf, ROOT MYSQL WEB APP, (size_t)n);
		if (i % 50 == 0)
			ply_view_idle(view);
	}
	return NULL;
}

START_TEST(threads_read_merged_files)
{
	pthread_t t[4];

	make(passwd_subs, passwd_pairs);
	open_names("mysql web app");
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_create(&t[i], NULL, reader, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	done();
}
END_TEST

/* --- hostile ------------------------------------------------------------------------------------- */

/* What a whiteout refers to is not asked for. */
START_TEST(whiteouts_of_files)
{
	static const struct item web[] = { F("etc/a", "a"), { "etc/b", 'x', "etc/a", 0, 0, 0, 0, 0, NULL }, END };
	static const struct sub_table subs[] = {
		{ "os", { NULL }, base_os, NULL }, { "web", { "os" }, web, NULL }, { NULL, { NULL }, NULL, NULL } };
	uint64_t dir, ino;

	make(subs, NULL);
	open_names("web");
	OK(ply_view_lookup(view, 1, "etc", 3, &dir, &err));
	ck_assert_int_eq(ply_view_lookup(view, dir, "b", 1, &ino, &err), -ENOENT);
	ck_assert_int_eq(ply_view_walk(view, 1, walk_on, NULL, &err), -EUCLEAN);   /* /etc/a belongs to two */
	done();
}
END_TEST

static struct sub_table chain[513];
static char chain_names[512][8];
static char chain_texts[512][16];
static struct item chain_items[512][4];

/* 512 sub-images, each standing on the one before; or, from @siblings on, all on os. */
static void make_chain(int siblings)
{
	for (int i = 0; i < 512; i++) {
		struct item *it = chain_items[i];

		snprintf(chain_names[i], sizeof(chain_names[i]), i ? "s%d" : "os", i);
		snprintf(chain_texts[i], sizeof(chain_texts[i]), "line %d\n", i);
		it[0] = (struct item){ "f", 'f', chain_texts[i], i ? PLY_OVER_CONTENT : 0, 0, 0, 0, 0, NULL };
		it[1] = (struct item){ "own", 'i', NULL, 0, 0, 0, 0, 0, NULL };
		it[2] = (struct item){ NULL, 0, NULL, 0, 0, 0, 0, 0, NULL };
		chain[i] = (struct sub_table){ chain_names[i], { i ? chain_names[i >= siblings ? 0 : i - 1] : NULL }, it, NULL };
	}
	make(chain, NULL);
}

START_TEST(deep_chains)
{
	uint64_t ino;

	make_chain(512);
	open_names("s511");
	ck_assert_uint_eq(ply_view_nsubs(view), 512);
	OK(ply_view_lookup(view, 1, "f", 1, &ino, &err));
	IS("/f", "line 511\n");
	LISTS("/", "own f");
	ck_assert_uint_eq(attr_of("/").nlink, 3);
	done();
}
END_TEST

START_TEST(many_siblings)
{
	make_chain(1);
	open_names("");
	IS("/f", "line 1\n");      /* nothing says that they differ */
	LISTS("/", "own f");
	done();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("overlay");

	tap_test(s, overlays_hide_what_they_stand_on);
	tap_test(s, whole_directories_go);
	tap_test(s, files_and_directories_take_turns);
	tap_test(s, overlays_stand_on_overlays);
	tap_test(s, attributes_are_taken_one_by_one);
	tap_test(s, content_is_merged);
	tap_test(s, overlays_on_siblings_are_their_merge);
	tap_test(s, what_lies_below_one_head_counts);
	tap_test(s, modes_come_along);
	tap_test(s, components_below_one_head_count);
	tap_test(s, a_common_base_is_there_once);
	tap_test(s, what_is_undecided_is_first_of_records);
	tap_test(s, shared_files_are_merged_with_overlays);
	tap_test(s, threads_read_merged_files);
	tap_test(s, whiteouts_of_files);
	tap_test(s, deep_chains);
	tap_test(s, many_siblings);
	return s;
}
TAP_MAIN(suite)
