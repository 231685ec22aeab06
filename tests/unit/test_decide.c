/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was decided where overlays collide, in a view and on a layout, and what stays as it is over names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "layout/layout.h"
#include "stack_view.h"
#include "tap.h"

static struct ply_view *other;

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
	open_names("a");
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
	open_names("a b");
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
	open_names("");
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

/* Without what the layout keeps of itself: the views here have no /var. */
static size_t count_tree(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 1;

	for (const struct dirent *de; d && (de = readdir(d));) {
		char path[512];

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, "..") || !strcmp(de->d_name, "var"))
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
	open_names("os");
	of_os = ino_of("/x");
	open_names("a");
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
	open_names("b c");
	check_layout();
	done();
	make(passwd_subs, passwd_pairs);
	open_names("mysql web app");
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

START_TEST(collisions_of_nothing)
{
	static const uint64_t bad[][2] = { { PLY_INO(1, 4000), PLY_INO(2, 2) }, { PLY_INO(1, 2), PLY_INO(2, 4000) } };
	static const uint16_t flags[] = { 0, PLY_PAIR_A_WHITEOUT, PLY_PAIR_B_WHITEOUT };
	unsigned refused = 0;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(flags); k++) {
			stack_add_raw(bad[i][0], bad[i][1], PLY_PAIR_TIMES, flags[k]);
			make(clash_subs, NULL);
			refused += ply_view_open_with(image, &(struct ply_view_options){ .undecided_first = true }, &view,
						      &err) == -EUCLEAN;
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

static Suite *suite(void)
{
	Suite *s = suite_create("decide");

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
	tap_test(s, collisions_of_nothing);
	return s;
}
TAP_MAIN(suite)
