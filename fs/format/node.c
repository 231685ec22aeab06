/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nodes, entries, extents, blocks, owners (FORMAT.md, "Sub-image"). Decoding
 * copies a row, then checks each field against what the segment can hold, so that a
 * row which decodes can be followed without further checks: indexes are in range,
 * sums do not overflow. Whether the rows make a tree is for verify --deep; readers
 * must not depend on it for their safety.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "format/format.h"

#define NODE_BAD(what) \
	ply_fail(err, -EUCLEAN, PLY_R_NODE_FIELD, "node %llu: %s", (unsigned long long)index, what)

void node_encode(const struct ply_node *n, struct ply_disk_node *out)
{
	*out = (struct ply_disk_node){
		.mode = le16_put(n->mode),
		.kind = n->kind,
		.flags = n->flags,
		.owner = le32_put(n->owner),
		.size = le64_put(n->size),
		.mtime_sec = le64_put((uint64_t)n->mtime_sec),
		.mtime_nsec = le32_put(n->mtime_nsec),
		.nlink = le32_put(n->nlink),
		.parent = le64_put(n->parent),
		.entry = le64_put(n->entry),
		.data = le64_put(n->data),
		.ndata = le32_put(n->ndata),
		.xattrs = le32_put(n->xattrs),
	};
}

/* Does an extent at @addr of @len bytes start inside the blocks there are, and can it end there? */
static bool address_ok(uint64_t addr, uint64_t len, const struct sub_limits *lim)
{
	uint64_t block = addr >> PLY_BLOCK_BITS;
	uint64_t room;

	if (block >= lim->blocks)
		return false;
	room = lim->blocks - block;
	if (room > UINT64_MAX >> PLY_BLOCK_BITS)
		return true;
	return len <= (room << PLY_BLOCK_BITS) - (addr & (PLY_BLOCK_SIZE - 1));
}

static int check_regular(const struct ply_node *n, uint64_t index, const struct sub_limits *lim,
			 struct ply_err *err)
{
	switch (n->kind) {
	case PLY_C_NONE:
		if (n->data || n->ndata)
			return NODE_BAD("has no content and yet a place for it");
		break;
	case PLY_C_INLINE:
		if (n->ndata || !n->size || n->size > PLY_INLINE_MAX || n->data > lim->heap ||
		    n->size > lim->heap - n->data)
			return NODE_BAD("inline content lies outside the heap");
		break;
	case PLY_C_RUN:
		if (n->ndata || !n->size || !address_ok(n->data, n->size, lim))
			return NODE_BAD("content lies outside the data");
		break;
	case PLY_C_EXTENTS:
		if (!n->ndata || n->data > lim->extents || n->ndata > lim->extents - n->data)
			return NODE_BAD("extents lie outside their table");
		break;
	default:
		return ply_fail(err, -EOPNOTSUPP, PLY_R_NODE_FIELD,
				"node %llu: content of kind %u; use a newer plyfs",
				(unsigned long long)index, n->kind);
	}
	return 0;
}

int node_decode(const struct ply_disk_node *in, uint64_t index, const struct sub_limits *lim,
		struct ply_node *ret, struct ply_err *err)
{
	struct ply_disk_node d;
	struct ply_node n;
	int r;

