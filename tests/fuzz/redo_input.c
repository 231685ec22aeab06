/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Logs as inputs of a fuzzer: redo_input.h. */
#include "redo_input.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_format.h"
#include "unit/redo_model.h"

#define LOG_MAX (2u << 20)
#define GAP     24u        /* zeros that are worth a further piece */

static void add_number(struct buf *out, uint64_t v, unsigned bytes)
{
	const le64 le = le64_put(v);

	if (buf_add(out, &le, bytes) < 0)
		abort();
}

void redo_input_pack(const struct redo_disk *d, struct buf *out)
{
	add_number(out, d->size, 4);
	for (size_t at = 0; at < d->size;) {
		size_t end, zeros = 0;

		if (!d->bytes[at]) {
			at++;
			continue;
		}
		for (end = at; end < d->size && zeros < GAP && end - at < UINT16_MAX; end++)
			zeros = d->bytes[end] ? 0 : zeros + 1;
		add_number(out, at, 4);
		add_number(out, end - at - zeros, 2);
		if (buf_add(out, d->bytes + at, end - at - zeros) < 0)
			abort();
		at = end;
	}
}

void redo_input_unpack(struct input *in, struct redo_disk *to)
{
	const struct redo_disk_op whole = { .what = DISK_WRITE,
					    .off = input_number(in, 4) % (LOG_MAX + 1),
					    .data = NULL };
	uint8_t zero = 0;
	struct redo_disk_op op = { .what = DISK_WRITE, .off = whole.off ? whole.off - 1 : 0, .len = 1, .data = &zero };

	if (whole.off)
		redo_disk_play(to, &op, 0, 1);
	while (in->left) {
		struct input piece;
		uint64_t off = input_number(in, 4);

		piece = input_bytes(in, input_number(in, 2));
		if (off >= whole.off)
			continue;
		op = (struct redo_disk_op){ DISK_WRITE, off, MIN(piece.left, whole.off - off), (uint8_t *)piece.at };
		redo_disk_play(to, &op, 0, op.len);
	}
}

/* --- repair --------------------------------------------------------------------------------- */

static void repair_extents(struct redo_disk *d, uint8_t *rec, uint32_t len)
{
	struct redo_record r _cleanup_redo_record_ = { 0 };

	if (redo_record_decode(rec, len, &r, NULL) < 0)
		return;
	for (uint32_t k = 0; k < r.nchanges; k++) {
		const struct redo_change *c = &r.changes[k];
		uint64_t at = c->addr / PLY_REDO_BLOCK * PLY_REDO_BLOCK;

		for (uint32_t i = 0; c->type->number == PLY_REDO_EXTENT && i < c->nsums; i++, at += PLY_REDO_BLOCK)
			if (at + PLY_REDO_BLOCK <= d->size)
				*(le64 *)&c->sums[i] = le64_put(xxh3(d->bytes + at, PLY_REDO_BLOCK, 0));
	}
}

static void repair_segment(struct redo_disk *d, const struct redo_super *s, uint64_t off, uint32_t size)
{
	struct ply_disk_redo_segment disk;
	struct redo_head h;

	if (off + sizeof(disk) > d->size)
		return;
	memcpy(&disk, d->bytes + off, sizeof(disk));
	if (memcmp(disk.magic, PLY_REDO_META_MAGIC, sizeof(disk.magic)) != 0)
		return;
	h = (struct redo_head){ le32_get(disk.segment), le32_get(disk.epoch), le64_get(disk.seq), le64_get(disk.lsn) };
	redo_head_encode(&h, s->uuid, &disk);
	memcpy(d->bytes + off, &disk, sizeof(disk));
	for (uint32_t pos = sizeof(disk), len; pos + REDO_RECORD_HEAD < size; pos += len) {
		struct ply_disk_redo_record r;

		if (off + pos + sizeof(r) > d->size)
			return;
		memcpy(&r, d->bytes + off + pos, sizeof(r));
		len = le32_get(r.len);
		if (len % 8 || len <= sizeof(r) || len > PLY_REDO_RECORD_MAX || pos + len > size ||
		    off + pos + len > d->size)
			return;
		redo_record_seal(d->bytes + off + pos, len, le32_get(r.nchanges), le64_get(r.request), s->uuid,
				 le32_get(r.epoch), h.lsn + pos - sizeof(disk));
		repair_extents(d, d->bytes + off + pos, len);
		redo_record_seal(d->bytes + off + pos, len, le32_get(r.nchanges), le64_get(r.request), s->uuid,
				 le32_get(r.epoch), h.lsn + pos - sizeof(disk));
	}
}

