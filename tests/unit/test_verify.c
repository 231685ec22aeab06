/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verify finds every flipped byte, and with the checksums made right again every table that does
 * not fit the others; what it reports does not depend on the number of threads.
 * PLYFS_DAMAGE_STEP sets how far apart the flipped bytes are (1: every byte).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "choice_image.h"
#include "base/buf.h"
#include "base/util.h"
#include "format/format.h"
#include "fuzz/repair.h"
#include "ops/verify.h"
#include "overlay_image.h"
#include "small_image.h"
#include "tap.h"

static char path[] = "/tmp/plyfs-verify-XXXXXX";
static int fd;
static uint8_t *bytes;
static size_t size;

static void small(const char *to)
{
	small_image(to, 2);
}

static void make(void (*image)(const char *))
{
	struct stat st;
	int made = mkstemp(path);

	ck_assert_int_ge(made, 0);
	close(made);
	image(path);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(fstat(fd, &st), 0);
	size = (size_t)st.st_size;
	bytes = malloc(size);
	ck_assert_int_eq(pread_full(fd, bytes, size, 0), 0);
}

static void load(void)
{
	make(small);
}

static void unload(void)
{
	close(fd);
	unlink(path);
	free(bytes);
}

static void store(void)
{
	ck_assert_int_eq(pwrite_full(fd, bytes, size, 0), 0);
}

static void note(void *ctx, const struct finding *f)
{
	ck_assert_int_ne(f->reason, PLY_R_NONE);
	ck_assert(f->message && *f->message);
	buf_printf(ctx, "%s %s\n", ply_reason_name(f->reason), f->message);
	for (size_t i = 0; i < f->npaths; i++)
		buf_printf(ctx, " path %s\n", f->paths[i]);
}

/* What is found, as text; the caller frees it. */
static char *judge(bool deep, unsigned threads, struct verify_result *ret)
{
	struct verify_options o = { .deep = deep, .threads = threads };
	struct buf text = { 0 };
	struct ply_err err;

	ck_assert_int_eq(verify_image(path, &o, note, &text, ret, &err), 0);
	buf_add(&text, "", 1);
	return (char *)text.data;
}

START_TEST(sound)
{
	struct verify_result r;
	char *text;

	load();
	text = judge(true, 2, &r);
	ck_assert_str_eq(text, "");
	ck_assert_uint_eq(r.checked, size);   /* every byte of the file is covered */
	ck_assert_uint_eq(r.segments, 4);
	ck_assert_uint_eq(r.blocks, 6);
	ck_assert_uint_eq(r.nodes, 16);
	ck_assert_uint_eq(r.unreferenced, 0);
	free(text);
	unload();
}
END_TEST

static void flip_all(size_t step)
{
	const char *env = getenv("PLYFS_DAMAGE_STEP");
	struct verify_result r;

	step = env ? strtoul(env, NULL, 10) : step;
	for (size_t i = 0; i < size; i += step) {
		uint8_t flipped = bytes[i] ^ (uint8_t)(1u << (i / step % 8));
		char *text;

		ck_assert_int_eq(pwrite_full(fd, &flipped, 1, i), 0);
		text = judge(false, 1, &r);
		ck_assert_msg(*text, "byte %zu: nothing was found", i);
		free(text);
		ck_assert_int_eq(pwrite_full(fd, &bytes[i], 1, i), 0);
	}
	unload();
}

START_TEST(flips)
{
	load();
	flip_all(37);
}
END_TEST

START_TEST(flips_of_overlays)
{
	make(overlay_image);
	flip_all(211);
}
END_TEST

START_TEST(cuts)
{
	struct verify_options o = { 0 };
	struct verify_result r;
	struct ply_err err;

	load();
	for (size_t len = 0; len < size; len += len < 10000 ? 997 : 4099) {
		struct buf text = { 0 };

		ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
		ck_assert_int_eq(verify_image(path, &o, note, &text, &r, &err), 0);
		ck_assert_msg(text.len, "cut to %zu bytes: nothing was found", len);
		buf_done(&text);
		ck_assert_int_eq(pwrite_full(fd, bytes, size, 0), 0);
	}
	unload();
}
END_TEST

