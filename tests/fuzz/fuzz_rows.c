/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: one row of each kind against limits of any size, and its text. What is accepted must
 * lie within the limits, and is written back the same. First byte: the kind; 15 bytes: bits
 * of each limit; then the row.
 */
#include <sys/stat.h>

#include "format/text.h"
#include "fuzz.h"

static struct text text;
static struct ply_err err;         /* messages are part of what is tested */


static void row(struct input *in, void *to, size_t size)
{
	struct input piece = input_bytes(in, size);

	memset(to, 0, size);
	if (piece.left)
		memcpy(to, piece.at, piece.left);
}

static void same(const void *a, const void *b, size_t size)
{
	if (memcmp(a, b, size) != 0)
		abort();
}

static void need(int fact)
{
	if (!fact)
		abort();
}

static void see_node(struct input *in, const struct sub_limits *lim)
{
	uint64_t index = input_number(in, 6);
	struct ply_disk_node d, again;
	struct ply_node n;

	row(in, &d, sizeof(d));
	if (node_decode(&d, index, lim, &n, &err) < 0)
		return;
	node_encode(&n, &again);
	same(&d, &again, sizeof(d));
	need(n.mtime_nsec < 1000000000 && n.owner < lim->owner_pairs && n.xattrs < lim->xattr_sets);
	if (n.kind == PLY_C_EXTENTS)
		need(n.data <= lim->extents && n.ndata <= lim->extents - n.data);
	if (n.kind == PLY_C_INLINE)
		need(n.data <= lim->heap && n.size <= lim->heap - n.data);
	if (S_ISDIR(n.mode))
		need(n.data <= lim->entries && n.size <= lim->entries - n.data);
	node_to_text(&text, index, &n);
}

static void see_entry(struct input *in, const struct sub_limits *lim)
{
	struct ply_disk_entry d, again;
	struct ply_entry e = { 0 };

	row(in, &d, sizeof(d));
	if (entry_decode(&d, lim, &e, &err) < 0)
		return;
	entry_encode(&e, &again);
	same(&d, &again, sizeof(d));
	need(e.name_off <= lim->names && e.name_len <= lim->names - e.name_off && e.condition <= lim->conditions);
	need((e.ref > PLY_ROOT_INDEX && e.ref < lim->nodes) || (!e.ref && e.type == PLY_T_WHITEOUT && !e.condition));
}

static void see_extent(struct input *in, const struct sub_limits *lim)
{
	struct ply_disk_extent d, again;
	struct ply_extent e;

	row(in, &d, sizeof(d));
	if (extent_decode(&d, lim, &e, &err) < 0)
		return;
	extent_encode(&e, &again);
	same(&d, &again, sizeof(d));
	need(e.len && e.len <= PLY_SIZE_MAX && e.off <= PLY_SIZE_MAX - e.len);
	need(e.addr >> PLY_BLOCK_BITS < lim->blocks);
	extent_to_text(&text, 0, &e);
}

static void see_block(struct input *in, const struct sub_limits *lim)
{
	static const uint8_t digest[32];
	struct ply_disk_block d, again;
	struct ply_block b;

	row(in, &d, sizeof(d));
	if (block_decode(&d, lim, &b, &err) < 0)
		return;
	block_encode(&b, &again);
	same(&d, &again, sizeof(d));
	need(b.off <= lim->data && b.stored <= lim->data - b.off && b.size && b.size <= PLY_BLOCK_SIZE);
	block_to_text(&text, 0, &b, digest);
}

static void see_owner(struct input *in, const struct sub_limits *lim)
{
	struct ply_disk_owner d;
	struct ply_owner o;

	row(in, &d, sizeof(d));
	if (owner_decode(&d, lim, &o, &err) < 0)
		return;
	need(o.name_off <= lim->heap && o.name_len <= lim->heap - o.name_off && o.condition <= lim->conditions);
}

static void see_condition(struct input *in, const struct sub_limits *lim)
{
	struct ply_disk_condition d;
	struct ply_condition c;

	row(in, &d, sizeof(d));
	if (condition_decode(&d, lim, &c, &err) < 0)
		return;
	need(c.component && c.component < lim->components && (c.ends_clause || !c.ends));
	condition_to_text(&text, 0, &c);
}

static void see_shared(struct input *in, const struct sub_limits *lim)
{
	struct ply_disk_shared d, again;
	struct ply_shared s;

	row(in, &d, sizeof(d));
	if (shared_decode(&d, lim, &s, &err) < 0)
		return;
	shared_encode(&s, &again);
	same(&d, &again, sizeof(d));
	need(s.node > PLY_ROOT_INDEX && s.node < lim->nodes && s.first <= lim->records &&
	     s.count <= lim->records - s.first);
	shared_to_text(&text, 0, &s);
}

static void see_record(struct input *in, const struct sub_limits *lim)
{
	struct ply_disk_record d;
	struct ply_record r;

	row(in, &d, sizeof(d));
	if (record_decode(&d, lim, &r, &err) < 0)
		return;
	need(r.condition <= lim->conditions);
	record_to_text(&text, 0, &r);
}