	memcpy(&d, in, sizeof(d));
	n = (struct ply_node){
		.mode = le16_get(d.mode),
		.kind = d.kind,
		.flags = d.flags,
		.owner = le32_get(d.owner),
		.size = le64_get(d.size),
		.mtime_sec = (int64_t)le64_get(d.mtime_sec),
		.mtime_nsec = le32_get(d.mtime_nsec),
		.nlink = le32_get(d.nlink),
		.parent = le64_get(d.parent),
		.entry = le64_get(d.entry),
		.data = le64_get(d.data),
		.ndata = le32_get(d.ndata),
		.xattrs = le32_get(d.xattrs),
	};
	if (n.flags & ~(PLY_NODE_IMPLIED | PLY_NODE_SHARED | PLY_NODE_COVERS) ||
	    (n.flags & (PLY_NODE_IMPLIED | PLY_NODE_COVERS) && !S_ISDIR(n.mode)) ||
	    (n.flags & PLY_NODE_SHARED && !S_ISREG(n.mode)))
		return NODE_BAD("unknown flags");
	if (n.mtime_nsec >= 1000000000)
		return NODE_BAD("nanoseconds of a second and more");
	if (n.owner >= lim->owner_pairs)
		return NODE_BAD("owner is not in the table");
	if (n.xattrs >= lim->xattr_sets)
		return NODE_BAD("xattr set is not in the table");
	if (PLY_INO_NUMBER(n.parent) != 0 || !PLY_INO_INDEX(n.parent) ||
	    PLY_INO_INDEX(n.parent) >= lim->nodes)
		return NODE_BAD("parent is not a node");
	if (index == PLY_ROOT_INDEX) {
		if (!S_ISDIR(n.mode) || n.parent != PLY_ROOT_INDEX || n.entry)
			return NODE_BAD("the root is not a directory that is its own parent");
	} else if (n.entry >= lim->entries) {
		return NODE_BAD("the entry that names it does not exist");
	}
	if (n.size > PLY_SIZE_MAX)
		return NODE_BAD("size beyond 2^63");
	switch (n.mode & S_IFMT) {
	case S_IFREG:
		if (!n.nlink)
			return NODE_BAD("no links");
		r = check_regular(&n, index, lim, err);
		if (r < 0)
			return r;
		break;
	case S_IFDIR:
		if (n.kind != PLY_C_NONE || n.ndata)
			return NODE_BAD("a directory with content");
		if (n.data > lim->entries || n.size > lim->entries - n.data)
			return NODE_BAD("entries lie outside their table");
		if (n.nlink > n.size)
			return NODE_BAD("more child directories than entries");
		break;
	case S_IFLNK:
		if (!n.nlink)
			return NODE_BAD("no links");
		if (n.kind != PLY_C_INLINE || n.ndata || !n.size || n.size > PLY_SYMLINK_MAX ||
		    n.data > lim->heap || n.size > lim->heap - n.data)
			return NODE_BAD("symlink target lies outside the heap");
		break;
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		if (!n.nlink)
			return NODE_BAD("no links");
		if (n.kind != PLY_C_NONE || n.data || n.ndata)
			return NODE_BAD("a special file with content");
		if (n.size && (S_ISFIFO(n.mode) || S_ISSOCK(n.mode)))
			return NODE_BAD("a FIFO or socket with a size");
		break;
	default:
		return NODE_BAD("no file type");
	}
	*ret = n;
	return 0;
}

void entry_encode(const struct ply_entry *e, struct ply_disk_entry *out)
{
	*out = (struct ply_disk_entry){
		.ref = le64_put(e->ref),
		.name = le64_put((uint64_t)e->name_len << 56 | e->name_off),
		.condition = le32_put(e->condition),
		.type = e->type,
	};
}

int entry_decode(const struct ply_disk_entry *in, const struct sub_limits *lim,
		 struct ply_entry *ret, struct ply_err *err)
{
	struct ply_disk_entry d;
	struct ply_entry e = { 0 };
	uint64_t name;

	memcpy(&d, in, sizeof(d));
	name = le64_get(d.name);
	e.ref = le64_get(d.ref);
	e.name_off = name & ((1ULL << 56) - 1);
	e.name_len = (uint32_t)(name >> 56);
	e.condition = le32_get(d.condition);
	e.type = d.type;
	if (e.type == PLY_T_WHITEOUT && e.condition)
		return ply_fail(err, -EUCLEAN, PLY_R_ENTRY_RANGE, "a whiteout with a condition");
	if ((e.type != PLY_T_WHITEOUT || e.ref) &&
	    (PLY_INO_NUMBER(e.ref) != 0 || PLY_INO_INDEX(e.ref) <= PLY_ROOT_INDEX ||
	     PLY_INO_INDEX(e.ref) >= lim->nodes))
		return ply_fail(err, -EUCLEAN, PLY_R_ENTRY_RANGE, "an entry refers to node %#llx",
				(unsigned long long)e.ref);
	if (!e.name_len || e.name_off > lim->names || e.name_len > lim->names - e.name_off)
		return ply_fail(err, -EUCLEAN, PLY_R_ENTRY_NAME, "an entry's name lies outside NAMES");
	if (e.condition > lim->conditions || d.zero[0] || d.zero[1] || d.zero[2])
		return ply_fail(err, -EUCLEAN, PLY_R_ENTRY_RANGE, "an entry with a condition that does not exist");
	/* the number of child directories of a directory is not to depend on a selection */
	if (e.condition && e.type == S_IFDIR >> 12)
		return ply_fail(err, -EUCLEAN, PLY_R_ENTRY_RANGE, "a directory with a condition");
	*ret = e;
	return 0;
}