/* Bytes behind the committed end are nobody's. */
START_TEST(trailing)
{
	struct verify_result r;
	char *text;

	load();
	ck_assert_int_eq(pwrite_full(fd, "left over", 9, size), 0);
	text = judge(true, 2, &r);
	ck_assert_str_eq(text, "");
	ck_assert_uint_eq(r.trailing, 9);
	free(text);
	unload();
}
END_TEST

/* --- structure -------------------------------------------------------------------------- */

/* Place of row @row of section @type in the @n-th segment that has one. */
static size_t place(uint32_t type, unsigned n, uint64_t row)
{
	/* segments stand one behind the other */
	for (size_t at = 2 * PLY_SUPER_SIZE; at < size;) {
		const struct section *sec;
		struct ply_disk_segment d;
		struct segment seg;
		struct ply_err err;

		memcpy(&d, bytes + at, sizeof(d));
		ck_assert_int_eq(segment_decode(bytes + at, size - at, le64_get(d.length), &seg, &err), 0);
		sec = segment_section(&seg, type);
		if (sec && n-- == 0)
			return at + sec->off + row * section_element_size(type);
		at += seg.length;
	}
	ck_abort_msg("there is no section %u", type);
}

static void add(size_t at, size_t len, uint64_t value)
{
	uint64_t old = 0;

	memcpy(&old, bytes + at, len);
	old += value;
	memcpy(bytes + at, &old, len);
}

#define FIELD(s, f) offsetof(struct s, f), sizeof(((struct s *)0)->f)

