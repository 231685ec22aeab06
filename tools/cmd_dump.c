/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plyfs dump: the structures of an image, row by row, for tests and for those who look for damage (of a log: dump_redo.c).
 *
 * Every segment is opened by itself, and every row is read by itself: what is damaged is named in
 * its place and the rest follows. Nothing is shown whose checksum does not match, since that
 * would only be noise; the exit code is 4 then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "cli.h"
#include "dump_redo.h"
#include "format/text.h"
#include "image/catalog.h"
#include "image/join.h"
#include "merge/merge.h"
#include "open.h"
#include "plyfs/image.h"
#include "redo/redo.h"
#include "show.h"
#include "tree/view_internal.h"
#include "verbs.h"

struct dump {
	struct io *io;
	const char *only_sub;      /* NULL: all */
	const struct cli_list *sections;
	struct text text;
	struct buf buf;
	bool any;                  /* something was printed: JSON needs commas */
	bool damaged, known_sub, known_section;
	uint64_t xattrs_left;      /* rows that the sets still to come can have, since they share none */
	struct ply_err err;        /* the last failure */
};

/* Names for --section that are no section. */
#define SUPER   "SUPER"
#define SEGMENT "SEGMENT"

static bool wanted(struct dump *d, const char *section)
{
	if (!d->sections->n)
		return true;
	for (size_t i = 0; i < d->sections->n; i++)
		if (!strcasecmp(d->sections->v[i], section))
			return true;
	return false;
}

/* Print what is in the buffer: one structure. */
static void flush(struct dump *d)
{
	if (!d->buf.len)
		return;
	if (d->text.json)
		fputs(d->any ? ",\n" : "\n", stdout);
	fwrite(d->buf.data, 1, d->buf.len, stdout);
	d->buf.len = 0;
	d->any = true;
}

/* d->err says what is wrong with @what. */
static void damaged(struct dump *d, const char *what, const uint64_t *index)
{
	d->buf.len = 0;
	text_begin(&d->text, what, index);
	text_word(&d->text, "damaged", ply_reason_name(d->err.reason));
	text_name(&d->text, "message", d->err.msg, strlen(d->err.msg));
	text_end(&d->text);
	flush(d);
	d->damaged = true;
}

static void supers(struct dump *d, struct super s[PLY_SUPER_SLOTS], bool valid[PLY_SUPER_SLOTS])
{
	for (uint32_t i = 0; i < PLY_SUPER_SLOTS; i++) {
		uint8_t raw[PLY_SUPER_SIZE];
		uint64_t index = i;
		int r = io_pread(d->io, raw, sizeof(raw), (uint64_t)i * PLY_SUPER_SIZE);

		if (r < 0)
			ply_fail(&d->err, -EUCLEAN, PLY_R_IMAGE_TRUNCATED, "superblock %u cannot be read: %s",
				 i, strerror(-r));
		else
			r = super_decode(raw, i, d->io->size, &s[i], &d->err);
		valid[i] = r == 0;
		if (r < 0) {
			damaged(d, "superblock", &index);
		} else if (wanted(d, SUPER) && !d->only_sub) {
			super_to_text(&d->text, i, &s[i]);
			flush(d);
		}
	}
}

static void segment_head(struct dump *d, uint64_t off, const struct segment *s)
{
	if (!wanted(d, SEGMENT))
		return;
	segment_to_text(&d->text, off, s);
	flush(d);
	for (uint32_t i = 0; i < s->nsections; i++) {
		section_to_text(&d->text, i, &s->sections[i]);
		flush(d);
	}
}

