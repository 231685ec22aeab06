/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tables of a sub-image against each other and against FORMAT.md, "Sub-image": what no reader
 * checks, because it can live without it. Called when every checksum matched, so what is found here is
 * a wrong writer, or malice.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "ops/verify_internal.h"

struct tables {
	struct verify *v;
	const char *name;
	struct sub *s;
	uint8_t *starts;           /* of conditions */
	uint64_t bytes;            /* of regular files */
	uint64_t flagged;          /* shared files */
	uint64_t nxattrs;          /* in the sets so far */
	uint32_t *sizes;           /* of blocks, decoded */
	uint32_t *partial;         /* of the blocks before this one: not full */
	uint32_t *alone, *follows; /* of the rows of EXTENTS before this one: bad alone, bad successors */
};

/* A row of a table that has no reader of its own. */
static const void *raw_row(struct sub *s, uint32_t type, uint64_t i)
{
	const struct section *sec = segment_section(meta_segment(sub_meta(s)), type);
	size_t size = section_element_size(type);
	const void *p;

	return meta_get(sub_meta(s), sec, i * size, size, &p, NULL) < 0 ? NULL : p;
}

#define TABLE_FINDING(reason, ...) findings_add(&t->v->list, reason, t->name, 0, 0, __VA_ARGS__)

static void check_owners(struct tables *t)
{
	const struct sub_limits *lim = sub_limits(t->s);
	struct ply_err e;

	for (uint64_t i = 0; i < lim->owners; i++) {
		const void *row = raw_row(t->s, PLY_S_OWNERS, i), *p;
		struct ply_owner o;

		if (!row)
			continue;
		if (owner_decode(row, lim, &o, &e) < 0)
			TABLE_FINDING(e.reason, "owner %llu: %s", (unsigned long long)i, e.msg);
		else if (!condition_begins(t->s, t->starts, o.condition))
			TABLE_FINDING(PLY_R_CONDITION_FIELD, "owner %llu: no condition begins at %u",
				      (unsigned long long)i, o.condition);
		else if (sub_heap(t->s, o.name_off, o.name_len, &p, NULL) == 0 &&
			 memchr(p, '\0', o.name_len))
			TABLE_FINDING(PLY_R_OWNER_FIELD, "owner %llu: a NUL in its name",
				      (unsigned long long)i);
	}
	for (uint64_t i = 0; i < lim->owner_pairs; i++) {
		struct sub_owner o;

		if (sub_owner(t->s, (uint32_t)i, &o, &e) < 0)
			TABLE_FINDING(e.reason, "owner pair %llu: %s", (unsigned long long)i, e.msg);
	}
}

static void check_marks(struct tables *t)
{
	struct sub_mark m = { 0 };
	uint64_t last = 0;
	struct ply_err e;

	for (uint64_t i = 0; i < sub_mark_count(t->s); i++) {
		if (sub_mark(t->s, i, &m, &e) < 0)
			TABLE_FINDING(e.reason, "%s", e.msg);
		else if (m.index <= last)
			TABLE_FINDING(PLY_R_NODE_FIELD, "mark %llu is out of order", (unsigned long long)i);
		last = m.index;
	}
}

static int check_overrides(struct tables *t, bool overlay, struct ply_err *err)
{
	struct ply_override o = { 0 };
	uint64_t last = 0;
	int r = 0;

	if (sub_override_count(t->s) && !overlay) {
		TABLE_FINDING(PLY_R_OVERRIDE_FIELD, "it is no overlay, and has overrides");
		return 0;
	}
	for (uint64_t i = 0; r == 0 && i < sub_override_count(t->s); i++, last = o.node) {
		struct ply_err e;

		if (sub_override(t->s, i, &o, &e) < 0)
			TABLE_FINDING(e.reason, "row %llu of OVERRIDES: %s", (unsigned long long)i, e.msg);
		else if (o.node <= last)
			TABLE_FINDING(PLY_R_OVERRIDE_FIELD, "row %llu of OVERRIDES is out of order",
				      (unsigned long long)i);
		if (t->v->list.n > 1024)
			r = verify_flush(t->v, err);
	}
	return r;
}

