/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The living tree: its life, its locks, and how changes become a record. */
#include "live/live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/util.h"
#include "live/live_impl.h"
#include "tree/view_internal.h"

/* --- life ---------------------------------------------------------------------------------- */

/* Else there would be a mount that can only be ended by force. */
static int check_root(struct live *l, struct ply_err *err)
{
	struct live_attr a;
	int r = live_attr(l, PLY_ROOT_INDEX, &a, err);

	if (r == 0 && S_ISDIR(a.mode) && a.nlink)
		return 0;
	return r < 0 && r != -ESTALE ? r :
		ply_fail(err, -EUCLEAN, PLY_R_TREE_SHAPE, "the log has no root directory: it was made by hand, or is damaged");
}

static int give_back(void *ctx, uint64_t ino)
{
	live_forget(ctx, ino);
	return 0;
}

int live_open(struct ply_view *view, struct redo *log, struct live **ret, struct ply_err *err)
{
	struct live *l = calloc(1, sizeof(*l));
	struct redo_info info;
	int r;

	if (!l)
		return ply_fail_nomem(err);
	l->view = view;
	l->log = log;
	redo_info(log, &info);
	l->generation = view_generation(view);
	l->log_generation = redo_generation(log);
	pthread_mutex_init(&l->names, NULL);
	for (unsigned i = 0; i < LIVE_STRIPES; i++)
		pthread_mutex_init(&l->stripes[i], NULL);
	r = check_root(l, err);
	if (r < 0) {
		live_close(l);
		return r;
	}
	if (info.writable)
		r = redo_orphans(log, give_back, l);
	if (r < 0) {
		live_close(l);
		return ply_fail_nomem(err);
	}
	*ret = l;
	return 0;
}

struct live *live_close(struct live *l)
{
	if (!l)
		return NULL;
	pthread_mutex_destroy(&l->names);
	for (unsigned i = 0; i < LIVE_STRIPES; i++)
		pthread_mutex_destroy(&l->stripes[i]);
	free(l);
	return NULL;
}

struct ply_view *live_view(const struct live *l)
{
	return l->view;
}

struct redo *live_log(const struct live *l)
{
	return l->log;
}

/* --- locks ------------------------------------------------------------------------------------ */

static unsigned stripe(uint64_t ino)
{
	return (unsigned)((ino ^ ino >> 48) % LIVE_STRIPES);
}

void live_lock(struct live *l, uint64_t ino)
{
	pthread_mutex_lock(&l->stripes[stripe(ino)]);
}

void live_unlock(struct live *l, uint64_t ino)
{
	pthread_mutex_unlock(&l->stripes[stripe(ino)]);
}

void live_lock_two(struct live *l, uint64_t a, uint64_t b)
{
	unsigned x = stripe(a), y = stripe(b);

	pthread_mutex_lock(&l->stripes[MIN(x, y)]);
	if (x != y)
		pthread_mutex_lock(&l->stripes[MAX(x, y)]);
}

void live_unlock_two(struct live *l, uint64_t a, uint64_t b)
{
	live_unlock(l, a);
	if (stripe(a) != stripe(b))
		live_unlock(l, b);
}

/* --- small things ------------------------------------------------------------------------------- */

/* The kernel's clock for files: a finer one would make birth later than the first write. */
struct live_time live_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return (struct live_time){ ts.tv_sec, (uint32_t)ts.tv_nsec };
}

bool live_made_here(const struct live *l, uint64_t ino)
{
	return PLY_INO_NUMBER(ino) == redo_binding(l->log)->number;
}

int live_stale(uint64_t ino, struct ply_err *err)
{
	return ply_fail(err, -ESTALE, PLY_R_STALE, "inode %#llx is not there any more", (unsigned long long)ino);
}

int live_check_flags(const struct live_attr *a, uint32_t flags, struct ply_err *err)
{
	if (!(a->flags & flags))
		return 0;
	return ply_fail(err, -EPERM, PLY_R_SYSTEM, "inode %#llx may not be changed so: it is %s (chattr)",
			(unsigned long long)a->ino, a->flags & 0x10 ? "immutable" : "for appending only");
}

/* --- records -------------------------------------------------------------------------------------- */

int live_append(struct live *l, struct redo_op *op, struct ply_err *err)
{
	struct ply_err own;
	int r = redo_append(l->log, op, NULL, err ? err : (err = &own));

	if (r == 0)
		atomic_store_explicit(&l->uncommitted, true, memory_order_release);
	else if (r == -EINVAL && err->reason == PLY_R_REDO_CHANGE)
		r = err->code = -ESTALE;
	return r;
}

void change_nlink(struct live_change *c, uint64_t nlink)
{
	c->mask |= PLY_REDO_A_NLINK;
	c->attr.nlink = (uint32_t)nlink;
}

void change_times(struct live_change *c, uint32_t mask, struct live_time t)
{
	c->mask |= mask;
	if (mask & PLY_REDO_A_ATIME) {
		c->attr.atime_sec = t.sec;
		c->attr.atime_nsec = t.nsec;
	}
	if (mask & PLY_REDO_A_MTIME) {
		c->attr.mtime_sec = t.sec;
		c->attr.mtime_nsec = t.nsec;
	}
	if (mask & PLY_REDO_A_CTIME) {
		c->attr.ctime_sec = t.sec;
		c->attr.ctime_nsec = t.nsec;
	}
}

void change_add(const struct live_change *c, struct redo_op *op, uint64_t ino)
{
	if (c->mask)
		redo_op_attr(op, ino, c->mask, &c->attr);
}

/* --- the end of a file ------------------------------------------------------------------------------ */

void live_forget(struct live *l, uint64_t ino)
{
	struct redo_inode i;

	if (!redo_inode(l->log, ino, &i) || i.dead || !(i.mask & PLY_REDO_A_NLINK) || i.attr.nlink)
		return;
	pthread_mutex_lock(&l->names);     /* one without a name may just be getting one */
	if (redo_inode(l->log, ino, &i) && !i.dead && !i.attr.nlink) {
		struct redo_op op;

		redo_op_init(&op, 0);
		redo_op_dead(&op, ino);
		/* where that fails, it is an orphan that is given back when the log is opened again */
		live_append(l, &op, NULL);
		redo_op_done(&op);
	}
	pthread_mutex_unlock(&l->names);
}

/* --- the disk ------------------------------------------------------------------------------------------ */

int live_sync(struct live *l, struct ply_err *err)
{
	atomic_store_explicit(&l->uncommitted, false, memory_order_release);
	return redo_commit(l->log, REDO_ALL, err);
}

int live_tick(struct live *l, struct ply_err *err)
{
	int r = 0;

	if (atomic_load_explicit(&l->uncommitted, memory_order_acquire))
		r = live_sync(l, err);
	if (!redo_is_writable(l->log))
		return 0;
	if (r == 0)
		r = redo_prepare(l->log, err);
	if (r == 0 && redo_checkpoint_is_due(l->log))
		r = redo_checkpoint(l->log, err);
	return r;
}