/* The rows of PAGE_SUMS, as they stand. */
static void page_sums(struct dump *d, uint64_t off, const struct segment *seg)
{
	const struct section *s = segment_section(seg, PLY_S_PAGE_SUMS);
	uint64_t pages = meta_pages(seg->meta_len), page = 0;

	if (!wanted(d, "PAGE_SUMS"))
		return;
	for (uint64_t at = 0; at < s->len; at += 8) {
		bool group = at / 8 % (PLY_SUMS_PER_GROUP + 1) == PLY_SUMS_PER_GROUP || page == pages;
		uint64_t index = group ? at / 8 / (PLY_SUMS_PER_GROUP + 1) : page;
		char hex[24];
		le64 sum;

		if (io_pread(d->io, &sum, sizeof(sum), off + s->off + at) < 0) {
			ply_fail(&d->err, -EIO, PLY_R_IMAGE_IO, "cannot be read");
			damaged(d, "page-sums", &index);
			return;
		}
		snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)le64_get(sum));
		text_begin(&d->text, group ? "page-sum-group" : "page-sum", &index);
		text_word(&d->text, "xxh3", hex);
		text_end(&d->text);
		flush(d);
		page += !group;
	}
}

/* --- catalog ------------------------------------------------------------------------ */

/* Each row of section @type of @m through @print. */
typedef void (*row_fn)(struct dump *d, uint64_t i, const void *row, const void *ctx);

static void rows(struct dump *d, struct meta *m, uint32_t type, const char *what, row_fn print,
		 const void *ctx)
{
	const struct section *s = segment_section(meta_segment(m), type);
	size_t size = section_element_size(type);

	if (!s || !wanted(d, section_name(type)))
		return;
	for (uint64_t i = 0; i < s->count; i++) {
		const void *p;

		if (meta_get(m, s, i * size, size, &p, &d->err) < 0) {
			damaged(d, what, &i);
			continue;
		}
		print(d, i, p, ctx);
		flush(d);
	}
}

static void print_head(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_catalog_head h;

	(void)i;
	memcpy(&h, row, sizeof(h));
	catalog_head_to_text(&d->text, &h, ctx);
}

static void print_sub(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_sub s;

	memcpy(&s, row, sizeof(s));
	catalog_sub_to_text(&d->text, i, &s, ctx);
}

static void print_ref(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_segment_ref s;

	(void)ctx;
	memcpy(&s, row, sizeof(s));
	segment_ref_to_text(&d->text, i, &s);
}

static void print_relation(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_relation s;

	memcpy(&s, row, sizeof(s));
	relation_to_text(&d->text, i, &s, ctx);
}

static void print_mount(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_mount s;

	memcpy(&s, row, sizeof(s));
	mount_to_text(&d->text, i, &s, ctx);
}

static void print_blob(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_blob b;

	memcpy(&b, row, sizeof(b));
	blob_to_text(&d->text, i, &b, ctx);
}

static void print_mark(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_mark m;

	(void)ctx;
	memcpy(&m, row, sizeof(m));
	mark_to_text(&d->text, i, &m);
}

static void dump_catalog(struct dump *d, uint64_t off, uint64_t len)
{
	const struct section *strings;
	struct text_strings s = { 0 };
	struct meta *m;
	const void *p;

	if (d->only_sub)
		return;
	if (meta_open(d->io, off, len, NULL, &m, &d->err) < 0) {
		damaged(d, "catalog", NULL);
		return;
	}
	segment_head(d, off, meta_segment(m));
	strings = segment_section(meta_segment(m), PLY_S_STRINGS);
	if (strings && meta_get(m, strings, 0, strings->len, &p, &d->err) == 0)
		s = (struct text_strings){ p, strings->len };
	rows(d, m, PLY_S_CATALOG_HEAD, "catalog-head", print_head, &s);
	rows(d, m, PLY_S_SUBS, "sub", print_sub, &s);
	rows(d, m, PLY_S_SEGMENTS, "segment-ref", print_ref, NULL);
	rows(d, m, PLY_S_RELATIONS, "relation", print_relation, &s);
	if (segment_section(meta_segment(m), PLY_S_MOUNTS))
		rows(d, m, PLY_S_MOUNTS, "mount", print_mount, &s);
	if (segment_section(meta_segment(m), PLY_S_BLOBS))
		rows(d, m, PLY_S_BLOBS, "blob", print_blob, &s);
	page_sums(d, off, meta_segment(m));
	meta_close(m);
}

