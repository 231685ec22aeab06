/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Appending and committing.
 *
 * An append checks its changes against the index, writes the record behind the last one, and lets it count: all under
 * the lock, so that the order of the log is the order in which others see it. Data was written before, outside of the
 * lock, to blocks that nobody refers to; its checksums are in the record, so data and record need no order between
 * them, and one sync is enough for both: what is torn of either takes the record away at recovery.
 *
 * A commit is one sync for all who wait (leader and followers, as in every database): whoever finds no sync under way
 * makes one, for all that was appended before it began; who comes meanwhile waits, and the first of those leads the
 * next one. No timer: while a sync takes long, more gather. A commit record says afterwards how far it came; it goes
 * to the disk with the next sync, or by itself, and lets recovery tell damage from what was never acknowledged.
 *
 * A sync that fails is the end: the kernel may have dropped the pages and marked them clean, so that the next sync
 * would succeed without them. What the log has is left as it is, and read again by who opens it next.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_internal.h"

#define PREPARE_FROM (1u << 20)    /* bytes of records and data, below which nothing is zeroed ahead */

/* --- segments of records ---------------------------------------------------------------------------- */

static uint64_t meta_off(const struct redo *log)
{
	return space_off(&log->space, log->meta_seg) + log->meta_pos;
}

int redo_begin_segment_locked(struct redo *log, uint32_t seg, uint64_t seq, struct ply_err *err)
{
	const struct redo_head head = { .segment = seg, .epoch = log->epoch, .seq = seq, .lsn = log->tail };
	struct ply_disk_redo_segment disk;
	int r;

	redo_head_encode(&head, log->uuid, &disk);
	r = log->store->pwrite(log->store, &disk, sizeof(disk), space_off(&log->space, seg));
	if (r < 0)
		return redo_store_fail(log, r, "cannot begin a segment of records", err);
	log->meta_seg = seg;
	log->meta_seq = seq;
	log->meta_pos = sizeof(disk);
	return 0;
}

/* Nothing of what was written at the tail may be taken for a record. Its first bytes are enough, and can be
 * overwritten where they were written. */
static void take_back(struct redo *log, uint64_t off, int code)
{
	static const uint8_t zero[8];
	int r = log->store->pwrite(log->store, zero, sizeof(zero), off);

	/* a full disk: then they were not written either */
	if (r < 0 && code != -ENOSPC && code != -EDQUOT && code != -EFBIG)
		redo_fail(log, r, "cannot take a record back", NULL);
}

static void seal(const struct redo *log, struct redo_op *op)
{
	redo_record_seal(op->bytes.data, (uint32_t)op->bytes.len, op->nchanges, op->request, log->uuid, log->epoch,
			 log->tail);
}

static int write_sealed(struct redo *log, const struct redo_op *op, struct ply_err *err)
{
	uint64_t off = meta_off(log);
	uint32_t len = (uint32_t)op->bytes.len;
	int r = log->store->pwrite(log->store, op->bytes.data, len, off);

	if (r < 0) {
		take_back(log, off, r);
		return redo_store_fail(log, r, "cannot write a record", err);
	}
	log->meta_pos += len;
	log->tail += len;
	return 0;
}

int redo_write_record_locked(struct redo *log, struct redo_op *op, struct ply_err *err)
{
	seal(log, op);
	return write_sealed(log, op, err);
}

int redo_next_segment_locked(struct redo *log, uint32_t len, struct ply_err *err)
{
	uint32_t old_seg = log->meta_seg, old_pos = log->meta_pos, seg;
	uint64_t old_seq = log->meta_seq;
	struct redo_op link;
	int r;

	if (old_pos + REDO_NEXT_LEN > redo_segment_size(old_seg))
		return redo_fail(log, -EUCLEAN, "a segment of records has no room for its link", err);
	r = space_take(&log->space, SEG_META, (uint32_t)(sizeof(struct ply_disk_redo_segment) + len + REDO_NEXT_LEN),
		       &seg);

	if (r < 0)
		return redo_store_fail(log, r, "cannot go on in a further segment", err);
	redo_op_init(&link, 0);
	redo_op_next(&link, seg);
	/* the head first: a link to a segment that has none would be the end of the log */
	log->tail += REDO_NEXT_LEN;
	r = link.failed ? ply_fail_nomem(err) : redo_begin_segment_locked(log, seg, old_seq + 1, err);
	log->tail -= REDO_NEXT_LEN;
	log->meta_seg = old_seg;
	log->meta_pos = old_pos;
	if (r == 0)
		r = redo_write_record_locked(log, &link, err);
	redo_op_done(&link);
	if (r < 0) {
		log->meta_seq = old_seq;
		space_free(&log->space, seg);
		return r;
	}
	log->meta_seg = seg;
	log->meta_seq = old_seq + 1;
	log->meta_pos = sizeof(struct ply_disk_redo_segment);
	return 0;
}