static void see_override(struct input *in, const struct sub_limits *lim)
{
	struct ply_disk_override d, again;
	struct ply_override o;

	row(in, &d, sizeof(d));
	if (override_decode(&d, lim, &o, &err) < 0)
		return;
	override_encode(&o, &again);
	same(&d, &again, sizeof(d));
	need(o.node && o.node < lim->nodes && o.mask && o.mask <= PLY_OVER_ALL);
	override_to_text(&text, 0, &o);
}

static void see_collision(struct input *in)
{
	struct ply_disk_collision d, again;
	struct ply_collision c;

	row(in, &d, sizeof(d));
	collision_to_text(&text, 0, &d);
	if (collision_decode(&d, &c, &err) < 0)
		return;
	collision_encode(&c, &again);
	same(&d, &again, sizeof(d));
	need(PLY_INO_NUMBER(c.a) < PLY_INO_NUMBER(c.b) && PLY_INO_NUMBER(c.b) <= PLY_NUMBER_MAX &&
	     PLY_INO_INDEX(c.a) && PLY_INO_INDEX(c.b) && c.cls && c.cls <= PLY_PAIR_CONFLICT && c.why <= PLY_PAIR_WHY_MAX &&
	     collision_compare(&c, &c) == 0);
}

static void see_name(struct input *in, int internal)
{
	char *name = input_text(in, -1);
	size_t len = strlen(name);

	if (name_check(name, len, &err) == 0)
		need(len && len <= 255 && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, ".."));
	if (sub_name_ok(name, len, internal))
		need(len && len <= PLY_SUB_NAME_MAX && !strchr(name, '/') && name[0] != '.');
	text_name(&text, "name", name, len);
	free(name);
}

/* Rows that are shown as they are. */
static void see_texts(struct input *in)
{
	char *strings = input_text(in, 0);
	const struct text_strings s = { strings, strlen(strings) };
	struct ply_disk_catalog_head head;
	struct ply_disk_sub sub;
	struct ply_disk_segment_ref ref;
	struct ply_disk_relation relation;
	struct ply_disk_mount mount;
	struct ply_disk_blob blob;
	struct ply_disk_mark mark;
	struct ply_disk_join_row join;
	struct ply_disk_join_member member;
	struct ply_disk_join_index index;
	struct ply_disk_xattr_set set;
	struct ply_disk_owner_pair pair;

#define SHOW(var, call) do { row(in, &(var), sizeof(var)); call; } while (0)
	SHOW(head, catalog_head_to_text(&text, &head, &s));
	SHOW(sub, catalog_sub_to_text(&text, 0, &sub, &s));
	SHOW(ref, segment_ref_to_text(&text, 0, &ref));
	SHOW(relation, relation_to_text(&text, 0, &relation, &s));
	SHOW(mount, mount_to_text(&text, 0, &mount, &s));
	SHOW(blob, blob_to_text(&text, 0, &blob, &s));
	SHOW(mark, mark_to_text(&text, 0, &mark));
	SHOW(join, join_row_to_text(&text, 0, &join));
	SHOW(member, join_member_to_text(&text, 0, &member));
	SHOW(index, join_index_to_text(&text, 0, &index));
	SHOW(set, xattr_set_to_text(&text, 0, &set));
	SHOW(pair, owner_pair_to_text(&text, 0, &pair));
#undef SHOW
	free(strings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned kind = (unsigned)input_number(&in, 1);
	struct sub_limits lim;
	uint64_t *l[] = { &lim.nodes, &lim.entries, &lim.names, &lim.heap, &lim.extents, &lim.xattr_sets,
			  &lim.xattrs, &lim.owners, &lim.owner_pairs, &lim.blocks, &lim.data, &lim.components, &lim.conditions,
			  &lim.shared, &lim.records };
	struct buf out = { 0 };

	for (size_t i = 0; i < sizeof(l) / sizeof(l[0]); i++) {
		unsigned bits = (unsigned)input_number(&in, 1);

		*l[i] = (1ULL << (bits & 63)) - (bits >> 6 & 1);
	}
	text = (struct text){ .out = &out, .json = kind & 0x80 };
	switch ((kind & 0x3f) % 12) {
	case 0: see_node(&in, &lim); break;
	case 1: see_entry(&in, &lim); break;
	case 2: see_extent(&in, &lim); break;
	case 3: see_block(&in, &lim); break;
	case 4: see_owner(&in, &lim); break;
	case 5: see_name(&in, kind & 0x40); break;
	case 6: see_texts(&in); break;
	case 7: see_condition(&in, &lim); break;
	case 8: see_shared(&in, &lim); break;
	case 9: see_record(&in, &lim); break;
	case 10: see_override(&in, &lim); break;
	case 11: see_collision(&in); break;
	}
	buf_done(&out);
	return 0;
}
