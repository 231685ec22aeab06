/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which files does damage concern? A node leads to its name by parent and entry, but a block or
 * a row of a table leads to no node: no reader needs that. So what is damaged waits in a list, and
 * one scan over the nodes compares each with all that wait. Only damage costs anything.
 *
 * The tables may be damaged themselves; what cannot be read is passed over, and shows as "?"
 * in a path.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"
#include "ops/verify_internal.h"

#define DEPTH_MAX 8192             /* directories; a damaged parent may lead in a circle */

/* Put "/NAME" in front: paths are found from their end. */
static int prepend(struct buf *b, const char *name, size_t len)
{
	if (buf_reserve(b, len + 1) < 0)
		return -1;
	memmove(b->data + len + 1, b->data, b->len);
	b->data[0] = '/';
	memcpy(b->data + 1, name, len);
	b->len += len + 1;
	return 0;
}

static char *finish(struct buf *b, int r)
{
	if (r == 0 && !b->len)
		r = buf_add(b, "/", 1);
	if (r == 0)
		r = buf_add(b, "", 1);
	if (r < 0)
		buf_done(b);
	return (char *)b->data;
}

static int prepend_parents(struct sub *s, uint64_t index, struct buf *b)
{
	int r = 0;

	for (int depth = 0; r == 0 && index != PLY_ROOT_INDEX; depth++) {
		struct ply_entry e;
		struct ply_node n;

		if (depth > DEPTH_MAX || sub_node(s, index, &n, NULL) < 0)
			return prepend(b, "?", 1);
		if (sub_entry(s, n.entry, &e, NULL) < 0)
			r = prepend(b, "?", 1);
		else
			r = prepend(b, e.name, e.name_len);
		index = PLY_INO_INDEX(n.parent);
	}
	return r;
}

char *verify_node_path(struct sub *s, uint64_t index)
{
	struct buf b = { 0 };

	return finish(&b, prepend_parents(s, index, &b));
}

char *verify_entry_path(struct sub *s, uint64_t dir, uint64_t at)
{
	struct buf b = { 0 };
	struct ply_entry e;
	int r = sub_entry(s, at, &e, NULL) < 0 ? prepend(&b, "?", 1) : prepend(&b, e.name, e.name_len);

	if (r == 0)
		r = prepend_parents(s, dir, &b);
	return finish(&b, r);
}

/* --- what waits, by section ----------------------------------------------------------- */

struct waiting {
	uint32_t section;
	uint64_t first, end;
	size_t finding;            /* in the list */
};

/* An entry that names a node which cannot be read. */
struct orphan {
	uint64_t entry;
	size_t finding;
};

struct names {
	struct sub *s;
	struct findings *l;
	struct waiting *w;
	size_t n;
	struct orphan *orphans;
	size_t norphans, orphans_cap;
	uint64_t budget;           /* rows: a hostile image may let all nodes share all rows */
};

/* Take @n rows out of the budget. */
static bool afford(struct names *nm, uint64_t n)
{
	if (n > nm->budget)
		return false;
	nm->budget -= n;
	return true;
}

static int by_place(const void *a, const void *b)
{
	const struct waiting *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

/* The first that waits for something in [first, end) of @section; NULL: nobody. Ranges of one
 * section ascend at both ends: they are pages and blocks. */
static struct waiting *find(struct names *nm, uint32_t section, uint64_t first, uint64_t end)
{
	size_t lo = 0, hi = nm->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (nm->w[mid].section < section ||
		    (nm->w[mid].section == section && nm->w[mid].end <= first))
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < nm->n && nm->w[lo].section == section && nm->w[lo].first < end && first < end)
		return &nm->w[lo];
	return NULL;
}

static bool is_waiting(const struct names *nm, uint32_t section)
{
	for (size_t i = 0; i < nm->n; i++)
		if (nm->w[i].section == section)
			return true;
	return false;
}

