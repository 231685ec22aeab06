/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Superblock, binding and geometry of a log (FORMAT.md, "REDO log"). Order of the checks: identity, integrity, meaning,
 * geometry.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_format.h"

static bool is_zero(const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (b[i])
			return false;
	return true;
}

void redo_super_encode(const struct redo_super *s, uint32_t slot, uint8_t out[PLY_SUPER_SIZE])
{
	struct ply_disk_redo_super d = {
		.version = le32_put(PLY_REDO_VERSION),
		.slot = le32_put(slot),
		.compat = le64_put(s->compat),
		.ro_compat = le64_put(s->ro_compat),
		.incompat = le64_put(s->incompat),
		.generation = le64_put(s->generation),
		.parent_generation = le64_put(s->parent_generation),
		.number = le32_put(s->number),
		.state = le32_put(s->state),
		.created_sec = le64_put((uint64_t)s->created_sec),
		.binding_off = le64_put(s->binding_off),
		.binding_len = le64_put(s->binding_len),
		.segments_off = le64_put(s->segments_off),
		.epoch = le32_put(s->epoch),
		.replay_segment = le32_put(s->replay_segment),
		.epoch_lsn = le64_put(s->epoch_lsn),
		.durable_lsn = le64_put(s->durable_lsn),
		.replay_lsn = le64_put(s->replay_lsn),
		.replay_seq = le64_put(s->replay_seq),
		.ckpt_off = le64_put(s->ckpt_off),
		.ckpt_len = le64_put(s->ckpt_len),
		.ckpt_xxh3 = le64_put(s->ckpt_xxh3),
		.requests_lsn = le64_put(s->requests_lsn),
	};

	memcpy(d.magic, PLY_REDO_MAGIC, sizeof(d.magic));
	memcpy(d.uuid, s->uuid, sizeof(d.uuid));
	memcpy(d.parent_uuid, s->parent_uuid, sizeof(d.parent_uuid));
	memcpy(d.parent_digest, s->parent_digest, sizeof(d.parent_digest));
	memcpy(d.binding_digest, s->binding_digest, sizeof(d.binding_digest));
	d.xxh3 = le64_put(xxh3(&d, offsetof(struct ply_disk_redo_super, xxh3), 0));
	memcpy(out, &d, sizeof(d));
}

static void copy_out(const struct ply_disk_redo_super *d, struct redo_super *s)
{
	*s = (struct redo_super){
		.compat = le64_get(d->compat),
		.ro_compat = le64_get(d->ro_compat),
		.incompat = le64_get(d->incompat),
		.generation = le64_get(d->generation),
		.parent_generation = le64_get(d->parent_generation),
		.number = le32_get(d->number),
		.state = le32_get(d->state),
		.created_sec = (int64_t)le64_get(d->created_sec),
		.binding_off = le64_get(d->binding_off),
		.binding_len = le64_get(d->binding_len),
		.segments_off = le64_get(d->segments_off),
		.epoch = le32_get(d->epoch),
		.replay_segment = le32_get(d->replay_segment),
		.epoch_lsn = le64_get(d->epoch_lsn),
		.durable_lsn = le64_get(d->durable_lsn),
		.replay_lsn = le64_get(d->replay_lsn),
		.replay_seq = le64_get(d->replay_seq),
		.ckpt_off = le64_get(d->ckpt_off),
		.ckpt_len = le64_get(d->ckpt_len),
		.ckpt_xxh3 = le64_get(d->ckpt_xxh3),
		.requests_lsn = le64_get(d->requests_lsn),
	};
	memcpy(s->uuid, d->uuid, sizeof(s->uuid));
	memcpy(s->parent_uuid, d->parent_uuid, sizeof(s->parent_uuid));
	memcpy(s->parent_digest, d->parent_digest, sizeof(s->parent_digest));
	memcpy(s->binding_digest, d->binding_digest, sizeof(s->binding_digest));
}

