/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every on-disk structure as text: one line `WHAT INDEX: key=value ...`, or one JSON object with
 * the same keys. Both come from the same calls, so they cannot differ. Units are in the keys;
 * references are "slot:index", data addresses "block:offset", names are escaped.
 *
 * The text is added to a buffer of the caller's; `failed` tells that memory was short.
 */
#ifndef PLYFS_FORMAT_TEXT_H
#define PLYFS_FORMAT_TEXT_H

#include "base/buf.h"
#include "format/format.h"

struct text {
	struct buf *out;           /* borrowed */
	bool json;
	bool failed;
};

/* One structure: begin, fields, end. @index: NULL where there is only one. */
void text_begin(struct text *t, const char *what, const uint64_t *index);
void text_end(struct text *t);
void text_u64(struct text *t, const char *key, uint64_t value);
void text_i64(struct text *t, const char *key, int64_t value);
void text_word(struct text *t, const char *key, const char *word);   /* needs no escapes */
void text_hex(struct text *t, const char *key, const void *bytes, size_t n);
void text_name(struct text *t, const char *key, const char *bytes, size_t len);
void text_ref(struct text *t, const char *key, uint64_t ref);

void super_to_text(struct text *t, uint32_t slot, const struct super *s);
void segment_to_text(struct text *t, uint64_t off, const struct segment *s);
void section_to_text(struct text *t, uint64_t i, const struct section *s);

void node_to_text(struct text *t, uint64_t index, const struct ply_node *n);
void entry_to_text(struct text *t, uint64_t i, const struct ply_entry *e);
void extent_to_text(struct text *t, uint64_t i, const struct ply_extent *e);
void block_to_text(struct text *t, uint64_t i, const struct ply_block *b, const uint8_t digest[32]);
/* @name: o->name_len bytes. */
void owner_to_text(struct text *t, uint64_t i, const struct ply_owner *o, const char *name);
void owner_pair_to_text(struct text *t, uint64_t i, const struct ply_disk_owner_pair *p);
void xattr_set_to_text(struct text *t, uint64_t i, const struct ply_disk_xattr_set *s);
void xattr_to_text(struct text *t, uint64_t i, const char *name, size_t name_len, const void *value,
		   size_t value_len, uint32_t condition);
void condition_to_text(struct text *t, uint64_t i, const struct ply_condition *c);
void shared_to_text(struct text *t, uint64_t i, const struct ply_shared *s);
void record_to_text(struct text *t, uint64_t i, const struct ply_record *r);
void override_to_text(struct text *t, uint64_t i, const struct ply_override *o);
void component_to_text(struct text *t, uint64_t i, const struct ply_disk_component *c,
		       const char *name, size_t len);

void join_row_to_text(struct text *t, uint64_t i, const struct ply_disk_join_row *r);
void join_member_to_text(struct text *t, uint64_t i, const struct ply_disk_join_member *m);
void join_index_to_text(struct text *t, uint64_t i, const struct ply_disk_join_index *x);
void collision_to_text(struct text *t, uint64_t i, const struct ply_disk_collision *d);

/* Strings and values of more bytes are cut there, and their length follows: many rows can share one. */
#define TEXT_CUT 1024u

/* Rows of the catalog; @strings are the bytes of STRINGS. */
struct text_strings {
	const char *bytes;
	size_t len;
};
void catalog_head_to_text(struct text *t, const struct ply_disk_catalog_head *h,
			  const struct text_strings *s);
void catalog_sub_to_text(struct text *t, uint64_t i, const struct ply_disk_sub *d,
			 const struct text_strings *s);
void segment_ref_to_text(struct text *t, uint64_t i, const struct ply_disk_segment_ref *d);
void blob_to_text(struct text *t, uint64_t i, const struct ply_disk_blob *d, const struct text_strings *s);
void mark_to_text(struct text *t, uint64_t i, const struct ply_disk_mark *d);
void mount_to_text(struct text *t, uint64_t i, const struct ply_disk_mount *d,
		   const struct text_strings *s);
void relation_to_text(struct text *t, uint64_t i, const struct ply_disk_relation *d,
		      const struct text_strings *s);

#endif
