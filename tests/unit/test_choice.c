/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A view of an image whose tree depends on the selection: each thing in each of the four selections. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "choice_image.h"
#include "plyfs/view.h"
#include "tap.h"
#include "tree/view_internal.h"

enum { OS, OS_DB, OS_WEB, ALL, SELECTIONS };

static char path[] = "/tmp/plyfs-choice-XXXXXX";
static struct ply_err err;
static struct ply_image *image;
static struct ply_view *view;

#define OK(call) \
	do { \
		int ok_ = (call); \
		ck_assert_msg(ok_ == 0, "%s: %d %s", #call, ok_, err.msg); \
	} while (0)

static void open_selection(int selection)
{
	static const char *const names[SELECTIONS][2] = { { "os", "os" }, { "os", "db" }, { "os", "web" },
							  { "web", "db" } };

	OK(ply_view_open(image, names[selection], 2, 0, &view, &err));
}

static void begin(int selection)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	choice_image(path);
	OK(ply_image_open(path, &image, &err));
	unlink(path);
	open_selection(selection);
}

static void done(void)
{
	ply_view_close(view);
	ply_image_close(image);
}

static uint64_t ino_of(const char *p)
{
	uint64_t ino;

	OK(ply_view_resolve(view, p, false, &ino, &err));
	return ino;
}

static struct ply_attr attr_of(const char *p)
{
	struct ply_attr a;

	OK(ply_view_attr(view, ino_of(p), &a, &err));
	return a;
}

/* --- entries ----------------------------------------------------------------------------- */

struct listing {
	struct buf names;
	uint64_t cookie;
	int left;
};

static int list_one(void *ctx, const struct ply_dirent *de)
{
	struct listing *l = ctx;

	buf_printf(&l->names, "%.*s ", (int)de->len, de->name);
	l->cookie = de->cookie;
	return --l->left == 0;
}

static const char *const etc[SELECTIONS] = {
	"group passwd shells tool ", "group passwd shells tool ", "group passwd shells cache tool ",
	"cache group passwd shells tool ",
};
static const char *const tool[SELECTIONS] = { "os", "db", "web", "db" };

START_TEST(names)
{
	struct listing all = { 0 }, single = { 0 };
	const char *target;
	uint64_t dir, ino, last;
	size_t len;
	int r;

	begin(_i);
	dir = ino_of("/etc");
	OK(ply_view_readdir(view, dir, 0, list_one, &all, &err));
	do {   /* one by one, as a small buffer would: cookies go over what is not there */
		last = single.cookie;
		single.left = 1;
		OK(ply_view_readdir(view, dir, last, list_one, &single, &err));
	} while (single.cookie != last);
	buf_add(&all.names, "", 1);
	buf_add(&single.names, "", 1);
	ck_assert_str_eq((char *)all.names.data, etc[_i]);
	ck_assert_str_eq((char *)single.names.data, etc[_i]);

	r = ply_view_lookup(view, dir, "cache", 5, &ino, &err);
	ck_assert_int_eq(r, _i == ALL || _i == OS_WEB ? 0 : -ENOENT);
	OK(ply_view_readlink(view, ino_of("/etc/tool"), &target, &len, &err));
	ck_assert_uint_eq(len, strlen(tool[_i]));
	ck_assert_mem_eq(target, tool[_i], len);
	buf_done(&all.names);
	buf_done(&single.names);
	done();
}
END_TEST

static int add_path(void *ctx, const struct ply_walk_entry *e)
{
	return buf_printf(ctx, "%.*s:%llu ", (int)e->path_len, e->path, (unsigned long long)e->attr.size);
}

START_TEST(walks)
{
	static const char *const want[SELECTIONS] = {
		"etc:4096 etc/group:10 etc/passwd:26 etc/shells:17 etc/tool:2 run:4096 ",
		"etc:4096 etc/group:24 etc/passwd:57 etc/shells:8 etc/tool:2 run:4096 run/data:4 ",
		"etc:4096 etc/group:31 etc/passwd:52 etc/shells:17 etc/cache:6 etc/tool:3 run:4096 ",
		"etc:4096 etc/cache:5 etc/group:42 etc/passwd:83 etc/shells:8 etc/tool:2 run:4096 run/data:4 ",
	};
	struct buf b = { 0 };

	begin(_i);
	OK(ply_view_walk(view, 1, add_path, &b, &err));
	buf_add(&b, "", 1);
	ck_assert_str_eq((char *)b.data + strlen(":4096 "), want[_i]);
	buf_done(&b);
	done();
}
END_TEST

/* --- owners and xattrs ------------------------------------------------------------------- */

