/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The living tree in our own process: a small image, a log on a disk in memory, and what each request does. After each
 * test the log is closed and opened again, and once more after a kill, and the tree must be the same.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "live/live.h"
#include "redo_disk.h"
#include "small_image.h"
#include "stack_view.h"
#include "tap.h"

static struct redo_disk disk;
static struct redo *redo_log;
static struct live *live;
static const struct live_who who = { .uid = 1000, .gid = 1000, .umask = 022 };

#define R PLY_ROOT_INDEX
#define FAILS(call, want) ck_assert_int_eq((int)(call), -(want))

/* --- a log on the image ----------------------------------------------------------------------------- */

static void format(void)
{
	const struct ply_generation_info *g = ply_image_generation(image);
	struct redo_binding b = { .parent_generation = g->generation, .number = PLY_REDO_NUMBER_MIN,
				  .names = "os\0web", .names_len = 7, .nnames = 2, .path = "/x" };
	uint8_t uuid[16] = { 1, 2, 3 };
	struct redo_store *store;

	ply_image_uuid(image, b.parent_uuid);
	memcpy(b.image_uuid, b.parent_uuid, 16);
	redo_disk_init(&disk);
	store = redo_disk_store(&disk);
	OK(redo_format(store, &b, uuid, 1, &err));
	redo_store_close(store);
}

static void open_live(void)
{
	OK(redo_open(redo_disk_store(&disk), REDO_WRITE, &redo_log, &err));
	OK(live_open(view, redo_log, &live, &err));
}

static void start(void)
{
	char path[] = "/tmp/plyfs-live-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	small_image(path, 2);
	OK(ply_image_open(path, &image, &err));
	OK(ply_view_open(image, NULL, 0, 0, &view, &err));
	unlink(path);
	format();
	open_live();
}

static void again(bool killed)
{
	live = live_close(live);
	if (killed)
		redo_log = redo_abandon(redo_log);
	else
		OK(redo_close(redo_log, &err));
	open_live();
}

/* --- the tree as text ----------------------------------------------------------------------------------- */

struct walk {
	struct buf *out;
	char path[4096];
	size_t len;
};

static int note_xattr(void *ctx, const char *name, size_t len)
{
	buf_printf(ctx, " %.*s", (int)len, name);
	return 0;
}

static void note_content(uint64_t ino, const struct live_attr *a, struct buf *out)
{
	char target[PLY_SYMLINK_MAX];
	char *bytes;
	uint32_t sum = 0;
	ssize_t n;

	if (S_ISLNK(a->mode)) {
		n = live_readlink(live, ino, target, &err);
		ck_assert_int_ge(n, 0);
		buf_printf(out, " -> %.*s", (int)n, target);
	} else if (S_ISREG(a->mode)) {
		bytes = malloc(a->size + 1);
		n = live_read(live, ino, 0, a->size + 1, bytes, &err);
		ck_assert_msg(n == (ssize_t)a->size, "%zd %s", n, err.msg);
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 31 + (uint8_t)bytes[i];
		buf_printf(out, " #%08x", sum);
		free(bytes);
	}
}

static int note(void *ctx, const struct ply_dirent *de)
{
	struct walk *w = ctx;
	size_t len = w->len;
	struct live_attr a;
	uint64_t found;

	OK(live_attr(live, de->ino, &a, &err));
	ck_assert_uint_eq((a.mode & S_IFMT) >> 12, de->type);
	w->len += (size_t)snprintf(w->path + len, sizeof(w->path) - len, "/%.*s", (int)de->len, de->name);
	buf_printf(w->out, "%s %llx %o %u:%u %llu %llu %lld.%09u %lld", w->path, (unsigned long long)a.ino, a.mode, a.uid,
		   a.gid, (unsigned long long)a.nlink, (unsigned long long)a.size, (long long)a.mtime.sec, a.mtime.nsec,
		   (long long)a.ctime.sec);
	OK(live_xattrs(live, de->ino, note_xattr, w->out, &err));
	note_content(de->ino, &a, w->out);
	buf_printf(w->out, "\n");
	if (S_ISDIR(a.mode)) {
		OK(live_lookup(live, de->ino, "..", 2, &found, &err));
		OK(live_readdir(live, de->ino, 0, note, w, &err));
	}
	w->len = len;
	w->path[len] = '\0';
	return 0;
}

static char *tree(void)
{
	struct buf out = { 0 };
	struct walk w = { .out = &out };

	OK(live_readdir(live, R, 0, note, &w, &err));
	buf_add(&out, "", 1);
	return (char *)out.data;
}

/* The same after it was closed, and after it was killed. */
static void finish(void)
{
	char *before = tree();

	for (int killed = 0; killed <= 1; killed++) {
		char *after;

		again(killed);
		after = tree();
		ck_assert_str_eq(before, after);
		free(after);
	}
	free(before);
	live = live_close(live);
	OK(redo_close(redo_log, &err));
	redo_disk_done(&disk);
	done();
}

/* --- short words ------------------------------------------------------------------------------------------ */

static uint64_t find(uint64_t dir, const char *name)
{
	uint64_t ino = 0;

	ck_assert_msg(live_lookup(live, dir, name, strlen(name), &ino, &err) == 0, "%s: %s", name, err.msg);
	return ino;
}

static bool is_there(uint64_t dir, const char *name)
{
	uint64_t ino;
	int r = live_lookup(live, dir, name, strlen(name), &ino, &err);

	ck_assert(r == 0 || r == -ENOENT);
	return r == 0;
}

static int try_make(uint64_t dir, const char *name, uint32_t mode)
{
	struct live_attr a;

	return live_make(live, &who, dir, name, strlen(name), &(struct live_new){ .mode = mode }, &a, &err);
}

static uint64_t make_one(uint64_t dir, const char *name, uint32_t mode)
{
	OK(try_make(dir, name, mode));
	return find(dir, name);
}

static struct live_attr attr(uint64_t ino)
{
	struct live_attr a;