static void check_xattr_set(struct tables *t, uint32_t set)
{
	struct sub_xattr last = { 0 }, x;
	uint64_t names = 0;        /* bytes, each with a NUL, as listxattr(2) gives them */
	struct ply_err e;
	uint32_t n;

	if (sub_xattr_count(t->s, set, &n, &e) < 0) {
		TABLE_FINDING(e.reason, "%s", e.msg);
		return;
	}
	t->nxattrs += n;
	if (t->nxattrs > sub_limits(t->s)->xattrs) {
		if (t->nxattrs - n <= sub_limits(t->s)->xattrs)
			TABLE_FINDING(PLY_R_XATTR_FIELD, "xattr set %u shares rows with another", set);
		return;
	}
	if (set && !n)
		TABLE_FINDING(PLY_R_XATTR_FIELD, "xattr set %u is empty; only set 0 is", set);
	for (uint32_t i = 0; i < n; i++, last = x) {
		int c;

		if (sub_xattr(t->s, set, i, &x, &e) == 0) {
			names += x.name_len + 1u;
			if (names > PLY_XATTR_SET_MAX && names - x.name_len - 1u <= PLY_XATTR_SET_MAX)
				TABLE_FINDING(PLY_R_XATTR_FIELD, "xattr set %u has more names than a file can have", set);
		} else {
			TABLE_FINDING(e.reason, "xattr %u of set %u: %s", i, set, e.msg);
			return;
		}
		if (!condition_begins(t->s, t->starts, x.condition))
			TABLE_FINDING(PLY_R_CONDITION_FIELD, "xattr %u of set %u: no condition begins at %u", i,
				      set, x.condition);
		if (!i)
			continue;
		c = memcmp(last.name, x.name, MIN(last.name_len, x.name_len));
		if (!c)
			c = (last.name_len > x.name_len) - (last.name_len < x.name_len);
		if (!c && !last.condition)
			TABLE_FINDING(PLY_R_XATTR_FIELD, "xattr set %u: one of its xattrs hides another", set);
		if (c > 0)
			TABLE_FINDING(PLY_R_XATTR_FIELD, "xattr set %u is not sorted by name", set);
	}
}

struct component_name {
	const char *name;
	uint32_t len, slot;
};

static int by_component_name(const void *a, const void *b)
{
	const struct component_name *x = a, *y = b;
	int c = memcmp(x->name, y->name, MIN(x->len, y->len));

	return c ? c : (x->len > y->len) - (x->len < y->len);
}

/* Conditions name them by slot, so one name has one slot; slot 0 is the sub-image itself. */
static int check_components(struct tables *t, struct ply_err *err)
{
	static const uint8_t zero[16];
	const struct sub_limits *lim = sub_limits(t->s);
	_cleanup_free_ struct component_name *names = calloc(lim->components + 1, sizeof(*names));
	uint32_t n = 0;
	int r = 0;

	if (!names)
		return ply_fail_nomem(err);
	for (uint32_t i = 0; r == 0 && i < lim->components; i++) {
		const void *row = raw_row(t->s, PLY_S_COMPONENTS, i);
		struct component_name *c = &names[n];
		struct ply_disk_component d;

		if (t->v->list.n > 1024)
			r = verify_flush(t->v, err);
		if (!row)
			continue;
		memcpy(&d, row, sizeof(d));
		c->slot = i;
		if (le64_get(d.zero) || (!i && memcmp(d.uuid, zero, sizeof(zero)) != 0) ||
		    sub_component(t->s, i, &c->name, &c->len, NULL) < 0 ||
		    (i ? !sub_name_ok(c->name, c->len, true) :
			 strlen(t->name) != c->len || memcmp(t->name, c->name, c->len) != 0))
			TABLE_FINDING(PLY_R_SEGMENT_HEADER, "component %u of the local table is impossible", i);
		else
			n++;
	}
	qsort(names, n, sizeof(*names), by_component_name);
	for (uint32_t i = 1; r == 0 && i < n; i++)
		if (by_component_name(&names[i - 1], &names[i]) == 0)
			TABLE_FINDING(PLY_R_SEGMENT_HEADER, "components %u and %u of the local table have one name",
				      names[i - 1].slot, names[i].slot);
	return r;
}

/* --- content ----------------------------------------------------------------------------- */

