/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: an image of any bytes is opened, and walked and read whole as the mount does: listing
 * by cookies, lookups, attributes, xattrs, links, contents and holes, within limits. First byte:
 * bit 0 makes checksums right first, bit 1 selects only the first sub-image; bits 2 to 7, where one of them is
 * set and bit 1 is not, select those of the first six.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "image_mutate.h"
#include "io/io.h"
#include "plyfs/view.h"
#include "repair.h"
#include "tree/view_internal.h"

#define ENTRIES_MAX 1000
#define READ_MAX    (64u << 10)
#define READ_ALL    (256u << 10)   /* of one input: files may share their blocks */

static struct ply_err err;         /* messages are part of what is tested */

struct visit {
	struct ply_view *view;
	unsigned entries;
	size_t read;
	uint64_t dir, cookie;
	unsigned listed;
};

static uint8_t bytes[READ_MAX];

static int see_xattr(void *ctx, const struct ply_xattr *x)
{
	struct visit *v = ctx;

	touch(x->name, x->name_len);
	touch(x->value, x->value_len);
	return ++v->listed > 200;
}

/* One at a time, going on behind its cookie, as a kernel with a small buffer would. */
static int see_dirent(void *ctx, const struct ply_dirent *de)
{
	struct visit *v = ctx;
	uint64_t ino;

	if (v->cookie == de->cookie)
		abort();           /* the listing would never end */
	v->cookie = de->cookie;
	touch(de->name, de->len);
	ply_view_lookup(v->view, v->dir, de->name, de->len, &ino, &err);
	return 1;
}

static void see_directory(struct visit *v, uint64_t ino)
{
	uint64_t last, found;

	v->dir = ino;
	v->cookie = 0;
	v->listed = 0;
	do {
		last = v->cookie;
	} while (ply_view_readdir(v->view, ino, v->cookie, see_dirent, v, &err) >= 0 && v->cookie != last &&
		 ++v->listed < 50);
	ply_view_lookup(v->view, ino, "..", 2, &found, &err);
	ply_view_lookup(v->view, ino, "not-there", 9, &found, &err);
}

static int see_record(void *ctx, const struct merge_driver *driver, const struct view_record *r, struct ply_err *e)
{
	struct visit *v = ctx;

	(void)driver;
	(void)e;
	touch(r->data, r->len);
	if (r->sub >= ply_view_nsubs(v->view))
		abort();
	return ++v->listed > 200;
}

/* Runs of a file's bytes are those of sub-images that there are. */
static int see_run(void *ctx, uint64_t len, uint32_t i, struct ply_err *e)
{
	struct visit *v = ctx;

	(void)len;
	(void)e;
	if (i >= ply_view_nsubs(v->view))
		abort();
	return 0;
}

/* What is rendered has the size that was told, and its first bytes are those that are read. */
static void see_rendered(struct visit *v, uint64_t ino, uint64_t size, bool has_records)
{
	struct buf all = { 0 };
	ssize_t got;

	v->listed = 0;
	if (has_records)
		view_records(v->view, ino, see_record, v, &err);
	if (view_render(v->view, ino, &all, &err) == 0) {
		if (all.len != size)
			abort();
		got = ply_view_read(v->view, ino, 0, READ_MAX, bytes, &err);
		if (got != (ssize_t)(size < READ_MAX ? size : READ_MAX) || (got && memcmp(bytes, all.data, (size_t)got)))
			abort();
	}
	buf_done(&all);
}

