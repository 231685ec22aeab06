/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a log: made, opened, closed; its superblocks (FORMAT.md, "REDO log").
 *
 * A superblock is written when a log is opened to be written, with each checkpoint, and when it is closed: never by a
 * commit. Each generation goes to both slots, first to the one that does not hold the one before for sure, with a
 * sync behind each. So whenever the machine stops one slot is whole, and nothing of an older generation is given back
 * before both say the new one.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_internal.h"

static const char *path_of(const struct redo_store *s)
{
	return s->path ? s->path : "log";
}

int redo_store_fail(struct redo *log, int code, const char *what, struct ply_err *err)
{
	if (code == -ENOSPC || code == -EDQUOT || code == -EFBIG)
		return ply_fail(err, -ENOSPC, PLY_R_REDO_FULL, "%s: %s: no room left for the log (%s)",
				path_of(log->store), what, strerror(-code));
	if (code == -ENOMEM)
		return ply_fail_nomem(err);
	return ply_fail_sys(err, code, "%s: %s", path_of(log->store), what);
}

int redo_fail(struct redo *log, int code, const char *what, struct ply_err *err)
{
	int none = 0;

	atomic_compare_exchange_strong(&log->failed, &none, code);
	return ply_fail(err, -EIO, PLY_R_REDO_FAILED,
			"%s: %s (%s); nothing more is taken: open the log again when the cause is mended",
			path_of(log->store), what, strerror(-code));
}

int redo_check_writable(struct redo *log, struct ply_err *err)
{
	int code = atomic_load(&log->failed);

	if (!log->writable)
		return ply_fail(err, -EROFS, PLY_R_REDO_READ_ONLY, "%s: the log is open to be read only",
				path_of(log->store));
	return code ? redo_fail(log, code, "a sync or write failed before", err) : 0;
}

int redo_sync(struct redo *log)
{
	int none = 0, r;

	pthread_mutex_lock(&log->sync_lock);
	r = atomic_load(&log->failed);
	if (r == 0)
		r = log->store->sync(log->store);
	if (r < 0)
		atomic_compare_exchange_strong(&log->failed, &none, r);
	pthread_mutex_unlock(&log->sync_lock);
	return r;
}

/* --- superblocks ------------------------------------------------------------------------------------ */

static int write_slot(struct redo *log, const struct redo_super *s, uint32_t slot)
{
	uint8_t raw[PLY_SUPER_SIZE];
	int r;

	redo_super_encode(s, slot, raw);
	r = log->store->pwrite(log->store, raw, sizeof(raw), (uint64_t)slot * PLY_SUPER_SIZE);
	return r < 0 ? r : redo_sync(log);
}

int redo_write_super(struct redo *log, struct redo_super *s, struct ply_err *err)
{
	uint32_t first = !log->super_slot;
	int r;

	if (s->generation == UINT64_MAX)
		return ply_fail(err, -EOVERFLOW, PLY_R_LIMIT, "%s: it has the last generation that there is",
				path_of(log->store));
	s->generation++;
	r = write_slot(log, s, first);
	if (r == 0)
		r = write_slot(log, s, !first);
	if (r < 0)
		return redo_fail(log, r, "cannot write the superblock", err);
	log->super_slot = first;
	log->super = *s;
	atomic_store(&log->generation, s->generation);
	return 0;
}