/* --- sub-image ------------------------------------------------------------------------ */

static void print_node(struct dump *d, struct sub *s, uint64_t i)
{
	struct ply_node n;

	if (sub_node(s, i, &n, &d->err) < 0)
		damaged(d, "node", &i);
	else
		node_to_text(&d->text, i, &n);
	flush(d);
}

static void print_entry(struct dump *d, struct sub *s, uint64_t i)
{
	struct ply_entry e;

	if (sub_entry(s, i, &e, &d->err) < 0)
		damaged(d, "entry", &i);
	else
		entry_to_text(&d->text, i, &e);
	flush(d);
}

static void print_extent(struct dump *d, struct sub *s, uint64_t i)
{
	struct ply_extent e;

	if (sub_extent(s, i, &e, &d->err) < 0)
		damaged(d, "extent", &i);
	else
		extent_to_text(&d->text, i, &e);
	flush(d);
}

static void print_block(struct dump *d, struct sub *s, uint64_t i)
{
	uint8_t digest[32];
	struct ply_block b;

	if (sub_block(s, i, &b, &d->err) < 0 || sub_block_digest(s, i, digest, &d->err) < 0)
		damaged(d, "block", &i);
	else
		block_to_text(&d->text, i, &b, digest);
	flush(d);
}

static void print_owner(struct dump *d, struct sub *s, uint64_t i)
{
	struct meta *m = sub_meta(s);
	const struct section *sec = segment_section(meta_segment(m), PLY_S_OWNERS);
	struct ply_owner o;
	const void *p;

	if (meta_get(m, sec, i * sizeof(struct ply_disk_owner), sizeof(struct ply_disk_owner), &p,
		     &d->err) < 0 ||
	    owner_decode(p, sub_limits(s), &o, &d->err) < 0 ||
	    sub_heap(s, o.name_off, o.name_len, &p, &d->err) < 0)
		damaged(d, "owner", &i);
	else
		owner_to_text(&d->text, i, &o, p);
	flush(d);
}

static void print_pair(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_owner_pair p;

	(void)ctx;
	memcpy(&p, row, sizeof(p));
	owner_pair_to_text(&d->text, i, &p);
}

/* A set and its xattrs. */
static void print_set(struct dump *d, struct sub *s, uint64_t i)
{
	const struct section *sec = segment_section(meta_segment(sub_meta(s)), PLY_S_XATTR_SETS);
	struct ply_disk_xattr_set row;
	uint32_t n;
	const void *p;

	if (sub_xattr_count(s, (uint32_t)i, &n, &d->err) < 0 ||
	    meta_get(sub_meta(s), sec, i * sizeof(row), sizeof(row), &p, &d->err) < 0) {
		damaged(d, "xattr-set", &i);
		return;
	}
	memcpy(&row, p, sizeof(row));
	xattr_set_to_text(&d->text, i, &row);
	flush(d);
	if (n > d->xattrs_left) {
		ply_fail(&d->err, -EUCLEAN, PLY_R_XATTR_FIELD, "the set shares xattrs with others");
		damaged(d, "xattr-set", &i);
		return;
	}
	d->xattrs_left -= n;
	for (uint32_t k = 0; k < n; k++) {
		uint64_t at = le64_get(row.first) + k;
		struct sub_xattr x;

		if (sub_xattr(s, (uint32_t)i, k, &x, &d->err) < 0)
			damaged(d, "xattr", &at);
		else
			xattr_to_text(&d->text, at, x.name, x.name_len, x.value, x.value_len, x.condition);
		flush(d);
	}
}

static void print_component(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct sub *s = (struct sub *)ctx;
	struct ply_disk_component c;
	uint64_t name;
	const void *p;

	memcpy(&c, row, sizeof(c));
	name = le64_get(c.name);
	if (sub_heap(s, name & ((1ULL << 56) - 1), name >> 56, &p, &d->err) < 0)
		damaged(d, "component", &i);
	else
		component_to_text(&d->text, i, &c, p, name >> 56);
}

