/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Views with overlays: names, attributes, content and decisions, on images made for each test. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "layout/layout.h"
#include "stack_image.h"
#include "plyfs/view.h"
#include "tap.h"
#include "tree/view_internal.h"

#define OK(call) \
	do { \
		int ok_ = (call); \
		ck_assert_msg(ok_ == 0, "%s: %d %s", #call, ok_, err.msg); \
	} while (0)

static struct ply_err err;
static struct ply_image *image;
static struct ply_view *view, *other;
static char text[4096];

static void make(const struct sub_table *subs, const struct pair *pairs)
{
	char path[] = "/tmp/plyfs-overlay-XXXXXX";

	close(mkstemp(path));
	stack_image(path, subs, pairs);
	OK(ply_image_open(path, &image, &err));
	unlink(path);
}

/* @names: "os web" */
static int try_open(const char *names, const struct ply_decision *d, size_t n, bool append)
{
	const char *v[16];
	char *copy = strdup(names), *save = NULL;
	struct ply_view_options o = { .names = v, .decisions = d, .ndecisions = n, .append = append };
	int r;

	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
		v[o.n++] = p;
	view = ply_view_close(view);
	r = ply_view_open_with(image, &o, &view, &err);
	free(copy);
	return r;
}

static void open_view(const char *names)
{
	OK(try_open(names, NULL, 0, false));
}

static void open_decided(const char *names, const char *path, const char *a, const char *b, uint8_t rule)
{
	struct ply_decision d = { .rule = rule };

	stack_pair(path, a, b, &d.a, &d.b);
	OK(try_open(names, &d, 1, false));
}

static void done(void)
{
	view = ply_view_close(view);
	image = ply_image_close(image);
}

static uint64_t ino_of(const char *path)
{
	uint64_t ino;

	OK(ply_view_resolve(view, path, false, &ino, &err));
	return ino;
}

static struct ply_attr attr_of(const char *path)
{
	struct ply_attr a;

	OK(ply_view_attr(view, ino_of(path), &a, &err));
	return a;
}

/* Content; "-" where it is not there, "/" a directory, "@..." a link. */
static const char *cat(const char *path)
{
	struct ply_attr a;
	const char *target;
	uint64_t ino;
	size_t len;
	int r = ply_view_resolve(view, path, false, &ino, &err);
	ssize_t n;

	if (r == -ENOENT || r == -ENOTDIR)
		return "-";
	OK(r);
	OK(ply_view_attr(view, ino, &a, &err));
	ck_assert_uint_eq(a.ino, ino);
	if (S_ISDIR(a.mode))
		return "/";
	if (S_ISLNK(a.mode)) {
		OK(ply_view_readlink(view, ino, &target, &len, &err));
		snprintf(text, sizeof(text), "@%.*s", (int)len, target);
		return text;
	}
	n = ply_view_read(view, ino, 0, sizeof(text) - 1, text, &err);
	ck_assert_msg(n >= 0, "%s: %s", path, err.msg);
	ck_assert_uint_eq((uint64_t)n, a.size);
	text[n] = '\0';
	return text;
}

#define IS(path, want) ck_assert_str_eq(cat(path), want)

struct listing {
	struct buf names;
	uint64_t dir, cookie;
	int left;
};

/* Each entry is what lookup says, too. */
static int list_one(void *ctx, const struct ply_dirent *de)
{
	struct listing *l = ctx;
	uint64_t ino;
	struct ply_attr a;

	OK(ply_view_lookup(view, l->dir, de->name, de->len, &ino, &err));
	ck_assert_uint_eq(ino, de->ino);
	OK(ply_view_attr(view, ino, &a, &err));
	ck_assert_uint_eq(a.mode >> 12, de->type);
	buf_printf(&l->names, "%s%.*s", l->names.len ? " " : "", (int)de->len, de->name);
	l->cookie = de->cookie;
	return --l->left == 0;
}

static const char *ls(const char *path)
{
	struct listing l = { .dir = ino_of(path), .left = -1 };

	OK(ply_view_readdir(view, l.dir, 0, list_one, &l, &err));
	snprintf(text, sizeof(text), "%.*s", (int)l.names.len, (char *)l.names.data);
	buf_done(&l.names);
	return text;
}

#define LISTS(path, want) ck_assert_str_eq(ls(path), want)

/* --- hiding --------------------------------------------------------------------------- */

static const struct item base_os[] = {
	{ "etc", 'd', NULL, 0, 0, 0, 0, 0, NULL },
	{ "etc/a", 'f', "a of os\n", 0, 0, 0, 0, 0, NULL },
	{ "etc/b", 'f', "b of os\n", 0, 0, 0, 0, 0, NULL },
	{ "opt", 'd', NULL, 0, 0, 0, 0, 0, NULL },
	{ "opt/sub", 'd', NULL, 0, 0, 0, 0, 0, NULL },
	{ "opt/sub/x", 'f', "x", 0, 0, 0, 0, 0, NULL },
	{ "opt/sub/y", 'f', "y", 0, 0, 0, 0, 0, NULL },
	{ "opt/z", 'l', "sub", 0, 0, 0, 0, 0, NULL },
	{ NULL, 0, NULL, 0, 0, 0, 0, 0, NULL },
};

#define END { NULL, 0, NULL, 0, 0, 0, 0, 0, NULL }
#define F(path, text) { path, 'f', text, 0, 0, 0, 0, 0, NULL }
#define CHANGED(path, text) { path, 'f', text, PLY_OVER_CONTENT, 0, 0, 0, 0, NULL }
#define GONE(path) { path, 'w', NULL, 0, 0, 0, 0, 0, NULL }
#define DIR(path) { path, 'd', NULL, 0, 0, 0, 0, 0, NULL }
#define COVERS(path) { path, 'i', NULL, 0, 0, 0, PLY_NODE_COVERS, 0, NULL }
#define GONE_DIR(path) { path, 'W', NULL, 0, 0, 0, 0, 0, NULL }

START_TEST(overlays_hide_what_they_stand_on)
{
	static const struct item web[] = { CHANGED("etc/a", "a of web\n"), GONE("etc/b"), F("etc/c", "c"), F("new/n", "n"), END };
	static const struct sub_table subs[] = {
		{ "os", { NULL }, base_os, NULL }, { "web", { "os" }, web, NULL }, { NULL, { NULL }, NULL, NULL } };
	uint64_t b;
	struct ply_attr a;

	make(subs, NULL);
	open_view("os");
	IS("/etc/a", "a of os\n");
	b = ino_of("/etc/b");
	open_view("web");
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
	open_view("os");
	x = ino_of("/opt/sub/x");
	sub = ino_of("/opt/sub");
	ck_assert_uint_eq(attr_of("/opt").nlink, 3);
	open_view("web");
	LISTS("/opt", "z");
	IS("/opt/sub", "-");
	ck_assert_uint_eq(attr_of("/opt").nlink, 2);
	ck_assert_int_eq(ply_view_attr(view, x, &a, &err), -ESTALE);
	ck_assert_int_eq(ply_view_attr(view, sub, &a, &err), -ESTALE);
	ck_assert_int_eq(ply_view_lookup(view, sub, "x", 1, &ino, &err), -ESTALE);
	ck_assert_int_eq(ply_view_readdir(view, sub, 0, list_one, NULL, &err), -ESTALE);
	/* what a sibling puts there brings nothing else back */
	open_view("web db");
	LISTS("/opt", "sub z");
	LISTS("/opt/sub", "of-db");
	IS("/opt/sub/x", "-");
	ck_assert_uint_eq(attr_of("/opt").nlink, 3);
	ck_assert_uint_eq(ino_of("/opt/sub"), sub);
	open_view("db");
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
	open_view("os");
	x = ino_of("/opt/sub/x");
	dir = ino_of("/opt/sub");
	open_view("one");
	IS("/opt/sub", "now a file");
	LISTS("/opt", "z sub");
	ck_assert_uint_eq(attr_of("/opt").nlink, 2);
	ck_assert_int_eq(ply_view_attr(view, x, &a, &err), -ESTALE);
	ck_assert_int_eq(ply_view_attr(view, dir, &a, &err), -ESTALE);
	open_view("two");
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
	open_view("app");
	ck_assert_uint_eq(ply_view_nsubs(view), 3);
	IS("/etc/a", "-");
	IS("/etc/b", "b of app\n");
	LISTS("/etc", "b");
	open_view("");     /* all */
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
	open_view("a b c");
	at = attr_of("/d");
	ck_assert_uint_eq(at.mode, S_IFDIR | 0711);
	ck_assert_uint_eq(at.uid, 9);
	ck_assert_int_eq(at.mtime_sec, 100);
	OK(ply_view_getxattr(view, ino_of("/d"), "user.x", &value, &len, &err));
	ck_assert_mem_eq(value, "os", 2);
	open_view("a b");
	ck_assert_uint_eq(attr_of("/d").mode, S_IFDIR | 0700);
	at = attr_of("/f");
	ck_assert_uint_eq(at.mode, S_IFREG | 0640);
	ck_assert_uint_eq(at.uid, 9);
	ck_assert_int_eq(at.mtime_sec, 300);
	ck_assert_uint_eq(at.nlink, 1);
	IS("/f", "of b");
	ck_assert_int_eq(ply_view_origin(view, ino_of("/f"), who, 4, &err), 3);
	open_view("b");
	ck_assert_uint_eq(attr_of("/f").mode, S_IFREG | 0600);
	done();
}
END_TEST

/* --- content ------------------------------------------------------------------------------ */

#define TEN "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"

static const struct item ten_os[] = { F("etc/ten", TEN), END };
static const struct item ten_a[] = { CHANGED("etc/ten", "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"), END };
static const struct item ten_b[] = { CHANGED("etc/ten", "1\n2\n3\n4\n5\n6\n7\n8\n9\nten\n"), END };
static const struct item ten_c[] = { CHANGED("etc/ten", "one\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n"), END };
/* c stands on a */
static const struct sub_table ten_subs[] = { { "os", { NULL }, ten_os, NULL }, { "a", { "os" }, ten_a, NULL },
					     { "b", { "os" }, ten_b, NULL }, { "c", { "a" }, ten_c, NULL },
					     { NULL, { NULL }, NULL, NULL } };
static const struct pair ten_pairs[] = { { "etc/ten", "a", "b", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
					 { "etc/ten", "b", "c", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
					 { NULL, NULL, NULL, 0, 0, 0 } };

static int print_run(void *ctx, uint64_t len, uint32_t i, struct ply_err *e)
{
	(void)e;
	buf_printf(ctx, "%s:%llu ", ply_image_sub_info(image, ply_view_sub(view, i))->name, (unsigned long long)len);
	return 0;
}

START_TEST(content_is_merged)
{
	struct buf runs = { 0 };
	uint64_t ino, off;
	uint32_t who[4];

	make(ten_subs, ten_pairs);
	open_view("a b");
	IS("/etc/ten", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n");
	LISTS("/etc", "ten");
	open_view("b c");
	IS("/etc/ten", "one\n2\n3\n4\nfive\n6\n7\n8\n9\nten\n");
	ino = ino_of("/etc/ten");
	OK(view_blocks(view, ino, print_run, &runs, &err));
	buf_add(&runs, "", 1);
	ck_assert_str_eq((char *)runs.data, "a:4 os:6 c:5 os:8 b:4 ");
	buf_done(&runs);
	ck_assert_int_eq(ply_view_origin(view, ino, who, 4, &err), 3);   /* what of a is left, c has */
	OK(ply_view_seek(view, ino, 3, SEEK_HOLE, &off, &err));
	ck_assert_uint_eq(off, attr_of("/etc/ten").size);
	ck_assert_int_eq(ply_view_read(view, ino, 4, 2, text, &err), 2);
	ck_assert_mem_eq(text, "2\n", 2);
	open_view("c");
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
	open_view("d");
	IS("/etc/ten", "one\n2\n3\n4\n5\n6\nseven\n8\n9\nten\n");
	open_view("d e");
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
	open_view("y z");
	IS("/etc/ten", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n");
	ck_assert_uint_eq(attr_of("/etc/ten").mode, S_IFREG | 0600);
	ck_assert_int_eq(attr_of("/etc/ten").mtime_sec, 10);
	IS("/etc/new", "of x\nof z\n");
	done();
	make(z_first, z_pairs);
	open_view("y z");
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
	open_view("z y");
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
	open_view("x y");
	IS("/etc/new", "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n");
	open_view("x y z");
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
	open_view("y z");
	IS("/etc/new", "of db\nof z\n");
	done();
}
END_TEST

#define ROOT  "root:x:0:0:root:/root:/bin/sh\n"
#define MYSQL "mysql:x:27:27::/var/lib/mysql:/bin/false\n"
#define WEB   "web:x:33:33::/var/www:/bin/false\n"
#define APP   "app:x:99:99::/srv:/bin/false\n"

static const struct item passwd_os[] = { { "etc/passwd", 's', ROOT, 0, 0, 0, 0, 0, NULL }, END };
static const struct item passwd_db[] = { { "etc/passwd", 's', MYSQL, 0, 1, 0, 0, 0, NULL }, END };
static const struct item passwd_web[] = { CHANGED("etc/passwd", ROOT WEB), END };
static const struct item passwd_app[] = { CHANGED("etc/passwd", ROOT APP), END };
static const struct sub_table passwd_subs[] = { { "os", { NULL }, passwd_os, NULL }, { "mysql", { NULL }, passwd_db, NULL },
						{ "web", { "os" }, passwd_web, NULL }, { "app", { "os" }, passwd_app, NULL },
						{ NULL, { NULL }, NULL, NULL } };
static const struct pair passwd_pairs[] = { { "etc/passwd", "mysql", "web", PLY_PAIR_DRIVER, 0, PLY_PAIR_F_CONTENT },
					    { "etc/passwd", "mysql", "app", PLY_PAIR_DRIVER, 0, PLY_PAIR_F_CONTENT },
					    { "etc/passwd", "web", "app", PLY_PAIR_DRIVER, 0, PLY_PAIR_F_CONTENT },
					    { NULL, NULL, NULL, 0, 0, 0 } };

START_TEST(shared_files_are_merged_with_overlays)
{
	struct view_contender c;
	uint64_t a, b;

	make(passwd_subs, passwd_pairs);
	open_view("mysql");
	IS("/etc/passwd", ROOT MYSQL);
	open_view("web");
	IS("/etc/passwd", ROOT WEB);
	open_view("web app");
	IS("/etc/passwd", ROOT WEB APP);
	open_view("mysql web");
	IS("/etc/passwd", ROOT MYSQL WEB);
	LISTS("/etc", "passwd");
	open_view("mysql web app");
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
	open_view("mysql web app");
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_create(&t[i], NULL, reader, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	done();
}
END_TEST

/* --- decisions ------------------------------------------------------------------------------ */

static const struct item clash_os[] = { DIR("etc"), F("etc/conf", "x\n"), END };
static const struct item clash_a[] = { CHANGED("etc/conf", "a\n"), F("etc/new", "new of a\n"), END };
static const struct item clash_b[] = { CHANGED("etc/conf", "b\n"), F("etc/new", "new of b\n"), END };
static const struct item clash_c[] = { GONE("etc/conf"), F("etc/new/deep/file", "deep"), END };
static const struct sub_table clash_subs[] = { { "os", { NULL }, clash_os, NULL }, { "a", { "os" }, clash_a, NULL },
					       { "b", { "os" }, clash_b, NULL }, { "c", { "os" }, clash_c, NULL },
					       { NULL, { NULL }, NULL, NULL } };
#define CONTENT_CLASH PLY_PAIR_CONFLICT, PLY_PAIR_WHY_OVERLAP, PLY_PAIR_F_CONTENT
static const struct pair clash_pairs[] = {
	{ "etc/conf", "a", "b", CONTENT_CLASH | PLY_PAIR_APPENDABLE },
	{ "etc/conf", "a", "c", PLY_PAIR_CONFLICT, PLY_PAIR_WHY_DELETED, PLY_PAIR_F_TYPE },
	{ "etc/conf", "b", "c", PLY_PAIR_CONFLICT, PLY_PAIR_WHY_DELETED, PLY_PAIR_F_TYPE },
	{ "etc/new", "a", "b", PLY_PAIR_APPEND, 0, PLY_PAIR_F_CONTENT | PLY_PAIR_APPENDABLE },
	{ "etc/new", "a", "c", PLY_PAIR_CONFLICT, PLY_PAIR_WHY_TYPE, PLY_PAIR_F_TYPE },
	{ "etc/new", "b", "c", PLY_PAIR_CONFLICT, PLY_PAIR_WHY_TYPE, PLY_PAIR_F_TYPE },
	{ NULL, NULL, NULL, 0, 0, 0 } };

START_TEST(what_is_undecided_does_not_open)
{
	struct ply_decision d[2] = { 0 };

	make(clash_subs, clash_pairs);
	ck_assert_int_eq(try_open("a b", NULL, 0, false), -ENOTUNIQ);
	ck_assert_int_eq(err.reason, PLY_R_CONFLICT);
	ck_assert_str_eq(err.msg, "1 conflict is not decided, the first is /etc/conf (a, b); see plyfs plan");
	ck_assert_int_eq(try_open("a b c", NULL, 0, true), -ENOTUNIQ);
	ck_assert_ptr_nonnull(strstr(err.msg, "2 conflicts"));
	open_view("a");
	stack_pair("etc/conf", "a", "b", &d[0].a, &d[0].b);
	d[0].rule = PLY_RULE_FIRST;
	ck_assert_int_eq(try_open("a", d, 1, false), -EINVAL);
	stack_pair("etc/conf", "b", "c", &d[1].a, &d[1].b);
	d[1].rule = PLY_RULE_LAST;
	ck_assert_int_eq(try_open("a b c", d, 2, false), -EINVAL);      /* one path */
	d[0].rule = 9;
	ck_assert_int_eq(try_open("a b", d, 1, false), -EINVAL);
	d[0].rule = PLY_RULE_DRIVER;
	d[0].driver = 60000;
	ck_assert_int_eq(try_open("a b", d, 1, false), -EINVAL);
	done();
}
END_TEST

START_TEST(one_of_several)
{
	make(clash_subs, clash_pairs);
	open_decided("a b", "etc/conf", "a", "b", PLY_RULE_FIRST);
	IS("/etc/conf", "a\n");
	LISTS("/etc", "conf new");
	open_decided("a b", "etc/conf", "a", "b", PLY_RULE_LAST);
	IS("/etc/conf", "b\n");
	LISTS("/etc", "new conf");
	IS("/etc/new", "new of a\nnew of b\n");
	done();
}
END_TEST

START_TEST(one_behind_the_other)
{
	make(clash_subs, clash_pairs);
	open_decided("a b", "etc/conf", "a", "b", PLY_RULE_APPEND);
	IS("/etc/conf", "a\nb\n");
	OK(try_open("a b", NULL, 0, true));
	IS("/etc/conf", "a\nb\n");
	ck_assert_uint_eq(view_npairs(view), 2);
	ck_assert_uint_eq(view_pair_at(view, 0)->rule | view_pair_at(view, 1)->rule, PLY_RULE_APPEND);
	done();
}
END_TEST

START_TEST(both_are_kept)
{
	struct listing l = { .left = 1 };
	uint64_t last;

	make(clash_subs, clash_pairs);
	open_decided("a b", "etc/conf", "a", "b", PLY_RULE_KEEP_BOTH);
	IS("/etc/conf", "a\n");
	IS("/etc/conf.plyfs-b", "b\n");
	IS("/etc/conf.plyfs-a", "-");
	IS("/etc/conf.plyfs-os", "-");
	LISTS("/etc", "conf new conf.plyfs-b");
	l.dir = ino_of("/etc");
	do {
		last = l.cookie;
		l.left = 1;
		OK(ply_view_readdir(view, l.dir, l.cookie, list_one, &l, &err));
	} while (l.cookie != last);
	ck_assert_mem_eq(l.names.data, "conf new conf.plyfs-b", l.names.len);
	buf_done(&l.names);
	done();
}
END_TEST

START_TEST(a_driver_is_chosen)
{
	static const struct item os[] = { F("etc/list", "/bin/sh\n"), END };
	static const struct item a[] = { CHANGED("etc/list", "/bin/sh\n/bin/a\n"), END };
	static const struct item b[] = { CHANGED("etc/list", "/bin/sh\n/bin/b\n"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, os, NULL }, { "a", { "os" }, a, NULL },
						 { "b", { "os" }, b, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = { { "etc/list", "a", "b", CONTENT_CLASH }, { NULL, NULL, NULL, 0, 0, 0 } };
	struct ply_decision d = { .rule = PLY_RULE_DRIVER, .driver = 14 };

	make(subs, pairs);
	stack_pair("etc/list", "a", "b", &d.a, &d.b);
	OK(try_open("a b", &d, 1, false));
	IS("/etc/list", "/bin/sh\n/bin/a\n/bin/b\n");
	done();
}
END_TEST

/* Where the other name does not fit there is none; where somebody has it, it is theirs. */
START_TEST(both_have_to_have_names)
{
	static const struct item a[] = { F("conf", "a"), F("conf.plyfs-b", "mine"), END };
	static const struct item b[] = { F("conf", "b"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, base_os, NULL }, { "a", { "os" }, a, NULL },
						 { "b", { "os" }, b, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = { { "conf", "a", "b", CONTENT_CLASH }, { NULL, NULL, NULL, 0, 0, 0 } };

	make(subs, pairs);
	open_decided("a b", "conf", "a", "b", PLY_RULE_KEEP_BOTH);
	IS("/conf", "a");
	IS("/conf.plyfs-b", "mine");
	LISTS("/", "etc opt conf conf.plyfs-b");
	done();
}
END_TEST

START_TEST(contenders_are_asked_alone)
{
	struct view_contender c;
	struct buf b = { 0 };
	uint64_t x, y;

	make(clash_subs, clash_pairs);
	open_decided("a b", "etc/conf", "a", "b", PLY_RULE_FIRST);
	stack_pair("etc/conf", "a", "b", &x, &y);
	OK(view_contender(view, y, false, &c, &err));
	ck_assert_str_eq(c.path, "/etc/conf");
	ck_assert_uint_eq(ply_image_sub_info(image, ply_view_sub(view, c.sub))->number, 2);
	view_contender_done(&c);
	OK(view_contender_text(view, y, 100, &b, &err));
	ck_assert_uint_eq(b.len, 2);
	ck_assert_mem_eq(b.data, "b\n", 2);
	ck_assert_int_eq(view_contender_text(view, y, 1, &b, &err), -EFBIG);
	ck_assert_int_eq(view_contender(view, PLY_INO(3, 2), false, &c, &err), -EINVAL);
	buf_done(&b);
	OK(ply_view_open_with(image, &(struct ply_view_options){ .undecided_first = true }, &other, &err));
	stack_pair("etc/conf", "a", "c", &x, &y);
	OK(view_contender(other, y, true, &c, &err));
	ck_assert(c.deleted);
	ck_assert_str_eq(c.path, "/etc/conf");
	view_contender_done(&c);
	ck_assert_uint_eq(view_npairs(other), 6);
	other = ply_view_close(other);
	done();
}
END_TEST

/* Equal files of siblings are one, however large. */
START_TEST(equal_files_are_one)
{
	static const struct item a[] = { { "x", 'f', "same", 0, 0, 0, 0, 10, NULL }, END };
	static const struct item b[] = { { "x", 'f', "same", 0, 0, 0, 0, 20, NULL }, END };
	static const struct sub_table subs[] = { { "os", { NULL }, base_os, NULL }, { "a", { "os" }, a, NULL },
						 { "b", { "os" }, b, NULL }, { NULL, { NULL }, NULL, NULL } };
	struct view_file f;

	make(subs, NULL);
	open_view("a b");
	IS("/x", "same");
	OK(view_file(view, ino_of("/x"), &f, &err));
	ck_assert(f.merged && !f.rendered);
	ck_assert_int_eq(attr_of("/x").mtime_sec, 10);
	LISTS("/", "etc opt x");
	done();
}
END_TEST

/* A conflict is one of heads: what an overlay on top of one side hides collides with nothing. */
START_TEST(hidden_sides_do_not_collide)
{
	static const struct item one[] = { F("e/d/f", "1"), F("etc/x", "1"), F("etc/y", "1\n"), END };
	static const struct item two[] = { COVERS("e"), GONE_DIR("e/d"), GONE("e/d/f"), CHANGED("etc/x", "2"),
					   CHANGED("etc/y", "2\n"), END };
	static const struct item three[] = { F("e/d/f", "3"), F("etc/x", "2"), F("etc/y", "3\n"), END };
	static const struct item four[] = { COVERS("e"), GONE_DIR("e/d"), GONE("e/d/f"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, base_os, NULL }, { "one", { "os" }, one, NULL },
						 { "three", { "os" }, three, NULL }, { "two", { "one" }, two, NULL },
						 { "four", { "three" }, four, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = { { "e/d/f", "one", "three", CONTENT_CLASH }, { "etc/x", "one", "three", CONTENT_CLASH },
					     { "etc/y", "one", "three", CONTENT_CLASH },
					     { "etc/y", "three", "two", CONTENT_CLASH | PLY_PAIR_APPENDABLE },
					     { NULL, NULL, NULL, 0, 0, 0 } };

	make(subs, pairs);
	ck_assert_int_eq(try_open("one three", NULL, 0, false), -ENOTUNIQ);
	ck_assert_ptr_nonnull(strstr(err.msg, "3 conflicts"));
	ck_assert_int_eq(try_open("one three", NULL, 0, true), -ENOTUNIQ);
	ck_assert_int_eq(try_open("two three", NULL, 0, false), -ENOTUNIQ);
	ck_assert_str_eq(err.msg, "1 conflict is not decided, the first is /etc/y (three, two); see plyfs plan");
	OK(try_open("two three", NULL, 0, true));
	IS("/etc/x", "2");
	IS("/etc/y", "3\n2\n");
	IS("/e/d/f", "3");
	OK(try_open("two four", NULL, 0, true));
	IS("/etc/x", "2");
	IS("/e/d", "-");
	for (size_t i = 0; i < view_npairs(view); i++)
		ck_assert_int_eq(view_pair_is_hidden(view, view_pair_at(view, i)), view_pair_at(view, i)->b >> 48 != 3);
	done();
}
END_TEST

/* What is no overlay may not lead to one: views of the ground would open each other. */
START_TEST(the_ground_needs_no_overlays)
{
	static const struct item os[] = { F("f", "1\n2\n3\n4\n5\n"), END };
	static const struct item y1[] = { F("y", "y"), END };
	static const struct item g1[] = { F("g1", "g"), END };
	static const struct item g2[] = { F("g2", "g"), END };
	static const struct item z[] = { CHANGED("f", "0\n2\n3\n4\n5\n"), END };
	static const struct item y2[] = { CHANGED("f", "1\n2\n3\n4\n0\n"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, os, NULL }, { "y1", { "os" }, y1, NULL },
						 { "g1", { NULL }, g1, "y1" }, { "g2", { NULL }, g2, NULL },
						 { "z", { "os" }, z, NULL }, { "y2", { "g1" }, y2, NULL },
						 { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = { { "f", "z", "y2", PLY_PAIR_THREE_WAY, 0, PLY_PAIR_F_CONTENT },
					     { NULL, NULL, NULL, 0, 0, 0 } };
	uint64_t ino;

	make(subs, pairs);
	open_view("");
	IS("/g1", "g");
	ck_assert_int_eq(ply_view_resolve(view, "/f", false, &ino, &err), -EUCLEAN);
	ck_assert_int_eq(err.reason, PLY_R_PARENT);
	done();
}
END_TEST

START_TEST(whiteouts_and_types_are_decided)
{
	struct ply_decision d[2] = { { .rule = PLY_RULE_LAST }, { .rule = PLY_RULE_FIRST } };
	struct ply_attr at;
	uint64_t deep;

	make(clash_subs, clash_pairs);
	stack_pair("etc/conf", "a", "c", &d[0].a, &d[0].b);
	stack_pair("etc/new", "a", "c", &d[1].a, &d[1].b);
	OK(try_open("a c", d, 2, false));
	IS("/etc/conf", "-");
	IS("/etc/new", "new of a\n");
	LISTS("/etc", "new");
	ck_assert_uint_eq(attr_of("/etc").nlink, 2);
	d[0].rule = PLY_RULE_FIRST;
	d[1].rule = PLY_RULE_LAST;
	OK(try_open("a b c", d, 2, false));
	IS("/etc/conf", "a\n");
	IS("/etc/new/deep/file", "deep");
	ck_assert_uint_eq(attr_of("/etc").nlink, 3);
	deep = ino_of("/etc/new/deep/file");
	d[1].rule = PLY_RULE_FIRST;
	OK(try_open("a b c", d, 2, false));
	ck_assert_int_eq(ply_view_attr(view, deep, &at, &err), -ESTALE);
	done();
}
END_TEST

/* --- layout is mount --------------------------------------------------------------------------- */

struct compare {
	char dir[64];
	size_t seen;
};

static int compare_one(void *ctx, const struct ply_walk_entry *e)
{
	struct compare *c = ctx;
	char path[512];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%.*s", c->dir, (int)e->path_len, e->path);
	ck_assert_msg(lstat(path, &st) == 0, "%s: %s", path, strerror(errno));
	ck_assert_msg((st.st_mode & S_IFMT) == (e->attr.mode & S_IFMT), "%s", path);
	if (e->path_len)
		ck_assert_msg(S_ISLNK(st.st_mode) || st.st_mode == e->attr.mode, "%s: %o, %o", path, st.st_mode, e->attr.mode);
	if (S_ISREG(st.st_mode)) {
		int fd = open(path, O_RDONLY);
		char *want = malloc(e->attr.size + 1), *is = malloc(e->attr.size + 1);

		ck_assert_uint_eq((uint64_t)st.st_size, e->attr.size);
		ck_assert_uint_eq(st.st_nlink, e->attr.nlink);
		ck_assert_int_eq(ply_view_read(view, e->attr.ino, 0, e->attr.size, want, &err), (ssize_t)e->attr.size);
		ck_assert_int_eq(read(fd, is, e->attr.size), (ssize_t)e->attr.size);
		ck_assert_mem_eq(want, is, e->attr.size);
		ck_assert_int_eq(st.st_mtim.tv_sec, e->attr.mtime_sec);
		close(fd);
		free(want);
		free(is);
	}
	c->seen++;
	return 0;
}

static size_t count_tree(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 1;

	for (const struct dirent *de; d && (de = readdir(d));) {
		char path[512];

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		n += de->d_type == DT_DIR ? count_tree(path) : 1;
	}
	if (d)
		closedir(d);
	return n;
}

static void check_layout(void)
{
	struct compare c = { .dir = "/tmp/plyfs-laid-XXXXXX" };
	struct layout_options o = { .streams = 2, .lossy = true, .allow_partial = true };
	struct layout_report res;
	char command[128];

	ck_assert_ptr_nonnull(mkdtemp(c.dir));
	OK(layout_run(view, c.dir, &o, &res, &err));
	OK(ply_view_walk(view, 1, compare_one, &c, &err));
	ck_assert_uint_eq(c.seen, count_tree(c.dir));
	snprintf(command, sizeof(command), "rm -rf %s", c.dir);
	ck_assert_int_eq(system(command), 0);
}

/* --- stable ------------------------------------------------------------------------------------ */

START_TEST(cookies_stay_good)
{
	struct listing l = { .left = 1 };
	uint64_t first, ino;

	make(clash_subs, clash_pairs);
	OK(try_open("a b", NULL, 0, true));
	l.dir = ino_of("/etc");
	OK(ply_view_readdir(view, l.dir, 0, list_one, &l, &err));
	first = l.cookie;
	ino = ino_of("/etc/new");
	OK(try_open("b a", NULL, 0, true));
	ck_assert_uint_eq(ino_of("/etc/new"), ino);
	l.left = -1;
	OK(ply_view_readdir(view, l.dir, first, list_one, &l, &err));
	buf_add(&l.names, "", 1);
	ck_assert_str_eq((char *)l.names.data, "conf new");
	buf_done(&l.names);
	done();
}
END_TEST

START_TEST(links_stay_together)
{
	static const struct item os[] = { F("x", "x\n"), { "y", 'h', "x", 0, 0, 0, 0, 0, NULL }, END };
	static const struct item a[] = { { "x", 'f', "1\nx\n", PLY_OVER_CONTENT, 0, 0, 0, 0, NULL }, { "y", 'h', "x", 0, 0, 0, 0, 0, NULL }, END };
	static const struct item b[] = { { "x", 'f', "x\n3\n", PLY_OVER_CONTENT, 0, 0, 0, 0, NULL }, { "y", 'h', "x", 0, 0, 0, 0, 0, NULL }, END };
	static const struct sub_table subs[] = { { "os", { NULL }, os, NULL }, { "a", { "os" }, a, NULL },
						 { "b", { "os" }, b, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = { { "x", "a", "b", CONTENT_CLASH | PLY_PAIR_APPENDABLE }, { NULL, NULL, NULL, 0, 0, 0 } };

	struct ply_attr at;
	uint64_t of_os;

	make(subs, pairs);
	open_view("os");
	of_os = ino_of("/x");
	open_view("a");
	ck_assert_uint_eq(ino_of("/x"), ino_of("/y"));
	ck_assert_uint_eq(attr_of("/y").nlink, 2);
	ck_assert_int_eq(ply_view_attr(view, of_os, &at, &err), -ESTALE);
	IS("/y", "1\nx\n");
	OK(try_open("a b", NULL, 0, true));
	ck_assert_uint_eq(ino_of("/x"), ino_of("/y"));
	IS("/y", "1\nx\nx\n3\n");
	ck_assert_uint_eq(attr_of("/y").nlink, 2);
	check_layout();
	done();
}
END_TEST

START_TEST(layouts_are_what_is_mounted)
{
	make(ten_subs, ten_pairs);
	open_view("b c");
	check_layout();
	done();
	make(passwd_subs, passwd_pairs);
	open_view("mysql web app");
	check_layout();
	done();
	make(clash_subs, clash_pairs);
	open_decided("a b", "etc/conf", "a", "b", PLY_RULE_KEEP_BOTH);
	check_layout();
	open_decided("a b", "etc/conf", "a", "b", PLY_RULE_LAST);
	check_layout();
	done();
}
END_TEST

static int walk_on(void *ctx, const struct ply_walk_entry *e)
{
	(void)ctx;
	(void)e;
	return 0;
}

/* What one has as a file of two names, another has as two files. */
START_TEST(links_come_apart)
{
	static const struct item a[] = { F("x", "of a"), { "y", 'h', "x", 0, 0, 0, 0, 0, NULL }, END };
	static const struct item b[] = { F("x", "x of b"), F("y", "y of b"), END };
	static const struct sub_table subs[] = { { "os", { NULL }, base_os, NULL }, { "a", { "os" }, a, NULL },
						 { "b", { "os" }, b, NULL }, { NULL, { NULL }, NULL, NULL } };
	static const struct pair pairs[] = {
		{ "x", "a", "b", PLY_PAIR_CONFLICT, PLY_PAIR_WHY_LINKS, PLY_PAIR_F_CONTENT | PLY_PAIR_F_LINKS },
		{ "y", "a", "b", PLY_PAIR_CONFLICT, PLY_PAIR_WHY_LINKS, PLY_PAIR_F_CONTENT | PLY_PAIR_F_LINKS },
		{ NULL, NULL, NULL, 0, 0, 0 } };
	struct ply_decision d[2] = { { .rule = PLY_RULE_FIRST }, { .rule = PLY_RULE_LAST } };
	struct ply_attr at;
	uint64_t of_a;

	make(subs, pairs);
	stack_pair("x", "a", "b", &d[0].a, &d[0].b);
	stack_pair("y", "a", "b", &d[1].a, &d[1].b);
	ck_assert_int_eq(try_open("a b", NULL, 0, false), -ENOTUNIQ);
	ck_assert_ptr_nonnull(strstr(err.msg, "2 conflicts"));
	OK(try_open("a b", d, 2, false));
	IS("/x", "of a");
	IS("/y", "y of b");
	ck_assert_uint_eq(attr_of("/x").nlink, 1);
	ck_assert_uint_eq(attr_of("/y").nlink, 1);
	of_a = ino_of("/x");
	check_layout();
	d[0].rule = PLY_RULE_LAST;
	d[1].rule = PLY_RULE_FIRST;
	OK(try_open("a b", d, 2, false));
	IS("/x", "x of b");
	IS("/y", "of a");
	ck_assert_uint_eq(ino_of("/y"), of_a);
	ck_assert_uint_eq(attr_of("/y").nlink, 1);
	check_layout();
	d[1].rule = PLY_RULE_FIRST;
	d[0].rule = PLY_RULE_FIRST;
	OK(try_open("a b", d, 2, false));
	ck_assert_uint_eq(attr_of("/y").nlink, 2);
	d[1].rule = PLY_RULE_LAST;
	d[0].rule = PLY_RULE_LAST;
	OK(try_open("a b", d, 2, false));
	ck_assert_int_eq(ply_view_attr(view, of_a, &at, &err), -ESTALE);
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
	open_view("web");
	OK(ply_view_lookup(view, 1, "etc", 3, &dir, &err));
	ck_assert_int_eq(ply_view_lookup(view, dir, "b", 1, &ino, &err), -ENOENT);
	ck_assert_int_eq(ply_view_walk(view, 1, walk_on, NULL, &err), -EUCLEAN);   /* /etc/a belongs to two */
	done();
}
END_TEST

START_TEST(collisions_of_nothing)
{
	static const uint64_t bad[][2] = { { PLY_INO(1, 4000), PLY_INO(2, 2) }, { PLY_INO(1, 2), PLY_INO(2, 4000) } };
	static const uint16_t flags[] = { 0, PLY_PAIR_A_WHITEOUT, PLY_PAIR_B_WHITEOUT };
	unsigned refused = 0;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(flags); k++) {
			stack_add_raw(bad[i][0], bad[i][1], PLY_PAIR_TIMES, flags[k]);
			make(clash_subs, NULL);
			refused += try_open("a b", NULL, 0, false) == -EUCLEAN || view_pairs_load(view, &err) == -EUCLEAN;
			done();
		}
	}
	ck_assert_uint_eq(refused, 6);
	/* of nodes that are not where they should be: nobody asks for them */
	stack_add_raw(PLY_INO(1, 1), PLY_INO(2, 3), PLY_PAIR_TIMES, 0);
	make(clash_subs, NULL);
	OK(try_open("a b", NULL, 0, false));
	IS("/etc/conf", "a\n");
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
	open_view("s511");
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
	open_view("");
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
	tap_test(s, what_is_undecided_does_not_open);
	tap_test(s, one_of_several);
	tap_test(s, one_behind_the_other);
	tap_test(s, both_are_kept);
	tap_test(s, a_driver_is_chosen);
	tap_test(s, both_have_to_have_names);
	tap_test(s, contenders_are_asked_alone);
	tap_test(s, equal_files_are_one);
	tap_test(s, hidden_sides_do_not_collide);
	tap_test(s, the_ground_needs_no_overlays);
	tap_test(s, whiteouts_and_types_are_decided);
	tap_test(s, cookies_stay_good);
	tap_test(s, links_stay_together);
	tap_test(s, links_come_apart);
	tap_test(s, layouts_are_what_is_mounted);
	tap_test(s, whiteouts_of_files);
	tap_test(s, collisions_of_nothing);
	tap_test(s, deep_chains);
	tap_test(s, many_siblings);
	return s;
}
TAP_MAIN(suite)
