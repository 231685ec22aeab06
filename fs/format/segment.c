/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The header of a segment: what it is, and its section directory (FORMAT.md,
 * "Segments"). Both lie together, so that the digest of a segment is one SHA-256
 * over a kilobyte, and opening one reads that.
 */
#include <errno.h>
#include <string.h>

#include "codec/codec.h"
#include "format/format.h"

size_t segment_header_len(uint32_t nsections)
{
	return sizeof(struct ply_disk_segment) + nsections * sizeof(struct ply_disk_section);
}

void segment_encode(const struct segment *s, uint8_t *out)
{
	size_t len = segment_header_len(s->nsections);
	struct ply_disk_segment d;

	memset(&d, 0, sizeof(d));
	memcpy(d.magic, PLY_SEGMENT_MAGIC, sizeof(d.magic));
	d.version = le32_put(PLY_FORMAT_VERSION);
	d.kind = le32_put(s->kind);
	d.incompat = le64_put(s->incompat);
	d.length = le64_put(s->length);
	memcpy(d.uuid, s->uuid, sizeof(d.uuid));
	d.meta_off = le64_put(s->meta_off);
	d.meta_len = le64_put(s->meta_len);
	d.nsections = le32_put(s->nsections);
	d.block_bits = le32_put(s->block_bits);
	d.header_len = le32_put((uint32_t)len);
	memcpy(out, &d, sizeof(d));
	for (uint32_t i = 0; i < s->nsections; i++) {
		const struct section *c = &s->sections[i];
		struct ply_disk_section o = {
			.type = le32_put(c->type),
			.flags = le32_put(c->flags),
			.off = le64_put(c->off),
			.len = le64_put(c->len),
			.count = le64_put(c->count),
		};

		memcpy(o.digest, c->digest, sizeof(o.digest));
		memcpy(out + sizeof(d) + i * sizeof(o), &o, sizeof(o));
	}
	d.xxh3 = le64_put(xxh3(out, len, 0));
	memcpy(out, &d, sizeof(d));
}

const char *section_name(uint32_t type)
{
	switch (type) {
#define X(name, number) \
	case number: \
		return #name;
		PLY_SECTIONS(X)
#undef X
	}
	return NULL;
}

const char *segment_kind_name(uint32_t kind)
{
	static const char *const names[] = { NULL, "base", "delta", "join", "catalog" };

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : NULL;
}

size_t section_element_size(uint32_t type)
{
	switch (type) {
	case PLY_S_NODES: return sizeof(struct ply_disk_node);
	case PLY_S_ENTRIES: return sizeof(struct ply_disk_entry);
	case PLY_S_EXTENTS: return sizeof(struct ply_disk_extent);
	case PLY_S_XATTR_SETS: return sizeof(struct ply_disk_xattr_set);
	case PLY_S_XATTRS: return sizeof(struct ply_disk_xattr);
	case PLY_S_OWNERS: return sizeof(struct ply_disk_owner);
	case PLY_S_OWNER_PAIRS: return sizeof(struct ply_disk_owner_pair);
	case PLY_S_BLOCKS: return sizeof(struct ply_disk_block);
	case PLY_S_BLOCK_DIGESTS: return 32;
	case PLY_S_COMPONENTS: return sizeof(struct ply_disk_component);
	case PLY_S_JOIN_ROWS: return sizeof(struct ply_disk_join_row);
	case PLY_S_JOIN_MEMBERS: return sizeof(struct ply_disk_join_member);
	case PLY_S_JOIN_INDEX: return sizeof(struct ply_disk_join_index);
	case PLY_S_CATALOG_HEAD: return sizeof(struct ply_disk_catalog_head);
	case PLY_S_SUBS: return sizeof(struct ply_disk_sub);
	case PLY_S_SEGMENTS: return sizeof(struct ply_disk_segment_ref);
	case PLY_S_RELATIONS: return sizeof(struct ply_disk_relation);
	case PLY_S_MOUNTS: return sizeof(struct ply_disk_mount);
	case PLY_S_BLOBS: return sizeof(struct ply_disk_blob);
	case PLY_S_MARKS: return sizeof(struct ply_disk_mark);
	case PLY_S_CONDITIONS: return sizeof(struct ply_disk_condition);
	case PLY_S_SHARED_FILES: return sizeof(struct ply_disk_shared);
	case PLY_S_RECORDS: return sizeof(struct ply_disk_record);
	case PLY_S_OVERRIDES: return sizeof(struct ply_disk_override);
	case PLY_S_COLLISIONS: return sizeof(struct ply_disk_collision);
	}
	return 0;
}