static void print_condition(struct dump *d, struct sub *s, uint64_t i)
{
	struct ply_condition c;

	if (sub_condition(s, (uint32_t)i + 1, 0, &c, &d->err) < 0)
		damaged(d, "condition", &i);
	else
		condition_to_text(&d->text, i, &c);
	flush(d);
}

static void print_shared(struct dump *d, struct sub *s, uint64_t i)
{
	struct ply_shared f;

	if (sub_shared(s, i, &f, &d->err) < 0)
		damaged(d, "shared-file", &i);
	else
		shared_to_text(&d->text, i, &f);
	flush(d);
}

static void print_record(struct dump *d, struct sub *s, uint64_t i)
{
	struct ply_record r;

	if (sub_record(s, i, &r, &d->err) < 0)
		damaged(d, "record", &i);
	else
		record_to_text(&d->text, i, &r);
	flush(d);
}

static void print_override(struct dump *d, struct sub *s, uint64_t i)
{
	struct ply_override o;

	if (sub_override(s, i, &o, &d->err) < 0)
		damaged(d, "override", &i);
	else
		override_to_text(&d->text, i, &o);
	flush(d);
}

static void each(struct dump *d, struct sub *s, const char *section, uint64_t from, uint64_t to,
		 void (*print)(struct dump *d, struct sub *s, uint64_t i))
{
	if (wanted(d, section))
		for (uint64_t i = from; i < to; i++)
			print(d, s, i);
}

static void dump_sub(struct dump *d, uint64_t off, struct sub *s)
{
	const struct sub_limits *lim = sub_limits(s);

	d->xattrs_left = lim->xattrs;
	segment_head(d, off, meta_segment(sub_meta(s)));
	each(d, s, "NODES", 1, lim->nodes, print_node);
	each(d, s, "ENTRIES", 0, lim->entries, print_entry);
	each(d, s, "EXTENTS", 0, lim->extents, print_extent);
	each(d, s, "BLOCKS", 0, lim->blocks, print_block);
	if (segment_section(meta_segment(sub_meta(s)), PLY_S_MARKS))
		rows(d, sub_meta(s), PLY_S_MARKS, "mark", print_mark, NULL);
	each(d, s, "OWNERS", 0, lim->owners, print_owner);
	rows(d, sub_meta(s), PLY_S_OWNER_PAIRS, "owner-pair", print_pair, NULL);
	each(d, s, "XATTR_SETS", 0, lim->xattr_sets, print_set);
	rows(d, sub_meta(s), PLY_S_COMPONENTS, "component", print_component, s);
	each(d, s, "CONDITIONS", 0, lim->conditions, print_condition);
	each(d, s, "SHARED_FILES", 0, lim->shared, print_shared);
	each(d, s, "RECORDS", 0, lim->records, print_record);
	each(d, s, "OVERRIDES", 0, sub_override_count(s), print_override);
	page_sums(d, off, meta_segment(sub_meta(s)));
}

/* A node that is a part of a shared file: its row and its records. */
static void print_shared_node(struct dump *d, struct sub *s, uint64_t index)
{
	struct ply_shared f;
	uint64_t at;

	if (sub_shared_find(s, index, &at, &f, &d->err) < 0) {
		damaged(d, "shared-file", NULL);
		return;
	}
	print_shared(d, s, at);
	for (uint32_t i = 0; i < f.count; i++)
		print_record(d, s, f.first + i);
}

/* What node @index overrides, if anything. */
static void print_override_of(struct dump *d, struct sub *s, uint64_t index)
{
	uint64_t lo = 0, hi = sub_override_count(s);

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct ply_override o;

		if (sub_override(s, mid, &o, &d->err) < 0 || o.node == index) {
			print_override(d, s, mid);
			return;
		}
		if (o.node < index)
			lo = mid + 1;
		else
			hi = mid;
	}
}