static void repair_super(struct redo_disk *d, uint32_t slot, struct redo_super *s)
{
	const size_t sum_at = offsetof(struct ply_disk_redo_super, xxh3),
		     digest_at = offsetof(struct ply_disk_redo_super, binding_digest);
	uint8_t *raw = d->bytes + slot * PLY_SUPER_SIZE;
	le64 sum = le64_put(xxh3(raw, sum_at, 0));

	memcpy(raw + sum_at, &sum, sizeof(sum));
	if (redo_super_decode(raw, slot, s, NULL) < 0)
		return;
	if (s->binding_off < d->size && s->binding_len <= d->size - s->binding_off)
		sha256_once(d->bytes + s->binding_off, s->binding_len, raw + digest_at);
	if (s->ckpt_off && s->ckpt_off < d->size && s->ckpt_len <= d->size - s->ckpt_off) {
		sum = le64_put(xxh3(d->bytes + s->ckpt_off, s->ckpt_len, redo_seed(s->uuid, 0)));
		memcpy(raw + offsetof(struct ply_disk_redo_super, ckpt_xxh3), &sum, sizeof(sum));
	}
	sum = le64_put(xxh3(raw, sum_at, 0));
	memcpy(raw + sum_at, &sum, sizeof(sum));
}

void redo_input_repair(struct redo_disk *d)
{
	for (uint32_t slot = 0; slot < PLY_SUPER_SLOTS; slot++) {
		struct redo_super s = { .generation = 0 };

		if ((slot + 1) * PLY_SUPER_SIZE > d->size)
			return;
		repair_super(d, slot, &s);
		for (uint32_t i = 0; s.generation && s.segments_off + redo_segment_off(i) < d->size; i++)
			repair_segment(d, &s, s.segments_off + redo_segment_off(i), redo_segment_size(i));
	}
}

/* --- mutations ---------------------------------------------------------------------------------- */

static uint64_t rng;

static uint64_t roll(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng >> 11) % below;
}

/* Where the records of the segment of records at @off are. */
static size_t find_records(const struct redo_disk *d, uint64_t off, uint64_t *at, size_t max)
{
	size_t n = 0;

	for (off += sizeof(struct ply_disk_redo_segment); n < max && off + REDO_RECORD_HEAD < d->size; n++) {
		struct ply_disk_redo_record r;
		uint32_t len;

		memcpy(&r, d->bytes + off, sizeof(r));
		len = le32_get(r.len);
		if (len % 8 || len <= sizeof(r) || len > d->size - off)
			break;
		at[n] = off;
		off += len;
	}
	if (n && n < max)
		at[n] = off;       /* the end */
	return n;
}

static void mutate_records(struct redo_disk *d, uint64_t off)
{
	uint64_t at[256] = { 0 }, from, to;
	size_t n = find_records(d, off, at, ARRAY_SIZE(at) - 1), k, len;
	uint8_t *copy;

	if (n < 2)
		return;
	k = roll(n);
	from = at[k];
	len = at[k + 1] - from;
	copy = malloc(len);
	if (!copy)
		abort();
	memcpy(copy, d->bytes + from, len);
	switch (roll(3)) {
	case 0:                    /* it goes */
		memmove(d->bytes + from, d->bytes + from + len, at[n] - from - len);
		memset(d->bytes + at[n] - len, 0, len);
		break;
	case 1:                    /* it comes twice */
		to = at[roll(n)];
		if (at[n] + len > d->size)
			break;
		memmove(d->bytes + to + len, d->bytes + to, at[n] - to);
		memcpy(d->bytes + to, copy, len);
		break;
	case 2:                    /* it goes to the end */
		memmove(d->bytes + from, d->bytes + from + len, at[n] - from - len);
		memcpy(d->bytes + at[n] - len, copy, len);
		break;
	}
	free(copy);
}