/* What this code reads; the rest of PLY_SECTIONS is reserved. */
static bool section_is_known(uint32_t type)
{
	return section_element_size(type) || type == PLY_S_NAMES || type == PLY_S_HEAP ||
	       type == PLY_S_DATA || type == PLY_S_PAGE_SUMS || type == PLY_S_STRINGS;
}

#define BAD(...) ply_fail(err, -EUCLEAN, PLY_R_SECTION_GEOMETRY, __VA_ARGS__)

static const char *label(uint32_t type)
{
	const char *name = section_name(type);

	return name ? name : "of unknown type";
}

static int check_section(const struct segment *s, uint32_t i, struct ply_err *err)
{
	const struct section *c = &s->sections[i];
	size_t element = section_element_size(c->type);
	bool paged = c->flags & PLY_SECTION_PAGED;

	if (!section_is_known(c->type) && (c->flags & PLY_SECTION_REQUIRED))
		return ply_fail(err, -EOPNOTSUPP, PLY_R_SECTION_UNKNOWN,
				"section %u of type %u is required and unknown; use a newer plyfs", i,
				c->type);
	if (c->flags & ~(PLY_SECTION_REQUIRED | PLY_SECTION_PAGED))
		return BAD("section %s: unknown flags %#x", label(c->type), c->flags);
	if (c->off % PLY_ALIGN || c->off < segment_header_len(s->nsections) || c->off > s->length ||
	    c->len > s->length - c->off)
		return BAD("section %s: lies outside its segment", label(c->type));
	if (element && (c->len % element || c->len / element != c->count))
		return BAD("section %s: %llu bytes are not %llu elements", label(c->type),
			   (unsigned long long)c->len, (unsigned long long)c->count);
	if (!element && c->count)
		return BAD("section %s: counts elements and has none", label(c->type));
	if (section_is_known(c->type) &&
	    paged != (c->type != PLY_S_DATA && c->type != PLY_S_PAGE_SUMS))
		return BAD("section %s: wrongly in or outside the metadata region", label(c->type));
	if (paged && (c->off < s->meta_off || c->off - s->meta_off > s->meta_len ||
		      c->len > s->meta_len - (c->off - s->meta_off)))
		return BAD("section %s: lies outside the metadata region", label(c->type));
	if (!paged && c->len && s->meta_len && c->off < s->meta_off + s->meta_len &&
	    s->meta_off < c->off + c->len)
		return BAD("section %s: overlaps the metadata region", label(c->type));
	for (uint32_t k = 0; k < i; k++) {
		const struct section *o = &s->sections[k];

		if (o->type == c->type)
			return BAD("section %s: stands twice", label(c->type));
		if (o->len && c->len && o->off < c->off + c->len && c->off < o->off + o->len)
			return BAD("sections %s and %s overlap", label(o->type), label(c->type));
	}
	return 0;
}

/* The sums must cover the metadata region, page for page. */
static int check_sums(const struct segment *s, struct ply_err *err)
{
	const struct section *c = segment_section(s, PLY_S_PAGE_SUMS);

	if (!c)
		return ply_fail(err, -EUCLEAN, PLY_R_SECTION_MISSING, "section PAGE_SUMS is missing");
	if (c->len != page_sums_len(meta_pages(s->meta_len)))
		return BAD("section PAGE_SUMS does not fit the metadata region");
	return 0;
}

int segment_peek(const uint8_t in[sizeof(struct ply_disk_segment)], size_t *ret_len,
		 struct ply_err *err)
{
	struct ply_disk_segment d;
	uint32_t len;

	memcpy(&d, in, sizeof(d));
	len = le32_get(d.header_len);
	if (memcmp(d.magic, PLY_SEGMENT_MAGIC, sizeof(d.magic)) != 0)
		return ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER, "segment header: no magic");
	if (len > PLY_SEGMENT_HEAD_MAX || le32_get(d.nsections) > PLY_SECTIONS_MAX ||
	    len != segment_header_len(le32_get(d.nsections)))
		return ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER, "segment header: its length is impossible");
	*ret_len = len;
	return 0;
}

int segment_decode(const uint8_t *in, size_t len, uint64_t seg_len, struct segment *ret,
		   struct ply_err *err)
{
	uint8_t zeroed[PLY_SEGMENT_HEAD_MAX];
	struct ply_disk_segment d;
	struct segment *s = ret;
	size_t header_len;
	uint64_t sum;
	int r;