static int read_supers(struct redo *log, uint64_t size, struct ply_err *err)
{
	struct redo_super s[PLY_SUPER_SLOTS];
	struct ply_err why[PLY_SUPER_SLOTS];
	bool valid[PLY_SUPER_SLOTS];
	uint32_t best;

	for (uint32_t i = 0; i < PLY_SUPER_SLOTS; i++) {
		uint8_t raw[PLY_SUPER_SIZE] = { 0 };
		uint64_t off = (uint64_t)i * PLY_SUPER_SIZE;
		int r = off + sizeof(raw) <= size ? log->store->pread(log->store, raw, sizeof(raw), off) : 0;

		if (r < 0)
			return ply_fail_sys(err, r, "%s: cannot read the superblock", path_of(log->store));
		valid[i] = redo_super_decode(raw, i, &s[i], &why[i]) == 0;
		/* a slot that is whole and of a newer format is never passed over for an older one */
		if (!valid[i] && why[i].reason == PLY_R_REDO_FEATURE) {
			if (err)
				*err = why[i];
			ply_err_prefix(err, "%s", path_of(log->store));
			return why[i].code;
		}
	}
	best = valid[1] && (!valid[0] || s[1].generation > s[0].generation);
	if (!valid[best]) {
		if (err)     /* the one that says more: no magic is what any other file has */
			*err = why[why[0].reason == PLY_R_REDO_NOT_REDO];
		ply_err_prefix(err, "%s", path_of(log->store));
		return why[why[0].reason == PLY_R_REDO_NOT_REDO].code;
	}
	if (!valid[!best])
		snprintf(log->info.warning, sizeof(log->info.warning),
			 "superblock %u is damaged; the other one is used", !best);
	log->super = s[best];
	log->super_slot = best;
	atomic_store(&log->generation, s[best].generation);
	return 0;
}

static int read_binding(struct redo *log, uint64_t size, struct ply_err *err)
{
	const struct redo_super *s = &log->super;
	_cleanup_free_ uint8_t *raw = NULL;
	uint8_t digest[32];
	int r;

	if (s->binding_off > size || s->binding_len > size - s->binding_off)
		return ply_fail(err, -EUCLEAN, PLY_R_REDO_BINDING, "%s: the log is cut off", path_of(log->store));
	raw = malloc(s->binding_len);
	if (!raw)
		return ply_fail_nomem(err);
	r = log->store->pread(log->store, raw, s->binding_len, s->binding_off);
	if (r < 0)
		return ply_fail_sys(err, r, "%s: cannot read what the log stands on", path_of(log->store));
	if (sha256_once(raw, s->binding_len, digest) < 0)
		return ply_fail_nomem(err);
	if (memcmp(digest, s->binding_digest, sizeof(digest)) != 0)
		return ply_fail(err, -EBADMSG, PLY_R_REDO_BINDING, "%s: what the log stands on is damaged",
				path_of(log->store));
	r = redo_binding_decode(raw, s->binding_len, s, &log->binding, &log->binding_memory, err);
	if (r < 0)
		ply_err_prefix(err, "%s", path_of(log->store));
	return r;
}

/* --- made --------------------------------------------------------------------------------------------- */

int redo_format(struct redo_store *store, const struct redo_binding *b, const uint8_t uuid[16], int64_t time_sec,
		struct ply_err *err)
{
	_cleanup_buf_ struct buf binding = { 0 };
	struct redo_super s = { .generation = 1, .number = b->number, .state = PLY_REDO_CLEAN, .created_sec = time_sec,
				.parent_generation = b->parent_generation, .epoch = 1, .replay_seq = 1,
				.binding_off = PLY_SUPER_SLOTS * PLY_SUPER_SIZE };
	struct redo_head head = { .epoch = 1, .seq = 1 };
	struct ply_disk_redo_segment disk;
	uint8_t raw[PLY_SUPER_SIZE];
	size_t room;
	int r = redo_binding_encode(b, &binding);

	if (r == -EINVAL)
		return ply_fail(err, r, PLY_R_USAGE, "a log cannot be bound to that");
	if (r < 0 || sha256_once(binding.data, binding.len, s.binding_digest) < 0)
		return ply_fail_nomem(err);
	memcpy(s.uuid, uuid, sizeof(s.uuid));
	memcpy(s.parent_uuid, b->parent_uuid, sizeof(s.parent_uuid));
	memcpy(s.parent_digest, b->parent_digest, sizeof(s.parent_digest));
	s.binding_len = binding.len;
	/* twice, with whatever path: redo_relink() */
	room = binding.len + PATH_MAX - MIN(b->path ? strlen(b->path) : 0, (size_t)PATH_MAX);
	s.segments_off = s.binding_off + 2 * align_up(room, PLY_REDO_BLOCK);
	redo_head_encode(&head, uuid, &disk);
	r = store->pwrite(store, binding.data, binding.len, s.binding_off);
	if (r == 0)
		r = store->pwrite(store, &disk, sizeof(disk), s.segments_off);
	if (r == 0)
		r = store->sync(store);
	for (uint32_t i = 0; r == 0 && i < PLY_SUPER_SLOTS; i++) {
		redo_super_encode(&s, i, raw);
		r = store->pwrite(store, raw, sizeof(raw), (uint64_t)i * PLY_SUPER_SIZE);
	}
	if (r == 0)
		r = store->sync(store);
	return r < 0 ?
		ply_fail(err, r, PLY_R_OUTPUT_WRITE, "%s: cannot write the log: %s", path_of(store), strerror(-r)) :
		0;
}

