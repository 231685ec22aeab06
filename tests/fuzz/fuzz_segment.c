/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a segment's header and section directory, and the metadata region behind it. First byte:
 * bit 0 makes the header's checksum right, bit 1 takes the segment's length from the header.
 */
#include "codec/codec.h"
#include "format/text.h"
#include "fuzz.h"
#include "sub/sub.h"

static struct ply_err err;         /* messages are part of what is tested */

static void look(struct meta *m, int json)
{
	const struct segment *s = meta_segment(m);
	struct buf out = { 0 };
	struct text t = { .out = &out, .json = json };
	const void *p;

	segment_to_text(&t, 0, s);
	for (uint32_t i = 0; i < s->nsections; i++) {
		const struct section *c = &s->sections[i];

		section_to_text(&t, i, c);
		if (segment_section(s, c->type) != c)
			abort();
		if (!(c->flags & PLY_SECTION_PAGED))
			continue;
		if (meta_get(m, c, 0, c->len, &p, &err) == 0)
			touch(p, c->len);
		meta_get(m, c, c->len / 2, c->len, &p, &err);
		meta_check_digest(m, c, &err);
		touch(meta_raw(m, c), c->len);
	}
	for (uint64_t p_ = 0; p_ < meta_pages(s->meta_len); p_++)
		meta_check_page(m, p_, &err);
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ply_disk_segment h;
	struct segment s;
	uint64_t seg_len;
	uint8_t *copy;
	struct meta *m;
	struct io *io;
	size_t len;

	if (size < 1 + sizeof(h))
		return 0;
	copy = malloc(--size);
	memcpy(copy, data + 1, size);
	memcpy(&h, copy, sizeof(h));
	if (data[0] & 1) {
		len = segment_header_len(le32_get(h.nsections) <= PLY_SECTIONS_MAX ? le32_get(h.nsections) : 0);
		len = len < size ? len : size;
		h.xxh3 = le64_put(0);
		memcpy(copy, &h, sizeof(h));
		h.xxh3 = le64_put(xxh3(copy, len, 0));
		memcpy(copy, &h, sizeof(h));
	}
	/* with lengths that no file of the fuzzer has */
	seg_len = data[0] & 2 ? le64_get(h.length) : size;
	if (segment_peek(copy, &len, &err) == 0 && segment_decode(copy, size, seg_len, &s, &err) == 0)
		for (uint32_t i = 0; i < s.nsections; i++)
			if (s.sections[i].off > seg_len || s.sections[i].len > seg_len - s.sections[i].off)
				abort();
	if (io_open_memory(copy, size, &io, &err) == 0) {
		if (meta_open(io, 0, size, NULL, &m, &err) == 0) {
			look(m, data[0] & 4);
			meta_close(m);
		}
		io_close(io);
	}
	free(copy);
	return 0;
}
