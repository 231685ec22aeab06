/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seeds IMAGE DIR NAME: cuts a real image into inputs for the fuzz targets that begin behind the container:
 * DIR/{super,segment,sub,join,catalog,rows,codec}/NAME-...
 * seeds --redo DIR: logs, in DIR/redo. Called by seeds.py.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "assemble.h"
#include "base/buf.h"
#include "format/format.h"
#include "image/catalog.h"
#include "io/io.h"
#include "redo_input.h"

static const char *dir, *name;

static void check(int r, const struct ply_err *err)
{
	if (r < 0) {
		fprintf(stderr, "seeds: %s\n", err->msg);
		exit(1);
	}
}

static void write_seed(const char *target, unsigned n, const struct buf *b)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, target);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%s-%u", dir, target, name, n);
	f = fopen(path, "w");
	if (!f || fwrite(b->data, 1, b->len, f) != b->len || fclose(f)) {
		perror(path);
		exit(1);
	}
}

static void add(struct buf *b, const void *bytes, size_t len)
{
	if (len && buf_add(b, bytes, len) < 0)
		abort();
}

static void add_number(struct buf *b, uint64_t v, unsigned bytes)
{
	le64 le = le64_put(v);

	add(b, &le, bytes);
}

/* Input of assemble(). */
static void disassemble(const uint8_t *seg, const struct segment *s, const uint32_t *types, struct buf *b)
{
	for (; *types; types++) {
		const struct section *c = segment_section(s, *types);
		uint64_t len = c ? c->len : 0;

		if (len > UINT16_MAX)
			len = 0;
		add_number(b, len, 2);
		add(b, c ? seg + c->off : NULL, len);
	}
}

/* A row of each table that the target knows, with limits of 2^16. */
static void add_rows(const uint8_t *seg, const struct segment *s, unsigned at)
{
	static const uint32_t types[] = { PLY_S_NODES, PLY_S_ENTRIES, PLY_S_EXTENTS, PLY_S_BLOCKS, PLY_S_OWNERS, 0, 0,
					  PLY_S_CONDITIONS, PLY_S_SHARED_FILES, PLY_S_RECORDS, PLY_S_OVERRIDES,
					  PLY_S_COLLISIONS };

	for (unsigned k = 0; k < sizeof(types) / sizeof(types[0]); k++) {
		const struct section *c = types[k] ? segment_section(s, types[k]) : NULL;
		size_t size = section_element_size(types[k]);

		for (unsigned i = k == 0; c && i < c->count && i < 12; i++) {
			struct buf b = { 0 };

			add_number(&b, k, 1);
			for (int l = 0; l < 15; l++)
				add_number(&b, 20, 1);
			if (k == 0)
				add_number(&b, i, 6);
			add(&b, seg + c->off + i * size, size);
			write_seed("rows", at * 1000 + k * 16 + i, &b);
			buf_done(&b);
		}
	}
}

static void add_blocks(const uint8_t *seg, const struct segment *s, unsigned at)
{
	const struct section *c = segment_section(s, PLY_S_BLOCKS), *data = segment_section(s, PLY_S_DATA);

	for (unsigned i = 0; c && i < c->count && i < 4; i++) {
		struct ply_disk_block d;
		struct buf b = { 0 };
		uint32_t stored;

		memcpy(&d, seg + c->off + i * sizeof(d), sizeof(d));
		stored = le32_get(d.stored) & ~PLY_BLOCK_RAW;
		add_number(&b, le32_get(d.size), 3);
		add(&b, seg + data->off + le64_get(d.off), stored);
		if (stored < 8192)
			write_seed("codec", at * 10 + i, &b);
		buf_done(&b);
	}
}

static void see_segment(const uint8_t *image, uint64_t off, uint64_t len, unsigned at)
{
	static const struct {
		const char *target;
		const uint32_t *types;
	} kinds[] = { [PLY_SEG_BASE] = { "sub", assemble_base }, [PLY_SEG_JOIN] = { "join", assemble_join },
		      [PLY_SEG_CATALOG] = { "catalog", assemble_catalog } };
	struct segment s;
	struct buf b = { 0 };
	struct ply_err err;
	size_t head;

	check(segment_peek(image + off, &head, &err), &err);
	check(segment_decode(image + off, len, len, &s, &err), &err);
	add_number(&b, 1, 1);
	disassemble(image + off, &s, kinds[s.kind].types, &b);
	write_seed(kinds[s.kind].target, at, &b);
	b.len = 1;
	add(&b, image + off, len);
	if (len < 16384)
		write_seed("segment", at, &b);
	buf_done(&b);
	if (s.kind == PLY_SEG_BASE || s.kind == PLY_SEG_JOIN)
		add_rows(image + off, &s, at);
	if (s.kind == PLY_SEG_BASE)
		add_blocks(image + off, &s, at);
}

int main(int argc, char **argv)
{
	struct catalog *c;
	struct super super;
	struct ply_err err;
	struct io *io;
	struct buf b = { 0 };
	uint8_t *image;
	uint64_t size;

	if (argc == 3 && !strcmp(argv[1], "--redo")) {
		redo_input_seeds(argv[2]);
		return 0;
	}
	if (argc != 4) {
		fprintf(stderr, "usage: seeds IMAGE DIR NAME, or --redo DIR\n");
		return 2;
	}
	dir = argv[2];
	name = argv[3];
	check(io_open_file(argv[1], &io, &err), &err);
	size = io->size;
	image = malloc(size);
	if (!image)
		abort();
	check(io_pread(io, image, size, 0), &(struct ply_err){ .msg = "the image cannot be read" });
	check(super_decode(image, 0, size, &super, &err), &err);
	add_number(&b, 1, 1);
	add_number(&b, size, 8);
	add(&b, image, 0x80);
	write_seed("super", 0, &b);
	buf_done(&b);
	check(catalog_open(io, super.catalog_off, super.catalog_len, super.catalog_digest, &c, &err), &err);
	see_segment(image, super.catalog_off, super.catalog_len, 0);
	for (uint32_t i = 0; i < c->nsegments; i++)
		see_segment(image, c->segments[i].off, c->segments[i].len, i + 1);
	catalog_close(c);
	io_close(io);
	free(image);
	return 0;
}