static bool in_blocks(const struct tables *t, uint64_t addr, uint64_t len)
{
	uint64_t first = addr >> PLY_BLOCK_BITS, in = addr & (PLY_BLOCK_SIZE - 1);
	uint64_t last = first + (in + len - 1) / PLY_BLOCK_SIZE;   /* exists: the decoder looked */
	uint64_t rest = (in + len - 1) % PLY_BLOCK_SIZE + 1;

	return t->partial[last] == t->partial[first] && t->sizes[last] >= rest && t->sizes[first] > in;
}

/*
 * Many files may share rows of EXTENTS, and a hostile image lets all share all. So each row is
 * judged once, alone and as the successor of the row before it, and a file asks for sums.
 */
static int judge_rows(struct tables *t, struct ply_err *err)
{
	const struct sub_limits *lim = sub_limits(t->s);
	struct ply_extent last = { 0 }, e;

	t->partial = calloc(lim->blocks + 1, sizeof(*t->partial));
	t->sizes = calloc(lim->blocks + 1, sizeof(*t->sizes));
	t->alone = calloc(lim->extents + 1, sizeof(*t->alone));
	t->follows = calloc(lim->extents + 1, sizeof(*t->follows));
	if (!t->partial || !t->sizes || !t->alone || !t->follows)
		return ply_fail_nomem(err);
	for (uint64_t b = 0; b < lim->blocks; b++) {
		struct ply_block block;

		if (sub_block(t->s, b, &block, NULL) < 0)   /* told with the blocks */
			block.size = PLY_BLOCK_SIZE;
		t->sizes[b] = block.size;
		t->partial[b + 1] = t->partial[b] + (block.size != PLY_BLOCK_SIZE);
	}
	for (uint64_t i = 0; i < lim->extents; i++, last = e) {
		bool good = sub_extent(t->s, i, &e, NULL) == 0 && in_blocks(t, e.addr, e.len);
		uint64_t end = last.off + last.len;
		bool joins = !good || (e.off % PLY_PAGE == 0 &&
				       (e.off == end || (e.off > end && end % PLY_PAGE == 0)));

		if (!good)
			e = (struct ply_extent){ 0 };
		t->alone[i + 1] = t->alone[i] + !good;
		t->follows[i + 1] = t->follows[i] + !joins;
	}
	return 0;
}

/* The first bad row in [from, to), by the sums @bad; @to where there is none. */
static uint64_t first_bad(const uint32_t *bad, uint64_t from, uint64_t to)
{
	uint64_t lo = from, hi = to;

	if (bad[to] == bad[from])
		return to;
	while (lo + 1 < hi) {      /* there is one in [lo, hi) */
		uint64_t mid = lo + (hi - lo) / 2;

		if (bad[mid] != bad[lo])
			hi = mid;
		else
			lo = mid;
	}
	return lo;
}

#define EXTENT_FINDING(...) NODE_FINDING(t->v, PLY_R_EXTENT_FIELD, t->name, t->s, index, __VA_ARGS__)

static void check_extents(struct tables *t, uint64_t index, const struct ply_node *n)
{
	uint64_t to = n->data + n->ndata, bad;
	struct ply_extent e;

	bad = first_bad(t->alone, n->data, to);
	if (bad < to) {
		EXTENT_FINDING("node %llu: extent %llu does not lie in full data blocks",
			       (unsigned long long)index, (unsigned long long)(bad - n->data));
		return;
	}
	bad = first_bad(t->follows, n->data + 1, to);
	if (bad < to)
		EXTENT_FINDING("node %llu: extent %llu overlaps the one before it, or the hole between "
			       "them is not one of whole 4096 bytes", (unsigned long long)index,
			       (unsigned long long)(bad - n->data));
	if (sub_extent(t->s, n->data, &e, NULL) == 0 && e.off % PLY_PAGE)
		EXTENT_FINDING("node %llu: the hole at its begin does not end at a multiple of 4096",
			       (unsigned long long)index);
	if (sub_extent(t->s, to - 1, &e, NULL) < 0)
		return;
	if (e.off + e.len > n->size)
		EXTENT_FINDING("node %llu: its last extent ends behind its size",
			       (unsigned long long)index);
	else if (e.off + e.len < n->size && (e.off + e.len) % PLY_PAGE)
		EXTENT_FINDING("node %llu: the hole at its end does not begin at a multiple of 4096",
			       (unsigned long long)index);
}

