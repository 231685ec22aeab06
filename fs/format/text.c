/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Structures as text and JSON: see text.h. The disk structs that have no decoded form of
 * their own (join table, catalog) are printed from the bytes, unchecked: dump is for looking
 * at what is there.
 */
#include "format/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/util.h"

#define PUT(...) \
	do { \
		if (buf_printf(t->out, __VA_ARGS__) < 0) \
			t->failed = true; \
	} while (0)

void text_begin(struct text *t, const char *what, const uint64_t *index)
{
	if (t->json)
		PUT("{\"what\": \"%s\"", what);
	else
		PUT("%s", what);
	if (index && t->json)
		PUT(", \"index\": %" PRIu64, *index);
	else if (index)
		PUT(" %" PRIu64, *index);
	if (!t->json)
		PUT(":");
}

void text_end(struct text *t)
{
	PUT("%s", t->json ? "}" : "\n");
}

static void key(struct text *t, const char *name)
{
	if (t->json)
		PUT(", \"%s\": ", name);
	else
		PUT(" %s=", name);
}

void text_u64(struct text *t, const char *name, uint64_t value)
{
	key(t, name);
	PUT("%" PRIu64, value);
}

void text_i64(struct text *t, const char *name, int64_t value)
{
	key(t, name);
	PUT("%" PRId64, value);
}

void text_word(struct text *t, const char *name, const char *word)
{
	key(t, name);
	PUT(t->json ? "\"%s\"" : "%s", word);
}

void text_hex(struct text *t, const char *name, const void *bytes, size_t n)
{
	char *hex = malloc(2 * n + 1);

	if (!hex) {
		t->failed = true;
		return;
	}
	hex_encode(bytes, n, hex);
	text_word(t, name, hex);
	free(hex);
}

void text_name(struct text *t, const char *name, const char *bytes, size_t len)
{
	char *shown = escape_name(bytes, len);

	key(t, name);
	PUT("\"");
	if (!shown)
		t->failed = true;
	for (const char *p = shown; p && *p; p++) {
		/* escape_name() leaves no control characters; JSON and the quotes need these two */
		if (*p == '"' || (*p == '\\' && t->json))
			PUT("\\");
		if (buf_add(t->out, p, 1) < 0)
			t->failed = true;
	}
	PUT("\"");
	free(shown);
}

/* Two numbers that make one. */
static void pair(struct text *t, const char *name, uint64_t a, uint64_t b)
{
	char word[48];

	snprintf(word, sizeof(word), "%" PRIu64 ":%" PRIu64, a, b);
	text_word(t, name, word);
}

void text_ref(struct text *t, const char *name, uint64_t ref)
{
	pair(t, name, ref >> PLY_INDEX_BITS, PLY_INO_INDEX(ref));
}

static void address(struct text *t, const char *name, uint64_t addr)
{
	pair(t, name, addr >> PLY_BLOCK_BITS, addr & (PLY_BLOCK_SIZE - 1));
}

static void hex64(struct text *t, const char *name, uint64_t value)
{
	char word[24];

	snprintf(word, sizeof(word), "%016" PRIx64, value);
	text_word(t, name, word);
}

static void uuid(struct text *t, const uint8_t u[16])
{
	char word[37];

	uuid_format(u, word);
	text_word(t, "uuid", word);
}

/* --- container ----------------------------------------------------------------- */

void super_to_text(struct text *t, uint32_t slot, const struct super *s)
{
	uint64_t i = slot;

	text_begin(t, "superblock", &i);
	uuid(t, s->uuid);
	text_u64(t, "generation", s->generation);
	hex64(t, "compat", s->compat);
	hex64(t, "ro_compat", s->ro_compat);
	hex64(t, "incompat", s->incompat);
	text_u64(t, "catalog_off", s->catalog_off);
	text_u64(t, "catalog_bytes", s->catalog_len);
	text_u64(t, "committed_end_bytes", s->committed_end);
	text_hex(t, "catalog_digest", s->catalog_digest, 32);
	text_end(t);
}

void segment_to_text(struct text *t, uint64_t off, const struct segment *s)
{
	const char *kind = segment_kind_name(s->kind);

	text_begin(t, "segment", NULL);
	text_word(t, "kind", kind ? kind : "unknown");
	text_u64(t, "off", off);
	text_u64(t, "length_bytes", s->length);
	uuid(t, s->uuid);
	text_u64(t, "meta_off", s->meta_off);
	text_u64(t, "meta_bytes", s->meta_len);
	text_u64(t, "block_bits", s->block_bits);
	text_u64(t, "sections", s->nsections);
	text_end(t);
}