int name_check(const char *name, size_t len, struct ply_err *err)
{
	if (len < 1 || len > PLY_NAME_MAX || memchr(name, '/', len) || memchr(name, '\0', len) ||
	    (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
		return ply_fail(err, -EUCLEAN, PLY_R_ENTRY_NAME,
				"a name that no directory can hold (\"/\", NUL, \".\", \"..\" or its length)");
	return 0;
}

void extent_encode(const struct ply_extent *e, struct ply_disk_extent *out)
{
	out->off = le64_put(e->off);
	out->len = le64_put(e->len);
	out->addr = le64_put(e->addr);
}

int extent_decode(const struct ply_disk_extent *in, const struct sub_limits *lim,
		  struct ply_extent *ret, struct ply_err *err)
{
	struct ply_disk_extent d;
	struct ply_extent e;

	memcpy(&d, in, sizeof(d));
	e.off = le64_get(d.off);
	e.len = le64_get(d.len);
	e.addr = le64_get(d.addr);
	if (!e.len || e.off > PLY_SIZE_MAX || e.len > PLY_SIZE_MAX - e.off ||
	    !address_ok(e.addr, e.len, lim))
		return ply_fail(err, -EUCLEAN, PLY_R_EXTENT_FIELD, "an extent lies outside the data");
	*ret = e;
	return 0;
}

void block_encode(const struct ply_block *b, struct ply_disk_block *out)
{
	out->off = le64_put(b->off);
	out->stored = le32_put(b->stored | (b->raw ? PLY_BLOCK_RAW : 0));
	out->size = le32_put(b->size);
	out->xxh3 = le64_put(b->xxh3);
}

int block_decode(const struct ply_disk_block *in, const struct sub_limits *lim,
		 struct ply_block *ret, struct ply_err *err)
{
	struct ply_disk_block d;
	struct ply_block b;

	memcpy(&d, in, sizeof(d));
	b.off = le64_get(d.off);
	b.stored = le32_get(d.stored) & ~PLY_BLOCK_RAW;
	b.raw = le32_get(d.stored) & PLY_BLOCK_RAW;
	b.size = le32_get(d.size);
	b.xxh3 = le64_get(d.xxh3);
	if (b.off % PLY_ALIGN || b.off > lim->data || !b.stored || b.stored > lim->data - b.off ||
	    !b.size || b.size > PLY_BLOCK_SIZE || b.stored > PLY_BLOCK_SIZE ||
	    (b.raw && b.stored != b.size))
		return ply_fail(err, -EUCLEAN, PLY_R_BLOCK_FIELD, "a data block lies outside DATA");
	*ret = b;
	return 0;
}

int owner_decode(const struct ply_disk_owner *in, const struct sub_limits *lim,
		 struct ply_owner *ret, struct ply_err *err)
{
	struct ply_disk_owner d;
	struct ply_owner o;
	uint64_t name;

	memcpy(&d, in, sizeof(d));
	name = le64_get(d.name);
	o.id = le32_get(d.id);
	o.kind = d.kind;
	o.component = le16_get(d.component);
	o.condition = le32_get(d.condition);
	o.name_off = name & ((1ULL << 56) - 1);
	o.name_len = (uint32_t)(name >> 56);
	/* the last id is no id: chown(2) takes it for "leave it" */
	if ((o.kind != PLY_OWNER_USER && o.kind != PLY_OWNER_GROUP) || o.id == UINT32_MAX ||
	    o.name_off > lim->heap ||
	    o.name_len > lim->heap - o.name_off || o.component >= lim->components || d.zero ||
	    o.condition > lim->conditions || le32_get(d.zero2))
		return ply_fail(err, -EUCLEAN, PLY_R_OWNER_FIELD, "an owner row is impossible");
	*ret = o;
	return 0;
}

bool sub_name_ok(const char *name, size_t len, bool internal)
{
	if (!len || len > PLY_SUB_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			continue;
		if (i && (c == '.' || c == '_' || c == '-' || (internal && c == '+')))
			continue;
		return false;
	}
	return true;
}

int sub_name_compare(const char *is, const char *name, size_t len)
{
	size_t is_len = strlen(is);
	int c = memcmp(is, name, MIN(is_len, len));

	return c ? c : (is_len > len) - (is_len < len);
}
