/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery (FORMAT.md, "REDO log"): what a log holds, and where it ends.
 *
 * Two walks over the records from the last checkpoint on. The first looks at heads and checksums only, and finds the
 * end: the first place where no record of its LSN and epoch is. The second replays, and for records that may never
 * have been synced it compares their data too; where that is torn, the log ends there.
 *
 * Torn, or damaged? A record that a commit has acknowledged was on the disk. That it was is known from three sources:
 * the superblock (all up to the last opening, checkpoint or closing), commit records in front of the end, and commit
 * records behind it, which the rest of the segment and all later ones are searched for. If one of them speaks of more
 * than there is, something that was acknowledged is gone: the log opens up to there, to be read only. If none does,
 * the end was torn by a crash, never acknowledged, and is cut off in silence. (SQLite's log cannot tell the two
 * apart, and always cuts; jbd2 tells by the sequence of transactions.)
 *
 * The very last commit before a crash may have no witness but itself: a flip in it looks torn. Its commit record
 * follows it to the disk within seconds, or with the next sync.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_internal.h"

/* What may lie behind the end of the file, since its length was not synced: 256 GiB. A link to farther away is none. */
#define SEGMENTS_AHEAD 65536u

struct walk {
	struct redo *log;
	uint64_t file_size;
	uint8_t *bytes;            /* of the segment, a copy: zeros behind the end of the file */
	uint32_t seg, size, pos;   /* pos 0: it has no head */
	uint64_t seq, lsn;
	uint32_t epoch;            /* of the record before: they never go back */
	struct redo_record rec;    /* the second walk's */
};

static void walk_done(struct walk *w)
{
	free(w->bytes);
	redo_record_done(&w->rec);
}
#define _cleanup_walk_ __attribute__((cleanup(walk_done)))

/* The bytes of a segment into w->bytes. */
static int load(struct walk *w, uint32_t seg, struct ply_err *err)
{
	uint64_t off = space_off(&w->log->space, seg), there = off < w->file_size ? w->file_size - off : 0;
	uint32_t size = redo_segment_size(seg), n = (uint32_t)MIN((uint64_t)size, there);
	int r;

	if (w->size < size) {
		uint8_t *grown = realloc(w->bytes, size);

		if (!grown)
			return ply_fail_nomem(err);
		w->bytes = grown;
	}
	w->size = size;
	memset(w->bytes + n, 0, size - n);
	r = n ? w->log->store->pread(w->log->store, w->bytes, n, off) : 0;
	if (r < 0)
		return ply_fail_sys(err, r, "%s: cannot read records",
				    w->log->store->path ? w->log->store->path : "log");
	return 0;
}

/* Go on at the begin of @seg. Its head is missing: pos is 0. */
static int enter(struct walk *w, uint32_t seg, uint64_t seq, struct ply_err *err)
{
	struct ply_disk_redo_segment disk;
	struct redo_head h;
	int r = load(w, seg, err);

	if (r < 0)
		return r;
	memcpy(&disk, w->bytes, sizeof(disk));
	w->seg = seg;
	w->seq = seq;
	/* of an older epoch, where nothing was written behind it before the log was opened again */
	w->pos = redo_head_decode(&disk, w->log->uuid, &h) && h.segment == seg && h.seq == seq && h.lsn == w->lsn &&
				 h.epoch <= w->log->super.epoch ? sizeof(disk) : 0;
	return 0;
}

static int walk_begin(struct walk *w, struct ply_err *err)
{
	const struct redo_super *s = &w->log->super;

	w->lsn = s->replay_lsn;
	w->epoch = 1;
	return enter(w, s->replay_segment, s->replay_seq, err);
}

/* The type of a record's first change, and the number that a commit or link has. */
static unsigned first_change(const uint8_t *rec, uint64_t *ret_number)
{
	struct ply_disk_redo_change h;
	le64 number;

	memcpy(&h, rec + REDO_RECORD_HEAD, sizeof(h));
	*ret_number = 0;
	if (le32_get(h.len) >= sizeof(h) + sizeof(number)) {
		memcpy(&number, rec + REDO_RECORD_HEAD + sizeof(h), sizeof(number));
		*ret_number = le64_get(number);
	}
	return le16_get(h.type);
}