static void mutate_bytes(struct redo_disk *d, uint64_t off, uint64_t len)
{
	for (unsigned n = 1 + (unsigned)roll(3); n && off < d->size; n--) {
		uint64_t k = off + roll(MIN(len, d->size - off));

		/* zeros in between are no place that matters */
		for (unsigned tries = 0; tries < 200 && !d->bytes[k]; tries++)
			k = off + roll(MIN(len, d->size - off));
		k = MIN(k + roll(3), d->size - 1);
		d->bytes[k] = (uint8_t)(roll(3) ? d->bytes[k] ^ 1u << roll(8) : roll(2) ? 0xff : roll(4));
	}
}

size_t redo_input_mutate(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	struct input in = { data, size };
	struct buf out = { 0 };
	struct redo_disk d;
	uint64_t meta[8];
	size_t nmeta = 0;

	rng = seed * 0x9e3779b97f4a7c15ull + 1;
	redo_disk_init(&d);
	redo_input_unpack(&in, &d);
	for (uint64_t off = 2 * PLY_SUPER_SIZE; off + 8 < d.size && nmeta < ARRAY_SIZE(meta); off += PLY_REDO_BLOCK)
		if (!memcmp(d.bytes + off, PLY_REDO_META_MAGIC, 8) || !memcmp(d.bytes + off, PLY_REDO_CKPT_MAGIC, 8))
			meta[nmeta++] = off;
	if (nmeta && roll(10)) {
		uint64_t off = meta[roll(nmeta)];

		if (d.bytes[off + 7] == 'M' && roll(2))
			mutate_records(&d, off);
		else
			mutate_bytes(&d, off, 8192);
	} else if (d.size) {
		mutate_bytes(&d, 0, MIN(d.size, 3u * PLY_REDO_BLOCK));
	}
	redo_input_pack(&d, &out);
	if (out.len <= max) {
		memcpy(data, out.data, out.len);
		size = out.len;
	}
	buf_done(&out);
	redo_disk_done(&d);
	return size;
}

/* --- seeds -------------------------------------------------------------------------------------- */

static void write_seed(const char *dir, const char *name, uint8_t how, const struct redo_disk *d)
{
	struct buf b = { 0 };
	char path[PATH_MAX];
	FILE *f;

	add_number(&b, how, 1);
	redo_input_pack(d, &b);
	snprintf(path, sizeof(path), "%s/redo", dir);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/redo/%s", dir, name);
	f = fopen(path, "w");
	if (!f || fwrite(b.data, 1, b.len, f) != b.len || fclose(f)) {
		perror(path);
		exit(1);
	}
	buf_done(&b);
}

/* A log of @steps requests; the same on every machine. */
static void seed(const char *dir, const char *name, unsigned number, int steps, int checkpoint_at, bool closes)
{
	struct model *m = malloc(sizeof(*m));
	struct redo_disk d;
	struct redo *log;
	uint64_t lsn = 0;

	redo_disk_init(&d);
	if (!m || model_format(&d) < 0 ||
	    redo_open(redo_disk_store(&d), REDO_WRITE, &log, NULL) < 0)
		abort();
	model_init(m, number);
	for (int k = 0; k < steps; k++) {
		if (model_step(m, log, &lsn, NULL) < 0 || (k % 9 == 8 && redo_commit(log, lsn, NULL) < 0) ||
		    (k == checkpoint_at && redo_checkpoint(log, NULL) < 0))
			abort();
	}
	if (!closes)
		redo_abandon(log);
	else if (redo_close(log, NULL) < 0)
		abort();
	write_seed(dir, name, 1, &d);
	free(m);
	redo_disk_done(&d);
}

void redo_input_seeds(const char *dir)
{
	seed(dir, "empty", 1, 0, -1, true);
	seed(dir, "short", 2, 8, -1, false);
	seed(dir, "killed", 3, 40, -1, false);
	seed(dir, "closed", 4, 40, -1, true);
	seed(dir, "checkpoint", 5, 40, 39, false);
	seed(dir, "checkpoint-and-more", 6, 60, 30, true);
}