static int add_xattr(void *ctx, const struct ply_xattr *x)
{
	return buf_printf(ctx, "%.*s=%.*s;", (int)x->name_len, x->name, (int)x->value_len, (const char *)x->value);
}

START_TEST(owners)
{
	struct ply_attr a;

	begin(ALL);
	a = attr_of("/run/data");
	ck_assert_uint_eq(a.uid, 27);
	ck_assert_uint_eq(a.gid, 33);
	ck_assert_uint_eq(a.mode, S_IFREG | 06755);
	ply_view_close(view);
	open_selection(OS_DB);     /* its group is not there */
	a = attr_of("/run/data");
	ck_assert_uint_eq(a.uid, 27);
	ck_assert_uint_eq(a.gid, 0);
	ck_assert_uint_eq(a.mode, S_IFREG | 0755);
	done();
}
END_TEST

START_TEST(xattrs)
{
	static const char *const want[SELECTIONS] = {
		[OS_DB] = "user.acl=short;", [ALL] = "security.capability=cap;user.acl=long;user.last=z;",
	};
	struct buf b = { 0 };
	const void *value;
	uint64_t ino;
	size_t len;

	begin(_i);
	if (want[_i]) {
		ino = ino_of("/run/data");
		OK(ply_view_xattrs(view, ino, add_xattr, &b, &err));
		buf_add(&b, "", 1);
		ck_assert_str_eq((char *)b.data, want[_i]);
		OK(ply_view_getxattr(view, ino, "user.acl", &value, &len, &err));
		ck_assert_uint_eq(len, _i == ALL ? 4 : 5);
		ck_assert_int_eq(ply_view_getxattr(view, ino, "user.last", &value, &len, &err),
				 _i == ALL ? 0 : -ENODATA);
		ck_assert_int_eq(ply_view_getxattr(view, ino, "security.capability", &value, &len, &err),
				 _i == ALL ? 0 : -ENODATA);
	}
	buf_done(&b);
	done();
}
END_TEST

/* --- shared files ------------------------------------------------------------------------ */

static const struct {
	const char *path;
	const char *text[SELECTIONS];
} shared[] = {
	{ "/etc/passwd", { CHOICE_ROOT, CHOICE_ROOT CHOICE_MYSQL, CHOICE_ROOT CHOICE_WWW,
			   CHOICE_ROOT CHOICE_MYSQL CHOICE_WWW } },
	{ "/etc/group", { "root:x:0:\n", "root:x:0:\nssl:x:9:mysql\n", "root:x:0:\nssl:x:9:www\nadm:x:4:\n",
			  "root:x:0:\nssl:x:9:mysql,www\nadm:x:4:mysql\n" } },
	{ "/etc/shells", { "/bin/sh\n/bin/csh\n", "/bin/sh\n", "/bin/sh\n/bin/csh\n", "/bin/sh\n" } },
};

START_TEST(content)
{
	begin(_i);
	for (size_t f = 0; f < ARRAY_SIZE(shared); f++) {
		const char *want = shared[f].text[_i];
		size_t len = strlen(want);
		struct ply_attr a = attr_of(shared[f].path);
		uint64_t ino = a.ino, off;
		struct buf whole = { 0 };
		char got[256];

		ck_assert_uint_eq(a.size, len);
		ck_assert_uint_eq(a.blocks, 8);
		ck_assert_uint_eq(a.nlink, 1);
		for (size_t at = 0; at <= len; at++)
			for (size_t n = 1; n < 20; n += 6) {
				size_t due = MIN(n, len - at);

				ck_assert_int_eq(ply_view_read(view, ino, at, n, got, &err), (ssize_t)due);
				ck_assert_mem_eq(got, want + at, due);
			}
		ck_assert_int_eq(ply_view_read(view, ino, len + 5, 10, got, &err), 0);
		ck_assert_int_eq(ply_view_read(view, ino, UINT64_MAX, 10, got, &err), 0);
		OK(ply_view_seek(view, ino, 2, SEEK_DATA, &off, &err));
		ck_assert_uint_eq(off, 2);
		OK(ply_view_seek(view, ino, 2, SEEK_HOLE, &off, &err));
		ck_assert_uint_eq(off, len);
		ck_assert_int_eq(ply_view_seek(view, ino, len, SEEK_DATA, &off, &err), -ENXIO);
		OK(view_render(view, ino, &whole, &err));
		ck_assert_uint_eq(whole.len, len);
		ck_assert_mem_eq(whole.data, want, len);
		buf_done(&whole);
	}
	done();
}
END_TEST