	OK(live_attr(live, ino, &a, &err));
	return a;
}

static void put(uint64_t ino, uint64_t off, const char *text)
{
	ck_assert_int_eq(live_write(live, &who, ino, off, text, strlen(text), 0, &err), (ssize_t)strlen(text));
}

static const char *text_of(uint64_t ino)
{
	static char text[8192];
	ssize_t n = live_read(live, ino, 0, sizeof(text) - 1, text, &err);

	ck_assert_msg(n >= 0, "%s", err.msg);
	text[n] = '\0';
	return text;
}

static int rename_to(uint64_t dir, const char *name, uint64_t to_dir, const char *to, unsigned flags)
{
	return live_rename(live, &who, dir, name, strlen(name), to_dir, to, strlen(to), flags, NULL, &err);
}

static int unlink_name(uint64_t dir, const char *name)
{
	return live_unlink(live, &who, dir, name, strlen(name), NULL, &err);
}

static int rmdir_name(uint64_t dir, const char *name)
{
	return live_rmdir(live, &who, dir, name, strlen(name), NULL, &err);
}

static int count(void *ctx, const struct ply_dirent *de)
{
	(void)de;
	++*(unsigned *)ctx;
	return 0;
}

static unsigned names_in(uint64_t dir)
{
	unsigned n = 0;

	OK(live_readdir(live, dir, 0, count, &n, &err));
	return n;
}

/* --- names -------------------------------------------------------------------------------------------------- */

START_TEST(makes_files)
{
	uint64_t etc, d, f;

	start();
	etc = find(R, "etc");
	f = make_one(etc, "motd", S_IFREG | 0666);
	ck_assert_uint_eq(PLY_INO_NUMBER(f), PLY_REDO_NUMBER_MIN);
	ck_assert_uint_eq(attr(f).mode, S_IFREG | 0644);
	ck_assert_uint_eq(attr(f).uid, 1000);
	ck_assert(attr(f).has_btime);
	put(f, 0, "hello\n");
	put(f, 6, "there\n");
	ck_assert_str_eq(text_of(f), "hello\nthere\n");
	d = make_one(etc, "dir", S_IFDIR | 0777);
	ck_assert_uint_eq(attr(d).nlink, 2);
	make_one(d, "sub", S_IFDIR | 0777);
	ck_assert_uint_eq(attr(d).nlink, 3);
	ck_assert_uint_eq(find(find(d, "sub"), ".."), d);
	make_one(R, "fifo", S_IFIFO | 0600);
	FAILS(try_make(etc, "motd", S_IFREG | 0644), EEXIST);
	FAILS(try_make(etc, "hosts", S_IFREG | 0644), EEXIST);
	FAILS(try_make(f, "x", S_IFREG | 0644), ENOTDIR);
	FAILS(try_make(etc, "x", 0644), EINVAL);
	FAILS(rmdir_name(etc, "dir"), ENOTEMPTY);
	finish();
}
END_TEST

START_TEST(symlinks_and_devices)
{
	char target[PLY_SYMLINK_MAX];
	struct live_attr a;

	start();
	OK(live_make(live, &who, R, "l", 1, &(struct live_new){ .mode = S_IFLNK | 0777, .target = "a/b", .target_len = 3 }, &a,
		     &err));
	ck_assert_uint_eq(a.size, 3);
	ck_assert_uint_eq(a.mode, S_IFLNK | 0777);
	ck_assert_int_eq(live_readlink(live, a.ino, target, &err), 3);
	ck_assert(memcmp(target, "a/b", 3) == 0);
	ck_assert_int_eq(live_readlink(live, find(R, "link"), target, &err), 10);
	OK(live_make(live, &who, R, "d", 1, &(struct live_new){ .mode = S_IFBLK | 0600, .rdev_major = 8, .rdev_minor = 3 }, &a,
		     &err));
	ck_assert_uint_eq(attr(a.ino).rdev_major, 8);
	ck_assert_uint_eq(attr(find(R, "dev0")).rdev_minor, 1);
	finish();
}
END_TEST

START_TEST(long_names)
{
	char name[300];
	struct live_attr a;
	uint64_t ino;

	start();
	memset(name, 'n', sizeof(name));
	OK(live_make(live, &who, R, name, 255, &(struct live_new){ .mode = S_IFREG }, &a, &err));
	OK(live_lookup(live, R, name, 255, &ino, &err));
	FAILS(live_lookup(live, R, name, 256, &ino, &err), ENAMETOOLONG);
	FAILS(live_make(live, &who, R, name, 256, &(struct live_new){ .mode = S_IFREG }, &a, &err), ENAMETOOLONG);
	FAILS(live_unlink(live, &who, R, name, 256, NULL, &err), ENAMETOOLONG);
	FAILS(live_link(live, &who, a.ino, R, name, 256, NULL, &err), ENAMETOOLONG);
	FAILS(live_rename(live, &who, R, name, 255, R, name, 256, 0, NULL, &err), ENAMETOOLONG);
	FAILS(try_make(R, ".", S_IFREG), EINVAL);
	FAILS(try_make(R, "..", S_IFREG), EINVAL);
	FAILS(try_make(R, "", S_IFREG), EINVAL);
	FAILS(try_make(R, "a/b", S_IFREG), EINVAL);
	finish();
}
END_TEST

