/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: the tables of one sub-image with right checksums (see assemble.h): every row, every
 * directory searched, every file's extents and bytes, every mark's path.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "assemble.h"
#include "cache/cache.h"
#include "codec/codec.h"
#include "image_mutate.h"
#include "sub/sub.h"

#define ROWS_MAX 200u              /* of each table: sub-images of any length take time otherwise */
#define READ_MAX (64u << 10)
#define READ_ALL (256u << 10)      /* of one input: files may share their blocks */

static uint8_t bytes[READ_MAX];
static size_t may_read;
static struct ply_err err;         /* messages are part of what is tested */


static uint64_t some(uint64_t n)
{
	return n < ROWS_MAX ? n : ROWS_MAX;
}

static void see_xattrs(struct sub *s, uint32_t set)
{
	struct sub_xattr x;
	uint32_t n;

	if (sub_xattr_count(s, set, &n, &err) < 0)
		return;
	for (uint32_t i = 0; i < some(n); i++) {
		if (sub_xattr(s, set, i, &x, &err) < 0)
			continue;
		touch(x.name, x.name_len);
		touch(x.value, x.value_len);
	}
}

static void see_file(struct sub *s, struct cache *cache, const struct ply_node *n)
{
	struct ply_extent e;
	uint64_t blocks, at = 0;
	uint32_t k;

	for (uint32_t i = 0; i < some(sub_extent_count(n)); i++)
		if (sub_node_extent(s, n, i, &e, &err) == 0)
			at = e.off;
	sub_extent_at(s, n, at, &e, &k, &err);
	sub_extent_at(s, n, n->size / 2, &e, &k, &err);
	sub_blocks512(s, n, &blocks, &err);
	if (may_read) {
		ssize_t got = sub_read(s, cache, n, 0, sizeof(bytes), bytes, &err);

		may_read -= got <= 0 ? 0 : (size_t)got < may_read ? (size_t)got : may_read;
	}
	sub_read(s, cache, n, n->size / 2 + 1, 4096, bytes, &err);
	sub_read(s, cache, n, at, 100, bytes, &err);
}

static void see_node(struct sub *s, struct cache *cache, uint64_t index)
{
	struct sub_owner o;
	struct ply_entry e;
	struct ply_node n;
	struct buf path = { 0 };
	uint64_t at;

	if (sub_node_path(s, index, &path, &err) == 0)
		touch(path.data, path.len + 1);
	buf_done(&path);
	if (sub_node(s, index, &n, &err) < 0)
		return;
	if (sub_owner(s, n.owner, &o, &err) == 0) {
		touch(o.user, o.user_len);
		touch(o.group, o.group_len);
	}
	see_xattrs(s, n.xattrs);
	if (S_ISREG(n.mode))
		see_file(s, cache, &n);
	if (!S_ISDIR(n.mode))
		return;
	sub_find(s, &n, "b", 1, &at, &e, &err);
	if (n.size && sub_entry(s, n.data + n.size / 2, &e, &err) == 0 &&
	    sub_find(s, &n, e.name, e.name_len, &at, &e, &err) == 0 && (at < n.data || at - n.data >= n.size))
		abort();
}

static void see_records(struct sub *s)
{
	const struct sub_limits *lim = sub_limits(s);
	struct ply_condition c;
	struct ply_shared f;
	struct ply_record r;
	const char *name;
	uint32_t len;
	uint64_t at;

	for (uint64_t i = 0; i < some(lim->components + 1); i++)
		if (sub_component(s, (uint32_t)i, &name, &len, &err) == 0)
			touch(name, len);
	for (uint64_t i = 0; i < some(lim->conditions + 2); i++)
		for (uint32_t k = 0; sub_condition(s, (uint32_t)i, k, &c, &err) == 0 && !c.ends; k++)
			if (k > PLY_COND_LEN_MAX || !c.component || c.component >= lim->components)
				abort();
	for (uint64_t i = 0; i < some(lim->shared + 1); i++)
		if (sub_shared(s, i, &f, &err) == 0 &&
		    (f.first > lim->records || f.count > lim->records - f.first))
			abort();
	for (uint64_t i = 0; i < some(lim->records + 1); i++)
		if (sub_record(s, i, &r, &err) == 0 && r.condition > lim->conditions)
			abort();
	for (uint64_t i = 0; i < some(lim->nodes); i++)
		if (sub_shared_find(s, i, &at, &f, &err) == 0 && f.node != i)
			abort();
}

static void see_overrides(struct sub *s)
{
	struct ply_override o;

	for (uint64_t i = 0; i < some(sub_override_count(s) + 1); i++)
		if (sub_override(s, i, &o, &err) == 0 && (!o.node || o.node >= sub_limits(s)->nodes || !o.mask))
			abort();
	for (uint64_t i = 0; i < some(sub_limits(s)->nodes + 1); i++)
		if (sub_override_find(s, i, &o, &err) == 0 && o.node != i)
			abort();
}