static void check_content(struct tables *t, uint64_t index, const struct ply_node *n)
{
	const void *p;

	if (S_ISREG(n->mode)) {
		t->bytes += n->size;
		if (n->kind == PLY_C_EXTENTS)
			check_extents(t, index, n);
		else if (n->kind == PLY_C_RUN && !in_blocks(t, n->data, n->size))
			EXTENT_FINDING("node %llu: its content does not lie in full data blocks",
				       (unsigned long long)index);
	} else if (S_ISLNK(n->mode)) {
		if (sub_heap(t->s, n->data, n->size, &p, NULL) == 0 && memchr(p, '\0', n->size))
			NODE_FINDING(t->v, PLY_R_NODE_FIELD, t->name, t->s, index,
				     "node %llu: a symlink target with a NUL", (unsigned long long)index);
	}
}

int verify_tables(struct verify *v, const struct ply_sub_info *info, struct sub *s,
		  struct ply_err *err)
{
	struct tables table = { .v = v, .name = info->name, .s = s }, *t = &table;
	const struct segment *seg = meta_segment(sub_meta(s));
	static const uint8_t zero[sizeof(struct ply_disk_node)];
	const void *nobody = raw_row(s, PLY_S_NODES, 0);
	uint8_t uuid[16];
	int r;

	if (nobody && memcmp(nobody, zero, sizeof(zero)) != 0)
		TABLE_FINDING(PLY_R_NODE_FIELD, "node 0 is nobody and yet not zero");
	/* version 8: it follows from the content */
	if (seg->uuid[6] >> 4 == 8 && content_uuid(info->name, seg, uuid) == 0 &&
	    memcmp(uuid, seg->uuid, sizeof(uuid)) != 0)
		TABLE_FINDING(PLY_R_SEGMENT_HEADER, "the UUID is not the one that its content gives");
	r = judge_rows(t, err);
	if (r < 0)
		goto out;
	r = check_components(t, err);
	if (r == 0)
		r = verify_conditions(v, info->name, s, &t->starts, err);
	if (r < 0)
		goto out;
	check_owners(t);
	check_marks(t);
	if (info->flags & PLY_SUB_OVERLAY && (sub_limits(s)->conditions || sub_limits(s)->shared))
		TABLE_FINDING(PLY_R_CONDITION_FIELD, "an overlay with conditions or shared files; it has files as they are");
	r = check_overrides(t, info->flags & PLY_SUB_OVERLAY, err);
	if (r < 0)
		goto out;
	for (uint64_t i = 0; i < sub_limits(s)->xattr_sets; i++)
		check_xattr_set(t, (uint32_t)i);
	for (uint64_t i = PLY_ROOT_INDEX; i < sub_limits(s)->nodes; i++) {
		struct ply_node n;
		struct ply_err e;

		if (sub_node(s, i, &n, &e) < 0) {
			NODE_FINDING(v, e.reason, info->name, s, i, "%s", e.msg);
		} else {
			check_content(t, i, &n);
			t->flagged += n.flags & PLY_NODE_SHARED ? 1 : 0;
			if (n.flags & (info->flags & PLY_SUB_OVERLAY ? PLY_NODE_SHARED : PLY_NODE_COVERS))
				NODE_FINDING(v, PLY_R_NODE_FIELD, info->name, s, i,
					     "node %llu: a flag that %s", (unsigned long long)i,
					     info->flags & PLY_SUB_OVERLAY ? "no overlay has" : "only an overlay has");
		}
		v->result.nodes++;
		if (v->o->files)
			atomic_fetch_add(v->o->files, 1);
		if (v->list.n > 1024) {
			r = verify_flush(v, err);
			if (r < 0)
				goto out;
		}
	}
	if (t->bytes != info->bytes)
		TABLE_FINDING(PLY_R_CATALOG_FIELD, "its files have %llu bytes, the catalog says %llu",
			      (unsigned long long)t->bytes, (unsigned long long)info->bytes);
	r = verify_dirs(v, info, s, t->starts, err);
	if (r == 0)
		r = verify_shared_rows(v, info, s, t->starts, t->flagged, err);
out:
	free(t->starts);
	free(t->sizes);
	free(t->partial);
	free(t->alone);
	free(t->follows);
	return r < 0 ? r : verify_flush(v, err);
}