/* Bytes of the record at pos; 0: the log ends here. */
static uint32_t peek(const struct walk *w)
{
	const struct redo_super *s = &w->log->super;
	uint64_t number;
	uint32_t len;

	/* a log that was closed ends where it says */
	if (!w->pos || (s->state != PLY_REDO_OPEN && w->lsn >= s->durable_lsn))
		return 0;
	len = redo_record_peek(w->bytes + w->pos, w->size - w->pos, w->log->uuid, w->lsn,
			       w->lsn >= s->epoch_lsn ? s->epoch : w->epoch, s->epoch);
	/* behind each record but a link there is room for a link */
	if (len && w->pos + len + REDO_NEXT_LEN > w->size && first_change(w->bytes + w->pos, &number) != PLY_REDO_NEXT)
		return 0;
	return len;
}

static int step(struct walk *w, uint32_t len, unsigned type, uint64_t number, struct ply_err *err)
{
	struct ply_disk_redo_record h;

	memcpy(&h, w->bytes + w->pos, sizeof(h));
	w->epoch = le32_get(h.epoch);
	w->pos += len;
	w->lsn += len;
	/* what is no link that can be, the second walk refuses */
	if (type == PLY_REDO_NEXT && number < PLY_REDO_SEGMENTS_MAX)
		return enter(w, (uint32_t)number, w->seq + 1, err);
	return 0;
}

/* --- the first walk ----------------------------------------------------------------------------- */

struct found {
	uint64_t end;              /* LSN */
	uint64_t durable;          /* some witness says that all below was on the disk */
};

/* Commit records of this epoch in the segment that is loaded, whose first record has @lsn, from @pos on, wherever
 * they are. */
static uint64_t search_segment(const struct walk *w, uint32_t pos, uint64_t first_lsn)
{
	const struct redo_super *s = &w->log->super;
	uint64_t best = 0;

	for (; pos + REDO_RECORD_HEAD <= w->size; pos += 8) {
		uint64_t lsn = first_lsn + pos - sizeof(struct ply_disk_redo_segment), number;
		uint32_t len = redo_record_peek(w->bytes + pos, w->size - pos, w->log->uuid, lsn, s->epoch, s->epoch);

		if (len && first_change(w->bytes + pos, &number) == PLY_REDO_COMMIT && number <= lsn)
			best = MAX(best, number);
	}
	return best;
}

/* Witnesses behind the end, in any segment. */
static int search_behind(struct walk *w, struct found *f, struct ply_err *err)
{
	const uint32_t head = sizeof(struct ply_disk_redo_segment);
	uint32_t from = w->pos ? w->pos : head;
	uint64_t after = w->seq - !w->pos;
	struct redo *log = w->log;

	f->durable = MAX(f->durable, search_segment(w, from, w->lsn - (from - head)));
	for (uint32_t i = 0; i < log->space.nsegs; i++) {
		uint64_t off = space_off(&log->space, i);
		struct ply_disk_redo_segment disk;
		struct redo_head h;
		int r;

		if (off + sizeof(disk) > w->file_size)
			break;
		r = log->store->pread(log->store, &disk, sizeof(disk), off);
		if (r < 0)
			return ply_fail_sys(err, r, "cannot read segment %u", i);
		if (!redo_head_decode(&disk, log->uuid, &h) || h.segment != i || h.epoch != log->super.epoch ||
		    h.seq <= after || h.lsn < f->end)
			continue;
		r = load(w, i, err);
		if (r < 0)
			return r;
		f->durable = MAX(f->durable, search_segment(w, head, h.lsn));
	}
	return 0;
}

static int find_end(struct redo *log, uint64_t file_size, struct found *f, struct ply_err *err)
{
	struct walk w _cleanup_walk_ = { .log = log, .file_size = file_size };
	const struct redo_super *s = &log->super;
	uint64_t number;
	uint32_t len;
	int r = walk_begin(&w, err);

	f->durable = s->durable_lsn;
	while (r == 0 && (len = peek(&w))) {
		unsigned type = first_change(w.bytes + w.pos, &number);

		if (type == PLY_REDO_COMMIT && number <= w.lsn)
			f->durable = MAX(f->durable, number);
		r = step(&w, len, type, number, err);
	}
	f->end = w.lsn;
	if (r == 0 && s->state == PLY_REDO_OPEN)
		r = search_behind(&w, f, err);
	return r;
}

/* --- the second walk -------------------------------------------------------------------------------- */