static int see(void *ctx, const struct ply_walk_entry *e)
{
	struct visit *v = ctx;
	uint64_t ino = e->attr.ino, off, parent;
	uint32_t origin[4];
	const void *value;
	const char *target;
	struct view_file file;
	struct ply_attr attr;
	size_t len;

	if (++v->entries > ENTRIES_MAX)
		return 1;
	touch(e->path, e->path_len);
	if (ply_view_attr(v->view, ino, &attr, &err) == 0 && attr.ino != ino)
		abort();
	v->listed = 0;
	ply_view_xattrs(v->view, ino, see_xattr, v, &err);
	if (ply_view_getxattr(v->view, ino, "user.a", &value, &len, &err) == 0)
		touch(value, len);
	ply_view_parent(v->view, ino, &parent, &err);
	ply_view_origin(v->view, ino, origin, 4, &err);
	if (S_ISDIR(e->attr.mode))
		see_directory(v, ino);
	if (S_ISLNK(e->attr.mode) && ply_view_readlink(v->view, ino, &target, &len, &err) == 0)
		touch(target, len);
	if (view_file(v->view, ino, &file, &err) == 0 && file.rendered)
		see_rendered(v, ino, e->attr.size, !file.merged);
	if (S_ISREG(e->attr.mode))
		view_blocks(v->view, ino, see_run, v, &err);
	if (S_ISREG(e->attr.mode)) {
		if (v->read < READ_ALL) {
			ssize_t got = ply_view_read(v->view, ino, 0, READ_MAX, bytes, &err);

			v->read += got > 0 ? (size_t)got : 0;
		}
		ply_view_read(v->view, ino, e->attr.size / 2 + 1, 4096, bytes, &err);
		ply_view_read(v->view, ino, 131000, 200, bytes, &err);     /* over the end of a block */
		if (ply_view_seek(v->view, ino, 0, SEEK_HOLE, &off, &err) == 0)
			ply_view_seek(v->view, ino, off, SEEK_DATA, &off, &err);
	}
	return 0;
}

/* Sides of the first collisions. */
static void see_pairs(struct visit *v)
{
	for (size_t i = 0; i < view_npairs(v->view) && i < 64; i++) {
		const struct view_pair *p = view_pair_at(v->view, i);
		struct view_contender c;
		struct buf text = { 0 };

		if (view_contender(v->view, p->a, p->flags & PLY_PAIR_A_WHITEOUT, &c, &err) == 0) {
			touch(c.path, strlen(c.path));
			view_contender_done(&c);
		}
		if (!(p->flags & PLY_PAIR_B_WHITEOUT))
			view_contender_text(v->view, p->b, READ_MAX, &text, &err);
		buf_done(&text);
	}
}

static void see_image(struct ply_image *image, unsigned how)
{
	const char *names[6];
	size_t nnames = 0;
	struct visit v = { 0 };
	struct ply_view_stat st;
	struct ply_attr attr;
	uint64_t ino;

	for (uint32_t i = 0; i < ply_image_nsubs(image) && i < 6; i++)
		if (how & 2 ? !i : how >> (i + 2) & 1)
			names[nnames++] = ply_image_sub_info(image, i)->name;
	if (ply_view_open(image, (const char *[]){ "nothing" }, 1, 1 << 20, &v.view, &err) == 0)
		v.view = ply_view_close(v.view);
	if (ply_view_open_with(image, &(struct ply_view_options){ .names = names, .n = nnames, .cache_bytes = 1 << 20,
								  .append = how & 4, .undecided_first = !(how & 1) },
			       &v.view, &err) < 0)
		return;
	see_pairs(&v);
	ply_view_stat(v.view, &st);
	ply_view_walk(v.view, 1, see, &v, &err);
	ply_view_resolve(v.view, "/link", true, &ino, &err);
	ply_view_resolve(v.view, "etc/../usr/./lib", false, &ino, &err);
	ply_view_resolve(v.view, "usr/lib/up/lib/name", true, &ino, &err);
	/* numbers that a kernel or an NFS client may still know */
	for (uint64_t n = 0; n < 4; n++) {
		ply_view_attr(v.view, n << 48 | 2, &attr, &err);
		ply_view_attr(v.view, n << 48 | 0xffffffffffff, &attr, &err);
		v.cookie = n << 48 | 7;
		ply_view_readdir(v.view, n << 48 | 1, v.cookie, see_dirent, &v, &err);
	}
	ply_view_close(v.view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ply_image *image = NULL;
	uint8_t *copy;
	struct io *io;

	if (size < 2)
		return 0;
	copy = malloc(size - 1);
	if (!copy)
		abort();
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1)
		repair_image(copy, size - 1);
	if (io_open_memory(copy, size - 1, &io, &err) == 0 && ply_image_open_io(io, 0, &image, &err) == 0)
		see_image(image, data[0]);
	ply_image_close(image);
	free(copy);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return image_mutate(data, size, max, seed);
}