/* One field is changed, checksums and digests are made right: the reason must be among the findings. */
static const struct change {
	const char *what;
	uint32_t type;
	unsigned segment;
	uint64_t row;
	size_t off, len;
	uint64_t add;
	enum ply_reason reason;
	const char *path;          /* NULL, or what must be named */
} changes[] = {
	{ "nobody", PLY_S_NODES, 0, 0, FIELD(ply_disk_node, mtime_nsec), 1, PLY_R_NODE_FIELD, NULL },
	{ "links of a file", PLY_S_NODES, 0, 2, FIELD(ply_disk_node, nlink), 1, PLY_R_NODE_FIELD, "/big" },
	{ "links of a directory", PLY_S_NODES, 0, 7, FIELD(ply_disk_node, nlink), (uint64_t)-1,
	  PLY_R_NODE_FIELD, "/usr" },
	{ "nanoseconds", PLY_S_NODES, 0, 2, FIELD(ply_disk_node, mtime_nsec), 1000000000, PLY_R_NODE_FIELD,
	  NULL },
	{ "parent", PLY_S_NODES, 0, 8, FIELD(ply_disk_node, parent), 3, PLY_R_TREE_SHAPE, NULL },
	{ "entry of a node", PLY_S_NODES, 0, 8, FIELD(ply_disk_node, entry), 1, PLY_R_TREE_SHAPE, NULL },
	{ "owner", PLY_S_NODES, 0, 8, FIELD(ply_disk_node, owner), 1, PLY_R_NODE_FIELD, NULL },
	{ "xattr set", PLY_S_NODES, 0, 8, FIELD(ply_disk_node, xattrs), 2, PLY_R_NODE_FIELD, NULL },
	{ "size of a file", PLY_S_NODES, 0, 2, FIELD(ply_disk_node, size), (uint64_t)-1,
	  PLY_R_EXTENT_FIELD, "/big" },
	{ "size of a run", PLY_S_NODES, 1, 7, FIELD(ply_disk_node, size), 1, PLY_R_EXTENT_FIELD,
	  "/usr/web/page" },
	{ "sum of sizes", PLY_S_NODES, 1, 7, FIELD(ply_disk_node, size), (uint64_t)-1, PLY_R_CATALOG_FIELD,
	  NULL },
	{ "listing that overlaps", PLY_S_NODES, 0, 7, FIELD(ply_disk_node, data), (uint64_t)-1,
	  PLY_R_TREE_SHAPE, NULL },
	{ "listing that is short", PLY_S_NODES, 0, 4, FIELD(ply_disk_node, size), (uint64_t)-1,
	  PLY_R_TREE_SHAPE, NULL },
	{ "entry to another node", PLY_S_ENTRIES, 0, 1, FIELD(ply_disk_entry, ref), 2, PLY_R_TREE_SHAPE,
	  NULL },
	{ "entry to a directory twice", PLY_S_ENTRIES, 0, 1, FIELD(ply_disk_entry, ref), 1,
	  PLY_R_TREE_SHAPE, NULL },
	{ "entry's type", PLY_S_ENTRIES, 0, 0, FIELD(ply_disk_entry, type), 2, PLY_R_TREE_SHAPE, NULL },
	{ "entry's name", PLY_S_ENTRIES, 0, 0, FIELD(ply_disk_entry, name), 14, PLY_R_ENTRY_ORDER, "/" },
	{ "hole that is not aligned", PLY_S_EXTENTS, 0, 2, FIELD(ply_disk_extent, off), (uint64_t)-1,
	  PLY_R_EXTENT_FIELD, "/big" },
	{ "extents that overlap", PLY_S_EXTENTS, 0, 1, FIELD(ply_disk_extent, off), (uint64_t)-4096,
	  PLY_R_EXTENT_FIELD, "/big" },
	{ "extent beyond its block", PLY_S_EXTENTS, 0, 3, FIELD(ply_disk_extent, addr), 70000,
	  PLY_R_EXTENT_FIELD, "/big" },
	{ "extent beyond the data", PLY_S_EXTENTS, 0, 3, FIELD(ply_disk_extent, addr), 1 << 17,
	  PLY_R_EXTENT_FIELD, "/big" },
	{ "block before its turn", PLY_S_BLOCKS, 0, 1, FIELD(ply_disk_block, off), (uint64_t)-8,
	  PLY_R_BLOCK_FIELD, NULL },
	{ "block's size", PLY_S_BLOCKS, 0, 3, FIELD(ply_disk_block, size), 1, PLY_R_BLOCK_DECODE,
	  "/shared" },
	{ "xattrs out of order", PLY_S_XATTRS, 0, 0, FIELD(ply_disk_xattr, name), 6, PLY_R_XATTR_FIELD,
	  NULL },
	{ "xattr set's end", PLY_S_XATTR_SETS, 0, 1, FIELD(ply_disk_xattr_set, count), 1,
	  PLY_R_XATTR_FIELD, NULL },
	{ "owner's kind", PLY_S_OWNERS, 0, 0, FIELD(ply_disk_owner, kind), 1, PLY_R_OWNER_FIELD, NULL },
	{ "owner pair", PLY_S_OWNER_PAIRS, 0, 0, FIELD(ply_disk_owner_pair, group), 1, PLY_R_OWNER_FIELD,
	  NULL },
	{ "component", PLY_S_COMPONENTS, 0, 0, FIELD(ply_disk_component, zero), 1, PLY_R_SEGMENT_HEADER,
	  NULL },
	{ "join row's kind", PLY_S_JOIN_ROWS, 0, 3, FIELD(ply_disk_join_row, kind), (uint64_t)-1,
	  PLY_R_JOIN_FIELD, NULL },
	{ "join row's children", PLY_S_JOIN_ROWS, 0, 0, FIELD(ply_disk_join_row, nchildren), (uint64_t)-1,
	  PLY_R_JOIN_FIELD, NULL },
	{ "join row's members", PLY_S_JOIN_ROWS, 0, 1, FIELD(ply_disk_join_row, first_member), 2,
	  PLY_R_JOIN_FIELD, NULL },
	{ "join member", PLY_S_JOIN_MEMBERS, 0, 2, FIELD(ply_disk_join_member, ref), 3, PLY_R_JOIN_FIELD,
	  NULL },
	{ "join member's digest", PLY_S_JOIN_MEMBERS, 0, 6, 8, 1, 1, PLY_R_JOIN_FIELD, "/shared" },
	{ "join index", PLY_S_JOIN_INDEX, 0, 2, FIELD(ply_disk_join_index, row), 1, PLY_R_JOIN_FIELD,
	  NULL },
	{ "directory's digest", PLY_S_JOIN_MEMBERS, 0, 0, 8, 1, 1, PLY_R_JOIN_FIELD, "/" },
	{ "sum of the catalog", PLY_S_SUBS, 0, 0, FIELD(ply_disk_sub, bytes), 1, PLY_R_CATALOG_FIELD,
	  NULL },
};