START_TEST(removes_what_is_below)
{
	uint64_t etc, hosts, web, shared;

	start();
	etc = find(R, "etc");
	hosts = find(etc, "hosts");
	OK(unlink_name(etc, "hosts"));
	ck_assert(!is_there(etc, "hosts"));
	ck_assert_str_eq(text_of(hosts), "127.0.0.1 x\n");     /* somebody may have it open */
	put(hosts, 0, "###");
	ck_assert_str_eq(text_of(hosts), "###.0.0.1 x\n");
	live_forget(live, hosts);
	FAILS(live_attr(live, hosts, &(struct live_attr){ 0 }, &err), ESTALE);
	web = make_one(etc, "hosts", S_IFREG | 0644);
	ck_assert_uint_ne(web, hosts);
	ck_assert_str_eq(text_of(web), "");
	ck_assert_uint_eq(names_in(etc), 2);
	OK(unlink_name(etc, "hosts"));
	ck_assert(!is_there(etc, "hosts"));
	/* a file of two names, one in each sub-image */
	shared = find(R, "shared");
	ck_assert_uint_eq(attr(shared).nlink, 2);
	OK(unlink_name(R, "shared"));
	ck_assert_uint_eq(attr(shared).nlink, 1);
	live_forget(live, shared);
	ck_assert_uint_eq(find(find(R, "usr"), "shared2"), shared);
	OK(unlink_name(etc, "web"));
	OK(rmdir_name(R, "etc"));
	ck_assert(!is_there(R, "etc"));
	FAILS(try_make(etc, "x", S_IFREG), ENOENT);
	live_forget(live, etc);
	FAILS(try_make(etc, "x", S_IFREG), ESTALE);
	etc = make_one(R, "etc", S_IFDIR | 0755);
	ck_assert_uint_eq(names_in(etc), 0);
	finish();
}
END_TEST

START_TEST(links)
{
	uint64_t etc, f, page;

	start();
	etc = find(R, "etc");
	f = make_one(R, "f", S_IFREG | 0600);
	OK(live_link(live, &who, f, etc, "g", 1, NULL, &err));
	ck_assert_uint_eq(attr(f).nlink, 2);
	put(find(etc, "g"), 0, "one file");
	ck_assert_str_eq(text_of(f), "one file");
	page = find(find(find(R, "usr"), "web"), "page");
	OK(live_link(live, &who, page, R, "page", 4, NULL, &err));
	put(page, 0, "HEAD");
	ck_assert(memcmp(text_of(find(R, "page")), "HEAD", 4) == 0);
	ck_assert_uint_eq(attr(page).size, 1000);
	FAILS(live_link(live, &who, etc, R, "dir", 3, NULL, &err), EPERM);
	FAILS(live_link(live, &who, page, R, "f", 1, NULL, &err), EEXIST);
	OK(unlink_name(R, "page"));
	ck_assert_uint_eq(attr(page).nlink, 1);
	finish();
}
END_TEST

START_TEST(files_without_names)
{
	struct live_attr a;

	start();
	OK(live_tmpfile(live, &who, R, 0600, &a, &err));
	ck_assert_uint_eq(a.nlink, 0);
	put(a.ino, 0, "secret");
	OK(live_link(live, &who, a.ino, R, "now", 3, NULL, &err));
	ck_assert_uint_eq(attr(a.ino).nlink, 1);
	OK(live_tmpfile(live, &who, R, 0600, &a, &err));
	again(true);              /* nobody has it open any more */
	FAILS(live_attr(live, a.ino, &a, &err), ESTALE);
	ck_assert_str_eq(text_of(find(R, "now")), "secret");
	finish();
}
END_TEST

START_TEST(renames)
{
	uint64_t etc, usr, web, lib, hosts, f;

	start();
	etc = find(R, "etc");
	usr = find(R, "usr");
	web = find(usr, "web");
	lib = find(usr, "lib");
	hosts = find(etc, "hosts");
	OK(rename_to(usr, "web", etc, "www", 0));
	ck_assert_uint_eq(find(etc, "www"), web);
	ck_assert_uint_eq(find(web, ".."), etc);
	ck_assert(!is_there(usr, "web"));
	ck_assert_uint_eq(names_in(web), 1);
	FAILS(rename_to(R, "etc", web, "loop", 0), EINVAL);
	FAILS(rename_to(etc, "www", web, "loop", 0), EINVAL);
	OK(rename_to(etc, "hosts", R, "hosts", 0));
	ck_assert_uint_eq(find(R, "hosts"), hosts);
	f = make_one(R, "f", S_IFREG | 0644);
	put(f, 0, "new");
	FAILS(rename_to(R, "f", R, "hosts", RENAME_NOREPLACE), EEXIST);
	OK(rename_to(R, "f", R, "hosts", 0));
	ck_assert_str_eq(text_of(find(R, "hosts")), "new");
	ck_assert_uint_eq(attr(hosts).nlink, 0);
	FAILS(rename_to(R, "hosts", R, "etc", 0), EISDIR);
	FAILS(rename_to(R, "etc", R, "hosts", 0), ENOTDIR);
	FAILS(rename_to(R, "usr", etc, "www", 0), ENOTEMPTY);
	FAILS(rename_to(R, "none", R, "x", 0), ENOENT);
	OK(rename_to(R, "hosts", etc, "www", RENAME_EXCHANGE));
	ck_assert_uint_eq(find(R, "hosts"), web);
	ck_assert_uint_eq(find(web, ".."), R);
	ck_assert_uint_eq(find(etc, "www"), f);
	FAILS(rename_to(R, "hosts", etc, "none", RENAME_EXCHANGE), ENOENT);
	OK(rename_to(etc, "www", R, "moved", RENAME_WHITEOUT));
	ck_assert_uint_eq(attr(find(etc, "www")).mode, S_IFCHR);
	FAILS(rename_to(R, "moved", R, "x", 64), EINVAL);
	FAILS(rename_to(R, "moved", R, "x", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	OK(rename_to(R, "moved", R, "moved", 0));
	ck_assert_uint_eq(find(usr, "lib"), lib);
	finish();
}
END_TEST

START_TEST(counts_directories)
{
	uint64_t a, b;
	uint64_t root;

	start();
	root = attr(R).nlink;
	a = make_one(R, "a", S_IFDIR | 0755);
	b = make_one(R, "b", S_IFDIR | 0755);
	make_one(a, "x", S_IFDIR | 0755);
	make_one(b, "x", S_IFDIR | 0755);
	make_one(b, "f", S_IFREG | 0644);
	ck_assert_uint_eq(attr(R).nlink, root + 2);
	OK(rename_to(a, "x", b, "x", 0));
	ck_assert_uint_eq(attr(a).nlink, 2);
	ck_assert_uint_eq(attr(b).nlink, 3);
	make_one(a, "y", S_IFDIR | 0755);
	OK(rename_to(a, "y", b, "f", RENAME_EXCHANGE));
	ck_assert_uint_eq(attr(a).nlink, 2);
	ck_assert_uint_eq(attr(b).nlink, 4);
	OK(rename_to(b, "f", b, "x", 0));
	ck_assert_uint_eq(attr(b).nlink, 3);
	OK(rename_to(R, "a", b, "a", 0));
	ck_assert_uint_eq(attr(R).nlink, root + 1);
	ck_assert_uint_eq(attr(b).nlink, 4);
	finish();
}
END_TEST

struct seek {
	uint64_t cookies[4096];
	unsigned n, stop;
	uint64_t last;
};

static int collect(void *ctx, const struct ply_dirent *de)
{
	struct seek *s = ctx;

	ck_assert(!s->n || de->cookie > s->last);
	s->last = s->cookies[s->n++] = de->cookie;
	return s->n == s->stop;
}

/* A listing goes on where it was, whatever is added and removed; what stays is seen once. */
START_TEST(listings_go_on)
{
	struct seek all = { 0 }, part = { .stop = 100 }, rest = { 0 };
	char name[16];

	start();
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		make_one(R, name, S_IFREG | 0644);
	}
	OK(live_readdir(live, R, 0, collect, &all, &err));
	OK(live_readdir(live, R, 0, collect, &part, &err));
	ck_assert_uint_eq(part.n, 100);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		OK(unlink_name(R, name));
	}
	OK(unlink_name(R, "dev0"));
	make_one(R, "late", S_IFREG | 0644);
	again(true);
	OK(live_readdir(live, R, part.last, collect, &rest, &err));
	ck_assert_uint_eq(part.n + rest.n, all.n + 1);
	ck_assert(memcmp(rest.cookies, all.cookies + 100, (rest.n - 1) * sizeof(uint64_t)) == 0);
	ck_assert(rest.last < 1ULL << 63);
	finish();
}
END_TEST

