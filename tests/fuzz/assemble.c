/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See assemble.h. Layout as the writer's: header, metadata region, PAGE_SUMS, DATA. */
#include "assemble.h"

#include "base/buf.h"
#include "codec/codec.h"
#include "format/format.h"

const uint32_t assemble_base[] = {
	PLY_S_NODES, PLY_S_ENTRIES, PLY_S_NAMES, PLY_S_HEAP, PLY_S_EXTENTS, PLY_S_XATTR_SETS, PLY_S_XATTRS,
	PLY_S_OWNERS, PLY_S_OWNER_PAIRS, PLY_S_BLOCKS, PLY_S_BLOCK_DIGESTS, PLY_S_COMPONENTS, PLY_S_MARKS,
	PLY_S_DATA, PLY_S_CONDITIONS, PLY_S_SHARED_FILES, PLY_S_RECORDS, PLY_S_OVERRIDES, 0
};
const uint32_t assemble_join[] = { PLY_S_JOIN_ROWS, PLY_S_JOIN_MEMBERS, PLY_S_JOIN_INDEX, PLY_S_COLLISIONS, 0 };
const uint32_t assemble_catalog[] = { PLY_S_CATALOG_HEAD, PLY_S_SUBS, PLY_S_SEGMENTS, PLY_S_RELATIONS,
				      PLY_S_STRINGS, PLY_S_MOUNTS, PLY_S_BLOBS, 0 };

static void add(struct buf *b, struct section *s, const void *bytes, size_t len, int digests)
{
	s->off = b->len;
	s->len = len;
	if ((digests && sha256_once(bytes, len, s->digest) < 0) || (len && buf_add(b, bytes, len) < 0) ||
	    buf_align(b, PLY_ALIGN) < 0)
		abort();
}

static void add_sums(struct buf *b, struct segment *seg, struct section *s, int digests)
{
	struct buf sums = { 0 };
	uint64_t pages = meta_pages(seg->meta_len);

	for (uint64_t first = 0; first < pages; first += PLY_SUMS_PER_GROUP) {
		uint64_t n = pages - first < PLY_SUMS_PER_GROUP ? pages - first : PLY_SUMS_PER_GROUP;
		le64 sum;

		for (uint64_t p = first; p < first + n; p++) {
			uint64_t left = seg->meta_len - p * PLY_PAGE;

			sum = le64_put(page_sum(b->data + seg->meta_off + p * PLY_PAGE,
						left < PLY_PAGE ? left : PLY_PAGE, p));
			if (buf_add(&sums, &sum, sizeof(sum)) < 0)
				abort();
		}
		sum = le64_put(group_sum(sums.data + sums.len - n * 8, n, first / PLY_SUMS_PER_GROUP));
		if (buf_add(&sums, &sum, sizeof(sum)) < 0)
			abort();
	}
	add(b, s, sums.data, sums.len, digests);
	buf_done(&sums);
}

void assemble(struct input *in, uint32_t kind, const uint32_t *types, int digests, struct assembled *ret)
{
	struct segment seg = { .kind = kind, .block_bits = kind == PLY_SEG_BASE ? PLY_BLOCK_BITS : 0 };
	struct section *data = NULL, *sums;
	struct input data_bytes = { 0 };
	struct buf b = { 0 };
	size_t head;

	for (size_t n = 0; types[n]; n++)
		seg.nsections++;
	sums = &seg.sections[seg.nsections++];
	head = segment_header_len(seg.nsections);
	seg.meta_off = head;
	if (buf_add_zero(&b, head) < 0)
		abort();
	for (uint32_t i = 0; types[i]; i++) {
		struct section *s = &seg.sections[i];
		struct input bytes = input_bytes(in, input_number(in, 2));
		size_t element = section_element_size(types[i]);

		s->type = types[i];
		s->flags = PLY_SECTION_REQUIRED | (types[i] == PLY_S_DATA ? 0 : PLY_SECTION_PAGED);
		s->count = element ? bytes.left / element : 0;
		if (element)
			bytes.left = s->count * element;
		if (types[i] == PLY_S_DATA) {
			data = s;
			data_bytes = bytes;
		} else {
			add(&b, s, bytes.at, bytes.left, digests);
		}
	}
	if (b.len == head && buf_add_zero(&b, PLY_ALIGN) < 0)
		abort();
	seg.meta_len = b.len - head;
	sums->type = PLY_S_PAGE_SUMS;
	sums->flags = PLY_SECTION_REQUIRED;
	add_sums(&b, &seg, sums, digests);
	if (data)
		add(&b, data, data_bytes.at, data_bytes.left, 0);
	seg.length = b.len;
	segment_encode(&seg, b.data);
	if (sha256_once(b.data, head, ret->digest) < 0)
		abort();
	/* exactly as long as it is */
	ret->bytes = malloc(b.len);
	ret->len = b.len;
	if (!ret->bytes)
		abort();
	memcpy(ret->bytes, b.data, b.len);
	buf_done(&b);
}