static int make_room_locked(struct redo *log, uint32_t len, struct ply_err *err)
{
	if (log->meta_pos + len + REDO_NEXT_LEN <= redo_segment_size(log->meta_seg))
		return 0;
	return redo_next_segment_locked(log, len, err);
}

/* --- append --------------------------------------------------------------------------------------------- */

/* As it will be read, where it will stand: can it be? */
static int check_locked(struct redo *log, struct redo_op *op, struct ply_err *err)
{
	uint64_t cookie = log->index.next_cookie;
	int r;

	redo_op_cookies(op, log->index.number, &cookie);
	if (cookie > PLY_INDEX_MAX)
		return ply_fail(err, -ENOSPC, PLY_R_LIMIT, "the log has had as many names as there are numbers");
	seal(log, op);
	r = redo_record_decode(op->bytes.data, (uint32_t)op->bytes.len, &log->rec, err);
	/* the caller's fault, not a damaged log's */
	if (r == -EUCLEAN)
		return ply_fail(err, -EINVAL, PLY_R_REDO_CHANGE, "an operation that no log can have");
	return r < 0 ? r : index_check(&log->index, &log->rec, err);
}

static int append_locked(struct redo *log, struct redo_op *op, struct ply_err *err)
{
	int r = redo_check_writable(log, err);

	if (r == 0)
		r = make_room_locked(log, (uint32_t)op->bytes.len, err);
	if (r == 0)
		r = check_locked(log, op, err);
	if (r == 0)
		r = write_sealed(log, op, err);
	if (r < 0)
		return r;
	/* it is in the log: an index that cannot follow is of no use any more */
	r = index_replay(&log->index, &log->rec);
	return r < 0 ? redo_fail(log, r, "cannot keep up with the log", err) : 0;
}

int redo_append(struct redo *log, struct redo_op *op, uint64_t *ret_lsn, struct ply_err *err)
{
	int r;

	if (op->failed == -ENOMEM)
		return ply_fail_nomem(err);
	if (op->failed || !op->nchanges)
		return ply_fail(err, -EINVAL, PLY_R_REDO_CHANGE, "an operation that no log can have");
	redo_lock(log);
	log->index.good = true;
	r = append_locked(log, op, err);
	if (r == 0) {
		log->last = log->tail;
		redo_unpin_locked(op);         /* extents refer to its data now */
		if (ret_lsn)
			*ret_lsn = log->tail;
	}
	redo_unlock(log);
	return r;
}

int redo_new_ino(struct redo *log, uint64_t *ret, struct ply_err *err)
{
	uint64_t index = atomic_fetch_add(&log->next_index, 1);

	if (index > PLY_INDEX_MAX)
		return ply_fail(err, -ENOSPC, PLY_R_LIMIT, "the log has made as many inodes as there are numbers");
	*ret = PLY_INO(log->index.number, index);
	return 0;
}

/* --- data --------------------------------------------------------------------------------------------------- */

void redo_unpin_locked(struct redo_op *op)
{
	for (size_t i = 0; i < op->npins; i++)
		op->pinned->space.segs[op->pins[i]].inflight--;
	op->npins = 0;
	op->pinned = NULL;
}

void redo_unpin(struct redo_op *op)
{
	struct redo *log = op->pinned;

	if (!log)
		return;
	redo_lock(log);
	redo_unpin_locked(op);
	redo_unlock(log);
}