/* --- opened --------------------------------------------------------------------------------------------- */

/* Data goes on in the segment that has most room behind what is, or was, referred to. */
static void find_data_segment(struct redo *log)
{
	uint32_t best = 0;

	log->data.seg = NO_SEGMENT;
	for (uint32_t i = 0; i < log->space.nsegs; i++) {
		const struct rseg *s = &log->space.segs[i];
		uint32_t room = redo_segment_size(i) / PLY_REDO_BLOCK - s->used;

		if (s->kind == SEG_DATA && room > best) {
			best = room;
			log->data.seg = i;
			log->data.next = s->used;
		}
	}
}

/*
 * Before the first record: what was replayed is on the disk, and a new epoch makes sure that nothing which lies
 * behind can ever be taken for a record of it.
 */
static int begin_writing(struct redo *log, bool goes_on, struct ply_err *err)
{
	struct redo_super s = log->super;
	int r = log->store->sync(log->store);

	if (r < 0)
		return ply_fail_sys(err, r, "%s: cannot sync the log", path_of(log->store));
	if (s.epoch == UINT32_MAX)
		return ply_fail(err, -EOVERFLOW, PLY_R_LIMIT, "%s: it was opened as often as a log can be",
				path_of(log->store));
	s.epoch++;
	s.epoch_lsn = s.durable_lsn = log->tail;
	s.state = PLY_REDO_OPEN;
	if (!goes_on) {
		s.requests_lsn = log->tail;
		log->index.nrequests = log->index.request_at = 0;
	}
	r = redo_write_super(log, &s, err);
	if (r < 0)
		return r;
	log->durable = log->said_durable = log->last = log->tail;
	log->epoch = s.epoch;
	find_data_segment(log);
	if (log->meta_pos)
		return 0;
	/* the last record was a link, and what it leads to was lost */
	return redo_begin_segment_locked(log, log->meta_seg, log->meta_seq, err);
}

static int open_parts(struct redo *log, unsigned flags, struct ply_err *err)
{
	uint64_t size;
	int r = log->store->size(log->store, &size);

	if (r < 0)
		return ply_fail_sys(err, r, "%s: stat", path_of(log->store));
	r = read_supers(log, size, err);
	if (r == 0)
		r = read_binding(log, size, err);
	if (r < 0)
		return r;
	memcpy(log->uuid, log->super.uuid, sizeof(log->uuid));
	log->info.state = (enum ply_redo_state)log->super.state;
	log->space.base = log->super.segments_off;
	index_init(&log->index, log->super.number, &log->space);
	log->index.requests_lsn = log->super.requests_lsn;
	r = redo_recover(log, err);
	if (r < 0)
		return r;
	log->info.size = size;
	log->durable = log->last = log->tail;
	log->replay_lsn = log->super.replay_lsn;
	log->ckpt_len = log->super.ckpt_len;
	atomic_store(&log->next_index, log->index.next_index);
	log->writable = flags & REDO_WRITE && !log->store->read_only && !log->info.damaged &&
			log->super.state != PLY_REDO_FROZEN && !(log->super.ro_compat & ~REDO_RO_COMPAT_KNOWN);
	return log->writable ? begin_writing(log, flags & REDO_GO_ON, err) : 0;
}