/* What cannot be, whatever the file's length. */
static const char *impossible(const struct ply_disk_redo_super *d, uint32_t slot, const struct redo_super *s)
{
	if (le32_get(d->slot) != slot || !s->generation || !is_zero(d->zero, sizeof(d->zero)))
		return "slot, generation or reserved bytes are impossible";
	if (s->number < PLY_REDO_NUMBER_MIN || s->number > PLY_REDO_NUMBER_MAX)
		return "the number of its inodes is impossible";
	if (s->state < PLY_REDO_OPEN || s->state > PLY_REDO_FROZEN)
		return "its state is impossible";
	if (s->binding_off < PLY_SUPER_SLOTS * PLY_SUPER_SIZE || s->binding_off > INT64_MAX ||
	    s->binding_len < sizeof(struct ply_disk_redo_binding) || s->binding_len > PLY_REDO_BINDING_MAX)
		return "the binding's place is impossible";
	if (s->segments_off % PLY_REDO_BLOCK || s->segments_off < PLY_SUPER_SLOTS * PLY_SUPER_SIZE ||
	    s->segments_off > PLY_SUPER_SLOTS * PLY_SUPER_SIZE + 2ull * (PLY_REDO_BINDING_MAX + PLY_REDO_BLOCK))
		return "the place of its segments is impossible";
	if (!s->epoch || s->replay_segment >= PLY_REDO_SEGMENTS_MAX || s->replay_lsn > INT64_MAX ||
	    s->epoch_lsn < s->replay_lsn || s->durable_lsn < s->epoch_lsn || s->durable_lsn > INT64_MAX ||
	    s->requests_lsn > s->durable_lsn)
		return "its positions are impossible";
	if (s->ckpt_off ? s->ckpt_off % PLY_REDO_BLOCK || s->ckpt_off < s->segments_off || s->ckpt_off > INT64_MAX ||
			  s->ckpt_len < sizeof(struct ply_disk_redo_ckpt) || s->ckpt_len > INT64_MAX :
			  s->ckpt_len || s->ckpt_xxh3)
		return "the checkpoint's place is impossible";
	return NULL;
}

int redo_super_decode(const uint8_t in[PLY_SUPER_SIZE], uint32_t slot, struct redo_super *ret, struct ply_err *err)
{
	struct ply_disk_redo_super d;
	struct redo_super s;
	const char *what;

	memcpy(&d, in, sizeof(d));
	if (memcmp(d.magic, PLY_REDO_MAGIC, sizeof(d.magic)) != 0)
		return ply_fail(err, -EUCLEAN, PLY_R_REDO_NOT_REDO, "superblock %u: not a log of plyfs (no magic)",
				slot);
	if (le64_get(d.xxh3) != xxh3(&d, offsetof(struct ply_disk_redo_super, xxh3), 0))
		return ply_fail(err, -EBADMSG, PLY_R_REDO_SUPER, "superblock %u: checksum does not match", slot);
	if (le32_get(d.version) != PLY_REDO_VERSION)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_REDO_FEATURE,
				"the log has format version %u; this plyfs reads version %u", le32_get(d.version),
				PLY_REDO_VERSION);
	copy_out(&d, &s);
	if (s.incompat & ~REDO_INCOMPAT_KNOWN)
		return ply_fail(err, -EOPNOTSUPP, PLY_R_REDO_FEATURE,
				"the log needs features %#llx that this plyfs does not know; use a newer one",
				(unsigned long long)(s.incompat & ~REDO_INCOMPAT_KNOWN));
	what = impossible(&d, slot, &s);
	if (what)
		return ply_fail(err, -EUCLEAN, PLY_R_REDO_SUPER, "superblock %u: %s", slot, what);
	*ret = s;
	return 0;
}

void redo_super_to_text(struct text *t, uint32_t slot, const struct redo_super *s)
{
	static const char *const states[] = { "", "open", "clean", "frozen" };

	text_begin(t, "redo-superblock", &(uint64_t){ slot });
	text_hex(t, "uuid", s->uuid, 16);
	text_u64(t, "generation", s->generation);
	text_word(t, "state", states[s->state]);
	text_u64(t, "compat", s->compat);
	text_u64(t, "ro_compat", s->ro_compat);
	text_u64(t, "incompat", s->incompat);
	text_hex(t, "parent_uuid", s->parent_uuid, 16);
	text_u64(t, "parent_generation", s->parent_generation);
	text_hex(t, "parent_digest", s->parent_digest, 32);
	text_u64(t, "number", s->number);
	text_i64(t, "created_s", s->created_sec);
	text_u64(t, "segments_off", s->segments_off);
	text_u64(t, "epoch", s->epoch);
	text_u64(t, "epoch_lsn", s->epoch_lsn);
	text_u64(t, "durable_lsn", s->durable_lsn);
	text_u64(t, "replay_segment", s->replay_segment);
	text_u64(t, "replay_lsn", s->replay_lsn);
	text_u64(t, "replay_seq", s->replay_seq);
	text_u64(t, "checkpoint_off", s->ckpt_off);
	text_u64(t, "checkpoint_bytes", s->ckpt_len);
	text_u64(t, "requests_lsn", s->requests_lsn);
	text_end(t);
}

