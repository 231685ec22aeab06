/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a table of changes true: see apply.h; revert.c takes it back.
 *
 * Rows in order, so that a directory is there before what comes into it; then directories that go, in the opposite
 * order, when what was in them has gone. What was staged and is not there any more was put in place by an earlier
 * call: so a call that goes on after a kill finds out by looking where it is, and no row is noted anywhere.
 *
 * A directory that is made brings all that is in it along in one rename. Only where another process has just made the
 * same directory are the rows inside gone through one by one.
 */
#include "layout/apply.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "layout/moves.h"

/* Something has its name already. *ret_through: it is a directory, and the same. */
static int make_beside(struct moves *m, const struct change *row, int dir, bool *ret_through)
{
	int r = change_is(dir, moves_name(row), &row->after);

	if (r < 0)
		return moves_fail(m, row, r, "look at what is there already");
	*ret_through = r && S_ISDIR(row->after.mode);
	return r ? 0 : moves_leave(m, row, "another process has put something there");
}

/* *ret_through: what came with it is to be gone through. */
static int make(struct moves *m, const struct change *row, bool *ret_through)
{
	int staged = moves_staged_dir(m, row), dir, r;

	*ret_through = false;
	if (staged < 0)
		return moves_is_gone(staged) ? 0 : moves_fail(m, row, staged, "open what is staged for it");
	dir = moves_dir(m, row);
	r = dir;
	if (dir >= 0)
		r = moves_rename(m, staged, moves_name(row), dir, moves_name(row), RENAME_NOREPLACE);
	if (r == 0)
		m->a->nmade++;
	if (r >= 0)
		return 0;
	if (r == -EEXIST)
		return make_beside(m, row, dir, ret_through);
	if (!moves_is_gone(r))
		return moves_fail(m, row, r, "put it in place");
	r = moves_is_staged(m, row);
	return r > 0 ? moves_leave(m, row, "its directory is not there any more") : r;
}

/* --- directories that go --------------------------------------------------------------------- */

/* It has come to old/N: is it still empty there, and the same? */
static int out_look_again(struct moves *m, const struct change *row, int dir, const char *number)
{
	size_t n = 0;
	int r = moves_rest(m, row, m->old_fd, number, false, &n);

	if (r == 0)
		r = change_is(m->old_fd, number, &row->before);
	if (r == 1 && !n)
		return 1;
	if (dir < 0 || moves_rename(m, m->old_fd, number, dir, moves_name(row), RENAME_NOREPLACE) < 0)
		return moves_strand(m, row, "old", "another process has put something there");
	if (n)
		r = moves_rest(m, row, dir, moves_name(row), true, &n);
	return n ? MIN(r, 0) : moves_leave(m, row, "was changed meanwhile");
}

/* Not there, or no directory. */
static int out_none(struct moves *m, const struct change *row, int dir, const char *number, int code)
{
	struct stat st;

	if (code != -ENOENT)
		return moves_leave(m, row, "is no directory any more");
	if (fstatat(m->old_fd, number, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : moves_fail(m, row, -errno, "look at what was taken out");
	return MIN(out_look_again(m, row, dir, number), 0);        /* killed before that */
}

static int out_directory(struct moves *m, const struct change *row)
{
	int dir = moves_dir(m, row), r = dir;
	char number[16];
	size_t n = 0;

	snprintf(number, sizeof(number), "%u", row->n);
	if (dir >= 0)
		r = moves_rest(m, row, dir, moves_name(row), true, &n);
	if (moves_is_gone(r))
		return out_none(m, row, MAX(dir, -1), number, r);
	if (r < 0)
		return moves_refused(m, row, r, "list it");
	if (n)
		return 0;                  /* what is in it was told */
	r = change_is(dir, moves_name(row), &row->before);
	if (r == 0)
		return moves_leave(m, row, "was changed meanwhile");
	if (r > 0)
		r = moves_rename(m, dir, moves_name(row), m->old_fd, number, RENAME_NOREPLACE);
	if (r == -EEXIST || r == -ENOTEMPTY)
		return moves_leave(m, row, "was put there again");
	if (r < 0)
		return r == -ENOENT ? 0 : moves_refused(m, row, r, "take it out");
	r = out_look_again(m, row, dir, number);
	m->a->nout += r == 1;
	return MIN(r, 0);
}

/* --- all ---------------------------------------------------------------------------------------- */

static bool is_out_directory(const struct change *row)
{
	return row->kind == CHANGE_OUT && S_ISDIR(row->before.mode);
}

static int apply_row(struct moves *m, const struct change *row, bool *ret_through)
{
	switch (row->kind) {
	case CHANGE_MAKE:
		return make(m, row, ret_through);
	case CHANGE_SWAP:
		return moves_swap(m, row);
	case CHANGE_OUT:
		return moves_take(m, row, &row->before, m->old_fd, "old", &m->a->nout);
	case CHANGE_META:
		return moves_meta(m, row);
	}
	return 0;
}

/* The first row behind those that have come along with row @i. */
static size_t behind(const struct changes *c, size_t i)
{
	size_t next = i + 1;

	while (next < c->n && c->v[next].flags & CHANGE_INSIDE && changes_within(c->v[next].path, c->v[i].path))
		next++;
	return next;
}

static int apply_rows(struct moves *m)
{
	const struct changes *c = m->a->c;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n;) {
		bool through = true;
		size_t next;

		r = moves_next(m);
		if (r == 0 && !is_out_directory(&c->v[i]))
			r = apply_row(m, &c->v[i], &through);
		next = c->v[i].kind == CHANGE_MAKE && !through ? behind(c, i) : i + 1;
		atomic_fetch_add_explicit(&m->a->at, next - i - 1, memory_order_relaxed);
		i = next;
	}
	for (size_t i = c->n; r == 0 && i-- > 0;)
		if (is_out_directory(&c->v[i]))
			r = out_directory(m, &c->v[i]);
	return r;
}

int changes_apply(struct apply *a, struct ply_err *err)
{
	struct moves m;
	int r = moves_begin(&m, a, false, err);

	if (r == 0)
		r = apply_rows(&m);
	if (r == 0)
		r = moves_finish(&m);
	moves_done(&m);
	return r;
}