int redo_check_data(struct redo *log, uint64_t addr, uint64_t len, const le64 *sums, struct ply_err *err)
{
	uint64_t off = addr - addr % PLY_REDO_BLOCK;
	uint32_t n = redo_blocks(addr, len);
	uint8_t block[PLY_REDO_BLOCK];

	for (uint32_t i = 0; i < n; i++, off += sizeof(block)) {
		int r = log->store->pread(log->store, block, sizeof(block), off);

		if (r < 0)
			return ply_fail_sys(err, r, "cannot read data at byte %llu of the log",
					    (unsigned long long)off);
		if (xxh3(block, sizeof(block), 0) != le64_get(sums[i]))
			return ply_fail(err, -EBADMSG, PLY_R_REDO_DATA, "data at byte %llu of the log is damaged",
					(unsigned long long)off);
	}
	return 0;
}

static bool is_torn(struct redo *log, uint64_t file_size, const struct redo_record *rec)
{
	for (uint32_t i = 0; i < rec->nchanges; i++) {
		const struct redo_change *c = &rec->changes[i];
		uint64_t end = align_up(c->addr + c->len, PLY_REDO_BLOCK);

		if (c->type->number == PLY_REDO_EXTENT &&
		    (end > file_size || redo_check_data(log, c->addr, c->len, c->sums, NULL) < 0))
			return true;
	}
	return false;
}

static void damaged(struct redo *log, uint64_t lsn, const char *why)
{
	log->info.damaged = true;
	log->info.damaged_lsn = lsn;
	snprintf(log->info.warning, sizeof(log->info.warning),
		 "what was acknowledged is damaged from record %llu on (%.100s); what is before it can be read",
		 (unsigned long long)lsn, why);
}

/* The last block of an extent ends within the file: what is known to have been on the disk, and is not, is damage. */
static bool is_there(const struct redo_record *rec, uint64_t file_size)
{
	for (uint32_t i = 0; i < rec->nchanges; i++)
		if (rec->changes[i].type->number == PLY_REDO_EXTENT &&
		    align_up(rec->changes[i].addr + rec->changes[i].len, PLY_REDO_BLOCK) > file_size)
			return false;
	return true;
}

static bool may_be(struct redo *log, const struct redo_record *rec, uint64_t file_size, struct ply_err *err)
{
	const struct redo_change *c = &rec->changes[0];

	if (!is_there(rec, file_size)) {
		ply_fail(err, -EUCLEAN, PLY_R_REDO_DATA, "its data is cut off");
		return false;
	}
	if (c->type->number == PLY_REDO_COMMIT && c->addr > rec->lsn)
		return ply_fail(err, -EUCLEAN, PLY_R_REDO_RECORD, "it commits what follows"), false;
	if (c->type->number == PLY_REDO_NEXT && c->addr < log->space.nsegs && log->space.segs[c->addr].kind != SEG_FREE)
		return ply_fail(err, -EUCLEAN, PLY_R_REDO_RECORD, "it leads to a segment that is in use"), false;
	if (c->type->number == PLY_REDO_NEXT && c->addr > log->space.nsegs + SEGMENTS_AHEAD)
		return ply_fail(err, -EUCLEAN, PLY_R_REDO_RECORD, "it leads far behind the end"), false;
	return index_check(&log->index, rec, err) == 0;
}

/* *ret_ends: the log ends before this record, torn or damaged. */
static int replay(struct walk *w, const struct found *f, uint32_t len, bool *ret_ends, struct ply_err *err)
{
	struct redo_record *rec = &w->rec;
	struct redo *log = w->log;
	struct ply_err why;
	int r = redo_record_decode(w->bytes + w->pos, len, rec, &why);

	*ret_ends = r == -EUCLEAN;
	if (r == -EUCLEAN) {
		damaged(log, w->lsn, why.msg);
		return 0;
	}
	if (r < 0)
		return ply_fail_nomem(err);
	if (w->lsn >= f->durable && is_torn(log, w->file_size, rec)) {
		*ret_ends = true;
	} else if (!may_be(log, rec, w->file_size, &why)) {
		damaged(log, w->lsn, why.msg);
		*ret_ends = true;
	} else {
		/* what is_torn() has just read is good */
		log->index.good = w->lsn >= f->durable;
		r = index_replay(&log->index, rec) < 0 ? ply_fail_nomem(err) : 0;
		if (r == 0 && rec->changes[0].type->number == PLY_REDO_NEXT) {
			uint32_t seg = (uint32_t)rec->changes[0].addr;

			r = space_grow(&log->space, MAX((uint32_t)log->space.nsegs, seg + 1));
			if (r < 0)
				r = ply_fail_nomem(err);
			else
				log->space.segs[seg].kind = SEG_META;
		}
	}
	return r;
}