/* One node and all that it refers to. */
static int dump_node(struct dump *d, struct sub *s, uint64_t index)
{
	struct ply_extent e;
	struct ply_node n;
	const struct section *pairs = segment_section(meta_segment(sub_meta(s)), PLY_S_OWNER_PAIRS);
	struct ply_disk_owner_pair pair;
	const void *p;

	if (!index || index >= sub_limits(s)->nodes) {
		cli_note("there is no node %llu; they are 1 to %llu", (unsigned long long)index,
			 (unsigned long long)sub_limits(s)->nodes - 1);
		return EXIT_FAILED;
	}
	print_node(d, s, index);
	if (sub_node(s, index, &n, &d->err) < 0)
		return EXIT_DAMAGE;
	if (index != PLY_ROOT_INDEX)
		print_entry(d, s, n.entry);
	if (meta_get(sub_meta(s), pairs, n.owner * sizeof(pair), sizeof(pair), &p, &d->err) == 0) {
		print_pair(d, n.owner, p, NULL);
		flush(d);
		memcpy(&pair, p, sizeof(pair));
		for (int i = 0; i < 2; i++) {
			uint64_t row = le32_get(i ? pair.group : pair.user);

			if (row < sub_limits(s)->owners)
				print_owner(d, s, row);
		}
	} else {
		damaged(d, "owner-pair", &(uint64_t){ n.owner });
	}
	d->xattrs_left = sub_limits(s)->xattrs;
	if (n.xattrs)
		print_set(d, s, n.xattrs);
	if (S_ISDIR(n.mode))
		for (uint64_t i = 0; i < n.size; i++)
			print_entry(d, s, n.data + i);
	if (n.flags & PLY_NODE_SHARED)
		print_shared_node(d, s, index);
	print_override_of(d, s, index);
	for (uint32_t i = 0; i < sub_extent_count(&n); i++) {
		uint64_t last;

		if (n.kind == PLY_C_EXTENTS)
			print_extent(d, s, n.data + i);
		if (sub_node_extent(s, &n, i, &e, &d->err) < 0)
			continue;
		last = (e.addr + e.len - 1) >> PLY_BLOCK_BITS;
		for (uint64_t b = e.addr >> PLY_BLOCK_BITS; b <= last; b++)
			print_block(d, s, b);
	}
	return EXIT_DONE;
}

/* --- join table ------------------------------------------------------------------------- */

static void print_join_row(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_join_row r;

	(void)ctx;
	memcpy(&r, row, sizeof(r));
	join_row_to_text(&d->text, i, &r);
}

static void print_join_member(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_join_member m;

	(void)ctx;
	memcpy(&m, row, sizeof(m));
	join_member_to_text(&d->text, i, &m);
}

static void print_join_index(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_join_index x;

	(void)ctx;
	memcpy(&x, row, sizeof(x));
	join_index_to_text(&d->text, i, &x);
}

static void print_collision(struct dump *d, uint64_t i, const void *row, const void *ctx)
{
	struct ply_disk_collision c;

	(void)ctx;
	memcpy(&c, row, sizeof(c));
	collision_to_text(&d->text, i, &c);
}

static void dump_join(struct dump *d, const struct catalog_segment *s)
{
	struct meta *m;

	if (d->only_sub)
		return;
	if (meta_open(d->io, s->off, s->len, s->digest, &m, &d->err) < 0) {
		damaged(d, "join-table", NULL);
		if (meta_open(d->io, s->off, s->len, NULL, &m, &d->err) < 0)
			return;
	}
	segment_head(d, s->off, meta_segment(m));
	rows(d, m, PLY_S_JOIN_ROWS, "join-row", print_join_row, NULL);
	rows(d, m, PLY_S_JOIN_MEMBERS, "join-member", print_join_member, NULL);
	rows(d, m, PLY_S_JOIN_INDEX, "join-index", print_join_index, NULL);
	if (segment_section(meta_segment(m), PLY_S_COLLISIONS))
		rows(d, m, PLY_S_COLLISIONS, "collision", print_collision, NULL);
	page_sums(d, s->off, meta_segment(m));
	meta_close(m);
}