/*
 * The same in the image whose tree depends on the selection. Its segments: 0 os, 1 db, 2 web.
 * CONDITIONS of os: 0 any db, 1 any web (both); 2, 3 none of db, web; 4 none of db.
 * RECORDS of os: 0 group, 1 passwd, 2 and 3 shells.
 */
#define OF_CONDITION FIELD(ply_disk_condition, component)
#define OF_FLAGS     FIELD(ply_disk_condition, flags)
static const struct change choices[] = {
	{ "component that is not there", PLY_S_CONDITIONS, 0, 0, OF_CONDITION, 9, PLY_R_CONDITION_FIELD, NULL },
	{ "a component that is itself", PLY_S_CONDITIONS, 0, 0, OF_CONDITION, (uint64_t)-1,
	  PLY_R_CONDITION_FIELD, NULL },
	{ "an unknown flag", PLY_S_CONDITIONS, 0, 0, OF_FLAGS, 8, PLY_R_CONDITION_FIELD, NULL },
	{ "a condition that ends within a clause", PLY_S_CONDITIONS, 0, 1, OF_FLAGS,
	  (uint64_t)-PLY_COND_CLAUSE_END, PLY_R_CONDITION_FIELD, NULL },
	{ "a clause of both kinds", PLY_S_CONDITIONS, 0, 2, OF_FLAGS, (uint64_t)-PLY_COND_NONE,
	  PLY_R_CONDITION_FIELD, NULL },
	{ "a condition that does not end", PLY_S_CONDITIONS, 0, 4, OF_FLAGS, (uint64_t)-PLY_COND_END,
	  PLY_R_CONDITION_FIELD, NULL },
	{ "row's zero", PLY_S_CONDITIONS, 0, 0, FIELD(ply_disk_condition, zero), 1, PLY_R_CONDITION_FIELD, NULL },
	{ "entry's condition within another", PLY_S_ENTRIES, 0, 2, FIELD(ply_disk_entry, condition), 1,
	  PLY_R_CONDITION_FIELD, "/etc/cache" },
	{ "entry's condition out of range", PLY_S_ENTRIES, 0, 2, FIELD(ply_disk_entry, condition), 100,
	  PLY_R_ENTRY_RANGE, "/etc" },
	{ "directory under a condition", PLY_S_ENTRIES, 0, 0, FIELD(ply_disk_entry, condition), 1,
	  PLY_R_ENTRY_RANGE, "/" },
	{ "one name in os and in others", PLY_S_ENTRIES, 0, 6, FIELD(ply_disk_entry, condition), (uint64_t)-3,
	  PLY_R_TREE_SHAPE, "/etc/tool" },
	{ "one name in two components", PLY_S_ENTRIES, 2, 4, FIELD(ply_disk_entry, condition), (uint64_t)-1,
	  PLY_R_TREE_SHAPE, "/etc/tool" },
	{ "one name where a clause says less", PLY_S_CONDITIONS, 0, 2, OF_CONDITION, 1, PLY_R_TREE_SHAPE,
	  "/etc/tool" },
	{ "owner's condition", PLY_S_OWNERS, 1, 2, FIELD(ply_disk_owner, condition), 50, PLY_R_OWNER_FIELD, NULL },
	{ "xattr's condition", PLY_S_XATTRS, 1, 1, FIELD(ply_disk_xattr, condition), 50, PLY_R_XATTR_FIELD, NULL },
	{ "xattr that hides another", PLY_S_XATTRS, 1, 1, FIELD(ply_disk_xattr, condition), (uint64_t)-1,
	  PLY_R_XATTR_FIELD, NULL },
	{ "a component's name", PLY_S_COMPONENTS, 0, 1, FIELD(ply_disk_component, name),
	  (uint64_t)-(2ULL << 56), PLY_R_SEGMENT_HEADER, NULL },
	{ "two components of one name", PLY_S_COMPONENTS, 0, 2, FIELD(ply_disk_component, name),
	  (uint64_t)-(1ULL << 56) - 2, PLY_R_SEGMENT_HEADER, NULL },
	{ "its own name", PLY_S_COMPONENTS, 0, 0, FIELD(ply_disk_component, name), 1, PLY_R_SEGMENT_HEADER, NULL },
	{ "a shared file's node", PLY_S_SHARED_FILES, 0, 0, FIELD(ply_disk_shared, node), (uint64_t)-1,
	  PLY_R_RECORD_FIELD, "/etc/group" },
	{ "shared files out of order", PLY_S_SHARED_FILES, 0, 0, FIELD(ply_disk_shared, node), 2,
	  PLY_R_RECORD_FIELD, NULL },
	{ "node's flag", PLY_S_NODES, 0, 7, FIELD(ply_disk_node, flags), (uint64_t)-PLY_NODE_SHARED,
	  PLY_R_RECORD_FIELD, "/etc/shells" },
	{ "flag without a row", PLY_S_NODES, 0, 4, FIELD(ply_disk_node, flags), PLY_NODE_SHARED,
	  PLY_R_RECORD_FIELD, "/etc/cache" },
	{ "driver", PLY_S_SHARED_FILES, 0, 0, FIELD(ply_disk_shared, driver), 60000, PLY_R_RECORD_FIELD,
	  "/etc/group" },
	{ "driver's version", PLY_S_SHARED_FILES, 0, 0, FIELD(ply_disk_shared, version), 1, PLY_R_RECORD_FIELD,
	  "/etc/group" },
	{ "version 0", PLY_S_SHARED_FILES, 0, 0, FIELD(ply_disk_shared, version), (uint64_t)-1,
	  PLY_R_RECORD_FIELD, "/etc/group" },
	{ "parts of two drivers", PLY_S_SHARED_FILES, 1, 1, FIELD(ply_disk_shared, driver), 1,
	  PLY_R_RECORD_FIELD, "/etc/passwd" },
	{ "parts of two files", PLY_S_SHARED_FILES, 1, 1, FIELD(ply_disk_shared, digest[3]), 1,
	  PLY_R_RECORD_FIELD, "/etc/passwd" },
	{ "digest of a file of one part", PLY_S_SHARED_FILES, 0, 2, FIELD(ply_disk_shared, digest[3]), 1,
	  PLY_R_RECORD_DIGEST, "/etc/shells" },
	{ "whole, of two records", PLY_S_SHARED_FILES, 0, 2, FIELD(ply_disk_shared, flags), 1, PLY_R_RECORD_FIELD,
	  "/etc/shells" },
	{ "records of others", PLY_S_SHARED_FILES, 0, 1, FIELD(ply_disk_shared, first), (uint64_t)-1,
	  PLY_R_RECORD_FIELD, "/etc/passwd" },
	{ "records that nobody has", PLY_S_SHARED_FILES, 0, 2, FIELD(ply_disk_shared, count), (uint64_t)-1,
	  PLY_R_RECORD_FIELD, "/etc/shells" },
	{ "records out of order", PLY_S_RECORDS, 0, 2, FIELD(ply_disk_record, ordinal), 1, PLY_R_RECORD_FIELD,
	  "/etc/shells" },
	{ "record beyond its file", PLY_S_RECORDS, 0, 3, FIELD(ply_disk_record, len), 1, PLY_R_RECORD_FIELD,
	  "/etc/shells" },
	{ "record before its file's end", PLY_S_RECORDS, 0, 3, FIELD(ply_disk_record, len), (uint64_t)-1,
	  PLY_R_RECORD_FIELD, "/etc/shells" },
	{ "record's flags", PLY_S_RECORDS, 0, 3, FIELD(ply_disk_record, flags), 2, PLY_R_RECORD_FIELD,
	  "/etc/shells" },
	{ "record's condition", PLY_S_RECORDS, 0, 3, FIELD(ply_disk_record, condition), 1, PLY_R_RECORD_FIELD,
	  "/etc/shells" },
	{ "record's condition within another", PLY_S_RECORDS, 0, 3, FIELD(ply_disk_record, condition),
	  (uint64_t)-1, PLY_R_CONDITION_FIELD, "/etc/shells" },
	{ "record that is always there", PLY_S_RECORDS, 0, 3, FIELD(ply_disk_record, condition), (uint64_t)-5,
	  PLY_R_RECORD_DIGEST, "/etc/shells" },
	{ "another's record in os", PLY_S_RECORDS, 0, 1, FIELD(ply_disk_record, condition), 1,
	  PLY_R_RECORD_FIELD, "/etc/passwd" },
	{ "one record of two forms", PLY_S_RECORDS, 1, 0, FIELD(ply_disk_record, flags), 1, PLY_R_RECORD_FIELD,
	  "/etc/group" },
	{ "os's record in another", PLY_S_RECORDS, 1, 3, FIELD(ply_disk_record, ordinal), (uint64_t)-1,
	  PLY_R_RECORD_FIELD, "/etc/passwd" },
	{ "comma that was not there", PLY_S_RECORDS, 1, 1, FIELD(ply_disk_record, flags), (uint64_t)-1,
	  PLY_R_RECORD_DIGEST, "/etc/group" },
	{ "shared file as links", PLY_S_JOIN_ROWS, 0, 3, FIELD(ply_disk_join_row, kind), (uint64_t)-1,
	  PLY_R_JOIN_FIELD, NULL },
	{ "directory as a shared file", PLY_S_JOIN_ROWS, 0, 2, FIELD(ply_disk_join_row, kind), 2, PLY_R_JOIN_FIELD,
	  NULL },
	{ "shared files of two paths", PLY_S_JOIN_MEMBERS, 0, 9, FIELD(ply_disk_join_member, ref), (uint64_t)-1,
	  PLY_R_JOIN_FIELD, NULL },
	{ "captured digest in the row", PLY_S_JOIN_MEMBERS, 0, 9, FIELD(ply_disk_join_member, digest[0]), 1,
	  PLY_R_JOIN_FIELD, "/etc/group" },
};