int redo_reserve_locked(struct redo *log, struct data_tail *tail, struct redo_op *op, uint64_t off, size_t len,
			uint64_t *ret_addr, size_t *ret_len, struct ply_err *err)
{
	uint32_t nblocks = redo_blocks(off, len), room = 0, in = (uint32_t)(off % PLY_REDO_BLOCK);
	struct space *sp = &log->space;
	int r = redo_check_writable(log, err);

	if (r < 0)
		return r;
	if (array_grow(&op->pins, &op->pins_cap, op->npins + 1, sizeof(*op->pins)) < 0)
		return ply_fail_nomem(err);
	if (tail->seg != NO_SEGMENT)
		room = redo_segment_size(tail->seg) / PLY_REDO_BLOCK - tail->next;
	if (!room) {
		r = space_take(sp, SEG_DATA, PLY_REDO_SEGMENT_MIN, &tail->seg);
		if (r < 0) {
			tail->seg = NO_SEGMENT;
			return redo_store_fail(log, r, "cannot take a segment for data", err);
		}
		tail->next = 0;
		room = redo_segment_size(tail->seg) / PLY_REDO_BLOCK;
	}
	nblocks = MIN(nblocks, room);
	*ret_addr = space_off(sp, tail->seg) + (uint64_t)tail->next * PLY_REDO_BLOCK + in;
	*ret_len = MIN(len, (size_t)nblocks * PLY_REDO_BLOCK - in);
	tail->next += nblocks;
	sp->segs[tail->seg].inflight++;
	op->pins[op->npins++] = tail->seg;
	op->pinned = log;
	return 0;
}

/* Of one block, with zeros around it. */
static int write_part(struct redo *log, uint64_t addr, const void *data, size_t len, le64 *sum)
{
	uint8_t block[PLY_REDO_BLOCK] = { 0 };
	size_t in = addr % PLY_REDO_BLOCK;

	memcpy(block + in, data, len);
	*sum = le64_put(xxh3(block, sizeof(block), 0));
	return log->store->pwrite(log->store, block, sizeof(block), addr - in);
}

/* Whole blocks: as they are, since most of what comes is large; what is left of the first and the last by itself. */
static int write_blocks(struct redo *log, uint64_t addr, const void *data, size_t len, le64 *sums, struct ply_err *err)
{
	const uint8_t *from = data;
	int r = 0;

	while (r == 0 && len) {
		size_t in = addr % PLY_REDO_BLOCK, n = len - len % PLY_REDO_BLOCK;

		if (in || !n) {
			n = MIN(len, PLY_REDO_BLOCK - in);
			r = write_part(log, addr, from, n, sums++);
		} else {
			for (size_t i = 0; i < n; i += PLY_REDO_BLOCK)
				*sums++ = le64_put(xxh3(from + i, PLY_REDO_BLOCK, 0));
			r = log->store->pwrite(log->store, from, n, addr);
		}
		addr += n;
		from += n;
		len -= n;
	}
	return r < 0 ? redo_store_fail(log, r, "cannot write data", err) : 0;
}

int redo_op_write(struct redo *log, struct redo_op *op, uint64_t ino, uint64_t off, const void *data, size_t len,
		  uint64_t size, struct ply_err *err)
{
	le64 sums[PLY_REDO_WRITE_MAX / PLY_REDO_BLOCK + 1];
	const uint8_t *from = data;

	if (!len || len > PLY_REDO_WRITE_MAX || off > PLY_SIZE_MAX - len)
		return ply_fail(err, -EINVAL, PLY_R_REDO_CHANGE, "a write of no or too many bytes");
	while (len) {
		uint64_t addr = 0;
		size_t n = 0;
		int r;

		redo_lock(log);
		r = redo_reserve_locked(log, &log->data, op, off, len, &addr, &n, err);
		redo_unlock(log);
		if (r == 0)
			r = write_blocks(log, addr, from, n, sums, err);
		if (r < 0) {
			op->failed = r;
			return r;
		}
		redo_op_extent(op, ino, off, n, addr, size, sums, redo_blocks(addr, n));
		off += n;
		from += n;
		len -= n;
	}
	return 0;
}

/* --- commit ------------------------------------------------------------------------------------------------------ */

static uint64_t tail_of(struct redo *log)
{
	uint64_t tail;

	pthread_rwlock_rdlock(&log->lock);
	tail = log->tail;
	pthread_rwlock_unlock(&log->lock);
	return tail;
}

/* Behind the last operation: what the log writes for itself need not be waited for. */
static uint64_t last_of(struct redo *log)
{
	uint64_t last;

	pthread_rwlock_rdlock(&log->lock);
	last = log->last;
	pthread_rwlock_unlock(&log->lock);
	return last;
}

/* Says what is durable, for recovery. Whether it can be written or not, it is. */
static void say_durable(struct redo *log, uint64_t durable)
{
	struct redo_op op;

	redo_op_init(&op, 0);
	redo_op_commit(&op, durable, time(NULL));
	redo_lock(log);
	if (durable > log->said_durable && !op.failed && !atomic_load(&log->failed) &&
	    make_room_locked(log, (uint32_t)op.bytes.len, NULL) == 0 && redo_write_record_locked(log, &op, NULL) == 0)
		log->said_durable = durable;
	redo_unlock(log);
	redo_op_done(&op);
}

