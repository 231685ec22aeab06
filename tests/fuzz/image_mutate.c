/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See image_mutate.h. */
#include "image_mutate.h"

#include "format/format.h"

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static uint64_t below(uint64_t *state, uint64_t n)
{
	return n ? next(state) % n : 0;
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

static void put(uint8_t *p, unsigned bytes, uint64_t v)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* The field at @p, @limit bytes of it are there. @other: a place of the same kind, to copy from. */
static void change_field(uint8_t *p, size_t limit, const uint8_t *other, uint64_t *rng)
{
	static const unsigned widths[] = { 8, 8, 4, 4, 2, 1 };
	unsigned bytes = widths[below(rng, 6)];
	uint64_t v;

	if (bytes > limit)
		bytes = 1;
	v = get(p, bytes);
	switch (below(rng, 12)) {
	case 0: v += 1; break;
	case 1: v -= 1; break;
	case 2: v = 0; break;
	case 3: v = UINT64_MAX; break;
	case 4: v = 1ULL << below(rng, 64); break;
	case 5: v = (1ULL << below(rng, 64)) - 1; break;
	case 6: v ^= 1ULL << below(rng, 8 * bytes); break;
	case 7: v += below(rng, 64); break;
	case 8: v -= below(rng, 64); break;
	case 9: v = below(rng, 256); break;
	case 10: v = next(rng); break;
	default: v = get(other, bytes);   /* another row's: links crosswise, names twice */
	}
	put(p, bytes, v);
}

/* A field of a random row of the table [at, at + len). */
static void change_row(uint8_t *at, size_t len, uint32_t type, uint64_t *rng)
{
	size_t element = section_element_size(type), field, row, other;

	if (!len)
		return;
	if (!element || len < element) {
		row = below(rng, len);
		other = below(rng, len);
		change_field(at + row, len - (row > other ? row : other), at + other, rng);
		return;
	}
	field = below(rng, element / 4) * 4;
	if (below(rng, 4) == 0)
		field = below(rng, element);
	row = below(rng, len / element) * element + field;
	other = below(rng, len / element) * element + field;
	if (below(rng, 16) == 0) {         /* a whole row */
		memcpy(at + (row - field), at + (other - field), row == other ? 0 : element);
		return;
	}
	change_field(at + row, element - field, at + other, rng);
}

struct place {
	uint64_t off, len;
};

static int is_inside(struct place p, size_t size, size_t least)
{
	return p.off <= size && p.len <= size - p.off && p.len >= least;
}

static int change_segment(uint8_t *image, size_t size, struct place seg, uint64_t *rng)
{
	struct ply_disk_segment h;
	struct ply_disk_section s;
	uint32_t n;
	struct place p;
	uint8_t *row;

	if (!is_inside(seg, size, sizeof(h)))
		return 0;
	memcpy(&h, image + seg.off, sizeof(h));
	n = le32_get(h.nsections);
	if (!n || n > PLY_SECTIONS_MAX || segment_header_len(n) > seg.len)
		return 0;
	row = image + seg.off + sizeof(h) + below(rng, n) * sizeof(s);
	memcpy(&s, row, sizeof(s));
	switch (below(rng, 24)) {
	case 0:
		p.off = below(rng, sizeof(h) / 4) * 4;
		change_field(image + seg.off + p.off, sizeof(h) - p.off, image + seg.off, rng);
		return 1;
	case 1:
		p.off = below(rng, 8) * 4;         /* type .. count */
		change_field(row + p.off, 32 - p.off, image + seg.off + sizeof(h) + p.off, rng);
		return 1;
	}
	p = (struct place){ le64_get(s.off), le64_get(s.len) };
	if (!is_inside(p, seg.len, 1))
		return 0;
	change_row(image + seg.off + p.off, p.len, le32_get(s.type), rng);
	return 1;
}

/* A random segment that the catalog names, or the catalog itself. */
static struct place pick_segment(const uint8_t *image, size_t size, struct place catalog, uint64_t *rng)
{
	struct ply_disk_segment h;

	if (!is_inside(catalog, size, sizeof(h)) || below(rng, 4) == 0)
		return catalog;
	memcpy(&h, image + catalog.off, sizeof(h));
	if (le32_get(h.nsections) > PLY_SECTIONS_MAX || segment_header_len(le32_get(h.nsections)) > catalog.len)
		return catalog;
	for (uint32_t i = 0; i < le32_get(h.nsections); i++) {
		struct ply_disk_section s;
		struct ply_disk_segment_ref r;
		struct place p;

		memcpy(&s, image + catalog.off + sizeof(h) + i * sizeof(s), sizeof(s));
		p = (struct place){ le64_get(s.off), le64_get(s.len) };
		if (le32_get(s.type) != PLY_S_SEGMENTS || !is_inside(p, catalog.len, sizeof(r)))
			continue;
		memcpy(&r, image + catalog.off + p.off + below(rng, p.len / sizeof(r)) * sizeof(r), sizeof(r));
		return (struct place){ le64_get(r.off), le64_get(r.len) };
	}
	return catalog;
}

size_t image_mutate(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	uint64_t rng = seed;
	uint8_t *image = data + 1;
	struct ply_disk_super *super = (struct ply_disk_super *)image;
	struct place catalog;

	if (size < 1 + PLY_SUPER_SLOTS * PLY_SUPER_SIZE || below(&rng, 8) == 0)
		return LLVMFuzzerMutate(data, size, max);
	if (below(&rng, 16))
		data[0] |= 1;
	catalog = (struct place){ le64_get(super->catalog_off), le64_get(super->catalog_len) };
	for (uint64_t n = 1 + below(&rng, 3); n; n--) {
		if (below(&rng, 32) == 0) {
			size_t off = below(&rng, 30) * 4;

			change_field(image + below(&rng, 2) * PLY_SUPER_SIZE + off, 8, image + off, &rng);
			continue;
		}
		for (int tries = 0; tries < 8; tries++)
			if (change_segment(image, size - 1, pick_segment(image, size - 1, catalog, &rng), &rng))
				break;
	}
	return size;
}

size_t assembled_mutate(uint8_t *data, size_t size, size_t max, unsigned seed, const uint32_t *types)
{
	uint64_t rng = seed, ntypes = 0, which;
	size_t at = 1, len = 0;

	if (size < 4 || below(&rng, 4) == 0)
		return LLVMFuzzerMutate(data, size, max);
	while (types[ntypes])
		ntypes++;
	for (uint64_t n = 1 + below(&rng, 3); n; n--) {
		which = below(&rng, ntypes);
		at = 1;
		for (uint64_t i = 0; at + 2 <= size; i++) {
			len = get(data + at, 2);
			if (i == which || at + 2 + len > size)
				break;
			at += 2 + len;
		}
		if (at + 2 > size)
			continue;
		if (len > size - at - 2)
			len = size - at - 2;
		/* a row more, a copy of another */
		if (below(&rng, 8) == 0) {
			size_t element = section_element_size(types[which]), from;

			if (!element || element > max - size || len < element || len + element > UINT16_MAX)
				continue;
			from = at + 2 + below(&rng, len / element) * element;
			memmove(data + from + element, data + from, size - from);
			put(data + at, 2, len + element);
			size += element;
			continue;
		}
		change_row(data + at + 2, len, types[which], &rng);
	}
	return size;
}