void section_to_text(struct text *t, uint64_t i, const struct section *s)
{
	const char *name = section_name(s->type);

	text_begin(t, "section", &i);
	text_word(t, "name", name ? name : "unknown");
	text_u64(t, "type", s->type);
	text_u64(t, "flags", s->flags);
	text_u64(t, "off", s->off);
	text_u64(t, "length_bytes", s->len);
	text_u64(t, "count", s->count);
	text_hex(t, "digest", s->digest, 32);
	text_end(t);
}

/* --- sub-image -------------------------------------------------------------------- */

static const char *content_name(uint8_t kind)
{
	static const char *const names[] = { "none", "inline", "run", "extents", "records", "overlay" };

	return kind < ARRAY_SIZE(names) ? names[kind] : "unknown";
}

void node_to_text(struct text *t, uint64_t index, const struct ply_node *n)
{
	char mode[8];

	snprintf(mode, sizeof(mode), "%06o", n->mode);
	text_begin(t, "node", &index);
	text_word(t, "mode", mode);
	text_word(t, "kind", content_name(n->kind));
	text_u64(t, "flags", n->flags);
	text_u64(t, "owner", n->owner);
	if (S_ISCHR(n->mode) || S_ISBLK(n->mode))
		pair(t, "device", n->size >> 32, (uint32_t)n->size);
	else
		text_u64(t, S_ISDIR(n->mode) ? "entries" : "size_bytes", n->size);
	text_i64(t, "mtime_s", n->mtime_sec);
	text_u64(t, "mtime_ns", n->mtime_nsec);
	text_u64(t, "nlink", n->nlink);
	text_ref(t, "parent", n->parent);
	text_u64(t, "entry", n->entry);
	if (n->kind == PLY_C_RUN)
		address(t, "data", n->data);
	else
		text_u64(t, "data", n->data);
	text_u64(t, "ndata", n->ndata);
	text_u64(t, "xattrs", n->xattrs);
	text_end(t);
}

void entry_to_text(struct text *t, uint64_t i, const struct ply_entry *e)
{
	text_begin(t, "entry", &i);
	text_ref(t, "ref", e->ref);
	text_u64(t, "type", e->type);
	text_u64(t, "condition", e->condition);
	text_u64(t, "name_off", e->name_off);
	text_name(t, "name", e->name, e->name_len);
	text_end(t);
}

void extent_to_text(struct text *t, uint64_t i, const struct ply_extent *e)
{
	text_begin(t, "extent", &i);
	text_u64(t, "off", e->off);
	text_u64(t, "length_bytes", e->len);
	address(t, "data", e->addr);
	text_end(t);
}

void block_to_text(struct text *t, uint64_t i, const struct ply_block *b, const uint8_t digest[32])
{
	text_begin(t, "block", &i);
	text_u64(t, "off", b->off);
	text_word(t, "codec", b->raw ? "raw" : "zstd");
	text_u64(t, "stored_bytes", b->stored);
	text_u64(t, "size_bytes", b->size);
	hex64(t, "xxh3", b->xxh3);
	text_hex(t, "digest", digest, 32);
	text_end(t);
}

void owner_to_text(struct text *t, uint64_t i, const struct ply_owner *o, const char *name)
{
	text_begin(t, "owner", &i);
	text_word(t, "kind", o->kind == PLY_OWNER_USER ? "user" : "group");
	text_u64(t, "id", o->id);
	text_u64(t, "component", o->component);
	text_u64(t, "condition", o->condition);
	text_name(t, "name", name, o->name_len);
	text_end(t);
}

void owner_pair_to_text(struct text *t, uint64_t i, const struct ply_disk_owner_pair *p)
{
	text_begin(t, "owner-pair", &i);
	text_u64(t, "user", le32_get(p->user));
	text_u64(t, "group", le32_get(p->group));
	text_end(t);
}

void xattr_set_to_text(struct text *t, uint64_t i, const struct ply_disk_xattr_set *s)
{
	text_begin(t, "xattr-set", &i);
	text_u64(t, "first", le64_get(s->first));
	text_u64(t, "count", le32_get(s->count));
	text_end(t);
}

void xattr_to_text(struct text *t, uint64_t i, const char *name, size_t name_len, const void *value,
		   size_t value_len, uint32_t condition)
{
	text_begin(t, "xattr", &i);
	text_u64(t, "condition", condition);
	text_name(t, "name", name, name_len);
	text_u64(t, "value_bytes", value_len);
	text_hex(t, "value", value, MIN(value_len, TEXT_CUT));
	text_end(t);
}

