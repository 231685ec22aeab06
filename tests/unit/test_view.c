/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writers, readers and the view, end to end, on a small image. */
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
#include "plyfs/view.h"
#include "small_image.h"
#include "tap.h"

static char path[] = "/tmp/plyfs-view-XXXXXX";
static struct ply_err err;
static struct ply_image *image;
static struct ply_view *view;

#define OK(call) \
	do { \
		int ok_ = (call); \
		ck_assert_msg(ok_ == 0, "%s: %d %s", #call, ok_, err.msg); \
	} while (0)

static void open_view(const char *name)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	small_image(path, 2);
	OK(ply_image_open(path, &image, &err));
	OK(ply_view_open(image, name ? &name : NULL, name ? 1 : 0, 0, &view, &err));
	unlink(path);
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

static int add_path(void *ctx, const struct ply_walk_entry *e)
{
	return buf_printf(ctx, "/%.*s\n", (int)e->path_len, e->path);
}

START_TEST(walks_all)
{
	static const char want[] = "/\n/big\n/dev0\n/etc\n/etc/hosts\n/etc/web\n/link\n/shared\n/usr\n"
				   "/usr/lib\n/usr/shared2\n/usr/web\n/usr/web/page\n";
	struct buf b = { 0 };

	open_view(NULL);
	OK(ply_view_walk(view, 1, add_path, &b, &err));
	buf_add(&b, "", 1);
	ck_assert_str_eq((char *)b.data, want);
	buf_done(&b);
	done();
}
END_TEST

START_TEST(selection_hides_the_rest)
{
	struct buf b = { 0 };

	open_view("os");
	OK(ply_view_walk(view, 1, add_path, &b, &err));
	buf_add(&b, "", 1);
	ck_assert_ptr_null(strstr((char *)b.data, "web"));
	ck_assert_ptr_nonnull(strstr((char *)b.data, "/usr/lib"));
	ck_assert_uint_eq(attr_of("/shared").nlink, 1);
	ck_assert_uint_eq(attr_of("/usr").nlink, 3);
	buf_done(&b);
	done();
}
END_TEST

START_TEST(requirements_come_along)
{
	open_view("web");
	ck_assert_uint_eq(ply_view_nsubs(view), 2);
	done();
}
END_TEST

START_TEST(unknown_names_are_refused)
{
	const char *names[] = { "db" };
	struct ply_view *v;

	open_view(NULL);
	ck_assert_int_eq(ply_view_open(image, names, 1, 0, &v, &err), -ENOENT);
	ck_assert_int_eq(err.reason, PLY_R_SUB_UNKNOWN);
	ck_assert_ptr_nonnull(strstr(err.msg, "os, web"));
	done();
}
END_TEST

START_TEST(attributes)
{
	struct ply_attr a;

	open_view(NULL);
	a = attr_of("/");
	ck_assert_uint_eq(a.ino, 1);
	ck_assert_uint_eq(a.nlink, 4);
	a = attr_of("/usr");
	ck_assert_uint_eq(a.nlink, 4);
	a = attr_of("/shared");
	ck_assert_uint_eq(a.nlink, 2);
	ck_assert_uint_eq(a.ino, attr_of("/usr/shared2").ino);
	ck_assert_uint_eq(a.mode, S_IFREG | 04755);
	ck_assert_int_eq(a.mtime_sec, -5);
	ck_assert_uint_eq(a.mtime_nsec, 7);
	ck_assert(a.has_xattrs);
	a = attr_of("/dev0");
	ck_assert_uint_eq(a.rdev_major, 5);
	ck_assert_uint_eq(a.rdev_minor, 1);
	ck_assert_uint_eq(attr_of("/link").size, 10);
	done();
}
END_TEST

static void check_content(const char *p, unsigned seed, size_t size, size_t hole, size_t hole_end)
{
	uint64_t ino = ino_of(p);
	uint8_t *all = malloc(size + 1);

	ck_assert_int_eq(ply_view_read(view, ino, 0, size + 1, all, &err), (ssize_t)size);
	for (size_t i = 0; i < size; i++)
		ck_assert_msg(all[i] == (i >= hole && i < hole_end ? 0 : small_byte(seed, i)),
			      "%s: byte %zu", p, i);
	for (size_t off = 0; off < size; off += 7919) {
		uint8_t part[5000];
		size_t want = MIN(sizeof(part), size - off);

		ck_assert_int_eq(ply_view_read(view, ino, off, sizeof(part), part, &err), (ssize_t)want);
		ck_assert_mem_eq(part, all + off, want);
	}
	ck_assert_int_eq(ply_view_read(view, ino, size, 10, all, &err), 0);
	free(all);
}

START_TEST(content)
{
	uint8_t text[20];

	open_view(NULL);
	check_content("/big", 1, SMALL_BIG, 131072 + 4096, 262144);
	check_content("/shared", 2, SMALL_SHARED, 0, 0);
	check_content("/usr/web/page", 3, 1000, 0, 0);
	ck_assert_int_eq(ply_view_read(view, ino_of("/etc/hosts"), 4, 20, text, &err), 8);
	ck_assert_mem_eq(text, "0.0.1 x\n", 8);
	ck_assert_int_eq(ply_view_read(view, ino_of("/etc"), 0, 20, text, &err), -EISDIR);
	done();
}
END_TEST

START_TEST(holes)
{
	uint64_t ino, off;

	open_view(NULL);
	ino = ino_of("/big");
	OK(ply_view_seek(view, ino, 0, SEEK_HOLE, &off, &err));
	ck_assert_uint_eq(off, 131072 + 4096);
	OK(ply_view_seek(view, ino, off, SEEK_DATA, &off, &err));
	ck_assert_uint_eq(off, 262144);
	OK(ply_view_seek(view, ino, off, SEEK_HOLE, &off, &err));
	ck_assert_uint_eq(off, SMALL_BIG);
	ck_assert_int_eq(ply_view_seek(view, ino, SMALL_BIG, SEEK_DATA, &off, &err), -ENXIO);
	OK(ply_view_seek(view, ino_of("/etc/hosts"), 3, SEEK_DATA, &off, &err));
	ck_assert_uint_eq(off, 3);
	done();
}
END_TEST

START_TEST(names)
{
	uint64_t ino;
	char name[300];

	open_view(NULL);
	ck_assert_int_eq(ply_view_lookup(view, 1, "nope", 4, &ino, &err), -ENOENT);
	memset(name, 'x', sizeof(name));
	ck_assert_int_eq(ply_view_lookup(view, 1, name, 256, &ino, &err), -ENAMETOOLONG);
	ck_assert_int_eq(ply_view_lookup(view, 1, name, 255, &ino, &err), -ENOENT);
	ck_assert_int_eq(ply_view_lookup(view, ino_of("/big"), "a", 1, &ino, &err), -ENOTDIR);
	OK(ply_view_lookup(view, ino_of("/usr/web"), "..", 2, &ino, &err));
	ck_assert_uint_eq(ino, ino_of("/usr"));
	OK(ply_view_lookup(view, 1, "..", 2, &ino, &err));
	ck_assert_uint_eq(ino, 1);
	OK(ply_view_resolve(view, "/link", true, &ino, &err));
	ck_assert_uint_eq(ino, ino_of("/etc/hosts"));
	done();
}
END_TEST

START_TEST(stale_numbers)
{
	static const uint64_t bad[] = { 0, PLY_INO(0, 100), PLY_INO(0, PLY_INDEX_MAX), PLY_INO(2, 1),
					PLY_INO(1, 1) /* the root is os's */, PLY_INO(16384, 1),
					1ULL << 63 | 1, UINT64_MAX };
	struct ply_attr a;

	open_view(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(ply_view_attr(view, bad[i], &a, &err), -ESTALE);
	done();
}
END_TEST

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

START_TEST(cookies)
{
	static const uint64_t bad[] = { PLY_INO(5, 3), PLY_INO(0, 1000), PLY_INO(1, 2), PLY_INO(0, 5) };
	struct listing l = { 0 };
	uint64_t etc, last;

	open_view(NULL);
	etc = ino_of("/etc");
	do {   /* one by one, as a small readdir buffer would */
		last = l.cookie;
		l.left = 1;
		OK(ply_view_readdir(view, etc, l.cookie, list_one, &l, &err));
	} while (l.cookie != last);
	buf_add(&l.names, "", 1);
	ck_assert_str_eq((char *)l.names.data, "hosts web ");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(ply_view_readdir(view, etc, bad[i], list_one, &l, &err), -EINVAL);
	buf_done(&l.names);
	done();
}
END_TEST

static int add_xattr(void *ctx, const struct ply_xattr *x)
{
	return buf_printf(ctx, "%.*s=%.*s;", (int)x->name_len, x->name, (int)x->value_len,
			  (const char *)x->value);
}

START_TEST(xattrs)
{
	struct buf b = { 0 };
	const void *value;
	size_t len;

	open_view(NULL);
	OK(ply_view_xattrs(view, ino_of("/shared"), add_xattr, &b, &err));
	buf_add(&b, "", 1);
	ck_assert_str_eq((char *)b.data, "user.a=;user.b=2;");
	OK(ply_view_getxattr(view, ino_of("/shared"), "user.b", &value, &len, &err));
	ck_assert_uint_eq(len, 1);
	ck_assert_int_eq(ply_view_getxattr(view, ino_of("/shared"), "user.c", &value, &len, &err),
			 -ENODATA);
	buf_done(&b);
	done();
}
END_TEST

START_TEST(origins)
{
	uint32_t at[4];

	open_view(NULL);
	ck_assert_int_eq(ply_view_origin(view, ino_of("/usr/web/page"), at, 4, &err), 1);
	ck_assert_str_eq(ply_image_sub_info(image, at[0])->name, "web");
	ck_assert_int_eq(ply_view_origin(view, ino_of("/etc"), at, 4, &err), 2);
	ck_assert_int_eq(ply_view_origin(view, ino_of("/usr"), at, 4, &err), 1);   /* implied in web */
	ck_assert_str_eq(ply_image_sub_info(image, at[0])->name, "os");
	done();
}
END_TEST

static uint8_t *slurp(const char *p, size_t *len)
{
	int fd = open(p, O_RDONLY);
	struct stat st;
	uint8_t *b;

	fstat(fd, &st);
	b = malloc((size_t)st.st_size);
	*len = (size_t)st.st_size;
	OK(pread_full(fd, b, *len, 0));
	close(fd);
	return b;
}

START_TEST(same_bytes_for_any_number_of_threads)
{
	char p[] = "/tmp/plyfs-bytes-XXXXXX";
	size_t n1, n2;
	uint8_t *a, *b;

	close(mkstemp(p));
	small_image(p, 1);
	a = slurp(p, &n1);
	small_image(p, 8);
	b = slurp(p, &n2);
	ck_assert_uint_eq(n1, n2);
	ck_assert_mem_eq(a, b, n1);
	unlink(p);
	free(a);
	free(b);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("view");

	tap_test(s, walks_all);
	tap_test(s, selection_hides_the_rest);
	tap_test(s, requirements_come_along);
	tap_test(s, unknown_names_are_refused);
	tap_test(s, attributes);
	tap_test(s, content);
	tap_test(s, holes);
	tap_test(s, names);
	tap_test(s, stale_numbers);
	tap_test(s, cookies);
	tap_test(s, xattrs);
	tap_test(s, origins);
	tap_test(s, same_bytes_for_any_number_of_threads);
	return s;
}
TAP_MAIN(suite)
