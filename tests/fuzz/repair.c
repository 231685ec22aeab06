/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See repair.h. Works inside out: blocks, pages, sections, header, catalog, superblock. */
#include "repair.h"

#include <stdbool.h>
#include <string.h>

#include "codec/codec.h"
#include "format/format.h"

struct image {
	uint8_t *data;
	size_t len;
};

static bool inside(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

/* Header of the segment at @off as far as it can be used; false: leave it alone. */
static bool header(const struct image *im, uint64_t off, uint64_t len, struct ply_disk_segment *h)
{
	if (!inside(off, len, im->len) || len < sizeof(*h))
		return false;
	memcpy(h, im->data + off, sizeof(*h));
	return le32_get(h->nsections) <= PLY_SECTIONS_MAX &&
	       segment_header_len(le32_get(h->nsections)) <= len &&
	       inside(le64_get(h->meta_off), le64_get(h->meta_len), len);
}

static struct ply_disk_section row(const struct image *im, uint64_t off, uint32_t i)
{
	struct ply_disk_section s;

	memcpy(&s, im->data + off + sizeof(struct ply_disk_segment) + i * sizeof(s), sizeof(s));
	return s;
}

static bool section(const struct image *im, uint64_t off, const struct ply_disk_segment *h,
		    uint32_t type, uint8_t **ret, uint64_t *ret_len)
{
	for (uint32_t i = 0; i < le32_get(h->nsections); i++) {
		struct ply_disk_section s = row(im, off, i);

		if (le32_get(s.type) == type && inside(le64_get(s.off), le64_get(s.len), im->len - off)) {
			*ret = im->data + off + le64_get(s.off);
			*ret_len = le64_get(s.len);
			return true;
		}
	}
	return false;
}

static void repair_blocks(const struct image *im, uint64_t off, const struct ply_disk_segment *h)
{
	uint8_t *blocks, *digests, *data;
	uint64_t nblocks, ndigests, ndata;

	if (!section(im, off, h, PLY_S_BLOCKS, &blocks, &nblocks) ||
	    !section(im, off, h, PLY_S_BLOCK_DIGESTS, &digests, &ndigests) ||
	    !section(im, off, h, PLY_S_DATA, &data, &ndata))
		return;
	for (uint64_t i = 0; i < nblocks / sizeof(struct ply_disk_block) && i < ndigests / 32; i++) {
		struct ply_disk_block b;
		uint32_t stored;

		memcpy(&b, blocks + i * sizeof(b), sizeof(b));
		stored = le32_get(b.stored) & ~PLY_BLOCK_RAW;
		if (!inside(le64_get(b.off), stored, ndata))
			continue;
		b.xxh3 = le64_put(xxh3(data + le64_get(b.off), stored, 0));
		memcpy(blocks + i * sizeof(b), &b, sizeof(b));
		sha256_once(data + le64_get(b.off), stored, digests + i * 32);
	}
}

static void repair_sums(const struct image *im, uint64_t off, const struct ply_disk_segment *h)
{
	uint64_t meta_len = le64_get(h->meta_len), pages = meta_pages(meta_len), len;
	const uint8_t *meta = im->data + off + le64_get(h->meta_off);
	uint8_t *sums;

	if (!section(im, off, h, PLY_S_PAGE_SUMS, &sums, &len) || len != page_sums_len(pages))
		return;
	for (uint64_t first = 0; first < pages; first += PLY_SUMS_PER_GROUP) {
		uint64_t in = pages - first < PLY_SUMS_PER_GROUP ? pages - first : PLY_SUMS_PER_GROUP;
		le64 sum;

		for (uint64_t p = first; p < first + in; p++, sums += sizeof(sum)) {
			uint64_t left = meta_len - p * PLY_PAGE;

			sum = le64_put(page_sum(meta + p * PLY_PAGE, left < PLY_PAGE ? left : PLY_PAGE, p));
			memcpy(sums, &sum, sizeof(sum));
		}
		sum = le64_put(group_sum(sums - in * 8, in, first / PLY_SUMS_PER_GROUP));
		memcpy(sums, &sum, sizeof(sum));
		sums += sizeof(sum);
	}
}

/* Everything in a segment; *ret is its digest. */
static bool repair_segment(const struct image *im, uint64_t off, uint64_t len, uint8_t ret[32])
{
	struct ply_disk_segment h;

	if (!header(im, off, len, &h))
		return false;
	repair_blocks(im, off, &h);
	repair_sums(im, off, &h);
	for (uint32_t i = 0; i < le32_get(h.nsections); i++) {
		struct ply_disk_section s = row(im, off, i);

		if (le32_get(s.type) == PLY_S_DATA || !inside(le64_get(s.off), le64_get(s.len), len))
			continue;
		sha256_once(im->data + off + le64_get(s.off), le64_get(s.len), s.digest);
		memcpy(im->data + off + sizeof(h) + i * sizeof(s), &s, sizeof(s));
	}
	h.xxh3 = le64_put(0);
	memcpy(im->data + off, &h, sizeof(h));
	h.xxh3 = le64_put(xxh3(im->data + off, segment_header_len(le32_get(h.nsections)), 0));
	memcpy(im->data + off, &h, sizeof(h));
	sha256_once(im->data + off, segment_header_len(le32_get(h.nsections)), ret);
	return true;
}

void repair_image(uint8_t *data, size_t len)
{
	const struct image im = { data, len };
	struct ply_disk_super first;

	for (uint32_t slot = 0; slot < PLY_SUPER_SLOTS && len >= PLY_SUPER_SLOTS * PLY_SUPER_SIZE; slot++) {
		uint8_t *at = data + (size_t)slot * PLY_SUPER_SIZE, *refs;
		struct ply_disk_super s;
		struct ply_disk_segment h;
		uint64_t off, n, nrefs;

		memcpy(&s, at, sizeof(s));
		off = le64_get(s.catalog_off);
		n = le64_get(s.catalog_len);
		/* mostly both slots name one catalog: it is repaired once */
		if (slot && !memcmp(&first.catalog_off, &s.catalog_off, 16))
			memcpy(s.catalog_digest, first.catalog_digest, sizeof(s.catalog_digest));
		else if (header(&im, off, n, &h) && section(&im, off, &h, PLY_S_SEGMENTS, &refs, &nrefs)) {
			for (uint64_t i = 0; i < nrefs / sizeof(struct ply_disk_segment_ref); i++) {
				struct ply_disk_segment_ref r;

				memcpy(&r, refs + i * sizeof(r), sizeof(r));
				if (le64_get(r.off) != off &&
				    repair_segment(&im, le64_get(r.off), le64_get(r.len), r.digest))
					memcpy(refs + i * sizeof(r), &r, sizeof(r));
			}
			repair_segment(&im, off, n, s.catalog_digest);
		}
		s.xxh3 = le64_put(xxh3(&s, offsetof(struct ply_disk_super, xxh3), 0));
		memcpy(at, &s, sizeof(s));
		if (!slot)
			first = s;
	}
}
