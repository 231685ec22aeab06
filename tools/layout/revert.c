/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking a table of changes back: see apply.h.
 *
 * First directories that had gone, so that what was in them finds its place; then all rows in the opposite order, so
 * that a directory that was made is empty when its turn comes. What was made is not removed but moved to gone/, as all
 * that is taken out: only there can nobody change it between the look and the removal.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/util.h"
#include "layout/moves.h"

static int unmake_directory(struct moves *m, const struct change *row)
{
	int dir = moves_dir(m, row), r;
	size_t n;

	if (dir < 0)
		return moves_is_gone(dir) ? 0 : moves_fail(m, row, dir, "open its directory");
	moves_before(m);
	r = unlinkat(dir, moves_name(row), AT_REMOVEDIR) < 0 ? -errno : 0;
	moves_after(m);
	switch (r) {
	case 0:
		m->a->nmade++;
		return 0;
	case -ENOENT:
		return 0;
	case -ENOTDIR:
		return moves_leave(m, row, "is no directory any more");
	case -ENOTEMPTY:
	case -EEXIST:
		r = moves_rest(m, row, dir, moves_name(row), true, &n);
		return r < 0 ? moves_refused(m, row, r, "list it") : 0;
	}
	return moves_refused(m, row, r, "remove it");
}

/* What lies where it was staged was never put in place, or was another's before it could be. */
static int unmake(struct moves *m, const struct change *row)
{
	int r = moves_is_staged(m, row);

	if (r != 0)
		return MIN(r, 0);
	return S_ISDIR(row->after.mode) ? unmake_directory(m, row) :
	       moves_take(m, row, &row->after, m->gone_fd, "gone", &m->a->nmade);
}

static int revert_row(struct moves *m, const struct change *row)
{
	switch (row->kind) {
	case CHANGE_MAKE:
		return unmake(m, row);
	case CHANGE_SWAP:
		return moves_swap(m, row);
	case CHANGE_OUT:
		return S_ISDIR(row->before.mode) ? 0 :
		       moves_put_back(m, row, m->old_fd, "old", &m->a->nout);
	case CHANGE_META:
		return moves_meta(m, row);
	}
	return 0;
}

static int revert_rows(struct moves *m)
{
	const struct changes *c = m->a->c;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++)
		if (c->v[i].kind == CHANGE_OUT && S_ISDIR(c->v[i].before.mode))
			r = moves_put_back(m, &c->v[i], m->old_fd, "old", &m->a->nout);
	for (size_t i = c->n; r == 0 && i-- > 0;) {
		r = moves_next(m);
		if (r == 0)
			r = revert_row(m, &c->v[i]);
	}
	return r;
}

int changes_revert(struct apply *a, struct ply_err *err)
{
	struct moves m;
	int r = moves_begin(&m, a, true, err);

	if (r == 0)
		r = revert_rows(&m);
	if (r == 0)
		r = moves_finish(&m);
	moves_done(&m);
	return r;
}