START_TEST(choice_is_sound)
{
	struct verify_result r;
	char *text;

	make(choice_image);
	ck_assert_uint_lt(size, 32768);
	text = judge(true, 2, &r);
	ck_assert_str_eq(text, "");
	ck_assert_uint_eq(r.checked, size);
	ck_assert_uint_eq(r.nodes, 8 + 7 + 6);
	free(text);
	unload();
}
END_TEST

/*
 * The same in an image of three generations with overlays (overlay_image.h). Segments with nodes: 0 os, 1 web, 2 db,
 * 3 cache; with a catalog, 2 is the newest. ENTRIES of db: 0 whiteout of dev0, 3 db.conf, 5 that of web, 6 that of page.
 * COLLISIONS: 0 dev0, 1 db.conf, 2 hosts.
 */
static const struct change overlays[] = {
	{ "a whiteout as a file", PLY_S_ENTRIES, 2, 0, FIELD(ply_disk_entry, type), 8, PLY_R_ENTRY_RANGE, "/" },
	{ "a whiteout under a condition", PLY_S_ENTRIES, 2, 0, FIELD(ply_disk_entry, condition), 1, PLY_R_ENTRY_RANGE, "/" },
	{ "a file as a whiteout", PLY_S_ENTRIES, 2, 3, FIELD(ply_disk_entry, type), (uint64_t)-8, PLY_R_TREE_SHAPE, NULL },
	{ "a whiteout with another's node", PLY_S_ENTRIES, 2, 5, FIELD(ply_disk_entry, ref), (uint64_t)-1,
	  PLY_R_TREE_SHAPE, "/usr" },
	{ "a whiteout of nothing", PLY_S_ENTRIES, 2, 6, FIELD(ply_disk_entry, name), (uint64_t)-1, PLY_R_TREE_SHAPE,
	  "/usr/web/bpag" },
	{ "a whiteout in the ground", PLY_S_ENTRIES, 1, 2, FIELD(ply_disk_entry, type), (uint64_t)-8, PLY_R_TREE_SHAPE,
	  "/etc" },
	{ "a directory that covers, and does not say so", PLY_S_NODES, 2, 3, FIELD(ply_disk_node, flags), (uint64_t)-4,
	  PLY_R_NODE_FIELD, "/usr" },
	{ "a directory that is gone, and owned", PLY_S_NODES, 2, 6, FIELD(ply_disk_node, flags), (uint64_t)-1,
	  PLY_R_TREE_SHAPE, "/usr/web" },
	{ "a directory of the ground that covers", PLY_S_NODES, 0, 4, FIELD(ply_disk_node, flags), 4, PLY_R_NODE_FIELD,
	  "/etc" },
	{ "an override of nothing", PLY_S_OVERRIDES, 0, 0, FIELD(ply_disk_override, node), (uint64_t)-1,
	  PLY_R_OVERRIDE_FIELD, "/etc/db.conf" },
	{ "an override without difference", PLY_S_OVERRIDES, 0, 0, FIELD(ply_disk_override, mask), (uint64_t)-1,
	  PLY_R_OVERRIDE_FIELD, NULL },
	{ "an override of another kind", PLY_S_OVERRIDES, 0, 0, FIELD(ply_disk_override, mask), 64, PLY_R_OVERRIDE_FIELD,
	  NULL },
	{ "overrides of one node", PLY_S_OVERRIDES, 1, 0, FIELD(ply_disk_override, node), 3, PLY_R_OVERRIDE_FIELD, NULL },
	{ "a node as a whiteout", PLY_S_COLLISIONS, 0, 1, FIELD(ply_disk_collision, flags), 512, PLY_R_COLLISION_FIELD, NULL },
	{ "a whiteout as a node", PLY_S_COLLISIONS, 0, 0, FIELD(ply_disk_collision, flags), (uint64_t)-512,
	  PLY_R_COLLISION_FIELD, NULL },
	{ "another path", PLY_S_COLLISIONS, 0, 1, FIELD(ply_disk_collision, a), 1, PLY_R_COLLISION_FIELD, NULL },
	{ "and a pair that is missing", PLY_S_COLLISIONS, 0, 1, FIELD(ply_disk_collision, a), 1, PLY_R_COLLISION_FIELD,
	  "/etc/db.conf" },
	{ "files as directories", PLY_S_COLLISIONS, 0, 2, FIELD(ply_disk_collision, cls), (uint64_t)-2,
	  PLY_R_COLLISION_FIELD, NULL },
	{ "out of order", PLY_S_COLLISIONS, 0, 0, FIELD(ply_disk_collision, b), 3, PLY_R_COLLISION_FIELD, NULL },
	{ "no such sub-image", PLY_S_COLLISIONS, 0, 2, FIELD(ply_disk_collision, b), 1ULL << 48, PLY_R_COLLISION_FIELD, NULL },
	{ "what it stands on", PLY_S_COLLISIONS, 0, 2, FIELD(ply_disk_collision, a), (uint64_t)-(2ULL << 48),
	  PLY_R_COLLISION_FIELD, NULL },
	{ "an overlay that says it is none", PLY_S_SUBS, 2, 2, FIELD(ply_disk_sub, flags), (uint64_t)-4, PLY_R_CATALOG_FIELD,
	  NULL },
	{ "one above it", PLY_S_SUBS, 2, 1, FIELD(ply_disk_sub, rank), 5, PLY_R_PARENT, NULL },
	{ "not required", PLY_S_RELATIONS, 2, 2, FIELD(ply_disk_relation, kind), 1, PLY_R_PARENT, NULL },
	{ "the directory that is gone, in no row", PLY_S_JOIN_ROWS, 2, 2, FIELD(ply_disk_join_row, nchildren), (uint64_t)-1,
	  PLY_R_JOIN_FIELD, NULL },
};