static int replay_all(struct redo *log, uint64_t file_size, struct found *f, struct ply_err *err)
{
	struct walk w _cleanup_walk_ = { .log = log, .file_size = file_size };
	bool ends = false;
	uint64_t number;
	int r = walk_begin(&w, err);

	while (r == 0 && w.lsn < f->end) {
		uint32_t len = peek(&w);
		unsigned type;

		if (!len)          /* it was there a moment ago */
			return ply_fail(err, -EIO, PLY_R_IMAGE_IO, "records change while they are read");
		r = replay(&w, f, len, &ends, err);
		if (r < 0 || ends)
			break;
		log->info.records++;
		type = first_change(w.bytes + w.pos, &number);
		r = step(&w, len, type, number, err);
	}
	log->tail = w.lsn;
	log->meta_seg = w.seg;
	log->meta_seq = w.seq;
	log->meta_pos = w.pos;
	log->info.cut = f->end - w.lsn;
	log->info.replayed = w.lsn - log->super.replay_lsn;
	return r;
}

int redo_recover(struct redo *log, struct ply_err *err)
{
	struct found f = { 0 };
	uint64_t size;
	int r = log->store->size(log->store, &size);

	if (r < 0)
		return ply_fail_sys(err, r, "cannot tell the length of the log");
	r = space_cover(&log->space, size);
	if (log->super.replay_segment > log->space.nsegs + SEGMENTS_AHEAD)
		return ply_fail(err, -EUCLEAN, PLY_R_REDO_SUPER, "records begin far behind the end of the log");
	if (r == 0)
		r = space_grow(&log->space, MAX((uint32_t)log->space.nsegs, log->super.replay_segment + 1));
	if (r < 0)
		return r == -EFBIG ? ply_fail(err, r, PLY_R_LIMIT, "the log is longer than logs can be") :
				     ply_fail_nomem(err);
	r = find_end(log, size, &f, err);
	if (r == 0 && log->super.ckpt_off)
		r = redo_load_checkpoint(log, size, err);
	if (r == 0 && log->space.segs[log->super.replay_segment].kind != SEG_FREE)
		r = ply_fail(err, -EUCLEAN, PLY_R_REDO_SUPER, "records begin where something else is");
	if (r < 0)
		return r;
	log->space.segs[log->super.replay_segment].kind = SEG_META;
	r = replay_all(log, size, &f, err);
	if (r < 0 || log->info.damaged)
		return r;
	if (log->tail < f.durable)
		damaged(log, log->tail, "a record is missing");
	else if (!log->meta_pos && log->tail == log->super.replay_lsn)
		damaged(log, log->tail, "the first segment of records is");
	return 0;
}

/* --- for those who look ----------------------------------------------------------------------------------- */

int redo_records(struct redo *log, redo_record_fn fn, void *ctx, struct ply_err *err)
{
	struct walk w _cleanup_walk_ = { .log = log };
	uint64_t number, tail;
	int r = log->store->size(log->store, &w.file_size);

	if (r < 0)
		return ply_fail_sys(err, r, "cannot tell the length of the log");
	pthread_rwlock_rdlock(&log->lock);
	tail = log->tail;
	r = walk_begin(&w, err);
	while (r == 0 && w.lsn < tail) {
		uint32_t len = peek(&w);
		unsigned type;

		if (!len) {
			r = ply_fail(err, -EIO, PLY_R_IMAGE_IO, "records change while they are read");
			break;
		}
		r = redo_record_decode(w.bytes + w.pos, len, &w.rec, err);
		if (r < 0)
			break;
		type = first_change(w.bytes + w.pos, &number);
		r = fn(ctx, &w.rec, space_off(&log->space, w.seg) + w.pos);
		if (r == 0)
			r = step(&w, len, type, number, err);
	}
	pthread_rwlock_unlock(&log->lock);
	return r;
}