/* Node @index uses [first, end) of @section. */
static void use(struct names *nm, uint32_t section, uint64_t first, uint64_t end, uint64_t index)
{
	struct waiting *w = find(nm, section, first, end);

	for (; w && w < nm->w + nm->n && w->section == section && w->first < end; w++) {
		struct held *h = &nm->l->v[w->finding];
		char *path = h->npaths < FINDING_PATHS ? verify_node_path(nm->s, index) : NULL;

		/* a file of many damaged extents counts once */
		if (path && h->npaths && !strcmp(h->paths[h->npaths - 1], path)) {
			free(path);
			continue;
		}
		held_path(h, path);
	}
}

/* A part of a shared file. Where its row cannot be read, it may be any that cannot. */
static void use_records(struct names *nm, uint64_t index)
{
	struct ply_shared s;
	uint64_t at;

	if (!is_waiting(nm, PLY_S_SHARED_FILES) && !is_waiting(nm, PLY_S_RECORDS))
		return;
	if (sub_shared_find(nm->s, index, &at, &s, NULL) == 0)
		use(nm, PLY_S_RECORDS, s.first, s.first + s.count, index);
	else if (afford(nm, nm->n))
		use(nm, PLY_S_SHARED_FILES, 0, sub_limits(nm->s)->shared, index);
}

static void use_content(struct names *nm, uint64_t index, const struct ply_node *n)
{
	if (n->flags & PLY_NODE_SHARED)
		use_records(nm, index);
	if (n->kind == PLY_C_INLINE)
		use(nm, PLY_S_HEAP, n->data, n->data + n->size, index);
	if (n->kind == PLY_C_EXTENTS)
		use(nm, PLY_S_EXTENTS, n->data, n->data + n->ndata, index);
	if (!afford(nm, sub_extent_count(n)))
		return;
	for (uint32_t i = 0; i < sub_extent_count(n); i++) {
		struct ply_extent e;
		uint64_t first, end;

		if (sub_node_extent(nm->s, n, i, &e, NULL) < 0)
			continue;
		first = e.addr >> PLY_BLOCK_BITS;
		end = ((e.addr + e.len - 1) >> PLY_BLOCK_BITS) + 1;
		use(nm, PLY_S_DATA, first, end, index);
		use(nm, PLY_S_BLOCKS, first, end, index);
		use(nm, PLY_S_BLOCK_DIGESTS, first, end, index);
	}
}

static void use_xattrs(struct names *nm, uint64_t index, const struct ply_node *n)
{
	struct ply_disk_xattr_set set;
	uint64_t first, count;
	const struct section *sets;
	const void *p;

	use(nm, PLY_S_XATTR_SETS, n->xattrs, (uint64_t)n->xattrs + 1, index);
	if (!n->xattrs || (!is_waiting(nm, PLY_S_XATTRS) && !is_waiting(nm, PLY_S_HEAP)))
		return;
	sets = segment_section(meta_segment(sub_meta(nm->s)), PLY_S_XATTR_SETS);
	if (meta_get(sub_meta(nm->s), sets, n->xattrs * sizeof(set), sizeof(set), &p, NULL) < 0)
		return;
	memcpy(&set, p, sizeof(set));
	first = le64_get(set.first);
	count = le32_get(set.count);
	use(nm, PLY_S_XATTRS, first, first + count, index);
	if (!afford(nm, count))
		return;
	for (uint32_t i = 0; i < count && is_waiting(nm, PLY_S_HEAP); i++) {
		const struct section *xs = segment_section(meta_segment(sub_meta(nm->s)), PLY_S_XATTRS);
		struct ply_disk_xattr x;
		uint64_t name;

		if (meta_get(sub_meta(nm->s), xs, (first + i) * sizeof(x), sizeof(x), &p, NULL) < 0)
			continue;
		memcpy(&x, p, sizeof(x));
		name = le64_get(x.name);
		use(nm, PLY_S_HEAP, name & ((1ULL << 56) - 1),
		    (name & ((1ULL << 56) - 1)) + (name >> 56), index);
		use(nm, PLY_S_HEAP, le64_get(x.value), le64_get(x.value) + le32_get(x.value_len), index);
	}
}