START_TEST(overlays_are_sound)
{
	struct verify_result r;
	char *text;

	make(overlay_image);
	text = judge(true, 2, &r);
	ck_assert_str_eq(text, "");
	ck_assert_uint_eq(r.checked, size);
	ck_assert_uint_eq(r.unreferenced, 0);
	ck_assert_uint_eq(r.generation, 3);
	free(text);
	unload();
}
END_TEST

static void judge_change(const struct change *c);

START_TEST(overlay)
{
	make(overlay_image);
	judge_change(&overlays[_i]);
}
END_TEST

START_TEST(choice)
{
	make(choice_image);
	judge_change(&choices[_i]);
}
END_TEST

START_TEST(structure)
{
	load();
	judge_change(&changes[_i]);
}
END_TEST

static void judge_change(const struct change *c)
{
	char line[64], *text;
	struct verify_result r;

	add(place(c->type, c->segment, c->row) + c->off, c->len, c->add);
	repair_image(bytes, size);
	store();
	text = judge(true, 2, &r);
	snprintf(line, sizeof(line), "%s ", ply_reason_name(c->reason));
	ck_assert_msg(strstr(text, line), "%s: %s expected, found:\n%s", c->what, line, text);
	if (c->path) {
		snprintf(line, sizeof(line), " path %s\n", c->path);
		ck_assert_msg(strstr(text, line), "%s:%s expected, found:\n%s", c->what, line, text);
	}
	free(text);
	unload();
}

