/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a catalog with right checksums and digests (see assemble.h) behind two superblocks, in an
 * image of FILE_SIZE bytes whose other bytes cannot be read: opened, and everything that it says looked at.
 */
#include <errno.h>

#include "assemble.h"
#include "codec/codec.h"
#include "format/format.h"
#include "image/catalog.h"
#include "image_mutate.h"
#include "plyfs/view.h"

#define FILE_SIZE (1ULL << 40)     /* what the catalog refers to lies in it */

struct short_io {
	struct io io;
	const uint8_t *data;
	size_t len;
};

static int short_pread(struct io *io, void *buf, size_t len, uint64_t off)
{
	const struct short_io *s = (const struct short_io *)io;

	if (off > s->len || len > s->len - off)
		return -EIO;
	memcpy(buf, s->data + off, len);
	return 0;
}

static int short_map(struct io *io, uint64_t off, size_t len, const void **ret, void **ret_handle)
{
	const struct short_io *s = (const struct short_io *)io;

	if (off > s->len || len > s->len - off || !len)
		return -EIO;
	*ret = s->data + off;
	*ret_handle = NULL;
	return 0;
}

static void short_close(struct io *io)
{
	free(io);
}

static const struct io_ops short_ops = { .pread = short_pread, .map = short_map, .close = short_close };

static struct io *short_open(const uint8_t *data, size_t len)
{
	struct short_io *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	*s = (struct short_io){ { &short_ops, FILE_SIZE, NULL, -1 }, data, len };
	return &s->io;
}

static void see_text(const char *text)
{
	touch(text, strlen(text) + 1);
}

static void see(const struct ply_image *image)
{
	const struct ply_generation_info *g = ply_image_generation(image);
	uint32_t at;
	size_t len;

	see_text(g->message);
	see_text(g->tool);
	for (uint32_t i = 0; i < ply_image_nsubs(image); i++) {
		const struct ply_sub_info *s = ply_image_sub_info(image, i);
		const char *blob = ply_image_blob(image, i, PLY_BLOB_PACKAGES, &len);

		if (!sub_name_ok(s->name, strlen(s->name), true) ||
		    ply_image_find_sub(image, s->name, &at) < 0 || at != i)
			abort();
		see_text(s->arch);
		see_text(s->distro);
		see_text(s->summary);
		for (uint32_t k = 0; k < s->nrequires; k++)
			see_text(s->requires[k]);
		for (uint32_t k = 0; k < s->nprovides; k++)
			see_text(s->provides[k]);
		/* no chain of these leads in a circle */
		for (uint32_t k = 0; k < s->nstands_on; k++)
			if (ply_image_find_sub(image, s->stands_on[k], &at) < 0 || at >= i)
				abort();
		if (!!s->nstands_on != !!(s->flags & PLY_SUB_OVERLAY))
			abort();
		if (blob)
			touch(blob, len + 1);
	}
	for (uint32_t i = 0; i < ply_image_nmounts(image); i++) {
		see_text(ply_image_mount(image, i)->path);
		see_text(ply_image_mount(image, i)->type);
		see_text(ply_image_mount(image, i)->subtree);
	}
	if (ply_image_blob(image, PLY_BLOB_OF_IMAGE, "a", &len))
		touch(ply_image_blob(image, PLY_BLOB_OF_IMAGE, "a", &len), len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct ply_image *image = NULL;
	struct ply_view *view = NULL;
	struct super s = { .generation = 1, .catalog_off = PLY_SUPER_SLOTS * PLY_SUPER_SIZE };
	struct ply_disk_catalog_head head;
	struct assembled a;
	struct ply_err err;
	uint8_t *file;

	if (!size)
		return 0;
	input_number(&in, 1);
	/* the superblock names the same image, else nothing else is looked at */
	if (in.left >= 2 + sizeof(head)) {
		memcpy(&head, in.at + 2, sizeof(head));
		memcpy(s.uuid, head.uuid, sizeof(s.uuid));
		s.generation = le64_get(head.generation) ? le64_get(head.generation) : 1;
	}
	assemble(&in, PLY_SEG_CATALOG, assemble_catalog, 1, &a);
	s.catalog_len = a.len;
	s.committed_end = FILE_SIZE;
	memcpy(s.catalog_digest, a.digest, sizeof(a.digest));
	file = malloc(s.catalog_off + a.len);
	if (!file)
		abort();
	for (uint32_t i = 0; i < PLY_SUPER_SLOTS; i++)
		super_encode(&s, i, file + (size_t)i * PLY_SUPER_SIZE);
	memcpy(file + s.catalog_off, a.bytes, a.len);
	if (ply_image_open_io(short_open(file, s.catalog_off + a.len), data[0] >> 1 & 3, &image, &err) == 0) {
		see(image);
		if (ply_view_open(image, NULL, 0, 1 << 20, &view, &err) == 0)
			ply_view_close(view);
		if (ply_image_nsubs(image) &&
		    ply_view_open(image, &ply_image_sub_info(image, ply_image_nsubs(image) - 1)->name, 1, 1 << 20,
				  &view, &err) == 0)
			ply_view_close(view);
	}
	ply_image_close(image);
	free(file);
	free(a.bytes);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return assembled_mutate(data, size, max, seed, assemble_catalog);
}