/* --- records ---------------------------------------------------------------------------- */

struct record_list {
	struct dump *d;
	struct ply_view *all;
	bool some;                 /* of a selection only: */
	uint32_t *selected;        /* their ordinals, which ascend */
	size_t n, cap, at;         /* @at: of the first that has not been listed */
};

static int select_record(void *ctx, const struct merge_driver *driver, const struct view_record *r,
			 struct ply_err *err)
{
	struct record_list *l = ctx;

	(void)driver;
	if (array_grow(&l->selected, &l->cap, l->n + 1, sizeof(*l->selected)) < 0)
		return ply_fail_nomem(err);
	l->selected[l->n++] = r->ordinal;
	return 0;
}

/* Asked of ordinals that ascend. */
static bool is_selected(struct record_list *l, uint32_t ordinal)
{
	if (!l->some)
		return true;
	while (l->at < l->n && l->selected[l->at] < ordinal)
		l->at++;
	return l->at < l->n && l->selected[l->at] == ordinal;
}

static int list_record(void *ctx, const struct merge_driver *driver, const struct view_record *r,
			struct ply_err *err)
{
	_cleanup_buf_ struct buf words = { 0 }, what = { 0 };
	const struct piece piece = { r->data, r->len, r->flags };
	struct record_list *l = ctx;
	struct text *t = &l->d->text;
	int e;

	if (!is_selected(l, r->ordinal))
		return 0;
	e = view_record_words(l->all, r, &words, err);
	if (e == 0 && merge_describe(driver, &piece, &what) < 0)
		e = ply_fail_nomem(err);
	if (e < 0)
		return e;
	text_begin(t, "record", &(uint64_t){ r->ordinal });
	text_name(t, "of", (const char *)words.data, words.len);
	text_name(t, "what", (const char *)what.data, what.len);
	text_u64(t, "length_bytes", r->len);
	text_u64(t, "flags", r->flags);
	text_word(t, "driver", driver->name);
	text_end(t);
	flush(l->d);
	return 0;
}

static int find_shared(struct ply_view *view, const char *path, uint64_t *ret, struct ply_err *err)
{
	struct view_file f;
	int r = show_resolve(view, path, true, ret, err);

	if (r == 0)
		r = view_file(view, *ret, &f, err);
	if (r == 0 && (!(f.node.flags & PLY_NODE_SHARED) || f.merged))
		r = ply_fail(err, -EINVAL, PLY_R_NOT_SHARED,
			     "%s: is not cut into records: it is the same in each selection that has it", path);
	return r;
}

static int dump_records(struct dump *d, const char *image, const char *path, const struct cli_list *select)
{
	static const struct cli_list everything = { 0 };
	struct opened all _cleanup_opened_ = { 0 };
	struct choice look = { .look = true };     /* records are there whatever is decided */
	struct record_list l = { .d = d, .some = select->n };
	uint64_t ino;
	int r = open_view(image, &everything, &look, &all, &d->err);

	l.all = all.view;
	if (r == 0 && l.some) {
		const struct ply_view_options o = { .names = select->v, .n = select->n, .undecided_first = true };
		struct ply_view *view;

		r = ply_view_open_with(all.image, &o, &view, &d->err);
		if (r == 0) {
			r = find_shared(view, path, &ino, &d->err);
			if (r == 0)
				r = view_records(view, ino, select_record, &l, &d->err);
			ply_view_close(view);
		}
	}
	if (r == 0)
		r = find_shared(all.view, path, &ino, &d->err);
	if (r == 0 && cli_json)
		printf("{\"schema\": 1, \"structures\": [");
	if (r == 0)
		r = view_all_records(all.view, ino, list_record, &l, &d->err);
	free(l.selected);
	if (r < 0)
		return cli_fail(&d->err);
	if (cli_json)
		printf("%s], \"damaged\": false}\n", d->any ? "\n" : "");
	if (d->text.failed)
		return cli_note("out of memory"), EXIT_FAILED;
	return EXIT_DONE;
}