/* A damaged block names the files in it, a damaged page of nodes those that lie there. */
START_TEST(names)
{
	struct verify_result r;
	struct ply_block b;
	struct sub_limits lim = { .data = UINT64_MAX };
	struct ply_disk_block row;
	char *text;

	load();
	memcpy(&row, bytes + place(PLY_S_BLOCKS, 0, 3), sizeof(row));
	ck_assert_int_eq(block_decode(&row, &lim, &b, NULL), 0);
	bytes[place(PLY_S_DATA, 0, 0) + b.off + 5] ^= 1;
	store();
	text = judge(false, 2, &r);
	ck_assert_ptr_nonnull(strstr(text, "BLOCK_CHECKSUM "));
	ck_assert_ptr_nonnull(strstr(text, " path /big\n"));
	ck_assert_ptr_nonnull(strstr(text, " path /shared\n"));
	ck_assert_ptr_null(strstr(text, " path /etc/hosts\n"));
	free(text);
	unload();
}
END_TEST

START_TEST(same_with_any_threads)
{
	struct verify_result r;
	char *one, *many;

	load();
	for (size_t i = 9000; i < size; i += 1500)
		bytes[i] ^= 4;
	store();
	one = judge(true, 1, &r);
	many = judge(true, 7, &r);
	ck_assert(*one);
	ck_assert_str_eq(one, many);
	free(one);
	free(many);
	unload();
}
END_TEST