static void see(struct sub *s, struct cache *cache)
{
	static uint8_t block[PLY_BLOCK_SIZE];
	const struct sub_limits *lim = sub_limits(s);
	struct sub_mark mark;
	struct ply_extent x;
	struct ply_entry e;
	struct ply_block b;
	uint8_t digest[32];
	const void *p;

	may_read = READ_ALL;
	for (uint64_t i = 0; i < some(lim->nodes + 1); i++)
		see_node(s, cache, i);
	for (uint64_t i = 0; i < some(lim->entries + 1); i++)
		if (sub_entry(s, i, &e, &err) == 0)
			touch(e.name, e.name_len);
	for (uint64_t i = 0; i < some(lim->extents + 1); i++)
		sub_extent(s, i, &x, &err);
	for (uint64_t i = 0; i < some(lim->blocks + 1); i++) {
		sub_block_digest(s, i, digest, &err);
		if (sub_block(s, i, &b, &err) == 0)
			sub_block_read(s, i, &b, block, &err);
	}
	for (uint64_t i = 0; i < some(sub_mark_count(s)); i++)
		if (sub_mark(s, i, &mark, &err) == 0 && (!mark.index || mark.index >= lim->nodes))
			abort();
	sub_mark(s, sub_mark_count(s), &mark, &err);
	see_records(s);
	see_overrides(s);
	if (sub_heap(s, lim->heap / 2, lim->heap - lim->heap / 2, &p, &err) == 0)
		touch(p, lim->heap - lim->heap / 2);
	sub_readahead(s, 0, lim->blocks);
}

/* Blocks are decoded only where their checksum is right, too. */
static void repair_blocks(struct assembled *a)
{
	struct ply_disk_section s[2] = { 0 };
	struct ply_disk_segment h;

	memcpy(&h, a->bytes, sizeof(h));
	for (uint32_t i = 0; i < le32_get(h.nsections); i++) {
		struct ply_disk_section is;

		memcpy(&is, a->bytes + sizeof(h) + i * sizeof(is), sizeof(is));
		if (le32_get(is.type) == PLY_S_BLOCKS)
			s[0] = is;
		if (le32_get(is.type) == PLY_S_DATA)
			s[1] = is;
	}
	for (uint64_t i = 0; i < le64_get(s[0].count); i++) {
		uint8_t *row = a->bytes + le64_get(s[0].off) + i * sizeof(struct ply_disk_block);
		struct ply_disk_block b;
		uint32_t stored;

		memcpy(&b, row, sizeof(b));
		stored = le32_get(b.stored) & ~PLY_BLOCK_RAW;
		if (le64_get(b.off) > le64_get(s[1].len) || stored > le64_get(s[1].len) - le64_get(b.off))
			continue;
		b.xxh3 = le64_put(xxh3(a->bytes + le64_get(s[1].off) + le64_get(b.off), stored, 0));
		memcpy(row, &b, sizeof(b));
	}
}

/* The checksum of the only group of pages, after repair_blocks(). */
static void repair_pages(struct assembled *a)
{
	struct ply_disk_segment h;
	struct ply_disk_section sums = { 0 };
	uint64_t pages, len;
	uint8_t *at;
	le64 sum;

	memcpy(&h, a->bytes, sizeof(h));
	memcpy(&sums, a->bytes + sizeof(h) + (le32_get(h.nsections) - 2) * sizeof(sums), sizeof(sums));
	for (uint32_t i = 0; i < le32_get(h.nsections) && le32_get(sums.type) != PLY_S_PAGE_SUMS; i++)
		memcpy(&sums, a->bytes + sizeof(h) + i * sizeof(sums), sizeof(sums));
	len = le64_get(h.meta_len);
	pages = meta_pages(len);
	at = a->bytes + le64_get(sums.off);
	if (pages > PLY_SUMS_PER_GROUP)
		return;
	for (uint64_t p = 0; p < pages; p++) {
		uint64_t left = len - p * PLY_PAGE;

		sum = le64_put(page_sum(a->bytes + le64_get(h.meta_off) + p * PLY_PAGE,
					left < PLY_PAGE ? left : PLY_PAGE, p));
		memcpy(at + p * sizeof(sum), &sum, sizeof(sum));
	}
	sum = le64_put(group_sum(at, pages, 0));
	memcpy(at + pages * sizeof(sum), &sum, sizeof(sum));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct cache *cache = NULL;
	struct sub *s = NULL;
	struct assembled a;
	struct io *io;

	if (!input_number(&in, 1) && !in.left)
		return 0;
	assemble(&in, PLY_SEG_BASE, assemble_base, 0, &a);
	if (data[0] & 1) {
		repair_blocks(&a);
		repair_pages(&a);
	}
	if (io_open_memory(a.bytes, a.len, &io, &err) < 0 || cache_new(1 << 20, &cache) < 0)
		abort();
	if (sub_open(io, 0, a.len, NULL, 1, &s, &err) == 0)
		see(s, cache);
	sub_close(s);
	cache_free(cache);
	io_close(io);
	free(a.bytes);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return assembled_mutate(data, size, max, seed, assemble_base);
}