int redo_open(struct redo_store *s, unsigned flags, struct redo **ret, struct ply_err *err)
{
	struct redo *log = calloc(1, sizeof(*log));
	pthread_rwlockattr_t attr;
	int r;

	if (!log) {
		redo_store_close(s);
		return ply_fail_nomem(err);
	}
	log->store = s;
	/* else readers that follow each other keep writers out for ever */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&log->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&log->flush_lock, NULL);
	pthread_mutex_init(&log->sync_lock, NULL);
	atomic_init(&log->may_clean, true);
	pthread_mutex_init(&log->super_lock, NULL);
	pthread_mutex_init(&log->change_lock, NULL);
	pthread_cond_init(&log->flushed, NULL);
	log->data.seg = log->cold.seg = NO_SEGMENT;
	r = open_parts(log, flags, err);
	if (r < 0) {
		redo_abandon(log);
		return r;
	}
	memcpy(log->info.uuid, log->uuid, sizeof(log->info.uuid));
	log->info.epoch = log->super.epoch;
	log->info.created_sec = log->super.created_sec;
	*ret = log;
	return 0;
}

/* --- closed ------------------------------------------------------------------------------------------------ */

struct redo *redo_abandon(struct redo *log)
{
	if (!log)
		return NULL;
	index_done(&log->index);
	space_done(&log->space);
	redo_store_close(log->store);
	redo_record_done(&log->rec);
	free(log->binding_memory);
	pthread_cond_destroy(&log->flushed);
	pthread_mutex_destroy(&log->super_lock);
	pthread_mutex_destroy(&log->change_lock);
	pthread_mutex_destroy(&log->flush_lock);
	pthread_mutex_destroy(&log->sync_lock);
	pthread_rwlock_destroy(&log->lock);
	free(log);
	return NULL;
}

int redo_close(struct redo *log, struct ply_err *err)
{
	int r = 0;

	if (log->writable) {
		struct redo_super s;

		r = redo_check_writable(log, err);
		if (r == 0)
			r = redo_flush(log, err);
		s = log->super;
		s.durable_lsn = log->tail;
		s.state = PLY_REDO_CLEAN;
		if (r == 0)
			r = redo_write_super(log, &s, err);
	}
	redo_abandon(log);
	return r;
}

/* --- told --------------------------------------------------------------------------------------------------- */

const struct redo_binding *redo_binding(const struct redo *log)
{
	return &log->binding;
}

uint32_t redo_generation(const struct redo *log)
{
	/* epochs follow each other: until all 2^32 were, none has that of another */
	return (uint32_t)redo_seed(log->uuid, 0) + log->epoch;
}

bool redo_is_writable(const struct redo *log)
{
	return log->writable && !atomic_load(&log->failed);
}

int redo_check_name(const struct redo *log, struct ply_err *err)
{
	if (!log->store->is_removed || !log->store->is_removed(log->store))
		return 0;
	return ply_fail(err, -ENOENT, PLY_R_REDO_REMOVED,
			"%s: the log was removed while it is in use: all of it is lost when the mount ends; copy what is to be "
			"kept from the mount", path_of(log->store));
}

void redo_info(struct redo *log, struct redo_info *ret)
{
	uint64_t size;

	*ret = log->info;
	ret->generation = atomic_load(&log->generation);
	if (log->store->size(log->store, &size) == 0)
		ret->size = size;
	ret->writable = redo_is_writable(log);
	pthread_rwlock_rdlock(&log->lock);
	ret->tail_lsn = log->tail;
	ret->data_live = log->space.live * PLY_REDO_BLOCK;
	ret->data_dead = log->space.dead * PLY_REDO_BLOCK;
	ret->data_moved = log->moved;
	ret->inodes = log->index.inodes.used;
	ret->entries = log->index.nadded;
	ret->extents = log->index.nextents;
	ret->next_cookie = PLY_INO(log->index.number, log->index.next_cookie);
	pthread_rwlock_unlock(&log->lock);
	pthread_mutex_lock(&log->flush_lock);
	ret->commits = log->commits;
	ret->flushes = log->flushes;
	ret->flush_ns = log->flush_ns;
	ret->flush_max_ns = log->flush_max_ns;
	pthread_mutex_unlock(&log->flush_lock);
}