START_TEST(digest)
{
	struct verify_options o = { .threads = 1 };
	struct buf text = { 0 };
	struct verify_result r;
	struct ply_err err;
	uint8_t want[32];

	load();
	free(judge(false, 1, &r));
	memcpy(want, r.digest, sizeof(want));
	o.digest = want;
	ck_assert_int_eq(verify_image(path, &o, note, &text, &r, &err), 0);
	ck_assert_uint_eq(text.len, 0);
	want[31] ^= 1;
	ck_assert_int_eq(verify_image(path, &o, note, &text, &r, &err), 0);
	buf_add(&text, "", 1);
	ck_assert_ptr_nonnull(strstr((char *)text.data, "DIGEST_MISMATCH"));
	buf_done(&text);
	unload();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("verify");

	tap_test(s, sound);
	tap_test(s, flips);
	tap_test(s, cuts);
	tap_test(s, trailing);
	tap_loop(s, structure, 0, (int)ARRAY_SIZE(changes));
	tap_test(s, choice_is_sound);
	tap_loop(s, choice, 0, (int)ARRAY_SIZE(choices));
	tap_test(s, overlays_are_sound);
	tap_loop(s, overlay, 0, (int)ARRAY_SIZE(overlays));
	tap_test(s, flips_of_overlays);
	tap_test(s, names);
	tap_test(s, same_with_any_threads);
	tap_test(s, digest);
	return s;
}
TAP_MAIN(suite)