/* Row @i; a condition that begins there is number @i + 1. */
void condition_to_text(struct text *t, uint64_t i, const struct ply_condition *c)
{
	text_begin(t, "condition", &i);
	text_u64(t, "component", c->component);
	text_word(t, "clause", c->none ? "none" : "any");
	text_word(t, "ends", c->ends ? "condition" : c->ends_clause ? "clause" : "nothing");
	text_end(t);
}

void shared_to_text(struct text *t, uint64_t i, const struct ply_shared *s)
{
	text_begin(t, "shared-file", &i);
	text_u64(t, "node", s->node);
	text_u64(t, "driver", s->driver);
	text_u64(t, "version", s->version);
	text_word(t, "form", s->whole ? "whole" : "records");
	text_u64(t, "first", s->first);
	text_u64(t, "count", s->count);
	text_hex(t, "digest", s->digest, 32);
	text_end(t);
}

void record_to_text(struct text *t, uint64_t i, const struct ply_record *r)
{
	text_begin(t, "record", &i);
	text_u64(t, "ordinal", r->ordinal);
	text_u64(t, "condition", r->condition);
	text_u64(t, "length_bytes", r->len);
	text_u64(t, "flags", r->flags);
	text_end(t);
}

void override_to_text(struct text *t, uint64_t i, const struct ply_override *o)
{
	text_begin(t, "override", &i);
	text_u64(t, "node", o->node);
	text_u64(t, "mask", o->mask);
	text_hex(t, "digest", o->digest, 32);
	text_end(t);
}

void component_to_text(struct text *t, uint64_t i, const struct ply_disk_component *c,
		       const char *name, size_t len)
{
	text_begin(t, "component", &i);
	uuid(t, c->uuid);
	text_name(t, "name", name, len);
	text_end(t);
}

/* --- join table --------------------------------------------------------------------- */

void join_row_to_text(struct text *t, uint64_t i, const struct ply_disk_join_row *r)
{
	static const char *const kinds[] = { "unknown", "directory", "links", "file" };

	text_begin(t, "join-row", &i);
	text_word(t, "kind", kinds[r->kind < ARRAY_SIZE(kinds) ? r->kind : 0]);
	text_u64(t, "first_member", le64_get(r->first_member));
	text_u64(t, "members", le32_get(r->nmembers));
	text_u64(t, "first_child", le64_get(r->first_child));
	text_u64(t, "children", le64_get(r->nchildren));
	text_end(t);
}

void join_member_to_text(struct text *t, uint64_t i, const struct ply_disk_join_member *m)
{
	text_begin(t, "join-member", &i);
	text_ref(t, "ref", le64_get(m->ref));
	text_hex(t, "digest", m->digest, 32);
	text_end(t);
}

void join_index_to_text(struct text *t, uint64_t i, const struct ply_disk_join_index *x)
{
	text_begin(t, "join-index", &i);
	text_ref(t, "ref", le64_get(x->ref));
	text_u64(t, "row", le64_get(x->row));
	text_end(t);
}

void collision_to_text(struct text *t, uint64_t i, const struct ply_disk_collision *d)
{
	static const char *const classes[] = { "unknown", "times", "directory", "driver", "three-way", "append",
					       "conflict" };
#define X(name, number) [number] = #name,
	static const char *const whys[] = { PLY_PAIR_WHYS(X) };
#undef X

	text_begin(t, "collision", &i);
	text_ref(t, "a", le64_get(d->a));
	text_ref(t, "b", le64_get(d->b));
	text_word(t, "class", classes[d->cls < ARRAY_SIZE(classes) ? d->cls : 0]);
	text_word(t, "why", d->why < ARRAY_SIZE(whys) ? whys[d->why] : "unknown");
	text_u64(t, "flags", le16_get(d->flags));
	text_end(t);
}

/* --- catalog --------------------------------------------------------------------------- */

static void string(struct text *t, const char *name, struct ply_disk_string d,
		   const struct text_strings *s)
{
	uint32_t off = le32_get(d.off), len = le32_get(d.len);
	char bytes[64];

	if (off > s->len || len > s->len - off) {
		text_word(t, name, "DAMAGED");
		return;
	}
	text_name(t, name, len ? s->bytes + off : "", MIN(len, TEXT_CUT));
	if (len > TEXT_CUT) {
		snprintf(bytes, sizeof(bytes), "%s_bytes", name);
		text_u64(t, bytes, len);
	}
}