/* Bytes that nobody asked for lately are given back, and come again. */
START_TEST(content_after_idle)
{
	char got[256];
	uint64_t ino;

	begin(ALL);
	ino = ino_of("/etc/group");
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(ply_view_read(view, ino, 0, sizeof(got), got, &err), 42);
		ck_assert_mem_eq(got, shared[1].text[ALL], 42);
		ply_view_idle(view);
	}
	done();
}
END_TEST

static int add_record(void *ctx, const struct merge_driver *driver, const struct view_record *r, struct ply_err *e)
{
	(void)driver;
	(void)e;
	return buf_printf(ctx, "%u/%s:%u ", r->ordinal,
			  ply_image_sub_info(image, ply_view_sub(view, r->sub))->name, r->len);
}

/* One record of two components is one, and told of the first that holds it. */
START_TEST(records)
{
	static const char *const want[SELECTIONS] = {
		"0/os:10 ", "0/os:10 1/db:8 2/db:5 4/db:1 ", "0/os:10 1/web:8 3/web:3 4/web:1 5/web:8 7/web:1 ",
		"0/os:10 1/db:8 2/db:5 3/web:3 4/db:1 5/web:8 6/web:5 7/web:1 ",
	};
	struct buf b = { 0 };

	begin(_i);
	OK(view_records(view, ino_of("/etc/group"), add_record, &b, &err));
	buf_add(&b, "", 1);
	ck_assert_str_eq((char *)b.data, want[_i]);
	buf_done(&b);
	done();
}
END_TEST

/* Two selections that have the same records of a file have the same file, and here the same file no other records. */
START_TEST(same_records)
{
	static const char *const files[] = { "/etc/passwd", "/etc/group", "/etc/shells" };
	unsigned nsame = 0;

	begin(_i);
	for (int s = 0; s < SELECTIONS; s++) {
		struct ply_view *one = view;

		open_selection(s);
		for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
			struct buf a = { 0 }, b = { 0 };
			uint64_t ino = ino_of(files[i]);
			bool same;

			OK(view_render(one, ino, &a, &err));
			OK(view_render(view, ino, &b, &err));
			same = a.len == b.len && !memcmp(a.data, b.data, a.len);
			ck_assert_int_eq(view_same_records(one, ino, view, ino, &err), same);
			ck_assert_int_eq(view_same_records(view, ino, one, ino, &err), same);
			nsame += same;
			buf_done(&a);
			buf_done(&b);
		}
		ck_assert_int_eq(view_same_records(one, ino_of("/etc/passwd"), view, ino_of("/etc/group"), &err), 0);
		ply_view_close(view);
		view = one;
	}
	ck_assert_uint_gt(nsame, ARRAY_SIZE(files));      /* not only those with itself */
	ck_assert_uint_lt(nsame, SELECTIONS * ARRAY_SIZE(files));
	done();
}
END_TEST

/* --- inode numbers ----------------------------------------------------------------------- */

/* A number means one file, whatever is selected: what has one in two selections has one path. */
START_TEST(numbers)
{
	static const char *const paths[] = { "/etc", "/etc/passwd", "/etc/group", "/etc/shells", "/run", "/run/data" };
	uint64_t seen[ARRAY_SIZE(paths)] = { 0 }, links[SELECTIONS], ino;

	begin(ALL);
	for (int s = 0; s < SELECTIONS; s++) {
		ply_view_close(view);
		open_selection(s);
		for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
			if (ply_view_resolve(view, paths[i], false, &ino, &err) < 0) {
				ck_assert_str_eq(paths[i], "/run/data");
				continue;
			}
			ck_assert(!seen[i] || seen[i] == ino);
			seen[i] = ino;
		}
		links[s] = ino_of("/etc/tool");
	}
	/* three links of one name are three files */
	ck_assert_uint_ne(links[OS], links[OS_DB]);
	ck_assert_uint_ne(links[OS], links[OS_WEB]);
	ck_assert_uint_ne(links[OS_DB], links[OS_WEB]);
	ck_assert_uint_eq(links[OS_DB], links[ALL]);
	done();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("choice");

	tap_loop(s, names, 0, SELECTIONS);
	tap_loop(s, walks, 0, SELECTIONS);
	tap_test(s, owners);
	tap_loop(s, xattrs, 0, SELECTIONS);
	tap_loop(s, content, 0, SELECTIONS);
	tap_test(s, content_after_idle);
	tap_loop(s, records, 0, SELECTIONS);
	tap_loop(s, same_records, 0, SELECTIONS);
	tap_test(s, numbers);
	return s;
}
TAP_MAIN(suite)
