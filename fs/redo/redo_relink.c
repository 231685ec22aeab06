/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parent of a log has another place: its binding is written anew, and the superblocks then name that one.
 *
 * A binding is never written over one that counts. It lies in one half of the room between superblocks and segments
 * (FORMAT.md, "REDO log"); the new one goes to the other half and is synced before the first superblock says so. Whoever
 * is stopped in between leaves a superblock of the old binding, or one of the new.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "codec/codec.h"
#include "redo/redo_internal.h"

#define BEGIN ((uint64_t)PLY_SUPER_SLOTS * PLY_SUPER_SIZE)

static bool meets(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return a < b + blen && b < a + alen;
}

/* Where @len bytes can be without touching the binding that there is; 0: nowhere. */
static uint64_t other_place(const struct redo_super *s, uint64_t len)
{
	uint64_t half = (s->segments_off - BEGIN) / 2 / PLY_REDO_BLOCK * PLY_REDO_BLOCK;

	for (uint64_t at = BEGIN; half && len <= half && at <= BEGIN + half; at += half)
		if (!meets(at, half, s->binding_off, s->binding_len))
			return at;
	return 0;
}

static int relink_locked(struct redo *log, const struct buf *binding, struct ply_err *err)
{
	struct redo_super s = log->super;
	int r;

	s.binding_off = other_place(&s, binding->len);
	s.binding_len = binding->len;
	if (!s.binding_off)
		return ply_fail(err, -ENOSPC, PLY_R_LIMIT,
				"%s: the log was made without room for another path; put the image where it was, or "
				"beside the log",
				log->store->path ? log->store->path : "log");
	if (sha256_once(binding->data, binding->len, s.binding_digest) < 0)
		return ply_fail_nomem(err);
	r = log->store->pwrite(log->store, binding->data, binding->len, s.binding_off);
	if (r == 0)
		r = log->store->sync(log->store);
	if (r < 0)
		return redo_store_fail(log, r, "cannot write where the parent is", err);
	return redo_write_super(log, &s, err);
}

int redo_relink(struct redo *log, const char *path, struct ply_err *err)
{
	struct redo_binding b = log->binding;
	_cleanup_buf_ struct buf binding = { 0 };
	int r;

	if (log->store->read_only || log->super.ro_compat & ~REDO_RO_COMPAT_KNOWN)
		return ply_fail(err, -EROFS, PLY_R_REDO_READ_ONLY, "%s: the log cannot be written",
				log->store->path ? log->store->path : "log");
	b.path = path;
	r = redo_binding_encode(&b, &binding);
	if (r == -EINVAL)
		return ply_fail(err, r, PLY_R_USAGE, "%s: is too long for a log", path);
	if (r < 0)
		return ply_fail_nomem(err);
	pthread_mutex_lock(&log->super_lock);
	r = relink_locked(log, &binding, err);
	pthread_mutex_unlock(&log->super_lock);
	return r;
}