/* --- the verb --------------------------------------------------------------------------- */

/* The generation that was asked for (0: the newest), with what can be said on the way. NULL: there
 * is none, or its catalog is damaged; d->err says which. */
static struct catalog *find_catalog(struct dump *d, uint64_t generation)
{
	struct super s[PLY_SUPER_SLOTS];
	bool valid[PLY_SUPER_SLOTS];
	struct catalog *c, *up;
	int best = -1;

	supers(d, s, valid);
	for (int i = 0; i < (int)PLY_SUPER_SLOTS; i++)
		if (valid[i] && (best < 0 || s[i].generation > s[best].generation))
			best = i;
	if (best < 0)
		return NULL;
	if (catalog_open(d->io, s[best].catalog_off, s[best].catalog_len, s[best].catalog_digest, &c,
			 &d->err) < 0) {
		damaged(d, "catalog", NULL);
		dump_catalog(d, s[best].catalog_off, s[best].catalog_len);
		return NULL;
	}
	while (generation && c->generation.generation > generation && c->generation.parent) {
		int r = catalog_open(d->io, c->parent_off, c->parent_len, c->parent_digest, &up, &d->err);

		catalog_close(c);
		if (r < 0) {
			damaged(d, "catalog", NULL);
			return NULL;
		}
		c = up;
	}
	if (generation && c->generation.generation != generation) {
		ply_fail(&d->err, -ENOENT, PLY_R_GENERATION_UNKNOWN,
			 "there is no generation %llu; the newest is %llu",
			 (unsigned long long)generation, (unsigned long long)s[best].generation);
		return catalog_close(c);
	}
	dump_catalog(d, c->generation.catalog_off, c->generation.catalog_len);
	return c;
}

/* @node: not NULL: only that. */
static int dump_subs(struct dump *d, struct catalog *c, const uint64_t *node)
{
	int code = EXIT_DONE;

	for (uint32_t i = 0; i < c->nsubs; i++) {
		const struct ply_sub_info *info = &c->subs[i].info;
		const struct catalog_segment *seg = &c->segments[c->subs[i].seg_first];
		struct sub *s;

		if (d->only_sub && strcmp(d->only_sub, info->name) != 0)
			continue;
		d->known_sub = true;
		if (sub_open(d->io, seg->off, seg->len, seg->digest, info->number, &s, &d->err) < 0) {
			uint64_t number = info->number;

			damaged(d, "sub-image", &number);
			if (sub_open(d->io, seg->off, seg->len, NULL, info->number, &s, &d->err) < 0)
				continue;
		}
		text_begin(&d->text, "sub-image", &(uint64_t){ info->number });
		text_name(&d->text, "name", info->name, strlen(info->name));
		text_end(&d->text);
		flush(d);
		if (node)
			code = dump_node(d, s, *node);
		else
			dump_sub(d, seg->off, s);
		sub_close(s);
	}
	return code;
}

static int check_sections(const struct cli_list *names)
{
	static const char *const known[] = {
		SUPER, SEGMENT, "NODES", "ENTRIES", "EXTENTS", "BLOCKS", "OWNERS", "OWNER_PAIRS",
		"XATTR_SETS", "COMPONENTS", "CONDITIONS", "SHARED_FILES", "RECORDS", "OVERRIDES", "PAGE_SUMS", "CATALOG_HEAD",
		"SUBS", "SEGMENTS", "RELATIONS", "MOUNTS", "BLOBS", "MARKS", "JOIN_ROWS", "JOIN_MEMBERS", "JOIN_INDEX",
		"COLLISIONS",
	};

	for (size_t i = 0; i < names->n; i++) {
		size_t k = 0;

		while (k < ARRAY_SIZE(known) && strcasecmp(names->v[i], known[k]))
			k++;
		if (k < ARRAY_SIZE(known))
			continue;
		fprintf(stderr, "plyfs dump: nothing is called %s; there are", names->v[i]);
		for (k = 0; k < ARRAY_SIZE(known); k++)
			fprintf(stderr, "%s %s", k ? "," : "", known[k]);
		putc('\n', stderr);
		return EXIT_USAGE;
	}
	return -1;
}