void catalog_head_to_text(struct text *t, const struct ply_disk_catalog_head *h,
			  const struct text_strings *s)
{
	text_begin(t, "catalog-head", NULL);
	uuid(t, h->uuid);
	text_u64(t, "generation", le64_get(h->generation));
	text_u64(t, "parent_generation", le64_get(h->parent_generation));
	text_u64(t, "parent_off", le64_get(h->parent_off));
	text_u64(t, "parent_bytes", le64_get(h->parent_len));
	text_hex(t, "parent_digest", h->parent_digest, 32);
	text_i64(t, "time_s", (int64_t)le64_get(h->time_sec));
	text_u64(t, "time_ns", le32_get(h->time_nsec));
	text_u64(t, "next_number", le32_get(h->next_number));
	text_u64(t, "join_first", le32_get(h->join_first));
	text_u64(t, "join_count", le32_get(h->join_count));
	string(t, "tool", h->tool, s);
	string(t, "message", h->message, s);
	text_end(t);
}

void catalog_sub_to_text(struct text *t, uint64_t i, const struct ply_disk_sub *d,
			 const struct text_strings *s)
{
	text_begin(t, "sub", &i);
	text_u64(t, "number", le32_get(d->number));
	text_u64(t, "rank", le32_get(d->rank));
	text_u64(t, "flags", le32_get(d->flags));
	uuid(t, d->uuid);
	text_u64(t, "segment_first", le32_get(d->seg_first));
	text_u64(t, "segments", le32_get(d->seg_count));
	text_u64(t, "next_node", le64_get(d->nodes));
	text_u64(t, "size_bytes", le64_get(d->bytes));
	string(t, "name", d->name, s);
	string(t, "arch", d->arch, s);
	string(t, "distro", d->distro, s);
	string(t, "summary", d->summary, s);
	text_end(t);
}

void segment_ref_to_text(struct text *t, uint64_t i, const struct ply_disk_segment_ref *d)
{
	const char *kind = segment_kind_name(le32_get(d->kind));

	text_begin(t, "segment-ref", &i);
	text_word(t, "kind", kind ? kind : "unknown");
	text_u64(t, "flags", le32_get(d->flags));
	text_u64(t, "off", le64_get(d->off));
	text_u64(t, "length_bytes", le64_get(d->len));
	text_hex(t, "digest", d->digest, 32);
	text_end(t);
}

void mount_to_text(struct text *t, uint64_t i, const struct ply_disk_mount *d,
		   const struct text_strings *s)
{
	text_begin(t, "mount", &i);
	string(t, "path", d->path, s);
	string(t, "type", d->type, s);
	string(t, "subtree", d->subtree, s);
	text_end(t);
}

void blob_to_text(struct text *t, uint64_t i, const struct ply_disk_blob *d, const struct text_strings *s)
{
	uint32_t sub = le32_get(d->sub);

	text_begin(t, "blob", &i);
	string(t, "name", d->name, s);
	if (sub != PLY_BLOB_OF_IMAGE)
		text_u64(t, "sub", sub);
	text_u64(t, "off", le32_get(d->bytes.off));
	text_u64(t, "length_bytes", le32_get(d->bytes.len));
	text_end(t);
}

void mark_to_text(struct text *t, uint64_t i, const struct ply_disk_mark *d)
{
	static const char *const subset[] = { "none", "drop", "first" };
	static const char *const identity[] = { "none", "remove", "empty", "set", "secret" };
	uint32_t mark = le32_get(d->mark), low = mark & PLY_MARK_SUBSET, high = mark >> 4;

	text_begin(t, "mark", &i);
	text_u64(t, "node", le64_get(d->node));
	text_word(t, "subset", low < 3 ? subset[low] : "unknown");
	text_word(t, "identity", high < 5 ? identity[high] : "unknown");
	text_end(t);
}

void relation_to_text(struct text *t, uint64_t i, const struct ply_disk_relation *d,
		      const struct text_strings *s)
{
	static const char *const kinds[] = { "unknown", "requires", "provides", "stands-on" };
	uint32_t kind = le32_get(d->kind);

	text_begin(t, "relation", &i);
	text_word(t, "kind", kinds[kind < ARRAY_SIZE(kinds) ? kind : 0]);
	text_u64(t, "from", le32_get(d->from));
	text_u64(t, "group", le32_get(d->group));
	string(t, "to", d->to, s);
	text_end(t);
}