	if (len < sizeof(d))
		return ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER, "segment header: it is cut off");
	r = segment_peek(in, &header_len, err);
	if (r < 0)
		return r;
	if (len < header_len)
		return ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER, "segment header: it is cut off");
	memcpy(zeroed, in, header_len);
	memcpy(&d, zeroed, sizeof(d));
	sum = le64_get(d.xxh3);
	memset(zeroed + offsetof(struct ply_disk_segment, xxh3), 0, sizeof(d.xxh3));
	if (sum != xxh3(zeroed, header_len, 0))
		return ply_fail(err, -EBADMSG, PLY_R_SEGMENT_HEADER,
				"segment header: checksum does not match");
	memset(s, 0, sizeof(*s));
	s->kind = le32_get(d.kind);
	s->incompat = le64_get(d.incompat);
	s->length = le64_get(d.length);
	memcpy(s->uuid, d.uuid, sizeof(s->uuid));
	s->meta_off = le64_get(d.meta_off);
	s->meta_len = le64_get(d.meta_len);
	s->nsections = le32_get(d.nsections);
	s->block_bits = le32_get(d.block_bits);
	if (le32_get(d.version) != PLY_FORMAT_VERSION || s->incompat)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_SEGMENT_FEATURE,
				"segment version %u, features %#llx: use a newer plyfs",
				le32_get(d.version), (unsigned long long)s->incompat);
	if (s->kind != PLY_SEG_BASE && s->kind != PLY_SEG_JOIN && s->kind != PLY_SEG_CATALOG)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_SEGMENT_FEATURE,
				"segment kind %u: use a newer plyfs", s->kind);
	if (s->length != seg_len || s->length % PLY_ALIGN || s->length < header_len ||
	    s->meta_off % PLY_ALIGN || s->meta_len % PLY_ALIGN || !s->meta_len ||
	    s->meta_off < header_len || s->meta_off > s->length ||
	    s->meta_len > s->length - s->meta_off || s->meta_len > SIZE_MAX / 2)
		return ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER, "segment header: impossible geometry");
	if (s->block_bits != (s->kind == PLY_SEG_BASE ? PLY_BLOCK_BITS : 0))
		return ply_fail(err, -EOPNOTSUPP, PLY_R_SEGMENT_FEATURE,
				"segment with blocks of 2^%u bytes: use a newer plyfs", s->block_bits);
	for (size_t i = 0; i < sizeof(d.zero); i++)
		if (d.zero[i])
			return ply_fail(err, -EUCLEAN, PLY_R_SEGMENT_HEADER,
					"segment header: reserved bytes are not zero");
	for (uint32_t i = 0; i < s->nsections; i++) {
		struct ply_disk_section c;

		memcpy(&c, zeroed + sizeof(d) + i * sizeof(c), sizeof(c));
		s->sections[i] = (struct section){
			.type = le32_get(c.type),
			.flags = le32_get(c.flags),
			.off = le64_get(c.off),
			.len = le64_get(c.len),
			.count = le64_get(c.count),
		};
		memcpy(s->sections[i].digest, c.digest, sizeof(c.digest));
		r = check_section(s, i, err);
		if (r < 0)
			return r;
	}
	return check_sums(s, err);
}

const struct section *segment_section(const struct segment *s, uint32_t type)
{
	for (uint32_t i = 0; i < s->nsections; i++)
		if (s->sections[i].type == type)
			return &s->sections[i];
	return NULL;
}

uint64_t meta_pages(uint64_t meta_len)
{
	return meta_len / PLY_PAGE + (meta_len % PLY_PAGE != 0);
}

uint64_t page_sums_len(uint64_t pages)
{
	return 8 * (pages + (pages + PLY_SUMS_PER_GROUP - 1) / PLY_SUMS_PER_GROUP);
}

uint64_t page_sum(const uint8_t *page, size_t len, uint64_t number)
{
	return xxh3(page, len, number + 1);
}

uint64_t group_sum(const uint8_t *sums, size_t n, uint64_t group)
{
	return xxh3(sums, n * 8, group);
}

int content_uuid(const char *name, const struct segment *s, uint8_t ret[16])
{
	struct sha256 *h = sha256_new();
	uint8_t digest[32];

	if (!h)
		return -ENOMEM;
	sha256_add(h, name, strlen(name) + 1);
	for (uint32_t i = 0; i < s->nsections; i++) {
		const struct section *c = &s->sections[i];
		struct { le32 type; le64 len; } head = { le32_put(c->type), le64_put(c->len) };

		if (c->type == PLY_S_COMPONENTS || c->type == PLY_S_PAGE_SUMS)
			continue;
		sha256_add(h, &head, sizeof(head));
		sha256_add(h, c->digest, sizeof(c->digest));
	}
	sha256_end(h, digest);
	sha256_free(h);
	memcpy(ret, digest, 16);
	ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x80);   /* RFC 9562: version 8 */
	ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
	return 0;
}

void uuid_format(const uint8_t u[16], char out[37])
{
	static const char digits[] = "0123456789abcdef";
	size_t o = 0;

	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[o++] = '-';
		out[o++] = digits[u[i] >> 4];
		out[o++] = digits[u[i] & 15];
	}
	out[o] = '\0';
}