int cmd_dump(int argc, char **argv)
{
	struct cli_list sections _cleanup_list_ = { 0 }, select _cleanup_list_ = { 0 };
	const char *node_text = NULL, *records = NULL;
	const struct cli_opt opts[] = {
		{ "section", 0, "NAMES", "only these, with commas: NODES, ENTRIES, ... (see plyfs-dump(1))",
		  CLI_NAMES, &sections },
		{ "node", 0, "INDEX", "one node of SUB (default: os) and all that it refers to", CLI_TEXT,
		  &node_text },
		{ "records", 0, "PATH", "the records of the shared file PATH, and whose they are", CLI_TEXT, &records },
		{ "select", 's', "NAMES", "with --records: only those of the selection of these sub-images",
		  CLI_NAMES, &select },
		CLI_JSON, CLI_END
	};
	const struct cli_spec spec = { "dump", "IMAGE [SUB] | REDO",
				       "Print the structures of an image, of one sub-image, or of a log.", opts, 1, 2 };
	struct dump d = { .sections = &sections };
	uint64_t generation, node = 0;
	struct catalog *c;
	struct cli_args args;
	int code = cli_parse(&spec, argc, argv, &args);
	char *end;

	if (code < 0)
		code = check_sections(&sections);
	if (code >= 0)
		return code;
	if (node_text) {
		errno = 0;
		node = strtoull(node_text, &end, 10);
		if (errno || *node_text < '0' || *node_text > '9' || *end)
			return cli_usage("--node takes a number, not '%s'", node_text);
	}
	if (select.n && !records)
		return cli_usage("--select is for --records");
	if (records && (node_text || sections.n || args.n > 1))
		return cli_usage("--records lists the records of one file: without SUB, --node and --section");
	if (redo_is_log(args.v[0])) {
		if (records || node_text || sections.n || args.n > 1)
			return cli_usage("%s is a log: SUB, --section, --node and --records are for images", args.v[0]);
		return dump_redo(args.v[0]);
	}
	d.text = (struct text){ .out = &d.buf, .json = cli_json };
	if (records) {
		code = dump_records(&d, args.v[0], records, &select);
		buf_done(&d.buf);
		return code;
	}
	d.only_sub = args.n > 1 ? args.v[1] : node_text ? "os" : NULL;
	if (image_io_open(args.v[0], &d.io, &generation, &d.err) < 0)
		return cli_fail(&d.err);
	if (cli_json)
		printf("{\"schema\": 1, \"structures\": [");
	code = EXIT_DONE;
	c = find_catalog(&d, generation);
	if (c) {
		code = dump_subs(&d, c, node_text ? &node : NULL);
		if (c->join_count)
			dump_join(&d, &c->segments[c->join_first]);
		if (d.only_sub && !d.known_sub) {
			fprintf(stderr, "plyfs dump: there is no sub-image %s; the image holds", d.only_sub);
			for (uint32_t i = 0; i < c->nsubs; i++)
				fprintf(stderr, "%s %s", i ? "," : "", c->subs[i].info.name);
			putc('\n', stderr);
			code = EXIT_FAILED;
		}
	} else if (d.err.reason == PLY_R_GENERATION_UNKNOWN) {
		cli_note("%s: %s", args.v[0], d.err.msg);
		code = EXIT_FAILED;
	}
	if (cli_json)
		printf("%s], \"damaged\": %s}\n", d.any ? "\n" : "", d.damaged ? "true" : "false");
	if (d.text.failed) {
		cli_note("out of memory");
		code = EXIT_FAILED;
	} else if (d.damaged) {
		cli_note("the image is damaged; plyfs verify tells more");
		code = EXIT_DAMAGE;
	}
	catalog_close(c);
	io_close(d.io);
	buf_done(&d.buf);
	return code;
}