/* --- content ------------------------------------------------------------------------------------------------------ */

static void is_small_big(uint64_t ino, uint64_t off, size_t len)
{
	uint8_t b[256];

	ck_assert_int_eq(live_read(live, ino, off, len, b, &err), (ssize_t)len);
	for (size_t i = 0; i < len; i++)
		ck_assert_uint_eq(b[i], small_byte(1, off + i));
}

/* One block of a large file: the log grows by it, not by the file. */
START_TEST(writes_a_block)
{
	struct redo_info info;
	uint64_t big, at;

	start();
	big = find(R, "big");
	put(big, 70000, "in the middle");
	put(big, SMALL_BIG, "at the end");
	redo_info(redo_log, &info);
	ck_assert_uint_le(info.data_live, 2 * 8192);
	ck_assert_uint_eq(attr(big).size, SMALL_BIG + 10);
	is_small_big(big, 69900, 100);
	is_small_big(big, 70013, 100);
	OK(live_seek(live, big, 0, SEEK_HOLE, &at, &err));
	ck_assert_uint_eq(at, 131072 + 4096);
	OK(live_seek(live, big, at, SEEK_DATA, &at, &err));
	ck_assert_uint_eq(at, 262144);
	put(big, 200000, "x");
	OK(live_seek(live, big, 131072 + 4096, SEEK_DATA, &at, &err));
	ck_assert_uint_le(at, 200000);
	ck_assert_uint_ge(at, 200000 - 4096);
	FAILS(live_seek(live, big, SMALL_BIG + 10, SEEK_DATA, &at, &err), ENXIO);
	finish();
}
END_TEST

static int truncate_to(uint64_t ino, uint64_t size)
{
	return live_setattr(live, &who, ino, &(struct live_set){ .mask = LIVE_SIZE, .size = size }, NULL, &err);
}

START_TEST(truncates)
{
	uint64_t big, page;
	uint8_t b[64];

	start();
	big = find(R, "big");
	OK(truncate_to(big, 100));
	OK(truncate_to(big, 200));
	ck_assert_int_eq(live_read(live, big, 90, 64, b, &err), 64);
	for (int i = 0; i < 64; i++)
		ck_assert_uint_eq(b[i], i < 10 ? small_byte(1, 90 + (uint64_t)i) : 0);
	page = find(find(find(R, "usr"), "web"), "page");
	OK(live_open_file(live, &who, page, O_RDWR | O_TRUNC, false, &err));
	ck_assert_uint_eq(attr(page).size, 0);
	put(page, 5000, "far");
	ck_assert_int_eq(live_read(live, page, 4990, 64, b, &err), 13);
	ck_assert(memcmp(b, "\0\0\0\0\0\0\0\0\0\0far", 13) == 0);
	FAILS(truncate_to(find(R, "etc"), 0), EISDIR);
	FAILS(truncate_to(find(R, "dev0"), 0), EINVAL);
	FAILS(truncate_to(big, 1ULL << 63), EFBIG);
	FAILS(live_write(live, &who, big, INT64_MAX, "xx", 2, 0, &err), EFBIG);
	finish();
}
END_TEST

static int fallocate_as(uint64_t ino, int mode, uint64_t off, uint64_t len)
{
	return live_fallocate(live, &who, ino, mode, off, len, &err);
}