/* The first orphan at @entry or behind it: they are sorted. */
static size_t first_orphan(const struct names *nm, uint64_t entry)
{
	size_t lo = 0, hi = nm->norphans;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (nm->orphans[mid].entry < entry)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Rows of ENTRIES and bytes of NAMES are those of directories; an orphan has its directory here. */
static void use_listing(struct names *nm, uint64_t index, const struct ply_node *n)
{
	bool in_names = is_waiting(nm, PLY_S_NAMES) && afford(nm, n->size);

	use(nm, PLY_S_ENTRIES, n->data, n->data + n->size, index);
	for (uint64_t at = n->data; in_names && at < n->data + n->size; at++) {
		const struct section *entries =
			segment_section(meta_segment(sub_meta(nm->s)), PLY_S_ENTRIES);
		struct ply_entry e;
		const void *p;

		if (meta_get(sub_meta(nm->s), entries, at * sizeof(struct ply_disk_entry),
			     sizeof(struct ply_disk_entry), &p, NULL) == 0 &&
		    entry_decode(p, sub_limits(nm->s), &e, NULL) == 0)
			use(nm, PLY_S_NAMES, e.name_off, e.name_off + e.name_len, index);
	}
	for (size_t i = first_orphan(nm, n->data);
	     i < nm->norphans && nm->orphans[i].entry < n->data + n->size; i++)
		held_path(&nm->l->v[nm->orphans[i].finding],
			  verify_entry_path(nm->s, index, nm->orphans[i].entry));
}

/* Names of nodes that cannot be read: the entries that lead to them. */
static void find_orphans(struct names *nm)
{
	if (!is_waiting(nm, PLY_S_NODES))
		return;
	for (uint64_t at = 0; at < sub_limits(nm->s)->entries; at++) {
		struct ply_entry e;
		struct waiting *w;

		if (sub_entry(nm->s, at, &e, NULL) < 0 || !e.ref)
			continue;
		w = find(nm, PLY_S_NODES, PLY_INO_INDEX(e.ref), PLY_INO_INDEX(e.ref) + 1);
		if (!w)
			continue;
		if (array_grow(&nm->orphans, &nm->orphans_cap, nm->norphans + 1,
			       sizeof(*nm->orphans)) < 0)
			return;
		nm->orphans[nm->norphans++] = (struct orphan){ at, w->finding };
	}
}

void verify_name(struct sub *s, struct findings *l)
{
	struct names nm = { .s = s, .l = l };

	nm.w = l->n ? malloc(l->n * sizeof(*nm.w)) : NULL;
	for (size_t i = 0; nm.w && i < l->n; i++) {
		const struct concern *c = &l->v[i].concern;

		if (c->section && !l->v[i].all_paths)
			nm.w[nm.n++] = (struct waiting){ c->section, c->first, c->end, i };
	}
	if (nm.n) {
		const struct sub_limits *lim = sub_limits(s);

		nm.budget = 64 * (lim->nodes + lim->entries + lim->extents + lim->xattrs);
		qsort(nm.w, nm.n, sizeof(*nm.w), by_place);
		find_orphans(&nm);
		for (uint64_t index = PLY_ROOT_INDEX; index < sub_limits(s)->nodes; index++) {
			struct ply_node n;

			if (sub_node(s, index, &n, NULL) < 0)
				continue;
			use(&nm, PLY_S_OWNER_PAIRS, n.owner, (uint64_t)n.owner + 1, index);
			use_xattrs(&nm, index, &n);
			if (S_ISDIR(n.mode))
				use_listing(&nm, index, &n);
			else
				use_content(&nm, index, &n);
		}
	}
	free(nm.w);
	free(nm.orphans);
}