/* One sync; flush_lock is not held, and nobody else makes one. */
static int flush(struct redo *log, uint64_t *ret_durable, struct ply_err *err)
{
	uint64_t tail = tail_of(log), since = (uint64_t)clock_ns(), took;
	int r = redo_sync(log);

	took = (uint64_t)clock_ns() - since;
	pthread_mutex_lock(&log->flush_lock);
	log->flushes++;
	log->flush_ns += took;
	log->flush_max_ns = MAX(log->flush_max_ns, took);
	pthread_mutex_unlock(&log->flush_lock);
	if (r < 0)
		return redo_fail(log, r, "cannot sync the log", err);
	*ret_durable = tail;
	return 0;
}

int redo_flush(struct redo *log, struct ply_err *err)
{
	uint64_t durable;
	int r = flush(log, &durable, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&log->flush_lock);
	log->durable = MAX(log->durable, durable);
	pthread_cond_broadcast(&log->flushed);
	pthread_mutex_unlock(&log->flush_lock);
	return 0;
}

/* With flush_lock held, which is let go of during the sync. */
static int lead(struct redo *log, struct ply_err *err)
{
	uint64_t durable = 0;
	int r;

	log->flushing = true;
	pthread_mutex_unlock(&log->flush_lock);
	r = flush(log, &durable, err);
	pthread_mutex_lock(&log->flush_lock);
	log->flushing = false;
	if (r == 0)
		log->durable = MAX(log->durable, durable);
	pthread_cond_broadcast(&log->flushed);
	return r;
}

int redo_commit(struct redo *log, uint64_t lsn, struct ply_err *err)
{
	uint64_t want = MIN(lsn, last_of(log)), durable = 0;
	int r = 0;

	if (!log->writable)
		return 0;
	pthread_mutex_lock(&log->flush_lock);
	log->commits += log->durable < want;
	while (r == 0 && log->durable < want) {
		if (atomic_load(&log->failed)) {
			r = redo_check_writable(log, err);
		} else if (log->flushing) {
			pthread_cond_wait(&log->flushed, &log->flush_lock);
		} else {
			r = lead(log, err);
			durable = log->durable;
		}
	}
	pthread_mutex_unlock(&log->flush_lock);
	/* who made the sync says so, when it has let the others go */
	if (r == 0 && durable)
		say_durable(log, durable);
	return r;
}

/* --- ahead
 * ---------------------------------------------------------------------------------------------------------- */

static int zero_segment(struct redo *log, uint32_t seg)
{
	uint32_t size = redo_segment_size(seg), step = MIN(size, 1u << 20);
	_cleanup_free_ uint8_t *zeros = calloc(1, step);
	int r = zeros ? 0 : -ENOMEM;

	for (uint32_t at = 0; r == 0 && at < size; at += step)
		r = log->store->pwrite(log->store, zeros, step, space_off(&log->space, seg) + at);
	return r < 0 ? r : redo_sync(log);
}

/* How many there are, of free ones behind which a sync changes nothing but them; one for records, one for data. */
#define READY 2u

int redo_prepare(struct redo *log, struct ply_err *err)
{
	uint32_t ready = 0, seg = NO_SEGMENT;
	int r = redo_check_writable(log, err);

	if (r < 0)
		return r;
	redo_lock(log);
	for (size_t i = 0; i < log->space.nsegs; i++)
		ready += log->space.segs[i].kind == SEG_FREE && log->space.segs[i].zeroed;
	if (ready < READY && log->tail + log->space.live * PLY_REDO_BLOCK >= PREPARE_FROM)
		/* taken meanwhile, so that nobody else does; by the size of what is in use, so that a short log
		 * stays short */
		r = space_take(&log->space, SEG_BUSY, redo_segment_size(log->meta_seg), &seg);
	redo_unlock(log);
	if (seg == NO_SEGMENT)
		return r < 0 ? redo_store_fail(log, r, "cannot take a segment ahead", err) : 0;
	r = zero_segment(log, seg);
	redo_lock(log);
	space_free(&log->space, seg);
	log->space.segs[seg].zeroed = r == 0;
	redo_unlock(log);
	/* a write that fails may have lost what others wrote; of a sync redo_sync() has said so */
	if (r < 0 && (atomic_load(&log->failed) || (r != -ENOSPC && r != -EDQUOT && r != -ENOMEM)))
		return redo_fail(log, r, "cannot write zeros ahead", err);
	return r < 0 ? redo_store_fail(log, r, "cannot write zeros ahead", err) : 0;
}