START_TEST(holes)
{
	uint64_t f, at;

	start();
	f = make_one(R, "f", S_IFREG | 0644);
	put(f, 0, "0123456789abcdef");
	OK(fallocate_as(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4, 4));
	ck_assert(memcmp(text_of(f), "0123\0\0\0\089abcdef", 16) == 0);
	OK(fallocate_as(f, FALLOC_FL_ZERO_RANGE, 12, 8));
	ck_assert_uint_eq(attr(f).size, 20);
	OK(fallocate_as(f, FALLOC_FL_KEEP_SIZE, 0, 100));
	ck_assert_uint_eq(attr(f).size, 20);
	OK(fallocate_as(f, 0, 0, 10000));
	ck_assert_uint_eq(attr(f).size, 10000);
	OK(live_seek(live, f, 20, SEEK_HOLE, &at, &err));
	ck_assert_uint_eq(at, 20);
	FAILS(fallocate_as(f, FALLOC_FL_PUNCH_HOLE, 0, 4), EOPNOTSUPP);
	FAILS(fallocate_as(f, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), EOPNOTSUPP);
	FAILS(fallocate_as(f, 0, 0, 0), EINVAL);
	OK(fallocate_as(find(R, "big"), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	OK(live_seek(live, find(R, "big"), 0, SEEK_DATA, &at, &err));
	ck_assert_uint_eq(at, 4096);
	finish();
}
END_TEST

START_TEST(copies)
{
	struct redo_info before, after;
	uint64_t big, f;

	start();
	big = find(R, "big");
	put(big, 100, "CHANGED");
	f = make_one(R, "f", S_IFREG | 0644);
	redo_info(redo_log, &before);
	ck_assert_int_eq(live_copy(live, &who, big, 50, f, 0, 100000, &err), 100000);
	redo_info(redo_log, &after);
	ck_assert_uint_eq(after.data_live, before.data_live);
	ck_assert_uint_eq(attr(f).size, 100000);
	put(big, 100, "changed");
	ck_assert(memcmp(text_of(f) + 50, "CHANGED", 7) == 0);
	ck_assert_uint_eq((uint8_t)text_of(f)[49], small_byte(1, 99));
	ck_assert_int_eq(live_copy(live, &who, f, 99990, big, 0, 100, &err), 10);
	ck_assert_int_eq(live_copy(live, &who, f, 100000, big, 0, 100, &err), 0);
	FAILS(live_copy(live, &who, f, 0, f, 5, 10, &err), EINVAL);
	ck_assert_int_eq(live_copy(live, &who, f, 0, f, 200000, 10, &err), 10);
	finish();
}
END_TEST

/* The first change of a rendered file copies it: the log depends on no renderer. */
START_TEST(what_is_rendered_is_copied)
{
	struct redo_range g;
	uint64_t passwd, copy;
	char *whole;

	make(passwd_subs, passwd_pairs);
	OK(ply_view_open(image, (const char *const[]){ "os" }, 1, 0, &view, &err));
	format();
	open_live();
	passwd = find(find(R, "etc"), "passwd");
	whole = strdup(text_of(passwd));
	ck_assert_uint_gt(strlen(whole), 10);
	copy = make_one(R, "copy", S_IFREG | 0644);
	ck_assert_int_eq(live_copy(live, &who, passwd, 0, copy, 0, strlen(whole), &err), (ssize_t)strlen(whole));
	for (uint64_t off = 0; off < strlen(whole); off += g.len) {
		redo_range(redo_log, copy, off, &g);
		ck_assert_int_eq(g.kind, PLY_REDO_C_LOG);
		redo_range(redo_log, passwd, off, &g);
		ck_assert_int_eq(g.kind, PLY_REDO_C_LOG);
	}
	put(passwd, strlen(whole), "more");
	ck_assert(memcmp(text_of(passwd), whole, strlen(whole)) == 0);
	ck_assert_str_eq(text_of(copy), whole);
	free(whole);
	finish();
}
END_TEST

/* --- attributes ------------------------------------------------------------------------------------------------------ */

static int set(uint64_t ino, struct live_set s)
{
	return live_setattr(live, &who, ino, &s, NULL, &err);
}

START_TEST(attributes)
{
	struct live_attr a;
	uint64_t big;

	start();
	big = find(R, "big");
	OK(set(big, (struct live_set){ .mask = LIVE_MODE, .mode = 06755 }));
	ck_assert_uint_eq(attr(big).mode, S_IFREG | 06755);
	ck_assert_int_eq(live_write(live, &who, big, 0, "x", 1, LIVE_W_KILL, &err), 1);
	ck_assert_uint_eq(attr(big).mode, S_IFREG | 0755);
	OK(set(big, (struct live_set){ .mask = LIVE_MODE, .mode = 06745 }));
	OK(set(big, (struct live_set){ .mask = LIVE_UID, .uid = 7 }));
	ck_assert_uint_eq(attr(big).mode, S_IFREG | 0745);     /* who is not in the group, nor root */
	ck_assert_uint_eq(attr(big).uid, 7);
	OK(set(big, (struct live_set){ .mask = LIVE_MTIME | LIVE_ATIME, .mtime = { 5, 6 }, .atime = { -7, 8 } }));
	a = attr(big);
	ck_assert(a.mtime.sec == 5 && a.mtime.nsec == 6 && a.atime.sec == -7 && a.ctime.sec > 1000);
	OK(set(big, (struct live_set){ .mask = LIVE_MTIME_NOW }));
	ck_assert_int_gt(attr(big).mtime.sec, 1000);
	OK(live_setxattr(live, &who, big, "security.capability", "cap", 3, 0, false, &err));
	OK(set(big, (struct live_set){ .mask = LIVE_GID, .gid = 9 }));
	FAILS(live_getxattr(live, big, "security.capability", NULL, 0, &err), ENODATA);
	finish();
}
END_TEST

START_TEST(inode_flags)
{
	uint64_t d, f;

	start();
	d = make_one(R, "d", S_IFDIR | 0755);
	f = make_one(d, "f", S_IFREG | 0644);
	OK(set(f, (struct live_set){ .mask = LIVE_FLAGS, .flags = FS_IMMUTABLE_FL }));
	FAILS(live_open_file(live, &who, f, O_WRONLY, false, &err), EPERM);
	OK(live_open_file(live, &who, f, O_RDONLY, false, &err));
	FAILS(set(f, (struct live_set){ .mask = LIVE_MODE, .mode = 0 }), EPERM);
	FAILS(live_copy(live, &who, find(R, "big"), 0, f, 0, 10, &err), EPERM);
	FAILS(unlink_name(d, "f"), EPERM);
	FAILS(rename_to(d, "f", d, "g", 0), EPERM);
	FAILS(live_link(live, &who, f, R, "g", 1, NULL, &err), EPERM);
	FAILS(live_setxattr(live, &who, f, "user.x", "1", 1, 0, false, &err), EPERM);
	OK(set(f, (struct live_set){ .mask = LIVE_FLAGS, .flags = FS_APPEND_FL }));
	FAILS(live_open_file(live, &who, f, O_WRONLY, false, &err), EPERM);
	OK(live_open_file(live, &who, f, O_WRONLY | O_APPEND, false, &err));
	FAILS(truncate_to(f, 0), EPERM);
	OK(set(f, (struct live_set){ .mask = LIVE_MTIME | LIVE_ATIME_NOW }));
	FAILS(set(f, (struct live_set){ .mask = LIVE_MTIME | LIVE_ATIME }), EPERM);
	OK(set(f, (struct live_set){ .mask = LIVE_FLAGS, .flags = 0 }));
	FAILS(set(f, (struct live_set){ .mask = LIVE_FLAGS, .flags = 1 }), EOPNOTSUPP);
	OK(set(d, (struct live_set){ .mask = LIVE_FLAGS, .flags = FS_APPEND_FL }));
	make_one(d, "g", S_IFREG | 0644);
	FAILS(unlink_name(d, "g"), EPERM);
	make_one(R, "h", S_IFREG | 0644);
	FAILS(rename_to(R, "h", d, "g", 0), EPERM);
	FAILS(rename_to(R, "h", d, "g", RENAME_EXCHANGE), EPERM);
	OK(rename_to(R, "h", d, "i", 0));
	OK(set(d, (struct live_set){ .mask = LIVE_FLAGS, .flags = FS_IMMUTABLE_FL }));
	FAILS(try_make(d, "h", S_IFREG | 0644), EPERM);
	finish();
}
END_TEST

START_TEST(setgid_directories)
{
	struct live_attr a;
	uint64_t d;

	start();
	d = make_one(R, "d", S_IFDIR | 0755);
	OK(set(d, (struct live_set){ .mask = LIVE_GID, .gid = 50 }));
	OK(set(d, (struct live_set){ .mask = LIVE_MODE, .mode = 02775 }));
	a = attr(make_one(d, "f", S_IFREG | 0644));
	ck_assert_uint_eq(a.gid, 50);
	ck_assert_uint_eq(a.mode, S_IFREG | 0644);
	a = attr(make_one(d, "e", S_IFDIR | 0755));
	ck_assert_uint_eq(a.gid, 50);
	ck_assert_uint_eq(a.mode, S_IFDIR | 02755);
	finish();
}
END_TEST

/* --- xattrs and ACLs --------------------------------------------------------------------------------------------------- */

static int set_xattr(uint64_t ino, const char *name, const char *value, int flags)
{
	return live_setxattr(live, &who, ino, name, value, strlen(value), flags, false, &err);
}

START_TEST(xattrs)
{
	char value[8], *large = calloc(1, PLY_XATTR_VALUE_MAX + 1);
	uint64_t big;

	start();
	big = find(R, "big");
	OK(set_xattr(big, "user.a", "one", XATTR_CREATE));
	FAILS(set_xattr(big, "user.a", "two", XATTR_CREATE), EEXIST);
	FAILS(set_xattr(big, "user.b", "two", XATTR_REPLACE), ENODATA);
	OK(set_xattr(big, "user.a", "three", XATTR_REPLACE));
	ck_assert_int_eq(live_getxattr(live, big, "user.a", value, sizeof(value), &err), 5);
	ck_assert(memcmp(value, "three", 5) == 0);
	ck_assert_int_eq(live_getxattr(live, big, "user.a", value, 2, &err), 5);
	OK(set_xattr(big, "trusted.empty", "", 0));
	ck_assert_int_eq(live_getxattr(live, big, "trusted.empty", NULL, 0, &err), 0);
	OK(live_removexattr(live, &who, big, "user.a", &err));
	FAILS(live_removexattr(live, &who, big, "user.a", &err), ENODATA);
	FAILS(set_xattr(big, "odd.x", "1", 0), EOPNOTSUPP);
	FAILS(set_xattr(big, "system.x", "1", 0), EOPNOTSUPP);
	OK(live_setxattr(live, &who, big, "user.large", large, PLY_XATTR_VALUE_MAX, 0, false, &err));
	FAILS(live_setxattr(live, &who, big, "user.large", large, PLY_XATTR_VALUE_MAX + 1, 0, false, &err), E2BIG);
	free(large);
	finish();
}
END_TEST

struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
};

static size_t acl(uint8_t *out, const struct acl_entry *v, size_t n)
{
	const uint32_t version = 2;

	memcpy(out, &version, 4);
	memcpy(out + 4, v, n * sizeof(*v));
	return 4 + n * sizeof(*v);
}

#define NOBODY UINT32_MAX

static const struct acl_entry named[] = { { 1, 7, NOBODY }, { 2, 6, 12 }, { 4, 5, NOBODY }, { 16, 7, NOBODY }, { 32, 0, NOBODY } };

START_TEST(acls)
{
	const struct acl_entry plain[] = { { 1, 6, NOBODY }, { 4, 4, NOBODY }, { 32, 4, NOBODY } };
	const struct acl_entry bad[] = { { 1, 6, NOBODY }, { 2, 4, 5 }, { 4, 4, NOBODY }, { 32, 4, NOBODY } };
	uint8_t value[64], is[64];
	uint64_t d, f;
	size_t n;

	start();
	d = make_one(R, "d", S_IFDIR | 0755);
	n = acl(value, named, 5);
	OK(live_setxattr(live, &who, d, "system.posix_acl_default", value, n, 0, false, &err));
	f = make_one(d, "f", S_IFREG | 0640);
	ck_assert_uint_eq(attr(f).mode, S_IFREG | 0640);       /* the umask does not count */
	ck_assert_int_eq(live_getxattr(live, f, "system.posix_acl_access", is, sizeof(is), &err), (ssize_t)n);
	ck_assert_uint_eq(is[4 + 3 * 8 + 2], 4);               /* the mask has the group's bits */
	ck_assert_uint_eq(is[4 + 1 * 8 + 2], 6);
	OK(set(f, (struct live_set){ .mask = LIVE_MODE, .mode = 0660 }));
	live_getxattr(live, f, "system.posix_acl_access", is, sizeof(is), &err);
	ck_assert_uint_eq(is[4 + 3 * 8 + 2], 6);
	ck_assert_uint_eq(is[4 + 2 * 8 + 2], 5);
	ck_assert_int_eq(live_getxattr(live, make_one(d, "e", S_IFDIR | 0755), "system.posix_acl_default", is, sizeof(is), &err),
			 (ssize_t)n);
	n = acl(value, plain, 3);
	OK(live_setxattr(live, &who, f, "system.posix_acl_access", value, n, 0, false, &err));
	ck_assert_uint_eq(attr(f).mode, S_IFREG | 0644);
	FAILS(live_getxattr(live, f, "system.posix_acl_access", NULL, 0, &err), ENODATA);
	OK(set(f, (struct live_set){ .mask = LIVE_MODE, .mode = 02755 }));
	OK(live_setxattr(live, &who, f, "system.posix_acl_access", value, n, 0, true, &err));
	ck_assert_uint_eq(attr(f).mode, S_IFREG | 0644);
	FAILS(live_setxattr(live, &who, f, "system.posix_acl_access", value, acl(value, bad, 4), 0, false, &err), EINVAL);
	FAILS(live_setxattr(live, &who, f, "system.posix_acl_access", value, 5, 0, false, &err), EINVAL);
	FAILS(live_setxattr(live, &who, f, "system.posix_acl_default", value, acl(value, plain, 3), 0, false, &err), EACCES);
	FAILS(live_setxattr(live, &who, find(R, "link"), "system.posix_acl_access", value, n, 0, false, &err), EOPNOTSUPP);
	finish();
}
END_TEST

/* --- a full disk ----------------------------------------------------------------------------------------------------------- */

#define CHANGES 24

/* The @k-th of some changes. */
static int change(int k, uint64_t d, uint64_t f)
{
	const struct live_new link = { .mode = S_IFLNK | 0777, .target = "to", .target_len = 2 };
	const struct live_new device = { .mode = S_IFCHR | 0600, .rdev_major = 1, .rdev_minor = 3 };
	struct live_attr a;
	uint8_t value[256];
	char data[9000];

	memset(data, 'x', sizeof(data));
	switch (k) {
	case 0:
		return try_make(d, "new", S_IFREG | 0644);
	case 1:
		return try_make(d, "dir", S_IFDIR | 0755);
	case 2:
		return live_link(live, &who, f, d, "link", 4, NULL, &err);
	case 3:
		return unlink_name(R, "dev0");
	case 4:
		return rename_to(d, "old", R, "older", 0);
	case 5:
		return (int)MIN(live_write(live, &who, f, 3, data, sizeof(data), 0, &err), 0);
	case 6:
		return truncate_to(find(R, "big"), 77);
	case 7:
		return set(f, (struct live_set){ .mask = LIVE_MODE, .mode = 0600 });
	case 8:
		return live_setxattr(live, &who, f, "user.x", data, sizeof(data), 0, false, &err);
	case 9:
		return fallocate_as(f, FALLOC_FL_ZERO_RANGE, 0, 2);
	case 10:
		return (int)MIN(live_copy(live, &who, find(R, "big"), 0, f, 0, 1000, &err), 0);
	case 11:
		return rmdir_name(find(R, "usr"), "lib");
	case 12:
		return live_make(live, &who, d, "symlink", 7, &link, &a, &err);
	case 13:
		return live_make(live, &who, d, "device", 6, &device, &a, &err);
	case 14:
		return live_tmpfile(live, &who, d, 0600, &a, &err);
	case 15:
		return rename_to(d, "old", R, "big", RENAME_EXCHANGE);
	case 16:
		return rename_to(d, "old", d, "moved", RENAME_WHITEOUT);
	case 17:
		return live_removexattr(live, &who, f, "user.old", &err);
	case 18:
		return live_setxattr(live, &who, f, "system.posix_acl_access", value, acl(value, named, 5), 0, false, &err);
	case 19:
		return set(f, (struct live_set){ .mask = LIVE_UID | LIVE_GID, .uid = 7, .gid = 8 });
	case 20:
		return set(f, (struct live_set){ .mask = LIVE_FLAGS, .flags = FS_NODUMP_FL });
	case 21:
		return set(f, (struct live_set){ .mask = LIVE_ATIME | LIVE_MTIME, .atime = { 5, 6 }, .mtime = { 7, 8 } });
	case 22:
		return live_open_file(live, &who, f, O_WRONLY | O_TRUNC, false, &err);
	case 23:
		return live_fallocate(live, &who, f, 0, 0, 100000, &err);
	}
	return 1;
}

START_TEST(full_disk)
{
	char *before, *after;
	int refused = 0;

	for (int k = 0; k < CHANGES; k++) {
		uint64_t d, f;

		start();
		d = make_one(R, "d", S_IFDIR | 0755);
		f = make_one(d, "old", S_IFREG | 0644);
		put(f, 0, "old content");
		OK(set_xattr(f, "user.old", "value", 0));
		OK(live_sync(live, &err));
		before = tree();
		disk.full_at = disk.size;
		/* a record may still fit where there is room already: until nothing does */
		for (int i = 0; i < 100000; i++) {
			int r = set(R, (struct live_set){ .mask = LIVE_MTIME, .mtime = { 1, 0 } });

			if (r == -ENOSPC)
				break;
			ck_assert_msg(r == 0, "%s", err.msg);
		}
		free(before);
		before = tree();
		FAILS(change(k, d, f), ENOSPC);
		after = tree();
		ck_assert_str_eq(before, after);
		free(after);
		again(true);
		after = tree();
		ck_assert_str_eq(before, after);
		free(after);
		disk.full_at = 0;
		again(true);
		OK(change(k, find(R, "d"), find(find(R, "d"), "old")));
		refused++;
		free(before);
		finish();
	}
	ck_assert_int_eq(refused, CHANGES);
}
END_TEST

/* A sync that fails is the end of changes, not of reading. */
START_TEST(a_failed_sync_is_the_end)
{
	start();
	make_one(R, "a", S_IFREG | 0644);
	disk.fail_at = 1;
	FAILS(live_sync(live, &err), EIO);
	disk.fail_at = 0;
	FAILS(try_make(R, "b", S_IFREG | 0644), EIO);
	FAILS(live_sync(live, &err), EIO);
	ck_assert(is_there(R, "a"));
	ck_assert(!is_there(R, "b"));
	again(true);
	OK(try_make(R, "b", S_IFREG | 0644));
	finish();
}
END_TEST

/* A read-only log: all is seen, nothing changes. */
START_TEST(read_only_log)
{
	start();
	make_one(R, "a", S_IFREG | 0644);
	live = live_close(live);
	OK(redo_close(redo_log, &err));
	disk.read_only = true;
	open_live();
	ck_assert(is_there(R, "a"));
	FAILS(try_make(R, "b", S_IFREG | 0644), EROFS);
	FAILS(live_open_file(live, &who, find(R, "a"), O_RDWR, false, &err), EROFS);
	FAILS(set(find(R, "a"), (struct live_set){ .mask = LIVE_MODE }), EROFS);
	OK(live_tick(live, &err));
	OK(live_sync(live, &err));
	live = live_close(live);
	OK(redo_close(redo_log, &err));
	disk.read_only = false;
	open_live();
	finish();
}
END_TEST

/* --- a root that no request makes ------------------------------------------------------------------------------ */

static void becomes_a_file(struct redo_op *op)
{
	redo_op_attr(op, R, PLY_REDO_A_MODE, &(struct redo_attr){ .mode = S_IFREG | 0755 });
}

static void loses_its_names(struct redo_op *op)
{
	redo_op_attr(op, R, PLY_REDO_A_NLINK, &(struct redo_attr){ .nlink = 0 });
}

static void is_gone(struct redo_op *op)
{
	loses_its_names(op);
	redo_op_dead(op, R);
}

/* A root below its own children, and a name for it there. */
static void is_moved(struct redo_op *op)
{
	uint64_t etc = find(R, "etc");

	redo_op_add(op, etc, "root", 4, R, DT_DIR);
	redo_op_attr(op, R, PLY_REDO_A_PARENT, &(struct redo_attr){ .parent = etc });
}

static void append(void (*fill)(struct redo_op *op))
{
	struct redo_op op _cleanup_redo_op_;

	redo_op_init(&op, 0);
	fill(&op);
	OK(redo_append(redo_log, &op, NULL, &err));
}

/* Such a mount could be ended by force alone: it is refused, to be read too, and the log stays as it is. */
START_TEST(a_root_that_is_none_is_refused)
{
	static void (*const fills[])(struct redo_op *op) = { becomes_a_file, loses_its_names, is_gone };
	struct redo_inode before, after;

	start();
	make_one(R, "a", S_IFREG | 0644);
	append(fills[_i]);
	ck_assert(redo_inode(redo_log, R, &before));
	live = live_close(live);
	OK(redo_close(redo_log, &err));
	for (int writes = 0; writes <= 1; writes++) {
		OK(redo_open(redo_disk_store(&disk), writes ? REDO_WRITE : 0, &redo_log, &err));
		FAILS(live_open(view, redo_log, &live, &err), EUCLEAN);
		ck_assert_int_eq(err.reason, PLY_R_TREE_SHAPE);
		ck_assert(redo_inode(redo_log, R, &after));
		ck_assert_mem_eq(&before, &after, sizeof(after));
		OK(redo_close(redo_log, &err));
	}
	redo_disk_done(&disk);
	done();
}
END_TEST

/* Who goes up from a directory comes to an end there all the same. */
START_TEST(a_root_that_was_moved)
{
	uint64_t d;

	start();
	append(is_moved);
	again(true);
	d = make_one(find(R, "etc"), "d", S_IFDIR | 0755);
	OK(rename_to(R, "usr", d, "usr", 0));
	FAILS(rename_to(R, "etc", d, "etc", 0), EINVAL);
	FAILS(rmdir_name(find(R, "etc"), "root"), ENOTEMPTY);
	live = live_close(live);
	OK(redo_close(redo_log, &err));
	redo_disk_done(&disk);
	done();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("live");

	tap_test(s, makes_files);
	tap_test(s, symlinks_and_devices);
	tap_test(s, long_names);
	tap_test(s, removes_what_is_below);
	tap_test(s, links);
	tap_test(s, files_without_names);
	tap_test(s, renames);
	tap_test(s, counts_directories);
	tap_test(s, listings_go_on);
	tap_test(s, writes_a_block);
	tap_test(s, truncates);
	tap_test(s, holes);
	tap_test(s, copies);
	tap_test(s, what_is_rendered_is_copied);
	tap_test(s, attributes);
	tap_test(s, inode_flags);
	tap_test(s, setgid_directories);
	tap_test(s, xattrs);
	tap_test(s, acls);
	tap_test(s, full_disk);
	tap_test(s, a_failed_sync_is_the_end);
	tap_test(s, read_only_log);
	tap_loop(s, a_root_that_is_none_is_refused, 0, 3);
	tap_test(s, a_root_that_was_moved);
	return s;
}
TAP_MAIN(suite)
