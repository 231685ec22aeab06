/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A damaged image never shows wrong content: for seeded flips and cuts of a small
 * image, reading everything through a view either fails or gives what was stored.
 * PLYFS_DAMAGE_STEP sets how far apart the flipped bytes are (1: every byte).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/codec.h"
#include "io/io.h"
#include "overlay_image.h"
#include "plyfs/view.h"
#include "small_image.h"
#include "tap.h"

/* Without overlays; one of two that collide; both, and the first of what collides. */
enum { SMALL, ONE, BOTH, KINDS };

static uint8_t *bytes;
static size_t size;
static int kind;

static void load(int of_kind)
{
	char path[] = "/tmp/plyfs-damage-XXXXXX";
	int fd = mkstemp(path);
	struct stat st;

	ck_assert_int_ge(fd, 0);
	close(fd);
	kind = of_kind;
	if (kind == SMALL)
		small_image(path, 2);
	else
		overlay_image(path);
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(fstat(fd, &st), 0);
	size = (size_t)st.st_size;
	bytes = malloc(size);
	ck_assert_int_eq(pread_full(fd, bytes, size, 0), 0);
	close(fd);
	unlink(path);
}

struct digest {
	struct ply_view *view;
	struct sha256 *sha;
	int result;
	struct ply_err err;
};

static int add_xattr(void *ctx, const struct ply_xattr *x)
{
	sha256_add(ctx, x->name, x->name_len);
	sha256_add(ctx, x->value, x->value_len);
	return 0;
}

static int add(void *ctx, const struct ply_walk_entry *e)
{
	static uint8_t buf[1 << 20];
	struct digest *d = ctx;
	struct ply_attr a = e->attr;
	uint64_t fields[] = { a.ino, a.mode, a.uid, a.gid, a.nlink, a.size, a.blocks, a.rdev_major,
			      a.rdev_minor, (uint64_t)a.mtime_sec, a.mtime_nsec };

	sha256_add(d->sha, e->path, e->path_len);
	sha256_add(d->sha, fields, sizeof(fields));
	d->result = ply_view_xattrs(d->view, a.ino, add_xattr, d->sha, &d->err);
	if (d->result == 0 && S_ISLNK(a.mode)) {
		const char *target;
		size_t len;

		d->result = ply_view_readlink(d->view, a.ino, &target, &len, &d->err);
		if (d->result == 0)
			sha256_add(d->sha, target, len);
	} else if (d->result == 0 && S_ISREG(a.mode)) {
		ssize_t n = ply_view_read(d->view, a.ino, 0, sizeof(buf), buf, &d->err);

		if (n >= 0)
			sha256_add(d->sha, buf, (size_t)n);
		d->result = n < 0 ? (int)n : 0;
	}
	return d->result < 0;
}

static int open_view(struct ply_image *image, struct ply_view **ret, struct ply_err *err)
{
	static const char *const db[] = { "db" };

	return ply_view_open_with(image, &(struct ply_view_options){ .names = db, .n = kind == ONE,
								    .undecided_first = kind == BOTH }, ret, err);
}

/* Digest of all that a view of @data shows, or a negative errno. */
static int read_all(const uint8_t *data, size_t len, uint8_t ret[32], struct ply_err *err)
{
	struct digest d = { .sha = sha256_new() };
	struct ply_image *image = NULL;
	struct io *io;
	int r;

	ck_assert_int_eq(io_open_memory(data, len, &io, err), 0);
	r = ply_image_open_io(io, 0, &image, err);
	if (r == 0)
		r = open_view(image, &d.view, err);
	if (r == 0)
		r = ply_view_walk(d.view, 1, add, &d, err);
	if (d.result < 0) {
		r = d.result;
		*err = d.err;
	}
	sha256_end(d.sha, ret);
	sha256_free(d.sha);
	ply_view_close(d.view);
	ply_image_close(image);
	return r;
}

static void judge(const uint8_t *data, size_t len, const uint8_t good[32], const char *what, size_t at)
{
	struct ply_err err = { 0 };
	uint8_t is[32];
	int r = read_all(data, len, is, &err);

	if (r == 0)
		ck_assert_msg(memcmp(is, good, 32) == 0, "%s at %zu: wrong content and no error", what, at);
	else
		ck_assert_msg(err.reason != PLY_R_NONE && err.msg[0], "%s at %zu: %d without a reason",
			      what, at, r);
}

START_TEST(flips)
{
	const char *env = getenv("PLYFS_DAMAGE_STEP");
	size_t step = env ? strtoul(env, NULL, 10) : 97;
	uint8_t good[32];
	struct ply_err err;

	load(_i);
	ck_assert_int_eq(read_all(bytes, size, good, &err), 0);
	for (size_t i = 0; i < size; i += step) {
		uint8_t old = bytes[i];

		bytes[i] ^= (uint8_t)(1u << (i / step % 8));
		judge(bytes, size, good, "flip", i);
		bytes[i] = old;
	}
	free(bytes);
}
END_TEST

START_TEST(cuts)
{
	uint8_t good[32];
	struct ply_err err;

	load(_i);
	ck_assert_int_eq(read_all(bytes, size, good, &err), 0);
	for (size_t len = 0; len < size; len += len < 20000 ? 777 : 4099) {
		uint8_t is[32], *cut = malloc(len ? len : 1);

		memcpy(cut, bytes, len);
		ck_assert_msg(read_all(cut, len, is, &err) < 0, "cut to %zu bytes and no error", len);
		free(cut);
	}
	free(bytes);
}
END_TEST

START_TEST(one_bad_slot_is_told)
{
	struct ply_image *image;
	struct ply_err err;
	struct io *io;

	load(SMALL);
	for (size_t slot = 0; slot < 2; slot++) {
		bytes[slot * 4096 + 100] ^= 1;
		ck_assert_int_eq(io_open_memory(bytes, size, &io, &err), 0);
		ck_assert_int_eq(ply_image_open_io(io, 0, &image, &err), 0);
		ck_assert_ptr_nonnull(ply_image_warning(image));
		ply_image_close(image);
		bytes[slot * 4096 + 100] ^= 1;
	}
	bytes[100] ^= 1;
	bytes[4096 + 100] ^= 1;
	ck_assert_int_eq(io_open_memory(bytes, size, &io, &err), 0);
	ck_assert_int_eq(ply_image_open_io(io, 0, &image, &err), -EBADMSG);
	ck_assert_int_eq(err.reason, PLY_R_SUPER_CHECKSUM);
	free(bytes);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("damage");

	tap_loop(s, flips, 0, KINDS);
	tap_loop(s, cuts, 0, KINDS);
	tap_test(s, one_bad_slot_is_told);
	return s;
}
TAP_MAIN(suite)
