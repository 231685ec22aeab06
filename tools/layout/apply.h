/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a table of changes true, and taking it back. All new content lies below `update` already, whole and durable;
 * each row is one rename or exchange within the file system, so what is at a path is either the one or the other, and
 * after a kill or a power cut the state of each row can be told by looking.
 *
 * update/tree/PATH   what CHANGE_MAKE puts in place. A directory takes along all that is in it
 * update/new/N       what CHANGE_SWAP exchanges with what is in place: afterwards the earlier one
 * update/old/N       what CHANGE_OUT took away
 * update/gone/N      what CHANGE_MAKE had put in place, and changes_revert() took out again
 *
 * These four directories are made where they are missing; all before the first row, so that taking back needs no room
 * on a full disk but what moving takes.
 *
 * Both are idempotent: they go on where an earlier call ended, however it ended. After changes_revert() has begun only
 * it may be called again.
 *
 * Where another process has changed what a row is about it is *left*: nothing is overwritten, what is there stays, or
 * is put back, and it is told. Directories are emptied before they go; where something is left in one it stays. What
 * the system does not let move (immutable, a mount point) is an error of changes_apply(), and left by changes_revert().
 *
 * CHANGE_META goes by chown(2) and chmod(2), which drop capabilities and change ACLs: not to be planned for files that have
 * these. Extended attributes of a directory are those of the empty ones new/N (after) and old/N (before), and set in between;
 * who is killed there leaves some of both, which is known by these two.
 */
#ifndef PLYFS_LAYOUT_APPLY_H
#define PLYFS_LAYOUT_APPLY_H

#include <stdatomic.h>

#include "layout/changes.h"

struct apply {
	int target, update;        /* descriptors of directories, borrowed: readable, or O_PATH */
	const struct changes *c;   /* checked: of changes_decode(), or changes_check() has passed it */
	bool first;                /* no earlier call has done any of it: whatever has changed since it was planned is others' */
	const atomic_bool *cancel; /* NULL: none. Looked at before each row */

	/* A path (as in the table: not escaped) is left, and why, as what follows "PATH: ". NULL: nobody asks. */
	void (*left)(void *ctx, const char *path, const char *why);
	void *ctx;

	/* Set from 0 on, while it works; other threads may read `at`. */
	atomic_size_t at;          /* rows that were looked at */
	/* of this call: rows that it has applied, or taken back. What came along with a directory is not counted */
	uint64_t nmade, nswapped, nout, nmeta;
	uint64_t nleft;            /* calls of left() */
	/* of these: what was there before, and cannot get its place back since another is there. It stays in old/N or
	 * new/N, and `why` says so: `update` must not be removed then */
	uint64_t nstranded;
};

/*
 * Directories in which names came or went get the times back that the table has, but for those in which others have changed
 * names too. What happened before a kill is told by our own last move: what others have done up to two seconds after that
 * passes for ours.
 *
 * 0: each row is as `after` tells, or is left. -ECANCELED; else -errno, with the path in @err: TARGET_WRITE,
 * TARGET_FULL, STATE_DAMAGED where what was staged is not there. The caller makes it durable, and writes its
 * journal after that.
 */
int changes_apply(struct apply *a, struct ply_err *err);

/* 0: each row is as `before` tells, or is left; the rest as above. */
int changes_revert(struct apply *a, struct ply_err *err);

#endif