/* --- binding ----------------------------------------------------------------------------- */

static uint32_t count_nuls(const char *s, size_t len)
{
	uint32_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += !s[i];
	return n;
}

/* Names are none, or each ends in a NUL, and has a byte before. */
static bool names_ok(const char *names, size_t len, uint32_t n)
{
	if (count_nuls(names, len) != n || (len && names[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!names[i] && (!i || !names[i - 1]))
			return false;
	return true;
}

int redo_binding_encode(const struct redo_binding *b, struct buf *out)
{
	size_t path_len = b->path ? strlen(b->path) : 0;
	struct ply_disk_redo_binding head = {
		.nnames = le32_put(b->nnames), .names_len = le32_put((uint32_t)b->names_len),
		.ndecisions = le32_put(b->ndecisions), .path_len = le32_put((uint32_t)path_len),
	};
	int r;

	if (b->number < PLY_REDO_NUMBER_MIN || b->number > PLY_REDO_NUMBER_MAX || path_len > UINT16_MAX ||
	    b->names_len > PLY_REDO_BINDING_MAX / 4 ||
	    b->ndecisions > PLY_REDO_BINDING_MAX / 2 / sizeof(struct ply_disk_redo_decision) ||
	    !names_ok(b->names, b->names_len, b->nnames))
		return -EINVAL;
	memcpy(head.image_uuid, b->image_uuid, sizeof(head.image_uuid));
	r = buf_add(out, &head, sizeof(head));
	for (uint32_t i = 0; r == 0 && i < b->ndecisions; i++) {
		const struct ply_decision *x = &b->decisions[i];

		r = buf_add(out, &(struct ply_disk_redo_decision){ le64_put(x->a), le64_put(x->b), le32_put(x->rule),
								   le32_put(x->driver) },
			    sizeof(struct ply_disk_redo_decision));
	}
	if (r == 0 && b->names_len)
		r = buf_add(out, b->names, b->names_len);
	if (r == 0 && path_len)
		r = buf_add(out, b->path, path_len);
	return r;
}

static int bad_binding(struct ply_err *err, const char *what)
{
	return ply_fail(err, -EUCLEAN, PLY_R_REDO_BINDING, "what the log stands on is damaged: %s", what);
}

static int decode_decisions(const uint8_t *in, uint32_t n, struct ply_decision *to, struct ply_err *err)
{
	for (uint32_t i = 0; i < n; i++) {
		struct ply_disk_redo_decision d;

		memcpy(&d, in + i * sizeof(d), sizeof(d));
		if (le32_get(d.rule) > UINT8_MAX || le32_get(d.driver) > UINT16_MAX)
			return bad_binding(err, "a decision that there is not");
		to[i] = (struct ply_decision){ le64_get(d.a), le64_get(d.b), (uint8_t)le32_get(d.rule),
					       (uint16_t)le32_get(d.driver) };
	}
	return 0;
}

int redo_binding_decode(const uint8_t *in, size_t len, const struct redo_super *s, struct redo_binding *ret,
			void **ret_memory, struct ply_err *err)
{
	struct ply_disk_redo_binding d;
	struct ply_decision *decisions;
	struct redo_binding b = { .number = s->number, .parent_generation = s->parent_generation };
	uint64_t path_len, names_len;
	void *memory;
	char *text;
	int r;

	if (len < sizeof(d))
		return bad_binding(err, "it is too short");
	memcpy(&d, in, sizeof(d));
	b.nnames = le32_get(d.nnames);
	b.ndecisions = le32_get(d.ndecisions);
	names_len = le32_get(d.names_len);
	path_len = le32_get(d.path_len);
	/* each term is below 2^37: no sum overflows */
	if (sizeof(d) + (uint64_t)b.ndecisions * sizeof(struct ply_disk_redo_decision) + names_len + path_len != len)
		return bad_binding(err, "it has another length");
	/* one block: decisions, then the texts */
	memory = malloc(((size_t)b.ndecisions + 1) * sizeof(*decisions) + names_len + path_len + 1);
	if (!memory)
		return ply_fail_nomem(err);
	decisions = memory;
	text = (char *)(decisions + b.ndecisions + 1);
	memcpy(text, in + sizeof(d) + b.ndecisions * sizeof(struct ply_disk_redo_decision), names_len + path_len);
	text[names_len + path_len] = '\0';
	b.names = text;
	b.names_len = names_len;
	b.path = text + names_len;
	b.decisions = decisions;
	r = decode_decisions(in + sizeof(d), b.ndecisions, decisions, err);
	if (r == 0 && (!names_ok(b.names, names_len, b.nnames) || strlen(b.path) != path_len))
		r = bad_binding(err, "it has names that are none");
	if (r < 0) {
		free(memory);
		return r;
	}
	memcpy(b.parent_uuid, s->parent_uuid, sizeof(b.parent_uuid));
	memcpy(b.parent_digest, s->parent_digest, sizeof(b.parent_digest));
	memcpy(b.image_uuid, d.image_uuid, sizeof(b.image_uuid));
	*ret = b;
	*ret_memory = memory;
	return 0;
}

const char *redo_binding_name(const struct redo_binding *b, const char *before)
{
	const char *next = before ? before + strlen(before) + 1 : b->names;

	return next && next < b->names + b->names_len ? next : NULL;
}

/* --- geometry ------------------------------------------------------------------------------ */

#define GROWING 12u        /* segments before all are of the largest size */
#define GROWN   (2ull * (PLY_REDO_SEGMENT_MAX - PLY_REDO_SEGMENT_MIN))

uint32_t redo_segment_size(uint32_t i)
{
	return i < GROWING ? PLY_REDO_SEGMENT_MIN << i / 2 : PLY_REDO_SEGMENT_MAX;
}

uint64_t redo_segment_off(uint32_t i)
{
	if (i >= GROWING)
		return GROWN + (uint64_t)(i - GROWING) * PLY_REDO_SEGMENT_MAX;
	/* two of each: 2 * (64 KiB + 128 KiB + ...), and one more where i is odd */
	return 2ull * PLY_REDO_SEGMENT_MIN * ((1u << i / 2) - 1) + (i % 2 ? redo_segment_size(i) : 0);
}

uint32_t redo_segment_at(uint64_t off)
{
	uint64_t i;

	if (off >= GROWN) {
		i = GROWING + (off - GROWN) / PLY_REDO_SEGMENT_MAX;
		return i < PLY_REDO_SEGMENTS_MAX ? (uint32_t)i : PLY_REDO_SEGMENTS_MAX;
	}
	for (i = 0; off >= redo_segment_off((uint32_t)i + 1);)
		i++;
	return (uint32_t)i;
}

/* --- segments of records ----------------------------------------------------------------------- */

uint64_t redo_seed(const uint8_t uuid[16], uint32_t epoch)
{
	return xxh3(uuid, 16, epoch);
}

void redo_head_encode(const struct redo_head *h, const uint8_t uuid[16], struct ply_disk_redo_segment *out)
{
	*out = (struct ply_disk_redo_segment){
		.segment = le32_put(h->segment),
		.epoch = le32_put(h->epoch),
		.seq = le64_put(h->seq),
		.lsn = le64_put(h->lsn),
	};
	memcpy(out->magic, PLY_REDO_META_MAGIC, sizeof(out->magic));
	out->xxh3 = le64_put(xxh3(out, offsetof(struct ply_disk_redo_segment, xxh3), redo_seed(uuid, h->epoch)));
}

bool redo_head_decode(const struct ply_disk_redo_segment *in, const uint8_t uuid[16], struct redo_head *ret)
{
	struct redo_head h = { le32_get(in->segment), le32_get(in->epoch), le64_get(in->seq), le64_get(in->lsn) };

	if (memcmp(in->magic, PLY_REDO_META_MAGIC, sizeof(in->magic)) != 0 || !is_zero(in->zero, sizeof(in->zero)) ||
	    le64_get(in->xxh3) != xxh3(in, offsetof(struct ply_disk_redo_segment, xxh3), redo_seed(uuid, h.epoch)))
		return false;
	*ret = h;
	return true;
}
